"""Segments of molecular dynamics with the embedded engines."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import Maker, job

from epilayer.engines import calculators, segments
from epilayer.engines.integrators import Integrator, State
from epilayer.model.dynamics import HELD, VELOCITIES, DynamicsSettings, Segment, SegmentEnd, SegmentLimit
from epilayer.model.errors import EngineError, StructureError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.engines.base import FrameLog, FrameStore
    from epilayer.engines.mlip import MlipEngine
    from epilayer.model.dynamics import FileReference

_FLUSH_S = 2.0
"""Frames become visible to whoever watches at least so often."""
_MARGIN = 2.0
"""Of the slowest step so far: kept free before the wall time for the step and the files."""
_HOTTEST = 50.0
"""Times the asked temperature: nothing but an explosion gets there."""


@dataclass(kw_only=True)
class MlipSegmentMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """One segment of a trajectory; satisfies :class:`epilayer.engines.base.SegmentMaker`."""

    name: str = "segment"
    engine: MlipEngine
    settings: DynamicsSettings
    frames: FrameStore
    limit: SegmentLimit

    @job  # type: ignore[untyped-decorator]
    def make(self, start: Structure, previous: Segment | None = None) -> Segment:
        """Run the next segment of the trajectory that begins at ``start``."""
        if not start.is_ordered:
            raise StructureError(
                f"{self.name}: the structure is disordered.", "Choose an ordering before the dynamics."
            )
        return _Run(self, start, previous).run()


class _Run:
    """One segment, from the checkpoint (or the start) to its end."""

    def __init__(self, maker: MlipSegmentMaker, start: Structure, previous: Segment | None) -> None:
        self.began, self.began_cpu = time.monotonic(), time.process_time()
        self.computed = 0
        self.maker, self.start, self.previous = maker, start, previous
        self.settings, self.limit = maker.settings, maker.limit
        self.level = maker.engine.executed()
        self.content = segments.content_of(start, self.settings, self.level.fingerprint)
        self.identity, self.folder = segments.place(self.content, previous)
        self.first = previous.last_step if previous else 0
        self.number = previous.number + 1 if previous else 1
        self.atoms = start.to_ase_atoms()
        self.atoms.set_constraint()
        self.masses = np.asarray(self.atoms.get_masses(), dtype=np.float64)
        self.atoms.calc = calculators.load(**maker.engine.calculator_arguments())
        calculators.begin_from(self.atoms.calc, self.atoms.copy())
        free = segments.free_atoms(start)
        self.integrator = Integrator(self.settings, self.masses, free, self._forces)
        self.cell = np.array(self.atoms.cell.array)

    def run(self) -> Segment:
        """Return what became of the segment."""
        self.folder.mkdir(parents=True, exist_ok=True)
        symbols = self.atoms.get_chemical_symbols()
        log = self.maker.frames.open(self.folder, symbols, self.masses.tolist(), self.settings.time_step_fs)
        try:
            with segments.StopRequest() as stop:
                state, resumed = self._begin(log)
                self._announce(state)
                state, ended, checkpoint = self._integrate(state, log, stop)
                trajectory = log.close()
        except BaseException:  # whatever ends it: the frames so far are kept, and the file is let go
            log.close()
            raise
        return self._segment(state, ended, checkpoint, trajectory, resumed)

    def _begin(self, log: FrameLog) -> tuple[State, str]:
        """Take up the checkpoint, with the stored frames up to it; or begin at step 0."""
        found = segments.read_checkpoint(self.folder, self.identity, self.content)
        if found is None:
            if self.previous is not None:
                raise EngineError(
                    f"{self.maker.name}: no checkpoint in {self.folder}, which segment "
                    f"{self.previous.number} left at step {self.first}.",
                    "Restore the folder, or run the trajectory anew (epilayer rerun --force its first job).",
                )
            log.cut(0)
            velocities = self.start.site_properties.get(VELOCITIES)
            state = self.integrator.start(
                np.array(self.atoms.positions), None if velocities is None else np.array(velocities, float)
            )
            self._store(log, state)
            return state, ""
        about, arrays = found
        state = State(
            step=about["step"], energy_ev=float(arrays.pop("energy_ev")), noise=about["noise"], **arrays
        )
        if state.step < self.first:
            raise EngineError(
                f"{self.maker.name}: the checkpoint in {self.folder} is of step {state.step}, before step "
                f"{self.first}, where segment {self.number - 1} ended.",
                "Restore the newer checkpoint, or run the trajectory anew.",
            )
        log.cut(self.settings.frames_at(state.step))
        resumed = "" if state.step == self.first else f"went on from the checkpoint of step {state.step}"
        return state, resumed

    def _announce(self, state: State) -> None:
        about = {
            "label": self.maker.name,
            "level": self.level.label,
            "trajectory_id": self.identity,
            "number": self.number,
            "first_step": state.step,
            "degrees_of_freedom": self.integrator.degrees_of_freedom,
        }
        segments.announce(self.folder, self.start, self.settings, about)

    def _integrate(
        self, state: State, log: FrameLog, stop: segments.StopRequest
    ) -> tuple[State, SegmentEnd, FileReference]:
        target = self.settings.steps
        if self.limit.steps is not None:
            target = min(target, self.first + self.limit.steps)
        slowest_s, flushed = 0.0, time.monotonic()
        checkpoint = self._checkpoint(state, log)
        ended = None
        while ended is None:
            if state.step >= target:
                ended = SegmentEnd.COMPLETE if state.step >= self.settings.steps else SegmentEnd.STEPS
            elif stop.received is not None:
                ended = SegmentEnd.SIGNAL
            elif self._out_of_time(slowest_s):
                ended = SegmentEnd.WALL_TIME
            else:
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

    def _exploded(self, how: str) -> EngineError:
        return EngineError(
            f"{self.maker.name}: the trajectory exploded ({how}).",
            f"Relax the start, or take a shorter time step; the frames before are kept in {self.folder}.",
        )

    def _store(self, log: FrameLog, state: State) -> None:
        log.append(
            state.step,
            state.positions_ang,
            self.cell,
            state.energy_ev,
            self.integrator.temperature_k(state),
        )

    def _checkpoint(self, state: State, log: FrameLog) -> FileReference:
        """First the frames, then the checkpoint that counts on them."""
        log.flush()
        about = {
            "trajectory_id": self.identity,
            "content": self.content,
            "step": state.step,
            "noise": state.noise,
        }
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
        return segments.write_checkpoint(self.folder, about, arrays)

    def _segment(
        self,
        state: State,
        ended: SegmentEnd,
        checkpoint: FileReference,
        trajectory: FileReference,
        resumed: str,
    ) -> Segment:
        from epilayer.engines.mlip import provenance_of

        return Segment(
            label=self.maker.name,
            level=self.level,
            settings=self.settings,
            trajectory_id=self.identity,
            directory=str(self.folder),
            number=self.number,
            first_step=self.first,
            last_step=state.step,
            ended_by=ended,
            frames=self.settings.frames_at(state.step),
            structure=moved(self.start, state.positions_ang, state.velocities_ang_per_fs),
            degrees_of_freedom=self.integrator.degrees_of_freedom,
            energy_ev=state.energy_ev,
            temperature_k=self.integrator.temperature_k(state),
            checkpoint=checkpoint,
            trajectory=trajectory,
            resumed=resumed,
            wall_time_s=time.monotonic() - self.began,
            cpu_time_s=time.process_time() - self.began_cpu,
            computed_steps=self.computed,
            peak_memory_mb=_peak_memory_mb(),
            provenance=provenance_of([Path(checkpoint.path)], self.level),
        )


def moved(
    start: Structure, positions_ang: NDArray[np.float64], velocities_ang_per_fs: NDArray[np.float64]
) -> Structure:
    """Return the start with other positions and with velocities; its other site properties stay.

    Parameters
    ----------
    positions_ang, velocities_ang_per_fs
        (n_atoms, 3) cartesian.
    """
    from pymatgen.core import Structure

    properties: dict[str, Any] = {**start.site_properties, VELOCITIES: velocities_ang_per_fs.tolist()}
    if HELD in properties:
        properties[HELD] = [list(map(bool, row)) for row in properties[HELD]]
    return Structure(
        start.lattice,
        start.species,
        positions_ang,
        coords_are_cartesian=True,
        site_properties=properties,
    )


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
