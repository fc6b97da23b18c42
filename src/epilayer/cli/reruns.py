"""``epilayer rerun``: failed jobs again, chosen by number, class of failure, or what is known of them."""

from __future__ import annotations

import dataclasses
import fnmatch
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from epilayer.cli.common import JsonOption, out, print_json, study
from epilayer.cli.runs import numbers
from epilayer.model.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from epilayer.launch.base import JobInfo, RerunReport
    from epilayer.launch.embedded import EmbeddedQueue

_MOST_SHOWN = 20
_MOST_LINES = 3
_WHERE = ("name", "cause", "function", "attempts")


def rerun(
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]...", help="Jobs, by number or uuid.")
    ] = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="Every failed job.")] = False,
    kind: Annotated[
        str | None,
        typer.Option("--class", help="Failed jobs of this class: walltime, out_of_memory, lost ..."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="KEY=VALUE",
            help="Failed jobs by name or function (glob), cause (part), attempts.",
        ),
    ] = None,
    wish: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="KEY=VALUE", help="Resources to ask for: walltime=48:00:00, memory=16G ..."
        ),
    ] = None,
    flow: Annotated[str | None, typer.Option("--flow", help="Only jobs of this flow.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also completed jobs, and what was built on them.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back the last rerun that has not run yet.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let failed or cancelled jobs run again; earlier attempts are kept.

    Example: [cyan]epilayer rerun --failed && epilayer run[/],
    [cyan]epilayer rerun --class walltime --with walltime=48:00:00 --dry-run[/]
    """
    used = study()
    queue = used.queue()
    if undo:
        report = queue.undo_rerun()
        if as_json:
            print_json(dataclasses.asdict(report))
        else:
            out.print(f"Took back rerun {report.id}: {numbers(report.jobs)} as before.")
        return
    asked = _wish(wish, on_cluster=used.cluster is not None)
    chosen = _chosen(queue, refs, failed=failed, kind=kind, where=where, flow=flow)
    report = _rerun(queue, [job.number for job in chosen], asked, force=force, dry_run=dry_run)
    if as_json:
        by_class = {job.number: job.failure.kind.value for job in chosen if job.failure}
        print_json({**dataclasses.asdict(report), "classes": by_class, "with": asked})
        return
    _show_failures(chosen)
    _show(report, asked, dry_run=dry_run, following="cluster watch" if used.cluster else "run")


def _rerun(
    queue: EmbeddedQueue, jobs: list[int], wish: dict[str, Any], *, force: bool, dry_run: bool
) -> RerunReport:
    from epilayer.launch.base import RerunReport
    from epilayer.launch.recovery import rerun_with

    if not jobs:
        return RerunReport(None, (), (), ())
    if dry_run or not wish:
        return queue.rerun(jobs, force=force, dry_run=dry_run)
    return rerun_with(queue, jobs, wish, force=force)


def _chosen(
    queue: EmbeddedQueue,
    refs: list[str] | None,
    *,
    failed: bool,
    kind: str | None,
    where: list[str] | None,
    flow: str | None,
) -> list[JobInfo]:
    """Return the jobs that are meant."""
    from epilayer.launch.base import JobState
    from epilayer.model.failure import FailureClass

    if not (refs or failed or kind or where):
        raise InputError(
            "Nothing was named to run again.",
            "Use epilayer rerun --failed, --class or --where, or give job numbers.",
        )
    if kind is not None and kind not in set(FailureClass):
        raise UnknownNameError("class of failure", kind, [one.value for one in FailureClass])
    tests = [_test(text) for text in where or ()]
    found = [queue.job(ref) for ref in refs or ()]
    if failed or kind or where:
        found += [
            job
            for job in queue.jobs(state=JobState.FAILED, flow=flow)
            if (kind is None or (job.failure and job.failure.kind == kind)) and all(t(job) for t in tests)
        ]
    return list({job.number: job for job in found}.values())


def _test(text: str) -> Any:  # noqa: ANN401  (a function of a job)
    key, equals, value = text.partition("=")
    if not equals or key not in _WHERE:
        raise InputError(
            f"--where {text!r} cannot be read.", f"Write KEY=VALUE with KEY one of {', '.join(_WHERE)}."
        )
    if key == "cause":
        return lambda job: value.lower() in (job.cause or "").lower()
    if key == "attempts":
        return lambda job: str(job.attempts) == value
    return lambda job: fnmatch.fnmatchcase(str(getattr(job, key)), value)


def _wish(texts: list[str] | None, *, on_cluster: bool) -> dict[str, Any]:
    """Return what is asked for, checked, as plain values."""
    from epilayer.model.base import parse
    from epilayer.model.cluster import Resources

    if not texts:
        return {}
    if not on_cluster:
        raise InputError(
            "--with asks a scheduler for resources, and this study's queue has none.",
            "Leave it out, or name a cluster in epilayer.yaml (queue: NAME).",
        )
    given: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--with {text!r} cannot be read.", "Write KEY=VALUE, as in walltime=48:00:00.")
        given[key] = int(value) if value.isdigit() else value
    return parse(Resources, given, "--with").model_dump(exclude_unset=True, mode="json")


def _show_failures(chosen: list[JobInfo]) -> None:
    """Say why each job failed: class and cause first, then what the right log tells of it."""
    for job in chosen[:_MOST_SHOWN]:
        if job.failure is None:
            continue
        cause, kind = job.cause or "no cause", job.failure.kind.value
        out.print(
            f"[bold]#{job.number} {escape(job.name)}[/]: [red]{kind}[/]; {escape(cause)}", soft_wrap=True
        )
        for log, line in job.failure.telling[-_MOST_LINES:]:
            if line not in cause:
                out.print(f"    [dim]{escape(log)}:[/] {escape(line)}", soft_wrap=True)
    if len(chosen) > _MOST_SHOWN:
        out.print(f"... and {len(chosen) - _MOST_SHOWN} more")


def _show(report: RerunReport, wish: dict[str, Any], *, dry_run: bool, following: str) -> None:
    verb = "Would run" if dry_run else "Will run"
    asking = "".join(f", {key} {_readable(key, value)}" for key, value in wish.items())
    out.print(f"{verb} again: {numbers(report.jobs)}{f' with{asking[1:]}' if asking else ''}.")
    if report.descendants:
        out.print(f"And what was built on them: {numbers(report.descendants)}.")
    for number, why in report.skipped:
        out.print(f"Left alone: job {number}: {escape(why)}")
    if report.jobs and not dry_run:
        out.print(f"Next: [cyan]epilayer {following}[/]   (take it back: epilayer rerun --undo)")


def _readable(key: str, value: Any) -> str:  # noqa: ANN401  (any resource)
    from epilayer.model.cluster import walltime_text

    match key:
        case "walltime":
            return walltime_text(int(value))
        case "memory":
            return f"{value} MB"
        case _:
            return str(value)
