"""What kinds of records declare, and one more kind, which needs nothing but its declaration."""

from __future__ import annotations

import sqlite3
import string
from contextlib import closing
from typing import TYPE_CHECKING, Literal

import pytest

from epilayer.dashboard import phrases
from epilayer.dashboard.result import DRAWINGS
from epilayer.model.base import Frozen
from epilayer.model.kind import STAND_IN, Number, RecordKind, columns, picked
from epilayer.model.kinds import KINDS
from epilayer.model.units import Ev
from epilayer.report.methods import methods_text
from epilayer.report.paper_table import Found
from epilayer.store.filters import parse_filter
from epilayer.store.records import document_of, record_of
from epilayer.store.results import SqliteResults

if TYPE_CHECKING:
    from pathlib import Path


class WorkFunction(Frozen):
    """The work function of one facet."""

    kind: Literal["work_function"] = "work_function"
    cathode: str
    facet: str
    work_function_ev: Ev | None
    uncertainty_ev: Ev | None
    bands: tuple[int, ...]
    stand_in: bool
    code_version: str


WORK_FUNCTION = RecordKind(
    name="work_function",
    record=WorkFunction,
    about="how hard an electron is held",
    asked=lambda r: picked(r, "code_version cathode facet"),
    columns=columns("cathode facet work_function_ev uncertainty_ev bands:int", *STAND_IN),
    shown=("facet", "work_function_ev"),
    title="Work function of {cathode} ({facet})",
    number=Number("work_function_ev", "eV", half="uncertainty_ev"),
)


def record(facet: str, value_ev: float | None) -> WorkFunction:
    return WorkFunction(
        cathode="nvopf", facet=facet, work_function_ev=value_ev, uncertainty_ev=0.1 if value_ev else None,
        bands=(1, 2), stand_in=False, code_version="0.1.0",
    )  # fmt: skip


def test_a_kind_needs_its_declaration_and_its_line_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "work_function", WORK_FUNCTION)
    path = tmp_path / "results.db"
    with closing(SqliteResults(path)) as results:
        made = [record("001", 4.5), record("100", None)]
        results.put([document_of(one, created="2025-01-01") for one in made])
        (found,) = results.query("work_function", [parse_filter("work_function_ev>4")], body=True)
        assert record_of(found) == made[0]
        assert results.damaged() == []
    with closing(sqlite3.connect(path)) as other:
        rows = other.execute("SELECT facet, work_function_ev, bands FROM work_function ORDER BY 1").fetchall()
    assert rows == [("001", 4.5, 2), ("100", None, 2)]
    fields = found["fields"]
    assert phrases.title_of("work_function", fields) == "Work function of nvopf (001)"
    assert phrases.headline("work_function", fields)[:2] == ("4.50 ± 0.10", "eV")
    assert methods_text({"work_function": [Found(found["id"], made[0])]}) == ()


def test_the_same_question_is_the_same_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "work_function", WORK_FUNCTION)
    first, again, other = (
        document_of(one, created="2025-01-01")["id"]
        for one in (record("001", 4.5), record("001", 4.6), record("100", 4.5))
    )
    assert first == again != other


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_declaration_names_only_what_it_has(name: str) -> None:
    kind = KINDS[name]
    columns = [column.name for column in kind.columns]
    assert kind.name == name
    assert len(columns) == len(set(columns))
    assert set(kind.shown) <= set(columns)
    assert {word for _, word, _, _ in string.Formatter().parse(kind.title) if word} <= set(columns)
    if kind.number:
        own = kind.number
        assert {own.column, own.half, own.low, own.high} - {""} <= set(columns)
        words = {word for _, word, _, _ in string.Formatter().parse(own.interval) if word}
        assert words <= {*columns, "ends"}
    assert set(kind.drawings) <= set(DRAWINGS)
