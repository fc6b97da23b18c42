"""Documents as JSON text and back, keeping what JSON lacks: times, bytes, object ids, NaN."""

from __future__ import annotations

import hashlib
import math
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

from epilayer.model.errors import StoreError

if TYPE_CHECKING:
    from bson.json_util import JSONOptions

_INT64 = 2**63


def encode(document: dict[str, Any]) -> tuple[str, str, str | None]:
    """Return a document as text, its head, and where its values beyond JSON stand.

    The head repeats the top level with every list as ``[]`` and every object as ``{}``: small,
    however large the document, so conditions on top-level fields need not read the rest.

    Parameters
    ----------
    document
        Anything MongoDB would take: what ``jsanitize(document, allow_bson=True)`` gives.

    Returns
    -------
    tuple of str, str and (str or None)
        The document, its head, and the JSON list of paths to values written in MongoDB's
        extended JSON (None when there are none). ``_id`` is MongoDB's own and is left out.

    Raises
    ------
    StoreError
        When a value has no representation.
    """
    beyond: list[list[str | int]] = []
    plain = {
        str(name): _storable(value, [str(name)], beyond) for name, value in document.items() if name != "_id"
    }
    head = {name: type(value)() if type(value) in {dict, list} else value for name, value in plain.items()}
    try:
        text, head_text = orjson.dumps(plain).decode(), orjson.dumps(head).decode()
    except orjson.JSONEncodeError as error:
        raise StoreError(
            f"A document cannot be stored: {error}.", "Remove or convert that value in the job's output."
        ) from error
    return text, head_text, orjson.dumps(beyond).decode() if beyond else None


def decode(text: str, beyond: str | None) -> dict[str, Any]:
    """Return the document that :func:`encode` was given."""
    document: dict[str, Any] = orjson.loads(text)
    for path in orjson.loads(beyond) if beyond else ():
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = _untagged(place[path[-1]])
    return document


def content_sha256(*parts: str | int | None) -> str:
    """Return the SHA-256 of what is stored of one document, its columns in order."""
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def _storable(value: Any, path: list[str | int], beyond: list[list[str | int]]) -> Any:  # noqa: ANN401, PLR0911
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        beyond.append(path)
        return {"$numberDouble": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if kind is int:
        if -_INT64 <= value < _INT64:
            return value
        raise StoreError(
            f"A document cannot be stored: the integer {value} at {_shown(path)} needs more than 64 bits.",
            "Store it as text.",
        )
    if kind is dict:
        return {str(name): _storable(item, [*path, str(name)], beyond) for name, item in value.items()}
    if kind is list or kind is tuple:
        return [_storable(item, [*path, place], beyond) for place, item in enumerate(value)]
    if kind is datetime or kind is bytes:
        beyond.append(path)
        return _tagged(value)
    return _converted(value, path, beyond)


def _converted(value: Any, path: list[str | int], beyond: list[list[str | int]]) -> Any:  # noqa: ANN401
    """Convert what is neither plain nor common, the way maggma's other stores do."""
    from monty.json import jsanitize

    sanitized = jsanitize(value, allow_bson=True, recursive_msonable=True)
    if type(sanitized) is not type(value):
        return _storable(sanitized, path, beyond)
    try:  # a type of BSON, which jsanitize leaves alone
        tagged = _tagged(sanitized)
    except TypeError:
        return str(sanitized)
    beyond.append(path)
    return tagged


def _shown(path: list[str | int]) -> str:
    return ".".join(str(step) for step in path)


# The libraries below are slow to import and rarely needed: a question to the results must start at once.


@cache
def _options() -> JSONOptions:
    """MongoDB's own precision and convention: milliseconds, UTC, read back without a zone."""
    from bson.json_util import DatetimeRepresentation, JSONMode, JSONOptions

    return JSONOptions(
        tz_aware=False,
        json_mode=JSONMode.RELAXED,
        datetime_representation=DatetimeRepresentation.ISO8601,
    )


def _tagged(value: object) -> Any:  # noqa: ANN401
    """Return a value in MongoDB's extended JSON; TypeError when it has none."""
    from bson.json_util import default

    return default(value, _options())


def _untagged(tagged: object) -> Any:  # noqa: ANN401
    from bson.json_util import loads

    return loads(orjson.dumps(tagged), json_options=_options())
