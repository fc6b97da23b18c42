"""The GPAW engine's own part: what is asked, what is judged, and how a killed attempt goes on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.engines.gpaw import inputs, process, setup
from epilayer.engines.gpaw.engine import GpawEngine
from epilayer.engines.mlip.calculators import dispersion_calculator
from epilayer.model.errors import EngineError, InputError, StructureError
from epilayer.model.failure import FailureClass
from epilayer.model.level import Dispersion
from epilayer.study.config import Catalogue, shipped

CATALOGUE = Catalogue((shipped("configs"),))
STAND_IN = Path(__file__).parents[2] / "support" / "gpaw_stand_in.py"


def pair(length_ang: float = 0.95) -> Structure:
    """A hydrogen molecule, its first atom held."""
    return Structure(
        Lattice.orthorhombic(5.0, 5.5, 6.0),
        ["H", "H"],
        [[2.5, 2.5, 2.5], [2.5, 2.5, 2.5 + length_ang]],
        coords_are_cartesian=True,
        site_properties={"selective_dynamics": [[False] * 3, [True] * 3]},
        properties={"system": "molecule"},
    )


def slab(shift: float = 0.0) -> Structure:
    """Two layers of a cubic VO, 20 A of vacuum along the third vector."""
    coords = [[0, 0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.1], [0, 0, 0.1]]
    moved = Structure(Lattice.orthorhombic(4.0, 4.0, 22.0), ["V", "O", "V", "O"], coords)
    moved.translate_sites(range(4), [0, 0, shift])
    return moved


def asked(level: str, structure: Structure) -> dict[str, Any]:
    engine: Any = CATALOGUE.engine(level, CATALOGUE.cathode("nvopf"))
    return inputs.request(engine.settings, engine.hubbard_u_ev, engine.moments, structure)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(setup.COMMAND_VARIABLE, sys.executable)
    monkeypatch.setattr(setup, "DRIVER", STAND_IN)


def relaxed(directory: Path, level: str = "pbe-400+d3") -> Any:  # noqa: ANN401
    directory.mkdir(parents=True, exist_ok=True)
    engine: Any = CATALOGUE.engine(level)
    return engine.relax("pair").compute(pair(), directory)


def test_nothing_but_the_driver_imports_gpaw() -> None:
    """Its licence stays with the program that is started."""
    source = Path(inputs.__file__).parents[2]
    importing = {
        file.name
        for file in source.rglob("*.py")
        if re.search(r"^\s*(from|import) gpaw\b", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert importing == {"driver.py"}


def test_a_molecule_is_asked_for_at_gamma_in_one_spin_channel_without_a_dipole_layer() -> None:
    made = asked("pbe+u+d3", pair())
    parameters = made["parameters"]
    assert parameters["kpts"] == {"size": [1, 1, 1], "gamma": True}
    assert parameters["mode"] == {"name": "pw", "ecut": 500.0}
    assert not parameters["spinpol"]
    assert "poissonsolver" not in parameters
    assert made["pbc"] == [True, True, True]


def test_a_slab_has_the_mesh_the_order_and_the_u_of_its_level() -> None:
    plain, full = asked("pbe", slab()), asked("pbe+u+d3", slab())
    assert plain["parameters"]["kpts"]["size"] == [2, 2, 1]
    assert plain["moments_mu_b"] == full["moments_mu_b"] == [1.0, 0.0, 1.0, 0.0]
    assert plain["parameters"]["spinpol"]
    assert plain["parameters"]["setups"] == {}
    assert "poissonsolver" not in plain["parameters"]
    assert full["parameters"]["setups"] == {"V": ":d,3.25,0"}
    assert full["parameters"]["poissonsolver"] == {"dipolelayer": "xy"}
    assert full["pbc"] == [True, True, False]


def test_the_charge_of_the_cell_is_asked_for() -> None:
    given = pair()
    ion = Structure(given.lattice, given.species, given.frac_coords, charge=1, properties=given.properties)
    assert asked("pbe", ion)["parameters"]["charge"] == 1.0


@pytest.mark.parametrize("shift", [0.0, 0.4, 0.55, 0.95])
def test_a_slab_with_a_dipole_layer_stands_mid_cell_wherever_it_was(shift: float) -> None:
    """The same crystal: distances stay; and no atom is near the face that the layer is on."""
    given = slab(shift)
    heights = np.array(asked("pbe+u+d3", given)["positions_ang"])[:, 2]
    assert heights.min() == pytest.approx(11.0 - 1.1)
    assert heights.max() == pytest.approx(11.0 + 1.1)
    assert np.array(asked("pbe", given)["positions_ang"]) == pytest.approx(given.cart_coords)


def test_a_dipole_layer_wants_the_vacuum_along_the_third_vector() -> None:
    turned = Structure(Lattice.orthorhombic(22.0, 4.0, 4.0), ["V", "O"], [[0, 0, 0], [0.1, 0.5, 0.5]])
    with pytest.raises(StructureError, match="third lattice vector"):
        asked("pbe+u+d3", turned)


def test_a_level_without_its_block_is_refused() -> None:
    level = CATALOGUE.level("pbe").model_copy(update={"gpaw": None})
    with pytest.raises(InputError, match="no gpaw block"):
        GpawEngine.for_cathode(CATALOGUE.engine_spec("gpaw"), level, None)


def test_levels_of_other_engines_are_stored_as_they_were() -> None:
    """Their jobs keep their identity."""
    assert "gpaw" not in CATALOGUE.level("chgnet+d3").model_dump()
    assert "gpaw" in CATALOGUE.level("pbe").model_dump()


@pytest.mark.parametrize(
    ("found", "sound"),
    [
        ([0.95, 0.0, 1.05], True),
        ([0.95, 0.02, 0.10], False),  # one ion lost its moment: the plateau at 7 of 8 mu_B
        ([0.95, 0.02, -0.98], False),  # one turned
    ],
)
def test_a_state_of_another_magnetic_order_is_refused(found: list[float], sound: bool) -> None:
    if sound:
        inputs.check_order("slab", [1.0, 0.0, 1.0], found)
        return
    with pytest.raises(EngineError, match="atom 2"):
        inputs.check_order("slab", [1.0, 0.0, 1.0], found)


def test_zero_damping_is_another_correction_with_a_name_of_its_own() -> None:
    atoms = pair().to_ase_atoms()
    energies = []
    for method in ("d3bj", "d3zero"):
        atoms.calc = dispersion_calculator(Dispersion(method=method))
        energies.append(atoms.get_potential_energy())
    assert energies[0] != pytest.approx(energies[1], rel=0.05)
    assert Dispersion(method="d3zero").label == "D3(0), PBE parameters"


@pytest.mark.parametrize(
    ("code", "text", "cause"),
    [
        (1, "ModuleNotFoundError: No module named 'gpaw'", "gpaw_missing"),
        (127, "FileNotFoundError: [Errno 2] No such file or directory: 'mpiexec'", "no_mpi"),
        (-9, "", "out_of_memory"),
        (137, "", "out_of_memory"),
        (1, "numpy.core._exceptions._ArrayMemoryError: MemoryError", "out_of_memory"),
        (-15, "", "killed"),
        (1, "something else", "other"),
    ],
)
def test_the_end_of_a_silent_program_has_a_class_and_a_remedy(code: int, text: str, cause: str) -> None:
    assert process.cause_of_end(code, text) == cause
    error = process.failure(cause, "what")
    assert error.failure.cause == cause
    assert error.failure.kind is not FailureClass.OTHER
    assert error.remedy


def test_a_python_without_gpaw_is_named_with_the_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setup.COMMAND_VARIABLE, f"{sys.executable} -I")
    with pytest.raises(EngineError, match="gpaw_missing") as caught:
        relaxed(tmp_path)
    assert "pip install" in caught.value.remedy


def test_no_command_and_a_wrong_one_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv(setup.COMMAND_VARIABLE, raising=False)
    with pytest.raises(EngineError, match="not set up"):
        setup.command()
    monkeypatch.setenv(setup.COMMAND_VARIABLE, "/no/such/python")
    with pytest.raises(EngineError, match="no program '/no/such/python'"):
        setup.command()


@pytest.mark.usefixtures("stand_in")
def test_a_relaxation_goes_to_rest_and_keeps_every_step(tmp_path: Path) -> None:
    done = relaxed(tmp_path)
    assert done.ionic_converged
    assert done.structure.get_distance(0, 1) == pytest.approx(0.75, abs=2e-3)
    lines = (tmp_path / process.JOURNAL).read_text(encoding="utf-8").splitlines()
    kept = [a for a in map(json.loads, lines) if a["kind"] == "step"]
    assert len(kept) == len(done.energies_ev) > 2
    assert done.provenance.versions["gpaw"] == "stand-in"


@pytest.mark.usefixtures("stand_in")
def test_a_rank_has_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the worker shares out: threads of the linear algebra beside the ranks wait for one another."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    relaxed(tmp_path)
    threads = json.loads((tmp_path / "threads.json").read_text(encoding="utf-8"))
    assert threads == {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.mark.usefixtures("stand_in")
def test_a_lost_moment_stops_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOMENTS", "[0.0, 0.1]")
    structure = pair()
    structure.add_site_property("magmom", [0.0, 1.0])
    structure.properties["system"] = "bulk"
    with pytest.raises(EngineError, match="the level's order"):
        CATALOGUE.engine("pbe-400+d3").relax("pair").compute(structure, tmp_path)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("after", ["0", "1"])
@pytest.mark.parametrize("step", [0, 1, 3])
def test_a_killed_relaxation_ends_as_if_it_had_never_been(tmp_path: Path, step: int, after: str) -> None:
    whole = relaxed(tmp_path / "whole")
    job = tmp_path / "job"
    first = job / "attempt-1"
    code = (
        "import sys; sys.path[:0] = ['tests/unit/engines']\n"
        "from pathlib import Path; import test_gpaw as t\n"
        f"t.setup.DRIVER = t.STAND_IN; t.relaxed(Path({str(first)!r}))"
    )
    env = {**os.environ, "DIE_AT": str(step), "DIE_AFTER_ANSWER": after}
    killed = subprocess.run([sys.executable, "-c", code], cwd=STAND_IN.parents[2], env=env, check=False)
    assert killed.returncode == -9
    with (first / process.JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write('{"kind": "step", "torn')
    again = relaxed(job / "attempt-2")
    assert again.energies_ev == whole.energies_ev
    assert np.array_equal(again.structure.frac_coords, whole.structure.frac_coords)
    computed = sum(len(file.read_text(encoding="utf-8").split()) for file in job.glob("*/computed"))
    assert computed <= len(whole.energies_ev) + 1
    recorded = step + int(after)
    begun = f"resumed after {recorded} ionic steps" if recorded else "began with the density"
    assert again.corrections == (f"{begun} of attempt-1",)


@pytest.mark.usefixtures("stand_in")
def test_of_attempts_that_came_as_far_one_with_a_density_is_gone_on_with(tmp_path: Path) -> None:
    relaxed(tmp_path / "attempt-1")
    relaxed(tmp_path / "attempt-2")
    assert relaxed(tmp_path / "attempt-3").corrections[0].endswith("of attempt-1")


@pytest.mark.usefixtures("stand_in")
def test_a_step_in_another_magnetic_order_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structure = pair()
    structure.add_site_property("magmom", [0.0, 1.0])
    structure.properties["system"] = "bulk"
    maker: Any = CATALOGUE.engine("pbe-400+d3").relax("pair")
    attempts = [tmp_path / f"attempt-{k}" for k in (1, 2)]
    for attempt, moments in zip(attempts, ("[0.0, 0.1]", "[0.0, 0.9]"), strict=True):
        attempt.mkdir()
        monkeypatch.setenv("MOMENTS", moments)
        if attempt == attempts[0]:
            with pytest.raises(EngineError, match="the level's order"):
                maker.compute(structure, attempt)
        else:
            assert maker.compute(structure, attempt).corrections == ()


@pytest.mark.usefixtures("stand_in")
def test_an_attempt_at_another_level_is_not_gone_on_with(tmp_path: Path) -> None:
    relaxed(tmp_path / "attempt-1", "pbe-400+d3")
    other = relaxed(tmp_path / "attempt-2", "pbe+d3")
    assert other.corrections == ()
