"""Typed records as documents of the results store, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.base import Frozen, fingerprint, parse
from epilayer.model.errors import StoreError
from epilayer.model.records import AdsorptionEnergy, CompetingAdsorption, GrowthVerdict

if TYPE_CHECKING:
    from epilayer.model.level import Scalar
    from epilayer.store.results import Record

SCHEMA_VERSION = 1

AdsorptionRecord = AdsorptionEnergy | GrowthVerdict | CompetingAdsorption

RECORD_TYPES: dict[str, type[Frozen]] = {
    "adsorption": AdsorptionEnergy,
    "growth": GrowthVerdict,
    "competition": CompetingAdsorption,
}
"""The kinds of record and the type each is read back as."""


def document_of(record: AdsorptionRecord, *, job: str, created: str) -> Record:
    """Return the document that stores a record.

    Parameters
    ----------
    job
        Identifier of the job that made it.
    created
        When the job ended, ISO 8601.
    """
    if isinstance(record, AdsorptionEnergy):
        fields = _adsorption_fields(record)
    elif isinstance(record, GrowthVerdict):
        fields = _growth_fields(record)
    else:
        fields = _competition_fields(record)
    return {
        "kind": record.kind,
        "id": _identity(record),
        "created": created,
        "schema_version": SCHEMA_VERSION,
        "fields": {**fields, "job": job},
        "body": _plain(record),
    }


def record_of(document: Record) -> Any:  # noqa: ANN401  (the type that the kind names)
    """Return the typed record in a document that was read with its body.

    Raises
    ------
    StoreError
        If the document is of an unknown kind or was written by a newer version.
    """
    kind, identity = document["kind"], document["id"]
    if kind not in RECORD_TYPES or document["schema_version"] > SCHEMA_VERSION:
        raise StoreError(
            f"Record {identity} is of kind {kind!r}, schema {document['schema_version']}, "
            "which this version of epilayer does not read.",
            "Upgrade epilayer (pip install -U epilayer).",
        )
    return parse(RECORD_TYPES[kind], document["body"], f"record {identity}")


def _identity(record: AdsorptionRecord) -> str:
    """Hash of what was asked, so that computing it again replaces the record instead of doubling it."""
    asked: dict[str, Any] = {"kind": record.kind, "code_version": record.code_version}
    asked |= {"cathode": record.cathode}
    if isinstance(record, AdsorptionEnergy):
        asked |= {"ligand": record.ligand, "facet": record.facet, "termination": record.termination}
        # The name too: two levels may differ in their convergence alone, which is no part of the fingerprint.
        asked |= {"level": [record.level.name, record.level.fingerprint], "parameters": record.parameters}
        asked |= {"formula": record.structure.composition.formula, "area": f"{record.area_ang2:.3f}"}
    elif isinstance(record, GrowthVerdict):
        asked |= {"ligand": record.ligand, "facets": [f.facet for f in record.facets]}
        asked |= {"threshold": record.threshold_ev, "levels": [sorted(f.values_ev) for f in record.facets]}
        if record.parameters:  # a hasty verdict never replaces a thorough one; older records have none
            asked |= {"parameters": record.parameters}
    else:
        asked |= {"facet": record.facet, "termination": record.termination, "parameters": record.parameters}
        asked |= {"values": sorted((c.ligand, *sorted(c.values_ev)) for c in record.competitors)}
    return fingerprint(asked)


def _plain(record: Frozen) -> dict[str, Any]:
    """Return plain JSON; structures keep their own dictionary form."""
    from monty.json import jsanitize

    plain: dict[str, Any] = jsanitize(record.model_dump(), strict=True, enum_values=True)
    return plain


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


def _growth_fields(record: GrowthVerdict) -> dict[str, Scalar]:
    return {
        "cathode": record.cathode,
        "ligand": record.ligand,
        "mode": record.mode.value,
        "binding_facets": ",".join(record.binding_facets) or None,
        "threshold_ev": record.threshold_ev,
        "margin_ev": record.margin_ev,
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
