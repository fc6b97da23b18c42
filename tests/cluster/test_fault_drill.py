"""Two of the drill's faults, as a test: the whole table is ``python tests/cluster/fault_drill.py FOLDER``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DRILL = Path(__file__).with_name("fault_drill.py")


@pytest.mark.cluster
@pytest.mark.parametrize("fault", ["worker kill -9", "scancel running", "launched twice"])
def test_every_job_struck_is_classified_and_recovered(fault: str, tmp_path: Path) -> None:
    if not (shutil.which("sbatch") and os.environ.get("SLURM_CONF") and os.environ.get("EPILAYER_DEV_MONGO")):
        pytest.skip("no one-machine SLURM: make test-cluster brings it up")
    command = [sys.executable, str(DRILL), str(tmp_path), "--times", "3", "--only", fault]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
