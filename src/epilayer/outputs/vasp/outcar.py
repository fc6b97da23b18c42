"""OUTCAR as a stream: energies per whole ionic step, what it says of convergence, moments, settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.errors import InputError
from epilayer.model.imported import Finding
from epilayer.outputs.reading import ByteSource, FileState, Flaw, decimals, element_of, real

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_ITERATION = b"- Iteration "
_ITERATION_NUMBER = re.compile(rb"- Iteration\s+(\d+|\*+|)\s*\(\s*(\d+|\*+)\s*\)")
_ITERATION_NAMED = re.compile(rb"- Iteration\s+[A-Za-z]+\s+-")
_FREE_BLOCK = b" FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
_LEARNED_BLOCK = b"ML" + _FREE_BLOCK
_TOTEN = re.compile(rb"free\s+energy\s+TOTEN\s+=\s*(\S+) eV\s")
_ZERO = re.compile(rb"energy\s+without entropy\s*=\s*(\S+)\s[^\n]*?energy\(sigma->0\) =\s*(\S+)\s")
_DISPERSION = re.compile(rb"Edisp \(eV\)[:=]?\s*(-?\d+\.\d+)\s")
_LATTICE = re.compile(rb"direct lattice vectors[^\n]*\n" + 3 * (3 * rb"\s*(-?\d+\.\d+)" + rb"[^\n]*\n"))
_POSITIONS = re.compile(rb"(?<!ML )POSITION\s+TOTAL-FORCE[^\n]*\n\s*-+\s*\n((?:[ \t]*-?\d[^\n]*\n)+)[ \t]*-")
_CHANGE = re.compile(rb"total energy-change \(2\. order\) :\s*(\S+?)\s*\(\s*(\S+?)\)")
_ELECTRONS = re.compile(rb"number of electron\s+(\S+)\s+magnetization[ \t]+(-?\S+)")
# One atom alone has neither the closing rule nor the line of totals.
_MOMENTS = re.compile(
    rb"magnetization \(([xyz])\)\s*\n\s*\n# of ion[^\n]*\n-+\n((?:[ \t]*\d+[ \t][^\n]*\n)+)"
)
_PARAMETER = re.compile(rb"(?<![^\s;])([A-Z][A-Z0-9_]+)\s*=\s*([^\s;]+)")
_CLOSING = b"General timing and accounting informations for this job"
_TAIL_BYTES = 1 << 20
_SEGMENT_LIMIT_BYTES = 1 << 28


@dataclass
class OutcarStep:
    """One whole ionic step.

    Attributes
    ----------
    scf_steps
        Electronic steps of its ground state; ``None`` where they were taken out of the file.
    """

    free_energy_ev: float
    without_entropy_ev: float
    energy_ev: float
    resolution_ev: float
    scf_steps: int | None
    scf_changes_ev: tuple[float, float] | None
    says_not_reached: bool


@dataclass
class Outcar:
    """What an OUTCAR says.

    Attributes
    ----------
    steps
        Whole ionic steps up to the first that could not be read.
    iterations_begun
        Number of the last ionic step that was begun.
    finished
        The closing timing table is there.
    reached_accuracy
        ``reached required accuracy`` stands after the last step.
    machine_learned_steps
        Ionic steps for which the energy of VASP's own force field is printed.
    lattice_ang, positions_ang
        Of the last step that prints them, shapes (3, 3) and (atoms, 3).
    dispersion_ev
        The last dispersion energy that is printed, in some methods.
    moments_mu_b
        The last ``magnetization`` table: per direction, per ion, the total column.
    tail
        The last part of the text, where an abort leaves its message.
    """

    name: str
    head: bytes
    steps: list[OutcarStep] = field(default_factory=list)
    iterations_begun: int = 0
    finished: bool = False
    reached_accuracy: bool = False
    stop_requested: str = ""
    total_magnetization_mu_b: float | None = None
    moments_mu_b: dict[str, tuple[float, ...]] = field(default_factory=dict)
    moments_problem: str = ""
    dispersion_ev: float | None = None
    machine_learned_steps: int = 0
    lattice_ang: Array | None = None
    positions_ang: Array | None = None
    flaws: list[Flaw] = field(default_factory=list)
    tail: bytes = b""
    state: FileState = FileState.WHOLE
    broken: bool = False

    @property
    def program(self) -> str:
        """Version line, e.g. ``vasp.6.3.2 27Jun22``."""
        found = re.search(rb"^\s*(vasp\.\S+(?: \S+)?)", self.head)
        return found[1].decode("latin-1") if found else ""


def read_outcar(path: str | Path) -> Outcar:
    """Read an OUTCAR, whole or not.

    Raises
    ------
    InputError
        When the file is not an OUTCAR.
    """
    source = ByteSource(Path(path))
    segments = source.segments(_ITERATION)
    head = next(segments, b"")
    if not re.match(rb"\s*vasp\.\d", head) and b"POTCAR:" not in head and b"INCAR:" not in head:
        problem = f" ({source.problem})" if source.problem else ""
        raise InputError(
            f"{path} is not an OUTCAR{problem}.", "Give the OUTCAR that VASP wrote, whole or cut short."
        )
    out = Outcar(source.name, head)
    reader = _Reader(out)
    reader.blocks(head)
    previous = b""
    for segment in segments:
        reader.take(segment)
        out.tail, previous = (previous + segment)[-_TAIL_BYTES:], segment[-_TAIL_BYTES:]
    if not previous:
        out.tail = head[-_TAIL_BYTES:]
    # Killed while the timing table was written is still killed after the last step.
    closing = out.tail[out.tail.rfind(_CLOSING) :] if _CLOSING in out.tail else b""
    out.finished = bool(closing) and (closing.endswith(b"\n") or b"context switches:" in closing)
    out.state = source.state
    if source.problem:
        out.flaws.append(Flaw(Finding.FILE_DAMAGED, source.problem))
    return out


class _Reader:
    """Takes the segments between two ``Iteration`` lines, one electronic step each.

    A response is worked out in loops of its own, behind the ground state's or between it and its energy;
    their ``Iteration`` lines begin again at 1, and count something else.
    """

    def __init__(self, out: Outcar) -> None:
        self.out = out
        said = parameters(out.head)
        on = {name for name, value in said.items() if value.upper().lstrip(".").startswith("T")}
        self._responds = said.get("IBRION") in _RESPONSES or bool(on & _RESPONSE_FLAGS)
        self._learns = "ML_LMLFF" in on
        self._begin_step()

    def _begin_step(self) -> None:
        self._scf_steps: int | None = 0
        self._change: tuple[float, float] | None = None
        self._not_reached = False
        self._loop_over = False

    def take(self, segment: bytes) -> None:
        out = self.out
        self._number(segment)
        if not self._loop_over:
            self._change = _last_change(segment)
            self._not_reached = b"EDIFF was not reached" in segment
        self.blocks(segment)
        if b"magnetization (" in segment:
            self._moments(segment)
        electrons = _ELECTRONS.search(segment)
        total = real(electrons[2]) if electrons else None
        if total is not None:
            out.total_magnetization_mu_b = total
        for text, meaning in _STOPS:
            if text in segment:
                out.stop_requested = meaning
        out.reached_accuracy = b"reached required accuracy" in segment

    def blocks(self, segment: bytes) -> None:
        """Take what is printed once in an ionic step."""
        out = self.out
        start = segment.find(_FREE_BLOCK)
        while start >= 0:
            end = segment.find(_FREE_BLOCK, start + 1)
            block = segment[start : end if end >= 0 else len(segment)]
            if segment.startswith(_LEARNED_BLOCK, start - 2):
                out.machine_learned_steps += 1
            else:
                self._step(block)
            start = end
        if b"Edisp (eV)" in segment:
            found = _DISPERSION.findall(segment)
            out.dispersion_ev = float(found[-1]) if found else None
        if b"POSITION" in segment:
            self._geometry(segment)

    def _geometry(self, segment: bytes) -> None:
        cells, tables = _LATTICE.findall(segment), _POSITIONS.findall(segment)
        if cells:
            self.out.lattice_ang = np.array(cells[-1], dtype=float).reshape(3, 3)
        if tables:
            rows = [[real(word) for word in line.split()[:3]] for line in tables[-1].splitlines()]
            readable = all(len(row) == 3 and None not in row for row in rows)  # noqa: PLR2004  (x, y, z)
            self.out.positions_ang = np.array(rows, dtype=float) if readable else None

    def _number(self, segment: bytes) -> None:
        """Check that the ionic and the electronic step are the ones that are due."""
        out = self.out
        number = _ITERATION_NUMBER.match(segment)
        if number is None:
            if not _ITERATION_NAMED.match(segment):
                self._break(Flaw(Finding.FILE_DAMAGED, "an Iteration line cannot be read"))
            self._scf_steps = None
            return
        # Long runs overflow the field; then there is nothing to check.
        step = int(number[1]) if number[1].isdigit() else None
        electronic = int(number[2]) if number[2].isdigit() else None
        done = self._scf_steps or 0
        if electronic == 1 and done:
            if self._responds or not number[1]:
                self._loop_over = True
            else:
                done = 0
        # The cycles of some responses carry no ionic step's number.
        if self._loop_over or not number[1] or (self._responds and out.steps and step != len(out.steps) + 1):
            return
        # Lines that were taken out of the file leave the number of the last one.
        self._scf_steps = max(done + 1, electronic or 0)
        if step is None or self._responds or self._learns:
            return
        expected = len(out.steps) + 1
        out.iterations_begun = max(out.iterations_begun, step)
        if step != expected:
            what = f"the Iteration lines name ionic step {step} where {expected} is due"
            self._break(Flaw(Finding.FILE_DAMAGED, what))

    def _break(self, flaw: Flaw) -> None:
        if not self.out.broken:
            self.out.flaws.append(flaw)
            self.out.broken = True

    def _step(self, block: bytes) -> None:
        out = self.out
        scf, change, not_reached = self._scf_steps, self._change, self._not_reached
        self._begin_step()
        if out.broken:
            return
        free, zero = _TOTEN.search(block), _ZERO.search(block)
        texts = (free[1], zero[1], zero[2]) if free and zero else ()
        values = [real(text) for text in texts]
        number = len(out.steps) + 1
        if not texts or None in values or len({decimals(text) for text in texts}) != 1:
            overflows = b"****" in block[:600]
            code = Finding.NUMBER_OVERFLOWS if overflows else Finding.FILE_DAMAGED
            what = "overflows (****)" if overflows else "cannot be read"
            self._break(Flaw(code, f"ionic step {number}: its energy {what}"))
            return
        out.steps.append(
            OutcarStep(
                free_energy_ev=values[0] or 0.0,
                without_entropy_ev=values[1] or 0.0,
                energy_ev=values[2] or 0.0,
                resolution_ev=10.0 ** -decimals(texts[0]),
                scf_steps=scf or None,
                scf_changes_ev=change,
                says_not_reached=not_reached,
            )
        )

    def _moments(self, segment: bytes) -> None:
        for axis, table in _MOMENTS.findall(segment):
            rows = [line.split() for line in table.splitlines()]
            totals = [real(row[-1]) for row in rows if row]
            numbered = all(row and row[0] == str(i).encode() for i, row in enumerate(rows, start=1))
            if None in totals or not numbered or len({len(row) for row in rows}) != 1:
                self.out.moments_problem = "the last magnetization table cannot be read"
                self.out.moments_mu_b.pop(axis.decode(), None)
            else:
                self.out.moments_problem = ""
                self.out.moments_mu_b[axis.decode()] = tuple(value for value in totals if value is not None)


def _last_change(segment: bytes) -> tuple[float, float] | None:
    changes = _CHANGE.findall(segment)
    pair = [real(text) for text in changes[-1]] if changes else []
    return (pair[0], pair[1]) if len(pair) == 2 and pair[0] is not None and pair[1] is not None else None  # noqa: PLR2004


_RESPONSES = ("5", "6", "7", "8")
_RESPONSE_FLAGS = {"LEPSILON", "LCALCEPS", "LCHIMAG"}
_STOPS = (
    (b"soft stop encountered", "STOPCAR asked it to stop after an ionic step (LSTOP)"),
    (b"hard stop encountered", "STOPCAR asked it to stop at once (LABORT)"),
)


def parameters(head: bytes) -> dict[str, str]:
    r"""Return the parameter list before the first iteration, as printed.

    >>> parameters(b"   NELM   =     20;   NELMIN=  2; NELMDL= -5     # of ELM steps\n")
    {'NELM': '20', 'NELMIN': '2', 'NELMDL': '-5'}
    """
    # The list comes after the echo of the INCAR, which may be of another syntax: the last one counts.
    pairs = _PARAMETER.findall(head)
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}


def echoed_incar(head: bytes) -> dict[str, str]:
    """Return the INCAR as VASP 6 echoes it; empty for older versions."""
    start = head.find(b" INCAR:")
    end = head.find(b"POTCAR:", start)
    if start < 0 or end < 0:
        return {}
    pairs = re.findall(rb"^\s*([A-Za-z_]\w*)\s*=\s*([^\n]*?)\s*$", head[start:end], re.MULTILINE)
    return {key.decode("latin-1").upper(): value.decode("latin-1") for key, value in pairs}


def titels(head: bytes) -> list[tuple[str, str, str | None, float | None]]:
    """Return (element, TITEL, SHA256, valence) of each pseudopotential that the OUTCAR names."""
    out = []
    starts = [found.start() for found in re.finditer(rb"VRHFIN\s*=", head)]
    # A dataset's hash stands before its VRHFIN, behind all of the dataset before it.
    for before, start, end in zip([0, *starts], starts, [*starts[1:], len(head)], strict=False):
        block = head[start:end]
        titel = re.search(rb"TITEL\s*=\s*([^\n]*?)\s*\n", block)
        if titel is None:
            continue
        name = " ".join(titel[1].decode("latin-1").split())
        element = re.match(rb"VRHFIN\s*=\s*([A-Za-z]*)", block)
        hashes = re.findall(rb"SHA256\s*=\s*([0-9a-f]{64})", head[before:start])
        valence = re.search(rb"ZVAL\s*=\s*(\d+\.\d+)", block)
        out.append(
            (
                element_of(element[1].decode() if element else "", name),
                name,
                hashes[-1].decode() if hashes else None,
                float(valence[1]) if valence else None,
            )
        )
    return out


def species(head: bytes) -> tuple[str, ...]:
    """Return the element of every atom, or nothing where the head does not come to say it."""
    counts = re.search(rb"ions per type =\s+([\d ]+)", head)
    elements = [element for element, *_ in titels(head)]
    if counts is None:
        return ()
    numbers = [int(word) for word in counts[1].split()]
    if len(numbers) != len(elements):
        return ()
    return tuple(element for element, count in zip(elements, numbers, strict=True) for _ in range(count))
