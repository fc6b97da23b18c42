"""Chains on the real scheduler; more strikes, other steps: ``python tests/cluster/chain_drill.py FOLDER``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DRILL = Path(__file__).with_name("chain_drill.py")
TEN = "signal,signal,timeout,signal,signal,node,signal,signal,node,signal"


@pytest.mark.cluster
@pytest.mark.xdist_group("slurm")  # strikes of one strike the jobs of another
@pytest.mark.parametrize(
    "options",
    [
        ["--engine=toy", "--strikes=signal,node", "--steps=800"],
        pytest.param(
            ["--engine=vasp", f"--strikes={TEN}", "--steps=500", "--step-s=0.15"], marks=pytest.mark.slow
        ),
        pytest.param(["--engine=toy", f"--strikes={TEN}", "--steps=20000"], marks=pytest.mark.slow),
        pytest.param(
            ["--engine=vasp", "--strikes=limit,limit", "--steps=400", "--step-s=0.25"], marks=pytest.mark.slow
        ),
    ],
    ids=["toy-short", "vasp-struck", "toy-struck", "vasp-limits"],
)
@pytest.mark.timeout(1200)
def test_a_chain_of_batch_jobs_is_the_trajectory_that_was_never_cut(
    options: list[str], tmp_path: Path
) -> None:
    """Links take over within 3 s (median), lose less than a checkpoint interval, and spare ones end."""
    if not (shutil.which("sbatch") and os.environ.get("SLURM_CONF") and os.environ.get("EPILAYER_DEV_MONGO")):
        pytest.skip("no one-machine SLURM: make test-cluster brings it up")
    command = [sys.executable, str(DRILL), str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1100)
    assert done.returncode == 0, done.stdout + done.stderr
