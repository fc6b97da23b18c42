"""Epitaxial matches of frameworks on the facets of a cathode, and their deformation energies.

The framework's primitive cell is relaxed once in the measured cell, and once in every strained cell; cells
stay fixed. What is strained is the bulk of the framework: the energy of a thick layer, without interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jobflow import Flow, Job, Maker, job
from pydantic import Field

from epilayer.analysis.epitaxy import (
    ComputedStrain,
    EpitaxySystem,
    certify_match,
    refused_match,
    too_strained,
)
from epilayer.flows.base import each_once, mark
from epilayer.model.base import Frozen
from epilayer.model.cathode import miller_index, miller_label
from epilayer.model.epitaxy import FacetMatch
from epilayer.model.errors import StructureError
from epilayer.model.units import Dimensionless
from epilayer.structures import crystals, match

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from epilayer.engines.base import Engine
    from epilayer.model.cathode import Cathode, Miller
    from epilayer.model.epitaxy import EpitaxialMatch
    from epilayer.model.level import Scalar
    from epilayer.model.mof import Mof
    from epilayer.model.records import Calculation


class MatchSettings(Frozen):
    """How matches are searched for and strained.

    Attributes
    ----------
    max_area_ang2
        Largest supercell that is looked at.
    max_strain
        Largest principal strain of the framework in the search.
    mof_facets
        Facets of the framework; empty takes every family of planes with indices 0 and 1.
    normal
        ``held``: the layer keeps its thickness, which gives an upper bound with two strained cells;
        ``relaxed``: the best of a parabola through three thicknesses, with six.
    """

    max_area_ang2: float = Field(default=match.MAX_AREA_ANG2, gt=0)
    max_strain: Dimensionless = Field(default=match.MAX_STRAIN, gt=0, le=0.2)
    mof_facets: tuple[str, ...] = ()
    normal: Literal["held", "relaxed"] = "relaxed"


def find_matches(
    cathode: Cathode, facet: str, mof: Mof, settings: MatchSettings
) -> tuple[tuple[FacetMatch, ...], tuple[str, ...]]:
    """Match every facet of a framework on one facet of a cathode.

    Returns
    -------
    tuple
        The best match of each facet of the framework, least strained first, and why others have none.

    Raises
    ------
    StructureError
        When no facet of the framework matches.
    """
    framework = crystals.framework(mof)
    below = match.plane_of(crystals.build(cathode), miller_index(facet))
    indices: Sequence[Miller] = [miller_index(f) for f in settings.mof_facets]
    found: list[FacetMatch] = []
    without: list[str] = []
    for index in indices or match.low_index_planes(framework):
        plane = match.plane_of(framework, index)
        try:
            fits = match.matches(
                below, plane, max_area_ang2=settings.max_area_ang2, max_strain=settings.max_strain
            )
        except StructureError as refusal:
            without.append(refusal.what)
            continue
        found += [_as_model(m, plane) for m in fits[:1]]
    if not found:
        raise StructureError(
            f"{mof.name} matches ({facet}) of {cathode.name} nowhere: {' '.join(without)}",
            "Allow a larger cell (--max-area) or more strain (--max-strain).",
        )
    return tuple(sorted(found, key=lambda m: (m.von_mises, m.area_ang2))), tuple(without)


@dataclass(kw_only=True)
class EpitaxyMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """The best match of each framework on each facet, and what straining the framework to it costs.

    Parameters
    ----------
    engine
        Relaxes the framework in its strained cells.
    settings
        How matches are searched for and strained.
    """

    engine: Engine
    settings: MatchSettings
    name: str = "epitaxial match"

    def make(self, cathode: Cathode, facets: Sequence[str], mofs: Sequence[Mof]) -> Flow:
        """Build the flow.

        Raises
        ------
        InputError
            Without a facet or a framework, or where one is named twice.
        StructureError
            Where nothing matches.
        """
        for kind, names in (("facet", list(facets)), ("MOF", [mof.name for mof in mofs])):
            each_once(kind, names)
        jobs: list[Job] = []
        for mof in mofs:
            cell = match.smallest_cell(crystals.framework(mof))
            free = self.engine.relax(f"framework {mof.name}, {self.engine.level.name}").make(cell)
            jobs.append(free)
            for facet in facets:
                jobs += self._on_facet(cathode, facet, mof, cell, free)
        return Flow(jobs, name=self.name)

    def _on_facet(self, cathode: Cathode, facet: str, mof: Mof, cell: Structure, free: Job) -> list[Job]:
        fits, _ = find_matches(cathode, facet, mof, self.settings)
        best = fits[0]
        system = EpitaxySystem(
            cathode=cathode.name,
            mof=mof.name,
            mof_formula=mof.formula,
            formula_units=round(cell.composition.num_atoms / cell.composition.reduced_composition.num_atoms),
            match=best,
            alternatives=fits[1:],
        )
        parameters: dict[str, Scalar] = {
            "max_area_ang2": self.settings.max_area_ang2,
            "max_strain": self.settings.max_strain,
            "normal": self.settings.normal,
            "mof_facets": ",".join(self.settings.mof_facets),
        }
        title = f"{mof.name} ({best.mof_facet}) on {cathode.name} ({facet})"
        plane = match.plane_of(crystals.framework(mof), miller_index(best.mof_facet))
        # Too strained to be computed at all: the record says so, and nothing runs.
        if too_strained(best):
            return [mark(refuse_match(system, free.output, parameters), f"match of {title}", "epitaxy")]
        span = best.largest
        steps = (0.0,) if self.settings.normal == "held" else (-span, 0.0, span)
        runs: list[tuple[Literal[-1, 0, 1], float, Any]] = [(0, 0.0, free.output)]
        jobs: list[Job] = []
        signs: tuple[Literal[-1, 1], ...] = (1, -1)
        for normal in steps:
            for sign in signs:
                strain = [[sign * x for x in row] for row in best.strain]
                strained = match.strained(cell, plane, strain, normal_strain=sign * normal)
                word = "strained as" if sign == 1 else "strained against"
                thickness = f", thickness {sign * normal:+.1%}" if normal else ""
                label = f"{word} {title}{thickness}, {self.engine.level.name}"
                made = self.engine.relax(label).make(strained)
                runs.append((sign, sign * normal, made.output))
                jobs.append(made)
        judged = judge_match(
            system, [(s, n) for s, n, _ in runs], [output for _, _, output in runs], parameters
        )
        return [*jobs, mark(judged, f"match of {title}", "epitaxy")]


@job  # type: ignore[untyped-decorator]
def judge_match(
    system: EpitaxySystem,
    strains: list[tuple[Literal[-1, 0, 1], float]],
    relaxed: list[Calculation],
    parameters: dict[str, Scalar],
) -> EpitaxialMatch:
    """Certify or refuse the deformation energy of a match."""
    computed = [
        ComputedStrain(sign=sign, normal_strain=normal, calculation=calculation)
        for (sign, normal), calculation in zip(strains, relaxed, strict=True)
    ]
    return certify_match(system, computed, parameters)


@job  # type: ignore[untyped-decorator]
def refuse_match(system: EpitaxySystem, free: Calculation, parameters: dict[str, Scalar]) -> EpitaxialMatch:
    """Return the refusal of a match that is strained too much to be computed."""
    return refused_match(system, free, parameters)


def _as_model(found: match.Match, plane: match.Plane) -> FacetMatch:
    return FacetMatch(
        facet=miller_label(found.miller),
        mof_facet=miller_label(found.mof_miller),
        repeat_ang=plane.repeat_ang,
        **{name: getattr(found, name) for name in FacetMatch.model_fields if hasattr(found, name)},
    )
