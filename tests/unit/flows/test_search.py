"""The search for the minimum on landscapes whose minima are known: found, counted once, ended in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk, surface
from pymatgen.core import Molecule, Structure

from epilayer.flows.search import Decision, PlacedPose, PoseSearch, decide, may_be_lower, search_minima
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
    assert not decision.more


def test_one_place_with_two_energies_is_two_minima() -> None:
    starts = [well(20), well(21)]
    left = iter([PlacedPose(well(0), energy_ev, sound=True, force_calls=5) for energy_ev in (-1.0, -0.9)])
    _, decision = search_minima(PoseSearch(), starts, COMPARISON, lambda _: next(left))
    assert decision.confidence.minima == 2


def test_it_is_settled_when_a_lower_minimum_was_missed_with_less_than_5_percent() -> None:
    _, decision = run([0] * 30, [-1.0], poses=30)
    sure = decision.confidence
    assert (sure.starts, sure.minima, sure.lowest_hits, sure.force_calls) == (21, 1, 21, 105)
    assert (sure.missed_probability, sure.ended, sure.done) == (pytest.approx(1 / 20), "settled", True)
    assert (sure.unseen_probability, sure.half_loss_ev) == (0.0, 0.0)


def test_it_never_settles_with_more_than_5_percent_whatever_is_asked() -> None:
    _, decision = run([0, 1, 2] * 4, [-1.0, -0.8, -0.6], poses=12, max_missed_probability=1.0)
    assert (decision.confidence.starts, decision.confidence.ended) == (12, "budget")
    assert not decision.confidence.done


def test_it_is_done_when_three_streams_have_the_same_lowest_minimum() -> None:
    wells = [1, 2, 3, 4, 5, 6, 0, 7, 8, 1, 0, 2, 3, 4, 0] + [9] * 15
    energies_ev = [-1.0, *(-0.1 * k for k in range(9))]
    _, decision = run(wells, energies_ev, poses=30, streams=3, patience=2)
    sure = decision.confidence
    assert (sure.starts, sure.ended, sure.lowest_hits, sure.done) == (15, "agreed", 3, True)
    assert sure.missed_probability > 0.05
    one_stream = [1, 2, 3, 0, 5, 6, 0, 7, 8, 0, 4, 2] + [9] * 18  # all three hits from the first stream
    assert run(one_stream, energies_ev, poses=30, streams=3)[1].confidence.ended == "budget"


def test_what_the_release_of_the_slab_may_bring_below_the_lowest_is_relaxed_too() -> None:
    placed_ev = [-1.0, -0.95, -0.9, -0.5]
    assert may_be_lower(placed_ev, {0: -1.1, 1: -1.25}, [2, 3]) == []  # -0.9 - 0.3 stays above -1.25
    assert may_be_lower(placed_ev, {0: -1.1, 1: -1.15}, [2, 3]) == []
    assert may_be_lower(placed_ev, {0: -1.1, 3: -1.0}, [1, 2]) == [1, 2]  # the fourth gained 0.5 eV
    assert may_be_lower(placed_ev, {}, [1]) == []


def test_it_goes_on_for_as_long_as_it_improves() -> None:
    energies_ev = [-0.1 * k for k in range(12)]
    _, decision = run(range(12), energies_ev, poses=12)
    assert (decision.confidence.starts, decision.confidence.ended) == (12, "budget")


def test_patience_waits_longer() -> None:
    late = [0] * 23 + [1] + [0] * 36
    assert run(late, [-0.5, -1.0], poses=60, patience=1)[1].confidence.lowest_hits == 21
    placed, decision = run(late, [-0.5, -1.0], poses=60, patience=9)
    assert placed[decision.kept[0]].energy_ev == -1.0
    assert decision.confidence.lowest_hits == 1


def test_doubt_keeps_it_going_within_the_budget() -> None:
    """Two minima hit in turn: the chance of a missed one falls to 2 / (N - 1)."""
    wells = [0, 1] * 35
    _, decision = run(wells, [-1.0, -0.8], poses=70, max_missed_probability=0.04)
    assert decision.confidence.starts == 51
    assert decision.confidence.missed_probability == pytest.approx(2 / 50)
    _, decision = run(wells, [-1.0, -0.8], poses=9)
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
