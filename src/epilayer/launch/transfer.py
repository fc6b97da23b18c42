"""Move a queue with everything it knows from one home to another: laptop to cluster, and back.

The tables are the same in both homes, so that they are copied as they are: numbers, attempts, causes, reruns
and their undoing. Nothing is computed again, since identity is content. The old home is left untouched.
"""

# ruff: noqa: S608 - only names of tables and columns are written into SQL.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epilayer.launch.base import JobState
from epilayer.model.errors import QueueError

if TYPE_CHECKING:
    from jobflow import JobStore

    from epilayer.launch.embedded import EmbeddedQueue

_TABLES = (
    *("flows", "jobs", "specs", "edges", "gates", "members", "workers", "attempts"),
    *("reruns", "rerun_items", "verdicts", "wishes"),
)
_BATCH = 200


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What was moved."""

    jobs: int
    documents: int
    objects: int
    """Large objects beside the documents."""


def transfer(
    source: EmbeddedQueue, source_store: JobStore, target: EmbeddedQueue, target_store: JobStore
) -> TransferReport:
    """Copy a queue and its outputs into an empty home.

    Parameters
    ----------
    source, target
        The queues.
    source_store, target_store
        Their JobStores, connected.

    Raises
    ------
    QueueError
        If a job runs, or the target holds jobs already; nothing was changed then.
    """
    counts = source.counts()
    if counts[JobState.RUNNING]:
        raise QueueError(
            f"{counts[JobState.RUNNING]} jobs are running, and would end in the old home.",
            "Wait for them, or pause the flows and let what runs end; then transfer.",
        )
    if sum(target.counts().values()):
        raise QueueError(
            "The queue to move to holds jobs already.", "Use an empty database (or move its file aside)."
        )
    documents = _copy(source_store.docs_store, target_store.docs_store, ["uuid", "index"])
    objects = sum(
        _copy(store, target_store.additional_stores[name], "blob_uuid")
        for name, store in source_store.additional_stores.items()
    )
    # The tables last: a transfer that was cut off has no queue yet, and is made again.
    with source.claims.file.reading() as old:
        rows = {
            table: [dict(row) for row in old.execute(f"SELECT * FROM {table}").fetchall()]
            for table in _TABLES
        }
    with target.claims.file.writing() as new:
        for table, content in rows.items():
            if content:
                names = list(content[0])
                marks = ", ".join("?" * len(names))
                new.executemany(
                    f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",
                    [tuple(row[name] for name in names) for row in content],
                )
    return TransferReport(len(rows["jobs"]), documents, objects)


def _copy(source: object, target: object, key: str | list[str]) -> int:
    """Copy the documents of a store, some at a time."""
    batch: list[dict[str, object]] = []
    count = 0
    for document in source.query({}):  # type: ignore[attr-defined]  # maggma has no type information
        document.pop("_id", None)
        batch.append(document)
        if len(batch) == _BATCH:
            target.update(batch, key=key)  # type: ignore[attr-defined]
            count, batch = count + len(batch), []
    if batch:
        target.update(batch, key=key)  # type: ignore[attr-defined]
    return count + len(batch)
