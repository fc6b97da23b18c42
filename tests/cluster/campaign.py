"""A campaign of jobs that depend on each other, struck by random faults; its results beside a clean run's.

Usage: ``python campaign.py FOLDER [--jobs 200] [--faults 500] [--seed 1] [--minutes 20]`` with the
one-machine SLURM and the test database up. It may be stopped and started again: which faults each job is
still to meet, and what the witnesses saw, stand in ``FOLDER/campaign.json``; everything else in the queue.
Every job waits halfway until it has met all of its faults. At the end each job's value is compared to that
of the same jobs computed in one process without a cluster, by jobflow alone.
"""

# ruff: noqa: T201, S311 - a program: it prints; and its dice are seeded.

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import drill_jobs
from cluster_rig import ClusterStudy, Running
from jobflow import Flow

from epilayer.launch.base import JobState
from epilayer.model.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobflow import Job

# Faults of one job that runs: how often relative to each other; the class of the failure, if it ends of it.
RUNNING: dict[str, tuple[int, str | None, Callable[[ClusterStudy, Running], None]]] = {
    "worker kill -9": (8, "crash", ClusterStudy.kill),
    "scancel running": (6, "cancelled", ClusterStudy.scancel),
    "timeout": (5, "walltime", ClusterStudy.timeout),
    "out of memory": (5, "out_of_memory", ClusterStudy.out_of_memory),
    "requeue": (5, "preempted", ClusterStudy.requeue),
    "requeue refused": (2, None, ClusterStudy.requeue_refused),
    "directory deleted": (5, "lost", ClusterStudy.delete_directory),
    "launch folder deleted": (4, None, ClusterStudy.delete_launch_folder),
    "disk full": (5, "disk_full", ClusterStudy.fill_disk),
    "launched twice": (4, None, ClusterStudy.launch_twice),
}
PENDING: dict[str, tuple[str, Callable[[ClusterStudy, Running], None]]] = {
    "scancel pending": ("cancelled", ClusterStudy.scancel),
    "launch folder deleted, pending": ("lost", ClusterStudy.delete_launch_folder),
}
CLUSTER = {
    "database killed": lambda study: study.kill_database(),
    "node down": lambda study: study.node_down(),
    "slurmd killed": lambda study: study.kill_slurmd(meanwhile=study.turn),
    "scheduler fails": lambda study: _turn_in(study, study.scheduler_silent()),
    "squeue late": lambda study: _turn_in(study, study.scheduler_late("squeue")),
    "sacct late": lambda study: _turn_in(study, study.scheduler_late("sacct")),
    "sbatch late": lambda study: _turn_in(study, study.scheduler_late("sbatch")),
}
_PENDING_SHARE, _CLUSTER_SHARE = 0.1, 0.1
_PARENTS, _WINDOW, _GROWING = 3, 60, 20
_LIGHT_SHARE = 0.6
"""Of the faults of the cluster, the share that strike the commands only; the others strike all jobs."""


def _turn_in(study: ClusterStudy, trouble: Any) -> None:  # noqa: ANN401 - a context manager
    with trouble:
        study.turn()


def jobs_of(n_jobs: int, seed: int, folder: str, *, wide: bool) -> list[Job]:
    """Return the jobs: each depends on up to three before it; every twentieth makes two more.

    In a wide flow only the first third has others that depend on it.
    """
    dice, jobs = random.Random(f"jobs {seed}"), list[Any]()
    grown = 0
    while len(jobs) + grown < n_jobs:
        i = len(jobs)
        before = jobs[: n_jobs // 3 if i >= n_jobs // 3 else 0] if wide else jobs[max(0, i - _WINDOW) :]
        parents = dice.sample(before, min(len(before), dice.randint(0, _PARENTS)))
        grows = i % _GROWING == _GROWING - 1 and i + grown + 3 <= n_jobs
        grown += 2 * grows
        job = drill_jobs.work(
            f"j{i:03}", folder, parents=[p.output for p in parents], resumes=dice.random() < 0.5, grows=grows
        )
        jobs.append(job)
    return jobs


def plan_of(labels: list[str], n_faults: int, seed: int) -> dict[str, Any]:
    """Return which faults each job is to meet, in order, and those of the cluster, with their moments."""
    dice = random.Random(f"faults {seed}")
    n_cluster = round(n_faults * _CLUSTER_SHARE)
    names = list(RUNNING)
    weights = [RUNNING[name][0] for name in names]
    plan: dict[str, list[str]] = {label: [] for label in labels}
    for _ in range(n_faults - n_cluster):
        label = dice.choice(labels)
        if dice.random() < _PENDING_SHARE:
            plan[label].insert(0, dice.choice(list(PENDING)))
        else:
            plan[label].append(dice.choices(names, weights)[0])
    heavy, light = list(CLUSTER)[:3], list(CLUSTER)[3:]
    kinds = [dice.choice(light if dice.random() < _LIGHT_SHARE else heavy) for _ in range(n_cluster)]
    step = (n_faults - n_cluster) / max(1, n_cluster)
    return {
        "jobs": plan,
        "cluster": [[round((i + dice.random()) * step), kind] for i, kind in enumerate(kinds)],
    }


class Campaign:
    """The driver: brings faults to jobs, and jobs through them."""

    def __init__(self, folder: Path, told: dict[str, Any]) -> None:
        self.folder, self.told = folder, told
        self.file = folder / "campaign.json"
        self.study = ClusterStudy(folder)
        if self.file.exists():
            self.state = json.loads(self.file.read_text())
            assert self.state["told"] == self.told, "this folder is another campaign's"
        else:
            self._begin()
        self.lost_before = set(self.state["lost"])

    def _begin(self) -> None:
        jobs = jobs_of(self.told["jobs"], self.told["seed"], str(self.folder), wide=self.told["wide"])
        labels = [job.function_args[0] for job in jobs]
        plan = plan_of(labels, self.told["faults"], self.told["seed"])
        for job, label in zip(jobs, labels, strict=True):
            job.name = f"{'held' if set(plan['jobs'][label]) & set(PENDING) else 'work'} {label}"
        self.study.queue.submit(Flow(jobs, name="campaign"))
        self.state = {
            "told": self.told,
            **plan,
            "struck": {},
            "met": {},
            "meant": [],
            "by_hand": {},
            "lost": [],
            "turns": 0,
            "seconds": 0.0,
        }
        self.keep()

    def keep(self) -> None:
        """Write the state, whole."""
        self.state["lost"] = (
            sorted(self.lost_before | self.study.lost) if hasattr(self, "lost_before") else []
        )
        write_atomic(self.file, json.dumps(self.state, indent=1))

    @property
    def struck(self) -> int:
        """How many faults there have been."""
        return sum(self.state["struck"].values())

    def run(self, minutes: float) -> bool:
        """Go on for so long; return whether all is done."""
        began_s = last_s = time.monotonic()
        while time.monotonic() - began_s < minutes * 60:
            self.strike_cluster()
            self.strike_jobs()
            if self.study.turn(by_hand=self.by_hand) is not None:
                self.state["turns"] += 1
            counts = self.study.queue.counts()
            self.state["seconds"] += time.monotonic() - last_s
            last_s = time.monotonic()
            self.keep()
            print(
                f"{self.struck} faults, {counts[JobState.COMPLETED]} of {sum(counts.values())} jobs",
                flush=True,
            )
            if counts[JobState.COMPLETED] == sum(counts.values()):
                return True
            time.sleep(0.5)
        return False

    def by_hand(self, job: int, kind: str) -> bool:
        """Act as the person whom the policies leave a job to: find out its class, and run it again."""
        del job
        self.state["by_hand"][kind] = self.state["by_hand"].get(kind, 0) + 1
        return True

    def strike_cluster(self) -> None:
        """Bring the fault of the cluster whose moment has come."""
        waiting = self.state["cluster"]
        outstanding = any(self.state["jobs"].values())
        if waiting and (self.struck >= waiting[0][0] or not outstanding) and self.study.running():
            _, kind = waiting.pop(0)
            self._count(kind)
            CLUSTER[kind](self.study)

    def strike_jobs(self) -> None:
        """Bring each job that can be struck its next fault, and let go those that have met all of theirs."""
        running, started, waiting = self.study.running(), self.study.started(), self.study.waiting()
        for label, kinds in self.state["jobs"].items():
            one = waiting.get(label)
            if one is not None and kinds and kinds[0] in PENDING and self._first_time(one, one.batch):
                self._strike(one, *PENDING[kinds[0]])
            elif one is not None:  # struck already, or not to be struck while it waits
                self.study.release(one.batch)
            one = running.get(label)
            if one is not None and label in started and kinds and self._first_time(one, str(one.attempt)):
                _, meant, strike = RUNNING[kinds[0]]
                self._strike(one, meant, strike)
                if meant is None:
                    del self.state["met"][label]
        done = [label for label, kinds in self.state["jobs"].items() if not kinds and label in started]
        grown = [label for label in started if label not in self.state["jobs"]]
        self.study.go(
            [
                label
                for label in (*done, *grown)
                if self.state["met"].get(label) != f"{running[label].attempt}"
            ]
        )

    def _first_time(self, one: Running, which: str) -> bool:
        """Whether this attempt, or this batch job, has not been struck by a fault that ends it."""
        if self.state["met"].get(one.label) == which:
            return False
        self.state["met"][one.label] = which
        return True

    def _strike(
        self, one: Running, meant: str | None, strike: Callable[[ClusterStudy, Running], None]
    ) -> None:
        self._count(self.state["jobs"][one.label].pop(0))
        if meant is not None:
            self.state["meant"].append([one.job, one.attempt, meant])
        self.keep()
        strike(self.study, one)

    def _count(self, kind: str) -> None:
        self.state["struck"][kind] = self.state["struck"].get(kind, 0) + 1

    def report(self) -> dict[str, Any]:
        """Return the figures."""
        values, doubled_documents = self.values()
        clean = clean_run(self.told)
        with self.study.queue.file.reading() as db:
            verdicts = {
                (row[0], row[1]): row[2] for row in db.execute("SELECT job, attempt, class FROM verdicts")
            }
            attempts = db.execute("SELECT count(*) FROM attempts").fetchone()[0]
        return {
            "jobs": self.told["jobs"],
            "faults": self.struck,
            "faults_by_kind": self.state["struck"],
            "attempts": attempts,
            "failures_by_class": Counter(verdicts.values()),
            "classified_as_struck": sum(verdicts.get((j, n)) == kind for j, n, kind in self.state["meant"]),
            "struck_to_an_end": len(self.state["meant"]),
            "classified_otherwise": Counter(
                f"{kind}, judged {verdicts.get((j, n))}"
                for j, n, kind in self.state["meant"]
                if verdicts.get((j, n)) != kind
            ),
            "rerun_by_hand": self.state["by_hand"],
            "syncs": self.state["turns"],
            "seconds": round(self.state["seconds"]),
            "differing": sorted(k for k in clean.keys() | values.keys() if clean.get(k) != values.get(k)),
            "results": len(values),
            "lost": self.state["lost"],
            "completed_twice": self.study.completed_twice(),
            "documents_twice": doubled_documents,
            "two_writers": sorted(self.study.noted("two-writers")),
            "resumed_from_checkpoints": self.study.noted("resumed").total(),
            "ran_to_their_end_again": sum(n - 1 for n in self.study.noted("end").values()),
        }

    def values(self) -> tuple[dict[str, str], list[str]]:
        """Return the value of each job by label, and the jobs that have more than one document."""
        store = self.study.study.jobstore()
        store.connect()
        labels = self.study.labels()
        own = {job.uuid: labels[job.number] for job in self.study.queue.jobs() if job.index == 1}
        values = {label: store.get_output(uuid) for uuid, label in own.items() if label in self.state["jobs"]}
        found = Counter((one["uuid"], one["index"]) for one in store.query({}, ["uuid", "index"]))
        return values, sorted(uuid for (uuid, _), n in found.items() if n > 1)


def clean_run(told: dict[str, Any]) -> dict[str, str]:
    """Return the value of each job when nothing disturbs it: one process, jobflow alone, no cluster."""
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    jobs, store = jobs_of(told["jobs"], told["seed"], "", wide=told["wide"]), JobStore(MemoryStore())
    run_locally(Flow(jobs, name="clean"), store=store, log=False, ensure_success=True)
    return {job.function_args[0]: store.get_output(job.uuid) for job in jobs}


def main() -> int:
    """Run the campaign, or a part of it, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wide", action="store_true", help="few jobs wait for others")
    parser.add_argument("--minutes", type=float, default=1e6)
    told = vars(parser.parse_args())
    folder, minutes = told.pop("folder").absolute(), told.pop("minutes")
    campaign = Campaign(folder, told)
    if not campaign.run(minutes):
        print("not done yet: give the command again")
        return 6
    campaign.study.unmount()
    report = campaign.report()
    print(json.dumps(report, indent=1))
    bad = ("differing", "lost", "completed_twice", "documents_twice", "two_writers")
    return int(any(report[name] for name in bad) or report["faults"] != told["faults"])


if __name__ == "__main__":
    sys.exit(main())
