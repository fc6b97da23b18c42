"""``epilayer import``: calculations that somebody else ran, as records that say what can be stood behind."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import JsonOption, err, out, print_json, study
from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from epilayer.model.imported import ImportedAdsorption, ImportedCalculation
    from epilayer.model.records import Calculation

    Leg = tuple[ImportedCalculation, Calculation]

_ROLES = ("slab", "molecule", "adsorbate")
_LEDGER = "imported.jsonl"
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
        typer.Option("--resume", help=f"Keep what was read in {_LEDGER}; read only what is new or changed."),
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
    roles, places = _sorted_out(paths, adsorption=adsorption)
    records = _read(places, workers, resume=resume or into_store, quiet=as_json)
    made = _adsorption(records, roles) if adsorption else []
    if all(record.code.value == "unknown" for record in records):
        first = records[0].reasons[0]
        raise InputError(first.what, first.remedy)
    stored = _store(records, made) if into_store else None
    if as_json:
        listed = [_plain(record) for record in records]
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


def _sorted_out(paths: Sequence[str], *, adsorption: bool) -> tuple[dict[str, Path], list[Path]]:
    """Tell ROLE=DIR from DIR; refuse what does not exist before anything is read."""
    roles: dict[str, Path] = {}
    places: list[Path] = []
    for text in paths:
        role, sign, rest = text.partition("=")
        named = bool(sign) and role in _ROLES and not Path(text).exists()
        place = Path(rest if named else text).expanduser().absolute()
        if not place.exists():
            raise InputError(f"{place} does not exist.", "Give a directory or an output file that exists.")
        places.append(place)
        if named:
            if role in roles:
                raise InputError(f"{role}= is given twice.", "Give each of slab, molecule, adsorbate once.")
            roles[role] = place
    if roles and not adsorption:
        raise InputError("slab=, molecule= and adsorbate= belong to --adsorption.", "Add --adsorption.")
    if roles and len(roles) < len(_ROLES):
        missing = ", ".join(f"{role}=DIR" for role in _ROLES if role not in roles)
        raise InputError(f"An adsorption energy lacks {missing}.", f"Add {missing}, or name no role at all.")
    return roles, list(dict.fromkeys(places))


def _read(
    places: Sequence[Path], workers: int | None, *, resume: bool, quiet: bool
) -> list[ImportedCalculation]:
    from epilayer.outputs import import_many

    ledger: Path | None = None
    if resume:
        used = study()
        used.state.mkdir(parents=True, exist_ok=True)
        ledger = used.state / _LEDGER
    with _progress(quiet=quiet or not err.is_terminal) as tell:
        return import_many(places, workers=workers, resume_from=ledger, on_record=tell)


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


def _adsorption(records: Sequence[ImportedCalculation], roles: dict[str, Path]) -> list[ImportedAdsorption]:
    from epilayer.analysis.imported_adsorption import imported_adsorption, triples
    from epilayer.engines.vasp.imported_legs import as_calculation, open_points, usable_as_leg

    if roles:
        legs = [_leg_at(records, role, roles[role]) for role in _ROLES]
        found = [(legs[0], legs[1], legs[2])]
    else:
        usable: list[Leg] = []
        for record in records:
            if usable_as_leg(record):
                try:
                    usable.append((record, as_calculation(record)))
                except InputError:  # its level is not stated: the record itself says so
                    continue
        found = triples(usable)
    made = [
        imported_adsorption(*three, [point for record, _ in three for point in open_points(record)])
        for three in found
    ]
    return sorted(made, key=lambda one: (one.adsorption_energy_ev is None, one.adsorption_energy_ev or 0.0))


def _leg_at(records: Sequence[ImportedCalculation], role: str, place: Path) -> Leg:
    """Return the one leg that a directory holds; of a relaxation and a single point, the single point."""
    from epilayer.engines.vasp.imported_legs import as_calculation, usable_as_leg

    here = [r for r in records if Path(r.path) == place or place in Path(r.path).parents]
    usable = [r for r in here if usable_as_leg(r)]
    statics = [r for r in usable if r.kind.value == "static"]
    chosen = statics or usable or here
    if len(chosen) != 1:
        raise InputError(
            f"{role}={place} holds {len(chosen)} calculations.",
            "Name the directory of the one that is meant: "
            + (", ".join(f"{role}={r.path}" for r in chosen[:3]) or "it needs a vasprun.xml"),
        )
    return chosen[0], as_calculation(chosen[0])


def _store(records: Sequence[ImportedCalculation], made: Sequence[ImportedAdsorption]) -> int:
    from datetime import UTC, datetime

    from epilayer.store.records import document_of
    from epilayer.study.stored_files import seal_study

    now = datetime.now(UTC).isoformat()
    known = [record for record in records if record.code.value != "unknown"]
    used = study()
    results = used.results()
    try:
        results.put(document_of(one, created=now) for one in known)
        results.put(document_of(one, created=now) for one in made)
    finally:
        results.close()
    seal_study(used, ())
    return len(known) + len(made)


def _plain(record: ImportedCalculation) -> dict[str, Any]:
    everything = record.model_dump(mode="json", exclude=_LEFT_OUT)
    first = {name: everything.pop(name) for name in _FIRST}
    return {**first, "formula": record.formula, "atoms": len(record.species) or None, **everything}


def _show(records: Sequence[ImportedCalculation], at_most: int | None) -> None:
    base = _common([record.path for record in records])
    table = Table(box=None, pad_edge=False)
    table.add_column("calculation", overflow="fold")
    for heading in ("kind", "status"):
        table.add_column(heading, no_wrap=True)
    table.add_column("energy, eV", justify="right", no_wrap=True)
    table.add_column("note", overflow="fold")
    for record in records[:at_most]:
        style = {"converged": "green", "failed": "red"}.get(record.status.value, "yellow")
        table.add_row(
            escape(_name(record, base)),
            f"{record.code.value} {record.kind.value}",
            f"[{style}]{record.status.value}[/]",
            _number(record.energy_ev, 6),
            escape(_said(record)),
        )
    out.print(table)
    if at_most is not None and len(records) > at_most:
        out.print(f"... and {len(records) - at_most} more (--all or --json shows them).")
    for record in records:
        for what, remedy in _withheld(record):
            out.print(
                f"[yellow]{record.status.value}[/] {escape(_name(record, base))}: {escape(what)}. "
                f"[dim]{escape(remedy)}[/]",
                soft_wrap=True,
            )
    counts: dict[str, int] = {}
    for record in records:
        counts[record.status.value] = counts.get(record.status.value, 0) + 1
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


def _said(record: ImportedCalculation) -> str:
    """Return in a few words what else a reader of the energy or of the bonds has to know."""
    said = []
    if record.bonding and record.bonding.icohp_ev:
        bonds = record.bonding.icohp_ev
        strongest = min(bonds, key=lambda bond: bond.summed)
        said.append(
            f"{len(bonds)} bonds, ICOHP down to {_number(strongest.summed, 3)} eV "
            f"({strongest.atom_1}, {strongest.atom_2})"
        )
    if record.stand_in:
        said.append("a stand-in wrote it: not DFT")
    if record.corrections:
        said.append(f"{len(record.corrections)} corrections")
    if record.agreement.value == "single_witness":
        said.append("single witness")
    return "; ".join(said)


def _show_adsorption(made: Sequence[ImportedAdsorption]) -> None:
    if not made:
        return
    base = _common([leg.path for one in made for leg in one.legs])
    table = Table(box=None, pad_edge=False, title="Adsorption energies", title_justify="left")
    for heading in ("slab with molecule", "slab", "molecule", "level"):
        table.add_column(heading, overflow="fold")
    table.add_column("E_ads, eV", justify="right", no_wrap=True)
    table.add_column("status")
    for one in made:
        slab, molecule, adsorbed = (_short(leg.path, base) for leg in one.legs)
        energy = _number(one.adsorption_energy_ev, 5)
        level = f"{one.functional}, {one.encut_ev:g} eV" if one.encut_ev else str(one.functional)
        table.add_row(escape(adsorbed), escape(slab), escape(molecule), level, energy, one.status.value)
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
