"""The band of an adsorption energy: what moves it most, what is refused, what does not count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.analysis.sensitivity import sensitivity
from epilayer.engines.vasp.inputs import start_moments
from epilayer.model.errors import InputError
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import AdsorptionEnergy, Refusal, RefusalCode, Status
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from epilayer.model.sensitivity import Sensitivity


def record(
    value: float | None, level: str = "paper", *, ligand: str = "x", facet: str = "001"
) -> AdsorptionEnergy:
    refused = () if value is not None else (
        Refusal(code=RefusalCode.ANOMALY, subject="x", what="it dissociated", remedy="none"),
    )  # fmt: skip
    return AdsorptionEnergy(
        cathode="c",
        facet=facet,
        termination="t",
        ligand=ligand,
        level=LevelOfTheory(name=level, kind=EngineKind.DFT, method="m"),
        status=Status.REFUSED if refused else Status.CERTIFIED,
        adsorption_energy_ev=value,
        uncertainty_ev=None,
        without_dispersion_ev=None,
        pose_spread_ev=None,
        refusals=refused,
        anomalies=(),
        legs=(),
        poses=(),
        structure=Structure(Lattice.cubic(5), ["H"], [[0, 0, 0]]),
        adsorbate_atoms=(0,),
        closest_contact="H...H",
        closest_contact_ang=1.0,
        area_ang2=25.0,
        code_version="0",
        parameters={},
    )


def band(base: float | None, **values: float | None) -> Sensitivity:
    return sensitivity(
        record(base), [(axis, record(v, axis)) for axis, v in values.items()], {"engine": "one"}
    )


def test_the_band_spans_the_choices_and_names_the_largest() -> None:
    found = band(-0.5, U=-0.45, D3=-0.9, dipole=-0.52)
    assert (found.low_ev, found.high_ev) == (-0.9, -0.45)
    assert [s.axis for s in found.shifts] == ["D3", "U", "dipole"]
    assert found.shifts[0].shift_ev == pytest.approx(-0.4)
    assert found.complete
    assert "D3 moves it most (-0.40 eV)" in found.statement
    assert found.not_applicable == {"engine": "one"}


def test_a_refused_choice_is_listed_last_and_leaves_the_band_open() -> None:
    found = band(-0.5, U=None, D3=-0.6)
    assert not found.complete
    assert found.shifts[-1].axis == "U"
    assert found.shifts[-1].refusal == "it dissociated"
    assert "refused: U" in found.statement


def test_without_a_base_there_is_no_band() -> None:
    found = band(None, U=-0.4)
    assert (found.low_ev, found.high_ev, found.complete) == (None, None, False)
    assert found.shifts[0].shift_ev is None
    assert "No band" in found.statement


def test_a_charged_ligand_is_shown_and_does_not_widen_the_band() -> None:
    found = sensitivity(record(-0.5), [("ligand", record(-3.0, ligand="x-"))], {})
    assert (found.low_ev, found.high_ev) == (-0.5, -0.5)
    assert found.shifts[0].choice == "x-"
    assert not found.shifts[0].in_band


def test_another_surface_is_refused() -> None:
    with pytest.raises(InputError, match="another surface"):
        sensitivity(record(-0.5), [("U", record(-0.4, facet="100"))], {})


def test_every_variation_changes_one_choice_of_its_base() -> None:
    known = Catalogue((shipped("configs"),))
    for name in known.names("levels"):
        base = known.level(name)
        for axis, other in base.variations.items():
            changed = known.level(other)
            assert changed.variations == {} or axis == "engine"
            own = {"name", "title", "source", "choices", "variations", "parent"}
            one, two = (x.model_dump(exclude=own) for x in (base, changed))
            differing = {key for key in one if one[key] != two[key]}
            assert len(differing) <= 2, (name, axis, differing)
            assert differing, (name, axis)


def test_the_antiferromagnetic_start_turns_every_second_moment_and_sums_to_zero() -> None:
    known = Catalogue((shipped("configs"),))
    slab = Structure(Lattice.cubic(9), ["V", "O", "V", "V", "V"], np.arange(15).reshape(5, 3) / 16)
    settings = known.level("paper+afm").vasp
    assert settings is not None
    assert start_moments(settings, {"V": 1.0}, slab) == [1.0, 0.0, -1.0, 1.0, -1.0]
