"""The error of a level against a published set: what is refused, and what the shipped errors are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from epilayer.analysis.certainty import FEWEST_CASES, half_width_ev
from epilayer.model.benchmark import ModelError
from epilayer.model.errors import InputError
from epilayer.study.benchmarking import benchmark, write_errors
from epilayer.study.config import Catalogue, shipped

CATALOGUE = Catalogue((shipped("configs"),))
REAL = (
    Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[4] / "shared" / "data")) / "autoskzcam"
)
MEASURED = sorted(CATALOGUE.names("model_errors"))


def test_missing_geometries_are_named_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lacks 27 of 27 structure files, such as 01-CH4_on_MgO_") as refused:
        benchmark(CATALOGUE, "chgnet+d3", "ionic-oxides", tmp_path)
    assert "git clone" in refused.value.remedy


def test_a_stand_in_has_no_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stand-in"):
        benchmark(CATALOGUE, "toy", "ionic-oxides", tmp_path)


@pytest.mark.parametrize("name", MEASURED)
def test_shipped_errors_are_those_of_the_level_as_it_is_executed(name: str, tmp_path: Path) -> None:
    found = CATALOGUE.model_error(name)
    assert found is not None
    asked = CATALOGUE.benchmark(found.benchmark)
    assert {n: c.contact for n, c in found.cases.items()} == {n: c.contact for n, c in asked.cases.items()}
    write_errors(found, tmp_path / "again.yaml")
    again = ModelError.model_validate(__import__("yaml").safe_load((tmp_path / "again.yaml").read_text()))
    assert again == found
    if found.fingerprint is None:  # a published functional
        functional = found.source.split(",")[0]
        assert {
            n: pytest.approx(asked.cases[n].values_ev[functional] - asked.cases[n].values_ev[asked.reference])
            for n in asked.cases
        } == {n: c.error_ev for n, c in found.cases.items()}


@pytest.mark.parametrize("name", MEASURED)
def test_the_interval_covers_the_case_that_was_left_out(name: str) -> None:
    found = CATALOGUE.model_error(name)
    assert found is not None
    errors = [case.error_ev for case in found.cases.values()]
    assert len(errors) > FEWEST_CASES
    covered = [
        abs(error) <= (half_width_ev([*errors[:k], *errors[k + 1 :]]) or 0.0)
        for k, error in enumerate(errors)
    ]
    assert sum(covered) / len(covered) >= 0.85  # one of nine outside is what chance brings
