"""What every results store must answer: judged by a plain list of records and the documented meaning."""

from __future__ import annotations

import string
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epilayer.model.errors import InputError, UnknownNameError
from epilayer.model.kinds import KINDS
from epilayer.store.filters import Contains, OneOf, Range, ValueType, parse_filter, resolve
from epilayer.store.journal import open_database
from epilayer.store.results import PutCount, Record, ResultsStore, SqliteResults, open_results
from queue_rig import database_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from epilayer.store.filters import Condition


STORES = ["sqlite", pytest.param("mongodb", marks=pytest.mark.cluster)]


@contextmanager
def opened(where: str, folder: Path) -> Iterator[ResultsStore]:
    if where == "sqlite":
        store: ResultsStore = SqliteResults(folder / "results.db", durable=False)
        yield store
        store.close()
        return
    address = f"{database_server()}epilayer_{uuid.uuid4().hex[:12]}"
    store = open_results(address)
    yield store
    store.close()
    database = open_database(address)
    database.client.drop_database(database.name)
    database.client.close()


@pytest.fixture(params=STORES)
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ResultsStore]:
    with opened(request.param, tmp_path) as store:
        yield store


def record(identity: str, *, kind: str = "adsorption", created: str = "2025-01-01", **fields: Any) -> Record:  # noqa: ANN401
    return Record(
        kind=kind, id=identity, created=created, schema_version=1, fields=fields, body={"of": identity}
    )


EXAMPLES = [
    record("a1", created="2025-01-03", facet="100", ligand="triazole", energy_ev=-0.58, ok=True, sites=4),
    record("a2", created="2025-01-02", facet="001", ligand="triazole", energy_ev=-0.51, ok=True, sites=4),
    record("b1", created="2025-01-02", facet="100", ligand="2-methylImidazole", energy_ev=-0.05, ok=False),
    record("b2", created="2025-01-01", facet="001", ligand="2-methylimidazole", energy_ev=None, ok=False),
    record("c1", created="2025-01-04T06:00:00+02:00", facet=100, ligand="50%_x", energy_ev=0, note="null"),
]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ([], "c1 a1 a2 b1 b2"),
        (["facet=100"], "c1 a1 b1"),
        (['facet="100"'], "a1 b1"),
        (["facet!=100"], "a2 b2"),
        (["energy_ev<-0.5"], "a1 a2"),
        (["energy_ev>=-0.51"], "c1 a2 b1"),
        (["energy_ev=0"], "c1"),
        (["energy_ev=null"], "b2"),
        (["energy_ev!=null"], "c1 a1 a2 b1"),
        (["energy_ev!=0"], "a1 a2 b1 b2"),
        (["ligand~imidazole"], "b1 b2"),
        (["ligand~50%_"], "c1"),
        (["ligand~%"], "c1"),
        (["ligand=2-methylimidazole"], "b2"),
        (["ligand>2", "ligand<5"], "b1 b2"),
        (["ligand in triazole,50%_x"], "c1 a1 a2"),
        (["ligand not in triazole,50%_x"], "b1 b2"),
        (["ok=true"], "a1 a2"),
        (["ok!=true"], "c1 b1 b2"),
        (["ok=1"], ""),
        (["sites=4.0"], "a1 a2"),
        (["sites=null"], "c1 b1 b2"),
        (["note=null"], "a1 a2 b1 b2"),
        (['note="null"'], "c1"),
        (["created>=2025-01-02", "created<2025-01-04"], "a1 a2 b1"),
        (["facet=100", "energy_ev<0", "ok=true"], "a1"),
        (["facet in 100,null", "ok in true,null"], "c1 a1"),
    ],
    ids=str,
)
def test_filters_mean_what_is_documented(results: ResultsStore, where: list[str], expected: str) -> None:
    results.put(EXAMPLES)
    filters = [parse_filter(text) for text in where]
    assert [found["id"] for found in results.query("adsorption", filters)] == expected.split()
    assert results.count("adsorption", filters) == len(expected.split())


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("energy_ev", "a1 a2 b1 c1 b2"),
        ("-energy_ev", "c1 b1 a2 a1 b2"),
        ("facet", "c1 a2 b2 a1 b1"),
        ("-facet", "a1 b1 a2 b2 c1"),
        ("sites", "a1 a2 b1 b2 c1"),
        ("created", "b2 a2 b1 a1 c1"),
    ],
)
def test_sorting_puts_records_without_a_value_last(results: ResultsStore, sort: str, expected: str) -> None:
    results.put(EXAMPLES)
    order = expected.split()
    assert [found["id"] for found in results.query("adsorption", sort=sort)] == order
    for offset in range(7):
        for limit in range(7):
            part = results.query("adsorption", sort=sort, limit=limit, offset=offset)
            assert [found["id"] for found in part] == order[offset : offset + limit]
        everything = results.query("adsorption", sort=sort, limit=None, offset=offset)
        assert [found["id"] for found in everything] == order[offset:]


def test_fields_kinds_and_distinct_values(results: ResultsStore) -> None:
    results.put([*EXAMPLES, record("g1", kind="growth", mode="isotropic", never=None)])
    assert results.kinds() == {"adsorption": 5, "growth": 1}
    fields = results.fields("adsorption")
    declared = {column.name for column in KINDS["adsorption"].columns}  # known, with or without a value
    assert set(fields) == {"created", "energy_ev", "facet", "ligand", "note", "ok", "sites"} | declared
    assert fields["anchor"] == frozenset()
    assert results.query("adsorption", [parse_filter("anchor=pyridine_n")]) == []
    assert fields["facet"] == {ValueType.NUMBER, ValueType.TEXT}
    assert fields["ok"] == {ValueType.BOOLEAN}
    assert results.fields("growth")["never"] == frozenset()
    assert results.distinct("adsorption", "facet") == [100, "001", "100"]
    assert results.distinct("adsorption", "ok") == [False, True]
    assert results.distinct("adsorption", "energy_ev") == [-0.58, -0.51, -0.05, 0]
    assert results.distinct("growth", "never") == []


def test_values_are_tallied_among_the_records_that_match(results: ResultsStore) -> None:
    fields = ["facet", "ok", "energy_ev", "ligand", "created"]
    assert results.tally("adsorption", fields) == {field: [] for field in fields}  # nothing stored yet
    results.put([*EXAMPLES, record("g1", kind="growth", mode="isotropic", facet="100")])
    assert results.tally("adsorption", ["facet"]) == {"facet": [(100, 1), ("001", 2), ("100", 2)]}
    for text in ("", "facet=100", "facet!=100", "ok=true", "energy_ev<-0.1", "ligand~i; energy_ev<0"):
        where = [parse_filter(part) for part in text.split(";") if part.strip()]
        tallies = results.tally("adsorption", fields, where)
        for field in fields:
            among = results.query("adsorption", where, fields=[field], limit=None)
            values = [found["fields"][field] for found in among]
            ordered = [v for v in results.distinct("adsorption", field) if any(_same(v, w) for w in values)]
            wanted = [(value, sum(_same(value, w) for w in values)) for value in ordered]
            assert tallies[field] == wanted, (text, field)
    with pytest.raises(UnknownNameError, match="Did you mean 'facet'"):
        results.tally("adsorption", ["facett"])


def _same(first: object, second: object) -> bool:
    """Whether two values are one: true is not 1."""
    return first == second and isinstance(first, bool) == isinstance(second, bool)


def test_a_record_is_got_by_id_or_unique_prefix_with_its_body(results: ResultsStore) -> None:
    results.put(EXAMPLES)
    whole = {**EXAMPLES[4], "created": "2025-01-04T04:00:00.000+00:00"}
    assert results.get("c1") == whole
    assert results.get("c") == whole
    for asked, says in [("a", "Several results"), ("zz", "No result"), ("", "No result"), ("%", "No result")]:
        with pytest.raises(InputError, match=says):
            results.get(asked)


def test_chosen_fields_come_in_the_order_asked(results: ResultsStore) -> None:
    results.put(EXAMPLES)
    (found,) = results.query("adsorption", [parse_filter("ligand~50%")], fields=["sites", "facet", "created"])
    assert list(found["fields"].items()) == [
        ("sites", None), ("facet", 100), ("created", "2025-01-04T04:00:00.000+00:00")]  # fmt: skip
    assert "body" not in found
    assert results.query("adsorption", limit=1, body=True)[0]["body"] == {"of": "c1"}


def test_what_a_stand_in_computed_says_so_whatever_is_asked_for(results: ResultsStore) -> None:
    results.put([record("made-up", facet="100", stand_in=True), record("real", facet="001", stand_in=False)])
    found = {r["id"]: r["fields"] for r in results.query("adsorption", fields=["facet"])}
    assert found == {"made-up": {"facet": "100", "stand_in": True}, "real": {"facet": "001"}}


def test_storing_again_changes_nothing_and_new_content_replaces_the_old(results: ResultsStore) -> None:
    assert results.put(EXAMPLES) == PutCount(5, 0, 0)
    assert results.put(EXAMPLES) == PutCount(0, 0, 5)
    later = record("a1", created="2026-01-01", facet="110", extra=1)
    assert results.put([later, later]) == PutCount(0, 1, 1)
    assert results.get("a1")["created"] == "2025-01-03T00:00:00.000+00:00"
    assert results.count("adsorption") == 5
    assert results.count("adsorption", [parse_filter("facet=100")]) == 2
    assert results.count("adsorption", [parse_filter("ok=true")]) == 1
    assert results.count("adsorption", [parse_filter("facet=110")]) == 1
    fresh, changed = record("n", x=1), record("n", x=2)
    assert results.put([fresh, changed]) == PutCount(1, 1, 0)
    assert results.distinct("adsorption", "x") == [2]


def test_unknown_names_are_refused_with_the_nearest(results: ResultsStore) -> None:
    assert results.query("adsorption", [parse_filter("anything=1")]) == []  # nothing stored yet
    assert results.count("adsorption") == 0
    results.put(EXAMPLES)
    for ask in (
        lambda: results.query("adsorption", [parse_filter("facets=100")]),
        lambda: results.query("adsorption", sort="-facett"),
        lambda: results.query("adsorption", fields=["facte"]),
        lambda: results.distinct("adsorption", "facetx"),
    ):
        with pytest.raises(UnknownNameError, match="Did you mean 'facet'"):
            ask()
    with pytest.raises(UnknownNameError, match="Did you mean 'adsorption'"):
        results.query("adsorptoin")


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"fields": {"x": [1]}}, "cannot be searched"),
        ({"fields": {"x": float("nan")}}, "cannot be searched"),
        ({"fields": {"x": 2**63}}, "cannot be searched"),
        ({"fields": {"x.y": 1}}, "a field named"),
        ({"fields": {"id": 1}}, "a field named"),
        ({"kind": "no kind"}, "cannot name a result"),
        ({"id": ""}, "cannot name a result"),
        ({"created": "yesterday"}, "not a time"),
        ({"extra": 1}, "the unknown key 'extra'"),
        ({"id": "a2", "kind": "growth"}, "cannot become 'growth'"),
    ],
)
def test_a_bad_record_is_refused_and_the_others_with_it(
    results: ResultsStore, bad: dict[str, Any], says: str
) -> None:
    results.put(EXAMPLES)
    with pytest.raises(InputError, match=says):
        results.put([record("good", x=1), {**record("bad"), **bad}])  # type: ignore[typeddict-item]
    assert results.count("adsorption") == 5


def test_numpy_scalars_and_enums_are_plain_values(results: ResultsStore) -> None:
    import numpy as np

    fields = {"a": np.float64(1.5), "b": np.int64(2), "c": np.bool_(True), "d": ValueType.TEXT}
    results.put([record("n", **fields)])
    assert results.get("n")["fields"] == {"a": 1.5, "b": 2, "c": True, "d": "text"}


# --- any records, any filters: against a plain list -------------------------------------------------


def has(condition: Condition, fields: dict[str, Any]) -> bool:
    value = fields.get(condition.field)
    match condition:
        case OneOf(values=values, negated=negated):
            among = any(value == other and (type(value) is bool) == (type(other) is bool) for other in values)
            return among != negated
        case Range(operator=operator, bound=bound):
            comparable = isinstance(value, str) if isinstance(bound, str) else isinstance(value, int | float)
            if not comparable or isinstance(value, bool):
                return False
            return {"<": value < bound, "<=": value <= bound, ">": value > bound, ">=": value >= bound}[
                operator
            ]
        case Contains(text=text):
            return isinstance(value, str) and folded(text) in folded(value)


def folded(text: str) -> str:
    return text.translate(str.maketrans(string.ascii_uppercase, string.ascii_lowercase))


def order(value: Any) -> tuple[int, Any]:  # noqa: ANN401
    return (2, value) if isinstance(value, bool) else (1, value) if isinstance(value, str) else (0, value)


words = st.sampled_from(["1", "100", "a", "A", "aB", "null", "true", "%", "_", "\u00e4", "\u00c4", "", "-2"])
values = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([-0.5, 1.0, 100.0]) | words
names = st.sampled_from(["x", "y"])
stored = st.lists(st.dictionaries(names, values, max_size=2), min_size=1, max_size=8)
asked = st.builds(
    "{}{}{}".format,
    names,
    st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~", " in ", " not in "]),
    st.sampled_from(
        ["1", "100", "a", "A", "aB", "null", "true", '"true"', "%", "_", "\u00e4", "-0.5", "-2", '"1"']
    ),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResultsStore]:
    with opened("sqlite", tmp_path_factory.mktemp("any")) as store:
        yield store


@pytest.fixture(scope="module")
def shared_mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResultsStore]:
    with opened("mongodb", tmp_path_factory.mktemp("any")) as store:
        yield store


anything = given(
    stored, st.lists(asked, max_size=2), st.sampled_from([None, "x", "-x", "y", "-y"]), st.integers(0, 3)
)
EASY = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@settings(EASY, max_examples=300)
@anything
def test_any_filters_on_any_records(
    shared: ResultsStore, rows: list[dict[str, Any]], where: list[str], sort: str | None, skip: int
) -> None:
    check_against_a_plain_list(shared, rows, where, sort, skip)


@pytest.mark.cluster
@settings(EASY, max_examples=50)
@anything
def test_any_filters_on_any_records_in_mongodb(
    shared_mongo: ResultsStore, rows: list[dict[str, Any]], where: list[str], sort: str | None, skip: int
) -> None:
    check_against_a_plain_list(shared_mongo, rows, where, sort, skip)


def check_against_a_plain_list(
    shared: ResultsStore, rows: list[dict[str, Any]], where: list[str], sort: str | None, skip: int
) -> None:
    rows = [*rows, {"x": None, "y": None}]  # both fields are known
    kind = f"kind_{len(shared.kinds())}"  # a kind for each example: what other kinds hold must not matter
    shared.put(
        [
            record(f"{kind}-{n}", kind=kind, created=f"2025-01-{n % 3 + 1:02d}", **row)
            for n, row in enumerate(rows)
        ]
    )
    filters = [parse_filter(text) for text in where]
    try:
        conditions = [resolve(one, shared.fields(kind)) for one in filters]
    except InputError as refusal:
        with pytest.raises(type(refusal)):
            shared.query(kind, filters)
        return
    found = [n for n, row in enumerate(rows) if all(has(condition, row) for condition in conditions)]
    if sort is None:
        found.sort(key=lambda n: (-(n % 3), n))
    else:
        name = sort.removeprefix("-")
        filled = [n for n in found if rows[n].get(name) is not None]
        ranks = {value: rank for rank, value in enumerate(sorted({order(rows[n][name]) for n in filled}))}
        step = -1 if sort.startswith("-") else 1  # equals keep the order of ids in both directions
        filled.sort(key=lambda n: step * ranks[order(rows[n][name])])
        found = filled + [n for n in found if n not in filled]
    expected = [f"{kind}-{n}" for n in found]
    assert shared.count(kind, filters) == len(expected)
    got = shared.query(kind, filters, sort=sort, offset=skip, limit=None)
    assert [one["id"] for one in got] == expected[skip:]
