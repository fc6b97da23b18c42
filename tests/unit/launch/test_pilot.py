"""Pilots: locks are proven before a queue is shared, and a lie is refused."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

import pytest

from epilayer.launch import EmbeddedQueue, pilot
from epilayer.model.errors import QueueError

if TYPE_CHECKING:
    from pathlib import Path


def test_locks_of_a_real_file_system_are_proven(tmp_path: Path) -> None:
    pilot.prove_locks(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_whose_locks_lie_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "lockf", lambda *_: None)  # as NFS mounted with nolock answers
    with pytest.raises(QueueError, match="two processes held the same lock"):
        pilot.share(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_shared_queue_uses_the_rollback_journal(tmp_path: Path) -> None:
    def mode() -> str:
        queue = EmbeddedQueue(tmp_path / "queue.sqlite", runs=tmp_path)
        with queue.claims.file.reading() as db:
            found = str(db.execute("PRAGMA journal_mode").fetchone()[0])
        queue.close()
        return found

    assert mode() == "wal"
    pilot.share(tmp_path)
    assert mode() == "delete"
