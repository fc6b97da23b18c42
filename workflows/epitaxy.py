"""Epitaxial match of the frameworks on the facets of a cathode, and what straining them to it costs.

The paper's statement that frameworks have a low deformation energy (Nature Energy 2025,
doi 10.1038/s41560-025-01857-y) has no number; this computes one per facet and framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer.flows.epitaxy import EpitaxyMaker, MatchSettings

if TYPE_CHECKING:
    from jobflow import Flow

    from epilayer.study.config import Catalogue


def build(
    catalogue: Catalogue,
    *,
    level: str = "chgnet",
    cathode: str = "nvopf",
    facets: tuple[str, ...] = ("001", "100"),
    mofs: tuple[str, ...] = ("met6", "zif8"),
    mof_facets: tuple[str, ...] = (),
    max_area_ang2: float = 800.0,
    max_strain: float = 0.05,
    max_steps: int = 400,
    quick: bool = False,
) -> Flow:
    """Build the flow.

    Parameters
    ----------
    mof_facets
        Facets of the frameworks; empty takes every one of index 0 and 1, and of those the least strained.
    max_area_ang2, max_strain
        Largest supercell and largest principal strain of a match.
    quick
        The first framework only, its thickness held: an upper bound of the deformation energy.
    """
    material = catalogue.cathode(cathode)
    return EpitaxyMaker(
        engine=catalogue.engine(level, material, max_steps=max_steps),
        settings=MatchSettings(
            max_area_ang2=max_area_ang2,
            max_strain=max_strain,
            mof_facets=mof_facets,
            normal="held" if quick else "relaxed",
        ),
        name=f"epitaxial match on {cathode}",
    ).make(material, facets, [catalogue.mof(name) for name in (mofs[:1] if quick else mofs)])
