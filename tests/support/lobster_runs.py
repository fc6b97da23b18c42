"""Runs of LOBSTER, made up: an ether, alone or over an oxide, with the ICOHPs that a test names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Lattice, Molecule, Structure

if TYPE_CHECKING:
    from pathlib import Path

FERMI_ROW, ENERGIES = 4, np.linspace(-2.0, 1.0, 7)


def ether(*, apart_ang: float = 1.41) -> Structure:
    """Return CH3-O-CH2F in a box, one of its C-O bonds as long as told."""
    atoms = Molecule(
        ["C", "O", "C", "H", "H", "H", "H", "H", "F"],
        [
            [-apart_ang, 0.0, 0.0],
            [0.0, 0.0, 0.0],
            [0.5, 1.32, 0.0],
            [-apart_ang - 0.36, 1.03, 0.0],
            [-apart_ang - 0.40, -0.5, 0.89],
            [-apart_ang - 0.40, -0.5, -0.89],
            [1.59, 1.25, 0.0],
            [0.17, 1.86, 0.89],
            [0.08, 2.0, -1.13],
        ],
    )
    return Structure(
        Lattice.cubic(14), atoms.species, np.array(atoms.cart_coords) + 7, coords_are_cartesian=True
    )


def on_magnesia(molecule: Structure, order: list[int]) -> Structure:
    """Return the molecule, its atoms in another order, over four atoms of an oxide."""
    slab = Structure(
        Lattice.cubic(14), ["Mg", "O", "Mg", "O"], [[1, 1, 1], [3, 1, 1], [3, 3, 1], [1, 3, 1]],
        coords_are_cartesian=True,
    )  # fmt: skip
    for k in order:
        slab.append(molecule[k].specie, molecule[k].frac_coords)
    return slab


def lobster(
    folder: Path,
    structure: Structure,
    bonds: list[tuple[int, int, float]],
    *,
    spilling: tuple[str, str] = ("0.80", "0.90"),
    carbon: str = "2s 2p_y 2p_z 2p_x",
) -> Path:
    """Write a whole LOBSTER run: two spins that share each bond's ICOHP equally."""
    folder.mkdir()
    structure.to(filename=str(folder / "CONTCAR"), fmt="poscar")
    names = [f"{s.specie.symbol}{i + 1}" for i, s in enumerate(structure)]
    lengths = [structure.get_distance(i, j) for i, j, _ in bonds]
    table, head, rows = "", ["LOBSTER", "", "Average"], []
    head[1] = f"{len(bonds) + 1:6d} 2 {len(ENERGIES):6d} 1.0 4.0 3.0"
    for spin in (1, 2):
        table += f"  COHP#  atomMU  atomNU  distance  translation  ICOHP (at) eF   for spin  {spin}\n"
        for n, ((i, j, value), length) in enumerate(zip(bonds, lengths, strict=True), start=1):
            table += f"{n:7d} {names[i]:>6} {names[j]:>6} {length:10.5f}   0   0   0 {value / 2:12.5f} \n"
    for n, ((i, j, _), length) in enumerate(zip(bonds, lengths, strict=True), start=1):
        head.append(f"No.{n}:{names[i]}->{names[j]}({length:.5f})")
    for row, energy in enumerate(ENERGIES):
        numbers = [0.0, 0.0]
        for _, _, value in bonds:
            numbers += [value / 4 if row < FERMI_ROW else -value / 8, value / 2 * min(row / FERMI_ROW, 1.0)]
        rows.append(f"{energy:10.5f}" + "".join(f"{x:10.5f}" for x in numbers * 2))
    text = "LOBSTER v4.1.0 (g++ 7.5.0)\nsetting up local basis functions...\n"
    text += f"C (pbeVaspFit2015) {carbon} \nINFO: x\n"
    for spin, one in enumerate(spilling, start=1):
        text += f"spillings for spin channel {spin}\nabs. total  spilling: 6.31%\n"
        text += f"abs. charge spilling: {one}%\n\n"
    (folder / "lobsterout").write_text(text + "finished in 0 h  1 min  8 s  87 ms of wall time\n")
    (folder / "ICOHPLIST.lobster").write_text(table)
    (folder / "COHPCAR.lobster").write_text("\n".join([*head, *rows]) + "\n")
    return folder
