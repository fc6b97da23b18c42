"""How adsorption energies, growth verdicts and competitions are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.records import AdsorptionEnergy, CompetingAdsorption, GrowthVerdict
from epilayer.store.kinds import Kind

if TYPE_CHECKING:
    from epilayer.model.level import Scalar


def _adsorption_asked(record: AdsorptionEnergy) -> dict[str, Any]:
    return {
        "code_version": record.code_version,
        "cathode": record.cathode,
        "ligand": record.ligand,
        "facet": record.facet,
        "termination": record.termination,
        # The name too: two levels may differ in their convergence alone, which is no part of the fingerprint.
        "level": [record.level.name, record.level.fingerprint],
        "parameters": record.parameters,
        "formula": record.structure.composition.formula,
        "area": f"{record.area_ang2:.3f}",
    }


def _growth_asked(record: GrowthVerdict) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "code_version": record.code_version,
        "cathode": record.cathode,
        "ligand": record.ligand,
        "facets": [f.facet for f in record.facets],
        "threshold": record.threshold_ev,
        "levels": [sorted(f.values_ev) for f in record.facets],
    }
    named = [sorted(f.terminations) for f in record.facets if f.terminations]
    asked |= {"terminations": named} if named else {}  # older records have none
    if record.parameters:  # a hasty verdict never replaces a thorough one; older records have none
        asked |= {"parameters": record.parameters}
    return asked


def _competition_asked(record: CompetingAdsorption) -> dict[str, Any]:
    return {
        "code_version": record.code_version,
        "cathode": record.cathode,
        "facet": record.facet,
        "termination": record.termination,
        "parameters": record.parameters,
        "values": sorted((c.ligand, *sorted(c.values_ev)) for c in record.competitors),
    }


def _adsorption_fields(record: AdsorptionEnergy) -> dict[str, Scalar]:
    best = record.minimum
    return {
        "cathode": record.cathode,
        "facet": record.facet,
        "termination": record.termination,
        "ligand": record.ligand,
        "level": record.level.name,
        "engine_kind": record.level.kind.value,
        "dispersion": record.level.dispersion,
        "level_fingerprint": record.level.fingerprint,
        "status": record.status.value,
        "adsorption_energy_ev": record.adsorption_energy_ev,
        "uncertainty_ev": record.uncertainty_ev,
        "without_dispersion_ev": record.without_dispersion_ev,
        "pose_spread_ev": record.pose_spread_ev,
        "poses": len(record.poses),
        **_search_fields(record),
        "anchor": best.anchor if best else None,
        "site": best.site if best else None,
        "closest_contact": record.closest_contact,
        "closest_contact_ang": record.closest_contact_ang,
        "anomalies": ",".join(sorted({a.kind.value for a in record.anomalies})) or None,
        "refusal": record.refusals[0].what if record.refusals else None,
        "refusal_code": record.refusals[0].code.value if record.refusals else None,
        "stand_in": record.level.stand_in,
        "code_version": record.code_version,
        "formula": record.structure.composition.reduced_formula,
        "atoms": len(record.structure),
    }


def _search_fields(record: AdsorptionEnergy) -> dict[str, Scalar]:
    sure = record.search
    return {
        "search_starts": sure.starts if sure else None,
        "search_minima": sure.minima if sure else None,
        "search_lowest_hits": sure.lowest_hits if sure else None,
        "search_missed_probability": sure.missed_probability if sure else None,
        "search_force_calls": sure.force_calls if sure else None,
        "search_ended": sure.ended if sure else None,
    }


def _growth_fields(record: GrowthVerdict) -> dict[str, Scalar]:
    return {
        "cathode": record.cathode,
        "ligand": record.ligand,
        "mode": record.mode.value,
        "binding_facets": ",".join(record.binding_facets) or None,
        "threshold_ev": record.threshold_ev,
        "margin_ev": record.margin_ev,
        "termination_spread_ev": max(
            (f.termination_spread_ev for f in record.facets if f.termination_spread_ev is not None),
            default=None,
        ),
        "terminations": ",".join(t for f in record.facets for t in f.terminations) or None,
        "statement": record.statement,
        "stand_in": record.stand_in,
        "code_version": record.code_version,
    }


def _competition_fields(record: CompetingAdsorption) -> dict[str, Scalar]:
    first = record.competitors[0]
    return {
        "cathode": record.cathode,
        "facet": record.facet,
        "termination": record.termination,
        "ranking": ",".join(c.ligand for c in record.competitors if c.low_ev is not None) or None,
        "first": first.ligand if first.low_ev is not None else None,
        "outbids": ",".join(first.outbids) or None,
        "refused": ",".join(c.ligand for c in record.competitors if c.low_ev is None) or None,
        "statement": record.statement,
        "stand_in": record.stand_in,
        "code_version": record.code_version,
    }


KINDS = {
    "adsorption": Kind(
        AdsorptionEnergy,
        _adsorption_asked,
        _adsorption_fields,
        ("facet", "ligand", "level", "status", "adsorption_energy_ev", "without_dispersion_ev", "refusal"),
    ),
    "growth": Kind(
        GrowthVerdict,
        _growth_asked,
        _growth_fields,
        ("cathode", "ligand", "mode", "binding_facets", "margin_ev", "statement"),
    ),
    "competition": Kind(
        CompetingAdsorption,
        _competition_asked,
        _competition_fields,
        ("cathode", "facet", "ranking", "statement"),
    ),
}
