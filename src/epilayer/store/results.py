"""Typed records of many kinds (adsorption, growth, calculation, ...), found by any of their fields.

A record has flat ``fields`` to search by and a nested ``body`` to read. What a filter means is said in
:mod:`epilayer.store.filters`, and holds for every implementation of :class:`ResultsStore`.
"""

# ruff: noqa: S608 - SQL is composed of fixed pieces; every name and value is a parameter.

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import orjson

from epilayer.model.errors import InputError, UnknownNameError
from epilayer.store.database import STAMPED, Database
from epilayer.store.encoding import content_sha256, decode
from epilayer.store.filters import Contains, OneOf, Range, ValueType, resolve
from epilayer.store.kind_tables import (
    NEVER,
    SCHEMA,
    KindTable,
    add_declared_columns,
    first_column,
    lacks_declared_columns,
    migrate_from_facets,
    values_by_field,
)
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

    from epilayer.store.filters import Condition, Filter, Scalar
    from epilayer.store.kind_tables import Field

__all__ = ["PutCount", "Record", "ResultsStore", "SqliteResults", "open_results"]

MONGO_SCHEMES = ("mongodb://", "mongodb+srv://")
APPLICATION_ID = 0x45504C52  # "EPLR", results

_MIGRATIONS = (
    SCHEMA,
    f"{STAMPED}; ALTER TABLE payload ADD COLUMN sha256 TEXT",
    migrate_from_facets,
)


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
        with self._database.reading() as connection:  # a bad file is refused here, not at the first question
            behind = lacks_declared_columns(connection)
        if behind and os.access(self.path, os.W_OK):
            with self._database.writing() as connection:
                add_declared_columns(connection)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def put(self, records: Iterable[Record]) -> PutCount:
        """Store records, all or none (see :meth:`ResultsStore.put`)."""
        ready = [ReadyRecord.of(record) for record in records]
        counts: Counter[str] = Counter()
        rows: dict[str, dict[int, tuple[str, dict[str, Scalar]]]] = {}
        with self._database.writing() as connection:
            for record in ready:
                what, pk, created = _put_one(connection, record)
                counts[what] += 1
                if what != "unchanged":
                    rows.setdefault(record.kind, {})[pk] = (record.id, {**record.fields, CREATED: created})
            for kind, those in rows.items():
                table = KindTable(connection, kind)
                table.grow(values_by_field(values for _, values in those.values()))
                table.put((pk, *row) for pk, row in those.items())
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
            table = _table(connection, kind)
            if table is None:
                return []
            check_names(table.fields, sort, fields)
            among = _all_of(table, _parts(table, where))
            order = "created DESC, id"
            if sort is not None:
                column = table.fields[sort.removeprefix("-")].column
                order = f"{column} {'DESC' if sort.startswith('-') else 'ASC'} NULLS LAST, id"
            pks = first_column(
                connection,
                f"SELECT pk FROM {table.sql} WHERE {among.sql} ORDER BY {order} LIMIT ? OFFSET ?",
                (*among.parameters, -1 if limit is None else limit, offset),
            )
            return self._read(connection, pks, fields, body=body)

    def count(self, kind: str, where: Sequence[Filter] = ()) -> int:
        """Return how many records match every filter."""
        with self._database.reading() as connection:
            table = _table(connection, kind)
            if table is None:
                return 0
            parts = _parts(table, where)
            first = next((part for part in parts if not part.negated), None)
            if first is None and len(parts) == 1:  # all but those, without naming each of the rest
                return _size(connection, table) - _size(connection, table, *parts)
            others = _all_of(table, [part for part in parts if part is not first])
            return _size(connection, table, *([first] if first else []), others)

    def distinct(self, kind: str, field: str) -> list[Scalar]:
        """Return the different values of a field: numbers, then text, then booleans, each ascending."""
        with self._database.reading() as connection:
            table = _table(connection, kind)
            if table is None:
                return []
            check_names(table.fields, None, [field])
            held = table.fields[field]
            # One seek for each different value, however many records share it.
            statement = f"""
                WITH RECURSIVE step (value) AS (
                    SELECT min({held.column}) FROM {table.sql}
                    UNION ALL
                    SELECT (SELECT min({held.column}) FROM {table.sql} WHERE {held.column} > step.value)
                    FROM step WHERE step.value IS NOT NULL)
                SELECT value FROM step WHERE value IS NOT NULL"""
            return [held.read(value) for value in first_column(connection, statement)]

    def tally(
        self, kind: str, fields: Sequence[str], where: Sequence[Filter] = ()
    ) -> dict[str, list[tuple[Scalar, int]]]:
        """Count the values of some fields among the records that match (see :meth:`ResultsStore.tally`)."""
        with self._database.reading() as connection:
            table = _table(connection, kind)
            if table is None:
                return {name: [] for name in fields}
            check_names(table.fields, None, fields)
            among = _all_of(table, _parts(table, where))
            counts = {}
            for name in fields:
                held = table.fields[name]
                rows = connection.execute(
                    f"SELECT {held.column}, count(*) FROM {table.sql} WHERE {among.sql}"
                    f" AND {held.column} IS NOT NULL GROUP BY 1 ORDER BY 1",
                    among.parameters,
                )
                counts[name] = [(held.read(value), number) for value, number in rows]
            return counts

    def kinds(self) -> dict[str, int]:
        """Return how many records there are of each kind."""
        with self._database.reading() as connection:
            return dict(
                connection.execute("SELECT kind, count(*) FROM record GROUP BY kind ORDER BY kind").fetchall()
            )

    def fields(self, kind: str) -> dict[str, frozenset[ValueType]]:
        """Return the fields of a kind and the types found in each (none where it never had a value)."""
        with self._database.reading() as connection:
            table = _table(connection, kind)
            return {} if table is None else {name: table.types(name) for name in sorted(table.fields)}

    def damaged(self) -> list[str]:
        """Return the records whose content is not what was written, in words; none where all are whole.

        The rows from which filters answer must be those of the records. Records of versions that kept no
        hash are checked by their rows alone.
        """
        found, rows = [], 0
        with self._database.reading() as connection:
            kinds = first_column(connection, "SELECT DISTINCT kind FROM field")
            tables = {kind: KindTable(connection, kind) for kind in kinds}
            records = connection.execute(
                "SELECT sha256, pk, id, kind, created, schema_version, fields, body, beyond"
                " FROM record LEFT JOIN payload USING (pk) ORDER BY pk"
            )
            for wanted, pk, *content in records:
                identity, kind, created, _, fields, _, _ = content
                if fields is None or (wanted is not None and content_sha256(*content) != wanted):
                    found.append(f"record {identity} is not what was written")
                    continue
                row = tables[kind].row(pk) if kind in tables else None
                if row is None or row[0] != identity:
                    found.append(f"record {identity} is not in the table of its kind")
                    continue
                rows += 1
                values = {**orjson.loads(fields), CREATED: created}
                found += [
                    f"record {identity} is not found by its {name}"
                    for name in {**row[1], **values}
                    if not _same(values.get(name), row[1].get(name))
                ]
            if not found and rows != sum(table.size() for table in tables.values()):
                found.append("there are rows that no record has")
        return found

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


class _Part(NamedTuple):
    """A condition on the columns of a table, its parameters, and whether it selects what is left out."""

    sql: str
    parameters: tuple[str | float | bytes | None, ...] = ()
    negated: bool = False


def _put_one(connection: sqlite3.Connection, record: ReadyRecord) -> tuple[str, int, str]:
    """Store a record but for its row; return what was done, the record's number and its time."""
    old = connection.execute(
        "SELECT pk, kind, created, schema_version, fields, body, beyond"
        " FROM record JOIN payload USING (pk) WHERE id = ?",
        (record.id,),
    ).fetchone()
    if old is None:
        created = record.created
        pk = connection.execute(
            "INSERT INTO record (id, kind, created, schema_version) VALUES (?, ?, ?, ?)",
            (record.id, record.kind, created, record.schema_version),
        ).lastrowid
    else:
        pk, kind, created, *content = old
        if kind != record.kind:
            raise other_kind(record, kind)
        if content == [record.schema_version, record.fields_text, record.body, record.beyond]:
            return "unchanged", pk, created
        connection.execute("UPDATE record SET schema_version = ? WHERE pk = ?", (record.schema_version, pk))
    connection.execute(
        "INSERT OR REPLACE INTO payload VALUES (?, ?, ?, ?, ?)",
        (pk, record.fields_text, record.body, record.beyond, record.sha256(created)),
    )
    return "added" if old is None else "changed", int(pk or 0), created


def _table(connection: sqlite3.Connection, kind: str) -> KindTable | None:
    """Return the table of a kind; ``None`` while the file is empty, else an unknown kind is an error."""
    table = KindTable(connection, kind)
    if not table.fields:
        kinds = first_column(connection, "SELECT DISTINCT kind FROM field")
        if kinds:
            raise UnknownNameError("kind of result", kind, kinds)
        return None
    return table


def _parts(table: KindTable, where: Sequence[Filter]) -> list[_Part]:
    # Types are looked up for the fields that are asked for, and no other.
    known: dict[str, frozenset[ValueType]] = dict.fromkeys(table.fields, frozenset())
    known |= {asked.field: table.types(asked.field) for asked in where if asked.field in known}
    conditions = [resolve(asked, known) for asked in where]
    return [_part(table.fields[condition.field], condition) for condition in conditions]


def _part(held: Field, condition: Condition) -> _Part:
    match condition:
        case Range():
            of_type = held.range(ValueType.TEXT if isinstance(condition.bound, str) else ValueType.NUMBER)
            if of_type == NEVER:
                return _Part(NEVER)
            return _Part(f"{held.column} {condition.operator.value} ? AND {of_type}", (condition.bound,))
        case Contains():
            escaped = condition.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            sql = f"{held.column} LIKE ? ESCAPE '\\' AND {held.range(ValueType.TEXT)}"
            return _Part(sql, (f"%{escaped}%",))
        case OneOf():
            values = held.comparable(condition.values)
            choices = [f"{held.column} IN ({', '.join('?' * len(values))})"] if values else []
            choices += [f"{held.column} IS NULL"] if None in condition.values else []
            return _Part(" OR ".join(choices) or NEVER, tuple(values), negated=condition.negated)


def _all_of(table: KindTable, parts: Sequence[_Part]) -> _Part:
    """Return the condition that all parts hold, each looked up by its own index and never by a row.

    The plus keeps SQLite from taking the record numbers one by one instead of walking an index in order.
    """
    pieces = [
        f"+pk {'NOT ' if part.negated else ''}IN (SELECT pk FROM {table.sql} WHERE {part.sql})"
        for part in parts
    ]
    return _Part(" AND ".join(pieces) or "1", tuple(value for part in parts for value in part.parameters))


def _size(connection: sqlite3.Connection, table: KindTable, *parts: _Part) -> int:
    sql = " AND ".join(f"({part.sql})" for part in parts) or "1"
    statement = f"SELECT count(*) FROM {table.sql} WHERE {sql}"
    parameters = tuple(value for part in parts for value in part.parameters)
    return int(connection.execute(statement, parameters).fetchone()[0])


def _same(first: Scalar, second: Scalar) -> bool:
    """Tell whether two values are one: true is not 1."""
    return first == second and isinstance(first, bool) == isinstance(second, bool)
