"""``epilayer build pore``: a framework with salt and polymer chains in its pores."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.text import Text

from epilayer.cli.common import JsonOption, err, fact_grid, out, plain_table, print_json, study
from epilayer.cli.options import HtmlOption, PngOption
from epilayer.study.pictures import check_names, draw

if TYPE_CHECKING:
    from epilayer.structures.pores import LoadedPore, PoreReport


def pore(
    mof: Annotated[str, typer.Argument(help="Name of a framework (see: epilayer list mofs).")],
    salt: Annotated[
        list[str] | None, typer.Option("--salt", help="Salt and number of anions, such as NaFSI:2.")
    ] = None,
    chain: Annotated[
        list[str] | None,
        typer.Option(
            "--chain", help="Chain and number: pom15:2 is 2 HO-(CH2O)15-H, peo7:2 2 HO-(CH2CH2O)7-H."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same atoms.")] = 0,
    attempts: Annotated[
        int, typer.Option("--attempts", min=1, help="How often to try before refusing.")
    ] = 40,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write; its ending names the format (.cif, .json, .vasp)."
        ),
    ] = None,
    png: PngOption = None,
    html: HtmlOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Load a framework with salt and polymer chains, and judge what was built item by item.

    The host's atoms come first and do not move. Guests are grown into the pores and relaxed between soft
    walls: a start for dynamics, without an energy. A .cif or .json keeps each atom's part (host or guest),
    molecule number and molecule name.

    Example: [cyan]epilayer build pore met6 --salt NaFSI:2 --chain pom15:2 --seed 1 -o loaded.cif[/]
    """
    from epilayer.study import building

    if output is not None:
        building.pore_format(output)  # before the work, not after it
    check_names(png, html)
    with err.status("Reading ...") as status:
        loaded = building.load_pore(
            study().catalogue,
            mof,
            salt or (),
            chain or (),
            seed=seed,
            attempts=attempts,
            report=lambda line: status.update(escape(line)),
        )
    if output is not None:
        building.write_pore(loaded.structure, output)
    guests = range(loaded.report.host_atoms, loaded.report.atoms)
    drawn = draw(loaded.structure, png=png, html=html, chosen_atoms=guests, title=f"Loaded {mof}")
    if as_json:
        print_json(loaded.report)
        return
    _show(loaded.report, loaded)
    written = [*([output] if output is not None else []), *drawn]
    if written:
        out.print(f"\nWritten: [bold]{', '.join(map(str, written))}[/]")


def _show(report: PoreReport, loaded: LoadedPore) -> None:
    counts = Counter((g.name, g.formula) for g in report.guests)
    guests = ", ".join(f"{count} {name} ({formula})" for (name, formula), count in counts.items())
    voids = report.voids
    widest = [c for c in voids.cavities if round(c.diameter_ang, 1) == round(voids.lcd_ang, 1)]
    rows = {
        "formula": f"{report.formula}: {report.atoms} atoms, {report.host_atoms} of them {report.host}",
        "guests": guests,
        "density": f"{report.density_g_per_cm3:.3f} g/cm3, total charge {report.charge:+d}",
        "empty pores": f"largest cavity {voids.lcd_ang:.2f} A ({len(widest)} a cell), "
        f"limiting diameter {voids.pld_ang:.2f} A",
        "free volume": f"{100 * voids.free_volume_fraction:.0f} % empty, "
        f"{100 * report.free_volume_fraction:.0f} % loaded",
        "made": f"seed {report.seed}, attempt {report.attempts}, {report.relaxation_steps} relaxation steps",
    }
    out.print(fact_grid(rows.items()))
    sites = []
    for cation in report.cations:
        held = ", ".join(
            f"{d.element}{d.atom} of {_owner(loaded, d.molecule)} {d.distance_ang:.2f}" for d in cation.donors
        )
        width_ang = next(c.diameter_ang for c in voids.cavities if c.label == cation.cavity)
        place = f"{cation.cavity} ({width_ang:.1f} A)"
        label = f"{cation.element}{cation.atom}"
        sites.append((label, place, f"{cation.from_centre_ang:.1f}", held))
    if report.cations:
        headings = ("atom", "cavity", "from its centre (A)", "held by (A)")
        out.print(plain_table(headings, sites, title="\ncations"))
    checks = [
        (Text("ok", "green") if one.holds else Text("no", "bold red"), one.name, one.asked, one.found)
        for one in report.checks
    ]
    out.print(plain_table(("", "item", "asked", "found"), checks, title="\nverdict"))


def _owner(loaded: LoadedPore, molecule: int) -> str:
    report = loaded.report
    return f"{report.guests[molecule - 1].name} {molecule}" if molecule else report.host
