"""The same bond before and after adsorption: changes, the weakest, and their dependence on orientation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from epilayer.analysis.abstraction import barrier
from epilayer.model.anomaly import AnomalyKind
from epilayer.model.bonding import (
    BarrierMethod,
    BondChange,
    BondMeasure,
    BondsRefused,
    ElectronicStructure,
    HydrogenAbstraction,
)
from epilayer.model.records import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from epilayer.model.bonding import OrientedBonds
    from epilayer.model.cohp import Bonding
    from epilayer.model.path import ReactionPath
    from epilayer.model.records import Calculation

#: Two atoms are bonded within this multiple of the sum of their covalent radii (doi 10.1039/b801115j).
BONDED_SCALE: Final = 1.25
#: Occupations further than this from whole ones, summed: no single configuration to speak of.
MOST_FRACTIONAL_ELECTRONS: Final = 0.5
_PERCENT: Final = 100.0
_OH_ANG: Final = 0.98
_STILL_BONDED_ANG: Final = 1.2
#: H...O of a hydrogen that two atoms share; hydrogen bonds of O-H begin at 1.5 A, of C-H at 2 A.
_SHARED_ANG: Final = 1.4


@dataclass(frozen=True)
class Strengths:
    """Bond strengths of one geometry, from any engine.

    Parameters
    ----------
    values_ev
        By bond, in the order asked for; positive where the atoms are bound.
    refusal
        Why they do not count; ``None`` where they do.
    """

    measure: BondMeasure
    program: str
    basis: str
    k_points: str
    values_ev: tuple[float | None, ...]
    refusal: str | None
    spilling_percent: float | None = None
    stand_in: bool = False


def strengths(found: Bonding | ElectronicStructure | BondsRefused) -> Strengths:
    """Return what a bond calculation says in one form, with the reason where it may not be used."""
    if isinstance(found, BondsRefused):
        return Strengths(found.measure, "", "", "", (), f"{found.what} {found.remedy}")
    if isinstance(found, ElectronicStructure):
        loose = found.fractional_electrons > MOST_FRACTIONAL_ELECTRONS
        refusal = (
            f"Orbitals are partly filled ({found.fractional_electrons:.1f} electrons from whole): not one "
            "configuration. Measure this state with LOBSTER."
            if loose
            else None
        )
        values = tuple(b.lowdin_ev for b in found.bonds)
        return Strengths(found.measure, found.program, found.basis, found.k_points, values, refusal)
    spilling = max((s.charge_percent for s in found.spilling if s.charge_percent is not None), default=None)
    refused = found.status is Status.REFUSED
    return Strengths(
        measure=BondMeasure.ICOHP_LOBSTER,
        program=found.method,
        basis=", ".join(f"{element} {functions}" for element, functions in sorted(found.basis.items())),
        k_points=str(found.level.system.get("k_mesh") or "not stated"),
        values_ev=tuple(None if b.icohp_ev is None else -b.icohp_ev for b in found.bonds),
        refusal="; ".join(r.what for r in found.refusals) if refused else None,
        spilling_percent=spilling,
        stand_in=found.stand_in,
    )


def bond_changes(
    bonds: Sequence[tuple[int, int]],
    molecule: Structure,
    free: Strengths,
    adslab: Structure,
    adsorbed: Strengths,
    n_slab: int,
) -> tuple[BondChange, ...]:
    """Compare every bond of a molecule with itself after adsorption.

    Parameters
    ----------
    bonds
        In the free molecule's indices; the adslab keeps its order after ``n_slab`` atoms.
    molecule, adslab
        Relaxed geometries.
    """
    changes = []
    for k, (i, j) in enumerate(bonds):
        before = free.values_ev[k] if free.refusal is None else None
        if before is None:
            continue
        elements = (str(molecule[i].specie.symbol), str(molecule[j].specie.symbol))
        length_ang = float(adslab.get_distance(n_slab + i, n_slab + j))
        reach_ang = BONDED_SCALE * sum(float(covalent_radii[atomic_numbers[e]]) for e in elements)
        intact = length_ang < reach_ang
        after = adsorbed.values_ev[k] if intact and adsorbed.refusal is None else None
        changes.append(
            BondChange(
                name=f"{elements[0]}{i}-{elements[1]}{j}",
                atoms=(i, j),
                elements=elements,
                free_ang=float(molecule.get_distance(i, j)),
                adsorbed_ang=length_ang,
                free_ev=before,
                adsorbed_ev=after,
                change_ratio=None if after is None else after / before - 1.0,
                intact=intact,
            )
        )
    return tuple(changes)


def orientation_curve(orientations: Sequence[OrientedBonds]) -> list[tuple[str, str, float]]:
    """Return (orientation, its weakest backbone bond, change ratio) of those that count."""
    curve = []
    for one in orientations:
        weakest = one.weakest
        if one.refusal is None and weakest is not None and weakest.change_ratio is not None:
            curve.append((one.label, weakest.name, weakest.change_ratio))
    return curve


def nearest_transfer(
    adslab: Structure, n_slab: int, bonds: Sequence[tuple[int, int]]
) -> tuple[int, int, int] | None:
    """Return donor, hydrogen and acceptor of the shortest way for a hydrogen onto a surface oxygen.

    Donors are the molecule's carbons: a hydrogen on its hydroxyl end is an acid's, not the backbone's.
    """
    symbols = [str(s.specie.symbol) for s in adslab]
    pairs = [(n_slab + i, n_slab + j) for pair in bonds for i, j in (pair, pair[::-1])]
    carbon_of = {h: c for h, c in pairs if symbols[h] == "H" and symbols[c] == "C"}
    oxygens = [i for i in range(n_slab) if symbols[i] == "O"]
    if not carbon_of or not oxygens:
        return None
    hydrogens = sorted(carbon_of)
    fractional = np.asarray(adslab.frac_coords)
    distances = adslab.lattice.get_all_distances(fractional[hydrogens], fractional[oxygens])
    h, o = np.unravel_index(int(np.argmin(distances)), distances.shape)
    hydrogen = hydrogens[int(h)]
    return carbon_of[hydrogen], hydrogen, oxygens[int(o)]


def transferred(adslab: Structure, hydrogen: int, acceptor: int) -> Structure:
    """Return the structure with a hydrogen put onto an oxygen, 0.98 A from it, on the side it came from."""
    moved = adslab.copy()
    image = moved.lattice.get_distance_and_image(moved[acceptor].frac_coords, moved[hydrogen].frac_coords)[1]
    there = moved.lattice.get_cartesian_coords(moved[hydrogen].frac_coords + image)
    way = there - moved[acceptor].coords
    moved.translate_sites(
        [hydrogen],
        moved[acceptor].coords + _OH_ANG * way / np.linalg.norm(way) - there,
        frac_coords=False,
        to_unit_cell=False,
    )
    return moved


def abstraction(
    orientations: Sequence[OrientedBonds],
    adsorbed: Calculation | None,
    after: Calculation | None,
    transfer: tuple[int, int, int] | None,
    path: Sequence[Calculation] | ReactionPath | None = None,
    asked: BarrierMethod | None = None,
) -> HydrogenAbstraction:
    """Assess a computed transfer of a hydrogen to the surface.

    Parameters
    ----------
    orientations
        Of the scan; their anomalies say where a hydrogen moved spontaneously.
    adsorbed, after
        The most stable orientation, and the relaxation that started from the transferred hydrogen.
    transfer
        Donor, hydrogen, acceptor.
    path
        Between the two; ``None`` where it was not walked.
    asked
        By which method a barrier was asked for.
    """
    spontaneous = tuple(
        o.label for o in orientations if any(a.kind is AnomalyKind.HYDROGEN_TRANSFERRED for a in o.anomalies)
    )
    shared = tuple(o.label for o in orientations if o.label not in spontaneous and _shares_hydrogen(o))
    if adsorbed is None or after is None or transfer is None:
        why = (
            "No converged orientation holds the molecule whole."
            if adsorbed is None
            else "No oxygen is there to take a hydrogen from a carbon."
        )
        return HydrogenAbstraction(
            spontaneous=spontaneous,
            shared=shared,
            donor=None,
            hydrogen=None,
            acceptor=None,
            energy_ev=None,
            refusal=why,
            structure=None,
            barrier_method=asked,
            barrier_refusal=why if asked else None,
        )
    donor, hydrogen, acceptor = (f"{after.structure[k].specie.symbol}{k}" for k in transfer)
    stayed = after.structure.get_distance(transfer[1], transfer[2]) < _STILL_BONDED_ANG
    refusal = None
    if not after.ionic_converged:
        refusal = "The relaxation after the transfer did not converge; rerun it with --set max_steps=800."
    elif not stayed:
        refusal = f"{hydrogen} went back: the product is no minimum at this level."
    elif after.level.fingerprint != adsorbed.level.fingerprint:
        refusal = "The two relaxations were executed at different levels of theory."
    walked = barrier(adsorbed, path, after, transfer) if path and not refusal else None
    unwalked = refusal or "No path was walked." if asked else None
    return HydrogenAbstraction(
        spontaneous=spontaneous,
        shared=shared,
        donor=donor,
        hydrogen=hydrogen,
        acceptor=acceptor,
        energy_ev=None if refusal else after.energy_ev - adsorbed.energy_ev,
        refusal=refusal,
        structure=after.structure,
        barrier_ev=None if walked is None else walked.barrier_ev,
        barrier_method=asked if walked is None else walked.method,
        barrier_refusal=unwalked if walked is None else walked.refusal,
        barrier_path=() if walked is None else walked.path,
        summit=None if walked is None else walked.summit,
    )


def _shares_hydrogen(oriented: OrientedBonds) -> bool:
    elements = {re.sub(r"\d+", "", atom) for atom in oriented.closest_contact.split("...")}
    return elements == {"H", "O"} and oriented.closest_contact_ang < _SHARED_ANG


def statement(
    study: str,
    curve: Sequence[tuple[str, str, float]],
    found: HydrogenAbstraction,
    *,
    measure: BondMeasure,
    level: str,
) -> str:
    """Return the sentences that may be printed about a study, each number with what it was obtained by."""
    if not curve:
        said = f"{study}: no orientation counts."
    else:
        changes = [change for _, _, change in curve]
        label, bond, lowest = min(curve, key=lambda item: item[2])
        said = f"{study}: the weakest backbone bond, {bond}, changes by {_PERCENT * lowest:+.1f} %"
        if len(curve) > 1:
            said = (
                f"{study}: the weakest backbone bond changes by {_PERCENT * min(changes):+.1f} to "
                f"{_PERCENT * max(changes):+.1f} % over {len(curve)} orientations ({bond} at {label}: "
                f"{_PERCENT * lowest:+.1f} %)"
            )
        said = f"{said}, by {measure.value}."
    if found.spontaneous:
        return f"{said} A hydrogen went to the surface by itself ({', '.join(found.spontaneous)})."
    if found.energy_ev is not None:
        verb = "gains" if found.energy_ev < 0 else "costs"
        return (
            f"{said} Taking {found.hydrogen} from {found.donor} {verb} {abs(found.energy_ev):.2f} eV"
            f"{_over(found)}, by {level}.{_on_its_way(found)}"
        )
    return f"{said} Abstraction is refused: {found.refusal}"


def _on_its_way(found: HydrogenAbstraction) -> str:
    if not found.shared:
        return ""
    where = ", ".join(found.shared)
    return f" A hydrogen is on its way already, shared with an oxygen of the surface ({where})."


def _over(found: HydrogenAbstraction) -> str:
    if found.barrier_method is None:
        return ""
    if found.barrier_ev is None:
        return " (its barrier is refused)"
    at_most = "at most " if found.barrier_method is BarrierMethod.SCAN else ""
    return f", over {at_most}{found.barrier_ev:.2f} eV ({found.barrier_method.value})"
