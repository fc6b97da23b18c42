"""A small study in its real queue and stores; a test sets the states of its jobs as a worker does."""

from __future__ import annotations

import os
from operator import add
from typing import TYPE_CHECKING, Any

from jobflow import Flow, Job
from monty.json import jsanitize

from epilayer import Study
from epilayer.launch.claims import Done
from epilayer.launch.failures import of_error, with_lines
from epilayer.model.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from epilayer.launch.claims import Claim


def empty_study(root: Path) -> Study:
    """Create a study without a job."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "epilayer.yaml").touch()
    return Study.open(root)


def submit(study: Study, *names: str, flow: str = "study") -> None:
    """Put jobs that add numbers into the queue."""
    jobs = [Job(function=add, function_args=(number, 1), name=name) for number, name in enumerate(names)]
    study.queue().submit(Flow(jobs, name=flow))


def start(study: Study, number: int) -> tuple[Claim, Path]:
    """Take a job as a worker does; return the claim and the directory of the attempt."""
    queue = study.queue()
    queue.claims.register(_worker(number), os.getpid(), os.getpid())
    claim = queue.claims.claim(_worker(number), number)
    assert claim is not None
    directory = queue.attempts(number)[-1].directory
    directory.mkdir(parents=True, exist_ok=True)
    return claim, directory


def complete(study: Study, number: int) -> None:
    """Run a job to its end."""
    claim, _ = start(study, number)
    study.queue().claims.finish(_worker(number), claim, Done(), more=False)


def fail(study: Study, number: int, error: Exception, logs: Mapping[str, str] | None = None) -> Path:
    """Let a job fail with an error, and leave these logs; return the directory of the attempt."""
    claim, directory = start(study, number)
    for name, text in (logs or {}).items():
        (directory / name).write_text(text, encoding="utf-8")
    failure = with_lines(of_error(error), directory)
    study.queue().claims.fail(_worker(number), claim, failure, more=False)
    return directory


def put_output(study: Study, uuid: str, output: Any) -> None:  # noqa: ANN401  (any output of a job)
    """Store what a job put out."""
    document = {"uuid": uuid, "index": 1, "output": output, "completed_at": "2026-01-01"}
    with study.jobstore() as outputs:
        outputs.update(jsanitize(document, strict=True, enum_values=True))


def with_three_jobs(study: Study, text: str) -> Path:
    """Add a job that failed, one that completed and one that runs; ``text`` stands in name, cause and logs.

    Returns
    -------
    Path
        The directory of the attempt that failed; a file lies beside it, and links in it lead outside.
    """
    outside = study.root.parent
    (outside / "secret.txt").write_text("outside the study", encoding="utf-8")
    submit(study, f"relax {text}", "slab", "molecule", flow=f"a campaign {text}")
    logs = {"stdout.log": "all is well\n", "stderr.log": f"Traceback\nKilled {text}\n"}
    directory = fail(
        study, 1, EngineError(f"The forces did not converge {text}.", "Give it more steps."), logs
    )
    complete(study, 2)
    start(study, 3)
    (directory / "deep").mkdir()
    (directory / "deep" / "POSCAR").write_text("Na\n", encoding="utf-8")
    (directory.parent / "beside.txt").write_text("beside the attempt", encoding="utf-8")
    (directory / "link.txt").symlink_to(outside / "secret.txt")
    (directory / "up").symlink_to(outside)
    return directory


def _worker(number: int) -> str:
    return f"worker-{number}"
