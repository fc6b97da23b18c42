"""``epilayer build match``: the supercells in which a framework fits a facet, and the strain it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.build import write_structure
from epilayer.cli.common import JsonOption, err, out, print_json, study
from epilayer.cli.options import HtmlOption, MillerOption, OutputOption, PngOption, SpeciesOption
from epilayer.study.pictures import check_names, draw
from epilayer.study.user_structures import cathode_of, check_format, facet_of, mof_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer.structures.match import Match, Plane


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
    from epilayer.model.cathode import miller_index
    from epilayer.model.errors import StructureError
    from epilayer.structures import crystals
    from epilayer.structures import match as matching

    check_names(png, html)
    check_format(output)
    material, film = (
        cathode_of(study().catalogue, cathode, oxidation=oxidation, species=species),
        mof_of(study().catalogue, mof),
    )
    facet = facet_of(material, miller)
    with err.status("Matching ..."):
        framework = crystals.framework(film)
        below = matching.plane_of(crystals.build(material), facet.miller)
        indices = matching.low_index_planes(framework) if mof_miller is None else (miller_index(mof_miller),)
        planes = {index: matching.plane_of(framework, index) for index in indices}
        found: list[Match] = []
        chosen: list[Match] = []
        without: list[StructureError] = []
        for plane in planes.values():
            try:
                fits = matching.matches(below, plane, max_area_ang2=max_area_ang2, max_strain=max_strain)
            except StructureError as refusal:
                without.append(refusal)
                continue
            found += fits
            chosen.append(fits[0])
    if not found:
        raise StructureError(
            f"{film.name} does not fit ({facet.label}) of {material.name}: "
            + " ".join(w.what for w in without),
            without[0].remedy,
        )
    best = min(chosen, key=lambda m: (m.von_mises, m.area_ang2))
    strained = matching.strained(matching.smallest_cell(framework), planes[best.mof_miller], best.strain)
    files = [] if output is None else [write_structure(strained, output)]
    title = f"{film.name} strained to {material.name} ({facet.label})"
    files += draw(strained, png=png, html=html, title=title, facts=_facts(best))
    if as_json:
        print_json(
            {
                "mof": film.name,
                "cathode": material.name,
                "miller": list(facet.miller),
                "max_area_ang2": max_area_ang2,
                "max_strain": max_strain,
                "cathode_cell_area_ang2": below.area_ang2,
                "best": _match_json(best, planes[best.mof_miller]),
                "matches": [_match_json(m, planes[m.mof_miller]) for m in found],
                "without": [w.what for w in without],
                "written": [str(f) for f in files],
            }
        )
        return
    _print(found, best, f"{film.name} on ({facet.label}) of {material.name}, the cathode rigid")
    for none in without:
        out.print(escape(none.what))
    out.print(
        "\n->: least strained among the best of each facet. cells: smallest cells of cathode : framework in "
        "the supercell.\nstrain: of the framework, smallest to largest of any direction in the plane."
    )
    for file in files:
        out.print(f"Written: [bold]{escape(str(file))}[/]")


def _print(found: Sequence[Match], best: Match, title: str) -> None:
    table = Table(box=None, pad_edge=False)
    headings = ("", "MOF facet", "area, A2", "cells", "strain, %", "von Mises, %", "area mismatch, %")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in {"", "MOF facet"} else "right")
    for m in found:
        low, high = m.principal
        table.add_row(
            "->" if m is best else "",
            f"({_label(m.mof_miller)})",
            f"{m.area_ang2:.1f}",
            f"{m.cells} : {m.mof_cells}",
            f"{100 * low:+.2f} to {100 * high:+.2f}",
            f"{100 * m.von_mises:.2f}",
            f"{100 * m.area_mismatch:+.2f}",
        )
    out.print(f"{escape(title)}\n")
    out.print(table)


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
