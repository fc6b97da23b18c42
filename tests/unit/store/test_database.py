from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from epilayer.model.errors import NewerSchemaError, StoreError
from epilayer.store.database import Database
from epilayer.store.results import SqliteResults
from epilayer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def database(path: Path, *migrations: str, mark: int = 0x1234) -> Database:
    return Database(
        path, kind="test file", application_id=mark, migrations=migrations or ("CREATE TABLE t (x)",)
    )


def open_documents(path: Path) -> None:
    store = SqliteStore(path)
    try:
        store.connect()
    finally:
        store.close()


def open_results(path: Path) -> None:
    SqliteResults(path).close()


openers = pytest.mark.parametrize("opener", [open_documents, open_results])


@openers
def test_a_file_from_a_newer_version_is_refused_by_name(
    tmp_path: Path, opener: Callable[[Path], None]
) -> None:
    path = tmp_path / "store.db"
    opener(path)
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(NewerSchemaError, match=r"store\.db has schema version 99") as refusal:
        opener(path)
    assert "pip install -U epilayer" in refusal.value.remedy
    assert path.read_bytes() == before


@openers
@pytest.mark.parametrize(
    "content", [b"this is not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4000]
)
def test_a_file_that_is_no_database_is_refused_by_name_and_kept(
    tmp_path: Path, opener: Callable[[Path], None], content: bytes
) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"store\.db: not a readable") as refusal:
        opener(path)
    assert "restore a copy" in refusal.value.remedy
    assert path.read_bytes() == content


def reread(store: SqliteStore) -> None:
    store.connect()
    list(store.query())


def test_damage_inside_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    store.connect()
    store.update([{"uuid": str(n), "x": "y" * 3000} for n in range(50)])
    store.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"store\.db: not a readable document store"):
        reread(store)


@openers
def test_another_programs_database_is_refused_and_kept(
    tmp_path: Path, opener: Callable[[Path], None]
) -> None:
    path = tmp_path / "other.db"
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE theirs (x)")
    raw.commit()
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"other\.db is an SQLite file, but not a"):
        opener(path)
    assert path.read_bytes() == before


def test_documents_and_results_are_not_taken_for_each_other(tmp_path: Path) -> None:
    open_documents(tmp_path / "docs.db")
    with pytest.raises(StoreError, match="not a results file"):
        open_results(tmp_path / "docs.db")


@openers
def test_an_empty_file_becomes_a_store(tmp_path: Path, opener: Callable[[Path], None]) -> None:
    (tmp_path / "store.db").touch()
    opener(tmp_path / "store.db")
    opener(tmp_path / "store.db")


@openers
def test_a_folder_that_cannot_be_is_named(tmp_path: Path, opener: Callable[[Path], None]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"file.store\.db") as refusal:
        opener(tmp_path / "file" / "store.db")
    assert "Check" in refusal.value.remedy
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(StoreError, match=r"folder\.db"):
        opener(tmp_path / "folder.db")


def test_a_full_disk_is_named_and_leaves_the_old_content(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "docs.db")
    store.connect()
    store.update({"uuid": "old", "x": 1})
    connection = store._database.connection()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match=r"docs\.db: .*full") as refusal:
        store.update([{"uuid": "small"}, {"uuid": "old", "x": 2}, {"uuid": "big", "x": "y" * 100_000}])
    assert "Free disk space" in refusal.value.remedy
    assert list(store.query()) == [{"uuid": "old", "x": 1}]
    connection.execute("PRAGMA max_page_count = 100000")
    store.update({"uuid": "small"})
    assert store.count() == 2
    store.close()


FILE_SIZE_LIMIT = """
import resource, signal, sys
from epilayer.model.errors import StoreError
from epilayer.store.results import SqliteResults
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
results = SqliteResults(sys.argv[1])
def make(name, size):
    return dict(kind="k", id=name, created="2025-01-01", schema_version=1, fields={}, body={"b": "x" * size})
results.put([make("old", 1)])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    results.put([make("new", 1), make("big", 1_000_000)])
except StoreError as error:
    print(error)
assert results.kinds() == {"k": 1}, results.kinds()
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
results.put([make("new", 1)])
print(results.kinds())
"""


def test_a_quota_that_is_reached_is_named_and_the_file_stays_usable(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILE_SIZE_LIMIT, str(tmp_path / "results.db")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "results.db" in done.stdout
    assert "disk" in done.stdout
    assert "{'k': 2}" in done.stdout


def test_a_read_only_file_is_named(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "docs.db")
    store.connect()
    store._database.connection().execute("PRAGMA query_only = ON")  # chmod does not bind an administrator
    with pytest.raises(StoreError, match=r"docs\.db: .*readonly") as refusal:
        store.update({"uuid": "a"})
    assert "chmod u+w" in refusal.value.remedy
    store.close()


def test_a_file_held_by_another_process_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epilayer.store.database.BUSY_TIMEOUT_S", 0.05)
    store = SqliteStore(tmp_path / "docs.db")
    store.connect()
    other = sqlite3.connect(tmp_path / "docs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store.count() == 0  # readers never wait
    with pytest.raises(StoreError, match="locked") as refusal:
        store.update({"uuid": "a"})
    assert "Another process" in refusal.value.remedy
    other.execute("ROLLBACK")
    store.update({"uuid": "a"})
    store.close()


def test_an_older_file_is_brought_up_step_by_step_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    first = database(path, "CREATE TABLE t (x)")
    with first.writing() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    first.close()
    newest = database(
        path, "CREATE TABLE t (x)", "ALTER TABLE t ADD COLUMN y; UPDATE t SET y = x + 1", "CREATE TABLE u (z)"
    )
    with newest.reading() as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == [(1, 2)]
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    newest.close()
    with pytest.raises(NewerSchemaError):
        first.connection()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    database(path, "CREATE TABLE t (x)").connection()
    with pytest.raises(StoreError):
        database(
            path, "CREATE TABLE t (x)", "CREATE TABLE u (z); INSERT INTO missing VALUES (1)"
        ).connection()
    again = database(path, "CREATE TABLE t (x)").connection()
    assert again.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]


def test_an_exception_undoes_the_transaction_and_the_next_one_works(tmp_path: Path) -> None:
    ours = database(tmp_path / "t.db")

    def interrupted() -> None:
        with ours.writing() as connection:
            connection.execute("INSERT INTO t VALUES (1)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with ours.writing() as connection:
        connection.execute("INSERT INTO t VALUES (2)")
    with ours.reading() as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [(2,)]
    ours.close()


def test_every_thread_has_its_own_connection_and_close_reaches_all(tmp_path: Path) -> None:
    ours = database(tmp_path / "t.db")
    seen: list[sqlite3.Connection] = [ours.connection()]
    barrier = threading.Barrier(4)

    def work() -> None:
        seen.append(ours.connection())
        barrier.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(connection) for connection in seen}) == 5
    ours.close()
    for connection in seen:
        with pytest.raises(sqlite3.ProgrammingError):
            connection.execute("SELECT 1")
