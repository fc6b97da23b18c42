"""vasprun.xml as a stream: 13,000 steps in the memory of one, and salvage up to the last whole step.

The file is scanned for its few tags rather than parsed as XML: VASP writes one fixed layout, a killed
run leaves XML that no parser accepts, and an AIMD run leaves a gigabyte of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.errors import InputError
from epilayer.model.imported import Finding
from epilayer.outputs.reading import ByteSource, FileState, Flaw, decimals, real
from epilayer.outputs.vasp.varrays import vectors
from epilayer.outputs.vasp.vasprun_header import VasprunHeader, damaged, parse_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_OPEN, _CLOSE, _END = b"<calculation>", b"</calculation>", b"</modeling>"
_STEP = re.compile(rb"<calculation>|<structure>")
_ENERGY_END, _CYCLE, _CYCLE_END = b"</energy>", b"<scstep>", b"</scstep>"
_LIMIT_BYTES = 1 << 28


@dataclass
class VasprunStep:
    """One ionic step.

    Attributes
    ----------
    closed
        The file holds all of the step.
    whole
        It is closed, and every number in it that is needed could be read.
    machine_learned
        VASP's force field moved the ions here: no ``<calculation>``, and no energy of DFT.
    flaw
        Why the step is not whole.
    energy_ev
        energy(sigma->0) by the right convention: see :func:`_energies`.
    kinetic_ev
        Of the nuclei; ``None`` outside dynamics.
    scf_steps
        Electronic steps of the ground state; the cycles of a response that follow are not counted.
    scf_free_energy_ev
        Free energy after the last electronic step of the ground state.
    scf_last_change_ev
        Its change in that step: infinite where the one before is no number, NaN where there is none.
    forces_ev_per_ang
        Shape (atoms, 3), or ``None`` where VASP wrote none.
    """

    index: int
    closed: bool = False
    whole: bool = False
    machine_learned: bool = False
    flaw: Flaw | None = None
    free_energy_ev: float | None = None
    energy_ev: float | None = None
    kinetic_ev: float | None = None
    resolution_ev: float = 1e-8
    scf_steps: int = 0
    scf_free_energy_ev: float | None = None
    scf_last_change_ev: float = np.nan
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
    machine_learned_steps
        Ionic steps that VASP's own force field made, which are not among the others.
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
    flaws: tuple[Flaw, ...]
    state: FileState
    machine_learned_steps: int = 0
    lattices_ang: Array | None = None
    positions_frac: Array | None = None
    forces_ev_per_ang: Array | None = None


class VasprunStream:
    """A vasprun.xml that is read step by step.

    ``header`` is there at once; iterate for the steps; ``closed`` and ``flaws`` are final at the end.

    Raises
    ------
    InputError
        When the file is not a vasprun.xml.
    """

    def __init__(self, path: str | Path) -> None:
        self.source = ByteSource(Path(path))
        self._chunks = self.source.text_chunks()
        self._buffer = b""
        self.closed = False
        self.flaws: list[Flaw] = []
        head = self._head()
        if b"<modeling" not in head[:4096] and b"<generator>" not in head:
            problem = f" ({self.source.problem})" if self.source.problem else ""
            raise InputError(
                f"{path} is not a vasprun.xml{problem}.",
                "Give the vasprun.xml that VASP wrote, whole or cut short.",
            )
        self.header = parse_header(head)
        self.flaws.extend(self.header.flaws)

    def _head(self) -> bytes:
        """Read up to the first ionic step, one of a force field too."""
        start = 0
        while (found := _STEP.search(self._buffer, start)) is None:
            start = max(0, len(self._buffer) - len(_OPEN))
            if len(self._buffer) > _LIMIT_BYTES:
                self.flaws.append(damaged("no ionic step within the first 256 MB"))
                break
            if not self._more():
                break
        cut = found.start() if found else len(self._buffer)
        head, self._buffer = self._buffer[:cut], self._buffer[cut:]
        self.closed = found is None and head.rstrip().endswith(_END)
        return head

    def _more(self) -> bool:
        piece = next(self._chunks, b"")
        self._buffer += piece
        return bool(piece)

    def _find(self, token: bytes, start: int) -> int:
        """Return where a token stands, reading on as far as that takes; -1 where it does not come."""
        while (at := self._buffer.find(token, start)) < 0:
            start = max(start, len(self._buffer) - len(token))
            if len(self._buffer) > _LIMIT_BYTES or not self._more():
                return -1
        return at

    def __iter__(self) -> Iterator[VasprunStep]:
        """Yield every ionic step that the file opens, the last one possibly not whole."""
        index = position = 0
        atoms = self.header.atoms
        while True:
            while (found := _STEP.search(self._buffer, position)) is None:
                # Keep what may be the beginning of a tag, drop the rest.
                self._buffer = self._buffer[max(position, len(self._buffer) - 4096) :]
                position = 0
                if not self._more():
                    self._finish()
                    return
            index += 1
            begin = found.start()
            if begin > len(self._buffer) // 2:
                self._buffer, begin = self._buffer[begin:], 0
            step = VasprunStep(index, machine_learned=found[0] != _OPEN)
            body, position = self._body(begin)
            step.closed = body.endswith(_ENERGY_END)
            if not step.closed and self._buffer.startswith(_CLOSE, position):
                step.flaw = Flaw(Finding.NOT_SHOWN, "it has no energy of its own")
            if step.closed and not step.machine_learned:
                position, step.closed = self._end(position)
            yield _parse_step(step, body, atoms)

    def _body(self, begin: int) -> tuple[bytes, int]:
        """Return a step up to the end of its own energy, and where that is.

        The cycles of a response follow the structure, in some runs before the step's own energy.
        """
        position = inside = begin + len(_OPEN)
        while position > 0 and (end := self._find(_ENERGY_END, position)) >= 0:
            if (following := self._following(position, end)) < end:
                return self._buffer[begin:following], following
            if self._buffer.find(_CYCLE, position, end) < 0:
                end += len(_ENERGY_END)
                return self._buffer[begin:end], end
            position = self._find(_CYCLE_END, end)
        following = self._following(inside, len(self._buffer))
        return self._buffer[begin:following], following

    def _following(self, start: int, end: int) -> int:
        """Return where the step ends or the next begins, before ``end``; else ``end``."""
        # One search for both tags, over the bulk of a step.
        at = self._buffer.find(_OPEN[1:], start, end)
        if at < 0:
            return end
        return at - 1 if self._buffer[at - 1 : at] == b"<" else at - 2

    def _end(self, position: int) -> tuple[int, bool]:
        """Pass over eigenvalues and densities; return where the next search starts, and whether it is closed.

        A step that is cut inside its eigenvalues is not closed: the end of the next one is not its end.
        """
        while True:
            end = self._buffer.find(_CLOSE, position)
            reopened = self._buffer.find(_OPEN, position, end if end >= 0 else len(self._buffer))
            if reopened >= 0:
                return reopened, False
            if end >= 0:
                return end + len(_CLOSE), True
            self._buffer = self._buffer[max(position, len(self._buffer) - len(_CLOSE)) :]
            position = 0
            if not self._more():
                return len(self._buffer), False

    def _finish(self) -> None:
        self.closed = self._buffer.rstrip().endswith(_END)
        if self.source.problem:
            self.flaws.append(damaged(self.source.problem))


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
    learned = 0
    for step in stream:
        if broken is not None:
            continue
        if step.machine_learned:
            learned += step.whole
            continue
        if not step.whole or step.energy_ev is None:
            broken = step.index
            stream.flaws += _of_step(step)
            continue
        energies.append(step.energy_ev)
        scf.append(step.scf_steps)
        changes.append(step.scf_last_change_ev)
        resolution = max(resolution, step.resolution_ev)
        if store is not None:
            store.add(step)
        last = step
    if last is not None and broken is None:
        stream.flaws += _of_step(last)
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
        flaws=tuple(stream.flaws),
        state=stream.source.state,
        machine_learned_steps=learned,
        lattices_ang=store.cut(store.lattices) if store else None,
        positions_frac=store.cut(store.positions) if store else None,
        forces_ev_per_ang=store.cut(store.forces) if store else None,
    )


def _of_step(step: VasprunStep) -> list[Flaw]:
    return [Flaw(step.flaw.code, f"ionic step {step.index}: {step.flaw.what}")] if step.flaw else []


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


_FREE = re.compile(rb'name="e_fr_energy">([^<]*)</i>')
_ZERO = re.compile(rb'name="e_0_energy">([^<]*)</i>')
_KINETIC = re.compile(rb'name="kinetic">([^<]*)</i>')
_NOENTROPY = re.compile(rb'name="e_wo_entrp">([^<]*)</i>')


def _parse_step(step: VasprunStep, body: bytes, atoms: int) -> VasprunStep:
    # The ground state comes before the structure, the bulk of a step: it need not be sought there.
    bulk = body.find(b"<structure")
    loop, block = (body[:bulk], body) if bulk >= 0 else (body, b"")
    if step.closed:
        step.lattice_ang = vectors(block, b'<varray name="basis"', 3)
        step.positions_frac = vectors(block, b'<varray name="positions"', atoms)
        step.flaw = _energies(step, loop, block)
    else:
        step.flaw = step.flaw or damaged("the step is not closed")
    if step.flaw is None and (step.lattice_ang is None or step.positions_frac is None):
        step.flaw = damaged("its structure cannot be read")
    if step.flaw is None and b'<varray name="forces"' in block:
        step.forces_ev_per_ang = vectors(block, b'<varray name="forces"', atoms)
        if step.forces_ev_per_ang is None:
            step.flaw = _unreadable("its forces", block)
    # Forces that overflow are a bad start's: the steps that follow count all the same.
    step.whole = step.flaw is None or (
        step.energy_ev is not None and step.flaw.code is Finding.NUMBER_OVERFLOWS
    )
    return step


def _energies(step: VasprunStep, loop: bytes, block: bytes) -> Flaw | None:
    """Fill in the energies; return what is wrong.

    The step's own ``e_0_energy`` is wrong in several versions of VASP (0, or minus the entropy term)
    and misses what is added after the electronic loop (dispersion). Right in all of them is the
    step's free energy plus the smearing correction E0 - F of the last electronic step.
    """
    final = block[max(block.rfind(b"<energy>"), 0) :]
    kinetic = _KINETIC.search(final)
    step.kinetic_ev = real(kinetic[1]) if kinetic else None
    if step.machine_learned:
        return None  # the energy that stands here is that of an earlier step
    free_text = _FREE.search(final)
    free = real(free_text[1]) if free_text else None
    if free is None or free_text is None:
        return _unreadable("its energy", final)
    step.free_energy_ev = free
    step.resolution_ev = 10.0 ** -decimals(free_text[1])
    step.scf_steps = loop.count(_CYCLE_END)
    if step.scf_steps != loop.count(_CYCLE):
        return damaged("its electronic steps are damaged")
    if not step.scf_steps:
        return Flaw(
            Finding.NOT_SHOWN, "its electronic steps, which energy(sigma->0) needs, are not in the file"
        )
    # Only the last two are needed: the first ones of a bad start may overflow (****).
    start = loop.rfind(_CYCLE)
    last, before = loop[start:], loop[loop.rfind(_CYCLE, 0, start) : start]
    texts = (_FREE.search(last), _ZERO.search(last), _NOENTROPY.search(last), _FREE.search(before))
    scf_free, scf_zero, scf_bare, earlier = (real(text[1]) if text else None for text in texts)
    if scf_free is None or scf_zero is None:
        return _unreadable("energy(sigma->0) of its last electronic step", last)
    step.scf_free_energy_ev = scf_free
    if step.scf_steps > 1:
        step.scf_last_change_ev = np.inf if earlier is None else abs(scf_free - earlier)
    entropy = 0.0 if scf_bare is None else scf_bare - scf_free
    step.entropy_fraction = (scf_zero - scf_free) / entropy if abs(entropy) > 1e-5 else None  # noqa: PLR2004
    step.energy_ev = round(free + (scf_zero - scf_free), 8)
    return None


def _unreadable(what: str, text: bytes) -> Flaw:
    """Return why a number cannot be read: VASP prints stars and NaN too."""
    if b"****" in text:
        return Flaw(Finding.NUMBER_OVERFLOWS, f"{what} overflows (****)")
    if re.search(rb">\s*[-+]?(?:nan|inf(?:inity)?)\s*<", text, re.IGNORECASE):
        return Flaw(Finding.ENERGY_NOT_READABLE, f"{what} is no number (NaN)")
    return damaged(f"{what} cannot be read")
