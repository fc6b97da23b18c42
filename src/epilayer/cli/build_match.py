"""``epilayer build match``: the supercells in which a framework fits a facet, and the strain it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from epilayer.cli.common import JsonOption, err, out, plain_table, print_json, study
from epilayer.cli.options import BlockOption, HtmlOption, MillerOption, OutputOption, PngOption, SpeciesOption
from epilayer.study.pictures import check_names, draw

if TYPE_CHECKING:
    from epilayer.structures.match import Match, Plane
    from epilayer.study.building import Matching


def match(
    mof: Annotated[str, typer.Argument(help="A framework's name (epilayer list mofs), or a .cif file.")],
    cathode: Annotated[
        str, typer.Argument(help="A cathode's name (epilayer list cathodes), or a .cif or POSCAR file.")
    ],
    miller: MillerOption,
    mof_miller: Annotated[
        str | None,
        typer.Option(
            "--mof-miller", metavar="HKL", help="Facet of the framework; default: all of index 0 or 1."
        ),
    ] = None,
    max_area_ang2: Annotated[
        float, typer.Option("--max-area", metavar="A2", min=1, help="Largest supercell looked at.")
    ] = 800.0,
    max_strain: Annotated[
        float, typer.Option("--max-strain", min=0.0001, max=0.2, help="Largest strain of the framework.")
    ] = 0.05,
    oxidation: Annotated[
        str | None, typer.Option("--oxidation", help="Oxidation states of your crystal: Na=1,V=4.")
    ] = None,
    species: SpeciesOption = None,
    block: BlockOption = None,
    output: OutputOption = None,
    png: PngOption = None,
    html: HtmlOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Find the supercells in which a framework fits a facet. Written and drawn is the strained framework.

    Of every facet of the framework those matches are shown that no other one beats in both area and
    strain. The energy of straining it is computed by [bold]epilayer run epitaxy[/].

    Example: [cyan]epilayer build match met6 nvopf --miller 0 0 1[/]

    Example: [cyan]epilayer build match zif8 mine.cif --miller 1 0 4 --max-area 1200 --json[/]
    """
    from epilayer.study.building import match_framework, write_structure
    from epilayer.study.user_structures import Source, check_format

    check_names(png, html)
    check_format(output)
    with err.status("Matching ..."):
        made = match_framework(
            study().catalogue,
            mof,
            Source(cathode, oxidation, species=species, block=block),
            miller,
            mof_miller=mof_miller,
            max_area_ang2=max_area_ang2,
            max_strain_ratio=max_strain,
        )
    files = [] if output is None else [write_structure(made.structure, output)]
    title = f"{made.film.name} strained to {made.material.name} ({made.facet.label})"
    files += draw(made.structure, png=png, html=html, title=title, facts=_facts(made.best))
    if as_json:
        bounds = {"max_area_ang2": max_area_ang2, "max_strain": max_strain}
        print_json({**bounds, **_matching_json(made), "written": files})
        return
    _print(made)
    for file in files:
        out.print(f"Written: [bold]{escape(str(file))}[/]")


def _print(made: Matching) -> None:
    headings = ("", "MOF facet", "area, A2", "cells", "strain, %", "von Mises, %", "area mismatch, %")
    rows = [
        (
            "->" if m is made.best else "",
            f"({_label(m.mof_miller)})",
            f"{m.area_ang2:.1f}",
            f"{m.cells} : {m.mof_cells}",
            f"{100 * m.principal[0]:+.2f} to {100 * m.principal[1]:+.2f}",
            f"{100 * m.von_mises:.2f}",
            f"{100 * m.area_mismatch:+.2f}",
        )
        for m in made.found
    ]
    what = f"{made.film.name} on ({made.facet.label}) of {made.material.name}"
    out.print(f"{escape(what)}, the cathode rigid\n")
    out.print(plain_table(headings, rows, right=headings[2:]))
    for why in made.without:
        out.print(escape(why))
    out.print(
        "\n->: least strained among the best of each facet. cells: smallest cells of cathode : framework in "
        "the supercell.\nstrain: of the framework, smallest to largest of any direction in the plane."
    )


def _matching_json(made: Matching) -> dict[str, Any]:
    return {
        "mof": made.film.name,
        "cathode": made.material.name,
        "miller": list(made.facet.miller),
        "cathode_cell_area_ang2": made.below.area_ang2,
        "best": _match_json(made.best, made.planes[made.best.mof_miller]),
        "matches": [_match_json(m, made.planes[m.mof_miller]) for m in made.found],
        "without": made.without,
    }


def _label(miller: tuple[int, int, int]) -> str:
    from epilayer.model.cathode import miller_label

    return miller_label(miller)


def _facts(best: Match) -> dict[str, str]:
    low, high = best.principal
    return {
        "Match": f"({_label(best.mof_miller)}) of the framework on ({_label(best.miller)}) of the cathode",
        "Supercell": f"{best.area_ang2:.1f} Å²; cells of cathode : framework {best.cells} : {best.mof_cells}",
        "Strain": f"{low:+.2%} to {high:+.2%}, von Mises {best.von_mises:.2%}",
    }


def _match_json(found: Match, plane: Plane) -> dict[str, Any]:
    return {
        "miller": list(found.miller),
        "mof_miller": list(found.mof_miller),
        "area_ang2": found.area_ang2,
        "mof_area_ang2": found.mof_area_ang2,
        "area_mismatch": found.area_mismatch,
        "cells": found.cells,
        "mof_cells": found.mof_cells,
        "transformation": found.transformation,
        "mof_transformation": found.mof_transformation,
        "strain": found.strain,
        "principal_strains": list(found.principal),
        "von_mises_strain": found.von_mises,
        "mof_cell_area_ang2": plane.area_ang2,
        "mof_repeat_ang": plane.repeat_ang,
    }
