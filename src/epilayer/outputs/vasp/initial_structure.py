"""The configuration that a run began with, from the files it left: what a relaxation is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from epilayer.model.errors import InputError
from epilayer.outputs.reading import ByteSource
from epilayer.outputs.vasp.poscar import elements_beside, file_order, read_header, read_poscar

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pymatgen.core import Structure

BEGINNINGS: Final = ("relaxation.extxyz", "POSCAR.begin", "POSCAR.orig", "POSCAR", "vasprun.xml")
"""Files that hold it, the best first: the POSCAR of a run that was resumed or corrected begins later."""


def begun_from(path: Path, like: Structure) -> Structure | None:
    """Return the configuration that a run began with.

    Parameters
    ----------
    path
        One of :data:`BEGINNINGS`.
    like
        The configuration that it ended with, whose cell and order of atoms are kept.

    Returns
    -------
    The beginning, each atom in the image nearest to where it ended; ``None`` where the file holds other
    atoms or cannot be read.
    """
    try:
        symbols, fractional = _read(path)
    except (OSError, ValueError, KeyError, IndexError, InputError):
        return None  # what rests on it stands without it
    wanted = [site.specie.symbol for site in like]
    order = next(
        (o for o in (list(range(len(like))), file_order(like)) if symbols == [wanted[i] for i in o]), None
    )
    if order is None:
        return None
    placed = np.empty_like(fractional)
    placed[order] = fractional
    placed -= np.round(placed - like.frac_coords)
    kept = {name: values for name, values in like.site_properties.items() if name == "selective_dynamics"}
    return type(like)(like.lattice, like.species, placed, site_properties=kept)


def _read(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Return symbols and fractional coordinates, in the order of the file."""
    if path.suffix == ".extxyz":
        from ase.io import read

        first: Any = read(path, index=0, format="extxyz")
        return list(first.symbols), first.get_scaled_positions(wrap=False)
    if path.name.startswith("POSCAR"):
        text = ByteSource(path).read().decode("latin-1")
        named = read_header(text.splitlines(), str(path)).elements
        found = read_poscar(text, str(path), () if named else elements_beside(path))
        return [site.specie.symbol for site in found], np.asarray(found.frac_coords)
    from epilayer.outputs.vasp.vasprun import VasprunStream

    header = VasprunStream(path).header
    if header.positions_frac is None:
        raise InputError(f"{path} does not say where it began.", "Look at its POSCAR.")
    return list(header.species), header.positions_frac
