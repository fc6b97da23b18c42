"""The shipped adsorption workflows: what each studies, what a stand-in leaves out, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from epilayer import Study
from epilayer.flows.search import THOROUGH
from epilayer.model.errors import InputError
from epilayer.study.config import Settings
from epilayer.study.workflows import build_flow

if TYPE_CHECKING:
    from jobflow import Flow


def build(name: str, *settings: str, level: str | None = "toy") -> Flow:
    return build_flow(Study(Path(), Settings()), name, settings, level)


def names(flow: Flow) -> list[str]:
    return [job.name for job, _ in flow.iterflow()]


def titled(flow: Flow, start: str) -> list[str]:
    return [n.removeprefix(start) for n in names(flow) if n.startswith(start)]


def test_the_screening_ranks_solvents_beside_the_ligands() -> None:
    flow = build("solvent_screening")
    assert len(titled(flow, "search ")) == 8 * 2
    assert titled(flow, "competition on ") == ["nvopf (001)", "nvopf (100)"]
    # Growth is asked of the ligands alone.
    assert titled(flow, "growth of ") == ["triazole on nvopf", "2-methylimidazole on nvopf"]
    assert len(titled(build("solvent_screening", "quick=true"), "search ")) == 8


@pytest.mark.parametrize(
    ("workflow", "searches"),
    [
        (
            "prussian_white_adsorption",
            ["triazole on prussian-white (012)", "triazole on prussian-white (104)"],
        ),
        (
            "olivine_adsorption",
            [
                f"{ligand} on nafepo4 ({f})"
                for f in ("010", "100")
                for ligand in ("triazole", "2-methylimidazole")
            ],
        ),
    ],
)
def test_the_further_pairs(workflow: str, searches: list[str]) -> None:
    flow = build(workflow)
    assert sorted(titled(flow, "search ")) == sorted(searches)
    assert not titled(flow, "competition")


def test_a_stand_in_is_not_checked_by_a_real_engine() -> None:
    assert not [n for n in names(build("paper_adsorption")) if "sevennet" in n]
    real = build("paper_adsorption", "facets=001", "ligands=triazole", level="chgnet")
    assert [n for n in names(real) if "sevennet" in n]


@pytest.mark.parametrize("ion", ["acetate", "2-methylimidazolate"])
def test_an_ion_is_refused_where_charge_is_not_seen(ion: str) -> None:
    with pytest.raises(InputError, match=f"{ion} carries -1") as caught:
        build("solvent_screening", f"competitors={ion}")
    assert "sodium-acetate" in caught.value.remedy


def test_a_competitor_may_not_be_a_ligand_too() -> None:
    with pytest.raises(InputError, match="'triazole' twice"):
        build("solvent_screening", "competitors=triazole")


def test_the_search_stands_in_the_verdict() -> None:
    flow = build("paper_adsorption", "poses=3", "ligands=triazole", "facets=001")
    (verdict,) = (job for job, _ in flow.iterflow() if job.name.startswith("growth"))
    given: Any = verdict.function_args
    assert given[2]["search_poses"] == 3


def test_a_thorough_search_has_settings_of_its_own_and_a_quick_one_stays_quick() -> None:
    small = ("ligands=triazole", "facets=001")
    for settings, poses in (("thorough=true", THOROUGH.poses), ("quick=true", 2), ("poses=5", 5)):
        (search,) = (
            j
            for j, _ in build("paper_adsorption", settings, *small).iterflow()
            if j.name.startswith("search")
        )
        assert search.function_args[1].poses == poses
