"""``epilayer inputs``: the input files of every calculation of a workflow, without running any."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from epilayer.cli.common import JsonOption, err, out, plain_table, print_json, study
from epilayer.cli.runs import LevelOption, QuickOption, SetOption, WorkflowArgument


def inputs(
    workflow: WorkflowArgument,
    directory: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write into.")],
    level: LevelOption = None,
    settings: SetOption = None,
    *,
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the input files of every calculation of a workflow; run nothing.

    Later steps are written from unrelaxed structures. Where no POTCARs are set up, POTCAR.spec names them.

    Example: [cyan]epilayer inputs paper_adsorption --level paper -o inputs[/]
    """
    with err.status("Writing ..."):
        rows = study().write_inputs(workflow, directory, settings or (), level=level, quick=quick)
    if as_json:
        print_json(rows)
        return
    columns = ("label", "level", "task", "atoms")
    shown = [(*(str(row[name]) for name in columns), " ".join(row["files"])) for row in rows]
    out.print(plain_table(("calculation", *columns[1:], "files"), shown))
    for later in dict.fromkeys(row["later_segments"] for row in rows if "later_segments" in row):
        out.print(escape(later))
    out.print(f"{len(rows)} calculations written to {directory}. Nothing was run.")
