"""A study on the one-machine SLURM, the faults that strike it, and witnesses that do not ask the queue.

Used by ``fault_drill.py`` (one fault at a time) and ``campaign.py`` (all of them at random).
"""

# ruff: noqa: E402 - batch jobs must find the modules before they are imported.

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "src")]
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(ROOT / "src")])

from epilayer import Study
from epilayer.launch import processes
from epilayer.launch.base import JobState, Outcome
from epilayer.launch.processes import job_id_of
from epilayer.model.errors import QueueError
from epilayer.study.cluster import launcher_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from epilayer.launch.cluster import SyncReport

PROFILE = """\
name: drill
title: the one-machine SLURM, for drills
source: slurm/dev/start
database: {database}
preamble: generic/preamble.sh
{more}signal_ahead_s: 20
most_queued: 60
poll_s: 1
resources: {{tasks: 1, memory: 400M, walltime: "00:20:00", partition: debug}}
rules:
  - {{jobs: "held*", resources: {{extra: ["--hold"]}}}}
"""
FOLDERS = ("orders", "go", "writers", "checkpoints")
_NODE = os.uname().nodename.split(".")[0]
_ACTIVE = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "RESIZING"}
_LATE_S, _PATIENCE_S = 4.0, 1.0
PATIENCE_S = 240.0
"""How long a drill waits for anything."""


def run(*command: str) -> str:
    """Return what a command prints, whatever comes of it."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


@dataclass(frozen=True)
class Running:
    """A job that runs, or waits at the scheduler."""

    job: int
    label: str
    attempt: int
    batch: str
    pid: int = 0
    directory: Path = Path()


class ClusterStudy:
    """A study on the one-machine SLURM; made, or opened again where it is there.

    Parameters
    ----------
    folder
        Of the study.
    more
        Further lines of the cluster's profile.
    """

    def __init__(self, folder: Path, *, more: str = "") -> None:
        self.folder = folder
        for name in (*FOLDERS, "configs/clusters", "small"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        profile = folder / "configs" / "clusters" / "drill.yaml"
        if not profile.exists():
            database = f"{os.environ['EPILAYER_DEV_MONGO']}drill_{uuid.uuid4().hex[:10]}"
            profile.write_text(PROFILE.format(database=database, more=more), encoding="utf-8")
            (folder / "epilayer.yaml").write_text("queue: drill\n", encoding="utf-8")
        self.study = Study.open(folder)
        self.queue = self.study.cluster_queue(patience_s=120.0)
        self.launcher = launcher_of(self.study, self.queue)
        self.policies = self.study.recovery()
        self.first: dict[int, str] = {}
        """The class that the policies saw first, by job."""
        self.lost: set[int] = set()
        """Jobs that nothing carried after two syncs, one after the other."""
        self._adrift: set[int] = set()

    def close(self) -> None:
        """Remove the database."""
        database = self.queue.board.journal.database
        database.client.drop_database(database.name)

    # What there is

    def labels(self) -> dict[int, str]:
        """Return the label of each job."""
        return {job.number: job.name.split()[-1] for job in self.queue.jobs()}

    def running(self) -> dict[str, Running]:
        """Return the jobs whose worker lives, by label."""
        with self.queue.file.reading() as db:
            rows = db.execute(
                "SELECT j.id, j.name, a.number, a.worker, a.directory, w.pid, w.pid_start FROM attempts a"
                " JOIN jobs j ON j.id = a.job JOIN workers w ON w.token = a.worker"
                " WHERE a.outcome = 'RUNNING'"
            ).fetchall()
        return {
            row["name"].split()[-1]: Running(
                row["id"],
                row["name"].split()[-1],
                row["number"],
                job_id_of(row["worker"]) or "",
                row["pid"],
                self.queue.claims.runs / row["directory"],
            )
            for row in rows
            if processes.alive(row["pid"], row["pid_start"])
        }

    def waiting(self) -> dict[str, Running]:
        """Return the jobs that wait at the scheduler, by label."""
        pending = set(run("squeue", "--me", "--noheader", "--state=PD", "--format=%i").split())
        labels = self.labels()
        attempts = {job.number: job.attempts for job in self.queue.jobs(state=JobState.READY)}
        return {
            labels[one.row.job]: Running(
                one.row.job, labels[one.row.job], attempts[one.row.job], one.scheduler_id
            )
            for one in self.launcher._launches()
            if one.scheduler_id in pending and one.row.job in attempts
        }

    def started(self) -> set[str]:
        """Return the labels of jobs that have come to the point where a fault finds them."""
        running = self.running()
        begun = {(label, pid) for _, label, pid in self._notes("start")}
        return {label for label, one in running.items() if (label, str(one.pid)) in begun}

    # Witnesses

    def _notes(self, what: str) -> list[list[str]]:
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [parts for parts in map(str.split, lines) if parts[0] == what]

    def noted(self, what: str) -> Counter[str]:
        """Count what the jobs have noted themselves, by label."""
        return Counter(label for _, label, _ in self._notes(what))

    def completed_twice(self) -> list[int]:
        """Return the jobs of which more than one attempt has completed."""
        with self.queue.file.reading() as db:
            rows = db.execute(
                "SELECT job FROM attempts WHERE outcome = ? GROUP BY job HAVING count(*) > 1",
                (Outcome.COMPLETED,),
            )
            return [row[0] for row in rows]

    def adrift(self) -> set[int]:
        """Return the jobs that the queue has open and that nothing carries: no batch job, no process."""
        lines = run("squeue", "--me", "--noheader", "--format=%i %T").splitlines()
        carried = {number for number, state in map(str.split, lines) if state in _ACTIVE}
        with self.queue.file.reading() as db:
            rows = db.execute(
                "SELECT a.job, a.worker, w.pid, w.pid_start FROM attempts a"
                " JOIN workers w ON w.token = a.worker WHERE a.outcome = 'RUNNING'"
            ).fetchall()
            ready = {row[0] for row in db.execute("SELECT id FROM jobs WHERE state = 'READY'")}
        found = {
            row["job"]
            for row in rows
            if job_id_of(row["worker"]) not in carried
            and not processes.alive(row["pid"], row["pid_start"])
            and not processes.family(row["worker"])
        }
        launches = self.launcher._launches()
        return found | {
            one.row.job for one in launches if one.row.job in ready and one.scheduler_id not in carried
        }

    # Going on

    def turn(self, *, by_hand: Callable[[int, str], bool] = lambda *_: False) -> SyncReport | None:
        """Sync, act as a person on what waits for one, and launch; None where the scheduler is silent.

        Parameters
        ----------
        by_hand
            Whether a person would rerun a failed job of this number and class.
        """
        try:
            report = self.launcher.sync(self.policies)
            for job, kind, _ in report.recovered:
                self.first.setdefault(job, kind)
            adrift = self.adrift()
            self.lost |= adrift & self._adrift
            self._adrift = adrift
            with self.queue.file.reading() as db:
                left = db.execute(
                    "SELECT DISTINCT v.job, v.class FROM verdicts v JOIN jobs j ON j.id = v.job"
                    " WHERE j.state = 'FAILED' AND v.attempt = j.attempts AND v.why = j.cause"
                    " AND v.rerun IS NULL"
                ).fetchall()
            again = [row[0] for row in left if by_hand(row[0], row[1])]
            if again:
                self.mend()
                self.queue.rerun(again)
            self.launcher.launch()
        except QueueError as error:
            print(f"   (for now: {error.what})", flush=True)  # noqa: T201 - part of two programs
            return None
        return report

    def mend(self) -> None:
        """Free the space that the jobs have taken."""
        for pattern in ("small/fill-*", "runs/*/*/*/fill-*"):
            for file in self.folder.glob(pattern):
                file.unlink()

    def go(self, labels: Iterable[str]) -> None:
        """Let jobs go on to their end."""
        for label in labels:
            (self.folder / "go" / label).touch()

    def release(self, batch: str) -> None:
        """Let the scheduler start a job that was submitted as held."""
        run("scontrol", "release", batch)

    def order(self, one: Running, *words: str) -> None:
        """Give a running job an order."""
        new = self.folder / "orders" / f".{one.label}"
        new.write_text(" ".join(words))
        new.replace(self.folder / "orders" / one.label)

    # Faults of one job

    def kill(self, one: Running) -> None:
        """Kill the worker, and leave what it has started."""
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)

    def scancel(self, one: Running) -> None:
        """Cancel the batch job."""
        run("scancel", one.batch)

    def timeout(self, one: Running) -> None:
        """Let its time be over; the scheduler looks every 30 s."""
        run("scontrol", "update", f"JobId={one.batch}", "TimeLimit=0:01")

    def out_of_memory(self, one: Running) -> None:
        """Let it take more memory than its cgroup has."""
        self.order(one, "hoard")

    def requeue(self, one: Running) -> None:
        """Put it back into the scheduler's queue against its own wish, as operators may."""
        run("scontrol", "update", f"JobId={one.batch}", "Requeue=1")
        run("scontrol", "requeue", one.batch)

    def requeue_refused(self, one: Running) -> None:
        """Try to put it back; the batch script does not allow it."""
        run("scontrol", "requeue", one.batch)

    def launch_twice(self, one: Running) -> None:
        """Submit its batch script once more, past the queue."""
        for script in self.launcher.folder.glob("*/job.sh"):
            if (script.parent / f"slurm-{one.batch}.out").exists():
                run("sbatch", str(script))

    def launch_twice_and_kill(self, one: Running) -> None:
        """Have two batch jobs for one job, and kill the one that runs it."""
        self.launch_twice(one)
        time.sleep(1.0)
        self.kill(one)

    def delete_directory(self, one: Running) -> None:
        """Delete the directory it runs in; then it writes there."""
        shutil.rmtree(one.directory, ignore_errors=True)
        self.order(one, "write")

    def delete_launch_folder(self, one: Running) -> None:
        """Delete the folder of its batch script and of the scheduler's output."""
        for script in self.launcher.folder.glob("*/job.sh"):
            if (
                script.parent / f"slurm-{one.batch}.out"
            ).exists() or f" job {one.job} " in script.read_text():
                shutil.rmtree(script.parent, ignore_errors=True)

    def fill_disk(self, one: Running) -> None:
        """Let it write to a disk of 2 MB until that is full."""
        small = self.folder / "small"
        if not small.is_mount():
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=True)
        self.order(one, "fill", str(small))

    def unmount(self) -> None:
        """Remove the small disk, when no job writes to it any more."""
        if (self.folder / "small").is_mount():
            subprocess.run(["umount", str(self.folder / "small")], check=True)

    def fill_own_disk(self, one: Running) -> None:
        """Let it write to the disk of its own directory until that is full."""
        self.order(one, "fill", ".")

    # Faults of the cluster

    def node_down(self) -> None:
        """Declare the node down, and up again."""
        run("scontrol", "update", f"NodeName={_NODE}", "State=DOWN", "Reason=drill")
        time.sleep(1)
        run("scontrol", "update", f"NodeName={_NODE}", "State=RESUME")

    def kill_slurmd(self, meanwhile: Callable[[], object]) -> None:
        """Kill the node's daemon, and start it again when the controller has given the node up.

        Its jobs run on; ``meanwhile`` is what happens before it is started again.
        """
        pid = int((dev_folder() / "run" / "slurmd.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        until_s = time.monotonic() + 90
        while "down" not in run("sinfo", "-h", "-o", "%T") and time.monotonic() < until_s:
            time.sleep(0.5)
        try:
            meanwhile()
        finally:
            start_what_is_down()

    def kill_database(self) -> None:
        """Kill the database, and start it again on its port."""
        _dev("mongo", "kill")
        time.sleep(2)
        _dev("mongo", "start")

    @contextmanager
    def scheduler_silent(self) -> Iterator[None]:
        """Let squeue, sacct and scontrol fail: a double of each stands before it on PATH."""
        line = "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1"
        with self._shim(dict.fromkeys(("squeue", "sacct", "scontrol"), line)):
            yield

    @contextmanager
    def scheduler_late(self, *names: str) -> Iterator[None]:
        """Let commands act, and answer after the product's patience has ended (doubles on PATH)."""
        real = {name: shutil.which(name) for name in names}
        patience_s, self.launcher.slurm.timeout_s = self.launcher.slurm.timeout_s, _PATIENCE_S
        lines = {
            n: f'said=$({path} "$@"); code=$?; sleep {_LATE_S}; echo "$said"; exit $code'
            for n, path in real.items()
        }
        try:
            with self._shim(lines):
                yield
        finally:
            self.launcher.slurm.timeout_s = patience_s

    @contextmanager
    def _shim(self, lines: dict[str, str]) -> Iterator[None]:
        folder = self.folder / "bin" / uuid.uuid4().hex[:8]
        folder.mkdir(parents=True)
        for name, line in lines.items():
            (folder / name).write_text(f"#!/bin/sh\n{line}\n")
            (folder / name).chmod(0o755)
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{folder}:{path}"
        try:
            yield
        finally:
            os.environ["PATH"] = path


def dev_folder() -> Path:
    """Return the folder of the one-machine SLURM."""
    return Path(os.environ["SLURM_CONF"]).parent


def start_what_is_down() -> None:
    """Start the daemons that do not run."""
    done = _dev("start")
    assert done.returncode == 0, done.stdout + done.stderr


def _dev(*command: str) -> subprocess.CompletedProcess[str]:
    script, *arguments = command
    return subprocess.run(
        [str(ROOT / "slurm" / "dev" / script), *arguments],
        env={**os.environ, "EPILAYER_DEV_CLUSTER": str(dev_folder())},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def until(what: Callable[[], bool], otherwise: str) -> None:
    """Wait until something is so."""
    end_s = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end_s, otherwise
        time.sleep(0.5)


def tmpfs(folder: Path) -> None:
    """Mount a disk of 4 MB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)


def quota(folder: Path) -> None:
    """Mount a disk on which the folder may hold 8 MB: its quota, not its size, is what is hit."""
    image = folder.with_name("disk.img")
    subprocess.run(["truncate", "-s", "160M", str(image)], check=True)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    subprocess.run(["btrfs", "quota", "enable", str(folder)], check=True)
    subprocess.run(["btrfs", "qgroup", "limit", "8M", "0/5", str(folder)], check=True)


@contextmanager
def mounted(mount: Callable[[Path], None], folder: Path) -> Iterator[None]:
    """Have a disk mounted there for a while."""
    folder.mkdir(parents=True, exist_ok=True)
    mount(folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
