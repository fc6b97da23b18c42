"""The bonding study with a VASP level: relaxed by VASP, measured by LOBSTER, both of them stand-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from epilayer.engines.base import BondingEngine
from epilayer.flows.adsorption import FacetSlab
from epilayer.flows.bonding import BondStudyMaker, OrientationScan
from epilayer.model.bonding import BondMeasure, BondStudy
from epilayer.model.records import Status
from epilayer.store.records import document_of, record_of
from epilayer.structures import molecules
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from pathlib import Path


def oxide() -> Structure:
    """Return two layers of rock-salt VO (001), 8.4 x 8.4 A."""
    corners = np.array([[i, j, k] for k in range(2) for i in range(4) for j in range(4)])
    slab = Structure(
        Lattice.orthorhombic(8.424, 8.424, 20.0),
        ["V" if sum(c) % 2 == 0 else "O" for c in corners],
        corners * 2.106 + [0, 0, 1.0],
        coords_are_cartesian=True,
    )
    slab.add_site_property("selective_dynamics", [[k > 0] * 3 for _, _, k in corners.tolist()])
    return slab


def study(tmp_path: Path, patch: pytest.MonkeyPatch) -> BondStudy:
    patch.chdir(tmp_path)
    engine = Catalogue([shipped("configs")]).engine("paper", max_steps=60)
    assert isinstance(engine, BondingEngine)
    segment = molecules.chain("pom", 1, ends="methyl")
    flow = BondStudyMaker(
        engine=engine, meter=engine, scan=OrientationScan(turns_deg=(0,), tilts_deg=(0,))
    ).make(
        "vanadium monoxide",
        {"as cut": [FacetSlab("001", "001-t0", oxide())]},
        [segment],
        {segment.name: molecules.in_box(molecules.build(segment))},
    )
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    ran = run_locally(flow, store=store, ensure_success=True, create_folders=True, log=False)
    return next(
        outputs[max(outputs)].output
        for outputs in ran.values()
        if isinstance(outputs[max(outputs)].output, BondStudy)
    )


@pytest.mark.slow
def test_vasp_and_lobster_to_a_record_that_says_stand_in(
    vasp: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vasp
    record = study(tmp_path, monkeypatch)
    assert record.stand_in
    assert record.measure is BondMeasure.ICOHP_LOBSTER
    assert "stand-in" in record.program
    assert record.spilling_percent == pytest.approx(1.11)
    assert record.level.name == "paper"
    (one,) = record.orientations
    assert record.status is Status.CERTIFIED
    assert record.statement.endswith("(A stand-in took part: no result.)")
    assert "V pbeVaspFit2015" in record.basis
    assert record.k_points != "not stated"
    assert len(one.bonds) == 12
    for bond in one.bonds:
        # What the stand-in makes of a length: the right bond was read, before and after.
        assert bond.free_ev == pytest.approx(10 * np.exp(-(bond.free_ang - 1.4) / 0.35), abs=2e-4)
        assert bond.adsorbed_ev == pytest.approx(10 * np.exp(-(bond.adsorbed_ang - 1.4) / 0.35), abs=2e-4)
    document = document_of(record, created="2026-01-01T00:00:00", job="x")
    assert document["fields"]["stand_in"] is True
    assert record_of(document).measure is record.measure
