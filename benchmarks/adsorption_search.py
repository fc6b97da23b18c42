"""The search for the adsorption minimum where the true minimum is known, beside one orientation a site.

Systems: cathodes, facets and molecules of the catalogue. Slab and molecule are rigid, so that the
landscape has six dimensions and can be searched exhaustively; the potential is cheap: Lennard-Jones terms
(UFF, doi 10.1021/ja00051a040) and charges (MMFF94 on the molecule, half the oxidation states on the slab;
shifted-force Coulomb, doi 10.1063/1.2206581, undamped). It claims no chemistry. It has what a search has
to cope with: cations that draw donors, anions that draw hydrogens, flat poses, and tens to hundreds of
minima a system.

The true minima are stored in ``benchmarks/data/adsorption_minima.json`` with how they were built: random
starts (uniform in place and orientation, seeded), relaxed to 0.01 eV/A, 300 at least, and on in steps of
150 until five of them had ended within 0.01 eV of the lowest, 1200 at most. Their number of energy and
force evaluations is what "exhaustive" costs. A search that ends below the stored minimum counts as having
found it, and is told of.

The search is the flow's own (:func:`epilayer.flows.search.search_minima`), followed by the relaxation of
the poses that it keeps: with the flow's settings, and with a thorough set. The peer is the enumeration of
pymatgen's ``AdsorbateSiteFinder``, one orientation a site, as atomate2's adsorption flow makes it, each
relaxed in full. A molecule that left, or that ended inside the slab, counts for nobody.

Run: python benchmarks/adsorption_search.py [--rebuild] [--json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# A neighbour is called queue.py: this folder must not stand before the standard library's queue.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402
from pymatgen.analysis.adsorption import AdsorbateSiteFinder  # noqa: E402
from pymatgen.core import Structure  # noqa: E402
from rdkit import Chem  # noqa: E402
from rdkit.Chem import rdForceFieldHelpers  # noqa: E402
from scipy.optimize import minimize  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402

from epilayer.flows.adsorption import facet_slab  # noqa: E402
from epilayer.flows.search import THOROUGH, PlacedPose, PoseSearch, search_minima  # noqa: E402
from epilayer.structures import molecules, poses  # noqa: E402
from epilayer.structures.comparison import PoseComparison  # noqa: E402
from epilayer.study.config import Catalogue, shipped  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from pymatgen.core import Molecule

    from epilayer.model.ligand import Ligand

    Floats = NDArray[np.float64]

DATA = Path(__file__).parent / "data" / "adsorption_minima.json"
#: Each facet with two molecules, small and large ones in turn.
FACETS = {
    "nvopf": ("001", "100"),
    "prussian-white": ("012", "104"),
    "lifepo4": ("010", "100"),
    "nafepo4": ("010", "100"),
    "limnpo4": ("010", "100"),
    "licoo2": ("104", "003"),
    "nanio2": ("001", "11-1"),
    "v2o5": ("001", "100"),
}
MOLECULES = ("triazole", "2-methylimidazole", "dmf", "ethanol", "water", "methanol", "ammonia")
SETTINGS = {
    "eight starts, whatever they bring": PoseSearch(poses=8, batch=8),
    "epilayer, the flow's settings": PoseSearch(),
    "epilayer, thorough": THOROUGH,
}
WITHIN_EV = 0.1
BAR_HITS = 0.9
BAR_COST = 0.1
SEED = 7

_KCAL_EV = 0.0433641
_COULOMB_EV_ANG = 14.3996
_CUTOFF_ANG = 9.0
_SLAB_CHARGE_SCALE = 0.5
_FULL_FORCE_EV_PER_ANG = 0.01
_FULL_CALLS = 400
_GONE_ANG = 4.0
_THROUGH_ANG = 1.2
_START_ANG = 2.2
#: UFF: distance of the minimum (A) and depth (kcal/mol), doi 10.1021/ja00051a040.
UFF = {
    "H": (2.886, 0.044), "Li": (2.451, 0.025), "C": (3.851, 0.105), "N": (3.660, 0.069), "O": (3.500, 0.060),
    "F": (3.364, 0.050), "Na": (2.983, 0.030), "P": (4.147, 0.305), "V": (3.144, 0.016), "Mn": (2.961, 0.013),
    "Fe": (2.912, 0.013), "Co": (2.872, 0.014), "Ni": (2.834, 0.015),
}  # fmt: skip


@dataclass
class Relaxed:
    """Where a start ended."""

    coords: Floats  # (n, 3), A
    energy_ev: float
    force_calls: int


class RigidPotential:
    """Energy and forces of a rigid molecule over a rigid slab."""

    def __init__(self, slab: Structure, slab_charges: Floats, molecule: Molecule, charges: Floats) -> None:
        coords = np.asarray(molecule.cart_coords)
        self.shape = coords - coords.mean(axis=0)
        self.cell = np.asarray(slab.lattice.matrix)
        self.inverse = np.linalg.inv(self.cell)
        reach = _CUTOFF_ANG + float(np.linalg.norm(self.shape, axis=1).max())
        area = float(np.linalg.norm(np.cross(self.cell[0], self.cell[1])))
        repeats = [int(np.ceil(reach * float(np.linalg.norm(self.cell[1 - k])) / area)) for k in (0, 1)]
        place = np.asarray(slab.cart_coords)
        self.top_ang = float(place[:, 2].max())
        near = place[:, 2] > self.top_ang - _CUTOFF_ANG
        shifts = [
            i * self.cell[0] + j * self.cell[1]
            for i in range(-repeats[0], repeats[0] + 1)
            for j in range(-repeats[1], repeats[1] + 1)
        ]
        images = np.concatenate([place[near] + shift for shift in shifts])
        symbols = [s.specie.symbol for s, n in zip(slab, near, strict=True) if n] * len(shifts)
        source = np.tile(slab_charges[near], len(shifts))
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) @ self.cell[:2, :2]
        low, high = corners.min(axis=0) - reach, corners.max(axis=0) + reach
        keep = ((images[:, :2] > low) & (images[:, :2] < high)).all(axis=1)
        self.sources = images[keep]
        table = np.array([UFF[s] for s, k in zip(symbols, keep, strict=True) if k])
        own = np.array([UFF[s.specie.symbol] for s in molecule])
        self.r_min = np.sqrt(own[:, None, 0] * table[None, :, 0])
        self.depth_ev = np.sqrt(own[:, None, 1] * table[None, :, 1]) * _KCAL_EV
        self.charge_ev_ang = _COULOMB_EV_ANG * charges[:, None] * source[keep][None, :]

    def __call__(self, coords: Floats) -> tuple[float, Floats]:
        """Energy (eV) and its gradient (eV/A, shape (n, 3)) at the molecule's coordinates (A)."""
        fraction = coords.mean(axis=0) @ self.inverse
        inside = coords - np.floor([fraction[0], fraction[1], 0.0]) @ self.cell
        vector = inside[:, None, :] - self.sources[None, :, :]
        square = np.einsum("ijk,ijk->ij", vector, vector)
        i, j = np.nonzero(square < _CUTOFF_ANG**2)
        r = np.maximum(np.sqrt(square[i, j]), 0.5)
        x = (self.r_min[i, j] / r) ** 6
        depth, charge = self.depth_ev[i, j], self.charge_ev_ang[i, j]
        energy = depth * (x * x - 2 * x) + charge * (1 / r - 2 / _CUTOFF_ANG + r / _CUTOFF_ANG**2)
        slope = 12 * depth * (x - x * x) / r + charge * (1 / _CUTOFF_ANG**2 - 1 / r**2)
        pull = (slope / r)[:, None] * vector[i, j]
        gradient = np.stack([np.bincount(i, pull[:, k], len(coords)) for k in range(3)], axis=1)
        return float(energy.sum()), gradient

    def relax(self, coords: Floats, *, max_force_ev_per_ang: float, max_calls: int) -> Relaxed:
        """Move the rigid molecule downhill in its place and orientation."""
        centre = coords.mean(axis=0)
        shape = coords - centre
        calls = 0

        def value(x: Floats) -> tuple[float, Floats]:
            nonlocal calls
            calls += 1
            turned = Rotation.from_rotvec(x[3:]).apply(shape)
            energy, gradient = self(turned + centre + x[:3])
            torque = np.cross(turned, gradient).sum(axis=0)
            return energy, np.concatenate([gradient.sum(axis=0), _left_jacobian(x[3:]).T @ torque])

        options = {"maxfun": max_calls, "gtol": max_force_ev_per_ang, "ftol": 0.0, "maxiter": max_calls}
        found = minimize(value, np.zeros(6), jac=True, method="L-BFGS-B", options=options)
        end = Rotation.from_rotvec(found.x[3:]).apply(shape) + centre + found.x[:3]
        return Relaxed(end, float(found.fun), calls)

    def sound(self, coords: Floats) -> bool:
        """Whether the molecule is on the slab: not away, not in it, not through an atom."""
        fraction = coords.mean(axis=0) @ self.inverse
        inside = coords - np.floor([fraction[0], fraction[1], 0.0]) @ self.cell
        nearest = float(np.linalg.norm(inside[:, None] - self.sources[None], axis=2).min())
        above = float(inside[:, 2].mean()) > self.top_ang
        return bool(_THROUGH_ANG < nearest < _GONE_ANG and above)

    def random_start(self, rng: np.random.Generator) -> Floats:
        """Place the molecule anywhere and anyhow, let down until it is 2.2 A from a slab atom."""
        turned = Rotation.random(random_state=rng).apply(self.shape)
        turned += rng.random(2) @ self.cell[:2]
        lateral = ((turned[:, None, :2] - self.sources[None, :, :2]) ** 2).sum(axis=2)
        room = _START_ANG**2 - lateral
        above = turned[:, None, 2] - self.sources[None, :, 2]
        lift = np.where(room > 0, np.sqrt(np.maximum(room, 0)) - above, -np.inf).max()
        turned[:, 2] += lift
        return np.asarray(turned)


def _left_jacobian(w: Floats) -> Floats:
    """Return how a small change of a rotation vector turns what was turned by it, shape (3, 3)."""
    angle = float(np.linalg.norm(w))
    cross = np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])
    if angle < 1e-6:  # noqa: PLR2004  (its limit)
        return np.eye(3) + 0.5 * cross
    first = (1 - np.cos(angle)) / angle**2
    second = (angle - np.sin(angle)) / angle**3
    return np.asarray(np.eye(3) + first * cross + second * cross @ cross)


@dataclass
class System:
    """One molecule on one facet, and the cheap potential between them."""

    name: str
    slab: Structure
    ligand: Ligand
    molecule: Molecule
    potential: RigidPotential

    def start_of(self, structure: Structure) -> Floats:
        """Coordinates of the molecule in a pose, its atoms together."""
        fraction = np.array(structure.frac_coords[len(self.slab) :])
        fraction -= np.round(fraction - fraction[0])
        return np.asarray(fraction @ self.potential.cell)

    def pose_of(self, coords: Floats) -> Structure:
        """Slab and molecule in one structure."""
        both = np.concatenate([self.slab.cart_coords, coords])
        species = [s.specie.symbol for s in (*self.slab, *self.molecule)]
        return Structure(self.slab.lattice, species, both, coords_are_cartesian=True)


def systems() -> Iterable[System]:
    """Two molecules on each facet, so that each molecule meets several cathodes."""
    catalogue = Catalogue((shipped("configs"),))
    number = 0
    for cathode, facets in FACETS.items():
        material = catalogue.cathode(cathode)
        for facet in facets:
            slab = facet_slab(material, facet).structure
            slab.remove_site_property("selective_dynamics")
            states = [material.oxidation_states[s.specie.symbol] for s in slab]
            slab_charges = _SLAB_CHARGE_SCALE * (np.array(states) - np.mean(states))
            for name in (MOLECULES[number % 7], MOLECULES[(number + 3) % 7]):
                ligand = catalogue.ligand(name)
                molecule = molecules.build(ligand, 0)
                potential = RigidPotential(slab, slab_charges, molecule, _charges(ligand))
                yield System(f"{name} on {cathode} ({facet})", slab, ligand, molecule, potential)
            number += 1


def _charges(ligand: Ligand) -> Floats:
    """MMFF94 partial charges, in the order of :func:`epilayer.structures.molecules.build`."""
    graph: Any = Chem.AddHs(Chem.MolFromSmiles(ligand.smiles or ""))
    properties: Any = rdForceFieldHelpers.MMFFGetMoleculeProperties(graph)
    return np.array([properties.GetMMFFPartialCharge(k) for k in range(graph.GetNumAtoms())])


@dataclass
class Outcome:
    """What one way of searching found, and what it cost."""

    lowest_ev: float
    force_calls: int
    starts: int
    missed_probability: float | None = None


def full(system: System, coords: Floats) -> Relaxed:
    """Relax to the end."""
    return system.potential.relax(coords, max_force_ev_per_ang=_FULL_FORCE_EV_PER_ANG, max_calls=_FULL_CALLS)


def geometry(system: System) -> str:
    """Name the slab and the molecule by their coordinates: a minimum is one of these and no others."""
    atoms = [*system.slab, *system.molecule]
    text = ";".join(f"{a.specie.symbol} {a.x + 0.0:.2f} {a.y + 0.0:.2f} {a.z + 0.0:.2f}" for a in atoms)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def exhaustive(system: System, number: int) -> dict[str, Any]:
    """Search from random starts until the lowest minimum has been found again and again."""
    rng = np.random.default_rng([SEED, number])
    found: list[Relaxed] = []
    while True:
        found += [full(system, system.potential.random_start(rng)) for _ in range(150)]
        energies_ev = np.array([r.energy_ev for r in found if system.potential.sound(r.coords)])
        again = int((energies_ev < energies_ev.min() + 0.01).sum())
        if (len(found) >= 300 and again >= 5) or len(found) >= 1200:  # noqa: PLR2004  (module docstring)
            return {
                "system": system.name,
                "geometry": geometry(system),
                "lowest_ev": round(float(energies_ev.min()), 4),
                "force_calls": sum(r.force_calls for r in found),
                "starts": len(found),
                "ended_in_lowest": again,
                "distinct_energies": len(set(np.round(energies_ev, 2))),
                "median_ev": round(float(np.median(energies_ev)), 3),
            }


def starts_of(system: System) -> list[Structure]:
    """Return the flow's starts; those of a shorter search are the first of a longer one's."""
    count = max(settings.poses for settings in SETTINGS.values())
    anchors = molecules.anchors(system.ligand)
    found = poses.generate(system.slab, system.molecule, anchors=anchors, count=count, seed=PoseSearch().seed)
    return [pose.structure for pose in found]


def searched(system: System, settings: PoseSearch, starts: list[Structure]) -> Outcome:
    """Search as the flow does: its starts, its decisions, then its kept poses in full."""

    def relax(structure: Structure) -> PlacedPose:
        end = system.potential.relax(
            system.start_of(structure),
            max_force_ev_per_ang=settings.pre_max_force_ev_per_ang,
            max_calls=settings.pre_steps,
        )
        sound = system.potential.sound(end.coords)
        return PlacedPose(system.pose_of(end.coords), end.energy_ev, sound, end.force_calls)

    comparison = PoseComparison(system.slab, system.molecule)
    placed, decision = search_minima(settings, starts[: settings.poses], comparison, relax)
    ends = [full(system, system.start_of(placed[k].structure)) for k in decision.kept]
    return Outcome(
        min((e.energy_ev for e in ends if system.potential.sound(e.coords)), default=np.inf),
        decision.confidence.force_calls + sum(e.force_calls for e in ends),
        decision.confidence.starts,
        decision.confidence.missed_probability,
    )


def enumerated(system: System) -> Outcome:
    """One orientation a site, each relaxed in full: pymatgen's finder as atomate2 uses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        finder = AdsorbateSiteFinder(system.slab)
        made = finder.generate_adsorption_structures(system.molecule, repeat=[1, 1, 1])
    ends = [full(system, system.start_of(structure)) for structure in made]
    sound = [e.energy_ev for e in ends if system.potential.sound(e.coords)]
    return Outcome(min(sound, default=np.inf), sum(e.force_calls for e in ends), len(made))


def main() -> int:
    """Build the true minima, or search for them and say how often they were found."""
    parser = argparse.ArgumentParser(description="The adsorption search where the minimum is known.")
    parser.add_argument(
        "--rebuild", action="store_true", help="search exhaustively again and store the minima"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    if arguments.rebuild:
        rows = []
        for number, system in enumerate(systems()):
            rows.append(exhaustive(system, number))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        DATA.parent.mkdir(exist_ok=True)
        text = {"built_by": "python benchmarks/adsorption_search.py --rebuild", "seed": SEED, "minima": rows}
        DATA.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
    if not DATA.is_file():
        print(f"{DATA} is missing. Build it: python {sys.argv[0]} --rebuild", file=sys.stderr)
        return 2
    true = {row["system"]: row for row in json.loads(DATA.read_text(encoding="utf-8"))["minima"]}
    stale = [s.name for s in systems() if true.get(s.name, {}).get("geometry") != geometry(s)]
    if stale:
        print(f"The stored minima of {stale[0]} are of another geometry. Use --rebuild.", file=sys.stderr)
        return 2
    started = time.perf_counter()
    found: dict[str, list[tuple[str, Outcome]]] = {}
    for system in systems():
        starts = starts_of(system)
        for name, settings in SETTINGS.items():
            found.setdefault(name, []).append((system.name, searched(system, settings, starts)))
        found.setdefault("AdsorbateSiteFinder, one orientation a site", []).append(
            (system.name, enumerated(system))
        )
    figures = {name: _figures(outcomes, true) for name, outcomes in found.items()}
    if arguments.json:
        print(json.dumps({"systems": len(true), "methods": figures}, indent=1))
    else:
        _print(figures, true, time.perf_counter() - started)
    best = figures["epilayer, thorough"]
    return 0 if best["hits"] >= BAR_HITS and best["cost"] <= BAR_COST else 1


def _figures(outcomes: list[tuple[str, Outcome]], true: dict[str, Any]) -> dict[str, Any]:
    above = {name: o.lowest_ev - true[name]["lowest_ev"] for name, o in outcomes}
    cost = [o.force_calls / true[name]["force_calls"] for name, o in outcomes]
    sure = [o.missed_probability for _, o in outcomes if o.missed_probability is not None]
    return {
        "hits": float(np.mean([a <= WITHIN_EV for a in above.values()])),
        "lower_than_stored": sum(a < -0.01 for a in above.values()),  # noqa: PLR2004  (10 meV)
        "mean_above_ev": float(np.mean(np.maximum(list(above.values()), 0.0))),
        "mean_starts": float(np.mean([o.starts for _, o in outcomes])),
        "mean_force_calls": float(np.mean([o.force_calls for _, o in outcomes])),
        "cost": sum(o.force_calls for _, o in outcomes) / sum(t["force_calls"] for t in true.values()),
        "largest_cost": float(np.max(cost)),
        "mean_missed_probability": float(np.mean(sure)) if sure else None,
        "missed": {name: round(a, 3) for name, a in above.items() if a > WITHIN_EV},
    }


def _print(figures: dict[str, Any], true: dict[str, Any], elapsed_s: float) -> None:
    print(
        f"{len(true)} systems; exhaustive: {np.mean([t['starts'] for t in true.values()]):.0f} starts and "
        f"{np.mean([t['force_calls'] for t in true.values()]):.0f} force calls each on average"
    )
    heading = f"{'':46}{'within 0.1 eV':>14}{'mean above, eV':>16}{'starts':>8}{'force calls':>13}"
    print(heading + f"{'of exhaustive':>15}{'said missed':>13}")
    for name, f in figures.items():
        said = "" if f["mean_missed_probability"] is None else f"{f['mean_missed_probability']:.0%}"
        print(
            f"{name:46}{f['hits']:>14.0%}{f['mean_above_ev']:>16.3f}{f['mean_starts']:>8.1f}"
            f"{f['mean_force_calls']:>13.0f}{f['cost']:>14.1%} {said:>12}"
        )
        if f["lower_than_stored"]:
            print(f"    lower than the stored minimum: {f['lower_than_stored']}")
        for system, above_ev in f["missed"].items():
            print(f"    missed: {system}, {above_ev:+.2f} eV")
    best, peer = figures["epilayer, thorough"], figures["AdsorbateSiteFinder, one orientation a site"]
    print(
        f"bar: {BAR_HITS:.0%} within {WITHIN_EV} eV at {BAR_COST:.0%} of the force calls; thorough "
        f"{best['hits']:.0%} at {best['cost']:.1%} ({best['largest_cost']:.1%} at most); "
        "force calls of the peer over ours "
        f"{peer['mean_force_calls'] / best['mean_force_calls']:.1f}; {elapsed_s:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
