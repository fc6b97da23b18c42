"""Deformation energies: an elastic solid gives back its constants; the rest is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.analysis.epitaxy import (
    ComputedStrain,
    EpitaxySystem,
    certify_match,
    refused_match,
    too_strained,
)
from epilayer.model.epitaxy import EpitaxialMatch, FacetMatch
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import Calculation, Provenance, RefusalCode, Status
from epilayer.store.records import document_of, record_of

E1, E2 = 0.02, -0.01
#: An isotropic solid: Lame constants times the volume, eV; and a stress at the measured cell, eV.
LAME_EV, SHEAR_EV, STRESS_EV = 300.0, 200.0, 1.7
UNITS = 5


def level(name: str = "chgnet") -> LevelOfTheory:
    return LevelOfTheory(
        name=name,
        kind=EngineKind.MLIP,
        method=name,
        dispersion=None,
        weights_sha256=None,
        numerics={},
        stand_in=False,
    )


def match(strain: tuple[float, float] = (E1, E2)) -> FacetMatch:
    return FacetMatch(
        facet="001",
        mof_facet="111",
        area_ang2=163.0,
        mof_area_ang2=160.0,
        cells=4,
        mof_cells=1,
        transformation=((2, 0), (0, 2)),
        mof_transformation=((1, 0), (0, 1)),
        strain=((strain[0], 0.0), (0.0, strain[1])),
        principal=(min(strain), max(strain)),
        von_mises=0.02,
        area_mismatch=0.01,
        repeat_ang=8.0,
    )


def system(**changes: Any) -> EpitaxySystem:  # noqa: ANN401
    fields: dict[str, Any] = {
        "cathode": "nvopf",
        "mof": "met6",
        "mof_formula": "ZnC4N6H4",
        "formula_units": UNITS,
        "match": match(),
    }
    return EpitaxySystem(**(fields | changes))


def energy_ev(sign: int, normal: float) -> float:
    strain = np.array([sign * E1, sign * E2, normal])
    return float(
        -500.0 + STRESS_EV * strain.sum() + LAME_EV / 2 * strain.sum() ** 2 + SHEAR_EV * (strain**2).sum()
    )


def calculation(value_ev: float, **changes: Any) -> Calculation:  # noqa: ANN401
    fields: dict[str, Any] = {
        "task": "relax",
        "label": "framework met6",
        "level": level(),
        "structure": Structure(Lattice.cubic(10.0), ["Zn"], [[0, 0, 0]]),
        "energy_ev": value_ev,
        "max_force_ev_per_ang": 0.03,
        "force_target_ev_per_ang": 0.05,
        "ionic_converged": True,
        "energies_ev": (value_ev + 0.1, value_ev + 0.001, value_ev),
        "max_forces_ev_per_ang": (1.0, 0.1, 0.03),
        "wall_time_s": 1.0,
        "provenance": Provenance(job="j", run_directory="runs/j"),
    }
    return Calculation(**(fields | changes))


def computed(normals: tuple[float, ...] = (0.0,)) -> list[ComputedStrain]:
    found = [ComputedStrain(sign=0, normal_strain=0.0, calculation=calculation(-500.0))]
    for normal in normals:
        for sign in (1, -1):
            made = calculation(energy_ev(sign, sign * normal))
            found.append(ComputedStrain(sign=sign, normal_strain=sign * normal, calculation=made))  # type: ignore[arg-type]
    return found


def test_an_elastic_solid_held_in_thickness_gives_its_elastic_energy_and_no_stress_enters() -> None:
    record = certify_match(system(), computed(), {})
    elastic = LAME_EV / 2 * (E1 + E2) ** 2 + SHEAR_EV * (E1**2 + E2**2)
    assert record.status is Status.CERTIFIED
    assert record.deformation_energy_ev == pytest.approx(elastic / UNITS)
    # A cell of 1000 A3 in layers of 8 A has 125 A2.
    assert record.deformation_energy_ev_per_ang2 == pytest.approx(elastic / 125.0)
    assert record.odd_part_ev == pytest.approx(STRESS_EV * (E1 + E2) / UNITS)
    assert record.normal == "held"
    assert len(record.runs) == 3


def test_the_thickness_relaxes_to_poissons_value() -> None:
    record = certify_match(system(), computed((-0.02, 0.0, 0.02)), {})
    poisson = -LAME_EV / (LAME_EV + 2 * SHEAR_EV) * (E1 + E2)
    assert record.normal == "relaxed"
    assert record.normal_strain == pytest.approx(poisson)
    held = certify_match(system(), computed(), {})
    assert record.deformation_energy_ev is not None
    assert held.deformation_energy_ev is not None
    assert record.deformation_energy_ev < held.deformation_energy_ev
    strain = np.array([E1, E2, poisson])
    elastic = LAME_EV / 2 * strain.sum() ** 2 + SHEAR_EV * (strain**2).sum()
    assert record.deformation_energy_ev == pytest.approx(elastic / UNITS)


def refused(runs: list[ComputedStrain], **changes: Any) -> EpitaxialMatch:  # noqa: ANN401
    record = certify_match(system(**changes), runs, {})
    assert record.status is Status.REFUSED
    assert record.deformation_energy_ev is None
    assert record.deformation_energy_ev_per_ang2 is None
    assert record.refusals[0].remedy
    return record


def test_unconverged_other_levels_and_too_much_strain_are_refused() -> None:
    for changes, code in (
        ({"ionic_converged": False}, RefusalCode.FORCES_NOT_CONVERGED),
        ({"electronic_converged": False}, RefusalCode.ELECTRONIC_NOT_CONVERGED),
        ({"level": level("sevennet-0")}, RefusalCode.LEVEL_MISMATCH),
    ):
        runs = computed()
        spoilt = runs[1].calculation.model_copy(update=changes)
        runs[1] = runs[1].model_copy(update={"calculation": spoilt})
        assert refused(runs).refusals[0].code is code
    wide = match((0.06, 0.0))
    assert refused(computed(), match=wide).refusals[0].code is RefusalCode.STRAIN_TOO_LARGE
    assert too_strained(wide)
    assert not too_strained(match())
    record = refused_match(system(match=wide), calculation(-500.0), {})
    assert record.refusals[0].code is RefusalCode.STRAIN_TOO_LARGE
    assert record.runs == ()


def test_a_framework_that_gains_by_strain_is_no_minimum() -> None:
    runs = computed()
    lower = [r.model_copy(update={"calculation": calculation(-501.0)}) for r in runs[1:]]
    assert refused([runs[0], *lower]).refusals[0].code is RefusalCode.NOT_ELASTIC


def test_a_best_thickness_outside_the_computed_ones_is_refused() -> None:
    record = refused(computed((-0.001, 0.0, 0.001)))
    assert record.refusals[0].code is RefusalCode.NOT_ELASTIC
    assert "normal=held" in record.refusals[0].remedy


def test_the_record_survives_the_store() -> None:
    record = certify_match(system(), computed(), {"normal": "held"})
    document = document_of(record, job="j", created="2026-01-01T00:00:00+00:00")
    assert document["fields"]["mof_facet"] == "111"
    assert document["fields"]["deformation_energy_ev"] == record.deformation_energy_ev
    again = record_of(document)
    assert isinstance(again, EpitaxialMatch)
    assert again.model_dump(exclude={"structure"}) == record.model_dump(exclude={"structure"})
    other = certify_match(system(mof="zif8"), computed(), {"normal": "held"})
    assert document_of(other, job="j", created="")["id"] != document["id"]
