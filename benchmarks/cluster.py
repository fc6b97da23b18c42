"""The cluster's queue beside plain FireWorks on the same database: trivial jobs, one worker each.

Usage: ``python benchmarks/cluster.py [JOBS]`` with the test database up (slurm/dev/start; source its env.sh).

Both have their collections and indexes before the clock starts, and both run everything on this machine.
FireWorks inserts Fireworks and carries each through its LaunchPad; the queue writes one entry of its journal
for the flow, and one for the end of each job with the claim of the next. Fireworks are made of what goes to
the scheduler; what that costs for all of the jobs at once stands on a line of its own. Then the commands a
person waits for, each a process of its own, in a study of 5,000 jobs: ``cluster sync`` asks the real SLURM.
"""

# ruff: noqa: E402 - beside this file stands a queue.py, which must not hide the standard library's.
from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]

from fireworks import Firework, FWorker, LaunchPad, ScriptTask
from fireworks.core.rocket_launcher import rapidfire
from jobflow import Flow, Job

from epilayer.launch import run_workers
from epilayer.launch.fireworks import FireworksQueue
from epilayer.store.jobs import mongo_jobstore

KNOWN = 5000
LIMITS_S = {"status": 1.0, "cluster sync": 5.0}
PROGRAM = "from epilayer.cli import main; main()"
PROFILE = """\
name: bench
title: the one-machine SLURM
source: slurm/dev/start
database: {uri}
preamble: generic/preamble.sh
resources: {{tasks: 1, memory: 400M, walltime: "00:10:00"}}
"""


def flow(jobs: int, first: int = 0) -> Flow:
    """Return a flow of trivial jobs; a function of the standard library, which every worker has."""
    return Flow([Job(os.path.basename, function_args=[f"{first + i}"]) for i in range(jobs)], name="trivial")


def ours(uri: str, folder: Path, jobs: int) -> tuple[float, float, float]:
    """Return seconds to submit, to complete, and to make a Firework of each."""
    queue = FireworksQueue(uri, runs=folder / "runs", cache=folder)
    queue.board.project()  # sets up the LaunchPad
    began_s = time.perf_counter()
    queue.submit(flow(jobs))
    submitted_s = time.perf_counter()
    queue.board.project()
    projected_s = time.perf_counter()
    report = run_workers(queue, mongo_jobstore(uri).as_dict(), workers=1)
    assert report.completed == jobs
    return submitted_s - began_s, report.elapsed_s - report.startup_s, projected_s - submitted_s


def plain(server: str, folder: Path, jobs: int) -> tuple[float, float]:
    """Return seconds to submit and to complete for FireWorks alone; each Firework runs nothing."""
    pad = LaunchPad(host=server, name=f"bench_{uuid.uuid4().hex[:8]}", uri_mode=True, strm_lvl="CRITICAL")
    pad.reset("", require_password=False)
    began_s = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        pad.bulk_add_wfs([Firework(ScriptTask.from_str("true"), name=str(i)) for i in range(jobs)])
    submitted_s = time.perf_counter()
    home = Path.cwd()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        rapidfire(pad, FWorker(), m_dir=str(folder), strm_lvl="CRITICAL")
    os.chdir(home)
    return submitted_s - began_s, time.perf_counter() - submitted_s


def commands(uri: str, folder: Path, jobs: int) -> None:
    """Print how long a person waits for each command in a study of `KNOWN` jobs, most of them done."""
    (folder / "configs" / "clusters").mkdir(parents=True)
    (folder / "configs" / "clusters" / "bench.yaml").write_text(PROFILE.format(uri=uri), encoding="utf-8")
    (folder / "epilayer.yaml").write_text("queue: bench\n", encoding="utf-8")
    queue = FireworksQueue(uri, runs=folder / "runs", cache=folder)
    queue.submit(flow(max(0, KNOWN - jobs), first=jobs))
    with queue.file.writing() as db:  # done long ago, so that the bench does not take minutes
        db.execute("UPDATE jobs SET state = 'COMPLETED' WHERE id <= ?", (KNOWN - 50,))
    for command, limit_s in LIMITS_S.items():
        if command == "cluster sync" and not shutil.which("squeue"):
            print(f"{command}: not timed, there is no SLURM here")
            continue
        told = [sys.executable, "-c", PROGRAM, "-C", str(folder), *command.split()]
        for what in ("first", "again"):  # the first look on a machine makes its copy of the tables
            began_s = time.perf_counter()
            done = subprocess.run(told, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            took_s = time.perf_counter() - began_s
            print(f"epilayer {command}, {KNOWN} jobs, {what}: {took_s:.2f} s (limit {limit_s:.0f} s)")


def main() -> None:
    """Print the rates and their ratios."""
    server = os.environ.get("EPILAYER_DEV_MONGO")
    if not server:
        print("no test database: slurm/dev/start, then source its env.sh")
        return
    logging.disable(logging.CRITICAL)
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    uri = f"{server}bench_{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plain").mkdir()
        submit_s, run_s, project_s = ours(uri, folder, jobs)
        peer_submit_s, peer_run_s = plain(server, folder / "plain", jobs)
        for what, mine_s, peer_s in (
            ("submit", submit_s, peer_submit_s),
            ("submit, with Fireworks", submit_s + project_s, peer_submit_s),
            ("complete", run_s, peer_run_s),
        ):
            print(
                f"{what:24}epilayer {jobs / mine_s:7.1f} jobs/s   FireWorks {jobs / peer_s:7.1f} jobs/s"
                f"   ratio {peer_s / mine_s:.2f}"
            )
        commands(uri, folder / "study", jobs)


if __name__ == "__main__":
    main()
