"""Commands that look at results: ``query`` and ``report``."""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import err, jobstore_of, out, print_json, queue_of, results_of, study
from epilayer.cli.harvest import harvest
from epilayer.cli.transport_rows import show_transport, transport_rows
from epilayer.model.errors import UnknownNameError

if TYPE_CHECKING:
    from epilayer.config import Study
    from epilayer.report.paper_table import Found
    from epilayer.store.results import Record


class OutputFormat(StrEnum):
    """How a query is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def query(
    kind: Annotated[
        str,
        typer.Argument(
            help="Kind of record: adsorption, growth, competition, surface, wulff, calculation ..."
        ),
    ],
    where: Annotated[
        list[str] | None,
        typer.Option("--where", "-w", help="facet=100, adsorption_energy_ev<-0.5, ligand~imidazole ..."),
    ] = None,
    sort: Annotated[str | None, typer.Option("--sort", help="Field; '-field' for descending.")] = None,
    fields: Annotated[
        list[str] | None, typer.Option("--field", help="Show this field; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1)] = 50,
    output: Annotated[OutputFormat, typer.Option("--format", "-o")] = OutputFormat.TABLE,
) -> None:
    """Query the results.

    Example: [cyan]epilayer query adsorption --where facet=100 --sort adsorption_energy_ev --format json[/]
    """
    from epilayer.store.filters import parse_filter
    from epilayer.store.records import KINDS

    used = study()
    if used.queue_file.exists():
        harvest(used, queue_of(used))
    results = results_of(used)
    known = results.kinds()
    if kind not in known:
        if kind not in KINDS:
            raise UnknownNameError("kind of record", kind, {*known, *KINDS})
        found: list[Record] = []
    else:
        filters = [parse_filter(text) for text in where or ()]
        found = results.query(kind, filters, sort=sort, limit=limit, fields=fields)
    if output is OutputFormat.JSON:
        print_json(
            [{"id": r["id"], "kind": r["kind"], "created": r["created"], **r["fields"]} for r in found]
        )
    elif output is OutputFormat.CSV:
        _print_csv(found)
    elif not found:
        out.print(f"No {kind} records match.")
    else:
        _print_table(found, fields or (KINDS[kind].shown if kind in KINDS else tuple(found[0]["fields"])))


def report(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file to write.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON; write no file.")] = False,
) -> None:
    """Print the paper's table with what was computed here, and write it as one offline HTML file.

    Example: [cyan]epilayer report --output report.html[/]
    """
    from epilayer.model.files import write_atomic
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
            sources=_sources(used, [one.record for records in found.values() for one in records]),
            shapes=_records(found, "wulff"),
            surface_energies=_records(found, "surface"),
            bond_studies=bond_studies,
            found=found,
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


def _sources(used: Study, records: list[Any]) -> dict[str, str]:
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
    things += [catalogue.ligand(n) for n in sorted(ligands & set(catalogue.names("ligands")))]
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


def _print_csv(found: list[Record]) -> None:
    names = list(dict.fromkeys(name for r in found for name in r["fields"]))
    writer = csv.writer(sys.stdout)
    writer.writerow(["id", "created", *names])
    for r in found:
        writer.writerow([r["id"], r["created"], *(r["fields"].get(n) for n in names)])


def _print_table(found: list[Record], names: tuple[str, ...] | list[str]) -> None:
    used = [n for n in names if any(r["fields"].get(n) is not None for r in found)]
    table = Table(box=None, pad_edge=False)
    for name in used:
        numeric = any(isinstance(r["fields"].get(name), float) for r in found)
        table.add_column(
            _HEADINGS.get(name, name),
            justify="right" if numeric else "left",
            no_wrap=name not in _PROSE,
            overflow="fold",
        )
    for r in found:
        table.add_row(*(_cell(r["fields"].get(n)) for n in used))
    out.print(table)


_PROSE = frozenset({"ranking", "refusal", "statement", "shape", "left_out"})
_HEADINGS = {
    "adsorption_energy_ev": "E_ads (eV)",
    "uncertainty_ev": "+- (eV)",
    "without_dispersion_ev": "less D3 (eV)",
    "closest_contact": "contact",
    "closest_contact_ang": "at (A)",
    "margin_ev": "margin (eV)",
    "surface_energy_j_per_m2": "gamma (J/m2)",
    "uncertainty_j_per_m2": "+- (J/m2)",
    "thickness_change_j_per_m2": "twice as thick",
    "without_dispersion_j_per_m2": "less D3",
    "unrelaxed_j_per_m2": "unrelaxed",
    "deformation_energy_ev": "W (eV/f.u.)",
    "deformation_energy_ev_per_ang2": "W (eV/A2)",
    "mean_surface_energy_j_per_m2": "mean gamma (J/m2)",
    "left_out": "left out",
    "binding_facets": "holds on",
    "refusal": "why refused",
}


def _cell(value: Any) -> str:  # noqa: ANN401  (any scalar)
    if value is None:
        return ""
    return f"{value:+.3f}" if isinstance(value, float) else escape(str(value))
