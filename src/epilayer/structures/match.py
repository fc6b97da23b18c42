"""Epitaxial match: supercells in which a facet of a framework fits one of a cathode, and the strain it takes.

The supercells are those of Zur and McGill, J. Appl. Phys. 55, 378 (1984), doi 10.1063/1.333084, as
pymatgen enumerates them. The strain is that of the framework, stretched to the cathode; the cathode
is taken as rigid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import spglib
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from epilayer.model.cathode import miller_label
from epilayer.model.errors import StructureError
from epilayer.structures import crystals, cutting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from epilayer.model.cathode import Miller
    from epilayer.model.units import Dimensionless

Integers = tuple[tuple[int, int], tuple[int, int]]

MAX_AREA_ANG2: Final = 800.0
MAX_STRAIN: Final = 0.05
GOOD_STRAIN: Final = 0.02
"""Below this the smaller cell is preferred to the better fit: a fit can always be bought with area."""
_SAME: Final = 1e-5


@dataclass(frozen=True)
class Plane:
    """The two-dimensional lattice of a crystal's plane, in a frame whose third axis is the normal.

    Parameters
    ----------
    vectors_ang
        Shortest lattice vectors in the plane, the first along x, (2, 2).
    frame
        Rows: the frame's axes as Cartesian vectors of the crystal, (3, 3).
    repeat_ang
        Distance to the next equivalent plane.
    """

    miller: Miller
    vectors_ang: NDArray[np.float64]
    frame: NDArray[np.float64]
    repeat_ang: float

    @property
    def area_ang2(self) -> float:
        """Area of the smallest cell in the plane."""
        return abs(float(np.linalg.det(self.vectors_ang)))


@dataclass(frozen=True)
class Match:
    """A supercell of a framework's facet on one of a cathode's facet.

    Parameters
    ----------
    area_ang2, mof_area_ang2
        Of the supercell on the cathode, and of the framework's before it is strained.
    cells, mof_cells
        Smallest cells of each plane in the supercell.
    transformation, mof_transformation
        Supercell vectors in those of each plane, rows.
    strain
        Of the framework in the frame of its plane: symmetric, relative length changes (Biot), (2, 2).
    """

    miller: Miller
    mof_miller: Miller
    area_ang2: float
    mof_area_ang2: float
    cells: int
    mof_cells: int
    transformation: Integers
    mof_transformation: Integers
    strain: tuple[tuple[float, float], tuple[float, float]]

    @property
    def principal(self) -> tuple[float, float]:
        """Smallest and largest relative length change of any direction in the plane."""
        low, high = np.linalg.eigvalsh(np.array(self.strain))
        return float(low), float(high)

    @property
    def largest(self) -> float:
        """Largest absolute principal strain."""
        return max(abs(e) for e in self.principal)

    @property
    def von_mises(self) -> float:
        """Von Mises strain of the plane, without strain along the normal (as pymatgen defines it)."""
        full = np.zeros((3, 3))
        full[:2, :2] = self.strain
        deviator = full - np.trace(full) / 3 * np.eye(3)
        return float(np.sqrt(2 / 3 * (deviator**2).sum()))

    @property
    def area_mismatch(self) -> float:
        """Relative change of the framework's area."""
        return self.area_ang2 / self.mof_area_ang2 - 1


def plane_of(structure: Structure, miller: Miller) -> Plane:
    """Return the lattice of a plane; the crystal may be partly occupied.

    Raises
    ------
    StructureError
        For the index (0 0 0).
    """
    if miller == (0, 0, 0):
        raise StructureError("The Miller index (0 0 0) names no plane.", "Give three integers, not all 0.")
    found = spglib.standardize_cell(
        crystals.spglib_cell(structure),
        to_primitive=True,
        no_idealize=True,
        symprec=crystals.SYMMETRY_TOLERANCE_ANG,
    )
    lattice = structure.lattice if found is None else Lattice(found[0]).get_lll_reduced_lattice()
    normal = np.array(miller) @ structure.lattice.reciprocal_lattice_crystallographic.matrix
    a, b, up = cutting.plane_basis(lattice, normal) @ lattice.matrix
    z = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
    x = a / np.linalg.norm(a)
    frame = np.array([x, np.cross(z, x), z])
    vectors = np.array([a, b]) @ frame[:2].T
    return Plane(miller, vectors, frame, abs(float(up @ z)))


def low_index_planes(structure: Structure, highest: int = 1) -> tuple[Miller, ...]:
    """Return one index of every family of planes that symmetry does not relate, up to an index."""
    symmetry = spglib.get_symmetry(crystals.spglib_cell(structure), symprec=crystals.SYMMETRY_TOLERANCE_ANG)
    rotations = [np.eye(3)] if symmetry is None else list(symmetry["rotations"])
    seen: set[Miller] = set()
    chosen: list[Miller] = []
    span = range(highest, -highest - 1, -1)
    every = [(h, k, l) for h in span for k in span for l in span]  # noqa: E741  (h, k, l are their names)
    for index in sorted(every, key=lambda m: (sum(abs(i) for i in m), _order(m))):
        if index == (0, 0, 0) or np.gcd.reduce(index) != 1 or index in seen:
            continue
        chosen.append(index)
        for rotation in rotations:
            image = np.rint(np.array(index) @ rotation).astype(int)
            for sign in (1, -1):
                h, k, l = (int(i) for i in sign * image)  # noqa: E741  (h, k, l are their names)
                seen.add((h, k, l))
    return tuple(chosen)


def matches(
    cathode: Plane,
    mof: Plane,
    *,
    max_area_ang2: float = MAX_AREA_ANG2,
    max_strain: Dimensionless = MAX_STRAIN,
) -> tuple[Match, ...]:
    """Return the matches that no other one beats in both area and strain, the chosen one first.

    Chosen is the smallest cell whose largest principal strain is at most :data:`GOOD_STRAIN`, or else
    the one of least von Mises strain.

    Parameters
    ----------
    cathode, mof
        The two planes.
    max_area_ang2
        Largest supercell that is looked at.
    max_strain
        Largest principal strain of the framework.

    Raises
    ------
    StructureError
        When the area does not hold one cell of each plane, or nothing matches.
    """
    from pymatgen.analysis.interfaces.zsl import ZSLGenerator

    name = f"({miller_label(mof.miller)}) on ({miller_label(cathode.miller)})"
    if max(cathode.area_ang2, mof.area_ang2) >= max_area_ang2:
        raise StructureError(
            f"{name}: one cell already has {max(cathode.area_ang2, mof.area_ang2):.0f} A2, and supercells "
            f"are looked at up to {max_area_ang2:.0f}.",
            "Allow more (--max-area).",
        )
    generator = ZSLGenerator(  # type: ignore[no-untyped-call]
        max_area_ratio_tol=2.5 * max_strain,
        max_area=max_area_ang2,
        max_length_tol=1.5 * max_strain,
        max_angle_tol=1.5 * max_strain,
    )
    found: dict[tuple[object, ...], Match] = {}
    for pair in generator(_flat(mof), _flat(cathode)):
        match = _match(cathode, mof, np.array(pair.film_sl_vectors), np.array(pair.substrate_sl_vectors))
        low, high = match.principal
        if match.largest <= max_strain:
            found.setdefault((match.cells, match.mof_cells, round(low, 5), round(high, 5)), match)
    if not found:
        raise StructureError(
            f"No supercell of {name} up to {max_area_ang2:.0f} A2 matches within {max_strain:.1%} of strain.",
            "Allow a larger cell (--max-area) or more strain (--max-strain), or take another facet.",
        )
    front: list[Match] = []
    for match in sorted(found.values(), key=lambda m: (round(m.area_ang2, 3), m.von_mises)):
        if not front or match.von_mises < min(m.von_mises for m in front) - _SAME:
            front.append(match)
    good = [m for m in front if m.largest <= GOOD_STRAIN]
    best = good[0] if good else front[-1]
    return (best, *(m for m in front if m is not best))


def strained(
    mof: Structure, plane: Plane, strain: Sequence[Sequence[float]], *, normal_strain: Dimensionless = 0.0
) -> Structure:
    """Return a crystal under a homogeneous strain given in the frame of one of its planes.

    Parameters
    ----------
    strain
        In the plane, symmetric, (2, 2).
    normal_strain
        Along the normal.
    """
    stretch = np.eye(3)
    stretch[:2, :2] += np.array(strain)
    stretch[2, 2] += normal_strain
    turned = plane.frame.T @ stretch @ plane.frame
    return Structure(Lattice(mof.lattice.matrix @ turned), mof.species, mof.frac_coords)


def smallest_cell(mof: Structure) -> Structure:
    """Return the primitive cell in the crystal's own frame."""
    return cutting.primitive_of(mof)[0]


def _flat(plane: Plane) -> list[list[float]]:
    return [[float(x), float(y), 0.0] for x, y in plane.vectors_ang]


def _match(cathode: Plane, mof: Plane, film: NDArray[np.float64], below: NDArray[np.float64]) -> Match:
    film, below = film[:, :2], below[:, :2]
    # Columns map; the polar factor without the turn is what the framework has to bear.
    gradient = np.linalg.solve(film, below).T
    _, scale, directions = np.linalg.svd(gradient)
    strain = directions.T @ np.diag(scale) @ directions - np.eye(2)
    rows, mof_rows = _integers(below, cathode), _integers(film, mof)
    return Match(
        miller=cathode.miller,
        mof_miller=mof.miller,
        area_ang2=abs(float(np.linalg.det(below))),
        mof_area_ang2=abs(float(np.linalg.det(film))),
        cells=abs(round(float(np.linalg.det(np.array(rows))))),
        mof_cells=abs(round(float(np.linalg.det(np.array(mof_rows))))),
        transformation=rows,
        mof_transformation=mof_rows,
        strain=(
            (float(strain[0, 0]), float(strain[0, 1])),
            (float(strain[1, 0]), float(strain[1, 1])),
        ),
    )


def _integers(supercell: NDArray[np.float64], plane: Plane) -> Integers:
    (a, b), (c, d) = np.rint(supercell @ np.linalg.inv(plane.vectors_ang)).astype(int).tolist()
    return (a, b), (c, d)


def _order(index: Sequence[int]) -> tuple[int, ...]:
    """Put the last index first: (001), not (100), names its family where they are equivalent."""
    return tuple(-i for i in reversed(index))
