"""What stands for a reader's own files in the pages and the help: a crystal, runs, a trajectory."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.vasp import write_vasp_xdatcar

from epilayer import Study
from epilayer.structures import molecules
from epilayer.structures.crystals import framework
from epilayer.trajectory.log import TrajectoryFolder
from lobster_runs import ether, lobster, on_magnesia
from single_points import OXYGEN, SLAB, single_point

TESTS = Path(__file__).resolve().parents[1]

CATHODE_PAGE = TESTS.parent / "docs" / "how-to" / "cathode.md"
RUN = "trajectories/1f0c33d8a2b14e55"


def lay_out(folder: Path) -> None:
    """Write the files that the pages take as the reader's own into a folder."""
    cif = CATHODE_PAGE.read_text(encoding="utf-8").split("```text\n")[1].split("```")[0]
    (folder / "mine.cif").write_text(cif, encoding="utf-8")
    (folder / "molecule.xyz").write_text("2\nhydroxide\nO 0 0 0\nH 0 0 0.97\n", encoding="utf-8")
    shutil.copy(TESTS / "data" / "audit" / "as_published.yaml", folder / "facts.yaml")
    shutil.copytree(TESTS / "data" / "golden" / "paper+u+d3", folder / "inputs")
    framework(Study.open(folder).catalogue.mof("met6")).to(folder / "mof.cif")
    _bonds(folder)
    _calculations(folder)
    _dynamics(folder)


def _bonds(folder: Path) -> None:
    free, bound = ether(), on_magnesia(ether(apart_ang=1.50), list(range(9)))
    lobster(folder / "molecule", free, [(0, 1, -10.4), (1, 2, -10.6)])
    lobster(folder / "lobster", bound, [(4, 5, -8.1), (5, 6, -10.2)])
    (folder / "stretched").mkdir()
    for number in range(9):
        longer_ang = 0.03 * number
        value = -9.0 + 10.0 * longer_ang + (-1) ** number * 0.05
        lobster(folder / "stretched" / f"run{number}", ether(apart_ang=1.38 + longer_ang), [(0, 1, value)])


def _calculations(folder: Path) -> None:
    box = [("O", (1.0, 1.0, 1.0))]
    for number, (atoms, energy_ev) in enumerate(((SLAB, -12.0), (box, -1.5), ([OXYGEN, *SLAB], -16.0)), 1):
        launch = folder / "launches" / f"launcher_{number}"
        launch.parent.mkdir(exist_ok=True)
        single_point(launch, atoms, energy_ev)
        (launch / "FW.json").write_text(json.dumps({"fw_id": number, "name": f"static {number}", "spec": {}}))
    store = {"JOB_STORE": {"docs_store": {"type": "JSONStore", "paths": "outputs.json"}}}
    (folder / "jobflow.yaml").write_text(json.dumps(store), encoding="utf-8")
    outputs = [
        {"uuid": str(n), "index": 1, "output": {"dir_name": f"node7:launches/launcher_{n}"}}
        for n in (1, 2, 3)
    ]
    (folder / "outputs.json").write_text(json.dumps(outputs), encoding="utf-8")
    tree = folder / "tree"
    tree.mkdir()
    single_point(tree / "clean", SLAB, -12.0)
    single_point(tree / "box", box, -1.5, edge_ang=15.0)
    single_point(tree / "pose1", [OXYGEN, *SLAB], -16.0)
    for name in ("clean", "box", "pose1"):
        shutil.copytree(tree / name, folder / name)


def _dynamics(folder: Path) -> None:
    """Write sodium that walks past two FSI anions, as an XDATCAR, and a run of our own that goes on."""
    rng = np.random.default_rng(8)
    anion = molecules.build(Study.open(folder).catalogue.ligand("fsi"), 0)
    species = [site.specie.symbol for site in anion]
    symbols = ["Na", "Na", *species, *species, "Zn", "Zn"]
    places = anion.cart_coords - anion.cart_coords.mean(axis=0)
    start = np.vstack([[[1, 1, 1], [5, 5, 5]], places + 3.0, places + 8.5, [[0, 0, 0], [0, 6, 0]]])
    step = np.zeros((300, len(symbols), 3))
    step[1:, :2] = rng.normal(scale=0.05, size=(299, 2, 3))
    tracks = start + np.cumsum(step, axis=0)
    frames = [Atoms(symbols, positions=x, cell=np.eye(3) * 12, pbc=True) for x in tracks]
    write_vasp_xdatcar(str(folder / "XDATCAR"), frames)
    run = folder / RUN
    run.mkdir(parents=True)
    log = TrajectoryFolder().open(run, ("Na", "O", "Zn"), (22.99, 16.0, 65.4), 1.0)
    still = np.array([[1.0, 1.0, 1.0], [4.0, 4.0, 4.0], [6.0, 1.0, 3.0]])
    drift = np.array([[0.02, 0, 0], [0, 0, 0], [0, 0, 0]])
    for number in range(31):
        log.append(number, still + number * drift, np.eye(3) * 8.0, -10.0, 300.0)
    log.flush()
    about = {
        "label": "dynamics of a pore, segment 1", "level": "toy", "first_step": 0, "number": 1,
        "started_s": time.time() - 10.0, "degrees_of_freedom": 6,
        "settings": {"steps": 100, "temperature_k": 300.0}, "free": [True, True, False],
        "names": ["na", "fsi", "met6"], "molecules": [1, 2, 0],
    }  # fmt: skip
    (run / "about.json").write_text(json.dumps(about), encoding="utf-8")
