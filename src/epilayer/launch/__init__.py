"""Run any jobflow Flow: nothing is lost, nothing runs twice. Queues, workers, recovery; no chemistry.

Public names (all importable from here, loaded on first use)
-------------------------------------------------------------
Queue
    The protocol that every queue satisfies.
EmbeddedQueue
    The queue of one machine: a SQLite file.
run_workers
    Run what a queue holds with N worker processes, until nothing is left that can run.
JobState, Outcome, EdgeKind
    The total enumerations.
JobInfo, Attempt, FlowInfo, FlowStatus, Edge, SubmitReport, ChangeReport, RerunReport, RunReport, Event
    What the queue tells, as frozen values.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from epilayer.launch.base import (
        Attempt,
        ChangeReport,
        Edge,
        EdgeKind,
        Event,
        FlowInfo,
        FlowStatus,
        JobInfo,
        JobState,
        Outcome,
        Queue,
        RerunReport,
        RunReport,
        SubmitReport,
    )
    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.launch.supervisor import run_workers

_HOME = {"EmbeddedQueue": "embedded", "run_workers": "supervisor"}

__all__ = [
    "Attempt",
    "ChangeReport",
    "Edge",
    "EdgeKind",
    "EmbeddedQueue",
    "Event",
    "FlowInfo",
    "FlowStatus",
    "JobInfo",
    "JobState",
    "Outcome",
    "Queue",
    "RerunReport",
    "RunReport",
    "SubmitReport",
    "run_workers",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use, so that the command line starts at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"epilayer.launch.{_HOME.get(name, 'base')}"), name)
