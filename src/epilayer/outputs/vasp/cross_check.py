"""Energies of the files of one run, compared step by step and file by file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epilayer.model.imported import Agreement, EnergyWitness, Finding, Reason, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer.outputs.vasp.oszicar import Oszicar
    from epilayer.outputs.vasp.outcar import Outcar
    from epilayer.outputs.vasp.vasprun import Vasprun

# Each file rounds; a difference of sums of rounded numbers stays below this many last digits.
_ROUNDINGS = 1.25


@dataclass(frozen=True)
class FileEnergies:
    """The energies that one file gives.

    Attributes
    ----------
    complete
        The file runs to its proper end (OSZICAR has none, so that it never shows a complete run).
    sound
        Nothing in the file is damaged.
    ends
        Whether this kind of file has a proper end at all.
    """

    file: str
    source: str
    energies_ev: tuple[float, ...]
    resolutions_ev: tuple[float, ...]
    complete: bool
    sound: bool
    ends: bool


def of_vasprun(run: Vasprun) -> FileEnergies:
    """Return the energies of a vasprun.xml."""
    return FileEnergies(
        file=run.name,
        source="free energy of the step + (E0 - F) of its last electronic step",
        energies_ev=tuple(float(value) for value in run.energies_ev),
        resolutions_ev=(run.resolution_ev,) * len(run.energies_ev),
        complete=run.closed and run.broken_step is None,
        sound=not run.flaws and run.broken_step is None,
        ends=True,
    )


def of_outcar(out: Outcar) -> FileEnergies:
    """Return the energies of an OUTCAR."""
    return FileEnergies(
        file=out.name,
        source="energy(sigma->0)",
        energies_ev=tuple(step.energy_ev for step in out.steps),
        resolutions_ev=tuple(step.resolution_ev for step in out.steps),
        complete=out.finished and not out.broken and out.iterations_begun in (0, len(out.steps)),
        sound=not out.flaws and not out.broken,
        ends=True,
    )


def of_oszicar(out: Oszicar) -> FileEnergies:
    """Return the energies of an OSZICAR or a standard output."""
    return FileEnergies(
        file=out.name,
        source="E0",
        energies_ev=tuple(step.energy_ev for step in out.steps),
        resolutions_ev=tuple(step.resolution_ev for step in out.steps),
        complete=False,
        sound=not out.flaws,
        ends=False,
    )


def compared(
    files: Sequence[FileEnergies],
    *,
    first: bool = False,
) -> tuple[Agreement, tuple[EnergyWitness, ...], list[Reason]]:
    """Return whether the files agree, the energies of the last whole step, and what is wrong.

    Every step that two files share must have the same energy in both, within their rounding: so files
    of different runs in one folder are found, and a digit that changed in one of them too.

    Parameters
    ----------
    first
        Take the energy of the first step, as for finite differences, whose later steps are displaced.
    """
    given = [one for one in files if one.energies_ev]
    if not given:
        return Agreement.NO_WITNESS, (), []
    reasons = [*_clashes(given), *_counts(given)]
    steps = max(len(one.energies_ev) for one in given)
    witnesses = tuple(
        EnergyWitness(
            file=one.file,
            source=one.source,
            energy_ev=one.energies_ev[0 if first else -1],
            resolution_ev=one.resolutions_ev[0 if first else -1],
            ionic_step=1 if first else steps,
            complete=one.complete,
        )
        for one in given
        if len(one.energies_ev) == steps and one.sound
    )
    if reasons:
        return Agreement.DISAGREE, witnesses, reasons
    if not witnesses:
        return Agreement.NO_WITNESS, (), []
    return (Agreement.AGREE if len(witnesses) > 1 else Agreement.SINGLE_WITNESS), witnesses, []


def _clashes(given: list[FileEnergies]) -> list[Reason]:
    out = []
    for i, one in enumerate(given):
        for two in given[i + 1 :]:
            shared = zip(
                one.energies_ev, two.energies_ev, one.resolutions_ev, two.resolutions_ev, strict=False
            )
            for step, (left, right, fine, coarse) in enumerate(shared, start=1):
                if abs(left - right) > _ROUNDINGS * (fine + coarse):
                    what = f"{one.file} and {two.file} give step {step} {left:.8f} and {right:.8f} eV"
                    out.append(_disagree(what))
                    break
    return out


def _counts(given: list[FileEnergies]) -> list[Reason]:
    """Find files that claim to be complete and hold fewer steps than another has."""
    most = max(given, key=lambda one: len(one.energies_ev))
    return [
        _disagree(
            f"{one.file} ends properly after {len(one.energies_ev)} ionic steps, {most.file} has "
            f"{len(most.energies_ev)}"
        )
        for one in given
        if one.complete and len(one.energies_ev) < len(most.energies_ev)
    ]


def _disagree(what: str) -> Reason:
    return Reason(
        code=Finding.FILES_DISAGREE,
        severity=Severity.FATAL,
        what=f"{what}: a file is damaged, or the files are of different runs",
        remedy="Keep the files of one run in one folder; rerun if a file is damaged.",
    )
