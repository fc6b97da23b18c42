"""Every error text is printed by a program, becomes a class, and the policy of that class decides."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jobflow import Flow, JobStore

from epilayer.launch import EmbeddedQueue, recovery, run_workers
from epilayer.launch.base import JobState
from epilayer.model.base import parse
from epilayer.model.cluster import Action, Recovery, Resources
from epilayer.model.failure import FailureClass
from epilayer.outputs.run_failure import class_of
from epilayer.outputs.vasp.error_messages import TEXTS, errors_in
from epilayer.store.sqlite import SqliteStore
from epilayer.structures import molecules
from epilayer.study.config import Catalogue, read_yaml, shipped

if TYPE_CHECKING:
    from epilayer.launch import JobInfo
    from epilayer.model.failure import Failure

GENERATE = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "generate.py"))
CAUSES: list[tuple[str, str, Failure]] = list(GENERATE["failure_causes"]())
REAL = Path(os.environ.get("EPILAYER_REAL_DATA", "../shared/data")) / "vasp_error_texts"
#: Prints the text that bears the number of the job, whose directory is ``NUMBER-name/attempt-1``.
PROGRAM = """#!/bin/sh
job=$(basename "$(dirname "$PWD")")
cat "$ERROR_TEXTS/${job%%-*}"
exit 1
"""


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Failure, str, JobState]]:
    """Fail a job by each cause of the table; return what the queue holds, what was done, and the state."""
    import toy_jobs as toy

    folder = tmp_path_factory.mktemp("causes")
    queue = EmbeddedQueue(folder / "queue.db", code_version="1")
    queue.claims.register("w", 1, 1)
    queue.submit(Flow([toy.add(number, 1) for number in range(len(CAUSES))]))
    for _where, _seen, failure in CAUSES:
        claim = queue.claims.claim("w")
        assert claim is not None
        queue.claims.fail("w", claim, failure, more=False)
    failed = queue.jobs()
    done = decide(queue)
    return {
        f"{where}: {seen}": (before.failure, done[before.number], after.state)
        for (where, seen, _), before, after in zip(CAUSES, failed, queue.jobs(), strict=True)
        if before.failure is not None
    }


def decide(queue: EmbeddedQueue) -> dict[int, str]:
    """Apply the shipped policies to every failed job; return what was done, in words, by job."""
    with queue.claims.file.reading() as db:
        cases = recovery.unjudged(db)
    return {
        case.job: recovery.judge(queue, case, case.failure, POLICIES, Resources(), "n1")
        for case in cases
        if case.failure is not None
    }


POLICIES = parse(Recovery, read_yaml(shipped("configs") / "recovery.yaml"), "recovery.yaml")
WORDS = {
    Action.RESUME: "runs again",
    Action.MORE_TIME: "runs again with walltime 01:30:00",
    Action.MORE_MEMORY: "runs again with memory 4096 MB",
    Action.OTHER_NODE: "runs again, not on n1",
    Action.OTHER_ALGORITHM: "runs again (other algorithm)",
    Action.SMALLER_STEP: "runs again (smaller step)",
    Action.NEVER: "waits for a person",
}


@pytest.mark.parametrize(("where", "seen", "failure"), CAUSES, ids=lambda part: str(part)[:40])
def test_each_cause_of_the_table_is_decided_by_the_policy_of_its_class(
    decided: dict[str, tuple[Failure, str, JobState]], where: str, seen: str, failure: Failure
) -> None:
    stored, words, state = decided[f"{where}: {seen}"]
    action = POLICIES.policies[failure.kind].action
    assert stored == failure
    assert words == WORDS[action]
    assert state is (JobState.FAILED if action is Action.NEVER else JobState.READY)


def test_the_policy_of_zbrent_and_of_memory_is_theirs_and_no_other() -> None:
    kinds = {failure.cause: failure.kind for _, _, failure in CAUSES}
    assert kinds["zbrent"] is FailureClass.LINE_SEARCH
    assert kinds["out_of_memory"] is FailureClass.OUT_OF_MEMORY
    assert {failure.kind for _, _, failure in CAUSES} | {FailureClass.IONIC} == set(FailureClass)


def texts() -> dict[str, bytes]:
    """Return a text for each error of the table, and those of real runs where they are at hand."""
    found = {error.value: GENERATE["sample"](text.patterns[0]).encode() for error, text in TEXTS.items()}
    for error, text in found.items():
        assert re.search(TEXTS_BY_NAME[error], text.decode()), error
    real = [*REAL.glob("vasp*"), *REAL.glob("std_err*"), *REAL.glob("zpotrf/vasp.out")]
    return found | {path.name: path.read_bytes() for path in sorted(real)}


TEXTS_BY_NAME = {error.value: text.patterns[0].replace(" ", r"\s+") for error, text in TEXTS.items()}


@pytest.mark.slow
def test_every_text_that_the_program_prints_becomes_its_class_and_the_decision_of_its_policy(
    vasp: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vasp
    printed = texts()
    (tmp_path / "texts").mkdir()
    program = tmp_path / "vasp_std"
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("ERROR_TEXTS", str(tmp_path / "texts"))
    monkeypatch.setenv("ATOMATE2_VASP_CMD", str(program))
    monkeypatch.setenv("ATOMATE2_VASP_GAMMA_CMD", str(program))
    catalogue = Catalogue((shipped("configs"),))
    ammonia = molecules.build(catalogue.ligand("ammonia"), 0)
    jobs = []
    for number, (name, text) in enumerate(printed.items(), start=1):
        (tmp_path / "texts" / str(number)).write_bytes(text + b"\n")
        maker: Any = catalogue.engine("paper").static(name)
        maker.run_vasp_kwargs = {"max_errors": 1}
        # Equal jobs are one job: each has a box of its own.
        jobs.append(maker.make(molecules.in_box(ammonia, vacuum_ang=15.0 + number / 100)))
    queue = EmbeddedQueue(tmp_path / "queue.db", runs=tmp_path / "runs")
    outputs = tmp_path / "outputs.db"
    queue.submit(Flow(jobs, name="texts"))
    store = JobStore(SqliteStore(outputs, "outputs"), {"data": SqliteStore(outputs, "data")})
    run_workers(queue, store.as_dict(), workers=2)
    failed = queue.jobs()
    done = decide(queue)
    wrong = {}
    for (name, text), job in zip(printed.items(), failed, strict=True):
        fatal = [r for r in errors_in(text, name, finished=False) if TEXTS[r.code].fatal]
        expected = class_of(fatal[0].code) if fatal else FailureClass.LOST
        found = kind_of(job)
        if (found, done.get(job.number)) != (expected, WORDS[POLICIES.policies[expected].action]):
            wrong[name] = (found, expected, done.get(job.number), job.cause)
    assert wrong == {}


def kind_of(job: JobInfo) -> FailureClass | None:
    return job.failure.kind if job.failure else None
