"""The paper's S1 to S4 with the stand-in, by the real command line, queue and workers; one job is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EPILAYER = Path(sys.executable).parent / "epilayer"
FAILED_EXIT = 3


def epilayer(study: Path, *arguments: str, code: int = 0, **environment: str) -> str:
    done = subprocess.run(
        [str(EPILAYER), "-C", str(study), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=560,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_s1_to_s4_run_to_their_verdicts_through_a_killed_job(vasp: dict[str, str], tmp_path: Path) -> None:
    study = tmp_path / "study"
    subprocess.run([str(EPILAYER), "init", str(study)], env={**os.environ, **vasp}, check=True)
    assert "commands and POTCARs found" in epilayer(study, "doctor", "--json", **vasp)
    settings = ("poses=2", "keep=1", "check_levels=", "max_steps=300")
    options = [word for setting in settings for word in ("--set", setting)]
    fault = {
        "VASP_STANDIN_FAULT": "walltime",
        "VASP_STANDIN_ONLY": "slab",
        "VASP_STANDIN_ONCE": str(tmp_path / "struck"),
    }
    epilayer(
        study, "run", "paper_adsorption", "--level", "paper", *options, code=FAILED_EXIT, **vasp, **fault
    )
    status = json.loads(epilayer(study, "status", "--json", **vasp))
    assert len(status["failed"]) == 1
    assert "time_limit: the time limit of the job was reached" in status["failed"][0]["cause"]
    epilayer(study, "rerun", "--failed", **vasp)
    epilayer(study, "run", **vasp)
    status = json.loads(epilayer(study, "status", "--json", **vasp))
    assert {state for state, count in status["counts"].items() if count} == {"COMPLETED"}
    # The killed job went on from where it stood.
    attempts = sorted(study.glob("runs/*/*/attempt-2/POSCAR.begin"))
    assert len(attempts) == 1
    energies = json.loads(epilayer(study, "query", "adsorption", "--format", "json", **vasp))
    assert {(r["facet"], r["ligand"]) for r in energies} == {
        (facet, ligand) for facet in ("001", "100") for ligand in ("triazole", "2-methylimidazole")
    }
    for record in energies:
        assert record["stand_in"] is True
        assert record["refusal_code"] != "level_mismatch"
        assert (record["status"] == "provisional") == (record["refusal_code"] is None)
    assert any(record["status"] == "provisional" for record in energies)  # a quick search certifies nothing
    verdicts = json.loads(epilayer(study, "query", "growth", "--format", "json", **vasp))
    assert len(verdicts) == 2
    assert all(verdict["stand_in"] for verdict in verdicts)
