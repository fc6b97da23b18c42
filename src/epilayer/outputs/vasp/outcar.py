"""OUTCAR as a stream: energies per whole ionic step, what it says of convergence, moments, settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from epilayer.model.errors import InputError
from epilayer.outputs.reading import ByteSource, FileState, decimals, real

_ITERATION = b"- Iteration "
_ITERATION_NUMBER = re.compile(rb"- Iteration\s+(\d+|\*+)\s*\(\s*(\d+|\*+)\s*\)")
_FREE_BLOCK = b"FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
_TOTEN = re.compile(rb"free\s+energy\s+TOTEN\s+=\s*(\S+) eV[ \t]*\n")
_ZERO = re.compile(rb"energy  without entropy=\s*(\S+)\s+energy\(sigma->0\) =\s*(\S+)[ \t]*\n")
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
    """One whole ionic step."""

    free_energy_ev: float
    without_entropy_ev: float
    energy_ev: float
    resolution_ev: float
    scf_steps: int
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
    has_dispersion_energy: bool = False
    damage: list[str] = field(default_factory=list)
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
    previous = b""
    for segment in segments:
        reader.take(segment)
        out.tail, previous = (previous + segment)[-_TAIL_BYTES:], segment[-_TAIL_BYTES:]
    if not previous:
        out.tail = head[-_TAIL_BYTES:]
    # Killed while the timing table was written is still killed after the last step.
    out.finished = _CLOSING in out.tail and out.tail.endswith(b"\n")
    out.state = source.state
    if source.problem:
        out.damage.append(source.problem)
    return out


class _Reader:
    """Takes the segments between two ``Iteration`` lines, one electronic step each."""

    def __init__(self, out: Outcar) -> None:
        self.out = out
        self.scf_steps = 0

    def take(self, segment: bytes) -> None:
        out = self.out
        self._number(segment)
        self.scf_steps += 1
        if _FREE_BLOCK in segment:
            self._step(segment)
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
        out.has_dispersion_energy = out.has_dispersion_energy or b"Edisp (eV)" in segment

    def _number(self, segment: bytes) -> None:
        """Check that the ionic and the electronic step are the ones that are due."""
        out = self.out
        number = _ITERATION_NUMBER.match(segment)
        if number is None:
            self._break("an Iteration line cannot be read")
            return
        # Long runs overflow the field; then there is nothing to check.
        if number[1].isdigit():
            step, expected = int(number[1]), len(out.steps) + 1
            out.iterations_begun = max(out.iterations_begun, step)
            if step != expected:
                self._break(f"the Iteration lines name ionic step {step} where {expected} is due")
            elif number[2].isdigit() and int(number[2]) != self.scf_steps + 1:
                self._break(f"ionic step {step}: an electronic step is missing")

    def _break(self, what: str) -> None:
        if not self.out.broken:
            self.out.damage.append(what)
            self.out.broken = True

    def _step(self, segment: bytes) -> None:
        out = self.out
        scf, self.scf_steps = self.scf_steps, 0
        if out.broken:
            return
        block = segment[segment.find(_FREE_BLOCK) :]
        free, zero = _TOTEN.search(block), _ZERO.search(block)
        texts = (free[1], zero[1], zero[2]) if free and zero else ()
        values = [real(text) for text in texts]
        number = len(out.steps) + 1
        if not texts or None in values or len({decimals(text) for text in texts}) != 1:
            what = "overflows (****)" if b"****" in block[:600] else "cannot be read"
            self._break(f"ionic step {number}: its energy {what}")
            return
        change = None
        changes = _CHANGE.findall(segment)
        if changes:
            pair = (real(changes[-1][0]), real(changes[-1][1]))
            change = (pair[0], pair[1]) if pair[0] is not None and pair[1] is not None else None
        out.steps.append(
            OutcarStep(
                free_energy_ev=values[0] or 0.0,
                without_entropy_ev=values[1] or 0.0,
                energy_ev=values[2] or 0.0,
                resolution_ev=10.0 ** -decimals(texts[0]),
                scf_steps=scf,
                scf_changes_ev=change,
                says_not_reached=b"EDIFF was not reached" in segment,
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
    for start, end in pairwise([*starts, len(head)]):
        block = head[start:end]
        titel = re.search(rb"TITEL\s*=\s*([^\n]*?)\s*\n", block)
        if titel is None:
            continue
        name = " ".join(titel[1].decode("latin-1").split())
        element = re.match(rb"VRHFIN\s*=\s*([A-Z][a-z]?)", block)
        sha = re.search(rb"SHA256\s*=\s*([0-9a-f]{64})", block)
        valence = re.search(rb"ZVAL\s*=\s*(\d+\.\d+)", block)
        out.append(
            (
                element[1].decode() if element else name.split()[1].split("_")[0] if " " in name else name,
                name,
                sha[1].decode() if sha else None,
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
