"""Streaming reader of VASP's XDATCAR, versions 4 to 6, fixed and variable cell, plain or gzip.

VASP writes every coordinate with the same number of characters, so whole blocks of frames are
decoded at once: eight ASCII digits are one 64-bit word, and three multiplications turn the word
into an integer. A frame that breaks the pattern (a wider counter, a ragged line) is read line by
line, and the pattern is taken anew from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.errors import InputError
from epilayer.model.files import sha256_file
from epilayer.outputs.reading import ByteSource, FileState
from epilayer.outputs.trajectories.frames import (
    Block,
    Header,
    NotFixedPointError,
    empty_column,
    standard_masses_amu,
)
from epilayer.outputs.vasp.poscar import elements_beside, read_header, with_elements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_CHUNK_BYTES = 1 << 21
_BLOCK_VALUES = 1 << 15  # decoded together: small enough to stay in the processor's cache
_MAX_DECIMALS = 8
_MARKER = re.compile(rb"\s*Direct\s+configuration\s*=\s*(\d+|\*+)", re.IGNORECASE)
_LARGEST_PRINTED = 999_999  # VASP's field for the number of a configuration holds six digits
_NUMBER = re.compile(rb"[-+]?\d*\.\d*")
_MOST_HEADER_LINES = 64
_VASP4_HEADER_LINES = 5
_ZERO, _NINE, _SPACE, _MINUS, _NEWLINE = 48, 57, 32, 45, 10


@dataclass(frozen=True)
class _Layout:
    """Where the characters of one frame stand, taken from a frame read line by line."""

    frame_bytes: int
    head_bytes: int  # marker line (and repeated header, for a variable cell)
    row_bytes: int
    points: tuple[int, int, int]  # column of each decimal point
    starts: tuple[int, int, int]  # first column that may hold the sign or integer part
    tail: bytes  # what ends every row: a newline, or a species label and a newline


class XdatcarSource:
    """An XDATCAR file.

    Parameters
    ----------
    path
        The file, plain or compressed (gzip, bzip2, xz).
    time_step_fs
        Time between configurations numbered one apart (POTIM x NBLOCK), fs. The file does not say.
    keep_partial
        Whether a last frame that was cut short is dropped, instead of an error (a run in progress,
        or one that was killed).
    as_float
        Yield float64 instead of fixed-point integers.

    Raises
    ------
    InputError
        On a header that cannot be read, a frame cut short, species that change, configurations
        that repeat, restart or go backwards, and coordinates that are not finite numbers.
    """

    format = "XDATCAR"

    def __init__(
        self,
        path: Path,
        *,
        time_step_fs: float | None = None,
        keep_partial: bool = False,
        as_float: bool = False,
    ) -> None:
        self.path = path
        self._keep_partial, self._as_float = keep_partial, as_float
        self._source = ByteSource(path)
        self._chunks = self._source.chunks()
        self._buffer, self._at, self._ended = b"", 0, False
        self._frames = 0
        self._last: int | None = None
        self._stride: int | None = None
        self._layout: _Layout | None = None
        symbols = self._read_header()
        self._decimals = self._count_decimals()
        decimals = None if as_float else self._decimals
        masses = standard_masses_amu(symbols, str(path))
        self.header = Header(symbols, masses, "fractional", decimals, time_step_fs)

    def sha256(self) -> str:
        """Return the SHA-256 of the raw file."""
        return sha256_file(self.path)

    def with_floats(self) -> XdatcarSource:
        """Return a fresh reader of the same file that yields float64."""
        return XdatcarSource(
            self.path, time_step_fs=self.header.time_step_fs, keep_partial=self._keep_partial, as_float=True
        )

    def blocks(self) -> Iterator[Block]:
        """Yield the frames in order."""
        while self._more():
            block = self._fast()
            if block is None:
                block = self._slow()
            if block is None:
                return
            if self._as_float and block.positions.dtype != np.float64:
                positions = block.positions / 10.0**self._decimals
                block = Block(positions, block.cells_ang, block.steps, *_no_columns(len(block)))
            yield block
        if self._frames == 0:
            raise InputError(f"{self.path} holds no frame.", "Give an XDATCAR of at least one step.")

    # -- the buffer ---------------------------------------------------------------------------

    def _fill(self, need: int) -> bool:
        """Hold at least ``need`` unread bytes, or all that are left; whether there are so many."""
        while len(self._buffer) - self._at < need and not self._ended:
            chunks: list[bytes] = []
            while not self._ended and sum(map(len, chunks)) < max(_CHUNK_BYTES, need):
                chunks.append(next(self._chunks, b""))
                self._ended = not chunks[-1]
            if self._source.state is not FileState.WHOLE:
                raise InputError(
                    f"{self.path} is damaged: {self._source.problem}.",
                    "Copy it again from where it was made.",
                )
            self._buffer = b"".join([self._buffer[self._at :], *chunks])
            self._at = 0
        return len(self._buffer) - self._at >= need

    def _more(self) -> bool:
        """Whether anything but blank space is left."""
        while True:
            if self._buffer[self._at : self._at + 256].strip() or self._buffer[self._at :].strip():
                return True
            if self._ended:
                return False
            self._fill(len(self._buffer) - self._at + 1)

    def _line(self, ahead: int = 0) -> bytes:
        """Return the line that starts ``ahead`` bytes on, with its newline; empty at the end."""
        start = self._at + ahead
        while (end := self._buffer.find(b"\n", start)) < 0 and not self._ended:
            self._fill(len(self._buffer) - self._at + 1)
            start = self._at + ahead
        return self._buffer[start : end + 1] if end >= 0 else self._buffer[start:]

    def _lines(self, count: int, ahead: int = 0) -> list[bytes]:
        lines = []
        for _ in range(count):
            lines.append(self._line(ahead))
            ahead += len(lines[-1])
        return lines

    # -- headers ------------------------------------------------------------------------------

    def _read_header(self) -> tuple[str, ...]:
        lines = self._lines(_MOST_HEADER_LINES)
        if len(lines) > 3 and lines[3].strip() == b"CAR":  # noqa: PLR2004  (VASP 4.6's own header)
            return self._read_vasp4_header(lines)
        header = read_header(_decoded(lines), str(self.path))
        self._header_lines = header.lines
        if not header.elements:
            header = with_elements(header, self._elements_beside(), str(self.path))
        if min(header.counts) < 1:
            raise self._no_header("a species has no atoms")
        self._cell, self._symbols, self._n = header.lattice_ang, header.symbols, len(header.symbols)
        self._names = header.elements
        self._at += sum(map(len, lines[: header.lines]))
        return self._symbols

    def _elements_beside(self) -> tuple[str, ...]:
        found = elements_beside(self.path)
        if not found and (beside := self._structure_beside()) is not None:
            header = read_header(_decoded(ByteSource(beside).read().splitlines()), str(beside))
            found = header.elements
        if not found:
            raise InputError(
                f"{self.path} names no elements (the format of VASP 4).",
                "Put the run's POTCAR, POTCAR.spec or a POSCAR that names them beside it, or write them in "
                "the line above the counts.",
            )
        return found

    def _structure_beside(self) -> Path | None:
        return next((p for n in ("POSCAR", "CONTCAR") if (p := self.path.with_name(n)).is_file()), None)

    def _parse_header(self, lines: list[bytes]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        header = read_header(_decoded(lines), str(self.path))
        if not header.elements:
            header = with_elements(header, self._names, str(self.path))
        return header.lattice_ang, header.symbols

    def _no_header(self, reason: object) -> InputError:
        return InputError(
            f"{self.path}: the header is not that of an XDATCAR ({reason}).",
            "Give a file that starts with comment, scale, three lattice vectors, species and counts.",
        )

    def _read_vasp4_header(self, lines: list[bytes]) -> tuple[str, ...]:
        # VASP 4.6 writes neither cell vectors nor species: both stand in the POSCAR beside it.
        beside = self._structure_beside()
        if beside is None:
            raise InputError(
                f"{self.path} is of VASP 4.6, which names neither cell nor species.",
                "Put the run's POSCAR beside it.",
            )
        header = read_header(_decoded(ByteSource(beside).read().splitlines()), str(beside))
        if not header.elements:
            header = with_elements(header, self._elements_beside(), str(beside))
        self._cell, self._symbols, self._names = header.lattice_ang, header.symbols, header.elements
        self._n, self._header_lines = len(self._symbols), _VASP4_HEADER_LINES
        try:
            stated = int(lines[0].split()[0])
        except (ValueError, IndexError) as error:
            raise self._no_header(error) from error
        if stated != self._n:
            raise InputError(
                f"{self.path} has {stated} atoms, {beside} {self._n}.", "Give the POSCAR of this run."
            )
        self._at += sum(map(len, lines[:_VASP4_HEADER_LINES]))
        return self._symbols

    def _count_decimals(self) -> int:
        """Return the decimals of the first coordinate of the first frame."""
        lines = self._lines(2)
        tokens = lines[1].split() if len(lines) > 1 else []
        if not tokens or b"." not in tokens[0]:
            return _MAX_DECIMALS
        return len(tokens[0].split(b".")[1])

    # -- frames -------------------------------------------------------------------------------

    def _number(self, marker: bytes) -> int:
        """Return the configuration number of a marker line, and check that time runs forward."""
        if marker.strip():
            found = _MARKER.match(marker)
            if found is None:
                shown = marker.decode(errors="replace").strip()[:60]
                raise InputError(
                    f"{self.path}: frame {self._frames + 1} starts with {shown!r} where a line "
                    "'Direct configuration= N' belongs.",
                    "Check that the species counts of the header hold for every frame.",
                )
            number = self._too_long() if found[1].startswith(b"*") else int(found[1])
        else:  # VASP 4 separates frames by a blank line
            number = self._next()
        if self._last is not None:
            gap = number - self._last
            if gap <= 0 and number <= 1 + (self._stride or 1) and self._last > number:
                raise InputError(
                    f"{self.path}: configuration {number} follows {self._last}: two trajectories are "
                    "concatenated.",
                    "Split the file where the count restarts, and ingest the pieces one after the other.",
                )
            if gap <= 0 or (self._stride is not None and gap != self._stride):
                raise InputError(
                    f"{self.path}: configuration {number} follows {self._last}: frames are out of order, "
                    "repeated or missing.",
                    "Give the file as VASP wrote it.",
                )
            self._stride = gap
        self._last = number
        return number

    def _next(self) -> int:
        """Return the number that a configuration without a printed one has."""
        return 1 if self._last is None else self._last + (self._stride or 1)

    def _too_long(self) -> int:
        """Return the number that VASP prints as stars, because it has more than six digits."""
        number = _LARGEST_PRINTED + 1 if self._last is None else self._next()
        if number <= _LARGEST_PRINTED:
            raise InputError(
                f"{self.path}: the number of frame {self._frames + 1} is printed as stars, and the one "
                f"before it is {self._last}: frames are missing, or their spacing is not known.",
                "Give the file as VASP wrote it, with at least two numbers before the stars.",
            )
        return number

    def _cut(self, have: int) -> InputError:
        return InputError(
            f"{self.path} is cut in the middle of frame {self._frames + 1} (line {have + 1} of {self._n}); "
            f"{self._frames} complete frames precede it.",
            "Let the run write the rest, or allow a partial last frame to be dropped.",
        )

    def _slow(self) -> Block | None:
        """Read one frame line by line and learn the layout from it; None for a dropped last frame."""
        start, cell, head = self._at, self._cell, b""
        first = self._line()
        if not first.endswith(b"\n"):  # the file ends inside a marker or header line
            if self._keep_partial:
                return None
            raise self._cut(0)
        if _MARKER.match(first) is None and first.strip():
            head = b"".join(self._lines(self._header_lines))
            cell, symbols = self._maybe_header(head, first)
            if symbols != self._symbols:
                raise InputError(
                    f"{self.path}: the species change before frame {self._frames + 1} "
                    f"({len(self._symbols)} to {len(symbols)} atoms or another order).",
                    "Ingest each trajectory on its own.",
                )
        marker = self._line(len(head))
        rows = self._lines(self._n, len(head) + len(marker))
        complete = sum(1 for row in rows if row.strip())
        ragged = not rows[-1].endswith(b"\n") and len(rows[-1].rstrip()) < len(rows[0].rstrip())
        if complete < self._n or ragged:
            blank = next((i for i, row in enumerate(rows) if not row.strip()), self._n - 1)
            rest_is_empty = not b"".join(rows[blank:]).strip() or ragged
            if rest_is_empty and self._keep_partial and self._ended:
                return None
            raise self._cut(blank)
        number = self._number(marker)
        positions = self._parse_rows(rows, number)
        self._cell = cell
        self._layout = self._learn(head, marker, rows)
        self._at = start + len(head) + len(marker) + sum(map(len, rows))
        self._frames += 1
        return self._block(positions[None], np.array(cell)[None], [number])

    def _maybe_header(self, head: bytes, first: bytes) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        try:
            return self._parse_header(head.splitlines())
        except InputError as error:
            self._number(first)  # names the line where a marker was expected
            raise error from None

    def _parse_rows(self, rows: list[bytes], number: int) -> NDArray[np.int64] | NDArray[np.float64]:
        values = np.empty((self._n, 3))
        for i, row in enumerate(rows):
            try:
                tokens = row.split(maxsplit=3)
                # A label may follow; a fourth number means that one of the three came apart.
                numbers = tokens if len(tokens) > 3 and tokens[3][:1] in b"+-.0123456789" else tokens[:3]  # noqa: PLR2004
                values[i] = [float(x) for x in numbers]
            except ValueError as error:
                shown = row.decode(errors="replace").strip()[:60]
                raise InputError(
                    f"{self.path}: configuration {number}, atom {i + 1}: {shown!r} is not three numbers.",
                    "The file is damaged, or its species counts are wrong; give the one VASP wrote.",
                ) from error
        if not np.isfinite(values).all():
            atom = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0]) + 1
            raise InputError(
                f"{self.path}: configuration {number}, atom {atom}: a coordinate is not finite.",
                "The run has exploded: use the frames before it.",
            )
        if self._as_float:
            return values
        scale = 10.0**self._decimals
        fixed = np.rint(values * scale)
        if self._decimals > _MAX_DECIMALS or not np.array_equal(fixed / scale, values):
            raise NotFixedPointError
        return fixed.astype(np.int64)

    def _block(
        self, positions: NDArray[np.int64] | NDArray[np.float64], cells: NDArray[np.float64], steps: list[int]
    ) -> Block:
        return Block(positions, cells, np.array(steps, np.int64), *_no_columns(len(steps)))

    # -- the fast path ------------------------------------------------------------------------

    def _learn(self, head: bytes, marker: bytes, rows: list[bytes]) -> _Layout | None:
        """Return the layout of a frame whose rows are all alike, or None."""
        width = len(rows[0])
        if any(len(row) != width for row in rows) or self._decimals > _MAX_DECIMALS:
            return None
        found = list(_NUMBER.finditer(rows[0]))[:3]
        if len(found) < 3 or found[0].start() + self._decimals < 0:  # noqa: PLR2004
            return None
        points = tuple(m.start() + m.group().index(b".") for m in found)
        if any(m.end() - p - 1 != self._decimals for m, p in zip(found, points, strict=True)):
            return None
        if points[0] + 1 + self._decimals < 8:  # noqa: PLR2004  (the 64-bit load needs 8 columns)
            return None
        starts = (0, found[0].end(), found[1].end())
        tail = rows[0][found[2].end() :]
        # A species label changes from row to row, so the tail only has to end in a newline there.
        size = len(head) + len(marker) + width * self._n
        return _Layout(size, len(head) + len(marker), width, points, starts, tail)  # type: ignore[arg-type]

    def _fast(self) -> Block | None:
        """Decode as many frames of the known layout as fit one block, or None if the next differs."""
        layout = self._layout
        if layout is None or self._n == 0:
            return None
        size = layout.frame_bytes
        wanted = max(1, _BLOCK_VALUES // (3 * self._n))
        self._fill(size * wanted)
        count = min(wanted, (len(self._buffer) - self._at) // size)
        if count == 0:
            return None
        raw = np.frombuffer(self._buffer, np.uint8, count * size, self._at).reshape(count, size)
        heads = self._read_heads(raw[:, : layout.head_bytes])
        if not heads:
            return None
        rows = np.ascontiguousarray(raw[: len(heads), layout.head_bytes :]).reshape(-1)
        values = _decode(rows, len(heads) * self._n, layout, self._decimals)
        if values is None:
            return None  # the line-by-line reader names what is wrong, or reads it
        steps = []
        for marker, _ in heads:
            steps.append(self._number(marker))
            self._frames += 1
        cells = np.array([cell for _, cell in heads])
        self._cell = cells[-1]
        self._at += len(heads) * size
        return self._block(values.reshape(len(heads), self._n, 3), cells, steps)

    def _read_heads(self, heads: NDArray[np.uint8]) -> list[tuple[bytes, NDArray[np.float64]]]:
        """Return (marker, cell) of the leading frames that look like the last one read."""
        result = []
        for row in heads:
            text = row.tobytes()
            if not text.endswith(b"\n"):
                break
            lines = text.splitlines(keepends=True)
            marker = lines[-1]
            if marker.strip() and _MARKER.match(marker) is None:
                break
            cell = self._cell
            if len(lines) == self._header_lines + 1:
                # Compare what must not change, then read the three vectors that may.
                cell, symbols = self._parse_header(lines)
                if symbols != self._symbols:
                    break
            elif len(lines) != 1:
                break
            result.append((marker, cell))
        return result


def _decoded(lines: list[bytes]) -> list[str]:
    return [line.decode("latin-1") for line in lines]


def _no_columns(n_frames: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return empty_column(n_frames), empty_column(n_frames)


def _decode(rows: NDArray[np.uint8], n_rows: int, layout: _Layout, decimals: int) -> NDArray[np.int64] | None:
    """Decode fixed-width text into integers of ``10**-decimals``; None where a character does not fit.

    Parameters
    ----------
    rows
        (n_rows * row_bytes,) the characters.
    n_rows
        Number of lines.
    layout
        Where the columns stand.
    decimals
        Digits after each decimal point, at most 8.

    Returns
    -------
    (n_rows, 3) integers, or None.
    """
    width = layout.row_bytes
    ends = rows[width - 1 :: width]
    if not (ends == _NEWLINE).all():
        return None
    out = np.empty((n_rows, 3), np.int64)
    # The eight bytes that end with the last decimal; those before the decimals become "0".
    keep = 8 * (8 - decimals)
    low = np.uint64((1 << keep) - 1) if keep else np.uint64(0)
    for c, point in enumerate(layout.points):
        words: NDArray[np.uint64] = np.ndarray(
            (n_rows,), np.dtype("<u8"), rows.data, point + 1 + decimals - 8, (width,)
        ).copy()
        if keep:
            words = (words & ~low) | (np.uint64(0x3030303030303030) & low)
        if not _all_digits(words) or not (rows[point::width] == ord(".")).all():
            return None
        whole = _integer_part(rows, n_rows, width, layout.starts[c], point)
        if whole is None:
            return None
        fraction = _eight_digits(words).astype(np.int64)
        units, negative = whole
        out[:, c] = fraction
        if units is not None:
            out[:, c] += units * 10**decimals
            out[negative, c] *= -1
    # Beyond the third number: nothing but a newline, or a label that starts with a blank.
    if len(layout.tail) > 1 and layout.tail != b"\r\n":
        after = layout.points[2] + 1 + decimals
        if not (rows[after::width] == _SPACE).all():
            return None
    return out


def _all_digits(words: NDArray[np.uint64]) -> bool:
    """Whether all eight bytes of every word are ASCII digits."""
    high = np.uint64(0xF0F0F0F0F0F0F0F0)
    threes = np.uint64(0x3030303030303030)
    shifted = words + np.uint64(0x0606060606060606)  # carries past 0x3F for anything above "9"
    return bool((((words & high) ^ threes) | ((shifted & high) ^ threes)).max(initial=np.uint64(0)) == 0)


def _eight_digits(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the number that eight ASCII digits, first digit in the lowest byte, spell."""
    digits = words - np.uint64(0x3030303030303030)
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))
    mask = np.uint64(0x000000FF000000FF)
    upper = (pairs & mask) * np.uint64(100 + (1000000 << 32))
    lower = ((pairs >> np.uint64(16)) & mask) * np.uint64(1 + (10000 << 32))
    result: NDArray[np.uint64] = (upper + lower) >> np.uint64(32)
    return result


def _integer_part(
    rows: NDArray[np.uint8], n_rows: int, width: int, start: int, point: int
) -> tuple[NDArray[np.int64] | None, NDArray[np.bool_]] | None:
    """Return (integer parts or None if all zero, which are negative), or None if not a number."""
    none = np.zeros(0, np.bool_)
    if (rows[point - 1 :: width] == _ZERO).all() and all(
        (rows[k::width] == _SPACE).all() for k in range(start, point - 1)
    ):
        return None, none
    units = np.zeros(n_rows, np.int64)
    negative = np.zeros(n_rows, np.bool_)
    begun = np.zeros(n_rows, np.bool_)
    for k in range(start, point):
        column = rows[k::width]
        digit = (column >= _ZERO) & (column <= _NINE)
        minus = column == _MINUS
        # A blank inside a number, a sign after a digit, or anything else is not a number.
        if not (digit | ((minus | (column == _SPACE)) & ~begun)).all() or (minus & negative).any():
            return None
        units[digit] = units[digit] * 10 + (column[digit] - _ZERO)
        negative |= minus
        begun |= digit | minus
    return units, negative
