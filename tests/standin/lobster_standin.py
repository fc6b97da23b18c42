#!/usr/bin/env python3
"""A stand-in for LOBSTER: reads and checks its inputs, and writes its outputs with made-up numbers.

It projects nothing, and everything it writes says so. Environment:

``LOBSTER_STANDIN_FAULT``
    ``few_bands`` (asks for 8 more), ``crash``, ``unfinished``, ``spilling``, ``spilling_2`` (second spin
    alone), ``truncated`` (ICOHPLIST), ``silent`` (writes nothing).
``LOBSTER_STANDIN_ONCE``
    A file: the fault strikes the first run that can create it, and no other.
"""

# ruff: noqa: E501, T201, ANN001, ANN201
# A program and no part of the package: it prints, and it writes LOBSTER's fixed columns.
from __future__ import annotations

import os
import re
import signal
import struct
import sys
from pathlib import Path

import numpy as np

LABEL = "STAND-IN (not LOBSTER; no number here is an ICOHP)"
SHELLS = {"s": 1, "p": 3, "d": 5, "f": 7}
FLAGS = {"skippopulationanalysis", "skipgrosspopulation", "skipmadelungenergy", "skipdos", "skipcobi"}
NEEDED = ("WAVECAR", "vasprun.xml", "OUTCAR", "INCAR", "KPOINTS", "POSCAR", "POTCAR")
STEP_EV, FERMI_EV = 0.1, 1.25
FINISHED = (
    "finished in 0 h  0 min  1 s  10 ms of wall time\n            0 h  0 min  1 s  10 ms of user time\n"
)


class RefusedError(Exception):
    """An input does not say what LOBSTER would need."""


def main() -> int:
    fault = strikes()
    if fault == "silent":
        return 1
    print(
        f"LOBSTER v5.1.0 {LABEL}\nstarting on host stand-in using 1 threads\ndetecting used PAW program... VASP"
    )
    try:
        inputs = read_inputs(Path.cwd())
    except RefusedError as problem:
        print(f"ERROR: STAND-IN REFUSES: {problem}", flush=True)
        return 1
    return run(Path.cwd(), *inputs, fault)


def strikes() -> str:
    fault = os.environ.get("LOBSTER_STANDIN_FAULT", "")
    once = os.environ.get("LOBSTER_STANDIN_ONCE")
    if fault and once:
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return ""
    return fault


def read_inputs(here: Path):
    for name in NEEDED:
        if not (here / name).is_file() or not (here / name).stat().st_size:
            raise RefusedError(f"there is no {name}, or it is empty")
    if "gamma-only" in (here / "OUTCAR").read_text(encoding="utf-8").split("\n", 1)[0]:
        raise RefusedError("the orbitals are of a Gamma-only VASP")
    tags = {}
    for line in (here / "INCAR").read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals:
            tags[name.strip()] = value.strip()
    if tags.get("ISYM") not in ("0", "-1"):
        raise RefusedError(f"ISYM = {tags.get('ISYM')}: the whole Brillouin zone is needed")
    if tags.get("NSW", "0") != "0":
        raise RefusedError("the orbitals are not of a single point")
    lines = (here / "POSCAR").read_text(encoding="utf-8").splitlines()
    cell = float(lines[1]) * np.array([line.split()[:3] for line in lines[2:5]], dtype=float)
    symbols, counts = lines[5].split(), [int(word) for word in lines[6].split()]
    first = 8 + (lines[7].strip()[:1].upper() == "S")
    frac = np.array([line.split()[:3] for line in lines[first : first + sum(counts)]], dtype=float)
    elements = [s for s, n in zip(symbols, counts, strict=True) for _ in range(n)]
    basis, pairs, window = read_lobsterin((here / "lobsterin").read_text(encoding="utf-8"))
    if set(basis) != set(symbols):
        raise RefusedError(f"basisFunctions for {sorted(basis)}, the structure has {sorted(symbols)}")
    if any(not 0 <= k < len(elements) for pair in pairs for k in pair):
        raise RefusedError("cohpbetween names an atom that is not there")
    with (here / "WAVECAR").open("rb") as stream:
        length, spins, _ = struct.unpack("<3d", stream.read(24))
        stream.seek(int(length))
        bands = int(struct.unpack("<2d", stream.read(16))[1])
    return cell, elements, frac, basis, pairs, window, int(spins), bands


def read_lobsterin(text: str):
    basis: dict[str, list[str]] = {}
    pairs: list[tuple[int, int]] = []
    said: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        words = line.split()
        keyword = words[0].lower()
        if keyword == "basisfunctions":
            basis[words[1]] = words[2:]
        elif keyword == "cohpbetween":
            found = re.fullmatch(r"(?i)cohpbetween atom (\d+) (?:and )?atom (\d+)", line.strip())
            if found is None:
                raise RefusedError(f"cannot read {line!r}")
            pairs.append((int(found[1]) - 1, int(found[2]) - 1))
        elif keyword in ("cohpstartenergy", "cohpendenergy", "basisset") or keyword in FLAGS:
            said[keyword] = " ".join(words[1:])
        else:
            raise RefusedError(f"unknown or unwanted keyword {words[0]}")
    if not pairs or not basis or said.get("basisset") != "pbeVaspFit2015":
        raise RefusedError("bonds, basis functions or basisSet are not stated")
    return basis, pairs, (float(said["cohpstartenergy"]), float(said["cohpendenergy"]))


def run(here: Path, cell, elements, frac, basis, pairs, window, spins: int, bands: int, fault: str) -> int:
    count = sum(SHELLS[shell[-1]] for element in elements for shell in basis[element])
    needed = bands + 8 if fault == "few_bands" else count
    print("initializing LCAO system...\nsetting up local basis functions...")
    for element, shells in basis.items():
        print(f"{element:>2} (pbeVaspFit2015) {' '.join(shells)} ")
    if bands < needed:
        print("WARNING: You are employing too few bands in your PAW calculation. To reconstruct")
        print("WARNING: the Hamilton matrix in the local basis, you need to use at least")
        print(f"WARNING: {needed} bands. pCOHP analyses will be disabled. Please check the manual!")
    elif bands > count:
        print("INFO: There are more PAW bands than local basis functions available.")
        print("INFO: To prevent trouble in orthonormalization and Hamiltonian reconstruction")
        print(f"INFO: the PAW bands from {count + 1} and upwards will be ignored.")
    print(f"setting up CO interactions... found {len(pairs)} interactions.\nprojecting...", flush=True)
    if fault == "crash":
        sys.stderr.write("Segmentation fault (core dumped)\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSEGV)
    for spin in (1, 2):
        bad = fault == "spilling" or (fault == "spilling_2" and spin == 2)
        print(
            f"spillings for spin channel {spin}\nabs. total  spilling:   9.99%\nabs. charge spilling:   {7.28 if bad else 1.11:.2f}%\n"
        )
    bonds = [made_up(cell, elements, frac, i, j, spins) for i, j in pairs]
    write_list(
        here / "ICOOPLIST.lobster", "COOP", [(*b[:4], [-0.04 * x for x in b[4]]) for b in bonds], fault=""
    )
    print("writing COOPCAR.lobster and ICOOPLIST.lobster...")
    if bands >= needed:
        write_list(here / "ICOHPLIST.lobster", "COHP", bonds, fault)
        write_curves(here / "COHPCAR.lobster", bonds, window, spins)
        print("writing COHPCAR.lobster and ICOHPLIST.lobster...")
    if fault == "unfinished":
        return 1
    print(FINISHED, flush=True)
    return 0


def made_up(cell, elements, frac, i: int, j: int, spins: int):
    """A length that is true and an integral that is not: it falls off with the length."""
    shifts = [np.array(s) for s in np.ndindex(3, 3, 3)]
    steps = [(float(np.linalg.norm((frac[j] - frac[i] + s - 1) @ cell)), s - 1) for s in shifts]
    length, shift = min(steps, key=lambda one: one[0])
    total = -10.0 * np.exp(-(length - 1.4) / 0.35)
    share = [0.5, 0.5] if spins == 2 else [1.0]
    return (
        f"{elements[i]}{i + 1}",
        f"{elements[j]}{j + 1}",
        length,
        shift,
        [round(total * x, 5) for x in share],
    )


def write_list(path: Path, what: str, bonds, fault: str) -> None:
    text = ""
    for spin in range(len(bonds[0][4])):
        text += f"  {what}#       atomMU       atomNU     distance     translation      I{what} (at) eF   for spin  {spin + 1}\n"
        for k, (one, two, length, shift, values) in enumerate(bonds, start=1):
            cells = "".join(f"{int(x):4d}" for x in shift)
            text += f"{k:7d} {one:>12} {two:>12} {length:12.5f} {cells} {values[spin]:18.5f} \n"
    path.write_text(text[: len(text) * 2 // 3] if fault == "truncated" else text, encoding="utf-8")


def write_curves(path: Path, bonds, window, spins: int) -> None:
    """A box below the Fermi level whose integral ends at the value of the list."""
    low, high = window
    grid = np.round(np.arange(low, high + STEP_EV / 2, STEP_EV), 5)
    entries = len(bonds) + 1
    head = f"ESCALE ; pCOHP file of a {LABEL}\n{entries:10d} {spins:10d} {len(grid):10d} {low + FERMI_EV:13.5e} {high + FERMI_EV:13.5e} {FERMI_EV:13.5e} \n"
    head += "Average\n" + "".join(
        f"No.{k}:{b[0]}->{b[1]}({b[2]:.10f})\n" for k, b in enumerate(bonds, start=1)
    )
    rows = []
    for energy in grid:
        share = float(np.clip((energy + 5.0) / 5.0, 0.0, 1.0))
        row = [energy]
        for spin in range(spins):
            values = [b[4][spin] for b in bonds]
            for value in (float(np.mean(values)), *values):
                row += [
                    value / 5.0 if -5.0 <= energy <= 0.0 else 0.0,
                    value if energy >= 0.0 else value * share,
                ]
        rows.append(" ".join(f"{x:9.5f}" for x in row) + " \n")
    path.write_text(head + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
