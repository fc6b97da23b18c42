"""Workflows take a crystal and molecules of the user's own, and say what they take for granted of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pymatgen.core import Lattice, Structure

from epilayer import Study
from epilayer.model.errors import EpilayerError, InputError, StructureError, UnknownNameError
from epilayer.study.user_structures import Source

if TYPE_CHECKING:
    from pathlib import Path

SHORT = ("facets=100", "ligands=CC#N", "check_levels=")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.18), ["Ni", "O"], [[0, 0, 0], [0.5] * 3]).to(
        str(tmp_path / "My Oxide.cif"), fmt="cif"
    )
    (tmp_path / "epilayer.yaml").touch()
    return Study.open(tmp_path)


def crystal(study: Study) -> str:
    return str(study.root / "My Oxide.cif")


def test_a_crystal_and_a_molecule_of_ones_own_give_a_record_under_their_names(study: Study) -> None:
    study.submit("adsorption", [f"cathode={crystal(study)}", *SHORT], level="toy", quick=True)
    report = study.run(workers=1)
    assert study.harvest() == 2, (report, study.status())
    table = study.query("adsorption")
    assert table[["cathode", "facet", "ligand"]].values.tolist() == [["my-oxide", "100", "C2H3N"]]


def test_what_is_said_of_a_crystal_reaches_the_cathode(study: Study) -> None:
    said = Source(crystal(study), oxidation="Ni=2,O=-2", keep="Ni-O:1.0", moments="Ni=2", hubbard="Ni=6.2")
    with pytest.raises(StructureError, match=r"no Ni-O bond of at most 1\.00 A"):
        said.cathode(study.catalogue)
    said = Source(crystal(study), oxidation="Ni=2,O=-2", moments="Ni=2", hubbard="Ni=6.2")
    material = said.cathode(study.catalogue)
    assert material.oxidation_states == {"Ni": 2.0, "O": -2.0}
    assert material.moments == {"Ni": 2.0}
    assert material.hubbard_u["Ni"].u_ev == 6.2
    assert said.assumptions(material) == [
        "oxidation states Ni +2, O -2 (--oxidation)",
        "bonds that no cut severs: polyanions and metal-oxo bonds (by rule; --keep)",
        "start moments: Ni 2",
        "Hubbard U: Ni 6.2 eV",
    ]


def test_what_is_guessed_is_said(study: Study) -> None:
    guessed = Source(crystal(study))
    states, _, moments, terms = guessed.assumptions(guessed.cathode(study.catalogue))
    assert states == "oxidation states Ni +2, O -2 (the file, or guessed from its composition)"
    assert (moments, terms) == (
        "start moments: those of the level (--moments)",
        "Hubbard U: none (--hubbard)",
    )


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"oxidation": "Fe=2,Ni=2,O=-2"}, r"holds no Fe, .*oxidation state"),
        ({"hubbard": "V=3.25"}, r"holds no V, .*Hubbard U"),
        ({"moments": "Ni:2"}, "'Ni:2' is no start moment"),
    ],
)
def test_what_does_not_fit_the_crystal_is_refused(study: Study, said: dict[str, str], what: str) -> None:
    with pytest.raises(EpilayerError, match=what):
        Source(crystal(study), **said).cathode(study.catalogue)


def test_a_cathode_of_the_catalogue_states_its_own(study: Study) -> None:
    with pytest.raises(InputError, match="--hubbard is for a crystal of your own"):
        Source("nvopf", hubbard="V=3").cathode(study.catalogue)


def test_molecules_are_named_by_catalogue_file_or_smiles(study: Study) -> None:
    (study.root / "probe.xyz").write_text("2\n\nC 0 0 0\nO 0 0 1.13\n", encoding="utf-8")
    ligand = study.catalogue.ligand
    assert ligand("triazole").name == "triazole"
    assert ligand("O=C(N(C)C)C").name == "C4H9NO"
    assert ligand(str(study.root / "probe.xyz")).name == "probe"
    with pytest.raises(UnknownNameError, match=r"Unknown ligand 'triazol'.*no SMILES"):
        ligand("triazol")


def test_isomers_of_one_name_are_refused(study: Study) -> None:
    with pytest.raises(InputError, match="'C2H6O' twice"):
        study.build("adsorption", [f"cathode={crystal(study)}", "facets=100", "ligands=CCO,COC"], level="toy")


def test_what_is_missing_is_asked_for(study: Study) -> None:
    with pytest.raises(InputError, match="adsorption needs facets, ligands") as raised:
        study.build("adsorption", [f"cathode={crystal(study)}"], level="toy")
    assert raised.value.remedy == "Add --facet 104 --ligand triazole"
