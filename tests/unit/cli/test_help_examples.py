"""Every command shows an example, and every example is one that the program takes.

``tests/docs/test_docs_executed.py`` runs them.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest
import typer

from epilayer.cli.root import app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = typer.main.get_command(app)
EXAMPLE = re.compile(r"Example: \[cyan\](.*?)\[/\]")


def commands(group: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield the path of each visible command and the text of its help."""
    for name, command in getattr(group, "commands", {}).items():
        if getattr(command, "commands", None):
            yield from commands(command, (*path, name))
        elif not command.hidden:
            yield " ".join((*path, name)), command.help or ""


HELP = dict(commands(ROOT))
EXAMPLES = sorted({line for text in HELP.values() for line in EXAMPLE.findall(text)})


@pytest.mark.parametrize("command", HELP)
def test_every_command_shows_an_example(command: str) -> None:
    examples = EXAMPLE.findall(HELP[command])
    assert any(f"epilayer {command}" in line for line in examples)


def words_of(example: str) -> Iterator[list[str]]:
    """Yield the words of each call of the program in an example, which may be several."""
    for part in example.split(" && "):
        first, *words = shlex.split(part)
        if first == "epilayer":
            yield words


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_taken(example: str) -> None:
    for words in words_of(example):
        command, rest = ROOT, list(words)
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        assert command is not ROOT
        assert command.make_context(words[0], rest).params
