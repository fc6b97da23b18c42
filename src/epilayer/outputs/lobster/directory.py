"""LOBSTER directories: how the run ended, spilling per spin, and the integrals of each bond."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from epilayer.model.errors import InputError, UnknownNameError
from epilayer.model.files import sha256_file
from epilayer.model.imported import (
    Agreement,
    BondingImport,
    BondIntegral,
    CalculationKind,
    Code,
    Finding,
    ImportedCalculation,
    ImportStatus,
    Reason,
    Severity,
    Spilling,
)
from epilayer.outputs.discover import FoundFiles, Role
from epilayer.outputs.lobster.cohpcar import (
    CohpHeader,
    SpinChannelMissingError,
    integrals_at_fermi,
    read_cohpcar_header,
)
from epilayer.outputs.reading import ByteSource, FileState, decimals
from epilayer.outputs.vasp.custodian_log import corrections

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Above this absolute charge spilling an ICOHP is not to be trusted: a convention, not a law.
SPILLING_LIMIT_PERCENT = 5.0

_SPILLING = re.compile(
    rb"spillings for spin channel\s+(\d+)\s*\n\s*abs\. total\s+spilling:\s*(\S+)\s*%\s*\n"
    rb"\s*abs\. charge\s+spilling:\s*(\S+)\s*%"
)
_CHANNEL = re.compile(rb"spillings for spin channel\s+\d+")
_ATOM = re.compile(r"[A-Z][a-z]?\d+")
_DEVIATION = re.compile(rb"maxDeviation(?: is:)?\s+(\S+)")
_OLD_COLUMNS, _COLUMNS, _TWO_SPIN_COLUMNS = 6, 8, 9
# ICOHPLIST and COHPCAR print five decimals; the latter's grid need not hold the Fermi level exactly.
_TABLE_TOLERANCE_EV = 1.5e-5
_REMEDY = "Run LOBSTER again, or copy the file again, and check that the disk is not full."


@dataclass
class LobsterOut:
    """What a lobsterout says."""

    version: str | None = None
    finished: bool = False
    spilling: tuple[Spilling, ...] = ()
    basis: dict[str, str] = field(default_factory=dict)
    bands_ignored_from: int | None = None
    bands_needed: int | None = None
    cohp_disabled: bool = False
    k_points_not_orthonormal: int | None = None
    errors: tuple[str, ...] = ()
    stand_in: bool = False


def read_lobsterout(path: str | Path, *, limit_percent: float = SPILLING_LIMIT_PERCENT) -> LobsterOut:
    """Read a lobsterout, whole or not.

    Raises
    ------
    InputError
        When the file is not a lobsterout.
    """
    source = ByteSource(Path(path))
    text = source.read(1 << 26)
    version = re.search(rb"LOBSTER v(\S+)", text[:4096])
    if version is None:
        raise InputError(f"{path} is not a lobsterout.", "Give the lobsterout that LOBSTER wrote.")
    prose = re.sub(rb"\s*\n(?:WARNING|INFO):\s*", b" ", text)
    ignored = re.search(rb"PAW bands from (\d+) and upwards will be ignored", prose)
    needed = re.search(rb"need to use at least\s+(\d+)\s+bands", prose)
    loose = re.search(rb"(\d+) of \d+ k-points could not be orthonormalized", prose)
    block = text[text.find(b"setting up local basis functions") :]
    basis = re.findall(
        rb"^\s*([A-Z][a-z]?) \(([^)]+)\) ([^\n]*)$", block[: block.find(b"INFO")], re.MULTILINE
    )
    errors = [
        line.strip().decode("latin-1") for line in re.findall(rb"^(?:ERROR|FATAL)[^\n]*", text, re.MULTILINE)
    ]
    return LobsterOut(
        version=version[1].decode("latin-1"),
        finished=re.search(rb"^finished in\s", text, re.MULTILINE) is not None
        and source.state is FileState.WHOLE,
        spilling=_spilling(text, limit_percent),
        basis={
            one.decode(): f"{two.decode('latin-1')}: {three.decode('latin-1').strip()}"
            for one, two, three in basis
        },
        bands_ignored_from=int(ignored[1]) if ignored else None,
        bands_needed=int(needed[1]) if needed else None,
        cohp_disabled=b"pCOHP analyses will be disabled" in prose,
        k_points_not_orthonormal=int(loose[1]) if loose else None,
        errors=tuple(errors),
        stand_in=b"stand-in" in text[:4096].lower(),
    )


def _spilling(text: bytes, limit_percent: float) -> tuple[Spilling, ...]:
    out = []
    seen = set()
    for channel, total, charge in _SPILLING.findall(text):
        value = _number(charge)
        seen.add(int(channel))
        out.append(
            Spilling(
                spin=int(channel),
                charge_percent=value,
                total_percent=_number(total),
                passes=value is not None and 0 <= value <= limit_percent,
            )
        )
    # A channel whose numbers cannot be read is a channel that does not pass.
    lost = len(_CHANNEL.findall(text)) - len(out)
    spare = (spin for spin in range(1, 1000) if spin not in seen)
    out += [
        Spilling(spin=next(spare), charge_percent=None, total_percent=None, passes=False)
        for _ in range(max(0, lost))
    ]
    return tuple(sorted(out, key=lambda one: one.spin))


def _number(text: bytes | str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def read_bond_list(path: str | Path, *, spins: int | None = None) -> tuple[BondIntegral, ...]:
    """Read ICOHPLIST, ICOOPLIST or ICOBILIST (LOBSTER 2 to 5); orbital-resolved lines are skipped.

    Parameters
    ----------
    spins
        The number of spin channels that the calculation has, to refuse a list that lacks one.

    Raises
    ------
    InputError
        When the list is half-written, damaged, or lacks a spin channel.
    """
    source = ByteSource(Path(path))
    blocks: list[dict[str, _Row]] = []
    lines = [line.decode("latin-1") for line in source.lines()]
    if lines and source.state is not FileState.WHOLE and not (source.lacks_newline and _ends_whole(lines)):
        raise InputError(f"{path} is half-written ({source.problem}).", _REMEDY)
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if "spin" in line or words[0].endswith("#"):
            if "spin" in line or not blocks:
                blocks.append({})
            continue
        if not blocks:
            blocks.append({})
        row = _row(words)
        if row is None:
            raise InputError(f"{path}: line {number} cannot be read: {line.strip()[:60]!r}.", _REMEDY)
        if "_" in row.atom_1 or "_" in row.atom_2:
            continue
        if row.label in blocks[-1]:
            raise InputError(f"{path}: bond {row.label} stands twice in one spin channel.", _REMEDY)
        blocks[-1][row.label] = row
    blocks = [block for block in blocks if block] or [{}]
    return _join(path, blocks, spins)


def _ends_whole(lines: Sequence[str]) -> bool:
    """Say whether a last line without a newline is as long, in words and decimals, as the row before it.

    LOBSTER 5.1 ends the list without a newline; every number of a column has the same number of decimals, so
    that a line cut inside its last number is seen.
    """
    *before, last = (line.split() for line in lines if line.strip())
    like = before[-1] if before and len(before[-1]) == len(last) else last[:4]
    same_width = not before or _row(before[-1]) is None or len(before[-1]) == len(last)
    return (
        same_width
        and _row(last) is not None
        and decimals(last[-1].encode("latin-1")) == decimals(like[-1].encode("latin-1"))
    )


class _Row(NamedTuple):
    label: str
    atom_1: str
    atom_2: str
    length_ang: float
    translation: tuple[int, int, int] | None
    values: tuple[float, ...]


def _row(words: list[str]) -> _Row | None:
    if len(words) not in (_OLD_COLUMNS, _COLUMNS, _TWO_SPIN_COLUMNS) or not words[0].isdigit():
        return None
    length = _number(words[3])
    translation = None
    if len(words) == _OLD_COLUMNS:
        texts = words[4:5]
    else:
        if not all(re.fullmatch(r"-?\d{1,3}", word) for word in words[4:7]):
            return None
        translation, texts = (int(words[4]), int(words[5]), int(words[6])), words[7:]
    values = [_number(text) for text in texts]
    whole = tuple(value for value in values if value is not None)
    if length is None or length <= 0 or len(whole) != len(values):
        return None
    return _Row(words[0], words[1], words[2], length, translation, whole)


def _join(path: str | Path, blocks: list[dict[str, _Row]], spins: int | None) -> tuple[BondIntegral, ...]:
    first = blocks[0]
    found = len(blocks) if len(blocks) > 1 else max((len(row.values) for row in first.values()), default=0)
    if spins is not None and first and found < spins:
        raise SpinChannelMissingError(f"{path} has one spin channel, the calculation has {spins}")
    for block in blocks[1:]:
        if set(block) != set(first):
            lost = min(set(first) ^ set(block), key=int)
            raise InputError(f"{path} is half-written: bond {lost} is not in every spin channel.", _REMEDY)
    out = []
    for label, row in first.items():
        others = [block[label] for block in blocks[1:]]
        if any(other[:3] != row[:3] or other.translation != row.translation for other in others):
            raise InputError(f"{path}: bond {label} is another one in the second spin channel.", _REMEDY)
        per_spin = (*row.values, *(value for other in others for value in other.values))
        out.append(
            BondIntegral(
                label=label,
                atom_1=row.atom_1,
                atom_2=row.atom_2,
                length_ang=row.length_ang,
                translation=row.translation,
                per_spin=per_spin,
                summed=round(sum(per_spin), 6),
            )
        )
    if [int(bond.label) for bond in out] != list(range(1, len(out) + 1)):
        raise InputError(f"{path} is damaged: its bonds are not numbered one after the other.", _REMEDY)
    return tuple(out)


def find_bonds(bonds: Iterable[BondIntegral], name: str) -> tuple[BondIntegral, ...]:
    """Return the bond of a label (``"12"``), or all between two atoms (``"C3-O17"``) or elements (``"C-O"``).

    Raises
    ------
    UnknownNameError
        When there is none.
    """
    listed = tuple(bonds)
    parts = name.strip().split("-")
    if len(parts) == 2:  # noqa: PLR2004

        def end(atom: str, part: str) -> bool:
            return atom == part if _ATOM.fullmatch(part) else atom.rstrip("0123456789") == part

        hits = tuple(
            bond
            for bond in listed
            if (end(bond.atom_1, parts[0]) and end(bond.atom_2, parts[1]))
            or (end(bond.atom_1, parts[1]) and end(bond.atom_2, parts[0]))
        )
    else:
        hits = tuple(bond for bond in listed if bond.label == name.strip())
    if not hits:
        pairs = dict.fromkeys(f"{bond.atom_1}-{bond.atom_2}" for bond in listed)
        raise UnknownNameError("bond", name, list(pairs)[:12])
    return hits


def import_lobster(
    files: FoundFiles, *, limit_percent: float = SPILLING_LIMIT_PERCENT
) -> ImportedCalculation:
    """Return the record of one LOBSTER run."""
    reasons: list[Reason] = []
    out = _lobsterout(files, reasons, limit_percent)
    header = _cohpcar_header(files, reasons)
    tables = {
        role: _table(files, role, reasons, _spins(out, header))
        for role in (Role.ICOHPLIST, Role.ICOOPLIST, Role.ICOBILIST)
    }
    bonds = tables[Role.ICOHPLIST]
    agreement = Agreement.SINGLE_WITNESS if bonds else Agreement.NO_WITNESS
    if header and bonds:
        agreement = _cross_check(files, header, bonds, reasons)
    if not any(tables.values()) and not (out and out.cohp_disabled):
        _report(
            reasons, Finding.NO_BONDS, Severity.NOTE, "there is no list of bond integrals (ICOHPLIST.lobster)"
        )
    deviation = _band_overlap(files)
    if deviation is not None:
        what = f"band overlap matrices deviate from unity by up to {deviation:.3g}"
        _report(reasons, Finding.BAND_OVERLAP, Severity.NOTE, what)
    fixes, problem = corrections(files.one(Role.CUSTODIAN))
    if problem:
        _report(reasons, Finding.FILE_DAMAGED, Severity.NOTE, problem)
    if out and out.stand_in:
        what = "a stand-in for LOBSTER wrote these files: no number here is an ICOHP"
        _report(reasons, Finding.STAND_IN, Severity.NOTE, what)
    per_bond = max((len(bond.per_spin) for bond in bonds), default=0)
    passes = all(one.passes for one in out.spilling) if out and out.spilling else None
    record = BondingImport(
        lobster_version=out.version if out else None,
        finished=out.finished if out else None,
        spin_channels=per_bond or (header.spins if header else None),
        spilling=out.spilling if out else (),
        spilling_limit_percent=limit_percent,
        spilling_passes=passes,
        basis=out.basis if out else {},
        bands_ignored_from=out.bands_ignored_from if out else None,
        bands_needed=out.bands_needed if out else None,
        k_points_not_orthonormal=out.k_points_not_orthonormal if out else None,
        max_band_overlap_deviation=deviation,
        energy_window_ev=header.window_ev if header else None,
        icohp_ev=bonds,
        icoop=tables[Role.ICOOPLIST],
        icobi=tables[Role.ICOBILIST],
    )
    return ImportedCalculation(
        path=str(files.folder),
        label=files.label,
        code=Code.LOBSTER,
        kind=CalculationKind.BONDING,
        status=_status(out, reasons),
        reasons=tuple(reasons),
        corrections=fixes,
        program=f"LOBSTER {out.version}" if out else None,
        bonding=record,
        stand_in=bool(out and out.stand_in),
        agreement=agreement,
        files=_hashes(files),
        signature=files.signature,
    )


def _report(
    reasons: list[Reason], code: Finding, severity: Severity, what: str, remedy: str = "", file: str = ""
) -> None:
    reasons.append(Reason(code=code, severity=severity, what=what, remedy=remedy, file=file))


def _report_unread(reasons: list[Reason], error: InputError, path: Path) -> None:
    missing = isinstance(error, SpinChannelMissingError)
    code = Finding.SPIN_CHANNEL_MISSING if missing else Finding.FILE_TRUNCATED
    _report(reasons, code, Severity.FATAL, error.what, error.remedy, path.name)


def _lobsterout(files: FoundFiles, reasons: list[Reason], limit_percent: float) -> LobsterOut | None:
    path = files.one(Role.LOBSTEROUT)
    if path is None:
        what = "there is no lobsterout: neither the end of the run nor the spilling is known"
        _report(
            reasons, Finding.SPILLING_UNKNOWN, Severity.NOTE, what, "Keep lobsterout beside the other files."
        )
        return None
    try:
        out = read_lobsterout(path, limit_percent=limit_percent)
    except InputError as error:
        _report(reasons, Finding.FILE_UNREADABLE, Severity.WITHHOLDS, error.what, error.remedy, path.name)
        return None
    if not out.finished:
        what = "lobsterout has no 'finished in' line: the run crashed or was killed"
        _report(reasons, Finding.NOT_FINISHED, Severity.WITHHOLDS, what, "Run LOBSTER again.", path.name)
    for line in out.errors:
        _report(reasons, Finding.NOT_FINISHED, Severity.FATAL, line, "Read the lines before it.", path.name)
    if out.cohp_disabled:
        what = (
            f"too few bands: LOBSTER needs {out.bands_needed or 'more'}, and switched the COHP analysis off"
        )
        remedy = f"Set NBANDS = {out.bands_needed or 'the number of basis functions'} in the static run."
        _report(reasons, Finding.COHP_DISABLED, Severity.FATAL, what, remedy, path.name)
    for one in out.spilling:
        if one.charge_percent is None:
            what = f"the charge spilling of spin {one.spin} is not a number"
            _report(
                reasons, Finding.SPILLING_UNKNOWN, Severity.WITHHOLDS, what, "Run LOBSTER again.", path.name
            )
        elif not one.passes:
            what = (
                f"charge spilling of spin {one.spin} is {one.charge_percent:.2f} %, above {limit_percent:g} %"
            )
            remedy = "Use a larger basis (basisFunctions) or another basisSet."
            _report(reasons, Finding.SPILLING_ABOVE_LIMIT, Severity.WITHHOLDS, what, remedy, path.name)
    if out.finished and not out.spilling:
        what = "lobsterout does not state the spilling"
        _report(reasons, Finding.SPILLING_UNKNOWN, Severity.WITHHOLDS, what, "Run LOBSTER again.", path.name)
    return out


def _cohpcar_header(files: FoundFiles, reasons: list[Reason]) -> CohpHeader | None:
    path = files.one(Role.COHPCAR)
    if path is None:
        return None
    try:
        return read_cohpcar_header(path)
    except InputError as error:
        _report(reasons, Finding.FILE_TRUNCATED, Severity.FATAL, error.what, error.remedy, path.name)
        return None


def _spins(out: LobsterOut | None, header: CohpHeader | None) -> int | None:
    """Return how many spin channels there must be.

    lobsterout lists two equal ones even for a run without spin, so only a difference proves spin.
    """
    if header is not None:
        return header.spins
    if out and len({one.charge_percent for one in out.spilling}) > 1:
        return len(out.spilling)
    return None


def _table(
    files: FoundFiles, role: Role, reasons: list[Reason], spins: int | None
) -> tuple[BondIntegral, ...]:
    path = files.one(role)
    if path is None:
        return ()
    try:
        return read_bond_list(path, spins=spins)
    except InputError as error:
        _report_unread(reasons, error, path)
        return ()


def _cross_check(
    files: FoundFiles, header: CohpHeader, bonds: Sequence[BondIntegral], reasons: list[Reason]
) -> Agreement:
    """Compare every integral of ICOHPLIST with the curves of COHPCAR at the Fermi level."""
    path = files.one(Role.COHPCAR)
    if path is None:
        return Agreement.SINGLE_WITNESS
    listed = {bond.label for bond in header.bonds if not bond.orbitals}
    if listed and {bond.label for bond in bonds} != listed:
        what = "COHPCAR and ICOHPLIST do not hold the same bonds"
        _report(reasons, Finding.FILES_DISAGREE, Severity.FATAL, what, _REMEDY, path.name)
        return Agreement.DISAGREE
    try:
        curves = integrals_at_fermi(path)
    except InputError as error:
        _report_unread(reasons, error, path)
        return Agreement.SINGLE_WITNESS
    if not curves:
        return Agreement.SINGLE_WITNESS
    exact = True
    for bond in bonds:
        for value, *ends in zip(bond.per_spin, *curves[bond.label], strict=False):
            if abs(value - ends[0]) <= _TABLE_TOLERANCE_EV:
                continue
            # The grid may skip the Fermi level; then the list can only be said to lie between two lines.
            exact = False
            if not min(ends) - _TABLE_TOLERANCE_EV <= value <= max(ends) + _TABLE_TOLERANCE_EV:
                what = f"bond {bond.label} up to E_F: ICOHPLIST {value:.5f}, COHPCAR {ends[0]:.5f} eV"
                _report(reasons, Finding.FILES_DISAGREE, Severity.FATAL, what, _REMEDY, path.name)
                return Agreement.DISAGREE
    return Agreement.AGREE if exact else Agreement.SINGLE_WITNESS


def _band_overlap(files: FoundFiles) -> float | None:
    path = files.one(Role.BAND_OVERLAPS)
    if path is None:
        return None
    values = [_number(text) for text in _DEVIATION.findall(ByteSource(path).read())]
    return max((value for value in values if value is not None), default=None)


def _status(out: LobsterOut | None, reasons: list[Reason]) -> ImportStatus:
    if any(reason.severity is Severity.FATAL for reason in reasons):
        return ImportStatus.FAILED
    if out is None or not out.finished:
        return ImportStatus.INCOMPLETE
    if any(reason.severity is Severity.WITHHOLDS for reason in reasons):
        return ImportStatus.UNCONVERGED
    return ImportStatus.CONVERGED


def _hashes(files: FoundFiles) -> dict[str, str]:
    out = {}
    for paths in files.by_role.values():
        for path in paths:
            try:
                out[path.name] = sha256_file(path)
            except InputError:
                continue
    return out
