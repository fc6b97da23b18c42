"""Typed results: surface energies and the equilibrium shape that follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pymatgen.core import Structure

from epilayer.model.base import Frozen
from epilayer.model.kind import LEVEL, REFUSAL, STAND_IN, Column, Number, RecordKind, columns, picked, span
from epilayer.model.level import LevelOfTheory, Scalar
from epilayer.model.records import Leg, Refusal, Status
from epilayer.model.units import Ang, Ang2, Dimensionless, EvPerAng2, Fraction, JPerM2

if TYPE_CHECKING:
    from collections.abc import Sequence

J_PER_M2_PER_EV_PER_ANG2 = 16.021766340
"""1 eV/A^2 in J/m^2 (CODATA 2018)."""


class SurfaceThickness(Frozen):
    """The surface energy of one slab thickness.

    Attributes
    ----------
    unrelaxed_j_per_m2
        Of the slab whose atoms stand where those of the relaxed crystal do.
    held_face
        Whether one face was held as in the crystal, and its own energy taken off.
    """

    thickness_ang: Ang
    atoms: int
    surface_energy_j_per_m2: JPerM2
    unrelaxed_j_per_m2: JPerM2
    held_face: bool
    job: str = ""


class SurfaceEnergy(Frozen):
    """The surface energy of one termination of one facet at one level of theory, or its refusal.

    ``gamma = (E(slab) - n E(bulk)) / (2 A)`` for a stoichiometric slab with two equivalent relaxed
    faces, against the bulk of the same ordering in the same cell.

    Attributes
    ----------
    surface_energy_j_per_m2, surface_energy_ev_per_ang2
        Of the thickest slab; ``None`` where it is refused.
    uncertainty_j_per_m2
        Numerical half-width: what slab and bulk still changed over their last steps, and what a thicker
        slab changed where one was computed (``thickness_change_j_per_m2``). It says nothing about the
        error of the level of theory.
    thickness_change_j_per_m2
        Thickest minus next thickness; ``None`` where one thickness was computed, so that convergence
        with thickness has not been looked at.
    without_dispersion_j_per_m2
        The same difference without the dispersion terms, at the same geometries.
    unrelaxed_j_per_m2
        Of the thickest slab, its atoms as in the relaxed crystal.
    broken_bonds_per_nm2
        Bonds that the cut breaks, by pair, per face.
    moved
        What was moved from face to face to compensate a polar cut; empty for a cut that needed none.
    largest_move_ang, largest_mover
        How far the atom went that relaxed most, and which one it is.
    """

    kind: Literal["surface"] = "surface"
    cathode: str
    facet: str
    termination: str
    ordering: str
    level: LevelOfTheory
    status: Status
    surface_energy_j_per_m2: JPerM2 | None
    surface_energy_ev_per_ang2: EvPerAng2 | None
    uncertainty_j_per_m2: JPerM2 | None
    thickness_change_j_per_m2: JPerM2 | None
    without_dispersion_j_per_m2: JPerM2 | None
    unrelaxed_j_per_m2: JPerM2 | None
    refusals: tuple[Refusal, ...]
    thicknesses: tuple[SurfaceThickness, ...]
    area_ang2: Ang2
    broken_bonds_per_nm2: dict[str, float]
    tasker: str
    moved: str
    largest_move_ang: Ang
    largest_mover: str
    legs: tuple[Leg, ...]
    structure: Structure
    code_version: str
    parameters: dict[str, Scalar]


class WulffFace(Frozen):
    """One face of an equilibrium shape.

    Attributes
    ----------
    miller
        Its own index.
    corners_j_per_m2
        Corners in order around the face, (corners, 3). The distance of a face from the centre is its
        surface energy, so lengths come in J/m^2.
    """

    facet: str
    miller: tuple[int, int, int]
    corners_j_per_m2: tuple[tuple[float, float, float], ...]


class WulffFacet(Frozen):
    """A facet with all the faces that symmetry makes of it.

    Attributes
    ----------
    area_fraction
        Share of the whole surface; zero for a facet that does not show.
    low_area_fraction, high_area_fraction
        Over the corners of the intervals of all surface energies.
    corners
        Corners of one of its faces.
    aspect_ratio
        Longest over shortest edge of one face; 1 for a square. ``None`` where it does not show.
    right_angled
        Whether every angle of the face is 90 degrees to within 1.
    """

    facet: str
    termination: str
    surface_energy_j_per_m2: JPerM2
    uncertainty_j_per_m2: JPerM2
    area_fraction: Fraction
    low_area_fraction: Fraction
    high_area_fraction: Fraction
    faces: int
    corners: int
    aspect_ratio: Dimensionless | None
    right_angled: bool

    @property
    def outline(self) -> str:
        """The form of one face, in a word."""
        if not self.corners:
            return "does not show"
        rectangle = self.corners == 4 and self.right_angled  # noqa: PLR2004
        square = rectangle and self.aspect_ratio is not None and self.aspect_ratio < 1.01  # noqa: PLR2004
        return "square" if square else "rectangle" if rectangle else f"{self.corners} corners"


class WulffShape(Frozen):
    """The shape of least surface energy at a given volume (Wulff 1901), or its refusal.

    Attributes
    ----------
    left_out
        Terminations whose surface energy was refused, and why; one of them may be lower than what shows.
    mean_surface_energy_j_per_m2
        Averaged over the area of the shape.
    """

    kind: Literal["wulff"] = "wulff"
    cathode: str
    level: LevelOfTheory
    status: Status
    point_group: str
    facets: tuple[WulffFacet, ...]
    faces: tuple[WulffFace, ...] = Field(repr=False)
    mean_surface_energy_j_per_m2: JPerM2 | None
    left_out: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    code_version: str
    parameters: dict[str, Scalar]


def _surface_methods(records: Sequence[SurfaceEnergy]) -> str:
    thicknesses = sorted({len(r.thicknesses) for r in records})
    return (
        "Surface energies are (E(slab) - n E(bulk)) / (2 A) of stoichiometric, non-polar slabs, against the "
        f"bulk of the same ordering; thicknesses computed of each: {span(thicknesses)}."
    )


def _outlines(record: WulffShape) -> str | None:
    said = (f"({f.facet}) {100 * f.area_fraction:.0f} % {f.outline}" for f in record.facets if f.corners)
    return ", ".join(said) or None


_COMMON = columns(f"cathode {LEVEL} status", *REFUSAL, *STAND_IN)

SURFACE = RecordKind(
    name="surface",
    record=SurfaceEnergy,
    about="what a facet costs",
    asked=lambda r: {
        **picked(r, "code_version cathode parameters termination ordering level"),
        "formula": r.structure.composition.formula,
        "area": f"{r.area_ang2:.3f}",
    },
    columns=columns(
        *_COMMON,
        "facet termination ordering surface_energy_j_per_m2 surface_energy_ev_per_ang2 uncertainty_j_per_m2",
        "thickness_change_j_per_m2 without_dispersion_j_per_m2 unrelaxed_j_per_m2 thicknesses:int",
        Column("thickness_ang", float, lambda r: r.thicknesses[-1].thickness_ang),
        "tasker",
        Column("moved", of=lambda r: r.moved or None),
        Column("broken_bonds_per_nm2", float, lambda r: sum(r.broken_bonds_per_nm2.values())),
        "largest_move_ang largest_mover formula=structure.composition.reduced_formula",
        Column("atoms", int, lambda r: len(r.structure)),
    ),
    shown=(
        "termination", "level", "status", "surface_energy_j_per_m2", "uncertainty_j_per_m2",
        "thickness_change_j_per_m2", "without_dispersion_j_per_m2", "unrelaxed_j_per_m2", "refusal",
    ),
    title="Surface of {cathode} ({facet})",
    number=Number("surface_energy_j_per_m2", "J/m²", half="uncertainty_j_per_m2"),
    definition="Surface energy = (E(slab) \N{MINUS SIGN} n E(crystal)) / (2 A), for a stoichiometric slab "
    "with two equivalent faces.",
    methods=_surface_methods,
)  # fmt: skip
WULFF = RecordKind(
    name="wulff",
    record=WulffShape,
    about="the shape of least surface energy",
    asked=lambda r: {
        **picked(r, "code_version cathode parameters level"),
        "facets": sorted([f.facet for f in r.facets] or [refusal.subject for refusal in r.refusals]),
    },
    columns=columns(
        *_COMMON,
        "point_group mean_surface_energy_j_per_m2",
        Column("shape", of=_outlines),
        Column("left_out", of=lambda r: "; ".join(r.left_out) or None),
    ),
    more=lambda r: {f"area_fraction_{f.facet}": f.area_fraction for f in r.facets},
    shown=("cathode", "level", "status", "shape", "mean_surface_energy_j_per_m2", "left_out", "refusal"),
    title="Equilibrium shape of {cathode}",
    number=Number("mean_surface_energy_j_per_m2", "J/m² on average"),
    definition="The shape of least surface energy at a given volume (Wulff construction).",
    drawings=("wulff",),
)
