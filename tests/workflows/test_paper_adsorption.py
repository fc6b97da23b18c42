"""The paper's adsorption study through the real command line, with real workers and the toy potential."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from epilayer import Study
from epilayer.cli import main
from epilayer.model.records import AdsorptionEnergy, GrowthMode, GrowthVerdict, Status
from epilayer.store.records import record_of
from epilayer.store.results import open_results

HERE = Path(__file__).parent
PROGRAM = [sys.executable, "-c", "from epilayer.cli import main; main()"]
STUDY = ("paper_adsorption", "--level", "toy", "--set", "check_levels=toy-tight")
SMALL = ("paper_adsorption", "--level", "toy", "--quick", "--set", "ligands=triazole")
SECOND_LEVEL = """\
name: toy-tight
title: the toy again, to smaller forces
engine: toy
source: tests
convergence: {max_force_ev_per_ang: 0.04, max_steps: 400}
"""
FAULTY = '''\
"""One facet, one ligand, and an engine that fails at one pose."""

from faulty_engine import FaultyEngine

from epilayer.flows.adsorption import AdsorptionStudyMaker, facet_slab
from epilayer.flows.search import PoseSearch
from epilayer.structures import molecules


def build(catalogue):
    engine = FaultyEngine(catalogue.engine_spec("toy"), catalogue.level("toy"))
    ligand = catalogue.ligand("triazole")
    box = molecules.in_box(molecules.build(ligand, 0), vacuum_ang=15.0)
    study = AdsorptionStudyMaker(engine=engine, search=PoseSearch(poses=2, keep=1))
    return study.make("nvopf", [facet_slab(catalogue.cathode("nvopf"), "001")], [ligand], {"triazole": box})
'''


CIRCUMSTANCE = ("created", "job", "run_directory", "wall_time_s")
"""What differs between two runs of the same work."""


def lay_out(root: Path) -> Path:
    for folder in ("configs/levels", "workflows"):
        (root / folder).mkdir(parents=True)
    (root / "epilayer.yaml").write_text("workers: 2\n")
    (root / "configs" / "levels" / "toy-tight.yaml").write_text(SECOND_LEVEL)
    (root / "workflows" / "faulty.py").write_text(FAULTY)
    return root


def environment(study: Path) -> dict[str, str]:
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "160",
        "PYTHONPATH": str(HERE),
        "EPILAYER_TEST_FAULT": str(study / "fault"),
        "EPILAYER_DEBUG": "",
    }


def epilayer(study: Path, *arguments: str, code: int = 0) -> str:
    """Run a command; return what it printed. Runs of workers get a process of their own, as in life."""
    if arguments[0] == "run":
        command = [*PROGRAM, "-C", str(study), *arguments]
        done = subprocess.run(
            command, env=environment(study), capture_output=True, text=True, check=False, timeout=500
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(sys, "argv", ["epilayer", "-C", str(study), *arguments])
        patch.setenv("COLUMNS", "160")
        with pytest.raises(SystemExit) as left:
            main()
    assert (left.value.code or 0) == code, printed.getvalue()
    return printed.getvalue()


def as_json(study: Path, *arguments: str, code: int = 0) -> Any:  # noqa: ANN401
    return json.loads(epilayer(study, *arguments, code=code))


def records(study: Path, kind: str) -> list[dict[str, Any]]:
    """Whole documents, sorted, without what tells one run of the same work from another."""
    results = open_results(Study.open(study).results_file)
    try:
        found = results.query(kind, limit=None, body=True)
    finally:
        results.close()
    return sorted((without_circumstance(dict(r)) for r in found), key=lambda r: str(r["id"]))


def without_circumstance(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {k: without_circumstance(v) for k, v in value.items() if k not in CIRCUMSTANCE}
    return [without_circumstance(v) for v in value] if isinstance(value, list | tuple) else value


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that ran to its end: one ligand, two facets, one level."""
    study = lay_out(tmp_path_factory.mktemp("done"))
    report = as_json(study, "run", *SMALL, "--json")
    assert report["run"]["failed"] == report["run"]["crashed"] == 0
    assert report["records_stored"] == 3
    return study


def assert_every_number_is_provisional_or_refused(study: Path, adsorptions: int, verdicts: int) -> None:
    results = open_results(Study.open(study).results_file)
    try:
        energies = [record_of(r) for r in results.query("adsorption", limit=None, body=True)]
        growth = [record_of(r) for r in results.query("growth", limit=None, body=True)]
    finally:
        results.close()
    assert (len(energies), len(growth)) == (adsorptions, verdicts)
    for energy in energies:
        assert isinstance(energy, AdsorptionEnergy)
        assert energy.level.stand_in
        assert energy.minimum is not None
        assert energy.status is not Status.CERTIFIED  # by a quick search with a level that nobody benchmarked
        if energy.status is Status.PROVISIONAL:
            assert energy.open_points
            assert energy.uncertainty is not None
            assert energy.adsorption_energy_ev is not None
            total_ev = {leg.role: leg.energy_ev for leg in energy.legs}
            expected_ev = total_ev["adslab"] - total_ev["slab"] - total_ev["molecule"]
            assert energy.adsorption_energy_ev == pytest.approx(expected_ev)
            assert all(leg.max_force_ev_per_ang <= 0.05 for leg in energy.legs)
            assert energy.minimum.adsorption_energy_ev == energy.adsorption_energy_ev
        else:
            assert energy.adsorption_energy_ev is None
            assert energy.refusals
            assert all(r.what and r.remedy for r in energy.refusals)
        for leg in energy.legs:
            assert Path(leg.provenance.run_directory).is_relative_to(study)
            assert all((Path(leg.provenance.run_directory) / f).is_file() for f in leg.provenance.files)
    for verdict in growth:
        assert isinstance(verdict, GrowthVerdict)
        refused = [f for f in verdict.facets if None in f.values_ev.values()]
        assert verdict.mode is GrowthMode.UNDECIDED or not refused
        assert verdict.stand_in
    assert any(e.status is Status.PROVISIONAL for e in energies)


def test_every_number_is_provisional_or_refused_with_a_reason(done: Path) -> None:
    assert_every_number_is_provisional_or_refused(done, adsorptions=2, verdicts=1)


@pytest.mark.slow
def test_the_whole_study(tmp_path: Path) -> None:
    study = lay_out(tmp_path / "study")
    epilayer(study, "run", *STUDY, "--set", "poses=4")
    assert_every_number_is_provisional_or_refused(study, adsorptions=8, verdicts=2)
    # A question answered again replaces its answer, and the older one does not come back.
    one_facet = ("--set", "facets=001", "--set", "ligands=triazole", "--set", "poses=4")
    epilayer(study, "run", *STUDY, *one_facet, "--fresh")
    before = records(study, "adsorption")
    assert len(before) == 8
    for _ in range(2):
        assert as_json(study, "run", "--json")["records_stored"] == 0
    assert records(study, "adsorption") == before


def test_shared_legs_are_computed_once(done: Path) -> None:
    names = [j["name"] for j in as_json(done, "jobs", "list", "--json")]
    for leg in ("slab nvopf (001), toy", "slab nvopf (100), toy", "molecule triazole, toy"):
        assert names.count(leg) == 1


def test_the_second_run_computes_nothing(done: Path) -> None:
    before = records(done, "adsorption")
    report = as_json(done, "run", *SMALL, "--json")
    assert report["submitted"]["new"] == []
    assert report["run"]["completed"] == 0
    assert report["records_stored"] == 0
    assert records(done, "adsorption") == before


def test_status_and_jobs_for_scripts(done: Path) -> None:
    status = as_json(done, "status", "--json")
    assert set(status["counts"]) >= {"COMPLETED", "FAILED", "WAITING"}
    assert status["counts"]["FAILED"] == status["blocked"] == 0
    assert sum(status["counts"].values()) == status["counts"]["COMPLETED"]
    assert status["flows"][0]["name"] == "adsorption on nvopf"
    shown = as_json(done, "jobs", "show", "1", "--json")
    assert shown["state"] == "COMPLETED"
    assert [a["outcome"] for a in shown["attempts"]] == ["COMPLETED"]
    assert Path(shown["attempts"][0]["directory"]).is_dir()
    tree = as_json(done, "jobs", "tree", "--json")
    assert {row["number"] for row in tree} == {j["number"] for j in as_json(done, "jobs", "list", "--json")}
    assert "LBFGS" in epilayer(done, "jobs", "log", "1") or "slab" in shown["name"]


def test_queries_for_scripts(done: Path) -> None:
    found = as_json(done, "query", "adsorption", "--where", "facet=100", "--format", "json")
    assert [(r["facet"], r["level"], r["ligand"]) for r in found] == [("100", "toy", "triazole")]
    text = epilayer(done, "query", "adsorption", "--where", "facet=100", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [r["facet"] for r in rows] == ["100"]
    assert [r["id"] for r in rows] == [r["id"] for r in found]
    (growth,) = as_json(done, "query", "growth", "--format", "json")
    assert growth["mode"] in list(GrowthMode)
    assert "triazole" in epilayer(done, "query", "adsorption")


def test_an_empty_answer_is_still_a_document(done: Path) -> None:
    assert as_json(done, "query", "adsorption", "--where", "facet=110", "--format", "json") == []
    text = epilayer(done, "query", "adsorption", "--where", "facet=110", "--format", "csv")
    assert text.startswith("id,created")


def test_the_report_is_one_file_that_never_shows_a_stand_in_as_a_result(done: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    printed = epilayer(done, "report", "--output", str(file))
    html = file.read_text(encoding="utf-8")
    assert html.lstrip().lower().startswith("<!doctype html>")
    assert "stand-in" in printed
    for record in records(done, "adsorption"):
        energy_ev = record["fields"]["adsorption_energy_ev"]
        if energy_ev is not None:
            assert f"{energy_ev:+.3f}" not in html
    json.loads(epilayer(done, "report", "--json"))


def test_killed_half_way_and_run_again_gives_the_same_records(done: Path, tmp_path: Path) -> None:
    study = lay_out(tmp_path / "killed")
    with subprocess.Popen(
        [*PROGRAM, "-C", str(study), "run", *SMALL],
        env=environment(study),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        completed = 0
        for line in running.stdout:
            completed += "completed" in line
            if completed == 6:
                break
        assert completed == 6, "it ended before it could be killed"
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    epilayer(study, "run", *SMALL)
    for kind in ("adsorption", "growth"):
        assert records(study, kind) == records(done, kind)
    # Nothing ran to its end twice.
    for job in as_json(study, "jobs", "list", "--json"):
        outcomes = (
            [a["outcome"] for a in as_json(study, "jobs", "show", str(job["number"]), "--json")["attempts"]]
            if job["attempts"] > 1
            else ["COMPLETED"]
        )
        assert outcomes.count("COMPLETED") == 1


def test_a_failed_pose_is_shown_waited_for_and_run_again(tmp_path: Path) -> None:
    study = lay_out(tmp_path / "failing")
    fault = study / "fault"
    fault.write_text("")
    printed = epilayer(study, "run", "faulty", code=3)
    assert "1 failed" in printed
    assert "rerun --failed" in printed

    status = as_json(study, "status", "--json")
    (failed,) = status["failed"]
    assert ", 01-" in failed["name"]
    assert "non-finite energy" in failed["cause"]
    assert "\n" not in failed["cause"]
    assert status["blocked"] == status["counts"]["WAITING"] > 0
    shown = [line for line in epilayer(study, "status").splitlines() if "non-finite energy" in line]
    assert len(shown) == 1
    assert f" {failed['number']} " in f" {shown[0]} "
    assert "non-finite energy" in epilayer(study, "jobs", "log", str(failed["number"]))
    # The same command does not try again by itself, and says so.
    epilayer(study, "run", "faulty", code=3)
    assert as_json(study, "jobs", "show", str(failed["number"]), "--json")["attempts"][1:] == []

    assert as_json(study, "rerun", "--failed", "--dry-run", "--json")["jobs"] == [failed["number"]]
    assert as_json(study, "status", "--json") == status
    assert as_json(study, "rerun", "--failed", "--json")["jobs"] == [failed["number"]]
    assert as_json(study, "status", "--json")["failed"] == []
    epilayer(study, "rerun", "--undo")
    assert as_json(study, "status", "--json") == status

    fault.unlink()
    epilayer(study, "rerun", "--failed")
    epilayer(study, "run")
    attempts = as_json(study, "jobs", "show", str(failed["number"]), "--json")["attempts"]
    assert [a["outcome"] for a in attempts] == ["FAILED", "COMPLETED"]
    assert "non-finite energy" in attempts[0]["cause"]
    assert len({a["directory"] for a in attempts}) == 2
    assert "FAILED" in epilayer(study, "jobs", "show", str(failed["number"]))
    (energy,) = as_json(study, "query", "adsorption", "--format", "json")
    assert energy["status"] in list(Status)
    (growth,) = as_json(study, "query", "growth", "--format", "json")
    assert growth["stand_in"]
