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
    typer.Option("--output", "-o", help="File to write; its ending tells the format (.cif, .vasp, POSCAR)."),
]

SpeciesOption = Annotated[
    str | None,
    typer.Option("--species", metavar="Mg,O", help="Elements of a POSCAR that names none, one a count."),
]
BlockOption = Annotated[
    str | None,
    typer.Option("--block", metavar="NAME", help="Data block of a CIF that holds several crystals."),
]


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
