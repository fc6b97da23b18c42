"""Results as a Research Object Crate (RO-Crate 1.1): a folder or ZIP that repositories read.

``ro-crate-metadata.json`` describes it after the Process Run Crate profile: every job is an action with its
programs, what it was given and what it left. ``checksums.sha256`` holds the SHA-256 of every other file, as
``sha256sum -c`` reads it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from epilayer.model.errors import InputError
from epilayer.model.files import sha256_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

CHECKSUMS = "checksums.sha256"
_VERSION = "1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
_HEX = 64


@dataclass(frozen=True)
class CrateFile:
    """A file of a crate: where it lies in it, and its bytes (a path) or text.

    Attributes
    ----------
    sha256
        What the bytes must hash to; ``None`` where nothing says so beforehand.
    """

    path: str
    content: Path | str
    description: str
    sha256: str | None = None


@dataclass(frozen=True)
class CrateAction:
    """A job that ran: ``given`` and ``left`` are files of the crate, ``programs`` names and versions."""

    id: str
    name: str
    started: str | None
    ended: str | None
    programs: Mapping[str, str]
    given: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True)
class CrateNumber:
    """A number that a result states, or why there is none; ``file`` is the result in the crate."""

    id: str
    name: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    level: str
    file: str
    description: str = ""


@dataclass(frozen=True)
class CrateLevel:
    """A level of theory, by its fingerprint, with the SHA-256 of its weights where it has any."""

    fingerprint: str
    name: str
    description: str
    weights_sha256: str | None
    licence: str


@dataclass(frozen=True)
class CrateAuthor:
    """Who answers for the crate; the ``id`` is an ORCID's address, else a name in the crate."""

    id: str
    name: str
    affiliation: str | None = None


@dataclass(frozen=True)
class Crate:
    """Everything that goes into a crate.

    Attributes
    ----------
    licence
        Address of the licence, such as ``https://spdx.org/licenses/CC-BY-4.0``.
    published
        ISO 8601.
    """

    title: str
    description: str
    licence: str
    published: str
    authors: tuple[CrateAuthor, ...]
    files: Sequence[CrateFile]
    actions: Sequence[CrateAction] = ()
    numbers: Sequence[CrateNumber] = ()
    levels: Sequence[CrateLevel] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)


def write_crate(path: Path, crate: Crate) -> int:
    """Write a crate as a folder, or as one ZIP where the name ends so; whole or not at all.

    Returns
    -------
    int
        How many files it holds, the two of its own included.

    Raises
    ------
    InputError
        If the place is taken, a file is not what it is said to be, or ``rocrate`` is not installed.
    """
    if path.exists() and (path.is_dir() or path.suffix != ".zip"):
        raise InputError(f"{path} is there already.", "Name a new folder, or a .zip file.")
    for file in crate.files:
        if isinstance(file.content, Path) and file.sha256 and sha256_file(file.content) != file.sha256:
            raise InputError(
                f"{file.content} is not what its record names.", "See what: epilayer verify --all"
            )
    described = _Description(crate).made
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as made:
            folder = Path(made) / "crate"
            described.write(folder)
            lines = [f"{sha256_file(folder / name)}  {name}\n" for name in _names(folder)]
            (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")
            if path.suffix == ".zip":
                shutil.make_archive(str(Path(made) / "done"), "zip", folder)
                (Path(made) / "done.zip").replace(path)
            else:
                folder.rename(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}).", "Check the folder and the free space."
        ) from error
    return len(lines) + 1


def is_crate(path: Path) -> bool:
    """Whether a folder or ZIP is a crate of ours."""
    if path.is_dir():
        return (path / CHECKSUMS).is_file()
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return CHECKSUMS in archive.namelist()


def check_crate(path: Path) -> int:
    """Check every byte of a crate, and that its description names no file that is not there.

    Returns
    -------
    int
        How many files it holds.

    Raises
    ------
    InputError
        Naming the first file that is not as it was written, is missing, or does not belong.
    """
    with _unpacked(path) as folder:
        stated = {}
        for line in (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines():
            digest, _, name = line.partition("  ")
            inside = PurePosixPath(name)
            if len(digest) != _HEX or not name or inside.is_absolute() or ".." in inside.parts:
                raise InputError(f"{path}: {CHECKSUMS} is not as it was written.", "Copy the crate again.")
            stated[name] = digest
        for name in sorted({*stated, *_names(folder)} - {CHECKSUMS}):
            if not (folder / name).is_file():
                raise InputError(f"{path}: {name} is missing.", "Copy the crate again.")
            if stated.get(name) != sha256_file(folder / name):
                raise InputError(f"{path}: {name} is not what was written.", "Copy the crate again.")
        named = {unquote(entity.id) for entity in _library().ROCrate(folder).data_entities}
        absent = sorted(n for n in named if not n.endswith("/") and n not in stated)
        if absent:
            raise InputError(f"{path}: {absent[0]} is described, but is not there.", "Write the crate again.")
    return len(stated) + 1


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="epilayer-crate-") as made, zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise InputError(f"{path}: {damaged} is not what was written.", "Copy the crate again.")
        archive.extractall(made)
        yield Path(made)


def _names(folder: Path) -> list[str]:
    return sorted(
        Path(place, name).relative_to(folder).as_posix()
        for place, _, names in os.walk(folder)
        for name in names
    )


def _library() -> Any:  # noqa: ANN401  (rocrate is untyped)
    try:
        from rocrate import rocrate
    except ImportError as error:
        raise InputError("RO-Crates need the package rocrate.", "pip install 'epilayer[crate]'") from error
    return rocrate


class _Description:
    """A crate as ``rocrate`` holds it, its files not copied yet."""

    def __init__(self, crate: Crate) -> None:
        from rocrate.model.person import Person

        self.made = _library().ROCrate(version=_VERSION)
        self.made.metadata.extra_contexts.append(_TERMS)
        root = self.made.root_dataset
        root["name"], root["description"] = crate.title, crate.description
        root["datePublished"] = crate.published
        licence = crate.licence.rstrip("/").rpartition("/")[2]
        root["license"] = self.add(crate.licence, "CreativeWork", name=licence)
        version = _PROFILE.rpartition("/")[2]
        root["conformsTo"] = self.add(_PROFILE, "CreativeWork", name="Process Run Crate", version=version)
        self.people = []
        for author in crate.authors:
            person = self.made.add(Person(self.made, author.id, properties={"name": author.name}))
            if author.affiliation:
                place = f"#{_slug(author.affiliation)}"
                person["affiliation"] = self.add(place, "Organization", name=author.affiliation)
            self.people.append(person)
        root["author"] = self.people
        self.files = {file.path: _file(self.made, file) for file in crate.files}
        self.addresses = crate.addresses
        for action in crate.actions:
            self.action(action)
        levels = {level.fingerprint: self.level(level) for level in crate.levels}
        for number in crate.numbers:
            self.number(number, levels.get(number.level))

    def add(self, identity: str, kind: str, **properties: Any) -> ContextEntity:  # noqa: ANN401
        """Add an entity, or return the one that is there."""
        from rocrate.model.contextentity import ContextEntity

        known = self.made.dereference(identity)
        given = {key: value for key, value in properties.items() if value not in (None, "")}
        made = ContextEntity(self.made, identity, properties={"@type": kind, **given})
        return self.made.add(made) if known is None else known

    def action(self, action: CrateAction) -> None:
        """Add a job."""
        programs = [
            self.add(
                f"#program-{_slug(name)}-{_slug(version)}", "SoftwareApplication", name=name,
                softwareVersion=version, url=self.addresses.get(name, f"https://pypi.org/project/{name}/"),
            )
            for name, version in action.programs.items()
        ]  # fmt: skip
        done = self.add(
            f"#job-{action.id}", "CreateAction", name=action.name, startTime=action.started,
            endTime=action.ended, actionStatus="http://schema.org/CompletedActionStatus",
        )  # fmt: skip
        for key, values in (
            ("instrument", programs),
            ("object", [self.files[path] for path in action.given]),
            ("result", [self.files[path] for path in action.left]),
            ("agent", self.people[:1]),
        ):
            if values:
                done[key] = values
        self.made.root_dataset.append_to("mentions", done)

    def level(self, level: CrateLevel) -> ContextEntity:
        """Add a level of theory, and its weights where it has any."""
        described = self.add(
            f"#level-{level.fingerprint[:16]}", "CreativeWork", name=level.name,
            description=level.description, identifier=level.fingerprint,
        )  # fmt: skip
        if level.weights_sha256:
            described["isBasedOn"] = self.add(
                f"#weights-{level.weights_sha256[:16]}", "CreativeWork", name=f"Weights of {level.name}",
                sha256=level.weights_sha256, description=f"licence: {level.licence}",
            )  # fmt: skip
        return described

    def number(self, number: CrateNumber, level: ContextEntity | None) -> None:
        """Add a number, with its interval, its level of theory and the result that states it."""
        stated = self.add(
            f"#number-{number.id}", "PropertyValue", name=number.name, value=number.value,
            unitText=number.unit, minValue=number.low, maxValue=number.high, description=number.description,
        )  # fmt: skip
        if level is not None:
            stated["measurementTechnique"] = level
        stated["subjectOf"] = self.files[number.file]
        self.made.root_dataset.append_to("variableMeasured", stated)


def _file(made: ROCrate, file: CrateFile) -> Any:  # noqa: ANN401  (rocrate is untyped)
    source: StringIO | Path
    if isinstance(file.content, str):
        data = file.content.encode()
        digest, size, source = hashlib.sha256(data).hexdigest(), len(data), StringIO(file.content)
    else:
        digest, size, source = sha256_file(file.content), file.content.stat().st_size, file.content
    name = PurePosixPath(file.path)
    properties = {
        "name": name.name,
        "description": file.description,
        "encodingFormat": _FORMATS.get(name.suffix, "application/octet-stream"),
        "contentSize": str(size),
        "sha256": digest,
    }
    return made.add_file(source, dest_path=file.path, properties=properties)


_FORMATS = {
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".bib": "application/x-bibtex",
    ".txt": "text/plain",
    ".log": "text/plain",
    ".extxyz": "chemical/x-xyz",
    ".h5": "application/x-hdf5",
    ".xml": "application/xml",
    ".gz": "application/gzip",
}


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in text).strip("-").lower()
