"""Every fault of a VASP run through the queue: corrected, resumed or failed by name; none lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from jobflow import Flow, JobStore

from epilayer.launch import EmbeddedQueue, run_workers
from epilayer.launch.base import JobState
from epilayer.store.sqlite import SqliteStore
from epilayer.structures import molecules
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure

    from epilayer.launch import JobInfo

CORRECTED = {"zbrent": "zbrent", "brmix": "brmix", "edddav": "edddav"}
NAMED = {
    "segfault": "segfault",
    "walltime": "time_limit",
    "truncated_contcar": "time_limit",
    "full_disk": "disk_full",
    "nan": "energy_not_readable",
}
RESUMED = {
    "segfault": "CONTCAR",
    "walltime": "CONTCAR",
    "truncated_contcar": "vasprun.xml",
    "full_disk": "CONTCAR",
    "nan": "CONTCAR",
}

pytestmark = pytest.mark.slow


def box_with(oxygens: int) -> Structure:
    """Triazole and so many oxygens, which it attracts: the toy potential needs several steps."""
    catalogue = Catalogue((shipped("configs"),))
    box = molecules.in_box(molecules.build(catalogue.ligand("triazole"), 0), vacuum_ang=15.0)
    above = box.cart_coords.mean(axis=0) + np.array([0, 0, 2.9])
    for number in range(oxygens):
        box.append("O", above + np.array([0, 0, 2.2 * number]), coords_are_cartesian=True)
    return box


def test_each_fault_ends_corrected_resumed_or_failed_by_name_and_none_is_lost(
    vasp: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vasp
    engine = Catalogue((shipped("configs"),)).engine("paper", max_steps=300)
    faults = [*CORRECTED, *NAMED]
    boxes = {fault: box_with(number) for number, fault in enumerate(faults, start=1)}
    listed = tmp_path / "faults.json"
    listed.write_text(json.dumps({str(len(box)): fault for fault, box in boxes.items()}), encoding="utf-8")
    monkeypatch.setenv("VASP_STANDIN_FAULTS", str(listed))
    jobs = []
    for fault, box in boxes.items():
        job = engine.relax(f"relax {fault}").make(box)
        job.name = f"relax {fault}"
        jobs.append(job)
    queue = EmbeddedQueue(tmp_path / "queue.db", runs=tmp_path / "runs")
    outputs = tmp_path / "outputs.db"
    store = JobStore(SqliteStore(outputs, "outputs"), {"data": SqliteStore(outputs, "data")})
    queue.submit(Flow(jobs, name="faults"))

    run_workers(queue, store.as_dict(), workers=2)
    first = {job.name.split()[1]: job for job in queue.jobs()}
    assert set(first) == set(faults)
    for fault, name in NAMED.items():
        assert first[fault].state is JobState.FAILED, fault
        assert name in (first[fault].cause or ""), (fault, first[fault].cause)
    status = queue.status()
    assert {job.name.split()[1] for job in status.failed} == set(NAMED)
    store.connect()
    for fault, name in CORRECTED.items():
        assert first[fault].state is JobState.COMPLETED, (fault, first[fault].cause)
        assert name in corrections(store, first[fault])[0]

    queue.rerun(state=JobState.FAILED)
    run_workers(queue, store.as_dict(), workers=2)
    second = {job.name.split()[1]: job for job in queue.jobs()}
    assert {job.state for job in second.values()} == {JobState.COMPLETED}
    for fault in NAMED:
        assert second[fault].attempts == 2
        assert corrections(store, second[fault]) == [f"resumed from {RESUMED[fault]} of attempt-1"], fault
    assert len(list(tmp_path.glob("faults.json.*.struck"))) == len(faults)


def corrections(store: JobStore, job: JobInfo) -> list[str]:
    output = store.get_output(job.uuid, load=True)
    assert output["level"]["stand_in"]
    return list(output["corrections"])
