"""Faults on the real scheduler, each several times, and a table of what became of the jobs.

Usage: ``python fault_drill.py FOLDER [--times 5] [--only timeout,oom]`` with the one-machine SLURM and the
test database up (slurm/dev/start, its env.sh sourced). For each fault: so many jobs are started, struck while
they run, and followed with ``sync`` and ``launch`` until nothing is left to do. A job is *recovered* if it
completed, by its policy or, where the policy is to wait for a person, after ``rerun``; *lost* if it has no
end; *doubled* if it completed more than once.
"""

# ruff: noqa: E402, T201 - a program: it prints, and batch jobs must find its modules before they are imported.

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "src")]
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(ROOT / "src")])

import drill_jobs
from jobflow import Flow

from epilayer.cli.cluster import _launcher
from epilayer.cli.common import cluster_queue_of
from epilayer.config import open_study
from epilayer.launch.base import JobState
from epilayer.model.errors import QueueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PROFILE = """\
name: drill
title: the one-machine SLURM, for drills
source: slurm/dev/start
database: {database}
preamble: generic/preamble.sh
signal_ahead_s: 20
most_queued: 40
poll_s: 1
resources: {{tasks: 1, memory: 400M, walltime: "00:20:00", partition: debug}}
rules:
  - {{jobs: "pending*", resources: {{extra: ["--hold"]}}}}
"""
PATIENCE_S = 240.0


@dataclass
class Row:
    """One line of the table."""

    fault: str
    times: int = 0
    classified: int = 0
    recovered: int = 0
    lost: int = 0
    doubled: int = 0
    classes: str = ""


class Drill:
    """A study on the one-machine SLURM, and the means to strike its jobs."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "configs" / "clusters").mkdir(parents=True)
        database = f"{os.environ['EPILAYER_DEV_MONGO']}drill_{uuid.uuid4().hex[:10]}"
        profile = folder / "configs" / "clusters" / "drill.yaml"
        profile.write_text(PROFILE.format(database=database), encoding="utf-8")
        (folder / "epilayer.yaml").write_text("queue: drill\n", encoding="utf-8")
        self.folder = folder
        self.study = open_study(folder)
        self.queue = cluster_queue_of(self.study, patience_s=120.0)
        self.launcher = _launcher(self.study, self.queue)
        self.policies = self.study.recovery()
        self.log = folder / "log"

    def close(self) -> None:
        database = self.queue.board.journal.database
        database.client.drop_database(database.name)

    def submit(self, fault: str, times: int, **options: Any) -> list[int]:  # noqa: ANN401
        prefix = "pending" if fault == "scancel pending" else "drill"
        jobs = []
        for i in range(times):
            label = f"{fault.replace(' ', '_')}-{i}"
            made = drill_jobs.work(label, str(self.log), **options)
            made.name = f"{prefix} {label}"
            jobs.append(made)
        report = self.queue.submit(Flow(jobs, name=fault))
        self.launcher.launch()
        return list(report.new)

    def noted(self, what: str) -> Counter[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return Counter(line.split()[1] for line in lines if line.startswith(what))

    def started(self, fault: str, times: int) -> bool:
        return (
            sum(n for label, n in self.noted("start").items() if label.startswith(fault.replace(" ", "_")))
            >= times
        )

    def wait(self, what: Callable[[], bool]) -> bool:
        until = time.monotonic() + PATIENCE_S
        while not what():
            if time.monotonic() > until:
                return False
            time.sleep(0.5)
        return True

    def batch_jobs(self, jobs: Iterable[int]) -> list[str]:
        """Return the scheduler's numbers of jobs."""
        wanted = set(jobs)
        return [
            one.scheduler_id
            for one in self.launcher._launches()
            if one.row.job in wanted and one.scheduler_id
        ]

    def workers(self) -> list[int]:
        with self.queue.file.reading() as db:
            rows = db.execute(
                "SELECT w.pid FROM attempts a JOIN workers w ON w.token = a.worker"
                " WHERE a.outcome = 'RUNNING'"
            )
            return [row[0] for row in rows]

    def follow(self, jobs: list[int], *, by_hand: bool) -> dict[int, str]:
        """Sync and launch until the jobs have ended; return the first class of each."""
        first: dict[int, str] = {}

        def done() -> bool:
            try:
                for job, kind, _ in self.launcher.sync(self.policies).recovered:
                    first.setdefault(job, kind)
                if by_hand:
                    failed = [
                        job.number for job in self.queue.jobs(state=JobState.FAILED) if job.number in jobs
                    ]
                    ready = [job for job in failed if job in first]
                    if ready:
                        self.queue.rerun(ready)
                self.release_held()
                self.launcher.launch()
                self.release_held()
            except QueueError as error:
                print(f"   (for now: {error.what})", flush=True)
                return False
            states = {job.number: job.state for job in self.queue.jobs() if job.number in jobs}
            return all(state is JobState.COMPLETED for state in states.values())

        self.wait(done)
        return first

    def release_held(self) -> None:
        if self.folder.joinpath("release").exists():
            for line in run("squeue", "--noheader", "--state=PD", "--format=%i %r").splitlines():
                if "held" in line.lower():
                    run("scontrol", "release", line.split()[0])

    def row(self, fault: str, jobs: list[int], first: dict[int, str], meant: str | None) -> Row:
        infos = {job.number: job for job in self.queue.jobs() if job.number in jobs}
        ends = self.noted("end")
        mine = {label: n for label, n in ends.items() if label.startswith(fault.replace(" ", "_") + "-")}
        completed = sum(job.state is JobState.COMPLETED for job in infos.values())
        right = sum(first.get(job) == meant for job in jobs) if meant else completed
        return Row(
            fault,
            len(jobs),
            right,
            completed,
            sum(not job.state.finished for job in infos.values()),
            sum(n > 1 for n in mine.values()),
            ", ".join(f"{kind} {n}" for kind, n in Counter(first.values()).items()) or "none failed",
        )


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def strike_timeout(drill: Drill, jobs: list[int]) -> None:
    for number in drill.batch_jobs(jobs):
        run("scontrol", "update", f"JobId={number}", "TimeLimit=0:01")


def strike_scancel(drill: Drill, jobs: list[int]) -> None:
    for number in drill.batch_jobs(jobs):
        run("scancel", number)


def strike_node(drill: Drill, _jobs: list[int]) -> None:
    node = os.uname().nodename.split(".")[0]
    run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=drill")
    time.sleep(1)
    run("scontrol", "update", f"NodeName={node}", "State=RESUME")
    drill.folder.joinpath("node").touch()


def strike_kill(drill: Drill, _jobs: list[int]) -> None:
    for pid in drill.workers():
        os.kill(pid, signal.SIGKILL)


def strike_requeue(drill: Drill, jobs: list[int]) -> None:
    for number in drill.batch_jobs(jobs):
        run("scontrol", "requeue", number)


def strike_folder(drill: Drill, _jobs: list[int]) -> None:
    shutil.rmtree(drill.launcher.folder)


def strike_database(_drill: Drill, _jobs: list[int]) -> None:
    script = str(ROOT / "slurm" / "dev" / "mongo")
    run(script, "kill")
    time.sleep(3)
    run(script, "start")


def strike_sacct(drill: Drill, jobs: list[int]) -> None:
    """Let the accounting fail while jobs end: nothing may be concluded from it."""
    shim = drill.folder / "bin"
    shim.mkdir()
    for name in ("sacct", "squeue"):
        (shim / name).write_text(
            "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n"
        )
        (shim / name).chmod(0o755)
    path = os.environ["PATH"]
    strike_kill(drill, jobs)
    os.environ["PATH"] = f"{shim}:{path}"
    try:
        before = drill.queue.counts()
        try:
            drill.launcher.sync(drill.policies)
        except QueueError as error:
            print(f"   (as it should: {error.what})", flush=True)
        else:
            raise AssertionError("a sync without a scheduler concluded something")
        assert drill.queue.counts() == before
    finally:
        os.environ["PATH"] = path


def strike_double(drill: Drill, jobs: list[int]) -> None:
    """Submit the same Fireworks a second time, past the LaunchPad."""
    for number in drill.batch_jobs(jobs):
        scripts = list(drill.launcher.folder.glob("*/job.sh"))
        script = next(s for s in scripts if (s.parent / f"slurm-{number}.out").exists())
        run("sbatch", str(script))
    time.sleep(10)
    strike_kill(drill, jobs)


FAULTS: dict[str, tuple[Callable[[Drill, list[int]], None], str | None, dict[str, Any]]] = {
    "no fault": (lambda *_: None, None, {"nap_s": 1.0}),
    "timeout": (strike_timeout, "walltime", {}),
    "oom": (lambda *_: None, "out_of_memory", {"grab_mb": 700, "nap_s": 60.0}),
    "scancel running": (strike_scancel, "cancelled", {}),
    "scancel pending": (strike_scancel, "cancelled", {"nap_s": 0.0}),
    "node down": (strike_node, "node_failure", {}),
    "requeue refused": (strike_requeue, None, {"nap_s": 30.0}),
    "worker kill -9": (strike_kill, "crash", {}),
    "folder deleted": (strike_folder, None, {"nap_s": 10.0}),
    "database killed": (strike_database, None, {"nap_s": 15.0}),
    "sacct and squeue fail": (strike_sacct, "crash", {}),
    "launched twice": (strike_double, "crash", {}),
}
BY_HAND = {"scancel running", "scancel pending"}


def drill_one(folder: Path, fault: str, times: int) -> Row:
    """Strike ``times`` jobs with one fault and follow them to their end."""
    strike, meant, options = FAULTS[fault]
    drill = Drill(folder / fault.replace(" ", "_"))
    try:
        jobs = drill.submit(fault, times, **options)
        if fault == "scancel pending":
            time.sleep(1)
            strike(drill, jobs)
            drill.folder.joinpath("release").touch()
        else:
            assert drill.wait(lambda: drill.started(fault, times)), "the jobs did not start"
            strike(drill, jobs)
        first = drill.follow(jobs, by_hand=fault in BY_HAND)
        return drill.row(fault, jobs, first, meant)
    finally:
        drill.close()


def main() -> int:
    """Run the drills and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", default=",".join(FAULTS))
    told = parser.parse_args()
    rows = []
    for fault in told.only.split(","):
        began_s = time.monotonic()
        row = drill_one(told.folder.absolute(), fault, told.times)
        rows.append(row)
        print(f"{fault}: {row} in {time.monotonic() - began_s:.0f} s", flush=True)
    print(f"\n{'fault':24}{'times':>6}{'class right':>12}{'recovered':>10}{'lost':>6}{'doubled':>8}  classes")
    for row in rows:
        figures = f"{row.times:6}{row.classified:12}{row.recovered:10}{row.lost:6}{row.doubled:8}"
        print(f"{row.fault:24}{figures}  {row.classes}")
    bad = [r for r in rows if r.lost or r.doubled or r.recovered < r.times or r.classified < r.times]
    return len(bad)


if __name__ == "__main__":
    sys.exit(main())
