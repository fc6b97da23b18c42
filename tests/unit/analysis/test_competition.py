"""Competing adsorption: the order is certain only where every level gives it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from epilayer.analysis.competition import competing_adsorption
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import AdsorptionEnergy, Status

STRUCTURE = Structure(Lattice.cubic(8.0), ["Mg", "O", "H"], [[0, 0, 0], [0, 0, 0.25], [0, 0, 0.37]])


def value(
    ligand: str,
    energy_ev: float | None,
    *,
    level: str = "a",
    less_ev: float | None = None,
    noise_ev: float = 0.0,
    termination: str = "t",
) -> AdsorptionEnergy:
    return AdsorptionEnergy(
        cathode="mgo",
        facet="100",
        termination=termination,
        ligand=ligand,
        level=LevelOfTheory(name=level, kind=EngineKind.DFT, method=level),
        status=Status.REFUSED if energy_ev is None else Status.CERTIFIED,
        adsorption_energy_ev=energy_ev,
        uncertainty_ev=None if energy_ev is None else noise_ev,
        without_dispersion_ev=less_ev,
        pose_spread_ev=None,
        refusals=(),
        anomalies=(),
        legs=(),
        poses=(),
        structure=STRUCTURE,
        adsorbate_atoms=(2,),
        closest_contact="",
        closest_contact_ang=2.0,
        area_ang2=64.0,
        code_version="1",
        parameters={},
    )


def test_the_hardest_holder_comes_first_and_refusals_last() -> None:
    found = competing_adsorption([value("x", None), value("water", -0.5), value("dmf", -0.8)])
    assert [c.ligand for c in found.competitors] == ["dmf", "water", "x"]
    assert [c.outbids for c in found.competitors] == [("water",), (), ()]
    assert found.statement == "(100): dmf holds harder than water at every level; no value for x"


def test_levels_that_disagree_leave_the_order_open() -> None:
    found = competing_adsorption(
        [
            value("water", -0.5, level="a"),
            value("water", -0.9, level="b"),
            value("dmf", -0.8, level="a"),
            value("dmf", -0.7, level="b"),
        ]
    )
    assert all(c.outbids == () for c in found.competitors)
    assert "no certain order between water and dmf" in found.statement


def test_levels_far_apart_may_still_agree_on_the_order() -> None:
    """Intervals that overlap do not hide an order that every level gives."""
    found = competing_adsorption(
        [
            value(n, e - shift, level=v)
            for n, e in (("water", -0.5), ("dmf", -0.7))
            for v, shift in (("a", 0), ("b", 1))
        ]
    )
    assert found.competitors[0].ligand == "dmf"
    assert found.competitors[0].outbids == ("water",)
    low_ev, high_ev = found.competitors[1].low_ev, found.competitors[0].high_ev
    assert low_ev is not None
    assert high_ev is not None
    assert low_ev < high_ev


def test_dispersion_counts_as_a_level_of_its_own() -> None:
    first, second = value("dmf", -0.8, less_ev=-0.1), value("water", -0.5, less_ev=-0.3)
    assert competing_adsorption([first, second]).competitors[0].outbids == ()


def test_noise_may_not_decide() -> None:
    pair = [value("dmf", -0.52, noise_ev=0.02), value("water", -0.5, noise_ev=0.01)]
    assert competing_adsorption(pair).competitors[0].outbids == ()


def test_nothing_computed_says_so() -> None:
    assert competing_adsorption([value("dmf", None)]).statement == "(100): no molecule has a value"


@pytest.mark.parametrize(
    "records",
    [
        [],
        [value("dmf", -1.0), value("dmf", -1.0)],
        [value("dmf", -1.0), value("water", -1.0, termination="u")],
    ],
)
def test_what_cannot_be_compared_is_refused(records: list[AdsorptionEnergy]) -> None:
    with pytest.raises(ValueError, match="one surface"):
        competing_adsorption(records)


@given(st.lists(st.floats(-3, 1), min_size=2, max_size=6))
def test_outbidding_is_a_strict_order(energies: list[float]) -> None:
    found = competing_adsorption([value(f"m{k}", e) for k, e in enumerate(energies)])
    outbids = {c.ligand: set(c.outbids) for c in found.competitors}
    for a, beaten in outbids.items():
        assert a not in beaten
        for b in beaten:
            assert a not in outbids[b]
            assert outbids[b] <= beaten
