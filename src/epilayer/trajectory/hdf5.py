"""The HDF5 file of a trajectory: its layout, and how it is put in its place."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.errors import StoreError
from epilayer.trajectory.tail import COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

    import h5py

    from epilayer.outputs.trajectories.frames import Block, Header

SCHEMA = 1
_CHUNK_BYTES = 100_000  # of one chunk of positions: a random frame costs one chunk


@dataclass(frozen=True)
class RawFile:
    """A raw file that frames came from."""

    name: str
    format: str
    sha256: str
    bytes: int
    first_frame: int
    frames: int


def open_file(path: Path) -> h5py.File:
    """Open a trajectory for reading, or refuse what is none."""
    import h5py

    if not path.exists():
        raise StoreError(f"There is no trajectory {path}.", "Check the name, or ingest the raw file first.")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise StoreError(
            f"{path} is not an HDF5 file, or is damaged.", "Ingest the raw file again."
        ) from error
    if "schema" not in file.attrs or any(name not in file for name in COLUMNS):
        file.close()
        raise StoreError(f"{path} is an HDF5 file but not a trajectory.", "Give one that epilayer wrote.")
    return file


def create(
    path: Path, header: Header, raw_files: tuple[RawFile, ...], max_error_ang: float, compression: str = "lzf"
) -> h5py.File:
    """Make an empty trajectory file, open for writing."""
    import h5py

    kind = np.float64 if header.decimals is None else np.int32
    file = h5py.File(path, "w", libver=("v110", "v110"), locking=False)
    frames = max(1, min(1024, _CHUNK_BYTES // (12 * max(header.n_atoms, 1))))
    packed = {"compression": compression, "shuffle": True}
    if compression == "gzip":
        packed["compression_opts"] = 1
    n = header.n_atoms
    file.create_dataset("positions", (0, n, 3), kind, maxshape=(None, n, 3), chunks=(frames, n, 3), **packed)
    file.create_dataset("cells_ang", (0, 3, 3), "f8", maxshape=(None, 3, 3), chunks=(256, 3, 3), **packed)
    for name, column in (("steps", "i8"), ("energies_ev", "f8"), ("temperatures_k", "f8")):
        file.create_dataset(name, (0,), column, maxshape=(None,), chunks=(1024,), **packed)
    file.create_dataset("symbols", data=np.array(header.symbols, "S4"))
    file.create_dataset("masses_amu", data=np.array(header.masses_amu))
    file.attrs.update(
        schema=SCHEMA,
        coordinates=header.coordinates,
        decimals=-1 if header.decimals is None else header.decimals,
        time_step_fs=np.nan if header.time_step_fs is None else header.time_step_fs,
        raw_files=json.dumps([asdict(item) for item in raw_files]),
        max_error_ang=max_error_ang,
    )
    return file


def extend(file: h5py.File, block: Block) -> None:
    """Append frames; an ``OverflowError`` where a coordinate does not fit."""
    start = file["steps"].shape[0]
    stop = start + len(block)
    positions = block.positions
    if positions.dtype.kind == "i" and file["positions"].dtype.itemsize < positions.dtype.itemsize:
        limit = np.iinfo(file["positions"].dtype).max
        if np.abs(positions).max(initial=0) > limit:
            raise OverflowError
        positions = positions.astype(file["positions"].dtype)
    for name in COLUMNS:
        data = positions if name == "positions" else getattr(block, name)
        file[name].resize(stop, axis=0)
        file[name][start:stop] = data


def write_new(path: Path, header: Header) -> None:
    """Put an empty trajectory in its place."""
    temporary = path.with_name(path.name + f".{os.getpid()}.tmp")
    try:
        create(temporary, header, (), 0.0).close()
        replace_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(temporary: Path, path: Path) -> None:
    """Put a finished file in its place; after a power cut the place holds the old file or the new."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
