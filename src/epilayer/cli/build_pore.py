"""``epilayer build pore``: a framework with salt and polymer chains in its pores."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import JsonOption, err, out, print_json, study
from epilayer.cli.options import HtmlOption, PngOption
from epilayer.model.errors import InputError
from epilayer.study.pictures import check_names, draw

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from epilayer.model.ligand import Ligand
    from epilayer.structures.pores import LoadedPore, PoreReport

_FORMATS = "Name it .cif, .json, .vasp or POSCAR."


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
            "--output", "-o", help="File to write; its ending tells the format (.cif, .json, .vasp)."
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
    from epilayer.structures import crystals, pores

    if output is not None:
        _format_of(output)  # before the work, not after it
    check_names(png, html)
    catalogue = study().catalogue
    host = crystals.framework(catalogue.mof(mof))
    anions: dict[str, Ligand] = {}
    if salt:
        ligands = (catalogue.ligand(name) for name in catalogue.names("ligands"))
        anions = {ligand.name: ligand for ligand in ligands if ligand.charge < 0}
    loads = [load for text in salt or () for load in pores.parse_salt(text, anions)]
    loads += [pores.parse_chain(text) for text in chain or ()]
    with err.status("Measuring the pores ...") as status:
        framework = pores.Framework(host, mof)
        status.update("Loading ...")
        loaded = pores.load(
            framework, loads, seed=seed, attempts=attempts, tell=lambda line: status.update(escape(line))
        )
    if output is not None:
        _write(loaded.structure, output)
    guests = range(loaded.report.host_atoms, loaded.report.atoms)
    drawn = draw(loaded.structure, png=png, html=html, chosen_atoms=guests, title=f"Loaded {mof}")
    if as_json:
        print_json(loaded.report.model_dump(mode="json"))
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
    summary = Table(box=None, pad_edge=False, show_header=False)
    for name, value in rows.items():
        summary.add_row(f"[bold]{name}[/]", escape(value))
    out.print(summary)
    sites = Table(box=None, pad_edge=False, title="\ncations", title_justify="left", title_style="bold")
    for heading in ("atom", "cavity", "from its centre (A)", "held by (A)"):
        sites.add_column(heading)
    for cation in report.cations:
        held = ", ".join(
            f"{d.element}{d.atom} of {_owner(loaded, d.molecule)} {d.distance_ang:.2f}" for d in cation.donors
        )
        width_ang = next(c.diameter_ang for c in voids.cavities if c.label == cation.cavity)
        place = f"{cation.cavity} ({width_ang:.1f} A)"
        sites.add_row(f"{cation.element}{cation.atom}", place, f"{cation.from_centre_ang:.1f}", escape(held))
    if report.cations:
        out.print(sites)
    verdict = Table(box=None, pad_edge=False, title="\nverdict", title_justify="left", title_style="bold")
    for heading in ("", "item", "asked", "found"):
        verdict.add_column(heading)
    for check in report.checks:
        mark = "[green]ok[/]" if check.holds else "[bold red]no[/]"
        verdict.add_row(mark, *map(escape, (check.name, check.asked, check.found)))
    out.print(verdict)


def _owner(loaded: LoadedPore, molecule: int) -> str:
    report = loaded.report
    return f"{report.guests[molecule - 1].name} {molecule}" if molecule else report.host


def _format_of(path: Path) -> str:
    name = path.name.lower()
    for ending in ("cif", "json", "vasp"):
        if name.endswith(f".{ending}"):
            return ending
    if name.startswith(("poscar", "contcar")):
        return "vasp"
    raise InputError(f"{path}: cannot tell the format.", _FORMATS)


def _write(structure: Structure, path: Path) -> None:
    from epilayer.model.files import write_atomic

    kind = _format_of(path)
    if kind == "cif":
        text = _cif(structure)
    elif kind == "json":
        text = structure.to_json()
    else:
        text = structure.to(fmt="poscar")
    write_atomic(path, text)


def _cif(structure: Structure) -> str:
    """Return a CIF of every atom in order, with its part and molecule in columns of our own."""
    a, b, c, alpha, beta, gamma = structure.lattice.parameters
    lines = [
        f"data_{''.join(structure.composition.formula.split())}",
        *(f"_cell_length_{name}  {value:.10g}" for name, value in zip("abc", (a, b, c), strict=True)),
        f"_cell_angle_alpha  {alpha:.10g}",
        f"_cell_angle_beta  {beta:.10g}",
        f"_cell_angle_gamma  {gamma:.10g}",
        "_symmetry_space_group_name_H-M  'P 1'",
        "loop_\n_symmetry_equiv_pos_as_xyz\n  'x, y, z'",
        "loop_",
        *(
            f"_atom_site_{key}"
            for key in ("type_symbol", "label", "fract_x", "fract_y", "fract_z", "occupancy")
        ),
        *(f"_epilayer_atom_{key}" for key in ("part", "molecule", "molecule_name")),
    ]
    for number, site in enumerate(structure):
        symbol, kept = site.specie.symbol, site.properties
        x, y, z = site.frac_coords
        lines.append(
            f"  {symbol} {symbol}{number} {x:.10f} {y:.10f} {z:.10f} 1 "
            f"{kept['part']} {kept['molecule']} {kept['molecule_name']}"
        )
    return "\n".join(lines) + "\n"
