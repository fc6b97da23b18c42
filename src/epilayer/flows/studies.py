"""Adsorption studies as the files in ``workflows/`` name them: by names and a few numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer.flows.adsorption import AdsorptionStudyMaker, facet_slabs
from epilayer.flows.search import THOROUGH, PoseSearch
from epilayer.structures import molecules

if TYPE_CHECKING:
    from jobflow import Flow

    from epilayer.flows.base import Inputs


def adsorption_study(
    catalogue: Inputs,
    *,
    level: str = "chgnet+d3",
    check_levels: tuple[str, ...] = ("sevennet-0+d3",),
    cathode: str,
    facets: tuple[str, ...],
    terminations: tuple[str, ...] = ("lowest",),
    ligands: tuple[str, ...],
    competitors: tuple[str, ...] = (),
    poses: int = 12,
    patience: int = 1,
    keep: int = 2,
    binding_threshold_ev: float = -0.2,
    max_steps: int = 400,
    seed: int = 0,
    quick: bool = False,
    thorough: bool = False,
) -> Flow:
    """Build the adsorption study of some ligands on some facets of a cathode.

    A workflow is this function with its systems filled in; what it leaves is set on the command line.

    Parameters
    ----------
    level, check_levels
        Level of theory that searches for the minimum, and those that relax it again. A stand-in's minimum
        is none, so with a stand-in as ``level`` only stand-ins check.
    terminations
        ``lowest``: of each facet the one of lowest surface energy; ``all`` admissible ones, whose spread
        the growth verdict carries; or labels, such as ``100-t0.25``.
    ligands
        Each gets a growth verdict.
    competitors
        What else may take the sites; with any, all are ranked on every facet.
    poses, patience
        Most poses placed per molecule and facet; the search ends sooner once so many batches of three
        brought nothing lower and a lower minimum was missed with less than 5 %.
    keep
        How many distinct poses are relaxed in full.
    binding_threshold_ev
        A ligand holds where its adsorption energy is below this.
    quick
        Two poses, one relaxed, no check, and with competitors the first facet only: shows the way, not the
        minimum.
    thorough
        A search that goes on until it is done (:data:`~epilayer.flows.search.THOROUGH`), at many times the
        cost; ``poses``, ``patience`` and ``keep`` are then ignored.
    """
    material = catalogue.cathode(cathode)
    engine = catalogue.engine(level, material, max_steps=max_steps)
    checks = [catalogue.engine(name, material, max_steps=max_steps) for name in check_levels]
    if engine.stand_in:
        checks = [check for check in checks if check.stand_in]
    studied = [catalogue.ligand(name) for name in ligands]
    competing = [catalogue.ligand(name) for name in competitors]
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
        model_errors={
            name: error
            for name in (level, *check_levels)
            if (error := catalogue.model_error(name)) is not None
        },
        name=f"adsorption on {material.name}",
    )
    slabs = facet_slabs(material, facets[:1] if quick and competitors else facets, terminations)
    return study.make(material.name, slabs, studied, boxes, competing)


def _search(poses: int, patience: int, keep: int, seed: int, *, quick: bool, thorough: bool) -> PoseSearch:
    if quick:
        return PoseSearch(poses=2, keep=1, seed=seed)
    if thorough:
        return THOROUGH.model_copy(update={"seed": seed})
    return PoseSearch(poses=poses, patience=patience, keep=keep, seed=seed)
