"""Adsorption studies as the files in ``workflows/`` name them: by names and a few numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer.flows.adsorption import AdsorptionStudyMaker, facet_slabs
from epilayer.flows.search import THOROUGH, PoseSearch
from epilayer.structures import molecules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobflow import Flow

    from epilayer.flows.base import Inputs


def adsorption_study(
    inputs: Inputs,
    *,
    cathode: str,
    facets: Sequence[str],
    terminations: Sequence[str] = ("lowest",),
    ligands: Sequence[str],
    competitors: Sequence[str] = (),
    level: str,
    check_levels: Sequence[str],
    poses: int,
    patience: int,
    keep: int,
    binding_threshold_ev: float,
    max_steps: int,
    seed: int,
    quick: bool,
    thorough: bool = False,
) -> Flow:
    """Build the adsorption study of some ligands on some facets of a cathode.

    Parameters
    ----------
    terminations
        ``lowest``, ``all``, or labels (:func:`~epilayer.flows.adsorption.facet_slabs`).
    ligands
        Each gets a growth verdict.
    competitors
        What else may take the sites; with any, all are ranked on every facet.
    check_levels
        Levels that relax the minimum again. A stand-in's minimum is none, so with a stand-in as
        ``level`` only stand-ins check.
    quick
        Two poses, one relaxed, no check: shows the way, not the minimum.
    thorough
        Search by :data:`~epilayer.flows.search.THOROUGH`, whatever ``poses``, ``patience`` and ``keep`` say.

    Other parameters are those of :class:`~epilayer.flows.adsorption.AdsorptionStudyMaker`.
    """
    material = inputs.cathode(cathode)
    engine = inputs.engine(level, material, max_steps=max_steps)
    checks = [inputs.engine(name, material, max_steps=max_steps) for name in check_levels]
    if engine.stand_in:
        checks = [check for check in checks if check.stand_in]
    studied = [inputs.ligand(name) for name in ligands]
    competing = [inputs.ligand(name) for name in competitors]
    boxes = {
        ligand.name: molecules.in_box(
            molecules.build(ligand, seed), vacuum_ang=engine.level.molecule_vacuum_ang
        )
        for ligand in (*studied, *competing)
    }
    study = AdsorptionStudyMaker(
        engine=engine,
        checks=() if quick else tuple(checks),
        search=_search(poses, patience, keep, seed, quick=quick, thorough=thorough),
        binding_threshold_ev=binding_threshold_ev,
        name=f"adsorption on {cathode}",
    )
    slabs = facet_slabs(material, facets, terminations)
    return study.make(cathode, slabs, studied, boxes, competing)


def _search(poses: int, patience: int, keep: int, seed: int, *, quick: bool, thorough: bool) -> PoseSearch:
    if quick:
        return PoseSearch(poses=2, keep=1, seed=seed)
    if thorough:
        return THOROUGH.model_copy(update={"seed": seed})
    return PoseSearch(poses=poses, patience=patience, keep=keep, seed=seed)
