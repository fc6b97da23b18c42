"""What the documentation says of the house is so: rooms, layers, files, links; the reference has no gaps."""

from __future__ import annotations

import importlib.util
import re
import runpy
import tomllib
from typing import TYPE_CHECKING

import pytest

from epilayer.cli.root import app
from epilayer.model.kinds import KINDS
from pages import DOCS, ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
HOUSE = ROOT / "src" / "epilayer"
DEVELOPING = (DOCS / "developing.md").read_text(encoding="utf-8")


def test_every_room_is_named_and_there_is_none_besides() -> None:
    named = set(re.findall(r"^\| `([\w.]+)/?` \|", DEVELOPING, re.MULTILINE))
    there = {p.name for p in HOUSE.iterdir() if p.is_dir() or p.suffix == ".py"}
    there -= {"__init__.py", "__pycache__", "_shipped"}
    assert named == there


def test_the_layers_are_those_that_are_checked() -> None:
    (shown,) = (b.text for b in blocks(DOCS / "developing.md") if b.mark == "layers")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    assert shown.splitlines() == contract["layers"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_modules_and_targets_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [
        name
        for name in re.findall(r"`((?:[\w-]+/)+[\w.-]+\.py)(?:::\w+)?`", text)
        if not any((base / name).is_file() for base in (ROOT, HOUSE))
    ]
    for dotted in set(re.findall(r"\bepilayer(?:\.[a-z_]+)+", re.sub(r"epilayer\.yaml", "", text))):
        module = dotted
        while module.count(".") and find(module) is None:
            module = module.rpartition(".")[0]
        rest = dotted.removeprefix(module).strip(".").split(".")[0]
        if module == "epilayer" or (rest and not hasattr(importlib.import_module(module), rest)):
            missing.append(dotted)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    missing += [f"make {t}" for t in re.findall(r"`make ([\w-]+)`", text) if t not in targets]
    assert missing == []


def find(module: str) -> object:
    try:
        return importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    """Within the built pages Sphinx checks links and anchors; on GitHub and from the README nobody does."""
    generated = {"cli.md", "records.md", "configs.md", "failures.md"}
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists() or target.rpartition("/")[2] in generated, target


def test_the_reference_has_every_command_kind_and_file(tmp_path: Path) -> None:
    made = runpy.run_path(str(DOCS / "generate.py"))
    made["write"](tmp_path)
    commands = (tmp_path / "cli.md").read_text(encoding="utf-8")
    import typer

    for words, command in made["commands"](typer.main.get_command(app), ["epilayer"]):
        section = commands.split(f"\n## {' '.join(words)}\n")[1].split("\n## ")[0]
        assert f"epilayer {' '.join(words[1:])}" in section
        options = [o for p in command.params for o in p.opts if o.startswith("--") and not p.hidden]
        assert [o for o in options if o != "--help" and f"`{o}`" not in section] == []
    records = (tmp_path / "records.md").read_text(encoding="utf-8")
    for name, kind in KINDS.items():
        section = records.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert [f for f in kind.shown if f"| `{f}` | yes" not in section] == []
    configs = (tmp_path / "configs.md").read_text(encoding="utf-8")
    for model in made["FILES"].values():
        section = configs.split(f"\n## {model.__name__}\n")[1].split("\n## ")[0]
        assert [key for key in model.model_fields if f"| `{key}` |" not in section] == []
    before = (tmp_path / "cli.md").stat().st_mtime_ns
    made["write"](tmp_path)
    assert (tmp_path / "cli.md").stat().st_mtime_ns == before
