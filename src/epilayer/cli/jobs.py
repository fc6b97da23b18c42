"""``epilayer jobs``: list, show, log, tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from epilayer.cli.common import JsonOption, fact_grid, job_json, out, plain_table, print_json, study
from epilayer.model.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from rich.console import RenderableType

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
        print_json([job_json(j) for j in jobs])
        return
    if not jobs:
        out.print("No such jobs.")
        return
    headings = ("job", "state", "tries", "took", "name", "cause")
    rows = [
        (str(job.number), _coloured(job.state), str(job.attempts), _took(job), job.name, job.cause or "")
        for job in jobs
    ]
    out.print(plain_table(headings, rows, right=("job", "tries", "took")))


@app.command()
def show(ref: JobArgument, *, as_json: JsonOption = False) -> None:
    """Show one job: state, cause, every attempt with its directory.

    Example: [cyan]epilayer jobs show 12[/]
    """
    queue = study().queue()
    job, attempts = queue.job(ref), queue.attempts(ref)
    if as_json:
        print_json({**job_json(job), "attempts": [_attempt_json(a) for a in attempts]})
        return
    facts: tuple[tuple[str, RenderableType], ...] = (
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
    )
    out.print(fact_grid((key, value) for key, value in facts if value))
    if not attempts:
        out.print("No attempt yet.")
        return
    headings = ("no", "outcome", "started", "took", "directory", "cause")
    rows = [
        (
            str(a.number),
            a.outcome.value,
            f"{a.started:%m-%d %H:%M:%S}",
            _took(a),
            str(a.directory),
            a.cause or "",
        )
        for a in attempts
    ]
    out.print(plain_table(headings, rows, title="attempts"))
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
    from epilayer.outputs.run_failure import tail

    attempts = study().queue().attempts(ref)
    if not attempts:
        raise InputError(f"Job {ref} has not run yet.", "Start it: epilayer run")
    numbers = {a.number: a for a in attempts}
    if attempt is not None and attempt not in numbers:
        raise UnknownNameError("attempt", str(attempt), [str(n) for n in numbers])
    chosen = numbers[attempt] if attempt is not None else attempts[-1]
    for path in (chosen.stdout, chosen.stderr):
        out.print(f"[bold]{path}[/]")
        text = tail(path, lines) if path.is_file() else "(no such file)"
        if text:
            out.print(text, markup=False, soft_wrap=True)


@app.command()
def tree(flow: FlowOption = None, *, as_json: JsonOption = False) -> None:
    """Show what waits for what, as an indented tree.

    Example: [cyan]epilayer jobs tree --flow f1[/]
    """
    from epilayer.launch.base import tree as tree_rows

    queue = study().queue()
    rows = tree_rows(queue.jobs(flow=flow), queue.edges(flow))
    if as_json:
        print_json([{"depth": depth, **job_json(job)} for depth, job in rows])
        return
    for depth, job in rows:
        line = Text.assemble(f"{'  ' * depth}{job.number:>4} ", _coloured(job.state), f" {job.name}")
        out.print(line, soft_wrap=True)


def _state(text: str | None) -> JobState | None:
    from epilayer.launch.base import JobState

    if text is None:
        return None
    known = {s.value.lower(): s for s in JobState}
    if text.lower() not in known:
        raise UnknownNameError("state", text, known)
    return known[text.lower()]


def _took(ran: JobInfo | Attempt) -> str:
    if ran.started is None or ran.ended is None:
        return ""
    return f"{(ran.ended - ran.started).total_seconds():.1f} s"


def _coloured(state: JobState) -> Text:
    return Text(state.value.lower(), _STYLE.get(state.value, ""))


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    names = ("number", "outcome", "cause", "failure", "host", "pid", "started", "ended", "directory")
    return {name: getattr(attempt, name) for name in names}
