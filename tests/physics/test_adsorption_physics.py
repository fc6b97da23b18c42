"""Physics that any engine has to respect: no binding at a distance, signs, and forces that are slopes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase import Atoms
from pymatgen.core import Lattice, Structure

from epilayer.engines.mlip.toy import ToyPotential
from epilayer.structures import molecules
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from pathlib import Path

    from epilayer.engines.base import Engine
    from epilayer.model.records import Calculation

CATALOGUE = Catalogue((shipped("configs"),))
VACUUM_ANG = 40.0
FAR_ANG = 14.0
"""Between the molecule's lowest atom and the top layer; the next image of the slab is further still."""
DISPERSION_TAIL_EV = 0.010
"""What D3(BJ) leaves at that distance, where the sum over pairs falls off with its third power only."""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def slab(cells: int = 2) -> Structure:
    """Two layers of rock-salt MgO (100), as wide as a small ligand."""
    half_ang = 2.106
    species, coords = [], []
    for layer in range(2):
        for i in range(2 * cells):
            for j in range(2 * cells):
                species.append("Mg" if (i + j + layer) % 2 == 0 else "O")
                coords.append([i * half_ang, j * half_ang, layer * half_ang])
    width = 2 * cells * half_ang
    return Structure(
        Lattice.orthorhombic(width, width, VACUUM_ANG), species, coords, coords_are_cartesian=True
    )


def with_molecule(clean: Structure, molecule: Structure, height_ang: float) -> Structure:
    """The molecule with its lowest atom ``height_ang`` above the top layer."""
    built = clean.copy()
    coords = molecule.cart_coords - molecule.cart_coords.mean(axis=0)
    centre = clean.lattice.get_cartesian_coords([0.5, 0.5, 0.0])
    lift = clean.cart_coords[:, 2].max() + height_ang - coords[:, 2].min()
    for site, position in zip(molecule, coords + centre + [0, 0, lift], strict=True):
        built.append(site.species_string, position, coords_are_cartesian=True)
    return built


def triazole() -> Structure:
    return molecules.in_box(molecules.build(CATALOGUE.ligand("triazole"), 0), vacuum_ang=15.0)


def static(engine: Engine, structure: Structure) -> Calculation:
    maker: Any = engine.static("point")
    done: Calculation = maker.make.original(maker, structure)
    return done


def adsorption_energy_ev(engine: Engine, height_ang: float, cells: int = 2) -> tuple[float, float | None]:
    """Adsorption energy at fixed geometries, and the dispersion's part of it."""
    clean, molecule = slab(cells), triazole()
    parts = [static(engine, s) for s in (with_molecule(clean, molecule, height_ang), clean, molecule)]
    total_ev = parts[0].energy_ev - parts[1].energy_ev - parts[2].energy_ev
    if parts[0].dispersion_energy_ev is None:
        return total_ev, None
    shares = [p.dispersion_energy_ev or 0.0 for p in parts]
    return total_ev, shares[0] - shares[1] - shares[2]


def test_the_toy_does_not_bind_at_a_distance_and_binds_at_contact() -> None:
    engine = CATALOGUE.engine("toy")
    assert adsorption_energy_ev(engine, FAR_ANG) == (pytest.approx(0.0, abs=1e-12), None)
    at_contact_ev, _ = adsorption_energy_ev(engine, 3.0)
    inside_ev, _ = adsorption_energy_ev(engine, 1.2)
    assert at_contact_ev < -0.05
    assert inside_ev > 1.0


@pytest.mark.slow
@pytest.mark.parametrize("level", ["chgnet+d3", "sevennet-0+d3"])
def test_potentials_do_not_bind_at_a_distance(level: str) -> None:
    # Three cells: 8 A to its own images too, so that a potential sees neither these nor the slab.
    total_ev, dispersion_ev = adsorption_energy_ev(CATALOGUE.engine(level), FAR_ANG, cells=3)
    assert dispersion_ev is not None
    assert -DISPERSION_TAIL_EV < dispersion_ev < 0
    # Both see 6 A far at most; what is left is single precision.
    assert total_ev - dispersion_ev == pytest.approx(0.0, abs=1e-3)
    nearer_ev = adsorption_energy_ev(CATALOGUE.engine(level), 3.0, cells=3)[1]
    assert nearer_ev is not None
    assert nearer_ev < 10 * dispersion_ev


def toy_atoms(seed: int) -> Atoms:
    """A molecule close to a slab, everything moved off its rest position, periodic."""
    rng = np.random.default_rng(seed)
    structure = with_molecule(slab(1), triazole(), 2.5)
    atoms = structure.to_ase_atoms()
    atoms.calc = ToyPotential()
    atoms.get_potential_energy()  # ties the springs
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    return atoms


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_forces_of_the_toy_are_slopes_of_its_energy(seed: int) -> None:
    atoms = toy_atoms(seed)
    forces = atoms.get_forces()
    step_ang = 1e-4
    for index in np.random.default_rng(seed).choice(len(atoms), 6, replace=False):
        for axis in range(3):
            energies_ev = []
            for sign in (1, -1):
                atoms.positions[index, axis] += sign * step_ang
                energies_ev.append(atoms.get_potential_energy())
                atoms.positions[index, axis] -= sign * step_ang
            slope = (energies_ev[0] - energies_ev[1]) / (2 * step_ang)
            assert forces[index, axis] == pytest.approx(-slope, abs=1e-5)


def test_nothing_pushes_the_whole() -> None:
    assert toy_atoms(0).get_forces().sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-9)


def test_the_toy_is_smooth_where_contacts_end() -> None:
    """Magnesium passes the cut-off of a free nitrogen: neither energy nor force may jump."""
    energies_ev, forces = [], []
    for distance_ang in np.linspace(5.99, 6.01, 9):
        atoms = Atoms("MgN", positions=[[0, 0, 0], [0, 0, distance_ang]], cell=[30] * 3, pbc=True)
        atoms.calc = ToyPotential()
        energies_ev.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces()[1, 2])
    assert np.ptp(energies_ev) < 1e-6
    assert np.ptp(forces) < 1e-4
    assert energies_ev[-1] == forces[-1] == 0.0
