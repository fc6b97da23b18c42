from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from epilayer.model.errors import InputError
from epilayer.model.files import sha256_file, write_atomic

if TYPE_CHECKING:
    from pathlib import Path


def test_text_and_bytes_are_written_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file"
    assert write_atomic(target, "\u00c5ngstr\u00f6m\n") == target
    assert target.read_bytes() == "\u00c5ngstr\u00f6m\n".encode()
    write_atomic(target, b"\x00\r\n\xff")
    assert target.read_bytes() == b"\x00\r\n\xff"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_the_mode_is_kept_and_a_link_is_followed(tmp_path: Path) -> None:
    script, link = tmp_path / "script", tmp_path / "link"
    script.write_text("old")
    script.chmod(0o750)
    link.symlink_to(script)
    write_atomic(link, "new")
    assert script.read_text() == "new"
    assert script.stat().st_mode & 0o777 == 0o750
    assert link.is_symlink()


def test_a_failure_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    target.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"file cannot be written .No space left on device") as refusal:
        write_atomic(target, "new")
    assert "unchanged" in refusal.value.remedy
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_path_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        write_atomic(tmp_path / "file" / "below", "x")
    with pytest.raises(InputError, match=r"missing cannot be read .*Check the path"):
        sha256_file(tmp_path / "missing")


def test_the_hash_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    write_atomic(tmp_path / "file", content)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


WRITER = """
import sys
from epilayer.model.files import write_atomic
for n in range(100000):
    write_atomic(sys.argv[1], str(n % 10) * 200_000)
    print(n, flush=True)
"""


def test_kill_9_while_writing_leaves_one_whole_version(tmp_path: Path) -> None:
    target = tmp_path / "file"
    for lines in (1, 3, 8, 13):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
        text = target.read_text()
        assert len(text) == 200_000
        assert len(set(text)) == 1
