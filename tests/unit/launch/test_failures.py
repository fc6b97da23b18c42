"""The class of a failure: a total map, and who is believed where witnesses differ."""

from __future__ import annotations

import pytest

from epilayer.launch.failures import by_scheduler, classify
from epilayer.launch.scheduler import Accounted, SchedulerState, Step
from epilayer.model.cluster import FailureClass

K = FailureClass


def job(state: SchedulerState, *steps: SchedulerState, code: int = 0, signal: int = 0) -> Accounted:
    told = tuple(Step(str(i), one, 0, 0) for i, one in enumerate(steps))
    return Accounted("7", "x", state, code, signal, by="1000", nodes="n1", steps=told)


@pytest.mark.parametrize("state", list(SchedulerState))
def test_every_state_has_an_answer(state: SchedulerState) -> None:
    seen = by_scheduler(job(state))
    assert seen is None or isinstance(seen.kind, FailureClass)
    assert isinstance(classify(None, job(state), raised=False).kind, FailureClass)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (job(SchedulerState.TIMEOUT), K.WALLTIME),
        (job(SchedulerState.OUT_OF_MEMORY), K.OUT_OF_MEMORY),
        (job(SchedulerState.FAILED, SchedulerState.COMPLETED, SchedulerState.OUT_OF_MEMORY), K.OUT_OF_MEMORY),
        (job(SchedulerState.NODE_FAIL), K.NODE_FAILURE),
        (job(SchedulerState.PREEMPTED), K.PREEMPTED),
        (job(SchedulerState.CANCELLED), K.CANCELLED),
        (job(SchedulerState.FAILED, signal=11), K.CRASH),
        (job(SchedulerState.FAILED, signal=53), K.LOST),
        (job(SchedulerState.FAILED, code=137), K.CRASH),
        (job(SchedulerState.FAILED, code=109), K.CRASH),
        (job(SchedulerState.FAILED, code=1), K.LOST),
        (job(SchedulerState.COMPLETED), K.LOST),
    ],
)
def test_a_job_without_a_last_word_is_judged_by_the_scheduler(told: Accounted, kind: FailureClass) -> None:
    assert classify(None, told, raised=False).kind is kind


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("walltime: stopped 60 s ahead of the limit", K.WALLTIME),
        ("OSError: [Errno 28] No space left on device", K.DISK_FULL),
        ("OSError: [Errno 122] Disk quota exceeded", K.DISK_FULL),
        ("MemoryError: ", K.OUT_OF_MEMORY),
        ("node_failure: SLURM job 7: node n1 failed, before the job began", K.NODE_FAILURE),
        ("lost: SLURM job 7 ended (COMPLETED), and the job left no word", K.LOST),
        ("AutoReconnect: 127.0.0.1:38113: connection closed", K.DATABASE),
        ("The POTCAR of V is missing.", K.SETUP),
        ("slab: the electronic loop did not converge", K.SCF),
        ("slab: ZBRENT: fatal error in bracketing [custodian gave up]", K.CODE_ERROR),
        ("worker died with SIGSEGV, 3 times", K.CRASH),
        ("KeyError: 'x'", K.INPUT),
        ("RuntimeError: something nobody thought of", K.OTHER),
    ],
)
def test_a_job_that_raised_is_believed(cause: str, kind: FailureClass) -> None:
    assert classify(cause, job(SchedulerState.FAILED, code=1), raised=True).kind is kind
    assert classify(cause, None, raised=True).kind is kind


def test_the_scheduler_says_why_a_job_was_told_to_stop() -> None:
    cause = "told to stop by the scheduler (SIGTERM) in attempt 1"
    assert classify(cause, job(SchedulerState.CANCELLED), raised=False).kind is K.CANCELLED
    assert classify(cause, job(SchedulerState.TIMEOUT), raised=False).kind is K.WALLTIME
    assert classify(cause, job(SchedulerState.FAILED, code=1), raised=False).kind is K.LOST


def test_memory_is_believed_to_the_scheduler_even_where_the_job_raised() -> None:
    told = job(SchedulerState.FAILED, SchedulerState.OUT_OF_MEMORY)
    assert classify("ValueError: no energy", told, raised=True).kind is K.OUT_OF_MEMORY
