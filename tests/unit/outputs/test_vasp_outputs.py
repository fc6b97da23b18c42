"""VASP outputs: known answers of real runs, and what must be refused."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from epilayer.model.errors import InputError
from epilayer.model.imported import (
    Agreement,
    CalculationKind,
    Finding,
    ImportedCalculation,
    ImportStatus,
    Severity,
    VaspError,
)
from epilayer.outputs import (
    TEXTS,
    errors_in,
    find_calculations,
    import_directory,
    import_many,
    read_vasprun,
)
from epilayer.outputs.vasp.moments import oxidation_states
from vasp_files import CELL, step, vasprun

DATA = Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(not (DATA / "index.json").exists(), reason=f"the real outputs are not at {DATA}"),
]


def the_one(path: Path) -> ImportedCalculation:
    (record,) = import_directory(path)
    return record


def codes(record: ImportedCalculation) -> set[str]:
    return {reason.code for reason in record.reasons}


def written(folder: Path, text: str) -> ImportedCalculation:
    (folder / "vasprun.xml").write_text(text, encoding="ascii")
    return the_one(folder)


def test_the_energy_is_the_free_energy_plus_the_smearing_correction_of_the_last_electronic_step(
    tmp_path: Path,
) -> None:
    record = written(tmp_path, vasprun(step(-2.0)))
    assert record.status is ImportStatus.CONVERGED
    assert record.energy_ev == pytest.approx(-1.9, abs=1e-8)
    assert record.agreement is Agreement.SINGLE_WITNESS
    assert Finding.SINGLE_WITNESS in codes(record)
    assert record.level is not None
    assert (record.level.functional, record.level.encut_ev, record.level.k_mesh) == ("PBE", 500.0, (2, 2, 1))
    assert record.level.k_spacing_per_ang == pytest.approx(2 * np.pi / 9 / 2, abs=1e-6)
    assert record.level.charge_e == 0


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        (vasprun(step(scf=10)), ImportStatus.UNCONVERGED, Finding.ELECTRONS_NOT_CONVERGED),
        (vasprun(step(), end=False), ImportStatus.INCOMPLETE, Finding.NOT_FINISHED),
        (
            vasprun(step().replace(" </calculation>\n", ""), end=False),
            ImportStatus.INCOMPLETE,
            Finding.NO_IONIC_STEP,
        ),
        (vasprun(end=False), ImportStatus.INCOMPLETE, Finding.NO_IONIC_STEP),
        (
            vasprun(step(force="************ 0.00200000 0.00300000")),
            ImportStatus.FAILED,
            Finding.NUMBER_OVERFLOWS,
        ),
        (
            vasprun(step().replace("-2.00000000", "***********")),
            ImportStatus.FAILED,
            Finding.NUMBER_OVERFLOWS,
        ),
        (
            vasprun(step().replace("-2.00000000", "        NaN")),
            ImportStatus.FAILED,
            Finding.ENERGY_NOT_READABLE,
        ),
        (vasprun(step(), step(), nsw=9, ibrion=0), ImportStatus.INCOMPLETE, Finding.MD_SHORT),
        (
            vasprun(step(scf=10), step(), nsw=2, ibrion=0),
            ImportStatus.UNCONVERGED,
            Finding.ELECTRONS_NOT_CONVERGED,
        ),
        (vasprun(step(), step(), nsw=2, ibrion=2), ImportStatus.UNCONVERGED, Finding.IONS_NOT_CONVERGED),
        (
            vasprun(step(force="0.5 0.0 0.0"), nsw=9, ibrion=2),
            ImportStatus.UNCONVERGED,
            Finding.IONS_NOT_CONVERGED,
        ),
        (
            vasprun(step(), incar='<i type="int" name="ICHARG">    11</i>\n'),
            None,
            Finding.NOT_SELF_CONSISTENT,
        ),
        (
            vasprun(step(), incar='<i type="logical" name="ML_LMLFF"> T  </i>\n'),
            None,
            Finding.MACHINE_LEARNED,
        ),
        (vasprun(step(500.0)), None, Finding.ENERGY_POSITIVE),
    ],
)
def test_what_cannot_be_stood_behind_gives_no_energy_and_says_why(
    tmp_path: Path, text: str, status: ImportStatus | None, code: Finding
) -> None:
    record = written(tmp_path, text)
    assert record.energy_ev is None
    assert code in codes(record)
    assert status is None or record.status is status


def test_a_killed_relaxation_is_salvaged_up_to_its_last_whole_step(tmp_path: Path) -> None:
    half = step(-4.0)[:900]
    record = written(tmp_path, vasprun(step(-2.0), step(-3.0), half, nsw=50, ibrion=2, end=False))
    assert record.status is ImportStatus.INCOMPLETE
    assert record.energy_ev is None
    assert record.salvage is not None
    assert record.salvage.whole_ionic_steps == 2
    assert record.salvage.last_energy_ev == pytest.approx(-2.9, abs=1e-8)
    assert "2 whole ionic steps" in record.salvage.statement
    structure = record.structure()
    assert structure is not None
    assert structure.composition.reduced_formula == "O2"


def test_a_relaxation_that_met_its_forces_converges_and_frozen_atoms_do_not_count(tmp_path: Path) -> None:
    assert written(tmp_path, vasprun(step(), step(), nsw=9, ibrion=2)).status is ImportStatus.CONVERGED
    held = (
        '<structure name="initialpos" >'
        + CELL.format(force="0 0 0").split("<structure>")[1].split("</structure>")[0]
    )
    flags = ' <varray name="selective" >\n <v type="logical" > F T T </v>\n </varray>\n</structure>\n'
    text = vasprun(step(force="0.5 0.001 0.001"), step(force="0.5 0.001 0.001"), nsw=9, ibrion=2)
    record = written(tmp_path, text.replace(" <calculation>", held + flags + " <calculation>", 1))
    assert record.status is ImportStatus.CONVERGED
    assert record.max_force_ev_per_ang == pytest.approx(0.001 * 2**0.5, abs=1e-9)


def test_frames_of_every_step_are_kept_on_request(tmp_path: Path) -> None:
    path = tmp_path / "vasprun.xml.gz"
    path.write_bytes(gzip.compress(vasprun(*(step(-2.0 - i) for i in range(40)), nsw=3, ibrion=0).encode()))
    run = read_vasprun(path, frames=True)
    assert run.positions_frac is not None
    assert run.forces_ev_per_ang is not None
    assert run.positions_frac.shape == run.forces_ev_per_ang.shape == (40, 1, 3)
    np.testing.assert_allclose(run.forces_ev_per_ang[-1], [[0.001, 0.002, 0.003]], atol=0)
    np.testing.assert_allclose(run.energies_ev, -1.9 - np.arange(40), atol=1e-8)


def test_a_stand_in_is_labelled(tmp_path: Path) -> None:
    record = written(tmp_path, vasprun(step(), program="VASP stand-in (EMT)"))
    assert record.stand_in
    assert Finding.STAND_IN in codes(record)


def test_potcar_content_and_vaspout_never_reach_a_record(tmp_path: Path) -> None:
    secret = "1.234567890123 LICENSED TABLE"  # noqa: S105  (stands for what must not leak)
    names = "  PAW_PBE O 08Apr2002\n   VRHFIN =O: s2p4\n   TITEL  = PAW_PBE O 08Apr2002\n"
    dataset = f"{names} {secret}\n End of Dataset\n"
    (tmp_path / "POTCAR").write_text(dataset)
    (tmp_path / "vaspout.h5").write_bytes(b"\x89HDF\r\n" + secret.encode())
    record = written(tmp_path, vasprun(step()))
    assert secret not in record.model_dump_json()
    assert record.level is not None
    (potcar,) = record.level.potcars
    assert potcar.titel == "PAW_PBE O 08Apr2002"
    assert re.fullmatch(r"[0-9a-f]{64}", potcar.sha256 or "")
    assert Finding.NOT_READ in codes(record)
    assert record.energy_ev is not None
    alone = the_one(tmp_path / "vaspout.h5")
    assert alone.energy_ev is None
    assert secret not in alone.model_dump_json()


def test_oxidation_states_from_moments() -> None:
    (titanium,) = oxidation_states(("Ti", "Fe"), (0.97, 4.1))
    assert (titanium.element, titanium.state) == ("Ti", 3)
    found = oxidation_states(("V", "O", "V", "V", "V", "V"), (0.02, 0.01, -1.08, 1.9, 0.5, 3.0))
    assert [one.state for one in found] == [5, 4, 3, None, 2]
    assert [one.site for one in found] == [0, 2, 3, 4, 5]
    assert "between two states" in found[3].statement


# --- error texts ------------------------------------------------------------------------------------


def test_every_error_has_its_text_meaning_and_remedy() -> None:
    assert set(TEXTS) == set(VaspError)
    assert all(text.patterns and text.meaning and text.remedy for text in TEXTS.values())


@pytest.mark.parametrize(
    ("error", "pattern"),
    [(e, p) for e, t in TEXTS.items() for p in t.patterns if re.fullmatch(r"[\w :/,.=>-]+", p)],
)
def test_every_plain_text_is_found_also_where_the_frame_wraps_it(error: VaspError, pattern: str) -> None:
    assert error in {
        reason.code for reason in errors_in(f"x\n {pattern} 12\n".encode(), "out", finished=False)
    }
    wrapped = pattern.replace(" ", "     |\n|     ", 1)
    assert error in {reason.code for reason in errors_in(f"|  {wrapped}  |".encode(), "out", finished=False)}


def test_an_error_text_in_a_run_that_ended_well_is_a_note_unless_it_spoils_the_energy() -> None:
    (brmix,) = errors_in(b" BRMIX: very serious problems", "out", finished=True)
    (bands,) = errors_in(b" TOO FEW BANDS!!", "out", finished=True)
    assert (brmix.severity, bands.severity) == (Severity.NOTE, Severity.WITHHOLDS)


TEXT_FILES = {
    "vasp.brmix": VaspError.BRMIX,
    "vasp.dentet": VaspError.DENTET,
    "vasp.edddav": VaspError.EDDDAV,
    "vasp.edddav2": VaspError.EDDDAV,
    "vasp.eddiag": VaspError.EDDIAG,
    "vasp.eddrmm": VaspError.EDDRMM,
    "vasp.ibzkpt": VaspError.IBZKPT,
    "vasp.nicht_konvergent": VaspError.NICHT_KONVERGENT,
    "vasp.posmap": VaspError.POSMAP,
    "vasp6.posmap": VaspError.POSMAP,
    "vasp.pricelv": VaspError.PRICELV,
    "vasp.pssyevx": VaspError.SUBSPACE_ROTATION,
    "vasp.real_optlay": VaspError.REAL_OPTLAY,
    "vasp.subspace": VaspError.SUBSPACE_MATRIX,
    "vasp.zbrent": VaspError.ZBRENT,
    "zpotrf/vasp.out": VaspError.ZPOTRF,
    "std_err.txt.oom": VaspError.OUT_OF_MEMORY,
    "std_err.txt.kpoints_trans": VaspError.K_POINTS_TRANSFORM,
}


class TestRealOutputs:
    """Runs of others, with the answers that an index beside them gives."""

    pytestmark = real_data

    @pytest.mark.parametrize(("name", "error"), TEXT_FILES.items())
    def test_every_real_error_text_has_its_name(self, name: str, error: VaspError) -> None:
        record = the_one(DATA / "vasp_error_texts" / name)
        assert error in codes(record)
        assert record.status is ImportStatus.FAILED
        assert record.energy_ev is None

    def test_no_real_error_text_is_left_out_of_the_table(self) -> None:
        here = DATA / "vasp_error_texts"
        texts = {str(p.relative_to(here)) for p in here.rglob("*") if p.is_file()}
        other = re.compile(r".*/(INCAR|POSCAR|KPOINTS|CONTCAR|OUTCAR\.gz|OSZICAR.*)")
        assert {text for text in texts if not other.fullmatch(text)} == set(TEXT_FILES)

    def test_a_step_that_is_too_large_and_a_loop_that_never_converges_have_their_names(self) -> None:
        potim = the_one(DATA / "vasp_error_texts" / "potim")
        assert Finding.IONIC_STEP_TOO_LARGE in codes(potim)
        assert (potim.status, potim.energy_ev) == (ImportStatus.FAILED, None)
        never = the_one(DATA / "vasp_error_texts" / "nonconv")
        assert Finding.SCF_NEVER_CONVERGES in codes(never)
        assert (never.status, never.energy_ev) == (ImportStatus.UNCONVERGED, None)

    @pytest.mark.parametrize(
        ("state", "status", "energy_ev"),
        [
            ("converged", ImportStatus.CONVERGED, -6.50161629),
            ("converged-with-error", ImportStatus.CONVERGED, -6.50161629),
            ("elec-unconverged", ImportStatus.UNCONVERGED, None),
            ("ionic-unconverged", ImportStatus.UNCONVERGED, None),
            ("unfinished", ImportStatus.INCOMPLETE, None),
        ],
    )
    def test_the_five_ends_of_one_run(
        self, state: str, status: ImportStatus, energy_ev: float | None
    ) -> None:
        record = the_one(DATA / "vasp_exit_codes" / state)
        assert (record.status, record.energy_ev) == (status, energy_ev)
        assert (VaspError.BRMIX in codes(record)) == (state == "converged-with-error")
        assert (record.electronic_converged is False) == (state == "elec-unconverged")
        assert (record.ionic_converged is False) == (state == "ionic-unconverged")
        for name in ("OUTCAR", "vasprun.xml"):
            for path in (DATA / "vasp_exit_codes" / state / "out").glob(f"{name}*"):
                alone = the_one(path)
                assert alone.energy_ev == energy_ev, path
                assert alone.energy_ev is None or alone.agreement is Agreement.SINGLE_WITNESS

    def test_adsorption_energies_of_oxygen_on_gold_and_the_order_of_the_sites(self) -> None:
        flow = DATA / "vasp_Au_O_adsorption_flow"
        records = {Path(r.path).parent.name: r for r in import_directory(flow)}
        assert len(records) == 11
        assert all(r.status is ImportStatus.CONVERGED for r in records.values())
        assert all(r.agreement is Agreement.AGREE for r in records.values())
        energies = {name: record.energy_ev or 0.0 for name, record in records.items()}
        found = [
            energies[f"ads_static_{i}_3"] - energies["slab_static"] - energies["mol_static"]
            for i in (1, 2, 3)
        ]
        known = next(
            dataset["known_answers"]["E_ads_eV_sorted"]
            for dataset in json.loads((DATA / "index.json").read_text())["datasets"]
            if dataset["name"] == "vasp_Au_O_adsorption_flow"
        )
        assert sorted(found) == pytest.approx(known, abs=1e-5)
        assert list(np.argsort(found)) == [1, 2, 0]
        assert [c.errors for c in records["mol_static"].corrections] == [("dentet",), ("dentet",)]
        shared = {r.level.shared_fingerprint for r in records.values() if r.level}
        assert len(shared) == 1
        assert records["mol_static"].level is not None
        assert records["mol_static"].level.functional == "RPBE"
        assert records["mol_static"].total_magnetization_mu_b == pytest.approx(2.0, abs=1e-6)
        assert records["mol_static"].magnetic_moments == (1.553,)

    def test_moments_and_u_of_ferromagnetic_mgmn2o4(self) -> None:
        records = import_directory(DATA / "vasp_MgMn2O4_FM")
        assert [r.energy_ev for r in records] == [-104.12466878, -104.12510675]
        for record in records:
            assert record.magnetic_moments == (0.012,) * 2 + (3.845,) * 4 + (0.011,) * 8
            assert record.total_magnetization_mu_b == 15.9999996
            assert record.level is not None
            assert [(u.element, u.u_ev) for u in record.level.hubbard] == [("Mn", 3.9)]
            assert record.level.unknown == ()

    def test_every_energy_of_the_index_is_met_or_withheld_for_a_reason(self) -> None:
        index = json.loads((DATA / "index.json").read_text())
        withheld = set()
        compared = 0
        for entry in (f for d in index["datasets"] for f in d["files"]):
            reference = entry.get("reference", {}).get("pymatgen")
            if not isinstance(reference, dict) or "E" not in reference or "OSZICAR" in entry["path"]:
                continue
            record = the_one(DATA / entry["path"])
            if record.energy_ev is None:
                withheld.add(entry["path"].split("/", 1)[1])
                assert record.status is not ImportStatus.CONVERGED
                continue
            compared += 1
            assert record.energy_ev == pytest.approx(reference["E"], abs=1e-8), entry["path"]
        assert withheld == {
            "potim/OUTCAR.gz",
            "unfinished/out/OUTCAR",
            "elec-unconverged/out/OUTCAR",
            "elec-unconverged/out/vasprun.xml",
            "ionic-unconverged/out/OUTCAR.gz",
            "ionic-unconverged/out/vasprun.xml",
            "vasprun.unconverged.xml.gz",
            "vasprun.xml.electronic.gz",
            "vasprun.xml.ionic.gz",
        }
        assert compared >= 40

    def test_a_dispersion_that_no_file_names_leaves_the_level_unknown(self) -> None:
        record = the_one(DATA / "vasp_misc" / "vasprun.vdw.xml.gz")
        assert record.energy_ev == pytest.approx(-9.78310677, abs=1e-8)
        assert record.level is not None
        assert "dispersion" in record.level.unknown

    def test_files_of_two_runs_in_one_folder_are_refused(self, tmp_path: Path) -> None:
        gold = DATA / "vasp_Au_O_adsorption_flow"
        shutil.copy(gold / "ads_static_1_3/outputs/vasprun.xml.gz", tmp_path)
        shutil.copy(gold / "ads_static_2_3/outputs/OUTCAR.gz", tmp_path)
        record = the_one(tmp_path)
        assert (record.status, record.energy_ev) == (ImportStatus.FAILED, None)
        assert record.agreement is Agreement.DISAGREE
        misc = next(r for r in import_directory(DATA / "vasp_misc") if r.label == "")
        assert (misc.status, misc.energy_ev) == (ImportStatus.FAILED, None)

    def test_one_whole_file_stands_where_the_other_is_cut(self, tmp_path: Path) -> None:
        here = DATA / "vasp_Au_O_adsorption_flow" / "slab_relax" / "outputs"
        data = (here / "vasprun.xml.gz").read_bytes()
        (tmp_path / "vasprun.xml.gz").write_bytes(data[: len(data) // 2])
        alone = the_one(tmp_path)
        assert (alone.status, alone.energy_ev) == (ImportStatus.INCOMPLETE, None)
        shutil.copy(here / "OUTCAR.gz", tmp_path)
        both = the_one(tmp_path)
        assert (both.status, both.energy_ev) == (ImportStatus.CONVERGED, -35.9887717)
        assert both.agreement is Agreement.SINGLE_WITNESS
        assert Finding.FILE_TRUNCATED in codes(both)

    def test_md_counts_every_step(self) -> None:
        (record,) = import_directory(DATA / "vasp_Si_md" / "Si_molecular_dynamics")
        assert (record.kind, record.ionic_steps) == (CalculationKind.MD, 3)
        assert record.energy_ev == -11.46520398
        assert record.status is ImportStatus.CONVERGED


# --- many directories -------------------------------------------------------------------------------


def test_import_many_resumes_and_reads_again_only_what_changed(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"run{number}").mkdir()
        (tmp_path / f"run{number}" / "vasprun.xml").write_text(vasprun(step(-2.0 - number)))
    ledger = tmp_path / "ledger.jsonl"
    first = import_many([tmp_path], workers=2, resume_from=ledger)
    assert [record.energy_ev for record in first] == pytest.approx([-1.9, -2.9, -3.9])
    lines = ledger.read_text().splitlines()
    assert len(lines) == 3
    # A killed import leaves a torn line; a rerun leaves a new file.
    ledger.write_text("\n".join(lines[:2]) + "\n" + lines[2][:50])
    (tmp_path / "run0" / "vasprun.xml").write_text(vasprun(step(-7.0), step(-8.0)))
    again = import_many([tmp_path, tmp_path / "missing"], resume_from=ledger)
    assert [record.status for record in again][-1] is ImportStatus.FAILED
    assert "missing" in again[-1].reasons[0].what
    assert [record.energy_ev for record in again[1:3]] == pytest.approx([-2.9, -3.9])
    assert again[0].ionic_steps == 2
    third = import_many([tmp_path], resume_from=ledger)
    assert third == again[:3]


def test_a_ledger_that_is_something_else_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "vasprun.xml").write_text(vasprun(step()))
    notes = tmp_path / "notes.txt"
    notes.write_text("my notes\n")
    with pytest.raises(InputError, match="not a file of imported records"):
        import_many([tmp_path / "vasprun.xml"], resume_from=notes)
    assert notes.read_text() == "my notes\n"
    with pytest.raises(InputError, match="Give at least 1"):
        import_many([tmp_path], workers=0)


def test_records_survive_json(tmp_path: Path) -> None:
    record = written(tmp_path, vasprun(step()))
    assert ImportedCalculation.model_validate_json(record.model_dump_json()) == record


def test_finding_runs(tmp_path: Path) -> None:
    inputs = tmp_path / "never"
    inputs.mkdir()
    (inputs / "INCAR").write_text("NSW = 0\n")
    (inputs / "POSCAR").write_text("O\n")
    double = tmp_path / "double"
    double.mkdir()
    for name in ("relax1", "relax2"):
        (double / f"vasprun.xml.{name}.gz").write_bytes(gzip.compress(vasprun(step()).encode()))
    (double / "INCAR.orig.gz").write_bytes(b"")
    nested = tmp_path / "launcher_1" / "outputs"
    nested.mkdir(parents=True)
    (nested / "vasprun.xml").write_text(vasprun(step()))
    beside = tmp_path / "launcher_1" / "inputs"
    shutil.copytree(inputs, beside)
    found = find_calculations(tmp_path)
    assert [(one.folder.name, one.label) for one in found] == [
        ("double", "relax1"),
        ("double", "relax2"),
        ("outputs", ""),
        ("never", ""),
    ]
    (never,) = import_directory(inputs)
    assert (never.status, codes(never)) == (
        ImportStatus.INCOMPLETE,
        {Finding.NOT_STARTED, Finding.LEVEL_UNKNOWN},
    )


def test_what_is_no_calculation_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        import_directory(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no VASP or LOBSTER calculation"):
        import_directory(tmp_path)
    (tmp_path / "letter.txt").write_text("dear colleague")
    record = the_one(tmp_path / "letter.txt")
    assert (record.status, codes(record)) == (ImportStatus.FAILED, {Finding.NOT_RECOGNISED})
    (tmp_path / "vasprun.xml").write_bytes(b"")
    empty = the_one(tmp_path)
    assert empty.energy_ev is None
    assert Finding.FILE_TRUNCATED in codes(empty)
