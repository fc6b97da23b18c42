"""Properties of every cut of every crystal: nothing is lost, and no polar slab is called non-polar."""

from __future__ import annotations

from collections import Counter
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from epilayer.model.cathode import Facet
from epilayer.model.errors import StructureError
from epilayer.structures import crystals, cutting, slabs

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUIET = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)
FRACTION = st.integers(0, 47).map(lambda n: n / 48)
POINT = st.tuples(FRACTION, FRACTION, FRACTION)
MILLER = st.tuples(*[st.integers(-2, 2)] * 3).filter(lambda m: gcd(*m) == 1)
SALTS = st.sampled_from([("Na+", "Cl-", 1), ("Mg2+", "O2-", 1), ("Ca2+", "F-", 2), ("Li+", "O2-", 0.5)])


@st.composite
def crystals_of_ions(draw: st.DrawFn, *, inversion: bool | None = None) -> Structure:
    """Draw a triclinic salt, with or without an inversion centre, whose ions do not overlap."""
    lengths = [draw(st.floats(4.5, 8.0)) for _ in range(3)]
    angles = [draw(st.floats(70.0, 110.0)) for _ in range(3)]
    lattice = Lattice.from_parameters(*lengths, *angles)
    assume(lattice.volume > 0.6 * np.prod(lengths))
    cation, anion, ratio = draw(SALTS)
    n_cation, n_anion = (2, round(2 * ratio)) if ratio >= 1 else (2, 1)
    centred = draw(st.booleans()) if inversion is None else inversion
    species, coords = [], []
    for ion, count in ((cation, n_cation), (anion, n_anion)):
        for _ in range(count):
            point = np.array(draw(POINT))
            species += [ion, ion] if centred else [ion]
            coords += [point, -point] if centred else [point]
    structure = Structure(lattice, species, coords)
    distances = structure.distance_matrix + 10 * np.eye(len(structure))
    assume(distances.min() > 1.4)
    try:
        crystals.check(structure, "drawn", ordered=True)
    except StructureError:
        assume(condition=False)
    # A doubled cell is another crystal; the independent formula below wants the primitive one.
    assume(len(structure.get_primitive_structure(tolerance=0.05)) == len(structure))
    return structure


def independent_dipole(
    structure: Structure, miller: tuple[int, int, int], height_ang: float
) -> tuple[float, float]:
    """Dipole per repeat and area, from the height of every ion above the cut and nothing else."""
    spacing = structure.lattice.d_hkl(miller)
    heights = (structure.frac_coords @ np.array(miller) * spacing - height_ang) % spacing
    charges = np.array([s.specie.oxi_state for s in structure])
    return float(charges @ heights), structure.volume / spacing


def dipole(structure: Structure) -> float:
    return float(sum(s.specie.oxi_state * s.coords[2] for s in structure))


@QUIET
@given(structure=crystals_of_ions(), miller=MILLER)
def test_every_reported_dipole_is_that_of_the_ions_above_the_cut(
    structure: Structure, miller: tuple[int, int, int]
) -> None:
    for cut in slabs.terminations(structure, miller, keep=[]):
        expected, area = independent_dipole(structure, miller, cut.height_ang)
        assert abs(cut.dipole_e_ang - expected) < 1e-6
        assert (cut.tasker == "III") == (abs(expected) / area > slabs.POLAR_E_PER_ANG)
        assert cut.whole


@QUIET
@given(
    structure=crystals_of_ions(),
    miller=MILLER,
    thickness_ang=st.floats(3.0, 9.0),
    width_ang=st.sampled_from([1.0, 7.0]),
)
def test_no_admissible_slab_is_polar_or_has_lost_an_atom(
    structure: Structure, miller: tuple[int, int, int], thickness_ang: float, width_ang: float
) -> None:
    facet = Facet(miller=miller, thickness_ang=thickness_ang, min_width_ang=width_ang)
    try:
        found = slabs.admissible_of(structure, facet, keep=[])
    except StructureError as refusal:
        assert refusal.remedy  # noqa: PT017  (a refusal must say what to do)
        assert "defect of epilayer" not in refusal.remedy  # noqa: PT017
        event("refused")
        return
    formula = Counter(s.specie.symbol for s in structure)
    event("compensated" if found[0].compensated else "as cut")
    for slab in found:
        cut = slab.structure
        ions = Counter(s.specie.symbol for s in cut)
        assert all(ions[e] * len(structure) == n * len(cut) for e, n in formula.items())
        assert sum(s.specie.oxi_state for s in cut) == 0
        assert abs(dipole(cut)) / slab.area_ang2 <= slabs.POLAR_E_PER_ANG
        assert slab.thickness_ang >= thickness_ang - 0.01
        assert np.isclose(
            slab.area_ang2, cut.lattice.a * cut.lattice.b * np.sin(np.radians(cut.lattice.gamma))
        )
        assert np.allclose(cut.lattice.matrix[2, :2], 0)
        # The density of the slab is that of the crystal: no ion doubled, none on top of another.
        volume = slab.area_ang2 * slab.thickness_ang
        assert np.isclose(len(cut) / volume, len(structure) / structure.volume, rtol=1e-6)
        distances = cut.distance_matrix + 10 * np.eye(len(cut))
        assert distances.min() > 1.3
        crystals.check(cut, "slab", ordered=True)


@QUIET
@given(structure=crystals_of_ions(inversion=True), miller=MILLER)
def test_turning_the_crystal_over_changes_nothing(structure: Structure, miller: tuple[int, int, int]) -> None:
    """(hkl) and its opposite are the same faces of a centrosymmetric crystal."""
    opposite = tuple(-i for i in miller)
    up = sorted(round(abs(t.dipole_e_ang), 5) for t in slabs.terminations(structure, miller, keep=[]))
    down = sorted(round(abs(t.dipole_e_ang), 5) for t in slabs.terminations(structure, opposite, keep=[]))  # type: ignore[arg-type]
    assert np.allclose(up, down, atol=1e-4)


def _drawn_polyanions(points: NDArray[np.float64], lattice: Lattice) -> Structure:
    """Put rigid SO4 tetrahedra at points and enough Na+ elsewhere to be neutral."""
    shape = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 1.47 / np.sqrt(3)
    species, coords = [], []
    for point in points[:2]:
        centre = lattice.get_cartesian_coords(point)
        species += ["S6+"] + ["O2-"] * 4
        coords += [centre, *(centre + shape)]
    for point in points[2:]:
        species.append("Na+")
        coords.append(lattice.get_cartesian_coords(point))
    return Structure(lattice, species, coords, coords_are_cartesian=True)


@QUIET
@given(points=st.lists(POINT, min_size=6, max_size=6, unique=True), miller=MILLER)
def test_tetrahedra_stay_whole_whatever_the_plane(
    points: list[tuple[float, float, float]], miller: tuple[int, int, int]
) -> None:
    lattice = Lattice.from_parameters(9.1, 8.3, 9.8, 88, 97, 93)
    structure = _drawn_polyanions(np.array(points), lattice)
    distances = structure.distance_matrix + 10 * np.eye(len(structure))
    assume(distances.min() > 1.45)
    sulfur = [i for i, s in enumerate(structure) if s.specie.symbol == "S"]
    assume(
        all(
            sum(structure.get_distance(i, j) < 2.2 for j in range(len(structure)) if j != i) == 4
            for i in sulfur
        )
    )
    oxygen = [i for i, s in enumerate(structure) if s.specie.symbol == "O"]
    assume(all(structure.get_distance(i, j) > 2.2 for i in oxygen for j in oxygen if i < j))
    try:
        found = slabs.admissible_of(structure, Facet(miller=miller, thickness_ang=4.0, min_width_ang=1.0))
    except StructureError:
        return
    for slab in found:
        for site in slab.structure:
            if site.specie.symbol == "S":
                assert sum(n.specie.symbol == "O" for n in slab.structure.get_neighbors(site, 1.6)) == 4
        assert abs(dipole(slab.structure)) / slab.area_ang2 <= slabs.POLAR_E_PER_ANG


@given(
    rows=st.tuples(*[st.integers(-4, 4)] * 4).filter(lambda m: m[0] * m[3] != m[1] * m[2]),
    at=st.tuples(st.integers(-20, 20), st.integers(-20, 20)),
)
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_wrapping_is_exact(rows: tuple[int, int, int, int], at: tuple[int, int]) -> None:
    """Every lattice point has one home in the supercell, its translates share it, and none is missing."""
    multiple = np.array(rows).reshape(2, 2)
    cosets = cutting.in_plane_cosets(multiple)
    assert len(cosets) == abs(round(np.linalg.det(multiple)))
    home = cutting.wrap((0, *at, 0), multiple)
    assert home[1:3] in cosets
    moved = np.array(at) + multiple[0] - 2 * multiple[1]
    assert cutting.wrap((0, int(moved[0]), int(moved[1]), 0), multiple) == home
