"""Reviewed copies of input files, and those that are written now."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pymatgen.core

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def written_beside(
    folder: Path, golden: Path, write: Callable[[], object], files: Sequence[str]
) -> tuple[Path, Path]:
    """Write inputs into a folder as without a licence; return it and the folder of the reviewed ones.

    With ``EPILAYER_WRITE_GOLDEN`` in the environment the reviewed ones are replaced.
    """
    kept = pymatgen.core.SETTINGS.pop("PMG_VASP_PSP_DIR", None)  # without a licence: POTCAR.spec
    try:
        write()
    finally:
        if kept is not None:
            pymatgen.core.SETTINGS["PMG_VASP_PSP_DIR"] = kept
    if os.environ.get("EPILAYER_WRITE_GOLDEN"):
        shutil.rmtree(golden, ignore_errors=True)
        for source in (p for p in folder.glob("*/*") if p.name in files):
            target = golden / source.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return folder, golden


def lines(root: Path, name: str, file: str) -> list[str]:
    return (root / name / file).read_text(encoding="utf-8").strip().splitlines()


def unreviewed(golden: Path, page: Path) -> set[str]:
    """Return the INCAR tags of the reviewed copies that the page of reviews does not list."""
    reviewed = {
        line.split("`")[1] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    }
    used = {
        line.split("=")[0].strip()
        for incar in golden.glob("*/INCAR")
        for line in incar.read_text().splitlines()
        if "=" in line
    }
    return used - reviewed
