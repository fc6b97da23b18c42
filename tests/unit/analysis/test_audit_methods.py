"""Audit of the facts of methods texts: the oddities of the paper, and none in a text that states all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from epilayer import Study
from epilayer.analysis.audit import audit_methods, needed_diffusivity_cm2_per_s
from epilayer.analysis.formulas import parse_formula
from epilayer.model.audit import AuditCode as Code
from epilayer.model.audit import AuditSeverity, AuditTexts, MethodsFacts
from epilayer.model.base import parse
from epilayer.model.errors import InputError
from epilayer.study.auditing import audit_texts
from epilayer.study.config import read_yaml

TEXTS = audit_texts(Study.open(Path.cwd()))
FIXTURES = Path(__file__).parents[2] / "data" / "audit"
MOLECULES = {
    "1H-1,2,3-triazole": "C2N3H3",
    "triazole": "C2N3H3",
    "2-methylimidazole": "C4H6N2",
    "2-methylimidazolate": "C4H5N2",
    "ethanol": "C2H6O",
}

# What the paper leaves silent, odd or wrong, item by item.
SEVEN: dict[int, set[Code]] = {
    1: {Code.POLYMER_IS_ANOTHER},
    2: {Code.EQUILIBRATION_TOO_SHORT},
    3: {
        Code.MISSING_HUBBARD,
        Code.MISSING_DISPERSION,
        Code.MISSING_DIPOLE,
        Code.ORDERING_NOT_STATED,
        Code.TERMINATION_NOT_STATED,
        Code.THICKNESS_NOT_STATED,
        Code.MAGNETIC_ORDER_NOT_STATED,
        Code.THERMOSTAT_NOT_STATED,
        Code.CHARGED_COMPOSITION_NOT_STATED,
        Code.COHP_CODE_NOT_STATED,
    },
    4: {Code.FORMULA_WRONG},
    5: {Code.K_MESH_NOT_BY_SYSTEM},
    6: {Code.TOO_FEW_IONS},
    7: {Code.FROZEN_FRAMEWORK},
}


def found(facts: dict[str, Any]) -> set[Code]:
    return {f.code for f in audit_methods(parse(MethodsFacts, facts, "facts"), MOLECULES, TEXTS)}


def correct(**changes: object) -> dict[str, Any]:
    """Return the facts of a sound text with some changed; ``None`` takes one away."""
    facts = {**read_yaml(FIXTURES / "correct.yaml"), **changes}
    return {key: value for key, value in facts.items() if value is not None}


def dynamics(**changes: object) -> dict[str, Any]:
    facts = {**correct()["dynamics"], **changes}
    return {"dynamics": {key: value for key, value in facts.items() if value is not None}}


def test_every_code_says_why_it_matters_and_what_to_do() -> None:
    without_one = TEXTS.model_dump()
    del without_one["findings"][Code.WRONG_CUTOFF]
    with pytest.raises(InputError, match="findings lacks wrong_cutoff"):
        parse(AuditTexts, without_one, "audit.yaml")


def test_the_seven_items_and_nothing_else_are_found_in_the_typed_facts() -> None:
    path = FIXTURES / "as_published.yaml"
    facts = parse(MethodsFacts, read_yaml(path), str(path))
    findings = audit_methods(facts, MOLECULES, TEXTS)
    assert {f.code for f in findings} == set().union(*SEVEN.values())
    assert len(findings) == len({f.code for f in findings})
    errors = {f.code for f in findings if f.severity is AuditSeverity.ERROR}
    assert errors == SEVEN[1] | SEVEN[2] | SEVEN[4] | SEVEN[6]
    what = {f.code: f.what for f in findings}
    assert "polyoxymethylene" in what[Code.POLYMER_IS_ANOTHER]
    assert "13 ps less the 10 ps analysed leaves 3 ps" in what[Code.EQUILIBRATION_TOO_SHORT]
    assert "one H short of 2-methylimidazole, C4H6N2" in what[Code.FORMULA_WRONG]
    assert "2 Na+ over 10 ps" in what[Code.TOO_FEW_IONS]


def test_a_text_that_states_all_gives_nothing() -> None:
    assert found(correct()) == set()


def test_a_finding_names_the_words_that_it_was_found_in() -> None:
    facts = parse(
        MethodsFacts, correct(cutoff_ev=None, functional="PBEsol", evidence={"functional": "PBEsol."}), ""
    )
    level = Study.open(Path.cwd()).catalogue.level("paper")
    wrong = {f.code: f for f in audit_methods(facts, MOLECULES, TEXTS, level)}
    assert wrong[Code.WRONG_FUNCTIONAL].where == ("PBEsol.",)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"hubbard_u_ev": None}, Code.MISSING_HUBBARD),
        ({"dispersion": None}, Code.MISSING_DISPERSION),
        ({"dipole_correction": False}, Code.MISSING_DIPOLE),
        ({"termination": None}, Code.TERMINATION_NOT_STATED),
        ({"slab_thickness": None}, Code.THICKNESS_NOT_STATED),
        ({"ordering": None}, Code.ORDERING_NOT_STATED),
        ({"magnetic_order": None}, Code.MAGNETIC_ORDER_NOT_STATED),
        (dynamics(thermostat=None), Code.THERMOSTAT_NOT_STATED),
        ({"charged_composition": None}, Code.CHARGED_COMPOSITION_NOT_STATED),
        ({"bonding_code": None}, Code.COHP_CODE_NOT_STATED),
        ({"k_meshes": [{"divisions": [2, 2, 1]}]}, Code.K_MESH_NOT_BY_SYSTEM),
        ({"k_meshes": None}, Code.K_MESH_NOT_STATED),
        (dynamics(framework_frozen=True), Code.FROZEN_FRAMEWORK),
        (dynamics(equilibration_fs=20), Code.EQUILIBRATION_TOO_SHORT),
        (dynamics(equilibration_fs=0.4), Code.EQUILIBRATION_TOO_SHORT),
        (dynamics(equilibration_fs=None, total_ps=None), Code.EQUILIBRATION_NOT_STATED),
        (dynamics(total_ps=210), Code.TIMES_DO_NOT_ADD_UP),
        (dynamics(mobile_ions={"Na": 2}), Code.TOO_FEW_IONS),
        (dynamics(time_step_fs=5), Code.TIME_STEP_TOO_LONG),
        ({"polymers": [{"name": "PEO", "formula": "H(OCH2)16OH"}]}, Code.POLYMER_IS_ANOTHER),
        ({"molecules": [{"name": "2-methylimidazole", "formula": "C4H7N2"}]}, Code.FORMULA_WRONG),
        ({"molecules": [{"formula": "C2H2N3"}]}, Code.FORMULA_WRONG),
        ({"functional": None}, Code.FUNCTIONAL_NOT_STATED),
        ({"cutoff_ev": None}, Code.CUTOFF_NOT_STATED),
        ({"spin_polarised": None}, Code.MISSING_SPIN),
    ],
)
def test_one_fact_less_or_wrong_gives_one_finding(changes: dict[str, Any], code: Code) -> None:
    assert found(correct(**changes)) == {code}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("HO-(CH2O)15-H", "C15H32O16"),
        ("H(OCH2)15OH", "C15H32O16"),
        ("C3N2H2-CH3", "C4H5N2"),
        ("Na3V2O2(PO4)2F", "FNa3O10P2V2"),
        ("[Fe(CN)6]", "C6FeN6"),
        ("Zn(C2N3H2)2", "C4H4N6Zn"),
    ],
)
def test_formulas(text: str, shown: str) -> None:
    formula = parse_formula(text)
    assert formula is not None
    assert formula.shown == shown


@pytest.mark.parametrize("text", ["", "VASP", "PBE", "(CH2", "CH2)", "C0", "H0.5", "Xx2", "()2", "n", "-"])
def test_what_is_no_formula(text: str) -> None:
    formula = parse_formula(text)
    assert formula is None


def test_an_ion_is_not_a_molecule_with_a_hydrogen_too_few() -> None:
    anion = {"molecules": [{"formula": "C4H5N2-"}, {"name": "2-methylimidazolate", "formula": "C4H5N2"}]}
    assert found(correct(**anion)) == set()
    neutral = {"molecules": [{"name": "2-methylimidazole", "formula": "C4H5N2"}]}
    assert found(correct(**neutral)) == {Code.FORMULA_WRONG}


def test_the_diffusivity_that_so_few_ions_need() -> None:
    assert needed_diffusivity_cm2_per_s(2, 10.0) == pytest.approx(4.17e-4, rel=0.01)
    # Twice the ions or twice the time halve it.
    assert needed_diffusivity_cm2_per_s(4, 10.0) == pytest.approx(needed_diffusivity_cm2_per_s(2, 20.0))
    assert needed_diffusivity_cm2_per_s(4, 10.0) == pytest.approx(needed_diffusivity_cm2_per_s(2, 10.0) / 2)
