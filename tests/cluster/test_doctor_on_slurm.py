"""The doctor names what is wrong on the real scheduler, where jobs would meet it, with the way out."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from epilayer.cli.root import app

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
PROFILE = """\
name: here
title: the one-machine SLURM
source: slurm/dev/start
preamble: here.sh
signal_ahead_s: 20
resources: {{tasks: 1, {resources}}}
"""
PREAMBLE = f"export PYTHONPATH={ROOT / 'src'} OMP_NUM_THREADS=1 PATH={Path(sys.executable).parent}:$PATH\n"
Rows = dict[str, tuple[bool, str, str]]

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("slurm")]


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., Rows]:
    if not (shutil.which("sbatch") and os.environ.get("SLURM_CONF")):
        pytest.skip("no one-machine SLURM: make test-cluster brings it up")

    def look(resources: str = "partition: debug, memory: 200M", preamble: str = "") -> Rows:
        for folder, name, text in (
            ("configs/clusters", "here.yaml", PROFILE.format(resources=resources)),
            ("slurm", "here.sh", PREAMBLE + preamble),
        ):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text(text)
        answer = CliRunner().invoke(
            app, ["-C", str(tmp_path), "cluster", "doctor", "--pilot", "here", "--json"]
        )
        rows = {row["check"]: (row["ok"], row["found"], row["fix"]) for row in json.loads(answer.stdout)}
        assert answer.exit_code == int(not all(ok for ok, _, _ in rows.values()))
        return rows

    return look


def test_all_is_well_but_what_this_machine_lacks(doctor: Callable[..., Rows]) -> None:
    rows = doctor()
    assert {name for name, (ok, _, _) in rows.items() if not ok} <= {f"LOBSTER, on {os.uname().nodename}"}
    assert rows["file locks"][1].startswith("hold between two processes here, and with ")
    assert "sizes of job accepted" in rows["partition, account, limits"][1]
    assert "runs on" in rows["epilayer after the preamble"][1]


@pytest.mark.parametrize(
    ("resources", "found", "fix"),
    [
        ("partition: gpu", "invalid partition specified: gpu", "sinfo lists"),
        ("partition: debug, account: nobody", "Invalid account", "sacctmgr show assoc"),
        ("partition: debug, qos: gold", "there is no qos 'gold'", "Name one of normal"),
        ("partition: debug, memory: 900G", "node configuration is not available", "less than a node has"),
        ('partition: debug, walltime: "03:00:00"', "over the 02:00:00 of partition 'debug'", "wait for ever"),
    ],
)
def test_what_the_scheduler_would_refuse_is_named(
    doctor: Callable[..., Rows], resources: str, found: str, fix: str
) -> None:
    ok, told, way_out = doctor(resources, preamble="exit 1\n")["accepted: any job"]
    assert not ok
    assert found in told
    assert fix in way_out


def test_what_the_preamble_fails_at_is_named_by_its_line(doctor: Callable[..., Rows]) -> None:
    rows = doctor(
        preamble="module load vasp/6.4\nexport TMPDIR=/nowhere\nexport ATOMATE2_VASP_CMD=/none/vasp_std\n"
    )
    ok, told, way_out = rows["preamble here.sh"]
    assert not ok
    assert told.startswith("line 2: 'module load vasp/6.4' ended with 127 on ")
    assert "module: command not found" in told
    assert "Correct slurm/here.sh" in way_out
    assert not rows["scratch"][0]
    assert "not writable" in rows["scratch"][1]


def test_a_preamble_that_ends_the_shell_is_told(doctor: Callable[..., Rows]) -> None:
    ok, told, _ = doctor(preamble="echo no licence >&2; exit 3\n")["preamble here.sh"]
    assert not ok
    assert "does not run to its end (no licence)" in told
