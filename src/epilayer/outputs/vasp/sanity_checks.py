"""Relations that the numbers of one VASP run must satisfy among themselves."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from epilayer.model.imported import CalculationKind, Finding, Severity
from epilayer.outputs.reading import is_element
from epilayer.outputs.vasp import outcar as oc
from epilayer.outputs.vasp import settings as st

if TYPE_CHECKING:
    from epilayer.outputs.vasp.run_files import RunFiles

_JUMP_EV_PER_ATOM = 1.0
# What adds to the energy after the electronic loop, so that the two need not be the same.
_ADDED_AFTER = (
    "IVDW", "LVDW", "LDIPOL", "IDIPOL", "LSOL", "LMONO", "EFIELD", "ML_LMLFF", "LUSE_VDW", "LHFCALC",
)  # fmt: skip


def check(seen: RunFiles) -> None:
    """Check the numbers against what they must satisfy."""
    _smearing(seen)
    _later_terms(seen)
    _elements(seen)
    if seen.settings.flag("ML_LMLFF"):
        seen.report(
            Finding.MACHINE_LEARNED,
            Severity.WITHHOLDS,
            "ML_LMLFF: the energies are of VASP's machine-learned force field, not of DFT",
        )
    atoms = max(1, len(seen.species))
    energy = seen.witnesses[0].energy_ev if seen.witnesses else None
    if energy is not None and energy > 0:
        severity = Severity.WITHHOLDS if energy > atoms * _JUMP_EV_PER_ATOM else Severity.NOTE
        what = f"the energy of the last step is positive ({energy:.6f} eV)"
        seen.report(Finding.ENERGY_POSITIVE, severity, what, "Look at the geometry and reduce POTIM.")
    if seen.kind is CalculationKind.RELAX and seen.species:
        _jumps(seen, atoms)


def _smearing(seen: RunFiles) -> None:
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
            seen.report(Finding.ENERGY_INCONSISTENT, Severity.WITHHOLDS, what, remedy, seen.outcar.name)
    last = seen.vasprun.last if seen.vasprun else None
    shown = last.entropy_fraction if last is not None else None
    # Rounding of three energies to 1e-8 eV, over an entropy term of at least 1e-5 eV.
    if shown is not None and abs(shown - fraction) > 5e-3:  # noqa: PLR2004
        what = "the energies of the last electronic step do not fit together"
        seen.report(Finding.ENERGY_INCONSISTENT, Severity.WITHHOLDS, what, remedy)


def _later_terms(seen: RunFiles) -> None:
    """Hold the energy of the last step against that of its last electronic step."""
    named = any(seen.settings.values.get(name) not in (None, False, 0, 0.0) for name in _ADDED_AFTER)
    added_ev = st.added_after_ev(seen.vasprun)
    if named or not added_ev:
        return
    # No dispersion is as large; and a response must leave its ground state's energy as it was.
    what = (
        f"the energy holds {added_ev:.6f} eV that its electronic steps lack (dispersion?); no file names it"
    )
    # A response leaves the energy of its ground state as it was.
    severity = Severity.WITHHOLDS if seen.kind is CalculationKind.RESPONSE else Severity.NOTE
    seen.report(Finding.ENERGY_INCONSISTENT, severity, what, "Keep the INCAR and OUTCAR beside it.")


def _elements(seen: RunFiles) -> None:
    unknown = [name for name in dict.fromkeys(seen.species) if not is_element(name)]
    if not unknown:
        return
    titels = (
        seen.vasprun.header.potentials
        if seen.vasprun
        else oc.titels(seen.outcar.head if seen.outcar else b"")
    )
    named = next((one[1] for one in titels if one[0] == unknown[0]), "which names none either")
    seen.report(
        Finding.UNKNOWN_ELEMENT,
        Severity.WITHHOLDS,
        f"{unknown[0]!r} is no chemical element (its pseudopotential: {named})",
        "Correct the symbol in the file: it came from the VRHFIN and TITEL of an edited POTCAR.",
    )


def _entropy_fraction(smearing: int | None) -> float | None:
    """Return where energy(sigma->0) lies between the free energy (0) and the one without entropy (1)."""
    if smearing is not None and smearing > 0:  # Methfessel-Paxton of order N
        return 1.0 / (smearing + 2)
    # Gauss and Fermi smearing; the tetrahedron methods have no entropy, so that all three are equal.
    return {0: 0.5, -1: 0.5, -4: 0.5, -5: 0.5}.get(smearing) if smearing is not None else None


def _jumps(seen: RunFiles, atoms: int) -> None:
    energies: list[float] = []
    if seen.outcar and len(seen.outcar.steps) == seen.steps:
        energies = [step.energy_ev for step in seen.outcar.steps]
    elif seen.vasprun:
        energies = [float(value) for value in seen.vasprun.energies_ev]
    jump = max((two - one for one, two in pairwise(energies)), default=0.0)
    if jump > atoms * _JUMP_EV_PER_ATOM:
        seen.report(
            Finding.IONIC_STEP_TOO_LARGE,
            Severity.NOTE if seen.finished else Severity.FATAL,
            f"one ionic step raised the energy by {jump:.2f} eV",
            "Reduce POTIM.",
        )
