"""Single points at geometries from files, and the demonstration of density-functional theory as a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ase.io import write
from jobflow import run_locally
from pymatgen.core import Lattice, Molecule, Structure

from epilayer import Study
from epilayer.engines.vasp.inputs import system_kind
from epilayer.flows.given import given_adsorption
from epilayer.model.errors import InputError
from epilayer.model.records import RefusalCode, Status
from epilayer.model.vasp import SystemKind
from epilayer.study.config import Catalogue, Settings, shipped
from epilayer.study.workflows import build_flow

CATALOGUE = Catalogue((shipped("configs"),))
CELL = Lattice.orthorhombic(8.424, 8.424, 18.0)
WATER = Molecule(["O", "H", "H"], [[0.0, 0.0, 6.6], [0.757, 0.0, 7.187], [-0.757, 0.0, 7.187]])


def slab() -> Structure:
    half_ang = 2.106
    places = [(i, j, k) for k in range(2) for i in range(4) for j in range(4)]
    return Structure(
        CELL,
        ["Mg" if sum(place) % 2 == 0 else "O" for place in places],
        [[half_ang * i, half_ang * j, 2.0 + half_ang * k] for i, j, k in places],
        coords_are_cartesian=True,
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Three geometries that belong together, the molecule first in the third, as some write them."""
    clean = slab()
    free = Structure(CELL, WATER.species, WATER.cart_coords, coords_are_cartesian=True)
    both = Structure.from_sites([*free, *clean])
    found = {}
    for name, structure in (("slab", clean), ("molecule", free), ("adsorbed", both)):
        found[name] = str(tmp_path / f"{name}.extxyz")
        write(found[name], structure.to_ase_atoms())
    return found


def study(files: dict[str, str], catalogue: Catalogue = CATALOGUE, **changes: Any) -> Any:  # noqa: ANN401
    asked: dict[str, Any] = {"level": "toy", "converge": (), **files, **changes}
    return given_adsorption(
        catalogue,
        level=asked["level"],
        converge=asked["converge"],
        surface="MgO",
        ligand="water",
        slab=asked["slab"],
        molecule=asked["molecule"],
        adsorbed=(asked["adsorbed"],),
    )


def outcome(flow: Any, root: Path) -> Any:  # noqa: ANN401  (an adsorption energy)
    done = run_locally(flow, create_folders=True, root_dir=root, ensure_success=True, log=False)
    return done[flow.jobs[-1].uuid][1].output


@pytest.mark.parametrize("changed", [False, True])
def test_given_geometries_become_one_certified_record(
    files: dict[str, str], tmp_path: Path, *, changed: bool
) -> None:
    """The order of the atoms in the files is of no account."""
    if changed:
        whole = CATALOGUE.structure(files["adsorbed"])
        write(files["adsorbed"], Structure.from_sites([*whole[20:], *whole[:20]]).to_ase_atoms())
    record = outcome(study(files), tmp_path)
    assert record.status is Status.CERTIFIED
    assert record.parameters["geometries"] == "as given, not relaxed"
    energies = [leg.energy_ev for leg in record.legs]
    assert record.adsorption_energy_ev == pytest.approx(energies[2] - energies[0] - energies[1])
    assert record.adsorption_energy_ev < 0
    assert (record.cathode, record.ligand) == ("MgO", "water")


def test_slab_and_pose_have_one_mesh_where_the_molecule_leaves_little_vacuum(files: dict[str, str]) -> None:
    """Read off the geometry, the pose would be a crystal, with a dense mesh along all three vectors."""
    low = Lattice.orthorhombic(8.424, 8.424, 12.5)
    for file in files.values():
        given = CATALOGUE.structure(file)
        cut = Structure(low, given.species, given.cart_coords, coords_are_cartesian=True)
        write(file, cut.to_ase_atoms())
    assert system_kind(CATALOGUE.structure(files["adsorbed"])) is SystemKind.BULK
    legs = [made.function_args[0] for made in study(files).jobs[:3]]
    assert [system_kind(leg) for leg in legs] == [SystemKind.SLAB, SystemKind.MOLECULE, SystemKind.SLAB]


def test_how_far_one_choice_moves_the_energy_is_a_record(files: dict[str, str], tmp_path: Path) -> None:
    levels = tmp_path / "levels"
    levels.mkdir()
    words = ("name: coarse", "title: a test", "parent: toy", "engine: toy", "source: a test")
    text = "\n".join([*words, "variations: {cutoff: toy}"])
    (levels / "coarse.yaml").write_text(text, encoding="utf-8")
    catalogue = Catalogue((tmp_path, shipped("configs")))
    flow = study(files, catalogue, level="coarse", converge=("cutoff",))
    assert len(flow.jobs) == 2 * 4 + 1
    record = outcome(flow, tmp_path)
    assert record.kind == "sensitivity"
    assert [(shift.axis, shift.choice) for shift in record.shifts] == [("cutoff", "toy")]
    assert record.shifts[0].shift_ev == pytest.approx(0.0)  # one potential under two names
    with pytest.raises(InputError, match="Unknown variation of the level 'coarse' 'mesh'"):
        study(files, catalogue, level="coarse", converge=("mesh",))


def test_a_pose_of_other_atoms_is_refused(files: dict[str, str], tmp_path: Path) -> None:
    whole = CATALOGUE.structure(files["adsorbed"])
    whole.remove_sites([0])
    write(files["adsorbed"], whole.to_ase_atoms())
    record = outcome(study(files), tmp_path)
    assert RefusalCode.ATOMS_NOT_BALANCED in {r.code for r in record.refusals}
    assert record.adsorption_energy_ev is None


def test_files_that_are_missing_unreadable_or_without_a_cell_are_named(
    files: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="No file is named for slab, molecule, adsorbed"):
        given_adsorption(CATALOGUE)
    with pytest.raises(InputError, match=r"nowhere\.extxyz cannot be read"):
        study(files, slab="nowhere.extxyz")
    WATER.to(str(tmp_path / "free.xyz"))
    with pytest.raises(InputError, match="states no cell"):
        study(files, molecule=str(tmp_path / "free.xyz"))


def test_the_demonstration_is_a_search_by_a_potential_and_a_relaxation_by_dft() -> None:
    flow = build_flow(Study(Path(), Settings()), "ammonia_on_mgo", (), None)
    names = [made.name for made in flow.jobs]
    assert "relax ammonia on mgo (001), pbe-400+d3" in names
    assert "report ammonia on mgo (001), pbe-400+d3" in names
