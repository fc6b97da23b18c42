"""Adsorption poses: where on the top face of a slab a molecule may start, and how it is turned there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import Field
from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Molecule, Structure
from scipy.spatial.transform import Rotation

from epilayer.model.base import Frozen
from epilayer.model.errors import StructureError
from epilayer.model.ligand import AnchorKind
from epilayer.model.units import Ang, Deg, Dimensionless
from epilayer.structures import comparison
from epilayer.structures.molecules import AnchorSite, bonds
from epilayer.structures.sites import (
    ACCEPTORS,
    CLASH_SCALE,
    Site,
    Surface,
    contact_target_ang,
    lateral_images,
    lateral_squares_ang2,
    lift_ang,
    open_sites,
    polar_hydrogens,
    targets_ang,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: The molecule and its own periodic image must stay this far apart.
MIN_IMAGE_ANG: Final = 2.0
#: Vacuum that must remain above the adsorbate.
MIN_CLEARANCE_ANG: Final = 5.0
#: While a named contact forms, the others may give way by so much; the relaxation settles them.
_GIVE: Final = 0.92
#: A named contact (N on V, H on O) may be this much longer than its target and still be called so.
_ANCHOR_SLACK_ANG: Final = 0.5
_POOL: Final = 600


class Contact(Frozen):
    """One pair of adsorbate and slab atom that nearly touch; ``ratio`` is distance over target."""

    label: str
    distance_ang: Ang
    ratio: Dimensionless


class Pose(Frozen):
    """A slab with a molecule on it.

    Parameters
    ----------
    structure
        The slab's atoms, in their order and place, then the molecule's in its own.
    n_slab
        Number of slab atoms; the adsorbate is everything after.
    anchor, kind
        Which part of the molecule faces down.
    site, place
        Where: e.g. ``"V12(5)"``, and the same with its figures.
    azimuth_deg
        Turn about the surface normal.
    tilt_deg
        Between the anchor's direction (the plane's normal, for a flat anchor) and the surface normal.
    label
        One name for job and report, unique within one search.
    seed
        Seed of the search.
    contacts
        Closest contacts first.
    """

    structure: Structure
    n_slab: int = Field(gt=0)
    anchor: str
    kind: AnchorKind
    site: str
    place: Site
    azimuth_deg: Deg
    tilt_deg: Deg
    label: str
    seed: int
    contacts: tuple[Contact, ...]

    @property
    def adsorbate_indices(self) -> tuple[int, ...]:
        """Indices of the adsorbate's atoms in ``structure``."""
        return tuple(range(self.n_slab, len(self.structure)))


def generate(
    slab: Structure,
    molecule: Molecule,
    *,
    anchors: Sequence[AnchorSite],
    count: int,
    seed: int,
    max_tilt_deg: float = 40.0,
    min_rmsd_ang: float = 0.5,
) -> list[Pose]:
    """Place a molecule on the top face of a slab in up to ``count`` different ways.

    Every combination of anchor and kind of site is sampled (donor atoms over cations, hydrogens over
    anions, planes flat over cations and between atoms, random orientations), each molecule is lowered
    until the first pair touches at its target distance (:func:`contact_target_ang`), and the
    poses kept cover the combinations first, then the widest spread within them. Poses that the
    surface's symmetry or the molecule's own maps onto each other are one pose.

    Parameters
    ----------
    slab
        c axis along the normal, vacuum above. Never moved; site properties are kept.
    molecule
        As from :func:`~epilayer.structures.molecules.build`.
    anchors
        As from :func:`~epilayer.structures.molecules.anchors`.
    count
        At most so many poses.
    seed
        The same seed gives the same poses.
    max_tilt_deg
        Largest tilt away from the site's open direction.
    min_rmsd_ang
        Poses nearer to each other than this are one, A.

    Returns
    -------
    list of Pose
        Fewer than ``count`` when there are no more different ones.

    Raises
    ------
    StructureError
        If the c axis is not the normal, the cell is too small for the molecule, the vacuum is too
        thin, or no pose is possible.
    """
    if count < 1:
        raise StructureError(f"{count} poses were asked for.", "Ask for at least one.")
    if not anchors:
        raise StructureError("The molecule has no anchor.", "Pass the result of molecules.anchors(ligand).")
    rng = np.random.default_rng(seed)
    surface = Surface(slab)
    automorphisms = comparison.automorphisms(molecule)
    candidates = _candidates(surface, molecule, _distinct(anchors, automorphisms), rng, max_tilt_deg)
    candidates = _clear_of_images(candidates, surface, molecule)
    _lower(candidates, surface, molecule)
    candidates = [c for c in candidates if c.gap <= _ANCHOR_SLACK_ANG and c.closest >= CLASH_SCALE]
    if not candidates:
        raise StructureError(
            "No pose is free of clashes.",
            "Check that the slab's top face is open, or raise the height offset or the tilt.",
        )
    chosen = _choose(candidates, count, surface, automorphisms, min_rmsd_ang=min_rmsd_ang)
    _check_clearance(chosen, surface)
    return [_pose(candidate, number, surface, molecule, seed) for number, candidate in enumerate(chosen)]


@dataclass
class _Candidate:
    """One placement before it is a pose."""

    anchor: AnchorSite
    site: Site
    azimuth_deg: float
    tilt_deg: float
    coords: Floats  # (n, 3), surface frame
    anchor_target: tuple[Floats, float] | None = None  # where the named contact is, and its distance
    gap: float = 0.0
    closest: float = 1.0
    score: float = 0.0


def _distinct(anchors: Sequence[AnchorSite], automorphisms: NDArray[np.int_]) -> list[AnchorSite]:
    """Anchors that the molecule's own symmetry does not make equal."""
    kept: dict[tuple[str, frozenset[int]], AnchorSite] = {}
    for anchor in anchors:
        images = {(anchor.name, frozenset(int(p[i]) for i in anchor.atoms)) for p in automorphisms}
        if not images & kept.keys():
            kept[anchor.name, frozenset(anchor.atoms)] = anchor
    return list(kept.values())


def _anchor_frame(anchor: AnchorSite, molecule: Molecule) -> tuple[Floats, Floats]:
    """Anchor point and unit direction that should face the surface, in the molecule's frame."""
    coords = np.asarray(molecule.cart_coords)
    first = anchor.atoms[0]
    neighbours = [j if i == first else i for i, j in bonds(molecule) if first in (i, j)]
    if anchor.kind is AnchorKind.FLAT:
        points = coords[list(anchor.atoms)]
        return points.mean(axis=0), np.asarray(np.linalg.svd(points - points.mean(axis=0))[2][-1])
    if anchor.kind is AnchorKind.FREE or not neighbours:
        return (coords.mean(axis=0) if anchor.kind is AnchorKind.FREE else coords[first]), np.array(
            [0.0, 0.0, 1.0]
        )
    away = coords[first] - coords[neighbours]
    away /= np.linalg.norm(away, axis=1)[:, None]
    direction = away.sum(axis=0)
    if np.linalg.norm(direction) < 0.3:  # noqa: PLR2004  (a planar centre: its lone pair is the plane's normal)
        direction = np.linalg.svd(coords[[first, *neighbours]] - coords[first])[2][-1]
    return coords[first], direction / np.linalg.norm(direction)


def _rotation_onto(start: Floats, end: Floats) -> Rotation:
    axis = np.cross(start, end)
    if np.linalg.norm(axis) < 1e-9:  # noqa: PLR2004  (parallel or opposite)
        if float(start @ end) > 0:
            return Rotation.identity()
        axis = np.cross(start, [1.0, 0.0, 0.0] if abs(start[0]) < 0.9 else [0.0, 1.0, 0.0])  # noqa: PLR2004
        return Rotation.from_rotvec(np.pi * axis / np.linalg.norm(axis))
    angle = np.arctan2(np.linalg.norm(axis), float(start @ end))
    return Rotation.from_rotvec(angle * axis / np.linalg.norm(axis))


def _suits(kind: AnchorKind, element: str) -> bool:
    if kind in {AnchorKind.DONOR_H, AnchorKind.FREE}:
        return kind is AnchorKind.DONOR_H and element in ACCEPTORS
    return bool(Element(element).is_metal) or (kind is AnchorKind.LONE_PAIR and element == "H")


def _places(
    kind: AnchorKind,
    sites: Sequence[tuple[Site, Floats]],
    surface: Surface,
    rng: np.random.Generator,
) -> list[tuple[Site, Floats, Floats]]:
    """Places that suit an anchor: site, position and open direction; one of each symmetry orbit."""
    places: list[tuple[Site, Floats, Floats]] = []
    per_element: Counter[str] = Counter()
    for site, direction in sites:
        if not _suits(kind, site.element) or per_element[site.element] >= 4:  # noqa: PLR2004
            continue
        position = surface.coords[site.index or 0]
        if any(_same_place(position, other, surface) for _, other, _ in places):
            continue
        per_element[site.element] += 1
        places.append((site, position, direction))
    randoms = 6 if kind is AnchorKind.FREE or not places else 3 if kind is AnchorKind.FLAT else 0
    up = np.array([0.0, 0.0, 1.0])
    for _ in range(randoms):
        spot = rng.random(2) @ surface.cell[:2]
        places.append((Site(element="random"), spot + surface.top_ang * up, up))
    return places


def _same_place(first: Floats, second: Floats, surface: Surface) -> bool:
    for matrix, shift in surface.operations:
        vector = first @ matrix + shift - second
        vector[:2] = wrapped(vector[None, :2], surface.cell)[0]
        if np.linalg.norm(vector) < 0.3:  # noqa: PLR2004  (A; no two atoms are that close)
            return True
    return False


def _candidates(
    surface: Surface,
    molecule: Molecule,
    anchors: Sequence[AnchorSite],
    rng: np.random.Generator,
    max_tilt_deg: float,
) -> list[_Candidate]:
    """Sample every suitable pair of anchor and place in several orientations."""
    sites = open_sites(surface)
    symbols = [site.specie.symbol for site in molecule]
    coords = np.asarray(molecule.cart_coords)
    pairs = [(anchor, place) for anchor in anchors for place in _places(anchor.kind, sites, surface, rng)]
    pool = max(_POOL * 12 // max(len(molecule), 12), 4 * len(pairs))
    turns = int(np.clip(pool // max(len(pairs), 1), 4, 16))
    candidates: list[_Candidate] = []
    up = np.array([0.0, 0.0, 1.0])
    for anchor, (site, position, open_direction) in pairs:
        origin, facing = _anchor_frame(anchor, molecule)
        target = 0.0
        if anchor.kind in {AnchorKind.LONE_PAIR, AnchorKind.DONOR_H} and site.index is not None:
            bond = anchor.kind is AnchorKind.DONOR_H or site.element == "H"
            target = contact_target_ang(symbols[anchor.atoms[0]], site.element, hydrogen_bond=bond)
        phase = rng.random()
        for turn in range(turns):
            azimuth_deg = 360.0 * (turn + phase) / turns % 360.0
            open_to = up
            if anchor.kind is AnchorKind.FREE:
                rotation = Rotation.random(random_state=rng)
            else:
                flat = anchor.kind is AnchorKind.FLAT
                # The open direction is where the missing neighbour was; straight down often has more room.
                open_to = up if turn % 2 else open_direction
                # A flat molecule may lie on either face, and hardly tilts.
                down = (up if turn % 2 else -up) if flat else -open_to
                tilt = np.deg2rad(rng.random() * (min(max_tilt_deg, 15.0) if flat else max_tilt_deg))
                # Every third stands straight, the orientation a relaxation most often returns to.
                tilt = 0.0 if turn % 3 == 0 else tilt
                tilt_axis = np.cross(down, Rotation.random(random_state=rng).apply([0.0, 0.0, 1.0]))
                tilt_axis /= max(float(np.linalg.norm(tilt_axis)), 1e-9)
                rotation = (
                    Rotation.from_rotvec(tilt * tilt_axis)
                    * Rotation.from_rotvec(np.deg2rad(azimuth_deg) * down)
                    * _rotation_onto(facing, down)
                )
            placed = rotation.apply(coords - origin) + position + target * open_to
            cosine = abs(float(rotation.apply(facing)[2]))
            candidates.append(
                _Candidate(
                    anchor=anchor,
                    site=site,
                    azimuth_deg=round(azimuth_deg, 1),
                    tilt_deg=round(float(np.degrees(np.arccos(min(cosine, 1.0)))), 1),
                    coords=placed,
                    anchor_target=(position, target) if target else None,
                )
            )
    return candidates


def _clear_of_images(candidates: list[_Candidate], surface: Surface, molecule: Molecule) -> list[_Candidate]:
    """Drop orientations whose periodic images touch; refuse a cell that forbids a whole kind."""
    length = float(np.asarray(molecule.distance_matrix).max())
    widths = surface.widths_ang
    if min(widths) >= length + MIN_IMAGE_ANG:
        return candidates
    repeats = [int(np.ceil((length + MIN_IMAGE_ANG) / width)) for width in widths]
    shifts = np.array(
        [
            na * surface.cell[0] + nb * surface.cell[1]
            for na, nb in product(*(range(-k, k + 1) for k in repeats))
            if (na, nb) > (0, 0)
        ]
    )
    kept = [c for c in candidates if _image_distance_ang(c.coords, shifts) >= MIN_IMAGE_ANG]
    refused = {c.anchor.name for c in candidates} - {c.anchor.name for c in kept}
    if refused:
        raise StructureError(
            f"{molecule.composition.reduced_formula} ({length:.1f} A long) comes within {MIN_IMAGE_ANG:g} A "
            f"of its image in a {widths[0]:.1f} x {widths[1]:.1f} A cell ({', '.join(sorted(refused))}).",
            f"Use a {repeats[0]} x {repeats[1]} supercell of this slab.",
        )
    return kept


def _image_distance_ang(coords: Floats, shifts: Floats) -> float:
    pairs = coords[None, :, :] - coords[:, None, :]
    return min(float(np.sqrt((((pairs + shift) ** 2).sum(axis=2)).min())) for shift in shifts)


def _lower(candidates: Sequence[_Candidate], surface: Surface, molecule: Molecule) -> None:
    """Move each candidate along the normal until its first pair touches, and score the result."""
    symbols = [site.specie.symbol for site in molecule]
    polar = polar_hydrogens(molecule)
    target = targets_ang(symbols, polar, surface.symbols, surface.is_polar_h)
    shifts = lateral_images(surface, float(target.max()) + 1.0)
    heights = surface.coords[:, 2]
    attractive = np.array(
        [[(Element(b).is_metal and a in ACCEPTORS) or (p and b in ACCEPTORS) for b in surface.symbols]
         for a, p in zip(symbols, polar, strict=True)]
    )  # fmt: skip
    for candidate in candidates:
        floor = target
        if candidate.anchor_target is not None and candidate.site.index is not None:
            floor = _GIVE * target
            floor[candidate.anchor.atoms[0], candidate.site.index] = candidate.anchor_target[1]
        squared = lateral_squares_ang2(surface, candidate.coords, shifts)
        above = candidate.coords[:, None, 2] - heights
        lift = lift_ang(surface, candidate.coords, squared, floor)
        candidate.coords[:, 2] += lift
        ratio = np.sqrt(squared + (above + lift) ** 2) / floor
        candidate.closest = float(ratio.min())
        if candidate.anchor_target is not None:
            position, wanted = candidate.anchor_target
            vector = candidate.coords[candidate.anchor.atoms[0]] - position
            vector[:2] = wrapped(vector[None, :2], surface.cell)[0]
            candidate.gap = float(np.linalg.norm(vector)) - wanted
        held = int(((ratio < 1.15) & attractive).sum())  # noqa: PLR2004  (within 15 % of its target)
        missing = 0.3 * min(candidate.site.missing, 2)
        candidate.score = missing + 0.5 * held - 2.0 * max(candidate.gap, 0.0) - candidate.tilt_deg / 90.0


def _choose(
    candidates: Sequence[_Candidate],
    count: int,
    surface: Surface,
    automorphisms: NDArray[np.int_],
    *,
    min_rmsd_ang: float,
) -> list[_Candidate]:
    """Take the best of every class of (anchor, element) first, then the farthest from those taken."""
    classes = _ranked_classes(candidates)
    coords = np.array([candidate.coords for candidate in candidates])
    distance = np.full(len(candidates), np.inf)
    chosen: list[int] = []
    first_round = True
    while len(chosen) < count:
        taken = 0
        for members in classes:
            free = [k for k in members if distance[k] >= min_rmsd_ang]
            if not free or len(chosen) == count:
                continue
            if first_round:
                pick = max(free, key=lambda k: candidates[k].score)
            else:
                # The better half by score, then the farthest: spread must not prefer poor ones.
                better = sorted(free, key=lambda k: -candidates[k].score)[: max(len(free) // 2, 1)]
                pick = max(better, key=lambda k: (distance[k], candidates[k].score))
            chosen.append(pick)
            taken += 1
            new = comparison.rmsd_ang(coords, coords[pick], surface, automorphisms)
            distance = np.minimum(distance, new)
        first_round = False
        if not taken:
            break
    return [candidates[k] for k in chosen]


def _ranked_classes(candidates: Sequence[_Candidate]) -> list[list[int]]:
    """Sort indices by class; kinds alternate, so that a short list already holds each kind."""
    by_kind: dict[AnchorKind, dict[tuple[str, str], list[int]]] = {}
    for index, candidate in enumerate(candidates):
        key = (candidate.site.element, candidate.anchor.name)
        by_kind.setdefault(candidate.anchor.kind, {}).setdefault(key, []).append(index)

    def strength(key: tuple[str, str]) -> tuple[float, str, str]:
        # Less electropositive cations hold a donor harder (V before Na), and the harder anion a
        # hydrogen; places between atoms come last.
        element = key[0]
        value = -1.0 if element == "random" else float(Element(element).X)
        return (-value, element, key[1])

    columns = [
        [members for _, members in sorted(by_kind.get(kind, {}).items(), key=lambda item: strength(item[0]))]
        for kind in (AnchorKind.LONE_PAIR, AnchorKind.DONOR_H, AnchorKind.FLAT, AnchorKind.FREE)
    ]
    rows = max((len(column) for column in columns), default=0)
    return [column[row] for row in range(rows) for column in columns if row < len(column)]


def _check_clearance(chosen: Sequence[_Candidate], surface: Surface) -> None:
    highest = max(float(candidate.coords[:, 2].max()) for candidate in chosen)
    left = float(surface.cell[2, 2]) - highest
    if left < MIN_CLEARANCE_ANG:
        vacuum = float(surface.cell[2, 2]) - surface.top_ang
        raise StructureError(
            f"Only {left:.1f} A of vacuum is left above the adsorbate (the slab has {vacuum:.1f} A).",
            f"Build the slab with at least {np.ceil(vacuum + 2 * MIN_CLEARANCE_ANG - left):.0f} A of vacuum.",
        )


def _pose(candidate: _Candidate, number: int, surface: Surface, molecule: Molecule, seed: int) -> Pose:
    slab, n_slab = surface.slab, len(surface.slab)
    structure = Structure(
        Lattice(slab.lattice.matrix),  # periodic along c too, whichever periodicity a surface builder set
        [site.specie.symbol for site in slab] + [site.specie.symbol for site in molecule],
        np.vstack([slab.frac_coords, surface.fractional(candidate.coords)]),
        charge=float(molecule.charge) or None,
        site_properties={
            key: [*values, *([_ADSORBATE_PROPERTY.get(key)] * len(molecule))]
            for key, values in slab.site_properties.items()
        },
    )
    azimuth, tilt = candidate.azimuth_deg, candidate.tilt_deg
    return Pose(
        structure=structure,
        n_slab=n_slab,
        anchor=candidate.anchor.name,
        kind=candidate.anchor.kind,
        site=str(candidate.site),
        place=candidate.site,
        azimuth_deg=azimuth,
        tilt_deg=tilt,
        label=f"{number:02d}-{candidate.anchor.name}-{candidate.site}-az{azimuth:.0f}-tilt{tilt:.0f}",
        seed=seed,
        contacts=_contacts(structure, n_slab, surface, molecule),
    )


#: What an adsorbate atom gets where the slab's atoms carry a property.
_ADSORBATE_PROPERTY: Final[dict[str, Any]] = {"selective_dynamics": [True, True, True], "magmom": 0.0}


def _contacts(structure: Structure, n_slab: int, surface: Surface, molecule: Molecule) -> tuple[Contact, ...]:
    symbols = [site.specie.symbol for site in structure]
    target = targets_ang(symbols[n_slab:], polar_hydrogens(molecule), surface.symbols, surface.is_polar_h)
    fractional = np.asarray(structure.frac_coords)
    distances = np.asarray(structure.lattice.get_all_distances(fractional[n_slab:], fractional[:n_slab]))
    ratio = distances / target
    near = sorted(np.argwhere(ratio < 1.2).tolist(), key=lambda pair: float(ratio[pair[0], pair[1]]))  # noqa: PLR2004
    return tuple(
        Contact(
            label=f"{symbols[n_slab + i]}{n_slab + i}...{symbols[j]}{j}",
            distance_ang=round(float(distances[i, j]), 3),
            ratio=round(float(ratio[i, j]), 3),
        )
        for i, j in near[:8]
    )
