"""Check stored results against their bytes: hashes of every file, and each number from its raw energies."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from epilayer.model.files import sha256_file
from epilayer.store.checksums import RUN_CHECKSUMS, Damage, check_database, compare
from epilayer.study.recomputing import recompute
from epilayer.study.records import stored, without_results
from epilayer.study.stored_files import checksum_entries, run_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from epilayer.study.workspace import Workspace


@dataclass
class Verification:
    """What a check looked at, and what it found.

    Attributes
    ----------
    records, files, numbers
        How many records, files (those of checksums included) and numbers computed again were looked at.
    damages
        Everything that is not as it was written.
    notes
        What could not be checked as thoroughly, and why.
    """

    records: int = 0
    files: int = 0
    numbers: int = 0
    damages: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(study: Workspace, identity: str | None = None) -> Verification:
    """Check one record (by id, or its beginning), or all of a study.

    The databases are checked first: of a damaged one nothing else is read.
    """
    found = Verification()
    embedded = study.results_address == study.results_file
    if embedded and not study.results_file.is_file():
        raise without_results(study)
    for path in (study.results_file, study.outputs_file):
        if path.is_file():
            found.files += 1
            _check_database(study, path, found)
    if found.damages:
        return found
    with closing(study.results()) as results:
        if not embedded:
            found.notes.append("The results are in a database: its documents were checked by their hashes.")
            found.damages += [Damage("the results database", what) for what in results.damaged()]
            if found.damages:
                return found
        records = stored(study) if identity is None else [results.get(identity)]
    found.records = len(records)
    _check_files(run_files(study, records, everything=identity is None), found)
    if found.damages:
        found.notes.append("The numbers were not computed again: first restore the files.")
    else:
        again = recompute(study, records)
        found.numbers += again.numbers
        found.damages += again.damages
        found.notes += again.notes
    return found


def _check_database(study: Workspace, path: Path, found: Verification) -> None:
    state = check_database(path)
    if state.damage is not None:
        found.damages.append(state.damage)
    elif not state.unchanged:
        found.notes.append(
            f"{path.name} was written to since its checksums: its documents were checked by their hashes."
        )
        found.damages += [Damage(str(path), what) for what in _damaged_documents(study, path)]


def _damaged_documents(study: Workspace, path: Path) -> list[str]:
    if path == study.results_file:
        from epilayer.store.results import SqliteResults

        with closing(SqliteResults(path)) as results:
            return results.damaged()
    with study.jobstore() as outputs:
        stores = (outputs.docs_store, *outputs.additional_stores.values())
        return [what for store in stores for what in store.damaged()]


def _check_files(files: Mapping[Path, Mapping[str, str]], found: Verification) -> None:
    for folder, named in files.items():
        known = checksum_entries(folder)
        if known is None:
            found.damages.append(
                Damage(str(folder / RUN_CHECKSUMS), "the checksums are not as they were written")
            )
            known = {}
        elif known:
            found.files += 1
        for name in (*named, *(n for n in known if n not in named)):
            found.files += 1
            damage = _damage(folder / name, named.get(name), known.get(name))
            if damage is not None:
                found.damages.append(damage)


def _damage(path: Path, sha256: str | None, entry: dict[str, Any] | None) -> Damage | None:
    """Return how a file differs from its checksums, else from the hash that a record names."""
    if entry is not None and sha256 in (None, entry["sha256"]):
        return compare(path, entry)
    if not path.is_file():
        return Damage(str(path), "the file is missing")
    return None if sha256_file(path) == sha256 else Damage(str(path), "its hash is not the one in the record")
