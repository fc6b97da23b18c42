# ruff: noqa: ANN401 - flows, outputs and options of a run are anything.
"""A queue with its store in a folder, for the queue tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobflow import JobStore

from epilayer.launch import EmbeddedQueue, JobInfo, RunReport, run_workers
from epilayer.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path


class Rig:
    """A queue, its JobStore, and shortcuts."""

    def __init__(self, folder: Path, code_version: str = "1") -> None:
        self.folder = folder
        self.queue = EmbeddedQueue(folder / "queue.db", code_version=code_version)
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
