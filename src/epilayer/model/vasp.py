"""VASP levels of theory as data: what a level's ``vasp:`` block may say."""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from epilayer.model.base import Frozen
from epilayer.model.units import Ev, MuB, PositiveAng

if TYPE_CHECKING:
    from collections.abc import Sequence

Tag = bool | int | float | str | tuple[int | float, ...] | None
"""Value of an INCAR tag; ``None`` takes back what a parent level set."""

Element = Annotated[str, Field(pattern=r"^[A-Z][a-z]?$")]
Task = Literal["relax", "static", "md", "bonding"]

GOVERNED = {
    "hubbard": ("LDAU", "LDAUU", "LDAUJ", "LDAUL", "LDAUTYPE"),
    "moments": ("MAGMOM",),
    "the molecule's multiplicity": ("NUPDOWN",),
    "the structure's charge": ("NELECT",),
    "the structure (set LDIPOL and IDIPOL)": ("DIPOL",),
    "convergence": ("EDIFFG", "NSW"),
    "systems.*.k_points": ("KSPACING", "KGAMMA"),
    "the cluster (ATOMATE2_VASP_INCAR_UPDATES)": ("KPAR", "NCORE", "NPAR"),
    "the settings of the dynamics": (
        *("TEBEG", "TEEND", "MDALGO", "SMASS", "LANGEVIN_GAMMA", "ANDERSEN_PROB", "RANDOM_SEED", "NBLOCK"),
    ),
}
"""Tags that a level may not set by hand, by what sets them."""
_GOVERNOR = {tag: governor for governor, tags in GOVERNED.items() for tag in tags}


class SystemKind(StrEnum):
    """What is in the cell; decides k-points and dipole correction."""

    SLAB = "slab"
    MOLECULE = "molecule"
    PORE = "pore"
    BULK = "bulk"


class KPoints(Frozen):
    """A Gamma-centred mesh, by its divisions or by the length that they resolve.

    Attributes
    ----------
    divisions
        Along the three reciprocal vectors.
    length_ang
        Each division is the least integer that reaches this length times the lattice vector.
    """

    divisions: tuple[Annotated[int, Field(gt=0)], ...] | None = Field(None, min_length=3, max_length=3)
    length_ang: PositiveAng | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.divisions is None) == (self.length_ang is None):
            raise ValueError("give divisions or length_ang, not both")
        return self

    def mesh(self, lengths_ang: Sequence[float]) -> tuple[int, int, int]:
        """Return the divisions for a cell with these lattice lengths (A).

        >>> KPoints(length_ang=25).mesh((6.4, 6.4, 10.6))
        (4, 4, 3)
        """
        if self.divisions is not None:
            i, j, k = self.divisions
        else:
            i, j, k = (math.ceil((self.length_ang or 0.0) / x - 1e-6) for x in lengths_ang)
        return max(1, i), max(1, j), max(1, k)


class SystemSettings(Frozen):
    """What one kind of system needs in addition to the level's own tags."""

    k_points: KPoints
    incar: dict[str, Tag] = Field(default_factory=dict)


class HubbardTerm(Frozen):
    """U on one element; the shell is the element's own (d or f). Dudarev's form: J is part of U."""

    u_ev: Ev = Field(ge=0)
    source: str = Field(min_length=10)


class VaspSettings(Frozen):
    """The ``vasp:`` block of a level.

    Attributes
    ----------
    potcar_functional, potcars
        Family of the PAW datasets, and the dataset of each element; an element without one is refused.
    hubbard
        ``none``, ``cathode`` (each cathode's own values), or values by element.
    moments
        Start moments (mu_B) by element or species (``V4+``); the cathode's own come first.
    magnetic_order
        ``antiferro`` turns every second start moment, in the order of the atoms, which all legs share.
    default_moment_mu_b
        Start moment of every other atom.
    incar
        Tags of every calculation. Nothing is left to the defaults of an input set.
    systems
        k-points and tags by kind of system.
    tasks
        Tags by task.
    """

    potcar_functional: Literal["PBE", "PBE_52", "PBE_54", "PBE_64"] = "PBE_54"
    potcars: dict[Element, str]
    hubbard: Literal["none", "cathode"] | dict[Element, HubbardTerm] = "none"
    moments: dict[str, MuB] = Field(default_factory=dict)
    magnetic_order: Literal["ferro", "antiferro"] = "ferro"
    default_moment_mu_b: MuB = 0.0
    incar: dict[str, Tag]
    systems: dict[SystemKind, SystemSettings]
    tasks: dict[Task, dict[str, Tag]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _tags(self) -> Self:
        blocks = [self.incar, *self.tasks.values(), *(s.incar for s in self.systems.values())]
        for tag in (name for block in blocks for name in block):
            if not re.fullmatch(r"[A-Z][A-Z0-9_]*", tag):
                raise ValueError(f"{tag!r} is no INCAR tag; tags are upper case")
            if tag in _GOVERNOR:
                raise ValueError(f"{tag} is set by {_GOVERNOR[tag]}; leave it out of incar")
        missing = sorted({"GGA", "ENCUT", "ISPIN", "EDIFF", "PREC", "ISMEAR"} - set(self.incar))
        if missing:
            raise ValueError(f"incar must state {', '.join(missing)}")
        return self

    @field_validator("systems")
    @classmethod
    def _every_kind(cls, systems: dict[SystemKind, SystemSettings]) -> dict[SystemKind, SystemSettings]:
        missing = [kind.value for kind in SystemKind if kind not in systems]
        if missing:
            raise ValueError(f"systems lacks {', '.join(missing)}")
        return systems
