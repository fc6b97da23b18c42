"""VASP levels as data, what is read off a structure, and the engine's other tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pymatgen.core import Lattice, Structure

from epilayer.engines.vasp import inputs as vasp_inputs
from epilayer.engines.vasp import setup as vasp_setup
from epilayer.flows.adsorption import facet_slab
from epilayer.model.errors import EngineError, InputError, StructureError, UnknownNameError
from epilayer.model.failure import FailedRunError
from epilayer.model.vasp import SystemKind
from epilayer.structures import molecules
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from pathlib import Path

LEVEL = "name: {name}\ntitle: t\nsource: a test\nengine: vasp\nparent: {parent}\n{rest}"


def catalogue(folder: Path, **levels: str) -> Catalogue:
    (folder / "levels").mkdir(parents=True, exist_ok=True)
    for name, text in levels.items():
        (folder / "levels" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return Catalogue((folder, shipped("configs")))


def test_a_level_states_only_what_differs_from_its_parent() -> None:
    known = Catalogue((shipped("configs"),))
    paper, more, cheap = (known.level(name) for name in ("paper", "paper+u+d3", "screening"))
    changed = {k for k in paper.vasp.incar if paper.vasp.incar[k] != more.vasp.incar[k]}
    assert changed == {"IVDW"}
    assert more.vasp.systems[SystemKind.SLAB].incar == {"LDIPOL": True, "IDIPOL": 3}
    assert more.vasp.systems[SystemKind.SLAB].k_points.divisions == (2, 2, 1)
    assert (paper.vasp.incar["ENCUT"], cheap.vasp.incar["ENCUT"]) == (500, 400)
    assert cheap.convergence.max_force_ev_per_ang == 0.05
    assert more.choices["sodium_order"] == paper.choices["sodium_order"]
    assert paper.vasp.incar["GGA"] == "PE"


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("vasp: {incar: {MAGMOM: 5}}", "MAGMOM is set by moments"),
        ("vasp: {incar: {LDAUU: 3.25}}", "LDAUU is set by hubbard"),
        ("vasp: {incar: {KPAR: 4}}", "KPAR is set by the cluster"),
        ("vasp: {incar: {encut: 4}}", "upper case"),
        ("vasp: {systems: {slab: {k_points: {length_ang: 20}}}}", "not both"),
        ("vasp: {incra: {ENCUT: 5}}", "incar"),
        ("vasp: {potcar_functional: LDA}", "PBE_54"),
    ],
)
def test_a_level_that_contradicts_itself_is_refused_in_one_line(
    tmp_path: Path, rest: str, message: str
) -> None:
    known = catalogue(tmp_path, mine=LEVEL.format(name="mine", parent="paper", rest=rest))
    with pytest.raises(InputError, match=message) as caught:
        known.level("mine")
    assert "mine.yaml" in str(caught.value)


def test_parents_are_known_and_make_no_circle(tmp_path: Path) -> None:
    a = LEVEL.format(name="a", parent="b", rest="")
    b = LEVEL.format(name="b", parent="a", rest="")
    with pytest.raises(InputError, match=r"inherits from itself \(a -> b -> a\)"):
        catalogue(tmp_path, a=a, b=b).level("a")
    with pytest.raises(UnknownNameError, match="Did you mean 'paper'"):
        catalogue(tmp_path, c=LEVEL.format(name="c", parent="papr", rest="")).level("c")


def test_the_kind_of_system_is_read_off_the_vacuum() -> None:
    known = Catalogue((shipped("configs"),))
    nvopf = known.cathode("nvopf")
    for facet in ("001", "100"):
        slab = facet_slab(nvopf, facet).structure
        assert vasp_inputs.system_kind(slab) is SystemKind.SLAB
        assert vasp_inputs.vacuum_axis(slab) == 2
    for name in known.names("ligands"):
        box = molecules.in_box(molecules.build(known.ligand(name), 0), vacuum_ang=15.0)
        assert vasp_inputs.system_kind(box) is SystemKind.MOLECULE
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]])
    assert vasp_inputs.system_kind(salt) is SystemKind.BULK
    assert vasp_inputs.system_kind(salt * (3, 3, 3)) is SystemKind.PORE
    salt.properties["system"] = "pore"
    assert vasp_inputs.system_kind(salt) is SystemKind.PORE


def test_multiplicity_follows_the_electrons() -> None:
    known = Catalogue((shipped("configs"),))
    box = molecules.in_box(molecules.build(known.ligand("triazole"), 0), vacuum_ang=15.0)
    assert vasp_inputs.multiplicity(box) == 1
    radical = box.copy()
    radical.remove_sites([len(box) - 1])
    assert vasp_inputs.multiplicity(radical) == 2
    radical.properties["multiplicity"] = 3
    with pytest.raises(StructureError, match="multiplicity 3 does not fit"):
        vasp_inputs.multiplicity(radical)
    engine = known.engine("paper")
    radical.properties["multiplicity"] = 2
    inputs = engine.relax("r").inputs(radical)
    inputs.structure = engine.relax("r").placed(radical)[1]
    assert inputs.incar["NUPDOWN"] == 1
    assert sum(inputs.incar["MAGMOM"]) == pytest.approx(1.0, abs=0.01)


def test_u_and_moments_come_from_the_cathode(tmp_path: Path) -> None:
    own = "vasp: {hubbard: {V: {u_ev: 4.0, source: a value of this test}}}"
    known = catalogue(tmp_path, own=LEVEL.format(name="own", parent="paper", rest=own))
    nvopf = known.cathode("nvopf")
    assert known.engine("paper", nvopf).hubbard_u_ev == {}
    assert known.engine("paper+u+d3", nvopf).hubbard_u_ev == {"V": 3.25}
    assert known.engine("own", nvopf).hubbard_u_ev == {"V": 4.0}
    assert known.engine("paper", nvopf).moments["V"] == 1.0


def test_the_cluster_may_say_how_to_spread_the_work_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    import atomate2

    monkeypatch.setattr(atomate2.SETTINGS, "VASP_INCAR_UPDATES", {"KPAR": 2, "NCORE": 8})
    assert vasp_inputs.parallel_updates() == {"KPAR": 2, "NCORE": 8}
    monkeypatch.setattr(atomate2.SETTINGS, "VASP_INCAR_UPDATES", {"KPAR": 2, "ENCUT": 520})
    with pytest.raises(EngineError, match="ENCUT, which would change every level"):
        vasp_inputs.parallel_updates()


def test_a_potcar_of_another_functional_is_named(
    potcars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    import pymatgen.core

    root = tmp_path / "psp"
    shutil.copytree(potcars, root)
    monkeypatch.setitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", str(root))
    assert vasp_setup.potcar_problem({"V": "V_pv", "O": "O"}, "PBE_54") is None
    oxygen = root / "POT_GGA_PAW_PBE_54" / "O" / "POTCAR"
    oxygen.write_text(oxygen.read_text().replace("PAW_PBE O", "PAW O"), encoding="utf-8")
    problem = vasp_setup.potcar_problem({"V": "V_pv", "O": "O"}, "PBE_54")
    assert problem is not None
    assert "another functional or element: O: PAW O" in problem.what
    shutil.rmtree(root / "POT_GGA_PAW_PBE_54" / "V_pv")
    problem = vasp_setup.potcar_problem({"V": "V_pv", "O": "O"}, "PBE_54")
    assert problem is not None
    assert "POTCAR missing for V_pv" in problem.what


@pytest.mark.usefixtures("vasp")
def test_the_stand_in_refuses_what_vasp_would_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Catalogue((shipped("configs"),))
    box = molecules.in_box(molecules.build(known.ligand("water"), 0), vacuum_ang=15.0)
    maker = known.engine("paper").relax("water")
    maker.input_set_generator.user_incar_settings = {"ENCTU": 500}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FailedRunError) as refused:
        maker.make.original(maker, box)
    assert any("does not know: ['ENCTU'" in line for _, line in refused.value.failure.telling)
