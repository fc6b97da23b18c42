"""What every command shares: the study in use, its queue and stores, output and errors."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epilayer import Study
    from epilayer.model.errors import EpilayerError

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

Check = tuple[str, bool, str, str]
"""What a doctor looked at, whether it is well, what was found, and how to mend it."""


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


def print_json(value: Any) -> None:  # noqa: ANN401  (any JSON value)
    """Print a JSON document to standard output, without colours or wrapping."""
    sys.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")


def report_checks(checks: Iterable[Check], *, as_json: bool) -> None:
    """Print what a doctor found; leave with 1 where something is wrong."""
    from rich.markup import escape
    from rich.table import Table

    rows = list(checks)
    if as_json:
        print_json([{"check": c, "ok": ok, "found": found, "fix": fix} for c, ok, found, fix in rows])
    else:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(ratio=2)
        table.add_column(ratio=5, overflow="fold")  # paths and commands stay whole
        for check, ok, found, fix in rows:
            table.add_row("[green]ok[/]" if ok else "[bold red]no[/]", escape(check), escape(found))
            if not ok:
                table.add_row("", "", f"[bold]mend it:[/] {escape(fix)}")
        out.print(table)
        wrong = sum(not ok for _, ok, _, _ in rows)
        out.print(f"[bold red]{wrong} of {len(rows)} checks failed.[/]" if wrong else "All is well.")
    if not all(ok for _, ok, _, _ in rows):
        raise typer.Exit(1)


def report_error(error: EpilayerError) -> None:
    """Print an error and its remedy to standard error."""
    from rich.markup import escape

    err.print(f"[bold red]Error:[/] {escape(error.what)}", soft_wrap=True)
    err.print(f"       {escape(error.remedy)}", soft_wrap=True)
    if state.debug or os.environ.get("EPILAYER_DEBUG"):
        err.print_exception()
