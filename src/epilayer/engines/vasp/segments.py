"""Segments of molecular dynamics with VASP: each continues from the CONTCAR of the previous one.

Absolute steps count from the start, which is step 0: a run that begins at step b and is given
``NSW = n`` computes the steps b to b + n - 1. What a run has computed is judged by what it has written:
the whole ionic steps of vasprun.xml, and the CONTCAR that belongs to one of them. So a segment that was
killed keeps its steps, and the next attempt of its job continues from there.

What CONTCAR carries: positions to 16 decimals, velocities, the thermostat's state and the next positions to
eight digits. What it does not carry is said in ``Segment.lost``.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from epilayer.engines.dynamics import segments
from epilayer.engines.dynamics.progress import RUNNING
from epilayer.engines.processes import ask_to_stop
from epilayer.engines.provenance import provenance
from epilayer.engines.vasp import executed as vasp_executed
from epilayer.engines.vasp import md as vasp_md
from epilayer.model.base import fingerprint
from epilayer.model.dynamics import Ensemble, SegmentEnd, Thermostat
from epilayer.model.errors import EngineError, InputError
from epilayer.model.failure import FailedRunError
from epilayer.model.files import write_atomic
from epilayer.model.imported import Finding, ImportStatus
from epilayer.model.units import K_B_EV_PER_K
from epilayer.outputs.run_failure import failure_of, telling_lines
from epilayer.outputs.vasp import contcar as vasp_contcar
from epilayer.outputs.vasp.contcar import Contcar, same_frame
from epilayer.outputs.vasp.vasprun import VasprunStream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.engines.base import FrameLog
    from epilayer.engines.vasp.engine import VaspEngine, VaspMaker
    from epilayer.model.dynamics import FileReference, Segment
    from epilayer.model.imported import ImportedCalculation
    from epilayer.outputs.vasp.vasprun import VasprunStep

    Array = NDArray[np.float64]

_OUTPUTS = ("CONTCAR", "OSZICAR", "OUTCAR", "STOPCAR", "XDATCAR", "vasprun.xml")
_KEPT = (
    "INCAR",
    "KPOINTS",
    "POSCAR",
    "CONTCAR",
    "OUTCAR",
    "OSZICAR",
    "XDATCAR",
    "vasprun.xml",
    "custodian.json",
)
_MOST_SEED = 900_000_000
_NO_NOISE = "Langevin noise: VASP does not write the state of its random numbers, so that each segment "
_NO_NOISE += "draws from a seed of its own; over a join the trajectory is continuous in statistics, not exact"
_DIGITS = "CONTCAR carries velocities, thermostat and next positions to 8 digits: joins are exact to these"
_NO_BLOCK = "CONTCAR has no predictor-corrector block: VASP takes its half-step velocities for those of the "
_NO_BLOCK += "step, so that a join shifts them by half a step's acceleration"


@dataclass(kw_only=True)
class VaspSegmentMaker(segments.BaseSegmentMaker):
    """One segment of a trajectory with VASP."""

    engine: VaspEngine

    def _run(self, start: Structure, previous: Segment | None) -> _Run:
        return _Run(self, start, previous)

    def vasp(self, steps: int, seed: int) -> VaspMaker:
        """Return the maker of one run of VASP that computes so many configurations, its first included."""
        settings = self.settings.model_copy(update={"steps": steps, "seed": seed})
        return self.engine.dynamics(self.name, settings)

    def write(self, start: Structure, directory: Path) -> bool:
        """Write the inputs of the first segment; return whether a POTCAR was written (else POTCAR.spec)."""
        target = min(self.settings.steps, self.limit.steps or self.settings.steps)
        return self.vasp(target + 1, self.settings.seed).write(start, directory)

    @property
    def continues(self) -> str:
        """How the inputs of a later segment differ from those of the first."""
        return (
            "Each later segment begins from the CONTCAR of the one before as its POSCAR (velocities, "
            "thermostat and next positions in it), with NSW = what is left of "
            f"{self.settings.steps} steps{f', at most {self.limit.steps}' if self.limit.steps else ''}, "
            "and RANDOM_SEED = a seed of its own."
        )


@dataclass
class _State:
    """Where the trajectory stands.

    Attributes
    ----------
    step
        Last absolute step that is stored; -1 before the first.
    begins
        Absolute step of the first configuration of the next run.
    file
        What the next run begins from; ``None`` for the start.
    positions_ang
        (n_atoms, 3) of the last step, unwrapped, in the order of the flow.
    """

    step: int
    begins: int
    file: Contcar | None
    positions_ang: Array
    energy_ev: float = float("nan")
    temperature_k: float = float("nan")


class _Stop(segments.StopRequest):
    """USR1 and TERM ask VASP to stop after the ionic step it is in."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def _note(self, number: int, frame: FrameType | None) -> None:
        super()._note(number, frame)
        ask_to_stop(self._directory)


class _Run(segments.SegmentRun[_State]):
    """Runs VASP in the current directory, and stores what it has written."""

    def __init__(self, maker: VaspSegmentMaker, start: Structure, previous: Segment | None) -> None:
        engine = maker.engine
        level = {
            "level": engine.level.model_dump(mode="json"),
            "hubbard_u_ev": engine.hubbard_u_ev,
            "moments": engine.moments,
        }
        super().__init__(
            maker, start, previous, level_fingerprint=fingerprint(level), level_name=engine.level.name
        )
        self.maker = maker
        self.here = self.ran = Path.cwd()
        # As VASP counts: without held atoms the centre of mass stays where it is.
        self.degrees_of_freedom = 3 * int(self.free.sum()) - (3 if self.free.all() else 0)
        self.order, self.placed = maker.vasp(1, 0).placed(start)
        self.thermostat = (
            self.settings.ensemble is Ensemble.NVT and self.settings.thermostat is Thermostat.NOSE_HOOVER
        )
        self.lost: list[str] = []
        self.record: ImportedCalculation | None = None

    @property
    def masses_amu(self) -> list[float]:
        """Pymatgen's."""
        return [float(site.specie.atomic_mass) for site in self.start]

    def _stop_request(self) -> _Stop:
        return _Stop(self.here)

    def _advance(
        self, state: _State, log: FrameLog, stop: segments.StopRequest
    ) -> tuple[_State, SegmentEnd, FileReference]:
        state = self._salvaged(state, log)
        problem: Exception | None = None
        if state.step < self.target:
            self._announce(max(state.step, 0), state.begins)
            problem = self._compute(state, stop)
            self.ran = self.here
            state = self._kept(state, log, problem)
        checkpoint = self._checkpoint(state, log)
        return state, self._ended(state, problem, stop), checkpoint

    # -- where it begins --------------------------------------------------------------------------

    def _begun(self, log: FrameLog) -> _State:  # noqa: ARG002  (VASP computes the first frame too)
        return _State(-1, 0, None, np.array(self.start.cart_coords))

    def _taken_up(self, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> _State:
        raw = arrays["contcar"].tobytes()
        if hashlib.sha256(raw).hexdigest() != about["contcar_sha256"]:
            raise EngineError(
                f"The CONTCAR in the checkpoint of {self.folder} is not the one that was written.",
                f"Restore it from a copy, or remove the folder {self.folder} to begin the trajectory anew.",
            )
        self.ran = Path(about["run"])
        return _State(
            int(about["step"]),
            int(about["begins"]),
            self._checked(raw),
            arrays["positions_ang"],
            about["energy_ev"],
            about["temperature_k"],
        )

    def _went_on(self, step: int) -> str:
        return f"went on from the CONTCAR of step {step}, left in {self.ran}"

    def _checked(self, raw: bytes) -> Contcar:
        symbols = [site.specie.symbol for site in self.placed]
        cell = self.placed.lattice.matrix
        return vasp_contcar.parse(raw).checked(
            symbols, cell, self.settings.time_step_fs, thermostat=self.thermostat
        )

    def _salvaged(self, state: _State, log: FrameLog) -> _State:
        """Take over the steps of an attempt that was killed, where it left a CONTCAR that belongs to them."""
        note = self.folder / RUNNING
        try:
            about = json.loads(note.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return state
        directory = Path(about["directory"])
        if about["begins"] != state.begins or not (directory / "vasprun.xml").is_file():
            note.unlink()
            return state
        before = state
        try:
            state = self._harvest(directory, before, log)
        except (EngineError, InputError) as error:
            begun = "the start" if before.step < 0 else f"step {before.step}"
            self.lost.append(f"What the attempt in {directory.name} computed after {begun}: {error.what}")
            log.cut(self.settings.frames_at(before.step) if before.step >= 0 else 0)
        if state.step > before.step:
            self.ran = directory
            self.resumed = self._went_on(state.step)
            self._checkpoint(state, log)
        note.unlink(missing_ok=True)
        return state

    # -- the run ----------------------------------------------------------------------------------

    def _compute(self, state: _State, stop: segments.StopRequest) -> Exception | None:
        """Write the inputs and run VASP; return the error with which custodian ended, if it did."""
        runner = self.maker.vasp(self.target - state.begins + 1, self._seed(state.begins))
        runner.prepare(self.start)
        if state.file is not None:
            (self.here / "POSCAR").write_bytes(state.file.raw)
            self.lost.append(_DIGITS if state.file.next_frac is not None else _NO_BLOCK)
            if self.settings.ensemble is Ensemble.NVT and not self.thermostat:
                self.lost.append(_NO_NOISE)
        for name in _OUTPUTS:
            (self.here / name).unlink(missing_ok=True)
        if stop.received is not None:
            ask_to_stop(self.here)  # it came before there was anything to stop
        note = {"directory": str(self.here), "begins": state.begins}
        write_atomic(self.folder / RUNNING, json.dumps(note) + "\n")
        left_s = self.limit.wall_time_s
        if left_s is not None:
            left_s = max(left_s - (time.monotonic() - self.began), 1.0)
        return runner.run(left_s)

    def _seed(self, begins: int) -> int:
        """Return a seed that no other segment of the trajectory draws its noise from."""
        if begins == 0:
            return self.settings.seed
        digest = hashlib.sha256(f"{self.settings.seed} {begins}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % _MOST_SEED

    # -- what it computed -------------------------------------------------------------------------

    def _kept(self, state: _State, log: FrameLog, problem: Exception | None) -> _State:
        """Store what the run has computed, also where it failed."""
        try:
            after = self._harvest(self.here, state, log)
        except (EngineError, InputError):
            if problem is None:
                raise
            after = state  # what broke the run is named, not what it left behind
        if after.step < 0:
            raise self.maker.vasp(1, 0).failed(self.here, problem or EngineError("VASP computed no step", ""))
        return after

    def _harvest(self, directory: Path, state: _State, log: FrameLog) -> _State:
        """Store the whole steps of a run up to the one its CONTCAR belongs to; return where they end.

        Raises
        ------
        EngineError, InputError
            If the run did not begin where the trajectory stood, or nothing of it can be continued.
        """
        contcar, vasprun = directory / "CONTCAR", directory / "vasprun.xml"
        if not vasprun.is_file() or not contcar.is_file():
            return state
        self._same_tags(vasprun)
        opening = next(_whole(vasprun), None)
        if opening is None:
            return state
        first = self._first_step(directory, state, _frac(opening))
        file = self._checked(contcar.read_bytes())
        of_file = [same_frame(_frac(one), file.positions_frac) for one in _whole(vasprun)]
        if True not in of_file:
            raise EngineError(
                f"{self.name}: the CONTCAR in {directory} belongs to no whole step of its vasprun.xml.",
                "Rerun the job: it goes on from the last checkpoint.",
            )
        count = len(of_file) - of_file[::-1].index(True)
        return self._stored(islice(_whole(vasprun), count), first, state, file, log)

    def _stored(
        self, steps: Iterator[VasprunStep], first: int, state: _State, file: Contcar, log: FrameLog
    ) -> _State:
        """Store the steps of a run, the first of them being absolute step ``first``."""
        back = np.argsort(self.order)
        cell = np.array(self.start.lattice.matrix)
        frac = state.positions_ang @ self.start.lattice.inv_matrix
        new = state
        for at, one in enumerate(steps, start=first):
            if at <= state.step:
                continue  # VASP began once more at the last stored step
            drift = _frac(one)[back] - frac
            frac = frac + drift - np.round(drift)
            energy_ev, kinetic_ev = one.energy_ev, one.kinetic_ev
            if energy_ev is None or kinetic_ev is None:
                raise EngineError(
                    f"{self.name}: vasprun.xml states no kinetic energy of step {at}.",
                    "Look into its OUTCAR: this was no dynamics run.",
                )
            temperature_k = 2.0 * kinetic_ev / (self.degrees_of_freedom * K_B_EV_PER_K)
            if at % self.settings.frame_every == 0:
                log.append(at, frac @ cell, cell, energy_ev, temperature_k)
            begins = at + 1 if file.next_frac is not None else at
            new = _State(at, begins, file, frac @ cell, energy_ev, temperature_k)
        return new

    def _first_step(self, directory: Path, state: _State, first_frac: Array) -> int:
        """Return the absolute step of a run's first configuration, found by comparison."""
        begin = state.file.begins_frac if state.file is not None else self.placed.frac_coords
        if same_frame(first_frac, begin):
            return state.begins
        if state.file is not None and same_frame(first_frac, state.file.positions_frac):
            return state.step
        raise EngineError(
            f"{self.name}: the run in {directory} did not begin where the trajectory stood "
            f"(step {state.begins}).",
            "Its POSCAR was changed on the way: rerun the job.",
        )

    def _same_tags(self, vasprun: Path) -> None:
        """Refuse a run whose INCAR was changed on the way in what makes it this trajectory."""
        elements = [e.symbol for e in self.placed.composition.elements]
        asked = vasp_md.tags(self.settings, elements, steps=0, seed=0)
        found = VasprunStream(vasprun).header.incar
        for tag in ("IBRION", "POTIM", "TEBEG", "TEEND", "MDALGO", "SMASS", "ANDERSEN_PROB"):
            if tag in asked and tag in found and found[tag] != asked[tag]:
                raise EngineError(
                    f"{self.name}: the run was executed with {tag} = {found[tag]}, not {asked[tag]}.",
                    "A correction changed it, and so the trajectory: look into custodian.json, then rerun.",
                )

    def _ended(self, state: _State, problem: Exception | None, stop: segments.StopRequest) -> SegmentEnd:
        """Return what ended the segment; refuse where VASP failed, naming the cause."""
        record = self.record = vasp_executed.imported(self.ran)
        asked = Finding.STOPPED_ON_REQUEST in {r.code for r in record.reasons}
        ended = self._ended_by(state.step, stop)
        if ended is None and asked and problem is None:
            ended = SegmentEnd.WALL_TIME
        if ended is not None and record.status is not ImportStatus.FAILED:
            return ended
        named = (
            self.maker.vasp(1, 0).failed(self.ran, problem).failure
            if problem is not None
            else failure_of(self.name, record, telling_lines(self.ran))
        )
        if state.step > max(self.first, 0):
            kept = f" Steps up to {state.step} are kept; the next attempt continues from there."
            named = named.model_copy(update={"what": named.what + kept})
        raise FailedRunError(named)

    def _checkpoint(self, state: _State, log: FrameLog) -> FileReference:
        raw = state.file.raw if state.file is not None else b""
        about = {
            "begins": state.begins,
            "contcar_sha256": hashlib.sha256(raw).hexdigest(),
            "run": str(self.ran),
            "energy_ev": state.energy_ev,
            "temperature_k": state.temperature_k,
        }
        arrays: dict[str, NDArray[Any]] = {
            "positions_ang": state.positions_ang,
            "contcar": np.frombuffer(raw, np.uint8),
        }
        written = self._write_checkpoint(log, state.step, about, arrays)
        (self.folder / RUNNING).unlink(missing_ok=True)  # only now is what ran accounted for
        return written

    def _outcome(self, state: _State) -> segments.Outcome:
        assert self.record is not None  # noqa: S101  (a segment that ended was judged)
        assert state.file is not None  # noqa: S101  (and has a step)
        velocities = state.file.velocities_ang_per_fs
        assert velocities is not None  # noqa: S101  (checked)
        loose = len(self.record.unconverged_electronic_steps)
        if loose:
            self.lost.append(f"Segment {self.number}: the electrons did not converge in {loose} steps")
        return segments.Outcome(
            level=vasp_executed.executed_level(self.record, self.maker.vasp(1, 0).asked(self.start)),
            structure=self._moved(state.positions_ang, velocities[np.argsort(self.order)]),
            energy_ev=state.energy_ev,
            temperature_k=state.temperature_k,
            lost=tuple(dict.fromkeys(self.lost)),
            provenance=provenance(
                self.ran,
                _KEPT,
                ("atomate2", "custodian", "pymatgen"),
                {"vasp": self.record.program or "not stated"},
            ),
        )


def _whole(path: Path) -> Iterator[VasprunStep]:
    """Yield the ionic steps of a vasprun.xml up to the first that is not whole."""
    return takewhile(lambda step: step.whole, VasprunStream(path))


def _frac(step: VasprunStep) -> Array:
    assert step.positions_frac is not None  # noqa: S101  (a whole step has them)
    return step.positions_frac
