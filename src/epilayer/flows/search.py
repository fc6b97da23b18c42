"""The search for the adsorption minimum: from how many starts, which of them are one, when it is enough.

Heuristic and random starts (:func:`epilayer.structures.poses.generate`) are relaxed cheaply, batch by
batch. Poses that the symmetry of the slab or of the molecule maps onto each other are one minimum. The
search ends once the lowest one has not been bettered for some batches and the chance that a lower one
was missed is small enough, or when its budget is used up; the best few distinct poses are then worth the
target level. :func:`decide` takes every decision from what is known so far, so that a loop
(:func:`search_minima`) and a chain of queued jobs (:mod:`epilayer.flows.adsorption`) search alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from epilayer.analysis import search_confidence
from epilayer.model.base import Frozen
from epilayer.model.records import SearchConfidence
from epilayer.model.units import Ev, Fraction, PositiveAng, PositiveEvPerAng

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from pymatgen.core import Structure

    from epilayer.structures.comparison import PoseComparison


class PoseSearch(Frozen):
    """How the adsorption minimum is searched for.

    Attributes
    ----------
    poses
        Most poses that are placed and pre-relaxed per molecule and facet.
    batch
        Poses placed at once, before it is asked whether they are enough.
    patience, tolerance_ev
        The search may end once so many batches have not lowered the minimum by more than this.
    max_missed_probability
        It goes on, within its budget, while the chance that a lower minimum was missed
        (:func:`epilayer.analysis.search_confidence.missed_probability`) is above this; 1 asks for nothing.
    keep
        Number of distinct poses relaxed in full.
    pre_steps, pre_max_force_ev_per_ang
        When a pre-relaxation ends. It holds the slab, so that only the molecule moves.
    duplicate_ang
        Pre-relaxed molecules whose atoms lie closer than this (root mean square) are one pose.
    seed
        Seed of every random choice.
    """

    poses: int = Field(default=12, gt=0)
    batch: int = Field(default=3, gt=0)
    patience: int = Field(default=1, gt=0)
    tolerance_ev: Ev = Field(default=0.02, ge=0)
    max_missed_probability: Fraction = 1.0
    keep: int = Field(default=2, gt=0)
    pre_steps: int = Field(default=25, gt=0)
    pre_max_force_ev_per_ang: PositiveEvPerAng = 0.15
    duplicate_ang: PositiveAng = 0.4
    seed: int = 0


THOROUGH = PoseSearch(poses=48, batch=6, patience=3, keep=4, pre_steps=60, pre_max_force_ev_per_ang=0.03)
"""A longer search that separates minima: it relaxes each start nearly to its end."""


@dataclass(frozen=True)
class PlacedPose:
    """What a pre-relaxation made of one start.

    ``sound`` is false where the molecule broke or left; ``force_calls`` is what it cost.
    """

    structure: Structure
    energy_ev: float
    sound: bool
    force_calls: int


@dataclass(frozen=True)
class Decision:
    """What to do next: relax the starts ``more``, or take the poses ``kept`` to the target level.

    ``kept`` are indices of starts, best first; sound poses come before others.
    """

    more: range
    kept: tuple[int, ...]
    confidence: SearchConfidence


def decide(
    search: PoseSearch, starts: int, placed: Sequence[PlacedPose], comparison: PoseComparison
) -> Decision:
    """Say whether more starts are needed, and which poses are kept if not.

    Parameters
    ----------
    starts
        How many different starts there are.
    placed
        What became of the first ones, in their order.
    comparison
        Says which poses are one.
    """
    minima = _distinct(placed, comparison, search.duplicate_ang)
    sound = {leader: members for leader, members in minima.items() if placed[leader].sound}
    hits = [sum(placed[k].sound for k in members) for members in sound.values()]
    missed = search_confidence.missed_probability(sum(hits), len(hits)) if hits else 1.0
    batches = [placed[k : k + search.batch] for k in range(0, len(placed), search.batch)]
    lowest_ev = [min((p.energy_ev for p in batch if p.sound), default=math.inf) for batch in batches]
    settled = (
        search_confidence.stale_batches(lowest_ev, search.tolerance_ev) >= search.patience
        and missed <= search.max_missed_probability
    )
    budget = min(search.poses, starts)
    ended: Literal["settled", "budget", "no_more_starts"] = (
        "settled" if settled else "budget" if search.poses <= starts else "no_more_starts"
    )
    done = settled or len(placed) >= budget
    return Decision(
        more=range(0) if done else range(len(placed), min(len(placed) + search.batch, budget)),
        kept=tuple(minima)[: search.keep],
        confidence=SearchConfidence(
            starts=len(placed),
            sound_starts=sum(hits),
            minima=len(hits),
            lowest_hits=hits[0] if hits else 0,
            missed_probability=missed,
            unseen_probability=search_confidence.unseen_probability(hits),
            force_calls=sum(p.force_calls for p in placed),
            ended=ended,
            half_loss_ev=search_confidence.half_loss_ev([p.energy_ev for p in placed if p.sound]),
        ),
    )


def search_minima(
    search: PoseSearch,
    starts: Sequence[Structure],
    comparison: PoseComparison,
    relax: Callable[[Structure], PlacedPose],
) -> tuple[list[PlacedPose], Decision]:
    """Search to the end, one start after the other; return what became of each, and the last decision.

    Parameters
    ----------
    starts
        Poses to begin from, the most promising first.
    relax
        The cheap relaxation.
    """
    placed: list[PlacedPose] = []
    decision = decide(search, len(starts), placed, comparison)
    while decision.more:
        placed += [relax(starts[k]) for k in decision.more]
        decision = decide(search, len(starts), placed, comparison)
    return placed, decision


def _distinct(
    placed: Sequence[PlacedPose], comparison: PoseComparison, duplicate_ang: float
) -> dict[int, list[int]]:
    """Return the distinct poses, sound and lowest first, each with all that are the same as it."""
    order = sorted(range(len(placed)), key=lambda k: (not placed[k].sound, placed[k].energy_ev))
    minima: dict[int, list[int]] = {}
    for k in order:
        leaders = list(minima)
        apart_ang = comparison.rmsd_ang([placed[m].structure for m in leaders], placed[k].structure)
        if leaders and apart_ang.min() <= duplicate_ang:
            minima[leaders[int(np.argmin(apart_ang))]].append(k)
        else:
            minima[k] = [k]
    return minima
