"""Audit of inputs: each thing that can be wrong in them is named, and sound ones give nothing."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epilayer import Study
from epilayer.analysis.audit_inputs import audit_inputs
from epilayer.engines.vasp.input_facts import bands_needed, basis_given, read_inputs, thermostat
from epilayer.model.audit import AuditCode as Code
from epilayer.model.audit import AuditSeverity, InputFacts
from epilayer.model.vasp import SystemKind
from epilayer.study.auditing import audit_texts
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from epilayer.model.level import Level

DATA = Path(__file__).parents[2] / "data"
REAL = Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
ADSLAB, BOX = "relax-triazole-on-nvopf-001*", "molecule-triazole*"
TEXTS = audit_texts(Study.open(Path.cwd()))
U_EV = {"V": (3.25,)}
HARMLESS = {Code.LOOSE_FORCES}
PORE_AS_CHOSEN = {Code.FROZEN_FRAMEWORK, Code.TOO_FEW_IONS}


def level(name: str) -> Level:
    return Catalogue((shipped("configs"),)).level(name)


def findings(place: Path, against: str | None = None) -> dict[Code, AuditSeverity]:
    chosen = level(against) if against else None
    return {f.code: f.severity for f in audit_inputs(read_inputs(place, lambda _folder: chosen, U_EV), TEXTS)}


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A slab with a molecule and the molecule in its box, at ``paper+u+d3``."""
    for pattern in (ADSLAB, BOX):
        source = next((DATA / "golden" / "paper+u+d3").glob(pattern))
        shutil.copytree(source, tmp_path / "pair" / ("slab" if pattern == ADSLAB else "box"))
    return tmp_path / "pair"


def change(folder: Path, tag: str, value: str | None) -> None:
    """Set a tag of an INCAR, or take it out."""
    path = folder / "INCAR"
    lines = [line for line in path.read_text().splitlines() if line.split("=")[0].strip() != tag]
    path.write_text("\n".join(lines + ([f"{tag} = {value}"] if value is not None else [])) + "\n")


@pytest.mark.parametrize("folder", ["golden", "golden-s6-s8"])
@pytest.mark.parametrize("name", ["paper", "paper+u+d3"])
def test_inputs_written_for_a_level_follow_it_in_every_setting(folder: str, name: str) -> None:
    found = findings(DATA / folder / name, name)
    assert not set(found) & {Code.LEVEL_DIFFERS, Code.WRONG_FUNCTIONAL, Code.WRONG_CUTOFF}
    assert AuditSeverity.ERROR not in found.values()
    left_out = {Code.MISSING_HUBBARD, Code.MISSING_DISPERSION, Code.MISSING_DIPOLE}
    assert set(found) - HARMLESS - PORE_AS_CHOSEN == (left_out if name == "paper" else set())


def test_another_level_is_told_apart_setting_by_setting() -> None:
    chosen = level("paper+u+d3")
    facts = read_inputs(DATA / "golden" / "paper", lambda _folder: chosen, U_EV)
    slab = next(f for f in facts if f.where.endswith("tilt27") and "/relax-triazole" in f.where)
    assert {d.setting for d in slab.differences} == {"IVDW", "U of V", "dipole correction"}


def test_without_a_level_sound_inputs_give_nothing(pair: Path) -> None:
    assert findings(pair) == {}


@pytest.mark.parametrize(
    ("where", "tag", "value", "code"),
    [
        ("slab", "GGA", "PS", Code.WRONG_FUNCTIONAL),
        ("slab", "GGA", None, Code.FUNCTIONAL_NOT_STATED),
        ("box", "GGA", "RP", Code.MIXED_FUNCTIONAL),
        ("box", "ENCUT", "520", Code.MIXED_CUTOFF),
        ("slab", "ENCUT", None, Code.CUTOFF_NOT_STATED),
        ("slab", "LDAU", ".FALSE.", Code.MISSING_HUBBARD),
        ("box", "IVDW", "0", Code.MIXED_DISPERSION),
        ("slab", "LDIPOL", ".FALSE.", Code.MISSING_DIPOLE),
        ("slab", "IDIPOL", "1", Code.WRONG_DIPOLE_AXIS),
        ("slab", "ISPIN", "1", Code.MISSING_SPIN),
        ("slab", "NELECT", "400", Code.CHARGED_CELL),
    ],
)
def test_one_changed_tag_is_named(pair: Path, where: str, tag: str, value: str | None, code: Code) -> None:
    change(pair / where, tag, value)
    assert code in findings(pair)
    expected = {code} | ({Code.MIXED_FUNCTIONAL} if code is Code.WRONG_FUNCTIONAL else set())
    expected |= {Code.MISSING_DISPERSION} if tag == "IVDW" else set()
    assert set(findings(pair)) == expected


@pytest.mark.parametrize(
    ("tag", "value", "setting"),
    [
        ("GGA", "PS", Code.WRONG_FUNCTIONAL),
        ("ENCUT", "520", Code.WRONG_CUTOFF),
        ("LASPH", ".FALSE.", Code.LEVEL_DIFFERS),
        ("LREAL", "Auto", Code.LEVEL_DIFFERS),
        ("PREC", "Normal", Code.LEVEL_DIFFERS),
        ("SIGMA", "0.2", Code.LEVEL_DIFFERS),
        ("EDIFF", "1e-4", Code.LEVEL_DIFFERS),
        ("METAGGA", "SCAN", Code.WRONG_FUNCTIONAL),
        ("LSOL", ".TRUE.", Code.LEVEL_DIFFERS),
        ("EDIFFG", "-0.05", Code.LOOSE_FORCES),
        ("LDAUU", "0 0 0 0 0 0 4.0", Code.LEVEL_DIFFERS),
    ],
)
def test_one_tag_away_from_the_level_is_named(pair: Path, tag: str, value: str, setting: Code) -> None:
    if tag == "LDAUU":
        old = re.search(r"LDAUU = (.*)", (pair / "slab" / "INCAR").read_text())
        assert old is not None
        value = old[1].replace("3.25", "4.0")
    change(pair / "slab", tag, value)
    assert setting in findings(pair, "paper+u+d3")


@pytest.mark.parametrize("tag", ["KPAR", "NCORE", "LWAVE", "NELM", "ALGO", "SYSTEM"])
def test_how_it_is_run_is_no_finding(pair: Path, tag: str) -> None:
    change(pair / "slab", tag, {"LWAVE": ".TRUE.", "ALGO": "Fast", "SYSTEM": "mine"}.get(tag, "4"))
    assert findings(pair, "paper+u+d3") == {}


def test_meshes_by_the_kind_of_system(pair: Path) -> None:
    for where in ("slab", "box"):
        (pair / where / "KPOINTS").write_text("mesh\n0\nGamma\n1 1 1\n")
    assert set(findings(pair)) == {Code.K_MESH_TOO_COARSE}
    for where in ("slab", "box"):
        (pair / where / "KPOINTS").write_text("mesh\n0\nGamma\n2 2 1\n")
    assert set(findings(pair)) == {Code.K_MESH_ON_MOLECULE}
    (pair / "slab" / "KPOINTS").unlink()
    change(pair / "slab", "KSPACING", "1.0")
    assert Code.K_MESH_TOO_COARSE in findings(pair)


def test_bands_for_lobster_are_counted_by_its_basis(tmp_path: Path) -> None:
    source = next((DATA / "golden-s6-s8" / "paper").glob("bonds-peo2-free*"))
    folder = tmp_path / "bonds"
    shutil.copytree(source, folder)
    (facts,) = read_inputs(folder, lambda _folder: None)
    assert facts.bands_needed == facts.bands
    assert facts.lobster_problems == ()
    change(folder, "NBANDS", str((facts.bands or 0) - 1))
    assert findings(folder)[Code.TOO_FEW_BANDS] is AuditSeverity.ERROR
    change(folder, "NBANDS", None)
    change(folder, "ISYM", "2")
    change(folder, "LWAVE", ".FALSE.")
    found = findings(folder)
    assert found[Code.TOO_FEW_BANDS] is AuditSeverity.WARNING
    assert Code.LOBSTER_INPUT in found


def test_the_standard_basis_is_taken_where_none_is_given() -> None:
    from pymatgen.core import Lattice, Structure

    cell = Structure(Lattice.cubic(5), ["V", "O", "O"], [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]])
    assert bands_needed({}, cell, {"V": "V_pv", "O": "O"}) == 9 + 2 * 4
    assert bands_needed(basis_given("basisfunctions O 2p\nbasisFunctions V 3d\n"), cell, {}) == 5 + 2 * 3
    assert bands_needed({"O": ["2q"]}, cell, {"V": "V_pv"}) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Na 2p 3s", None),
        ("Na 3s", "no basis function for 2p, which the POTCAR Na_pv has in its valence"),
        ("Na 1s 2p 3s", "basis function 1s, which the POTCAR Na_pv has not in its valence"),
        ("O 2s", "no basis function for 2p, which the POTCAR O has in its valence"),
    ],
)
def test_a_basis_covers_the_valence_of_the_potcars_and_no_more(
    tmp_path: Path, line: str, said: str | None
) -> None:
    source = next((DATA / "golden-s6-s8" / "paper").glob("bonds-peo2-on*"))
    shutil.copytree(source, tmp_path / "bonds")
    path = tmp_path / "bonds" / "lobsterin"
    element = line.split(maxsplit=1)[0]
    old = re.search(rf"basisFunctions {element} .*", path.read_text())
    assert old is not None
    path.write_text(path.read_text().replace(old[0], f"basisfunctions {line}"))
    found = [
        f.what
        for f in audit_inputs(read_inputs(tmp_path / "bonds", lambda _folder: None), TEXTS)
        if f.code is Code.LOBSTER_BASIS
    ]
    assert found == ([said] if said else [])


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.exists(), reason=f"the real outputs are not at {REAL}")
def test_the_basis_of_a_run_on_iron(tmp_path: Path) -> None:
    """Fe_pv with 3d 3p 4s, which that LOBSTER recommended itself; then without its semicore."""
    folder = tmp_path / "iron"
    shutil.copytree(REAL / "lobster_spin_Fe" / "lobster_0" / "outputs", folder)
    (facts,) = [f for f in read_inputs(folder, lambda _folder: None) if f.bands_needed]
    assert (facts.bands, facts.bands_needed) == (18, 9 * facts.atoms["Fe"])
    assert not {Code.LOBSTER_BASIS, Code.TOO_FEW_BANDS} & set(findings(folder))
    written = folder / "lobsterin.gz"
    text = gzip.decompress(written.read_bytes()).decode().replace("Fe 3d 3p 4s", "Fe 3d 4s")
    written.write_bytes(gzip.compress(text.encode()))
    assert findings(folder)[Code.LOBSTER_BASIS] is AuditSeverity.ERROR


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ({}, None),
        ({"SMASS": -3}, "NVE"),
        ({"SMASS": 0.0}, "Nose-Hoover"),
        ({"MDALGO": 2}, "Nose-Hoover"),
        ({"MDALGO": 3}, None),
        ({"MDALGO": 3, "LANGEVIN_GAMMA": (10.0, 10.0)}, "Langevin"),
        ({"MDALGO": 1, "ANDERSEN_PROB": 0.1}, "Andersen"),
    ],
)
def test_thermostats(tags: dict[str, object], name: str | None) -> None:
    assert thermostat(tags) == name  # type: ignore[arg-type]


def test_dynamics_of_a_framework(tmp_path: Path) -> None:
    source = next((DATA / "golden-s6-s8" / "paper").glob("dynamics-met6*"))
    folder = tmp_path / "md"
    shutil.copytree(source, folder)
    assert set(findings(folder)) == {Code.FROZEN_FRAMEWORK, Code.TOO_FEW_IONS, Code.MISSING_DISPERSION}
    for tag in ("MDALGO", "SMASS"):
        change(folder, tag, None)
    change(folder, "POTIM", "4")
    assert {Code.THERMOSTAT_NOT_STATED, Code.TIME_STEP_TOO_LONG} <= set(findings(folder))


def test_charged_cells_and_thin_vacuum() -> None:
    slab = InputFacts(
        where="x", system=SystemKind.SLAB, charge_e=1.0, vacuum_ang=6.0, functional="PBE", cutoff_ev=500
    )
    found = {f.code: f.severity for f in audit_inputs([slab], TEXTS)}
    assert found == {Code.CHARGED_CELL: AuditSeverity.ERROR, Code.VACUUM_TOO_THIN: AuditSeverity.WARNING}
    molecule = slab.model_copy(update={"system": SystemKind.MOLECULE})
    assert {f.severity for f in audit_inputs([molecule], TEXTS)} == {AuditSeverity.WARNING}


def test_the_same_finding_in_many_places_is_one(pair: Path) -> None:
    for number in range(3):
        shutil.copytree(pair / "slab", pair / f"slab{number}")
    for folder in pair.glob("slab*"):
        change(folder, "LDIPOL", ".FALSE.")
    (one,) = audit_inputs(read_inputs(pair, lambda _folder: None), TEXTS)
    assert one.code is Code.MISSING_DIPOLE
    assert len(one.where) == 4


def test_damaged_inputs_are_named_and_never_a_crash(pair: Path) -> None:
    (pair / "slab" / "POSCAR").write_text("cut\n1.0\n9 0 0\n")
    (pair / "box" / "INCAR").write_bytes(bytes(range(256)))
    found = audit_inputs(read_inputs(pair, lambda _folder: level("paper"), U_EV), TEXTS)
    places = {where.rsplit("/", 1)[1] for f in found if f.code is Code.INPUT_UNREADABLE for where in f.where}
    assert places == {"slab", "box"}


def test_inputs_that_ran_are_judged_as_executed(tmp_path: Path) -> None:
    (tmp_path / "INCAR.gz").write_bytes(gzip.compress(b"ENCUT = 400\nGGA = PS\n"))
    (facts,) = read_inputs(tmp_path, lambda _folder: None)
    assert (facts.cutoff_ev, facts.functional) == (400.0, "PBEsol")
    assert read_inputs(tmp_path / "INCAR.gz", lambda _folder: None) == [facts]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_flipped_bytes_never_crash_the_reader(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    source = next((DATA / "golden-s6-s8" / "paper").glob("bonds-peo2-free*"))
    folder = tmp_path_factory.mktemp("flip")
    for path in source.iterdir():
        content = bytearray(path.read_bytes())
        if path.name != "calculation.json":
            for _ in range(data.draw(st.integers(0, 4))):
                content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        (folder / path.name).write_bytes(content)
    facts = read_inputs(folder, lambda _folder: level("paper"), U_EV)
    assert all(json.loads(one.model_dump_json())["where"] for one in facts)
    audit_inputs(facts, TEXTS)
