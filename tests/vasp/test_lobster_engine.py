"""LOBSTER over VASP, against the stand-ins: inputs, numbers by name, and every failure with its cure."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from epilayer.engines.base import BondingEngine
from epilayer.engines.lobster import engine as lobster
from epilayer.model.cohp import Bond, Bonding
from epilayer.model.errors import EngineError, InputError
from epilayer.model.records import Status
from epilayer.outputs.vasp.wavecar import read_wavecar_header
from epilayer.structures import molecules
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue((shipped("configs"),))


@pytest.fixture(scope="module")
def box(catalogue: Catalogue) -> Structure:
    """Ethanol in its box: one C-O bond, one C-C bond."""
    return molecules.in_box(molecules.build(catalogue.ligand("ethanol"), 0), vacuum_ang=15.0)


def named(box: Structure) -> list[Bond]:
    carbon = [i for i, s in enumerate(box) if s.specie.symbol == "C"]
    oxygen = next(i for i, s in enumerate(box) if s.specie.symbol == "O")
    near = min(carbon, key=lambda i: box.get_distance(i, oxygen))
    return [Bond(name="C-O", atoms=(near, oxygen)), Bond(name="C-C", atoms=(carbon[0], carbon[1]))]


class Case:
    def __init__(self, catalogue: Catalogue, box: Structure, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.maker = catalogue.engine("paper").bonding("ethanol")
        self.box, self.root, self.patch = box, root, patch

    def attempt(self, number: int = 1) -> Bonding:
        where = self.directory(number)
        where.mkdir(parents=True)
        self.patch.chdir(where)
        return self.maker.make.original(self.maker, self.box, named(self.box))

    def directory(self, number: int) -> Path:
        return self.root / "job" / f"attempt-{number}"

    def fault(self, name: str, *, once: bool = True) -> None:
        self.patch.setenv("LOBSTER_STANDIN_FAULT", name)
        if once:
            self.patch.setenv("LOBSTER_STANDIN_ONCE", str(self.root / "struck"))


@pytest.fixture
def case(
    catalogue: Catalogue,
    box: Structure,
    vasp: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Case:
    assert vasp
    return Case(catalogue, box, tmp_path, monkeypatch)


def test_bonds_are_integrated_by_name_and_every_record_says_stand_in(case: Case, box: Structure) -> None:
    done = case.attempt()
    assert done.status is Status.CERTIFIED
    assert done.stand_in
    assert done.level.stand_in
    assert "stand-in" in done.method
    assert [b.name for b in done.bonds] == ["C-O", "C-C"]
    bond = done.bonds[0]
    assert bond.elements == ("C", "O")
    assert bond.length_ang == pytest.approx(box.get_distance(*bond.atoms))
    assert bond.icohp_ev is not None
    assert bond.icohp_per_spin_ev is not None
    assert bond.icohp_ev == pytest.approx(sum(bond.icohp_per_spin_ev))
    assert bond.icohp_ev == pytest.approx(-10 * np.exp(-(bond.length_ang - 1.4) / 0.35), abs=1e-4)
    assert bond.icoop == pytest.approx(-0.04 * bond.icohp_ev, abs=1e-4)
    # C2H6O: 2 C of 4 functions, O of 4, 6 H of 1.
    assert done.basis_functions == done.bands == 2 * 4 + 4 + 6
    assert done.spilling_passes
    assert done.energy_window_ev == pytest.approx((-35.0, 5.0))
    assert done.level.numerics["ENCUT"] == 500.0
    assert done.corrections == ()
    files = done.provenance.files
    assert {"lobsterin", "lobsterout", "ICOHPLIST.lobster", "COHPCAR.lobster", "OUTCAR"} <= set(files)
    first = (case.directory(1) / "OUTCAR").read_text().split("\n", 1)[0]
    assert "complex" in first  # LOBSTER cannot read what a Gamma-only VASP writes


def test_the_engine_offers_bonding(catalogue: Catalogue) -> None:
    assert isinstance(catalogue.engine("paper"), BondingEngine)
    assert not isinstance(catalogue.engine("chgnet"), BondingEngine)


def test_too_few_bands_are_mended_with_what_lobster_asks_for(case: Case) -> None:
    case.fault("few_bands")
    done = case.attempt()
    assert done.status is Status.CERTIFIED
    assert done.bands == 26
    assert done.corrections == ("NBANDS 18 -> 26, as LOBSTER asked for",)
    second = case.directory(1) / "bands-26"
    assert "NBANDS = 26" in (second / "INCAR").read_text()
    assert "found WAVECAR" in (second / "vasp.out").read_text()


def test_lobster_that_always_wants_more_bands_is_bounded(case: Case) -> None:
    case.fault("few_bands", once=False)
    with pytest.raises(EngineError, match=r"cohp_disabled: too few bands.*NBANDS = 42"):
        case.attempt()
    assert sorted(p.name for p in case.directory(1).glob("bands-*")) == ["bands-26", "bands-34"]


@pytest.mark.parametrize("fault", ["crash", "unfinished", "truncated"])
def test_a_lobster_that_breaks_is_run_once_more(case: Case, fault: str) -> None:
    case.fault(fault)
    done = case.attempt()
    assert done.status is Status.CERTIFIED
    assert len(done.corrections) == 1
    assert done.corrections[0].startswith("LOBSTER was run again (")
    assert done.provenance.run_directory.endswith("lobster-2")


@pytest.mark.parametrize(
    ("fault", "cause"),
    [("crash", "not_finished"), ("unfinished", "not_finished"), ("truncated", "file_truncated")],
)
def test_a_lobster_that_breaks_always_fails_with_its_cause_and_resumes(
    case: Case, fault: str, cause: str
) -> None:
    case.fault(fault, once=False)
    with pytest.raises(EngineError, match=f"LOBSTER: {cause}") as caught:
        case.attempt()
    assert caught.value.remedy
    case.patch.delenv("LOBSTER_STANDIN_FAULT")
    done = case.attempt(2)
    assert done.status is Status.CERTIFIED
    assert done.corrections == ("resumed with the WAVECAR of attempt-1",)


@pytest.mark.parametrize(("fault", "spins"), [("spilling", (1, 2)), ("spilling_2", (2,))])
def test_spilling_above_five_percent_is_refused_with_its_number(
    case: Case, fault: str, spins: tuple[int, ...]
) -> None:
    case.fault(fault)
    done = case.attempt()
    assert done.status is Status.REFUSED
    assert done.spilling_passes is False
    assert {s.spin for s in done.spilling if not s.passes} == set(spins)
    assert all(b.icohp_ev is None and b.icoop is None for b in done.bonds)
    assert done.bonds[0].length_ang > 1
    assert {r.code.value for r in done.refusals} == {"spilling_above_limit"}
    assert "7.28 %" in done.refusals[0].what


def test_a_silent_lobster_is_no_result(case: Case) -> None:
    case.fault("silent", once=False)
    with pytest.raises(EngineError, match="LOBSTER"):
        case.attempt()


def test_no_lobster_is_said_before_vasp_runs(case: Case) -> None:
    import atomate2

    case.patch.setattr(atomate2.SETTINGS, "LOBSTER_CMD", "no_such_lobster")
    with pytest.raises(EngineError, match=r"no program 'no_such_lobster'.*ATOMATE2_LOBSTER_CMD"):
        case.attempt()
    assert not list(case.directory(1).iterdir())


@pytest.mark.parametrize(
    ("bonds", "what"),
    [
        ([], "No bond is named"),
        ([Bond(name="x", atoms=(0, 99))], "names atom 99"),
        ([Bond(name="x", atoms=(0, 1)), Bond(name="x", atoms=(0, 2))], "named twice"),
    ],
)
def test_bad_bonds_are_refused(case: Case, bonds: list[Bond], what: str) -> None:
    with pytest.raises(InputError, match=what):
        case.maker.plan(case.box, bonds)


def test_a_bond_needs_two_atoms() -> None:
    with pytest.raises(ValueError, match="same atom twice"):
        Bond(name="x", atoms=(1, 1))


def test_a_pseudopotential_without_a_basis_is_refused() -> None:
    with pytest.raises(EngineError, match="No basis of LOBSTER is known for the POTCAR X_weird"):
        lobster.basis_of({"O": "X_weird"}, ["O"])


def test_names_follow_the_atoms_through_the_order_of_the_files(case: Case) -> None:
    plan = case.maker.plan(case.box, named(case.box))
    for bond, pair in zip(named(case.box), plan.pairs, strict=True):
        assert case.box.get_distance(*bond.atoms) == pytest.approx(plan.structure.get_distance(*pair))
        there = [plan.structure[i].specie.symbol for i in pair]
        assert there == [case.box[i].specie.symbol for i in bond.atoms]


def wavecar(path: Path, *, bands: int = 18, encut_ev: float = 500.0, cut: int = 0, points: int = 1) -> Path:
    length = 8 * (4 + 3 * bands)
    with path.open("wb") as stream:
        stream.write(struct.pack("<3d", length, 2, 45200))
        stream.seek(length)
        stream.write(struct.pack("<13d", points, bands, encut_ev, *(10 * np.eye(3)).ravel(), 0.0))
        stream.truncate(length * (2 + 2 * points * (1 + bands)) - cut)
    return path


def test_a_wavecar_is_taken_over_only_where_it_fits(tmp_path: Path) -> None:
    asked = {"encut_ev": 500.0, "lattice_ang": 10 * np.eye(3), "spins": 2, "bands": 18, "most_k_points": 1}
    good = read_wavecar_header(wavecar(tmp_path / "W"))
    assert good.mismatch(**asked) is None
    assert read_wavecar_header(wavecar(tmp_path / "W", bands=20)).mismatch(**asked) is None
    for changed, what in (
        ({"encut_ev": 520.0}, "cutoff"),
        ({"lattice_ang": 10.1 * np.eye(3)}, "cell"),
        ({"spins": 1}, "spin"),
        ({"bands": 19}, "18 bands, fewer than 19"),
        ({"most_k_points": 4}, "k-points"),
    ):
        assert what in (good.mismatch(**{**asked, **changed}) or "")
    cut = read_wavecar_header(wavecar(tmp_path / "W", cut=1))
    assert "cut short" in (cut.mismatch(**asked) or "")


@pytest.mark.parametrize("content", [b"", b"x" * 23, b"\0" * 400, struct.pack("<3d", 400, 2, 45200)])
def test_what_is_no_wavecar_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "WAVECAR").write_bytes(content)
    with pytest.raises(InputError, match="WAVECAR"):
        read_wavecar_header(tmp_path / "WAVECAR")


def test_a_cut_wavecar_is_not_gone_on_from(case: Case) -> None:
    case.fault("crash", once=False)
    with pytest.raises(EngineError):
        case.attempt()
    file = case.directory(1) / "WAVECAR"
    file.write_bytes(file.read_bytes()[:-8])
    case.patch.delenv("LOBSTER_STANDIN_FAULT")
    assert case.attempt(2).corrections == ()
