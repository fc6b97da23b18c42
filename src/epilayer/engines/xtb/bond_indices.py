"""Bond strength indices from extended tight binding (tblite): real electronic structure on a laptop.

GFN1-xTB (doi 10.1021/acs.jctc.7b00118) is the default: it converges for vanadium oxide slabs, where
GFN2-xTB does not. The library hands out the core Hamiltonian, not the self-consistent one, so the
latter is rebuilt from the orbitals, ``F = S C diag(e) C^T S``. Only the Gamma point is sampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from jobflow import Maker, job
from monty.json import MSONable

from epilayer.model.bonding import BondIndex, BondMeasure, BondsRefused, ElectronicStructure
from epilayer.model.errors import EngineError, InputError, SetupError, StructureError
from epilayer.model.failure import FailedRunError, Failure, FailureClass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from pymatgen.core import Molecule, Structure

    from epilayer.model.cohp import Bond

    Floats = NDArray[np.float64]

Method = Literal["GFN1-xTB", "GFN2-xTB"]

HARTREE_EV: Final = 27.211386245988
_BOHR_ANG: Final = 0.529177210903
_KELVIN_HARTREE: Final = 3.166811563e-6
_MEASURE: Final = {"GFN1-xTB": BondMeasure.INDEX_GFN1, "GFN2-xTB": BondMeasure.INDEX_GFN2}
_LARGEST_RESIDUAL_EV: Final = 1e-5
_SMALLEST_OVERLAP: Final = 1e-7
_CLOSEST_ANG: Final = 0.5
_TIGHT: Final = 1e-2
_SMALL: Final = 40
"""Up to so many atoms tight convergence costs nothing; a slab would take half as many cycles again."""


@dataclass(frozen=True)
class XtbBonds(MSONable):  # type: ignore[misc]  # monty is untyped
    """Measures bonds by extended tight binding, where no VASP engine measures them through LOBSTER.

    Parameters
    ----------
    method
        Parametrisation.
    temperature_k
        Electronic temperature, K.
    """

    method: Method = "GFN1-xTB"
    temperature_k: float = 300.0

    @property
    def measure(self) -> BondMeasure:
        """What its numbers are called."""
        return _MEASURE[self.method]

    @property
    def stand_in(self) -> bool:
        """It is no stand-in; it is not LOBSTER either, and its numbers carry another name."""
        return False

    def bonding(self, label: str) -> XtbBondsMaker:
        """Measure named bonds in a structure as it is."""
        return XtbBondsMaker(name=label, method=self.method, temperature_k=self.temperature_k)


@dataclass
class XtbBondsMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """One job: the bond strength indices of named bonds, or why there are none."""

    name: str = "bond strength indices"
    method: Method = "GFN1-xTB"
    temperature_k: float = 300.0

    @job  # type: ignore[untyped-decorator]
    def make(self, structure: Structure, bonds: Sequence[Bond]) -> ElectronicStructure | BondsRefused:
        """Measure; a calculation that is not sound is an answer too, since a scan goes on without it."""
        try:
            return bond_indices(
                structure, [b.atoms for b in bonds], method=self.method, temperature_k=self.temperature_k
            )
        except EngineError as error:
            return BondsRefused(measure=_MEASURE[self.method], what=error.what, remedy=error.remedy)


@dataclass(frozen=True)
class _Solved:
    """Matrices over orbitals, energies in eV, and which orbitals belong to which atom."""

    overlap: Floats
    density: Floats
    coefficients: Floats
    energies_ev: Floats
    occupations: Floats
    atom_of: NDArray[np.intp]
    total_ev: float


def bond_indices(
    structure: Structure | Molecule,
    bonds: Iterable[tuple[int, int]],
    *,
    charge_e: int | None = None,
    unpaired_electrons: int | None = None,
    method: Method = "GFN1-xTB",
    temperature_k: float = 300.0,
    max_iterations: int = 300,
) -> ElectronicStructure:
    """Compute bond strength indices of named bonds.

    Parameters
    ----------
    structure
        A molecule, or a periodic structure (Gamma point: both lateral edges should exceed about 8 A).
    bonds
        Pairs of atom indices; between periodic images the nearest one is meant.
    charge_e, unpaired_electrons
        Of the whole cell; by default those of the molecule, 0 for a structure.
    method
        Parametrisation.
    temperature_k
        Electronic temperature, K. Raise it only where the cycles do not converge, and say so.
    max_iterations
        Self-consistent cycles allowed.

    Returns
    -------
    ElectronicStructure
        One :class:`BondIndex` per bond, in the order asked for.

    Raises
    ------
    InputError
        If a bond names an atom that is not there, or one atom twice.
    StructureError
        If two atoms lie on top of one another.
    EngineError
        If the cycles do not converge, the matrices are not sound, or tblite is not installed.
    """
    pairs = [_checked(pair, len(structure)) for pair in bonds]
    _refuse_overlap(structure)
    charge = round(structure.charge or 0) if charge_e is None else charge_e
    multiplicity = getattr(structure, "spin_multiplicity", None) or 1
    unpaired = multiplicity - 1 if unpaired_electrons is None else unpaired_electrons
    solved = _solve(structure, charge, unpaired, method, temperature_k, max_iterations)
    fock_ev, residual_ev = _rebuilt_fock(solved)
    filled = solved.energies_ev[solved.occupations > 1.0]
    empty = solved.energies_ev[solved.occupations <= 1.0]
    return ElectronicStructure(
        measure=_MEASURE[method],
        program=f"tblite {_version()}, {method}",
        basis=f"{method} minimal valence basis, {len(solved.energies_ev)} orbitals",
        charge_e=charge,
        unpaired_electrons=unpaired,
        electronic_temperature_k=temperature_k,
        energy_ev=solved.total_ev,
        fock_residual_ev=residual_ev,
        gap_ev=float(empty.min() - filled.max()) if len(filled) and len(empty) else 0.0,
        fractional_electrons=float(np.minimum(solved.occupations, 2.0 - solved.occupations).sum()),
        bonds=_indices(structure, pairs, solved, fock_ev),
    )


def _indices(
    structure: Structure | Molecule, pairs: Sequence[tuple[int, int]], solved: _Solved, fock_ev: Floats
) -> tuple[BondIndex, ...]:
    """Return the index of every pair from the density and the Hamiltonian, as they are and orthogonalised."""
    eigenvalues, vectors = np.linalg.eigh(solved.overlap)
    if eigenvalues[0] < _SMALLEST_OVERLAP:
        raise EngineError(
            f"The orbitals of {structure.formula} are linearly dependent (overlap {eigenvalues[0]:.0e}).",
            "Look for overlapping atoms, or for a cell that is too small for the Gamma point.",
        )
    root = (vectors * np.sqrt(eigenvalues)) @ vectors.T
    inverse = (vectors / np.sqrt(eigenvalues)) @ vectors.T
    density, fock = root @ solved.density @ root, inverse @ fock_ev @ inverse
    found = []
    for i, j in pairs:
        block = np.ix_(solved.atom_of == i, solved.atom_of == j)
        found.append(
            BondIndex(
                atoms=(i, j),
                elements=(_symbol(structure, i), _symbol(structure, j)),
                length_ang=float(structure.get_distance(i, j)),
                lowdin_ev=float(-1.0 * (density[block] * fock[block]).sum()),
                nonorthogonal_ev=float(-1.0 * (solved.density[block] * fock_ev[block]).sum()),
                bond_order=float((density[block] ** 2).sum()),
            )
        )
    return tuple(found)


def _checked(pair: tuple[int, int], n_atoms: int) -> tuple[int, int]:
    first, second = int(pair[0]), int(pair[1])
    if first == second or not (0 <= first < n_atoms and 0 <= second < n_atoms):
        raise InputError(
            f"({first}, {second}) is no pair of atoms of a structure of {n_atoms}.",
            f"Name two different atoms from 0 to {n_atoms - 1}.",
        )
    return first, second


def _refuse_overlap(structure: Structure | Molecule) -> None:
    distances = np.asarray(structure.distance_matrix) + 10.0 * np.eye(len(structure))
    i, j = (int(k) for k in np.unravel_index(int(distances.argmin()), distances.shape))
    if distances[i, j] < _CLOSEST_ANG:
        raise StructureError(
            f"{_symbol(structure, i)}{i} and {_symbol(structure, j)}{j} are {distances[i, j]:.2f} A apart.",
            "Correct the structure before its electrons are computed.",
        )


def _symbol(structure: Structure | Molecule, index: int) -> str:
    return str(structure[index].specie.symbol)


def _version() -> str:
    from importlib.metadata import version

    return version("tblite")


def _solve(
    structure: Structure | Molecule,
    charge: int,
    unpaired: int,
    method: Method,
    temperature_k: float,
    max_iterations: int,
) -> _Solved:
    try:
        from tblite.exceptions import TBLiteRuntimeError
        from tblite.interface import Calculator
    except ImportError as error:
        raise SetupError(
            "Bond strength indices need tblite, which is not installed.", "pip install 'epilayer[bonding]'"
        ) from error
    lattice = getattr(structure, "lattice", None)
    periodic = (
        {}
        if lattice is None
        else {"lattice": np.array(lattice.matrix) / _BOHR_ANG, "periodic": np.ones(3, bool)}
    )
    numbers = np.array([site.specie.Z for site in structure])
    try:
        calculator: Any = Calculator(
            method,
            numbers,
            np.array(structure.cart_coords) / _BOHR_ANG,
            charge=charge,
            uhf=unpaired,
            **periodic,
        )
        calculator.set("verbosity", 0)
        calculator.set("save-integrals", 1)
        calculator.set("accuracy", _TIGHT if len(numbers) <= _SMALL else 1.0)
        calculator.set("temperature", temperature_k * _KELVIN_HARTREE)
        calculator.set("max-iter", max_iterations)
        result = calculator.singlepoint()
        shells = calculator.get("shell-map")
        orbitals = calculator.get("orbital-map")
        coefficients = np.array(result.get("orbital-coefficients"), np.float64)
        solved = _Solved(
            overlap=np.array(result.get("overlap-matrix"), np.float64),
            density=np.array(result.get("density-matrix"), np.float64),
            coefficients=coefficients,
            energies_ev=np.array(result.get("orbital-energies"), np.float64) * HARTREE_EV,
            occupations=np.array(result.get("orbital-occupations"), np.float64),
            atom_of=np.asarray(shells)[np.asarray(orbitals)],
            total_ev=float(result.get("energy")) * HARTREE_EV,
        )
    except TBLiteRuntimeError as error:
        failure = Failure(
            kind=FailureClass.SCF,
            cause="electrons_not_converged",
            what=f"{method} did not converge for {structure.formula} (charge {charge}): {_one_line(error)}.",
            remedy="Check geometry and charge; try GFN1-xTB, or a higher electronic temperature.",
        )
        raise FailedRunError(failure) from error
    if not all(np.isfinite(m).all() for m in (solved.overlap, solved.density, solved.energies_ev)):
        raise EngineError(
            f"{method} gave numbers that are not finite for {structure.formula}.",
            "Look for overlapping atoms in the structure.",
        )
    return solved


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _rebuilt_fock(solved: _Solved) -> tuple[Floats, float]:
    """Return the self-consistent Hamiltonian, eV, and how well it gives back its own orbitals."""
    s, c, e = solved.overlap, solved.coefficients, solved.energies_ev
    fock = s @ (c * e) @ c.T @ s
    residual_ev = float(np.abs(fock @ c - (s @ c) * e).max())
    if residual_ev > _LARGEST_RESIDUAL_EV:
        raise EngineError(
            f"The Hamiltonian rebuilt from the orbitals is off by {residual_ev:.1e} eV.",
            "Report it with the structure: this should not happen.",
        )
    return fock, residual_ev
