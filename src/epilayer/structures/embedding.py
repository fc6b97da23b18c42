"""Coordinates for a molecule that is known by its bonds alone, and the check of every geometry.

MMFF94s and UFF know ordinary main-group molecules. Centres with more than four electron pairs (PF6-, XeF4),
metals, and small molecules without parameters (azide, SO2) are relaxed by GFN2-xTB
(doi 10.1021/acs.jctc.8b01176), from a start in which the ligands and lone pairs of a centre repel each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from ase.data import covalent_radii
from pymatgen.core.periodic_table import Element
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from rdkit.rdBase import BlockLogs

from epilayer.model.errors import StructureError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from epilayer.model.ligand import Ligand

    Floats = NDArray[np.float64]

_FORCE_FIELD_STEPS: Final = 2000
_XTB_STEPS: Final = 500
_XTB_FORCE_EV_PER_ANG: Final = 0.02
_PAIRS_OF_AN_OCTET: Final = 4
_KNOWN_TO_UFF: Final = frozenset(
    ("H", "B", "C", "N", "O", "F", "Al", "Si", "P", "S", "Cl", "Ge", "As", "Se", "Br", "Sn", "Sb", "Te", "I")
)
"""Elements whose common geometries the force fields give."""
_ALKALI: Final = frozenset(["Li", "Na", "K", "Rb", "Cs"])
"""In an ion pair written with a bond, which the force field only has to keep together."""
_BOND_RATIOS: Final = (0.65, 1.3)
"""Bond length over the sum of covalent radii: from V=O (0.71) to F-F (1.24)."""
_EXCESS_ANG: Final = {True: 0.1, False: 0.2}
"""How much longer than Pauling's length a multiple, or a single, bond may be before xTB is asked: N2, CO2 and
SO2 of MMFF94s are 0.16 to 0.38 A longer, H2O2 0.13."""
_PAULING_ANG: Final = 0.71
_CLOSED_D_SHELLS: Final = (0, 10)
_TRIALS: Final = 8
_ONE_THREE_RATIO: Final = 1.0
"""Least distance of atoms with a common neighbour over the sum of their radii: Si...Si in Si2O2 has 1.08."""
_APART_RATIO: Final = 1.2
"""Least distance of other atoms without a bond: closer ones count as bonded."""
_METAL_RATIO: Final = 0.8
"""The same for a metal, which a ligand may touch with more than one atom."""
_COORDINATES: Final = "Give an xyz or mol file with its coordinates."


def embed(graph: Any, ligand: Ligand, seed: int) -> None:  # noqa: ANN401  (RDKit has no types)
    """Give a molecule's RDKit graph coordinates, in place.

    Parameters
    ----------
    graph
        With all hydrogens.
    ligand
        Its charge, multiplicity and name.
    seed
        The same seed gives the same coordinates.

    Raises
    ------
    StructureError
        If no method at hand gives a geometry that fits the bonds.
    """
    settings: Any = rdDistGeom.ETKDGv3()
    # RDKit reads a negative seed as "none", which would not be repeatable; it takes 32 bits.
    settings.randomSeed = seed % (2**31 - 1)
    embedded = rdDistGeom.EmbedMolecule(graph, settings) == 0
    if not embedded:
        settings.useRandomCoords = True
        embedded = rdDistGeom.EmbedMolecule(graph, settings) == 0
    if graph.GetNumAtoms() == 1:
        return
    field = force_field_of(graph) if embedded else None
    if field == "MMFF94s":
        rdForceFieldHelpers.MMFFOptimizeMolecule(graph, mmffVariant=field, maxIters=_FORCE_FIELD_STEPS)
    elif field == "UFF":
        rdForceFieldHelpers.UFFOptimizeMolecule(graph, maxIters=_FORCE_FIELD_STEPS)
    if field is None or _too_long(graph) or _misfit_of(graph) is not None:
        _refuse_open_shell_metals(graph, ligand.name)
        coords = _relaxed_by_xtb(graph, ligand, _spread(graph, seed, embedded=embedded))
        conformer = Chem.Conformer(graph.GetNumAtoms())
        conformer.SetPositions(coords)
        graph.RemoveAllConformers()
        graph.AddConformer(conformer, assignId=True)
    check_bonds(graph, ligand.name)


def force_field_of(graph: Any) -> str | None:  # noqa: ANN401  (RDKit has no types)
    """Return the force field whose geometry of a molecule is right: MMFF94s, UFF or none."""
    atoms = list(graph.GetAtoms())
    if any(a.GetSymbol() not in _KNOWN_TO_UFF | _ALKALI or _is_crowded(a) for a in atoms):
        return None
    with BlockLogs():  # atom types that are missing
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(graph):
            return "MMFF94s"
        return "UFF" if rdForceFieldHelpers.UFFHasAllMoleculeParams(graph) else None


def check_bonds(graph: Any, name: str) -> None:  # noqa: ANN401  (RDKit has no types)
    """Refuse coordinates that do not fit the bonds.

    Raises
    ------
    StructureError
        For a bond too long or too short, or atoms without a bond at a bond's distance.
    """
    found = _misfit_of(graph)
    if found is not None:
        raise StructureError(f"Ligand {name!r}: {found}.", _COORDINATES)


def _misfit_of(graph: Any) -> str | None:  # noqa: ANN401  (RDKit has no types)
    return misfit(graph, graph.GetConformer().GetPositions())


def _too_long(graph: Any) -> bool:  # noqa: ANN401  (RDKit has no types)
    """Say whether a bond is longer than its order allows (Pauling, doi 10.1021/ja01195a024)."""
    coords = graph.GetConformer().GetPositions()
    return any(
        np.linalg.norm(coords[i] - coords[j])
        > covalent_radii[a.GetAtomicNum()]
        + covalent_radii[b.GetAtomicNum()]
        - _PAULING_ANG * np.log10(max(1.0, bond.GetBondTypeAsDouble()))
        + _EXCESS_ANG[bond.GetBondTypeAsDouble() > 1]
        for bond in graph.GetBonds()
        for a, b in [(bond.GetBeginAtom(), bond.GetEndAtom())]
        for i, j in [(a.GetIdx(), b.GetIdx())]
    )


def _refuse_open_shell_metals(graph: Any, name: str) -> None:  # noqa: ANN401  (RDKit has no types)
    """Refuse transition metals whose d shell is neither empty nor full: their shape depends on their spin."""
    for atom in graph.GetAtoms():
        group = Element.from_Z(atom.GetAtomicNum()).group
        if group not in range(3, 13) or not atom.GetDegree():
            continue
        left = group - atom.GetFormalCharge() - atom.GetTotalValence()
        if left not in _CLOSED_D_SHELLS:
            raise StructureError(
                f"The geometry around {atom.GetSymbol()} in {name!r} (d{left}) does not follow from SMILES.",
                _COORDINATES,
            )


def misfit(graph: Any, coords: Floats) -> str | None:  # noqa: ANN401  (RDKit has no types)
    """Say which two atoms stand at a distance that does not fit their bond, or that they have none."""
    numbers = [a.GetAtomicNum() for a in graph.GetAtoms()]
    radii = covalent_radii[numbers]
    apart = np.linalg.norm(coords[:, None] - coords[None, :], axis=2)
    ratios = apart / (radii[:, None] + radii[None, :])
    steps = Chem.GetDistanceMatrix(graph)
    least = np.where(steps == 2, _ONE_THREE_RATIO, _APART_RATIO)  # noqa: PLR2004  (a common neighbour)
    metals = [a.GetIdx() for a in graph.GetAtoms() if a.GetSymbol() not in _KNOWN_TO_UFF]
    least[metals] = least[:, metals] = _METAL_RATIO
    shortest, longest = _BOND_RATIOS
    wrong = np.where(steps == 1, (ratios < shortest) | (ratios > longest), ratios < least)
    np.fill_diagonal(wrong, val=False)
    if not wrong.any():
        return None
    i, j = (int(k) for k in np.argwhere(wrong)[0])
    names = [f"{graph.GetAtomWithIdx(k).GetSymbol()}{k}" for k in (i, j)]
    bonded = "are bonded" if steps[i, j] == 1 else "have no bond"
    return f"atoms {names[0]} and {names[1]} {bonded} and are {apart[i, j]:.2f} A apart"


def _is_crowded(atom: Any) -> bool:  # noqa: ANN401  (RDKit has no types)
    return bool(atom.GetDegree() > 1 and atom.GetDegree() + _lone_pairs(atom) > _PAIRS_OF_AN_OCTET)


def _lone_pairs(atom: Any) -> int:  # noqa: ANN401  (RDKit has no types)
    if atom.GetSymbol() not in _KNOWN_TO_UFF | {"Xe", "Kr"}:
        return 0
    outer = Chem.GetPeriodicTable().GetNOuterElecs(atom.GetAtomicNum())
    left = outer - atom.GetFormalCharge() - atom.GetNumRadicalElectrons() - atom.GetTotalValence()
    return max(0, int(left)) // 2


def _spread(graph: Any, seed: int, *, embedded: bool) -> Floats:  # noqa: ANN401  (RDKit has no types)
    """Return a start in which the ligands and lone pairs of crowded centres are as far apart as they can be.

    Bonds are springs, everything else repels; lone pairs are points of their own, which repel more than
    bonds do and so stand where the theory of valence shell electron pair repulsion puts them.
    """
    from scipy.optimize import minimize

    n = graph.GetNumAtoms()
    crowded = {a.GetIdx(): _lone_pairs(a) for a in graph.GetAtoms() if _is_crowded(a)}
    random = np.random.default_rng(seed % (2**31 - 1))
    coords = (
        graph.GetConformer().GetPositions() if embedded else random.normal(scale=n ** (1 / 3), size=(n, 3))
    )
    if embedded and not crowded and misfit(graph, coords) is None:
        return np.asarray(coords)
    hosts = [centre for centre, pairs in crowded.items() for _ in range(pairs)]
    radii = covalent_radii[[a.GetAtomicNum() for a in graph.GetAtoms()]]
    bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in graph.GetBonds()]
    lengths = [radii[i] + radii[j] for i, j in bonds] + [radii[i] for i in hosts]
    bonds += [(host, n + k) for k, host in enumerate(hosts)]
    first, second = np.array(bonds).T
    around = sorted({a.GetIdx() for k in crowded for a in graph.GetAtomWithIdx(k).GetNeighbors()})
    weights = np.ones(n + len(hosts))
    weights[n:] = 1.5
    strength = weights[:, None] * weights[None, :]
    strength[first, second] = strength[second, first] = 0.0

    def energy(flat: Floats) -> tuple[float, Floats]:
        x = flat.reshape(-1, 3)
        between = x[:, None] - x[None, :]
        squared = (between**2).sum(axis=2) + np.eye(len(x)) + 1e-6
        pull = x[first] - x[second]
        length = np.linalg.norm(pull, axis=1) + 1e-9
        off = length - lengths
        slope = (-4 * strength / squared**2)[:, :, None] * between
        gradient = slope.sum(axis=1)
        spring = (200 * off / length)[:, None] * pull
        np.add.at(gradient, first, spring)
        np.add.at(gradient, second, -spring)
        value = (strength / squared).sum() - np.trace(strength / squared) + 100 * (off**2).sum()
        return float(value), gradient.ravel()

    lowest, best = np.inf, np.asarray(coords)
    for _ in range(_TRIALS):
        start = np.vstack([coords, coords[hosts]])
        start[around] += random.normal(size=(len(around), 3))
        start[n:] += random.normal(size=(len(hosts), 3))
        found = minimize(energy, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 3000})
        if found.fun < lowest - 1e-6:  # else the same arrangement, turned
            lowest, best = found.fun, np.asarray(found.x).reshape(-1, 3)[:n]
    return best


def _relaxed_by_xtb(graph: Any, ligand: Ligand, start: Floats) -> Floats:  # noqa: ANN401  (RDKit has no types)
    """Return the minimum of GFN2-xTB next to a start, A, to four decimals, which threads do not change."""
    from ase import Atoms
    from ase.optimize import BFGS

    try:
        from tblite.ase import TBLite
        from tblite.exceptions import TBLiteRuntimeError
    except ImportError as error:
        raise StructureError(
            f"No force field gives the geometry of {ligand.name!r}, and tblite (GFN2-xTB) is not installed.",
            "pip install 'epilayer[bonding]', or give an xyz or mol file with its coordinates.",
        ) from error
    atoms = Atoms([a.GetSymbol() for a in graph.GetAtoms()], start)
    atoms.calc = TBLite(
        method="GFN2-xTB", charge=ligand.charge, multiplicity=ligand.spin_multiplicity, verbosity=0
    )
    try:
        converged = BFGS(atoms, logfile=None, maxstep=0.1).run(fmax=_XTB_FORCE_EV_PER_ANG, steps=_XTB_STEPS)
    except (TBLiteRuntimeError, RuntimeError) as error:
        raise StructureError(
            f"Neither a force field nor GFN2-xTB gives the geometry of {ligand.name!r}.", _COORDINATES
        ) from error
    if not converged:
        raise StructureError(f"GFN2-xTB finds no minimum of {ligand.name!r}.", _COORDINATES)
    return np.asarray(np.round(atoms.positions - atoms.positions.mean(axis=0), 4))
