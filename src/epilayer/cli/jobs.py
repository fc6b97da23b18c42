"""``epilayer jobs``: list, show, log, tree."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import JsonOption, out, print_json, study
from epilayer.model.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path

    from epilayer.launch.base import Attempt, JobInfo, JobState

app = typer.Typer(no_args_is_help=True, help="Look at single jobs: list, show, log, tree.")
_STYLE = {"COMPLETED": "green", "FAILED": "bold red", "RUNNING": "cyan", "CANCELLED": "yellow"}

FlowOption = Annotated[str | None, typer.Option("--flow", "-f", help="Only jobs of this flow (f1, name).")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Number, uuid, or the beginning of a uuid.")]


@app.command("list")
def list_jobs(
    state: Annotated[
        str | None, typer.Option("--state", "-s", help="waiting, ready, running, completed, failed ...")
    ] = None,
    flow: FlowOption = None,
    name: Annotated[str | None, typer.Option("--name", help="Glob pattern, e.g. 'relax*'.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1)] = 200,
    *,
    as_json: JsonOption = False,
) -> None:
    """List jobs.

    Example: [cyan]epilayer jobs list --state failed[/]
    """
    jobs = study().queue().jobs(state=_state(state), flow=flow, name=name, limit=limit)
    if as_json:
        print_json([_plain(j) for j in jobs])
        return
    if not jobs:
        out.print("No such jobs.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("job", "state", "tries", "took", "name", "cause"):
        table.add_column(heading, justify="right" if heading in ("job", "tries", "took") else "left")
    for job in jobs:
        table.add_row(
            str(job.number),
            _coloured(job.state),
            str(job.attempts),
            _took(job),
            escape(job.name),
            escape(job.cause or ""),
        )
    out.print(table)


@app.command()
def show(ref: JobArgument, *, as_json: JsonOption = False) -> None:
    """Show one job: state, cause, every attempt with its directory.

    Example: [cyan]epilayer jobs show 12[/]
    """
    queue = study().queue()
    job, attempts = queue.job(ref), queue.attempts(ref)
    if as_json:
        print_json({**_plain(job), "attempts": [_plain_attempt(a) for a in attempts]})
        return
    grid = Table.grid(padding=(0, 2))
    for key, value in (
        ("job", f"{job.number}  {job.name}"),
        ("state", _coloured(job.state)),
        ("cause", job.cause or ""),
        ("class", f"{job.failure.kind} ({job.failure.cause})" if job.failure else ""),
        ("advice", job.failure.advice if job.failure else ""),
        *(("its log", f"{log}: {line}") for log, line in (job.failure.telling if job.failure else ())),
        ("uuid", f"{job.uuid} (index {job.index})"),
        ("function", job.function),
        ("flows", ", ".join(job.flows)),
        ("created", f"{job.created:%Y-%m-%d %H:%M:%S}"),
    ):
        if value:
            grid.add_row(f"[bold]{key}[/]", value if key == "state" else escape(value))
    out.print(grid)
    if not attempts:
        out.print("No attempt yet.")
        return
    table = Table(title="attempts", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("no", "outcome", "started", "took", "directory", "cause"):
        table.add_column(heading, overflow="fold")
    for a in attempts:
        took = f"{(a.ended - a.started).total_seconds():.1f} s" if a.ended else ""
        table.add_row(
            str(a.number),
            a.outcome.value,
            f"{a.started:%m-%d %H:%M:%S}",
            took,
            str(a.directory),
            escape(a.cause or ""),
        )
    out.print(table)
    out.print(f"Logs: [cyan]epilayer jobs log {job.number}[/]")


@app.command()
def log(
    ref: JobArgument,
    attempt: Annotated[
        int | None, typer.Option("--attempt", "-a", help="Attempt (default: the last).")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Last lines of each log.")] = 40,
) -> None:
    """Print the end of what a job wrote, standard error last.

    Example: [cyan]epilayer jobs log 12 --lines 100[/]
    """
    attempts = study().queue().attempts(ref)
    if not attempts:
        raise InputError(f"Job {ref} has not run yet.", "Start it: epilayer run")
    numbers = {a.number: a for a in attempts}
    if attempt is not None and attempt not in numbers:
        raise UnknownNameError("attempt", str(attempt), [str(n) for n in numbers])
    chosen = numbers[attempt] if attempt is not None else attempts[-1]
    for path in (chosen.stdout, chosen.stderr):
        out.print(f"[bold]{path}[/]")
        for line in _tail(path, lines):
            out.print(line, markup=False, soft_wrap=True)


@app.command()
def tree(flow: FlowOption = None, *, as_json: JsonOption = False) -> None:
    """Show what waits for what, as an indented tree.

    Example: [cyan]epilayer jobs tree --flow f1[/]
    """
    from epilayer.launch.base import tree as lay_out

    queue = study().queue()
    rows = lay_out(queue.jobs(flow=flow), queue.edges(flow))
    if as_json:
        print_json([{"depth": depth, **_plain(job)} for depth, job in rows])
        return
    for depth, job in rows:
        out.print(f"{'  ' * depth}{job.number:>4} {_coloured(job.state)} {escape(job.name)}", soft_wrap=True)


def _state(text: str | None) -> JobState | None:
    from epilayer.launch.base import JobState

    if text is None:
        return None
    known = {s.value.lower(): s for s in JobState}
    if text.lower() not in known:
        raise UnknownNameError("state", text, known)
    return known[text.lower()]


def _tail(path: Path, lines: int) -> list[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
    except FileNotFoundError:
        return ["(no such file)"]


def _took(job: JobInfo) -> str:
    if job.started is None or job.ended is None:
        return ""
    return f"{(job.ended - job.started).total_seconds():.1f} s"


def _coloured(state: JobState) -> str:
    style = _STYLE.get(state.value)
    return f"[{style}]{state.value.lower()}[/]" if style else state.value.lower()


def _plain(job: JobInfo) -> dict[str, Any]:
    return {
        "number": job.number,
        "uuid": job.uuid,
        "index": job.index,
        "name": job.name,
        "state": job.state.value,
        "attempts": job.attempts,
        "cause": job.cause,
        "failure": job.failure.model_dump(mode="json") if job.failure else None,
        "flows": list(job.flows),
        "started": job.started,
        "ended": job.ended,
        "metadata": dict(job.metadata),
    }


def _plain_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "outcome": attempt.outcome.value,
        "cause": attempt.cause,
        "failure": attempt.failure.model_dump(mode="json") if attempt.failure else None,
        "host": attempt.host,
        "pid": attempt.pid,
        "started": attempt.started,
        "ended": attempt.ended,
        "directory": str(attempt.directory),
    }
