"""The Wulff construction: solids that are known by heart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from epilayer.analysis.wulff import CrystalClass, face_area, wulff_shape
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import Refusal, RefusalCode, Status
from epilayer.model.surface import SurfaceEnergy, WulffFacet, WulffShape

LEVEL = LevelOfTheory(name="a", kind=EngineKind.MLIP, method="a")
MILLERS = {"100": (1, 0, 0), "001": (0, 0, 1), "110": (1, 1, 0), "111": (1, 1, 1), "101": (1, 0, 1)}


def crystal(lattice: Lattice) -> CrystalClass:
    found = spglib.get_symmetry_dataset((lattice.matrix, [[0, 0, 0]], [1]))
    return CrystalClass(lattice.matrix, np.unique(found.rotations, axis=0), found.pointgroup)


CUBIC = crystal(Lattice.cubic(4.0))
TETRAGONAL = crystal(Lattice.tetragonal(6.38, 10.62))


def surface(facet: str, gamma_j_per_m2: float | None, **changes: Any) -> SurfaceEnergy:  # noqa: ANN401
    refused = gamma_j_per_m2 is None
    reason = Refusal(code=RefusalCode.REBUILT, subject="slab", what="the slab broke", remedy="look")
    fields: dict[str, Any] = {
        "cathode": "x",
        "facet": facet,
        "termination": f"{facet}-t0",
        "ordering": "ordered",
        "level": LEVEL,
        "status": Status.REFUSED if refused else Status.CERTIFIED,
        "surface_energy_j_per_m2": gamma_j_per_m2,
        "surface_energy_ev_per_ang2": None if gamma_j_per_m2 is None else gamma_j_per_m2 / 16.02,
        "uncertainty_j_per_m2": None if refused else 0.0,
        "thickness_change_j_per_m2": None,
        "without_dispersion_j_per_m2": None,
        "unrelaxed_j_per_m2": gamma_j_per_m2,
        "refusals": (reason,) if refused else (),
        "thicknesses": (),
        "area_ang2": 16.0,
        "broken_bonds_per_nm2": {},
        "tasker": "I",
        "moved": "",
        "largest_move_ang": 0.1,
        "largest_mover": "X0",
        "legs": (),
        "structure": Structure(Lattice.cubic(4.0), ["Cu"], [[0, 0, 0]]),
        "code_version": "1",
        "parameters": {},
    }
    return SurfaceEnergy(**(fields | changes))


def shape(made_of: CrystalClass, gammas: dict[str, float | None]) -> WulffShape:
    return wulff_shape([surface(f, g) for f, g in gammas.items()], MILLERS, made_of)


def facets(made: WulffShape) -> dict[str, WulffFacet]:
    return {f.facet: f for f in made.facets}


def test_equal_gammas_of_100_make_a_cube() -> None:
    made = shape(CUBIC, {"100": 0.8})
    (face,) = made.facets
    assert (face.faces, face.corners, face.outline) == (6, 4, "square")
    assert face.area_fraction == pytest.approx(1.0)
    assert [face_area(f.corners_j_per_m2) for f in made.faces] == pytest.approx([4 * 0.8**2] * 6)
    assert made.mean_surface_energy_j_per_m2 == pytest.approx(0.8)


def test_the_regular_truncated_octahedron() -> None:
    found = facets(shape(CUBIC, {"100": 1.0, "111": np.sqrt(3) / 2}))
    assert (found["100"].corners, found["111"].corners) == (4, 6)
    assert found["111"].aspect_ratio == pytest.approx(1.0)
    assert found["100"].area_fraction == pytest.approx(6 / (6 + 12 * np.sqrt(3)))


def test_a_tetragonal_crystal_shows_square_and_rectangular_faces() -> None:
    found = facets(shape(TETRAGONAL, {"001": 1.0, "100": 2.0}))
    assert found["001"].outline == "square"
    assert found["100"].outline == "rectangle"
    assert (found["001"].faces, found["100"].faces) == (2, 4)
    assert found["100"].aspect_ratio == pytest.approx(2.0)
    assert found["001"].area_fraction == pytest.approx(0.5)


def test_miller_indices_are_those_of_the_lattice() -> None:
    """In a cell with c = 10.62, a = 6.38 the normal of (101) leans toward a, not along the diagonal."""
    normal = TETRAGONAL.normal((1, 0, 1))
    assert normal[0] / normal[2] == pytest.approx(10.62 / 6.38)
    assert len(TETRAGONAL.faces((1, 0, 1))) == 8


def test_a_facet_that_costs_too_much_does_not_show() -> None:
    found = facets(shape(CUBIC, {"100": 1.0, "111": 1.8}))
    assert (found["111"].area_fraction, found["111"].outline) == (0.0, "does not show")
    assert found["111"].aspect_ratio is None


def test_a_facet_that_just_touches_an_edge_does_not_show() -> None:
    found = facets(shape(CUBIC, {"100": 1.0, "110": np.sqrt(2)}))
    assert found["110"].area_fraction == 0.0
    assert found["100"].outline == "square"


def test_the_lowest_certified_termination_counts_and_refused_ones_are_named() -> None:
    records = [
        surface("100", 1.2, termination="100-t0.75"),
        surface("100", 0.9, termination="100-t0.25"),
        surface("001", 1.0),
        surface("001", None, termination="001-t0.5"),
    ]
    made = wulff_shape(records, MILLERS, TETRAGONAL)
    assert facets(made)["100"].termination == "100-t0.25"
    assert made.left_out == ("001-t0.5: the slab broke",)
    assert made.status is Status.CERTIFIED


def test_uncertainty_of_gamma_widens_the_share() -> None:
    records = [surface("001", 1.0, uncertainty_j_per_m2=0.1), surface("100", 1.0)]
    found = facets(wulff_shape(records, MILLERS, TETRAGONAL))["001"]
    # A prism of height h and width w: 2 w^2 of 2 w^2 + 4 w h.
    assert found.area_fraction == pytest.approx(1 / 3)
    assert found.low_area_fraction == pytest.approx(1 / (1 + 2 * 1.1))
    assert found.high_area_fraction == pytest.approx(1 / (1 + 2 * 0.9))


@pytest.mark.parametrize(
    ("gammas", "code", "said"),
    [
        ({"001": 1.0}, RefusalCode.SHAPE_NOT_CLOSED, "do not close"),
        ({"001": 1.0, "100": 0.0}, RefusalCode.SHAPE_NOT_CLOSED, "zero or less"),
        ({"001": 1.0, "100": None}, RefusalCode.FACET_WITHOUT_VALUE, "(100)"),
    ],
)
def test_refusals(gammas: dict[str, float | None], code: RefusalCode, said: str) -> None:
    made = shape(TETRAGONAL, gammas)
    assert made.status is Status.REFUSED
    assert made.facets == ()
    assert [r.code for r in made.refusals] == [code]
    assert said in made.refusals[0].what


def test_two_levels_do_not_make_a_shape() -> None:
    other = LEVEL.model_copy(update={"method": "b"})
    with pytest.raises(ValueError, match="one level"):
        wulff_shape([surface("001", 1.0), surface("100", 1.0, level=other)], MILLERS, TETRAGONAL)


GAMMA = st.floats(0.3, 2.0)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(a=GAMMA, b=GAMMA, c=GAMMA, d=GAMMA)
def test_every_shape_is_closed_and_no_face_lies_further_out_than_its_energy(
    a: float, b: float, c: float, d: float
) -> None:
    gammas = {"001": a, "100": b, "110": c, "101": d}
    made = shape(TETRAGONAL, gammas)
    assert sum(f.area_fraction for f in made.facets) == pytest.approx(1.0)
    # The vector area of a closed surface is zero, face by face.
    total = np.zeros(3)
    for face in made.faces:
        normal = TETRAGONAL.normal(face.miller)
        total += normal * face_area(face.corners_j_per_m2)
        for corner in face.corners_j_per_m2:
            assert np.dot(normal, corner) == pytest.approx(gammas[face.facet], rel=1e-6)
    corners = np.array([corner for face in made.faces for corner in face.corners_j_per_m2])
    for facet, gamma in gammas.items():
        for miller in TETRAGONAL.faces(MILLERS[facet]):
            assert (corners @ TETRAGONAL.normal(miller)).max() <= gamma * (1 + 1e-6)
    assert total == pytest.approx(np.zeros(3), abs=1e-6)
    twice = shape(TETRAGONAL, {f: 2 * g for f, g in gammas.items()})
    assert [f.area_fraction for f in twice.facets] == pytest.approx([f.area_fraction for f in made.facets])
