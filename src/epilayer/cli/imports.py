"""``epilayer import``: calculations that somebody else ran, as records that say what can be stood behind."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from epilayer.cli.common import JsonOption, err, out, plain_table, print_json, study
from epilayer.model.errors import InputError
from epilayer.study.names import IMPORT_JOURNAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from epilayer.model.imported import ImportedAdsorption, ImportedCalculation

_FIRST = (
    "path",
    "code",
    "kind",
    "status",
    "energy_ev",
    "reasons",
    "corrections",
    "magnetic_moments",
)
# Long, and in the files themselves.
_LEFT_OUT = {"lattice_ang", "positions_frac", "species", "signature"}
_SHOWN_AT_MOST = 60


def import_calculations(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="DIR...", help="Directories or files; with --adsorption also ROLE=DIR."),
    ],
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", min=1, help="Processes (default: by the work there is).")
    ] = None,
    *,
    resume: Annotated[
        bool,
        typer.Option("--resume", help=f"Keep what {IMPORT_JOURNAL} holds; read only what is new or changed."),
    ] = False,
    into_store: Annotated[
        bool, typer.Option("--into-store", help="Keep the records in the study's results (implies --resume).")
    ] = False,
    adsorption: Annotated[
        bool,
        typer.Option("--adsorption", help="Also the adsorption energies of legs that belong together."),
    ] = False,
    show_all: Annotated[bool, typer.Option("--all", help=f"Show more than {_SHOWN_AT_MOST} rows.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Import VASP and LOBSTER calculations: directories of any workflow, FireWorks launches, lone files.

    Compressed files too. An energy is given only where the files show that it can be stood behind; everything
    else is listed with its reason. Nothing in the directories is changed. Exit code 2: nothing there is a
    calculation, or no legs belong together.

    --json prints one object a calculation (path, code, kind, status, energy_ev, reasons, corrections,
    magnetic_moments, ...); with --adsorption an object of two lists, calculations and adsorption.

    Example: [cyan]epilayer import launches/ --workers 4 --into-store[/]

    Example: [cyan]epilayer import --adsorption slab=clean molecule=box adsorbate=pose1[/]
    """
    from epilayer.study.importing import read_calculations

    used = study()
    with _progress(quiet=as_json or not err.is_terminal) as report:
        found = read_calculations(
            used, paths, workers=workers, resume=resume or into_store, adsorption=adsorption, on_record=report
        )
    stored = found.keep(used) if into_store else None
    records, made = found.calculations, found.adsorption
    if as_json:
        listed = [_record_json(record) for record in records]
        energies = [one.model_dump(mode="json") for one in made]
        print_json({"calculations": listed, "adsorption": energies} if adsorption else listed)
    else:
        _show(records, None if show_all else _SHOWN_AT_MOST)
        _show_adsorption(made)
    if adsorption and not made:
        raise InputError(
            "No slab, molecule and slab with the molecule belong together among what was imported.",
            "Name them: epilayer import --adsorption slab=DIR molecule=DIR adsorbate=DIR",
        )
    if stored is not None and not as_json:
        out.print(f"{stored} records stored. Look at them: [cyan]epilayer query calculation[/]")


def _progress(*, quiet: bool) -> AbstractContextManager[Callable[[int, int], None] | None]:
    if quiet:
        return nullcontext()
    from contextlib import contextmanager

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    @contextmanager
    def shown() -> Any:  # noqa: ANN401  (a generator of one function)
        columns = (TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    return shown()


def _record_json(record: ImportedCalculation) -> dict[str, Any]:
    everything = record.model_dump(mode="json", exclude=_LEFT_OUT)
    first = {name: everything.pop(name) for name in _FIRST}
    return {**first, "formula": record.formula, "atoms": len(record.species) or None, **everything}


def _show(records: Sequence[ImportedCalculation], at_most: int | None) -> None:
    base = _common([record.path for record in records])
    headings = ("calculation", "kind", "status", "energy, eV", "note")
    rows = [
        (
            _name(record, base),
            f"{record.code.value} {record.kind.value}",
            Text(
                record.status.value,
                {"converged": "green", "failed": "red"}.get(record.status.value, "yellow"),
            ),
            _number(record.energy_ev, 6),
            _remarks(record),
        )
        for record in records[:at_most]
    ]
    out.print(plain_table(headings, rows, right=headings[3:4], no_wrap=headings[1:4]))
    if at_most is not None and len(records) > at_most:
        out.print(f"... and {len(records) - at_most} more (--all or --json shows them).")
    for record in records:
        for what, remedy in _withheld(record):
            out.print(
                f"[yellow]{record.status.value}[/] {escape(_name(record, base))}: {escape(what)}. "
                f"[dim]{escape(remedy)}[/]",
                soft_wrap=True,
            )
    counts = Counter(record.status.value for record in records)
    energies = sum(record.energy_ev is not None for record in records)
    listed = ", ".join(f"{n} {status}" for status, n in counts.items())
    out.print(
        f"{len(records)} calculations below {escape(base)}: {listed}; {energies} energies stood behind."
    )


def _name(record: ImportedCalculation, base: str) -> str:
    return _short(record.path, base) + (f" ({record.label})" if record.label else "")


def _number(value_ev: float | None, digits: int) -> str:
    if value_ev is None:
        return "\N{EN DASH}"
    return f"{value_ev:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _withheld(record: ImportedCalculation) -> list[tuple[str, str]]:
    """Return why nothing is stood behind: what weighs most, or all that was seen."""
    grave = [r for r in record.reasons if r.severity.value != "note"]
    if record.status.value == "converged":
        return [(r.what, r.remedy) for r in grave]
    return [(r.what, r.remedy) for r in grave or record.reasons[:1]]


def _remarks(record: ImportedCalculation) -> str:
    """Return in a few words what else a reader of the energy or of the bonds has to know."""
    remarks = []
    if record.bonding and record.bonding.icohp_ev:
        bonds = record.bonding.icohp_ev
        strongest = min(bonds, key=lambda bond: bond.summed)
        remarks.append(
            f"{len(bonds)} bonds, ICOHP down to {_number(strongest.summed, 3)} eV "
            f"({strongest.atom_1}, {strongest.atom_2})"
        )
    if record.stand_in:
        remarks.append("a stand-in wrote it: not DFT")
    if record.corrections:
        remarks.append(f"{len(record.corrections)} corrections")
    if record.agreement.value == "single_witness":
        remarks.append("single witness")
    return "; ".join(remarks)


def _show_adsorption(made: Sequence[ImportedAdsorption]) -> None:
    if not made:
        return
    base = _common([leg.path for one in made for leg in one.legs])
    rows = []
    for one in made:
        slab, molecule, adsorbed = (_short(leg.path, base) for leg in one.legs)
        level = f"{one.functional}, {one.encut_ev:g} eV" if one.encut_ev else str(one.functional)
        rows.append((adsorbed, slab, molecule, level, _number(one.adsorption_energy_ev, 5), one.status.value))
    headings = ("slab with molecule", "slab", "molecule", "level", "E_ads, eV", "status")
    table = plain_table(
        headings, rows, right=headings[4:5], no_wrap=headings[4:5], title="Adsorption energies"
    )
    out.print()
    out.print(table)
    for one in made:
        for refusal in one.refusals:
            out.print(f"[yellow]refused[/] {escape(refusal.what)}. Remedy: {escape(refusal.remedy)}.")
    for caveat in dict.fromkeys(text for one in made for text in one.caveats):
        out.print(f"Note: {escape(caveat)}.")


def _common(paths: Sequence[str]) -> str:
    if len(set(paths)) == 1:
        return str(Path(paths[0]).parent)
    return os.path.commonpath(paths)


def _short(path: str, base: str) -> str:
    place = Path(path)
    place = place.parent if place.name == "outputs" and str(place.parent) != base else place
    return str(place.relative_to(base)) if place.is_relative_to(base) else path
