"""``epilayer report``: the paper's table with what was computed here."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from epilayer.cli.common import err, out, print_json, study
from epilayer.cli.transport import show_transport


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
    from epilayer.report.figures import study_figures
    from epilayer.report.html import render_html
    from epilayer.report.paper_table import paper_table, rows_to_json
    from epilayer.report.tables import to_json
    from epilayer.study.reporting import transport_rows

    used = study()
    used.refresh()
    content, transport = used.report(drawn=not as_json), transport_rows(used)
    reference = used.catalogue.reference(used.settings.reference)
    comparison, paper = content.comparison(), paper_table(content.found, reference)
    if as_json:
        print_json({**to_json(comparison), "transport": transport, "paper": rows_to_json(paper)})
        return
    out.print(comparison_table(comparison))
    out.print()
    out.print(paper_rows_table(paper))
    show_transport(transport)
    for one in content.records("bond_strength"):
        out.print(escape(one.statement), soft_wrap=True)
    if not content.found:
        out.print("Nothing is computed yet. Begin with: [cyan]epilayer run paper_adsorption[/]")
        return
    path = output or used.root / "report.html"
    with err.status("Drawing the report ..."):
        write_atomic(path, render_html(content, made_at=datetime.now(UTC)))
    out.print(f"Report written: [bold]{path}[/]")
    if figures is not None:
        with err.status("Drawing the figures ..."):
            for name, data in study_figures(content):
                write_atomic(figures / f"{name}.pdf", data)
        out.print(f"Figures written: [bold]{figures}[/]")
