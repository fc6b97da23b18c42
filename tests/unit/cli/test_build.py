"""``epilayer build slab`` and ``build adsorbates``: golden figures, own files, every bad input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pymatgen.core import Lattice, Structure

from command import runner

if TYPE_CHECKING:
    from pathlib import Path

    from command import Run

XYZ = """3
water
O 0.0 0.0 0.117
H 0.0 0.757 -0.469
H 0.0 -0.757 -0.469
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    return runner(capsys, monkeypatch, "build")


def rock_salt(file: Path) -> Structure:
    crystal = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5] * 3])
    crystal.relabel_sites()
    crystal.to(str(file), fmt="cif")
    return crystal


def slab_json(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, _ = run("slab", *arguments, "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    return found


def test_golden_figures_of_the_two_nvopf_slabs(run: Run) -> None:
    one = slab_json(run, "nvopf", "--miller", "0", "0", "1")["chosen"]
    assert one["formula"] == "Na12 V8 P8 O40 F4"
    assert one["tasker"] == "III"
    assert one["moved_ions"] == {"F": 1, "Na": 3}
    assert one["area_ang2"] == pytest.approx(81.44, abs=0.01)
    assert one["broken_bonds_per_nm2"] == pytest.approx({"F-V": 2.456, "Na-O": 22.10}, abs=0.01)
    other = slab_json(run, "nvopf", "--miller", "100")
    assert len(other["terminations"]) == 10
    assert sum(t["kept_bonds_severed"] == 0 for t in other["terminations"]) == 6
    two = other["chosen"]
    assert two["tasker"] == "II"
    assert two["cell_ang"][:2] == pytest.approx([12.762, 10.62], abs=0.001)
    assert two["broken_bonds_per_nm2"]["O-V"] == pytest.approx(5.90, abs=0.01)
    for slab in (one, two):
        assert slab["dipole_e_ang"] == pytest.approx(0, abs=1e-9)
        assert slab["faces_equivalent"]
        assert slab["stoichiometric"]
        assert slab["reason"]


def test_every_figure_of_the_text_is_in_the_json(run: Run) -> None:
    document = slab_json(run, "nvopf", "--miller", "001")
    _, text, _ = run("slab", "nvopf", "--miller", "001")
    chosen = document["chosen"]
    for words in (
        chosen["reason"].split(". ")[0],
        chosen["symmetry"],
        f"{document['held_atoms']} held",
        f"{chosen['area_ang2']:.2f} A2",
        f"{chosen['electrostatic_cleavage_ev_per_ang2']:.3f}",
    ):
        assert words in text.replace("\n", " ")
    for cut in document["terminations"]:
        assert cut["termination"] in text
        assert f"{cut['dipole_e_ang']:+.1f}" in text


def test_the_charged_slab_has_fewer_ions_and_the_sizes_are_those_asked_for(run: Run) -> None:
    found = slab_json(run, "nvopf", "--miller", "0", "0", "1", "--charged", "--vacuum", "20", "--hold", "2")
    assert found["state"] == "charged"
    assert found["chosen"]["formula"] == "Na4 V8 P8 O40 F4"
    assert found["chosen"]["vacuum_ang"] == 20
    assert found["hold_thickness_ang"] == 2


def test_a_crystal_of_ones_own_is_cut_drawn_and_written(run: Run, tmp_path: Path) -> None:
    rock_salt(tmp_path / "mgo.cif")
    found = slab_json(
        run, "mgo.cif", "-m", "0", "0", "1", "-o", "POSCAR", "--png", "s.png", "--html", "s.html"
    )
    assert found["crystal"]["oxidation_states"] == {"Mg": 2, "O": -2}
    assert found["chosen"]["tasker"] == "I"
    assert found["chosen"]["broken_bonds_per_nm2"] == pytest.approx({"Mg-O": 400 / 4.2**2})
    assert found["written"] == ["POSCAR", "s.png", "s.html"]
    assert "Selective dynamics" in (tmp_path / "POSCAR").read_text()
    assert "1 -1 0" not in found["chosen"]["reason"]
    _, text, _ = run("slab", "mgo.cif", "-m", "1", "-1", "0", "--oxidation", "Mg=2,O=-2")
    assert "(1-10)" in text
    assert "Mg +2, O -2 (--oxidation)" in text


def test_a_polar_plane_of_ones_own_crystal_is_compensated_or_refused_with_its_dipoles(
    run: Run, tmp_path: Path
) -> None:
    crystal = Structure.from_spacegroup("F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25] * 3])
    crystal.relabel_sites()
    crystal.to(str(tmp_path / "zns.cif"), fmt="cif")
    code, out, err = run("slab", "zns.cif", "--miller", "1", "1", "1", "--json")
    if code == 0:
        assert all(
            abs(s["dipole_e_ang"]) < 1e-6 and s["tasker"] == "III" for s in json.loads(out)["admissible"]
        )
    else:
        assert "dipoles in e.A per repeat" in err


def test_adsorbates_on_a_written_slab_for_every_way_to_name_a_molecule(run: Run, tmp_path: Path) -> None:
    (tmp_path / "my.water.xyz").write_text(XYZ)
    assert run("slab", "nvopf", "--miller", "001", "-o", "slab.cif")[0] == 0
    for name, formula, charge in (
        ("triazole", "C2N3H3", 0),
        ("CC(=O)[O-]", "C2H3O2", -1),
        ("my.water.xyz", "H2O", 0),
    ):
        code, out, _ = run("adsorbates", "slab.cif", name, "--seed", "3", "-n", "2", "-o", "p", "--json")
        assert code == 0
        found = json.loads(out)
        assert (found["ligand"]["formula"], found["ligand"]["charge"]) == (formula, charge)
        assert found["seed"] == 3
        for pose, file in zip(found["poses"], found["written"], strict=True):
            placed = Structure.from_file(tmp_path / file)
            assert len(placed) > 72
            assert pose["contact_ang"] > 1.5
    again = run("adsorbates", "slab.cif", "my.water.xyz", "--seed", "3", "-n", "2", "--json")[1]
    assert json.loads(again)["poses"] == found["poses"]


def test_one_file_takes_the_first_pose_and_its_picture(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(
        "adsorbates", "nvopf", "ammonia", "-m", "0", "0", "1", "-n", "1", "-o", "one.vasp", "--png", "one.svg"
    )
    assert code == 0
    assert "Written: one.vasp" in out
    assert (tmp_path / "one.svg").read_bytes().startswith(b"<?xml")


BAD_SLABS = [
    (("nvopg", "-m", "001"), "Unknown cathode 'nvopg'", "Did you mean 'nvopf'?"),
    (("absent.cif", "-m", "001"), "absent.cif cannot be read", "Check the path"),
    (("text.cif", "-m", "001"), "text.cif cannot be read as CIF", "export it anew"),
    (("disordered.cif", "-m", "001"), "disordered (partly occupied: Na0.5", "Give an ordered CIF"),
    (("overlap.cif", "-m", "001"), "overlap", "Remove the doubled site"),
    (("doubled.cif", "-m", "001"), "overlap", "Remove the doubled site"),
    (("alloy.cif", "-m", "001"), "cannot be guessed", "--oxidation Na=1"),
    (("mgo.cif", "-m", "001", "--oxidation", "Mg=2"), "no oxidation state for O", "--oxidation"),
    (("mgo.cif", "-m", "001", "--oxidation", "Mg=3,O=-2"), "is not neutral", "Correct the occupancies"),
    (("mgo.cif", "-m", "001", "--oxidation", "Mg+2"), "'Mg+2' is no oxidation state", "Na=1,V=4"),
    (("mgo.cif", "-m", "001", "--oxidation", "Mg=2,O=-2,V=4"), "holds no V", "Its elements are Mg, O"),
    (("mgo.cif", "-m", "001", "--keep", "P-O"), "no P-O bond", "Name a bond of the crystal"),
    (("mgo.cif", "-m", "001", "--keep", "Mg~O"), "'Mg~O' is no bond to keep", "Write bonds as P-O"),
    (("mgo.cif", "-m", "001", "--keep", "Mg-O"), "cuts kept Mg-O bonds", "Choose another Miller index"),
    (("mgo.cif", "-m", "0", "0", "0"), "names no plane", "not all 0"),
    (("mgo.cif", "-m", "0 0"), "no Miller index", "three integers"),
    (("mgo.cif", "-m", "001", "-t", "001-t9"), "no admissible termination '001-t9'", "Admissible: 001-t"),
    (("mgo.cif", "-m", "001", "--charged"), "has no state 'charged'", "Known"),
    (("mgo.cif", "-m", "001", "--vacuum", "3"), "vacuum_ang", "Correct"),
    (("mgo.cif", "-m", "001", "--hold", "90"), "leaves no atom free", "Hold a thinner region"),
    (("mgo.cif", "-m", "001", "-o", "x.gif"), "cannot tell the format", "Name it .cif"),
    (("mgo.cif", "-m", "001", "--png", "x.txt"), "cannot tell the format", "Name it .png"),
    (("nvopf", "-m", "001", "--oxidation", "Na=1"), "for a crystal of your own", "Leave --oxidation out"),
]


@pytest.fixture
def files(tmp_path: Path) -> None:
    """Write one good crystal and several bad ones."""
    rock_salt(tmp_path / "mgo.cif")
    (tmp_path / "text.cif").write_text("not a crystal\n")
    cell = Lattice.cubic(5.0)
    bad = {
        "disordered": Structure(cell, [{"Na": 0.5}, "Cl"], [[0, 0, 0], [0.5] * 3]),
        "overlap": Structure(cell, ["Na", "Cl", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0.57]]),
        "alloy": Structure(cell, ["Cu", "Zn"], [[0, 0, 0], [0.5] * 3]),
    }
    for name, crystal in bad.items():
        crystal.relabel_sites()
        crystal.to(str(tmp_path / f"{name}.cif"), fmt="cif")
    one = (tmp_path / "mgo.cif").read_text().splitlines()
    last = next(line for line in reversed(one) if line.split()[:1] == ["O"])
    (tmp_path / "doubled.cif").write_text("\n".join([*one, last.replace("O", "S", 2)]) + "\n")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("arguments", "what", "remedy"), BAD_SLABS, ids=[" ".join(b[0]) for b in BAD_SLABS])
def test_bad_input_of_build_slab_is_one_line_and_a_remedy(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], what: str, remedy: str
) -> None:
    before = sorted(tmp_path.iterdir())
    code, out, err = run("slab", *arguments)
    assert code == 2
    lines = err.strip().splitlines()
    assert len(lines) == 2
    assert what in lines[0]
    assert remedy in lines[1]
    assert out == ""
    assert sorted(tmp_path.iterdir()) == before


BAD_ADSORBATES = [
    (("slab.cif", "xx("), "no SMILES that parses", "Known: "),
    (("slab.cif", "triazol"), "no SMILES that parses", "Did you mean 'triazole'?"),
    (("slab.cif", "[Na+].[Cl-]"), "2 pieces that no bond connects", "one connected molecule"),
    (("slab.cif", "absent.mol"), "absent.mol cannot be read", "Check the path"),
    (("slab.cif", "bad.xyz"), "is no xyz text", "Correct the file"),
    (("slab.cif", "water.xyz", "--charge", "1", "--multiplicity", "1"), "multiplicity", "--multiplicity"),
    (("slab.cif", "triazole", "--charge", "1"), "for a molecule of your own", "Leave them out"),
    (("slab.cif", "triazole", "-m", "001"), "taken as the slab itself", "Leave --miller out"),
    (("mgo.cif", "triazole"), "is no slab", "epilayer build slab mgo.cif"),
    (("nvopf", "triazole"), "Which facet of nvopf?", "--miller 0 0 1"),
    (("slab.cif", "triazole", "-o", "x.gif"), "cannot tell the format", "name a folder"),
]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "what", "remedy"), BAD_ADSORBATES, ids=[" ".join(b[0]) for b in BAD_ADSORBATES]
)
def test_bad_input_of_build_adsorbates_is_one_line_and_a_remedy(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], what: str, remedy: str
) -> None:
    slab = Structure(Lattice.orthorhombic(8, 8, 24), ["Mg", "O"], [[0, 0, 0.4], [0.5, 0.5, 0.42]])
    slab.to(str(tmp_path / "slab.cif"), fmt="cif")
    (tmp_path / "bad.xyz").write_text("5\nwater\nO 0 0 0\n")
    (tmp_path / "water.xyz").write_text(XYZ)
    before = sorted(tmp_path.iterdir())
    code, out, err = run("adsorbates", *arguments)
    assert code == 2
    lines = err.strip().splitlines()
    assert len(lines) == 2
    assert what in lines[0]
    assert remedy in lines[1]
    assert out == ""
    assert sorted(tmp_path.iterdir()) == before
