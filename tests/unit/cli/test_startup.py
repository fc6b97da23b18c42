"""The command line starts at once: nothing heavy is imported before it is needed."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

HEAVY = (
    "ase", "atomate2", "chgnet", "jobflow", "maggma", "matplotlib", "monty", "numpy", "pandas", "pymatgen",
    "pymongo", "rdkit", "scipy", "sevenn", "spglib", "torch",
)  # fmt: skip
WATCHED = """\
import json, sys
sys.argv = ["epilayer", *json.loads(sys.argv[1])]
from epilayer.cli import main
try:
    main()
except SystemExit as left:
    assert not left.code, left.code
sys.stderr.write(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
EMPTY = """\
import sys, typer
app = typer.Typer(rich_markup_mode="rich")
for name in ("first", "second"):
    app.command(name)(lambda: None)
sys.argv = ["empty", "--help"]
app()
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["query", "--help"], ["jobs", "show", "--help"], ["--version"]],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    command = [sys.executable, "-c", WATCHED, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "epilayer" in done.stdout
    assert set(json.loads(done.stderr)).isdisjoint(HEAVY)


def test_help_costs_at_most_twice_that_of_an_empty_program() -> None:
    """Processor time of both in turn, the least of each, so that a busy machine does not decide."""
    ours, empty = [sys.executable, "-c", WATCHED, '["--help"]'], [sys.executable, "-c", EMPTY]
    spent_s = [(processor_s(ours), processor_s(empty)) for _ in range(3)]
    assert min(one for one, _ in spent_s) < 2.0 * min(peer for _, peer in spent_s)


def processor_s(command: list[str]) -> float:
    """Return the processor time, user and system, of a command that succeeds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
