"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

PngOption = Annotated[
    Path | None, typer.Option("--png", help="Draw a still into this file (.png, .svg or .pdf).")
]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", help="Write a page that turns the structure, offline.")
]
MillerOption = Annotated[
    str, typer.Option("--miller", "-m", metavar="H K L", help="Miller index: 0 0 1, or 001, or 1-10.")
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="File to write; its ending names the format (.cif, .vasp, POSCAR)."),
]

SpeciesOption = Annotated[
    str | None,
    typer.Option("--species", metavar="Mg,O", help="Elements of a POSCAR that names none, one a count."),
]
BlockOption = Annotated[
    str | None,
    typer.Option("--block", metavar="NAME", help="Data block of a CIF that holds several crystals."),
]
KeepOption = Annotated[
    str | None, typer.Option("--keep", help="Bonds no cut may sever: P-O,V=O,V-O:1.9. Default: by rule.")
]
OxidationOption = Annotated[
    str | None,
    typer.Option("--oxidation", help="Oxidation states of your crystal: Na=1,V=4. Default: guessed."),
]
CathodeOption = Annotated[
    str | None,
    typer.Option("--cathode", help="Your crystal (.cif, POSCAR), or a name (epilayer list cathodes)."),
]
FacetOption = Annotated[
    list[str] | None, typer.Option("--facet", metavar="HKL", help="Miller index: 104; may be repeated.")
]
LigandOption = Annotated[
    list[str] | None,
    typer.Option("--ligand", help="Name, SMILES, or an .xyz or .mol file; may be repeated."),
]
MofOption = Annotated[str | None, typer.Option("--mof", help="Framework: a name, or your own CIF.")]
MomentsOption = Annotated[
    str | None, typer.Option("--moments", metavar="V=1", help="Start moments of your crystal, mu_B.")
]
HubbardOption = Annotated[
    str | None,
    typer.Option("--hubbard", metavar="V=3.25", help="U of your crystal in eV, for levels with +U."),
]


def named_settings(
    cathode: str | None, facets: list[str] | None, ligands: list[str] | None, mof: str | None
) -> list[str]:
    """Return what ``--cathode``, ``--facet``, ``--ligand`` and ``--mof`` name as settings of a workflow."""
    named = {
        "cathode": cathode,
        "facets": ",".join(facets or ()),
        "ligands": ",".join(ligands or ()),
        "mof": mof,
    }
    return [f"{key}={value}" for key, value in named.items() if value]


class MillerCommand(TyperCommand):
    """A command whose ``--miller`` takes three numbers as well as one word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  (typer's own click)
        """Join the three numbers that follow ``--miller`` into one word."""
        joined = list(args)
        for k, word in enumerate(joined):
            following = joined[k + 1 : k + 4]
            if word in {"--miller", "-m"} and len(following) == 3:  # noqa: PLR2004  (h, k, l)
                if all(re.fullmatch(r"-?\d+", n) for n in following):
                    joined[k + 1 : k + 4] = [" ".join(following)]
                break
        return super().parse_args(ctx, joined)
