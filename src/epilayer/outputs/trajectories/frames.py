"""What every reader yields and the store keeps: a header, then blocks of consecutive frames."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast

import numpy as np

from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_GZIP = b"\x1f\x8b"
Coordinates = Literal["fractional", "cartesian"]


@dataclass(frozen=True)
class Header:
    """What holds for every frame of a trajectory.

    Parameters
    ----------
    symbols
        One chemical symbol per atom, in the order of the positions.
    masses_amu
        (n_atoms,) atomic masses, u.
    coordinates
        Whether positions are fractional (VASP) or cartesian in Angstrom (ASE); kept as the
        source gave them, because a conversion would round.
    decimals
        Decimals of the fixed-point numbers in the source; ``None`` for binary floats.
    time_step_fs
        Time of one step, fs; ``None`` where the source does not say.
    """

    symbols: tuple[str, ...]
    masses_amu: tuple[float, ...]
    coordinates: Coordinates
    decimals: int | None
    time_step_fs: float | None

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.symbols)


@dataclass(frozen=True)
class Block:
    """Consecutive frames.

    Parameters
    ----------
    positions
        (n_frames, n_atoms, 3); integers in units of ``10**-decimals`` where the header states
        decimals, else float64.
    cells_ang
        (n_frames, 3, 3) cell vectors as rows, Angstrom.
    steps
        (n_frames,) step numbers of the simulation, strictly increasing.
    energies_ev
        (n_frames,) potential energy, eV; NaN where the source has none.
    temperatures_k
        (n_frames,) instantaneous temperature, K; NaN where the source has none.
    """

    positions: NDArray[np.int64] | NDArray[np.int32] | NDArray[np.float64]
    cells_ang: NDArray[np.float64]
    steps: NDArray[np.int64]
    energies_ev: NDArray[np.float64]
    temperatures_k: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.steps)


class Source(Protocol):
    """A reader: a header at once, then blocks in order, in constant memory."""

    path: Path
    format: str
    header: Header

    def blocks(self) -> Iterator[Block]:
        """Yield the frames in order."""
        ...

    def sha256(self) -> str:
        """Return the SHA-256 of the raw file; known once every block was read."""
        ...

    def with_floats(self) -> Source:
        """Return a fresh reader of the same file that yields float64."""
        ...


class NotFixedPointError(Exception):
    """Internal: the numbers do not fit the fixed point of the first frame; read them as floats."""


class HashedFile:
    """A binary file that is hashed as it streams by, and read through gzip where it is gzip."""

    def __init__(self, path: Path) -> None:
        import gzip

        self._hash = hashlib.sha256()
        try:
            self._raw = path.open("rb")
        except OSError as error:
            raise InputError(
                f"{path} cannot be read: {error.strerror}.", "Check the name and the permissions."
            ) from error
        magic = self._raw.read(2)
        self._raw.seek(0)
        self._stream = (
            gzip.GzipFile(mode="rb", fileobj=cast("BinaryIO", _Tee(self._raw, self._hash)))
            if magic == _GZIP
            else self._raw
        )
        self._plain = self._stream is self._raw
        self._path = path

    def read(self, size: int) -> bytes:
        """Return up to ``size`` decompressed bytes."""
        try:
            chunk = self._stream.read(size)
        except (EOFError, OSError) as error:
            raise InputError(
                f"{self._path} is a damaged gzip file: {error}.", "Copy it again from where it was made."
            ) from error
        if self._plain:
            self._hash.update(chunk)
        return chunk

    def finish(self) -> str:
        """Hash whatever was not read, close, and return the SHA-256 of the raw bytes."""
        if not self._raw.closed:
            while rest := self._raw.read(1 << 20):
                self._hash.update(rest)
            self._raw.close()
        return self._hash.hexdigest()


class _Tee:
    """Feeds a decompressor and a hash from one pass over the raw file."""

    def __init__(self, raw: BinaryIO, digest: hashlib._Hash) -> None:
        self._raw, self._digest = raw, digest

    def read(self, size: int = -1) -> bytes:
        chunk = self._raw.read(size)
        self._digest.update(chunk)
        return chunk


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def standard_masses_amu(symbols: tuple[str, ...], where: str) -> tuple[float, ...]:
    """Return the standard atomic mass of every symbol, u (IUPAC 2016, as ASE tabulates them)."""
    from ase.data import atomic_masses, atomic_numbers

    unknown = sorted(set(symbols) - set(atomic_numbers))
    if unknown:
        raise InputError(f"{where}: {unknown[0]!r} is not a chemical symbol.", "Correct the species line.")
    return tuple(float(atomic_masses[atomic_numbers[s]]) for s in symbols)


def empty_column(n_frames: int) -> NDArray[np.float64]:
    """Return a column of NaN: the source has no such quantity."""
    return np.full(n_frames, np.nan)
