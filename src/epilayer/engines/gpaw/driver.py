"""The program that GPAW's own interpreter runs: JSON lines in, JSON lines out.

It imports nothing of epilayer. The first line of standard input is the request (parameters, atoms, where to
keep the density); every further line is a geometry, answered by one line of kind ``step``. A line of kind
``iteration`` follows every iteration of the electronic loop. The end of standard input ends the program, and
so does the end of the process that started it.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 2.0
FIXED_POTENTIAL_PASSES = 3


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()

    def answer(kind: str, **content: object) -> None:
        if rank == 0:
            answers.write(json.dumps({"kind": kind, **content}) + "\n")
            answers.flush()

    rank = 0
    try:
        from gpaw.mpi import world

        rank = world.rank
        computation = Computation(json.loads(_next_line(world)), world, answer)
        while line := _next_line(world):
            computation.step(json.loads(line)["positions_ang"])
    except BaseException as error:
        answer("failed", cause=cause_of(error), what=f"{type(error).__name__}: {error}")
        raise


def _next_line(world: Any) -> str:  # noqa: ANN401  (gpaw is not installed where this is checked)
    from gpaw.mpi import broadcast_string

    return str(broadcast_string(sys.stdin.readline() if world.rank == 0 else None, comm=world))


def _end_with(parent: int) -> None:
    """End this process when the one that asked is gone: nobody would read the answer."""
    while True:
        time.sleep(POLL_S)
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os._exit(1)


def cause_of(error: BaseException) -> str:
    """Name the class of a failure."""
    from gpaw import ConvergenceError

    if isinstance(error, ConvergenceError):
        return "electronic_not_converged"
    if isinstance(error, MemoryError):
        return "out_of_memory"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full"
    text = str(error)
    if isinstance(error, FileNotFoundError) and ("setup" in text.lower() or "dataset" in text.lower()):
        return "dataset_missing"
    return "other"


class Computation:
    """One set of atoms, computed at one geometry after another."""

    def __init__(self, request: dict[str, Any], world: Any, answer: Callable[..., None]) -> None:  # noqa: ANN401  (as above)
        import gpaw
        from ase import Atoms, units
        from gpaw.dft import Parameters
        from gpaw.new.logger import Logger

        self.hartree_ev = float(units.Hartree)
        self.answer, self.done = answer, 0
        self.checkpoint, self.every_s = request["checkpoint"], request["checkpoint_every_s"]
        self.restart = request.get("restart")
        self.params = Parameters(**request["parameters"])
        self.log = Logger(request["log"], world)
        self.atoms = Atoms(
            request["symbols"],
            positions=request["positions_ang"],
            cell=request["cell_ang"],
            pbc=request["pbc"],
        )
        self.atoms.set_initial_magnetic_moments(request["moments_mu_b"])
        self.dft: Any = None
        self.versions = {"gpaw": gpaw.__version__, "libxc": gpaw.get_libraries().get("libxc", "")}
        answer("ready", **self.versions, ranks=world.size)

    def step(self, positions_ang: list[list[float]]) -> None:
        """Compute energy (eV), forces (eV/A) and moments (mu_B) at a geometry.

        Its density is kept at the end, and as it is every ``checkpoint_every_s`` seconds before.
        """
        from gpaw.new.calculation import DFT

        self.atoms.set_positions(positions_ang)
        if self.dft is not None:
            self.dft = self.dft.move_atoms(self.atoms.copy())
        elif self.restart:
            self.dft = self._from_density(self.restart)
        else:
            atoms, log = self.atoms.copy(), self.log
            self.dft = DFT.from_parameters(atoms, self.params, log.comm, log, converge=False)
        iterations, kept_s = 0, time.monotonic()
        for state in self.dft.iconverge():
            iterations = state.niter
            if self.log.comm.max_scalar(time.monotonic() - kept_s) >= self.every_s:  # ranks agree
                self._keep()
                kept_s = time.monotonic()
            self.answer(
                "iteration",
                step=self.done,
                iteration=iterations,
                energy_ev=float(state.energies.total_extrapolated) * self.hartree_ev,
                moment_mu_b=float(state.dens.calculate_magnetic_moments()[0][2]),
            )
        energy_ev = self.dft.calculate_energy()
        forces = self.dft.calculate_forces()
        total, moments = self.dft.magmoms()
        self._keep()
        self.answer(
            "step",
            step=self.done,
            iterations=iterations,
            positions_ang=positions_ang,
            energy_ev=float(energy_ev),
            forces_ev_per_ang=forces.tolist(),
            moments_mu_b=moments[:, 2].tolist(),
            total_moment_mu_b=float(total[2]),
            dipole_e_ang=self.dft.calculate_dipole().tolist(),
            datasets={
                setup.symbol: f"{Path(str(setup.filename)).name}, md5 {setup.fingerprint}"
                for setup in self.dft.setups
            },
            versions=self.versions,
        )
        self.done += 1

    def _from_density(self, file: str) -> Any:  # noqa: ANN401  (as above)
        """Begin with a density of this or another geometry, and wave functions made in its potential."""
        from gpaw.new.calculation import DFT
        from gpaw.new.gpw import read_gpw

        density = read_gpw(file, log=self.log)[1].density
        atoms = self.atoms.copy()
        builder = self.params.dft_component_builder(atoms, log=self.log, comm=self.log.comm)
        basis = builder.create_basis_set()
        loop = builder.create_scf_loop()
        potentials = builder.create_potential_calculator()
        density.move(potentials.relpos_ac, density.D_asii.layout.atomdist)
        potential, energies, _ = potentials.calculate_without_orbitals(
            density, kpt_band_comm=builder.communicators["D"]
        )
        waves = builder.create_ibz_wave_functions(basis, potential)
        for _ in range(FIXED_POTENTIAL_PASSES):
            energies = loop.eigensolver.iterate(
                waves, density, potential, loop.hamiltonian, potentials, energies
            )[2]
        return DFT.from_components(
            atoms, waves, density, potential, builder.setups, loop, potentials, self.log, self.params,
            energies, converge=False,
        )  # fmt: skip

    def _keep(self) -> None:
        """Replace the checkpoint by the present density, without wave functions."""
        from gpaw.new.gpw import GPWFlags, write_gpw

        partial = f"{self.checkpoint}.partial"
        write_gpw(partial, self.dft, GPWFlags(False, False, "double"))
        if self.log.comm.rank == 0:
            Path(partial).replace(self.checkpoint)


if __name__ == "__main__":
    main()
