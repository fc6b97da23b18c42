"""Jobs to be struck, in a module of their own because batch jobs import them.

A job computes a value that depends on its parents' and on nothing else, in steps. Halfway it waits until it
may go on, so that a fault finds it, and obeys orders meanwhile (grab memory, fill a disk). A lock that the
kernel drops with the last process that holds it tells when two write for one job: the job holds it, and so
does the program that it starts in a session of its own, as custodian starts VASP.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobflow import Flow, Response, job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_POLL_S, _STEP_S = 0.1, 0.05
_PIECE = 32 * 2**20


@job
def work(
    label: str,
    folder: str,
    steps: int = 4,
    parents: Sequence[str] = (),
    *,
    resumes: bool = False,
    grows: bool = False,
) -> Any:  # noqa: ANN401 - a value, or a Response of jobflow's
    """Return a value that depends on the label and the parents' values; without a folder, undisturbed.

    Parameters
    ----------
    label
        Names the job in the folder.
    folder
        Where it leaves notes and finds its orders.
    steps
        Of the computation.
    parents
        Values that it depends on.
    resumes
        Whether it goes on from its last checkpoint.
    grows
        Whether it makes two more jobs, and theirs is its result.
    """
    place = Place(folder, label) if folder else None
    if place is None:
        value = computed(_begin(label, parents), range(steps), None)
    else:
        with place.sole_writer():
            place.note("start")
            done, value = (place.resumed() if resumes else None) or (0, _begin(label, parents))
            half = max(done, steps // 2)
            value = computed(value, range(done, half), place)
            place.wait()
            value = computed(value, range(half, steps), place)
            place.note("end")
    if not grows:
        return value
    first = work(f"{label}.a", folder, steps, [value], resumes=resumes)
    second = work(f"{label}.b", folder, steps, [value, first.output])
    first.name, second.name = f"work {label}.a", f"work {label}.b"
    return Response(replace=Flow([first, second], output=second.output, name=f"grown {label}"))


def _begin(label: str, parents: Sequence[str]) -> str:
    return hashlib.sha256("|".join([label, *parents]).encode()).hexdigest()


def computed(value: str, steps: range, place: Place | None) -> str:
    """Take steps of the computation, with a checkpoint after each."""
    for step in steps:
        value = hashlib.sha256(f"{step} {value}".encode()).hexdigest()
        if place is not None:
            place.keep(step + 1, value)
            time.sleep(_STEP_S)
    return value


class Place:
    """Where one job leaves notes, and finds what it is told."""

    def __init__(self, folder: str, label: str) -> None:
        self.folder, self.label = Path(folder), label
        self.checkpoint = self.folder / "checkpoints" / label

    def note(self, what: str) -> None:
        """Append a line to the log; lines of several processes never mix."""
        handle = os.open(self.folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, f"{what} {self.label} {os.getpid()}\n".encode())
        os.close(handle)

    @contextmanager
    def sole_writer(self) -> Iterator[None]:
        """Note it if anybody else writes for this job; so does a program it starts, until it ends."""
        handle = os.open(self.folder / "writers" / self.label, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.note("two-writers")
        program = subprocess.Popen(["sleep", "3600"], start_new_session=True, pass_fds=[handle])
        try:
            yield
        finally:
            program.kill()
            program.wait()
            os.close(handle)

    def resumed(self) -> tuple[int, str] | None:
        """Return how many steps the checkpoint holds, and the value after them."""
        if not self.checkpoint.exists():
            return None
        done, value = self.checkpoint.read_text().split()
        self.note("resumed")
        return int(done), value

    def keep(self, done: int, value: str) -> None:
        """Write a checkpoint, whole."""
        new = self.checkpoint.with_suffix(".new")
        new.write_text(f"{done} {value}\n")
        new.replace(self.checkpoint)

    def wait(self) -> None:
        """Wait until the job may go on; obey orders meanwhile."""
        go, order = self.folder / "go" / self.label, self.folder / "orders" / self.label
        while not go.exists():
            if order.exists():
                told = order.read_text().split()
                order.unlink()
                {"hoard": hoard, "fill": fill, "write": write}[told[0]](*told[1:])
            time.sleep(_POLL_S)


def hoard() -> None:
    """Take memory until the kernel ends it."""
    pieces = []
    while True:
        pieces.append(bytearray(_PIECE))
        for at in range(0, _PIECE, 4096):
            pieces[-1][at] = 1


def fill(folder: str) -> None:
    """Write until there is no space, or no quota, left."""
    with Path(folder, f"fill-{os.getpid()}").open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 65536)


def write() -> None:
    """Write to the directory the job runs in."""
    Path("result.txt").write_text("result\n")
