"""OSZICAR, and the same lines in VASP's standard output: a second witness of every step's energy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epilayer.model.imported import Finding
from epilayer.outputs.reading import ByteSource, FileState, Flaw, real

if TYPE_CHECKING:
    from pathlib import Path

_SCF = re.compile(rb"^\s*(?:DAV|RMM|DIA|SDA|CGA|CG |DMP|EIG|ROT|NONE)\S*\s*:?\s*(\d+)\s")
_STEP = re.compile(rb"^\s*(\d+|\*+) (?:T=\s*\S+\s+E=\s*\S+\s+)?F=\s*(\S+)\s+E0=\s*(\S+)")
_TEXT_LIMIT_BYTES = 8 << 20


@dataclass(frozen=True)
class OszicarStep:
    """One ionic step.

    Attributes
    ----------
    resolution_ev
        VASP prints eight significant digits here, so the last one grows with the energy.
    """

    energy_ev: float
    free_energy_ev: float
    resolution_ev: float
    scf_steps: int


@dataclass(frozen=True)
class Oszicar:
    """Whole ionic steps of an OSZICAR or of a standard output.

    Attributes
    ----------
    text
        The first and the last megabytes, for messages.
    """

    name: str
    steps: tuple[OszicarStep, ...]
    flaws: tuple[Flaw, ...]
    state: FileState
    text: bytes


def read_oszicar(path: Path) -> Oszicar:
    """Read the step lines of an OSZICAR or a standard output; anything else is skipped."""
    source = ByteSource(path)
    steps: list[OszicarStep] = []
    flaws: list[Flaw] = []
    kept: list[bytes] = []
    size = scf = 0
    broken = False
    for line in source.lines():
        size += len(line) + 1
        if size < _TEXT_LIMIT_BYTES:
            kept.append(line)
        if b"F=" not in line:
            scf += bool(_SCF.match(line))
            continue
        if broken or source.state is FileState.TRUNCATED:
            continue
        step = _step(line, len(steps) + 1, scf)
        scf = 0
        if step is None:
            broken = True
            flaws.append(_flaw(line, len(steps) + 1))
        else:
            steps.append(step)
    if source.problem:
        flaws.append(Flaw(Finding.FILE_DAMAGED, source.problem))
    return Oszicar(source.name, tuple(steps), tuple(flaws), source.state, b"\n".join(kept))


def _step(line: bytes, number: int, scf: int) -> OszicarStep | None:
    found = _STEP.match(line)
    if found is None:
        return None
    free, zero = real(found[2]), real(found[3])
    # A number that overflows its column is stars; one that does not match the count is damage.
    if free is None or zero is None or (found[1].isdigit() and int(found[1]) != number):
        return None
    return OszicarStep(
        energy_ev=zero,
        free_energy_ev=free,
        resolution_ev=_last_digit(found[3]),
        scf_steps=scf,
    )


def _flaw(line: bytes, number: int) -> Flaw:
    if b"***" in line:
        return Flaw(Finding.NUMBER_OVERFLOWS, f"the line of ionic step {number} overflows (****)")
    return Flaw(Finding.FILE_DAMAGED, f"the line of ionic step {number} cannot be read")


def _last_digit(text: bytes) -> float:
    mantissa, _, exponent = text.upper().partition(b"E")
    digits = len(mantissa.partition(b".")[2])
    return float(10.0 ** (int(exponent or 0) - digits))
