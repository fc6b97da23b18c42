"""The trajectory file: lossless, random access, appendable, and whole after any kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from epilayer.model.errors import InputError, NewerSchemaError, StoreError
from epilayer.trajectory import Block, Header, Trajectory, TrajectoryWriter, ingest, open_source
from epilayer.trajectory import store as store_module
from epilayer.trajectory.tail import tail_path

HEADER = Header(("Na", "O", "O"), (22.99, 15.999, 15.999), "cartesian", None, 2.0)


def block(start: int, frames: int, header: Header = HEADER) -> Block:
    """Frames whose every number is known from the step."""
    steps = np.arange(start, start + frames)
    positions = steps[:, None, None] + np.arange(3 * header.n_atoms).reshape(1, -1, 3) / 16.0
    if header.decimals is not None:
        positions = np.rint(positions * 10**header.decimals).astype(np.int64)
    cells = np.broadcast_to(10.0 * np.eye(3), (frames, 3, 3)).copy()
    return Block(positions, cells, steps, -steps / 3.0, 300.0 + steps)


def same(found: Block, expected: Block) -> None:
    for name in ("positions", "cells_ang", "steps", "energies_ev", "temperatures_k"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def test_append_close_reopen_append(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    for start in (0, 10, 25):
        with TrajectoryWriter(path, HEADER) as writer:
            assert len(writer) == start
            writer.append(block(start, 7))
            writer.append(block(start + 7, {0: 3, 10: 8, 25: 1}[start]))
        assert not tail_path(path).exists()
    with Trajectory(path) as stored:
        assert len(stored) == 33
        same(stored.read(), block(0, 33))
        same(stored.frame(-1), block(32, 1))
        assert np.array_equal(stored.times_fs(), np.arange(33) * 2.0)


def test_a_reader_sees_a_running_writer(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    with TrajectoryWriter(path, HEADER) as writer:
        writer.append(block(0, 5))
        writer.fold()
        writer.append(block(5, 5))
        with Trajectory(path) as stored:
            assert len(stored) == 10
            same(stored.read(3, 8), block(3, 5))
            writer.append(block(10, 5))
            assert len(stored) == 10
            stored.refresh()
            same(stored.read(), block(0, 15))
            same(next(stored.blocks(4)), block(0, 4))
            assert np.array_equal(stored.positions(4, 12, np.array([2])), block(4, 8).positions[:, 2:])


def test_every_cut_of_the_tail_loses_whole_records_only(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    writer = TrajectoryWriter(path, HEADER)
    sizes = []
    for start in range(0, 12, 3):
        writer.append(block(start, 3))
        sizes.append(tail_path(path).stat().st_size)
    whole = tail_path(path).read_bytes()
    writer._tail.close()  # what a kill leaves
    for cut in range(0, len(whole), 97):
        tail_path(path).write_bytes(whole[:cut])
        kept = 3 * sum(size <= cut for size in sizes)
        with Trajectory(path) as stored:
            assert len(stored) == kept
            same(stored.read(), block(0, kept))
    tail_path(path).write_bytes(whole[:-10])
    with TrajectoryWriter(path, HEADER) as again:
        assert len(again) == 9
        again.append(block(9, 4))
    with Trajectory(path) as stored:
        same(stored.read(), block(0, 13))


def test_a_flipped_bit_in_the_tail_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    writer = TrajectoryWriter(path, HEADER)
    writer.append(block(0, 3))
    writer.append(block(3, 3))
    writer._tail.close()
    data = bytearray(tail_path(path).read_bytes())
    data[-20] ^= 1
    tail_path(path).write_bytes(data)
    with Trajectory(path) as stored:
        assert len(stored) == 3


def test_a_kill_between_replace_and_truncate_repeats_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    writer = TrajectoryWriter(path, HEADER)
    writer.append(block(0, 6))
    old_tail = tail_path(path).read_bytes()
    writer.close()
    tail_path(path).write_bytes(old_tail)
    with Trajectory(path) as stored:
        assert len(stored) == 6
    with TrajectoryWriter(path, HEADER) as again:
        assert len(again) == 6
        again.append(block(6, 2))
    with Trajectory(path) as stored:
        same(stored.read(), block(0, 8))


WRITER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import epilayer.trajectory.store as store
from test_store import HEADER, block
from epilayer.trajectory import TrajectoryWriter
store._FOLD_BYTES = 6000
with TrajectoryWriter(Path({path!r}), HEADER, sync=False) as writer:
    start = len(writer)
    for k in range(start, 100000):
        writer.append(block(k, 1))
        print(k, flush=True)
"""


@pytest.mark.slow
def test_kill_9_at_random_moments_loses_no_frame_that_was_written(tmp_path: Path) -> None:
    """Also kills inside folds: they happen every few frames here."""
    path = tmp_path / "t.h5"
    rng = np.random.default_rng(5)
    code = WRITER.format(tests=str(Path(__file__).parent), path=str(path))
    for _ in range(12):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = int(rng.integers(1, 60))
        last = -1
        for _ in range(lines):
            last = int(process.stdout.readline())
        time.sleep(float(rng.random()) * 0.02)  # lands anywhere inside an append or a fold
        process.send_signal(signal.SIGKILL)
        for line in process.communicate()[0].splitlines():
            last = int(line) if line.isdigit() else last
        with Trajectory(path) as stored:
            assert len(stored) >= last + 1
            same(stored.read(), block(0, len(stored)))


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    with TrajectoryWriter(path, HEADER) as writer:
        writer.append(block(0, 1))
        with pytest.raises(StoreError, match="written by another process"):
            TrajectoryWriter(path, HEADER)
    with TrajectoryWriter(path, HEADER) as writer:
        assert len(writer) == 1


def test_frames_that_are_no_continuation_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    other = Header(("Na", "O"), HEADER.masses_amu[:2], "cartesian", None, 2.0)
    with TrajectoryWriter(path, HEADER) as writer:
        writer.append(block(0, 5))
        with pytest.raises(InputError, match="step 4 follows step 4"):
            writer.append(block(4, 2))
        with pytest.raises(InputError, match="2 atoms where 3"):
            writer.append(block(5, 1, other))
        bad = block(5, 3)
        bad.positions[1, 2, 0] = np.nan
        with pytest.raises(InputError, match="frame 7 has a coordinate that is not finite"):
            writer.append(bad)
        writer.append(block(5, 1))
    with pytest.raises(InputError, match="another trajectory"):
        TrajectoryWriter(path, other)
    with Trajectory(path) as stored:
        assert len(stored) == 6
        with pytest.raises(InputError, match="frame 6 is not among 6"):
            stored.frame(6)


def test_files_that_are_none(tmp_path: Path) -> None:
    import h5py

    with pytest.raises(StoreError, match="There is no trajectory"):
        Trajectory(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(StoreError, match="not an HDF5 file"):
        Trajectory(tmp_path / "text.h5")
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(StoreError, match="not a trajectory"):
        Trajectory(tmp_path / "other.h5")
    with TrajectoryWriter(tmp_path / "t.h5", HEADER) as writer:
        writer.append(block(0, 1))
    with h5py.File(tmp_path / "t.h5", "r+") as file:
        file.attrs["schema"] = 99
    with pytest.raises(NewerSchemaError, match="version 99"):
        Trajectory(tmp_path / "t.h5")


def xdatcar(path: Path, frames: int = 30, decimals: int = 8) -> np.ndarray:
    values = np.round(np.random.default_rng(3).random((frames, 4, 3)), decimals)
    head = "t\n1.0\n 12.0 0.0 0.0\n 3.0 11.0 0.0\n 0.0 1.0 9.0\nNa O\n1 3\n"
    for k, frame in enumerate(values):
        head += f"Direct configuration={k + 1:6d}\n"
        head += "".join("".join(f"{x:{decimals + 4}.{decimals}f}" for x in r) + "\n" for r in frame)
    path.write_text(head)
    return values


def test_quantising_states_an_error_that_holds(tmp_path: Path) -> None:
    values = xdatcar(tmp_path / "XDATCAR")
    lost = ingest(open_source(tmp_path / "XDATCAR"), tmp_path / "t.h5", quantise_decimals=4)
    assert lost is not None
    with Trajectory(tmp_path / "t.h5") as stored:
        cell = stored.cells_ang()[0]
        moved = np.linalg.norm((stored.positions() - values) @ cell, axis=-1)
        assert 0 < moved.max() <= lost.max_error_ang == stored.max_error_ang < 2e-3
    assert ingest(open_source(tmp_path / "XDATCAR"), tmp_path / "u.h5") is None


def test_plain_h5py_reads_it(tmp_path: Path) -> None:
    import h5py

    values = xdatcar(tmp_path / "XDATCAR")
    ingest(open_source(tmp_path / "XDATCAR"), tmp_path / "t.h5", compression="gzip")
    with h5py.File(tmp_path / "t.h5") as file:
        assert np.array_equal(file["positions"][:] / 10.0 ** int(file.attrs["decimals"]), values)


def test_a_failed_ingest_leaves_the_old_file(tmp_path: Path) -> None:
    values = xdatcar(tmp_path / "XDATCAR")
    ingest(open_source(tmp_path / "XDATCAR"), tmp_path / "t.h5")
    with (tmp_path / "XDATCAR").open("a") as stream:
        stream.write("Direct configuration=    31\n 0.1 0.2")
    with pytest.raises(InputError):
        ingest(open_source(tmp_path / "XDATCAR"), tmp_path / "t.h5")
    with Trajectory(tmp_path / "t.h5") as stored:
        assert np.array_equal(stored.positions(), values)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["XDATCAR", "t.h5"]


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    xdatcar(tmp_path / "XDATCAR", frames=4000)
    monkeypatch.setattr(store_module, "_WRITE_BYTES", 1 << 14)
    held = []
    join = store_module._join
    monkeypatch.setattr(store_module, "_join", lambda blocks: held.append(len(blocks)) or join(blocks))
    ingest(open_source(tmp_path / "XDATCAR"), tmp_path / "t.h5")
    assert len(held) > 1
    with Trajectory(tmp_path / "t.h5") as stored:
        assert len(stored) == 4000


def test_segments_are_stitched_with_their_hashes_and_steps(tmp_path: Path) -> None:
    import hashlib

    values = []
    for k, frames in enumerate((30, 12)):
        (tmp_path / str(k)).mkdir()
        values.append(xdatcar(tmp_path / str(k) / "XDATCAR", frames))
    source = open_source(tmp_path / "0" / "XDATCAR", time_step_fs=1.0)
    path = tmp_path / "t.h5"
    with TrajectoryWriter(path, source.header) as writer:
        writer.append_source(source)
        second = open_source(tmp_path / "1" / "XDATCAR", time_step_fs=1.0)
        with pytest.raises(InputError, match="step 1 follows step 30"):
            writer.append_source(second)
        assert len(writer) == 30
        writer.append_source(open_source(tmp_path / "1" / "XDATCAR", time_step_fs=1.0), step_offset=30)
        assert len(writer) == 42
        with pytest.raises(InputError, match="not a continuation"):
            writer.append_source(open_source(tmp_path / "1" / "XDATCAR", time_step_fs=2.0))
    with Trajectory(path) as stored:
        assert np.array_equal(stored.positions(), np.concatenate(values))
        assert np.array_equal(stored.steps(), np.arange(1, 43))
        assert [(raw.first_frame, raw.frames) for raw in stored.raw_files] == [(0, 30), (30, 12)]
        digest = hashlib.sha256((tmp_path / "1" / "XDATCAR").read_bytes()).hexdigest()
        assert stored.raw_files[1].sha256 == digest


def test_more_digits_later_in_the_file_are_kept_as_floats(tmp_path: Path) -> None:
    xdatcar(tmp_path / "XDATCAR", 5)
    with (tmp_path / "XDATCAR").open("a") as stream:
        stream.write(
            "Direct configuration=     6\n"
            + " 0.1234567891 0.5 0.25\n" * 4
            + "Direct configuration=     7\n 0.1"
        )
    source = open_source(tmp_path / "XDATCAR", keep_partial=True)
    ingest(source, tmp_path / "t.h5")
    with Trajectory(tmp_path / "t.h5") as stored:
        assert len(stored) == 6
        assert stored.header.decimals is None
        assert stored.positions()[5, 3, 0] == 0.1234567891


def test_ingest_does_not_run_over_a_run_in_progress(tmp_path: Path) -> None:
    xdatcar(tmp_path / "XDATCAR", 5)
    writer = TrajectoryWriter(tmp_path / "t.h5", HEADER)
    writer.append(block(0, 3))
    with pytest.raises(StoreError, match="run in progress"):
        ingest(open_source(tmp_path / "XDATCAR"), tmp_path / "t.h5")
    writer.close()
    ingest(open_source(tmp_path / "XDATCAR"), tmp_path / "t.h5")


def test_a_segment_too_far_away_for_fixed_point_says_what_to_do(tmp_path: Path) -> None:
    xdatcar(tmp_path / "XDATCAR", 3)
    far = (tmp_path / "XDATCAR").read_text().replace("\n 0.", "\n90.", 1).replace("\n  0.", "\n 90.", 1)
    (tmp_path / "XDATCAR").write_text(far)
    source = open_source(tmp_path / "XDATCAR")
    with TrajectoryWriter(tmp_path / "t.h5", source.header) as writer:
        with pytest.raises(InputError, match="does not fit the 8 decimals"):
            writer.append_source(source)
        assert len(writer) == 0
    with TrajectoryWriter(tmp_path / "u.h5", source.with_floats().header) as writer:
        writer.append_source(source.with_floats())
        assert len(writer) == 3
    ingest(open_source(tmp_path / "XDATCAR"), tmp_path / "v.h5")
    with Trajectory(tmp_path / "v.h5") as stored:
        assert stored.positions().max() > 90
