"""What the dashboard shows of a study's queue and files: failures with their lines and remedy, many jobs."""

from __future__ import annotations

import statistics
import sys
import time
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jobflow import Flow, Job
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Poscar

sys.path.insert(0, str(Path(__file__).parent))

from record_kinds import lobster_run

from epilayer import Study
from epilayer.launch.base import JobState
from epilayer.model.errors import InputError
from epilayer.model.failure import FailedRunError, Failure, FailureClass
from epilayer.study.jobs import files_below, neighbours, rerun_command
from epilayer.study.trajectories import newest
from small_study import fail, put_output, submit

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.testclient import TestClient

TRACEBACK = """Traceback (most recent call last):
  File "worker.py", line 144, in work
    raise EngineError("The electronic loop did not converge.")
epilayer.model.errors.EngineError: The electronic loop did not converge.
"""


def test_a_failed_job_tells_class_lines_remedy_and_command(
    study: Study, client_of: Callable[..., TestClient]
) -> None:
    cause = "The electronic loop did not converge."
    error = FailedRunError(Failure(kind=FailureClass.SCF, cause="electrons_not_converged", what=cause))
    vasp = "running on 4 cores\n BRMIX: very serious problems\n DAV: 60 ...\n"
    submit(study, "relax slab")
    fail(study, 1, error, {"stderr.log": TRACEBACK, "vasp.out": vasp, "stdout.log": "all quiet\n"})
    job = study.queue().job(1)
    assert (job.state, job.cause) == (JobState.FAILED, cause)
    assert job.failure is not None
    assert job.failure.kind is FailureClass.SCF
    assert job.failure.telling == (
        ("stderr.log", "epilayer.model.errors.EngineError: The electronic loop did not converge."),
        ("vasp.out", "BRMIX: very serious problems"),
    )
    page = client_of().get("/job/1").text
    for text in (
        "Cause: scf", "<code>BRMIX: very serious problems</code>", "A different mixing", "vasp.out",
        "epilayer rerun 1 &amp;&amp; epilayer run",
    ):  # fmt: skip
        assert text in page, text


def test_a_long_line_of_a_log_is_cut(study: Study) -> None:
    submit(study, "relax slab")
    fail(study, 1, RuntimeError("exited with code 1"), {"stderr.log": "x" * 1000 + " out of memory\n"})
    failure = study.queue().job(1).failure
    assert failure is not None
    (line,) = (text for _, text in failure.telling)
    assert len(line) == 180
    assert line.endswith("…")


def test_a_job_that_did_not_fail_has_no_command(study: Study, client_of: Callable[..., TestClient]) -> None:
    submit(study, "relax slab")
    client = client_of(token="a-token")  # noqa: S106  (not a secret)
    client.cookies.set("epilayer_8765", "a-token")
    page = client.get("/job/1").text
    assert "has not run yet" in page
    assert "epilayer rerun" not in page
    done = client.post(
        "/job/1/cancel", headers={"Origin": "http://127.0.0.1:8765", "Accept": "application/json"}
    )
    assert done.json() == {"done": "1 jobs cancelled."}
    assert study.queue().job(1).state is JobState.CANCELLED


def test_a_command_asks_a_cluster_for_what_the_job_lacked(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(study, "relax slab")
    lost = Failure(kind=FailureClass.OUT_OF_MEMORY, cause="SIGKILL", what="Out of memory.")
    fail(study, 1, FailedRunError(lost))
    job = study.queue().job(1)
    assert rerun_command(study, job) == "epilayer rerun 1 && epilayer run"
    (study.root / "epilayer.yaml").write_text("queue: slurm\n", encoding="utf-8")
    monkeypatch.setenv("EPILAYER_DATABASE", "mongodb://localhost/none")
    assert rerun_command(Study.open(study.root), job) == "epilayer rerun 1 --with memory=64G"


def test_files_outside_the_study_are_none_of_it(study: Study) -> None:
    inside, link = study.root / "inside.txt", study.root / "link.txt"
    inside.touch()
    link.symlink_to("/etc/hostname")
    assert study.file(str(inside)) == inside
    for path in ("/etc/hostname", str(link), "../../etc/hostname", "gone.txt"):
        assert study.file(path) is None, path
    assert [name for name, _ in files_below(study.root)] == ["epilayer.yaml", "inside.txt"]
    with pytest.raises(InputError, match="no trajectory"):
        study.trajectory("../..")
    assert newest(study.root) == []


def test_a_vasp_run_shows_what_it_began_with(study: Study, tmp_path: Path) -> None:
    began = Structure(Lattice.cubic(5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    ended = began.copy()
    ended.translate_sites([0], [0.02, 0, 0])
    inside, outside = study.runs / "1", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
        Poscar(ended).write_file(str(folder / "POSCAR"))  # custodian went on from here
        Poscar(began).write_file(str(folder / "POSCAR.orig"))
    found = study.initial_structure(str(inside), ended)
    assert found is not None
    assert found.frac_coords == pytest.approx(began.frac_coords)
    assert study.initial_structure(str(outside), ended) is None
    assert study.initial_structure("gone", ended) is None


def test_the_lobster_runs_behind_a_record_are_found_by_what_built_on_what(study: Study) -> None:
    bonding = lobster_run(
        study.root / "lobster", Structure(Lattice.cubic(5), ["C", "O"], [[0] * 3, [0.3] * 3])
    )
    measured = Job(function=abs, function_args=(1,), name="bonds")
    between = Job(function=add, function_args=(measured.output, 1), name="scan")
    judged = Job(function=add, function_args=(between.output, 1), name="judge")
    apart = Job(function=abs, function_args=(2,), name="other bonds")
    queue = study.queue()
    queue.submit(Flow([measured, between, judged, apart], name="study"))
    by_name = {job.name: job for job in queue.jobs()}
    for name in ("bonds", "other bonds"):
        put_output(study, by_name[name].uuid, bonding.model_copy(update={"label": name}))
    assert [run.label for run in study.bond_analyses(by_name["judge"].uuid)] == ["bonds"]
    assert study.bond_analyses(by_name["bonds"].uuid) == []
    near = neighbours(queue, by_name["scan"])
    assert [[job.name for job in jobs] for jobs in near] == [["bonds"], ["judge"]]


@pytest.mark.slow
def test_ten_thousand_jobs_are_paged_and_filtered_quickly(
    study: Study, client_of: Callable[..., TestClient]
) -> None:
    number = 10_000
    submit(study, *(f"relax slab {k}" for k in range(number)))
    failure = Failure(kind=FailureClass.WALLTIME, cause="TIMEOUT", what="It ran into its time limit.")
    with study.queue().claims.file.writing() as db:
        told = (failure.what, failure.model_dump_json())
        db.execute("UPDATE jobs SET state = 'FAILED', cause = ?, failure = ? WHERE id % 5 = 0", told)
    client = client_of()
    took_s = []  # of CPU: what else the machine does is no part of it
    for address, said in (
        ("/jobs", "10000 jobs"),
        ("/jobs?page=100", "page 100 of 100"),
        ("/jobs?state=failed", "2000 jobs"),
        ("/jobs?failure=walltime&page=20", "epilayer rerun --class walltime"),
        ("/jobs?name=SLAB+4242", "1 job<"),
        ("/jobs?flow=f1&state=ready", "8000 jobs"),
        ("/", "All 2000 failed jobs"),
    ):
        started = time.process_time()
        answer = client.get(address)
        took_s.append(time.process_time() - started)
        assert said in answer.text, address
        assert answer.text.count('href="/job/') <= 100
    assert statistics.median(took_s) < 0.5, took_s
