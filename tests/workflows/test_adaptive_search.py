"""The search as a chain of jobs: batch after batch on a small slab, and what the record says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ase.build import bulk, surface
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Structure

from epilayer.flows.adsorption import AdsorptionStudyMaker, FacetSlab
from epilayer.flows.search import PlacedPose, PoseSearch, decide
from epilayer.model.records import AdsorptionEnergy, Calculation
from epilayer.structures import molecules
from epilayer.structures.comparison import PoseComparison
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from pathlib import Path

SEARCH = PoseSearch(poses=8, batch=2, keep=1, tolerance_ev=0.01)


def magnesia() -> Structure:
    atoms = surface(bulk("MgO", "rocksalt", a=4.212, cubic=True), (0, 0, 1), 1, vacuum=9.0) * (2, 2, 1)
    slab = Structure(atoms.cell[:], atoms.get_chemical_symbols(), atoms.get_scaled_positions())
    lowest = min(slab.cart_coords[:, 2])
    slab.add_site_property("selective_dynamics", [[z > lowest + 0.1] * 3 for z in slab.cart_coords[:, 2]])
    return slab


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Outputs of every job of one study, by the job's name."""
    root: Path = tmp_path_factory.mktemp("search")
    catalogue = Catalogue((shipped("configs"),))
    ligand = catalogue.ligand("water")
    study = AdsorptionStudyMaker(engine=catalogue.engine("toy"), search=SEARCH)
    boxes = {"water": molecules.in_box(molecules.build(ligand, 0))}
    flow = study.make("magnesia", [FacetSlab("001", "001-t0.5", magnesia())], [ligand], boxes)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    done = run_locally(flow, store=store, root_dir=root, create_folders=True, ensure_success=True, log=False)
    names = {d["uuid"]: d["name"] for d in store.query(properties=["uuid", "name"])}
    return {
        f"{names[uuid]} {index}": response.output
        for uuid, attempts in done.items()
        for index, response in attempts.items()
        if response.output is not None
    }


def reported(outputs: dict[str, Any]) -> AdsorptionEnergy:
    (record,) = (o for name, o in outputs.items() if name.startswith("report "))
    assert isinstance(record, AdsorptionEnergy)
    return record


def test_the_record_says_how_the_search_went(outputs: dict[str, Any]) -> None:
    record = reported(outputs)
    sure = record.search
    assert sure is not None
    assert len(record.poses) == sure.starts
    assert sum(p.stage == "relaxed" for p in record.poses) == 1
    assert sure.starts % SEARCH.batch == 0
    assert 2 * SEARCH.batch <= sure.starts <= SEARCH.poses
    placed = [o for name, o in outputs.items() if isinstance(o, Calculation) and name.startswith("place ")]
    assert len(placed) == sure.starts
    assert sure.force_calls == sum(len(c.energies_ev) for c in placed)


def test_the_chain_of_jobs_decides_as_the_loop_does(outputs: dict[str, Any]) -> None:
    record = reported(outputs)
    found = {c.label: c for c in outputs.values() if isinstance(c, Calculation)}
    (clean,) = (c for label, c in found.items() if label.startswith("slab"))
    (box,) = (c for label, c in found.items() if label.startswith("molecule"))
    molecule = molecules.build(Catalogue((shipped("configs"),)).ligand("water"), 0)
    assert len(molecule) == len(box.structure)
    labels = sorted(label for label in found if label.startswith("place"))
    ends = [
        PlacedPose(found[k].structure, found[k].energy_ev, True, len(found[k].energies_ev)) for k in labels
    ]
    comparison = PoseComparison(clean.structure, molecule)
    for n in range(0, len(ends), SEARCH.batch):
        assert decide(SEARCH, SEARCH.poses, ends[:n], comparison).more == range(n, n + SEARCH.batch)
    last = decide(SEARCH, SEARCH.poses, ends, comparison)
    assert not last.more
    assert last.confidence == record.search
    assert record.minimum is not None
    assert labels[last.kept[0]].endswith(record.minimum.label)
