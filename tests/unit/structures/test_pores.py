"""Loaded pores: the paper's system, a second host, and refusals that say how much fits."""

from __future__ import annotations

import re

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.model.errors import InputError, StructureError, UnknownNameError
from epilayer.model.ligand import Ligand
from epilayer.structures import crystals, pores
from epilayer.structures.chain_growth import Guest
from epilayer.structures.pore_checks import check_pore
from epilayer.study.config import Catalogue, shipped

CATALOGUE = Catalogue((shipped("configs"),))
ANIONS = {name: CATALOGUE.ligand(name) for name in ("fsi", "acetate")}
NA_FSI = pores.parse_salt("NaFSI:2", ANIONS)


@pytest.fixture(scope="module")
def met6() -> pores.Framework:
    return pores.Framework(crystals.framework(CATALOGUE.mof("met6")), "met6")


@pytest.fixture(scope="module")
def paper(met6: pores.Framework) -> pores.LoadedPore:
    return pores.load(met6, [*NA_FSI, pores.parse_chain("pom15:2")], seed=1)


def judged(loaded: pores.LoadedPore, host: Structure, loads: list[pores.Load]) -> set[str]:
    guests = [Guest(entry.ligand) for entry in loads for _ in range(entry.count)]
    return {c.name for c in check_pore(loaded.structure, host, guests) if not c.holds}


def test_the_papers_pore_has_506_atoms_and_holds(met6: pores.Framework, paper: pores.LoadedPore) -> None:
    report, structure = paper.report, paper.structure
    assert report.valid
    assert all(check.holds for check in report.checks)
    assert judged(paper, met6.structure, [*NA_FSI, pores.parse_chain("pom15:2")]) == set()
    assert (report.atoms, report.host_atoms, report.charge) == (506, 360, 0)
    guests = {"Na": 2, "S": 4, "F": 4, "N": 2, "O": 8 + 32, "C": 30, "H": 64}
    counts = structure.composition.get_el_amt_dict()
    empty = met6.structure.composition.get_el_amt_dict()
    assert {e: counts[e] - empty.get(e, 0) for e in guests} == guests
    assert report.density_g_per_cm3 == pytest.approx(1.862, abs=0.002)
    assert 0 < report.free_volume_fraction < report.voids.free_volume_fraction


def test_the_host_comes_first_and_stays(met6: pores.Framework, paper: pores.LoadedPore) -> None:
    host, structure = met6.structure, paper.structure
    assert np.array_equal(structure.frac_coords[:360], host.frac_coords)
    properties = structure.site_properties
    assert set(properties) == set(pores.SITE_PROPERTIES)
    assert list(properties["part"]) == ["host"] * 360 + ["guest"] * 146
    assert list(properties["molecule"]) == [0] * 360 + [1, 2] + [3] * 9 + [4] * 9 + [5] * 63 + [6] * 63
    for guest in paper.report.guests:
        rows = range(guest.first_atom, guest.first_atom + guest.atoms)
        assert {properties["molecule"][k] for k in rows} == {guest.molecule}
        assert {properties["molecule_name"][k] for k in rows} == {guest.name}


def test_the_cations_are_where_the_report_says(paper: pores.LoadedPore) -> None:
    report, structure = paper.report, paper.structure
    assert [c.element for c in report.cations] == ["Na", "Na"]
    cavities = {c.label: c for c in report.voids.cavities}
    for cation in report.cations:
        nearest = cation.donors[0]
        assert nearest.element in {"O", "N", "F"}
        assert 2.0 < nearest.distance_ang < 3.0
        assert structure.get_distance(cation.atom, nearest.atom) == pytest.approx(nearest.distance_ang)
        assert nearest.molecule == structure[nearest.atom].properties["molecule"]
        frac = structure.frac_coords[cation.atom]
        others = [c.centre_frac for c in report.voids.cavities]
        distances = structure.lattice.get_all_distances([frac], others)[0]
        assert cation.from_centre_ang == pytest.approx(distances.min())
        assert cavities[cation.cavity].centre_frac == others[int(np.argmin(distances))]


def test_the_contacts_of_the_report_are_those_of_the_atoms(paper: pores.LoadedPore) -> None:
    for contact in paper.report.contacts:
        first, second = (int(name.lstrip("NaZnCHOFS")) for name in (contact.first, contact.second))
        assert paper.structure.get_distance(first, second) == pytest.approx(contact.distance_ang)


def test_a_seed_repeats_and_another_differs(met6: pores.Framework) -> None:
    loads = [*pores.parse_salt("NaFSI:1", ANIONS), pores.parse_chain("peo3:1")]
    first, again, other = (pores.load(met6, loads, seed=seed) for seed in (7, 7, 8))
    assert first.report.model_dump_json() == again.report.model_dump_json()
    assert first.structure.to_json() == again.structure.to_json()
    assert first.structure == again.structure
    assert not np.allclose(first.structure.frac_coords[360:], other.structure.frac_coords[360:], atol=1e-3)


def test_a_second_host_and_another_salt() -> None:
    host = crystals.framework(CATALOGUE.mof("zif8"))
    zif8 = pores.Framework(host, "zif8")
    assert zif8.voids.lcd_ang == pytest.approx(11.4, abs=0.1)
    assert zif8.voids.pld_ang == pytest.approx(3.3, abs=0.15)
    loads = [*pores.parse_salt("Liacetate:1", ANIONS), pores.parse_chain("peo7:2")]
    loaded = pores.load(zif8, loads, seed=0)
    assert loaded.report.valid
    assert judged(loaded, host, loads) == set()
    assert loaded.report.atoms == 276 + 8 + 2 * 52
    assert loaded.report.cations[0].element == "Li"


def test_a_chain_too_long_is_refused_with_how_much_fits() -> None:
    """A closed hollow of some 7 A in a wall of atoms 3 A apart."""
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    wall = grid[(grid < 2).any(axis=1)] / 4
    hollow = pores.Framework(Structure(Lattice.cubic(12), ["C"] * len(wall), wall), "hollow")
    said: list[str] = []
    loads = [pores.parse_chain("pom1:1"), pores.parse_chain("pom14:1")]
    with pytest.raises(
        StructureError, match=r"1 pom1, 1 pom14 do not fit into hollow \(3 attempts; "
    ) as caught:
        pores.load(hollow, loads, seed=0, attempts=3, report_attempt=said.append)
    assert re.search(r"What did fit: .*\d+ of the 14 units of the next pom14", caught.value.remedy)
    assert len(said) == 3
    assert re.match(r"attempt 1: pom14 1 of 1 does not fit beyond \d+ of 14 units", said[0])


def test_more_than_the_free_volume_is_refused_at_once(met6: pores.Framework) -> None:
    with pytest.raises(
        StructureError, match=r"The guests fill \d+ A\^3, but met6 has \d+ A\^3 free"
    ) as caught:
        pores.load(met6, [*NA_FSI, pores.parse_chain("pom5000:2")], seed=0)
    assert "repeat units fit" in caught.value.remedy
    with pytest.raises(StructureError, match="free") as caught:
        pores.load(met6, pores.parse_salt("NaFSI:200", ANIONS), seed=0)
    assert "Load at most" in caught.value.remedy


@pytest.mark.parametrize("text", ["NaFS", "Na", "FSI", "KClO4:2", "", "NaNa:1"])
def test_an_unknown_salt(text: str) -> None:
    with pytest.raises(UnknownNameError, match="Unknown salt") as caught:
        pores.parse_salt(text, ANIONS)
    assert "NaFSI" in caught.value.remedy


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "two", "", "²"])
def test_a_bad_count(count: str) -> None:
    with pytest.raises(InputError, match="is no number of molecules"):
        pores.parse_salt(f"NaFSI:{count}", ANIONS)
    with pytest.raises(InputError, match="is no number of molecules"):
        pores.parse_chain(f"pom15:{count}")


@pytest.mark.parametrize(
    ("text", "says"),
    [("pom", "names no chain"), ("15", "names no chain"), ("pvc3", "Unknown chain"), ("pom0:1", "none")],
)
def test_a_bad_chain(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        pores.parse_chain(text)


def test_what_the_words_mean() -> None:
    cations, anions = pores.parse_salt("KFSI:3", ANIONS)
    assert (cations.ligand.formula, cations.count, cations.ligand.charge) == ("K", 3, 1)
    assert (anions.ligand.name, anions.count) == ("fsi", 3)
    chain = pores.parse_chain("peo7:2")
    assert (chain.ligand.formula, chain.count, chain.units) == ("HO(CH2CH2O)7H", 2, 7)
    assert pores.parse_chain("POM15").count == 1
    twice = Ligand(
        name="dianion", formula="C2O4", smiles="[O-]C(=O)C(=O)[O-]", charge=-2, source="a test anion"
    )
    assert pores.parse_salt("NaDianion:2", {"dianion": twice})[0].count == 4


def test_charged_or_empty_loads_are_refused(met6: pores.Framework) -> None:
    with pytest.raises(InputError, match=r"total charge of -2"):
        pores.load(met6, [NA_FSI[1]], seed=0)
    with pytest.raises(InputError, match="Nothing is to be loaded"):
        pores.load(met6, [], seed=0)


def test_hosts_that_cannot_be_loaded() -> None:
    narrow = Structure(Lattice.orthorhombic(8, 20, 20), ["C"], [[0, 0, 0]])
    with pytest.raises(StructureError, match=r"only 8\.0 A wide"):
        pores.Framework(narrow, "narrow")
    disordered = Structure(Lattice.cubic(12), [{"C": 0.5}], [[0, 0, 0]])
    with pytest.raises(StructureError, match="disordered"):
        pores.Framework(disordered, "half")
