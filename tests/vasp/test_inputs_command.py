"""``epilayer inputs`` from the command line: what it writes beside the files, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from epilayer.engines.base import Engine
from epilayer.engines.dry import InputsOnly
from epilayer.model.errors import EngineError, InputError
from epilayer.structures import molecules
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from pathlib import Path


def test_the_dry_engine_satisfies_the_protocol(tmp_path: Path) -> None:
    known = Catalogue((shipped("configs"),))
    engine = InputsOnly(known.engine("paper"), str(tmp_path))
    assert isinstance(engine, Engine)
    assert engine.level.name == "paper"


def test_a_folder_says_what_it_is_and_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pymatgen.core

    monkeypatch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", raising=False)
    known = Catalogue((shipped("configs"),))
    box = molecules.in_box(molecules.build(known.ligand("water"), 0), vacuum_ang=15.0)
    maker = InputsOnly(known.engine("paper"), str(tmp_path)).relax("molecule water (1)")
    for _ in range(2):
        done = maker.make.original(maker, box)
        assert done.level.stand_in
    folders = sorted(p.name for p in tmp_path.iterdir())
    assert folders == ["molecule-water-1", "molecule-water-1-2"]
    about = json.loads((tmp_path / folders[0] / "calculation.json").read_text())
    assert about["files"] == ["INCAR", "KPOINTS", "POSCAR", "POTCAR.spec"]
    assert (about["level"], about["task"], about["atoms"]) == ("paper", "relax", 3)


def test_a_charged_cell_without_potcars_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pymatgen.core

    monkeypatch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", raising=False)
    known = Catalogue((shipped("configs"),))
    box = molecules.in_box(molecules.build(known.ligand("2-methylimidazolate"), 0), vacuum_ang=15.0)
    with pytest.raises(EngineError, match=r"charge -1; NELECT needs"):
        known.engine("paper").relax("anion").write(box, tmp_path / "x")


@pytest.mark.usefixtures("vasp")
def test_a_charged_cell_states_its_electrons(tmp_path: Path) -> None:
    known = Catalogue((shipped("configs"),))
    box = molecules.in_box(molecules.build(known.ligand("2-methylimidazolate"), 0), vacuum_ang=15.0)
    assert known.engine("paper").relax("anion").write(box, tmp_path / "x")
    incar = (tmp_path / "x" / "INCAR").read_text()
    assert "NELECT = 32.0" in incar  # C4H5N2-: 16 + 5 + 10 + 1
    assert "NUPDOWN = 0" in incar


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    from epilayer.cli.inputs import inputs

    (tmp_path / "mine").write_text("keep me", encoding="utf-8")
    with pytest.raises(InputError, match="is not empty"):
        inputs("paper_adsorption", tmp_path)


def test_dynamics_write_their_first_segment_and_say_how_the_next_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import pymatgen.core

    from epilayer.cli.inputs import inputs

    monkeypatch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", raising=False)
    chosen = ["seeds=1,2", "nve_check_steps=10"]
    inputs("met6_transport", tmp_path / "in", level="paper", settings=chosen, quick=True, as_json=True)
    rows = {row["label"]: row for row in json.loads(capsys.readouterr().out)}
    dynamics = [row for row in rows.values() if row["task"] == "dynamics"]
    assert sorted(row["task"] for row in rows.values()) == ["dynamics", "dynamics", "relax"]
    assert all(row["files"] == ["INCAR", "KPOINTS", "POSCAR", "POTCAR.spec"] for row in rows.values())
    assert all("CONTCAR of the one before" in row["later_segments"] for row in dynamics)
    assert all("200 steps, at most 100" in row["later_segments"] for row in dynamics)
    incars = [path.read_text() for path in sorted((tmp_path / "in").glob("dynamics*/INCAR"))]
    assert [f"RANDOM_SEED = {seed} 0 0" in text for seed, text in zip((1, 2), incars, strict=True)] == [
        True
    ] * 2
    assert all("NSW = 101\n" in text for text in incars)  # the start, and 100 steps to the first cut
