"""Dynamics with VASP in segments: cut anywhere and gone on with, it is the trajectory that was never cut."""

from __future__ import annotations

import os
import runpy
import signal
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from atomate2.vasp.run import run_vasp
from monty.json import MontyDecoder

from cut_trajectories import SHORT, STEPS, USR1, cut_to_pieces, frames, water_and_salt
from epilayer.engines.vasp import engine as vasp
from epilayer.flows.transport import TransportMaker, TransportPlan
from epilayer.launch import EmbeddedQueue, run_workers
from epilayer.model.dynamics import (
    DynamicsSettings,
    Ensemble,
    Segment,
    SegmentEnd,
    SegmentLimit,
    Thermostat,
)
from epilayer.model.errors import EngineError
from epilayer.model.ion_transport import IonTransport
from epilayer.outputs.vasp import contcar as vasp_contcar
from epilayer.store.jobs import embedded_jobstore
from epilayer.study.config import Catalogue, shipped
from epilayer.trajectory.log import TRAJECTORY, TrajectoryFolder, open_reference
from epilayer.trajectory.store import Trajectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymatgen.core import Structure

Program = Any  # the stand-in is a program, and untyped
STANDIN = runpy.run_path(str(Path(__file__).parents[1] / "standin" / "vasp_standin.py"))
LOADED = runpy.run_path(str(Path(__file__).parents[1] / "workflows" / "test_transport_flow.py"))
CATALOGUE = Catalogue((shipped("configs"),))
LAST_DIGIT_ANG = 1.3e-7
"""One unit in the eighth decimal of a coordinate along 12 A, which is what VASP's outputs resolve."""


class Killed(BaseException):
    """What is on disk after it is what kill -9 leaves: nothing runs any more but the raising."""


class Rig:
    """Runs segments with the stand-in inside this process: its start-up would cost more than its steps."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.patch = root, patch
        self.attempts = 0
        self.act: dict[int, Callable[[Program], None]] = {}
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
        act: dict[int, Callable[[Program], None]] | None = None,
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


def kill(_run: Program) -> None:
    raise Killed


def kill_at_contcar(run: Program) -> None:
    """Strike while CONTCAR is being written: half of it is there."""
    text = (run.here / "CONTCAR").read_bytes()
    (run.here / "CONTCAR").write_bytes(text[: len(text) // 2])
    raise Killed


def kill_in_a_step(run: Program) -> None:
    """Strike between CONTCAR and the end of the next step."""
    run.xml.write("<calculation>\n <scstep>\n  <time")
    raise Killed


def usr1(_run: Program) -> None:
    signal.raise_signal(signal.SIGUSR1)


STRIKES = {"kill": kill, "kill in a step": kill_in_a_step, "kill at CONTCAR": kill_at_contcar}


def cut_short(rig: Rig, settings: DynamicsSettings, cuts: int) -> tuple[Segment, dict[str, int]]:
    """Cut to pieces by everything that strikes VASP."""

    def attempt(how: str, ahead: int, previous: Segment | None, limit: SegmentLimit) -> Segment | None:
        act = None if how == STEPS else {ahead: usr1 if how == USR1 else STRIKES[how]}
        try:
            return rig.segment(settings, previous, limit, act)
        except Killed:
            return None

    return cut_to_pieces(attempt, tuple(STRIKES), settings.steps, cuts)


@pytest.mark.parametrize(
    ("steps", "cuts", "at_least"), [pytest.param(2000, 100, 100, marks=pytest.mark.slow), (80, 16, 8)]
)
def test_cuts_leave_no_seam(rig: Rig, steps: int, cuts: int, at_least: int) -> None:
    """With an engine that keeps no more digits than CONTCAR has: nothing else is lost at any cut."""
    rig.patch.setenv("VASP_STANDIN_ROUND", "1")
    settings = SHORT.model_copy(update={"steps": steps})
    whole = rig.segment(settings, part="uncut")
    assert whole.ended_by is SegmentEnd.COMPLETE
    assert (whole.first_step, whole.last_step, whole.frames, whole.lost) == (0, steps, steps + 1, ())
    assert whole.degrees_of_freedom == 18
    last, met = cut_short(rig, settings, cuts)
    assert sum(met.values()) >= at_least
    assert min(met.values()) >= at_least // 20
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


# -- what ends a segment, and what is kept ---------------------------------------------------------


class Told(BaseException):
    """What the queue's worker raises at SIGTERM."""


def test_term_is_obeyed_after_the_checkpoint(rig: Rig) -> None:
    def on_term(_number: int, _frame: object) -> None:
        raise Told

    before = signal.signal(signal.SIGTERM, on_term)
    try:
        with pytest.raises(Told):
            rig.segment(SHORT, act={9: lambda _run: signal.raise_signal(signal.SIGTERM)})
    finally:
        signal.signal(signal.SIGTERM, before)
    done = rig.segment(SHORT)
    assert done.resumed.startswith("went on from the CONTCAR of step 8, left in ")
    assert (done.first_step, done.last_step, done.frames) == (0, 30, 31)


def test_a_complete_trajectory_is_not_run_again(rig: Rig) -> None:
    first = rig.segment(SHORT)
    again = rig.segment(SHORT, act={1: lambda _run: pytest.fail("a step was computed again")})
    assert again.complete
    assert again.trajectory == first.trajectory


def test_a_crash_is_named_and_its_steps_are_kept(rig: Rig) -> None:
    def crash(run: Program) -> None:
        run.xml.write("<calculation>\n <scstep>\n  <ti")
        raise OSError("forrtl: severe (174): SIGSEGV")

    with pytest.raises(EngineError, match="Steps up to 6 are kept"):
        rig.segment(SHORT, act={7: crash})
    done = rig.segment(SHORT)
    assert "step 6" in done.resumed
    assert frames(done)[0] == list(range(31))


def test_a_run_that_never_began_leaves_nothing(rig: Rig) -> None:
    def crash(run: Program) -> None:
        (run.here / "vasprun.xml").unlink()
        raise OSError("no such library")

    with pytest.raises(EngineError, match="segment"):
        rig.segment(SHORT, act={1: crash})
    done = rig.segment(SHORT)
    assert done.resumed == ""
    assert done.frames == 31


def test_langevin_draws_anew_and_says_so(rig: Rig) -> None:
    settings = SHORT.model_copy(update={"thermostat": Thermostat.LANGEVIN, "steps": 20})
    first = rig.segment(settings, limit=SegmentLimit(steps=9))
    second = rig.segment(settings, first)
    assert frames(second)[0] == list(range(21))
    assert any("Langevin noise" in text for text in second.lost)
    assert any("no predictor-corrector block" in text for text in second.lost)
    incars = [(rig.root / "cut" / f"attempt-{k}" / "INCAR").read_text() for k in (1, 2)]
    seeds = [line for text in incars for line in text.splitlines() if line.startswith("RANDOM_SEED")]
    assert seeds[0] == "RANDOM_SEED = 5 0 0"
    assert len(set(seeds)) == 2
    jumps = np.abs(np.diff(frames(second)[1], axis=0)).max(axis=(1, 2))
    assert 1e-3 < jumps.min() < jumps.max() < 0.2  # neither a repeated frame nor a jump at the join


def test_nve_goes_on_from_the_velocities_of_another_trajectory(rig: Rig) -> None:
    first = rig.segment(SHORT)
    settings = SHORT.model_copy(update={"ensemble": Ensemble.NVE, "steps": 12})
    done = rig.segment(settings, start=first.structure, part="nve")
    assert done.frames == 13
    incar = (rig.root / "nve" / f"attempt-{rig.attempts}" / "INCAR").read_text()
    assert "ANDERSEN_PROB = 0.0" in incar
    assert done.trajectory_id != first.trajectory_id
    with Trajectory(Path(done.directory) / TRAJECTORY) as stored:
        kinetic = 0.5 * done.degrees_of_freedom * 8.617333e-5 * stored.temperatures_k()
        total = stored.energies_ev() + kinetic
        assert np.ptp(total) < 0.2 * np.ptp(kinetic)
        # Within half a step of where the other one ended.
        assert stored.temperatures_k()[0] == pytest.approx(first.temperature_k, rel=0.3)


def test_every_fourth_frame_is_stored_on_absolute_steps(rig: Rig) -> None:
    settings = SHORT.model_copy(update={"frame_every": 4, "steps": 22})
    first = rig.segment(settings, limit=SegmentLimit(steps=7))
    assert frames(first)[0] == [0, 4]
    second = rig.segment(settings, first)
    assert frames(second)[0] == [0, 4, 8, 12, 16, 20]


# -- refusals --------------------------------------------------------------------------------------


@pytest.fixture
def half(rig: Rig) -> Segment:
    return rig.segment(SHORT, limit=SegmentLimit(steps=10))


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_truncated_checkpoint_is_refused(rig: Rig, half: Segment, kept: int) -> None:
    os.truncate(half.checkpoint.path, kept if kept >= 0 else half.checkpoint.size + kept)
    with pytest.raises(EngineError, match="is truncated or damaged"):
        rig.segment(SHORT, half)


def test_a_checkpoint_of_another_trajectory_is_refused(rig: Rig, half: Segment) -> None:
    with pytest.raises(EngineError, match="another trajectory"):
        rig.segment(SHORT.model_copy(update={"seed": 1}), half)
    other = rig.segment(SHORT.model_copy(update={"seed": 9}), limit=SegmentLimit(steps=10), part="other")
    Path(half.checkpoint.path).write_bytes(Path(other.checkpoint.path).read_bytes())
    with pytest.raises(EngineError, match="of another trajectory"):
        rig.segment(SHORT, half)
    Path(half.checkpoint.path).unlink()
    with pytest.raises(EngineError, match="no checkpoint in"):
        rig.segment(SHORT, half)


def test_a_foreign_contcar_is_not_gone_on_from(rig: Rig, half: Segment) -> None:
    def foreign(run: Program) -> None:
        other = rig.root / "cut" / "attempt-1" / "CONTCAR"
        (run.here / "CONTCAR").write_bytes(other.read_bytes())
        raise Killed

    with pytest.raises(Killed):
        rig.segment(SHORT, half, act={5: foreign})
    done = rig.segment(SHORT, half)
    assert done.resumed == ""
    assert any("belongs to no whole step" in text for text in done.lost)
    assert frames(done)[0] == list(range(31))


def test_a_killed_run_that_began_elsewhere_is_not_joined(rig: Rig, half: Segment) -> None:
    with pytest.raises(Killed):
        rig.segment(SHORT, half, act={5: kill})
    vasprun = rig.root / "cut" / "attempt-2" / "vasprun.xml"
    vasprun.write_bytes((rig.root / "cut" / "attempt-1" / "vasprun.xml").read_bytes())
    done = rig.segment(SHORT, half)
    assert done.resumed == ""
    assert any("did not begin where the trajectory stood (step 11)" in text for text in done.lost)


def test_a_changed_time_step_is_refused(rig: Rig, half: Segment) -> None:
    with pytest.raises(Killed):
        rig.segment(SHORT, half, act={5: kill})
    vasprun = rig.root / "cut" / "attempt-2" / "vasprun.xml"
    vasprun.write_text(vasprun.read_text().replace('name="POTIM"> 0.5', 'name="POTIM"> 0.25'))
    done = rig.segment(SHORT, half)
    assert any("executed with POTIM = 0.25, not 0.5" in text for text in done.lost)
    assert done.resumed == ""


# Behind three steps of silicon at 300 K, VASP 6 with MDALGO = 2; the run that was given this file as its
# POSCAR computed as its first configuration what stands below it.
SILICON = b"""\
Si2
   1.0000000000000000
     3.3488980000000002    0.0000000000000000    1.9334870000000000
     1.1162989999999999    3.1573720000000001    1.9334870000000000
     0.0000000000000000    0.0000000000000000    3.8669750000000001
   Si
     2
Direct
  0.2509246999416777  0.2479629372437218  0.2497071651391614
 -0.0009246999416777  0.0020370627562782  0.0002928348608386

  0.40252568E-03 -0.31480439E-02 -0.16045943E-02
 -0.40252568E-03  0.31480439E-02  0.16045943E-02

           1
   1.0000000000000000
 -0.63509263E-03 -0.84024339E-03 -0.21494156E-03 -0.10750015E-03
  0.25137724E+00  0.24696589E+00  0.24956447E+00
  0.99862276E+00  0.30341084E-02  0.43553277E-03
  0.00000000E+00  0.00000000E+00  0.00000000E+00
  0.00000000E+00  0.00000000E+00  0.00000000E+00
  0.00000000E+00  0.00000000E+00  0.00000000E+00
  0.00000000E+00  0.00000000E+00  0.00000000E+00
"""
FOLLOWED = np.array([[0.25137724, 0.24696589, 0.24956447], [0.99862276, 0.00303411, 0.00043553]])


def test_vasp_begins_at_the_next_positions_of_its_contcar() -> None:
    file = vasp_contcar.parse(SILICON)
    cell = file.lattice_ang
    assert file.checked(["Si", "Si"], cell, 1.0, thermostat=True) is file
    assert vasp_contcar.same_frame(file.begins_frac, FOLLOWED)
    assert not vasp_contcar.same_frame(file.positions_frac, FOLLOWED)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda raw: raw[:-60], "cut short"),
        (lambda raw: raw[:-1], "truncated"),
        (lambda raw: raw[: raw.index(b"           1\n")], "lacks the state of the thermostat"),
        (lambda raw: raw[: raw.index(b"  0.40252568E-03")], "no velocities"),
        (lambda raw: raw[:200], "truncated or damaged"),
        (lambda _raw: b"", "truncated or damaged"),
        (lambda raw: raw.replace(b"0.40252568E-03 -0.31", b"0.40252568E-02 -0.31"), "not of one step"),
        (lambda raw: raw.replace(b"0.99862276E+00", b"           NaN"), "truncated or damaged"),
        (lambda raw: raw.replace(b"3.8669750000000001", b"3.8679750000000001"), "of another cell"),
        (lambda raw: raw.replace(b"   Si\n", b"   Ge\n"), "of other atoms"),
    ],
)
def test_a_contcar_that_does_not_hold_up_is_refused(damage: Callable[[bytes], bytes], match: str) -> None:
    cell = vasp_contcar.parse(SILICON).lattice_ang
    with pytest.raises(EngineError, match=match):
        vasp_contcar.parse(damage(SILICON)).checked(["Si", "Si"], cell, 1.0, thermostat=True)


# -- through custodian and through the queue ---------------------------------------------------------


def test_custodian_stops_vasp_ahead_of_the_wall_time(rig: Rig) -> None:
    rig.patch.setattr(vasp, "run_vasp", run_vasp)
    rig.patch.setenv("VASP_STANDIN_ROUND", "1")
    rig.patch.setenv("VASP_STANDIN_STEP_S", "0.2")
    settings = SHORT.model_copy(update={"steps": 60})
    first = rig.segment(settings, limit=SegmentLimit(wall_time_s=6.0))
    assert first.ended_by is SegmentEnd.WALL_TIME
    assert 0 <= first.last_step < 60
    log = (rig.root / "cut" / "attempt-1" / "custodian.json").read_text(encoding="utf-8")
    assert "Walltime reached" in log
    rig.patch.delenv("VASP_STANDIN_STEP_S")
    second = rig.segment(settings, first)
    assert second.complete
    rig.patch.setattr(vasp, "run_vasp", rig.standin)
    whole = rig.segment(settings, part="uncut")
    assert frames(second)[0] == list(range(61))
    assert np.abs(frames(second)[1] - frames(whole)[1]).max() <= LAST_DIGIT_ANG


def test_a_vasp_that_is_killed_fails_its_job_and_keeps_its_steps(rig: Rig) -> None:
    rig.patch.setattr(vasp, "run_vasp", run_vasp)
    rig.patch.setenv("VASP_STANDIN_FAULT", "walltime")  # kill -9 in its third step
    rig.patch.setenv("VASP_STANDIN_ONCE", str(rig.root / "struck"))
    with pytest.raises(EngineError, match=r"time_limit.* Steps up to 1 are kept"):
        rig.segment(SHORT)
    done = rig.segment(SHORT)
    assert "step 1" in done.resumed
    assert frames(done)[0] == list(range(31))


@pytest.mark.slow
def test_the_transport_flow_runs_with_vasp_and_stitches_its_segments(
    rig: Rig, vasp: dict[str, str], tmp_path: Path
) -> None:
    """The level ``paper``: minimise, two segments by custodian, one stitched trajectory, its analysis."""
    assert vasp
    (tmp_path / "epilayer.yaml").touch()
    plan = TransportPlan(
        dynamics=DynamicsSettings(time_step_fs=0.5),
        equilibration_steps=10,
        production_steps=30,
        temperatures_k=(300.0,),
        segment_steps=24,
        minimise_steps=3,
    )
    flow = TransportMaker(engine=rig.engine, plan=plan).make(
        "test pore", LOADED["pore"](), {"na": 1.0, "no2": -1.0}
    )
    queue = EmbeddedQueue(tmp_path / "queue.sqlite", runs=tmp_path / "runs")
    queue.submit(flow)
    store = embedded_jobstore(tmp_path / "outputs.sqlite")
    report = run_workers(queue, store.as_dict(), workers=1)
    assert report.failed == 0, [j.cause for j in queue.status().failed]
    with store as outputs:
        found = outputs.query({}, properties=["output"], load=True)
        records = [MontyDecoder().process_decoded(d["output"]) for d in found]
    record = next(r for r in records if isinstance(r, IonTransport))
    assert (record.steps, record.frames) == (40, 41)
    rows = [(r.first_step, r.last_step, r.ended_by.value) for r in record.segments]
    assert rows == [(0, 24, "steps"), (24, 40, "complete")]
    assert any("to 8 digits" in text for text in record.lost)
    assert record.statement.startswith("refused: too short")
    assert record.level.name == "paper"
    assert record.level.stand_in
    assert 100.0 < record.mean_temperature_k < 700.0
    with open_reference(record.trajectories[0]) as stored:
        assert stored.steps().tolist() == list(range(41))
        moved = np.abs(stored.positions() - stored.positions()[0]).max(axis=(0, 2))
    assert (moved[[0, 1, 2, 4]] <= LAST_DIGIT_ANG).all()
    assert (moved[[3, 5, 6, 7, 8, 9, 10]] > 1e-3).all()
