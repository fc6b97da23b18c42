"""The tables of the queue, shared through a MongoDB: a journal there, a copy of the tables on each machine.

The rules by which jobs hold each other back, are claimed, finish, and are run again stand once, in SQL
(`epilayer.launch.transitions`). Here a transaction works on the local copy, after the copy has caught up with
the journal and while nobody else may write; what it changed goes to the journal as one entry; only then is
the local copy committed. The entry is the moment in which it happened: killed before it, nothing has
happened; killed after it, every copy, this one too, takes it from the journal. Statements carry their values
(times, identities), so that every copy comes out the same; a copy can be thrown away at any time.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epilayer.launch.schema import QueueFile
from epilayer.model.errors import QueueError
from epilayer.store.addresses import without_password
from epilayer.store.journal import PATIENCE_S, Journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CHANGES = ("INSERT", "UPDATE", "DELETE")
_POSITION = "CREATE TABLE IF NOT EXISTS replica (one INTEGER PRIMARY KEY, journal TEXT, entry INTEGER)"


class Recorder(sqlite3.Connection):
    """A connection that writes down the statements that change something."""

    written: list[tuple[str, Any, bool]] | None = None

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:  # noqa: ANN401
        """Execute a statement, and write it down if it changes something."""
        if self.written is not None:
            verb = sql.lstrip()[:8].upper()
            if verb.startswith(_CHANGES):
                self.written.append(
                    (sql, parameters if isinstance(parameters, dict) else list(parameters), False)
                )
            elif verb.startswith("ROLLBACK"):
                self.written.clear()
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """Execute a statement for each row, and write it down with the rows."""
        rows = [row if isinstance(row, dict) else tuple(row) for row in parameters]
        if self.written is not None and rows:
            self.written.append((sql, rows, True))
        return super().executemany(sql, rows)


class ReplicatedFile(QueueFile):
    """The local copy of a queue whose journal is in a MongoDB.

    Parameters
    ----------
    uri, name
        The journal (see `epilayer.store.journal.Journal`).
    folder
        Folder of this machine for the copy; one in the temporary folder, of this user alone, by default.
    patience_s
        How long to wait for the database, in seconds.
    """

    def __init__(
        self, uri: str, name: str, *, folder: Path | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        self.journal = Journal(uri, name, patience_s=patience_s)
        self.identity = self.journal.identity()
        place = hashlib.sha256(f"{without_password(uri)} {name} {self.identity}".encode()).hexdigest()[:20]
        path = (folder or private_folder()) / f"queue-{place}.sqlite"
        super().__init__(path, durable=False, factory=Recorder)

    def _open(self) -> sqlite3.Connection:
        connection = super()._open()
        connection.execute("PRAGMA synchronous = OFF")  # the journal is what counts
        connection.execute(_POSITION)
        connection.execute("INSERT OR IGNORE INTO replica VALUES (1, ?, 0)", (self.identity,))
        return connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that has caught up, on which every statement sees the same state."""
        connection = self.connection()
        if not connection.in_transaction:
            with self.named_errors():
                self._catch_up(connection)
        with super().reading() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose statements take effect together, in the journal, or not at all."""
        connection = self.connection()
        if connection.in_transaction:  # joined to the one already open on this thread
            yield connection
            return
        assert isinstance(connection, Recorder)  # noqa: S101  (made by `_open`)
        with self.journal.lease("queue"), self.named_errors():
            self._catch_up(connection)
            connection.execute("BEGIN IMMEDIATE")
            connection.written = []
            try:
                yield connection
                written, connection.written = connection.written, None
                if written:
                    entry = _position(connection) + 1
                    self.journal.append(entry, written)
                    connection.execute("UPDATE replica SET entry = ?", (entry,))
                connection.execute("COMMIT")
            finally:
                connection.written = None
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        """Take over what the journal holds beyond this copy."""
        entries = self.journal.after(_position(connection))
        if not entries:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            here = _position(connection)  # another process of this machine may have been faster
            for number, statements in entries:
                if number <= here:
                    continue
                if number != here + 1:
                    raise QueueError(
                        f"Entry {here + 1} is missing from the queue's journal.",
                        "Restore the database from a backup.",
                    )
                for sql, parameters, many in statements:
                    (connection.executemany if many else connection.execute)(sql, parameters)
                here = number
            connection.execute("UPDATE replica SET entry = ?", (here,))
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def private_folder() -> Path:
    """Return a folder of this machine that nobody else can write to.

    Raises
    ------
    QueueError
        If somebody else has taken its name.
    """
    folder = Path(tempfile.gettempdir(), f"epilayer-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022 or folder.is_symlink():
        raise QueueError(
            f"{folder} belongs to somebody else, or others can write to it.",
            "Remove it, or set TMPDIR to a folder of your own.",
        )
    return folder


def _position(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT entry FROM replica").fetchone()[0])
