"""``epilayer cluster``: submit what is ready, watch it, reconcile, and check the cluster."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from epilayer.cli.common import JsonOption, out, print_json, report_checks, study
from epilayer.cli.pilots import launch_pilots, pilot, program_in
from epilayer.cli.recipe import recipe
from epilayer.model.errors import EpilayerError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from epilayer import Study
    from epilayer.launch.cluster import ClusterLauncher, Submission, SyncReport
    from epilayer.launch.fireworks import FireworksQueue
    from epilayer.model.cluster import Recovery

app = typer.Typer(help="Run the queue on a SLURM cluster: launch, watch, sync, doctor.", no_args_is_help=True)
app.command()(recipe)
app.command()(pilot)

LimitOption = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Submit at most so many.")]
RecoverOption = Annotated[
    bool,
    typer.Option("--recover/--no-recover", help="Rerun failed jobs as configs/recovery.yaml says."),
]
FAILED_EXIT = 3
UNFINISHED_EXIT = 6
_PATIENCE_S = 1800.0


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
    used = study()
    if pilot_on is not None:
        launch_pilots(used, pilot_on, pilots, workers, dry_run=dry_run, as_json=as_json)
        return
    launcher = _launcher(used, used.cluster_queue())
    if dry_run:
        _show_scripts(launcher.plan(limit), as_json=as_json)
        return
    report = launcher.sync(used.recovery() if recover else None)
    submitted = launcher.launch(limit)
    if as_json:
        print_json({"sync": dataclasses.asdict(report), "submitted": [_plain(one) for one in submitted]})
        return
    _show_sync(report)
    _show_submitted(submitted)


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
    used = study()
    queue = used.cluster_queue(patience_s=_PATIENCE_S)
    launcher = _launcher(used, queue)
    policies = used.recovery() if recover else None
    shown, failures = "", _Failures(queue)
    while True:
        there = _step(launcher, policies, limit, as_json=as_json)
        counts = {state.value: n for state, n in queue.counts().items() if n}
        failures.tell(as_json=as_json)
        line = _progress(counts, there)
        if line != shown:
            shown = line
            _say(f"{time.strftime('%H:%M:%S')}  {line}", as_json=as_json)
        if not counts.get("READY") and not counts.get("RUNNING"):
            break
        time.sleep(poll_s or launcher.cluster.poll_s)
    stored = used.harvest(queue)
    if as_json:
        print_json({"counts": counts, "records_stored": stored})
    else:
        out.print(f"Nothing is left that can run; {stored} new records.")
        for line in queue.why_left():
            out.print(f"  {escape(line)}", soft_wrap=True)
        if counts.get("FAILED"):
            out.print(
                "See why: [cyan]epilayer rerun --failed --dry-run[/]; then without --dry-run, and watch again"
            )
    if counts.get("FAILED"):
        raise typer.Exit(FAILED_EXIT)
    if counts.get("WAITING") or counts.get("PAUSED"):
        raise typer.Exit(UNFINISHED_EXIT)


class _Failures:
    """Tells of each failure once, when it is first seen."""

    def __init__(self, queue: FireworksQueue) -> None:
        self.queue = queue
        self.told: set[tuple[int, int]] = set()

    def tell(self, *, as_json: bool) -> None:
        """Say which jobs have failed since the last look, and why."""
        from epilayer.launch.base import JobState

        for job in self.queue.jobs(state=JobState.FAILED):
            if (job.number, job.attempts) not in self.told:
                self.told.add((job.number, job.attempts))
                _say(f"Failed #{job.number} {job.name}: {job.cause or 'no cause'}", as_json=as_json)


def _progress(counts: dict[str, int], at_scheduler: int) -> str:
    """Say in one line how far the work is, and where the rest of it stands."""
    running, ready = counts.get("RUNNING", 0), counts.get("READY", 0)
    pending = min(ready, max(0, at_scheduler - running))
    parts = {
        "running": running,
        "in the scheduler's queue": pending,
        "ready": ready - pending,
        "waiting for others": counts.get("WAITING", 0),
        **{name: counts.get(name.upper(), 0) for name in ("paused", "failed", "cancelled", "stopped")},
    }
    rest = [f"{n} {what}" for what, n in parts.items() if n]
    return ", ".join([f"{counts.get('COMPLETED', 0)} of {sum(counts.values())} done", *rest])


def _step(launcher: ClusterLauncher, policies: Recovery | None, limit: int | None, *, as_json: bool) -> int:
    """Reconcile and submit once; return how many batch jobs the scheduler has.

    Where the scheduler or the database is away, say so: it comes back.
    """
    try:
        report = launcher.sync(policies)
        submitted = launcher.launch(limit)
    except InputError:
        raise
    except EpilayerError as error:
        _say(str(error), as_json=as_json)
        return 0
    if not as_json:
        _show_sync(report, quiet=True)
        _show_submitted(submitted)
    return report.queued + len(submitted)


@app.command()
def sync(*, recover: RecoverOption = True, as_json: JsonOption = False) -> None:
    """Bring queue, LaunchPad and scheduler into line; nothing is submitted.

    Example: [cyan]epilayer cluster sync[/]
    """
    used = study()
    queue = used.cluster_queue()
    report = _launcher(used, queue).sync(used.recovery() if recover else None)
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
    from epilayer.cli.links import chains_of, show_chain

    used = study()
    found = chains_of(_launcher(used, used.cluster_queue()), used.root, job)
    if as_json:
        print_json(found)
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
    """Check what jobs will meet on the cluster, and say how to mend what is wrong.

    The scheduler, what it accepts (partition, account, qos, limits), the database or the file locks, free
    space and clocks; and the preamble, with VASP, POTCARs and LOBSTER after it, on a compute node where one
    is free.

    Example: [cyan]epilayer cluster doctor[/], [cyan]epilayer cluster doctor --pilot mycluster --json[/]
    """
    from epilayer.study.cluster_doctor import checks

    used = study()
    if pilot_on is not None:
        cluster = used.catalogue.cluster(pilot_on, pilot=True)
    elif used.cluster is not None:
        cluster = used.cluster
    else:
        raise _not_on_a_cluster()
    report_checks(checks(used, cluster, pilots=pilot_on is not None), as_json=as_json)


@app.command(hidden=True)
def rocket(
    fw_id: Annotated[int | None, typer.Option("--fw-id", help="The Firework to run.")] = None,
    chain: Annotated[int | None, typer.Option("--chain", help="The chain to work on.")] = None,
) -> None:
    """Run one Firework, or what is ready of a chain; the batch scripts call this, and no person needs to.

    Example: [cyan]epilayer cluster launch --dry-run[/] shows the script around it
    """
    from epilayer.launch.batch_worker import Place, Rocket, fly

    used = study()
    queue = used.cluster_queue(patience_s=_PATIENCE_S)
    if used.cluster is None:  # said by cluster_queue; for the type checker
        raise typer.Exit(2)
    own: Iterable[int] = () if fw_id is None else (fw_id,)
    if chain is not None:
        own = _link_work(used, queue, chain)
    place = Place(
        os.environ.get("SLURM_JOB_ID", "0"),
        used.cluster.signal_ahead_s,
        used.cluster.pack,
        restarts=int(os.environ.get("SLURM_RESTART_COUNT", "0")),
    )
    code, said = fly(Rocket(queue, used.jobstore().as_dict(), place, own, _ask_to_stop))
    sys.stdout.write(said + "\n")
    raise typer.Exit(code)


def _link_work(used: Study, queue: FireworksQueue, chain: int) -> Iterator[int]:
    """Return what a link of a chain is to run; the batch job's log tells where the scheduler is away."""
    launcher, policies = _launcher(used, queue), used.recovery()

    def reconcile() -> bool:
        try:
            launcher.sync(policies)
        except EpilayerError as error:
            sys.stdout.write(f"epilayer: {error}\n")
            return False
        return True

    return launcher.chains.work(chain, reconcile)


def _ask_to_stop(directory: Path) -> None:
    from epilayer.engines.processes import ask_to_stop

    ask_to_stop(directory)


def _launcher(used: Study, queue: FireworksQueue) -> ClusterLauncher:
    from epilayer.launch.cluster import ClusterLauncher
    from epilayer.launch.slurm import Slurm

    cluster = used.cluster
    if cluster is None:
        raise _not_on_a_cluster()
    return ClusterLauncher(
        queue,
        cluster,
        Slurm(),
        template=used.batch_text("job.sh.j2"),
        preamble=used.batch_text(cluster.preamble),
        command=f"{program_in(used, cluster)} cluster rocket",
        output_of=_outputs(used),
    )


def _not_on_a_cluster() -> InputError:
    return InputError(
        "This study's queue is the embedded one.",
        "Name a cluster in epilayer.yaml (queue: NAME), or use pilots (--pilot NAME).",
    )


def _outputs(used: Study) -> Callable[[str], Any]:
    """Return a look into the JobStore that connects on first use, and forgives what is not there."""
    stores: list[Any] = []

    def output_of(uuid: str) -> Any:  # noqa: ANN401  (whatever a job put out)
        if not stores:
            stores.append(used.jobstore())
            stores[0].connect()
        found = stores[0].query_one({"uuid": uuid}, ["output"], sort={"index": -1})
        return found["output"] if found else None

    return output_of


def _plain(submission: Submission) -> dict[str, Any]:
    from epilayer.launch.cluster import as_json

    return as_json(submission)


def _show_scripts(planned: list[Submission], *, as_json: bool) -> None:
    if as_json:
        print_json([_plain(one) for one in planned])
        return
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
