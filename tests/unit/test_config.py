"""Configuration: which study is meant, what a file may say, and that every shipped file is sound."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from epilayer import Study
from epilayer.model.errors import EngineError, InputError, UnknownNameError
from epilayer.study.config import Catalogue, Settings, read_yaml, shipped
from epilayer.study.names import STUDY_FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIGS = shipped("configs")
SHIPPED = sorted(p for p in CONFIGS.rglob("*.yaml") if p.parent.name in Catalogue.KINDS)

TETRAZOLE = """\
name: tetrazole
title: 1H-tetrazole
formula: CH2N4
smiles: c1nnn[nH]1
charge: 0
multiplicity: 1
anchors: [pyridine_n, n_h]
source: a ligand of my own
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EPILAYER_STUDY", raising=False)
    (tmp_path / STUDY_FILE).write_text("workers: 1\n")
    for kind in ("ligands", "levels", "engines"):
        (tmp_path / "configs" / kind).mkdir(parents=True)
    (tmp_path / "workflows").mkdir()
    return tmp_path


def write(study: Path, where: str, text: str) -> Path:
    path = study / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


class TestWhichStudy:
    def test_the_nearest_one_above_the_current_folder(
        self, study: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deep = study / "runs" / "a" / "b"
        deep.mkdir(parents=True)
        monkeypatch.chdir(deep)
        assert Study.open().root == study.resolve()
        assert Study.open().settings == Settings(workers=1)

    def test_the_one_that_the_environment_names(
        self, study: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
        monkeypatch.setenv("EPILAYER_STUDY", str(study))
        assert Study.open().root == study.resolve()

    def test_the_one_that_is_named_wins(
        self, study: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = tmp_path_factory.mktemp("other")
        monkeypatch.chdir(study)
        monkeypatch.setenv("EPILAYER_STUDY", str(study))
        assert Study.open(other).root == other.resolve()

    def test_without_any_the_current_folder_with_default_settings(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("EPILAYER_STUDY", raising=False)
        monkeypatch.chdir(tmp_path)
        found = Study.open()
        assert (found.root, found.settings) == (tmp_path.resolve(), Settings())
        assert 1 <= found.workers <= min(4, os.cpu_count() or 1)
        assert list(tmp_path.iterdir()) == []  # looking leaves no trace

    @pytest.mark.parametrize("through", ["argument", "environment"])
    def test_a_named_one_must_exist(
        self, through: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        missing = tmp_path / "missing"
        monkeypatch.setenv("EPILAYER_STUDY", str(missing) if through == "environment" else "")
        with pytest.raises(InputError, match="no study directory") as caught:
            Study.open(missing if through == "argument" else None)
        assert "epilayer init" in caught.value.remedy

    def test_a_misspelt_setting(self, study: Path) -> None:
        write(study, STUDY_FILE, "worker: 2\n")
        with pytest.raises(InputError, match="unknown key 'worker'") as caught:
            Study.open(study)
        assert "Did you mean 'workers'?" in caught.value.remedy

    @pytest.mark.parametrize("text", ["workers: 0\n", "workers: many\n", "queue: []\n"])
    def test_a_wrong_setting_names_its_key(self, study: Path, text: str) -> None:
        write(study, STUDY_FILE, text)
        with pytest.raises(InputError, match=text.partition(":")[0]):
            Study.open(study)


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a: 1\na: 2\n", "'a' stands twice"),
            ("outer:\n  b: 1\n  b: 2\n", "'b' stands twice"),
            ("- one\n- two\n", "expected a mapping"),
            ("just text\n", "expected a mapping"),
            ("a: [1, 2\n", "line 2"),
            ("a: 1\n b: 2\n", "line 2"),
            ("? [x, y]\n: 1\n", "a key is a list or a mapping"),
            ("a: !!python/object/apply:os.system ['true']\n", "line 1"),
        ],
    )
    def test_what_is_not_a_plain_mapping_is_refused_in_one_line(
        self, tmp_path: Path, text: str, words: str
    ) -> None:
        path = write(tmp_path, "x.yaml", text)
        with pytest.raises(InputError) as caught:
            read_yaml(path)
        assert words in caught.value.what
        assert str(path) in caught.value.what
        assert "\n" not in str(caught.value)

    def test_an_empty_file_is_an_empty_mapping(self, tmp_path: Path) -> None:
        assert read_yaml(write(tmp_path, "x.yaml", "# nothing yet\n")) == {}

    def test_what_cannot_be_read_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").write_bytes(b"title: \xff\xfe\n")
        for path in (tmp_path / "x.yaml", tmp_path / "missing.yaml"):
            with pytest.raises(InputError, match="cannot be read"):
                read_yaml(path)


def loader(catalogue: Catalogue, kind: str) -> Callable[[str], object]:
    name = {"engines": "engine_spec"}.get(kind, kind.removesuffix("s"))
    method: Callable[[str], object] = getattr(catalogue, name)
    return method


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_shipped_file_is_sound_and_says_where_it_is_from(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = read_yaml(path)
    for name in re.findall(r"\$\{(\w+)\}", path.read_text(encoding="utf-8")):
        monkeypatch.setenv(name, "mongodb://localhost:27017/epilayer")
    assert str(data.get("source", "")).strip(), "every number has a source"
    catalogue = Catalogue((CONFIGS,))
    kind = path.parent.name
    if not hasattr(catalogue, {"engines": "engine_spec"}.get(kind, kind.removesuffix("s"))):
        pytest.skip(f"{kind} are read by another part of the package")
    value = loader(catalogue, kind)(path.stem)
    assert getattr(value, "name", path.stem) == path.stem


def test_every_shipped_level_names_a_shipped_engine_and_has_a_fingerprint() -> None:
    catalogue = Catalogue((CONFIGS,))
    for name in catalogue.names("levels"):
        assert catalogue.level(name).engine in catalogue.names("engines")
    for name in ("toy", "chgnet", "chgnet+d3", "sevennet-0", "sevennet-0+d3"):
        assert catalogue.engine(name).level.name == name


def test_packaged_weights_carry_a_checksum() -> None:
    catalogue = Catalogue((CONFIGS,))
    for name in catalogue.names("engines"):
        weights = catalogue.engine_spec(name).weights
        assert weights is None or weights.package is None or weights.sha256 is not None, name


class TestOwnFiles:
    def test_a_ligand_takes_one_short_file(self, study: Path) -> None:
        assert len(TETRAZOLE.splitlines()) <= 12
        write(study, "configs/ligands/tetrazole.yaml", TETRAZOLE)
        catalogue = Study.open(study).catalogue
        assert "tetrazole" in catalogue.names("ligands")
        assert "triazole" in catalogue.names("ligands")  # what is shipped stays
        assert catalogue.ligand("tetrazole").smiles == "c1nnn[nH]1"

    def test_an_own_file_shadows_the_shipped_one(self, study: Path) -> None:
        text = TETRAZOLE.replace("tetrazole", "triazole").replace("1H-triazole", "mine")
        write(study, "configs/ligands/triazole.yaml", text)
        catalogue = Study.open(study).catalogue
        assert catalogue.ligand("triazole").title == "mine"
        assert catalogue.names("ligands")["triazole"].is_relative_to(study)

    def test_a_file_and_its_name_agree(self, study: Path) -> None:
        write(study, "configs/ligands/another.yaml", TETRAZOLE)
        with pytest.raises(InputError, match="its name is 'tetrazole', the file's is 'another'"):
            Study.open(study).catalogue.ligand("another")

    @pytest.mark.parametrize(
        ("line", "wrong", "suggestion"),
        [("charge: 0", "charg: 0", "'charge'"), ("anchors:", "anchor:", "'anchors'")],
    )
    def test_a_misspelt_key(self, study: Path, line: str, wrong: str, suggestion: str) -> None:
        path = write(study, "configs/ligands/tetrazole.yaml", TETRAZOLE.replace(line, wrong))
        with pytest.raises(InputError) as caught:
            Study.open(study).catalogue.ligand("tetrazole")
        assert str(path) in caught.value.what
        assert f"Did you mean {suggestion}?" in caught.value.remedy

    def test_a_misspelt_key_deep_inside(self, study: Path) -> None:
        text = (CONFIGS / "levels" / "toy.yaml").read_text().replace("max_steps", "maxsteps")
        write(study, "configs/levels/toy.yaml", text)
        with pytest.raises(InputError, match=r"unknown key 'convergence\.maxsteps'") as caught:
            Study.open(study).catalogue.level("toy")
        assert "Did you mean 'max_steps'?" in caught.value.remedy

    def test_a_missing_source_is_asked_for(self, study: Path) -> None:
        text = "\n".join(x for x in TETRAZOLE.splitlines() if not x.startswith("source"))
        write(study, "configs/ligands/tetrazole.yaml", text)
        with pytest.raises(InputError, match="'source' is missing"):
            Study.open(study).catalogue.ligand("tetrazole")

    @pytest.mark.parametrize(
        ("ask", "kind", "name", "meant"),
        [
            ("level", "level", "chgnet+d4", "'chgnet+d3'"),
            ("ligand", "ligand", "triazol", "'triazole'"),
            ("cathode", "cathode", "nvopff", "'nvopf'"),
            ("engine_spec", "engine", "chgnett", "'chgnet'"),
            ("mof", "mof", "met-6", "'met6'"),
        ],
    )
    def test_an_unknown_name(self, study: Path, ask: str, kind: str, name: str, meant: str) -> None:
        with pytest.raises(UnknownNameError, match=re.escape(f"Unknown {kind} '{name}'")) as caught:
            getattr(Study.open(study).catalogue, ask)(name)
        assert f"Did you mean {meant}?" in caught.value.remedy

    def test_of_several_publications_one_is_named(self, study: Path) -> None:
        catalogue = Study.open(study).catalogue
        (shipped_name,) = catalogue.names("references")
        assert catalogue.reference().name == shipped_name
        text = "name: other\ntitle: t\ncitation: c\ndoi: 10.1000/x\nsource: made up\n"
        write(study, "configs/references/other.yaml", text)
        catalogue = Study.open(study).catalogue
        with pytest.raises(InputError, match=r"There are 2 publications .* as in reference: isotropic"):
            catalogue.reference()
        assert catalogue.reference("other").name == "other"

    def test_weights_lie_beside_the_yaml_that_names_them(self, study: Path) -> None:
        from epilayer.engines.mlip import calculators

        write(
            study,
            "configs/engines/mine.yaml",
            "name: mine\ntitle: mine\nkind: toy\nmethod: mine\nsource: me\nweights: {path: mine.pt}\n",
        )
        spec = Study.open(study).catalogue.engine_spec("mine")
        with pytest.raises(EngineError, match="no weights at"):
            calculators.weights_file(spec)
        file = write(study, "configs/engines/mine.pt", "weights")
        assert calculators.weights_file(spec) == file

    def test_the_cif_of_a_mof_lies_beside_the_yaml_that_names_it(self, study: Path) -> None:
        cif = "data_mine\n_cell_length_a 10\n"
        write(
            study,
            "configs/mofs/mine.yaml",
            "name: mine\nformula: ZnO\nsource: a framework of my own making\n"
            "crystal: {source: a file of my own making, cif: mine.cif}\n",
        )
        with pytest.raises(InputError, match=r"mine\.cif cannot be read"):
            Study.open(study).catalogue.mof("mine")
        write(study, "configs/mofs/mine.cif", cif)
        assert Study.open(study).catalogue.mof("mine").crystal.cif == cif

    def test_convergence_given_in_passing_is_checked(self, study: Path) -> None:
        catalogue = Study.open(study).catalogue
        assert catalogue.engine("toy", max_steps=7).level.convergence.max_steps == 7
        for wrong in ({"max_steps": 0}, {"max_force_ev_per_ang": -1.0}, {"max_stepz": 3}):
            with pytest.raises(InputError, match=next(iter(wrong))):
                catalogue.engine("toy", **wrong)


class TestWorkflows:
    def test_own_workflows_shadow_and_helpers_stay_hidden(self, study: Path) -> None:
        mine = write(study, "workflows/mine.py", "")
        write(study, "workflows/_helper.py", "")
        own = write(study, "workflows/paper_adsorption.py", "")
        found = Study.open(study)
        assert found.workflow("mine") == mine
        assert found.workflow("paper_adsorption") == own
        assert "_helper" not in found.workflows()

    def test_a_path_is_taken_from_here_or_from_the_study(
        self, study: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        here = write(elsewhere, "here.py", "")
        there = write(study, "workflows/there.py", "")
        monkeypatch.chdir(elsewhere)
        found = Study.open(study)
        assert found.workflow("here.py") == here.resolve()
        assert found.workflow("workflows/there.py") == there.resolve()
        with pytest.raises(UnknownNameError, match="workflow file"):
            found.workflow("nowhere.py")

    def test_an_unknown_workflow(self, study: Path) -> None:
        with pytest.raises(UnknownNameError) as caught:
            Study.open(study).workflow("paper_adsorbtion")
        assert "Did you mean 'paper_adsorption'?" in caught.value.remedy
