"""``epilayer doctor``: every fault of a VASP and LOBSTER set-up by name, with its fix; and the rehearsal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from epilayer import Study
from epilayer.study.config import Settings

EPILAYER = Path(sys.executable).parent / "epilayer"


@pytest.fixture
def used(tmp_path: Path) -> Study:
    return Study(tmp_path, Settings(level="paper"))


def faults(used: Study) -> dict[str, tuple[str, str]]:
    """What the checks of the engine find wrong: name, what was found, fix."""
    from epilayer.study.doctor import vasp_checks

    return {name: (found, fix) for name, ok, found, fix in vasp_checks(used, "vasp") if not ok}


def change(patch: pytest.MonkeyPatch, **settings: str) -> None:
    import atomate2

    for name, value in settings.items():
        patch.setattr(atomate2.SETTINGS, name, value)


@pytest.mark.usefixtures("vasp")
def test_a_whole_set_up_has_no_fault(used: Study) -> None:
    assert faults(used) == {}


@pytest.mark.usefixtures("vasp")
@pytest.mark.parametrize(
    ("setting", "value", "found", "fix"),
    [
        ("VASP_CMD", "no_vasp", "there is no program 'no_vasp'", "export ATOMATE2_VASP_CMD='srun vasp_std'"),
        ("VASP_CMD", "", "VASP_CMD is empty", "export ATOMATE2_VASP_CMD='srun vasp_std'"),
        ("VASP_CMD", "srun 'x", "is no command", "export ATOMATE2_VASP_CMD='srun vasp_std'"),
        (
            "VASP_GAMMA_CMD",
            "no_gam",
            "there is no program 'no_gam'",
            "ATOMATE2_VASP_GAMMA_CMD='srun vasp_gam'",
        ),
        ("LOBSTER_CMD", "no_lobster", "there is no program 'no_lobster'", "ATOMATE2_LOBSTER_CMD='lobster'"),
    ],
)
def test_a_command_that_is_not_there_is_named_with_its_fix(
    used: Study, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, found: str, fix: str
) -> None:
    change(monkeypatch, **{setting: value})
    wrong = faults(used)
    assert len(wrong) == 1
    what, remedy = next(iter(wrong.values()))
    assert found in what
    assert fix in remedy


def test_the_wrong_build_of_vasp_is_named(
    used: Study, vasp: dict[str, str], monkeypatch: pytest.MonkeyPatch, commands: Path
) -> None:
    change(monkeypatch, VASP_CMD=vasp["ATOMATE2_VASP_GAMMA_CMD"])
    assert "Gamma-only binary" in next(iter(faults(used).values()))[0]
    ncl = commands / "vasp_ncl"
    if not ncl.exists():
        ncl.symlink_to(commands / "vasp_std")
    change(monkeypatch, VASP_CMD=vasp["ATOMATE2_VASP_CMD"], VASP_GAMMA_CMD=str(ncl))
    what, fix = next(iter(faults(used).values()))
    assert "non-collinear binary" in what
    assert "vasp_gam" in fix


@pytest.mark.usefixtures("vasp")
def test_absent_and_foreign_potcars_are_named(
    used: Study, monkeypatch: pytest.MonkeyPatch, potcars: Path, tmp_path: Path
) -> None:
    import shutil

    import pymatgen.core

    with monkeypatch.context() as patch:
        patch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR")
        what, fix = faults(used)["engine vasp: POTCARs (PBE_54)"]
        assert "No POTCARs are set up" in what
        assert "pmg config" in fix
    other = shutil.copytree(potcars, tmp_path / "psp") / "POT_GGA_PAW_PBE_54"
    monkeypatch.setitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", str(other.parent))
    file = other / "O" / "POTCAR"
    file.write_text(file.read_text().replace("PAW_PBE O", "PAW O"), encoding="utf-8")
    what, fix = faults(used)["engine vasp: POTCARs (PBE_54)"]
    assert what == "POTCAR of another functional or element: O: PAW O 01Jan2001."
    assert str(other) in fix
    shutil.rmtree(other / "O")
    assert "POTCAR missing for O" in faults(used)["engine vasp: POTCARs (PBE_54)"][0]


@pytest.mark.usefixtures("vasp")
def test_several_faults_are_all_named(used: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    import pymatgen.core

    change(monkeypatch, VASP_CMD="no_vasp", VASP_GAMMA_CMD="no_gam", LOBSTER_CMD="no_lobster")
    monkeypatch.delitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR")
    assert len(faults(used)) == 4


@pytest.mark.slow
def test_a_campaign_is_rehearsed_end_to_end(tmp_path: Path) -> None:
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("ATOMATE2_", "PMG_"))}
    done = subprocess.run(
        [str(EPILAYER), "-C", str(tmp_path), "doctor", "--rehearse", "--json"],
        env={**bare, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["stand_in"]
    assert len(found["failures"]) == 1
    assert "time_limit" in found["failures"][0]
    killed = [row for row in found["jobs"] if row["attempts"] == 2]
    assert len(killed) == 1
    assert killed[0]["events"][-1] == "rerun; went on from where it stood"
    assert {row["state"] for row in found["jobs"]} == {"COMPLETED"}
    assert any(row["name"].startswith("bonds of ethanol") for row in found["jobs"])
    listed = subprocess.run(
        [str(EPILAYER), "-C", found["study"], "query", "adsorption", "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [record["stand_in"] for record in json.loads(listed.stdout)] == [True]
