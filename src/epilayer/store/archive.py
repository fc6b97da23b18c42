"""One file that holds results with all they rest on: a ZIP of JSON lines and of files by their SHA-256.

``manifest.json`` states the format and the SHA-256 of each member; ``*.jsonl`` hold one document a line;
``files/HASH`` holds the bytes with that hash. The comment of the ZIP, its last bytes, is the SHA-256 of all
before it, so that no byte can change unseen. Any ZIP program and any JSON reader open it.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import orjson

from epilayer.model.errors import InputError, NewerSchemaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

FORMAT = 1
_MANIFEST = "manifest.json"
_NAME = "epilayer results"
_CHUNK_BYTES = 1 << 20
_DIGEST_BYTES = 64  # of a SHA-256 in hexadecimal


def write_archive(
    path: Path, tables: Mapping[str, Iterable[dict[str, Any]]], files: Mapping[str, Path]
) -> None:
    """Write an archive, whole or not at all.

    Parameters
    ----------
    tables
        Documents by the name of their table.
    files
        Files by their SHA-256; one that has another by now is refused.
    """
    partial = path.with_name(path.name + ".partial")
    members: dict[str, str] = {}
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, documents in tables.items():
                digest = hashlib.sha256()
                with archive.open(f"{name}.jsonl", "w", force_zip64=True) as member:
                    for document in documents:
                        line = orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
                        digest.update(line)
                        member.write(line)
                members[f"{name}.jsonl"] = digest.hexdigest()
            for sha256, file in files.items():
                data = file.read_bytes()
                if hashlib.sha256(data).hexdigest() != sha256:
                    raise InputError(
                        f"{file} is not what its record names.", "See what: epilayer verify --all"
                    )
                archive.writestr(f"files/{sha256}", data)
                members[f"files/{sha256}"] = sha256
            manifest = {"archive": _NAME, "format": FORMAT, "sha256": members}
            archive.writestr(_MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
            archive.comment = b"0" * _DIGEST_BYTES
        close_with_digest(partial)
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}).", "Check the folder and the free space."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


class Archive:
    """An archive whose every byte was checked when it was opened (:func:`open_archive`)."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def table(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the documents of a table."""
        with self._archive.open(f"{name}.jsonl") as member:
            for line in member:
                yield orjson.loads(line)

    def file(self, sha256: str) -> bytes:
        """Return the bytes with this hash."""
        return self._archive.read(f"files/{sha256}")


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an archive after checking every byte of it.

    Raises
    ------
    InputError
        If it is no archive of ours, or any byte of it changed.
    NewerSchemaError
        If a newer version wrote it.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not an archive of results.", "Make one: epilayer db export FILE")
    if _digest(path) != _comment(path):
        raise InputError(f"{path} is not what was exported.", "Copy it again, or export it again.")
    with zipfile.ZipFile(path) as archive:
        manifest = orjson.loads(archive.read(_MANIFEST))
        if manifest["format"] > FORMAT:
            raise NewerSchemaError(str(path), manifest["format"], FORMAT)
        yield Archive(archive)


def close_with_digest(path: Path) -> None:
    """Write, as the last bytes of a ZIP that has room for it in its comment, the SHA-256 of all before."""
    digest = _digest(path)
    with path.open("r+b") as handle:
        handle.seek(-_DIGEST_BYTES, os.SEEK_END)
        handle.write(digest)


def _digest(path: Path) -> bytes:
    digest, left = hashlib.sha256(), path.stat().st_size - _DIGEST_BYTES
    with path.open("rb") as handle:
        while left > 0 and (chunk := handle.read(min(_CHUNK_BYTES, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest().encode()


def _comment(path: Path) -> bytes:
    with path.open("rb") as handle:
        handle.seek(-min(_DIGEST_BYTES, path.stat().st_size), os.SEEK_END)
        return handle.read()
