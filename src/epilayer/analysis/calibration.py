"""Calibration of the bond strength index against LOBSTER's -ICOHP of imported runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from epilayer import __version__
from epilayer.model.calibration import BondCalibration
from epilayer.model.errors import InputError
from epilayer.model.records import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer.model.bonding import BondMeasure
    from epilayer.model.calibration import CalibrationPair

#: Below, the interval of a slope says more about luck than about bonds.
FEWEST_PAIRS: Final = 8
#: Pairs nearer than this in both numbers are one bond and its image by symmetry, eV.
_SAME_EV: Final = 1e-3
_TAIL: Final = 0.975


def calibrate(
    pairs: Sequence[CalibrationPair], *, measure: BondMeasure, program: str, stand_in: bool = False
) -> BondCalibration:
    """Fit -ICOHP against the index by least squares, for bonds between the same two elements.

    Bonds that symmetry makes the same count once. A slope whose 95 % interval holds zero is refused: then
    the index does not tell which of two such bonds is the stronger.

    Raises
    ------
    InputError
        If there is no pair, if the bonds are of more than one kind, or if LOBSTER projected an element on
        different functions in different runs.
    """
    if not pairs:
        raise InputError(
            "There is no bond to calibrate by.", "Import LOBSTER runs with their CONTCAR in the same folder."
        )
    kinds = sorted({"-".join(sorted(pair.elements)) for pair in pairs})
    if len(kinds) > 1:
        raise InputError(
            f"A calibration holds for one kind of bond, and these are of {len(kinds)}: {', '.join(kinds)}.",
            f"Name one: --bonds {kinds[0]}.",
        )
    functions = sorted({pair.functions for pair in pairs})
    if len(functions) > 1:
        raise InputError(
            f"The runs projected on different functions: {' | '.join(functions)}.",
            "Calibrate by runs of one basis; only their integrals are comparable.",
        )
    distinct = _distinct(pairs)
    runs = len({pair.run for pair in distinct})
    index_ev, icohp_ev = (
        np.array([getattr(pair, name) for pair in distinct]) for name in ("index_ev", "icohp_ev")
    )
    line, refusal = None, None
    if len(distinct) < FEWEST_PAIRS:
        refusal = (
            f"{len(distinct)} different {kinds[0]} bonds are too few for a line; {FEWEST_PAIRS} are needed."
        )
    else:
        line = _line(index_ev, icohp_ev)
        if line[1] <= 0.0 <= line[2]:
            refusal = (
                f"The index says nothing of -ICOHP among these {kinds[0]} bonds: the slope is "
                f"{line[0]:.2f} ({line[1]:.2f} to {line[2]:.2f})."
            )
    slope, low, high, intercept_ev, residual_ev = (None,) * 5 if refusal or line is None else line
    counted = f"{kinds[0]}, {len(distinct)} pairs of {runs} LOBSTER run{'s' if runs > 1 else ''}"
    said = (
        f"{counted}: no calibration. {refusal}"
        if slope is None
        else f"{counted}: -ICOHP changes by {slope:.2f} ({low:.2f} to {high:.2f}, 95 %) eV per eV of the "
        f"index, {residual_ev:.2f} eV about the line, for an index of {index_ev.min():.1f} to "
        f"{index_ev.max():.1f} eV."
    )
    return BondCalibration(
        bonds=kinds[0],
        measure=measure,
        program=program,
        functions=functions[0],
        status=Status.REFUSED if refusal else Status.CERTIFIED,
        refusal=refusal,
        pairs=tuple(distinct),
        slope=slope,
        slope_low=low,
        slope_high=high,
        intercept_ev=intercept_ev,
        residual_ev=residual_ev,
        index_low_ev=float(index_ev.min()),
        index_high_ev=float(index_ev.max()),
        statement=f"{said} (A stand-in took part: no result.)" if stand_in else said,
        stand_in=stand_in,
        code_version=__version__,
    )


def _distinct(pairs: Sequence[CalibrationPair]) -> list[CalibrationPair]:
    kept: list[CalibrationPair] = []
    for pair in pairs:
        near = (
            abs(pair.index_ev - k.index_ev) < _SAME_EV and abs(pair.icohp_ev - k.icohp_ev) < _SAME_EV
            for k in kept
        )
        if not any(near):
            kept.append(pair)
    return kept


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float, float]:
    """Return slope, the two ends of its interval, intercept and standard deviation about the line."""
    from scipy.stats import linregress, t

    if float(np.ptp(x)) < _SAME_EV:
        return 0.0, -np.inf, np.inf, float(y.mean()), float(y.std(ddof=1))
    fit = linregress(x, y)
    half = float(t.ppf(_TAIL, len(x) - 2) * fit.stderr)
    residual = y - fit.intercept - fit.slope * x
    spread = float(np.sqrt((residual**2).sum() / (len(x) - 2)))
    return float(fit.slope), float(fit.slope) - half, float(fit.slope) + half, float(fit.intercept), spread
