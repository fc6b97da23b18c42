"""``epilayer surfaces``: surface energies and the Wulff shape, as a table and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from epilayer.cli.common import JsonOption, err, out, plain_table, print_json, study
from epilayer.model.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from epilayer.model.surface import SurfaceEnergy, WulffFacet, WulffShape

_FORMS = ("svg", "png", "pdf")


def surfaces(
    cathode: Annotated[str | None, typer.Option("--cathode", help="Only of this cathode.")] = None,
    level: Annotated[str | None, typer.Option("--level", "-l", help="Only at this level of theory.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Draw shape and energies: .svg, .png or .pdf; one shape only."),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show surface energies of every termination, and the equilibrium (Wulff) shape that follows.

    Example: [cyan]epilayer run surface_energies --quick && epilayer surfaces -o wulff.png[/]
    """
    if output is not None and output.suffix.lstrip(".").lower() not in _FORMS:
        raise InputError(f"{output}: cannot tell the format.", "Name it .svg, .png or .pdf.")
    from epilayer.study.records import typed

    used = study()
    used.refresh()
    energies: list[SurfaceEnergy] = typed(used, "surface")
    shapes: list[WulffShape] = typed(used, "wulff")
    for what, asked, known in (
        ("cathode", cathode, {e.cathode for e in energies}),
        ("level", level, {e.level.name for e in energies}),
    ):
        if asked is not None and asked not in known:
            raise UnknownNameError(f"{what} of a surface energy", asked, known)
    energies = [e for e in energies if cathode in (None, e.cathode) and level in (None, e.level.name)]
    shapes = [s for s in shapes if cathode in (None, s.cathode) and level in (None, s.level.name)]
    if output is not None:
        _draw(shapes, energies, output)
    if as_json:
        print_json(
            {"surface_energies": [_energy(e) for e in energies], "shapes": [_shape(s) for s in shapes]}
        )
        return
    if not energies:
        out.print("No surface energy is computed yet. Begin with: [cyan]epilayer run surface_energies[/]")
        return
    for shape in shapes:
        _print(shape, [e for e in energies if _belongs(e, shape)])
    if output is not None:
        out.print(f"Written: [bold]{output}[/]")


def _belongs(energy: SurfaceEnergy, shape: WulffShape) -> bool:
    mine = (energy.cathode, energy.level.name, energy.level.fingerprint, energy.parameters)
    return mine == (shape.cathode, shape.level.name, shape.level.fingerprint, shape.parameters)


def _draw(shapes: list[WulffShape], energies: list[SurfaceEnergy], path: Path) -> None:
    from epilayer.model.files import write_atomic
    from epilayer.report.wulff import wulff_figure

    if len(shapes) != 1:
        found = ", ".join(f"{s.cathode} at {s.level.name}" for s in shapes) or "none"
        raise InputError(
            f"A figure shows one shape, and there are {len(shapes)} ({found}).",
            "Choose one with --cathode and --level, or compute one: epilayer run surface_energies",
        )
    form: Any = path.suffix.lstrip(".").lower()
    with err.status("Drawing ..."):
        drawn = wulff_figure(shapes[0], energies, form=form)
    write_atomic(path, drawn)


def _print(shape: WulffShape, energies: list[SurfaceEnergy]) -> None:
    columns = ("termination", "J/m2", "+-", "less D3", "as cut", "broken/nm2", "moved most", "status")
    in_order = sorted(energies, key=lambda e: (e.facet, e.surface_energy_j_per_m2 or 1e9, e.termination))
    title = f"{shape.cathode}, {shape.level.label} ({shape.level.name})"
    out.print(plain_table(columns, map(_energy_cells, in_order), right=columns[1:-1], title=title))
    if shape.parameters.get("thicknesses") == 1:
        out.print(
            "+- is numerical; convergence with thickness was not looked at (one thickness).", style="dim"
        )
    if not shape.facets:
        out.print(
            f"No Wulff shape: {escape(shape.refusals[0].what)}. Remedy: {escape(shape.refusals[0].remedy)}.\n"
        )
        return
    headings = ("facet", "termination", "J/m2", "share", "interval", "faces", "outline")
    title = f"Wulff shape ({shape.point_group})"
    out.print(plain_table(headings, map(_facet_cells, shape.facets), title=title))
    for reason in shape.left_out:
        out.print(f"Left out, and perhaps lower: {escape(reason)}", style="yellow")
    out.print()


def _energy_cells(e: SurfaceEnergy) -> tuple[str, ...]:
    values = (
        e.surface_energy_j_per_m2,
        e.uncertainty_j_per_m2,
        e.without_dispersion_j_per_m2,
        e.unrelaxed_j_per_m2,
    )
    return (
        e.termination,
        *map(_number, values),
        f"{sum(e.broken_bonds_per_nm2.values()):.1f}",
        f"{e.largest_mover} {e.largest_move_ang:.2f} A",
        e.refusals[0].what if e.refusals else "certified",
    )


def _facet_cells(f: WulffFacet) -> tuple[str, ...]:
    edges = f", edges {f.aspect_ratio:.2f} : 1" if f.aspect_ratio and f.outline == "rectangle" else ""
    return (
        f"({f.facet})",
        f.termination,
        _number(f.surface_energy_j_per_m2),
        f"{100 * f.area_fraction:.0f} %",
        f"{100 * f.low_area_fraction:.0f} to {100 * f.high_area_fraction:.0f} %",
        str(f.faces) if f.corners else "",
        f"{f.outline}{edges}",
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _energy(energy: SurfaceEnergy) -> dict[str, Any]:
    plain: dict[str, Any] = energy.model_dump(mode="json", exclude={"structure", "level"})
    return {**plain, "level": energy.level.name, "method": energy.level.label}


def _shape(shape: WulffShape) -> dict[str, Any]:
    plain: dict[str, Any] = shape.model_dump(mode="json", exclude={"level", "faces"})
    for facet, found in zip(plain["facets"], shape.facets, strict=True):
        facet["outline"] = found.outline
    return {**plain, "level": shape.level.name, "method": shape.level.label}
