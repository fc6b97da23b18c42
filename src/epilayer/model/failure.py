"""Why a job did not complete: one value, made where the failure is seen and read by everything after it."""

from __future__ import annotations

from enum import StrEnum

from epilayer.model.base import Frozen
from epilayer.model.errors import EngineError

_LINE_LENGTH = 300


class FailureClass(StrEnum):
    """What kind of failure it was, by what can be done about it. Total: every failure is one of these."""

    WALLTIME = "walltime"
    OUT_OF_MEMORY = "out_of_memory"
    NODE_FAILURE = "node_failure"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    """A person cancelled it at the scheduler."""
    SCF = "scf"
    """The electrons did not converge."""
    IONIC = "ionic"
    """The ions did not converge in the steps they were given."""
    LINE_SEARCH = "line_search"
    """The line search of a relaxation failed (ZBRENT); it can continue from its last structure."""
    ELECTRONIC_ALGORITHM = "electronic_algorithm"
    """The electronic minimiser broke down (EDDDAV, BRMIX ...); it needs another algorithm."""
    LARGE_STEP = "large_step"
    """The ions moved too far or came too close (ZPOTRF, POTIM ...); it needs a smaller step."""
    CODE_ERROR = "code_error"
    """The program named an error of its own that running it again does not remove."""
    INPUT = "input"
    SETUP = "setup"
    """A POTCAR, a licence, a command, a package or a module is missing."""
    DISK_FULL = "disk_full"
    DATABASE = "database"
    CRASH = "crash"
    """A signal ended the program or its worker."""
    LOST = "lost"
    """It ended without a message, and the scheduler knows no cause."""
    OTHER = "other"
    """It raised something that is none of the above."""

    @property
    def outside(self) -> bool:
        """Whether the cause lies outside the job: the machine, the scheduler, or what is installed there."""
        return self in _OUTSIDE

    @property
    def advice(self) -> str:
        """What a person can do about a failure of this class, in addition to its own remedy."""
        return _ADVICE[self]


_OUTSIDE = frozenset({
    FailureClass.WALLTIME, FailureClass.OUT_OF_MEMORY, FailureClass.NODE_FAILURE, FailureClass.PREEMPTED,
    FailureClass.CANCELLED, FailureClass.SETUP, FailureClass.DISK_FULL, FailureClass.DATABASE,
})  # fmt: skip
_ADVICE = {
    FailureClass.WALLTIME: "Give it more time and rerun it: it continues from its last checkpoint.",
    FailureClass.OUT_OF_MEMORY: "Give it more memory, or run fewer jobs at a time (workers), and rerun it.",
    FailureClass.NODE_FAILURE: "Rerun it: the machine failed, not the job.",
    FailureClass.PREEMPTED: "Rerun it: another job had precedence, and this one did nothing wrong.",
    FailureClass.CANCELLED: "A person cancelled it at the scheduler: rerun it if it is still wanted.",
    FailureClass.SCF: "A different mixing or more electronic steps may help; then rerun it.",
    FailureClass.IONIC: "Rerun it with more steps (--set max_steps=...), or from a better start.",
    FailureClass.LINE_SEARCH: "Rerun it: it continues from its last structure.",
    FailureClass.ELECTRONIC_ALGORITHM: "Rerun it: it takes the next electronic algorithm (ALGO).",
    FailureClass.LARGE_STEP: "Look at its shortest distances; rerun it: it takes a smaller step (POTIM).",
    FailureClass.CODE_ERROR: "The program named its own error: rerun it with other settings.",
    FailureClass.INPUT: "The input is at fault: correct it and submit again.",
    FailureClass.SETUP: "epilayer doctor names what is missing; then rerun it.",
    FailureClass.DISK_FULL: "Free space, then rerun it.",
    FailureClass.DATABASE: "Check that the database answers (epilayer doctor), then rerun it.",
    FailureClass.CRASH: "Rerun it once; if it crashes again, run fewer jobs at a time.",
    FailureClass.LOST: "Rerun it; if it is lost again, read the log of the workers.",
    FailureClass.OTHER: "Read the traceback at the end of stderr.log, then rerun it.",
}


class Failure(Frozen):
    """Why one attempt of a job failed.

    Attributes
    ----------
    kind
        The class, which decides what is done about it.
    cause
        Name of the error, signal, scheduler state or exception: ``zbrent``, ``SIGSEGV``, ``TIMEOUT``,
        ``MemoryError``.
    what
        One sentence for people.
    remedy
        What helps against this very cause; empty where only the advice of the class is known.
    telling
        Lines of its logs that show it, each with the name of the log.
    """

    kind: FailureClass
    cause: str
    what: str
    remedy: str = ""
    telling: tuple[tuple[str, str], ...] = ()

    @property
    def line(self) -> str:
        """What happened and what helps, in one line."""
        text = " ".join(f"{self.what} {self.remedy}".split())
        return text if len(text) <= _LINE_LENGTH else text[: _LINE_LENGTH - 3] + "..."

    @property
    def advice(self) -> str:
        """What a person can do about it."""
        return self.kind.advice


class FailedRunError(EngineError):
    """A calculation failed, for a reason that is known as a value.

    Parameters
    ----------
    failure
        The reason; it stays the same value when the error is pickled.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.what, failure.remedy)
        self.failure = failure

    def __reduce__(self) -> tuple[type[FailedRunError], tuple[Failure]]:
        """Keep the value on the way between processes."""
        return type(self), (self.failure,)
