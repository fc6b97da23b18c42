"""The epitaxy workflow: what it computes for whom, a rehearsal to the end, and refusals at the door."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from epilayer import Study
from epilayer.model.epitaxy import EpitaxialMatch
from epilayer.model.errors import InputError, StructureError
from epilayer.model.records import RefusalCode, Status
from epilayer.study.config import Settings
from epilayer.study.workflows import build_flow

if TYPE_CHECKING:
    from jobflow import Flow


def build(*settings: str) -> Flow:
    return build_flow(Study(Path(), Settings()), "epitaxy", settings, "toy")


def names(flow: Flow) -> list[str]:
    return [job.name for job, _ in flow.iterflow()]


def test_one_framework_relaxation_serves_all_facets_and_the_quick_way_holds_the_thickness() -> None:
    quick = names(build("quick=true"))
    assert sum(n.startswith("framework ") for n in quick) == 1
    assert sum(n.startswith("strained ") for n in quick) == 4
    assert [n for n in quick if n.startswith("match of ")] == [
        "match of met6 (001) on nvopf (001)",
        "match of met6 (011) on nvopf (100)",
    ]
    full = names(build("facets=001", "mofs=met6"))
    assert sum(n.startswith("strained ") for n in full) == 6


def test_a_rehearsal_runs_to_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flow = build("quick=true", "facets=001")
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    done = run_locally(flow, store=store, create_folders=True, log=False)
    last = [job for job, _ in flow.iterflow()][-1]
    record = done[last.uuid][1].output
    assert isinstance(record, EpitaxialMatch)
    assert record.status is Status.CERTIFIED
    assert record.level.stand_in
    assert record.formula_units == 6
    assert record.match.cells == 4
    assert record.deformation_energy_ev is not None
    assert record.deformation_energy_ev > 0


def test_a_match_beyond_the_strain_that_is_trusted_computes_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flow = build("mofs=zif8", "facets=100", "mof_facets=111", "max_strain=0.12", "max_area_ang2=500")
    assert len(names(flow)) == 2
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    done = run_locally(flow, store=store, create_folders=True, log=False)
    record = done[[job for job, _ in flow.iterflow()][-1].uuid][1].output
    assert record.refusals[0].code is RefusalCode.STRAIN_TOO_LARGE


def test_what_names_nothing_or_fits_nowhere_is_refused() -> None:
    with pytest.raises(InputError, match="names the facet '001' twice"):
        build("facets=001,001")
    with pytest.raises(StructureError, match="zif8 matches \\(100\\) of nvopf nowhere"):
        build("mofs=zif8", "facets=100", "mof_facets=111")
