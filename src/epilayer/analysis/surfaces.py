"""Surface energies, certified or refused.

For a stoichiometric slab with two equivalent faces, ``gamma = (E(slab) - n E(bulk)) / (2 A)``. It holds
for relaxed faces, so a slab is held in its centre or not at all. Where one face is held as in the
crystal, its energy is the one of the unrelaxed slab and is taken off:
``gamma = (E(slab) - n E(bulk)) / A - (E(unrelaxed slab) - n E(bulk)) / (2 A)``.

The bulk is computed separately, in the same cell; a slope over thicknesses (Fiorentini and Methfessel,
doi 10.1088/0953-8984/8/36/005) would show a bulk that does not fit; here a second thickness does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from pymatgen.core import Structure

from epilayer import __version__
from epilayer.analysis import shapes
from epilayer.analysis.adsorption import leg_of, leg_refusals
from epilayer.analysis.anomalies import FRAMEWORK_MOVED_ANG
from epilayer.analysis.comparability import bulk_refusals
from epilayer.model.base import Frozen
from epilayer.model.covalent import covalent_radii_ang
from epilayer.model.elements import ALKALI
from epilayer.model.records import Calculation, Leg, Refusal, RefusalCode, Status
from epilayer.model.surface import J_PER_M2_PER_EV_PER_ANG2, SurfaceEnergy, SurfaceThickness
from epilayer.model.units import Ang

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from epilayer.model.level import Scalar

THICKNESS_TOLERANCE_J_PER_M2: Final = 0.05
"""A surface energy that a thicker slab changes by more is not converged."""
_FACE_DEPTH_ANG: Final = 1.0
"""A face is held where all atoms this near to the outermost one are."""
_WHOLE: Final = 1e-6
_ZERO_J_PER_M2: Final = 1e-6


class SurfaceSystem(Frozen):
    """Which surface an energy is of, as the cut describes it.

    Attributes
    ----------
    polar
        Whether the formal charges of the slab leave a dipole.
    """

    cathode: str
    facet: str
    termination: str
    ordering: str
    tasker: str
    moved: str
    broken_bonds_per_nm2: dict[str, float]
    faces_equivalent: bool
    polar: bool


class ComputedSlab(Frozen):
    """A slab as it started, its atoms as in the relaxed crystal, and what a calculation made of it."""

    start: Structure
    thickness_ang: Ang
    calculation: Calculation


def certify_surface(
    system: SurfaceSystem,
    bulk: Calculation,
    slabs: Sequence[ComputedSlab],
    parameters: Mapping[str, Scalar] | None = None,
) -> SurfaceEnergy:
    """Decide whether the surface energy of one termination may be reported.

    Parameters
    ----------
    bulk
        The ordered crystal that was cut, relaxed in the same cell.
    slabs
        At least one slab of the termination; the thickest gives the value, another its change.
    """
    if not slabs:
        message = "certify_surface needs at least one slab"
        raise ValueError(message)
    ordered = sorted(slabs, key=lambda s: s.thickness_ang)
    points = [_thickness(slab, bulk) for slab in ordered]
    thickest, value = ordered[-1], points[-1]
    final = thickest.calculation.structure
    change = value.surface_energy_j_per_m2 - points[-2].surface_energy_j_per_m2 if len(points) > 1 else None
    refusals = [*leg_refusals("bulk", bulk), *_of_the_cut(system)]
    for slab in ordered:
        refusals += [*_of_the_slab(slab, bulk), *_rebuilt(slab)]
    if change is not None and abs(change) > THICKNESS_TOLERANCE_J_PER_M2:
        refusals.append(_unconverged(system, change, ordered))
    if not refusals and value.surface_energy_j_per_m2 < -_ZERO_J_PER_M2:
        refusals.append(_negative(system, value.surface_energy_j_per_m2))
    moved = _moves_ang(thickest.start, final)
    mover = int(np.argmax(moved))
    legs = (leg_of("slab", thickest.calculation), leg_of("bulk", bulk))
    certified = not refusals
    energy = value.surface_energy_j_per_m2
    return SurfaceEnergy(
        cathode=system.cathode,
        facet=system.facet,
        termination=system.termination,
        ordering=system.ordering,
        level=thickest.calculation.level,
        status=Status.CERTIFIED if certified else Status.REFUSED,
        surface_energy_j_per_m2=energy if certified else None,
        surface_energy_ev_per_ang2=energy / J_PER_M2_PER_EV_PER_ANG2 if certified else None,
        uncertainty_j_per_m2=_uncertainty_j_per_m2(legs, thickest, bulk, change) if certified else None,
        thickness_change_j_per_m2=change,
        without_dispersion_j_per_m2=_without_dispersion_j_per_m2(thickest, bulk, value)
        if certified
        else None,
        unrelaxed_j_per_m2=value.unrelaxed_j_per_m2 if certified else None,
        refusals=tuple(refusals),
        thicknesses=tuple(points),
        area_ang2=shapes.area_ang2(final),
        broken_bonds_per_nm2=system.broken_bonds_per_nm2,
        tasker=system.tasker,
        moved=system.moved,
        largest_move_ang=float(moved[mover]),
        largest_mover=f"{final[mover].specie.symbol}{mover}",
        legs=legs,
        structure=final,
        code_version=__version__,
        parameters=dict(parameters or {}),
    )


def surface_energy_j_per_m2(slab: Calculation, bulk: Calculation) -> tuple[float, float]:
    """Return the surface energy of the relaxed and of the unrelaxed slab in J/m^2, unchecked."""
    parts = len(slab.structure) / len(bulk.structure)
    area_ang2 = shapes.area_ang2(slab.structure)
    scale = J_PER_M2_PER_EV_PER_ANG2 / (2 * area_ang2)
    relaxed = (slab.energy_ev - parts * bulk.energy_ev) * scale
    unrelaxed = (slab.energies_ev[0] - parts * bulk.energy_ev) * scale
    return (2 * relaxed - unrelaxed if len(held_faces(slab.structure)) == 1 else relaxed), unrelaxed


def held_faces(structure: Structure) -> tuple[str, ...]:
    """Return which faces of a slab are held: ``top``, ``bottom``."""
    mask = structure.site_properties.get("selective_dynamics")
    if mask is None:
        return ()
    held = np.array([flags is not None and not any(flags) for flags in mask])
    heights = structure.frac_coords[:, 2] * structure.lattice.volume / shapes.area_ang2(structure)
    top, bottom = heights >= heights.max() - _FACE_DEPTH_ANG, heights <= heights.min() + _FACE_DEPTH_ANG
    return tuple(name for name, face in (("top", top), ("bottom", bottom)) if held[face].all())


def _thickness(slab: ComputedSlab, bulk: Calculation) -> SurfaceThickness:
    relaxed, unrelaxed = surface_energy_j_per_m2(slab.calculation, bulk)
    return SurfaceThickness(
        thickness_ang=slab.thickness_ang,
        atoms=len(slab.calculation.structure),
        surface_energy_j_per_m2=relaxed,
        unrelaxed_j_per_m2=unrelaxed,
        held_face=len(held_faces(slab.calculation.structure)) == 1,
        job=slab.calculation.provenance.job,
    )


def _of_the_cut(system: SurfaceSystem) -> list[Refusal]:
    refusals = []
    if system.polar:
        refusals.append(
            Refusal(
                code=RefusalCode.POLAR,
                subject=system.termination,
                what=f"{system.termination} is polar: its energy grows with the thickness of the slab",
                remedy="take an admissible termination (epilayer build slab)",
            )
        )
    if not system.faces_equivalent:
        refusals.append(
            Refusal(
                code=RefusalCode.FACES_DIFFER,
                subject=system.termination,
                what=f"the two faces of {system.termination} differ: only their mean energy is known",
                remedy="cut a slab with equivalent faces (another termination or ordering)",
            )
        )
    return refusals


def _of_the_slab(slab: ComputedSlab, bulk: Calculation) -> list[Refusal]:
    """Reasons why a slab's energy may not be compared with the bulk's, or is not one of two faces."""
    made = slab.calculation
    refusals = [*leg_refusals("slab", made), *bulk_refusals("slab", made, bulk)]
    mine, whole = (made.structure.composition.element_composition, bulk.structure.composition)
    ratio = len(made.structure) / len(bulk.structure)
    amounts = whole.element_composition.get_el_amt_dict()
    if set(mine.get_el_amt_dict()) != set(amounts) or any(
        abs(mine[element] - ratio * amount) > _WHOLE for element, amount in amounts.items()
    ):
        refusals.append(
            Refusal(
                code=RefusalCode.NOT_STOICHIOMETRIC,
                subject="slab",
                what=f"{made.structure.composition.formula} is no multiple of {whole.formula}",
                remedy="cut whole formula units; another slab's energy depends on a chemical potential",
            )
        )
    if len(held_faces(made.structure)) > 1:
        refusals.append(
            Refusal(
                code=RefusalCode.FACES_HELD,
                subject="slab",
                what=f"{made.label}: both faces were held, so neither is relaxed",
                remedy="hold the centre of the slab only",
            )
        )
    return refusals


def _rebuilt(slab: ComputedSlab) -> list[Refusal]:
    """Bonds of the framework that broke or formed, or framework atoms that left their site.

    Alkali ions do not count: settling into another site of their window is the relaxation of an ionic
    surface, and how far they went is in the record.
    """
    start, end = slab.start, slab.calculation.structure
    symbols = [site.specie.symbol for site in start]
    if [site.specie.symbol for site in end] != symbols:
        message = "the relaxed slab does not hold the atoms of the one that started"
        raise ValueError(message)
    frame = np.array([symbol not in ALKALI for symbol in symbols])
    radii = covalent_radii_ang(symbols)
    sums = radii[:, None] + radii[None, :]
    before, after = shapes.distances_ang(start), shapes.distances_ang(end)
    pairs = np.triu(frame[:, None] & frame[None, :], 1)
    broken, formed = shapes.changed_bonds(before, after, sums)
    moved = _moves_ang(start, end)
    reasons = [
        f"the slab {verb} {symbols[i]}{i}-{symbols[j]}{j} ({before[i, j]:.2f} -> {after[i, j]:.2f} A)"
        for verb, found in (("broke", broken), ("formed", formed))
        for i, j in np.argwhere(found & pairs)[:1]
    ]
    reasons += [
        f"atom {symbols[i]}{i} moved by {moved[i]:.2f} A"
        for i in np.flatnonzero(frame & (moved > FRAMEWORK_MOVED_ANG))[:1]
    ]
    return [
        Refusal(
            code=RefusalCode.REBUILT,
            subject="slab",
            what=f"{reason}: its energy is that of another surface",
            remedy="look at the relaxation; report a reconstruction, or take another termination",
        )
        for reason in reasons
    ]


def _moves_ang(start: Structure, end: Structure) -> NDArray[np.float64]:
    """Return how far every atom went, in A, (atoms,), without a drift of the whole slab."""
    moved = end.frac_coords - start.frac_coords
    moved -= np.round(moved)
    moved -= np.median(moved, axis=0)
    return np.asarray(np.linalg.norm(start.lattice.get_cartesian_coords(moved), axis=1))


def _unconverged(system: SurfaceSystem, change: float, slabs: Sequence[ComputedSlab]) -> Refusal:
    thick = " to ".join(f"{slab.thickness_ang:.1f}" for slab in slabs[-2:])
    return Refusal(
        code=RefusalCode.THICKNESS_NOT_CONVERGED,
        subject=system.termination,
        what=f"from {thick} A the surface energy changes by {change:+.3f} J/m2 "
        f"(limit {THICKNESS_TOLERANCE_J_PER_M2:g})",
        remedy="compute a thicker slab, or relax the bulk to smaller forces",
    )


def _negative(system: SurfaceSystem, energy: float) -> Refusal:
    return Refusal(
        code=RefusalCode.NEGATIVE_SURFACE_ENERGY,
        subject=system.termination,
        what=f"the surface energy is negative ({energy:.3f} J/m2): the crystal would cleave spontaneously",
        remedy="look for a lower bulk (another ordering), or for a level that keeps it",
    )


def _uncertainty_j_per_m2(
    legs: tuple[Leg, Leg], slab: ComputedSlab, bulk: Calculation, change: float | None
) -> float:
    parts = len(slab.calculation.structure) / len(bulk.structure)
    residual_ev = legs[0].residual_ev + parts * legs[1].residual_ev
    faces_ang2 = 2 * shapes.area_ang2(slab.calculation.structure)
    return residual_ev / faces_ang2 * J_PER_M2_PER_EV_PER_ANG2 + abs(change or 0.0)


def _without_dispersion_j_per_m2(
    slab: ComputedSlab, bulk: Calculation, value: SurfaceThickness
) -> float | None:
    mine, whole = slab.calculation.dispersion_energy_ev, bulk.dispersion_energy_ev
    if mine is None or whole is None or value.held_face:
        return None
    parts = len(slab.calculation.structure) / len(bulk.structure)
    share = (mine - parts * whole) / (2 * shapes.area_ang2(slab.calculation.structure))
    return value.surface_energy_j_per_m2 - share * J_PER_M2_PER_EV_PER_ANG2
