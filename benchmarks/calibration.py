"""Do the intervals hold? Synthetic trajectories of known D, against kinisi and the naive rule.

    python benchmarks/calibration.py                              # ours, 1,000 trajectories
    python benchmarks/calibration.py --kinisi PYTHON --every 4    # and kinisi on every fourth
    python benchmarks/calibration.py --known ../shared/data       # our D beside known answers

``PYTHON`` is an interpreter that has kinisi (its own environment will do). kinisi is given what a
careful user gives it: the start of the diffusive regime is set to a tenth of the trajectory (it has no
rule of its own), the trajectory is thinned to 100 frames.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A script's own folder comes first on the path, and a neighbour here may bear a standard module's name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

STEP_PS = 0.02
KINDS = ("brownian", "caged", "hopping", "pairs")
KINISI_FRAMES = 100


@dataclass(frozen=True)
class Case:
    """One synthetic trajectory and its truth."""

    kind: str
    n_ions: int
    duration_ps: float
    diffusion_ang2_per_ps: float
    tracks_ang: NDArray[np.float64]


def make_case(seed: int, index: int) -> Case:
    """Make the trajectory ``index`` of a seed: kind, ions, length and D are drawn log-uniformly."""
    rng = np.random.default_rng([seed, index])
    kind = KINDS[(index + index // len(KINDS)) % len(KINDS)]  # any stride meets every kind
    n_ions = round(_log_uniform(rng, 2, 50))
    duration_ps = _log_uniform(rng, 10.0, 100.0)
    diffusion = _log_uniform(rng, 0.02, 1.0)  # 2e-6 to 1e-4 cm2/s
    moves = int(duration_ps / STEP_PS)
    if kind == "brownian":
        tracks = brownian(rng, moves, n_ions, diffusion)
    elif kind == "caged":
        rattle = ornstein_uhlenbeck(rng, moves, n_ions, rng.uniform(0.2, 0.6), _log_uniform(rng, 0.1, 2.0))
        tracks = brownian(rng, moves, n_ions, diffusion) + rattle
    elif kind == "hopping":
        tracks = hopping(rng, moves, n_ions, diffusion)
    else:
        n_ions += n_ions % 2
        centre = brownian(rng, moves, n_ions // 2, diffusion)
        apart = ornstein_uhlenbeck(
            rng, moves, n_ions // 2, rng.uniform(0.3, 1.0), _log_uniform(rng, 0.1, 2.0)
        )
        tracks = np.concatenate([centre + apart, centre - apart], axis=1)
    return Case(kind, n_ions, moves * STEP_PS, diffusion, tracks)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def brownian(rng: np.random.Generator, moves: int, n_ions: int, diffusion: float) -> NDArray[np.float64]:
    """Return free diffusion, (moves + 1, n_ions, 3)."""
    steps = rng.normal(0.0, np.sqrt(2.0 * diffusion * STEP_PS), (moves + 1, n_ions, 3))
    return np.cumsum(steps, axis=0)


def ornstein_uhlenbeck(
    rng: np.random.Generator, moves: int, n_ions: int, width_ang: float, memory_ps: float
) -> NDArray[np.float64]:
    """Return overdamped motion in a harmonic cage, stationary from the first frame."""
    from scipy.signal import lfilter

    keep = float(np.exp(-STEP_PS / memory_ps))
    kicks = rng.normal(0.0, width_ang * np.sqrt(1.0 - keep**2), (moves + 1, n_ions, 3))
    kicks[0] = rng.normal(0.0, width_ang, (n_ions, 3))
    return np.asarray(lfilter([1.0], [1.0, -keep], kicks, axis=0))


def hopping(rng: np.random.Generator, moves: int, n_ions: int, diffusion: float) -> NDArray[np.float64]:
    """Return hops on a cubic lattice at random times; half of the cases tend to hop back.

    With a chance q that a hop undoes the last one, consecutive hops have the mean cosine -q and D is
    rate a^2 / 6 times (1 - q) / (1 + q).
    """
    length_ang = rng.uniform(2.0, 3.0)
    back = float(rng.choice([0.0, rng.uniform(0.0, 0.5)]))
    rate = 6.0 * diffusion / (length_ang**2 * (1.0 - back) / (1.0 + back))
    tracks = np.zeros((moves + 1, n_ions, 3))
    for ion in range(n_ions):
        when = np.sort(rng.integers(1, moves + 1, rng.poisson(rate * moves * STEP_PS)))
        axis, sign = 0, 1
        for count, at in enumerate(when):
            if count and rng.random() < back:
                sign = -sign
            else:
                axis, sign = int(rng.integers(3)), int(rng.choice([-1, 1]))
            tracks[at, ion, axis] += sign * length_ang
    return np.cumsum(tracks, axis=0) + ornstein_uhlenbeck(rng, moves, n_ions, 0.2, 0.1)


# -- ours -------------------------------------------------------------------------------------------


def ours(cases: int, seed: int) -> list[dict[str, Any]]:
    """Return one row per trajectory."""
    from epilayer.analysis.transport import CM2_PER_S, estimate_diffusion

    rows = []
    for index in range(cases):
        case = make_case(seed, index)
        found = estimate_diffusion(case.tracks_ang, STEP_PS * 1e3)
        low, high = found.lower_cm2_per_s, found.upper_cm2_per_s
        truth = case.diffusion_ang2_per_ps * CM2_PER_S
        rows.append(
            {
                "index": index,
                "kind": case.kind,
                "n_ions": case.n_ions,
                "verdict": found.verdict.value,
                "ratio": high / low if low and high else None,
                "below": low is not None and truth < low,
                "above": high is not None and truth > high,
            }
        )
    return rows


def report(rows: list[dict[str, Any]], name: str) -> None:
    """Print coverage where a number is given, by kind and in all."""
    print(f"\n{name}: 95 % intervals where a number is given")
    heads = ("runs", "given", "share", "covered", "D<low", "D>high", "hi/lo")
    print(f"{'kind':10s}" + "".join(f"{head:>9s}" for head in heads))
    for kind in (*KINDS, "all"):
        of_kind = [r for r in rows if kind in {"all", r["kind"]}]
        given = [r for r in of_kind if r["verdict"] == "resolved"]
        if not given:
            continue
        below, above = (100 * np.mean([r[side] for r in given]) for side in ("below", "above"))
        width = np.median([r["ratio"] for r in given if r["ratio"]])
        print(
            f"{kind:10s}{len(of_kind):9d}{len(given):9d}{100 * len(given) / len(of_kind):8.1f}%"
            f"{100 - below - above:8.1f}%{below:8.1f}%{above:8.1f}%{width:9.2f}"
        )
    bounds = [r for r in rows if r["verdict"] == "bound"]
    if bounds:
        wrong = 100 * np.mean([r["below"] or r["above"] for r in bounds])
        print(f"bounds: {len(bounds)} ({100 * len(bounds) / len(rows):.1f}%), wrong {wrong:.1f}%")
    refused = sum(r["verdict"] == "refused" for r in rows)
    print(f"refused: {refused} ({100 * refused / len(rows):.1f}%)")


# -- a ranking that is not there ----------------------------------------------------------------------


def rankings(trials: int, seed: int) -> None:
    """Compare two equal species: how often is one called faster, by us and by the naive rule."""
    from epilayer.analysis.msd import mean_squared_displacement, slope_over_window
    from epilayer.analysis.transport import Carrier, Verdict, analyse

    print("\n'A is faster than B' for two species of equal D (false whenever it is said)")
    heads = ("ions", "ps", "trials", "naive > 2x", "naive > 3x", "ours", "no ranking")
    print("".join(f"{head:>11s}" for head in heads))
    for n_ions, duration_ps in ((2, 10.0), (2, 100.0), (10, 30.0), (30, 60.0)):
        said = refused = twice = thrice = 0
        for trial in range(trials):
            rng = np.random.default_rng([seed, n_ions, int(duration_ps), trial])
            moves = int(duration_ps / STEP_PS)
            diffusion = _log_uniform(rng, 0.05, 1.0)
            pair = [brownian(rng, moves, n_ions, diffusion) for _ in range(2)]
            slopes = [slope_over_window(mean_squared_displacement(t), STEP_PS, (1.0, 5.0))[0] for t in pair]
            naive = max(slopes) / max(min(slopes), 1e-12)
            twice += naive > 2.0  # noqa: PLR2004
            thrice += naive > 3.0  # noqa: PLR2004
            carriers = [Carrier(name, t) for name, t in zip("AB", pair, strict=True)]
            verdict = analyse(carriers, time_step_fs=STEP_PS * 1e3, frame="as simulated").faster[0].verdict
            said += verdict is Verdict.RESOLVED
            refused += verdict is Verdict.REFUSED
        shares = [100 * x / trials for x in (twice, thrice, said, refused)]
        print(f"{n_ions:11d}{duration_ps:11.0f}{trials:11d}" + "".join(f"{share:10.1f}%" for share in shares))


# -- known answers ----------------------------------------------------------------------------------


def known_answers(data: Path) -> None:
    """Print our value and interval beside the truth, or the accepted value, of every data set."""
    print("\nKnown answers, D in cm2/s")
    print(f"{'set':34s}{'value':>11s}{'lower':>11s}{'upper':>11s}{'truth':>11s}  inside  verdict")
    misses = numbers = 0
    for name, truth, found in _known_sets(data):
        low, high = found.lower_cm2_per_s, found.upper_cm2_per_s
        inside = (low is None or low < truth) and (high is None or truth < high)
        numbers += found.verdict == "resolved"
        misses += not inside
        ends = "".join(
            f"{'-' if x is None else f'{x:.3e}':>11s}" for x in (found.diffusion_cm2_per_s, low, high)
        )
        print(
            f"{name:34s}{ends}{truth:11.3e}  {'yes' if inside else 'NO':6s}  {found.verdict}: {found.reason}"
        )
    print(f"{numbers} numbers given, {misses} misses of numbers or bounds")


def _known_sets(data: Path) -> list[tuple[str, float, Any]]:
    import gzip
    import tempfile

    from epilayer.analysis.displacements import centres, unwrap
    from epilayer.analysis.transport import estimate_diffusion
    from epilayer.trajectory import Trajectory, ingest, open_source

    rows: list[tuple[str, float, Any]] = []

    def load(name: str) -> tuple[NDArray[np.float64], NDArray[np.str_], tuple[float, ...]]:
        with tempfile.TemporaryDirectory() as folder:
            ingest(open_source(data / name), Path(folder) / "t.h5")
            with Trajectory(Path(folder) / "t.h5") as run:
                tracks = unwrap(run.positions(), run.cells_ang())
                return tracks, np.array(run.header.symbols), run.header.masses_amu

    tracks, _, _ = load("md_liquid_Na_671K/XDATCAR.gz")
    rows.append(("liquid Na, 671 K", 1.29e-4, estimate_diffusion(tracks, 2.0)))
    tracks, names, masses = load("md_kinisi_Li6PS5Cl/example_XDATCAR.gz")
    still = tracks[:, names != "Li"]
    lithium = tracks[:, names == "Li"] - (still - still[0]).mean(axis=1, keepdims=True)
    rows.append(("Li6PS5Cl, 500 K (line fit)", 1.4618e-5, estimate_diffusion(lithium, 100.0)))
    packed = (data / "md_pymatgen_DiffusionAnalyzer/DiffusionAnalyzer.json.gz").read_bytes()
    record = json.loads(gzip.decompress(packed))
    moved = np.array(record["displacements"]).transpose(1, 0, 2)
    mobile = np.array([site["species"][0]["element"] == "Li" for site in record["structure"]["sites"]])
    relative = (moved - moved[:, ~mobile].mean(axis=1, keepdims=True))[:, mobile]
    rows.append(("DiffusionAnalyzer.json (its fit)", 1.1613e-6, estimate_diffusion(relative, 20.0)))
    try:
        import MDAnalysis as mda  # noqa: N813

        folder = data / "md_random_walk"
        universe = mda.Universe(str(folder / "RANDOM_WALK_TOPO.pdb"), str(folder / "xyz_random_walk.xtc"))
        tracks = np.array([step.positions.astype(np.float64) for step in universe.trajectory])
        rows.append(("RANDOM_WALK, a step a ps", 1e-4, estimate_diffusion(tracks, 1000.0)))
    except ImportError:
        print("RANDOM_WALK: MDAnalysis is not installed")
    tracks, names, masses = load("synthetic_2NaFSI/XDATCAR.gz")
    # The file lists each species of its two molecules in turn.
    halves = [np.array_split(np.flatnonzero(names == element), 2) for element in ("N", "S", "O", "F")]
    fsi = centres(tracks, masses, [np.concatenate(one) for one in zip(*halves, strict=True)])
    rows.append(("synthetic 2 NaFSI: Na", 5e-6, estimate_diffusion(tracks[:, names == "Na"], 1.0)))
    rows.append(("synthetic 2 NaFSI: FSI", 2e-6, estimate_diffusion(fsi, 1.0)))
    tracks, names, _ = load("synthetic_ion_pairs/XDATCAR.gz")
    rows.extend(
        (f"synthetic 64 NaCl: {ion}", 3e-6, estimate_diffusion(tracks[:, names == ion], 50.0))
        for ion in ("Na", "Cl")
    )
    return rows


# -- kinisi -------------------------------------------------------------------------------------------


def kinisi_worker(cases: int, seed: int, every: int) -> None:
    """Run under an interpreter that has kinisi; print one JSON row per trajectory."""
    import warnings
    from types import SimpleNamespace

    import scipp as sc
    from kinisi.diffusion import Diffusion
    from kinisi.displacement import calculate_msd

    warnings.simplefilter("ignore")
    for index in range(0, cases, every):
        case = make_case(seed, index)
        skip = max(1, (len(case.tracks_ang) - 1) // KINISI_FRAMES)
        moved = case.tracks_ang[::skip]
        moved = moved[1:] - moved[0]
        frames = np.arange(1, len(moved) + 1)
        parsed = SimpleNamespace(
            displacements=sc.array(dims=["obs", "particle", "dimension"], values=moved, unit="angstrom"),
            dt_index=sc.array(dims=["time interval"], values=frames),
            dt=sc.array(dims=["time interval"], values=frames * skip * STEP_PS, unit="ps"),
            dimensionality=3 * sc.units.dimensionless,
        )
        row: dict[str, Any] = {"index": index, "kind": case.kind, "n_ions": case.n_ions}
        try:
            diffusion = Diffusion(calculate_msd(parsed, progress=False))
            diffusion._diffusion(  # noqa: SLF001  (what its analyzers call)
                0.1 * case.duration_ps * sc.Unit("ps"),
                progress=False,
                n_samples=500,
                n_burn=250,
                random_state=np.random.RandomState(index),  # what kinisi takes
            )
            low, high = (float(x) for x in np.quantile(diffusion.D.values, [0.025, 0.975]))
            truth = case.diffusion_ang2_per_ps * 1e-4
            row |= {"verdict": "resolved", "ratio": high / low, "below": truth < low, "above": truth > high}
        except Exception as error:  # noqa: BLE001  (a crash of the peer counts as its refusal)
            row |= {
                "verdict": "refused",
                "ratio": None,
                "below": False,
                "above": False,
                "why": str(error)[:80],
            }
        print(json.dumps(row), flush=True)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20241001)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--kinisi", help="an interpreter that has kinisi")
    parser.add_argument("--every", type=int, default=4, help="kinisi runs on every n-th trajectory")
    parser.add_argument(
        "--known", type=Path, help="only print known answers from this folder of real outputs"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        kinisi_worker(options.cases, options.seed, options.every)
        return
    if options.known:
        known_answers(options.known)
        return
    begun = time.process_time()
    rows = ours(options.cases, options.seed)
    report(rows, f"epilayer ({(time.process_time() - begun) / len(rows) * 1e3:.0f} ms a trajectory, CPU)")
    rankings(options.trials, options.seed)
    if options.kinisi is None:
        print("\nkinisi: not run (give --kinisi PYTHON)")
        return
    begun = time.perf_counter()
    command = [options.kinisi, "-P", str(Path(__file__)), "--worker", "--cases", str(options.cases)]
    command += ["--seed", str(options.seed), "--every", str(options.every)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    took = (time.perf_counter() - begun) / len(theirs)
    report(theirs, f"kinisi ({took * 1e3:.0f} ms a trajectory)")
    same = {row["index"] for row in theirs}
    report([row for row in rows if row["index"] in same], "epilayer on the same trajectories")
    resolved = {row["index"] for row in rows if row["verdict"] == "resolved"}
    report([row for row in theirs if row["index"] in resolved], "kinisi where epilayer gives a number")


if __name__ == "__main__":
    sys.exit(main())
