"""Shapes of an adsorbed molecule: its bond graph, rings, and how they stand on the surface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import networkx as nx
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
#: Two atoms that were apart are bonded below 1.15 x their covalent sum (C-C 1.75, O-O 1.52 A).
FORMED_SCALE: Final = 1.15
#: A slab bond is gone when longer than 1.25 x its covalent sum (P-O 2.16, V-O 2.74 A) and 1.25 x its
#: length in the clean slab; shorter changes are relaxation.
SLAB_BROKEN_SCALE: Final = 1.25


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
    graph = bond_graph(atoms, bonds)
    for piece in nx.connected_components(graph):
        for here, other in nx.bfs_edges(graph, min(piece), sort_neighbors=sorted):
            fractional[other] -= np.round(fractional[other] - fractional[here])


def bond_graph(atoms: Iterable[int], bonds: Iterable[Bond]) -> Any:  # noqa: ANN401  (networkx has no types)
    """Return the networkx graph of atoms and bonds; the neighbours of each atom in ascending order."""
    graph = nx.Graph()
    graph.add_nodes_from(atoms)
    graph.add_edges_from(sorted((min(bond), max(bond)) for bond in bonds))
    return graph


def components(atoms: Iterable[int], bonds: Iterable[Bond]) -> list[set[int]]:
    """Split atoms into those connected by bonds."""
    return sorted(nx.connected_components(bond_graph(atoms, bonds)), key=min)


def find_rings(bonds: Sequence[Bond]) -> list[tuple[int, ...]]:
    """Smallest ring through each bond, up to eight-membered, in ring order, each once."""
    graph = bond_graph((), bonds)
    rings: dict[frozenset[int], tuple[int, ...]] = {}
    for start, goal in bonds:
        without = nx.restricted_view(graph, [], [(start, goal)])
        path = nx.single_source_shortest_path(without, start, cutoff=LARGEST_RING - 1).get(goal)
        if path is not None:
            rings.setdefault(frozenset(path), tuple(path))
    return list(rings.values())


def ring_bonds(ring: Sequence[int], bonds: Sequence[Bond]) -> list[Bond]:
    """List the bonds along a ring."""
    known = set(bonds)
    pairs = zip(ring, [*ring[1:], ring[0]], strict=True)
    return [bond for i, j in pairs if (bond := (min(i, j), max(i, j))) in known]


def changed_bonds(
    before_ang: Floats, after_ang: Floats, sums_ang: Floats
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pairs of slab atoms lost, and which made, a bond; all of shape (n, n).

    Parameters
    ----------
    before_ang, after_ang
        Distances, A.
    sums_ang
        Sums of covalent radii, A.
    """
    lost, made = (
        (first < FORMED_SCALE * sums_ang) & (second > SLAB_BROKEN_SCALE * np.maximum(sums_ang, first))
        for first, second in ((before_ang, after_ang), (after_ang, before_ang))
    )
    return lost, made


def area_ang2(structure: Structure) -> float:
    """Area of the cell's face spanned by a and b, A^2."""
    a, b, _ = structure.lattice.matrix
    return float(np.linalg.norm(np.cross(a, b)))


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
