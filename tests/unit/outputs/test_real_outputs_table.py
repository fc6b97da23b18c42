"""The table of real outputs beside their known answers: every row agrees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("EPILAYER_REAL_DATA", ROOT.parent / "shared" / "data"))


@pytest.mark.real_data
@pytest.mark.skipif(not (DATA / "index.json").exists(), reason=f"the real outputs are not at {DATA}")
def test_every_real_output_is_read_as_its_known_answer_says() -> None:
    command = [sys.executable, str(ROOT / "tools" / "real_outputs.py"), "--data", str(DATA)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "DIFFERS" not in done.stdout
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) >= 93
