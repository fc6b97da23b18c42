"""Whether the molecules of a trajectory are still the ones it began with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.elements import ALKALI

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BONDED = 1.15
_BROKEN = 1.5
"""Of the sum of covalent radii, as in Open Catalyst 2020 (doi 10.1021/acscatal.0c04525)."""


@dataclass(frozen=True)
class BondChange:
    """A bond that broke or formed.

    Parameters
    ----------
    first, second
        Atom indices.
    length_ang
        Their distance now, Angstrom.
    formed
        Whether the bond is new.
    """

    first: int
    second: int
    length_ang: float
    formed: bool


class BondWatch:
    """Compares frames with the bonds of the first one; metals have none to break.

    Parameters
    ----------
    symbols
        (n_atoms,) chemical symbols.
    start_ang
        (n_atoms, 3) cartesian positions of the start, Angstrom.
    cell_ang
        (3, 3) cell vectors as rows, Angstrom.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        start_ang: NDArray[np.float64],
        cell_ang: NDArray[np.float64],
    ) -> None:
        from ase import Atoms
        from ase.data import covalent_radii

        self._atoms = Atoms(list(symbols), positions=start_ang, cell=cell_ang, pbc=True)
        radii = np.array(covalent_radii[self._atoms.numbers])
        metal = np.isin(self._atoms.get_chemical_symbols(), ALKALI) | (self._atoms.numbers > 18)  # noqa: PLR2004  (argon)
        radii[metal] = 0.0
        self._radii = radii
        self._bonds = set(self._pairs(_BONDED))

    @property
    def bonds(self) -> tuple[tuple[int, int], ...]:
        """The bonds of the start."""
        return tuple(sorted(self._bonds))

    def changes(self, positions_ang: NDArray[np.float64]) -> list[BondChange]:
        """Return the bonds of the start that are broken now, and those that are new.

        Parameters
        ----------
        positions_ang
            (n_atoms, 3) cartesian, wrapped or not, Angstrom.
        """
        self._atoms.set_positions(positions_ang)
        near, close = self._pairs(_BROKEN), self._pairs(1.0)
        broken = [BondChange(i, j, self._length_ang(i, j), formed=False) for i, j in self._bonds - set(near)]
        formed = [BondChange(i, j, close[i, j], formed=True) for i, j in set(close) - self._bonds]
        return sorted([*broken, *formed], key=lambda c: (c.formed, c.first, c.second))

    def describe(self, change: BondChange) -> str:
        """Return one line on a change, atoms counted from 1."""
        names = [f"{self._atoms.symbols[k]}{k + 1}" for k in (change.first, change.second)]
        what = "A new bond" if change.formed else "A broken bond"
        return f"{what}: {names[0]}-{names[1]}, {change.length_ang:.2f} A."

    def _length_ang(self, i: int, j: int) -> float:
        return float(self._atoms.get_distance(i, j, mic=True))

    def _pairs(self, scale: float) -> dict[tuple[int, int], float]:
        from ase.neighborlist import neighbor_list

        i, j, length = neighbor_list("ijd", self._atoms, cutoff=list(scale * self._radii))
        both = (i < j) & (self._radii[i] > 0) & (self._radii[j] > 0)
        found = zip(i[both], j[both], length[both], strict=True)
        return {(int(a), int(b)): float(d) for a, b, d in found}
