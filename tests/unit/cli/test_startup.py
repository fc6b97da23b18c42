"""The command line starts at once: nothing heavy is imported before it is needed."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["query", "--help"], ["jobs", "show", "--help"], ["--version"]],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    command = [sys.executable, "-c", WATCHED, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "epilayer" in done.stdout
    assert set(json.loads(done.stderr)).isdisjoint(HEAVY)
