"""Typed results of bonding analysis: ICOHP and ICOOP of named bonds, certified or refused."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pymatgen.core import Structure

from epilayer.model.base import Frozen
from epilayer.model.bonding import BondChange
from epilayer.model.imported import BondIntegral, Reason, Spilling
from epilayer.model.level import LevelOfTheory
from epilayer.model.records import Provenance, Status
from epilayer.model.units import Ang, Ev, Unit

Electrons = Annotated[float, Unit("e")]


class Bond(Frozen):
    """A bond to be integrated: two atoms of the structure, counted from 0, by a name of the user's own.

    The image nearest to each other is meant.
    """

    name: str = Field(min_length=1)
    atoms: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]

    @model_validator(mode="after")
    def _two_atoms(self) -> Self:
        if self.atoms[0] == self.atoms[1]:
            raise ValueError(f"the bond {self.name!r} names the same atom twice")
        return self


class BondResult(Frozen):
    """ICOHP and ICOOP of one bond up to the Fermi level.

    Attributes
    ----------
    elements
        Of the two atoms.
    icohp_ev
        Summed over the spins; negative where the bond holds. ``None`` where it is refused.
    icohp_per_spin_ev, icoop_per_spin
        One value without spin polarisation, else (spin 1, spin 2).
    icoop
        Summed over the spins (electrons).
    """

    name: str
    atoms: tuple[int, int]
    elements: tuple[str, str]
    length_ang: Ang
    icohp_ev: Ev | None
    icohp_per_spin_ev: tuple[Ev, ...] | None
    icoop: Electrons | None
    icoop_per_spin: tuple[Electrons, ...] | None


class Bonding(Frozen):
    """The bonding analysis of one structure by LOBSTER, or its refusal.

    Attributes
    ----------
    level
        The level of theory of the single point, as executed.
    basis
        The local functions that the orbitals were projected on, by element, as LOBSTER states them.
    basis_functions, bands
        How many local functions there are, and how many bands VASP computed: no fewer.
    spilling
        Absolute spilling per spin; above the limit the integrals are refused.
    energy_window_ev
        First and last energy of the curves, relative to the Fermi level.
    corrections
        What was corrected during the run, one line each.
    """

    kind: Literal["bonding"] = "bonding"
    label: str
    method: str
    level: LevelOfTheory
    status: Status
    refusals: tuple[Reason, ...]
    bonds: tuple[BondResult, ...]
    basis: dict[str, str]
    basis_functions: int
    bands: int
    bands_ignored_from: int | None
    spilling: tuple[Spilling, ...]
    spilling_limit_percent: Annotated[float, Unit("%")]
    spilling_passes: bool | None
    energy_window_ev: tuple[Ev, Ev] | None
    max_band_overlap_deviation: Annotated[float, Unit("1")] | None
    energy_ev: Ev
    structure: Structure
    corrections: tuple[str, ...]
    provenance: Provenance

    @property
    def stand_in(self) -> bool:
        """Whether a stand-in for VASP or LOBSTER took part: then no number here is a result."""
        return self.level.stand_in


class RunVerdict(StrEnum):
    """Whether the integrals of a LOBSTER directory may be used.

    ``unverified``: the lists are whole, but nothing says how the run ended and how much it spilled.
    """

    CERTIFIED = "certified"
    UNVERIFIED = "unverified"
    REFUSED = "refused"


class RunReport(Frozen):
    """What a LOBSTER directory says about chosen bonds.

    Attributes
    ----------
    spilling_passes
        ``None`` where no spilling is stated.
    bonds
        ICOHP per spin and summed, eV, negative where the bond holds; empty where the run is refused.
    refused_bonds
        Names and lengths alone, of a refused run.
    listed
        Bonds in the directory's list, chosen or not.
    """

    directory: str
    program: str | None
    stand_in: bool
    basis: dict[str, str]
    spilling: tuple[Spilling, ...]
    spilling_limit_percent: Annotated[float, Unit("%")]
    spilling_passes: bool | None
    verdict: RunVerdict
    reasons: tuple[Reason, ...]
    bonds: tuple[BondIntegral, ...]
    refused_bonds: tuple[tuple[str, Ang], ...]
    listed: int
    two_files_agree: bool
    structure_checked: str | None


class MappedChange(BondChange):
    """A bond of the free molecule, and the same bond found by its atoms in the structure with the surface.

    ``free_ev`` and ``adsorbed_ev`` are -ICOHP, summed over the spins.

    Attributes
    ----------
    adsorbed_atoms
        Counted from 0, in the order of that run's structure.
    note
        Why there is no value after adsorption; empty where there is one.
    """

    adsorbed_atoms: tuple[int, int]
    note: str


class OpenBond(Frozen):
    """A bond of the free molecule that is ambiguous in the structure with the surface."""

    name: str
    atoms: tuple[int, int]
    free_ang: Ang
    free_ev: Ev


class MappedChanges(Frozen):
    """The bonds of a free molecule, compared with themselves where they are known for certain."""

    changes: tuple[MappedChange, ...]
    open_bonds: tuple[OpenBond, ...]
