"""The page of one result, for each kind of record that a study can hold."""

from __future__ import annotations

import json
import os
import re
import sys
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from jobflow import Flow, Job
from pymatgen.io.vasp.inputs import Poscar

from small_study import put_output

sys.path.insert(0, str(Path(__file__).parent))

import record_kinds as made
from record_kinds import adsorption, bonds, calculation, competition, growth, wulff

from epilayer.dashboard.motion import read_motion
from epilayer.model.bonding import BondMeasure
from epilayer.model.dynamics import ABOUT
from epilayer.model.kinds import KINDS
from epilayer.store.records import document_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.testclient import TestClient

    from epilayer import Study
    from epilayer.store.results import SqliteResults


def shown(results: SqliteResults, client: TestClient, record: Any) -> tuple[str, str]:  # noqa: ANN401
    document = document_of(record, created="2026-01-01")
    results.put([document])
    answer = client.get(f"/result/{document['id']}")
    assert answer.status_code == 200, answer.text
    return document["id"], answer.text


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (adsorption, ["certified", "±", "\N{MINUS SIGN}0.39", "Methods", "sha256 cdcd", "triazole on (001)"]),
        (lambda: adsorption(None), ["Why it is refused", "forces too large", "more steps"]),
        (
            growth,
            ["isotropic", "holds on (001)", "Growth on nvopf by triazole", "Adsorption energy by facet"],
        ),
        (competition, ["water outbids dmf", "Who holds nvopf (001)", "Adsorption energy by molecule"]),
        (made.sensitivity, ["Choices behind triazole on (001)", "anion: 2-methylimidazolate refused"]),
        (bonds, ["weakened by 7 %", "C0-O1 10.50 to 9.80 eV", "Weakens a bond most: flat"]),
        (made.calibration, ["C-O", "goes with 0.70 of the index"]),
        (made.surface, ["Surface of nvopf (001)", "0.90 ± 0.01", "J/m²"]),
        (wulff, ["Equilibrium shape of nvopf", "(111) was refused"]),
        (made.epitaxy, ["met6 on (001)", "eV per formula unit"]),
        (made.transport, ["walkers, chgnet+d3", "D of na", "10⁻", "Self-diffusion, with intervals"]),
        (made.arrhenius, ["Activation energy of na in walkers", "0.17 to 0.26 eV (95 %)"]),
        (made.imported, ["\N{MINUS SIGN}39.6626", "Na1 Cl1", "OUTCAR.gz"]),
        (made.imported_adsorption, ["Au16 O1 on Au16 O1", "no dipole correction in any leg"]),
    ],
)
def test_the_page_of_each_kind(
    results: SqliteResults, client: TestClient, make: Callable[[], Any], says: list[str]
) -> None:
    identity, text = shown(results, client, make())
    for words in says:
        assert words in text, words
    assert f'href="/result/{identity}/record.json"' in text
    assert client.get(f"/result/{identity}/record.json").json()["id"] == identity


def test_no_kind_was_forgotten() -> None:
    assert set(made.EVERY_KIND) == set(KINDS)


@pytest.mark.parametrize(
    ("make", "figure"),
    [
        (adsorption, "after"),
        (bonds, "bonds"),
        (wulff, "wulff"),
        (growth, "ranges"),
        (made.sensitivity, "ranges"),
        (made.transport, "diffusion"),
    ],
)
def test_its_figures_are_drawn(
    results: SqliteResults, client: TestClient, make: Callable[[], Any], figure: str
) -> None:
    identity, text = shown(results, client, make())
    assert f"/result/{identity}/figure/{figure}.svg" in text
    drawn = client.get(f"/result/{identity}/figure/{figure}.svg")
    assert drawn.headers["content-type"] == "image/svg+xml"
    assert drawn.text.startswith("<svg")
    assert "<script" not in drawn.text
    assert client.get(f"/result/{identity}/figure/none.svg").status_code == 404


def test_before_after_and_the_relaxation(study: Study, results: SqliteResults, client: TestClient) -> None:
    run = study.runs / "relaxation"
    run.mkdir(parents=True)
    record = adsorption()
    Poscar(record.structure).write_file(str(run / "POSCAR"))
    there = record.legs[-1].provenance.model_copy(update={"run_directory": str(run)})
    legs = [leg.model_copy(update={"provenance": there}) for leg in record.legs]
    put_output(study, "job-1", calculation())
    identity, text = shown(results, client, record.model_copy(update={"legs": tuple(legs)}))
    assert text.index("Before relaxation") < text.index("After relaxation")
    assert "Relaxation: clean slab" in text
    assert "energy lowered by 1.000 eV" in text
    assert client.get(f"/result/{identity}/figure/relaxation-0.svg").status_code == 200
    assert text.count('type="application/json"') == 2


def test_displacements_and_neighbours_are_read_from_the_trajectory(
    study: Study, results: SqliteResults, client: TestClient
) -> None:
    """Four cations walk with a known D, the anions stay: the figure shows what the file holds."""
    record = made.transport(study.root / "trajectories" / "w")
    identity, text = shown(results, client, record)
    assert "Mean squared displacement" in text
    for figure in ("msd", "rdf"):
        assert f"figure/{figure}.svg" in text
        drawn = client.get(f"/result/{identity}/figure/{figure}.svg")
        assert (drawn.status_code, drawn.text[:4]) == (200, "<svg")
    seen = read_motion(record, study.file)
    assert {name: msd.shape[0] for name, msd in seen.msd_ang2.items()} == {"na": 4, "fsi": 4}
    lag = int(np.searchsorted(seen.lag_ps, 5.0))
    assert seen.msd_ang2["na"].mean(axis=0)[lag] == pytest.approx(6 * seen.lag_ps[lag], rel=0.25)
    assert seen.msd_ang2["fsi"].max() < 0.1
    assert seen.pairs["F (fsi)"].radius_ang[-1] < 10.0


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: f.unlink(), "not among the files of this study"),
        (lambda f: f.write_bytes(f.read_bytes()[:-1] + b"x"), "SHA-256 differs"),
        (lambda f: (f.parent / "about.json").write_text("{}"), "does not say which atoms"),
    ],
)
def test_a_trajectory_that_was_touched_is_not_drawn(
    study: Study,
    results: SqliteResults,
    client: TestClient,
    harm: Any,  # noqa: ANN401
    said: str,
) -> None:
    record = made.transport(study.root / "trajectories" / "w")
    identity, _ = shown(results, client, record)
    harm(Path(record.trajectories[0].path))
    asked = client.get(f"/result/{identity}/figure/msd.svg", headers={"Accept": "application/json"})
    assert asked.status_code == 400
    assert said in asked.json()["what"]


def test_a_trajectory_elsewhere_is_not_read(
    results: SqliteResults, client: TestClient, tmp_path: Path
) -> None:
    identity, _ = shown(results, client, made.transport(tmp_path / "elsewhere"))
    asked = client.get(f"/result/{identity}/figure/rdf.svg", headers={"Accept": "application/json"})
    assert "not among the files of this study" in asked.json()["what"]


@pytest.mark.parametrize("damaged", [False, True])
def test_cohp_curves_come_from_the_hashed_file(
    study: Study, results: SqliteResults, client: TestClient, damaged: bool
) -> None:
    """The bond is found by its atoms in the order of the files, though the record counts otherwise."""
    record = made.bonds().model_copy(update={"measure": BondMeasure.ICOHP_LOBSTER})
    run = made.lobster_run(study.root / "runs" / "lobster", record.orientations[0].structure)
    measured = Job(function=abs, function_args=(1,), name="bonds")
    judged = Job(function=add, function_args=(measured.output, 1), name="judge")
    study.queue().submit(Flow([measured, judged], name="bonds"))
    uuids = {job.name: job.uuid for job in study.queue().jobs()}
    put_output(study, uuids["bonds"], run)
    if damaged:
        (Path(run.provenance.run_directory) / "COHPCAR.lobster").write_text("cut", encoding="utf-8")
    document = document_of(record, created="2026-01-01", job=uuids["judge"])
    results.put([document])
    text = client.get(f"/result/{document['id']}").text
    assert "COHP: flat" in text
    assert "C0-O1 9.80 eV" in text
    drawn = client.get(f"/result/{document['id']}/figure/cohp-1.svg", headers={"Accept": "application/json"})
    if damaged:
        assert "SHA-256 differs" in drawn.json()["what"]
    else:
        assert drawn.text.startswith("<svg")


def test_trajectories_are_listed_and_shown_while_they_grow(study: Study, client: TestClient) -> None:
    assert "No trajectory yet" in client.get("/trajectories").text
    path = study.root / "trajectories" / "w" / "trajectory.h5"
    made.walkers(path.parent, frames=120)
    written_s = path.stat().st_mtime - 90.0  # and a step took a second: it has been silent for long
    about = json.loads((path.parent / ABOUT).read_text(encoding="utf-8"))
    (path.parent / ABOUT).write_text(json.dumps(about | {"started_s": written_s - 119.0}), encoding="utf-8")
    for file in path.parent.iterdir():
        os.utime(file, (written_s, written_s))
    listed = client.get("/trajectories").text
    assert 'href="/trajectory/w"' in listed
    assert "119 of 238" in listed
    assert 'data-refresh="5"' in listed
    page = client.get("/trajectory/w").text
    assert re.search(r"Nothing was written for (9|1\d)\d s, at 1 s a step", page)
    assert 'aria-label="119 of 238 steps"' in page
    assert "353.15 K wanted" in page
    assert "MSD so far, na" in page
    assert "355 K on average" in page
    assert client.get("/trajectory/w/figure.svg").text.startswith("<svg")
    for name in ("x", "w%00", "%2e%2e%5cw"):
        assert client.get(f"/trajectory/{name}").status_code == 404, name


def test_a_damaged_trajectory_stands_among_the_others(study: Study, client: TestClient) -> None:
    for name in ("whole", "damaged"):
        made.walkers(study.root / "trajectories" / name, frames=20)
    file = study.root / "trajectories" / "damaged" / "trajectory.h5"
    file.write_bytes(file.read_bytes()[:200])
    listed = client.get("/trajectories").text
    assert 'href="/trajectory/whole"' in listed
    assert 'href="/trajectory/damaged"' in listed
    assert listed.count(">damaged</span>") == 1
