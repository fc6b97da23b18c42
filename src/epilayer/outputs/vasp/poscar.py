"""POSCAR, CONTCAR and the header of XDATCAR, VASP 4 to 6: cell, elements, counts and positions.

The elements are those that the file names. A file of VASP 4 names none (its POTCAR does): the caller
passes them, or the file is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from pymatgen.core.periodic_table import Element

from epilayer.model.errors import InputError, StructureError
from epilayer.outputs.reading import ByteSource

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    Floats = NDArray[np.float64]

_WORD: Final = re.compile(r"([A-Za-z]{1,2})[0-9.+-]*")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][+-]?\d+)?")
_AXES: Final = 3
_FLAGS: Final = {"T": True, "F": False}
_LEAST_VOLUME_ANG3: Final = 1e-3
_VIEWER: Final = "Compare the file with VASP's manual of POSCAR, or export it anew."


@dataclass(frozen=True)
class PoscarHeader:
    """The lines before the positions.

    Attributes
    ----------
    lattice_ang
        (3, 3) cell vectors as rows, scaled.
    scale
        (3,) factors by which x, y and z of Cartesian positions are multiplied.
    elements
        One an entry of ``counts``; empty where the file names none.
    counts
        Atoms of each species, in file order.
    lines
        How many lines the header has, that of the counts included.
    """

    lattice_ang: Floats
    scale: Floats
    elements: tuple[str, ...]
    counts: tuple[int, ...]
    lines: int

    @property
    def symbols(self) -> tuple[str, ...]:
        """One element an atom."""
        return tuple(e for e, n in zip(self.elements, self.counts, strict=True) for _ in range(n))


def element_of(word: str) -> str | None:
    """Return the element that a word of the species line or a POTCAR's name stands for.

    >>> element_of("Na_pv/b8c3b1a6"), element_of("CL"), element_of("Fe3+"), element_of("Z")
    ('Na', 'Cl', 'Fe', None)
    """
    match = _WORD.fullmatch(re.split(r"[/_]", word)[0])
    symbol = match[1].capitalize() if match else ""
    if symbol in {"D", "T"}:  # hydrogen by its isotopes' names
        return "H"
    return symbol if Element.is_valid_symbol(symbol) else None


def elements_of(words: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the elements of a species line; pieces of a hash that stand by themselves are no species.

    Raises
    ------
    InputError
        For a word that is no element.
    """
    species = [w for w in words if not w.startswith("/")]
    found = [element_of(word) for word in species]
    if None in found:
        raise InputError(
            f"{where}: {species[found.index(None)]!r} in the species line is no element.",
            "Write the chemical symbols there, in the order of the POTCAR.",
        )
    return tuple(e for e in found if e is not None)


def read_header(lines: Sequence[str], where: str) -> PoscarHeader:
    """Read comment, scale (one factor, three, or a volume), cell vectors, species and counts.

    Parameters
    ----------
    lines
        The file's first lines; more than the header is allowed.
    where
        What to call the file in errors.

    Raises
    ------
    InputError
        For lines that are none of these.
    """
    if len(lines) < 6:  # noqa: PLR2004  (up to the counts of VASP 4)
        raise _no_header(where, "it ends before the number of atoms")
    cell, factors = _cell(lines[1:5], where)
    words, at = _words(lines[5]), 5
    names: list[str] = []
    while words and not _is_count(words[0]):  # VASP writes twenty a line
        names += words
        at += 1
        words = _words(lines[at]) if at < len(lines) else []
    elements = elements_of(names, where)
    counts: list[int] = []
    while words and _is_count(words[0]) and (not elements or len(counts) < len(elements)):
        for word in words:
            if not _is_count(word):
                break
            counts.append(int(word))
        at += 1
        words = _words(lines[at]) if at < len(lines) else []
    if not counts or sum(counts) < 1:
        raise _no_header(where, "the number of atoms of each species is missing")
    if elements and len(elements) != len(counts):
        raise _no_header(where, f"{len(elements)} species, {len(counts)} counts")
    return PoscarHeader(cell * factors, factors, elements, tuple(counts), at)


def _cell(lines: Sequence[str], where: str) -> tuple[Floats, Floats]:
    """Return the lattice vectors as they stand in the file, and the factors of x, y and z."""
    scale, vectors = _leading_floats(lines[0]), [_leading_floats(line)[:_AXES] for line in lines[1:]]
    if len(scale) not in (1, _AXES) or any(len(v) != _AXES for v in vectors):
        raise _no_header(where, "lines 2 to 5 are not a scale and three lattice vectors")
    cell = np.array(vectors)
    volume = abs(float(np.linalg.det(cell)))
    if not np.isfinite(cell).all() or not np.isfinite(scale).all() or volume == 0 or 0 in scale:
        raise _no_header(where, "the lattice is not nine finite numbers that span a volume, and a scale")
    if len(scale) == 1 and scale[0] < 0:  # the volume of the cell
        scale = [float((-scale[0] / volume) ** (1 / 3))]
    if min(scale) < 0:
        raise _no_header(where, "one of three scale factors is negative")
    return cell, np.array(scale * (_AXES if len(scale) == 1 else 1))


def with_elements(header: PoscarHeader, elements: Sequence[str], where: str) -> PoscarHeader:
    """Return the header of a file that names no elements with those that its POTCAR or user states.

    Raises
    ------
    InputError
        Where they are not as many as the counts, or the file names others.
    """
    given = tuple(elements)
    if header.elements and given != header.elements:
        raise InputError(
            f"{where} names {', '.join(header.elements)}, and {', '.join(given)} are given for them.",
            "Leave --species out, or correct the species line of the file.",
        )
    if len(given) != len(header.counts):
        raise InputError(
            f"{where} counts {len(header.counts)} species ({', '.join(map(str, header.counts))} atoms), and "
            f"{len(given)} elements are given for them ({', '.join(given)}).",
            "Give one element a count, in the order of the file: --species Mg,O.",
        )
    return PoscarHeader(header.lattice_ang, header.scale, given, header.counts, header.lines)


def elements_beside(path: Path) -> tuple[str, ...]:
    """Return the elements that the POTCAR or POTCAR.spec beside a file names; none without one."""
    for name in ("POTCAR", "POTCAR.gz", "POTCAR.spec"):
        beside = path.with_name(name)
        if not beside.is_file():
            continue
        text = ByteSource(beside).read().decode("latin-1")
        if name == "POTCAR.spec":
            words = [line.split()[0] for line in text.splitlines() if line.strip()]
        else:
            words = re.findall(r"VRHFIN\s*=\s*([A-Za-z]+)", text)
        return elements_of(words, str(beside))
    return ()


def read_poscar(text: str, where: str, elements: Sequence[str] = ()) -> Structure:
    """Read the structure of a POSCAR or CONTCAR; velocities behind the positions are left out.

    Parameters
    ----------
    text
        The file.
    where
        What to call it in errors.
    elements
        One a count, for a file that names none.

    Returns
    -------
    Structure
        With the site property ``selective_dynamics`` where the file holds an atom.

    Raises
    ------
    InputError
        For text that is no POSCAR, or that names no elements and none are given.
    """
    from pymatgen.core.structure import Structure

    lines = text.splitlines()
    header = read_header(lines, where)
    if elements:
        header = with_elements(header, elements, where)
    at = header.lines
    mode = (lines[at : at + 1] or [""])[0].strip()
    selective = mode[:1] in ("S", "s")
    if selective:
        at += 1
        mode = (lines[at : at + 1] or [""])[0].strip()
    if not mode or _leading_floats(mode):
        raise _damaged(where, "the line Direct or Cartesian before the positions is missing")
    count = sum(header.counts)
    rows = [_position(line, selective=selective) for line in lines[at + 1 : at + 1 + count]]
    if len(rows) < count or None in rows:
        first = rows.index(None) if None in rows else len(rows)
        raise _damaged(where, f"position {first + 1} of {count} is not three numbers")
    if any(_position(line, selective=False) for line in lines[at + 1 + count : at + 2 + count]):
        raise _damaged(where, f"it counts {count} atoms, and more positions follow")
    found = [row for row in rows if row is not None]
    if not header.elements:
        header = with_elements(header, _labels(found, header.counts) or _unnamed(where, lines[0]), where)
    cartesian = mode[:1] in ("C", "c", "K", "k")
    coords = np.array([row[0] for row in found])
    if not np.isfinite(coords).all():
        raise _damaged(where, "a position is not finite")
    flags = [list(row[1]) for row in found] if selective else []
    structure = Structure(
        header.lattice_ang,
        header.symbols,
        coords * header.scale if cartesian else coords,
        coords_are_cartesian=cartesian,
        site_properties={"selective_dynamics": flags} if not all(map(all, flags)) else None,
    )
    if structure.volume < _LEAST_VOLUME_ANG3:
        raise _damaged(where, f"its cell has a volume of {structure.volume:g} A3")
    return structure


def _unnamed(where: str, comment: str) -> tuple[str, ...]:
    words = [element_of(word) for word in comment.split()]
    shown = ",".join(w for w in words if w) if words and None not in words else "Mg,O"
    raise StructureError(
        f"{where} names no elements (the format of VASP 4, whose POTCAR names them).",
        f"Put its POTCAR or POTCAR.spec beside it, or state them in the file's order: --species {shown}.",
    )


_Position = tuple[tuple[float, ...], tuple[bool, ...], str]


def _position(line: str, *, selective: bool) -> _Position | None:
    """Return coordinates, flags and the word behind them; None for a line that holds none."""
    words = line.split()
    numbers: list[str] = []
    while words and len(numbers) < _AXES:
        word = words.pop(0)
        pieces = _NUMBER.findall(word)
        if "".join(pieces) != word:
            return None
        numbers += pieces  # two numbers run together where the second is negative
    if len(numbers) != _AXES:
        return None
    flags: tuple[bool, ...] = ()
    if selective:
        letters = [w.strip(".").upper()[:1] for w in words[:_AXES]]
        if len(letters) != _AXES or not set(letters) <= set(_FLAGS):
            return None
        flags, words = tuple(_FLAGS[x] for x in letters), words[_AXES:]
    return tuple(map(_float, numbers)), flags, words[0] if words else ""


def _labels(rows: Sequence[_Position], counts: Sequence[int]) -> tuple[str, ...]:
    """Return the elements that stand behind the positions, where every row has one."""
    found: list[str] = []
    at = 0
    for count in counts:
        block = {element_of(row[2]) if row[2] else None for row in rows[at : at + count]}
        at += count
        if len(block) != 1 or None in block:
            return ()
        found += [e for e in block if e]
    return tuple(found)


def _words(line: str) -> list[str]:
    return re.split(r"[!#]", line, maxsplit=1)[0].split()


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit()


def _float(word: str) -> float:
    return float(re.sub("[Dd]", "e", word))


def _leading_floats(line: str) -> list[float]:
    found: list[float] = []
    for word in line.split():
        try:
            found.append(_float(word))
        except ValueError:
            break
    return found


def _no_header(where: str, why: str) -> InputError:
    return InputError(
        f"{where}: the header is not that of a POSCAR or XDATCAR ({why}).",
        "It begins with a comment, the scale, three lattice vectors, the species and their counts.",
    )


def _damaged(where: str, why: str) -> StructureError:
    return StructureError(f"{where}: {why}.", _VIEWER)


def file_order(structure: Structure) -> list[int]:
    """Return the order in which atoms are written: grouped by element, else as they stand.

    VASP needs one block an element; the flows need the slab's atoms first. The results go back to
    the order of the flow.
    """
    return sorted(range(len(structure)), key=lambda i: (structure[i].specie.X, structure[i].specie.symbol))
