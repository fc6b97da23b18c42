"""The configuration that a run began with is read back in the flow's order, whichever engine ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp.inputs import Poscar

from epilayer.outputs.vasp.initial_structure import begun_from
from epilayer.outputs.vasp.poscar import file_order

if TYPE_CHECKING:
    from pathlib import Path

ELEMENTS = ["V", "O", "Na", "O", "N", "H"]
"""A slab and a molecule on it, as flows order them: elements stand apart, which no POSCAR allows."""


@pytest.fixture
def began() -> Structure:
    chance = np.random.default_rng(3)
    return Structure(Lattice.orthorhombic(6, 7, 20), ELEMENTS, chance.uniform(0, 1, (6, 3)))


@pytest.fixture
def ended(began: Structure) -> Structure:
    moved = began.copy()
    for k in range(len(moved)):
        moved.translate_sites([k], [0.02 * k, 0.01, -0.01], to_unit_cell=False)
    moved.add_site_property("selective_dynamics", [[k > 1] * 3 for k in range(6)])
    return moved


def write(structure: Structure, path: Path) -> None:
    if path.suffix == ".extxyz":
        atoms = AseAtomsAdaptor.get_atoms(structure)
        other = atoms.copy()
        other.positions += 0.3
        for number, frame in enumerate((atoms, other)):
            frame.write(path, format="extxyz", append=number > 0)
        return
    placed = Structure.from_sites([structure[k] for k in file_order(structure)])
    if path.name.startswith("POSCAR"):
        Poscar(placed).write_file(str(path))
        return
    rows = "\n".join(f"<v> {x:.10f} {y:.10f} {z:.10f} </v>" for x, y, z in placed.frac_coords % 1)
    cell = "\n".join(f"<v> {x:.8f} {y:.8f} {z:.8f} </v>" for x, y, z in placed.lattice.matrix)
    atoms = "".join(f"<rc><c>{s.specie.symbol}</c><c>1</c></rc>" for s in placed)
    path.write_text(
        f"""<?xml version="1.0"?>
<modeling><generator><i name="program" type="string">vasp </i></generator>
<atominfo><atoms> {len(placed)} </atoms><array name="atoms"><set>{atoms}</set></array></atominfo>
<structure name="initialpos"><crystal><varray name="basis">
{cell}
</varray></crystal><varray name="positions">
{rows}
</varray></structure>
<calculation>
</calculation></modeling>
""",
        encoding="utf-8",
    )


@pytest.mark.parametrize(
    "name", ["relaxation.extxyz", "POSCAR", "POSCAR.begin", "POSCAR.orig", "vasprun.xml"]
)
def test_atoms_come_back_in_their_order_and_nearest_to_where_they_ended(
    tmp_path: Path, began: Structure, ended: Structure, name: str
) -> None:
    write(began, tmp_path / name)
    across = ended.copy()
    across.translate_sites([5], [1, 0, 0], to_unit_cell=False)  # the same atom, a cell further
    found = begun_from(tmp_path / name, across)
    assert found is not None
    assert [s.specie.symbol for s in found] == ELEMENTS
    wanted = began.frac_coords.copy()
    wanted[5, 0] += 1
    assert found.frac_coords == pytest.approx(wanted, abs=1e-7)
    assert found.site_properties["selective_dynamics"] == ended.site_properties["selective_dynamics"]


@pytest.mark.parametrize("name", ["relaxation.extxyz", "POSCAR", "vasprun.xml"])
def test_what_cannot_be_read_or_holds_other_atoms_is_none(
    tmp_path: Path, began: Structure, ended: Structure, name: str
) -> None:
    path = tmp_path / name
    assert begun_from(path, ended) is None
    path.write_text("half a", encoding="utf-8")
    assert begun_from(path, ended) is None
    path.unlink()
    other = began.copy()
    other.replace(0, "Fe")
    write(other, path)
    assert begun_from(path, ended) is None
