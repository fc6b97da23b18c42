"""A scan of orientations: turned and tilted as said, over the open cation, touching and no closer."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.flows.adsorption import facet_slab
from epilayer.model.errors import StructureError
from epilayer.structures import molecules
from epilayer.structures.orientations import scan
from epilayer.study.config import Catalogue, shipped

SEGMENT = molecules.build(molecules.chain("peo", 1, ends="methyl"))
SLAB = facet_slab(Catalogue([shipped("configs")]).cathode("nvopf"), "001", "charged").structure


def long_axis(structure: Structure, n_slab: int) -> np.ndarray:
    heavy = [i for i in range(n_slab, len(structure)) if structure[i].specie.symbol != "H"]
    coords = np.array([structure[i].coords for i in heavy])
    return np.linalg.svd(coords - coords.mean(axis=0))[2][0]


def test_segments_are_capped_with_methyl() -> None:
    assert SEGMENT.composition.formula == "H10 C4 O2"
    assert molecules.build(molecules.chain("pom", 2, ends="methyl")).composition.formula == "H10 C4 O3"


def test_every_combination_is_placed_on_the_same_slab() -> None:
    found = scan(SLAB, SEGMENT, turns_deg=(0, 90, 180, 270), tilts_deg=(0, 60))
    assert len({o.label for o in found}) == len(found) == 8
    n_slab = len(SLAB)
    free = np.asarray(SEGMENT.distance_matrix)
    for one in found:
        assert one.site.startswith("V")
        assert np.allclose(one.structure.frac_coords[:n_slab], SLAB.frac_coords)
        placed = one.structure.cart_coords[n_slab:]
        assert np.allclose(np.linalg.norm(placed[:, None] - placed[None], axis=2), free, atol=1e-6)
        distances = one.structure.distance_matrix[:n_slab, n_slab:]
        assert 1.5 < distances.min() < 3.0
        held = one.structure.site_properties["selective_dynamics"]
        assert all(all(row) for row in held[n_slab:])


def test_the_long_axis_tilts_by_the_angle_that_was_asked_for() -> None:
    for tilt in (0.0, 30.0, 60.0, 90.0):
        (one,) = scan(SLAB, SEGMENT, turns_deg=(0,), tilts_deg=(tilt,))
        out = abs(float(long_axis(one.structure, len(SLAB))[2]))
        assert np.degrees(np.arcsin(min(out, 1.0))) == pytest.approx(tilt, abs=0.5)


def test_turning_changes_which_side_faces_down() -> None:
    flat, upright = scan(SLAB, SEGMENT, turns_deg=(0, 90), tilts_deg=(0,))
    heavy = [i for i in range(len(SLAB), len(flat.structure)) if flat.structure[i].specie.symbol != "H"]
    height = [np.ptp(o.structure.cart_coords[heavy, 2]) for o in (flat, upright)]
    assert height[0] + 0.3 < height[1]


def test_a_cell_too_small_for_the_molecule_is_refused() -> None:
    long = molecules.build(molecules.chain("peo", 4, ends="methyl"))
    with pytest.raises(StructureError, match="of its image"):
        scan(SLAB, long, turns_deg=(0,), tilts_deg=(0,))


def test_a_surface_without_a_cation_is_refused() -> None:
    ice = Structure(Lattice.orthorhombic(12, 12, 30), ["O", "O"], [[0.2, 0.2, 0.1], [0.7, 0.7, 0.1]])
    with pytest.raises(StructureError, match="no cation"):
        scan(ice, SEGMENT, turns_deg=(0,), tilts_deg=(0,))
