"""How calculations of others, and what was made of them, are stored: by where they were found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.imported import ImportedAdsorption, ImportedCalculation, Severity
from epilayer.store.kinds import Kind

if TYPE_CHECKING:
    from epilayer.model.level import Scalar


def _imported_asked(record: ImportedCalculation) -> dict[str, Any]:
    return {"where": [record.path, record.code.value, record.label]}


def _imported_adsorption_asked(record: ImportedAdsorption) -> dict[str, Any]:
    return {"where": [text for leg in record.legs for text in (leg.path, leg.label)]}


def _imported_fields(record: ImportedCalculation) -> dict[str, Scalar]:
    level = record.level
    told = [r for r in record.reasons if r.severity is not Severity.NOTE] or list(record.reasons)
    bonds = record.bonding.icohp_ev if record.bonding else ()
    return {
        "origin": "imported",
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
        "origin": "imported",
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


KINDS = {
    "calculation": Kind(
        ImportedCalculation,
        _imported_asked,
        _imported_fields,
        ("name", "code", "task", "formula", "functional", "status", "energy_ev", "reason"),
    ),
    "imported_adsorption": Kind(
        ImportedAdsorption,
        _imported_adsorption_asked,
        _imported_adsorption_fields,
        ("name", "molecule", "functional", "status", "adsorption_energy_ev", "refusal"),
    ),
}
