"""The figure of a Wulff shape: the same bytes each time, every face and termination named."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.analysis.wulff import CrystalClass, wulff_shape
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import Refusal, RefusalCode, Status
from epilayer.model.surface import SurfaceEnergy, WulffShape
from epilayer.report import wulff
from epilayer.report.content import ReportContent
from epilayer.report.html import render_html
from epilayer.report.paper_table import Found

LEVEL = LevelOfTheory(name="chgnet+d3", kind=EngineKind.MLIP, method="CHGNet")
FOUR = np.array([[[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]])
CRYSTAL = CrystalClass(np.diag([6.38, 6.38, 10.62]), FOUR, "4")


def surface(termination: str, gamma_j_per_m2: float | None) -> SurfaceEnergy:
    refused = gamma_j_per_m2 is None
    reason = Refusal(code=RefusalCode.REBUILT, subject="slab", what="the slab broke", remedy="look")
    fields: dict[str, Any] = {
        "cathode": "nvopf",
        "facet": termination[:3],
        "termination": termination,
        "ordering": "ordered",
        "level": LEVEL,
        "status": Status.REFUSED if refused else Status.CERTIFIED,
        "surface_energy_j_per_m2": gamma_j_per_m2,
        "surface_energy_ev_per_ang2": None if gamma_j_per_m2 is None else gamma_j_per_m2 / 16.02,
        "uncertainty_j_per_m2": None if refused else 0.02,
        "thickness_change_j_per_m2": None,
        "without_dispersion_j_per_m2": None,
        "unrelaxed_j_per_m2": None if gamma_j_per_m2 is None else gamma_j_per_m2 + 0.2,
        "refusals": (reason,) if refused else (),
        "thicknesses": (),
        "area_ang2": 67.8,
        "broken_bonds_per_nm2": {"O-V": 5.9},
        "tasker": "II",
        "moved": "",
        "largest_move_ang": 0.3,
        "largest_mover": "F1",
        "legs": (),
        "structure": Structure(Lattice.cubic(4.0), ["V"], [[0, 0, 0]]),
        "code_version": "1",
        "parameters": {},
    }
    return SurfaceEnergy(**fields)


RECORDS = [
    surface("001-t0.9m", 0.5),
    surface("100-t0.2", 0.7),
    surface("100-t0.7", 0.6),
    surface("001-t0.4", None),
]


def shape(records: list[SurfaceEnergy] | None = None) -> WulffShape:
    return wulff_shape(records or RECORDS, {"001": (0, 0, 1), "100": (1, 0, 0)}, CRYSTAL)


@pytest.mark.parametrize(("form", "head"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_same_shape_gives_the_same_small_file(form: Any, head: bytes) -> None:  # noqa: ANN401
    first, second = (wulff.wulff_figure(shape(), RECORDS, form=form) for _ in range(2))
    assert first == second
    assert first.startswith(head)
    assert len(first) < 120_000


def test_three_faces_of_the_prism_look_at_the_reader() -> None:
    text = wulff.wulff_figure(shape(), RECORDS).decode()
    ET.fromstring(text)  # noqa: S314  (our own text)
    filled = re.findall(r'<path d="M [^"]*z[^"]*" [^>]*style="fill: (#[0-9a-f]{6}); stroke: #1f2328', text)
    assert len(filled) == 3
    assert len(set(filled)) == 3, "each face has its own light"


def test_words_say_what_shows_and_what_was_refused() -> None:
    words = wulff.describe_wulff(shape())
    assert "(001) 0.50 J/m2" in words
    assert "square" in words
    assert "rectangle" in words
    refused = shape([surface("001-t0.4", None), surface("100-t0.2", 0.7)])
    assert wulff.describe_wulff(refused) == (
        "No equilibrium shape of nvopf: no termination of (001) has a surface energy."
    )
    assert wulff.wulff_figure(refused, [surface("001-t0.4", None)]).startswith(b"<?xml")


def page_of(drawn: WulffShape) -> str:
    surfaces = [Found(f"{n:064}", record) for n, record in enumerate(RECORDS)]
    return render_html(ReportContent({"wulff": [Found("0", drawn)], "surface": surfaces}))


def test_the_report_shows_the_shape_and_leaves_a_stand_in_out() -> None:
    text = page_of(shape())
    assert "Surface energies and the shape they make" in text
    assert "001-t0.4: the slab broke" in text
    toy = shape().model_copy(update={"level": LEVEL.model_copy(update={"stand_in": True})})
    assert "the shape they make" not in page_of(toy)
