"""Bytes from files that may be compressed, truncated, corrupt or still being written."""

from __future__ import annotations

import bz2
import codecs
import lzma
import re
import zlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from epilayer.model.imported import Finding

COMPRESSIONS = (".gz", ".bz2", ".xz")
_GZIP = b"\x1f\x8b"
_RAW_CHUNK = 1 << 20
_PACKED_CHUNK = 1 << 16  # a kilobyte of gzip may hold a megabyte: small bites keep the memory bounded
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_REAL = re.compile(rb"[-+]?\d*\.\d+(?:[EeDd][-+]?\d+)?")


class FileState(StrEnum):
    """What reading a file through to its end showed."""

    WHOLE = "whole"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    UNREADABLE = "unreadable"


class Flaw(NamedTuple):
    """What is wrong with a file: damage, a number that is none, or something that it does not show."""

    code: Finding
    what: str


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass
class ByteSource:
    """A file as a stream of decompressed chunks; ``state`` is final once the stream is exhausted.

    ``lacks_newline`` says that nothing is wrong but the end of the last line, which :meth:`lines` yielded.
    """

    path: Path
    state: FileState = FileState.WHOLE
    problem: str = ""
    lacks_newline: bool = False

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def chunks(self) -> Iterator[bytes]:
        """Yield the content; damage ends the stream and sets ``state``; it is never raised."""
        try:
            with self.path.open("rb") as handle:
                factory = _decompressor(self.path, handle.peek(2)[:2])
                pieces = _raw_pieces(handle) if factory is None else _unpacked(handle, factory)
                yield from pieces
        except EOFError:
            self._mark(FileState.TRUNCATED, "the compressed file ends before its end marker")
        except (zlib.error, lzma.LZMAError, ValueError) as error:
            self._mark(FileState.CORRUPT, f"the compressed file is damaged ({error})")
        except OSError as error:
            # bz2 reports corrupt data as an OSError without a number; a disk gives it one.
            state = FileState.CORRUPT if error.errno is None else FileState.UNREADABLE
            self._mark(state, str(error.strerror or error))

    def text_chunks(self) -> Iterator[bytes]:
        """Yield the content with the line ends of Windows as those of VASP."""
        kept = b""
        for piece in self.chunks():
            text = kept + piece if kept else piece
            kept = b"\r" if text.endswith(b"\r") else b""
            if b"\r" in text:
                text = text[: len(text) - len(kept)].replace(b"\r\n", b"\n")
            if text:
                yield text
        if kept:
            yield kept

    def read(self, limit_bytes: int = 1 << 28) -> bytes:
        """Return the content up to ``limit_bytes``."""
        parts: list[bytes] = []
        size = 0
        for piece in self.chunks():
            parts.append(piece)
            size += len(piece)
            if size >= limit_bytes:
                break
        return b"".join(parts)

    def segments(self, token: bytes) -> Iterator[bytes]:
        """Yield the content cut before every ``token``; the first segment is what precedes the first."""
        buffer = b""
        for piece in self.text_chunks():
            search = max(1, len(buffer) - len(token))
            buffer += piece
            begin = 0
            while (cut := buffer.find(token, search)) >= 0:
                yield buffer[begin:cut]
                begin, search = cut, cut + 1
            buffer = buffer[begin:]
        if buffer:
            yield buffer

    def lines(self) -> Iterator[bytes]:
        """Yield whole lines without their end; a last line without one is yielded with state TRUNCATED."""
        tail = b""
        for piece in self.text_chunks():
            parts = (tail + piece).split(b"\n")
            tail = parts.pop()
            yield from parts
        if tail:
            self.lacks_newline = self.state is FileState.WHOLE
            self._mark(FileState.TRUNCATED, "the last line has no end")
            yield tail

    def _mark(self, state: FileState, problem: str) -> None:
        if self.state is FileState.WHOLE:
            self.state, self.problem = state, problem


def _decompressor(path: Path, first_bytes: bytes) -> Callable[[], _Decompressor] | None:
    suffix = path.suffix.lower()
    if suffix == ".gz" or first_bytes == _GZIP:
        return lambda: zlib.decompressobj(wbits=31)
    if suffix == ".bz2":
        return bz2.BZ2Decompressor
    if suffix == ".xz":
        return lzma.LZMADecompressor
    return None


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _raw_pieces(handle: _Readable) -> Iterator[bytes]:
    while piece := handle.read(_RAW_CHUNK):
        yield piece


def _unpacked(handle: _Readable, factory: Callable[[], _Decompressor]) -> Iterator[bytes]:
    unpack = factory()
    started = False
    while data := handle.read(_PACKED_CHUNK):
        while data:
            if unpack.eof:
                if not data.strip(b"\0"):  # padding after the last member is allowed
                    break
                unpack = factory()
            started = True
            piece = unpack.decompress(data)
            data = unpack.unused_data
            if piece:
                yield piece
    if started and not unpack.eof:
        raise EOFError


def decoded(raw: bytes) -> str | None:
    """Return the text of a file that a user's editor or another program wrote; None for what is no text.

    UTF-8, UTF-16 and UTF-32 with or without a byte order mark, else Windows-1252 and Latin-1; every line
    end becomes a newline.
    """
    text = None
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            text = raw.decode(encoding, errors="replace")
            break
    else:
        wide = raw[:512].count(0) * 3 > len(raw[:512])
        tried = (
            ("utf-16-le" if raw[1:2] == b"\0" else "utf-16-be",) if wide else ("utf-8", "cp1252", "latin-1")
        )
        for encoding in tried:
            try:
                text = raw.decode(encoding)
            except UnicodeDecodeError:
                continue
            break
    if text is None or "\0" in text:
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def plain_name(name: str) -> str:
    """Return the file's name without the suffix of its compression."""
    for suffix in COMPRESSIONS:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def real(text: bytes) -> float | None:
    """Return a printed real number, or ``None`` for stars, NaN, and anything that is not one.

    >>> real(b" -34.007267 "), real(b"********"), real(b"NaN")
    (-34.007267, None, None)
    """
    word = text.strip()
    if not _REAL.fullmatch(word):
        return None
    value = float(word.replace(b"D", b"E").replace(b"d", b"e"))
    return value if abs(value) < 1e300 else None  # noqa: PLR2004  (an overflown exponent reads as infinity)


def decimals(text: bytes) -> int:
    """Return how many digits stand after the point.

    >>> decimals(b"-34.007267")
    6
    """
    return len(text.strip().partition(b".")[2])


@cache
def _elements() -> frozenset[str]:
    from ase.data import chemical_symbols

    return frozenset(chemical_symbols[1:])


def is_element(symbol: str) -> bool:
    """Return whether a symbol names a chemical element."""
    return symbol in _elements()


def element_of(symbol: str, titel: str) -> str:
    """Return the element that a symbol names, else the one that its pseudopotential names, else the symbol.

    >>> element_of("r", "PAW_PBE Zr_sv 04Jan2005"), element_of("H", "PAW_PBE H.25 07Sep2000")
    ('Zr', 'H')
    """
    named = re.match(r"(?:\S+\s+)?([A-Z][a-z]?)(?=[\d._\s]|$)", titel)
    return named[1] if named and not is_element(symbol) and is_element(named[1]) else symbol
