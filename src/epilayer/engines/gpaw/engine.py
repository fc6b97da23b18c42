"""The engine for density-functional theory without a licence: GPAW, in a process of its own.

The optimiser, the dispersion correction and the judgement are here; GPAW answers geometries
(:mod:`epilayer.engines.gpaw.process`). Every answer is on disk before the next geometry is asked for, and the
density every two minutes, so an attempt that was killed goes on from its last ionic step and density.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from jobflow import Maker, job
from monty.json import MSONable
from pymatgen.core import Lattice, Structure

from epilayer.engines.base import refuse_disorder
from epilayer.engines.gpaw import inputs
from epilayer.engines.gpaw.process import (
    CHECKPOINT,
    JOURNAL,
    LOG,
    GpawProcess,
    failure,
    keep,
    steps_in,
)
from epilayer.engines.mlip import calculators
from epilayer.engines.provenance import provenance
from epilayer.engines.vasp.inputs import moments_by_element, resolved_u_ev
from epilayer.model.errors import InputError
from epilayer.model.files import write_atomic
from epilayer.model.level import Convergence, EngineKind, EngineSpec, Level, LevelOfTheory
from epilayer.model.records import Calculation

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    from epilayer.model.cathode import Cathode
    from epilayer.model.gpaw import GpawSettings, IonicStep

_REQUEST = "gpaw_input.json"
_TRAJECTORY = "relaxation.extxyz"
_KEPT = (_REQUEST, JOURNAL, LOG, _TRAJECTORY)
_H2_EV = -6.72
"""At 0.75 A in a cube of 6 A, PBE, 400 eV, counted from GPAW's reference atoms."""
_H2_CUTOFF_EV = 0.1
"""Other cutoffs and D3 are within; another functional or a broken build is not."""
_LBFGS_CURVATURE_EV_PER_ANG2 = 30.0


@dataclass(frozen=True)
class GpawEngine(MSONable):  # type: ignore[misc]  # monty is untyped
    """Energies from GPAW; satisfies :class:`epilayer.engines.base.Engine`.

    Parameters
    ----------
    spec
        The engine as configured.
    level
        The level of theory that was asked for, with its ``gpaw`` block.
    hubbard_u_ev
        U by element (eV), resolved from the level or the cathode.
    moments
        Start moments (mu_B) by element or species, resolved from the cathode's oxidation states.
    """

    spec: EngineSpec
    level: Level
    hubbard_u_ev: dict[str, float] = field(default_factory=dict)
    moments: dict[str, float] = field(default_factory=dict)

    @classmethod
    def for_cathode(cls, spec: EngineSpec, level: Level, cathode: Cathode | None) -> GpawEngine:
        """Resolve what the level leaves to the cathode: U values, and start moments by oxidation state."""
        if level.gpaw is None:
            raise InputError(
                f"The level {level.name!r} uses the engine {spec.name!r} and has no gpaw block.",
                "Give it one, or parent: pbe.",
            )
        return cls(spec, level, resolved_u_ev(level.gpaw.hubbard, cathode), moments_by_element(cathode))

    @property
    def settings(self) -> GpawSettings:
        """The level's ``gpaw`` block."""
        assert self.level.gpaw is not None  # noqa: S101  (for_cathode refuses a level without one)
        return self.level.gpaw

    @property
    def stand_in(self) -> bool:
        """GPAW computes what it says."""
        return False

    @property
    def sees_charge(self) -> bool:
        """The number of electrons follows the charge of the cell."""
        return True

    def relax(self, label: str, convergence: Convergence | None = None) -> GpawMaker:
        """Relax the positions in a fixed cell."""
        return GpawMaker(
            name=label, engine=self, task="relax", convergence=convergence or self.level.convergence
        )

    def static(self, label: str) -> GpawMaker:
        """Compute energy and forces of the structure as it is."""
        return GpawMaker(name=label, engine=self, task="static", convergence=self.level.convergence)

    def check(self) -> str:
        """Compute a hydrogen molecule, and return with which versions.

        Raises
        ------
        EngineError
            With the line that installs what is missing, or if the energy is not the known one.
        """
        places = [[3.0, 3.0, 3.0], [3.0, 3.0, 3.75]]
        pair = Structure(Lattice.cubic(6.0), ["H", "H"], places, coords_are_cartesian=True)
        with TemporaryDirectory() as folder:
            forces = GpawForces(self.static("H2"), pair, Path(folder))
            energy_ev = forces.get_potential_energy(pair.to_ase_atoms())
            forces.end()
        if abs(energy_ev - _H2_EV) > _H2_CUTOFF_EV:
            raise failure("other", f"H2 has {energy_ev:.3f} eV, known is {_H2_EV:.2f} eV")
        return ", ".join(f"{name} {version}" for name, version in forces.steps[-1].versions.items())

    def executed(
        self, structure: Structure, datasets: dict[str, str], versions: dict[str, str]
    ) -> LevelOfTheory:
        """Return the level of theory as it was executed for one structure."""
        settings = self.settings
        words = inputs.system_words(settings, structure)
        dispersion = self.level.dispersion
        return LevelOfTheory(
            name=self.level.name,
            kind=EngineKind.DFT,
            method=f"{settings.functional}, GPAW",
            dispersion=dispersion.label if dispersion else None,
            numerics={
                "functional": settings.functional,
                "cutoff_ev": settings.cutoff_ev,
                "smearing": f"Gaussian {settings.smearing_ev:g} eV, extrapolated to zero width",
                "energy_tolerance_ev_per_electron": settings.energy_tolerance_ev_per_electron,
                "gpaw": versions["gpaw"],
                **({"dftd3": calculators.dispersion_version()} if dispersion else {}),
            },
            elements=inputs.element_words(self.hubbard_u_ev, datasets),
            system=words,
            declared=words,
        )


@dataclass(kw_only=True)
class GpawMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """One relaxation or single point with GPAW."""

    name: str = "calculation"
    engine: GpawEngine
    task: Literal["relax", "static"]
    convergence: Convergence

    @job  # type: ignore[untyped-decorator]
    def make(self, structure: Structure) -> Calculation:
        """Compute ``structure`` and return a :class:`epilayer.model.records.Calculation`."""
        refuse_disorder(structure, self.name)
        return self.compute(structure, Path.cwd())

    def compute(self, structure: Structure, directory: Path) -> Calculation:
        """Compute ``structure`` in a directory, going on from an earlier attempt beside it."""
        started = time.perf_counter()
        done = GpawForces(self, structure, directory)
        atoms = structure.to_ase_atoms()
        atoms.calc = done
        try:
            if self.task == "relax":
                _relax(atoms, self.convergence)
            else:
                atoms.get_forces()
        finally:
            done.end()
        unfinished = directory / f"{_TRAJECTORY}.partial"
        write(unfinished, done.frames, format="extxyz")
        unfinished.replace(directory / _TRAJECTORY)
        final = structure.copy()
        for site, place in zip(final, atoms.get_scaled_positions(wrap=False), strict=True):
            site.frac_coords = place
        energies = tuple(float(frame.get_potential_energy()) for frame in done.frames)
        largest = tuple(float(np.linalg.norm(frame.get_forces(), axis=1).max()) for frame in done.frames)
        last, target = done.steps[-1], self.convergence.max_force_ev_per_ang
        return Calculation(
            task=self.task,
            label=self.name,
            level=self.engine.executed(structure, last.datasets, last.versions),
            structure=final,
            energy_ev=energies[-1],
            dispersion_energy_ev=energies[-1] - last.energy_ev if self.engine.level.dispersion else None,
            max_force_ev_per_ang=largest[-1],
            force_target_ev_per_ang=target if self.task == "relax" else None,
            ionic_converged=largest[-1] <= target,
            electronic_converged=True,
            energies_ev=energies,
            max_forces_ev_per_ang=largest,
            magnetic_moments_mu_b=last.moments_mu_b,
            corrections=done.resumed,
            wall_time_s=time.perf_counter() - started,
            provenance=provenance(directory, _KEPT, ("jobflow", "pymatgen", "ase"), last.versions),
        )


class GpawForces(Calculator):  # type: ignore[misc]  # ASE is untyped
    """Energy and forces by GPAW and D3, each geometry computed once in the life of a job.

    Parameters
    ----------
    maker
        What is computed, at which level.
    structure
        The first geometry.
    directory
        Where everything is written; earlier attempts of the same request are beside it.

    Attributes
    ----------
    steps
        What GPAW computed, in order.
    frames
        The same geometries, with D3 in their energies (eV) and forces (eV/A).
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, maker: GpawMaker, structure: Structure, directory: Path) -> None:
        super().__init__()
        engine = maker.engine
        self._label, self._directory = maker.name, directory
        self._request = inputs.request(engine.settings, engine.hubbard_u_ev, engine.moments, structure)
        # The total moment of a molecule is fixed; little of it is inside the spheres of light atoms.
        fixed = self._request["parameters"]["occupations"].get("fixmagmom", False)
        self._order = [0.0] * len(structure) if fixed else self._request["moments_mu_b"]
        self._offset_ang = inputs.offset_ang(engine.settings, structure)
        dispersion = engine.level.dispersion
        self._dispersion = calculators.dispersion_calculator(dispersion) if dispersion else None
        self._process: GpawProcess | None = None
        self.steps: list[IonicStep] = []
        self.frames: list[Atoms] = []
        self.resumed: tuple[str, ...] = ()
        write_atomic(directory / _REQUEST, json.dumps(self._request))
        self._recorded, self._restart = self._earlier()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute energy (eV) and forces (eV/A, shape (atoms, 3))."""
        super().calculate(atoms, properties, system_changes)
        step = self._step(self.atoms.positions + self._offset_ang)
        inputs.check_order(self._label, self._order, step.moments_mu_b)
        energy_ev, forces = step.energy_ev, np.array(step.forces_ev_per_ang)
        if self._dispersion is not None:
            energy_ev += float(self._dispersion.get_potential_energy(self.atoms))
            forces += self._dispersion.get_forces(self.atoms)
        frame = self.atoms.copy()
        frame.calc = SinglePointCalculator(frame, energy=energy_ev, forces=forces)
        self.steps.append(step)
        self.frames.append(frame)
        self.results = {"energy": energy_ev, "forces": forces}

    def end(self) -> None:
        """End GPAW."""
        if self._process is not None:
            self._process.close()

    def _step(self, positions_ang: NDArray[np.float64]) -> IonicStep:
        if self._recorded and np.array_equal(self._recorded[0].positions_ang, positions_ang):
            step = self._recorded.pop(0)
            keep(step, self._directory / JOURNAL)
            return step
        self._recorded = []
        if self._process is None:
            self._process = GpawProcess(self._request, self._directory, self._restart)
        return self._process.compute(positions_ang)

    def _in_order(self, step: IonicStep) -> bool:
        return inputs.lost_moment(self._order, step.moments_mu_b) is None

    def _earlier(self) -> tuple[list[IonicStep], Path | None]:
        """Return the steps and the density of the attempt of this request that came furthest.

        A step whose moments are not in the level's order is not gone on with, nor is its density.
        """
        mine = (self._directory / _REQUEST).read_bytes()
        best: list[IonicStep] = []
        density: Path | None = None
        for attempt in sorted(self._directory.parent.glob("attempt-*"), key=lambda d: d.stat().st_mtime):
            asked = attempt / _REQUEST
            if attempt == self._directory or not asked.is_file() or asked.read_bytes() != mine:
                continue
            steps = steps_in(attempt / JOURNAL)
            sound = list(takewhile(self._in_order, steps))
            kept = attempt / CHECKPOINT
            found = kept if kept.is_file() and sound == steps else None
            if (len(sound), found is not None) >= (len(best), density is not None):
                best, density = sound, found
                if sound:
                    self.resumed = (f"resumed after {len(sound)} ionic steps of {attempt.name}",)
                elif found:
                    self.resumed = (f"began with the density of {attempt.name}",)
        return best, density


def _relax(atoms: Atoms, convergence: Convergence) -> None:
    from ase.optimize import BFGS, FIRE, LBFGS

    kinds = {"LBFGS": partial(LBFGS, alpha=_LBFGS_CURVATURE_EV_PER_ANG2), "BFGS": BFGS, "FIRE": FIRE}
    optimiser = kinds[convergence.optimizer](atoms, logfile=None)
    optimiser.run(fmax=convergence.max_force_ev_per_ang, steps=convergence.max_steps)
