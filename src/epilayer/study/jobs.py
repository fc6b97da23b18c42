"""Single jobs of a study: what they build on, what they left behind, and how to run them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from epilayer.model.failure import FailureClass

if TYPE_CHECKING:
    from pathlib import Path

    from epilayer.launch.base import JobInfo, Queue
    from epilayer.study.workspace import Workspace

_MOST_NEIGHBOURS: Final = 200
_MOST_FILES: Final = 200
_RESOURCES: Final = {
    FailureClass.WALLTIME: " --with walltime=48:00:00",
    FailureClass.OUT_OF_MEMORY: " --with memory=64G",
}
"""What to ask the scheduler for, where the class of failure says that it was too little."""


def neighbours(queue: Queue, job: JobInfo) -> tuple[list[JobInfo], list[JobInfo]]:
    """Return the jobs that a job builds on directly, and those that build on it; at most 200 of each."""
    edges = queue.edges(job.flows[0]) if job.flows else []
    parents = {edge.parent for edge in edges if edge.child == job.number}
    children = {edge.child for edge in edges if edge.parent == job.number}
    before, after = (
        [queue.job(number) for number in sorted(numbers)[:_MOST_NEIGHBOURS]]
        for numbers in (parents, children)
    )
    return before, after


def files_below(directory: Path) -> list[tuple[str, int]]:
    """Return the files below a directory, by their path in it, with their sizes in bytes; at most 200."""
    found: list[tuple[str, int]] = []
    for path in sorted(directory.rglob("*")):
        if len(found) == _MOST_FILES:
            break
        if path.is_file() and not path.is_symlink():
            found.append((path.relative_to(directory).as_posix(), path.stat().st_size))
    return found


def rerun_command(study: Workspace, job: JobInfo) -> str:
    """Return what to type to run a failed job again, on a cluster with the resources that it lacked."""
    if study.cluster is None:
        return f"epilayer rerun {job.number} && epilayer run"
    return f"epilayer rerun {job.number}{_RESOURCES.get(job.failure.kind, '') if job.failure else ''}"
