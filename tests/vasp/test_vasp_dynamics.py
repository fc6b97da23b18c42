"""Dynamics with VASP in segments: cut anywhere and gone on with, it is the trajectory that was never cut."""

from __future__ import annotations

import runpy
import signal
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.config import Catalogue, shipped
from epilayer.engines import vasp
from epilayer.model.dynamics import DynamicsSettings, Segment, SegmentEnd, SegmentLimit
from epilayer.trajectory.log import TRAJECTORY, TrajectoryFolder
from epilayer.trajectory.store import Trajectory

if TYPE_CHECKING:
    from collections.abc import Callable

STANDIN = runpy.run_path(str(Path(__file__).parents[1] / "standin" / "vasp_standin.py"))
CATALOGUE = Catalogue((shipped("configs"),))
SHORT = DynamicsSettings(steps=30, time_step_fs=0.5, temperature_k=300.0, seed=5)
LAST_DIGIT_ANG = 1.3e-7
"""One unit in the eighth decimal of a coordinate along 12 A, which is what VASP's outputs resolve."""


class Killed(BaseException):
    """What is on disk after it is what kill -9 leaves: nothing runs any more but the raising."""


def water_and_salt() -> Structure:
    """Two water molecules above a held layer of four ions: 10 atoms."""
    half = 2.8
    species = ["Na", "F", "Na", "F"]
    coords = [[0, 0, 0], [half, 0, 0], [half, half, 0], [0, half, 0]]
    water = np.array([[0.0, 0.0, 0.0], [0.757, 0.0, 0.587], [-0.757, 0.0, 0.587]])
    for k in range(2):
        species += ["O", "H", "H"]
        coords += (water + np.array([half * k, half * k, 2.9])).tolist()
    return Structure(
        Lattice.orthorhombic(2 * half, 2 * half, 12.0),
        species,
        coords,
        coords_are_cartesian=True,
        site_properties={"selective_dynamics": [[False] * 3] * 4 + [[True] * 3] * 6},
    )


class Rig:
    """Runs segments with the stand-in inside this process: its start-up would cost more than its steps."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.patch = root, patch
        self.attempts = 0
        self.act: dict[int, Callable[[Any], None]] = {}
        self.engine: Any = CATALOGUE.engine("paper")
        patch.setenv("VASP_STANDIN_TIES", str(root / "ties"))
        patch.setattr(vasp, "run_vasp", self.standin)

    def standin(self, **_settings: object) -> None:
        run = STANDIN["Run"](Path.cwd())
        run.check()
        step = run.step

        def acting(atoms: object) -> int | None:
            status: int | None = step(atoms)
            act = self.act.get(len(run.energies))
            if act is not None:
                act(run)
            return status

        run.step = acting
        with Path("vasp.out").open("w", encoding="utf-8") as out, redirect_stdout(out):
            assert run.execute() == 0

    def segment(
        self,
        settings: DynamicsSettings,
        previous: Segment | None = None,
        limit: SegmentLimit | None = None,
        act: dict[int, Callable[[Any], None]] | None = None,
        start: Structure | None = None,
        part: str = "cut",
    ) -> Segment:
        """Run the next attempt of a segment; ``act`` strikes behind the n-th configuration of it."""
        self.attempts += 1
        where = self.root / part / f"attempt-{self.attempts}"
        where.mkdir(parents=True)
        self.patch.chdir(where)
        self.act = act or {}
        maker = self.engine.segment("segment", settings, TrajectoryFolder(), limit)
        done: Segment = maker.make.original(maker, start or water_and_salt(), previous)
        return done


@pytest.fixture
def rig(vasp: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    assert vasp
    return Rig(tmp_path, monkeypatch)


def frames(segment: Segment) -> tuple[list[int], Any, Any]:
    """Return steps, positions (A) and energies (eV) of the stitched trajectory."""
    with Trajectory(Path(segment.directory) / TRAJECTORY) as stored:
        assert len(stored) == segment.frames
        return stored.steps().tolist(), stored.positions(), stored.energies_ev()


def kill(_run: Any) -> None:
    raise Killed


def kill_at_contcar(run: Any) -> None:
    """Strike while CONTCAR is being written: half of it is there."""
    text = (run.here / "CONTCAR").read_bytes()
    (run.here / "CONTCAR").write_bytes(text[: len(text) // 2])
    raise Killed


def kill_in_a_step(run: Any) -> None:
    """Strike between CONTCAR and the end of the next step."""
    run.xml.write("<calculation>\n <scstep>\n  <time")
    raise Killed


def usr1(_run: Any) -> None:
    signal.raise_signal(signal.SIGUSR1)


STRIKES = {"kill": kill, "kill in a step": kill_in_a_step, "kill at CONTCAR": kill_at_contcar, "usr1": usr1}


def cut_to_pieces(rig: Rig, settings: DynamicsSettings, cuts: int) -> tuple[Segment, dict[str, int]]:
    """Run in about ``cuts`` pieces ended by step limits, USR1 and kills at seeded random moments."""
    rng = np.random.default_rng(20250)
    met = dict.fromkeys(("steps", *STRIKES), 0)
    stride = settings.steps / cuts
    previous: Segment | None = None
    while previous is None or not previous.complete:
        how = str(rng.choice(list(met)))
        ahead = int(rng.integers(1, max(3, round(2 * stride))))
        if how == "steps":
            segment = rig.segment(settings, previous, SegmentLimit(steps=ahead))
            assert segment.complete or segment.ended_by is SegmentEnd.STEPS
        elif how == "usr1":
            # Its own attempts before it may have left it less to do than it is struck after.
            segment = rig.segment(settings, previous, SegmentLimit(steps=3 * ahead), {ahead: usr1})
            assert segment.complete or segment.resumed or segment.ended_by is SegmentEnd.SIGNAL
        else:
            try:
                segment = rig.segment(
                    settings, previous, SegmentLimit(steps=3 * ahead), {ahead: STRIKES[how]}
                )
            except Killed:
                met[how] += 1
                continue
        assert segment.first_step == (previous.last_step if previous else 0)
        met[how] += not segment.complete
        previous = segment
    return previous, met


@pytest.mark.parametrize(
    ("steps", "cuts"), [pytest.param(2000, 100, marks=pytest.mark.slow), pytest.param(80, 8)]
)
def test_cuts_leave_no_seam(rig: Rig, monkeypatch: pytest.MonkeyPatch, steps: int, cuts: int) -> None:
    """With an engine that keeps no more digits than CONTCAR has: nothing else is lost, however often it is cut."""
    monkeypatch.setenv("VASP_STANDIN_ROUND", "1")
    settings = SHORT.model_copy(update={"steps": steps})
    whole = rig.segment(settings, part="uncut")
    assert whole.ended_by is SegmentEnd.COMPLETE
    assert (whole.first_step, whole.last_step, whole.frames, whole.lost) == (0, steps, steps + 1, ())
    assert whole.degrees_of_freedom == 18
    last, met = cut_to_pieces(rig, settings, cuts)
    assert sum(met.values()) >= cuts * 0.8
    if cuts >= 100:
        assert min(met.values()) >= 5
    found, positions, energies = frames(last)
    wanted, uncut, uncut_energies = frames(whole)
    assert found == wanted == list(range(steps + 1))
    assert np.abs(positions - uncut).max() <= LAST_DIGIT_ANG
    assert np.abs(energies - uncut_energies).max() <= 2e-7
    given = [np.array(one.structure.site_properties["velocities"]) for one in (whole, last)]
    assert np.abs(given[0] - given[1]).max() <= 2e-9
    assert last.temperature_k == pytest.approx(whole.temperature_k, abs=1e-4)


def test_a_join_is_exact_to_the_digits_of_contcar(rig: Rig) -> None:
    """With an engine that keeps all its digits the first steps behind a join show what the file drops."""
    whole = rig.segment(SHORT, part="uncut")
    first = rig.segment(SHORT, limit=SegmentLimit(steps=11))
    second = rig.segment(SHORT, first)
    assert (first.frames, second.frames) == (12, 31)
    assert any("to 8 digits" in text for text in second.lost)
    apart = np.abs(frames(second)[1] - frames(whole)[1]).max(axis=(1, 2))
    assert (apart[:12] == 0).all()
    assert apart[12:].max() <= 3 * LAST_DIGIT_ANG
    moved = np.abs(np.diff(frames(whole)[1], axis=0)).max(axis=(1, 2))
    assert moved.min() > 1e-3
    assert (frames(second)[1][:, :4] == frames(second)[1][0, :4]).all()
