"""Typed results: calculations, adsorption energies and growth verdicts, each with its provenance."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Literal

from pydantic import Field
from pymatgen.core import Structure

from epilayer.model.anomaly import Anomaly
from epilayer.model.base import Frozen
from epilayer.model.level import LevelOfTheory, Scalar
from epilayer.model.units import Ang, Ang2, Ev, EvPerAng, Fraction, MuB, Seconds


class Provenance(Frozen):
    """Where a number comes from, well enough to find and check the bytes.

    Attributes
    ----------
    job
        Identifier of the job in the queue; the same content always has the same one.
    run_directory
        The directory the calculation ran in.
    files
        SHA-256 of each file it left there, by name.
    versions
        Versions of the programs that took part.
    """

    job: str
    run_directory: str
    files: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)


class Calculation(Frozen):
    """The outcome of one relaxation or single point, whatever engine computed it.

    Attributes
    ----------
    energy_ev
        Total energy of the last configuration. Energies of two levels never mix.
    dispersion_energy_ev
        The part of ``energy_ev`` that a dispersion correction added; ``None`` without one.
    max_force_ev_per_ang
        Largest force on any atom that was free to move.
    electronic_converged
        ``None`` where the engine has no electronic loop.
    energies_ev, max_forces_ev_per_ang
        Per optimiser step, shape (steps + 1,).
    magnetic_moments_mu_b
        Per atom, shape (atoms,), where the engine gives them.
    corrections
        What was mended while it ran, one line each (custodian's corrections, a resumed attempt).
    """

    kind: Literal["calculation"] = "calculation"
    task: Literal["relax", "static", "md"]
    label: str
    level: LevelOfTheory
    structure: Structure
    energy_ev: Ev
    dispersion_energy_ev: Ev | None = None
    max_force_ev_per_ang: EvPerAng
    force_target_ev_per_ang: EvPerAng | None = None
    ionic_converged: bool
    electronic_converged: bool | None = None
    energies_ev: tuple[Ev, ...]
    max_forces_ev_per_ang: tuple[EvPerAng, ...]
    magnetic_moments_mu_b: tuple[MuB, ...] | None = None
    corrections: tuple[str, ...] = ()
    wall_time_s: Seconds
    provenance: Provenance


class RefusalCode(StrEnum):
    """Why a number may not be reported."""

    NOT_FINITE = "not_finite"
    ELECTRONIC_NOT_CONVERGED = "electronic_not_converged"
    FORCES_NOT_CONVERGED = "forces_not_converged"
    LEVEL_MISMATCH = "level_mismatch"
    ATOMS_NOT_BALANCED = "atoms_not_balanced"
    CELL_MISMATCH = "cell_mismatch"
    CONSTRAINT_MISMATCH = "constraint_mismatch"
    ANOMALY = "anomaly"
    LOWER_POSE_NOT_CONVERGED = "lower_pose_not_converged"
    LOWER_CLEAN_SLAB = "lower_clean_slab"
    NOT_STOICHIOMETRIC = "not_stoichiometric"
    POLAR = "polar"
    FACES_DIFFER = "faces_differ"
    FACES_HELD = "faces_held"
    REBUILT = "rebuilt"
    THICKNESS_NOT_CONVERGED = "thickness_not_converged"
    NEGATIVE_SURFACE_ENERGY = "negative_surface_energy"
    FACET_WITHOUT_VALUE = "facet_without_value"
    SHAPE_NOT_CLOSED = "shape_not_closed"
    STRAIN_TOO_LARGE = "strain_too_large"
    NOT_ELASTIC = "not_elastic"


class Refusal(Frozen):
    """One reason for a refusal, what it concerns, and what a person can do about it."""

    code: RefusalCode
    subject: str
    what: str
    remedy: str


class Status(StrEnum):
    """Whether a number may be reported."""

    CERTIFIED = "certified"
    REFUSED = "refused"


class Leg(Frozen):
    """One of the energies of an adsorption or surface energy, as a reference to its calculation."""

    role: Literal["slab", "molecule", "adslab", "bulk"]
    energy_ev: Ev
    dispersion_energy_ev: Ev | None
    max_force_ev_per_ang: EvPerAng
    steps: int
    residual_ev: Ev
    formula: str
    level_fingerprint: str
    provenance: Provenance


class PoseOutcome(Frozen):
    """What became of one adsorption pose.

    Attributes
    ----------
    stage
        ``placed`` was pre-relaxed only; ``relaxed`` went to the full level.
    adsorption_energy_ev
        At that stage; a pre-relaxed pose's value ranks, it is not a result.
    """

    label: str
    anchor: str
    site: str
    stage: Literal["placed", "relaxed"]
    adsorption_energy_ev: Ev | None
    converged: bool
    anomalies: tuple[Anomaly, ...] = ()
    job: str = ""

    def rank(self) -> tuple[bool, bool, bool, float, str]:
        """Sort key: poses whose energy means something before others, then by energy."""
        energy_ev = self.adsorption_energy_ev
        return (
            energy_ev is None,
            any(a.disqualifies for a in self.anomalies),
            not self.converged,
            math.inf if energy_ev is None else energy_ev,
            self.label,
        )


class SearchConfidence(Frozen):
    """How sure a search for the minimum is of having found it.

    Attributes
    ----------
    starts, sound_starts
        Poses placed and pre-relaxed, and those of them that stayed whole and adsorbed.
    minima
        Distinct minima among the sound ones, up to the symmetry of slab and molecule.
    lowest_hits
        How many starts ended in the lowest of them.
    missed_probability
        That the lowest minimum of all is not among them; see
        :mod:`epilayer.analysis.search_confidence`.
    unseen_probability
        That one more start would end in a minimum not seen so far.
    force_calls
        Energy and force evaluations of all pre-relaxations.
    ended
        ``settled``: nothing lower came for long enough; ``budget``: as many starts as were allowed;
        ``no_more_starts``: no other start was different enough.
    """

    starts: int
    sound_starts: int
    minima: int
    lowest_hits: int
    missed_probability: Fraction
    unseen_probability: Fraction
    force_calls: int
    ended: Literal["settled", "budget", "no_more_starts"]


class AdsorptionEnergy(Frozen):
    """The adsorption energy of one ligand on one facet at one level of theory, or its refusal.

    ``E_ads = E(slab + molecule) - E(slab) - E(molecule)``; negative means bound.

    Attributes
    ----------
    adsorption_energy_ev
        ``None`` where it is refused.
    uncertainty_ev
        Numerical half-width: what the three relaxations still changed over their last steps. It
        says nothing about the error of the level of theory; the spread over levels does.
    without_dispersion_ev
        The same difference without the dispersion terms, at the same geometries.
    pose_spread_ev
        Highest minus lowest adsorption energy among the fully relaxed, valid poses; ``None`` with one.
    poses
        The fully relaxed ones first, best first (:meth:`PoseOutcome.rank`).
    search
        How sure the search is; ``None`` where no search was made, or by an older version.
    """

    kind: Literal["adsorption"] = "adsorption"
    cathode: str
    facet: str
    termination: str
    ligand: str
    level: LevelOfTheory
    status: Status
    adsorption_energy_ev: Ev | None
    uncertainty_ev: Ev | None
    without_dispersion_ev: Ev | None
    pose_spread_ev: Ev | None
    refusals: tuple[Refusal, ...]
    anomalies: tuple[Anomaly, ...]
    legs: tuple[Leg, ...]
    poses: tuple[PoseOutcome, ...]
    structure: Structure
    adsorbate_atoms: tuple[int, ...]
    closest_contact: str
    closest_contact_ang: Ang
    area_ang2: Ang2
    code_version: str
    parameters: dict[str, Scalar]
    search: SearchConfidence | None = None

    @property
    def minimum(self) -> PoseOutcome | None:
        """The pose that the energy and the structure belong to; the least bad one where all are refused."""
        relaxed = [p for p in self.poses if p.stage == "relaxed"]
        return min(relaxed, key=PoseOutcome.rank, default=None)


class GrowthMode(StrEnum):
    """How a MOF layer is expected to grow on the facets of a cathode."""

    ISOTROPIC = "isotropic"
    SELECTIVE = "selective"
    NONE = "none"
    UNDECIDED = "undecided"


class FacetBinding(Frozen):
    """Adsorption on one facet over all levels of theory and terminations that were computed.

    Attributes
    ----------
    terminations
        Whether the ligand holds on each termination by itself; ``None`` where that is undecided.
    termination_spread_ev
        Highest minus lowest value over the terminations at one level, the largest over the levels;
        ``None`` with one termination.
    """

    facet: str
    values_ev: dict[str, Ev | None]
    low_ev: Ev | None
    high_ev: Ev | None
    binds: bool | None
    terminations: dict[str, bool | None] = Field(default_factory=dict)
    termination_spread_ev: Ev | None = None

    @property
    def terminations_disagree(self) -> bool:
        """Whether the ligand holds on one termination and does not on another."""
        return {True, False} <= set(self.terminations.values())


class GrowthVerdict(Frozen):
    """Does the ligand hold on every facet? With the margin that the answer rests on.

    Attributes
    ----------
    margin_ev
        Distance from the binding threshold to the nearest end of any facet's interval; negative
        where an interval contains the threshold (then the verdict is undecided); ``None`` where a
        value was refused.
    parameters
        Settings of the search behind the records, which tell a hasty verdict from a thorough one.
    """

    kind: Literal["growth"] = "growth"
    cathode: str
    ligand: str
    mode: GrowthMode
    binding_facets: tuple[str, ...]
    facets: tuple[FacetBinding, ...]
    threshold_ev: Ev
    margin_ev: Ev | None
    statement: str
    stand_in: bool
    code_version: str
    parameters: dict[str, Scalar] = Field(default_factory=dict)


class Competitor(Frozen):
    """One of several molecules that may hold the same facet.

    Attributes
    ----------
    values_ev
        Adsorption energies by level, with and without dispersion; ``None`` where refused.
    outbids
        The molecules that hold less hard than this one in every value.
    """

    ligand: str
    values_ev: dict[str, Ev | None]
    low_ev: Ev | None
    high_ev: Ev | None
    outbids: tuple[str, ...]


class CompetingAdsorption(Frozen):
    """Which molecules hold a facet the harder, one molecule at a time and out of vacuum.

    Attributes
    ----------
    competitors
        The lowest adsorption energy first, those without any value last; ``outbids`` says what is certain.
    """

    kind: Literal["competition"] = "competition"
    cathode: str
    facet: str
    termination: str
    competitors: tuple[Competitor, ...]
    statement: str
    stand_in: bool
    code_version: str
    parameters: dict[str, Scalar] = Field(default_factory=dict)
