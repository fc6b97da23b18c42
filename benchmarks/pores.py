"""Loaded pores: share of seeds that come out valid, and how long they take, beside packmol.

Every system is MET-6 (360 atoms) + 2 NaFSI + 2 chains. Both sides are judged by the same judge
(``structures.judging``): formula, neutrality, host unmoved, guest bonds kept and none new, heavy-heavy
>= 2.5 A, H-heavy and H-H >= 1.7 A, each Na within 3 A of O, N or F.

packmol (doi 10.1002/jcc.21224) packs rigid molecules: a new conformer of each chain per seed, its usual
tolerance of 2.0 A, periodic cell, host fixed, one minute at most. It is not told where the ions belong, and
knows no force field; so what it leaves is judged twice, as it is and after our own relaxation.

Run: python benchmarks/pores.py [seeds] [first seed] [system ...] [alone]     (alone: without packmol)
Systems: pom15 (the paper's formula, 506 atoms), peo7 (484), peo8 (498), peo15 (596).
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core.structure import Structure

from epilayer.model.errors import StructureError
from epilayer.structures import crystals, molecules, pores
from epilayer.structures.chain_growth import Guest
from epilayer.structures.packing import relax
from epilayer.structures.pore_checks import judge
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEMS = ("pom15", "peo7", "peo8", "peo15")
ANION = "fsi"
PACKMOL_LIMIT_S = 60.0
#: PEO-15 seldom or never fits, and each refusal takes all attempts: fewer of both.
FEW = {"peo15": (2, 12)}


def main() -> None:
    """Print one table: system, side, valid share, median processor time and what failed."""
    arguments = sys.argv[1:]
    numbers = [int(a) for a in arguments if a.isdigit()]
    seeds, first = (numbers + [0] * 2)[:2] if len(numbers) != 1 else (numbers[0], 0)
    seeds = seeds or 5
    systems = [a for a in arguments if not a.isdigit() and a != "alone"] or list(SYSTEMS)
    catalogue = Catalogue((shipped("configs"),))
    host = crystals.framework(catalogue.mof("met6"))
    started = time.process_time()
    framework = pores.Framework(host, "met6")
    print(f"Measuring the empty framework, once: {time.process_time() - started:.1f} s")
    salt = pores.parse_salt("NaFSI:2", {ANION: catalogue.ligand(ANION)})
    print(f"{'system':8}{'atoms':>6}  {'side':22}{'valid':>10}{'median s':>10}{'max s':>8}  first failures")
    for system in systems:
        loads = [*salt, pores.parse_chain(f"{system}:2")]
        most, attempts = FEW.get(system, (seeds, 40))
        chosen = range(first, first + min(seeds, most))
        ours(system, framework, loads, chosen, attempts)
        if packmol_binary() and "alone" not in arguments:
            theirs(system, host, loads, chosen)
    if not packmol_binary() and "alone" not in arguments:
        print("packmol is not installed: pip install packmol")


def packmol_binary() -> str | None:
    """Find packmol on the path or beside this Python."""
    beside = Path(sys.executable).with_name("packmol")
    return shutil.which("packmol") or (str(beside) if beside.exists() else None)


def ours(
    system: str, framework: pores.Framework, loads: Sequence[pores.Load], seeds: Sequence[int], attempts: int
) -> None:
    """Grow, relax and judge."""
    host = framework.structure
    guests = [Guest(entry.ligand) for entry in loads for _ in range(entry.count)]
    atoms = len(host) + sum(len(g.symbols) for g in guests)
    spent, failures = [], []
    for seed in seeds:
        started = time.process_time()
        try:
            made = pores.load(framework, loads, seed=seed, attempts=attempts)
            # Judged once more, from the coordinates alone.
            failures += [c.name for c in judge(made.structure, host, guests) if not c.holds][:1]
        except StructureError as error:
            failures.append(error.remedy.split(". ")[0])
        spent.append(time.process_time() - started)
    line(system, atoms, "epilayer", spent, failures)


def theirs(system: str, host: Structure, loads: Sequence[pores.Load], seeds: Sequence[int]) -> None:
    """Pack rigid conformers with packmol; judge as it is, and relaxed."""
    packed_s, relaxed_s = [], []
    raw_failures, relaxed_failures = [], []
    atoms = 0
    for seed in seeds:
        guests = [Guest(entry.ligand) for entry in loads for _ in range(entry.count)]
        for guest in guests:
            guest.coords = np.asarray(molecules.build(guest.ligand, seed).cart_coords)
        started = time.monotonic()
        coords = packmol(host, guests, seed)
        packed_s.append(time.monotonic() - started)
        if coords is None:
            raw_failures.append("no output in time")
            relaxed_failures.append("no output in time")
            relaxed_s.append(packed_s[-1])
            continue
        atoms = len(host) + sum(map(len, coords))
        raw_failures += verdict(host, guests, np.concatenate(coords))
        began = time.process_time()
        relaxed_failures += verdict(host, guests, relax(host, guests, coords).coords)
        relaxed_s.append(packed_s[-1] + time.process_time() - began)
    line(system, atoms, "packmol", packed_s, raw_failures)
    line(system, atoms, "packmol + our relaxing", relaxed_s, relaxed_failures)


def verdict(host: Structure, guests: Sequence[Guest], coords: np.ndarray) -> list[str]:
    """Name the first check that fails, if one does."""
    structure = Structure(
        host.lattice,
        [site.specie.symbol for site in host] + [s for g in guests for s in g.symbols],
        np.vstack([host.frac_coords, host.lattice.get_fractional_coords(coords)]),
    )
    return [f"{c.name}: {c.found}" for c in judge(structure, host, guests) if not c.holds][:1]


def packmol(host: Structure, guests: Sequence[Guest], seed: int) -> list[np.ndarray] | None:
    """Run packmol and return each guest's coordinates."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        box = " ".join(f"{length:.6f}" for length in host.lattice.abc)
        inside = host.copy()
        inside.translate_sites(range(len(inside)), [0, 0, 0], to_unit_cell=True)
        text = ["tolerance 2.0", "filetype xyz", "output out.xyz", f"seed {seed + 1}", f"pbc {box}"]
        write_xyz(folder / "host.xyz", [s.specie.symbol for s in inside], inside.cart_coords)
        text += ["structure host.xyz", "  number 1", "  fixed 0. 0. 0. 0. 0. 0.", "end structure"]
        for number, guest in enumerate(guests):
            write_xyz(folder / f"{number}.xyz", guest.symbols, guest.coords)
            text += [f"structure {number}.xyz", "  number 1", "end structure"]
        (folder / "pack.inp").write_text("\n".join(text) + "\n", encoding="utf-8")
        # packmol reads its input twice: it wants a file there, not a pipe.
        with contextlib.suppress(subprocess.TimeoutExpired), (folder / "pack.inp").open() as given:
            subprocess.run(
                [packmol_binary() or "packmol"],
                stdin=given,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=PACKMOL_LIMIT_S,
                check=False,
            )
        found = next((folder / f for f in ("out.xyz", "out.xyz_FORCED") if (folder / f).is_file()), None)
        if found is None:
            return None
        rows = [row.split() for row in found.read_text().splitlines()[2:]]
        coords = np.array([[float(x) for x in row[1:4]] for row in rows if row])[len(host) :]
    ends = np.cumsum([len(g.symbols) for g in guests])[:-1]
    return np.split(coords, ends)


def write_xyz(path: Path, symbols: Sequence[str], coords: np.ndarray) -> None:
    """Write one molecule."""
    rows = [f"{s} {x:.8f} {y:.8f} {z:.8f}" for s, (x, y, z) in zip(symbols, coords, strict=True)]
    path.write_text("\n".join([str(len(rows)), "", *rows]) + "\n", encoding="utf-8")


def line(system: str, atoms: int, side: str, spent_s: Sequence[float], failures: Sequence[str]) -> None:
    """Print one row."""
    valid, count = len(spent_s) - len(failures), len(spent_s)
    share = f"{valid}/{count}"
    told = "; ".join(dict.fromkeys(failures[:2]))
    times = f"{statistics.median(spent_s):10.1f}{max(spent_s):8.1f}"
    print(f"{system:8}{atoms:6d}  {side:22}{share:>10}{times}  {told}", flush=True)


if __name__ == "__main__":
    main()
