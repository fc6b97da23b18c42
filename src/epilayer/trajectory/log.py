"""The trajectory of a run in segments: one file in the run's folder, appended to while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from monty.json import MSONable

from epilayer.model.dynamics import FileReference
from epilayer.model.errors import StoreError
from epilayer.model.files import sha256_file
from epilayer.outputs.trajectories.frames import Block, Header
from epilayer.trajectory.store import Trajectory, TrajectoryWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TRAJECTORY = "trajectory.h5"


@dataclass(frozen=True)
class TrajectoryFolder(MSONable):  # type: ignore[misc]  # monty is untyped
    """Keeps the frames of all segments in one file; satisfies ``epilayer.engines.base.FrameStore``.

    Parameters
    ----------
    name
        Of the file in the trajectory's folder.
    """

    name: str = TRAJECTORY

    def open(
        self, directory: Path, symbols: Sequence[str], masses_amu: Sequence[float], time_step_fs: float
    ) -> StoredFrames:
        """Open the trajectory for appending; made if absent.

        Parameters
        ----------
        directory
            The trajectory's folder.
        symbols, masses_amu
            One per atom.
        time_step_fs
            Of the integration, fs.
        """
        header = Header(tuple(symbols), tuple(map(float, masses_amu)), "cartesian", None, time_step_fs)
        return StoredFrames(TrajectoryWriter(Path(directory) / self.name, header))


class StoredFrames:
    """A trajectory open for appending; satisfies ``epilayer.engines.base.FrameLog``.

    Parameters
    ----------
    writer
        The file.
    """

    def __init__(self, writer: TrajectoryWriter) -> None:
        self._writer = writer
        self._held: list[Block] = []

    def __len__(self) -> int:
        """Return the number of frames, those not yet flushed included."""
        return len(self._writer) + len(self._held)

    def append(
        self,
        step: int,
        positions_ang: NDArray[np.float64],
        cell_ang: NDArray[np.float64],
        energy_ev: float,
        temperature_k: float,
    ) -> None:
        """Add the frame of an absolute step.

        Parameters
        ----------
        positions_ang, cell_ang
            (n_atoms, 3) unwrapped cartesian positions and (3, 3) cell vectors as rows, Angstrom.
        energy_ev, temperature_k
            Potential energy, eV, and temperature, K.
        """
        self._held.append(
            Block(
                positions_ang[None].copy(),
                cell_ang[None].copy(),
                np.array([step], np.int64),
                np.array([energy_ev]),
                np.array([temperature_k]),
            )
        )

    def flush(self) -> None:
        """Put what was appended on disk, as one record that is whole or not there."""
        if self._held:
            columns = zip(*(vars(block).values() for block in self._held), strict=True)
            self._writer.append(Block(*map(np.concatenate, columns)))
            self._held = []

    def cut(self, frames: int) -> None:
        """Forget what follows the first ``frames`` frames."""
        self.flush()
        self._writer.truncate(frames)

    def close(self) -> FileReference:
        """Flush, let go of the file and return what to find it by."""
        try:
            self.flush()
        finally:
            self._writer.close()
        return reference(self._writer.path)


def reference(path: Path) -> FileReference:
    """Return what a document says about a file."""
    return FileReference(path=str(path), sha256=sha256_file(path), size=path.stat().st_size)


def open_reference(found: FileReference) -> Trajectory:
    """Open the trajectory that a document refers to.

    Raises
    ------
    StoreError
        If it is absent or was changed since.
    """
    path = Path(found.path)
    if not path.exists():
        raise StoreError(f"The trajectory {path} is gone.", "Restore it, or run the trajectory again.")
    if sha256_file(path) != found.sha256:
        raise StoreError(
            f"The trajectory {path} is not the one that was written (its SHA-256 differs).",
            "Restore the file, or run the trajectory again.",
        )
    return Trajectory(path)
