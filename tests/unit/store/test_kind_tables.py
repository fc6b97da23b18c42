"""Each kind of record is a plain table that any program reads, and old files are brought to that form."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import sqlite3
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epilayer.model.errors import StoreError
from epilayer.model.kind import Column
from epilayer.model.kinds import KINDS
from epilayer.store import kind_tables
from epilayer.store.filters import ValueType, parse_filter
from epilayer.store.results import SqliteResults

DATA = Path(__file__).parents[2] / "data"
DEMO = json.loads(gzip.decompress((DATA / "demo-records.json.gz").read_bytes()))


def record(identity: str, kind: str = "sample", **fields: Any) -> Any:  # noqa: ANN401
    return {"kind": kind, "id": identity, "created": "2025-01-01", "schema_version": 1, "fields": fields}


def asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask as any program would, without this package."""
    with closing(sqlite3.connect(path)) as other:
        return other.execute(sql).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """A results file of schema 2, in which all fields stood in one narrow table."""
    with tarfile.open(DATA / "before" / "study.tar.gz") as archive:
        archive.extract(".epilayer/results.sqlite", tmp_path, filter="data")
    return tmp_path / ".epilayer" / "results.sqlite"


def test_any_program_reads_a_kind_as_a_table_with_typed_columns(path: Path) -> None:
    results = SqliteResults(path)
    results.put(DEMO)
    results.close()
    sql = "SELECT facet, ligand, adsorption_energy_ev FROM adsorption WHERE level = 'chgnet+d3' ORDER BY 1, 2"
    found = asked(path, sql)
    wanted = [r["fields"] for r in DEMO if r["kind"] == "adsorption" and r["fields"]["level"] == "chgnet+d3"]
    assert found == sorted((f["facet"], f["ligand"], f["adsorption_energy_ev"]) for f in wanted)
    columns = {name: of for _, name, of, *_ in asked(path, "PRAGMA table_info(adsorption)")}
    assert columns["facet"] == "TEXT"
    assert columns["adsorption_energy_ev"] == "REAL"
    assert columns["poses"] == "INTEGER"
    assert columns["stand_in"] == "BOOLEAN"
    described = dict(asked(path, "SELECT name, unit || ', ' || about FROM field WHERE kind = 'adsorption'"))
    assert described["uncertainty_ev"].startswith("eV")
    assert described["facet"] == ", Miller index, such as 100"


def test_pandas_reads_a_kind(path: Path) -> None:
    pd = pytest.importorskip("pandas")
    results = SqliteResults(path)
    results.put(DEMO)
    results.close()
    with closing(sqlite3.connect(path)) as other:
        frame = pd.read_sql("SELECT * FROM adsorption", other)
    assert len(frame) == sum(r["kind"] == "adsorption" for r in DEMO)
    assert frame["adsorption_energy_ev"].dtype == float


def test_a_file_of_the_version_before_is_migrated_whole(old_file: Path) -> None:
    before = asked(old_file, "SELECT id, sha256 FROM record JOIN payload USING (pk) ORDER BY pk")
    results = SqliteResults(old_file)
    assert results.damaged() == []
    results.close()
    assert asked(old_file, "PRAGMA user_version") == [(3,)]
    assert asked(old_file, "SELECT id, sha256 FROM record JOIN payload USING (pk) ORDER BY pk") == before
    tables = {name for (name,) in asked(old_file, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "facet" not in tables
    assert set(KINDS) <= tables


@pytest.mark.parametrize("step", [1, 20, 60, 150])
def test_an_interrupted_migration_leaves_the_file_as_it_was(
    old_file: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asked(old_file, "SELECT * FROM facet ORDER BY field, value, pk")
    register, made = kind_tables.KindTable._register, []

    def failing(table: kind_tables.KindTable, column: Column, field: kind_tables.Field) -> None:
        made.append(column)
        if len(made) == step:
            raise sqlite3.OperationalError("disk I/O error")
        register(table, column, field)

    with monkeypatch.context() as patch:
        patch.setattr(kind_tables.KindTable, "_register", failing)
        with pytest.raises(StoreError, match="disk I/O error"):
            SqliteResults(old_file)
    assert len(made) == step
    assert asked(old_file, "PRAGMA user_version") == [(2,)]
    assert asked(old_file, "SELECT * FROM facet ORDER BY field, value, pk") == before
    copy = shutil.copy(old_file, old_file.with_name("again.sqlite"))
    results = SqliteResults(copy)
    assert results.damaged() == []
    results.close()


def test_a_column_that_a_kind_gains_is_added_on_opening(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = SqliteResults(path)
    results.put(DEMO)
    results.close()
    kind = KINDS["adsorption"]
    gained = Column("work_function_ev", float, about="of the slab")
    monkeypatch.setitem(KINDS, "adsorption", dataclasses.replace(kind, columns=(*kind.columns, gained)))
    results = SqliteResults(path)
    assert results.query("adsorption", [parse_filter("work_function_ev>4")]) == []
    (changed,) = results.query("adsorption", limit=1, body=True)
    changed["fields"]["work_function_ev"] = 4.5
    results.put([changed])
    assert results.count("adsorption", [parse_filter("work_function_ev>4")]) == 1
    assert results.damaged() == []
    results.close()
    assert asked(path, "SELECT unit, about FROM field WHERE name = 'work_function_ev'") == [
        ("eV", "of the slab")
    ]


@pytest.mark.parametrize(
    "kind", ["record", "payload", "Field", "written", "sqlite_schema", "select", "K", "k"]
)
def test_a_kind_and_a_field_may_have_any_name(path: Path, kind: str) -> None:
    results = SqliteResults(path)
    results.put([record("other", "K", x=0), record("a", kind, pk=1, rowid="b", order=True, X=1, x=2)])
    results.put([record("a", kind, pk=2, rowid="c", order=False, X=3, x=4)])
    assert results.get("a")["fields"] == {"pk": 2, "rowid": "c", "order": False, "X": 3, "x": 4}
    for text in ("pk=2", "rowid=c", "order=false", "X=3", "x=4"):
        assert [r["id"] for r in results.query(kind, [parse_filter(text)])] == ["a"]
    assert results.damaged() == []
    results.close()


def test_whole_numbers_beyond_the_exact_floats_are_told_apart(path: Path) -> None:
    results = SqliteResults(path)
    results.put([record("float", x=2.0**53), record("half", x=0.5)])
    assert [r["id"] for r in results.query("sample", [parse_filter(f"x={2**53}")])] == ["float"]
    results.put([record("whole", x=2**53 + 1)])
    assert [r["id"] for r in results.query("sample", [parse_filter(f"x={2**53 + 1}")])] == ["whole"]
    assert [r["id"] for r in results.query("sample", [parse_filter(f"x={2**53}")])] == ["float"]
    assert results.damaged() == []
    results.close()


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    st.sampled_from(["1", "0", "1.0", "0x1"]),
)


def type_of(value: Any) -> ValueType:  # noqa: ANN401
    of = {bool: ValueType.BOOLEAN, str: ValueType.TEXT}
    return of.get(type(value), ValueType.NUMBER)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.lists(values, min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_column_holds_any_values_as_they_are_whatever_came_before(batches: list[list[Any]]) -> None:
    folder = tempfile.TemporaryDirectory()
    results = SqliteResults(Path(folder.name) / "results.db", durable=False)
    with folder, closing(results):
        expected: list[Any] = []
        for batch in batches:
            results.put([record(f"r{len(expected) + n}", x=value) for n, value in enumerate(batch)])
            expected += batch
            types = {type_of(value) for value in expected if value is not None}
            assert results.fields("sample")["x"] == types
            assert results.damaged() == []
            assert [results.get(f"r{n}")["fields"]["x"] for n in range(len(expected))] == expected
            tally = results.tally("sample", ["x"])["x"]
            assert sum(number for _, number in tally) == sum(v is not None for v in expected)
            assert len(tally) == len({(isinstance(v, bool), v) for v in expected if v is not None})
