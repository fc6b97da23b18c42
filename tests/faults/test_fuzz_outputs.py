"""Truncated and flipped bytes of real outputs: never a crash, never a wrong number that looks confirmed."""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from epilayer.model.imported import Agreement, Code, Finding, ImportedCalculation, ImportStatus
from epilayer.outputs import import_directory

DATA = Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not (DATA / "index.json").exists(), reason=f"the real outputs are not at {DATA}"),
]
CASES = 2000
SECONDS_ALLOWED_A_CASE = 10.0
ENERGY_TOLERANCE_EV = 1e-6
ICOHP_TOLERANCE_EV = 2e-5


# Numbers that energies and integrals are read from, in every kind of file.
RESULTS = re.compile(
    rb'(?:name="e_(?:fr|0|wo)_en\w+">|name="e_wo_entrp">|TOTEN  =|without entropy=|sigma->0\) =|F= |E0= '
    rb"|\d {7,12}-?\d {1,3}-?\d {1,3}-?\d {8,12})( *[-\d.E+]+)"
)


class Subject(NamedTuple):
    """Files of one run, their names, and how often each is damaged in turn."""

    name: str
    files: dict[str, Path]
    damaged: str


def subjects() -> list[Subject]:
    states, gold, md = DATA / "vasp_exit_codes", DATA / "vasp_Au_O_adsorption_flow", DATA / "vasp_Si_md"
    out = []
    for state in ("converged", "elec-unconverged", "ionic-unconverged"):
        here = states / state / "out"
        outcar = here / ("OUTCAR.gz" if state == "ionic-unconverged" else "OUTCAR")
        run = {"vasprun.xml": here / "vasprun.xml", "OUTCAR": outcar, "INCAR": here / "INCAR"}
        out += [Subject(state, run, name) for name in ("vasprun.xml", "OUTCAR")]
        out += [Subject(f"{state}, alone", {name: run[name]}, name) for name in ("vasprun.xml", "OUTCAR")]
        # The lines of OSZICAR stand in the standard output too: they serve as the third witness.
        three = run | {"OSZICAR": here / "vasp_output"}
        out.append(Subject(f"{state}, three witnesses", three, "OSZICAR"))
    for name in ("mol_static", "slab_relax", "bulk_relax"):
        here = gold / name / "outputs"
        run = {"vasprun.xml": here / "vasprun.xml.gz", "OUTCAR": here / "OUTCAR.gz"}
        out += [Subject(name, run, damaged) for damaged in run]
    here = md / "Si_multi_md" / "molecular_dynamics_2" / "outputs"
    run = {"vasprun.xml": here / "vasprun.xml.gz", "OUTCAR": here / "OUTCAR.gz"}
    out += [Subject("md", run, damaged) for damaged in run]
    out.append(Subject("OSZICAR, alone", {"OSZICAR": DATA / "vasp_misc" / "OSZICAR"}, "OSZICAR"))
    # Damage under the compression: the checksum of gzip is the witness.
    here = gold / "mol_static" / "outputs"
    packed = {"vasprun.xml.gz": here / "vasprun.xml.gz", "OUTCAR.gz": here / "OUTCAR.gz"}
    out += [Subject("packed", packed, name) for name in packed]
    for name in ("NaCl", "NaCl_spin"):
        here = DATA / "lobster_NaCl_spin_BeTe" / name
        run = {f: here / f"{f}.gz" for f in ("ICOHPLIST.lobster", "COHPCAR.lobster")}
        out += [Subject(name, run, damaged) for damaged in run]
        out.append(
            Subject(f"{name}, alone", {"ICOHPLIST.lobster": run["ICOHPLIST.lobster"]}, "ICOHPLIST.lobster")
        )
    return out


def content(path: Path, name: str) -> bytes:
    packed = path.suffix == ".gz" and not name.endswith(".gz")
    return gzip.decompress(path.read_bytes()) if packed else path.read_bytes()


@cache
def results_in(data: bytes) -> list[tuple[int, int]]:
    return [found.span(1) for found in RESULTS.finditer(data)]


def damage(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Cut the file, flip bytes anywhere, or change one character of a number that a result is read from."""
    kind = rng.choice(("cut", "cut", "flip", "flips", "digit", "result", "result", "result"))
    out = bytearray(data)
    if kind == "result":
        places = results_in(data)
        if places:
            # The last ones are the ones that count.
            start, end = rng.choice(places[-rng.choice((3, 12, 2000)) :])
            at = rng.choice([i for i in range(start, end) if data[i : i + 1].strip()])
            out[at] = rng.choice([c for c in b"0123456789*-. \n" if c != out[at]])
            return bytes(out), f"result byte {at} became {chr(out[at])!r}"
    if kind == "cut":
        at = (
            rng.randrange(len(out)) if rng.random() < 0.6 else len(out) - rng.randrange(1, min(400, len(out)))
        )
        return bytes(out[:at]), f"cut at {at} of {len(data)}"
    if kind == "digit":
        digits = [i for i in range(max(0, len(out) - 20_000), len(out)) if 48 <= out[i] <= 57]
        at = rng.choice(digits) if digits else rng.randrange(len(out))
        out[at] = rng.choice([c for c in b"0123456789*-. " if c != out[at]])
        return bytes(out), f"byte {at} became {chr(out[at])!r}"
    places = [rng.randrange(len(out)) for _ in range(1 if kind == "flip" else rng.randrange(2, 40))]
    for at in places:
        out[at] ^= 1 << rng.randrange(8)
    return bytes(out), f"flips at {places[:5]}"


def judge(record: ImportedCalculation, truth: ImportedCalculation, subject: Subject) -> None:
    said = {reason.code for reason in record.reasons}
    alone = record.agreement is Agreement.SINGLE_WITNESS
    if record.code is Code.LOBSTER:
        true = {(b.label, b.atom_1, b.atom_2): b for b in truth.bonding.icohp_ev} if truth.bonding else {}
        wrong = [
            bond.label
            for bond in (record.bonding.icohp_ev if record.bonding else ())
            if (key := (bond.label, bond.atom_1, bond.atom_2)) not in true
            or abs(bond.summed - true[key].summed) > ICOHP_TOLERANCE_EV
        ]
        assert not wrong or alone or record.status is ImportStatus.FAILED, wrong
        return
    if record.energy_ev is None:
        assert record.reasons, "an energy is withheld without a reason"
        return
    # Where the damage hides whether it converged, the energy comes with that reason.
    shown = Finding.CONVERGENCE_NOT_STATED not in said
    assert record.status is (ImportStatus.CONVERGED if shown else ImportStatus.FINISHED)
    right = truth.energy_ev is not None and abs(record.energy_ev - truth.energy_ev) <= ENERGY_TOLERANCE_EV
    if len(subject.files) == 1:
        assert right or (alone and Finding.SINGLE_WITNESS in said)
    else:
        # A second file is there: it must have caught the change.
        assert right, f"{record.energy_ev} accepted for {truth.energy_ev}"


@pytest.mark.slow
def test_two_thousand_damaged_files_give_no_crash_no_hang_and_no_wrong_number(tmp_path: Path) -> None:
    cast = subjects()
    whole: list[dict[str, bytes]] = []
    truths: list[ImportedCalculation] = []
    for number, subject in enumerate(cast):
        folder = tmp_path / f"whole-{number}"
        folder.mkdir()
        whole.append({name: content(path, name) for name, path in subject.files.items()})
        for name, data in whole[number].items():
            (folder / name).write_bytes(data)
        truths += import_directory(folder)
    assert len(truths) == len(cast)
    failures = []
    accepted = slowest = 0.0
    for seed in range(CASES):
        rng = random.Random(seed)  # noqa: S311
        number = seed % len(cast)
        subject = cast[number]
        folder = tmp_path / "case"
        folder.mkdir()
        for name, data in whole[number].items():
            (folder / name).write_bytes(data)
        bytes_, what = damage(whole[number][subject.damaged], rng)
        (folder / subject.damaged).write_bytes(bytes_)
        began = time.perf_counter()
        try:
            (record,) = import_directory(folder)
            judge(record, truths[number], subject)
            accepted += record.energy_ev is not None
        except Exception as error:  # noqa: BLE001  (any exception at all is the failure that is looked for)
            failures.append(
                f"seed {seed}: {subject.name}/{subject.damaged}: {what}: {type(error).__name__} {error}"
            )
        slowest = max(slowest, time.perf_counter() - began)
        shutil.rmtree(folder)
    assert not failures, f"{len(failures)} of {CASES}:\n" + "\n".join(failures[:20])
    assert slowest < SECONDS_ALLOWED_A_CASE
    # The test would prove nothing if every damaged run were refused.
    assert accepted > CASES / 10
