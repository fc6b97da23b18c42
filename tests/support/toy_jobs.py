"""Jobs for the queue tests, in a module of their own because worker processes import them.

Each job that matters writes one line to the log named by ``EPILAYER_TOY_LOG`` when it starts and one when it
ends; the file is opened for appending, so lines of several processes never mix. ``EPILAYER_TOY_PACE_S`` makes
jobs last.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobflow import Flow, JobConfig, Maker, OnMissing, Response, job

NONE = JobConfig(on_missing_references=OnMissing.NONE)


def note(what: str) -> None:
    """Append a line to the execution log."""
    log = os.environ.get("EPILAYER_TOY_LOG")
    if log:
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, f"{what}\t{os.getpid()}\t{Path.cwd()}\n".encode())
        os.close(handle)


def pace() -> None:
    """Take a while, in a child process as real codes do."""
    pause = os.environ.get("EPILAYER_TOY_PACE_S")
    if pause and pause != "0":
        subprocess.run(["/bin/sleep", pause], check=True)


@job
def add(a: float, b: float) -> float:
    note(f"start add {a} {b}")
    pace()
    note(f"end add {a} {b}")
    return a + b


@job
def total(parts: list[float | None], label: str = "") -> float:
    note(f"start total {label}")
    pace()
    note(f"end total {label}")
    return sum(part for part in parts if part is not None)


@job(config=NONE)
def gather(parts: list[float | None]) -> dict[str, Any]:
    return {"found": [part for part in parts if part is not None], "missing": sum(p is None for p in parts)}


@job
def fan_out(n: int, seed: float) -> Response:
    """Be replaced by n additions and their total."""
    note(f"start fan_out {n} {seed}")
    pace()
    legs = [add(seed, float(i)) for i in range(n)]
    end = total([leg.output for leg in legs], label=f"fan {n} {seed}")
    note(f"end fan_out {n} {seed}")
    return Response(replace=Flow([*legs, end], output={"total": end.output, "first": legs[0].output}))


@job
def fan_with_failure(path: str) -> Response:
    """Be replaced by two legs, one of which fails as long as a file is missing."""
    legs = {"good": add(2.0, 3.0), "bad": fail_unless(path, 1.0)}
    output = {key: leg.output for key, leg in legs.items()}
    return Response(replace=Flow(list(legs.values()), output=output))


@job
def replace_with_job(a: float) -> Response:
    return Response(replace=add(a, 1000.0))


@job
def detour(a: float, path: str) -> Response:
    """Have something done before those who wait for this job go on."""
    note(f"start detour {a}")
    pace()
    note(f"end detour {a}")
    return Response(output=a, detour=write(path, str(a)))


@job
def more(a: float) -> Response:
    """Add work that nobody waits for, and say its uuid in the output."""
    extra = add(a, 0.5)
    return Response(output={"a": a, "extra": extra.uuid, "ref": extra.output}, addition=extra)


@job
def keep(a: float) -> Response:
    return Response(output=a, stored_data={"kept": a})


@job
def stop_children(a: float) -> Response:
    return Response(output=a, stop_children=True)


@job
def stop_all(a: float) -> Response:
    return Response(output=a, stop_jobflow=True)


@job
def write(path: str, text: str) -> str:
    pace()
    Path(path).write_text(text)
    return text


@job
def read(path: str, after: object) -> str:  # noqa: ARG001  (only there to wait for)
    return Path(path).read_text()


@job
def fail_unless(path: str, value: float) -> float:
    """Fail as long as a file is missing."""
    if not Path(path).exists():
        raise ValueError(f"{Path(path).name} is missing")
    return value


@job
def leave(code: int) -> None:
    sys.exit(code)


@job
def crash(kind: str, path: str = "") -> str:
    """Die of a signal; with a path, only as long as the file is missing."""
    if path and Path(path).exists():
        return "survived"
    if kind == "segv":
        ctypes.string_at(0)
    os.kill(os.getpid(), getattr(signal, kind))
    return "unreachable"


@job
def speak(text: str) -> str:
    """Write by Python, by the C library, and by a child process, to both streams."""
    print(f"python {text}")  # noqa: T201
    sys.stderr.write(f"python error {text}\n")
    libc = ctypes.CDLL(None)
    libc.puts(f"C {text}".encode())
    subprocess.run(["/bin/sh", "-c", f"echo child {text}; echo child error {text} >&2"], check=True)
    return str(Path.cwd())


@job
def nap(seconds: float, label: float) -> float:
    note(f"start nap {label}")
    time.sleep(seconds)
    note(f"end nap {label}")
    return label


@job
def hold(pid_file: str, seconds: float) -> int:
    """Start a child in a session of its own, as custodian does, and wait for it."""
    child = subprocess.Popen(["/bin/sleep", str(seconds)], start_new_session=True)
    note(f"start hold {child.pid}")
    Path(pid_file).write_text(f"{os.getpid()} {child.pid}")
    return child.wait()


@job
def fill(path: str, size: int) -> int:
    return Path(path).write_bytes(b"x" * size)


@job(data=["big"])
def big(n: int) -> dict[str, Any]:
    return {"big": list(range(n)), "n": n}


@job
def length(values: list[int]) -> int:
    return len(values)


@job
def threads() -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


@job
def where(label: str) -> str:  # noqa: ARG001
    return str(Path.cwd())


@dataclass
class ScaleMaker(Maker):
    """A maker, as engines are."""

    name: str = "scale"
    factor: float = 2.0

    @job
    def make(self, value: float) -> float:
        """Scale a number."""
        return self.factor * value


def campaign(folder: str, branches: int = 4) -> Flow:
    """Return a flow of 40 jobs in branches, with a replacement, a detour and an addition in each."""
    jobs: list[Any] = []
    ends = []
    for branch in range(branches):
        start = add(float(branch), 0.25)
        chain = [start]
        for step in range(4):
            chain.append(add(chain[-1].output, float(step)))
        grown = fan_out(3, float(branch) + 0.125)
        bend = detour(chain[-1].output, f"{folder}/bend-{branch}")
        extra = more(float(branch) + 0.75)
        end = total([grown.output["total"], bend.output, extra.output["a"]], label=f"branch {branch}")
        jobs += [*chain, grown, bend, extra, end]
        ends.append(end)
    last = total([end.output for end in ends], label="all")
    side = add(1.5, 2.5)
    final = total([last.output, side.output], label="final")
    soft = gather([end.output for end in ends])
    return Flow([*jobs, last, side, final, soft], name="campaign")
