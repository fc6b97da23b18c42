"""Bad input: each one clear line with a remedy on standard error, a non-zero exit, and never a traceback."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from command import Said, runner
from epilayer import Study
from epilayer.model.errors import InputError
from epilayer.study.config import shipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from command import Run

QUICK = ("--level", "toy", "--quick", "--set", "facets=001", "--set", "ligands=triazole")

LIGAND = """\
name: mine
title: mine
formula: C2H3N3
smiles: c1c[nH]nn1
anchors: [pyridine_n]
source: mine
"""

OVERLAPPING = '''\
"""A pose that sits inside the slab."""

from epilayer.flows.adsorption import facet_slab
from epilayer.structures.sites import check_overlap


def build(catalogue):
    slab = facet_slab(catalogue.cathode("nvopf"), "001").structure
    top = max(slab, key=lambda site: site.coords[2])
    n = len(slab)
    slab.append("N", top.coords + [0.2, 0.0, 0.3], coords_are_cartesian=True)
    check_overlap(slab, [n])
'''


LOCAL_JOB = """\
from jobflow import job

@job
def one():
    return 1

def build(catalogue):
    return one()
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, study: Path) -> Run:
    epilayer = runner(capsys, monkeypatch)

    def call(*arguments: str, at: Path = study) -> Said:
        return epilayer("-C", at, *arguments)

    return call


@pytest.fixture
def study(tmp_path: Path) -> Path:
    root = tmp_path / "study"
    for kind in ("ligands", "levels", "engines", "cathodes"):
        (root / "configs" / kind).mkdir(parents=True)
    (root / "workflows").mkdir()
    (root / "epilayer.yaml").write_text("workers: 1\n")
    return root


def assert_clear(said: Said, *words: str, remedy: str = "", code: int | None = None) -> None:
    """One line that says what is wrong, one that says what to do, and an exit code that says it failed."""
    lines = said.err.strip().splitlines()
    shown = said.err or said.out
    assert len(lines) == 2, shown
    assert lines[0].startswith("Error: "), shown
    assert lines[1].startswith("       "), shown
    assert len(lines[1].strip()) > 5, shown
    for word in words:
        assert word in lines[0]
    assert remedy in lines[1]
    assert "Traceback" not in said.err
    assert said.code != 0
    assert code is None or said.code == code


class TestNames:
    @pytest.mark.parametrize(
        ("arguments", "word", "remedy"),
        [
            (("--set", "ligands=triazol"), "ligand 'triazol'", "Did you mean 'triazole'?"),
            (("--set", "cathode=nvopff"), "cathode 'nvopff'", "Did you mean 'nvopf'?"),
            (("--level", "chgnet+d4"), "level 'chgnet+d4'", "Did you mean 'chgnet+d3'?"),
            (("--set", "check_levels=sevenet"), "level 'sevenet'", "Did you mean 'sevennet-0'?"),
            (("--set", "pose=3"), "setting 'pose'", "Did you mean 'poses'?"),
        ],
    )
    def test_unknown_ones_are_answered_with_what_was_meant(
        self, run: Run, arguments: tuple[str, ...], word: str, remedy: str
    ) -> None:
        said = run("submit", "paper_adsorption", "--dry-run", *arguments)
        assert_clear(said, "Unknown", word, remedy=remedy, code=2)

    def test_an_unknown_workflow(self, run: Run) -> None:
        assert_clear(run("run", "paper_adsorpton"), "workflow", remedy="'paper_adsorption'", code=2)

    def test_a_level_in_the_settings_of_the_study(self, run: Run, study: Path) -> None:
        (study / "epilayer.yaml").write_text("level: toyy\n")
        assert_clear(run("submit", "paper_adsorption", "--dry-run"), "level 'toyy'", remedy="'toy'", code=2)

    @pytest.mark.parametrize("command", [("jobs", "show"), ("jobs", "log"), ("rerun",), ("cancel",)])
    def test_an_unknown_job(self, run: Run, command: tuple[str, ...]) -> None:
        assert_clear(run(*command, "999"), "999")

    def test_an_unknown_flow(self, run: Run) -> None:
        assert_clear(run("status", "f77"), "f77")

    def test_an_unknown_state(self, run: Run) -> None:
        assert_clear(run("jobs", "list", "--state", "fialed"), "state", remedy="failed")

    def test_an_unknown_kind(self, run: Run) -> None:
        assert_clear(run("query", "adsorbtion"), "kind of record", remedy="'adsorption'")
        assert_clear(run("list", "ligand"), "kind", remedy="'ligands'")

    def test_a_study_that_is_not_there(self, run: Run, tmp_path: Path) -> None:
        said = run("status", at=tmp_path / "nowhere")
        assert_clear(said, "no study directory", remedy="epilayer init", code=2)

    def test_a_second_init(self, run: Run, study: Path) -> None:
        assert_clear(run("init", str(study)), "is a study already", code=2)


class TestSettings:
    @pytest.mark.parametrize(
        ("setting", "words"),
        [
            ("poses=many", "--set poses"),
            ("poses=2.5", "--set poses"),
            ("quick=perhaps", "--set quick"),
            ("poses", "has no '='"),
            ("poses=0", "poses"),
            ("keep=-1", "keep"),
            ("max_steps=0", "max_steps"),
            ("facets=", "no facet"),
            ("ligands=", "no ligand"),
            ("facets=001,001", "'001' twice"),
            ("facets=top", "'top'"),
        ],
    )
    def test_wrong_values(self, run: Run, setting: str, words: str) -> None:
        said = run("submit", "paper_adsorption", "--dry-run", "--level", "toy", "--set", setting)
        assert_clear(said, words, code=2)

    def test_settings_without_a_workflow(self, run: Run) -> None:
        assert_clear(run("run", "--set", "poses=2"), "belong to a workflow", remedy="epilayer run WORKFLOW")

    def test_a_rerun_of_nothing(self, run: Run) -> None:
        assert_clear(run("rerun"), "Nothing was named", remedy="--failed")

    def test_an_undo_of_nothing(self, run: Run) -> None:
        assert_clear(run("rerun", "--undo"), "rerun")


class TestFiles:
    @pytest.mark.parametrize(
        ("text", "words", "remedy"),
        [
            (LIGAND.replace("anchors", "anchor"), "unknown key 'anchor'", "Did you mean 'anchors'?"),
            (LIGAND + "name: mine\n", "'name' stands twice", "Keep one"),
            (LIGAND.replace("source: mine\n", ""), "'source' is missing", "Add 'source'"),
            (LIGAND.replace("[pyridine_n]", "[pyridine_n"), "line", "Correct the file"),
            (LIGAND.replace("name: mine", "name: yours"), "'yours'", "same name"),
            (LIGAND.replace("c1c[nH]nn1", "c1c[nH]nn"), "mine", ""),
            (
                LIGAND.replace("C2H3N3", "CH3").replace("c1c[nH]nn1", "'[CH3]'"),
                "odd electron count without multiplicity",
                "Correct",
            ),
            (LIGAND.replace("C2H3N3", "C3H3N3"), "C3H3N3", ""),
        ],
    )
    def test_a_ligand_that_cannot_be_used(
        self, run: Run, study: Path, text: str, words: str, remedy: str
    ) -> None:
        (study / "configs" / "ligands" / "mine.yaml").write_text(text)
        said = run("submit", "paper_adsorption", "--dry-run", "--level", "toy", "--set", "ligands=mine")
        assert_clear(said, words, remedy=remedy, code=2)

    def test_a_ligand_inside_the_slab(self, run: Run, study: Path) -> None:
        (study / "workflows" / "overlapping.py").write_text(OVERLAPPING)
        said = run("submit", "overlapping", "--dry-run")
        assert_clear(said, "N72", "overlaps slab atom", code=2)

    @pytest.mark.parametrize(
        ("text", "words", "remedy"),
        [
            ("def build(catalogue:\n", "mine.py line 1: SyntaxError", "workflow file"),
            ("import nosuchmodule\n", "mine.py line 1: ModuleNotFoundError", "workflow file"),
            ("raise ValueError('one\\ntwo')\n", "mine.py line 1: ValueError: one two", "workflow file"),
            ("raise SystemExit(0)\n", "SystemExit", "workflow file"),
            ("def build(catalogue):\n    return 1 / 0\n", "mine.py line 2: ZeroDivisionError", "--debug"),
            ("def build(catalogue):\n    return None\n", "returned NoneType", "return Flow"),
            ("def build():\n    return None\n", "TypeError", "workflow file"),
            (LOCAL_JOB, "the job 'one' is a function of this file", "Move the function"),
            ("def construct(catalogue):\n    return None\n", "no function build", "build(catalogue"),
        ],
    )
    def test_a_workflow_file_that_cannot_be_used(
        self, run: Run, study: Path, text: str, words: str, remedy: str
    ) -> None:
        (study / "workflows" / "mine.py").write_text(text)
        said = run("run", "mine")
        assert_clear(said, str(study / "workflows" / "mine.py"), words, remedy=remedy, code=2)
        # And it does not hide the others.
        listed = run("list", "workflows")
        assert "paper_adsorption" in listed.out
        assert listed.code == 0

    @pytest.mark.parametrize("place", [".", "workflows"])
    def test_a_misspelt_path(self, run: Run, place: str) -> None:
        assert_clear(run("submit", f"{place}/nowhere.py"), "workflow file", "nowhere.py", code=2)

    def test_a_misspelt_setting_of_the_study(self, run: Run, study: Path) -> None:
        (study / "epilayer.yaml").write_text("worker: 1\n")
        assert_clear(run("status"), "unknown key 'worker'", remedy="'workers'", code=2)


class TestQueries:
    @pytest.fixture(scope="class")
    @classmethod
    def computed(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        root = tmp_path_factory.mktemp("computed")
        (root / "epilayer.yaml").write_text("workers: 1\n")
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [*_PROGRAM, "-C", str(root), "run", "paper_adsorption", *QUICK]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return root

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--where", "facett=100"), "facett"),
            (("--where", "facet"), "facet"),
            (("--where", "adsorption_energy_ev<low"), "low"),
            (("--sort", "nosuchfield"), "nosuchfield"),
            (("--field", "nosuchfield"), "nosuchfield"),
        ],
    )
    def test_unknown_fields_and_wrong_values(
        self, run: Run, computed: Path, arguments: tuple[str, ...], words: str
    ) -> None:
        assert_clear(run("query", "adsorption", *arguments, at=computed), words)

    @pytest.mark.parametrize(
        ("file", "command"),
        [
            ("queue", ("status",)),
            ("queue", ("run",)),
            ("queue", ("jobs", "list")),
            ("results", ("query", "adsorption")),
            ("results", ("report",)),
            ("outputs", ("run",)),
        ],
    )
    def test_files_of_a_newer_version(
        self, run: Run, computed: Path, tmp_path: Path, file: str, command: tuple[str, ...]
    ) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(computed, copy)
        path = copy / ".epilayer" / f"{file}.sqlite"
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 9999")
        database.close()
        before = path.read_bytes()
        assert_clear(run(*command, at=copy), str(path), "9999", remedy="Upgrade epilayer")
        assert path.read_bytes() == before

    @pytest.mark.parametrize("file", ["queue", "results"])
    def test_files_that_are_damaged(self, run: Run, computed: Path, tmp_path: Path, file: str) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(computed, copy)
        path = copy / ".epilayer" / f"{file}.sqlite"
        for beside in path.parent.glob(f"{file}.sqlite-*"):
            beside.unlink()
        path.write_bytes(b"this is no database at all" * 100)
        command = ("status",) if file == "queue" else ("query", "adsorption")
        assert_clear(run(*command, at=copy), str(path))

    def test_what_an_interrupted_write_left_is_harmless(
        self, run: Run, computed: Path, tmp_path: Path
    ) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(computed, copy)
        for name in ("report.html.partial", ".report.html.tmp", ".epilayer/results.sqlite.tmp"):
            (copy / name).write_bytes(b"half a")
        said = run("query", "adsorption", "--format", "json", at=copy)
        assert said.code == 0
        assert '"facet": "001"' in said.out
        said = run("report", at=copy)
        assert said.code == 0, said.err
        assert (copy / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


_PROGRAM = [sys.executable, "-c", "from epilayer.cli import main; main()"]


@pytest.fixture
def read_only(study: Path) -> Iterator[Callable[..., Said]]:
    """Run a command in a study that may not be written, without root's right to write everywhere."""
    program = list(_PROGRAM)
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root writes everywhere, and there is no setpriv to take that right away")
        program = [setpriv, "--bounding-set=-dac_override", "--inh-caps=-dac_override", *program]
    study.chmod(0o555)

    def call(*arguments: str) -> Said:
        command = [*program, "-C", str(study), *arguments]
        environment = os.environ | {"COLUMNS": "200"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    yield call
    study.chmod(0o755)


@pytest.mark.parametrize(
    "command", [("status",), ("query", "adsorption"), ("run", "paper_adsorption", *QUICK)]
)
def test_a_folder_that_may_not_be_written(
    read_only: Callable[..., Said], study: Path, command: tuple[str, ...]
) -> None:
    assert_clear(read_only(*command), str(study), remedy="writ")


def test_shipped_material_that_is_missing_is_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from epilayer.study import config

    monkeypatch.setattr(config, "__file__", str(tmp_path / "a" / "b" / "c" / "config.py"))
    assert_clear(run("list", "ligands"), "lacks its", remedy="Reinstall")
    monkeypatch.undo()
    assert shipped("configs").is_dir()


def test_the_traceback_is_there_for_who_asks(run: Run, study: Path) -> None:
    (study / "workflows" / "mine.py").write_text("def build(catalogue):\n    return 1 / 0\n")
    said = run("--debug", "run", "mine")
    assert "ZeroDivisionError" in said.err
    assert "Traceback" in said.err
    assert said.code == 2


def test_a_store_that_is_no_address_is_refused_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "epilayer.yaml").write_text("store: postgres://me:s3cret@host/db\n")
    with pytest.raises(InputError, match="results cannot be kept in 'postgres'") as refusal:
        Study.open(tmp_path)
    assert "s3cret" not in str(refusal.value)
