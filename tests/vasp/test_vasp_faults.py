"""Faults of a VASP run, injected by the stand-in: each ends corrected, resumed, or failed with its cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from epilayer.model.errors import EngineError
from epilayer.model.failure import FailedRunError, FailureClass
from epilayer.structures import molecules
from epilayer.study.config import Catalogue, shipped

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure

    from epilayer.engines.vasp.engine import VaspMaker
    from epilayer.model.records import Calculation

CORRECTED = {"zbrent": "zbrent", "brmix": "brmix", "edddav": "edddav"}
FAILED = {
    "segfault": "segfault",
    "walltime": "time_limit",
    "truncated_contcar": "time_limit",
    "full_disk": "disk_full",
}


class Case:
    """One molecule that takes several ionic steps, run in one attempt directory after the other."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        catalogue = Catalogue((shipped("configs"),))
        self.maker: VaspMaker = catalogue.engine("paper", max_steps=1000).relax("molecule")
        self.box: Structure = molecules.in_box(
            molecules.build(catalogue.ligand("triazole"), 0), vacuum_ang=15.0
        )
        # The toy potential begins at rest; an oxygen that the molecule attracts makes it move.
        above = self.box.cart_coords.mean(axis=0) + np.array([0, 0, 2.9])
        self.box.append("O", above, coords_are_cartesian=True)
        self.root, self.patch = root, patch
        patch.setenv("VASP_STANDIN_ONCE", str(root / "struck"))

    def attempt(self, number: int) -> Calculation:
        where = self.root / "job" / f"attempt-{number}"
        where.mkdir(parents=True)
        self.patch.chdir(where)
        return self.maker.make.original(self.maker, self.box)

    def directory(self, number: int) -> Path:
        return self.root / "job" / f"attempt-{number}"


@pytest.fixture
def case(vasp: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    assert vasp
    return Case(tmp_path, monkeypatch)


@pytest.mark.parametrize("fault", CORRECTED)
def test_custodian_corrects_and_the_record_says_so(
    case: Case, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("VASP_STANDIN_FAULT", fault)
    done = case.attempt(1)
    assert done.ionic_converged
    assert len(done.corrections) == 1
    assert CORRECTED[fault] in done.corrections[0]
    assert (case.directory(1) / "error.1.tar.gz").is_file()
    if fault == "zbrent":  # custodian tightens EDIFF: the record states what was executed
        assert done.level.system["ediff_ev"] == 1e-6
        assert done.level.declared["ediff_ev"] == 1e-5


@pytest.mark.parametrize("fault", FAILED)
def test_a_crash_fails_with_its_cause_and_the_next_attempt_resumes(
    case: Case, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("VASP_STANDIN_FAULT", fault)
    with pytest.raises(EngineError, match=FAILED[fault]) as caught:
        case.attempt(1)
    assert caught.value.remedy
    done = case.attempt(2)
    assert done.ionic_converged
    source = "vasprun.xml" if fault == "truncated_contcar" else "CONTCAR"
    assert done.corrections == (f"resumed from {source} of attempt-1",)
    begun = (case.directory(2) / "POSCAR.begin").read_text(encoding="utf-8")
    assert begun == (case.directory(1) / "POSCAR").read_text(encoding="utf-8")
    assert (case.directory(2) / "POSCAR").read_text(encoding="utf-8") != begun


#: Faults that strike every run: what custodian gives up, and how the next attempt goes about it.
GIVEN_UP = {
    "zbrent": (FailureClass.LINE_SEARCH, "resumed from CONTCAR of attempt-1"),
    "brmix": (FailureClass.ELECTRONIC_ALGORITHM, "ALGO = All, since attempt-1 failed (brmix)"),
    "edddav": (FailureClass.ELECTRONIC_ALGORITHM, "ALGO = All, since attempt-1 failed (edddav)"),
    "zpotrf": (FailureClass.LARGE_STEP, "POTIM = 0.25, since attempt-1 failed (zpotrf)"),
    "oom": (FailureClass.OUT_OF_MEMORY, "resumed from CONTCAR of attempt-1"),
}


@pytest.mark.parametrize("fault", GIVEN_UP)
def test_what_custodian_gives_up_fails_by_its_class_and_is_taken_up_another_way(
    case: Case, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    kind, change = GIVEN_UP[fault]
    monkeypatch.delenv("VASP_STANDIN_ONCE")
    monkeypatch.setenv("VASP_STANDIN_FAULT", fault)
    case.maker.run_vasp_kwargs = {"max_errors": 1}
    with pytest.raises(FailedRunError) as caught:
        case.attempt(1)
    failure = caught.value.failure
    assert failure.kind is kind
    assert failure.cause == {"oom": "out_of_memory"}.get(fault, fault)
    assert any(fault in line.lower() for log, line in failure.telling if log != "custodian")
    monkeypatch.delenv("VASP_STANDIN_FAULT")
    done = case.attempt(2)
    assert done.ionic_converged
    assert change in done.corrections
    assert "resumed from CONTCAR of attempt-1" in done.corrections


def test_an_energy_that_is_no_number_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VASP_STANDIN_FAULT", "nan")
    with pytest.raises(EngineError, match="energy") as caught:
        case.attempt(1)
    assert caught.value.remedy


def test_a_job_that_is_told_to_stop_leaves_no_vasp_behind(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    from epilayer.engines.vasp import engine as vasp

    started: list[subprocess.Popen[bytes]] = []

    def run(**_settings: object) -> None:
        started.append(subprocess.Popen(["sleep", "60"], start_new_session=True))
        raise KeyboardInterrupt

    monkeypatch.setattr(vasp, "run_vasp", run)
    with pytest.raises(KeyboardInterrupt):
        case.attempt(1)
    assert started[0].wait(timeout=5) == -9


@pytest.mark.parametrize("damage", ["cut", "nan", "clash", "other cell", "other atoms", "other start"])
def test_a_contcar_that_does_not_hold_up_is_not_gone_on_with(
    case: Case, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setenv("VASP_STANDIN_FAULT", "walltime")
    with pytest.raises(EngineError):
        case.attempt(1)
    first = case.directory(1)
    (first / "vasprun.xml").unlink()
    lines = (first / "CONTCAR").read_text(encoding="utf-8").splitlines()
    if damage == "cut":
        lines = lines[: len(lines) // 2]
    elif damage == "nan":
        lines[-1] = "NaN NaN NaN"
    elif damage == "clash":
        lines[-1] = lines[-2]
    elif damage == "other cell":
        lines[2] = lines[2].replace("0000000000000000", "1000000000000000", 1)
    elif damage == "other atoms":
        lines[5] = lines[5].replace("N", "P")
    else:
        poscar = (first / "POSCAR.orig").read_text(encoding="utf-8")
        (first / "POSCAR.orig").write_text(poscar.replace("1.0\n", "1.0000\n", 1), encoding="utf-8")
    (first / "CONTCAR").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = case.attempt(2)
    assert done.corrections == ()
    assert np.isfinite(done.energy_ev)
