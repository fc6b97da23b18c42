"""Charged slabs: mobile ions taken out of the slab of the discharged crystal, alike on both faces.

A crystal is cut discharged and charged in the cell, so a charged face is the discharged face less
some of its mobile ions, not a fresh cut of the charged crystal. The framework stays as it was cut:
no polyanion is touched. Which ions stay is found by electrostatics (Ewald energy of the formal
charges) among the choices that keep an operation of the slab's symmetry that turns it over: what is
left then has no dipole and two equivalent faces.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import replace
from math import comb, prod
from typing import TYPE_CHECKING

import numpy as np
import spglib
from pymatgen.core.composition import Composition

from epilayer.model.errors import StructureError, suggest
from epilayer.structures import crystals, orderings, slabs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from epilayer.model.cathode import Cathode, ChargeState
    from epilayer.structures.slab_types import SlabCut

MAX_CHOICES = 4096
"""Choices ranked per symmetry operation; beyond, a seeded sample of them."""
_MATCH_ANG = 0.05


def charge(cathode: Cathode, cut: SlabCut, *, state: str = "charged") -> SlabCut:
    """Take mobile ions out of a discharged slab until it has the composition of a charge state.

    Parameters
    ----------
    cathode
        Its ``states`` hold the formula and oxidation states to reach.
    cut
        A slab of the discharged cathode.
    state
        One of ``cathode.states``.

    Returns
    -------
    SlabCut
        The same slab with fewer ions and the oxidation states of the charge state; its reason says
        what was removed. ``broken_bonds`` and ``tasker`` stay those of the discharged cut.

    Raises
    ------
    StructureError
        For an unknown state, one without formula, a composition that is no removal of one element,
        or a slab in which no choice leaves two equivalent faces.
    """
    if state not in cathode.states:
        raise StructureError(f"{cathode.name} has no state {state!r}.", suggest(state, list(cathode.states)))
    wanted = cathode.states[state]
    element, kept = _kept(cathode, wanted, state, cut.structure)
    charges = {**cathode.oxidation_states, **wanted.oxidation_states}
    discharged = cut.structure
    decorated = crystals.with_charges(discharged, charges, cathode.name)
    sites = [i for i, s in enumerate(discharged) if s.specie.symbol == element]
    choices = _choices(discharged, sites, kept)
    if not choices:
        raise StructureError(
            f"{cathode.name} ({cut.termination}): no choice of {kept} of {len(sites)} {element} leaves two "
            "equivalent faces.",
            "Cut a wider slab, or a termination whose faces are equivalent.",
        )
    energies = _energies_ev(decorated, sites, choices)
    best = choices[int(np.lexsort((np.arange(len(choices)), np.round(energies, 5)))[0])]
    gone = set(sites) - best
    remaining = [i for i in range(len(decorated)) if i not in gone]
    structure = decorated.from_sites([decorated[i] for i in remaining])
    crystals.check(structure, f"{cathode.name} ({cut.termination}, {state})", ordered=True)
    charges_e = np.array([crystals.site_charge(s.species) for s in structure])
    bulk_ev_per_atom = min((o.electrostatic_ev_per_atom for o in _bulk(cathode, state)), default=float("nan"))
    energy_ev = orderings.electrostatic_energy_ev(structure)
    return replace(
        cut,
        structure=structure,
        ordering=f"{cut.ordering}, {state}",
        dipole_e_ang=float(charges_e @ structure.cart_coords[:, 2]),
        faces_equivalent=slabs.faces_equivalent(structure),
        cleavage_ev_per_ang2=(energy_ev - bulk_ev_per_atom * len(structure)) / (2 * cut.area_ang2),
        bulk_sites=tuple(cut.bulk_sites[i] for i in remaining),
        reason=(
            f"{cut.reason} {state.capitalize()}: {len(gone)} of {len(sites)} {element} removed to reach "
            f"{wanted.formula}, alike on both faces; the choice of lowest electrostatic energy among "
            f"{len(choices)} (the next is {_gap_ev(energies):.2f} eV higher)."
        ),
    )


def _kept(cathode: Cathode, wanted: ChargeState, state: str, slab: Structure) -> tuple[str, int]:
    """Return the element that leaves, and how many of its ions stay in this slab."""
    if wanted.formula is None:
        raise StructureError(
            f"{cathode.name}: the state {state!r} states no formula, so no slab can be charged to it.",
            "Give it a formula in the cathode's YAML, such as NaV2P2O10F.",
        )
    full, less = Composition(cathode.formula), Composition(wanted.formula)
    changed = [e for e in full.elements if abs(full[e] - less[e]) > 1e-6]  # noqa: PLR2004
    if len(changed) != 1 or set(less.elements) - set(full.elements) or less[changed[0]] > full[changed[0]]:
        raise StructureError(
            f"{cathode.name}: {wanted.formula} is not {cathode.formula} less some of one element.",
            "Write both formulas for the same framework, so that they differ in the mobile ion alone.",
        )
    element = changed[0].symbol
    others = slab.composition.remove_charges()
    present = int(others[element])
    share = less[element] / full[element] * present
    if abs(share - round(share)) > 1e-6:  # noqa: PLR2004
        raise StructureError(
            f"{cathode.name}: {share:.2f} of {present} {element} would stay in this slab: not whole.",
            "Cut a wider or thicker slab (min_width_ang, thickness_ang).",
        )
    return element, round(share)


def _bulk(cathode: Cathode, state: str) -> Sequence[orderings.Ordering]:
    """Return the orderings of the charged crystal, as far as its data describe one."""
    try:
        return orderings.orderings(cathode, state=state)
    except StructureError:
        return ()


def _choices(slab: Structure, sites: Sequence[int], kept: int) -> list[frozenset[int]]:
    """Return the sets of sites that may stay: each maps on itself under an operation that reverses c."""
    unions = (_unions(_orbits(permutation, sites), kept) for permutation in _turning(slab, sites))
    return list(dict.fromkeys(itertools.chain.from_iterable(unions)))


def _turning(slab: Structure, sites: Sequence[int]) -> list[dict[int, int]]:
    """Return how every operation that turns the slab over permutes the given sites."""
    cell = crystals.spglib_cell(slab)
    symmetry = spglib.get_symmetry(cell, symprec=slabs.FACE_TOLERANCE_ANG)
    if symmetry is None:
        return []
    coords = slab.frac_coords[sites]
    permutations: dict[tuple[int, ...], dict[int, int]] = {}
    for rotation, translation in zip(symmetry["rotations"], symmetry["translations"], strict=True):
        if rotation[2][2] != -1:
            continue
        apart = slab.lattice.get_all_distances(coords @ rotation.T + translation, coords)
        nearest = apart.argmin(axis=1)
        if apart.min(axis=1).max() <= 2 * _MATCH_ANG and len(set(nearest.tolist())) == len(sites):
            key = tuple(int(n) for n in nearest)
            permutations.setdefault(key, {sites[i]: sites[n] for i, n in enumerate(key)})
    return list(permutations.values())


def _orbits(permutation: dict[int, int], sites: Sequence[int]) -> list[tuple[int, ...]]:
    orbits: list[tuple[int, ...]] = []
    seen: set[int] = set()
    for start in sites:
        if start in seen:
            continue
        orbit = [start]
        while permutation[orbit[-1]] != start:
            orbit.append(permutation[orbit[-1]])
        seen.update(orbit)
        orbits.append(tuple(orbit))
    return orbits


def _unions(orbits: Sequence[tuple[int, ...]], kept: int) -> Iterator[frozenset[int]]:
    """Yield unions of orbits that hold ``kept`` sites; a seeded sample of them when they are too many."""
    sizes = Counter(len(o) for o in orbits)
    by_size = {n: [o for o in orbits if len(o) == n] for n in sizes}
    splits = [
        split
        for split in itertools.product(*(range(len(by_size[n]) + 1) for n in sizes))
        if sum(n * k for n, k in zip(sizes, split, strict=True)) == kept
    ]
    rng = random.Random(0)  # noqa: S311  (a reproducible sample, not a secret)
    for split in splits:
        pools = [(by_size[n], k) for n, k in zip(sizes, split, strict=True)]
        if prod(comb(len(pool), k) for pool, k in pools) <= MAX_CHOICES:
            for chosen in itertools.product(*(itertools.combinations(pool, k) for pool, k in pools)):
                yield frozenset(i for part in chosen for orbit in part for i in orbit)
        else:
            for _ in range(MAX_CHOICES):
                yield frozenset(i for pool, k in pools for orbit in rng.sample(pool, k) for i in orbit)


def _energies_ev(
    decorated: Structure, sites: Sequence[int], choices: Sequence[frozenset[int]]
) -> NDArray[np.float64]:
    """Return the Ewald energy of every choice in eV from one matrix of pair terms, (choices,)."""
    from pymatgen.analysis.ewald import EwaldSummation

    matrix = EwaldSummation(decorated).total_energy_matrix  # type: ignore[no-untyped-call]
    fixed = np.ones(len(decorated))
    fixed[list(sites)] = 0.0
    rest = float(fixed @ matrix @ fixed)
    field = 2 * (fixed @ matrix)
    energies = []
    for chosen in choices:
        index = sorted(chosen)
        energies.append(rest + field[index].sum() + matrix[np.ix_(index, index)].sum())
    return np.array(energies)


def _gap_ev(energies: NDArray[np.float64]) -> float:
    levels = np.unique(np.round(energies, 3))
    return float(levels[1] - levels[0]) if len(levels) > 1 else 0.0
