"""The top face of a slab: its frame, its symmetry, the atoms that can be reached, and how near they allow."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import spglib
from ase.data import atomic_numbers, covalent_radii
from ase.data.vdw_alvarez import vdw_radii
from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from epilayer.model.base import Frozen
from epilayer.model.covalent import covalent_radii_ang
from epilayer.model.errors import StructureError
from epilayer.structures.molecules import bonds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Molecule

    Floats = NDArray[np.float64]

#: Elements whose lone pairs take a hydrogen bond.
ACCEPTORS: Final = frozenset({"N", "O", "F", "Cl", "S"})
#: Typical H...acceptor distance of a medium hydrogen bond.
_HYDROGEN_BOND_ANG: Final = 1.9
#: A start inside the van der Waals sum, so that the relaxation begins on the attractive side.
_VDW_SCALE: Final = 0.85
#: A metal is smaller towards a neutral atom than its van der Waals radius says; 1.2 x the covalent sum
#: gives Na...C 2.9 and Na...H 2.4 A, the distances of cation-pi and agostic contacts.
_METAL_CONTACT_SCALE: Final = 1.2
#: Closer than this share of the target distance is an overlap.
CLASH_SCALE: Final = 0.7
_COORDINATION_SCALE: Final = 1.25
#: Pauling electronegativity from which on an element counts as an anion: C, N, O, F, S, Se, Cl, Br, I.
_ANION_ELECTRONEGATIVITY: Final = 2.5
_PROBE_ANG: Final = 0.6
_GRID_ANG: Final = 0.35
_MIN_EXPOSED_ANG2: Final = 0.5
_SYMMETRY_ANG: Final = 0.1


class Site(Frozen):
    """A place on the surface.

    Parameters
    ----------
    element
        Its element, or ``"random"`` for a place between atoms.
    index
        Its index in the slab, or ``None``.
    coordination
        Bonded neighbours of opposite kind.
    missing
        How many fewer than an atom of its element has in the slab's core.
    exposed_ang2
        Area over which a small probe coming from above meets this atom first, A^2.
    """

    element: str
    index: int | None = None
    coordination: int = 0
    missing: int = 0
    exposed_ang2: float = 0.0

    def __str__(self) -> str:
        """Return e.g. ``V12(5)``: element, index, coordination."""
        return self.element if self.index is None else f"{self.element}{self.index}({self.coordination})"


@dataclass
class Surface:
    """A slab in its own frame: x along a, z along the outward normal, z = 0 at its lowest atom."""

    slab: Structure
    cell: Floats = field(init=False)  # (3, 3)
    coords: Floats = field(init=False)  # (n, 3)
    bottom_fraction: float = field(init=False)  # fractional height of z = 0
    symbols: list[str] = field(init=False)
    is_polar_h: NDArray[np.bool_] = field(init=False)
    #: Symmetry operations that keep the top on top: matrices and shifts for row vectors.
    operations: list[tuple[Floats, Floats]] = field(init=False)

    def __post_init__(self) -> None:
        matrix = np.asarray(self.slab.lattice.matrix)
        lengths = np.linalg.norm(matrix, axis=1)
        normal = matrix[2] / lengths[2]
        if max(abs(float(matrix[k] @ normal)) / lengths[k] for k in (0, 1)) > 1e-3:  # noqa: PLR2004  (0.06 deg)
            raise StructureError(
                "The slab's c axis is not normal to its surface.",
                "Orthogonalise the slab (get_orthogonal_c_slab of pymatgen) first.",
            )
        along = matrix[0] / lengths[0]
        frame = np.array([along, np.cross(normal, along), normal])
        self.cell = matrix @ frame.T
        fractional = np.asarray(self.slab.frac_coords) % 1.0
        heights = np.sort(fractional[:, 2])
        gaps = np.diff(np.append(heights, heights[0] + 1.0))
        # The vacuum is the widest gap; the atom above it is the lowest. The small step back keeps
        # atoms of the lowest plane from wrapping to the top.
        self.bottom_fraction = float(heights[(int(np.argmax(gaps)) + 1) % len(heights)]) - 1e-4
        fractional[:, 2] = (fractional[:, 2] - self.bottom_fraction) % 1.0
        self.coords = fractional @ self.cell
        self.symbols = [site.specie.symbol for site in self.slab]
        self.is_polar_h = polar_hydrogens(self.slab)
        self.operations = _operations(self)

    @property
    def top_ang(self) -> float:
        """Height of the highest slab atom."""
        return float(self.coords[:, 2].max())

    @property
    def widths_ang(self) -> tuple[float, float]:
        """Perpendicular widths of the surface cell along a and b."""
        area = abs(float(np.linalg.det(self.cell[:2, :2])))
        return area / float(np.linalg.norm(self.cell[1])), area / float(np.linalg.norm(self.cell[0]))

    def fractional(self, coords: Floats) -> Floats:
        """Fractional coordinates in the slab's cell."""
        result = np.asarray(coords @ np.linalg.inv(self.cell))
        result[..., 2] += self.bottom_fraction
        return result


def contact_target_ang(first: str, second: str, *, hydrogen_bond: bool = False) -> float:
    """Distance at which two atoms of a pose should touch, A.

    A donor on a metal: the sum of covalent radii (N...V 2.24, N...Na 2.37). A hydrogen bond: 1.9.
    Any other metal contact: 1.2 x the covalent sum. The rest: 0.85 x the sum of van der Waals radii
    (covalent: Cordero 2008, doi 10.1039/b801115j; van der Waals: Alvarez 2013, doi 10.1039/c3dt50599e).

    >>> round(contact_target_ang("N", "V"), 2), round(contact_target_ang("H", "O", hydrogen_bond=True), 2)
    (2.24, 1.9)
    """
    if hydrogen_bond:
        return _HYDROGEN_BOND_ANG
    covalent = float(covalent_radii[atomic_numbers[first]] + covalent_radii[atomic_numbers[second]])
    metals = [Element(symbol).is_metal for symbol in (first, second)]
    if any(metals):
        other = second if metals[0] else first
        return covalent if other in ACCEPTORS else _METAL_CONTACT_SCALE * covalent
    van_der_waals = float(vdw_radii[atomic_numbers[first]] + vdw_radii[atomic_numbers[second]])
    return _VDW_SCALE * van_der_waals


def check_overlap(structure: Structure, adsorbate_indices: Iterable[int]) -> None:
    """Refuse a structure whose adsorbate overlaps its slab.

    Parameters
    ----------
    structure
        Slab and adsorbate.
    adsorbate_indices
        Which atoms are the adsorbate's.

    Raises
    ------
    StructureError
        Naming the worst pair, when any is closer than 0.7 of its target distance.
    """
    adsorbate = sorted(set(adsorbate_indices))
    slab = [index for index in range(len(structure)) if index not in set(adsorbate)]
    if not adsorbate or not slab:
        raise StructureError(
            "An adsorbate and a slab are both needed to check an overlap.",
            f"Name between 1 and {len(structure) - 1} adsorbate atoms.",
        )
    if adsorbate[0] < 0 or adsorbate[-1] >= len(structure):
        raise StructureError(
            f"Adsorbate atom {adsorbate[-1] if adsorbate[0] >= 0 else adsorbate[0]} is not in the structure.",
            f"Name atoms 0 to {len(structure) - 1}.",
        )
    symbols = [site.specie.symbol for site in structure]
    lattice = Lattice(
        structure.lattice.matrix
    )  # periodic along c too, whichever periodicity a surface builder set
    fractional = np.asarray(structure.frac_coords)
    polar = polar_hydrogens(Structure(lattice, [symbols[i] for i in adsorbate], fractional[adsorbate]))
    target = targets_ang(
        [symbols[i] for i in adsorbate], polar, [symbols[i] for i in slab], np.zeros(len(slab), dtype=bool)
    )
    distances = np.asarray(lattice.get_all_distances(fractional[adsorbate], fractional[slab]))
    ratio = distances / target
    i, j = (int(x) for x in np.unravel_index(np.argmin(ratio), ratio.shape))
    if ratio[i, j] < CLASH_SCALE:
        raise StructureError(
            f"Ligand atom {symbols[adsorbate[i]]}{adsorbate[i]} overlaps slab atom "
            f"{symbols[slab[j]]}{slab[j]}: {distances[i, j]:.2f} A apart, "
            f"at least {CLASH_SCALE * target[i, j]:.2f} A needed.",
            "Lift the ligand, or let `epilayer build adsorbates` place it.",
        )


def polar_hydrogens(sites: Molecule | Structure) -> NDArray[np.bool_]:
    """Return which sites are hydrogens bonded to N, O or F, shape (n,)."""
    symbols = [site.specie.symbol for site in sites]
    polar = np.zeros(len(symbols), dtype=bool)
    if "H" not in symbols:
        return polar
    for i, j in bonds(sites):
        for hydrogen, other in ((i, j), (j, i)):
            if symbols[hydrogen] == "H" and symbols[other] in {"N", "O", "F"}:
                polar[hydrogen] = True
    return polar


def targets_ang(
    first: Sequence[str],
    first_polar: NDArray[np.bool_],
    second: Sequence[str],
    second_polar: NDArray[np.bool_],
) -> Floats:
    """Target distances, shape (len(first), len(second)), A."""
    table = {(a, b): contact_target_ang(a, b) for a in set(first) for b in set(second)}
    result = np.array([[table[a, b] for b in second] for a in first])
    accepts_first = np.array([symbol in ACCEPTORS for symbol in first])
    accepts_second = np.array([symbol in ACCEPTORS for symbol in second])
    bonded = np.logical_or(
        first_polar[:, None] & accepts_second[None, :], accepts_first[:, None] & second_polar[None, :]
    )
    result[bonded] = _HYDROGEN_BOND_ANG
    return result


def open_sites(surface: Surface) -> list[tuple[Site, Floats]]:
    """Exposed atoms of the top face, each with the direction in which it is open."""
    symbols, coords, cell = surface.symbols, surface.coords, surface.cell
    radii = covalent_radii_ang(symbols)
    is_metal = np.array([Element(symbol).is_metal for symbol in symbols])
    # Only an anion bonds: V and P of one phosphate are close, and not bonded. A slab without anions
    # (a metal, an alloy, a phosphide) bonds all to all.
    is_anion = np.array([float(Element(symbol).X) >= _ANION_ELECTRONEGATIVITY for symbol in symbols])
    bonding = (is_anion[:, None] | is_anion[None, :]) | (not is_anion.any())
    reach = np.where(bonding, _COORDINATION_SCALE * (radii[:, None] + radii[None, :]), 0.0)
    number = np.zeros(len(symbols), dtype=int)
    open_to = np.zeros((len(symbols), 3))
    repeats = [int(np.ceil(reach.max() / width)) for width in surface.widths_ang]
    for na, nb in product(*(range(-k, k + 1) for k in repeats)):
        vectors = coords[None, :, :] + na * cell[0] + nb * cell[1] - coords[:, None, :]
        distances = np.linalg.norm(vectors, axis=2)
        bonded = (distances < reach) & (distances > 1e-3)  # noqa: PLR2004  (not the atom itself)
        number += bonded.sum(axis=1)
        units = vectors / np.where(distances > 1e-3, distances, 1.0)[:, :, None]  # noqa: PLR2004
        open_to -= (units * bonded[:, :, None]).sum(axis=1)
    area = _exposed_ang2(surface, radii, is_metal)
    thirds = surface.top_ang / 3
    core = (coords[:, 2] >= thirds) & (coords[:, 2] <= 2 * thirds)
    found: list[tuple[Site, Floats]] = []
    for index in np.flatnonzero(area >= _MIN_EXPOSED_ANG2):
        alike = np.array([symbol == symbols[index] for symbol in symbols])
        bulk = number[alike & core] if (alike & core).any() else number[alike]
        site = Site(
            element=symbols[index],
            index=int(index),
            coordination=int(number[index]),
            missing=max(int(bulk.max()) - int(number[index]), 0),
            exposed_ang2=round(float(area[index]), 3),
        )
        # The open direction, kept within about 60 degrees of the normal: from the side nothing gets in.
        direction = open_to[index] / max(float(np.linalg.norm(open_to[index])), 0.5)
        direction[2] = max(float(direction[2]), 0.0) + 0.4
        found.append((site, direction / np.linalg.norm(direction)))
    return sorted(found, key=lambda pair: (-pair[0].missing, -pair[0].exposed_ang2, pair[0].index or 0))


def _exposed_ang2(surface: Surface, radii: Floats, is_metal: NDArray[np.bool_]) -> Floats:
    """Area of the top face on which each atom is what a falling probe hits first, A^2."""
    cell, coords = surface.cell, surface.coords
    anion = np.array([vdw_radii[atomic_numbers[symbol]] for symbol in surface.symbols])
    reach = np.where(is_metal, radii, anion) + _PROBE_ANG
    steps = [max(int(np.ceil(float(np.linalg.norm(cell[k])) / _GRID_ANG)), 1) for k in (0, 1)]
    u, v = np.meshgrid(*(np.arange(n) / n for n in steps), indexing="ij")
    grid = np.stack([u.ravel(), v.ravel()], axis=1) @ cell[:2, :2]
    upper = np.flatnonzero(coords[:, 2] > surface.top_ang - 6.0)  # deeper atoms are not reached from above
    lateral = wrapped(grid[:, None, :] - coords[None, upper, :2], cell)
    best = np.full((len(grid), len(upper)), -np.inf)
    for shift in lateral_images(surface, float(reach.max())):
        squared = ((lateral + shift) ** 2).sum(axis=2)
        room = reach[upper] ** 2 - squared
        best = np.maximum(best, np.where(room > 0, coords[upper, 2] + np.sqrt(np.maximum(room, 0)), -np.inf))
    first = np.argmax(best, axis=1)[np.isfinite(best.max(axis=1))]
    area = np.zeros(len(coords))
    cell_area = abs(float(np.linalg.det(cell[:2, :2])))
    np.add.at(area, upper[first], cell_area / len(grid))
    return area


def wrapped(lateral: Floats, cell: Floats) -> Floats:
    """Lateral vectors moved into the cell around the origin."""
    plane = cell[:2, :2]
    fractional = lateral @ np.linalg.inv(plane)
    return np.asarray((fractional - np.round(fractional)) @ plane)


def lateral_images(surface: Surface, reach_ang: float) -> Floats:
    """Lattice translations that may bring a wrapped vector within ``reach_ang``, shape (k, 2)."""
    # A wrapped vector's other images are at least half a width away along that axis.
    repeats = [int(np.ceil(max(reach_ang / width - 0.5, 0.0))) for width in surface.widths_ang]
    return np.array(
        [
            na * surface.cell[0, :2] + nb * surface.cell[1, :2]
            for na, nb in product(*(range(-k, k + 1) for k in repeats))
        ]
    )


def lateral_squares_ang2(surface: Surface, coords: Floats, shifts: Floats) -> Floats:
    """Return squared lateral distances of points to the slab's atoms, nearest images, (n, n_slab), A^2."""
    lateral = wrapped(coords[:, None, :2] - surface.coords[None, :, :2], surface.cell)
    nearest: Floats = ((lateral[:, :, None, :] + shifts) ** 2).sum(axis=3).min(axis=2)
    return nearest


def lift_ang(surface: Surface, coords: Floats, squares_ang2: Floats, target_ang: Floats) -> float:
    """Return how far a molecule moves up (or down) until its first pair is at the target distance, A."""
    room = target_ang**2 - squares_ang2
    above = coords[:, None, 2] - surface.coords[:, 2]
    lift = float(np.where(room > 0, np.sqrt(np.maximum(room, 0)) - above, -np.inf).max())
    if np.isfinite(lift):
        return lift
    return float(surface.top_ang + 2.0 - coords[:, 2].min())  # falls past everything: onto the highest plane


def _operations(surface: Surface) -> list[tuple[Floats, Floats]]:
    """Symmetry operations of the slab that keep its top on top, in the surface frame."""
    numbers = [atomic_numbers[symbol] for symbol in surface.symbols]
    fractional = surface.coords @ np.linalg.inv(surface.cell)
    found: Any = spglib.get_symmetry((surface.cell, fractional, numbers), symprec=_SYMMETRY_ANG)
    operations: list[tuple[Floats, Floats]] = []
    to_cell = np.linalg.inv(surface.cell)
    for rotation, translation in zip(found["rotations"], found["translations"], strict=True) if found else ():
        mixes = np.abs(rotation[2, :2]).sum() + np.abs(rotation[:2, 2]).sum()
        rises = abs(translation[2] - round(float(translation[2])))
        if mixes or rotation[2, 2] != 1 or rises > 0.01:  # noqa: PLR2004  (0.3 A in a 30 A cell)
            continue
        shift = np.array([translation[0], translation[1], 0.0])
        operations.append((to_cell @ rotation.T @ surface.cell, shift @ surface.cell))
    return operations or [(np.eye(3), np.zeros(3))]
