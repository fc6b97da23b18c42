"""Whatever byte of what is stored changes, ``verify`` says so, and where; a number follows from its legs."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from epilayer import Study
from epilayer.cli.root import app
from epilayer.model.dynamics import DynamicsSettings, FileReference
from epilayer.model.files import sha256_file
from epilayer.model.imported import CalculationKind, Code, ImportedCalculation, ImportStatus
from epilayer.model.ion_transport import IonTransport, Solvation
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import AdsorptionEnergy, Calculation, Leg, Provenance, Status
from epilayer.model.transport import DiffusionEstimate, TransportReport, Verdict
from epilayer.store.records import document_of
from epilayer.study.stored_files import write_study_checksums
from epilayer.study.verifying import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epilayer.model.base import Frozen

LEVEL = LevelOfTheory(name="made", kind=EngineKind.MLIP, method="made up for tests")
MOLECULE = Structure(Lattice.cubic(9.0), ["O", "H"], [[0, 0, 0], [0, 0, 0.1]])
FLIPS = 200


def leg(study: Study, role: str, energy_ev: float) -> tuple[Leg, Calculation]:
    """A calculation with a real file behind it, as an engine leaves it."""
    folder = study.runs / f"{role}-{energy_ev}" / "attempt-1"
    folder.mkdir(parents=True)
    frames = []
    for step in range(60):
        atoms = Atoms("OH", positions=[[0, 0, 0], [0, 0, 0.97 + 0.001 * step]], cell=[9, 9, 9], pbc=True)
        atoms.calc = SinglePointCalculator(
            atoms, energy=energy_ev - 0.01 * (step - 59), forces=[[0, 0, 0]] * 2
        )
        frames.append(atoms)
    write(folder / "relaxation.extxyz", frames)
    job = f"job-{role}-{energy_ev}"
    provenance = Provenance(
        job=job,
        run_directory=str(folder),
        files={"relaxation.extxyz": sha256_file(folder / "relaxation.extxyz")},
    )
    calculation = Calculation(
        task="relax", label=role, level=LEVEL, structure=MOLECULE, energy_ev=energy_ev,
        max_force_ev_per_ang=0.01, ionic_converged=True, energies_ev=(energy_ev,),
        max_forces_ev_per_ang=(0.01,), wall_time_s=1.0, provenance=provenance,
    )  # fmt: skip
    made = Leg(
        role=role, energy_ev=energy_ev, dispersion_energy_ev=None, max_force_ev_per_ang=0.01, steps=60,
        residual_ev=0.001, formula="H1 O1", level_fingerprint=LEVEL.fingerprint, provenance=provenance,
    )  # fmt: skip
    return made, calculation


def adsorption(legs: tuple[Leg, ...], value_ev: float) -> AdsorptionEnergy:
    return AdsorptionEnergy(
        cathode="nvopf", facet="100", termination="t0", ligand="water", level=LEVEL, status=Status.CERTIFIED,
        adsorption_energy_ev=value_ev, uncertainty_ev=0.01, without_dispersion_ev=None, pose_spread_ev=None,
        refusals=(), anomalies=(), legs=legs, poses=(), structure=MOLECULE, adsorbate_atoms=(0, 1),
        closest_contact="O0...H1", closest_contact_ang=0.97, area_ang2=81.0, code_version="1", parameters={},
    )  # fmt: skip


def transport(study: Study) -> IonTransport:
    """A record with a trajectory, its checkpoint and what is told of it, as segments leave them."""
    folder = study.root / "trajectories" / "0123456789abcdef"
    folder.mkdir(parents=True)
    for name, size in (("trajectory.h5", 20_000), ("checkpoint.epi", 3_000), ("about.json", 200)):
        (folder / name).write_bytes(random.Random(name).randbytes(size))  # noqa: S311
    path = folder / "trajectory.h5"
    diffusion = DiffusionEstimate(
        species="Na", n_carriers=1, n_independent=1, verdict=Verdict.REFUSED, reason="too short",
        diffusion_cm2_per_s=None, lower_cm2_per_s=None, upper_cm2_per_s=None, window_ps=None,
        slope_cm2_per_s=None, degrees_of_freedom=0, hop_length_ang=3, n_hops=0, n_eff=0,
        relative_error_he2018=None, duration_ps=1, ion_ps=1, ion_ps_needed=None,
    )  # fmt: skip
    return IonTransport(
        system="pore", formula="OH", atoms=2, cation="Na", temperature_k=353.15, level=LEVEL,
        settings=DynamicsSettings(), equilibration_steps=0, steps=1000, frames=1001, seeds=(0,), moves="all",
        verdict=Verdict.REFUSED, statement="refused: too short",
        report=TransportReport(frame="as simulated", time_step_ps=0.001, n_frames=9, diffusion=(diffusion,)),
        solvation=Solvation(
            shells=(), cutoff_ang=3.2, cutoff_source="customary", mean={}, shares=(),
            share_with_anion_and_chain=None, residence=(),
        ),
        segments=(), mean_temperature_k=350, minimised_steps=0, minimised_max_force_ev_per_ang=0.1,
        seconds_per_step=1, peak_memory_mb=None, code_version="1",
        trajectories=(FileReference(path=str(path), sha256=sha256_file(path), size=20_000),),
    )  # fmt: skip


def imported(study: Study) -> ImportedCalculation:
    """A record of files that stay outside of the study."""
    folder = study.root.parent / f"{study.root.name}-elsewhere"
    folder.mkdir()
    (folder / "OUTCAR").write_bytes(b"energy\n" * 700)
    files = {"OUTCAR": sha256_file(folder / "OUTCAR")}
    return ImportedCalculation(
        path=str(folder),
        code=Code.VASP,
        kind=CalculationKind.STATIC,
        status=ImportStatus.CONVERGED,
        files=files,
    )


def stored(
    root: Path, value_ev: float = -125.5 + 100.25 + 24.75, others: Sequence[Callable[[Study], Frozen]] = ()
) -> Study:
    root.mkdir(exist_ok=True)
    (root / "epilayer.yaml").touch()
    used = Study.open(root)
    made = [leg(used, *one) for one in (("adslab", -125.5), ("slab", -100.25), ("molecule", -24.75))]
    for one, _ in made:
        (Path(one.provenance.run_directory) / "stdout.log").write_text(f"{one.role} relaxed\n")
    records = [adsorption(tuple(one for one, _ in made), value_ev), *(make(used) for make in others)]
    documents = [document_of(record, job="j", created="2025-01-01T00:00:00Z") for record in records]
    with used.jobstore() as outputs:
        outputs.update([{"uuid": c.provenance.job, "index": 1, "output": c} for _, c in made], key="uuid")
    results = used.results()
    results.put(documents)
    results.close()
    write_study_checksums(used, documents)
    return used


@pytest.fixture
def used(tmp_path: Path) -> Study:
    return stored(tmp_path)


def stored_files(used: Study) -> list[Path]:
    return sorted(
        p for p in used.root.rglob("*") if p.is_file() and p.stat().st_size and p.name != "epilayer.yaml"
    )


def flip(path: Path, place: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def test_sound_results_are_sound_however_often_they_are_looked_at(used: Study) -> None:
    for _ in range(3):
        found = verify(used)
        assert (found.records, found.numbers, found.damages, found.notes) == (1, 1, [], [])
        assert found.files == 2 + 3 * 3  # databases; of each run its file, its log and its checksums


def test_any_flipped_bit_of_any_stored_file_is_found_and_its_place_named(tmp_path: Path) -> None:
    used = stored(tmp_path / "study", others=(transport, imported))
    chance = random.Random(20261122)  # noqa: S311  (chooses places)
    elsewhere = tmp_path / "study-elsewhere" / "OUTCAR"
    files = [*stored_files(used), elsewhere]
    assert {p.suffix for p in files} == {".sqlite", ".seal", ".extxyz", ".log", ".h5", ".epi", ".json", ""}
    by_bytes = [p.stat().st_size for p in files]
    missed, placed = [], 0
    for number in range(FLIPS):
        # Every second one by size, so that databases and trajectories get theirs; the others by file.
        path = chance.choices(files, by_bytes if number % 2 else None)[0]
        place, bit = chance.randrange(path.stat().st_size), chance.randrange(8)
        whole = path.read_bytes()
        flip(path, place, bit)
        damages = verify(used).damages
        if not damages or not damages[0].path.startswith(str(path)):
            missed.append((path.name, place, bit))
        elif path.suffix != ".seal" and path != elsewhere:  # nothing is written beside files of others
            assert (damages[0].offset, damages[0].exact, damages[0].was) == (place, True, whole[place])
            placed += 1
        path.write_bytes(whole)
    assert missed == []
    assert placed > FLIPS // 2
    assert verify(used).damages == []


@pytest.mark.parametrize(
    ("mend", "said"),
    [
        (lambda data: data[:5000] + b"....." + data[5005:], "among bytes 4096 to 8191"),
        (lambda data: data + b"\n", "1 bytes were added at the end"),
        (lambda data: data[:-1], "the first difference is among bytes"),
        (lambda data: data[:0], "among bytes 0 to 4095"),
    ],
)
def test_larger_changes_are_named_by_their_place(used: Study, mend: Any, said: str) -> None:  # noqa: ANN401
    path = next(used.runs.rglob("relaxation.extxyz"))
    path.write_bytes(mend(path.read_bytes()))
    (damage,) = [d for d in verify(used).damages if d.path == str(path)]
    assert said in damage.what


def test_a_lost_file_and_a_number_that_does_not_follow_are_found(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    lost = stored(tmp_path / "a")
    next(lost.runs.rglob("relaxation.extxyz")).unlink()
    assert [d.what for d in verify(lost).damages] == ["the file is missing"]
    wrong = stored(tmp_path / "b", value_ev=-0.6)
    (damage,) = verify(wrong).damages
    assert damage.what == "it states -0.6, and its legs give -0.5"


def test_a_leg_that_is_not_what_its_job_computed_is_found(used: Study) -> None:
    with used.jobstore() as outputs:
        (made,) = outputs.query({"uuid": "job-slab--100.25"}, load=True)
        made["output"]["energy_ev"] = -100.26
        outputs.update([made], key="uuid")
    whats = [d.what for d in verify(used).damages]
    assert whats == [
        "its output states -100.26 eV, and its raw file -100.25 eV",
        "its leg slab has -100.25 eV, and the job's output -100.26 eV",
    ]


def test_writing_on_is_not_damage_but_a_document_changed_behind_our_back_is(used: Study) -> None:
    results = used.results()
    results.put([document_of(adsorption((), -0.4), job="k", created="2025-01-02T00:00:00Z")])
    results.close()
    found = verify(used)
    assert found.damages == []
    assert found.notes[0].startswith("results.sqlite was written to since")
    assert found.notes[1:] == ["Only hashed, since the jobs that made them are not here: adsorption (1)."]
    with closing(sqlite3.connect(used.results_file)) as raw, raw:
        raw.execute("UPDATE payload SET body = replace(body, '-0.4', '-0.7')")
    assert "is not what was written" in verify(used).damages[0].what


def test_a_study_that_was_moved_is_still_checked(
    used: Study, tmp_path_factory: pytest.TempPathFactory
) -> None:
    moved = tmp_path_factory.mktemp("moved") / "study"
    shutil.move(used.root, moved)
    there = Study.open(moved)
    assert verify(there).damages == []
    path = next(there.runs.rglob("relaxation.extxyz"))
    flip(path, 17, 3)
    assert verify(there).damages[0].offset == 17


def test_the_command_says_what_differs_and_fails(used: Study) -> None:
    run = CliRunner().invoke
    where = ["-C", str(used.root), "verify"]
    sound = run(app, [*where, "--all", "--json"])
    assert (sound.exit_code, json.loads(sound.stdout)["sound"]) == (0, True)
    path = next(used.runs.rglob("relaxation.extxyz"))
    flip(path, 4321, 0)
    damaged = run(app, [*where, "--all"])
    assert damaged.exit_code == 5
    assert "byte 4321 is" in damaged.stdout
    assert run(app, where).exception is not None
