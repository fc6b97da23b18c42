"""One relaxed pose next to its start and its references: the distances and displacements that rules check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epilayer.analysis import shapes
from epilayer.model.covalent import bonded_pairs, covalent_radii_ang
from epilayer.model.errors import StructureError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core.structure import Molecule, Structure

    Floats = NDArray[np.float64]

Bond = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """One relaxation, with what every rule needs of it.

    Attributes
    ----------
    symbols
        Of all atoms.
    n_slab
        Slab atoms come first.
    radii
        Covalent, A, shape (n,).
    bonds
        Of the intact molecule, as indices into the adslab.
    start, end
        Minimum-image distances, shape (n, n), A.
    clean
        The same within the clean slab, shape (n_slab, n_slab).
    molecule_start, molecule_end
        Unwrapped adsorbate coordinates, A; the third axis is the surface normal.
    slab_end
        Slab coordinates in the same frame, A.
    slab_moved
        Displacement of each slab atom from the clean slab, drift removed, A.
    cell
        Lattice in that frame, rows.
    reference
        Coordinates of the free molecule, A.
    rise_ang
        How much farther each atom of the molecule is above the slab than at the start, A.
    """

    symbols: tuple[str, ...]
    n_slab: int
    radii: Floats
    bonds: tuple[Bond, ...]
    start: Floats
    end: Floats
    clean: Floats
    molecule_start: Floats
    molecule_end: Floats
    slab_end: Floats
    slab_moved: Floats
    cell: Floats
    reference: Floats
    rise_ang: Floats

    def name(self, index: int) -> str:
        """Element and index."""
        return f"{self.symbols[index]}{index}"

    @property
    def adsorbate(self) -> range:
        """Indices of the adsorbate."""
        return range(self.n_slab, len(self.symbols))

    def ratio(self, bond: Bond) -> float:
        """Return the final distance in units of the covalent sum."""
        return float(self.end[bond] / self.radii[list(bond)].sum())


def compared(
    initial: Structure,
    final: Structure,
    clean: Structure,
    reference: Molecule | Structure,
) -> Case:
    """Return the case of one relaxation; the arguments are those of ``find_anomalies``.

    Raises
    ------
    StructureError
        If the structures do not hold the same atoms in the same order.
    """
    symbols = tuple(site.specie.symbol for site in initial)
    n_slab = len(clean)
    for what, found, wanted in (
        ("final adslab", final, symbols),
        ("clean slab", clean, symbols[:n_slab]),
        ("free molecule", reference, symbols[n_slab:]),
    ):
        if tuple(site.specie.symbol for site in found) != wanted:
            raise StructureError(
                f"The {what} does not hold the same atoms in the same order as the initial adslab.",
                "Pass structures of one calculation, unsorted.",
            )
    bonds = bonded_pairs(reference)
    own_bonds = tuple((i + n_slab, j + n_slab) for i, j in bonds)
    slab_fractional = np.asarray(clean.frac_coords)
    end_fractional = np.asarray(final.frac_coords)
    shift = end_fractional[:n_slab] - slab_fractional
    shift -= shift[0]  # a drift near half a cell must not wrap some atoms and not others
    shift -= np.round(shift)
    # Drift is the median: most atoms of a slab stay, and one that flies off must not pull the mean.
    shift -= np.median(shift, axis=0)
    frame, cell = shapes.surface_frame(final)
    molecule_start, molecule_end = (shapes.unwrapped(s, n_slab, own_bonds) for s in (initial, final))
    slab_start, slab_end = (shapes.slab_coords(s, n_slab) @ frame.T for s in (initial, final))
    settled = slab_end[:, 2].mean() - slab_start[:, 2].mean()
    return Case(
        symbols=symbols,
        n_slab=n_slab,
        radii=covalent_radii_ang(symbols),
        bonds=own_bonds,
        start=shapes.distances_ang(initial),
        end=shapes.distances_ang(final),
        clean=shapes.distances_ang(clean),
        molecule_start=molecule_start,
        molecule_end=molecule_end,
        slab_end=slab_end,
        slab_moved=np.linalg.norm(shift @ np.asarray(final.lattice.matrix), axis=1),
        cell=cell,
        reference=shapes.whole_molecule(reference, bonds),
        rise_ang=molecule_end[:, 2] - molecule_start[:, 2] - settled,
    )
