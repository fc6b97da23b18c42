"""A pair potential that cleaves: worker processes import it, and its energies count from free atoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from jobflow import job
from pymatgen.io.ase import AseAtomsAdaptor

from epilayer.engines.mlip.engine import MlipEngine, PotentialMaker
from epilayer.model.records import Calculation, Provenance

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from epilayer.model.level import Convergence

#: Rock salt with a nearest distance of 2.82 A sits close to the minimum of the pair potential.
SIGMA_ANG, CUTOFF_ANG = 2.60, 6.5


@dataclass(kw_only=True)
class LennardJonesMaker(PotentialMaker):
    """Relaxes with one Lennard-Jones potential between all atoms."""

    @job
    def make(self, structure: Structure) -> Any:  # noqa: ANN401
        mask = structure.site_properties.get("selective_dynamics")
        atoms = structure.copy().remove_site_property("selective_dynamics") if mask else structure
        atoms = AseAtomsAdaptor.get_atoms(atoms)
        atoms.calc = LennardJones(sigma=SIGMA_ANG, epsilon=0.1, rc=CUTOFF_ANG, smooth=True)
        held = np.array([not any(flags) for flags in mask]) if mask else np.zeros(len(atoms), dtype=bool)
        atoms.set_constraint(FixAtoms(mask=held))
        energies = [float(atoms.get_potential_energy())]
        optimiser = BFGS(atoms, logfile=None)
        optimiser.attach(lambda: energies.append(float(atoms.get_potential_energy())))
        optimiser.run(fmax=self.convergence.max_force_ev_per_ang, steps=self.convergence.max_steps)
        force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        atoms.set_constraint()
        final = AseAtomsAdaptor.get_structure(atoms)
        if mask:
            final.add_site_property("selective_dynamics", mask)
        return Calculation(
            task="relax",
            label=self.name,
            level=self.engine.executed(),
            structure=final,
            energy_ev=energies[-1],
            max_force_ev_per_ang=force,
            force_target_ev_per_ang=self.convergence.max_force_ev_per_ang,
            ionic_converged=force <= self.convergence.max_force_ev_per_ang,
            energies_ev=tuple(energies),
            max_forces_ev_per_ang=(force,) * len(energies),
            wall_time_s=0.0,
            provenance=Provenance(job="", run_directory=""),
        )


@dataclass(frozen=True)
class LennardJonesEngine(MlipEngine):
    """The pair potential as an engine."""

    def relax(self, label: str, convergence: Convergence | None = None) -> LennardJonesMaker:
        return LennardJonesMaker(
            name=label, engine=self, task="relax", convergence=convergence or self.level.convergence
        )
