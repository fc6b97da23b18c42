"""Growing a molecule inside a confined space, bond by bond, from its torsions.

Bond lengths and angles stay those of the free molecule; only torsions are drawn. A population of
partial molecules grows together, which is what lets numpy do the work: at every bond each of them
tries several torsions, those that touch nothing survive, and a random choice of the survivors goes on.
Where none survives, the search goes back a few bonds, further each time, and draws again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.sparse.csgraph import shortest_path

from epilayer.model.elements import ALKALI
from epilayer.model.errors import StructureError
from epilayer.structures.molecules import bonds, build
from epilayer.structures.sites import ACCEPTORS, contact_target_ang

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from epilayer.model.ligand import Ligand
    from epilayer.structures.void import DistanceField, Grid

    Floats = NDArray[np.float64]
    Population = NDArray[np.float32]  # (members, atoms, 3), A; single precision, as many are kept

#: What a loaded pore must keep between atoms that are not bonded, A.
MIN_HEAVY_ANG: Final = 2.5
MIN_HYDROGEN_ANG: Final = 1.7
#: A start may lie so far inside that: relaxation opens it, while a chain that had to keep it from the
#: beginning would seldom find a way through the windows of a tight pore.
_INSIDE_ANG: Final = 0.15
#: Atoms up to so many bonds apart are held by the force field of the molecule, not by contacts.
BONDED_REACH: Final = 3
_POPULATION: Final = 384
_TORSIONS: Final = 12
_ROOT_TRIALS: Final = 12
#: Within so much of their limit atoms lie close; every such pair raises the chance to be kept e^x-fold,
#: which fills one cavity before the next and leaves room for what follows.
_CLOSE_ANG: Final = 1.0
_CLOSENESS: Final = 0.6
_SPREAD_DEG: Final = 15.0
#: Share of torsions drawn from the three staggered wells; the rest is uniform.
_STAGGERED_SHARE: Final = 0.7
_MAX_RETREATS: Final = 6


def contact_limit_ang(first: str, second: str, scale_factor: float = 1.0) -> float:
    """Least distance of two atoms that are not bonded when a guest is placed, A.

    A guest cation may touch a donor at the sum of their covalent radii (Na...O 2.32 A); every other
    pair keeps the distance of :func:`~epilayer.structures.sites.contact_target_ang`, scaled, but never
    much less than what the checks of the finished pore ask for.

    >>> round(contact_limit_ang("Na", "O"), 2), round(contact_limit_ang("Zn", "O"), 2)
    (2.32, 2.35)
    """
    target_ang = contact_target_ang(first, second)
    if {first, second}.intersection(ALKALI) and {first, second} & ACCEPTORS:
        return target_ang
    bar_ang = MIN_HYDROGEN_ANG if "H" in {first, second} else MIN_HEAVY_ANG
    return max(scale_factor * target_ang, bar_ang - _INSIDE_ANG)


@dataclass(frozen=True)
class _Step:
    """One torsion: what it places, and where in the frame of the bond before."""

    centre: int
    parent: int
    grandparent: int | None
    children: NDArray[np.int_]
    local: Floats  # (children, 3), the first child at torsion zero
    far: NDArray[np.bool_]  # (children, atoms): placed before, and more than 1-4 apart


@dataclass(frozen=True)
class _Root:
    """The first two atoms of a molecule (one, if it has no more)."""

    children: NDArray[np.int_]
    far: NDArray[np.bool_]
    length_ang: float


class Guest:
    """A molecule made ready to be grown.

    Parameters
    ----------
    ligand
        The molecule or ion; acyclic.

    Raises
    ------
    StructureError
        If the molecule cannot be built, or holds a ring.
    """

    def __init__(self, ligand: Ligand) -> None:
        self.ligand = ligand
        molecule = build(ligand)
        self.symbols = tuple(site.specie.symbol for site in molecule)
        self.coords: Floats = np.asarray(molecule.cart_coords, dtype=float)
        self.bonds = bonds(molecule)
        self.distances = topological_distances(len(self.symbols), self.bonds)
        if len(self.bonds) >= len(self.symbols) > 1:
            raise StructureError(
                f"{ligand.name} holds a ring, and only molecules without rings can be grown into a pore.",
                "Take an acyclic molecule.",
            )
        self.order, self.steps = self._plan()

    def _plan(self) -> tuple[tuple[int, int], list[_Step]]:
        """Start at one end of the longest path and follow the bonds; side groups before the main chain."""
        count = len(self.symbols)
        if count == 1:
            return (0, 0), []
        neighbours: list[list[int]] = [[] for _ in range(count)]
        for i, j in sorted(self.bonds):
            neighbours[i].append(j)
            neighbours[j].append(i)
        root = int(np.unravel_index(np.argmax(self.distances), self.distances.shape)[0])
        first = neighbours[root][0]
        placed = [root, first]
        steps: list[_Step] = []
        waiting: list[tuple[int | None, int, int]] = [(None, root, first)]
        while waiting:
            grandparent, parent, centre = waiting.pop()
            children = [n for n in neighbours[centre] if n != parent]
            if not children:
                continue
            # The longest branch goes first in the list, and is the last to be popped.
            children.sort(key=lambda n: (-self._reach(n, centre, neighbours), n))
            before = np.zeros(count, dtype=bool)
            before[placed] = True
            steps.append(
                _Step(
                    centre,
                    parent,
                    grandparent,
                    np.array(children),
                    self._local(grandparent, parent, centre, children),
                    before & (self.distances[children] > BONDED_REACH),
                )
            )
            placed.extend(children)
            waiting.extend((parent, centre, child) for child in children)
        return (root, first), steps

    def _reach(self, start: int, parent: int, neighbours: Sequence[Sequence[int]]) -> int:
        return 1 + max(
            (self._reach(n, start, neighbours) for n in neighbours[start] if n != parent), default=0
        )

    def _local(self, grandparent: int | None, parent: int, centre: int, children: Sequence[int]) -> Floats:
        x = self.coords
        reference = x[children[0]] if grandparent is None else x[grandparent]
        frame = _frames(reference[None], x[[parent]], x[[centre]])[0]
        local = (x[list(children)] - x[centre]) @ frame.T
        return _turned(local, -np.arctan2(local[0, 2], local[0, 1]))


def topological_distances(count: int, pairs: frozenset[tuple[int, int]]) -> NDArray[np.int_]:
    """Bonds between every two atoms, shape (count, count); ``count`` where nothing connects them."""
    adjacent = np.zeros((count, count))
    for i, j in pairs:
        adjacent[i, j] = 1
    distances = shortest_path(adjacent, directed=False, unweighted=True)
    return np.where(np.isinf(distances), count, distances).astype(int)


@dataclass(frozen=True)
class Grown:
    """The result of growing molecules.

    Attributes
    ----------
    coords
        Complete sets of molecules, A, shape (found, atoms of all, 3), unwrapped; empty where none was
        completed.
    placed
        Atoms of the set that got furthest.
    """

    coords: Floats
    placed: int


def grow(
    guests: Sequence[Guest], field: DistanceField, rng: np.random.Generator, *, scale_factor: float
) -> Grown:
    """Grow molecules, one after another, next to the atoms that a field holds.

    One population carries all of them, so that a first chain that leaves no room for the second dies out.

    Parameters
    ----------
    guests
        What to grow, in this order.
    field
        The host and the guests placed before.
    rng
        Source of every choice.
    scale_factor
        Scale of the contact table; smaller packs tighter.
    """
    return _Growth(guests, field, rng, scale_factor).run()


class _Growth:
    def __init__(
        self, guests: Sequence[Guest], field: DistanceField, rng: np.random.Generator, scale_factor: float
    ) -> None:
        self.field, self.rng = field, rng
        self.symbols = [symbol for guest in guests for symbol in guest.symbols]
        present = field.symbols
        self.open: dict[str, Grid] = {
            e: field.clearance({x: contact_limit_ang(e, x, scale_factor) for x in present})
            for e in sorted(set(self.symbols))
        }
        self.limits = np.array(
            [[contact_limit_ang(a, b, scale_factor) for b in self.symbols] for a in self.symbols]
        )
        self.matrix = field.lattice.matrix
        self.inverse = np.linalg.inv(self.matrix)
        self.steps = self._joined(guests)

    def _joined(self, guests: Sequence[Guest]) -> list[_Root | _Step]:
        steps: list[_Root | _Step] = []
        total, start = len(self.symbols), 0
        for guest in guests:
            before = np.zeros(total, dtype=bool)
            before[:start] = True
            root, first = guest.order
            pair = np.array([root] if root == first else [root, first]) + start
            length_ang = float(np.linalg.norm(guest.coords[first] - guest.coords[root]))
            steps.append(_Root(pair, np.repeat(before[None], len(pair), axis=0), length_ang))
            for step in guest.steps:
                far = np.repeat(before[None], len(step.children), axis=0)
                far[:, start : start + len(guest.symbols)] = step.far
                grandparent = None if step.grandparent is None else step.grandparent + start
                moved = (step.centre + start, step.parent + start, grandparent, step.children + start)
                steps.append(_Step(*moved, step.local, far))
            start += len(guest.symbols)
        return steps

    def run(self) -> Grown:
        history: list[Population] = [np.zeros((1, len(self.symbols), 3), dtype=np.float32)]
        deepest = retreats = 0
        while len(history) <= len(self.steps):
            step = self.steps[len(history) - 1]
            grown = (
                self._rooted(history[-1], step) if isinstance(step, _Root) else self._grown(history[-1], step)
            )
            if len(grown):
                history.append(grown)
                deepest = max(deepest, sum(len(s.children) for s in self.steps[: len(history) - 1]))
                continue
            retreats += 1
            if retreats > _MAX_RETREATS:
                return Grown(np.empty((0, len(self.symbols), 3)), deepest)
            # Twice as far back each time, in the end to the start.
            del history[max(1, len(history) - 2**retreats) :]
        return Grown(history[-1].astype(float), deepest)

    def _rooted(self, population: Population, root: _Root) -> Population:
        """Place the first two atoms of a molecule anywhere, in any direction."""
        free = self.field.points(self.open[self.symbols[root.children[0]]] > 0)
        if not len(free):
            return population[:0]
        parents = np.arange(_ROOT_TRIALS * _POPULATION) % len(population)
        starts = free[self.rng.integers(len(free), size=len(parents))]
        ways = self.rng.normal(size=starts.shape)
        ways *= root.length_ang / np.linalg.norm(ways, axis=1)[:, None]
        children = np.stack([starts, starts + ways], axis=1)[:, : len(root.children)]
        return self._survivors(population, parents, children, root)

    def _grown(self, population: Population, step: _Step) -> Population:
        """Place what follows a bond, at several torsions of it."""
        parents = np.repeat(np.arange(len(population)), _TORSIONS)
        at = population[parents].astype(float)
        if step.grandparent is None:
            reference = at[:, step.parent] + self.rng.normal(size=(len(parents), 3))
        else:
            reference = at[:, step.grandparent]
        frames = _frames(reference, at[:, step.parent], at[:, step.centre])
        local = _turned(step.local[None], self._torsions(len(parents))[:, None])
        return self._survivors(population, parents, at[:, None, step.centre] + local @ frames, step)

    def _survivors(
        self, population: Population, parents: NDArray[np.int_], children: Floats, step: _Root | _Step
    ) -> Population:
        """Keep what touches nothing; of more than a population, those that lie closer by chance stay."""
        fits = np.arange(len(children))
        for column, atom in enumerate(step.children):
            clearance = self.field.sample(self.open[self.symbols[atom]], children[fits, column])
            fits = fits[clearance > 0]
        clear, contacts = self._among_themselves(children[fits], population[parents[fits]], step)
        fits, contacts = fits[clear], contacts[clear]
        if len(fits) > _POPULATION:
            keys = _CLOSENESS * contacts + self.rng.gumbel(size=len(fits))
            fits = fits[np.sort(np.argpartition(-keys, _POPULATION)[:_POPULATION])]
        grown = population[parents[fits]]
        grown[:, step.children] = children[fits]
        return grown

    def _torsions(self, count: int) -> Floats:
        wells = np.radians(60.0 + 120.0 * self.rng.integers(3, size=count))
        wells = wells + np.radians(_SPREAD_DEG) * self.rng.normal(size=count)
        anywhere = self.rng.uniform(-np.pi, np.pi, size=count)
        return np.where(self.rng.random(count) < _STAGGERED_SHARE, wells, anywhere)

    def _among_themselves(
        self, children: Floats, before: Population, step: _Root | _Step
    ) -> tuple[NDArray[np.bool_], NDArray[np.int_]]:
        """Return which touch nothing grown before, and the number of atoms they lie close to."""
        clear = np.ones(len(children), dtype=bool)
        contacts = np.zeros(len(children), dtype=int)
        for column, atom in enumerate(step.children):
            others = np.flatnonzero(step.far[column])
            if not len(others):
                continue
            frac = (before[:, others] - children[:, None, column]) @ self.inverse
            away = (frac - np.round(frac)) @ self.matrix
            distances = np.sqrt(np.einsum("ijk,ijk->ij", away, away))
            limits = self.limits[atom, others]
            clear &= (distances > limits).all(axis=1)
            contacts += (distances < limits + _CLOSE_ANG).sum(axis=1)
        return clear, contacts


def _frames(reference: Floats, parent: Floats, centre: Floats) -> Floats:
    """Right-handed frames of bonds, rows (along the bond, towards the reference, across), (n, 3, 3)."""
    along = centre - parent
    along /= np.linalg.norm(along, axis=1)[:, None]
    towards = reference - parent
    towards -= np.einsum("ij,ij->i", towards, along)[:, None] * along
    towards /= np.linalg.norm(towards, axis=1)[:, None]
    return np.stack([along, towards, np.cross(along, towards)], axis=1)


def _turned(local: Floats, angle: Floats | float) -> Floats:
    """Rotate points in a bond's frame about the bond; angles in radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y, z = local[..., 0], local[..., 1], local[..., 2]
    return np.stack([x + 0 * cosine, cosine * y - sine * z, sine * y + cosine * z], axis=-1)
