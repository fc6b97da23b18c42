"""``epilayer import``: the JSON it promises, what it keeps and refuses, and that a killed one goes on."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command import runner
from epilayer.outputs import import_many
from epilayer.store.records import record_of
from epilayer.store.results import open_results
from single_points import OXYGEN, SLAB, single_point

if TYPE_CHECKING:
    from command import Run

DATA = Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(not (DATA / "index.json").exists(), reason=f"the real outputs are not at {DATA}"),
]

GOLDEN = {
    "path": str,
    "code": str,
    "kind": str,
    "status": str,
    "energy_ev": (float, type(None)),
    "reasons": list,
    "corrections": list,
    "magnetic_moments": (list, type(None)),
}
STATUSES = {"converged", "unconverged", "incomplete", "failed"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "epilayer.yaml").write_text("workers: 1\n")
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, study: Path) -> Run:
    return runner(capsys, monkeypatch, "-C", study)


def legs(folder: Path, **changed: float) -> None:
    single_point(folder / "clean", SLAB, -12.0)
    single_point(folder / "box", [("O", (1.0, 1.0, 1.0))], -1.5, edge_ang=15.0)
    # Atoms of the slab in another order than in the clean one.
    single_point(folder / "pose", [OXYGEN, *reversed(SLAB)], -16.0, **changed)  # type: ignore[arg-type]  # floats all


def test_json_is_one_object_a_calculation_with_the_promised_keys(run: Run, tmp_path: Path) -> None:
    single_point(tmp_path / "a", SLAB, -12.0)
    single_point(tmp_path / "b", SLAB, -12.0, whole=False)
    said = run("import", tmp_path / "a", tmp_path / "b", "--json")
    assert said.code == 0
    records = said.json()
    assert [r["path"] for r in records] == [str(tmp_path / "a"), str(tmp_path / "b")]
    for record in records:
        assert list(record)[: len(GOLDEN)] == list(GOLDEN)
        for key, kind in GOLDEN.items():
            assert isinstance(record[key], kind), key
        assert record["status"] in STATUSES
        for reason in record["reasons"]:
            assert set(reason) == {"code", "severity", "what", "remedy", "file"}
    assert [r["energy_ev"] for r in records] == [pytest.approx(-12.0), None]
    assert [r["status"] for r in records] == ["converged", "incomplete"]
    assert "file_truncated" in {reason["code"] for reason in records[1]["reasons"]}
    alone = run("import", tmp_path / "a" / "vasprun.xml", "--json").json()
    assert [r["energy_ev"] for r in alone] == [pytest.approx(-12.0)]


def test_launch_directories_carry_the_name_of_their_job(run: Run, tmp_path: Path) -> None:
    launch = tmp_path / "block_2026" / "launcher_2026-11-01-1"
    single_point(launch, SLAB, -12.0, packed=True)
    firework = {"fw_id": 17, "name": "relax pose 3", "spec": {"_tasks": []}}
    (launch / "FW.json.gz").write_bytes(gzip.compress(json.dumps(firework).encode()))
    damaged = single_point(tmp_path / "block_2026" / "launcher_2026-11-01-2", SLAB, -12.0)
    (damaged / "FW.json").write_text('{"fw_id": 18, "na')
    first, second = run("import", tmp_path / "block_2026", "--json").json()
    assert (first["job_name"], first["job_number"]) == ("relax pose 3", 17)
    assert (second["job_name"], second["job_number"], second["energy_ev"]) == (None, None, -12.0)


def test_the_text_lists_the_bad_ones_with_their_reasons(run: Run, tmp_path: Path) -> None:
    single_point(tmp_path / "good", SLAB, -12.0)
    single_point(tmp_path / "cut", SLAB, -12.0, whole=False)
    (tmp_path / "odd").mkdir()
    said = run("import", tmp_path / "good", tmp_path / "cut", tmp_path / "odd")
    assert said.code == 0
    assert "\N{MINUS SIGN}12.000000" in said.out
    assert "incomplete cut: " in said.out
    assert "failed odd: " in said.out
    assert "holds no VASP or LOBSTER calculation" in said.out
    assert "1 energies stood behind" in said.out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["nowhere"], "does not exist"),
        (["."], "holds no VASP or LOBSTER calculation"),
        (["slab=.", "."], "belong to --adsorption"),
        (["--adsorption", "slab=."], "lacks molecule=DIR, adsorbate=DIR"),
        (["--adsorption", "slab=.", "slab=."], "given twice"),
    ],
)
def test_what_cannot_be_imported_is_one_line_and_exit_code_2(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], what: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    said = run("import", *arguments)
    assert said.code == 2
    assert what in said.err
    assert list(empty.iterdir()) == []


def test_imports_are_stored_queried_and_replaced_when_they_change(
    run: Run, tmp_path: Path, study: Path
) -> None:
    single_point(tmp_path / "runs" / "a", SLAB, -12.0)
    single_point(tmp_path / "runs" / "b", SLAB, -13.0, whole=False)
    assert run("import", tmp_path / "runs", "--into-store").code == 0
    rows = run("query", "calculation", "--format", "json", "--sort", "path").json()
    assert [(r["name"], r["status"], r["energy_ev"]) for r in rows] == [
        ("runs/a", "converged", -12.0),
        ("runs/b", "incomplete", None),
    ]
    assert all(r["origin"] == "imported" for r in rows)
    assert len(run("query", "calculation", "--where", "energy_ev<-1", "--format", "json").json()) == 1
    single_point(tmp_path / "runs" / "b", SLAB, -13.0)
    assert run("import", tmp_path / "runs", "--into-store").code == 0
    store = open_results(study / ".epilayer" / "results.sqlite")
    found = store.query("calculation", sort="path", body=True)
    store.close()
    records = [record_of(one) for one in found]
    assert [r.energy_ev for r in records] == [-12.0, -13.0]
    assert all(set(r.files) == {"vasprun.xml"} for r in records)


def test_adsorption_legs_find_one_another_whatever_the_order_of_their_atoms(run: Run, tmp_path: Path) -> None:
    legs(tmp_path / "runs")
    found = run("import", tmp_path / "runs", "--adsorption", "--into-store", "--json")
    (energy,) = found.json()["adsorption"]
    assert energy["status"] == "certified", energy["refusals"]
    assert energy["adsorption_energy_ev"] == pytest.approx(-2.5, abs=1e-9)
    assert [Path(leg["path"]).name for leg in energy["legs"]] == ["clean", "box", "pose"]
    assert any("TITEL" in caveat for caveat in energy["caveats"])
    (row,) = run("query", "imported_adsorption", "--format", "json").json()
    assert row["adsorption_energy_ev"] == pytest.approx(-2.5, abs=1e-9)
    named = run(
        "import", "--adsorption", *(f"{r}={tmp_path / 'runs' / d}" for r, d in
        (("slab", "clean"), ("molecule", "box"), ("adsorbate", "pose")))
    )  # fmt: skip
    assert "\N{MINUS SIGN}2.50000" in named.out


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"cutoff_ev": 520.0}, "level_mismatch"),
        ({"force_ev_per_ang": 0.5}, "forces_not_converged"),
    ],
)
def test_legs_that_do_not_close_are_refused(
    run: Run, tmp_path: Path, changed: dict[str, float], code: str
) -> None:
    legs(tmp_path, **changed)
    (energy,) = run("import", tmp_path, "--adsorption", "--json").json()["adsorption"]
    assert (energy["status"], energy["adsorption_energy_ev"]) == ("refused", None)
    assert code in {refusal["code"] for refusal in energy["refusals"]}


def test_legs_of_other_atoms_are_refused_by_their_formulas(run: Run, tmp_path: Path) -> None:
    legs(tmp_path)
    roles = (
        f"{r}={tmp_path / d}" for r, d in (("slab", "clean"), ("molecule", "clean"), ("adsorbate", "pose"))
    )
    (energy,) = run("import", "--adsorption", *roles, "--json").json()["adsorption"]
    assert energy["refusals"][0]["code"] == "atoms_not_balanced"
    alone = run("import", tmp_path / "clean", "--adsorption")
    assert (alone.code, "belong together" in alone.err) == (2, True)


def test_a_killed_import_goes_on_and_the_second_call_reads_nothing_again(
    tmp_path: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = tmp_path / "many"
    for number in range(300):
        single_point(many / f"run{number:03d}", SLAB, -12.0 - number)
    ledger = study / ".epilayer" / "imported.jsonl"
    command = [sys.executable, "-c", "from epilayer.cli import main; main()"]
    command += ["-C", str(study), "import", str(many), "--resume", "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (ledger.exists() and ledger.read_bytes().count(b"\n") >= 3):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    before = ledger.read_bytes().count(b"\n")
    assert 3 <= before < 300
    records = import_many([many], resume_from=ledger)
    assert [r.energy_ev for r in records] == pytest.approx([-12.0 - n for n in range(300)])
    lines = [json.loads(line)["path"] for line in ledger.read_text().splitlines() if line.endswith("}")]
    assert len(lines) == len(set(lines)) == 300
    # A second call opens no file of theirs.
    monkeypatch.setattr("epilayer.outputs.bulk_import.import_files", pytest.fail)
    seen: list[tuple[int, int]] = []
    again = import_many([many], resume_from=ledger, on_record=lambda done, total: seen.append((done, total)))
    assert again == records
    assert seen == [(300, 300)]


class TestRealOutputs:
    """Directories of others."""

    pytestmark = real_data

    def test_oxygen_on_gold_from_the_directories_of_its_flow(self, run: Run) -> None:
        said = run("import", DATA / "vasp_Au_O_adsorption_flow", "--adsorption", "--json").json()
        found = said["adsorption"]
        assert len(said["calculations"]) == 11
        assert [e["adsorption_energy_ev"] for e in found] == pytest.approx(
            [-3.0666021, -2.9407461, -2.0976731], abs=1e-5
        )
        assert [Path(e["legs"][2]["path"]).parent.name for e in found] == [
            f"ads_static_{i}_3" for i in (2, 3, 1)
        ]
        assert {e["status"] for e in found} == {"certified"}

    def test_a_lone_file_of_each_kind(self, run: Run) -> None:
        files = (
            ("vasp_exit_codes/converged/out/vasprun.xml", "vasp", "converged", -6.50161629),
            ("vasp_misc/OUTCAR.gz", "vasp", "converged", None),
            ("lobster_NaCl_spin_BeTe/NaCl/ICOHPLIST.lobster.gz", "lobster", None, None),
        )
        for name, code, status, energy_ev in files:
            path = next(iter(sorted((DATA / name).parent.glob(f"{Path(name).name}*"))))
            (record,) = run("import", path, "--json").json()
            assert record["code"] == code
            assert status is None or record["status"] == status
            assert energy_ev is None or record["energy_ev"] == energy_ev
        assert record["bonding"]["icohp_ev"]

    def test_damaged_trees_give_reasons_and_never_a_crash(self, run: Run, tmp_path: Path) -> None:
        tree = tmp_path / "tree"
        shutil.copytree(DATA / "vasp_exit_codes", tree / "vasp")
        shutil.copytree(DATA / "lobster_NaCl_spin_BeTe", tree / "lobster")
        for number, path in enumerate(sorted(p for p in tree.rglob("*") if p.is_file())):
            data = path.read_bytes()
            path.write_bytes((data[: len(data) // 2], b"", bytes(len(data)), data)[number % 4])
        said = run("import", tree, "--json", "--workers", "2")
        assert said.code == 0
        for record in said.json():
            assert record["energy_ev"] in (None, -6.50161629)
            assert record["reasons"] or record["energy_ev"] is not None
