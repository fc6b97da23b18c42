"""Poses are compared up to the symmetry of slab and molecule: images are one, others are not."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, surface
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Molecule, Structure

from epilayer.structures.comparison import PoseComparison

WATER = Molecule(["O", "H", "H"], [[0, 0, 0], [0.76, 0.0, 0.59], [-0.76, 0.0, 0.59]])
#: Turned out of every mirror plane of the slab, so that its mirror image is another orientation.
SKEW = np.array([[0.1, 0.7, 2.2], [0.85, 0.9, 2.75], [-0.3, 1.4, 2.6]])


def magnesia() -> Structure:
    atoms = surface(bulk("MgO", "rocksalt", a=4.212, cubic=True), (0, 0, 1), 2, vacuum=8.0) * (2, 2, 1)
    return Structure(atoms.cell[:], atoms.get_chemical_symbols(), atoms.get_scaled_positions())


SLAB = magnesia()
TOP_ANG = float(SLAB.cart_coords[:, 2].max())
MG = SLAB.cart_coords[[s.specie.symbol == "Mg" and s.coords[2] > TOP_ANG - 0.1 for s in SLAB]][0]
COMPARISON = PoseComparison(SLAB, WATER)


def pose(coords: np.ndarray) -> Structure:
    """Water over a magnesium ion, ``coords`` counted from that ion."""
    structure = SLAB.copy()
    for species, xyz in zip(WATER.species, coords + MG, strict=True):
        structure.append(species, xyz, coords_are_cartesian=True)
    return structure


def apart_ang(first: np.ndarray, second: np.ndarray) -> float:
    return float(COMPARISON.rmsd_ang([pose(first)], pose(second))[0])


@pytest.mark.parametrize("axis", [0, 1])
def test_a_pose_and_its_mirror_image_are_one(axis: int) -> None:
    mirror = np.ones(3)
    mirror[axis] = -1
    assert apart_ang(SKEW, SKEW * mirror) == pytest.approx(0.0, abs=1e-6)


def test_turned_and_moved_by_the_symmetry_of_the_surface_it_is_the_same() -> None:
    quarter = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert apart_ang(SKEW, SKEW @ quarter) == pytest.approx(0.0, abs=1e-6)
    assert apart_ang(SKEW, SKEW + np.array([4.212, 0, 0])) == pytest.approx(0.0, abs=1e-6)


def test_equivalent_atoms_of_the_molecule_may_change_places() -> None:
    assert apart_ang(SKEW, SKEW[[0, 2, 1]]) == pytest.approx(0.0, abs=1e-6)


def test_what_no_symmetry_maps_stays_apart() -> None:
    assert apart_ang(SKEW, SKEW + np.array([0, 0, 0.5])) == pytest.approx(0.5, abs=1e-6)
    eighth = np.array([[0.5**0.5, 0.5**0.5, 0.0], [-(0.5**0.5), 0.5**0.5, 0.0], [0.0, 0.0, 1.0]])
    assert apart_ang(SKEW, SKEW @ eighth) > 0.3
    assert apart_ang(SKEW, SKEW + np.array([2.106, 0, 0])) > 0.3  # over oxygen


def test_without_symmetry_the_mirror_image_is_another_pose() -> None:
    rough = SLAB.copy()
    rng = np.random.default_rng(0)
    for k in range(len(rough)):
        rough.translate_sites([k], rng.normal(0, 0.3, 3), frac_coords=False)
    found = PoseComparison(rough, WATER).rmsd_ang([pose(SKEW)], pose(SKEW * [-1, 1, 1]))
    assert found[0] > 0.4


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-4, 4), min_size=3, max_size=3), st.sampled_from([(1, 0), (0, 1), (-1, 2)]))
def test_the_cells_border_does_not_count(shift: list[float], cells: tuple[int, int]) -> None:
    moved = SKEW + np.array([shift[0], shift[1], abs(shift[2]) / 4])
    again = moved + cells[0] * SLAB.lattice.matrix[0] + cells[1] * SLAB.lattice.matrix[1]
    structure = pose(again)
    structure.translate_sites(range(len(SLAB), len(structure)), [0, 0, 0], to_unit_cell=True)
    assert COMPARISON.rmsd_ang([structure], pose(moved))[0] == pytest.approx(0.0, abs=1e-6)


def test_nothing_to_compare_with() -> None:
    assert COMPARISON.rmsd_ang([], pose(SKEW)).shape == (0,)
