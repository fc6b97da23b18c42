"""Surface energies of every admissible termination of some facets, and the Wulff shape that follows.

For NVOPF in I4/mmm indexing the shape says whether square (001) and rectangular (100) faces are expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer.flows.surfaces import SurfaceEnergyMaker, SurfaceSettings

if TYPE_CHECKING:
    from jobflow import Flow

    from epilayer.study.config import Catalogue


def build(
    catalogue: Catalogue,
    *,
    level: str = "chgnet+d3",
    check_levels: tuple[str, ...] = (),
    cathode: str = "nvopf",
    facets: tuple[str, ...] = ("001", "100", "110", "101"),
    thicknesses: int = 2,
    max_steps: int = 400,
    quick: bool = False,
) -> Flow:
    """Build the flow.

    Parameters
    ----------
    level, check_levels
        Levels of theory; each computes its own bulk, slabs and shape.
    thicknesses
        Slab thicknesses of each termination: with 2, one twice as thick shows the convergence.
    quick
        One thickness and no check: convergence with thickness is not looked at.
    """
    material = catalogue.cathode(cathode)
    names = (level,) if quick else (level, *check_levels)
    return SurfaceEnergyMaker(
        engines=tuple(catalogue.engine(name, material, max_steps=max_steps) for name in names),
        settings=SurfaceSettings(thicknesses=1 if quick else thicknesses),
        name=f"surface energies of {cathode}",
    ).make(material, facets)
