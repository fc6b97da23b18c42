"""The activation energy: recovered, covered by its interval as often as it says, refused where it must be."""

from __future__ import annotations

import numpy as np
import pytest

from epilayer.analysis.arrhenius import arrhenius
from epilayer.model.transport import DiffusionEstimate, Verdict

K_B = 8.617333262e-5
ENERGY_EV, PREFACTOR = 0.3, 1e-2


def estimate(
    value: float, sigma: float = 0.1, verdict: Verdict = Verdict.RESOLVED, needed_ps: float | None = None
) -> DiffusionEstimate:
    resolved = verdict is Verdict.RESOLVED
    return DiffusionEstimate(
        species="Na",
        n_carriers=4,
        n_independent=4.0,
        verdict=verdict,
        reason="",
        diffusion_cm2_per_s=value if resolved else None,
        lower_cm2_per_s=value * np.exp(-1.96 * sigma) if resolved else None,
        upper_cm2_per_s=value * np.exp(1.96 * sigma),
        window_ps=(1.0, 5.0),
        slope_cm2_per_s=None,
        degrees_of_freedom=20.0,
        hop_length_ang=3.0,
        n_hops=20.0,
        n_eff=20.0,
        relative_error_he2018=None,
        duration_ps=10.0,
        ion_ps=40.0,
        ion_ps_needed=needed_ps,
    )


def law(temperature_k: float) -> float:
    return float(PREFACTOR * np.exp(-ENERGY_EV / (K_B * temperature_k)))


def test_exact_points_give_the_exact_energy() -> None:
    fit = arrhenius([(t, estimate(law(t))) for t in (300.0, 353.15, 400.0, 500.0)])
    assert fit.verdict is Verdict.RESOLVED
    assert fit.activation_energy_ev == pytest.approx(ENERGY_EV, rel=1e-9)
    assert fit.prefactor_cm2_per_s == pytest.approx(PREFACTOR, rel=1e-9)
    assert fit.lower_ev is not None
    assert fit.upper_ev is not None
    assert fit.lower_ev < ENERGY_EV < fit.upper_ev


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(12)
    hits, given = 0, 0
    for _ in range(2000):
        points = [
            (t, estimate(law(t) * np.exp(rng.normal(scale=s)), s))
            for t, s in ((350.0, 0.3), (450.0, 0.2), (550.0, 0.15), (700.0, 0.1))
        ]
        fit = arrhenius(points)
        if fit.lower_ev is None or fit.upper_ev is None:
            continue
        given += 1
        hits += fit.lower_ev <= ENERGY_EV <= fit.upper_ev
    assert given > 1950  # straight points are refused one time in a hundred
    assert 0.945 < hits / given < 0.99


def test_bounds_do_not_enter_and_too_few_points_are_refused() -> None:
    points = [(t, estimate(law(t))) for t in (400.0, 500.0)]
    points.append((300.0, estimate(law(300.0), verdict=Verdict.BOUND, needed_ps=123.0)))
    fit = arrhenius(points)
    assert fit.verdict is Verdict.REFUSED
    assert fit.temperatures_k == (400.0, 500.0)
    assert fit.reason == (
        "D is resolved at 2 of 3 temperatures, 3 are needed; the longest needs about 123 ion-ps."
    )
    assert fit.activation_energy_ev is None


def test_points_off_a_line_are_refused() -> None:
    bent = [(t, estimate(law(t) * (3.0 if t == 400.0 else 1.0), 0.05)) for t in (300.0, 400.0, 500.0)]
    fit = arrhenius(bent)
    assert fit.verdict is Verdict.REFUSED
    assert "no single activation energy" in fit.reason
