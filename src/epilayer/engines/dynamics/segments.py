"""What every engine's segments share, from the trajectory they belong to down to the request to stop.

An engine brings a :class:`BaseSegmentMaker` and a :class:`SegmentRun`, which say how its steps are computed
and what its checkpoint holds; that a trajectory cut anywhere is the one that was never cut is kept here.
"""

from __future__ import annotations

import hashlib
import io
import json
import signal
import threading
import time
import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import numpy as np
from jobflow import CURRENT_JOB, Maker, job

from epilayer.engines.dynamics.progress import runs_of
from epilayer.model.base import fingerprint
from epilayer.model.dynamics import (
    ABOUT,
    HELD,
    VELOCITIES,
    DynamicsSettings,
    FileReference,
    Segment,
    SegmentEnd,
    SegmentLimit,
)
from epilayer.model.errors import EngineError, StructureError
from epilayer.model.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType, TracebackType

    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.engines.base import FrameLog, FrameStore, MdEngine
    from epilayer.model.level import LevelOfTheory
    from epilayer.model.records import Provenance

CHECKPOINT = "checkpoint.epi"
_MAGIC = b"EPILAYER CHECKPOINT 1\n"
_HEX = 64
_STUDY_FILE = "epilayer.yaml"
_FOLDER = "trajectories"
_SHORT = 16


class Reached(Protocol):
    """Where a trajectory stands: whatever the engine needs to go on, and the step."""

    @property
    def step(self) -> int:
        """Last absolute step that is stored."""


StateT = TypeVar("StateT", bound=Reached)


@dataclass(kw_only=True)
class BaseSegmentMaker(Maker, ABC):  # type: ignore[misc]  # jobflow is untyped
    """One segment of a trajectory; satisfies :class:`epilayer.engines.base.SegmentMaker`."""

    name: str = "segment"
    engine: MdEngine
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
        return self._run(start, previous).run()

    @abstractmethod
    def _run(self, start: Structure, previous: Segment | None) -> SegmentRun[Any]:
        """Return the engine's run of this segment."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a segment hands in beside where it ended; the fields are those of ``Segment``."""

    level: LevelOfTheory
    structure: Structure
    energy_ev: float
    temperature_k: float
    provenance: Provenance
    lost: tuple[str, ...] = ()
    cpu_time_s: float | None = None
    computed_steps: int | None = None
    peak_memory_mb: float | None = None


class SegmentRun(ABC, Generic[StateT]):
    """One segment, from the checkpoint (or the start) to its end.

    Parameters
    ----------
    level_fingerprint
        Of the level of theory: a trajectory is never continued at another one.
    level_name
        Its name, shown beside the running trajectory.
    """

    degrees_of_freedom: int
    """Of the atoms that move; set by the engine."""

    def __init__(
        self,
        maker: BaseSegmentMaker,
        start: Structure,
        previous: Segment | None,
        *,
        level_fingerprint: str,
        level_name: str,
    ) -> None:
        self.began = time.monotonic()
        self.name, self.settings, self.limit = maker.name, maker.settings, maker.limit
        self.start, self.previous = start, previous
        self.free = free_atoms(start)
        self.first = previous.last_step if previous else 0
        self.number = previous.number + 1 if previous else 1
        self.target = self.settings.steps
        if self.limit.steps is not None:
            self.target = min(self.target, self.first + self.limit.steps)
        self.resumed = ""
        self._frames, self._level_name = maker.frames, level_name
        self._content = _content_of(start, self.settings, level_fingerprint)
        self._identity, self.folder = _place(self._content, previous)

    # -- what is the engine's ----------------------------------------------------------------------

    @property
    @abstractmethod
    def masses_amu(self) -> Sequence[float]:
        """(n_atoms,) masses as the engine moves them, u."""

    @abstractmethod
    def _begun(self, log: FrameLog) -> StateT:
        """Return the state at the start of the trajectory."""

    @abstractmethod
    def _taken_up(self, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> StateT:
        """Return the state that a checkpoint holds."""

    @abstractmethod
    def _advance(
        self, state: StateT, log: FrameLog, stop: StopRequest
    ) -> tuple[StateT, SegmentEnd, FileReference]:
        """Compute until something ends the segment; return where, why, and the checkpoint written there."""

    @abstractmethod
    def _outcome(self, state: StateT) -> Outcome:
        """Return what the segment hands in."""

    @abstractmethod
    def _went_on(self, step: int) -> str:
        """Say from what the run continued after a kill."""

    def _stop_request(self) -> StopRequest:
        return StopRequest()

    # -- what is every engine's --------------------------------------------------------------------

    def run(self) -> Segment:
        """Return what became of the segment."""
        self.folder.mkdir(parents=True, exist_ok=True)
        symbols = [site.specie.symbol for site in self.start]
        log = self._frames.open(self.folder, symbols, self.masses_amu, self.settings.time_step_fs)
        try:
            with self._stop_request() as stop:
                state, ended, checkpoint = self._advance(self._begin(log), log, stop)
            trajectory = log.close()
        except BaseException:  # whatever ends it: the frames so far are kept, and the file is let go
            log.close()
            raise
        outcome = self._outcome(state)
        return Segment(
            label=self.name,
            level=outcome.level,
            settings=self.settings,
            trajectory_id=self._identity,
            directory=str(self.folder),
            number=self.number,
            first_step=self.first,
            last_step=state.step,
            ended_by=ended,
            frames=self.settings.frames_at(state.step),
            structure=outcome.structure,
            degrees_of_freedom=self.degrees_of_freedom,
            energy_ev=outcome.energy_ev,
            temperature_k=outcome.temperature_k,
            checkpoint=checkpoint,
            trajectory=trajectory,
            lost=outcome.lost,
            resumed=self.resumed,
            wall_time_s=time.monotonic() - self.began,
            cpu_time_s=outcome.cpu_time_s,
            computed_steps=outcome.computed_steps,
            peak_memory_mb=outcome.peak_memory_mb,
            provenance=outcome.provenance,
        )

    def _begin(self, log: FrameLog) -> StateT:
        """Take up the checkpoint, with the stored frames up to it; or begin at step 0."""
        found = _read_checkpoint(self.folder, self._identity, self._content)
        if found is None:
            if self.previous is not None:
                raise EngineError(
                    f"{self.name}: no checkpoint in {self.folder}, which segment "
                    f"{self.previous.number} left at step {self.first}.",
                    "Restore the folder, or run the trajectory anew (epilayer rerun --force its first job).",
                )
            log.cut(0)
            return self._begun(log)
        state = self._taken_up(*found)
        if state.step < self.first:
            raise EngineError(
                f"{self.name}: the checkpoint in {self.folder} is of step {state.step}, before step "
                f"{self.first}, where segment {self.number - 1} ended.",
                "Restore the newer checkpoint, or run the trajectory anew.",
            )
        log.cut(self.settings.frames_at(state.step))
        if state.step > self.first:
            self.resumed = self._went_on(state.step)
        return state

    def _write_checkpoint(
        self, log: FrameLog, step: int, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> FileReference:
        """First the frames, then the checkpoint that counts on them."""
        log.flush()
        identity = {"trajectory_id": self._identity, "content": self._content, "step": step}
        return _write_checkpoint(self.folder, {**identity, **about}, arrays)

    def _ended_by(self, step: int, stop: StopRequest) -> SegmentEnd | None:
        """Return what ends the segment at a step, the wall time apart, which each engine measures itself."""
        if step >= self.settings.steps:
            return SegmentEnd.COMPLETE
        if step >= self.target:
            return SegmentEnd.STEPS
        return SegmentEnd.SIGNAL if stop.received is not None else None

    def _announce(self, first_step: int, begins: int | None = None) -> None:
        """Say beside the frames what is being run (:data:`epilayer.model.dynamics.ABOUT`).

        Parameters
        ----------
        first_step
            The last step that is kept so far.
        begins
            Of a program that keeps its steps until its end: which step its first configuration is.
        """
        sites = self.start.site_properties
        now = time.time()
        run = {"directory": str(Path.cwd()), "started_s": now, "first_step": first_step, "begins": begins}
        about = {
            "runs": [*runs_of(self.folder), run],
            "label": self.name,
            "level": self._level_name,
            "trajectory_id": self._identity,
            "number": self.number,
            "first_step": first_step,
            "degrees_of_freedom": self.degrees_of_freedom,
            "started_s": now,
            "settings": self.settings.model_dump(mode="json"),
            "free": self.free.tolist(),
            "names": [str(n) for n in sites["molecule_name"]] if "molecule_name" in sites else None,
            "molecules": [int(n) for n in sites["molecule"]] if "molecule" in sites else None,
        }
        write_atomic(self.folder / ABOUT, json.dumps(about) + "\n")

    def _moved(
        self, positions_ang: NDArray[np.float64], velocities_ang_per_fs: NDArray[np.float64]
    ) -> Structure:
        """Return the start with other positions and with velocities; its other site properties stay.

        Parameters
        ----------
        positions_ang, velocities_ang_per_fs
            (n_atoms, 3) cartesian.
        """
        from pymatgen.core import Structure

        start = self.start
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


def _content_of(start: Structure, settings: DynamicsSettings, level_fingerprint: str) -> str:
    """Return the hash of what a trajectory is: its start, its settings and its level of theory."""
    sites = start.site_properties
    return fingerprint(
        {
            "cell": start.lattice.matrix.tolist(),
            "species": [site.specie.symbol for site in start],
            "positions": start.frac_coords.tolist(),
            "held": np.asarray(sites.get(HELD, [])).tolist(),
            "velocities": np.asarray(sites.get(VELOCITIES, [])).tolist(),
            "settings": settings.model_dump(mode="json"),
            "level": level_fingerprint,
        }
    )


def _place(content: str, previous: Segment | None) -> tuple[str, Path]:
    """Return identity and folder of the trajectory that a job's segment belongs to.

    The job of the first segment gives its identity to the trajectory, so that every attempt of it finds
    the same folder and a second, fresh run does not. The folder is in ``trajectories/`` of the
    study that the job runs in; outside a study, beside the attempts of the job.
    """
    if previous is not None:
        return previous.trajectory_id, Path(previous.directory)
    current = CURRENT_JOB.job
    identity = fingerprint({"content": content, "job": current.uuid if current is not None else ""})
    here = Path.cwd()
    study = next((p for p in (here, *here.parents) if (p / _STUDY_FILE).is_file()), None)
    base = study or (here.parent if here.name.startswith("attempt-") else here)
    return identity, base / _FOLDER / identity[:_SHORT]


def free_atoms(start: Structure) -> NDArray[np.bool_]:
    """Return (n_atoms,) which atoms move.

    Raises
    ------
    StructureError
        If an atom is held in some directions only, or none moves.
    """
    held = start.site_properties.get(HELD)
    if held is None:
        return np.ones(len(start), dtype=bool)
    directions: NDArray[np.bool_] = np.array(
        [[True] * 3 if row is None else list(row) for row in held], dtype=bool
    )
    free = np.asarray(directions.all(axis=1))
    partly = np.flatnonzero(directions.any(axis=1) & ~free)
    if len(partly):
        raise StructureError(
            f"Atom {partly[0] + 1} ({start[int(partly[0])].specie}) is held in some directions only.",
            "Hold or free it in all three: segments know no other constraint.",
        )
    if not free.any():
        raise StructureError("No atom is free to move.", "Free some (selective_dynamics).")
    return free


# -- checkpoint ------------------------------------------------------------------------------------


def _write_checkpoint(
    folder: Path, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> FileReference:
    """Write a checkpoint whole, or leave the one before.

    Parameters
    ----------
    folder
        The trajectory's folder.
    about
        ``trajectory_id``, ``content``, ``step`` and what else is JSON.
    arrays
        Numbers, kept to the bit.
    """
    buffer = io.BytesIO()
    note = np.frombuffer(json.dumps(dict(about)).encode(), np.uint8)
    np.savez(buffer, **arrays, __about__=note)  # type: ignore[arg-type]  # numpy's stub takes them for allow_pickle
    payload = buffer.getvalue()
    digest = hashlib.sha256(payload).hexdigest().encode()
    path = folder / CHECKPOINT
    content = _MAGIC + digest + b"\n" + payload
    write_atomic(path, content)
    return FileReference(path=str(path), sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def _read_checkpoint(
    folder: Path, trajectory_id: str, content: str
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    """Return what the checkpoint of a trajectory says, or None where there is none yet.

    Raises
    ------
    EngineError
        If it is truncated, damaged, or of another trajectory.
    """
    path = folder / CHECKPOINT
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    head = len(_MAGIC) + _HEX + 1
    payload = raw[head:]
    digest = raw[len(_MAGIC) : head - 1].decode("ascii", "replace")
    if not raw.startswith(_MAGIC) or hashlib.sha256(payload).hexdigest() != digest:
        raise EngineError(
            f"The checkpoint {path} is truncated or damaged ({len(raw)} bytes).",
            f"Restore it from a copy, or remove the folder {folder} to begin the trajectory anew.",
        )
    try:
        with np.load(io.BytesIO(payload), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise EngineError(
            f"The checkpoint {path} cannot be read ({error}).",
            f"Remove the folder {folder} to begin the trajectory anew.",
        ) from error
    about = json.loads(arrays.pop("__about__").tobytes())
    if about["trajectory_id"] != trajectory_id or about["content"] != content:
        raise EngineError(
            f"The checkpoint {path} is of another trajectory "
            f"({about['trajectory_id'][:_SHORT]}, step {about['step']}; wanted: {trajectory_id[:_SHORT]}).",
            "Start, settings, level and seed of a trajectory cannot change on the way: begin a new one.",
        )
    return about, arrays


# -- the request to stop ---------------------------------------------------------------------------


class StopRequest:
    """Turns USR1 and TERM into a request that the segment looks at between steps.

    USR1 (what a cluster sends before the time is up) ends the segment, which hands in what it has; who
    listened before hears it too, and begins nothing more. TERM is obeyed once the checkpoint is written:
    leaving the block delivers it to whoever handled it before.
    Handlers can be set in the main thread only; elsewhere no request ever comes.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGUSR1, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received != signal.SIGTERM:  # the stronger of the two stays
            self.received = number
        listener = self._before.get(number)
        if number == signal.SIGUSR1 and callable(listener):
            listener(number, frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.received == signal.SIGTERM and kind is None:
            signal.raise_signal(signal.SIGTERM)
