"""Adsorption energies from calculations that somebody else ran: which three belong together."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from epilayer import __version__
from epilayer.analysis.adsorption import ComputedPose, System, certify
from epilayer.model.errors import InputError
from epilayer.model.imported import CalculationKind, ImportedAdsorption, ImportedLeg
from epilayer.model.records import AdsorptionEnergy, Refusal, RefusalCode, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.model.imported import ImportedCalculation
    from epilayer.model.records import Calculation

    Leg = tuple[ImportedCalculation, Calculation]
    Triple = tuple[Leg, Leg, Leg]

_SAME_CELL_ANG = 1e-3
_RESTING_EV_PER_ANG = 0.1
"""A force this large on a soft mode (5 eV/A^2) hides 1 meV; a single point beyond it is not at rest."""
_GAP_ANG = 5.0
"""A layer without atoms this thick parts a molecule in a box from its images."""


def triples(legs: Sequence[Leg]) -> list[Triple]:
    """Return every (slab, molecule, slab with molecule) among imported calculations.

    A slab with a molecule shares its cell with the slab, and what it holds more is the molecule. Single
    points are taken together, and relaxations where there are no single points. Of several slabs or
    molecules the lowest counts.

    Parameters
    ----------
    legs
        Records with the calculations made of them.
    """
    found: dict[CalculationKind, list[Triple]] = {CalculationKind.STATIC: [], CalculationKind.RELAX: []}
    for kind, out in found.items():
        same = [leg for leg in legs if leg[0].kind is kind]
        molecules = [leg for leg in same if _in_a_box(leg[1])]
        for adsorbed in same:
            slabs = [leg for leg in same if leg is not adsorbed and _may_be_slab(leg[1], adsorbed[1])]
            pairs = [
                (slab, molecule)
                for slab in slabs
                for molecule in molecules
                if _atoms(slab[1]) + _atoms(molecule[1]) == _atoms(adsorbed[1])
            ]
            if pairs:
                slab, molecule = min(pairs, key=lambda pair: pair[0][1].energy_ev + pair[1][1].energy_ev)
                out.append((slab, molecule, adsorbed))
    static = found[CalculationKind.STATIC]
    done = {_system_key(adsorbed[1]) for _, _, adsorbed in static}
    return static + [t for t in found[CalculationKind.RELAX] if _system_key(t[2][1]) not in done]


def imported_adsorption(
    slab: Leg, molecule: Leg, adsorbed: Leg, open_points: Sequence[str] = ()
) -> ImportedAdsorption:
    """Certify or refuse the adsorption energy of three imported calculations.

    Parameters
    ----------
    open_points
        What the files of the legs leave open; kept with the number.
    """
    legs = (("slab", slab), ("molecule", molecule), ("adsorbed", adsorbed))
    refusals: list[Refusal] = []
    if _atoms(slab[1]) + _atoms(molecule[1]) == _atoms(adsorbed[1]):
        full = slab_first(slab[1].structure, adsorbed[1].structure, adsorbed[1].label)
        ordered = adsorbed[1].model_copy(update={"structure": full})
        energy_ev, refusals = _certified(slab[1], molecule[1], ordered)
    else:
        energy_ev = None
        formulas = [leg.structure.composition.formula for _, leg in (adsorbed, slab, molecule)]
        refusals = [
            Refusal(
                code=RefusalCode.ATOMS_NOT_BALANCED,
                subject=adsorbed[1].label,
                what=f"{formulas[0]} is not slab plus molecule ({formulas[1]} and {formulas[2]})",
                remedy="name the slab and the molecule that belong to it",
            )
        ]
    refusals += [r for role, leg in legs for r in _not_at_rest(role, leg[1])]
    shown = all(leg[0].max_force_ev_per_ang is not None for _, leg in legs)
    notes = _caveats(slab[1], molecule[1], adsorbed[1], forces_shown=shown)
    caveats = list(dict.fromkeys([*open_points, *notes]))
    level = adsorbed[0].level
    return ImportedAdsorption(
        status=Status.REFUSED if refusals else Status.CERTIFIED,
        adsorption_energy_ev=None if refusals else energy_ev,
        functional=level.functional if level else None,
        encut_ev=level.encut_ev if level else None,
        dispersion=level.dispersion if level else None,
        refusals=tuple(refusals),
        caveats=tuple(caveats),
        legs=tuple(_leg(role, leg) for role, leg in legs),  # type: ignore[arg-type]  # the three roles
        level_fingerprint=adsorbed[1].level.fingerprint,
        stand_in=any(leg[0].stand_in for _, leg in legs),
        code_version=__version__,
    )


def _certified(
    slab: Calculation, molecule: Calculation, adsorbed: Calculation
) -> tuple[float | None, list[Refusal]]:
    names = (leg.structure.composition.reduced_formula for leg in (slab, molecule))
    system = System(cathode=next(names), facet="imported", termination="imported", ligand=next(names))
    # Its start is not known: only its end is checked.
    pose = ComputedPose(
        label=adsorbed.label, anchor="", site="", start=adsorbed.structure, calculation=adsorbed
    )
    record: AdsorptionEnergy = certify(system, slab, molecule, [pose])
    return record.adsorption_energy_ev, list(record.refusals)


def _not_at_rest(role: str, leg: Calculation) -> Iterator[Refusal]:
    if leg.max_force_ev_per_ang > _RESTING_EV_PER_ANG:
        yield Refusal(
            code=RefusalCode.FORCES_NOT_CONVERGED,
            subject=role,
            what=f"{leg.label}: largest force {leg.max_force_ev_per_ang:.3f} eV/A on a free atom",
            remedy="relax it first, and give the relaxation or a single point after it",
        )


def _caveats(
    slab: Calculation, molecule: Calculation, adsorbed: Calculation, *, forces_shown: bool
) -> Iterator[str]:
    if molecule.level.system.get("smearing") != adsorbed.level.system.get("smearing"):
        yield "the molecule was smeared otherwise than the slab; energy(sigma->0) of both is taken"
    if forces_shown:
        largest = max(leg.max_force_ev_per_ang for leg in (slab, molecule, adsorbed))
        yield f"largest force left on a free atom of a leg: {largest:.3f} eV/A"
    if slab.level.system.get("dipole") == "none":
        yield "no dipole correction in any leg"
    if adsorbed.level.dispersion is None:
        yield "no dispersion in any leg"


def slab_first(clean: Structure, full: Structure, name: str) -> Structure:
    """Return a slab with a molecule: the atoms in the order of the clean slab, then the molecule's.

    Raises
    ------
    InputError
        If ``full``, called ``name``, lacks atoms of the slab.
    """
    taken: list[int] = []
    distances: NDArray[np.float64] = clean.lattice.get_all_distances(clean.frac_coords, full.frac_coords)
    distances = distances.copy()
    for site, row in zip(clean, distances, strict=True):
        allowed = [
            j for j in range(len(full)) if j not in taken and full[j].specie.symbol == site.specie.symbol
        ]
        if not allowed:
            raise InputError(
                f"{name} lacks atoms of the slab.",
                "Name the slab that belongs to it.",
            )
        taken.append(min(allowed, key=lambda j: float(row[j])))
    rest = [j for j in range(len(full)) if j not in taken]
    return full.__class__.from_sites([full[j] for j in (*taken, *rest)])


def _may_be_slab(slab: Calculation, adsorbed: Calculation) -> bool:
    return len(slab.structure) < len(adsorbed.structure) and np.allclose(
        slab.structure.lattice.matrix, adsorbed.structure.lattice.matrix, atol=_SAME_CELL_ANG
    )


def _in_a_box(leg: Calculation) -> bool:
    """Whether vacuum parts it from its images along all three axes."""
    frac = np.sort(leg.structure.frac_coords % 1.0, axis=0)
    widest = np.diff(np.vstack([frac, frac[:1] + 1.0]), axis=0).max(axis=0)
    heights = 1.0 / np.linalg.norm(leg.structure.lattice.inv_matrix, axis=0)
    return bool((widest * heights >= _GAP_ANG).all())


def _atoms(leg: Calculation) -> Counter[str]:
    return Counter(site.specie.symbol for site in leg.structure)


def _system_key(leg: Calculation) -> tuple[str, str]:
    return leg.structure.composition.formula, str(np.round(leg.structure.lattice.matrix, 2).tolist())


def _leg(role: Literal["slab", "molecule", "adsorbed"], leg: Leg) -> ImportedLeg:
    record, calculation = leg
    return ImportedLeg(
        role=role,
        path=record.path,
        label=record.label,
        formula=calculation.structure.composition.formula,
        task=record.kind,
        energy_ev=calculation.energy_ev,
        max_force_ev_per_ang=record.max_force_ev_per_ang,
        files=record.files,
    )
