"""Certified, provisional or refused: by the four parts of the uncertainty, each measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bound_water import bound_water
from epilayer.analysis.certainty import contact_elements, half_width_ev, interval, judged, same_chemistry
from epilayer.analysis.growth import growth_verdict
from epilayer.analysis.search_confidence import half_loss_ev
from epilayer.model.benchmark import CaseError, ModelError, Standard
from epilayer.model.level import EngineKind
from epilayer.model.records import (
    AdsorptionEnergy,
    Provenance,
    Refusal,
    RefusalCode,
    SearchConfidence,
    Status,
    Uncertainty,
)

ORIGIN = Provenance(job="j", run_directory="runs/j")
THOROUGH = SearchConfidence(
    starts=60, sound_starts=60, minima=2, lowest_hits=40, missed_probability=2 / 59,
    unseen_probability=0.0, force_calls=2000, ended="settled", half_loss_ev=0.0,
)  # fmt: skip


def record(**changes: Any) -> AdsorptionEnergy:  # noqa: ANN401
    searched = {"search": THOROUGH, "closest_contact": "O72...Na5"}
    return bound_water(ORIGIN).model_copy(update=searched | changes)


def error_of(of: AdsorptionEnergy, contact: str = "O-Na", n: int = 6, **changes: Any) -> ModelError:  # noqa: ANN401
    cases = {f"case {k}": CaseError(contact=contact, error_ev=0.03 * (-1) ** k) for k in range(n)}
    fields: dict[str, Any] = {
        "name": of.level.name, "fingerprint": of.level.fingerprint, "benchmark": "set",
        "reference": "CCSD(T)", "source": "made up", "cases": cases,
    }  # fmt: skip
    return ModelError(**(fields | changes))


def open_parts(of: AdsorptionEnergy) -> list[str]:
    return [point.subject for point in of.open_points]


def test_each_open_part_keeps_a_value_provisional_and_is_named() -> None:
    one = record()
    found = judged(one, Standard(model_error=error_of(one), needed_ev=0.2))
    assert found.status is Status.PROVISIONAL
    assert open_parts(found) == ["reference"]
    assert found.uncertainty is not None
    assert found.uncertainty.model_ev == pytest.approx(2.447 * 0.03, abs=1e-4)  # t(0.975, 6)
    for changes, standard in (
        ({"search": None}, error_of(one)),
        ({"search": THOROUGH.model_copy(update={"ended": "budget"})}, error_of(one)),
        ({"parameters": {"minimum_found_with": "chgnet+d3"}}, error_of(one)),
    ):
        again = judged(record(**changes), Standard(model_error=standard, needed_ev=0.2))
        assert open_parts(again) == ["search", "reference"], changes


@pytest.mark.parametrize(
    "changes",
    [{"contact": "N-Mg"}, {"n": 4}, {"fingerprint": "0" * 64}, {"name": "another"}],
    ids=["another contact", "too few cases", "other weights", "another level"],
)
def test_a_level_without_a_benchmark_for_the_chemistry_is_never_certified(changes: dict[str, Any]) -> None:
    one = record()
    found = judged(one, Standard(model_error=error_of(one, **changes), needed_ev=9.0))
    assert "model" in open_parts(found)
    assert "model" in open_parts(judged(one, Standard(needed_ev=9.0)))


def test_a_quick_search_never_counts_as_done() -> None:
    for starts in range(1, 13):
        missed = 1.0 if starts < 2 else min(1.0, 1 / (starts - 1))
        sure = THOROUGH.model_copy(update={"starts": starts, "missed_probability": missed})
        assert not sure.done


def test_a_refused_value_stays_refused_and_has_no_interval() -> None:
    refused = record(status=Status.REFUSED, adsorption_energy_ev=None)
    assert judged(refused, Standard(needed_ev=0.2)) == refused


def test_what_an_earlier_version_certified_is_shown_as_provisional() -> None:
    one = record(uncertainty=None, status=Status.CERTIFIED)
    assert (one.badge, len(one.open_because)) == (Status.PROVISIONAL, 1)


def test_parts_add_in_quadrature_and_the_search_only_downwards() -> None:
    found = interval(-1.0, numerical_ev=0.01, search_ev=0.3, reference_ev=0.02, model_ev=0.2)
    assert found.high_ev == pytest.approx(-1.0 + math.sqrt(0.01**2 + 0.02**2 + 0.2**2))
    assert found.low_ev == pytest.approx(-1.0 - math.sqrt(0.01**2 + 0.02**2 + 0.2**2 + 0.3**2))


def test_the_predictive_interval_covers_95_percent_of_new_errors() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(2000):
        *known, new = rng.normal(0.0, 0.1, size=8)
        half_ev = half_width_ev(known)
        assert half_ev is not None
        inside.append(abs(new) <= half_ev)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)
    assert half_width_ev([0.1] * 4) is None


def test_half_of_the_starts_loses_no_more_than_is_said_in_95_percent() -> None:
    rng = np.random.default_rng(1)
    energies = np.sort(rng.normal(size=24))
    said = half_loss_ev(list(energies))
    assert said is not None
    halves = [energies[rng.random(24) < 0.5] for _ in range(4000)]
    assert np.mean([half.min() - energies[0] <= said for half in halves if len(half)]) >= 0.95
    assert half_loss_ev([0.0, 0.0, 0.0, 0.0, 0.0, 1.0]) == 0.0  # the lowest was hit five times
    assert half_loss_ev([0.0] * 4) is None


@pytest.mark.parametrize(
    ("one", "other", "dft", "mlip"),
    [
        ("N-Na", "N-Na", True, True),
        ("N-Na", "N-Mg", True, False),
        ("N-V", "O-Ti", False, False),
        ("N-Na", "N-V", False, False),
    ],
)
def test_a_potential_is_known_by_its_elements_a_functional_by_the_kind_of_cation(
    one: str, other: str, *, dft: bool, mlip: bool
) -> None:
    assert same_chemistry(one, other, kind=EngineKind.DFT) is dft
    assert same_chemistry(one, other, kind=EngineKind.MLIP) is mlip


def test_the_contact_is_read_from_its_label() -> None:
    assert contact_elements("N76...Na12") == "N-Na"


def test_what_the_clean_slab_hides_is_named() -> None:
    one = record()
    slab = next(leg for leg in one.legs if leg.role == "slab")
    bad = slab.model_copy(update={"max_held_force_ev_per_ang": 2.04, "left_sites": ("Na12 1.4 A",)})
    legs = tuple(bad if leg.role == "slab" else leg for leg in one.legs)
    found = judged(record(legs=legs), Standard(model_error=error_of(one), needed_ev=0.2))
    said = [point.what for point in found.open_points]
    assert said[:2] == ["held atoms: forces 2.0 eV/A", "clean slab: Na12 moved 1.4 A"]


def growth_record(value_ev: float, half_ev: float | None, *, done: bool) -> AdsorptionEnergy:
    low_ev, high_ev = value_ev - (half_ev or 0.01), value_ev + (half_ev or 0.01)
    return record(
        adsorption_energy_ev=value_ev,
        status=Status.PROVISIONAL,
        search=THOROUGH if done else THOROUGH.model_copy(update={"ended": "budget"}),
        uncertainty=Uncertainty(
            numerical_ev=0.01,
            search_ev=0.1,
            reference_ev=None,
            model_ev=half_ev,
            low_ev=low_ev,
            high_ev=high_ev,
        ),
        open_points=(
            Refusal(code=RefusalCode.MODEL_OPEN, subject="model", what="no benchmark", remedy="use DFT"),
            Refusal(code=RefusalCode.SEARCH_OPEN, subject="search", what="search open", remedy="search on"),
        ),
    )


@pytest.mark.parametrize(
    ("value_ev", "half_ev", "done", "binds"),
    [
        (-0.9, 0.3, False, True),  # a lower minimum would only bind harder
        (-0.4, 0.3, True, None),  # the interval contains the threshold
        (0.4, 0.3, True, False),
        (0.4, 0.3, False, None),  # a lower minimum may bind
        (-0.9, None, True, None),  # the error of the level was never measured
    ],
)
def test_the_verdict_reads_interval_search_and_model(
    value_ev: float, half_ev: float | None, *, done: bool, binds: bool | None
) -> None:
    verdict = growth_verdict([growth_record(value_ev, half_ev, done=done)], -0.2)
    assert verdict.facets[0].binds is binds
    if binds is None:
        remedy = "use DFT" if half_ev is None or half_ev > 0.1 else "search on"
        assert verdict.decided_by is not None
        assert verdict.decided_by.endswith(remedy)
