"""What every engine's segments share: identity, folder, checkpoint file, and the request to stop."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import threading
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jobflow import CURRENT_JOB

from epilayer.model.base import fingerprint
from epilayer.model.dynamics import ABOUT, HELD, VELOCITIES, FileReference
from epilayer.model.errors import EngineError, StructureError
from epilayer.model.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType, TracebackType

    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.model.dynamics import DynamicsSettings, Segment

CHECKPOINT = "checkpoint.epi"
_MAGIC = b"EPILAYER CHECKPOINT 1\n"
_HEX = 64
_STUDY_FILE = "epilayer.yaml"
_FOLDER = "trajectories"
_SHORT = 16


def content_of(start: Structure, settings: DynamicsSettings, level_fingerprint: str) -> str:
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


def place(content: str, previous: Segment | None) -> tuple[str, Path]:
    """Return identity and folder of the trajectory that a job's segment belongs to.

    The job of the first segment gives its identity to the trajectory, so that every attempt of it finds
    the same folder and a second, fresh run does not. The folder stands in ``trajectories/`` of the
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


def write_checkpoint(
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


def read_checkpoint(
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


def announce(folder: Path, start: Structure, settings: DynamicsSettings, about: Mapping[str, Any]) -> None:
    """Say beside the frames what is being run, for whoever watches (:data:`epilayer.model.dynamics.ABOUT`).

    Parameters
    ----------
    about
        ``label``, ``level``, ``number``, ``first_step``, ``degrees_of_freedom`` and the like.
    """
    sites = start.site_properties
    told = {
        **about,
        "started_s": time.time(),
        "settings": settings.model_dump(mode="json"),
        "free": free_atoms(start).tolist(),
        "names": [str(n) for n in sites["molecule_name"]] if "molecule_name" in sites else None,
        "molecules": [int(n) for n in sites["molecule"]] if "molecule" in sites else None,
    }
    write_atomic(folder / ABOUT, json.dumps(told) + "\n")


# -- the request to stop ---------------------------------------------------------------------------


class StopRequest:
    """Turns USR1 and TERM into a request that the segment looks at between steps.

    USR1 (what a cluster sends before the time is up) ends the segment, which hands in what it has. TERM
    is obeyed once the checkpoint is written: leaving the block delivers it to whoever handled it before.
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

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received != signal.SIGTERM:  # the stronger of the two stays
            self.received = number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.received == signal.SIGTERM and kind is None:
            signal.raise_signal(signal.SIGTERM)
