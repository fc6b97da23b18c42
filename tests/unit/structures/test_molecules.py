"""Ligands as data and the molecules built from them."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from epilayer.model.base import parse
from epilayer.model.errors import InputError, StructureError
from epilayer.model.ligand import AnchorKind, Ligand, inline_files, parse_formula
from epilayer.structures import molecules

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "configs" / "ligands").glob("*.yaml"))


def load(name: str) -> Ligand:
    path = ROOT / "configs" / "ligands" / f"{name}.yaml"
    return parse(Ligand, yaml.safe_load(path.read_text()), path.name)


def ligand(**changes: object) -> Ligand:
    return parse(
        Ligand,
        {"name": "x", "formula": "C2N3H3", "smiles": "c1c[nH]nn1", "source": "test"} | changes,
        "x.yaml",
    )


def refusal(**changes: object) -> str:
    with pytest.raises(InputError) as caught:
        ligand(**changes)
    return str(caught.value)


def test_the_synthesis_species_are_all_there() -> None:
    wanted = {
        "triazole",
        "2-methylimidazole",
        "dmf",
        "ethanol",
        "water",
        "methanol",
        "ammonia",
        "acetate",
        "fsi",
    }
    assert wanted <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_ligand_builds_and_holds_on(path: Path) -> None:
    assert len([line for line in path.read_text().splitlines() if line and not line.startswith("#")]) <= 12
    loaded = load(path.stem)
    assert loaded.name == path.stem
    molecule = molecules.build(loaded, 7)
    assert molecule.charge == loaded.charge
    assert molecule.spin_multiplicity == loaded.spin_multiplicity
    kinds = {site.kind for site in molecules.anchors(loaded)}
    assert AnchorKind.LONE_PAIR in kinds
    bonded = molecules.bonds(molecule)
    assert {i for bond in bonded for i in bond} == set(range(len(molecule)))


@pytest.mark.parametrize(
    ("name", "first", "second", "expected"),
    [
        ("triazole", "N", "H", 1.01),  # gas-phase values, A
        ("water", "O", "H", 0.97),
        ("ammonia", "N", "H", 1.02),
        ("fsi", "S", "N", 1.57),
        ("fsi", "S", "F", 1.60),
        ("methanol", "C", "O", 1.42),
    ],
)
def test_bond_lengths_are_those_of_the_molecule(name: str, first: str, second: str, expected: float) -> None:
    molecule = molecules.build(load(name), 0)
    lengths = [
        molecule.get_distance(i, j)
        for i, j in molecules.bonds(molecule)
        if {molecule[i].specie.symbol, molecule[j].specie.symbol} == {first, second}
    ]
    assert lengths
    assert np.allclose(lengths, expected, atol=0.03)


def test_the_same_seed_gives_the_same_molecule_and_another_seed_another_chain() -> None:
    chain = molecules.chain("peo", 3)
    one, same, other = (molecules.build(chain, seed).cart_coords for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.allclose(one, other)
    assert molecules.build(chain, 1).species == molecules.build(chain, 2).species


@pytest.mark.parametrize(
    ("repeat", "units", "atoms"), [("pom", 15, 63), ("peo", 15, 108), ("peo", 7, 52), ("peo", 8, 59)]
)
def test_chains_have_the_atoms_of_their_formula(repeat: str, units: int, atoms: int) -> None:
    molecule = molecules.build(molecules.chain(repeat, units), 0)
    assert len(molecule) == atoms
    assert len(molecules.bonds(molecule)) == atoms - 1  # a tree


@pytest.mark.parametrize(("repeat", "units"), [("pvdf", 3), ("peo", 0)])
def test_an_impossible_chain_is_refused(repeat: str, units: int) -> None:
    with pytest.raises(StructureError):
        molecules.chain(repeat, units)


def test_anchors_of_triazole() -> None:
    found = {site.name: site for site in molecules.anchors(load("triazole"))}
    molecule = molecules.build(load("triazole"), 0)
    assert molecule[found["pyridine_n"].atoms[0]].specie.symbol == "N"
    assert molecule[found["n_h"].atoms[0]].specie.symbol == "H"
    assert len(found["ring_plane"].atoms) == 5
    assert sum(site.name == "pyridine_n" for site in molecules.anchors(load("triazole"))) == 2


def test_anchors_are_found_without_being_named() -> None:
    names = [site.name for site in molecules.anchors(ligand(formula="H2O", smiles="O"))]
    assert names == ["hydroxyl_o", "o_h", "o_h", "molecule_plane", "free"]


def test_two_rings_are_two_planes() -> None:
    biphenyl = ligand(formula="C12H10", smiles="c1ccccc1-c1ccccc1")
    assert [len(site.atoms) for site in molecules.anchors(biphenyl) if site.name == "ring_plane"] == [6, 6]


def test_the_box_is_cubic_and_keeps_its_vacuum() -> None:
    molecule = molecules.build(load("acetate"), 0)
    box = molecules.in_box(molecule, vacuum_ang=15.0)
    assert np.ptp(box.lattice.abc) == 0
    assert box.charge == -1
    extent = np.ptp(box.cart_coords, axis=0)
    assert (box.lattice.a - extent >= 15.0 - 1e-9).all()
    assert np.allclose(box.distance_matrix, molecule.distance_matrix)
    with pytest.raises(StructureError, match="at least 15 A"):
        molecules.in_box(molecule, vacuum_ang=8.0)


XYZ = """3
water, as a user would give it
O 0.000 0.000 0.117
H 0.000 0.757 -0.469
H 0.000 -0.757 -0.469

"""


def test_a_ligand_from_xyz_keeps_its_geometry() -> None:
    molecule = molecules.build(ligand(formula="H2O", smiles=None, xyz=XYZ), 0)
    assert molecule.get_distance(0, 1) == pytest.approx(0.957, abs=1e-3)
    names = {site.name for site in molecules.anchors(ligand(formula="H2O", smiles=None, xyz=XYZ))}
    assert {"hydroxyl_o", "o_h"} <= names


def test_a_ligand_from_a_mol_file_keeps_its_geometry_and_anchors() -> None:
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    graph = Chem.AddHs(Chem.MolFromSmiles("c1c[nH]nn1"))
    rdDistGeom.EmbedMolecule(graph, randomSeed=3)
    given = ligand(smiles=None, mol=Chem.MolToMolBlock(graph))
    molecule = molecules.build(given, 0)
    wanted = graph.GetConformer().GetPositions()
    assert np.allclose(molecule.cart_coords, wanted - wanted.mean(axis=0), atol=1e-4)
    assert {site.name for site in molecules.anchors(given)} >= {"pyridine_n", "n_h", "ring_plane"}


def test_a_path_is_replaced_by_the_files_text(tmp_path: Path) -> None:
    path = tmp_path / "water.xyz"
    path.write_text(XYZ)
    data = {"name": "w", "formula": "H2O", "xyz": "water.xyz", "source": "test"}
    read = inline_files(data, lambda name: (tmp_path / name).read_text())
    assert molecules.build(Ligand.model_validate(read), 0).formula == "H2 O1"
    with pytest.raises(InputError, match="text of the file, not its name"):
        parse(Ligand, data, "w.yaml")


def test_an_ion_is_a_molecule_of_one_atom() -> None:
    sodium = ligand(formula="Na", smiles="[Na+]", charge=1)
    assert molecules.build(sodium, 0).charge == 1
    assert {site.kind for site in molecules.anchors(sodium)} == {AnchorKind.FREE}


def test_a_radical_needs_its_multiplicity() -> None:
    assert "odd electron count without multiplicity" in refusal(formula="CH3", smiles="[CH3]")
    radical = ligand(formula="CH3", smiles="[CH3]", multiplicity=2)
    assert molecules.build(radical, 0).spin_multiplicity == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"multiplicity": 2}, "multiplicity 2 is impossible with 36 electrons"),
        ({"charge": 1}, "odd electron count"),
        ({"xyz": XYZ}, "exactly one of smiles, xyz, mol"),
        ({"smiles": None}, "given: none"),
        ({"formula": "C2Q3"}, "'Q', which is no element"),
        ({"formula": "C2(N3H3"}, "leaves a bracket open"),
        ({"formula": "C2N3H3)"}, "not opened"),
        ({"formula": ""}, "cannot be read"),
        ({"formula": "C2-N3"}, "cannot be read at '-N3'"),
        ({"anchors": ["pyridin_n"]}, "unknown anchor rule 'pyridin_n'"),
        ({"anchors": [{"name": "mine", "kind": "lone_pair"}]}, "needs a SMARTS"),
        ({"smile": "C"}, "Did you mean 'smiles'"),
        ({"source": ""}, "source"),
        ({"name": "../x"}, "name"),
    ],
)
def test_a_bad_ligand_file_is_refused_in_one_line(changes: dict[str, object], said: str) -> None:
    message = refusal(**changes)
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"smiles": "c1c[nH]nn"}, "SMILES does not parse"),
        ({"smiles": "c1cccc1"}, "SMILES does not parse"),
        ({"smiles": ""}, "SMILES does not parse"),
        ({"formula": "C2N3H5"}, "its formula says C2N3H5"),
        ({"smiles": "c1c[n-]nn1", "formula": "C2N3H2", "charge": 1}, "its atoms carry -1"),
        ({"smiles": "O.O", "formula": "H4O2"}, "not one molecule"),
        ({"smiles": None, "xyz": "3\nbroken\nO 0 0 0\n", "formula": "H2O"}, "xyz text does not parse"),
        ({"smiles": None, "xyz": "1\nnot a number\nO 0 0 a\n", "formula": "H2O"}, "xyz text does not parse"),
        ({"smiles": None, "mol": "no\nmol\nfile\n"}, "mol text does not parse"),
        ({"smiles": None, "xyz": "2\nfused\nO 0 0 0\nO 0 0 0.3\n", "formula": "O2"}, "0.30 A apart"),
        ({"anchors": ["carbonyl_o"]}, "has no anchor 'carbonyl_o'"),
        ({"anchors": [{"name": "mine", "kind": "lone_pair", "smarts": "[n"}]}, "does not parse"),
    ],
)
def test_a_molecule_that_cannot_be_is_refused_in_one_line(
    changes: dict[str, object], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ligand(**changes)
    with pytest.raises(StructureError) as caught:
        _ = molecules.build(given, 0), molecules.anchors(given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # RDKit's own complaints stay inside


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["H", "C", "N", "O", "Na", "V", "Zn"]), st.integers(1, 30), min_size=1)
)
def test_a_formula_reads_back_what_was_written(counts: dict[str, int]) -> None:
    assert parse_formula("".join(f"{symbol}{number}" for symbol, number in counts.items())) == counts


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["pom", "peo"]), st.integers(1, 40))
def test_a_chains_formula_fits_its_smiles(repeat: str, units: int) -> None:
    chain = molecules.chain(repeat, units)
    per_unit = 4 if repeat == "pom" else 7
    assert sum(chain.composition.values()) == per_unit * units + 3
    assert chain.electron_count % 2 == 0
