from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from jobflow import Flow, JobStore, job, run_locally
from monty.json import MontyDecoder

from epilayer.model.errors import InputError
from epilayer.store.addresses import without_password
from epilayer.store.jobs import embedded_jobstore, mongo_jobstore

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = "mongodb://me:s3cret@localhost:27017/study"


@job(data="trajectory")
def compute(start: float) -> dict[str, Any]:
    return {"energy_ev": start - 1.0, "trajectory": [[start] * 3] * 4}


@pytest.fixture
def jobstore(tmp_path: Path) -> JobStore:
    store = embedded_jobstore(tmp_path / "jobs.db")
    store.connect()
    return store


def test_a_flow_runs_and_its_large_objects_stand_apart(
    jobstore: JobStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    first = compute(0.0)
    second = compute(first.output["energy_ev"])
    run_locally(Flow([first, second]), store=jobstore, ensure_success=True, log=False)
    assert jobstore.get_output(second.uuid)["energy_ev"] == -2.0
    assert jobstore.get_output(second.uuid, load=True)["trajectory"] == [[-1.0] * 3] * 4
    stored = jobstore.query_one({"uuid": first.uuid}, ["output"])["output"]["trajectory"]
    assert stored["store"] == "data"
    assert jobstore.additional_stores["data"].count() == 2
    jobstore.remove_docs({"uuid": first.uuid})
    assert jobstore.count() == jobstore.additional_stores["data"].count() == 1


def test_jobflows_own_questions(jobstore: JobStore) -> None:
    jobstore.update([{"uuid": "a", "index": n, "output": {"n": n}} for n in (1, 2, 10)])
    jobstore.update({"uuid": "a", "index": 2, "output": {"n": -2}})
    assert jobstore.get_output("a") == {"n": 10}
    assert jobstore.get_output("a", which="first") == {"n": 1}
    assert jobstore.get_output("a", which=2) == {"n": -2}
    assert jobstore.get_output("a", which="all") == [{"n": 1}, {"n": -2}, {"n": 10}]
    assert [(label, len(group)) for label, group in jobstore.groupby("uuid")] == [({"uuid": "a"}, 3)]
    assert jobstore.distinct("index") == [1, 2, 10]
    assert jobstore.ensure_index("output.n")


def test_a_worker_rebuilds_the_embedded_store(jobstore: JobStore) -> None:
    jobstore.update({"uuid": "a", "index": 1, "output": 5})
    again = MontyDecoder().process_decoded(json.loads(json.dumps(jobstore.as_dict())))
    again.connect()
    assert again.get_output("a") == 5


def test_a_worker_rebuilds_the_mongodb_store_with_its_address() -> None:
    store = mongo_jobstore(ADDRESS)
    again = MontyDecoder().process_decoded(json.loads(json.dumps(store.as_dict())))
    for rebuilt in (again.docs_store, again.additional_stores["data"]):
        assert rebuilt.uri == ADDRESS
        assert rebuilt.database == "study"


def test_no_name_or_repr_shows_the_password() -> None:
    store = mongo_jobstore(ADDRESS)
    for part in (store, store.docs_store, store.additional_stores["data"]):
        assert "s3cret" not in f"{part.name} {part!r} {part}"
    assert "me:***@localhost:27017/study" in store.name


@pytest.mark.parametrize(
    "address",
    ["http://me:s3cret@host/db", "mongodb://me:s3cret@host", "mongodb://me:s3cret@host:port/db",
     "mongodb://me:s3c@s3cret@host/db", "s3cret:s3cret@host"],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(InputError) as refusal:
        mongo_jobstore(address)
    assert "s3cret@" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.remedy


def test_passwords_are_hidden() -> None:
    assert without_password("mongodb+srv://u:p@h/d?x=y@z") == "mongodb+srv://u:***@z"
    assert without_password("mongodb://h:27017/d") == "mongodb://h:27017/d"
