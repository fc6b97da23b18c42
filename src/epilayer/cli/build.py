"""``epilayer build``: structures from the rules, without computing anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from epilayer.cli.build_pore import pore
from epilayer.cli.common import JsonOption, err, out, plain_table, print_json, study
from epilayer.cli.options import (
    BlockOption,
    HtmlOption,
    KeepOption,
    MillerCommand,
    MillerOption,
    OutputOption,
    OxidationOption,
    PngOption,
    SpeciesOption,
)
from epilayer.model.errors import InputError
from epilayer.study.pictures import check_names, draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from epilayer.model.cathode import Facet
    from epilayer.model.ligand import Ligand
    from epilayer.structures.poses import Pose
    from epilayer.structures.slab_types import SlabCut, Termination
    from epilayer.study.building import BuiltSlab
    from epilayer.study.user_structures import Source

app = typer.Typer(no_args_is_help=True, help="Build a structure without computing anything.")
app.command()(pore)


@app.command(cls=MillerCommand)
def slab(
    source: Annotated[
        str, typer.Argument(help="A cathode's name (epilayer list cathodes), or a .cif or POSCAR file.")
    ],
    miller: MillerOption,
    keep: KeepOption = None,
    oxidation: OxidationOption = None,
    termination: Annotated[
        str | None, typer.Option("--termination", "-t", help="Label of an admissible one; default: the best.")
    ] = None,
    thickness_ang: Annotated[
        float | None, typer.Option("--thickness", metavar="A", help="Least thickness of material.")
    ] = None,
    vacuum_ang: Annotated[
        float | None, typer.Option("--vacuum", metavar="A", help="Empty space between the faces.")
    ] = None,
    hold_ang: Annotated[
        float | None, typer.Option("--hold", metavar="A", help="Thickness of the region held fixed.")
    ] = None,
    species: SpeciesOption = None,
    block: BlockOption = None,
    output: OutputOption = None,
    png: PngOption = None,
    html: HtmlOption = None,
    *,
    charged: Annotated[
        bool, typer.Option("--charged", help="Remove mobile ions, alike on both faces, to the charged state.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Cut a slab by rule, and say which terminations there are and why this one.

    The Miller index is that of the crystal's conventional cell, or of the cell in your file. POSCAR
    files carry which atoms are held; CIF has no place for it.

    Example: [cyan]epilayer build slab nvopf --miller 0 0 1 -o slab.cif --png slab.png[/]

    Example: [cyan]epilayer build slab mine.cif --miller 1 0 4 --oxidation Na=1,Fe=3,O=-2 --json[/]
    """
    from epilayer.study.building import SlabSize, cut_slab, write_structure
    from epilayer.study.user_structures import Source, check_format

    check_names(png, html)
    check_format(output)
    given = Source(source, oxidation, keep, species, block)
    size = SlabSize(thickness_ang, vacuum_ang, hold_ang)
    with err.status("Cutting ..."):
        built = cut_slab(study().catalogue, given, miller, size, termination=termination, charged=charged)
    files = [] if output is None else [write_structure(built.structure, output)]
    title = f"{built.material.title or built.material.name} ({built.facet.label}), {built.shown.termination}"
    files += draw(built.structure, png=png, html=html, title=title, facts=_facts(built.shown, built.reason))
    if as_json:
        print_json({"source": source, **_built_json(built, given), "written": files})
        return
    _print_slab(built, given)
    for file in files:
        out.print(f"Written: [bold]{file}[/]")


@app.command(cls=MillerCommand)
def adsorbates(
    source: Annotated[
        str,
        typer.Argument(metavar="SLAB", help="A slab's file (.cif, POSCAR), or a cathode with --miller."),
    ],
    ligand: Annotated[
        str, typer.Argument(help="A ligand's name (epilayer list ligands), SMILES, or an .xyz or .mol file.")
    ],
    miller: Annotated[
        str | None, typer.Option("--miller", "-m", metavar="H K L", help="Facet of a named cathode.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="At most so many poses.")] = 8,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same poses.")] = 0,
    charge: Annotated[
        int | None, typer.Option("--charge", help="Charge of an .xyz molecule; SMILES and .mol state theirs.")
    ] = None,
    multiplicity: Annotated[
        int | None, typer.Option("--multiplicity", min=1, help="2S+1 of a molecule of your own.")
    ] = None,
    hold_ang: Annotated[
        float | None, typer.Option("--hold", metavar="A", help="Thickness held fixed at the bottom.")
    ] = None,
    species: SpeciesOption = None,
    block: BlockOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for one CIF a pose; or one file, for the first pose."),
    ] = None,
    png: PngOption = None,
    html: HtmlOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Place a ligand on the top face of a slab in several ways. Pictures show the first pose.

    Example: [cyan]epilayer build adsorbates slab.cif triazole --seed 1 -o poses/[/]

    Example: [cyan]epilayer build adsorbates nvopf 'CC(=O)[O-]' --miller 1 0 0 --png pose.png[/]
    """
    from epilayer.study.building import clean_slab, place, write_structure
    from epilayer.study.user_structures import Source, is_file, ligand_of

    check_names(png, html)
    single = output is not None and is_file(str(output))
    if output is not None and not single and output.suffix:
        raise InputError(f"{output}: cannot tell the format.", "Name it .cif or .vasp, or name a folder.")
    catalogue = study().catalogue
    molecule = ligand_of(catalogue, ligand, charge, multiplicity)
    with err.status("Placing ..."):
        clean = clean_slab(catalogue, Source(source, species=species, block=block), miller, hold_ang)
        placed = place(clean, molecule, count=count, seed=seed)
    files = []
    if output is not None:
        targets = [output] if single else [output / f"{p.label}.cif" for p in placed]
        files = [write_structure(p.structure, target) for p, target in zip(placed, targets, strict=False)]
    first = placed[0]
    files += draw(
        first.structure,
        png=png,
        html=html,
        chosen_atoms=first.adsorbate_indices,
        title=f"{molecule.display_name} on {source}: {first.label}",
        facts={"Closest contact": _pose_json(first)["contact"], "Seed": str(seed)},
    )
    poses = [_pose_json(p) for p in placed]
    if as_json:
        formula = clean.composition.remove_charges().formula
        made = {"slab": source, "slab_formula": formula, "ligand": _ligand_json(molecule), "seed": seed}
        print_json({**made, "poses": poses, "written": files})
        return
    out.print(f"{escape(molecule.display_name)}, {molecule.formula}, charge {molecule.charge}, seed {seed}\n")
    headings = ("pose", "anchor", "site", "closest contact")
    rows = [(p["label"], p["anchor"], p["site"], p["contact"]) for p in poses]
    out.print(plain_table(headings, rows, no_wrap=headings))
    for file in files:
        out.print(f"Written: [bold]{escape(str(file))}[/]")


def _print_slab(built: BuiltSlab, given: Source) -> None:
    shown = built.shown
    if given.from_file:
        states = ", ".join(f"{e} {q:+g}" for e, q in built.material.oxidation_states.items())
        out.print(f"{built.material.formula}: oxidation states {states} ({given.charges_from})\n")
    _print_terminations(built.terminations)
    _print_admissible(built.choices, built.chosen, built.facet)
    out.print(f"\n{escape(built.reason)}")
    out.print(
        f"{shown.structure.composition.formula}: {len(built.structure)} atoms, {built.held_atoms} held, "
        f"{shown.area_ang2:.2f} A2, dipole {abs(shown.dipole_e_ang):.3f} e.A, "
        f"{_symmetry(shown.structure)}, faces {'equivalent' if shown.faces_equivalent else 'different'}"
    )


def _print_terminations(every: Sequence[Termination]) -> None:
    headings = ("cut", "kept bonds severed", "Tasker", "dipole (e.A)", "faces", "bonds broken per nm2")
    rows = [
        (
            t.label,
            str(t.severed) if t.severed else "none",
            t.tasker,
            f"{t.dipole_e_ang:+.1f}",
            "alike" if t.faces_equivalent else "differ",
            ", ".join(f"{b.pair} {b.per_nm2:.1f}" for b in t.broken),
        )
        for t in every
    ]
    out.print(plain_table(headings, rows, no_wrap=("cut", "faces"), title="every cut, per repeat"))


def _print_admissible(choices: Sequence[SlabCut], chosen: SlabCut, facet: Facet) -> None:
    title = (
        f"\nadmissible slabs of ({facet.label}): stoichiometric, non-polar, polyanions whole (m: compensated)"
    )
    headings = (
        "", "termination", "Tasker", "atoms", "thick, A", "cell, A", "faces", "cost, eV/A2", "broken per nm2",
    )  # fmt: skip
    rows = [
        (
            "->" if c.termination == chosen.termination else "",
            c.termination,
            c.tasker,
            str(len(c.structure)),
            f"{c.thickness_ang:.1f}",
            "{:.2f} x {:.2f}".format(*c.structure.lattice.abc),
            "alike" if c.faces_equivalent else "differ",
            f"{c.cleavage_ev_per_ang2:.3f}",
            ", ".join(f"{x.pair} {x.per_nm2:.1f}" for x in c.broken_bonds),
        )
        for c in choices
    ]
    out.print(plain_table(headings, rows, no_wrap=("termination", "cell, A", "faces"), title=title))


def _built_json(built: BuiltSlab, given: Source) -> dict[str, Any]:
    material = built.material
    return {
        "crystal": {
            "formula": material.formula,
            "oxidation_states": material.oxidation_states,
            "oxidation_states_from": given.charges_from,
            "keep_bonds": None
            if material.keep_bonds is None
            else [b.model_dump() for b in material.keep_bonds],
        },
        "miller": list(built.facet.miller),
        "state": None if built.shown is built.chosen else "charged",
        "chosen": {**_slab_json(built.shown), "reason": built.reason},
        "held_atoms": built.held_atoms,
        "hold_thickness_ang": built.facet.hold_thickness_ang,
        "admissible": [_slab_json(c) for c in built.choices],
        "terminations": [_termination_json(t) for t in built.terminations],
    }


def _ligand_json(molecule: Ligand) -> dict[str, Any]:
    return {
        "name": molecule.name,
        "formula": molecule.formula,
        "charge": molecule.charge,
        "multiplicity": molecule.spin_multiplicity,
    }


def _facts(cut: SlabCut, reason: str) -> dict[str, str]:
    return {
        "Composition": str(cut.structure.composition.remove_charges().formula),
        "Termination": f"{cut.termination}, Tasker {cut.tasker}{', compensated' if cut.compensated else ''}",
        "Size": f"{cut.area_ang2:.2f} Å², {cut.thickness_ang:.1f} Å thick, {cut.vacuum_ang:.1f} Å of vacuum",
        "Bonds broken per nm²": ", ".join(f"{b.pair} {b.per_nm2:.1f}" for b in cut.broken_bonds) or "none",
        "Why this one": reason,
    }


def _symmetry(structure: Structure) -> str:
    from epilayer.structures import crystals

    return crystals.space_group(structure)


def _termination_json(termination: Termination) -> dict[str, Any]:
    return {
        "termination": termination.label,
        "height_ang": termination.height_ang,
        "kept_bonds_severed": termination.severed,
        "corrugated": termination.corrugated,
        "tasker": termination.tasker,
        "dipole_e_ang": termination.dipole_e_ang,
        "stoichiometric": True,
        "faces_equivalent": termination.faces_equivalent,
        "broken_bonds_per_nm2": {b.pair: b.per_nm2 for b in termination.broken},
    }


def _slab_json(cut: SlabCut) -> dict[str, Any]:
    a_ang, b_ang, c_ang = cut.structure.lattice.abc
    return {
        "termination": cut.termination,
        "miller": list(cut.miller),
        "ordering": cut.ordering,
        "formula": cut.structure.composition.remove_charges().formula,
        "atoms": len(cut.structure),
        "thickness_ang": cut.thickness_ang,
        "vacuum_ang": cut.vacuum_ang,
        "area_ang2": cut.area_ang2,
        "cell_ang": [a_ang, b_ang, c_ang],
        "repeats": list(cut.repeats),
        "dipole_e_ang": cut.dipole_e_ang,
        "polar": False,
        "stoichiometric": True,
        "tasker": cut.tasker,
        "moved_ions": dict(cut.moved),
        "faces_equivalent": cut.faces_equivalent,
        "symmetry": _symmetry(cut.structure),
        "broken_bonds_per_nm2": {b.pair: b.per_nm2 for b in cut.broken_bonds},
        "broken_valence_per_nm2": cut.broken_valence_per_nm2,
        "electrostatic_cleavage_ev_per_ang2": cut.cleavage_ev_per_ang2,
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
        "contact_ang": nearest.distance_ang if nearest else None,
    }
