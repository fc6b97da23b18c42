"""Where a result comes from: the job that runs, the files it rests on, the programs that took part."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from jobflow import CURRENT_JOB

from epilayer import __version__
from epilayer.model.files import sha256_file
from epilayer.model.records import Provenance

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from epilayer.model.level import LevelOfTheory


def job_id() -> str:
    """Return the uuid of the job that runs; empty outside one."""
    return CURRENT_JOB.job.uuid if CURRENT_JOB.job is not None else ""


def provenance(
    directory: Path, files: Iterable[str | Path], packages: Iterable[str], programs: Mapping[str, str]
) -> Provenance:
    """Return where a result of this job comes from.

    Parameters
    ----------
    directory
        Where it was computed.
    files
        What it rests on, in that directory or by their paths; those that are not there are left out.
    packages
        Python packages that took part, whose installed versions are noted.
    programs
        Versions of what else took part, by name.
    """
    paths = [directory / file for file in files]
    return Provenance(
        job=job_id(),
        run_directory=str(directory),
        files={path.name: sha256_file(path) for path in paths if path.is_file()},
        versions={"epilayer": __version__, **{p: metadata.version(p) for p in packages}, **programs},
    )


def provenance_of(files: Sequence[Path], level: LevelOfTheory) -> Provenance:
    """Return where a result of a potential comes from, which was computed in the current directory."""
    models = {k: str(v) for k, v in level.numerics.items() if k in ("chgnet", "sevenn", "dftd3")}
    return provenance(Path.cwd(), files, ("atomate2", "jobflow", "pymatgen", "ase"), models)
