"""Files of other people and of many versions of VASP: each kind by a small file of ours, then real ones."""

from __future__ import annotations

import gzip
import os
import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epilayer.analysis.imported_adsorption import imported_adsorption
from epilayer.engines.vasp.imported_legs import as_calculation, open_points
from epilayer.engines.vasp.input_facts import read_inputs
from epilayer.model.imported import (
    CalculationKind,
    Finding,
    ImportedCalculation,
    ImportStatus,
    Severity,
    VaspError,
)
from epilayer.outputs import VasprunStream, import_directory, read_outcar
from epilayer.outputs.trajectories.sources import open_source
from epilayer.outputs.vasp.settings import moments_problem, parse_incar
from vasp_files import ENERGY, OUTCAR_END, OUTCAR_STEP, iteration, outcar, outcar_step, step, vasprun

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
CASES = DATA / "field_cases"
real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(not CASES.is_dir(), reason=f"the real outputs are not at {DATA}"),
]
ENERGY_EV = -1.9
"""Of the small files."""


def read(folder: Path, text: str, name: str = "vasprun.xml") -> ImportedCalculation:
    (folder / name).write_bytes(text.encode("latin-1"))
    (record,) = import_directory(folder)
    return record


def codes(record: ImportedCalculation) -> set[str]:
    return {reason.code for reason in record.reasons}


def cycles(free: float) -> str:
    """Return two cycles of a response, whose energies are not the ground state's."""
    return "".join(f"<scstep>\n{ENERGY.format(*[f'{free + x:.8f}'] * 3)}</scstep>\n" for x in (0.1, 0.0))


def responding(text: str, free: float = -55.0, *, before: bool = False) -> str:
    """Return a vasprun.xml whose steps hold the cycles of a response, behind their energy or before it."""
    if before:  # the step's own energy is the one before the step's end
        return re.sub(
            r"(<energy>(?:(?!<energy>).)*</energy>\n </calc)", cycles(free) + r"\1", text, flags=re.DOTALL
        )
    return text.replace(" </calculation>", cycles(free) + " </calculation>")


# --- silent wrong numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(("ibrion", "kind"), [(8, CalculationKind.RESPONSE), (-1, CalculationKind.STATIC)])
def test_a_response_leaves_the_energy_of_its_ground_state(
    tmp_path: Path, ibrion: int, kind: CalculationKind, *, before: bool
) -> None:
    text = responding(vasprun(step(), nsw=ibrion > 0, ibrion=ibrion), before=before)
    assert text.count("<scstep>") == 6
    record = read(tmp_path, text)
    assert (record.kind, record.status) == (kind, ImportStatus.CONVERGED)
    assert record.energy_ev == pytest.approx(ENERGY_EV, abs=1e-8)


def test_an_energy_of_a_response_that_differs_from_its_electronic_steps_is_withheld(tmp_path: Path) -> None:
    text = step()
    at = text.index("<structure>")
    text = text[:at] + text[at:].replace("-2.00000000", "-1.30000000")
    record = read(tmp_path, vasprun(text, nsw=1, ibrion=8))
    assert record.energy_ev is None
    assert Finding.ENERGY_INCONSISTENT in codes(record)


def test_finite_differences_give_the_energy_and_the_structure_of_their_first_step(tmp_path: Path) -> None:
    text = vasprun(step(-2.0), step(-1.7), step(-1.6), nsw=1, ibrion=6)
    start = text[text.index("<structure>") : text.index("</structure>")]
    text = text.replace(" <calculation>", start.replace("<structure>", '<structure name="initialpos">')
                        + "</structure>\n <calculation>", 1)  # fmt: skip
    record = read(tmp_path, text)
    assert record.energy_ev == pytest.approx(ENERGY_EV, abs=1e-8)
    assert record.witnesses[0].ionic_step == 1
    assert record.positions_frac == ((0.1, 0.2, 0.3),)


@pytest.mark.parametrize("when", ["after", "between"])
def test_an_outcar_of_a_response_counts_the_loop_of_its_ground_state_alone(tmp_path: Path, when: str) -> None:
    response = "".join(iteration(f"{i:6d}", n, 0.5) for i in (1, 2, 7) for n in range(1, 9))
    ground = outcar_step(1)
    text = (
        ground + response
        if when == "after"
        else ground.replace(OUTCAR_STEP[:40], response + OUTCAR_STEP[:40])
    )
    record = read(tmp_path, outcar(text, nelm=6, epsilon="T"), "OUTCAR")
    assert (record.status, record.energy_ev) == (ImportStatus.CONVERGED, pytest.approx(ENERGY_EV, abs=1e-8))


def test_cycles_of_a_chemical_shift_have_no_ionic_number(tmp_path: Path) -> None:
    record = read(tmp_path, outcar(outcar_step(1), *(iteration("", n) for n in (1, 2, 3))), "OUTCAR")
    assert (record.status, record.energy_ev) == (ImportStatus.CONVERGED, pytest.approx(ENERGY_EV, abs=1e-8))


@pytest.mark.parametrize(
    ("titel", "element"), [("PAW_PBE Zr_sv 04Jan2005", "Zr"), ("PAW_PBE Z 07Sep2000", None)]
)
def test_an_unknown_symbol_is_read_from_its_pseudopotential_or_refused_by_name(
    tmp_path: Path, titel: str, element: str | None
) -> None:
    text = vasprun(step()).replace("<c>O </c>", "<c>r </c>").replace("PAW_PBE O 08Apr2002      ", titel)
    record = read(tmp_path, text)
    if element:
        assert (record.species, record.energy_ev) == ((element,), pytest.approx(ENERGY_EV, abs=1e-8))
        return
    assert record.energy_ev is None
    (said,) = [reason.what for reason in record.reasons if reason.code is Finding.UNKNOWN_ELEMENT]
    assert "'r' is no chemical element" in said
    assert titel in said


def test_a_hash_in_outcar_belongs_to_the_dataset_that_follows_it(tmp_path: Path) -> None:
    first, second = "a" * 64, "b" * 64
    dataset = "   SHA256 =  {0} X/POTCAR\n   VRHFIN ={1}: s\n   TITEL  = PAW_PBE {1} 08Apr2002\n"
    text = outcar(outcar_step(1)).replace("   ions per", dataset.format(second, "H") + "   ions per")
    (tmp_path / "OUTCAR").write_text(text.replace("0" * 64, first))
    (record,) = import_directory(tmp_path)
    assert record.level is not None
    assert [(p.element, p.sha256) for p in record.level.potcars] == [("O", first), ("H", second)]


# --- good files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_as", "executed_as"),
    [
        ('<i type="int" name="IBRION">     2</i>', None),
        ('<i type="int" name="ISPIN">     2</i>', ('"ISPIN">     2', '"ISPIN">     1')),
        ('<i type="int" name="NSW">     40</i>', None),
        ('<i name="SIGMA">      0.05000000</i>', ('<i name="EN', '<i name="SIGMA"> 0.2</i><i name="EN')),
        ('<i type="string" name="LREAL">Auto</i>', ('"LDAU"> F', '"LREAL"> T  </i><i name="LDAU"> F')),
        ('<i type="int" name="NBANDS">    10</i>', ('"ISPIN"', '"NBANDS"> 12</i><i type="int" name="ISPIN"')),
        ('<i name="EDIFF">     -0.00001000</i>', None),
        ('<i type="string" name="ALGO">All  ! damped</i>', None),
    ],
)  # fmt: skip
def test_what_vasp_overrides_is_what_it_executed(
    tmp_path: Path, given_as: str, executed_as: tuple[str, str] | None
) -> None:
    text = vasprun(step())
    name = given_as.split('name="')[1].split('"', maxsplit=1)[0]
    head, rest = text.split("</incar>")
    head = re.sub(rf'.*name="{name}".*\n', "", head) + given_as + "\n"
    rest = rest.replace(*executed_as) if executed_as else rest
    record = read(tmp_path, head + "</incar>" + rest)
    assert (record.status, record.energy_ev) == (ImportStatus.CONVERGED, pytest.approx(ENERGY_EV, abs=1e-8))
    assert Finding.FILES_DISAGREE not in codes(record)


def test_two_limits_of_the_electronic_loop_in_one_file_are_damage(tmp_path: Path) -> None:
    record = read(tmp_path, vasprun(step(), incar='<i type="int" name="NELM">    60</i>\n'))
    assert record.energy_ev is None
    assert Finding.FILES_DISAGREE in codes(record)


def test_blocks_between_the_electronic_steps_and_the_structure_are_passed_over(tmp_path: Path) -> None:
    block = '<parameters_embedded><separator name="dft+d2" ></separator></parameters_embedded>\n'
    record = read(tmp_path, vasprun(step().replace("  <structure>", block + "  <structure>")))
    assert record.energy_ev == pytest.approx(ENERGY_EV, abs=1e-8)


@pytest.mark.parametrize("name", ["e_fr_energy", "e_wo_entrp", "e_0_energy"])
def test_stars_in_an_early_electronic_step_are_what_vasp_prints(tmp_path: Path, name: str) -> None:
    text = re.sub(rf'(<i name="{name}">)[^<]*', r"\1****************", step(), count=1)
    record = read(tmp_path, vasprun(text))
    assert (record.status, record.energy_ev) == (ImportStatus.CONVERGED, pytest.approx(ENERGY_EV, abs=1e-8))


def test_forces_that_overflow_in_an_early_ionic_step_leave_the_later_ones(tmp_path: Path) -> None:
    bad = step(-1.0, force="************ 0.00200000 0.00300000")
    record = read(tmp_path, vasprun(bad, step(), nsw=9, ibrion=2))
    assert (record.status, record.energy_ev) == (ImportStatus.CONVERGED, pytest.approx(ENERGY_EV, abs=1e-8))


def test_columns_without_dispersion_stand_beside_the_energy(tmp_path: Path) -> None:
    text = outcar(outcar_step(1))
    text = re.sub(r"(TOTEN  = .* eV)\n", r"\1    w/o vdW =       -1.50000000 eV\n", text)
    text = re.sub(
        r"(entropy= *\S+)  (energy\(.*)\n", r"\1 eV    w/o vdW = -1.5  \2 eV    w/o vdW = -1.5\n", text
    )
    assert read(tmp_path, text, "OUTCAR").energy_ev == pytest.approx(ENERGY_EV, abs=1e-8)


@pytest.mark.parametrize("loop", ["--- Iteration      FINAL  ---\n", ""])
def test_electronic_steps_that_were_taken_out_are_not_shown_and_not_damage(tmp_path: Path, loop: str) -> None:
    text = OUTCAR_STEP.format(free=-2.0, bare=-1.8, zero=-1.9)
    record = read(tmp_path, outcar(loop + text), "OUTCAR")
    assert (record.status, record.electronic_converged) == (ImportStatus.FINISHED, None)
    assert record.energy_ev == pytest.approx(ENERGY_EV, abs=1e-8)
    said = {reason.code: reason.severity for reason in record.reasons}
    assert said[Finding.CONVERGENCE_NOT_STATED] is Severity.NOTE
    assert Finding.FILE_DAMAGED not in said
    assert record.positions_frac == ((0.1, 0.2, 0.3),)
    assert "the files of a leg do not show whether its electrons converged" in open_points(record)


def test_a_vasprun_without_its_electronic_steps_shows_no_energy_at_zero_smearing(tmp_path: Path) -> None:
    text = re.sub(r"<scstep>.*?</scstep>\n", "", step(), flags=re.DOTALL)
    record = read(tmp_path, vasprun(text))
    assert (record.status, record.energy_ev) == (ImportStatus.FINISHED, None)
    assert {Finding.NOT_SHOWN, Finding.FILE_DAMAGED} & codes(record) == {Finding.NOT_SHOWN}


def test_an_energy_criterion_that_vasprun_alone_cannot_show_gives_the_energy_with_that_reason(
    tmp_path: Path,
) -> None:
    text = vasprun(step(-1.0), step(-2.0), nsw=9, ibrion=2).replace("-0.02000000", "0.00100000")
    record = read(tmp_path, text)
    assert (record.status, record.ionic_converged) == (ImportStatus.FINISHED, None)
    assert record.energy_ev == pytest.approx(ENERGY_EV, abs=1e-8)
    assert Finding.CONVERGENCE_NOT_STATED in codes(record)
    steady = vasprun(step(-1.9999), step(-2.0), nsw=9, ibrion=2).replace("-0.02000000", "0.00100000")
    assert read(tmp_path, steady).status is ImportStatus.CONVERGED


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("ENCUT = 520 eV", 520),
        ("EDIFF = 1E-6   :break condition", 1e-6),
        ("EDIFFG = -2d-2 eV/A", -0.02),
        ("LREAL = .FALSE. (small cell)", False),
        ("encut = 400 # eV", 400),
        ("ENCUT = 400 ; ENCUT = 600", 400),
        ("MAGMOM = 2*0.0 \\  \r\n 5 5  Mn is last", (0.0, 0.0, 5, 5)),
        ("SYSTEM = 2 layers of MgO", "2 layers of MgO"),
    ],
)
def test_units_and_words_behind_a_value_are_passed_over(line: str, value: object) -> None:
    assert next(iter(parse_incar(line).values())) == value


def test_moments_are_counted() -> None:
    assert moments_problem(parse_incar("ISPIN = 2\nMAGMOM = 8*1.0"), 8) == ""
    assert "24" in moments_problem(parse_incar("LSORBIT = T\nMAGMOM = 8*1.0"), 8)
    assert moments_problem(parse_incar("ISPIN = 1\nMAGMOM = 3*1.0"), 8) == ""


# --- runs of another kind ---------------------------------------------------------------------------


def test_a_run_of_another_kind_that_ended_is_not_failed(tmp_path: Path) -> None:
    text = vasprun(" <calculation>\n<eigenvalues></eigenvalues>\n </calculation>\n",
                   incar='<i type="string" name="ALGO">GW0</i>\n')  # fmt: skip
    record = read(tmp_path, text)
    assert (record.kind, record.status, record.energy_ev) == (
        CalculationKind.EXCITED, ImportStatus.FINISHED, None,
    )  # fmt: skip


def test_steps_of_a_force_field_are_frames_and_steps_and_give_no_energy(tmp_path: Path) -> None:
    learned = re.sub(r"<scstep>.*?</scstep>\n| *</?calculation>\n", "", step(-2.0), flags=re.DOTALL)
    text = vasprun(step(), learned, learned, step(-3.0), learned, nsw=5, ibrion=0,
                   incar='<i type="logical" name="ML_LMLFF"> T  </i>\n')  # fmt: skip
    record = read(tmp_path, text)
    assert (record.kind, record.status, record.energy_ev) == (
        CalculationKind.MD,
        ImportStatus.CONVERGED,
        None,
    )
    assert Finding.MACHINE_LEARNED in codes(record)
    initial = text[text.index("<structure>") : text.index("</structure>")].replace(
        ">", ' name="initialpos">', 1
    )
    (tmp_path / "vasprun.xml").write_text(
        text.replace(" <calculation>", initial + "</structure>\n <calculation>", 1)
    )
    frames = list(
        chain.from_iterable(block.energies_ev for block in open_source(tmp_path / "vasprun.xml").blocks())
    )
    np.testing.assert_allclose(frames, [-1.9, np.nan, np.nan, -2.9, np.nan], atol=1e-8)


def test_an_outcar_of_a_force_field_counts_its_own_blocks(tmp_path: Path) -> None:
    block = OUTCAR_STEP.format(free=0.0, bare=0.0, zero=0.0).replace("FREE ENERGIE", "ML FREE ENERGIE")
    block = block.replace("  TOTEN", " ML TOTEN").replace("energy  without", "ML energy  without")
    text = outcar(block, outcar_step(1), block, block, block, outcar_step(4), nsw=4, ibrion=0,
                  incar="   ML_LMLFF = .TRUE.\n")  # fmt: skip
    record = read(tmp_path, text, "OUTCAR")
    assert (record.status, record.energy_ev) == (ImportStatus.CONVERGED, None)
    assert read_outcar(tmp_path / "OUTCAR").machine_learned_steps == 4


# --- the same file written in another way -----------------------------------------------------------


def windows(text: str) -> str:
    return text.replace("\n", "\r\n")


def trailing(text: str) -> str:
    return "".join(f"{line}  \t\n" for line in text.splitlines())


def upper(text: str) -> str:
    """Return it with the words among its settings in capitals."""
    return re.sub(r'("string" name="(?:PREC|ALGO|LREAL)">)([^<]*)', lambda m: m[1] + m[2].upper(), text)


def overridden(text: str) -> str:
    """Return it with settings in the INCAR's part that VASP did not execute so."""
    head, mark, rest = text.partition("</incar>")
    if not mark:
        return text
    head = re.sub(r'.*name="(?:IBRION|ISTART|NBANDS)".*\n', "", head)
    return head + '<i type="int" name="IBRION">   2</i>\n<i type="int" name="NBANDS">  1</i>\n' + mark + rest


WAYS: tuple[Callable[[str], str], ...] = (windows, trailing, upper, overridden, responding)
OWN = {
    "vasprun.xml": vasprun(step(-2.5), step(-2.0), nsw=9, ibrion=2),
    "OUTCAR": outcar(outcar_step(1, -2.5), outcar_step(2), nsw=9, ibrion=2).replace(
        OUTCAR_END, " reached required accuracy\n" + OUTCAR_END
    ),
}
REAL = sorted(
    str(path.relative_to(DATA))
    for path in DATA.rglob("*")
    if path.is_file() and re.match(r"vasprun|OUTCAR", path.name)
)


def energy_of(folder: Path, name: str, text: str, ways: frozenset[int] = frozenset()) -> float | None:
    """Return the energy that is read from a file, written in some of the other ways."""
    folder.mkdir(exist_ok=True)
    for left in folder.iterdir():
        left.unlink()
    # The line ends come last: the others look for lines.
    for way in sorted(ways, reverse=True):
        text = WAYS[way](text)
    return read(folder, text, name.upper() if len(ways) > 2 else name).energy_ev


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(name=st.sampled_from(sorted(OWN)), ways=st.frozensets(st.integers(0, len(WAYS) - 1), min_size=1))
def test_the_way_a_file_is_written_does_not_change_its_energy(
    tmp_path: Path, name: str, ways: frozenset[int]
) -> None:
    after = energy_of(tmp_path / "other", name, OWN[name], ways)
    assert after == energy_of(tmp_path / "plain", name, OWN[name]) == pytest.approx(ENERGY_EV, abs=1e-8)


class TestReal:
    """Runs of others, with the answers that were published with them."""

    pytestmark = real_data

    @pytest.mark.parametrize("name", REAL)
    def test_the_way_a_real_file_is_written_does_not_change_its_energy(
        self, tmp_path: Path, name: str
    ) -> None:
        data = (DATA / name).read_bytes()
        text = (gzip.decompress(data) if name.endswith(".gz") else data).decode("latin-1")
        plain = "vasprun.xml" if "vasprun" in name else "OUTCAR"
        energy_ev = energy_of(tmp_path / "plain", plain, text)
        for ways in (*(frozenset({way}) for way in range(len(WAYS))), frozenset(range(len(WAYS)))):
            after = energy_of(tmp_path / "other", plain, text, ways)
            assert after == energy_ev, sorted(WAYS[way].__name__ for way in ways)

    @pytest.mark.parametrize(
        ("place", "energy_ev"),
        [
            ("01-crlf-outputs/OUTCAR", -10.645278),
            ("07-vasp522-single/OUTCAR", -107.749758),
            ("10-scf-stars/vasprun.xml", -1.69770881),
            ("10-scf-stars/same-run-without-stars.xml", -1.69770881),
            ("11-vasprun-5212/vasprun.xml.gz", -10.645278),
            ("11-vasprun-5212/vasprun.relaxation.xml.gz", -1.924600),
            ("12-ibrion-nsw0/vasprun.LiF.xml.gz", -9.645897),
            ("12-ibrion-nsw0/vasprun.force_hybrid_like_calc.xml.gz", -71.171758),
            ("13-dfpt-energy/vasprun.xml.gz", -86.768416),
            ("13-dfpt-energy/vasprun.lepsilon-static.xml.gz", -74.808399),
        ],
    )
    def test_the_energy_is_the_published_one(self, place: str, energy_ev: float) -> None:
        (record,) = import_directory(CASES / place)
        assert record.energy_ev == pytest.approx(energy_ev, abs=1e-6)
        assert record.status in (ImportStatus.CONVERGED, ImportStatus.FINISHED)

    @pytest.mark.parametrize(
        ("place", "status", "code"),
        [
            ("02-oszicar-632", ImportStatus.INCOMPLETE, Finding.NOT_FINISHED),
            ("05-gw0-vasprun", ImportStatus.FINISHED, Finding.NOT_SELF_CONSISTENT),
            ("08-early-crash", ImportStatus.INCOMPLETE, Finding.NO_IONIC_STEP),
            ("09-edddav-abort", ImportStatus.FAILED, VaspError.EDDDAV),
            ("17-unknown-element", ImportStatus.FINISHED, Finding.UNKNOWN_ELEMENT),
        ],
    )
    def test_what_gives_no_energy_says_why(
        self, place: str, status: ImportStatus, code: Finding | VaspError
    ) -> None:
        (record,) = import_directory(CASES / place)
        assert (record.status, record.energy_ev) == (status, None)
        assert code in codes(record)

    def test_the_step_of_an_oszicar_of_632_is_read(self) -> None:
        (record,) = import_directory(CASES / "02-oszicar-632")
        assert record.salvage is not None
        assert record.salvage.last_energy_ev == pytest.approx(-1649.7036, abs=1e-4)

    def test_an_incar_with_units_states_its_cutoff_and_its_moments_do_not_fit(self) -> None:
        (facts,) = read_inputs(CASES / "36-incar-units", lambda _: None)
        (record,) = import_directory(CASES / "36-incar-units")
        assert record.level is not None
        assert (record.level.encut_ev, record.level.ediff_ev) == (520, 1e-6)
        assert any("MAGMOM has 4 moments where 8 atoms need 8" in text for text in facts.unreadable)

    @pytest.mark.parametrize(("molecule", "energy_ev"), [("NH3", -0.764), ("CO", -0.320)])
    def test_condensed_outputs_give_the_published_interaction_energy(
        self, molecule: str, energy_ev: float
    ) -> None:
        folder = CASES / "37-outcar-condensed" / f"{molecule}-MgO-PBE-D3"
        found = [import_directory(folder / leg)[0] for leg in ("Surface", "Molecule", "Molecule-Surface")]
        slab, free, adsorbed = ((record, as_calculation(record)) for record in found)
        points = [point for record in found for point in open_points(record)]
        energy = imported_adsorption(slab, free, adsorbed, points)
        assert energy.refusals == ()
        assert energy.adsorption_energy_ev == pytest.approx(energy_ev, abs=5e-4)
        assert "the files of a leg do not show whether its electrons converged" in energy.caveats

    def test_a_stream_of_a_real_response_counts_its_ground_state(self) -> None:
        (one,) = VasprunStream(CASES / "13-dfpt-energy" / "vasprun.xml.gz")
        assert (one.scf_steps, one.whole) == (4, True)
