"""The append-only file beside a trajectory that is still written to: whole records, or none."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from epilayer.outputs.trajectories.frames import Block

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ("positions", "cells_ang", "steps", "energies_ev", "temperatures_k")
_MAGIC = b"ETJ1"
_HEAD = struct.Struct("<4sQQII")  # magic, first frame, bytes, frames, CRC-32
HEAD_BYTES = _HEAD.size
"""Of a record, before what :func:`scan_tail` points to."""


def tail_path(path: Path) -> Path:
    """Return the append-only file of a trajectory."""
    return path.with_name(path.name + ".tail")


def dump_record(block: Block, first_frame: int) -> bytes:
    """Return a block as one record."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: getattr(block, name) for name in COLUMNS})
    payload = buffer.getvalue()
    return _HEAD.pack(_MAGIC, first_frame, len(payload), len(block), zlib.crc32(payload)) + payload


def load_record(path: Path, offset: int, size: int) -> Block:
    """Return the block of a record that a scan found."""
    with path.open("rb") as stream:
        stream.seek(offset)
        with np.load(io.BytesIO(stream.read(size)), allow_pickle=False) as record:
            return Block(*(record[name] for name in COLUMNS))


def scan_tail(path: Path) -> tuple[list[tuple[int, int, int, int]], int]:
    """Return ((first frame, frames, offset, bytes) per whole record, bytes they take together).

    The scan ends at the first record that is torn or damaged: what follows cannot be trusted.
    """
    records: list[tuple[int, int, int, int]] = []
    valid = 0
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return records, valid
    with stream:
        while len(head := stream.read(_HEAD.size)) == _HEAD.size:
            magic, first, size, frames, crc = _HEAD.unpack(head)
            if magic != _MAGIC:
                break
            payload = stream.read(size)
            if len(payload) < size or zlib.crc32(payload) != crc:
                break
            records.append((first, frames, valid + _HEAD.size, size))
            valid += _HEAD.size + size
    return records, valid
