"""What every command shares: the study in use, its queue and stores, output and errors."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from epilayer import Study
    from epilayer.launch.base import JobInfo
    from epilayer.model.errors import EpilayerError
    from epilayer.study.doctor import Check

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, for scripts.")]
TrajectoryArgument = Annotated[
    Path,
    typer.Argument(help="XDATCAR, vasprun.xml, OUTCAR, vaspout.h5, .extxyz, .traj, or an .h5 of epilayer."),
]
TimeStepOption = Annotated[
    float | None,
    typer.Option("--time-step-fs", help="Time step of the simulation, where the file is silent."),
]
StepSkipOption = Annotated[
    int | None, typer.Option("--step-skip", min=1, help="Steps between stored frames.")
]


@dataclass
class State:
    """Options that stand before the command."""

    study_path: Path | None = None
    debug: bool = False


state = State()


def study() -> Study:
    """Return the study in use."""
    from epilayer import Study

    return Study.open(state.study_path)


def plain_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[RenderableType]] = (),
    *,
    right: Collection[str] = (),
    no_wrap: Collection[str] = (),
    title: str = "",
) -> Table:
    """Return a table without lines; text in its cells is shown as it is, without markup.

    Parameters
    ----------
    right, no_wrap
        Headings of the columns that are aligned to the right, and of those that are never wrapped.
    """
    from rich.table import Table

    shown = Table(
        box=None, pad_edge=False, title=escape(title) or None, title_justify="left", title_style="bold"
    )
    for heading in headings:
        shown.add_column(
            heading,
            justify="right" if heading in right else "left",
            no_wrap=heading in no_wrap,
            overflow="ellipsis" if heading in no_wrap else "fold",
        )
    for row in rows:
        shown.add_row(*(escape(cell) if isinstance(cell, str) else cell for cell in row))
    return shown


def fact_grid(facts: Iterable[tuple[str, RenderableType]]) -> Table:
    """Return what is known of one thing, a line for each: a bold name and its value, without markup."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(name, escape(value) if isinstance(value, str) else value)
    return grid


def job_json(job: JobInfo) -> dict[str, Any]:
    """Return a job as JSON values."""
    names = (
        "number",
        "uuid",
        "index",
        "name",
        "state",
        "attempts",
        "cause",
        "flows",
        "started",
        "ended",
        "failure",
    )
    return {**{name: getattr(job, name) for name in names}, "metadata": dict(job.metadata)}


def print_json(value: Any) -> None:  # noqa: ANN401  (any JSON value)
    """Print a JSON document to standard output, without colours or wrapping.

    Dataclasses and records are written with their fields, times and paths as text.
    """
    sys.stdout.write(json.dumps(value, indent=2, default=_json_value, ensure_ascii=False) + "\n")


def _json_value(value: Any) -> Any:  # noqa: ANN401  (any value)
    from pydantic import BaseModel

    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def report_checks(checks: Iterable[Check], *, as_json: bool) -> None:
    """Print what a doctor found; leave with 1 where something is wrong."""
    from rich.table import Table

    rows = list(checks)
    if as_json:
        print_json([row._asdict() for row in rows])
    else:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(ratio=2)
        table.add_column(ratio=5, overflow="fold")  # paths and commands stay whole
        for check, ok, found, fix in rows:
            table.add_row("[green]ok[/]" if ok else "[bold red]no[/]", escape(check), escape(found))
            if not ok:
                table.add_row("", "", f"[bold]remedy:[/] {escape(fix)}")
        out.print(table)
        wrong = sum(not ok for _, ok, _, _ in rows)
        out.print(f"[bold red]{wrong} of {len(rows)} checks failed.[/]" if wrong else "All is well.")
    if not all(ok for _, ok, _, _ in rows):
        raise typer.Exit(1)


def report_error(error: EpilayerError) -> None:
    """Print an error and its remedy to standard error."""
    err.print(f"[bold red]Error:[/] {escape(error.what)}", soft_wrap=True)
    err.print(f"       {escape(error.remedy)}", soft_wrap=True)
    if state.debug or os.environ.get("EPILAYER_DEBUG"):
        err.print_exception()
