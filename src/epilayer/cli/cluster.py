"""``epilayer cluster``: submit what is ready, watch it, reconcile, and check the cluster."""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from epilayer.cli.common import JsonOption, out, print_json, report_checks, study
from epilayer.cli.recipe import recipe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epilayer.launch.cluster import Submission, SyncReport

app = typer.Typer(help="Run the queue on a SLURM cluster: launch, watch, sync, doctor.", no_args_is_help=True)
app.command()(recipe)

LimitOption = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Submit at most so many.")]
RecoverOption = Annotated[
    bool,
    typer.Option("--recover/--no-recover", help="Rerun failed jobs as configs/recovery.yaml says."),
]
FAILED_EXIT = 3
UNFINISHED_EXIT = 6


@app.command()
def launch(
    limit: LimitOption = None,
    *,
    pilot_on: Annotated[
        str | None,
        typer.Option(
            "--pilot",
            metavar="CLUSTER",
            help="Submit allocations that work on the embedded queue; no database.",
        ),
    ] = None,
    pilots: Annotated[int, typer.Option("--pilots", min=1, help="How many pilots there shall be.")] = 1,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Worker processes of a pilot.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the batch scripts; submit nothing.")
    ] = False,
    recover: RecoverOption = True,
    as_json: JsonOption = False,
) -> None:
    """Submit what is ready, once; ``watch`` goes on until all is done.

    Example: [cyan]epilayer cluster launch --dry-run[/],
    [cyan]epilayer cluster launch --pilot mycluster --pilots 3 --workers 2[/]
    """
    from epilayer.launch.cluster import as_json as plain
    from epilayer.study.cluster import launcher_of, pilot_script

    used = study()
    if pilot_on is not None:
        if dry_run:
            sys.stdout.write(pilot_script(used, pilot_on, workers))
        else:
            _launch_pilots(pilot_on, pilots, workers, as_json=as_json)
        return
    launcher = launcher_of(used, used.cluster_queue())
    if dry_run:
        planned = launcher.plan(limit)
        if as_json:
            print_json([plain(one) for one in planned])
        else:
            _show_scripts(planned)
        return
    report = launcher.sync(used.recovery() if recover else None)
    submitted = launcher.launch(limit)
    if as_json:
        print_json({"sync": dataclasses.asdict(report), "submitted": [plain(one) for one in submitted]})
        return
    _show_sync(report)
    _show_submitted(submitted)


def _launch_pilots(name: str, pilots: int, workers: int, *, as_json: bool) -> None:
    from epilayer.study.cluster import submit_pilots

    used = study()
    report = submit_pilots(used, name, pilots, workers)
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    out.print(f"Locks on {escape(str(used.state))}: {escape(report.locks)}.", soft_wrap=True)
    for job, why in report.put_back:
        out.print(f"Put back #{job}: {escape(why)}", soft_wrap=True)
    new = f"submitted SLURM jobs {', '.join(report.pilots)}" if report.pilots else "no more are needed"
    out.print(f"{report.there_before} pilots of {workers} workers were there; {new}.", soft_wrap=True)


@app.command()
def pilot(
    cluster: Annotated[str, typer.Option("--cluster", help="Whose profile says how long jobs take.")],
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Worker processes.")] = 1,
) -> None:
    """Work on the embedded queue for as long as the allocation lasts; a pilot's batch script calls this.

    On SLURM `launch --pilot` writes that script. Under PBS or SGE it is yours (slurm/elsewhere).

    Example: [cyan]epilayer cluster pilot --cluster mycluster --workers 2[/]
    """
    from epilayer.cli.runs import run_queue, show_ran
    from epilayer.study.cluster import pilot_allocation

    used = study()
    began_s = time.monotonic()
    allocation = pilot_allocation(used, cluster, workers)
    report = run_queue(used, workers, quiet=False, allocation=allocation)
    show_ran(report, time.monotonic() - began_s, used.harvest())


@app.command()
def watch(
    *,
    recover: RecoverOption = True,
    limit: LimitOption = None,
    poll_s: Annotated[
        float | None, typer.Option("--poll", min=0.1, help="Seconds between looks (default: the cluster's).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Submit, reconcile and recover until nothing is left that can run; Ctrl-C loses nothing.

    Exit code 0: all is done; 3: a job failed for good; 6: jobs remain that are paused or wait.

    Example: [cyan]epilayer cluster watch[/]
    """
    from epilayer.study import cluster

    used = study()
    queue = used.cluster_queue(patience_s=cluster.PATIENCE_S)
    launcher = cluster.launcher_of(used, queue)
    shown, counts = "", {}
    for step in cluster.watch(launcher, used.recovery() if recover else None, limit=limit, poll_s=poll_s):
        counts = dict(step.counts)
        if step.problem:
            _say(step.problem, as_json=as_json)
        if step.sync is not None and not as_json:
            _show_sync(step.sync, quiet=True)
            _show_submitted(step.submitted)
        for job in step.failed:
            _say(f"Failed #{job.number} {job.name}: {job.cause or 'no cause'}", as_json=as_json)
        if str(step) != shown:
            shown = str(step)
            _say(f"{time.strftime('%H:%M:%S')}  {shown}", as_json=as_json)
    stored = used.harvest(queue)
    if as_json:
        print_json({"counts": counts, "records_stored": stored})
    else:
        _show_end(counts, stored, queue.why_left())
    if counts.get("FAILED"):
        raise typer.Exit(FAILED_EXIT)
    if counts.get("WAITING") or counts.get("PAUSED"):
        raise typer.Exit(UNFINISHED_EXIT)


def _show_end(counts: dict[str, int], stored: int, why_left: Iterable[str]) -> None:
    out.print(f"Nothing is left that can run; {stored} new records.")
    for line in why_left:
        out.print(f"  {escape(line)}", soft_wrap=True)
    if counts.get("FAILED"):
        out.print(
            "See why: [cyan]epilayer rerun --failed --dry-run[/]; then without --dry-run, and watch again"
        )


@app.command()
def sync(*, recover: RecoverOption = True, as_json: JsonOption = False) -> None:
    """Bring queue, LaunchPad and scheduler into line; nothing is submitted.

    Example: [cyan]epilayer cluster sync[/]
    """
    from epilayer.study.cluster import launcher_of

    used = study()
    queue = used.cluster_queue()
    report = launcher_of(used, queue).sync(used.recovery() if recover else None)
    stored = used.harvest(queue)
    if as_json:
        print_json({**dataclasses.asdict(report), "records_stored": stored})
        return
    _show_sync(report)
    out.print(f"{report.queued} at the scheduler, {report.running} running; {stored} new records.")


@app.command()
def links(
    job: Annotated[int | None, typer.Argument(help="A job of the chain; default: every chain.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the links of a chain: when each ran, what it computed, and how long nothing ran in between.

    Example: [cyan]epilayer cluster links[/]
    """
    from epilayer.cli.links import chain_json, show_chain
    from epilayer.study.chains import chains_of
    from epilayer.study.cluster import launcher_of

    used = study()
    found = chains_of(launcher_of(used, used.cluster_queue()), used.root, job)
    if as_json:
        print_json([chain_json(chain) for chain in found])
        return
    if not found:
        out.print("No chain has begun: the cluster's profile says which jobs begin one (chains).")
    for chain in found:
        show_chain(chain)


@app.command()
def doctor(
    pilot_on: Annotated[
        str | None,
        typer.Option(
            "--pilot", metavar="CLUSTER", help="Check for pilots on the embedded queue: locks, no database."
        ),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Check what jobs will meet on the cluster, and say how to correct what is wrong.

    The scheduler, what it accepts (partition, account, qos, limits), the database or the file locks, free
    space and clocks; and the preamble, with VASP, POTCARs and LOBSTER after it, on a compute node where one
    is free.

    Example: [cyan]epilayer cluster doctor[/], [cyan]epilayer cluster doctor --pilot mycluster --json[/]
    """
    from epilayer.study.cluster import profile_of
    from epilayer.study.cluster_doctor import checks

    used = study()
    cluster = profile_of(used, pilot_on)
    report_checks(checks(used, cluster, pilots=pilot_on is not None), as_json=as_json)


@app.command(hidden=True)
def rocket(
    fw_id: Annotated[int | None, typer.Option("--fw-id", help="The Firework to run.")] = None,
    chain: Annotated[int | None, typer.Option("--chain", help="The chain to work on.")] = None,
) -> None:
    """Run one Firework, or what is ready of a chain; the batch scripts call this, and no person needs to.

    Example: [cyan]epilayer cluster launch --dry-run[/] shows the script around it
    """
    from epilayer.study.cluster import run_batch_job

    code, text = run_batch_job(study(), fw_id, chain)
    sys.stdout.write(text + "\n")
    raise typer.Exit(code)


def _show_scripts(planned: list[Submission]) -> None:
    if not planned:
        out.print("Nothing is ready. Submit a workflow: [cyan]epilayer submit paper_adsorption[/]")
    for one in planned:
        out.print(f"[bold]#{one.job} {escape(one.name)}[/]")
        sys.stdout.write(one.script + "\n")


def _show_submitted(submitted: list[Submission]) -> None:
    for one in submitted:
        size = f", {one.atoms} atoms" if one.atoms else ""
        out.print(
            f"Submitted #{one.job} {escape(one.name)}{size}: SLURM job {one.scheduler_id}", soft_wrap=True
        )


def _show_sync(report: SyncReport, *, quiet: bool = False) -> None:
    for job, why in report.ended:
        out.print(f"Ended #{job}: {escape(why)}", soft_wrap=True)
    for job, kind, what in report.recovered:
        out.print(f"Judged #{job}: a failure of class {kind}; {escape(what)}", soft_wrap=True)
    for number in report.cancelled:
        out.print(f"Cancelled SLURM job {number}: nobody wants it any more")
    for note in report.notes:
        out.print(escape(note), soft_wrap=True)
    if not quiet and not (report.ended or report.recovered or report.cancelled or report.notes):
        out.print("Queue, LaunchPad and scheduler agree.")


def _say(line: str, *, as_json: bool) -> None:
    if as_json:
        sys.stderr.write(line + "\n")
    else:
        out.print(escape(line), soft_wrap=True)
