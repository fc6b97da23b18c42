"""The index against -ICOHP: a line that is known is found again, and what is no calibration is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from epilayer.analysis.calibration import FEWEST_PAIRS, calibrate
from epilayer.model.bonding import BondMeasure
from epilayer.model.calibration import BondCalibration, CalibrationPair
from epilayer.model.errors import InputError
from epilayer.model.records import Status


def pair(index_ev: float, icohp_ev: float, **fields: Any) -> CalibrationPair:  # noqa: ANN401  (any field)
    known = {"run": "a", "bond": "C1-O2", "elements": ("C", "O"), "length_ang": 1.4, "functions": "2s 2p"}
    return CalibrationPair(index_ev=index_ev, icohp_ev=icohp_ev, **{**known, **fields})


def line(n: int, slope: float = 0.8, noise_ev: float = 0.05, seed: int = 0) -> list[CalibrationPair]:
    rng = np.random.default_rng(seed)
    index_ev = np.linspace(8.0, 11.0, n)
    return [
        pair(x, 0.5 + slope * x + rng.normal(0, noise_ev), run=f"run{k % 3}") for k, x in enumerate(index_ev)
    ]


def calibrated(pairs: list[CalibrationPair]) -> BondCalibration:
    return calibrate(pairs, measure=BondMeasure.INDEX_GFN1, program="tblite")


def test_a_line_is_found_with_its_residual_and_said_with_its_range() -> None:
    found = calibrated(line(40))
    assert found.status is Status.CERTIFIED
    assert found.slope == pytest.approx(0.8, abs=0.03)
    assert found.residual_ev == pytest.approx(0.05, abs=0.015)
    assert (found.index_low_ev, found.index_high_ev) == (8.0, 11.0)
    assert found.statement.startswith("C-O, 40 pairs of 3 LOBSTER runs: -ICOHP changes by 0.8")
    assert "(95 %)" not in found.statement
    assert "95 %) eV per eV of the index" in found.statement


def test_the_interval_holds_the_slope_as_often_as_it_says() -> None:
    found = [calibrated(line(12, noise_ev=0.3, seed=seed)) for seed in range(200)]
    held = sum(c.slope_low <= 0.8 <= c.slope_high for c in found if c.slope_low is not None)
    assert sum(c.slope is not None for c in found) > 190
    assert 0.90 <= held / sum(c.slope is not None for c in found) <= 0.99


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        (line(FEWEST_PAIRS - 1), "7 different C-O bonds are too few for a line; 8 are needed"),
        ([pair(10.0, 9.0)] * 30, "1 different C-O bonds are too few"),  # one bond and its images
        (line(12, slope=0.0, noise_ev=0.5), "The index says nothing of -ICOHP"),
        ([pair(10.0, 8.0 + 0.1 * k) for k in range(12)], "The index says nothing of -ICOHP"),
    ],
)
def test_too_few_bonds_or_a_slope_that_may_be_zero_are_no_calibration(
    pairs: list[CalibrationPair], why: str
) -> None:
    found = calibrated(pairs)
    assert found.status is Status.REFUSED
    assert (found.slope, found.slope_low, found.residual_ev) == (None, None, None)
    assert why in str(found.refusal)
    assert "no calibration" in found.statement


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"elements": ("C", "C")}, "these are of 2: C-C, C-O"),
        ({"functions": "2s 2p 3d"}, "projected on different functions"),
    ],
)
def test_bonds_of_two_kinds_or_two_bases_are_never_on_one_line(other: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        calibrated([*line(20), pair(9.0, 8.0, **other)])


def test_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="no bond to calibrate by"):
        calibrated([])
