"""What a job's exception, its worker's exit and the scheduler's accounting say of a failure, as one value."""

from __future__ import annotations

import errno
import signal
import subprocess
from typing import TYPE_CHECKING, assert_never

from epilayer.launch.scheduler import Accounted, SchedulerState, Step
from epilayer.model.errors import EpilayerError, InputError, SetupError, StoreError
from epilayer.model.failure import FailedRunError, Failure, FailureClass

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SIGNAL_EXIT, _OUR_SIGNAL_EXIT = 128, 100
_CANNOT_EXECUTE, _NOT_FOUND = 126, 127
_NO_OUTPUT = 53
"""Not a signal: SLURM's code for a batch script whose output file or folder it could not open."""
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
#: What a job can show of an end whose cause only the scheduler knows.
_UNEXPLAINED = frozenset({FailureClass.CRASH, FailureClass.LOST, FailureClass.OTHER})


def of_error(error: BaseException) -> Failure:
    """Return what an exception that a job raised says: by its type, and by its text only where it is foreign.

    An engine that knows why its calculation failed raises that as a value
    (`epilayer.model.failure.FailedRunError`), which is returned as it is.
    """
    if isinstance(error, FailedRunError):
        return error.failure
    kind, cause = _of_type(error) or (FailureClass.OTHER, type(error).__name__)
    # What lies outside the job counts also where another error came of it; not so an import that was tried.
    for found in map(_of_type, chain(error)):
        if found is not None and found[0].outside and found[0] is not FailureClass.SETUP:
            kind, cause = found
            break
    if isinstance(error, EpilayerError):
        return Failure(kind=kind, cause=cause, what=error.what, remedy=error.remedy)
    if kind is FailureClass.OTHER:
        from epilayer.outputs.run_failure import in_text

        named = in_text(str(error))
        cause, kind = named or (cause, kind)
    return Failure(kind=kind, cause=cause, what=" ".join(f"{type(error).__name__}: {error}".split()))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _of_type(error: BaseException) -> tuple[FailureClass, str] | None:  # noqa: PLR0911  (one answer a type)
    name = type(error).__name__
    kinds = {kind.__name__ for kind in type(error).__mro__}  # of packages that need not be installed
    match error:
        case FailedRunError():
            return error.failure.kind, error.failure.cause
        case SetupError() | ImportError():
            return FailureClass.SETUP, name
        case StoreError():
            return FailureClass.DATABASE, name
        case MemoryError():
            return FailureClass.OUT_OF_MEMORY, name
        case OSError(errno=code) if code in _DISK or code == errno.ENOMEM:
            kind = FailureClass.DISK_FULL if code in _DISK else FailureClass.OUT_OF_MEMORY
            return kind, errno.errorcode[code]
        case subprocess.CalledProcessError(returncode=code) if code < 0 or code in (
            _CANNOT_EXECUTE,
            _NOT_FOUND,
        ):
            return _of_code(code)
        case InputError() | ValueError() | KeyError() | TypeError():
            return FailureClass.INPUT, name
    if "ConnectionFailure" in kinds:  # pymongo: AutoReconnect, NotPrimaryError, ServerSelectionTimeoutError
        return FailureClass.DATABASE, name
    return (FailureClass.OUT_OF_MEMORY, name) if "OutOfMemoryError" in kinds else None  # torch


def of_exit(code: int) -> Failure:
    """Return what the return code of a worker process says: negative where a signal ended it."""
    found = _of_code(code) if code < 0 else None
    if found is None:
        what = f"worker exited with code {code} in the middle of the job"
        return Failure(kind=FailureClass.CRASH, cause=f"exit {code}", what=what)
    kind, name = found
    hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
    return Failure(kind=kind, cause=name, what=f"worker died with {name}{hint}")


def _of_code(code: int) -> tuple[FailureClass, str] | None:
    """Read a return code: -N for signal N, 128 + N of a shell, 100 + N of our batch script."""
    if code in (_CANNOT_EXECUTE, _NOT_FOUND):
        return FailureClass.SETUP, f"exit {code}"
    number = -code if code < 0 else code - (_SIGNAL_EXIT if code > _SIGNAL_EXIT else _OUR_SIGNAL_EXIT)
    return (FailureClass.CRASH, _signal_name(number)) if number > 0 else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def with_lines(failure: Failure, directory: Path) -> Failure:
    """Return a failure with the telling lines of its attempt's logs.

    Of an end without a cause of its own, the lines of the program and of the scheduler say the class too:
    ``oom_kill`` and "DUE TO TIME LIMIT" stand nowhere else.
    """
    from epilayer.outputs.run_failure import in_text, telling_lines

    if failure.telling:
        return failure
    lines = telling_lines(directory)
    update: dict[str, object] = {"telling": lines}
    if failure.kind in (FailureClass.CRASH, FailureClass.LOST):
        named = in_text("\n".join(line for _, line in lines))
        if named is not None and named[1].outside:
            update |= {"kind": named[1], "cause": named[0].value}
    return failure.model_copy(update=update)


def classify(told: Failure | None, job: Accounted | None, *, raised: bool) -> Failure:
    """Return why a job failed, from what was seen of it here and what the scheduler saw.

    Parameters
    ----------
    told
        What the queue holds.
    job
        What the scheduler's accounting holds, if it was the scheduler's job.
    raised
        Whether the job itself ended by raising an error: then that counts before what the scheduler saw,
        save where the scheduler ended the job's processes, which made it raise.
    """
    seen = None if job is None else by_scheduler(job)
    if seen is not None and _explains(seen, told if raised else None):
        return seen if told is None else seen.model_copy(update={"telling": told.telling})
    if told is not None:
        return told
    if job is None:
        what = "it ended without a message"
        return Failure(kind=FailureClass.LOST, cause="unknown", what=what)
    what = f"SLURM job {job.job_id} ended ({job.state.value}), and the job left no message"
    return Failure(kind=FailureClass.LOST, cause=job.state.value, what=what)


def _explains(seen: Failure, raised: Failure | None) -> bool:
    if raised is None or seen.kind is FailureClass.OUT_OF_MEMORY:
        return True
    return raised.kind in _UNEXPLAINED and seen.kind not in _UNEXPLAINED


def by_scheduler(job: Accounted) -> Failure | None:  # noqa: C901, PLR0911  (a total map)
    """Return what the accounting says; None where it says nothing about a cause.

    Under ``srun`` a job out of memory is FAILED as a whole, and only its step tells why; so steps come first.
    """
    states = [step.state for step in job.steps]
    state = job.first_end or job.state  # only the first run works on a job: a second finds nothing to do
    if SchedulerState.OUT_OF_MEMORY in (*states, state):
        return _seen(FailureClass.OUT_OF_MEMORY, job, SchedulerState.OUT_OF_MEMORY, "over its memory limit")
    match state:
        case SchedulerState.TIMEOUT | SchedulerState.DEADLINE:
            return _seen(FailureClass.WALLTIME, job, state, "over its time limit")
        case SchedulerState.NODE_FAIL | SchedulerState.BOOT_FAIL | SchedulerState.LAUNCH_FAILED:
            return _seen(FailureClass.NODE_FAILURE, job, state, f"node {job.nodes or 'unknown'} failed")
        case SchedulerState.RECONFIG_FAIL:
            return _seen(FailureClass.NODE_FAILURE, job, state, "its node could not be set up")
        case SchedulerState.PREEMPTED | SchedulerState.REVOKED:
            return _seen(FailureClass.PREEMPTED, job, state, "another job had precedence")
        case SchedulerState.REQUEUED | SchedulerState.REQUEUE_FED | SchedulerState.REQUEUE_HOLD:
            return _seen(FailureClass.PREEMPTED, job, state, "it was put back into the scheduler's queue")
        case SchedulerState.SPECIAL_EXIT | SchedulerState.RESV_DEL_HOLD:
            return _seen(FailureClass.PREEMPTED, job, state, "it is held by the scheduler")
        case SchedulerState.CANCELLED:
            by = f"cancelled by user {job.by}" if job.by else "cancelled"
            return _seen(FailureClass.CANCELLED, job, state, by)
        case SchedulerState.FAILED:
            return _by_exit(job)
        case SchedulerState.COMPLETED | SchedulerState.OUT_OF_MEMORY:
            return None
        case (
            SchedulerState.COMPLETING | SchedulerState.CONFIGURING | SchedulerState.EXPEDITING
            | SchedulerState.PENDING | SchedulerState.POWER_UP_NODE | SchedulerState.RESIZING
            | SchedulerState.RUNNING | SchedulerState.SIGNALING | SchedulerState.STAGE_OUT
            | SchedulerState.STOPPED | SchedulerState.SUSPENDED | SchedulerState.UPDATE_DB
        ):  # fmt: skip
            return None
        case _:
            assert_never(state)


def _by_exit(job: Accounted) -> Failure | None:
    if job.signal == _NO_OUTPUT:
        where = job.nodes or "its node"
        return _seen(FailureClass.LOST, job, "no output folder", f"its folder could not be opened on {where}")
    ends: list[Accounted | Step] = [job, *job.steps]
    number = next(filter(None, (end.signal for end in ends)), 0)
    found = _of_code(-number) if number else next(filter(None, (_of_code(e.exit_code) for e in ends)), None)
    if found is None:
        return None
    kind, name = found
    how = "a command was not found" if kind is FailureClass.SETUP else f"ended by {name}"
    return _seen(kind, job, name, how)


def _seen(kind: FailureClass, job: Accounted, cause: str, how: str) -> Failure:
    return Failure(kind=kind, cause=cause, what=f"SLURM job {job.job_id}: {how}")
