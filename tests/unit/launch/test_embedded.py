"""The embedded queue's inside: counters, halting rules, reruns, and what workers report."""

from __future__ import annotations

import errno
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from jobflow import Flow, OutputReference, Response

import toy_jobs as toy
from epilayer import launch
from epilayer.launch import EmbeddedQueue, JobState, claims, transitions, worker
from epilayer.launch.base import EdgeKind
from epilayer.launch.claims import Claim, Done, slug
from epilayer.launch.identity import HARD
from epilayer.launch.schema import APPLICATION_ID, QueueFile
from epilayer.model.errors import InputError, QueueError, StoreError
from epilayer.model.failure import Failure, FailureClass
from epilayer.store.database import Database

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


BROKEN = Failure(kind=FailureClass.CODE_ERROR, cause="posmap", what="broken", telling=(("vasp.out", "x"),))


@pytest.fixture
def queue(tmp_path: Path) -> EmbeddedQueue:
    queue = EmbeddedQueue(tmp_path / "queue.db", code_version="1")
    queue.claims.register("w", 1, 1)
    return queue


def take(queue: EmbeddedQueue) -> Claim:
    claim = queue.claims.claim("w")
    assert claim is not None
    return claim


def finish(queue: EmbeddedQueue, claim: Claim, response: Response | None = None) -> None:
    """Complete a claimed job as a worker would."""
    response = response or Response()
    job = SimpleNamespace(uuid=claim.uuid)
    grown, _ = worker.grown_flows(job, claim, response)
    queue.claims.finish("w", claim, Done(grown, (), None, int(response.stop_children)), more=False)


def consistent(queue: EmbeddedQueue) -> None:
    """Check the rules of `epilayer.launch.transitions` on the whole file."""
    with queue._file.reading() as db:
        for row in db.execute("SELECT * FROM jobs").fetchall():
            above = db.execute(
                "SELECT state, dead FROM jobs JOIN edges ON id = parent WHERE child = ?", (row["id"],)
            ).fetchall()
            hard = row["soft"] == HARD
            holding = sum(not transitions.satisfied(p["state"], p["dead"], hard=hard) for p in above)
            if row["state"] in transitions.OPEN:
                assert row["blockers"] == holding, dict(row)
            if row["state"] == JobState.READY:
                assert holding == 0
            if row["state"] == JobState.WAITING:
                assert holding > 0
            attempts = db.execute("SELECT count(*) FROM attempts WHERE job = ?", (row["id"],)).fetchone()[0]
            assert attempts == row["attempts"]


def work(queue: EmbeddedQueue, what: str, step: int) -> None:
    """Take a job, and fail it, complete it, or have it make others."""
    claim = queue.claims.claim("w")
    if claim is None:
        return
    if what == "fail":
        queue.claims.fail("w", claim, BROKEN, more=False)
    elif what == "grow":
        finish(queue, claim, Response(detour=Flow([toy.add(step, 0.5)]), addition=Flow([toy.keep(step)])))
    else:
        finish(queue, claim)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_done_in_whatever_order_the_counters_agree_with_the_edges(
    queue: EmbeddedQueue, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311
    jobs: list[Any] = []
    for i in range(25):
        parents = [job.output for job in chance.sample(jobs, k=min(len(jobs), chance.randrange(4)))]
        jobs.append((toy.gather if chance.random() < 0.2 else toy.total)([float(i), *parents]))
    queue.submit(Flow(jobs, name="one"))
    queue.submit(Flow([toy.total([0.0]), toy.add(1, 2)], name="two"))
    undoable: list[int] = []
    for step in range(120):
        what = chance.choice(["work"] * 6 + ["fail", "pause", "resume", "cancel", "rerun", "undo", "grow"])
        number = chance.randint(1, len(queue.jobs()))
        if what in {"work", "fail", "grow"}:
            work(queue, what, step)
        elif what == "rerun":
            report = queue.rerun([number], force=chance.random() < 0.5)
            undoable += [report.id] if report.id else []
        elif what == "undo" and undoable:
            try:
                queue.undo_rerun(undoable.pop())
            except QueueError as refused:
                assert "started since" in refused.what or "came later" in refused.what  # noqa: PT017
        elif what in {"pause", "resume", "cancel"}:
            getattr(queue, what)(chance.choice([number, "one", "two"]) if step % 3 else number)
        consistent(queue)


def test_a_rerun_is_undone_exactly_after_other_changes_elsewhere(queue: EmbeddedQueue) -> None:
    first = toy.add(1, 2)
    queue.submit(Flow([first, toy.add(first.output, 1), toy.keep(1.0)]))
    queue.claims.fail("w", take(queue), BROKEN, more=False)
    before = [job for job in queue.jobs() if job.name == "add"]
    report = queue.rerun([1])
    finish(queue, take(queue)) if queue.pause(1).changed else None  # `keep` runs, #1 is held
    queue.undo_rerun(report.id)
    assert [job for job in queue.jobs() if job.name == "add"] == before
    consistent(queue)


def test_a_later_rerun_of_the_same_jobs_is_undone_first(queue: EmbeddedQueue) -> None:
    queue.submit(toy.add(1, 2))
    queue.cancel(1)
    one = queue.rerun([1])
    queue.cancel(1)
    two = queue.rerun([1])
    with pytest.raises(QueueError, match=f"Undo {two.id} first"):
        queue.undo_rerun(one.id)
    queue.undo_rerun(two.id)
    queue.undo_rerun(one.id)
    assert queue.job(1).state is JobState.CANCELLED
    with pytest.raises(QueueError, match="undone already"):
        queue.undo_rerun(one.id)
    with pytest.raises(InputError, match=r"no rerun 9.*Known reruns: 1, 2"):
        queue.undo_rerun(9)


def test_a_rerun_is_refused_while_something_it_would_repeat_runs(queue: EmbeddedQueue) -> None:
    first = toy.add(1, 2)
    queue.submit(Flow([first, toy.add(first.output, 1)]))
    finish(queue, take(queue))
    take(queue)
    with pytest.raises(QueueError, match=r"#2 add would have to run again, but is running"):
        queue.rerun([1], force=True)


def test_a_job_that_makes_other_jobs_when_it_runs_again_lets_go_of_the_first(queue: EmbeddedQueue) -> None:
    start = toy.keep(1.0)
    queue.submit(Flow([start, toy.add(start.output, 1.0)]))
    finish(queue, take(queue), Response(detour=Flow([toy.add(5, 5)])))
    assert queue.job(3).state is JobState.READY
    queue.rerun([1], force=True)
    finish(queue, take(queue), Response(detour=Flow([toy.add(6, 6)])))
    assert queue.job(3).state is JobState.STOPPED
    assert "made other jobs" in str(queue.job(3).cause)
    finish(queue, take(queue))
    assert queue.job(4).state is JobState.COMPLETED
    assert queue.job(2).state is JobState.READY
    consistent(queue)


def test_a_detour_that_is_in_the_queue_already_and_comes_later_does_not_lock(queue: EmbeddedQueue) -> None:
    start = toy.keep(1.0)
    middle = toy.add(start.output, 1.0)
    late = toy.total([middle.output], label="late")
    queue.submit(Flow([start, middle, late]))
    claim = take(queue)
    again = toy.total([OutputReference(queue.job(2).uuid)], label="late")
    finish(queue, claim, Response(detour=Flow([again])))
    assert len(queue.jobs()) == 3
    assert queue.job(2).state is JobState.READY


def test_pausing_a_flow_leaves_what_a_live_flow_shares(queue: EmbeddedQueue) -> None:
    for label in ("a", "b"):
        queue.submit(Flow([toy.add(1, 2), toy.total([1.0], label=label)], name=label))
    assert queue.pause("a").changed == (2,)
    assert queue.pause("b").changed == (1, 3)
    assert queue.resume("a").changed == (1, 2)


def test_jobs_made_in_a_paused_flow_are_paused(queue: EmbeddedQueue) -> None:
    queue.submit(Flow([toy.keep(1.0)], name="a"))
    claim = take(queue)
    queue.pause("a")
    finish(queue, claim, Response(addition=Flow([toy.add(1, 2)])))
    assert queue.job(2).state is JobState.PAUSED
    queue.resume("a")
    assert queue.job(2).state is JobState.READY


def test_new_children_of_a_job_that_stopped_its_children_are_stopped(queue: EmbeddedQueue) -> None:
    queue.submit(toy.keep(1.0))
    finish(queue, take(queue), Response(stop_children=True))
    start = toy.keep(1.0)
    queue.submit(Flow([start, toy.add(start.output, 1.0)], name="late"))
    assert queue.job(2).state is JobState.STOPPED


def test_the_status_counts_every_state(queue: EmbeddedQueue) -> None:
    queue.submit(toy.add(1, 2), name="study", metadata={"paper": "x"})
    status = queue.status("study")
    assert status.flow is not None
    assert set(status.counts) == set(JobState)
    assert status.total == status.flow.total == 1
    assert status.flow.metadata == {"paper": "x"}


def test_members_of_a_later_flow_include_what_its_jobs_have_made(queue: EmbeddedQueue) -> None:
    queue.submit(Flow([toy.keep(1.0)], name="a"))
    finish(queue, take(queue), Response(addition=Flow([toy.add(1, 2)])))
    queue.submit(Flow([toy.keep(1.0)], name="b"))
    assert [job.number for job in queue.jobs(flow="b")] == [1, 2]
    assert [(edge.parent, edge.child, edge.kind) for edge in queue.edges("b")] == [(1, 2, EdgeKind.SPAWN)]


def test_a_rerun_of_nothing_and_an_ambiguous_uuid_are_refused(queue: EmbeddedQueue) -> None:
    with pytest.raises(InputError, match="Nothing was selected"):
        queue.rerun()
    queue.submit(Flow([toy.add(float(i), 0.0) for i in range(3)]))
    with queue._file.writing() as db:
        _rename(db)
    with pytest.raises(InputError, match="more than one"):
        queue.job("abcd")


def _rename(db: sqlite3.Connection) -> None:
    db.execute("UPDATE jobs SET uuid = 'abcd' || id")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("relax (001)/triazole", "relax-001-triazole"), ("../..", "job"), ("x" * 300, "x" * 40), ("", "job")],
)
def test_directories_have_safe_names(name: str, expected: str) -> None:
    assert slug(name) == expected


def test_causes_are_one_line_and_ours_come_with_the_remedy() -> None:
    assert worker.one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert worker.one_line(QueueError("Broken.", "Mend it.")) == "Broken. Mend it."
    assert len(worker.one_line(ValueError("x" * 1000))) == 300


def test_only_a_disk_that_is_really_full_stops_a_run(tmp_path: Path) -> None:
    scratch_full = OSError(errno.ENOSPC, "no space")
    assert not worker._out_of_space([scratch_full], tmp_path)  # the queue's own disk has room
    assert not worker._out_of_space([StoreError("no such record", "look")], tmp_path)
    assert not worker._out_of_space([ValueError("x")], tmp_path)


def test_a_store_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        worker.open_store({"docs_store": {"type": "NoSuchStore"}})


def test_names_of_the_package_are_found_and_others_are_not() -> None:
    assert all(getattr(launch, name) is not None for name in launch.__all__)
    with pytest.raises(AttributeError, match="no attribute"):
        launch.nothing  # noqa: B018
    assert claims.LEASE_S > worker.HEARTBEAT_S


def test_a_failure_is_stored_as_a_value_with_the_attempt_and_the_job(queue: EmbeddedQueue) -> None:
    queue.submit(Flow([toy.add(1, 2)]))
    queue.claims.fail("w", take(queue), BROKEN, more=False)
    assert queue.job(1).failure == queue.attempts(1)[-1].failure == BROKEN
    rerun = queue.rerun([1])
    assert queue.job(1).failure is None
    queue.undo_rerun(rerun.id)
    assert queue.job(1).failure == BROKEN


def test_a_queue_from_before_failures_were_values_is_upgraded(tmp_path: Path) -> None:
    newest = QueueFile(tmp_path / "unused.db").migrations
    old = Database(
        tmp_path / "queue.db", kind="job queue", application_id=APPLICATION_ID, migrations=newest[:2]
    )
    columns = "uuid, idx, key, name, function, state, priority, soft, salt, code_version, metadata, created"
    with old.writing() as db:
        for number, (cause, kind) in enumerate([("walltime: over its time limit", "walltime"), ("?", None)]):
            values = (str(number), 1, "k", "relax", "f", "FAILED", 0, 0, "", "1", "{}", 0.0, 1, cause)
            marks = ", ".join("?" * len(values))
            db.execute(f"INSERT INTO jobs ({columns}, attempts, cause) VALUES ({marks})", values)  # noqa: S608
            if kind is not None:
                db.execute(
                    "INSERT INTO verdicts (job, attempt, class, why, action, created) VALUES (1,1,?,?,'',0)",
                    (kind, cause),
                )
    old.close()
    jobs = EmbeddedQueue(tmp_path / "queue.db", code_version="1").jobs()
    assert [job.failure.kind for job in jobs if job.failure] == [FailureClass.WALLTIME, FailureClass.OTHER]
    assert [job.failure.what for job in jobs if job.failure] == ["walltime: over its time limit", "?"]
