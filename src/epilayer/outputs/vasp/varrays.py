"""Arrays of three numbers a row, as vasprun.xml writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_DELETE = b"<v/>"
_VECTOR = 3
_FIELDS = 3 + 3 * 17
_SPACE, _MINUS, _POINT, _DIGIT_ZERO = np.frombuffer(b" -.0", dtype=np.uint8)
_OPEN_ROW = np.frombuffer(b"<v>", dtype=np.uint8)
_CLOSE_ROW = np.frombuffer(b" </v>", dtype=np.uint8)
_WHOLE_WEIGHTS = 10.0 ** np.arange(15, 7, -1)
_FRACTION_WEIGHTS = 10.0 ** np.arange(7, -1, -1)


def vectors(text: bytes, tag: bytes, count: int) -> Array | None:
    """Return the ``count`` rows of the first varray that ``tag`` opens, or ``None`` if some are missing."""
    at = text.find(tag)
    if at < 0:
        return None
    start = text.find(b">", at) + 1
    end = text.find(b"</varray>", start)
    if start <= 0 or end < 0:
        return None
    fixed = _fixed_width(text, start, end, count)
    if fixed is not None:
        return fixed
    try:
        values = np.fromstring(text[start:end].translate(None, _DELETE), sep=" ")
    except (ValueError, DeprecationWarning):  # stars, or a letter where a digit was
        return None
    if values.size != _VECTOR * count or not np.isfinite(values).all():
        return None
    return values.reshape(count, _VECTOR)


def _fixed_width(text: bytes, start: int, end: int, count: int) -> Array | None:
    """Return the rows if all are in the layout of VASP (three times F16.8), else ``None``.

    Reading digits by their place is faster than reading numbers, and the result is the same to the last
    bit: a number below 9e7 with eight decimals is a whole number below 2^53 over 1e8.
    """
    first = text.find(b"<v>", start, end)
    width = text.find(b"<v>", first + 3, end) - first if count > 1 else end - first
    if first < 0 or width <= _FIELDS or first + (count - 1) * width + _FIELDS > end:
        return None
    usable = min(end, first + count * width)
    raw = np.frombuffer(text, dtype=np.uint8, count=usable - first, offset=first)
    if raw.size < count * width:
        raw = np.concatenate([raw, np.full(count * width - raw.size, _SPACE, dtype=np.uint8)])
    lines = raw.reshape(count, width)
    # "<v>", then three fields of a blank and sixteen characters, then " </v>" and the next line's margin.
    tail = _FIELDS + len(_CLOSE_ROW)
    framed = (lines[:, :3] == _OPEN_ROW).all() and (lines[:, _FIELDS:tail] == _CLOSE_ROW).all()
    if not framed or (lines[:, tail:] > _SPACE).any():
        return None
    # One row for each place of the field: operations then run along thousands of numbers, not along eight.
    cells = np.ascontiguousarray(lines[:, 3:_FIELDS].reshape(count * _VECTOR, 17).T)
    whole, fraction = cells[:8], cells[9:] - _DIGIT_ZERO
    if (cells[8] != _POINT).any() or (fraction > 9).any():  # noqa: PLR2004
        return None
    number = _FRACTION_WEIGHTS @ fraction.astype(float)
    digits = whole - _DIGIT_ZERO
    is_digit = digits <= 9  # noqa: PLR2004  (what lies below "0" wraps around to large numbers)
    is_minus = whole == _MINUS
    begun = is_digit | is_minus
    # Blanks, then perhaps a minus, then digits: after a digit or a minus comes a digit.
    if not (is_digit[-1].all() and (begun | (whole == _SPACE)).all() and (is_digit[1:] >= begun[:-1]).all()):
        return None
    number += _WHOLE_WEIGHTS @ (digits * is_digit).astype(float)
    number /= 1e8
    number[is_minus.any(axis=0)] *= -1
    rows: Array = number.reshape(count, _VECTOR)
    return rows
