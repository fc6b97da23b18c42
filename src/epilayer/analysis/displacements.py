"""From stored coordinates to tracks that never jump: unwrapping, drift, molecules and their centres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

_FURTHEST = 0.45  # of a cell vector between frames; beyond it the nearest image is a guess


def unwrap(
    positions: NDArray[np.float64],
    cells_ang: ArrayLike,
    *,
    coordinates: Literal["fractional", "cartesian"] = "fractional",
) -> NDArray[np.float64]:
    """Follow every atom through the periodic faces.

    Parameters
    ----------
    positions
        (n_frames, n_atoms, 3), wrapped or not.
    cells_ang
        (3, 3) or (n_frames, 3, 3) cell vectors as rows, Angstrom. In a cell that breathes, an atom at
        rest in fractional coordinates has not moved.
    coordinates
        What ``positions`` are.

    Returns
    -------
    (n_frames, n_atoms, 3) cartesian tracks, Angstrom, that start inside the first cell's image.

    Raises
    ------
    InputError
        If coordinates are not finite, the cell has no volume, or an atom moves so far between two frames
        that its image is a guess.
    """
    cells = np.asarray(cells_ang, np.float64)
    if positions.ndim != 3 or positions.shape[2] != 3:  # noqa: PLR2004  (frames, atoms, xyz)
        raise InputError(f"Positions have the shape {positions.shape}.", "Give an array (frames, atoms, 3).")
    _finite(positions)
    if np.abs(np.linalg.det(cells)).min() < 1e-9:  # noqa: PLR2004
        raise InputError("The cell has no volume, so nothing can be unwrapped.", "Give the periodic cell.")
    if coordinates == "cartesian":
        inverse = np.linalg.inv(cells)
        positions = positions @ inverse
    tracks = np.empty_like(positions, dtype=np.float64)
    tracks[0] = positions[0]
    np.subtract(positions[1:], positions[:-1], out=tracks[1:])
    moves = tracks[1:]
    moves -= np.rint(moves)
    if moves.size and (furthest := float(np.abs(moves).max())) > _FURTHEST:
        raise InputError(
            f"An atom moves {furthest:.2f} of a cell vector between two frames: its path cannot be followed.",
            "Give frames closer in time, or check that the file is one trajectory in order.",
        )
    if cells.ndim == 2:  # noqa: PLR2004  (one cell for all frames)
        tracks = tracks @ cells
    else:
        tracks[1:] = moves @ (0.5 * (cells[1:] + cells[:-1]))
        tracks[0] = tracks[0] @ cells[0]
    result: NDArray[np.float64] = np.cumsum(tracks, axis=0)
    return result


def _finite(positions: NDArray[np.float64]) -> None:
    if not np.isfinite(positions).all():
        frame = int(np.flatnonzero(~np.isfinite(positions).all(axis=(1, 2)))[0])
        raise InputError(
            f"Frame {frame + 1} has a coordinate that is not finite.",
            "The run is unstable from there on: use the frames before it.",
        )


def remove_drift(
    tracks_ang: NDArray[np.float64],
    masses_amu: ArrayLike,
    reference: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Put the centre of mass of the reference atoms at rest.

    Parameters
    ----------
    tracks_ang
        (n_frames, n_atoms, 3) unwrapped, Angstrom.
    masses_amu
        (n_atoms,) masses, u.
    reference
        Indices of the framework; all atoms by default (centre of mass of everything).

    Returns
    -------
    (n_frames, n_atoms, 3) tracks in the frame of the reference, Angstrom.
    """
    masses = np.asarray(masses_amu, np.float64)
    atoms = np.arange(tracks_ang.shape[1]) if reference is None else np.asarray(reference, np.intp)
    if not len(atoms):
        raise InputError("The framework has no atoms.", "Name the species that stay in place.")
    share = masses[atoms] / masses[atoms].sum()
    drift = np.einsum("a,fac->fc", share, tracks_ang[:, atoms] - tracks_ang[0, atoms])
    result: NDArray[np.float64] = tracks_ang - drift[:, None, :]
    return result


def centres(
    tracks_ang: NDArray[np.float64], masses_amu: ArrayLike, molecules: Sequence[ArrayLike]
) -> NDArray[np.float64]:
    """Return the tracks of molecules' centres of mass, up to a constant of each molecule.

    Every atom's track is continuous, so the centre's is, wherever the molecule crosses the cell; where
    the first frame has the molecule in two pieces, its centre is off by a constant, which displacements
    do not see.

    Parameters
    ----------
    tracks_ang
        (n_frames, n_atoms, 3) unwrapped, Angstrom.
    masses_amu
        (n_atoms,) masses, u.
    molecules
        Atom indices of each molecule.

    Returns
    -------
    (n_frames, n_molecules, 3) tracks, Angstrom.
    """
    masses = np.asarray(masses_amu, np.float64)
    out = np.empty((len(tracks_ang), len(molecules), 3))
    for m, members in enumerate(molecules):
        atoms = np.asarray(members, np.intp)
        out[:, m] = np.einsum("a,fac->fc", masses[atoms] / masses[atoms].sum(), tracks_ang[:, atoms])
    return out


def find_molecules(
    symbols: Sequence[str],
    positions_frac: NDArray[np.float64],
    cell_ang: NDArray[np.float64],
    scale: float = 1.15,
) -> dict[str, list[NDArray[np.intp]]]:
    """Group atoms into bonded molecules, by formula.

    Parameters
    ----------
    symbols
        (n_atoms,) chemical symbols.
    positions_frac
        (n_atoms, 3) fractional coordinates of one frame.
    cell_ang
        (3, 3) cell, Angstrom.
    scale
        Two atoms are bonded within this multiple of the sum of their covalent radii
        (doi 10.1039/b801115j).

    Returns
    -------
    Atom indices of each molecule, by formula in Hill order (``F2NO4S2`` for FSI).
    """
    from ase import Atoms
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    atoms = Atoms(list(symbols), scaled_positions=positions_frac, cell=cell_ang, pbc=True)
    # Alkali ions are spectators of bonding, although their covalent radii are large.
    radii = covalent_radii[atoms.numbers] * scale
    radii[np.isin(atoms.numbers, [3, 11, 19, 37, 55])] = 0.0
    first, second = neighbor_list("ij", atoms, cutoff=list(radii))
    n = len(atoms)
    _, label = connected_components(
        coo_array((np.ones(len(first)), (first, second)), shape=(n, n)), directed=False
    )
    found: dict[str, list[NDArray[np.intp]]] = {}
    for value in np.unique(label):
        members = np.flatnonzero(label == value)
        found.setdefault(atoms[members].get_chemical_formula(mode="hill"), []).append(members)
    return found
