"""Ingest, random access and MSD, beside ASE, pymatgen and MDAnalysis in the same run.

    python benchmarks/trajectory.py [--keep FOLDER]

Makes a synthetic XDATCAR of 13,000 frames of 506 atoms (244 MB; two thirds of the atoms vibrate, the
guests also diffuse). CPU time is user + system of a fresh process that does that one thing, imports
included; the peers read the same file. A peer that is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

# A script's own folder comes first on the path, and a neighbour here may bear a standard module's name.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

FRAMES, PEER_FRAMES = 13_000, 1_000
SPECIES = {"Zn": 24, "C": 126, "N": 146, "H": 160, "O": 40, "S": 4, "F": 4, "Na": 2}
EDGE_ANG = 17.665
MSD_FRAMES = 10_000

INGEST = """
from pathlib import Path
from epilayer.trajectory import ingest, open_source
ingest(open_source(Path({source!r}), time_step_fs=1.0), Path({target!r}), compression={compression!r})
"""
ASE = """
import ase.io
n = sum(1 for _ in ase.io.iread({source!r}, index=":", format="vasp-xdatcar"))
assert n == {frames}, n
"""
PYMATGEN = """
import warnings
warnings.simplefilter("ignore")
from pymatgen.io.vasp.outputs import Xdatcar
assert len(Xdatcar({source!r}).structures) == {frames}
"""
MEASURE = """
import json, resource
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
"""


def make_xdatcar(path: Path, frames: int, seed: int = 506) -> None:
    """Write an XDATCAR as VASP does: fixed width, eight decimals, wrapped."""
    rng = np.random.default_rng(seed)
    n_atoms = sum(SPECIES.values())
    rest = rng.random((n_atoms, 3))
    drift = np.zeros((n_atoms, 3))
    rattle, speed = np.zeros((n_atoms, 3)), np.zeros((n_atoms, 3))
    row = np.frombuffer(b"  0.00000000  0.00000000  0.00000000\n", np.uint8)
    with path.open("wb") as stream:
        stream.write(b"synthetic, not VASP\n 1.0\n")
        for vector in np.eye(3) * EDGE_ANG:
            stream.write("".join(f"{x:12.6f}" for x in vector).encode() + b"\n")
        stream.write((" ".join(SPECIES) + "\n" + " ".join(map(str, SPECIES.values())) + "\n").encode())
        for frame in range(frames):
            speed = 0.98 * speed + rng.normal(0, 0.0015 / EDGE_ANG, (n_atoms, 3))
            rattle = 0.95 * rattle + speed
            drift[-48:] += rng.normal(0, 0.01 / EDGE_ANG, (48, 3))
            fixed = np.rint(((rest + rattle + drift) % 1.0) * 1e8).astype(np.int64) % 10**8
            text = np.tile(row, (n_atoms, 1))
            for axis in range(3):
                digits = fixed[:, axis].copy()
                for place in range(7, -1, -1):
                    text[:, 12 * axis + 4 + place] = 48 + digits % 10
                    digits //= 10
            stream.write(f"Direct configuration={frame + 1:6d}\n".encode() + text.tobytes())


def measured(code: str, **values: object) -> tuple[float, float] | None:
    """Return (CPU seconds, peak MB) of a fresh process, or None where a module is missing."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code.format(**values) + MEASURE],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        if "ModuleNotFoundError" in done.stderr:
            return None
        raise SystemExit(done.stderr)
    cpu_s, peak_mb = json.loads(done.stdout.splitlines()[-1])
    return cpu_s, peak_mb


def show(name: str, megabytes: float, result: tuple[float, float] | None, note: str = "") -> float:
    """Print one row; return the rate in MB per CPU second."""
    if result is None:
        print(f"{name:28s} not installed")
        return float("nan")
    rate = megabytes / result[0]
    print(f"{name:28s}{result[0]:9.2f} s{rate:11.2f} MB/s{result[1]:9.0f} MB   {note}")
    return rate


def reading(folder: Path) -> None:
    """Ingest beside the peers, then random access."""
    from epilayer.trajectory import Trajectory

    source, part, target = folder / "XDATCAR", folder / "XDATCAR_part", folder / "run.h5"
    if not source.exists():
        make_xdatcar(source, FRAMES)
    size = source.stat().st_size / 1e6
    lines = 7 + PEER_FRAMES * (1 + sum(SPECIES.values()))
    with source.open("rb") as whole, part.open("wb") as out:
        for _ in range(lines):
            out.write(next(whole))
    print(f"XDATCAR {FRAMES} x {sum(SPECIES.values())}, {size:.0f} MB\n")
    print(f"{'reader':28s}{'CPU':>11s}{'rate':>16s}{'peak':>12s}")
    best = 0.0
    for compression in ("gzip", "lzf"):
        result = measured(INGEST, source=str(source), target=str(target), compression=compression)
        stored = target.stat().st_size / 1e6
        best = show(f"epilayer ingest ({compression})", size, result, f"lossless file {stored:.1f} MB")
    ase = show("ASE, all frames", size, measured(ASE, source=str(source), frames=FRAMES))
    part_mb = part.stat().st_size / 1e6
    theirs = measured(PYMATGEN, source=str(part), frames=PEER_FRAMES)
    pymatgen = show(f"pymatgen, {PEER_FRAMES} frames", part_mb, theirs)
    print(f"ratios: {best / ase:.1f} x ASE, {best / pymatgen:.0f} x pymatgen\n")
    with Trajectory(target) as stored_run:
        rng, times, used = np.random.default_rng(0), [], []
        stored_run.frame(0)
        for index in rng.integers(0, FRAMES, 1000):
            begun, cpu = time.perf_counter(), time.process_time()
            stored_run.frame(int(index))
            times.append((time.perf_counter() - begun) * 1e3)
            used.append((time.process_time() - cpu) * 1e3)
        # On a shared machine the wall time has the neighbours in it; the CPU time has not.
        for name, column in (("wall", times), ("CPU", used)):
            low, high = np.percentile(column, [50, 99])
            print(
                f"random frame, {name}: median {low:.2f} ms, 99 % {high:.2f} ms, worst {max(column):.2f} ms"
            )
        begun = time.perf_counter()
        stored_run.positions()
        print(f"all positions as float64: {time.perf_counter() - begun:.2f} s\n")


def msd() -> None:
    """MSD of 506 x 10,000 over all origins, beside MDAnalysis."""
    from epilayer.analysis.msd import mean_squared_displacement

    try:
        import MDAnalysis as mda  # noqa: N813
        import tidynamics  # noqa: F401
        from MDAnalysis.analysis.msd import EinsteinMSD
    except ImportError as error:
        print(f"MSD beside MDAnalysis: not run ({error})")
        return
    rng = np.random.default_rng(1)
    n_atoms = sum(SPECIES.values())
    # MDAnalysis keeps float32: both get the very same numbers.
    steps = rng.normal(0, 0.05, (MSD_FRAMES, n_atoms, 3))
    tracks32 = np.cumsum(steps, axis=0).astype(np.float32)
    universe = mda.Universe.empty(n_atoms, trajectory=True)
    universe.load_new(tracks32, order="fac")
    tracks = tracks32.astype(np.float64)
    begun, cpu = time.perf_counter(), time.process_time()
    ours = mean_squared_displacement(tracks)
    mine, mine_cpu = time.perf_counter() - begun, time.process_time() - cpu
    begun, cpu = time.perf_counter(), time.process_time()
    theirs = EinsteinMSD(universe, select="all", msd_type="xyz", fft=True).run().results.timeseries
    peer, peer_cpu = time.perf_counter() - begun, time.process_time() - cpu
    relative = float(np.abs(ours[1:] / theirs[1:] - 1.0).max())
    absolute = float(np.abs(ours - theirs).max())
    print(f"MSD {n_atoms} x {MSD_FRAMES}, all origins: epilayer {mine:.2f} s (CPU {mine_cpu:.2f}), ", end="")
    print(f"MDAnalysis EinsteinMSD(fft=True) {peer:.2f} s (CPU {peer_cpu:.2f}): {peer / mine:.1f} x")
    print(f"largest difference {absolute:.1e} A^2, {relative:.1e} relative")


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="a folder for the files, kept for the next run")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        reading(options.keep)
    else:
        with tempfile.TemporaryDirectory() as folder:
            reading(Path(folder))
    msd()


if __name__ == "__main__":
    main()
