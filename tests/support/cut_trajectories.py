"""A trajectory that is cut to pieces: what it starts from, the moments it is struck at, and what is left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Lattice, Structure

from epilayer.model.dynamics import DynamicsSettings, Segment, SegmentEnd, SegmentLimit
from epilayer.trajectory.log import TRAJECTORY
from epilayer.trajectory.store import Trajectory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Attempt = Callable[[str, int, Segment | None, SegmentLimit], Segment | None]

SHORT = DynamicsSettings(steps=30, time_step_fs=0.5, temperature_k=300.0, seed=5, checkpoint_every=4)
STEPS, USR1 = "steps", "usr1"


def water_and_salt() -> Structure:
    """Two water molecules above a held layer of four ions: 10 atoms."""
    half = 2.8
    species = ["Na", "F", "Na", "F"]
    coords = [[0, 0, 0], [half, 0, 0], [half, half, 0], [0, half, 0]]
    water = np.array([[0.0, 0.0, 0.0], [0.757, 0.0, 0.587], [-0.757, 0.0, 0.587]])
    for k in range(2):
        species += ["O", "H", "H"]
        coords += (water + np.array([half * k, half * k, 2.9])).tolist()
    return Structure(
        Lattice.orthorhombic(2 * half, 2 * half, 12.0),
        species,
        coords,
        coords_are_cartesian=True,
        site_properties={"selective_dynamics": [[False] * 3] * 4 + [[True] * 3] * 6},
    )


def frames(segment: Segment) -> tuple[list[int], NDArray[Any], NDArray[Any]]:
    """Return steps, positions (A) and energies (eV) of the stitched trajectory."""
    with Trajectory(Path(segment.directory) / TRAJECTORY) as stored:
        assert len(stored) == segment.frames
        return stored.steps().tolist(), stored.positions(), stored.energies_ev()


def cut_to_pieces(
    attempt: Attempt, strikes: Sequence[str], steps: int, cuts: int
) -> tuple[Segment, dict[str, int]]:
    """Run in about ``cuts`` pieces ended by step limits, USR1 and kills at seeded random moments.

    Parameters
    ----------
    attempt
        Runs the next attempt of a segment, given what strikes it, after how many steps, the segment before
        and the limit; returns nothing where it was killed.
    strikes
        The ways to kill one.

    Returns
    -------
    tuple
        The last segment, and how often each kind of end was met.
    """
    rng = np.random.default_rng(20250)
    met = dict.fromkeys((STEPS, USR1, *strikes), 0)
    stride = steps / cuts
    previous: Segment | None = None
    while previous is None or not previous.complete:
        how = str(rng.choice(list(met)))
        ahead = int(rng.integers(1, max(3, round(2 * stride))))
        # Segments that are struck are given more steps, so that a kill also meets attempts killed before.
        limit = SegmentLimit(steps=ahead if how == STEPS else 3 * ahead)
        segment = attempt(how, ahead, previous, limit)
        if segment is None:
            met[how] += 1
            continue
        wanted = {STEPS: SegmentEnd.STEPS, USR1: SegmentEnd.SIGNAL}.get(how)
        # What earlier attempts left may be less than what would be struck, and then nothing is.
        assert segment.complete or segment.ended_by is wanted or segment.resumed
        assert segment.first_step == (previous.last_step if previous else 0)
        met[how] += how in (STEPS, USR1) and not segment.complete
        previous = segment
    return previous, met
