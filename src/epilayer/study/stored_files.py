"""The files that results rest on: which there are, where they are now, and their checksums."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from epilayer.model.files import sha256_file
from epilayer.store.checksums import (
    RUN_CHECKSUMS,
    SUFFIX,
    check_database,
    read_checksums,
    write_checksums,
    write_database_checksums,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from epilayer.study.workspace import Workspace

_TRAJECTORIES = "trajectories"
_PASSING = frozenset({SUFFIX, ".tmp", ".lock"})


def provenances(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  (any JSON)
    """Yield every provenance (run directory, files by hash) inside a body or an output."""
    if isinstance(value, dict):
        if "run_directory" in value and isinstance(value.get("files"), dict):
            yield value
        else:
            for item in value.values():
                yield from provenances(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from provenances(item)


def run_files(
    study: Workspace, records: Iterable[Mapping[str, Any]], *, everything: bool = False
) -> dict[Path, dict[str, str]]:
    """Return the SHA-256 of each file, by its folder, that records name: runs and trajectories.

    Parameters
    ----------
    everything
        Also the files behind the outputs of every job, which searches choose from.
    """
    named = [item for record in records for item in _named(record.get("body", {}))]
    if everything:
        # A checkpoint is written over by each segment; the trajectory's checksums hold the last one.
        outputs = (output for output in _outputs(study) if output.get("@class") != "Segment")
        named += [(p["run_directory"], p["files"]) for output in outputs for p in provenances(output)]
    found: dict[Path, dict[str, str]] = {}
    for folder, files in named:
        if files:
            found.setdefault(located(study, folder), {}).update(files)
    return found


def _named(body: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each folder that a record names, with its files by name and SHA-256."""
    for origin in provenances(body):
        yield origin["run_directory"], origin["files"]
    for trajectory in body.get("trajectories") or ():
        path = Path(trajectory["path"])
        yield str(path.parent), {path.name: trajectory["sha256"]}
    for one in (body, *(body.get("legs") or ())):
        if one.get("path") and isinstance(one.get("files"), dict):  # imported: they stay where they are
            yield one["path"], one["files"]


def _outputs(study: Workspace) -> Iterator[dict[str, Any]]:
    if study.cluster is None and not study.outputs_file.is_file():
        return
    with study.jobstore() as outputs:
        for document in outputs.docs_store.query({}, properties=["output"]):
            values = document.get("output")
            for value in values if isinstance(values, list) else [values]:
                if isinstance(value, dict):
                    yield value


def located(study: Workspace, path: str) -> Path:
    """Return a file or folder of a study where it is now: a study may have been moved as a whole."""
    given = Path(path)
    if given.exists():
        return given
    for folder in (study.runs.name, _TRAJECTORIES):
        if folder in given.parts:
            place = len(given.parts) - given.parts[::-1].index(folder)
            moved = study.root / folder / Path(*given.parts[place:])
            if moved.exists():
                return moved
    return given


def checksum_entries(folder: Path) -> Mapping[str, Any] | None:
    """Return the checksums of the files of a folder; none without them, ``None`` where they are damaged."""
    stored = folder / RUN_CHECKSUMS
    content = read_checksums(stored) if stored.is_file() else {"files": {}}
    return None if content is None else dict(content["files"])


def write_study_checksums(study: Workspace, records: Iterable[Mapping[str, Any]]) -> None:
    """Write checksums of the files of records and outputs, and of the databases, except of damaged ones."""
    for folder, files in run_files(study, records, everything=True).items():
        known = checksum_entries(folder)
        if known is None or not files:
            continue
        stale = any(n not in known or known[n]["sha256"] != sha256 for n, sha256 in files.items())
        if stale and all(_is(folder / name, sha256) for name, sha256 in files.items()):
            # Logs and checkpoints next to them have no hash in a record, only these checksums.
            write_checksums(
                folder / RUN_CHECKSUMS, sorted({*(folder / name for name in files), *_beside(folder)})
            )
    for path in (study.results_file, study.outputs_file):
        if path.is_file():
            state = check_database(path)
            if state.damage is None and not state.unchanged:
                write_database_checksums(path)


def _beside(folder: Path) -> Iterator[Path]:
    """Yield what was left beside files of known hash: logs, and a trajectory's checkpoint."""
    for path in folder.iterdir():
        left = path.suffix == ".log" or folder.parent.name == _TRAJECTORIES
        if path.is_file() and left and path.suffix not in _PASSING:
            yield path


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256
