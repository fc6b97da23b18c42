"""A study from Python: opened, submitted to, run, stopped, rerun and asked, without the command line."""

from __future__ import annotations

import subprocess
import sys
from operator import add, truediv
from typing import TYPE_CHECKING

import pytest
from jobflow import Flow, Job

from epilayer import Study
from epilayer.launch.base import JobState
from epilayer.model.errors import InputError, UnknownNameError
from epilayer.study.queries import Question, save
from epilayer.study.rerunning import Selection, resources_of
from epilayer.study.workspace import create

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "epilayer.yaml").write_text("workers: 1\n", encoding="utf-8")
    return Study.open(str(tmp_path))


def flow(*functions: object) -> Flow:
    jobs = [Job(function=function, function_args=(n, 0), name=str(n)) for n, function in enumerate(functions)]
    return Flow(jobs, name="sums")


def test_the_package_gives_the_study_and_loads_nothing_heavy() -> None:
    code = """
import sys, epilayer
print('pydantic' in sys.modules, epilayer.Study.__name__, 'numpy' in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "Study", "False"]


def test_what_the_package_does_not_offer_is_an_attribute_error() -> None:
    import epilayer

    with pytest.raises(AttributeError, match="no attribute 'Stduy'"):
        _ = epilayer.Stduy  # type: ignore[attr-defined]  # the point of the test


def test_a_flow_is_submitted_run_and_found_again(study: Study) -> None:
    first = study.submit(flow(add, add))
    report = study.run()
    assert (report.completed, report.failed) == (2, 0)
    assert study.status(first.ref).counts[JobState.COMPLETED] == 2
    again = study.submit(flow(add, add))
    assert (again.new, again.completed) == ((), 2)


def test_a_job_that_fails_is_selected_by_what_is_known_of_it(study: Study) -> None:
    study.submit(flow(add, truediv))
    study.run()
    (failed,) = study.status().failed
    dry = study.rerun(Selection(where=("cause=ZeroDivision",)), dry_run=True)
    assert (dry.report.jobs, dry.report.id) == ((failed.number,), None)
    assert study.rerun(Selection(failed=True, where=("name=0",)), dry_run=True).chosen == []
    assert study.rerun(Selection(failed=True)).report.jobs == (failed.number,)
    assert study.status().counts[JobState.FAILED] == 0


@pytest.mark.parametrize(
    ("selection", "resources", "message"),
    [
        (Selection(), {}, "Nothing was named"),
        (Selection(failed=True, failure_class="sadness"), {}, "class of failure"),
        (Selection(where=("mood=bad",)), {}, "cannot be read"),
        (Selection(failed=True), {"memory": "4G"}, "asks a scheduler"),
    ],
)
def test_a_selection_that_means_nothing_is_refused(
    study: Study, selection: Selection, resources: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        study.rerun(selection, resources)


def test_resources_are_read_as_numbers_where_they_are() -> None:
    assert resources_of(["nodes=2", "walltime=48:00:00"]) == {"nodes": 2, "walltime": "48:00:00"}
    with pytest.raises(InputError, match="cannot be read"):
        resources_of(["nodes"])


def test_jobs_are_paused_resumed_and_cancelled(study: Study) -> None:
    ref = study.submit(flow(add)).ref
    for verb, state in (
        (study.pause, JobState.PAUSED),
        (study.resume, JobState.READY),
        (study.cancel, JobState.CANCELLED),
    ):
        assert len(verb(ref).changed) == 1
        assert study.status().counts[state] == 1


def test_questions_are_kept_by_name_and_narrowed(study: Study) -> None:
    study.submit(flow(add, truediv))
    study.run()
    save(study, "failures", Question("jobs", ("state=failed",)))
    (row,) = study.ask(Question("@failures")).rows
    assert row["name"] == "1"
    assert study.ask(Question("@failures", ("name=0",))).rows == []
    grouped = study.ask(Question("jobs", group_by="state"))
    assert {row["state"]: row["count"] for row in grouped.rows} == {"completed": 1, "failed": 1}
    with pytest.raises(UnknownNameError, match="saved query"):
        study.ask(Question("@falures"))


def test_a_study_without_results_gives_an_empty_table_of_each_kind(study: Study) -> None:
    assert study.query("adsorption").empty
    assert study.harvest() == 0
    assert study.trajectories() == []


def test_a_file_outside_the_study_is_not_given(study: Study, tmp_path: Path) -> None:
    outside = tmp_path.parent / "outside.txt"
    outside.write_text("x", encoding="utf-8")
    (tmp_path / "link").symlink_to(outside)
    assert study.file("epilayer.yaml") == (tmp_path / "epilayer.yaml").resolve()
    assert study.file("link") is None
    assert study.file(str(outside)) is None
    assert study.file("epilayer.yaml", tmp_path / "runs") is None


def test_a_new_study_holds_what_ships_and_is_created_once(tmp_path: Path) -> None:
    create(tmp_path / "new")
    made = Study.open(tmp_path / "new")
    assert "paper_adsorption" in made.workflows()
    assert {"toy", "paper"} <= {entry["name"] for entry in made.inputs("levels")["levels"]}
    with pytest.raises(InputError, match="is a study already"):
        create(tmp_path / "new")
    with pytest.raises(UnknownNameError, match="kind"):
        made.inputs("levles")


def test_a_transfer_to_where_the_queue_is_already_is_refused(study: Study) -> None:
    with pytest.raises(InputError, match="already"):
        study.transfer("embedded")
