"""What is recorded of a termination and of a slab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from epilayer.model.cathode import Miller

TaskerType = Literal["I", "II", "III"]


@dataclass(frozen=True)
class BrokenBonds:
    """Bonds of one species pair that a cut breaks, averaged over the two faces.

    Parameters
    ----------
    pair
        Species, such as ``O-V``.
    per_nm2
        Number of bonds broken per nm^2 of one face.
    """

    pair: str
    per_nm2: float


@dataclass(frozen=True)
class Termination:
    """What one cut of a plane would give, per repeat of the crystal.

    Parameters
    ----------
    label
        Plane and height, such as ``100-t0.25``: the height of the cut above the crystal's origin in
        units of the repeat. A ``c`` marks a cut that bends around polyanions.
    height_ang
        Height of the cut above the crystal's origin in A.
    severed
        Kept bonds (polyanions, metal-oxo) severed per cell; only zero is admissible.
    corrugated
        Whether the cut bends around units that a plane at that height would sever.
    dipole_e_ang
        Dipole of one repeat along the normal, in e.A per in-plane cell.
    tasker
        I: neutral planes; II: charged planes without dipole; III: polar.
    broken
        Bonds broken, by pair.
    faces_equivalent
        Whether symmetry relates the two faces.
    """

    label: str
    height_ang: float
    severed: int
    corrugated: bool
    dipole_e_ang: float
    tasker: TaskerType
    broken: tuple[BrokenBonds, ...]
    faces_equivalent: bool

    @property
    def whole(self) -> bool:
        """Whether every kept bond survives."""
        return self.severed == 0


@dataclass(frozen=True)
class SlabCut:
    """A slab that may be used: stoichiometric, non-polar, its kept bonds whole.

    Parameters
    ----------
    structure
        c along the normal and z, the atoms in the middle of the cell, with oxidation states.
    miller
        The plane, in the conventional cell of the crystal.
    termination
        Label, such as ``100-t0.25``; ``m`` marks a compensated polar cut.
    ordering
        Label of the ordering that was cut.
    thickness_ang
        Thickness of material: repeats times their height.
    vacuum_ang
        Empty space between the outermost atoms and their images.
    area_ang2
        Area of one face.
    dipole_e_ang
        Dipole of the formal charges along the normal.
    tasker
        Type of the cut before any compensation.
    faces_equivalent
        Whether symmetry relates the two faces.
    broken_bonds
        Bonds broken, by pair, averaged over the faces.
    broken_valence_per_nm2
        Pauling strength (charge of the cation over its coordination) of the bonds broken, per face.
    cleavage_ev_per_ang2
        Ewald energy of the formal charges that the cut costs, per area of face. It ranks unrelaxed cuts
        of one crystal; it is no surface energy.
    moved
        Ions moved from one face to the other to compensate a polar cut, per smallest cell, such as
        ``(("F", 1), ("Na", 3))``; empty for a cut that needed none.
    repeats
        In-plane repeats of the smallest admissible cell.
    reason
        Why this cut, in one or two sentences.
    bulk_sites
        Site of the ordered crystal that each atom is a copy of, (atoms,).
    frame
        Rows: the crystal's Cartesian axes as vectors of the slab, (3, 3).
    """

    structure: Structure
    miller: Miller
    termination: str
    ordering: str
    thickness_ang: float
    vacuum_ang: float
    area_ang2: float
    dipole_e_ang: float
    tasker: TaskerType
    faces_equivalent: bool
    broken_bonds: tuple[BrokenBonds, ...]
    broken_valence_per_nm2: float
    cleavage_ev_per_ang2: float
    moved: tuple[tuple[str, int], ...]
    repeats: tuple[int, int]
    reason: str
    bulk_sites: tuple[int, ...]
    frame: tuple[tuple[float, float, float], ...]

    @property
    def compensated(self) -> bool:
        """Whether ions were moved from one face to the other."""
        return bool(self.moved)
