"""The templates of the dashboard and the words in which they show values; everything is escaped."""

from __future__ import annotations

import datetime as dt
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from epilayer.dashboard import phrases
from epilayer.launch.base import JobState
from epilayer.model.kinds import KINDS
from epilayer.outputs.run_failure import shortened, tail
from epilayer.report.html import doi_links, templates_of, words
from epilayer.study.jobs import files_below

if TYPE_CHECKING:
    from epilayer.launch.base import Attempt, JobInfo

#: In the order in which a person wants to know of them.
STATES: Final = (
    JobState.FAILED, JobState.RUNNING, JobState.READY, JobState.WAITING, JobState.PAUSED, JobState.COMPLETED,
    JobState.CANCELLED, JobState.STOPPED,
)  # fmt: skip


@cache
def template(name: str) -> Any:  # noqa: ANN401  (a jinja2 template)
    """Return a template by the name of its file."""
    return _environment().get_template(name)


@cache
def _environment() -> Any:  # noqa: ANN401  (of jinja2, which is imported where it is used)
    environment = templates_of("epilayer.dashboard")
    filters = (words, doi_links, cell, size, when, took, shortened, tail, files_below)
    environment.filters |= {function.__name__: function for function in filters}
    environment.globals.update(states=STATES, about={kind.name: kind.about for kind in KINDS.values()})
    return environment


def cell(value: Any, field: str = "") -> str:  # noqa: ANN401  (any scalar)
    """Return a scalar of a record as a table shows it: energies under one another to three decimals."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, float) and field.endswith("_ev"):
        return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")
    return phrases.plain(value)


def size(number: int) -> str:
    """Return a number of bytes in words."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= step:
            return f"{number / step:.1f} {unit}"
    return f"{number} B"


def when(time: dt.datetime | str | float) -> str:
    """Return a time to the minute, in UTC as it is stored; a number counts seconds since the epoch."""
    if isinstance(time, float):
        time = dt.datetime.fromtimestamp(time, tz=dt.UTC)
    text = time if isinstance(time, str) else time.isoformat()
    return text[:16].replace("T", " ")


def took(run: JobInfo | Attempt) -> str:
    """Return how long a job or an attempt ran, in words; empty while it runs."""
    if run.started is None or run.ended is None:
        return ""
    return duration((run.ended - run.started).total_seconds())


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
