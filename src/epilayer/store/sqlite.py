"""A maggma Store on one SQLite file, for many processes of one machine."""

# ruff: noqa: S608 - only the table (a checked name) and paths (checked names) are written into SQL.

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maggma.core import Sort, Store
from pydash import get, has, set_

from epilayer.model.errors import StoreError
from epilayer.store import criteria as mongo
from epilayer.store.criteria import Sql, type_at, value_at
from epilayer.store.database import STAMPED, Database
from epilayer.store.encoding import content_sha256, decode, encode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from maggma.core import Validator

APPLICATION_ID = 0x45504C44  # "EPLD", documents
_MIGRATIONS = ("CREATE TABLE collection (name TEXT PRIMARY KEY) WITHOUT ROWID", STAMPED)
_CHUNK = 200  # documents read at a time: bounds memory, and no statement stays open while the caller works
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SqliteStore(Store):  # type: ignore[misc]  # maggma is untyped
    """Documents in a SQLite file, found by MongoDB criteria.

    Safe for several processes and threads, forked or spawned; every ``update`` is one transaction, so a
    killed process leaves all of its documents or none. Answers are those of maggma's MemoryStore, except
    that results carry no ``_id``. What SQL cannot answer exactly (arrays on the path, times, operators
    beyond the common ones) is decided by maggma's MemoryStore itself, on the fields concerned.

    Parameters
    ----------
    path
        The file; created when missing. It must lie on a disk of this machine.
    collection
        Several collections may share a file.
    key
        The field that identifies a document.
    indexes
        Further fields to look up quickly.
    durable
        Whether a commit waits for the disk (0.3 ms on an SSD), so that it also survives a power cut.
    last_updated_field, last_updated_type, validator
        As in every maggma Store; the type is "datetime" or "isoformat".
    """

    def __init__(
        self,
        path: str | Path,
        collection: str = "outputs",
        key: str = "uuid",
        indexes: Sequence[str] = (),
        *,
        durable: bool = True,
        last_updated_field: str = "last_updated",
        last_updated_type: str = "datetime",
        validator: Validator | None = None,
    ) -> None:
        if not _NAME.fullmatch(collection):
            raise StoreError(
                f"{collection!r} is no name for a collection.", "Use letters, digits and _ only."
            )
        self.path = str(Path(path).absolute())  # workers run in folders of their own
        self.collection = collection
        self.indexes = list(indexes)
        self.durable = durable
        self._table = f'"docs_{collection}"'
        self._connected = False
        self._database = Database(
            self.path,
            kind="document store",
            application_id=APPLICATION_ID,
            migrations=_MIGRATIONS,
            durable=durable,
            functions={"epilayer_search": (2, mongo.search)},
        )
        super().__init__(
            key=key,
            last_updated_field=last_updated_field,
            last_updated_type=last_updated_type,
            validator=validator,
        )

    @property
    def name(self) -> str:
        """Where the documents are."""
        return f"sqlite://{self.path}#{self.collection}"

    @property
    def _collection(self) -> Database:
        """The database, which must have been connected (maggma's own convention)."""
        if not self._connected:
            raise StoreError(f"{self.name} is not connected.", "Call connect() before using the store.")
        return self._database

    def connect(self, force_reset: bool = False) -> None:
        """Open the file, and create what is missing; a second call does nothing."""
        if self._connected and not force_reset:
            return
        if force_reset:
            self._database.close()
        with self._database.writing() as connection:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table}"
                " (pk INTEGER PRIMARY KEY, head TEXT NOT NULL, beyond TEXT, doc TEXT NOT NULL, sha256 TEXT)"
            )
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({self._table})")}
            if "sha256" not in columns:  # a collection of an older version
                connection.execute(f"ALTER TABLE {self._table} ADD COLUMN sha256 TEXT")
            connection.execute("INSERT OR IGNORE INTO collection VALUES (?)", (self.collection,))
            for field in dict.fromkeys([self.key, *self.indexes]):
                self._create_index(connection, field, unique=False)
        self._connected = True

    def close(self) -> None:
        """Close the file."""
        self._database.close()
        self._connected = False

    def count(self, criteria: dict[str, Any] | None = None) -> int:
        """Return how many documents match."""
        with self._collection.reading() as connection:
            sql = self._exact(connection, criteria or {}, ())
            if sql is None:
                return len(self._decided(connection, criteria or {}))
            statement = f"SELECT count(*) FROM {self._table} WHERE {sql.where}"
            return int(connection.execute(statement, sql.parameters).fetchone()[0])

    def query(
        self,
        criteria: dict[str, Any] | None = None,
        properties: dict[str, Any] | list[str] | None = None,
        sort: dict[str, Sort | int] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[dict[str, Any]]:
        """Yield the matching documents, whole or projected to some properties.

        Documents with equal sort values come in the order in which they were first stored.
        """
        wanted = _plain_properties(properties)
        with self._collection.reading() as connection:
            found = self._select(connection, criteria or {}, sort, skip, limit)
        for start in range(0, len(found), _CHUNK):
            with self._collection.reading() as connection:
                documents = list(self._documents(connection, found[start : start + _CHUNK], wanted))
            if properties and wanted is None:
                yield from _projected(documents, properties)
            else:
                yield from documents

    def distinct(
        self,
        field: str,
        criteria: dict[str, Any] | None = None,
        all_exist: bool = False,  # noqa: ARG002  (maggma's signature)
    ) -> list[Any]:
        """Return the different values of a field, in the order first seen; of an array, its elements."""
        with self._collection.reading() as connection:
            found = self._select(connection, criteria or {}, None, 0, 0)
            top = field.split(".", 1)[0]
            documents = [
                document
                for start in range(0, len(found), _CHUNK)
                for document in self._documents(connection, found[start : start + _CHUNK], [top])
            ]
        values: list[Any] = _scratch(documents).distinct(field)
        return values

    def groupby(
        self,
        keys: list[str] | str,
        criteria: dict[str, Any] | None = None,
        properties: dict[str, Any] | list[str] | None = None,
        sort: dict[str, Sort | int] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Yield ``(values of the keys, documents)``; documents without all of the keys are left out."""
        names = [keys] if isinstance(keys, str) else list(keys)
        wanted = [*names, *properties] if properties else None
        documents = [
            document
            for document in self.query(criteria, wanted, sort, skip, limit)
            if all(has(document, name) for name in names)
        ]

        def values(document: dict[str, Any]) -> list[Any]:
            return [get(document, name) for name in names]

        documents.sort(key=lambda document: [_orderable(value) for value in values(document)])
        for _, group in groupby(documents, key=values):
            members = list(group)
            label: dict[str, Any] = {}
            for name, value in zip(names, values(members[0]), strict=True):
                set_(label, name, value)
            yield label, members

    def update(self, docs: list[dict[str, Any]] | dict[str, Any], key: list[str] | str | None = None) -> None:
        """Store documents, each in the place of the one with equal key if there is one; all or none."""
        names = key or self.key
        names = [names] if isinstance(names, str) else list(names)
        given = docs if isinstance(docs, list) else [docs]
        encoded = [
            (encode(document), self._identity(document, names)) for document in given if self._valid(document)
        ]
        with self._collection.writing() as connection:
            for (text, head, beyond), identity in encoded:
                old = self._select(connection, identity, None, 0, 1)
                if old:
                    connection.execute(
                        f"UPDATE {self._table} SET head = ?, beyond = ?, doc = ?, sha256 = ? WHERE pk = ?",
                        (head, beyond, text, content_sha256(head, beyond, text), old[0]),
                    )
                else:
                    connection.execute(
                        f"INSERT INTO {self._table} (head, beyond, doc, sha256) VALUES (?, ?, ?, ?)",
                        (head, beyond, text, content_sha256(head, beyond, text)),
                    )

    def damaged(self) -> list[str]:
        """Return the documents whose content is not what was written, in words; none where all are whole.

        Documents of versions that kept no hash are not checked.
        """
        found = []
        with self._collection.reading() as connection:
            rows = connection.execute(f"SELECT pk, sha256, head, beyond, doc FROM {self._table} ORDER BY pk")
            for pk, wanted, *content in rows:
                if wanted is not None and content_sha256(*content) != wanted:
                    found.append(f"document {pk} of {self.collection} is not what was written")
        return found

    def remove_docs(self, criteria: dict[str, Any]) -> None:
        """Remove the matching documents; all or none."""
        with self._collection.writing() as connection:
            found = self._select(connection, criteria, None, 0, 0)
            connection.executemany(f"DELETE FROM {self._table} WHERE pk = ?", ((pk,) for pk in found))

    def ensure_index(self, key: str, unique: bool = False) -> bool:
        """Create an index on a field; False when it cannot be (values repeat, or no plain name)."""
        with self._collection.writing() as connection:
            return self._create_index(connection, key, unique=unique)

    def __eq__(self, other: object) -> bool:
        """Tell whether the other store holds the same collection of the same file."""
        return isinstance(other, SqliteStore) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def _create_index(self, connection: sqlite3.Connection, field: str, *, unique: bool) -> bool:
        import sqlite3

        at = value_at(field)
        if at is None:
            return False
        kind = "unique" if unique else "index"
        name = f'"{kind}_{self.collection}_{field}"'
        try:
            connection.execute(
                f"CREATE {'UNIQUE ' if unique else ''}INDEX IF NOT EXISTS {name} ON {self._table} ({at})"
            )
        except sqlite3.IntegrityError:
            return False
        return True

    def _identity(self, document: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
        missing = [name for name in names if name not in document]
        if missing:
            raise StoreError(
                f"{self.name}: a document lacks its key field {missing[0]!r}.",
                "Give every document its key fields, or name other ones (key=...).",
            )
        return {name: document[name] for name in names}

    def _valid(self, document: dict[str, Any]) -> bool:
        if self.validator is None or self.validator.is_valid(document):
            return True
        errors = self.validator.validation_errors(document)
        if self.validator.strict:
            raise StoreError(f"{self.name}: a document is not valid: {errors}.", "Correct the document.")
        self.logger.error(errors)
        return False

    def _exact(
        self, connection: sqlite3.Connection, criteria: Mapping[str, Any], sort: Iterable[str]
    ) -> Sql | None:
        """Return the criteria as SQL if that answers them exactly for the documents that are there."""
        sql = mongo.translate(criteria)
        fields = list(sort)
        if sql is None or any(value_at(field) is None for field in fields):
            return None
        # Times, booleans and objects have their own places in MongoDB's order of types.
        order = (
            doubt
            for field in fields
            for doubt in (f"{type_at(field)} IN ('object', 'true', 'false')", *mongo.doubtful_at(field))
        )
        doubts = " OR ".join(f"({doubt})" for doubt in (*sql.doubtful, *order))
        if doubts:
            near = mongo.superset(criteria)
            statement = f"SELECT 1 FROM {self._table} WHERE ({near.where}) AND ({doubts}) LIMIT 1"
            if connection.execute(statement, near.parameters).fetchone():
                return None
        return sql

    def _select(
        self,
        connection: sqlite3.Connection,
        criteria: Mapping[str, Any],
        sort: Mapping[str, Sort | int] | None,
        skip: int,
        limit: int,
    ) -> list[int]:
        """Return the row numbers of the matching documents, in order."""
        order = {field: Sort(direction).value for field, direction in (sort or {}).items()}
        sql = self._exact(connection, criteria, order)
        if sql is None:
            return self._decided(connection, criteria, order, skip, limit)
        by = [f"{value_at(field)} {'ASC' if step > 0 else 'DESC'}" for field, step in order.items()]
        matching = f"SELECT pk FROM {self._table} WHERE {sql.where}"
        statement = f"{matching} ORDER BY {', '.join([*by, 'pk'])} LIMIT ? OFFSET ?"
        return [row[0] for row in connection.execute(statement, (*sql.parameters, limit or -1, skip))]

    def _decided(
        self,
        connection: sqlite3.Connection,
        criteria: Mapping[str, Any],
        order: Mapping[str, int] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> list[int]:
        """Do what :meth:`_select` does by maggma's MemoryStore, on the fields that matter."""
        fields = mongo.fields_of(criteria)
        wanted = None if fields is None else sorted(fields | {name.split(".")[0] for name in order or ()})
        sql = mongo.superset(criteria)
        statement = f"SELECT pk FROM {self._table} WHERE {sql.where} ORDER BY pk"
        rows = [row[0] for row in connection.execute(statement, sql.parameters)]
        documents = [
            {**document, "_id": pk}
            for start in range(0, len(rows), _CHUNK)
            for pk, document in zip(
                rows[start : start + _CHUNK],
                self._documents(connection, rows[start : start + _CHUNK], wanted),
                strict=True,
            )
        ]
        found = _scratch(documents).query(
            dict(criteria), ["_id"], dict(order or {}) or None, skip=skip, limit=limit
        )
        return [document["_id"] for document in found]

    def _documents(
        self, connection: sqlite3.Connection, rows: Sequence[int], wanted: Sequence[str] | None
    ) -> Iterator[dict[str, Any]]:
        """Read documents by row number, in that order; those removed meanwhile are left out."""
        marks = ", ".join("?" * len(rows))
        if wanted is not None:
            heads = dict(
                connection.execute(f"SELECT pk, head FROM {self._table} WHERE pk IN ({marks})", tuple(rows))
            )
            parsed = {pk: decode(head, None) for pk, head in heads.items()}
            # Only where a wanted value is nested must the whole document be read.
            nested = [
                pk for pk, head in parsed.items() if any(type(head.get(n)) in {dict, list} for n in wanted)
            ]
        else:
            parsed, nested = {}, list(rows)
        if nested:
            marks = ", ".join("?" * len(nested))
            statement = f"SELECT pk, doc, beyond FROM {self._table} WHERE pk IN ({marks})"
            for pk, text, beyond in connection.execute(statement, tuple(nested)):
                parsed[pk] = decode(text, beyond)
        for pk in rows:
            if pk in parsed:
                document = parsed[pk]
                yield document if wanted is None else {n: document[n] for n in document if n in wanted}


def _plain_properties(properties: dict[str, Any] | list[str] | None) -> list[str] | None:
    """Return the names when a projection asks only for whole top-level fields, else None."""
    if not properties:
        return None
    if isinstance(properties, dict) and any(value not in (1, True) for value in properties.values()):
        return None
    return None if any("." in name or name.startswith("$") for name in properties) else list(properties)


def _projected(
    documents: list[dict[str, Any]], properties: dict[str, Any] | list[str]
) -> Iterator[dict[str, Any]]:
    chosen = dict.fromkeys(properties, 1) if isinstance(properties, list) else dict(properties)
    if set(chosen) != {"_id"}:
        chosen["_id"] = 0
    yield from _scratch(documents).query(None, chosen)


def _scratch(documents: list[dict[str, Any]]) -> Any:  # noqa: ANN401  (maggma is untyped)
    from maggma.stores import MemoryStore

    store = MemoryStore()
    store.connect()
    if documents:
        # Its update() looks up every document among all; this is what it would do with new ones.
        store._collection.insert_many(documents)  # noqa: SLF001
    return store


def _orderable(value: Any) -> tuple[int, Any]:  # noqa: ANN401
    """Return a sort key for values of several types: nothing, numbers, text, then the rest as text."""
    if value is None:
        return 0, 0
    if isinstance(value, bool | int | float):
        return 1, value
    return (2, value) if isinstance(value, str) else (3, repr(value))
