"""What every results store keeps and answers: the record, its checked form, and the protocol."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, Protocol, TypedDict

import orjson

from epilayer.model.errors import InputError, UnknownNameError
from epilayer.store.encoding import content_sha256, encode
from epilayer.store.filters import FIELD_NAME, Filter, Scalar, ValueType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DEFAULT_LIMIT = 100
CREATED = "created"  # every record's time can be searched and sorted by like a field
STAND_IN = "stand_in"  # true where something that only stands in for an engine took part


def projected(fields: Mapping[str, Scalar], created: str, names: Sequence[str] | None) -> dict[str, Scalar]:
    """Return the named fields of a record, or all; what a stand-in computed is always marked."""
    if names is None:
        return dict(fields)
    own = {**fields, CREATED: created}
    marked = {STAND_IN: True} if own.get(STAND_IN) else {}
    return {name: own.get(name) for name in names} | marked


class Record(TypedDict):
    """One result.

    ``id`` is the hash of the content, so storing the same result twice stores it once; ``created`` is a time
    in ISO 8601 (UTC where no zone is given); ``fields`` are scalars by name; ``body`` is any nested JSON.
    """

    kind: str
    id: str
    created: str
    schema_version: int
    fields: dict[str, Scalar]
    body: NotRequired[dict[str, Any]]


class PutCount(NamedTuple):
    """What :meth:`ResultsStore.put` did, in numbers of records."""

    added: int
    changed: int
    unchanged: int


class ResultsStore(Protocol):
    """Where results are kept; every implementation gives the same answers."""

    def put(self, records: Iterable[Record]) -> PutCount:
        """Store records. A known id keeps its time; its content is replaced if it differs.

        Where one is refused, none is stored.
        """
        ...

    def get(self, identity: str) -> Record:
        """Return the record with this id, or with the one id that begins so, body included."""
        ...

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
        """Return the records that match every filter.

        Parameters
        ----------
        kind
            The kind of record.
        where
            The filters.
        sort
            A field, with ``-`` before it for descending: numbers, then text, then booleans (descending the
            other way), records without a value last in both; equals by id. Default: newest first, then by id.
        limit, offset
            Which part of the answer; ``None`` for all of it.
        fields
            The fields to return, in this order (None where a record has no value). Default: all it has.
        body
            Whether to return bodies.
        """
        ...

    def count(self, kind: str, where: Sequence[Filter] = ()) -> int:
        """Return how many records match every filter."""
        ...

    def distinct(self, kind: str, field: str) -> list[Scalar]:
        """Return the different values of a field: numbers, then text, then booleans, each ascending."""
        ...

    def tally(
        self, kind: str, fields: Sequence[str], where: Sequence[Filter] = ()
    ) -> dict[str, list[tuple[Scalar, int]]]:
        """Count the values of some fields among the records that match every filter.

        Returns
        -------
        By field, each value and how many of the records have it, in the order of :meth:`distinct`; what
        no record has is not there.
        """
        ...

    def kinds(self) -> dict[str, int]:
        """Return how many records there are of each kind."""
        ...

    def fields(self, kind: str) -> dict[str, frozenset[ValueType]]:
        """Return the fields of a kind and the types found in each (none where it never had a value)."""
        ...

    def damaged(self) -> list[str]:
        """Return the records whose content is not what was written, in words; none where all are whole."""
        ...

    def close(self) -> None:
        """Close the store."""
        ...


class ReadyRecord(NamedTuple):
    """A record that was checked and put in the form in which it is stored."""

    kind: str
    id: str
    created: str
    schema_version: int
    fields: dict[str, Scalar]
    fields_text: str
    body: str
    beyond: str | None

    def sha256(self, created: str) -> str:
        """Return the hash that is kept with the record."""
        return content_sha256(
            self.id, self.kind, created, self.schema_version, self.fields_text, self.body, self.beyond
        )

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> ReadyRecord:
        """Check a record.

        Raises
        ------
        InputError
            If it lacks a key, has an unknown one, or one that cannot be searched.
        """
        unknown = sorted(set(record) - set(Record.__annotations__))
        missing = sorted(set(Record.__annotations__) - {"body"} - set(record))
        if unknown or missing:
            raise InputError(
                f"A result lacks {missing[0]!r}."
                if missing
                else f"A result has the unknown key {unknown[0]!r}.",
                f"A result has the keys {', '.join(Record.__annotations__)}.",
            )
        kind, identity = str(record["kind"]), str(record["id"])
        if not FIELD_NAME.fullmatch(kind) or not identity or not identity.isprintable() or " " in identity:
            raise InputError(
                f"The kind {kind!r} and the id {identity!r} cannot name a result.",
                "A kind is one word of letters, digits and _; an id has no spaces.",
            )
        fields = {name: _scalar(identity, name, value) for name, value in record["fields"].items()}
        body, _, beyond = encode(record.get("body", {}))
        text = orjson.dumps(fields).decode()
        return cls(
            kind, identity, _utc(record["created"]), int(record["schema_version"]), fields, text, body, beyond
        )


def _scalar(identity: str, name: str, value: Any) -> Scalar:  # noqa: ANN401
    if not FIELD_NAME.fullmatch(name) or name in Record.__annotations__:
        raise InputError(
            f"The result {identity} has a field named {name!r}.",
            "Use letters, digits and _, and none of the record's own keys.",
        )
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    elif hasattr(value, "value"):  # an enum
        value = value.value
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise InputError(
        f"The result {identity} has {name} = {value!r}, which cannot be searched.",
        "Give a text, a finite number (64 bits), true, false or null; put anything else in the body.",
    )


def _utc(created: str | dt.datetime) -> str:
    """Return a time in the one form whose order as text is the order in time (milliseconds, UTC)."""
    try:
        time = dt.datetime.fromisoformat(created) if isinstance(created, str) else created
    except ValueError as error:
        raise InputError(
            f"A result was created at {created!r}, which is not a time.",
            "Use ISO 8601, as in 2025-06-01T12:00:00Z.",
        ) from error
    time = time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
    return time.isoformat(timespec="milliseconds")


def check_part(limit: int | None, offset: int) -> None:
    """Refuse a part of an answer that there is not."""
    if offset < 0 or (limit is not None and limit < 0):
        raise InputError("A limit and an offset cannot be negative.", "Give 0 or more.")


def check_names(known: Iterable[str], sort: str | None, fields: Sequence[str] | None) -> None:
    """Refuse to sort by, or to show, what no record of a kind has."""
    names = set(known)
    for name in (*(fields or ()), *([sort.removeprefix("-")] if sort else ())):
        if name not in names:
            raise UnknownNameError("field", name, names)


def not_one(identity: str, found: Sequence[str]) -> InputError:
    """Return the refusal of an id's beginning that none or several of the ids have."""
    if not found:
        return InputError(f"No result has an id that begins with {identity!r}.", "List ids with a query.")
    some = ", ".join(one[: len(identity) + 6] for one in found[:3])
    return InputError(
        f"Several results have ids that begin with {identity!r} ({some}, ...).",
        "Give more digits of the id.",
    )


def other_kind(record: ReadyRecord, stored: str) -> InputError:
    """Return the refusal of a record whose id is that of a record of another kind."""
    return InputError(
        f"The result {record.id} is stored as {stored!r} and cannot become {record.kind!r}.",
        "Give results of different kinds different ids.",
    )
