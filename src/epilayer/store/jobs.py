"""Where jobflow keeps the outputs of jobs: one SQLite file, or a MongoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from epilayer.model.errors import InputError
from epilayer.store.addresses import without_password

if TYPE_CHECKING:
    from pathlib import Path

    from jobflow import JobStore

DATA = "data"  # the additional store that atomate2's makers send trajectories and other large objects to


def embedded_jobstore(path: str | Path, *, durable: bool = True) -> JobStore:
    """Return a JobStore on one SQLite file, for many processes of one machine; not yet connected.

    Parameters
    ----------
    path
        The file; created on connecting. It holds the documents and, apart from them, large objects.
    durable
        Whether a commit waits for the disk (see :class:`epilayer.store.sqlite.SqliteStore`).
    """
    from jobflow import JobStore

    from epilayer.store.sqlite import SqliteStore

    return JobStore(
        SqliteStore(path, "outputs", durable=durable),
        additional_stores={
            DATA: SqliteStore(path, DATA, key="blob_uuid", indexes=["job_uuid"], durable=durable)
        },
    )


def mongo_jobstore(uri: str, *, outputs: str = "outputs", blobs: str = "blobs") -> JobStore:
    """Return a JobStore on a MongoDB (large objects in GridFS); not yet connected.

    Parameters
    ----------
    uri
        ``mongodb://`` or ``mongodb+srv://`` address, with the name of the database. It may hold a password,
        which no ``repr``, ``name`` or error shows; ``as_dict()`` does hold it, since workers need it.
    outputs, blobs
        The collections.

    Raises
    ------
    InputError
        When the address cannot be used.
    """
    from jobflow import JobStore
    from pymongo.errors import PyMongoError

    from epilayer.store.mongo import QuietGridFSStore, QuietMongoStore

    shown = without_password(uri)
    if urlsplit(uri).scheme not in {"mongodb", "mongodb+srv"}:
        raise InputError(
            f"{shown} is not the address of a MongoDB.", "It begins with mongodb:// or mongodb+srv://."
        )
    try:
        # With database=None both read its name from the address, and as_dict() keeps the address;
        # the older MongoURIStore loses it on the way to a worker.
        docs = QuietMongoStore(None, outputs, uri=uri)
        data = QuietGridFSStore(None, blobs, uri=uri)
    except (PyMongoError, ValueError) as error:
        # The cause is cut off: its text and traceback may quote the address with the password.
        reason = str(error).replace(uri, shown)
        raise InputError(
            f"{shown} cannot be used ({reason}).",
            "Write mongodb://USER:PASSWORD@HOST/DATABASE; quote special characters (%40 for @).",
        ) from None
    return JobStore(docs, additional_stores={DATA: data})
