"""The cluster's queue beside plain FireWorks on the same database: trivial jobs, one worker each.

Usage: ``python benchmarks/cluster.py [JOBS]`` with the test database up (slurm/dev/start; source its env.sh).
"""

# ruff: noqa: E402 - beside this file stands a queue.py, which must not hide the standard library's.
from __future__ import annotations

import contextlib
import io
import logging
import os
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

from epilayer.launch import EmbeddedQueue, run_workers
from epilayer.launch.fireworks import FireworksQueue
from epilayer.store.jobs import mongo_jobstore


def flow(jobs: int, first: int = 0) -> Flow:
    """Return a flow of trivial jobs; a function of the standard library, which every worker has."""
    return Flow([Job(os.path.basename, function_args=[f"{first + i}"]) for i in range(jobs)], name="trivial")


def ours(server: str, folder: Path, jobs: int) -> tuple[float, float, FireworksQueue]:
    """Return seconds to submit and to complete, and the queue."""
    uri = f"{server}bench_{uuid.uuid4().hex[:8]}"
    queue = FireworksQueue(uri, runs=folder / "runs", cache=folder)
    began_s = time.perf_counter()
    queue.submit(flow(jobs))
    submitted_s = time.perf_counter()
    report = run_workers(queue, mongo_jobstore(uri).as_dict(), workers=1)
    assert report.completed == jobs
    return submitted_s - began_s, report.elapsed_s - report.startup_s, queue


def plain(server: str, folder: Path, jobs: int) -> tuple[float, float]:
    """Return the same for FireWorks alone, each job a Firework that runs nothing."""
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


def main() -> None:
    """Print the rates and their ratios."""
    server = os.environ.get("EPILAYER_DEV_MONGO")
    if not server:
        print("no test database: slurm/dev/start, then source its env.sh")
        return
    logging.disable(logging.CRITICAL)
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plain").mkdir()
        submit_s, run_s, queue = ours(server, folder, jobs)
        peer_submit_s, peer_run_s = plain(server, folder / "plain", jobs)
        print(
            f"submit   epilayer {jobs / submit_s:8.1f} jobs/s   FireWorks {jobs / peer_submit_s:8.1f} jobs/s"
            f"   ratio {peer_submit_s / submit_s:.2f}"
        )
        print(
            f"complete epilayer {jobs / run_s:8.1f} jobs/s   FireWorks {jobs / peer_run_s:8.1f} jobs/s"
            f"   ratio {peer_run_s / run_s:.2f}"
        )
        # Known and done long ago: not launched here, so that the bench does not take half an hour.
        EmbeddedQueue.submit(queue, flow(max(0, 5000 - jobs), first=jobs))
        with queue.file.writing() as db:
            db.execute("UPDATE jobs SET state = 'COMPLETED'")
        began_s = time.perf_counter()
        queue.status()
        print(f"status of 5000 jobs {time.perf_counter() - began_s:.3f} s (limit 1 s)")
        began_s = time.perf_counter()
        queue.board.project()
        took_s = time.perf_counter() - began_s
        print(f"LaunchPad in line with 5000 known jobs {took_s:.2f} s (limit 5 s)")


if __name__ == "__main__":
    main()
