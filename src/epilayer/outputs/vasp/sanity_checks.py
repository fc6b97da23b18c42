"""Relations that the numbers of one VASP run must satisfy among themselves."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from epilayer.model.imported import CalculationKind, Finding, Severity
from epilayer.outputs.vasp import settings as st

if TYPE_CHECKING:
    from epilayer.outputs.vasp.run_files import Evidence

_JUMP_EV_PER_ATOM = 1.0
# What adds to the energy after the electronic loop, so that the two need not be the same.
_ADDED_AFTER = (
    "IVDW",
    "LVDW",
    "LDIPOL",
    "IDIPOL",
    "LSOL",
    "LMONO",
    "EFIELD",
    "ML_LMLFF",
    "LUSE_VDW",
    "LHFCALC",
)


def check(seen: Evidence) -> None:
    """Check the numbers against what they must satisfy."""
    _smearing(seen)
    _later_terms(seen)
    if seen.settings.flag("ML_LMLFF"):
        seen.say(
            Finding.MACHINE_LEARNED,
            Severity.WITHHOLDS,
            "ML_LMLFF: the energies are of VASP's machine-learned force field, not of DFT",
        )
    atoms = max(1, len(seen.species))
    energy = seen.witnesses[0].energy_ev if seen.witnesses else None
    if energy is not None and energy > 0:
        severity = Severity.WITHHOLDS if energy > atoms * _JUMP_EV_PER_ATOM else Severity.NOTE
        what = f"the energy of the last step is positive ({energy:.6f} eV)"
        seen.say(Finding.ENERGY_POSITIVE, severity, what, "Look at the geometry and reduce POTIM.")
    if seen.kind is CalculationKind.RELAX and seen.species:
        _jumps(seen, atoms)


def _smearing(seen: Evidence) -> None:
    """Check that energy(sigma->0) lies where the smearing puts it between the other two energies."""
    fraction = _entropy_fraction(seen.settings.integer("ISMEAR"))
    if fraction is None:
        return
    remedy = "The file is damaged: rerun."
    if seen.outcar and seen.outcar.steps:
        step = seen.outcar.steps[-1]
        expected = step.free_energy_ev + fraction * (step.without_entropy_ev - step.free_energy_ev)
        if abs(expected - step.energy_ev) > 3 * step.resolution_ev:
            what = "the three energies of the last step do not fit together"
            seen.say(Finding.ENERGY_INCONSISTENT, Severity.WITHHOLDS, what, remedy, seen.outcar.name)
    last = seen.vasprun.last if seen.vasprun else None
    shown = last.entropy_fraction if last is not None else None
    # Rounding of three energies to 1e-8 eV, over an entropy term of at least 1e-5 eV.
    if shown is not None and abs(shown - fraction) > 5e-3:  # noqa: PLR2004
        what = "the energies of the last electronic step do not fit together"
        seen.say(Finding.ENERGY_INCONSISTENT, Severity.WITHHOLDS, what, remedy)


def _later_terms(seen: Evidence) -> None:
    named = any(seen.settings.values.get(name) not in (None, False, 0, 0.0) for name in _ADDED_AFTER)
    if named or not st.added_after(seen.vasprun):
        return
    what = (
        "the energy holds a term that was added after the electronic loop (dispersion?), and no file names it"
    )
    seen.say(Finding.ENERGY_INCONSISTENT, Severity.NOTE, what, "Keep the INCAR and OUTCAR beside it.")


def _entropy_fraction(smearing: int | None) -> float | None:
    """Return where energy(sigma->0) lies between the free energy (0) and the one without entropy (1)."""
    if smearing is not None and smearing > 0:  # Methfessel-Paxton of order N
        return 1.0 / (smearing + 2)
    # Gauss and Fermi smearing; the tetrahedron methods have no entropy, so that all three are equal.
    return {0: 0.5, -1: 0.5, -4: 0.5, -5: 0.5}.get(smearing) if smearing is not None else None


def _jumps(seen: Evidence, atoms: int) -> None:
    energies: list[float] = []
    if seen.outcar and len(seen.outcar.steps) == seen.steps:
        energies = [step.energy_ev for step in seen.outcar.steps]
    elif seen.vasprun:
        energies = [float(value) for value in seen.vasprun.energies_ev]
    jump = max((two - one for one, two in pairwise(energies)), default=0.0)
    if jump > atoms * _JUMP_EV_PER_ATOM:
        seen.say(
            Finding.IONIC_STEP_TOO_LARGE,
            Severity.NOTE if seen.finished else Severity.FATAL,
            f"one ionic step raised the energy by {jump:.2f} eV",
            "Reduce POTIM.",
        )
