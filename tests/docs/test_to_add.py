"""The table "Add something" of CONTRIBUTING.md is complete: a dummy is added by exactly the files that a row names."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pages import ROOT

PROGRAM = [sys.executable, "-c", "from epilayer.cli import main; main()"]
COPIED = ("src", "configs", "workflows", "slurm")
ROWS = {
    re.sub(r" \(\*tested\*\)", "", what).strip(): (re.findall(r"`([\w./-]+)`", files), "tested" in what)
    for what, files in re.findall(
        r"^\| ((?:a|an) [^|]+) \| ([^|]+) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE
    )
}


class Checkout:
    """A copy of the package, to which one thing is added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        self._before = self._hashes()

    def _hashes(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for top in COPIED
            for path in (self.folder / top).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }

    def changed(self) -> set[str]:
        now = self._hashes()
        return {name for name in now if now[name] != self._before.get(name)}

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def insert(self, name: str, before: str, text: str) -> None:
        path = self.folder / name
        old = path.read_text(encoding="utf-8")
        assert old.count(before) == 1, f"{name}: {before!r}"
        path.write_text(old.replace(before, text + before), encoding="utf-8")

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder / "src"), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


def assert_exactly(checkout: Checkout, row: str, name: str) -> None:
    """What was touched is what the row names, no more and no less."""
    files, _ = ROWS[row]
    named = {file.replace("NAME", name) for file in files}
    changed = checkout.changed()
    assert all(any(c == n or c.startswith(f"{n}/") for c in changed) for n in named), (named, changed)
    assert all(any(c == n or c.startswith(f"{n}/") for n in named) for c in changed), (named, changed)


def test_the_rows_marked_as_tested_are_those_that_are_tested_here() -> None:
    assert {row for row, (_, tested) in ROWS.items() if tested} == {
        "a ligand, electrolyte or solvent",
        "a workflow",
        "an engine of another kind",
        "a record kind",
    }


def test_a_ligand_and_a_workflow(checkout: Checkout) -> None:
    checkout.write(
        "configs/ligands/dummy-azole.yaml",
        "name: dummy-azole\ntitle: pyrazole\nformula: C3H4N2\nsmiles: c1cc[nH]n1\nsource: its constitution\n",
    )
    assert_exactly(checkout, "a ligand, electrolyte or solvent", "dummy-azole")
    checkout.write(
        "workflows/dummy_workflow.py",
        '"""The dummy on one facet."""\n\nfrom functools import partial\n\n'
        "from epilayer.flows.studies import adsorption_study\n\n"
        'build = partial(adsorption_study, cathode="nvopf", facets=("100",), ligands=("dummy-azole",))\n',
    )
    assert checkout.changed() == {"configs/ligands/dummy-azole.yaml", "workflows/dummy_workflow.py"}
    assert ROWS["a workflow"][0] == ["workflows/NAME.py"]
    checkout.run("init", "study")
    assert "dummy-azole" in checkout.run("-C", "study", "list", "ligands")
    checkout.run("-C", "study", "run", "dummy_workflow", "--level", "toy", "--quick")
    assert "dummy-azole" in checkout.run("-C", "study", "query", "adsorption", "--format", "csv")
