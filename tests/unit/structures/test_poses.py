"""Adsorption poses: the sites a slab offers, and molecules let down onto them."""

import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, fcc111, surface
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pymatgen.core.structure import Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from epilayer.model.errors import StructureError
from epilayer.model.ligand import AnchorKind, Ligand
from epilayer.structures import comparison, molecules, poses
from epilayer.structures.sites import Surface, check_overlap, contact_target_ang, open_sites

ROOT = Path(__file__).resolve().parents[3]
SLABS = ROOT.parent / "shared" / "structures"
NVOPF = ("slab_001_nl2", "slab_001_nl3", "slab_100_2x")
LIGANDS = ("triazole", "2-methylimidazole")


def load(name: str) -> Ligand:
    path = ROOT / "configs" / "ligands" / f"{name}.yaml"
    return Ligand.model_validate(yaml.safe_load(path.read_text()))


def nvopf(name: str) -> Structure:
    if not SLABS.exists():
        pytest.skip(f"the verified NVOPF slabs are not at {SLABS}")
    return Structure.from_file(SLABS / f"{name}.cif")


def magnesia(repeat: int = 3, vacuum_ang: float = 10.0) -> Structure:
    """MgO(001), three layers; conventional 4.21 x 4.21 A cell, repeated."""
    atoms = surface(bulk("MgO", "rocksalt", a=4.212, cubic=True), (0, 0, 1), 2, vacuum=vacuum_ang)
    return without_properties(atoms * (repeat, repeat, 1))


def without_properties(atoms: Atoms) -> Structure:
    return Structure(atoms.cell[:], atoms.get_chemical_symbols(), atoms.get_scaled_positions())


def place(slab: Structure, name: str, *, count: int = 8, seed: int = 0, **options: float) -> list[poses.Pose]:
    ligand = load(name)
    return poses.generate(
        slab, molecules.build(ligand, 0), anchors=molecules.anchors(ligand), count=count, seed=seed, **options
    )


def contact_distances(pose: poses.Pose) -> np.ndarray:
    matrix = np.asarray(pose.structure.distance_matrix)
    return matrix[pose.n_slab :, : pose.n_slab]


def test_the_targets_are_those_of_real_contacts() -> None:
    assert contact_target_ang("N", "V") == pytest.approx(2.2, abs=0.1)
    assert contact_target_ang("V", "N") == contact_target_ang("N", "V")
    assert contact_target_ang("O", "Na") == pytest.approx(2.35, abs=0.1)
    assert contact_target_ang("H", "O", hydrogen_bond=True) == 1.9
    assert contact_target_ang("C", "O") > 2.6


def test_magnesia_offers_five_coordinate_ions() -> None:
    sites = [site for site, _ in open_sites(Surface(magnesia()))]
    assert {site.element for site in sites} == {"Mg", "O"}
    assert all((site.coordination, site.missing) == (5, 1) for site in sites)
    assert len(sites) == 36  # 4 a conventional cell


def test_a_metal_surface_counts_metal_neighbours() -> None:
    copper = without_properties(fcc111("Cu", (3, 3, 4), a=3.615, vacuum=9.0))
    sites = [site for site, _ in open_sites(Surface(copper))]
    assert len(sites) == 9
    assert all((site.coordination, site.missing) == (9, 3) for site in sites)
    found = place(copper, "triazole", count=6)
    assert {pose.kind for pose in found} >= {AnchorKind.LONE_PAIR, AnchorKind.FLAT, AnchorKind.FREE}


@pytest.mark.parametrize(("name", "vanadium"), [("slab_001_nl2", 1), ("slab_001_nl3", 1), ("slab_100_2x", 4)])
def test_nvopf_offers_its_five_coordinate_vanadium(name: str, vanadium: int) -> None:
    sites = [site for site, _ in open_sites(Surface(nvopf(name)))]
    found = [site for site in sites if site.element == "V"]
    assert len(found) == vanadium
    assert all(site.coordination == 5 for site in found)
    assert {"Na", "O", "F"} <= {site.element for site in sites}
    assert {"P"} & {site.element for site in sites if site.exposed_ang2 > 3} == set()


@pytest.mark.parametrize("name", NVOPF)
@pytest.mark.parametrize("ligand", LIGANDS)
def test_a_short_search_holds_every_class(name: str, ligand: str) -> None:
    found = place(nvopf(name), ligand, count=8)
    assert len(found) == 8
    assert len({pose.label for pose in found}) == 8
    on = {(pose.anchor, pose.place.element) for pose in found}
    assert ("pyridine_n", "Na") in on
    assert on & {("n_h", "O"), ("n_h", "F")}
    assert any(pose.kind is AnchorKind.FLAT and pose.tilt_deg <= 15 for pose in found)
    assert any(pose.kind is AnchorKind.FREE for pose in found)
    if ligand == "triazole":
        assert ("pyridine_n", "V") in on


@pytest.mark.parametrize("name", NVOPF)
def test_named_contacts_are_contacts(name: str) -> None:
    molecule, ligand = molecules.build(load("triazole"), 0), load("triazole")
    atoms = {
        site.name: site.atoms[0] for site in molecules.anchors(ligand) if site.kind is not AnchorKind.FLAT
    }
    assert len(molecule) == 8
    for pose in place(nvopf(name), "triazole", count=12):
        if pose.kind not in {AnchorKind.LONE_PAIR, AnchorKind.DONOR_H} or pose.place.index is None:
            continue
        element = "N" if pose.kind is AnchorKind.LONE_PAIR else "H"
        wanted = contact_target_ang(element, pose.place.element, hydrogen_bond=element == "H")
        donors = [i for i in pose.adsorbate_indices if pose.structure[i].specie.symbol == element]
        nearest = min(pose.structure.get_distance(i, pose.place.index) for i in donors)
        assert wanted - 1e-6 <= nearest <= wanted + 0.5 + 1e-6
    assert atoms


@pytest.mark.parametrize("slab", ["magnesia", *NVOPF])
def test_every_pose_touches_and_none_overlaps(slab: str) -> None:
    clean = magnesia() if slab == "magnesia" else nvopf(slab)
    for name in ("triazole", "2-methylimidazole", "water", "fsi"):
        for pose in place(clean, name, count=10, seed=5):
            check_overlap(pose.structure, pose.adsorbate_indices)
            assert 0.9 <= pose.contacts[0].ratio <= 1.15
            top = clean.cart_coords[:, 2].max()
            assert pose.structure.cart_coords[pose.n_slab :, 2].max() > top


def test_the_slab_keeps_its_atoms_places_and_properties() -> None:
    clean = magnesia()
    held = [[bool(site.z > clean.cart_coords[:, 2].mean())] * 3 for site in clean]
    clean.add_site_property("selective_dynamics", held)
    clean.add_site_property("magmom", [0.5] * len(clean))
    clean.add_site_property("layer", list(range(len(clean))))
    before = clean.copy()
    for pose in place(clean, "triazole", count=3):
        n = pose.n_slab
        assert pose.adsorbate_indices == tuple(range(n, n + 8))
        assert np.array_equal(pose.structure.frac_coords[:n], clean.frac_coords)
        assert pose.structure.species[:n] == clean.species
        assert pose.structure.site_properties["selective_dynamics"] == [*held, *[[True] * 3] * 8]
        assert pose.structure.site_properties["magmom"][n:] == [0.0] * 8
        assert pose.structure.site_properties["layer"][n:] == [None] * 8
    assert clean == before


def test_the_molecule_arrives_whole() -> None:
    ligand = load("2-methylimidazole")
    molecule = molecules.build(ligand, 0)
    for pose in place(magnesia(), "2-methylimidazole", count=6):
        placed = Structure.from_sites(pose.structure[pose.n_slab :])
        assert placed.species == molecule.species
        assert np.allclose(placed.distance_matrix, molecule.distance_matrix, atol=1e-6)


def test_the_charge_goes_with_the_ion() -> None:
    assert place(magnesia(), "acetate", count=1)[0].structure.charge == -1
    assert place(magnesia(), "water", count=1)[0].structure.charge == 0


def test_a_seed_gives_the_same_poses_and_another_gives_others() -> None:
    clean = magnesia()
    one, same, other = (place(clean, "triazole", count=6, seed=seed) for seed in (3, 3, 4))
    assert [pose.label for pose in one] == [pose.label for pose in same]
    assert all(
        np.array_equal(a.structure.frac_coords, b.structure.frac_coords)
        for a, b in zip(one, same, strict=True)
    )
    assert [pose.label for pose in one] != [pose.label for pose in other]


def fingerprint(pose: poses.Pose) -> np.ndarray:
    """Sorted contacts per pair of elements: equal for poses that symmetry maps onto each other."""
    symbols = np.array([site.specie.symbol for site in pose.structure])
    distances = contact_distances(pose)
    rows, columns = symbols[pose.n_slab :], symbols[: pose.n_slab]
    pairs = sorted({(a, b) for a in rows for b in columns})
    return np.concatenate(
        [np.sort(distances[np.ix_(rows == a, columns == b)], axis=None)[:6] for a, b in pairs]
    )


@pytest.mark.parametrize("name", ["triazole", "water", "ammonia"])
def test_no_two_poses_are_images_of_each_other(name: str) -> None:
    found = place(magnesia(), name, count=20)
    assert len(found) > 5
    for first, second in combinations(found, 2):
        assert np.abs(fingerprint(first) - fingerprint(second)).max() > 0.1


def test_a_wide_duplicate_radius_leaves_few_poses() -> None:
    assert len(place(magnesia(), "water", count=50, min_rmsd_ang=3.0)) < len(
        place(magnesia(), "water", count=50)
    )


def test_the_methyls_of_one_molecule_are_one_anchor() -> None:
    ligand = Ligand(name="dme", formula="C2H6O", smiles="COC", source="test")
    molecule = molecules.build(ligand, 0)
    assert len(comparison.automorphisms(molecule)) >= 2
    water = molecules.build(load("water"), 0)
    assert len(comparison.automorphisms(water)) == 2
    hydrogens = [site for site in molecules.anchors(load("water")) if site.kind is AnchorKind.DONOR_H]
    assert len(poses._distinct(hydrogens, comparison.automorphisms(water))) == 1


@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.tuples(*[st.floats(0, 1, exclude_max=True)] * 3), st.integers(0, 2**31 - 1))
def test_any_shift_of_the_cell_and_any_seed_gives_clean_contacts(shift: tuple[float, ...], seed: int) -> None:
    clean = magnesia(2)
    clean = Structure(clean.lattice.matrix, clean.species, (clean.frac_coords + shift) % 1.0)
    for pose in place(clean, "water", count=4, seed=seed):
        check_overlap(pose.structure, pose.adsorbate_indices)
        assert 0.9 <= pose.contacts[0].ratio <= 1.15
        # On the top face: between the slab and the vacuum above it, never below the slab.
        fractional = (pose.structure.frac_coords[:, 2] - shift[2]) % 1.0
        slab, molecule = fractional[: pose.n_slab], fractional[pose.n_slab :]
        assert molecule.min() > slab.max() - 0.05


def test_a_slab_said_to_be_open_along_c_is_made_periodic() -> None:
    atoms = surface(bulk("MgO", "rocksalt", a=4.212, cubic=True), (0, 0, 1), 2, vacuum=10.0) * (2, 2, 1)
    assert not atoms.pbc.all()
    opened = AseAtomsAdaptor.get_structure(atoms)
    pose = place(opened, "water", count=1)[0]
    assert pose.structure.lattice.pbc == (True, True, True)
    check_overlap(pose.structure, pose.adsorbate_indices)


def test_a_rotated_cell_is_read_in_its_own_frame() -> None:
    clean = magnesia()
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # c along x
    turned = Structure(clean.lattice.matrix @ turn.T, clean.species, clean.frac_coords)
    plain, rotated = (place(slab, "triazole", count=4) for slab in (clean, turned))
    assert [pose.label for pose in plain] == [pose.label for pose in rotated]
    assert np.allclose(contact_distances(plain[0]), contact_distances(rotated[0]), atol=1e-6)


def test_a_cell_too_small_is_refused_with_one_that_does() -> None:
    with pytest.raises(StructureError, match="2 x 2 supercell") as caught:
        place(magnesia(1), "2-methylimidazole")
    assert "of its image in a 4.2 x 4.2 A cell" in caught.value.what
    assert place(magnesia(2), "2-methylimidazole", count=1)


def test_thin_vacuum_is_refused_with_a_thickness_that_does() -> None:
    with pytest.raises(StructureError, match=r"at least 1\d A of vacuum"):
        place(magnesia(3, vacuum_ang=3.0), "triazole", count=1)


def test_a_slab_whose_axis_leans_is_refused() -> None:
    clean = magnesia()
    matrix = np.array(clean.lattice.matrix)
    matrix[2, 0] += 3.0
    with pytest.raises(StructureError, match="c axis is not normal"):
        place(Structure(matrix, clean.species, clean.frac_coords), "triazole")


def test_no_count_and_no_anchor_are_refused() -> None:
    molecule = molecules.build(load("water"), 0)
    with pytest.raises(StructureError, match="at least one"):
        poses.generate(magnesia(), molecule, anchors=molecules.anchors(load("water")), count=0, seed=0)
    with pytest.raises(StructureError, match="no anchor"):
        poses.generate(magnesia(), molecule, anchors=(), count=1, seed=0)


def test_an_overlap_is_named() -> None:
    clean = magnesia()
    pose = place(clean, "triazole", count=1)[0]
    sunk = pose.structure.copy()
    sunk.translate_sites(list(pose.adsorbate_indices), [0, 0, -1.5], frac_coords=False)
    with pytest.raises(StructureError) as caught:
        check_overlap(sunk, pose.adsorbate_indices)
    assert "overlaps slab atom" in str(caught.value)
    assert " A apart, at least " in str(caught.value)


@pytest.mark.parametrize("indices", [(), (-1,), (10_000,)])
def test_adsorbate_indices_must_be_atoms(indices: tuple[int, ...]) -> None:
    with pytest.raises(StructureError):
        check_overlap(magnesia(), indices)


def test_one_atom_lands_on_the_anion() -> None:
    clean = magnesia()
    ion = Ligand(name="na", formula="Na", smiles="[Na+]", charge=1, source="test")
    found = poses.generate(
        clean, molecules.build(ion, 0), anchors=molecules.anchors(ion), count=3, seed=0, min_rmsd_ang=0.3
    )
    assert found
    assert all(len(pose.adsorbate_indices) == 1 for pose in found)


def test_it_is_fast_enough_to_be_called_in_a_job() -> None:
    clean = nvopf("slab_100_2x")
    ligand = load("2-methylimidazole")
    molecule: Molecule = molecules.build(ligand, 0)
    started = time.process_time()
    poses.generate(clean, molecule, anchors=molecules.anchors(ligand), count=8, seed=0)
    assert time.process_time() - started < 1.0
