"""SqliteStore against maggma's MemoryStore: the same operations, the same answers."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maggma.stores import MemoryStore

from epilayer.store.criteria import translate
from epilayer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

NOON = dt.datetime(2025, 6, 1, 12, 0, 0, 123000)  # noqa: DTZ001  (stores give times without a zone)
DOCUMENTS: list[dict[str, Any]] = [
    {
        "uuid": "a",
        "index": 1,
        "output": {"energy": -1.5, "tags": ["x", "y"]},
        "name": "relax slab",
        "done": True,
    },
    {"uuid": "a", "index": 2, "output": {"energy": -1.75, "tags": []}, "name": "relax slab", "done": True},
    {"uuid": "b", "index": 1, "output": {"energy": None}, "name": "Relax molecule", "when": NOON},
    {"uuid": "c", "index": 1, "output": None, "name": "", "done": False, "hosts": ["a", "b"]},
    {"uuid": "d", "index": 1, "output": [{"energy": 3}, {"energy": -1.5}], "name": "static", "hosts": []},
    {"uuid": "e", "index": 1, "output": "text", "name": "[odd", "data": b"\x00\xff", "hosts": ["b"]},
    {"uuid": "f", "index": 10, "output": {"energy": "100"}, "name": "{odd}", "weird key": 1},
    {"uuid": "g", "index": 3, "output": {"energy": 100}, "name": "na\u00efve \u212b", "done": None},
]
CRITERIA: list[dict[str, Any]] = [
    {},
    {"uuid": "a"},
    {"uuid": "a", "index": 2},
    {"uuid": {"$in": ["a", "c", "zz"]}},
    {"uuid": {"$in": []}},
    {"uuid": {"$nin": ["a", "c"]}},
    {"index": {"$gt": 1}},
    {"index": {"$gte": 1, "$lt": 3}},
    {"index": {"$lte": 1.0}},
    {"index": "1"},
    {"index": 1.0},
    {"index": {"$ne": 1}},
    {"name": {"$regex": "^relax"}},
    {"name": {"$regex": "RELAX", "$options": "i"}},
    {"name": re.compile("slab$")},
    {"name": {"$not": {"$regex": "relax"}}},
    {"name": {"$gt": "Relax molecule"}},
    {"name": "[odd"},
    {"name": "{odd}"},
    {"name": {"$in": ["[odd", "static"]}},
    {"name": "na\u00efve \u212b"},
    {"weird key": 1},
    {"done": True},
    {"done": False},
    {"done": None},
    {"done": {"$exists": True}},
    {"done": {"$exists": False}},
    {"done": {"$ne": True}},
    {"done": {"$in": [None, False]}},
    {"done": {"$nin": [None]}},
    {"output.energy": -1.5},
    {"output.energy": {"$lt": 0}},
    {"output.energy": None},
    {"output.energy": "100"},
    {"output.energy": 100},
    {"output.energy": {"$exists": True}},
    {"output.energy": {"$exists": False}},
    {"output.energy": {"$ne": -1.5}},
    {"output.tags": "x"},
    {"output.tags": {"$ne": "x"}},
    {"output.tags": {"$size": 0}},
    {"output.0.energy": 3},
    {"hosts": "b"},
    {"hosts": {"$in": ["a"]}},
    {"hosts": ["a", "b"]},
    {"hosts": {"$all": ["a", "b"]}},
    {"output": "text"},
    {"output": None},
    {"output": {"energy": None}},
    {"when": NOON},
    {"when": {"$gt": NOON - dt.timedelta(days=1)}},
    {"when": {"$exists": True}},
    {"$or": [{"uuid": "a"}, {"index": {"$gt": 2}}]},
    {"$and": [{"uuid": "a"}, {"$or": [{"index": 2}, {"done": False}]}]},
    {"$nor": [{"uuid": "a"}, {"hosts": "b"}]},
    {"uuid": "a", "output.tags": "x"},
]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[SqliteStore, MemoryStore]]:
    ours, theirs = SqliteStore(tmp_path / "docs.db"), MemoryStore(key="uuid")
    for store in (ours, theirs):
        store.connect()
        store.update(DOCUMENTS, key=["uuid", "index"])
    yield ours, theirs
    ours.close()


def plain(documents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in doc.items() if name != "_id"} for doc in documents]


@pytest.mark.parametrize("criteria", CRITERIA, ids=str)
def test_every_criterion_gives_the_same_documents_and_count(
    pair: tuple[SqliteStore, MemoryStore], criteria: dict[str, Any]
) -> None:
    ours, theirs = pair
    assert plain(ours.query(criteria)) == plain(theirs.query(criteria))
    assert ours.count(criteria) == theirs.count(criteria)


SORTS = [
    {"index": 1}, {"index": -1}, {"uuid": -1, "index": 1}, {"done": 1}, {"when": -1},
    {"output.energy": 1}, {"output": 1}, {"name": 1},
]  # fmt: skip


@pytest.mark.parametrize("sort", SORTS, ids=str)
@pytest.mark.parametrize(("skip", "limit"), [(0, 0), (1, 3), (5, 100)])
def test_sort_skip_and_limit(
    pair: tuple[SqliteStore, MemoryStore], sort: dict[str, int], skip: int, limit: int
) -> None:
    ours, theirs = pair
    for criteria in ({}, {"done": {"$exists": True}}, {"hosts": "b"}):
        found = plain(ours.query(criteria, sort=sort, skip=skip, limit=limit))
        assert found == plain(theirs.query(criteria, sort=sort, skip=skip, limit=limit))


@pytest.mark.parametrize(
    "properties",
    [None, ["uuid"], ["uuid", "output"], ["output.energy", "uuid"], ["nothing"],
     {"uuid": 1, "_id": 0}, {"output": 0}, ["when"]],
    ids=str,
)  # fmt: skip
def test_projections(
    pair: tuple[SqliteStore, MemoryStore], properties: list[str] | dict[str, int] | None
) -> None:
    ours, theirs = pair
    assert plain(ours.query({}, properties)) == plain(theirs.query({}, properties))
    assert ours.query_one({"uuid": "zz"}, properties) is None


@pytest.mark.parametrize("field", ["uuid", "index", "done", "hosts", "output.energy", "nothing", "when"])
def test_distinct(pair: tuple[SqliteStore, MemoryStore], field: str) -> None:
    ours, theirs = pair
    assert ours.distinct(field) == theirs.distinct(field)
    assert ours.distinct(field, {"index": 1}) == theirs.distinct(field, {"index": 1})


@pytest.mark.parametrize("keys", ["uuid", "index", ["uuid", "index"]])
def test_groupby(pair: tuple[SqliteStore, MemoryStore], keys: str | list[str]) -> None:
    ours, theirs = pair
    got = [(label, plain(group)) for label, group in ours.groupby(keys, properties=["name"])]
    assert got == [(label, plain(group)) for label, group in theirs.groupby(keys, properties=["name"])]


def test_update_replaces_by_key_and_remove_docs_removes(pair: tuple[SqliteStore, MemoryStore]) -> None:
    for store in pair:
        store.update({"uuid": "a", "index": 2, "new": 1}, key=["uuid", "index"])
        store.update([{"uuid": "b", "index": 7}, {"uuid": "new", "index": 1}])
        store.update({"uuid": "z", "hosts": "b"}, key="hosts")
        store.remove_docs({"index": {"$gt": 9}})
        store.remove_docs({"done": False})
    ours, theirs = pair
    assert plain(ours.query()) == plain(theirs.query())


def test_values_beyond_json_come_back(tmp_path: Path) -> None:
    import numpy as np
    from bson import ObjectId
    from monty.json import jsanitize

    document = {
        "uuid": "u",
        "when": NOON,
        "nested": {"bytes": b"\x00\x01\xfe", "id": ObjectId("0" * 24), "list": [1, math.inf, {"t": NOON}]},
        "array": np.arange(3.0),
        "number": np.float64(2.5),
        "count": np.int64(3),
        7: {"$date": "not a date", "$oid": 1},
    }
    with SqliteStore(tmp_path / "docs.db") as store:
        store.update(document)
        store.update({"uuid": "nan", "value": math.nan})
        assert store.query_one({"uuid": "u"}) == jsanitize(document, allow_bson=True)
        assert math.isnan(store.query_one({"uuid": "nan"}, ["value"])["value"])
        assert store.query_one({"uuid": "u"}, ["when"]) == {"when": NOON}


scalars = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.sampled_from([-1.5, 0.5, 2.0]),
    st.sampled_from(["", "a", "b", "[", "{x", "1"]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["p", "q"]), inner, max_size=2)
    ),
    max_leaves=4,
)
documents = st.lists(st.dictionaries(st.sampled_from(["x", "y"]), values, max_size=2), min_size=1, max_size=6)
paths = st.sampled_from(["x", "y", "x.p", "x.p.q", "y.q"])
numbers_or_text = st.integers(-3, 3) | st.sampled_from([-1.5, 0.5]) | st.sampled_from(["", "a", "b", "1"])
operators = st.one_of(
    scalars,
    st.fixed_dictionaries({"$ne": scalars}),
    st.fixed_dictionaries({"$gt": numbers_or_text}),
    st.fixed_dictionaries({"$gte": numbers_or_text, "$lt": numbers_or_text}),
    st.fixed_dictionaries({"$in": st.lists(scalars, max_size=3)}),
    st.fixed_dictionaries({"$nin": st.lists(scalars, max_size=3)}),
    st.fixed_dictionaries({"$exists": st.booleans()}),
    st.fixed_dictionaries({"$not": st.fixed_dictionaries({"$gt": numbers_or_text})}),
    st.fixed_dictionaries({"$regex": st.sampled_from(["a", "^$", "[ab]"])}),
)
conditions = st.dictionaries(paths, operators, min_size=1, max_size=2)
criteria_strategy = st.one_of(
    conditions,
    st.fixed_dictionaries({"$or": st.lists(conditions, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"$nor": st.lists(conditions, min_size=1, max_size=2)}),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path_factory.mktemp("contract") / "docs.db", durable=False, indexes=["x"])
    store.connect()
    yield store
    store.close()


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(documents, criteria_strategy, st.dictionaries(paths, st.sampled_from([1, -1]), max_size=2))
def test_any_criteria_on_any_documents(
    shared: SqliteStore, given_documents: list[dict[str, Any]], criteria: dict[str, Any], sort: dict[str, int]
) -> None:
    shared.remove_docs({})
    theirs = MemoryStore(key="uuid")
    theirs.connect()
    for store in (shared, theirs):
        store.update([{"uuid": str(n), **doc} for n, doc in enumerate(given_documents)])
    assert plain(shared.query(criteria)) == plain(theirs.query(criteria))
    assert shared.count(criteria) == theirs.count(criteria)
    assert plain(shared.query(criteria, sort=sort)) == plain(theirs.query(criteria, sort=sort or None))


def test_the_common_criteria_are_answered_by_sql() -> None:
    for criteria in (
        {"uuid": "a", "index": 1},
        {"blob_uuid": {"$in": ["a"]}},
        {"output.energy": {"$lt": 0}},
        {"name": {"$regex": "x", "$options": "i"}},
        {"$or": [{"a": 1}, {"b": {"$exists": True}}]},
    ):
        assert translate(criteria) is not None
