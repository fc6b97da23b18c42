"""Jobs per second of the embedded queue, beside ``jobflow.run_locally`` with a MemoryStore, in one run.

    python benchmarks/queue.py [--json] [--sizes 1000 10000] [--peer-sizes 1000 10000]

The queue is durable (every job is a committed transaction, flushed to disk, and its document another) and
runs one worker process; the peer keeps everything in memory, in one process. Two shapes: a *chain*, where
each job takes the output of the one before, and a *fan* of independent jobs that all take the output of the
first. Rates are stated with and without the start of the worker process (a constant, paid once a run);
submission is timed apart, since the peer has none. The CPU time a job takes (all processes) stands beside,
since on a shared machine it is the steadier figure. Bars: at 1,000 jobs at least 0.9 times the peer; at
10,000 at least 0.8 times the queue's own rate at 1,000.
"""

from __future__ import annotations

import argparse
import gc
import json
import operator
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JOBFLOW_LOG_FORMAT", "%(message)s")
warnings.filterwarnings("ignore")
# This file is called queue.py: its folder must not stand before the standard library's queue.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).parent]

from jobflow import Flow, Job, JobStore, run_locally  # noqa: E402
from maggma.stores import MemoryStore  # noqa: E402

from epilayer.launch import EmbeddedQueue, JobState, run_workers  # noqa: E402
from epilayer.store.sqlite import SqliteStore  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

PEER_BAR, SCALE_BAR = 0.9, 0.8
SMALL, LARGE = 1_000, 10_000


def plus(a: Any, b: int) -> Job:  # noqa: ANN401  (a number or a reference to one)
    """Return a job that adds two numbers; any worker can import its function."""
    return Job(operator.add, function_args=(a, b))


def chain(n: int) -> Flow:
    """Return n jobs, each on the output of the one before."""
    jobs = [plus(0, 1)]
    for i in range(1, n):
        jobs.append(plus(jobs[-1].output, i))
    return Flow(jobs, name=f"chain {n}")


def fan(n: int) -> Flow:
    """Return one job and n - 1 others on its output."""
    first = plus(0, 1)
    return Flow([first, *(plus(first.output, i) for i in range(1, n))], name=f"fan {n}")


def queue_run(make: Callable[[int], Flow], n: int) -> dict[str, float]:
    """Submit and run with one worker, on disk; return times in seconds."""
    with tempfile.TemporaryDirectory(prefix="epilayer-bench-") as folder:
        store = JobStore(SqliteStore(f"{folder}/outputs.db"))
        queue = EmbeddedQueue(f"{folder}/queue.db")
        flow = make(n)
        begun = time.perf_counter()
        queue.submit(flow)
        submit_s = time.perf_counter() - begun
        begun, cpu_s = time.perf_counter(), used_cpu_s()
        report = run_workers(queue, store.as_dict(), workers=1)
        run_s, cpu_s = time.perf_counter() - begun, used_cpu_s() - cpu_s
        done = queue.counts()[JobState.COMPLETED]
        assert done == n, f"{done} of {n} jobs completed"
        queue.close()
        return {"submit_s": submit_s, "run_s": run_s, "startup_s": report.startup_s, "cpu_s": cpu_s}


def used_cpu_s() -> float:
    """Return the CPU time of this process and of its children that have ended, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peer_run(make: Callable[[int], Flow], n: int) -> dict[str, float]:
    """Run with jobflow's own local manager, in memory; return the time in seconds."""
    flow = make(n)
    store = JobStore(MemoryStore())
    begun, cpu_s = time.perf_counter(), used_cpu_s()
    responses = run_locally(flow, log=False, store=store)
    run_s, cpu_s = time.perf_counter() - begun, used_cpu_s() - cpu_s
    assert len(responses) == n
    return {"run_s": run_s, "cpu_s": cpu_s}


def measure(sizes: list[int], peer_sizes: list[int]) -> list[dict[str, Any]]:
    """Run every shape and size, the peer right after the queue."""
    rows: list[dict[str, Any]] = []
    for make in (chain, fan):
        for n in sizes:
            gc.collect()
            queue = queue_run(make, n)
            row: dict[str, Any] = {
                "shape": make.__name__,
                "jobs": n,
                "queue_jobs_per_s": n / queue["run_s"],
                "queue_jobs_per_s_without_startup": n / (queue["run_s"] - queue["startup_s"]),
                "startup_s": queue["startup_s"],
                "submit_jobs_per_s": n / queue["submit_s"],
                "queue_cpu_ms_per_job": 1e3 * queue["cpu_s"] / n,
                "peer_cpu_ms_per_job": None,
                "peer_jobs_per_s": None,
                "ratio": None,
            }
            if n in peer_sizes:
                gc.collect()
                peer = peer_run(make, n)
                row["peer_jobs_per_s"] = n / peer["run_s"]
                row["peer_cpu_ms_per_job"] = 1e3 * peer["cpu_s"] / n
                row["ratio"] = row["queue_jobs_per_s"] / row["peer_jobs_per_s"]
            own = next((r for r in rows if r["shape"] == make.__name__ and r["jobs"] == SMALL), None)
            row["own_ratio"] = None if own is None else row["queue_jobs_per_s"] / own["queue_jobs_per_s"]
            rows.append(row)
            show(row)
    return rows


def show(row: dict[str, Any]) -> None:
    """Print a row as soon as it is there."""
    cells = [
        f"{row['shape']:6}",
        f"{row['jobs']:7}",
        f"{row['queue_jobs_per_s']:9.0f}",
        f"{row['queue_jobs_per_s_without_startup']:13.0f}",
        f"{row['startup_s']:9.2f}",
        f"{row['submit_jobs_per_s']:9.0f}",
        f"{row['peer_jobs_per_s']:11.0f}" if row["peer_jobs_per_s"] else f"{'-':>11}",
        f"{row['ratio']:9.2f}" if row["ratio"] else f"{'-':>9}",
        f"{row['own_ratio']:11.2f}" if row["own_ratio"] else f"{'-':>11}",
        f"{row['queue_cpu_ms_per_job']:13.2f}",
        f"{row['peer_cpu_ms_per_job']:12.2f}" if row["peer_cpu_ms_per_job"] else f"{'-':>12}",
    ]
    print(" ".join(cells), file=sys.stderr if "--json" in sys.argv else sys.stdout, flush=True)


def main() -> int:
    """Print the table; exit with 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--sizes", type=int, nargs="+", default=[SMALL, LARGE])
    parser.add_argument("--peer-sizes", type=int, nargs="+", default=[SMALL, LARGE])
    options = parser.parse_args()
    out = sys.stderr if options.json else sys.stdout
    print(
        "Trivial jobs; queue: 1 worker, on disk, every commit flushed; peer: run_locally, in memory", file=out
    )
    heads = ["shape ", "   jobs", "  queue/s", " w/o start-up", " start(s)", " submit/s", "run_local/s"]
    heads += ["    ratio", " own 10k/1k", "queue ms(CPU)", "peer ms(CPU)"]
    print(" ".join(heads), file=out)
    rows = measure(options.sizes, options.peer_sizes)
    missed = [r for r in rows if r["jobs"] == SMALL and r["ratio"] and r["ratio"] < PEER_BAR]
    missed += [r for r in rows if r["jobs"] == LARGE and r["own_ratio"] and r["own_ratio"] < SCALE_BAR]
    if options.json:
        print(json.dumps({"rows": rows, "bars_met": not missed}, indent=2))
    else:
        print("bars met" if not missed else f"{len(missed)} bars missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
