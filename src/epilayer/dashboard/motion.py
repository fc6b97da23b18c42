"""What a transport record's trajectories show: displacements with the window of the fit, and who is near."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from epilayer.analysis.loaded import HOST, Loaded, Run, pair_distributions, tracks_of
from epilayer.analysis.msd import mean_squared_displacement
from epilayer.dashboard.curves import Curve
from epilayer.model.dynamics import ABOUT
from epilayer.model.errors import StoreError
from epilayer.model.transport import Verdict
from epilayer.report import canvas, style
from epilayer.trajectory.log import open_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from epilayer.analysis.solvation import RadialDistribution
    from epilayer.model.dynamics import FileReference
    from epilayer.model.ion_transport import IonTransport
    from epilayer.model.transport import DiffusionEstimate

#: Frames of all replicas that a figure is made of; a longer run is thinned evenly.
_MOST_FRAMES: Final = 3000
_MOST_PARTNERS: Final = 5
_ANG2_PER_PS: Final = 1e4  # one cm^2/s
_HEIGHT_IN: Final = 2.9


@dataclass(frozen=True)
class Motion:
    """What the frames of all replicas say.

    Parameters
    ----------
    lag_ps
        (n_lags,) of the displacements.
    msd_ang2
        By species: (n_carriers, n_lags) mean squared displacement of each carrier, all time origins.
    pairs
        Pair distribution of the cation by partner.
    """

    lag_ps: NDArray[np.float64]
    msd_ang2: Mapping[str, NDArray[np.float64]]
    pairs: Mapping[str, RadialDistribution]


def read_motion(record: IonTransport, find: Callable[[str], Path | None]) -> Motion:
    """Read the trajectories of a record and analyse them as the record's own analysis did.

    Parameters
    ----------
    find
        Returns the file of the study that a path names; ``None`` where there is none.

    Raises
    ------
    StoreError
        If a trajectory, or the note beside it that names the molecules, is gone or was changed.
    """
    known = [_located(reference, find) for reference in record.trajectories]
    about = _about(known[0], find)
    every = max(1, -(-len(known) * record.frames // _MOST_FRAMES))
    first = -(-record.equilibration_steps // record.settings.frame_every)
    step_fs = record.settings.time_step_fs * record.settings.frame_every * every
    runs, headers = [], []
    for reference in known:
        with open_reference(reference) as stored:
            positions = stored.positions(start=first, every=every)
            runs.append(Run(positions, stored.frame(0).cells_ang[0], step_fs))
            headers.append(stored.header)
    species = {e.species: 1.0 if e.species == record.cation else -1.0 for e in record.report.diffusion}
    molecule = tuple(int(number) for number in about["molecules"])
    names = tuple(
        HOST if number == 0 else str(name) for number, name in zip(molecule, about["names"], strict=True)
    )
    loaded = Loaded(headers[0].symbols, headers[0].masses_amu, molecule, names, species)
    tracks = tracks_of(loaded, runs, tuple(species))
    msd = {
        name: np.array([mean_squared_displacement(track[:, [k]]) for k in range(track.shape[1])])
        for name, track in tracks.items()
    }
    frames = min(len(run.positions_ang) for run in runs)
    return Motion(np.arange(frames, dtype=np.float64) * step_fs * 1e-3, msd, pair_distributions(loaded, runs))


def _located(reference: FileReference, find: Callable[[str], Path | None]) -> FileReference:
    path = find(reference.path)
    if path is None:
        raise StoreError(
            f"The trajectory {reference.path} is not among the files of this study.",
            "Restore it there, or look at it where it is: epilayer analyse transport FILE.",
        )
    return reference.model_copy(update={"path": str(path)})


def _about(reference: FileReference, find: Callable[[str], Path | None]) -> dict[str, Any]:
    path = find(reference.path.rpartition("/")[0] + f"/{ABOUT}")
    about: dict[str, Any] = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    if not about.get("molecules") or not about.get("names"):
        raise StoreError(
            f"{ABOUT} beside the trajectory does not say which atoms are which molecule.",
            "Restore it, or run the trajectory again.",
        )
    return about


def displacement_figure(record: IonTransport, motion: Callable[[], Motion]) -> bytes:
    """Draw the MSD of each species with the lag times of the fit and the interval of D over them.

    The thick line is the mean over the carriers and all time origins, up to half the length of the run;
    a thin line is one carrier. Over the window that the analysis chose, the wedge is 6 D t for the 95 %
    interval of D; an upper bound alone is a dashed line.
    """
    seen = motion()
    half = max(2, len(seen.lag_ps) // 2 + 1)
    lag = seen.lag_ps[1:half]
    with canvas.new_figure(style.COLUMN_IN, _HEIGHT_IN) as figure:
        axes = figure.add_axes((0.155, 0.42 / _HEIGHT_IN, 0.825, 1 - 0.82 / _HEIGHT_IN))
        axes.set(xscale="log", yscale="log")
        for number, estimate in enumerate(record.report.diffusion):
            each = seen.msd_ang2[estimate.species][:, 1:half]
            colour = style.SERIES[number % len(style.SERIES)]
            if len(each) > 1:
                axes.plot(lag, each.T, color=colour, lw=0.5, alpha=0.45)
            axes.plot(lag, each.mean(axis=0), color=colour, label=estimate.species)
            _wedge(axes, estimate, colour)
        axes.set_xlabel("lag time, ps", loc="left")
        axes.set_ylabel("mean squared displacement, Å²")
        for axis in (axes.xaxis, axes.yaxis):
            canvas.label_decades(axis)
        axes.tick_params(axis="y", labelsize=style.SMALL_PT)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, handlelength=1.2, columnspacing=1)
        return canvas.save(figure, "svg")


def _wedge(axes: Axes, estimate: DiffusionEstimate, colour: str) -> None:
    window, low, high = estimate.window_ps, estimate.lower_cm2_per_s, estimate.upper_cm2_per_s
    if window is None or estimate.verdict is Verdict.REFUSED:
        return
    ends = np.array(window)
    if low is not None and high is not None:
        axes.fill_between(
            ends,
            6 * low * _ANG2_PER_PS * ends,
            6 * high * _ANG2_PER_PS * ends,
            color=colour,
            alpha=0.22,
            lw=0,
        )
    elif high is not None:
        axes.plot(ends, 6 * high * _ANG2_PER_PS * ends, color=colour, lw=1.0, ls=style.DASHED)


def describe_displacement(record: IonTransport) -> str:
    """Return in words what :func:`displacement_figure` shows."""
    parts = []
    for e in record.report.diffusion:
        window = "no window of the fit" if e.window_ps is None else _window(e.window_ps)
        parts.append(f"{e.species}, {window}, {e.verdict.value}")
    return (
        f"Mean squared displacement against lag time, both logarithmic: {'; '.join(parts)}. Thick: mean; "
        "thin: each carrier; band: 6 D t over the 95 % interval of D, dashed where only an upper bound is."
    )


def _window(window_ps: tuple[float, float]) -> str:
    return f"fitted over {window_ps[0]:.3g} to {window_ps[1]:.3g} ps"


def neighbour_figure(record: IonTransport, motion: Callable[[], Motion]) -> bytes:
    """Draw pair distribution and running coordination of the cation with its most frequent neighbours."""
    pairs = motion().pairs
    cutoff = record.solvation.cutoff_ang
    with canvas.new_figure(style.COLUMN_IN, _HEIGHT_IN) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        figure.subplots_adjust(
            left=0.155, right=0.98, bottom=0.42 / _HEIGHT_IN, top=1 - 0.42 / _HEIGHT_IN, hspace=0.12
        )
        for number, name in enumerate(_nearest(record)):
            found, colour = pairs[name], style.SERIES[number % len(style.SERIES)]
            upper.plot(found.radius_ang, found.g, color=colour, lw=1.1, label=name)
            lower.plot(found.radius_ang, found.coordination, color=colour, lw=1.1)
        for axes in (upper, lower):
            axes.axvline(cutoff, color=style.MUTED, lw=0.9, ls=style.DASHED, zorder=0)
            axes.tick_params(axis="y", labelsize=style.SMALL_PT)
        upper.axhline(1, color=style.RULE, lw=0.8, zorder=0)
        upper.set_ylabel("g(r)")
        upper.set_ylim(bottom=0)
        within = max(
            (float(np.interp(cutoff, p.radius_ang, p.coordination)) for p in pairs.values()), default=1
        )
        lower.set(xlabel=f"distance from {record.cation}, Å", ylabel="neighbours", xlim=(1, None))
        lower.set_ylim(0, 1.6 * max(within, 1.0))
        upper.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=3, handlelength=1, columnspacing=0.9
        )
        figure.align_ylabels()
        return canvas.save(figure, "svg")


def _nearest(record: IonTransport) -> list[str]:
    """Return the partners that most neighbours in the first shell are, by element and molecule."""
    mean = record.solvation.mean
    ranked = sorted((name for name, number in mean.items() if number > 0), key=lambda name: -mean[name])
    return ranked[:_MOST_PARTNERS]


def describe_neighbours(record: IonTransport) -> str:
    """Return in words what :func:`neighbour_figure` shows."""
    near = "; ".join(f"{name} {record.solvation.mean[name]:.2f}" for name in _nearest(record))
    return (
        f"Above: how often a neighbour of {record.cation} is met at a distance, over its mean density; "
        f"below: how many there are within it. Dashed: {record.solvation.cutoff_ang:.2f} Å, the end of "
        f"the first shell ({record.solvation.cutoff_source}). Mean neighbours there: {near or 'none'}."
    )


def motion_curves(record: IonTransport, find: Callable[[str], Path | None]) -> dict[str, Curve]:
    """Return the figures of a record's trajectories, which are read when the first of them is drawn."""
    motion = _Once(partial(read_motion, record, find))
    return {
        "msd": Curve(
            "Mean squared displacement",
            describe_displacement(record),
            partial(displacement_figure, record, motion),
        ),
        "rdf": Curve("Neighbours", describe_neighbours(record), partial(neighbour_figure, record, motion)),
    }


class _Once:
    """Reads when it is first asked, whichever thread asks, and keeps what it read."""

    def __init__(self, read: Callable[[], Motion]) -> None:
        self._read, self._lock = read, threading.Lock()
        self._found: Motion | None = None

    def __call__(self) -> Motion:
        with self._lock:
            if self._found is None:
                self._found = self._read()
            return self._found
