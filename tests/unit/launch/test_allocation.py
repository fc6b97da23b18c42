"""What is left of an allocation decides what is started in it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from jobflow import Flow

import toy_jobs as toy
from epilayer.launch import JobState
from epilayer.launch.allocation import Allocation
from epilayer.model.base import parse
from epilayer.model.cluster import Cluster
from queue_rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

CLUSTER = parse(
    Cluster,
    {
        "name": "here",
        "title": "a test",
        "source": "a test",
        "preamble": "generic/preamble.sh",
        "resources": {"walltime": "00:10:00"},
        "pack": ["report*"],
        "rules": [
            {"jobs": "slab*", "resources": {"walltime": "02:00:00"}},
            {"jobs": "dynamics*", "resources": {"walltime": "48:00:00"}},
        ],
    },
    "test",
)
HOUR_S = 3600.0


def allocation(left_s: float, whole_s: float = 4 * HOUR_S) -> Allocation:
    return Allocation("77", time.time() + left_s, whole_s, CLUSTER)


@pytest.mark.parametrize(
    ("name", "left_s", "starts"),
    [
        ("molecule", 700.0, True),
        ("molecule", 500.0, False),
        ("slab (001)", 2.1 * HOUR_S, True),
        ("slab (001)", 1.9 * HOUR_S, False),
        ("report all", 1.0, True),  # packed: it takes seconds
        ("dynamics", 3.9 * HOUR_S, True),  # longer than any pilot: begun where a whole one is left
        ("dynamics", 3.0 * HOUR_S, False),
    ],
)
def test_a_job_is_started_where_the_time_it_asks_for_is_left(
    name: str, left_s: float, *, starts: bool
) -> None:
    fits = allocation(left_s).guard(lambda _: None)
    spec = '{"function": {}, "function_args": [], "function_kwargs": {}}'
    assert fits(1, name, lambda: spec) is starts


def test_workers_are_told_the_same_as_their_supervisor_knows() -> None:
    here = allocation(HOUR_S)
    assert Allocation.of(here.told()) == here


def test_a_pilot_ends_when_what_is_left_does_not_fit_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPILAYER_TOY_LOG", str(tmp_path / "log"))
    rig = Rig(tmp_path)
    short, slab = toy.add(1, 2), toy.add(3, 4)
    short.name, slab.name = "short", "slab"
    rig.queue.submit(Flow([slab, short]), priority=1)
    report = rig.run(workers=2, allocation=allocation(HOUR_S))
    assert (report.completed, rig.named("slab").state) == (1, JobState.READY)
    assert report.blocked[0].startswith("1 job asks for more than the 00:59:")
    assert rig.run(allocation=allocation(3 * HOUR_S)).completed == 1
