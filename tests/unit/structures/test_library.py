"""Every shipped cathode and MOF: its symmetry, its bonds, and slabs of its facets that may be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from epilayer.model.cathode import Cathode, Facet
from epilayer.model.errors import StructureError
from epilayer.model.mof import Mof
from epilayer.structures import crystals, slabs

CONFIGS = Path(__file__).parents[3] / "configs"
CATHODES = sorted((CONFIGS / "cathodes").glob("*.yaml"))
MOFS = sorted((CONFIGS / "mofs").glob("*.yaml"))

# (centre, ligand, coordination, shortest, longest) of the bonds that show a slip in the coordinates.
BONDS: dict[str, list[tuple[str, str, int, float, float]]] = {
    "lifepo4": [("P", "O", 4, 1.50, 1.58), ("Fe", "O", 6, 2.0, 2.3), ("Li", "O", 6, 2.05, 2.25)],
    "limnpo4": [("P", "O", 4, 1.50, 1.58), ("Mn", "O", 6, 2.1, 2.35), ("Li", "O", 6, 2.05, 2.25)],
    "nafepo4": [("P", "O", 4, 1.50, 1.58), ("Fe", "O", 6, 2.0, 2.35), ("Na", "O", 6, 2.2, 2.5)],
    "nati2p3o12": [("P", "O", 4, 1.50, 1.56), ("Ti", "O", 6, 1.88, 1.98), ("Na", "O", 6, 2.4, 2.6)],
    "na3v2p3o12": [("P", "O", 4, 1.50, 1.56), ("V", "O", 6, 1.95, 2.05)],
    "licoo2": [("Co", "O", 6, 1.90, 1.95), ("Li", "O", 6, 2.05, 2.15)],
    "nanio2": [("Ni", "O", 6, 1.88, 2.17), ("Na", "O", 6, 2.25, 2.45)],
    "na2-3mno2": [("Mn", "O", 6, 1.90, 1.98)],
    "limn2o4": [("Mn", "O", 6, 1.93, 1.99), ("Li", "O", 4, 1.93, 2.00)],
    "mgo": [("Mg", "O", 6, 2.10, 2.12)],
    "v2o5": [("V", "O", 5, 1.55, 2.05)],
    "prussian-white": [("Fe", "C", 6, 1.89, 1.93), ("Mn", "N", 6, 2.18, 2.22), ("C", "N", 1, 1.14, 1.19)],
    "nvopf": [("P", "O", 4, 1.516, 1.556), ("V", "O", 5, 1.615, 2.01), ("V", "F", 1, 2.088, 2.128)],
    "met6": [("Zn", "N", 6, 2.170, 2.197), ("N", "N", 1, 1.30, 1.34), ("C", "C", 1, 1.352, 1.392)],
    "zif8": [("Zn", "N", 4, 1.96, 2.02), ("N", "C", 2, 1.32, 1.40), ("C", "H", 0, 1.07, 1.10)],
}


def load(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(path.read_text())
    return data


def nearest(structure: Structure, centre: str, ligand: str, count: int) -> np.ndarray:
    """Distances from every centre to its ``count`` nearest ligands; with 0, all bonds up to 1.3 A."""
    found = []
    for site in structure:
        if {e.symbol for e in site.species} != {centre}:
            continue
        around = sorted(
            n.nn_distance
            for n in structure.get_neighbors(site, 3.0)
            if ligand in {e.symbol for e in n.species}
        )
        found += around[:count] if count else [d for d in around if d < 1.3]
    return np.array(found)


def check_bonds(structure: Structure, name: str) -> None:
    for centre, ligand, count, low, high in BONDS[name]:
        distances = nearest(structure, centre, ligand, count)
        assert len(distances)
        assert low <= distances.min(), (centre, ligand)
        assert distances.max() <= high, (centre, ligand)


def test_the_library_has_at_least_eight_cathodes_beside_those_of_the_paper() -> None:
    names = {p.stem for p in CATHODES} - {"nvopf", "prussian-white"}
    assert len(names) >= 8
    assert {p.stem for p in [*CATHODES, *MOFS]} == set(BONDS)


@pytest.mark.parametrize("path", CATHODES, ids=lambda p: p.stem)
def test_a_cathode_is_the_crystal_it_says(path: Path) -> None:
    cathode = Cathode.model_validate(load(path))
    assert cathode.name == path.stem
    structure = crystals.build(cathode)
    assert cathode.crystal.space_group is not None
    assert crystals.space_group(structure) == cathode.crystal.space_group.replace("_", "")
    check_bonds(structure, cathode.name)
    assert cathode.facets
    assert "not checked" in cathode.source + cathode.crystal.source


@pytest.mark.parametrize(
    ("path", "facet"),
    [(path, facet) for path in CATHODES for facet in Cathode.model_validate(load(path)).facets],
    ids=lambda x: x.stem if isinstance(x, Path) else x.label,
)
def test_every_facet_has_a_slab_that_may_be_used(path: Path, facet: Facet) -> None:
    cathode = Cathode.model_validate(load(path))
    bulk = crystals.build(cathode).composition.remove_charges().fractional_composition
    found = slabs.admissible(cathode, facet)
    assert len({slab.termination for slab in found}) == len(found)
    best = found[0]
    assert best.faces_equivalent
    assert best.structure.composition.remove_charges().fractional_composition.almost_equals(bulk, atol=1e-4)
    charge = sum(s.specie.oxi_state for s in best.structure)
    assert charge == pytest.approx(0, abs=1e-3)
    dipole = sum(
        s.specie.oxi_state * (s.coords[2] - best.structure.cart_coords[:, 2].mean()) for s in best.structure
    )
    assert abs(dipole) / best.area_ang2 < slabs.POLAR_E_PER_ANG
    assert best.thickness_ang >= facet.thickness_ang - 0.01
    for centre, ligand, count in (("P", "O", 4), ("C", "N", 1), ("Fe", "C", 6)):
        if centre in bulk and ligand in bulk:
            reach = {"P": 1.7, "C": 1.3, "Fe": 2.0}[centre]
            for site in best.structure:
                if site.specie.symbol == centre:
                    near = best.structure.get_neighbors(site, reach)
                    assert sum(n.specie.symbol == ligand for n in near) == count


@pytest.mark.parametrize(
    ("name", "miller", "moved"),
    [
        ("lifepo4", (0, 1, 0), {"Li": 1}),
        ("nafepo4", (0, 1, 0), {"Na": 1}),
        ("licoo2", (0, 0, 3), {"Li": 1}),
        ("licoo2", (1, 0, 4), {}),
        ("nanio2", (0, 0, 1), {"Na": 1}),
        ("na2-3mno2", (0, 0, 1), {"Na": 1}),
        ("v2o5", (0, 0, 1), {}),
    ],
)
def test_the_best_slab_is_the_one_the_literature_uses(
    name: str, miller: tuple[int, int, int], moved: dict[str, int]
) -> None:
    """Layered oxides and olivine (010) bear half of the alkali on each face; (104) is cut as it is."""
    cathode = Cathode.model_validate(load(CONFIGS / "cathodes" / f"{name}.yaml"))
    assert dict(slabs.cut(cathode, miller).moved) == moved


@pytest.mark.parametrize(
    ("name", "symbol", "atoms", "density"), [("met6", "Fd-3m", 360, 1.457), ("zif8", "I-43m", 276, 0.925)]
)
def test_a_mof_is_the_crystal_it_says(name: str, symbol: str, atoms: int, density: float) -> None:
    mof = Mof.model_validate(load(CONFIGS / "mofs" / f"{name}.yaml"))
    structure = crystals.framework(mof)
    assert crystals.space_group(structure) == symbol
    assert len(structure) == atoms
    assert structure.density == pytest.approx(density, abs=0.01)
    check_bonds(structure, name)


def test_met6_has_the_two_zinc_distances_and_six_nitrogen_each() -> None:
    structure = crystals.framework(Mof.model_validate(load(CONFIGS / "mofs" / "met6.yaml")))
    distances = nearest(structure, "Zn", "N", 6)
    assert len(distances) == 6 * 24
    octahedral = distances[np.isclose(distances, 2.192, atol=0.002)]
    other = distances[np.isclose(distances, 2.175, atol=0.002)]
    assert len(octahedral) + len(other) == len(distances)
    assert {len(octahedral), len(other)} == {48, 96}


def test_zif8_zinc_is_tetrahedral_and_its_ligands_are_apart() -> None:
    structure = crystals.framework(Mof.model_validate(load(CONFIGS / "mofs" / "zif8.yaml")))
    zinc = next(s for s in structure if s.specie.symbol == "Zn")
    arms = [n.coords - zinc.coords for n in structure.get_neighbors(zinc, 2.1)]
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for i, a in enumerate(arms) for b in arms[:i]]
    assert np.degrees(np.arccos(cosines)) == pytest.approx([109.5] * 6, abs=0.5)
    hydrogen = [i for i, s in enumerate(structure) if s.specie.symbol == "H"]
    apart = structure.distance_matrix[np.ix_(hydrogen, hydrogen)]
    assert apart[apart > 1.9].min() > 2.4


@pytest.mark.parametrize(("setting", "message"), [("1", "not the 8 of 8a"), (None, "two origin choices")])
def test_met6_in_the_wrong_origin_is_refused(setting: str | None, message: str) -> None:
    data = load(CONFIGS / "mofs" / "met6.yaml")
    data["crystal"]["setting"] = setting
    mof = Mof.model_validate(data)
    with pytest.raises(StructureError, match=message):
        crystals.framework(mof)


def test_a_disordered_or_misnamed_framework_is_refused() -> None:
    data = load(CONFIGS / "mofs" / "zif8.yaml")
    misnamed = Mof.model_validate({**data, "formula": "ZnC8N4H12"})
    with pytest.raises(StructureError, match="stated formula is ZnC8N4H12"):
        crystals.framework(misnamed)
    data["crystal"]["sites"][-1]["occupancy"] = 0.5
    disordered = Mof.model_validate(data)
    with pytest.raises(StructureError, match="is disordered"):
        crystals.framework(disordered)


def test_a_new_cathode_is_a_short_yaml_and_a_cif() -> None:
    cif = Structure.from_spacegroup(
        "R-3m", Lattice.hexagonal(2.97, 15.9), ["Na", "Cr", "O"], [[0, 0, 0], [0, 0, 0.5], [0, 0, 0.2313]]
    ).to(fmt="cif")
    text = """\
name: nacro2
formula: NaCrO2
source: "structure type from memory, unchecked; made up for a test"
crystal:
  source: "structure type from memory, unchecked"
  cif: nacro2.cif
oxidation_states: {Na: 1, Cr: 3, O: -2}
"""
    assert len(text.splitlines()) <= 12
    data = yaml.safe_load(text)
    data["crystal"]["cif"] = cif
    cathode = Cathode.model_validate(data)
    assert not slabs.cut(cathode, (1, 0, 4)).compensated
    assert dict(slabs.cut(cathode, (0, 0, 1)).moved) == {"Na": 1}
