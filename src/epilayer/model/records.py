"""Typed results: calculations, adsorption energies and growth verdicts, each with its provenance."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from pymatgen.core import Structure

from epilayer.model.anomaly import Anomaly
from epilayer.model.base import Frozen
from epilayer.model.kind import LEVEL, REFUSAL, STAND_IN, Column, Number, RecordKind, columns, picked, span
from epilayer.model.level import LevelOfTheory, Scalar
from epilayer.model.units import Ang, Ang2, Ev, EvPerAng, Fraction, MuB, Seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
    """The outcome of one relaxation or single point, by any engine.

    Attributes
    ----------
    energy_ev
        Total energy of the last configuration. Energies of two levels never mix.
    dispersion_energy_ev
        The part of ``energy_ev`` that a dispersion correction added; ``None`` without one.
    max_force_ev_per_ang
        Largest force on any atom that was free to move.
    max_held_force_ev_per_ang
        Largest force on any atom that was held; ``None`` where none was, or the engine does not give it.
    displacements_ang
        How far each atom is from where it started, shape (atoms,); ``None`` where it is not given.
    electronic_converged
        ``None`` where the engine has no electronic loop.
    energies_ev, max_forces_ev_per_ang
        Per optimiser step, shape (steps + 1,).
    magnetic_moments_mu_b
        Per atom, shape (atoms,), where the engine gives them.
    corrections
        What was corrected while it ran, one line each (custodian's corrections, a resumed attempt).
    """

    kind: Literal["calculation"] = "calculation"
    task: Literal["relax", "static", "md"]
    label: str
    level: LevelOfTheory
    structure: Structure
    energy_ev: Ev
    dispersion_energy_ev: Ev | None = None
    max_force_ev_per_ang: EvPerAng
    max_held_force_ev_per_ang: EvPerAng | None = None
    displacements_ang: tuple[Ang, ...] | None = None
    force_target_ev_per_ang: EvPerAng | None = None
    ionic_converged: bool
    electronic_converged: bool | None = None
    energies_ev: tuple[Ev, ...]
    max_forces_ev_per_ang: tuple[EvPerAng, ...]
    magnetic_moments_mu_b: tuple[MuB, ...] | None = None
    corrections: tuple[str, ...] = ()
    wall_time_s: Seconds
    provenance: Provenance


RefusalCode = StrEnum(
    "RefusalCode",
    "NOT_FINITE ELECTRONIC_NOT_CONVERGED FORCES_NOT_CONVERGED LEVEL_MISMATCH ATOMS_NOT_BALANCED "
    "CELL_MISMATCH CONSTRAINT_MISMATCH ANOMALY LOWER_POSE_NOT_CONVERGED LOWER_CLEAN_SLAB "
    "NOT_STOICHIOMETRIC POLAR FACES_DIFFER FACES_HELD REBUILT THICKNESS_NOT_CONVERGED "
    "NEGATIVE_SURFACE_ENERGY FACET_WITHOUT_VALUE SHAPE_NOT_CLOSED STRAIN_TOO_LARGE NOT_ELASTIC "
    "SEARCH_OPEN REFERENCE_OPEN MODEL_OPEN INTERVAL_TOO_WIDE",
)
"""Why a number may not be reported; the last four only keep it provisional."""


class Refusal(Frozen):
    """One reason why a number is refused or provisional, what it concerns, and what can be done about it."""

    code: RefusalCode
    subject: str
    what: str
    remedy: str


class Status(StrEnum):
    """Whether a number may be reported: yes; with what is still open beside it; no."""

    CERTIFIED = "certified"
    PROVISIONAL = "provisional"
    REFUSED = "refused"


class Uncertainty(Frozen):
    """What an adsorption energy may be off by: four half-widths at 95 %, and the interval of their sum.

    A part that was not measured is ``None`` and not in the interval, which is then too narrow; the record
    is provisional and names it.

    Attributes
    ----------
    numerical_ev
        Convergence: what the relaxations still changed over their last steps.
    search_ev
        How much higher half of the starts would have ended. It widens the interval downwards alone, since a
        longer search only finds lower minima.
    reference_ev
        Of the clean slab: its thickness and its own minimum.
    model_ev
        Of the level of theory, from its errors on published interaction energies.
    low_ev, high_ev
        The 95 % interval of the adsorption energy: the parts added in quadrature.
    """

    numerical_ev: Ev
    search_ev: Ev | None
    reference_ev: Ev | None
    model_ev: Ev | None
    low_ev: Ev
    high_ev: Ev


class Leg(Frozen):
    """One of the energies of an adsorption or surface energy, as a reference to its calculation.

    Attributes
    ----------
    max_held_force_ev_per_ang
        Largest force on an atom that was held: how far the crystal below is from equilibrium at this level.
    left_sites
        Atoms that the relaxation took farther from where they started than the anomaly limits allow.
    """

    role: Literal["slab", "molecule", "adslab", "bulk"]
    energy_ev: Ev
    dispersion_energy_ev: Ev | None
    max_force_ev_per_ang: EvPerAng
    max_held_force_ev_per_ang: EvPerAng | None = None
    left_sites: tuple[str, ...] = ()
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
        ``settled``: a lower minimum was missed with less than 5 %; ``agreed``: independent streams of starts
        have the same lowest minimum; ``budget``: as many starts as were allowed; ``no_more_starts``: no
        other start was different enough. After the last two the search is open.
    half_loss_ev
        How much higher the lowest minimum would be with a random half of the starts, its 95 % quantile;
        ``None`` with fewer than five sound starts, or by an earlier version.
    """

    starts: int
    sound_starts: int
    minima: int
    lowest_hits: int
    missed_probability: Fraction
    unseen_probability: Fraction
    force_calls: int
    ended: Literal["settled", "agreed", "budget", "no_more_starts"]
    half_loss_ev: Ev | None = None

    @property
    def done(self) -> bool:
        """Whether it ended because it was done; earlier versions called a search settled far too soon."""
        sure = self.missed_probability <= MAX_MISSED_PROBABILITY
        return self.ended == "agreed" or (self.ended == "settled" and sure)


MAX_MISSED_PROBABILITY = 0.05
"""A search is done when a lower minimum was missed with less than this probability."""


NOT_JUDGED = "certified by convergence alone"
"""What is open in a value of an earlier version, which did not judge search, reference and model."""


class AdsorptionEnergy(Frozen):
    """The adsorption energy of one ligand on one facet at one level of theory, or its refusal.

    ``E_ads = E(slab + molecule) - E(slab) - E(molecule)``; negative means bound.

    Attributes
    ----------
    adsorption_energy_ev
        ``None`` where it is refused.
    uncertainty_ev
        Numerical half-width alone: what the three relaxations still changed over their last steps.
    uncertainty
        All four parts and the interval; ``None`` where the value is refused, or by an earlier version.
    open_points
        Why a provisional value is not certified, the most important first.
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
    uncertainty: Uncertainty | None = None
    open_points: tuple[Refusal, ...] = ()

    @property
    def badge(self) -> Status:
        """What it is shown as: what an earlier version certified by convergence alone is provisional."""
        unproven = self.status is Status.CERTIFIED and self.uncertainty is None
        return Status.PROVISIONAL if unproven else self.status

    @property
    def open_because(self) -> tuple[str, ...]:
        """Why it is provisional, each reason in about five words."""
        if self.badge is not Status.PROVISIONAL:
            return ()
        return tuple(p.what for p in self.open_points) or (NOT_JUDGED,)

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
        Whether the ligand holds on each single termination; ``None`` where that is undecided.
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
    decided_by
        The one computation that would decide an undecided verdict soonest.
    parameters
        Settings of the search behind the records, which distinguish a quick verdict from a thorough one.
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
    decided_by: str | None = None
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


def growth_words(mode: GrowthMode | None, facets: Sequence[str] = ()) -> str:
    """Return a growth mode in words."""
    if mode is None:
        return "not computed"
    where = ", ".join(f"({f})" for f in facets)
    return {
        GrowthMode.ISOTROPIC: "isotropic",
        GrowthMode.SELECTIVE: f"{where} only",
        GrowthMode.NONE: "none",
        GrowthMode.UNDECIDED: "undecided",
    }[mode]


def _growth_asked(record: GrowthVerdict) -> dict[str, Any]:
    named = [sorted(f.terminations) for f in record.facets if f.terminations]
    return {
        **picked(record, "code_version cathode ligand"),
        "facets": [f.facet for f in record.facets],
        "threshold": record.threshold_ev,
        "levels": [sorted(f.values_ev) for f in record.facets],
        # Older records have neither. A quick verdict never replaces a thorough one.
        **({"terminations": named} if named else {}),
        **({"parameters": record.parameters} if record.parameters else {}),
    }


def _earlier_adsorption(fields: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the columns of a record as they are shown: what an earlier version certified is provisional."""
    shown = dict(fields)
    missed = fields.get("search_missed_probability")
    if (
        fields.get("search_ended") == "settled"
        and isinstance(missed, float)
        and missed > MAX_MISSED_PROBABILITY
    ):
        shown["search_ended"] = "open"
    if fields.get("status") == Status.CERTIFIED.value and fields.get("low_ev") is None:
        shown |= {"status": Status.PROVISIONAL.value, "open_points": NOT_JUDGED}
    return shown


def _adsorption_methods(records: Sequence[AdsorptionEnergy]) -> str:
    counts = {status: sum(r.badge is status for r in records) for status in Status}
    force = max((leg.max_force_ev_per_ang for r in records for leg in r.legs), default=0.0)
    starts = sorted({r.search.starts for r in records if r.search})
    search = f" Each search placed {span(starts)} poses." if starts else ""
    return (
        "Adsorption energies are E(slab + molecule) - E(slab) - E(molecule) of relaxed geometries at one "
        f"level; the largest force left on a free atom was {force:.3f} eV/Å. Of {len(records)}, "
        f"{counts[Status.CERTIFIED]} were certified, {counts[Status.PROVISIONAL]} are provisional and "
        f"{counts[Status.REFUSED]} refused, each with its reasons.{search}"
    )


ADSORPTION = RecordKind(
    name="adsorption",
    record=AdsorptionEnergy,
    about="how hard a molecule holds a facet",
    asked=lambda r: {
        **picked(r, "code_version cathode ligand facet termination parameters level"),
        "formula": r.structure.composition.formula,
        "area": f"{r.area_ang2:.3f}",
    },
    columns=columns(
        f"cathode facet termination ligand {LEVEL} status",
        "adsorption_energy_ev uncertainty_ev without_dispersion_ev pose_spread_ev poses:int",
        "search_starts:int=search.starts search_minima:int=search.minima",
        "search_lowest_hits:int=search.lowest_hits search_missed_probability:float=search.missed_probability",
        "search_force_calls:int=search.force_calls search_ended=search.ended",
        "low_ev=uncertainty.low_ev high_ev=uncertainty.high_ev search_uncertainty_ev=uncertainty.search_ev",
        "reference_uncertainty_ev=uncertainty.reference_ev model_uncertainty_ev=uncertainty.model_ev",
        Column("open_points", of=lambda r: [p.what for p in r.open_points]),
        "anchor=minimum.anchor site=minimum.site closest_contact closest_contact_ang",
        Column("anomalies", of=lambda r: sorted({a.kind.value for a in r.anomalies})),
        *REFUSAL,
        *STAND_IN,
        "formula=structure.composition.reduced_formula",
        Column("atoms", int, lambda r: len(r.structure)),
    ),
    shown=(
        "facet", "ligand", "level", "status", "adsorption_energy_ev", "low_ev", "high_ev",
        "open_points", "refusal",
    ),
    title="{ligand} on ({facet})",
    number=Number(
        "adsorption_energy_ev", "eV", half="uncertainty_ev",
        low="low_ev", high="high_ev", interval="95 %: {ends} eV",
    ),
    read=_earlier_adsorption,
    definition="E_ads = E(slab + molecule) \N{MINUS SIGN} E(slab) \N{MINUS SIGN} E(molecule), each relaxed; "
    "negative when bound.",
    methods=_adsorption_methods,
)  # fmt: skip
GROWTH = RecordKind(
    name="growth",
    record=GrowthVerdict,
    about="on which facets a layer grows",
    asked=_growth_asked,
    columns=columns(
        "cathode ligand mode binding_facets threshold_ev margin_ev",
        Column("termination_spread_ev", float, lambda r: max(
            (f.termination_spread_ev for f in r.facets if f.termination_spread_ev is not None), default=None
        )),
        Column("terminations", of=lambda r: [t for f in r.facets for t in f.terminations]),
        "statement decided_by",
        *STAND_IN,
    ),
    shown=("cathode", "ligand", "mode", "binding_facets", "margin_ev", "statement", "decided_by"),
    title="Growth on {cathode} by {ligand}",
    number=Number("margin_ev", "eV", on_page=False),
    answer=lambda fields: growth_words(
        GrowthMode(str(fields["mode"])), str(fields["binding_facets"] or "").split(",")
    ),
    drawings=("ranges",),
)  # fmt: skip
COMPETITION = RecordKind(
    name="competition",
    record=CompetingAdsorption,
    about="which molecule holds a facet hardest",
    asked=lambda r: {
        **picked(r, "code_version cathode facet termination parameters"),
        "values": sorted((c.ligand, *sorted(c.values_ev)) for c in r.competitors),
    },
    columns=columns(
        "cathode facet termination",
        Column("ranking", of=lambda r: [c.ligand for c in r.competitors if c.low_ev is not None]),
        Column(
            "first", of=lambda r: r.competitors[0].ligand if r.competitors[0].low_ev is not None else None
        ),
        Column("outbids", of=lambda r: r.competitors[0].outbids),
        Column("refused", of=lambda r: [c.ligand for c in r.competitors if c.low_ev is None]),
        "statement",
        *STAND_IN,
    ),
    shown=("cathode", "facet", "ranking", "statement"),
    title="Who holds {cathode} ({facet})",
    drawings=("ranges",),
)
