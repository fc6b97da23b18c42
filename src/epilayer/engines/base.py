"""The engine protocol: what a flow needs of whatever computes energies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from jobflow import Job
    from pymatgen.core import Structure

    from epilayer.model.level import Convergence, Level, MolecularDynamicsSettings


class CalculationMaker(Protocol):
    """A jobflow Maker whose job takes one structure and puts out one ``Calculation``."""

    name: str

    def make(self, structure: Structure) -> Job:
        """Return the job that computes ``structure``."""


@runtime_checkable
class Engine(Protocol):
    """Computes energies at one level of theory.

    An engine is a value: it can be serialised (MSONable), so that dynamic jobs carry it along,
    and two equal engines put out comparable energies. Atoms that a structure's site property
    ``selective_dynamics`` holds stay where they are.
    """

    @property
    def level(self) -> Level:
        """The level of theory that was asked for."""

    @property
    def stand_in(self) -> bool:
        """Whether this engine only stands in for a real one, so that no number of it is a result."""

    @property
    def sees_charge(self) -> bool:
        """Whether its energies depend on the total charge of the cell."""

    def relax(self, label: str, convergence: Convergence | None = None) -> CalculationMaker:
        """Relax the positions in a fixed cell; ``convergence`` replaces the level's own."""

    def static(self, label: str) -> CalculationMaker:
        """Compute energy and forces of the structure as it is."""

    def md(self, label: str, settings: MolecularDynamicsSettings) -> CalculationMaker:
        """Run molecular dynamics at constant temperature."""
