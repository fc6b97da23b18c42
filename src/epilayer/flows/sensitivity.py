"""The sensitivity of adsorption energies: one choice of the method changed at a time, from one minimum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobflow import Flow, Job, job

from epilayer.analysis import sensitivity as analysis
from epilayer.flows.base import RECORD, mark
from epilayer.flows.studies import adsorption_study
from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epilayer.flows.base import Inputs
    from epilayer.model.level import Scalar
    from epilayer.model.records import AdsorptionEnergy
    from epilayer.model.sensitivity import Sensitivity

AXES = ("U", "D3", "dipole", "spin order", "ligand", "engine")
_FIXED = "the engine of this level has no such choice"


def sensitivity_study(
    inputs: Inputs,
    *,
    level: str,
    cathode: str,
    facets: tuple[str, ...],
    ligands: tuple[str, ...],
    anions: Mapping[str, str],
    **study: Any,  # noqa: ANN401  (passed to the adsorption study, which names them)
) -> Flow:
    """Build the study: a search at ``level``, its minimum relaxed again with each choice changed.

    Parameters
    ----------
    level
        Its ``variations`` name, by axis, the level that differs in that choice alone.
    anions
        Deprotonated form by ligand; run where the engine sees charge.

    Raises
    ------
    InputError
        If the level has no variations.
    """
    material = inputs.cathode(cathode)
    engine = inputs.engine(level, material)
    variations = engine.level.variations
    if not variations:
        raise InputError(
            f"The level {level!r} names no variations.",
            "Add variations: {AXIS: LEVEL} to its YAML, or use paper or chgnet+d3.",
        )
    shared = {"cathode": cathode, "facets": facets, "level": level, **study}
    main = adsorption_study(inputs, ligands=ligands, check_levels=tuple(variations.values()), **shared)
    charged = {k: v for k, v in anions.items() if k in ligands} if engine.sees_charge else {}
    parts = [main]
    if charged:
        parts.append(adsorption_study(inputs, ligands=tuple(charged.values()), check_levels=(), **shared))
    absent = {axis: _FIXED for axis in AXES if axis not in variations and axis != "ligand"}
    records = [
        made.output
        for part in parts
        for made, _ in part.iterflow()
        if made.metadata.get(RECORD) == "adsorption"
    ]
    jobs: list[Job] = []
    for ligand in ligands:
        reasons = dict(absent)
        if ligand not in charged:
            reasons["ligand"] = (
                "no deprotonated form of it is configured"
                if engine.sees_charge
                else "the engine does not see the charge of an ion"
            )
        for facet in facets:
            found = judge_sensitivity(
                records, ligand, facet, level, dict(variations), charged.get(ligand), reasons
            )
            jobs.append(
                mark(found, f"sensitivity of {ligand} on {cathode} ({facet}), {level}", "sensitivity")
            )
    return Flow([*parts, *jobs], name=f"sensitivity on {cathode}")


@job  # type: ignore[untyped-decorator]
def judge_sensitivity(
    records: list[AdsorptionEnergy],
    ligand: str,
    facet: str,
    level: str,
    variations: dict[str, str],
    anion: str | None,
    not_applicable: dict[str, str],
) -> Sensitivity:
    """Return the band of one ligand on one facet."""
    here = {(r.ligand, r.level.name): r for r in records if r.facet == facet}
    varied = [(axis, here[ligand, name]) for axis, name in variations.items() if (ligand, name) in here]
    if anion is not None and (anion, level) in here:
        varied.append(("ligand", here[anion, level]))
    missing = {a: "it was not computed" for a, name in variations.items() if (ligand, name) not in here}
    parameters: dict[str, Scalar] = {f"varied_{axis}": name for axis, name in variations.items()}
    return analysis.sensitivity(here[ligand, level], varied, {**not_applicable, **missing}, parameters)
