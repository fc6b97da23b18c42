"""The Fireworks follow the queue, whoever ran its jobs, and FireWorks' own eyes see the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jobflow import Flow

import toy_jobs as toy
from epilayer.launch.fireworks import FireworksQueue
from queue_rig import FireworksRig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.cluster


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FireworksRig]:
    monkeypatch.setenv("EPILAYER_TOY_LOG", str(tmp_path / "log"))
    made = FireworksRig(tmp_path)
    yield made
    made.close()


def board_states(rig: FireworksRig) -> dict[str, str]:
    """Return the state of every Firework by name, as the LaunchPad tells it, seen in both its collections."""
    assert isinstance(rig.queue, FireworksQueue)
    rig.queue.board.project()
    pad = rig.queue.board.launchpad
    found = {}
    for fw_id in pad.get_fw_ids():
        firework = pad.get_fw_by_id(fw_id)
        assert pad.get_wf_by_fw_id(fw_id).state == firework.state
        found[firework.name] = firework.state
    return found


def test_a_firework_is_made_for_each_job_that_is_ready(rig: FireworksRig) -> None:
    first = toy.add(1, 2)
    second = toy.add(first.output, 3)
    other = toy.add(5, 6)
    first.name, second.name, other.name = "first", "second", "other"
    rig.queue.submit(Flow([first, second, other]))
    assert board_states(rig) == {"first": "READY", "other": "READY"}
    rig.queue.pause(rig.named("other").number)
    assert board_states(rig) == {"first": "READY", "other": "PAUSED"}


def test_what_workers_here_did_needs_no_launch_and_can_be_launched_again(
    rig: FireworksRig,
) -> None:
    made = toy.add(1, 2)
    made.name = "sum"
    rig.queue.submit(made)
    assert board_states(rig) == {"sum": "READY"}
    assert rig.run().completed == 1
    assert board_states(rig) == {"sum": "COMPLETED"}
    rig.queue.rerun([rig.named("sum").number], force=True)
    assert board_states(rig) == {"sum": "READY"}
