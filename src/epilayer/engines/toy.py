"""A toy potential for rehearsals and tests: fast, smooth, deterministic, and never a result.

Pairs that form covalent or metal-oxo bonds interact through a short-ranged Morse term; all other
pairs through a 6-12 term of the size of a weak contact. It has no angles, no charges and no claim
to chemistry; crystals keep their shape and molecules stay whole, which is all a rehearsal needs.
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

_BOND_DEPTH_EV = 4.0
_BOND_STIFFNESS_PER_ANG = 6.0
_BOND_SCALE = 0.92  # brings sums of covalent radii near P-O 1.59, V-O 2.01, C-N 1.35 A
_CONTACT_DEPTH_EV = 0.05
_CONTACT_MARGIN_ANG = 0.7
_CUTOFF_ANG = 6.0
_NON_METALS = frozenset({1, 6, 7, 8, 9, 16, 17})
_ALKALI = frozenset({3, 11, 19, 37, 55})


class ToyPotential(Calculator):  # type: ignore[misc]  # ASE is untyped
    """Pair potential that holds bonds and attracts weakly; stands in for a real engine."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute energy (eV) and forces (eV/A, shape (atoms, 3))."""
        super().calculate(atoms, properties, system_changes)
        i, j, distance, vector = neighbor_list("ijdD", self.atoms, _CUTOFF_ANG)
        numbers = self.atoms.numbers
        radii_sum = covalent_radii[numbers[i]] + covalent_radii[numbers[j]]
        bonded = _bond_forming(numbers[i], numbers[j])
        energy, slope = _contact(distance, radii_sum + _CONTACT_MARGIN_ANG)
        bond_energy, bond_slope = _morse(distance, _BOND_SCALE * radii_sum)
        energy = np.where(bonded, bond_energy, energy)
        slope = np.where(bonded, bond_slope, slope)
        pull = slope[:, None] * vector / distance[:, None]
        forces = np.zeros((len(numbers), 3))
        np.add.at(forces, i, pull)
        self.results = {"energy": 0.5 * float(energy.sum()), "forces": forces}


def _bond_forming(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
    """Pairs with a Morse term: one partner a non-metal, no alkali, neither H-H nor anion-anion."""
    non_metals, alkali, anions = (np.array(sorted(s)) for s in (_NON_METALS, _ALKALI, {8, 9, 17}))
    any_non_metal = np.isin(first, non_metals) | np.isin(second, non_metals)
    any_alkali = np.isin(first, alkali) | np.isin(second, alkali)
    both_hydrogen = (first == 1) & (second == 1)
    both_anions = np.isin(first, anions) & np.isin(second, anions)
    light = np.isin(first, non_metals) & np.isin(second, non_metals)
    oxo = np.isin(first, anions) | np.isin(second, anions)
    return any_non_metal & ~any_alkali & ~both_hydrogen & ~both_anions & (light | oxo)


def _morse(r: NDArray[Any], r0: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    decay = np.exp(-_BOND_STIFFNESS_PER_ANG * (r - r0))
    energy = _BOND_DEPTH_EV * (decay**2 - 2 * decay)
    return energy, 2 * _BOND_DEPTH_EV * _BOND_STIFFNESS_PER_ANG * (decay - decay**2)


def _contact(r: NDArray[Any], r_min: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """6-12 term, shifted to zero energy and slope at the cut-off so that nothing jumps there."""
    cut = (r_min / _CUTOFF_ANG) ** 6
    cut_energy = _CONTACT_DEPTH_EV * (cut**2 - 2 * cut)
    cut_slope = 12 * _CONTACT_DEPTH_EV / _CUTOFF_ANG * (cut - cut**2)
    x = (r_min / r) ** 6
    energy = _CONTACT_DEPTH_EV * (x**2 - 2 * x) - cut_energy - cut_slope * (r - _CUTOFF_ANG)
    return energy, 12 * _CONTACT_DEPTH_EV / r * (x - x**2) - cut_slope
