"""The search for the minimum on landscapes whose minima are known: found, counted once, ended in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk, surface
from pymatgen.core import Molecule, Structure

from epilayer.flows.search import Decision, PlacedPose, PoseSearch, decide, search_minima
from epilayer.structures.comparison import PoseComparison

if TYPE_CHECKING:
    from collections.abc import Sequence

WATER = Molecule(["O", "H", "H"], [[0, 0, 0], [0.76, 0.0, 0.59], [-0.76, 0.0, 0.59]])
SKEW = np.array([[0.1, 0.7, 2.2], [0.85, 0.9, 2.75], [-0.3, 1.4, 2.6]])


def magnesia() -> Structure:
    atoms = surface(bulk("MgO", "rocksalt", a=4.212, cubic=True), (0, 0, 1), 2, vacuum=12.0) * (2, 2, 1)
    return Structure(atoms.cell[:], atoms.get_chemical_symbols(), atoms.get_scaled_positions())


SLAB = magnesia()
COMPARISON = PoseComparison(SLAB, WATER)
TOP = SLAB.cart_coords[int(np.argmax(SLAB.cart_coords[:, 2]))]


def well(number: int, image: int = 0) -> Structure:
    """One of many distinct minima, one above the other; ``image`` is one of its mirror images."""
    mirror = np.array([1 - 2 * (image & 1), 1 - (image & 2), 1])
    lift = np.array([0, 0, 0.5 * number])
    structure = SLAB.copy()
    for species, xyz in zip(WATER.species, (SKEW + lift) * mirror + TOP, strict=True):
        structure.append(species, xyz, coords_are_cartesian=True)
    return structure


def run(
    wells: Sequence[int], energies_ev: Sequence[float], unsound: Sequence[int] = (), **settings: float
) -> tuple[list[PlacedPose], Decision]:
    """Search a landscape in which start k ends in ``wells[k]``, in one of its mirror images."""
    ends = [PlacedPose(well(w, k % 4), energies_ev[w], w not in unsound, 5) for k, w in enumerate(wells)]
    starts = [well(20 + k) for k in range(len(wells))]
    left = iter(ends)
    return search_minima(PoseSearch(**settings), starts, COMPARISON, lambda _: next(left))  # type: ignore[arg-type]


def test_the_lowest_of_the_minima_is_kept_first_and_images_are_one() -> None:
    placed, decision = run([2, 0, 2, 1, 0, 2, 2, 2, 2], [-0.3, -0.9, -0.5], keep=3)
    assert [placed[k].energy_ev for k in decision.kept] == [-0.9, -0.5, -0.3]
    assert decision.confidence.minima == 3
    assert decision.confidence.ended == "settled"
    assert not decision.more


def test_it_stops_when_a_batch_brings_nothing_lower() -> None:
    _, decision = run([0] * 30, [-1.0], poses=30)
    sure = decision.confidence
    assert (sure.starts, sure.minima, sure.lowest_hits, sure.force_calls) == (6, 1, 6, 30)
    assert sure.missed_probability == pytest.approx(1 / 5)
    assert sure.unseen_probability == 0.0


def test_it_goes_on_for_as_long_as_it_improves() -> None:
    energies_ev = [-0.1 * k for k in range(12)]
    _, decision = run(range(12), energies_ev, poses=12)
    assert (decision.confidence.starts, decision.confidence.ended) == (12, "budget")
    # Improvements below the tolerance do not count.
    _, decision = run(range(12), [-0.001 * k for k in range(12)], poses=12)
    assert (decision.confidence.starts, decision.confidence.ended) == (6, "settled")


def test_patience_waits_longer() -> None:
    late = [0] * 8 + [1] + [0] * 21
    assert run(late, [-0.5, -1.0], poses=30, patience=1)[1].confidence.lowest_hits == 6
    placed, decision = run(late, [-0.5, -1.0], poses=30, patience=2)
    assert placed[decision.kept[0]].energy_ev == -1.0
    assert decision.confidence.lowest_hits == 1


def test_doubt_keeps_it_going_within_the_budget() -> None:
    """Three minima hit in turn: the chance of a missed one falls to 3 / (N - 1)."""
    wells = [0, 1, 2] * 20
    _, decision = run(wells, [-1.0, -0.8, -0.6], poses=60, max_missed_probability=0.15)
    assert decision.confidence.starts == 21
    assert decision.confidence.missed_probability == pytest.approx(3 / 20)
    _, decision = run(wells, [-1.0, -0.8, -0.6], poses=9, max_missed_probability=0.15)
    assert (decision.confidence.starts, decision.confidence.ended) == (9, "budget")


def test_too_few_different_starts_are_said_to_be_few() -> None:
    _, decision = run([0, 1], [-1.0, -0.5], poses=30)
    assert (decision.confidence.starts, decision.confidence.ended) == (2, "no_more_starts")


def test_a_pose_that_broke_is_never_the_minimum() -> None:
    placed, decision = run([0, 1, 1, 1, 1, 1], [-9.0, -0.5], unsound=[0])
    assert placed[decision.kept[0]].energy_ev == -0.5
    assert (decision.confidence.sound_starts, decision.confidence.minima) == (5, 1)


def test_it_does_not_settle_on_nothing() -> None:
    placed, decision = run([0] * 12, [-1.0], unsound=[0], poses=12)
    assert len(placed) == 12
    assert decision.confidence.missed_probability == 1.0
    assert (decision.confidence.minima, decision.confidence.lowest_hits) == (0, 0)
    assert len(decision.kept) == 1


def test_it_looks_at_what_is_known_alone() -> None:
    """Job by job or in one loop, the same starts give the same decisions."""
    placed, last = run([0, 1, 2, 1, 0, 3, 0, 1, 2, 0, 0, 0], [-0.4, -0.6, -0.1, -1.2])
    search = PoseSearch()
    for n in range(0, len(placed), search.batch):
        step = decide(search, 12, placed[:n], COMPARISON)
        assert step.more == range(n, n + search.batch)
    assert decide(search, 12, placed, COMPARISON) == last
