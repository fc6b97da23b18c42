"""Adsorption energies: arithmetic with known answers, every reason for a refusal, and the growth verdict."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from epilayer.analysis.adsorption import (
    ComputedPose,
    System,
    adsorption_energy_ev,
    certify,
    rebuilt_by_molecule,
    refer_to_lowest_slab,
)
from epilayer.analysis.growth import growth_verdict
from epilayer.model.anomaly import Anomaly, AnomalyKind
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import (
    AdsorptionEnergy,
    Calculation,
    GrowthMode,
    Provenance,
    Refusal,
    RefusalCode,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEM = System(cathode="mgo", facet="100", termination="MgO", ligand="water")
LEVEL = LevelOfTheory(
    name="pbe+d3",
    kind=EngineKind.DFT,
    method="PBE",
    dispersion="D3(BJ), PBE parameters",
    weights_sha256=None,
    numerics={"cutoff_ev": 500.0},
)
SLAB_EV, MOLECULE_EV, ADSLAB_EV = -400.0, -14.0, -414.5
SPACING_ANG = 2.1
TOP_ANG = 2 * SPACING_ANG
WATER = np.array([[0.0, 0.0, 0.0], [0.757, 0.0, 0.587], [-0.757, 0.0, 0.587]])


def slab(*, held_layers: int = 1, stretch: float = 1.0) -> Structure:
    """Rock-salt MgO (100), three layers of 16 atoms, bottom held."""
    width = 4 * SPACING_ANG * stretch
    species, coords, free = [], [], []
    for layer in range(3):
        for i in range(4):
            for j in range(4):
                species.append("Mg" if (i + j + layer) % 2 == 0 else "O")
                coords.append([i * SPACING_ANG, j * SPACING_ANG, layer * SPACING_ANG])
                free.append([layer >= held_layers] * 3)
    return Structure(
        Lattice.orthorhombic(width, width, 24.0),
        species,
        coords,
        coords_are_cartesian=True,
        site_properties={"selective_dynamics": free},
    )


def molecule() -> Structure:
    return Structure(Lattice.cubic(15.0), ["O", "H", "H"], WATER + 5.0, coords_are_cartesian=True)


def adslab(
    height_ang: float = 2.2, *, base: Structure | None = None, water: np.ndarray = WATER, atoms: int = 3
) -> Structure:
    """Water with its oxygen above a magnesium of the top layer."""
    built = (base or slab()).copy()
    for symbol, position in list(zip(["O", "H", "H"], water, strict=True))[:atoms]:
        built.append(
            symbol,
            position + np.array([2 * SPACING_ANG, 2 * SPACING_ANG, TOP_ANG + height_ang]),
            coords_are_cartesian=True,
            properties={"selective_dynamics": [True] * 3},
        )
    return built


def calculation(structure: Structure, energy_ev: float, label: str, **changes: Any) -> Calculation:  # noqa: ANN401
    fields: dict[str, Any] = {
        "task": "relax",
        "label": label,
        "level": LEVEL,
        "structure": structure,
        "energy_ev": energy_ev,
        "dispersion_energy_ev": -1.0,
        "max_force_ev_per_ang": 0.04,
        "force_target_ev_per_ang": 0.05,
        "ionic_converged": True,
        "energies_ev": (energy_ev + 0.5, energy_ev),
        "max_forces_ev_per_ang": (1.0, 0.04),
        "wall_time_s": 1.0,
        "provenance": Provenance(job=f"job of {label}", run_directory="runs/x"),
    }
    return Calculation(**(fields | changes))


def slab_leg(**changes: Any) -> Calculation:  # noqa: ANN401
    return calculation(**({"structure": slab(), "energy_ev": SLAB_EV, "label": "slab"} | changes))


def molecule_leg(**changes: Any) -> Calculation:  # noqa: ANN401
    return calculation(**({"structure": molecule(), "energy_ev": MOLECULE_EV, "label": "molecule"} | changes))


def pose(
    label: str = "00",
    energy_ev: float = ADSLAB_EV,
    structure: Structure | None = None,
    **changes: Any,  # noqa: ANN401
) -> ComputedPose:
    given = {"structure": structure or adslab(), "energy_ev": energy_ev, "label": f"pose {label}"}
    made = calculation(**(given | changes))
    return ComputedPose(label=label, anchor="o", site="Mg", start=adslab(2.4), calculation=made)


def judge(
    *poses: ComputedPose,
    slab_changes: dict[str, Any] | None = None,
    molecule_changes: dict[str, Any] | None = None,
) -> AdsorptionEnergy:
    return certify(SYSTEM, slab_leg(**(slab_changes or {})), molecule_leg(**(molecule_changes or {})), poses)


UNCONVERGED = {"ionic_converged": False, "max_force_ev_per_ang": 0.3}


def test_the_arithmetic_and_what_a_certified_record_says() -> None:
    record = judge(pose(dispersion_energy_ev=-2.3))
    assert record.status is Status.CERTIFIED
    assert record.refusals == ()
    assert record.adsorption_energy_ev == pytest.approx(-0.5)
    # -0.5 less the dispersion's share, -2.3 - (-1.0) - (-1.0) = -0.3.
    assert record.without_dispersion_ev == pytest.approx(-0.2)
    assert record.pose_spread_ev is None  # one pose has no spread
    assert record.adsorbate_atoms == (48, 49, 50)
    assert record.area_ang2 == pytest.approx((4 * SPACING_ANG) ** 2)
    assert record.closest_contact_ang == pytest.approx(2.2)
    assert [leg.role for leg in record.legs] == ["slab", "molecule", "adslab"]
    assert record.legs[2].provenance.job == "job of pose 00"
    assert (record.cathode, record.facet, record.ligand) == ("mgo", "100", "water")


def test_binding_is_negative_and_repulsion_positive() -> None:
    assert judge(pose(energy_ev=SLAB_EV + MOLECULE_EV - 1.0)).adsorption_energy_ev == pytest.approx(-1.0)
    assert judge(pose(energy_ev=SLAB_EV + MOLECULE_EV + 1.0)).adsorption_energy_ev == pytest.approx(1.0)


@given(shift=st.floats(-1e3, 1e3), other=st.floats(-1e3, 1e3))
@settings(max_examples=25, deadline=None)
def test_the_zero_of_energy_drops_out(shift: float, other: float) -> None:
    moved = adsorption_energy_ev(
        pose(energy_ev=ADSLAB_EV + shift + other).calculation,
        calculation(slab(), SLAB_EV + shift, "slab"),
        calculation(molecule(), MOLECULE_EV + other, "molecule"),
    )
    assert moved == pytest.approx(-0.5, abs=1e-9)


def test_the_uncertainty_is_what_the_last_five_steps_still_changed() -> None:
    record = judge(
        # The first entry lies six steps back and does not count.
        pose(energies_ev=(-300.0, -414.44, -414.45, -414.46, -414.47, -414.48, -414.5)),
        slab_changes={"energies_ev": (-399.99, -400.0)},
        molecule_changes={"energies_ev": (-14.0,)},
    )
    assert record.uncertainty_ev == pytest.approx(0.06 + 0.01)
    assert record.legs[2].steps == 6


def test_without_a_dispersion_term_there_is_no_value_less_dispersion() -> None:
    assert judge(pose(dispersion_energy_ev=None)).without_dispersion_ev is None
    assert judge(pose(), slab_changes={"dispersion_energy_ev": None}).without_dispersion_ev is None


def other_level(**changes: Any) -> LevelOfTheory:  # noqa: ANN401
    return LEVEL.model_copy(update=changes)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"energy_ev": math.nan, "energies_ev": (math.nan,)}, RefusalCode.NOT_FINITE, "not a finite number"),
        ({"max_force_ev_per_ang": math.inf}, RefusalCode.NOT_FINITE, "not a finite number"),
        ({"electronic_converged": False}, RefusalCode.ELECTRONIC_NOT_CONVERGED, "electronic loop"),
        (UNCONVERGED, RefusalCode.FORCES_NOT_CONVERGED, "0.300 eV/A, target 0.050 eV/A"),
        # A claim of convergence that the forces contradict is not believed.
        ({"max_force_ev_per_ang": 0.06}, RefusalCode.FORCES_NOT_CONVERGED, "0.060 eV/A"),
    ],
)
@pytest.mark.parametrize("leg", ["slab", "molecule", "adslab"])
def test_a_leg_that_has_not_converged_refuses(
    leg: str, changes: dict[str, Any], code: RefusalCode, words: str
) -> None:
    record = judge(
        pose(**(changes if leg == "adslab" else {})),
        slab_changes=changes if leg == "slab" else None,
        molecule_changes=changes if leg == "molecule" else None,
    )
    assert record.status is Status.REFUSED
    assert record.adsorption_energy_ev is None
    assert record.uncertainty_ev is None
    assert record.without_dispersion_ev is None
    found = next(r for r in record.refusals if r.code is code)
    assert found.subject == ("00" if leg == "adslab" else leg)
    assert words in found.what
    assert found.remedy


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "RPBE"}, "method"),
        ({"dispersion": None}, "dispersion"),
        ({"weights_sha256": "a" * 64}, "weights_sha256"),
        ({"numerics": {"cutoff_ev": 520.0}}, "520"),
        ({"stand_in": True}, "stand_in"),
    ],
)
@pytest.mark.parametrize("leg", ["slab", "molecule"])
def test_levels_never_mix(leg: str, changes: dict[str, Any], words: str) -> None:
    record = judge(pose(), **{f"{leg}_changes": {"level": other_level(**changes)}})
    assert record.status is Status.REFUSED
    (refusal,) = record.refusals
    assert refusal.code is RefusalCode.LEVEL_MISMATCH
    assert leg in refusal.what
    assert words in refusal.what
    # Nor does a difference of two levels survive in the list of poses.
    assert record.poses[0].adsorption_energy_ev is None


def test_the_name_of_a_level_is_no_difference() -> None:
    record = judge(pose(), slab_changes={"level": other_level(name="as somebody else calls it")})
    assert record.status is Status.CERTIFIED


def test_atoms_must_balance() -> None:
    record = judge(pose(structure=adslab(atoms=2)))
    assert [r.code for r in record.refusals] == [RefusalCode.ATOMS_NOT_BALANCED]
    assert "Mg24 H1 O25" in record.refusals[0].what


def test_oxidation_states_are_no_imbalance() -> None:
    charged = slab()
    charged.add_oxidation_state_by_element({"Mg": 2, "O": -2})
    assert judge(pose(), slab_changes={"structure": charged}).status is Status.CERTIFIED


def test_the_cell_must_be_the_clean_slabs() -> None:
    record = judge(pose(structure=adslab(base=slab(stretch=1.01))))
    assert RefusalCode.CELL_MISMATCH in {r.code for r in record.refusals}


@pytest.mark.parametrize("layers", [0, 2])
def test_the_held_atoms_must_be_the_clean_slabs(layers: int) -> None:
    record = judge(pose(structure=adslab(base=slab(held_layers=layers))))
    assert [r.code for r in record.refusals] == [RefusalCode.CONSTRAINT_MISMATCH]


def test_an_atom_held_along_one_axis_only_is_a_constraint_too() -> None:
    base = slab()
    flags = [list(f) for f in base.site_properties["selective_dynamics"]]
    flags[40] = [False, False, True]
    base.add_site_property("selective_dynamics", flags)
    assert RefusalCode.CONSTRAINT_MISMATCH in {
        r.code for r in judge(pose(structure=adslab(base=base))).refusals
    }


def test_no_list_of_constraints_means_that_all_are_free() -> None:
    bare = slab(held_layers=0)
    bare.remove_site_property("selective_dynamics")
    free = adslab(base=slab(held_layers=0))
    record = judge(pose(structure=free), slab_changes={"structure": bare})
    assert record.status is Status.CERTIFIED


def dissociated() -> Structure:
    return adslab(water=np.array([WATER[0], WATER[1], [-1.9, 0.0, 1.6]]))


@pytest.mark.parametrize(
    ("structure", "kind"),
    [(adslab(8.0), AnomalyKind.DESORBED), (dissociated(), AnomalyKind.DISSOCIATED)],
)
def test_a_molecule_that_left_or_broke_is_refused_with_what_it_did(
    structure: Structure, kind: AnomalyKind
) -> None:
    record = judge(pose(structure=structure))
    assert record.status is Status.REFUSED
    assert RefusalCode.ANOMALY in {r.code for r in record.refusals}
    assert kind in {a.kind for a in record.anomalies}
    assert kind in {a.kind for a in record.poses[0].anomalies}


def test_a_lower_anomalous_pose_is_never_the_minimum() -> None:
    record = judge(
        pose("broken", ADSLAB_EV - 5.0, dissociated()),
        pose("sound"),
        pose("sound but higher", ADSLAB_EV + 0.2),
        pose("gone", ADSLAB_EV - 3.0, adslab(8.0)),
    )
    assert record.status is Status.CERTIFIED
    assert record.adsorption_energy_ev == pytest.approx(-0.5)
    assert record.pose_spread_ev == pytest.approx(0.2)
    assert record.minimum is not None
    assert record.minimum.label == "sound"
    assert {p.label for p in record.poses} == {"broken", "sound", "sound but higher", "gone"}


@pytest.mark.parametrize("changes", [UNCONVERGED, {"electronic_converged": False}])
def test_a_lower_unconverged_pose_forbids_the_minimum(changes: dict[str, Any]) -> None:
    record = judge(pose("sound"), pose("still moving", ADSLAB_EV - 0.1, **changes))
    assert record.status is Status.REFUSED
    (refusal,) = record.refusals
    assert refusal.code is RefusalCode.LOWER_POSE_NOT_CONVERGED
    assert refusal.subject == "still moving"
    # The structure that is kept is the converged pose's, and the record knows whose it is.
    assert record.minimum is not None
    assert record.minimum.label == "sound"
    assert record.legs[2].provenance.job == "job of sound".replace("of", "of pose")


def test_a_higher_or_broken_unconverged_pose_does_not() -> None:
    record = judge(
        pose("sound"),
        pose("still moving", ADSLAB_EV + 0.1, **UNCONVERGED),
        pose("broken", ADSLAB_EV - 2.0, dissociated(), **UNCONVERGED),
    )
    assert record.status is Status.CERTIFIED


def test_where_no_pose_is_valid_the_one_that_came_nearest_stands_first_and_all_reasons_are_given() -> None:
    record = judge(pose("broken", ADSLAB_EV - 5.0, dissociated()), pose("still moving", **UNCONVERGED))
    assert record.status is Status.REFUSED
    assert record.minimum is not None
    assert record.minimum.label == "still moving"
    assert record.refusals[0].code is RefusalCode.FORCES_NOT_CONVERGED
    assert {r.subject for r in record.refusals} == {"still moving", "broken"}


def test_the_first_pose_of_the_list_owns_the_structure_whatever_order_they_came_in() -> None:
    poses = [
        pose("a", ADSLAB_EV + 0.3),
        pose("b", structure=adslab(2.3)),
        pose("c", ADSLAB_EV - 1.0, dissociated()),
    ]
    one, two = judge(*poses), judge(*reversed(poses))
    assert one.model_dump_json(exclude={"structure"}) == two.model_dump_json(exclude={"structure"})
    assert one.structure == two.structure
    assert one.poses[0] == one.minimum
    assert one.minimum is not None
    assert one.minimum.label == "b"


def test_placed_poses_are_kept_for_the_record_only() -> None:
    slab_, molecule_ = slab_leg(), molecule_leg()
    record = certify(
        SYSTEM, slab_, molecule_, [pose("full")], [pose("quick", ADSLAB_EV - 3.0, **UNCONVERGED)]
    )
    assert record.status is Status.CERTIFIED
    assert [(p.label, p.stage) for p in record.poses] == [("full", "relaxed"), ("quick", "placed")]


def test_nothing_to_certify_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least one relaxed pose"):
        certify(SYSTEM, slab_leg(), molecule_leg(), [])


def refused(facet: str = "001", level: str = "a") -> AdsorptionEnergy:
    record = judge(pose(**UNCONVERGED))
    return record.model_copy(update={"facet": facet, "level": other_level(name=level)})


CERTIFIED = judge(pose())


def value(
    facet: str,
    energy_ev: float,
    *,
    level: str = "a",
    less_dispersion_ev: float | None = None,
    **changes: Any,  # noqa: ANN401
) -> AdsorptionEnergy:
    fields: dict[str, Any] = {
        "facet": facet,
        "level": other_level(name=level),
        "adsorption_energy_ev": energy_ev,
        "without_dispersion_ev": less_dispersion_ev,
    }
    return CERTIFIED.model_copy(update=fields | changes)


@pytest.mark.parametrize(
    ("records", "mode", "binding", "margin_ev"),
    [
        ([value("001", -0.5), value("100", -0.6)], GrowthMode.ISOTROPIC, ("001", "100"), 0.3),
        ([value("001", -0.7), value("100", -0.05)], GrowthMode.SELECTIVE, ("001",), 0.15),
        ([value("001", -0.1), value("100", 0.4)], GrowthMode.NONE, (), 0.1),
        # An interval over levels that holds the threshold.
        (
            [value("001", -0.5), value("100", -0.3), value("100", -0.1, level="b")],
            GrowthMode.UNDECIDED,
            ("001",),
            -0.1,
        ),
        # The value without dispersion widens the interval.
        (
            [value("001", -0.5, less_dispersion_ev=-0.15), value("100", -0.3)],
            GrowthMode.UNDECIDED,
            ("100",),
            -0.05,
        ),
        # A refused value is no value: neither a verdict nor a margin can rest on the others alone.
        ([value("001", -0.5), refused("001", "b"), value("100", -0.6)], GrowthMode.UNDECIDED, ("100",), None),
        ([value("001", -0.5), refused("100")], GrowthMode.UNDECIDED, ("001",), None),
        # Terminations of one facet are values of it.
        (
            [value("001", -0.5), value("001", -0.1, termination="other"), value("100", -0.6)],
            GrowthMode.UNDECIDED,
            ("100",),
            -0.1,
        ),
    ],
)
def test_growth_modes_and_the_margin_they_rest_on(
    records: list[AdsorptionEnergy], mode: GrowthMode, binding: tuple[str, ...], margin_ev: float | None
) -> None:
    verdict = growth_verdict(records, -0.2)
    assert verdict.mode is mode
    assert verdict.binding_facets == binding
    assert verdict.margin_ev == (None if margin_ev is None else pytest.approx(margin_ev))
    assert "-0.20 eV" in verdict.statement
    if verdict.margin_ev is not None:
        assert (verdict.margin_ev > 0) == (mode is not GrowthMode.UNDECIDED)


def test_terminations_that_disagree_leave_the_facet_open_and_are_named() -> None:
    records = [
        value("100", -0.9, termination="t0.25", less_dispersion_ev=-0.6),
        value("100", -0.1, termination="t0.75", less_dispersion_ev=0.2),
        value("100", -0.8, termination="t0.25", level="b"),
        value("001", -0.7),
    ]
    verdict = growth_verdict(records, -0.2)
    facet = next(f for f in verdict.facets if f.facet == "100")
    assert facet.terminations == {"t0.25": True, "t0.75": False}
    assert facet.terminations_disagree
    assert facet.binds is None
    # At one level and dispersion treatment each: -0.1 + 0.9 and 0.2 + 0.6, never across the two.
    assert facet.termination_spread_ev == pytest.approx(0.8)
    assert verdict.mode is GrowthMode.UNDECIDED
    assert "terminations disagree (it holds on t0.25, it does not hold on t0.75)" in verdict.statement


def test_terminations_that_agree_are_one_answer_with_their_spread() -> None:
    verdict = growth_verdict([value("100", -0.9, termination="a"), value("100", -0.5, termination="b")], -0.2)
    (facet,) = verdict.facets
    assert facet.termination_spread_ev == pytest.approx(0.4)
    assert facet.binds
    assert verdict.margin_ev == pytest.approx(0.3)
    assert growth_verdict([value("100", -0.9)], -0.2).facets[0].termination_spread_ev is None


def test_the_threshold_itself_decides_nothing() -> None:
    verdict = growth_verdict([value("001", -0.2)], -0.2)
    assert verdict.mode is GrowthMode.UNDECIDED
    assert verdict.margin_ev == pytest.approx(0.0)


def test_the_value_without_dispersion_widens_the_interval() -> None:
    records = [value("001", -0.5), value("100", -0.6)]
    assert growth_verdict(records, -0.2).mode is GrowthMode.ISOTROPIC
    records[0] = value("001", -0.5, less_dispersion_ev=-0.1)
    assert growth_verdict(records, -0.2).mode is GrowthMode.UNDECIDED


@pytest.mark.parametrize(("energy_ev", "said"), [(-0.5, "holds on (001)"), (0.1, "does not hold on (001)")])
def test_one_facet_decides_no_growth_mode(energy_ev: float, said: str) -> None:
    verdict = growth_verdict([value("001", energy_ev)], -0.2)
    assert verdict.mode is GrowthMode.UNDECIDED
    assert said in verdict.statement
    assert "the only facet studied" in verdict.statement


def test_a_stand_in_marks_the_verdict() -> None:
    assert growth_verdict([value("001", -0.5, level="toy")], -0.2).stand_in is False
    assert growth_verdict(
        [value("001", -0.5), value("001", -0.6).model_copy(update={"level": other_level(stand_in=True)})],
        -0.2,
    ).stand_in


@pytest.mark.parametrize(
    "records", [[], [value("001", -0.5), value("100", -0.5, ligand="another")]], ids=["none", "two ligands"]
)
def test_a_verdict_is_about_one_ligand_on_one_cathode(records: list[AdsorptionEnergy]) -> None:
    with pytest.raises(ValueError, match="one ligand on one cathode"):
        growth_verdict(records, -0.2)


RECORDS = st.lists(
    st.builds(
        lambda facet, level, termination, energy_ev, less_ev: (
            refused(facet, level)
            if energy_ev is None
            else value(facet, energy_ev, level=level, termination=termination, less_dispersion_ev=less_ev)
        ),
        st.sampled_from(["001", "100", "110"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["t0", "t1"]),
        st.one_of(st.none(), st.floats(-1, 1)),
        st.one_of(st.none(), st.floats(-1, 1)),
    ),
    min_size=1,
    max_size=7,
)


@given(records=RECORDS, data=st.data())
@settings(max_examples=80, deadline=None)
def test_the_verdict_does_not_depend_on_the_order_of_the_records(
    records: Sequence[AdsorptionEnergy], data: st.DataObject
) -> None:
    assert growth_verdict(data.draw(st.permutations(records)), -0.2) == growth_verdict(records, -0.2)


@given(records=RECORDS)
@settings(max_examples=80, deadline=None)
def test_no_value_is_lost_and_every_interval_holds_its_values(records: Sequence[AdsorptionEnergy]) -> None:
    verdict = growth_verdict(records, -0.2)
    for facet in verdict.facets:
        here = [r for r in records if r.facet == facet.facet]
        expected = len(here) + sum(r.without_dispersion_ev is not None for r in here)
        assert len(facet.values_ev) == expected
        known = [v for v in facet.values_ev.values() if v is not None]
        assert all(facet.low_ev <= v <= facet.high_ev for v in known)
        assert (facet.binds is not None) <= (len(known) == expected)


@given(records=RECORDS, scale=st.floats(0.1, 10))
@settings(max_examples=80, deadline=None)
def test_the_verdict_scales_with_its_energies(records: Sequence[AdsorptionEnergy], scale: float) -> None:
    def scaled(energy_ev: float | None) -> float | None:
        return None if energy_ev is None else energy_ev * scale

    stretched = [
        r.model_copy(
            update={
                "adsorption_energy_ev": scaled(r.adsorption_energy_ev),
                "without_dispersion_ev": scaled(r.without_dispersion_ev),
            }
        )
        for r in records
    ]
    one, two = growth_verdict(records, -0.2), growth_verdict(stretched, -0.2 * scale)
    near = one.margin_ev is not None and abs(one.margin_ev) < 1e-9
    assert near or one.mode == two.mode
    if one.margin_ev is not None:
        assert two.margin_ev == pytest.approx(one.margin_ev * scale)


def test_a_value_on_a_higher_clean_slab_than_a_sibling_found_is_refused() -> None:
    record = judge(pose())
    leg = next(leg for leg in record.legs if leg.role == "slab")
    lower = leg.model_copy(update={"energy_ev": leg.energy_ev - 0.7})
    others = tuple(lower if other.role == "slab" else other for other in record.legs)
    sibling = record.model_copy(update={"ligand": "another", "legs": others})
    refused = refer_to_lowest_slab(record, [sibling])
    assert refused.status is Status.REFUSED
    assert refused.adsorption_energy_ev is None
    assert refused.refusals[-1].code is RefusalCode.LOWER_CLEAN_SLAB
    assert "0.70 eV above the one found with another" in refused.refusals[-1].what
    # The sibling itself refers to the lowest slab; another termination or level is not compared.
    assert refer_to_lowest_slab(sibling, [record]) is sibling
    assert refer_to_lowest_slab(record, [sibling.model_copy(update={"termination": "another"})]) is record
    mixed = tuple(leg.model_copy(update={"level_fingerprint": "0" * 64}) for leg in others)
    assert refer_to_lowest_slab(record, [sibling.model_copy(update={"legs": mixed})]) is record


def test_after_the_slab_was_relaxed_again_the_remedy_says_what_is_left() -> None:
    record = judge(pose())
    anomaly = Anomaly(
        kind=AnomalyKind.SURFACE_CHANGED,
        atoms=(0,),
        what="Na0 left",
        value=1.2,
        threshold=1.0,
        unit="A",
        remedy="again",
    )
    refusal = Refusal(code=RefusalCode.ANOMALY, subject="slab", what="Na0 left", remedy="again")
    other = Refusal(code=RefusalCode.ANOMALY, subject="slab", what="H3 went", remedy="keep")
    flagged = record.model_copy(update={"anomalies": (anomaly,), "refusals": (refusal, other)})
    first, second = rebuilt_by_molecule(flagged).refusals
    assert "did not keep them" in first.remedy
    assert second == other
