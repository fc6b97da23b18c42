"""What the dashboard is shown from: plain views of jobs, and the protocol of whoever provides them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pymatgen.core import Structure

    from epilayer.model.cohp import Bonding
    from epilayer.model.records import Calculation
    from epilayer.store.results import ResultsStore


class Verb(StrEnum):
    """What a person may ask of a job or a campaign."""

    RERUN = "rerun"
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True)
class Campaign:
    """A submitted flow and how far it is; ``counts`` are jobs by state, in lower case."""

    ref: str
    name: str
    created: datetime
    counts: Mapping[str, int]
    paused: bool = False
    cancelled: bool = False

    @property
    def total(self) -> int:
        """Number of jobs."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class JobRow:
    """A job in a list; ``failure`` is the class of its failure, ``telling`` what its log says of it."""

    number: int
    name: str
    state: str
    attempts: int
    flows: tuple[str, ...]
    cause: str
    failure: str
    telling: str
    started: datetime | None
    ended: datetime | None

    @property
    def took(self) -> str:
        """How long the last attempt ran, in words; empty while it runs."""
        if self.started is None or self.ended is None:
            return ""
        return duration(round((self.ended - self.started).total_seconds(), 1))


@dataclass(frozen=True)
class AttemptView:
    """One execution of a job; ``files`` are paths below ``directory``, ``tails`` the ends of its logs."""

    number: int
    outcome: str
    cause: str
    where: str
    started: datetime
    took: str
    directory: Path
    files: tuple[tuple[str, int], ...]
    tails: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class JobView:
    """Everything about one job."""

    row: JobRow
    uuid: str
    function: str
    created: datetime
    remedy: str
    attempts: tuple[AttemptView, ...]
    after: tuple[JobRow, ...]
    """Jobs that this one waits for or has built on."""
    before: tuple[JobRow, ...]
    """Jobs that build on this one."""
    records: tuple[str, ...] = ()
    """Identities of the results that it put out."""
    telling: tuple[tuple[str, str], ...] = ()
    """Lines of the last attempt's logs that say what went wrong, each with the name of its file."""
    command: str = ""
    """What to type to run it again; empty where that means nothing."""


@dataclass(frozen=True)
class TrajectoryView:
    """A trajectory, finished or growing, as far as it is now.

    Attributes
    ----------
    steps
        Last step, and how many are wanted where that is known.
    facts
        What is known of it, by name.
    warnings
        What should worry its owner: kind and text.
    path
        Its file.
    """

    name: str
    label: str
    level: str
    steps: tuple[int, int | None]
    frames: int
    complete: bool
    written: datetime
    path: Path
    facts: tuple[tuple[str, str], ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()


class Desk(Protocol):
    """What a study tells its dashboard."""

    name: str
    root: Path

    @property
    def results(self) -> ResultsStore:
        """The results store."""
        ...

    def refresh(self) -> None:
        """Bring the records of jobs that have completed since into the results store."""
        ...

    def campaigns(self) -> list[Campaign]:
        """List the submitted flows, the newest first."""
        ...

    def jobs(self, *, state: str | None = None, flow: str | None = None) -> list[JobRow]:
        """List jobs by number."""
        ...

    def job(self, ref: str) -> JobView:
        """Return one job.

        Raises
        ------
        InputError
            If there is no such job.
        """
        ...

    def trajectories(self) -> list[TrajectoryView]:
        """List the study's trajectories, the one that grew last first, without their facts."""
        ...

    def trajectory(self, name: str) -> TrajectoryView:
        """Return one trajectory with its facts.

        Raises
        ------
        InputError
            If there is no such trajectory.
        """
        ...

    def calculations(self, jobs: Sequence[str]) -> dict[str, Calculation]:
        """Return the calculations that these jobs put out, as far as they are at hand."""
        ...

    def file(self, path: str) -> Path | None:
        """Return the file that a record refers to; ``None`` where it is gone or outside the study."""
        ...

    def measured(self, job: str) -> Sequence[Bonding]:
        """Return what LOBSTER measured for the job that made a record, as far as it is at hand."""
        ...

    def started_from(self, run_directory: str, like: Structure) -> Structure | None:
        """Return the configuration that a run began with (atoms as in ``like``), where its files hold it."""
        ...

    def act(self, verb: Verb, ref: str) -> str:
        """Do what a person asks of a job or a flow; return what was done, in a sentence."""
        ...


def duration(seconds_s: float) -> str:
    """Return a time in words.

    >>> duration(3725), duration(4.25)
    ('1 h 02 min', '4.2 s')
    """
    minutes, rest = divmod(seconds_s, 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02.0f} s" if minutes else f"{seconds_s:.1f} s"
