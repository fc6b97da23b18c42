"""The paper's S1 to S4 by pilots on the real scheduler: two are ended early, nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from epilayer.launch import EmbeddedQueue, JobState, Outcome

ROOT = Path(__file__).resolve().parents[2]
STANDIN = ROOT / "tests" / "standin"
EPILAYER = Path(sys.executable).parent / "epilayer"
PATIENCE_S = 900.0
PROFILE = """\
name: pilots
title: the one-machine SLURM, for pilots
source: slurm/dev/start
preamble: pilots.sh
signal_ahead_s: 20
resources: {tasks: 1, memory: 2500M, walltime: "00:05:00", partition: debug}
pilot: {walltime: "00:40:00"}
pack: ["store_inputs", "choose *", "certify *", "report *", "growth *"]
"""


def lay_out(folder: Path) -> Path:
    """Return a study whose pilots find this code, the stand-in and its pseudopotentials."""
    study = folder / "study"
    subprocess.run([str(EPILAYER), "init", str(study)], check=True, capture_output=True)
    (study / "configs" / "clusters" / "pilots.yaml").write_text(PROFILE)
    potcars = runpy.run_path(str(STANDIN / "potcars.py"))["write_potcars"](folder / "psp")
    commands = folder / "bin"
    commands.mkdir()
    for name in ("vasp_std", "vasp_gam"):
        (commands / name).symlink_to(STANDIN / "vasp_standin.py")
    (study / "slurm" / "pilots.sh").write_text(
        f"export PYTHONPATH={ROOT / 'src'} OMP_NUM_THREADS=1 PMG_VASP_PSP_DIR={potcars}\n"
        f"export ATOMATE2_VASP_CMD={commands / 'vasp_std'} ATOMATE2_VASP_GAMMA_CMD={commands / 'vasp_gam'}\n"
        f"export PATH={Path(sys.executable).parent}:$PATH\n"
    )
    return study


def epilayer(study: Path, *arguments: str) -> Any:  # noqa: ANN401  (whatever --json prints)
    """Run a command in the environment that a pilot has; return the JSON that it prints."""
    command = f'. slurm/pilots.sh; exec {EPILAYER} "$@"'
    done = subprocess.run(
        ["bash", "-c", command, "bash", *arguments], cwd=study, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def pilots(study: Path) -> Any:  # noqa: ANN401
    return epilayer(
        study, "cluster", "launch", "--pilot", "pilots", "--pilots", "3", "--workers", "2", "--json"
    )


def held_by(queue: EmbeddedQueue) -> Counter[str]:
    """Count the jobs that run, by the scheduler's number of their pilot."""
    with queue.claims.file.reading() as db:
        rows = db.execute("SELECT worker FROM attempts WHERE outcome = ?", (Outcome.RUNNING,)).fetchall()
    return Counter(row[0].split("-")[1] for row in rows)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE_S)
@pytest.mark.xdist_group("slurm")
def test_two_of_three_pilots_are_ended_and_the_study_completes_once(tmp_path: Path) -> None:
    if not (shutil.which("sbatch") and os.environ.get("SLURM_CONF")):
        pytest.skip("no one-machine SLURM: make test-cluster-long brings it up")
    study = lay_out(tmp_path)
    settings = ("poses=2", "keep=1", "check_levels=", "max_steps=300")
    options = [word for setting in settings for word in ("--set", setting)]
    epilayer(study, "submit", "paper_adsorption", "--level", "paper", *options, "--json")
    first = pilots(study)["pilots"]
    assert len(first) == 3
    queue = EmbeddedQueue(study / ".epilayer" / "queue.sqlite", runs=study / "runs")
    strikes = [["scontrol", "update", f"JobId={first[0]}", "TimeLimit=0:01"], ["scancel", first[1]]]
    struck: list[str] = []
    until = time.monotonic() + PATIENCE_S
    while queue.counts()[JobState.COMPLETED] < sum(queue.counts().values()):
        assert time.monotonic() < until, epilayer(study, "status", "--json")
        held = held_by(queue)
        for number, strike in zip(first, strikes, strict=False):
            if held[number] and number not in struck:  # in the middle of a job
                subprocess.run(strike, check=True, capture_output=True)
                struck.append(number)
        time.sleep(2)
        pilots(study)  # as cron would
    assert set(struck) == set(first[:2])
    ended = {job.number: [one.outcome for one in queue.attempts(job.number)] for job in queue.jobs()}
    assert all(outcomes.count(Outcome.COMPLETED) == 1 for outcomes in ended.values())
    assert any(Outcome.INTERRUPTED in outcomes for outcomes in ended.values())
    energies = epilayer(study, "query", "adsorption", "--format", "json")
    assert {(one["facet"], one["ligand"]) for one in energies} == {
        (facet, ligand) for facet in ("001", "100") for ligand in ("triazole", "2-methylimidazole")
    }
