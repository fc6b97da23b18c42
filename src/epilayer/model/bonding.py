"""Bond strengths as data: what was measured, by which projection, and how it changed on adsorption."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from epilayer.model.base import Frozen
from epilayer.model.units import Ang, Dimensionless, Ev


class BondMeasure(StrEnum):
    """What a number says about a bond. Numbers of two measures never mix."""

    ICOHP_LOBSTER = "-ICOHP (LOBSTER)"
    INDEX_GFN1 = "bond strength index (GFN1-xTB, Loewdin)"
    INDEX_GFN2 = "bond strength index (GFN2-xTB, Loewdin)"


class BondIndex(Frozen):
    """One bond seen by an extended tight-binding calculation.

    None of the three is LOBSTER's ICOHP: only the change of one of them between two geometries of the
    same bond means something.

    Attributes
    ----------
    atoms
        Indices in the structure that was computed.
    lowdin_ev
        ``-sum_{mu in A, nu in B} P'_{mu nu} F'_{nu mu}`` in symmetrically orthogonalised orbitals
        (density of both spins, the pair counted once; positive where the atoms are bound). It does not
        depend on the zero of energy.
    nonorthogonal_ev
        The same sum over the non-orthogonal orbitals themselves, the Hamilton population of Dronskowski
        and Bloechl (doi 10.1021/j100135a014), at the zero of energy of xTB; it moves with that zero.
    bond_order
        Wiberg's sum of squared density elements in the orthogonalised orbitals.
    """

    atoms: tuple[int, int]
    elements: tuple[str, str]
    length_ang: Ang
    lowdin_ev: Ev
    nonorthogonal_ev: Ev
    bond_order: Dimensionless


class ElectronicStructure(Frozen):
    """How sound the calculation behind a set of bond indices is.

    Attributes
    ----------
    measure
        What :attr:`bonds` hold.
    fock_residual_ev
        Largest element of ``F C - S C e`` after F was rebuilt from the orbitals.
    gap_ev
        Between the highest occupied and lowest empty orbital; fractional occupation closes it.
    fractional_electrons
        Electrons in partly filled orbitals: many of them mean that the state is not one configuration.
    """

    measure: BondMeasure
    program: str
    k_points: str = "Gamma"
    basis: str
    charge_e: int
    unpaired_electrons: int
    electronic_temperature_k: float = Field(gt=0)
    energy_ev: Ev
    fock_residual_ev: Ev
    gap_ev: Ev
    fractional_electrons: Dimensionless
    bonds: tuple[BondIndex, ...]

    def bond(self, first: int, second: int) -> BondIndex:
        """Return the bond between two atoms, in either order."""
        return next(b for b in self.bonds if set(b.atoms) == {first, second})
