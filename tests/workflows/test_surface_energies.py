"""Surface energies and the Wulff shape through the command line, with real workers and a pair potential."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from epilayer import Study
from epilayer.model.records import Status
from epilayer.store.records import record_of
from epilayer.store.results import open_results

HERE = Path(__file__).parent
PROGRAM = [sys.executable, "-c", "from epilayer.cli import main; main()"]
SALT = """\
name: salt
formula: NaCl
source: rock salt, as every textbook has it
crystal:
  source: rock salt, a = 5.64 A, as every textbook has it
  space_group: Fm-3m
  lattice: {a_ang: 5.64}
  sites:
    - {element: Na, wyckoff: 4a, xyz: [0, 0, 0]}
    - {element: Cl, wyckoff: 4b, xyz: [0.5, 0.5, 0.5]}
oxidation_states: {Na: 1, Cl: -1}
facets:
  - {miller: [1, 0, 0], thickness_ang: 11.0}
  - {miller: [1, 1, 0], thickness_ang: 11.0}
"""
WORKFLOW = '''\
"""Surface energies of rock salt by a pair potential."""

from lennard_jones_engine import LennardJonesEngine

from epilayer.flows.surfaces import SurfaceEnergyMaker, SurfaceSettings


def build(catalogue, *, facets: tuple[str, ...] = ("100", "110"), thicknesses: int = 2):
    engine = LennardJonesEngine(catalogue.engine_spec("toy"), catalogue.level("toy"))
    settings = SurfaceSettings(thicknesses=thicknesses)
    return SurfaceEnergyMaker(engines=(engine,), settings=settings).make(catalogue.cathode("salt"), facets)
'''


def epilayer(study: Path, *arguments: str, code: int = 0) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "160", "PYTHONPATH": str(HERE)}
    environment["PYTHONPATH"] += os.pathsep + os.environ.get("PYTHONPATH", "")
    command = [*PROGRAM, "-C", str(study), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def records(study: Path, kind: str) -> list[Any]:
    results = open_results(Study.open(study).results_file)
    try:
        return [record_of(r) for r in results.query(kind, limit=None, body=True)]
    finally:
        results.close()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = tmp_path_factory.mktemp("surfaces")
    for folder in ("configs/cathodes", "workflows"):
        (study / folder).mkdir(parents=True)
    (study / "epilayer.yaml").write_text("workers: 1\n")
    (study / "configs" / "cathodes" / "salt.yaml").write_text(SALT)
    (study / "workflows" / "salt.py").write_text(WORKFLOW)
    epilayer(study, "run", "salt")
    return study


def test_every_admissible_termination_gets_an_energy_and_the_cube_face_is_lowest(done: Path) -> None:
    energies = {e.facet: e for e in records(done, "surface")}
    assert set(energies) == {"100", "110"}
    assert all(e.status is Status.CERTIFIED for e in energies.values())
    assert 0 < energies["100"].surface_energy_j_per_m2 < energies["110"].surface_energy_j_per_m2
    for energy in energies.values():
        assert [t.atoms for t in energy.thicknesses] == sorted(t.atoms for t in energy.thicknesses)
        assert len(energy.thicknesses) == 2
        # A pair potential of short reach: the second thickness changes next to nothing.
        assert abs(energy.thickness_change_j_per_m2) < 0.01
        assert energy.surface_energy_j_per_m2 <= energy.unrelaxed_j_per_m2
        assert energy.level.stand_in


def test_the_shape_is_that_of_the_energies(done: Path) -> None:
    (shape,) = records(done, "wulff")
    gamma = {f.facet: f.surface_energy_j_per_m2 for f in shape.facets}
    assert shape.point_group == "m-3m"
    shares = {f.facet: f.area_fraction for f in shape.facets}
    assert sum(shares.values()) == pytest.approx(1.0)
    # (110) cuts the edges of the cube only where it costs less than sqrt(2) times as much.
    assert (shares["110"] > 0) == (gamma["110"] < 2**0.5 * gamma["100"])


def test_the_command_shows_the_energies_and_draws_the_shape(done: Path) -> None:
    text = epilayer(done, "surfaces", "-o", str(done / "wulff.png"))
    assert "100-t" in text
    assert "Wulff shape (m-3m)" in text
    assert (done / "wulff.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads(epilayer(done, "surfaces", "--json"))
    assert {e["facet"] for e in told["surface_energies"]} == {"100", "110"}
    assert told["shapes"][0]["facets"][0]["outline"]
    shown = epilayer(done, "query", "surface", "--where", "facet=100")
    assert "certified" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("surfaces", "-o", "wulff.doc"), "cannot tell the format"),
        (("surfaces", "--cathode", "slat"), "Did you mean 'salt'?"),
        (("submit", "salt", "--set", "facets=100,100"), "names the facet '100' twice"),
        (("submit", "salt", "--set", "thicknesses=9"), "less than or equal to 3"),
        (("submit", "salt", "--set", "facets=000"), "names no plane"),
    ],
)
def test_bad_input_is_one_line_with_a_remedy(done: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in epilayer(done, *arguments, code=2).replace("\n       ", " ")
