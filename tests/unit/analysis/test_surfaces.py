"""Surface energies: known answers of a metal, and every reason to refuse one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import bulk as ase_bulk
from ase.build import fcc100, fcc110
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from epilayer.analysis.surfaces import ComputedSlab, SurfaceSystem, certify_surface, held_faces
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import Calculation, Provenance, RefusalCode, Status
from epilayer.model.surface import J_PER_M2_PER_EV_PER_ANG2, SurfaceEnergy

LEVEL = LevelOfTheory(name="emt", kind=EngineKind.TOY, method="EMT")
A_ANG = 3.594
"""Where the EMT energy of copper is least: a stretched bulk would make gamma grow with thickness."""


def calculation(structure: Structure, energies_ev: list[float], **changes: Any) -> Calculation:  # noqa: ANN401
    fields: dict[str, Any] = {
        "task": "relax",
        "label": "slab",
        "level": LEVEL,
        "structure": structure,
        "energy_ev": energies_ev[-1],
        "max_force_ev_per_ang": 0.01,
        "force_target_ev_per_ang": 0.05,
        "ionic_converged": True,
        "energies_ev": tuple(energies_ev),
        "max_forces_ev_per_ang": (0.01,) * len(energies_ev),
        "wall_time_s": 0.0,
        "provenance": Provenance(job="j", run_directory="r"),
    }
    return Calculation(**(fields | changes))


def copper(layers: int, *, hold: str = "nothing", rough: bool = False) -> ComputedSlab:
    """Relax a (100) or the rougher (110) slab of copper with EMT, all of it free or its bottom half held."""
    atoms = (fcc110 if rough else fcc100)("Cu", (1, 1, layers), a=A_ANG, vacuum=9.0)
    start = AseAtomsAdaptor.get_structure(atoms)
    atoms.calc = EMT()
    heights = atoms.positions[:, 2]
    held = heights < heights.mean() if hold == "bottom" else np.zeros(layers, dtype=bool)
    if held.any():
        atoms.set_constraint(FixAtoms(mask=held))
    energies = [float(atoms.get_potential_energy())]
    optimiser = BFGS(atoms, logfile=None)
    optimiser.attach(lambda: energies.append(float(atoms.get_potential_energy())))
    optimiser.run(fmax=0.001)
    atoms.set_constraint()
    final = AseAtomsAdaptor.get_structure(atoms)
    if held.any():
        final.add_site_property("selective_dynamics", [[not h] * 3 for h in held.tolist()])
    thickness = layers * A_ANG / 2
    return ComputedSlab(start=start, thickness_ang=thickness, calculation=calculation(final, energies))


def copper_bulk() -> Calculation:
    atoms = ase_bulk("Cu", "fcc", a=A_ANG)
    atoms.calc = EMT()
    return calculation(AseAtomsAdaptor.get_structure(atoms), [float(atoms.get_potential_energy())])


def system(**changes: Any) -> SurfaceSystem:  # noqa: ANN401
    fields: dict[str, Any] = {
        "cathode": "copper",
        "facet": "100",
        "termination": "100-t0",
        "ordering": "ordered",
        "tasker": "I",
        "moved": "",
        "broken_bonds_per_nm2": {"Cu-Cu": 61.9},
        "faces_equivalent": True,
        "polar": False,
    }
    return SurfaceSystem(**(fields | changes))


def test_gamma_of_a_metal_does_not_depend_on_the_thickness() -> None:
    bulk = copper_bulk()
    values = [
        certify_surface(system(), bulk, [copper(layers)]).surface_energy_j_per_m2 for layers in (6, 9, 12)
    ]
    assert values == pytest.approx([values[0]] * 3, abs=0.002)
    # By hand, once: twelve layers of the table of energies, in eV per face of a^2 / 2.
    slab = copper(12).calculation
    by_hand = (slab.energy_ev - 12 * bulk.energy_ev) / (2 * A_ANG**2 / 2) * J_PER_M2_PER_EV_PER_ANG2
    assert values[2] == pytest.approx(by_hand)
    assert 0.5 < by_hand < 2.0


def test_two_thicknesses_state_their_difference_and_widen_the_interval() -> None:
    thin, thick = copper(6), copper(9)
    bulk = copper_bulk()
    one = certify_surface(system(), bulk, [thick])
    both = certify_surface(system(), bulk, [thick, thin])
    assert one.thickness_change_j_per_m2 is None
    assert both.thickness_change_j_per_m2 is not None
    assert both.surface_energy_j_per_m2 == one.surface_energy_j_per_m2
    assert both.uncertainty_j_per_m2 == pytest.approx(
        (one.uncertainty_j_per_m2 or 0) + abs(both.thickness_change_j_per_m2)
    )
    assert [t.atoms for t in both.thicknesses] == [6, 9]


def test_a_half_held_slab_gives_the_relaxed_gamma_once_the_held_face_is_taken_off() -> None:
    bulk = copper_bulk()
    whole = certify_surface(system(), bulk, [copper(14, rough=True)])
    half = certify_surface(system(), bulk, [copper(14, hold="bottom", rough=True)])
    assert half.thicknesses[0].held_face
    assert held_faces(half.structure) == ("bottom",)
    relaxed, unrelaxed = whole.surface_energy_j_per_m2, whole.unrelaxed_j_per_m2
    assert relaxed is not None
    assert unrelaxed is not None
    assert unrelaxed - relaxed > 0.003, "relaxation must matter, or the test sees nothing"
    assert half.surface_energy_j_per_m2 == pytest.approx(relaxed, abs=0.1 * (unrelaxed - relaxed))


def rock_salt(layers: int = 4) -> Structure:
    species, coords = [], []
    for k in range(layers):
        pair = ["Mg", "O"] if k % 2 else ["O", "Mg"]
        species += pair
        coords += [[0, 0, 10 + 2.1 * k], [2.1, 0, 10 + 2.1 * k]]
    lattice = Lattice([[4.2, 0, 0], [2.1, 2.1, 0], [0, 0, 30.0]])
    return Structure(lattice, species, coords, coords_are_cartesian=True)


BULK = calculation(
    Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0] * 3, [0.5] * 3]), [-48.0]
)


def slab(
    structure: Structure | None = None,
    start: Structure | None = None,
    thickness_ang: float = 8.4,
    **changes: Any,  # noqa: ANN401
) -> ComputedSlab:
    structure = structure or rock_salt()
    made = calculation(structure, [-47.0, -47.2], **changes)
    return ComputedSlab(start=start or structure, thickness_ang=thickness_ang, calculation=made)


def codes(record: SurfaceEnergy) -> set[RefusalCode]:
    return {r.code for r in record.refusals}


def test_a_sound_slab_is_certified() -> None:
    record = certify_surface(system(), BULK, [slab()])
    assert record.status is Status.CERTIFIED
    area = 4.2 * 2.1
    assert record.surface_energy_ev_per_ang2 == pytest.approx(0.8 / (2 * area))
    assert record.surface_energy_j_per_m2 == pytest.approx(0.8 / (2 * area) * 16.0217663)
    assert record.unrelaxed_j_per_m2 == pytest.approx(1.0 / (2 * area) * 16.0217663)
    assert record.without_dispersion_j_per_m2 is None


def test_dispersion_is_taken_off_slab_and_bulk() -> None:
    bulk = BULK.model_copy(update={"dispersion_energy_ev": -2.0})
    record = certify_surface(system(), bulk, [slab(dispersion_energy_ev=-1.5)])
    area = 4.2 * 2.1
    assert record.without_dispersion_j_per_m2 == pytest.approx((0.8 - 0.5) / (2 * area) * 16.0217663)


OTHER = LEVEL.model_copy(update={"method": "another"})
ALL_HELD = rock_salt()
ALL_HELD.add_site_property("selective_dynamics", [[False] * 3] * 8)
SHORT = rock_salt()
SHORT.remove_sites([0])
BROKEN = rock_salt()
BROKEN.translate_sites([7], [0, 0, 2.0], frac_coords=False)


@pytest.mark.parametrize(
    ("cut", "made", "code"),
    [
        (system(polar=True), slab(), RefusalCode.POLAR),
        (system(faces_equivalent=False), slab(), RefusalCode.FACES_DIFFER),
        (system(), slab(ionic_converged=False), RefusalCode.FORCES_NOT_CONVERGED),
        (system(), slab(max_force_ev_per_ang=0.2), RefusalCode.FORCES_NOT_CONVERGED),
        (system(), slab(electronic_converged=False), RefusalCode.ELECTRONIC_NOT_CONVERGED),
        (system(), slab(energy_ev=float("nan")), RefusalCode.NOT_FINITE),
        (system(), slab(level=OTHER), RefusalCode.LEVEL_MISMATCH),
        (system(), slab(SHORT), RefusalCode.NOT_STOICHIOMETRIC),
        (system(), slab(ALL_HELD), RefusalCode.FACES_HELD),
        (system(), slab(BROKEN, rock_salt()), RefusalCode.REBUILT),
        (system(), slab(energy_ev=-48.5), RefusalCode.NEGATIVE_SURFACE_ENERGY),
    ],
)
def test_refusals(cut: SurfaceSystem, made: ComputedSlab, code: RefusalCode) -> None:
    record = certify_surface(cut, BULK, [made])
    assert code in codes(record)
    assert record.status is Status.REFUSED
    assert record.surface_energy_j_per_m2 is None
    assert record.uncertainty_j_per_m2 is None
    assert all(r.what and r.remedy for r in record.refusals)


def test_a_gamma_that_grows_with_thickness_is_refused() -> None:
    thick = slab(rock_salt(8), thickness_ang=16.8, energy_ev=-94.0)
    record = certify_surface(system(), BULK, [slab(), thick])
    assert codes(record) == {RefusalCode.THICKNESS_NOT_CONVERGED}
    assert record.thickness_change_j_per_m2 == pytest.approx((2.0 - 0.8) / (2 * 8.82) * 16.0217663)


def test_alkali_that_settles_elsewhere_is_relaxation_and_recorded() -> None:
    start = rock_salt()
    start.replace_species({"Mg": "Na"})
    end = start.copy()
    end.translate_sites([6], [0, 0, 1.3], frac_coords=False)
    bulk = BULK.model_copy(update={"structure": BULK.structure.copy().replace_species({"Mg": "Na"})})
    record = certify_surface(system(), bulk, [slab(end, start)])
    assert record.status is Status.CERTIFIED
    assert record.largest_move_ang == pytest.approx(1.3)
    assert record.largest_mover in {"Na6", "O6"}
