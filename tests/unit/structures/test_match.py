"""Epitaxial match: lattices whose match is known, strains that are put in and found again, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from epilayer.model.errors import StructureError
from epilayer.structures import match

TOP = (0, 0, 1)


def cubic(edge_ang: float) -> Structure:
    return Structure(Lattice.cubic(edge_ang), ["Po"], [[0, 0, 0]])


def top(structure: Structure) -> match.Plane:
    return match.plane_of(structure, TOP)


def test_a_lattice_fits_its_own_sqrt2_supercell_without_strain() -> None:
    large = Structure(Lattice.tetragonal(5 * np.sqrt(2), 5.0), ["Po"], [[0, 0, 0]])
    (best, *_) = match.matches(top(large), top(cubic(5.0)), max_area_ang2=200)
    assert (best.cells, best.mof_cells) == (1, 2)
    assert best.area_ang2 == pytest.approx(50)
    assert best.principal == pytest.approx((0, 0), abs=1e-9)
    assert best.von_mises == pytest.approx(0, abs=1e-9)
    assert abs(np.linalg.det(np.array(best.mof_transformation))) == pytest.approx(2)


def test_a_square_on_itself_is_one_cell_on_one() -> None:
    found = match.matches(top(cubic(6.0)), top(cubic(6.0)), max_area_ang2=300)
    assert len(found) == 1
    assert (found[0].cells, found[0].mof_cells) == (1, 1)


@settings(max_examples=25, deadline=None)
@given(
    e1=st.floats(-0.03, 0.03),
    e2=st.floats(-0.03, 0.03),
    edge_ang=st.floats(5.0, 8.0),
    ratio=st.floats(1.05, 1.6),
)
def test_the_strain_between_two_rectangles_is_found_again(
    e1: float, e2: float, edge_ang: float, ratio: float
) -> None:
    a, b = edge_ang, edge_ang * ratio
    mof = Structure(Lattice.orthorhombic(a, b, 7.0), ["Po"], [[0, 0, 0]])
    cathode = Structure(Lattice.orthorhombic(a * (1 + e1), b * (1 + e2), 9.0), ["Po"], [[0, 0, 0]])
    plane = top(mof)
    found = match.matches(top(cathode), plane, max_area_ang2=1.5 * a * b, max_strain=0.05)
    assert all(m.area_mismatch == pytest.approx(m.area_ang2 / m.mof_area_ang2 - 1) for m in found)
    one = [m for m in found if (m.cells, m.mof_cells) == (1, 1)]
    assert one
    least = min(abs(np.array(m.principal) - np.array(sorted((e1, e2)))).max() for m in one)
    assert least < 1e-9
    area = (1 + one[0].principal[0]) * (1 + one[0].principal[1])
    assert area == pytest.approx(one[0].area_ang2 / one[0].mof_area_ang2)


def test_the_strained_framework_has_the_cell_of_the_facet_and_keeps_its_thickness() -> None:
    mof = Structure.from_spacegroup("Fd-3m", Lattice.cubic(17.0), ["C"], [[0.125, 0.125, 0.125]], tol=0.01)
    plane = match.plane_of(mof, (1, 1, 1))
    (best, *_) = match.matches(match.plane_of(cubic(6.2), TOP), plane, max_area_ang2=700)
    strained = match.strained(mof, plane, best.strain)
    # The same lattice vectors lie in the plane, and their supercell has the area of the cathode's.
    turned = match.plane_of(strained, (1, 1, 1))
    assert turned.area_ang2 * best.mof_cells == pytest.approx(best.area_ang2)
    assert turned.repeat_ang == pytest.approx(plane.repeat_ang)
    thicker = match.strained(mof, plane, best.strain, normal_strain=0.03)
    assert match.plane_of(thicker, (1, 1, 1)).repeat_ang == pytest.approx(1.03 * plane.repeat_ang)
    assert np.allclose(strained.frac_coords, mof.frac_coords)


def test_no_match_is_beaten_by_another_in_area_and_strain() -> None:
    found = match.matches(top(cubic(6.38)), top(cubic(8.7)), max_area_ang2=900)
    by_area = sorted(found, key=lambda m: m.area_ang2)
    strains = [m.von_mises for m in by_area]
    assert strains == sorted(strains, reverse=True)
    assert len(found) > 1
    good = [m for m in by_area if m.largest <= match.GOOD_STRAIN]
    assert found[0] is (good[0] if good else by_area[-1])


def test_von_mises_is_that_of_pymatgen() -> None:
    from pymatgen.analysis.elasticity.strain import Strain

    one = match.matches(top(cubic(6.1)), top(cubic(6.0)), max_area_ang2=50)[0]
    full = np.zeros((3, 3))
    full[:2, :2] = one.strain
    assert one.von_mises == pytest.approx(float(Strain(full).von_mises_strain))


@pytest.mark.parametrize(
    ("structure", "families"),
    [(cubic(5.0), {(0, 0, 1), (0, 1, 1), (1, 1, 1)})],
)
def test_planes_that_symmetry_relates_are_one_family(
    structure: Structure, families: set[tuple[int, int, int]]
) -> None:
    assert set(match.low_index_planes(structure)) == families
    tetragonal = Structure(Lattice.tetragonal(4, 7), ["Po"], [[0, 0, 0]])
    assert len(match.low_index_planes(tetragonal)) == 5


def test_what_does_not_fit_is_refused_with_a_remedy() -> None:
    with pytest.raises(StructureError, match=r"No supercell.*Allow a larger cell"):
        match.matches(top(cubic(5.0)), top(cubic(7.9)), max_area_ang2=80, max_strain=0.01)
    with pytest.raises(StructureError, match=r"one cell already has 100 A2.*--max-area"):
        match.matches(top(cubic(5.0)), top(cubic(10.0)), max_area_ang2=60)
    with pytest.raises(StructureError, match="names no plane"):
        match.plane_of(cubic(5.0), (0, 0, 0))
