"""The study on a cluster: its launcher, the loop that watches it, batch jobs and pilots."""

from __future__ import annotations

import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epilayer.model.errors import EpilayerError, InputError
from epilayer.study.names import EMBEDDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from epilayer.launch.allocation import Allocation
    from epilayer.launch.base import JobInfo
    from epilayer.launch.cluster import ClusterLauncher, Submission, SyncReport
    from epilayer.launch.fireworks import FireworksQueue
    from epilayer.launch.slurm import Slurm
    from epilayer.model.cluster import Cluster, Recovery
    from epilayer.study.workspace import Workspace

PATIENCE_S = 1800.0
"""How long a command that runs for days waits for a database that does not answer."""
_NODE_WITHIN_S = 20


def launcher_of(study: Workspace, queue: FireworksQueue) -> ClusterLauncher:
    """Return what submits the study's jobs to its cluster's scheduler.

    Raises
    ------
    InputError
        If the study is not on a cluster, or a batch template is missing.
    """
    from epilayer.launch.cluster import ClusterLauncher
    from epilayer.launch.slurm import Slurm

    cluster = profile_of(study)
    return ClusterLauncher(
        queue,
        cluster,
        Slurm(),
        template=study.batch_text("job.sh.j2"),
        preamble=study.batch_text(cluster.preamble),
        command=f"{program_in(study, cluster)} cluster rocket",
        output_of=_outputs(study),
    )


def profile_of(study: Workspace, pilot_on: str | None = None) -> Cluster:
    """Return the profile of the study's cluster, or of the one that pilots run on.

    Raises
    ------
    InputError
        If neither is named.
    """
    if pilot_on is not None:
        return study.catalogue.cluster(pilot_on, pilot=True)
    if study.cluster is None:
        raise InputError(
            "This study's queue is the embedded one.",
            "Name a cluster in epilayer.yaml (queue: NAME), or use pilots (--pilot NAME).",
        )
    return study.cluster


def program_in(study: Workspace, cluster: Cluster) -> str:
    """Return how a batch job calls epilayer: the one that submits, unless the profile names another."""
    beside = Path(sys.executable).parent / cluster.epilayer
    program = shlex.quote(str(beside)) if beside.is_file() else cluster.epilayer
    return f"{program} -C {shlex.quote(str(study.root))}"


def _outputs(study: Workspace) -> Callable[[str], Any]:
    """Return a look into the job store that connects on first use; ``None`` for what is not there."""
    stores: list[Any] = []

    def output_of(uuid: str) -> Any:  # noqa: ANN401  (whatever a job put out)
        if not stores:
            stores.append(study.jobstore())
            stores[0].connect()
        found = stores[0].query_one({"uuid": uuid}, ["output"], sort={"index": -1})
        return found["output"] if found else None

    return output_of


@dataclass(frozen=True)
class WatchStep:
    """One round of :func:`watch`.

    Attributes
    ----------
    counts
        Jobs by the name of their state; states without any are left out.
    sync, submitted
        What was brought into line, and what was submitted; none where the scheduler did not answer.
    failed
        Jobs that have failed since the last round.
    problem
        Why the scheduler or the database did not answer; empty where they did.
    """

    counts: Mapping[str, int]
    sync: SyncReport | None
    submitted: list[Submission]
    failed: Sequence[JobInfo]
    problem: str = ""

    def __str__(self) -> str:
        """Say in one line how far the work is, and where the rest of it stands."""
        running, ready = self.counts.get("RUNNING", 0), self.counts.get("READY", 0)
        at_scheduler = 0 if self.sync is None else self.sync.queued + len(self.submitted)
        pending = min(ready, max(0, at_scheduler - running))
        parts = {
            "running": running,
            "in the scheduler's queue": pending,
            "ready": ready - pending,
            "waiting for others": self.counts.get("WAITING", 0),
            **{n: self.counts.get(n.upper(), 0) for n in ("paused", "failed", "cancelled", "stopped")},
        }
        rest = [f"{n} {what}" for what, n in parts.items() if n]
        done = f"{self.counts.get('COMPLETED', 0)} of {sum(self.counts.values())} done"
        return ", ".join([done, *rest])


def watch(
    launcher: ClusterLauncher, policies: Recovery | None, *, limit: int | None, poll_s: float | None
) -> Iterator[WatchStep]:
    """Reconcile, recover and submit, until nothing is left that can run; yield after each round.

    Parameters
    ----------
    policies
        By which failed jobs are rerun; ``None`` reruns none.
    limit
        Submit at most so many jobs a round.
    poll_s
        Time between rounds; the cluster's own by default.
    """
    from epilayer.launch.base import JobState

    queue = launcher.queue
    reported: set[tuple[int, int]] = set()
    while True:
        sync, submitted, problem = None, [], ""
        try:
            sync = launcher.sync(policies)
            submitted = launcher.launch(limit)
        except InputError:
            raise
        except EpilayerError as error:  # the scheduler or the database will answer again
            sync, problem = None, str(error)
        counts = {state.value: n for state, n in queue.counts().items() if n}
        failed = [
            job for job in queue.jobs(state=JobState.FAILED) if (job.number, job.attempts) not in reported
        ]
        reported |= {(job.number, job.attempts) for job in failed}
        yield WatchStep(counts, sync, submitted, failed, problem)
        if not counts.get("READY") and not counts.get("RUNNING"):
            return
        time.sleep(poll_s or launcher.cluster.poll_s)


def run_batch_job(study: Workspace, fw_id: int | None, chain: int | None) -> tuple[int, str]:
    """Run one Firework, or what is ready of a chain, inside the batch job that calls this.

    Returns
    -------
    code : int
        Exit code of the batch job.
    text : str
        What it did, for its log.
    """
    from epilayer.engines.processes import ask_to_stop
    from epilayer.launch.batch_worker import Place, Rocket, fly

    cluster, queue = profile_of(study), study.cluster_queue(patience_s=PATIENCE_S)
    own: Iterable[int] = () if fw_id is None else (fw_id,)
    if chain is not None:
        own = _link_work(study, queue, chain)
    place = Place(
        os.environ.get("SLURM_JOB_ID", "0"),
        cluster.signal_ahead_s,
        cluster.pack,
        restarts=int(os.environ.get("SLURM_RESTART_COUNT", "0")),
    )
    return fly(Rocket(queue, study.jobstore().as_dict(), place, own, ask_to_stop))


def _link_work(study: Workspace, queue: FireworksQueue, chain: int) -> Iterator[int]:
    """Return what a link of a chain is to run; the batch job's log says where the scheduler is away."""
    launcher, policies = launcher_of(study, queue), study.recovery()

    def reconcile() -> bool:
        try:
            launcher.sync(policies)
        except EpilayerError as error:
            sys.stdout.write(f"epilayer: {error}\n")
            return False
        return True

    return launcher.chains.work(chain, reconcile)


@dataclass(frozen=True)
class PilotsReport:
    """Pilots that were submitted and that were there before, jobs put back, and how the locks were proven."""

    pilots: list[str]
    there_before: int
    put_back: list[tuple[int, str]]
    locks: str


def pilot_script(study: Workspace, name: str, workers: int) -> str:
    """Return the batch script of a pilot: an allocation that works on the embedded queue.

    Parameters
    ----------
    name
        Of the cluster's profile.
    workers
        Worker processes.

    Raises
    ------
    InputError
        If the study's queue is not the embedded one.
    """
    from epilayer.launch import pilot

    if study.cluster is not None:
        raise InputError("Pilots work on the embedded queue.", f"Write queue: {EMBEDDED} in epilayer.yaml.")
    cluster = profile_of(study, name)
    return pilot.script(
        cluster,
        study.root,
        study.runs,
        template=study.batch_text("job.sh.j2"),
        preamble=study.batch_text(cluster.preamble),
        command=f"{program_in(study, cluster)} cluster pilot --cluster {name} --workers {workers}",
        workers=workers,
    )


def submit_pilots(study: Workspace, name: str, pilots: int, workers: int) -> PilotsReport:
    """Submit pilots until there are so many of this study; put back what ended pilots held.

    Raises
    ------
    QueueError
        If the file system's locks do not hold.
    """
    from epilayer.launch import pilot
    from epilayer.launch.slurm import Slurm
    from epilayer.model.files import write_atomic

    text, slurm = pilot_script(study, name, workers), Slurm()
    study.state.mkdir(parents=True, exist_ok=True)
    proven = prove_locks(study.state, slurm)
    pilot.share(study.state)
    put_back = pilot.settle(study.queue(), slurm)
    there = pilot.waiting_or_running(slurm, study.root)
    script = write_atomic(study.runs / "batch" / "pilot.sh", text)
    return PilotsReport([slurm.submit(script) for _ in range(pilots - there)], there, put_back, proven)


def prove_locks(folder: Path, slurm: Slurm) -> str:
    """Prove the locks of a file system, from here and from a compute node if one is free; say which.

    Raises
    ------
    QueueError
        If they do not hold.
    """
    from epilayer.launch import pilot

    pilot.prove_locks(folder)
    node = ("srun", "--ntasks=1", "--mem=100", "--time=5", f"--immediate={_NODE_WITHIN_S}", "--quiet")
    code, hostname, _ = slurm.ask([*node, "hostname"])
    if code:
        return f"hold between two processes here; no node was free within {_NODE_WITHIN_S} s to try from"
    pilot.prove_locks(folder, on=node)
    return f"hold between two processes here, and with {hostname.strip()}"


def pilot_allocation(study: Workspace, name: str, workers: int) -> Allocation:
    """Return the batch job in which a pilot runs, after proving the locks from its node.

    Parameters
    ----------
    name
        Of the cluster's profile, which says how long jobs take.
    """
    from epilayer.launch.allocation import Allocation
    from epilayer.launch.pilot import resources, share

    study.state.mkdir(parents=True, exist_ok=True)
    share(study.state)
    profile = profile_of(study, name)
    whole_s = float((resources(profile, workers).walltime or 0) - profile.signal_ahead_s)
    end = os.environ.get("SLURM_JOB_END_TIME")  # from version 22.05 on
    ends_s = float(end) - profile.signal_ahead_s if end else time.time() + whole_s
    return Allocation(os.environ.get("SLURM_JOB_ID", "0"), ends_s, whole_s, profile)
