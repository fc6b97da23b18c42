"""``epilayer build``: structures from the rules, without computing anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import JsonOption, err, out, print_json, study
from epilayer.cli.pictures import HtmlOption, PngOption, draw
from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from epilayer.structures.poses import Pose
    from epilayer.structures.slab_types import SlabCut

app = typer.Typer(
    no_args_is_help=True, help="Build a structure without computing anything: slab, adsorbates."
)

CathodeArgument = Annotated[str, typer.Argument(help="Name of a cathode (see: epilayer list cathodes).")]
MillerOption = Annotated[str, typer.Option("--miller", "-m", help="Miller index: 001, 1-10, or '1 0 4'.")]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="File to write; its ending tells the format (.cif, .vasp, POSCAR)."),
]


@app.command()
def slab(
    cathode: CathodeArgument,
    miller: MillerOption,
    termination: Annotated[
        str | None, typer.Option("--termination", "-t", help="Label of an admissible one; default: the best.")
    ] = None,
    output: OutputOption = None,
    png: PngOption = None,
    html: HtmlOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Cut a slab by the cathode's rules, and say which terminations there are and why this one.

    Example: [cyan]epilayer build slab nvopf --miller 001 -o slab.cif[/]
    """
    from epilayer.model.cathode import miller_index
    from epilayer.structures import slabs

    material = study().catalogue.cathode(cathode)
    with err.status("Cutting ..."):
        facet = material.facet(miller_index(miller))
        choices = slabs.admissible(material, facet)
        chosen = slabs.cut(material, facet, termination=termination)
    if output is not None:
        _write(chosen.structure, output)
    draw(chosen.structure, png=png, html=html, title=f"{cathode} {chosen.termination}")
    if as_json:
        print_json({"chosen": _slab_json(chosen), "admissible": [_slab_json(c) for c in choices]})
        return
    table = Table(box=None, pad_edge=False, title="admissible terminations", title_justify="left")
    for heading in (
        "",
        "termination",
        "Tasker",
        "atoms",
        "thickness (A)",
        "cell (A)",
        "bonds broken per nm2",
    ):
        table.add_column(heading)
    for c in choices:
        a, b, _ = c.structure.lattice.abc
        table.add_row(
            "->" if c.termination == chosen.termination else "",
            c.termination,
            c.tasker,
            str(len(c.structure)),
            f"{c.thickness_ang:.1f}",
            f"{a:.2f} x {b:.2f}",
            ", ".join(f"{x.pair} {x.per_nm2:.1f}" for x in c.broken_bonds),
        )
    out.print(table)
    out.print(f"\n{escape(chosen.reason)}")
    if output is not None:
        out.print(f"Written: [bold]{output}[/]")


@app.command()
def adsorbates(
    cathode: CathodeArgument,
    ligand: Annotated[str, typer.Argument(help="Name of a ligand (see: epilayer list ligands).")],
    miller: MillerOption,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="At most so many poses.")] = 8,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write one CIF a pose into.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Place a ligand on the top face of a slab in several ways.

    Example: [cyan]epilayer build adsorbates nvopf triazole --miller 100 --seed 1 -o poses/[/]
    """
    from epilayer.model.cathode import miller_index
    from epilayer.structures import molecules, poses, slabs

    used = study()
    material, molecule = used.catalogue.cathode(cathode), used.catalogue.ligand(ligand)
    with err.status("Placing ..."):
        cut = slabs.cut(material, material.facet(miller_index(miller)))
        placed = poses.generate(
            cut.structure,
            molecules.build(molecule, seed),
            anchors=molecules.anchors(molecule),
            count=count,
            seed=seed,
        )
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for pose in placed:
            _write(pose.structure, output / f"{pose.label}.cif")
    if as_json:
        print_json([_pose_json(p) for p in placed])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("pose", "anchor", "site", "azimuth", "tilt", "closest contact"):
        table.add_column(heading)
    for p in placed:
        row = _pose_json(p)
        table.add_row(
            p.label, row["anchor"], row["site"], f"{p.azimuth_deg:.0f}", f"{p.tilt_deg:.0f}", row["contact"]
        )
    out.print(table)
    if output is not None:
        out.print(f"{len(placed)} files written to [bold]{output}[/]")


def _slab_json(cut: SlabCut) -> dict[str, Any]:
    return {
        "termination": cut.termination,
        "miller": list(cut.miller),
        "ordering": cut.ordering,
        "formula": cut.structure.composition.formula,
        "atoms": len(cut.structure),
        "thickness_ang": cut.thickness_ang,
        "vacuum_ang": cut.vacuum_ang,
        "area_ang2": cut.area_ang2,
        "dipole_e_ang": cut.dipole_e_ang,
        "tasker": cut.tasker,
        "faces_equivalent": cut.faces_equivalent,
        "broken_bonds_per_nm2": {b.pair: b.per_nm2 for b in cut.broken_bonds},
        "reason": cut.reason,
    }


def _pose_json(pose: Pose) -> dict[str, Any]:
    nearest = pose.contacts[0] if pose.contacts else None
    return {
        "label": pose.label,
        "anchor": pose.anchor,
        "site": pose.site,
        "azimuth_deg": pose.azimuth_deg,
        "tilt_deg": pose.tilt_deg,
        "seed": pose.seed,
        "contact": f"{nearest.label} {nearest.distance_ang:.2f} A" if nearest else "",
    }


def _write(structure: Structure, path: Path) -> None:
    from epilayer.model.files import write_atomic

    plain = structure.copy()
    plain.remove_oxidation_states()
    name = path.name.lower()
    if name.endswith(".cif"):
        text = plain.to(fmt="cif")
    elif name.startswith(("poscar", "contcar")) or name.endswith(".vasp"):
        text = plain.to(fmt="poscar")
    else:
        raise InputError(f"{path}: cannot tell the format.", "Name it .cif, .vasp or POSCAR.")
    write_atomic(path, text)
