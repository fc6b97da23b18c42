"""What one asks of results: ``facet=100``, ``adsorption_energy_ev<-0.5``, ``status in certified,refused``.

The meaning of a filter is settled here, once, for every kind of results store; a store answers only
three plain conditions (:class:`OneOf`, :class:`Range`, :class:`Contains`):

- A field that is null and a field that is missing are the same: the record *has no value* there.
- ``=`` and ``in``: a word that reads as a number matches that number and that text (``facet=100`` finds
  "100" and 100); ``true``, ``false`` match booleans and text; ``null`` matches "no value"; in double quotes
  a word is text only. Text is compared as written, upper and lower case apart.
- ``!=`` and ``not in`` match exactly the records that ``=`` and ``in`` do not, those without a value too.
- ``<  <=  >  >=`` compare numbers with numbers where the field holds any number, else text with text, by
  code point. A record without a value, or with one of another type, never matches.
- ``~`` finds text anywhere inside text; the letters A-Z match either case, every other character itself.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from epilayer.model.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping

Scalar = str | int | float | bool | None

FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_FILTER = re.compile(
    r"\s*(?P<field>[^\s=!<>~]+)\s*(?:(?P<sign>!=|<=|>=|==|=|<|>|~)|\s(?P<word>not\s+in|in)(?=\s|$))\s*(?P<rest>.*?)\s*",
    re.DOTALL,
)
_ITEM = re.compile(r'\s*(?:"(?P<quoted>[^"]*)"|(?P<bare>[^",]*?))\s*(?:,|$)')
_HELP = "Write FIELD=VALUE, or use != < <= > >= ~ (contains), or 'FIELD in A,B'."


class ValueType(StrEnum):
    """What a field holds."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"


class Operator(StrEnum):
    """How a filter compares."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    CONTAINS = "~"
    IN = "in"
    NOT_IN = "not in"


@dataclass(frozen=True)
class Filter:
    """One condition as it was asked.

    Attributes
    ----------
    field
        A field of the records.
    operator
        How to compare.
    values
        What to compare with; of a word that reads in several ways (``100``), every reading.
    """

    field: str
    operator: Operator
    values: tuple[Scalar, ...]

    def __str__(self) -> str:
        """Return the filter as it may be typed."""
        words = [value for value in self.values if isinstance(value, str)] or self.values
        shown = ",".join("null" if value is None else str(value) for value in words)
        gap = " " if self.operator in {Operator.IN, Operator.NOT_IN} else ""
        return f"{self.field}{gap}{self.operator}{gap}{shown}"


@dataclass(frozen=True)
class OneOf:
    """The field's value is (or, negated, is not) one of these; None stands for no value."""

    field: str
    values: tuple[Scalar, ...]
    negated: bool = False


@dataclass(frozen=True)
class Range:
    """The field's value is of the bound's type and ``value operator bound`` holds."""

    field: str
    operator: Operator
    bound: str | float


@dataclass(frozen=True)
class Contains:
    """The field's value is text and has this inside, A-Z in either case."""

    field: str
    text: str


Condition = OneOf | Range | Contains


def parse_filter(text: str) -> Filter:
    """Read one filter.

    >>> parse_filter("adsorption_energy_ev < -0.5")
    Filter(field='adsorption_energy_ev', operator=<Operator.LT: '<'>, values=('-0.5', -0.5))

    Raises
    ------
    InputError
        When it cannot be read as a filter.
    """
    match = _FILTER.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is not a filter.", _HELP)
    field, rest = match["field"], match["rest"]
    if not FIELD_NAME.fullmatch(field):
        raise InputError(f"{text!r} is not a filter: {field!r} cannot be a field.", _HELP)
    sign = match["sign"] or " ".join(match["word"].split())
    operator = Operator("=" if sign == "==" else sign)
    if operator in {Operator.IN, Operator.NOT_IN}:
        items = _items(text, rest)
    else:
        quoted = len(rest) > 1 and rest[0] == rest[-1] == '"'
        items = [(rest[1:-1], True) if quoted else (rest, False)]
    values: list[Scalar] = []
    for item, is_quoted in items:
        if not item and not is_quoted:
            raise InputError(
                f"The filter {text!r} has no value after {sign!r}.",
                f"Add one; {field}=null finds the records without a value.",
            )
        values.extend([item] if is_quoted or operator is Operator.CONTAINS else _readings(item))
    return Filter(field, operator, tuple(values))


def resolve(asked: Filter, known: Mapping[str, frozenset[ValueType]]) -> Condition:
    """Return the plain condition that a filter means for records with these fields.

    Parameters
    ----------
    asked
        The filter.
    known
        The fields of these records and the types of value found in each.

    Raises
    ------
    UnknownNameError
        When no record has such a field.
    InputError
        When the comparison makes no sense for what the field holds.
    """
    if asked.field not in known:
        raise UnknownNameError("field", asked.field, known)
    types = known[asked.field]
    match asked.operator:
        case Operator.EQ | Operator.NE | Operator.IN | Operator.NOT_IN:
            if types == {ValueType.NUMBER} and not _numbers(asked) and None not in asked.values:
                raise _not_a_number(asked)
            return OneOf(asked.field, asked.values, negated=asked.operator in {Operator.NE, Operator.NOT_IN})
        case Operator.LT | Operator.LE | Operator.GT | Operator.GE:
            return Range(asked.field, asked.operator, _bound(asked, types))
        case Operator.CONTAINS:
            if types and ValueType.TEXT not in types:
                raise InputError(
                    f"The filter '{asked}' looks inside text, but {asked.field} holds {_listed(types)}.",
                    f"Use = != < <= > >= with {asked.field}.",
                )
            return Contains(asked.field, str(asked.values[0]))


def _bound(asked: Filter, types: frozenset[ValueType]) -> str | float:
    numbers = _numbers(asked)
    words = [value for value in asked.values if isinstance(value, str)]
    if numbers and (ValueType.NUMBER in types or ValueType.TEXT not in types):
        return numbers[0]
    if ValueType.NUMBER in types and ValueType.TEXT not in types:
        raise _not_a_number(asked)
    if not words:
        raise InputError(
            f"The filter '{asked}' has nothing to compare with.",
            f"Give a number or a text; {asked.field}=null finds the records without a value.",
        )
    return words[0]


def _numbers(asked: Filter) -> list[int | float]:
    return [value for value in asked.values if isinstance(value, int | float) and not isinstance(value, bool)]


def _not_a_number(asked: Filter) -> InputError:
    given = next((value for value in asked.values if isinstance(value, str)), asked.values[0])
    sign = "<" if asked.operator in {Operator.IN, Operator.NOT_IN} else asked.operator.value
    return InputError(
        f"{asked.field} holds numbers, and {str(given)!r} is not one.",
        f"Give a number, as in '{asked.field}{sign}-0.5'.",
    )


def _listed(types: frozenset[ValueType]) -> str:
    plural = {ValueType.NUMBER: "numbers", ValueType.BOOLEAN: "true or false", ValueType.TEXT: "text"}
    return " and ".join(sorted(plural[value_type] for value_type in types))


def _items(text: str, rest: str) -> list[tuple[str, bool]]:
    """Split ``a, "b, c"`` into words, each with whether it was quoted."""
    items, place = [], 0
    while True:
        match = _ITEM.match(rest, place)
        if match is None:
            raise InputError(
                f"The filter {text!r} has a quotation mark out of place.", 'Quote whole values: a,"b, c".'
            )
        items.append((match["bare"], False) if match["quoted"] is None else (match["quoted"], True))
        place = match.end()
        if place == len(rest) and not match[0].endswith(","):
            return items


def _readings(word: str) -> list[Scalar]:
    if word == "null":
        return [None]
    readings: list[Scalar] = [word]
    if word in {"true", "false"}:
        readings.append(word == "true")
    elif _NUMBER.fullmatch(word):
        number = float(word)
        if math.isfinite(number):
            whole = int(word) if re.fullmatch(r"[+-]?\d{1,18}", word) else None
            readings.append(number if whole is None else whole)
    return readings
