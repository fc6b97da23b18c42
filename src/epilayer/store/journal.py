"""A journal in MongoDB: numbered entries that are only ever added, one writer at a time.

MongoDB changes one document at once, and no more, unless it runs as a replica set. So everything that must
happen together is one document here: it is there or it is not, whichever process is killed. Entries are
numbered without gaps, and the number is the document's ``_id``: of two writers that take the same number the
database refuses one. The lease makes writers wait for each other; the number keeps them apart
should a lease be lost (a process that was stopped for long and goes on). Clocks of two machines are never
compared.
"""

from __future__ import annotations

import json
import time
import uuid
import zlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from epilayer.model.errors import InputError, QueueError
from epilayer.store.addresses import without_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.database import Database

    from epilayer.model.errors import EpilayerError

LEASE_S = 20.0
"""A lease that did not move for so long, by the watch of the one who waits, is broken."""
PATIENCE_S = 10.0
_PART_BYTES = 8 * 2**20  # half of what one document may hold
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.05

T = TypeVar("T")


class Journal:
    """A journal and what else one queue keeps in a MongoDB.

    Parameters
    ----------
    uri
        ``mongodb://`` address with the name of the database. No error shows its password.
    name
        First part of the names of its collections.
    patience_s
        How long to wait for a database that does not answer, in seconds: short for a person, long for a
        job that has computed for a day.
    """

    def __init__(self, uri: str, name: str, *, patience_s: float = PATIENCE_S) -> None:
        self.uri = uri
        self.name = name
        self.patience_s = patience_s
        self.database = open_database(uri)
        self._entries = self.database[f"{name}_journal"]
        self._parts = self.database[f"{name}_journal_parts"]
        self._leases = self.database[f"{name}_leases"]

    def identity(self) -> str:
        """Return what distinguishes this journal from an earlier one of the same name."""

        def first() -> str:
            entry = self._entries.find_one({"_id": 0})
            if entry is None:
                from pymongo.errors import DuplicateKeyError

                with suppress(DuplicateKeyError):
                    self._entries.insert_one({"_id": 0, "identity": uuid.uuid4().hex})
                entry = self._entries.find_one({"_id": 0})
            return str(entry["identity"])  # type: ignore[index]

        return self.patiently(first)

    def after(self, number: int) -> list[tuple[int, Any]]:
        """Return the entries that come after one, with their numbers."""

        def read() -> list[tuple[int, Any]]:
            found = []
            for entry in self._entries.find({"_id": {"$gt": number}}).sort("_id", 1):
                data = entry.get("data") or b"".join(
                    part["data"] for part in self._parts.find({"writer": entry["writer"]}).sort("place", 1)
                )
                found.append((int(entry["_id"]), json.loads(zlib.decompress(data))))
            return found

        return self.patiently(read)

    def append(self, number: int, value: Any) -> None:  # noqa: ANN401  (any JSON value)
        """Add entry ``number``; when this returns it is there, and it was there once.

        Raises
        ------
        QueueError
            If another writer has taken the number: nothing was changed.
        """
        from pymongo.errors import DuplicateKeyError

        writer = uuid.uuid4().hex
        data = zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 3)
        entry: dict[str, Any] = {"_id": number, "writer": writer, "written": time.time()}
        if len(data) <= _PART_BYTES:
            entry["data"] = data
        else:  # the parts are nothing until the entry names them
            for place in range(0, len(data), _PART_BYTES):
                self._put_part(writer, place, data[place : place + _PART_BYTES])

        def add() -> None:
            try:
                self._entries.insert_one(dict(entry))
            except DuplicateKeyError:
                # Either another's, or ours, whose acknowledgement was lost on the way.
                there = self._entries.find_one({"_id": number}, {"writer": 1})
                if there is None or there["writer"] != writer:
                    raise QueueError(
                        "Another process changed the queue in the same moment; nothing of this was done.",
                        "Give the command again.",
                    ) from None

        self.patiently(add)

    def _put_part(self, writer: str, place: int, piece: bytes) -> None:
        part = {"_id": f"{writer}:{place}", "writer": writer, "place": place, "data": piece}
        self.patiently(lambda: self._parts.replace_one({"_id": part["_id"]}, part, upsert=True))

    @contextmanager
    def lease(self, what: str) -> Iterator[None]:
        """Be the only one that does ``what``, wherever the others run."""
        me = uuid.uuid4().hex
        self._take(what, me)
        try:
            yield
        finally:
            with suppress(QueueError):  # the next one breaks it
                self.patiently(
                    lambda: self._leases.update_one({"_id": what, "owner": me}, {"$set": {"owner": None}})
                )

    def _take(self, what: str, me: str) -> None:
        pause_s, seen, since_s = _FIRST_PAUSE_S, None, time.monotonic()
        while True:
            held = self.patiently(lambda: self._try(what, me, None))
            if held is None:
                return
            if held != seen:
                seen, since_s = held, time.monotonic()
            elif time.monotonic() - since_s > LEASE_S:
                if self.patiently(lambda: self._try(what, me, seen)) is None:  # noqa: B023
                    return
                seen = None
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _try(self, what: str, me: str, broken: str | None) -> str | None:
        """Take the lease from nobody, or from one who lost it; return None, or who has it."""
        from pymongo.errors import DuplicateKeyError

        taken = self._leases.find_one_and_update({"_id": what, "owner": broken}, {"$set": {"owner": me}})
        if taken is not None:
            return None
        there = self._leases.find_one({"_id": what})
        if there is None:
            with suppress(DuplicateKeyError):
                self._leases.insert_one({"_id": what, "owner": me})
                return None
            return "somebody"
        # Ours, if the answer to an earlier try was lost.
        return None if there["owner"] == me else str(there["owner"])

    def patiently(self, ask: Callable[[], T]) -> T:
        """Ask the database, again and again while it does not answer, until patience ends.

        Raises
        ------
        QueueError
            If it does not answer, or refuses; the address is named without its password.
        """
        return patiently(ask, self.uri, self.patience_s)


def patiently(
    ask: Callable[[], T], uri: str, patience_s: float, *, error_type: type[EpilayerError] = QueueError
) -> T:
    """See `Journal.patiently`; ``error_type`` is what is raised."""
    from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

    until_s, pause_s = time.monotonic() + patience_s, 0.1
    while True:
        try:
            return ask()
        except AutoReconnect as error:  # also: no server could be selected
            if time.monotonic() > until_s:
                raise error_type(
                    f"The database {without_password(uri)} does not answer ({_reason(error, uri)}).",
                    "Check that it runs and can be reached from here (epilayer cluster doctor);"
                    " nothing is lost meanwhile.",
                ) from None
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)
        except OperationFailure as error:
            raise error_type(
                f"The database {without_password(uri)} refuses ({_reason(error, uri)}).",
                "Check user, password and their rights on this database.",
            ) from None
        except PyMongoError as error:
            raise error_type(
                f"The database {without_password(uri)} cannot be used ({_reason(error, uri)}).",
                "Check its address and version.",
            ) from None


def open_database(uri: str) -> Database[dict[str, Any]]:
    """Return the database that an address names.

    Raises
    ------
    InputError
        If the address cannot be used or names no database.
    """
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    shown = without_password(uri)
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(
            uri, serverSelectionTimeoutMS=3000, connectTimeoutMS=3000, retryWrites=False
        )
        return client.get_default_database()
    except (PyMongoError, ValueError) as error:
        raise InputError(
            f"{shown} is not the address of a database ({_reason(error, uri)}).",
            "Write mongodb://USER:PASSWORD@HOST/DATABASE; quote special characters (%40 for @).",
        ) from None


def _reason(error: Exception, uri: str) -> str:
    """Say what the driver says, in one short line without the address."""
    text = " ".join(str(error).replace(uri, without_password(uri)).split())
    return text.split(", Timeout:")[0].split(", full error")[0][:200]
