"""The embedded engine: machine-learned (or toy) potentials through atomate2's force-field makers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from jobflow import Maker, job
from monty.json import MSONable

from epilayer.engines.base import refuse_disorder
from epilayer.engines.dynamics.md import MlipSegmentMaker
from epilayer.engines.mlip import calculators
from epilayer.engines.mlip.band import BandMaker
from epilayer.engines.provenance import provenance_of
from epilayer.model.dynamics import SegmentLimit
from epilayer.model.level import (
    Convergence,
    EngineKind,
    EngineSpec,
    Level,
    LevelOfTheory,
)
from epilayer.model.records import Calculation

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.engines.base import FrameStore
    from epilayer.model.cathode import Cathode
    from epilayer.model.dynamics import DynamicsSettings

_TRAJECTORY = "relaxation.extxyz"
_LBFGS_CURVATURE_EV_PER_ANG2 = 30.0
"""First guess of the curvature. ASE's 70 took 1.2 to 1.5 times the steps on molecules at NVOPF slabs."""


@dataclass(frozen=True)
class MlipEngine(MSONable):  # type: ignore[misc]  # monty is untyped
    """Energies from an interatomic potential; satisfies :class:`epilayer.engines.base.Engine`.

    Parameters
    ----------
    spec
        Which potential, with which weights.
    level
        The level of theory that was asked for (dispersion, convergence).
    """

    spec: EngineSpec
    level: Level

    @classmethod
    def for_cathode(cls, spec: EngineSpec, level: Level, _cathode: Cathode | None = None) -> Self:
        """Return the engine; a potential needs nothing of the cathode."""
        return cls(spec, level)

    @property
    def stand_in(self) -> bool:
        """Whether this is the toy potential."""
        return self.spec.kind is EngineKind.TOY

    @property
    def sees_charge(self) -> bool:
        """No potential here takes the total charge: an ion is computed as if it were neutral."""
        return False

    def relax(self, label: str, convergence: Convergence | None = None) -> PotentialMaker:
        """Relax the positions in a fixed cell."""
        return PotentialMaker(
            name=label,
            engine=self,
            task="relax",
            convergence=convergence or self.level.convergence,
        )

    def static(self, label: str) -> PotentialMaker:
        """Compute energy and forces of the structure as it is."""
        return PotentialMaker(name=label, engine=self, task="static", convergence=self.level.convergence)

    def segment(
        self, label: str, settings: DynamicsSettings, frames: FrameStore, limit: SegmentLimit | None = None
    ) -> MlipSegmentMaker:
        """Run the next segment of a trajectory."""
        return MlipSegmentMaker(
            name=label, engine=self, settings=settings, frames=frames, limit=limit or SegmentLimit()
        )

    def path(self, label: str, images: int) -> BandMaker:
        """Relax a climbing-image band between two structures, to the forces of a relaxation."""
        return BandMaker(name=label, engine=self, images=images, convergence=self.level.convergence)

    def executed(self) -> LevelOfTheory:
        """Return the level of theory as it is executed on this machine, weights checked."""
        versions = {self.spec.package: calculators.package_version(self.spec)} if self.spec.package else {}
        if self.level.dispersion is not None:
            versions["dftd3"] = calculators.dispersion_version()
        return LevelOfTheory(
            name=self.level.name,
            kind=self.spec.kind,
            method=self.spec.method,
            dispersion=self.level.dispersion.label if self.level.dispersion else None,
            weights_sha256=calculators.weights_sha256(self.spec),
            numerics={**versions, **self.spec.calculator_kwargs},
            stand_in=self.stand_in,
        )

    def calculator_arguments(self) -> dict[str, Any]:
        """Return what :func:`epilayer.engines.mlip.calculators.load` needs to build the calculator."""
        dispersion = self.level.dispersion
        return {
            "spec": self.spec.model_dump(mode="json"),
            "dispersion": dispersion.model_dump(mode="json") if dispersion else None,
        }


@dataclass(kw_only=True)
class PotentialMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """One relaxation or single point with a potential."""

    name: str = "calculation"
    engine: MlipEngine
    task: Literal["relax", "static"]
    convergence: Convergence

    @job  # type: ignore[untyped-decorator]
    def make(self, structure: Structure) -> Calculation:
        """Compute ``structure`` and return a :class:`epilayer.model.records.Calculation`."""
        refuse_disorder(structure, self.name)
        level = self.engine.executed()
        started = time.perf_counter()
        result = _run(self, structure)
        # After a relaxation the observer looks at the last step once more.
        energies, forces = _steps(result.trajectory, last_repeated=self.task == "relax")
        if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
            raise calculators.not_finite(
                self.name, "Look at the starting structure for overlapping atoms; the last good step is kept."
            )
        final = result.final_mol_or_struct
        max_forces = np.linalg.norm(forces, axis=2).max(axis=1)
        written = _write_trajectory(result.trajectory, structure, energies, forces)
        return Calculation(
            task=self.task,
            label=self.name,
            level=level,
            structure=final,
            energy_ev=float(energies[-1]),
            dispersion_energy_ev=self._dispersion_energy_ev(final),
            max_force_ev_per_ang=float(max_forces[-1]),
            max_held_force_ev_per_ang=self._held_force_ev_per_ang(structure, final),
            displacements_ang=_displacements_ang(structure, final),
            force_target_ev_per_ang=self.convergence.max_force_ev_per_ang if self.task == "relax" else None,
            ionic_converged=bool(max_forces[-1] <= self.convergence.max_force_ev_per_ang),
            energies_ev=tuple(map(float, energies)),
            max_forces_ev_per_ang=tuple(map(float, max_forces)),
            magnetic_moments_mu_b=self._moments(final),
            wall_time_s=time.perf_counter() - started,
            provenance=provenance_of(written, level),
        )

    def _dispersion_energy_ev(self, structure: Structure) -> float | None:
        dispersion = self.engine.level.dispersion
        if dispersion is None:
            return None
        atoms = structure.to_ase_atoms()
        atoms.calc = calculators.dispersion_calculator(dispersion)
        return float(atoms.get_potential_energy())

    def _held_force_ev_per_ang(self, start: Structure, structure: Structure) -> float | None:
        """Return the largest force on a held atom; ``None`` without one, and for a pre-relaxation."""
        free = structure.site_properties.get("selective_dynamics")
        held = [] if free is None else [k for k, flags in enumerate(free) if not any(flags)]
        if not held or self.convergence != self.engine.level.convergence:
            return None
        atoms = structure.to_ase_atoms()
        atoms.calc = calculators.load(**self.engine.calculator_arguments())
        calculators.begin_from(atoms.calc, start.to_ase_atoms())
        forces = atoms.get_forces(apply_constraint=False)
        return float(np.linalg.norm(forces[held], axis=1).max())

    def _moments(self, structure: Structure) -> tuple[float, ...] | None:
        calculator = calculators.load(**self.engine.calculator_arguments())
        moments = calculators.magnetic_moments(calculator, structure.to_ase_atoms())
        return None if moments is None else tuple(map(float, moments))


def _run(maker: PotentialMaker, structure: Structure) -> Any:  # noqa: ANN401  (atomate2's AseResult)
    """Run through atomate2's maker, which makes a single point of one step."""
    from atomate2.forcefields.jobs import ForceFieldRelaxMaker

    wanted = maker.convergence
    relax = ForceFieldRelaxMaker(
        name=maker.name,
        force_field_name={"@module": calculators.__name__, "@callable": calculators.load.__name__},
        calculator_kwargs=maker.engine.calculator_arguments(),
        relax_cell=False,
        steps=wanted.max_steps if maker.task == "relax" else 1,
        optimizer_kwargs={"optimizer": wanted.optimizer},
        relax_kwargs={
            "fmax": wanted.max_force_ev_per_ang,
            **({"alpha": _LBFGS_CURVATURE_EV_PER_ANG2} if wanted.optimizer == "LBFGS" else {}),
            "verbose": True,
            "final_atoms_object_file": None,
            "use_emmet_models": False,
        },
    )
    return relax._run_ase_safe(structure)  # noqa: SLF001  (atomate2's entry without its task document)


def _displacements_ang(start: Structure, end: Structure) -> tuple[float, ...]:
    moved = end.frac_coords - start.frac_coords
    moved -= np.round(moved)
    return tuple(float(d) for d in np.linalg.norm(moved @ end.lattice.matrix, axis=1).round(4))


def _steps(
    trajectory: Any,  # noqa: ANN401  (pymatgen Trajectory)
    *,
    last_repeated: bool,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Energies (steps,) in eV and forces (steps, atoms, 3) in eV/A, without a repeated last frame."""
    properties = trajectory.frame_properties
    if last_repeated and len(properties) > 1:
        properties = properties[:-1]
    energies = np.array([p["energy"] for p in properties], dtype=float)
    return energies, np.array([p["forces"] for p in properties], dtype=float)


def _write_trajectory(
    trajectory: Any,  # noqa: ANN401  (pymatgen Trajectory)
    start: Structure,
    energies: NDArray[Any],
    forces: NDArray[Any],
) -> list[Path]:
    """Write every step as extended XYZ into the run directory."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    template: Atoms = start.to_ase_atoms()
    frames = []
    for index, (energy, force) in enumerate(zip(energies, forces, strict=True)):
        frame = template.copy()
        frame.set_scaled_positions(trajectory.coords[index])
        frame.calc = SinglePointCalculator(frame, energy=energy, forces=force)
        frames.append(frame)
    path = Path(_TRAJECTORY)
    partial = path.with_suffix(".partial")
    write(partial, frames, format="extxyz")
    partial.replace(path)
    return [path]
