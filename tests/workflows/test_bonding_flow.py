"""The bonding study end to end on a small oxide: scan, relaxation (toy), indices (GFN1-xTB), judgement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from jobflow import Flow, JobStore, job, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder
from pymatgen.core import Lattice, Structure

from epilayer.config import Catalogue, shipped
from epilayer.engines.base import PathEngine
from epilayer.engines.xtb import XtbBonds
from epilayer.flows.adsorption import FacetSlab
from epilayer.flows.base import RECORD
from epilayer.flows.bonding import BondStudyMaker, OrientationScan, bond_study, loaded_host
from epilayer.model.bonding import BarrierMethod, BondMeasure, BondStudy
from epilayer.model.errors import InputError
from epilayer.model.path import ReactionPath
from epilayer.model.records import Status
from epilayer.store.records import document_of, record_of
from epilayer.structures import molecules

if TYPE_CHECKING:
    from pathlib import Path

CATALOGUE = Catalogue([shipped("configs")])


def magnesia() -> Structure:
    """Return two layers of MgO (001), 8.4 x 8.4 A."""
    corners = np.array([[i, j, k] for k in range(2) for i in range(4) for j in range(4)])
    species = ["Mg" if sum(c) % 2 == 0 else "O" for c in corners]
    slab = Structure(
        Lattice.orthorhombic(8.424, 8.424, 24.0),
        species,
        corners * 2.106 + [0, 0, 1.0],
        coords_are_cartesian=True,
    )
    slab.add_site_property("selective_dynamics", [[k > 0] * 3 for _, _, k in corners.tolist()])
    return slab


def memory() -> JobStore:
    return JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})


@pytest.mark.slow
def test_the_whole_study_on_magnesia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tblite", reason="tblite is not installed (pip install 'epilayer[bonding]')")
    monkeypatch.chdir(tmp_path)
    segment = molecules.chain("pom", 1, ends="methyl")
    study = BondStudyMaker(
        engine=CATALOGUE.engine("toy"),
        meter=XtbBonds(),
        scan=OrientationScan(turns_deg=(0, 180), tilts_deg=(0,)),
        barrier=BarrierMethod.SCAN,
        barrier_images=3,
    )
    flow = study.make(
        "magnesia",
        {"as cut": [FacetSlab("001", "001-t0", magnesia())]},
        [segment],
        {segment.name: molecules.in_box(molecules.build(segment))},
    )
    store = memory()
    run_locally(flow, store=store, ensure_success=True, log=False)
    with store:
        announced = list(store.query({f"metadata.{RECORD}": "bond_strength", "output.@class": "BondStudy"}))
    (document,) = announced
    record = MontyDecoder().process_decoded(document["output"])
    assert record.measure is BondMeasure.INDEX_GFN1
    assert record.status is Status.CERTIFIED, record.refusal
    assert record.stand_in  # the toy relaxed it: never a result
    assert [o.label for o in record.orientations] == ["turn0-tilt0", "turn180-tilt0"]
    backbone = [b for b in record.orientations[0].bonds if "H" not in b.elements]
    assert len(backbone) == 4
    assert all(9.0 < b.free_ev < 12.0 for b in backbone)
    assert all(abs(b.change_ratio) < 0.1 for b in backbone)
    assert record.strongest_weakening_ratio == min(o.weakest.change_ratio for o in record.orientations)
    assert record.abstraction.donor
    assert record.abstraction.donor.startswith("C")
    taken = record.abstraction
    assert taken.refusal is None
    # Three images between two ends; the hydrogen comes nearer all the way.
    assert len(taken.barrier_path) == 5
    distances_ang = [d for d, _ in taken.barrier_path]
    assert distances_ang == sorted(distances_ang, reverse=True)
    assert taken.barrier_ev == max(e for _, e in taken.barrier_path)
    assert taken.barrier_ev >= max(taken.energy_ev, 0.0)
    assert taken.barrier_method is BarrierMethod.SCAN
    stored = document_of(record, created="2026-01-01T00:00:00", job="x")
    assert stored["fields"]["measure"] == record.measure.value
    assert record_of(stored).statement == record.statement


def test_a_band_is_one_job_between_two_relaxed_structures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone nitrogen goes from one site of magnesia to the next one of the same kind."""
    monkeypatch.chdir(tmp_path)
    engine = CATALOGUE.engine("toy")
    assert isinstance(engine, PathEngine)
    start = magnesia()
    start.append("N", [1, 1, 5], coords_are_cartesian=True, properties={"selective_dynamics": [True] * 3})
    first = engine.relax("nitrogen").make(start)
    moved = next_site(first.output.structure)
    band = engine.path("hop", 3).make(first.output.structure, moved.output)
    ran = run_locally(Flow([first, moved, band]), store=memory(), ensure_success=True, log=False)
    path = ran[band.uuid][1].output
    assert isinstance(path, ReactionPath)
    assert path.converged
    assert path.method == "climbing-image NEB, 3 images"
    assert path.energies_ev[0] == pytest.approx(ran[first.uuid][1].output.energy_ev, abs=0.1)
    assert path.energies_ev[-1] == pytest.approx(path.energies_ev[0], abs=0.001)
    assert path.travelled_ang[-1] >= 2.106 * 2**0.5
    held = start.site_properties["selective_dynamics"]
    assert all(s.site_properties["selective_dynamics"] == held for s in path.structures)
    resting = [k for k, mobile in enumerate(held) if not mobile[0]]
    assert all(np.allclose(s.frac_coords[resting], start.frac_coords[resting]) for s in path.structures)
    assert "band.extxyz" in path.provenance.files


@job
def next_site(structure: Structure) -> Structure:
    return structure.translate_sites([len(structure) - 1], [2.106, 2.106, 0.0], frac_coords=False)


def test_a_band_of_an_engine_that_has_none_is_refused_before_anything_runs() -> None:
    with pytest.raises(InputError, match=r"relaxes no elastic band.*barrier=scan"):
        BondStudyMaker(engine=CATALOGUE.engine("paper"), meter=XtbBonds(), barrier=BarrierMethod.BAND)
    with pytest.raises(InputError, match="2 images do not show a summit"):
        BondStudyMaker(engine=CATALOGUE.engine("toy"), meter=XtbBonds(), barrier_images=2)


@pytest.mark.slow
def test_the_same_segment_in_a_pore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tblite", reason="tblite is not installed (pip install 'epilayer[bonding]')")
    monkeypatch.chdir(tmp_path)
    segment = molecules.chain("pom", 1, ends="methyl")
    host = loaded_host(CATALOGUE.mof("met6"), [segment], seed=0)
    assert len(host.empty) == 90
    start = host.loaded[segment.name]
    assert start.site_properties["selective_dynamics"] == [[k >= 90] * 3 for k in range(len(start))]
    flow = BondStudyMaker(engine=CATALOGUE.engine("toy", max_steps=60), meter=XtbBonds()).make(
        "none", {}, [segment], {segment.name: molecules.in_box(molecules.build(segment))}, host
    )
    store = memory()
    ran = run_locally(flow, store=store, ensure_success=True, log=False)
    outputs = [done[max(done)].output for done in ran.values()]
    (record,) = (o for o in outputs if isinstance(o, BondStudy))
    assert (record.cathode, record.state) == ("met6", "in a pore")
    assert record.status is Status.CERTIFIED, record.refusal
    assert record.statement.startswith("pom1-segment in a pore of met6: the weakest backbone bond, ")
    (one,) = record.orientations
    assert one.anomalies == ()
    backbone = [b for b in one.bonds if "H" not in b.elements]
    assert len(backbone) == 4
    # Nothing holds on to an ether there: every bond stays what it is within a tenth.
    assert all(b.intact and abs(b.change_ratio) < 0.1 for b in backbone)
    moved = one.structure.frac_coords[:90] - host.empty.frac_coords
    assert np.abs(moved - np.round(moved)).max() < 1e-6


def test_a_chain_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="'pvdf3' is no chain"):
        bond_study(
            CATALOGUE,
            level="toy",
            cathode="nvopf",
            facets=["001"],
            states=["charged"],
            chains=["pvdf3"],
            turns=1,
            tilts_deg=[0.0],
            max_steps=5,
            seed=0,
            narrow=True,
        )
