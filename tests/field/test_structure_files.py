"""Structure files as people have them: POSCAR, XDATCAR, CIF, LOBSTER lists, each with its value or refusal.

Cases of public bug reports are read where they are present; a small input of each kind stands here itself.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epilayer.model.errors import InputError, InputWarning, StructureError
from epilayer.outputs.lobster.directory import read_bond_list
from epilayer.outputs.reading import decoded
from epilayer.outputs.trajectories.xdatcar import XdatcarSource
from epilayer.outputs.vasp.poscar import element_of, elements_beside, read_poscar
from epilayer.structures import user_structures
from epilayer.structures.cif import read_cif
from epilayer.structures.user_structures import UserFile
from epilayer.study.user_structures import is_file, slab_of

CASES = (
    Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[3] / "shared" / "data")) / "field_cases"
)

POSCAR = """rock salt
  {scale}
  5.64 0.0 0.0
  0.0 5.64 0.0
  0.0 0.0 5.64
{species} 4 4
Direct
 0.0 0.0 0.0
 0.0 0.5 0.5
 0.5 0.0 0.5
 0.5 0.5 0.0
 0.5 0.5 0.5
 0.5 0.0 0.0
 0.0 0.5 0.0
 0.0 0.0 0.5
"""
CIF = """data_{name}
_publ_author_name 'M\xfcller, J\xf6rg'
_chemical_formula_sum '{formula}'
_cell_formula_units_Z 4
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
{operations}loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na1+ 0 0 0 1
Cl1 Cl1- 0.5 0.5 0.5 .
"""
# The centring alone makes all atoms of rock salt; the parser takes a second to look the whole group up.
OPERATIONS = "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\nx,y+1/2,z+1/2\nx+1/2,y,z+1/2\nx+1/2,y+1/2,z\n"
ICOHPLIST = """  COHP#  atomMU  atomNU     distance     translation      ICOHP (at) eF for spin 1
      1        V1        O5    1.60123     0   0   0        -3.89807
      2        V1        O6    2.01234     0   0  -1        -1.40217
"""


def poscar(species: str = "  Na Cl\n", scale: str = "1.0") -> str:
    return POSCAR.format(species=species, scale=scale)


def cif(name: str = "NaCl", formula: str = "Na Cl", operations: str = OPERATIONS) -> str:
    return CIF.format(name=name, formula=formula, operations=operations)


def case(name: str) -> Path:
    found = CASES / name
    if not found.exists():
        pytest.skip(f"{found} is absent")
    return found


class TestPoscar:
    @pytest.mark.parametrize(
        "species",
        [
            "  Na Cl\n",
            " Na_pv/b8c3b1 Cl/9f0e\n",
            " Na/ Cl/\n",
            " Na /  Cl /\n",
            " NA CL\n",
            " Na+ Cl- ! ions\n",
        ],
    )
    def test_every_way_of_naming_the_elements(self, species: str) -> None:
        read = read_poscar(poscar(species), "POSCAR")
        assert read.composition.formula == "Na4 Cl4"
        assert read.volume == pytest.approx(5.64**3)

    def test_a_file_that_names_no_elements_is_refused_with_the_remedies(self) -> None:
        with pytest.raises(InputError) as refused:
            read_poscar(poscar(species=""), "POSCAR")
        assert "names no elements" in refused.value.what
        assert "POTCAR" in refused.value.remedy
        assert "--species Mg,O" in refused.value.remedy

    def test_elements_from_the_user_or_behind_the_positions(self) -> None:
        assert read_poscar(poscar(species=""), "POSCAR", ("Mg", "O")).composition.formula == "Mg4 O4"
        labelled = [
            f"{line} {'Mg' if k < 12 else 'O'}" if k > 7 else line
            for k, line in enumerate(poscar(species="").replace("Direct", "Direct").splitlines(), start=1)
        ]
        assert read_poscar("\n".join(labelled), "POSCAR").composition.formula == "Mg4 O4"

    @pytest.mark.parametrize("elements", [("Mg",), ("Mg", "O", "H")])
    def test_elements_that_do_not_fit_the_counts_are_refused(self, elements: tuple[str, ...]) -> None:
        with pytest.raises(InputError, match="counts 2 species"):
            read_poscar(poscar(species=""), "POSCAR", elements)

    def test_elements_that_contradict_the_file_are_refused(self) -> None:
        with pytest.raises(InputError, match="names Na, Cl"):
            read_poscar(poscar(), "POSCAR", ("Mg", "O"))

    @pytest.mark.parametrize("word", ["Z", "Vac", "Xx", "1x"])
    def test_a_word_that_is_no_element_is_refused(self, word: str) -> None:
        with pytest.raises(InputError, match=r"no element|header"):
            read_poscar(poscar(f" {word} Cl\n"), "POSCAR")

    def test_the_potcar_beside_it_names_them(self, tmp_path: Path) -> None:
        (tmp_path / "POSCAR").write_text(poscar(species=""))
        assert elements_beside(tmp_path / "POSCAR") == ()
        (tmp_path / "POTCAR.spec").write_text("Mg_pv\nO\n")
        assert elements_beside(tmp_path / "POSCAR") == ("Mg", "O")
        (tmp_path / "POTCAR").write_text("  VRHFIN =Na: 3s1\n  VRHFIN =Cl: 3s2\n")  # made up: two lines
        assert elements_beside(tmp_path / "POSCAR") == ("Na", "Cl")

    def test_one_scale_three_scales_and_a_volume(self) -> None:
        assert read_poscar(poscar(scale="2.0"), "POSCAR").lattice.abc == pytest.approx((11.28,) * 3)
        assert read_poscar(poscar(scale="1.0 1.0 1.1"), "POSCAR").lattice.abc == pytest.approx(
            (5.64, 5.64, 6.204)
        )
        assert read_poscar(poscar(scale="-200.0"), "POSCAR").volume == pytest.approx(200.0)

    @pytest.mark.parametrize("scale", ["1.0", "2.0", "1.0 1.0 1.1", "-300.0"])
    def test_cartesian_positions_are_scaled_with_the_cell(self, scale: str) -> None:
        lines = poscar(scale=scale).replace("Direct", "Cartesian").splitlines()
        rows = [" ".join(str(5.64 * float(x)) for x in line.split()) for line in lines[8:]]
        cartesian = read_poscar("\n".join([*lines[:8], *rows]), "POSCAR")
        assert np.allclose(cartesian.frac_coords, read_poscar(poscar(scale=scale), "POSCAR").frac_coords)

    def test_counts_that_do_not_fit_the_positions_are_refused(self) -> None:
        with pytest.raises(StructureError, match="more positions follow"):
            read_poscar(poscar().replace(" 4 4\n", " 4 3\n"), "POSCAR")
        with pytest.raises(StructureError, match="position 9 of 9"):
            read_poscar(poscar().replace(" 4 4\n", " 4 5\n"), "POSCAR")
        with pytest.raises(StructureError, match="Direct or Cartesian"):
            read_poscar(poscar().replace("Direct\n", ""), "POSCAR")

    def test_flags_are_kept_and_velocities_left_out(self) -> None:
        lines = poscar().replace("Direct", "Selective dynamics\nDirect").splitlines()
        rows = [f"{row} {'F F F' if k < 4 else 'T T T'}" for k, row in enumerate(lines[9:])]
        read = read_poscar("\n".join([*lines[:9], *rows, "", *["0.01 0.0 0.0"] * 8]), "CONTCAR")
        assert read.site_properties["selective_dynamics"] == [[False] * 3] * 4 + [[True] * 3] * 4

    def test_twenty_species_a_line_wrap(self) -> None:
        names = ["Na", "Cl"] * 12
        text = poscar().replace("  Na Cl\n", f"  {' '.join(names[:20])}\n  {' '.join(names[20:])}\n")
        text = text.replace(" 4 4\n", f" {' '.join('1' * 20)}\n {' '.join('1' * 4)}\n")
        rows = "\n".join(f" {k / 24:.5f} 0.0 0.0" for k in range(24))
        read = read_poscar(text.split("Direct")[0] + "Direct\n" + rows, "POSCAR")
        assert [site.specie.symbol for site in read] == names

    @given(
        end=st.sampled_from(["\n", "\r\n"]),
        blanks=st.sampled_from(["", "  ", "\t"]),
        encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-16-le"]),
        upper=st.booleans(),
    )
    @settings(max_examples=25, deadline=None)
    def test_line_ends_blanks_encoding_and_case_change_nothing(
        self, end: str, blanks: str, encoding: str, upper: bool
    ) -> None:
        text = poscar().replace("rock salt", "r\xf6ck salt")
        text = "".join(f"{line}{blanks}{end}" for line in (text.upper() if upper else text).splitlines())
        read = read_poscar(decoded(text.encode(encoding)) or "", "POSCAR")
        assert read == read_poscar(poscar(), "POSCAR")

    @pytest.mark.real_data
    @pytest.mark.parametrize(
        "name", ["CONTCAR", "CONTCAR.slash", "CONTCAR.spaced", "POSCAR.negative-scale", "POSCAR.three-scales"]
    )
    def test_hashed_names_and_scales_of_vasp_6(self, name: str) -> None:
        path = case("20-hash-species") / name
        read = read_poscar(path.read_text(), name)
        assert read.composition.formula == "Na4 Cl4"
        assert read.volume == pytest.approx(
            5.64**3 * (1.1 if name == "POSCAR.three-scales" else 1.0), rel=1e-5
        )

    @pytest.mark.real_data
    @pytest.mark.parametrize(
        "name", ["POSCAR.vasp4-single", "POSCAR.vasp4-comment", "slab-vasp4.vasp", "POSCAR_no_species"]
    )
    def test_vasp_4_never_becomes_hydrogen_and_helium(self, name: str) -> None:
        with pytest.raises(InputError, match="names no elements"):
            slab_of(str(case("21-poscar-vasp4") / name))

    @pytest.mark.real_data
    def test_vasp_4_with_the_elements_of_its_user(self) -> None:
        slab = slab_of(str(case("21-poscar-vasp4") / "slab-vasp4.vasp"), "Mg,O")
        assert slab.composition.formula == "Mg8 O8"


def test_names_of_elements() -> None:
    words = ["Na_pv/b8c3", "Fe2+", "CO", "D", "Ox", "/9f0e", "H.5"]
    assert [element_of(w) for w in words] == ["Na", "Fe", "Co", "H", None, None, "H"]


class TestCif:
    @given(
        end=st.sampled_from(["\n", "\r\n", "\r"]),
        blanks=st.sampled_from(["", "  "]),
        encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252", "utf-16-be"]),
        upper=st.booleans(),
    )
    @settings(max_examples=12, deadline=None)
    def test_line_ends_blanks_encoding_and_case_change_nothing(
        self, end: str, blanks: str, encoding: str, upper: bool
    ) -> None:
        lines = cif().splitlines()
        lines = [x.upper() if upper and x[:1] in "_dl" and " " not in x else x for x in lines]
        text = "".join(f"{line}{blanks}{end}" for line in lines)
        read = read_cif(decoded(text.encode(encoding)) or "", "x.cif")
        assert read.structure.lattice.abc == (5.64, 5.64, 5.64)
        assert read.structure.composition.remove_charges().formula == "Na4 Cl4"
        assert read.notes == ()

    def test_two_crystals_are_asked_about(self) -> None:
        text = cif("one") + cif("two", "K Cl").replace("Na", "K") + "data_global\n_journal_year 2020\n"
        with pytest.raises(StructureError, match="2 crystals") as refused:
            read_cif(text, "x.cif")
        assert "--block one" in refused.value.remedy
        assert read_cif(text, "x.cif", "two").structure.composition.remove_charges().formula == "K4 Cl4"
        assert read_cif(text, "x.cif", "1").structure.composition.remove_charges().formula == "Na4 Cl4"
        with pytest.raises(StructureError, match="no one block 'three'"):
            read_cif(text, "x.cif", "three")

    def test_two_crystals_of_one_name_are_both_seen(self) -> None:
        text = cif("x") + cif("x", "K Cl").replace("Na", "K")
        assert read_cif(text, "x.cif", "2").structure.composition.remove_charges().formula == "K4 Cl4"

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("'Na Cl'", "'H2 Na Cl O'", "states Na1 H2 Cl1 O1, and its sites are NaCl"),
            ("_cell_formula_units_Z 4", "_cell_formula_units_Z 8", "8 formula units"),
            ("Cl1 Cl1- 0.5 0.5 0.5 .", "Cl1 Cl1- 0.5 0.5 0.5 .\nH1 H . . . .", "1 sites without coordinates"),
        ],
    )
    def test_what_does_not_fit_the_sites_is_said(self, old: str, new: str, said: str) -> None:
        given_file = UserFile(cif().replace(old, new), "x.cif")
        with pytest.warns(InputWarning, match=said):
            assert user_structures.crystal(given_file).composition.remove_charges().formula == "Na4 Cl4"

    @pytest.mark.parametrize("formula", ["?", "Na Cl", "Cl1 Na1", "Na4 Cl4"])
    def test_a_formula_that_fits_or_is_not_stated_is_silent(self, formula: str) -> None:
        text = cif(formula=formula)
        text = text.replace("_Z 4", "_Z 1") if formula == "Na4 Cl4" else text
        assert read_cif(text, "x.cif").notes == ()

    def test_a_point_for_a_zero_of_an_old_database(self) -> None:
        read = read_cif(cif().replace("Na1 Na1+ 0 0 0", "Na1 Na1+ . . ."), "x.cif")
        assert (read.structure, read.notes) == (read_cif(cif(), "x.cif").structure, ())

    def labels(self, label: str, formula: str = "?") -> str:
        text = cif(formula=formula).replace("_atom_site_type_symbol\n", "")
        return text.replace("Na1 Na1+", label).replace("Cl1 Cl1-", "Cl1")

    @pytest.mark.parametrize(
        ("label", "formula", "element"),
        [
            ("Na1", "?", "Na"),
            ("CA1", "Ca Cl", "Ca"),
            ("CA1", "C Cl", "C"),
            ("SiT1", "?", "Si"),
            ("OW2", "?", "O"),
        ],
    )
    def test_elements_of_labels(self, label: str, formula: str, element: str) -> None:
        read = read_cif(self.labels(label, formula), "x.cif").structure
        assert read.composition[element] == 4

    @pytest.mark.parametrize("label", ["CA1", "Vac1", "Q1"])
    def test_labels_that_are_none_or_two_are_refused(self, label: str) -> None:
        with pytest.raises(StructureError, match="no element, or could be two"):
            read_cif(self.labels(label), "x.cif")

    def test_a_site_that_is_no_element_is_refused(self) -> None:
        with pytest.raises(StructureError, match="'Vac' of _atom_site_type_symbol is no element"):
            read_cif(cif().replace("Na1+", "Vac"), "x.cif")

    def test_an_unknown_space_group_is_not_read_as_none(self) -> None:
        with pytest.raises(StructureError, match="is not known, and no symmetry operations"):
            read_cif(cif(operations="").replace("F m -3 m", "F m m m m"), "x.cif")

    @pytest.mark.parametrize("text", ["", "data_x\n_cell_length_a 5\n", "hello"])
    def test_a_text_without_a_crystal_is_refused(self, text: str) -> None:
        with pytest.raises(StructureError, match="cannot be read as CIF"):
            read_cif(text, "x.cif")

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("_atom_site_fract_y", "_atom_site_fract_y2"),
            ("5.64\n", "nan\n"),
            ("0.5 0.5 0.5", "0.5 1e999 0.5"),
        ],
    )
    def test_a_damaged_file_is_refused(self, old: str, new: str) -> None:
        with pytest.raises(StructureError):
            read_cif(cif().replace(old, new, 1), "x.cif")

    def test_deuterium_is_hydrogen_in_the_formula(self) -> None:
        text = cif(formula="D Cl").replace("Na1 Na1+", "D1 D")
        assert read_cif(text, "x.cif").notes == ()

    def test_which_names_are_structure_files(self) -> None:
        assert all(map(is_file, ("a.CIF", "b/x.mcif", "POSCAR.gz", "CONTCAR", "x.cif.gz", "x.VASP")))
        assert not any(map(is_file, ("nvopf", "O", "a.txt")))

    @pytest.mark.real_data
    @pytest.mark.parametrize(
        "name", ["NaCl-latin1.cif", "NaCl-utf8.cif", "NaCl-utf16.cif", "NaCl-bom-crlf.cif", "NaCl-upper.CIF"]
    )
    def test_encodings(self, name: str) -> None:
        read = read_cif(decoded((case("23-cif-encoding") / name).read_bytes()) or "", name).structure
        assert read.composition.formula == "Na4 Cl4"
        assert read.lattice.a == pytest.approx(5.64)

    @pytest.mark.real_data
    def test_a_magnetic_cif(self) -> None:
        path = case("23-cif-encoding") / "bad-unicode-gh-2947.mcif"
        assert (
            read_cif(decoded(path.read_bytes()) or "", path.name).structure.composition.reduced_formula
            == "NiO"
        )

    @pytest.mark.real_data
    @pytest.mark.parametrize(
        ("name", "block"), [("two-phases.cif", "phase_2_KCl"), ("MultiStructure.cif", "56291-ICSD")]
    )
    def test_several_blocks(self, name: str, block: str) -> None:
        text = (case("25-cif-multi-block") / name).read_text()
        with pytest.raises(StructureError, match="holds 2 crystals"):
            read_cif(text, name)
        assert read_cif(text, name, block).structure.composition.reduced_formula in {"KCl", "LiFePO4"}

    @pytest.mark.real_data
    def test_deuterium(self) -> None:
        folder = case("26-cif-deuterium")
        counts = [
            read_cif((folder / name).read_text(), name).structure.num_sites
            for name in ("CaOD2.cif", "CaOH2.cif")
        ]
        assert counts == [5, 5]

    @pytest.mark.real_data
    def test_a_large_formula_asks_for_oxidation_states(self) -> None:
        text = (case("22-large-formula") / "Li4Fe3MnP4O16.cif").read_text()
        with pytest.raises(StructureError, match="cannot be guessed") as refused:
            user_structures.cathode(UserFile(text, "x.cif"))
        assert "--oxidation" in refused.value.remedy
        states = {"Li": 1.0, "Fe": 2.0, "Mn": 2.0, "P": 5.0, "O": -2.0}
        assert user_structures.cathode(UserFile(text, "x.cif"), oxidation_states=states).formula


class TestLobsterList:
    @given(end=st.sampled_from(["\n", "\r\n"]), blanks=st.sampled_from(["", " ", "   "]), last=st.booleans())
    @settings(max_examples=12, deadline=None)
    def test_line_ends_blanks_and_a_missing_newline_change_nothing(
        self, tmp_path_factory: pytest.TempPathFactory, end: str, blanks: str, last: bool
    ) -> None:
        path = tmp_path_factory.mktemp("x") / "ICOHPLIST.lobster"
        text = "".join(f"{line}{blanks}{end}" for line in ICOHPLIST.splitlines())
        path.write_bytes((text if last else text.rstrip()).encode())
        assert [b.summed for b in read_bond_list(path)] == [-3.89807, -1.40217]

    @pytest.mark.parametrize("lost", range(1, 40))
    def test_a_list_cut_inside_its_last_line_is_refused(self, tmp_path: Path, lost: int) -> None:
        path = tmp_path / "ICOHPLIST.lobster"
        path.write_text(ICOHPLIST.rstrip()[:-lost])
        with pytest.raises(InputError, match="half-written"):
            read_bond_list(path)

    def test_the_only_line_without_newline(self, tmp_path: Path) -> None:
        path = tmp_path / "ICOHPLIST.lobster"
        path.write_text("\n".join(ICOHPLIST.splitlines()[:2]))
        assert len(read_bond_list(path)) == 1

    @pytest.mark.real_data
    def test_lobster_5_1(self) -> None:
        bonds = read_bond_list(case("28-lobster-newline") / "ICOHPLIST.lobster")
        assert len(bonds) == 4
        assert (bonds[0].atom_1, bonds[0].atom_2, bonds[0].summed) == ("V1", "O5", -7.79615)


class TestXdatcar:
    def frames(self, numbers: list[str], head: str = "  Na Cl\n   1   1\n") -> str:
        cell = "x\n 1.0\n 5.0 0.0 0.0\n 0.0 5.0 0.0\n 0.0 0.0 5.0\n"
        rows = "  0.10000000  0.20000000  0.30000000\n  0.50000000  0.50000000  0.50000000\n"
        return cell + head + "".join(f"Direct configuration={n:>6}\n{rows}" for n in numbers)

    def steps(self, path: Path) -> list[int]:
        return [int(s) for block in XdatcarSource(path, time_step_fs=1.0).blocks() for s in block.steps]

    def test_numbers_of_more_than_six_digits_go_on(self, tmp_path: Path) -> None:
        path = tmp_path / "XDATCAR"
        path.write_text(self.frames(["999998", "999999", "******", "******"]))
        assert self.steps(path) == [999998, 999999, 1000000, 1000001]
        path.write_text(self.frames(["******"] * 3))
        assert self.steps(path) == [1000000, 1000001, 1000002]

    def test_stars_too_early_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "XDATCAR"
        path.write_text(self.frames(["100", "101", "******"]))
        with pytest.raises(InputError, match="frames are missing"):
            self.steps(path)

    def test_species_of_several_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "XDATCAR"
        path.write_text(self.frames(["1", "2"], "  Na\n  Cl\n   1\n   1\n"))
        assert XdatcarSource(path).header.symbols == ("Na", "Cl")
        assert self.steps(path) == [1, 2]

    def test_a_file_that_names_no_elements(self, tmp_path: Path) -> None:
        path = tmp_path / "XDATCAR"
        path.write_text(self.frames(["1", "2"], "   1   1\n"))
        with pytest.raises(InputError, match="names no elements"):
            XdatcarSource(path)
        (tmp_path / "POTCAR.spec").write_text("Na_pv\nCl\n")
        assert XdatcarSource(path).header.symbols == ("Na", "Cl")
        assert self.steps(path) == [1, 2]

    @pytest.mark.real_data
    def test_the_frames_are_those_of_the_numbered_twin(self) -> None:
        folder = case("18-xdatcar-stars")
        one, other = (
            np.concatenate([b.positions for b in XdatcarSource(folder / name, time_step_fs=10.0).blocks()])
            for name in ("XDATCAR", "XDATCAR.same-frames-numbered-from-1")
        )
        assert len(one) == 400
        assert np.array_equal(one, other)
        steps = self.steps(folder / "XDATCAR")
        assert set(np.diff(steps)) == {1}
