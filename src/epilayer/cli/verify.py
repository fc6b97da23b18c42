"""``epilayer verify``: whether stored results are what was computed, to the byte."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from rich.markup import escape

from epilayer.cli.common import JsonOption, err, out, print_json, study
from epilayer.model.errors import InputError

_DAMAGED = 5


def verify(
    result: Annotated[
        str | None, typer.Argument(metavar="RESULT", help="Id of a result, or the beginning of one.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Check every result of the study.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a result against its files: hashes of all bytes, and the number from its raw energies.

    Names the first byte that differs. The job that made a result makes it once more from the stored
    outputs and frames, without any engine. Exit code 0: all is as it was written; 5: something is not.

    Example: [cyan]epilayer verify --all[/]
    """
    if (result is None) is not everything:
        raise InputError(
            "Name one result, or all of them.", "epilayer verify RESULT (ids: epilayer query), or --all."
        )
    with err.status("Reading every byte ..."):
        found = study().verify(result)
    if as_json:
        print_json({"sound": not found.damages, **dataclasses.asdict(found)})
    else:
        for damage in found.damages:
            out.print(f"[bold red]differs[/]  {escape(damage.path)}: {escape(damage.what)}", soft_wrap=True)
        for note in found.notes:
            out.print(f"[yellow]note[/]     {escape(note)}", soft_wrap=True)
        verdict = (
            f"[bold red]{len(found.damages)} differ from what was written.[/] Restore them from a copy, or "
            "compute again: epilayer run WORKFLOW --fresh"
            if found.damages
            else "[green]All as it was written.[/]"
        )
        out.print(
            f"{found.records} results, {found.files} files, {found.numbers} made again. {verdict}",
            soft_wrap=True,
        )
    if found.damages:
        raise typer.Exit(_DAMAGED)
