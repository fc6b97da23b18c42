"""Shapes of an adsorbed molecule: its bond graph, rings, and how they stand on the surface."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.vdw_alvarez import vdw_radii
from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Molecule, Structure

    Floats = NDArray[np.float64]
    Bond = tuple[int, int]

#: Larger cycles are strained by nothing and need no watching.
LARGEST_RING: Final = 8
#: As for every molecule: bonded within this multiple of the covalent sum (Cordero 2008).
BOND_SCALE: Final = 1.2


def surface_frame(structure: Structure) -> tuple[Floats, Floats]:
    """Rotation whose third row is the surface normal, and the lattice seen in it."""
    matrix = np.asarray(structure.lattice.matrix)
    normal = np.cross(matrix[0], matrix[1])
    normal /= np.linalg.norm(normal)
    along = matrix[0] / np.linalg.norm(matrix[0])
    frame = np.array([along, np.cross(normal, along), normal])
    return frame, matrix @ frame.T


def distances_ang(structure: Structure) -> Floats:
    """Minimum-image distances between all atoms, periodic in all three directions, A."""
    fractional = np.asarray(structure.frac_coords)
    return np.asarray(Lattice(structure.lattice.matrix).get_all_distances(fractional, fractional))


def contact_radii_ang(symbols: Sequence[str]) -> Floats:
    """Van der Waals radii (Alvarez 2013, doi 10.1039/c3dt50599e), metals by 1.35 x covalent, A.

    Alvarez' radii of metals fit the longest contacts in crystals; 1.35 x covalent (Na 2.24, V 2.07 A)
    is near the older ones and does not call a molecule 5 A from a sodium bound.
    """
    return np.array(
        [
            1.35 * covalent_radii[number] if Element.from_Z(number).is_metal else vdw_radii[number]
            for number in (atomic_numbers[symbol] for symbol in symbols)
        ]
    )


def lateral_vectors(coords: Floats, point: Floats, cell: Floats) -> tuple[Floats, Floats]:
    """Vectors from a point to atoms, laterally to the nearest image, and their lateral lengths, A."""
    vectors = coords - point
    plane = cell[:2, :2]
    fractional = vectors[:, :2] @ np.linalg.inv(plane)
    vectors[:, :2] = (fractional - np.round(fractional)) @ plane
    return vectors, np.linalg.norm(vectors[:, :2], axis=1)


def slab_coords(structure: Structure, n_slab: int) -> Floats:
    """Cartesian slab coordinates with the vacuum outside."""
    fractional = np.array(structure.frac_coords[:n_slab]) % 1.0
    heights = np.sort(fractional[:, 2])
    gaps = np.diff(np.append(heights, heights[0] + 1.0))
    lowest = heights[(int(np.argmax(gaps)) + 1) % len(heights)] - 1e-4
    fractional[:, 2] = (fractional[:, 2] - lowest) % 1.0 + lowest
    return np.asarray(fractional @ np.asarray(structure.lattice.matrix))


def unwrapped(structure: Structure, n_slab: int, bonds: Sequence[Bond]) -> Floats:
    """Adsorbate coordinates in one piece, next to the slab, in the surface frame."""
    frame, _ = surface_frame(structure)
    matrix = np.asarray(structure.lattice.matrix)
    fractional = np.array(structure.frac_coords)
    _join(fractional, range(n_slab, len(fractional)), bonds)
    slab = slab_coords(structure, n_slab) @ np.linalg.inv(matrix)
    middle = (slab[:, 2].max() + slab[:, 2].min()) / 2
    molecule = fractional[n_slab:]
    molecule[:, 2] -= np.round(molecule[:, 2].mean() - middle - 0.25)  # the top face is where it started
    return np.asarray(molecule @ matrix @ frame.T)


def whole_molecule(molecule: Molecule | Structure, bonds: Iterable[Bond]) -> Floats:
    """Cartesian coordinates of a free molecule, in one piece even where a box cuts it."""
    lattice = getattr(molecule, "lattice", None)
    if lattice is None:
        return np.asarray(molecule.cart_coords)
    fractional = np.array([site.frac_coords for site in molecule])
    _join(fractional, range(len(fractional)), bonds)
    return np.asarray(fractional @ np.asarray(lattice.matrix))


def _join(fractional: Floats, atoms: range, bonds: Iterable[Bond]) -> None:
    """Move bonded atoms to each other's nearest images, in place."""
    neighbours = neighbours_of(atoms, bonds)
    seen: set[int] = set()
    for start in atoms:
        queue = deque([start] if start not in seen else [])
        seen.add(start)
        while queue:
            here = queue.popleft()
            for other in sorted(neighbours[here] - seen):
                fractional[other] -= np.round(fractional[other] - fractional[here])
                seen.add(other)
                queue.append(other)


def bonds_of(molecule: Molecule | Structure, scale: float = BOND_SCALE) -> tuple[Bond, ...]:
    """Bonds of a free molecule within ``scale`` times the sum of covalent radii, as index pairs."""
    radii = np.array([covalent_radii[atomic_numbers[site.specie.symbol]] for site in molecule])
    near = np.asarray(molecule.distance_matrix) < scale * (radii[:, None] + radii[None, :])
    return tuple((int(i), int(j)) for i, j in np.argwhere(np.triu(near, 1)))


def neighbours_of(atoms: Iterable[int], bonds: Iterable[Bond]) -> dict[int, set[int]]:
    """Neighbours of each atom in the bond graph."""
    result: dict[int, set[int]] = {index: set() for index in atoms}
    for i, j in bonds:
        result[i].add(j)
        result[j].add(i)
    return result


def components(atoms: Iterable[int], bonds: Iterable[Bond]) -> list[set[int]]:
    """Split atoms into those connected by bonds."""
    neighbours = neighbours_of(atoms, bonds)
    left, result = set(neighbours), []
    while left:
        piece, queue = set(), [min(left)]
        while queue:
            here = queue.pop()
            if here not in piece:
                piece.add(here)
                queue.extend(neighbours[here] - piece)
        left -= piece
        result.append(piece)
    return result


def find_rings(bonds: Sequence[Bond]) -> list[tuple[int, ...]]:
    """Smallest ring through each bond, up to eight-membered, in ring order, each once."""
    neighbours = neighbours_of({index for bond in bonds for index in bond}, bonds)
    rings: dict[frozenset[int], tuple[int, ...]] = {}
    for start, goal in bonds:
        paths: deque[tuple[int, ...]] = deque([(start,)])
        seen = {start}
        while paths:
            path = paths.popleft()
            if path[-1] == goal:
                rings.setdefault(frozenset(path), path)
                break
            if len(path) == LARGEST_RING:
                continue
            for other in sorted(neighbours[path[-1]] - seen):
                if not (path[-1] == start and other == goal):
                    seen.add(other)
                    paths.append((*path, other))
    return list(rings.values())


def ring_bonds(ring: Sequence[int], bonds: Sequence[Bond]) -> list[Bond]:
    """List the bonds along a ring."""
    known = set(bonds)
    pairs = zip(ring, [*ring[1:], ring[0]], strict=True)
    return [bond for i, j in pairs if (bond := (min(i, j), max(i, j))) in known]


def pucker_ang(points: Floats) -> float:
    """Total puckering amplitude of ring points given in ring order, A (Cremer and Pople 1975)."""
    centred = points - points.mean(axis=0)
    angles = 2 * np.pi * np.arange(len(points)) / len(points)
    normal = np.cross(np.sin(angles) @ centred, np.cos(angles) @ centred)
    return float(np.linalg.norm(centred @ (normal / np.linalg.norm(normal))))


def inclination_deg(points: Floats) -> float:
    """Angle between the plane through points and the surface: 0 lies flat, 90 stands."""
    normal = np.linalg.svd(points - points.mean(axis=0))[2][-1]
    return float(np.degrees(np.arccos(min(abs(float(normal[2])), 1.0))))


def turned_deg(before: Floats, after: Floats) -> float:
    """Angle by which the molecule turned out of the normal, degrees; turns about it do not count."""
    first, second = before - before.mean(axis=0), after - after.mean(axis=0)
    u, _, vt = np.linalg.svd(first.T @ second)
    sign = np.sign(np.linalg.det(u @ vt))
    rotation = u @ np.diag([1.0, 1.0, sign]) @ vt
    return float(np.degrees(np.arccos(np.clip(rotation[2, 2], -1.0, 1.0))))
