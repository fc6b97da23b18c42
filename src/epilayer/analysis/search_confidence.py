"""Confidence of a search for the lowest minimum: the probability that it was missed.

A search from many starts is a sample of minima: each start falls into one, with a probability that is
the share of the starting space that leads there. How often minima were hit again says how many there
still are, without knowing them.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_HALF_RANK = 5
"""2**-5 < 5 %."""


def missed_probability(starts: int, minima: int) -> float:
    """Return the probability that the lowest minimum is not among those found, ``W / (N - 1)``.

    With the prior of Boender and Rinnooy Kan (doi 10.1007/BF02591684), every number of minima equally
    likely and every division of the starting space among them, the posterior after ``N`` starts and
    ``W`` distinct minima has E[W / K] = (N - W - 1) / (N - 1), where K is the true number. Each minimum
    being as likely the lowest as any other, independent of the size of its basin, the lowest is unseen with
    the probability 1 - E[W / K]. Low minima tend to have wide basins, and starts that are spread on
    purpose find more minima than random ones: both make the estimate cautious.

    Parameters
    ----------
    starts
        Local searches done, N.
    minima
        Distinct minima that they ended in, W.

    >>> missed_probability(20, 4)
    0.21052631578947367
    >>> missed_probability(3, 3)
    1.0
    """
    _check(starts, minima)
    return 1.0 if starts < 2 else min(1.0, minima / (starts - 1))  # noqa: PLR2004  (one start is no statistics)


def unseen_probability(hits: Sequence[int]) -> float:
    """Return the chance that the next start ends in a minimum not seen so far (Good and Turing).

    The share of starts that ended alone: doi 10.1093/biomet/40.3-4.237.

    Parameters
    ----------
    hits
        How many starts ended in each minimum.

    >>> unseen_probability([5, 3, 1, 1])
    0.2
    """
    return Counter(hits)[1] / sum(hits) if hits else 1.0


def half_loss_ev(energies_ev: Sequence[float]) -> float | None:
    """Return how much higher the lowest energy would be with a random half of the starts, 95 % quantile.

    A half, in which each start is with probability 1/2, misses the lowest five with 1/32 (3 %), so it holds
    one of the lowest five with 97 %: their spread is the answer. What doubling a search still gains is less
    than what halving it loses, since the gain falls with its length.

    Parameters
    ----------
    energies_ev
        Of every sound start, repeated hits included, eV.

    Returns
    -------
    float or None
        ``None`` with fewer than five, of which nothing can be said.

    >>> half_loss_ev([-1.0, -0.7, -1.0, -0.75, -1.0, -0.9])
    0.25
    """
    lowest = sorted(energies_ev)[:_HALF_RANK]
    return lowest[-1] - lowest[0] if len(lowest) == _HALF_RANK else None


def stale_batches(lowest_ev: Sequence[float], tolerance_ev: float) -> int:
    """Return how many of the last batches did not lower the minimum by more than the tolerance.

    Parameters
    ----------
    lowest_ev
        Lowest energy within each batch, eV; infinite where a batch found no valid minimum.
    tolerance_ev
        A smaller improvement is none.
    """
    best_ev, stale = math.inf, 0
    for found_ev in lowest_ev:
        nothing_yet = math.isinf(best_ev)
        stale = 0 if nothing_yet or found_ev < best_ev - tolerance_ev else stale + 1
        best_ev = min(best_ev, found_ev)
    return stale


def _check(starts: int, minima: int) -> None:
    if not 0 < minima <= starts:
        message = f"{starts} starts cannot have ended in {minima} distinct minima"
        raise ValueError(message)
