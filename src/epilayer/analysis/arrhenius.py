"""The activation energy of diffusion from several temperatures, with its interval, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.transport import Verdict
from epilayer.model.units import K_B_EV_PER_K

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer.model.transport import DiffusionEstimate

_NORMAL_95 = 1.959963984540054
_FEWEST = 3
_UNLIKELY = 0.01


@dataclass(frozen=True)
class ArrheniusFit:
    """A straight line through ln D over 1/T.

    Parameters
    ----------
    verdict, reason
        Whether there is one, and why not.
    temperatures_k
        Those that entered.
    activation_energy_ev, lower_ev, upper_ev
        Value and 95 % interval, eV.
    prefactor_cm2_per_s
        D at infinite temperature, cm2/s.
    """

    verdict: Verdict
    reason: str
    temperatures_k: tuple[float, ...]
    activation_energy_ev: float | None = None
    lower_ev: float | None = None
    upper_ev: float | None = None
    prefactor_cm2_per_s: float | None = None


def arrhenius(points: Sequence[tuple[float, DiffusionEstimate]]) -> ArrheniusFit:
    """Fit the activation energy.

    Every resolved D enters with the width of its own interval. A bound or a refusal does not enter: a
    line through bounds has a slope of its own making.

    Parameters
    ----------
    points
        Temperature, K, and the estimate there.
    """
    kept = [(t, d) for t, d in points if d.verdict is Verdict.RESOLVED]
    temperatures = tuple(t for t, _ in kept)
    if len(set(temperatures)) < _FEWEST:
        need = [d.ion_ps_needed for _, d in points if d.ion_ps_needed is not None]
        longest = f"; the longest needs about {max(need):.3g} ion-ps" if need else ""
        return ArrheniusFit(
            Verdict.REFUSED,
            f"D is resolved at {len(set(temperatures))} of {len(points)} temperatures, "
            f"{_FEWEST} are needed{longest}.",
            temperatures,
        )
    inverse = np.array([1.0 / (K_B_EV_PER_K * t) for t in temperatures])
    logs = np.log([d.diffusion_cm2_per_s or np.nan for _, d in kept])
    ends = [(d.lower_cm2_per_s or np.nan, d.upper_cm2_per_s or np.nan) for _, d in kept]
    sigma = np.array([np.log(high / low) / (2 * _NORMAL_95) for low, high in ends])
    design = np.column_stack([np.ones_like(inverse), -inverse]) / sigma[:, None]
    covariance = np.linalg.inv(design.T @ design)
    level, energy = covariance @ design.T @ (logs / sigma)
    left = float((((logs - level + energy * inverse) / sigma) ** 2).sum())
    freedom = len(kept) - 2
    from scipy.stats import chi2

    if chi2.sf(left, freedom) < _UNLIKELY:
        return ArrheniusFit(
            Verdict.REFUSED,
            f"The points lie off a straight line by more than their intervals (chi^2 = {left:.1f} "
            f"for {freedom} degrees of freedom): no single activation energy.",
            temperatures,
        )
    half = _NORMAL_95 * float(np.sqrt(covariance[1, 1] * max(1.0, left / freedom)))
    return ArrheniusFit(
        Verdict.RESOLVED,
        f"{len(kept)} temperatures.",
        temperatures,
        float(energy),
        float(energy) - half,
        float(energy) + half,
        float(np.exp(level)),
    )
