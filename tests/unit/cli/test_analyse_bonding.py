"""``epilayer analyse bonding``: real runs give their known answers; every bad one is one clear line."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from pymatgen.core import Structure
from typer.testing import CliRunner

from epilayer.cli.root import app
from epilayer.model.errors import EpilayerError
from lobster_runs import ether, lobster, on_magnesia

REAL = Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(not (REAL / "index.json").exists(), reason=f"the real outputs are not at {REAL}"),
]


def analysed(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["analyse", "bonding", *arguments, "--json"])
    assert done.exit_code == 0, done.exception
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def refused(*arguments: str) -> EpilayerError:
    done = CliRunner().invoke(app, ["analyse", "bonding", *arguments])
    assert isinstance(done.exception, EpilayerError), done.output
    assert "\n" not in done.exception.what
    assert done.exception.remedy
    return done.exception


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return lobster(tmp_path / "free", ether(), [(0, 1, -9.0), (1, 2, -9.2), (0, 3, -7.0)])


class TestRealRuns:
    pytestmark = real_data

    def test_sodium_chloride_with_and_without_spin_agree(self) -> None:
        plain = analysed(str(REAL / "lobster_NaCl_spin_BeTe/NaCl"), "--bonds", "Na-Cl")
        spin = analysed(str(REAL / "lobster_NaCl_spin_BeTe/NaCl_spin"), "--atoms", "1,2")
        assert plain["verdict"] == "certified"
        assert min(b["summed"] for b in plain["bonds"]) == pytest.approx(-0.56541, abs=1e-5)
        assert next(b["per_spin"] for b in spin["bonds"] if b["length_ang"] < 3) == [-0.2827, -0.2827]
        summed = {b["label"]: b["summed"] for b in spin["bonds"]}
        assert {b["label"] for b in plain["bonds"]} == set(summed)
        for bond in plain["bonds"]:
            assert summed[bond["label"]] == pytest.approx(bond["summed"], abs=2.1e-5)
        assert spin["verdict"] == "unverified"  # there is no lobsterout

    @pytest.mark.parametrize(
        ("where", "bonds", "strongest_first_spin_ev", "spilling"),
        [
            ("lobster_NaCl_spin_BeTe/BeTe", 52, -2.20918, [1.48, 1.48]),
            ("lobster_spin_Fe", 20, -0.49683, [2.43, 4.06]),
        ],
    )
    def test_strongest_bond_and_spilling_of_every_spin(
        self, where: str, bonds: int, strongest_first_spin_ev: float, spilling: list[float]
    ) -> None:
        found = analysed(str(REAL / where))
        assert len(found["bonds"]) == found["listed"] == bonds
        per_spin = [v for b in found["bonds"] for v in b["per_spin"]]
        assert min(per_spin) == pytest.approx(strongest_first_spin_ev, abs=1e-5)
        assert [s["charge_percent"] for s in found["spilling"]] == spilling
        assert found["two_files_agree"]
        assert found["verdict"] == "certified"

    @pytest.mark.parametrize(
        ("name", "percent"), [("largespilling", [7.28, 7.28]), ("largespilling_2", [1.28, 7.28])]
    )
    def test_spilling_of_one_spin_is_enough_to_refuse(self, name: str, percent: list[float]) -> None:
        found = analysed(str(REAL / f"lobster_out_states/lobsterout.{name}"))
        assert [s["charge_percent"] for s in found["spilling"]] == percent
        assert [s["passes"] for s in found["spilling"]] == [p <= 5 for p in percent]
        assert found["verdict"] == "refused"

    @pytest.mark.parametrize(
        ("where", "what"),
        [
            ("crash", "the run crashed or was killed"),
            ("notfinishedlobsterout", "the run crashed or was killed"),
            ("lobsterout.nocohp", "LOBSTER needs 80"),
            ("", "holds 7 LOBSTER runs"),
        ],
    )
    def test_what_did_not_finish_is_refused(self, where: str, what: str) -> None:
        assert what in refused(str(REAL / "lobster_out_states" / where)).what

    def test_a_half_written_curve_and_another_structure_are_refused(self, tmp_path: Path) -> None:
        source = REAL / "lobster_NaCl_spin_BeTe/NaCl"
        other = REAL / "lobster_NaCl_spin_BeTe/BeTe/CONTCAR.gz"
        folder = tmp_path / "NaCl"
        shutil.copytree(source, folder)
        whole = gzip.decompress((source / "COHPCAR.lobster.gz").read_bytes())
        (folder / "COHPCAR.lobster.gz").unlink()
        (folder / "COHPCAR.lobster").write_bytes(whole[: len(whole) // 2])
        assert "is half-written" in refused(str(folder)).what
        assert "another structure" in refused(str(source), "--structure", str(other)).what
        strained = Structure.from_file(source / "CONTCAR.gz").apply_strain(0.01, inplace=False)
        strained.to(filename=str(tmp_path / "CONTCAR"), fmt="poscar")
        error = refused(str(source), "--structure", str(tmp_path / "CONTCAR"))
        assert "Na1-Na1 is 5.692 A in its list, 5.749 A there" in error.what


def test_a_run_is_certified_and_its_structure_checked(run: Path) -> None:
    found = analysed(str(run), "--bonds", "C-O", "--structure", str(run / "CONTCAR"))
    assert found["verdict"] == "certified"
    assert [b["summed"] for b in found["bonds"]] == [-9.0, -9.2]
    assert found["structure_checked"] == str(run / "CONTCAR")
    text = CliRunner().invoke(app, ["analyse", "bonding", str(run), "--bonds", "C-O"]).stdout
    for figure in ("C1-O2", "-4.50000", "-9.00000", "spin 1: 0.80 %", "certified"):
        assert figure in text


def test_spilling_above_the_limit_withholds_every_number(tmp_path: Path) -> None:
    folder = lobster(tmp_path / "x", ether(), [(0, 1, -9.0)], spilling=("0.80", "7.28"))
    found = analysed(str(folder))
    assert found["verdict"] == "refused"
    assert found["bonds"] == []
    assert found["refused_bonds"] == [["C1-O2", pytest.approx(1.41)]]
    assert "withheld" in CliRunner().invoke(app, ["analyse", "bonding", str(folder)]).stdout
    assert "no curve is drawn" in refused(str(folder), "--plot", str(tmp_path / "x.svg")).what
    assert not (tmp_path / "x.svg").exists()


def test_damage_is_one_clear_line(run: Path, tmp_path: Path) -> None:
    table, out = run / "ICOHPLIST.lobster", run / "lobsterout"
    whole_table, whole_out = table.read_text(), out.read_text()
    table.write_text(whole_table[: whole_table.index("  COHP#", 5)])
    assert "a spin channel is missing" in refused(str(run)).what
    table.write_text(whole_table)
    out.write_text(whole_out.replace("0.90%", " nan%"))
    assert "the charge spilling of spin 2 is not a number" in refused(str(run)).what
    out.write_text(whole_out)
    curves = run / "COHPCAR.lobster"
    curves.write_text(curves.read_text()[:-90])
    assert "is half-written" in refused(str(run)).what
    assert "does not exist" in refused(str(tmp_path / "nowhere")).what


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--bonds", "12"], "Unknown bond '12'"),
        (["--bonds", "C-V"], "Unknown bond 'C-V'"),
        (["--atoms", "1,9"], "Unknown pair of atoms '1,9'"),
        (["--atoms", "3"], "names no two atoms"),
        (["--molecule", "1-9"], "--molecule needs --free"),
        (["--plot", "x.gif"], "cannot tell the format"),
        (["--structure", "nowhere"], "nowhere does not exist"),
    ],
)
def test_bad_requests_are_named(run: Path, arguments: list[str], what: str) -> None:
    assert what in refused(str(run), *arguments).what


def test_a_run_on_the_unrelaxed_structure_is_refused(run: Path, tmp_path: Path) -> None:
    moved = ether()
    moved.translate_sites([5], [0, 0, 0.05], frac_coords=False)  # in no bond of the list
    moved.to(filename=str(tmp_path / "CONTCAR"), fmt="poscar")
    error = refused(str(run), "--structure", str(tmp_path / "CONTCAR"))
    assert "H6 is 0.050 A away" in error.what
    ether(apart_ang=1.50).to(filename=str(tmp_path / "CONTCAR"), fmt="poscar")
    error = refused(str(run), "--structure", str(tmp_path / "CONTCAR"))
    assert "C1-O2 is 1.410 A in its list, 1.500 A there" in error.what


def test_the_same_bond_is_compared_though_the_atoms_stand_in_another_order(run: Path, tmp_path: Path) -> None:
    order = [5, 2, 8, 1, 0, 3, 7, 4, 6]
    long = ether(apart_ang=1.50)
    place = {k: 4 + n for n, k in enumerate(order)}
    there = on_magnesia(long, order)
    bonds = [(place[2], place[1], -8.9), (place[0], place[1], -6.3), (1, 0, -1.0)]
    folder = lobster(tmp_path / "adsorbed", there, bonds)
    found = analysed(str(folder), "--free", str(run), "--bonds", "C-O", "--plot", str(tmp_path / "x.svg"))
    assert [(c["name"], c["adsorbed_ev"]) for c in found["changes"]] == [("C1-O2", 6.3), ("O2-C3", 8.9)]
    weak = found["changes"][0]
    assert weak["adsorbed_atoms"] == [place[0], place[1]]
    assert weak["change_ratio"] == pytest.approx(6.3 / 9.0 - 1.0)
    assert weak["adsorbed_ang"] == pytest.approx(1.5)
    assert b"<svg" in (tmp_path / "x.svg").read_bytes()
    # Named atoms give the same; a molecule of other atoms does not.
    assert analysed(str(folder), "--free", str(run), "--bonds", "C-O", "--molecule", "5-13") == found
    assert "the atoms differ" in refused(str(folder), "--free", str(run), "--molecule", "4-12").what
    text = CliRunner().invoke(app, ["analyse", "bonding", str(folder), "--free", str(run)]).stdout
    assert "Weakened most: C1-O2 (-30.0 %)" in text
    assert "not listed" in text  # C-H, which the second run was not asked for


def test_a_broken_bond_has_no_number_and_other_functions_are_not_compared(run: Path, tmp_path: Path) -> None:
    there = on_magnesia(ether(apart_ang=2.6), list(range(9)))
    folder = lobster(tmp_path / "broken", there, [(4, 5, -0.3), (5, 6, -9.0)])
    assert "no molecule in one piece" in refused(str(folder), "--free", str(run)).what
    found = analysed(str(folder), "--free", str(run), "--bonds", "C-O", "--molecule", "5-13")
    assert [(c["note"], c["adsorbed_ev"]) for c in found["changes"]] == [("broken", None), ("", 9.0)]
    other = lobster(tmp_path / "other", there, [(5, 6, -9.0)], carbon="2s 2p_y")
    error = refused(str(other), "--free", str(run), "--molecule", "5-13")
    assert "C was projected on" in error.what


def test_bonds_that_cannot_be_told_apart_are_named_and_the_others_compared(tmp_path: Path) -> None:
    """A methyl that came off has three hydrogens alike; the C-O bonds are still known."""
    free = lobster(
        tmp_path / "free", ether(), [(0, 1, -9.0), (1, 2, -9.2), (0, 3, -11.0), (0, 4, -11.0), (0, 5, -11.0)]
    )
    folder = lobster(tmp_path / "broken", on_magnesia(ether(apart_ang=2.6), list(range(9))), [(5, 6, -9.0)])
    arguments = [str(folder), "--free", str(free), "--molecule", "5-13"]
    found = analysed(*arguments)
    assert [c["name"] for c in found["changes"]] == ["C1-O2", "O2-C3"]
    assert [(b["name"], b["free_ev"]) for b in found["open_bonds"]] == [
        (name, 11.0) for name in ("C1-H4", "C1-H5", "C1-H6")
    ]
    text = CliRunner().invoke(app, ["analyse", "bonding", *arguments]).stdout
    assert text.count("another fits as well") == 3
    assert "3 bonds cannot be told from others there" in text
    hopeless = refused(*arguments, "--bonds", "C-H")
    assert "No bond of" in hopeless.what
    assert "C1-H4, C1-H5, C1-H6" in hopeless.what


def stretched(folder: Path, count: int, *, spilling: tuple[str, str] = ("0.80", "0.90")) -> list[Path]:
    """Write runs on an ether of longer and longer C-O, whose -ICOHP is 1 eV + 0.7 of the index."""
    from epilayer.engines.xtb.bond_indices import bond_indices

    made = []
    for k in range(count):
        molecule = ether(apart_ang=1.35 + 0.02 * k)
        value = 1.0 + 0.7 * bond_indices(molecule, [(0, 1)]).bonds[0].lowdin_ev
        made.append(lobster(folder / f"run{k}", molecule, [(0, 1, -value)], spilling=spilling))
    return made


def test_the_index_is_calibrated_by_imported_runs_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tblite", reason="tblite is not installed (pip install 'epilayer[bonding]')")
    runs = stretched(tmp_path, 8)
    (tmp_path / "spilt").mkdir()
    runs += stretched(tmp_path / "spilt", 1, spilling=("0.80", "7.28"))
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init", "study"]).exit_code == 0
    monkeypatch.chdir(tmp_path / "study")
    imported = CliRunner().invoke(app, ["import", *map(str, runs), "--into-store"])
    assert imported.exit_code == 0, imported.output
    arguments = ["analyse", "calibration", "--bonds", "C-O"]
    found = json.loads(CliRunner().invoke(app, [*arguments, "--into-store", "--json"]).stdout)
    (one,) = found["calibrations"]
    assert (one["bonds"], len(one["pairs"]), one["status"]) == ("C-O", 8, "certified")
    assert one["slope"] == pytest.approx(0.7, abs=1e-3)
    assert one["residual_ev"] < 1e-3
    (why,) = found["left_out"].values()
    assert "refused" in why
    text = CliRunner().invoke(app, arguments).stdout
    assert "C-O, 8 pairs of 8 LOBSTER runs: -ICOHP changes by 0.70 (0.70 to 0.70, 95 %) eV per eV" in text
    stored = json.loads(CliRunner().invoke(app, ["query", "bond_calibration", "-o", "json"]).stdout)
    assert (stored[0]["bonds"], stored[0]["pairs"], stored[0]["status"]) == ("C-O", 8, "certified")
    few = json.loads(CliRunner().invoke(app, [*arguments, *map(str, runs[:7]), "--json"]).stdout)
    assert "too few" in few["calibrations"][0]["refusal"]
    hopeless = CliRunner().invoke(app, [*arguments, str(runs[-1])]).exception
    assert "No run can be calibrated by" in str(hopeless)


def test_a_hydrogen_that_leaves_is_named_with_its_time(tmp_path: Path) -> None:
    path = tmp_path / "walk.extxyz"
    places = [[0, 0, 0], [1.09, 0, 0], [2.6, 0, 0]]
    gone = [[0, 0, 0], [1.63, 0, 0], [2.6, 0, 0]]
    write(path, [Atoms("CHO", p, cell=np.eye(3) * 9, pbc=True) for p in [*[places] * 4, *[gone] * 5]])
    arguments = ["analyse", "hydrogen", str(path), "--time-step-fs", "0.5"]
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    (event,) = found["transfers"]
    assert (event["donor"], event["hydrogen"], event["acceptor"]) == ("C1", "H2", "O3")
    assert (event["time_fs"], event["frames_held"]) == (2.0, 5)
    assert "1 transfers" in CliRunner().invoke(app, arguments).stdout
    assert "0 transfers" in CliRunner().invoke(app, [*arguments, "--hold-frames", "6"]).stdout
