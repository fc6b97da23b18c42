"""What must hold for any trajectory: drift, permutation, wrapping, molecules at the cell's faces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from epilayer.analysis.displacements import centres, remove_drift, unwrap
from epilayer.analysis.msd import cross_displacement, mean_squared_displacement
from epilayer.analysis.statistics import diffusion_posterior
from epilayer.analysis.transport import Carrier, Verdict, analyse, estimate_diffusion

CELL = np.array([[9.0, 0.0, 0.0], [2.5, 8.0, 0.0], [-1.0, 1.5, 10.0]])
Tracks = NDArray[np.float64]


def walk(frames: int, atoms: int, seed: int, width: float = 0.2) -> Tracks:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(0, width, (frames, atoms, 3)), axis=0) + 10 * rng.random((1, atoms, 3))


seeds = st.integers(0, 2**31)


@settings(max_examples=20, deadline=None)
@given(seeds, st.tuples(*[st.floats(-0.5, 0.5)] * 3))
def test_rigid_drift_gives_zero_msd_after_correction(seed: int, velocity: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(seed)
    masses = rng.uniform(1, 60, 6)
    rest = np.broadcast_to(10 * rng.random((1, 6, 3)), (200, 6, 3))
    drifting = rest + np.arange(200)[:, None, None] * np.array(velocity)
    for reference in (None, np.array([0, 3])):
        still = remove_drift(drifting, masses, reference)
        assert mean_squared_displacement(still).max() < 1e-18
    moving = walk(200, 6, seed)
    carried = moving + np.arange(200)[:, None, None] * np.array(velocity)
    assert np.allclose(remove_drift(carried, masses), remove_drift(moving, masses), atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_wrapping_never_makes_a_jump(seed: int) -> None:
    tracks = walk(300, 5, seed)
    fractional = tracks @ np.linalg.inv(CELL)
    for wrapped in (fractional % 1.0, fractional - np.rint(fractional), fractional):
        found = unwrap(wrapped, CELL)
        assert np.allclose(found - found[0], tracks - tracks[0], atol=1e-9)
    cartesian = unwrap((fractional % 1.0) @ CELL, CELL, coordinates="cartesian")
    assert np.allclose(cartesian - cartesian[0], tracks - tracks[0], atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_atom_order_ion_order_rotation_and_time_reversal_change_nothing(seed: int) -> None:
    tracks = walk(600, 7, seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(7)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    base = diffusion_posterior(tracks, 0.05)
    assert base is not None
    for same in (tracks[:, order], tracks + rng.normal(size=3), tracks[::-1]):
        other = diffusion_posterior(same, 0.05)
        assert other is not None
        for q in (0.025, 0.5, 0.975):
            assert other.quantile(q) == pytest.approx(base.quantile(q), rel=1e-9)
    turned = mean_squared_displacement(tracks @ turn)
    assert np.allclose(turned, mean_squared_displacement(tracks), rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_molecule_centres_survive_crossing_the_cell(seed: int) -> None:
    """A rigid molecule tumbles through the faces; its wrapped atoms give back the centre's path."""
    rng = np.random.default_rng(seed)
    shape = rng.normal(0, 1.0, (5, 3))
    masses = rng.uniform(1, 32, 5)
    shape -= masses @ shape / masses.sum()
    path = np.cumsum(rng.normal(0, 0.3, (400, 3)), axis=0)
    angle = np.cumsum(rng.normal(0, 0.05, 400))
    turn = np.stack(
        [np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], axis=-2
    )
    atoms = np.repeat(shape[None], 400, axis=0)
    atoms[:, :, :2] = np.einsum("fij,aj->fai", turn, shape[:, :2])
    atoms = atoms + path[:, None]
    wrapped = (atoms @ np.linalg.inv(CELL)) % 1.0
    found = centres(unwrap(wrapped, CELL), masses, [np.arange(5)])[:, 0]
    assert np.allclose(found - found[0], path - path[0], atol=1e-9)


def test_an_atom_at_rest_in_a_breathing_cell_does_not_move() -> None:
    positions = np.broadcast_to(np.array([[[0.1, 0.5, 0.9], [0.6, 0.2, 0.3]]]), (50, 2, 3))
    cells = CELL * (1 + 0.02 * np.sin(np.arange(50)))[:, None, None]
    tracks = unwrap(positions, cells)
    assert mean_squared_displacement(tracks).max() < 1e-20


def test_einstein_and_green_kubo_are_one() -> None:
    """Self plus distinct: the collective displacement of independent ions is the sum of their own."""
    tracks = walk(4000, 200, 1)
    own = mean_squared_displacement(tracks)[1:20] * 200
    whole = tracks.sum(axis=1, keepdims=True)
    all_together = cross_displacement(whole, whole)[1:20]
    assert np.allclose(all_together / own, 1.0, atol=0.15)


def test_transference_is_invariant_under_swapping_signs_and_the_frame_matters() -> None:
    first, second = walk(3000, 30, 1), walk(3000, 30, 2)
    together = [Carrier("A", first, 1.0), Carrier("B", second, -1.0)]
    swapped = [Carrier("A", first, -1.0), Carrier("B", second, 1.0)]
    one, two = (
        analyse(c, time_step_fs=50.0, frame="as simulated").transference[0] for c in (together, swapped)
    )
    assert one.value == pytest.approx(1 - two.value, abs=0.01)
    both = np.concatenate([first, second], axis=1)
    rest = remove_drift(both, np.ones(60))
    # With the centre of mass of two equal masses at rest, the ions' currents are equal and opposite.
    assert np.allclose(
        rest[:, :30].sum(axis=1) - rest[0, :30].sum(axis=0),
        -(rest[:, 30:].sum(axis=1) - rest[0, 30:].sum(axis=0)),
        atol=1e-8,
    )


def test_a_confined_ion_is_never_given_a_diffusion_coefficient() -> None:
    """Free inside a sphere of 3 A for longer and longer: D is zero, and no lower bound is claimed."""
    rng = np.random.default_rng(7)
    position, tracks = np.zeros((4, 3)), []
    for _ in range(20001):
        trial = position + rng.normal(0, 0.14, position.shape)
        inside = (trial**2).sum(axis=1) < 9.0
        position = np.where(inside[:, None], trial, position)
        tracks.append(position)
    whole = np.array(tracks)
    for frames in (501, 2001, 20001):
        found = estimate_diffusion(whole[:frames], 20.0)
        assert found.verdict is not Verdict.RESOLVED or found.lower_cm2_per_s is None


def test_vibration_does_not_count_as_diffusion() -> None:
    rng = np.random.default_rng(8)
    still = walk(3000, 20, 3, width=0.1)
    shaken = still + 0.3 * rng.normal(size=still.shape)
    base, other = estimate_diffusion(still, 20.0), estimate_diffusion(shaken, 20.0)
    truth = 0.1**2 / (2 * 0.02) * 1e-4
    for found in (base, other):
        assert found.verdict is Verdict.RESOLVED
        assert found.lower_cm2_per_s < truth < found.upper_cm2_per_s
