"""The engine protocol: what a flow needs of whatever computes energies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from epilayer.model.errors import StructureError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from jobflow import Job
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.model.cohp import Bond
    from epilayer.model.dynamics import DynamicsSettings, FileReference, Segment, SegmentLimit
    from epilayer.model.level import Convergence, Level


def refuse_disorder(structure: Structure, name: str) -> None:
    """Refuse a structure with partly occupied sites; ``name`` is the calculation's, for the error.

    Raises
    ------
    StructureError
        If a site is not occupied by one whole atom.
    """
    if not structure.is_ordered:
        raise StructureError(
            f"{name}: the structure is disordered ({structure.composition.reduced_formula}).",
            "Choose an ordering first (epilayer.structures.orderings).",
        )


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
        """Whether this engine replaces a real one in tests, so that no number of it is a result."""

    @property
    def sees_charge(self) -> bool:
        """Whether its energies depend on the total charge of the cell."""

    def relax(self, label: str, convergence: Convergence | None = None) -> CalculationMaker:
        """Relax the positions in a fixed cell; ``convergence`` replaces the level's own."""

    def static(self, label: str) -> CalculationMaker:
        """Compute energy and forces of the structure as it is."""


class FrameLog(Protocol):
    """One stored trajectory, open for writing by one process."""

    def __len__(self) -> int:
        """Return the number of frames, whole ones only."""

    def append(
        self,
        step: int,
        positions_ang: NDArray[np.float64],
        cell_ang: NDArray[np.float64],
        energy_ev: float,
        temperature_k: float,
    ) -> None:
        """Add the frame of an absolute step; it is safe on disk after the next ``flush``."""

    def flush(self) -> None:
        """Wait until every frame is on disk, and visible to other processes."""

    def cut(self, frames: int) -> None:
        """Forget what follows the first ``frames`` frames: it was written after the last checkpoint."""

    def close(self) -> FileReference:
        """Flush, let go of the file and return what to find it by."""


class FrameStore(Protocol):
    """Where the frames of segments go: a value (MSONable) that the flow hands to the engine."""

    def open(
        self, directory: Path, symbols: Sequence[str], masses_amu: Sequence[float], time_step_fs: float
    ) -> FrameLog:
        """Open the trajectory in a folder for appending; made if absent."""


class SegmentMaker(Protocol):
    """A jobflow Maker whose job runs one segment of a trajectory and puts out a ``Segment``."""

    name: str

    def make(self, start: Structure, previous: Segment | None = None) -> Job:
        """Return the job that begins at ``start``, or continues from where ``previous`` ended.

        An attempt that was killed left a checkpoint in the trajectory's folder: the next attempt of the
        same job continues from there. ``start`` is always the start of the whole trajectory. What moves
        is said by its site property ``selective_dynamics``.
        """


@runtime_checkable
class MdEngine(Engine, Protocol):
    """An engine that runs a trajectory in segments as if it had never been cut."""

    def segment(
        self,
        label: str,
        settings: DynamicsSettings,
        frames: FrameStore,
        limit: SegmentLimit | None = None,
    ) -> SegmentMaker:
        """Run the next segment of a trajectory of ``settings.steps`` steps.

        Raises (in the job) an ``EngineError`` for a checkpoint that is truncated or of another trajectory.
        """


class PathMaker(Protocol):
    """A jobflow Maker whose job takes two relaxed structures and puts out one ``ReactionPath``."""

    name: str

    def make(self, before: Structure, after: Structure) -> Job:
        """Return the job that looks for the way from one structure to the other."""


@runtime_checkable
class PathEngine(Engine, Protocol):
    """An engine that can also find the saddle between two minima."""

    def path(self, label: str, images: int) -> PathMaker:
        """Relax a band of ``images`` images between two structures of the same atoms in one order."""


class BondingMaker(Protocol):
    """A jobflow Maker whose job takes a structure and bonds, and puts out one ``Bonding``."""

    name: str

    def make(self, structure: Structure, bonds: Sequence[Bond]) -> Job:
        """Return the job that integrates ``bonds`` in ``structure``."""


@runtime_checkable
class BondingEngine(Engine, Protocol):
    """An engine that can also say how strong a bond is (-ICOHP)."""

    def bonding(self, label: str) -> BondingMaker:
        """Integrate the COHP and COOP of named bonds in a structure as it is."""
