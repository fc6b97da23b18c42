"""What every reader yields and the store keeps: a header, then blocks of consecutive frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

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
