"""The frames of a run in segments: appended, cut back to a checkpoint, joined with raw files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from epilayer.model.errors import InputError, StoreError
from epilayer.trajectory.log import TRAJECTORY, TrajectoryFolder, open_reference
from epilayer.trajectory.store import Trajectory, TrajectoryWriter

if TYPE_CHECKING:
    from pathlib import Path

    from epilayer.trajectory.log import StoredFrames

CELL = np.eye(3) * 8.0


def frame(step: int) -> np.ndarray:
    return np.arange(6.0).reshape(2, 3) + 0.01 * step


def opened(folder: Path) -> StoredFrames:
    return TrajectoryFolder().open(folder, ("Na", "O"), (22.99, 15.999), 1.0)


def fill(log: StoredFrames, first: int, last: int, flush_every: int = 3) -> None:
    for step in range(first, last + 1):
        log.append(step, frame(step), CELL, -1.0 * step, 300.0 + step)
        if step % flush_every == 0:
            log.flush()


def check(folder: Path, steps: int) -> None:
    with Trajectory(folder / TRAJECTORY) as stored:
        assert stored.steps().tolist() == list(range(steps))
        assert np.array_equal(stored.positions(), np.array([frame(s) for s in range(steps)]))
        assert stored.energies_ev().tolist() == [-1.0 * s for s in range(steps)]


@pytest.mark.parametrize("kept", [0, 1, 4, 5, 7, 10, 11])
@pytest.mark.parametrize("folded", [0, 6])
def test_cut_back_anywhere_and_go_on(tmp_path: Path, kept: int, folded: int) -> None:
    """At a record's boundary, inside a record, and inside what was folded into the main file."""
    log = opened(tmp_path)
    if folded:
        fill(log, 0, folded - 1)
        log.close()
        log = opened(tmp_path)
    fill(log, folded, 10)
    log.flush()
    log.cut(kept)
    assert len(log) == kept
    fill(log, kept, 12)
    log.close()
    check(tmp_path, 13)


def test_frames_are_seen_while_it_is_written(tmp_path: Path) -> None:
    log = opened(tmp_path)
    fill(log, 0, 4, flush_every=5)
    with Trajectory(tmp_path / TRAJECTORY) as seen:
        assert len(seen) == 1  # step 0 was flushed; the rest is in memory
        log.flush()
        seen.refresh()
        assert len(seen) == len(log) == 5
    log.close()


def test_missing_frames_are_refused(tmp_path: Path) -> None:
    log = opened(tmp_path)
    fill(log, 0, 4)
    with pytest.raises(StoreError, match="has 5 frames where 9 were expected"):
        log.cut(9)
    log.close()


def test_a_changed_file_is_not_opened(tmp_path: Path) -> None:
    log = opened(tmp_path)
    fill(log, 0, 4)
    found = log.close()
    with TrajectoryWriter(tmp_path / TRAJECTORY, Trajectory(tmp_path / TRAJECTORY).header) as writer:
        writer.truncate(2)
    with pytest.raises(StoreError, match="not the one that was written"):
        open_reference(found)
    (tmp_path / TRAJECTORY).unlink()
    with pytest.raises(StoreError, match="is gone"):
        open_reference(found)


def test_the_folder_of_other_atoms_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(InputError, match="holds another trajectory"):
        TrajectoryFolder().open(tmp_path, ("Na", "N"), (22.99, 14.0), 1.0)
