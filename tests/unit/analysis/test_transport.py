"""Transport against known answers: formulas, real trajectories, synthetic truth, verdicts and errors."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from epilayer.analysis.displacements import centres, find_molecules, unwrap
from epilayer.analysis.msd import (
    cross_displacement,
    mean_squared_displacement,
    slope_over_window,
)
from epilayer.analysis.statistics import (
    Posterior,
    diffusion_posterior,
    independent_ions,
    probability_faster,
    sine_projections,
)
from epilayer.analysis.transport import (
    CM2_PER_S,
    Carrier,
    CarrierChoice,
    Frames,
    analyse,
    analyse_arrays,
    conductivity_ms_per_cm,
    estimate_diffusion,
)
from epilayer.model.errors import InputError
from epilayer.model.transport import TransportReport, Verdict
from epilayer.trajectory import Trajectory, ingest, open_source

if TYPE_CHECKING:
    from collections.abc import Sequence

REAL = Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
Tracks = NDArray[np.float64]


def in_turn(symbols: Sequence[str], formula: dict[str, int]) -> list[NDArray[np.intp]]:
    """Group the atoms of a file in which each species lists its molecules in turn."""
    where = {name: np.flatnonzero(np.asarray(symbols) == name) for name in formula}
    number = len(where["N"]) // formula["N"]
    return [
        np.concatenate([where[e][m * n : (m + 1) * n] for e, n in formula.items()]) for m in range(number)
    ]


def collective(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return <sum of the first's displacements . sum of the second's> at every lag."""
    return cross_displacement(first.sum(axis=1, keepdims=True), second.sum(axis=1, keepdims=True))


def real(name: str) -> Path:
    path = REAL / name
    if not path.exists():
        pytest.skip(f"the real outputs are not at {REAL}; set EPILAYER_REAL_DATA")
    return path


def load(name: str, time_step_fs: float, tmp_path: Path) -> Trajectory:
    ingest(open_source(real(name), time_step_fs=time_step_fs), tmp_path / "t.h5")
    return Trajectory(tmp_path / "t.h5")


def walk(
    n_ions: int = 20, moves: int = 4000, diffusion: float = 0.5, step_ps: float = 0.02, seed: int = 1
) -> Tracks:
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, np.sqrt(2 * diffusion * step_ps), (moves + 1, n_ions, 3))
    return np.cumsum(steps, axis=0)


# -- mean-squared displacements -----------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 2**31), st.floats(-1e4, 1e4))
def test_msd_equals_the_double_loop(frames: int, ions: int, seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    a = np.cumsum(rng.normal(size=(frames, ions, 3)), axis=0) + offset
    b = np.cumsum(rng.normal(size=(frames, ions, 3)), axis=0)
    direct = [((a[m:] - a[:-m]) ** 2).sum(-1).mean() for m in range(1, frames)]
    assert np.allclose(mean_squared_displacement(a)[1:], direct, rtol=1e-9, atol=1e-9)
    cross = [((a[m:] - a[:-m]) * (b[m:] - b[:-m])).sum((1, 2)).mean() for m in range(1, frames)]
    assert np.allclose(cross_displacement(a, b)[1:], cross, rtol=1e-9, atol=1e-8)
    assert mean_squared_displacement(a)[0] == 0.0


@pytest.mark.real_data
def test_msd_of_the_random_walk_equals_mdanalysis() -> None:
    mda = pytest.importorskip("MDAnalysis", reason="MDAnalysis is not installed")
    from MDAnalysis.analysis.msd import EinsteinMSD

    folder = real("md_random_walk")
    universe = mda.Universe(str(folder / "RANDOM_WALK_TOPO.pdb"), str(folder / "xyz_random_walk.xtc"))
    tracks = np.array([step.positions.astype(np.float64) for step in universe.trajectory])
    msd = mean_squared_displacement(tracks)
    try:
        theirs = EinsteinMSD(universe, fft=False).run().results.timeseries
    except ImportError as error:
        pytest.skip(f"MDAnalysis cannot run EinsteinMSD here: {error}")
    assert np.allclose(msd, theirs, rtol=1e-9, atol=1e-9)
    assert np.allclose(msd[1:4], [6.01003483, 11.9052635, 17.9863509], rtol=1e-8)
    assert msd[50] == pytest.approx(342.68099763, rel=1e-8)
    assert slope_over_window(msd, 1.0, (20, 60))[0] == pytest.approx(1.2032, abs=1e-3)


# -- real trajectories and synthetic truth --------------------------------------------------------------


@pytest.mark.real_data
def test_liquid_sodium_at_671_k(tmp_path: Path) -> None:
    with load("md_liquid_Na_671K/XDATCAR.gz", 2.0, tmp_path) as stored:
        tracks = unwrap(stored.positions(), stored.cells_ang())
    msd = mean_squared_displacement(tracks)
    expected = [
        1.6134536943983235,
        3.3622244091088915,
        6.577470197316574,
        9.49899573230961,
        12.553618915131088,
    ]
    assert np.allclose(msd[[100, 200, 400, 600, 800]], expected, rtol=1e-9)
    found = estimate_diffusion(tracks, 2.0, name="Na")
    assert found.verdict is Verdict.RESOLVED
    assert found.lower_cm2_per_s < 1.29e-4 < found.upper_cm2_per_s
    assert found.slope_cm2_per_s == pytest.approx(1.29e-4, rel=0.03)


@pytest.mark.real_data
def test_li6ps5cl_in_the_frame_of_its_framework(tmp_path: Path) -> None:
    with load("md_kinisi_Li6PS5Cl/example_XDATCAR.gz", 100.0, tmp_path) as stored:
        symbols = np.array(stored.header.symbols)
        report = analyse_arrays(
            Frames(stored.positions(), stored.cells_ang(), stored.header.symbols, np.ones(len(symbols))),
            CarrierChoice(["Li"], charges_e={"Li": 1.0}),
            time_step_fs=100.0,
            framework=np.flatnonzero(symbols != "Li"),
            temperature_k=500.0,
        )
        raw = unwrap(stored.positions(), stored.cells_ang())
    lithium, frame = raw[:, symbols == "Li"], raw[:, symbols != "Li"]
    lags = [5, 10, 20, 30, 40, 50]
    expected = [1.1257937306, 1.6002958257, 2.4668066646, 3.2973229508, 4.1819372667, 5.1122445325]
    assert np.allclose(mean_squared_displacement(lithium)[lags], expected, rtol=1e-9)
    corrected = lithium - (frame - frame[0]).mean(axis=1, keepdims=True)
    expected = [1.1279416200, 1.6028204884, 2.4699780790, 3.3008474496, 4.1855677121, 5.1153777562]
    assert np.allclose(mean_squared_displacement(corrected)[lags], expected, rtol=1e-9)
    found = report.of("Li")
    assert report.frame == "framework at rest"
    assert found.verdict is Verdict.RESOLVED
    assert found.lower_cm2_per_s < 1.4617613e-5 < found.upper_cm2_per_s
    assert report.conductivity[0].verdict is Verdict.RESOLVED  # Nernst-Einstein
    assert report.conductivity[1].verdict is not Verdict.RESOLVED  # one charge centre, two windows


@pytest.mark.real_data
def test_diffusion_analyzer_json() -> None:
    """The peer's own numbers from our displacements, and what we say ourselves: a bound."""
    data = json.loads(
        gzip.decompress(real("md_pymatgen_DiffusionAnalyzer/DiffusionAnalyzer.json.gz").read_bytes())
    )
    moved = np.array(data["displacements"]).transpose(1, 0, 2)
    mobile = np.array([site["species"][0]["element"] == "Li" for site in data["structure"]["sites"]])
    tracks = (moved - moved[:, ~mobile].mean(axis=1, keepdims=True))[:, mobile]
    volume = abs(np.linalg.det(data["structure"]["lattice"]["matrix"]))
    lags = np.arange(50, 666, 3)  # its rule: from 1 ps on, 30 observations a lag, about 200 lags
    root = np.sqrt(1.0 / lags)

    def fitted(msd: Tracks) -> float:  # its weighting: variance proportional to the lag
        design = np.column_stack([lags * 0.02, np.ones(len(lags))]) * root[:, None]
        return float(np.linalg.lstsq(design, msd[lags] * root, rcond=None)[0][0]) / 6 * CM2_PER_S

    own = fitted(mean_squared_displacement(tracks))
    charge = fitted(collective(tracks, tracks) / mobile.sum())
    assert own == pytest.approx(1.1613e-6, rel=1e-4)
    assert own / charge == pytest.approx(0.318541610488674, rel=1e-6)
    sigma = conductivity_ms_per_cm(own / CM2_PER_S * mobile.sum(), volume, 600.0)
    assert sigma == pytest.approx(74.165, rel=1e-5)
    found = estimate_diffusion(tracks, 20.0, name="Li")
    assert found.verdict is Verdict.BOUND  # two hops of 3 A in all
    assert found.lower_cm2_per_s is None
    assert found.upper_cm2_per_s > 1.1613e-6
    assert found.ion_ps_needed > 2 * found.ion_ps


@pytest.mark.real_data
def test_random_walk_of_unit_steps() -> None:
    mda = pytest.importorskip("MDAnalysis", reason="MDAnalysis is not installed")
    folder = real("md_random_walk")
    universe = mda.Universe(str(folder / "RANDOM_WALK_TOPO.pdb"), str(folder / "xyz_random_walk.xtc"))
    tracks = np.array([step.positions.astype(np.float64) for step in universe.trajectory])
    found = estimate_diffusion(tracks, 1000.0)  # 1 ps a step: D is 1 A^2/ps
    assert found.verdict is Verdict.RESOLVED
    assert found.lower_cm2_per_s < 1e-4 < found.upper_cm2_per_s


@pytest.mark.real_data
def test_two_sodium_and_two_fsi_in_ten_ps_carry_no_ranking(tmp_path: Path) -> None:
    known = json.loads(real("synthetic_2NaFSI/known.json").read_text())
    with load("synthetic_2NaFSI/XDATCAR.gz", 1.0, tmp_path) as stored:
        molecules = in_turn(stored.header.symbols, {"N": 1, "S": 2, "O": 4, "F": 2})
        tracks = unwrap(stored.positions(), stored.cells_ang())
        symbols, masses = np.array(stored.header.symbols), stored.header.masses_amu
        report = analyse_arrays(
            Frames(stored.positions(), stored.cells_ang(), stored.header.symbols, masses),
            CarrierChoice(["Na"], {"FSI": molecules}, {"Na": 1.0, "FSI": -1.0}),
            time_step_fs=1.0,
            temperature_k=353.15,
        )
    lags = known["lags_frames"]
    assert np.allclose(
        mean_squared_displacement(tracks[:, symbols == "Na"])[lags], known["msd_Na_A2"], atol=1e-4
    )
    fsi = centres(tracks, masses, molecules)
    expected = known["msd_FSI_centre_of_mass_A2"]
    assert np.allclose(mean_squared_displacement(fsi)[lags], expected, atol=1e-4)
    for item in report.diffusion:
        assert item.verdict is Verdict.REFUSED
        assert item.diffusion_cm2_per_s is None
        assert "Too short" in item.reason
        assert item.ion_ps_needed > 10 * item.ion_ps
    assert report.faster[0].verdict is Verdict.REFUSED
    assert all(item.verdict is Verdict.REFUSED for item in (*report.transference, *report.conductivity))
    assert TransportReport.model_validate_json(report.model_dump_json()) == report


@pytest.mark.real_data
def test_ion_pairs_with_analytic_answers(tmp_path: Path) -> None:
    known = json.loads(real("synthetic_ion_pairs/known.json").read_text())
    with load("synthetic_ion_pairs/XDATCAR.gz", 50.0, tmp_path) as stored:
        symbols = np.array(stored.header.symbols)
        tracks = unwrap(stored.positions(), stored.cells_ang())
    plus, minus = tracks[:, symbols == "Na"], tracks[:, symbols == "Cl"]
    lags, n = known["lags_frames"], known["pairs"]
    assert np.allclose(mean_squared_displacement(plus)[lags], known["msd_plus_A2"], rtol=1e-3)
    assert np.allclose(collective(plus, plus)[lags] / n, known["collective_pp_per_ion_A2"], rtol=2e-3)
    cross = collective(plus, minus)[lags] / n
    assert np.allclose(cross, known["collective_pm_per_ion_A2"], rtol=2e-3, atol=2e-5)
    report = analyse(
        [Carrier("Na", plus, 1.0), Carrier("Cl", minus, -1.0)],
        time_step_fs=50.0,
        frame="as simulated",
        volume_ang3=27000.0,
        temperature_k=300.0,
    )
    for item in report.diffusion:
        assert item.verdict is Verdict.RESOLVED
        assert item.lower_cm2_per_s < 3e-6 < item.upper_cm2_per_s
    own, onsager = report.transference
    assert own.verdict is Verdict.RESOLVED
    assert own.lower < 0.5 < own.upper
    assert onsager.lower < 0.5 < onsager.upper
    assert report.haven.lower < 1.0 < report.haven.upper
    truth = conductivity_ms_per_cm(0.03 * 128, 27000.0, 300.0)
    for item in report.conductivity:
        assert item.lower_ms_per_cm < truth < item.upper_ms_per_cm
    assert report.faster[0].verdict is not Verdict.RESOLVED


# -- the posterior ----------------------------------------------------------------------------------


def test_projections_of_brownian_motion_have_the_variance_d() -> None:
    projections = sine_projections(walk(200, 400, 0.7), 0.02, 400)
    assert (projections**2).mean() == pytest.approx(0.7, rel=0.01)
    assert (projections[:5] ** 2).mean() == pytest.approx(0.7, rel=0.1)  # 3,000 samples: four deviations


def test_posterior_is_a_distribution() -> None:
    posterior = diffusion_posterior(walk(), 0.02)
    assert posterior is not None
    values = [posterior.quantile(q) for q in (0.001, 0.025, 0.5, 0.975, 0.999)]
    assert values == sorted(values)
    assert np.allclose(posterior.cdf(np.array(values)), [0.001, 0.025, 0.5, 0.975, 0.999], atol=1e-6)
    sample = posterior.quantiles()
    assert np.median(sample) == pytest.approx(values[2], rel=1e-3)
    assert probability_faster(posterior, posterior) == pytest.approx(0.5, abs=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_posterior_scales_with_length_and_time(length: float, time: float) -> None:
    tracks = walk(6, 600, seed=3)
    base, scaled = diffusion_posterior(tracks, 0.02), diffusion_posterior(tracks * length, 0.02 * time)
    assert base is not None
    assert scaled is not None
    for q in (0.025, 0.5, 0.975):
        assert scaled.quantile(q) == pytest.approx(base.quantile(q) * length**2 / time, rel=1e-6)
    assert scaled.window_ps == pytest.approx(tuple(np.array(base.window_ps) * time))


def test_ions_that_move_together_count_once() -> None:
    alone = walk(10, 2000, seed=5)
    together = np.repeat(walk(5, 2000, seed=5), 2, axis=1)
    one = np.repeat(walk(1, 2000, seed=5), 10, axis=1)
    counts = [independent_ions(sine_projections(t, 0.02, 40)) for t in (alone, together, one)]
    assert counts[0] == pytest.approx(10, rel=0.15)
    assert counts[1] == pytest.approx(5, rel=0.15)
    assert counts[2] == pytest.approx(1, rel=0.02)
    still = np.concatenate([alone, np.zeros_like(alone[:, :1])], axis=1)
    assert np.isfinite(independent_ions(sine_projections(still, 0.02, 40)))


@pytest.mark.parametrize("seed", range(3))
def test_a_cage_without_escape_is_never_a_number(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.zeros((3001, 10, 3))
    kicks = rng.normal(0, 0.1, x.shape)
    for t in range(1, len(x)):
        x[t] = 0.98 * x[t - 1] + kicks[t]
    found = estimate_diffusion(x, 20.0)
    assert found.verdict is not Verdict.RESOLVED
    assert found.lower_cm2_per_s is None


def test_verdicts_grow_with_the_data() -> None:
    short = estimate_diffusion(walk(2, 500, 0.02), 20.0)
    assert short.verdict is Verdict.REFUSED
    assert short.upper_cm2_per_s is None
    medium = estimate_diffusion(walk(2, 5000, 0.03, seed=2), 20.0)
    assert medium.verdict is Verdict.BOUND
    assert medium.diffusion_cm2_per_s is None
    assert medium.upper_cm2_per_s > 0.03e-4
    assert medium.ion_ps_needed > medium.ion_ps == pytest.approx(200.0)
    long = estimate_diffusion(walk(30, 5000, 0.5), 20.0)
    assert long.verdict is Verdict.RESOLVED
    assert long.lower_cm2_per_s < 0.5e-4 < long.upper_cm2_per_s
    assert long.ion_ps_needed is None
    assert estimate_diffusion(np.zeros((100, 3, 3)), 1.0).verdict is Verdict.REFUSED
    assert estimate_diffusion(walk(3, 4), 1.0).verdict is Verdict.REFUSED


@pytest.mark.slow
def test_intervals_cover_brownian_truth_and_equal_species_are_not_ranked() -> None:
    """A short form of benchmarks/calibration.py."""
    missed = given_numbers = said = 0
    for seed in range(200):
        first, second = (walk(12, 1500, 0.4, seed=2 * seed + k) for k in range(2))
        report = analyse([Carrier("A", first), Carrier("B", second)], time_step_fs=20.0, frame="as simulated")
        said += report.faster[0].verdict is Verdict.RESOLVED
        found = report.of("A")
        if found.verdict is Verdict.RESOLVED:
            given_numbers += 1
            missed += not found.lower_cm2_per_s < 0.4e-4 < found.upper_cm2_per_s
    assert given_numbers > 100
    assert missed <= 0.1 * given_numbers  # 5 % expected; three standard deviations
    assert said <= 15


def test_a_difference_that_is_there_is_said() -> None:
    fast, slow = walk(20, 3000, 1.0, seed=1), walk(20, 3000, 0.05, seed=2)
    frozen = walk(20, 3000, 1e-6, seed=3)
    report = analyse([Carrier("S", slow), Carrier("F", fast)], time_step_fs=20.0, frame="as simulated")
    assert report.faster[0].verdict is Verdict.RESOLVED
    assert report.faster[0].said.startswith("F is faster than S")
    assert report.faster[0].probability < 0.01
    report = analyse([Carrier("F", fast), Carrier("X", frozen)], time_step_fs=20.0, frame="as simulated")
    assert report.faster[0].verdict is Verdict.REFUSED


def test_transference_sees_correlations() -> None:
    """Neutral pairs carry no charge: self transference 1/2, conductivity far below Nernst-Einstein."""
    pairs = walk(40, 8000, 0.5, seed=4)
    rng = np.random.default_rng(9)
    plus, minus = (pairs + 0.2 * rng.normal(size=pairs.shape) for _ in range(2))
    carriers = [Carrier("Na", plus, 1.0), Carrier("Cl", minus, -1.0)]
    report = analyse(carriers, time_step_fs=20.0, frame="as simulated", volume_ang3=1e4, temperature_k=300.0)
    own = report.transference[0]
    assert own.lower < 0.5 < own.upper
    ideal, true = report.conductivity
    assert ideal.verdict is Verdict.RESOLVED
    assert true.upper_ms_per_cm < 0.05 * ideal.lower_ms_per_cm
    assert report.haven.lower > 10


def test_conductivity_of_a_worked_example() -> None:
    # 1 nm^2/ns for 10 ions in 10 nm^3 at 300 K: n e^2 D / (V k T)
    expected = 10 * 1.602176634e-19**2 * 1e-9 / (10e-27 * 1.380649e-23 * 300) * 10
    assert conductivity_ms_per_cm(10 * 0.1, 10_000.0, 300.0) == pytest.approx(expected, rel=1e-12)


# -- bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [None, 0.0, -1.0, float("nan")])
def test_a_time_step_that_is_none(step: float | None) -> None:
    with pytest.raises(InputError, match="time between frames"):
        estimate_diffusion(walk(2, 50), step)


def test_paths_that_cannot_be_followed() -> None:
    positions = np.random.default_rng(0).random((10, 3, 3))
    with pytest.raises(InputError, match="path cannot be followed"):
        unwrap(positions, 10 * np.eye(3))
    positions[4, 1, 2] = np.nan
    with pytest.raises(InputError, match="Frame 5 has a coordinate that is not finite"):
        unwrap(positions, 10 * np.eye(3))
    with pytest.raises(InputError, match="no volume"):
        unwrap(np.zeros((3, 1, 3)), np.zeros((3, 3)))
    with pytest.raises(InputError, match="shape"):
        unwrap(np.zeros((3, 3)), np.eye(3))


def test_species_and_molecules_that_are_absent() -> None:
    frames = Frames(np.zeros((9, 2, 3)), np.eye(3), ["Na", "O"], [1.0, 1.0])
    with pytest.raises(InputError, match="K is not in this trajectory"):
        analyse_arrays(frames, CarrierChoice(["K"]), time_step_fs=1.0)
    with pytest.raises(InputError, match="No carrier"):
        analyse_arrays(frames, CarrierChoice(), time_step_fs=1.0)


def test_molecules_are_found_across_the_cell_and_alkali_ions_stay_apart() -> None:
    from ase.build import molecule

    water = molecule("H2O")
    cell = 8.0 * np.eye(3)
    above = water.positions + np.array([0.0, 0.0, 4.0])
    positions = np.concatenate([water.positions, above, [[0.0, 0.0, 2.2]]]) / 8.0 % 1.0
    found = find_molecules([*water.get_chemical_symbols() * 2, "Na"], positions, cell)
    assert {name: len(groups) for name, groups in found.items()} == {"H2O": 2, "Na": 1}


def test_posterior_refuses_what_does_not_move() -> None:
    assert diffusion_posterior(np.zeros((100, 4, 3)), 1.0) is None
    assert isinstance(diffusion_posterior(walk(1, 100), 1.0), Posterior)
