"""The class of a failure, a type from where it is seen to the policy, and which witness is believed."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epilayer.launch.failures import by_scheduler, classify, of_error, of_exit, with_lines
from epilayer.launch.scheduler import Accounted, SchedulerState, Step
from epilayer.model.errors import EngineError, InputError, SetupError, StoreError
from epilayer.model.failure import FailedRunError, Failure, FailureClass

if TYPE_CHECKING:
    from pathlib import Path

K = FailureClass
ZBRENT = Failure(kind=K.LINE_SEARCH, cause="zbrent", what="slab: zbrent", telling=(("vasp.out", "ZBRENT"),))


def job(state: SchedulerState, *steps: SchedulerState, code: int = 0, signal: int = 0) -> Accounted:
    told = tuple(Step(str(i), one, 0, 0) for i, one in enumerate(steps))
    return Accounted("7", "x", state, code, signal, by="1000", nodes="n1", steps=told)


@pytest.mark.parametrize("state", list(SchedulerState))
def test_every_state_has_an_answer(state: SchedulerState) -> None:
    seen = by_scheduler(job(state))
    assert seen is None or isinstance(seen.kind, FailureClass)
    assert isinstance(classify(None, job(state), raised=False).kind, FailureClass)


@pytest.mark.parametrize("kind", list(FailureClass))
def test_every_class_says_what_helps(kind: FailureClass) -> None:
    assert kind.advice.endswith(".")


@pytest.mark.parametrize(
    ("told", "kind", "cause"),
    [
        (job(SchedulerState.TIMEOUT), K.WALLTIME, "TIMEOUT"),
        (job(SchedulerState.OUT_OF_MEMORY), K.OUT_OF_MEMORY, "OUT_OF_MEMORY"),
        (
            job(SchedulerState.FAILED, SchedulerState.COMPLETED, SchedulerState.OUT_OF_MEMORY),
            K.OUT_OF_MEMORY,
            "OUT_OF_MEMORY",
        ),
        (job(SchedulerState.NODE_FAIL), K.NODE_FAILURE, "NODE_FAIL"),
        (job(SchedulerState.PREEMPTED), K.PREEMPTED, "PREEMPTED"),
        (job(SchedulerState.CANCELLED), K.CANCELLED, "CANCELLED"),
        (job(SchedulerState.FAILED, signal=11), K.CRASH, "SIGSEGV"),
        (job(SchedulerState.FAILED, signal=53), K.LOST, "no output folder"),
        (job(SchedulerState.FAILED, code=137), K.CRASH, "SIGKILL"),
        (job(SchedulerState.FAILED, code=109), K.CRASH, "SIGKILL"),
        (job(SchedulerState.FAILED, code=127), K.SETUP, "exit 127"),
        (job(SchedulerState.FAILED, code=1), K.LOST, "FAILED"),
        (job(SchedulerState.COMPLETED), K.LOST, "COMPLETED"),
    ],
)
def test_a_job_without_a_last_word_is_judged_by_the_scheduler(
    told: Accounted, kind: FailureClass, cause: str
) -> None:
    failure = classify(None, told, raised=False)
    assert (failure.kind, failure.cause) == (kind, cause)


ConnectionFailure = type("ConnectionFailure", (Exception,), {})
Reconnect = type("AutoReconnect", (ConnectionFailure,), {})
TorchMemory = type("OutOfMemoryError", (RuntimeError,), {})


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


RAISED = [
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), K.DISK_FULL, "ENOSPC"),
    (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), K.DISK_FULL, "EDQUOT"),
    (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), K.OUT_OF_MEMORY, "ENOMEM"),
    (MemoryError(), K.OUT_OF_MEMORY, "MemoryError"),
    (TorchMemory("CUDA"), K.OUT_OF_MEMORY, "OutOfMemoryError"),
    (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), K.OUT_OF_MEMORY, "out_of_memory"),
    (Reconnect("127.0.0.1:38113: connection closed"), K.DATABASE, "AutoReconnect"),
    (StoreError("The results cannot be written.", "Try again."), K.DATABASE, "StoreError"),
    (SetupError("The POTCAR of V is missing.", "Add it."), K.SETUP, "SetupError"),
    (ModuleNotFoundError("No module named 'x'"), K.SETUP, "ModuleNotFoundError"),
    (subprocess.CalledProcessError(127, "vasp_std"), K.SETUP, "exit 127"),
    (subprocess.CalledProcessError(-11, "vasp_std"), K.CRASH, "SIGSEGV"),
    (subprocess.CalledProcessError(1, "vasp_std"), K.OTHER, "CalledProcessError"),
    (KeyError("x"), K.INPUT, "KeyError"),
    (InputError("No such file.", "Name another."), K.INPUT, "InputError"),
    (FailedRunError(ZBRENT), K.LINE_SEARCH, "zbrent"),
    (EngineError("slab: electronic NSW walltime POTCAR ZBRENT VASP.", "Rerun."), K.OTHER, "EngineError"),
    (raised_from(EngineError("It failed.", "Look."), OSError(errno.ENOSPC, "")), K.DISK_FULL, "ENOSPC"),
    (raised_from(EngineError("It failed.", "Look."), ValueError("x")), K.OTHER, "EngineError"),
    (raised_from(ValueError("x"), ImportError("no module")), K.INPUT, "ValueError"),
    (RuntimeError("something that nobody expected"), K.OTHER, "RuntimeError"),
]


@pytest.mark.parametrize(("error", "kind", "cause"), RAISED)
def test_a_job_that_raised_is_believed(error: Exception, kind: FailureClass, cause: str) -> None:
    failure = of_error(error)
    assert (failure.kind, failure.cause) == (kind, cause)
    assert classify(failure, None, raised=True) == failure
    assert classify(failure, job(SchedulerState.FAILED, code=1), raised=True) == failure


@pytest.mark.parametrize(
    ("code", "cause", "words"),
    [
        (-11, "SIGSEGV", "SIGSEGV"),
        (-9, "SIGKILL", "out of memory"),
        (3, "exit 3", "exited with code 3"),
        (-250, "signal 250", "signal 250"),
    ],
)
def test_the_end_of_a_worker_is_a_crash_with_the_name_of_its_signal(
    code: int, cause: str, words: str
) -> None:
    failure = of_exit(code)
    assert (failure.kind, failure.cause) == (K.CRASH, cause)
    assert words in failure.what


SLURM_TEXTS = {
    "slurmstepd: error: Detected 1 oom_kill event in StepId=14535882.batch.": K.OUT_OF_MEMORY,
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.batch cgroup.": K.OUT_OF_MEMORY,
    "slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2024-11-30T10:00:00 DUE TO TIME LIMIT ***": K.WALLTIME,
    "slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2024-11-30T10:00:00 DUE TO PREEMPTION ***": K.PREEMPTED,
    "slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2024-11-30T10:00:00 DUE TO NODE FAILURE ***": (
        K.NODE_FAILURE
    ),
    "srun: error: n1: task 3: Bus error": K.CRASH,
    "EDDDAV: Call to ZHEGV failed. Returncode = 7 1 8": K.CRASH,
}


@pytest.mark.parametrize(("line", "kind"), SLURM_TEXTS.items())
def test_of_a_worker_that_was_killed_the_logs_say_what_lies_outside_it(
    line: str, kind: FailureClass, tmp_path: Path
) -> None:
    (tmp_path / "std_err.txt").write_text(f"quiet\n{line}\n", encoding="utf-8")
    failure = with_lines(of_exit(-9), tmp_path)
    assert failure.kind is kind
    assert failure.telling == (("std_err.txt", line),)
    assert with_lines(ZBRENT, tmp_path) == ZBRENT


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (SchedulerState.CANCELLED, K.CANCELLED),
        (SchedulerState.TIMEOUT, K.WALLTIME),
        (SchedulerState.FAILED, K.LOST),
    ],
)
def test_the_scheduler_says_why_a_job_was_stopped(state: SchedulerState, kind: FailureClass) -> None:
    stopped = Failure(kind=K.LOST, cause="SIGTERM", what="stopped by the scheduler")
    assert classify(stopped, job(state, code=1), raised=False).kind is kind


@pytest.mark.parametrize("kind", list(FailureClass))
def test_of_a_job_that_raised_the_scheduler_explains_memory_and_what_the_job_cannot(
    kind: FailureClass,
) -> None:
    raised = Failure(kind=kind, cause="x", what="x", telling=(("vasp.out", "x"),))
    memory = job(SchedulerState.FAILED, SchedulerState.OUT_OF_MEMORY)
    assert classify(raised, memory, raised=True).kind is K.OUT_OF_MEMORY
    unexplained = kind in {K.CRASH, K.LOST, K.OTHER}
    seen = classify(raised, job(SchedulerState.TIMEOUT), raised=True)
    assert seen.kind is (K.WALLTIME if unexplained else kind)
    assert seen.telling == raised.telling


failures = st.builds(
    Failure,
    kind=st.sampled_from(FailureClass),
    cause=st.text(max_size=8),
    what=st.text(max_size=400),
    remedy=st.text(max_size=8),
    telling=st.sampled_from([(), (("vasp.out", "ZBRENT \u2026"), ("std_err.txt", "x"))]),
)


@given(failures)
def test_a_failure_stays_the_same_value_between_processes_and_in_the_queue(failure: Failure) -> None:
    error = pickle.loads(pickle.dumps(FailedRunError(failure)))  # noqa: S301  (our own)
    assert of_error(error) == failure
    assert Failure.model_validate_json(failure.model_dump_json()) == failure
    assert "\n" not in failure.line
    assert len(failure.line) <= 300
