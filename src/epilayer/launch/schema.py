"""The SQLite file of the embedded queue: its tables, and how its errors are named.

Commits wait for the disk (``synchronous=FULL``): a result that took hours must not be forgotten in a power
cut, and one flush a job is small beside any real job.

What is append-only: attempts (a row is closed once and never touched again), reruns with what they touched,
edges, and membership. ``jobs.blockers`` counts the parents that still hold a job back, so that completing a
job costs as much as it has children, however many parents those have. ``jobs.dead`` marks a job that those
who build on it cannot have as things are: it failed, was cancelled or stopped, or waits on one that is.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from epilayer.model.errors import QueueError, StoreError
from epilayer.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPLICATION_ID = 0x45504C51  # "EPLQ"

_VERSION_1 = """
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid TEXT NOT NULL,
  idx INTEGER NOT NULL,
  key TEXT NOT NULL,
  name TEXT NOT NULL,
  function TEXT NOT NULL,
  state TEXT NOT NULL,
  priority INTEGER NOT NULL,
  soft INTEGER NOT NULL,
  blockers INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  cancel INTEGER NOT NULL DEFAULT 0,
  crashes INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  stops INTEGER NOT NULL DEFAULT 0,
  stopped_by INTEGER,
  cause TEXT,
  salt TEXT NOT NULL,
  code_version TEXT NOT NULL,
  metadata TEXT NOT NULL,
  stored_data TEXT,
  created REAL NOT NULL,
  started REAL,
  ended REAL,
  UNIQUE (uuid, idx)
);
CREATE INDEX jobs_ready ON jobs (priority DESC, id) WHERE state = 'READY';
CREATE INDEX jobs_state ON jobs (state);
CREATE INDEX jobs_stops ON jobs (id) WHERE stops = 2;
CREATE TABLE specs (job INTEGER PRIMARY KEY, spec TEXT NOT NULL);
CREATE TABLE edges (
  parent INTEGER NOT NULL, child INTEGER NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (parent, child)
) WITHOUT ROWID;
CREATE INDEX edges_child ON edges (child, parent);
CREATE TABLE gates (
  job INTEGER NOT NULL, gate INTEGER NOT NULL, PRIMARY KEY (job, gate)
) WITHOUT ROWID;
CREATE TABLE flows (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  created REAL NOT NULL,
  priority INTEGER NOT NULL,
  paused INTEGER NOT NULL DEFAULT 0,
  cancelled INTEGER NOT NULL DEFAULT 0,
  metadata TEXT NOT NULL
);
CREATE TABLE members (
  flow INTEGER NOT NULL, job INTEGER NOT NULL, PRIMARY KEY (flow, job)
) WITHOUT ROWID;
CREATE INDEX members_job ON members (job, flow);
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job INTEGER NOT NULL,
  number INTEGER NOT NULL,
  worker TEXT NOT NULL,
  outcome TEXT NOT NULL,
  cause TEXT,
  started REAL NOT NULL,
  ended REAL,
  directory TEXT NOT NULL,
  code_version TEXT NOT NULL,
  UNIQUE (job, number)
);
CREATE INDEX attempts_open ON attempts (worker) WHERE outcome = 'RUNNING';
CREATE TABLE workers (
  token TEXT PRIMARY KEY,
  host TEXT NOT NULL,
  machine TEXT NOT NULL,
  pid INTEGER NOT NULL,
  pid_start INTEGER NOT NULL,
  supervisor_pid INTEGER NOT NULL,
  supervisor_start INTEGER NOT NULL,
  started REAL NOT NULL,
  heartbeat REAL NOT NULL,
  ended REAL
);
CREATE TABLE reruns (
  id INTEGER PRIMARY KEY AUTOINCREMENT, created REAL NOT NULL, undone REAL, forced INTEGER NOT NULL
);
CREATE TABLE rerun_items (
  rerun INTEGER NOT NULL, job INTEGER NOT NULL, chosen INTEGER NOT NULL, before TEXT NOT NULL,
  PRIMARY KEY (rerun, job)
) WITHOUT ROWID
"""

_VERSION_2 = """
CREATE TABLE verdicts (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  class TEXT NOT NULL,
  why TEXT NOT NULL,
  action TEXT NOT NULL,
  rerun INTEGER,
  created REAL NOT NULL
);
CREATE INDEX verdicts_job ON verdicts (job);
CREATE TABLE wishes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job INTEGER NOT NULL,
  rerun INTEGER NOT NULL,
  resources TEXT NOT NULL
);
CREATE INDEX wishes_job ON wishes (job)
"""

_VERSION_3 = """
ALTER TABLE jobs ADD COLUMN failure TEXT;
ALTER TABLE attempts ADD COLUMN failure TEXT
"""


class QueueFile(Database):
    """The queue's SQLite file; errors name it and say what to do.

    Parameters
    ----------
    path
        The file; created when missing.
    options
        As of `epilayer.store.database.Database`.
    """

    def __init__(self, path: str | Path, **options: Any) -> None:  # noqa: ANN401  (they differ in type)
        super().__init__(
            path,
            kind="job queue",
            application_id=APPLICATION_ID,
            migrations=(_VERSION_1, _VERSION_2, _VERSION_3),
            **options,
        )

    def _open(self) -> sqlite3.Connection:
        connection = super()._open()
        connection.row_factory = sqlite3.Row
        return connection

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Turn what SQLite and the operating system report into queue errors with a remedy."""
        try:
            with super().named_errors():
                yield
        except StoreError as error:
            if type(error) is not StoreError:  # a newer schema is an error of its own
                raise
            raise QueueError(error.what, error.remedy) from error.__cause__
