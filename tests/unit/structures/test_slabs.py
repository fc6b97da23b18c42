"""Slabs: the two recommended NVOPF cuts found by rule, known surfaces of textbook crystals, and refusals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from epilayer.model.cathode import Cathode, Facet, KeepBond
from epilayer.model.errors import StructureError
from epilayer.structures import crystals, orderings, slabs

ROOT = Path(__file__).parents[3]
VERIFIED = ROOT.parent / "shared" / "structures"


@pytest.fixture(scope="module")
def nvopf() -> Cathode:
    return Cathode.model_validate(yaml.safe_load((ROOT / "configs/cathodes/nvopf.yaml").read_text()))


def charged(structure: Structure, charges: dict[str, float]) -> Structure:
    structure.add_oxidation_state_by_element(charges)
    return structure


def rock_salt() -> Structure:
    return charged(
        Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]),
        {"Na": 1, "Cl": -1},
    )


def fluorite() -> Structure:
    return charged(
        Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.46), ["Ca", "F"], [[0, 0, 0], [0.25] * 3]),
        {"Ca": 2, "F": -1},
    )


def zinc_blende() -> Structure:
    return charged(
        Structure.from_spacegroup("F-43m", Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25] * 3]),
        {"Zn": 2, "S": -2},
    )


def dipole(structure: Structure) -> float:
    return float(sum(s.specie.oxi_state * s.coords[2] for s in structure))


def polyhedra(structure: Structure) -> Counter[int]:
    """Count the oxygen atoms around every phosphorus."""
    return Counter(
        sum(n.specie.symbol == "O" for n in structure.get_neighbors(site, 1.8))
        for site in structure
        if site.specie.symbol == "P"
    )


def test_001_is_compensated_in_the_root_two_cell(nvopf: Cathode) -> None:
    slab = slabs.cut(nvopf, (0, 0, 1))
    assert len(slab.structure) == 72
    assert slab.structure.lattice.abc[:2] == pytest.approx((9.024, 9.024), abs=1e-3)
    assert slab.tasker == "III"
    assert slab.compensated
    assert slab.faces_equivalent
    assert dipole(slab.structure) == pytest.approx(0, abs=1e-6)
    assert slab.thickness_ang == pytest.approx(10.62)
    assert {b.pair for b in slab.broken_bonds} == {"F-V", "Na-O"}
    open_v = [
        site.frac_coords[2] > 0.5
        for site in slab.structure
        if site.specie.symbol == "V" and len(slab.structure.get_neighbors(site, 2.5)) < 6
    ]
    assert sorted(open_v) == [False, True]  # one of five-fold coordination on each face
    for word in ("Tasker III", "3 Na", "1 F", "2 in-plane cells", "electrostatic", "equivalent"):
        assert word in slab.reason


def test_100_is_cut_between_the_neutral_layers(nvopf: Cathode) -> None:
    found = slabs.admissible(nvopf, (1, 0, 0))
    assert [s.termination for s in found] == ["100-t0.25", "100-t0.75"]
    for slab in found:
        assert len(slab.structure) == 144
        assert slab.structure.lattice.abc[:2] == pytest.approx((12.7622, 10.62))
        assert slab.repeats == (2, 1)
        assert slab.faces_equivalent
        assert not slab.compensated
        assert dipole(slab.structure) == pytest.approx(0, abs=1e-6)
        broken = {b.pair: b.per_nm2 for b in slab.broken_bonds}
        assert broken["O-V"] == pytest.approx(4 / 0.677673, rel=1e-4)
    assert found[0].broken_valence_per_nm2 < found[1].broken_valence_per_nm2


@pytest.mark.parametrize("state", [None, "charged"])
@pytest.mark.parametrize("miller", [(0, 0, 1), (1, 0, 0), (1, 1, 0), (1, 0, 1)])
def test_every_admissible_nvopf_slab_is_whole_neutral_and_stoichiometric(
    nvopf: Cathode, miller: tuple[int, int, int], state: str | None
) -> None:
    for slab in slabs.admissible(nvopf, miller, state=state):
        formula = "Na3V2P2O10F" if state is None else "NaV2P2O10F"
        assert slab.structure.composition.remove_charges().reduced_formula == formula
        assert polyhedra(slab.structure).keys() == {4}
        assert not slabs.is_polar(dipole(slab.structure), slab.area_ang2)
        vanadyl = [
            min(n.nn_distance for n in slab.structure.get_neighbors(s, 1.75) if n.specie.symbol == "O")
            for s in slab.structure
            if s.specie.symbol == "V"
        ]
        assert vanadyl == pytest.approx([1.635] * len(vanadyl), abs=0.02)
        assert min(slab.structure.lattice.abc[:2]) >= 9.0
        heights = slab.structure.cart_coords[:, 2]
        assert slab.structure.lattice.c - np.ptp(heights) == pytest.approx(slab.vacuum_ang)


def test_a_single_001_cut_of_four_keeps_the_polyanions_and_it_is_polar(nvopf: Cathode) -> None:
    """Above one mirror plane there are four flat cuts; the crystal mirrors them."""
    ordering = orderings.orderings(nvopf, "conventional")[1]
    flat = [
        t
        for t in slabs.terminations(ordering.structure, (0, 0, 1), keep=nvopf.keep_bonds)
        if not t.corrugated
    ]
    quarter = [t for t in flat if t.height_ang < 10.62 / 4]
    assert len(quarter) == 4
    whole = [t for t in quarter if t.whole]
    assert [t.label for t in whole] == ["001-t0.074"]
    assert abs(whole[0].dipole_e_ang) == pytest.approx(10.62, abs=0.05)
    assert whole[0].tasker == "III"


def test_thickness_and_repeats_are_parameters(nvopf: Cathode) -> None:
    thick = slabs.cut(nvopf, Facet(miller=(0, 0, 1), thickness_ang=15.0))
    assert len(thick.structure) == 108
    assert thick.thickness_ang == pytest.approx(15.93)
    thin, *_ = slabs.admissible(nvopf, Facet(miller=(1, 0, 0), thickness_ang=6.0), repeats=(1, 1))
    assert len(thin.structure) == 36
    wide = slabs.cut(nvopf, Facet(miller=(1, 0, 0), thickness_ang=6.0, min_width_ang=12.0))
    assert wide.repeats == (2, 2)
    long, *_ = slabs.admissible(nvopf, (1, 0, 0), repeats=(1, 2))
    assert long.structure.lattice.abc[:2] == pytest.approx((6.3811, 21.24))


def test_three_neutral_layers_need_an_ordering_whose_layers_have_no_dipole(nvopf: Cathode) -> None:
    doubled = orderings.orderings(nvopf, ((1, 0, 0), (0, 2, 0), (0, 0, 1)))
    ordering = next(o for o in doubled if o.space_group == "Pnma")
    found = slabs.admissible(nvopf, Facet(miller=(1, 0, 0), thickness_ang=9.0), ordering=ordering)
    three = next(s for s in found if s.termination == "100-t0.25:0.75")
    assert three.thickness_ang == pytest.approx(1.5 * 6.3811)
    assert len(three.structure) == 108
    assert dipole(three.structure) == pytest.approx(0, abs=1e-6)


def test_a_named_termination_is_cut_and_an_unknown_one_refused(nvopf: Cathode) -> None:
    assert slabs.cut(nvopf, (1, 0, 0), termination="100-t0.75").termination == "100-t0.75"
    with pytest.raises(
        StructureError, match=r"no admissible termination '100-t0.5'. Admissible: 100-t0.25, 100-t0.75"
    ):
        slabs.cut(nvopf, (1, 0, 0), termination="100-t0.5")


def _same_vacuum(structure: Structure) -> Structure:
    """Put a slab in the middle of a cell 30 A high, elements only, so that vacuum does not matter."""
    heights = structure.cart_coords[:, 2]
    heights = heights - (heights.min() + heights.max()) / 2 + 15
    fractional = np.column_stack([structure.frac_coords[:, :2], heights / 30])
    a, b, _ = structure.lattice.abc
    return Structure(Lattice.orthorhombic(a, b, 30), [s.specie.symbol for s in structure], fractional)


@pytest.mark.real_data
def test_the_cuts_are_those_of_the_verified_cells(nvopf: Cathode) -> None:
    if not VERIFIED.is_dir():
        pytest.skip("the verified cells are not beside the repository")
    same = StructureMatcher(primitive_cell=False, scale=False, stol=0.05)
    # The verified (100) cell is the other face of the same plane, in the Cmcm ordering: every atom agrees.
    cmcm = next(o for o in orderings.orderings(nvopf, "conventional") if o.space_group == "Cmcm")
    verified = _same_vacuum(Structure.from_file(VERIFIED / "slab_100_2x.cif"))
    other = {s.termination: s for s in slabs.admissible(nvopf, (1, 0, 0), ordering=cmcm)}["100-t0.75"]
    assert same.fit(_same_vacuum(other.structure), verified)
    # Defaults: the same framework; which sodium sites are filled is the rule's choice.
    for miller, name in (((0, 0, 1), "slab_001_nl2"), ((1, 0, 0), "slab_100_2x")):
        ours = _same_vacuum(slabs.cut(nvopf, miller).structure)
        theirs = _same_vacuum(Structure.from_file(VERIFIED / f"{name}.cif"))
        assert ours.composition == theirs.composition
        for structure in (ours, theirs):
            structure.remove_species(["Na"])
        assert same.fit(ours, theirs)


@pytest.mark.parametrize(
    ("crystal", "miller", "tasker"),
    [
        (rock_salt(), (1, 0, 0), {"I"}),
        (rock_salt(), (1, 1, 0), {"I"}),
        (rock_salt(), (1, 1, 1), {"III"}),
        (fluorite(), (1, 1, 1), {"II", "III"}),
        (fluorite(), (1, 0, 0), {"III"}),
        (fluorite(), (1, 1, 0), {"I"}),
        (zinc_blende(), (1, 1, 0), {"I"}),
        (zinc_blende(), (1, 1, 1), {"III"}),
    ],
)
def test_textbook_surfaces_have_their_tasker_type(
    crystal: Structure, miller: tuple[int, int, int], tasker: set[str]
) -> None:
    assert {t.tasker for t in slabs.terminations(crystal, miller)} == tasker


def test_the_111_octopole_free_mend_of_rock_salt_halves_the_outer_layer() -> None:
    slab = slabs.admissible_of(rock_salt(), Facet(miller=(1, 1, 1), thickness_ang=12))[0]
    assert slab.compensated
    assert dipole(slab.structure) == pytest.approx(0, abs=1e-6)
    heights = np.round(slab.structure.cart_coords[:, 2], 2)
    layers = Counter(heights.tolist())
    lowest, second, *_ = sorted(layers)
    assert layers[second] == 2 * layers[lowest]


def test_100_of_zinc_blende_is_compensated() -> None:
    """S4 symmetry relates Zn above to S below: no operation makes two equal faces, but the dipole goes."""
    slab = slabs.admissible_of(zinc_blende(), Facet(miller=(1, 0, 0), thickness_ang=10))[0]
    assert slab.compensated
    assert dipole(slab.structure) == pytest.approx(0, abs=1e-6)


def test_a_non_polar_report_does_not_depend_on_oxidation_states_being_forgotten() -> None:
    bare = rock_salt()
    bare.remove_oxidation_states()
    with pytest.raises(StructureError, match="carries no oxidation states"):
        slabs.terminations(bare, (1, 1, 1))


def test_a_plane_that_cuts_every_polyanion_is_refused(nvopf: Cathode) -> None:
    structure = orderings.orderings(nvopf)[0].structure
    keep = [KeepBond(a="V", b="O"), KeepBond(a="P", b="O")]
    with pytest.raises(StructureError, match=r"Every \(1 0 0\) plane of .* cuts kept .*O-.* bonds"):
        slabs.admissible_of(structure, Facet(miller=(1, 0, 0)), keep=keep)


def test_a_crystal_that_is_polar_along_the_normal_is_refused_with_its_dipoles() -> None:
    wurtzite = charged(
        Structure.from_spacegroup(
            "P6_3mc", Lattice.hexagonal(3.25, 5.207), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]]
        ),
        {"Zn": 2, "O": -2},
    )
    with pytest.raises(StructureError, match=r"No \(0 0 1\) cut .* compensates none .*dipoles in e.A"):
        slabs.admissible_of(wurtzite, Facet(miller=(0, 0, 1)))
    assert slabs.admissible_of(wurtzite, Facet(miller=(1, 0, 0)))[0].tasker == "I"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.replace(0, {"Na+": 0.5}), "is disordered"),
        (lambda s: s.replace(0, "Na2+"), "not neutral"),
        (lambda s: s.append("Na+", [0.01, 0, 0]), "overlap"),
    ],
)
def test_a_crystal_that_is_not_physical_is_not_cut(spoil: object, message: str) -> None:
    crystal = rock_salt()
    spoil(crystal)  # type: ignore[operator]
    with pytest.raises(StructureError, match=message) as refusal:
        slabs.admissible_of(crystal, Facet(miller=(1, 0, 0)))
    assert refusal.value.remedy
    with pytest.raises(StructureError, match="names no plane"):
        slabs.terminations(rock_salt(), (0, 0, 0))


def test_the_bottom_or_the_centre_is_held(nvopf: Cathode) -> None:
    structure = slabs.cut(nvopf, (0, 0, 1)).structure
    heights = structure.cart_coords[:, 2]
    for where, centre in (("bottom", heights.min() + 2.0), ("centre", (heights.min() + heights.max()) / 2)):
        held = slabs.hold_bottom(structure, 4.0, where=where)  # type: ignore[arg-type]
        free = np.array(held.site_properties["selective_dynamics"])
        assert 0 < (~free[:, 0]).sum() < len(structure)
        assert np.abs(heights[~free[:, 0]] - centre).max() <= 2.01
        assert np.abs(heights[free[:, 0]] - centre).min() > 2.0
        assert (free[:, 0] == free[:, 2]).all()
    assert "selective_dynamics" not in structure.site_properties
    with pytest.raises(StructureError, match="leaves no atom free"):
        slabs.hold_bottom(structure, 40.0)


def test_faces_are_told_apart(nvopf: Cathode) -> None:
    slab = slabs.cut(nvopf, (0, 0, 1)).structure
    assert slabs.faces_equivalent(slab)
    top = int(np.argmax(slab.cart_coords[:, 2]))
    slab.remove_sites([top])
    assert not slabs.faces_equivalent(slab)


def test_start_moments_can_be_given_to_a_slab(nvopf: Cathode) -> None:
    slab = slabs.cut(nvopf, (0, 0, 1)).structure
    assert sum(crystals.start_moments(slab, nvopf)) == 8.0
