"""Typed records as documents and back: nothing is lost, identity is the question, newer ones are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from epilayer.model.errors import StoreError
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import (
    AdsorptionEnergy,
    CompetingAdsorption,
    Competitor,
    GrowthMode,
    GrowthVerdict,
    PoseOutcome,
    SearchConfidence,
    Status,
)
from epilayer.store.records import SCHEMA_VERSION, document_of, record_of

STRUCTURE = Structure(Lattice.cubic(8.0), ["Mg", "O", "H"], [[0, 0, 0], [0, 0, 0.25], [0, 0, 0.37]])


def level(name: str = "a", method: str = "PBE") -> LevelOfTheory:
    return LevelOfTheory(name=name, kind=EngineKind.DFT, method=method)


def pose(label: str, energy_ev: float | None, *, converged: bool = True) -> PoseOutcome:
    return PoseOutcome(
        label=label,
        anchor=f"anchor of {label}",
        site="Mg",
        stage="relaxed",
        adsorption_energy_ev=energy_ev,
        converged=converged,
    )


def adsorption(**changes: Any) -> AdsorptionEnergy:  # noqa: ANN401
    fields: dict[str, Any] = {
        "cathode": "mgo",
        "facet": "100",
        "termination": "t0",
        "ligand": "water",
        "level": level(),
        "status": Status.CERTIFIED,
        "adsorption_energy_ev": -0.5,
        "uncertainty_ev": 0.01,
        "without_dispersion_ev": None,
        "pose_spread_ev": None,
        "refusals": (),
        "anomalies": (),
        "legs": (),
        "poses": (pose("b", -0.5), pose("a", -0.9, converged=False)),
        "structure": STRUCTURE,
        "adsorbate_atoms": (2,),
        "closest_contact": "H2...O1",
        "closest_contact_ang": 0.96,
        "area_ang2": 64.0,
        "code_version": "1",
        "parameters": {"seed": 0},
    }
    return AdsorptionEnergy(**(fields | changes))


def growth(**changes: Any) -> GrowthVerdict:  # noqa: ANN401
    fields: dict[str, Any] = {
        "cathode": "mgo",
        "ligand": "water",
        "mode": GrowthMode.NONE,
        "binding_facets": (),
        "facets": (),
        "threshold_ev": -0.2,
        "margin_ev": 0.1,
        "statement": "holds on no facet",
        "stand_in": False,
        "code_version": "1",
    }
    return GrowthVerdict(**(fields | changes))


def competition(**changes: Any) -> CompetingAdsorption:  # noqa: ANN401
    fields: dict[str, Any] = {
        "cathode": "mgo",
        "facet": "100",
        "termination": "t0",
        "competitors": (
            Competitor(ligand="dmf", values_ev={"a": -0.7}, low_ev=-0.7, high_ev=-0.7, outbids=("water",)),
            Competitor(ligand="water", values_ev={"a": -0.5}, low_ev=-0.5, high_ev=-0.5, outbids=()),
            Competitor(ligand="ethanol", values_ev={"a": None}, low_ev=None, high_ev=None, outbids=()),
        ),
        "statement": "(100): dmf holds harder than water",
        "stand_in": False,
        "code_version": "1",
    }
    return CompetingAdsorption(**(fields | changes))


@pytest.mark.parametrize("record", [adsorption(), growth(), competition()], ids=lambda r: r.kind)
def test_a_record_comes_back_as_it_was(
    record: AdsorptionEnergy | GrowthVerdict | CompetingAdsorption,
) -> None:
    document = json.loads(json.dumps(document_of(record, job="j", created="2026-01-01T00:00:00+00:00")))
    again = record_of(document)
    assert type(again) is type(record)
    assert again == record


def test_the_fields_name_the_pose_that_the_energy_is_of() -> None:
    fields = document_of(adsorption(), job="j", created="now")["fields"]
    assert fields["anchor"] == "anchor of b"
    assert fields["adsorption_energy_ev"] == -0.5
    assert fields["job"] == "j"


def test_how_sure_the_search_is_can_be_queried_and_older_records_still_read() -> None:
    sure = SearchConfidence(
        starts=9,
        sound_starts=8,
        minima=3,
        lowest_hits=4,
        missed_probability=3 / 7,
        unseen_probability=0.125,
        force_calls=180,
        ended="settled",
    )
    document = document_of(adsorption(search=sure), job="j", created="now")
    assert document["fields"]["search_starts"] == 9
    assert document["fields"]["search_missed_probability"] == pytest.approx(3 / 7)
    assert record_of(document).search == sure
    # How the search went is an answer, not a question.
    assert document["id"] == identity(adsorption())
    older = document_of(adsorption(), job="j", created="now")
    del older["body"]["search"]
    assert record_of(older).search is None


def test_a_ranking_is_read_off_its_fields() -> None:
    fields = document_of(competition(), job="j", created="now")["fields"]
    assert (fields["ranking"], fields["first"], fields["outbids"]) == ("dmf,water", "dmf", "water")
    assert fields["refused"] == "ethanol"


def identity(record: AdsorptionEnergy | GrowthVerdict | CompetingAdsorption) -> str:
    return str(document_of(record, job="j", created="now")["id"])


@pytest.mark.parametrize(
    "changes",
    [
        {"facet": "001"},
        {"termination": "t1"},
        {"ligand": "dmf"},
        {"cathode": "nvopf"},
        {"level": level(method="RPBE")},
        # Two levels may differ in their convergence alone, which is no part of the fingerprint.
        {"level": level("a, to smaller forces")},
        {"parameters": {"seed": 1}},
        {"code_version": "2"},
    ],
)
def test_another_question_is_another_record(changes: dict[str, Any]) -> None:
    assert identity(adsorption(**changes)) != identity(adsorption())


def test_another_answer_to_the_same_question_replaces_it() -> None:
    assert identity(adsorption(adsorption_energy_ev=-0.7, uncertainty_ev=0.02)) == identity(adsorption())
    assert identity(growth(margin_ev=0.2)) == identity(growth())
    assert identity(growth(threshold_ev=-0.3)) != identity(growth())
    assert identity(competition(statement="another")) == identity(competition())
    assert identity(competition(facet="001")) != identity(competition())


def test_a_hasty_verdict_does_not_replace_a_thorough_one() -> None:
    hasty, thorough = ({"search_poses": n, "search_seed": 0} for n in (2, 8))
    assert identity(growth(parameters=hasty)) != identity(growth(parameters=thorough))
    assert identity(competition(parameters=hasty)) != identity(competition(parameters=thorough))
    assert identity(growth(parameters=hasty)) == identity(growth(parameters=dict(hasty), margin_ev=0.3))


@pytest.mark.parametrize("changes", [{"schema_version": SCHEMA_VERSION + 1}, {"kind": "transmutation"}])
def test_what_a_newer_version_wrote_is_refused(changes: dict[str, Any]) -> None:
    document = document_of(adsorption(), job="j", created="now") | changes
    with pytest.raises(StoreError, match="does not read") as caught:
        record_of(document)
    assert "Upgrade epilayer" in caught.value.remedy
