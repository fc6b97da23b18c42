"""What a surface energy and a Wulff shape are found by, and what was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.surface import SurfaceEnergy, WulffShape
from epilayer.store.kinds import Kind

if TYPE_CHECKING:
    from epilayer.model.level import Scalar


def _asked(record: SurfaceEnergy | WulffShape) -> dict[str, Any]:
    """Return what identifies the question, so that its new answer replaces the old one."""
    question: dict[str, Any] = {
        "code_version": record.code_version,
        "cathode": record.cathode,
        # The name too: two levels may differ in their convergence alone.
        "level": [record.level.name, record.level.fingerprint],
        "parameters": record.parameters,
    }
    if isinstance(record, SurfaceEnergy):
        question |= {"termination": record.termination, "ordering": record.ordering}
        question |= {"formula": record.structure.composition.formula, "area": f"{record.area_ang2:.3f}"}
    else:
        shown = [f.facet for f in record.facets] or [r.subject for r in record.refusals]
        question |= {"facets": sorted(shown)}
    return question


def _fields(record: SurfaceEnergy | WulffShape) -> dict[str, Scalar]:
    """Return the flat fields that a query filters and sorts by."""
    common: dict[str, Scalar] = {
        "cathode": record.cathode,
        "level": record.level.name,
        "engine_kind": record.level.kind.value,
        "dispersion": record.level.dispersion,
        "level_fingerprint": record.level.fingerprint,
        "status": record.status.value,
        "refusal": record.refusals[0].what if record.refusals else None,
        "refusal_code": record.refusals[0].code.value if record.refusals else None,
        "stand_in": record.level.stand_in,
        "code_version": record.code_version,
    }
    if isinstance(record, SurfaceEnergy):
        return common | _surface(record)
    return common | {
        "point_group": record.point_group,
        "mean_surface_energy_j_per_m2": record.mean_surface_energy_j_per_m2,
        "shape": ", ".join(
            f"({f.facet}) {100 * f.area_fraction:.0f} % {f.outline}" for f in record.facets if f.corners
        )
        or None,
        **{f"area_fraction_{f.facet}": f.area_fraction for f in record.facets},
        "left_out": "; ".join(record.left_out) or None,
    }


def _surface(record: SurfaceEnergy) -> dict[str, Scalar]:
    return {
        "facet": record.facet,
        "termination": record.termination,
        "ordering": record.ordering,
        "surface_energy_j_per_m2": record.surface_energy_j_per_m2,
        "surface_energy_ev_per_ang2": record.surface_energy_ev_per_ang2,
        "uncertainty_j_per_m2": record.uncertainty_j_per_m2,
        "thickness_change_j_per_m2": record.thickness_change_j_per_m2,
        "without_dispersion_j_per_m2": record.without_dispersion_j_per_m2,
        "unrelaxed_j_per_m2": record.unrelaxed_j_per_m2,
        "thicknesses": len(record.thicknesses),
        "thickness_ang": record.thicknesses[-1].thickness_ang,
        "tasker": record.tasker,
        "moved": record.moved or None,
        "broken_bonds_per_nm2": sum(record.broken_bonds_per_nm2.values()),
        "largest_move_ang": record.largest_move_ang,
        "largest_mover": record.largest_mover,
        "formula": record.structure.composition.reduced_formula,
        "atoms": len(record.structure),
    }


KINDS = {
    "surface": Kind(
        SurfaceEnergy,
        _asked,
        _fields,
        (
            "termination",
            "level",
            "status",
            "surface_energy_j_per_m2",
            "uncertainty_j_per_m2",
            "thickness_change_j_per_m2",
            "without_dispersion_j_per_m2",
            "unrelaxed_j_per_m2",
            "refusal",
        ),
    ),
    "wulff": Kind(
        WulffShape,
        _asked,
        _fields,
        ("cathode", "level", "status", "shape", "mean_surface_energy_j_per_m2", "left_out", "refusal"),
    ),
}
