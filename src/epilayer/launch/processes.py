"""Which process is which, whether it lives, and how to end it with everything it started.

A process id alone says little: ids are reused. A process is known by its machine (host, boot and pid
namespace), its id, and the time it started. What a worker's job starts is found by the mark in its
environment, in whatever session or process group it has put itself (custodian, for one, starts VASP in a
new session), so a killed worker leaves no second writer behind. Reading other processes' environment needs
Linux; elsewhere the worker's process group is ended, which is less.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

MARK = "EPILAYER_WORKER"
_SCHEDULED = "slurm"
_PROC = Path("/proc")
_START_FIELD = 19  # of /proc/<pid>/stat after the parenthesised name: start time in ticks since boot
_PR_SET_PDEATHSIG = 1


def scheduled(job_id: str) -> str:
    """Return a new name for a worker that a scheduler runs, with the scheduler's number of it."""
    return f"{_SCHEDULED}-{job_id}-{uuid.uuid4().hex[:12]}"


def job_id_of(token: str) -> str | None:
    """Return the scheduler's number in a worker's name; None for a worker that a person started.

    >>> job_id_of("slurm-1234-0c1d")
    '1234'
    """
    kind, _, rest = token.partition("-")
    return rest.rpartition("-")[0] if kind == _SCHEDULED else None


def start_time(pid: int) -> int:
    """Return when a process started (clock ticks since boot), or 0 where it is gone or cannot be told."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return 0
    fields = stat[stat.rindex(")") + 2 :].split()
    return 0 if fields[0] in "ZX" else int(fields[_START_FIELD])


@cache
def machine() -> str:
    """Return what two processes must share for one to see whether the other lives."""
    boot, namespace = "", ""
    with suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError):
        namespace = os.readlink(_PROC / "self/ns/pid")  # noqa: PTH115  (the link has no target to resolve)
    return f"{host()}|{boot}|{namespace}"


@cache
def host() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def alive(pid: int, started: int) -> bool:
    """Whether the very process lives (not another one that got its id)."""
    if sys.platform == "linux":
        return start_time(pid) == started != 0
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def family(token: str) -> list[int]:
    """Return the processes that carry a worker's mark: the worker and all that came of it."""
    mark = f"{MARK}={token}".encode()
    found = []
    for entry in os.scandir(_PROC) if _PROC.is_dir() else ():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if mark in Path(entry.path, "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def end_family(token: str, pid: int, *, started: int = 0, patience_s: float = 5.0) -> list[int]:
    """Kill a worker and everything that came of it; return what would not die.

    Parameters
    ----------
    token
        The worker's mark.
    pid
        The worker's process id, leader of its process group.
    started
        When it started: ends the worker itself too where it does not carry its own mark (it was begun by
        a batch script, and marked what it started).
    patience_s
        How long to wait for the kernel to let go of them, in seconds.
    """
    deadline = time.monotonic() + patience_s
    pause_s = 0.002
    while True:
        members = {*family(token), *([pid] if alive(pid, started) else [])}
        left = sorted(member for member in members if start_time(member))
        if not left:
            return []
        for member in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(member, signal.SIGKILL)
        if time.monotonic() > deadline:
            return left
        if pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.1)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when the one that started it dies; exit if it has already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
