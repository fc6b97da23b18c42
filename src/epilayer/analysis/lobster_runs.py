"""LOBSTER directories of any origin: the status of a run, and the same bond in two of them."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from pymatgen.core import Molecule

from epilayer.analysis.bonding import BONDED_SCALE
from epilayer.analysis.mapping import map_molecule
from epilayer.analysis.shapes import components, whole_molecule
from epilayer.model.cohp import MappedChange, MappedChanges, OpenBond, RunReport, RunVerdict
from epilayer.model.covalent import bonded_pairs
from epilayer.model.errors import InputError, StructureError
from epilayer.model.imported import Agreement, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from epilayer.model.imported import BondingImport, BondIntegral, ImportedCalculation

#: LOBSTER prints lengths with five decimals; a single point has the atoms where the relaxation left them.
SAME_GEOMETRY_ANG: Final = 0.01
_FARTHEST_IMAGE: Final = 2


def bonding_of(record: ImportedCalculation) -> BondingImport:
    """Return what a run holds, or refuse it in one line where its files cannot be read for a number.

    Raises
    ------
    InputError
        If the run crashed or did not finish, or its files are half-written, damaged, lack a spin channel,
        disagree, or state a spilling that is no number.
    """
    # Spilling above the limit is a result about the run; it is reported, and the integrals withheld.
    stops = [
        r
        for r in record.reasons
        if r.severity is not Severity.NOTE and r.code is not Finding.SPILLING_ABOVE_LIMIT
    ]
    if stops or record.bonding is None:
        worst = min(stops, key=lambda r: r.severity is not Severity.FATAL, default=None)
        what = worst.what.rstrip(".") if worst else "it holds no LOBSTER run"
        remedy = worst.remedy if worst else "Give the directory in which LOBSTER ran."
        # The message may name the file already.
        named = what if record.path in what else f"{record.path}: {what}"
        raise InputError(f"{named}.", remedy)
    return record.bonding


def assess_run(
    record: ImportedCalculation, chosen: Sequence[BondIntegral], structure_checked: str | None
) -> RunReport:
    """Return the report on chosen bonds of a run that :func:`bonding_of` accepts."""
    found = bonding_of(record)
    reasons = [r for r in record.reasons if r.code is not Finding.STAND_IN]
    verdict = RunVerdict.CERTIFIED
    if found.spilling_passes is False or not found.icohp_ev:
        verdict = RunVerdict.REFUSED
    elif found.spilling_passes is None:
        verdict = RunVerdict.UNVERIFIED
    refused = verdict is RunVerdict.REFUSED
    return RunReport(
        directory=record.path,
        program=record.program,
        stand_in=record.stand_in,
        basis=found.basis,
        spilling=found.spilling,
        spilling_limit_percent=found.spilling_limit_percent,
        spilling_passes=found.spilling_passes,
        verdict=verdict,
        reasons=tuple(reasons),
        bonds=() if refused else tuple(chosen),
        refused_bonds=tuple((name_of(b), b.length_ang) for b in chosen) if refused else (),
        listed=len(found.icohp_ev),
        two_files_agree=record.agreement is Agreement.AGREE,
        structure_checked=structure_checked,
    )


def name_of(bond: BondIntegral) -> str:
    """Return a bond's name by its atoms, such as ``C3-O17``."""
    return f"{bond.atom_1}-{bond.atom_2}"


def atoms_of(bond: BondIntegral) -> tuple[int, int]:
    """Return a bond's atoms, counted from 0."""
    return _number(bond.atom_1) - 1, _number(bond.atom_2) - 1


def between(bonds: Sequence[BondIntegral], first: int, second: int) -> tuple[BondIntegral, ...]:
    """Return the bonds between two atoms, counted from 1 as in LOBSTER's own names."""
    return tuple(b for b in bonds if sorted(map(_number, (b.atom_1, b.atom_2))) == sorted((first, second)))


def _number(atom: str) -> int:
    found = re.search(r"\d+$", atom)
    return int(found[0]) if found else 0


def check_lengths(bonds: Sequence[BondIntegral], structure: Structure, name: str) -> None:
    """Refuse a structure in which the bonds of a run do not have the lengths that LOBSTER lists.

    Raises
    ------
    InputError
        Naming the first bond that differs.
    """
    shifts = np.array(list(product(range(-_FARTHEST_IMAGE, _FARTHEST_IMAGE + 1), repeat=3)))
    matrix = np.asarray(structure.lattice.matrix)
    for bond in bonds:
        ends = atoms_of(bond)
        fits = all(
            0 <= k < len(structure) and f"{structure[k].specie.symbol}{k + 1}" == atom
            for k, atom in zip(ends, (bond.atom_1, bond.atom_2), strict=True)
        )
        if not fits:
            raise InputError(
                f"LOBSTER ran on another structure than {name}: {name_of(bond)} is not in it.",
                "Give the structure that was computed, or run LOBSTER on this one.",
            )
        apart = structure[ends[1]].frac_coords - structure[ends[0]].frac_coords
        lengths_ang = np.linalg.norm((apart - np.round(apart) + shifts) @ matrix, axis=1)
        nearest_ang = float(lengths_ang[np.argmin(np.abs(lengths_ang - bond.length_ang))])
        if abs(nearest_ang - bond.length_ang) > SAME_GEOMETRY_ANG:
            raise InputError(
                f"LOBSTER ran on another structure than {name}: {name_of(bond)} is {bond.length_ang:.3f} A "
                f"in its list, {nearest_ang:.3f} A there.",
                "Run the single point and LOBSTER on the relaxed structure.",
            )


def check_same(ran: Structure, relaxed: Structure, name: str) -> None:
    """Refuse a run whose structure is not the relaxed one: cell, order of the atoms and places.

    Raises
    ------
    InputError
        Naming what differs most.
    """
    remedy = "Run the single point and LOBSTER on the relaxed structure."
    if [str(s.specie.symbol) for s in ran] != [str(s.specie.symbol) for s in relaxed]:
        raise InputError(
            f"LOBSTER ran on {ran.composition.formula}, {name} is {relaxed.composition.formula}, "
            "or the order of their atoms differs.",
            remedy,
        )
    cells_ang = float(np.abs(np.asarray(ran.lattice.matrix) - relaxed.lattice.matrix).max())
    if cells_ang > SAME_GEOMETRY_ANG:
        raise InputError(f"LOBSTER ran in another cell than that of {name} ({cells_ang:.3f} A off).", remedy)
    apart = np.asarray(ran.frac_coords) - relaxed.frac_coords
    moved_ang = np.linalg.norm((apart - np.round(apart)) @ relaxed.lattice.matrix, axis=1)
    worst = int(np.argmax(moved_ang))
    if moved_ang[worst] > SAME_GEOMETRY_ANG:
        raise InputError(
            f"LOBSTER ran on another structure than {name}: {relaxed[worst].specie.symbol}{worst + 1} "
            f"is {moved_ang[worst]:.3f} A away.",
            remedy,
        )


def find_molecule(structure: Structure, free: Structure) -> tuple[int, ...]:
    """Return the atoms of the one molecule in a structure that has the free molecule's formula.

    Raises
    ------
    StructureError
        If there is none, or more than one.
    """
    wanted = sorted(str(s.specie.symbol) for s in free)
    light = [i for i, s in enumerate(structure) if not s.specie.is_metal]
    bonds = bonded_pairs(structure.__class__.from_sites([structure[i] for i in light]))
    pieces = [sorted(light[k] for k in piece) for piece in components(range(len(light)), bonds)]
    hits = [p for p in pieces if sorted(str(structure[i].specie.symbol) for i in p) == wanted]
    if len(hits) == 1:
        return tuple(hits[0])
    many = f"{len(hits)} molecules" if hits else "no molecule in one piece"
    raise StructureError(
        f"{structure.composition.reduced_formula} holds {many} of the formula "
        f"{free.composition.formula.replace(' ', '')}.",
        "Name its atoms, counted from 1: --molecule 145-160.",
    )


def _molecule(structure: Structure, atoms: Sequence[int]) -> Molecule:
    """Return some atoms in one piece, bonded to each other or not."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    part = structure.__class__.from_sites([structure[i] for i in atoms])
    tree = minimum_spanning_tree(np.asarray(part.distance_matrix)).tocoo()
    links = [(int(i), int(j)) for i, j in zip(tree.row, tree.col, strict=True)]
    return Molecule([s.specie.symbol for s in part], whole_molecule(part, links))


def compare_runs(
    free: RunReport,
    free_structure: Structure,
    adsorbed: RunReport,
    adsorbed_structure: Structure,
    listed: Sequence[BondIntegral],
    atoms: Sequence[int] | None = None,
) -> MappedChanges:
    """Compare bonds of a free molecule with the same, atom-mapped, bonds in a structure that holds it.

    A bond that maps equally well to another one is named, and the others are compared.

    Parameters
    ----------
    free, adsorbed
        Reports on the two runs; the bonds of ``free`` that are bonds in its structure are compared.
    listed
        Every bond in the list of the adsorbed run.
    atoms
        Of the molecule in ``adsorbed_structure``, counted from 0; found by its formula when left out.

    Raises
    ------
    InputError
        If the free run is refused, holds no bond, or was projected on other functions.
    StructureError
        If the molecule is not found, or none of its bonds can be mapped.
    """
    if free.verdict is RunVerdict.REFUSED:
        raise InputError(
            f"{free.directory} is refused: {'; '.join(r.what for r in free.reasons)}.",
            "A change needs a valid run of the free molecule; run LOBSTER with a better basis.",
        )
    for element, functions in free.basis.items():
        other = adsorbed.basis.get(element, functions)
        if other != functions:
            raise InputError(
                f"{element} was projected on '{functions}' in {free.directory}, "
                f"on '{other}' in {adsorbed.directory}.",
                "Use the same POTCARs, basisSet and basisFunctions in both; only then are they comparable.",
            )
    chosen = find_molecule(adsorbed_structure, free_structure) if atoms is None else tuple(atoms)
    molecule = _molecule(free_structure, range(len(free_structure)))
    there = _molecule(adsorbed_structure, chosen)
    mapped = map_molecule(molecule, there)
    bonded = {tuple(sorted(b)) for b in bonded_pairs(molecule)}
    changes: list[MappedChange] = []
    open_bonds: list[OpenBond] = []
    for bond in free.bonds:
        i, j = atoms_of(bond)
        direct_ang = float(molecule.get_distance(i, j)) if i != j else 0.0
        if tuple(sorted((i, j))) not in bonded or abs(direct_ang - bond.length_ang) > SAME_GEOMETRY_ANG:
            continue
        pair = mapped.bond(i, j)
        if pair is None:
            open_bonds.append(
                OpenBond(name=name_of(bond), atoms=(i, j), free_ang=direct_ang, free_ev=-bond.summed)
            )
            continue
        there_pair = (chosen[pair[0]], chosen[pair[1]])
        changes.append(_change(bond, (i, j), there_pair, adsorbed, adsorbed_structure, listed))
    if not changes and open_bonds:
        raise StructureError(
            f"No bond of {free.directory} can be distinguished from others in {adsorbed.directory}: "
            f"{', '.join(b.name for b in open_bonds)}.",
            "Give both structures with the atoms in one order, or an earlier frame of the relaxation.",
        )
    if not changes:
        raise InputError(
            f"{free.directory} lists no bond of the molecule among those chosen.",
            "Name bonds of the free molecule (--bonds C-O), or let LOBSTER integrate them.",
        )
    return MappedChanges(changes=tuple(changes), open_bonds=tuple(open_bonds))


def _change(
    bond: BondIntegral,
    atoms: tuple[int, int],
    there: tuple[int, int],
    adsorbed: RunReport,
    structure: Structure,
    listed: Sequence[BondIntegral],
) -> MappedChange:
    length_ang = float(structure.get_distance(*there))
    elements = (str(structure[there[0]].specie.symbol), str(structure[there[1]].specie.symbol))
    intact = length_ang < BONDED_SCALE * sum(float(covalent_radii[atomic_numbers[e]]) for e in elements)
    hits = [
        b
        for b in between(listed, there[0] + 1, there[1] + 1)
        if abs(b.length_ang - length_ang) < SAME_GEOMETRY_ANG
    ]
    note, after = "", None
    if not intact:
        note = "broken"
    elif adsorbed.verdict is RunVerdict.REFUSED:
        note = "the run is refused"
    elif not hits:
        note = "not listed"
    else:
        after = -hits[0].summed
    before = -bond.summed
    return MappedChange(
        name=name_of(bond),
        atoms=atoms,
        elements=elements,
        free_ang=bond.length_ang,
        adsorbed_ang=length_ang,
        free_ev=before,
        adsorbed_ev=after,
        change_ratio=None if after is None or before == 0 else after / before - 1.0,
        intact=intact,
        adsorbed_atoms=there,
        note=note,
    )
