"""Pictures of a structure: a still, and a page that turns it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pymatgen.core import Structure


def check_names(png: Path | None, html: Path | None) -> None:
    """Refuse a picture's name before anything is built."""
    if png is not None and png.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise InputError(f"{png}: cannot tell the format of the picture.", "Name it .png, .svg or .pdf.")
    if html is not None and html.suffix.lower() not in {".html", ".htm"}:
        raise InputError(f"{html} does not end in .html.", "Name it .html, so that a browser opens it.")


def draw(
    structure: Structure,
    *,
    png: Path | None = None,
    html: Path | None = None,
    chosen_atoms: Sequence[int] = (),
    title: str = "",
    facts: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write the pictures that were asked for, and return their files.

    Parameters
    ----------
    structure
        Ordered; atoms whose ``selective_dynamics`` are all false are marked as held.
    png, html
        Files to write; ``None`` for none.
    chosen_atoms
        Indices of an adsorbed molecule, or of the guests in a crystal: drawn in full, in one piece.
    title, facts
        Heading of the page, and what is written below the picture.
    """
    from epilayer.model.files import write_atomic
    from epilayer.report import pictures, viewer

    check_names(png, html)
    if not structure.is_ordered:
        raise InputError(
            "A picture needs an ordered structure; this one has partly occupied sites.",
            "Choose an ordering first, or leave --png and --html out.",
        )
    written = []
    if png is not None:
        form = {".png": "png", ".svg": "svg", ".pdf": "pdf"}[png.suffix.lower()]
        written.append(write_atomic(png, pictures.still(structure, chosen_atoms, form=form)))  # type: ignore[arg-type]
    if html is not None:
        text = viewer.page(
            structure, chosen_atoms, title=title or structure.composition.reduced_formula, facts=facts
        )
        written.append(write_atomic(html, text))
    return written
