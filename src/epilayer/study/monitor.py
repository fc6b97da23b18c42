"""A study's queue, stores and trajectories, as the dashboard reads them."""

from __future__ import annotations

import datetime as dt
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from epilayer.cli.common import jobstore_of, queue_of, results_of
from epilayer.model.errors import InputError
from epilayer.study.harvest import harvest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from epilayer.dashboard.monitor import AttemptView, Campaign, JobRow, JobView, TrajectoryView, Verb
    from epilayer.launch.base import Attempt, JobInfo
    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.model.cluster import FailureClass
    from epilayer.model.cohp import Bonding
    from epilayer.model.records import Calculation
    from epilayer.store.results import ResultsStore
    from epilayer.study.config import Study

_TAIL_LINES = 40
_TAIL_BYTES = 64 << 10
_MOST_FILES = 200
_TELLING = 180
_MOST_NEIGHBOURS = 200
_MOST_TELLING = 6
_MOST_TRAJECTORIES = 100
#: Besides an attempt's own logs: where the programs that it runs say what went wrong.
_LOGS = ("vasp.out", "std_err.txt", "lobster.out")


class StudyDesk:
    """A study's queue and stores, as the dashboard reads them (`epilayer.dashboard.monitor.Desk`)."""

    def __init__(self, used: Study) -> None:
        self._study = used
        self.name, self.root = used.root.name, used.root
        self._results = results_of(used)
        self._completed: int | None = None
        self._refreshing = threading.Lock()

    @property
    def results(self) -> ResultsStore:
        """The results store."""
        return self._results

    @property
    def _queue(self) -> EmbeddedQueue:
        return queue_of(self._study)

    def refresh(self) -> None:
        """Store the records of jobs that have completed since the last look."""
        from epilayer.launch.base import JobState

        with self._refreshing:
            queue = queue_of(self._study)
            completed = queue.status().counts[JobState.COMPLETED]
            if completed != self._completed:
                harvest(self._study, queue)
                self._completed = completed

    def campaigns(self) -> list[Campaign]:
        """List the submitted flows, the newest first."""
        from epilayer.dashboard.monitor import Campaign

        return [
            Campaign(
                ref=flow.ref,
                name=flow.name,
                created=flow.created,
                counts={state.value.lower(): n for state, n in flow.counts.items()},
                paused=flow.paused,
                cancelled=flow.cancelled,
            )
            for flow in sorted(self._queue.flows(), key=lambda flow: -flow.number)
        ]

    def jobs(self, *, state: str | None = None, flow: str | None = None) -> list[JobRow]:
        """List jobs by number."""
        from epilayer.launch.base import JobState

        wanted = None if state is None else JobState(state.upper())
        return self._rows(self._queue.jobs(state=wanted, flow=flow))

    def job(self, ref: str) -> JobView:
        """Return one job with its attempts and its neighbours."""
        from epilayer.dashboard.monitor import JobView

        queue = self._queue
        info = queue.job(ref)
        edges = queue.edges(info.flows[0]) if info.flows else []
        above = sorted({e.parent for e in edges if e.child == info.number})[:_MOST_NEIGHBOURS]
        below = sorted({e.child for e in edges if e.parent == info.number})[:_MOST_NEIGHBOURS]
        (row,) = self._rows([info])
        attempts = queue.attempts(info.number)
        failed = bool(row.failure)
        return JobView(
            row=row,
            uuid=info.uuid,
            function=info.function,
            created=info.created,
            remedy=_REMEDIES.get(row.failure, ""),
            attempts=tuple(_attempt(a) for a in attempts),
            after=tuple(self._rows(queue.job(number) for number in above)),
            before=tuple(self._rows(queue.job(number) for number in below)),
            records=self._records(info.uuid),
            telling=telling_lines(attempts[-1]) if failed and attempts else (),
            command=self._command(row) if failed else "",
        )

    def _rows(self, jobs: Iterable[JobInfo]) -> list[JobRow]:
        from epilayer.launch.base import JobState
        from epilayer.launch.recovery import classes

        listed = list(jobs)
        known = classes(self._queue, [job for job in listed if job.state is JobState.FAILED])
        return [_row(job, known.get(job.number)) for job in listed]

    def _command(self, row: JobRow) -> str:
        """Return what to type to run a failed job again, on a cluster with what it lacked."""
        wish = _WISHES.get(row.failure, "") if self._study.cluster else ""
        return f"epilayer rerun {row.number}{wish}" + ("" if self._study.cluster else " && epilayer run")

    def trajectories(self) -> list[TrajectoryView]:
        """List the study's trajectories, the one that grew last first."""
        from epilayer.cli.watch import glance, trajectory_files

        newest = trajectory_files(self.root)[::-1][:_MOST_TRAJECTORIES]
        return [_trajectory(path, glance(path)) for path in newest]

    def trajectory(self, name: str) -> TrajectoryView:
        """Return one trajectory with what ``epilayer watch`` says of it."""
        from epilayer.cli.watch import facts, look, trajectory_files

        path = next((p for p in trajectory_files(self.root) if p.parent.name == name), None)
        if path is None:
            raise InputError(f"There is no trajectory {name!r} in this study.", "List them: /trajectories")
        seen = look(path)
        moved = [(f"MSD so far, {who}", f"{value:.3f} Å²") for who, value in seen.get("msd_ang2", {}).items()]
        return _trajectory(path, seen, [*facts(seen)[2:], *moved])

    def calculations(self, jobs: Sequence[str]) -> dict[str, Calculation]:
        """Return the calculations that these jobs put out, as far as the store has them."""
        read: list[Calculation] = self._outputs(jobs, "Calculation")
        return {calculation.provenance.job: calculation for calculation in read}

    def _outputs(self, jobs: Sequence[str], kind: str) -> list[Any]:
        """Return the outputs of one type that jobs put out, as far as the store has them."""
        from monty.json import MontyDecoder

        if not jobs:
            return []
        wanted = {"uuid": {"$in": sorted(set(jobs))}, "output.@class": kind}
        with jobstore_of(self._study) as outputs:
            found = outputs.query(wanted, properties=["output"], load=True)
            return [MontyDecoder().process_decoded(document["output"]) for document in found]

    def started_from(self, run_directory: str, like: Structure) -> Structure | None:
        """Return the configuration that a run began with, where its files hold it."""
        from pathlib import Path

        from epilayer.dashboard.files import inside
        from epilayer.outputs.vasp.initial_structure import BEGINNINGS, begun_from

        found = (inside(Path(run_directory), name, self.root) for name in BEGINNINGS)
        return next((begun for path in found if path and (begun := begun_from(path, like))), None)

    def file(self, path: str) -> Path | None:
        """Return the file of this study that a record refers to."""
        from epilayer.dashboard.files import inside

        return inside(self.root, path, self.root)

    def measured(self, job: str) -> list[Bonding]:
        """Return what LOBSTER measured for a study of bonds, of the free molecule too."""
        return self._outputs(self._behind(job), "Bonding")

    def _behind(self, job: str) -> list[str]:
        """Return the uuids of the jobs that a job was built on, and of those that they were built on."""
        queue = self._queue
        info = queue.job(job)
        parents: dict[int, set[int]] = {}
        for edge in (edge for flow in info.flows for edge in queue.edges(flow)):
            parents.setdefault(edge.child, set()).add(edge.parent)
        behind: set[int] = set()
        found = {info.number}
        while found := {p for child in found for p in parents.get(child, ())} - behind:
            behind |= found
        return [queue.job(number).uuid for number in sorted(behind)]

    def act(self, verb: Verb, ref: str) -> str:
        """Do what a person asks of a job or a flow."""
        from epilayer.dashboard.monitor import Verb
        from epilayer.launch.base import JobState

        queue = self._queue
        match verb:
            case Verb.RERUN:
                flow = ref.startswith("f") and ref[1:].isdecimal()
                report = queue.rerun(state=JobState.FAILED, flow=ref) if flow else queue.rerun([ref])
                return f"{len(report.jobs)} jobs will run again."
            case Verb.CANCEL:
                return f"{len(queue.cancel(ref).changed)} jobs cancelled."
            case Verb.PAUSE:
                return f"{len(queue.pause(ref).changed)} jobs paused."
            case Verb.RESUME:
                return f"{len(queue.resume(ref).changed)} jobs resumed."

    def _records(self, uuid: str) -> tuple[str, ...]:
        from epilayer.store.filters import Filter, Operator

        asked = [Filter("job", Operator.EQ, (uuid,))]
        return tuple(
            record["id"]
            for kind in self._results.kinds()
            if "job" in self._results.fields(kind)
            for record in self._results.query(kind, asked, fields=())
        )


#: What helps, by class of failure, besides what the job itself says.
_REMEDIES = {
    "walltime": "Give it more time and rerun it: it goes on from its last checkpoint.",
    "out_of_memory": "Give it more memory, or fewer jobs at a time (workers in epilayer.yaml), and rerun it.",
    "node_failure": "Rerun it: the machine failed, not the job.",
    "preempted": "Rerun it: it was made to leave, and did nothing wrong.",
    "cancelled": "A person cancelled it at the scheduler: rerun it if it is still wanted.",
    "scf": "Look at the end of its log; a different mixing or more electronic steps may help, then rerun it.",
    "ionic": "Rerun it with more steps (--set max_steps=...), or from a better start.",
    "disk_full": "Free space, then rerun it.",
    "database": "See that the database answers (epilayer doctor), then rerun it.",
    "setup": "epilayer doctor names what is missing; then rerun it.",
    "crash": "Look at the end of stderr.log; rerun it once; if it dies again, run fewer at a time.",
    "lost": "Rerun it; if it is lost again, look at the log of the workers.",
    "input": "The input is at fault: mend it and submit again.",
    "code_error": "The program named its own error: look at its log, then rerun it with other settings.",
    "other": "Look at the end of stderr.log, which has the traceback, then rerun it.",
}


#: What to ask the scheduler for besides, where the class of failure says that it was too little.
_WISHES = {"walltime": " --with walltime=48:00:00", "out_of_memory": " --with memory=64G"}


def _row(job: JobInfo, failure: FailureClass | None) -> JobRow:
    from epilayer.dashboard.monitor import JobRow

    return JobRow(
        number=job.number,
        name=job.name,
        state=job.state.value.lower(),
        attempts=job.attempts,
        flows=job.flows,
        cause=job.cause or "",
        failure=failure.value if failure else "",
        telling=_telling(job),
        started=job.started,
        ended=job.ended,
    )


def _telling(job: JobInfo) -> str:
    """Return the words of its log that tell most: the cause that the queue took from its last error."""
    cause = job.cause or ""
    return cause if len(cause) <= _TELLING else cause[: _TELLING - 1] + "…"


def _attempt(attempt: Attempt) -> AttemptView:
    from epilayer.dashboard.monitor import AttemptView, duration

    took = duration((attempt.ended - attempt.started).total_seconds()) if attempt.ended else ""
    return AttemptView(
        number=attempt.number,
        outcome=attempt.outcome.value.lower(),
        cause=attempt.cause or "",
        where=f"process {attempt.pid} on {attempt.host}",
        started=attempt.started,
        took=took,
        directory=attempt.directory,
        files=_files(attempt.directory),
        tails=tuple((path.name, _tail(path)) for path in (attempt.stderr, attempt.stdout)),
    )


def telling_lines(attempt: Attempt) -> tuple[tuple[str, str], ...]:
    """Return the lines of an attempt's logs that name a failure, and the last of standard error."""
    from epilayer.launch.failures import by_text

    found: dict[str, str] = {}
    logs = (attempt.stderr, *(attempt.directory / name for name in _LOGS), attempt.stdout)
    for path in logs:
        lines = [line.strip() for line in _tail(path).splitlines() if line.strip()]
        # A traceback repeats the source; what was raised stands at its end.
        told = [
            line for line in lines if by_text(line) is not None and not line.startswith(("raise ", "File "))
        ]
        if path == attempt.stderr and lines:
            told = [*told[-_MOST_TELLING:], lines[-1]]
        for line in told[-_MOST_TELLING:]:
            found.setdefault(line if len(line) <= _TELLING else line[: _TELLING - 1] + "…", path.name)
    return tuple((name, line) for line, name in list(found.items())[:_MOST_TELLING])


def _trajectory(path: Path, seen: dict[str, Any], facts: Sequence[tuple[str, str]] = ()) -> TrajectoryView:
    from epilayer.dashboard.monitor import TrajectoryView
    from epilayer.trajectory.tail import tail_path

    written_s = max(file.stat().st_mtime for file in (path, tail_path(path)) if file.exists())
    return TrajectoryView(
        name=path.parent.name,
        label=seen["label"] or path.parent.name,
        level=seen["level"] or "",
        steps=(seen.get("step") or 0, seen["steps_wanted"]),
        frames=seen["frames"],
        complete=seen["complete"],
        written=dt.datetime.fromtimestamp(written_s, tz=dt.UTC),
        path=path,
        facts=tuple(facts),
        warnings=tuple((warned["kind"], warned["text"]) for warned in seen["warnings"]),
    )


def _files(directory: Path) -> tuple[tuple[str, int], ...]:
    """Return the files of an attempt, as paths below its directory, with their sizes."""
    found: list[tuple[str, int]] = []
    for path in sorted(directory.rglob("*")):
        if len(found) == _MOST_FILES:
            break
        if path.is_file() and not path.is_symlink():
            found.append((path.relative_to(directory).as_posix(), path.stat().st_size))
    return tuple(found)


def _tail(path: Path) -> str:
    """Return the last lines of a log, without reading all of a long one."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            file.seek(max(0, length - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(deque(text.splitlines(), maxlen=_TAIL_LINES))
