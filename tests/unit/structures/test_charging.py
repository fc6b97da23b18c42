"""Charged slabs: right formula, no dipole, both faces alike, the framework untouched, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from pymatgen.core.composition import Composition

from epilayer.model.cathode import Cathode
from epilayer.model.errors import StructureError
from epilayer.structures import charging, orderings, slabs

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def nvopf() -> Cathode:
    return Cathode.model_validate(yaml.safe_load((ROOT / "configs/cathodes/nvopf.yaml").read_text()))


def positions(structure: Structure, *, without: str) -> set[tuple[float, ...]]:
    return {tuple(np.round(s.coords, 6)) for s in structure if s.specie.symbol != without}


@pytest.mark.parametrize("miller", [(0, 0, 1), (1, 0, 0)])
def test_charged_nvopf_has_its_formula_no_dipole_and_the_framework_of_the_discharged_slab(
    nvopf: Cathode, miller: tuple[int, int, int]
) -> None:
    discharged = slabs.cut(nvopf, miller)
    charged = charging.charge(nvopf, discharged)
    assert (
        charged.structure.composition.remove_charges().reduced_formula
        == Composition("NaV2P2O10F").reduced_formula
    )
    assert {s.specie.oxi_state for s in charged.structure if s.specie.symbol == "V"} == {5}
    assert sum(s.specie.oxi_state for s in charged.structure) == pytest.approx(0)
    assert abs(charged.dipole_e_ang) < 1e-8
    assert charged.faces_equivalent
    assert slabs.faces_equivalent(charged.structure)
    assert positions(charged.structure, without="Na") == positions(discharged.structure, without="Na")
    kept = positions(charged.structure, without="X") - positions(charged.structure, without="Na")
    assert kept <= positions(discharged.structure, without="X")
    assert "Na removed to reach NaV2P2O10F" in charged.reason


def test_the_choice_has_the_lowest_electrostatic_energy_of_all_symmetric_ones(nvopf: Cathode) -> None:
    discharged = slabs.cut(nvopf, (0, 0, 1))
    charged = charging.charge(nvopf, discharged)
    states = nvopf.states["charged"].oxidation_states
    sites = [i for i, s in enumerate(discharged.structure) if s.specie.symbol == "Na"]
    energies = []
    for kept in charging._choices(discharged.structure, sites, 4):
        other = discharged.structure.copy()
        other.remove_oxidation_states()
        other.add_oxidation_state_by_element(states)
        other.remove_sites(sorted(set(sites) - kept))
        energies.append(orderings.electrostatic_energy_ev(other))
    assert len(energies) > 10
    assert orderings.electrostatic_energy_ev(charged.structure) == pytest.approx(min(energies), abs=1e-3)


def test_an_unknown_state_is_refused_by_name(nvopf: Cathode) -> None:
    with pytest.raises(StructureError, match=r"no state 'charge'.*charged"):
        charging.charge(nvopf, slabs.cut(nvopf, (0, 0, 1)), state="charge")


def test_a_state_without_formula_is_refused_with_the_remedy(nvopf: Cathode) -> None:
    silent = nvopf.states["charged"].model_copy(update={"formula": None})
    cathode = nvopf.model_copy(update={"states": {"charged": silent}})
    with pytest.raises(StructureError, match=r"states no formula.*Give it a formula"):
        charging.charge(cathode, slabs.cut(cathode, (0, 0, 1)))


def test_a_state_that_changes_the_framework_is_refused(nvopf: Cathode) -> None:
    other = nvopf.states["charged"].model_copy(update={"formula": "NaV2P2O9F"})
    cathode = nvopf.model_copy(update={"states": {"charged": other}})
    with pytest.raises(StructureError, match="is not Na3V2P2O10F less some of one element"):
        charging.charge(cathode, slabs.cut(cathode, (0, 0, 1)))


def test_a_state_that_leaves_parts_of_an_ion_is_refused(nvopf: Cathode) -> None:
    odd = nvopf.states["charged"].model_copy(update={"formula": "Na1.1V2P2O10F"})
    cathode = nvopf.model_copy(update={"states": {"charged": odd}})
    with pytest.raises(StructureError, match=r"not whole.*wider or thicker"):
        charging.charge(cathode, slabs.cut(cathode, (0, 0, 1)))
