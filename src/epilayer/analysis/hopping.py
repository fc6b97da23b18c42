"""How ions move, not only how far: van Hove functions, non-Gaussian parameter, hops and waiting times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from epilayer.model.units import Dimensionless


@dataclass(frozen=True)
class VanHove:
    """The distribution of displacements over one lag.

    Parameters
    ----------
    radius_ang
        (n_bins,) middle of each bin, Angstrom.
    density_per_ang
        (n_bins,) 4 pi r^2 G_s(r, t); integrates to one.
    non_gaussian
        3 <r^4> / (5 <r^2>^2) - 1: zero for free diffusion.
    """

    lag_ps: float
    radius_ang: NDArray[np.float64]
    density_per_ang: NDArray[np.float64]
    non_gaussian: Dimensionless


@dataclass(frozen=True)
class HopStatistics:
    """Moves by one hop length, each counted from where the last one ended.

    Parameters
    ----------
    hops
        Number of moves, all ions together.
    per_ion
        (n_ions,) the same by ion.
    rate_per_ps, rate_interval_per_ps
        Hops per ion and ps, and the 95 % interval of a Poisson process.
    waiting_times_ps
        Times between one ion's consecutive hops.
    return_share
        Share of hops that end within half a hop length of where the last but one started; ``None``
        without consecutive hops. Back-and-forth hops carry no diffusion.
    """

    hops: int
    per_ion: NDArray[np.int64]
    rate_per_ps: float
    rate_interval_per_ps: tuple[float, float]
    waiting_times_ps: NDArray[np.float64]
    return_share: float | None


def van_hove(
    tracks_ang: NDArray[np.float64], lag: int, time_step_ps: float, *, bin_ang: float = 0.1
) -> VanHove:
    """Return the self part of the van Hove function over one lag, all time origins.

    Parameters
    ----------
    tracks_ang
        (n_frames, n_ions, 3) unwrapped, Angstrom.
    lag
        Frames.
    time_step_ps
        Time between frames, ps.
    bin_ang
        Resolution, Angstrom.
    """
    if not 0 < lag < len(tracks_ang):
        raise InputError(
            f"A lag of {lag} frames does not fit a trajectory of {len(tracks_ang)}.", "Ask for a shorter one."
        )
    squares = ((tracks_ang[lag:] - tracks_ang[:-lag]) ** 2).sum(axis=2)
    distances = np.sqrt(squares)
    edges = np.arange(0.0, distances.max(initial=0.0) + 2 * bin_ang, bin_ang)
    density, _ = np.histogram(distances, edges, density=True)
    mean = float(squares.mean())
    parameter = 0.6 * float((squares**2).mean()) / mean**2 - 1.0 if mean > 0 else 0.0
    return VanHove(lag * time_step_ps, 0.5 * (edges[1:] + edges[:-1]), density, parameter)


def hop_statistics(
    tracks_ang: NDArray[np.float64],
    time_step_ps: float,
    *,
    hop_length_ang: float = 3.0,
    smooth_ps: float = 0.2,
) -> HopStatistics:
    """Count hops: an ion hops when its smoothed position is one hop length from where it last hopped to.

    Parameters
    ----------
    tracks_ang
        (n_frames, n_ions, 3) unwrapped, Angstrom.
    time_step_ps
        Time between frames, ps.
    hop_length_ang
        Distance between sites, Angstrom.
    smooth_ps
        Vibrations faster than this are averaged away, ps.
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.stats import chi2

    window = max(1, round(smooth_ps / time_step_ps))
    smooth = uniform_filter1d(tracks_ang, window, axis=0, mode="nearest")
    n_frames, n_ions = smooth.shape[:2]
    per_ion = np.zeros(n_ions, np.int64)
    waits: list[float] = []
    returned = followed = 0
    # Leaving the last place by most of a hop is what counts: a site is not a point.
    reach = 0.8 * hop_length_ang
    for ion in range(n_ions):
        track = smooth[:, ion]
        place, before, when = track[0], None, None
        at = 0
        while at < n_frames:
            away = np.flatnonzero(((track[at:] - place) ** 2).sum(axis=1) > reach**2)
            if not len(away):
                break
            at += int(away[0])
            arrived = track[min(at + window, n_frames - 1)]  # the crossing itself is only most of the way
            per_ion[ion] += 1
            if when is not None:
                waits.append((at - when) * time_step_ps)
            if before is not None:
                followed += 1
                returned += bool(((arrived - before) ** 2).sum() < (0.5 * hop_length_ang) ** 2)
            place, before, when = arrived, place, at
    total = int(per_ion.sum())
    exposure_ps = n_ions * (n_frames - 1) * time_step_ps
    low = float(chi2.ppf(0.025, 2 * total) / 2) if total else 0.0
    high = float(chi2.ppf(0.975, 2 * total + 2) / 2)
    return HopStatistics(
        total,
        per_ion,
        total / exposure_ps,
        (low / exposure_ps, high / exposure_ps),
        np.array(waits),
        returned / followed if followed else None,
    )
