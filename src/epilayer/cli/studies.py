"""Commands that set up a study: ``init``, ``doctor``, ``list``, ``build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.text import Text

from epilayer.cli.common import JsonOption, err, out, plain_table, print_json, report_checks, study
from epilayer.study.names import STUDY_FILE

if TYPE_CHECKING:
    pass


def init(
    directory: Annotated[Path, typer.Argument(help="Folder of the study; created if missing.")],
) -> None:
    """Create a study: settings, and workflows and configs to edit.

    Example: [cyan]epilayer init mystudy && cd mystudy && epilayer list workflows[/]
    """
    from epilayer.study.workspace import create

    create(directory)
    out.print(f"Wrote [bold]{directory}[/]: {STUDY_FILE}, configs/, workflows/, slurm/.")
    out.print(f"Next: [cyan]cd {directory} && epilayer doctor && epilayer run paper_adsorption[/]")


def list_inputs(
    kind: Annotated[
        str | None,
        typer.Argument(help="workflows, cathodes, ligands, levels, engines ... (default: all)"),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List what a workflow can name, and the workflows themselves.

    Example: [cyan]epilayer list levels[/]
    """
    rows = study().inputs(kind)
    if as_json:
        print_json(rows)
        return
    for name, entries in rows.items():
        if not entries and kind is None:
            continue
        shown = [(Text(entry["name"], "cyan"), entry["title"]) for entry in entries]
        out.print(plain_table(("name", "what it is"), shown, no_wrap=("name",), title=name))
        out.print()


def doctor(
    *,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse", help="Run a tiny campaign with stand-ins for VASP and LOBSTER, end to end."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check this machine and the study, and say how to correct what is wrong.

    With --rehearse, a few small calculations go through this study's kind of queue, store and recovery,
    computed by stand-ins: no number of them is a result. One is killed on purpose, and rerun.

    Example: [cyan]epilayer doctor --json[/], [cyan]epilayer doctor --rehearse[/]
    """
    if rehearse:
        _rehearse(as_json=as_json)
        return
    from epilayer.study.doctor import checks

    report_checks(checks(study()), as_json=as_json)


def _rehearse(*, as_json: bool) -> None:
    from epilayer.cli.runs import run_queue
    from epilayer.study.rehearsal import rehearse

    def report(line: str) -> None:
        if not as_json:
            err.print(line)

    found = rehearse(study(), lambda stage: run_queue(stage, None, quiet=as_json), report)
    if as_json:
        print_json(found)
    else:
        rows = [(job.name, str(job.attempts), job.state, "; ".join(job.events)) for job in found.jobs]
        out.print(plain_table(("job", "attempts", "state", "what happened"), rows, right=("attempts",)))
        for line in found.summary:
            out.print(escape(line), soft_wrap=True)
    if not found.ok:
        raise typer.Exit(3)
