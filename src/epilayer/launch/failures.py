"""From what is left of a job to the class of its failure: a total map of pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import assert_never

from epilayer.launch.scheduler import Accounted, SchedulerState
from epilayer.model.cluster import FailureClass

TOLD_TO_STOP = "told to stop"
"""What the cause of a job that a signal ended says when the scheduler must say why."""
_SIGNAL_EXIT, _OUR_SIGNAL_EXIT = 128, 100
_NO_OUTPUT = 53
"""Not a signal: SLURM tells so of a batch script whose output file or folder it could not open."""

# The first that matches counts. These are causes that the job itself could still tell.
_TEXTS: tuple[tuple[FailureClass, str], ...] = (
    (FailureClass.WALLTIME, r"^walltime\b|walltime|time limit"),
    (FailureClass.DISK_FULL, r"No space left|Disk quota exceeded|disk is full|disk .* is full|EDQUOT|ENOSPC"),
    (FailureClass.OUT_OF_MEMORY, r"MemoryError|[Oo]ut of memory|oom-kill|Cannot allocate memory"),
    (
        FailureClass.DATABASE,
        r"AutoReconnect|ServerSelectionTimeout|NotPrimary|does not answer|connection closed",
    ),
    (
        FailureClass.SETUP,
        r"POTCAR|licen[cs]e|command not found|not installed|No such file or directory: '?\S*vasp",
    ),
    (FailureClass.SCF, r"electronic|SCF|NELM"),
    (
        FailureClass.IONIC,
        r"ionic|NSW|not reach(ed)? .*force|forces? .* (above|not)|max(imum)? steps|unconverged",
    ),
    (FailureClass.CODE_ERROR, r"ZBRENT|BRMIX|EDDDAV|ZPOTRF|VASP|custodian|LOBSTER"),
    (FailureClass.CRASH, r"died with SIG|exited with code|segmentation fault|SIGSEGV|SIGKILL|SIGBUS|SIGABRT"),
    (
        FailureClass.INPUT,
        r"InputError|StructureError|UnknownName|ValidationError|ValueError|KeyError|TypeError",
    ),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The class of a failure and what it was seen by."""

    kind: FailureClass
    why: str


def classify(cause: str | None, job: Accounted | None, *, raised: bool) -> Verdict:
    """Return why a job failed.

    Parameters
    ----------
    cause
        What the queue holds as the cause.
    job
        What the scheduler's accounting holds, if it was the scheduler's job.
    raised
        Whether the job itself ended by raising an error: then what it said counts before what the scheduler
        saw, save where the scheduler killed something (memory) that made the job raise.
    """
    if job is not None:
        seen = by_scheduler(job)
        if seen is not None and (not raised or seen.kind is FailureClass.OUT_OF_MEMORY):
            return seen
    text = cause or ""
    told = by_text(text)
    if told is not None:
        return Verdict(told, text)
    if TOLD_TO_STOP in text:
        return Verdict(FailureClass.LOST, text)
    if raised:
        return Verdict(FailureClass.OTHER, text)
    if job is None:
        return Verdict(FailureClass.LOST, text or "it ended without a word")
    return Verdict(
        FailureClass.LOST, f"SLURM job {job.job_id} ended ({job.state.value}), and the job left no word"
    )


def by_text(cause: str) -> FailureClass | None:
    """Return the class that a cause tells, if it does: by name (as `sync` writes it), or by its words."""
    name = cause.partition(":")[0]
    if name in set(FailureClass):
        return FailureClass(name)
    return next((kind for kind, pattern in _TEXTS if re.search(pattern, cause)), None)


def by_scheduler(job: Accounted) -> Verdict | None:  # noqa: C901, PLR0911  (a total map)
    """Return the class that the accounting tells; None where it says nothing about a cause.

    Under ``srun`` a job out of memory is FAILED as a whole, and only its step tells why; so steps come first.
    """
    states = [step.state for step in job.steps]
    state = job.first_end or job.state  # only the first run works on a job: a second finds nothing to do
    if SchedulerState.OUT_OF_MEMORY in (*states, state):
        return _verdict(FailureClass.OUT_OF_MEMORY, job, "over its memory limit")
    match state:
        case SchedulerState.TIMEOUT | SchedulerState.DEADLINE:
            return _verdict(FailureClass.WALLTIME, job, "over its time limit")
        case SchedulerState.NODE_FAIL | SchedulerState.BOOT_FAIL | SchedulerState.LAUNCH_FAILED:
            return _verdict(FailureClass.NODE_FAILURE, job, f"node {job.nodes or 'unknown'} failed")
        case SchedulerState.RECONFIG_FAIL:
            return _verdict(FailureClass.NODE_FAILURE, job, "its node could not be set up")
        case SchedulerState.PREEMPTED | SchedulerState.REVOKED:
            return _verdict(FailureClass.PREEMPTED, job, "another job had precedence")
        case SchedulerState.REQUEUED | SchedulerState.REQUEUE_FED | SchedulerState.REQUEUE_HOLD:
            return _verdict(FailureClass.PREEMPTED, job, "it was put back into the scheduler's queue")
        case SchedulerState.SPECIAL_EXIT | SchedulerState.RESV_DEL_HOLD:
            return _verdict(FailureClass.PREEMPTED, job, "it is held by the scheduler")
        case SchedulerState.CANCELLED:
            return _verdict(
                FailureClass.CANCELLED, job, f"cancelled by user {job.by}" if job.by else "cancelled"
            )
        case SchedulerState.FAILED:
            return _by_exit(job)
        case SchedulerState.COMPLETED | SchedulerState.OUT_OF_MEMORY:
            return None
        case (
            SchedulerState.COMPLETING
            | SchedulerState.CONFIGURING
            | SchedulerState.EXPEDITING
            | SchedulerState.PENDING
            | SchedulerState.POWER_UP_NODE
            | SchedulerState.RESIZING
            | SchedulerState.RUNNING
            | SchedulerState.SIGNALING
            | SchedulerState.STAGE_OUT
            | SchedulerState.STOPPED
            | SchedulerState.SUSPENDED
            | SchedulerState.UPDATE_DB
        ):
            return None
        case _:
            assert_never(state)


def _by_exit(job: Accounted) -> Verdict | None:
    signals = [job.signal, *(step.signal for step in job.steps)]
    codes = [job.exit_code, *(step.exit_code for step in job.steps)]
    if job.signal == _NO_OUTPUT:
        return _verdict(
            FailureClass.LOST, job, f"its folder could not be opened on {job.nodes or 'its node'}"
        )
    signal = next(filter(None, [*signals, *map(_signal_in, codes)]), 0)
    if signal:
        return _verdict(FailureClass.CRASH, job, f"ended by signal {signal}")
    return None


def _signal_in(code: int) -> int:
    """Return the signal that an exit code tells of: 128 + N by a shell, 100 + N by our batch script."""
    if code > _SIGNAL_EXIT:
        return code - _SIGNAL_EXIT
    return code - _OUR_SIGNAL_EXIT if code > _OUR_SIGNAL_EXIT else 0


def _verdict(kind: FailureClass, job: Accounted, why: str) -> Verdict:
    return Verdict(kind, f"SLURM job {job.job_id}: {why}")
