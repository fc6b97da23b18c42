"""Checksums of files, kept next to them, so that a change of their bytes is found and named.

For each file there are its SHA-256 and, for every 4 KiB of it, a digest and two sums over the bytes, S0 =
sum b_i and S1 = sum i b_i. Where one byte of such a chunk changed by d at place i, the sums changed by d and
i d: their ratio is the place, and the digest of the corrected chunk proves it. So the byte is named without a
second copy of the file; of a larger change, the chunk. Checksums begin with the SHA-256 of the rest of them.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from epilayer.model.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SUFFIX = ".seal"
RUN_CHECKSUMS = f"epilayer{SUFFIX}"
CHUNK_BYTES = 4096
_BYTE_VALUES = 256


@dataclass(frozen=True)
class Damage:
    """How a file differs from what was written.

    Attributes
    ----------
    path
        The file.
    what
        What differs, in words.
    offset
        Place of the first byte that differs, from 0; ``None`` where it is not known.
    exact
        Whether ``offset`` is the byte itself; else it is the start of the 4 KiB that hold it.
    was, now
        The byte as it was and as it is, where known.
    """

    path: str
    what: str
    offset: int | None = None
    exact: bool = False
    was: int | None = None
    now: int | None = None


def write_checksums(target: Path, files: Iterable[Path], *, stamp: str = "") -> None:
    """Write the checksums of some files of the folder of ``target``.

    Parameters
    ----------
    stamp
        Mark of the last write to a database, which distinguishes a later write from damage.
    """
    entries = {path.name: _entry(path.read_bytes()) for path in files}
    content = orjson.dumps({"files": entries, "stamp": stamp}, option=orjson.OPT_SORT_KEYS)
    write_atomic(target, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def read_checksums(path: Path) -> dict[str, Any] | None:
    """Return the content of a file of checksums; ``None`` where it is not as it was written."""
    head, _, content = path.read_bytes().partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != head:
        return None
    read: dict[str, Any] = orjson.loads(content)
    return read


def compare(path: Path, entry: dict[str, Any]) -> Damage | None:
    """Return how a file differs from its checksums, or nothing where no byte does."""
    if not path.is_file():
        return Damage(str(path), "the file is missing")
    data = path.read_bytes()
    if len(data) == entry["length"] and hashlib.sha256(data).hexdigest() == entry["sha256"]:
        return None
    for number, chunk in enumerate(entry["chunks"]):
        start = number * CHUNK_BYTES
        now = data[start : min(start + CHUNK_BYTES, entry["length"])]
        if _digest(now) != chunk[0]:
            return _located(path, start, now, chunk)
    return Damage(
        str(path), f"{len(data) - entry['length']} bytes were added at the end", entry["length"], exact=True
    )


def _located(path: Path, start: int, now: bytes, chunk: list[Any]) -> Damage:
    digest, total, moment = chunk
    new_total, new_moment = _sums(now)
    change = new_total - total
    if change and (new_moment - moment) % change == 0:
        place = (new_moment - moment) // change
        if 0 <= place < len(now) and 0 <= now[place] - change < _BYTE_VALUES:
            was = now[place] - change
            if _digest(now[:place] + bytes([was]) + now[place + 1 :]) == digest:
                what = f"byte {start + place} is 0x{now[place]:02x} and was 0x{was:02x}"
                return Damage(str(path), what, start + place, exact=True, was=was, now=now[place])
    what = f"the first difference is among bytes {start} to {start + CHUNK_BYTES - 1}"
    return Damage(str(path), what, start)


def _entry(data: bytes) -> dict[str, Any]:
    parts = (data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))
    return {
        "length": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "chunks": [[_digest(part), *_sums(part)] for part in parts],
    }


def _digest(part: bytes) -> str:
    return hashlib.blake2b(part, digest_size=16).hexdigest()


def _sums(part: bytes) -> tuple[int, int]:
    import numpy as np

    values = np.frombuffer(part, dtype=np.uint8).astype(np.int64)
    return int(values.sum()), int(values @ np.arange(len(values)))


def write_database_checksums(path: Path) -> bool:
    """Write the checksums of an SQLite file; ``False`` where another process is writing to it just now."""
    if not path.is_file():
        return False
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.execute("BEGIN IMMEDIATE")  # keeps writers out while the bytes are read
        try:
            if busy or _has_log(path):
                return False
            write_checksums(_database_checksums(path), [path], stamp=_stamp(connection))
        finally:
            connection.execute("ROLLBACK")
    return True


def _database_checksums(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


@dataclass(frozen=True)
class DatabaseState:
    """The state of an SQLite file: damaged, unchanged since its checksums, or written to (then neither)."""

    damage: Damage | None
    unchanged: bool


def check_database(path: Path) -> DatabaseState:
    """Compare an SQLite file with its checksums, without opening it for writing.

    The stamp that every write leaves in a file distinguishes one that was written to since from a damaged
    one; the stamp carries its own digest.
    """
    stored = _database_checksums(path)
    content = read_checksums(stored) if stored.is_file() else {}
    if content is None:
        return DatabaseState(
            Damage(str(stored), "the checksums are not as they were written"), unchanged=False
        )
    damage = compare(path, content["files"][path.name]) if content else None
    written = _has_log(path)
    if content and damage is None and not written:
        return DatabaseState(None, unchanged=True)
    uri = f"{path.absolute().as_uri()}?mode=ro{'' if written else '&immutable=1'}"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            stamp = _stamp(connection)
            wrong = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except (sqlite3.Error, ValueError) as error:
        return DatabaseState(damage or Damage(str(path), f"it cannot be read ({error})"), unchanged=False)
    if content and damage is not None and stamp == content["stamp"]:
        return DatabaseState(damage, unchanged=False)
    if wrong != "ok":
        return DatabaseState(Damage(str(path), f"its structure is damaged ({wrong})"), unchanged=False)
    return DatabaseState(None, unchanged=False)


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return log.is_file() and log.stat().st_size > 0


def new_stamp() -> tuple[str, str]:
    """Return a mark of one write, and its digest."""
    import secrets

    token = secrets.token_hex(16)
    return token, _proof(token)


def _proof(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _stamp(connection: sqlite3.Connection) -> str:
    """Return the mark of the last write; ValueError where it is damaged."""
    row = connection.execute("SELECT token, proof FROM written").fetchone()
    if row is None:
        return ""
    token, proof = row
    if not isinstance(token, str) or _proof(token) != proof:
        raise ValueError("the mark of its last write is damaged")
    return token
