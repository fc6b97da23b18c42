"""What a picture of a structure shows: which atoms and images, which sticks, which edges of the cell.

Three kinds of structure are distinguished by what is in them: a molecule on a slab (atoms are named as the
molecule's), a bare slab (there is empty space along c), and a crystal, whose whole cell is shown and whose
guests, if any are named, are kept in one piece. Atoms on the edge of the cell stand on both sides of it,
and coordination polyhedra that the edge cuts are made whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from epilayer.model.covalent import BOND_SCALE, bonded_pairs, covalent_radii_ang

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]
    Line = tuple[Floats, Floats]

View = Literal["side", "top"]

#: Alkali and alkaline-earth ions are held by many weak contacts; sticks would hide the framework.
_IONIC: Final = frozenset({"Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba"})
#: Below this electronegativity (Pauling) two slab atoms are both cations and share no stick.
_CATION: Final = 2.3
TOP_VIEW_DEPTH_ANG: Final = 5.0
#: Atoms so near to the edge of the cell (share of an edge) are drawn on both sides.
_EDGE: Final = 0.03
#: A molecule whose centre is this near (laterally) to the atom it touches stands on that atom.
_ON_TOP_ANG: Final = 2.0
#: In the side view the molecule stands at this share of the depth from the front: little hides its foot.
_FRONT_SHARE: Final = 0.22
#: A gap along c that is wider than this is vacuum: no crystal or loaded pore has one.
_VACUUM_ANG: Final = 8.0
#: Atoms whose projections agree within this stand behind each other.
_COLUMN_ANG: Final = 0.3


@dataclass(frozen=True)
class Atoms:
    """Atoms in the surface frame: third axis up; ``ads`` (the molecule or guests) and ``held`` are masks.

    ``contact`` is the closest pair (molecule, slab), where there is a molecule on a slab.
    """

    symbols: tuple[str, ...]
    coords: Floats
    ads: Mask
    held: Mask
    cell: Floats
    contact: tuple[int, int] | None
    layered: bool

    @cached_property
    def radii(self) -> Floats:
        """Covalent radii, A."""
        return covalent_radii_ang(self.symbols)


@dataclass(frozen=True)
class Scene:
    """What one view draws, projected: x and y in the plane, z towards the reader (A)."""

    symbols: tuple[str, ...]
    points: Floats
    ads: Mask
    held: Mask
    bonds: tuple[tuple[int, int], ...]
    outline: tuple[Floats, ...]
    contact: tuple[int, int] | None
    contact_ang: float

    @cached_property
    def size(self) -> Floats:
        """Radii of the balls, A."""
        radii = np.minimum(covalent_radii_ang(self.symbols), 1.35)
        hydrogen = np.array([s == "H" for s in self.symbols])
        return np.asarray(np.where(hydrogen, 0.27, np.where(self.ads, 0.52, 0.36) * radii + 0.06))

    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper corner of the drawing, A."""
        size = self.size[:, None]
        flat = self.points[:, :2]
        corners = np.vstack([line[:, :2] for line in self.outline])
        low = np.minimum((flat - size).min(axis=0), corners.min(axis=0))
        high = np.maximum((flat + size).max(axis=0), corners.max(axis=0))
        return low, high


def atoms_of(structure: Structure, chosen_atoms: Sequence[int]) -> Atoms:
    """Bring the atoms into the surface frame, the chosen ones last and each molecule in one piece.

    Parameters
    ----------
    structure
        Ordered. Atoms whose ``selective_dynamics`` are all false are held.
    chosen_atoms
        Indices of the adsorbed molecule's atoms, or of a crystal's guests; may be empty.
    """
    chosen = {int(i) for i in chosen_atoms}
    order = [*(i for i in range(len(structure)) if i not in chosen), *sorted(chosen)]
    ordered = structure.from_sites([structure[i] for i in order])
    symbols = tuple(site.specie.symbol for site in ordered)
    ads = np.arange(len(order)) >= len(order) - len(chosen)
    flags = structure.site_properties.get("selective_dynamics") or [None] * len(order)
    held = np.array([flags[i] is not None and not any(flags[i]) for i in order]) & ~ads
    layered = _vacuum_ang(structure, [i for i in range(len(structure)) if i not in chosen]) > _VACUUM_ANG
    place = _on_slab if layered else _in_crystal
    coords, cell, contact = place(ordered, symbols, len(order) - len(chosen))
    return Atoms(symbols, coords, ads, held, cell, contact, layered)


def _vacuum_ang(structure: Structure, atoms: Sequence[int]) -> float:
    """Return the widest empty space between these atoms along the normal of a and b."""
    heights = np.sort(np.array(structure.frac_coords)[atoms, 2] % 1.0)
    gaps = np.diff(np.append(heights, heights[0] + 1.0))
    matrix = structure.lattice.matrix
    return float(gaps.max() * structure.volume / np.linalg.norm(np.cross(matrix[0], matrix[1])))


def _on_slab(
    ordered: Structure, symbols: Sequence[str], n_slab: int
) -> tuple[Floats, Floats, tuple[int, int] | None]:
    from epilayer.analysis import shapes

    frame, cell = shapes.surface_frame(ordered)
    slab = shapes.slab_coords(ordered, n_slab) @ frame.T
    if n_slab == len(ordered):
        return slab, cell, None
    radii = covalent_radii_ang(symbols)
    distances = np.asarray(ordered.distance_matrix)
    bonds = [(i, j) for i, j in bonded_pairs(ordered) if i >= n_slab]
    molecule = shapes.unwrapped(ordered, n_slab, bonds)
    ratio = distances[n_slab:, :n_slab] / (radii[n_slab:, None] + radii[None, :n_slab])
    i, j = (int(x) for x in np.unravel_index(np.argmin(ratio), ratio.shape))
    return np.vstack([slab, molecule]), cell, (n_slab + i, j)


def _in_crystal(
    ordered: Structure, _symbols: Sequence[str], n_host: int
) -> tuple[Floats, Floats, tuple[int, int] | None]:
    """Hosts inside the cell, every guest molecule in one piece with its centre inside."""
    from epilayer.analysis import shapes

    frame, cell = shapes.surface_frame(ordered)
    fractional = np.array(ordered.frac_coords)
    fractional -= np.floor(fractional + 1e-6)
    guests = ordered.from_sites(ordered.sites[n_host:]) if n_host < len(ordered) else None
    if guests is not None:
        bonds = bonded_pairs(guests)
        inverse = np.linalg.inv(ordered.lattice.matrix)
        joined = shapes.whole_molecule(guests, bonds) @ inverse
        for piece in shapes.components(range(len(guests)), bonds):
            members = sorted(piece)
            joined[members] -= np.floor(joined[members].mean(axis=0))
        fractional[n_host:] = joined
    return fractional @ np.asarray(ordered.lattice.matrix) @ frame.T, cell, None


def nearest_ang(atoms: Atoms, first: int, second: int) -> Floats:
    """Vector from one atom to the nearest lateral image of another, A."""
    vector = atoms.coords[second] - atoms.coords[first]
    images = [vector + i * atoms.cell[0] + j * atoms.cell[1] for i, j in product((-2, -1, 0, 1, 2), repeat=2)]
    return min(images, key=lambda v: float(np.linalg.norm(v)))


def scene_of(atoms: Atoms, view: View, *, whole: bool = False) -> Scene:
    """Project the atoms of one view.

    Parameters
    ----------
    whole
        Show the whole depth also from the top, for a view that the reader turns.
    """
    middle = _middle(atoms)
    if view == "top":
        axes = np.eye(3)
        window = np.array([[-0.5, 0.5]] * 3)
    else:
        axes, window = _side(atoms)
    owners, coords = _in_window(atoms, window, middle)
    if view == "top" and atoms.layered and not whole:
        top = atoms.coords[~atoms.ads, 2].max()
        shown = atoms.ads[owners] | (coords[:, 2] > top - TOP_VIEW_DEPTH_ANG)
        owners, coords = owners[shown], coords[shown]
    owners, coords = _completed(atoms, owners, coords)
    symbols = tuple(atoms.symbols[k] for k in owners)
    contact = _contact_atoms(atoms, owners, coords)
    points = (coords - middle) @ axes.T
    if not (atoms.layered or whole):
        # Guests sit deep inside the framework: they are brought in front of it, or nobody would see them.
        points[atoms.ads[owners], 2] += np.ptp(points[:, 2])
    lines = [(np.array(edge) - middle) @ axes.T for edge in _edges(atoms, window, middle, view)]
    return Scene(
        symbols=symbols,
        points=points,
        ads=atoms.ads[owners],
        held=atoms.held[owners],
        bonds=_bonds(symbols, coords, atoms.ads[owners]),
        outline=tuple(lines) if whole else _distinct_lines(lines),
        contact=contact,
        contact_ang=float(np.linalg.norm(coords[contact[0]] - coords[contact[1]])) if contact else 0.0,
    )


def _middle(atoms: Atoms) -> Floats:
    """Where the window is centred: below the molecule, on the atom it touches if that is near.

    A window centred on an atom is cut alike on all sides. Without a molecule, the middle of the cell.
    """
    if atoms.contact is None:
        middle = atoms.cell.sum(axis=0) / 2
        if atoms.layered:
            middle = (atoms.cell[0] + atoms.cell[1]) / 2
            middle[2] = (atoms.coords[:, 2].min() + atoms.coords[:, 2].max()) / 2
        return np.asarray(middle)
    middle = atoms.coords[atoms.ads].mean(axis=0)
    first, second = atoms.contact
    foot = atoms.coords[first] + nearest_ang(atoms, first, second)
    if np.linalg.norm((foot - middle)[:2]) < _ON_TOP_ANG:
        middle[:2] = foot[:2]
    return np.asarray(middle)


def _side(atoms: Atoms) -> tuple[Floats, Floats]:
    """Choose the side, among the four along the cell's edges, that shows most; axes and window."""
    best: tuple[float, Floats, Floats] | None = None
    for along, sign in product((0, 1), (1.0, -1.0)):
        across = sign * atoms.cell[along] / np.linalg.norm(atoms.cell[along])
        up = np.array([0.0, 0.0, 1.0])
        axes = np.array([across, up, np.cross(across, up)])
        window = np.array([[-0.5, 0.5]] * 3)
        if atoms.contact is None:
            # Columns of atoms behind each other are easier to read than many single ones.
            columns = np.unique(np.round(atoms.coords @ axes[:2].T / _COLUMN_ANG), axis=0)
            shown = -float(len(columns))
        else:
            vector = nearest_ang(atoms, *atoms.contact)
            molecule = atoms.coords[atoms.ads] - atoms.coords[atoms.ads].mean(axis=0)
            shown = float(np.linalg.norm((axes @ vector)[:2])) + float(np.std(molecule @ across))
            # Ties go to the view whose foot is nearer to the reader.
            shown += 0.02 * float(axes[2] @ vector)
            deep = 1 - along
            forward = float(axes[2] @ atoms.cell[deep]) > 0
            window[deep] = [_FRONT_SHARE - 1, _FRONT_SHARE] if forward else [-_FRONT_SHARE, 1 - _FRONT_SHARE]
        if best is None or shown > best[0] + 1e-6:
            best = (shown, axes, window)
    assert best is not None  # noqa: S101  (four sides were tried)
    return best[1], best[2]


def _edges(atoms: Atoms, window: Floats, middle: Floats, view: View) -> list[Line]:
    """Return the edges of the cell; those of a slab end a little above and below its atoms."""
    if not atoms.layered:
        corners = {
            bits: middle + np.array([window[k][bit] for k, bit in enumerate(bits)]) @ atoms.cell
            for bits in product((0, 1), repeat=3)
        }
        return [
            (corners[one], corners[other])
            for one, other in product(corners, repeat=2)
            if one < other and sum(a != b for a, b in zip(one, other, strict=True)) == 1
        ]
    plane = atoms.cell[:2, :2]
    feet = [middle[:2] + np.array(f) @ plane for f in product(*window[:2])]
    low = atoms.coords[:, 2].min() - 0.6
    high = atoms.coords[:, 2].max() + 1.2
    edges = [
        (np.array([*feet[i], low]), np.array([*feet[j], low])) for i, j in ((0, 1), (1, 3), (3, 2), (2, 0))
    ]
    if view == "side":
        edges += [(np.array([*foot, low]), np.array([*foot, high])) for foot in feet]
    return edges


def _distinct_lines(lines: Sequence[Floats]) -> tuple[Floats, ...]:
    """Drop lines that are points, or lie on others, in projection."""
    kept: dict[frozenset[tuple[float, ...]], Floats] = {}
    for line in lines:
        ends = frozenset(tuple(float(x) + 0.0 for x in np.round(end[:2], 2)) for end in line)
        if len(ends) > 1:
            kept.setdefault(ends, line)
    return tuple(kept.values())


def _in_window(atoms: Atoms, window: Floats, middle: Floats) -> tuple[NDArray[np.int_], Floats]:
    """Atoms and their images inside the window; the molecule or guests once."""
    directions = 2 if atoms.layered else 3
    inverse = np.linalg.inv(atoms.cell[:directions, :directions] if atoms.layered else atoms.cell)
    owners: list[int] = []
    coords: list[Floats] = []
    shifts = [np.array(s) for s in product(range(-3, 4), repeat=directions)]
    for index, position in enumerate(atoms.coords):
        if atoms.ads[index]:
            owners.append(index)
            coords.append(position)
            continue
        place = (position - middle)[:directions] @ inverse
        images = place + shifts
        inside = ((images > window[:directions, 0] - _EDGE) & (images < window[:directions, 1] + _EDGE)).all(
            axis=1
        )
        for n in np.flatnonzero(inside):
            owners.append(index)
            coords.append(position + shifts[n] @ atoms.cell[:directions])
    return np.array(owners), np.array(coords)


def _completed(atoms: Atoms, owners: NDArray[np.int_], coords: Floats) -> tuple[NDArray[np.int_], Floats]:
    """Add the images that cations at the edge are bonded to, and the molecule's closest contact."""
    directions, reach_cells = (2, (-2, -1, 0, 1, 2)) if atoms.layered else (3, (-1, 0, 1))
    shifts = np.array(
        [np.array(s) @ atoms.cell[:directions] for s in product(reach_cells, repeat=directions)]
    )
    slab = np.flatnonzero(~atoms.ads)
    images = (atoms.coords[slab][None] + shifts[:, None]).reshape(-1, 3)
    image_owners = np.tile(slab, len(shifts))
    cation = np.array([_is_cation(s) for s in atoms.symbols])
    wanted: list[int] = []
    for centre, position in zip(owners, coords, strict=True):
        if atoms.ads[centre] or not cation[centre] or atoms.symbols[centre] in _IONIC:
            continue
        reach = BOND_SCALE * (atoms.radii[centre] + atoms.radii[image_owners])
        near = np.linalg.norm(images - position, axis=1)
        bonded = (near < reach) & (near > 0.1) & ~cation[image_owners]  # noqa: PLR2004  (not itself)
        wanted += [int(k) for k in np.flatnonzero(bonded)]
    if atoms.contact is not None:
        first, second = atoms.contact
        foot = atoms.coords[first] + nearest_ang(atoms, first, second)
        wanted.append(int(np.argmin(np.linalg.norm(images - foot, axis=1))))
    for k in dict.fromkeys(wanted):
        if np.linalg.norm(coords - images[k], axis=1).min() > 0.1:  # noqa: PLR2004  (A; not drawn yet)
            owners = np.append(owners, image_owners[k])
            coords = np.vstack([coords, images[k]])
    return owners, coords


def _contact_atoms(atoms: Atoms, owners: NDArray[np.int_], coords: Floats) -> tuple[int, int] | None:
    if atoms.contact is None:
        return None
    first, second = atoms.contact
    foot = atoms.coords[first] + nearest_ang(atoms, first, second)
    return int(np.flatnonzero(owners == first)[0]), int(np.argmin(np.linalg.norm(coords - foot, axis=1)))


def _is_cation(symbol: str) -> bool:
    from pymatgen.core.periodic_table import Element

    return float(Element(symbol).X) < _CATION and symbol != "H"


def _bonds(symbols: Sequence[str], coords: Floats, ads: Mask) -> tuple[tuple[int, int], ...]:
    radii = covalent_radii_ang(symbols)
    distance = np.linalg.norm(coords[:, None] - coords[None], axis=2)
    near = distance < BOND_SCALE * (radii[:, None] + radii[None])
    cation = [_is_cation(s) for s in symbols]
    return tuple(
        (int(i), int(j))
        for i, j in np.argwhere(np.triu(near, 1))
        if ads[i] == ads[j]
        and (ads[i] or not (cation[i] and cation[j]))
        and not {symbols[i], symbols[j]} & _IONIC
    )
