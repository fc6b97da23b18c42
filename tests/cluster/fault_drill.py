"""Faults on the real scheduler, each several times, and a table of what became of the jobs.

Usage: ``python fault_drill.py FOLDER [--times 5] [--only "timeout;out of memory"]`` with the one-machine
SLURM and the test database up (slurm/dev/start, its env.sh sourced). For each fault: so many jobs are
started, struck while they run (or wait), and followed with ``sync`` and ``launch`` until all is done.

Class right: the class that the policies saw first is the fault's. Recovered: completed, by its policy or,
where the policy is to wait for a person, after ``rerun``. Lost: without an end, or carried by nothing
after two syncs. Doubled: completed, or run to its end, more than once. Two writers: two processes at a
time for one job.
"""

# ruff: noqa: T201 - a program: it prints.

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cluster_rig
import drill_jobs
from cluster_rig import PATIENCE_S, ClusterStudy, Running, mounted, quota, tmpfs, until
from jobflow import Flow

from epilayer.launch.base import JobState

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Fault:
    """What strikes, and what the jobs' failure should be called."""

    strike: Callable[[ClusterStudy, list[Running]], object]
    meant: str | None
    """Class of the failure; None where no job should fail."""
    pending: bool = False
    """Whether it strikes jobs that wait at the scheduler."""
    more: str = ""
    """Further lines of the cluster's profile."""
    disk: Callable[[Path], None] | None = None
    """Mounts the disk that the runs are on."""


@dataclass
class Row:
    """One line of the table."""

    fault: str
    times: int = 0
    right: int = 0
    recovered: int = 0
    lost: int = 0
    doubled: int = 0
    two_writers: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether everything is as it should be."""
        return self.right == self.recovered == self.times and not (
            self.lost or self.doubled or self.two_writers
        )


def each(strike: Callable[[ClusterStudy, Running], None]) -> Callable[[ClusterStudy, list[Running]], None]:
    """Strike each job."""
    return lambda study, jobs: [strike(study, job) for job in jobs]  # type: ignore[return-value]


def silent(study: ClusterStudy, jobs: list[Running]) -> None:
    """Kill the workers while the scheduler does not answer: a sync must conclude nothing."""
    each(ClusterStudy.kill)(study, jobs)
    with study.scheduler_silent():
        _concludes_nothing(study)


def late(study: ClusterStudy, jobs: list[Running]) -> None:
    """Kill the workers while the scheduler answers too late: a sync must conclude nothing."""
    each(ClusterStudy.kill)(study, jobs)
    for name in ("squeue", "sacct"):
        with study.scheduler_late(name):
            _concludes_nothing(study, may=name == "sacct")


def _concludes_nothing(study: ClusterStudy, *, may: bool = False) -> None:
    before = study.queue.counts()
    if study.turn() is not None and not may:
        raise AssertionError("a sync without a scheduler concluded something")
    assert study.queue.counts() == before


def sbatch_late(study: ClusterStudy, jobs: list[Running]) -> None:
    """Kill the workers, and let each new submission act but answer too late."""
    each(ClusterStudy.kill)(study, jobs)
    for _ in jobs:
        with study.scheduler_late("sbatch"):
            study.turn()


def slurmd_killed(study: ClusterStudy, jobs: list[Running]) -> None:
    """Kill slurmd; the jobs run on while the controller calls them over."""

    def meanwhile() -> None:
        assert len(study.running()) == len(jobs), "the jobs should have outlived slurmd"
        until(lambda: study.turn() is not None and not study.running(), "the first processes still live")

    study.kill_slurmd(meanwhile)


def slurmd_killed_elsewhere(study: ClusterStudy, jobs: list[Running]) -> None:
    """Kill slurmd of a machine whose processes cannot be seen from here (a pid namespace of its own).

    What still gives signs of life is waited for, and completes. What has stopped is taken over; when it goes
    on, it ends itself.
    """

    def meanwhile() -> None:
        for _ in range(3):
            report = study.turn()
            assert report is not None
            assert not report.ended, "a job was taken over while its worker lived"
            assert "sign of life" in " ".join(report.notes)
        study.go(job.label for job in jobs)
        until(lambda: not study.running(), "the jobs did not go on")

    study.kill_slurmd(meanwhile)


def requeued(study: ClusterStudy, jobs: list[Running]) -> None:
    """Let slurmd be killed, with jobs that the controller may start again by itself."""
    for job in jobs:
        cluster_rig.run("scontrol", "update", f"JobId={job.batch}", "Requeue=1")
    slurmd_killed(study, jobs)


OWN_NAMESPACE = f"epilayer: unshare --pid --fork --kill-child {Path(sys.executable).with_name('epilayer')}\n"
"""The worker cannot be seen from here: as if it ran on another machine."""
FAULTS = {
    "no fault": Fault(lambda *_: None, None),
    "timeout": Fault(each(ClusterStudy.timeout), "walltime"),
    "out of memory": Fault(each(ClusterStudy.out_of_memory), "out_of_memory"),
    "scancel running": Fault(each(ClusterStudy.scancel), "cancelled"),
    "scancel pending": Fault(each(ClusterStudy.scancel), "cancelled", pending=True),
    "node down": Fault(lambda study, _: study.node_down(), "node_failure"),
    "slurmd killed": Fault(slurmd_killed, "node_failure"),
    "slurmd killed, requeued": Fault(requeued, "node_failure"),
    "slurmd killed elsewhere": Fault(slurmd_killed_elsewhere, None, more=OWN_NAMESPACE),
    "requeue": Fault(each(ClusterStudy.requeue), "preempted"),
    "requeue refused": Fault(each(ClusterStudy.requeue_refused), None),
    "worker kill -9": Fault(each(ClusterStudy.kill), "crash"),
    "database killed": Fault(lambda study, _: study.kill_database(), None),
    "scheduler fails": Fault(silent, "crash"),
    "scheduler answers late": Fault(late, "crash"),
    "sbatch answers late": Fault(sbatch_late, "crash"),
    "directory deleted": Fault(each(ClusterStudy.delete_directory), "lost"),
    "launch folder deleted": Fault(each(ClusterStudy.delete_launch_folder), None),
    "launch folder deleted, pending": Fault(each(ClusterStudy.delete_launch_folder), "lost", pending=True),
    "disk full": Fault(each(ClusterStudy.fill_own_disk), "disk_full", disk=tmpfs),
    "disk quota": Fault(each(ClusterStudy.fill_own_disk), "disk_full", disk=quota),
    "launched twice": Fault(each(ClusterStudy.launch_twice_and_kill), "crash"),
}
BY_HAND = {"cancelled", "disk_full"}


def drill_one(folder: Path, name: str, times: int) -> Row:
    """Strike ``times`` jobs with one fault and follow them to their end."""
    fault, began_s = FAULTS[name], time.monotonic()
    cluster_rig.start_what_is_down()
    shutil.rmtree(folder, ignore_errors=True)
    with ExitStack() as stack:
        if fault.disk is not None:
            stack.enter_context(mounted(fault.disk, folder / "runs"))
        study = ClusterStudy(folder, more=fault.more)
        stack.callback(study.close)
        kind = "held" if fault.pending else "work"
        flow = [drill_jobs.work(f"j{i}", str(folder), resumes=i % 2 == 0) for i in range(times)]
        for i, job in enumerate(flow):
            job.name = f"{kind} j{i}"
        jobs = study.queue.submit(Flow(flow, name=name)).new
        study.launcher.launch()
        there = study.waiting if fault.pending else study.started
        until(lambda: len(there()) == times, "the jobs did not start")
        fault.strike(study, list((study.waiting() if fault.pending else study.running()).values()))
        return followed(study, name, list(jobs), began_s)


def followed(study: ClusterStudy, name: str, jobs: list[int], began_s: float) -> Row:
    """Sync and launch until the jobs have ended; say what became of them."""
    fault, first, labels = FAULTS[name], study.first, study.labels()
    while time.monotonic() < began_s + PATIENCE_S:
        study.turn(by_hand=lambda job, kind: first.get(job) == kind and kind in BY_HAND)
        if fault.pending:
            for one in study.waiting().values():
                study.release(one.batch)
        # The attempt that was struck ends as it should before its job may go on.
        study.go(labels[job] for job in (first if fault.meant else jobs))
        if all(study.queue.job(job).state is JobState.COMPLETED for job in jobs):
            break
        time.sleep(1.0)
    infos = [study.queue.job(job) for job in jobs]
    completed = sum(info.state is JobState.COMPLETED for info in infos)
    lost = {info.number for info in infos if not info.state.finished} | study.lost
    ends = {label for label, n in study.noted("end").items() if n > 1}
    doubled = ends | {labels[job] for job in study.completed_twice()}
    return Row(
        name,
        len(jobs),
        sum(first.get(job) == fault.meant for job in jobs),
        completed,
        len(lost),
        len(doubled),
        len(study.noted("two-writers")),
        Counter(first.values()),
        time.monotonic() - began_s,
    )


def table(rows: list[Row]) -> str:
    """Return the table as text."""
    head = (
        "fault",
        "times",
        "class right",
        "recovered",
        "lost",
        "doubled",
        "2 writers",
        "seconds",
        "classes",
    )
    lines = ["{:32}{:>6}{:>12}{:>10}{:>6}{:>8}{:>10}{:>8}  {}".format(*head)]
    for row in rows:
        figures = (row.times, row.right, row.recovered, row.lost, row.doubled, row.two_writers)
        classes = ", ".join(f"{kind} {n}" for kind, n in row.classes.items()) or "none failed"
        lines.append(
            "{:32}{:6}{:12}{:10}{:6}{:8}{:10}{:8.0f}  {}".format(row.fault, *figures, row.seconds, classes)
        )
    return "\n".join(lines)


def main() -> int:
    """Run the drills and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", default="", help="faults; several are divided by a semicolon")
    told = parser.parse_args()
    rows: list[Row] = []
    for name in filter(None, told.only.split(";")) if told.only else FAULTS:
        rows.append(drill_one(told.folder.absolute() / name.replace(" ", "_"), name, told.times))
        print(table(rows[-1:]).splitlines()[1], flush=True)
    print("\n" + table(rows))
    return sum(not row.good for row in rows)


if __name__ == "__main__":
    sys.exit(main())
