"""A running GPAW: geometries in, energies and forces out, every line kept in the run's directory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Final

from epilayer.engines.gpaw import setup
from epilayer.model.failure import FailedRunError, Failure, FailureClass
from epilayer.model.gpaw import IonicStep

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

JOURNAL: Final = "gpaw.jsonl"
CHECKPOINT: Final = "density.gpw"
LOG: Final = "gpaw.txt"
ERRORS: Final = "gpaw.err"
CHECKPOINT_EVERY_S: Final = 120.0
"""Within an electronic loop; the density is also kept at the end of each."""
_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Cores are given to ranks (``gpaw -P``): threads of the linear algebra beside them wait for one another."""
_SHOWN: Final = 200
_CAUSES: Final = {
    "electronic_not_converged": (
        FailureClass.SCF,
        "Look at the geometry for overlapping atoms; else raise gpaw.max_iterations.",
    ),
    "out_of_memory": (
        FailureClass.OUT_OF_MEMORY,
        "Give the job more memory, or more ranks: EPILAYER_GPAW='gpaw -P 4 python'.",
    ),
    "disk_full": (FailureClass.DISK_FULL, "Free space on the disk of the run's directory, then rerun it."),
    "dataset_missing": (
        FailureClass.SETUP,
        "Install the datasets into GPAW's environment: pip install gpaw-data.",
    ),
    "gpaw_missing": (FailureClass.SETUP, setup.INSTALL),
    "no_mpi": (
        FailureClass.SETUP,
        f"Build GPAW with MPI ({setup.PACKAGES}), or use one rank: EPILAYER_GPAW=.../python",
    ),
    "killed": (FailureClass.CRASH, "Rerun it: it goes on from its last ionic step."),
    "other": (FailureClass.CODE_ERROR, f"Look into {LOG} and {ERRORS} of its directory; then rerun it."),
}
"""Class and remedy of what GPAW, or its end, tells of a failure."""


class GpawProcess:
    """One GPAW for one set of atoms.

    Parameters
    ----------
    request
        Parameters of the calculator, atoms, cell and start moments (see the driver).
    directory
        Where its log, its journal and its density go.
    restart
        Density of an earlier attempt to begin with.

    Raises
    ------
    FailedRunError
        Where GPAW does not start, with the line that installs what is missing.
    """

    def __init__(self, request: dict[str, Any], directory: Path, restart: Path | None = None) -> None:
        self._directory = directory
        self._journal = (directory / JOURNAL).open("a", encoding="utf-8")
        environment = {**os.environ, **_ONE_THREAD}
        environment.pop("PYTHONPATH", None)  # ours must not shadow the packages of GPAW's environment
        with (directory / ERRORS).open("ab") as errors:
            self._process = subprocess.Popen(  # noqa: S603  (the command is the user's own)
                [*setup.command(), str(setup.DRIVER), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=directory,
                env=environment,
                text=True,
                start_new_session=True,
            )
        files = {"log": LOG, "checkpoint": CHECKPOINT, "restart": str(restart) if restart else None}
        self._ask({**request, **files, "checkpoint_every_s": CHECKPOINT_EVERY_S})
        self._answer("ready")

    def compute(self, positions_ang: NDArray[np.float64]) -> IonicStep:
        """Compute a geometry (positions in A, shape (atoms, 3)); its density is on disk when this returns."""
        try:
            self._ask({"positions_ang": positions_ang.tolist()})
            step = self._answer("step")
        except BaseException:  # also where the job is stopped: GPAW must not go on beside the next attempt
            self._kill()
            raise
        return IonicStep.model_validate({key: step[key] for key in IonicStep.model_fields})

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None  # noqa: S101  (opened as a pipe)
        with contextlib.suppress(OSError):  # it has ended already
            self._process.stdin.close()
        self._process.wait()
        self._journal.close()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _ask(self, content: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101  (opened as a pipe)
        try:
            self._process.stdin.write(json.dumps(content) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _answer(self, kind: str) -> dict[str, Any]:
        """Return the next answer of a kind; all answers go into the journal."""
        assert self._process.stdout is not None  # noqa: S101  (opened as a pipe)
        for line in self._process.stdout:
            if not line.startswith("{"):  # of a launcher
                continue
            answer: dict[str, Any] = json.loads(line)
            self._journal.write(line)
            self._journal.flush()
            if answer["kind"] == "step":
                os.fsync(self._journal.fileno())
            if answer["kind"] == "failed":
                raise failure(answer["cause"], answer["what"])
            if answer["kind"] == kind:
                return answer
        raise self._ended()

    def _ended(self) -> FailedRunError:
        """Return why the program ended without an answer."""
        code = self._process.wait()
        text = (self._directory / ERRORS).read_text(encoding="utf-8", errors="replace")
        return failure(cause_of_end(code, text), _last_line(text) or f"it ended with code {code}")


def failure(cause: str, what: str) -> FailedRunError:
    """Return the error of a GPAW that failed."""
    kind, remedy = _CAUSES[cause]
    said = f"GPAW: {cause}: {' '.join(what.split())[:_SHOWN]}."
    return FailedRunError(Failure(kind=kind, cause=cause, what=said, remedy=remedy))


def cause_of_end(code: int, errors: str) -> str:
    """Return the class of failure of a program that gave no reason itself.

    Parameters
    ----------
    code
        Exit status; negative: the signal that ended it.
    errors
        What it wrote to its error output.
    """
    if "No module named 'gpaw'" in errors:
        return "gpaw_missing"
    if "mpiexec" in errors and ("not found" in errors or "No such file" in errors):
        return "no_mpi"
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL) or "MemoryError" in errors:
        return "out_of_memory"
    if code in (-signal.SIGTERM, 128 + signal.SIGTERM):
        return "killed"
    return "other"


def keep(step: IonicStep, journal: Path) -> None:
    """Write a step of an earlier attempt into the journal of this one."""
    with journal.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"kind": "step", **step.model_dump()}) + "\n")


def steps_in(journal: Path) -> list[IonicStep]:
    """Return the whole ionic steps that an attempt recorded; a torn last line is left out."""
    steps = []
    for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            break
        if answer.get("kind") == "step":
            steps.append(IonicStep.model_validate({key: answer[key] for key in IonicStep.model_fields}))
    return steps


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
