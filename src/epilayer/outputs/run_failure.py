"""Why a run failed: from a judged record, or a line of a log, to the one value that everything reads."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, assert_never

from epilayer.model.failure import Failure, FailureClass
from epilayer.model.imported import Finding, Severity, VaspError
from epilayer.outputs.vasp.error_messages import errors_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from epilayer.model.imported import ImportedCalculation, Reason

E, F = VaspError, Finding
_SEVERITIES = (Severity.FATAL, Severity.WITHHOLDS, Severity.NOTE)
_LOGS = (
    "stderr.log",
    "std_err.txt",
    "vasp.out",
    "std_err_lobster.txt",
    "lobster.out",
    "lobsterout",
    "stdout.log",
)
_LINE_BYTES = 2 << 10
_MOST_LINES, _LINE_LENGTH = 6, 180
_SAID_OF_EVERY_RUN = frozenset(
    {
        Finding.STAND_IN,
        Finding.SINGLE_WITNESS,
        Finding.LEVEL_UNKNOWN,
        Finding.NOT_READ,
        Finding.SETTING_OVERRIDDEN,
    }
)


def failure_of(label: str, record: ImportedCalculation, telling: Iterable[tuple[str, str]] = ()) -> Failure:
    """Return why a run did not come to a sound end.

    Parameters
    ----------
    label
        Name of the calculation, for the sentence.
    record
        What its files say.
    telling
        Lines of its logs, each with the name of the log.
    """
    reasons = sorted((r for r in record.reasons if r.code not in _SAID_OF_EVERY_RUN), key=_rank)
    if not reasons:
        kind, cause, what, remedy = FailureClass.OTHER, "no_energy", "the run gave no usable energy", ""
    else:
        first = reasons[0]
        kind, cause, remedy = class_of(first.code), first.code.value, first.remedy
        fixes = f" after {len(record.corrections)} corrections by custodian" if record.corrections else ""
        what = f"{cause}: {first.what}{fixes}"
    return Failure(
        kind=kind,
        cause=cause,
        what=f"{label}: {what}.",
        remedy=remedy or "Look into the run's directory; then rerun the job.",
        telling=tuple(telling),
    )


def telling_lines(directory: Path) -> tuple[tuple[str, str], ...]:
    """Return the last lines of a run's logs that name an error, and the last one of standard error.

    Where none names an error, the last line that the program printed.

    Returns
    -------
    tuple
        Name of the log and line, each line once.
    """
    found: dict[str, str] = {}
    for name in _LOGS:
        lines = [line.strip() for line in tail(directory / name).splitlines() if line.strip()]
        # A traceback repeats the source; what was raised stands at its end.
        named = [line for line in lines if not line.startswith(("raise ", "File ")) and in_text(line)]
        if name == _LOGS[0] and lines:
            named = [*named[-_MOST_LINES:], lines[-1]]
        for line in named[-_MOST_LINES:]:
            found.setdefault(shortened(line), name)
        if not found and lines:  # an error without a name: the last that the program printed
            found[shortened(lines[-1])] = name
    return tuple((name, line) for line, name in list(found.items())[:_MOST_LINES])


def shortened(line: str) -> str:
    """Return a line of a log, cut where it is too long to show."""
    return line if len(line) <= _LINE_LENGTH else line[: _LINE_LENGTH - 1] + "…"


def tail(path: Path, lines: int = 40) -> str:
    """Return the last lines of a log, without reading all of a long one; nothing where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - lines * _LINE_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(deque(text.splitlines(), maxlen=lines))


def in_text(text: str) -> tuple[VaspError, FailureClass] | None:
    """Return the error that a program, MPI or the scheduler names in a text, and its class.

    >>> in_text("slurmstepd: error: Detected 1 oom_kill event in StepId=1.batch.")[1].value
    'out_of_memory'
    """
    found = sorted(errors_in(text.encode(), "", finished=False), key=_rank)
    if not found or not isinstance(found[0].code, VaspError):
        return None
    return found[0].code, class_of(found[0].code)


def _rank(reason: Reason) -> tuple[int, int]:
    """Order reasons: severe ones first, then what ends a run from outside; what merely follows last."""
    kind = class_of(reason.code)
    if kind.outside:
        place = 0
    elif kind is FailureClass.OTHER or (
        isinstance(reason.code, VaspError) and reason.severity is Severity.NOTE
    ):
        place = 3
    else:  # a crash follows from what was named before it, and a run that ended early says little
        follows = {FailureClass.CRASH, FailureClass.LOST}
        place = 2 if kind in follows or reason.code is Finding.ELECTRONS_NOT_CONVERGED else 1
    return _SEVERITIES.index(reason.severity), place


def class_of(code: VaspError | Finding) -> FailureClass:  # noqa: C901, PLR0911, PLR0912  (a total map)
    """Return the class of failure that an error of a program, or a finding in its files, stands for."""
    match code:
        case E.TIME_LIMIT | F.STOPPED_ON_REQUEST:
            return FailureClass.WALLTIME
        case E.OUT_OF_MEMORY:
            return FailureClass.OUT_OF_MEMORY
        case E.DISK_FULL:
            return FailureClass.DISK_FULL
        case E.NODE_FAILURE:
            return FailureClass.NODE_FAILURE
        case E.PREEMPTED:
            return FailureClass.PREEMPTED
        case E.SEGFAULT | E.MPI_ABORT:
            return FailureClass.CRASH
        case E.POTCAR_MISSING | E.GAMMA_BINARY | E.LICENCE_OR_BINARY:
            return FailureClass.SETUP
        case (
            E.LONG_CELL_AMIN | F.ELECTRONS_NOT_CONVERGED | F.SCF_NEVER_CONVERGES | F.ENERGY_NOT_READABLE
            | F.NUMBER_OVERFLOWS
        ):  # fmt: skip
            return FailureClass.SCF
        case F.IONS_NOT_CONVERGED:
            return FailureClass.IONIC
        case E.ZBRENT | E.BRIONS:
            return FailureClass.LINE_SEARCH
        case (
            E.BRMIX | E.SUBSPACE_MATRIX | E.SUBSPACE_ROTATION | E.EDDRMM | E.EDDDAV | E.EDDIAG | E.EDWAV
        ):  # fmt: skip
            return FailureClass.ELECTRONIC_ALGORITHM
        case E.ZPOTRF | E.XC_TABLE | F.IONIC_STEP_TOO_LARGE | F.ENERGY_POSITIVE:
            return FailureClass.LARGE_STEP
        case (
            E.TRIPLE_PRODUCT | E.TOO_FEW_BANDS | E.BANDS_NOT_SUFFICIENT | E.ALGO_TETRAHEDRON | E.ELF_KPAR
            | E.ELF_NONCOLLINEAR | E.DFPT_NCORE | E.HARRIS_SPIN | E.INPUT_NOT_READ
            | F.NOT_SELF_CONSISTENT | F.COHP_DISABLED | F.NO_BONDS | F.INPUT_INCONSISTENT | F.UNKNOWN_ELEMENT
        ):  # fmt: skip
            return FailureClass.INPUT
        case (
            E.TETRAHEDRON | E.K_MESH_SYMMETRY | E.K_POINT_SHIFT | E.K_POINTS_TRANSFORM | E.IBZKPT | E.HNFORM
            | E.ROTATION_MATRIX | E.POSMAP | E.POINT_GROUP | E.SYMMETRY_NOISE | E.BRAVAIS | E.PRICEL
            | E.PRICELV | E.RHOSYG | E.DENTET | E.REAL_OPTLAY | E.RSPHER | E.NICHT_KONVERGENT
            | E.SET_CORE_WF | E.RESTART_FILE | E.OTHER_FATAL
            | F.SPILLING_ABOVE_LIMIT | F.SPILLING_UNKNOWN | F.BAND_OVERLAP
        ):  # fmt: skip
            return FailureClass.CODE_ERROR
        case (
            F.NOT_STARTED | F.NOT_FINISHED | F.NO_IONIC_STEP | F.FILE_TRUNCATED | F.MD_SHORT
            | F.SPIN_CHANNEL_MISSING
        ):  # fmt: skip
            return FailureClass.LOST
        case (
            F.ENERGY_INCONSISTENT | F.CONVERGENCE_NOT_STATED | F.FILES_DISAGREE
            | F.SINGLE_WITNESS | F.FILE_DAMAGED | F.FILE_UNREADABLE | F.NOT_RECOGNISED | F.NOT_READ
            | F.INPUT_EDITED | F.LEVEL_UNKNOWN | F.MACHINE_LEARNED | F.MOMENTS_NOT_READABLE | F.STAND_IN
            | F.IMPORT_CRASHED | F.NOT_SHOWN | F.SETTING_OVERRIDDEN
        ):  # fmt: skip
            return FailureClass.OTHER
        case _:
            assert_never(code)
