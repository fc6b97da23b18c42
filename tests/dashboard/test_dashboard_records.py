"""The page of one result, for each kind of record that a study can hold."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import record_kinds as made
from record_kinds import adsorption, bonds, calculation, competition, growth, wulff

from epilayer.dashboard.monitor import TrajectoryView
from epilayer.dashboard.motion import read_motion
from epilayer.model.bonding import BondMeasure
from epilayer.model.kinds import KINDS
from epilayer.store.records import document_of

if TYPE_CHECKING:
    from starlette.testclient import TestClient


def shown(desk: Any, client: TestClient, record: Any) -> tuple[str, str]:  # noqa: ANN401
    document = document_of(record, created="2026-01-01")
    desk.results.put([document])
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
def test_the_page_of_each_kind(desk: Any, client: TestClient, make: Any, says: list[str]) -> None:  # noqa: ANN401
    identity, text = shown(desk, client, make())
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
def test_its_figures_are_drawn(desk: Any, client: TestClient, make: Any, figure: str) -> None:  # noqa: ANN401
    identity, text = shown(desk, client, make())
    assert f"/result/{identity}/figure/{figure}.svg" in text
    drawn = client.get(f"/result/{identity}/figure/{figure}.svg")
    assert drawn.headers["content-type"] == "image/svg+xml"
    assert drawn.text.startswith("<svg")
    assert "<script" not in drawn.text
    assert client.get(f"/result/{identity}/figure/none.svg").status_code == 404


def test_before_after_and_the_relaxation(desk: Any, client: TestClient) -> None:  # noqa: ANN401
    desk.started_from = lambda _directory, like: like
    desk.calculations = lambda jobs: {job: calculation() for job in jobs}
    identity, text = shown(desk, client, adsorption())
    assert text.index("Before relaxation") < text.index("After relaxation")
    assert "Relaxation: clean slab" in text
    assert "energy lowered by 1.000 eV" in text
    assert client.get(f"/result/{identity}/figure/relaxation-0.svg").status_code == 200
    assert text.count('type="application/json"') == 2


def test_displacements_and_neighbours_are_read_from_the_trajectory(desk: Any, client: TestClient) -> None:  # noqa: ANN401
    """Four cations walk with a known D, the anions stay: the figure shows what the file holds."""
    record = made.transport(desk.root / "trajectories" / "w")
    identity, text = shown(desk, client, record)
    assert "Mean squared displacement" in text
    for figure in ("msd", "rdf"):
        assert f"figure/{figure}.svg" in text
        drawn = client.get(f"/result/{identity}/figure/{figure}.svg")
        assert (drawn.status_code, drawn.text[:4]) == (200, "<svg")
    seen = read_motion(record, desk.file)
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
    desk: Any,  # noqa: ANN401
    client: TestClient,
    harm: Any,  # noqa: ANN401
    said: str,
) -> None:
    record = made.transport(desk.root / "trajectories" / "w")
    identity, _ = shown(desk, client, record)
    harm(Path(record.trajectories[0].path))
    asked = client.get(f"/result/{identity}/figure/msd.svg", headers={"Accept": "application/json"})
    assert asked.status_code == 400
    assert said in asked.json()["what"]


def test_a_trajectory_elsewhere_is_not_read(desk: Any, client: TestClient, tmp_path: Path) -> None:  # noqa: ANN401
    identity, _ = shown(desk, client, made.transport(tmp_path / "elsewhere"))
    asked = client.get(f"/result/{identity}/figure/rdf.svg", headers={"Accept": "application/json"})
    assert "not among the files of this study" in asked.json()["what"]


@pytest.mark.parametrize("damaged", [False, True])
def test_cohp_curves_come_from_the_hashed_file(desk: Any, client: TestClient, damaged: bool) -> None:  # noqa: ANN401
    """The bond is found by its atoms in the order of the files, though the record counts otherwise."""
    study = made.bonds()
    study = study.model_copy(update={"measure": BondMeasure.ICOHP_LOBSTER})
    run = made.lobster_run(desk.root / "runs" / "lobster", study.orientations[0].structure)
    if damaged:
        (Path(run.provenance.run_directory) / "COHPCAR.lobster").write_text("cut", encoding="utf-8")
    desk.measured = lambda _job: [run]
    document = document_of(study, created="2026-01-01", job="job-1")
    desk.results.put([document])
    text = client.get(f"/result/{document['id']}").text
    assert "COHP: flat" in text
    assert "C0-O1 9.80 eV" in text
    drawn = client.get(f"/result/{document['id']}/figure/cohp-1.svg", headers={"Accept": "application/json"})
    if damaged:
        assert "SHA-256 differs" in drawn.json()["what"]
    else:
        assert drawn.text.startswith("<svg")


def test_trajectories_are_listed_and_shown_while_they_grow(desk: Any, client: TestClient) -> None:  # noqa: ANN401
    assert "No trajectory yet" in client.get("/trajectories").text
    made.walkers(desk.root / "trajectories" / "w", frames=120)
    path = desk.root / "trajectories" / "w" / "trajectory.h5"
    grows = TrajectoryView(
        name="w", label="dynamics of walkers", level="made up", steps=(119, 238), frames=120, complete=False,
        written=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), path=path, facts=(("step", "119 of 238"),),
        warnings=(("silent", "Nothing was written for 90 s."),),
    )  # fmt: skip
    desk.runs.append(grows)
    listed = client.get("/trajectories").text
    assert 'href="/trajectory/w"' in listed
    assert "119 of 238" in listed
    assert 'data-refresh="5"' in listed
    page = client.get("/trajectory/w").text
    assert "Nothing was written for 90 s." in page
    assert 'aria-label="119 of 238 steps"' in page
    assert "355 K on average" in page
    assert client.get("/trajectory/w/figure.svg").text.startswith("<svg")
    for name in ("x", "w%00", "%2e%2e%5cw"):
        assert client.get(f"/trajectory/{name}").status_code == 404, name
