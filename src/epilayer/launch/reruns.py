"""Rerun and its undoing: what is touched is written down first, so that it can be put back exactly."""

# ruff: noqa: S608 - only integers, states and names of columns are written into SQL.

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from epilayer.launch import transitions
from epilayer.launch.base import JobState, RerunReport
from epilayer.model.errors import InputError, QueueError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

_KEPT: tuple[str, ...] = (
    "state",
    "blockers",
    "dead",
    "cancel",
    "crashes",
    "stops",
    "stopped_by",
    "cause",
    "started",
    "ended",
)
_KEPT += ("stored_data", "attempts", "failure")


def rerun(db: sqlite3.Connection, chosen: Sequence[int], *, force: bool) -> RerunReport:
    """Let jobs run again, and with them every finished job that built on them.

    Failed, cancelled and stopped jobs qualify; completed ones with ``force``. Descendants that finished
    (completed with ``force``, or because they may run without what failed) run again too, since their
    inputs change; so do the jobs that a completed one made. Cancelled descendants stay cancelled.

    Raises
    ------
    QueueError
        If something that would have to run again is running now.
    """
    skipped: list[tuple[int, str]] = []
    jobs: list[int] = []
    for row in transitions.select(db, "id, state", chosen):
        state = JobState(row["state"])
        if state in {JobState.FAILED, JobState.CANCELLED, JobState.STOPPED} or (
            state is JobState.COMPLETED and force
        ):
            jobs.append(row["id"])
        elif state is JobState.COMPLETED:
            skipped.append((row["id"], "completed; --force computes it again, and what followed from it"))
        else:
            skipped.append((row["id"], f"{state.lower()}: it will run anyway"))
    if not jobs:
        return RerunReport(None, (), (), tuple(skipped))
    after = transitions.descendants(db, jobs)
    stopped = _stopped_by(db, {*jobs, *after})
    after |= stopped | transitions.descendants(db, stopped)
    after -= set(jobs)
    rows = transitions.select(db, "id, name, " + ", ".join(_KEPT), {*jobs, *after})
    running = [row for row in rows if row["state"] == JobState.RUNNING]
    if running:
        names = ", ".join(f"#{row['id']} {row['name']}" for row in running[:3])
        raise QueueError(
            f"{names} would have to run again, but is running now.",
            "Wait for it to end, or cancel it, then rerun.",
        )
    again = {JobState.COMPLETED, JobState.FAILED, JobState.STOPPED}
    reset = {row["id"] for row in rows if row["state"] in again} | set(jobs)
    now = time.time()
    number = db.execute("INSERT INTO reruns (created, forced) VALUES (?, ?)", (now, force)).lastrowid
    db.executemany(
        "INSERT INTO rerun_items VALUES (?, ?, ?, ?)",
        [(number, row["id"], row["id"] in jobs, json.dumps({k: row[k] for k in _KEPT})) for row in rows],
    )
    for part in transitions.chunks(reset):
        db.execute(
            "UPDATE jobs SET state = 'WAITING', dead = 0, cancel = 0, crashes = 0, stops = 0,"
            f" stopped_by = NULL, cause = NULL, ended = NULL WHERE id IN ({part})"
        )
        db.execute(
            f"UPDATE flows SET cancelled = 0 WHERE id IN (SELECT flow FROM members WHERE job IN ({part}))"
        )
    transitions.settle(db, {*jobs, *reset})
    return RerunReport(
        number, tuple(sorted(jobs)), tuple(sorted(reset - set(jobs))), tuple(skipped), _moment(now)
    )


def _stopped_by(db: sqlite3.Connection, jobs: set[int]) -> set[int]:
    """Return the jobs that any of these stopped (``stop_jobflow`` reaches beyond descendants)."""
    found: set[int] = set()
    for part in transitions.chunks(jobs):
        found.update(
            row[0]
            for row in db.execute(f"SELECT id FROM jobs WHERE state = 'STOPPED' AND stopped_by IN ({part})")
        )
    return found


def undo(db: sqlite3.Connection, number: int | None) -> RerunReport:
    """Put the states back as they were before a rerun.

    Raises
    ------
    InputError
        If there is no such rerun.
    QueueError
        If it has been undone, a job of it has started since, or a later rerun touched the same jobs.
    """
    if number is None:
        row = db.execute("SELECT * FROM reruns WHERE undone IS NULL ORDER BY id DESC LIMIT 1").fetchone()
        if row is None:
            raise InputError("There is no rerun to undo.", "epilayer jobs list shows the jobs as they stand.")
    else:
        row = db.execute("SELECT * FROM reruns WHERE id = ?", (number,)).fetchone()
        if row is None:
            known = [str(known[0]) for known in db.execute("SELECT id FROM reruns ORDER BY id")]
            raise InputError(f"There is no rerun {number}.", f"Known reruns: {', '.join(known) or 'none'}.")
    number = int(row["id"])
    if row["undone"] is not None:
        raise QueueError(f"Rerun {number} has been undone already.", "Nothing is left to do.")
    later = db.execute(
        "SELECT r.id FROM reruns r JOIN rerun_items i ON i.rerun = r.id WHERE r.id > :n AND r.undone IS NULL"
        " AND i.job IN (SELECT job FROM rerun_items WHERE rerun = :n) LIMIT 1",
        {"n": number},
    ).fetchone()
    if later is not None:
        raise QueueError(f"Rerun {later[0]} came later and touched the same jobs.", f"Undo {later[0]} first.")
    items = db.execute(
        "SELECT i.job, i.chosen, i.before, j.attempts, j.name, j.state FROM rerun_items i"
        " JOIN jobs j ON j.id = i.job WHERE i.rerun = ? ORDER BY i.job",
        (number,),
    ).fetchall()
    for item in items:
        if item["attempts"] > json.loads(item["before"])["attempts"]:
            raise QueueError(
                f"Rerun {number} cannot be undone: #{item['job']} {item['name']} has started since"
                f" ({JobState(item['state']).lower()}).",
                "Cancel what is not wanted (epilayer cancel), or let it finish; no result was removed.",
            )
    for item in items:
        before = {"failure": None, **json.loads(item["before"])}  # older queues kept no failure
        assignments = ", ".join(f"{key} = :{key}" for key in _KEPT)
        db.execute(f"UPDATE jobs SET {assignments} WHERE id = :id", {**before, "id": item["job"]})
    now = time.time()
    db.execute("UPDATE reruns SET undone = ? WHERE id = ?", (now, number))
    # Jobs that were submitted in between see their parents changed.
    touched = {item["job"] for item in items}
    transitions.settle(db, transitions.descendants(db, touched) - touched)
    return RerunReport(
        number,
        tuple(item["job"] for item in items if item["chosen"]),
        tuple(item["job"] for item in items if not item["chosen"]),
        (),
        _moment(row["created"]),
        _moment(now),
    )


def _moment(stamp: float) -> datetime:
    return datetime.fromtimestamp(stamp, tz=UTC)
