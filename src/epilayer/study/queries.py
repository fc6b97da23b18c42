"""Questions to the results, jobs, runs and structures of a study: asked, grouped, cited, and kept by name."""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epilayer.model.errors import InputError, UnknownNameError
from epilayer.model.files import write_atomic
from epilayer.store.result_record import STAND_IN
from epilayer.study.query_rows import ROWS, SHOWN, SORTED_BY
from epilayer.study.records import found_by_kind, sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from epilayer.store.filters import Filter
    from epilayer.store.results import Record
    from epilayer.study.workspace import Workspace

SAVED_FILE = "queries.json"


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes
    ----------
    kind
        Kind of record, or ``jobs``, ``runs``, ``structures``; ``@NAME`` is a saved question.
    where
        Filters, such as ``facet=100``.
    sort
        A field; ``-field`` for descending.
    fields
        Only these fields.
    group_by
        Count by this field.
    of
        Only what is behind this result (its id, or the beginning of it).
    """

    kind: str
    where: tuple[str, ...] = ()
    sort: str | None = None
    fields: tuple[str, ...] = ()
    group_by: str | None = None
    of: str | None = None


@dataclass(frozen=True)
class Answer:
    """The records that match a question.

    Attributes
    ----------
    question
        As it was asked: a saved one is filled in.
    """

    question: Question
    found: list[Record]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row a record, or one a group."""
        if self.question.group_by is not None:
            return _groups(self.found, self.question.group_by, self.question.fields)
        return [
            {"id": r["id"], "kind": r["kind"], "created": r["created"], **r["fields"]} for r in self.found
        ]

    @property
    def shown(self) -> list[str]:
        """The columns that a table of the rows shows."""
        from epilayer.model.kinds import KINDS

        if self.question.group_by is not None:
            return list(dict.fromkeys(name for row in self.rows for name in row))
        kind = self.question.kind
        return list(self.question.fields or (KINDS[kind].shown if kind in KINDS else SHOWN[kind]))

    @property
    def stand_ins(self) -> int:
        """How many were computed by a stand-in and are no results."""
        return sum(1 for record in self.found if record["fields"].get(STAND_IN))

    def parquet(self) -> bytes:
        """Return the rows as a Parquet file; a column of mixed types is text.

        Raises
        ------
        InputError
            If pyarrow is not installed.
        """
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError as error:
            raise InputError("Parquet needs pyarrow.", "pip install 'epilayer[parquet]'") from error
        rows = self.rows
        columns = {name: [row.get(name) for row in rows] for row in rows for name in row}
        for name, values in columns.items():
            text = [isinstance(value, str) for value in values if value is not None]
            if any(text) and not all(text):
                columns[name] = [None if value is None else str(value) for value in values]
        buffer = io.BytesIO()
        parquet.write_table(pa.table(columns), buffer)
        return buffer.getvalue()


def ask(study: Workspace, question: Question, *, limit: int | None = None) -> Answer:
    """Answer a question, after the records of completed jobs are stored.

    Parameters
    ----------
    limit
        At most so many records; groups count every record that matches.

    Raises
    ------
    UnknownNameError
        If the kind, a field or the saved question is unknown.
    InputError
        If a filter cannot be read.
    """
    from epilayer.model.kinds import KINDS, as_shown
    from epilayer.store.filters import parse_filter
    from epilayer.study.harvest import harvest

    if question.kind.startswith("@"):
        question = _filled_in(study, question)
    filters = [parse_filter(text) for text in question.where]
    kind, grouped = question.kind, question.group_by
    fields = None if grouped else question.fields or None
    limit = None if grouped else limit
    if question.of is not None and kind not in ROWS:
        raise InputError(
            f"--of asks what is behind a result, and {kind} are results.",
            "Ask for runs or structures, as in: epilayer query runs --of RESULT",
        )
    if study.queue_file.exists():
        harvest(study)
    if kind in ROWS:
        return Answer(question, _rows(study, question, filters, limit, fields))
    with closing(study.results()) as results:
        known = results.kinds()
        if kind not in known:
            if kind not in KINDS:
                raise UnknownNameError("kind of record", kind, {*known, *KINDS, *ROWS})
            return Answer(question, [])
        if grouped and grouped not in results.fields(kind):
            raise UnknownNameError("field", grouped, results.fields(kind))
        unknown = sorted(set(fields or ()) - results.fields(kind).keys())
        if unknown:
            raise UnknownNameError("field", unknown[0], results.fields(kind))
        found = results.query(kind, filters, sort=question.sort, limit=limit)
    for record in found:
        every = as_shown(record["fields"], kind)
        kept = every.keys() if fields is None else {*fields, *([STAND_IN] if every.get(STAND_IN) else [])}
        record["fields"] = {name: value for name, value in every.items() if name in kept}
    return Answer(question, found)


def _rows(
    study: Workspace,
    question: Question,
    filters: Sequence[Filter],
    limit: int | None,
    fields: Sequence[str] | None,
) -> list[Record]:
    """Ask jobs, runs or structures by the same filters: they become records that last for the question."""
    from epilayer.store.results import SqliteResults

    kind = question.kind
    with (
        tempfile.TemporaryDirectory(prefix="epilayer-") as folder,
        closing(SqliteResults(Path(folder) / "rows.sqlite", durable=False)) as store,
    ):
        store.put(ROWS[kind](study, question.of))
        order = question.sort or SORTED_BY[kind]
        return store.query(kind, filters, sort=order, limit=limit, fields=fields)


def _groups(found: Iterable[Record], by: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row a value: how many records, and of each numeric field its mean, least and greatest."""
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for record in found:
        groups.setdefault(record["fields"].get(by), []).append(record["fields"])
    every = [one for group in groups.values() for one in group]
    names = fields or sorted({n for one in every for n, v in one.items() if isinstance(v, float) and n != by})
    rows = []
    for value in sorted(groups, key=_in_order):
        group = groups[value]
        row: dict[str, Any] = {by: value, "count": len(group)}
        if made_up := sum(1 for one in group if one.get(STAND_IN)):
            row["of stand-ins"] = made_up
        for name in names:
            given = (one.get(name) for one in group)
            numbers = [v for v in given if isinstance(v, int | float) and not isinstance(v, bool)]
            if numbers:
                row[f"{name} mean"] = sum(numbers) / len(numbers)
                row[f"{name} min"], row[f"{name} max"] = min(numbers), max(numbers)
        rows.append(row)
    return rows


def _in_order(value: str | float | None) -> tuple[int, float, str]:
    """Return a sort key: numbers, then text, then nothing."""
    if value is None:
        return 2, 0.0, ""
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value), "")


def save(study: Workspace, name: str, question: Question) -> None:
    """Keep a question under a name.

    Raises
    ------
    InputError
        If the name is none.
    """
    if not name.isidentifier():
        raise InputError(f"{name!r} cannot name a query.", "Use letters, digits and _, as in weak_on_100.")
    text = json.dumps(_saved(study) | {name: asdict(question)}, indent=1)
    write_atomic(study.state / SAVED_FILE, text + "\n")


def _filled_in(study: Workspace, given: Question) -> Question:
    """Return a saved question; what is given besides narrows or replaces it."""
    known, name = _saved(study), given.kind.removeprefix("@")
    if name not in known:
        raise UnknownNameError("saved query", name, known)
    kept: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in known[name].items()}
    changed = {key: value for key, value in asdict(given).items() if key not in ("kind", "where") and value}
    return replace(Question(**(kept | changed)), where=(*kept["where"], *given.where))


def _saved(study: Workspace) -> dict[str, dict[str, Any]]:
    path = study.state / SAVED_FILE
    try:
        read: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}).", "Delete it, and save your queries again."
        ) from error
    return read


def bibtex_of(study: Workspace, found: Iterable[Record]) -> str:
    """Return citations of the codes, potentials and data behind records, as BibTeX."""
    from epilayer.model.kinds import KINDS
    from epilayer.report.citations import bibtex, entries_by_doi

    with closing(study.results()) as results:
        by_kind = found_by_kind(results.get(r["id"]) for r in found if r["kind"] in KINDS)
    records = [one.record for group in by_kind.values() for one in group]
    return bibtex(by_kind, sources(study, records), entries_by_doi(study.citations()))
