"""Growth: molecules keep their bonds and angles, touch nothing, and repeat with their seed."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice

from epilayer.model.errors import StructureError
from epilayer.model.ligand import Ligand
from epilayer.structures import chain_growth, molecules, packing
from epilayer.structures.void import DistanceField

CELL = Lattice.from_parameters(15, 16, 17, 80, 95, 105)
SCALE = 0.8


def field_with_walls(seed: int = 0) -> DistanceField:
    field = DistanceField(CELL)
    field.add(["C"] * 12, CELL.get_cartesian_coords(np.random.default_rng(seed).random((12, 3))))
    return field


@pytest.mark.parametrize("chain", [("pom", 5), ("peo", 3)])
def test_a_grown_chain_keeps_lengths_and_angles_and_touches_nothing(chain: tuple[str, int]) -> None:
    guest = chain_growth.Guest(molecules.chain(*chain))
    field = field_with_walls()
    grown = chain_growth.grow([guest, guest], field, np.random.default_rng(3), scale_factor=SCALE)
    assert len(grown.coords) > 10
    assert grown.placed == 2 * len(guest.symbols)
    count = len(guest.symbols)
    close = guest.distances <= 2
    walls = CELL.get_cartesian_coords(np.random.default_rng(0).random((12, 3)))
    limits = np.array(
        [[chain_growth.contact_limit_ang(a, b, SCALE) for b in guest.symbols] for a in guest.symbols]
    )
    to_wall = np.array([chain_growth.contact_limit_ang(a, "C", SCALE) for a in guest.symbols])
    free = np.linalg.norm(guest.coords[:, None] - guest.coords, axis=2)
    inverse = np.linalg.inv(CELL.matrix)
    for both in grown.coords[::40]:
        for x in (both[:count], both[count:]):
            here = np.linalg.norm(x[:, None] - x, axis=2)
            assert np.allclose(here[close], free[close], atol=1e-4)
            far = guest.distances > chain_growth.BONDED_REACH
            assert (CELL.get_all_distances(x @ inverse, x @ inverse) > limits - 1e-4)[far].all()
            assert (CELL.get_all_distances(x @ inverse, walls @ inverse) > to_wall[:, None] - 0.15).all()
        apart = CELL.get_all_distances(both[:count] @ inverse, both[count:] @ inverse)
        assert (apart > limits - 1e-4).all()


def test_the_same_seed_grows_the_same_and_another_does_not() -> None:
    guest = chain_growth.Guest(molecules.chain("pom", 3))
    first, again, other = (
        chain_growth.grow([guest], field_with_walls(), np.random.default_rng(s), scale_factor=SCALE).coords
        for s in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:5], other[:5])


def test_without_room_it_says_how_far_it_got() -> None:
    lattice = Lattice.cubic(10)
    field = DistanceField(lattice)
    grid = np.stack(np.meshgrid(*[np.arange(4) / 4] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    keep = np.linalg.norm(grid - 0.5, axis=1) > 0.3  # one hollow in a wall of carbon
    field.add(["C"] * int(keep.sum()), lattice.get_cartesian_coords(grid[keep]))
    guest = chain_growth.Guest(molecules.chain("pom", 8))
    grown = chain_growth.grow([guest], field, np.random.default_rng(0), scale_factor=SCALE)
    assert len(grown.coords) == 0
    assert 0 < grown.placed < len(guest.symbols)


def test_a_ring_is_refused() -> None:
    ring = Ligand(name="dioxane", formula="C4H8O2", smiles="C1COCCO1", source="a ring for this test")
    with pytest.raises(StructureError, match="holds a ring"):
        chain_growth.Guest(ring)


def test_distances_along_bonds() -> None:
    distances = chain_growth.topological_distances(5, frozenset({(0, 1), (1, 2), (2, 3)}))
    assert distances[0].tolist() == [0, 1, 2, 3, 5]
    assert (distances == distances.T).all()


def test_the_gradient_of_the_relaxation_is_that_of_its_energy() -> None:
    from pymatgen.core import Structure

    rng = np.random.default_rng(2)
    host = Structure(CELL, ["C"] * 8 + ["O"] * 4, rng.random((12, 3)))
    names = (("fsi", "F2NO4S2", "O=S(=O)(F)[N-]S(=O)(=O)F", -1), ("na", "Na", "[Na+]", 1))
    guests = [
        chain_growth.Guest(Ligand(name=n, formula=f, smiles=s, charge=c, source="an ion for this test"))
        for n, f, s, c in names
    ] + [chain_growth.Guest(molecules.chain("pom", 3))]
    starts = [g.coords + CELL.get_cartesian_coords(rng.random(3)) for g in guests]
    energy = packing._Energy(host, guests, starts)
    flat = np.concatenate(starts).reshape(-1) + 0.05 * rng.normal(size=3 * sum(map(len, starts)))
    _, gradient = energy(flat)
    for index in rng.choice(len(flat), size=25, replace=False):
        step = np.zeros_like(flat)
        step[index] = 1e-5
        numeric = (energy(flat + step)[0] - energy(flat - step)[0]) / 2e-5
        assert gradient[index] == pytest.approx(numeric, rel=2e-4, abs=2e-4)
