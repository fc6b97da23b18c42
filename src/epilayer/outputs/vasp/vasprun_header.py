"""What a vasprun.xml says before its first ionic step: program, settings, k-points, atoms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.imported import Finding
from epilayer.outputs.reading import Flaw, element_of, is_element, real
from epilayer.outputs.vasp.varrays import vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from epilayer.model.imported import Setting

    Array = NDArray[np.float64]

_ENTRY = re.compile(rb"<([iv])\s([^<>]*)>([^<>]*)</([iv])>")
_ATTRIBUTE = re.compile(rb'(\w+)="([^"]*)"')
_AXES = 3


@dataclass
class VasprunHeader:
    """What a vasprun.xml says before its first ionic step.

    Attributes
    ----------
    potentials
        (element, TITEL, valence) of each atom type, in the order of the POSCAR.
    free
        Which coordinates may move, shape (atoms, 3); ``None`` where all may.
    """

    program: str = ""
    incar: dict[str, Setting] = field(default_factory=dict)
    parameters: dict[str, Setting] = field(default_factory=dict)
    species: tuple[str, ...] = ()
    potentials: list[tuple[str, str, float | None]] = field(default_factory=list)
    k_divisions: tuple[int, int, int] | None = None
    k_centring: str | None = None
    k_points: int | None = None
    lattice_ang: Array | None = None
    positions_frac: Array | None = None
    free: NDArray[np.bool_] | None = None
    flaws: list[Flaw] = field(default_factory=list)

    @property
    def atoms(self) -> int:
        """Number of atoms; 0 where the file does not come to say it."""
        return len(self.species)


def damaged(what: str) -> Flaw:
    """Return damage: bytes that cannot be what VASP wrote."""
    return Flaw(Finding.FILE_DAMAGED, what)


def _section(text: bytes, name: bytes) -> bytes:
    start = text.find(b"<" + name + b">")
    if start < 0:
        return b""
    end = text.find(b"</" + name + b">", start)
    return text[start:end] if end >= 0 else b""


def parse_header(head: bytes) -> VasprunHeader:
    """Return what the beginning of a vasprun.xml says."""
    header = VasprunHeader()
    generator = {
        k: v for k, v in _entries(_section(head, b"generator"), header).items() if isinstance(v, str)
    }
    words = (generator.get(k, "").strip() for k in ("program", "version", "subversion"))
    header.program = " ".join(word for word in words if word)
    header.incar = _entries(_section(head, b"incar"), header)
    header.parameters = _entries(_section(head, b"parameters"), header)
    for name in ("incar", "parameters", "atominfo"):
        if not _section(head, name.encode()):
            header.flaws.append(damaged(f"no whole <{name}> section"))
    _parse_kpoints(_section(head, b"kpoints"), header)
    _parse_atoms(_section(head, b"atominfo"), header)
    start = head.find(b'<structure name="initialpos"')
    if start >= 0 and header.atoms:
        block = head[start:]
        header.lattice_ang = vectors(block, b'<varray name="basis"', 3)
        header.positions_frac = vectors(block, b'<varray name="positions"', header.atoms)
        at = block.find(b'<varray name="selective"')
        if at >= 0:
            flags = re.findall(rb"\b([TF])\b", block[at : block.find(b"</varray>", at)])
            if len(flags) == _AXES * header.atoms:
                header.free = np.array([flag == b"T" for flag in flags]).reshape(-1, _AXES)
            else:
                header.flaws.append(damaged("the selective dynamics flags are damaged"))
    return header


def _entries(text: bytes, header: VasprunHeader) -> dict[str, Setting]:
    """Return the ``<i>`` and ``<v>`` entries of a section, typed; the first of a name counts."""
    out: dict[str, Setting] = {}
    for tag, attributes, value, end in _ENTRY.findall(text):
        given = dict(_ATTRIBUTE.findall(attributes))
        name = given.get(b"name", b"").decode("latin-1")
        if not name or tag != end:
            header.flaws.append(damaged("a setting of the header is damaged"))
            continue
        kind = given.get(b"type", b"float").decode("latin-1")
        words = [value] if kind == "string" or tag == b"i" else value.split()
        values = tuple(_scalar(word, kind) for word in words)
        out.setdefault(name, values if tag == b"v" else values[0])
    return out


def _scalar(word: bytes, kind: str) -> bool | int | float | str | None:
    text = word.strip()
    if kind == "string":
        return text.decode("latin-1")
    if kind == "logical":
        return {b"T": True, b"F": False}.get(text)
    if kind == "int":
        return int(text) if re.fullmatch(rb"[-+]?\d{1,18}", text) else None
    return real(text)


def _parse_kpoints(text: bytes, header: VasprunHeader) -> None:
    if not text:
        return
    found = re.search(rb'<generation param="([^"]+)"', text)
    header.k_centring = found[1].decode("latin-1") if found else "listed"
    divisions = re.search(rb'name="divisions"[^>]*>\s*(\d+)\s+(\d+)\s+(\d+)\s*<', text)
    if divisions:
        header.k_divisions = (int(divisions[1]), int(divisions[2]), int(divisions[3]))
    at = text.find(b'name="kpointlist"')
    if at >= 0:
        header.k_points = text.count(b"<v>", at, text.find(b"</varray>", at))


def _named(symbol: str, kind: int, names: list[str]) -> str:
    """Return an atom's element: its own symbol, else what the pseudopotential of its type names."""
    named = names[kind - 1] if 0 < kind <= len(names) else symbol
    return named if is_element(named) and not is_element(symbol) else symbol


def _parse_atoms(text: bytes, header: VasprunHeader) -> None:
    if not text:
        return
    at = text.find(b'name="atomtypes"')
    names = []
    for row in re.findall(rb"<rc>(.*?)</rc>", text[at:]) if at >= 0 else ():
        cells = [cell.strip().decode("latin-1") for cell in re.findall(rb"<c>([^<]*)</c>", row)]
        if len(cells) == 5:  # noqa: PLR2004  (count, element, mass, valence, name of the pseudopotential)
            titel = " ".join(cells[4].split())
            names.append(element_of(cells[1], titel))
            header.potentials.append((names[-1], titel, real(cells[3].encode())))
    rows = re.findall(rb"<rc><c>([^<]*)</c><c>\s*(\d+)\s*</c></rc>", text[: at if at >= 0 else len(text)])
    header.species = tuple(
        _named(symbol.strip().decode("latin-1"), int(kind), names) for symbol, kind in rows
    )
    said = re.search(rb"<atoms>\s*(\d+)\s*</atoms>", text)
    if said is None or int(said[1]) != len(rows):
        header.flaws.append(damaged("the list of atoms is damaged"))
        header.species = ()
