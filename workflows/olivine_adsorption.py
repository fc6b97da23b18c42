"""Adsorption of triazole and 2-methylimidazole on olivine NaFePO4 (010) and (100), and the growth modes.

Not in the paper: the next cathode. ``--set cathode=lifepo4`` studies LiFePO4 in the same setting.
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
    cathode: str = "nafepo4",
    facets: tuple[str, ...] = ("010", "100"),
    ligands: tuple[str, ...] = ("triazole", "2-methylimidazole"),
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
    poses, patience
        Most poses placed per ligand and facet; the search ends sooner once so many batches of three
        brought nothing lower.
    keep
        How many distinct poses are relaxed in full.
    binding_threshold_ev
        A ligand holds where its adsorption energy is below this.
    quick
        Two poses, one relaxed, no check: shows the way, not the minimum.
    thorough
        A longer search, at about seven times the cost: poses, patience and keep are then its own.
    """
    return adsorption_study(
        catalogue,
        cathode=cathode,
        facets=facets,
        ligands=ligands,
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
