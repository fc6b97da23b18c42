"""Magnetic moments, and the oxidation states that they suggest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.imported import OxidationEstimate

if TYPE_CHECKING:
    from epilayer.outputs.vasp.outcar import Outcar

_TOLERANCE_MU_B = 0.35
_HIGHEST_STATE = {"Ti": 4, "V": 5}
"""Oxidation state without d electrons, of elements whose oxides hold at most three: these stand parallel."""
_D_ELECTRONS = (0, 1, 2, 3)


def moments(out: Outcar | None, atoms: int) -> tuple[tuple[float, ...] | None, str]:
    """Return the moment of every atom in its PAW sphere, mu_B, and what is wrong with them, or nothing.

    Non-collinear moments are given by their magnitude.

    Parameters
    ----------
    atoms
        How many there must be; 0 where no file says.
    """
    if out is None or not (out.moments_mu_b or out.moments_problem):
        return None, ""
    columns = list(out.moments_mu_b.values())
    if out.moments_problem:
        return None, out.moments_problem
    if len({len(column) for column in columns}) != 1 or (atoms and len(columns[0]) != atoms):
        return None, "the magnetization table does not have one line per atom"
    if len(columns) == 1:
        return columns[0], ""
    return tuple(float(np.linalg.norm(parts)) for parts in zip(*columns, strict=True)), ""


def oxidation_states(
    species: tuple[str, ...], moments_mu_b: tuple[float, ...]
) -> tuple[OxidationEstimate, ...]:
    """Estimate oxidation states of early transition metals (Ti, V) from their moments.

    Up to three d electrons of an ion in an oxide stand parallel in any ligand field: d0, d1, d2, d3 (V5+,
    V4+, V3+, V2+) hold about 0, 1, 2 and 3 mu_B in the PAW sphere. A moment further than 0.35 mu_B from a
    whole number names no state.
    """
    out = []
    for site, (element, moment) in enumerate(zip(species, moments_mu_b, strict=False)):
        if element not in _HIGHEST_STATE:
            continue
        electrons = min(_D_ELECTRONS, key=lambda count: abs(abs(moment) - count))
        clear = abs(abs(moment) - electrons) <= _TOLERANCE_MU_B
        statement = (
            f"|m| = {abs(moment):.3f} mu_B suggests d{electrons}"
            if clear
            else f"|m| = {abs(moment):.3f} mu_B lies between two states (mixed valence, or not converged)"
        )
        out.append(
            OxidationEstimate(
                site=site,
                element=element,
                moment_mu_b=moment,
                state=_HIGHEST_STATE[element] - electrons if clear else None,
                statement=statement,
            )
        )
    return tuple(out)
