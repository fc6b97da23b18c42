"""Rows of the comparison: numbers, refusals, stand-ins, and their forms for terminal and JSON."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from epilayer.cli.tables import comparison_table
from epilayer.model.anomaly import Anomaly, AnomalyKind
from epilayer.model.level import EngineKind
from epilayer.model.records import GrowthMode, PoseOutcome, SearchConfidence, Status
from epilayer.report import tables

MINUS = "\N{MINUS SIGN}"


def printed(renderable: Any, width: int = 100) -> str:  # noqa: ANN401
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(renderable)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue().replace(MINUS, "-")


def test_interval_spans_levels_and_dispersion(make: Any) -> None:  # noqa: ANN401
    row = tables.compare(make.study(), (), make.paper()).adsorption[0]
    assert (row.id, row.facet, row.published_ev) == ("S2", "001", -0.51)
    assert (row.low_ev, row.high_ev) == (-0.68, 0.03)


def test_a_refused_value_is_never_shown_though_the_record_holds_one(make: Any) -> None:  # noqa: ANN401
    record = make.adsorption(None).model_copy(
        update={"adsorption_energy_ev": -9.99, "without_dispersion_ev": -9.98}
    )
    comparison = tables.compare([record], (), make.paper())
    level = comparison.adsorption[0].levels[0]
    assert level.value_ev is None
    assert level.without_dispersion_ev is None
    assert "9.9" not in printed(comparison_table(comparison)) + json.dumps(tables.to_json(comparison))
    assert level.reason is not None
    assert level.reason.startswith("slab: largest force")


def test_stand_ins_are_named_and_left_out(make: Any) -> None:  # noqa: ANN401
    toy = make.adsorption(-7.77, at=make.level("toy", EngineKind.TOY))
    verdict = make.growth([toy], -0.2)
    comparison = tables.compare([toy, make.adsorption()], [verdict], make.paper())
    text = printed(comparison_table(comparison))
    assert "stand-in, not a result" in text
    assert "7.77" not in text
    assert comparison.stand_ins == ("triazole on nvopf (001), toy", "growth of triazole on nvopf")
    assert [level.level for level in comparison.adsorption[0].levels] == ["chgnet+d3"]
    assert comparison.growth[0].mode is None


def test_published_values_without_a_result_keep_their_row(make: Any) -> None:  # noqa: ANN401
    comparison = tables.compare([], (), make.paper())
    assert [row.levels for row in comparison.adsorption] == [(), ()]
    assert "not computed" in printed(comparison_table(comparison))


def test_unpublished_results_follow_the_published(make: Any) -> None:  # noqa: ANN401
    rows = tables.compare([make.adsorption(ligand="water")], (), make.paper()).adsorption
    assert [row.ligand for row in rows] == ["triazole", "triazole", "water"]
    assert rows[-1].published_ev is None
    assert rows[-1].levels[0].deviation_ev is None


def test_without_a_reference(make: Any) -> None:  # noqa: ANN401
    comparison = tables.compare(make.study())
    assert len(comparison.adsorption) == 2
    assert comparison.citation is None
    printed(comparison_table(comparison))


@pytest.mark.parametrize(
    ("values", "agrees", "mode"),
    [
        ({"001": -0.6, "100": -0.7}, True, GrowthMode.ISOTROPIC),
        ({"001": -0.6, "100": 0.1}, False, GrowthMode.SELECTIVE),
        ({"001": -0.6, "100": None}, None, GrowthMode.UNDECIDED),
        ({"001": -0.6}, None, GrowthMode.UNDECIDED),  # one facet of the published two says nothing
    ],
)
def test_agreement_with_the_published_mode(
    make: Any,  # noqa: ANN401
    values: dict[str, float | None],
    agrees: bool | None,
    mode: GrowthMode,
) -> None:
    records = [make.adsorption(v, facet=f, less_dispersion_ev=None) for f, v in values.items()]
    verdict = make.growth(records, -0.2)
    row = tables.compare(records, [verdict], make.paper()).growth[0]
    assert row.mode is mode
    assert row.agrees is agrees


def test_the_report_says_how_sure_the_search_is(make: Any) -> None:  # noqa: ANN401
    sure = SearchConfidence(
        starts=9,
        sound_starts=9,
        minima=4,
        lowest_hits=3,
        missed_probability=0.5,
        unseen_probability=0.2,
        force_calls=200,
        ended="settled",
    )
    comparison = tables.compare([make.adsorption(search=sure)])
    said = " ".join(printed(comparison_table(comparison)).split())
    assert "open: 9 starts, 4 minima" in said
    assert "settled" not in said + tables.search_words(sure)  # an earlier version's word, with 50 % missed
    assert "open: it ended" in tables.search_words(sure)
    done = sure.model_copy(update={"missed_probability": 0.04})
    said = printed(comparison_table(tables.compare([make.adsorption(search=done)])))
    assert "done: 9 starts, 4 minima" in " ".join(said.split())
    (row,) = tables.to_json(comparison)["adsorption"]
    assert row["levels"][0]["search_missed_probability"] == 0.5
    assert "4 distinct minima, 3 of them in the lowest" in tables.search_words(sure)
    older = tables.compare([make.adsorption()])
    assert older.adsorption[0].levels[0].search_starts is None


def test_minimum_is_the_lowest_pose_that_is_still_the_molecule(make: Any) -> None:  # noqa: ANN401
    def pose(label: str, energy_ev: float, kind: AnomalyKind | None) -> PoseOutcome:
        found = kind and Anomaly(
            kind=kind, atoms=(0,), what="it did", value=1.0, threshold=0.5, unit="A", remedy="look"
        )
        return PoseOutcome(
            label=label,
            anchor=label,
            site="V1",
            stage="relaxed",
            adsorption_energy_ev=energy_ev,
            converged=True,
            anomalies=(found,) if found else (),
        )

    poses = (
        pose("gone", -3.0, AnomalyKind.DISSOCIATED),
        pose("noted", -0.5, AnomalyKind.RING_LAID_DOWN),
        pose("clean", -0.4, None),
    )
    found = make.adsorption(poses=poses).minimum
    assert found is not None
    assert found.label == "noted"


def test_rich_table_fits_100_columns(make: Any) -> None:  # noqa: ANN401
    records = make.study()
    comparison = tables.compare(records, [make.growth(records, -0.2)], make.paper())
    text = printed(comparison_table(comparison))
    assert max(len(line) for line in text.splitlines()) <= 100
    for word in (
        "-0.39",
        "provisional",
        "refused [1]",
        "undecided",
        "open",
    ):
        assert word in text
    assert "machine-learned potential, not DFT" in text


def test_a_provisional_value_stands_with_its_interval_and_what_is_open(make: Any) -> None:  # noqa: ANN401
    comparison = tables.compare([make.judged()], (), make.paper())
    (level,) = comparison.adsorption[0].levels
    assert (level.low_ev, level.high_ev) == pytest.approx((-0.71, -0.09))
    said = " ".join(printed(comparison_table(comparison)).split())
    assert "-0.71 to -0.09" in said
    assert "provisional: search open, 50% missed" in said
    assert "To settle what is open: search on (--set thorough=true)." in said


def test_a_deviation_is_between_equal_methods_alone(make: Any) -> None:  # noqa: ANN401
    records = [make.adsorption(at=make.level(name)) for name in ("chgnet+d3", "paper")]
    levels = {v.level: v for v in tables.compare(records, (), make.paper()).adsorption[0].levels}
    assert levels["chgnet+d3"].deviation_ev is None
    assert levels["paper"].deviation_ev == pytest.approx(0.12)


def test_terminations_of_one_facet_are_told_apart(make: Any) -> None:  # noqa: ANN401
    records = [
        make.adsorption(-0.4),
        make.adsorption(-0.9, termination="V-O, shift 0.75, as cut from the bulk"),
    ]
    comparison = tables.compare(records, (), make.paper())
    assert [v.label for v in comparison.adsorption[0].levels] == [
        "chgnet+d3, Na-F, shift 0.25",
        "chgnet+d3, V-O, shift 0.75, as cut from the bulk",
    ]
    text = printed(comparison_table(comparison))
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "shift 0.75" in " ".join(text.split())


def test_names_are_no_markup(make: Any) -> None:  # noqa: ANN401
    name = "[red]x[/] [/nope]"
    record = make.adsorption(ligand=name)
    comparison = tables.compare([record], [make.growth([record], -0.2)])
    assert name in printed(comparison_table(comparison), width=200)


def test_json_is_plain(make: Any) -> None:  # noqa: ANN401
    records = make.study()
    comparison = tables.compare(records, [make.growth(records, -0.2)], make.paper())
    again = json.loads(json.dumps(tables.to_json(comparison), allow_nan=False))
    assert again["adsorption"][0]["levels"][0]["value_ev"] == -0.39
    assert again["adsorption"][1]["levels"][1]["status"] == Status.REFUSED.value


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3))
def test_numbers_are_printed_with_a_sign_and_never_with_zero_uncertainty(value: float, half: float) -> None:
    text = tables.ev_with_uncertainty(value, half)
    assert text[0] in "+" + MINUS
    assert "-" not in text
    assert not text.endswith("± 0.00")
    assert float(tables.ev(value).replace(MINUS, "-")) == pytest.approx(value, abs=0.0051)
