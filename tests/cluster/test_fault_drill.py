"""Some of the drill's faults; the whole table is ``python tests/cluster/fault_drill.py FOLDER``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DRILL = Path(__file__).with_name("fault_drill.py")


@pytest.mark.cluster
@pytest.mark.xdist_group("slurm")  # faults of one strike the jobs of another
@pytest.mark.parametrize(
    ("fault", "times"),
    [
        ("no fault", 1),
        ("worker kill -9", 1),
        *(
            pytest.param(fault, 3, marks=pytest.mark.slow)
            for fault in ("timeout", "node down", "scancel running", "launched twice")
        ),
    ],
)
def test_every_job_struck_is_classified_and_recovered(fault: str, times: int, tmp_path: Path) -> None:
    if not (shutil.which("sbatch") and os.environ.get("SLURM_CONF") and os.environ.get("EPILAYER_DEV_MONGO")):
        pytest.skip("no one-machine SLURM: make test-cluster brings it up")
    command = [sys.executable, str(DRILL), str(tmp_path), "--times", str(times), "--only", fault]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
