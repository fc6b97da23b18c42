"""Integrators of molecular dynamics whose whole state can be written down and taken up again.

Velocity Verlet; a Nose-Hoover chain around it (Martyna, Klein and Tuckerman 1992, doi 10.1063/1.463940;
Suzuki-Yoshida steps of order four, doi 10.1016/0375-9601(90)90092-3); Langevin dynamics by the BAOAB
splitting (Leimkuhler and Matthews 2013, doi 10.1063/1.4802990). Held atoms have no degrees of freedom:
they enter neither temperature nor thermostat, which ASE's own chain does not provide for.

Units: Angstrom, fs, eV, u.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from epilayer.model.dynamics import Ensemble, Thermostat
from epilayer.model.units import K_B_EV_PER_K

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from epilayer.model.dynamics import DynamicsSettings

    Forces = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]

EV_PER_AMU_ANG2_PER_FS2 = 103.642696562  # 1 u A^2/fs^2 in eV
_OUTER = 1.0 / (2.0 - 2.0 ** (1.0 / 3.0))
_YOSHIDA_WEIGHTS = (_OUTER, 1.0 - 2.0 * _OUTER, _OUTER)


@dataclass
class State:
    """Everything that the future of a trajectory depends on.

    Parameters
    ----------
    step
        Absolute step.
    positions_ang, velocities_ang_per_fs
        (n_atoms, 3); positions are never wrapped.
    forces_ev_per_ang, energy_ev
        At these positions; kept so that a resumed run begins with the same bits.
    chain_positions, chain_rates_per_fs
        (chain_length,) Nose-Hoover chain.
    noise
        State of the random generator (Langevin).
    """

    step: int
    positions_ang: NDArray[np.float64]
    velocities_ang_per_fs: NDArray[np.float64]
    forces_ev_per_ang: NDArray[np.float64]
    energy_ev: float
    chain_positions: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    chain_rates_per_fs: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    noise: dict[str, Any] | None = None


class Integrator:
    """Advances a :class:`State` one step at a time.

    Parameters
    ----------
    settings
        Ensemble, thermostat, time step.
    masses_amu
        (n_atoms,) masses, u.
    free
        (n_atoms,) which atoms move.
    forces
        Function of (n_atoms, 3) positions that returns energy (eV) and forces (eV/A).
    """

    def __init__(
        self,
        settings: DynamicsSettings,
        masses_amu: NDArray[np.float64],
        free: NDArray[np.bool_],
        forces: Forces,
    ) -> None:
        self.settings, self.free, self._forces = settings, free, forces
        self._mass = masses_amu[free, None] * EV_PER_AMU_ANG2_PER_FS2  # eV fs^2/A^2
        self._langevin = settings.ensemble is Ensemble.NVT and settings.thermostat is Thermostat.LANGEVIN
        self._chained = settings.ensemble is Ensemble.NVT and not self._langevin
        self._k_t_ev = K_B_EV_PER_K * settings.temperature_k
        self.degrees_of_freedom = degrees_of_freedom(settings, free)
        inertia = np.full(settings.chain_length, self._k_t_ev * settings.thermostat_period_fs**2)
        inertia[0] *= self.degrees_of_freedom
        self._inertia = inertia
        self._noise = np.random.default_rng([settings.seed, 1])

    def start(
        self, positions_ang: NDArray[np.float64], velocities_ang_per_fs: NDArray[np.float64] | None
    ) -> State:
        """Return the state at step 0; velocities are drawn with the seed unless given.

        Parameters
        ----------
        positions_ang, velocities_ang_per_fs
            (n_atoms, 3); the velocities of held atoms are set to zero.
        """
        velocities = np.zeros_like(positions_ang)
        if velocities_ang_per_fs is not None:
            velocities[self.free] = velocities_ang_per_fs[self.free]
        else:
            drawn = np.random.default_rng([self.settings.seed, 0]).normal(size=(int(self.free.sum()), 3))
            velocities[self.free] = drawn * np.sqrt(self._k_t_ev / self._mass)
        if self.degrees_of_freedom < 3 * self.free.sum():  # the centre of mass is conserved: let it rest
            moving = velocities[self.free]
            velocities[self.free] = moving - (self._mass * moving).sum(axis=0) / self._mass.sum()
        energy_ev, forces = self._forces(positions_ang)
        length = self.settings.chain_length if self._chained else 0
        noise = self._noise.bit_generator.state if self._langevin else None
        return State(
            0,
            positions_ang.copy(),
            velocities,
            forces,
            energy_ev,
            np.zeros(length),
            np.zeros(length),
            dict(noise) if noise else None,
        )

    def advance(self, state: State) -> State:
        """Return the state one step later; the one given is left as it is."""
        dt_fs = self.settings.time_step_fs
        free = self.free
        velocity = state.velocities_ang_per_fs[free]
        positions = state.positions_ang.copy()
        chain, rates = state.chain_positions.copy(), state.chain_rates_per_fs.copy()
        noise = state.noise
        if self._chained:
            velocity = self._chain_step(velocity, chain, rates, 0.5 * dt_fs)
        velocity = velocity + 0.5 * dt_fs * state.forces_ev_per_ang[free] / self._mass
        if self._langevin:
            positions[free] += 0.5 * dt_fs * velocity
            velocity, noise = self._friction(velocity, noise)
            positions[free] += 0.5 * dt_fs * velocity
        else:
            positions[free] += dt_fs * velocity
        energy_ev, forces = self._forces(positions)
        velocity = velocity + 0.5 * dt_fs * forces[free] / self._mass
        if self._chained:
            velocity = self._chain_step(velocity, chain, rates, 0.5 * dt_fs)
        velocities = np.zeros_like(positions)
        velocities[free] = velocity
        return State(state.step + 1, positions, velocities, forces, energy_ev, chain, rates, noise)

    def kinetic_ev(self, state: State) -> float:
        """Return the kinetic energy, eV."""
        return 0.5 * float((self._mass * state.velocities_ang_per_fs[self.free] ** 2).sum())

    def temperature_k(self, state: State) -> float:
        """Return the instantaneous temperature of the degrees of freedom that there are, K."""
        return 2.0 * self.kinetic_ev(state) / (self.degrees_of_freedom * K_B_EV_PER_K)

    def conserved_ev(self, state: State) -> float:
        """Return the energy that the exact equations conserve (not with Langevin noise), eV."""
        total = state.energy_ev + self.kinetic_ev(state)
        if self._chained:
            total += 0.5 * float((self._inertia * state.chain_rates_per_fs**2).sum())
            total += self._k_t_ev * float(
                self.degrees_of_freedom * state.chain_positions[0] + state.chain_positions[1:].sum()
            )
        return total

    def _friction(
        self, velocity: NDArray[np.float64], noise: dict[str, Any] | None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        self._noise.bit_generator.state = noise or {}
        kept = np.exp(-self.settings.friction_per_fs * self.settings.time_step_fs)
        kick = np.sqrt((1.0 - kept**2) * self._k_t_ev / self._mass)
        velocity = kept * velocity + kick * self._noise.normal(size=velocity.shape)
        return velocity, dict(self._noise.bit_generator.state)

    def _chain_step(
        self,
        velocity: NDArray[np.float64],
        chain: NDArray[np.float64],
        rates: NDArray[np.float64],
        time_fs: float,
    ) -> NDArray[np.float64]:
        """Propagate the chain and scale the velocities; ``chain`` and ``rates`` change in place."""
        with np.errstate(over="ignore", invalid="ignore"):  # an explosion is for the caller to see
            return velocity * self._chain_scale(velocity, chain, rates, time_fs)

    def _chain_scale(
        self,
        velocity: NDArray[np.float64],
        chain: NDArray[np.float64],
        rates: NDArray[np.float64],
        time_fs: float,
    ) -> float:
        twice_kinetic = float((self._mass * velocity**2).sum())
        scale = 1.0
        for weight in _YOSHIDA_WEIGHTS:
            h = weight * time_fs
            for j in reversed(range(len(rates))):
                self._turn(rates, j, h, twice_kinetic)
            shrink = float(np.exp(-h * rates[0]))
            scale *= shrink
            twice_kinetic *= shrink**2
            chain += h * rates
            for j in range(len(rates)):
                self._turn(rates, j, h, twice_kinetic)
        return scale

    def _turn(self, rates: NDArray[np.float64], j: int, h_fs: float, twice_kinetic_ev: float) -> None:
        """Half a step of one link of the chain."""
        if j == 0:
            drive = twice_kinetic_ev - self.degrees_of_freedom * self._k_t_ev
        else:
            drive = self._inertia[j - 1] * rates[j - 1] ** 2 - self._k_t_ev
        last = j == len(rates) - 1
        drag = 1.0 if last else float(np.exp(-0.25 * h_fs * rates[j + 1]))
        rates[j] = (rates[j] * drag + 0.5 * h_fs * drive / self._inertia[j]) * drag


def degrees_of_freedom(settings: DynamicsSettings, free: NDArray[np.bool_]) -> int:
    """Return the number of directions with a temperature of their own.

    With an atom held, or under Langevin noise, the centre of mass is a degree of freedom like another;
    else it is conserved and at rest.
    """
    moving = int(free.sum())
    langevin = settings.ensemble is Ensemble.NVT and settings.thermostat is Thermostat.LANGEVIN
    conserved = moving == len(free) and moving > 1 and not langevin
    return 3 * moving - (3 if conserved else 0)
