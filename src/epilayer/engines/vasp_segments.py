"""Segments of molecular dynamics with VASP: each goes on from the CONTCAR of the one before.

Absolute steps count from the start, which is step 0: a run that begins at step b and is given
``NSW = n`` computes the steps b to b + n - 1. What a run has computed is judged by what it has written:
the whole ionic steps of vasprun.xml, and the CONTCAR that belongs to one of them. So a segment that was
killed keeps its steps, and the next attempt of its job goes on from there.

What CONTCAR carries: positions to 16 decimals, velocities, the thermostat's state and the next positions to
eight digits. What it does not carry is said in ``Segment.lost``.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from importlib import metadata
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import CURRENT_JOB, Maker, job

from epilayer import __version__
from epilayer.engines import segments, vasp_contcar, vasp_executed, vasp_md
from epilayer.engines.integrators import K_B_EV_PER_K
from epilayer.engines.md import moved
from epilayer.engines.outputs.vasprun import VasprunStream
from epilayer.engines.processes import ask_to_stop
from epilayer.engines.vasp import VaspMaker
from epilayer.engines.vasp_contcar import Contcar, same_frame
from epilayer.model.base import fingerprint
from epilayer.model.dynamics import Ensemble, Segment, SegmentEnd, SegmentLimit, Thermostat
from epilayer.model.errors import EngineError, InputError
from epilayer.model.files import sha256_file, write_atomic
from epilayer.model.imported import Finding, ImportStatus
from epilayer.model.records import Provenance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.engines.base import FrameLog, FrameStore
    from epilayer.engines.outputs.vasprun import VasprunStep
    from epilayer.engines.vasp import VaspEngine
    from epilayer.model.dynamics import DynamicsSettings, FileReference
    from epilayer.model.imported import ImportedCalculation

    Array = NDArray[np.float64]

_RUNNING = "running.json"
"""In the trajectory's folder while VASP runs: where, and from which step."""
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
class VaspSegmentMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """One segment of a trajectory; satisfies :class:`epilayer.engines.base.SegmentMaker`."""

    name: str = "segment"
    engine: VaspEngine
    settings: DynamicsSettings
    frames: FrameStore
    limit: SegmentLimit

    @job  # type: ignore[untyped-decorator]
    def make(self, start: Structure, previous: Segment | None = None) -> Segment:
        """Run the next segment of the trajectory that begins at ``start``."""
        return _Run(self, start, previous).run()


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


class _Run:
    """One segment, from the CONTCAR before (or the start) to its end."""

    def __init__(self, maker: VaspSegmentMaker, start: Structure, previous: Segment | None) -> None:
        self.began = time.monotonic()
        self.maker, self.start, self.previous = maker, start, previous
        self.settings, self.limit = maker.settings, maker.limit
        self.here = self.ran = Path.cwd()
        engine = maker.engine
        level = {
            "level": engine.level.model_dump(mode="json"),
            "hubbard_u_ev": engine.hubbard_u_ev,
            "moments": engine.moments,
        }
        self.content = segments.content_of(start, self.settings, fingerprint(level))
        self.identity, self.folder = segments.place(self.content, previous)
        self.first = previous.last_step if previous else 0
        self.number = previous.number + 1 if previous else 1
        free = segments.free_atoms(start)
        # As VASP counts: without held atoms the centre of mass stays where it is.
        self.degrees_of_freedom = 3 * int(free.sum()) - (3 if free.all() else 0)
        self.target = self.settings.steps
        if self.limit.steps is not None:
            self.target = min(self.target, self.first + self.limit.steps)
        self.order, self.placed = self._maker(1, 0).placed(start)
        self.thermostat = (
            self.settings.ensemble is Ensemble.NVT and self.settings.thermostat is Thermostat.NOSE_HOOVER
        )
        self.lost: list[str] = []
        self.resumed = ""

    def run(self) -> Segment:
        """Return what became of the segment."""
        self.folder.mkdir(parents=True, exist_ok=True)
        symbols = [site.specie.symbol for site in self.start]
        masses = [float(site.specie.atomic_mass) for site in self.start]
        log = self.maker.frames.open(self.folder, symbols, masses, self.settings.time_step_fs)
        try:
            with _Stop(self.here) as stop:
                state = self._salvaged(self._begin(log), log)
                problem: Exception | None = None
                if state.step < self.target:
                    self._announce(state)
                    problem = self._compute(state, stop)
                    self.ran = self.here
                    state = self._kept(state, log, problem)
                checkpoint = self._checkpoint(state, log)
                ended, record = self._ended(state, problem, stop)
            trajectory = log.close()
        except BaseException:  # whatever ends it: the frames so far are kept, and the file is let go
            log.close()
            raise
        return self._segment(state, ended, record, checkpoint, trajectory)

    # -- where it begins --------------------------------------------------------------------------

    def _begin(self, log: FrameLog) -> _State:
        found = segments.read_checkpoint(self.folder, self.identity, self.content)
        if found is None:
            if self.previous is not None:
                raise EngineError(
                    f"{self.maker.name}: no checkpoint in {self.folder}, which segment "
                    f"{self.previous.number} left at step {self.first}.",
                    "Restore the folder, or run the trajectory anew (epilayer rerun --force its first job).",
                )
            log.cut(0)
            return _State(-1, 0, None, np.array(self.start.cart_coords))
        about, arrays = found
        raw = arrays["contcar"].tobytes()
        if hashlib.sha256(raw).hexdigest() != about["contcar_sha256"]:
            raise EngineError(
                f"The CONTCAR in the checkpoint of {self.folder} is not the one that was written.",
                f"Restore it from a copy, or remove the folder {self.folder} to begin the trajectory anew.",
            )
        step = int(about["step"])
        self.ran = Path(about["run"])
        if step < self.first:
            raise EngineError(
                f"{self.maker.name}: the checkpoint in {self.folder} is of step {step}, before step "
                f"{self.first}, where segment {self.number - 1} ended.",
                "Restore the newer checkpoint, or run the trajectory anew.",
            )
        log.cut(self.settings.frames_at(step))
        if step > self.first:
            self.resumed = f"went on from the CONTCAR of step {step}, left in {self.ran}"
        return _State(
            step,
            int(about["begins"]),
            self._checked(raw),
            arrays["positions_ang"],
            about["energy_ev"],
            about["temperature_k"],
        )

    def _checked(self, raw: bytes) -> Contcar:
        symbols = [site.specie.symbol for site in self.placed]
        cell = self.placed.lattice.matrix
        return vasp_contcar.parse(raw).checked(
            symbols, cell, self.settings.time_step_fs, thermostat=self.thermostat
        )

    def _salvaged(self, state: _State, log: FrameLog) -> _State:
        """Take over the steps of an attempt that was killed, where it left a CONTCAR that belongs to them."""
        note = self.folder / _RUNNING
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
            self.resumed = f"went on from the CONTCAR of step {state.step}, left in {directory}"
            self.ran = directory
            self._checkpoint(state, log)
        note.unlink(missing_ok=True)
        return state

    # -- the run ----------------------------------------------------------------------------------

    def _maker(self, steps: int, seed: int) -> VaspMaker:
        dynamics = self.settings.model_copy(update={"steps": steps, "seed": seed})
        engine = self.maker.engine
        return VaspMaker(
            name=self.maker.name,
            engine=engine,
            task="md",
            convergence=engine.level.convergence,
            dynamics=dynamics,
        )

    def _compute(self, state: _State, stop: segments.StopRequest) -> Exception | None:
        """Lay out the inputs and run VASP; return why custodian gave it up, if it did."""
        runner = self._maker(self.target - state.begins + 1, self._seed(state.begins))
        runner.lay_out(self.start)
        if state.file is not None:
            (self.here / "POSCAR").write_bytes(state.file.raw)
            self.lost.append(_DIGITS if state.file.next_frac is not None else _NO_BLOCK)
            if self.settings.ensemble is Ensemble.NVT and not self.thermostat:
                self.lost.append(_NO_NOISE)
        for name in _OUTPUTS:
            (self.here / name).unlink(missing_ok=True)
        if stop.received is not None:
            ask_to_stop(self.here)  # it came before there was anything to stop
        told = {"directory": str(self.here), "begins": state.begins}
        write_atomic(self.folder / _RUNNING, json.dumps(told) + "\n")
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

    def _announce(self, state: _State) -> None:
        about = {
            "label": self.maker.name,
            "level": self.maker.engine.level.name,
            "trajectory_id": self.identity,
            "number": self.number,
            "first_step": max(state.step, 0),
            "degrees_of_freedom": self.degrees_of_freedom,
        }
        segments.announce(self.folder, self.start, self.settings, about)

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
            raise self._maker(1, 0).failed(self.here, problem or EngineError("VASP computed no step", ""))
        return after

    def _harvest(self, directory: Path, state: _State, log: FrameLog) -> _State:
        """Store the whole steps of a run up to the one its CONTCAR belongs to; return where they end.

        Raises
        ------
        EngineError, InputError
            If the run did not begin where the trajectory stood, or nothing of it can be gone on from.
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
                f"{self.maker.name}: the CONTCAR in {directory} belongs to no whole step of its vasprun.xml.",
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
                    f"{self.maker.name}: vasprun.xml states no kinetic energy of step {at}.",
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
            f"{self.maker.name}: the run in {directory} did not begin where the trajectory stood "
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
                    f"{self.maker.name}: the run was executed with {tag} = {found[tag]}, not {asked[tag]}.",
                    "A correction changed it, and so the trajectory: look into custodian.json, then rerun.",
                )

    def _ended(
        self, state: _State, problem: Exception | None, stop: segments.StopRequest
    ) -> tuple[SegmentEnd, ImportedCalculation]:
        """Return why the segment ended, and the record of its run.

        Raises
        ------
        EngineError
            With the cause, if nobody asked it to end here. What it computed is kept.
        """
        record = vasp_executed.imported(self.ran)
        asked = Finding.STOPPED_ON_REQUEST in {r.code for r in record.reasons}
        ended = None
        if state.step >= self.settings.steps:
            ended = SegmentEnd.COMPLETE
        elif state.step >= self.target:
            ended = SegmentEnd.STEPS
        elif stop.received is not None:
            ended = SegmentEnd.SIGNAL
        elif asked and problem is None:
            ended = SegmentEnd.WALL_TIME
        if ended is not None and record.status is not ImportStatus.FAILED:
            return ended, record
        runner = self._maker(1, 0)
        named = (
            runner.failed(self.ran, problem)
            if problem is not None
            else vasp_executed.failure(self.maker.name, record)
        )
        kept = ""
        if state.step > max(self.first, 0):
            kept = f" Steps up to {state.step} are kept; the next attempt goes on from there."
        raise EngineError(named.what + kept, named.remedy)

    def _checkpoint(self, state: _State, log: FrameLog) -> FileReference:
        """First the frames, then the checkpoint that counts on them, then the note of what ran."""
        log.flush()
        raw = state.file.raw if state.file is not None else b""
        about = {
            "trajectory_id": self.identity,
            "content": self.content,
            "step": state.step,
            "begins": state.begins,
            "contcar_sha256": hashlib.sha256(raw).hexdigest(),
            "run": str(self.ran),
            "energy_ev": state.energy_ev,
            "temperature_k": state.temperature_k,
        }
        arrays: dict[str, NDArray[Any]] = {"positions_ang": state.positions_ang}
        arrays["contcar"] = np.frombuffer(raw, np.uint8)
        written = segments.write_checkpoint(self.folder, about, arrays)
        (self.folder / _RUNNING).unlink(missing_ok=True)
        return written

    def _segment(
        self,
        state: _State,
        ended: SegmentEnd,
        record: ImportedCalculation,
        checkpoint: FileReference,
        trajectory: FileReference,
    ) -> Segment:
        level = vasp_executed.executed_level(record, self._maker(1, 0).asked(self.start))
        loose = len(record.unconverged_electronic_steps)
        if loose:
            self.lost.append(f"Segment {self.number}: the electrons did not converge in {loose} steps")
        assert state.file is not None  # noqa: S101  (a segment that ended has a step)
        velocities = state.file.velocities_ang_per_fs
        assert velocities is not None  # noqa: S101  (checked)
        versions = {name: metadata.version(name) for name in ("atomate2", "custodian", "pymatgen")}
        return Segment(
            label=self.maker.name,
            level=level,
            settings=self.settings,
            trajectory_id=self.identity,
            directory=str(self.folder),
            number=self.number,
            first_step=self.first,
            last_step=state.step,
            ended_by=ended,
            frames=self.settings.frames_at(state.step),
            structure=moved(self.start, state.positions_ang, velocities[np.argsort(self.order)]),
            degrees_of_freedom=self.degrees_of_freedom,
            energy_ev=state.energy_ev,
            temperature_k=state.temperature_k,
            checkpoint=checkpoint,
            trajectory=trajectory,
            lost=tuple(dict.fromkeys(self.lost)),
            resumed=self.resumed,
            wall_time_s=time.monotonic() - self.began,
            provenance=Provenance(
                job=CURRENT_JOB.job.uuid if CURRENT_JOB.job is not None else "",
                run_directory=str(self.ran),
                files={n: sha256_file(self.ran / n) for n in _KEPT if (self.ran / n).is_file()},
                versions={"epilayer": __version__, "vasp": record.program or "not stated", **versions},
            ),
        )


def _whole(path: Path) -> Iterator[VasprunStep]:
    """Yield the ionic steps of a vasprun.xml up to the first that is not whole."""
    return takewhile(lambda step: step.whole, VasprunStream(path))


def _frac(step: VasprunStep) -> Array:
    assert step.positions_frac is not None  # noqa: S101  (a whole step has them)
    return step.positions_frac
