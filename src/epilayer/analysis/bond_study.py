"""Assessment of a scan of orientations: every bond before and after adsorption, and the hydrogen transfer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from epilayer import __version__
from epilayer.analysis.adsorption import adsorption_energy_ev
from epilayer.analysis.anomalies import closest_contact, find_anomalies
from epilayer.analysis.bonding import (
    abstraction,
    bond_changes,
    nearest_transfer,
    orientation_curve,
    statement,
    strengths,
)
from epilayer.model.bonding import BondStudy, OrientedBonds
from epilayer.model.records import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core import Structure

    from epilayer.analysis.bonding import Strengths
    from epilayer.model.anomaly import Anomaly
    from epilayer.model.bonding import BarrierMethod, BondsRefused, ElectronicStructure
    from epilayer.model.cohp import Bond, Bonding
    from epilayer.model.path import ReactionPath
    from epilayer.model.records import Calculation
    from epilayer.model.units import Deg

IN_PORE: Final = "in a pore"
"""The state of a molecule in a framework, which has no surface."""
_WHOLE_RATIO: Final = 1.2  # a bond a fifth longer is no longer that bond


@dataclass(frozen=True)
class References:
    """What a scan is compared with: the clean slab, the free molecule and its bonds."""

    slab: Calculation
    molecule: Calculation
    bonds: Bonding | ElectronicStructure | BondsRefused


@dataclass(frozen=True)
class ScannedOrientation:
    """One orientation: its start, its relaxation and its bond strengths."""

    label: str
    turn_deg: Deg
    tilt_deg: Deg
    site: str
    start: Structure
    relaxed: Calculation
    bonds: Bonding | ElectronicStructure | BondsRefused


@dataclass(frozen=True)
class HydrogenTransfer:
    """The relaxation with the hydrogen on the surface, the path to it, and the method asked for."""

    after: Calculation | None
    path: Sequence[Calculation] | ReactionPath | None
    asked: BarrierMethod | None


def most_stable_whole(
    bonds: Sequence[Bond], slab: Calculation, molecule: Calculation, relaxed: Sequence[Calculation]
) -> int | None:
    """Return the most stable converged orientation whose molecule is still whole."""
    n_slab = len(slab.structure)

    def is_whole(one: Calculation) -> bool:
        longest_ratio = max(
            one.structure.get_distance(n_slab + i, n_slab + j) / molecule.structure.get_distance(i, j)
            for i, j in (bond.atoms for bond in bonds)
        )
        return longest_ratio < _WHOLE_RATIO

    valid = [k for k, one in enumerate(relaxed) if one.ionic_converged and is_whole(one)]
    return min(valid, key=lambda k: relaxed[k].energy_ev, default=None)


def title(labels: Mapping[str, str]) -> str:
    """Return what a study is called."""
    if labels["state"] == IN_PORE:
        return f"{labels['molecule']} {IN_PORE} of {labels['cathode']}"
    return f"{labels['molecule']} on {labels['cathode']}, {labels['state']} ({labels['facet']})"


def assess_scan(
    labels: Mapping[str, str],
    bonds: Sequence[Bond],
    references: References,
    scan: Sequence[ScannedOrientation],
    transfer: HydrogenTransfer,
    parameters: Mapping[str, str],
) -> BondStudy:
    """Compare every bond with itself, orientation by orientation, and assess the abstraction.

    Parameters
    ----------
    labels
        ``cathode``, ``state``, ``facet``, ``termination`` and ``molecule``.
    bonds
        In the free molecule's indices.
    parameters
        What the scan was asked for.
    """
    slab, molecule = references.slab, references.molecule
    reference = strengths(references.bonds)
    pairs = [b.atoms for b in bonds]
    found = [_oriented(one, labels, pairs, references, reference) for one in scan]
    best = most_stable_whole(bonds, slab, molecule, [one.relaxed for one in scan])
    adsorbed = None if best is None else scan[best].relaxed
    way = None if adsorbed is None else nearest_transfer(adsorbed.structure, len(slab.structure), pairs)
    taken = abstraction(found, adsorbed, transfer.after, way, transfer.path, transfer.asked)
    curve = orientation_curve(found)
    changes = [change for _, _, change in curve]
    measured = [strengths(one.bonds) for one in scan]
    # The slab's mesh and basis: they hold the molecule's elements too.
    seen = next((s for s in measured if s.program), reference)
    stand_in = slab.level.stand_in or reference.stand_in
    said = statement(title(labels), curve, taken, measure=reference.measure, level=slab.level.name)
    refusal = None
    if not curve:
        refusal = reference.refusal or next(
            (o.refusal for o in found if o.refusal), "No bond could be measured."
        )
    spilled = [s.spilling_percent for s in (reference, *measured) if s.spilling_percent is not None]
    return BondStudy(
        cathode=labels["cathode"],
        state=labels["state"],
        facet=labels["facet"],
        termination=labels["termination"],
        molecule=labels["molecule"],
        level=slab.level,
        measure=reference.measure,
        program=reference.program,
        basis=seen.basis,
        k_points=seen.k_points,
        status=Status.CERTIFIED if curve else Status.REFUSED,
        refusal=refusal,
        orientations=tuple(found),
        weakest_bond=min(curve, key=lambda item: item[2])[1] if curve else None,
        strongest_weakening_ratio=min(changes, default=None),
        orientation_spread_ratio=max(changes) - min(changes) if len(changes) > 1 else None,
        spilling_percent=max(spilled, default=None),
        abstraction=taken,
        statement=f"{said} (A stand-in took part: no result.)" if stand_in else said,
        stand_in=stand_in,
        code_version=__version__,
        parameters={
            **parameters,
            # Records of a band, of a scan and without a barrier are three records.
            **({"barrier": taken.barrier_method.value} if taken.barrier_method else {}),
        },
    )


def _oriented(
    one: ScannedOrientation,
    labels: Mapping[str, str],
    pairs: Sequence[tuple[int, int]],
    references: References,
    reference: Strengths,
) -> OrientedBonds:
    slab, molecule, relaxed = references.slab, references.molecule, one.relaxed
    n_slab, seen = len(slab.structure), strengths(one.bonds)
    anomalies: Sequence[Anomaly] = ()
    if labels["state"] != IN_PORE:  # what a surface can do to a molecule; a framework has none
        anomalies = find_anomalies(
            one.start, relaxed.structure, clean_slab=slab.structure, molecule=molecule.structure
        )
    refusal = reference.refusal or seen.refusal
    if seen.measure is not reference.measure:
        refusal = "Free and adsorbed molecule were measured in different ways."
    elif not relaxed.ionic_converged:
        refusal = "The relaxation did not converge. Rerun it with more steps (--set max_steps=800)."
    contact, contact_ang = closest_contact(relaxed.structure, n_slab)
    return OrientedBonds(
        label=one.label,
        turn_deg=one.turn_deg,
        tilt_deg=one.tilt_deg,
        site=one.site,
        converged=relaxed.ionic_converged,
        adsorption_energy_ev=adsorption_energy_ev(relaxed, slab, molecule),
        closest_contact=contact,
        closest_contact_ang=contact_ang,
        anomalies=tuple(anomalies),
        bonds=bond_changes(pairs, molecule.structure, reference, relaxed.structure, seen, n_slab),
        refusal=refusal,
        structure=relaxed.structure,
        provenance=relaxed.provenance,
    )
