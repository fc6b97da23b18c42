"""The error of a level of theory, from single points at the geometries of a published benchmark."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from epilayer import __version__
from epilayer.model.benchmark import CaseError, ModelError
from epilayer.model.errors import InputError
from epilayer.model.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure

    from epilayer.model.benchmark import Benchmark
    from epilayer.study.config import Catalogue

_PARTS = ("Molecule-Surface", "Surface", "Molecule")


def benchmark(catalogue: Catalogue, level_name: str, benchmark_name: str, geometries: Path) -> ModelError:
    """Compute a benchmark at a level and return its errors.

    Parameters
    ----------
    geometries
        Folder with the structure files that the benchmark names, in it or below.

    Raises
    ------
    InputError
        If a file is missing, or the level's engine is a stand-in.
    """
    import jobflow
    from maggma.stores import MemoryStore

    asked = catalogue.benchmark(benchmark_name)
    engine = catalogue.engine(level_name)
    if engine.stand_in:
        raise InputError(f"{level_name} is a stand-in: it has no error.", "Name a potential or a DFT level.")
    files = _files(asked, geometries)
    jobs = {
        (case, part): engine.static(f"{case}, {part}").make(_read(path))
        for (case, part), path in files.items()
    }
    store = jobflow.JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    with tempfile.TemporaryDirectory(prefix="epilayer-benchmark-") as folder:
        done: Any = jobflow.run_locally(
            jobflow.Flow(list(jobs.values())),
            create_folders=True,
            root_dir=folder,
            store=store,
            ensure_success=True,
            log=False,
        )
    made = {key: done[job.uuid][1].output for key, job in jobs.items()}
    errors = {}
    for name, case in asked.cases.items():
        whole, surface, molecule = (made[name, part].energy_ev for part in _PARTS)
        error_ev = whole - surface - molecule - case.values_ev[asked.reference]
        errors[name] = CaseError(contact=case.contact, error_ev=round(error_ev, 4))
    level = next(iter(made.values())).level
    versions = ", ".join(f"{k} {v}" for k, v in sorted(next(iter(made.values())).provenance.versions.items()))
    return ModelError(
        name=level_name,
        fingerprint=level.fingerprint,
        benchmark=benchmark_name,
        reference=asked.reference,
        source=f"single points by epilayer {__version__} ({versions}) at the geometries of {benchmark_name}",
        cases=errors,
    )


def write_errors(errors: ModelError, path: Path) -> None:
    """Write the errors of a level as configuration."""
    import yaml

    write_atomic(path, yaml.safe_dump(errors.model_dump(mode="json"), sort_keys=False, width=110))


def _files(asked: Benchmark, folder: Path) -> dict[tuple[str, str], Path]:
    known = {path.name: path for path in sorted(folder.rglob("*.extxyz"))}
    wanted = {(n, part): f"{c.geometry}_{part}.extxyz" for n, c in asked.cases.items() for part in _PARTS}
    missing = [name for name in wanted.values() if name not in known]
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} of {len(wanted)} structure files, such as {missing[0]}.",
            f"Fetch them: {asked.get}",
        )
    return {key: known[name] for key, name in wanted.items()}


def _read(path: Path) -> Structure:
    from ase.io import read
    from pymatgen.io.ase import AseAtomsAdaptor

    return AseAtomsAdaptor.get_structure(read(path))
