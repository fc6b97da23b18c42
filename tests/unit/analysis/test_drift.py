"""Temperature and energy drift of segments: known slopes, honest errors, bad bounds."""

from __future__ import annotations

import numpy as np
import pytest

from epilayer.analysis.drift import segment_drifts
from epilayer.model.errors import InputError


def test_slopes_and_means_are_found_within_their_errors() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(2000.0) * 2.0
    missed = 0
    for _ in range(50):
        energies = -100 + 0.05 * times * 1e-3 + rng.normal(0, 0.01, 2000)  # 0.05 eV/ps for 25 atoms
        warm = 350 + rng.normal(0, 20, 2000)
        for part in segment_drifts(times, warm, energies, 25, (0, 700)):
            missed += (
                abs(part.energy_drift_mev_per_atom_ps - 2.0) > 2.3 * part.energy_drift_error_mev_per_atom_ps
            )
            assert part.temperature_k == pytest.approx(350, abs=5 * part.temperature_error_k)
    assert missed <= 14  # 5 % of 100 expected


def test_a_linear_energy_has_no_error_and_bad_bounds_are_refused() -> None:
    times = np.arange(100.0)
    found = segment_drifts(times, np.full(100, 300.0), 0.001 * times, 10)[0]
    assert found.energy_drift_mev_per_atom_ps == pytest.approx(100.0)
    assert found.energy_drift_error_mev_per_atom_ps == pytest.approx(0.0, abs=1e-9)
    assert found.temperature_error_k == 0.0
    with pytest.raises(InputError, match="fewer than 4"):
        segment_drifts(times, times, times, 10, (0, 50, 40))
