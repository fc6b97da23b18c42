"""What an epitaxial match is found by, and what was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.epitaxy import EpitaxialMatch
from epilayer.store.kinds import Kind

if TYPE_CHECKING:
    from epilayer.model.level import Scalar


def _asked(record: EpitaxialMatch) -> dict[str, Any]:
    """Return what identifies the question, so that its new answer replaces the old one."""
    return {
        "code_version": record.code_version,
        "cathode": record.cathode,
        "facet": record.facet,
        "mof": record.mof,
        # The name too: two levels may differ in their convergence alone.
        "level": [record.level.name, record.level.fingerprint],
        "parameters": record.parameters,
    }


def _fields(record: EpitaxialMatch) -> dict[str, Scalar]:
    """Return the flat fields that a query filters and sorts by."""
    found = record.match
    return {
        "cathode": record.cathode,
        "facet": record.facet,
        "mof": record.mof,
        "mof_facet": found.mof_facet,
        "level": record.level.name,
        "engine_kind": record.level.kind.value,
        "dispersion": record.level.dispersion,
        "level_fingerprint": record.level.fingerprint,
        "status": record.status.value,
        "area_ang2": found.area_ang2,
        "cells": f"{found.cells}:{found.mof_cells}",
        "smallest_strain": found.principal[0],
        "largest_strain": found.principal[1],
        "von_mises": found.von_mises,
        "area_mismatch": found.area_mismatch,
        "deformation_energy_ev": record.deformation_energy_ev,
        "deformation_energy_ev_per_ang2": record.deformation_energy_ev_per_ang2,
        "uncertainty_ev": record.uncertainty_ev,
        "odd_part_ev": record.odd_part_ev,
        "normal": record.normal,
        "normal_strain": record.normal_strain,
        "refusal": record.refusals[0].what if record.refusals else None,
        "refusal_code": record.refusals[0].code.value if record.refusals else None,
        "stand_in": record.level.stand_in,
        "code_version": record.code_version,
    }


KINDS = {
    "epitaxy": Kind(
        EpitaxialMatch,
        _asked,
        _fields,
        (
            "facet",
            "mof",
            "mof_facet",
            "level",
            "status",
            "area_ang2",
            "von_mises",
            "deformation_energy_ev",
            "deformation_energy_ev_per_ang2",
            "refusal",
        ),
    )
}
