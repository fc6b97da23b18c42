"""Typed results: how a framework fits on a facet of a cathode, and what straining it there costs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pymatgen.core import Structure

from epilayer.model.base import Frozen
from epilayer.model.kind import LEVEL, REFUSAL, STAND_IN, Column, Number, RecordKind, columns, picked
from epilayer.model.level import LevelOfTheory, Scalar
from epilayer.model.records import Provenance, Refusal, Status
from epilayer.model.units import Ang, Ang2, Dimensionless, Ev, EvPerAng, EvPerAng2

Pair = tuple[Dimensionless, Dimensionless]
Integers = tuple[tuple[int, int], tuple[int, int]]


class FacetMatch(Frozen):
    """A supercell in which a facet of a framework fits a facet of a cathode.

    Attributes
    ----------
    area_ang2, mof_area_ang2
        Of the supercell on the cathode, and of the framework's before it is strained.
    cells, mof_cells
        Smallest cells of each plane in the supercell.
    strain
        Of the framework in its plane, relative length changes, (2, 2).
    principal
        Smallest and largest relative length change.
    von_mises
        Von Mises strain of the plane.
    repeat_ang
        Distance of equivalent planes of the framework: the thickness of one repeat of the layer.
    """

    facet: str
    mof_facet: str
    area_ang2: Ang2
    mof_area_ang2: Ang2
    cells: int
    mof_cells: int
    transformation: Integers
    mof_transformation: Integers
    strain: tuple[Pair, Pair]
    principal: Pair
    von_mises: Dimensionless
    area_mismatch: Dimensionless
    repeat_ang: Ang

    @property
    def largest(self) -> float:
        """Largest absolute principal strain."""
        return max(abs(e) for e in self.principal)


class StrainedRun(Frozen):
    """One relaxation of the framework in a strained cell, as a reference to its calculation.

    Attributes
    ----------
    sign
        1: the strain of the match; -1: its opposite; 0: none.
    normal_strain
        Relative length change along the normal.
    residual_ev
        What the energy still changed over the last steps.
    """

    sign: Literal[-1, 0, 1]
    normal_strain: Dimensionless
    energy_ev: Ev
    max_force_ev_per_ang: EvPerAng
    steps: int
    residual_ev: Ev
    level_fingerprint: str
    provenance: Provenance


class EpitaxialMatch(Frozen):
    """The best match of a framework on one facet, and its deformation energy, or why it is refused.

    ``W(e) = (E(e) + E(-e)) / 2 - E(0)``: strain and opposite strain, so that the stress which a level of
    theory feels at the measured cell, of first order in the strain, falls out.

    Attributes
    ----------
    deformation_energy_ev
        Per formula unit of the framework; ``None`` where it is refused.
    deformation_energy_ev_per_ang2
        Per area of the layer and repeat of its thickness (``match.repeat_ang``).
    uncertainty_ev
        Numerical half-width per formula unit: what the relaxations still changed. It says nothing of the
        error of the level of theory.
    normal
        ``held``: the thickness of the layer stays, so the energy is an upper bound. ``relaxed``: it is at
        the minimum over the thickness, at ``normal_strain``.
    odd_part_ev
        ``(E(e) - E(-e)) / 2`` per formula unit: the work of that stress, left out of the energy.
    structure
        The framework as strained to the facet, relaxed; as built where nothing was computed.
    """

    kind: Literal["epitaxy"] = "epitaxy"
    cathode: str
    facet: str
    mof: str
    mof_formula: str
    formula_units: int
    level: LevelOfTheory
    status: Status
    match: FacetMatch
    alternatives: tuple[FacetMatch, ...]
    deformation_energy_ev: Ev | None
    deformation_energy_ev_per_ang2: EvPerAng2 | None
    uncertainty_ev: Ev | None
    odd_part_ev: Ev | None
    normal: Literal["held", "relaxed"]
    normal_strain: Dimensionless | None
    refusals: tuple[Refusal, ...]
    runs: tuple[StrainedRun, ...]
    structure: Structure
    code_version: str
    parameters: dict[str, Scalar] = Field(default_factory=dict)


EPITAXY = RecordKind(
    name="epitaxy",
    record=EpitaxialMatch,
    about="what it costs a framework to fit a facet",
    asked=lambda r: picked(r, "code_version cathode facet mof parameters level"),
    columns=columns(
        f"cathode facet mof mof_facet=match.mof_facet {LEVEL} status area_ang2=match.area_ang2",
        Column("cells", of=lambda r: f"{r.match.cells}:{r.match.mof_cells}"),
        Column("smallest_strain", float, lambda r: r.match.principal[0]),
        Column("largest_strain", float, lambda r: r.match.principal[1]),
        "von_mises:float=match.von_mises area_mismatch:float=match.area_mismatch deformation_energy_ev",
        "deformation_energy_ev_per_ang2 uncertainty_ev odd_part_ev normal normal_strain:float",
        *REFUSAL,
        *STAND_IN,
    ),
    shown=(
        "facet", "mof", "mof_facet", "level", "status", "area_ang2", "von_mises", "deformation_energy_ev",
        "deformation_energy_ev_per_ang2", "refusal",
    ),
    title="{mof} on ({facet})",
    number=Number("deformation_energy_ev", "eV per formula unit", half="uncertainty_ev"),
    definition="Energy of straining the framework onto the facet, mean of both signs of the strain.",
    methods=lambda _: (
        "Deformation energies are (E(e) + E(-e)) / 2 - E(0) of the framework strained to the facet."
    ),
)  # fmt: skip
