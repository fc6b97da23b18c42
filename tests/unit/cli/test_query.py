"""Questions to the results in every form of answer, saved and grouped, also from Python."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

import epilayer.study.results
from epilayer import Study
from epilayer.cli.root import app
from epilayer.model.errors import InputError, UnknownNameError
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import AdsorptionEnergy, Leg, Provenance, Status
from epilayer.store.records import document_of

if TYPE_CHECKING:
    from pathlib import Path

STRUCTURE = Structure(Lattice.cubic(9.0), ["O", "H"], [[0, 0, 0], [0, 0, 0.1]])
ENERGY = "adsorption_energy_ev"
SLAB = Leg(
    role="slab", energy_ev=-9.0, dispersion_energy_ev=None, max_force_ev_per_ang=0.01, steps=3,
    residual_ev=0.0, formula="H1 O1", level_fingerprint="f",
    provenance=Provenance(
        job="job-slab", run_directory="/runs/slab", files={"OUTCAR": "0" * 64}, versions={"vasp": "6.4"}
    ),
)  # fmt: skip
VALUES_EV = {("100", "water"): -0.5, ("100", "dmf"): -0.9, ("001", "water"): -0.3, ("001", "dmf"): None}


def record(facet: str, ligand: str, value_ev: float | None) -> AdsorptionEnergy:
    return AdsorptionEnergy(
        cathode="nvopf", facet=facet, termination="t0", ligand=ligand,
        level=LevelOfTheory(name="chgnet+d3", kind=EngineKind.MLIP, method="CHGNet", dispersion="D3(BJ)"),
        status=Status.REFUSED if value_ev is None else Status.CERTIFIED,
        adsorption_energy_ev=value_ev, uncertainty_ev=0.01, without_dispersion_ev=None, pose_spread_ev=None,
        refusals=(), anomalies=(), legs=(SLAB,), poses=(), structure=STRUCTURE, adsorbate_atoms=(0, 1),
        closest_contact="O0...H1", closest_contact_ang=0.97, area_ang2=81.0, code_version="1", parameters={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    (root / "epilayer.yaml").touch()
    results = Study.open(root).results()
    results.put(
        document_of(record(*key, value), job="j", created="2025-01-01T00:00:00Z")
        for key, value in VALUES_EV.items()
    )
    results.close()
    return root


def ask(study: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["-C", str(study), "query", *arguments])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def as_json(study: Path, *arguments: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads(ask(study, *arguments, "--format", "json"))
    return read


def test_groups_count_and_summarise_all_that_matches(study: Path) -> None:
    low, high = as_json(
        study, "adsorption", "--group-by", "facet", "--field", "adsorption_energy_ev", "--limit", "1"
    )
    assert low == {
        "facet": "001", "count": 2, "adsorption_energy_ev mean": -0.3, "adsorption_energy_ev min": -0.3,
        "adsorption_energy_ev max": -0.3,
    }  # fmt: skip
    assert high["adsorption_energy_ev mean"] == pytest.approx(-0.7)
    assert (high["adsorption_energy_ev min"], high["adsorption_energy_ev max"]) == (-0.9, -0.5)
    with pytest.raises(UnknownNameError, match="facets"):
        ask(study, "adsorption", "--group-by", "facets")


def test_a_stand_in_is_marked_in_every_answer(tmp_path: Path) -> None:
    (tmp_path / "epilayer.yaml").touch()
    results = Study.open(tmp_path).results()
    real = record("100", "water", -0.5)
    made_up = real.model_copy(
        update={"facet": "001", "level": real.level.model_copy(update={"name": "paper", "stand_in": True})}
    )
    results.put(document_of(r, job="j", created="2025-01-01T00:00:00Z") for r in (real, made_up))
    results.close()
    table = ask(tmp_path, "adsorption", "--field", "facet", "--field", "adsorption_energy_ev")
    assert "1 of 2 were computed by a stand-in" in table
    assert [("stand-in" in line, "001" in line) for line in table.splitlines()[1:3]].count((True, True)) == 1
    rows = {r["facet"]: r for r in as_json(tmp_path, "adsorption", "--field", "facet")}
    assert rows["001"]["stand_in"] is True
    assert "stand_in" not in rows["100"]
    (group,) = (g for g in as_json(tmp_path, "adsorption", "--group-by", "level") if g["level"] == "paper")
    assert group["of stand-ins"] == 1


def test_a_saved_query_is_asked_again_and_narrowed(study: Path) -> None:
    first = as_json(
        study, "adsorption", "-w", "facet=100", "--sort", "adsorption_energy_ev", "--save", "side"
    )
    assert [row["ligand"] for row in first] == ["dmf", "water"]
    assert as_json(study, "@side") == first
    assert as_json(study, "@side", "-w", "ligand=water") == first[1:]
    with pytest.raises(UnknownNameError, match="sides"):
        ask(study, "@sides")
    with pytest.raises(InputError, match="cannot name a query"):
        ask(study, "adsorption", "--save", "../x")


def test_parquet_csv_and_json_hold_the_same(study: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = as_json(study, "adsorption", "--sort", "ligand")
    ask(
        study,
        "adsorption",
        "--sort",
        "ligand",
        "--format",
        "parquet",
        "--output",
        str(tmp_path / "a.parquet"),
    )
    assert parquet.read_table(tmp_path / "a.parquet").to_pylist() == rows
    lines = list(csv.DictReader(io.StringIO(ask(study, "adsorption", "--sort", "ligand", "-o", "csv"))))
    assert [line["id"] for line in lines] == [row["id"] for row in rows]
    with pytest.raises(InputError, match="not text"):
        ask(study, "adsorption", "--format", "parquet")


def test_bibtex_cites_what_the_records_found_rest_on(study: Path) -> None:
    text = ask(study, "adsorption", "-w", "facet=100", "--format", "bibtex")
    assert "doi = {10.1038/s42256-023-00716-3}" in text
    assert "doi = {10.1002/jcc.21759}" in text
    assert ask(study, "adsorption", "-w", "facet=111", "--format", "bibtex") == ""


def test_jobs_of_a_study_without_a_queue_are_none(study: Path) -> None:
    assert as_json(study, "jobs") == []


def test_python_gets_a_table(study: Path) -> None:
    with epilayer.study.results.open(study) as results:
        table = results.query("adsorption", "facet=100", sort="adsorption_energy_ev")
        assert list(table.ligand) == ["dmf", "water"]
        assert table.adsorption_energy_ev.mean() == pytest.approx(-0.7)
        assert list(table.index) == [row["id"] for row in as_json(study, "@side")]
        assert results.kinds() == {"adsorption": 4}
        assert results.query("adsorption", "facet=111").empty
    with pytest.raises(InputError, match="holds no results"):
        epilayer.study.results.open(study / "nowhere")


def test_a_number_opens_to_its_runs_and_a_run_to_its_results(study: Path) -> None:
    first, *_ = as_json(study, "adsorption", "--sort", "adsorption_energy_ev")
    runs = as_json(study, "runs", "--of", first["id"][:10])
    assert {(run["role"], run["uuid"], run["result"]) for run in runs} == {
        ("slab", "job-slab", first["id"][:12]),
        ("made the result", "j", first["id"][:12]),
    }
    (slab,) = (run for run in runs if run["role"] == "slab")
    assert (slab["directory"], slab["files"], slab["programs"]) == ("/runs/slab", "OUTCAR", "vasp 6.4")
    back = as_json(study, "runs", "-w", "uuid=job-slab", "--field", "result")
    assert len({row["result"] for row in back}) == len(VALUES_EV)
    with pytest.raises(InputError, match="query runs --of"):
        ask(study, "adsorption", "--of", first["id"])
    with pytest.raises(InputError, match="No result has an id"):
        ask(study, "runs", "--of", "zz")


def test_structures_of_results_are_asked_like_records(study: Path) -> None:
    rows = as_json(study, "structures", "-w", "volume_ang3>700", "-w", "elements~H")
    assert [(row["formula"], row["atoms"], row["a_ang"]) for row in rows] == [("H2O2", 2, 9.0)] * 4
    assert as_json(study, "structures", "--group-by", "formula", "--field", "atoms")[0]["count"] == 4
    assert as_json(study, "structures", "-w", "atoms>2") == []
