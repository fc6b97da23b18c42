"""The empty space of a crystal: distance fields, pore diameters, cavities, free volume."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field
from pymatgen.core.periodic_table import Element
from scipy import ndimage
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from epilayer.model.base import Frozen
from epilayer.model.errors import StructureError
from epilayer.model.units import Ang, Fraction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.structure import Structure

    Floats = NDArray[np.float64]
    Grid = NDArray[np.float32]

#: Distances are followed this far; no two atoms that touch are further apart.
REACH_ANG: Final = 4.5
_SPACING_ANG: Final = 0.25
_COARSE_ANG: Final = 0.3
_REFINEMENT: Final = 3
_PLD_TOLERANCE_ANG: Final = 0.01
#: Two maxima of the clearance nearer than this are one cavity.
_SAME_CAVITY_ANG: Final = 1.5
#: Hollows narrower than this hold no atom (a hydrogen's diameter is 2.2 A).
_SMALLEST_CAVITY_ANG: Final = 2.2


class Cavity(Frozen):
    """A local maximum of the distance to the walls.

    Attributes
    ----------
    label
        ``P1``, ``P2``, ... from the widest on, then by position.
    centre_frac
        Fractional coordinates.
    diameter_ang
        Of the largest sphere about it that touches no atom's van der Waals surface, A.
    """

    label: str
    centre_frac: tuple[float, float, float]  # fractional, without a unit
    diameter_ang: Ang


class Voids(Frozen):
    """The pores of an empty framework.

    Attributes
    ----------
    lcd_ang
        Largest cavity diameter: of the largest sphere that fits anywhere, A.
    pld_ang
        Pore limiting diameter: of the largest sphere that passes through the crystal from cell to
        cell, A; negative or zero where nothing passes.
    free_volume_fraction
        Share of the cell outside every van der Waals sphere.
    cavities
        Where guests can sit, widest first.
    """

    lcd_ang: Ang
    pld_ang: Ang
    free_volume_fraction: Fraction
    cavities: tuple[Cavity, ...] = Field(repr=False)

    def nearest(self, lattice: Lattice, frac: Floats) -> tuple[Cavity, float]:
        """Return the cavity whose centre is nearest to a point, and its distance in A."""
        centres = np.array([c.centre_frac for c in self.cavities])
        distances = lattice.get_all_distances([frac], centres)[0]
        best = int(np.argmin(distances))
        return self.cavities[best], float(distances[best])


def van_der_waals_ang(symbol: str) -> float:
    """Radius of an atom's surface, A: Bondi 1964 (doi 10.1021/j100785a001), H 1.10 after Rowland 1996.

    Elements without one get 2 A.

    >>> van_der_waals_ang("H"), van_der_waals_ang("C")
    (1.1, 1.7)
    """
    return float(Element(symbol).van_der_waals_radius or 2.0)


def widths_ang(lattice: Lattice) -> Floats:
    """Distances between opposite faces of the cell, A, shape (3,)."""
    return np.asarray(1.0 / np.linalg.norm(np.linalg.inv(lattice.matrix), axis=0))


def analyse(host: Structure) -> Voids:
    """Measure the pores of an empty framework on a grid, refined where it decides.

    The clearance of a point is its distance to the nearest van der Waals surface. LCD: twice its
    largest value, each maximum of the grid climbed to its top. PLD: twice the largest clearance whose
    region still joins a point with its own image (as Zeo++ defines both, doi
    10.1016/j.micromeso.2011.08.020), on a grid made three times finer between the coarse bounds; good to
    about 0.1 A.

    Raises
    ------
    StructureError
        If the crystal leaves no cavity that an atom fits into.
    """
    surface = _Surface(host)
    coarse = surface.grid(_shape(host.lattice, _COARSE_ANG))
    cavities = _cavities(surface, coarse)
    if not cavities:
        raise StructureError(
            f"{host.composition.reduced_formula} has no pore wider than {_SMALLEST_CAVITY_ANG:g} A.",
            "Give a porous framework, without its solvent.",
        )
    return Voids(
        lcd_ang=cavities[0].diameter_ang,
        pld_ang=_limiting_diameter_ang(surface, coarse),
        free_volume_fraction=float((coarse > 0).mean()),
        cavities=cavities,
    )


def free_fraction(structure: Structure) -> float:
    """Share of the cell outside every van der Waals sphere, on a grid of at most 0.3 A."""
    return float((_Surface(structure).grid(_shape(structure.lattice, _COARSE_ANG)) > 0).mean())


class _Surface:
    """Distance to the nearest van der Waals surface, anywhere in the crystal."""

    def __init__(self, host: Structure) -> None:
        self.lattice = host.lattice
        self.trees: list[tuple[float, cKDTree]] = []
        by_radius: dict[float, list[Floats]] = {}
        for site in host:
            by_radius.setdefault(van_der_waals_ang(site.specie.symbol), []).append(site.frac_coords % 1.0)
        margins = np.minimum(2 * REACH_ANG / widths_ang(host.lattice), 1.0)
        shifts = np.array(list(product((-1, 0, 1), repeat=3)))
        for radius_ang, rows in sorted(by_radius.items()):
            images = (np.array(rows)[:, None] + shifts).reshape(-1, 3)
            near = ((images > -margins) & (images < 1 + margins)).all(axis=1)
            self.trees.append((radius_ang, cKDTree(images[near] @ host.lattice.matrix)))

    def at(self, frac: Floats) -> Floats:
        """Clearance at fractional points, A, shape (n,)."""
        points = (frac % 1.0) @ self.lattice.matrix
        distances = [tree.query(points)[0] - radius for radius, tree in self.trees]
        return np.asarray(np.min(distances, axis=0))

    def grid(self, shape: tuple[int, int, int]) -> Floats:
        """Clearance on a grid over the cell, A."""
        axes = [np.arange(n) / n for n in shape]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        return self.at(points).reshape(shape)


def _shape(lattice: Lattice, spacing_ang: float) -> tuple[int, int, int]:
    a, b, c = (max(8, int(np.ceil(length / spacing_ang))) for length in lattice.abc)
    return a, b, c


def _cavities(surface: _Surface, coarse: Floats) -> tuple[Cavity, ...]:
    peaks = np.argwhere(
        (coarse == ndimage.maximum_filter(coarse, size=3, mode="wrap"))
        & (coarse > _SMALLEST_CAVITY_ANG / 2 - _COARSE_ANG)
    )
    found: list[tuple[float, Floats]] = []
    step = _COARSE_ANG / np.array(surface.lattice.abc)
    for peak in peaks:
        start = peak / np.array(coarse.shape)
        top = minimize(
            lambda f: -surface.at(f[None])[0],
            start,
            method="Nelder-Mead",
            options={"initial_simplex": start + np.vstack([np.zeros(3), np.diag(step)]), "xatol": 1e-4},
        )
        found.append((-float(top.fun), top.x % 1.0))
    # Round, so that equal cavities are ordered by place and not by the last digit of the climb.
    found.sort(key=lambda f: (-round(f[0], 2), *np.round(f[1] % 0.9999, 3)))
    kept: list[tuple[float, Floats]] = []
    for clearance_ang, centre in found:
        if 2 * clearance_ang < _SMALLEST_CAVITY_ANG:
            continue
        others = np.array([c for _, c in kept])
        if kept and surface.lattice.get_all_distances([centre], others).min() < _SAME_CAVITY_ANG:
            continue
        kept.append((clearance_ang, centre))
    return tuple(
        Cavity(
            label=f"P{number}",
            centre_frac=(round(float(c[0]), 4), round(float(c[1]), 4), round(float(c[2]), 4)),
            diameter_ang=2 * clearance_ang,
        )
        for number, (clearance_ang, c) in enumerate(kept, start=1)
    )


def _limiting_diameter_ang(surface: _Surface, coarse: Floats) -> float:
    low, high = _bracket(coarse, float(coarse.min()), float(coarse.max()), _COARSE_ANG / 4)
    # The clearance changes by at most the step, so that only points about the bracket can decide.
    shape = tuple(n * _REFINEMENT for n in coarse.shape)
    fine = ndimage.zoom(coarse, _REFINEMENT, order=0, mode="grid-wrap", grid_mode=True)
    near = np.argwhere((fine > low - _COARSE_ANG) & (fine < high + 2 * _COARSE_ANG))
    fine[tuple(near.T)] = surface.at(near / np.array(shape))
    low, high = _bracket(fine, low - _COARSE_ANG / 2, high + _COARSE_ANG, _PLD_TOLERANCE_ANG)
    return low + high


def _bracket(clearance: Floats, low_ang: float, high_ang: float, tolerance_ang: float) -> tuple[float, float]:
    """Bisect for the largest threshold at which the space above it still percolates."""
    while high_ang - low_ang > tolerance_ang:
        middle = (low_ang + high_ang) / 2
        if percolates(clearance > middle):
            low_ang = middle
        else:
            high_ang = middle
    return low_ang, high_ang


def percolates(is_open: NDArray[np.bool_]) -> bool:
    """Return whether a periodic region joins some point with its own image in another cell.

    Regions inside one cell are joined across its faces; a region that is met again with another
    lattice offset runs through the crystal.
    """
    labels, count = ndimage.label(is_open)  # through the faces of the voxels, as below
    parent = np.arange(count + 1)
    offset = np.zeros((count + 1, 3), dtype=int)  # of a region, against its parent

    def root(label: int) -> tuple[int, NDArray[np.int_]]:
        total = np.zeros(3, dtype=int)
        while parent[label] != label:
            total = total + offset[label]
            label = int(parent[label])
        return label, total

    for axis in range(3):
        last, first = np.take(labels, -1, axis=axis), np.take(labels, 0, axis=axis)
        both = (last > 0) & (first > 0)
        step = np.eye(3, dtype=int)[axis]
        for a, b in np.unique(np.stack([last[both], first[both]], axis=1), axis=0):
            # Region b, moved by one cell along the axis, touches region a.
            (root_a, at_a), (root_b, at_b) = root(int(a)), root(int(b))
            wanted = at_a - at_b + step
            if root_a != root_b:
                parent[root_b], offset[root_b] = root_a, wanted
            elif wanted.any():
                return True
    return False


class DistanceField:
    """Distances to the nearest atom of each element, on a periodic grid; atoms can be added.

    Parameters
    ----------
    lattice
        The cell.

    Notes
    -----
    Values are exact on the grid points (spacing at most 0.25 A) up to :data:`REACH_ANG` and
    interpolated linearly between them.
    """

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self.shape = _shape(lattice, _SPACING_ANG)
        self._fields: dict[str, Grid] = {}
        self._inverse = np.linalg.inv(lattice.matrix)
        reach = np.ceil((REACH_ANG / widths_ang(lattice)) * self.shape).astype(int) + 1
        block = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), axis=-1)
        block = block.reshape(-1, 3)
        lengths = np.linalg.norm((block / self.shape) @ lattice.matrix, axis=1)
        self._is_wide = bool((2 * reach + 1 <= self.shape).all())
        self._block = block[lengths < REACH_ANG + 2 * _SPACING_ANG]

    @property
    def symbols(self) -> tuple[str, ...]:
        """The elements it holds."""
        return tuple(sorted(self._fields))

    def copy(self) -> DistanceField:
        """Return an independent field with the same atoms."""
        twin = DistanceField.__new__(DistanceField)
        twin.__dict__ |= self.__dict__
        twin._fields = {symbol: field.copy() for symbol, field in self._fields.items()}
        return twin

    def add(self, symbols: Sequence[str], cart: Floats) -> None:
        """Put atoms into the field; ``cart`` in A, shape (n, 3), in any cell."""
        sizes = np.array(self.shape)
        for symbol, at in zip(symbols, cart, strict=True):
            scaled = (at @ self._inverse) * sizes
            floor = np.floor(scaled).astype(int)
            points = self._block + floor
            distances = np.linalg.norm(((points - scaled) / sizes) @ self.lattice.matrix, axis=1)
            if symbol not in self._fields:
                self._fields[symbol] = np.full(self.shape, REACH_ANG, dtype=np.float32)
            flat = self._fields[symbol].reshape(-1)
            wrapped = np.ravel_multi_index(tuple((points % sizes).T), self.shape)
            if self._is_wide:
                flat[wrapped] = np.minimum(flat[wrapped], distances)
            else:  # a narrow cell meets a point twice: the shorter distance stands
                np.minimum.at(flat, wrapped, distances.astype(np.float32))

    def clearance(self, limits_ang: Mapping[str, float]) -> Grid:
        """Distance to the nearest atom beyond its limit, A: negative where an atom may not be."""
        grids = [field - np.float32(limits_ang[symbol]) for symbol, field in self._fields.items()]
        return np.min(grids, axis=0) if grids else np.full(self.shape, REACH_ANG, dtype=np.float32)

    def sample(self, grid: Grid, cart: Floats) -> Floats:
        """Interpolate a grid of this field at cartesian points (n, 3)."""
        scaled = ((cart @ self._inverse) * self.shape).T
        return np.asarray(ndimage.map_coordinates(grid, scaled, order=1, mode="grid-wrap", prefilter=False))

    def points(self, mask: NDArray[np.bool_]) -> Floats:
        """Cartesian coordinates of the grid points of a mask, A, shape (n, 3)."""
        return np.asarray((np.argwhere(mask) / np.array(self.shape)) @ self.lattice.matrix)
