from __future__ import annotations

import importlib.util
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from epilayer.model.errors import InputError, StoreError
from epilayer.store.checksums import check_database
from epilayer.store.filters import parse_filter
from epilayer.store.mongo_results import MongoResults
from epilayer.store.results import _MIGRATIONS, APPLICATION_ID, SqliteResults, open_results

if TYPE_CHECKING:
    from types import ModuleType

WRITER = """
import sys
from epilayer.store.results import SqliteResults
results = SqliteResults(sys.argv[1])
for n in range(int(sys.argv[3])):
    batch = f"{sys.argv[2]}-{n}"
    results.put([
        dict(kind="k", id=f"{batch}-{part}", created="2025-01-01", schema_version=1,
             fields={"batch": batch, "part": part, "constant": True}, body={"x": [part] * 2000})
        for part in range(4)
    ] + [dict(kind="k", id="shared", created="2025-01-01", schema_version=1, fields={"by": sys.argv[2]})])
    print(n, flush=True)
"""


def start(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def assert_whole(results: SqliteResults) -> int:
    """Check that every put is there with all of its records and facets; return how many."""
    batches = results.distinct("k", "batch")
    records = results.query("k", [parse_filter("batch!=null")], limit=None, body=True)
    assert len(records) == 4 * len(batches) == results.count("k", [parse_filter("constant=true")])
    assert all(record["body"]["x"] == [record["fields"]["part"]] * 2000 for record in records)
    assert results.count("k", [parse_filter("by!=null")]) == 1
    assert results._database.connection().execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return len(batches)


def test_four_processes_put_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    started = [start(tmp_path / "results.db", name, 15) for name in "abcd"]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, errors
    results = SqliteResults(tmp_path / "results.db")
    assert assert_whole(results) == 4 * 15
    results.close()


def test_kill_9_while_putting_leaves_whole_puts_only(tmp_path: Path) -> None:
    choose, acknowledged = random.Random(11), 0  # noqa: S311
    for attempt in range(4):
        process = start(tmp_path / "results.db", f"k{attempt}", 100_000)
        assert process.stdout is not None
        for _ in range(choose.randrange(1, 20)):
            process.stdout.readline()
            acknowledged += 1
        process.kill()
        process.communicate()
        results = SqliteResults(tmp_path / "results.db")
        found = assert_whole(results)
        assert found >= acknowledged
        acknowledged = found
        results.close()


def test_results_are_opened_by_path_or_address(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    for where in (path, str(path), f"sqlite://{path}"):
        opened = open_results(where)
        assert isinstance(opened, SqliteResults)
        assert opened.path == str(path)
        opened.close()
    with pytest.raises(InputError, match="begins with postgresql://") as refusal:
        open_results("postgresql://me:s3cret@host/db")
    assert "s3cret" not in str(refusal.value)


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(StoreError, match=r"mongodb://me:\*\*\*@127.0.0.1:1/db does not answer") as refusal:
        MongoResults("mongodb://me:s3cret@127.0.0.1:1/db", patience_s=0)
    assert "s3cret" not in str(refusal.value)
    with pytest.raises(InputError, match="is not the address of a database"):
        MongoResults("mongodb://127.0.0.1:1")


def test_a_value_is_never_taken_for_sql(tmp_path: Path) -> None:
    results = SqliteResults(tmp_path / "results.db")
    nasty = "x'); DROP TABLE record; --"
    record: Any = {
        "kind": "k",
        "id": "a",
        "created": "2025-01-01",
        "schema_version": 1,
        "fields": {"name": nasty},
    }
    results.put([record])
    for sign in ("=", "~", ">=", " in "):
        where = parse_filter(f'name{sign}"{nasty}"' if sign == " in " else f"name{sign}{nasty}")
        assert results.count("k", [where]) == 1
    with pytest.raises(InputError, match="Unknown field"):
        results.query("k", sort="name; DROP TABLE record")
    assert results.kinds() == {"k": 1}
    results.close()


def test_a_file_of_the_first_version_is_migrated_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with closing(sqlite3.connect(path)) as old, old:  # as the first version left it: no hashes, no stamp
        old.executescript(_MIGRATIONS[0])
        old.execute("INSERT INTO record VALUES (1, 'a', 'k', '2025-01-01T00:00:00.000+00:00', 1)")
        old.execute("""INSERT INTO payload VALUES (1, '{"energy_ev":-0.5}', '{"b":1}', NULL)""")
        old.executemany("INSERT INTO field VALUES (?, 'k', ?)", [(1, "energy_ev"), (2, "created")])
        facets = [(1, -0.5, 1), (2, "2025-01-01T00:00:00.000+00:00", 1)]
        old.executemany("INSERT INTO facet VALUES (?, ?, ?)", facets)
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
    results = SqliteResults(path)
    try:
        (found,) = results.query("k", [parse_filter("energy_ev<-0.4")], body=True)
        assert (found["id"], found["fields"], found["body"]) == ("a", {"energy_ev": -0.5}, {"b": 1})
        assert results.damaged() == []
        changed: Any = {**found, "body": {"b": 2}}
        assert results.put([changed]).changed == 1  # from here on with its hash
        assert results.get("a")["body"] == {"b": 2}
    finally:
        results.close()
    with closing(sqlite3.connect(path)) as new:
        assert new.execute("PRAGMA user_version").fetchone() == (len(_MIGRATIONS),)
        assert new.execute("SELECT count(*) FROM payload WHERE sha256 IS NOT NULL").fetchone() == (1,)
        assert new.execute("SELECT count(*) FROM written").fetchone() == (1,)
    assert check_database(path).damage is None


def benchmark() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "store.py"
    spec = importlib.util.spec_from_file_location("epilayer_benchmark_store", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_any_question_to_100_000_results_takes_less_than_a_tenth_of_a_second(tmp_path: Path) -> None:
    # By processor time: a question reads cached pages only, and neighbours on the machine do not count.
    rate, times = benchmark().measure_results(tmp_path / "results.db", 100_000, time.process_time)
    assert rate > 100
    for question, (query_ms, sorted_ms, count_ms, matches) in times.items():
        assert matches > 0
        assert max(query_ms, sorted_ms, count_ms) < 100, question
