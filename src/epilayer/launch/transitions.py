"""What happens inside one transaction: jobs enter, start, end, and hold each other back.

Every function takes a connection on which a write transaction is open; together they keep three rules:

- a job is READY exactly when no parent holds it back and nobody holds it;
- ``blockers`` equals the number of its edges that are not satisfied, where an edge is satisfied when the
  parent is COMPLETED and not dead or, for a job that runs with missing references, when it is either;
- a finished job changes only by a rerun, its undoing, or a new submission that wants a cancelled one.
"""

# ruff: noqa: S608 - only integers, states and names of columns are written into SQL.

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from epilayer.launch.base import EdgeKind, JobState, Outcome
from epilayer.launch.identity import HARD, PASSIVE, dumps
from epilayer.model.failure import Failure, FailureClass

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

    from epilayer.launch.identity import NormalFlow, NormalJob

OPEN = (JobState.WAITING, JobState.READY, JobState.PAUSED)
STOP_CHILDREN, STOP_JOBFLOW = 1, 2
_CHUNK = 500


def chunks(ids: Iterable[int]) -> Iterable[str]:
    """Yield the ids as SQL lists ``1,2,3`` of bounded length."""
    everything = list(ids)
    for start in range(0, len(everything), _CHUNK):
        yield ",".join(str(int(number)) for number in everything[start : start + _CHUNK])


def select(db: sqlite3.Connection, columns: str, ids: Iterable[int]) -> list[sqlite3.Row]:
    """Return columns of the jobs with these ids."""
    rows: list[sqlite3.Row] = []
    for part in chunks(ids):
        rows += db.execute(f"SELECT {columns} FROM jobs WHERE id IN ({part})")
    return rows


def descendants(db: sqlite3.Connection, ids: Iterable[int], kind: EdgeKind | None = None) -> set[int]:
    """Return everything that comes after ``ids`` (without those), through edges of one kind or all."""
    found: set[int] = set()
    frontier = set(ids)
    start = set(frontier)
    only = "" if kind is None else f" AND kind = '{kind}'"
    while frontier:
        new: set[int] = set()
        for part in chunks(frontier):
            new.update(
                row[0] for row in db.execute(f"SELECT child FROM edges WHERE parent IN ({part}){only}")
            )
        frontier = new - found
        found |= frontier
    return found - start


def insert(
    db: sqlite3.Connection,
    flow: NormalFlow,
    *,
    flows: Sequence[int],
    priority: int,
    salt: str,
    code_version: str,
    maker: int | None = None,
) -> tuple[dict[tuple[str, int], int], list[int]]:
    """Add the jobs of a flow that are not there yet, and make all of them members of ``flows``.

    Parameters
    ----------
    db
        A connection in a write transaction.
    flow
        The normalised flow, parents first.
    flows
        Ids of the flows the jobs belong to.
    priority
        Priority of new jobs, and least priority of those that are there.
    salt, code_version
        As they went into the content keys.
    maker
        Id of the job that made the flow.

    Returns
    -------
    ids : dict
        Id of every job of the flow by (uuid, index).
    new : list of int
        Ids of those that were not there before.
    """
    now = time.time()
    ids: dict[tuple[str, int], int] = {}
    new: list[int] = []
    halted = _halted(db, flows)
    for job in flow.jobs:
        found = db.execute("SELECT id FROM jobs WHERE uuid = ? AND idx = ?", (job.uuid, job.index)).fetchone()
        if found is None:
            job_id = _insert_job(db, job, now, priority, salt, code_version, halted, maker)
            new.append(job_id)
        else:
            job_id = int(found[0])
            db.execute("UPDATE jobs SET priority = max(priority, ?) WHERE id = ?", (priority, job_id))
        ids[job.uuid, job.index] = job_id
    members = [(flow_id, job_id) for flow_id in flows for job_id in ids.values()]
    old = set(ids.values()) - set(new)
    if old:  # what those jobs made belongs to these flows too
        made = descendants(db, old, EdgeKind.SPAWN)
        members += [(flow_id, job_id) for flow_id in flows for job_id in made]
    db.executemany("INSERT OR IGNORE INTO members VALUES (?, ?)", members)
    return ids, new


def _insert_job(
    db: sqlite3.Connection,
    job: NormalJob,
    now: float,
    priority: int,
    salt: str,
    code_version: str,
    halted: JobState | None,
    maker: int | None,
) -> int:
    """Add one job with its edges, in the state that its parents and flows give it."""
    parents = parents_of(db, job.parents)
    rows = select(db, "id, name, state, dead, stops, cause", parents)
    hard = job.soft == HARD
    # The maker still runs; its completion, later in this transaction, counts down this one too.
    blockers = sum(not satisfied(row["state"], row["dead"], hard=hard) for row in rows) + (maker is not None)
    stopper = next((row["id"] for row in rows if row["state"] == JobState.STOPPED or _stops(row)), None)
    dead = hard and any(row["dead"] for row in rows)
    state = JobState.READY if blockers == 0 else JobState.WAITING
    cause = None
    if stopper is not None:
        state, dead, cause = JobState.STOPPED, True, f"stopped by #{stopper} (stop_children)"
    elif halted is not None:
        state, dead = halted, dead or halted is not JobState.PAUSED
    elif dead:
        cause = _waits_for(dict(row) for row in rows if row["dead"])
    cursor = db.execute(
        "INSERT INTO jobs (uuid, idx, key, name, function, state, priority, soft, blockers, dead, stopped_by,"
        " cause, salt, code_version, metadata, created) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            *(
                job.uuid,
                job.index,
                job.key,
                job.name,
                job.function,
                state,
                priority,
                job.soft,
                blockers,
                dead,
            ),
            *(stopper, cause, salt, code_version, dumps(job.metadata), now),
        ),
    )
    job_id = int(cursor.lastrowid or 0)
    db.execute("INSERT INTO specs VALUES (?, ?)", (job_id, job.spec))
    db.executemany(
        "INSERT INTO edges VALUES (?, ?, ?)", [(parent, job_id, EdgeKind.DATA) for parent in sorted(parents)]
    )
    if maker is not None:
        db.execute("INSERT INTO edges VALUES (?, ?, ?)", (maker, job_id, EdgeKind.SPAWN))
    return job_id


def parents_of(db: sqlite3.Connection, uuids: Iterable[str]) -> set[int]:
    """Return the jobs that must be done before the output of ``uuids`` is final.

    That is every index of the uuid (replacements) and what gates them (detours, sides of replacements).
    """
    found: set[int] = set()
    for uuid in uuids:
        found.update(row[0] for row in db.execute("SELECT id FROM jobs WHERE uuid = ?", (uuid,)))
    frontier = set(found)
    while frontier:
        new: set[int] = set()
        for part in chunks(frontier):
            new.update(row[0] for row in db.execute(f"SELECT gate FROM gates WHERE job IN ({part})"))
        frontier = new - found
        found |= frontier
    return found


def satisfied(state: str, dead: int, *, hard: bool) -> bool:
    """Whether a parent in this state no longer holds a child back."""
    completed = state == JobState.COMPLETED
    return (completed and not dead) if hard else (completed or bool(dead))


def _stops(row: sqlite3.Row) -> bool:
    return bool(row["stops"]) and row["state"] == JobState.COMPLETED


def _halted(db: sqlite3.Connection, flows: Sequence[int]) -> JobState | None:
    """Return the state that new jobs of these flows take, if all of the flows are halted."""
    states: list[JobState | None] = []
    for flow in flows:
        row = db.execute("SELECT paused, cancelled FROM flows WHERE id = ?", (flow,)).fetchone()
        stopper = db.execute(
            "SELECT 1 FROM jobs JOIN members ON members.job = jobs.id"
            " WHERE jobs.stops = 2 AND jobs.state = 'COMPLETED' AND members.flow = ? LIMIT 1",
            (flow,),
        ).fetchone()
        if row["cancelled"]:
            states.append(JobState.CANCELLED)
        elif stopper is not None:
            states.append(JobState.STOPPED)
        else:
            states.append(JobState.PAUSED if row["paused"] else None)
    if not states or None in states:
        return None
    return JobState.PAUSED if JobState.PAUSED in states else states[0]


def settle(db: sqlite3.Connection, ids: Iterable[int]) -> list[int]:
    """Work out again, from their parents, what holds back ``ids`` and all that come after them.

    Returns
    -------
    list of int
        Jobs that became READY.
    """
    start = set(ids)
    scope = start | descendants(db, start)
    rows = {row["id"]: dict(row) for row in select(db, "id, name, state, soft, blockers, dead, cause", scope)}
    parents: dict[int, list[int]] = {job: [] for job in rows}
    for part in chunks(rows):
        for child, parent in db.execute(f"SELECT child, parent FROM edges WHERE child IN ({part})"):
            parents[child].append(parent)
    outside = {parent for above in parents.values() for parent in above} - set(rows)
    rows |= {
        row["id"]: dict(row) for row in select(db, "id, name, state, soft, blockers, dead, cause", outside)
    }
    ready: list[int] = []
    changes: list[tuple[str, int, int, str | None, int]] = []
    for job in _parents_first(parents):
        row = rows[job]
        before = (row["state"], row["blockers"], row["dead"], row["cause"])
        above = [rows[parent] for parent in parents[job]]
        hard = row["soft"] == HARD
        row["blockers"] = sum(not satisfied(p["state"], p["dead"], hard=hard) for p in above)
        if row["state"] in OPEN:
            dead = [p for p in above if p["dead"]] if hard else []
            row["dead"] = int(bool(dead))
            row["cause"] = _waits_for(dead) if dead else None
            if row["state"] != JobState.PAUSED:
                row["state"] = JobState.WAITING if row["blockers"] else JobState.READY
                if row["state"] == JobState.READY and before[0] != JobState.READY:
                    ready.append(job)
        if (row["state"], row["blockers"], row["dead"], row["cause"]) != before:
            changes.append((row["state"], row["blockers"], row["dead"], row["cause"], job))
    db.executemany("UPDATE jobs SET state = ?, blockers = ?, dead = ?, cause = ? WHERE id = ?", changes)
    return ready


def _parents_first(parents: dict[int, list[int]]) -> list[int]:
    """Return the keys in topological order."""
    missing = {job: sum(parent in parents for parent in above) for job, above in parents.items()}
    children: dict[int, list[int]] = {}
    for job, above in parents.items():
        for parent in above:
            children.setdefault(parent, []).append(job)
    order = [job for job, count in missing.items() if count == 0]
    for job in order:  # grows while it is walked
        for child in children.get(job, ()):
            missing[child] -= 1
            if missing[child] == 0:
                order.append(child)
    return order


def _waits_for(dead_parents: Iterable[Mapping[str, Any]]) -> str:
    """Say in one line which job stands at the root of the waiting."""
    for row in dead_parents:
        if row["state"] in {JobState.FAILED, JobState.CANCELLED, JobState.STOPPED}:
            return f"waits for #{row['id']} {row['name']} ({row['state']})"
        if row["cause"]:
            return str(row["cause"])
        return f"waits for what #{row['id']} {row['name']} passes on, part of which is missing"
    return "waits"


def complete(db: sqlite3.Connection, job: sqlite3.Row, stored_data: str | None, stops: int) -> list[int]:
    """Mark a running job COMPLETED and release what waited for it; return what became READY."""
    job_id = job["id"]
    tainted = job["soft"] != HARD and _passes_on_what_is_missing(db, job)
    db.execute(
        "UPDATE jobs SET state = ?, ended = ?, cause = NULL, cancel = 0, dead = ?, stops = ?, stored_data = ?"
        " WHERE id = ?",
        (JobState.COMPLETED, time.time(), int(tainted), stops, stored_data, job_id),
    )
    if tainted:
        return settle(db, [job_id])
    # The fast path: a job that was not dead satisfies each of its children exactly once, now.
    ready = db.execute(
        "SELECT id FROM jobs WHERE state = ? AND blockers = 1"
        " AND id IN (SELECT child FROM edges WHERE parent = ?)",
        (JobState.WAITING, job_id),
    ).fetchall()
    db.execute(
        "UPDATE jobs SET blockers = blockers - 1,"
        " state = CASE WHEN state = 'WAITING' AND blockers = 1 THEN 'READY' ELSE state END"
        " WHERE id IN (SELECT child FROM edges WHERE parent = ?)",
        (job_id,),
    )
    return [row[0] for row in ready]


def _passes_on_what_is_missing(db: sqlite3.Connection, job: sqlite3.Row) -> bool:
    if job["soft"] != PASSIVE:
        return False
    return (
        db.execute(
            "SELECT 1 FROM edges JOIN jobs ON id = parent WHERE child = ? AND dead LIMIT 1",
            (job["id"],),
        ).fetchone()
        is not None
    )


def fail(
    db: sqlite3.Connection, job_id: int, why: Failure | str, state: JobState = JobState.FAILED
) -> list[int]:
    """Mark a job FAILED (or CANCELLED, STOPPED); those who build on it wait, or go on without it."""
    db.execute(
        "UPDATE jobs SET state = ?, dead = 1, cancel = 0, ended = ?, cause = ?, failure = ? WHERE id = ?",
        (state, time.time(), *_stored(why), job_id),
    )
    return settle(db, descendants(db, [job_id]))


def _stored(why: Failure | str | None) -> tuple[str | None, str | None]:
    """Return the line for people, and the value where something failed."""
    return (why.line, why.model_dump_json()) if isinstance(why, Failure) else (why, None)


def failures_of(db: sqlite3.Connection, rows: Iterable[sqlite3.Row]) -> dict[int, Failure]:
    """Return why each failed job of these rows of ``jobs`` failed.

    A queue of before version 3 holds the class of those that were judged, and of the others a line alone.
    """
    failed = [row for row in rows if row["state"] == JobState.FAILED]
    old = [row["id"] for row in failed if row["failure"] is None]
    judged = {
        (row["job"], row["why"]): FailureClass(row["class"])
        for part in chunks(old)
        for row in db.execute(f"SELECT job, why, class FROM verdicts WHERE job IN ({part}) ORDER BY id")
    }
    return {
        row["id"]: Failure.model_validate_json(row["failure"])
        if row["failure"]
        else Failure(
            kind=judged.get((row["id"], row["cause"] or ""), FailureClass.OTHER),
            cause="not recorded",
            what=row["cause"] or "",
        )
        for row in failed
    }


def grow(
    db: sqlite3.Connection,
    job: sqlite3.Row,
    grown: Sequence[tuple[NormalFlow, bool]],
    mentions: Iterable[str] = (),
) -> list[int]:
    """Add what a running job made; return the jobs that are new.

    Parameters
    ----------
    db
        A connection in a write transaction.
    job
        Row of the job, still RUNNING.
    grown
        Flows with whether those who wait for the job wait for the flow as well (replacements and detours
        do, additions do not).
    mentions
        Uuids that the job's output refers to. Those who resolve that output need these outputs as well, so
        they wait for them, additions too.
    """
    job_id = job["id"]
    flows = [row[0] for row in db.execute("SELECT flow FROM members WHERE job = ?", (job_id,))]
    dependents = [
        row[0]
        for row in db.execute(
            "SELECT child FROM edges WHERE parent = ? AND kind = ?", (job_id, EdgeKind.DATA)
        )
    ]
    made: set[int] = set()
    gates: set[int] = set()
    fresh: list[int] = []
    for flow, gate in grown:
        ids, new = insert(
            db,
            flow,
            flows=flows,
            priority=job["priority"],
            salt=job["salt"],
            code_version=job["code_version"],
            maker=job_id,
        )
        for normal in flow.jobs:
            if normal.uuid == job["uuid"]:  # the replacement may differ from what an earlier run left here
                replaced = ids[normal.uuid, normal.index]
                if replaced not in new:
                    _respecify(db, replaced, normal)
                gates |= {replaced} if gate else set()
        gates |= {ids[leaf] for leaf in flow.leaves} if gate else set()
        made |= set(ids.values())
        fresh += new
    gates |= parents_of(db, mentions)
    gates.discard(job_id)
    _retire(db, job_id, made, dependents)
    db.executemany("INSERT OR IGNORE INTO gates VALUES (?, ?)", [(job_id, gate) for gate in sorted(gates)])
    # A job that was there before may itself come after one of the dependents: it cannot gate that one.
    old = {gate: descendants(db, [gate]) for gate in gates - set(fresh)}
    upstream = {gate: {d for d in dependents if gate in descendants(db, [d])} for gate in old}
    db.executemany(
        "INSERT OR IGNORE INTO edges VALUES (?, ?, ?)",
        [
            (gate, dependent, EdgeKind.DATA)
            for gate in sorted(gates)
            for dependent in dependents
            if gate != dependent and dependent not in upstream.get(gate, ())
        ],
    )
    if gates and dependents:
        settle(db, dependents)
    return fresh


def _respecify(db: sqlite3.Connection, job_id: int, job: NormalJob) -> None:
    """Let a replacement that is there from an earlier execution be what the new one made it."""
    db.execute("UPDATE specs SET spec = ? WHERE job = ?", (job.spec, job_id))
    db.execute(
        "UPDATE jobs SET key = ?, name = ?, soft = ? WHERE id = ?", (job.key, job.name, job.soft, job_id)
    )
    db.execute("DELETE FROM edges WHERE child = ? AND kind = ?", (job_id, EdgeKind.DATA))
    db.executemany(
        "INSERT OR IGNORE INTO edges VALUES (?, ?, ?)",
        [(parent, job_id, EdgeKind.DATA) for parent in sorted(parents_of(db, job.parents))],
    )
    settle(db, [job_id])


def _retire(db: sqlite3.Connection, job_id: int, made: set[int], dependents: Sequence[int]) -> None:
    """Let go of what an earlier execution of the job made and this one did not."""
    gone = {
        row[0]
        for row in db.execute(
            "SELECT child FROM edges WHERE parent = ? AND kind = ?", (job_id, EdgeKind.SPAWN)
        )
    } - made
    for old in gone:
        db.execute("DELETE FROM edges WHERE parent = ? AND child = ?", (job_id, old))
        if db.execute("DELETE FROM gates WHERE job = ? AND gate = ?", (job_id, old)).rowcount:
            db.executemany(
                "DELETE FROM edges WHERE parent = ? AND child = ?", [(old, child) for child in dependents]
            )
        wanted = db.execute(
            "SELECT 1 FROM members WHERE job = ? AND flow NOT IN (SELECT flow FROM members WHERE job = ?)",
            (old, job_id),
        ).fetchone()
        state = select(db, "state", [old])[0]["state"]
        if wanted is None and state in OPEN:
            fail(db, old, f"#{job_id} made other jobs when it ran again", JobState.STOPPED)
    if gone:
        settle(db, set(dependents))


def stop(db: sqlite3.Connection, job: sqlite3.Row, kind: int, spare: Iterable[int]) -> None:
    """Carry out ``stop_children`` or ``stop_jobflow`` of a job; ``spare`` is what the job itself made."""
    job_id = job["id"]
    if kind == STOP_CHILDREN:
        first = [
            row[0]
            for row in db.execute(
                "SELECT child FROM edges WHERE parent = ? AND kind = ?", (job_id, EdgeKind.DATA)
            )
        ]
        scope = set(first) | descendants(db, first)
        cause = f"stopped by #{job_id} {job['name']} (stop_children)"
    else:
        rows = db.execute(
            "SELECT job FROM members WHERE flow IN (SELECT flow FROM members WHERE job = :job) EXCEPT"
            " SELECT job FROM members WHERE flow NOT IN (SELECT flow FROM members WHERE job = :job)",
            {"job": job_id},
        )
        scope = {row[0] for row in rows}
        cause = f"stopped by #{job_id} {job['name']} (stop_jobflow)"
    scope -= {*spare, job_id}
    states = ",".join(f"'{state}'" for state in OPEN)
    for part in chunks(scope):
        db.execute(
            f"UPDATE jobs SET state = ?, dead = 1, ended = ?, cause = ?, stopped_by = ?"
            f" WHERE id IN ({part}) AND state IN ({states})",
            (JobState.STOPPED, time.time(), cause, job_id),
        )
    settle(db, descendants(db, scope))


def close_attempt(
    db: sqlite3.Connection, attempt_id: int, outcome: Outcome, why: Failure | str | None
) -> bool:
    """Close an attempt, once; False when somebody else has closed it."""
    closed = db.execute(
        "UPDATE attempts SET outcome = ?, cause = ?, failure = ?, ended = ? WHERE id = ? AND outcome = ?",
        (outcome, *_stored(why), time.time(), attempt_id, Outcome.RUNNING),
    )
    return closed.rowcount == 1


def put_back(db: sqlite3.Connection, job_id: int) -> None:
    """Let a job whose attempt ended without a verdict be taken again, or give it up if that was asked."""
    row = select(db, "cancel, state", [job_id])[0]
    if row["cancel"]:
        fail(db, job_id, "cancelled while it ran", JobState.CANCELLED)
        return
    db.execute("UPDATE jobs SET state = ?, cause = NULL WHERE id = ?", (JobState.READY, job_id))
    flows = [flow[0] for flow in db.execute("SELECT flow FROM members WHERE job = ?", (job_id,))]
    if _halted(db, flows) is JobState.PAUSED:
        db.execute("UPDATE jobs SET state = ? WHERE id = ?", (JobState.PAUSED, job_id))
