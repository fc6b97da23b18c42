"""The comparison with a publication as plain rows.

Records of a stand-in engine are no results: they are named, and kept out of every row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from epilayer.model.level import EngineKind
from epilayer.model.records import GrowthMode, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer.model.records import AdsorptionEnergy, GrowthVerdict, PoseOutcome, SearchConfidence
    from epilayer.model.reference import Reference

KIND_LABELS = {
    EngineKind.MLIP: "machine-learned potential, not DFT",
    EngineKind.DFT: "density-functional theory",
    EngineKind.TOY: "stand-in, not a result",
}
STAND_IN = KIND_LABELS[EngineKind.TOY]


@dataclass(frozen=True)
class LevelResult:
    """One adsorption energy at one level of theory, or why there is none.

    ``label`` names the termination too, where a level stands several times in one row. ``low_ev`` to
    ``high_ev`` is the 95 % interval; ``None`` for records of versions that did not judge it.
    ``deviation_ev`` is this value minus the published one, where the level repeats the published method.
    ``open_points`` say why a provisional value is not certified, ``remedy`` what would settle the first.
    """

    level: str
    label: str
    method: str
    kind: EngineKind
    termination: str
    status: Status
    value_ev: float | None
    low_ev: float | None
    high_ev: float | None
    without_dispersion_ev: float | None
    deviation_ev: float | None
    anchor: str
    site: str
    contact: str
    contact_ang: float
    reason: str | None
    remedy: str | None
    search_starts: int | None
    search_minima: int | None
    search_done: bool | None
    search_missed_probability: float | None
    open_points: tuple[str, ...]


@dataclass(frozen=True)
class AdsorptionRow:
    """A ligand on a facet: every level of theory beside the published value.

    ``low_ev`` to ``high_ev`` spans the intervals of all levels, and the values without dispersion.
    ``levels`` is empty where nothing was computed.
    """

    id: str | None
    cathode: str
    facet: str
    ligand: str
    published_ev: float | None
    note: str
    levels: tuple[LevelResult, ...]
    low_ev: float | None
    high_ev: float | None


@dataclass(frozen=True)
class FacetInterval:
    """The interval of one facet that a growth verdict rests on."""

    facet: str
    low_ev: float | None
    high_ev: float | None
    binds: bool | None


@dataclass(frozen=True)
class GrowthRow:
    """A growth verdict beside the published growth mode; ``agrees`` is ``None`` where it is open."""

    id: str | None
    cathode: str
    ligand: str
    mof: str | None
    mode: GrowthMode | None
    binding_facets: tuple[str, ...]
    facets: tuple[FacetInterval, ...]
    threshold_ev: float | None
    margin_ev: float | None
    statement: str
    published_mode: GrowthMode | None
    published_facets: tuple[str, ...]
    agrees: bool | None


@dataclass(frozen=True)
class Comparison:
    """Everything that was computed beside what was published.

    Attributes
    ----------
    kinds
        Kinds of engine behind the numbers, as words to be printed beside them.
    stand_ins
        What was left out because a stand-in engine computed it.
    """

    reference: str | None
    citation: str | None
    doi: str | None
    kinds: tuple[str, ...]
    adsorption: tuple[AdsorptionRow, ...]
    growth: tuple[GrowthRow, ...]
    stand_ins: tuple[str, ...]


def compare(
    records: Sequence[AdsorptionEnergy],
    verdicts: Sequence[GrowthVerdict] = (),
    reference: Reference | None = None,
) -> Comparison:
    """Set what was computed beside what was published.

    Published values that nothing was computed for keep a row of their own, without levels; the rows
    stand in the order of the reference, others after them.
    """
    real = [r for r in records if not is_stand_in(r)]
    left_out = [
        *(f"{r.ligand} on {r.cathode} ({r.facet}), {r.level.name}" for r in records if is_stand_in(r)),
        *(f"growth of {v.ligand} on {v.cathode}" for v in verdicts if v.stand_in),
    ]
    printed = [(v.cathode, v.facet, v.ligand) for v in reference.values] if reference else []
    computed = sorted({(r.cathode, r.facet, r.ligand) for r in real} - set(printed), key=lambda k: (k[2], k))
    modes = [(g.cathode, g.ligand) for g in reference.growth] if reference else []
    # A hasty search and a thorough one each keep their verdict; the thorough one is shown.
    by_effort = sorted(verdicts, key=lambda v: (len(v.facets), v.parameters.get("search_poses") or 0))
    judged = {(v.cathode, v.ligand): v for v in by_effort if not v.stand_in}
    return Comparison(
        reference=reference.title if reference else None,
        citation=reference.citation if reference else None,
        doi=reference.doi if reference else None,
        kinds=tuple(sorted({KIND_LABELS[r.level.kind] for r in real})),
        adsorption=tuple(_adsorption_row(key, real, reference) for key in [*printed, *computed]),
        growth=tuple(
            _growth_row(key, judged.get(key), reference) for key in [*modes, *sorted(judged.keys() - modes)]
        ),
        stand_ins=tuple(left_out),
    )


def is_stand_in(record: AdsorptionEnergy) -> bool:
    """Whether a stand-in engine computed it, so that its number is no result."""
    return record.level.stand_in or record.level.kind is EngineKind.TOY


def disqualified(pose: PoseOutcome) -> bool:
    """Whether an anomaly makes a pose's energy no adsorption energy."""
    return any(a.disqualifies for a in pose.anomalies)


def ev(energy_ev: float | None, *, signed: bool = True) -> str:
    """Return an energy as printed: two decimals, a true minus sign; a dash for none."""
    if energy_ev is None:
        return "\N{EN DASH}"
    text = f"{energy_ev:+.2f}" if signed else f"{energy_ev:.2f}"
    return text.replace("-", "\N{MINUS SIGN}")


def ev_with_interval(energy_ev: float | None, low_ev: float | None, high_ev: float | None) -> str:
    """Return an energy with the ends of its 95 % interval, where it has one."""
    known = low_ev is not None and high_ev is not None and energy_ev is not None
    return f"{ev(energy_ev)} ({interval(low_ev, high_ev)})" if known else ev(energy_ev)


def ev_with_uncertainty(energy_ev: float | None, uncertainty_ev: float | None) -> str:
    """Return an energy with its numerical half-width, which is never shown as zero."""
    if energy_ev is None or uncertainty_ev is None:
        return ev(energy_ev)
    shown = f"{uncertainty_ev:.2f}" if uncertainty_ev >= 0.005 else "<0.01"  # noqa: PLR2004  (rounds to 0.00)
    return f"{ev(energy_ev)} \N{PLUS-MINUS SIGN} {shown}"


def interval(low_ev: float | None, high_ev: float | None) -> str:
    """Return an interval of energies as printed."""
    if low_ev is None or high_ev is None:
        return "\N{EN DASH}"
    return f"{ev(low_ev)} to {ev(high_ev)}"


def agreement(row: GrowthRow) -> str:
    """Return in words whether a verdict agrees with the published mode."""
    if row.published_mode is None:
        return "nothing published"
    return {True: "agrees", False: "differs", None: "open"}[row.agrees]


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as a JSON-ready value."""
    return {"unit": "eV", **TypeAdapter(Comparison).dump_python(comparison, mode="json")}


def search_words(sure: SearchConfidence) -> str:
    """Return in words how sure a search is of its minimum."""
    why = {
        "settled": "the search is done",
        "agreed": "done: independent streams of starts have the same lowest minimum",
        "budget": "open: it ended with its budget of starts",
        "no_more_starts": "open: it ended with the last start that differs",
    }[sure.ended]
    why = why if sure.done or sure.ended != "settled" else "open: it ended since no start came lower"
    return (
        f"{sure.starts} starts ended in {sure.minima} distinct minima, {sure.lowest_hits} of them in the "
        f"lowest; chance that a lower minimum was missed {sure.missed_probability:.0%}; {why}"
    )


def _adsorption_row(
    key: tuple[str, str, str], records: Sequence[AdsorptionEnergy], reference: Reference | None
) -> AdsorptionRow:
    cathode, facet, ligand = key
    published = reference.value(*key) if reference else None
    mine = [r for r in records if (r.cathode, r.facet, r.ligand) == key]
    names = [r.level.name for r in mine]
    levels = tuple(
        _level_result(
            r,
            published.value_ev if published and reference and reference.level == r.level.name else None,
            repeated=names.count(r.level.name) > 1,
        )
        for r in mine
    )
    values = [
        v for r in levels for v in (r.value_ev, r.low_ev, r.high_ev, r.without_dispersion_ev) if v is not None
    ]
    return AdsorptionRow(
        id=published.id if published else None,
        cathode=cathode,
        facet=facet,
        ligand=ligand,
        published_ev=published.value_ev if published else None,
        note=published.note if published else "",
        levels=levels,
        low_ev=min(values, default=None),
        high_ev=max(values, default=None),
    )


def _level_result(record: AdsorptionEnergy, published_ev: float | None, *, repeated: bool) -> LevelResult:
    pose = record.minimum
    reasons = record.refusals or record.open_points
    # A refused number is not shown, whatever the record happens to hold.
    shown = record.status is not Status.REFUSED
    value = record.adsorption_energy_ev if shown else None
    around = record.uncertainty if shown else None
    return LevelResult(
        level=record.level.name,
        label=f"{record.level.name}, {record.termination}" if repeated else record.level.name,
        method=record.level.label,
        kind=record.level.kind,
        termination=record.termination,
        status=record.badge,
        value_ev=value,
        low_ev=around.low_ev if around else None,
        high_ev=around.high_ev if around else None,
        without_dispersion_ev=record.without_dispersion_ev if shown else None,
        deviation_ev=None if value is None or published_ev is None else value - published_ev,
        anchor=pose.anchor if pose else "",
        site=pose.site if pose else "",
        contact=record.closest_contact,
        contact_ang=record.closest_contact_ang,
        search_starts=record.search.starts if record.search else None,
        search_minima=record.search.minima if record.search else None,
        search_done=record.search.done if record.search else None,
        search_missed_probability=record.search.missed_probability if record.search else None,
        open_points=record.open_because,
        reason=record.refusals[0].what if record.refusals else None,
        remedy=reasons[0].remedy if reasons else None,
    )


def _growth_row(
    key: tuple[str, str], verdict: GrowthVerdict | None, reference: Reference | None
) -> GrowthRow:
    published = reference.growth_of(*key) if reference else None
    mode = verdict.mode if verdict else None
    agrees: bool | None = None
    computed = {f.facet for f in verdict.facets} if verdict else set()
    if (
        published is not None
        and mode not in (None, GrowthMode.UNDECIDED)
        and computed >= _facets(key, reference)
    ):
        agrees = set(verdict.binding_facets if verdict else ()) == set(published.facets)
    return GrowthRow(
        id=published.id if published else None,
        cathode=key[0],
        ligand=key[1],
        mof=published.mof if published else None,
        mode=mode,
        binding_facets=verdict.binding_facets if verdict else (),
        facets=tuple(
            FacetInterval(f.facet, f.low_ev, f.high_ev, f.binds) for f in (verdict.facets if verdict else ())
        ),
        threshold_ev=verdict.threshold_ev if verdict else None,
        margin_ev=verdict.margin_ev if verdict else None,
        statement=verdict.statement if verdict else "not computed",
        published_mode=published.mode if published else None,
        published_facets=published.facets if published else (),
        agrees=agrees,
    )


def _facets(key: tuple[str, str], reference: Reference | None) -> set[str]:
    """Facets that the publication speaks of; a verdict on fewer of them neither agrees nor differs."""
    if reference is None:
        return set()
    published = reference.growth_of(*key)
    return {v.facet for v in reference.values if (v.cathode, v.ligand) == key} | set(
        published.facets if published else ()
    )
