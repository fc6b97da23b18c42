"""Physics of the embedded engines' dynamics: energy kept, temperature reached and shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.model.dynamics import DynamicsSettings, Ensemble, Segment
from epilayer.model.units import K_B_EV_PER_K
from epilayer.study.config import Catalogue, shipped
from epilayer.trajectory.log import TrajectoryFolder, open_reference

if TYPE_CHECKING:
    from pathlib import Path

CATALOGUE = Catalogue((shipped("configs"),))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ice() -> Structure:
    """Four water molecules in a small cell, nothing held: 12 atoms."""
    water = np.array([[0.0, 0.0, 0.0], [0.757, 0.0, 0.587], [-0.757, 0.0, 0.587]])
    corners = np.array([[0, 0, 0], [0, 3, 3], [3, 0, 3], [3, 3, 0]])
    coords = np.vstack([water + c + 0.5 for c in corners])
    return Structure(Lattice.cubic(6.0), ["O", "H", "H"] * 4, coords, coords_are_cartesian=True)


def run(level: str, settings: DynamicsSettings, start: Structure) -> Segment:
    engine: Any = CATALOGUE.engine(level)
    maker = engine.segment("run", settings, TrajectoryFolder())
    done: Segment = maker.make.original(maker, start, None)
    return done


def total_energy_ev(done: Segment) -> tuple[np.ndarray, np.ndarray]:
    """Return times in ps, and potential plus kinetic energy in eV."""
    with open_reference(done.trajectory) as stored:
        times = stored.times_fs()
        assert times is not None
        kinetic = 0.5 * done.degrees_of_freedom * K_B_EV_PER_K * stored.temperatures_k()
        return times * 1e-3, stored.energies_ev() + kinetic


@pytest.mark.parametrize(
    ("level", "steps", "bound_mev_per_atom_ps"),
    [("toy", 500, 0.5), pytest.param("chgnet", 400, 5.0, marks=pytest.mark.slow)],
)
def test_energy_drifts_less_than_the_bound_without_thermostat(
    level: str, steps: int, bound_mev_per_atom_ps: float
) -> None:
    """The bound is well below k_B T / ps (30 meV): the thermostat of a run has nothing to hide."""
    relaxed = CATALOGUE.engine(level).relax("relax")
    start = relaxed.make.original(relaxed, ice()).structure  # type: ignore[attr-defined]
    settings = DynamicsSettings(ensemble=Ensemble.NVE, temperature_k=300.0, time_step_fs=0.5, steps=steps)
    done = run(level, settings, start)
    times_ps, energies_ev = total_energy_ev(done)
    slope = np.polyfit(times_ps, energies_ev, 1)[0]
    assert abs(slope) * 1e3 / len(start) < bound_mev_per_atom_ps
    with open_reference(done.trajectory) as stored:
        exchanged = np.std(stored.energies_ev())
    assert np.std(energies_ev) < 0.1 * exchanged  # energy did flow between kinetic and potential


@pytest.mark.slow
def test_the_thermostat_reaches_its_temperature_and_every_element_shares_it() -> None:
    settings = DynamicsSettings(temperature_k=353.15, time_step_fs=0.5, steps=6000, frame_every=4, seed=2)
    done = run("toy", settings, ice())
    assert done.degrees_of_freedom == 33  # 36 less the centre of mass
    with open_reference(done.trajectory) as stored:
        warm = stored.temperatures_k()[200:]
        tracks = stored.positions()[200:]
        masses = np.array(stored.header.masses_amu)
        symbols = np.array(stored.header.symbols)
    blocks = np.array([b.mean() for b in np.array_split(warm, 8)])
    error_k = blocks.std(ddof=1) / np.sqrt(8)
    assert error_k < 20.0
    assert abs(warm.mean() - 353.15) < 3.5 * error_k + 2.0
    velocities = np.diff(tracks, axis=0) / 2.0  # A/fs over 2 fs: fast vibrations are damped a little
    share = 103.642696562 * masses[:, None] * velocities**2 / K_B_EV_PER_K
    for element in ("O", "H"):
        assert share[:, symbols == element].mean() == pytest.approx(353.15, rel=0.2)
    centre = (masses[:, None] * tracks).sum(axis=1) / masses.sum()
    assert np.abs(centre - centre[0]).max() < 1e-8
