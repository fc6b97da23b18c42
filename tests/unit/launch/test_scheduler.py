"""What SLURM prints, read: recorded answers, every state, and refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from epilayer.launch import scheduler
from epilayer.launch.failures import classify
from epilayer.launch.scheduler import (
    SchedulerState,
    parse_sacct,
    parse_sbatch,
    parse_spans,
    parse_squeue,
    parse_state,
)
from epilayer.model.errors import EpilayerError, QueueError
from epilayer.model.failure import Failure, FailureClass

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("EPILAYER_REAL_DATA", ROOT.parent / "shared" / "data")) / "slurm_scheduler_io"

SACCT = """\
1|wrap|COMPLETED|0:0|00:00:01|UNLIMITED|512M||vm
1.batch|batch|COMPLETED|0:0|00:00:01|||4096K|vm
2|wrap|OUT_OF_MEMORY|0:125|00:00:01|00:20:00|50M||vm
2.batch|batch|OUT_OF_MEMORY|0:125|00:00:01|||40K|vm
7|a|b|FAILED|1:0|00:00:01|00:20:00|50M||node[01-02]
7.0|vasp_std|OUT_OF_MEMORY|0:125|00:00:01|||40K|node01
9|slab|CANCELLED by 1000|0:15|00:00:01|00:20:00|50M||vm
9.batch|batch|CANCELLED|0:15|00:00:01|||40K|vm
12_3|array|TIMEOUT|0:0|00:20:01|00:20:00|50M||vm
"""


def records(name: str) -> list[tuple[dict[str, object], dict[str, object] | None]]:
    path = DATA / f"{name}.yaml"
    if not path.is_file():
        pytest.skip(f"real outputs are not here: {path}")
    found = []
    for record in yaml.safe_load(path.read_text(encoding="utf-8")):
        told = next(json.loads(text) for key, text in record.items() if key.endswith("_kwargs"))
        meant = next(json.loads(text) for key, text in record.items() if key.endswith("_ref"))
        found.append((told, meant))
    return found


@pytest.mark.real_data
def test_every_recorded_submission_is_read() -> None:
    for told, meant in records("parse_submit_output_inout"):
        assert meant is not None
        if meant["job_id"] is None:
            with pytest.raises(QueueError, match=r"refused.*Invalid partition"):
                parse_sbatch(**told)
        else:
            assert parse_sbatch(**told) == meant["job_id"]


@pytest.mark.real_data
def test_every_recorded_cancellation_is_read() -> None:
    for told, meant in records("parse_cancel_output_inout"):
        assert meant is not None
        if told["exit_code"]:
            with pytest.raises(QueueError, match="scancel was refused"):
                scheduler.parse_scancel(**told)
        else:
            over = "already completing" in str(told["stderr"]) or "Invalid job id spec" in str(told["stderr"])
            assert scheduler.parse_scancel(**told) is not over


@pytest.mark.real_data
def test_every_recorded_job_is_read() -> None:
    for told, meant in records("parse_job_output_inout"):
        if meant is None:
            with pytest.raises(EpilayerError, match="cannot be read"):
                scheduler.parse_scontrol(str(told["stdout"]))
            continue
        found = scheduler.parse_scontrol(str(told["stdout"]))
        assert found["JobId"] == meant["job_id"]
        assert found["JobName"] == meant["name"]
        assert found["JobState"] == "COMPLETED"
        assert found["ReqB:S:C:T"] == "0:0:*:*"


def test_submissions_in_their_other_forms() -> None:
    assert parse_sbatch(0, "1234;cluster2\n", "") == "1234"
    assert parse_sbatch(0, "sbatch: lua: welcome\n1234\n", "") == "1234"
    with pytest.raises(QueueError, match="named no job"):
        parse_sbatch(0, "thank you\n", "")


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("Invalid account or account/partition combination specified", "partition"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "walltime"),
        ("Requested node configuration is not available", "less than a node has"),
        ("Unable to contact slurm controller (connect failure)", "scontrol ping"),
        (
            "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            "most_queued",
        ),
    ],
)
def test_a_refusal_names_the_reason_and_a_remedy(said: str, remedy: str) -> None:
    with pytest.raises(QueueError) as caught:
        parse_sbatch(1, "", f"sbatch: error: Batch job submission failed: {said}\n")
    assert said in caught.value.what
    assert remedy in caught.value.remedy


def test_accounting_with_steps_odd_names_and_arrays() -> None:
    found = {job.job_id: job for job in parse_sacct(SACCT)}
    assert sorted(found) == ["1", "12_3", "2", "7", "9"]
    assert [step.name for step in found["1"].steps] == ["batch"]
    assert (found["2"].state, found["2"].signal) == (SchedulerState.OUT_OF_MEMORY, 125)
    assert (found["7"].name, found["7"].state) == ("a|b", SchedulerState.FAILED)
    assert found["7"].steps[0].state is SchedulerState.OUT_OF_MEMORY
    assert found["9"].by == "1000"
    assert found["7"].nodes == "node[01-02]"


def test_a_step_whose_end_is_being_written_down_has_no_exit_code_yet() -> None:
    text = "151|x|FAILED|1:0|00:00:05|00:20:00|50M||vm\n151.batch|batch|CANCELLED||00:00:05||||vm\n"
    [job] = parse_sacct(text)
    assert job.steps[0].exit_code == 0


REQUEUED = """\
5|x|{first}|0:0|00:00:01|00:20:00|50M||vm
5.batch|batch|CANCELLED|0:9|00:00:01|||40K|vm
5|x|{last}|0:0|00:00:00|00:20:00|50M||None assigned
"""


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        ("REQUEUED", FailureClass.PREEMPTED),
        ("NODE_FAIL", FailureClass.NODE_FAILURE),
        ("PREEMPTED", FailureClass.PREEMPTED),
    ],
)
@pytest.mark.parametrize("last", ["PENDING", "COMPLETED", "CANCELLED by 0"])
def test_a_job_that_was_requeued_is_told_by_its_last_run_and_judged_by_its_first(
    first: str, kind: FailureClass, last: str
) -> None:
    [job] = parse_sacct(REQUEUED.format(first=first, last=last))
    assert (job.state.value, job.first_end, job.nodes) == (last.removesuffix(" by 0"), first, "vm")
    assert job.without_its_node is (first == "NODE_FAIL")
    told = Failure(kind=FailureClass.LOST, cause="SIGTERM", what="stopped by the scheduler")
    assert classify(told, job, raised=False).kind is kind


def test_a_job_that_changed_its_size_was_not_requeued() -> None:
    [job] = parse_sacct(REQUEUED.format(first="RESIZING", last="RUNNING"))
    assert (job.state, job.first_end, job.nodes) == (SchedulerState.RUNNING, None, "")


def test_the_controller_tells_of_a_requeue_too() -> None:
    text = "JobId=5 JobName=x JobState=PENDING Reason=BeginTime Restarts={} ExitCode=0:0 NodeList=(null)"
    assert scheduler.accounted_of(scheduler.parse_scontrol(text.format(1))).first_end == "REQUEUED"
    assert scheduler.accounted_of(scheduler.parse_scontrol(text.format(0))).first_end is None


def test_the_queue_with_reasons_and_names_that_hold_the_separator() -> None:
    text = "12|PENDING|(Resources, Priority)|a|b\n13_4|RUNNING|None|x\n"
    first, second = parse_squeue(text)
    assert (first.name, first.reason, first.state) == ("a|b", "(Resources, Priority)", SchedulerState.PENDING)
    assert second.job_id == "13_4"
    assert parse_squeue("") == []


@pytest.mark.parametrize(
    ("reason", "never"),
    [
        ("PartitionTimeLimit", True),
        ("QOSMaxWallDurationPerJobLimit", True),
        ("AssocMaxCpuPerJobLimit", True),
        ("Priority", False),
        ("QOSMaxJobsPerUserLimit", False),  # others of the group end some day
        ("ReqNodeNotAvail, UnavailableNodes:n1", False),
    ],
)
def test_a_job_that_can_never_start_is_told_from_one_that_waits(reason: str, *, never: bool) -> None:
    [job] = parse_squeue(f"12|PENDING|{reason}|slab\n")
    assert job.can_never_start is never


def test_every_state_is_known_long_and_compact() -> None:
    for state in SchedulerState:
        assert parse_state(state.value) == (state, "")
    for short, long in scheduler._COMPACT.items():
        assert parse_state(short)[0].value == long
    assert parse_state("CANCELLED+")[0] is SchedulerState.CANCELLED


@given(st.text(alphabet=st.characters(codec="ascii", categories=["Lu", "Nd", "Pc"]), min_size=1))
def test_an_unknown_state_is_refused_and_never_guessed(word: str) -> None:
    known = {state.value for state in SchedulerState} | set(scheduler._COMPACT)
    if word in known:
        return
    with pytest.raises(QueueError, match="is not known here"):
        parse_state(word)


@pytest.mark.parametrize("text", ["garbage\n", "x|y\n", "slurm_load_jobs error: Socket timed out\n"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(EpilayerError):
        parse_sacct(text)
    with pytest.raises(EpilayerError):
        parse_squeue(text)


def test_times_are_seconds_and_a_job_that_waits_has_none() -> None:
    text = "57|TIMEOUT|1795395502|1795395528\n58|RUNNING|1795395528|Unknown\n59|PENDING|Unknown|Unknown\n"
    ended, running, waiting = parse_spans(text)
    assert (ended.state, ended.start_s, ended.end_s) == (SchedulerState.TIMEOUT, 1795395502.0, 1795395528.0)
    assert (running.start_s, running.end_s) == (1795395528.0, None)
    assert (waiting.start_s, waiting.end_s) == (None, None)
    for bad in ("57|TIMEOUT|1795395502\n", "57|SOON|1|2\n", "57|TIMEOUT|2026-11-23T00:58:22|Unknown\n"):
        with pytest.raises(QueueError):
            parse_spans(bad)
