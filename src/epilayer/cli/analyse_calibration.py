"""``epilayer analyse calibration``: the bond strength index against LOBSTER runs that somebody made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from epilayer.cli.common import JsonOption, err, out, plain_table, print_json, study

if TYPE_CHECKING:
    from epilayer.model.calibration import BondCalibration


def calibration(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="LOBSTER runs; without any, those imported into the study."),
    ] = None,
    bonds: Annotated[
        list[str] | None,
        typer.Option("--bonds", help="C-O (elements); may be repeated. Without it, every kind of bond."),
    ] = None,
    *,
    into_store: Annotated[
        bool,
        typer.Option("--into-store", help="Keep the calibrations in the study's results, for its report."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """State what the bond strength index is worth beside LOBSTER: a line for each kind of bond, or why not.

    Each run's bonds are measured once more by GFN1-xTB, in the structure that LOBSTER ran on. A run that is
    not certified, has no CONTCAR, or whose cell is narrower than 8 A takes no part, and is listed.

    Example: [cyan]epilayer analyse calibration stretched/*/ --bonds C-O[/]
    """
    from epilayer.study.lobster_runs import calibrations, imported_runs
    from epilayer.study.records import keep

    places = directories or imported_runs(study())
    with err.status("Reading LOBSTER runs and measuring their bonds ..."):
        found = calibrations(places, bonds or [])
    if into_store:
        keep(study(), found.made)
    if as_json:
        print_json({"calibrations": found.made, "left_out": found.left_out})
        return
    for one in found.made:
        _show(one)
    for name, why in found.left_out.items():
        out.print(f"left out: {escape(name)}: {escape(why)}", soft_wrap=True)
    if into_store:
        out.print("Stored. Look at them: [cyan]epilayer query bond_calibration[/]")


def _show(one: BondCalibration) -> None:
    headings = ("bond", "run", "length (Å)", "index (eV)", "-ICOHP (eV)")
    rows = [
        (
            pair.bond,
            Path(pair.run).name,
            f"{pair.length_ang:.3f}",
            f"{pair.index_ev:.3f}",
            f"{pair.icohp_ev:.3f}",
        )
        for pair in one.pairs
    ]
    out.print(f"[bold]{one.bonds}[/]: {one.measure.value} against -ICOHP (LOBSTER)")
    out.print(plain_table(headings, rows, right=headings[2:]))
    out.print(escape(one.statement) + "\n", soft_wrap=True)
