"""Elastic bands against saddles that are known another way: by symmetry, or from a published example."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixedPlane
from ase.optimize import BFGS
from scipy.optimize import linear_sum_assignment

from epilayer.engines.mlip.band import Band, relax_band
from epilayer.model.errors import InputError

#: Enol form of malonaldehyde, planar: O1=C2-C3=C4-O5-H, the hydrogen pointing at O1. Angstrom.
MALONALDEHYDE = Atoms(
    "OCCCOHHHH",
    [
        (1.32, -0.90, 0.0), (1.21, 0.34, 0.0), (0.00, 1.12, 0.0), (-1.18, 0.48, 0.0), (-1.29, -0.84, 0.0),
        (-0.35, -1.16, 0.0), (2.12, 0.93, 0.0), (0.04, 2.20, 0.0), (-2.13, 1.01, 0.0),
    ],
)  # fmt: skip


def relaxed(atoms: Atoms, calculator: object, max_force: float = 0.005) -> Atoms:
    atoms.calc = calculator
    assert BFGS(atoms, logfile=None).run(fmax=max_force, steps=200)
    return atoms


def gold_on_aluminium() -> Atoms:
    slab = fcc100("Al", size=(2, 2, 3))
    add_adsorbate(slab, "Au", 1.7, "hollow")
    slab.center(axis=2, vacuum=4.0)
    slab.set_constraint(FixAtoms(mask=[atom.tag > 1 for atom in slab]))
    return relaxed(slab, EMT(), 0.01)


def energies_ev(band: Band) -> np.ndarray:
    values = np.array([image.get_potential_energy() for image in band.images])
    return values - values[0]


@pytest.mark.parametrize("images", [3, 5])
def test_gold_hops_over_the_bridge_of_aluminium_whatever_the_number_of_images(images: int) -> None:
    before = gold_on_aluminium()
    after = before.copy()
    after[-1].x += after.cell[0, 0] / 2
    relaxed(after, EMT(), 0.01)
    bridge = before.copy()
    bridge[-1].x += bridge.cell[0, 0] / 4
    bridge.set_constraint([*bridge.constraints, FixedPlane(len(bridge) - 1, (1, 0, 0))])
    relaxed(bridge, EMT(), 0.01)
    saddle_ev = bridge.get_potential_energy() - before.get_potential_energy()

    band = relax_band(before, after, EMT(), images=images, max_force_ev_per_ang=0.02, max_steps=300)

    found = energies_ev(band)
    assert max(band.image_forces_ev_per_ang) <= 0.02
    # 0.374 eV: the value of the tutorial of ASE, of which this is the system.
    assert saddle_ev == pytest.approx(0.374, abs=0.002)
    assert found.max() == pytest.approx(saddle_ev, abs=0.002)
    assert found == pytest.approx(found[::-1], abs=0.005)
    held = before.constraints[0].index
    assert all(np.allclose(image.positions[held], before.positions[held]) for image in band.images)


def test_the_proton_of_malonaldehyde_goes_over_the_symmetric_saddle() -> None:
    tblite = pytest.importorskip("tblite.ase", reason="tblite is not installed (epilayer[bonding])")

    def gfn1() -> object:
        return tblite.TBLite(method="GFN1-xTB", verbosity=0)

    before = relaxed(MALONALDEHYDE.copy(), gfn1())
    after = relaxed(mirrored(before), gfn1())
    halfway = before.copy()
    halfway.positions = (before.positions + after.positions) / 2  # C2v: no force leads out of it
    relaxed(halfway, gfn1())
    saddle_ev = halfway.get_potential_energy() - before.get_potential_energy()
    assert saddle_ev > 0.03

    band = relax_band(before, after, gfn1(), images=5, max_force_ev_per_ang=0.03, max_steps=300)

    assert max(band.image_forces_ev_per_ang) <= 0.03
    found = energies_ev(band)
    assert found.max() == pytest.approx(saddle_ev, abs=0.002)
    top = band.images[int(found.argmax())]
    assert top.get_distance(0, 5) == pytest.approx(top.get_distance(4, 5), abs=0.01)
    assert found[-1] == pytest.approx(0.0, abs=0.001)


def mirrored(molecule: Atoms) -> Atoms:
    """Return malonaldehyde with its hydrogen at the other oxygen, the atoms in the same order."""
    places = molecule.positions.copy()
    middle, along = (places[0] + places[4]) / 2, places[4] - places[0]
    along /= np.linalg.norm(along)
    image = places - 2 * np.outer((places - middle) @ along, along)
    apart = np.linalg.norm(places[:, None] - image[None], axis=2)
    apart += 1e3 * (molecule.numbers[:, None] != molecule.numbers[None])
    apart[5] = apart[:, 5] = 1e3
    apart[5, 5] = 0.0  # that hydrogen is the one that moves
    other = molecule.copy()
    other.positions = image[linear_sum_assignment(apart)[1]]
    return other


def test_a_band_that_is_stopped_early_says_that_it_is_not_at_rest() -> None:
    before = gold_on_aluminium()
    after = before.copy()
    after[-1].x += after.cell[0, 0] / 2
    band = relax_band(before, after, EMT(), images=3, max_force_ev_per_ang=0.005, max_steps=3)
    assert band.steps == 3
    assert max(band.image_forces_ev_per_ang) > 0.005


@pytest.mark.parametrize("damage", ["order", "cell", "images"])
def test_ends_that_do_not_fit_are_refused(damage: str) -> None:
    before = gold_on_aluminium()
    after = before.copy()
    if damage == "order":
        after = after[[len(after) - 1, *range(len(after) - 1)]]
    elif damage == "cell":
        after.set_cell(after.cell.array * 1.01)
    what = "2 images" if damage == "images" else "not the same atoms"
    with pytest.raises(InputError, match=what):
        relax_band(
            before, after, EMT(), images=2 if damage == "images" else 3, max_force_ev_per_ang=0.1, max_steps=1
        )
