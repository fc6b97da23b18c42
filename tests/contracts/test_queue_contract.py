"""What every queue promises; each implementation adds itself to RIGS and passes all of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jobflow import Flow, JobConfig
from jobflow.core.flow import JobOrder

import toy_jobs as toy
from epilayer.launch import EdgeKind, JobState, Outcome, Queue
from epilayer.launch.base import tree
from epilayer.model.errors import InputError, QueueError
from queue_rig import FireworksRig, Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RIGS: dict[str, Callable[[Path], Rig]] = {"embedded": Rig, "fireworks": FireworksRig}


@pytest.fixture(params=["embedded", pytest.param("fireworks", marks=pytest.mark.cluster)])
def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setenv("EPILAYER_TOY_LOG", str(tmp_path / "log"))
    made = RIGS[request.param](tmp_path)
    yield made
    made.close()


def states(rig: Rig) -> dict[str, JobState]:
    return {job.name: job.state for job in rig.queue.jobs()}


def log(rig: Rig) -> list[str]:
    path = rig.folder / "log"
    return [line.split("\t")[0] for line in path.read_text().splitlines()] if path.exists() else []


def test_it_satisfies_the_protocol(rig: Rig) -> None:
    assert isinstance(rig.queue, Queue)


def test_a_chain_runs_in_order_and_its_documents_are_in_the_store(rig: Rig) -> None:
    first = toy.add(1, 2)
    second = toy.add(first.output, 3)
    report = rig.queue.submit(Flow([second, first], name="chain"))
    assert len(report.new) == 2
    result = rig.run()
    assert (result.completed, result.failed, result.blocked) == (2, 0, ())
    assert rig.store.get_output(report.uuids[second.uuid]) == 6
    assert log(rig) == ["start add 1 2", "end add 1 2", "start add 3 3", "end add 3 3"]


def test_a_single_job_and_a_list_of_jobs_can_be_submitted(rig: Rig) -> None:
    rig.queue.submit(toy.add(1, 2))
    rig.queue.submit([toy.add(3, 4), toy.add(5, 6)])
    assert rig.run().completed == 3


def test_the_same_study_again_is_found_and_nothing_is_computed(rig: Rig) -> None:
    def study() -> Flow:
        start = toy.add(1, 2)
        return Flow([start, toy.fan_out(2, 0.5), toy.add(start.output, 3)], name="study")

    rig.submit_and_run(study())
    before = log(rig)
    report = rig.queue.submit(study())
    assert (report.new, len(report.reused), report.completed) == ((), 3, 3)
    assert rig.run().completed == 0
    assert log(rig) == before
    assert len(rig.queue.flows()) == 1


def test_a_leg_shared_by_two_flows_is_one_job(rig: Rig) -> None:
    for label in ("x", "y"):
        leg = toy.add(1, 2)
        rig.queue.submit(Flow([leg, toy.total([leg.output], label=label)], name=label))
    shared = rig.queue.jobs(name="add")
    assert [job.flows for job in shared] == [("f1", "f2")]
    rig.run()
    assert log(rig).count("start add 1 2") == 1


def test_fresh_computes_again_and_so_do_the_jobs_it_makes(rig: Rig) -> None:
    rig.submit_and_run(toy.fan_out(2, 0.5))
    rig.queue.submit(toy.fan_out(2, 0.5), fresh=True)
    rig.run()
    assert log(rig).count("start fan_out 2 0.5") == 2
    assert log(rig).count("start add 0.5 0.0") == 2


def test_replace_by_a_flow_is_waited_for_and_resolved_by_those_who_refer_to_it(rig: Rig) -> None:
    grown = toy.fan_out(3, 1.0)
    end = toy.total([grown.output["total"], grown.output["first"]], label="end")
    report = rig.queue.submit(Flow([grown, end]))
    assert rig.run(workers=2).failed == 0
    assert rig.store.get_output(report.uuids[end.uuid]) == pytest.approx(6.0 + 1.0)
    indices = [job.index for job in rig.queue.jobs() if job.uuid == report.uuids[grown.uuid]]
    assert indices == [1, 2]


def test_replace_by_a_job_takes_its_place(rig: Rig) -> None:
    start = toy.replace_with_job(1.0)
    end = toy.add(start.output, 1.0)
    report = rig.queue.submit(Flow([start, end]))
    rig.run()
    assert rig.store.get_output(report.uuids[end.uuid]) == 1002.0


def test_a_detour_is_done_before_those_who_wait(rig: Rig) -> None:
    path = str(rig.folder / "note")
    bend = toy.detour(4.0, path)
    end = toy.read(path, bend.output)
    report = rig.queue.submit(Flow([bend, end]))
    assert rig.run(workers=2).failed == 0
    assert rig.store.get_output(report.uuids[end.uuid]) == "4.0"


def test_an_addition_runs_and_is_named_by_its_final_uuid(rig: Rig) -> None:
    job = toy.more(1.0)
    report = rig.queue.submit(job)
    rig.run()
    output = rig.store.get_output(report.uuids[job.uuid])
    assert output["ref"] == 1.5  # a reference in an output resolves
    assert rig.store.get_output(output["extra"]) == 1.5  # so does a uuid in plain text


def test_those_who_resolve_an_output_wait_for_the_additions_it_refers_to(rig: Rig) -> None:
    job = toy.more(1.0)
    end = toy.total([job.output["a"], job.output["ref"]], label="end")
    report = rig.queue.submit(Flow([job, end]))  # `end` is older than the addition and would run first
    assert rig.run().failed == 0
    assert rig.store.get_output(report.uuids[end.uuid]) == 2.5


def test_stored_data_is_kept(rig: Rig) -> None:
    rig.submit_and_run(toy.keep(2.0))
    assert rig.named("keep").stored_data == {"kept": 2.0}


def test_stop_children_stops_what_comes_after_and_nothing_else(rig: Rig) -> None:
    head = toy.stop_children(1.0)
    child = toy.add(head.output, 1.0)
    grandchild = toy.total([child.output], label="late")
    rig.submit_and_run(Flow([head, child, grandchild, toy.keep(1.0)]))
    assert states(rig) == {
        "stop_children": JobState.COMPLETED,
        "add": JobState.STOPPED,
        "total": JobState.STOPPED,
        "keep": JobState.COMPLETED,
    }
    assert "stop_children" in str(rig.named("total").cause)


def test_stop_jobflow_stops_the_flow_and_not_the_others(rig: Rig) -> None:
    rig.queue.submit(Flow([toy.stop_all(1.0), toy.keep(1.0)], name="a"), priority=1)
    rig.queue.submit(Flow([toy.add(5.0, 1.0)], name="b"))
    rig.run()
    assert states(rig) == {
        "stop_all": JobState.COMPLETED,
        "keep": JobState.STOPPED,
        "add": JobState.COMPLETED,
    }


def test_a_linear_flow_runs_in_its_order_without_references(rig: Rig) -> None:
    jobs = [toy.nap(0, float(label)) for label in (3, 1, 2)]
    rig.submit_and_run(Flow(jobs, order=JobOrder.LINEAR), workers=2)
    assert [line for line in log(rig) if line.startswith("start")] == [
        "start nap 3.0",
        "start nap 1.0",
        "start nap 2.0",
    ]


def test_large_outputs_go_to_the_additional_store_and_come_back(rig: Rig) -> None:
    job = toy.big(100)
    count = toy.length(job.output["big"])
    report = rig.queue.submit(Flow([job, count]))
    rig.run()
    assert rig.store.additional_stores["data"].count() == 1
    assert rig.store.get_output(report.uuids[count.uuid]) == 100


def test_a_maker_runs_and_its_name_does_not_make_it_another_job(rig: Rig) -> None:
    rig.submit_and_run(toy.ScaleMaker(name="a", factor=3.0).make(2.0))
    report = rig.queue.submit(toy.ScaleMaker(name="b", factor=3.0).make(2.0))
    assert report.completed == 1
    assert len(rig.queue.submit(toy.ScaleMaker(factor=4.0).make(2.0)).new) == 1


def test_a_failure_has_its_cause_in_one_line_and_children_wait(rig: Rig) -> None:
    bad = toy.fail_unless(str(rig.folder / "flag"), 1.0)
    child = toy.add(bad.output, 1.0)
    grandchild = toy.total([child.output], label="end")
    rig.queue.submit(Flow([bad, child, grandchild], name="study"))
    report = rig.run()
    assert report.failed == 1
    assert rig.named("fail_unless").cause == "ValueError: flag is missing"
    assert states(rig)["add"] == states(rig)["total"] == JobState.WAITING
    assert rig.named("total").cause == "waits for #1 fail_unless (FAILED)"
    assert report.blocked == ("2 jobs: waits for #1 fail_unless (FAILED)",)
    status = rig.queue.status("study")
    assert (status.blocked, [job.number for job in status.failed]) == (2, [1])
    [attempt] = rig.queue.attempts(1)
    assert attempt.outcome is Outcome.FAILED
    assert "Traceback" in attempt.stderr.read_text()


def test_rerun_completes_a_failed_flow_and_both_attempts_are_listed(rig: Rig) -> None:
    flag = rig.folder / "flag"
    bad = toy.fail_unless(str(flag), 1.0)
    rig.submit_and_run(Flow([bad, toy.add(bad.output, 1.0)]))
    flag.touch()
    plan = rig.queue.rerun(state=JobState.FAILED, dry_run=True)
    assert (plan.id, plan.jobs) == (None, (1,))
    assert rig.queue.job(1).state is JobState.FAILED
    assert rig.queue.rerun(state=JobState.FAILED).jobs == (1,)
    assert rig.run().completed == 2
    assert [a.outcome for a in rig.queue.attempts(1)] == [Outcome.FAILED, Outcome.COMPLETED]
    first, second = rig.queue.attempts(1)
    assert first.directory != second.directory
    assert first.stderr.exists()


def test_undo_of_a_rerun_puts_every_state_back(rig: Rig) -> None:
    bad = toy.fail_unless(str(rig.folder / "flag"), 1.0)
    leg = toy.add(1, 1)
    soft = toy.gather([bad.output, leg.output])
    rig.submit_and_run(Flow([bad, leg, soft, toy.total([bad.output], label="hard")]))
    before = rig.queue.jobs()
    report = rig.queue.rerun(state=JobState.FAILED)
    assert report.descendants == (rig.named("gather").number,)  # it ran without what failed
    assert rig.queue.jobs() != before
    undone = rig.queue.undo_rerun()
    assert undone.undone is not None
    assert rig.queue.jobs() == before
    with pytest.raises(InputError, match="no rerun to undo"):
        rig.queue.undo_rerun()


def test_undo_is_refused_once_a_job_has_started(rig: Rig) -> None:
    rig.submit_and_run(toy.fail_unless(str(rig.folder / "flag"), 1.0))
    rig.queue.rerun([1])
    rig.run()
    with pytest.raises(QueueError, match="has started since"):
        rig.queue.undo_rerun()


def test_a_forced_rerun_computes_what_followed_again(rig: Rig) -> None:
    grown = toy.fan_out(2, 1.0)
    end = toy.total([grown.output["total"]], label="end")
    side = toy.keep(7.0)
    rig.submit_and_run(Flow([grown, end, side]))
    refused = rig.queue.rerun([1])
    assert refused.jobs == ()
    assert "force" in refused.skipped[0][1]
    documents = rig.documents()
    report = rig.queue.rerun([1], force=True)
    assert set(report.jobs + report.descendants) == {job.number for job in rig.queue.jobs()} - {
        rig.named("keep").number
    }
    result = rig.run(workers=2)
    assert result.completed == len(report.jobs + report.descendants)
    assert rig.documents() == documents
    assert log(rig).count("start fan_out 2 1.0") == 2


def test_missing_references_are_none_where_the_job_allows_it(rig: Rig) -> None:
    bad = toy.fail_unless(str(rig.folder / "flag"), 5.0)
    between = toy.add(bad.output, 1.0)  # waits for ever: as good as failed to those after it
    good = toy.add(1.0, 1.0)
    soft = toy.gather([between.output, good.output])
    report = rig.queue.submit(Flow([bad, between, good, soft]))
    rig.run(workers=2)
    uuid = report.uuids[soft.uuid]
    assert rig.store.get_output(uuid) == {"found": [2.0], "missing": 1}
    (rig.folder / "flag").touch()
    rig.queue.rerun(state=JobState.FAILED)
    rig.run()
    assert rig.store.get_output(uuid) == {"found": [6.0, 2.0], "missing": 0}


def test_children_of_a_replacement_with_a_failed_leg_wait_instead_of_failing(rig: Rig) -> None:
    grown = toy.fan_with_failure(str(rig.folder / "flag"))
    child = toy.add(grown.output["bad"], 1.0)
    report = rig.queue.submit(Flow([grown, child]))
    result = rig.run()
    assert result.failed == 1
    assert rig.queue.job(report.uuids[child.uuid]).state is JobState.WAITING
    (rig.folder / "flag").touch()
    rig.queue.rerun(state=JobState.FAILED)
    assert rig.run().failed == 0
    assert rig.store.get_output(report.uuids[child.uuid]) == 2.0


def test_priorities_then_first_come(rig: Rig) -> None:
    rig.queue.submit(Flow([toy.nap(0, 1.0), toy.nap(0, 2.0)], name="low"))
    rig.queue.submit(Flow([toy.nap(0, 3.0)], name="high"), priority=5)
    rig.queue.submit(Flow([toy.nap(0, 4.0)], name="raised"))
    rig.queue.set_priority("raised", 9)
    rig.run()
    started = [line.split()[-1] for line in log(rig) if line.startswith("start")]
    assert started == ["4.0", "3.0", "1.0", "2.0"]


def test_pause_holds_back_and_resume_lets_go(rig: Rig) -> None:
    first = toy.add(1, 2)
    rig.queue.submit(Flow([first, toy.add(first.output, 1)], name="held"))
    rig.queue.submit(Flow([toy.keep(1.0)], name="free"))
    assert rig.queue.pause("held").changed == (1, 2)
    report = rig.run()
    assert (report.completed, report.blocked) == (1, ("2 jobs paused",))
    rig.queue.resume("held")
    assert rig.run().completed == 2


def test_a_single_job_can_be_paused(rig: Rig) -> None:
    first = toy.add(1, 2)
    rig.queue.submit(Flow([first, toy.add(first.output, 1)]))
    rig.queue.pause(2)
    assert rig.run().completed == 1
    assert rig.queue.job(2).state is JobState.PAUSED
    rig.queue.resume(2)
    assert rig.run().completed == 1


def test_cancel_spares_what_another_flow_wants_and_submitting_again_revives(rig: Rig) -> None:
    def flow(label: str) -> Flow:
        leg = toy.add(1, 2)
        return Flow([leg, toy.total([leg.output], label=label)], name=label)

    rig.queue.submit(flow("a"))
    rig.queue.submit(flow("b"))
    report = rig.queue.cancel("a")
    assert report.changed == (2,)
    assert "1 job" in report.note
    assert rig.run().completed == 2
    assert rig.queue.job(2).state is JobState.CANCELLED
    assert rig.queue.submit(flow("a")).revived == (2,)
    assert rig.run().completed == 1


def test_cancelling_a_job_leaves_its_children_waiting_with_the_reason(rig: Rig) -> None:
    first = toy.add(1, 2)
    rig.queue.submit(Flow([first, toy.add(first.output, 1)]))
    rig.queue.cancel(1)
    assert rig.queue.job(2).cause == "waits for #1 add (CANCELLED)"
    assert rig.run().completed == 0
    rig.queue.rerun([1])
    assert rig.run().completed == 2


def test_references_to_jobs_and_flows(rig: Rig) -> None:
    rig.queue.submit(Flow([toy.add(1, 2), toy.keep(1.0)], name="study"))
    job = rig.queue.job(1)
    assert rig.queue.job("1") == rig.queue.job("#1") == rig.queue.job(job.uuid) == job
    assert rig.queue.job(job.uuid[:8]) == job
    assert len(rig.queue.jobs(flow="f1")) == len(rig.queue.jobs(flow="study")) == 2
    assert [found.number for found in rig.queue.jobs(name="k*", state=JobState.READY, limit=1)] == [2]
    with pytest.raises(InputError, match=r"no job 9.*numbered 1 to 2"):
        rig.queue.job(9)
    with pytest.raises(InputError, match=r"no job 'kee'.*#2 keep"):
        rig.queue.job("kee")
    with pytest.raises(InputError, match=r"Unknown flow 'studi'.*Did you mean 'study'"):
        rig.queue.status("studi")


def test_a_reference_to_an_unknown_job_is_refused_at_the_door(rig: Rig) -> None:
    with pytest.raises(InputError, match="neither in flow"):
        rig.queue.submit(Flow([toy.add(toy.add(1, 2).output, 3)], name="half"))
    assert rig.queue.jobs() == []


def test_a_later_flow_may_refer_to_a_job_of_an_earlier_one(rig: Rig) -> None:
    grown = toy.fan_out(2, 1.0)
    report = rig.queue.submit(grown)
    rig.run()
    from jobflow import OutputReference

    late = toy.total([OutputReference(report.uuids[grown.uuid])["total"]], label="late")
    second = rig.queue.submit(late)
    rig.run()
    assert rig.store.get_output(second.uuids[late.uuid]) == pytest.approx(3.0)


def test_functions_a_worker_cannot_import_are_refused(rig: Rig) -> None:
    from jobflow import job

    with pytest.raises(InputError, match="cannot import"):
        rig.queue.submit(job(lambda x: x)(1))


def test_edges_and_tree(rig: Rig) -> None:
    grown = toy.fan_out(1, 1.0)
    end = toy.total([grown.output["total"]], label="end")
    rig.submit_and_run(Flow([grown, end], name="study"))
    edges = rig.queue.edges("study")
    assert {edge.kind for edge in edges} == {EdgeKind.DATA, EdgeKind.SPAWN}
    rows = tree(rig.queue.jobs(), edges)
    assert sorted(job.number for _, job in rows) == [job.number for job in rig.queue.jobs()]
    assert rows[0][0] == 0
    depth = {job.number: level for level, job in rows}
    assert depth[2] > depth[1]


def test_logs_hold_what_python_c_and_children_wrote_and_the_directory_is_the_jobs(rig: Rig) -> None:
    rig.submit_and_run(toy.speak("x"))
    job = rig.named("speak")
    [attempt] = rig.queue.attempts(job.number)
    text = attempt.stdout.read_text()
    assert all(f"{who} x" in text for who in ("python", "C", "child"))
    assert all(f"{who} x" in attempt.stderr.read_text() for who in ("python error", "child error"))
    assert Path(rig.output(job)) == attempt.directory
    month = datetime.now(tz=UTC).strftime("%Y-%m")
    assert attempt.directory.parts[-3:] == (month, "1-speak", "attempt-1")


def test_events_tell_each_start_and_end(rig: Rig) -> None:
    heard = []
    bad = toy.fail_unless(str(rig.folder / "flag"), 1.0)
    rig.queue.submit(Flow([toy.add(1, 2), bad]))
    rig.run(on_event=lambda event: heard.append((event.kind, event.job.name)))
    assert heard == [
        ("started", "add"),
        ("completed", "add"),
        ("started", "fail_unless"),
        ("failed", "fail_unless"),
    ]


def test_resources_asked_of_a_manager_do_not_make_another_job(rig: Rig) -> None:
    rig.submit_and_run(toy.add(1, 2))
    job = toy.add(1, 2)
    job.update_config(JobConfig(manager_config={"walltime": "48:00:00"}))
    job.update_metadata({"tag": "x"})
    assert rig.queue.submit(job).completed == 1


def test_zero_workers_are_refused(rig: Rig) -> None:
    with pytest.raises(InputError, match="positive number"):
        rig.run(workers=0)
