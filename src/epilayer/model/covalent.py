"""Covalent radii (Cordero 2008, doi 10.1039/b801115j), and the bonds that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data import atomic_numbers, covalent_radii

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from pymatgen.core import Molecule, Structure

#: Two atoms of a molecule are bonded within this multiple of the sum of their radii.
BOND_SCALE: Final = 1.2


def covalent_radii_ang(symbols: Iterable[str]) -> NDArray[np.float64]:
    """Return the covalent radius of each element, A."""
    return np.array([covalent_radii[atomic_numbers[symbol]] for symbol in symbols])


def bonded_pairs(molecule: Molecule | Structure, scale: float = BOND_SCALE) -> tuple[tuple[int, int], ...]:
    """Return the pairs ``i < j`` of bonded atoms; periodic images count for a structure."""
    radii = covalent_radii_ang(site.specie.symbol for site in molecule)
    near = np.asarray(molecule.distance_matrix) < scale * (radii[:, None] + radii[None, :])
    return tuple((int(i), int(j)) for i, j in np.argwhere(np.triu(near, 1)))
