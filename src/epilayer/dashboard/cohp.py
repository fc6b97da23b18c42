"""COHP curves of a study of bonds: the weakest of the backbone, in the free molecule and on the surface."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from epilayer.dashboard.curves import Curve
from epilayer.model.errors import StoreError
from epilayer.model.files import sha256_file
from epilayer.outputs.lobster.cohpcar import read_cohpcar
from epilayer.outputs.vasp.poscar import file_order
from epilayer.report import bonding
from epilayer.report.tables import ev

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from epilayer.model.bonding import BondStudy
    from epilayer.model.cohp import Bonding, BondResult

_MOST_PANELS: Final = 3
_FILE: Final = "COHPCAR.lobster"
#: A single point has the atoms where the relaxation left them, to the digits of a CONTCAR.
_SAME: Final = 1e-4


def cohp_curves(
    record: BondStudy, measured: Sequence[Bonding], find: Callable[[str], Path | None]
) -> dict[str, Curve]:
    """Return the COHP figures of the free molecule and of the orientation that weakens a bond most.

    Parameters
    ----------
    measured
        The LOBSTER runs behind the study.
    find
        Returns the file of the study that a path names; ``None`` where there is none.
    """
    one = bonding.telling_orientation(record)
    if one is None:
        return {}
    heavy = sorted(
        (b for b in one.bonds if "H" not in b.elements),
        key=lambda b: -2.0 if b.change_ratio is None else b.change_ratio,
    )
    chosen = [b.name for b in heavy[:_MOST_PANELS]]
    n_molecule = 1 + max((max(b.atoms) for b in one.bonds), default=-1)
    runs = {
        "free molecule": next((r for r in measured if len(r.structure) == n_molecule), None),
        one.label: next((r for r in measured if _same(r.structure, one.structure)), None),
    }
    curves = {}
    for number, (place, run) in enumerate(runs.items()):
        bonds = [] if run is None else [b for b in run.bonds if b.name in chosen and b.icohp_ev is not None]
        if run is not None and bonds:
            curves[f"cohp-{number}"] = Curve(
                f"COHP: {place}", _words(bonds, place), partial(_draw, run, bonds, find), wide=len(bonds) > 1
            )
    return curves


def _same(first: Structure, second: Structure) -> bool:
    if [s.specie for s in first] != [s.specie for s in second]:
        return False
    apart = np.asarray(first.frac_coords) - second.frac_coords
    return bool(np.abs(apart - np.round(apart)).max(initial=0.0) < _SAME)


def _words(bonds: Sequence[BondResult], place: str) -> str:
    said = "; ".join(f"{b.name} {ev(-(b.icohp_ev or 0.0), signed=False)} eV" for b in bonds)
    return (
        f"\N{MINUS SIGN}COHP of each bond against the energy, by spin, and its running integral; bonding "
        f"states at the right. \N{MINUS SIGN}ICOHP up to the Fermi level, {place}: {said}."
    )


def _draw(run: Bonding, bonds: Sequence[BondResult], find: Callable[[str], Path | None]) -> bytes:
    """Draw the curves from the file, if it is the one that the record was made of."""
    where = f"{run.provenance.run_directory}/{_FILE}"
    path = find(where)
    if path is None:
        raise StoreError(f"{where} is gone.", "Restore it, or run the job again.")
    if sha256_file(path) != run.provenance.files.get(_FILE):
        raise StoreError(f"{where} is not the file that was written (its SHA-256 differs).", "Restore it.")
    at = {
        atom: f"{run.structure[atom].specie.symbol}{n}" for n, atom in enumerate(file_order(run.structure), 1)
    }
    pairs = ["-".join(at[atom] for atom in bond.atoms) for bond in bonds]
    read = read_cohpcar(path, pairs)
    found = []
    for bond in bonds:
        ends = {at[atom] for atom in bond.atoms}
        mine = [c for c in read.curves.values() if {c.bond.atom_1, c.bond.atom_2} == ends]
        nearest = min(mine, key=lambda c: abs(c.bond.length_ang - bond.length_ang))
        found.append(
            bonding.Curve(
                f"{bond.name}, {bond.length_ang:.2f} Å",
                nearest.per_spin,
                nearest.integrated_per_spin,
                bond.icohp_ev or 0.0,
            )
        )
    return bonding.cohp_figure(read.energies_ev, found, title=run.method)
