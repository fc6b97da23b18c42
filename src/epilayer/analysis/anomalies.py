"""Detect a molecule that desorbed, broke, sank, lost a hydrogen, or rebuilt its surface.

The first four findings are those of Open Catalyst 2020 (doi 10.1021/acscatal.0c04525), which compares
neighbour lists at 1 x and 1.5 x the covalent radii. The rules here differ where ionic surfaces and
molecules with hydrogen need it, and each threshold says why:

* *Desorbed* is decided by the gap between van der Waals spheres, not by bond lengths: a ring that lies
  flat on anions at 3.3 A is adsorbed.
* A bond is broken only when it is clearly longer than a bond; a broken bond of a ring that stays in
  one piece is an opened ring, not a dissociation.
* A hydrogen that changes its partner is named as such, with both partners. A neighbour list alone sees
  it only when it goes far.
* *Intercalated* is decided by what lies above an atom, not by which slab atoms it touches: in the trough
  of a rough facet a ligand touches atoms below the top layer, and is outside.
* Slab bonds are compared without a fixed tolerance, because P-O at 2.2 A is broken though V-O at 2.2 A is
  not; and alkali ions sit in soft windows: one that moves by less than 1 A is where it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from ase.data.vdw_alvarez import vdw_radii
from pymatgen.core.periodic_table import Element

from epilayer.analysis import shapes
from epilayer.analysis.anomaly_case import compared
from epilayer.analysis.shapes import FORMED_SCALE, SLAB_BROKEN_SCALE
from epilayer.model.anomaly import Anomaly, AnomalyKind
from epilayer.model.covalent import covalent_radii_ang
from epilayer.model.elements import ALKALI

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Molecule, Structure

    from epilayer.analysis.anomaly_case import Bond, Case


#: Gap beyond van der Waals contact from which on nothing holds the molecule. Hydrogen bonds (-0.8) and
#: flat-lying rings (0 to 0.2) stay far below; at 0.5 A the pair's dispersion is half that at contact.
DESORBED_GAP_ANG: Final = 0.5
#: An intact bond stays below 1.35 x its covalent sum (C-H 1.44, N-H 1.38, C-N 1.98 A): beyond, even
#: a hydrogen shared in a strong hydrogen bond (N-H 1.25 A) has left.
BROKEN_SCALE: Final = 1.35
#: A hydrogen belongs to a new partner once nearer to it than this (O-H 1.21, N-H 1.28 A), nearer than to
#: the old one in units of the covalent sums, and its old bond is longer than 1.15 x (N-H 1.17 A).
TRANSFERRED_SCALE: Final = 1.25
#: An alkali ion that moved less is in the same window: neighbouring sites are at least 2 A apart.
ALKALI_MOVED_ANG: Final = 1.0
#: A framework atom that moved more has left its site even where no bond counts it (an adatom).
FRAMEWORK_MOVED_ANG: Final = 1.5
#: An atom this far below the surface around it ...
INTERCALATED_DEPTH_ANG: Final = 1.0
#: ... with this share of its slab neighbours within 5 A above it, is inside.
INTERCALATED_COVER: Final = 0.3
#: Total Cremer-Pople amplitude (doi 10.1021/ja00839a011): chairs 0.55-0.63, five-rings 0.35-0.45,
#: aromatic rings below 0.05; thermal and binding distortion of an aromatic ring below 0.15.
PUCKERED_ANG: Final = 0.25
#: An upright ring is steeper than this to the surface, a flat one shallower than the second.
UPRIGHT_DEG: Final = 50.0
FLAT_DEG: Final = 20.0
#: Tilt by which a molecule has turned away, and the gain in distance from the ion it turned from.
TILTED_DEG: Final = 20.0
REPELLED_ANG: Final = 0.5
_NEW_REFERENCE: Final = "Relax the clean slab again from these slab atoms, and refer to the lower of the two."
_AROUND_ANG: Final = 5.0
_ANION_ELECTRONEGATIVITY: Final = 2.5


def find_anomalies(
    initial: Structure,
    final: Structure,
    *,
    clean_slab: Structure,
    molecule: Molecule | Structure,
) -> tuple[Anomaly, ...]:
    """Find what a relaxation changed in molecule and slab.

    Parameters
    ----------
    initial, final
        The pose before and after relaxation; slab atoms first, c along the normal.
    clean_slab
        The relaxed clean slab, same atoms in the same order as in the pose. With an unrelaxed one the
        ordinary relaxation of a fresh cut may be called a change.
    molecule
        The relaxed free molecule, its atoms in the order of the pose; bonded within 1.2 x the covalent sums.

    Returns
    -------
    tuple of Anomaly
        Empty when the molecule is adsorbed, whole, on its surface.

    Raises
    ------
    StructureError
        If the structures do not hold the same atoms in the same order.
    """
    case = compared(initial, final, clean_slab, molecule)
    transfers = _hydrogens_transferred(case)
    moved = frozenset(anomaly.atoms[0] for anomaly in transfers)
    rings = shapes.find_rings(case.bonds)
    inside = _intercalated(case, moved)
    # In a wide gallery a guest may touch neither wall; it is inside, not gone.
    found: list[Anomaly] = [*(inside or _desorbed(case)), *transfers]
    found += _rings_opened(case, rings)
    found += _dissociated(case, moved)
    found += _rearranged(case)
    whole = [
        ring
        for ring in rings
        if all(not _is_broken(case, bond) for bond in shapes.ring_bonds(ring, case.bonds))
    ]
    found += _rings_reshaped(case, whole)
    found += _slab_bonds_changed(case)
    found += _slab_atoms_moved(case)
    if not any(anomaly.disqualifies for anomaly in found):
        # A ring that lay down has turned too, but towards the surface.
        found += _rings_laid_down(case, whole) or _repelled(case)
    return tuple(found)


def closest_contact(structure: Structure, n_slab: int) -> tuple[str, float]:
    """Name the slab and adsorbate atoms that touch hardest, and their distance in A.

    Hardest: smallest distance in units of the sum of covalent radii, so that N...V at 2.2 A counts
    before H...O at 2.0 A.

    Parameters
    ----------
    structure
        Slab and adsorbate.
    n_slab
        Number of slab atoms, which come first.
    """
    symbols = [site.specie.symbol for site in structure]
    radii = covalent_radii_ang(symbols)
    distances = shapes.distances_ang(structure)[n_slab:, :n_slab]
    ratio = distances / (radii[n_slab:, None] + radii[None, :n_slab])
    i, j = (int(x) for x in np.unravel_index(np.argmin(ratio), ratio.shape))
    return f"{symbols[n_slab + i]}{n_slab + i}...{symbols[j]}{j}", float(distances[i, j])


def _is_broken(case: Case, bond: Bond) -> bool:
    return case.ratio(bond) > BROKEN_SCALE


def _desorbed(case: Case) -> list[Anomaly]:
    spheres = shapes.contact_radii_ang(case.symbols)
    gaps = (case.end - spheres[:, None] - spheres[None, :])[case.n_slab :, : case.n_slab]
    i, j = (int(x) for x in np.unravel_index(np.argmin(gaps), gaps.shape))
    gap = float(gaps[i, j])
    if gap <= DESORBED_GAP_ANG:
        return []
    i += case.n_slab
    return [
        Anomaly(
            kind=AnomalyKind.DESORBED,
            atoms=(i, j),
            what=f"the nearest contact, {case.name(i)}...{case.name(j)} at {case.end[i, j]:.2f} A, "
            "is beyond van der Waals touch",
            value=gap,
            threshold=DESORBED_GAP_ANG,
            unit="A",
            remedy="Try other poses; if all leave, the molecule does not hold at this level of theory.",
        )
    ]


def _hydrogens_transferred(case: Case) -> list[Anomaly]:
    """Hydrogens, of molecule or slab, whose nearest partner is another than it was."""
    partners = {h: x for i, j in case.bonds for h, x in ((i, j), (j, i)) if case.symbols[h] == "H"}
    heavy = np.array([index for index, symbol in enumerate(case.symbols) if symbol != "H"])
    for h in range(case.n_slab):
        if case.symbols[h] == "H":
            anchored = heavy[heavy < case.n_slab]
            if len(anchored):
                partners[h] = int(
                    anchored[np.argmin(case.clean[h, anchored] / (case.radii[h] + case.radii[anchored]))]
                )
    found = []
    for h, old in sorted(partners.items()):
        ratios = case.end[h, heavy] / (case.radii[h] + case.radii[heavy])
        new = int(heavy[np.argmin(ratios)])
        reach = TRANSFERRED_SCALE * float(case.radii[h] + case.radii[new])
        in_slab = h < case.n_slab and new < case.n_slab
        if new == old or in_slab or case.end[h, new] > reach or case.ratio((h, old)) < FORMED_SCALE:
            continue
        found.append(
            Anomaly(
                kind=AnomalyKind.HYDROGEN_TRANSFERRED,
                atoms=(h, old, new),
                what=f"{case.name(h)} went from {case.name(old)} to {case.name(new)}",
                value=float(case.end[h, new]),
                threshold=reach,
                unit="A",
                remedy="Study it as a reaction, or adsorb the deprotonated ligand.",
            )
        )
    return found


def _dissociated(case: Case, moved: frozenset[int]) -> list[Anomaly]:
    broken = [bond for bond in case.bonds if _is_broken(case, bond) and not moved & set(bond)]
    atoms = [index for index in case.adsorbate if index not in moved]
    kept = [bond for bond in case.bonds if bond not in broken and not moved & set(bond)]
    fragments = shapes.components(atoms, kept)
    if len(fragments) < 2:  # noqa: PLR2004  (in one piece)
        return []
    main = max(fragments, key=len)
    found = []
    for fragment in fragments:
        if fragment is main:
            continue
        cuts = [bond for bond in broken if len(fragment & set(bond)) == 1]
        if not cuts:
            continue
        worst = max(cuts, key=case.ratio)
        names = " ".join(case.name(index) for index in sorted(fragment))
        found.append(
            Anomaly(
                kind=AnomalyKind.DISSOCIATED,
                atoms=(*worst, *sorted(fragment - set(worst))),
                what=f"{names} came off with bond {case.name(worst[0])}-{case.name(worst[1])}",
                value=float(case.end[worst]),
                threshold=BROKEN_SCALE * float(case.radii[list(worst)].sum()),
                unit="A",
                remedy="Study it as a reaction, or start farther from the reactive site.",
            )
        )
    return found


def _rearranged(case: Case) -> list[Anomaly]:
    known = set(case.bonds)
    heavy = [index for index in case.adsorbate if case.symbols[index] != "H"]
    pairs = [
        (i, j)
        for k, i in enumerate(heavy)
        for j in heavy[k + 1 :]
        if (i, j) not in known
        and case.ratio((i, j)) < FORMED_SCALE
        and case.end[i, j] < 0.85 * case.start[i, j]
    ]
    return [
        Anomaly(
            kind=AnomalyKind.REARRANGED,
            atoms=(i, j),
            what=f"{case.name(i)} and {case.name(j)} formed a bond inside the molecule",
            value=float(case.end[i, j]),
            threshold=FORMED_SCALE * float(case.radii[i] + case.radii[j]),
            unit="A",
            remedy="Check the pose's start for overlap; it is another molecule now.",
        )
        for i, j in pairs
    ]


def _rings_opened(case: Case, rings: Sequence[tuple[int, ...]]) -> list[Anomaly]:
    found = []
    for ring in rings:
        broken = [bond for bond in shapes.ring_bonds(ring, case.bonds) if _is_broken(case, bond)]
        if not broken:
            continue
        worst = max(broken, key=case.ratio)
        found.append(
            Anomaly(
                kind=AnomalyKind.RING_OPENED,
                atoms=(*worst, *(index for index in ring if index not in worst)),
                what=f"the ring {' '.join(map(case.name, ring))} opened at "
                f"{case.name(worst[0])}-{case.name(worst[1])}",
                value=float(case.end[worst]),
                threshold=BROKEN_SCALE * float(case.radii[list(worst)].sum()),
                unit="A",
                remedy="Study it as a reaction; check the start for overlap with the slab.",
            )
        )
    return found


def _rings_reshaped(case: Case, rings: Sequence[tuple[int, ...]]) -> list[Anomaly]:
    found = []
    for ring in rings:
        if len(ring) < 4:  # noqa: PLR2004  (three atoms are always planar)
            continue
        own = [index - case.n_slab for index in ring]
        before, after = shapes.pucker_ang(case.reference[own]), shapes.pucker_ang(case.molecule_end[own])
        names = " ".join(map(case.name, ring))
        if before >= PUCKERED_ANG and after < before / 2:
            kind, what, limit = (
                AnomalyKind.RING_FLATTENED,
                f"the puckered ring {names} was flattened",
                before / 2,
            )
        elif before < PUCKERED_ANG / 2 and after >= PUCKERED_ANG:
            kind, what, limit = (
                AnomalyKind.RING_PUCKERED,
                f"the planar ring {names} lost its plane",
                PUCKERED_ANG,
            )
        else:
            continue
        found.append(
            Anomaly(
                kind=kind,
                atoms=tuple(ring),
                what=what,
                value=after,
                threshold=limit,
                unit="A",
                remedy="Compare with the free molecule at this level; refine the pose with another engine.",
            )
        )
    return found


def _intercalated(case: Case, moved: frozenset[int]) -> list[Anomaly]:
    deepest: tuple[float, int, float] | None = None
    for local, point in enumerate(case.molecule_end):
        index = case.n_slab + local
        # A hydrogen that changed its partner is named already; one that only points down is no guest.
        if index in moved or (case.symbols[index] == "H" and len(case.molecule_end) > 1):
            continue
        vectors, lateral = shapes.lateral_vectors(case.slab_end, point, case.cell)
        around = lateral < _AROUND_ANG
        near = np.linalg.norm(vectors, axis=1) < _AROUND_ANG
        if not around.any() or not near.any():
            continue
        depth = float(vectors[around, 2].max())
        cover = float((vectors[near, 2] > 0.3).mean())  # noqa: PLR2004  (clearly above, A)
        if (
            depth > INTERCALATED_DEPTH_ANG
            and cover >= INTERCALATED_COVER
            and (not deepest or depth > deepest[0])
        ):
            deepest = (depth, index, cover)
    if deepest is None:
        return []
    depth, index, cover = deepest
    return [
        Anomaly(
            kind=AnomalyKind.INTERCALATED,
            atoms=(index,),
            what=f"{case.name(index)} lies inside the slab, {100 * cover:.0f} % of its neighbours above it",
            value=depth,
            threshold=INTERCALATED_DEPTH_ANG,
            unit="A",
            remedy="Start higher, or study the insertion by itself.",
        )
    ]


def _slab_bonds_changed(case: Case) -> list[Anomaly]:
    n = case.n_slab
    symbols = case.symbols[:n]
    anion = np.array([float(Element(symbol).X) >= _ANION_ELECTRONEGATIVITY for symbol in symbols])
    mobile = np.array([symbol in ALKALI for symbol in symbols])
    hydrogen = np.array([symbol == "H" for symbol in symbols])
    sums = case.radii[:n, None] + case.radii[None, :n]
    end = case.end[:n, :n]
    may_bond = (anion[:, None] | anion[None, :]) | (not anion.any())
    counts = may_bond & ~(mobile | hydrogen)[:, None] & ~(mobile | hydrogen)[None, :]
    counts &= np.triu(np.ones((n, n), dtype=bool), 1)
    broken, formed = shapes.changed_bonds(case.clean, end, sums)
    found = []
    for pairs, verb in ((broken, "broke"), (formed, "formed")):
        listed = [(int(i), int(j)) for i, j in np.argwhere(pairs & counts)]
        if not listed:
            continue
        worst = max(listed, key=lambda pair: abs(float(end[pair] - case.clean[pair])))
        others = f" and {len(listed) - 1} more bonds" if len(listed) > 1 else ""
        scale = SLAB_BROKEN_SCALE if verb == "broke" else FORMED_SCALE
        found.append(
            Anomaly(
                kind=AnomalyKind.SURFACE_CHANGED,
                atoms=tuple(sorted({index for pair in listed for index in pair})),
                what=f"the slab {verb} {case.name(worst[0])}-{case.name(worst[1])} "
                f"({case.clean[worst]:.2f} -> {end[worst]:.2f} A){others}",
                value=float(end[worst]),
                threshold=scale * float(sums[worst]),
                unit="A",
                remedy=_NEW_REFERENCE,
            )
        )
    return found


def left_sites(structure: Structure, displacements_ang: Sequence[float] | None) -> tuple[str, ...]:
    """Return the atoms that moved farther than a slab's atoms may, each with its distance, farthest first."""
    if displacements_ang is None:
        return ()
    symbols = np.array([site.specie.symbol for site in structure])
    moved_ang = np.asarray(displacements_ang)
    left = np.flatnonzero(moved_ang > _may_move_ang(symbols))
    order = left[np.argsort(-moved_ang[left], kind="stable")]
    return tuple(f"{symbols[k]}{k} {moved_ang[k]:.1f} A" for k in order)


def _may_move_ang(symbols: NDArray[np.str_]) -> NDArray[np.float64]:
    return np.where(np.isin(symbols, ALKALI), ALKALI_MOVED_ANG, FRAMEWORK_MOVED_ANG)


def _slab_atoms_moved(case: Case) -> list[Anomaly]:
    symbols = np.array(case.symbols[: case.n_slab])
    limit_ang = _may_move_ang(symbols)
    left = np.flatnonzero((case.slab_moved > limit_ang) & (symbols != "H"))
    if not len(left):
        return []
    worst = int(left[np.argmax((case.slab_moved / limit_ang)[left])])
    others = f" and {len(left) - 1} more atoms" if len(left) > 1 else ""
    return [
        Anomaly(
            kind=AnomalyKind.SURFACE_CHANGED,
            atoms=tuple(int(index) for index in left),
            what=f"slab atom {case.name(worst)}{others} left its site",
            value=float(case.slab_moved[worst]),
            threshold=float(limit_ang[worst]),
            unit="A",
            remedy=_NEW_REFERENCE,
        )
    ]


def _rings_laid_down(case: Case, rings: Sequence[tuple[int, ...]]) -> list[Anomaly]:
    found = []
    for ring in rings:
        own = [index - case.n_slab for index in ring]
        before, after = (
            shapes.inclination_deg(case.molecule_start[own]),
            shapes.inclination_deg(case.molecule_end[own]),
        )
        if before >= UPRIGHT_DEG and after <= FLAT_DEG:
            found.append(
                Anomaly(
                    kind=AnomalyKind.RING_LAID_DOWN,
                    atoms=tuple(ring),
                    what=f"the ring {' '.join(map(case.name, ring))} stood ({before:.0f} deg), and lies flat",
                    value=after,
                    threshold=FLAT_DEG,
                    unit="deg",
                    remedy="A valid minimum of another pose class; name it by where it ended.",
                )
            )
    return found


def _repelled(case: Case) -> list[Anomaly]:
    """Find the carbon-bound hydrogen that a cation pushed away while the molecule tilted off the surface."""
    tilt = shapes.turned_deg(case.molecule_start, case.molecule_end)
    symbols = case.symbols[: case.n_slab]
    ionic = any(float(Element(symbol).X) >= _ANION_ELECTRONEGATIVITY for symbol in set(symbols))
    if tilt < TILTED_DEG or not ionic:
        return []
    neighbours = shapes.bond_graph(case.adsorbate, case.bonds)
    ions = [i for i, symbol in enumerate(symbols) if Element(symbol).is_metal]
    worst: tuple[float, int, int] | None = None
    for h in case.adsorbate if ions else ():
        if case.symbols[h] != "H" or not any(case.symbols[x] == "C" for x in neighbours[h]):
            continue
        if case.rise_ang[h - case.n_slab] <= 0:
            continue  # it slid along the surface, not off it
        ion = ions[int(np.argmin(case.start[h, ions]))]
        # To the nearest ion before and after: a hydrogen that only went over to another was not repelled.
        gain = float(case.end[h, ions].min() - case.start[h, ion])
        # Repulsive at the start: H inside the sum of its van der Waals and the ion's covalent radius.
        close = case.start[h, ion] < float(vdw_radii[1] + case.radii[ion])
        if close and gain >= REPELLED_ANG and (worst is None or gain > worst[0]):
            worst = (gain, h, ion)
    if worst is None:
        return []
    gain, h, ion = worst
    return [
        Anomaly(
            kind=AnomalyKind.LIGAND_ION_REPULSION,
            atoms=(h, ion),
            what=f"{case.name(h)} was pushed off {case.name(ion)}, the molecule tilted by {tilt:.0f} deg",
            value=gain,
            threshold=REPELLED_ANG,
            unit="A",
            remedy="The contact is repulsive; other poses of this class will tilt too.",
        )
    ]
