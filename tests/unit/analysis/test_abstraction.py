"""Hydrogens that change partner: donor, acceptor and time of made-up trajectories, paths and barriers."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from epilayer.analysis.abstraction import Barrier, barrier, hydrogen_transfers, transfer_path
from epilayer.model.bonding import BarrierMethod
from epilayer.model.errors import InputError
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.path import ReactionPath
from epilayer.model.records import Provenance

CELL = np.eye(3) * 10.0
SYMBOLS = ["C", "H", "O", "Na"]


def trajectory(reaches: list[float], shift: float = 0.0) -> np.ndarray:
    """Return C at 0, O at 2.6 A, and H between them as far along as told (0 to 1)."""
    frames = [[[0, 0, 0], [1.09 + 0.54 * x, 0, 0], [2.6, 0, 0], [0, 5, 0]] for x in reaches]
    return (np.array(frames) + shift) / 10.0


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 10), st.integers(0, 30))
def test_donor_acceptor_and_time_wherever_the_cell_begins(shift: float, at: int) -> None:
    positions = trajectory([0.0] * at + [1.0] * 40, shift) if at else trajectory([0.0] + [1.0] * 40, shift)
    (one,) = hydrogen_transfers(SYMBOLS, positions % 1.0, CELL, frame_time_fs=2.0)
    assert (one.donor, one.hydrogen, one.acceptor) == (0, 1, 2)
    assert one.frame == max(at, 1)
    assert one.time_fs == 2.0 * max(at, 1)
    assert one.frames_held == 40


def test_a_swing_is_no_transfer_and_a_return_is_one() -> None:
    swing = [0.0, 1.0, 0.0, 1.0, 1.0, 0.0] * 4
    assert hydrogen_transfers(SYMBOLS, trajectory(swing), CELL) == ()
    assert len(hydrogen_transfers(SYMBOLS, trajectory(swing), CELL, hold_frames=1)) == 16
    back = hydrogen_transfers(SYMBOLS, trajectory([0.0] * 5 + [1.0] * 6 + [0.0] * 7), CELL)
    assert [(t.donor, t.acceptor, t.frame, t.frames_held) for t in back] == [(0, 2, 5, 6), (2, 0, 11, 7)]
    assert back[0].time_fs is None


def test_halfway_belongs_to_the_donor_and_nothing_happens_at_rest() -> None:
    assert hydrogen_transfers(SYMBOLS, trajectory([0.4] * 9), CELL) == ()
    assert hydrogen_transfers(["C", "C", "O", "Na"], trajectory([0.0, 1.0, 1.0, 1.0]), CELL) == ()


@pytest.mark.parametrize(
    ("positions", "hold", "what"),
    [
        (np.zeros((3, 2, 3)), 3, "shape"),
        (np.full((3, 4, 3), np.nan), 3, "not finite"),
        (np.zeros((3, 4, 3)), 0, "none"),
    ],
)
def test_bad_input_is_named(positions: np.ndarray, hold: int, what: str) -> None:
    with pytest.raises(InputError, match=what):
        hydrogen_transfers(SYMBOLS, positions, CELL, hold_frames=hold)


def structures() -> tuple[Structure, Structure]:
    here, there = trajectory([0.0, 1.0])
    before = Structure(Lattice(CELL), SYMBOLS, here - 0.05)
    after = Structure(Lattice(CELL), SYMBOLS, (there - 0.05) % 1.0)  # C went through the face of the cell
    before.add_site_property("selective_dynamics", [[True] * 3, [True] * 3, [True] * 3, [False] * 3])
    return before, after


def test_images_go_straight_and_hold_the_three_atoms() -> None:
    before, after = structures()
    path = transfer_path(before, after, (0, 1, 2), 3)
    assert [round(p.get_distance(1, 2), 6) for p in path] == [1.375, 1.24, 1.105]
    assert all(p.get_distance(0, 2) == pytest.approx(2.6) for p in path)
    assert path[0].site_properties["selective_dynamics"] == [[False] * 3] * 4
    assert before[1].properties["selective_dynamics"] == [True] * 3
    with pytest.raises(InputError, match="summit"):
        transfer_path(before, after, (0, 1, 2), 2)


def calculation(structure: Structure, energy_ev: float, level: str = "a", *, converged: bool = True) -> Any:  # noqa: ANN401
    return SimpleNamespace(
        structure=structure,
        energy_ev=energy_ev,
        ionic_converged=converged,
        level=SimpleNamespace(fingerprint=level),
    )


def test_the_summit_of_a_scan_is_an_upper_bound_and_a_scan_that_is_not_sound_has_none() -> None:
    before, after = structures()
    path = transfer_path(before, after, (0, 1, 2), 3)
    images = [calculation(p, e - 7) for p, e in zip(path, (0.3, 0.8, 0.4), strict=True)]
    found = barrier(calculation(before, -7), images, calculation(after, -7.2), (0, 1, 2))
    assert found.method is BarrierMethod.SCAN
    assert found.refusal is None
    assert found.barrier_ev == pytest.approx(0.8)
    assert len(found.path) == 5
    assert found.path[0] == (pytest.approx(1.51), 0.0)
    images[1] = calculation(path[1], 0.0, converged=False)
    lost = barrier(calculation(before, -7), images, calculation(after, -7), (0, 1, 2))
    assert lost.barrier_ev is None
    assert "Image 2 of 3 did not converge" in (lost.refusal or "")
    images[1] = calculation(path[1], 0.0, "b")
    mixed = barrier(calculation(before, -7), images, calculation(after, -7), (0, 1, 2))
    assert "different levels" in (mixed.refusal or "")


@pytest.mark.parametrize(
    ("first_ev", "barrier_ev"), [(-0.04, 0.84), (0.04, 0.8), (-0.06, None)], ids=["dip", "no dip", "too deep"]
)
def test_a_scan_counts_from_its_lowest_point_before_the_summit(
    first_ev: float, barrier_ev: float | None
) -> None:
    before, after = structures()
    path = transfer_path(before, after, (0, 1, 2), 3)
    images = [calculation(p, e - 7) for p, e in zip(path, (first_ev, 0.8, -0.3), strict=True)]
    found = barrier(calculation(before, -7), images, calculation(after, -7.2), (0, 1, 2))
    if barrier_ev is None:
        assert found.barrier_ev is None
        assert "0.06 eV below the state before" in (found.refusal or "")
    else:
        assert found.barrier_ev == pytest.approx(barrier_ev), found.refusal


def band(energies_ev: list[float], **fields: Any) -> ReactionPath:  # noqa: ANN401  (any field)
    """Return a converged band of three images between the two structures."""
    before, after = structures()
    known: dict[str, Any] = {
        "label": "hydrogen",
        "level": LevelOfTheory(name="x", kind=EngineKind.MLIP, method="x"),
        "method": "climbing-image NEB, 3 images",
        "structures": (before, *transfer_path(before, after, (0, 1, 2), 3), after),
        "energies_ev": tuple(energies_ev),
        "travelled_ang": (0.0, 0.1, 0.2, 0.3, 0.4),
        "image_forces_ev_per_ang": (0.01, 0.02, 0.01),
        "end_forces_ev_per_ang": (0.02, 0.03),
        "force_target_ev_per_ang": 0.03,
        "steps": 41,
        "max_steps": 400,
        "wall_time_s": 1.0,
        "provenance": Provenance(job="x", run_directory="x"),
    }
    return ReactionPath(**{**known, **fields})


def judged(found: ReactionPath, before_ev: float | None = None, level: str | None = None) -> Barrier:
    before, after = structures()
    ends = [
        calculation(
            before, found.energies_ev[0] if before_ev is None else before_ev, found.level.fingerprint
        ),
        calculation(after, found.energies_ev[-1], level or found.level.fingerprint),
    ]
    return barrier(ends[0], found, ends[1], (0, 1, 2))


@pytest.mark.parametrize("behind_ev", [-6.6, -7.5])  # what comes after the summit does not move it
def test_a_band_at_rest_between_minima_gives_its_summit(behind_ev: float) -> None:
    found = judged(band([-7.0, -6.7, -6.2, behind_ev, -7.2]))
    assert found.refusal is None
    assert found.method is BarrierMethod.BAND
    assert found.barrier_ev == pytest.approx(0.8)
    assert [round(d, 3) for d, _ in found.path] == [1.51, 1.375, 1.24, 1.105, 0.97]
    assert found.summit is not None


@pytest.mark.parametrize(
    ("fields", "before_ev", "level", "why"),
    [
        ({"image_forces_ev_per_ang": (0.01, 0.09, 0.01)}, None, None, "did not converge: 0.090 eV/A is left"),
        ({"end_forces_ev_per_ang": (0.2, 0.01)}, None, None, "before the transfer is no minimum: 0.200"),
        ({"end_forces_ev_per_ang": (0.01, 0.2)}, None, None, "after the transfer is no minimum: 0.200"),
        ({}, None, "other", "different levels of theory"),
        ({}, -7.5, None, "energy before the transfer is not that of its relaxation"),
        ({"energies_ev": (-7.0, -7.3, -6.2, -6.6, -7.2)}, None, None, "0.30 eV below the state before"),
        ({"energies_ev": (-7.0, -6.9, -6.8, -6.7, -6.5)}, None, None, "No image lies above both ends"),
        ({"energies_ev": (-7.0, -7.1, -7.2, -7.3, -7.5)}, None, None, "No image lies above both ends"),
    ],
)
def test_a_band_that_is_not_sound_has_no_barrier(
    fields: dict[str, Any], before_ev: float | None, level: str | None, why: str
) -> None:
    found = judged(band([-7.0, -6.7, -6.2, -6.6, -7.2]).model_copy(update=fields), before_ev, level)
    assert found.barrier_ev is None
    assert found.summit is None
    assert len(found.path) == 5  # still shown
    assert re.search(why, found.refusal or ""), found.refusal
