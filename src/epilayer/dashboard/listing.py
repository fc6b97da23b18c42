"""The table of results: which filters an address asks for, and one page of what they leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from epilayer.model.errors import InputError
from epilayer.model.kinds import KINDS, as_shown
from epilayer.report.html import words
from epilayer.store.filters import Filter, Operator, ValueType, parse_filter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epilayer.store.filters import Scalar
    from epilayer.store.results import Record, ResultsStore

PAGE: Final = 50
#: Columns whose values are offered to choose from, in this order, where a kind has them.
_FILTER_COLUMNS: Final = (
    "status", "cathode", "facet", "termination", "ligand", "molecule", "system", "state", "level", "verdict",
    "mode", "refusal_code", "measure", "code", "task", "functional", "stand_in", "code_version",
)  # fmt: skip
_MOST_VALUES: Final = 12
#: A table stays readable up to so many columns.
_MOST_COLUMNS: Final = 9


@dataclass(frozen=True)
class Choice:
    """One value of a column; ``count`` is of the records that the filters on other fields leave."""

    value: str
    count: int
    chosen: bool


@dataclass(frozen=True)
class ColumnFilter:
    """A column to choose values of; with more values than fit, a text to look for (``choices`` is empty)."""

    field: str
    label: str
    choices: tuple[Choice, ...]
    text: str = ""


@dataclass(frozen=True)
class Column:
    """A column of the table, and the address that sorts by it."""

    field: str
    label: str
    numeric: bool
    sorted: str
    """``ascending``, ``descending`` or ``none``."""
    address: str


@dataclass(frozen=True)
class Listing:
    """One page of a table of results."""

    kind: str
    kinds: Mapping[str, int]
    filters: tuple[ColumnFilter, ...]
    where: str
    sort: str
    columns: tuple[Column, ...]
    rows: tuple[Record, ...]
    total: int
    first: int
    page: int
    pages: int
    active: tuple[tuple[str, str], ...]
    """Each filter in words, and the address without it."""
    previous: str
    next: str
    error: InputError | None = None


class Lister:
    """Makes listings of one store; remembers which values its fields have while nothing is added."""

    def __init__(self, results: ResultsStore) -> None:
        self._results = results
        self._known: dict[tuple[str, int, str], tuple[Scalar, ...]] = {}

    def listing(self, kind: str, query: Sequence[tuple[str, str]]) -> Listing:
        """Return one page.

        Parameters
        ----------
        kind
            A kind of record that is stored.
        query
            What the address asks: ``f.FIELD`` and ``t.FIELD`` (a value of a column, a text inside it),
            ``where`` (a filter as the command line takes it; several parted by ``;``), ``sort``, ``page``.
        """
        given = [(key, value) for key, value in query if value.strip()]
        one = dict(given)
        kinds = self._results.kinds()
        known = self._results.fields(kind)
        error: InputError | None = None
        try:
            filters = _filters(given)
            total = self._results.count(kind, filters)
            sort = one.get("sort", "")
            pages = max(1, -(-total // PAGE))
            page = min(max(int(one["page"]), 1), pages) if one.get("page", "").isdecimal() else 1
            rows = self._results.query(kind, filters, sort=sort or None, limit=PAGE, offset=(page - 1) * PAGE)
            rows = [{**row, "fields": as_shown(row["fields"], kind)} for row in rows]
        except InputError as found:
            error, filters, total, sort, pages, page, rows = found, [], 0, "", 1, 1, []
        kept = [(key, value) for key, value in given if key != "page"]
        names = _columns(kind, known, rows)
        return Listing(
            kind=kind,
            kinds=kinds,
            filters=self._column_filters(kind, kinds[kind], known, given, filters),
            where=one.get("where", ""),
            sort=sort,
            columns=tuple(_column(kind, name, known[name], sort, kept) for name in names),
            rows=tuple(rows),
            total=total,
            first=(page - 1) * PAGE + 1 if rows else 0,
            page=page,
            pages=pages,
            active=tuple(
                (_said(key, value), _address(kind, [(k, v) for k, v in kept if (k, v) != (key, value)]))
                for key, value in kept
                if key != "sort"
            ),
            previous=_address(kind, [*kept, ("page", str(page - 1))]) if page > 1 else "",
            next=_address(kind, [*kept, ("page", str(page + 1))]) if page < pages else "",
            error=error,
        )

    def _column_filters(
        self,
        kind: str,
        stored: int,
        known: Mapping[str, frozenset[ValueType]],
        given: Sequence[tuple[str, str]],
        filters: Sequence[Filter],
    ) -> tuple[ColumnFilter, ...]:
        chosen = {(key[2:], value) for key, value in given if key.startswith("f.")}
        texts = {key[2:]: value for key, value in given if key.startswith("t.")}
        values = {field: self._values(kind, stored, field) for field in _FILTER_COLUMNS if field in known}
        listed = [
            field
            for field, those in values.items()
            if 1 < len(those) <= _MOST_VALUES or any(field == name for name, _ in chosen)
        ]
        counts = self._counts(kind, listed, {name for name, _ in chosen}, filters)
        offered = []
        for field, those in values.items():
            if field in counts:
                choices = tuple(
                    Choice(shown(value), counts[field].get(shown(value), 0), (field, shown(value)) in chosen)
                    for value in those[:_MOST_VALUES]
                )
                offered.append(ColumnFilter(field, words(field), choices))
            elif len(those) > _MOST_VALUES and ValueType.TEXT in known[field]:
                offered.append(ColumnFilter(field, words(field), (), texts.get(field, "")))
        return tuple(offered)

    def _counts(
        self, kind: str, fields: Sequence[str], chosen: set[str], filters: Sequence[Filter]
    ) -> dict[str, dict[str, int]]:
        """Count the values of fields, each among what the filters on the other fields leave."""
        free = [field for field in fields if field not in chosen]
        tallies = self._results.tally(kind, free, filters) if free else {}
        for field in (field for field in fields if field in chosen):
            others = [f for f in filters if (f.field, f.operator) != (field, Operator.IN)]
            tallies |= self._results.tally(kind, [field], others)
        return {field: {shown(v): number for v, number in tally} for field, tally in tallies.items()}

    def _values(self, kind: str, stored: int, field: str) -> tuple[Scalar, ...]:
        key = (kind, stored, field)
        if key not in self._known:
            self._known[key] = tuple(self._results.distinct(kind, field))
        return self._known[key]


def shown(value: Scalar) -> str:
    """Return a value as an address and a filter write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _filters(given: Sequence[tuple[str, str]]) -> list[Filter]:
    filters: list[Filter] = []
    values: dict[str, list[Scalar]] = {}
    for key, value in given:
        if key.startswith("f."):
            # Every reading of the word, as an unquoted one on the command line has.
            values.setdefault(key[2:], []).extend(parse_filter(f"x={value}").values)
        elif key.startswith("t."):
            filters.append(Filter(key[2:], Operator.CONTAINS, (value,)))
        elif key == "where":
            filters += [parse_filter(part) for part in value.split(";") if part.strip()]
    return [*filters, *(Filter(field, Operator.IN, tuple(of)) for field, of in values.items())]


def _columns(kind: str, known: Mapping[str, frozenset[ValueType]], rows: Sequence[Record]) -> list[str]:
    """Return the fields that the table shows: of those of the kind, the ones that any row has."""
    wanted = list(KINDS[kind].shown) if kind in KINDS else sorted(known)
    present = [name for name in wanted if name in known]
    used = [name for name in present if any(row["fields"].get(name) is not None for row in rows)]
    return (used or present)[:_MOST_COLUMNS]


def _column(
    kind: str, name: str, types: frozenset[ValueType], sort: str, kept: Sequence[tuple[str, str]]
) -> Column:
    others = [(key, value) for key, value in kept if key != "sort"]
    return Column(
        field=name,
        label=words(name),
        numeric=types == {ValueType.NUMBER},
        sorted={name: "ascending", f"-{name}": "descending"}.get(sort, "none"),
        address=_address(kind, [*others, ("sort", f"-{name}" if sort == name else name)]),
    )


def _said(key: str, value: str) -> str:
    if key.startswith("f."):
        return f"{words(key[2:])}: {value}"
    return f"{words(key[2:])} contains {value}" if key.startswith("t.") else value


def _address(kind: str, query: Sequence[tuple[str, str]]) -> str:
    return f"/results/{kind}" + (f"?{urlencode(query)}" if query else "")
