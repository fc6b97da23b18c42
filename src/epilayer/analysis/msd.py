"""Mean-squared displacements over all time origins, by fast Fourier transform."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH_BYTES = 1 << 21


def mean_squared_displacement(tracks_ang: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the MSD averaged over particles and all time origins.

    The sum over origins splits into running sums of squares and an autocorrelation
    (doi 10.1051/sfn/201112010). The power spectra of all particles are added before the one inverse
    transform, which is what makes it fast; positions are taken from each track's mean first, which is
    what keeps the digits.

    Parameters
    ----------
    tracks_ang
        (n_frames, n_particles, 3) unwrapped, Angstrom.

    Returns
    -------
    (n_frames,) MSD, Angstrom^2, at lags of 0, 1, 2, ... frames.
    """
    result: NDArray[np.float64] = cross_displacement(tracks_ang, tracks_ang) / tracks_ang.shape[1]
    return result


def cross_displacement(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sum over particles of <dr_first . dr_second> at every lag, all origins.

    Parameters
    ----------
    first, second
        (n_frames, n, 3) tracks of the same particles, Angstrom.

    Returns
    -------
    (n_frames,) Angstrom^2.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    frames, particles = first.shape[:2]
    size = next_fast_len(2 * frames, real=True)
    same = first is second
    power = np.zeros(size // 2 + 1)
    products = np.zeros(frames)
    batch = max(1, _BATCH_BYTES // (24 * frames))
    for start in range(0, particles, batch):
        a = _centred(first[:, start : start + batch])
        b = a if same else _centred(second[:, start : start + batch])
        products += np.einsum("sf,sf->f", a, b)
        fa = rfft(a, size, axis=1)
        if same:
            power += np.einsum("sf,sf->f", fa.real, fa.real) + np.einsum("sf,sf->f", fa.imag, fa.imag)
        else:
            power += np.einsum("sf,sf->f", fa.conj(), rfft(b, size, axis=1)).real
    # For a cross term the real part of the spectrum is the mean of both directions of the lag, which is
    # what (a(t+m)-a(t)).(b(t+m)-b(t)) contains.
    correlation = irfft(power, size)[:frames]
    head, tail = np.cumsum(products), np.cumsum(products[::-1])
    # Origins t and ends t + m run over all frames but the last m, and all but the first m.
    squares = head[::-1] + tail[::-1]
    counts = np.arange(frames, 0, -1)
    result: NDArray[np.float64] = (squares - 2.0 * correlation) / counts
    result[0] = 0.0
    return result


def _centred(tracks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n_particles * 3, n_frames), each row about its mean."""
    rows = np.ascontiguousarray(tracks.reshape(len(tracks), -1).T)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows


def slope_over_window(
    msd_ang2: NDArray[np.float64], time_step_ps: float, window_ps: tuple[float, float]
) -> tuple[float, float]:
    """Fit a straight line to an MSD over a window, every lag with equal weight.

    Parameters
    ----------
    msd_ang2
        (n_lags,) MSD, Angstrom^2, at lags of 0, 1, ... time steps.
    time_step_ps
        Time between lags, ps.
    window_ps
        First and last lag, ps.

    Returns
    -------
    (slope / 6, intercept) in Angstrom^2/ps and Angstrom^2.
    """
    first = max(1, round(window_ps[0] / time_step_ps))
    last = min(len(msd_ang2) - 1, max(first + 1, round(window_ps[1] / time_step_ps)))
    lags = np.arange(min(first, last - 1), last + 1)
    slope, intercept = np.polyfit(lags * time_step_ps, msd_ang2[lags], 1)
    return float(slope) / 6.0, float(intercept)
