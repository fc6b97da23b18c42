"""A toy potential for rehearsals and tests: fast, smooth, deterministic, and never a result.

Bonds of the geometry that a calculation starts from are springs at their starting length, so that
slabs and molecules keep their shape; a molecule and a slab attract each other through a 6-12 term of
the size of a weak contact. There are no charges and there is no claim to chemistry. Energies count
from the starting geometry, so that they mean something only as differences within one rehearsal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

_SPRING_EV_PER_ANG2 = 20.0
"""Stiff enough that the contacts do not fold a planar ring."""
_SPRING_REACH_ANG = 3.2
"""Long enough to tie second neighbours too, which stands in for angles."""
_CONTACT_DEPTH_EV = 0.02
"""Some thirty pairs touch, so that a molecule holds with a few tenths of an eV."""
_CONTACT_MARGIN_ANG = 0.9
_CUTOFF_ANG = 6.0
_COVALENT_SCALE = 1.15
_ORGANIC = (1, 6, 7)
"""Elements that mark an atom as part of a molecule; others join it by a covalent bond to one."""


class ToyPotential(Calculator):  # type: ignore[misc]  # ASE is untyped
    """Elastic network with weak contacts; stands in for a real engine.

    The network is made from the first geometry that is computed, so an instance serves one
    calculation only.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self) -> None:
        super().__init__()
        self._network: tuple[NDArray[Any], ...] | None = None
        self._molecular: NDArray[np.bool_] = np.zeros(0, dtype=bool)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute energy (eV) and forces (eV/A, shape (atoms, 3))."""
        super().calculate(atoms, properties, system_changes)
        if self._network is None:
            self.tie(self.atoms)
        forces = np.zeros((len(self.atoms), 3))
        energy = self._springs(forces) + self._contacts(forces)
        self.results = {"energy": energy, "forces": forces}

    def tie(self, atoms: Atoms) -> None:
        """Make the network from a geometry, which the first computed one is by default."""
        i, j, length, cell = neighbor_list("ijdS", atoms, _SPRING_REACH_ANG)
        self._molecular = _molecular(atoms, i, j, length)
        tied = (self._molecular[i] == self._molecular[j]) & (i <= j)
        self._network = (i[tied], j[tied], length[tied], cell[tied])

    def _springs(self, forces: NDArray[Any]) -> float:
        assert self._network is not None  # noqa: S101  (tied at the first call)
        i, j, rest, cell = self._network
        # Half weight where an atom is tied to its own image, which the list holds in both directions.
        stiffness = np.where(i == j, 0.5, 1.0) * _SPRING_EV_PER_ANG2
        vector = self.atoms.positions[j] + cell @ self.atoms.cell.array - self.atoms.positions[i]
        length = np.linalg.norm(vector, axis=1)
        pull = (stiffness * (length - rest) / length)[:, None] * vector
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        return 0.5 * float((stiffness * (length - rest) ** 2).sum())

    def _contacts(self, forces: NDArray[Any]) -> float:
        i, j, distance, vector = neighbor_list("ijdD", self.atoms, _CUTOFF_ANG)
        across = self._molecular[i] != self._molecular[j]
        i, j, distance, vector = i[across], j[across], distance[across], vector[across]
        radii = covalent_radii[self.atoms.numbers]
        energy, slope = _contact(distance, radii[i] + radii[j] + _CONTACT_MARGIN_ANG)
        np.add.at(forces, i, (slope / distance)[:, None] * vector)
        return 0.5 * float(energy.sum())


def _molecular(atoms: Atoms, i: NDArray[Any], j: NDArray[Any], length: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the atoms of molecules: organic elements, and what is bound to them covalently."""
    organic = np.isin(atoms.numbers, _ORGANIC)
    radii = covalent_radii[atoms.numbers]
    bound = (
        organic[i]
        & (length < _COVALENT_SCALE * (radii[i] + radii[j]))
        & np.isin(atoms.numbers[j], (8, 9, 16))
    )
    molecular: NDArray[np.bool_] = organic.copy()
    molecular[j[bound]] = True
    return molecular


def _contact(r: NDArray[Any], r_min: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """6-12 term, shifted to zero energy and slope at the cut-off so that nothing jumps there."""
    cut = (r_min / _CUTOFF_ANG) ** 6
    cut_energy = _CONTACT_DEPTH_EV * (cut**2 - 2 * cut)
    cut_slope = 12 * _CONTACT_DEPTH_EV / _CUTOFF_ANG * (cut - cut**2)
    x = (r_min / r) ** 6
    energy = _CONTACT_DEPTH_EV * (x**2 - 2 * x) - cut_energy - cut_slope * (r - _CUTOFF_ANG)
    return energy, 12 * _CONTACT_DEPTH_EV / r * (x - x**2) - cut_slope
