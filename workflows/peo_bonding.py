"""Bonds of a polymer segment on charged and discharged NVOPF, by orientation, and hydrogen abstraction.

The paper's systems S8 and S9 (Nature Energy 2025, doi 10.1038/s41560-025-01857-y).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from epilayer.flows.bonding import bond_study
from epilayer.model.bonding import BarrierMethod

if TYPE_CHECKING:
    from jobflow import Flow

    from epilayer.study.config import Catalogue


def build(
    catalogue: Catalogue,
    *,
    level: str = "chgnet+d3",
    cathode: str = "nvopf",
    facets: tuple[str, ...] = ("001", "100"),
    states: tuple[str, ...] = (),
    chains: tuple[str, ...] = ("peo2", "pom2"),
    turns: int = 4,
    tilts_deg: tuple[float, ...] = (0.0, 60.0),
    max_steps: int = 400,
    seed: int = 0,
    barrier: Literal["none", "scan", "band"] = "none",
    barrier_images: int = 5,
    in_pore: bool = True,
    quick: bool = False,
) -> Flow:
    """Build the flow.

    Parameters
    ----------
    level
        Relaxes. A VASP level also measures the bonds (LOBSTER); others leave that to GFN1-xTB, whose
        index has another name and is only good for changes.
    states
        Charge states of the cathode: ``charged`` (V5+), ``as cut`` (with all its sodium), by default both.
    chains
        Methyl-capped segments: ``peo`` or ``pom`` and the number of units.
    turns
        Steps of the turn about the segment's long axis.
    tilts_deg
        Angles of that axis out of the surface.
    barrier
        Also walk a hydrogen to the surface: over a climbing-image elastic band (``band``, with a potential),
        or by constrained images that bound the barrier from above (``scan``, with any engine).
    barrier_images
        Between the ends of that path.
    in_pore
        Also put each segment into a pore of MET-6, for contrast.
    quick
        One unit of PEO, three orientations, a narrow cell, the charged state unless states are named:
        shows the way.
    """
    return bond_study(
        catalogue,
        level=level,
        cathode=cathode,
        facets=facets,
        states=states or (("charged",) if quick else ("charged", "as cut")),
        chains=("peo1",) if quick else chains,
        turns=3 if quick else turns,
        tilts_deg=(0.0,) if quick else tilts_deg,
        max_steps=max_steps,
        seed=seed,
        narrow=quick,
        barrier=None if barrier == "none" else BarrierMethod[barrier.upper()],
        barrier_images=barrier_images,
        pore="met6" if in_pore else "",
    )
