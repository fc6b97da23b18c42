"""Results moved between studies: archives with all that they rest on, and RO-Crates for repositories."""

from __future__ import annotations

from contextlib import closing
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from epilayer.model.errors import InputError
from epilayer.study.records import stored
from epilayer.study.stored_files import run_files, write_study_checksums
from epilayer.study.verifying import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from epilayer.store.archive import Archive
    from epilayer.study.workspace import Workspace

_BATCH = 200


def export_archive(study: Workspace, file: Path) -> dict[str, int]:
    """Write all results, the outputs of their jobs and the files they name as one archive; return the counts.

    Raises
    ------
    InputError
        If a hash is not as it was written.
    """
    from epilayer.store.archive import write_archive

    _check(study, None, "then export")
    records = [dict(record) for record in stored(study)]
    named: list[dict[str, Any]] = []
    blobs: dict[str, Path] = {}
    outside = 0
    for folder, files in run_files(study, records).items():
        if not folder.is_relative_to(study.runs):
            outside += len(files)
            continue
        for name, sha256 in files.items():
            named.append({"path": (folder / name).relative_to(study.runs).as_posix(), "sha256": sha256})
            blobs[sha256] = folder / name
    tables = {
        "records": records,
        "outputs": _documents(study, ""),
        "data": _documents(study, "data"),
        "files": named,
    }
    write_archive(file, tables, blobs)
    return {"records": len(records), "files": len(named), "files_outside_the_study": outside}


def import_archive(study: Workspace, file: Path) -> dict[str, int]:
    """Bring in an archive, after every hash is checked; what is known already stays. Return the counts.

    Raises
    ------
    InputError
        If a hash differs, or a file is there with other content.
    """
    from epilayer.store.archive import open_archive

    with open_archive(file) as archive:
        records: list[Any] = list(archive.table("records"))
        written = _bring_files(study, archive)
        _bring_documents(study, archive)
        with closing(study.results()) as results:
            count = results.put(records)
    write_study_checksums(study, records)
    return {"added": count.added, "changed": count.changed, "unchanged": count.unchanged, "files": written}


def write_ro_crate(study: Workspace, file: Path, identity: str | None = None) -> dict[str, int]:
    """Write one result (by id, or its beginning), or all, as an RO-Crate; return the counts.

    Parameters
    ----------
    file
        A folder, or a .zip file.

    Raises
    ------
    InputError
        If a hash is not as it was written, or the study names no authors or licence.
    """
    from epilayer.store.ro_crate import write_crate
    from epilayer.study.ro_crate import crate_of

    _check(study, identity, "then write the crate")
    gathered = crate_of(study, identity)
    files = write_crate(file, gathered)
    return {"results": len(gathered.numbers), "jobs": len(gathered.actions), "files": files}


def check_file(file: Path) -> dict[str, int]:
    """Check every hash of an archive or an RO-Crate; return how much it holds.

    Raises
    ------
    InputError
        If a hash is not as it was written.
    """
    from epilayer.store.archive import open_archive
    from epilayer.store.ro_crate import check_crate, is_crate

    if is_crate(file):
        return {"files": check_crate(file)}
    with open_archive(file) as archive:
        return {name: sum(1 for _ in archive.table(name)) for name in ("records", "outputs", "files")}


def _check(study: Workspace, identity: str | None, then: str) -> None:
    found = verify(study, identity)
    if found.damages:
        first = found.damages[0]
        raise InputError(f"{first.path}: {first.what}.", f"Restore it, or compute it again; {then}.")


def _documents(study: Workspace, store: str) -> Iterator[dict[str, Any]]:
    """Yield the documents of the job store (or of its store of large objects), times and bytes kept."""
    from epilayer.store.encoding import encode

    with study.jobstore() as outputs:
        chosen = outputs.additional_stores[store] if store else outputs.docs_store
        for document in chosen.query():
            text, _, beyond = encode(document)
            yield {"doc": text, "beyond": beyond}


def _bring_documents(study: Workspace, archive: Archive) -> None:
    from epilayer.store.encoding import decode

    with study.jobstore() as outputs:
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


def _bring_files(study: Workspace, archive: Archive) -> int:
    from epilayer.model.files import sha256_file, write_atomic

    wanted = []
    for line in archive.table("files"):
        inside = PurePosixPath(line["path"])
        if inside.is_absolute() or ".." in inside.parts:
            raise InputError(f"The archive names a file outside the study ({inside}).", "Do not trust it.")
        target = study.runs / inside
        if not target.exists():
            wanted.append((target, line["sha256"]))
        elif sha256_file(target) != line["sha256"]:
            raise InputError(
                f"{target} is there with other content.", "Import into a study of its own: epilayer init DIR"
            )
    for target, sha256 in wanted:  # nothing is written before all of it is known to fit
        write_atomic(target, archive.file(sha256))
    return len(wanted)
