"""Which atom of the free molecule is which of the adsorbed one, though bonds broke or the order changed.

The bond graphs are matched with as few broken or formed bonds as possible; hydrogens follow the atom
they are bonded to. What the graphs leave open, the geometry decides, and what the geometry leaves open
too is either a symmetry of the free molecule (then every choice is the same bond) or reported as ambiguous.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, islice, permutations
from typing import TYPE_CHECKING, Any, Final

import networkx as nx
import numpy as np
from networkx.algorithms.isomorphism import GraphMatcher, categorical_node_match

from epilayer.model.covalent import bonded_pairs
from epilayer.model.errors import StructureError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from pymatgen.core import Molecule

    Floats = NDArray[np.float64]
    Bond = tuple[int, int]

#: Two maps are equally good where their misfits differ by less than this, or than that share of the lower.
_TIE_ANG: Final = 0.005
_TIE_SHARE: Final = 0.1
#: A free molecule that fits itself within this is symmetric, A.
_SYMMETRIC_ANG: Final = 0.1
#: A change of distance well beyond this says little more than that the atoms parted, A.
_SATURATION_ANG: Final = 1.0
#: Tighter than elsewhere: atoms across an angle, as the sulfurs of FSI, are no new bond.
_BOND_SCALE: Final = 1.15
_MOST_MAPS: Final = 5000
_MOST_CHANGES: Final = 2


@dataclass(frozen=True)
class AtomMap:
    """Atoms of the adsorbed molecule, in the order of the free one.

    Parameters
    ----------
    atoms
        ``atoms[i]`` is the adsorbed molecule's index of the free molecule's atom ``i``.
    broken, formed
        Bonds of the free molecule that are gone, in its indices; bonds that are new, in the adsorbed
        molecule's.
    rivals
        Other maps that are as good, where no symmetry of the free molecule makes them the same.
    hydrogen_rivals
        Those that leave open which hydrogen is which, and nothing else: for the other atoms they are a
        symmetry.
    hydrogens
        Of the free molecule.
    """

    atoms: tuple[int, ...]
    broken: tuple[Bond, ...]
    formed: tuple[Bond, ...]
    rivals: tuple[tuple[int, ...], ...] = ()
    hydrogen_rivals: tuple[tuple[int, ...], ...] = ()
    hydrogens: frozenset[int] = frozenset()

    def bond(self, first: int, second: int) -> Bond | None:
        """Return the adsorbed molecule's pair for a bond of the free one; ``None`` where it is open.

        It is open where an equally good map makes it another bond; one that only turns it round does not.
        """
        pair = self.atoms[first], self.atoms[second]
        with_hydrogen = not self.hydrogens.isdisjoint((first, second))
        rivals = self.rivals + (self.hydrogen_rivals if with_hydrogen else ())
        return pair if all({rival[first], rival[second]} == set(pair) for rival in rivals) else None


def map_molecule(free: Molecule, adsorbed: Molecule) -> AtomMap:
    """Map the atoms of a free molecule to those of the same molecule after adsorption.

    Parameters
    ----------
    free, adsorbed
        Both in one piece, without the surface, in any order, place and orientation.

    Raises
    ------
    StructureError
        If the elements differ, or more than two bonds broke or formed.
    """
    if sorted(_symbols(free)) != sorted(_symbols(adsorbed)):
        raise StructureError(
            f"{free.formula} cannot be mapped to {adsorbed.formula}: the atoms differ.",
            "Give the same molecule twice, without atoms of the surface.",
        )
    before, after = bonded_pairs(free, _BOND_SCALE), bonded_pairs(adsorbed, _BOND_SCALE)
    for changes in range(abs(len(before) - len(after)), _MOST_CHANGES + 1, 2):
        found = list(islice(_maps(free, adsorbed, before, after, changes), _MOST_MAPS + 1))
        if len(found) > _MOST_MAPS:
            raise StructureError(
                f"The molecule has more than {_MOST_MAPS} equivalent maps.",
                "Give both structures with the atoms in the same order.",
            )
        if found:
            return _choose(free, adsorbed, before, after, found)
    raise StructureError(
        f"The adsorbed {free.formula} cannot be mapped: more than {_MOST_CHANGES} bonds broke or formed.",
        "The molecule reacted; follow it through the frames of the relaxation instead.",
    )


def _symbols(molecule: Molecule) -> list[str]:
    return [str(site.specie.symbol) for site in molecule]


def _maps(
    free: Molecule, adsorbed: Molecule, before: Sequence[Bond], after: Sequence[Bond], changes: int
) -> Iterator[tuple[int, ...]]:
    """Yield every map of the heavy atoms and hydrogens that needs exactly this many changes of bonds."""
    n_broken = (changes + len(before) - len(after)) // 2
    targets = [
        _Skeleton(adsorbed, [b for b in after if b not in formed])
        for formed in combinations(after, changes - n_broken)
    ]
    for broken in combinations(before, n_broken):
        source = _Skeleton(free, [b for b in before if b not in broken])
        for target in targets:
            yield from source.onto(target)


class _Skeleton:
    """A molecule as heavy atoms that carry hydrogens."""

    def __init__(self, molecule: Molecule, bonds: Sequence[Bond]) -> None:
        self.molecule = molecule
        symbols = _symbols(molecule)
        light = {i for i, s in enumerate(symbols) if s == "H"}
        if len(light) == len(symbols):
            light = set()  # dihydrogen is its own skeleton
        self.hydrogens: dict[int, list[int]] = {i: [] for i in range(len(symbols)) if i not in light}
        self.loose = set(light)
        self.graph: Any = nx.Graph()
        for i, j in bonds:
            if (i in light) != (j in light):
                heavy, hydrogen = (j, i) if i in light else (i, j)
                if hydrogen in self.loose:
                    self.hydrogens[heavy].append(hydrogen)
                    self.loose.discard(hydrogen)
            elif i not in light:
                self.graph.add_edge(i, j)
        for i, attached in self.hydrogens.items():
            self.graph.add_node(i, kind=f"{symbols[i]}{len(attached)}")
        kinds = nx.get_node_attributes(self.graph, "kind")
        edges = sorted(tuple(sorted((kinds[i], kinds[j]))) for i, j in self.graph.edges)
        self.signature = (sorted(kinds.values()), edges, len(self.loose))

    def onto(self, other: _Skeleton) -> Iterator[tuple[int, ...]]:
        """Yield every isomorphism, with the hydrogens put where they fit best."""
        if self.signature != other.signature:
            return
        matcher = GraphMatcher(self.graph, other.graph, node_match=categorical_node_match("kind", ""))
        for heavy in matcher.isomorphisms_iter():
            yield self._with_hydrogens(other, heavy)

    def _with_hydrogens(self, other: _Skeleton, heavy: dict[int, int]) -> tuple[int, ...]:
        result = dict(heavy)
        here, there = np.asarray(self.molecule.cart_coords), np.asarray(other.molecule.cart_coords)
        for parent, hydrogens in self.hydrogens.items():
            near = sorted(nx.ego_graph(self.graph, parent, radius=2))
            targets = other.hydrogens[heavy[parent]]
            best = min(
                permutations(targets),
                key=lambda order: _rmsd_ang(
                    here[[*near, *hydrogens]],
                    there[[*(heavy[i] for i in near), *order]],
                ),
            )
            result.update(zip(hydrogens, best, strict=True))
        result.update(zip(sorted(self.loose), sorted(other.loose), strict=True))
        return tuple(result[i] for i in range(len(result)))


def _rmsd_ang(first: Floats, second: Floats) -> float:
    """Root mean square distance after the best proper rotation (Kabsch, doi 10.1107/S0567739476001873)."""
    a, b = first - first.mean(axis=0), second - second.mean(axis=0)
    u, singular, vt = np.linalg.svd(a.T @ b)
    singular[-1] *= np.sign(np.linalg.det(u @ vt))
    square = float((a**2).sum() + (b**2).sum() - 2.0 * singular.sum())
    return float(np.sqrt(max(square, 0.0) / len(a)))


def _choose(
    free: Molecule,
    adsorbed: Molecule,
    before: Sequence[Bond],
    after: Sequence[Bond],
    maps: Sequence[tuple[int, ...]],
) -> AtomMap:
    here, there = np.asarray(free.distance_matrix), np.asarray(adsorbed.distance_matrix)

    def misfit_ang(atoms: Sequence[int], of: Sequence[int] | slice = slice(None)) -> float:
        difference = np.abs(here[of] - there[np.ix_(atoms, atoms)][of])
        return float((difference / (1.0 + difference / _SATURATION_ANG)).mean())

    def are_as_good(rival_ang: float, lowest_ang: float) -> bool:
        return rival_ang <= lowest_ang * (1.0 + _TIE_SHARE) + _TIE_ANG

    ranked = sorted({atoms: misfit_ang(atoms) for atoms in maps}.items(), key=lambda item: (item[1], item[0]))
    best, lowest_ang = ranked[0]
    rivals = [rival for rival, rival_ang in ranked[1:] if are_as_good(rival_ang, lowest_ang)]
    # Hydrogens were put down atom by atom of the skeleton; the place of one that left is not significant.
    present = {tuple(sorted(bond)) for bond in after}
    kept = [(i, j) for i, j in before if tuple(sorted((best[i], best[j]))) in present]
    for hydrogens in _hydrogens_alike(free, kept):
        ways = [_permuted(best, hydrogens, order) for order in permutations(hydrogens)]
        local_ang = {way: misfit_ang(way, hydrogens) for way in ways}
        best = min(local_ang, key=lambda way: (local_ang[way], way))
        rivals += [way for way in ways if way != best and are_as_good(local_ang[way], local_ang[best])]
    place = {atom: i for i, atom in enumerate(best)}
    symbols = _symbols(free)
    heavy = [i for i, symbol in enumerate(symbols) if symbol != "H"]
    different, hydrogens_differ = [], []
    for rival in dict.fromkeys(rivals):
        swap = np.array([place[atom] for atom in rival])
        # No rival where it is a symmetry of the free molecule: as good a map of that onto itself.
        moved_ang = np.abs(here - here[np.ix_(swap, swap)])
        if float(moved_ang[np.ix_(heavy, heavy)].max(initial=0.0)) > _SYMMETRIC_ANG:
            different.append(rival)
        elif float(moved_ang.max()) > _SYMMETRIC_ANG:
            hydrogens_differ.append(rival)
    mapped = {tuple(sorted((best[i], best[j]))): (i, j) for i, j in before}
    return AtomMap(
        atoms=best,
        broken=tuple(bond for pair, bond in mapped.items() if pair not in present),
        formed=tuple(bond for bond in after if tuple(sorted(bond)) not in mapped),
        rivals=tuple(different),
        hydrogen_rivals=tuple(hydrogens_differ),
        hydrogens=frozenset(range(len(free))) - frozenset(heavy),
    )


def _hydrogens_alike(free: Molecule, bonds: Sequence[Bond]) -> list[list[int]]:
    """Return the hydrogens of each atom that carries more than one."""
    symbols = _symbols(free)
    carried: dict[int, list[int]] = {}
    for i, j in (way for bond in bonds for way in (bond, bond[::-1])):
        if symbols[j] == "H" and symbols[i] != "H":
            carried.setdefault(i, []).append(j)
    return [sorted(hydrogens) for hydrogens in carried.values() if len(hydrogens) > 1]


def _permuted(atoms: tuple[int, ...], places: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    result = list(atoms)
    for i, j in zip(places, order, strict=True):
        result[i] = atoms[j]
    return tuple(result)
