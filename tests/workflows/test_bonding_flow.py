"""The bonding study end to end on a small oxide: scan, relaxation (toy), indices (GFN1-xTB), judgement."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from jobflow import Flow, JobStore, Maker, Response, job, run_locally
from maggma.stores import MemoryStore
from monty.json import MontyDecoder, MSONable
from pymatgen.core import Lattice, Structure

from epilayer.engines.base import PathEngine
from epilayer.engines.xtb.bond_indices import XtbBonds
from epilayer.flows.adsorption import FacetSlab, facet_slab
from epilayer.flows.base import RECORD
from epilayer.flows.bonding import BondStudyMaker, OrientationScan, bond_study, loaded_host, walk_path
from epilayer.model.bonding import BarrierMethod, BondMeasure, BondStudy
from epilayer.model.cohp import Bond, Bonding, BondResult
from epilayer.model.errors import InputError
from epilayer.model.imported import Finding, Reason, Severity, Spilling
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.path import ReactionPath
from epilayer.model.records import Provenance, Status
from epilayer.report import bonding as figures
from epilayer.store.records import document_of, record_of
from epilayer.structures import molecules, orientations
from epilayer.study.config import Catalogue, shipped

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
    # Counted from the lowest point before the summit, so that it bounds from above.
    energies_ev = [e for _, e in taken.barrier_path]
    before_ev = energies_ev[: energies_ev.index(max(energies_ev))]
    assert taken.barrier_ev == pytest.approx(max(energies_ev) - min(before_ev), abs=1e-9), (
        taken.barrier_refusal
    )
    assert taken.barrier_ev >= max(taken.energy_ev, 0.0)
    assert taken.barrier_method is BarrierMethod.SCAN
    stored = document_of(record, created="2026-01-01T00:00:00", job="x")
    assert stored["fields"]["measure"] == record.measure.value
    assert record_of(stored).statement == record.statement


@dataclass(frozen=True)
class LobsterOf(MSONable):
    """Stands in for LOBSTER: strong as a length says, and spilling as told once a surface is there."""

    spilling_percent: float

    def bonding(self, label: str) -> LobsterRun:
        return LobsterRun(name=label, spilling_percent=self.spilling_percent)


@dataclass
class LobsterRun(Maker):
    name: str = "bonds"
    spilling_percent: float = 1.0

    @job
    def make(self, structure: Structure, bonds: list[Bond]) -> Bonding:
        on_surface = any(site.specie.is_metal for site in structure)
        spilled = self.spilling_percent if on_surface else 1.0
        passes = spilled <= 5.0
        found = []
        for bond in bonds:
            icohp_ev = -10 * float(np.exp(-(structure.get_distance(*bond.atoms) - 1.4) / 0.35))
            found.append(
                BondResult(
                    name=bond.name,
                    atoms=bond.atoms,
                    elements=tuple(structure[i].specie.symbol for i in bond.atoms),
                    length_ang=structure.get_distance(*bond.atoms),
                    icohp_ev=icohp_ev if passes else None,
                    icohp_per_spin_ev=(icohp_ev,) if passes else None,
                    icoop=None,
                    icoop_per_spin=None,
                )
            )
        return Bonding(
            label=self.name,
            method="a stand-in for LOBSTER",
            level=LevelOfTheory(name="x", kind=EngineKind.TOY, method="x", stand_in=True),
            status=Status.CERTIFIED if passes else Status.REFUSED,
            refusals=() if passes else (Reason(code=Finding.SPILLING_ABOVE_LIMIT, severity=Severity.FATAL,
                what=f"Spin 1 spills {spilled:.2f} % of its charge", remedy="A larger basis."),),
            bonds=tuple(found),
            basis={"C": "2s 2p"},
            basis_functions=1,
            bands=1,
            bands_ignored_from=None,
            spilling=(Spilling(spin=1, charge_percent=spilled, total_percent=None, passes=passes),),
            spilling_limit_percent=5.0,
            spilling_passes=passes,
            energy_window_ev=None,
            max_band_overlap_deviation=None,
            energy_ev=0.0,
            structure=structure,
            corrections=(),
            provenance=Provenance(job="x", run_directory="x"),
        )  # fmt: skip


def studies(flow: Flow) -> list[BondStudy]:
    ran = run_locally(flow, store=memory(), ensure_success=True, log=False)
    outputs = (done[max(done)].output for done in ran.values())
    return [o for o in outputs if isinstance(o, BondStudy)]


@pytest.mark.parametrize(("percent", "status"), [(1.2, Status.CERTIFIED), (7.28, Status.REFUSED)])
def test_spilling_above_five_percent_refuses_every_bond_on_the_surface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, percent: float, status: Status
) -> None:
    monkeypatch.chdir(tmp_path)
    segment = molecules.chain("pom", 1, ends="methyl")
    flow = BondStudyMaker(
        engine=CATALOGUE.engine("toy"),
        meter=LobsterOf(percent),
        scan=OrientationScan(turns_deg=(0,), tilts_deg=(0,)),
    ).make(
        "magnesia",
        {"as cut": [FacetSlab("001", "001-t0", magnesia())]},
        [segment],
        {segment.name: molecules.in_box(molecules.build(segment))},
    )
    (record,) = studies(flow)
    assert record.measure is BondMeasure.ICOHP_LOBSTER
    assert record.status is status
    assert record.spilling_percent == percent
    (one,) = record.orientations
    assert all(b.free_ev > 0 for b in one.bonds)  # the free molecule spills 1 %
    marks = [figures._bar_note(bar, 5.0) for bar in figures.study_bars(record)]
    assert len(marks) == 4
    if status is Status.REFUSED:
        assert record.refusal == "Spin 1 spills 7.28 % of its charge"
        assert one.refusal == record.refusal
        assert all(b.adsorbed_ev is None and b.change_ratio is None for b in one.bonds)
        assert (record.weakest_bond, record.strongest_weakening_ratio) == (None, None)
        assert "no orientation counts" in record.statement
        assert marks == ["\N{WARNING SIGN} spills 7.3 %"] * 4
    else:
        assert record.strongest_weakening_ratio is not None
        assert record.orientation_spread_ratio is None  # one orientation has no spread
        assert all(mark.endswith("(spills 1.2 %)") for mark in marks)


@pytest.mark.slow
def test_the_charged_and_the_sodium_rich_surface_stand_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    material = CATALOGUE.cathode("nvopf")
    narrow = tuple(f.model_copy(update={"min_width_ang": 6.0}) for f in material.facets)
    material = material.model_copy(update={"facets": narrow})
    segment = molecules.chain("peo", 1, ends="methyl")
    flow = BondStudyMaker(
        engine=CATALOGUE.engine("toy", max_steps=3),
        meter=LobsterOf(1.0),
        scan=OrientationScan(turns_deg=(0,), tilts_deg=(0,)),
    ).make(
        "nvopf",
        {"charged": [facet_slab(material, "001", "charged")], "as cut": [facet_slab(material, "001", None)]},
        [segment],
        {segment.name: molecules.in_box(molecules.build(segment))},
    )
    found = {record.state: record for record in studies(flow)}
    assert set(found) == {"charged", "as cut"}
    sodium = {state: r.orientations[0].structure.composition["Na"] for state, r in found.items()}
    vanadium = {state: r.orientations[0].structure.composition["V"] for state, r in found.items()}
    assert sodium["as cut"] == 1.5 * vanadium["as cut"]  # Na3V2O2(PO4)2F
    assert sodium["charged"] == 0.5 * vanadium["charged"]  # NaV2O2(PO4)2F: V5+
    # Three steps are no relaxation, and the record says so; the bonds are compared all the same.
    assert all("did not converge" in str(r.orientations[0].refusal) for r in found.values())
    charged, rich = (found[s].orientations[0].bonds for s in ("charged", "as cut"))
    # One free molecule is compared with both.
    assert [b.free_ev for b in charged] == [b.free_ev for b in rich]
    assert [b.adsorbed_ev for b in charged] != [b.adsorbed_ev for b in rich]


@pytest.mark.parametrize(("method", "jobs"), [(BarrierMethod.BAND, 1), (BarrierMethod.SCAN, 3)])
def test_a_hydrogen_is_walked_by_the_method_that_was_asked_for(method: BarrierMethod, jobs: int) -> None:
    segment = molecules.build(molecules.chain("pom", 1, ends="methyl"))
    adslab = orientations.scan(magnesia(), segment, turns_deg=(0,), tilts_deg=(0,))[0].structure
    bonds = [Bond(name=f"{i}-{j}", atoms=(i, j)) for i, j in molecules.bonds(segment)]
    slab, free, adsorbed, after = (
        SimpleNamespace(structure=s, ionic_converged=True, energy_ev=0.0)
        for s in (magnesia(), molecules.in_box(segment), adslab, adslab)
    )

    def walked() -> Response | None:
        # The queue hands an enumeration of texts over as its text.
        text = str(method.value)
        return walk_path.original(CATALOGUE.engine("toy"), "x", text, 3, bonds, slab, free, [adsorbed], after)

    response = walked()
    assert response is not None
    assert len(response.replace.jobs) == jobs
    after.ionic_converged = False  # there is no second end
    assert walked() is None


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
