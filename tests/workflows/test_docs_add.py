"""``docs/add.md`` executed: its files are written into a study, its commands are run there, all of them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "add.md").read_text(encoding="utf-8")
FILE = re.compile(r"`(configs/[\w./+-]+)`:\n\n```\w+\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
PROGRAM = [sys.executable, "-c", "from epilayer.cli import main; main()"]


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def files(text: str) -> dict[str, str]:
    return dict(FILE.findall(text))


def commands(text: str) -> list[list[str]]:
    lines = [line for block in CONSOLE.findall(text) for line in block.splitlines()]
    assert all(line.startswith("$ epilayer ") for line in lines), "a command that this test would not run"
    return [shlex.split(line.removeprefix("$ epilayer ")) for line in lines]


def epilayer(study: Path, *arguments: str) -> str:
    done = subprocess.run(
        [*PROGRAM, "-C", str(study), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"epilayer {shlex.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(
    ("title", "kinds", "cathode", "facet", "ligand"),
    [
        ("A ligand", {"ligands"}, "nvopf", "001", "imidazole"),
        ("A cathode", {"cathodes"}, "nafeo2", "104", "triazole"),
    ],
)
def test_what_the_page_adds_works(
    title: str, kinds: set[str], cathode: str, facet: str, ligand: str, tmp_path: Path
) -> None:
    text = section(title)
    written = files(text)
    assert {Path(name).parts[1] for name in written} == kinds
    (tmp_path / "epilayer.yaml").write_text("workers: 2\n")
    for name, content in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert [c[0] for c in commands(text)] == ["build", "run", "query"]
    for command in commands(text):
        printed = epilayer(tmp_path, *command)
        assert "No adsorption records" not in printed
    (energy,) = json.loads(epilayer(tmp_path, "query", "adsorption", "--format", "json"))
    assert (energy["cathode"], energy["facet"], energy["ligand"]) == (cathode, facet, ligand)
    assert energy["stand_in"]
    assert energy["search_starts"] == 2


def test_a_ligand_takes_twelve_lines_at_most_and_a_cathode_a_yaml_and_a_cif() -> None:
    (ligand,) = files(section("A ligand")).values()
    assert 0 < len(ligand.splitlines()) <= 12
    cathode = files(section("A cathode"))
    assert sorted(Path(name).suffix for name in cathode) == [".cif", ".yaml"]
    (yaml_text,) = (text for name, text in cathode.items() if name.endswith(".yaml"))
    assert len(yaml_text.splitlines()) <= 12
