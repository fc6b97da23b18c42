"""vasprun.xml as a stream: 13,000 steps in the memory of one, and salvage up to the last whole step.

The file is scanned for its few tags rather than parsed as XML: VASP writes one fixed layout, a killed
run leaves XML that no parser accepts, and an AIMD run leaves a gigabyte of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.errors import InputError
from epilayer.outputs.reading import ByteSource, FileState, decimals, real

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from epilayer.model.imported import Setting

    Array = NDArray[np.float64]

_OPEN, _CLOSE, _END = b"<calculation>", b"</calculation>", b"</modeling>"
# What follows the energies of a step: large, and of no use here.
_TAIL = re.compile(rb"</calculation>|<eigenvalues|<projected|<dos[> ]|<separator|<dielectricfunction|<dynmat")
_ENTRY = re.compile(rb"<([iv])\s([^<>]*)>([^<>]*)</([iv])>")
_ATTRIBUTE = re.compile(rb'(\w+)="([^"]*)"')
_HEADER_LIMIT_BYTES = 1 << 28
_STEP_LIMIT_BYTES = 1 << 28
_DELETE = b"<v/>"
_VECTOR = 3
_FIELDS = 3 + 3 * 17
_SPACE, _MINUS, _POINT, _DIGIT_ZERO = np.frombuffer(b" -.0", dtype=np.uint8)
_OPEN_ROW = np.frombuffer(b"<v>", dtype=np.uint8)
_CLOSE_ROW = np.frombuffer(b" </v>", dtype=np.uint8)
_WHOLE_WEIGHTS = 10.0 ** np.arange(15, 7, -1)
_FRACTION_WEIGHTS = 10.0 ** np.arange(7, -1, -1)


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
    damage: list[str] = field(default_factory=list)

    @property
    def atoms(self) -> int:
        """Number of atoms; 0 where the file does not come to say it."""
        return len(self.species)


@dataclass
class VasprunStep:
    """One ionic step.

    Attributes
    ----------
    whole
        The step is closed, and every number in it that is needed could be read.
    energy_ev
        energy(sigma->0) by the right convention: see :func:`_energies`.
    kinetic_ev
        Of the nuclei; ``None`` outside dynamics.
    scf_energies_ev
        Free energy after each electronic step.
    forces_ev_per_ang
        Shape (atoms, 3), or ``None`` where VASP wrote none.
    """

    index: int
    whole: bool = False
    problem: str = ""
    free_energy_ev: float | None = None
    energy_ev: float | None = None
    kinetic_ev: float | None = None
    resolution_ev: float = 1e-8
    scf_steps: int = 0
    scf_energies_ev: tuple[float, ...] = ()
    entropy_fraction: float | None = None
    lattice_ang: Array | None = None
    positions_frac: Array | None = None
    forces_ev_per_ang: Array | None = None


@dataclass
class Vasprun:
    """A vasprun.xml: header, per-step energies, and the frames that were asked for.

    Attributes
    ----------
    energies_ev
        energy(sigma->0) of each whole ionic step, shape (steps,), eV.
    scf_steps
        Electronic steps of each whole ionic step, shape (steps,).
    last
        The last whole step with its arrays.
    lattices_ang, positions_frac, forces_ev_per_ang
        Per step, shapes (steps, 3, 3), (steps, atoms, 3), (steps, atoms, 3), with ``frames=True`` only.
    closed
        Whether the file runs to ``</modeling>``.
    broken_step
        Index, from 1, of the first step that could not be read whole; what follows it is not used.
    """

    name: str
    header: VasprunHeader
    energies_ev: Array
    scf_steps: NDArray[np.int64]
    scf_last_changes_ev: Array
    resolution_ev: float
    last: VasprunStep | None
    closed: bool
    broken_step: int | None
    damage: tuple[str, ...]
    state: FileState
    lattices_ang: Array | None = None
    positions_frac: Array | None = None
    forces_ev_per_ang: Array | None = None


class VasprunStream:
    """A vasprun.xml that is read step by step.

    ``header`` is there at once; iterate for the steps; ``closed`` and ``damage`` are final at the end.

    Raises
    ------
    InputError
        When the file is not a vasprun.xml.
    """

    def __init__(self, path: str | Path) -> None:
        self.source = ByteSource(Path(path))
        self._chunks = self.source.chunks()
        self._buffer = b""
        self.closed = False
        self.damage: list[str] = []
        head = self._head()
        if b"<modeling" not in head[:4096] and b"<generator>" not in head:
            problem = f" ({self.source.problem})" if self.source.problem else ""
            raise InputError(
                f"{path} is not a vasprun.xml{problem}.",
                "Give the vasprun.xml that VASP wrote, whole or cut short.",
            )
        self.header = _parse_header(head)
        self.damage.extend(self.header.damage)

    def _head(self) -> bytes:
        while (cut := self._buffer.find(_OPEN)) < 0:
            if len(self._buffer) > _HEADER_LIMIT_BYTES:
                self.damage.append("no ionic step within the first 256 MB")
                break
            if not self._more():
                break
        if cut < 0:
            head, self._buffer = self._buffer, b""
            self.closed = head.rstrip().endswith(_END)
            return head
        head, self._buffer = self._buffer[:cut], self._buffer[cut:]
        return head

    def _more(self) -> bool:
        piece = next(self._chunks, b"")
        self._buffer += piece
        return bool(piece)

    def __iter__(self) -> Iterator[VasprunStep]:
        """Yield every ionic step that the file opens, the last one possibly not whole."""
        index = 0
        atoms = self.header.atoms
        position = 0
        while True:
            while (start := self._buffer.find(_OPEN, position)) < 0:
                # Keep what may be the beginning of a tag, drop the rest.
                keep = max(position, len(self._buffer) - 4096)
                rest, position = self._buffer[keep:], 0
                self._buffer = rest
                if not self._more():
                    self._finish()
                    return
            index += 1
            body, position, closed = self._body(start)
            yield _parse_step(index, body, atoms, closed=closed)

    def _body(self, start: int) -> tuple[bytes, int, bool]:
        """Return the interesting part of a step, where the next search starts, and whether it is closed."""
        search = start + len(_OPEN)
        while (tail := _TAIL.search(self._buffer, search)) is None:
            if start:
                self._buffer = self._buffer[start:]
                start = 0
            search = max(len(_OPEN), len(self._buffer) - 32)
            if len(self._buffer) > _STEP_LIMIT_BYTES or not self._more():
                return self._buffer, len(self._buffer), False
        body = self._buffer[start : tail.start()]
        position = tail.start()
        # A step that is cut inside its eigenvalues is not closed: the next one must not be taken for its end.
        while True:
            end = self._buffer.find(_CLOSE, position)
            reopened = self._buffer.find(_OPEN, position, end if end >= 0 else len(self._buffer))
            if reopened >= 0:
                return body, reopened, False
            if end >= 0:
                return body, end + len(_CLOSE), True
            self._buffer = self._buffer[max(position, len(self._buffer) - len(_CLOSE)) :]
            position = 0
            if not self._more():
                return body, len(self._buffer), False

    def _finish(self) -> None:
        self.closed = self._buffer.rstrip().endswith(_END)
        if self.source.problem:
            self.damage.append(self.source.problem)


def read_vasprun(path: str | Path, *, frames: bool = False) -> Vasprun:
    """Read a vasprun.xml, whole or not.

    Parameters
    ----------
    path
        The file; ``.gz``, ``.bz2`` and ``.xz`` are read as they are.
    frames
        Keep lattice, positions and forces of every step (AIMD), not of the last alone.

    Raises
    ------
    InputError
        When the file is not a vasprun.xml.
    """
    stream = VasprunStream(path)
    store = _Frames(stream.header) if frames else None
    energies: list[float] = []
    scf: list[int] = []
    changes: list[float] = []
    resolution = 1e-8
    last: VasprunStep | None = None
    broken: int | None = None
    for step in stream:
        if broken is not None:
            continue
        if not step.whole or step.energy_ev is None or step.free_energy_ev is None:
            broken = step.index
            stream.damage.append(f"ionic step {step.index}: {step.problem or 'not whole'}")
            continue
        energies.append(step.energy_ev)
        scf.append(step.scf_steps)
        two = step.scf_energies_ev[-2:]
        changes.append(abs(two[1] - two[0]) if len(two) > 1 else np.nan)
        resolution = max(resolution, step.resolution_ev)
        if store is not None:
            store.add(step)
        last = step
    return Vasprun(
        name=stream.source.name,
        header=stream.header,
        energies_ev=np.array(energies, dtype=float),
        scf_steps=np.array(scf, dtype=np.int64),
        scf_last_changes_ev=np.array(changes, dtype=float),
        resolution_ev=resolution,
        last=last,
        closed=stream.closed,
        broken_step=broken,
        damage=tuple(stream.damage),
        state=stream.source.state,
        lattices_ang=store.cut(store.lattices) if store else None,
        positions_frac=store.cut(store.positions) if store else None,
        forces_ev_per_ang=store.cut(store.forces) if store else None,
    )


class _Frames:
    """Arrays that grow by doubling; the memory is only touched as it is filled."""

    def __init__(self, header: VasprunHeader) -> None:
        allowed = header.parameters.get("NSW")
        room = allowed if isinstance(allowed, int) and 0 < allowed < 1_000_000 else 16  # noqa: PLR2004
        self.count = 0
        self.lattices = np.empty((room, 3, 3))
        self.positions = np.empty((room, header.atoms, 3))
        self.forces = np.empty((room, header.atoms, 3))

    def add(self, step: VasprunStep) -> None:
        if self.count == len(self.lattices):
            room = 2 * self.count
            self.lattices, self.positions, self.forces = (
                np.concatenate([a, np.empty((room - len(a), *a.shape[1:]))])
                for a in (self.lattices, self.positions, self.forces)
            )
        self.lattices[self.count] = step.lattice_ang
        self.positions[self.count] = step.positions_frac
        self.forces[self.count] = np.nan if step.forces_ev_per_ang is None else step.forces_ev_per_ang
        self.count += 1

    def cut(self, array: Array) -> Array:
        return array[: self.count]


def _section(text: bytes, name: bytes) -> bytes:
    start = text.find(b"<" + name + b">")
    if start < 0:
        return b""
    end = text.find(b"</" + name + b">", start)
    return text[start:end] if end >= 0 else b""


def _parse_header(head: bytes) -> VasprunHeader:
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
            header.damage.append(f"no whole <{name}> section")
    _parse_kpoints(_section(head, b"kpoints"), header)
    _parse_atoms(_section(head, b"atominfo"), header)
    start = head.find(b'<structure name="initialpos"')
    if start >= 0 and header.atoms:
        block = head[start:]
        header.lattice_ang = _vectors(block, b'<varray name="basis"', 3)
        header.positions_frac = _vectors(block, b'<varray name="positions"', header.atoms)
        at = block.find(b'<varray name="selective"')
        if at >= 0:
            flags = re.findall(rb"\b([TF])\b", block[at : block.find(b"</varray>", at)])
            if len(flags) == _VECTOR * header.atoms:
                header.free = np.array([flag == b"T" for flag in flags]).reshape(-1, _VECTOR)
            else:
                header.damage.append("the selective dynamics flags are damaged")
    return header


def _entries(text: bytes, header: VasprunHeader) -> dict[str, Setting]:
    """Return the ``<i>`` and ``<v>`` entries of a section, typed; the first of a name counts."""
    out: dict[str, Setting] = {}
    for tag, attributes, value, end in _ENTRY.findall(text):
        given = dict(_ATTRIBUTE.findall(attributes))
        name = given.get(b"name", b"").decode("latin-1")
        if not name or tag != end:
            header.damage.append("a setting of the header is damaged")
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


def _parse_atoms(text: bytes, header: VasprunHeader) -> None:
    if not text:
        return
    at = text.find(b'name="atomtypes"')
    rows = re.findall(rb"<rc><c>([^<]*)</c><c>\s*\d+\s*</c></rc>", text[: at if at >= 0 else len(text)])
    header.species = tuple(row.strip().decode("latin-1") for row in rows)
    said = re.search(rb"<atoms>\s*(\d+)\s*</atoms>", text)
    if said is None or int(said[1]) != len(rows):
        header.damage.append("the list of atoms is damaged")
        header.species = ()
    for row in re.findall(rb"<rc>(.*?)</rc>", text[at:]) if at >= 0 else ():
        cells = [cell.strip() for cell in re.findall(rb"<c>([^<]*)</c>", row)]
        if len(cells) == 5:  # noqa: PLR2004  (count, element, mass, valence, name of the pseudopotential)
            titel = " ".join(cells[4].decode("latin-1").split())
            header.potentials.append((cells[1].decode("latin-1"), titel, real(cells[3])))


def _vectors(text: bytes, tag: bytes, count: int) -> Array | None:
    """Return the ``count`` rows of the first varray that ``tag`` opens, or ``None`` if some are missing."""
    at = text.find(tag)
    if at < 0:
        return None
    start = text.find(b">", at) + 1
    end = text.find(b"</varray>", start)
    if start <= 0 or end < 0:
        return None
    fixed = _fixed_width(text, start, end, count)
    if fixed is not None:
        return fixed
    try:
        values = np.fromstring(text[start:end].translate(None, _DELETE), sep=" ")
    except (ValueError, DeprecationWarning):  # stars, or a letter where a digit was
        return None
    if values.size != _VECTOR * count or not np.isfinite(values).all():
        return None
    return values.reshape(count, _VECTOR)


def _fixed_width(text: bytes, start: int, end: int, count: int) -> Array | None:
    """Return the rows if all are in the layout of VASP (three times F16.8), else ``None``.

    Reading digits by their place is faster than reading numbers, and the result is the same to the last
    bit: a number below 9e7 with eight decimals is a whole number below 2^53 over 1e8.
    """
    first = text.find(b"<v>", start, end)
    width = text.find(b"<v>", first + 3, end) - first if count > 1 else end - first
    if first < 0 or width <= _FIELDS or first + (count - 1) * width + _FIELDS > end:
        return None
    usable = min(end, first + count * width)
    raw = np.frombuffer(text, dtype=np.uint8, count=usable - first, offset=first)
    if raw.size < count * width:
        raw = np.concatenate([raw, np.full(count * width - raw.size, _SPACE, dtype=np.uint8)])
    lines = raw.reshape(count, width)
    # "<v>", then three fields of a blank and sixteen characters, then " </v>" and the next line's margin.
    tail = _FIELDS + len(_CLOSE_ROW)
    framed = (lines[:, :3] == _OPEN_ROW).all() and (lines[:, _FIELDS:tail] == _CLOSE_ROW).all()
    if not framed or (lines[:, tail:] > _SPACE).any():
        return None
    # One row for each place of the field: operations then run along thousands of numbers, not along eight.
    cells = np.ascontiguousarray(lines[:, 3:_FIELDS].reshape(count * _VECTOR, 17).T)
    whole, fraction = cells[:8], cells[9:] - _DIGIT_ZERO
    if (cells[8] != _POINT).any() or (fraction > 9).any():  # noqa: PLR2004
        return None
    number = _FRACTION_WEIGHTS @ fraction.astype(float)
    digits = whole - _DIGIT_ZERO
    is_digit = digits <= 9  # noqa: PLR2004  (what lies below "0" wraps around to large numbers)
    is_minus = whole == _MINUS
    begun = is_digit | is_minus
    # Blanks, then perhaps a minus, then digits: after a digit or a minus comes a digit.
    if not (is_digit[-1].all() and (begun | (whole == _SPACE)).all() and (is_digit[1:] >= begun[:-1]).all()):
        return None
    number += _WHOLE_WEIGHTS @ (digits * is_digit).astype(float)
    number /= 1e8
    number[is_minus.any(axis=0)] *= -1
    rows: Array = number.reshape(count, _VECTOR)
    return rows


NO_NUMBER = "its energy is no number (NaN)"
_FREE = re.compile(rb'name="e_fr_energy">([^<]*)</i>')
_ZERO = re.compile(rb'name="e_0_energy">([^<]*)</i>')
_KINETIC = re.compile(rb'name="kinetic">([^<]*)</i>')
_NOENTROPY = re.compile(rb'name="e_wo_entrp">([^<]*)</i>')


def _parse_step(index: int, body: bytes, atoms: int, *, closed: bool) -> VasprunStep:
    step = VasprunStep(index)
    if not closed:
        step.problem = "the step is not closed"
        return step
    # The electronic steps come before the structure, the bulk of a step: they need not be sought there.
    bulk = body.find(b"<structure")
    bulk = bulk if bulk >= 0 else len(body)
    scf_end = body.rfind(b"</scstep>", 0, bulk)
    step.scf_steps = body.count(b"</scstep>", 0, bulk)
    if step.scf_steps != body.count(b"<scstep>", 0, bulk):
        step.problem = "its electronic steps are damaged"
        return step
    block = body[max(scf_end, 0) :]
    step.problem = _energies(step, body[: scf_end + 1], block)
    if step.problem:
        return step
    step.lattice_ang = _vectors(block, b'<varray name="basis"', 3)
    step.positions_frac = _vectors(block, b'<varray name="positions"', atoms)
    if step.lattice_ang is None or step.positions_frac is None:
        step.problem = "its structure cannot be read"
        return step
    if b'<varray name="forces"' in block:
        step.forces_ev_per_ang = _vectors(block, b'<varray name="forces"', atoms)
        if step.forces_ev_per_ang is None:
            overflow = b"****" in block
            step.problem = "its forces overflow (****)" if overflow else "its forces cannot be read"
            return step
    step.whole = True
    return step


def _energies(step: VasprunStep, scf: bytes, block: bytes) -> str:
    """Fill in the energies; return what is wrong, or nothing.

    The step's own ``e_0_energy`` is wrong in several versions of VASP (0, or minus the entropy term)
    and misses what is added after the electronic loop (dispersion). Right in all of them is the
    step's free energy plus the smearing correction E0 - F of the last electronic step.
    """
    at = block.rfind(b"<energy>")
    final = block[at:] if at >= 0 else b""
    free_text = _FREE.search(final)
    free = real(free_text[1]) if free_text else None
    if free is None or free_text is None:
        if free_text is not None and free_text[1].strip().lower().lstrip(b"+-") in (
            b"nan",
            b"inf",
            b"infinity",
        ):
            return NO_NUMBER
        return "its energy overflows (****)" if b"****" in final else "its energy cannot be read"
    step.free_energy_ev = free
    step.resolution_ev = 10.0 ** -decimals(free_text[1])
    kinetic = _KINETIC.search(final)
    step.kinetic_ev = real(kinetic[1]) if kinetic else None
    last = scf[scf.rfind(b"<scstep>") :] if step.scf_steps else b""
    values = [real(text) for text in _FREE.findall(scf)]
    scf_free = [value for value in values if value is not None]
    if len(scf_free) != len(values) or len(values) != step.scf_steps:
        return "an energy of its electronic steps cannot be read"
    step.scf_energies_ev = tuple(scf_free)
    if not last:
        # No electronic loop is written (a restart from converged orbitals, or a machine-learned step).
        return "it has no electronic step"
    zero, bare = _ZERO.search(last), _NOENTROPY.search(last)
    e_zero, e_bare = (real(found[1]) if found else None for found in (zero, bare))
    if e_zero is None or e_bare is None:
        return "its energy(sigma->0) cannot be read"
    entropy = e_bare - scf_free[-1]
    step.entropy_fraction = (e_zero - scf_free[-1]) / entropy if abs(entropy) > 1e-5 else None  # noqa: PLR2004
    step.energy_ev = round(free + (e_zero - scf_free[-1]), 8)
    return ""
