"""XDATCAR: real files of VASP 4 to 6 against pymatgen, and every way a file can be bad."""

from __future__ import annotations

import gzip
import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epilayer.model.errors import InputError
from epilayer.outputs.trajectories.xdatcar import XdatcarSource
from epilayer.trajectory import Trajectory, ingest, open_source

REAL = Path(os.environ.get("EPILAYER_REAL_DATA", Path(__file__).parents[4] / "shared" / "data"))
CELL = (
    "   10.000000    0.000000    0.000000\n"
    "    0.000000   10.000000    0.000000\n"
    "    0.000000    0.000000   10.000000\n"
)
HEAD = f"test\n 1.0\n{CELL}  Na O\n 2 1\n"


def real(name: str) -> Path:
    path = REAL / name
    if not path.exists():
        pytest.skip(f"the real outputs are not at {REAL}; set EPILAYER_REAL_DATA")
    return path


def text(frames: np.ndarray, start: int = 1, stride: int = 1, head: str = HEAD) -> str:
    out = head
    for k, frame in enumerate(frames):
        out += f"Direct configuration={start + k * stride:6d}\n"
        out += "".join("".join(f"{x:12.8f}" for x in row) + "\n" for row in frame)
    return out


def some_frames(n: int = 40, seed: int = 0) -> np.ndarray:
    return np.round(np.random.default_rng(seed).random((n, 3, 3)), 8) % 1.0


def read(path: Path, **options: object) -> np.ndarray:
    source = XdatcarSource(path, **options)
    blocks = [block.positions for block in source.blocks()]
    return np.concatenate(blocks) / 10.0**source.header.decimals


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("vasp_misc/XDATCAR_4", 4),
        ("vasp_misc/XDATCAR_5", 4),
        ("vasp_misc/XDATCAR_6", 4),
        ("vasp_misc/XDATCAR.MD", 5),
        ("vasp_misc/XDATCAR_traj.gz", 100),
        ("md_kinisi_Li6PS5Cl/example_XDATCAR.gz", 140),
    ],
)
def test_real_files_equal_pymatgen_to_the_last_bit(name: str, frames: int, tmp_path: Path) -> None:
    path = real(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymatgen.io.vasp.outputs import Xdatcar

        # pymatgen 2026.10 reads a trailing species label as a fourth number; cut it off for the peer.
        if name == "vasp_misc/XDATCAR_traj.gz":
            bare = tmp_path / "XDATCAR_peer"
            lines = gzip.decompress(path.read_bytes()).decode().splitlines()
            bare.write_text("\n".join(" ".join(x.split()[:3]) if x[:2] == "0." else x for x in lines) + "\n")
            peer = Xdatcar(str(bare))
        else:
            peer = Xdatcar(str(path))
    ingest(open_source(path), tmp_path / "t.h5")
    with Trajectory(tmp_path / "t.h5") as stored:
        assert len(stored) == frames == len(peer.structures)
        expected = np.array([s.frac_coords for s in peer.structures])
        assert np.array_equal(stored.positions(), expected)
        lattices = np.array([s.lattice.matrix for s in peer.structures])
        assert np.allclose(stored.cells_ang(), lattices, rtol=0, atol=1e-9)
        assert list(stored.header.symbols) == [site.species_string for site in peer.structures[0]]
        assert stored.raw_files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(-2_500_000_000, 2_500_000_000)] * 9), min_size=1, max_size=6),
    st.integers(1, 8),
)
def test_every_fixed_point_number_survives(
    tmp_path_factory: pytest.TempPathFactory, rows: list, decimals: int
) -> None:
    values = np.array(rows, dtype=np.int64).reshape(-1, 3, 3)
    lines = HEAD
    for k, frame in enumerate(values):
        lines += f"Direct configuration={k + 1:6d}\n"
        for row in frame:
            lines += "".join(f"{int(x) / 10**decimals:{decimals + 14}.{decimals}f}" for x in row) + "\n"
    path = tmp_path_factory.mktemp("x") / "XDATCAR"
    path.write_text(lines)
    ingest(open_source(path), path.with_suffix(".h5"))
    with Trajectory(path.with_suffix(".h5")) as stored:
        assert np.array_equal(stored.positions(), values / 10.0**decimals)


def test_one_odd_line_does_not_change_the_rest(tmp_path: Path) -> None:
    frames = some_frames(60)
    lines = text(frames).splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if "configuration=    30" in line) + 2
    lines[at] = "  ".join(lines[at].split()) + "   \n"
    path = tmp_path / "XDATCAR"
    path.write_text("".join(lines))
    assert np.array_equal(read(path), frames)


def test_counter_wider_than_its_field_gzip_and_windows_lines(tmp_path: Path) -> None:
    frames = some_frames(50)
    path = tmp_path / "XDATCAR"
    path.write_text(text(frames, start=999_980))
    assert np.array_equal(read(path), frames)
    packed = tmp_path / "XDATCAR.gz"
    packed.write_bytes(gzip.compress(text(frames).encode()))
    assert np.array_equal(read(packed), frames)
    path.write_bytes(text(frames).replace("\n", "\r\n").encode())
    assert np.array_equal(read(path), frames)


def test_variable_cell_follows_every_header(tmp_path: Path) -> None:
    frames, out = some_frames(30), ""
    for k, frame in enumerate(frames):
        head = HEAD.replace("10.000000    0.000000    0.000000", f"10.{k:06d}    0.000000    0.000000")
        out += text(frame[None], start=k + 1, head=head)
    path = tmp_path / "XDATCAR"
    path.write_text(out)
    source = XdatcarSource(path)
    cells = np.concatenate([block.cells_ang for block in source.blocks()])
    assert np.allclose(cells[:, 0, 0], 10 + np.arange(30) * 1e-6, atol=1e-12)
    assert np.array_equal(read(path), frames)


def test_vasp_4_6_takes_cell_and_species_from_the_poscar(tmp_path: Path) -> None:
    frames = some_frames(12)
    body = "".join("\n" + "".join("".join(f"{x:12.8f}" for x in r) + "\n" for r in f) for f in frames)
    path = tmp_path / "XDATCAR"
    path.write_text(
        "   3   3   12\n  0.1E+02 0.5E-09 0.5E-09 0.5E-09 0.1E-14\n  0.1E-03\n  CAR\n test\n" + body
    )
    with pytest.raises(InputError, match=r"VASP 4\.6.*POSCAR"):
        XdatcarSource(path)
    (tmp_path / "POSCAR").write_text(HEAD + "Direct\n" + "0 0 0\n0.5 0 0\n0 0.5 0\n")
    assert np.array_equal(read(path), frames)


def test_scale_and_volume_in_the_second_line(tmp_path: Path) -> None:
    path = tmp_path / "XDATCAR"
    for line, edge in ((" 2.0", 20.0), (" -8000.0", 20.0)):
        path.write_text(text(some_frames(2)).replace(" 1.0", line, 1))
        block = next(XdatcarSource(path).blocks())
        assert np.allclose(block.cells_ang[0], edge * np.eye(3))


# -- bad input: one clear error each ------------------------------------------------------------------


def refuse(path: Path, content: str, *words: str) -> None:
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        ingest(open_source(path), path.with_name("t.h5"))
    for word in words:
        assert word in str(caught.value)
    assert not path.with_name("t.h5").exists()
    assert [p.name for p in path.parent.iterdir() if p.suffix == ".tmp"] == []


@pytest.mark.parametrize("cut", [20, 37, 50, 100, 130])
def test_cut_in_the_middle_of_a_frame(tmp_path: Path, cut: int) -> None:
    path, frames = tmp_path / "XDATCAR", some_frames()
    refuse(path, text(frames)[:-cut], "cut in the middle of frame 40", "39 complete frames")
    assert np.array_equal(read(path, keep_partial=True), frames[:39])


def test_a_missing_line_inside_is_not_a_partial_end(tmp_path: Path) -> None:
    lines = text(some_frames()).splitlines(keepends=True)
    del lines[7 + 4 * 20 + 2]
    path = tmp_path / "XDATCAR"
    refuse(path, "".join(lines), "configuration 21")
    with pytest.raises(InputError):
        read(path, keep_partial=True)


def test_species_that_change(tmp_path: Path) -> None:
    frames = some_frames()
    other = text(frames[:, :2], head=HEAD.replace(" 2 1\n", " 1 1\n"), start=41)
    refuse(tmp_path / "XDATCAR", text(frames) + other, "species change before frame 41", "3 to 2 atoms")


def test_two_trajectories_in_one_file(tmp_path: Path) -> None:
    frames = some_frames()
    refuse(
        tmp_path / "XDATCAR",
        text(frames) + text(frames, head=""),
        "configuration 1 follows 40",
        "concatenated",
    )
    refuse(tmp_path / "XDATCAR", text(frames) + text(frames), "configuration 1 follows 40", "concatenated")


@pytest.mark.parametrize(("first", "second"), [(10, 20), (20, 20), (20, 22)])
def test_frames_out_of_order_repeated_or_missing(tmp_path: Path, first: int, second: int) -> None:
    frames = some_frames()
    content = text(frames[:20]) + text(frames[20:25], start=second if first != 10 else 15, head="")
    refuse(tmp_path / "XDATCAR", content, "follows 20", "out of order")


@pytest.mark.parametrize(
    "bad", ["         nan", "         inf", "************", "  0.1234X678", "  0.12 45678"]
)
def test_numbers_that_are_none(tmp_path: Path, bad: str) -> None:
    lines = text(some_frames()).splitlines(keepends=True)
    at = 7 + 4 * 25 + 2
    lines[at] = bad + lines[at][12:]
    refuse(tmp_path / "XDATCAR", "".join(lines), "configuration 26, atom 2")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" 2 1\n", " 2\n"),
        (" 2 1\n", " 2 -1\n"),
        ("  Na O\n", "  Xx O\n"),
        (" 1.0\n", " zero\n"),
        (" 1.0\n", " 0\n"),
    ],
)
def test_headers_that_are_none(tmp_path: Path, old: str, new: str) -> None:
    refuse(tmp_path / "XDATCAR", text(some_frames()).replace(old, new, 1), "XDATCAR")


def test_empty_absent_unknown_and_zero_time_step(tmp_path: Path) -> None:
    refuse(tmp_path / "XDATCAR", HEAD, "no frame")
    with pytest.raises(InputError, match="There is no file"):
        open_source(tmp_path / "XDATCAR_none")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="of no kind known"):
        open_source(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="time step is 0"):
        open_source(tmp_path / "XDATCAR", time_step_fs=0.0)


def test_damaged_gzip(tmp_path: Path) -> None:
    packed = gzip.compress(text(some_frames(2000)).encode())
    (tmp_path / "XDATCAR.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match="is damaged: the compressed file ends"):
        ingest(open_source(tmp_path / "XDATCAR.gz"), tmp_path / "t.h5")
