"""MongoDB criteria as SQL, where that is exact.

A document is a row with its JSON text (``doc``) and its head (``head``: the top level, see
:mod:`epilayer.store.encoding`). A condition is translated when SQL gives the same answer as
MongoDB for every document that holds no array on the paths the condition touches; which
documents do is itself a condition (:attr:`Sql.doubtful`), so the caller can answer the rest otherwise.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Path components that SQLite's JSON paths take literally, and that no array index can be.
_PLAIN_NAME = re.compile(r"[A-Za-z_@][A-Za-z0-9_@ -]*")
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_NEVER, _ALWAYS = "0", "1"


@dataclass(frozen=True)
class Sql:
    """A condition on a row.

    Attributes
    ----------
    where
        SQL that is true for exactly the matching rows, as far as they are not doubtful.
    parameters
        The values of its placeholders.
    doubtful
        SQL conditions (without placeholders); where one is true, ``where`` may be wrong.
    """

    where: str
    parameters: tuple[Any, ...] = ()
    doubtful: tuple[str, ...] = ()


def value_at(field: str) -> str | None:
    """Return the SQL expression of a field's value, or None when the field has no plain path."""
    return _call("json_extract", field)


def type_at(field: str) -> str | None:
    """Return the SQL expression of the JSON type at a field (NULL where it is missing)."""
    return _call("json_type", field)


def _call(function: str, field: str) -> str | None:
    parts = field.split(".")
    if not all(_PLAIN_NAME.fullmatch(part) for part in parts):
        return None
    # Top-level fields are looked up in the small head, nested ones in the whole document.
    source = "head" if len(parts) == 1 else "doc"
    path = ".".join(f'"{part}"' for part in parts)
    return f"{function}({source}, '$.{path}')"


def doubtful_at(field: str) -> tuple[str, ...]:
    """Return SQL conditions, true for rows with an array at a field, or anything but objects above it."""
    parts = field.split(".")
    above = [
        f"coalesce({type_at('.'.join(parts[:depth]))}, 'object') <> 'object'"
        for depth in range(1, len(parts))
    ]
    # An array's extracted value is its text, so an index on the value finds arrays too. (A string that
    # begins with a bracket is taken for one; the slower, general way then decides.)
    value = value_at(field)
    return (*above, f"({value} >= '[' AND {value} < '\\')")


def translate(criteria: Mapping[str, Any]) -> Sql | None:
    """Return criteria as one SQL condition, or None when any part has no exact translation."""
    return _joined_if_all([_conjunct(name, wanted) for name, wanted in criteria.items()], " AND ", _ALWAYS)


def superset(criteria: Mapping[str, Any]) -> Sql:
    """Return a condition that no matching document fails, from the parts that can be translated."""
    parts = (_conjunct(name, wanted) for name, wanted in criteria.items())
    loose = [
        Sql(" OR ".join(f"({term})" for term in (part.where, *part.doubtful)), part.parameters)
        for part in parts
        if part is not None
    ]
    return _joined(loose, " AND ", _ALWAYS)


def fields_of(criteria: Mapping[str, Any]) -> set[str] | None:
    """Return the top-level fields that criteria look at, or None when it may be any."""
    fields: set[str] = set()
    for name, wanted in criteria.items():
        if name in {"$and", "$or", "$nor"}:
            for inner in wanted:
                found = fields_of(inner)
                if found is None:
                    return None
                fields |= found
        elif name.startswith("$"):
            return None
        else:
            fields.add(name.split(".")[0])
    return fields


def _joined(parts: Sequence[Sql], glue: str, empty: str) -> Sql:
    if not parts:
        return Sql(empty)
    return Sql(
        glue.join(f"({part.where})" for part in parts),
        tuple(value for part in parts for value in part.parameters),
        tuple(dict.fromkeys(doubt for part in parts for doubt in part.doubtful)),
    )


def _joined_if_all(parts: Sequence[Sql | None], glue: str, empty: str) -> Sql | None:
    known = [part for part in parts if part is not None]
    return _joined(known, glue, empty) if len(known) == len(parts) else None


def _conjunct(name: str, wanted: Any) -> Sql | None:  # noqa: ANN401
    if name in {"$and", "$or", "$nor"}:
        return _logical(name, wanted)
    if name.startswith("$") or value_at(name) is None:
        return None
    if isinstance(wanted, dict) and wanted and all(str(operator).startswith("$") for operator in wanted):
        return _operators(name, wanted)
    return _equal(name, wanted)


def _logical(name: str, wanted: Any) -> Sql | None:  # noqa: ANN401
    if not isinstance(wanted, list | tuple) or not wanted:
        return None
    joined = _joined_if_all(
        [translate(inner) for inner in wanted], " AND " if name == "$and" else " OR ", _NEVER
    )
    return _negated(joined) if name == "$nor" else joined


def _negated(part: Sql | None) -> Sql | None:
    # NULL (nothing to compare) counts as not matching, hence as matching the negation.
    return None if part is None else Sql(f"({part.where}) IS NOT TRUE", part.parameters, part.doubtful)


def _operators(field: str, wanted: Mapping[str, Any]) -> Sql | None:
    rest = dict(wanted)
    parts: list[Sql | None] = []
    if "$regex" in rest:
        parts.append(_regex(field, rest.pop("$regex"), rest.pop("$options", "")))
    for operator, value in rest.items():
        build = _BUILDERS.get(operator)
        parts.append(
            _compare(field, operator, value) if operator in _COMPARISONS else build and build(field, value)
        )
    return _joined_if_all(parts, " AND ", _ALWAYS)


def _equal(field: str, value: Any) -> Sql | None:  # noqa: ANN401
    at, doubtful = value_at(field), doubtful_at(field)
    if value is None:
        return Sql(f"{at} IS NULL", (), doubtful)
    if not _comparable(value):
        return None
    return Sql(f"{at} = ?", (value,), doubtful)


def _compare(field: str, operator: str, value: Any) -> Sql | None:  # noqa: ANN401
    if not _comparable(value) or isinstance(value, bool):
        return None
    types = "= 'text'" if isinstance(value, str) else "IN ('integer', 'real')"
    where = f"{value_at(field)} {_COMPARISONS[operator]} ? AND {type_at(field)} {types}"
    return Sql(where, (value,), doubtful_at(field))


def _in(field: str, values: Any) -> Sql | None:  # noqa: ANN401
    if not isinstance(values, list | tuple):
        return None
    given = [value for value in values if value is not None]
    if len(given) > 1000 or not all(_comparable(value) for value in given):  # noqa: PLR2004
        return None
    where = f"{value_at(field)} IN ({', '.join('?' * len(given))})"
    if len(given) < len(values):
        where = f"({where} OR {value_at(field)} IS NULL)"
    return Sql(where, tuple(given), doubtful_at(field))


def _exists(field: str, value: Any) -> Sql | None:  # noqa: ANN401
    return Sql(f"{type_at(field)} IS {'NOT ' if value else ''}NULL", (), doubtful_at(field))


def _regex(field: str, pattern: Any, options: Any) -> Sql | None:  # noqa: ANN401
    if not isinstance(pattern, str) or not isinstance(options, str) or set(options) - set("imsx"):
        return None
    flagged = f"(?{''.join(sorted(set(options)))}){pattern}" if options else pattern
    try:
        re.compile(flagged)
    except re.error:
        return None
    where = f"{type_at(field)} = 'text' AND epilayer_search(?, {value_at(field)})"
    return Sql(where, (flagged,), doubtful_at(field))


def _not(field: str, value: Any) -> Sql | None:  # noqa: ANN401
    if not isinstance(value, dict) or not value:
        return None
    return _negated(_operators(field, value))


_BUILDERS: dict[str, Callable[[str, Any], Sql | None]] = {
    "$eq": _equal,
    "$ne": lambda field, value: _negated(_equal(field, value)),
    "$in": _in,
    "$nin": lambda field, values: _negated(_in(field, values)),
    "$exists": _exists,
    "$not": _not,
}


def _comparable(value: Any) -> bool:  # noqa: ANN401
    """Whether SQLite compares the value as MongoDB does (an object's extracted text could equal a string)."""
    if isinstance(value, str):
        return type(value) is str and not value.startswith(("{", "["))
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is bool or (type(value) is int and -(2**63) <= value < 2**63)


def search(pattern: str, text: str) -> bool:
    """Tell whether a regular expression is found in a text (the SQL function ``epilayer_search``)."""
    return re.search(pattern, text) is not None
