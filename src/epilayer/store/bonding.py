"""How studies of bonds on surfaces are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.bonding import BondStudy
from epilayer.model.calibration import BondCalibration
from epilayer.store.kinds import Kind

if TYPE_CHECKING:
    from epilayer.model.level import Scalar


def _asked(record: BondStudy) -> dict[str, Any]:
    return {
        "code_version": record.code_version,
        "cathode": record.cathode,
        "state": record.state,
        "facet": record.facet,
        "termination": record.termination,
        "molecule": record.molecule,
        "level": [record.level.name, record.level.fingerprint],
        "measure": record.measure.value,
        "parameters": record.parameters,
        "formula": [o.structure.composition.formula for o in record.orientations],
    }


def _fields(record: BondStudy) -> dict[str, Scalar]:
    taken = record.abstraction
    return {
        "cathode": record.cathode,
        "state": record.state,
        "facet": record.facet,
        "termination": record.termination,
        "molecule": record.molecule,
        "level": record.level.name,
        "engine_kind": record.level.kind.value,
        "level_fingerprint": record.level.fingerprint,
        "measure": record.measure.value,
        "basis": record.basis,
        "k_points": record.k_points,
        "status": record.status.value,
        "refusal": record.refusal,
        "orientations": len(record.orientations),
        "orientations_counted": sum(o.refusal is None for o in record.orientations),
        "weakest_bond": record.weakest_bond,
        "strongest_weakening_ratio": record.strongest_weakening_ratio,
        "orientation_spread_ratio": record.orientation_spread_ratio,
        "spilling_percent": record.spilling_percent,
        "hydrogen_taken_by_itself": ",".join(taken.spontaneous) or None,
        "hydrogen_shared": ",".join(taken.shared) or None,
        "abstraction_energy_ev": taken.energy_ev,
        "abstraction_refusal": taken.refusal,
        "abstraction_barrier_ev": taken.barrier_ev,
        "abstraction_barrier_method": taken.barrier_method.value if taken.barrier_method else None,
        "abstraction_barrier_refusal": taken.barrier_refusal,
        "statement": record.statement,
        "stand_in": record.stand_in,
        "code_version": record.code_version,
    }


def _calibration_asked(record: BondCalibration) -> dict[str, Any]:
    return {"bonds": record.bonds, "measure": record.measure.value, "functions": record.functions}


def _calibration_fields(record: BondCalibration) -> dict[str, Scalar]:
    return {
        "bonds": record.bonds,
        "measure": record.measure.value,
        "program": record.program,
        "functions": record.functions,
        "status": record.status.value,
        "refusal": record.refusal,
        "pairs": len(record.pairs),
        "runs": len({pair.run for pair in record.pairs}),
        "slope": record.slope,
        "slope_low": record.slope_low,
        "slope_high": record.slope_high,
        "residual_ev": record.residual_ev,
        "statement": record.statement,
        "stand_in": record.stand_in,
        "code_version": record.code_version,
    }


KINDS = {
    "bond_calibration": Kind(
        BondCalibration,
        _calibration_asked,
        _calibration_fields,
        ("bonds", "pairs", "runs", "slope", "slope_low", "slope_high", "residual_ev", "refusal"),
    ),
    "bond_strength": Kind(
        BondStudy,
        _asked,
        _fields,
        (
            "state",
            "facet",
            "molecule",
            "measure",
            "weakest_bond",
            "strongest_weakening_ratio",
            "abstraction_energy_ev",
            "abstraction_barrier_ev",
            "refusal",
        ),
    ),
}
