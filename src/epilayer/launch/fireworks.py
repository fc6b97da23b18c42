"""The queue of a cluster: the tables in a MongoDB, and FireWorks to carry what is ready to the machines.

What comes before what, what is found instead of run, what is held back, and every attempt with its cause
stand in the queue's tables, exactly as in the embedded queue (`epilayer.launch.replica` says how they are
shared). FireWorks alone cannot promise this: its Workflow is a tree of its own, so that two flows cannot
share a job; a rerun adds detours and additions a second time; and a Workflow is several documents, which a
kill can leave at odds. So each job that is READY for the scheduler is one Firework, carried by FireWorks'
LaunchPad, launcher and rocket: ``lpad``, its web page, categories, priorities and reservations work as ever.
A Firework is a permit to start; the job itself is claimed in the queue, so that a Firework run twice, by
whatever accident, runs the job once. The Fireworks follow the queue: whoever submits to the scheduler brings
them into line first (`Board.project`), and nobody else has to.
"""

# ruff: noqa: S608 - only integers are written into SQL.

from __future__ import annotations

import io
import json
import os
import time
from contextlib import redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fireworks import FiretaskBase, Firework, FWAction, FWorker, LaunchPad, Workflow
from fireworks.core.launchpad import WFLock
from fireworks.core.rocket_launcher import launch_rocket
from pymongo import UpdateOne

from epilayer import __version__
from epilayer.launch import transitions
from epilayer.launch.base import JobState, Outcome
from epilayer.launch.claims import Claim, Claims, Done
from epilayer.launch.embedded import EmbeddedQueue
from epilayer.launch.failures import with_lines
from epilayer.launch.replica import ReplicatedFile
from epilayer.launch.worker import Worker
from epilayer.launch.worker import main as worker_main
from epilayer.model.cluster import matches
from epilayer.model.errors import EpilayerError, QueueError
from epilayer.store.journal import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from epilayer.launch.worker import Instructions
    from epilayer.model.failure import Failure

WORKER_PATIENCE_S = 1800.0
"""A job that has computed for a day waits this long for a database that is being restarted."""
CATEGORY = "epilayer"
_LOCKED_S = 2.0
"""A rocket holds the lock on its Workflow, which is one Firework, for less than this."""
_TASK = "{{epilayer.launch.fireworks.RunJob}}"
_ACTIVE = ("READY", "RESERVED", "RUNNING", "PAUSED", "WAITING")
_LOCK_S = 5.0
# A process that is killed while it holds FireWorks' lock of a Workflow leaves it locked: FireWorks would wait
# five minutes for it, and then give up. Here a Workflow is one Firework, locked for milliseconds at a time.
WFLock.__init__.__defaults__ = (_LOCK_S, True)


@dataclass(frozen=True, slots=True)
class Launched:
    """A Firework as it stands in the LaunchPad."""

    fw_id: int
    state: str
    job: int
    priority: int
    launches: tuple[int, ...]
    name: str


class Board:
    """The Fireworks of one queue.

    Parameters
    ----------
    file
        The queue's tables.
    """

    def __init__(self, file: ReplicatedFile) -> None:
        self.file = file
        self.journal = file.journal

    @cached_property
    def launchpad(self) -> LaunchPad:
        """FireWorks' own door to the database; set up on first use."""
        name = self.journal.database.name
        launchpad = LaunchPad(host=self.journal.uri, name=name, uri_mode=True, strm_lvl="CRITICAL")

        def set_up() -> None:
            if launchpad.fw_id_assigner.find_one() is not None:
                return
            with self.journal.lease("launchpad"):
                if launchpad.fw_id_assigner.find_one() is None:
                    launchpad.tuneup(bkground=False)
                    launchpad.fireworks.create_index("spec.epilayer.job")
                    launchpad.fw_id_assigner.insert_one({"next_fw_id": 1, "next_launch_id": 1})

        self.journal.patiently(set_up)
        return launchpad

    def find(self, query: Mapping[str, Any]) -> list[Launched]:
        """Return this queue's Fireworks that match, best first."""
        wanted = {"spec.epilayer.queue": self.file.identity, **query}
        fields = {"fw_id": 1, "name": 1, "state": 1, "spec.epilayer": 1, "spec._priority": 1, "launches": 1}

        def ask() -> list[Launched]:
            rows = self.launchpad.fireworks.find(wanted, fields)
            return [
                Launched(
                    int(row["fw_id"]),
                    str(row["state"]),
                    int(row["spec"]["epilayer"]["job"]),
                    int(row["spec"].get("_priority", 0)),
                    tuple(row["launches"]),
                    str(row["name"]),
                )
                for row in rows
            ]

        return sorted(self.journal.patiently(ask), key=lambda row: (-row.priority, row.job, row.fw_id))

    def next_ready(self, names: Sequence[str]) -> int | None:
        """Return the Firework to run next: highest priority first, then the oldest job.

        Parameters
        ----------
        names
            Glob patterns, one of which its name must match.
        """
        ready = self.find({"state": "READY"})
        return next((row.fw_id for row in ready if matches(row.name, names)), None)

    def project(self, lost: Iterable[int] = ()) -> None:
        """Bring the Fireworks into line with the queue; doing it again changes nothing.

        Parameters
        ----------
        lost
            Jobs whose process is known to be gone: a Firework that says RUNNING is wrong.
        """
        with self.journal.lease("launchpad.project"):
            self.journal.patiently(lambda: self._project(set(lost)))

    def _project(self, lost: set[int]) -> None:
        active = self.find({"state": {"$in": list(_ACTIVE)}})
        by_job = {row.job: row for row in active}
        with self.file.reading() as db:
            ready = {row["id"]: row for row in db.execute("SELECT * FROM jobs WHERE state = 'READY'")}
            others = {row["id"]: row for row in transitions.select(db, "*", set(by_job) - set(ready))}
        missing = sorted(set(ready) - set(by_job))
        old = {row.job: row for row in self.find({"spec.epilayer.job": {"$in": missing}})} if missing else {}
        for row in (old[job] for job in missing if job in old):
            self._release(row, int(ready[row.job]["priority"]))
        self._add([ready[job] for job in missing if job not in old])
        done: list[int] = []
        for job, row in by_job.items():
            if job in ready:
                self._permit(row, int(ready[job]["priority"]), lost=job in lost)
            elif others[job]["state"] == JobState.COMPLETED and row.state in {"READY", "PAUSED"}:
                done.append(row.fw_id)  # by a worker that needed no permit
            else:
                self._forbid(row, JobState(others[job]["state"]), lost=job in lost)
        self._complete(done)

    def _permit(self, row: Launched, priority: int, *, lost: bool) -> None:
        if row.state == "PAUSED" or (row.state in {"RUNNING", "RESERVED"} and lost):
            self._release(row, priority)
        elif row.priority != priority:
            self.launchpad.set_priority(row.fw_id, priority)

    def _forbid(self, row: Launched, state: JobState, *, lost: bool) -> None:
        if row.state == "RUNNING" and lost and row.launches:
            self._unlock(row)
            self.launchpad.mark_fizzled(row.launches[-1])
        elif row.state in {"READY", "RESERVED"} and state is not JobState.RUNNING:
            # A reserved one keeps its place at the scheduler; what starts there finds nothing to do.
            self.launchpad.pause_fw(row.fw_id)

    def _complete(self, fw_ids: list[int]) -> None:
        """Close Fireworks whose jobs were done without a launch: all at once, each being a Workflow alone."""
        if not fw_ids:
            return
        state, now = "COMPLETED", datetime.now(tz=UTC).replace(tzinfo=None)
        self.launchpad.fireworks.update_many(
            {"fw_id": {"$in": fw_ids}}, {"$set": {"state": state, "updated_on": now.isoformat()}}
        )
        workflow = {"state": state, "updated_on": now}
        self.launchpad.workflows.bulk_write(
            [
                UpdateOne({"nodes": fw_id}, {"$set": {**workflow, f"fw_states.{fw_id}": state}})
                for fw_id in fw_ids
            ]
        )

    def _unlock(self, row: Launched) -> None:
        """Break the lock on a Workflow that a rocket held when it was killed; one that lives lets go soon.

        FireWorks would wait five minutes for it, and then give up.
        """
        locked = {"nodes": row.fw_id, "locked": {"$exists": True}}
        until = time.monotonic() + _LOCKED_S
        while self.launchpad.workflows.find_one(locked, {"_id": 1}) is not None:
            if time.monotonic() > until:
                self.launchpad.workflows.update_one(locked, {"$unset": {"locked": True}})
            time.sleep(_LOCKED_S / 20)

    def _release(self, row: Launched, priority: int) -> None:
        """Let a Firework of an earlier attempt be launched again."""
        pad = self.launchpad
        self._unlock(row)
        if row.priority != priority:
            pad.set_priority(row.fw_id, priority)
        if row.state == "DEFUSED":
            pad.reignite_fw(row.fw_id)
        elif row.state == "PAUSED":
            pad.resume_fw(row.fw_id)
        else:
            pad.rerun_fw(row.fw_id)

    def _add(self, rows: list[Any]) -> None:
        if not rows:
            return
        with self.file.reading() as db:
            wishes = {
                row[0]: json.loads(row[1] or "{}")
                for part in transitions.chunks(row["id"] for row in rows)
                for row in db.execute(
                    "SELECT job, json_extract(spec, '$.config.manager_config') FROM specs"
                    f" WHERE job IN ({part})"
                )
            }
        workflows = []
        for row in rows:
            about = {"queue": self.file.identity, "job": row["id"], "uuid": row["uuid"]}
            spec = {
                "_category": CATEGORY,
                "_priority": row["priority"],
                **wishes[row["id"]],
                "epilayer": about,
            }
            firework = Firework([RunJob(job=row["id"])], spec=spec, name=row["name"])
            workflows.append(Workflow([firework], name=row["name"], metadata={"epilayer": about}))
        with redirect_stderr(io.StringIO()):  # a progress bar of FireWorks' own
            self.launchpad.bulk_add_wfs(workflows)


class BoardClaims(Claims):
    """What workers do to the queue, with the Fireworks brought into line after each step.

    Parameters
    ----------
    file
        The queue's tables.
    code_version, runs
        As of `epilayer.launch.claims.Claims`.
    """

    def __init__(self, file: ReplicatedFile, *, code_version: str, runs: Path) -> None:
        super().__init__(file, code_version=code_version, runs=runs)
        self.board = Board(file)

    def finish(self, token: str, claim: Claim, done: Done, *, more: bool) -> tuple[Claim | None, int]:
        """Complete a job; what became READY can be launched."""
        following, ready = super().finish(token, claim, done, more=more)
        if ready or done.stops:
            self.board.project()
        return following, ready

    def fail(self, token: str, claim: Claim, failure: Failure, *, more: bool) -> tuple[Claim | None, int]:
        """Mark a job FAILED; what goes on without it can be launched."""
        following, ready = super().fail(token, claim, failure, more=more)
        if ready:
            self.board.project()
        return following, ready

    def end(self, token: str, failure: Failure) -> list[int]:
        """Close what a worker of the scheduler has open: its jobs have FAILED, for this reason.

        Returns
        -------
        list of int
            The jobs concerned; none where the worker has finished after all.
        """
        with self.file.writing() as db:
            rows = db.execute(
                "SELECT a.id, a.job, a.directory, j.cancel FROM attempts a JOIN jobs j ON j.id = a.job"
                " WHERE a.worker = ? AND a.outcome = ?",
                (token, Outcome.RUNNING),
            ).fetchall()
            for row in rows:
                outcome, state = Outcome.INTERRUPTED, JobState.FAILED
                why: Failure | str = with_lines(failure, self.runs / row["directory"])
                if row["cancel"]:
                    outcome, state, why = Outcome.CANCELLED, JobState.CANCELLED, "cancelled while it ran"
                transitions.close_attempt(db, row["id"], outcome, why)
                transitions.fail(db, row["job"], why, state)
            if rows:
                db.execute("UPDATE workers SET ended = ? WHERE token = ?", (time.time(), token))
        jobs = [row["job"] for row in rows]
        if jobs:
            self.board.project(lost=jobs)
        return jobs

    def lost(self, token: str, failure: Failure, *, crash: bool, max_crashes: int) -> list[int]:
        """Put back, or fail, the jobs of a worker that is gone."""
        jobs = super().lost(token, failure, crash=crash, max_crashes=max_crashes)
        if jobs:
            self.board.project(lost=jobs)
        return jobs


class FireworksQueue(EmbeddedQueue):
    """A queue in a MongoDB whose jobs FireWorks launches; satisfies `epilayer.launch.base.Queue`.

    Parameters
    ----------
    uri
        ``mongodb://`` address with the name of the database. No error shows its password.
    runs
        Folder for run directories, on a file system that every machine sees.
    name
        Tells queues in one database apart.
    code_version
        Part of every job's identity; the version of epilayer by default.
    cache
        Folder of this machine for the local copy of the tables.
    patience_s
        How long to wait for the database, in seconds.
    """

    worker_module = "epilayer.launch.fireworks"
    claims: BoardClaims

    def __init__(
        self,
        uri: str,
        *,
        runs: str | Path,
        name: str = "epilayer",
        code_version: str | None = None,
        cache: Path | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.uri, self.name = uri, name
        self._cache = cache
        self.file = ReplicatedFile(uri, name, folder=cache, patience_s=patience_s)
        self._file = self.file
        self.path = self.file.path
        self.code_version = code_version or __version__
        self.claims = BoardClaims(
            self.file,
            code_version=self.code_version,
            runs=Path(os.path.abspath(runs)),  # noqa: PTH100
        )
        self.board = self.claims.board
        self.file.connection()

    @property
    def address(self) -> str:
        """What a worker process needs to open the queue; handed over in private."""
        cache = str(self._cache) if self._cache else None
        return json.dumps({"uri": self.uri, "name": self.name, "cache": cache})


class FireworksWorker(Worker):
    """A worker process of this machine: it draws from the queue itself, without a Firework."""

    def open_queue(self) -> Claims:
        """Open the queue."""
        return Claims(_file_of(self.told), code_version=self.told.code_version, runs=Path(self.told.runs))

    @property
    def disk(self) -> Path:
        """The queue is in the database; the runs are on a disk."""
        return Path(self.told.runs)

    def beat(self) -> None:
        """Do nothing: a journal's entry every few seconds is too dear for what only ``force`` asks for."""


class RocketWorker(FireworksWorker):
    """A worker process that launches rockets."""

    claims: BoardClaims
    fatal: EpilayerError | OSError | None = None

    def open_queue(self) -> BoardClaims:
        """Open the queue, and keep the Fireworks in line with it."""
        return BoardClaims(
            _file_of(self.told), code_version=self.told.code_version, runs=Path(self.told.runs)
        )

    def launch(self, fw_id: int) -> bool:
        """Launch one rocket; return whether the Firework was still there to be had.

        Raises
        ------
        EpilayerError, OSError
            What stops the worker rather than the job.
        """
        fworker = FWorker(name="epilayer", category="")
        elsewhere = io.StringIO()  # the job's own traceback stands in the job's log
        pad = self.claims.board.launchpad
        flown = bool(launch_rocket(pad, fworker, fw_id=fw_id, strm_lvl="CRITICAL", err_file=elsewhere))
        if self.fatal is not None:
            raise self.fatal
        if self.stopping:
            self.claims.board.project()
        return flown

    def fly(self, job: int) -> FWAction:
        """Run the job of a Firework, if it still is to be run.

        Raises
        ------
        JobFailedError
            If the job failed, so that FireWorks marks the Firework FIZZLED, with the cause.
        """
        try:
            claim = self.claims.claim(self.told.token, job)
            if claim is None:  # paused, cancelled, or taken by another: the queue decides, not the LaunchPad
                return FWAction(stored_data={"epilayer": "the job was not to be run any more"})
            self.work(claim, take_next=False)
        except (EpilayerError, OSError) as error:
            self.fatal = error
            raise
        if self.failure is not None:
            raise JobFailedError(self.failure)
        return FWAction(stored_data={"directory": str(claim.directory), "attempt": claim.number})


def _file_of(told: Instructions) -> ReplicatedFile:
    """Open the queue's tables as a worker does: patient with a database that is being restarted."""
    where = json.loads(told.queue)
    cache = Path(where["cache"]) if where["cache"] else None
    return ReplicatedFile(where["uri"], where["name"], folder=cache, patience_s=WORKER_PATIENCE_S)


_flying: RocketWorker | None = None


def fly_with(worker: RocketWorker) -> None:
    """Let a worker run this process's Firetasks: FireWorks makes the task, and the task must find it."""
    global _flying  # noqa: PLW0603
    _flying = worker


class JobFailedError(Exception):
    """A job failed; the reason is in the queue, and as a value in the Firework.

    Parameters
    ----------
    failure
        The reason.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.line)
        self.failure = failure

    def to_dict(self) -> dict[str, Any]:
        """Return what FireWorks keeps as the details of the exception."""
        return self.failure.model_dump(mode="json")


class RunJob(FiretaskBase):  # type: ignore[misc]  # FireWorks has no type information
    """The one Firetask: run the job of that number."""

    _fw_name = _TASK
    required_params = ("job",)

    def run_task(self, fw_spec: Mapping[str, Any]) -> FWAction:
        """Hand the job to the worker of this process."""
        if _flying is None:
            raise QueueError(
                "A Firework of epilayer was started by FireWorks' own launcher.",
                "Start it with epilayer cluster launch, or on this machine with epilayer run.",
            )
        if fw_spec["epilayer"]["queue"] != _flying.claims.board.file.identity:
            raise QueueError("A Firework belongs to another queue.", "Use a database of its own for each.")
        return _flying.fly(int(self["job"]))


def main() -> None:
    """Read the instructions and work."""
    worker_main(FireworksWorker)
