"""A plain table for each kind of record in SQLite, with a column for each field, for any program to read.

The columns of a declared kind (:mod:`epilayer.model.kinds`) have their declared types; a field that is not
declared takes the type of its first values. SQLite would change what does not fit a column's type (``100``
becomes ``'100'``), so a column that meets such a value loses its type and then holds any value as it is. The
table ``field`` says which column holds which field, with unit and meaning.
"""

# ruff: noqa: S608 - SQL is composed of quoted names and fixed pieces; every value is a parameter.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from epilayer.model.kind import MEANINGS, Column
from epilayer.model.kinds import KINDS, declared_names
from epilayer.store.filters import Scalar, ValueType
from epilayer.store.result_record import CREATED

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

    Stored = str | float | bytes | None

SCHEMA = """
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
    """
"""The first version, in which all fields of all kinds stood in one narrow table."""
TEXT, INTEGER, REAL, BOOLEAN, ANY = "TEXT", "INTEGER", "REAL", "BOOLEAN", ""
_SQL_TYPES: dict[type, str] = {str: TEXT, int: INTEGER, float: REAL, bool: BOOLEAN}
_VALUE_TYPES = {
    TEXT: ValueType.TEXT, INTEGER: ValueType.NUMBER, REAL: ValueType.NUMBER, BOOLEAN: ValueType.BOOLEAN,
}  # fmt: skip
NEVER = "0"
_EXACT = 2**53
"""Whole numbers up to here are the same as floating-point numbers."""
_OWN = ("pk", "id", "rowid", "oid", "_rowid_")
# SQLite orders numbers < text < blobs. A column without a type holds booleans as the blobs 00 and 01, so that
# true is not 1 and comes last, as in MongoDB.
TYPE_RANGES = {
    ValueType.NUMBER: "{0} < ''",
    ValueType.TEXT: "{0} >= '' AND {0} < x''",
    ValueType.BOOLEAN: "{0} >= x''",
}


class Field(NamedTuple):
    """A field of a kind: the column that holds it, and the type of that column."""

    name: str
    type: str

    @property
    def column(self) -> str:
        """The column in SQL."""
        return _quoted(self.name)

    def stored(self, value: Scalar) -> Stored:
        """Return a value as the column holds it."""
        if isinstance(value, bool) and self.type == ANY:
            return b"\x01" if value else b"\x00"
        return value

    def read(self, value: Stored) -> Scalar:
        """Return what the column holds as the value that it was."""
        if isinstance(value, bytes):
            return value == b"\x01"
        return bool(value) if self.type == BOOLEAN and value is not None else value

    def comparable(self, values: Iterable[Scalar]) -> list[Stored]:
        """Return those of some values that the column may hold, as it would hold them.

        SQLite converts what is compared with a typed column; a value of another type must match nothing.
        """
        return [self.stored(value) for value in values if value is not None and _is_of(self.type, value)]

    def range(self, value_type: ValueType) -> str:
        """Return the condition that a value is of a type."""
        if self.type == ANY:
            return TYPE_RANGES[value_type].format(self.column)
        return f"{self.column} IS NOT NULL" if _VALUE_TYPES[self.type] is value_type else NEVER


class KindTable:
    """The table of one kind in an open transaction.

    Parameters
    ----------
    connection
        On which the table is read, and written where the transaction allows it.
    kind
        Name of the kind.
    """

    def __init__(self, connection: sqlite3.Connection, kind: str) -> None:
        self._connection = connection
        self.kind = kind
        rows = connection.execute(
            "SELECT name, in_table, in_column, type FROM field WHERE kind = ? ORDER BY name", (kind,)
        ).fetchall()
        self.name = rows[0][1] if rows else ""
        self.fields = {name: Field(column, column_type) for name, _, column, column_type in rows}

    def grow(self, values: Mapping[str, Sequence[Scalar]]) -> None:
        """Give every field a column that can hold its values; make the table where there is none.

        Parameters
        ----------
        values
            Values to come, by field.
        """
        declared = {column.name: column for column in KINDS[self.kind].columns} if self.kind in KINDS else {}
        if not self.fields:
            self.name = _free(self.kind, first_column(self._connection, "SELECT name FROM sqlite_master"))
            self._connection.execute(
                f"CREATE TABLE {self.sql} (pk INTEGER PRIMARY KEY, id TEXT NOT NULL, created TEXT NOT NULL)"
            )
            newest = _quoted(f"{self.name} by time")
            self._connection.execute(f"CREATE INDEX {newest} ON {self.sql} (created DESC, id)")
            self._register(Column(CREATED, about="when it was made, UTC"), Field(CREATED, TEXT))
        for name in (*declared, *values):
            if name not in self.fields:
                self._add(declared.get(name, Column(name)), [] if name in declared else values[name])
        for name, some in values.items():
            if not all(value is None or _fits(self.fields[name].type, value) for value in some):
                self._loosen(name)

    def put(self, rows: Iterable[tuple[int, str, Mapping[str, Scalar]]]) -> None:
        """Write rows (number of the record, its id, its fields with ``created``), over earlier ones."""
        names = ", ".join(("pk", "id", *(field.column for field in self.fields.values())))
        marks = ", ".join("?" * (len(self.fields) + 2))
        self._connection.executemany(
            f"INSERT OR REPLACE INTO {self.sql} ({names}) VALUES ({marks})",
            (
                (pk, identity, *(field.stored(values.get(name)) for name, field in self.fields.items()))
                for pk, identity, values in rows
            ),
        )

    def row(self, pk: int) -> tuple[str, dict[str, Scalar]] | None:
        """Return the id and the fields in the row of a record; ``None`` where there is no row."""
        names = ", ".join(("id", *(field.column for field in self.fields.values())))
        found = self._connection.execute(f"SELECT {names} FROM {self.sql} WHERE pk = ?", (pk,)).fetchone()
        if found is None:
            return None
        held = zip(self.fields.items(), found[1:], strict=True)
        return found[0], {name: field.read(value) for (name, field), value in held}

    def size(self) -> int:
        """Return the number of rows."""
        return int(self._connection.execute(f"SELECT count(*) FROM {self.sql}").fetchone()[0])

    def types(self, name: str) -> frozenset[ValueType]:
        """Return the types of the values that a field has."""
        field = self.fields[name]
        if field.type == ANY:
            some = f"SELECT 1 FROM {self.sql} WHERE {{}} LIMIT 1"
            found = (
                of for of in ValueType if self._connection.execute(some.format(field.range(of))).fetchone()
            )
            return frozenset(found)
        greatest = self._connection.execute(f"SELECT max({field.column}) FROM {self.sql}").fetchone()[0]
        return frozenset() if greatest is None else frozenset({_VALUE_TYPES[field.type]})

    @property
    def sql(self) -> str:
        """The table in SQL."""
        return _quoted(self.name)

    def _add(self, column: Column, values: Sequence[Scalar]) -> None:
        kind = _SQL_TYPES[column.type] if column.name in declared_names(self.kind) else _type_of(values)
        field = Field(self._free_column(column.name), kind)
        self._connection.execute(f"ALTER TABLE {self.sql} ADD COLUMN {field.column} {kind}")
        self._index(field)
        self._register(column, field)

    def _free_column(self, name: str) -> str:
        return _free(name, [*_OWN, *(field.name for field in self.fields.values())])

    def _register(self, column: Column, field: Field) -> None:
        self.fields[column.name] = field
        about = column.about or MEANINGS.get(column.name, "")
        self._connection.execute(
            "INSERT INTO field VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self.kind, column.name, self.name, field.name, field.type, column.unit, about),
        )

    def _index(self, field: Field) -> None:
        name = _quoted(f"{self.name} by {field.name}")
        self._connection.execute(f"CREATE INDEX {name} ON {self.sql} ({field.column})")

    def _loosen(self, name: str) -> None:
        """Take the type from a column, so that it can hold any value as it is."""
        old = self.fields[name]
        new = Field(self._free_column(name), ANY)
        booleans = f"CASE {old.column} WHEN 0 THEN x'00' WHEN 1 THEN x'01' END"
        for statement in (
            f"DROP INDEX {_quoted(f'{self.name} by {old.name}')}",
            f"ALTER TABLE {self.sql} ADD COLUMN {new.column}",
            f"UPDATE {self.sql} SET {new.column} = {booleans if old.type == BOOLEAN else old.column}",
            f"ALTER TABLE {self.sql} DROP COLUMN {old.column}",
            f"ALTER TABLE {self.sql} RENAME COLUMN {new.column} TO {old.column}",
        ):
            self._connection.execute(statement)
        self.fields[name] = Field(old.name, ANY)
        self._index(self.fields[name])
        self._connection.execute(
            "UPDATE field SET type = ? WHERE kind = ? AND name = ?", (ANY, self.kind, name)
        )


def add_declared_columns(connection: sqlite3.Connection) -> None:
    """Add to each table of a file the columns that its kind gained."""
    for kind in first_column(connection, "SELECT DISTINCT kind FROM field"):
        KindTable(connection, kind).grow({})


def lacks_declared_columns(connection: sqlite3.Connection) -> bool:
    """Tell whether a kind gained columns since its table was made."""
    known: dict[str, set[str]] = {}
    for kind, name in connection.execute("SELECT kind, name FROM field"):
        known.setdefault(kind, set()).add(name)
    return any(not declared_names(kind) <= names for kind, names in known.items())


def migrate_from_facets(connection: sqlite3.Connection) -> None:
    """Put the fields of each kind, which stood in one narrow table for all, into a table of its own."""
    connection.execute("DROP TABLE facet")
    connection.execute("DROP TABLE field")
    connection.execute("DROP INDEX record_newest")
    connection.execute("CREATE INDEX record_by_kind ON record (kind)")
    connection.execute(
        "CREATE TABLE field (kind TEXT NOT NULL, name TEXT NOT NULL, in_table TEXT NOT NULL,"
        " in_column TEXT NOT NULL, type TEXT NOT NULL, unit TEXT NOT NULL, about TEXT NOT NULL,"
        " PRIMARY KEY (kind, name))"
    )
    for kind in first_column(connection, "SELECT DISTINCT kind FROM record"):
        rows = [
            (pk, identity, {**orjson.loads(fields), CREATED: created})
            for pk, identity, created, fields in connection.execute(
                "SELECT pk, id, created, fields FROM record JOIN payload USING (pk) WHERE kind = ?", (kind,)
            )
        ]
        table = KindTable(connection, kind)
        table.grow(values_by_field(values for _, _, values in rows))
        table.put(rows)


def values_by_field(records: Iterable[Mapping[str, Scalar]]) -> dict[str, list[Scalar]]:
    """Return the values of each field of some records."""
    found: dict[str, list[Scalar]] = {}
    for fields in records:
        for name, value in fields.items():
            found.setdefault(name, []).append(value)
    return found


def _type_of(values: Sequence[Scalar]) -> str:
    some = [value for value in values if value is not None]
    choices = (REAL,) if any(isinstance(value, float) for value in some) else (BOOLEAN, TEXT, INTEGER)
    return next((of for of in choices if some and all(_fits(of, value) for value in some)), ANY)


def _fits(held_as: str, value: Scalar) -> bool:
    too_long = held_as == REAL and isinstance(value, int) and abs(value) > _EXACT
    return _is_of(held_as, value) and not too_long


def _is_of(held_as: str, value: Scalar) -> bool:
    """Tell whether a value can be equal to one in a column of a type."""
    if held_as == ANY:
        return True
    if isinstance(value, bool):
        return held_as == BOOLEAN
    return held_as == TEXT if isinstance(value, str) else held_as in {INTEGER, REAL}


def _free(name: str, taken: Iterable[str]) -> str:
    """Return a name that nothing has yet: SQLite takes upper and lower case for the same."""
    folded = {other.casefold() for other in taken}
    while name.casefold() in folded or name.casefold().startswith("sqlite_"):
        name = f"_{name}"
    return name


def _quoted(name: str) -> str:
    return f'"{name}"'


def first_column(connection: sqlite3.Connection, sql: str, parameters: Sequence[Stored] = ()) -> list[Any]:
    """Return the first column of what a statement selects."""
    return [row[0] for row in connection.execute(sql, parameters)]
