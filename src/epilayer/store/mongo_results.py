"""Results in a MongoDB, for many machines: the same answers as from the file of one study.

A record is one document: its searchable fields as they are, so that any tool finds it by
``fields.facet``; its body as text, so that what is read is, byte for byte, what was written and hashed.
MongoDB changes one document at once, and no more unless it runs as a replica set. So a record is there
or it is not, whichever process is killed; a ``put`` that was killed leaves some of its records, and the same
``put`` again completes it.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from epilayer.model.errors import InputError, StoreError, UnknownNameError
from epilayer.model.kinds import declared_names
from epilayer.store.encoding import content_sha256, decode
from epilayer.store.filters import Contains, OneOf, Range, Scalar, ValueType, resolve
from epilayer.store.journal import PATIENCE_S, open_database, patiently
from epilayer.store.result_record import (
    CREATED,
    DEFAULT_LIMIT,
    PutCount,
    ReadyRecord,
    Record,
    check_names,
    check_part,
    not_one,
    other_kind,
    projected,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from epilayer.store.filters import Condition, Filter

COLLECTION = "epilayer_results"
_MOST_BYTES = 15 * 2**20  # a document may hold 16 MB
_AT_ONCE = 500
_OPERATORS = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
# MongoDB compares values of one type alone, so these are true for every value of a type and for no other;
# unlike $type, an index answers them.
_OF_TYPE: dict[ValueType, dict[str, Any]] = {
    ValueType.NUMBER: {"$gte": float("-inf")},
    ValueType.TEXT: {"$gte": ""},
    ValueType.BOOLEAN: {"$gte": False},
}

T = TypeVar("T")


class MongoResults:
    """Results in one MongoDB database, for many processes of many machines.

    Parameters
    ----------
    uri
        ``mongodb://`` address with the name of the database. No error shows its password.
    patience_s
        How long to wait for a database that does not answer, in seconds.

    Raises
    ------
    InputError
        If the address cannot be used or names no database.
    StoreError
        If the database does not answer, or refuses.
    """

    def __init__(self, uri: str, *, patience_s: float = PATIENCE_S) -> None:
        self.uri = uri
        self._patience_s = patience_s
        self._database = open_database(uri)
        self._records = self._database[COLLECTION]
        self._names = self._database[f"{COLLECTION}_fields"]
        self._patiently(self._index)

    def close(self) -> None:
        """Close the connections."""
        self._database.client.close()

    def put(self, records: Iterable[Record]) -> PutCount:
        """Store records (see `ResultsStore.put`)."""
        ready = [ReadyRecord.of(record) for record in records]
        for record in ready:
            _check_size(record)
        self._check_kinds(ready)
        self._remember_names(ready)
        counts: Counter[str] = Counter()
        for start in range(0, len(ready), _AT_ONCE):
            pending = ready[start : start + _AT_ONCE]
            while pending:  # again only for those that another process changed in the same moment
                pending = self._put_some(pending, counts)
        return PutCount(counts["added"], counts["changed"], counts["unchanged"])

    def get(self, identity: str) -> Record:
        """Return the record with this id, or the one whose id begins so (see `ResultsStore.get`)."""
        document = self._patiently(lambda: self._records.find_one({"_id": identity}))
        if document is not None:
            return _record(document, None, body=True)
        beginning = {"_id": {"$gte": identity, "$lt": identity + "\U0010ffff"}}
        found = self._find(beginning, [("_id", 1)], 0, 4, body=True) if identity else []
        if len(found) != 1:
            raise not_one(identity, [str(one["_id"]) for one in found])
        return _record(found[0], None, body=True)

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
        """Return the records that match every filter (see `ResultsStore.query`)."""
        check_part(limit, offset)
        names = self._field_names(kind)
        if not names or limit == 0:
            return []
        check_names(names, sort, fields)
        matching = self._matching(kind, where, names)
        if sort is None:
            found = self._find(matching, [(CREATED, -1), ("_id", 1)], offset, limit, body=body)
            return [_record(one, fields, body=body) for one in found]
        # Those without a value come last in both directions, so they are asked for apart.
        path, way = _path(sort.removeprefix("-")), -1 if sort.startswith("-") else 1
        having = {"$and": [matching, {path: {"$ne": None}}]}
        found = self._find(having, [(path, way), ("_id", 1)], offset, limit, body=body)
        if limit is None or len(found) < limit:
            filled = offset + len(found) if found else self._size(having)
            left = None if limit is None else limit - len(found)
            without = {"$and": [matching, {path: None}]}
            found += self._find(without, [("_id", 1)], max(0, offset - filled), left, body=body)
        return [_record(one, fields, body=body) for one in found]

    def count(self, kind: str, where: Sequence[Filter] = ()) -> int:
        """Return how many records match every filter."""
        names = self._field_names(kind)
        return self._size(self._matching(kind, where, names)) if names else 0

    def distinct(self, kind: str, field: str) -> list[Scalar]:
        """Return the different values of a field: numbers, then text, then booleans, each ascending."""
        names = self._field_names(kind)
        if names and field not in names:
            raise UnknownNameError("field", field, names)
        return [value for value, _ in self._counts({"kind": kind}, _path(field))]

    def tally(
        self, kind: str, fields: Sequence[str], where: Sequence[Filter] = ()
    ) -> dict[str, list[tuple[Scalar, int]]]:
        """Count the values of some fields among the records that match (see `ResultsStore.tally`)."""
        names = self._field_names(kind)
        if not names:
            return {name: [] for name in fields}
        check_names(names, None, fields)
        matching = self._matching(kind, where, names)
        return {name: self._counts(matching, _path(name)) for name in fields}

    def _counts(self, matching: dict[str, Any], path: str) -> list[tuple[Scalar, int]]:
        counts: list[tuple[Scalar, int]] = []
        for of_type in _OF_TYPE.values():  # apart, since some drivers cannot tell true from 1
            steps: list[dict[str, Any]] = [
                {"$match": {"$and": [matching, {path: of_type}]}},
                {"$group": {"_id": f"${path}", "count": {"$sum": 1}}},
                {"$sort": {"_id": 1}},
            ]
            found = self._patiently(partial(_listed, self._records, steps))
            counts += [(one["_id"], int(one["count"])) for one in found]
        return counts

    def kinds(self) -> dict[str, int]:
        """Return how many records there are of each kind."""
        steps: list[dict[str, Any]] = [
            {"$group": {"_id": "$kind", "count": {"$sum": 1}}},
            {"$sort": {"_id": 1}},
        ]
        found = self._patiently(lambda: list(self._records.aggregate(steps)))
        return {str(one["_id"]): int(one["count"]) for one in found}

    def fields(self, kind: str) -> dict[str, frozenset[ValueType]]:
        """Return the fields of a kind and the types found in each (none where it never had a value)."""
        return {name: self._types(kind, name) for name in sorted(self._field_names(kind))}

    def damaged(self) -> list[str]:
        """Return the records whose content is not what was written, in words; none where all are whole."""
        found, last = [], ""
        while page := self._find({"_id": {"$gt": last}}, [("_id", 1)], 0, _AT_ONCE, body=True):
            found += [f"record {one['_id']} is not what was written" for one in page if _is_damaged(one)]
            last = str(page[-1]["_id"])
        return found

    def _index(self) -> None:
        from pymongo.errors import OperationFailure

        self._records.create_index([("kind", 1), (CREATED, -1), ("_id", 1)], name="newest")
        # One index over every field, also those that no record has yet. Servers that lack it (before
        # MongoDB 4.2, and some that speak its protocol) answer the same, only slower. A user who may only
        # read cannot make an index, and need not.
        with suppress(OperationFailure):
            self._records.create_index([("fields.$**", 1)], name="fields")

    def _check_kinds(self, ready: Sequence[ReadyRecord]) -> None:
        """Refuse an id that is of another kind already, before anything is written."""
        kinds: dict[str, str] = {}
        for start in range(0, len(ready), _AT_ONCE):
            ids = [record.id for record in ready[start : start + _AT_ONCE]]
            kinds |= {one["_id"]: one["kind"] for one in self._found(ids, {"kind": 1})}
        for record in ready:
            if kinds.setdefault(record.id, record.kind) != record.kind:
                raise other_kind(record, kinds[record.id])

    def _remember_names(self, ready: Sequence[ReadyRecord]) -> None:
        """Note the names of fields before the records have them, so that no filter misses one."""
        names: dict[str, set[str]] = {}
        for record in ready:
            names.setdefault(record.kind, {CREATED}).update(record.fields)
        for kind, new in names.items():
            self._note(kind, {f"names.{name}": True for name in sorted(new)})

    def _note(self, kind: str, names: dict[str, bool]) -> None:
        self._patiently(lambda: self._names.update_one({"_id": kind}, {"$set": names}, upsert=True))

    def _put_some(self, ready: Sequence[ReadyRecord], counts: Counter[str]) -> list[ReadyRecord]:
        """Store records and count what was done; return those that another process got in the way of."""
        ids = sorted({record.id for record in ready})
        old = {one["_id"]: one for one in self._found(ids, {"kind": 1, CREATED: 1, "sha256": 1})}
        now = {identity: (one[CREATED], one["sha256"]) for identity, one in old.items()}
        done: dict[str, list[str]] = {identity: [] for identity in ids}
        new: dict[str, dict[str, Any]] = {}
        for record in ready:  # an id may come twice
            if record.id in old and old[record.id]["kind"] != record.kind:
                raise other_kind(record, old[record.id]["kind"])
            created, sha256 = now.get(record.id, (record.created, None))
            again = record.sha256(created)
            done[record.id].append(
                "added" if sha256 is None else "unchanged" if sha256 == again else "changed"
            )
            now[record.id] = (created, again)
            new[record.id] = _document(record, created, again)
        lost = self._insert([new[identity] for identity in ids if identity not in old])
        for identity, before in old.items():
            if now[identity][1] == before["sha256"] and "changed" not in done[identity]:
                continue
            ask = partial(
                self._records.replace_one, {"_id": identity, "sha256": before["sha256"]}, new[identity]
            )
            if self._patiently(ask).matched_count != 1:
                lost.add(identity)
        counts.update(what for identity in ids if identity not in lost for what in done[identity])
        return [record for record in ready if record.id in lost]

    def _insert(self, documents: list[dict[str, Any]]) -> set[str]:
        """Insert documents; return the ids that were there already."""
        from pymongo.errors import BulkWriteError

        def insert() -> set[str]:
            try:
                self._records.insert_many([dict(one) for one in documents], ordered=False)
            except BulkWriteError as error:
                problems = (error.details or {}).get("writeErrors", [])
                if any(one["code"] != _DUPLICATE for one in problems):
                    raise
                return {documents[one["index"]]["_id"] for one in problems}
            return set()

        return self._patiently(insert) if documents else set()

    def _found(self, ids: Sequence[str], shown: Mapping[str, int]) -> list[dict[str, Any]]:
        return self._patiently(lambda: list(self._records.find({"_id": {"$in": list(ids)}}, shown)))

    def _field_names(self, kind: str) -> set[str]:
        """Return the fields of a kind; none while nothing is stored, else an unknown kind is an error."""
        known = self._patiently(lambda: self._names.find_one({"_id": kind}))
        if known is not None:
            return set(known["names"]) | declared_names(kind)
        kinds = self._patiently(lambda: [str(one["_id"]) for one in self._names.find({}, {"_id": 1})])
        if kinds:
            raise UnknownNameError("kind of result", kind, kinds)
        return set()

    def _types(self, kind: str, field: str) -> frozenset[ValueType]:
        def any_of(among: dict[str, Any]) -> bool:
            wanted = {"kind": kind, _path(field): among}
            return self._patiently(lambda: self._records.find_one(wanted, {"_id": 1})) is not None

        return frozenset(value_type for value_type, among in _OF_TYPE.items() if any_of(among))

    def _matching(self, kind: str, where: Sequence[Filter], names: Iterable[str]) -> dict[str, Any]:
        # Types are looked up for the fields that are asked for, and no other.
        known: dict[str, frozenset[ValueType]] = dict.fromkeys(names, frozenset())
        known |= {asked.field: self._types(kind, asked.field) for asked in where if asked.field in known}
        criteria = [_criterion(resolve(asked, known)) for asked in where]
        return {"$and": [{"kind": kind}, *criteria]}

    def _size(self, matching: dict[str, Any]) -> int:
        return int(self._patiently(lambda: self._records.count_documents(matching)))

    def _find(
        self,
        matching: dict[str, Any],
        order: list[tuple[str, int]],
        offset: int,
        limit: int | None,
        *,
        body: bool,
    ) -> list[dict[str, Any]]:
        hidden = None if body else {"body": 0, "beyond": 0}

        def find() -> list[dict[str, Any]]:
            cursor = self._records.find(matching, hidden).sort(order).skip(offset).allow_disk_use(True)
            return list(cursor if limit is None else cursor.limit(limit))

        return self._patiently(find)

    def _patiently(self, ask: Callable[[], T]) -> T:
        return patiently(ask, self.uri, self._patience_s, error_type=StoreError)


_DUPLICATE = 11000


def _listed(records: Any, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: ANN401  (a collection)
    return list(records.aggregate(steps))


def _path(field: str) -> str:
    return CREATED if field == CREATED else f"fields.{field}"


def _criterion(condition: Condition) -> dict[str, Any]:
    path = _path(condition.field)
    match condition:
        case OneOf():  # null stands for a missing value too, in MongoDB as here
            return {path: {"$nin" if condition.negated else "$in": list(condition.values)}}
        case Range():
            return {path: {_OPERATORS[condition.operator.value]: condition.bound}}
        case Contains():
            return {path: {"$regex": "".join(map(_either_case, condition.text))}}


def _either_case(character: str) -> str:
    """Return a pattern of one character, A-Z in either case (option "i" folds other alphabets as well)."""
    if character.isascii() and character.isalpha():
        return f"[{character.lower()}{character.upper()}]"
    return re.escape(character) if character != "\0" else "\\x00"


def _document(record: ReadyRecord, created: str, sha256: str) -> dict[str, Any]:
    return {
        "_id": record.id,
        "kind": record.kind,
        CREATED: created,
        "schema_version": record.schema_version,
        "fields": record.fields,
        "body": record.body,
        "beyond": record.beyond,
        "sha256": sha256,
    }


def _record(document: Mapping[str, Any], fields: Sequence[str] | None, *, body: bool) -> Record:
    record = Record(
        kind=document["kind"],
        id=document["_id"],
        created=document[CREATED],
        schema_version=document["schema_version"],
        fields=projected(document["fields"], document[CREATED], fields),
    )
    if body:
        record["body"] = decode(document["body"], document["beyond"])
    return record


def _is_damaged(document: Mapping[str, Any]) -> bool:
    try:
        again = content_sha256(
            *(document[key] for key in ("_id", "kind", CREATED, "schema_version")),
            orjson.dumps(document["fields"]).decode(),
            document["body"],
            document["beyond"],
        )
    except (KeyError, TypeError):  # a part is gone, or of another type
        return True
    return bool(again != document.get("sha256"))


def _check_size(record: ReadyRecord) -> None:
    size = len(record.body.encode()) + len(record.fields_text.encode())
    if size > _MOST_BYTES:
        raise InputError(
            f"The result {record.id} has {size / 2**20:.0f} MB, more than a document of MongoDB may hold.",
            "Keep large arrays in files, and their hashes in the record.",
        )
