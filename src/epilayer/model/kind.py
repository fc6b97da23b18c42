"""What a kind of record declares about itself: type, question, columns, number, words, drawings.

A declaration is data and pure functions. The store makes a table of it, ``query`` prints its columns, reports
and pages take their words from it. :mod:`epilayer.model.kinds` lists every kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from epilayer.model.units import unit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from epilayer.model.base import Frozen
    from epilayer.model.level import Scalar

MEANINGS = {
    "cathode": "name of the cathode",
    "facet": "Miller index, such as 100",
    "termination": "label of the cut, such as 100-t0.75",
    "ligand": "name of the molecule",
    "level": "name of the level of theory",
    "engine_kind": "`dft`, `mlip` or `toy`",
    "dispersion": "the dispersion correction, or null",
    "level_fingerprint": "SHA-256 of what was computed with; only equal ones are subtracted",
    "status": "`certified`, `provisional` or `refused`",
    "open_points": "what keeps the value provisional, by commas",
    "refusal": "why there is no number, in one sentence",
    "refusal_code": "the same as one word",
    "anomalies": "what happened to the molecule or the surface, as words",
    "stand_in": "true where a toy or a stand-in computed it: not a result",
    "code_version": "version of epilayer that made it",
    "statement": "the answer in one sentence",
    "formula": "reduced formula of the cell",
    "atoms": "number of atoms of the cell",
    "anchor": "the rule by which the best pose holds on",
    "site": "where it stands",
    "binding_facets": "facets on which it holds, by commas",
    "terminations": "terminations that the verdict rests on, by commas",
    "job": "identifier of the job that made it; none for what was imported",
}
"""Columns that several kinds have, or that no docstring of a record explains."""


@dataclass(frozen=True)
class Column:
    """A column of a kind's table, by which records are filtered and sorted.

    Attributes
    ----------
    type
        ``str``, ``int``, ``float`` or ``bool``.
    of
        Where in a record the value is: a path of attributes, or a function. The column's own name by default.
        A column of numbers counts a sequence; one of text joins it by commas.
    about
        What it means, where neither the docstring of the record nor `MEANINGS` says so.
    """

    name: str
    type: type[str | int | float | bool] = str
    of: str | Callable[[Any], Any] = ""
    about: str = ""

    @property
    def unit(self) -> str:
        """The unit that the name ends with; empty without one."""
        return unit_of(self.name)[1]

    def value(self, record: Frozen) -> Scalar:
        """Return the value of a record; ``None`` where it has none."""
        found: Any = record
        if callable(self.of):
            found = self.of(record)
        else:
            for part in (self.of or self.name).split("."):
                found = None if found is None else getattr(found, part)
        if isinstance(found, tuple | list):
            return len(found) if self.type is int else ",".join(map(str, found)) or None
        value: Scalar = found.value if isinstance(found, Enum) else found
        return value


@dataclass(frozen=True)
class Number:
    """The number that a record answers with, by columns.

    Attributes
    ----------
    half
        The column with the half-width of the number.
    low, high
        The columns with the ends of its interval.
    interval
        The interval in words; ``{ends}`` and every column can be named.
    decimals
        How many are printed; ``None`` for four digits.
    on_page
        Whether the page of a record shows it large.
    """

    column: str
    unit: str = ""
    half: str = ""
    low: str = ""
    high: str = ""
    interval: str = "{ends}"
    decimals: int | None = 2
    on_page: bool = True


@dataclass(frozen=True, kw_only=True)
class RecordKind:
    """A kind of record.

    Attributes
    ----------
    record
        The type.
    about
        What it answers, for a reader who meets its name for the first time.
    asked
        What was asked: the record's identity is its hash, so that computing it again replaces the
        record instead of doubling it.
    columns
        What a query filters and sorts by.
    more
        Columns that depend on the record.
    read
        How stored columns are shown, where those of earlier versions mean something else today.
    shown
        The columns that a table shows by default.
    title
        What a record is about; columns in braces.
    definition
        How the number is defined, in one sentence.
    answer
        The answer in words, from the columns, where it is no number.
    methods
        The sentences that a methods section says of some records.
    reported
        Whether the report of a study shows the kind.
    drawings
        The figures of a record, by name (:data:`epilayer.dashboard.result.DRAWINGS`).
    """

    name: str
    record: type[Frozen]
    about: str
    asked: Callable[[Any], dict[str, Any]]
    columns: tuple[Column, ...]
    more: Callable[[Any], dict[str, Scalar]] = lambda _: {}
    read: Callable[[Mapping[str, Scalar]], dict[str, Scalar]] = dict
    shown: tuple[str, ...]
    title: str
    number: Number | None = None
    definition: str = ""
    answer: Callable[[Mapping[str, Scalar]], str] | None = None
    methods: Callable[[Sequence[Any]], str] | None = None
    reported: bool = True
    drawings: tuple[str, ...] = ()

    def fields(self, record: Frozen) -> dict[str, Scalar]:
        """Return the value of each column."""
        return {column.name: column.value(record) for column in self.columns} | self.more(record)


def columns(*declared: str | Column) -> tuple[Column, ...]:
    """Return columns in the order of their declaration.

    A text declares columns separated by spaces, each as ``NAME:TYPE=PATH``. Without a path it is
    the name; without a type it is ``float`` where the name ends with a unit, else ``str``.

    >>> [(c.name, c.type.__name__, c.of) for c in columns("facet energy_ev starts:int=search.starts")]
    [('facet', 'str', ''), ('energy_ev', 'float', ''), ('starts', 'int', 'search.starts')]
    """
    found: list[Column] = []
    for one in declared:
        found += [one] if isinstance(one, Column) else map(_column, one.split())
    return tuple(found)


def _column(declared: str) -> Column:
    left, _, path = declared.partition("=")
    name, _, stated = left.partition(":")
    return Column(name, _TYPES[stated or ("float" if unit_of(name)[1] else "str")], path)


def picked(record: Any, names: str) -> dict[str, Any]:  # noqa: ANN401  (any record)
    """Return attributes of a record, by names separated by spaces, as part of what was asked.

    Of a level of theory also the name: two levels may differ in their convergence alone, which is no part of
    the fingerprint.
    """
    level = [record.level.name, record.level.fingerprint] if "level" in names.split() else None
    return {name: level if name == "level" else getattr(record, name) for name in names.split()}


def span(values: Sequence[int]) -> str:
    """Return the ends of sorted numbers in words."""
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _stand_in(record: Any) -> bool:  # noqa: ANN401  (any record)
    return bool(record.stand_in if "stand_in" in type(record).model_fields else record.level.stand_in)


_TYPES: dict[str, type[str | int | float | bool]] = {"str": str, "int": int, "float": float, "bool": bool}
LEVEL_NAME = "level=level.name engine_kind=level.kind"
FINGERPRINT = "level_fingerprint=level.fingerprint"
LEVEL = f"{LEVEL_NAME} dispersion=level.dispersion {FINGERPRINT}"
REFUSAL = (
    Column("refusal", of=lambda r: r.refusals[0].what if r.refusals else None),
    Column("refusal_code", of=lambda r: r.refusals[0].code if r.refusals else None),
)
STAND_IN = (Column("stand_in", bool, _stand_in), Column("code_version"))
