"""Commands that move work: ``submit``, ``run``, ``status``, ``rerun``, ``cancel``, ``pause``, ``resume``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from epilayer.cli.common import JsonOption, err, job_json, out, plain_table, print_json, study
from epilayer.cli.options import (
    CathodeOption,
    FacetOption,
    HubbardOption,
    KeepOption,
    LigandOption,
    MofOption,
    MomentsOption,
    OxidationOption,
    named_settings,
)
from epilayer.cli.progress import Progress, trajectory_json, trajectory_table
from epilayer.cli.transport import show_transport
from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from jobflow import Flow
    from rich.console import RenderableType

    from epilayer import Study
    from epilayer.launch.allocation import Allocation
    from epilayer.launch.base import ChangeReport, FlowInfo, FlowStatus, JobInfo, RunReport, SubmitReport
    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.study.user_structures import Source

WorkflowArgument = Annotated[
    str, typer.Argument(metavar="WORKFLOW", help="Name (see: epilayer list workflows) or path of a file.")
]
LevelOption = Annotated[
    str | None, typer.Option("--level", "-l", help="Level of theory (see: epilayer list levels).")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Set a workflow's parameter; may be repeated."),
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="The workflow's own short form (where it has one).")
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Compute everything again, whatever is there.")]
PriorityOption = Annotated[int, typer.Option("--priority", help="Higher runs first.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the jobs; submit nothing.")]
FAILED_EXIT = 3
UNFINISHED_EXIT = 6
_MOST_SHOWN = 20


def submit(
    workflow: WorkflowArgument,
    level: LevelOption = None,
    settings: SetOption = None,
    cathode: CathodeOption = None,
    facet: FacetOption = None,
    ligand: LigandOption = None,
    mof: MofOption = None,
    oxidation: OxidationOption = None,
    keep: KeepOption = None,
    moments: MomentsOption = None,
    hubbard: HubbardOption = None,
    *,
    quick: QuickOption = False,
    fresh: FreshOption = False,
    priority: PriorityOption = 0,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put a workflow into the queue; what was computed before is found, not run again.

    Example: [cyan]epilayer submit paper_adsorption --level chgnet+d3 --set poses=24 --dry-run[/]
    """
    used = study()
    settings = [*(settings or ()), *named_settings(cathode, facet, ligand, mof)]
    crystal = _crystal(cathode, oxidation, keep, moments, hubbard)
    flow = _flow(used, workflow, settings, level, quick=quick, crystal=crystal)
    if dry_run:
        _show_plan(flow, as_json=as_json)
        return
    report = used.submit(flow, priority=priority, fresh=fresh)
    if as_json:
        print_json(report)
        return
    _show_submitted(flow.name, report)
    if report.completed < len(report.reused) + len(report.new):
        out.print(f"Next: [cyan]epilayer {'cluster watch' if used.cluster else 'run'}[/]")


def run(
    workflow: Annotated[
        str | None,
        typer.Argument(metavar="[WORKFLOW]", help="Submit this first; without it, run what is queued."),
    ] = None,
    level: LevelOption = None,
    settings: SetOption = None,
    workers: Annotated[int | None, typer.Option("--workers", "-w", min=1, help="Worker processes.")] = None,
    cathode: CathodeOption = None,
    facet: FacetOption = None,
    ligand: LigandOption = None,
    mof: MofOption = None,
    oxidation: OxidationOption = None,
    keep: KeepOption = None,
    moments: MomentsOption = None,
    hubbard: HubbardOption = None,
    *,
    quick: QuickOption = False,
    dry_run: DryRunOption = False,
    fresh: FreshOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run what is queued on this machine until nothing is left that can run.

    Ctrl-C stops at once and loses nothing: the same command goes on. Exit code 0: all is done;
    3: a job failed; 6: jobs remain that are paused or wait.

    Example: [cyan]epilayer run paper_adsorption --workers 2[/]

    Example: [cyan]epilayer run adsorption --cathode mine.cif --facet 104 --ligand CC#N --dry-run[/]
    """
    from epilayer.study.reporting import transport_rows

    used = study()
    queue = used.queue()
    submitted: SubmitReport | None = None
    settings = [*(settings or ()), *named_settings(cathode, facet, ligand, mof)]
    crystal = _crystal(cathode, oxidation, keep, moments, hubbard)
    if workflow is not None:
        flow = _flow(used, workflow, settings, level, quick=quick, crystal=crystal)
        if dry_run:
            _show_plan(flow, as_json=as_json)
            return
        submitted = queue.submit(flow, fresh=fresh)
        if not as_json:
            _show_submitted(flow.name, submitted)
    elif level or settings or crystal or quick or fresh or dry_run:
        raise InputError(
            "--level, --set, --cathode, --facet, --ligand, --mof, --quick, --dry-run and --fresh belong to a "
            "workflow.",
            "Name it: epilayer run WORKFLOW",
        )
    started = time.monotonic()
    report = run_queue(used, workers, quiet=as_json)
    stored = used.harvest()
    if as_json:
        print_json(
            {
                "submitted": submitted,
                "run": report,
                "records_stored": stored,
                "transport": transport_rows(used, submitted.ref if submitted else None),
            }
        )
    else:
        show_ran(report, time.monotonic() - started, stored)
        show_transport(transport_rows(used, submitted.ref if submitted else None))
    _exit_by(queue.status(submitted.ref if submitted else None), interrupted=report.interrupted)


def run_queue(
    used: Study, workers: int | None, *, quiet: bool, allocation: Allocation | None = None
) -> RunReport:
    """Run the queue with a live display on a terminal, one line an event elsewhere."""
    with Progress(used.queue(), quiet=quiet) as progress:
        return used.run(workers=workers, on_event=progress.on_event, allocation=allocation)


def status(
    flow: Annotated[str | None, typer.Argument(help="Flow (f1, name); default: all.")] = None,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh until nothing runs (Ctrl-C leaves).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how far the work is, what runs, and what failed and why.

    Example: [cyan]epilayer status --watch[/]
    """
    used = study()
    queue = used.queue()
    if as_json:
        growing = [trajectory_json(one) for one in used.trajectories()]
        print_json(_status_json(queue, flow) | {"trajectories": growing})
        return
    if not watch:
        _show_status(used, queue, flow)
        return
    from rich.live import Live

    with Live(console=out, refresh_per_second=2) as live:
        while True:
            now = queue.status(flow)
            live.update(_status_table(used, queue, now, flow))
            if not now.running and not _count(now, "READY"):
                return
            time.sleep(1.0)


def harvest(
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="FILE", help="Job store of another engine: its jobflow.yaml."),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Store the records of completed jobs in the results, also of flows that another engine ran.

    Example: [cyan]epilayer harvest[/]
    """
    from epilayer.study.harvest import harvest_store

    used = study()
    stored = used.harvest() if store is None else harvest_store(used, store)
    if as_json:
        print_json({"records_stored": stored})
    else:
        out.print(f"{stored} new records.")


def cancel(
    ref: Annotated[str, typer.Argument(help="Flow (f1) or job.")], *, as_json: JsonOption = False
) -> None:
    """Give up a flow or a job; what runs is stopped. Jobs that another flow wants too stay.

    Example: [cyan]epilayer cancel f1[/]
    """
    _change(study().cancel(ref), "Cancelled", as_json=as_json)


def pause(
    ref: Annotated[str, typer.Argument(help="Flow (f1) or job.")], *, as_json: JsonOption = False
) -> None:
    """Hold back a flow or a job; what runs already runs to its end.

    Example: [cyan]epilayer pause f1[/]
    """
    _change(study().pause(ref), "Paused", as_json=as_json)


def resume(
    ref: Annotated[str, typer.Argument(help="Flow (f1) or job.")], *, as_json: JsonOption = False
) -> None:
    """Release what was paused.

    Example: [cyan]epilayer resume f1[/]
    """
    _change(study().resume(ref), "Released", as_json=as_json)


def _change(report: ChangeReport, verb: str, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    out.print(f"{verb}: {numbers(report.changed)}.")
    if report.unchanged:
        out.print(f"Left as they are: {numbers(report.unchanged)}.")
    if report.note:
        out.print(escape(report.note))


def _crystal(
    cathode: str | None, oxidation: str | None, keep: str | None, moments: str | None, hubbard: str | None
) -> Source | None:
    """Return what is said of a user's crystal."""
    from epilayer.study.user_structures import Source

    if cathode is None:
        if oxidation or keep or moments or hubbard:
            raise InputError(
                "--oxidation, --keep, --moments and --hubbard describe a crystal.", "Add --cathode mine.cif"
            )
        return None
    return Source(cathode, oxidation=oxidation, keep=keep, moments=moments, hubbard=hubbard)


def _flow(
    used: Study,
    workflow: str,
    settings: list[str],
    level: str | None,
    *,
    quick: bool,
    crystal: Source | None,
) -> Flow:
    if crystal is not None and crystal.from_file:
        material = crystal.cathode(used.catalogue)
        err.print(f"[bold]{material.name}[/], {material.formula}, as read from {escape(crystal.name)}:")
        for line in crystal.assumptions(material):
            err.print(f"  {escape(line)}")
    with err.status("Building the workflow ..."):
        return used.build(workflow, settings, level=level, quick=quick, crystal=crystal)


def _show_plan(flow: Flow, *, as_json: bool) -> None:
    waits = [(job.name, len(job.input_uuids)) for job, _ in flow.iterflow()]
    if as_json:
        print_json({"flow": flow.name, "jobs": [{"job": name, "waits_for": n} for name, n in waits]})
        return
    title = f"{flow.name}: {len(waits)} jobs to begin with"
    rows = [(name, f"{n} jobs" if n else "") for name, n in waits]
    out.print(plain_table(("job", "waits for"), rows, right=("waits for",), title=title))
    out.print("Jobs named 'search' make further jobs while they run. Nothing was submitted.")


def _show_submitted(name: str, report: SubmitReport) -> None:
    total = len(report.new) + len(report.reused)
    line = f"[bold]{escape(name)}[/] is flow {report.ref}: {total} jobs, {len(report.new)} of them new"
    if report.completed:
        line += f", {report.completed} computed before"
    if report.failed:
        line += f", {len(report.failed)} that failed before ([cyan]epilayer rerun --failed[/])"
    out.print(line + ".")


def show_ran(report: RunReport, elapsed_s: float, stored: int) -> None:
    """Say what a run came to, and what is left."""
    parts = [f"{report.completed} completed"]
    if report.failed:
        parts.append(f"[bold red]{report.failed} failed[/]")
    if report.crashed:
        parts.append(f"{report.crashed} attempts crashed")
    out.print(f"{', '.join(parts)} in {_duration(elapsed_s)}; {stored} new records.")
    for line in report.blocked:
        out.print(f"  {escape(line)}")
    if report.failed:
        out.print("See why: [cyan]epilayer status[/]; then [cyan]epilayer rerun --failed && epilayer run[/]")


def _exit_by(now: FlowStatus, *, interrupted: bool) -> None:
    if interrupted:
        raise KeyboardInterrupt
    if _count(now, "FAILED"):
        raise typer.Exit(FAILED_EXIT)
    if sum(_count(now, s) for s in ("WAITING", "READY", "PAUSED", "RUNNING")):
        raise typer.Exit(UNFINISHED_EXIT)


def _count(now: FlowStatus, state: str) -> int:
    return next((n for s, n in now.counts.items() if s.value == state), 0)


def _show_status(used: Study, queue: EmbeddedQueue, flow: str | None) -> None:
    now = queue.status(flow)
    if not now.total:
        out.print("Nothing is queued. Begin with: [cyan]epilayer run paper_adsorption[/]")
        return
    out.print(_status_table(used, queue, now, flow))
    for job in now.failed[:_MOST_SHOWN]:
        # One line a failure, however long: a wrapped cause cannot be searched for.
        out.print(
            f"[bold red]failed[/] {job.number:>4} {escape(job.name)}: {_class(job)}"
            f"{escape(job.cause or 'no cause')}",
            soft_wrap=True,
        )
    if now.failed:
        _say_what_next(now, following="run" if used.cluster is None else "cluster watch")


def _class(job: JobInfo) -> str:
    return f"[red]{job.failure.kind}[/]; " if job.failure else ""


def _say_what_next(now: FlowStatus, *, following: str) -> None:
    hidden = len(now.failed) - _MOST_SHOWN
    if hidden > 0:
        out.print(f"... and {hidden} more: [cyan]epilayer jobs list --state failed[/]")
    who = "1 job waits" if now.blocked == 1 else f"{now.blocked} jobs wait"
    waits = f"{who} on these. " if now.blocked else ""
    out.print(
        f"{waits}Look closer: [cyan]epilayer jobs show NUMBER[/]; "
        f"run again: [cyan]epilayer rerun --failed && epilayer {following}[/]",
        soft_wrap=True,
    )


def _status_table(used: Study, queue: EmbeddedQueue, now: FlowStatus, flow: str | None) -> Table:
    grid = Table.grid(padding=(0, 0, 1, 0))
    headings = ("flow", "name", "done", "running", "ready", "waiting", "failed", "other")
    shown = [now.flow] if flow is not None and now.flow is not None else queue.flows()
    grid.add_row(plain_table(headings, map(_flow_cells, shown), right=headings[2:]))
    if now.running:
        rows = [
            (str(job.number), job.name, f"{job.started:%H:%M:%S}" if job.started else "")
            for job in now.running[:_MOST_SHOWN]
        ]
        grid.add_row(plain_table(("job", "name", "since"), rows, right=("job",), title="running"))
    found = used.trajectories()
    if found:
        grid.add_row(trajectory_table(found, {job.name for job in now.running}))
    return grid


def _flow_cells(info: FlowInfo) -> tuple[RenderableType, ...]:
    count = {s.value: n for s, n in info.counts.items()}
    failed = str(count.get("FAILED", 0))
    return (
        info.ref,
        info.name,
        f"{count.get('COMPLETED', 0)}/{info.total}",
        *(str(count.get(state, 0)) for state in ("RUNNING", "READY", "WAITING")),
        failed if failed == "0" else Text(failed, "bold red"),
        str(sum(count.get(s, 0) for s in ("CANCELLED", "PAUSED", "STOPPED"))),
    )


def _status_json(queue: EmbeddedQueue, flow: str | None) -> dict[str, Any]:
    now = queue.status(flow)
    return {
        "counts": {s.value: n for s, n in now.counts.items()},
        "blocked": now.blocked,
        "running": [_with_class(j) for j in now.running],
        "failed": [_with_class(j) for j in now.failed],
        "flows": [
            {"flow": f.ref, "name": f.name, "counts": {s.value: n for s, n in f.counts.items()}}
            for f in queue.flows()
            if now.flow is None or f.ref == now.flow.ref
        ],
    }


def _with_class(job: JobInfo) -> dict[str, Any]:
    return {**job_json(job), "class": job.failure.kind.value if job.failure else None}


def numbers(numbers: tuple[int, ...]) -> str:
    """Return job numbers as a person writes them."""
    shown = ", ".join(map(str, numbers[:10])) + (" ..." if len(numbers) > 10 else "")  # noqa: PLR2004
    return f"{len(numbers)} {'job' if len(numbers) == 1 else 'jobs'} ({shown})" if numbers else "no jobs"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
