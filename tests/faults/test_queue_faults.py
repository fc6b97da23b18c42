"""Whatever is killed, nothing is lost and nothing is completed twice; a full disk is told, not suffered."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jobflow import Flow

import toy_jobs as toy
from epilayer.launch import JobState, Outcome, processes
from epilayer.launch.failures import of_exit
from epilayer.model.errors import EpilayerError, NewerSchemaError, QueueError, StoreError
from queue_rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KILLS = 50
RUNNER = """
import sys
sys.path.insert(0, {support!r})
from queue_rig import Rig
from pathlib import Path
report = Rig(Path({folder!r})).run(workers={workers}, max_crashes=10_000)
print(report.completed, report.crashed, report.interrupted)
"""


def start_run(folder: Path, workers: int = 2) -> subprocess.Popen[bytes]:
    """Start ``run_workers`` in a process of its own, as the command line does."""
    code = textwrap.dedent(RUNNER).format(
        support=str(Path(toy.__file__).parent), folder=str(folder), workers=workers
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)


def workers_of(pid: int) -> list[int]:
    """Return the living children of a process (the workers of a supervisor)."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in text.split() if processes.start_time(int(child))]
    return []


def until(condition: Callable[[], object], patience_s: float = 30.0) -> None:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def ready_to_be_killed(rig: Rig, run: subprocess.Popen[bytes], *, at_work: bool) -> bool:
    """Whether a run has a worker (that is at work), or has ended."""
    busy = not at_work or rig.queue.counts()[JobState.RUNNING] > 0
    return run.poll() is not None or (busy and bool(workers_of(run.pid)))


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv("EPILAYER_TOY_LOG", str(tmp_path / "log"))
    return Rig(tmp_path)


def log_lines(folder: Path) -> list[list[str]]:
    return [line.split("\t") for line in (folder / "log").read_text().splitlines()]


def kill_at_random(rig: Rig, kills: int, seed: int) -> Counter[str]:
    """Keep a run going and kill it, or a worker, or a worker with its children, at random moments."""
    moments = random.Random(seed)  # noqa: S311  (not for cryptography)
    done = Counter[str]()
    run = start_run(rig.folder)
    while done.total() < kills:
        if run.poll() is not None:
            assert run.returncode in {0, -signal.SIGKILL}
            assert rig.queue.counts()[JobState.COMPLETED] < 68, f"all jobs are done after {done}"
            run = start_run(rig.folder)
        at_work = moments.random() < 0.7  # else at any moment, the start of a worker included
        until(lambda: ready_to_be_killed(rig, run, at_work=at_work))  # noqa: B023
        time.sleep(moments.uniform(0.0, 0.5))
        victims = workers_of(run.pid)
        kind = moments.choice(["worker", "worker with its children", "everything"])
        if run.poll() is not None or not victims:
            continue
        if kind == "everything":  # the supervisor, and the kernel takes its workers along
            run.kill()
            run.wait()
        elif kind == "worker":
            os.kill(moments.choice(victims), signal.SIGKILL)
        else:
            os.killpg(moments.choice(victims), signal.SIGKILL)
        done[kind] += 1
    run.kill()
    run.wait()
    return done


@pytest.mark.slow
def test_killed_at_fifty_random_moments_the_documents_are_those_of_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, rough = tmp_path / "quiet", tmp_path / "rough"
    bends = tmp_path / "bends"  # jobs write here; the path is an argument, so both runs share it
    for folder in (quiet, rough, bends):
        folder.mkdir()
    undisturbed = Rig(quiet)
    assert len(undisturbed.queue.submit(toy.campaign(str(bends))).new) == 40
    assert undisturbed.run(workers=2).failed == 0

    monkeypatch.setenv("EPILAYER_TOY_LOG", str(rough / "log"))
    monkeypatch.setenv("EPILAYER_TOY_PACE_S", "0.25")
    rig = Rig(rough)
    rig.queue.submit(toy.campaign(str(bends)))
    kills = kill_at_random(rig, KILLS, seed=20250)
    monkeypatch.setenv("EPILAYER_TOY_PACE_S", "0")
    report = rig.run(workers=2, max_crashes=10_000)

    assert report.failed == 0
    assert report.counts[JobState.COMPLETED] == sum(report.counts.values()) == 68  # 0 lost
    assert rig.documents() == undisturbed.documents()
    attempts = [attempt for job in rig.queue.jobs() for attempt in rig.queue.attempts(job.number)]
    completed = Counter(attempt.job for attempt in attempts if attempt.outcome is Outcome.COMPLETED)
    assert len(completed) == completed.total() == 68  # 0 completed twice
    outcomes = Counter(attempt.outcome for attempt in attempts)
    assert outcomes[Outcome.RUNNING] == 0
    assert outcomes[Outcome.CRASHED] > 0
    assert outcomes[Outcome.INTERRUPTED] > 0
    for job in rig.queue.jobs():  # nothing was executed again once it had completed
        assert rig.queue.attempts(job.number)[-1].outcome is Outcome.COMPLETED
    # The jobs' own account: no two executions shared a directory, so there were never two writers.
    starts = [line[2] for line in log_lines(rough) if line[0].startswith("start")]
    assert len(set(starts)) == len(starts)
    print(f"kills {dict(kills)}, attempts { ({k.value: n for k, n in outcomes.items()}) }")  # noqa: T201


@pytest.mark.slow
def test_four_workers_execute_each_of_four_hundred_jobs_once(rig: Rig) -> None:
    rig.queue.submit(Flow([toy.nap(0.0, float(i)) for i in range(400)], name="many"))
    report = rig.run(workers=4)
    assert report.completed == 400
    lines = log_lines(rig.folder)
    starts = Counter(line[0] for line in lines if line[0].startswith("start"))
    assert len(starts) == 400
    assert set(starts.values()) == {1}
    assert len({line[1] for line in lines}) == 4  # all four took part


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPILAYER_TOY_PACE_S", "0.02")
    rig.queue.submit(Flow([toy.add(float(i), 1.0) for i in range(60)], name="many"))
    runs = [start_run(rig.folder, 1) for _ in range(2)]
    done = [int((run.communicate(timeout=60)[0] or b"0").split()[0]) for run in runs]
    assert sum(done) == 60
    starts = Counter(line[0] for line in log_lines(rig.folder) if line[0].startswith("start"))
    assert set(starts.values()) == {1}


def test_what_a_killed_worker_left_behind_is_ended_before_the_job_is_taken_again(rig: Rig) -> None:
    pid_file = rig.folder / "pids"
    rig.queue.submit(toy.hold(str(pid_file), 600.0))
    run = start_run(rig.folder, 1)
    until(lambda: pid_file.exists() and pid_file.read_text())
    worker, child = map(int, pid_file.read_text().split())
    pid_file.unlink()
    os.kill(worker, signal.SIGKILL)
    until(lambda: pid_file.exists() and pid_file.read_text())  # the second attempt has begun
    assert processes.start_time(child) == 0
    second_worker, second_child = map(int, pid_file.read_text().split())
    os.kill(run.pid, signal.SIGKILL)  # now everything but the child, which is in a session of its own
    run.wait()
    until(lambda: processes.start_time(second_worker) == 0)
    assert processes.start_time(second_child) != 0
    assert rig.queue.counts()[JobState.RUNNING] == 1
    jobs, notes = rig.queue.claims.recover()
    assert (jobs, notes) == ([1], [])
    assert processes.start_time(second_child) == 0
    assert [a.outcome for a in rig.queue.attempts(1)] == [Outcome.CRASHED, Outcome.INTERRUPTED]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_puts_its_job_back_and_ends_the_jobs_children(rig: Rig, number: signal.Signals) -> None:
    pid_file = rig.folder / "pids"
    rig.queue.submit(toy.hold(str(pid_file), 600.0))
    run = start_run(rig.folder, 1)
    until(lambda: pid_file.exists() and pid_file.read_text())
    worker, child = map(int, pid_file.read_text().split())
    run.send_signal(number)
    out, _ = run.communicate(timeout=30)
    assert out.split() == [b"0", b"0", b"True"]
    assert processes.start_time(worker) == processes.start_time(child) == 0
    assert rig.queue.job(1).state is JobState.READY
    assert [a.outcome for a in rig.queue.attempts(1)] == [Outcome.INTERRUPTED]


def test_a_running_job_that_is_cancelled_is_killed_with_its_children(rig: Rig) -> None:
    pid_file = rig.folder / "pids"
    rig.queue.submit(toy.hold(str(pid_file), 600.0))
    run = start_run(rig.folder, 1)
    until(lambda: pid_file.exists() and pid_file.read_text())
    _, child = map(int, pid_file.read_text().split())
    rig.queue.cancel(1)
    run.communicate(timeout=30)
    assert processes.start_time(child) == 0
    assert rig.queue.job(1).state is JobState.CANCELLED
    assert [a.outcome for a in rig.queue.attempts(1)] == [Outcome.CANCELLED]


def test_a_segmentation_fault_is_named_and_given_up_after_three(rig: Rig) -> None:
    bad = toy.crash("segv")
    rig.queue.submit(Flow([bad, toy.length(bad.output), toy.add(1, 2)]))
    report = rig.run()
    assert report.crashed == 3
    assert rig.queue.job(1).cause == "worker died with SIGSEGV, 3 times"
    assert rig.named("add").state is JobState.COMPLETED
    assert rig.named("length").state is JobState.WAITING
    attempts = rig.queue.attempts(1)
    assert [a.outcome for a in attempts] == [Outcome.CRASHED] * 3
    assert "Segmentation fault" in attempts[0].stderr.read_text()


def test_a_job_that_exits_has_failed_and_takes_nothing_along(rig: Rig) -> None:
    rig.queue.submit(Flow([toy.leave(3), toy.add(1, 2)]))
    report = rig.run()
    assert (report.failed, report.completed, report.crashed) == (1, 1, 0)
    assert rig.named("leave").cause == "SystemExit: 3"


def test_a_live_silent_worker_keeps_its_job(rig: Rig) -> None:
    rig.queue.submit(toy.add(1, 2))
    claims = rig.queue.claims
    claims.register("me", os.getpid(), os.getpid())
    claim = claims.claim("me")
    assert claim is not None
    with rig.queue._file.writing() as db:
        db.execute("UPDATE workers SET heartbeat = 0")
    assert claims.recover(force=True) == ([], [])
    assert rig.queue.job(1).state is JobState.RUNNING


def test_a_lease_of_another_machine_takes_silence_and_a_person(rig: Rig) -> None:
    rig.queue.submit(toy.add(1, 2))
    claims = rig.queue.claims
    claims.register("far", 1, 1)
    claims.claim("far")
    with rig.queue._file.writing() as db:
        db.execute("UPDATE workers SET machine = 'elsewhere|boot|pid', host = 'elsewhere'")
    assert "heard of" in claims.recover(force=True)[1][0]
    with rig.queue._file.writing() as db:
        db.execute("UPDATE workers SET heartbeat = heartbeat - 1000")
    jobs, [note] = claims.recover()
    assert jobs == []
    assert "cannot be checked from here" in note
    assert claims.recover(force=True) == ([1], [])


def test_a_result_that_comes_too_late_is_dropped(rig: Rig) -> None:
    from epilayer.launch.claims import Done

    rig.queue.submit(toy.add(1, 2))
    claims = rig.queue.claims
    claims.register("late", 1, 1)
    claim = claims.claim("late")
    assert claim is not None
    claims.lost("late", of_exit(-9), crash=False, max_crashes=3)
    with pytest.raises(QueueError, match="given to another worker"):
        claims.finish("late", claim, Done(), more=True)
    assert rig.queue.job(1).state is JobState.READY


def test_a_file_of_a_newer_version_is_refused(rig: Rig) -> None:
    with rig.queue._file.writing() as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerSchemaError, match="Upgrade epilayer"):
        Rig(rig.folder)


def test_a_file_that_is_no_queue_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queue.db").write_text("these are not the jobs you are looking for " * 50)
    with pytest.raises(QueueError, match=r"queue\.db.*not a readable job queue"):
        Rig(tmp_path)


def test_a_store_in_memory_is_refused(rig: Rig) -> None:
    from epilayer.launch import run_workers

    rig.queue.submit(toy.add(1, 2))
    with pytest.raises(StoreError, match="MemoryStore"):
        run_workers(rig.queue, {"docs_store": {"type": "MemoryStore"}})
    assert rig.queue.job(1).state is JobState.READY


def mounted(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this test needs the right to mount: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of 8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted(folder, "-t", "tmpfs", "-o", "size=8m", "tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_stops_the_run_with_a_clear_error_and_the_queue_intact(small_disk: Path) -> None:
    rig = Rig(small_disk)
    rig.queue.submit(Flow([toy.add(float(i), 1.0) for i in range(30)], name="many"))
    ballast = small_disk / "ballast"
    handle = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(handle, b"x" * 4096)
    os.close(handle)
    with pytest.raises(EpilayerError) as caught:
        rig.run()
    assert str(small_disk) in caught.value.what
    assert "space" in str(caught.value)
    ballast.unlink()
    check = rig.queue._file.connection().execute("PRAGMA integrity_check").fetchone()[0]
    assert check == "ok"
    report = rig.run()
    assert report.counts[JobState.COMPLETED] == 30


def test_a_job_that_fills_the_disk_is_put_back_not_failed(small_disk: Path) -> None:
    rig = Rig(small_disk)
    rig.queue.submit(toy.fill(str(small_disk / "big"), 20_000_000))
    with pytest.raises(EpilayerError, match="full"):
        rig.run()
    (small_disk / "big").unlink()
    assert rig.queue.counts()[JobState.FAILED] == 0
    rig.queue.claims.recover()
    assert rig.queue.counts()[JobState.READY] == 1


def test_a_read_only_folder_is_told_and_the_queue_is_intact(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    rig = Rig(folder)
    rig.queue.submit(toy.add(1, 2))
    rig.queue.close()
    mounted(folder, "--bind", str(folder))
    try:
        mounted(folder, "-o", "remount,ro,bind")
        with pytest.raises(EpilayerError) as caught:
            Rig(folder).run()
        assert str(folder) in caught.value.what
        assert "writable" in caught.value.remedy
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
    assert Rig(folder).run().completed == 1


def test_threads_are_shared_among_workers_unless_the_user_says(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    rig.submit_and_run(toy.threads(), workers=2)
    assert rig.output(rig.named("threads")) == str(max(1, (os.cpu_count() or 1) // 2))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    rig.queue.rerun([1], force=True)
    rig.run()
    assert rig.output(rig.named("threads")) == "7"


def test_blobs_of_an_abandoned_execution_do_not_pile_up(rig: Rig) -> None:
    rig.submit_and_run(toy.big(10))
    rig.queue.rerun([1], force=True)
    rig.run()
    assert rig.store.additional_stores["data"].count() == 1


def test_a_run_beside_the_main_thread_works(rig: Rig) -> None:
    rig.queue.submit(toy.add(1, 2))
    thread = threading.Thread(target=rig.run)
    thread.start()
    thread.join(30)
    assert rig.queue.job(1).state is JobState.COMPLETED


def test_the_study_folder_may_be_moved(rig: Rig, tmp_path: Path) -> None:
    rig.submit_and_run(toy.where("a"))
    rig.queue.close()
    there = tmp_path.parent / f"{tmp_path.name}-moved"
    shutil.move(tmp_path, there)
    moved = Rig(there)
    assert moved.queue.attempts(1)[0].stdout.exists()
    assert moved.submit_and_run(toy.where("b")).completed == 1
