"""The embedded queue: a SQLite file on the disk of one machine, nothing to install or to start.

It is for one machine: SQLite's write-ahead log does not work over network file systems. The cluster path is
FireWorks, behind the same protocol.
"""

# ruff: noqa: S608 - only integers, states and names of columns are written into SQL.

from __future__ import annotations

import json
import os
import secrets
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epilayer import __version__
from epilayer.launch import reruns, transitions
from epilayer.launch.base import (
    Attempt,
    ChangeReport,
    Edge,
    EdgeKind,
    FlowInfo,
    FlowStatus,
    JobInfo,
    JobState,
    Outcome,
    Ref,
    RerunReport,
    SubmitReport,
)
from epilayer.launch.claims import Claims
from epilayer.launch.schema import QueueFile
from epilayer.model.errors import InputError, UnknownNameError
from epilayer.model.failure import Failure

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from epilayer.launch.identity import NormalFlow

_OPEN = ", ".join(f"'{state}'" for state in transitions.OPEN)
_SHOWN_LIMIT = 20
_LEAST_PREFIX = 4


class EmbeddedQueue:
    """A durable queue in one SQLite file; satisfies `epilayer.launch.base.Queue`.

    Parameters
    ----------
    path
        The file; created when missing.
    code_version
        Version of the code that gives jobs their meaning: part of every job's identity. The version of
        epilayer by default.
    runs
        Folder for run directories; ``runs`` beside the file by default.
    """

    worker_module = "epilayer.launch.worker"
    """What a worker process of this queue runs."""

    def __init__(
        self, path: str | Path, *, code_version: str | None = None, runs: str | Path | None = None
    ) -> None:
        self._file = QueueFile(path)
        self.path = self._file.path
        self.code_version = code_version or __version__
        folder = Path(os.path.abspath(runs)) if runs is not None else Path(self.path).parent / "runs"  # noqa: PTH100
        self.claims = Claims(self._file, code_version=self.code_version, runs=folder)
        self._file.connection()  # a file that cannot be used is told at once

    @property
    def address(self) -> str:
        """What a worker process needs to open the queue; handed over in private."""
        return self.path

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        self._file.close()

    # Submitting

    def submit(
        self,
        flow: Any,  # noqa: ANN401  (jobflow has no type information)
        *,
        name: str | None = None,
        priority: int = 0,
        metadata: Mapping[str, Any] | None = None,
        fresh: bool = False,
        allow_external_references: bool = False,
    ) -> SubmitReport:
        """Put a flow into the queue; see `epilayer.launch.base.Queue.submit`."""
        from epilayer.launch.identity import dumps, normalise

        salt = secrets.token_hex(16) if fresh else ""
        normal = normalise(flow, code_version=self.code_version, salt=salt, name=name)
        with self._file.writing() as db:
            if not allow_external_references:
                self._refuse_unknown_references(db, normal)
            flow_id = self._flow_row(db, normal, priority, dumps(dict(metadata or {})))
            ids, new = transitions.insert(
                db, normal, flows=[flow_id], priority=priority, salt=salt, code_version=self.code_version
            )
            old = sorted(set(ids.values()) - set(new))
            states = {row["id"]: row["state"] for row in transitions.select(db, "id, state", old)}
            revived = self._revive(db, flow_id)
            return SubmitReport(
                flow=normal.uuid,
                ref=f"f{flow_id}",
                new=tuple(new),
                reused=tuple(old),
                completed=sum(state == JobState.COMPLETED for state in states.values()),
                failed=tuple(job for job in old if states[job] == JobState.FAILED),
                revived=tuple(revived),
                uuids={given: uuid for given, uuid in normal.uuids.items() if uuid != normal.uuid},
            )

    @staticmethod
    def _refuse_unknown_references(db: sqlite3.Connection, normal: NormalFlow) -> None:
        inside = {job.uuid for job in normal.jobs}
        for job in normal.jobs:
            for parent in job.parents:
                known = (
                    parent in inside or db.execute("SELECT 1 FROM jobs WHERE uuid = ?", (parent,)).fetchone()
                )
                if not known:
                    raise InputError(
                        f"Job {job.name!r} refers to job {parent}, which is neither in flow {normal.name!r}"
                        " nor in the queue.",
                        "Add that job to the flow, or submit it first.",
                    )

    @staticmethod
    def _flow_row(db: sqlite3.Connection, normal: NormalFlow, priority: int, metadata: str) -> int:
        found = db.execute("SELECT id FROM flows WHERE uuid = ?", (normal.uuid,)).fetchone()
        if found is None:
            created = db.execute(
                "INSERT INTO flows (uuid, name, created, priority, metadata) VALUES (?, ?, ?, ?, ?)",
                (normal.uuid, normal.name, time.time(), priority, metadata),
            )
            return int(created.lastrowid or 0)
        db.execute(
            "UPDATE flows SET priority = max(priority, ?), cancelled = 0,"
            " metadata = CASE WHEN ? = '{}' THEN metadata ELSE ? END WHERE id = ?",
            (priority, metadata, metadata, found[0]),
        )
        return int(found[0])

    @staticmethod
    def _revive(db: sqlite3.Connection, flow_id: int) -> list[int]:
        """Let cancelled and paused jobs go on that this flow wants: asking for them is wanting them."""
        paused = db.execute("SELECT paused FROM flows WHERE id = ?", (flow_id,)).fetchone()[0]
        states = [JobState.CANCELLED] if paused else [JobState.CANCELLED, JobState.PAUSED]
        marks = ", ".join("?" * len(states))
        jobs = [
            row[0]
            for row in db.execute(
                f"SELECT id FROM jobs JOIN members ON job = id WHERE flow = ? AND state IN ({marks})",
                (flow_id, *states),
            )
        ]
        db.executemany(
            "UPDATE jobs SET state = 'WAITING', dead = 0, cause = NULL, ended = NULL WHERE id = ?",
            [(job,) for job in jobs],
        )
        transitions.settle(db, jobs)
        return jobs

    # Looking

    def jobs(
        self,
        *,
        state: JobState | Iterable[JobState] | None = None,
        flow: Ref | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> list[JobInfo]:
        """List jobs by number; see `epilayer.launch.base.Queue.jobs`."""
        where: list[str] = []
        values: list[Any] = []
        with self._file.reading() as db:
            if state is not None:
                states = [state] if isinstance(state, str) else list(state)
                where.append(f"state IN ({', '.join('?' * len(states))})")
                values += states
            if flow is not None:
                where.append("id IN (SELECT job FROM members WHERE flow = ?)")
                values.append(self._flow_id(db, flow))
            if name is not None:
                where.append("name GLOB ?")
                values.append(name)
            condition = " AND ".join(where) or "1"
            rows = db.execute(
                f"SELECT * FROM jobs WHERE {condition} ORDER BY id LIMIT ?",
                (*values, -1 if limit is None else limit),
            ).fetchall()
            return self._infos(db, rows)

    def job(self, ref: Ref) -> JobInfo:
        """Return one job."""
        with self._file.reading() as db:
            return self._infos(db, transitions.select(db, "*", [self._job_id(db, ref)]))[0]

    def attempts(self, ref: Ref) -> list[Attempt]:
        """Return every execution of a job, oldest first."""
        with self._file.reading() as db:
            rows = db.execute(
                "SELECT a.*, w.host, w.pid FROM attempts a JOIN workers w ON w.token = a.worker"
                " WHERE a.job = ? ORDER BY a.number",
                (self._job_id(db, ref),),
            ).fetchall()
        return [
            Attempt(
                job=row["job"],
                number=row["number"],
                outcome=Outcome(row["outcome"]),
                cause=row["cause"],
                failure=Failure.model_validate_json(row["failure"]) if row["failure"] else None,
                host=row["host"],
                pid=row["pid"],
                started=_moment(row["started"]),
                ended=_moment_or_none(row["ended"]),
                directory=self.claims.runs / row["directory"],
                code_version=row["code_version"],
            )
            for row in rows
        ]

    def spec(self, identity: tuple[str, int]) -> str | None:
        """Return a job (uuid, index) as it was submitted, JSON; ``None`` where there is no such job."""
        with self._file.reading() as db:
            row = db.execute(
                "SELECT spec FROM specs WHERE job = (SELECT id FROM jobs WHERE uuid = ? AND idx = ?)",
                identity,
            ).fetchone()
        return None if row is None else str(row["spec"])

    def flows(self) -> list[FlowInfo]:
        """List the submitted flows."""
        with self._file.reading() as db:
            counts: dict[int, Counter[str]] = {}
            for row in db.execute(
                "SELECT flow, state, count(*) FROM members JOIN jobs ON jobs.id = job GROUP BY flow, state"
            ):
                counts.setdefault(row[0], Counter())[row[1]] = row[2]
            rows = db.execute("SELECT * FROM flows ORDER BY id").fetchall()
        return [self._flow_info(row, counts.get(row["id"], Counter())) for row in rows]

    def status(self, flow: Ref | None = None) -> FlowStatus:
        """Count the jobs per state, of one flow or of the queue."""
        with self._file.reading() as db:
            info, condition, values = None, "1", ()
            if flow is not None:
                flow_id = self._flow_id(db, flow)
                condition, values = "id IN (SELECT job FROM members WHERE flow = ?)", (flow_id,)  # type: ignore[assignment]
            counts = self._count(db, condition, values)
            if flow is not None:
                row = db.execute("SELECT * FROM flows WHERE id = ?", values).fetchone()
                info = self._flow_info(row, counts)
            blocked = db.execute(
                f"SELECT count(*) FROM jobs WHERE {condition} AND dead AND state IN ({_OPEN})",
                values,
            ).fetchone()[0]
            running, failed = (
                self._infos(
                    db,
                    db.execute(
                        f"SELECT * FROM jobs WHERE {condition} AND state = ? ORDER BY id",
                        (*values, state),
                    ).fetchall(),
                )
                for state in (JobState.RUNNING, JobState.FAILED)
            )
            return FlowStatus(info, _total(counts), tuple(running), tuple(failed), blocked)

    def counts(self) -> Mapping[JobState, int]:
        """Count the jobs of the queue per state; every state is a key."""
        with self._file.reading() as db:
            return _total(self._count(db, "1", ()))

    def edges(self, flow: Ref | None = None) -> list[Edge]:
        """List what comes before what, of one flow or of the queue."""
        with self._file.reading() as db:
            query, values = "SELECT parent, child, kind FROM edges ORDER BY parent, child", ()
            if flow is not None:
                flow_id = self._flow_id(db, flow)
                query = (
                    "SELECT parent, child, kind FROM edges JOIN members m ON m.job = child"
                    " JOIN members n ON n.job = parent WHERE m.flow = ? AND n.flow = ? ORDER BY parent, child"
                )
                values = (flow_id, flow_id)  # type: ignore[assignment]
            return [Edge(row[0], row[1], EdgeKind(row[2])) for row in db.execute(query, values)]

    def why_left(self) -> list[str]:
        """Say in one line each why jobs that have not finished will not run by themselves."""
        with self._file.reading() as db:
            rows = db.execute(
                f"SELECT cause, count(*) FROM jobs WHERE dead AND state IN ({_OPEN})"
                " GROUP BY cause ORDER BY min(id)"
            ).fetchall()
            lines = [f"{_jobs(row[1])}: {row[0] or 'waits'}" for row in rows[:_SHOWN_LIMIT]]
            if len(rows) > _SHOWN_LIMIT:
                lines.append(f"... and {_jobs(sum(row[1] for row in rows[_SHOWN_LIMIT:]))} for other reasons")
            paused = db.execute("SELECT count(*) FROM jobs WHERE state = 'PAUSED'").fetchone()[0]
        return [*lines, f"{_jobs(paused)} paused"] if paused else lines

    # Steering

    def pause(self, ref: Ref) -> ChangeReport:
        """Hold back a flow or a job; what runs already runs to its end."""
        with self._file.writing() as db:
            flow, jobs = self._target(db, ref)
            if flow is not None:
                db.execute("UPDATE flows SET paused = 1 WHERE id = ?", (flow,))
                jobs = self._only_of(db, jobs, "paused")
            return self._change(db, jobs, (JobState.WAITING, JobState.READY), JobState.PAUSED)

    def resume(self, ref: Ref) -> ChangeReport:
        """Release what was paused."""
        with self._file.writing() as db:
            flow, jobs = self._target(db, ref)
            if flow is not None:
                db.execute("UPDATE flows SET paused = 0 WHERE id = ?", (flow,))
            report = self._change(db, jobs, (JobState.PAUSED,), JobState.WAITING)
            transitions.settle(db, report.changed)
            return report

    def cancel(self, ref: Ref) -> ChangeReport:
        """Give up a flow or a job; what runs is killed within about a second by the run that has it."""
        with self._file.writing() as db:
            flow, jobs = self._target(db, ref)
            shared = len(jobs)
            if flow is not None:
                db.execute("UPDATE flows SET cancelled = 1 WHERE id = ?", (flow,))
                jobs = self._only_of(db, jobs, "cancelled")
            shared -= len(jobs)
            rows = transitions.select(db, "id, state", jobs)
            running = [row["id"] for row in rows if row["state"] == JobState.RUNNING]
            open_ = [row["id"] for row in rows if row["state"] in transitions.OPEN]
            db.executemany("UPDATE jobs SET cancel = 1 WHERE id = ?", [(job,) for job in running])
            db.executemany(
                "UPDATE jobs SET state = 'CANCELLED', dead = 1, ended = ?, cause = 'cancelled' WHERE id = ?",
                [(time.time(), job) for job in open_],
            )
            transitions.settle(db, transitions.descendants(db, open_))
            changed = tuple(sorted(running + open_))
            note = f"{_jobs(shared)} shared with other flows left alone" if shared else ""
            return ChangeReport(changed, tuple(sorted(set(jobs) - set(changed))), note)

    def set_priority(self, ref: Ref, priority: int) -> ChangeReport:
        """Set the priority of a flow or a job; higher runs first."""
        with self._file.writing() as db:
            flow, jobs = self._target(db, ref)
            if flow is not None:
                db.execute("UPDATE flows SET priority = ? WHERE id = ?", (priority, flow))
            rows = transitions.select(db, "id, state", jobs)
            changed = [row["id"] for row in rows if not JobState(row["state"]).finished]
            db.executemany("UPDATE jobs SET priority = ? WHERE id = ?", [(priority, job) for job in changed])
            return ChangeReport(tuple(sorted(changed)), tuple(sorted(set(jobs) - set(changed))))

    def rerun(
        self,
        refs: Iterable[Ref] = (),
        *,
        state: JobState | None = None,
        flow: Ref | None = None,
        name: str | None = None,
        force: bool = False,
        dry_run: bool = False,
    ) -> RerunReport:
        """Let failed or cancelled jobs run again; see `epilayer.launch.reruns.rerun`."""
        refs = list(refs)
        if not refs and state is None and flow is None and name is None:
            raise InputError(
                "Nothing was selected to run again.", "Name jobs, or select by state (--failed)."
            )
        by_filter = state is not None or flow is not None or name is not None
        chosen = [job.number for job in self.jobs(state=state, flow=flow, name=name)] if by_filter else []
        with self._file.writing() as db:
            chosen += [self._job_id(db, ref) for ref in refs]
            report = reruns.rerun(db, sorted(set(chosen)), force=force)
            if dry_run:
                db.execute("ROLLBACK")
                db.execute("BEGIN")
                return RerunReport(None, report.jobs, report.descendants, report.skipped)
            return report

    def undo_rerun(self, rerun_id: int | None = None) -> RerunReport:
        """Put every state back as it was before a rerun; see `epilayer.launch.reruns.undo`."""
        with self._file.writing() as db:
            return reruns.undo(db, rerun_id)

    # Inside

    @staticmethod
    def _change(
        db: sqlite3.Connection, jobs: Iterable[int], old: tuple[JobState, ...], new: JobState
    ) -> ChangeReport:
        rows = transitions.select(db, "id, state", jobs)
        changed = [row["id"] for row in rows if row["state"] in old]
        db.executemany("UPDATE jobs SET state = ? WHERE id = ?", [(new, job) for job in changed])
        others = {row["id"] for row in rows} - set(changed)
        return ChangeReport(tuple(sorted(changed)), tuple(sorted(others)))

    @staticmethod
    def _only_of(db: sqlite3.Connection, jobs: list[int], halted: str) -> list[int]:
        """Return those jobs that no other flow, one that goes on, wants as well."""
        wanted: set[int] = set()
        for part in transitions.chunks(jobs):
            rows = db.execute(
                f"SELECT job FROM members JOIN flows ON id = flow WHERE NOT {halted} AND job IN ({part})"
            )
            wanted.update(row[0] for row in rows)
        return [job for job in jobs if job not in wanted]

    def _target(self, db: sqlite3.Connection, ref: Ref) -> tuple[int | None, list[int]]:
        """Return (flow, its jobs) or (None, [the job])."""
        text = str(ref)
        flow = self._find_flow(db, text)
        if flow is None:
            return None, [self._job_id(db, ref)]
        return flow, [row[0] for row in db.execute("SELECT job FROM members WHERE flow = ?", (flow,))]

    def _flow_id(self, db: sqlite3.Connection, ref: Ref) -> int:
        found = self._find_flow(db, f"f{ref}" if isinstance(ref, int) or ref.isdigit() else ref)
        if found is None:
            known = [f"f{row[0]}" for row in db.execute("SELECT id FROM flows ORDER BY id DESC LIMIT 10")]
            known += [row[0] for row in db.execute("SELECT DISTINCT name FROM flows LIMIT 50")]
            raise UnknownNameError("flow", str(ref), known)
        return found

    @staticmethod
    def _find_flow(db: sqlite3.Connection, text: str) -> int | None:
        """Find a flow by ``f3``, uuid, beginning of its uuid, or name (the newest of that name)."""
        if text[:1] == "f" and text[1:].isdigit():
            row = db.execute("SELECT id FROM flows WHERE id = ?", (int(text[1:]),)).fetchone()
            return None if row is None else int(row[0])
        if text.isdigit():
            return None
        rows = db.execute("SELECT id FROM flows WHERE name = ? ORDER BY id DESC", (text,)).fetchall()
        if not rows and len(text) >= _LEAST_PREFIX and _is_uuid_like(text):
            rows = db.execute("SELECT id FROM flows WHERE uuid GLOB ? || '*' LIMIT 2", (text,)).fetchall()
            if len(rows) > 1:
                raise InputError(f"{text!r} begins more than one flow's uuid.", "Give more of it.")
        return int(rows[0][0]) if rows else None

    @staticmethod
    def _job_id(db: sqlite3.Connection, ref: Ref) -> int:
        """Find a job by short number, uuid, or beginning of its uuid."""
        text = str(ref).strip().lstrip("#")
        if text.isdigit() and len(text) < 8:  # noqa: PLR2004  (eight digits may begin a uuid)
            row = db.execute("SELECT id FROM jobs WHERE id = ?", (int(text),)).fetchone()
            if row is None:
                last = db.execute("SELECT max(id) FROM jobs").fetchone()[0]
                known = f"Jobs are numbered 1 to {last}." if last else "The queue is empty: submit a flow."
                raise InputError(f"There is no job {text}.", known)
            return int(row[0])
        rows = []
        if len(text) >= _LEAST_PREFIX and _is_uuid_like(text):
            rows = db.execute(
                "SELECT uuid, max(id) AS id FROM jobs WHERE uuid GLOB ? || '*' GROUP BY uuid LIMIT 4", (text,)
            ).fetchall()
        if len(rows) > 1:
            near = ", ".join(f"#{row['id']} {row['uuid'][:13]}" for row in rows)
            raise InputError(f"{text!r} begins more than one job's uuid ({near}, ...).", "Give more of it.")
        if not rows:
            near_names = db.execute(
                "SELECT id, name FROM jobs WHERE name GLOB '*' || ? || '*' LIMIT 5", (text,)
            ).fetchall()
            near = ", ".join(f"#{row['id']} {row['name']}" for row in near_names)
            hint = f"Jobs of such a name: {near}." if near else "epilayer jobs list shows the numbers."
            raise InputError(f"There is no job {text!r}.", hint)
        return int(rows[0]["id"])

    @staticmethod
    def _count(db: sqlite3.Connection, condition: str, values: tuple[Any, ...]) -> Counter[str]:
        rows = db.execute(f"SELECT state, count(*) FROM jobs WHERE {condition} GROUP BY state", values)
        return Counter(dict(tuple(row) for row in rows))

    @staticmethod
    def _flow_info(row: sqlite3.Row, counts: Mapping[str, int]) -> FlowInfo:
        return FlowInfo(
            number=row["id"],
            uuid=row["uuid"],
            name=row["name"],
            created=_moment(row["created"]),
            priority=row["priority"],
            paused=bool(row["paused"]),
            cancelled=bool(row["cancelled"]),
            metadata=json.loads(row["metadata"]),
            counts=_total(counts),
        )

    @staticmethod
    def _infos(db: sqlite3.Connection, rows: list[sqlite3.Row]) -> list[JobInfo]:
        flows: dict[int, list[str]] = {}
        reasons = transitions.failures_of(db, rows)
        for part in transitions.chunks(row["id"] for row in rows):
            for job, flow in db.execute(f"SELECT job, flow FROM members WHERE job IN ({part}) ORDER BY flow"):
                flows.setdefault(job, []).append(f"f{flow}")
        return [
            JobInfo(
                number=row["id"],
                uuid=row["uuid"],
                index=row["idx"],
                name=row["name"],
                state=JobState(row["state"]),
                function=row["function"],
                key=row["key"],
                flows=tuple(flows.get(row["id"], ())),
                priority=row["priority"],
                attempts=row["attempts"],
                created=_moment(row["created"]),
                started=_moment_or_none(row["started"]),
                ended=_moment_or_none(row["ended"]),
                cause=row["cause"],
                failure=reasons.get(row["id"]),
                metadata=json.loads(row["metadata"]),
                stored_data=None if row["stored_data"] is None else json.loads(row["stored_data"]),
            )
            for row in rows
        ]


def _total(counts: Mapping[str, int]) -> dict[JobState, int]:
    return {state: counts.get(state, 0) for state in JobState}


def _is_uuid_like(text: str) -> bool:
    return set(text) <= set("0123456789abcdef-")


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"


def _moment(stamp: float) -> datetime:
    return datetime.fromtimestamp(stamp, tz=UTC)


def _moment_or_none(stamp: float | None) -> datetime | None:
    return None if stamp is None else _moment(stamp)
