"""Typed records as documents of the results store, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.base import Frozen, fingerprint, parse
from epilayer.model.errors import StoreError
from epilayer.model.imported import ImportedAdsorption, ImportedCalculation, Severity
from epilayer.model.ion_transport import ArrheniusEstimate, IonTransport
from epilayer.model.records import AdsorptionEnergy, CompetingAdsorption, GrowthVerdict
from epilayer.model.surface import SurfaceEnergy, WulffShape
from epilayer.store import surfaces, transport

if TYPE_CHECKING:
    from epilayer.model.level import Scalar
    from epilayer.store.results import Record

SCHEMA_VERSION = 1

AdsorptionRecord = AdsorptionEnergy | GrowthVerdict | CompetingAdsorption
SurfaceRecord = SurfaceEnergy | WulffShape
TransportRecord = IonTransport | ArrheniusEstimate

RECORD_TYPES: dict[str, type[Frozen]] = {
    "adsorption": AdsorptionEnergy,
    "growth": GrowthVerdict,
    "competition": CompetingAdsorption,
    "transport": IonTransport,
    "arrhenius": ArrheniusEstimate,
    "calculation": ImportedCalculation,
    "imported_adsorption": ImportedAdsorption,
    "surface": SurfaceEnergy,
    "wulff": WulffShape,
}
"""The kinds of record and the type each is read back as."""


def document_of(
    record: AdsorptionRecord | SurfaceRecord | TransportRecord, *, job: str, created: str
) -> Record:
    """Return the document that stores a record.

    Parameters
    ----------
    job
        Identifier of the job that made it.
    created
        When the job ended, ISO 8601.
    """
    if isinstance(record, SurfaceRecord):
        fields = surfaces.fields(record)
    elif isinstance(record, TransportRecord):
        fields = transport.fields(record)
    elif isinstance(record, AdsorptionEnergy):
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


def imported_document(record: ImportedCalculation | ImportedAdsorption, *, created: str) -> Record:
    """Return the document that stores an imported calculation, or an adsorption energy made of such.

    Its identity is where it was found, so that importing a directory again replaces what it held before.

    Parameters
    ----------
    created
        When it was imported, ISO 8601.
    """
    if isinstance(record, ImportedCalculation):
        kind, fields = "calculation", _imported_fields(record)
        where = [record.path, record.code.value, record.label]
    else:
        kind, fields = "imported_adsorption", _imported_adsorption_fields(record)
        where = [text for leg in record.legs for text in (leg.path, leg.label)]
    return {
        "kind": kind,
        "id": fingerprint({"kind": kind, "where": where}),
        "created": created,
        "schema_version": SCHEMA_VERSION,
        "fields": {"origin": "imported", **fields},
        "body": record.model_dump(mode="json"),
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


def _identity(record: AdsorptionRecord | SurfaceRecord | TransportRecord) -> str:
    """Hash of what was asked, so that computing it again replaces the record instead of doubling it."""
    if isinstance(record, SurfaceRecord):
        return fingerprint(surfaces.asked(record))
    if isinstance(record, TransportRecord):
        return fingerprint(transport.asked(record))
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
        named = [sorted(f.terminations) for f in record.facets if f.terminations]
        asked |= {"terminations": named} if named else {}  # older records have none
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


def _imported_fields(record: ImportedCalculation) -> dict[str, Scalar]:
    level = record.level
    told = [r for r in record.reasons if r.severity is not Severity.NOTE] or list(record.reasons)
    bonds = record.bonding.icohp_ev if record.bonding else ()
    return {
        "name": _short_name(record.path),
        "path": record.path,
        "label": record.label or None,
        "job_name": record.job_name,
        "code": record.code.value,
        "task": record.kind.value,
        "status": record.status.value,
        "energy_ev": record.energy_ev,
        "formula": record.formula,
        "atoms": len(record.species) or None,
        "functional": level.functional if level else None,
        "encut_ev": level.encut_ev if level else None,
        "dispersion": level.dispersion if level else None,
        "hubbard": ", ".join(f"{u.element} {u.u_ev:g} eV" for u in level.hubbard) or None if level else None,
        "k_mesh": "x".join(map(str, level.k_mesh)) if level and level.k_mesh else None,
        "charge_e": level.charge_e if level else None,
        "level_fingerprint": level.fingerprint if level else None,
        "total_magnetization_mu_b": record.total_magnetization_mu_b,
        "bonds": len(bonds) or None,
        "strongest_icohp_ev": min((bond.summed for bond in bonds), default=None),
        "corrections": len(record.corrections),
        "agreement": record.agreement.value,
        "reason": told[0].what if told else None,
        "reason_code": told[0].code.value if told else None,
        "stand_in": record.stand_in,
    }


def _imported_adsorption_fields(record: ImportedAdsorption) -> dict[str, Scalar]:
    slab, molecule, adsorbed = record.legs
    return {
        "name": _short_name(adsorbed.path),
        "slab": slab.formula,
        "molecule": molecule.formula,
        "path": adsorbed.path,
        "task": adsorbed.task.value,
        "status": record.status.value,
        "adsorption_energy_ev": record.adsorption_energy_ev,
        "functional": record.functional,
        "encut_ev": record.encut_ev,
        "dispersion": record.dispersion,
        "level_fingerprint": record.level_fingerprint,
        "refusal": record.refusals[0].what if record.refusals else None,
        "refusal_code": record.refusals[0].code.value if record.refusals else None,
        "stand_in": record.stand_in,
        "code_version": record.code_version,
    }


def _short_name(path: str) -> str:
    """Return the last two folders of a path; one that is called ``outputs`` says nothing."""
    parts = [part for part in path.split("/") if part and part != "outputs"]
    return "/".join(parts[-2:])
