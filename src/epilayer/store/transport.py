"""What a transport record is asked by, and which of its fields can be searched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.ion_transport import ArrheniusEstimate, IonTransport
from epilayer.store.kinds import Kind

if TYPE_CHECKING:
    from epilayer.model.level import Scalar


def _fields(record: IonTransport | ArrheniusEstimate) -> dict[str, Scalar]:
    """Return the fields that can be searched."""
    return _transport_fields(record) if isinstance(record, IonTransport) else _arrhenius_fields(record)


def _asked(record: IonTransport | ArrheniusEstimate) -> dict[str, Any]:
    """Return what was asked, of which the record's identity is the hash."""
    question: dict[str, Any] = {
        "code_version": record.code_version,
        "system": record.system,
        "parameters": record.parameters,
        # The name too: two levels may differ in their convergence alone, which is no part of the fingerprint.
        "level": [record.level.name, record.level.fingerprint],
    }
    if isinstance(record, ArrheniusEstimate):
        return {**question, "temperatures": record.asked_temperatures_k}
    return {
        **question,
        "formula": record.formula,
        "temperature": record.temperature_k,
        "seeds": record.seeds,
        "settings": record.settings.model_dump(mode="json"),
    }


def _transport_fields(record: IonTransport) -> dict[str, Scalar]:
    estimate, solvation = record.report.of(record.cation), record.solvation
    oxygen = next((s for s in solvation.shells if s.partner == "all O"), None)
    transference = {t.name: t for t in record.report.transference}
    self_part = transference.get("t+ (self)")
    window = estimate.window_ps
    return {
        "system": record.system,
        "formula": record.formula,
        "atoms": record.atoms,
        "temperature_k": record.temperature_k,
        "mean_temperature_k": record.mean_temperature_k,
        "level": record.level.name,
        "engine_kind": record.level.kind.value,
        "level_fingerprint": record.level.fingerprint,
        "verdict": record.verdict.value,
        "statement": record.statement,
        "cation": record.cation,
        "diffusion_cm2_per_s": estimate.diffusion_cm2_per_s,
        "lower_cm2_per_s": estimate.lower_cm2_per_s,
        "upper_cm2_per_s": estimate.upper_cm2_per_s,
        "window_from_ps": window[0] if window else None,
        "window_to_ps": window[1] if window else None,
        "n_eff": estimate.n_eff,
        "ion_ps": estimate.ion_ps,
        "ion_ps_needed": estimate.ion_ps_needed,
        "transference": self_part.value if self_part else None,
        "transference_verdict": self_part.verdict.value if self_part else None,
        "faster": record.report.faster[0].said if record.report.faster else None,
        "first_peak_ang": oxygen.first_peak_ang if oxygen else None,
        "coordination": oxygen.coordination if oxygen else None,
        "share_with_anion_and_chain": solvation.share_with_anion_and_chain,
        "steps": record.steps,
        "frames": record.frames,
        "time_step_fs": record.settings.time_step_fs,
        "segments": len(record.segments),
        "seeds": ",".join(map(str, record.seeds)),
        "moves": record.moves,
        "nve_drift_mev_per_atom_ps": record.nve_drift_mev_per_atom_ps,
        "seconds_per_step": record.seconds_per_step,
        "cpu_seconds_per_step": record.cpu_seconds_per_step,
        "peak_memory_mb": record.peak_memory_mb,
        "warnings": len(record.warnings),
        "trajectory": record.trajectories[0].path,
        "stand_in": record.level.stand_in,
        "code_version": record.code_version,
    }


def _arrhenius_fields(record: ArrheniusEstimate) -> dict[str, Scalar]:
    return {
        "system": record.system,
        "species": record.species,
        "level": record.level.name,
        "verdict": record.verdict.value,
        "reason": record.reason,
        "activation_energy_ev": record.activation_energy_ev,
        "lower_ev": record.lower_ev,
        "upper_ev": record.upper_ev,
        "temperatures": len(record.temperatures_k),
        "asked_temperatures": len(record.asked_temperatures_k),
        "stand_in": record.level.stand_in,
        "code_version": record.code_version,
    }


KINDS = {
    "transport": Kind(
        IonTransport,
        _asked,
        _fields,
        (
            "system",
            "temperature_k",
            "level",
            "diffusion_cm2_per_s",
            "first_peak_ang",
            "coordination",
            "statement",
        ),
    ),
    "arrhenius": Kind(
        ArrheniusEstimate,
        _asked,
        _fields,
        ("system", "species", "level", "activation_energy_ev", "lower_ev", "upper_ev", "reason"),
    ),
}
