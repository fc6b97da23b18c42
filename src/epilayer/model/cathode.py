"""A cathode as data: its crystal, its charges and moments, and the rules of its cuts."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from epilayer.model.base import Frozen
from epilayer.model.errors import InputError
from epilayer.model.units import Ang, Deg, Dimensionless, Ev, Fraction, JPerM2, MuB, PositiveAng, Unit

Element = Annotated[str, Field(pattern=r"^[A-Z][a-z]?$")]
Miller = tuple[int, int, int]
MIN_VACUUM_ANG = 15.0


class WyckoffSite(Frozen):
    """One orbit of a crystal: an element on a Wyckoff position, perhaps partly occupied."""

    element: Element
    wyckoff: str = Field(pattern=r"^\d+[a-zA-Z]$", description="multiplicity and letter, such as 16n")
    xyz: tuple[Dimensionless, Dimensionless, Dimensionless] = Field(description="fractional coordinates")
    occupancy: Fraction = 1.0

    @property
    def multiplicity(self) -> int:
        """Number of sites of the orbit in the conventional cell."""
        return int(self.wyckoff[:-1])


class LatticeParameters(Frozen):
    """The conventional cell; what the space group fixes may be left out (b = a, angles 90)."""

    a_ang: PositiveAng
    b_ang: PositiveAng | None = None
    c_ang: PositiveAng | None = None
    alpha_deg: Deg = Field(default=90.0, gt=0, lt=180)
    beta_deg: Deg = Field(default=90.0, gt=0, lt=180)
    gamma_deg: Deg = Field(default=90.0, gt=0, lt=180)


class OrderingRule(Frozen):
    """How partly occupied sites are made whole: every window of neighbouring sites holds its share.

    A window is a set of partly occupied sites of ``species`` linked by distances of at most
    ``window_link_ang``; it holds the sum of their occupancies, which must be a whole number.
    """

    species: Element
    window_link_ang: PositiveAng
    cells: tuple[
        Literal["primitive", "conventional"] | tuple[tuple[int, int, int], ...],
        ...,
    ] = Field(default=("primitive",), min_length=1, description="cells in which orderings are enumerated")

    @field_validator("cells")
    @classmethod
    def _square(cls, cells: tuple[Any, ...]) -> tuple[Any, ...]:
        if any(not isinstance(cell, str) and len(cell) != 3 for cell in cells):  # noqa: PLR2004
            raise ValueError("a cell is 'primitive', 'conventional' or three rows of three integers")
        return cells


class Crystal(Frozen):
    """A crystal, by its Wyckoff table or by a CIF.

    ``cif`` is a file name relative to the YAML; the reader of the YAML puts the text of that
    file in its place, so that a value of this type describes the crystal completely.
    """

    source: str = Field(min_length=20, description="where the numbers come from, with DOI and provenance")
    space_group: str | None = None
    setting: str | None = Field(default=None, description="origin choice or axes: 1, 2, H, R, b1 ...")
    lattice: LatticeParameters | None = None
    sites: tuple[WyckoffSite, ...] = ()
    cif: str | None = None
    ordering: OrderingRule | None = None

    @model_validator(mode="after")
    def _one_description(self) -> Self:
        table = (self.space_group is not None, self.lattice is not None, bool(self.sites))
        if self.cif is not None and any(table):
            raise ValueError("give either cif, or space_group + lattice + sites, not both")
        if self.cif is None and not all(table):
            raise ValueError("give cif, or all of space_group, lattice and sites")
        return self


class KeepBond(Frozen):
    """A bond that no cut may sever, such as P-O, or V-O when shorter than 1.75 A."""

    a: Element
    b: Element
    max_length_ang: PositiveAng | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:  # noqa: ANN401  (raw YAML)
        if isinstance(value, list | tuple):
            if len(value) not in {2, 3}:
                raise ValueError("a kept bond is [element, element] or [element, element, longest in A]")
            return dict(zip(("a", "b", "max_length_ang"), value, strict=False))
        return value


class HubbardU(Frozen):
    """An on-site U with the place it was taken from."""

    u_ev: Ev = Field(ge=0)
    source: str = Field(min_length=10)


class RecordedSurfaceEnergy(Frozen):
    """A surface energy that was computed before, so that a default termination need not wait for it."""

    termination: str = Field(description="label, such as 100-t0.25")
    ordering: str = Field(description="label of the ordering that was cut")
    surface_energy_j_per_m2: JPerM2
    level: str = Field(description="level of theory, such as chgnet+d3")
    source: str = Field(min_length=20, description="how it was computed")


class Facet(Frozen):
    """A facet and how its slab is cut. Thicknesses are in A, never in layers."""

    miller: Miller
    thickness_ang: PositiveAng = Field(default=10.0, description="least thickness of material")
    vacuum_ang: Ang = Field(default=18.0, ge=MIN_VACUUM_ANG)
    min_width_ang: PositiveAng = Field(default=9.0, description="least in-plane distance between images")
    hold: Literal["bottom", "centre"] = "bottom"
    hold_thickness_ang: Ang = Field(default=4.0, ge=0, description="thickness of the region held fixed")
    surface_energies: tuple[RecordedSurfaceEnergy, ...] = Field(
        default=(), description="of one level of theory; the lowest is the default termination"
    )

    @field_validator("surface_energies")
    @classmethod
    def _comparable(cls, energies: tuple[RecordedSurfaceEnergy, ...]) -> tuple[RecordedSurfaceEnergy, ...]:
        if len({(e.level, e.ordering) for e in energies}) > 1:
            raise ValueError("surface energies of one facet must share one level and one ordering")
        if len({e.termination for e in energies}) < len(energies):
            raise ValueError("a termination has two surface energies")
        return energies

    @field_validator("miller")
    @classmethod
    def _not_zero(cls, miller: Miller) -> Miller:
        if miller == (0, 0, 0):
            raise ValueError("the Miller index (0 0 0) names no plane")
        return miller

    @property
    def label(self) -> str:
        """The facet as it is written without brackets, such as 001 or 1-10."""
        return miller_label(self.miller)


class ChargeState(Frozen):
    """The same framework at another sodium content, with the charges that go with it."""

    formula: str | None = Field(
        default=None, description="of the same framework; slabs are charged by removing ions down to it"
    )
    occupancy: dict[Element, Fraction] = Field(description="occupancy of the partly occupied sites")
    oxidation_states: dict[Element, Annotated[float, Unit("e")]]
    moments: dict[str, MuB] = Field(default_factory=dict)
    source: str = Field(min_length=20)


class Cathode(Frozen):
    """A cathode material, complete: crystal, charges, moments, U, kept bonds and facets."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    formula: str
    title: str = ""
    source: str = Field(min_length=20, description="free text with DOI and provenance")
    crystal: Crystal
    variants: dict[str, Crystal] = Field(default_factory=dict)
    oxidation_states: dict[Element, Annotated[float, Unit("e")]] = Field(default_factory=dict)
    moments: dict[str, MuB] = Field(default_factory=dict, description="start moments by species, such as V4+")
    hubbard_u: dict[Element, HubbardU] = Field(default_factory=dict)
    keep_bonds: tuple[KeepBond, ...] | None = Field(default=None, description="unset: found by the rules")
    facets: tuple[Facet, ...] = ()
    states: dict[str, ChargeState] = Field(default_factory=dict)

    @field_validator("moments")
    @classmethod
    def _species(cls, moments: dict[str, float]) -> dict[str, float]:
        for name in moments:
            if not re.fullmatch(r"[A-Z][a-z]?\d*(\.\d+)?[+-]?", name):
                raise ValueError(f"{name!r} is no species; write V4+ or V")
        return moments

    def facet(self, miller: Miller) -> Facet:
        """Return the facet as configured, or the defaults for an index that is not."""
        return next((f for f in self.facets if f.miller == miller), Facet(miller=miller))


def miller_label(miller: Miller) -> str:
    """Write a Miller index without brackets or spaces.

    >>> miller_label((1, -1, 0))
    '1-10'
    """
    return "".join(str(i) for i in miller)


def miller_index(label: str) -> Miller:
    """Read a Miller index as :func:`miller_label` writes it; spaces or commas may part the numbers.

    >>> miller_index("1-10")
    (1, -1, 0)

    Raises
    ------
    InputError
        If the text is not three integers.
    """
    numbers = re.findall(r"-?\d+" if re.search(r"[\s,]", label.strip()) else r"-?\d", label)
    if len(numbers) != 3 or re.sub(r"[\s,]", "", label) != "".join(numbers):  # noqa: PLR2004  (h, k, l)
        raise InputError(f"{label!r} is no Miller index.", "Write three integers, such as 001 or 1-10.")
    h, k, l = (int(n) for n in numbers)  # noqa: E741  (h, k, l are their names)
    return h, k, l
