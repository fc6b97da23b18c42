"""``epilayer watch`` on trajectories that grow, stand still, or come from elsewhere."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from epilayer.cli.root import app
from epilayer.model.errors import InputError, StoreError
from epilayer.study.trajectories import observe
from epilayer.trajectory.log import TRAJECTORY, TrajectoryFolder

if TYPE_CHECKING:
    from pathlib import Path

    from epilayer.trajectory.log import StoredFrames

START = np.array([[1.0, 1.0, 1.0], [4.0, 4.0, 4.0], [6.0, 1.0, 3.0]])


@pytest.fixture
def growing(tmp_path: Path) -> tuple[Path, StoredFrames]:
    """A trajectory of a running segment: 30 of 100 steps so far, ten seconds old."""
    (tmp_path / "epilayer.yaml").touch()
    folder = tmp_path / "trajectories" / "0123456789abcdef"
    folder.mkdir(parents=True)
    log = TrajectoryFolder().open(folder, ("Na", "O", "Zn"), (22.99, 16.0, 65.4), 1.0)
    write(log, 0, 30)
    about = {
        "label": "dynamics of a pore, segment 1",
        "level": "toy",
        "first_step": 0,
        "number": 1,
        "started_s": time.time() - 10.0,
        "degrees_of_freedom": 6,
        "settings": {"steps": 100, "temperature_k": 300.0},
        "free": [True, True, False],
        "names": ["na", "fsi", "met6"],
        "molecules": [1, 2, 0],
    }
    (folder / "about.json").write_text(json.dumps(about))
    return folder, log


def write(log: StoredFrames, first: int, last: int) -> None:
    for step in range(first, last + 1):
        moved = START + np.array([[0.02 * step, 0, 0], [0, 0.01 * np.sin(step), 0], [0, 0, 0]])
        log.append(step, moved, np.eye(3) * 8.0, -10.0 - 0.001 * step, 300.0 + step)
    log.flush()


def seen(folder: Path) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["watch", str(folder), "--once", "--json"])
    assert done.exit_code == 0, done.output
    value: dict[str, Any] = json.loads(done.output)
    return value


def test_it_follows_a_file_that_grows(growing: tuple[Path, StoredFrames]) -> None:
    folder, log = growing
    first = seen(folder)
    assert (first["step"], first["frames"], first["steps_wanted"]) == (30, 31, 100)
    assert first["temperature_k"] == 330.0
    assert first["energy_change_ev"] == pytest.approx(-0.03)
    assert first["msd_ang2"]["na"] == pytest.approx((0.02 * 15) ** 2)
    assert "met6 Zn" not in first["msd_ang2"]  # it is held
    assert first["seconds_per_step"] == pytest.approx(1 / 3, rel=0.1)
    assert first["time_left_s"] == pytest.approx(70 / 3, rel=0.1)
    assert first["warnings"] == []
    assert not first["complete"]
    write(log, 31, 100)
    after = seen(folder)
    assert (after["step"], after["complete"], after["time_left_s"]) == (100, True, 0.0)
    log.close()
    assert seen(folder)["frames"] == 101


def test_the_text_holds_what_the_json_holds(growing: tuple[Path, StoredFrames]) -> None:
    done = CliRunner().invoke(app, ["watch", str(growing[0]), "--once"], env={"COLUMNS": "200"})
    for text in ("step", "30 of 100", "330 K now", "time left", "A^2  na", "warnings", "none"):
        assert text in done.output
    growing[1].close()


def test_without_a_name_the_last_one_to_grow(
    growing: tuple[Path, StoredFrames], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, log = growing
    log.close()
    monkeypatch.chdir(folder.parent.parent)
    done = CliRunner().invoke(app, ["watch", "--once", "--json"])
    assert json.loads(done.output)["step"] == 30


def test_live_it_ends_with_the_run(
    growing: tuple[Path, StoredFrames], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, log = growing
    waits = []

    def grow(seconds: float) -> None:
        waits.append(seconds)
        write(log, 31, 100)

    monkeypatch.setattr(time, "sleep", grow)
    done = CliRunner().invoke(app, ["watch", str(folder), "--every", "0.5"])
    assert done.exit_code == 0
    assert waits == [0.5]
    log.close()


def test_a_run_that_fell_silent(growing: tuple[Path, StoredFrames]) -> None:
    folder, log = growing
    long_ago = time.time() - 500
    for path in folder.glob(TRAJECTORY + "*"):
        os.utime(path, (long_ago, long_ago))
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps({**about, "started_s": long_ago - 10}))
    assert [w["kind"] for w in seen(folder)["warnings"]] == ["silent"]
    log.close()


def test_a_trajectory_from_elsewhere_and_an_empty_one(
    growing: tuple[Path, StoredFrames], tmp_path: Path
) -> None:
    folder, log = growing
    (folder / "about.json").write_text("{")
    plain = seen(folder / TRAJECTORY)
    assert set(plain["msd_ang2"]) == {"Na", "O", "Zn"}
    assert plain["time_left_s"] is None
    log.close()
    TrajectoryFolder().open(tmp_path, ("Na",), (23.0,), 1.0).close()
    assert seen(tmp_path)["frames"] == 0


def test_what_is_no_trajectory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="There is no trajectory"):
        observe(tmp_path / "no.h5")
    (tmp_path / "bad.h5").write_bytes(b"nothing")
    with pytest.raises(StoreError, match="not an HDF5 file"):
        observe(tmp_path / "bad.h5")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["watch", "--once"])
    assert isinstance(done.exception, InputError)
    assert "There is no trajectory in" in str(done.exception)


def test_steps_that_a_program_keeps_to_itself_count(
    growing: tuple[Path, StoredFrames], tmp_path: Path
) -> None:
    """VASP hands its steps in when its segment ends; until then OSZICAR tells of them."""
    folder, log = growing
    run = tmp_path / "attempt-1"
    run.mkdir()
    (run / "OSZICAR").write_text("DAV:   1   -0.1E+02\n    1 T=  300. E= -.1E+02\n" * 12)
    (folder / "running.json").write_text(json.dumps({"directory": str(run), "begins": 31}))
    assert seen(folder)["step"] == 42
    log.close()


@pytest.fixture
def chained(growing: tuple[Path, StoredFrames], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same trajectory after three runs of it, the second of which was killed."""
    folder, log = growing
    log.close()
    now = time.time()
    about = json.loads((folder / "about.json").read_text())
    settings = {**about["settings"], "time_step_fs": 2.0}
    runs = [
        {"directory": f"attempt-{k}", "started_s": now - 60.0 + 20 * k, "first_step": 10 * k, "begins": None}
        for k in range(3)
    ]
    (folder / "about.json").write_text(json.dumps({**about, "settings": settings, "runs": runs}))
    monkeypatch.chdir(folder.parent.parent)
    return folder


def test_status_says_how_many_ps_are_done_and_when_it_ends(chained: Path) -> None:
    done = CliRunner().invoke(app, ["status", "--json"])
    (course,) = json.loads(done.output)["trajectories"]
    assert (course["name"], course["trajectory"]) == ("dynamics of a pore", str(chained))
    assert (course["done_ps"], course["wanted_ps"]) == (pytest.approx(0.06), pytest.approx(0.2))
    assert course["seconds_per_step"] == pytest.approx(2.0, rel=0.1)  # since the first run, waits included
    assert course["ends_s"] == pytest.approx(time.time() + 140.0, abs=15.0)


def test_a_trajectory_that_does_not_say_what_it_is_to_become_is_left_out(chained: Path) -> None:
    (chained / "about.json").write_text("{")
    done = CliRunner().invoke(app, ["status", "--json"])
    assert json.loads(done.output)["trajectories"] == []
