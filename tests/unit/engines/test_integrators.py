"""Integrators: exact answers of the harmonic oscillator, conservation, reversibility, held atoms."""

from __future__ import annotations

import numpy as np
import pytest

from epilayer.engines.dynamics.integrators import EV_PER_AMU_ANG2_PER_FS2, Integrator, State
from epilayer.model.dynamics import DynamicsSettings, Ensemble, Thermostat
from epilayer.model.units import K_B_EV_PER_K

STIFFNESS_EV_PER_ANG2 = 2.0


def springs(anchors: np.ndarray) -> object:
    """Every atom on a spring to its anchor."""

    def forces(positions: np.ndarray) -> tuple[float, np.ndarray]:
        away = positions - anchors
        return 0.5 * STIFFNESS_EV_PER_ANG2 * float((away**2).sum()), -STIFFNESS_EV_PER_ANG2 * away

    return forces


def oscillators(settings: DynamicsSettings, n: int = 8, held: int = 0) -> tuple[Integrator, State]:
    rng = np.random.default_rng(4)
    anchors = rng.uniform(0, 10, (n, 3))
    free = np.arange(n) >= held
    integrator = Integrator(settings, np.linspace(12.0, 40.0, n), free, springs(anchors))
    return integrator, integrator.start(anchors + rng.normal(scale=0.1, size=(n, 3)), None)


def test_an_oscillator_swings_with_its_period() -> None:
    settings = DynamicsSettings(ensemble=Ensemble.NVE, time_step_fs=0.05, temperature_k=300.0)
    anchors = np.zeros((1, 3))
    integrator = Integrator(settings, np.array([20.0]), np.array([True]), springs(anchors))
    state = integrator.start(np.array([[0.3, 0.0, 0.0]]), np.zeros((1, 3)))
    period_fs = 2 * np.pi * np.sqrt(20.0 * EV_PER_AMU_ANG2_PER_FS2 / STIFFNESS_EV_PER_ANG2)
    for _ in range(round(period_fs / 4 / 0.05)):
        state = integrator.advance(state)
    assert abs(state.positions_ang[0, 0]) < 2e-3  # a quarter period later it passes the middle
    speed = 0.3 * 2 * np.pi / period_fs
    assert abs(state.velocities_ang_per_fs[0, 0]) == pytest.approx(speed, rel=1e-4)


@pytest.mark.parametrize("ensemble", [Ensemble.NVE, Ensemble.NVT])
def test_the_conserved_energy_drifts_with_the_square_of_the_step(ensemble: Ensemble) -> None:
    spread = {}
    for time_step_fs in (1.0, 2.0):
        settings = DynamicsSettings(ensemble=ensemble, time_step_fs=time_step_fs, temperature_k=300.0)
        integrator, state = oscillators(settings)
        energies = []
        for _ in range(round(2000 / time_step_fs)):
            state = integrator.advance(state)
            energies.append(integrator.conserved_ev(state))
        spread[time_step_fs] = np.std(energies)
    assert spread[1.0] < 5e-3 * 8 * 3 * K_B_EV_PER_K * 300.0
    assert spread[2.0] / spread[1.0] == pytest.approx(4.0, rel=0.2)


@pytest.mark.parametrize("thermostat", list(Thermostat))
def test_held_atoms_stay_and_have_no_temperature(thermostat: Thermostat) -> None:
    settings = DynamicsSettings(thermostat=thermostat, temperature_k=300.0)
    integrator, first = oscillators(settings, held=3)
    state = first
    for _ in range(50):
        state = integrator.advance(state)
    assert np.array_equal(state.positions_ang[:3], first.positions_ang[:3])
    assert not state.velocities_ang_per_fs[:3].any()
    assert np.abs(state.positions_ang[3:] - first.positions_ang[3:]).min() > 0
    assert integrator.degrees_of_freedom == 15
    kinetic = 1.5 * 5 * K_B_EV_PER_K * integrator.temperature_k(state)
    assert integrator.kinetic_ev(state) == pytest.approx(kinetic)


def test_the_centre_of_mass_rests_where_it_is_conserved() -> None:
    integrator, state = oscillators(DynamicsSettings(ensemble=Ensemble.NVE))
    masses = np.linspace(12.0, 40.0, 8)[:, None]
    assert np.abs((masses * state.velocities_ang_per_fs).sum(axis=0)).max() < 1e-12
    assert integrator.degrees_of_freedom == 21
    noisy = oscillators(DynamicsSettings(thermostat=Thermostat.LANGEVIN))[0]
    assert noisy.degrees_of_freedom == 24


def test_advancing_leaves_the_state_before_as_it_was() -> None:
    for thermostat in Thermostat:
        integrator, state = oscillators(DynamicsSettings(thermostat=thermostat, temperature_k=300.0))
        once, again = integrator.advance(state), integrator.advance(state)
        assert np.array_equal(once.positions_ang, again.positions_ang)
        assert np.array_equal(once.velocities_ang_per_fs, again.velocities_ang_per_fs)
        assert np.array_equal(once.chain_rates_per_fs, again.chain_rates_per_fs)


@pytest.mark.parametrize("thermostat", list(Thermostat))
def test_equipartition_and_the_canonical_spread_of_the_temperature(thermostat: Thermostat) -> None:
    """Kinetic and potential energy both k T / 2 a direction; var(T) / T^2 = 2 / N_f.

    Twenty oscillators of different frequencies in an anharmonic chain: harmonic ones alone would defeat
    the Nose-Hoover thermostat, and a weak coupling shares energy so slowly that ten blocks of a run of this
    length are not independent.
    """
    settings = DynamicsSettings(
        thermostat=thermostat, temperature_k=353.15, time_step_fs=1.0, thermostat_period_fs=20.0, seed=3
    )
    n = 20
    rng = np.random.default_rng(1)
    anchors = rng.uniform(0, 10, (n, 3))
    stiff = rng.uniform(1.0, 4.0, (n, 3))

    def forces(positions: np.ndarray) -> tuple[float, np.ndarray]:
        away = positions - anchors
        stretch = away - np.roll(away, 1, axis=0)
        energy = float((0.5 * stiff * away**2 + 200.0 * stretch**4).sum())
        return energy, -(stiff * away + 800.0 * (stretch**3 - np.roll(stretch, -1, axis=0) ** 3))

    free = np.ones(n, dtype=bool)
    free[0] = False  # so that the centre of mass is free in both
    integrator = Integrator(settings, np.linspace(1.0, 30.0, n), free, forces)
    state = integrator.start(anchors, None)
    kinetic, virial, light = [], [], []
    masses = np.linspace(1.0, 30.0, n)[1:6, None] * EV_PER_AMU_ANG2_PER_FS2
    for step in range(22000):
        state = integrator.advance(state)
        if step >= 2000:
            kinetic.append(integrator.temperature_k(state))
            twice = (masses * state.velocities_ang_per_fs[1:6] ** 2).sum()
            light.append(twice / (3 * len(masses)) / K_B_EV_PER_K)
            away = (state.positions_ang - anchors)[free]
            virial.append(-(away * state.forces_ev_per_ang[free]).sum() / (3 * free.sum()) / K_B_EV_PER_K)
    warm = np.array(kinetic)

    def mean_and_error(values: np.ndarray) -> tuple[float, float]:
        blocks = np.array([b.mean() for b in np.array_split(values, 10)])
        return float(values.mean()), float(blocks.std(ddof=1) / np.sqrt(10))

    for measured, expected in (
        (mean_and_error(warm), 353.15),
        (mean_and_error(np.array(light)), 353.15),  # the five lightest by themselves
        (mean_and_error(np.array(virial)), 353.15),  # the virial theorem, a direction
        (mean_and_error((warm / 353.15 - 1.0) ** 2), 2 / (3 * free.sum())),
    ):
        value, error = measured
        assert error < 0.15 * expected  # else the test could not fail
        assert abs(value - expected) < 3.5 * error
