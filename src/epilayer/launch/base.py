"""What a queue is: its states, what it tells, and the protocol every queue satisfies.

A job is known by three references, and every method takes any of them: its short number (``12``), its
uuid, or the beginning of its uuid. A flow is known by ``f3``, its uuid (or its beginning), or its name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from epilayer.model.failure import Failure

Ref = int | str
"""A reference to a job: short number, uuid, or the beginning of a uuid."""


class JobState(StrEnum):
    """Where a job stands. Total: a queue maps every state it knows to one of these."""

    WAITING = "WAITING"
    """Some job it depends on has not completed."""
    READY = "READY"
    """A worker may take it."""
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    """It raised, or its worker died too often; the cause says which."""
    CANCELLED = "CANCELLED"
    """A person cancelled it."""
    PAUSED = "PAUSED"
    """A person holds it back."""
    STOPPED = "STOPPED"
    """The flow itself decided that it does not run (``stop_children``, ``stop_jobflow``)."""

    @property
    def finished(self) -> bool:
        """Whether no worker will touch the job unless a person asks."""
        return self in _FINISHED


_FINISHED = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.STOPPED})


class Outcome(StrEnum):
    """How an attempt ended."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    """The job raised."""
    CRASHED = "CRASHED"
    """Its worker died under it (segmentation fault, out of memory, kill)."""
    INTERRUPTED = "INTERRUPTED"
    """The run was stopped or died as a whole; the job is not to blame."""
    CANCELLED = "CANCELLED"


class EdgeKind(StrEnum):
    """Why one job comes before another."""

    DATA = "data"
    """The child refers to the parent's output, or an ordered flow puts it after."""
    SPAWN = "spawn"
    """The parent made the child while it ran."""


@dataclass(frozen=True, slots=True)
class JobInfo:
    """One job of the queue."""

    number: int
    """Short number, for people."""
    uuid: str
    index: int
    """How often the job has been replaced by itself, from 1 (jobflow's index)."""
    name: str
    state: JobState
    function: str
    """Module and qualified name of what is called."""
    key: str
    """Content key, SHA-256: equal inputs, code and configuration have equal keys."""
    flows: tuple[str, ...]
    """Flows the job belongs to, as ``f1``, ``f2``, ..."""
    priority: int
    attempts: int
    created: datetime
    started: datetime | None
    """Start of the last attempt."""
    ended: datetime | None
    cause: str | None
    """Why it failed, waits or was stopped, in one line."""
    failure: Failure | None
    """Why it failed, as judged last; set exactly where it is FAILED."""
    metadata: Mapping[str, Any]
    stored_data: Any
    """What the job asked the queue to keep (``Response.stored_data``)."""

    @property
    def id(self) -> tuple[str, int]:
        """Identity in the JobStore: (uuid, index)."""
        return self.uuid, self.index


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a job. Never deleted, and never changed once it has ended."""

    job: int
    number: int
    outcome: Outcome
    cause: str | None
    failure: Failure | None
    """Why it failed, as seen when it ended."""
    host: str
    pid: int
    started: datetime
    ended: datetime | None
    directory: Path
    code_version: str

    @property
    def stdout(self) -> Path:
        """File with everything the attempt wrote to standard output, C libraries included."""
        return self.directory / "stdout.log"

    @property
    def stderr(self) -> Path:
        """File with everything the attempt wrote to standard error; ends with the traceback."""
        return self.directory / "stderr.log"


@dataclass(frozen=True, slots=True)
class FlowInfo:
    """One submitted flow."""

    number: int
    uuid: str
    name: str
    created: datetime
    priority: int
    paused: bool
    cancelled: bool
    metadata: Mapping[str, Any]
    counts: Mapping[JobState, int]
    """Number of jobs per state; every state is a key."""

    @property
    def ref(self) -> str:
        """Short reference, ``f3``."""
        return f"f{self.number}"

    @property
    def total(self) -> int:
        """Number of jobs."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """Counts per state, of one flow or of the whole queue, and what stands in the way."""

    flow: FlowInfo | None
    """None when this is about the whole queue."""
    counts: Mapping[JobState, int]
    running: tuple[JobInfo, ...]
    failed: tuple[JobInfo, ...]
    blocked: int
    """Jobs that wait on a failed, cancelled or stopped one."""

    @property
    def total(self) -> int:
        """Number of jobs."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Edge:
    """``parent`` comes before ``child`` (short numbers)."""

    parent: int
    child: int
    kind: EdgeKind


@dataclass(frozen=True, slots=True)
class SubmitReport:
    """What submitting a flow did."""

    flow: str
    """Uuid of the flow in the queue."""
    ref: str
    """Short reference, ``f3``."""
    new: tuple[int, ...]
    """Jobs that were not in the queue before."""
    reused: tuple[int, ...]
    """Jobs that were in the queue already, in whatever state."""
    completed: int
    """How many of ``reused`` are completed: their results are there."""
    failed: tuple[int, ...]
    """Those of ``reused`` that have failed; they stay so until ``rerun``."""
    revived: tuple[int, ...]
    """Those of ``reused`` that had been cancelled and are wanted again."""
    uuids: Mapping[str, str] = field(default_factory=dict)
    """Uuid of each submitted job -> uuid in the queue and in the JobStore."""


@dataclass(frozen=True, slots=True)
class ChangeReport:
    """Jobs that a pause, resume, cancel or change of priority touched."""

    changed: tuple[int, ...]
    unchanged: tuple[int, ...]
    """Asked for, but in a state where the change means nothing."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class RerunReport:
    """A rerun, its undoing, or (``dry_run``) what it would do."""

    id: int | None
    """None for a dry run, or where nothing qualified."""
    jobs: tuple[int, ...]
    """Jobs that were selected and are to run again."""
    descendants: tuple[int, ...]
    """Finished jobs that built on them and are to run again too."""
    skipped: tuple[tuple[int, str], ...]
    """Selected jobs that do not qualify, and why."""
    created: datetime | None = None
    undone: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run of workers did, and what it left."""

    completed: int
    failed: int
    crashed: int
    """Attempts whose worker died."""
    interrupted: bool
    """Stopped by Ctrl-C or SIGTERM: running jobs were put back."""
    counts: Mapping[JobState, int]
    """States of the whole queue at the end."""
    blocked: tuple[str, ...]
    """One line each on why jobs remain."""
    elapsed_s: float
    startup_s: float
    """Time until the first worker was ready."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a job; handed to the ``on_event`` callback of a run."""

    kind: str
    """``started``, ``completed``, ``failed``, ``crashed``, ``interrupted`` or ``cancelled``."""
    job: JobInfo


@runtime_checkable
class Queue(Protocol):
    """A durable queue of jobflow jobs.

    Every method raises `epilayer.model.errors.QueueError` where the queue cannot be read or written or
    does not allow what was asked, and `epilayer.model.errors.InputError` where a reference or argument
    is wrong.
    """

    def submit(
        self,
        flow: Any,  # noqa: ANN401  (jobflow Flow, Job, or a list of them; jobflow has no type information)
        *,
        name: str | None = None,
        priority: int = 0,
        metadata: Mapping[str, Any] | None = None,
        fresh: bool = False,
        allow_external_references: bool = False,
    ) -> SubmitReport:
        """Put a flow into the queue; jobs that are there already are found, not run again.

        Parameters
        ----------
        flow
            A jobflow Flow, Job, or a list of them.
        name
            Name for people; the flow's own by default.
        priority
            Higher runs first; equal ones in the order they came.
        metadata
            Anything JSON can carry, kept with the flow.
        fresh
            Compute everything again, whatever is there.
        allow_external_references
            Accept references to jobs the queue does not know (their outputs must be in the JobStore).
        """
        ...

    def jobs(
        self,
        *,
        state: JobState | Iterable[JobState] | None = None,
        flow: Ref | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> list[JobInfo]:
        """List jobs by number; ``name`` is a glob pattern (``relax*``)."""
        ...

    def job(self, ref: Ref) -> JobInfo:
        """Return one job."""
        ...

    def attempts(self, ref: Ref) -> list[Attempt]:
        """Return every execution of a job, oldest first."""
        ...

    def flows(self) -> list[FlowInfo]:
        """List the submitted flows."""
        ...

    def status(self, flow: Ref | None = None) -> FlowStatus:
        """Count the jobs per state, of one flow or of the queue."""
        ...

    def edges(self, flow: Ref | None = None) -> list[Edge]:
        """List what comes before what, of one flow or of the queue."""
        ...

    def pause(self, ref: Ref) -> ChangeReport:
        """Hold back a flow (``f3``) or a job; what runs already runs to its end."""
        ...

    def resume(self, ref: Ref) -> ChangeReport:
        """Release what was paused."""
        ...

    def cancel(self, ref: Ref) -> ChangeReport:
        """Give up a flow or a job; what runs is killed. Jobs another flow wants too stay."""
        ...

    def set_priority(self, ref: Ref, priority: int) -> ChangeReport:
        """Set the priority of a flow or a job; higher runs first."""
        ...

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
        """Let failed or cancelled jobs run again; with ``force`` completed ones and what followed too."""
        ...

    def undo_rerun(self, rerun_id: int | None = None) -> RerunReport:
        """Put every state back as it was before a rerun (the last one by default)."""
        ...


def tree(jobs: Sequence[JobInfo], edges: Sequence[Edge]) -> list[tuple[int, JobInfo]]:
    """Lay jobs out as an indented tree: (depth, job), each job once, below the last parent to come.

    Parameters
    ----------
    jobs
        The jobs to show.
    edges
        What comes before what; edges to jobs that are not shown are ignored.
    """
    known = {job.number: job for job in jobs}
    home: dict[int, int] = {}
    for edge in edges:
        if edge.parent in known and edge.child in known:
            home[edge.child] = max(edge.parent, home.get(edge.child, 0))
    below: dict[int, list[int]] = {}
    for number in sorted(known):
        below.setdefault(home.get(number, 0), []).append(number)
    rows: list[tuple[int, JobInfo]] = []
    # A stack and not recursion: chains of ten thousand jobs are real.
    stack = [(0, number) for number in reversed(below.get(0, []))]
    while stack:
        depth, number = stack.pop()
        rows.append((depth, known[number]))
        stack += [(depth + 1, child) for child in reversed(below.get(number, []))]
    return rows
