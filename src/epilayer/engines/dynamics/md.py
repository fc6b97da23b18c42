"""Segments of molecular dynamics with the embedded engines."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from epilayer.engines.dynamics import segments
from epilayer.engines.dynamics.integrators import Integrator, State
from epilayer.engines.mlip import calculators
from epilayer.engines.provenance import provenance_of
from epilayer.model.dynamics import VELOCITIES, SegmentEnd
from epilayer.model.failure import FailedRunError, Failure, FailureClass

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.engines.base import FrameLog
    from epilayer.engines.mlip.engine import MlipEngine
    from epilayer.model.dynamics import FileReference, Segment

_FLUSH_S = 2.0
"""Frames become visible to other processes at least so often."""
_MARGIN = 2.0
"""Of the slowest step so far: kept free before the wall time for the step and the files."""
_HOTTEST = 50.0
"""Times the asked temperature: nothing but an explosion gets there."""


@dataclass(kw_only=True)
class MlipSegmentMaker(segments.BaseSegmentMaker):
    """One segment of a trajectory with a potential."""

    engine: MlipEngine

    def _run(self, start: Structure, previous: Segment | None) -> _Run:
        return _Run(self, start, previous)


class _Run(segments.SegmentRun[State]):
    """Integrates here, one force call a step."""

    def __init__(self, maker: MlipSegmentMaker, start: Structure, previous: Segment | None) -> None:
        self.began_cpu = time.process_time()
        self.computed = 0
        self.level = maker.engine.executed()
        super().__init__(
            maker,
            start,
            previous,
            level_fingerprint=self.level.fingerprint,
            level_name=self.level.label,
        )
        self.atoms = start.to_ase_atoms()
        self.atoms.set_constraint()
        self.atoms.calc = calculators.load(**maker.engine.calculator_arguments())
        calculators.begin_from(self.atoms.calc, self.atoms.copy())
        self.integrator = Integrator(self.settings, np.array(self.masses_amu), self.free, self._forces)
        self.degrees_of_freedom = self.integrator.degrees_of_freedom
        self.cell = np.array(self.atoms.cell.array)

    @property
    def masses_amu(self) -> list[float]:
        """ASE's."""
        return list(map(float, self.atoms.get_masses()))

    def _begun(self, log: FrameLog) -> State:
        velocities = self.start.site_properties.get(VELOCITIES)
        state = self.integrator.start(
            np.array(self.atoms.positions), None if velocities is None else np.array(velocities, float)
        )
        self._store(log, state)
        return state

    def _taken_up(self, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> State:
        energy_ev = float(arrays.pop("energy_ev"))
        return State(step=about["step"], energy_ev=energy_ev, noise=about["noise"], **arrays)

    def _went_on(self, step: int) -> str:
        return f"went on from the checkpoint of step {step}"

    def _advance(
        self, state: State, log: FrameLog, stop: segments.StopRequest
    ) -> tuple[State, SegmentEnd, FileReference]:
        self._announce(state.step)
        slowest_s, flushed = 0.0, time.monotonic()
        checkpoint = self._checkpoint(state, log)
        while (ended := self._ended_by(state.step, stop)) is None:
            if self._out_of_time(slowest_s):
                ended = SegmentEnd.WALL_TIME
                break
            tick = time.monotonic()
            state = self.integrator.advance(state)
            self.computed += 1
            self._sound(state)
            if state.step % self.settings.frame_every == 0:
                self._store(log, state)
            now = time.monotonic()
            slowest_s = max(slowest_s, now - tick)
            if state.step % self.settings.checkpoint_every == 0:
                checkpoint = self._checkpoint(state, log)
            elif now - flushed > _FLUSH_S:
                log.flush()
                flushed = now
        return state, ended, self._checkpoint(state, log) if state.step > self.first else checkpoint

    def _out_of_time(self, slowest_s: float) -> bool:
        wall_time_s = self.limit.wall_time_s
        return wall_time_s is not None and time.monotonic() - self.began + _MARGIN * slowest_s >= wall_time_s

    def _forces(self, positions_ang: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        if not np.isfinite(positions_ang).all():
            raise self._exploded("coordinates that are not finite")
        self.atoms.set_positions(positions_ang)
        energy_ev = float(self.atoms.get_potential_energy())
        return energy_ev, np.array(self.atoms.get_forces(), dtype=np.float64)

    def _sound(self, state: State) -> None:
        """Refuse to go on with an explosion; the last checkpoint and the frames before stay."""
        temperature_k = self.integrator.temperature_k(state)
        cold = temperature_k <= _HOTTEST * max(self.settings.temperature_k, 1.0)
        if not (cold and np.isfinite(state.energy_ev)):
            raise self._exploded(f"{temperature_k:.3g} K at step {state.step}")

    def _exploded(self, how: str) -> FailedRunError:
        failure = Failure(
            kind=FailureClass.INPUT,  # a shorter time step is another trajectory: for a person to decide
            cause="trajectory_exploded",
            what=f"{self.name}: the trajectory exploded ({how}).",
            remedy=f"Relax the start, or take a shorter time step; {self.folder} keeps the frames before.",
        )
        return FailedRunError(failure)

    def _store(self, log: FrameLog, state: State) -> None:
        log.append(
            state.step,
            state.positions_ang,
            self.cell,
            state.energy_ev,
            self.integrator.temperature_k(state),
        )

    def _checkpoint(self, state: State, log: FrameLog) -> FileReference:
        arrays = {
            name: np.asarray(getattr(state, name))
            for name in (
                "positions_ang",
                "velocities_ang_per_fs",
                "forces_ev_per_ang",
                "energy_ev",
                "chain_positions",
                "chain_rates_per_fs",
            )
        }
        return self._write_checkpoint(log, state.step, {"noise": state.noise}, arrays)

    def _outcome(self, state: State) -> segments.Outcome:
        return segments.Outcome(
            level=self.level,
            structure=self._moved(state.positions_ang, state.velocities_ang_per_fs),
            energy_ev=state.energy_ev,
            temperature_k=self.integrator.temperature_k(state),
            cpu_time_s=time.process_time() - self.began_cpu,
            computed_steps=self.computed,
            peak_memory_mb=_peak_memory_mb(),
            provenance=provenance_of([self.folder / segments.CHECKPOINT], self.level),
        )


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
