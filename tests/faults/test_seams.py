"""A trajectory cut anywhere, by anything, and resumed is the trajectory that was never cut."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import pytest

from cut_trajectories import SHORT, USR1, cut_to_pieces, water_and_salt
from epilayer.engines.dynamics import md, segments
from epilayer.engines.dynamics.integrators import Integrator, State
from epilayer.model.dynamics import DynamicsSettings, Segment, SegmentEnd, SegmentLimit, Thermostat
from epilayer.model.errors import EngineError, InputError, StoreError, StructureError
from epilayer.study.config import Catalogue, shipped
from epilayer.trajectory.log import TRAJECTORY, TrajectoryFolder
from epilayer.trajectory.store import Trajectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pymatgen.core import Structure

    from epilayer.engines.base import MdEngine

P = ParamSpec("P")
R = TypeVar("R")
CATALOGUE = Catalogue((shipped("configs"),))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # a trajectory's folder stands where its first segment ran
    return tmp_path


def engine(name: str = "toy") -> MdEngine:
    made: Any = CATALOGUE.engine(name)
    return made


def run(
    settings: DynamicsSettings,
    previous: Segment | None = None,
    limit: SegmentLimit | None = None,
    start: Structure | None = None,
    level: str = "toy",
) -> Segment:
    maker: Any = engine(level).segment("segment", settings, TrajectoryFolder(), limit)
    done: Segment = maker.make.original(maker, start or water_and_salt(), previous)
    return done


def uncut(
    folder: Path, settings: DynamicsSettings, monkeypatch: pytest.MonkeyPatch, **how: str
) -> tuple[Segment, dict[int, State]]:
    """Run in one piece and note every state."""
    states: dict[int, State] = {}
    advance = Integrator.advance

    def noting(self: Integrator, state: State) -> State:
        after = advance(self, state)
        states[after.step] = after
        return after

    folder.mkdir()
    with monkeypatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(Integrator, "advance", noting)
        return run(settings, **how), states


def in_a_child(work: Callable[[], object]) -> int:
    """Run in a forked process; return how it ended (negative: by that signal)."""
    child = os.fork()
    if child == 0:  # pragma: no cover  (the child never comes back)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def after_calls(function: Callable[P, R], calls: int, act: Callable[[], None]) -> Callable[P, R]:
    """Return the function, which acts at the end of the given call."""
    left = [calls]

    def counted(*args: P.args, **kwargs: P.kwargs) -> R:
        value = function(*args, **kwargs)
        left[0] -= 1
        if left[0] == 0:
            act()
        return value

    return counted


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def usr1() -> None:
    signal.raise_signal(signal.SIGUSR1)


KILL_IN_A_STEP, KILL_AT_A_WRITE = "kill in a step", "kill at a write"


def check_stored(segment: Segment, states: dict[int, State]) -> float:
    """Check the stitched frames up to a segment's end; return the largest difference, A."""
    with Trajectory(segment.directory + "/" + TRAJECTORY) as stored:
        assert stored.steps().tolist() == list(range(segment.last_step + 1))
        assert len(stored) == segment.frames
        wanted = np.array([states[s].positions_ang for s in range(1, segment.last_step + 1)])
        return float(np.abs(stored.positions(1) - wanted).max()) if len(wanted) else 0.0


def velocity_difference(segment: Segment, states: dict[int, State]) -> float:
    given = np.array(segment.structure.site_properties["velocities"])
    return float(np.abs(given - states[segment.last_step].velocities_ang_per_fs).max())


def cut_short(
    settings: DynamicsSettings, states: dict[int, State], monkeypatch: pytest.MonkeyPatch, cuts: int
) -> tuple[Segment, dict[str, int]]:
    """Cut to pieces; the velocities that every segment hands on are those of the uncut trajectory."""
    rng = np.random.default_rng(7)

    def struck(how: str, ahead: int, work: Callable[[], R]) -> R:
        """Do something while a strike waits in the engine, or behind a write."""
        with monkeypatch.context() as patched:
            if how == KILL_AT_A_WRITE:
                patched.setattr(os, "fsync", after_calls(os.fsync, int(rng.integers(1, 9)), kill))
            else:
                act = usr1 if how == USR1 else kill
                patched.setattr(Integrator, "advance", after_calls(Integrator.advance, ahead, act))
            return work()

    def attempt(how: str, ahead: int, previous: Segment | None, limit: SegmentLimit) -> Segment | None:
        again = partial(run, settings, previous, limit)
        if how in (KILL_IN_A_STEP, KILL_AT_A_WRITE):
            ended = struck(how, ahead, lambda: in_a_child(again))
            if ended == -signal.SIGKILL:
                return None
            assert ended == 0  # it was done before it could be struck: the job hands its segment in again
        segment = struck(how, ahead, again) if how == USR1 else again()
        assert velocity_difference(segment, states) <= 1e-8
        return segment

    return cut_to_pieces(attempt, (KILL_IN_A_STEP, KILL_AT_A_WRITE), settings.steps, cuts)


@pytest.mark.parametrize(
    ("thermostat", "steps", "cuts"),
    [
        pytest.param(Thermostat.NOSE_HOOVER, 2000, 100, marks=pytest.mark.slow),
        (Thermostat.NOSE_HOOVER, 200, 20),
        (Thermostat.LANGEVIN, 200, 20),
    ],
)
def test_cuts_leave_no_seam(
    here: Path, monkeypatch: pytest.MonkeyPatch, thermostat: Thermostat, steps: int, cuts: int
) -> None:
    settings = DynamicsSettings(
        steps=steps, time_step_fs=0.5, thermostat=thermostat, temperature_k=300.0, checkpoint_every=7, seed=5
    )
    whole, states = uncut(here / "uncut", settings, monkeypatch)
    assert whole.ended_by is SegmentEnd.COMPLETE
    assert whole.frames == steps + 1
    last, met = cut_short(settings, states, monkeypatch, cuts)
    assert sum(met.values()) >= cuts
    assert min(met.values()) >= cuts // 20
    assert last.last_step == steps
    assert check_stored(last, states) <= 1e-8
    assert velocity_difference(last, states) <= 1e-8
    assert last.energy_ev == pytest.approx(whole.energy_ev, abs=1e-8)
    assert os.listdir("trajectories") == [last.trajectory_id[:16]]  # noqa: PTH208  (one folder, names only)


@pytest.mark.slow
def test_chgnet_leaves_no_seam(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with a real potential, its weights loaded anew in a process of its own after each kill."""
    settings = DynamicsSettings(steps=24, temperature_k=353.15, checkpoint_every=3, seed=5)
    _, states = uncut(here / "uncut", settings, monkeypatch, level="chgnet")
    previous: Segment | None = None
    rng = np.random.default_rng(7)
    while previous is None or not previous.complete:
        with monkeypatch.context() as patched:
            ahead = int(rng.integers(1, 6))
            patched.setattr(Integrator, "advance", after_calls(Integrator.advance, ahead, usr1))
            previous = run(settings, previous, SegmentLimit(steps=5), level="chgnet")
        assert velocity_difference(previous, states) <= 1e-8
    assert previous.number > 4
    assert check_stored(previous, states) <= 1e-8


# -- what ends a segment ---------------------------------------------------------------------------


def test_wall_time_ends_a_segment_before_it_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def tick(self: Integrator, state: State) -> State:
        clock[0] += 10.0
        return advance(self, state)

    advance = Integrator.advance
    monkeypatch.setattr(Integrator, "advance", tick)
    monkeypatch.setattr(md.time, "monotonic", lambda: clock[0])
    done = run(SHORT, limit=SegmentLimit(wall_time_s=100.0))
    assert done.ended_by is SegmentEnd.WALL_TIME
    assert done.last_step == 8  # two slowest steps of 10 s are kept free
    assert done.frames == 9
    after = run(SHORT, done)
    assert after.ended_by is SegmentEnd.COMPLETE
    assert (after.number, after.first_step, after.last_step) == (2, 8, 30)


def test_term_is_obeyed_after_the_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under the queue's worker, whose handler raises: the next attempt of the job goes on."""

    class Told(BaseException):
        pass

    def on_term(_number: int, _frame: object) -> None:
        raise Told

    before = signal.signal(signal.SIGTERM, on_term)
    try:
        with monkeypatch.context() as patched:
            act = lambda: signal.raise_signal(signal.SIGTERM)  # noqa: E731
            patched.setattr(Integrator, "advance", after_calls(Integrator.advance, 11, act))
            with pytest.raises(Told):
                run(SHORT)
        assert signal.getsignal(signal.SIGTERM) is on_term
        done = run(SHORT)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done.resumed == "went on from the checkpoint of step 11"
    assert (done.first_step, done.last_step, done.frames) == (0, 30, 31)


def test_who_listened_before_hears_that_the_time_is_nearly_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch job must not begin another segment in the time that is left."""
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        act = lambda: signal.raise_signal(signal.SIGUSR1)  # noqa: E731
        monkeypatch.setattr(Integrator, "advance", after_calls(Integrator.advance, 6, act))
        assert run(SHORT).ended_by is SegmentEnd.SIGNAL
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


def test_term_by_default_ends_the_process() -> None:
    def work() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        Integrator.advance = after_calls(Integrator.advance, 9, lambda: signal.raise_signal(signal.SIGTERM))  # type: ignore[method-assign]
        run(SHORT)

    assert in_a_child(work) == -signal.SIGTERM
    assert run(SHORT).resumed == "went on from the checkpoint of step 9"


def test_a_segment_outside_the_main_thread_runs_without_signals() -> None:
    done: list[Segment] = []
    thread = threading.Thread(target=lambda: done.append(run(SHORT)))
    thread.start()
    thread.join()
    assert done[0].complete


def test_a_complete_trajectory_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(SHORT)
    monkeypatch.setattr(Integrator, "advance", lambda *_: pytest.fail("a step was computed again"))
    again = run(SHORT)
    assert again.trajectory == first.trajectory
    assert again.frames == 31


def test_the_folder_stands_in_the_study(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "epilayer.yaml").touch()
    attempt = here / "runs" / "7-md" / "attempt-1"
    attempt.mkdir(parents=True)
    monkeypatch.chdir(attempt)
    assert run(SHORT, limit=SegmentLimit(steps=2)).directory.startswith(str(here / "trajectories"))
    (here / "epilayer.yaml").unlink()
    assert run(SHORT, limit=SegmentLimit(steps=2)).directory.startswith(str(attempt.parent / "trajectories"))


def test_velocities_of_the_start_are_kept() -> None:
    start = water_and_salt()
    given = np.zeros((10, 3))
    given[5] = [0.01, 0.0, 0.0]
    start.add_site_property("velocities", given.tolist())
    done = run(SHORT.model_copy(update={"steps": 1}), start=start)
    with Trajectory(done.directory + "/" + TRAJECTORY) as stored:
        moved = stored.positions()[1] - stored.positions()[0]
    assert np.abs(moved[5]).max() > 10 * np.abs(np.delete(moved, 5, axis=0)).max()


# -- refusals --------------------------------------------------------------------------------------


@pytest.fixture
def half(here: Path) -> Iterator[Segment]:
    yield run(SHORT, limit=SegmentLimit(steps=10))
    assert here.is_dir()


@pytest.mark.parametrize("kept", [0, 5, 60, 100, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(half: Segment, kept: float) -> None:
    path = half.checkpoint.path
    os.truncate(path, int(kept * half.checkpoint.size) if kept < 1 else int(kept))
    with pytest.raises(EngineError, match="is truncated or damaged") as refused:
        run(SHORT, half)
    assert "begin the trajectory anew" in refused.value.remedy


def test_a_changed_byte_is_refused(half: Segment) -> None:
    with open(half.checkpoint.path, "r+b") as file:  # noqa: PTH123
        file.seek(-40, os.SEEK_END)
        byte = file.read(1)
        file.seek(-40, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(EngineError, match="is truncated or damaged"):
        run(SHORT, half)


@pytest.mark.parametrize("change", [{"seed": 1}, {"time_step_fs": 0.25}, {"temperature_k": 400.0}])
def test_a_checkpoint_of_another_trajectory_is_refused(half: Segment, change: dict[str, Any]) -> None:
    with pytest.raises((EngineError, InputError), match="another trajectory"):
        run(SHORT.model_copy(update=change), half)


def test_a_checkpoint_put_in_from_elsewhere_is_refused(half: Segment, here: Path) -> None:
    other = run(SHORT.model_copy(update={"seed": 9}), limit=SegmentLimit(steps=10))
    with open(other.checkpoint.path, "rb") as source, open(half.checkpoint.path, "wb") as target:  # noqa: PTH123
        target.write(source.read())
    with pytest.raises(EngineError, match="of another trajectory"):
        run(SHORT, half)
    assert here.is_dir()


def test_lost_frames_and_lost_checkpoints_are_refused(half: Segment) -> None:
    early = half.model_copy(update={"last_step": 20, "number": 2})
    with pytest.raises(EngineError, match="is of step 10, before step 20"):
        run(SHORT, early)
    os.remove(half.trajectory.path)  # noqa: PTH107
    with pytest.raises(StoreError, match="has 0 frames where 11 were expected"):
        run(SHORT, half)
    os.remove(half.checkpoint.path)  # noqa: PTH107
    with pytest.raises(EngineError, match="no checkpoint in"):
        run(SHORT, half)


def test_an_explosion_is_named_and_keeps_the_frames_before() -> None:
    hot = SHORT.model_copy(update={"time_step_fs": 40.0})
    with pytest.raises(EngineError, match="the trajectory exploded") as refused:
        run(hot)
    assert "shorter time step" in refused.value.remedy


def test_half_held_atoms_and_nothing_free_are_refused() -> None:
    start = water_and_salt()
    start.add_site_property("selective_dynamics", [[True, False, True]] + [[True] * 3] * 9)
    with pytest.raises(StructureError, match=r"Atom 1 \(Na\) is held in some directions only"):
        run(SHORT, start=start)
    start.add_site_property("selective_dynamics", [[False] * 3] * 10)
    with pytest.raises(StructureError, match="No atom is free"):
        run(SHORT, start=start)


def test_two_writers_are_refused(half: Segment) -> None:
    log = TrajectoryFolder().open(segments.Path(half.directory), *_header(half))
    with pytest.raises(StoreError, match="is being written by another process"):
        run(SHORT, half)
    log.close()


def _header(segment: Segment) -> tuple[tuple[str, ...], tuple[float, ...], float]:
    with Trajectory(segment.directory + "/" + TRAJECTORY) as stored:
        return stored.header.symbols, stored.header.masses_amu, 0.5
