"""What belongs to a chain, how its links are submitted, and what a link finds to do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from fireworks import FWorker
from jobflow import Flow

import toy_jobs as toy
from epilayer.launch import chains
from epilayer.launch.base import JobState
from epilayer.launch.chains import Chains
from epilayer.launch.cluster import ClusterLauncher
from epilayer.launch.scheduler import Accounted, Queued, SchedulerState, Span
from epilayer.launch.slurm import Slurm
from epilayer.model.cluster import Chain, Cluster
from epilayer.model.errors import QueueError
from epilayer.study.config import Catalogue, shipped
from queue_rig import FireworksRig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.cluster


class Scheduler(Slurm):
    """Takes what is submitted, and runs none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Queued] = {}

    def submit(self, script: Path) -> str:
        number = str(100 + len(self.jobs))
        name = next(line for line in script.read_text().splitlines() if "--job-name=" in line)
        self.jobs[number] = Queued(number, name.partition("=")[2], SchedulerState.PENDING, "Dependency")
        subprocess.run(["bash", "-n", str(script)], check=True)
        return number

    def cancel(self, job_id: str) -> bool:
        return self.jobs.pop(job_id, None) is not None

    def queued(self) -> dict[str, Queued]:
        return dict(self.jobs)

    def accounted(self, *_: object, **__: object) -> dict[str, Accounted]:
        return {}

    def known(self, *_: object) -> dict[str, Accounted]:
        return {}


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FireworksRig]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    made = FireworksRig(tmp_path)
    yield made
    made.close()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("EPILAYER_DATABASE", "mongodb://host/db")
    profile = Catalogue((shipped("configs"),)).cluster("slurm")
    return profile.model_copy(update={"chains": (Chain(jobs="long *", links=3),)})


@pytest.fixture
def launcher(rig: FireworksRig, cluster: Cluster) -> ClusterLauncher:
    return ClusterLauncher(
        rig.queue,
        cluster,
        Scheduler(),
        template=(shipped("slurm") / "job.sh.j2").read_text(encoding="utf-8"),
        preamble="# none\n",
        command="epilayer cluster rocket",
        output_of=lambda _: None,
    )


def submit(rig: FireworksRig) -> None:
    """One job that makes others and is a chain's beginning, and one that is none."""
    long, short = toy.fan_out(2, 1.0), toy.add(1.0, 2.0)
    long.name, short.name = "long one", "short"
    rig.queue.submit(Flow([long, short]))


def test_links_stand_in_for_the_jobs_of_a_chain(rig: FireworksRig, launcher: ClusterLauncher) -> None:
    submit(rig)
    planned = launcher.plan()
    assert [(one.name, "singleton" in one.script) for one in planned] == [
        ("long one", True),
        ("short", False),
    ]
    done = launcher.launch()
    assert [one.name for one in done] == ["long one"] * 3 + ["short"]
    scheduler: Any = launcher.slurm
    names = {scheduler.jobs[one.scheduler_id].name for one in done[:3]}
    assert len(names) == 1
    (name,) = names
    assert launcher.chains.number_in(name) == done[0].job
    assert "--dependency=singleton\n" in done[0].script
    assert f"epilayer cluster rocket --chain {done[0].job} &" in done[0].script
    assert launcher.launch() == []
    scheduler.cancel(done[0].scheduler_id)
    assert [one.name for one in launcher.launch()] == ["long one"]


def test_a_chain_is_what_its_first_job_makes(rig: FireworksRig, launcher: ClusterLauncher) -> None:
    submit(rig)
    rig.run(workers=1)
    begin = rig.queue.jobs(name="long one")[0].number
    found = launcher.chains
    others = [job.number for job in rig.queue.jobs() if job.number not in found.of([job.number])]
    assert [rig.queue.job(number).name for number in others] == ["short"]
    assert found.all() == [begin]
    assert set(found.of(job.number for job in rig.queue.jobs()).values()) == {begin}
    assert found.states(begin).keys() == {JobState.COMPLETED}


def test_spare_links_of_a_finished_chain_are_cancelled(rig: FireworksRig, launcher: ClusterLauncher) -> None:
    submit(rig)
    launcher.launch(limit=3)
    rig.run(workers=1)
    assert launcher.chains.alive() == set()
    report = launcher.sync()
    assert len(report.cancelled) == 3
    assert launcher.launch() == []


def test_a_link_of_a_finished_chain_has_nothing_to_do_and_asks_nobody(
    rig: FireworksRig, launcher: ClusterLauncher
) -> None:
    submit(rig)
    rig.run(workers=1)
    chain = rig.queue.jobs(name="long one")[0].number
    assert list(launcher.chains.work(chain, lambda: pytest.fail("it asked the scheduler"))) == []


def test_a_link_waits_for_nothing_where_a_job_failed_for_good(
    rig: FireworksRig, launcher: ClusterLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = toy.fail_unless(str(tmp_path / "absent"), 1.0)
    failing.name = "long and failing"
    (number,) = rig.queue.submit(failing).new
    rig.run(workers=1)
    answers = iter([False, True])  # the scheduler is away at first: nothing is concluded from that
    monkeypatch.setattr(chains.time, "sleep", lambda _: None)
    assert list(launcher.chains.work(number, lambda: next(answers))) == []
    assert next(answers, None) is None


def test_a_link_takes_over_what_was_rerun(
    rig: FireworksRig, launcher: ClusterLauncher, tmp_path: Path
) -> None:
    """The link before it was killed: what the queue is told of that makes the job ready again."""
    failing = toy.fail_unless(str(tmp_path / "absent"), 1.0)
    failing.name = "long and failing"
    (number,) = rig.queue.submit(failing).new
    rig.run(workers=1)
    work = launcher.chains.work(number, lambda: bool(rig.queue.rerun([number]).jobs))
    fw_id = next(work)
    (row,) = rig.queue.board.find({"fw_id": fw_id})
    assert (row.job, row.state) == (number, "READY")


def test_links_are_told_in_the_order_in_which_they_ran(rig: FireworksRig, launcher: ClusterLauncher) -> None:
    submit(rig)
    state = SchedulerState.COMPLETED
    spans = [
        Span("9", SchedulerState.PENDING, None, None),
        Span("8", state, 70.0, 90.0),
        Span("7", state, 10.0, 68.0),
    ]
    rows = launcher.chains.links(rig.queue.jobs(name="long one")[0].number, spans)
    assert [(row.scheduler_id, row.gap_s) for row in rows] == [("7", None), ("8", 2.0), ("9", None)]


def test_names_of_other_queues_and_jobs_are_no_links(rig: FireworksRig, launcher: ClusterLauncher) -> None:
    submit(rig)
    name = launcher.chains.name(1)
    assert launcher.chains.number_in(name) == 1
    for other in ("x", name.replace("chain", "12"), f"long.000000.chain.{1}", name + "x"):
        assert launcher.chains.number_in(other) is None
    with pytest.raises(QueueError, match="no job #77"):
        launcher.chains.name(77)
    assert Chains(rig.queue, launcher.cluster.model_copy(update={"chains": ()})).of([1]) == {}


def test_what_a_killed_rocket_locked_is_broken_open(rig: FireworksRig, launcher: ClusterLauncher) -> None:
    """FireWorks locks a Workflow while it changes it, and waits five minutes for a lock that nobody holds."""
    submit(rig)
    board = rig.queue.board
    board.project()
    (row,) = (one for one in board.find({}) if one.name == "short")
    board.launchpad.checkout_fw(FWorker(), str(rig.folder), fw_id=row.fw_id)
    board.launchpad.workflows.update_one({"nodes": row.fw_id}, {"$set": {"locked": True}})
    board.project(lost=[row.job])
    assert [one.state for one in board.find({"fw_id": row.fw_id})] == ["READY"]
    assert launcher.plan()


def test_a_failure_is_mended_before_those_who_can_do_without_it_run(
    rig: FireworksRig, launcher: ClusterLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(rig)
    number = rig.queue.jobs(name="long one")[0].number
    now = {JobState.FAILED: [99], JobState.READY: [number]}
    monkeypatch.setattr(launcher.chains, "states", lambda _: now)
    monkeypatch.setattr(chains.time, "sleep", lambda _: None)
    asked: list[int] = []
    work = launcher.chains.work(number, lambda: asked.append(number) is None)
    next(work)
    assert asked == [number]
    next(work)
    assert asked == [number, number]
