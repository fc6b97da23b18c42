"""The blocks of a documentation page, and whether what a command printed is what the page shows.

A page is read from top to bottom as one session:

``console``
    Lines that begin with ``$`` are run (``>`` continues one); the lines after one are what it prints. A line
    ``...`` stands for any number of lines.
``python``
    Run, and must print what a ``text`` block marked ``output`` right after it shows.
any other, after a paragraph that ends with ``name`` and a colon
    A file of that name.

Marks are comments on the line before a block. ``<!-- elsewhere: tests/file.py::test -->`` names the test
that runs it, ``<!-- cluster -->`` leaves it to the tests on the one-machine SLURM, ``<!-- exit: 3 -->`` is
the code that its last command ends with, ``<!-- output -->`` what the block before printed; any other mark
says what is neither run nor written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_BLOCK = re.compile(
    r"(?P<before>[^\n]*\n\n?|)(?:<!-- (?P<mark>[^>]*?) -->\n)?^```(?P<language>[^\n`]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"`([\w./+-]+)`:$")
# What differs from run to run, or from machine to machine: numbers, hashes, where the folder is.
_VARIES = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"(?<!\S)/[\w./-]*/(?=(?:study|try)\b)"), ""),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,64}\b"), "#"),
    (re.compile(r"[-+\u2212]?\d[\d.,:\u2212-]*\d|\d"), "#"),
    (re.compile(r"# min # s"), "# s"),
    (re.compile(r"[─━═]{3,}"), "---"),
    (re.compile(r"\s+"), " "),
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """One command of a console block and what the page says that it prints."""

    text: str
    output: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    language: str
    text: str
    mark: str = ""
    file: str = ""
    commands: tuple[Command, ...] = field(default=())

    @property
    def where(self) -> str:
        """Page and line, as an editor takes them."""
        return f"{self.page}:{self.line}"

    def marked(self, kind: str) -> str | None:
        """Return what the mark says after ``kind:``, an empty text for ``kind`` alone, None without it."""
        name, _, value = self.mark.partition(":")
        return value.strip() if name == kind else None


def blocks(path: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    page = str(path.relative_to(ROOT))
    found = []
    for match in _BLOCK.finditer(text):
        language, body = match["language"].strip(), match["text"]
        if language.startswith("{"):  # a directive of MyST
            continue
        named = _FILE.search(match["before"].strip())
        found.append(
            Block(
                page=page,
                line=text.count("\n", 0, match.start("language")) + 1,
                language=language,
                text=body,
                mark=(match["mark"] or "").strip(),
                file=named[1] if named and language != "console" else "",
                commands=tuple(_commands(body)) if language == "console" else (),
            )
        )
    return found


def _commands(body: str) -> list[Command]:
    lines = body.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
    if not starts or starts[0] != 0:
        raise AssertionError(f"a console block begins with '$ ': {body[:60]!r}")
    found = []
    for start, end in pairwise([*starts, len(lines)]):
        text, rest = lines[start][2:], lines[start + 1 : end]
        while rest and rest[0].startswith("> "):
            text += "\n" + rest.pop(0)[2:]
        found.append(Command(text, tuple(line for line in rest if line.strip())))
    return found


def alike(line: str) -> str:
    """Return a line without what may differ between two runs of the same command."""
    for pattern, instead in _VARIES:
        line = pattern.sub(instead, line)
    return line.strip()


def difference(shown: tuple[str, ...], printed: str) -> str | None:
    """Return what of a shown output was not printed so; None if all was."""
    have = [alike(line) for line in printed.splitlines() if line.strip()]
    at, anywhere = 0, False
    for line in shown:
        if line.strip() == "...":
            anywhere = True
            continue
        want = alike(line)
        places = range(at, len(have)) if anywhere else range(at, min(at + 1, len(have)))
        place = next((i for i in places if have[i] == want), None)
        if place is None:
            return f"not printed{'' if anywhere else ' here'}: {line!r} (as {want!r})"
        at, anywhere = place + 1, False
    if shown and not anywhere and at < len(have):
        return f"printed and not shown: {have[at]!r}"
    return None
