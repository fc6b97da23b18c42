"""The comparison with a publication as tables for a terminal of 100 columns.

Every mark is a word; colour only helps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from epilayer.model.records import Status, growth_words
from epilayer.report.tables import STAND_IN, agreement, ev, interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epilayer.report.paper_table import PaperRow
    from epilayer.report.tables import AdsorptionRow, Comparison, GrowthRow, LevelResult

_DASH: Final = "\N{EN DASH}"
_MARKS: Final = {Status.CERTIFIED: "green", Status.PROVISIONAL: "yellow", Status.REFUSED: "bold red"}
_AGREEMENT_STYLES: Final = {"agrees": "green", "differs": "bold red"}


def comparison_table(comparison: Comparison) -> Group:
    """Return adsorption energies and growth beside the published values, with reasons and notes."""
    refused = [v for row in comparison.adsorption for v in row.levels if v.status is Status.REFUSED]
    parts: list[Any] = [_adsorption(comparison.adsorption, {id(v): n for n, v in enumerate(refused, 1)})]
    for number, level in enumerate(refused, 1):
        reason = level.reason or "no reason was recorded"
        remedy = (level.remedy or "see the record").rstrip(".")
        parts.append(Text(f"[{number}] {reason.removesuffix('.')}. Remedy: {remedy}.", style="yellow"))
    if comparison.growth:
        parts += [Text(), _growth(comparison.growth)]
    return Group(*parts, Text(), *(Text(note, style="dim") for note in _notes(comparison)))


def paper_rows_table(rows: Sequence[PaperRow]) -> Table:
    """Return the rows of a publication, each beside what was computed or what would compute it."""
    table = _table("The paper, row by row")
    for heading, width in (("", 3), ("what", 26), ("paper", 24), ("here", None)):
        table.add_column(heading, max_width=width, overflow="fold")
    for row in rows:
        what = Text.assemble((row.quantity, "bold"), "\n", row.system)
        here = Text()
        for number, one in enumerate(row.ours):
            here.append("\n" if number else "")
            here.append(one.text, "" if one.known else "red")
            here.append(f"  {one.level}" if one.level else "", "dim")
            here.append(f"  deviation {one.deviation}" if one.deviation else "")
        if not row.ours:
            here.append("not run: ", "yellow").append(row.command)
        table.add_row(row.id, what, row.paper, here, end_section=True)
    return table


def _table(title: str, **options: Any) -> Table:  # noqa: ANN401  (options of rich)
    return Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", show_edge=False, pad_edge=False, **options
    )


def _notes(comparison: Comparison) -> list[str]:
    notes = [f"Computed with: {', '.join(comparison.kinds)}."] if comparison.kinds else []
    notes.append(
        "E_ads is negative when bound. 95 %: convergence, search, clean slab and level of theory together, "
        "as far as each was measured; provisional where one is open. No D3: the same geometry without "
        "dispersion, which is what the paper's value is compared with."
    )
    open_levels = [v for row in comparison.adsorption for v in row.levels if v.status is Status.PROVISIONAL]
    notes += dict.fromkeys(f"To settle what is open: {v.remedy}." for v in open_levels if v.remedy)
    if comparison.stand_ins:
        notes.append(f"Left out ({STAND_IN}): {'; '.join(comparison.stand_ins)}.")
    if comparison.citation:
        notes.append(f"Paper: {comparison.citation}, doi {comparison.doi}")
    return notes


def _adsorption(rows: Sequence[AdsorptionRow], numbers: Mapping[int, int]) -> Table:
    table = _table("Adsorption energies, eV", padding=0)
    table.add_column("ligand, facet", no_wrap=True)
    table.add_column("level of theory", max_width=18, overflow="fold")
    for heading in ("E_ads", "95 %", "no D3"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("status, and what is open")
    for row in rows:
        lines = [_level(level, numbers) for level in row.levels]
        if len(row.levels) > 1:
            lines.append([Text("all levels", "italic"), "", interval(row.low_ev, row.high_ev)])
        if not row.levels:
            lines.append([Text("not computed", "italic")])
        searched = next((level for level in row.levels if level.search_starts is not None), None)
        if searched is not None:  # the checks start from what the first level's search found
            lines.append([Text("search", "italic"), "", "", "", Text(_searched(searched))])
        if row.published_ev is not None:
            lines.append([Text("paper", "italic"), "", "", ev(row.published_ev)])
        heads = [
            Text(f"{row.id or ''} {row.ligand}".strip(), "bold"),
            Text(f"on {row.cathode} ({row.facet})"),
        ]
        heads += [Text()] * len(lines)
        lines += [[]] * (2 - len(lines))
        for number, line in enumerate(lines):
            table.add_row(heads[number], *line, end_section=number == len(lines) - 1)
    return table


def _level(level: LevelResult, numbers: Mapping[int, int]) -> list[Any]:
    word = f"refused [{numbers[id(level)]}]" if level.status is Status.REFUSED else level.status.value
    mark = Text(word, _MARKS[level.status])
    if level.open_points:
        mark.append(f": {'; '.join(level.open_points)}", "default")
    around = interval(level.low_ev, level.high_ev)
    return [
        Text(level.label),
        Text(ev(level.value_ev), "bold"),
        around,
        ev(level.without_dispersion_ev),
        mark,
    ]


def _searched(level: LevelResult) -> str:
    state = "done" if level.search_done else "open"
    return f"{state}: {level.search_starts} starts, {level.search_minima} minima"


def _growth(rows: Sequence[GrowthRow]) -> Table:
    table = _table("Growth")
    headings = ("ligand (MOF)", "verdict", "margin, eV", "interval on each facet, eV", "paper", "agreement")
    for heading in headings:
        table.add_column(heading, justify="right" if heading.startswith("margin") else "left")
    for row in rows:
        name = f"{row.id or ''} {row.ligand}{f' ({row.mof})' if row.mof else ''}".strip()
        said = agreement(row)
        table.add_row(
            Text(name, style="bold"),
            Text(growth_words(row.mode, row.binding_facets)),
            ev(row.margin_ev),
            Text("\n".join(f"({f.facet}) {interval(f.low_ev, f.high_ev)}" for f in row.facets)),
            Text(growth_words(row.published_mode, row.published_facets) if row.published_mode else _DASH),
            Text(said, style=_AGREEMENT_STYLES.get(said, "yellow")),
        )
    return table
