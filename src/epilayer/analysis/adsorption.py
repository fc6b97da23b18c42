"""Adsorption energies, certified or refused.

``E_ads = E(slab + molecule) - E(slab) - E(molecule)``, negative when bound. One function,
:func:`certify`, decides whether a number may be reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Structure

from epilayer import __version__
from epilayer.analysis.anomalies import closest_contact, find_anomalies, left_sites
from epilayer.analysis.comparability import level_refusals
from epilayer.analysis.shapes import area_ang2
from epilayer.model.anomaly import AnomalyKind
from epilayer.model.base import Frozen
from epilayer.model.records import (
    AdsorptionEnergy,
    Calculation,
    Leg,
    PoseOutcome,
    Refusal,
    RefusalCode,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from epilayer.model.anomaly import Anomaly
    from epilayer.model.level import Scalar
    from epilayer.model.records import SearchConfidence

_RESIDUAL_STEPS = 5
"""An energy is taken to be uncertain by what it still changed over this many last steps."""

_SAME_CELL_ANG = 1e-4
_SAME_SLAB_EV = 0.05
"""Two relaxations of one slab to 0.05 eV/A end within about 0.01 eV; further apart they are two slabs."""

_FREE = (True, True, True)
"""Selective dynamics of an atom that nothing holds."""


class System(Frozen):
    """What is adsorbed where: the labels of an adsorption energy."""

    cathode: str
    facet: str
    termination: str
    ligand: str


class ComputedPose(Frozen):
    """A pose as it was placed (``start``) and what a calculation made of it."""

    label: str
    anchor: str
    site: str
    start: Structure
    calculation: Calculation


def lowest_slab(slabs: Sequence[Calculation]) -> int:
    """Return which clean slab adsorption is referred to: the lowest one that is converged."""
    return min(range(len(slabs)), key=lambda k: (not slabs[k].ionic_converged, slabs[k].energy_ev))


def rebuilt_pose(record: AdsorptionEnergy) -> str | None:
    """Return the lowest pose under which nothing but the surface changed, if it lies below every valid one.

    Its slab may be a lower clean surface than the one that was relaxed, which a relaxation without
    the molecule decides.
    """
    best = record.minimum
    for pose in sorted((p for p in record.poses if p.stage == "relaxed"), key=_energy_ev):
        if best is not None and best.rank() == pose.rank() and not pose.anomalies:
            return None
        kinds = {a.kind for a in pose.anomalies if a.disqualifies}
        if pose.converged and kinds == {AnomalyKind.SURFACE_CHANGED}:
            return pose.label
    return None


def _energy_ev(pose: PoseOutcome) -> float:
    return math.inf if pose.adsorption_energy_ev is None else pose.adsorption_energy_ev


def adsorption_energy_ev(adslab: Calculation, slab: Calculation, molecule: Calculation) -> float:
    """Return ``E(adslab) - E(slab) - E(molecule)`` in eV, unchecked."""
    return adslab.energy_ev - slab.energy_ev - molecule.energy_ev


def certify(
    system: System,
    slab: Calculation,
    molecule: Calculation,
    relaxed: Sequence[ComputedPose],
    placed: Sequence[ComputedPose] = (),
    parameters: Mapping[str, Scalar] | None = None,
    search: SearchConfidence | None = None,
) -> AdsorptionEnergy:
    """Decide whether the adsorption energy of a set of relaxed poses may be reported.

    The minimum is the lowest pose that is converged and free of disqualifying anomalies. It is certified only
    if the slab's and the molecule's legs are converged in energy and forces, all legs share one
    level of theory, the atoms, the cell and the held atoms balance, and no unconverged pose lies
    below it. Otherwise every reason is given, those of the pose that came nearest first.

    Parameters
    ----------
    relaxed
        At least one pose at the full level.
    placed
        Poses that were pre-relaxed only, for the record.
    parameters
        Settings of the search, kept in the record.
    search
        How sure the search is of its minimum, kept in the record.
    """
    if not relaxed:
        message = "certify needs at least one relaxed pose"
        raise ValueError(message)
    checked = sorted((_check(pose, slab, molecule) for pose in relaxed), key=lambda j: j.outcome().rank())
    valid = [j for j in checked if not j.refusals and not j.disqualifying]
    best = checked[0]  # valid, if any is
    refusals = [*leg_refusals("slab", slab), *leg_refusals("molecule", molecule)]
    if valid:
        refusals += [_lower_pose(j) for j in checked if j.unconverged and j.energy_ev < best.energy_ev]
    else:
        for j in checked:
            refusals += j.refusals
            refusals += [
                Refusal(code=RefusalCode.ANOMALY, subject=j.pose.label, what=a.what, remedy=a.remedy)
                for a in j.disqualifying
            ]
    certified = not refusals
    values = [j.energy_ev for j in valid]
    n_slab = len(slab.structure)
    adslab = best.pose.calculation
    contact_label, contact_ang = closest_contact(adslab.structure, n_slab)
    legs = (leg_of("slab", slab), leg_of("molecule", molecule), leg_of("adslab", adslab))
    return AdsorptionEnergy(
        cathode=system.cathode,
        facet=system.facet,
        termination=system.termination,
        ligand=system.ligand,
        level=adslab.level,
        status=Status.CERTIFIED if certified else Status.REFUSED,
        adsorption_energy_ev=best.energy_ev if certified else None,
        uncertainty_ev=sum(leg.residual_ev for leg in legs) if certified else None,
        without_dispersion_ev=_without_dispersion(adslab, slab, molecule) if certified else None,
        pose_spread_ev=max(values) - min(values) if certified and len(values) > 1 else None,
        refusals=tuple(refusals),
        anomalies=best.anomalies,
        legs=legs,
        poses=tuple([j.outcome() for j in checked] + [_placed_outcome(p, slab, molecule) for p in placed]),
        structure=adslab.structure,
        adsorbate_atoms=tuple(range(n_slab, len(adslab.structure))),
        closest_contact=contact_label,
        closest_contact_ang=contact_ang,
        area_ang2=area_ang2(adslab.structure),
        code_version=__version__,
        parameters=dict(parameters or {}),
        search=search,
    )


def rebuilt_by_molecule(record: AdsorptionEnergy) -> AdsorptionEnergy:
    """Return the record with the remedy that is left once the clean slab has been relaxed again."""
    changed = {a.what for a in record.anomalies if a.kind is AnomalyKind.SURFACE_CHANGED}
    remedy = (
        "the clean slab was relaxed again from these atoms and did not keep them: the molecule itself "
        "rebuilds the surface; search poses on the lowest clean slab, or report a reconstruction"
    )
    refusals = tuple(
        r.model_copy(update={"remedy": remedy}) if r.code is RefusalCode.ANOMALY and r.what in changed else r
        for r in record.refusals
    )
    return record.model_copy(update={"refusals": refusals})


def refer_to_lowest_slab(record: AdsorptionEnergy, siblings: Sequence[AdsorptionEnergy]) -> AdsorptionEnergy:
    """Refuse a value whose clean slab lies above one that another ligand's search has found.

    Parameters
    ----------
    record
        What is to be reported.
    siblings
        Adsorption energies of other ligands; those on the same termination at the same level count.
    """
    mine = _slab_leg(record)
    for other in siblings:
        theirs = _slab_leg(other)
        same_level = theirs.level_fingerprint == mine.level_fingerprint
        same_slab = theirs.formula == mine.formula and other.termination == record.termination
        above_ev = mine.energy_ev - theirs.energy_ev
        if not (same_level and same_slab and above_ev > _SAME_SLAB_EV):
            continue
        refusal = Refusal(
            code=RefusalCode.LOWER_CLEAN_SLAB,
            subject="slab",
            what=f"its clean slab lies {above_ev:.2f} eV above the one found with {other.ligand}",
            remedy="place the molecule on the lower slab "
            f"({theirs.provenance.run_directory or 'see the slab leg there'}) and relax again",
        )
        return record.model_copy(
            update={
                "status": Status.REFUSED,
                "adsorption_energy_ev": None,
                "uncertainty_ev": None,
                "without_dispersion_ev": None,
                "pose_spread_ev": None,
                "refusals": (*record.refusals, refusal),
            }
        )
    return record


def _slab_leg(record: AdsorptionEnergy) -> Leg:
    return next(leg for leg in record.legs if leg.role == "slab")


@dataclass(frozen=True)
class _Checked:
    pose: ComputedPose
    energy_ev: float
    refusals: tuple[Refusal, ...]
    anomalies: tuple[Anomaly, ...]

    @property
    def disqualifying(self) -> list[Anomaly]:
        """Findings after which the energy is no adsorption energy."""
        return [a for a in self.anomalies if a.disqualifies]

    @property
    def comparable(self) -> bool:
        """Whether the three energies may be subtracted from one another at all."""
        return all(r.code in _OWN_REASONS for r in self.refusals) and math.isfinite(self.energy_ev)

    @property
    def unconverged(self) -> bool:
        """Whether more steps may make it valid."""
        return bool(self.refusals) and self.comparable and not self.disqualifying

    def outcome(self) -> PoseOutcome:
        return PoseOutcome(
            label=self.pose.label,
            anchor=self.pose.anchor,
            site=self.pose.site,
            stage="relaxed",
            adsorption_energy_ev=self.energy_ev if self.comparable else None,
            converged=not any(r.code in _OWN_REASONS for r in self.refusals),
            anomalies=self.anomalies,
            job=self.pose.calculation.provenance.job,
        )


_OWN_REASONS = frozenset({RefusalCode.ELECTRONIC_NOT_CONVERGED, RefusalCode.FORCES_NOT_CONVERGED})
"""Reasons after which an energy is uncertain, but still one that its neighbours may be compared with."""


def _check(pose: ComputedPose, slab: Calculation, molecule: Calculation) -> _Checked:
    adslab = pose.calculation
    refusals = leg_refusals(pose.label, adslab) + _comparability(pose.label, adslab, slab, molecule)
    balanced = all(r.code not in (RefusalCode.ATOMS_NOT_BALANCED, RefusalCode.NOT_FINITE) for r in refusals)
    anomalies = (
        find_anomalies(
            initial=pose.start,
            final=adslab.structure,
            clean_slab=slab.structure,
            molecule=molecule.structure,
        )
        if balanced
        else ()
    )
    return _Checked(pose, adsorption_energy_ev(adslab, slab, molecule), tuple(refusals), tuple(anomalies))


def leg_refusals(subject: str, leg: Calculation) -> list[Refusal]:
    """Return every reason why one calculation is no leg of an energy difference."""
    refusals = []
    if not (math.isfinite(leg.energy_ev) and math.isfinite(leg.max_force_ev_per_ang)):
        refusals.append(
            Refusal(
                code=RefusalCode.NOT_FINITE,
                subject=subject,
                what=f"{leg.label}: energy or force is not a finite number",
                remedy="look for overlapping atoms in its starting structure",
            )
        )
    if leg.electronic_converged is False:
        refusals.append(
            Refusal(
                code=RefusalCode.ELECTRONIC_NOT_CONVERGED,
                subject=subject,
                what=f"{leg.label}: the last electronic loop did not converge",
                remedy="rerun with another ALGO or more electronic steps",
            )
        )
    target = leg.force_target_ev_per_ang
    if not leg.ionic_converged or (target is not None and leg.max_force_ev_per_ang > target):
        shown = f"{target:.3f}" if target is not None else "no"
        refusals.append(
            Refusal(
                code=RefusalCode.FORCES_NOT_CONVERGED,
                subject=subject,
                what=f"{leg.label}: largest force {leg.max_force_ev_per_ang:.3f} eV/A, target {shown} eV/A, "
                f"after {len(leg.energies_ev) - 1} steps",
                remedy="rerun with more steps (--set max_steps=800), or from the last structure",
            )
        )
    return refusals


def _comparability(
    subject: str, adslab: Calculation, slab: Calculation, molecule: Calculation
) -> list[Refusal]:
    refusals = level_refusals(subject, adslab, slab, molecule)
    expected = slab.structure.composition + molecule.structure.composition
    if adslab.structure.composition.element_composition != expected.element_composition:
        refusals.append(
            Refusal(
                code=RefusalCode.ATOMS_NOT_BALANCED,
                subject=subject,
                what=f"{adslab.structure.composition.formula} is not slab plus molecule ({expected.formula})",
                remedy="build the pose from this slab and this molecule",
            )
        )
    if not np.allclose(slab.structure.lattice.matrix, adslab.structure.lattice.matrix, atol=_SAME_CELL_ANG):
        refusals.append(
            Refusal(
                code=RefusalCode.CELL_MISMATCH,
                subject=subject,
                what="the slab with the molecule has another cell than the clean slab",
                remedy="relax the clean slab in the same cell",
            )
        )
    elif _held(slab.structure) != _held(adslab.structure)[: len(slab.structure)]:
        refusals.append(
            Refusal(
                code=RefusalCode.CONSTRAINT_MISMATCH,
                subject=subject,
                what="other atoms were held in the clean slab than in the slab with the molecule",
                remedy="hold the same bottom layers in both",
            )
        )
    return refusals


def _held(structure: Structure) -> list[tuple[bool, ...]]:
    mask = structure.site_properties.get("selective_dynamics")
    if mask is None:
        return [_FREE] * len(structure)
    return [_FREE if flags is None else tuple(map(bool, flags)) for flags in mask]


def _lower_pose(checked: _Checked) -> Refusal:
    return Refusal(
        code=RefusalCode.LOWER_POSE_NOT_CONVERGED,
        subject=checked.pose.label,
        what=f"pose {checked.pose.label} lies lower ({checked.energy_ev:.3f} eV) but is not converged",
        remedy="give it more steps (--set max_steps=800) and rerun",
    )


def leg_of(role: Literal["slab", "molecule", "adslab", "bulk"], calculation: Calculation) -> Leg:
    """Return a calculation as a leg of an energy difference."""
    energies = calculation.energies_ev
    tail = energies[-(_RESIDUAL_STEPS + 1) :]
    return Leg(
        role=role,
        energy_ev=calculation.energy_ev,
        dispersion_energy_ev=calculation.dispersion_energy_ev,
        max_force_ev_per_ang=calculation.max_force_ev_per_ang,
        max_held_force_ev_per_ang=calculation.max_held_force_ev_per_ang,
        left_sites=left_sites(calculation.structure, calculation.displacements_ang) if role == "slab" else (),
        steps=len(energies) - 1,
        residual_ev=max(tail) - min(tail),
        formula=calculation.structure.composition.formula,
        level_fingerprint=calculation.level.fingerprint,
        provenance=calculation.provenance,
    )


def _without_dispersion(adslab: Calculation, slab: Calculation, molecule: Calculation) -> float | None:
    parts = [c.dispersion_energy_ev for c in (adslab, slab, molecule)]
    if any(p is None for p in parts):
        return None
    dispersion = parts[0] - parts[1] - parts[2]  # type: ignore[operator]  # no None is left here
    return adsorption_energy_ev(adslab, slab, molecule) - dispersion


def _placed_outcome(pose: ComputedPose, slab: Calculation, molecule: Calculation) -> PoseOutcome:
    return PoseOutcome(
        label=pose.label,
        anchor=pose.anchor,
        site=pose.site,
        stage="placed",
        adsorption_energy_ev=adsorption_energy_ev(pose.calculation, slab, molecule),
        converged=pose.calculation.ionic_converged,
        job=pose.calculation.provenance.job,
    )
