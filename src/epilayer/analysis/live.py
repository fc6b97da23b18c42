"""Progress, mobility and warnings of a trajectory that is still being written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from epilayer.analysis.displacements import unwrap
from epilayer.analysis.integrity import BondWatch
from epilayer.analysis.msd import mean_squared_displacement
from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from epilayer.analysis.integrity import BondChange

_HOT = 1.5
_SURELY = 6.0
"""Standard deviations of the canonical temperature, beyond which it is no fluctuation."""
_STILL_ANG = 1e-4
_RECENT = 10
_PERSISTS = 0.5
"""Share of the last frames in which a bond must be changed: a stretch is no break."""


@dataclass(frozen=True)
class Warned:
    """A warning about a running trajectory.

    Parameters
    ----------
    kind
        What it is.
    text
        One line with the numbers.
    """

    kind: Literal["exploding", "frozen", "broken guest", "reaction", "silent"]
    text: str


@dataclass(frozen=True)
class Temperatures:
    """Temperatures of the last frames, and what they should be.

    Parameters
    ----------
    recent_k
        (n_frames,) of the last frames, K; NaN where not known.
    wanted_k
        The thermostat's temperature, K.
    degrees_of_freedom
        Of the temperature: how far it may fluctuate.
    """

    recent_k: NDArray[np.float64]
    wanted_k: float | None
    degrees_of_freedom: int | None


def mobility(
    positions: NDArray[np.float64],
    cell_ang: NDArray[np.float64],
    coordinates: Literal["fractional", "cartesian"],
    names: Sequence[str],
    free: NDArray[np.bool_],
) -> dict[str, float]:
    """Return the mean squared displacement at half the time so far, all origins, Angstrom^2, by name.

    Parameters
    ----------
    positions
        (n_frames, n_atoms, 3), evenly spaced in time.
    cell_ang
        (3, 3) cell vectors as rows, Angstrom.
    coordinates
        What ``positions`` are.
    names
        (n_atoms,) what each atom counts as.
    free
        (n_atoms,) which atoms move; what does not is left out.
    """
    if len(positions) < 2:  # noqa: PLR2004  (a displacement takes two)
        return {}
    tracks = unwrap(positions, cell_ang, coordinates=coordinates)
    every = np.asarray(names)
    return {
        name: float(mean_squared_displacement(tracks[:, (every == name) & free])[len(tracks) // 2])
        for name in dict.fromkeys(every[free].tolist())
    }


def warnings_of(
    recent_ang: NDArray[np.float64],
    start_ang: NDArray[np.float64],
    cell_ang: NDArray[np.float64],
    symbols: Sequence[str],
    temperatures: Temperatures,
    *,
    free: NDArray[np.bool_],
    molecules: Sequence[int] | None,
) -> list[Warned]:
    """Return what is wrong in the last frames.

    Parameters
    ----------
    recent_ang
        (n_frames, n_atoms, 3) cartesian positions of the last frames, Angstrom.
    start_ang
        (n_atoms, 3) of the first frame: what was bonded then is to be bonded now.
    cell_ang
        (3, 3), Angstrom.
    temperatures
        Of the last frames.
    free
        (n_atoms,) which atoms move.
    molecules
        (n_atoms,) number of each atom's molecule, where known.
    """
    if not len(recent_ang):
        raise InputError("The trajectory has no frame yet.", "Wait for the first one.")
    found = []
    warm = temperatures.recent_k[np.isfinite(temperatures.recent_k)]
    wanted_k, freedom = temperatures.wanted_k, temperatures.degrees_of_freedom
    if wanted_k and len(warm):
        spread = np.sqrt(2.0 / freedom) if freedom else 0.1
        if warm.mean() > wanted_k * max(_HOT, 1.0 + _SURELY * spread):
            text = f"{warm.mean():.0f} K over the last {len(warm)} frames, {wanted_k:.0f} K wanted."
            found.append(Warned("exploding", text))
    moved_ang = np.linalg.norm(np.ptp(recent_ang, axis=0), axis=1)[free]
    if len(recent_ang) > 1 and moved_ang.max(initial=0.0) < _STILL_ANG:
        found.append(Warned("frozen", f"No atom moved by {_STILL_ANG:g} A in {len(recent_ang)} frames."))
    return found + _bond_warnings(recent_ang, start_ang, cell_ang, symbols, molecules)


def _bond_warnings(
    recent_ang: NDArray[np.float64],
    start_ang: NDArray[np.float64],
    cell_ang: NDArray[np.float64],
    symbols: Sequence[str],
    molecules: Sequence[int] | None,
) -> list[Warned]:
    watch = BondWatch(symbols, start_ang, cell_ang)
    last = recent_ang[-_RECENT:]
    counted: dict[tuple[int, int], int] = {}
    latest: Mapping[tuple[int, int], BondChange] = {}
    for frame in last:
        latest = {(c.first, c.second): c for c in watch.changes(frame)}
        for pair in latest:
            counted[pair] = counted.get(pair, 0) + 1
    return [
        Warned(_kind(change, molecules), watch.describe(change))
        for pair, change in latest.items()
        if counted[pair] > _PERSISTS * len(last)
    ]


def _kind(change: BondChange, molecules: Sequence[int] | None) -> Literal["broken guest", "reaction"]:
    if change.formed:
        return "reaction"
    host = molecules is not None and molecules[change.first] == 0
    return "reaction" if host else "broken guest"
