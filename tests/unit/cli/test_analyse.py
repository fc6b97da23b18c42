"""``epilayer analyse transport`` on real and made-up files of several formats, and on bad ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import write
from typer.testing import CliRunner

from epilayer.cli.root import app
from epilayer.model.errors import EpilayerError, InputError
from epilayer.trajectory.log import TrajectoryFolder

REAL = Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))


def analysed(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["analyse", "transport", *arguments, "--json"])
    assert done.exit_code == 0, done.exception
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def refused(*arguments: str) -> EpilayerError:
    done = CliRunner().invoke(app, ["analyse", "transport", *arguments])
    assert isinstance(done.exception, EpilayerError), done.output
    return done.exception


def walk(folder: Path, frames: int = 400) -> Path:
    """Sodium that walks at random past waters and a wall of zinc, stored every 0.1 ps."""
    rng = np.random.default_rng(8)
    water = molecule("H2O").positions
    start = np.vstack([[[1, 1, 1], [5, 5, 5]], water + 3.0, water + 8.0, [[0, 0, 0], [0, 6, 0]]])
    symbols = ["Na", "Na", "O", "H", "H", "O", "H", "H", "Zn", "Zn"]
    step = np.zeros((frames, len(symbols), 3))
    step[1:, :2] = rng.normal(scale=0.5, size=(frames - 1, 2, 3))
    tracks = start + np.cumsum(step, axis=0)
    path = folder / "walk.extxyz"
    write(path, [Atoms(symbols, positions=x, cell=np.eye(3) * 12, pbc=True) for x in tracks])
    return path


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason="the real data set is not here")
def test_liquid_sodium_from_its_xdatcar() -> None:
    found = analysed(str(REAL / "md_liquid_Na_671K/XDATCAR.gz"), "--time-step-fs", "2", "--species", "Na")
    (sodium,) = found["diffusion"]
    assert sodium["verdict"] == "resolved"
    assert sodium["lower_cm2_per_s"] < 1.29e-4 < sodium["upper_cm2_per_s"]
    assert found["frame"] == "centre of mass at rest"  # a liquid has no framework
    assert (found["n_frames"], found["time_step_ps"]) == (2000, 0.002)


def test_carriers_molecules_and_what_is_at_rest(tmp_path: Path) -> None:
    path = walk(tmp_path)
    base = [str(path), "--time-step-fs", "1", "--step-skip", "100", "--species", "Na", "--molecule", "water"]
    found = analysed(*base, "--temperature-k", "300")
    sodium, water = found["diffusion"]
    assert found["time_step_ps"] == 0.1
    assert (sodium["species"], sodium["n_carriers"]) == ("Na", 2)
    assert sodium["verdict"] == "resolved"
    true_cm2_per_s = 0.5**2 / 2 / 0.1 * 1e-4
    assert sodium["lower_cm2_per_s"] < true_cm2_per_s < sodium["upper_cm2_per_s"]
    assert (water["species"], water["n_carriers"], water["verdict"]) == ("water", 2, "refused")
    assert water["reason"] == "Nothing moves."
    assert found["frame"] == "framework at rest"
    assert found["conductivity"][0]["verdict"] == "resolved"  # sodium alone is charged
    assert analysed(*base, "--framework", "Zn,O")["frame"] == "framework at rest"
    assert analysed(*base, "--framework", "none")["frame"] == "as simulated"
    half = analysed(*base, "--from-ps", "20")
    assert half["n_frames"] == 200
    charged = analysed(*base, "--temperature-k", "300", "--charge", "Na=2")
    ratio = charged["conductivity"][0]["upper_ms_per_cm"] / found["conductivity"][0]["upper_ms_per_cm"]
    assert ratio == pytest.approx(4.0)


def test_the_text_says_what_the_json_says(tmp_path: Path) -> None:
    path = walk(tmp_path)
    done = CliRunner().invoke(
        app,
        [
            "analyse",
            "transport",
            str(path),
            "--time-step-fs",
            "100",
            "--species",
            "Na",
            "--molecule",
            "W=H2O",
        ],
        env={"COLUMNS": "220"},
    )
    for text in ("400 frames, 40 ps", "framework at rest", "resolved", "refused", "No ranking of Na and W"):
        assert text in done.stdout, done.stdout


def test_a_trajectory_of_epilayer(tmp_path: Path) -> None:
    log = TrajectoryFolder().open(tmp_path, ("Na", "O"), (22.99, 16.0), 1.0)
    for step in range(0, 40, 2):
        log.append(step, np.array([[1.0 + 0.01 * step, 1, 1], [4, 4, 4]]), np.eye(3) * 8, 0.0, 300.0)
    log.close()
    found = analysed(str(tmp_path / "trajectory.h5"), "--species", "Na")
    assert (found["n_frames"], found["time_step_ps"]) == (20, 0.002)
    assert found["diffusion"][0]["verdict"] == "refused"


def test_bad_input_is_one_clear_line(tmp_path: Path) -> None:
    path = str(walk(tmp_path, frames=20))
    known = [path, "--time-step-fs", "100"]
    assert "does not say its time step" in refused(path, "--species", "Na").what
    assert "time step is 0 fs" in refused(path, "--time-step-fs", "0", "--species", "Na").what
    assert "Li is not in this trajectory" in refused(*known, "--species", "Li").what
    assert "No carrier was named" in refused(*known).what
    nothing = refused(*known, "--molecule", "fsi")
    assert (
        nothing.what == "There is no molecule N1F2S2O4 in the first frame." or "no molecule" in nothing.what
    )
    assert "H2O" in nothing.remedy
    assert "neither a known ligand nor a formula" in refused(*known, "--molecule", "x?").what
    assert "'FSI' is no carrier" in refused(*known, "--species", "Na", "--charge", "FSI=-1").what
    assert "gives no number" in refused(*known, "--species", "Na", "--charge", "Na=x").what
    assert "'Si' is not in this trajectory" in refused(*known, "--species", "Na", "--framework", "Si").what
    assert "nothing after 99 ps" in refused(*known, "--species", "Na", "--from-ps", "99").what
    assert isinstance(refused(str(tmp_path / "no.extxyz"), "--species", "Na"), InputError)


def test_a_cut_xdatcar_and_joined_runs_are_refused(tmp_path: Path) -> None:
    head = "made up\n1.0\n8 0 0\n0 8 0\n0 0 8\nNa\n2\n"
    frame = "Direct configuration= {}\n 0.1 0.1 0.1\n 0.5 0.5 0.5\n"
    good = head + "".join(frame.format(k) for k in range(1, 6))
    path = tmp_path / "XDATCAR"
    path.write_text(good[:-12])
    assert "XDATCAR" in refused(str(path), "--time-step-fs", "1", "--species", "Na").what
    path.write_text(good + "".join(frame.format(k) for k in range(1, 6)))
    assert "1 follows 5" in refused(str(path), "--time-step-fs", "1", "--species", "Na").what
    path.write_text(good.replace("0.5 0.5 0.5\n", "0.5 nan 0.5\n", 1))
    assert "finite" in refused(str(path), "--time-step-fs", "1", "--species", "Na").what
