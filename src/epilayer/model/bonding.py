"""Bond strengths as data: what was measured, by which projection, and how it changed on adsorption."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pymatgen.core import Structure

from epilayer.model.anomaly import Anomaly
from epilayer.model.base import Frozen
from epilayer.model.kind import FINGERPRINT, LEVEL_NAME, STAND_IN, Column, Number, RecordKind, columns, picked
from epilayer.model.level import LevelOfTheory, Scalar
from epilayer.model.records import Provenance, Status
from epilayer.model.units import Ang, Deg, Dimensionless, Ev, Kelvin

if TYPE_CHECKING:
    from collections.abc import Sequence


class BondMeasure(StrEnum):
    """What a number says about a bond. Numbers of two measures never mix."""

    ICOHP_LOBSTER = "-ICOHP (LOBSTER)"
    INDEX_GFN1 = "bond strength index (GFN1-xTB, Loewdin)"
    INDEX_GFN2 = "bond strength index (GFN2-xTB, Loewdin)"


class BarrierMethod(StrEnum):
    """How the barrier of a reaction was looked for."""

    SCAN = "constrained scan, an upper bound"
    BAND = "climbing-image NEB"


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
        How far the occupations are from 0 and 2, summed: much of it means that the state is not one
        configuration.
    """

    measure: BondMeasure
    program: str
    k_points: str = "Gamma"
    basis: str
    charge_e: int
    unpaired_electrons: int
    electronic_temperature_k: Kelvin = Field(gt=0)
    energy_ev: Ev
    fock_residual_ev: Ev
    gap_ev: Ev
    fractional_electrons: Dimensionless
    bonds: tuple[BondIndex, ...]

    def bond(self, first: int, second: int) -> BondIndex:
        """Return the bond between two atoms, in either order."""
        return next(b for b in self.bonds if set(b.atoms) == {first, second})


class BondsRefused(Frozen):
    """A bond calculation without a valid result."""

    measure: BondMeasure
    what: str
    remedy: str


class BondChange(Frozen):
    """One bond of a molecule, free and adsorbed; only the two together mean something.

    Attributes
    ----------
    name
        Elements and indices in the free molecule, such as ``C0-O1``.
    free_ev, adsorbed_ev
        By the study's measure; ``None`` for a bond that is gone or whose calculation was refused.
    change_ratio
        ``adsorbed_ev / free_ev - 1``; negative where adsorption weakens the bond.
    intact
        Whether the two atoms are still bonded, by distance.
    """

    name: str
    atoms: tuple[int, int]
    elements: tuple[str, str]
    free_ang: Ang
    adsorbed_ang: Ang
    free_ev: Ev
    adsorbed_ev: Ev | None
    change_ratio: Dimensionless | None
    intact: bool


class OrientedBonds(Frozen):
    """The bonds of a molecule that was put on a surface in one orientation and relaxed.

    Attributes
    ----------
    turn_deg, tilt_deg
        As placed; the relaxation may have turned it further.
    adsorption_energy_ev
        At the level of the relaxation, not certified: it ranks the orientations.
    refusal
        Why no change of this orientation counts; ``None`` where it does.
    """

    label: str
    turn_deg: Deg
    tilt_deg: Deg
    site: str
    converged: bool
    adsorption_energy_ev: Ev
    closest_contact: str
    closest_contact_ang: Ang
    anomalies: tuple[Anomaly, ...]
    bonds: tuple[BondChange, ...]
    refusal: str | None
    structure: Structure
    provenance: Provenance

    @property
    def weakest(self) -> BondChange | None:
        """The bond between heavy atoms that lost most, or broke; ``None`` where none was measured."""
        counted = [
            b for b in self.bonds if "H" not in b.elements and (b.change_ratio is not None or not b.intact)
        ]
        return min(counted, key=lambda b: -2.0 if b.change_ratio is None else b.change_ratio, default=None)


class HydrogenAbstraction(Frozen):
    """A hydrogen of the molecule on an oxygen of the surface: did it go, and what would it cost.

    Attributes
    ----------
    spontaneous
        Orientations whose relaxation ended with a hydrogen on the surface.
    shared
        Orientations whose relaxation ended with a hydrogen on its way: still the molecule's, and nearer to an
        oxygen of the surface than any hydrogen bond of a C-H holds it. Energies start from such a state.
    donor, hydrogen, acceptor
        Atoms of the transfer that was computed, by element and index in the adslab.
    energy_ev
        Energy after the transfer, relaxed, less that of the most stable orientation: negative where the
        surface gains by it. ``None`` where it is refused.
    refusal
        Why there is no energy.
    barrier_ev
        Highest energy on the path, from the adsorbed state: of a band the saddle; of a constrained scan
        (hydrogen, donor and acceptor held, the rest relaxed) an upper bound, good to the spacing of the
        images. ``None`` where it was not asked for or is refused.
    barrier_method
        ``None`` where no barrier was asked for.
    barrier_path
        Distance from hydrogen to acceptor (A) and energy (eV) of each image, both ends included.
    summit
        The highest structure between the ends of a path that is not refused.
    """

    spontaneous: tuple[str, ...]
    donor: str | None
    hydrogen: str | None
    acceptor: str | None
    energy_ev: Ev | None
    refusal: str | None
    structure: Structure | None
    barrier_ev: Ev | None = None
    barrier_method: BarrierMethod | None = None
    barrier_refusal: str | None = None
    barrier_path: tuple[tuple[Ang, Ev], ...] = ()
    summit: Structure | None = None
    shared: tuple[str, ...] = ()


class BondStudy(Frozen):
    """Is a molecule's backbone weakened by a surface, and how much does its orientation matter.

    Attributes
    ----------
    state
        Charge state of the cathode, such as ``charged``; ``as cut`` otherwise.
    level
        Of the relaxations.
    measure, basis, k_points
        How the bonds were measured, on the relaxed geometries.
    strongest_weakening_ratio, orientation_spread_ratio
        Over the orientations that count: the most negative change of a backbone bond, and how far
        the orientations' weakest bonds lie apart; ``None`` where none counts.
    spilling_percent
        Largest absolute spilling of a LOBSTER projection; ``None`` for other measures.
    """

    kind: Literal["bond_strength"] = "bond_strength"
    cathode: str
    state: str
    facet: str
    termination: str
    molecule: str
    level: LevelOfTheory
    measure: BondMeasure
    program: str
    basis: str
    k_points: str
    status: Status
    refusal: str | None
    orientations: tuple[OrientedBonds, ...]
    weakest_bond: str | None
    strongest_weakening_ratio: Dimensionless | None
    orientation_spread_ratio: Dimensionless | None
    spilling_percent: float | None
    abstraction: HydrogenAbstraction
    statement: str
    stand_in: bool
    code_version: str
    parameters: dict[str, Scalar]


def _bonds_methods(records: Sequence[BondStudy]) -> str:
    programs = sorted({f"{r.program}, basis {r.basis}, {r.k_points}" for r in records})
    return f"Bonds: {'; '.join(programs)}; only the change of one bond between two geometries is stated."


BOND_STRENGTH = RecordKind(
    name="bond_strength",
    record=BondStudy,
    about="what a surface does to the bonds of a molecule",
    asked=lambda r: {
        **picked(r, "code_version cathode state facet termination molecule measure parameters level"),
        "formula": [o.structure.composition.formula for o in r.orientations],
    },
    columns=columns(
        f"cathode state facet termination molecule {LEVEL_NAME} {FINGERPRINT}",
        "measure basis k_points status refusal orientations:int",
        Column("orientations_counted", int, lambda r: sum(o.refusal is None for o in r.orientations)),
        "weakest_bond strongest_weakening_ratio:float orientation_spread_ratio:float spilling_percent",
        "hydrogen_taken_by_itself=abstraction.spontaneous hydrogen_shared=abstraction.shared",
        "abstraction_energy_ev=abstraction.energy_ev abstraction_refusal=abstraction.refusal",
        "abstraction_barrier_ev=abstraction.barrier_ev abstraction_barrier_method=abstraction.barrier_method",
        "abstraction_barrier_refusal=abstraction.barrier_refusal statement",
        *STAND_IN,
    ),
    shown=(
        "state", "facet", "molecule", "measure", "weakest_bond", "strongest_weakening_ratio",
        "abstraction_energy_ev", "abstraction_barrier_ev", "refusal",
    ),
    title="{molecule} on ({facet})",
    number=Number("strongest_weakening_ratio", on_page=False),
    definition="The same bond of the free and of the adsorbed molecule, by the same measure.",
    methods=_bonds_methods,
    drawings=("bonds",),
)  # fmt: skip
