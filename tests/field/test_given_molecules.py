"""Molecules given as SMILES or mol text: those that no force field describes, and those that are none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from epilayer.model.errors import StructureError
from epilayer.structures import molecules

ETHANE_WITHOUT_HYDROGENS = """ethane
     x

  2  1  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.5000    0.0000    0.0000 C   0  0
  1  2  1  0
M  END
"""
METHANE_DRAWN = """methane
     x

  5  4  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.0000    0.0000    0.0000 H   0  0
   -1.0000    0.0000    0.0000 H   0  0
    0.0000    1.0000    0.0000 H   0  0
    0.0000   -1.0000    0.0000 H   0  0
  1  2  1  0
  1  3  1  0
  1  4  1  0
  1  5  1  0
M  END
"""


def distances(smiles: str) -> tuple[list[float], list[float]]:
    """Return the sorted distances of the central atom, and those between its neighbours, A."""
    built = molecules.build(molecules.from_text(smiles, "smiles"))
    symbols = [site.specie.symbol for site in built]
    centre = min(range(len(built)), key=lambda k: symbols.count(symbols[k]))
    x = np.asarray(built.cart_coords)
    others = [k for k in range(len(built)) if k != centre]
    return (
        sorted(float(np.linalg.norm(x[centre] - x[k])) for k in others),
        sorted(float(np.linalg.norm(x[i] - x[j])) for i, j in itertools.combinations(others, 2)),
    )


@pytest.mark.parametrize(
    ("smiles", "bond_ang"),
    [("F[P-](F)(F)(F)(F)F", 1.62), ("FS(F)(F)(F)(F)F", 1.57), ("F[As-](F)(F)(F)(F)F", 1.74)],
)
def test_six_ligands_make_an_octahedron(smiles: str, bond_ang: float) -> None:
    bonds, apart = distances(smiles)
    assert bonds == pytest.approx([bond_ang] * 6, abs=0.03)
    mean = np.mean(bonds)
    assert apart == pytest.approx([mean * 2**0.5] * 12 + [mean * 2] * 3, abs=0.03)


def test_two_lone_pairs_make_a_square() -> None:
    bonds, apart = distances("F[Xe](F)(F)F")
    assert bonds == pytest.approx([1.94] * 4, abs=0.04)
    assert apart == pytest.approx([bonds[0] * 2**0.5] * 4 + [bonds[0] * 2] * 2, abs=0.03)


@pytest.mark.parametrize(
    ("smiles", "bond_ang"),
    [("N#N", 1.10), ("O=C=O", 1.16), ("O=S=O", 1.43), ("[N-]=[N+]=[N-]", 1.18), ("[O-]Cl(=O)=O", 1.49)],
)
def test_small_molecules_have_bonds_of_their_order(smiles: str, bond_ang: float) -> None:
    built = molecules.build(molecules.from_text(smiles, "smiles"))
    x = np.asarray(built.cart_coords)
    apart = np.linalg.norm(x[:, None] - x[None], axis=2) + 9 * np.eye(len(x))
    assert apart.min() == pytest.approx(bond_ang, abs=0.03)


@pytest.mark.parametrize("smiles", ["F[B-](F)(F)F", "[O-]S(=O)(=O)[O-]", "[O-]Cl(=O)(=O)=O", "O[Al-](O)(O)O"])
def test_a_tetrahedron_stays_with_the_force_fields(smiles: str) -> None:
    built = molecules.build(molecules.from_text(smiles, "smiles"))
    assert len(molecules.bonds(built)) == len(built) - 1


@pytest.mark.parametrize("smiles", ["[*]CCO[*]", "*CC*", "C[*]"])
def test_open_ends_are_refused(smiles: str) -> None:
    with pytest.raises(StructureError, match="open ends") as refused:
        molecules.from_text(smiles, "smiles")
    assert "Close the ends" in refused.value.remedy


@pytest.mark.parametrize("smiles", ["Cl[Pt-2](Cl)(Cl)Cl", "C12C3[Fe]4561(C2C4C5C36)"])
def test_metals_whose_shape_depends_on_their_spin_are_refused(smiles: str) -> None:
    with pytest.raises(StructureError, match="does not follow from SMILES"):
        molecules.build(molecules.from_text(smiles, "smiles"))


def test_a_mol_file_without_hydrogens_or_drawn_flat_is_refused() -> None:
    with pytest.raises(StructureError, match="leaves hydrogens out"):
        molecules.from_text(ETHANE_WITHOUT_HYDROGENS, "mol")
    with pytest.raises(StructureError, match="drawing in a plane"):
        molecules.from_text(METHANE_DRAWN, "mol")


def test_the_same_seed_gives_the_same_coordinates() -> None:
    ion = molecules.from_text("F[P-](F)(F)(F)(F)F", "smiles")
    assert np.array_equal(molecules.build(ion, 3).cart_coords, molecules.build(ion, 3).cart_coords)
