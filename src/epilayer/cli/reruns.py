"""``epilayer rerun``: failed jobs again, chosen by number, class of failure, or what is known of them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from epilayer.cli.common import JsonOption, out, print_json, study
from epilayer.cli.runs import numbers

if TYPE_CHECKING:
    from epilayer.launch.base import JobInfo
    from epilayer.study.rerunning import Rerun

_MOST_SHOWN = 20
_MOST_LINES = 3


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
    resources: Annotated[
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
    from epilayer.study.rerunning import Selection, resources_of

    used = study()
    if undo:
        report = used.queue().undo_rerun()
        if as_json:
            print_json(report)
        else:
            out.print(f"Took back rerun {report.id}: {numbers(report.jobs)} as before.")
        return
    selection = Selection(tuple(refs or ()), failed, kind, tuple(where or ()), flow)
    done = used.rerun(selection, resources_of(resources or ()), force=force, dry_run=dry_run)
    if as_json:
        classes = {job.number: job.failure.kind.value for job in done.chosen if job.failure}
        print_json({**dataclasses.asdict(done.report), "classes": classes, "with": done.resources})
        return
    _show_failures(done.chosen)
    _show(done, dry_run=dry_run, following="cluster watch" if used.cluster else "run")


def _show_failures(chosen: list[JobInfo]) -> None:
    """Say why each job failed: class and cause first, then what its log says of it."""
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


def _show(done: Rerun, *, dry_run: bool, following: str) -> None:
    report = done.report
    verb = "Would run" if dry_run else "Will run"
    asking = "".join(f", {key} {_readable(key, value)}" for key, value in done.resources.items())
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
