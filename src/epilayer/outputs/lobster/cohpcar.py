"""COHPCAR (and COOPCAR, COBICAR): the curves of the wanted bonds out of a file of hundreds of megabytes.

LOBSTER prints every number in a field of its own fixed place, so the wanted columns are cut from each
line as it streams by; the others are never parsed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.errors import InputError, UnknownNameError
from epilayer.outputs.reading import ByteSource, FileState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_LABEL = re.compile(
    rb"No\.(?P<label>\d+):(?P<one>[^\[\s]+?)(?:\[(?P<o1>[^\]]+)\])?->(?P<two>[^\[\s(]+?)(?:\[(?P<o2>[^\]]+)\])?"
    rb"\((?P<length>\d+\.\d+)\)"
)
_PARAMETERS = 6
_SPINS = 2
# The Fermi level is at zero; its own line counts as below it.
_ZERO_EV = 1e-9
_REMEDY = "Run LOBSTER again, or copy the file again, and check that the disk is not full."


class SpinChannelMissingError(InputError):
    """A file holds one spin channel of a calculation with two."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"{found}: a spin channel is missing.", "Run LOBSTER on the spin-polarised calculation again."
        )


@dataclass(frozen=True)
class BondColumn:
    """One entry of the file's list of bonds."""

    column: int
    label: str
    atom_1: str
    atom_2: str
    length_ang: float
    orbitals: str = ""


@dataclass(frozen=True)
class BondCurve:
    """The curve of one bond.

    Attributes
    ----------
    per_spin
        COHP, shape (spins, energies), 1 (eV/eV).
    integrated_per_spin
        ICOHP, shape (spins, energies), eV.
    """

    bond: BondColumn
    per_spin: Array
    integrated_per_spin: Array

    @property
    def summed(self) -> Array:
        """COHP summed over the spins, shape (energies,)."""
        return np.asarray(self.per_spin.sum(axis=0))


@dataclass(frozen=True)
class CohpCurves:
    """The curves that were asked for.

    Attributes
    ----------
    energies_ev
        Relative to the Fermi level, shape (energies,).
    fermi_ev
        The Fermi level on the scale of the VASP run.
    curves
        By label, in the order asked for.
    """

    file: str
    spins: int
    fermi_ev: float
    energies_ev: Array
    curves: dict[str, BondCurve]

    @property
    def window_ev(self) -> tuple[float, float]:
        """First and last energy, relative to the Fermi level."""
        return float(self.energies_ev[0]), float(self.energies_ev[-1])


@dataclass(frozen=True)
class CohpHeader:
    """The head of the file: what is in it, and where."""

    entries: int
    spins: int
    energies: int
    window_ev: tuple[float, float]
    fermi_ev: float
    bonds: tuple[BondColumn, ...]

    @property
    def columns(self) -> int:
        """Numbers in a line: the energy, then curve and integral of each entry, spin after spin."""
        return 1 + 2 * self.entries * self.spins


def read_cohpcar(
    path: str | Path, bonds: Sequence[str] | None = None, *, spins: int | None = None
) -> CohpCurves:
    """Read the curves of the chosen bonds.

    Parameters
    ----------
    path
        COHPCAR.lobster, COOPCAR.lobster or COBICAR.lobster; ``.gz`` is read as it is.
    bonds
        Labels as in ICOHPLIST (``"12"``), or pairs of atoms (``"C3-O17"``, all such bonds); ``None``
        takes all bonds. Orbital-resolved entries are not read.
    spins
        The number of spin channels that the calculation has, to refuse a file that lacks one.

    Raises
    ------
    InputError
        When the file is half-written, damaged, lacks a spin channel, or does not hold a bond asked for.
    """
    source = ByteSource(Path(path))
    lines = source.lines()
    header = _header(source, lines)
    if spins is not None and header.spins < spins:
        raise SpinChannelMissingError(f"{path} has one spin channel, the calculation has {spins}")
    chosen = _choose(header, bonds)
    energies, values = _rows(source, lines, header, [bond.column for bond in chosen])
    curves = {}
    for number, bond in enumerate(chosen):
        block = values[:, number]
        curves[bond.label] = BondCurve(bond, block[:, :, 0].T.copy(), block[:, :, 1].T.copy())
    return CohpCurves(source.name, header.spins, header.fermi_ev, energies, curves)


def read_cohpcar_header(path: str | Path) -> CohpHeader:
    """Read the list of bonds and the energy window alone.

    Raises
    ------
    InputError
        When the head of the file is not whole.
    """
    source = ByteSource(Path(path))
    return _header(source, source.lines())


def integrals_at_fermi(path: str | Path) -> dict[str, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Read the ICOHP of every bond just below and just above the Fermi level, and the file to its end.

    Of all the lines only these two are parsed in full, so this is as fast as reading the file.

    Returns
    -------
    dict
        By label: per spin, the integral (eV) at the last energy that is not above the Fermi level, and at
        the next. Empty where the window does not hold the Fermi level.

    Raises
    ------
    InputError
        When the file is half-written or damaged.
    """
    source = ByteSource(Path(path))
    lines = source.lines()
    header = _header(source, lines)
    pair, last, count = _around_fermi(source, lines, header)
    if count < header.energies or source.state in (FileState.CORRUPT, FileState.UNREADABLE):
        raise _refuse(source, f"is half-written: it holds {count} of {header.energies} energies")
    rows = []
    for line in (last, *pair):
        words = line.split()
        if len(words) != header.columns:
            raise _wrong_width(source, header, len(words), count - 1)
        try:
            rows.append([float(word) for word in words])
        except ValueError:
            raise _refuse(
                source, "is damaged: a line at the Fermi level holds what is not a number"
            ) from None
    out = {}
    for bond in header.bonds if pair else ():
        places = [2 + 2 * (spin * header.entries + bond.column) for spin in range(header.spins)]
        low, high = (tuple(row[place] for place in places) for row in rows[1:])
        if not bond.orbitals:
            out[bond.label] = (low, high)
    return out


def _around_fermi(
    source: ByteSource, lines: Iterator[bytes], header: CohpHeader
) -> tuple[tuple[bytes, ...], bytes, int]:
    """Return the two lines around the Fermi level, the last line, and the number of lines."""
    before, energy_before, count = b"", -np.inf, 0
    pair: tuple[bytes, ...] = ()
    lengths: set[int] = set()
    for line in lines:
        if not line.strip():
            continue
        if count == header.energies:
            raise _refuse(source, f"holds more than the {header.energies} energies it announces")
        energy = _energy(line)
        if energy is None or energy <= energy_before:
            if source.state is not FileState.WHOLE:
                break
            raise _refuse(source, f"is damaged: line {count + 1} of its curves has no energy in order")
        if source.state is not FileState.WHOLE and len(line) not in lengths:
            break  # the very last line may lack its end as long as it has its full length
        if energy_before < _ZERO_EV <= energy and not pair:
            pair = (before or line, line)
        lengths.add(len(line))
        before, energy_before = line, energy
        count += 1
    return pair, before, count


def _energy(line: bytes) -> float | None:
    words = line.split(None, 1)
    try:
        value = float(words[0])
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _refuse(source: ByteSource, what: str) -> InputError:
    problem = f" ({source.problem})" if source.state is not FileState.WHOLE else ""
    return InputError(f"{source.path} {what}{problem}.", _REMEDY)


def _header(source: ByteSource, lines: Iterator[bytes]) -> CohpHeader:
    next(lines, b"")
    words = next(lines, b"").split()
    try:
        entries, spins, energies = (int(word) for word in words[:3])
        first, last, fermi = (float(word) for word in words[3:_PARAMETERS])
    except ValueError:
        raise _refuse(source, "is not a COHPCAR, or its second line is damaged") from None
    sane = 0 < entries < 10_000_000 and spins in (1, _SPINS) and 0 < energies < 10_000_000  # noqa: PLR2004
    if not sane or not np.isfinite([first, last, fermi]).all():
        raise _refuse(source, "is not a COHPCAR, or its second line is damaged")
    bonds = []
    for column in range(entries):
        line = next(lines, None)
        if line is None:
            raise _refuse(source, f"is half-written: it names {column} of {entries} bonds")
        if line.startswith(b"Average"):
            continue
        found = _LABEL.match(line.strip())
        if found is None:
            raise _refuse(source, f"is damaged: entry {column} of its list of bonds cannot be read")
        orbitals = (
            f"{found['o1'].decode('latin-1')}-{found['o2'].decode('latin-1')}"
            if found["o1"] and found["o2"]
            else ""
        )
        bonds.append(
            BondColumn(
                column=column,
                label=found["label"].decode(),
                atom_1=found["one"].decode("latin-1"),
                atom_2=found["two"].decode("latin-1"),
                length_ang=float(found["length"]),
                orbitals=orbitals,
            )
        )
    # The line gives the window on the scale of the VASP run, the curves are shifted to the Fermi level.
    return CohpHeader(entries, spins, energies, (first - fermi, last - fermi), fermi, tuple(bonds))


def _choose(header: CohpHeader, bonds: Sequence[str] | None) -> list[BondColumn]:
    whole = [bond for bond in header.bonds if not bond.orbitals]
    if bonds is None:
        return whole
    chosen: list[BondColumn] = []
    for name in bonds:
        hits = [bond for bond in whole if _matches(bond, name)]
        if not hits:
            known = [bond.label for bond in whole]
            shown = known if len(known) <= 12 else [*known[:11], f"... {known[-1]}"]  # noqa: PLR2004
            raise UnknownNameError("bond", name, shown)
        chosen += [bond for bond in hits if bond not in chosen]
    return chosen


def _matches(bond: BondColumn, name: str) -> bool:
    pair = re.fullmatch(r"([A-Z][a-z]?\d+)-([A-Z][a-z]?\d+)", name.strip())
    if pair:
        return {pair[1], pair[2]} == {bond.atom_1, bond.atom_2} and (pair[1] == pair[2]) == (
            bond.atom_1 == bond.atom_2
        )
    return bond.label == name.strip().removeprefix("No.")


def _rows(
    source: ByteSource, lines: Iterator[bytes], header: CohpHeader, columns: list[int]
) -> tuple[Array, Array]:
    """Return the energies, and the numbers of the chosen columns, shape (energies, bonds, spins, 2)."""
    wanted = [
        1 + 2 * (spin * header.entries + column) + part
        for column in columns
        for spin in range(header.spins)
        for part in (0, 1)
    ]
    energies = np.empty(header.energies)
    values = np.empty((header.energies, len(wanted)))
    count = 0
    # A number that outgrows its field shifts the rest of its line: one cutter for each length of line.
    cutters: dict[int, _Cutter] = {}
    for line in lines:
        if not line.strip():
            continue
        known = len(line) in cutters
        if count == header.energies or (source.state is not FileState.WHOLE and not known):
            break
        if not known:
            cutters[len(line)] = _Cutter(line, wanted, header.columns)
            if cutters[len(line)].found != header.columns:
                raise _wrong_width(source, header, cutters[len(line)].found, count)
        row = cutters[len(line)].cut(line)
        if row is None:
            found = len(line.split())
            if found != header.columns:
                raise _wrong_width(source, header, found, count)
            raise _refuse(source, f"is damaged: line {count + 1} of its curves holds what is not a number")
        energies[count], values[count] = row[0], row[1:]
        count += 1
    _check_end(source, lines, header, count)
    if not np.isfinite(values).all() or not (np.diff(energies) > 0).all():
        raise _refuse(source, "is damaged: it holds numbers that are not finite, or energies out of order")
    return energies, values.reshape(header.energies, len(columns), header.spins, 2)


def _check_end(source: ByteSource, lines: Iterator[bytes], header: CohpHeader, count: int) -> None:
    # Exhaust what is left, so that the state of a compressed file is known.
    rest = sum(1 for line in lines if line.strip())
    if source.state in (FileState.CORRUPT, FileState.UNREADABLE):
        raise _refuse(source, "is damaged")
    if count < header.energies:
        raise _refuse(source, f"is half-written: it holds {count} of {header.energies} energies")
    # The very last line may lack its end as long as it has its full length.
    if rest:
        raise _refuse(
            source, f"holds more than the {header.energies} energies it announces, or its end is damaged"
        )


def _wrong_width(source: ByteSource, header: CohpHeader, found: int, count: int) -> InputError:
    if header.spins == _SPINS and found == 1 + 2 * header.entries:
        return SpinChannelMissingError(f"{source.path} announces two spins and holds one")
    return _refuse(
        source, f"is damaged: line {count + 1} of its curves has {found} numbers, not {header.columns}"
    )


class _Cutter:
    """Cuts the wanted fields out of lines of one length by their place, or by counting words."""

    def __init__(self, line: bytes, wanted: list[int], columns: int) -> None:
        ends = [found.end() for found in re.finditer(rb"\S+", line)]
        self.found = len(ends)
        self.wanted = [0, *wanted]
        self.columns = columns
        # A field reaches from the end of the one before it: numbers grow to the left.
        self.cuts = [slice(ends[i - 1] if i else 0, ends[i]) for i in self.wanted if i < len(ends)]

    def cut(self, line: bytes) -> list[float] | None:
        """Return the numbers, or ``None`` where they cannot be read."""
        texts = [line[cut] for cut in self.cuts]
        # Where numbers are not right-aligned the pieces hold parts of two of them.
        if all(text[:1] == b" " for text in texts[1:]):
            try:
                return [float(text) for text in texts]
            except ValueError:
                pass
        words = line.split()
        if len(words) != self.columns:
            return None
        try:
            return [float(words[i]) for i in self.wanted]
        except ValueError:
            return None
