"""Slabs that start from the relaxed crystal, and the termination that is lowest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from epilayer.flows.adsorption import facet_slabs
from epilayer.model.cathode import Cathode, Miller, RecordedSurfaceEnergy
from epilayer.model.errors import InputError, StructureError
from epilayer.structures import orderings, slabs, surfaces
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from epilayer.structures.slab_types import SlabCut


@pytest.fixture(scope="module")
def nvopf() -> Cathode:
    return Catalogue((shipped("configs"),)).cathode("nvopf")


def crystal_of(cathode: Cathode, cut: SlabCut) -> Structure:
    cells = ("primitive", "conventional")
    return next(
        o.structure for c in cells for o in orderings.orderings(cathode, c) if o.label == cut.ordering
    )


def bond_lengths(structure: Structure, a: str, b: str, reach_ang: float) -> set[float]:
    found = set()
    for site in structure:
        if site.specie.symbol == a:
            near = structure.get_neighbors(site, reach_ang)
            found |= {round(float(n.nn_distance), 4) for n in near if n.specie.symbol == b}
    return found


@pytest.mark.parametrize("miller", [(0, 0, 1), (1, 0, 0), (1, 0, 1)])
def test_a_slab_takes_the_bonds_of_the_relaxed_crystal(nvopf: Cathode, miller: Miller) -> None:
    """Vanadyl oxygen drawn out along V=O in the crystal is by as much in every slab."""
    for cut in slabs.admissible(nvopf, miller):
        crystal = crystal_of(nvopf, cut)
        relaxed = crystal.copy()
        for i, site in enumerate(crystal):
            vanadium = [n for n in crystal.get_neighbors(site, 1.75) if n.specie.symbol == "V"]
            if site.specie.symbol == "O" and vanadium:
                away = (site.coords - vanadium[0].coords) / vanadium[0].nn_distance
                relaxed.translate_sites([i], 0.07 * away, frac_coords=False)
        assert bond_lengths(crystal, "V", "O", 1.75) == {1.6355}
        slab = surfaces.as_in_bulk(cut.structure, cut.bulk_sites, cut.frame, crystal, relaxed)
        assert bond_lengths(slab, "V", "O", 1.75) == {1.7055}, cut.termination
        assert bond_lengths(slab, "P", "O", 1.7) == bond_lengths(crystal, "P", "O", 1.7)
        assert slab.species == cut.structure.species


def test_an_unrelaxed_crystal_leaves_the_slab_as_it_was_cut(nvopf: Cathode) -> None:
    cut = slabs.cut(nvopf, (1, 0, 0))
    crystal = crystal_of(nvopf, cut)
    slab = surfaces.as_in_bulk(cut.structure, cut.bulk_sites, cut.frame, crystal, crystal)
    assert np.allclose(slab.cart_coords, cut.structure.cart_coords)


def test_another_cell_is_refused(nvopf: Cathode) -> None:
    cut = slabs.cut(nvopf, (1, 0, 0))
    crystal = crystal_of(nvopf, cut)
    swollen = crystal.copy()
    swollen.scale_lattice(crystal.volume * 1.05)
    with pytest.raises(StructureError, match="another cell"):
        surfaces.as_in_bulk(cut.structure, cut.bulk_sites, cut.frame, crystal, swollen)


def recorded(cathode: Cathode, energies_j_per_m2: dict[str, float]) -> Cathode:
    facet = cathode.facet((1, 0, 0))
    values = tuple(
        RecordedSurfaceEnergy(
            termination=termination,
            ordering="conventional-1",
            surface_energy_j_per_m2=energy,
            level="toy",
            source="made up here for a test",
        )
        for termination, energy in energies_j_per_m2.items()
    )
    others = [f for f in cathode.facets if f.miller != (1, 0, 0)]
    changed = facet.model_copy(update={"surface_energies": values})
    return cathode.model_copy(update={"facets": (*others, changed)})


@pytest.mark.parametrize("lowest", ["100-t0.25", "100-t0.75"])
def test_the_default_is_the_termination_of_lowest_recorded_surface_energy(
    nvopf: Cathode, lowest: str
) -> None:
    energies = {t: 0.5 if t == lowest else 0.6 for t in ("100-t0.25", "100-t0.75")}
    cathode = recorded(nvopf, energies)
    assert surfaces.lowest_termination(cathode, cathode.facet((1, 0, 0))) == lowest
    assert [s.termination for s in facet_slabs(cathode, ["100"], ["lowest"])] == [lowest]


def test_recorded_energies_of_other_terminations_are_refused(nvopf: Cathode) -> None:
    cathode = recorded(nvopf, {"100-t0.25": 0.5})
    with pytest.raises(StructureError, match=r"rules admit 100-t0\.25, 100-t0\.75"):
        surfaces.lowest_termination(cathode, cathode.facet((1, 0, 0)))


def test_all_and_named_terminations(nvopf: Cathode) -> None:
    every = facet_slabs(nvopf, ["001", "100"], ["all"])
    assert sorted(s.termination for s in every if s.facet == "100") == ["100-t0.25", "100-t0.75"]
    assert all(s.structure.site_properties["selective_dynamics"] for s in every)
    named = facet_slabs(nvopf, ["001", "100"], ["100-t0.75"])
    assert [s.facet for s in named] == ["001", "100"]
    assert named[1].termination == "100-t0.75"


def test_a_termination_of_no_facet_is_refused(nvopf: Cathode) -> None:
    with pytest.raises(InputError, match="belongs to none of the facets 001"):
        facet_slabs(nvopf, ["001"], ["100-t0.75"])
    with pytest.raises(StructureError, match="no admissible termination"):
        facet_slabs(nvopf, ["100"], ["100-t0.5"])
