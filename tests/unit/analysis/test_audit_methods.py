"""Audit of methods texts: the seven oddities of the paper, none in a sound text, a reader that never breaks."""

# ruff: noqa: E501, RUF001  (texts as people set them)

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epilayer.analysis.audit import audit_methods, needed_diffusivity_cm2_per_s
from epilayer.analysis.audit_texts import TEXTS
from epilayer.analysis.formulas import candidates, parse_formula
from epilayer.analysis.prose import LONGEST_TEXT, holds_facts, normalised, read_methods, sentences
from epilayer.model.audit import AuditCode as Code
from epilayer.model.audit import AuditSeverity, MethodsFacts
from epilayer.model.base import parse
from epilayer.model.vasp import SystemKind
from epilayer.study.config import read_yaml

FIXTURES = Path(__file__).parents[2] / "data" / "audit"
MOLECULES = {
    "1H-1,2,3-triazole": "C2N3H3",
    "triazole": "C2N3H3",
    "2-methylimidazole": "C4H6N2",
    "2-methylimidazolate": "C4H5N2",
    "ethanol": "C2H6O",
}
CATHODES = {"NVOPF": "Na3V2P2O10F"}

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

# The same facts in other words, and as a list.
OTHER_WORDS = """\
Methods. Spin-polarized calculations used the Vienna package, the generalized gradient approximation of Perdew, Burke and
Ernzerhof, 500 eV for the kinetic energy cut-off, a Gamma-centered k-grid of 2*2*1 and forces converged to 0.02 eV/Å.
Adsorption was studied for C2N3H3 and C3N2H2-CH3 on slabs of NVOPF. AIMD at 353 K with 1 fs time step was run over 13 000
steps: a cell of the MOF MET-6 held 2 NaFSI and 2 poly(ethylene oxide) chains (HO(CH_{2}O)_{15}H). All atoms of the framework
except hydrogen were fixed. The initial 3 fs were discarded as equilibration; MSDs are from the final 10 ps. Crystal orbital
Hamilton populations of PEO on the fully charged NVOPF were integrated.
"""
AS_A_LIST = """\
- Code: VASP, spin-polarised
- Functional: PBE
- Cutoff: 500 eV
- k-points: 2x2x1, Gamma-centred
- Hubbard U: none
- Dispersion: not stated
- Dipole correction: none
- Na ordering, slab termination, slab thickness and magnetic order are not stated
- Cathode: Na3V2O2(PO4)2F, slabs (001) and (100), adsorption of 1H-1,2,3-triazole (C2N3H3), 2-methylimidazole (C3N2H2-CH3)
- AIMD of MET-6: 13,000 steps of 1 fs at 80 C, thermostat: not stated
- Equilibration: first 3 fs
- MSD from the last 10 ps
- Contents: 2 NaFSI + 2 PEO chains HO-(CH2O)15-H
- Framework: only H moves
- ICOHP of C-O on charged NVOPF; composition and COHP program not stated
"""

IN_ONE_SENTENCE = """\
Calculations used spin-polarised VASP with PBE (500 eV). k-mesh 2x2x1 for every system. No Hubbard U, dispersion, dipole
correction, Na ordering, termination, slab thickness, magnetic order, thermostat, charged composition or COHP code is given.
Ligands on NVOPF surfaces (adsorption): C2N3H3 and C3N2H2-CH3. Polymer "PEO": HO-(CH2O)15-H. AIMD: 13000 steps, timestep = 1 fs,
equilibration = 3 fs, MSD window = 10 ps, 2 Na+ ions, framework atoms Zn, C, N frozen. ICOHP of charged NVOPF.
"""


def found(text: str) -> set[Code]:
    return {f.code for f in audit_methods(read_methods(text, MOLECULES, CATHODES), MOLECULES)}


def test_every_code_says_why_it_matters_and_what_to_do() -> None:
    assert set(TEXTS) == set(Code)
    assert all(len(text.why) > 20 and len(text.remedy) > 10 for text in TEXTS.values())


@pytest.mark.parametrize(
    "text",
    [(FIXTURES / "as_published.txt").read_text(), OTHER_WORDS, AS_A_LIST, IN_ONE_SENTENCE],
    ids=["prose", "other words", "list", "one sentence"],
)
@pytest.mark.parametrize("item", SEVEN)
def test_the_seven_items_are_found_in_prose(text: str, item: int) -> None:
    assert found(text) >= SEVEN[item]


def test_the_seven_items_and_nothing_else_are_found_in_the_typed_facts() -> None:
    path = FIXTURES / "as_published.yaml"
    facts = parse(MethodsFacts, read_yaml(path), str(path))
    findings = audit_methods(facts, MOLECULES)
    assert {f.code for f in findings} == set().union(*SEVEN.values())
    assert len(findings) == len({f.code for f in findings})
    errors = {f.code for f in findings if f.severity is AuditSeverity.ERROR}
    assert errors == SEVEN[1] | SEVEN[2] | SEVEN[4] | SEVEN[6]
    what = {f.code: f.what for f in findings}
    assert "polyoxymethylene" in what[Code.POLYMER_IS_ANOTHER]
    assert "13 ps less the 10 ps analysed leaves 3 ps" in what[Code.EQUILIBRATION_TOO_SHORT]
    assert "one H short of 2-methylimidazole, C4H6N2" in what[Code.FORMULA_WRONG]
    assert "2 Na+ over 10 ps" in what[Code.TOO_FEW_IONS]


def test_a_correct_text_gives_nothing() -> None:
    facts = read_methods((FIXTURES / "correct.txt").read_text(), MOLECULES, CATHODES)
    assert audit_methods(facts, MOLECULES) == []
    assert facts.hubbard_u_ev == {"V": 3.25}
    assert facts.charged_composition == "NaV2O2(PO4)2F"
    assert {m.divisions: m.systems for m in facts.k_meshes} == {
        (2, 2, 1): (SystemKind.SLAB,),
        (1, 1, 1): (SystemKind.MOLECULE, SystemKind.PORE),
        (4, 4, 3): (SystemKind.BULK,),
    }
    assert facts.dynamics is not None
    assert (facts.dynamics.equilibration_fs, facts.dynamics.analysed_ps) == (20_000.0, 200.0)
    assert facts.dynamics.mobile_ions == {"Na": 40}
    assert set(facts.evidence) >= {"functional", "cutoff_ev", "termination", "thermostat"}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("with a Hubbard U of\n3.25 eV on V (Dudarev)", "as usual,", Code.MISSING_HUBBARD),
        ("and D3(BJ) dispersion", "and nothing else", Code.MISSING_DISPERSION),
        ("and a\ndipole correction along z was applied", "and no dipole correction was applied", Code.MISSING_DIPOLE),
        ("termination", "cut", Code.TERMINATION_NOT_STATED),
        ("four layers thick (12 Å) ", "", Code.THICKNESS_NOT_STATED),
        ("The Na ordering is the lowest of all enumerated ones; ", "", Code.ORDERING_NOT_STATED),
        ("start ferromagnetic\nat 1 μB", "were found", Code.MAGNETIC_ORDER_NOT_STATED),
        ("and a Nosé–Hoover\nthermostat at", "at", Code.THERMOSTAT_NOT_STATED),
        ("The charged state is NaV2O2(PO4)2F.", "A charged state too.", Code.CHARGED_COMPOSITION_NOT_STATED),
        ("with LOBSTER 5.1", "as usual", Code.COHP_CODE_NOT_STATED),
        ("molecules and the loaded MOF with the Γ point only, and bulk with 4×4×3", "bulk too", Code.K_MESH_NOT_BY_SYSTEM),
        ("with all atoms free", "with the framework frozen", Code.FROZEN_FRAMEWORK),
        ("20 ps of equilibration", "20 fs of equilibration", Code.EQUILIBRATION_TOO_SHORT),
        ("20 ps of equilibration", "0.4 fs of equilibration", Code.EQUILIBRATION_TOO_SHORT),
        ("with 40 NaFSI", "with two NaFSI", Code.TOO_FEW_IONS),
        ("time step of 1 fs", "time step of 5 fs", Code.TIME_STEP_TOO_LONG),
        ("HO–(CH2CH2O)8–H", "H(OCH2)16OH", Code.POLYMER_IS_ANOTHER),
        ("(C4H6N2)", "(C4H7N2)", Code.FORMULA_WRONG),
        ("(C2H3N3)", "(C2H2N3)", Code.FORMULA_WRONG),
        ("(PAW, PBE)", "(PAW)", Code.FUNCTIONAL_NOT_STATED),
        ("at a plane-wave cutoff of 500 eV, ", "", Code.CUTOFF_NOT_STATED),
        ("spin-polarised, ", "", Code.MISSING_SPIN),
    ],
)  # fmt: skip
def test_one_thing_taken_from_a_correct_text_gives_one_finding(old: str, new: str, code: Code) -> None:
    text = (FIXTURES / "correct.txt").read_text()
    assert old in text
    changed = text.replace(old, new)
    assert found(changed) == {code}


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
    assert Code.FORMULA_WRONG not in found("PBE with the anion C4H5N2- and 2-methylimidazolate (C4H5N2).")
    assert Code.FORMULA_WRONG in found("PBE with 2-methylimidazole (C4H5N2).")


@pytest.mark.parametrize(
    "text",
    [(FIXTURES / "as_published.txt").read_text(), OTHER_WORDS, IN_ONE_SENTENCE],
    ids=["prose", "other", "one"],
)
def test_what_the_paper_does_state_is_read(text: str) -> None:
    facts = read_methods(text, MOLECULES, CATHODES)
    assert (facts.functional, facts.cutoff_ev, facts.spin_polarised) == ("PBE", 500.0, True)
    assert facts.dynamics is not None
    assert (facts.dynamics.time_step_fs, facts.dynamics.steps) == (1.0, 13_000)


def test_denials_are_no_statements() -> None:
    text = "PBE, 500 eV cutoff. Adsorption on Na3V2O2(PO4)2F slabs without dispersion and without a dipole correction. "
    assert {Code.MISSING_DISPERSION, Code.MISSING_DIPOLE} <= found(text)
    assert Code.MISSING_DISPERSION not in found(
        "PBE-D3, adsorption of C2N3H3. No dipole correction was made."
    )
    assert Code.THICKNESS_NOT_STATED in found(
        "PBE adsorption on a slab with a vacuum layer of 15 Å thickness."
    )


def test_the_diffusivity_that_so_few_ions_need() -> None:
    assert needed_diffusivity_cm2_per_s(2, 10.0) == pytest.approx(4.17e-4, rel=0.01)
    # Twice the ions or twice the time halve it.
    assert needed_diffusivity_cm2_per_s(4, 10.0) == pytest.approx(needed_diffusivity_cm2_per_s(2, 20.0))
    assert needed_diffusivity_cm2_per_s(4, 10.0) == pytest.approx(needed_diffusivity_cm2_per_s(2, 10.0) / 2)


def test_what_says_nothing_of_a_method_is_seen() -> None:
    assert not holds_facts(read_methods("Dear colleague, the weather is fine.", MOLECULES, CATHODES))
    assert holds_facts(read_methods("We used PBE.", MOLECULES, CATHODES))


WORDS = sorted(
    set(" ".join((OTHER_WORDS, AS_A_LIST, (FIXTURES / "correct.txt").read_text())).split())
    | {"(((", "x", "1e999", "U(", "fs", "ps", "()n", "²", "Γ", "\n", ":", "[", "e" * 40}
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(WORDS), max_size=80).map(" ".join))
def test_words_of_methods_in_any_order_never_break_the_reader(text: str) -> None:
    facts = read_methods(text, MOLECULES, CATHODES)
    findings = audit_methods(facts, MOLECULES)
    assert Counter(f.code for f in findings).total() == len(findings)
    assert MethodsFacts.model_validate_json(facts.model_dump_json()) == facts


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(max_size=300))
def test_any_text_never_breaks_the_reader(text: str) -> None:
    facts = read_methods(text, MOLECULES, CATHODES)
    assert all(f.what for f in audit_methods(facts, MOLECULES))
    assert all(one == one.strip() for one in sentences(normalised(text)))
    assert all(formula.atoms.total() > 1 for _, formula in candidates(text))


@pytest.mark.parametrize(
    "piece", ["slab ", "1 ", "(", "CH2", "vacuum of ", "not ", "U = ", "10 fs step ", "\u0130"]
)
def test_a_long_text_of_one_word_is_read_in_a_moment(piece: str) -> None:
    text = (piece * LONGEST_TEXT)[: LONGEST_TEXT // 10]
    began = time.perf_counter()
    read_methods(text, MOLECULES, CATHODES)
    assert time.perf_counter() - began < 5
