"""Crystals from data: symmetry, bond lengths and orderings known beforehand, and every refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from epilayer.model.base import parse
from epilayer.model.cathode import Cathode, Crystal, Facet, OrderingRule
from epilayer.model.errors import InputError, StructureError
from epilayer.structures import crystals, orderings

CONFIGS = Path(__file__).parents[3] / "configs"
SOURCE = "made up for this test, no literature"


def nvopf_data() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((CONFIGS / "cathodes" / "nvopf.yaml").read_text())
    return data


@pytest.fixture(scope="module")
def nvopf() -> Cathode:
    return Cathode.model_validate(nvopf_data())


def crystal(**given: Any) -> Crystal:  # noqa: ANN401
    base: dict[str, Any] = {
        "source": SOURCE,
        "space_group": "Fm-3m",
        "lattice": {"a_ang": 5.64},
        "sites": [
            {"element": "Na", "wyckoff": "4a", "xyz": [0, 0, 0]},
            {"element": "Cl", "wyckoff": "4b", "xyz": [0.5, 0.5, 0.5]},
        ],
    }
    return Crystal.model_validate({k: v for k, v in {**base, **given}.items() if v is not None})


def cathode(
    oxidation: dict[str, float] | None = None,
    *,
    formula: str = "NaCl",
    **given: Any,  # noqa: ANN401
) -> Cathode:
    return Cathode(
        name="test",
        formula=formula,
        source=SOURCE,
        crystal=crystal(**given),
        oxidation_states={"Na": 1, "Cl": -1} if oxidation is None else oxidation,
    )


def shortest(structure: Structure, a: str, b: str, count: int = 1) -> np.ndarray:
    first = [i for i, s in enumerate(structure) if a in str(s.species)]
    found = [
        sorted(n.nn_distance for n in structure.get_neighbors(structure[i], 3.2) if b in str(n.species))[
            :count
        ]
        for i in first
    ]
    return np.array(found)


@pytest.mark.parametrize(
    ("variant", "symbol", "sites", "formula_units"), [(None, "I4/mmm", 38, 2), ("beta", "P42/mnm", 76, 4)]
)
def test_nvopf_has_its_space_group_and_composition(
    nvopf: Cathode, variant: str | None, symbol: str, sites: int, formula_units: int
) -> None:
    structure = crystals.build(nvopf, variant=variant)
    assert crystals.space_group(structure) == symbol
    assert len(structure) == sites
    amounts = structure.composition.remove_charges().get_el_amt_dict()
    expected = {"Na": 3, "V": 2, "P": 2, "O": 10, "F": 1}
    assert amounts == pytest.approx({e: n * formula_units for e, n in expected.items()})


@pytest.mark.parametrize("variant", [None, "beta"])
def test_nvopf_bond_lengths_are_those_it_was_tuned_to(nvopf: Cathode, variant: str | None) -> None:
    structure = crystals.build(nvopf, variant=variant)
    vanadium = shortest(structure, "V4+", "O2-", 5)
    assert vanadium[:, 0] == pytest.approx(1.635, abs=0.02)
    assert vanadium[:, 1:] == pytest.approx(1.990, abs=0.02)
    assert shortest(structure, "V4+", "F-") == pytest.approx(2.108, abs=0.02)
    assert shortest(structure, "P5+", "O2-", 4) == pytest.approx(1.536, abs=0.02)


@pytest.mark.parametrize(
    ("variant", "cell", "atoms", "classes"),
    [
        (None, "primitive", 18, {"Fmm2": 4}),
        (None, "conventional", 36, {"Fmm2": 4, "Pmn21": 8, "Cmcm": 4}),
        ("beta", "conventional", 72, {"Pnnm": 2, "P42/m": 2, "Pm": 8, "Pmn21": 4}),
    ],
)
def test_sodium_orderings_are_the_known_classes(
    nvopf: Cathode, variant: str | None, cell: str, atoms: int, classes: dict[str, int]
) -> None:
    found = orderings.orderings(nvopf, cell, variant=variant)
    assert {o.space_group: o.degeneracy for o in found} == classes
    energies = [o.electrostatic_ev_per_atom for o in found]
    assert energies == sorted(energies)
    for ordering in found:
        assert len(ordering.structure) == atoms
        crystals.check(ordering.structure, ordering.label, ordered=True)
        assert ordering.structure.composition.remove_charges().reduced_formula == "Na3V2P2O10F"


def test_orderings_are_the_same_every_time(nvopf: Cathode) -> None:
    first, second = (orderings.orderings(nvopf, "conventional") for _ in range(2))
    assert [o.label for o in first] == ["conventional-0", "conventional-1", "conventional-2"]
    for a, b in zip(first, second, strict=True):
        assert a.structure == b.structure
        assert a.cell == b.cell


def test_a_supercell_counts_every_arrangement_once(nvopf: Cathode) -> None:
    found = orderings.orderings(nvopf, ((1, 1, 0), (1, -1, 0), (0, 0, 1)))
    assert sum(o.degeneracy for o in found) == 4**4


def test_the_charged_state_has_one_sodium_in_three_and_vanadium_five(nvopf: Cathode) -> None:
    found = orderings.orderings(nvopf, "conventional", state="charged")
    assert len(found) == 3
    structure = found[0].structure
    assert structure.composition.remove_charges().reduced_formula == "NaV2P2O10F"
    assert {str(s.specie) for s in structure if s.specie.symbol == "V"} == {"V5+"}
    assert set(crystals.start_moments(structure, nvopf, state="charged")) == {0.0}


def test_start_moments_follow_the_species(nvopf: Cathode) -> None:
    structure = orderings.orderings(nvopf)[0].structure
    moments = crystals.start_moments(structure, nvopf)
    assert [m for m, s in zip(moments, structure, strict=True) if s.specie.symbol == "V"] == [1.0, 1.0]
    assert sum(moments) == 2.0


def test_the_origin_trap_of_fd3m_is_refused_not_filled() -> None:
    spinel = {
        "space_group": "Fd-3m",
        "lattice": {"a_ang": 8.247},
        "sites": [
            {"element": "Li", "wyckoff": "8a", "xyz": [0.125, 0.125, 0.125]},
            {"element": "Mn", "wyckoff": "16d", "xyz": [0.5, 0.5, 0.5]},
            {"element": "O", "wyckoff": "32e", "xyz": [0.2631, 0.2631, 0.2631]},
        ],
    }
    with pytest.raises(StructureError, match="two origin choices"):
        crystals.from_wyckoff(crystal(**spinel), "spinel")
    with pytest.raises(StructureError, match="not the 8 of 8a"):
        crystals.from_wyckoff(crystal(**spinel, setting="1"), "spinel")
    structure = crystals.from_wyckoff(crystal(**spinel, setting="2"), "spinel")
    assert len(structure) == 56
    assert crystals.space_group(structure) == "Fd-3m"


@pytest.mark.parametrize(
    ("given", "oxidation", "message"),
    [
        ({"space_group": "Fm-3n"}, None, "unknown space group 'Fm-3n'"),
        ({"setting": "7"}, None, "no setting '7'"),
        ({"lattice": {"a_ang": 5.64, "c_ang": 7.0}}, None, "contradicts its space group"),
        ({"space_group": "Pnma"}, None, "lacks b_ang"),
        ({"sites": [{"element": "Na", "wyckoff": "8a", "xyz": [0, 0, 0]}]}, None, "not the 8 of 8a"),
        ({}, {"Na": 1, "Cl": -2}, "not neutral"),
        ({}, {"Na": 1}, "no oxidation state for Cl"),
        ({"formula": "NaBr"}, None, "the crystal is NaCl, and the stated formula is NaBr"),
        ({"formula": "salt?"}, None, "is no formula"),
        (
            {
                "sites": [
                    {"element": "Na", "wyckoff": "4a", "xyz": [0, 0, 0]},
                    {"element": "Cl", "wyckoff": "24e", "xyz": [0.08, 0, 0]},
                ],
                "formula": "NaCl6",
            },
            None,
            "overlap",
        ),
    ],
)
def test_a_crystal_that_cannot_be_is_refused_with_a_remedy(
    given: dict[str, Any], oxidation: dict[str, float] | None, message: str
) -> None:
    with pytest.raises(StructureError, match=message) as refusal:
        crystals.build(cathode(oxidation, **given))
    assert refusal.value.remedy
    assert "\n" not in str(refusal.value)


def test_oxidation_states_are_guessed_only_when_that_is_unambiguous() -> None:
    assert crystals.site_charge(crystals.build(cathode({}))[0].species) == 1.0
    alloy = {
        "sites": [
            {"element": "Cu", "wyckoff": "4a", "xyz": [0, 0, 0]},
            {"element": "Zn", "wyckoff": "4b", "xyz": [0.5] * 3},
        ],
        "formula": "CuZn",
    }
    with pytest.raises(StructureError, match=r"cannot be guessed|ambiguous"):
        crystals.build(cathode({}, **alloy))
    magnetite = Structure.from_spacegroup(
        "Fd-3m", Lattice.cubic(8.396), ["Fe", "Fe", "O"], [[0, 0, 0], [0.625] * 3, [0.3798] * 3]
    )
    with pytest.raises(StructureError, match="ambiguous"):
        crystals.with_charges(magnetite, {}, "magnetite")


def test_a_disordered_crystal_without_a_rule_is_refused_where_order_is_needed() -> None:
    data = nvopf_data()
    del data["crystal"]["ordering"]
    with pytest.raises(StructureError, match="is disordered"):
        orderings.orderings(Cathode.model_validate(data))


def test_orderings_refuse_what_cannot_be_made_whole(nvopf: Cathode) -> None:
    structure = crystals.build(nvopf)
    with pytest.raises(StructureError, match="not whole"):
        orderings.enumerate_orderings(
            structure, OrderingRule(species="Na", window_link_ang=1.0), "primitive", "nvopf"
        )
    with pytest.raises(StructureError, match="the rule orders K"):
        orderings.enumerate_orderings(
            structure, OrderingRule(species="K", window_link_ang=3.0), "primitive", "nvopf"
        )
    with pytest.raises(StructureError, match="out of reach"):
        orderings.orderings(nvopf, ((2, 0, 0), (0, 2, 0), (0, 0, 2)))
    with pytest.raises(StructureError, match="Unknown cell"):
        orderings.orderings(nvopf, "primitiv")
    with pytest.raises(StructureError, match="spans no volume"):
        orderings.orderings(nvopf, ((1, 0, 0), (1, 0, 0), (0, 0, 1)))


def test_unknown_variants_and_states_are_named(nvopf: Cathode) -> None:
    with pytest.raises(StructureError, match=r"no variant 'beat'.*'beta'"):
        crystals.build(nvopf, variant="beat")
    with pytest.raises(StructureError, match=r"no state 'charge'.*'charged'"):
        crystals.build(nvopf, state="charge")
    data = nvopf_data()
    data["states"]["charged"]["occupancy"] = {"V": 0.5}
    wrong = Cathode.model_validate(data)
    with pytest.raises(StructureError, match="no partly occupied V site"):
        crystals.build(wrong, state="charged")


def test_a_cif_gives_the_crystal_that_the_table_gives(nvopf: Cathode) -> None:
    ordered = orderings.orderings(nvopf)[0].structure
    data = nvopf_data()
    data["crystal"] = {"source": SOURCE, "cif": ordered.to(fmt="cif")}
    again = crystals.build(Cathode.model_validate(data))
    assert again.composition == ordered.composition
    assert crystals.space_group(again) == "Fmm2"
    assert orderings.orderings(Cathode.model_validate(data))[0].label == "ordered"


def test_a_cif_that_was_not_read_or_is_broken_is_refused() -> None:
    for text, message in (("model.cif", "has not been read"), ("data_x\n_cell_length_a 5", "cannot be read")):
        with pytest.raises(StructureError, match=message):
            crystals.from_cif(text, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crystal": {"source": SOURCE}}, "give cif, or all of"),
        ({"crystal": {"source": SOURCE, "cif": "x.cif", "space_group": "P1"}}, "not both"),
        ({"keep_bonds": [["P"]]}, "a kept bond is"),
        ({"facets": [{"miller": [0, 0, 0]}]}, "names no plane"),
        ({"facets": [{"miller": [0, 0, 1], "vacuum_ang": 8}]}, "greater than or equal to 15"),
        ({"moments": {"vanadium": 1}}, "no species"),
        ({"sourc": "x"}, "Did you mean 'source'"),
    ],
)
def test_a_bad_cathode_file_is_refused_at_the_door(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(Cathode, {**nvopf_data(), **change}, "nvopf.yaml")


def test_facets_have_defaults_and_readable_labels(nvopf: Cathode) -> None:
    assert nvopf.facet((0, 0, 1)).thickness_ang == 10.0
    assert nvopf.facet((1, -1, 0)).label == "1-10"
    with pytest.raises(ValidationError):
        Facet(miller=(1, 0, 0), vacuum_ang=10)
