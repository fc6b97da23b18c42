"""Surface energies and Wulff shapes as documents and back; they are found by what was asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pymatgen.core import Lattice, Structure

from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import Refusal, RefusalCode, Status
from epilayer.model.surface import SurfaceEnergy, WulffFace, WulffFacet, WulffShape
from epilayer.store.filters import parse_filter
from epilayer.store.records import document_of, record_of
from epilayer.store.results import open_results

if TYPE_CHECKING:
    from pathlib import Path

LEVEL = LevelOfTheory(name="a", kind=EngineKind.MLIP, method="a")
REFUSED = Refusal(code=RefusalCode.POLAR, subject="slab", what="it is polar", remedy="take another")


def surface(**changes: Any) -> SurfaceEnergy:  # noqa: ANN401
    fields: dict[str, Any] = {
        "cathode": "mgo",
        "facet": "100",
        "termination": "100-t0",
        "ordering": "ordered",
        "level": LEVEL,
        "status": Status.CERTIFIED,
        "surface_energy_j_per_m2": 0.9,
        "surface_energy_ev_per_ang2": 0.056,
        "uncertainty_j_per_m2": 0.01,
        "thickness_change_j_per_m2": 0.005,
        "without_dispersion_j_per_m2": 0.6,
        "unrelaxed_j_per_m2": 1.0,
        "refusals": (),
        "thicknesses": (
            {
                "thickness_ang": 8.4,
                "atoms": 8,
                "surface_energy_j_per_m2": 0.9,
                "unrelaxed_j_per_m2": 1.0,
                "held_face": False,
            },
        ),
        "area_ang2": 17.6,
        "broken_bonds_per_nm2": {"Mg-O": 11.3, "F-Mg": 0.5},
        "tasker": "I",
        "moved": "",
        "largest_move_ang": 0.1,
        "largest_mover": "O1",
        "legs": (),
        "structure": Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0, 0]]),
        "code_version": "1",
        "parameters": {"thicknesses": 2},
    }
    return SurfaceEnergy(**(fields | changes))


def shape(**changes: Any) -> WulffShape:  # noqa: ANN401
    facet = WulffFacet(
        facet="100",
        termination="100-t0",
        surface_energy_j_per_m2=0.9,
        uncertainty_j_per_m2=0.01,
        area_fraction=1.0,
        low_area_fraction=1.0,
        high_area_fraction=1.0,
        faces=6,
        corners=4,
        aspect_ratio=1.0,
        right_angled=True,
    )
    face = WulffFace(facet="100", miller=(1, 0, 0), corners_j_per_m2=((0.9, 0.9, 0.9), (0.9, -0.9, 0.9)))
    fields: dict[str, Any] = {
        "cathode": "mgo",
        "level": LEVEL,
        "status": Status.CERTIFIED,
        "point_group": "m-3m",
        "facets": (facet,),
        "faces": (face,),
        "mean_surface_energy_j_per_m2": 0.9,
        "left_out": (),
        "refusals": (),
        "code_version": "1",
        "parameters": {},
    }
    return WulffShape(**(fields | changes))


@pytest.mark.parametrize(
    "record",
    [surface(), surface(status=Status.REFUSED, refusals=(REFUSED,)), shape(), shape(facets=(), faces=())],
)
def test_a_record_survives_json(record: SurfaceEnergy | WulffShape) -> None:
    document = document_of(record, job="j", created="2026-01-01T00:00:00+00:00")
    back = record_of(json.loads(json.dumps(document)))
    assert back == record
    assert type(back) is type(record)


def test_the_same_question_has_the_same_identity() -> None:
    def identity(record: SurfaceEnergy | WulffShape) -> str:
        return str(document_of(record, job="j", created="2026-01-01T00:00:00+00:00")["id"])

    again = surface(surface_energy_j_per_m2=0.8, status=Status.REFUSED)
    assert identity(again) == identity(surface())
    others = [
        surface(termination="100-t0.5"),
        surface(ordering="other"),
        surface(cathode="cao"),
        surface(parameters={"thicknesses": 1}),
        surface(level=LEVEL.model_copy(update={"method": "b"})),
        shape(),
        shape(cathode="cao"),
    ]
    assert len({identity(r) for r in [surface(), *others]}) == 1 + len(others)


def test_records_are_found_by_their_fields(tmp_path: Path) -> None:
    results = open_results(tmp_path / "results.sqlite")
    try:
        created = "2026-01-01T00:00:00+00:00"
        refused = surface(termination="100-t0.5", status=Status.REFUSED, refusals=(REFUSED,))
        results.put([document_of(r, job="j", created=created) for r in (surface(), refused, shape())])
        (found,) = results.query(
            "surface", [parse_filter("surface_energy_j_per_m2<1"), parse_filter("status=certified")]
        )
        assert found["fields"]["termination"] == "100-t0"
        assert found["fields"]["broken_bonds_per_nm2"] == pytest.approx(11.8)
        (why,) = results.query("surface", [parse_filter("refusal_code=polar")])
        assert why["fields"]["refusal"] == "it is polar"
        (made,) = results.query("wulff", [parse_filter("area_fraction_100>0.5")])
        assert made["fields"]["shape"] == "(100) 100 % square"
    finally:
        results.close()
