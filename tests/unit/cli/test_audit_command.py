"""``epilayer audit`` from the command line: facts of texts, directories, workflows, JSON and exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command import runner
from epilayer.model.audit import DynamicsFacts, MethodsFacts
from epilayer.study.config import read_yaml

if TYPE_CHECKING:
    from command import Run

DATA = Path(__file__).parents[2] / "data"
KEYS = {"code", "severity", "what", "where", "why", "remedy"}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    return runner(capsys, monkeypatch, "audit")


def test_the_facts_of_a_text_are_audited(run: Run) -> None:
    code, out, _ = run(DATA / "audit" / "as_published.yaml", "--json")
    report = json.loads(out)
    assert code == 1
    assert report["kind"] == "methods"
    assert report["counts"] == {"error": 4, "warning": 12, "note": 0}
    assert all(set(finding) == KEYS for finding in report["findings"])
    assert len({finding["code"] for finding in report["findings"]}) == 16
    assert report["facts"]["cutoff_ev"] == 500.0


def test_a_text_that_states_all_passes_and_another_level_is_named(run: Run, tmp_path: Path) -> None:
    correct = DATA / "audit" / "correct.yaml"
    code, out, _ = run(correct, "--level", "paper+u+d3")
    assert (code, "nothing found" in out) == (0, True)
    other = tmp_path / "other.yaml"
    other.write_text(correct.read_text().replace("cutoff_ev: 500", "cutoff_ev: 400"))
    code, out, _ = run(other, "--level", "paper")
    assert (code, "400 eV is not the 500 eV of level paper" in out) == (1, True)


def test_the_template_names_every_fact_and_its_examples_are_read(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("--template")
    assert code == 0
    filled = tmp_path / "facts.yaml"
    filled.write_text("\n".join(line.removeprefix("# ") for line in out.splitlines()[1:]))
    facts = MethodsFacts.model_validate(read_yaml(filled))
    assert facts.model_fields_set == set(MethodsFacts.model_fields)
    assert facts.dynamics is not None
    assert facts.dynamics.model_fields_set == set(DynamicsFacts.model_fields)
    (tmp_path / "empty.yaml").write_text(out)
    code, _, err = run("empty.yaml")
    assert (code, "states no fact" in err) == (2, True)


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
        ([], "not named"),
        (["letter.txt"], "neither inputs of VASP nor facts"),
        (["facts.yaml"], "unknown key 'cutof_ev'"),
        (["silent.yaml"], "states no fact"),
        (["facts.yaml", "--level", "chgnet"], "no level of VASP"),
        (["facts.yaml", "--quick"], "belong to a workflow"),
        (["binary.yaml"], "cannot be read"),
    ],
)
def test_bad_input_is_one_line(run: Run, tmp_path: Path, arguments: list[str], what: str) -> None:
    (tmp_path / "letter.txt").write_text("Dear colleague, the weather is fine.")
    (tmp_path / "facts.yaml").write_text("cutof_ev: 500\n")
    (tmp_path / "silent.yaml").write_text("title: a letter\n")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    code, _, err = run(*arguments)
    assert code == 2
    assert what in err
    assert "Traceback" not in err
