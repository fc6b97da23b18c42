"""Slabs of any crystal and plane: every termination checked, the admissible built, one chosen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Literal

import numpy as np

from epilayer.model.cathode import miller_label
from epilayer.model.errors import StructureError
from epilayer.structures import crystals, cutting, orderings, tasker
from epilayer.structures.slab_types import BrokenBonds, SlabCut, TaskerType, Termination

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from epilayer.model.cathode import Cathode, Facet, KeepBond, Miller
    from epilayer.structures.cutting import Cut, Oriented, Position
    from epilayer.structures.orderings import Ordering

POLAR_E_PER_ANG = 1e-3
"""Dipole per area above which a slab is polar: formal charges would drop 0.18 V across the vacuum."""
FACE_TOLERANCE_ANG = 0.05
_THICKNESS_SLACK = 1e-3
_PLANE_CHARGE_E = 1e-3
_ONE = np.eye(2, dtype=np.int64)


def cut(
    cathode: Cathode,
    facet: Facet | Miller,
    *,
    termination: str | None = None,
) -> SlabCut:
    """Cut one slab: the best admissible termination of the best ordering, or the one that is named.

    Parameters
    ----------
    cathode
        The cathode as data.
    facet
        A Miller index (thickness, vacuum and width as the cathode configures them) or a facet.
    termination
        Label of an admissible termination; unset takes the best.

    Raises
    ------
    StructureError
        When no termination is admissible, saying why each class of them fails, or the label is unknown.
    """
    found = admissible(cathode, facet)
    if termination is None:
        return found[0]
    named = {slab.termination: slab for slab in found}
    if termination not in named:
        raise StructureError(
            f"{cathode.name} has no admissible termination {termination!r}.",
            f"Admissible: {', '.join(sorted(named))}.",
        )
    return named[termination]


def admissible(
    cathode: Cathode,
    facet: Facet | Miller,
    *,
    ordering: Ordering | None = None,
    state: str | None = None,
    repeats: tuple[int, int] | None = None,
) -> tuple[SlabCut, ...]:
    """Return every admissible termination of a facet, best first, all of one ordering.

    One ordering, so that their energies can be compared: the one whose best slab is best.

    Parameters
    ----------
    ordering
        Cut this ordering only; unset lets the rule choose among those of the ordering rule.
    state
        As in :func:`epilayer.structures.crystals.build`.
    repeats
        In-plane repeats along a and b; unset repeats up to the facet's ``min_width_ang``.
    """
    wanted = cathode.facet(facet) if isinstance(facet, tuple) else facet
    choices = (ordering,) if ordering else _orderings(cathode, state)
    found, refusals = [], []
    for choice in choices:
        plane = np.array(choice.cell) @ np.array(wanted.miller)
        try:
            slabs = admissible_of(
                choice.structure,
                wanted,
                keep=cathode.keep_bonds,
                plane=plane,
                name=cathode.name,
                repeats=repeats,
            )
        except StructureError as refusal:
            refusals.append(refusal)
            continue
        found.append(tuple(replace(slab, ordering=choice.label) for slab in slabs))
    if not found:
        raise refusals[0]
    # A poor crystal may cleave cheaply, so bulk and faces count together, at the thickness asked for.
    bulk = {o.label: o.electrostatic_ev_per_atom for o in choices}

    def cost_ev_per_ang2(slab: SlabCut) -> float:
        atoms_per_ang3 = len(slab.structure) / (slab.area_ang2 * slab.thickness_ang)
        return bulk[slab.ordering] * atoms_per_ang3 * wanted.thickness_ang + 2 * slab.cleavage_ev_per_ang2

    best = min(found, key=lambda slabs: (not slabs[0].faces_equivalent, round(cost_ev_per_ang2(slabs[0]), 6)))
    return tuple(replace(slab, reason=f"{slab.reason} {_chosen(slab.ordering, choices)}") for slab in best)


def admissible_of(
    structure: Structure,
    facet: Facet,
    *,
    keep: Sequence[KeepBond] | None = None,
    plane: NDArray[np.float64] | None = None,
    name: str = "",
    repeats: tuple[int, int] | None = None,
) -> tuple[SlabCut, ...]:
    """Return every admissible termination of an ordered crystal, best first.

    Parameters
    ----------
    structure
        Ordered, with oxidation states.
    facet
        Plane and sizes.
    keep
        Bonds no cut may sever; ``None`` finds polyanions and metal-oxo bonds by rule.
    plane
        The plane in the reciprocal basis of ``structure``, when the facet's index is of another cell.
    name
        What to call the crystal in errors and reasons.
    repeats
        In-plane repeats; unset repeats up to ``facet.min_width_ang``.
    """
    name = name or structure.composition.reduced_formula
    oriented = _oriented(structure, facet.miller, keep, plane, name)
    every = cutting.cuts(oriented)
    whole = [c for c in every if not c.severed]
    drafts = [draft for c in whole for draft in _drafts(oriented, c, whole, facet)]
    made = [_finish(oriented, draft, facet, repeats) for draft in drafts]
    slabs = [slab for slab in made if not is_polar(slab.dipole_e_ang, slab.area_ang2)]
    if not slabs:
        raise _refusal(oriented, every, name, keep)
    ranked = _distinct(sorted(slabs, key=_rank))
    kinds = f"{len(every)} cuts of ({facet.label}), {len(whole)} keep every {_kept(keep)} bond, "
    return tuple(
        replace(slab, reason=f"{kinds}{len(ranked)} distinct slabs are non-polar. {slab.reason}")
        for slab in ranked
    )


def terminations_of(cathode: Cathode, facet: Facet | Miller, ordering: str) -> tuple[Termination, ...]:
    """Report every cut of a facet in one ordering of a cathode, named by its label, admissible or not."""
    wanted = cathode.facet(facet) if isinstance(facet, tuple) else facet
    chosen = next(o for o in _orderings(cathode) if o.label == ordering)
    plane = np.array(chosen.cell) @ np.array(wanted.miller)
    return terminations(
        chosen.structure, wanted.miller, keep=cathode.keep_bonds, plane=plane, name=cathode.name
    )


def terminations(
    structure: Structure,
    miller: Miller,
    *,
    keep: Sequence[KeepBond] | None = None,
    plane: NDArray[np.float64] | None = None,
    name: str = "",
) -> tuple[Termination, ...]:
    """Report every cut of a plane, admissible or not, by height."""
    name = name or structure.composition.reduced_formula
    oriented = _oriented(structure, miller, keep, plane, name)
    return tuple(_report(oriented, c) for c in cutting.cuts(oriented))


def hold_bottom(
    structure: Structure, thickness_ang: float, *, where: Literal["bottom", "centre"] = "bottom"
) -> Structure:
    """Return a copy whose bottom (or central) region is held fixed by ``selective_dynamics``.

    Parameters
    ----------
    structure
        A slab with c along the normal.
    thickness_ang
        Thickness of the region: from the lowest atom upward, or centred on the middle of the slab.
    where
        ``"bottom"`` for one-sided adsorption, ``"centre"`` for a slab whose both faces relax.

    Raises
    ------
    StructureError
        When nothing would remain free.
    """
    heights = structure.frac_coords[:, 2] * structure.lattice.c
    low, high = float(heights.min()), float(heights.max())
    if where == "bottom":
        held = heights <= low + thickness_ang + _THICKNESS_SLACK
    else:
        held = np.abs(heights - (low + high) / 2) <= thickness_ang / 2 + _THICKNESS_SLACK
    if thickness_ang < 0 or held.all():
        raise StructureError(
            f"Holding {thickness_ang:g} A of a slab of {high - low:.1f} A leaves no atom free.",
            "Hold a thinner region, or cut a thicker slab.",
        )
    frozen = structure.copy()
    frozen.add_site_property("selective_dynamics", [[not h] * 3 for h in held.tolist()])
    return frozen


def faces_equivalent(slab: Structure, tolerance_ang: float = FACE_TOLERANCE_ANG) -> bool:
    """Return whether an operation of the slab's symmetry turns its top face into its bottom face."""
    return cutting.turns_over(crystals.spglib_cell(slab), tolerance_ang)


def is_polar(dipole_e_ang: float, area_ang2: float) -> bool:
    """Return whether a slab of this dipole and area is polar."""
    return abs(dipole_e_ang) / area_ang2 > POLAR_E_PER_ANG


def _orderings(cathode: Cathode, state: str | None = None) -> tuple[Ordering, ...]:
    rule = cathode.crystal.ordering
    cells: Sequence[object] = rule.cells if rule else (None,)
    found: dict[tuple[str, float], Ordering] = {}
    for cell in cells:
        for o in orderings.orderings(cathode, cell, state=state):  # type: ignore[arg-type]
            # The same ordering written in a larger cell is not another one.
            found.setdefault((o.space_group, round(o.electrostatic_ev_per_atom, 6)), o)
    return tuple(found.values())


def _chosen(label: str, choices: Sequence[Ordering]) -> str:
    if len(choices) == 1:
        return f"Ordering: {label}."
    group = next(o.space_group for o in choices if o.label == label)
    return f"Ordering {label} ({group}): of {len(choices)}, its slab has the lowest electrostatic energy."


def _oriented(
    structure: Structure,
    miller: Miller,
    keep: Sequence[KeepBond] | None,
    plane: NDArray[np.float64] | None,
    name: str,
) -> Oriented:
    if miller == (0, 0, 0):
        raise StructureError(
            f"{name}: the Miller index (0 0 0) names no plane.", "Give three integers, not all 0."
        )
    crystals.check(structure, name, ordered=True)
    return cutting.orient(structure, np.array(miller, dtype=float) if plane is None else plane, miller, keep)


def _label(oriented: Oriented, c: Cut) -> str:
    # Ties round up in spite of the last digit of a float: a label must not depend on it.
    shift = f"{np.floor(c.height_ang / oriented.repeat_ang * 1000 + 0.5 + 1e-6) / 1000:.3f}".rstrip(
        "0"
    ).rstrip(".")
    return f"{miller_label(oriented.miller)}-t{shift}{'c' if c.corrugated else ''}"


def _report(oriented: Oriented, c: Cut) -> Termination:
    positions = cutting.stack(c, 1)
    dipole = cutting.dipole_e_ang(oriented, positions)
    broken, _ = _broken(oriented, positions, _ONE)
    return Termination(
        label=_label(oriented, c),
        height_ang=c.height_ang,
        severed=c.severed,
        corrugated=c.corrugated,
        dipole_e_ang=dipole,
        tasker=_tasker(oriented, dipole),
        broken=broken,
        faces_equivalent=cutting.equal_faces(oriented, positions, _ONE, FACE_TOLERANCE_ANG),
    )


def _tasker(oriented: Oriented, dipole_e_ang: float) -> TaskerType:
    if is_polar(dipole_e_ang, oriented.area_ang2):
        return "III"
    order = np.argsort(oriented.heights_ang)
    heights, charges = oriented.heights_ang[order], oriented.charges_e[order]
    starts = np.flatnonzero(np.diff(heights, prepend=-np.inf) > cutting.PLANE_ANG)
    planes = np.add.reduceat(charges, starts)
    if heights[0] + oriented.repeat_ang - heights[-1] <= cutting.PLANE_ANG and len(planes) > 1:
        planes[0] += planes[-1]
        planes = planes[:-1]
    return "I" if np.abs(planes).max() < _PLANE_CHARGE_E else "II"


@dataclass(frozen=True)
class _Draft:
    """A slab before it is widened and measured."""

    label: str
    positions: frozenset[Position]
    multiple: NDArray[np.int64]
    thickness_ang: float
    tasker: TaskerType
    why: str
    moved: tuple[tuple[str, int], ...] = ()


def _drafts(oriented: Oriented, bottom: Cut, whole: Sequence[Cut], facet: Facet) -> list[_Draft]:
    """Draft the slabs from one cut upward: whole repeats, compensated if polar, or up to another cut."""
    label = _label(oriented, bottom)
    layers = max(1, ceil((facet.thickness_ang - _THICKNESS_SLACK) / oriented.repeat_ang))
    dipole = cutting.dipole_e_ang(oriented, cutting.stack(bottom, 1))
    kind = _tasker(oriented, dipole)
    others = _between(oriented, bottom, whole, facet)
    if kind != "III":
        why = f"{label} is Tasker {kind}: neutral and without dipole as cut"
        thickness_ang = layers * oriented.repeat_ang
        return [_Draft(label, cutting.stack(bottom, layers), _ONE, thickness_ang, kind, why), *others]
    compensated = tasker.compensate(
        oriented,
        bottom,
        layers,
        lambda p, m: cutting.equal_faces(oriented, p, m, FACE_TOLERANCE_ANG),
    )
    if compensated is None:
        return others
    ions = " and ".join(f"{n} {e}" for e, n in compensated.moved.items())
    per = abs(round(np.linalg.det(compensated.multiple)))
    why = (
        f"{label} is Tasker III ({dipole:.1f} e.A per repeat): half of the outer ions ({ions} in "
        f"{per} in-plane cell{'s' if per > 1 else ''}) moved to the other face, the arrangement of lowest "
        f"electrostatic energy{' with equivalent faces' if compensated.equivalent else ''} "
        f"among {compensated.tried}"
    )
    draft = _Draft(
        f"{label}m",
        compensated.positions,
        compensated.multiple,
        layers * oriented.repeat_ang,
        kind,
        why,
        tuple(compensated.moved.items()),
    )
    return [draft, *others]


def _between(oriented: Oriented, bottom: Cut, whole: Sequence[Cut], facet: Facet) -> list[_Draft]:
    """Draft slabs that end at another cut than they start from, where the composition allows it.

    Many crystals repeat only after two or more neutral layers; a slab of an odd number of them is
    thinner than the next whole repeat, and often the one with equivalent faces.
    """
    drafts = []
    enough = facet.thickness_ang - _THICKNESS_SLACK
    full = ceil(enough / oriented.repeat_ang)
    formula = Counter(oriented.symbols)
    for top in whole:
        if top is bottom:
            continue
        # Material, not the distance between two cuts, is counted: cuts lie in gaps of any width.
        rise = _material_ang(oriented, cutting.stack(bottom, full, top=top)) - full * oriented.repeat_ang
        layers = ceil((enough - rise) / oriented.repeat_ang)
        positions = cutting.stack(bottom, layers, top=top)
        thickness_ang = _material_ang(oriented, positions)
        if thickness_ang < enough or thickness_ang > full * oriented.repeat_ang - _THICKNESS_SLACK:
            continue
        if not _same_formula(Counter(oriented.symbols[p[0]] for p in positions), formula):
            continue
        dipole = cutting.dipole_e_ang(oriented, positions)
        label = f"{_label(oriented, bottom)}:{_label(oriented, top).split('-t')[1]}"
        why = f"{label} ends at another cut than it starts from, at whole formula units"
        if not is_polar(dipole, oriented.area_ang2):
            drafts.append(_Draft(label, positions, _ONE, thickness_ang, _tasker(oriented, dipole), why))
    return drafts


def _material_ang(oriented: Oriented, positions: frozenset[Position]) -> float:
    """Return the thickness that these atoms fill at the density of the crystal."""
    return len(positions) / len(oriented.symbols) * oriented.repeat_ang


def _same_formula(found: Counter[str], formula: Counter[str]) -> bool:
    ratio = sum(found.values()) / sum(formula.values())
    return all(abs(found[e] - ratio * n) < 1e-6 for e, n in formula.items())  # noqa: PLR2004


def _finish(oriented: Oriented, draft: _Draft, facet: Facet, repeats: tuple[int, int] | None) -> SlabCut:
    """Measure a slab, widen it, and write down why it was cut so."""
    small = cutting.as_structure(
        oriented, sorted(draft.positions), draft.multiple, vacuum_ang=facet.vacuum_ang
    )
    equivalent = cutting.equal_faces(oriented, draft.positions, draft.multiple, FACE_TOLERANCE_ANG)
    area = oriented.area_ang2 * abs(round(float(np.linalg.det(draft.multiple))))
    bulk = oriented.electrostatic_ev_per_atom * len(small)
    cleavage = (orderings.electrostatic_energy_ev(small) - bulk) / (2 * area)
    times = repeats or _repeats(small, facet.min_width_ang)
    wide = np.diag(times) @ draft.multiple
    spread = sorted(cutting.spread(draft.positions, wide, of=draft.multiple))
    _refuse_loss(oriented, spread, len(draft.positions) * times[0] * times[1])
    # From the lowest atom up: layers stay together in files and in views.
    heights = oriented.cartesian(spread)[:, 2]
    spread = [spread[i] for i in np.lexsort((np.arange(len(spread)), np.round(heights, 3)))]
    structure = cutting.as_structure(oriented, spread, wide, vacuum_ang=facet.vacuum_ang)
    broken, valence = _broken(oriented, frozenset(spread), wide)
    faces = "its faces are equivalent" if equivalent else "its faces differ"
    worst = ", ".join(f"{b.per_nm2:.1f} {b.pair}" for b in broken) or "no bond"
    return SlabCut(
        structure=structure,
        miller=oriented.miller,
        termination=draft.label,
        ordering="ordered",
        thickness_ang=draft.thickness_ang,
        vacuum_ang=facet.vacuum_ang,
        area_ang2=oriented.area_ang2 * abs(round(float(np.linalg.det(wide)))),
        dipole_e_ang=cutting.dipole_e_ang(oriented, spread),
        tasker=draft.tasker,
        faces_equivalent=equivalent,
        broken_bonds=broken,
        broken_valence_per_nm2=valence,
        cleavage_ev_per_ang2=cleavage,
        moved=draft.moved,
        repeats=times,
        reason=f"{draft.why}; {faces}; it breaks {worst} per nm2 of face.",
        bulk_sites=tuple(oriented.parents[p[0]] for p in spread),
        frame=tuple(
            (float(x), float(y), float(z)) for x, y, z in oriented.frame @ cutting.turned_to_x(oriented, wide)
        ),
    )


def _refuse_loss(oriented: Oriented, spread: Sequence[Position], expected: int) -> None:
    """Stop at once if the bookkeeping of the cut ever lost, doubled or charged anything."""
    formula = Counter(oriented.symbols)
    found = Counter(oriented.symbols[p[0]] for p in spread)
    if len(spread) != expected or not _same_formula(found, formula):
        raise StructureError(
            f"A ({miller_label(oriented.miller)}) slab became {dict(found)}, no multiple of its crystal.",
            "This is a defect of epilayer: please report it with the crystal and the Miller index.",
        )


def _repeats(small: Structure, min_width_ang: float) -> tuple[int, int]:
    """Return the in-plane repeats that keep images at least ``min_width_ang`` apart along both directions."""
    a, b = small.lattice.matrix[0][:2], small.lattice.matrix[1][:2]
    area = abs(a[0] * b[1] - a[1] * b[0])
    apart = area / np.linalg.norm(b), area / np.linalg.norm(a)
    first, second = (max(1, ceil((min_width_ang - _THICKNESS_SLACK) / float(d))) for d in apart)
    return first, second


def _broken(
    oriented: Oriented, positions: frozenset[Position], multiple: NDArray[np.int64]
) -> tuple[tuple[BrokenBonds, ...], float]:
    """Return the bonds broken by pair, and their Pauling strength per nm^2 of one face."""
    faces_nm2 = 2 * oriented.area_ang2 * abs(round(float(np.linalg.det(multiple)))) / 100
    counts: Counter[str] = Counter()
    valence = 0.0
    for atom, bond in cutting.broken_bonds(oriented, positions, multiple):
        counts["-".join(sorted((oriented.symbols[atom], oriented.symbols[bond.partner])))] += 1
        cation = max((atom, bond.partner), key=lambda i: oriented.charges_e[i])
        valence += abs(oriented.charges_e[cation]) / len(oriented.bonds[cation])
    broken = tuple(BrokenBonds(pair, n / faces_nm2) for pair, n in sorted(counts.items()))
    return broken, float(valence / faces_nm2)


def _rank(slab: SlabCut) -> tuple[bool, float, int, bool, str]:
    """Order slabs of one crystal: equivalent faces, least electrostatic cost, fewest ions moved, flat."""
    return (
        not slab.faces_equivalent,
        round(slab.cleavage_ev_per_ang2, 4),
        sum(n for _, n in slab.moved),
        "c" in slab.termination,
        slab.termination,
    )


def _distinct(ranked: Sequence[SlabCut]) -> list[SlabCut]:
    """Drop slabs that are another one turned over or reached on another way.

    Equal electrostatic energy, broken bonds and thickness: cuts related by symmetry agree in all
    three to rounding, and different ones do not agree in the first.
    """
    seen: set[tuple[object, ...]] = set()
    distinct = []
    for slab in ranked:
        key = (
            round(slab.cleavage_ev_per_ang2, 4),
            round(slab.broken_valence_per_nm2, 3),
            round(slab.thickness_ang, 3),
            tuple((b.pair, round(b.per_nm2, 3)) for b in slab.broken_bonds),
        )
        if key not in seen:
            seen.add(key)
            distinct.append(slab)
    return distinct


def _kept(keep: Sequence[KeepBond] | None) -> str:
    if keep is None:
        return "polyanion and metal-oxo"
    return " and ".join(
        f"{k.a}-{k.b}" + (f" (up to {k.max_length_ang:g} A)" if k.max_length_ang else "") for k in keep
    )


def _refusal(
    oriented: Oriented, every: Sequence[Cut], name: str, keep: Sequence[KeepBond] | None
) -> StructureError:
    index = " ".join(str(i) for i in oriented.miller)
    whole = [c for c in every if not c.severed]
    if not whole:
        return StructureError(
            f"Every ({index}) cut of {name} severs a {_kept(keep)} bond ({len(every)} cuts tried).",
            "Choose another Miller index, or give keep_bonds (--keep) that a cut can respect.",
        )
    dipoles = ", ".join(
        f"{_label(oriented, c)} {cutting.dipole_e_ang(oriented, cutting.stack(c, 1)):+.1f}" for c in whole
    )
    return StructureError(
        f"No ({index}) cut of {name} is non-polar, and moving half of the outer ions compensates none "
        f"(dipoles in e.A per repeat: {dipoles}).",
        "Choose another ordering or Miller index.",
    )
