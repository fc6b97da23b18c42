"""``epilayer query``: ask the results, and write the answer in the form that is wanted."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import out, print_json, study
from epilayer.model.errors import InputError
from epilayer.model.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence


class OutputFormat(StrEnum):
    """How a query is answered."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    BIBTEX = "bibtex"


def query(
    kind: Annotated[
        str,
        typer.Argument(
            help="Kind of record (adsorption, growth, competition, surface, wulff, calculation ...), "
            "jobs, runs, structures, or @NAME of a saved query."
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
    group_by: Annotated[
        str | None,
        typer.Option("--group-by", help="Count by this field; of numbers mean, min and max."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(
            "--of", metavar="RESULT", help="Only what is behind this result (id, or its beginning)."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1)] = 50,
    output: Annotated[OutputFormat, typer.Option("--format", "-o")] = OutputFormat.TABLE,
    file: Annotated[Path | None, typer.Option("--output", help="File to write; parquet needs one.")] = None,
    save: Annotated[str | None, typer.Option("--save", help="Keep this query under a name: @NAME.")] = None,
) -> None:
    """Query the results, the jobs, the runs behind results, or their structures.

    A number opens to its runs by ``query runs --of RESULT``; a run to its results by ``--where number=57``.
    Groups count every record that matches, whatever the limit. BibTeX cites the codes, potentials and
    data behind the records found.

    Example: [cyan]epilayer query adsorption --where facet=100 --sort adsorption_energy_ev --format json[/]

    Example: [cyan]epilayer query adsorption --group-by facet --field adsorption_energy_ev[/]

    Example: [cyan]epilayer query jobs --where state=failed --save failures[/]

    Example: [cyan]epilayer query runs --where number=57 --format json[/]
    """
    from epilayer.study import queries

    used = study()
    question = queries.Question(kind, tuple(where or ()), sort, tuple(fields or ()), group_by, of)
    answer = used.ask(question, limit=limit)
    if save is not None:
        queries.save(used, save, answer.question)
    if output is OutputFormat.BIBTEX:
        _deliver(queries.bibtex_of(used, answer.found), file)
    elif output is OutputFormat.PARQUET:
        if file is None:
            raise InputError("Parquet is not text.", "Name a file: --output results.parquet")
        write_atomic(file, answer.parquet())
    elif output is OutputFormat.JSON:
        print_json(answer.rows)
    elif output is OutputFormat.CSV:
        _write_csv(answer.rows)
    elif not answer.found:
        out.print(f"No {answer.question.kind} records match.")
    else:
        _print_table(answer.rows, answer.shown)
        if answer.stand_ins:
            total = len(answer.found)
            out.print(f"[yellow]{answer.stand_ins} of {total} were computed by a stand-in: no results.[/]")


def _write_csv(rows: Sequence[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row if name != "kind"))
    writer = csv.DictWriter(sys.stdout, names or ["id", "created"], extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)


def _deliver(text: str, file: Path | None) -> None:
    if file is None:
        sys.stdout.write(text)
    else:
        write_atomic(file, text)


def _print_table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    marked = ["stand_in"] if any(row.get("stand_in") for row in rows) else []
    used = [n for n in dict.fromkeys([*names, *marked]) if any(row.get(n) is not None for row in rows)]
    table = Table(box=None, pad_edge=False)
    for name in used:
        numeric = any(isinstance(row.get(name), float) for row in rows)
        table.add_column(
            _HEADINGS.get(name, name),
            justify="right" if numeric else "left",
            no_wrap=name not in _PROSE,
            overflow="fold",
            min_width=_PROSE_WIDTH.get(name),
        )
    for row in rows:
        table.add_row(*(_cell(n, row.get(n)) for n in used))
    out.print(table)


_PROSE = frozenset(
    {
        "name",
        "cause",
        "directory",
        "files",
        "programs",
        "elements",
        "ranking",
        "refusal",
        "open_points",
        "decided_by",
        "statement",
        "shape",
        "left_out",
        "measure",
        "molecule",
    }
)
_PROSE_WIDTH = {"measure": 10, "molecule": 7, "open_points": 18}
"""Below, prose that is folded is a column of syllables."""
_HEADINGS = {
    "adsorption_energy_ev": "E_ads (eV)",
    "uncertainty_ev": "+- (eV)",
    "low_ev": "from",
    "high_ev": "to",
    "open_points": "open",
    "decided_by": "decided by",
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
    "weakest_bond": "bond",
    "strongest_weakening_ratio": "change",
    "orientation_spread_ratio": "spread",
    "abstraction_energy_ev": "taken (eV)",
    "abstraction_barrier_ev": "Ea (eV)",
    "deformation_energy_ev_per_ang2": "W (eV/A2)",
    "mean_surface_energy_j_per_m2": "mean gamma (J/m2)",
    "left_out": "left out",
    "binding_facets": "holds on",
    "refusal": "why refused",
    "stand_in": "",
}


def _cell(name: str, value: Any) -> str:  # noqa: ANN401  (any scalar)
    if value is None:
        return ""
    if name == "stand_in":
        return "stand-in" if value else ""
    if name == "open_points":
        value = str(value).replace(",", ", ")
    if not isinstance(value, float):
        return escape(str(value))
    if name.endswith("_ratio"):
        return f"{100 * value:+.1f} %"
    return f"{value:+.3f}" if "_ev" in name else f"{value:.5g}"
