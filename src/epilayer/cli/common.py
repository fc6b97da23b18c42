"""What every command shares: the study in use, its queue and stores, output and errors."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from epilayer.config import open_study

if TYPE_CHECKING:
    from pathlib import Path

    from jobflow import JobStore

    from epilayer.config import Study
    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.model.errors import EpilayerError
    from epilayer.store.results import ResultsStore

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, for scripts.")]


@dataclass
class State:
    """Options that stand before the command."""

    study_path: Path | None = None
    debug: bool = False


state = State()


def study() -> Study:
    """Return the study in use."""
    return open_study(state.study_path)


def queue_of(used: Study) -> EmbeddedQueue:
    """Open (or create) the queue of a study."""
    from epilayer.launch.embedded import EmbeddedQueue

    used.state.mkdir(parents=True, exist_ok=True)
    return EmbeddedQueue(used.queue_file, runs=used.runs)


def jobstore_of(used: Study) -> JobStore:
    """Open (or create) the store of a study's job outputs."""
    from epilayer.store.jobs import embedded_jobstore

    used.state.mkdir(parents=True, exist_ok=True)
    return embedded_jobstore(used.outputs_file)


def results_of(used: Study) -> ResultsStore:
    """Open (or create) the results store of a study."""
    from epilayer.store.results import open_results

    used.state.mkdir(parents=True, exist_ok=True)
    return open_results(used.results_file)


def print_json(value: Any) -> None:  # noqa: ANN401  (any JSON value)
    """Print a JSON document to standard output, without colours or wrapping."""
    sys.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")


def report_error(error: EpilayerError) -> None:
    """Print an error and its remedy to standard error."""
    from rich.markup import escape

    err.print(f"[bold red]Error:[/] {escape(error.what)}", soft_wrap=True)
    err.print(f"       {escape(error.remedy)}", soft_wrap=True)
    if state.debug or os.environ.get("EPILAYER_DEBUG"):
        err.print_exception()
