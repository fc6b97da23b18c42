"""Bond strength indices: known order, expected signs, invariances, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Molecule, Structure
from rdkit import Chem
from rdkit.Chem import AllChem
from scipy.spatial.transform import Rotation

from epilayer.engines.xtb.bond_indices import bond_indices
from epilayer.model.bonding import BondIndex, BondMeasure
from epilayer.model.errors import EngineError, InputError, StructureError

pytest.importorskip("tblite", reason="tblite is not installed (pip install 'epilayer[bonding]')")


def molecule(smiles: str) -> Molecule:
    built = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(built, randomSeed=1)
    AllChem.MMFFOptimizeMolecule(built)
    symbols = [atom.GetSymbol() for atom in built.GetAtoms()]
    return Molecule(symbols, built.GetConformer().GetPositions(), charge=Chem.GetFormalCharge(built))


ETHER = molecule("COC")


def first(of: Molecule | Structure, pair: tuple[int, int] = (0, 1), charge_e: int | None = None) -> BondIndex:
    return bond_indices(of, [pair], charge_e=charge_e).bonds[0]


def beyond_the_oxygen(distance_ang: float) -> np.ndarray:
    coords = np.asarray(ETHER.cart_coords)
    out = coords[1] - (coords[0] + coords[2]) / 2
    return coords[1] + distance_ang * out / np.linalg.norm(out)


# GFN1-xTB at MMFF94 geometries: Loewdin index and non-orthogonal Hamilton population, eV. The latter
# depends on the zero of energy; it is shown beside the index for that reason.
KNOWN = {
    "COC": (10.47, 8.69),
    "CO": (10.63, 8.73),
    "OCOCO": (10.64, 9.03),
    "COCCOC": (10.50, 8.70),
    "CC": (9.74, 8.27),
}


@pytest.mark.parametrize("smiles", KNOWN)
def test_bonds_of_small_molecules(smiles: str) -> None:
    found = bond_indices(molecule(smiles), [(0, 1)])
    assert found.measure is BondMeasure.INDEX_GFN1
    assert found.fock_residual_ev < 1e-8
    assert found.fractional_electrons < 1e-9
    bond = found.bonds[0]
    assert (bond.lowdin_ev, bond.nonorthogonal_ev) == pytest.approx(KNOWN[smiles], abs=0.03)
    assert bond.bond_order == pytest.approx(1.0, abs=0.05)


def test_hydrogen_is_one_bond() -> None:
    found = first(Molecule(["H", "H"], [[0, 0, 0], [0, 0, 0.741]]))
    assert found.bond_order == pytest.approx(1.0, abs=1e-9)
    assert found.lowdin_ev == pytest.approx(10.66, abs=0.05)


def test_stretching_the_bond_lowers_the_index_monotonically() -> None:
    coords = np.asarray(ETHER.cart_coords)
    along = (coords[0] - coords[1]) / np.linalg.norm(coords[0] - coords[1])
    methyl = [i for i in range(len(ETHER)) if np.linalg.norm(coords[i] - coords[0]) < 1.3]
    values = []
    for stretch_ang in np.arange(0.0, 1.05, 0.1):
        pulled = ETHER.copy()
        pulled.translate_sites(methyl, stretch_ang * along)
        values.append(first(pulled).lowdin_ev)
    assert np.all(np.diff(values) < 0)
    assert values[-1] < 0.2 * values[0]


def test_what_binds_the_ether_oxygen_weakens_its_bonds_to_carbon() -> None:
    free = first(ETHER).lowdin_ev
    protonated, sodium, vanadium = ETHER.copy(), ETHER.copy(), ETHER.copy()
    protonated.append("H", beyond_the_oxygen(0.98))
    sodium.append("Na", beyond_the_oxygen(2.25))
    centre = beyond_the_oxygen(2.2)
    out = (centre - np.asarray(ETHER.cart_coords)[1]) / 2.2
    side = np.cross(out, [0.3, 0.2, 0.9])
    side /= np.linalg.norm(side)
    vanadium.append("V", centre)
    vanadium.append("O", centre + 1.59 * side)  # VOF3: vanadium(V), d0
    for turn in (np.pi / 2, np.pi, 3 * np.pi / 2):
        away = np.cos(turn) * side + np.sin(turn) * np.cross(out, side)
        vanadium.append("F", centre + 1.66 * away + 0.3 * out)
    assert first(protonated, charge_e=1).lowdin_ev < free
    assert first(sodium, charge_e=1).lowdin_ev < free
    assert first(vanadium).lowdin_ev < free


def test_rotation_translation_and_order_change_nothing() -> None:
    reference = bond_indices(ETHER, [(0, 1), (1, 2), (0, 3)])
    rng = np.random.default_rng(3)
    order = rng.permutation(len(ETHER))
    place = np.argsort(order)
    coords = Rotation.random(random_state=5).apply(np.asarray(ETHER.cart_coords)) + np.array(
        [3.0, -7.0, 11.0]
    )
    moved = Molecule([ETHER[int(i)].specie.symbol for i in order], coords[order])
    found = bond_indices(moved, [(int(place[i]), int(place[j])) for i, j in ((0, 1), (1, 2), (0, 3))])
    for ours, theirs in zip(found.bonds, reference.bonds, strict=True):
        assert ours.lowdin_ev == pytest.approx(theirs.lowdin_ev, abs=1e-6)
        assert ours.nonorthogonal_ev == pytest.approx(theirs.nonorthogonal_ev, abs=1e-6)


def test_a_molecule_alone_in_a_periodic_box_is_the_free_molecule() -> None:
    coords = np.asarray(ETHER.cart_coords) + 10.0
    boxed = Structure(
        Lattice.cubic(20.0), [s.specie.symbol for s in ETHER], coords, coords_are_cartesian=True
    )
    assert first(boxed).lowdin_ev == pytest.approx(first(ETHER).lowdin_ev, abs=0.02)


@pytest.mark.parametrize("pair", [(0, 0), (0, 9), (-1, 2)])
def test_a_bond_that_does_not_exist_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="no pair of atoms"):
        first(ETHER, pair)


def test_cycles_that_do_not_converge_are_refused() -> None:
    with pytest.raises(EngineError, match="did not converge"):
        bond_indices(ETHER, [(0, 1)], max_iterations=2)


def test_atoms_on_top_of_one_another_are_refused() -> None:
    crushed = Molecule(["C", "O", "H"], [[0, 0, 0], [0, 0, 1e-9], [0, 0, 1.0]])
    with pytest.raises(StructureError, match="C0 and O1 are"):
        first(crushed)
