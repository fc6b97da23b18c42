"""The table of what to add in CONTRIBUTING.md is complete: a dummy needs exactly the files that it names."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pages import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = [sys.executable, "-c", "from epilayer.cli import main; main()"]
COPIED = ("src", "configs", "workflows", "slurm")
ROWS = {
    re.sub(r" \(\*tested\*\)", "", what).strip(): (re.findall(r"`([\w./-]+)`", files), "tested" in what)
    for what, files in re.findall(
        r"^\| ((?:a|an) [^|]+) \| ([^|]+) \|",
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
}


class Checkout:
    """A copy of the package, to which one thing is added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".*"))
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


def test_an_engine_of_another_kind(checkout: Checkout) -> None:
    checkout.write(
        "src/epilayer/engines/dummy/__init__.py",
        '"""A dummy engine: the toy potential under another name."""\n\n'
        "from epilayer.engines.mlip.engine import MlipEngine\n\n\n"
        'class DummyEngine(MlipEngine):\n    """An engine of its own class."""\n',
    )
    checkout.insert(
        "src/epilayer/study/config.py",
        '    "dft": "epilayer.engines.vasp.engine.VaspEngine",\n',
        '    "dummy": "epilayer.engines.dummy.DummyEngine",\n',
    )
    checkout.write(
        "configs/engines/dummy.yaml",
        "name: dummy\ntitle: dummy\nkind: toy\nmethod: dummy (a stand-in; no number of it is a result)\n"
        "source: a test\n",
    )
    checkout.write(
        "configs/levels/dummy.yaml", "name: dummy\ntitle: dummy\nengine: dummy\nparent: toy\nsource: a test\n"
    )
    assert_exactly(checkout, "an engine of another kind", "dummy")
    checkout.run("init", "study")
    assert "dummy" in checkout.run("-C", "study", "list", "levels")
    asked = ("--set", "ligands=water", "--set", "facets=100")
    checkout.run("-C", "study", "run", "paper_adsorption", "--level", "dummy", "--quick", *asked)
    assert ",dummy," in checkout.run("-C", "study", "query", "adsorption", "--format", "csv")
    assert checkout.python(
        "from epilayer import Study; print(type(Study.open('study').catalogue.engine('dummy')).__name__)"
    ) == "DummyEngine\n"  # fmt: skip


RECORD_KIND = '''"""The work function of a facet."""

from typing import Literal

from epilayer.model.base import Frozen
from epilayer.model.kind import Number, RecordKind, columns, picked
from epilayer.model.units import Ev


class WorkFunction(Frozen):
    """The work function of one facet."""

    kind: Literal["work_function"] = "work_function"
    facet: str
    work_function_ev: Ev


WORK_FUNCTION = RecordKind(
    name="work_function",
    record=WorkFunction,
    about="the energy that removes an electron",
    asked=lambda r: picked(r, "facet"),
    columns=columns("facet work_function_ev"),
    shown=("facet", "work_function_ev"),
    title="Work function of ({facet})",
    number=Number("work_function_ev", "eV"),
)
'''


def test_a_record_kind(checkout: Checkout) -> None:
    checkout.write("src/epilayer/model/work_function.py", RECORD_KIND)
    path = checkout.folder / "src/epilayer/model/kinds.py"
    text = path.read_text(encoding="utf-8")
    text = text.replace("    surface,\n)", "    surface,\n    work_function,\n)")
    path.write_text(
        text.replace(
            "        records.ADSORPTION,", "        work_function.WORK_FUNCTION,\n        records.ADSORPTION,"
        )
    )
    assert_exactly(checkout, "a record kind", "work_function")
    checkout.run("init", "study")
    made = (
        "from epilayer import Study\n"
        "from epilayer.model.work_function import WorkFunction\n"
        "from epilayer.store.records import document_of\n"
        "study = Study.open('study')\n"
        "store = study.results()\n"
        "store.put([document_of(WorkFunction(facet='001', work_function_ev=4.5), created='2025-01-01')])\n"
        "store.close()\n"
        "print(study.query('work_function')['work_function_ev'].tolist())\n"
    )
    assert checkout.python(made) == "[4.5]\n"
    assert "4.5" in checkout.run("-C", "study", "query", "work_function")
