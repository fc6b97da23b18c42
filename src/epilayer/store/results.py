"""Typed records of many kinds (adsorption, growth, calculation, ...), found by any of their facets.

A record has flat ``fields`` to search by and a nested ``body`` to read. What a filter means is said in
:mod:`epilayer.store.filters`, and holds for every implementation of :class:`ResultsStore`.
"""

# ruff: noqa: S608 - SQL is composed of fixed pieces; every name and value is a parameter.

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from epilayer.model.errors import InputError, UnknownNameError
from epilayer.store.database import STAMPED, Database
from epilayer.store.encoding import content_sha256, decode
from epilayer.store.filters import Contains, OneOf, Range, Scalar, ValueType, resolve
from epilayer.store.result_record import (
    CREATED,
    DEFAULT_LIMIT,
    PutCount,
    ReadyRecord,
    Record,
    ResultsStore,
    check_names,
    check_part,
    not_one,
    other_kind,
    projected,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from epilayer.store.filters import Condition, Filter

__all__ = ["PutCount", "Record", "ResultsStore", "SqliteResults", "open_results"]

MONGO_SCHEMES = ("mongodb://", "mongodb+srv://")
APPLICATION_ID = 0x45504C52  # "EPLR", results

# Facets stand in one narrow table, in the order of (field, value): any filter on any field, also one that
# did not exist yesterday, reads one contiguous stretch of it, and never the bodies. Values keep their type:
# SQLite orders numbers < text < blobs, and booleans are the blobs 00 and 01, as MongoDB orders them.
_MIGRATIONS = (
    """
    CREATE TABLE record (
        pk INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, created TEXT NOT NULL,
        schema_version INTEGER NOT NULL);
    CREATE INDEX record_newest ON record (kind, created DESC, id);
    CREATE TABLE payload (
        pk INTEGER PRIMARY KEY, fields TEXT NOT NULL, body TEXT NOT NULL, beyond TEXT);
    CREATE TABLE field (
        field INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (kind, name));
    CREATE TABLE facet (
        field INTEGER NOT NULL, value NOT NULL, pk INTEGER NOT NULL,
        PRIMARY KEY (field, value, pk)) WITHOUT ROWID
    """,
    f"{STAMPED}; ALTER TABLE payload ADD COLUMN sha256 TEXT",
)
_TYPE_RANGES = {
    ValueType.NUMBER: "value < ''",
    ValueType.TEXT: "value >= '' AND value < x''",
    ValueType.BOOLEAN: "value >= x''",
}


class SqliteResults:
    """Results in one SQLite file, for many processes of one machine.

    Parameters
    ----------
    path
        The file; created when missing. It must lie on a disk of this machine.
    durable
        Whether storing waits for the disk, so that it also survives a power cut.
    """

    def __init__(self, path: str | Path, *, durable: bool = True) -> None:
        self._database = Database(
            path, kind="results file", application_id=APPLICATION_ID, migrations=_MIGRATIONS, durable=durable
        )
        self.path = self._database.path
        self._database.connection()  # refuse a bad file here, by name, rather than at the first question

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def put(self, records: Iterable[Record]) -> PutCount:
        """Store records, all or none (see :meth:`ResultsStore.put`)."""
        ready = [ReadyRecord.of(record) for record in records]
        counts: Counter[str] = Counter()
        with self._database.writing() as connection:
            known = {(kind, name): field for field, kind, name in connection.execute("SELECT * FROM field")}
            added: list[tuple[int, str | float | bytes, int]] = []
            for record in ready:
                counts[self._put_one(connection, record, known, added)] += 1
            # In the table's own order, neighbours land on the same page.
            added.sort(key=lambda facet: facet[0])
            connection.executemany("INSERT INTO facet VALUES (?, ?, ?)", added)
        return PutCount(counts["added"], counts["changed"], counts["unchanged"])

    def get(self, identity: str) -> Record:
        """Return the record with this id, or the one whose id begins so (see :meth:`ResultsStore.get`)."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT pk, id FROM record WHERE id = ?", (identity,)).fetchall()
            if not found and identity:
                found = connection.execute(
                    "SELECT pk, id FROM record WHERE id >= ? AND id < ? ORDER BY id LIMIT 4",
                    (identity, identity + "\U0010ffff"),
                ).fetchall()
            if len(found) != 1:
                raise not_one(identity, [row[1] for row in found])
            return self._read(connection, [found[0][0]], fields=None, body=True)[0]

    def query(
        self,
        kind: str,
        where: Sequence[Filter] = (),
        *,
        sort: str | None = None,
        limit: int | None = DEFAULT_LIMIT,
        offset: int = 0,
        fields: Sequence[str] | None = None,
        body: bool = False,
    ) -> list[Record]:
        """Return the records that match every filter (see :meth:`ResultsStore.query`)."""
        check_part(limit, offset)
        with self._database.reading() as connection:
            known = self._known(connection, kind)
            if not known:
                return []
            check_names(known, sort, fields)
            among = self._among(connection, kind, [resolve(asked, known) for asked in where])
            size = -1 if limit is None else limit
            if sort is None:
                statement = f"SELECT pk FROM record WHERE kind = ? AND {among.sql} ORDER BY created DESC, id"
                pks = _column(
                    connection, f"{statement} LIMIT ? OFFSET ?", (kind, *among.parameters, size, offset)
                )
            else:
                pks = self._sorted(connection, kind, sort, among, size, offset)
            return self._read(connection, pks, fields, body=body)

    def count(self, kind: str, where: Sequence[Filter] = ()) -> int:
        """Return how many records match every filter."""
        with self._database.reading() as connection:
            known = self._known(connection, kind)
            if not known:
                return 0
            conditions = [resolve(asked, known) for asked in where]
            found = [self._facets(connection, kind, condition) for condition in conditions]
            everything = _Facets("SELECT pk FROM record WHERE kind = ?", (kind,))
            if len(found) == 1 and found[0].negated:  # all but those, without naming each of the rest
                return _size(connection, everything) - _size(connection, found[0])
            # A field has one value in a record, so counting facets counts records.
            first = next((part for part in found if not part.negated), everything)
            return _size(connection, first, [part for part in found if part is not first])

    def distinct(self, kind: str, field: str) -> list[Scalar]:
        """Return the different values of a field: numbers, then text, then booleans, each ascending."""
        with self._database.reading() as connection:
            known = self._known(connection, kind)
            if known and field not in known:
                raise UnknownNameError("field", field, known)
            number = self._field(connection, kind, field)
            # One seek for each different value, however many records share it.
            statement = """
                WITH RECURSIVE step (value) AS (
                    SELECT min(value) FROM facet WHERE field = :field
                    UNION ALL
                    SELECT (SELECT min(value) FROM facet WHERE field = :field AND value > step.value)
                    FROM step WHERE step.value IS NOT NULL)
                SELECT value FROM step WHERE value IS NOT NULL"""
            rows = connection.execute(statement, {"field": number}).fetchall()
            return [_read_value(value) for (value,) in rows]

    def tally(
        self, kind: str, fields: Sequence[str], where: Sequence[Filter] = ()
    ) -> dict[str, list[tuple[Scalar, int]]]:
        """Count the values of some fields among the records that match (see :meth:`ResultsStore.tally`)."""
        found: dict[str, list[tuple[Scalar, int]]] = {name: [] for name in fields}
        with self._database.reading() as connection:
            known = self._known(connection, kind)
            if not known:
                return found
            check_names(known, None, fields)
            among = self._among(connection, kind, [resolve(asked, known) for asked in where])
            names = {self._field(connection, kind, name): name for name in fields}
            # All fields in one statement: the records that match are looked up once.
            rows = connection.execute(
                f"SELECT field, value, count(*) FROM facet WHERE field IN ({', '.join('?' * len(names))})"
                f" AND {among.sql} GROUP BY field, value",
                (*names, *among.parameters),
            )
            for field, value, number in rows:
                found[names[field]].append((_read_value(value), number))
            return found

    def kinds(self) -> dict[str, int]:
        """Return how many records there are of each kind."""
        with self._database.reading() as connection:
            return dict(
                connection.execute("SELECT kind, count(*) FROM record GROUP BY kind ORDER BY kind").fetchall()
            )

    def fields(self, kind: str) -> dict[str, frozenset[ValueType]]:
        """Return the fields of a kind and the types found in each (none where it never had a value)."""
        with self._database.reading() as connection:
            return self._known(connection, kind)

    def damaged(self) -> list[str]:
        """Return the records whose content is not what was written, in words; none is the hope.

        The facets, from which filters answer, must be those of the records. Records of versions that kept no
        hash are judged by their facets alone.
        """
        found, kept = [], 0
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT sha256, pk, id, kind, created, schema_version, fields, body, beyond"
                " FROM record LEFT JOIN payload USING (pk) ORDER BY pk"
            )
            numbers = {(kind, name): n for n, kind, name in connection.execute("SELECT * FROM field")}
            for wanted, pk, *content in rows:
                identity, kind, created, _, fields, _, _ = content
                if fields is None or (wanted is not None and content_sha256(*content) != wanted):
                    found.append(f"record {identity} is not what was written")
                    continue
                for name, value in {**orjson.loads(fields), CREATED: created}.items():
                    if value is None:
                        continue
                    place = (numbers.get((kind, name)), _stored(value), pk)
                    kept += 1
                    there = "SELECT 1 FROM facet WHERE field = ? AND value = ? AND pk = ?"
                    if not connection.execute(there, place).fetchone():
                        found.append(f"record {identity} is not found by its {name}")
            if connection.execute("SELECT count(*) FROM facet").fetchone()[0] != kept and not found:
                found.append("there are facets that no record has")
        return found

    def _known(self, connection: sqlite3.Connection, kind: str) -> dict[str, frozenset[ValueType]]:
        """Return the fields of a kind; none while the file is empty, else an unknown kind is an error."""
        fields = connection.execute(
            "SELECT name, field FROM field WHERE kind = ? ORDER BY name", (kind,)
        ).fetchall()
        if not fields:
            kinds = _column(connection, "SELECT DISTINCT kind FROM field", ())
            if kinds:
                raise UnknownNameError("kind of result", kind, [str(name) for name in kinds])
        return {
            name: frozenset(
                value_type
                for value_type, among in _TYPE_RANGES.items()
                if connection.execute(
                    f"SELECT 1 FROM facet WHERE field = ? AND {among} LIMIT 1", (field,)
                ).fetchone()
            )
            for name, field in fields
        }

    def _put_one(
        self,
        connection: sqlite3.Connection,
        record: ReadyRecord,
        known: dict[tuple[str, str], int],
        added: list[tuple[int, str | float | bytes, int]],
    ) -> str:
        old = connection.execute(
            "SELECT pk, kind, created, schema_version, fields, body, beyond"
            " FROM record JOIN payload USING (pk) WHERE id = ?",
            (record.id,),
        ).fetchone()
        created = record.created if old is None else old[2]
        if old is None:
            pk = connection.execute(
                "INSERT INTO record (id, kind, created, schema_version) VALUES (?, ?, ?, ?)",
                (record.id, record.kind, created, record.schema_version),
            ).lastrowid
        else:
            pk = old[0]
            if old[1] != record.kind:
                raise other_kind(record, old[1])
            if old[3:] == (record.schema_version, record.fields_text, record.body, record.beyond):
                return "unchanged"
            # Its earlier facets may still wait to be written, if the same id came twice in one call.
            added[:] = [facet for facet in added if facet[2] != pk]
            gone = [
                (known[record.kind, name], _stored(value), pk)
                for name, value in {**orjson.loads(old[4]), CREATED: created}.items()
                if value is not None
            ]
            connection.executemany("DELETE FROM facet WHERE field = ? AND value = ? AND pk = ?", gone)
            connection.execute(
                "UPDATE record SET schema_version = ? WHERE pk = ?", (record.schema_version, pk)
            )
        connection.execute(
            "INSERT OR REPLACE INTO payload VALUES (?, ?, ?, ?, ?)",
            (pk, record.fields_text, record.body, record.beyond, record.sha256(created)),
        )
        for name, value in {**record.fields, CREATED: created}.items():
            if (record.kind, name) not in known:
                inserted = connection.execute(
                    "INSERT INTO field (kind, name) VALUES (?, ?)", (record.kind, name)
                )
                known[record.kind, name] = int(inserted.lastrowid or 0)
            if value is not None:
                added.append((known[record.kind, name], _stored(value), int(pk or 0)))
        return "added" if old is None else "changed"

    @staticmethod
    def _field(connection: sqlite3.Connection, kind: str, name: str) -> int:
        row = connection.execute(
            "SELECT field FROM field WHERE kind = ? AND name = ?", (kind, name)
        ).fetchone()
        return int(row[0]) if row else 0

    def _among(self, connection: sqlite3.Connection, kind: str, conditions: Sequence[Condition]) -> _Sql:
        return _all_of([self._facets(connection, kind, condition) for condition in conditions])

    def _facets(self, connection: sqlite3.Connection, kind: str, condition: Condition) -> _Facets:
        """Return the record numbers that a condition selects, or, negated, leaves out."""
        field = self._field(connection, kind, condition.field)
        numbers = "SELECT pk FROM facet WHERE field = ?"
        match condition:
            case Range():
                text = isinstance(condition.bound, str)
                of_type = _TYPE_RANGES[ValueType.TEXT if text else ValueType.NUMBER]
                sql = f"{numbers} AND value {condition.operator.value} ? AND {of_type}"
                return _Facets(sql, (field, condition.bound))
            case Contains():
                escaped = condition.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
                sql = f"{numbers} AND {_TYPE_RANGES[ValueType.TEXT]} AND value LIKE ? ESCAPE '\\'"
                return _Facets(sql, (field, f"%{escaped}%"))
            case OneOf():
                values = [_stored(value) for value in condition.values if value is not None]
                one_of = f"value IN ({', '.join('?' * len(values))})"
                if None not in condition.values:
                    return _Facets(f"{numbers} AND {one_of}", (field, *values), negated=condition.negated)
                # "No value, or one of these" is "not any other value", and the reverse.
                return _Facets(f"{numbers} AND NOT {one_of}", (field, *values), negated=not condition.negated)

    def _sorted(
        self, connection: sqlite3.Connection, kind: str, sort: str, among: _Sql, limit: int, offset: int
    ) -> list[int]:
        """Return record numbers by a field's value, those without one at the end, equals by id."""
        field = self._field(connection, kind, sort.removeprefix("-"))
        way = "DESC" if sort.startswith("-") else "ASC"
        wanted = -1 if limit < 0 else offset + limit
        pks = _column(
            connection,
            f"SELECT pk FROM facet s CROSS JOIN record USING (pk) WHERE s.field = ? AND {among.sql}"
            f" ORDER BY s.value {way}, id LIMIT ?",
            (field, *among.parameters, wanted),
        )
        if wanted < 0 or len(pks) < wanted:
            having = set(pks)
            statement = f"SELECT pk FROM record WHERE kind = ? AND {among.sql} ORDER BY id LIMIT ?"
            rest = _column(connection, statement, (kind, *among.parameters, wanted))
            pks += [pk for pk in rest if pk not in having]
        return pks[offset:] if wanted < 0 else pks[offset:wanted]

    @staticmethod
    def _read(
        connection: sqlite3.Connection, pks: Sequence[int], fields: Sequence[str] | None, *, body: bool
    ) -> list[Record]:
        nested = ", body, beyond" if body else ""
        columns = f"id, kind, created, schema_version, fields{nested}"
        statement = f"SELECT {columns} FROM record JOIN payload USING (pk) WHERE pk = ?"
        records = []
        for pk in pks:
            row = connection.execute(statement, (pk,)).fetchone()
            given = projected(orjson.loads(row[4]), row[2], fields)
            record = Record(kind=row[1], id=row[0], created=row[2], schema_version=row[3], fields=given)
            if body:
                record["body"] = decode(row[5], row[6])
            records.append(record)
        return records


def open_results(where: str | Path) -> ResultsStore:
    """Open the results at a path (or ``sqlite:///path``), created when missing, or in a MongoDB.

    Raises
    ------
    InputError
        For an address that no results store serves.
    """
    address = str(where)
    if address.startswith(MONGO_SCHEMES):
        from epilayer.store.mongo_results import MongoResults

        return MongoResults(address)
    if "://" in address and not address.startswith("sqlite:///"):
        scheme = address.split("://", maxsplit=1)[0]  # never show the rest: it may hold a password
        raise InputError(
            f"Results cannot be kept at an address that begins with {scheme}://.",
            "Give the path of a file, as in results.db, or mongodb://HOST/DATABASE.",
        )
    return SqliteResults(address.removeprefix("sqlite://"))


class _Sql(NamedTuple):
    """A condition on ``pk``, and its parameters."""

    sql: str
    parameters: tuple[str | float | bytes, ...]


class _Facets(NamedTuple):
    """A SELECT of record numbers, and whether those are the ones to leave out."""

    sql: str
    parameters: tuple[str | float | bytes, ...]
    negated: bool = False


def _all_of(parts: Sequence[_Facets]) -> _Sql:
    pieces = [f"pk {'NOT ' if part.negated else ''}IN ({part.sql})" for part in parts]
    return _Sql(" AND ".join(pieces) or "1", tuple(value for part in parts for value in part.parameters))


def _size(connection: sqlite3.Connection, counted: _Facets, others: Sequence[_Facets] = ()) -> int:
    among = _all_of(others)
    statement = f"SELECT count(*) FROM ({counted.sql}) WHERE {among.sql}"
    return int(connection.execute(statement, (*counted.parameters, *among.parameters)).fetchone()[0])


def _stored(value: Scalar) -> str | float | bytes:
    if value is True or value is False:
        return b"\x01" if value else b"\x00"
    return "" if value is None else value


def _read_value(value: str | float | bytes) -> Scalar:
    return value == b"\x01" if isinstance(value, bytes) else value


def _column(connection: sqlite3.Connection, sql: str, parameters: Sequence[str | float | bytes]) -> list[Any]:
    return [row[0] for row in connection.execute(sql, tuple(parameters))]
