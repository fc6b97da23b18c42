"""The shared queue's journal: whoever is killed, or comes late, changes happen once or not at all."""

from __future__ import annotations

import multiprocessing
import os
import signal
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import toy_jobs as toy
from epilayer.launch import JobState
from epilayer.launch.fireworks import FireworksQueue
from epilayer.launch.replica import ReplicatedFile
from epilayer.model.errors import InputError, QueueError
from epilayer.store import journal as journal_module
from epilayer.store.journal import Journal, open_database
from queue_rig import FireworksRig, database_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[FireworksRig]:
    made = FireworksRig(tmp_path)
    yield made
    made.close()


@pytest.mark.cluster
def test_two_machines_see_the_same_queue(rig: FireworksRig, tmp_path: Path) -> None:
    other = FireworksQueue(rig.uri, runs=tmp_path / "runs", cache=tmp_path / "other", code_version="1")
    rig.queue.submit(toy.add(1, 2))
    assert other.jobs() == rig.queue.jobs()
    other.pause(1)
    assert rig.queue.job(1).state is JobState.PAUSED


@pytest.mark.cluster
def test_a_copy_that_is_thrown_away_is_made_again_from_the_journal(rig: FireworksRig) -> None:
    rig.submit_and_run(toy.fan_out(2, 1.0))
    before = rig.queue.jobs()
    rig.queue.close()
    for file in rig.folder.glob("queue-*.sqlite*"):
        file.unlink()
    again = FireworksQueue(rig.uri, runs=rig.folder / "runs", cache=rig.folder, code_version="1")
    assert again.jobs() == before


@pytest.mark.cluster
def test_killed_after_the_entry_and_before_the_local_commit_it_has_happened(rig: FireworksRig) -> None:
    file = ReplicatedFile(rig.uri, "epilayer", folder=rig.folder)

    def die(number: int, value: Any) -> None:  # noqa: ANN401
        Journal.append(file.journal, number, value)
        raise KeyboardInterrupt

    rig.queue.submit(toy.add(1, 2))

    def raise_priority() -> None:
        with file.writing() as db:
            db.execute("UPDATE jobs SET priority = 7")

    file.journal.append = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        raise_priority()
    assert rig.queue.job(1).priority == 7


@pytest.mark.cluster
def test_an_error_inside_changes_nothing_anywhere(rig: FireworksRig) -> None:
    rig.queue.submit(toy.add(1, 2))

    def give_up() -> None:
        with rig.queue.claims.file.writing() as db:
            db.execute("UPDATE jobs SET priority = 7")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        give_up()
    assert rig.queue.job(1).priority == 0


@pytest.mark.cluster
def test_a_number_that_is_taken_is_refused(rig: FireworksRig) -> None:
    journal = Journal(rig.uri, "other")
    journal.append(1, ["a"])
    with pytest.raises(QueueError, match="in the same moment"):
        journal.append(1, ["b"])
    assert journal.after(0) == [(1, ["a"])]


@pytest.mark.cluster
def test_an_entry_larger_than_a_document_is_kept_in_parts(
    rig: FireworksRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_PART_BYTES", 1000)
    value = [uuid.UUID(int=i).hex[::-1] + os.urandom(8).hex() for i in range(400)]
    Journal(rig.uri, "large").append(1, value)
    assert Journal(rig.uri, "large").after(0) == [(1, value)]


@pytest.mark.cluster
def test_the_lease_of_one_who_was_killed_is_broken(
    rig: FireworksRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "LEASE_S", 0.3)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(rig.uri, ready))
    holder.start()
    assert ready.wait(30)
    os.kill(int(holder.pid or 0), signal.SIGKILL)
    holder.join()
    with Journal(rig.uri, "leased").lease("queue"):
        pass


def _hold(uri: str, ready: Any) -> None:  # noqa: ANN401
    with Journal(uri, "leased").lease("queue"):
        ready.set()
        signal.pause()


@pytest.mark.cluster
def test_many_writers_lose_nothing(rig: FireworksRig) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(rig.uri, i)) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    numbers = [number for number, _ in Journal(rig.uri, "busy").after(0)]
    assert numbers == list(range(1, 101))


def _write(uri: str, who: int) -> None:
    journal = Journal(uri, "busy")
    for i in range(25):
        with journal.lease("queue"):
            journal.append(len(journal.after(0)) + 1, [who, i])


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    journal = Journal("mongodb://me:secret@127.0.0.1:9/db?serverSelectionTimeoutMS=50", "x", patience_s=0.0)
    with pytest.raises(QueueError, match=r"mongodb://me:\*\*\*@127.0.0.1:9/db") as caught:
        journal.identity()
    assert "secret" not in str(caught.value)
    assert "does not answer" in caught.value.what


@pytest.mark.parametrize("uri", ["mongodb://me:s@cret@host/db", "mongodb://host", "http://host/db"])
def test_an_address_that_cannot_be_used_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="is not the address of a database"):
        open_database(uri)


@pytest.mark.cluster
def test_the_server_is_the_test_server() -> None:
    assert database_server().startswith("mongodb://127.0.0.1:")
