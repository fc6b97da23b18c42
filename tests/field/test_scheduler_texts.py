"""What SLURM of other sites prints around what is asked: banners, federations, arrays, long user ids."""

from __future__ import annotations

import pytest

from epilayer.launch import failures, scheduler
from epilayer.launch.scheduler import SchedulerState
from epilayer.model.errors import QueueError

BANNER = """
-----------------------------------------------------------------
          Welcome to the Example Supercomputer
-----------------------------------------------------------------

No reservation for this job
--> Verifying valid submit host (login4)...OK
--> Checking available allocation (XX-000000)...OK
"""


@pytest.mark.parametrize(
    ("stdout", "job"),
    [
        (f"{BANNER}Submitted batch job 519605\n", "519605"),
        (f"{BANNER}519605\n", "519605"),
        ("Submitted batch job 8653762 on cluster name_of_cluster\n", "8653762"),
        ("134217729;fed1\n", "134217729"),
        ("15786755\n", "15786755"),
        (
            'sbatch: charged to "xx". Base Allocation:500,000.00 hours\nSubmitted batch job 1556425\n',
            "1556425",
        ),
    ],
)
def test_the_job_is_found_among_what_a_site_prints(stdout: str, job: str) -> None:
    assert scheduler.parse_sbatch(0, stdout, "sbatch: no partition specified, using the default\n") == job


def test_queued_arrays_and_heterogeneous_jobs() -> None:
    queued = scheduler.parse_squeue(
        "2653343_[3-4%2]|PENDING|JobArrayTaskLimit|array\n2653343_1|RUNNING|None|array\n"
        "123456_[1-3,5,...]|PENDING|Resources|x\n987+0|RUNNING|None|het\n"
        "11|PENDING|ReqNodeNotAvail, UnavailableNodes:n[1-3]|a|b\n"
    )
    assert [job.job_id for job in queued] == [
        "2653343_[3-4%2]",
        "2653343_1",
        "123456_[1-3,5,...]",
        "987+0",
        "11",
    ]
    assert queued[-1].name == "a|b"


@pytest.mark.parametrize("text", ["slurm_load_jobs error: Invalid job id specified\n", "CLUSTER: fed1\n"])
def test_a_line_that_is_no_job_is_refused(text: str) -> None:
    with pytest.raises(QueueError, match="cannot be read"):
        scheduler.parse_squeue(text)


@pytest.mark.parametrize(
    ("rows", "state", "failure"),
    [
        (  # a step that its job cancels at its end is no failure of the job
            [
                "239023|j|COMPLETED|0:0|00:01:00|01:00:00|4G||n1",
                "239023.batch|batch|COMPLETED|0:0|00:01:00|||1M|n1",
                "239023.0|x|CANCELLED|0:10|||||n1",
            ],
            SchedulerState.COMPLETED,
            None,
        ),
        (
            ["31178|v|CANCELLED by 1060117793|0:0|00:00:00|3-00:00:00|36G||None assigned"],
            SchedulerState.CANCELLED,
            "cancelled",
        ),
        (
            ["9|a|CANCELLED by ad\\user|0:0|00:00:00|01:00:00|1G||n1"],
            SchedulerState.CANCELLED,
            "cancelled",
        ),
        (
            ["123456_[9201-10000%500]|j|PENDING|0:0|00:00:00|05:00:00|3Gn||None assigned"],
            SchedulerState.PENDING,
            None,
        ),
        (
            ["2|a|FAILED|137:0|00:00:00|01:00:00|1G||n1", "2.batch|batch|OUT_OF_MEMORY|0:125||||1M|n1"],
            SchedulerState.FAILED,
            "out_of_memory",
        ),
        (["8|a|TIMEOUT|0:0|INVALID|Partition_Limit|1G||n1"], SchedulerState.TIMEOUT, "walltime"),
    ],
)
def test_how_a_job_ended(rows: list[str], state: SchedulerState, failure: str | None) -> None:
    (job,) = scheduler.parse_sacct("".join(f"{row}\n" for row in rows))
    assert job.state is state
    found = failures.by_scheduler(job)
    assert (None if found is None else found.kind.value) == failure


def test_a_state_cut_by_its_column_is_refused() -> None:
    with pytest.raises(QueueError, match=r"OUT_OF_ME\+"):
        scheduler.parse_sacct("2|a|OUT_OF_ME+|0:125|00:00:00|01:00:00|1G||n1\n")
