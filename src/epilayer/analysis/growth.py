"""The growth verdict: whether a ligand holds on every facet, over all levels and terminations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer import __version__
from epilayer.model.records import FacetBinding, GrowthMode, GrowthVerdict, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epilayer.model.level import Scalar
    from epilayer.model.records import AdsorptionEnergy


def growth_verdict(
    records: Sequence[AdsorptionEnergy],
    threshold_ev: float,
    *,
    parameters: Mapping[str, Scalar] | None = None,
) -> GrowthVerdict:
    """Decide on which facets the ligand binds, over all levels of theory that were computed.

    One facet alone decides no growth mode.

    A facet binds if the whole interval over levels, with and without dispersion and each with its own 95 %
    interval, lies below ``threshold_ev``, does not bind if all of it lies above, and is undecided otherwise,
    where a value was refused, or where the error of a level was not measured. An open search leaves undecided
    what does not bind: a lower minimum may. Several terminations of one facet are several values of it: their
    spread widens its interval, is part of the verdict, and leaves it undecided if the ligand binds on one but
    not on another.

    Parameters
    ----------
    records
        Adsorption energies of one ligand on one cathode; several facets and levels.
    threshold_ev
        Binding threshold, negative, in eV.
    parameters
        Settings of the search, kept in the record.

    Raises
    ------
    ValueError
        Without records, or with records of several cathodes or ligands.
    """
    systems = {(r.cathode, r.ligand) for r in records}
    if len(systems) != 1:
        message = f"a growth verdict is about one ligand on one cathode, not {sorted(systems)}"
        raise ValueError(message)
    cathode, ligand = records[0].cathode, records[0].ligand
    facets = tuple(
        _binding(facet, [r for r in records if r.facet == facet], threshold_ev)
        for facet in sorted({r.facet for r in records})
    )
    binding = tuple(f.facet for f in facets if f.binds)
    if any(f.binds is None for f in facets) or len(facets) == 1:
        mode = GrowthMode.UNDECIDED  # what holds on one facet says nothing about the others
    elif len(binding) == len(facets):
        mode = GrowthMode.ISOTROPIC
    else:
        mode = GrowthMode.SELECTIVE if binding else GrowthMode.NONE
    return GrowthVerdict(
        cathode=cathode,
        ligand=ligand,
        mode=mode,
        binding_facets=binding,
        facets=facets,
        threshold_ev=threshold_ev,
        margin_ev=_margin_ev(facets, threshold_ev),
        statement=_statement(mode, facets, threshold_ev),
        decided_by=_decided_by(records, facets) if mode is GrowthMode.UNDECIDED else None,
        stand_in=any(r.level.stand_in for r in records),
        code_version=__version__,
        parameters=dict(parameters or {}),
    )


def _binding(facet: str, records: Sequence[AdsorptionEnergy], threshold_ev: float) -> FacetBinding:
    values: dict[str, float | None] = {}
    levels = [r.level.name for r in records]
    # Sorted, so that the names of several records at one level do not depend on the order they came in.
    for record in sorted(records, key=_by_content):
        label = name = record.level.name
        if levels.count(name) > 1:
            label = name = f"{name}, {record.termination}"
        while label in values:
            label = f"{name} ({len(values) + 1})"
        values[label] = record.adsorption_energy_ev
        if record.without_dispersion_ev is not None:
            values[f"{label} less dispersion"] = record.without_dispersion_ev
    known = [v for v in _values_ev(records) if v is not None]
    low, high = (min(known), max(known)) if known else (None, None)
    return FacetBinding(
        facet=facet,
        values_ev=values,
        low_ev=low,
        high_ev=high,
        binds=_binds(records, threshold_ev),
        terminations={
            termination: _binds([r for r in records if r.termination == termination], threshold_ev)
            for termination in sorted({r.termination for r in records})
        },
        termination_spread_ev=_termination_spread_ev(records),
    )


def _binds(records: Sequence[AdsorptionEnergy], threshold_ev: float) -> bool | None:
    """Return whether all values bind or none does; ``None`` if undecided or if a value was refused."""
    values_ev = _values_ev(records)
    known = [v for v in values_ev if v is not None]
    unmeasured = any(r.uncertainty is not None and r.uncertainty.model_ev is None for r in records)
    if not known or len(known) < len(values_ev) or unmeasured:
        return None
    if max(known) < threshold_ev:
        return True
    searched = all(r.uncertainty is None or (r.search is not None and r.search.done) for r in records)
    return False if min(known) > threshold_ev and searched else None


def _values_ev(records: Sequence[AdsorptionEnergy]) -> list[float | None]:
    """Return values and ends of intervals; ``None`` for what was refused."""
    known = [r.without_dispersion_ev for r in records if r.without_dispersion_ev is not None]
    known += [end for r in records if r.uncertainty for end in (r.uncertainty.low_ev, r.uncertainty.high_ev)]
    return [*(r.adsorption_energy_ev for r in records), *known]


def _decided_by(records: Sequence[AdsorptionEnergy], facets: Sequence[FacetBinding]) -> str | None:
    """Return the one computation that would decide soonest: of what is refused, else of the widest part."""
    undecided = {f.facet for f in facets if f.binds is None}
    widest: tuple[float, str] = (-1.0, "")
    for record in sorted(
        (r for r in records if r.facet in undecided), key=lambda r: (r.facet, *_by_content(r))
    ):
        where = f"{record.ligand} on ({record.facet}), {record.level.name}"
        if record.status is Status.REFUSED and record.refusals:
            return f"{where}: {record.refusals[0].remedy}"
        for point in record.open_points:
            part = getattr(record.uncertainty, f"{point.subject}_ev", None)
            # What was not measured may be of any size.
            widest = max(widest, (float("inf") if part is None else part, f"{where}: {point.remedy}"))
    return widest[1] or None


def _termination_spread_ev(records: Sequence[AdsorptionEnergy]) -> float | None:
    """Return how far terminations lie apart at one level of theory, the largest over the levels."""
    spreads = []
    for level in {r.level.name for r in records}:
        here = [r for r in records if r.level.name == level and r.adsorption_energy_ev is not None]
        if len({r.termination for r in here}) > 1:
            columns = [[r.adsorption_energy_ev for r in here], [r.without_dispersion_ev for r in here]]
            spreads += [max(c) - min(c) for c in columns if None not in c]  # type: ignore[type-var, operator]
    return max(spreads, default=None)


def _by_content(record: AdsorptionEnergy) -> tuple[str, str, bool, float, bool, float]:
    value_ev, less_ev = record.adsorption_energy_ev, record.without_dispersion_ev
    return (
        record.level.name,
        record.termination,
        value_ev is None,
        value_ev or 0.0,
        less_ev is None,
        less_ev or 0.0,
    )


def _margin_ev(facets: Sequence[FacetBinding], threshold_ev: float) -> float | None:
    margins = []
    for facet in facets:
        if facet.low_ev is None or facet.high_ev is None or None in facet.values_ev.values():
            return None
        margins.append(max(threshold_ev - facet.high_ev, facet.low_ev - threshold_ev))
    return min(margins)


def _statement(mode: GrowthMode, facets: Sequence[FacetBinding], threshold_ev: float) -> str:
    shown = "; ".join(f"({f.facet}) {_interval(f)}" for f in facets)
    where = ", ".join(f"({f.facet})" for f in facets if f.binds)
    open_facets = ", ".join(f"({f.facet})" for f in facets if f.binds is None)
    lead = {
        GrowthMode.ISOTROPIC: "holds on every facet: isotropic growth",
        GrowthMode.SELECTIVE: f"holds on {where} only",
        GrowthMode.NONE: "holds on no facet",
        GrowthMode.UNDECIDED: f"undecided on {open_facets}: the interval contains the threshold, a value was "
        "refused, or the search or the error of a level is open",
    }[mode]
    if mode is GrowthMode.UNDECIDED and not open_facets:
        held = "holds" if where else "does not hold"
        lead = f"{held} on ({facets[0].facet}), the only facet studied, which decides no growth mode"
    elif mode is GrowthMode.UNDECIDED and any(f.terminations_disagree for f in facets):
        lead = f"undecided on {open_facets}: {_disagreement(facets)}"
    return f"{lead} (threshold {threshold_ev:+.2f} eV; {shown})"


def _disagreement(facets: Sequence[FacetBinding]) -> str:
    words = {True: "holds on", False: "does not hold on", None: "is undecided on"}
    parts = [
        ", ".join(f"it {words[binds]} {name}" for name, binds in f.terminations.items())
        for f in facets
        if f.terminations_disagree
    ]
    return f"terminations disagree ({'; '.join(parts)})"


def _interval(facet: FacetBinding) -> str:
    if facet.low_ev is None or facet.high_ev is None:
        return "no value"
    return f"{facet.low_ev:+.2f} to {facet.high_ev:+.2f} eV"
