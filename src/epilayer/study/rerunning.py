"""Failed jobs again: chosen by number, class of failure or what is known of them, with other resources."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from epilayer.model.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from epilayer.launch.base import JobInfo, RerunReport
    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.study.workspace import Workspace

_CONDITIONS = ("name", "cause", "function", "attempts")


@dataclass(frozen=True)
class Selection:
    """Which jobs shall run again.

    Attributes
    ----------
    refs
        Jobs by number or uuid.
    failed
        Every failed job.
    failure_class
        Failed jobs of this class.
    where
        ``key=value``: failed jobs by name or function (a glob), cause (a part of it), or attempts.
    flow
        Only failed jobs of this flow.
    """

    refs: tuple[str, ...] = ()
    failed: bool = False
    failure_class: str | None = None
    where: tuple[str, ...] = ()
    flow: str | None = None


@dataclass(frozen=True)
class Rerun:
    """What a rerun did or, as a dry run, would do.

    Attributes
    ----------
    chosen
        The jobs that were meant, also those that do not qualify.
    resources
        What they ask the scheduler for from now on.
    """

    report: RerunReport
    chosen: list[JobInfo]
    resources: dict[str, Any]


def rerun(
    study: Workspace,
    selection: Selection,
    resources: Mapping[str, int | str],
    *,
    force: bool = False,
    dry_run: bool = False,
) -> Rerun:
    """Do what :meth:`epilayer.Study.rerun` says.

    Raises
    ------
    InputError
        If nothing is selected, or a condition or a resource cannot be read.
    """
    from epilayer.launch.base import RerunReport
    from epilayer.launch.recovery import rerun_with

    queue, asked = study.queue(), _checked(study, resources)
    chosen = _chosen(queue, selection)
    jobs = [job.number for job in chosen]
    if not jobs:
        report = RerunReport(None, (), (), ())
    elif dry_run or not asked:
        report = queue.rerun(jobs, force=force, dry_run=dry_run)
    else:
        report = rerun_with(queue, jobs, asked, force=force)
    return Rerun(report, chosen, asked)


def resources_of(texts: Iterable[str]) -> dict[str, int | str]:
    """Return the resources that ``key=value`` texts name; they are checked by :func:`rerun`."""
    given: dict[str, int | str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--with {text!r} cannot be read.", "Write KEY=VALUE, as in walltime=48:00:00.")
        given[key] = int(value) if value.isdigit() else value
    return given


def _checked(study: Workspace, resources: Mapping[str, int | str]) -> dict[str, Any]:
    from epilayer.model.base import parse
    from epilayer.model.cluster import Resources

    if not resources:
        return {}
    if study.cluster is None:
        raise InputError(
            "--with asks a scheduler for resources, and this study's queue has none.",
            "Leave it out, or name a cluster in epilayer.yaml (queue: NAME).",
        )
    return parse(Resources, dict(resources), "--with").model_dump(exclude_unset=True, mode="json")


def _chosen(queue: EmbeddedQueue, selection: Selection) -> list[JobInfo]:
    from epilayer.launch.base import JobState
    from epilayer.model.failure import FailureClass

    kind = selection.failure_class
    among_failed = bool(selection.failed or kind or selection.where)
    if not (selection.refs or among_failed):
        raise InputError(
            "Nothing was named to run again.",
            "Use epilayer rerun --failed, --class or --where, or give job numbers.",
        )
    if kind is not None and kind not in set(FailureClass):
        raise UnknownNameError("class of failure", kind, [one.value for one in FailureClass])
    tests = [_test(text) for text in selection.where]
    found = [queue.job(ref) for ref in selection.refs]
    if among_failed:
        found += [
            job
            for job in queue.jobs(state=JobState.FAILED, flow=selection.flow)
            if (kind is None or (job.failure and job.failure.kind == kind)) and all(t(job) for t in tests)
        ]
    return list({job.number: job for job in found}.values())


def _test(text: str) -> Callable[[JobInfo], bool]:
    key, equals, value = text.partition("=")
    if not equals or key not in _CONDITIONS:
        raise InputError(
            f"--where {text!r} cannot be read.", f"Write KEY=VALUE with KEY one of {', '.join(_CONDITIONS)}."
        )
    if key == "cause":
        return lambda job: value.lower() in (job.cause or "").lower()
    if key == "attempts":
        return lambda job: str(job.attempts) == value
    return lambda job: fnmatch.fnmatchcase(str(getattr(job, key)), value)
