"""Pore diameters with analytic answers, percolation across periodic faces, and the distance field."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.model.errors import StructureError
from epilayer.structures import crystals, void
from epilayer.study.config import Catalogue, shipped

A_ANG = 10.0
R_C_ANG = 1.7


@pytest.fixture(scope="module")
def cubic() -> void.Voids:
    return void.analyse(Structure(Lattice.cubic(A_ANG), ["C"], [[0, 0, 0]]))


def test_simple_cubic_has_the_diameters_of_its_body_and_face_centres(cubic: void.Voids) -> None:
    assert cubic.lcd_ang == pytest.approx(A_ANG * np.sqrt(3) - 2 * R_C_ANG, abs=0.01)
    assert cubic.pld_ang == pytest.approx(A_ANG * np.sqrt(2) - 2 * R_C_ANG, abs=0.1)
    sphere = 4 / 3 * np.pi * R_C_ANG**3 / A_ANG**3
    assert cubic.free_volume_fraction == pytest.approx(1 - sphere, abs=0.005)
    assert np.allclose(cubic.cavities[0].centre_frac, 0.5, atol=0.01)


def test_the_origin_of_the_cell_does_not_matter(cubic: void.Voids) -> None:
    moved = void.analyse(Structure(Lattice.cubic(A_ANG), ["C"], [[0.313, 0.777, 0.561]]))
    assert moved.lcd_ang == pytest.approx(cubic.lcd_ang, abs=0.01)
    assert moved.pld_ang == pytest.approx(cubic.pld_ang, abs=0.1)


def test_met6_has_the_known_pores() -> None:
    host = crystals.framework(Catalogue((shipped("configs"),)).mof("met6"))
    voids = void.analyse(host)
    assert voids.lcd_ang == pytest.approx(5.87, abs=0.02)
    assert 3.8 < voids.pld_ang < 4.3
    widest = [c for c in voids.cavities if c.diameter_ang > 5.8]
    assert len(widest) == 8
    site_8b = host.lattice.get_all_distances([[0.375] * 3], [c.centre_frac for c in widest])
    assert site_8b.min() < 0.05
    assert len({c.label for c in voids.cavities}) == len(voids.cavities)


def test_a_dense_crystal_has_no_pore() -> None:
    copper = Structure(
        Lattice.cubic(3.61), ["Cu"] * 4, [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    )
    with pytest.raises(StructureError, match="no pore wider"):
        void.analyse(copper)


def test_percolation_counts_windings_not_touching_faces() -> None:
    empty = np.zeros((12, 12, 12), dtype=bool)
    rod = empty.copy()
    rod[:, 3, 3] = True
    assert void.percolates(rod)
    rod[5, 3, 3] = False  # cut once: it crosses a face, and yet ends
    assert not void.percolates(rod)
    ball = empty.copy()
    ball[:2, :2, :2] = ball[-2:, -2:, -2:] = ball[:2, -2:, -2:] = True
    assert not void.percolates(ball)
    stairs = empty.copy()
    for i in range(12):
        stairs[i, i, i] = stairs[(i + 1) % 12, i, i] = stairs[(i + 1) % 12, (i + 1) % 12, i] = True
    assert void.percolates(stairs)  # along the diagonal, by way of three faces
    assert not void.percolates(empty)


@pytest.mark.parametrize("angles", [(90, 90, 90), (75, 100, 115)])
def test_the_field_agrees_with_direct_distances(angles: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(1)
    lattice = Lattice.from_parameters(11, 12, 13, *angles)
    frac = rng.random((12, 3)) * 3 - 1  # atoms outside the cell count in it
    field = void.DistanceField(lattice)
    field.add(["C"] * 6 + ["O"] * 6, lattice.get_cartesian_coords(frac))
    limits = {"C": 2.0, "O": 1.5}
    points = rng.random((400, 3)) * 2 - 0.5
    sampled = field.sample(field.clearance(limits), lattice.get_cartesian_coords(points))
    distances = lattice.get_all_distances(points, frac)
    exact = np.minimum(distances[:, :6].min(axis=1) - 2.0, distances[:, 6:].min(axis=1) - 1.5)
    near = (exact > -1.5) & (exact < 2.0)
    assert near.sum() > 100
    assert np.abs(sampled - exact)[near].max() < 0.12
    assert np.abs(sampled - exact)[near].mean() < 0.02
    assert field.symbols == ("C", "O")


def test_a_copy_of_a_field_is_its_own() -> None:
    field = void.DistanceField(Lattice.cubic(12))
    field.add(["C"], np.zeros((1, 3)))
    twin = field.copy()
    twin.add(["C"], np.full((1, 3), 6.0))
    limits = {"C": 0.0}
    assert twin.clearance(limits).sum() < field.clearance(limits).sum()
    assert float(field.sample(field.clearance(limits), np.full((1, 3), 6.0))[0]) == pytest.approx(
        void.REACH_ANG
    )
