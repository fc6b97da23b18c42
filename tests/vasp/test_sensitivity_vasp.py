"""The sensitivity study with VASP's stand-in, through the command line: every axis is varied, and listed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EPILAYER = Path(sys.executable).parent / "epilayer"


@pytest.mark.slow
def test_every_choice_of_the_paper_is_varied_once(vasp: dict[str, str], tmp_path: Path) -> None:
    settings = ("facets=001", "ligands=triazole", "max_steps=200")
    options = [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(
        [str(EPILAYER), "-C", str(tmp_path), "run", "sensitivity", "--level", "paper", "--quick", *options],
        env={**os.environ, **vasp},
        capture_output=True,
        text=True,
        check=False,
        timeout=560,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = subprocess.run(
        [str(EPILAYER), "-C", str(tmp_path), "sensitivity", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    (record,) = json.loads(shown.stdout)
    assert record["stand_in"] is True
    assert {s["axis"]: s["choice"] for s in record["shifts"]} == {
        "U": "paper+u",
        "D3": "paper+d3",
        "dipole": "paper+dipole",
        "spin order": "paper+afm",
    }
    assert set(record["not_applicable"]) == {"engine", "ligand"}
    table = subprocess.run(
        [str(EPILAYER), "-C", str(tmp_path), "sensitivity"], capture_output=True, text=True, check=True
    )
    for word in ("spin order", "dipole", "not varied", "stand-in"):
        assert word in table.stdout
