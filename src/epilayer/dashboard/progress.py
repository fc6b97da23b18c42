"""A trajectory as far as it is: temperature and energy by time, drawn from the file that still grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from epilayer.dashboard.phrases import number
from epilayer.report import canvas, style
from epilayer.trajectory.store import Trajectory

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_MOST_POINTS: Final = 1500
_HEIGHT_IN: Final = 2.6
_WIDTH_IN: Final = 4.4
_EACH: Final = 40


def _columns(path: Path) -> tuple[NDArray[np.float64], str, NDArray[np.float64], NDArray[np.float64]]:
    """Return time (or step) and its name, temperature and energy since the start."""
    with Trajectory(path) as stored:
        times_fs = stored.times_fs()
        warm, energies_ev = stored.temperatures_k(), stored.energies_ev()
        steps = stored.steps().astype(np.float64)
    every = max(1, len(steps) // _MOST_POINTS)
    along = steps if times_fs is None else times_fs * 1e-3
    name = "step" if times_fs is None else "time, ps"
    since = energies_ev - (energies_ev[0] if len(energies_ev) else 0.0)
    return along[::every], name, warm[::every], since[::every]


def progress_figure(path: Path) -> bytes:
    """Draw temperature, with its running mean, and potential energy since the start, against time."""
    along, name, warm_k, since_ev = _columns(path)
    with canvas.new_figure(_WIDTH_IN, _HEIGHT_IN) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        figure.subplots_adjust(left=0.13, right=0.98, bottom=0.17, top=0.97, hspace=0.14)
        upper.plot(along, warm_k, color=style.SERIES[1], lw=0.7, alpha=0.7)
        if len(warm_k) > 2 * _EACH:
            mean = np.convolve(warm_k, np.full(_EACH, 1 / _EACH), mode="valid")
            upper.plot(along[_EACH - 1 :], mean, color=style.INK, lw=1.1)
        lower.plot(along, since_ev, color=style.SERIES[0], lw=0.9)
        lower.axhline(0, color=style.RULE, lw=0.8, zorder=0)
        upper.set_ylabel("temperature, K")
        lower.set_ylabel("E \N{MINUS SIGN} E(start), eV")
        lower.set_xlabel(name, loc="left")
        for axes in (upper, lower):
            axes.yaxis.label.set_size(style.SMALL_PT)
            axes.tick_params(axis="y", labelsize=style.SMALL_PT)
        figure.align_ylabels()
        return canvas.save(figure, "svg")


def describe_progress(path: Path) -> str:
    """Return in words what :func:`progress_figure` shows."""
    along, name, warm_k, since_ev = _columns(path)
    known = warm_k[np.isfinite(warm_k)]
    if not len(along) or not len(known):
        return "No frame yet."
    what, _, unit = name.partition(",")
    return (
        f"Temperature (thin; thick: mean of {_EACH} points) and potential energy since the start against "
        f"{what}, up to {number(float(along[-1]))}{unit}: {known.mean():.0f} K on average, "
        f"{since_ev[-1]:+.2f} eV."
    ).replace("-", "\N{MINUS SIGN}")
