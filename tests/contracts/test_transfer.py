"""A study moves from the embedded queue to the cluster's and back: nothing is lost, nothing is run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jobflow import Flow

import toy_jobs as toy
from epilayer.launch import JobState
from epilayer.launch.transfer import transfer
from epilayer.model.errors import QueueError
from queue_rig import FireworksRig, Rig

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.cluster


def study(folder: Path) -> Flow:
    grown = toy.fan_out(2, 1.0)
    bad = toy.fail_unless(str(folder / "flag"), 1.0)
    large = toy.big(50)
    return Flow([grown, bad, large, toy.total([grown.output["total"], bad.output], label="end")], name="s")


def test_there_and_back_with_results_attempts_and_causes(tmp_path: Path) -> None:
    for name in ("laptop", "cluster", "home"):
        (tmp_path / name).mkdir()
    laptop, cluster, home = (
        Rig(tmp_path / "laptop"),
        FireworksRig(tmp_path / "cluster"),
        Rig(tmp_path / "home"),
    )
    try:
        laptop.submit_and_run(study(tmp_path))
        before = laptop.queue.jobs()
        report = transfer(laptop.queue, laptop.store, cluster.queue, cluster.store)
        assert (report.jobs, report.objects) == (len(before), 1)
        assert cluster.queue.jobs() == before
        assert cluster.documents() == laptop.documents()
        assert cluster.queue.submit(study(tmp_path)).new == ()
        (tmp_path / "flag").touch()
        cluster.queue.rerun(state=JobState.FAILED)
        assert cluster.run().completed == 2
        transfer(cluster.queue, cluster.store, home.queue, home.store)
        assert home.queue.jobs() == cluster.queue.jobs()
        assert home.documents() == cluster.documents()
        assert home.run().completed == 0
        with pytest.raises(QueueError, match="holds jobs already"):
            transfer(laptop.queue, laptop.store, home.queue, home.store)
    finally:
        cluster.close()
