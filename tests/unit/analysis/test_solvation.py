"""Solvation: known densities, known shells, known residence times; real lengths from a real liquid."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epilayer.analysis.solvation import (
    neighbours,
    radial_distribution,
    residence_time,
    shell_census,
)
from epilayer.model.errors import InputError
from epilayer.trajectory import Trajectory, ingest, open_source

REAL = Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
SKEWED = np.array([[12.0, 0.0, 0.0], [4.0, 11.0, 0.0], [-3.0, 2.0, 13.0]])


def test_an_ideal_gas_has_g_of_one_in_any_cell() -> None:
    positions = np.random.default_rng(0).random((400, 60, 3))
    found = radial_distribution(
        positions, SKEWED, np.arange(10), np.arange(60), furthest_ang=5.0, bin_ang=0.25
    )
    assert np.abs(found.g[8:] - 1.0).max() < 0.1
    density = 59 / np.linalg.det(SKEWED)
    assert found.coordination[-1] == pytest.approx(density * 4 / 3 * np.pi * 5.0**3, rel=0.02)
    assert found.first_peak_ang is None


def test_a_crystal_has_its_shells() -> None:
    """Rock salt, a = 5.64 A: six at a/2, twelve at a/sqrt 2."""
    from ase.build import bulk

    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(3)
    rng = np.random.default_rng(1)
    positions = atoms.get_scaled_positions()[None] + rng.normal(0, 0.005, (50, len(atoms), 3))
    sodium = np.flatnonzero(atoms.numbers == 11)
    chlorine = np.flatnonzero(atoms.numbers == 17)
    unlike = radial_distribution(positions, np.asarray(atoms.cell), sodium, chlorine)
    assert unlike.first_peak_ang == pytest.approx(2.82, abs=0.06)
    assert unlike.coordination_number == pytest.approx(6.0, abs=0.01)
    like = radial_distribution(positions, np.asarray(atoms.cell), sodium, sodium)
    assert like.first_peak_ang == pytest.approx(5.64 / np.sqrt(2), abs=0.06)
    assert like.coordination_number == pytest.approx(12.0, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_neighbours_equal_a_search_over_all_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-2, 2, (1, 12, 3))
    close = neighbours(positions, SKEWED, np.arange(4), np.arange(12), 4.5)[0]
    images = np.array([[i, j, k] for i in range(-6, 7) for j in range(-6, 7) for k in range(-6, 7)])
    for a in range(4):
        vectors = (positions[0][None] - positions[0, a] + images[:, None]) @ SKEWED
        nearest = np.sqrt((vectors**2).sum(-1)).min(axis=0)
        nearest[a] = np.inf
        assert np.array_equal(close[a], nearest < 4.5)


def test_census_and_both_solvents() -> None:
    """An ion with two of A always, and one of B in a quarter of the frames."""
    positions = np.full((100, 4, 3), 0.5)
    positions[:, 1, 0] += 0.2
    positions[:, 2, 1] += 0.2
    positions[:, 3, 2] = np.where(np.arange(100) % 4 == 0, 0.7, 0.95)
    census = shell_census(positions, 10 * np.eye(3), [0], {"A": ([1, 2], 2.5), "B": ([3], 2.5)})
    assert census.mean == {"A": 2.0, "B": 0.25}
    assert census.shares == {(2, 0): 0.75, (2, 1): 0.25}


@pytest.mark.parametrize("mean_ps", [0.5, 3.0])
def test_residence_time_of_a_poisson_process(mean_ps: float) -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(60):
        bound = np.zeros((4000, 5), bool)
        for pair in range(5):
            at = 0.0
            while at < 40.0:
                stay, away = rng.exponential(mean_ps), rng.exponential(1.0)
                bound[int(at / 0.01) : int((at + stay) / 0.01), pair] = True
                at += stay + away
        found = residence_time(bound, 0.01)
        assert found.mean_ps is not None
        covered += found.lower_ps < mean_ps < found.upper_ps
    assert covered >= 52  # 57 expected


def test_every_absence_is_a_departure_and_no_departure_gives_a_bound() -> None:
    bound = np.ones((1000, 1), bool)
    bound[200:203] = False
    bound[600:640] = False
    assert residence_time(bound, 0.01).departures == 2
    never = residence_time(np.ones((1000, 1), bool), 0.01)
    assert never.mean_ps is None
    assert never.upper_ps is None
    assert never.lower_ps == pytest.approx(9.99 / 3.689, rel=1e-3)
    empty = residence_time(np.zeros((100, 2), bool), 0.01)
    assert empty.lower_ps is None


def test_ranges_beyond_half_the_cell_and_empty_sets_are_refused() -> None:
    positions = np.zeros((2, 3, 3))
    with pytest.raises(InputError, match=r"at most 5\.00 A"):
        radial_distribution(positions, 10 * np.eye(3), [0], [1], furthest_ang=6.0)
    with pytest.raises(InputError, match="centres and partners"):
        radial_distribution(positions, 20 * np.eye(3), [0], [])


@pytest.mark.real_data
def test_liquid_sodium_has_its_first_shell(tmp_path: Path) -> None:
    path = REAL / "md_liquid_Na_671K/XDATCAR.gz"
    if not path.exists():
        pytest.skip(f"the real outputs are not at {REAL}; set EPILAYER_REAL_DATA")
    ingest(open_source(path), tmp_path / "t.h5")
    with Trajectory(tmp_path / "t.h5") as stored:
        positions, cell = stored.positions(0, 400), stored.cells_ang()[0]
    atoms = np.arange(100)
    found = radial_distribution(positions, cell, atoms, atoms, furthest_ang=8.0, bin_ang=0.1)
    assert found.first_peak_ang == pytest.approx(3.7, abs=0.2)  # liquid sodium: 3.7 A
    assert 11 < found.coordination_number < 15
