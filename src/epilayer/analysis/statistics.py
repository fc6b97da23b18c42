r"""The posterior of a diffusion coefficient, from the slow end of the spectrum of motion.

Why not a fit to the MSD: its points share almost all of their data, so a fit's own error is far too
small, and least squares with the covariance of free diffusion is right for free diffusion only.
Instead the displacements between frames are projected on sine tapers k = 1, 2, ... (a discrete sine
transform). The tapers see ever faster motion; the projections of independent ions on different tapers
are independent and, by the central limit theorem, Gaussian, with variance ``2 D`` per unit time where
the motion is diffusive (Riedel and Sidorenko, doi 10.1109/78.365298: sine tapers estimate a spectrum at
an edge with the least bias). So the mean power over the first K tapers is D times a chi-squared variable
over its degrees of freedom, an exact statement for Brownian motion of any number of ions. In terms of
lag time the first K tapers of a trajectory of length T are the window from T/K to T.

- **Window.** A cage or back-and-forth hops raise the power as k^2. The window grows taper by taper for
  as long as a likelihood-ratio test finds no trend; the estimate then uses the slower 40 % of it, so
  that the data which stopped the test hardly enter the estimate.
- **Curvature** that the test could not see is not assumed away: the ratio of the power at rest to the
  mean power of the window gets a flat prior, and the interval is what remains after integrating over it.
- **Correlated ions** (pairs, clusters, a common drift) count less: n_independent follows from the mean
  squared correlation between ions, corrected for what chance gives in a short window.
- **Few hops** are not Gaussian: the degrees of freedom fall by the excess fourth moment of the
  displacements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from epilayer.model.units import Dimensionless

_MOST_TAPERS = 1024
_BIN_GROWTH = 1.15
_TREND_THRESHOLD = 3.0  # of 2 ln(likelihood ratio); calibrated in benchmarks/calibration.py
_KEPT_SHARE = 0.4  # of the tapers that pass the test; calibrated likewise
_MUST_SEE_TAPERS = 6  # a trend within fewer tapers alone does not stop the search
_CORRELATION_TAPERS = (3, 8)  # ions bound to one another part at higher frequencies
_KURTOSIS_BLOCKS = 60
_FEWEST_FRAMES = 8
_FEWEST_TAPERS = 3

# The power at rest as a share of the window's mean power: below 1 caged, above 1 not yet thermalised.
_SHARES = np.concatenate([np.linspace(0.02, 1.0, 50), np.linspace(1.04, 1.6, 15)])


def _curvatures() -> NDArray[np.float64]:
    """Return b of ``1 + b x^2`` (b > 0) or ``1 / (1 - b x^2)`` whose mean over x in 0..1 is 1/share."""
    rising = 3.0 * (1.0 / _SHARES - 1.0)
    table = np.geomspace(1e-4, 60.0, 4000)
    falling = -np.interp(_SHARES, np.sqrt(table) / np.arctan(np.sqrt(table)), table)
    return np.where(_SHARES <= 1.0, rising, falling)


_CURVATURES = _curvatures()
_FLAT = int(np.argmin(np.abs(_CURVATURES)))


@dataclass(frozen=True)
class Posterior:
    """The distribution of D: a mixture of inverse gamma distributions of one shape.

    Parameters
    ----------
    shape
        Half the degrees of freedom.
    scales_ang2_per_ps
        (n,) scale of each component, Angstrom^2/ps.
    weights
        (n,) weights that add up to 1.
    n_tapers
        Tapers in the window.
    n_independent
        Ions that move independently.
    window_ps
        Lag times that the window spans, ps.
    rising
        Probability that the power still rises within the window by more than a third of its mean.
    """

    shape: Dimensionless
    scales_ang2_per_ps: NDArray[np.float64]
    weights: NDArray[np.float64]
    n_tapers: int
    n_independent: Dimensionless
    window_ps: tuple[float, float]
    rising: Dimensionless

    def cdf(self, diffusion_ang2_per_ps: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Return the probability that D is below a value."""
        from scipy.special import gammaincc

        values = np.atleast_1d(np.asarray(diffusion_ang2_per_ps, np.float64))
        result: NDArray[np.float64] = (
            gammaincc(self.shape, self.scales_ang2_per_ps[:, None] / values[None, :]).T @ self.weights
        )
        return result

    def quantile(self, probability: float) -> float:
        """Return the D, Angstrom^2/ps, that is exceeded with probability ``1 - probability``."""
        from scipy.optimize import brentq

        level = np.log(self.scales_ang2_per_ps / self.shape)
        span = 12.0 + 40.0 / self.shape
        root = brentq(
            lambda x: float(self.cdf(np.exp(x))[0]) - probability, level.min() - span, level.max() + span
        )
        return float(np.exp(root))

    def quantiles(self, n: int = 401) -> NDArray[np.float64]:
        """Return the D of ``n`` equally likely slices, Angstrom^2/ps: a sample without noise."""
        low, high = np.log(self.quantile(1e-5)), np.log(self.quantile(1 - 1e-5))
        grid = np.linspace(low, high, 4 * n)
        result: NDArray[np.float64] = np.exp(
            np.interp((np.arange(n) + 0.5) / n, self.cdf(np.exp(grid)), grid)
        )
        return result

    @property
    def degrees_of_freedom(self) -> float:
        """Degrees of freedom behind the mean power."""
        return 2.0 * self.shape


def sine_projections(
    tracks_ang: NDArray[np.float64], time_step_ps: float, n_tapers: int
) -> NDArray[np.float64]:
    """Project the motion on the slowest sine tapers.

    Parameters
    ----------
    tracks_ang
        (n_frames, n_ions, 3) unwrapped, Angstrom.
    time_step_ps
        Time between frames, ps.
    n_tapers
        How many, slowest first.

    Returns
    -------
    (n_tapers, n_ions, 3), in (Angstrom^2/ps)^0.5: the mean square is D where the motion is diffusive.
    """
    from scipy.fft import dst

    moves = np.diff(tracks_ang, axis=0)
    slowest = dst(moves, type=1, axis=0, norm="ortho")[:n_tapers]
    result: NDArray[np.float64] = slowest / np.sqrt(2.0 * time_step_ps)
    return result


@dataclass(frozen=True)
class _Binned:
    """The power averaged over narrow groups of tapers; one taper a group at the slow end."""

    edges: NDArray[np.intp]  # first taper of each group, 1-based, and one past the last
    sizes: NDArray[np.float64]
    power: NDArray[np.float64]
    k2: NDArray[np.float64]

    @classmethod
    def of(cls, power: NDArray[np.float64]) -> _Binned:
        edges = [1]
        while edges[-1] <= len(power):
            edges.append(max(edges[-1] + 1, int(np.ceil(edges[-1] * _BIN_GROWTH))))
        edges[-1] = len(power) + 1
        k = np.arange(1, len(power) + 1)
        starts = np.array(edges[:-1]) - 1
        sizes = np.diff(edges).astype(np.float64)
        return cls(
            np.array(edges, np.intp),
            sizes,
            np.add.reduceat(power, starts) / sizes,
            np.add.reduceat(k.astype(np.float64) ** 2, starts) / sizes,
        )

    def likelihood(
        self, groups: int, dof_per_taper: Dimensionless
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Return (shape, scales, log of the normalisation) per curvature, for the first ``groups``."""
        tapers = int(self.edges[groups]) - 1
        x2 = self.k2[:groups] / tapers**2
        b = np.abs(_CURVATURES)[:, None]
        relative = np.where(_CURVATURES[:, None] >= 0, 1.0 + b * x2, 1.0 / (1.0 + b * x2))
        half = dof_per_taper / 2.0
        scales = half * (self.sizes[:groups] * self.power[:groups] / relative).sum(axis=1)
        logs = half * (self.sizes[:groups] * np.log(relative)).sum(axis=1)
        return half * tapers, scales, logs

    def trend(self, groups: int, dof_per_taper: Dimensionless) -> float:
        """Return 2 ln(likelihood ratio) of a power with curvature against a flat one."""
        shape, scales, logs = self.likelihood(groups, dof_per_taper)
        profile = -shape * np.log(scales) - logs
        return float(2.0 * (profile.max() - profile[_FLAT]))

    def window(self, dof_per_taper: Dimensionless) -> int:
        """Return the number of groups in the window."""
        passed = min(_FEWEST_TAPERS, len(self.sizes))
        found = False
        for groups in range(passed, len(self.sizes) + 1):
            if self.trend(groups, dof_per_taper) > _TREND_THRESHOLD:
                if found or self.edges[groups] - 1 > _MUST_SEE_TAPERS:
                    break
                continue
            passed, found = groups, True
        kept = max(_FEWEST_TAPERS, round(_KEPT_SHARE * (int(self.edges[passed]) - 1)))
        return max(1, int(np.searchsorted(self.edges, kept + 1, side="right")) - 1)


def diffusion_posterior(tracks_ang: NDArray[np.float64], time_step_ps: float) -> Posterior | None:
    """Infer the long-time self-diffusion coefficient of equal ions.

    Parameters
    ----------
    tracks_ang
        (n_frames, n_ions, 3) unwrapped tracks in the frame of reference, Angstrom.
    time_step_ps
        Time between frames, ps.

    Returns
    -------
    The posterior, or ``None`` where there are too few frames or nothing moves at all.
    """
    moves = len(tracks_ang) - 1
    n_ions = tracks_ang.shape[1]
    if moves + 1 < _FEWEST_FRAMES or n_ions == 0:
        return None
    projections = sine_projections(tracks_ang, time_step_ps, min(moves // 2, _MOST_TAPERS))
    power = (projections**2).mean(axis=(1, 2))
    if not power[:_FEWEST_TAPERS].min() > 0:
        return None
    binned = _Binned.of(power)
    independent, isotropy, groups = float(n_ions), 1.0, 1
    for _ in range(3):  # the window and the correlations in it depend on each other
        groups = binned.window(3.0 * isotropy * independent)
        tapers = int(binned.edges[groups]) - 1
        used = projections[: int(np.clip(tapers, *_CORRELATION_TAPERS))]
        independent = independent_ions(used)
        isotropy = _isotropy(used, independent)
    tapers = int(binned.edges[groups]) - 1
    excess = _excess_fourth_moment(tracks_ang, tapers)
    shape, scales, logs = binned.likelihood(groups, 3.0 * isotropy * independent / (1.0 + 2.5 * excess))
    weights = -shape * np.log(scales) - logs
    weights = np.exp(weights - weights.max())
    weights /= weights.sum()
    keep = weights > 1e-9  # noqa: PLR2004  (components nobody can see)
    duration_ps = moves * time_step_ps
    return Posterior(
        shape,
        scales[keep],
        weights[keep] / weights[keep].sum(),
        tapers,
        independent,
        (duration_ps / tapers, duration_ps),
        float(weights[_SHARES < 2.0 / 3.0].sum()),
    )


def independent_ions(projections: NDArray[np.float64]) -> float:
    """Return how many ions move independently, from the correlations between their slow motions.

    The variance of a mean over correlated ions is that over ``1 / mean(r_ij^2)`` independent ones
    (Satterthwaite); the mean square that chance gives to uncorrelated ions is taken off.

    Parameters
    ----------
    projections
        (n_tapers, n_ions, 3).
    """
    n_ions = projections.shape[1]
    if n_ions == 1:
        return 1.0
    rows = projections.transpose(1, 0, 2).reshape(n_ions, -1)
    samples = rows.shape[1]
    norms = (rows**2).sum(axis=1)
    norms[norms == 0] = np.inf  # an ion that stands still is correlated with nothing
    squares = (rows @ rows.T) ** 2 / np.outer(norms, norms)
    off = squares.sum() - np.trace(squares)
    excess = (off - n_ions * (n_ions - 1) / samples) / n_ions**2 * samples / (samples - 1.0)
    return float(1.0 / (1.0 / n_ions + max(0.0, excess)))


def _isotropy(projections: NDArray[np.float64], independent: float) -> float:
    """Return the share of the three directions that counts: 1 for isotropic motion, 1/3 in a channel."""
    per_axis = (projections**2).mean(axis=(0, 1))
    noise = 1.0 + 2.0 / (independent * len(projections))
    return float(np.clip(per_axis.sum() ** 2 / (3.0 * (per_axis**2).sum()) * noise, 1.0 / 3.0, 1.0))


def _excess_fourth_moment(tracks_ang: NDArray[np.float64], tapers: int) -> float:
    """Return the non-Gaussian parameter of displacements over the shortest lag of the window.

    Where the window has few blocks, it is taken from shorter lags and scaled with 1/lag, as cumulants
    of independent hops do.
    """
    moves, n_ions = len(tracks_ang) - 1, tracks_ang.shape[1]
    blocks = min(moves, max(tapers, int(np.ceil(_KURTOSIS_BLOCKS / n_ions))))
    lag = max(1, moves // blocks)
    squares = ((tracks_ang[lag:] - tracks_ang[:-lag]) ** 2).sum(axis=2)
    mean = squares.mean()
    if mean == 0:
        return 0.0
    return max(0.0, float(0.6 * (squares**2).mean() / mean**2 - 1.0)) * lag * tapers / moves


def probability_faster(first: Posterior, second: Posterior) -> float:
    """Return the probability that the first D is larger than the second, as if they were independent."""
    return float(second.cdf(first.quantiles()).mean())
