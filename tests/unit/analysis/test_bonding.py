"""Bonds before and after: changes, refusals with their reason, the curve, the transfer of a hydrogen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.analysis.bonding import (
    Strengths,
    abstraction,
    bond_changes,
    nearest_transfer,
    statement,
    strengths,
    transferred,
)
from epilayer.model.bonding import (
    BarrierMethod,
    BondIndex,
    BondMeasure,
    BondsRefused,
    ElectronicStructure,
    HydrogenAbstraction,
    OrientedBonds,
)

BOX = Lattice.orthorhombic(10, 10, 30)
# Two oxygens of a surface, and a methanol above: C O H H H H.
COORDS = np.array(
    [
        [0, 0, 0],
        [3, 0, 0],
        [0, 0, 3.2],
        [1.4, 0, 3.4],
        [0.1, 0.2, 2.1],
        [-0.6, 0.8, 3.6],
        [-0.5, -0.9, 3.6],
        [1.8, 0, 2.5],
    ]
)
ADSLAB = Structure(BOX, ["O", "O", "C", "O", "H", "H", "H", "H"], COORDS + 5.0, coords_are_cartesian=True)
FREE = Structure(BOX, ["C", "O", "H", "H", "H", "H"], COORDS[2:] + 5.0, coords_are_cartesian=True)
BONDS = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5)]


def measured(*values_ev: float, refusal: str | None = None) -> Strengths:
    return Strengths(BondMeasure.INDEX_GFN1, "tblite", "minimal", "Gamma", values_ev, refusal)


def electrons(fractional: float) -> ElectronicStructure:
    index = BondIndex(
        atoms=(0, 1),
        elements=("C", "O"),
        length_ang=1.4,
        lowdin_ev=10.0,
        nonorthogonal_ev=8.0,
        bond_order=1.0,
    )
    return ElectronicStructure(
        measure=BondMeasure.INDEX_GFN1,
        program="tblite",
        basis="minimal",
        charge_e=0,
        unpaired_electrons=0,
        electronic_temperature_k=300.0,
        energy_ev=-1.0,
        fock_residual_ev=0.0,
        gap_ev=3.0,
        fractional_electrons=fractional,
        bonds=(index,),
    )


def test_a_change_is_relative_to_the_same_bond_of_the_free_molecule() -> None:
    free, adsorbed = measured(10, 12, 12, 12, 13), measured(8, 12, 12.6, 12, 13)
    changes = bond_changes(BONDS, FREE, free, ADSLAB, adsorbed, 2)
    assert [round(c.change_ratio, 6) for c in changes] == [-0.2, 0.0, 0.05, 0.0, 0.0]
    assert changes[0].name == "C0-O1"
    assert all(c.intact for c in changes)
    assert changes[0].free_ang == pytest.approx(changes[0].adsorbed_ang)


def test_a_bond_that_broke_has_no_strength_but_is_named() -> None:
    broken = ADSLAB.copy()
    broken.translate_sites([3, 7], [2.0, 0, 0], frac_coords=False)
    changes = bond_changes(BONDS, FREE, measured(10, 12, 12, 12, 13), broken, measured(1, 12, 12, 12, 13), 2)
    assert not changes[0].intact
    assert changes[0].adsorbed_ev is None
    assert changes[0].change_ratio is None


def test_a_measurement_that_is_refused_gives_no_change() -> None:
    refused = measured(8, 12, 12, 12, 13, refusal="no gap")
    changes = bond_changes(BONDS, FREE, measured(10, 12, 12, 12, 13), ADSLAB, refused, 2)
    assert all(c.change_ratio is None for c in changes)
    nothing = strengths(BondsRefused(measure=BondMeasure.INDEX_GFN1, what="Did not converge.", remedy="Try."))
    assert bond_changes(BONDS, FREE, nothing, ADSLAB, refused, 2) == ()


def test_partly_filled_orbitals_and_failed_cycles_refuse_with_a_reason() -> None:
    assert strengths(electrons(0.0)).refusal is None
    assert "4.0 electrons from whole" in str(strengths(electrons(4.0)).refusal)
    failed = strengths(
        BondsRefused(measure=BondMeasure.INDEX_GFN1, what="Did not converge.", remedy="Try more.")
    )
    assert failed.refusal == "Did not converge. Try more."


def test_the_nearest_hydrogen_of_a_carbon_goes_to_the_nearest_oxygen_and_back_again() -> None:
    way = nearest_transfer(ADSLAB, 2, BONDS)
    assert way == (2, 4, 0)
    moved = transferred(ADSLAB, way[1], way[2])
    assert moved.get_distance(4, 0) == pytest.approx(0.98, abs=1e-6)
    others = [i for i in range(len(ADSLAB)) if i != 4]
    assert np.allclose(moved.cart_coords[others], ADSLAB.cart_coords[others])


def test_a_hydroxyl_hydrogen_is_not_the_backbones() -> None:
    assert nearest_transfer(ADSLAB, 2, [(1, 5)]) is None


def test_an_abstraction_without_a_whole_molecule_is_refused() -> None:
    found = abstraction([], None, None, None)
    assert found.energy_ev is None
    assert found.refusal
    assert "no orientation counts" in said([], found)


def test_a_hydrogen_between_two_atoms_is_said_to_be_on_its_way() -> None:
    relaxed = [
        OrientedBonds.model_construct(
            label=label, anomalies=(), closest_contact=pair, closest_contact_ang=gap
        )
        for label, pair, gap in [
            ("half", "H4...O0", 1.27),
            ("bonded", "H4...O0", 1.9),
            ("other", "C2...O0", 1.3),
        ]
    ]
    found = abstraction(relaxed, None, None, None)
    assert found.shared == ("half",)
    way = {"donor": "C2", "hydrogen": "H4", "acceptor": "O0", "energy_ev": -0.3, "refusal": None}
    assert said([], found.model_copy(update=way)).endswith("shared with an oxygen of the surface (half).")


def test_the_statement_names_bond_orientation_and_range() -> None:
    found = abstraction([], None, None, None)
    text = said([("turn0", "C0-O1", -0.04), ("turn90", "C2-O1", -0.01)], found)
    assert "-4.0 to -1.0 % over 2 orientations (C0-O1 at turn0: -4.0 %)" in text
    assert "by bond strength index (GFN1-xTB, Loewdin)." in text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "Taking H4 from C2 costs 0.40 eV, by chgnet+d3."),
        (
            {"barrier_method": BarrierMethod.BAND, "barrier_ev": 0.8},
            "costs 0.40 eV, over 0.80 eV (climbing-image NEB), by chgnet+d3.",
        ),
        (
            {"barrier_method": BarrierMethod.SCAN, "barrier_ev": 0.8},
            "over at most 0.80 eV (constrained scan, an upper bound), by chgnet+d3.",
        ),
        (
            {"barrier_method": BarrierMethod.BAND, "barrier_refusal": "The band did not converge."},
            "costs 0.40 eV (its barrier is refused), by chgnet+d3.",
        ),
    ],
)
def test_the_statement_says_how_energy_and_barrier_were_obtained(fields: dict[str, Any], text: str) -> None:
    found = HydrogenAbstraction(
        spontaneous=(),
        donor="C2",
        hydrogen="H4",
        acceptor="O0",
        energy_ev=0.4,
        refusal=None,
        structure=ADSLAB,
        **fields,
    )
    assert text in said([("turn0", "C0-O1", -0.04)], found)


def said(curve: list[tuple[str, str, float]], found: HydrogenAbstraction) -> str:
    return statement("peo1 on x", curve, found, measure=BondMeasure.INDEX_GFN1, level="chgnet+d3")
