"""A page of the documentation read as a session: its blocks are executed and compared with what they show."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import typer

from epilayer.cli.root import app
from pages import ROOT, difference
from terminal import Said, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pages import Block

PRINTS_ITS_ADDRESS = "http://127.0.0.1:"
MAKE = f"make --directory {ROOT} --dry-run --always-make"
"""``make`` prints its commands instead of running them."""


def parts(text: str) -> list[str]:
    """Return the commands that ``&&`` joins, without comments; ``make`` only prints."""
    words = re.sub(r"\s+#.*", "", text)
    return [re.sub(r"^make\b", MAKE, part.strip()) for part in words.split("&&")]


class Session:
    """A page that is read from top to bottom.

    Parameters
    ----------
    own_files
        A folder of what the reader is taken to have; copied into every study that is entered.
    instead
        Commands that stand for printed ones.
    """

    def __init__(self, terminal: Terminal, own_files: Path, instead: Mapping[str, str] | None = None) -> None:
        self.terminal = terminal
        self.instead = instead or {}
        self.own_files = own_files
        self.met: set[Path] = set()
        self.said = Said(0, "")
        self.executed = 0
        self.findings: list[str] = []
        self.enter_study()

    def enter_study(self) -> None:
        """Put the reader's files into a study that is entered for the first time."""
        here = self.terminal.folder
        if (here / "epilayer.yaml").exists() and here not in self.met:
            self.met.add(here)
            shutil.copytree(self.own_files, here, dirs_exist_ok=True)

    def run(self, block: Block) -> None:
        """Execute one block, or write its file, and note where it differs from what it shows."""
        if block.file:
            path = self.terminal.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self.note(block, block.text, (), 0, self.terminal.python(block.text))
        elif block.marked("output") is not None:
            self.note(block, "output", tuple(block.text.splitlines()), 0, self.said)
        elif block.language == "console":
            for command in block.commands:
                code = block.marked("exit") if command is block.commands[-1] else None
                self.command(block, self.replaced(command.text), command.output, int(code or 0))

    def command(self, block: Block, text: str, shown: tuple[str, ...], code: int) -> None:
        """Run one command; one that serves until Ctrl-C gets it."""
        serves = re.match(r"epilayer dashboard\b", text)
        said = self.terminal.run(text, until=PRINTS_ITS_ADDRESS if serves else None)
        self.note(block, text, shown, 130 if serves else code, said)
        self.enter_study()

    def note(self, block: Block, what: str, shown: tuple[str, ...], code: int, said: Said) -> None:
        """Note what is not as the page says."""
        self.said = said
        self.executed += 1
        found = difference(shown, said.text) if said.code == code else f"exit code {said.code}, not {code}"
        if found is not None:
            self.findings.append(f"{block.where}: {what}\n{found}\n{said.text}")

    def replaced(self, text: str) -> str:
        """Return the command that stands for a printed one, part by part of ``&&``."""
        return " && ".join(self.instead.get(part, part) for part in parts(text))


def examples_of_help() -> dict[str, list[str]]:
    """Return the examples of every visible command, by its words."""
    return {
        command: re.findall(r"\[cyan\](epilayer .*?)\[/\]", text.partition("Example: ")[2])
        for command, text in help_texts(typer.main.get_command(app))
    }


def help_texts(group: Any, path: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401  (typer's own classes)
    """Yield every visible command and the text of its help."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from help_texts(command, f"{path} {name}".strip())
        elif not command.hidden:
            yield f"{path} {name}".strip(), command.help or ""


def needs_cluster(example: str) -> bool:
    """Whether an example talks to SLURM or the database (see ``tests/cluster/test_docs_on_cluster.py``)."""
    return bool(re.match(r"epilayer (cluster|transfer)\b|.*--with\b", example))
