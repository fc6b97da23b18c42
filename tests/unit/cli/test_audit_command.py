"""``epilayer audit`` from the command line: texts, facts, directories, workflows, JSON and exit codes."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command import runner

if TYPE_CHECKING:
    from command import Run

DATA = Path(__file__).parents[2] / "data"
KEYS = {"code", "severity", "what", "where", "why", "remedy"}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    return runner(capsys, monkeypatch, "audit")


@pytest.mark.parametrize("name", ["as_published.txt", "as_published.yaml"])
def test_the_published_facts_as_prose_and_as_yaml_give_the_same_findings(run: Run, name: str) -> None:
    code, out, _ = run(DATA / "audit" / name, "--json")
    report = json.loads(out)
    assert code == 1
    assert report["kind"] == "methods"
    assert report["counts"] == {"error": 4, "warning": 12, "note": 0}
    assert all(set(finding) == KEYS for finding in report["findings"])
    assert len({finding["code"] for finding in report["findings"]}) == 16
    assert report["facts"]["cutoff_ev"] == 500.0


def test_a_correct_text_passes_and_another_level_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    correct = DATA / "audit" / "correct.txt"
    code, out, _ = run(correct, "--level", "paper+u+d3")
    assert (code, "nothing found" in out) == (0, True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(correct.read_text().replace("500 eV", "400 eV")))
    code, out, _ = run("-", "--level", "paper")
    assert (code, "400 eV is not the 500 eV of level paper" in out) == (1, True)


def test_a_directory_follows_the_level_it_names(run: Run, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(DATA / "golden-s6-s8" / "paper", tree)
    assert run(tree)[0] == 1
    for folder in tree.iterdir():
        (folder / "calculation.json").write_text('{"level": "paper"}')
    code, out, _ = run(tree, "--json")
    report = json.loads(out)
    assert (code, report["levels"], report["calculations"]) == (0, ["paper"], 3)
    assert {f["code"]: f["severity"] for f in report["findings"]} == {
        "missing_hubbard": "warning",
        "missing_dispersion": "warning",
        "missing_dipole": "warning",
        "frozen_framework": "warning",
        "too_few_ions": "warning",
    }
    one = next(tree.iterdir()) / "INCAR"
    assert json.loads(run(one, "--json")[1])["calculations"] == 1


def test_a_workflow_is_audited_without_being_run(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(
        "paper_adsorption", "--level", "paper+u+d3", "--quick",
        "--set", "facets=001", "--set", "ligands=triazole", "--json",
    )  # fmt: skip
    report = json.loads(out[out.index("{") :])
    assert (code, report["kind"], report["levels"]) == (0, "workflow", ["paper+u+d3"])
    assert {f["code"] for f in report["findings"]} <= {"loose_forces"}
    assert report["calculations"] >= 4
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["nowhere"], "no file, directory or workflow"),
        (["."], "holds no inputs of VASP"),
        (["letter.txt"], "nothing of a method"),
        (["facts.yaml"], "unknown key 'cutof_ev'"),
        (["picture.png"], "neither inputs of VASP nor a methods text"),
        (["letter.txt", "--level", "chgnet"], "no level of VASP"),
        (["letter.txt", "--quick"], "belong to a workflow"),
        (["binary.txt"], "cannot be read"),
    ],
)
def test_bad_input_is_one_line(run: Run, tmp_path: Path, arguments: list[str], what: str) -> None:
    (tmp_path / "letter.txt").write_text("Dear colleague, the weather is fine.")
    (tmp_path / "facts.yaml").write_text("cutof_ev: 500\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    code, _, err = run(*arguments)
    assert code == 2
    assert what in err
    assert "Traceback" not in err
