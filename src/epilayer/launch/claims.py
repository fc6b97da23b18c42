"""The side of the embedded queue that workers and their supervisor use: claim, finish, fail, recover.

What a kill can hit, and why nothing is lost or done twice:

- before a claim is committed: the job is still READY;
- while the job runs: the attempt stays open until the worker is known to be gone, then the job goes back;
- after the output document is in the JobStore, before the job is COMPLETED: the job is executed again and
  writes the same document, keyed by (uuid, index). What it made (replacements, detours, additions) is not
  in the document, so the document alone cannot finish the job; the window is milliseconds;
- completion is one transaction: the state, the jobs it made, the release of those who waited, and the
  claim of the next job.

Silence is never taken for death. A lease is broken where the process is seen to be gone on this machine,
or after a reboot of it. On another machine that takes an expired lease *and* a person (``force``).
"""

# ruff: noqa: S608 - only integers, states and names of columns are written into SQL.

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from epilayer.launch import processes, transitions
from epilayer.launch.base import JobState, Outcome
from epilayer.launch.failures import with_lines
from epilayer.model.errors import QueueError
from epilayer.model.failure import Failure, FailureClass

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence

    from epilayer.launch.identity import NormalFlow
    from epilayer.launch.schema import QueueFile

LEASE_S = 120.0
"""A worker on another machine that has not been heard of for so long may be declared lost by a person."""
_SLUG_LENGTH = 40
_RUN_DIED = Failure(kind=FailureClass.LOST, cause="run ended", what="the run died with its workers")


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a worker has taken."""

    job: int
    attempt: int
    number: int
    """Of the attempt, from 1."""
    uuid: str
    index: int
    name: str
    spec: str
    directory: Path
    code_version: str
    salt: str


@dataclass(frozen=True, slots=True)
class Done:
    """What a job that ran through tells the queue."""

    grown: Sequence[tuple[NormalFlow, bool]] = ()
    """Flows it made, with whether those who wait for the job wait for the flow too."""
    mentions: Sequence[str] = ()
    """Uuids of jobs it made that its output refers to."""
    stored_data: str | None = None
    stops: int = 0


class Claims:
    """What one worker, or a supervisor for its workers, does to the queue.

    Parameters
    ----------
    file
        The queue.
    code_version
        Recorded with each attempt.
    runs
        Folder that holds a directory per job and attempt.
    """

    def __init__(self, file: QueueFile, *, code_version: str, runs: Path) -> None:
        self.file = file
        self.code_version = code_version
        self.runs = runs
        self.own: set[str] = set()
        """Workers that this process looks after; those of an earlier run in it are abandoned."""
        self.fits: Callable[[int, str, Callable[[], str]], bool] | None = None
        """Whether a job (its number, name and way to its serialised form) may be started here."""

    def register(self, token: str, pid: int, supervisor: int) -> None:
        """Write down who the worker is, before it claims anything."""
        now = time.time()
        identity = (token, processes.host(), processes.machine(), pid, processes.start_time(pid))
        with self.file.writing() as db:
            db.execute(
                "INSERT INTO workers VALUES (?,?,?,?,?,?,?,?,?,NULL)",
                (*identity, supervisor, processes.start_time(supervisor), now, now),
            )

    def beat(self, token: str) -> None:
        """Renew the worker's lease."""
        with self.file.writing() as db:
            db.execute("UPDATE workers SET heartbeat = ? WHERE token = ?", (time.time(), token))

    def claim(self, token: str, job: int | None = None) -> Claim | None:
        """Take the next job, highest priority first, then the oldest; or ``job``, if it is READY."""
        with self.file.reading() as db:  # an idle worker keeps nobody from writing
            if next(self._startable(db), None) is None:
                return None
        with self.file.writing() as db:
            return self._claim(db, token, job)

    def finish(self, token: str, claim: Claim, done: Done, *, more: bool) -> tuple[Claim | None, int]:
        """Complete a job, in one transaction with all that follows from it and the claim of the next.

        Returns
        -------
        next : Claim or None
            The next job, if ``more`` was asked for and there is one.
        ready : int
            How many jobs became READY.
        """
        with self.file.writing() as db:
            self._close(db, claim, Outcome.COMPLETED, None)
            job = transitions.select(db, "*", [claim.job])[0]
            grown = () if done.stops == transitions.STOP_JOBFLOW else done.grown
            # Also without children of its own: those of an earlier execution may have to be let go.
            made = transitions.grow(db, job, grown, done.mentions) if grown or claim.number > 1 else []
            ready = transitions.complete(db, job, done.stored_data, done.stops)
            if done.stops:
                transitions.stop(db, job, done.stops, made)
            return (self._claim(db, token) if more else None), len(ready)

    def fail(self, token: str, claim: Claim, failure: Failure, *, more: bool) -> tuple[Claim | None, int]:
        """Mark a job FAILED; returns as `finish` does."""
        with self.file.writing() as db:
            self._close(db, claim, Outcome.FAILED, failure)
            ready = transitions.fail(db, claim.job, failure)
            return (self._claim(db, token) if more else None), len(ready)

    def startable(self) -> int:
        """Return how many READY jobs may be started here."""
        with self.file.reading() as db:
            if self.fits is None:
                return int(db.execute("SELECT count(*) FROM jobs WHERE state = 'READY'").fetchone()[0])
            return sum(1 for _ in self._startable(db))

    def give_back(self, claim: Claim, cause: str) -> None:
        """Put a job back that was not carried through, by no fault of its own."""
        with self.file.writing() as db:
            self._close(db, claim, Outcome.INTERRUPTED, cause)
            transitions.put_back(db, claim.job)

    def lost(self, token: str, failure: Failure, *, crash: bool, max_crashes: int) -> list[int]:
        """Close the attempts of a worker that is gone, and put its jobs back.

        Parameters
        ----------
        token
            The worker.
        failure
            How it ended.
        crash
            Whether the job may be to blame; after ``max_crashes`` such ends it has FAILED.
        max_crashes
            See ``crash``.

        Returns
        -------
        list of int
            The jobs concerned.
        """
        with self.file.writing() as db:
            rows = db.execute(
                "SELECT id, job, directory FROM attempts WHERE worker = ? AND outcome = ?",
                (token, Outcome.RUNNING),
            ).fetchall()
            for row in rows:
                job = transitions.select(db, "cancel, crashes", [row["job"]])[0]
                outcome = Outcome.CRASHED if crash else Outcome.INTERRUPTED
                told = with_lines(failure, self.runs / row["directory"]) if crash else failure
                if job["cancel"]:
                    outcome = Outcome.CANCELLED
                why = "cancelled while it ran" if job["cancel"] else told
                transitions.close_attempt(db, row["id"], outcome, why)
                crashes = job["crashes"] + (outcome is Outcome.CRASHED)
                db.execute("UPDATE jobs SET crashes = ? WHERE id = ?", (crashes, row["job"]))
                if outcome is Outcome.CRASHED and crashes >= max_crashes:
                    times = "once" if crashes == 1 else f"{crashes} times"
                    transitions.fail(
                        db, row["job"], told.model_copy(update={"what": f"{told.what}, {times}"})
                    )
                else:
                    transitions.put_back(db, row["job"])
            db.execute("UPDATE workers SET ended = ? WHERE token = ?", (time.time(), token))
            return [row["job"] for row in rows]

    def recover(self, *, force: bool = False) -> tuple[list[int], list[str]]:
        """Put back the jobs of workers that are gone, and whose supervisor is gone too.

        Parameters
        ----------
        force
            Also break expired leases of other machines.

        Returns
        -------
        jobs : list of int
            What was put back.
        notes : list of str
            One line for each lease that could not be judged.
        """
        with self.file.reading() as db:
            rows = db.execute("SELECT * FROM workers WHERE ended IS NULL").fetchall()
        jobs: list[int] = []
        notes: list[str] = []
        for row in rows:
            verdict = self._judge(row, force=force)
            if verdict is None:
                jobs += self.lost(row["token"], _RUN_DIED, crash=False, max_crashes=1)
            elif verdict:
                notes.append(verdict)
        return jobs, notes

    def _judge(self, row: sqlite3.Row, *, force: bool) -> str | None:
        """Return None if the worker is gone, else why its lease stands ("" when all is well)."""
        here, there = processes.machine().split("|"), row["machine"].split("|")
        who = f"worker {row['pid']} on {row['host']}"
        if here == there:
            if processes.alive(row["pid"], row["pid_start"]):
                return ""
            abandoned = row["supervisor_pid"] == os.getpid() and row["token"] not in self.own
            if processes.alive(row["supervisor_pid"], row["supervisor_start"]) and not abandoned:
                return ""  # its supervisor sees it too, and knows how it ended
            left = processes.end_family(row["token"], row["pid"])
            return f"{who} is gone, but processes it started will not die: {left}" if left else None
        if here[0] == there[0] and there[1] and here[1] != there[1]:
            return None  # this machine has been restarted since
        return self._judge_silence(who, time.time() - row["heartbeat"], force=force)

    @staticmethod
    def _judge_silence(who: str, silent_s: float, *, force: bool) -> str | None:
        if silent_s < LEASE_S:
            return f"{who} was heard of {silent_s:.0f} s ago"
        if force:
            return None
        return (
            f"{who} has been silent for {silent_s:.0f} s and cannot be checked from here (force takes over)"
        )

    def cancelled(self, tokens: Sequence[str]) -> list[str]:
        """Return which of these workers run a job that was cancelled."""
        if not tokens:
            return []
        marks = ",".join("?" * len(tokens))
        with self.file.reading() as db:
            rows = db.execute(
                f"SELECT DISTINCT worker FROM attempts JOIN jobs ON jobs.id = attempts.job"
                f" WHERE outcome = 'RUNNING' AND jobs.cancel AND worker IN ({marks})",
                list(tokens),
            )
            return [row[0] for row in rows]

    def later_indices(self, claim: Claim) -> bool:
        """Whether the job has been replaced in an earlier execution."""
        with self.file.reading() as db:
            found = db.execute("SELECT 1 FROM jobs WHERE uuid = ? AND idx > ?", (claim.uuid, claim.index))
            return found.fetchone() is not None

    def _claim(self, db: sqlite3.Connection, token: str, job: int | None = None) -> Claim | None:
        row = next(self._startable(db, job), None)
        if row is None:
            return None
        now, number = time.time(), row["attempts"] + 1
        db.execute(
            "UPDATE jobs SET state = ?, started = ?, ended = NULL, attempts = ?, cause = NULL WHERE id = ?",
            (JobState.RUNNING, now, number, row["id"]),
        )
        month = datetime.fromtimestamp(row["created"], tz=UTC).strftime("%Y-%m")
        place = Path(month, f"{row['id']}-{slug(row['name'])}", f"attempt-{number}")
        attempt = db.execute(
            "INSERT INTO attempts (job, number, worker, outcome, started, directory, code_version)"
            " VALUES (?,?,?,?,?,?,?)",
            (row["id"], number, token, Outcome.RUNNING, now, str(place), self.code_version),
        ).lastrowid
        return Claim(
            job=row["id"],
            attempt=int(attempt or 0),
            number=number,
            uuid=row["uuid"],
            index=row["idx"],
            name=row["name"],
            spec=_spec(db, row["id"]),
            directory=self.runs / place,
            code_version=row["code_version"],
            salt=row["salt"],
        )

    def _startable(self, db: sqlite3.Connection, job: int | None = None) -> Iterator[sqlite3.Row]:
        """Yield the READY jobs, or ``job`` if it is one, that may be started here; best first."""
        which, values = ("id = ? AND", (job,)) if job is not None else ("", ())
        order = f"SELECT * FROM jobs WHERE {which} state = 'READY' ORDER BY priority DESC, id"
        if self.fits is None:
            yield from db.execute(f"{order} LIMIT 1", values).fetchall()
            return
        for row in db.execute(order, values).fetchall():
            if self.fits(row["id"], row["name"], partial(_spec, db, row["id"])):
                yield row

    def _close(
        self, db: sqlite3.Connection, claim: Claim, outcome: Outcome, why: Failure | str | None
    ) -> None:
        if not transitions.close_attempt(db, claim.attempt, outcome, why):
            raise QueueError(
                f"Attempt {claim.number} of job #{claim.job} ({claim.name}) was given to another worker.",
                "Its result is dropped; the other attempt counts (epilayer jobs show).",
            )


def _spec(db: sqlite3.Connection, job: int) -> str:
    return str(db.execute("SELECT spec FROM specs WHERE job = ?", (job,)).fetchone()[0])


def slug(name: str) -> str:
    """Return a name fit for a directory.

    >>> slug("relax (001)/triazole")
    'relax-001-triazole'
    """
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:_SLUG_LENGTH].strip("-.")
    return text or "job"
