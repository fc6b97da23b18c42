"""Anomaly rules on trajectories whose label is known by construction, beside Open Catalyst's four flags.

Each case starts from a pose of ``structures.poses`` on a real slab, is bent into what its label says
(a proton is carried over, a ring is flattened, a methyl torn off ...), then shaken. The sizes are drawn
from the ranges such events have, with hard negatives beside them: stretched N-H, physisorbed molecules,
alkali ions moved within their window, molecules that slid or turned. A grey zone between (a bond at 1.3 x
its length, a gap of 0.4 to 1 A) is left out: there the label itself would be a matter of taste.

The peer is the rule of Open Catalyst 2020 (doi 10.1021/acscatal.0c04525, fairchem's DetectTrajAnomaly),
written here anew from its description, with the 0.3 A per atom that ASE's neighbour lists add by default:
neighbours within the sum of covalent radii + 0.6 A; dissociated when the adsorbate's neighbours differ,
desorbed when none of its atoms is within 1.5 x the sum + 0.6 A of a slab atom, intercalated when one
neighbours an atom below the surface, surface changed when a slab bond is gone or new even with the 1.5 x
cushion. It has no word for a carried-over hydrogen or an opened ring; both count as right for its
"dissociated".

Run: python benchmarks/anomalies.py [count per recipe]
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.build import bulk, fcc111, surface
from ase.data import atomic_numbers, covalent_radii
from pymatgen.core.structure import Structure
from scipy.spatial.transform import Rotation

from epilayer.analysis import shapes
from epilayer.analysis.anomalies import find_anomalies
from epilayer.model.anomaly import AnomalyKind
from epilayer.model.errors import StructureError
from epilayer.model.ligand import AnchorKind, Ligand
from epilayer.structures import molecules, poses
from epilayer.structures.sites import Surface, open_sites

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ase import Atoms
    from pymatgen.core.structure import Molecule

LIGANDS = {
    "triazole": ("C2N3H3", "c1c[nH]nn1"),
    "2-methylimidazole": ("C4H6N2", "Cc1ncc[nH]1"),
    "water": ("H2O", "O"),
    "ethanol": ("C2H6O", "CCO"),
    "dmf": ("C3H7NO", "CN(C)C=O"),
    "piperidine": ("C5H11N", "C1CCNCC1"),
    "tetrahydrofuran": ("C4H8O", "C1CCOC1"),
    "dioxane": ("C4H8O2", "C1COCCO1"),
}
MAX_FLAT_DEG = 12.0
OC20_DISSOCIATED = {
    AnomalyKind.DISSOCIATED,
    AnomalyKind.REARRANGED,
    AnomalyKind.RING_OPENED,
    AnomalyKind.HYDROGEN_TRANSFERRED,
}


@dataclass(frozen=True)
class Case:
    """One relaxation with its true findings."""

    recipe: str
    truth: frozenset[AnomalyKind]
    initial: Structure
    final: Structure
    clean: Structure
    molecule: Molecule


def _structure(atoms: Atoms) -> Structure:
    return Structure(atoms.cell[:], atoms.get_chemical_symbols(), atoms.get_scaled_positions())


def _slabs() -> dict[str, Structure]:
    def rocksalt(name: str, a: float, repeat: int) -> Structure:
        return _structure(
            surface(bulk(name, "rocksalt", a=a, cubic=True), (0, 0, 1), 2, vacuum=11.0) * (repeat, repeat, 1)
        )

    slabs = {
        "MgO(001)": rocksalt("MgO", 4.212, 3),
        "NaF(001)": rocksalt("NaF", 4.634, 3),
        "Cu(111)": _structure(fcc111("Cu", (4, 4, 4), a=3.615, vacuum=11.0)),
    }
    # A layered host: the same oxide with a gallery of 7.5 A between its halves.
    layered = slabs["MgO(001)"].copy()
    upper = [i for i, z in enumerate(layered.cart_coords[:, 2]) if z > layered.cart_coords[:, 2].mean()]
    matrix = np.array(layered.lattice.matrix)
    coords = np.array(layered.cart_coords)
    coords[upper, 2] += 5.4
    matrix[2, 2] += 5.4
    slabs["layered"] = Structure(matrix, layered.species, coords, coords_are_cartesian=True)
    return slabs


@dataclass
class Bench:
    """Draws poses and bends them."""

    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.slabs = _slabs()
        self.molecules: dict[str, tuple[Ligand, Molecule]] = {}
        for name, (formula, smiles) in LIGANDS.items():
            ligand = Ligand(name=name, formula=formula, smiles=smiles, source="bench")
            self.molecules[name] = (ligand, molecules.build(ligand, 1))
        self.pools: dict[tuple[str, str], list[poses.Pose]] = {}

    def pool(self, slab: str, ligand: str) -> list[poses.Pose]:
        """Poses of a ligand on a slab, made once."""
        if (slab, ligand) not in self.pools:
            thing, molecule = self.molecules[ligand]
            self.pools[slab, ligand] = poses.generate(
                self.slabs[slab], molecule, anchors=molecules.anchors(thing), count=16, seed=len(self.pools)
            )
        return self.pools[slab, ligand]

    def pick(self, slabs: list[str], ligands: list[str], *kinds: AnchorKind) -> tuple[poses.Pose, str, str]:
        """Draw a pose."""
        while True:
            slab, ligand = str(self.rng.choice(slabs)), str(self.rng.choice(ligands))
            fitting = [p for p in self.pool(slab, ligand) if not kinds or p.kind in kinds]
            if fitting:
                return fitting[int(self.rng.integers(len(fitting)))], slab, ligand

    def shaken(self, structure: Structure, amount_ang: float = 0.03) -> Structure:
        """Return what thermal noise and a rigid drift leave of a structure."""
        coords = np.array(structure.cart_coords)
        coords += self.rng.normal(0.0, amount_ang, coords.shape).clip(-2.5 * amount_ang, 2.5 * amount_ang)
        coords += self.rng.uniform(-0.3, 0.3, 3)
        return Structure(structure.lattice, structure.species, coords, coords_are_cartesian=True)

    def case(
        self,
        recipe: str,
        truth: set[AnomalyKind],
        pose: poses.Pose,
        coords: np.ndarray,
        slab: str,
        ligand: str,
    ) -> Case:
        """Make a case of bent coordinates."""
        final = Structure(pose.structure.lattice, pose.structure.species, coords, coords_are_cartesian=True)
        return Case(
            recipe,
            frozenset(truth),
            pose.structure,
            self.shaken(final),
            self.slabs[slab],
            self.molecules[ligand][1],
        )


ALL = ["MgO(001)", "NaF(001)", "Cu(111)"]
IONIC = ["MgO(001)", "NaF(001)"]
ANY = list(LIGANDS)
PUCKERED = ["piperidine", "tetrahydrofuran", "dioxane"]
AROMATIC = ["triazole", "2-methylimidazole"]


def _bonds(bench: Bench, ligand: str) -> list[tuple[int, int]]:
    return sorted(molecules.bonds(bench.molecules[ligand][1]))


def _side(bonds: list[tuple[int, int]], bond: tuple[int, int]) -> list[int]:
    """Atoms on the second end's side of a bond that is in no ring."""
    pieces = shapes.components({i for b in bonds for i in b}, [b for b in bonds if b != bond])
    return sorted(next(piece for piece in pieces if bond[1] in piece))


def _with_substituents(bonds: list[tuple[int, int]], ring: list[int], atom: int) -> list[int]:
    """Return a ring atom and all that hangs on it."""
    cut = [b for b in bonds if not set(b) <= set(ring)]
    return sorted(
        next(piece for piece in shapes.components({i for b in bonds for i in b}, cut) if atom in piece)
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector))


def sound(bench: Bench) -> Case:
    """Relaxed a little: slid, turned about the normal, settled."""
    pose, slab, ligand = bench.pick(ALL, ANY)
    coords = np.array(pose.structure.cart_coords)
    own = coords[pose.n_slab :]
    turn = Rotation.from_euler("z", bench.rng.uniform(-15, 15), degrees=True)
    own[:] = turn.apply(own - own.mean(axis=0)) + own.mean(axis=0) + [0, 0, bench.rng.uniform(0.0, 0.3)]
    return bench.case("sound", set(), pose, coords, slab, ligand)


def physisorbed(bench: Bench) -> Case:
    """Put a flat molecule at van der Waals distance, 0.3 to 0.6 A higher than placed."""
    pose, slab, ligand = bench.pick(ALL, [*AROMATIC, *PUCKERED, "dmf"], AnchorKind.FLAT)
    coords = np.array(pose.structure.cart_coords)
    coords[pose.n_slab :, 2] += bench.rng.uniform(0.3, 0.6)
    return bench.case("physisorbed", set(), pose, coords, slab, ligand)


def hydrogen_bonded(bench: Bench) -> Case:
    """Stretch a donor's bond to 1.06-1.14 A towards its acceptor."""
    pose, slab, ligand = bench.pick(
        IONIC, ["triazole", "2-methylimidazole", "ethanol", "water"], AnchorKind.DONOR_H
    )
    coords = np.array(pose.structure.cart_coords)
    h, parent = _donor(bench, ligand)
    n = pose.n_slab
    coords[n + h] = coords[n + parent] + _unit(coords[n + h] - coords[n + parent]) * bench.rng.uniform(
        1.06, 1.14
    )
    return bench.case("hydrogen-bonded", set(), pose, coords, slab, ligand)


def alkali_in_its_window(bench: Bench) -> Case:
    """Move a surface sodium by 0.3-0.75 A towards the molecule."""
    pose, slab, ligand = bench.pick(["NaF(001)"], ANY)
    coords = np.array(pose.structure.cart_coords)
    sodium = _surface_atom(bench, pose, slab, "Na")
    coords[sodium] += _unit(
        np.append(bench.rng.normal(size=2), abs(bench.rng.normal()) + 0.5)
    ) * bench.rng.uniform(0.3, 0.75)
    return bench.case("alkali in its window", set(), pose, coords, slab, ligand)


def desorbed(bench: Bench) -> Case:
    """Lifted by 3 to 7 A."""
    pose, slab, ligand = bench.pick(ALL, ANY)
    coords = np.array(pose.structure.cart_coords)
    coords[pose.n_slab :, 2] += bench.rng.uniform(3.0, 7.0)
    return bench.case("desorbed", {AnomalyKind.DESORBED}, pose, coords, slab, ligand)


def dissociated(bench: Bench) -> Case:
    """Move a heavy group off along its bond by 0.9-1.6 A."""
    pose, slab, ligand = bench.pick(ALL, ["2-methylimidazole", "ethanol", "dmf"])
    bonds, n = _bonds(bench, ligand), pose.n_slab
    ring = {i for r in shapes.find_rings(bonds) for i in r}
    heavy = {i for i, site in enumerate(bench.molecules[ligand][1]) if site.specie.symbol != "H"}
    cuts = [b for b in bonds if set(b) <= heavy and not set(b) <= ring]
    i, j = cuts[int(bench.rng.integers(len(cuts)))]
    if pose.structure.cart_coords[n + j, 2] < pose.structure.cart_coords[n + i, 2]:
        i, j = j, i  # the upper part leaves: nothing below is run into
    coords = np.array(pose.structure.cart_coords)
    direction = _unit(_unit(coords[n + j] - coords[n + i]) + np.array([0.0, 0.0, 0.5]))
    part = [n + k for k in _side(bonds, (i, j) if (i, j) in bonds else (j, i))]
    part = part if n + j in part else [n + k for k in range(len(coords) - n) if n + k not in part]
    coords[part] += direction * bench.rng.uniform(0.9, 1.6)
    return bench.case("dissociated", {AnomalyKind.DISSOCIATED}, pose, coords, slab, ligand)


def surface_changed(bench: Bench) -> Case:
    """Pull a surface atom away from the molecule out by 1.8-2.6 A."""
    pose, slab, ligand = bench.pick(ALL, ["triazole", "water", "2-methylimidazole"])
    element = {"MgO(001)": ["Mg", "O"], "NaF(001)": ["Na", "F"], "Cu(111)": ["Cu"]}[slab]
    coords = np.array(pose.structure.cart_coords)
    atom = _surface_atom(bench, pose, slab, str(bench.rng.choice(element)), away_ang=4.5)
    coords[atom, 2] += bench.rng.uniform(1.8, 2.6)
    return bench.case("surface changed", {AnomalyKind.SURFACE_CHANGED}, pose, coords, slab, ligand)


def intercalated(bench: Bench) -> Case:
    """Slipped into the gallery of a layered host."""
    pose, slab, ligand = bench.pick(["layered"], [*AROMATIC, "water", "ethanol", "dmf"], AnchorKind.FLAT)
    coords = np.array(pose.structure.cart_coords)
    heights = np.sort(coords[: pose.n_slab, 2])
    widest = int(np.argmax(np.diff(heights)))
    middle = (heights[widest] + heights[widest + 1]) / 2
    own = coords[pose.n_slab :]
    own[:, 2] += middle - (own[:, 2].max() + own[:, 2].min()) / 2 + bench.rng.uniform(-0.2, 0.2)
    return bench.case("intercalated", {AnomalyKind.INTERCALATED}, pose, coords, slab, ligand)


def proton_to_the_surface(bench: Bench) -> Case:
    """N-H or O-H carried to the surface anion below it."""
    pose, slab, ligand = bench.pick(
        IONIC, ["triazole", "2-methylimidazole", "ethanol", "water", "piperidine"], AnchorKind.DONOR_H
    )
    coords, n = np.array(pose.structure.cart_coords), pose.n_slab
    anion = pose.place.index
    assert anion is not None
    distances = shapes.distances_ang(pose.structure)
    molecule = bench.molecules[ligand][1]
    donors = [
        (h, x) for i, j in _bonds(bench, ligand) for h, x in ((i, j), (j, i))
        if molecule[h].specie.symbol == "H" and molecule[x].specie.symbol in "NO"
    ]  # fmt: skip
    h, parent = min(donors, key=lambda pair: distances[n + pair[0], anion])
    image = pose.structure[n + h].distance_and_image(pose.structure[anion])[1]
    target = coords[anion] + np.asarray(image) @ np.asarray(pose.structure.lattice.matrix)
    reach = (0.92, 1.0) if pose.place.element == "F" else (0.96, 1.08)
    coords[n + h] = target + _unit(coords[n + parent] - target) * bench.rng.uniform(*reach)
    coords[n:, 2] += bench.rng.uniform(0.0, 0.3)
    coords[n + h, 2] -= coords[n + parent, 2] - pose.structure.cart_coords[n + parent, 2]
    return bench.case("proton to the surface", {AnomalyKind.HYDROGEN_TRANSFERRED}, pose, coords, slab, ligand)


def tautomerised(bench: Bench) -> Case:
    """Move the ring's proton to its neighbour nitrogen."""
    pose, slab, ligand = bench.pick(ALL, ["triazole"])
    coords, n = np.array(pose.structure.cart_coords), pose.n_slab
    h, parent = _donor(bench, ligand)
    own = coords[n:]
    symbols = [site.specie.symbol for site in bench.molecules[ligand][1]]
    ring = [i for i, symbol in enumerate(symbols) if symbol != "H"]
    others = [i for i, symbol in enumerate(symbols) if symbol == "N" and i != parent]
    to = others[int(bench.rng.integers(len(others)))]
    outward = _unit(own[to] - own[ring].mean(axis=0))
    own[h] = own[to] + outward * bench.rng.uniform(0.98, 1.06)
    lift = max(
        0.0,
        2.6
        - float(
            shapes.distances_ang(
                Structure(pose.structure.lattice, pose.structure.species, coords, coords_are_cartesian=True)
            )[n + h, :n].min()
        ),
    )
    coords[n:, 2] += min(lift, 0.6)
    return bench.case("tautomerised", {AnomalyKind.HYDROGEN_TRANSFERRED}, pose, coords, slab, ligand)


def ring_opened(bench: Bench) -> Case:
    """One ring bond opened by 0.9-1.5 A, the others sharing the strain."""
    pose, slab, ligand = bench.pick(ALL, [*AROMATIC, *PUCKERED])
    coords, n = np.array(pose.structure.cart_coords), pose.n_slab
    bonds = _bonds(bench, ligand)
    ring = list(shapes.find_rings(bonds)[0])
    k = int(bench.rng.integers(len(ring)))
    ring = ring[k:] + ring[:k]  # opens between the last and the first
    direction = _unit(coords[n + ring[-1]] - coords[n + ring[0]])
    opening = bench.rng.uniform(0.9, 1.4)
    for position, atom in enumerate(ring):
        move = direction * opening * (position / (len(ring) - 1) - 0.5)
        group = _with_substituents(bonds, ring, atom)
        coords[[n + x for x in group]] += move
    coords[n:, 2] += bench.rng.uniform(0.2, 0.5)
    return bench.case("ring opened", {AnomalyKind.RING_OPENED}, pose, coords, slab, ligand)


def ring_flattened(bench: Bench) -> Case:
    """Press a chair or envelope to a plane, its substituents carried along."""
    pose, slab, ligand = bench.pick(ALL, PUCKERED)
    coords = _repuckered(bench, pose, ligand, lambda z: z * bench.rng.uniform(0.0, 0.3))
    return bench.case("ring flattened", {AnomalyKind.RING_FLATTENED}, pose, coords, slab, ligand)


def ring_puckered(bench: Bench) -> Case:
    """Bend an aromatic ring out of its plane."""
    pose, slab, ligand = bench.pick(ALL, AROMATIC)
    amplitude = bench.rng.uniform(0.35, 0.5)

    def envelope(z: np.ndarray) -> np.ndarray:
        wave = np.cos(4 * np.pi * np.arange(len(z)) / len(z))
        return np.asarray(wave / np.linalg.norm(wave) * amplitude)

    coords = _repuckered(bench, pose, ligand, envelope)
    coords[pose.n_slab :, 2] += 0.2
    return bench.case("ring puckered", {AnomalyKind.RING_PUCKERED}, pose, coords, slab, ligand)


def ring_laid_down(bench: Bench) -> Case:
    """From an upright pose into a flat one."""
    while True:
        pose, slab, ligand = bench.pick(ALL, AROMATIC, AnchorKind.LONE_PAIR, AnchorKind.DONOR_H)
        ring = list(shapes.find_rings(_bonds(bench, ligand))[0])
        flats = [
            p for p in bench.pool(slab, ligand) if p.kind is AnchorKind.FLAT and p.tilt_deg <= MAX_FLAT_DEG
        ]
        own = pose.structure.cart_coords[pose.n_slab :][ring]
        if flats and shapes.inclination_deg(own) > 60:  # noqa: PLR2004
            other = flats[int(bench.rng.integers(len(flats)))]
            return bench.case(
                "ring laid down",
                {AnomalyKind.RING_LAID_DOWN},
                pose,
                np.array(other.structure.cart_coords),
                slab,
                ligand,
            )


def repelled(bench: Bench) -> Case:
    """Tilted by 28-45 deg about its anchor, away from the cation its C-H faced."""
    while True:
        pose, slab, ligand = bench.pick(["NaF(001)", "MgO(001)"], ["2-methylimidazole", "dmf", "ethanol"])
        n, molecule = pose.n_slab, bench.molecules[ligand][1]
        distances = shapes.distances_ang(pose.structure)
        cations = [i for i in range(n) if pose.structure[i].specie.symbol in {"Na", "Mg"}]
        carbon_h = [
            h for i, j in _bonds(bench, ligand) for h, x in ((i, j), (j, i))
            if molecule[h].specie.symbol == "H" and molecule[x].specie.symbol == "C"
        ]  # fmt: skip
        close = [(float(distances[n + h, c]), h) for h in carbon_h for c in cations]
        nearest, h = min(close)
        if nearest > 2.6:  # noqa: PLR2004  (not facing a cation)
            continue
        coords = np.array(pose.structure.cart_coords)
        own = coords[n:]
        pivot = own[int(np.argmax(np.linalg.norm(own - own[h], axis=1)))].copy()
        arm = own[h] - pivot
        axis = np.cross(arm, [0, 0, 1.0])
        if np.linalg.norm(axis) < 1.0:
            continue
        tilt = bench.rng.uniform(28, 45)
        turned = Rotation.from_rotvec(np.deg2rad(tilt) * _unit(axis)).apply(own - pivot) + pivot
        turned[:, 2] += max(0.0, own[:, 2].min() - turned[:, 2].min())
        if turned[h, 2] - own[h, 2] < 1.2:  # noqa: PLR2004  (did not come off)
            continue
        coords[n:] = turned
        coords[n:, 2] += _settling(pose, coords)  # it still holds
        case = bench.case("repelled", {AnomalyKind.LIGAND_ION_REPULSION}, pose, coords, slab, ligand)
        gain = shapes.distances_ang(case.final)[n + h, cations].min() - nearest
        rings = shapes.find_rings(_bonds(bench, ligand))
        down = any(
            shapes.inclination_deg(pose.structure.cart_coords[n:][list(r)]) >= 50  # noqa: PLR2004
            and shapes.inclination_deg(turned[list(r)]) <= 25  # noqa: PLR2004
            for r in rings
        )
        if gain > 0.8 and not down:  # noqa: PLR2004
            return case


def _settling(pose: poses.Pose, coords: np.ndarray) -> float:
    """Return the shift along the normal that brings the molecule back into van der Waals contact."""
    n = pose.n_slab
    spheres = shapes.contact_radii_ang([site.specie.symbol for site in pose.structure])
    shifts = np.arange(1.5, -4.0, -0.1)
    for shift in shifts:
        moved = coords.copy()
        moved[n:, 2] += shift
        trial = Structure(pose.structure.lattice, pose.structure.species, moved, coords_are_cartesian=True)
        gaps = shapes.distances_ang(trial)[n:, :n] - spheres[n:, None] - spheres[None, :n]
        if gaps.min() < -0.3:  # noqa: PLR2004  (A; between dispersion and hydrogen bond)
            return float(shift)
    return float(shifts[-1])


def _donor(bench: Bench, ligand: str) -> tuple[int, int]:
    molecule = bench.molecules[ligand][1]
    return next(
        (h, x) for i, j in _bonds(bench, ligand) for h, x in ((i, j), (j, i))
        if molecule[h].specie.symbol == "H" and molecule[x].specie.symbol in "NO"
    )  # fmt: skip


def _surface_atom(bench: Bench, pose: poses.Pose, slab: str, element: str, away_ang: float = 0.0) -> int:
    distances = shapes.distances_ang(pose.structure)[pose.n_slab :, : pose.n_slab].min(axis=0)
    indices = [
        s.index
        for s, _ in open_sites(Surface(bench.slabs[slab]))
        if s.element == element and s.index is not None
    ]
    fitting = [i for i in indices if distances[i] >= away_ang] or [max(indices, key=lambda i: distances[i])]
    return fitting[int(bench.rng.integers(len(fitting)))]


def _repuckered(
    bench: Bench, pose: poses.Pose, ligand: str, new: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    coords, n = np.array(pose.structure.cart_coords), pose.n_slab
    bonds = _bonds(bench, ligand)
    ring = list(shapes.find_rings(bonds)[0])
    points = coords[[n + x for x in ring]]
    centred = points - points.mean(axis=0)
    angles = 2 * np.pi * np.arange(len(ring)) / len(ring)
    normal = _unit(np.cross(np.sin(angles) @ centred, np.cos(angles) @ centred))
    heights = centred @ normal
    for atom, move in zip(ring, new(heights) - heights, strict=True):
        group = _with_substituents(bonds, ring, atom)
        coords[[n + x for x in group]] += move * normal
    return coords


RECIPES = (
    sound, physisorbed, hydrogen_bonded, alkali_in_its_window, desorbed, dissociated, surface_changed,
    intercalated, proton_to_the_surface, tautomerised, ring_opened, ring_flattened, ring_puckered,
    ring_laid_down, repelled,
)  # fmt: skip


def cases(per_recipe: int, seed: int = 0) -> Iterator[Case]:
    """Yield every labelled case, seeded."""
    bench = Bench(np.random.default_rng(seed))
    for recipe in RECIPES:
        for _ in range(per_recipe):
            yield recipe(bench)


def ours(case: Case) -> frozenset[AnomalyKind]:
    """Return the findings of the rules under test."""
    found = find_anomalies(case.initial, case.final, clean_slab=case.clean, molecule=case.molecule)
    return frozenset(anomaly.kind for anomaly in found)


def open_catalyst(case: Case) -> frozenset[AnomalyKind]:
    """Return the findings of the published four-flag rule, re-implemented from its description."""
    n = len(case.clean)
    radii = np.array([covalent_radii[atomic_numbers[site.specie.symbol]] for site in case.initial])
    sums, skin = radii[:, None] + radii[None, :], 0.6
    exposed = {site.index for site, _ in open_sites(Surface(case.clean))}
    below = np.array([i not in exposed for i in range(n)])
    start, end = shapes.distances_ang(case.initial), shapes.distances_ang(case.final)
    clean, now, inner = shapes.distances_ang(case.clean), end[:n, :n], sums[:n, :n]
    found = set()
    if ((start < sums + skin) ^ (end < sums + skin))[n:, n:].any():
        found.add(AnomalyKind.DISSOCIATED)
    if not (end < 1.5 * sums + skin)[n:, :n].any():
        found.add(AnomalyKind.DESORBED)
    if (end < sums + skin)[n:, :n][:, below].any():
        found.add(AnomalyKind.INTERCALATED)
    gone = (clean < inner + skin) & ~(now < 1.5 * inner + skin)
    new = (now < inner + skin) & ~(clean < 1.5 * inner + skin)
    if (gone | new).any():
        found.add(AnomalyKind.SURFACE_CHANGED)
    return frozenset(found)


def scores(truths: list[bool], guesses: list[bool]) -> tuple[float, float, float]:
    """Precision, recall and F1."""
    hit = sum(t and g for t, g in zip(truths, guesses, strict=True))
    precision = hit / sum(guesses) if any(guesses) else 0.0
    recall = hit / sum(truths) if any(truths) else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if hit else 0.0


def main(per_recipe: int = 40) -> None:
    """Print the table."""
    labelled = list(cases(per_recipe))
    mine = [ours(case) for case in labelled]
    peer = [open_catalyst(case) for case in labelled]
    print(f"{len(labelled)} labelled trajectories, {len(RECIPES)} recipes")
    columns = f"{'P':>7}{'R':>7}{'F1':>7}"
    print(f"{'':<24}{'cases':>6}   {'ours':>21}   {'OC20':>21}\n{'':<33}{columns}   {columns}")
    for kind in AnomalyKind:
        truth = [kind in case.truth for case in labelled]
        if not any(truth):
            continue
        row = scores(truth, [kind in found for found in mine])
        line = f"{kind.value:<24}{sum(truth):>6}   " + "".join(f"{x:>7.3f}" for x in row)
        accepted = OC20_DISSOCIATED if kind is AnomalyKind.DISSOCIATED else {kind}
        if kind.value in {"desorbed", "dissociated", "surface_changed", "intercalated"}:
            wide = [bool(case.truth & accepted) for case in labelled]
            line += "   " + "".join(f"{x:>7.3f}" for x in scores(wide, [kind in found for found in peer]))
        print(line)
    sound_cases = [k for k, case in enumerate(labelled) if not case.truth]
    false_ours, false_peer = (sum(bool(found[k]) for k in sound_cases) for found in (mine, peer))
    print(f"sound poses flagged: ours {false_ours}/{len(sound_cases)}, OC20 {false_peer}/{len(sound_cases)}")
    wrong = Counter(
        (case.recipe, ", ".join(sorted(found)) or "nothing")
        for case, found in zip(labelled, mine, strict=True)
        if found != case.truth
    )
    for (recipe, said), number in wrong.most_common():
        print(f"  ours, {recipe}: said {said} x{number}")


if __name__ == "__main__":
    try:
        main(*(int(argument) for argument in sys.argv[1:2]))
    except StructureError as error:  # pragma: no cover
        sys.exit(str(error))
