"""The geometry of a cut: an oriented cell, its bonds, the units no cut may sever, and slabs as sets of sites.

A slab is kept as a set of integer positions (atom, i, j, k) until the very end, so that moving an
ion from one face to the other, or counting the bonds a cut breaks, is exact integer arithmetic.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
import spglib
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from epilayer.model.errors import StructureError
from epilayer.structures import crystals, orderings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from epilayer.model.cathode import KeepBond, Miller

Position = tuple[int, int, int, int]
"""(atom of the oriented cell, image along a, image along b, image along the stacking vector)."""

BOND_SCALE = 1.25
"""Atoms closer than this times the sum of their covalent radii are bonded."""
METAL_CARBON_SCALE = 1.15
"""The same between a metal and a carbon that both count as positive (cyanides)."""
METAL_OXO_ANG = 1.75
"""A metal-oxygen bond at most this long is a metal-oxo bond (V=O, Mo=O)."""
PLANE_ANG = 0.1
"""Atoms whose heights follow each other within this lie in one plane."""
NONMETALS = frozenset(["H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Ge", "As", "Se", "Br", "Te", "I"])
OXO_METALS = frozenset(["Ti", "V", "Cr", "Mn", "Nb", "Mo", "Ta", "W", "Re", "U"])


@dataclass(frozen=True)
class Bond:
    """A bond from one atom of the oriented cell to another atom's image."""

    partner: int
    image: tuple[int, int, int]
    kept: bool


@dataclass(frozen=True)
class Cut:
    """One way to part the crystal: all units above ``height_ang`` on one side, the rest on the other.

    Parameters
    ----------
    height_ang
        Height of the cutting plane above the crystal's origin, in [0, repeat).
    offsets
        For each atom, the image along the stacking vector of its first copy above the cut, (atoms,).
    severed
        Kept bonds severed per cell of the cut; zero in a cut that can be used.
    corrugated
        The cut bends around units that a plane at this height would sever.
    """

    height_ang: float
    offsets: tuple[int, ...]
    severed: int
    corrugated: bool


@dataclass(frozen=True)
class Oriented:
    """A crystal in the cell of a plane: a and b in the plane, w from one plane to the next.

    Parameters
    ----------
    structure
        One repeat, with oxidation states; lattice rows are a, b, w in A with the normal along +z.
    miller
        The plane, in the conventional cell the user speaks of.
    bonds
        The bonds of every atom, (atoms,).
    units
        Unit of every atom, (atoms,): atoms joined by kept bonds share one.
    lifts
        Image of every atom along (a, b, w) that makes its unit whole, (atoms, 3).
    parents
        Site of the crystal that every atom is a copy of, (atoms,).
    frame
        Rows: the crystal's Cartesian axes as vectors of the oriented cell, (3, 3).
    """

    structure: Structure
    miller: Miller
    bonds: tuple[tuple[Bond, ...], ...]
    units: tuple[int, ...]
    lifts: tuple[tuple[int, int, int], ...]
    parents: tuple[int, ...]
    frame: NDArray[np.float64]

    @cached_property
    def repeat_ang(self) -> float:
        """Distance between equivalent planes in A."""
        return float(self.structure.lattice.matrix[2, 2])

    @cached_property
    def area_ang2(self) -> float:
        """Area of the in-plane cell in A^2."""
        a, b = self.structure.lattice.matrix[:2]
        return float(np.linalg.norm(np.cross(a, b)))

    @cached_property
    def charges_e(self) -> NDArray[np.float64]:
        """Formal charge of every atom, (atoms,)."""
        return np.array([crystals.site_charge(site.species) for site in self.structure])

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Element of every atom."""
        return tuple(site.specie.symbol for site in self.structure)

    @cached_property
    def kinds(self) -> tuple[int, ...]:
        """Number of the species of every atom."""
        return tuple(crystals.spglib_cell(self.structure)[2])

    @cached_property
    def heights_ang(self) -> NDArray[np.float64]:
        """Height of every atom in A, in [0, repeat), (atoms,)."""
        return np.asarray(self.structure.cart_coords[:, 2], dtype=float)

    @cached_property
    def electrostatic_ev_per_atom(self) -> float:
        """Ewald energy of the formal charges of the crystal."""
        return orderings.electrostatic_energy_ev(self.structure) / len(self.structure)

    @cached_property
    def unit_heights_ang(self) -> NDArray[np.float64]:
        """Height of the centre of each atom's unit, seen from the atom's own copy, (atoms,)."""
        lifted = self.heights_ang + np.array([lift[2] for lift in self.lifts]) * self.repeat_ang
        units = np.array(self.units)
        centres = np.array([lifted[units == u].mean() for u in range(units.max() + 1)])
        return centres[units] - np.array([lift[2] for lift in self.lifts]) * self.repeat_ang  # type: ignore[no-any-return]

    def cartesian(self, positions: Sequence[Position]) -> NDArray[np.float64]:
        """Return cartesian coordinates of positions in A, (positions, 3)."""
        index = np.array([p[0] for p in positions], dtype=int)
        images = np.array([p[1:] for p in positions], dtype=float)
        return np.asarray(self.structure.cart_coords[index] + images @ self.structure.lattice.matrix)


def orient(
    structure: Structure, plane: NDArray[np.float64], miller: Miller, keep: Sequence[KeepBond] | None
) -> Oriented:
    """Turn a crystal so that a plane lies flat, in the smallest cell of that plane.

    Parameters
    ----------
    structure
        Ordered, with oxidation states.
    plane
        The Miller index in the reciprocal basis of ``structure`` (its length does not matter), (3,).
    miller
        The same plane as the user calls it.
    keep
        Bonds no cut may sever; ``None`` finds them by rule.

    Raises
    ------
    StructureError
        When the kept bonds run through every plane of this index.
    """
    primitive, parents = primitive_of(structure)
    normal = plane @ structure.lattice.reciprocal_lattice_crystallographic.matrix
    basis = plane_basis(primitive.lattice, normal)
    rows = basis @ primitive.lattice.matrix
    lattice = _upright(Lattice(rows))
    fractional = primitive.frac_coords @ np.linalg.inv(basis)
    fractional -= np.floor(fractional + 1e-6)
    turned = Structure(lattice, primitive.species, fractional)
    bonds = _bonds(turned, keep)
    units, lifts = _units(turned, bonds, miller)
    frame = np.linalg.inv(rows) @ lattice.matrix
    return Oriented(turned, miller, bonds, units, lifts, parents, frame)


def cuts(oriented: Oriented) -> tuple[Cut, ...]:
    """Enumerate every cut of one repeat: all planar ones, and those that bend around kept units."""
    planar = _cuts_through(oriented, oriented.heights_ang, corrugated=False)
    bent = _cuts_through(oriented, oriented.unit_heights_ang, corrugated=True)
    known = {_canonical(cut.offsets) for cut in planar if not cut.severed}
    fresh = []
    for cut in bent:
        if _canonical(cut.offsets) not in known:
            known.add(_canonical(cut.offsets))
            fresh.append(cut)
    return tuple(sorted([*planar, *fresh], key=lambda c: (round(c.height_ang, 6), c.corrugated)))


def stack(cut: Cut, layers: int, *, top: Cut | None = None) -> frozenset[Position]:
    """Return the positions between a cut and the same (or another) cut ``layers`` repeats higher."""
    upper = (top or cut).offsets
    return frozenset(
        (atom, 0, 0, k) for atom, low in enumerate(cut.offsets) for k in range(low, upper[atom] + layers)
    )


def spread(
    positions: Iterable[Position], multiple: NDArray[np.int64], *, of: NDArray[np.int64] | None = None
) -> frozenset[Position]:
    """Repeat positions over an in-plane supercell, (2, 2) rows of integers.

    ``of`` is the cell in which ``positions`` are stated (the oriented cell when unset); the supercell
    must be a multiple of it, and only its own translations repeat the positions.
    """
    cell = np.eye(2, dtype=np.int64) if of is None else of
    ratio = np.rint(multiple @ np.linalg.inv(cell)).astype(np.int64)
    shifts = [(np.array(coset) @ cell).tolist() for coset in in_plane_cosets(ratio)]
    return frozenset(
        wrap((atom, i + di, j + dj, k), multiple) for atom, i, j, k in positions for di, dj in shifts
    )


def wrap(position: Position, multiple: NDArray[np.int64]) -> Position:
    """Bring a position into the in-plane supercell by exact integer arithmetic."""
    atom, i, j, k = position
    (a, b), (c, d) = multiple.tolist()
    det = a * d - b * c
    # Integer coordinates of (i, j) in the supercell are (i*d - j*c, -i*b + j*a) / det.
    u, v = (i * d - j * c) // det, (j * a - i * b) // det
    return atom, i - u * a - v * c, j - u * b - v * d, k


def in_plane_cosets(multiple: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the in-plane lattice points of a supercell, one per primitive cell."""
    reach = int(np.abs(multiple).sum()) + 1
    points = {
        wrap((0, i, j, 0), multiple)[1:3] for i, j in itertools.product(range(-reach, reach + 1), repeat=2)
    }
    return sorted(points)


def broken_bonds(
    oriented: Oriented, positions: frozenset[Position], multiple: NDArray[np.int64]
) -> list[tuple[int, Bond]]:
    """Return every bond of the crystal that leaves the slab: (atom of the oriented cell, bond)."""
    broken = []
    for atom, i, j, k in sorted(positions):
        for bond in oriented.bonds[atom]:
            di, dj, dk = bond.image
            if wrap((bond.partner, i + di, j + dj, k + dk), multiple) not in positions:
                broken.append((atom, bond))
    return broken


def as_structure(
    oriented: Oriented, positions: Sequence[Position], multiple: NDArray[np.int64], *, vacuum_ang: float
) -> Structure:
    """Return positions as a slab: c along the normal, the atoms in the middle of the cell.

    The order of ``positions`` is kept. ``vacuum_ang`` lies between the outermost atoms.
    """
    matrix, fractional = _placed(oriented, positions, multiple, vacuum_ang)
    return Structure(Lattice(matrix), [oriented.structure[p[0]].specie for p in positions], fractional)


def equal_faces(
    oriented: Oriented, positions: Iterable[Position], multiple: NDArray[np.int64], tolerance_ang: float
) -> bool:
    """Return whether symmetry relates the two faces of positions."""
    listed = sorted(positions)
    matrix, fractional = _placed(oriented, listed, multiple, 20.0)
    return turns_over((matrix, fractional, [oriented.kinds[p[0]] for p in listed]), tolerance_ang)


def turns_over(cell: tuple[Any, Any, list[int]], tolerance_ang: float) -> bool:
    """Return whether an operation of a slab's symmetry reverses c; the cell is as spglib wants it."""
    symmetry = spglib.get_symmetry(cell, symprec=tolerance_ang)
    return symmetry is not None and any(r[2][2] == -1 for r in symmetry["rotations"])


def _placed(
    oriented: Oriented, positions: Sequence[Position], multiple: NDArray[np.int64], vacuum_ang: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cell rows in A and the fractional coordinates of a slab in the middle of its cell."""
    coords = oriented.cartesian(positions)
    bottom, top = float(coords[:, 2].min()), float(coords[:, 2].max())
    height_ang = top - bottom + vacuum_ang
    in_plane = multiple @ oriented.structure.lattice.matrix[:2]
    turn = turned_to_x(oriented, multiple)
    matrix = np.array([*in_plane, [0.0, 0.0, height_ang]]) @ turn
    turned = coords @ turn
    turned[:, 2] += vacuum_ang / 2 - bottom
    fractional = turned @ np.linalg.inv(matrix)
    fractional[:, :2] -= np.floor(fractional[:, :2] + 1e-6)
    return matrix, fractional


def turned_to_x(oriented: Oriented, multiple: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the turn about the normal that lays a supercell's first vector along x; row vectors, (3, 3)."""
    first = multiple[0] @ oriented.structure.lattice.matrix[:2]
    x = first / np.linalg.norm(first)
    y = np.array([-x[1], x[0], 0.0])
    return np.array([x, y, [0.0, 0.0, 1.0]]).T


def dipole_e_ang(oriented: Oriented, positions: Iterable[Position]) -> float:
    """Return the dipole of the formal charges along the normal in e.A; the slab must be neutral."""
    listed = list(positions)
    heights = oriented.cartesian(listed)[:, 2]
    charges = oriented.charges_e[[p[0] for p in listed]]
    return float(charges @ (heights - heights.mean()))


def reduce_in_plane(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the integer combination of two in-plane vectors that is shortest and most upright, (2, 2)."""
    combination = np.eye(2, dtype=np.int64)
    while True:
        a, b = combination @ rows
        if a @ a > b @ b + 1e-9:
            combination = combination[::-1].copy()
            continue
        step = round(float(a @ b) / float(a @ a) - 1e-9)
        if step == 0:
            break
        combination[1] -= step * combination[0]
    return combination


def primitive_of(structure: Structure) -> tuple[Structure, tuple[int, ...]]:
    """Return a primitive cell in the frame of ``structure`` with short vectors, and each atom's site."""
    whole = tuple(range(len(structure)))
    cell = crystals.spglib_cell(structure)
    found = spglib.standardize_cell(
        cell, to_primitive=True, no_idealize=True, symprec=crystals.SYMMETRY_TOLERANCE_ANG
    )
    if found is None:
        return structure, whole
    lattice = Lattice(found[0]).get_lll_reduced_lattice()
    # The sites are taken from the structure itself: spglib gives back the lattice alone.
    fractional = lattice.get_fractional_coords(structure.cart_coords)
    fractional -= np.floor(fractional + 1e-6)
    kept: list[int] = []
    for i, kind in enumerate(cell[2]):
        same = [j for j in kept if cell[2][j] == kind]
        if not same or lattice.get_all_distances(fractional[same], fractional[i]).min() > PLANE_ANG:
            kept.append(i)
    ratio = structure.volume / lattice.volume
    if abs(len(kept) * ratio - len(structure)) > 1e-3:  # noqa: PLR2004
        return structure, whole
    return Structure(lattice, [structure[i].specie for i in kept], fractional[kept]), tuple(kept)


def plane_basis(lattice: Lattice, normal: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return integer rows a, b (in the plane, shortest) and w (to the next plane), (3, 3)."""
    raw = lattice.matrix @ normal
    raw = raw / np.abs(raw[np.abs(raw) > 1e-6 * np.abs(raw).max()]).min()
    for factor in range(1, 25):
        if np.abs(raw * factor - np.round(raw * factor)).max() < 1e-3:  # noqa: PLR2004
            break
    else:
        raise StructureError("The plane is not a lattice plane of the crystal.", "Check the Miller index.")
    h = np.round(raw * factor).astype(int)
    h //= gcd(*(int(x) for x in h))
    up, first, second = _complete(h)
    rows = np.array([first, second])
    rows = reduce_in_plane(rows @ lattice.matrix) @ rows
    a, b = rows @ lattice.matrix
    # The stacking vector may be shifted in the plane; the shortest keeps numbers small.
    w = up @ lattice.matrix
    flat = np.linalg.lstsq(np.array([a, b]).T, w, rcond=None)[0]
    up = up - np.round(flat - 1e-9).astype(int) @ rows
    if np.cross(a, b) @ normal < 0:
        rows[1] = -rows[1]
    return np.array([rows[0], rows[1], up])


def _complete(h: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return w with h.w = 1 and two vectors that span all integer v with h.v = 0."""
    work, basis = h.copy(), np.eye(3, dtype=np.int64)
    # Euclid's algorithm on the entries of h; the rows of ``basis`` follow, so h.basis[i] = work[i].
    while np.count_nonzero(work) > 1:
        order = np.argsort(np.where(work == 0, np.iinfo(np.int64).max, np.abs(work)))
        pivot = int(order[0])
        for i in range(3):
            if i != pivot and work[i]:
                step = work[i] // work[pivot]
                work[i] -= step * work[pivot]
                basis[i] -= step * basis[pivot]
    pivot = int(np.flatnonzero(work)[0])
    rest = [i for i in range(3) if i != pivot]
    return basis[pivot] * int(np.sign(work[pivot])), basis[rest[0]], basis[rest[1]]


def _upright(lattice: Lattice) -> Lattice:
    """Rotate a lattice so that a is along x, b in the xy plane, and w rises along z."""
    a, b, w = lattice.matrix
    x = a / np.linalg.norm(a)
    z = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
    y = np.cross(z, x)
    return Lattice(np.array([a, b, w]) @ np.array([x, y, z]).T)


def _bonds(structure: Structure, keep: Sequence[KeepBond] | None) -> tuple[tuple[Bond, ...], ...]:
    symbols = [site.specie.symbol for site in structure]
    charges = [crystals.site_charge(site.species) for site in structure]
    radii = np.array([crystals.covalent_radius_ang(s) for s in symbols])
    first, second, images, distances = structure.get_neighbor_list(
        2 * BOND_SCALE * radii.max(), exclude_self=True
    )
    bonds: list[list[Bond]] = [[] for _ in symbols]
    for i, j, image, d in zip(first, second, images, distances, strict=True):
        if not _bonded(symbols[i], symbols[j], charges[i] * charges[j], d / (radii[i] + radii[j])):
            continue
        shift = (int(image[0]), int(image[1]), int(image[2]))
        bonds[i].append(Bond(int(j), shift, _is_kept(symbols[i], symbols[j], float(d), keep)))
    return tuple(tuple(b) for b in bonds)


def _bonded(a: str, b: str, charge_product: float, relative: float) -> bool:
    if relative > BOND_SCALE:
        return False
    if charge_product < 0 or (a in NONMETALS and b in NONMETALS):
        return True
    return "C" in {a, b} and not {a, b} <= NONMETALS and relative < METAL_CARBON_SCALE


def _is_kept(a: str, b: str, length_ang: float, keep: Sequence[KeepBond] | None) -> bool:
    if keep is not None:
        return any(
            {a, b} == {k.a, k.b} and (k.max_length_ang is None or length_ang <= k.max_length_ang)
            for k in keep
        )
    if a in NONMETALS and b in NONMETALS:
        return True
    return "O" in {a, b} and bool({a, b} & OXO_METALS) and length_ang <= METAL_OXO_ANG


def _units(
    structure: Structure, bonds: Sequence[Sequence[Bond]], miller: Miller
) -> tuple[tuple[int, ...], tuple[tuple[int, int, int], ...]]:
    """Join atoms by kept bonds into units, and unwrap each; refuse units that no plane can spare."""
    units = [-1] * len(structure)
    lifts = [(0, 0, 0)] * len(structure)
    for seed in range(len(structure)):
        if units[seed] >= 0:
            continue
        number = max(units) + 1
        units[seed] = number
        queue = deque([seed])
        while queue:
            here = queue.popleft()
            for bond in bonds[here]:
                if not bond.kept:
                    continue
                lift = tuple(x + y for x, y in zip(lifts[here], bond.image, strict=True))
                if units[bond.partner] < 0:
                    units[bond.partner] = number
                    lifts[bond.partner] = (lift[0], lift[1], lift[2])
                    queue.append(bond.partner)
                elif lift[2] != lifts[bond.partner][2]:
                    pair = "-".join(
                        sorted({structure[here].specie.symbol, structure[bond.partner].specie.symbol})
                    )
                    index = " ".join(str(i) for i in miller)
                    raise StructureError(
                        f"Every ({index}) plane of {structure.composition.reduced_formula} cuts kept {pair} "
                        "bonds: they run through the crystal along the normal.",
                        "Choose another Miller index, or take that bond out of keep_bonds (--keep).",
                    )
    return tuple(units), tuple(lifts)


def _gaps(heights_ang: NDArray[np.float64], repeat_ang: float) -> list[float]:
    """Return the middle of every gap between planes, in [0, repeat)."""
    folded = np.sort(heights_ang % repeat_ang)
    following = np.append(folded[1:], folded[0] + repeat_ang)
    return sorted(
        float((low + high) / 2 % repeat_ang)
        for low, high in zip(folded, following, strict=True)
        if high - low > PLANE_ANG
    )


def _cuts_through(oriented: Oriented, heights_ang: NDArray[np.float64], *, corrugated: bool) -> list[Cut]:
    made = []
    for height in _gaps(heights_ang, oriented.repeat_ang):
        offsets = tuple(int(k) for k in np.ceil((height - heights_ang) / oriented.repeat_ang))
        made.append(Cut(height, offsets, _severed(oriented, offsets), corrugated))
    return made


def _severed(oriented: Oriented, offsets: Sequence[int]) -> int:
    """Count kept bonds that cross the cut: partners whose copies lie on different sides of it."""
    crossing = sum(
        max(0, offsets[bond.partner] - offsets[atom] - bond.image[2])
        for atom, bonds in enumerate(oriented.bonds)
        for bond in bonds
        if bond.kept
    )
    return int(crossing)


def _canonical(offsets: Sequence[int]) -> tuple[int, ...]:
    low = min(offsets)
    return tuple(k - low for k in offsets)
