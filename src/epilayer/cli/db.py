"""``epilayer db``: export, import and check the results with all they rest on."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epilayer.cli.common import JsonOption, err, out, print_json, study
from epilayer.model.errors import InputError
from epilayer.study.stored_files import run_files, seal_study
from epilayer.study.verifying import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epilayer import Study
    from epilayer.store.archive import Archive

app = typer.Typer(no_args_is_help=True, help="Move results between studies as one checked file.")
_BATCH = 200
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The archive, a ZIP of JSON lines and files.")
]


@app.command()
def export(file: FileArgument, *, as_json: JsonOption = False) -> None:
    """Write all results, the outputs of their jobs and the files they name as one archive.

    Every hash is checked first; damaged results are not exported.

    Example: [cyan]epilayer db export results.zip[/]
    """
    from epilayer.store.archive import write_archive

    used = study()
    with err.status("Checking every hash ..."):
        found = verify(used)
    if found.damages:
        first = found.damages[0]
        raise InputError(f"{first.path}: {first.what}.", "Restore it, or compute it again; then export.")
    results = used.results()
    try:
        records = [dict(r) for kind in results.kinds() for r in results.query(kind, limit=None, body=True)]
    finally:
        results.close()
    named: list[dict[str, Any]] = []
    blobs: dict[str, Path] = {}
    outside = 0
    for folder, files in run_files(used, records).items():
        if not folder.is_relative_to(used.runs):
            outside += len(files)
            continue
        for name, sha256 in files.items():
            named.append({"path": (folder / name).relative_to(used.runs).as_posix(), "sha256": sha256})
            blobs[sha256] = folder / name
    tables = {
        "records": records,
        "outputs": _documents(used, ""),
        "data": _documents(used, "data"),
        "files": named,
    }
    write_archive(file, tables, blobs)
    counts = {"records": len(records), "files": len(named), "files_outside_the_study": outside}
    if as_json:
        print_json(counts)
    else:
        left = f"; {outside} files outside the study were left out" if outside else ""
        out.print(f"{file}: {len(records)} results, {len(named)} files{left}.", soft_wrap=True)


@app.command("import")
def import_(file: FileArgument, *, as_json: JsonOption = False) -> None:
    """Bring in an archive: every hash is checked first, and what is known already stays as it is.

    Example: [cyan]epilayer db import results.zip[/]
    """
    from epilayer.store.archive import open_archive

    used = study()
    with open_archive(file) as archive:
        records: list[Any] = list(archive.table("records"))
        written = _bring_files(used, archive)
        _bring_documents(used, archive)
        results = used.results()
        try:
            count = results.put(records)
        finally:
            results.close()
    seal_study(used, records)
    counts = {"added": count.added, "changed": count.changed, "unchanged": count.unchanged, "files": written}
    if as_json:
        print_json(counts)
    else:
        out.print(
            f"{count.added} results added, {count.changed} changed, {count.unchanged} known; {written} files."
        )


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
    stand in epilayer.yaml.

    Example: [cyan]epilayer db crate results-crate.zip[/]
    """
    from epilayer.store.ro_crate import write_crate
    from epilayer.study.ro_crate import crate_of

    used = study()
    with err.status("Checking every hash ..."):
        found = verify(used, result)
    if found.damages:
        first = found.damages[0]
        raise InputError(
            f"{first.path}: {first.what}.", "Restore it, or compute it again; then write the crate."
        )
    gathered = crate_of(used, result)
    count = write_crate(file, gathered)
    counts = {"results": len(gathered.numbers), "jobs": len(gathered.actions), "files": count}
    if as_json:
        print_json(counts)
    else:
        said = ", ".join(f"{number} {name}" for name, number in counts.items())
        out.print(f"{file}: {said}. Check it anywhere: epilayer db check {file}", soft_wrap=True)


@app.command()
def check(file: FileArgument, *, as_json: JsonOption = False) -> None:
    """Check every hash of an archive or a crate (of a study: epilayer verify --all).

    Example: [cyan]epilayer db check results.zip[/]
    """
    from epilayer.store.archive import open_archive
    from epilayer.store.ro_crate import check_crate, is_crate

    if is_crate(file):
        files = check_crate(file)
        if as_json:
            print_json({"sound": True, "files": files})
        else:
            out.print(f"{file}: all as it was written; {files} files.")
        return
    with open_archive(file) as archive:
        counts = {name: sum(1 for _ in archive.table(name)) for name in ("records", "outputs", "files")}
    if as_json:
        print_json({"sound": True, **counts})
    else:
        out.print(f"{file}: all as it was exported; {counts['records']} results, {counts['files']} files.")


def _documents(used: Study, store: str) -> Iterator[dict[str, Any]]:
    """Yield the documents of the job store (or of its store of large objects), times and bytes kept."""
    from epilayer.store.encoding import encode

    with used.jobstore() as outputs:
        chosen = outputs.additional_stores[store] if store else outputs.docs_store
        for document in chosen.query():
            text, _, beyond = encode(document)
            yield {"doc": text, "beyond": beyond}


def _bring_documents(used: Study, archive: Archive) -> None:
    from epilayer.store.encoding import decode

    with used.jobstore() as outputs:
        for table, store, key in (
            ("data", outputs.additional_stores["data"], ["blob_uuid"]),
            ("outputs", outputs.docs_store, ["uuid", "index"]),
        ):
            batch = []
            for line in archive.table(table):
                batch.append(decode(line["doc"], line["beyond"]))
                if len(batch) == _BATCH:
                    store.update(batch, key=key)
                    batch = []
            if batch:
                store.update(batch, key=key)


def _bring_files(used: Study, archive: Archive) -> int:
    from epilayer.model.files import sha256_file, write_atomic

    wanted = []
    for line in archive.table("files"):
        inside = PurePosixPath(line["path"])
        if inside.is_absolute() or ".." in inside.parts:
            raise InputError(f"The archive names a file outside the study ({inside}).", "Do not trust it.")
        target = used.runs / inside
        if not target.exists():
            wanted.append((target, line["sha256"]))
        elif sha256_file(target) != line["sha256"]:
            raise InputError(
                f"{target} is there with other content.", "Import into a study of its own: epilayer init DIR"
            )
    for target, sha256 in wanted:  # nothing is written before all of it is known to fit
        write_atomic(target, archive.file(sha256))
    return len(wanted)
