"""``epilayer report``: the paper's table with what was computed here."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from epilayer.cli.common import err, out, print_json, study
from epilayer.cli.transport_rows import show_transport, transport_rows

if TYPE_CHECKING:
    from epilayer import Study
    from epilayer.report.paper_table import Found
    from epilayer.study.workspace import Workspace


def report(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file to write.")] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Also write each figure as a PDF of its own."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON; write no file.")] = False,
) -> None:
    """Print the paper's table with what was computed here, and write it as one offline HTML file.

    Example: [cyan]epilayer report --output report.html[/]

    Example: [cyan]epilayer report --figures figures/[/]
    """
    from epilayer.cli.tables import comparison_table, paper_rows_table
    from epilayer.model.files import write_atomic
    from epilayer.report.citations import entries_by_doi
    from epilayer.report.content import ReportContent
    from epilayer.report.figures import study_figures
    from epilayer.report.html import render_html
    from epilayer.report.paper_table import paper_table, rows_to_json
    from epilayer.report.tables import compare, to_json

    used = study()
    used.refresh()
    found = _found()
    reference = used.catalogue.reference(_REFERENCE)
    rows = paper_table(found, reference)
    comparison = compare(_records(found, "adsorption"), _records(found, "growth"), reference)
    ions = transport_rows(used)
    if as_json:
        print_json({**to_json(comparison), "transport": ions, "paper": rows_to_json(rows)})
        return
    out.print(comparison_table(comparison))
    out.print()
    out.print(paper_rows_table(rows))
    show_transport(ions)
    for one in _records(found, "bond_strength"):
        out.print(escape(one.statement), soft_wrap=True)
    if not found:
        out.print("Nothing is computed yet. Begin with: [cyan]epilayer run paper_adsorption[/]")
        return
    path = output or used.root / "report.html"
    content = ReportContent(
        found,
        reference,
        calculations=_legs(used, _records(found, "adsorption")),
        sources=sources_of(used, [one.record for records in found.values() for one in records]),
        library=entries_by_doi(used.citations()),
    )
    with err.status("Drawing the report ..."):
        text = render_html(content, made_at=datetime.now(UTC))
    write_atomic(path, text)
    out.print(f"Report written: [bold]{path}[/]")
    if figures is not None:
        with err.status("Drawing the figures ..."):
            for name, data in study_figures(content):
                write_atomic(figures / f"{name}.pdf", data)
        out.print(f"Figures written: [bold]{figures}[/]")


_REFERENCE = "isotropic-epilayer-2025"


def _legs(used: Study, records: list[Any]) -> list[Any]:
    """Return the calculations behind the records' legs, for their relaxation curves."""
    from monty.json import MontyDecoder

    wanted = sorted({leg.provenance.job for r in records for leg in r.legs if leg.provenance.job})
    with used.jobstore() as outputs:
        found = outputs.query({"uuid": {"$in": wanted}, "output.@class": "Calculation"}, load=True)
        return [MontyDecoder().process_decoded(d["output"]) for d in found]


def sources_of(used: Workspace, records: list[Any]) -> dict[str, str]:
    """Return the sources of the levels of theory, engines and materials that the records name, by title."""
    catalogue = used.catalogue
    read = {
        "engines": catalogue.engine_spec,
        "levels": catalogue.level,
        "cathodes": catalogue.cathode,
        "ligands": catalogue.ligand,
        "mofs": catalogue.mof,
    }
    things: list[Any] = [read[kind](name) for kind, name in things_of(used, records)]
    return {thing.title or thing.name: thing.source for thing in things}


def things_of(used: Workspace, records: list[Any]) -> list[tuple[str, str]]:
    """Return kind and name of every input of the catalogue that the records name."""
    from epilayer.model.level import LevelOfTheory

    catalogue = used.catalogue
    # An imported calculation's level is what its files say, and names none of ours.
    of_ours = (r.level for r in records if isinstance(getattr(r, "level", None), LevelOfTheory))
    real = [level.name for level in of_ours if not level.stand_in]
    levels = sorted(set(real) & set(catalogue.names("levels")))
    found = [
        (kind, name) for n in levels for kind, name in (("engines", catalogue.level(n).engine), ("levels", n))
    ]
    for kind, attribute in (("cathodes", "cathode"), ("ligands", "ligand"), ("mofs", "mof")):
        named = {str(getattr(r, attribute, "")) for r in records}
        found += [(kind, name) for name in sorted(named & set(catalogue.names(kind)))]
    return list(dict.fromkeys(found))


def _found() -> dict[str, list[Found]]:
    """Return every record that the report knows, with its id, by kind; kinds without any are left out."""
    from epilayer.model.kinds import KINDS
    from epilayer.report.paper_table import Found
    from epilayer.store.records import record_of

    results = study().results()
    try:
        return {
            kind: [Found(r["id"], record_of(r)) for r in results.query(kind, limit=None, body=True)]
            for kind in results.kinds()
            if kind in KINDS and KINDS[kind].reported
        }
    finally:
        results.close()


def _records(found: dict[str, list[Found]], kind: str) -> list[Any]:
    return [one.record for one in found.get(kind, ())]
