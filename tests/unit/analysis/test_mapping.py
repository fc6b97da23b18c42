"""The same bond before and after: permuted, rotated, distorted, broken, transferred."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Molecule
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula
from scipy.spatial.transform import Rotation

from epilayer.analysis.mapping import AtomMap, map_molecule
from epilayer.model.covalent import bonded_pairs
from epilayer.model.errors import StructureError
from epilayer.model.ligand import Ligand
from epilayer.structures import molecules

SMILES = {
    "dimethyl ether": "COC",
    "dimethoxymethane": "COCOC",
    "1,2-dimethoxyethane": "COCCOC",
    "triglyme": "COCCOCCOCCOC",
    "polyoxymethylene, 4 units": "OCOCOCOCO",
    "triazole": "c1c[nH]nn1",
    "2-methylimidazole": "Cc1ncc[nH]1",
    "FSI": "O=S(=O)(F)[N-]S(=O)(=O)F",
}


def build(name: str) -> Molecule:
    charge = -1 if name == "FSI" else 0
    text = f"{name} of the tests, typed in as SMILES"
    formula = CalcMolFormula(Chem.AddHs(Chem.MolFromSmiles(SMILES[name]))).rstrip("-")
    return molecules.build(Ligand(name="x", formula=formula, smiles=SMILES[name], charge=charge, source=text))


FREE = {name: build(name) for name in SMILES}


def moved(free: Molecule, rng: np.random.Generator, noise_ang: float) -> tuple[Molecule, np.ndarray]:
    """Return the molecule rotated, shifted, distorted and with its atoms in another order; and that order."""
    coords = Rotation.random(random_state=int(rng.integers(2**31))).apply(np.asarray(free.cart_coords))
    coords = coords + rng.normal(0, noise_ang, coords.shape) + rng.normal(0, 5, 3)
    order = rng.permutation(len(free))
    species = [free[int(i)].specie.symbol for i in order]
    place = np.argsort(order)  # place[i]: where atom i of the free molecule went
    return Molecule(species, coords[order], charge=free.charge), place


def pull(molecule: Molecule, place: np.ndarray, bond: tuple[int, int], free: Molecule) -> None:
    """Break a bond by moving the smaller side away."""
    first, second = bond
    side, queue = {second}, [second]
    links = [b for b in bonded_pairs(free) if set(b) != set(bond)]
    while queue:
        here = queue.pop()
        for i, j in links:
            for a, b in ((i, j), (j, i)):
                if a == here and b not in side:
                    side.add(b)
                    queue.append(b)
    if first in side:
        pytest.skip("a ring bond does not part the molecule")
    away = molecule[int(place[second])].coords - molecule[int(place[first])].coords
    molecule.translate_sites([int(place[i]) for i in side], 1.5 * away / np.linalg.norm(away))


def is_right(free: Molecule, place: np.ndarray, pair: tuple[int, int], bond: tuple[int, int]) -> bool:
    """Tell whether the mapped pair is the bond, or one that the free molecule's symmetry makes the same."""
    if set(pair) == {int(place[bond[0]]), int(place[bond[1]])}:
        return True
    back = np.argsort(place)
    rival = tuple(int(back[a]) for a in pair)
    distances = np.asarray(free.distance_matrix)
    kinds = np.array([site.specie.Z for site in free])

    def fingerprint(b: tuple[int, int]) -> list[tuple[int, float, float]]:
        return sorted(
            (int(z), *sorted((distances[b[0], k], distances[b[1], k]))) for k, z in enumerate(kinds) if z > 1
        )

    same = np.allclose(np.array(fingerprint(bond)), np.array(fingerprint(rival)), atol=0.1)
    return bool(same) and {kinds[i] for i in bond} == {kinds[i] for i in rival}


@pytest.mark.parametrize("name", SMILES)
def test_permuted_rotated_and_distorted_molecules_map_to_the_same_bonds(name: str) -> None:
    free = FREE[name]
    rng = np.random.default_rng(len(name))
    told = 0
    for _ in range(32):
        other, place = moved(free, rng, 0.02)
        found = map_molecule(free, other)
        assert not found.broken
        assert not found.formed
        for bond in bonded_pairs(free):
            pair = found.bond(*bond)
            if pair is not None:
                told += 1
                assert is_right(free, place, pair, bond)
    assert told > 0.9 * 32 * len(bonded_pairs(free))


@pytest.mark.parametrize("name", SMILES)
def test_with_a_broken_bond_every_other_is_found_or_said_to_be_open(name: str) -> None:
    free = FREE[name]
    rng = np.random.default_rng(100 + len(name))
    rings = {"triazole", "2-methylimidazole"}
    bonds = [b for b in bonded_pairs(free) if name not in rings or "H" in {free[i].specie.symbol for i in b}]
    named = told = 0
    for _ in range(32):
        other, place = moved(free, rng, 0.02)
        broken = bonds[int(rng.integers(len(bonds)))]
        pull(other, place, broken, free)
        found = map_molecule(free, other)
        (lost,) = found.broken
        for bond in bonded_pairs(free):
            pair = found.bond(*bond)
            if pair is None:
                continue
            told += 1
            assert is_right(free, place, pair, broken if bond == lost else bond)
            named += bond == lost
    assert named >= 16
    assert told > 0.5 * 32 * len(bonded_pairs(free))


def test_where_the_ends_of_a_molecule_cannot_be_told_apart_its_middle_still_can() -> None:
    """O-C-C-O, and as good the other way round: the bond in the middle is itself either way."""
    found = AtomMap(atoms=(0, 1, 2, 3), broken=(), formed=(), rivals=((3, 2, 1, 0),))
    assert found.bond(1, 2) == (1, 2)
    assert found.bond(0, 1) is None
    assert found.bond(2, 3) is None


def test_a_hydrogen_that_moved_within_the_molecule_is_one_bond_broken_and_one_formed() -> None:
    free = FREE["triazole"]
    coords = np.asarray(free.cart_coords).copy()
    symbols = [s.specie.symbol for s in free]
    bonds = bonded_pairs(free)
    donor, hydrogen = next(
        (a, b) for bond in bonds for a, b in (bond, bond[::-1]) if symbols[a] == "N" and symbols[b] == "H"
    )
    bare = [i for i, s in enumerate(symbols) if s == "N" and i != donor]
    middle = min(bare, key=lambda i: np.linalg.norm(coords[i] - coords[donor]))
    ring = [i for i, s in enumerate(symbols) if s != "H"]
    out = coords[middle] - coords[ring].mean(axis=0)
    coords[hydrogen] = coords[middle] + 1.02 * out / np.linalg.norm(out)
    found = map_molecule(free, Molecule(symbols, coords))
    assert [set(b) for b in found.broken] == [{donor, hydrogen}]
    assert [set(b) for b in found.formed] == [{middle, hydrogen}]


def test_different_molecules_are_refused_by_name() -> None:
    with pytest.raises(StructureError, match="atoms differ"):
        map_molecule(FREE["dimethyl ether"], FREE["FSI"])


def test_a_molecule_in_pieces_is_refused() -> None:
    free = FREE["1,2-dimethoxyethane"]
    scattered = Molecule(
        [s.specie.symbol for s in free], np.random.default_rng(0).uniform(0, 60, (len(free), 3))
    )
    with pytest.raises(StructureError, match="more than 2 bonds"):
        map_molecule(free, scattered)
