"""Pilots: allocations whose workers draw from the embedded queue, for groups without a database server.

The queue's file lies on the file system that the nodes share. SQLite's write-ahead log needs memory that two
machines cannot share, so that the rollback journal is used there, which needs nothing but locks that hold.
They are proven, by two processes on this machine and, where one is free at once, by a compute node, before
pilots are submitted. A job that is too long for what is left of a pilot is not started
(`epilayer.launch.allocation`); one that is cut off goes on in the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from epilayer.launch import batch
from epilayer.launch.failures import classify
from epilayer.launch.processes import job_id_of
from epilayer.model.errors import InputError, QueueError
from epilayer.model.failure import FailureClass
from epilayer.store.database import SHARED_MARK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.launch.slurm import Slurm
    from epilayer.model.cluster import Cluster, Resources

_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
_PATIENCE_S = 30.0
_KILLS_PILOTS = frozenset({FailureClass.OUT_OF_MEMORY, FailureClass.CRASH})
"""Ends of a pilot for which one of its jobs may be to blame."""
_MOST_CRASHES = 3


def prove_locks(folder: Path, on: Sequence[str] = ()) -> None:
    """Prove, with a second process, that a lock keeps others out and ends with its holder.

    Parameters
    ----------
    folder
        On the file system in question.
    on
        Command that runs the second process on another machine (``srun ...``); nothing: on this one.

    Raises
    ------
    QueueError
        If it does not: a queue there would run jobs twice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"lock-proof-{uuid.uuid4().hex[:8]}"  # several pilots may begin at once
    path.write_bytes(b"x")
    holder = subprocess.Popen(  # noqa: S603  (our own interpreter and code)
        [*on, sys.executable, "-c", _HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        if holder.stdout is None or holder.stdout.readline() != b"held\n":
            raise _unsafe(folder, "a lock could not be taken")
        with path.open("r+b") as file:
            if _taken(file.fileno()):
                raise _unsafe(folder, "two processes held the same lock")
            if on:
                holder.communicate(timeout=_PATIENCE_S)  # the end of its input is its end
            else:
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


def settle(queue: EmbeddedQueue, slurm: Slurm) -> list[tuple[int, str]]:
    """Put back what pilots held that are over, by the scheduler's word; silence alone is no proof.

    A job that took its pilot along, by memory or a crash, several times has FAILED.

    Returns
    -------
    list
        The jobs, with the cause.

    Raises
    ------
    QueueError
        If the scheduler does not answer: nothing was concluded then.
    """
    queue.claims.recover()  # whoever worked on this machine can be looked at
    with queue.claims.file.reading() as db:
        open_workers = [row[0] for row in db.execute("SELECT token FROM workers WHERE ended IS NULL")]
    pilots = {token: number for token in open_workers if (number := job_id_of(token))}
    gone = set(pilots.values()) - set(slurm.queued())
    accounted = slurm.accounted(gone)
    accounted |= slurm.known(number for number in gone if number not in accounted)
    done = []
    for token, number in pilots.items():
        job = accounted.get(number)
        if number not in gone or (job is not None and not job.state.over):
            continue
        failure = classify(None, job, raised=False)
        crash = failure.kind in _KILLS_PILOTS
        jobs = queue.claims.lost(token, failure, crash=crash, max_crashes=_MOST_CRASHES)
        done += [(one, failure.what) for one in jobs]
    return done


def resources(cluster: Cluster, workers: int) -> Resources:
    """Return what a pilot asks for.

    Raises
    ------
    InputError
        If it states no walltime: a pilot could not know what still fits into it.
    """
    asked = cluster.resources.overlaid(cluster.pilot).model_copy(update={"tasks": workers})
    if asked.walltime is None:
        raise InputError(
            f"A pilot on {cluster.name!r} has no walltime, so that it cannot tell what still fits into it.",
            f'Write pilot: {{walltime: "24:00:00"}} in configs/clusters/{cluster.name}.yaml.',
        )
    return asked


def script(
    cluster: Cluster, root: Path, runs: Path, *, template: str, preamble: str, command: str, workers: int
) -> str:
    """Return the batch script of a pilot."""
    asked = resources(cluster, workers)
    batch.check_fits(cluster, asked, "pilot")
    return batch.render(
        template,
        title=f"pilot of {root}: {workers} workers",
        works_on="whatever is ready in the queue",
        options=batch.options(asked, name_of(root), runs / "batch", cluster.signal_ahead_s),
        preamble=preamble,
        preamble_name=cluster.preamble,
        signal_ahead_s=cluster.signal_ahead_s,
        command=command,
    )
