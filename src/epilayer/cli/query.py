"""``epilayer query``: ask the results, and write the answer in the form that is wanted."""

from __future__ import annotations

import csv
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import out, print_json, study
from epilayer.model.errors import InputError, UnknownNameError
from epilayer.store.result_record import STAND_IN
from epilayer.study.query_rows import ROWS, SHOWN, SORTED_BY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer import Study
    from epilayer.store.results import Record

SAVED_FILE = "queries.json"
_LEAST, _MOST = "min", "max"


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
    used = study()
    asked: dict[str, Any] = {
        "kind": kind,
        "where": where or [],
        "sort": sort,
        "fields": fields or [],
        "group_by": group_by,
        "of": of,
    }
    if kind.startswith("@"):
        asked = _saved(used, kind[1:], asked)
    found = _found(used, asked, None if asked["group_by"] else limit)
    if save is not None:
        _save(used, save, asked)
    if output is OutputFormat.BIBTEX:
        _deliver(_bibtex(used, found), file)
        return
    rows = _groups(found, asked["group_by"], asked["fields"]) if asked["group_by"] else _plain(found)
    if output is OutputFormat.PARQUET:
        _write_parquet(rows, file)
    elif output is OutputFormat.JSON:
        print_json(rows)
    elif output is OutputFormat.CSV:
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(
            sys.stdout, [n for n in names if n != "kind"] or ["id", "created"], extrasaction="ignore"
        )
        writer.writeheader()
        writer.writerows(rows)
    elif not rows:
        out.print(f"No {asked['kind']} records match.")
    else:
        _print_table(rows, _shown(asked, rows))
        if made_up := sum(1 for r in found if r["fields"].get(STAND_IN)):
            out.print(f"[yellow]{made_up} of {len(found)} were computed by a stand-in: no results.[/]")


def _found(used: Study, asked: dict[str, Any], limit: int | None) -> list[Record]:
    from epilayer.model.kinds import KINDS
    from epilayer.store.filters import parse_filter

    filters = [parse_filter(text) for text in asked["where"]]
    grouped = asked["group_by"]
    fields = None if grouped else asked["fields"] or None
    if asked["of"] is not None and asked["kind"] not in ROWS:
        raise InputError(
            f"--of asks what is behind a result, and {asked['kind']} are results.",
            "Ask for runs or structures, as in: epilayer query runs --of RESULT",
        )
    used.refresh()
    if asked["kind"] in ROWS:
        return _found_rows(used, asked, filters, limit, fields)
    results = used.results()
    try:
        known = results.kinds()
        if asked["kind"] not in known:
            if asked["kind"] not in KINDS:
                raise UnknownNameError("kind of record", asked["kind"], {*known, *KINDS, *ROWS})
            return []
        if grouped and grouped not in results.fields(asked["kind"]):
            raise UnknownNameError("field", grouped, results.fields(asked["kind"]))
        return results.query(asked["kind"], filters, sort=asked["sort"], limit=limit, fields=fields)
    finally:
        results.close()


def _found_rows(
    used: Study, asked: dict[str, Any], filters: list[Any], limit: int | None, fields: list[str] | None
) -> list[Record]:
    """Ask jobs, runs or structures by the same filters: they become records that last for the question."""
    import tempfile

    from epilayer.store.results import SqliteResults

    kind = asked["kind"]
    with tempfile.TemporaryDirectory(prefix="epilayer-") as folder:
        store = SqliteResults(Path(folder) / "rows.sqlite", durable=False)
        try:
            store.put(ROWS[kind](used, asked["of"]))
            return store.query(
                kind, filters, sort=asked["sort"] or SORTED_BY[kind], limit=limit, fields=fields
            )
        finally:
            store.close()


def _plain(found: Sequence[Record]) -> list[dict[str, Any]]:
    return [{"id": r["id"], "kind": r["kind"], "created": r["created"], **r["fields"]} for r in found]


def _groups(found: Sequence[Record], by: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row a value: how many records, and of each numeric field its mean, least and greatest."""
    groups: dict[Any, list[Record]] = {}
    for record in found:
        groups.setdefault(record["fields"].get(by), []).append(record)
    names = fields or sorted(
        {n for r in found for n, v in r["fields"].items() if isinstance(v, float) and n != by}
    )
    rows = []
    for value in sorted(
        groups, key=lambda v: (v is None, isinstance(v, str), str(v) if isinstance(v, str) else v or 0)
    ):
        row: dict[str, Any] = {by: value, "count": len(groups[value])}
        made_up = sum(1 for r in groups[value] if r["fields"].get(STAND_IN))
        row |= {"of stand-ins": made_up} if made_up else {}
        for name in names:
            given = [r["fields"].get(name) for r in groups[value]]
            numbers = [v for v in given if isinstance(v, int | float) and not isinstance(v, bool)]
            if numbers:
                row |= {
                    f"{name} mean": sum(numbers) / len(numbers),
                    f"{name} {_LEAST}": min(numbers),
                    f"{name} {_MOST}": max(numbers),
                }
        rows.append(row)
    return rows


def _in_order(value: str | float | None) -> tuple[int, float, str]:
    """Return a sort key: numbers, then text, then nothing."""
    if value is None:
        return 2, 0.0, ""
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value), "")


def _saved(used: Study, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return a saved query; what is given besides narrows or replaces it."""
    known = _all_saved(used)
    if name not in known:
        raise UnknownNameError("saved query", name, known)
    kept: dict[str, Any] = known[name]
    merged = kept | {key: value for key, value in given.items() if key not in ("kind", "where") and value}
    merged["where"] = [*kept["where"], *given["where"]]
    return merged


def _save(used: Study, name: str, asked: dict[str, Any]) -> None:
    from epilayer.model.files import write_atomic

    if not name.isidentifier():
        raise InputError(f"{name!r} cannot name a query.", "Use letters, digits and _, as in weak_on_100.")
    text = json.dumps(_all_saved(used) | {name: asked}, indent=1)
    write_atomic(used.state / SAVED_FILE, text + "\n")


def _all_saved(used: Study) -> dict[str, Any]:
    path = used.state / SAVED_FILE
    try:
        read: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}).", "Delete it, and save your queries again."
        ) from error
    return read


def _bibtex(used: Study, found: Sequence[Record]) -> str:
    from epilayer.model.kinds import KINDS
    from epilayer.report.citations import bibtex, entries_by_doi
    from epilayer.report.paper_table import Found
    from epilayer.store.records import record_of
    from epilayer.study.records import sources

    results = used.results()
    try:
        known = [r for r in found if r["kind"] in KINDS]
        records = [Found(r["id"], record_of(results.get(r["id"]))) for r in known]
    finally:
        results.close()
    by_kind = {known[0]["kind"]: records} if known else {}
    said = sources(used, [one.record for one in records])
    return bibtex(by_kind, said, entries_by_doi(used.citations()))


def _deliver(text: str, file: Path | None) -> None:
    from epilayer.model.files import write_atomic

    if file is None:
        sys.stdout.write(text)
    else:
        write_atomic(file, text)


def _write_parquet(rows: list[dict[str, Any]], file: Path | None) -> None:
    import io

    from epilayer.model.files import write_atomic

    if file is None:
        raise InputError("Parquet is not text.", "Name a file: --output results.parquet")
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise InputError("Parquet needs pyarrow.", "pip install 'epilayer[parquet]'") from error
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    mixed = {
        name: [None if v is None else str(v) for v in values]
        for name, values in columns.items()
        if any(isinstance(v, str) for v in values)
        and not all(v is None or isinstance(v, str) for v in values)
    }
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns | mixed), buffer)
    write_atomic(file, buffer.getvalue())


def _shown(asked: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[str]:
    from epilayer.model.kinds import KINDS

    if asked["group_by"]:
        return list(dict.fromkeys(name for row in rows for name in row))
    if asked["fields"]:
        return list(asked["fields"])
    if asked["kind"] in KINDS:
        return list(KINDS[asked["kind"]].shown)
    return list(SHOWN[asked["kind"]])


def _print_table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    marked = [STAND_IN] if any(row.get(STAND_IN) for row in rows) else []
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
        "statement",
        "shape",
        "left_out",
        "measure",
        "molecule",
    }
)
_PROSE_WIDTH = {"measure": 10, "molecule": 7}
"""Below, prose that is folded is a column of syllables."""
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
    STAND_IN: "",
}


def _cell(name: str, value: Any) -> str:  # noqa: ANN401  (any scalar)
    if value is None:
        return ""
    if name == STAND_IN:
        return "stand-in" if value else ""
    if not isinstance(value, float):
        return escape(str(value))
    if name.endswith("_ratio"):
        return f"{100 * value:+.1f} %"
    return f"{value:+.3f}" if "_ev" in name else f"{value:.5g}"
