"""Every symmetry-inequivalent way to make a partly occupied crystal whole in a chosen cell."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from math import comb, prod
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
import spglib
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from epilayer.model.errors import StructureError
from epilayer.structures import crystals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from epilayer.model.cathode import Cathode, OrderingRule

MAX_ARRANGEMENTS = 100_000
WHOLE_TOLERANCE = 1e-3
_MATCH_ANG = 0.05


@dataclass(frozen=True)
class Ordering:
    """One class of symmetry-equivalent orderings.

    Parameters
    ----------
    structure
        An ordered representative, with oxidation states.
    label
        Cell and rank, such as ``conventional-0``; rank 0 has the lowest electrostatic energy.
    cell
        Rows: the lattice vectors of ``structure`` in those of the crystal's conventional cell, (3, 3).
    degeneracy
        Number of orderings in the class.
    electrostatic_ev_per_atom
        Ewald energy of the formal charges.
    space_group
        Symbol of the ordered structure.
    """

    structure: Structure
    label: str
    cell: tuple[tuple[float, float, float], ...]
    degeneracy: int
    electrostatic_ev_per_atom: float
    space_group: str


def orderings(
    cathode: Cathode,
    cell: str | Sequence[Sequence[int]] | None = None,
    *,
    variant: str | None = None,
    state: str | None = None,
) -> tuple[Ordering, ...]:
    """Enumerate the inequivalent orderings of a cathode in one cell, lowest electrostatic energy first.

    Parameters
    ----------
    cathode
        The cathode; an ordered crystal gives itself as the only ordering.
    cell
        ``"primitive"``, ``"conventional"`` or three rows of integers (multiples of the conventional
        cell); unset takes the first cell of the ordering rule.
    variant, state
        As in :func:`epilayer.structures.crystals.build`.

    Raises
    ------
    StructureError
        When the crystal is disordered without a rule, a window's share is not whole, or the
        number of arrangements is out of reach.
    """
    crystal = crystals.crystal_of(cathode, variant)
    structure = crystals.build(cathode, variant=variant, state=state)
    if structure.is_ordered:
        return (_class_of(structure, "ordered", np.eye(3), 1),)
    if crystal.ordering is None:
        crystals.check(structure, cathode.name, ordered=True)
    rule = crystal.ordering
    assert rule is not None  # noqa: S101  (check() has refused)
    return enumerate_orderings(structure, rule, cell if cell is not None else rule.cells[0], cathode.name)


def enumerate_orderings(
    structure: Structure, rule: OrderingRule, cell: str | Sequence[Sequence[int]], name: str
) -> tuple[Ordering, ...]:
    """Enumerate the inequivalent orderings of a partly occupied structure in one cell."""
    rows, label = _cell_rows(structure, cell)
    big = _in_cell(structure, rows)
    windows = _windows(big, rule, name)
    shares = [_share(big, window, name) for window in windows]
    total = prod(comb(len(w), k) for w, k in zip(windows, shares, strict=True))
    if total > MAX_ARRANGEMENTS:
        raise StructureError(
            f"{name}: {total:,} arrangements of {rule.species} in {len(big)} sites are out of reach.",
            "Choose a smaller cell, or a smaller window_link_ang.",
        )
    permutations = _permutations(big)
    classes: dict[frozenset[int], int] = {}
    seen: dict[frozenset[int], frozenset[int]] = {}
    fillings = (itertools.combinations(window, share) for window, share in zip(windows, shares, strict=True))
    for chosen in itertools.product(*fillings):
        filled = frozenset(itertools.chain.from_iterable(chosen))
        if filled not in seen:
            orbit = {frozenset(int(p[i]) for i in filled) for p in permutations}
            seen.update(dict.fromkeys(orbit, filled))
            classes[filled] = len(orbit)
    partial = {i for window in windows for i in window}
    found = [
        _class_of(_ordered(big, partial - filled), label, rows, degeneracy)
        for filled, degeneracy in classes.items()
    ]
    found.sort(key=lambda o: (round(o.electrostatic_ev_per_atom, 6), o.degeneracy, o.space_group))
    return tuple(replace(o, label=f"{label}-{rank}") for rank, o in enumerate(found))


def electrostatic_energy_ev(structure: Structure) -> float:
    """Return the Ewald energy of the formal charges in eV per cell."""
    from pymatgen.analysis.ewald import EwaldSummation

    return float(EwaldSummation(structure).total_energy)  # type: ignore[no-untyped-call]


def _class_of(structure: Structure, label: str, rows: NDArray[np.float64], degeneracy: int) -> Ordering:
    return Ordering(
        structure=structure,
        label=label,
        cell=tuple((float(r[0]), float(r[1]), float(r[2])) for r in rows),
        degeneracy=degeneracy,
        electrostatic_ev_per_atom=electrostatic_energy_ev(structure) / len(structure),
        space_group=crystals.space_group(structure),
    )


def _cell_rows(structure: Structure, cell: str | Sequence[Sequence[int]]) -> tuple[NDArray[np.float64], str]:
    if cell == "conventional":
        return np.eye(3), "conventional"
    if cell == "primitive":
        # Only the lattice is taken: the sites are re-read from the crystal, in its own frame.
        standard = spglib.standardize_cell(
            crystals.spglib_cell(structure),
            to_primitive=True,
            no_idealize=True,
            symprec=crystals.SYMMETRY_TOLERANCE_ANG,
        )
        if standard is None:
            raise StructureError(
                "spglib finds no primitive cell.", "Check the crystal for overlapping sites."
            )
        rows = standard[0] @ np.linalg.inv(structure.lattice.matrix)
        clean = np.round(rows * 6) / 6  # entries of a centred lattice are multiples of 1/6
        return (clean if np.abs(clean - rows).max() < WHOLE_TOLERANCE else rows), "primitive"
    if isinstance(cell, str):
        raise StructureError(
            f"Unknown cell {cell!r}.", "Choose primitive, conventional or three rows of three integers."
        )
    rows = np.array(cell, dtype=float)
    if rows.shape != (3, 3) or abs(np.linalg.det(rows)) < 1 - WHOLE_TOLERANCE:
        raise StructureError(
            f"The cell {cell} spans no volume.", "Give three independent rows of three integers."
        )
    return rows, "x".join("".join(f"{int(x)}" for x in row) for row in rows)


def _in_cell(structure: Structure, rows: NDArray[np.float64]) -> Structure:
    """Return the sites of ``structure`` inside another cell of the same lattice."""
    lattice = Lattice(rows @ structure.lattice.matrix)
    reach = int(np.ceil(np.abs(rows).sum())) + 1
    offsets = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    species, coords = [], []
    inverse = np.linalg.inv(rows)
    for site in structure:
        fractional = (site.frac_coords + offsets) @ inverse
        wrapped = fractional - np.floor(fractional + 1e-6)
        inside = wrapped[np.abs(fractional - wrapped).max(axis=1) < 1e-6]  # noqa: PLR2004
        unique = np.unique(np.round(inside, 6), axis=0)
        species += [site.species] * len(unique)
        coords += [inside[np.abs(inside - u).max(axis=1).argmin()] for u in unique]
    cell = Structure(lattice, species, coords)
    expected = len(structure) * abs(np.linalg.det(rows))
    if abs(len(cell) - expected) > WHOLE_TOLERANCE:
        raise StructureError(
            f"The cell {rows.tolist()} does not consist of lattice vectors of the crystal.",
            "Choose primitive, conventional, or multiples of the conventional cell.",
        )
    return cell


def _windows(structure: Structure, rule: OrderingRule, name: str) -> list[list[int]]:
    """Group the partly occupied sites into windows; a window must not run through the crystal."""
    partial = [i for i, site in enumerate(structure) if not site.is_ordered]
    strangers = {
        str(structure[i].species)
        for i in partial
        if {e.symbol for e in structure[i].species.elements} != {rule.species}
    }
    if strangers:
        raise StructureError(
            f"{name}: {', '.join(sorted(strangers))} is partly occupied, and the rule orders {rule.species}.",
            "Only vacancies of one species can be ordered; give an ordered crystal instead.",
        )
    first, second, _, _ = structure.get_neighbor_list(rule.window_link_ang, exclude_self=True)
    links: Any = nx.Graph()
    links.add_edges_from(zip(first.tolist(), second.tolist(), strict=True))
    linked = links.subgraph(partial).copy()
    linked.add_nodes_from(partial)
    return sorted(sorted(window) for window in nx.connected_components(linked))


def _share(structure: Structure, window: Sequence[int], name: str) -> int:
    share = sum(structure[i].species.num_atoms for i in window)
    if abs(share - round(share)) > WHOLE_TOLERANCE:
        raise StructureError(
            f"{name}: a window of {len(window)} sites holds {share:.3f} atoms, which is not whole.",
            "Choose window_link_ang so that the occupancies of each window add up to a whole number.",
        )
    return round(share)


def _permutations(structure: Structure) -> NDArray[np.int64]:
    """Return how every symmetry operation of the cell permutes its sites, (operations, sites)."""
    cell = crystals.spglib_cell(structure)
    symmetry = spglib.get_symmetry(cell, symprec=crystals.SYMMETRY_TOLERANCE_ANG)
    coords, kinds = structure.frac_coords, np.array(cell[2])
    permutations = []
    for rotation, translation in zip(symmetry["rotations"], symmetry["translations"], strict=True):
        image = coords @ rotation.T + translation
        apart = structure.lattice.get_all_distances(image, coords)
        apart[kinds[:, None] != kinds[None, :]] = np.inf
        nearest = apart.argmin(axis=1)
        if apart.min(axis=1).max() > _MATCH_ANG or len(set(nearest)) != len(coords):
            raise StructureError(
                "A symmetry operation does not map the crystal on itself.",
                "Check for nearly overlapping sites.",
            )
        permutations.append(nearest)
    return np.unique(np.array(permutations, dtype=np.int64), axis=0)


def _ordered(structure: Structure, empty: set[int]) -> Structure:
    kept = [i for i in range(len(structure)) if i not in empty]
    species = [next(iter(structure[i].species)) for i in kept]
    ordered: Structure = Structure(structure.lattice, species, structure.frac_coords[kept])
    return ordered
