"""The recipes for cron and systemd do what the command does, in a folder with an awkward name."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from typer.testing import CliRunner

import toy_jobs as toy
from epilayer import Study
from epilayer.cli.root import app
from queue_rig import database_server

PROFILE = """\
name: here
title: the one-machine SLURM
source: slurm/dev/start
database: {uri}
preamble: generic/preamble.sh
signal_ahead_s: 20
resources: {{tasks: 1, memory: 400M, walltime: "00:05:00", partition: debug}}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    root = tmp_path / "my 50% study"
    (root / "configs" / "clusters").mkdir(parents=True)
    uri = f"{os.environ.get('EPILAYER_DEV_MONGO', 'mongodb://nowhere/')}recipe_{uuid.uuid4().hex[:10]}"
    (root / "configs" / "clusters" / "here.yaml").write_text(PROFILE.format(uri=uri))
    (root / "epilayer.yaml").write_text("queue: here\n")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2] / "src"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Study.open(root)


def recipe(study: Study, *words: str) -> str:
    answer = CliRunner().invoke(app, ["-C", str(study.root), "cluster", "recipe", *words])
    assert answer.exit_code == 0, answer.output
    return answer.stdout


@pytest.mark.cluster
@pytest.mark.xdist_group("slurm")
def test_the_line_for_cron_submits_what_is_ready(study: Study) -> None:
    database_server()
    if not (shutil.which("sbatch") and os.environ.get("SLURM_CONF")):
        pytest.skip("no one-machine SLURM: make test-cluster brings it up")
    queue = study.cluster_queue()
    queue.submit(toy.add(1, 2))
    line = recipe(study, "cron", "--every", "7").splitlines()[-1]
    assert line.startswith("*/7 * * * * ")
    command = line.removeprefix("*/7 * * * * ").replace("\\%", "%")  # as cron reads it
    bare = {"HOME": os.environ["HOME"]}
    subprocess.run(["/bin/sh", "-c", command], env=bare, cwd="/", check=True)
    assert "Submitted #1" in (study.root / "launch.log").read_text()
    database = queue.board.journal.database
    database.client.drop_database(database.name)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_accepts_its_files(study: Study, tmp_path: Path) -> None:
    assert "enable --now epilayer-" in recipe(study, "systemd", "--write")
    files = sorted((tmp_path / "home" / ".config" / "systemd" / "user").iterdir())
    assert [file.suffix for file in files] == [".service", ".timer"]
    assert 'cluster" "launch"' in files[0].read_text()
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    done = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", *map(str, files)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_pilots_are_kept_by_the_same_recipe(study: Study) -> None:
    text = recipe(study, "cron", "--pilot", "here", "--pilots", "3", "--workers", "2")
    assert " cluster launch --pilot here --pilots 3 --workers 2 >>" in text
