"""One SQLite file that several processes may use at once: opening, checking, transactions, errors.

Every embedded store is built on this. It is for the disk of one machine: SQLite's write-ahead log
needs shared memory, which network file systems do not give.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from epilayer.model.errors import NewerSchemaError, StoreError
from epilayer.store.checksums import new_stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BUSY_TIMEOUT_S = 60.0
SHARED_MARK = "used-by-several-machines"
"""A file of this name next to a database: no write-ahead log, which needs memory of one machine."""
STAMPED = (
    "CREATE TABLE written (one INTEGER PRIMARY KEY CHECK (one = 1), token TEXT NOT NULL, proof TEXT NOT NULL)"
)
"""For the schema of a file with checksums: the mark of the last write (:mod:`epilayer.store.checksums`)."""

# A forked child inherits connections it may neither use nor close (closing would disturb the
# parent's write-ahead log); they are kept here so that no destructor runs in the child.
_inherited: list[sqlite3.Connection] = []


class Database:
    """Connections to one SQLite file: one per process and thread, opened when first needed.

    Parameters
    ----------
    path
        The file; it and its folder are created when missing.
    kind
        What the file holds, in words, for error messages.
    application_id
        The 32-bit mark that distinguishes this kind of file from any other SQLite file.
    migrations
        ``migrations[n]``, statements or a function, brings a file from schema version n to n + 1;
        ``migrations[0]`` creates it.
        The newest version is their number. With :data:`STAMPED` among them, every write is marked.
    durable
        Whether a commit waits for the disk. Without it a killed process still loses nothing, but
        a power cut may take the last commits (never part of one).
    factory
        Class of the connections.
    functions
        SQL functions of one or two arguments to be known on every connection, by name.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        kind: str,
        application_id: int,
        migrations: tuple[str | Callable[[sqlite3.Connection], None], ...],
        durable: bool = True,
        factory: type[sqlite3.Connection] = sqlite3.Connection,
        functions: Mapping[str, tuple[int, Callable[..., str | float | None]]] | None = None,
    ) -> None:
        self.path = str(Path(path).absolute())
        self.kind = kind
        self.application_id = application_id
        self.migrations = migrations
        self.durable = durable
        self.factory = factory
        self.functions = dict(functions or {})
        self._stamped = any(isinstance(one, str) and STAMPED in one for one in migrations)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._connections: dict[int, sqlite3.Connection] = {}

    def connection(self) -> sqlite3.Connection:
        """Return this process and thread's own connection.

        Raises
        ------
        StoreError
            When the file cannot be opened, or is not one of ours.
        NewerSchemaError
            When a newer version wrote it.
        """
        self._leave_inherited()
        with self._lock:
            found = self._connections.get(threading.get_ident())
        if found is not None:
            return found
        with self.named_errors():
            opened = self._open()
        with self._lock:
            self._connections[threading.get_ident()] = opened
        return opened

    def close(self) -> None:
        """Close every connection of this process; the next use opens a new one."""
        self._leave_inherited()
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            self._connections = {}

    def _leave_inherited(self) -> None:
        """Start anew in a forked child, which has one thread yet and may have inherited a held lock."""
        if self._pid != os.getpid():
            self._lock = threading.Lock()
            _inherited.extend(self._connections.values())
            self._connections = {}
            self._pid = os.getpid()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection on which every statement sees the same state of the file."""
        with self.named_errors(), self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose statements take effect together at the end, or not at all."""
        with self.named_errors(), self._transaction("BEGIN IMMEDIATE") as connection:
            before = self._writes(connection)
            yield connection
            if self._stamped and self._writes(connection) != before:
                connection.execute("INSERT OR REPLACE INTO written VALUES (1, ?, ?)", new_stamp())

    @staticmethod
    def _writes(connection: sqlite3.Connection) -> tuple[int, int]:
        """Return what changes with every write: rows are counted, tables and indexes versioned."""
        return connection.total_changes, connection.execute("PRAGMA schema_version").fetchone()[0]

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        connection = self.connection()
        if connection.in_transaction:  # joined to the one already open on this thread
            yield connection
            return
        connection.execute(begin)
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _open(self) -> sqlite3.Connection:
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        # Threads never share a connection; the check is off so that close() can reach them all.
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            factory=self.factory,
        )
        try:
            self._check(connection)
            shared = (Path(self.path).parent / SHARED_MARK).exists()
            connection.execute(f"PRAGMA journal_mode = {'DELETE' if shared else 'WAL'}")
            connection.execute(f"PRAGMA synchronous = {'FULL' if self.durable else 'NORMAL'}")
            connection.execute("PRAGMA cache_size = -65536")  # 64 MiB
            for name, (arguments, function) in self.functions.items():
                connection.create_function(name, arguments, function, deterministic=True)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        """Refuse a file that is not ours or too new; create or migrate one that is."""
        newest = len(self.migrations)
        mark, version = self._marks(connection)
        if mark == self.application_id and version == newest:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            mark, version = self._marks(connection)  # another process may just have created it
            empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
            if mark != self.application_id and not (mark == 0 and empty):
                raise StoreError(
                    f"{self.path} is an SQLite file, but not a {self.kind} of epilayer.",
                    f"Point to another file, or move it aside and a new {self.kind} is created.",
                )
            if version > newest:
                raise NewerSchemaError(self.path, version, newest)
            for migration in self.migrations[version:]:
                if callable(migration):
                    migration(connection)
                    continue
                for statement in migration.split(";"):
                    connection.execute(statement)
            if self._stamped:
                connection.execute("INSERT OR REPLACE INTO written VALUES (1, ?, ?)", new_stamp())
            connection.execute(f"PRAGMA application_id = {self.application_id}")
            connection.execute(f"PRAGMA user_version = {newest}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    @staticmethod
    def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
        mark = connection.execute("PRAGMA application_id").fetchone()[0]
        return mark, connection.execute("PRAGMA user_version").fetchone()[0]

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Turn what SQLite and the operating system report into errors with a remedy."""
        try:
            yield
        except (sqlite3.OperationalError, sqlite3.DatabaseError, OSError) as error:
            raise StoreError(f"{self.path}: {self._what(error)}.", _remedy(error)) from error

    def _what(self, error: Exception) -> str:
        if _primary_code(error) in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            return f"not a readable {self.kind} ({error})"
        return f"the {self.kind} cannot be read or written ({error})"


_WRITABLE = "Make the file and its folder writable (chmod u+w)."
_REMEDIES: dict[int | None, str] = {
    sqlite3.SQLITE_NOTADB: "Move the file aside (a new one is created) or restore a copy.",
    sqlite3.SQLITE_CORRUPT: "Move the file aside (a new one is created) or restore a copy.",
    sqlite3.SQLITE_FULL: "Free disk space and run again; nothing was half-written.",
    sqlite3.SQLITE_IOERR: "Check disk space and quota, then run again; nothing was half-written.",
    sqlite3.SQLITE_READONLY: _WRITABLE,
    sqlite3.SQLITE_CANTOPEN: "Check that the folder exists and is writable (chmod u+w).",
    sqlite3.SQLITE_PERM: _WRITABLE,
    sqlite3.SQLITE_BUSY: f"Another process held it for {BUSY_TIMEOUT_S:.0f} s: wait, then run again.",
    sqlite3.SQLITE_LOCKED: "Another process held it: wait for it, then run again.",
}


def _primary_code(error: Exception) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _remedy(error: Exception) -> str:
    unknown = "Report this with the message above; the file itself is unchanged."
    if isinstance(error, OSError):
        unknown = "Check the path, its permissions and the free disk space."
    return _REMEDIES.get(_primary_code(error), unknown)
