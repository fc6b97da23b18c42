"""Stability of a simulation: temperature and energy drift of every segment of a run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

_FEWEST_FRAMES = 4
_BLOCKS = 10


@dataclass(frozen=True)
class SegmentDrift:
    """Means and trends over one segment.

    Parameters
    ----------
    frames
        Number of frames.
    temperature_k, temperature_error_k
        Mean, and its standard error from ten blocks; NaN where the source has no temperatures.
    energy_drift_mev_per_atom_ps
        Slope of the energy by least squares.
    energy_drift_error_mev_per_atom_ps
        Its standard error, from the spread of the ten block means about the line.
    """

    frames: int
    temperature_k: float
    temperature_error_k: float
    energy_drift_mev_per_atom_ps: float
    energy_drift_error_mev_per_atom_ps: float


def segment_drifts(
    times_fs: ArrayLike,
    temperatures_k: ArrayLike,
    energies_ev: ArrayLike,
    n_atoms: int,
    starts: Sequence[int] = (0,),
) -> list[SegmentDrift]:
    """Return temperature and energy drift of every segment.

    Parameters
    ----------
    times_fs, temperatures_k, energies_ev
        (n_frames,) times in fs, temperatures in K, energies in eV; for a conserved quantity pass that.
    n_atoms
        The drift is per atom.
    starts
        First frame of each segment.

    Raises
    ------
    InputError
        If segments are out of order, or one has fewer than four frames.
    """
    columns = [np.asarray(column, np.float64) for column in (times_fs, temperatures_k, energies_ev)]
    bounds = [*starts, len(columns[0])]
    if any(b - a < _FEWEST_FRAMES for a, b in pairwise(bounds)):
        raise InputError(
            f"Segments that start at {list(starts)} of {bounds[-1]} frames leave fewer than "
            f"{_FEWEST_FRAMES} to one.",
            "Give the first frame of each segment, in order.",
        )
    times, warm, energies = columns
    return [_one(times[a:b], warm[a:b], energies[a:b], n_atoms) for a, b in pairwise(bounds)]


def _one(
    times_fs: NDArray[np.float64],
    temperatures_k: NDArray[np.float64],
    energies_ev: NDArray[np.float64],
    n_atoms: int,
) -> SegmentDrift:
    blocks = min(_BLOCKS, len(times_fs))
    times_ps = (times_fs - times_fs.mean()) * 1e-3
    per_atom_mev = (energies_ev - energies_ev.mean()) * 1e3 / n_atoms
    slope = float(times_ps @ per_atom_mev / (times_ps @ times_ps))
    mean_times = np.array([part.mean() for part in np.array_split(times_ps, blocks)])
    left = np.array([part.mean() for part in np.array_split(per_atom_mev - slope * times_ps, blocks)])
    error = float(np.sqrt(left @ left / (blocks - 2) / (mean_times @ mean_times)))
    warm = np.array([part.mean() for part in np.array_split(temperatures_k, blocks)])
    return SegmentDrift(
        len(times_fs),
        float(temperatures_k.mean()),
        float(warm.std(ddof=1) / np.sqrt(blocks)),
        slope,
        error,
    )
