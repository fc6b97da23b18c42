"""The search for the adsorption minimum: from how many starts, which of them are one, when it is enough.

Heuristic and random starts (:func:`epilayer.structures.poses.generate`) are relaxed on the held slab, batch
by batch. Poses that the symmetry of the slab or of the molecule maps onto each other are one minimum, if
their energies agree too. The search is done once the lowest one has not been bettered for some batches and
either a lower one was missed with less than 5 %, or independent streams of starts have the same lowest
minimum. Otherwise it goes on until its budget is used up, and is open. The best few distinct poses are then
relaxed in full. :func:`decide` takes every decision from what is known so far, so that a loop
(:func:`search_minima`) and a chain of queued jobs (:mod:`epilayer.flows.adsorption`) search alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pydantic import Field

from epilayer.analysis import search_confidence
from epilayer.model.base import Frozen
from epilayer.model.records import MAX_MISSED_PROBABILITY, SearchConfidence
from epilayer.model.units import Ev, Fraction, PositiveAng, PositiveEvPerAng

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal

    from pymatgen.core import Structure

    from epilayer.structures.comparison import PoseComparison


StartT = TypeVar("StartT")


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
        (:func:`epilayer.analysis.search_confidence.missed_probability`) is above this, at most 5 %.
    streams
        Independent streams of starts, each by a seed of its own; from three on, the search also ends when
        all of them have the same lowest minimum.
    keep
        Number of distinct poses relaxed in full.
    more_kept
        Most further ones that are relaxed in full while the shift of the others says that they may be lower.
    pre_steps, pre_max_force_ev_per_ang
        When a pre-relaxation ends. It holds the slab, so that only the molecule moves.
    duplicate_ang
        Pre-relaxed molecules whose atoms lie closer than this (root mean square) are one pose, if their
        energies differ by less than ``duplicate_ev``.
    seed
        Seed of every random choice.
    """

    poses: int = Field(default=12, gt=0)
    batch: int = Field(default=3, gt=0)
    patience: int = Field(default=1, gt=0)
    tolerance_ev: Ev = Field(default=0.02, ge=0)
    max_missed_probability: Fraction = MAX_MISSED_PROBABILITY
    streams: int = Field(default=1, gt=0)
    keep: int = Field(default=2, gt=0)
    more_kept: int = Field(default=0, ge=0)
    pre_steps: int = Field(default=25, gt=0)
    pre_max_force_ev_per_ang: PositiveEvPerAng = 0.15
    duplicate_ang: PositiveAng = 0.4
    duplicate_ev: Ev = Field(default=0.05, gt=0)
    seed: int = 0


THOROUGH = PoseSearch(
    poses=96,
    batch=6,
    patience=2,
    streams=3,
    keep=3,
    more_kept=6,
    pre_steps=250,
    pre_max_force_ev_per_ang=0.02,
)
"""A search that can be done: each start is relaxed to its minimum, so that minima are hit again.

On NVOPF (001) 2-methylimidazole still falls by 0.2 to 0.4 eV once forces are below 0.15 eV/A, and by up to
0.27 eV once they are below 0.03 eV/A: a plane over the surface slides far.
"""


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
    minima = distinct(placed, comparison, search)
    sound = {leader: members for leader, members in minima.items() if placed[leader].sound}
    hits = [sum(placed[k].sound for k in members) for members in sound.values()]
    missed = search_confidence.missed_probability(sum(hits), len(hits)) if hits else 1.0
    batches = [placed[k : k + search.batch] for k in range(0, len(placed), search.batch)]
    lowest_ev = [min((p.energy_ev for p in batch if p.sound), default=math.inf) for batch in batches]
    budget = min(search.poses, starts)
    stale = search_confidence.stale_batches(lowest_ev, search.tolerance_ev) >= search.patience
    ended: Literal["settled", "agreed", "budget", "no_more_starts"]
    if stale and missed <= min(search.max_missed_probability, MAX_MISSED_PROBABILITY):
        ended = "settled"
    elif stale and _streams_agree(next(iter(sound.values()), []), search):
        ended = "agreed"
    else:
        ended = "budget" if search.poses <= starts else "no_more_starts"
    done = ended in ("settled", "agreed") or len(placed) >= budget
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


def interleaved(streams: Sequence[Sequence[StartT]]) -> list[StartT]:
    """Return the starts of several streams in turn, so that start k is of stream k modulo their number."""
    return [start for together in zip(*streams, strict=False) for start in together]


def may_be_lower(
    placed_ev: Sequence[float], relaxed_ev: Mapping[int, float], candidates: Sequence[int]
) -> list[int]:
    """Return the candidates that the full relaxation may bring below the lowest, lowest first.

    Poses do not gain alike when the slab is released: one may gain as much as the one that gained most.

    Parameters
    ----------
    placed_ev
        Energies on the held slab, eV, by index.
    relaxed_ev
        Energies of those that were relaxed in full, eV, by index.
    candidates
        Indices of sound, distinct poses that were not.
    """
    if not relaxed_ev:
        return []
    most_ev = min(energy - placed_ev[k] for k, energy in relaxed_ev.items())
    lowest_ev = min(relaxed_ev.values())
    found = [k for k in candidates if placed_ev[k] + most_ev < lowest_ev]
    return sorted(found, key=lambda k: placed_ev[k])


def _streams_agree(lowest: Sequence[int], search: PoseSearch) -> bool:
    """Return whether every independent stream of starts ended in the lowest minimum."""
    enough = 3
    return search.streams >= enough and len({k % search.streams for k in lowest}) == search.streams


def distinct(
    placed: Sequence[PlacedPose], comparison: PoseComparison, search: PoseSearch
) -> dict[int, list[int]]:
    """Return the distinct poses, sound and lowest first, each with all that are the same as it."""
    order = sorted(range(len(placed)), key=lambda k: (not placed[k].sound, placed[k].energy_ev))
    minima: dict[int, list[int]] = {}
    for k in order:
        leaders = [m for m in minima if abs(placed[m].energy_ev - placed[k].energy_ev) <= search.duplicate_ev]
        apart_ang = comparison.rmsd_ang([placed[m].structure for m in leaders], placed[k].structure)
        if leaders and apart_ang.min() <= search.duplicate_ang:
            minima[leaders[int(np.argmin(apart_ang))]].append(k)
        else:
            minima[k] = [k]
    return minima
