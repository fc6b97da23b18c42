"""One small study under jobflow alone, under FireWorks as its users run it: the same records."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jobflow import Flow, JobStore, run_locally
from jobflow.managers.fireworks import flow_to_workflow
from monty.serialization import loadfn

from epilayer import Study
from epilayer.study.harvest import harvest_store
from queue_rig import database_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cluster
CIRCUMSTANCE = ("created", "job", "run_directory", "wall_time_s")
JOBFLOW = """\
JOB_STORE:
  docs_store: {{type: MongoStore, database: {name}, host: {host}, port: {port}, collection_name: {outputs}}}
  additional_stores:
    data: {{type: GridFSStore, database: {name}, host: {host}, port: {port}, collection_name: {outputs}_data}}
"""


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[str, str, int]]:
    """Give name, host and port of a database of one's own."""
    from pymongo import MongoClient

    address = database_server()
    host, port = address.removeprefix("mongodb://").strip("/").split(":")
    name = f"engines_{uuid.uuid4().hex[:10]}"
    yield name, host, int(port)
    MongoClient(address).drop_database(name)


def without_circumstance(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {k: without_circumstance(v) for k, v in value.items() if k not in CIRCUMSTANCE}
    return [without_circumstance(v) for v in value] if isinstance(value, list | tuple) else value


def records_of(study: Study, jobflow_file: Path) -> dict[str, Any]:
    """Harvest a job store into a study; return its records by id."""
    assert harvest_store(study, jobflow_file) > 0
    results = study.results()
    try:
        found = [r for kind in ("adsorption", "growth") for r in results.query(kind, limit=None, body=True)]
    finally:
        results.close()
    return {r["id"]: without_circumstance(dict(r)) for r in found}


def small_flow(study: Study) -> Flow:
    return study.build(
        "paper_adsorption", ["ligands=triazole", "facets=001", "poses=2"], level="toy", quick=True
    )


def empty_study(folder: Path) -> Study:
    folder.mkdir()
    (folder / "epilayer.yaml").touch()
    return Study.open(folder)


def test_the_study_gives_the_same_records_under_jobflow_and_under_fireworks(
    tmp_path: Path, database: tuple[str, str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, host, port = database
    files = {}
    for outputs in ("locally", "launched"):
        files[outputs] = tmp_path / f"{outputs}.yaml"
        files[outputs].write_text(JOBFLOW.format(name=name, host=host, port=port, outputs=outputs))
    alone = empty_study(tmp_path / "alone")
    monkeypatch.chdir(alone.root)
    store = JobStore.from_dict_spec(loadfn(files["locally"])["JOB_STORE"])
    run_locally(small_flow(alone), store=store, create_folders=True, ensure_success=True, log=False)
    expected = records_of(alone, files["locally"])
    assert {record["kind"] for record in expected.values()} >= {"adsorption"}

    launched = empty_study(tmp_path / "launched")
    from fireworks import LaunchPad

    pad = LaunchPad(host=host, port=port, name=name, strm_lvl="CRITICAL")
    pad.reset("", require_password=False)
    pad.to_file(str(launched.root / "my_launchpad.yaml"))
    workflow = flow_to_workflow(small_flow(launched))
    assert workflow.links  # the graph is FireWorks' own
    pad.add_wf(workflow)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("rlaunch")), "-s", "rapidfire", "--nlaunches", "0"],
        cwd=launched.root,
        env=os.environ | {"JOBFLOW_CONFIG_FILE": str(files["launched"]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    states = [fw["state"] for fw in pad.fireworks.find({}, {"state": 1})]
    assert set(states) == {"COMPLETED"}, done.stdout + done.stderr
    assert records_of(launched, files["launched"]) == expected
