"""Figures of bonds: the same bytes each time, spilling marked, and an index never passing for an ICOHP."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.analysis.calibration import calibrate
from epilayer.model.bonding import (
    BarrierMethod,
    BondChange,
    BondMeasure,
    BondStudy,
    HydrogenAbstraction,
    OrientedBonds,
)
from epilayer.model.calibration import CalibrationPair
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import Provenance, Status
from epilayer.report import bonding
from epilayer.report.content import ReportContent
from epilayer.report.html import render_html
from epilayer.report.paper_table import Found

LEVEL = LevelOfTheory(name="chgnet+d3", kind=EngineKind.MLIP, method="CHGNet")
CELL = Structure(Lattice.cubic(10), ["C", "O"], [[0, 0, 0], [0.14, 0, 0]])
PLACES = ((0.0, 0.0), (120.0, 0.0), (240.0, 0.0), (0.0, 60.0), (120.0, 60.0), (240.0, 60.0))


def change(name: str, ratio: float | None, *, intact: bool = True) -> BondChange:
    one, two = name.split("-")
    return BondChange(
        name=name,
        atoms=(0, 1),
        elements=(one.rstrip("0123456789"), two.rstrip("0123456789")),
        free_ang=1.41,
        adsorbed_ang=1.44,
        free_ev=10.4,
        adsorbed_ev=None if ratio is None else 10.4 * (1 + ratio),
        change_ratio=ratio,
        intact=intact,
    )


def oriented(turn_deg: float, tilt_deg: float, ratio: float, refusal: str | None = None) -> OrientedBonds:
    return OrientedBonds(
        label=f"turn{turn_deg:g}-tilt{tilt_deg:g}",
        turn_deg=turn_deg,
        tilt_deg=tilt_deg,
        site="V12(5)",
        converged=refusal is None,
        adsorption_energy_ev=-0.5 + ratio,
        closest_contact="O-V",
        closest_contact_ang=2.1,
        anomalies=(),
        bonds=(change("C0-O1", ratio), change("O1-C2", ratio / 3), change("C0-H3", -0.3)),
        refusal=refusal,
        structure=CELL,
        provenance=Provenance(job="x", run_directory="x"),
    )


def study(facet: str = "001", **fields: Any) -> BondStudy:  # noqa: ANN401  (any field)
    ratios = [-0.08, -0.03, 0.01, -0.12, -0.05, -0.02]
    known: dict[str, Any] = {
        "cathode": "nvopf",
        "state": "charged",
        "facet": facet,
        "termination": f"{facet}-t0",
        "molecule": "pom2",
        "level": LEVEL,
        "measure": BondMeasure.INDEX_GFN1,
        "program": "tblite 0.8.0, GFN1-xTB",
        "basis": "minimal",
        "k_points": "Gamma",
        "status": Status.CERTIFIED,
        "refusal": None,
        "orientations": tuple(
            oriented(turn, tilt, r, "no convergence" if k == 4 else None)
            for k, ((turn, tilt), r) in enumerate(zip(PLACES, ratios, strict=True))
        ),
        "weakest_bond": "C0-O1",
        "strongest_weakening_ratio": -0.12,
        "orientation_spread_ratio": 0.13,
        "spilling_percent": None,
        "abstraction": HydrogenAbstraction(
            spontaneous=(),
            donor=None,
            hydrogen=None,
            acceptor=None,
            energy_ev=None,
            refusal="none",
            structure=None,
        ),
        "statement": "pom2 on nvopf: the weakest backbone bond changes by -12.0 to +1.0 %.",
        "stand_in": False,
        "code_version": "0",
        "parameters": {},
    }
    return BondStudy(**{**known, **fields})


def curve(spins: int) -> bonding.Curve:
    energies = np.linspace(-10, 5, 301)
    cohp = np.array([-0.4 * np.exp(-((energies + 6 - k) ** 2)) for k in range(spins)])
    return bonding.Curve("C1-O2, 1.41 Å", cohp, np.cumsum(cohp, axis=1) * 0.05, -1.4)


def page_of(*studies: BondStudy, **others: list[Found]) -> str:
    found = {"bond_strength": [Found(f"{n:064}", one) for n, one in enumerate(studies)], **others}
    return render_html(ReportContent(found))


@pytest.mark.parametrize("spins", [1, 2])
def test_curves_are_one_file_each_time_with_a_line_a_spin(spins: int) -> None:
    energies = np.linspace(-10, 5, 301)
    svg = bonding.cohp_figure(energies, [curve(spins)], title="LOBSTER")
    assert svg == bonding.cohp_figure(energies, [curve(spins)], title="LOBSTER")
    root = ET.fromstring(svg)  # noqa: S314  (ours)
    ids = [e.get("id", "") for e in root.iter()]
    assert sum(i.startswith("FillBetweenPolyCollection") for i in ids) == spins
    assert bonding.cohp_figure(energies, [curve(spins)], form="png").startswith(b"\x89PNG")
    assert bonding.cohp_figure(energies, [curve(spins)] * 4, form="pdf").startswith(b"%PDF")


def test_bars_without_a_number_stay_away() -> None:
    bars = [
        bonding.Bar("C1-O2", 9.0, 6.3, spilling_percent=1.1),
        bonding.Bar("O2-C3", 9.2, None, "broken", spilling_percent=1.1),
        bonding.Bar("C3-C4", 9.2, None, "refused", spilling_percent=7.3),
    ]
    notes = [bonding._bar_note(bar, 5.0) for bar in bars]
    assert notes == ["\N{MINUS SIGN}30.0 %  (spills 1.1 %)", "broken", "\N{WARNING SIGN} spills 7.3 %"]
    assert bonding.change_figure(bars, measure="eV").startswith(b"<?xml")


def test_an_index_says_that_it_is_not_of_lobster() -> None:
    assert bonding.measure_words(BondMeasure.INDEX_GFN1).endswith("not LOBSTER")
    assert bonding.measure_words(BondMeasure.ICOHP_LOBSTER) == "\N{MINUS SIGN}ICOHP (LOBSTER)"


def test_bars_show_the_backbone_of_the_weakest_orientation() -> None:
    bars = bonding.study_bars(study())
    assert [b.name for b in bars] == ["C0-O1", "O1-C2"]
    assert bars[0].after_ev == pytest.approx(10.4 * 0.88)


def test_the_report_shows_studies_and_names_stand_ins() -> None:
    page = page_of(study(), study("100"), study("110", stand_in=True))
    assert page == page_of(study(), study("100"), study("110", stand_in=True))
    assert page.count("not LOBSTER") >= 3
    assert page.count('id="bonds"') == 1
    assert page.count("A stand-in took part") == 1
    assert "orientations-0-" in page
    assert "bonds-1-" in page
    assert "bonds-2-" not in page
    assert 'id="bonds"' not in page_of()


def test_the_way_of_a_hydrogen_is_drawn_and_named_by_its_method() -> None:
    path = ((2.2, 0.0), (1.5, 0.8), (0.98, -0.3))
    taken = study().abstraction.model_copy(
        update={
            "donor": "C2", "hydrogen": "H4", "acceptor": "O0", "energy_ev": -0.3, "refusal": None,
            "barrier_method": BarrierMethod.BAND, "barrier_ev": 0.8, "barrier_path": path,
        }
    )  # fmt: skip
    lost = taken.model_copy(update={"barrier_ev": None, "barrier_refusal": "The band did not converge."})
    studies = [study(abstraction=taken), study("100", abstraction=lost)]
    assert bonding.path_figure(studies) == bonding.path_figure(studies)
    page = page_of(*studies)
    assert "hydrogen-path-wide" in page
    assert "hydrogen-path-narrow" in page
    assert "barrier 0.80 eV." in page
    assert "Barrier refused: The band did not converge." in page
    assert page.count("climbing-image NEB") >= 1
    assert "hydrogen-path" not in page_of(study())


def test_a_calibration_stands_beside_the_bonds() -> None:
    pair = {"run": "a", "bond": "C1-O2", "elements": ("C", "O"), "length_ang": 1.4, "functions": "2s 2p"}
    pairs = [CalibrationPair(index_ev=9 + k / 5, icohp_ev=8 + k / 5, **pair) for k in range(12)]
    record = calibrate(pairs, measure=BondMeasure.INDEX_GFN1, program="tblite")
    page = page_of(study(), bond_calibration=[Found("id", record)])
    assert "Calibration of the index:" in page
    assert "ICOHP changes by 1.00 (1.00 to 1.00, 95 %) eV per eV of the index" in page


def test_a_refused_study_says_why_and_is_not_drawn() -> None:
    lost = study(status=Status.REFUSED, refusal="No bond could be measured.", orientations=())
    page = page_of(lost)
    assert "No bond could be measured." in page
    assert "bonds-0-" not in page
