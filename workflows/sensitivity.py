"""How far each choice that the paper leaves open moves the adsorption energies (systems S2 and S3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer.flows.sensitivity import sensitivity_study

if TYPE_CHECKING:
    from jobflow import Flow

    from epilayer.study.config import Catalogue


def build(
    catalogue: Catalogue,
    *,
    level: str = "chgnet+d3",
    cathode: str = "nvopf",
    facets: tuple[str, ...] = ("001", "100"),
    ligands: tuple[str, ...] = ("triazole", "2-methylimidazole"),
    anion_of_2_methylimidazole: str = "2-methylimidazolate",
    poses: int = 12,
    patience: int = 1,
    keep: int = 2,
    max_steps: int = 400,
    seed: int = 0,
    quick: bool = False,
) -> Flow:
    """Build the flow.

    Parameters
    ----------
    level
        The base. Its file's ``variations`` name the level of every other choice: U, D3, dipole and spin
        order with VASP (``paper``), D3 and the engine with the embedded potentials.
    anion_of_2_methylimidazole
        The deprotonated form, where the engine sees charge; empty leaves it out.
    quick
        Two poses, one relaxed.
    """
    anion = anion_of_2_methylimidazole
    return sensitivity_study(
        catalogue,
        level=level,
        cathode=cathode,
        facets=facets,
        ligands=ligands,
        anions={"2-methylimidazole": anion} if anion else {},
        poses=2 if quick else poses,
        patience=patience,
        keep=1 if quick else keep,
        binding_threshold_ev=-0.2,
        max_steps=max_steps,
        seed=seed,
        quick=False,
    )
