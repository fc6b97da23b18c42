"""A study's queue, stores and trajectories, as the dashboard reads them."""

from __future__ import annotations

import datetime as dt
import threading
from typing import TYPE_CHECKING

from epilayer.outputs.run_failure import shortened, tail
from epilayer.study.trajectories import files, progress_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from epilayer.dashboard.monitor import AttemptView, Campaign, JobRow, JobView, TrajectoryView, Verb
    from epilayer.launch.base import Attempt, JobInfo
    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.model.cohp import Bonding
    from epilayer.model.records import Calculation
    from epilayer.store.results import ResultsStore
    from epilayer.study.study import Study
    from epilayer.study.trajectories import Observation, Progress

_MOST_FILES = 200
_MOST_NEIGHBOURS = 200
_MOST_TRAJECTORIES = 100
_RESOURCES = {"walltime": " --with walltime=48:00:00", "out_of_memory": " --with memory=64G"}
"""What to ask the scheduler for, where the class of failure says that it was too little."""


class StudyDesk:
    """A study's queue and stores, as the dashboard reads them (`epilayer.dashboard.monitor.Desk`)."""

    def __init__(self, used: Study) -> None:
        self._study = used
        self.name, self.root = used.root.name, used.root
        self._results = used.results()
        self._completed: int | None = None
        self._refreshing = threading.Lock()

    @property
    def results(self) -> ResultsStore:
        """The results store."""
        return self._results

    @property
    def _queue(self) -> EmbeddedQueue:
        return self._study.queue()

    def refresh(self) -> None:
        """Store the records of jobs that have completed since the last look."""
        from epilayer.launch.base import JobState

        with self._refreshing:
            queue = self._study.queue()
            completed = queue.status().counts[JobState.COMPLETED]
            if completed != self._completed:
                self._study.harvest(queue)
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
        return JobView(
            row=row,
            uuid=info.uuid,
            function=info.function,
            created=info.created,
            remedy=info.failure.advice if info.failure else "",
            attempts=tuple(_attempt(a) for a in attempts),
            after=tuple(self._rows(queue.job(number) for number in above)),
            before=tuple(self._rows(queue.job(number) for number in below)),
            records=self._study.records_of(info.uuid),
            telling=info.failure.telling if info.failure else (),
            command=self._command(row) if info.failure else "",
        )

    def _rows(self, jobs: Iterable[JobInfo]) -> list[JobRow]:
        return [_row(job) for job in jobs]

    def _command(self, row: JobRow) -> str:
        """Return what to type to run a failed job again, on a cluster with the resources that it lacked."""
        if self._study.cluster is None:
            return f"epilayer rerun {row.number} && epilayer run"
        return f"epilayer rerun {row.number}{_RESOURCES.get(row.failure, '')}"

    def trajectories(self) -> list[TrajectoryView]:
        """List the study's trajectories, the one that grew last first."""
        newest = files(self.root)[::-1][:_MOST_TRAJECTORIES]
        return [_trajectory(progress_of(path)) for path in newest]

    def trajectory(self, name: str) -> TrajectoryView:
        """Return one trajectory with what ``epilayer watch`` says of it."""
        return _trajectory(self._study.trajectory(name))

    def calculations(self, jobs: Sequence[str]) -> dict[str, Calculation]:
        """Return the calculations that these jobs put out, as far as the store has them."""
        return self._study.calculations(jobs)

    def started_from(self, run_directory: str, like: Structure) -> Structure | None:
        """Return the configuration that a run began with, where its files hold it."""
        return self._study.initial_structure(run_directory, like)

    def file(self, path: str) -> Path | None:
        """Return the file of this study that a record refers to."""
        return self._study.file(path)

    def measured(self, job: str) -> list[Bonding]:
        """Return what LOBSTER measured for a study of bonds, of the free molecule too."""
        return self._study.bond_analyses(job)

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


def _row(job: JobInfo) -> JobRow:
    from epilayer.dashboard.monitor import JobRow

    return JobRow(
        number=job.number,
        name=job.name,
        state=job.state.value.lower(),
        attempts=job.attempts,
        flows=job.flows,
        cause=job.cause or "",
        failure=job.failure.kind.value if job.failure else "",
        telling=shortened(job.cause or ""),
        started=job.started,
        ended=job.ended,
    )


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
        tails=tuple((path.name, tail(path)) for path in (attempt.stderr, attempt.stdout)),
    )


def _trajectory(seen: Progress | Observation) -> TrajectoryView:
    from epilayer.dashboard.monitor import TrajectoryView
    from epilayer.study.trajectories import Progress

    so_far, facts, warned = (
        (seen, [], ()) if isinstance(seen, Progress) else (seen.progress, seen.facts()[2:], seen.warnings)
    )
    if not isinstance(seen, Progress) and seen.motion is not None:
        facts += [(f"MSD so far, {name}", f"{value:.3f} Å²") for name, value in seen.motion.msd_ang2.items()]
    return TrajectoryView(
        name=so_far.folder.name,
        label=so_far.label or so_far.folder.name,
        level=so_far.level,
        steps=(so_far.step, so_far.steps),
        frames=so_far.frames,
        complete=so_far.complete,
        written=dt.datetime.fromtimestamp(so_far.written_s, tz=dt.UTC),
        path=so_far.file,
        facts=tuple(facts),
        warnings=tuple((one.kind, one.text) for one in warned),
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
