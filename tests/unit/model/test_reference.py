"""The published values, and the file that the package ships them in."""

from __future__ import annotations

from typing import Any

import pytest

from epilayer.model.base import parse
from epilayer.model.errors import InputError
from epilayer.model.kinds import declared_names
from epilayer.model.records import GrowthMode
from epilayer.model.reference import Reference
from epilayer.study.config import read_yaml, shipped

FILE = shipped("configs") / "references" / "isotropic-epilayer-2025.yaml"


@pytest.fixture
def reference() -> Reference:
    return parse(Reference, read_yaml(FILE), str(FILE))


def test_the_four_printed_energies(reference: Reference) -> None:
    printed = {(v.id, v.ligand, v.facet): v.value_ev for v in reference.values}
    assert printed == {
        ("S2", "triazole", "001"): -0.51,
        ("S2", "triazole", "100"): -0.58,
        ("S3", "2-methylimidazole", "001"): -0.67,
        ("S3", "2-methylimidazole", "100"): -0.05,
    }


def test_the_two_printed_growth_modes(reference: Reference) -> None:
    met6, zif8 = reference.growth
    assert (met6.mof, met6.mode, met6.facets) == ("MET-6", GrowthMode.ISOTROPIC, ("001", "100"))
    assert (zif8.mof, zif8.mode, zif8.facets) == ("ZIF-8", GrowthMode.SELECTIVE, ("001",))


def test_lookups(reference: Reference) -> None:
    value = reference.value("nvopf", "100", "2-methylimidazole")
    assert value is not None
    assert value.value_ev == -0.05
    assert reference.value("nvopf", "110", "triazole") is None
    assert reference.growth_of("nvopf", "water") is None


def test_every_silence_of_the_surface_model_is_named(reference: Reference) -> None:
    topics = {choice.topic for choice in reference.silent}
    assert topics >= {"termination", "thickness", "sodium ordering", "dispersion", "dipole", "hubbard u"}


def test_named_inputs_exist(reference: Reference) -> None:
    for value in reference.values:
        assert (shipped("configs") / "ligands" / f"{value.ligand}.yaml").is_file()
        assert (shipped("configs") / "cathodes" / f"{value.cathode}.yaml").is_file()


def test_a_value_printed_twice_is_refused() -> None:
    data = read_yaml(FILE)
    data["values"].append(data["values"][0])
    with pytest.raises(InputError, match="value of nvopf / 001 / triazole stands twice"):
        parse(Reference, data, "x.yaml")


def test_a_misspelt_key_and_a_bad_doi_are_refused() -> None:
    data = read_yaml(FILE)
    with pytest.raises(InputError, match=r"unknown key 'citaton'.*Did you mean 'citation'"):
        parse(Reference, data | {"citaton": "x"}, "x.yaml")
    with pytest.raises(InputError, match="doi"):
        parse(Reference, data | {"doi": "https://doi.org/10.1/x"}, "x.yaml")


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        ({"kind": "adsorbtion"}, "no kind of record is called 'adsorbtion'"),
        ({"kind": "adsorption", "where": {"cathod": "nvopf"}}, "adsorption have no column 'cathod'"),
    ],
)
def test_a_row_that_asks_for_what_no_record_has_is_refused(shown: dict[str, Any], says: str) -> None:
    data = read_yaml(FILE)
    data["quantities"][0]["shows"] = [shown]
    with pytest.raises(InputError, match=says):
        parse(Reference, data, "x.yaml")


def test_every_row_names_the_records_that_answer_it(reference: Reference) -> None:
    assert all(row.shows for row in reference.quantities)
    assert all(said.column in declared_names("transport") for said in reference.transport)
