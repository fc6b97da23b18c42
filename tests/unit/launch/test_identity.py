"""Content identity: what counts, what does not, and that nothing random leaks in."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jobflow import Flow, JobConfig, OnMissing, OutputReference
from jobflow.core.flow import JobOrder

import toy_jobs as toy
from epilayer.launch.identity import HARD, PASSIVE, SOFT, NormalFlow, normalise, rewrite, rewrite_value
from epilayer.model.errors import InputError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def normal(flow: Any, **options: Any) -> NormalFlow:  # noqa: ANN401  (a flow, job or list)
    return normalise(flow, code_version=options.pop("code_version", "1"), **options)


def key(job: Any, **options: Any) -> str:  # noqa: ANN401
    return normal(job, **options).jobs[0].key


def shuffled(value: Any) -> Any:  # noqa: ANN401
    """Return the same content with every dictionary turned round."""
    if isinstance(value, dict):
        return {k: shuffled(value[k]) for k in reversed(list(value))}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=60, deadline=None)
@given(json_values)
def test_equal_arguments_have_equal_keys_whatever_the_order_of_dictionaries(value: object) -> None:
    assert key(toy.length(value)) == key(toy.length(shuffled(value)))


@settings(max_examples=60, deadline=None)
@given(json_values, json_values)
def test_different_arguments_have_different_keys(one: object, other: object) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (key(toy.length(one)) == key(toy.length(other))) == same


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_jobs_in_a_flow_changes_nothing(steps: list[int], shuffle: Any) -> None:  # noqa: ANN401
    def study() -> list[Any]:
        jobs = [toy.add(0, 0)]
        for step in steps:
            jobs.append(toy.add(jobs[-1].output, step))
        return jobs

    jobs = study()
    shuffle.shuffle(jobs)
    one, other = normal(Flow(study())), normal(Flow(jobs))
    assert one.uuid == other.uuid
    assert sorted(job.uuid for job in one.jobs) == sorted(job.uuid for job in other.jobs)
    done: set[str] = set()
    for job in other.jobs:  # parents first
        assert set(job.parents) <= done
        done.add(job.uuid)


def test_two_builds_of_a_study_are_the_same_to_the_letter() -> None:
    def study() -> Flow:
        start = toy.add(1, 2)
        inner = Flow([start, toy.total([start.output], label=start.uuid)], name="inner")
        return Flow([inner, toy.total([start.output], label=inner.uuid)], name="outer")

    one, other = normal(study()), normal(study())
    assert [job.spec for job in one.jobs] == [job.spec for job in other.jobs]


def test_what_counts() -> None:
    base = key(toy.add(1, 2))
    assert key(toy.add(1, 3)) != base
    assert key(toy.total([1, 2])) != base
    assert key(toy.add(1, 2), code_version="2") != base
    assert key(toy.add(1, 2), salt="x") != base
    lenient = toy.add(1, 2)
    lenient.config = JobConfig(on_missing_references=OnMissing.NONE)
    assert key(lenient) != base


def test_what_does_not_count() -> None:
    base = key(toy.add(1, 2))
    job = toy.add(1, 2)
    job.name, job.metadata = "other", {"a": 1}
    job.config = JobConfig(manager_config={"queue": "long"}, pass_manager_config=False)
    assert key(job) == base
    assert key(Flow([toy.add(1, 2)], name="f")) == base


def test_attributes_of_a_reference_count() -> None:
    start = toy.fan_out(2, 1.0)
    flow = normal([start, toy.add(start.output["total"], 1), toy.add(start.output["first"], 1)])
    assert len({job.key for job in flow.jobs}) == 3


def test_a_change_upstream_changes_everything_downstream() -> None:
    def keys(first: int) -> dict[str, str]:
        jobs = [toy.add(first, 0), toy.keep(1.0)]
        jobs.append(toy.total([jobs[0].output]))
        return {job.name: job.key for job in normal(jobs).jobs}

    one, other = keys(1), keys(2)
    assert {name for name in one if one[name] != other[name]} == {"add", "total"}


def test_equal_jobs_of_one_flow_are_one() -> None:
    twins = [toy.add(1, 2), toy.add(1, 2)]
    flow = normal([*twins, toy.total([twin.output for twin in twins])])
    assert [job.name for job in flow.jobs] == ["add", "total"]
    assert flow.uuids[twins[0].uuid] == flow.uuids[twins[1].uuid] == flow.jobs[1].parents[0]


def test_an_order_that_was_asked_for_is_part_of_a_job() -> None:
    linear = normal(Flow([toy.add(1, 2), toy.add(3, 4)], order=JobOrder.LINEAR))
    assert linear.jobs[1].parents == (linear.jobs[0].uuid,)
    assert linear.jobs[1].key != key(toy.add(3, 4))
    nested = normal(
        Flow([Flow([toy.add(1, 2), toy.add(3, 4)]), toy.add(5, 6)], name="x", order=JobOrder.LINEAR)
    )
    assert set(nested.jobs[2].parents) == {nested.jobs[0].uuid, nested.jobs[1].uuid}
    assert nested.leaves == [(nested.jobs[2].uuid, 1)]


def test_a_circle_is_refused() -> None:
    one, two = toy.add(1, 2), toy.add(3, 4)
    one.function_args, two.function_args = (two.output, 1), (one.output, 1)
    with pytest.raises(InputError, match="in a circle"):
        normal([one, two])


def test_a_job_of_another_flow_is_refused() -> None:
    job = toy.add(1, 2)
    Flow([job], name="first")
    with pytest.raises(InputError, match=r"already belongs to another flow.*Submit that flow"):
        normal(job)


def test_an_empty_flow_and_functions_that_cannot_be_imported_are_refused() -> None:
    from jobflow import job

    with pytest.raises(InputError, match="holds no job"):
        normal(Flow([], name="nothing"))

    @job
    def local() -> None: ...

    with pytest.raises(InputError, match=r"cannot import.*|top level"):
        normal(local())


def test_uuids_chosen_by_hand_work() -> None:
    job = toy.add(1, 2)
    job.set_uuid("mine")
    flow = normal([job, toy.add(OutputReference("mine"), 1)])
    assert flow.jobs[1].parents == (flow.jobs[0].uuid,)
    assert "mine" not in flow.jobs[1].spec


def test_arrays_and_dates_are_carried_and_count() -> None:
    one = normal(toy.length(np.arange(3)))
    assert key(toy.length(np.arange(4))) != one.jobs[0].key
    when = datetime(2025, 1, 1, tzinfo=UTC)
    assert "2025-01-01" in normal(toy.length(when)).jobs[0].spec


def test_how_jobs_take_missing_references() -> None:
    from jobflow.core.job import store_inputs

    first = toy.add(1, 2)
    flow = normal([first, toy.gather([first.output]), store_inputs(first.output)])
    assert [job.soft for job in flow.jobs] == [HARD, SOFT, PASSIVE]


def test_the_replaced_job_keeps_its_uuid_and_the_flows_leaves_are_found() -> None:
    start = toy.add(1, 2)
    end = toy.add(start.output, 3)
    end.set_uuid("6c4a1f3e-0000-4000-8000-000000000001")
    end.index = 2
    flow = normal(Flow([start, end]), keep={end.uuid: end.uuid}, origin="maker")
    assert [(job.uuid, job.index) for job in flow.jobs][1] == (end.uuid, 2)
    assert flow.leaves == [(end.uuid, 2)]


def test_uuids_are_rewritten_everywhere() -> None:
    old, new = "6c4a1f3e-0000-4000-8000-00000000000a", "6c4a1f3e-0000-4000-8000-00000000000b"
    assert rewrite(f'{{"{old}": ["see {old}!"]}}', {old: new}) == f'{{"{new}": ["see {new}!"]}}'
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    value = {"a": [old, moment, 1], "ref": {"@class": "OutputReference", "uuid": "hand-made"}}
    stand_in = next(iter(normal([_named("hand-made")]).uuids))
    written = rewrite_value(value, {old: new, stand_in: "found"})
    assert written == {"a": [new, moment, 1], "ref": {"@class": "OutputReference", "uuid": "found"}}


def _named(uuid: str) -> Any:  # noqa: ANN401
    job = toy.add(1, 2)
    job.set_uuid(uuid)
    return job
