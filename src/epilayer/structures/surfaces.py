"""Surfaces as whose energies are computed: slabs that start from the relaxed crystal, and the lowest one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import spglib

from epilayer.model.errors import StructureError
from epilayer.structures import crystals, orderings, slabs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from epilayer.model.cathode import Cathode, Facet
    from epilayer.structures.orderings import Ordering


def as_in_bulk(
    slab: Structure,
    bulk_sites: Sequence[int],
    frame: Sequence[Sequence[float]],
    crystal: Structure,
    relaxed: Structure,
) -> Structure:
    """Return a slab whose atoms have the places of those in the relaxed crystal.

    Moved atom by atom instead of cut anew, so that the termination stays the same.

    Parameters
    ----------
    slab, bulk_sites, frame
        As :class:`epilayer.structures.slab_types.SlabCut` has them.
    crystal
        The ordered crystal that was cut.
    relaxed
        The same sites in the same cell, relaxed.

    Raises
    ------
    StructureError
        When the two crystals differ in cell or sites.
    """
    same = len(crystal) == len(relaxed) and np.allclose(crystal.lattice.matrix, relaxed.lattice.matrix)
    if not same or max(bulk_sites) >= len(crystal):
        raise StructureError(
            f"{slab.composition.formula}: the relaxed crystal has other sites or another cell.",
            "Relax the positions of the very crystal that is cut, in its fixed cell.",
        )
    moved = relaxed.frac_coords - crystal.frac_coords
    moved -= np.round(moved)
    moved_ang = crystal.lattice.get_cartesian_coords(moved) @ np.array(frame)
    # A common drift would only shift the slab in its cell.
    moved_ang -= moved_ang.mean(axis=0)
    structure = slab.copy()
    for i, site in enumerate(bulk_sites):
        structure.translate_sites([i], moved_ang[site], frac_coords=False, to_unit_cell=False)
    return structure


def lowest_termination(cathode: Cathode, facet: Facet) -> str | None:
    """Return the termination of lowest recorded surface energy; ``None`` where none is recorded.

    Raises
    ------
    StructureError
        When the recorded energies are not those of the terminations that the rules admit.
    """
    recorded = {e.termination: e for e in facet.surface_energies}
    if not recorded:
        return None
    found = {(cut.termination, cut.ordering) for cut in slabs.admissible(cathode, facet)}
    if found != {(e.termination, e.ordering) for e in recorded.values()}:
        raise StructureError(
            f"{cathode.name} ({facet.label}): the recorded surface energies are of {', '.join(recorded)}, "
            f"and the rules admit {', '.join(sorted(t for t, _ in found))}.",
            "Compute them again (epilayer run surface_energies) and record them, or take them out.",
        )
    return min(recorded.values(), key=lambda e: (e.surface_energy_j_per_m2, e.termination)).termination


def ordering_of(cathode: Cathode, label: str) -> Ordering:
    """Return the ordering of a label that a cut names."""
    rule = cathode.crystal.ordering
    for cell in rule.cells if rule else (None,):
        for ordering in orderings.orderings(cathode, cell):
            if ordering.label == label:
                return ordering
    raise StructureError(f"{cathode.name} has no ordering {label!r}.", "Take the label that a cut names.")


def point_group(crystal: Structure) -> tuple[str, NDArray[np.int64]]:
    """Return the point group of a crystal, partial occupancies respected: symbol and rotations.

    The rotations are in the basis of the crystal's own cell, (operations, 3, 3).
    """
    found = spglib.get_symmetry_dataset(
        crystals.spglib_cell(crystal), symprec=crystals.SYMMETRY_TOLERANCE_ANG
    )
    if found is None:
        raise StructureError(
            f"No symmetry was found in {crystal.composition.reduced_formula}.",
            "Check for overlapping sites.",
        )
    rotations: NDArray[np.int64] = np.unique(np.asarray(found.rotations, dtype=np.int64), axis=0)
    return str(found.pointgroup), rotations
