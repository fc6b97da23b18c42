"""Solvation of an ion: RDF, running coordination, shell census, residence times."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import ArrayLike, NDArray

    from epilayer.model.units import Dimensionless

_BLOCK_VALUES = 1 << 20
_CONFIDENCE_TAIL = 0.025
_SMOOTH_ANG = 0.08
_CLEAR_PEAK = 1.3  # g of a first shell; below it a liquid has none to speak of
_PAST_PEAK = 0.75
_CLOSEST_ANG = 0.7  # no two nuclei come closer than in H2


@dataclass(frozen=True)
class RadialDistribution:
    """A pair distribution and what it integrates to.

    Parameters
    ----------
    radius_ang
        (n_bins,) middle of each bin, Angstrom.
    g
        (n_bins,) density of partners over their mean density.
    coordination
        (n_bins,) partners within the outer edge of each bin, per centre.
    first_peak_ang, first_minimum_ang
        Highest point of the first shell, and the end of that shell; ``None`` where there is none.
    coordination_number
        Partners up to the first minimum.
    """

    radius_ang: NDArray[np.float64]
    g: NDArray[np.float64]
    coordination: NDArray[np.float64]
    first_peak_ang: float | None
    first_minimum_ang: float | None
    coordination_number: Dimensionless | None


@dataclass(frozen=True)
class ShellCensus:
    """How often each composition of the first shell is met.

    Parameters
    ----------
    groups
        Names of the kinds of neighbours.
    mean
        Mean number of neighbours of each kind.
    shares
        Share of (ion, frame) with each composition, most frequent first.
    """

    groups: tuple[str, ...]
    mean: dict[str, float]
    shares: dict[tuple[int, ...], float]


@dataclass(frozen=True)
class ResidenceTime:
    """How long a neighbour stays.

    Parameters
    ----------
    mean_ps
        Time spent bound per departure seen; ``None`` where none was.
    lower_ps, upper_ps
        95 % interval for departures at random (exact for a Poisson process); no upper end without a
        departure.
    departures
        Departures seen; stays cut off by the end of the trajectory count their time, not a departure.
    """

    mean_ps: float | None
    lower_ps: float | None
    upper_ps: float | None
    departures: int


def radial_distribution(
    positions_frac: NDArray[np.float64],
    cells_ang: ArrayLike,
    centres: ArrayLike,
    partners: ArrayLike,
    *,
    furthest_ang: float = 6.0,
    bin_ang: float = 0.05,
) -> RadialDistribution:
    """Return the pair distribution of partners around centres.

    Parameters
    ----------
    positions_frac
        (n_frames, n_atoms, 3) fractional coordinates, wrapped or not.
    cells_ang
        (3, 3) or (n_frames, 3, 3) cell vectors as rows, Angstrom.
    centres, partners
        Atom indices; an atom is no partner of itself.
    furthest_ang, bin_ang
        Range and resolution, Angstrom.

    Raises
    ------
    InputError
        If the range is more than half the cell, or a set is empty.
    """
    edges = np.arange(0.0, furthest_ang + bin_ang / 2, bin_ang)
    counts = np.zeros(len(edges) - 1)
    density, n_frames = 0.0, len(positions_frac)
    here, there = _indices(centres, partners)
    pairs = len(here) * len(there) - len(np.intersect1d(here, there))
    for distances, cells in _distances(positions_frac, cells_ang, here, there, edges[-1]):
        counts += np.histogram(distances, edges)[0]
        density += float((pairs / len(here) / np.abs(np.linalg.det(cells))).sum())
    density /= n_frames
    per_centre = counts / (n_frames * len(here))
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    g = per_centre / (shells * density)
    coordination = np.cumsum(per_centre)
    radius = 0.5 * (edges[1:] + edges[:-1])
    peak, minimum = _first_shell(g, bin_ang)
    return RadialDistribution(
        radius,
        g,
        coordination,
        None if peak is None else float(radius[peak]),
        None if minimum is None else float(radius[minimum]),
        None if minimum is None else float(coordination[minimum]),
    )


def _first_shell(g: NDArray[np.float64], bin_ang: float) -> tuple[int | None, int | None]:
    """Return the bins of the first peak and of the minimum behind it, on a lightly smoothed curve.

    The peak is the top of the first hill that stands clear of the mean density; the minimum is the
    lowest point before the curve has climbed again by a seventh of the way back up.
    """
    from scipy.ndimage import gaussian_filter1d

    smooth = gaussian_filter1d(g, max(1.0, _SMOOTH_ANG / bin_ang), mode="nearest")
    smooth[: round(_CLOSEST_ANG / bin_ang)] = 0.0  # bins so small that one pair makes a peak
    hills = np.flatnonzero(smooth > _CLEAR_PEAK)
    if not len(hills):
        return None, None
    peak = int(hills[0])
    for k in range(peak, len(smooth)):
        if smooth[k] > smooth[peak]:
            peak = k
        elif smooth[k] < _PAST_PEAK * smooth[peak]:
            break
    lowest = peak
    for k in range(peak, len(smooth)):
        if smooth[k] < smooth[lowest]:
            lowest = k
        elif smooth[k] - smooth[lowest] > (smooth[peak] - smooth[lowest]) / 7.0:
            # A gap between shells is flat: its middle is the least arbitrary end of the shell.
            flat = np.flatnonzero(smooth[lowest:k] <= smooth[lowest] + 1e-3)
            return peak, lowest + int(flat[len(flat) // 2])
    return peak, None


def shell_census(
    positions_frac: NDArray[np.float64],
    cells_ang: ArrayLike,
    centres: ArrayLike,
    groups: Mapping[str, tuple[ArrayLike, float]],
) -> ShellCensus:
    """Count the compositions of the first shell.

    Parameters
    ----------
    positions_frac, cells_ang, centres
        As in :func:`radial_distribution`.
    groups
        For each kind of neighbour: its atom indices, and the end of the shell, Angstrom (usually the
        first minimum of its RDF).
    """
    names = tuple(groups)
    numbers = [neighbours(positions_frac, cells_ang, centres, *groups[name]).sum(axis=2) for name in names]
    table = np.stack(numbers, axis=-1).reshape(-1, len(names))
    counted = Counter(map(tuple, table.tolist()))
    return ShellCensus(
        names,
        {name: float(table[:, i].mean()) for i, name in enumerate(names)},
        {key: number / len(table) for key, number in counted.most_common()},
    )


def neighbours(
    positions_frac: NDArray[np.float64],
    cells_ang: ArrayLike,
    centres: ArrayLike,
    partners: ArrayLike,
    cutoff_ang: float,
) -> NDArray[np.bool_]:
    """Return (n_frames, n_centres, n_partners): whether a partner is within the cutoff of a centre."""
    here, there = _indices(centres, partners)
    parts = [
        distances < cutoff_ang
        for distances, _ in _distances(positions_frac, cells_ang, here, there, cutoff_ang)
    ]
    return np.concatenate(parts)


def residence_time(bound: NDArray[np.bool_], time_step_ps: float) -> ResidenceTime:
    """Return how long neighbours stay.

    Parameters
    ----------
    bound
        (n_frames, ...) whether each pair is within the cutoff.
    time_step_ps
        Time between frames, ps.
    """
    from scipy.stats import chi2

    time_bound, departures = 0.0, 0
    for pair in bound.reshape(len(bound), -1).T:
        time_bound += float(pair[:-1].sum()) * time_step_ps
        departures += int((pair[:-1] & ~pair[1:]).sum())
    lower = upper = mean = None
    if time_bound > 0:
        lower = float(2.0 * time_bound / chi2.ppf(1.0 - _CONFIDENCE_TAIL, 2 * departures + 2))
        if departures:
            mean = time_bound / departures
            upper = float(2.0 * time_bound / chi2.ppf(_CONFIDENCE_TAIL, 2 * departures))
    return ResidenceTime(mean, lower, upper, departures)


def _indices(centres: ArrayLike, partners: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    here, there = np.asarray(centres, np.intp), np.asarray(partners, np.intp)
    if not len(here) or not len(there):
        raise InputError("A pair distribution needs centres and partners.", "Name species that are present.")
    return here, there


def _distances(
    positions_frac: NDArray[np.float64],
    cells_ang: ArrayLike,
    here: NDArray[np.intp],
    there: NDArray[np.intp],
    furthest_ang: float,
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield (distances (frames, centres, partners), cells) in blocks; infinite to an atom itself.

    Any vector shorter than half the smallest height of the cell has fractional components of at most a
    half, so rounding finds it for any cell angles.
    """
    cells = np.broadcast_to(np.asarray(cells_ang, np.float64), (len(positions_frac), 3, 3))
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cells), axis=1)
    if furthest_ang > 0.5 * heights.min() + 1e-9:
        raise InputError(
            f"Distances up to {furthest_ang:.2f} A were asked for in a cell {heights.min():.2f} A high.",
            f"Ask for at most {0.5 * heights.min():.2f} A.",
        )
    itself = here[:, None] == there[None, :]
    step = max(1, _BLOCK_VALUES // (3 * len(here) * len(there)))
    for start in range(0, len(positions_frac), step):
        part = slice(start, start + step)
        vectors = positions_frac[part][:, here, None, :] - positions_frac[part][:, None, there, :]
        vectors -= np.rint(vectors)
        cartesian = np.einsum("fabi,fij->fabj", vectors, cells[part])
        distances = np.sqrt((cartesian**2).sum(axis=-1))
        distances[:, itself] = np.inf
        yield distances, cells[part]
