"""When two adsorption poses are one: the symmetry of the surface and of the molecule taken into account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from epilayer.structures.molecules import bonds
from epilayer.structures.sites import Surface, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Molecule, Structure

    Floats = NDArray[np.float64]

#: Poses farther apart than this (root mean square, A) count as equally far.
FAR_ANG: Final = 4.0
#: A molecule with more symmetry than this is compared by its first so many permutations.
MAX_AUTOMORPHISMS: Final = 24


class PoseComparison:
    """Compares poses of one molecule on one slab.

    Two poses that a symmetry operation of the clean slab maps onto each other are one, and so are two
    that differ in which of the molecule's equivalent atoms is where. Operations of the slab include
    its mirror planes, so that a pose and its mirror image are one minimum.

    Parameters
    ----------
    slab
        The clean slab, c axis along its normal.
    molecule
        The molecule; its bonds say which of its atoms are equivalent.
    """

    def __init__(self, slab: Structure, molecule: Molecule) -> None:
        self._surface = Surface(slab)
        self._automorphisms = automorphisms(molecule)
        self._n_slab = len(slab)

    def rmsd_ang(self, pool: Sequence[Structure], one: Structure) -> Floats:
        """Least root mean square distance of the molecule's atoms in each of ``pool`` to those in ``one``, A.

        Parameters
        ----------
        pool, one
            The slab's atoms, then the molecule's, all in the slab's cell.

        Returns
        -------
        array
            Shape (len(pool),); beyond :data:`FAR_ANG` all are equally far.
        """
        if not pool:
            return np.zeros(0)
        coords = np.array([self._coords(structure) for structure in pool])
        return rmsd_ang(coords, self._coords(one), self._surface, self._automorphisms)

    def _coords(self, structure: Structure) -> Floats:
        """Coordinates of the molecule in the surface's frame, its atoms not torn apart by the cell."""
        fractional = np.array(structure.frac_coords[self._n_slab :])
        fractional -= np.round(fractional - fractional[0])
        fractional[:, 2] -= self._surface.bottom_fraction
        fractional[:, 2] -= np.floor(fractional[:, 2].mean())
        return np.asarray(fractional @ self._surface.cell)


def automorphisms(molecule: Molecule) -> NDArray[np.int_]:
    """Permutations that map the molecule's bond graph onto itself, shape (k, n); at most 24."""
    symbols = [site.specie.symbol for site in molecule]
    neighbours: list[set[int]] = [set() for _ in symbols]
    for i, j in bonds(molecule):
        neighbours[i].add(j)
        neighbours[j].add(i)
    # Atoms are mapped outward from atom 0, each next to one already mapped, so few choices remain.
    order, parent = [0], {0: -1}
    for index in order:
        for other in sorted(neighbours[index] - parent.keys()):
            parent[other] = index
            order.append(other)
    found: list[list[int]] = []

    def extend(image: dict[int, int]) -> None:
        if len(found) == MAX_AUTOMORPHISMS:
            return
        if len(image) == len(order):
            found.append([image[i] for i in range(len(symbols))])
            return
        index = order[len(image)]
        choices = neighbours[image[parent[index]]] if index else range(len(symbols))
        for choice in sorted(set(choices) - set(image.values())):
            alike = symbols[choice] == symbols[index] and len(neighbours[choice]) == len(neighbours[index])
            if alike and all(image[k] in neighbours[choice] for k in neighbours[index] & image.keys()):
                extend({**image, index: choice})

    if len(order) == len(symbols):
        extend({})
    return np.array(found or [list(range(len(symbols)))])


def rmsd_ang(
    pool: Floats,
    one: Floats,
    surface: Surface,
    automorphisms: NDArray[np.int_],
) -> Floats:
    """Least RMSD of each pose of a pool to one pose over the symmetry of surface and molecule, A.

    Beyond :data:`FAR_ANG` poses count as equally far.
    """
    best = np.full(len(pool), FAR_ANG)
    centres = pool.mean(axis=1)
    for matrix, shift in surface.operations:
        image = one @ matrix + shift
        # The centres' distance is a lower bound of the RMSD: most translations are done with here.
        apart = centres - image.mean(axis=0)
        apart[:, :2] = wrapped(apart[:, :2], surface.cell)
        near = np.flatnonzero(np.linalg.norm(apart, axis=1) < best)
        if not len(near):
            continue
        # Both centres moved to the same place by the same lattice vector, the shapes compare directly.
        shapes = pool[near] - centres[near, None, :] + apart[:, None, :][near]
        vectors = shapes[:, None] - (image - image.mean(axis=0))[automorphisms][None]
        rmsd = np.sqrt((vectors**2).sum(axis=3).mean(axis=2)).min(axis=1)
        best[near] = np.minimum(best[near], rmsd)
    return best
