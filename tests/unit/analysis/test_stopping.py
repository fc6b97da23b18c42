"""Stopping a search: the closed form beside the posterior it comes from, and beside simulated searches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln

from epilayer.analysis.search_confidence import missed_probability, stale_batches, unseen_probability


@pytest.mark.parametrize(("starts", "minima"), [(8, 3), (20, 4), (30, 1), (60, 25)])
def test_the_closed_form_is_the_posterior_mean(starts: int, minima: int) -> None:
    """Boender and Rinnooy Kan's posterior of the number of minima, summed term by term."""
    k = np.arange(minima, 300_000)
    n, w = starts, minima
    log_p = gammaln(k) + gammaln(k + 1) + gammaln(n) + gammaln(n - 1) - gammaln(n + k) - gammaln(k - w + 1)
    log_p -= gammaln(w + 1) + gammaln(w) + gammaln(n - w - 1)
    p = np.exp(log_p)
    assert p.sum() == pytest.approx(1.0, abs=1e-6)
    assert missed_probability(starts, minima) == pytest.approx(1 - float((p * w / k).sum()), abs=1e-6)


def test_the_estimate_is_calibrated_under_its_own_prior() -> None:
    """Landscapes drawn from the prior, searched from 20 starts: what is said to be missed is missed."""
    rng = np.random.default_rng(0)
    missed: dict[int, list[bool]] = {}
    for _ in range(8000):
        minima = int(rng.integers(1, 61))  # more would hardly ever be seen as so few
        found = set(rng.choice(minima, size=20, p=rng.dirichlet(np.ones(minima))).tolist())
        missed.setdefault(len(found), []).append(int(rng.integers(minima)) not in found)
    for seen in (2, 4, 6):
        assert len(missed[seen]) > 100
        assert np.mean(missed[seen]) == pytest.approx(missed_probability(20, seen), abs=0.07)


def test_wide_low_basins_make_it_cautious() -> None:
    rng = np.random.default_rng(1)
    said, happened = [], []
    for _ in range(1000):
        basins = np.sort(rng.dirichlet(np.ones(15)))[::-1]  # the lowest minimum has the widest basin
        found = set(rng.choice(15, size=20, p=basins).tolist())
        said.append(missed_probability(20, len(found)))
        happened.append(0 not in found)
    assert np.mean(happened) < np.mean(said)


@given(st.integers(2, 500), st.data())
def test_more_minima_mean_more_doubt_and_more_starts_less(starts: int, data: st.DataObject) -> None:
    minima = data.draw(st.integers(1, starts))
    missed = missed_probability(starts, minima)
    assert 0 < missed <= 1
    assert missed_probability(starts + 1, minima) <= missed
    if minima < starts:
        assert missed_probability(starts, minima + 1) >= missed


@pytest.mark.parametrize(("starts", "minima"), [(0, 0), (3, 0), (3, 4)])
def test_impossible_counts_are_refused(starts: int, minima: int) -> None:
    with pytest.raises(ValueError, match="cannot have ended"):
        missed_probability(starts, minima)


def test_one_start_tells_nothing() -> None:
    assert missed_probability(1, 1) == 1.0


def test_the_next_start_good_and_turing() -> None:
    rng = np.random.default_rng(2)
    shares = rng.dirichlet(np.full(30, 0.5))
    said, happened = [], []
    for _ in range(2000):
        drawn = rng.choice(30, size=21, p=shares)
        said.append(unseen_probability(np.bincount(drawn[:20])[np.unique(drawn[:20])].tolist()))
        happened.append(drawn[20] not in drawn[:20])
    assert np.mean(said) == pytest.approx(np.mean(happened), abs=0.03)
    assert unseen_probability([]) == 1.0


@pytest.mark.parametrize(
    ("lowest_ev", "stale"),
    [
        ([], 0),
        ([-1.0], 0),
        ([-1.0, -0.9], 1),
        ([-1.0, -1.01], 1),  # less than the tolerance is no improvement
        ([-1.0, -1.5], 0),
        ([-1.0, -0.5, -0.8, -1.2, -1.0], 1),
        ([math.inf, math.inf], 0),  # nothing sound yet is no reason to stop
        ([math.inf, -1.0], 0),
        ([-1.0, math.inf], 1),
    ],
)
def test_batches_without_improvement(lowest_ev: list[float], stale: int) -> None:
    assert stale_batches(lowest_ev, tolerance_ev=0.02) == stale
