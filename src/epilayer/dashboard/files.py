"""Which files a dashboard may read: those of its study, whatever path it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def inside(directory: Path, asked: str, root: Path) -> Path | None:
    """Return the regular file that a path names, if it lies in both the directory and the study."""
    try:
        path = (directory / asked).resolve(strict=True)
        homes = [directory.resolve(strict=True), root.resolve(strict=True)]
    except (OSError, ValueError, RuntimeError):
        return None
    if not path.is_file() or not all(path.is_relative_to(home) for home in homes):
        return None
    return path
