"""The page of one result, for each kind of record that a study can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.model.bonding import BondChange, BondMeasure, BondStudy, HydrogenAbstraction, OrientedBonds
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import (
    AdsorptionEnergy,
    Calculation,
    CompetingAdsorption,
    Competitor,
    FacetBinding,
    GrowthMode,
    GrowthVerdict,
    Leg,
    Provenance,
    Refusal,
    RefusalCode,
    Status,
)
from epilayer.model.surface import WulffFace, WulffFacet, WulffShape
from epilayer.store.records import document_of

if TYPE_CHECKING:
    from starlette.testclient import TestClient

LEVEL = LevelOfTheory(
    name="chgnet+d3",
    kind=EngineKind.MLIP,
    method="CHGNet (machine-learned potential)",
    dispersion="D3(BJ)",
    numerics={"max_force_ev_per_ang": 0.05},
)
FROM = Provenance(
    job="job-1", run_directory="runs/1", files={"relaxation.extxyz": "cd" * 32}, versions={"ase": "3.29"}
)


def slab() -> Structure:
    lattice = Lattice.orthorhombic(6.0, 6.0, 25.0)
    return Structure(
        lattice,
        ["V", "O", "Na", "N", "H"],
        [[0, 0, 3], [3, 3, 3], [0, 0, 5.5], [0, 0, 8.0], [0.9, 0, 8.5]],
        coords_are_cartesian=True,
    )


def adsorption(value_ev: float | None = -0.39) -> AdsorptionEnergy:
    refusal = Refusal(
        code=RefusalCode.FORCES_NOT_CONVERGED, subject="slab", what="forces too large", remedy="more steps"
    )
    leg: dict[str, Any] = {
        "energy_ev": -1.0,
        "dispersion_energy_ev": -0.1,
        "max_force_ev_per_ang": 0.04,
        "steps": 3,
        "residual_ev": 0.0,
        "formula": "V O",
        "level_fingerprint": LEVEL.fingerprint,
        "provenance": FROM,
    }
    legs = tuple(Leg(role=role, **leg) for role in ("slab", "molecule", "adslab"))
    return AdsorptionEnergy(
        cathode="nvopf", facet="001", termination="001-t0", ligand="triazole", level=LEVEL,
        status=Status.REFUSED if value_ev is None else Status.CERTIFIED, adsorption_energy_ev=value_ev,
        uncertainty_ev=None if value_ev is None else 0.02, without_dispersion_ev=None, pose_spread_ev=None,
        refusals=(refusal,) if value_ev is None else (), anomalies=(), legs=legs, poses=(), structure=slab(),
        adsorbate_atoms=(3, 4), closest_contact="N3...Na2", closest_contact_ang=2.5, area_ang2=36.0,
        code_version="0.1.0", parameters={"search_seed": 0},
    )  # fmt: skip


def growth() -> GrowthVerdict:
    facet = FacetBinding(facet="001", values_ev={"chgnet+d3": -0.39}, low_ev=-0.4, high_ev=-0.3, binds=True)
    return GrowthVerdict(
        cathode="nvopf", ligand="triazole", mode=GrowthMode.ISOTROPIC, binding_facets=("001",),
        facets=(facet,), threshold_ev=-0.2, margin_ev=0.1, statement="holds on (001)",
        stand_in=False, code_version="0.1.0",
    )  # fmt: skip


def competition() -> CompetingAdsorption:
    water = Competitor(ligand="water", values_ev={"a": -0.7}, low_ev=-0.7, high_ev=-0.6, outbids=("dmf",))
    return CompetingAdsorption(
        cathode="nvopf", facet="001", termination="t", competitors=(water,), statement="water outbids dmf",
        stand_in=False, code_version="0.1.0",
    )  # fmt: skip


def bonds() -> BondStudy:
    bond = BondChange(
        name="C0-O1", atoms=(0, 1), elements=("C", "O"), free_ang=1.41, adsorbed_ang=1.45, free_ev=10.5,
        adsorbed_ev=9.8, change_ratio=-0.07, intact=True,
    )  # fmt: skip
    oriented = OrientedBonds(
        label="flat", turn_deg=0.0, tilt_deg=0.0, site="V0", converged=True, adsorption_energy_ev=-0.5,
        closest_contact="O1...V0", closest_contact_ang=2.1, anomalies=(), bonds=(bond,), refusal=None,
        structure=slab(), provenance=FROM,
    )  # fmt: skip
    taken = HydrogenAbstraction(
        spontaneous=(), donor=None, hydrogen=None, acceptor=None, energy_ev=None, refusal="none near",
        structure=None,
    )  # fmt: skip
    return BondStudy(
        cathode="nvopf", state="charged", facet="100", termination="t", molecule="peo2", level=LEVEL,
        measure=BondMeasure.INDEX_GFN1, program="tblite", basis="GFN1", k_points="Gamma",
        status=Status.CERTIFIED, refusal=None, orientations=(oriented,), weakest_bond="C0-O1",
        strongest_weakening_ratio=-0.07, orientation_spread_ratio=0.0, spilling_percent=None,
        abstraction=taken, statement="weakened by 7 %", stand_in=False, code_version="0.1.0", parameters={},
    )  # fmt: skip


def wulff() -> WulffShape:
    """A cube."""
    faces = []
    for axis in range(3):
        for sign in (-1, 1):
            u, v = (np.eye(3)[k] for k in range(3) if k != axis)
            corners = [
                sign * np.eye(3)[axis] + a * u + b * v for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
            miller = [0, 0, 0]
            miller[axis] = sign
            faces.append(
                WulffFace(facet="100", miller=tuple(miller), corners_j_per_m2=[tuple(c) for c in corners])
            )
    facet = WulffFacet(
        facet="100", termination="t", surface_energy_j_per_m2=1.0, uncertainty_j_per_m2=0.01,
        area_fraction=1.0, low_area_fraction=1.0, high_area_fraction=1.0, faces=6, corners=4,
        aspect_ratio=1.0, right_angled=True,
    )  # fmt: skip
    return WulffShape(
        cathode="nvopf", level=LEVEL, status=Status.CERTIFIED, point_group="m-3m", facets=(facet,),
        faces=tuple(faces), mean_surface_energy_j_per_m2=1.0, left_out=("(111) was refused",), refusals=(),
        code_version="0.1.0", parameters={},
    )  # fmt: skip


def calculation() -> Calculation:
    return Calculation(
        task="relax", label="slab", level=LEVEL, structure=slab(), energy_ev=-2.0, max_force_ev_per_ang=0.04,
        force_target_ev_per_ang=0.05, ionic_converged=True, energies_ev=(-1.0, -1.8, -2.0),
        max_forces_ev_per_ang=(1.0, 0.3, 0.04), wall_time_s=1.0, provenance=FROM,
    )  # fmt: skip


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
        (growth, ["isotropic", "holds on (001)"]),
        (competition, ["water outbids dmf"]),
        (bonds, ["weakened by 7 %", "C0-O1 10.50 to 9.80 eV"]),
        (wulff, ["Equilibrium shape", "(111) was refused"]),
    ],
)  # fmt: skip
def test_the_page_of_each_kind(desk: Any, client: TestClient, make: Any, says: list[str]) -> None:  # noqa: ANN401
    identity, text = shown(desk, client, make())
    for words in says:
        assert words in text, words
    assert f'href="/result/{identity}/record.json"' in text
    assert client.get(f"/result/{identity}/record.json").json()["id"] == identity


@pytest.mark.parametrize(("make", "figure"), [(adsorption, "after"), (bonds, "bonds"), (wulff, "wulff")])
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
