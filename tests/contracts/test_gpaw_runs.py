"""GPAW itself: what is missing is named, a killed relaxation goes on, and settings act as they must.

Skipped, saying so, where GPAW is not installed (EPILAYER_GPAW).
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from epilayer.engines.gpaw import process, setup
from epilayer.engines.gpaw.engine import GpawEngine
from epilayer.model.errors import EngineError
from epilayer.model.gpaw import GpawSettings, IonicStep
from epilayer.model.vasp import SystemKind
from epilayer.study.config import Catalogue, shipped

try:
    setup.command()
    ABSENT = ""
except EngineError as error:
    ABSENT = error.what

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(ABSENT), reason=f"GPAW is NOT checked on this machine: {ABSENT}"),
]
CATALOGUE = Catalogue((shipped("configs"),))
SEED = 20260801
EV_PER_KCAL_PER_MOL = 0.0433641


def molecule(symbols: list[str], places: list[list[float]], **properties: int) -> Structure:
    return Structure(
        Lattice.orthorhombic(6.0, 6.2, 6.4),
        symbols,
        places,
        coords_are_cartesian=True,
        properties={"system": "molecule", **properties},
    )


def compute(structure: Structure, directory: Path, level: str = "pbe-400+d3", task: str = "static") -> Any:  # noqa: ANN401
    directory.mkdir(parents=True, exist_ok=True)
    engine: Any = CATALOGUE.engine(level)
    return getattr(engine, task)("calculation").compute(structure, directory)


def stretched() -> Structure:
    return molecule(["H", "H"], [[3.0, 3.0, 2.6], [3.0, 3.0, 3.5]])


def ammonia_on_a_layer() -> Structure:
    """Eight atoms of MgO, of which none moves, and ammonia over a magnesium ion."""
    half_ang = 2.106
    places = [(i, j) for i in range(2) for j in range(4)]
    symbols = ["Mg" if sum(place) % 2 == 0 else "O" for place in places]
    coords = [[half_ang * i, half_ang * j, 2.0] for i, j in places]
    ammonia = [[0.0, 0.0, 4.25], [0.94, 0.0, 4.65], [-0.47, 0.81, 4.65], [-0.47, -0.81, 4.65]]
    held = [[False] * 3] * len(symbols) + [[True] * 3] * len(ammonia)
    return Structure(
        Lattice.orthorhombic(2 * half_ang, 4 * half_ang, 12.0),
        [*symbols, "N", "H", "H", "H"],
        coords + ammonia,
        coords_are_cartesian=True,
        site_properties={"selective_dynamics": held},
        properties={"system": "slab"},
    )


def test_the_check_of_the_installation_passes() -> None:
    engine: Any = CATALOGUE.engine("pbe-400+d3")
    assert "gpaw" in engine.check()


def test_an_element_without_a_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="dataset_missing") as caught:
        compute(molecule(["U"], [[3.0, 3.0, 3.0]]), tmp_path)
    assert "pip install gpaw-data" in caught.value.remedy


def test_too_little_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = " ".join(setup.command())
    monkeypatch.setenv(setup.COMMAND_VARIABLE, f"prlimit --as=1500000000 {command}")
    large = Structure(Lattice.cubic(60.0), ["H"], [[0.5, 0.5, 0.5]], properties={"system": "molecule"})
    with pytest.raises(EngineError, match="out_of_memory") as caught:
        compute(large, tmp_path)
    assert "memory" in caught.value.remedy


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / f"{process.CHECKPOINT}.partial").symlink_to("/dev/full")
    with pytest.raises(EngineError, match="disk_full") as caught:
        compute(stretched(), tmp_path)
    assert "Free space" in caught.value.remedy


def test_an_open_shell_keeps_its_multiplicity_and_an_ion_its_charge(tmp_path: Path) -> None:
    atom = compute(molecule(["H"], [[3.0, 3.0, 3.0]]), tmp_path / "atom")
    assert last_step(tmp_path / "atom").total_moment_mu_b == pytest.approx(1.0, abs=1e-3)
    assert atom.level.system["charge_e"] == 0.0


def test_an_ion_has_its_charge(tmp_path: Path) -> None:
    """Three hydrogen atoms in a triangle give an electron away for some electron volts."""
    places = [[3.0, 3.0, 2.6], [3.0, 3.0, 3.47], [3.0, 3.75, 3.03]]
    neutral = molecule(["H", "H", "H"], places)
    ion = Structure(
        neutral.lattice, neutral.species, neutral.frac_coords, charge=1, properties=neutral.properties
    )
    computed = [compute(leg, tmp_path / name) for leg, name in ((neutral, "neutral"), (ion, "ion"))]
    assert [leg.level.system["charge_e"] for leg in computed] == [0.0, 1.0]
    assert computed[0].level.fingerprint == computed[1].level.fingerprint
    assert 1.0 < computed[1].energy_ev - computed[0].energy_ev < 10.0
    assert last_step(tmp_path / "ion").total_moment_mu_b == pytest.approx(0.0, abs=1e-6)


def start(directory: Path, system: str, *, every_s: float) -> subprocess.Popen[bytes]:
    """Relax a system of this file in a process of its own, which can be killed."""
    directory.mkdir(parents=True)
    code = (
        "import sys; sys.path[:0] = ['tests/contracts']\n"
        "from pathlib import Path; import test_gpaw_runs as t\n"
        f"t.process.CHECKPOINT_EVERY_S = {every_s}\n"
        f"t.compute(t.{system}(), Path(sys.argv[1]), task='relax')"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(directory)], cwd=Path(__file__).parents[2])


def kill_after(running: subprocess.Popen[bytes], journal: Path, lines: int) -> None:
    while running.poll() is None and _lines(journal) < lines:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()


def test_a_relaxation_killed_at_seeded_moments_ends_where_it_would_have(tmp_path: Path) -> None:
    """At most one ionic step is computed again, and the energy is the same to 1 meV.

    ``EPILAYER_KILLS=10`` kills ten times, and ``EPILAYER_KILLED=ammonia_on_a_layer`` kills a larger system.
    """
    system = os.environ.get("EPILAYER_KILLED", "stretched")
    whole = compute(globals()[system](), tmp_path / "whole", task="relax")
    total = _lines(tmp_path / "whole" / process.JOURNAL)
    moments = random.Random(SEED)  # noqa: S311  (which moments, no secret)
    for case in range(int(os.environ.get("EPILAYER_KILLS", "2"))):
        job = tmp_path / f"job-{case}"
        journal = job / "attempt-1" / process.JOURNAL
        lines = moments.randrange(2, total)
        kill_after(start(job / "attempt-1", system, every_s=0.0), journal, lines)
        before = len(process.steps_in(journal))
        again = compute(globals()[system](), job / "attempt-2", task="relax")
        print(f"killed after line {lines} of {total}: {before} steps kept, {again.energy_ev:.5f} eV")  # noqa: T201
        assert again.energy_ev == pytest.approx(whole.energy_ev, abs=1e-3)
        assert len(again.energies_ev) <= len(whole.energies_ev) + 1
        started = (job / "attempt-2" / process.JOURNAL).read_text(encoding="utf-8").count('"iteration": 1,')
        assert before + started == len(again.energies_ev)


def test_an_electronic_loop_that_was_killed_goes_on_from_its_density(tmp_path: Path) -> None:
    whole = compute(water(), tmp_path / "whole")
    journal = tmp_path / "attempt-1" / process.JOURNAL
    kill_after(start(tmp_path / "attempt-1", "water", every_s=0.0), journal, 9)
    assert process.steps_in(journal) == []
    again = compute(water(), tmp_path / "attempt-2")
    assert again.corrections == ("began with the density of attempt-1",)
    assert again.energy_ev == pytest.approx(whole.energy_ev, abs=1e-3)
    assert last_step(tmp_path / "attempt-2").iterations < last_step(tmp_path / "whole").iterations


def energy_ev(structure: Structure, directory: Path, **changes: Any) -> float:  # noqa: ANN401
    """Return the energy at a level that differs from the cheap one in these settings."""
    level = CATALOGUE.level("pbe-400+d3").model_copy(update={"dispersion": None})
    assert level.gpaw is not None
    level = level.model_copy(update={"gpaw": GpawSettings.model_validate(level.gpaw.model_dump() | changes)})
    directory.mkdir(parents=True, exist_ok=True)
    engine = GpawEngine.for_cathode(CATALOGUE.engine_spec("gpaw"), level, None)
    return engine.static("point").compute(structure, directory).energy_ev


def every_system(**rule: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"systems": {kind.value: rule for kind in SystemKind}}


def water() -> Structure:
    """A water molecule mid-cell, whose dipole is along the third vector."""
    places = [[2.5, 2.5, 4.9065], [2.5, 3.257, 5.4935], [2.5, 1.743, 5.4935]]
    return Structure(Lattice.orthorhombic(5.0, 5.0, 10.4), ["O", "H", "H"], places, coords_are_cartesian=True)


def test_a_mesh_is_the_cell_that_it_stands_for(tmp_path: Path) -> None:
    """Two points along a vector and one point in the doubled cell are one thing."""
    pair = Structure(Lattice.orthorhombic(3.0, 5.0, 5.2), ["H", "H"], [[0.25, 0.5, 0.5], [0.5, 0.5, 0.5]])
    double = pair.make_supercell((2, 1, 1), in_place=False)
    two = energy_ev(pair, tmp_path / "mesh", **every_system(k_points={"divisions": (2, 1, 1)}))
    one = energy_ev(double, tmp_path / "cell", **every_system(k_points={"divisions": (1, 1, 1)}))
    assert one == pytest.approx(2 * two, abs=2e-3)


def test_a_dipole_layer_takes_the_field_of_the_images_away(tmp_path: Path) -> None:
    """That field stabilises a dipole mu in a volume V by 2 pi mu^2 / V (in units of 1 / 4 pi eps0)."""
    gamma = {"divisions": (1, 1, 1)}
    without, with_layer = (
        energy_ev(water(), tmp_path / f"{dipole}", **every_system(k_points=gamma, dipole=dipole))
        for dipole in (False, True)
    )
    moment_e_ang = last_step(tmp_path / "True").dipole_e_ang[2]
    assert 0.25 < abs(moment_e_ang) < 0.45
    known_ev = 2 * math.pi * 14.3996 * moment_e_ang**2 / water().volume
    assert with_layer - without == pytest.approx(known_ev, rel=0.15)


def test_u_raises_the_energy_ever_more_slowly(tmp_path: Path) -> None:
    """Dudarev's term is not negative, and a variational energy is concave in its parameter."""
    term = {"source": "a value of the tests"}
    zero, one, two = (
        energy_ev(water(), tmp_path / f"{u}", hubbard={"O": {"u_ev": u, **term}}) for u in (0.0, 2.0, 4.0)
    )
    assert one - zero > 0.05
    assert 0 < two - one < one - zero


def test_atomisation_energies_are_the_published_ones_of_pbe(tmp_path: Path) -> None:
    """All-electron PBE at experimental geometries: 243.2 and 234.2 kcal/mol.

    S. Kurth, J. P. Perdew, P. Blaha, Int. J. Quantum Chem. 75, 889 (1999).
    """
    half_angle, bond = math.radians(104.51 / 2), 0.9575
    across, along = bond * math.sin(half_angle), bond * math.cos(half_angle)
    systems = {
        "N": free(["N"], [[0, 0, 0]], multiplicity=4),
        "O": free(["O"], [[0, 0, 0]], multiplicity=3),
        "H": free(["H"], [[0, 0, 0]], multiplicity=2),
        "N2": free(["N", "N"], [[0, 0, 0], [0, 0, 1.0977]]),
        "H2O": free(["O", "H", "H"], [[0, 0, 0], [0, across, along], [0, -across, along]]),
    }
    ev = {name: energy_ev(system, tmp_path / name, cutoff_ev=700.0) for name, system in systems.items()}
    assert 2 * ev["N"] - ev["N2"] == pytest.approx(243.2 * EV_PER_KCAL_PER_MOL, abs=0.05)
    assert 2 * ev["H"] + ev["O"] - ev["H2O"] == pytest.approx(234.2 * EV_PER_KCAL_PER_MOL, abs=0.05)


def free(symbols: list[str], places: list[list[float]], **properties: int) -> Structure:
    """A molecule or atom with 6 A and more to its images, in a box without symmetry."""
    box = Lattice.orthorhombic(7.0, 7.4, 7.8)
    middle = [half / 2 for half in box.abc]
    coords = [[x + m for x, m in zip(place, middle, strict=True)] for place in places]
    found = Structure(box, symbols, coords, coords_are_cartesian=True)
    found.properties = {"system": "molecule", **properties}
    return found


def last_step(directory: Path) -> IonicStep:
    return process.steps_in(directory / process.JOURNAL)[-1]


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.is_file() else 0
