"""The files that results rest on: which there are, where they are now, and their seals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from epilayer.model.files import sha256_file
from epilayer.store.checksums import (
    RUN_SEAL,
    SUFFIX,
    check_database,
    read_seal,
    seal_database,
    seal_files,
    sealed_sha256,
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
        # A checkpoint is written over by each segment; the trajectory's seal knows the last one.
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


def sealed_entries(folder: Path) -> Mapping[str, Any] | None:
    """Return what the seal of a folder says of its files; none without a seal, ``None`` of a damaged one."""
    seal = folder / RUN_SEAL
    content = read_seal(seal) if seal.is_file() else {"files": {}}
    return None if content is None else dict(content["files"])


def seal_study(study: Workspace, records: Iterable[Mapping[str, Any]]) -> None:
    """Seal the files behind records and outputs, and the databases; nothing damaged is sealed."""
    for folder, files in run_files(study, records, everything=True).items():
        sealed = sealed_entries(folder)
        if sealed is None or not files:
            continue
        stale = any(n not in sealed or sealed_sha256(sealed[n]) != sha256 for n, sha256 in files.items())
        if stale and all(_is(folder / name, sha256) for name, sha256 in files.items()):
            # Logs and checkpoints beside them have no hash in a record: the seal alone knows them.
            seal_files(folder / RUN_SEAL, sorted({*(folder / name for name in files), *_beside(folder)}))
    for path in (study.results_file, study.outputs_file):
        if path.is_file():
            state = check_database(path)
            if state.damage is None and not state.as_sealed:
                seal_database(path)


def _beside(folder: Path) -> Iterator[Path]:
    """Yield what was left beside files of known hash: logs, and a trajectory's checkpoint."""
    for path in folder.iterdir():
        left = path.suffix == ".log" or folder.parent.name == _TRAJECTORIES
        if path.is_file() and left and path.suffix not in _PASSING:
            yield path


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256
