"""``workflows/met6_transport.py``: from names to a refused record beside the paper."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from rocrate.rocrate import ROCrate
from typer.testing import CliRunner

from epilayer import Study
from epilayer.cli.root import app

if TYPE_CHECKING:
    from pathlib import Path

SHORT = ["equilibration_steps=2", "production_steps=6", "minimise_steps=1", "segment_steps=5"]
SMALL = ["primitive=true", "salt=NaFSI:1", "chains=pom4:1", "checkpoint_every=3"]


@pytest.mark.slow
def test_from_names_to_a_refusal_beside_the_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "epilayer.yaml").touch()
    monkeypatch.chdir(tmp_path)
    settings = [part for text in (*SHORT, *SMALL) for part in ("--set", text)]
    command = ["run", "met6_transport", "--level", "toy", "--workers", "1", *settings]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for text in ("119 atoms, 2 + 6 steps of 1 fs in 2 segments", "refused: too short", "about 2 A"):
        assert text in done.output
    assert "the guests and the host's H; the host's C, N, Zn are held" in done.output
    (row,) = json.loads(CliRunner().invoke(app, ["report", "--json"]).stdout)["transport"]
    assert row["first_peak_ang"] is None or 1.8 < row["first_peak_ang"] < 3.2
    assert row["paper"]["first_peak_ang"] == "about 2 A"
    assert row["stand_in"]
    assert row["frames"] == 9
    again = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert "0 new records" in again.output
    _made_again_from_its_frames(tmp_path)


def _made_again_from_its_frames(root: Path) -> None:
    """``verify`` makes the record anew from the stored frames: a number that does not follow is named."""
    sound = json.loads(CliRunner().invoke(app, ["verify", "--all", "--json"]).stdout)
    assert (sound["sound"], sound["records"], sound["numbers"]) == (True, 1, 1)
    _handed_on_with_its_jobs(root)
    results = Study.open(root).results()
    try:
        (record,) = results.query("transport", body=True)
        record["body"]["solvation"]["cutoff_ang"] += 1e-3
        results.put([record])  # as a program would that writes another number, hashes and all
    finally:
        results.close()
    found = CliRunner().invoke(app, ["verify", record["id"][:8], "--json"])
    assert found.exit_code == 5
    (damage,) = json.loads(found.stdout)["damages"]
    assert damage["what"].startswith("it states solvation.cutoff_ang = ")
    about = next((root / "trajectories").rglob("about.json"))
    about.write_bytes(about.read_bytes().replace(b"e", b"E", 1))
    (damage,) = json.loads(CliRunner().invoke(app, ["verify", "--all", "--json"]).stdout)["damages"]
    assert (damage["path"], damage["exact"]) == (str(about), True)


def _handed_on_with_its_jobs(root: Path) -> None:
    """In an RO-Crate every job is an action: what it was given, by which program, and what it left."""
    (root / "epilayer.yaml").write_text("authors: [{name: Ada Lovelace}]\nlicence: CC-BY-4.0\n")
    assert CliRunner().invoke(app, ["db", "crate", "crate"]).exit_code == 0
    assert "all as it was written" in CliRunner().invoke(app, ["db", "check", "crate"]).stdout
    actions = ROCrate(root / "crate").get_by_type("CreateAction")
    (analysis,) = (a for a in actions if a["name"].startswith("analyse transport"))
    assert any(one.id.startswith("results/transport-") for one in analysis["result"])
    given = {one.id for one in analysis["object"]}
    left = {one.id for a in actions for one in a["result"]}
    assert len(given - left) == 1  # all but the job as submitted was put out by the jobs before
    names = {program["name"] for a in actions for program in a["instrument"]}
    assert {"epilayer", "atomate2", "jobflow"} <= names
    assert list((root / "crate" / "trajectories").rglob("trajectory.h5"))
    shutil.rmtree(root / "crate")


def test_an_unknown_salt_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["submit", "met6_transport", "--set", "salt=NaXYZ:1", "--dry-run"])
    assert "NaXYZ" in str(done.exception)
