"""Some of the drill's faults, and a short campaign; the whole of both are programs of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("slurm"),  # faults of one strike the jobs of another
]


def said_by(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    if not (shutil.which("sbatch") and os.environ.get("SLURM_CONF") and os.environ.get("EPILAYER_DEV_MONGO")):
        pytest.skip("no one-machine SLURM: make test-cluster brings it up")
    command = [sys.executable, str(HERE / program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=550)


def slow(*faults: str) -> list[object]:
    return [pytest.param(fault, 3, marks=pytest.mark.slow) for fault in faults]


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        ("worker kill -9", 1),
        *slow("timeout", "out of memory", "scancel running", "scancel pending", "node down", "slurmd killed"),
        *slow("slurmd killed, requeued", "slurmd killed elsewhere", "requeue", "requeue refused"),
        *slow("database killed", "scheduler fails", "scheduler answers late", "sbatch answers late"),
        *slow("directory deleted", "launch folder deleted", "launch folder deleted, pending"),
        *slow("disk full", "disk quota", "launched twice"),
    ],
)
def test_every_job_struck_is_classified_and_recovered(fault: str, times: int, tmp_path: Path) -> None:
    if fault == "disk quota" and not shutil.which("mkfs.btrfs"):
        pytest.skip("a quota that holds for root too needs btrfs (btrfs-progs)")
    done = said_by("fault_drill.py", str(tmp_path), "--times", str(times), "--only", fault)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_campaign_under_random_faults_ends_with_the_results_of_a_clean_run(tmp_path: Path) -> None:
    told = (str(tmp_path), "--jobs", "12", "--faults", "20", "--seed", "1901", "--wide")
    part = said_by("campaign.py", *told, "--minutes", "0.1")
    assert part.returncode == 6, part.stdout + part.stderr  # it may run in several goes
    done = said_by("campaign.py", *told)
    assert done.returncode == 0, done.stdout + done.stderr
