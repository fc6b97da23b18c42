"""Nudged elastic bands with a potential: the way between two minima, and the saddle on it.

ASE's band is driven here rather than atomate2's, which judges convergence by the whole force on every
image (only the climbing one may lose the part along the path), copies the weights once an image, and
climbs from the first step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jobflow import Maker, job

from epilayer.engines.mlip import calculators
from epilayer.engines.provenance import provenance_of
from epilayer.model.errors import InputError
from epilayer.model.path import FEWEST_IMAGES, ReactionPath

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.engines.mlip.engine import MlipEngine
    from epilayer.model.level import Convergence

    Floats = NDArray[np.float64]

_SPRING_EV_PER_ANG2: Final = 0.5
#: The highest image begins to climb once the band is this many times the target from rest.
_CLIMB_FROM: Final = 4.0
_FILE: Final = "band.extxyz"


@dataclass(frozen=True)
class Band:
    """Images between two ends, at rest or not.

    Parameters
    ----------
    images
        Both ends included; each carries its energy and forces.
    image_forces_ev_per_ang
        Largest force of the band on an atom, per image between the ends.
    steps
        Of the optimiser, both stages together.
    """

    images: list[Atoms]
    image_forces_ev_per_ang: tuple[float, ...]
    steps: int


def relax_band(
    before: Atoms,
    after: Atoms,
    calculator: Calculator,
    *,
    images: int,
    max_force_ev_per_ang: float,
    max_steps: int,
) -> Band:
    """Relax a climbing-image nudged elastic band between two structures.

    Improved tangents (Henkelman and Jonsson, doi 10.1063/1.1323224), the highest image climbs
    (doi 10.1063/1.1329672), the first guess follows the image-dependent pair potential
    (doi 10.1063/1.4878664). Atoms that constraints hold stay where they are.

    Parameters
    ----------
    before, after
        The same atoms in the same order and cell; periodic images are matched to the nearest.
    calculator
        Shared by all images.
    images
        Between the ends, at least 3.
    max_force_ev_per_ang
        Largest force across the path (for the climbing image: in all) at which the band rests.

    Raises
    ------
    InputError
        If the two ends are not the same atoms in one cell, or there are too few images.
    """
    from ase.calculators.mixing import SumCalculator
    from ase.mep import NEB
    from ase.optimize import FIRE

    _check_ends(before, after, images)
    band = [before.copy(), *(before.copy() for _ in range(images)), after.copy()]
    for image in band:
        image.calc = SumCalculator([calculator])  # remembers its own image; the weights are shared
    options: dict[str, Any] = {"k": _SPRING_EV_PER_ANG2, "method": "improvedtangent"}
    NEB(band, **options).interpolate(
        method="idpp", mic=bool(before.pbc.any()), apply_constraint=bool(before.constraints)
    )
    still = FIRE(NEB(band, **options), logfile=None)
    still.run(fmax=_CLIMB_FROM * max_force_ev_per_ang, steps=max_steps)
    climbing = NEB(band, climb=True, **options)
    climb = FIRE(climbing, logfile=None)
    climb.run(fmax=max_force_ev_per_ang, steps=max_steps - still.nsteps)
    forces = climbing.get_forces().reshape(images, len(before), 3)
    largest = np.linalg.norm(forces, axis=2).max(axis=1)
    return Band(band, tuple(map(float, largest)), int(still.nsteps + climb.nsteps))


def _check_ends(before: Atoms, after: Atoms, images: int) -> None:
    if images < FEWEST_IMAGES:
        raise InputError(f"{images} images do not show a saddle.", f"Ask for at least {FEWEST_IMAGES}.")
    same_atoms = np.array_equal(before.numbers, after.numbers)
    if not same_atoms or not np.allclose(before.cell.array, after.cell.array, atol=1e-4):
        raise InputError(
            "The two ends of the path are not the same atoms, in the same order, in one cell.",
            "Build the second end from the first one.",
        )


@dataclass(kw_only=True)
class BandMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """One job: the band between two relaxed structures, of any engine that is a potential."""

    name: str = "path"
    engine: MlipEngine
    images: int
    convergence: Convergence

    @job  # type: ignore[untyped-decorator]
    def make(self, before: Structure, after: Structure) -> ReactionPath:
        """Relax the band and return it, at rest or not."""
        level, started = self.engine.executed(), time.perf_counter()
        ends = [s.to_ase_atoms() for s in (before, after)]
        calculator = calculators.load(**self.engine.calculator_arguments())
        calculators.begin_from(calculator, ends[0])
        band = relax_band(
            ends[0],
            ends[1],
            calculator,
            images=self.images,
            max_force_ev_per_ang=self.convergence.max_force_ev_per_ang,
            max_steps=self.convergence.max_steps,
        )
        energies_ev = [float(image.get_potential_energy()) for image in band.images]
        if not np.isfinite([*energies_ev, *band.image_forces_ev_per_ang]).all():
            raise calculators.not_finite(
                self.name, "Look at the two ends: atoms may pass through one another between them."
            )
        return ReactionPath(
            label=self.name,
            level=level,
            method=f"climbing-image NEB, {self.images} images",
            structures=tuple(_as(before, image) for image in band.images),
            energies_ev=tuple(energies_ev),
            travelled_ang=_travelled_ang(band.images),
            image_forces_ev_per_ang=band.image_forces_ev_per_ang,
            end_forces_ev_per_ang=(_largest_force(band.images[0]), _largest_force(band.images[-1])),
            force_target_ev_per_ang=self.convergence.max_force_ev_per_ang,
            steps=band.steps,
            max_steps=self.convergence.max_steps,
            wall_time_s=time.perf_counter() - started,
            provenance=provenance_of([_write(band.images)], level),
        )


def _largest_force(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def _as(template: Structure, atoms: Atoms) -> Structure:
    """Return a structure with the cell and properties of the template where the atoms are."""
    placed = template.copy()
    for i, place in enumerate(atoms.get_scaled_positions(wrap=False)):
        placed[i].frac_coords = place
    return placed


def _travelled_ang(images: list[Atoms]) -> tuple[float, ...]:
    from ase.geometry import find_mic

    steps = [
        np.linalg.norm(find_mic(b.positions - a.positions, a.cell, a.pbc)[0]) for a, b in pairwise(images)
    ]
    return tuple(float(x) for x in np.cumsum([0.0, *steps]))


def _write(images: list[Atoms]) -> Path:
    from ase.io import write

    path = Path(_FILE)
    partial = path.with_suffix(".partial")
    write(partial, images, format="extxyz")
    partial.replace(path)
    return path
