"""``epilayer db``: export, import and check the results with all they rest on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epilayer.cli.common import JsonOption, err, out, print_json, study

app = typer.Typer(no_args_is_help=True, help="Move results between studies as one checked file.")
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The archive, a ZIP of JSON lines and files.")
]


@app.command()
def export(file: FileArgument, *, as_json: JsonOption = False) -> None:
    """Write all results, the outputs of their jobs and the files they name as one archive.

    Every hash is checked first; damaged results are not exported.

    Example: [cyan]epilayer db export results.zip[/]
    """
    from epilayer.study.archives import export_archive

    with err.status("Checking every hash ..."):
        counts = export_archive(study(), file)
    if as_json:
        print_json(counts)
        return
    outside = counts["files_outside_the_study"]
    left = f"; {outside} files outside the study were left out" if outside else ""
    out.print(f"{file}: {counts['records']} results, {counts['files']} files{left}.", soft_wrap=True)


@app.command("import")
def import_(file: FileArgument, *, as_json: JsonOption = False) -> None:
    """Bring in an archive: every hash is checked first, and what is known already stays as it is.

    Example: [cyan]epilayer db import results.zip[/]
    """
    from epilayer.study.archives import import_archive

    counts = import_archive(study(), file)
    if as_json:
        print_json(counts)
        return
    added, changed, unchanged, files = counts.values()
    out.print(f"{added} results added, {changed} changed, {unchanged} known; {files} files.")


@app.command()
def crate(
    file: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write, or a .zip file.")],
    result: Annotated[
        str | None, typer.Argument(metavar="[RESULT]", help="Id of one result, or its beginning; else all.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Write results as an RO-Crate, which repositories and other programs read.

    It holds the results, the jobs behind them as submitted and as put out, the files they left with their
    hashes, versions, levels of theory with their weights, methods and citations. Title, authors and licence
    are read from epilayer.yaml.

    Example: [cyan]epilayer db crate results-crate.zip[/]
    """
    from epilayer.study.archives import write_ro_crate

    with err.status("Checking every hash ..."):
        counts = write_ro_crate(study(), file, result)
    if as_json:
        print_json(counts)
        return
    shown = ", ".join(f"{number} {name}" for name, number in counts.items())
    out.print(f"{file}: {shown}. Check it anywhere: epilayer db check {file}", soft_wrap=True)


@app.command()
def check(file: FileArgument, *, as_json: JsonOption = False) -> None:
    """Check every hash of an archive or a crate (of a study: epilayer verify --all).

    Example: [cyan]epilayer db check results.zip[/]
    """
    from epilayer.study.archives import check_file

    counts = check_file(file)
    if as_json:
        print_json({"sound": True, **counts})
    elif "records" in counts:
        shown = f"{counts['records']} results, {counts['files']} files"
        out.print(f"{file}: all as it was exported; {shown}.")
    else:
        out.print(f"{file}: all as it was written; {counts['files']} files.")
