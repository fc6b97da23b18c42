"""Compensation of polar cuts: half of the outer ions go to the other face.

After Tasker, J. Phys. C 12, 4977 (1979), doi 10.1088/0022-3719/12/22/036.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass
from math import comb, prod
from typing import TYPE_CHECKING

import numpy as np

from epilayer.structures import cutting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from epilayer.structures.cutting import Cut, Oriented, Position

MAX_SUPERCELL = 4
MAX_ARRANGEMENTS = 4096
MAX_TESTED = 256
CHARGE_TOLERANCE_E = 1e-3


@dataclass(frozen=True)
class Compensated:
    """A slab whose dipole was removed by moving ions from one face to the other.

    Parameters
    ----------
    positions
        The sites of the slab.
    multiple
        The in-plane supercell it needs, rows of integers, (2, 2).
    moved
        How many ions of each element moved, such as ``{"Na": 3, "F": 1}``.
    tried
        Number of arrangements ranked by electrostatic energy.
    equivalent
        Whether symmetry relates the two faces.
    """

    positions: frozenset[Position]
    multiple: NDArray[np.int64]
    moved: dict[str, int]
    tried: int
    equivalent: bool


def compensate(
    oriented: Oriented,
    cut: Cut,
    layers: int,
    equivalent: Callable[[frozenset[Position], NDArray[np.int64]], bool],
) -> Compensated | None:
    """Move half of the outermost ions across the slab, or return ``None`` when halves do not do it.

    A neutral repeat of height d and dipole p grows a slab whose dipole grows with its thickness. It
    is cancelled when the charge Q = -p/d is carried from the bottom to the top by a lattice
    translation; the outermost units of the bottom face that together hold 2Q are found, and half of
    each kind of them moves, in the smallest in-plane supercell in which the halves are whole.

    Parameters
    ----------
    oriented, cut, layers
        The polar slab: ``layers`` repeats from ``cut`` upward.
    equivalent
        Says whether the two faces of a slab are related by symmetry. Of the arrangements with equal
        composition, the one of lowest electrostatic energy *with equivalent faces* is taken; when
        none has them, the one of lowest energy.
    """
    dipole = cutting.dipole_e_ang(oriented, cutting.stack(cut, 1))
    needed = -dipole / oriented.repeat_ang
    group = _outer_group(oriented, cut, 2 * needed)
    if not group:
        return None
    kinds = Counter(_kind(oriented, unit) for unit in group)
    multiple = _smallest_supercell(oriented, list(kinds.values()))
    if multiple is None:
        return None
    base = cutting.spread(cutting.stack(cut, layers), multiple)
    copies: dict[tuple[str, ...], list[tuple[Position, ...]]] = {}
    for unit in group:
        for di, dj in cutting.in_plane_cosets(multiple):
            image = tuple(cutting.wrap((a, i + di, j + dj, k), multiple) for a, i, j, k in unit)
            copies.setdefault(_kind(oriented, unit), []).append(image)
    arrangements = list(_halves(list(copies.values())))
    energies = _energies_ev(oriented, base, multiple, arrangements, layers)
    order = np.lexsort((np.arange(len(arrangements)), np.round(energies, 5)))
    chosen, symmetric = arrangements[int(order[0])], False
    for rank in order[:MAX_TESTED]:
        if equivalent(_moved(base, arrangements[int(rank)], multiple, layers), multiple):
            chosen, symmetric = arrangements[int(rank)], True
            break
    moved = Counter(oriented.symbols[p[0]] for unit in chosen for p in unit)
    return Compensated(
        positions=_moved(base, chosen, multiple, layers),
        multiple=multiple,
        moved=dict(sorted(moved.items())),
        tried=len(arrangements),
        equivalent=symmetric,
    )


def _outer_group(oriented: Oriented, cut: Cut, charge_e: float) -> list[tuple[Position, ...]]:
    """Return the outermost units of the bottom face that together hold ``charge_e``, or nothing."""
    members: dict[int, list[Position]] = {}
    heights: dict[int, float] = {}
    for atom, k in enumerate(cut.offsets):
        unit = oriented.units[atom]
        lift = oriented.lifts[atom]
        anchor = k - lift[2]
        members.setdefault(unit, []).append((atom, lift[0], lift[1], anchor + lift[2]))
        heights[unit] = float(oriented.unit_heights_ang[atom] + k * oriented.repeat_ang)
    ordered = sorted(members, key=lambda u: (round(heights[u], 4), u))
    group: list[tuple[Position, ...]] = []
    held = 0.0
    previous: float | None = None
    for unit in ordered:
        # A group ends only between planes: ions at one height belong together.
        closed = previous is not None and heights[unit] - previous > cutting.PLANE_ANG
        if closed and abs(held - charge_e) < CHARGE_TOLERANCE_E and abs(held) > CHARGE_TOLERANCE_E:
            return group
        group.append(tuple(members[unit]))
        held += float(sum(oriented.charges_e[p[0]] for p in members[unit]))
        previous = heights[unit]
    return []


def _kind(oriented: Oriented, unit: Sequence[Position]) -> tuple[str, ...]:
    return tuple(sorted(str(oriented.structure[p[0]].specie) for p in unit))


def _smallest_supercell(oriented: Oriented, counts: Sequence[int]) -> NDArray[np.int64] | None:
    """Return the smallest, then most square in-plane supercell in which every count halves."""
    rows = oriented.structure.lattice.matrix[:2]
    for det in range(1, MAX_SUPERCELL + 1):
        if any(n * det % 2 for n in counts):
            continue
        found = []
        for a in (x for x in range(1, det + 1) if det % x == 0):
            for b in range(det // a):
                form = np.array([[a, b], [0, det // a]], dtype=np.int64)
                reduced = cutting.reduce_in_plane(form @ rows) @ form
                if np.linalg.det(reduced) < 0:
                    reduced[1] = -reduced[1]
                lengths = np.linalg.norm(reduced @ rows, axis=1)
                found.append((round(float(lengths.max()), 4), reduced.tolist()))
        return np.array(min(found)[1], dtype=np.int64)
    return None


def _halves(kinds: Sequence[Sequence[tuple[Position, ...]]]) -> Iterator[tuple[tuple[Position, ...], ...]]:
    """Yield every way to take half of each kind; a seeded sample of them when they are too many."""
    total = prod(comb(len(kind), len(kind) // 2) for kind in kinds)
    if total <= MAX_ARRANGEMENTS:
        for chosen in itertools.product(*(itertools.combinations(kind, len(kind) // 2) for kind in kinds)):
            yield tuple(itertools.chain.from_iterable(chosen))
        return
    rng = random.Random(0)  # noqa: S311  (a reproducible sample, not a secret)
    for _ in range(MAX_ARRANGEMENTS):
        yield tuple(itertools.chain.from_iterable(rng.sample(list(kind), len(kind) // 2) for kind in kinds))


def _moved(
    base: frozenset[Position], units: Sequence[Sequence[Position]], multiple: NDArray[np.int64], layers: int
) -> frozenset[Position]:
    gone = {p for unit in units for p in unit}
    arrived = {cutting.wrap((a, i, j, k + layers), multiple) for a, i, j, k in gone}
    return (base - gone) | arrived


def _energies_ev(
    oriented: Oriented,
    base: frozenset[Position],
    multiple: NDArray[np.int64],
    arrangements: Sequence[Sequence[Sequence[Position]]],
    layers: int,
) -> NDArray[np.float64]:
    """Return the Ewald energy of every arrangement in eV from one matrix of pair terms."""
    from pymatgen.analysis.ewald import EwaldSummation

    movable = sorted({p for units in arrangements for unit in units for p in unit})
    fixed = sorted(base - set(movable))
    arrivals = [cutting.wrap((a, i, j, k + layers), multiple) for a, i, j, k in movable]
    positions = [*fixed, *movable, *arrivals]
    structure = cutting.as_structure(oriented, positions, multiple, vacuum_ang=20.0)
    matrix = EwaldSummation(structure).total_energy_matrix  # type: ignore[no-untyped-call]
    index = {p: len(fixed) + n for n, p in enumerate(movable)}
    energies = np.empty(len(arrangements))
    for number, units in enumerate(arrangements):
        present = np.zeros(len(positions))
        present[: len(fixed) + len(movable)] = 1.0
        going = [index[p] for unit in units for p in unit]
        present[going] = 0.0
        present[np.array(going) + len(movable)] = 1.0
        energies[number] = present @ matrix @ present
    return energies
