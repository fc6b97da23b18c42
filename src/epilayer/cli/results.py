"""``epilayer report``: the paper's table with what was computed here."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from epilayer.cli.common import err, jobstore_of, out, print_json, queue_of, results_of, study
from epilayer.cli.harvest import harvest
from epilayer.cli.transport_rows import show_transport, transport_rows

if TYPE_CHECKING:
    from epilayer.config import Study
    from epilayer.report.paper_table import Found


def report(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file to write.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON; write no file.")] = False,
) -> None:
    """Print the paper's table with what was computed here, and write it as one offline HTML file.

    Example: [cyan]epilayer report --output report.html[/]
    """
    from epilayer.model.files import write_atomic
    from epilayer.report.citations import library_of
    from epilayer.report.html import render_html
    from epilayer.report.paper_table import paper_table, rows_to_json, rows_to_rich
    from epilayer.report.tables import compare, to_json, to_rich

    used = study()
    if used.queue_file.exists():
        harvest(used, queue_of(used))
    found = _found()
    adsorption, growth = _records(found, "adsorption"), _records(found, "growth")
    reference = used.catalogue.reference(_REFERENCE)
    rows = paper_table(found, reference)
    comparison = compare(adsorption, growth, reference)
    ions = transport_rows(used, queue_of(used)) if used.queue_file.exists() else []
    if as_json:
        print_json({**to_json(comparison), "transport": ions, "paper": rows_to_json(rows)})
        return
    out.print(to_rich(comparison))
    out.print()
    out.print(rows_to_rich(rows))
    show_transport(ions)
    bond_studies = _records(found, "bond_strength")
    for one in bond_studies:
        out.print(escape(one.statement), soft_wrap=True)
    if not found:
        out.print("Nothing is computed yet. Begin with: [cyan]epilayer run paper_adsorption[/]")
        return
    path = output or used.root / "report.html"
    with err.status("Drawing the report ..."):
        text = render_html(
            adsorption,
            growth,
            reference,
            made_at=datetime.now(UTC),
            calculations=_legs(used, adsorption),
            sources=sources_of(used, [one.record for records in found.values() for one in records]),
            shapes=_records(found, "wulff"),
            surface_energies=_records(found, "surface"),
            bond_studies=bond_studies,
            found=found,
            library=library_of(used.citations()),
        )
    write_atomic(path, text)
    out.print(f"Report written: [bold]{path}[/]")


_REPORTED = frozenset(
    {"adsorption", "growth", "competition", "surface", "wulff", "transport", "bond_strength", "epitaxy"}
)
_REFERENCE = "isotropic-epilayer-2025"


def _legs(used: Study, records: list[Any]) -> list[Any]:
    """Return the calculations behind the records' legs, for their relaxation curves."""
    from monty.json import MontyDecoder

    wanted = sorted({leg.provenance.job for r in records for leg in r.legs if leg.provenance.job})
    with jobstore_of(used) as outputs:
        found = outputs.query({"uuid": {"$in": wanted}, "output.@class": "Calculation"}, load=True)
        return [MontyDecoder().process_decoded(d["output"]) for d in found]


def sources_of(used: Study, records: list[Any]) -> dict[str, str]:
    """Return the sources of the levels of theory, engines, cathodes and ligands that the records name."""
    catalogue = used.catalogue
    levels = {r.level.name for r in records if hasattr(r, "level") and not r.level.stand_in}
    things: list[Any] = []
    for name in sorted(levels & set(catalogue.names("levels"))):
        level = catalogue.level(name)
        things += [catalogue.engine_spec(level.engine), level]
    cathodes = {r.cathode for r in records if hasattr(r, "cathode")}
    ligands = {r.ligand for r in records if hasattr(r, "ligand")}
    things += [catalogue.cathode(n) for n in sorted(cathodes & set(catalogue.names("cathodes")))]
    mofs = {str(getattr(r, "mof", "")) for r in records}
    things += [catalogue.ligand(n) for n in sorted(ligands & set(catalogue.names("ligands")))]
    things += [catalogue.mof(n) for n in sorted(mofs & set(catalogue.names("mofs")))]
    return {thing.title or thing.name: thing.source for thing in things}


def _found() -> dict[str, list[Found]]:
    """Return every record that the report knows, with its id, by kind; kinds without any are left out."""
    from epilayer.report.paper_table import Found
    from epilayer.store.records import record_of

    results = results_of(study())
    try:
        return {
            kind: [Found(r["id"], record_of(r)) for r in results.query(kind, limit=None, body=True)]
            for kind in results.kinds()
            if kind in _REPORTED
        }
    finally:
        results.close()


def _records(found: dict[str, list[Found]], kind: str) -> list[Any]:
    return [one.record for one in found.get(kind, ())]
