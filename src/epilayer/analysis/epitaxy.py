"""The deformation energy of a framework that is strained to a facet: certified or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from epilayer import __version__
from epilayer.analysis.adsorption import leg_of, leg_refusals
from epilayer.model.base import Frozen
from epilayer.model.epitaxy import EpitaxialMatch, FacetMatch, StrainedRun
from epilayer.model.records import Calculation, Refusal, RefusalCode, Status
from epilayer.model.units import Dimensionless

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epilayer.model.level import Scalar

#: Beyond this a framework's response is not elastic, and potentials were hardly trained on such cells.
MAX_STRAIN: Final = 0.05


class EpitaxySystem(Frozen):
    """The match that is computed."""

    cathode: str
    mof: str
    mof_formula: str
    formula_units: int
    match: FacetMatch
    alternatives: tuple[FacetMatch, ...] = ()


class ComputedStrain(Frozen):
    """A relaxation of the framework in one strained cell."""

    sign: Literal[-1, 0, 1]
    normal_strain: Dimensionless
    calculation: Calculation


def certify_match(
    system: EpitaxySystem, computed: Sequence[ComputedStrain], parameters: Mapping[str, Scalar]
) -> EpitaxialMatch:
    """Return the deformation energy of a match, or why there is none.

    Parameters
    ----------
    computed
        The unstrained framework, and pairs of strain and opposite strain: one pair with the thickness
        held, or three with it shorter, equal and longer, through which a parabola is laid.
    """
    free = next(c.calculation for c in computed if c.sign == 0)
    refusals = [*too_strained(system.match), *_of_the_runs(computed)]
    pairs = _energies_ev(computed)
    normal: Literal["held", "relaxed"] = "relaxed" if len(pairs) > 1 else "held"
    energy_ev, normal_strain = pairs[0.0], 0.0
    if normal == "relaxed":
        vertex = _vertex(pairs)
        if vertex is None:
            refusals.append(_not_bracketed(system))
        else:
            normal_strain, energy_ev = vertex
    runs = tuple(_run(c) for c in computed)
    # Energies of the runs enter with at most these weights; a parabola's vertex lies within its points.
    uncertainty_ev = sum(r.residual_ev for r in runs if r.normal_strain == 0.0)
    if energy_ev < -uncertainty_ev and not refusals:
        refusals.append(_unstable(system, energy_ev))
    forward = next(c for c in computed if c.sign == 1 and c.normal_strain == 0.0)
    backward = next(c for c in computed if c.sign == -1 and c.normal_strain == 0.0)
    odd_ev = (forward.calculation.energy_ev - backward.calculation.energy_ev) / 2
    units = system.formula_units
    area_ang2 = free.structure.volume / system.match.repeat_ang
    certified = not refusals
    return EpitaxialMatch(
        cathode=system.cathode,
        facet=system.match.facet,
        mof=system.mof,
        mof_formula=system.mof_formula,
        formula_units=units,
        level=free.level,
        status=Status.CERTIFIED if certified else Status.REFUSED,
        match=system.match,
        alternatives=system.alternatives,
        deformation_energy_ev=energy_ev / units if certified else None,
        deformation_energy_ev_per_ang2=energy_ev / area_ang2 if certified else None,
        uncertainty_ev=uncertainty_ev / units if certified else None,
        odd_part_ev=odd_ev / units if certified else None,
        normal=normal,
        normal_strain=normal_strain if certified else None,
        refusals=tuple(refusals),
        runs=runs,
        structure=forward.calculation.structure,
        code_version=__version__,
        parameters=dict(parameters),
    )


def refused_match(
    system: EpitaxySystem, free: Calculation, parameters: Mapping[str, Scalar]
) -> EpitaxialMatch:
    """Return the record of a match that :func:`too_strained` says is not to be computed."""
    return EpitaxialMatch(
        cathode=system.cathode,
        facet=system.match.facet,
        mof=system.mof,
        mof_formula=system.mof_formula,
        formula_units=system.formula_units,
        level=free.level,
        status=Status.REFUSED,
        match=system.match,
        alternatives=system.alternatives,
        deformation_energy_ev=None,
        deformation_energy_ev_per_ang2=None,
        uncertainty_ev=None,
        odd_part_ev=None,
        normal="held",
        normal_strain=None,
        refusals=tuple(too_strained(system.match)),
        runs=(),
        structure=free.structure,
        code_version=__version__,
        parameters=dict(parameters),
    )


def _energies_ev(computed: Sequence[ComputedStrain]) -> dict[float, float]:
    """Return the even part of the energy by normal strain, per cell."""
    free_ev = next(c.calculation.energy_ev for c in computed if c.sign == 0)
    by_key = {(c.sign, c.normal_strain): c.calculation.energy_ev for c in computed if c.sign}
    return {
        normal: (forward_ev + by_key[-1, -normal]) / 2 - free_ev
        for (sign, normal), forward_ev in by_key.items()
        if sign == 1
    }


def _vertex(pairs: Mapping[float, float]) -> tuple[float, float] | None:
    """Return place and height of the minimum of the parabola through three points, if it lies between."""
    strains = sorted(pairs)
    curvature, slope, height = np.polyfit(strains, [pairs[s] for s in strains], 2)
    if curvature <= 0:
        return None
    place = -slope / (2 * curvature)
    if not strains[0] <= place <= strains[-1]:
        return None
    return float(place), float(height - slope**2 / (4 * curvature))


def _run(computed: ComputedStrain) -> StrainedRun:
    leg = leg_of("bulk", computed.calculation)
    return StrainedRun(
        sign=computed.sign,
        normal_strain=computed.normal_strain,
        energy_ev=leg.energy_ev,
        max_force_ev_per_ang=leg.max_force_ev_per_ang,
        steps=leg.steps,
        residual_ev=leg.residual_ev,
        level_fingerprint=leg.level_fingerprint,
        provenance=leg.provenance,
    )


def too_strained(match: FacetMatch) -> list[Refusal]:
    """Return why the strain of a match is beyond computing; nothing where it is not."""
    if match.largest <= MAX_STRAIN:
        return []
    return [
        Refusal(
            code=RefusalCode.STRAIN_TOO_LARGE,
            subject=f"({match.mof_facet}) on ({match.facet})",
            what=(
                f"the framework would be strained by {match.largest:.1%}, and beyond {MAX_STRAIN:.0%} its "
                "response is not elastic and no potential is trusted"
            ),
            remedy="look for a larger cell (--set max_area_ang2=1200) or another facet of the framework",
        )
    ]


def _of_the_runs(computed: Sequence[ComputedStrain]) -> list[Refusal]:
    refusals: list[Refusal] = []
    levels = {c.calculation.level.fingerprint for c in computed}
    if len(levels) > 1:
        refusals.append(
            Refusal(
                code=RefusalCode.LEVEL_MISMATCH,
                subject="framework",
                what="the strained and the free framework were computed at different levels of theory",
                remedy="compute all of them with one level",
            )
        )
    for one in computed:
        refusals += leg_refusals(one.calculation.label, one.calculation)
    return refusals


def _not_bracketed(system: EpitaxySystem) -> Refusal:
    return Refusal(
        code=RefusalCode.NOT_ELASTIC,
        subject=f"({system.match.mof_facet}) on ({system.match.facet})",
        what="the best thickness of the strained layer does not lie within the thicknesses computed",
        remedy="hold the thickness (--set normal=held), which gives an upper bound",
    )


def _unstable(system: EpitaxySystem, energy_ev: float) -> Refusal:
    return Refusal(
        code=RefusalCode.NOT_ELASTIC,
        subject=f"({system.match.mof_facet}) on ({system.match.facet})",
        what=f"straining lowers the energy ({energy_ev / system.formula_units:.3f} eV per formula unit): the "
        "unstrained framework is no minimum of this level of theory",
        remedy="relax the framework from another structure, or take another level of theory",
    )
