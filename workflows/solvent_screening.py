"""Competing adsorption on NVOPF: solvents and the anion of the MOF synthesis beside its ligands.

The paper's S12 (Nature Energy 2025, doi 10.1038/s41560-025-01857-y) says that these "should also be
considered". Acetate enters as the neutral sodium acetate: an anion has no adsorption energy in a
potential that ignores charge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer.flows.studies import adsorption_study

if TYPE_CHECKING:
    from jobflow import Flow

    from epilayer.config import Catalogue


def build(
    catalogue: Catalogue,
    *,
    level: str = "chgnet+d3",
    check_levels: tuple[str, ...] = ("sevennet-0+d3",),
    cathode: str = "nvopf",
    facets: tuple[str, ...] = ("001", "100"),
    ligands: tuple[str, ...] = ("triazole", "2-methylimidazole"),
    competitors: tuple[str, ...] = ("dmf", "ethanol", "water", "methanol", "ammonia", "sodium-acetate"),
    poses: int = 12,
    patience: int = 1,
    keep: int = 2,
    binding_threshold_ev: float = -0.2,
    max_steps: int = 400,
    seed: int = 0,
    quick: bool = False,
    thorough: bool = False,
) -> Flow:
    """Build the flow.

    Parameters
    ----------
    level, check_levels
        Level of theory that searches for the minimum, and those that check it.
    ligands, competitors
        Ligands get a growth verdict; they and the competitors are ranked on every facet.
    poses, patience
        Most poses placed per molecule and facet; the search ends sooner once so many batches of three
        brought nothing lower.
    keep
        How many distinct poses are relaxed in full.
    binding_threshold_ev
        A ligand holds where its adsorption energy is below this.
    quick
        The first facet only, two poses, one relaxed, no check: shows the way, not the minimum.
    thorough
        A longer search, at about seven times the cost: poses, patience and keep are then its own.
    """
    return adsorption_study(
        catalogue,
        cathode=cathode,
        facets=facets[:1] if quick else facets,
        ligands=ligands,
        competitors=competitors,
        level=level,
        check_levels=check_levels,
        poses=poses,
        patience=patience,
        keep=keep,
        binding_threshold_ev=binding_threshold_ev,
        max_steps=max_steps,
        seed=seed,
        quick=quick,
        thorough=thorough,
    )
