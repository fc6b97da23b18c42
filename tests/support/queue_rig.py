# ruff: noqa: ANN401 - flows, outputs and options of a run are anything.
"""Queues with their stores, for the queue tests."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from jobflow import JobStore

from epilayer.launch import EmbeddedQueue, JobInfo, RunReport, run_workers
from epilayer.store.jobs import mongo_jobstore
from epilayer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path


class Rig:
    """A queue, its JobStore, and shortcuts."""

    def __init__(self, folder: Path, code_version: str = "1") -> None:
        self.folder = folder
        self.queue: EmbeddedQueue = EmbeddedQueue(folder / "queue.db", code_version=code_version)
        outputs = folder / "outputs.db"
        self.store = JobStore(SqliteStore(outputs, "outputs"), {"data": SqliteStore(outputs, "data")})
        self.store.connect()

    def run(self, **options: Any) -> RunReport:
        return run_workers(self.queue, self.store.as_dict(), **options)

    def submit_and_run(self, flow: Any, **options: Any) -> RunReport:
        self.queue.submit(flow)
        return self.run(**options)

    def output(self, job: JobInfo) -> Any:
        return self.store.get_output(job.uuid, load=True)

    def named(self, name: str) -> JobInfo:
        """Return the only job of that name (its last index)."""
        jobs = self.queue.jobs(name=name)
        assert len({job.uuid for job in jobs}) == 1, [job.name for job in self.queue.jobs()]
        return jobs[-1]

    def documents(self) -> list[dict[str, Any]]:
        """Return all documents without what may differ between runs: times, and ids of blobs."""
        fields = ("uuid", "index", "name", "output", "metadata", "hosts")
        rows = [{field: doc[field] for field in fields} for doc in self.store.query(load=True)]
        return sorted(rows, key=lambda row: (row["uuid"], row["index"]))

    def close(self) -> None:
        """Leave nothing behind that outlives the folder."""


class FireworksRig(Rig):
    """The same on a MongoDB, in a database of its own."""

    def __init__(self, folder: Path, code_version: str = "1") -> None:
        from epilayer.launch.fireworks import FireworksQueue

        self.folder = folder
        self.uri = f"{database_server()}epilayer_{uuid.uuid4().hex[:12]}"
        self.queue = FireworksQueue(self.uri, runs=folder / "runs", cache=folder, code_version=code_version)
        self.store = mongo_jobstore(self.uri)
        self.store.connect()

    def close(self) -> None:
        database = self.queue.board.journal.database
        database.client.drop_database(database.name)


def database_server() -> str:
    """Return the address of the test database server, or skip, saying so."""
    address = os.environ.get("EPILAYER_DEV_MONGO")
    if not address:
        pytest.skip("no test database: slurm/dev/start, then source its env.sh (make test-cluster does both)")
    return address
