from __future__ import annotations

import json
import multiprocessing
import pickle
import random
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from maggma.core import Validator
from monty.json import MontyDecoder

from epilayer.model.errors import StoreError
from epilayer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "docs.db") as opened:
        yield opened


def test_a_worker_can_rebuild_it_from_plain_json_or_a_pickle(store: SqliteStore) -> None:
    store.update({"uuid": "a", "x": 1})
    for again in (
        MontyDecoder().process_decoded(json.loads(json.dumps(store.as_dict()))),
        SqliteStore.from_dict(store.as_dict()),
        pickle.loads(pickle.dumps(store)),  # noqa: S301
    ):
        assert again == store
        assert hash(again) == hash(store)
        with pytest.raises(StoreError, match=r"not connected.*connect\(\)"):
            again.count()
        again.connect()
        again.connect()
        assert again.query_one({"uuid": "a"}) == {"uuid": "a", "x": 1}
        again.close()


def test_it_is_the_same_file_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore("docs.db")
    assert store.name == f"sqlite://{tmp_path}/docs.db#outputs"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.connect()
    store.close()
    assert (tmp_path / "docs.db").exists()


def test_collections_of_one_file_are_apart(store: SqliteStore) -> None:
    with SqliteStore(store.path, "other") as other:
        store.update({"uuid": "a"})
        assert (store.count(), other.count()) == (1, 0)
        assert store != other
    with pytest.raises(StoreError, match="no name for a collection"):
        SqliteStore(store.path, 'x"; DROP TABLE y; --')


def test_lookups_by_key_use_the_index(store: SqliteStore) -> None:
    from epilayer.store.criteria import superset

    store.update([{"uuid": str(n), "index": 1} for n in range(10)])
    near = superset({"uuid": "3", "index": 1})
    plan = store._database.connection().execute(
        f"EXPLAIN QUERY PLAN SELECT pk FROM {store._table} WHERE {near.where}",  # noqa: S608
        near.parameters,
    )
    steps = [row[3] for row in plan]
    assert any("index_outputs_uuid" in step for step in steps)
    assert not any(step.startswith("SCAN") for step in steps)


def test_an_index_may_demand_unique_values(store: SqliteStore) -> None:
    store.update([{"uuid": "a", "n": 1}, {"uuid": "b", "n": 1}])
    assert store.ensure_index("n")
    assert store.ensure_index("n")
    assert not store.ensure_index("n", unique=True)
    assert not store.ensure_index('odd"name')
    assert store.ensure_index("uuid", unique=True)


def test_documents_may_be_changed_while_they_are_read(store: SqliteStore) -> None:
    store.update([{"uuid": str(n), "x": 0} for n in range(450)])
    for document in store.query():
        store.update({**document, "x": 1})
        store.remove_docs({"uuid": "449"})
    assert store.count({"x": 1}) == 449


def test_many_documents_in_one_update_are_all_or_none(store: SqliteStore) -> None:
    with pytest.raises(StoreError, match="lacks its key field 'uuid'"):
        store.update([{"uuid": "a"}, {"no": "key"}])
    with pytest.raises(StoreError, match=r"integer .* at x\.0 needs more than 64 bits"):
        store.update([{"uuid": "a"}, {"uuid": "b", "x": [2**70]}])
    with pytest.raises(StoreError, match="cannot be stored"):
        store.update([{"uuid": "a"}, {"uuid": "b", "x": "\ud800"}])
    assert store.count() == 0


def test_a_large_document_costs_little_where_only_its_head_is_asked(store: SqliteStore) -> None:
    store.update({"uuid": "big", "index": 1, "output": [[0.5] * 300] * 3000})
    text = store._database.connection().execute(f"SELECT length(head) FROM {store._table}").fetchone()  # noqa: S608
    assert text[0] < 100
    assert store.query_one({"uuid": "big"}, ["index"]) == {"index": 1}
    assert len(store.query_one({"uuid": "big"}, ["output"])["output"]) == 3000


def test_last_updated_is_the_newest_time(store: SqliteStore) -> None:
    import datetime as dt

    times = [dt.datetime(2025, 1, day) for day in (3, 9, 5)]  # noqa: DTZ001
    store.update([{"uuid": str(n), "last_updated": time} for n, time in enumerate(times)])
    assert store.last_updated == times[1]


@pytest.mark.parametrize("strict", [False, True])
def test_a_validator_is_obeyed(tmp_path: Path, strict: bool) -> None:
    class NeedsX(Validator):  # type: ignore[misc]
        def __init__(self) -> None:
            self.strict = strict

        def is_valid(self, doc: dict[str, Any]) -> bool:
            return "x" in doc

        def validation_errors(self, doc: dict[str, Any]) -> list[str]:
            return [f"{doc['uuid']} has no x"]

    store = SqliteStore(tmp_path / "docs.db", validator=NeedsX())
    store.connect()
    documents = [{"uuid": "a"}, {"uuid": "b", "x": 1}]
    if strict:
        with pytest.raises(StoreError, match="a has no x"):
            store.update(documents)
    else:
        store.update(documents)
    assert store.distinct("uuid") == ([] if strict else ["b"])
    store.close()


WRITER = """
import sys
from epilayer.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
store.connect()
name, count = sys.argv[2], int(sys.argv[3])
for n in range(count):
    batch = f"{name}-{n}"
    store.update([{"uuid": f"{batch}-{part}", "batch": batch, "x": [part] * 2000} for part in range(4)])
    store.update({"uuid": "shared", "by": name}, key="uuid")
    print(n, flush=True)
"""


def test_four_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    path = str(tmp_path / "docs.db")  # the file itself is created in the race
    command = [sys.executable, "-c", WRITER, path]
    started = [
        subprocess.Popen([*command, name, "25"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for name in "abcd"
    ]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, errors
    with SqliteStore(path) as store:
        assert store.count() == 4 * 25 * 4 + 1
        assert sorted(store.distinct("uuid")) == sorted(
            ["shared", *(f"{name}-{n}-{part}" for name in "abcd" for n in range(25) for part in range(4))]
        )


def test_kill_9_while_writing_leaves_whole_updates_only(tmp_path: Path) -> None:
    path, choose = str(tmp_path / "docs.db"), random.Random(7)  # noqa: S311
    acknowledged = 0
    for attempt in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, path, f"k{attempt}", "100000"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(choose.randrange(1, 30)):
            process.stdout.readline()
            acknowledged += 1
        process.kill()
        process.wait()
        process.stdout.close()
        with SqliteStore(path) as store:
            batches = {label["batch"]: len(group) for label, group in store.groupby("batch")}
            assert set(batches.values()) == {4}
            assert len(batches) >= acknowledged
            for document in store.query({"batch": {"$exists": True}}):
                assert len(document["x"]) == 2000
            assert store._database.connection().execute("PRAGMA integrity_check").fetchone() == ("ok",)
            acknowledged = len(batches)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_uses_a_connection_of_its_own(store: SqliteStore) -> None:
    store.update({"uuid": "parent"})

    def child(number: int) -> None:
        store.update({"uuid": f"child {number}"})
        assert store.count({"uuid": "parent"}) == 1
        store.close()

    processes = [multiprocessing.get_context("fork").Process(target=child, args=(n,)) for n in range(3)]
    for process in processes:
        process.start()
    store.update({"uuid": "meanwhile"})
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert store.count() == 5


def test_threads_write_at_once(store: SqliteStore) -> None:
    def work(name: int) -> None:
        for n in range(20):
            store.update({"uuid": f"{name}-{n}"})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count() == 80
