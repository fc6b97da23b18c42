"""Pilots: allocations whose workers draw from the embedded queue, for groups without a database server.

The queue's file lies on the file system that the nodes share. SQLite's write-ahead log needs memory that two
machines cannot share, so that the rollback journal is used there, which needs nothing but locks that hold.
They are proven, by two processes, before pilots are submitted.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from epilayer.launch import batch
from epilayer.model.errors import QueueError
from epilayer.store.database import SHARED_MARK

if TYPE_CHECKING:
    from pathlib import Path

    from epilayer.launch.slurm import Slurm
    from epilayer.model.cluster import Cluster

_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
_PATIENCE_S = 30.0


def prove_locks(folder: Path) -> None:
    """Prove, with a second process, that a lock keeps others out and ends with its holder.

    Raises
    ------
    QueueError
        If it does not: a queue there would run jobs twice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock-proof"
    path.write_bytes(b"x")
    holder = subprocess.Popen(  # noqa: S603  (our own interpreter and code)
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        if holder.stdout is None or holder.stdout.readline() != b"held\n":
            raise _unsafe(folder, "a lock could not be taken")
        with path.open("r+b") as file:
            if _taken(file.fileno()):
                raise _unsafe(folder, "two processes held the same lock")
            holder.kill()
            holder.wait(_PATIENCE_S)
            if not _taken(file.fileno()):
                raise _unsafe(folder, "a lock outlived the process that held it")
    finally:
        holder.kill()
        holder.wait(_PATIENCE_S)
        with suppress(OSError):
            path.unlink()


def _taken(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _unsafe(folder: Path, what: str) -> QueueError:
    return QueueError(
        f"File locks do not hold on the file system of {folder} ({what}): jobs would run twice.",
        "Move the study to a file system with POSIX locks (Lustre's flock, NFS 4), or use a database"
        " (queue: NAME).",
    )


def share(state: Path) -> None:
    """Let the SQLite files in a folder be used by several machines from now on."""
    prove_locks(state)
    (state / SHARED_MARK).touch()


def name_of(root: Path) -> str:
    """Return how the pilots of a study are called at the scheduler."""
    return f"epilayer-pilot.{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"


def waiting_or_running(slurm: Slurm, root: Path) -> int:
    """Return how many pilots of a study the scheduler has."""
    name = name_of(root)
    return sum(job.name == name and not job.state.over for job in slurm.queued().values())


def script(
    cluster: Cluster, root: Path, runs: Path, *, template: str, preamble: str, command: str, workers: int
) -> str:
    """Return the batch script of a pilot."""
    resources = cluster.resources.model_copy(update={"tasks": workers})
    batch.check_fits(cluster, resources, "pilot")
    return batch.render(
        template,
        title=f"pilot of {root}: {workers} workers",
        fw_id="none",
        job="any",
        options=batch.options(resources, name_of(root), runs / "batch", cluster.signal_ahead_s),
        preamble=preamble,
        preamble_name=cluster.preamble,
        signal_ahead_s=cluster.signal_ahead_s,
        command=command,
    )
