"""How sensitivities are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.sensitivity import Sensitivity
from epilayer.store.kinds import Kind

if TYPE_CHECKING:
    from epilayer.model.level import Scalar


def _asked(record: Sensitivity) -> dict[str, Any]:
    return {
        "code_version": record.code_version,
        "cathode": record.cathode,
        "facet": record.facet,
        "termination": record.termination,
        "ligand": record.ligand,
        "level": [record.level.name, record.level.fingerprint],
        "choices": sorted((s.axis, s.choice) for s in record.shifts),
        "parameters": record.parameters,
    }


def _fields(record: Sensitivity) -> dict[str, Scalar]:
    moved = [s for s in record.shifts if s.shift_ev is not None and s.in_band]
    return {
        "cathode": record.cathode,
        "facet": record.facet,
        "termination": record.termination,
        "ligand": record.ligand,
        "level": record.level.name,
        "engine_kind": record.level.kind.value,
        "base_ev": record.base_ev,
        "low_ev": record.low_ev,
        "high_ev": record.high_ev,
        "largest_axis": moved[0].axis if moved else None,
        "largest_shift_ev": moved[0].shift_ev if moved else None,
        "refused": ",".join(s.axis for s in record.shifts if s.value_ev is None) or None,
        "not_applicable": ",".join(record.not_applicable) or None,
        "complete": record.complete,
        "statement": record.statement,
        "stand_in": record.stand_in,
        "code_version": record.code_version,
    }


KINDS = {
    "sensitivity": Kind(
        record=Sensitivity,
        asked=_asked,
        fields=_fields,
        shown=(
            "ligand",
            "facet",
            "level",
            "base_ev",
            "low_ev",
            "high_ev",
            "largest_axis",
            "largest_shift_ev",
        ),
    )
}
