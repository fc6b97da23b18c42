"""What jobs need of this machine and of the study, checked one by one."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

from epilayer.model.errors import EpilayerError
from epilayer.study.names import STUDY_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from epilayer.study.workspace import Workspace


class Check(NamedTuple):
    """What was looked at, whether it is well, what was found, and how to correct it."""

    check: str
    ok: bool
    found: str
    fix: str = ""


def checks(study: Workspace) -> Iterator[Check]:
    """Check this machine and the study: packages, engines, space, workers and databases."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("Python", sys.version_info >= (3, 11), version, "Install Python 3.11 to 3.13.")
    for package in ("jobflow", "atomate2", "pymatgen", "ase", "rdkit"):
        try:
            yield Check(package, True, metadata.version(package), "")
        except metadata.PackageNotFoundError:
            yield Check(package, False, "not installed", f"pip install {package}")
    sqlite_ok = sqlite3.sqlite_version_info >= (3, 35)
    yield Check("SQLite", sqlite_ok, sqlite3.sqlite_version, "Use a Python built with SQLite 3.35 or newer.")
    for name in study.catalogue.names("engines"):
        yield from _engine_checks(study, name)
    free_gb = shutil.disk_usage(study.root).free / 1e9
    yield Check("disk space", free_gb > 1, f"{free_gb:.0f} GB free at {study.root}", "Free at least 1 GB.")
    writable = os.access(study.root, os.W_OK)
    yield Check("study directory", writable, str(study.root), f"Make {study.root} writable, or use -C DIR.")
    cores = os.cpu_count() or 1
    workers_ok = study.workers <= cores
    yield Check(
        "workers", workers_ok, f"{study.workers} on {cores} cores", f"Set workers: {cores} in {STUDY_FILE}."
    )
    yield _database_check("queue", study.queue_file)
    if study.results_address == study.results_file:
        yield _database_check("results", study.results_file)
    else:
        yield _results_check(study)


def _engine_checks(study: Workspace, name: str) -> Iterator[Check]:
    from epilayer.engines.mlip import calculators
    from epilayer.model.level import EngineKind

    try:
        spec = study.catalogue.engine_spec(name)
        if spec.kind is EngineKind.DFT:
            levels = map(study.catalogue.level, study.catalogue.names("levels"))
            mine = next((level.name for level in levels if level.engine == name and level.gpaw), None)
            yield from vasp_checks(study, name) if mine is None else _gpaw_checks(study, name, mine)
            return
        version = calculators.package_version(spec)
        calculators.weights_file(spec)
    except EpilayerError as error:
        yield Check(f"engine {name}", False, error.what, error.remedy)
        return
    found = f"{spec.package} {version}, weights verified" if version else spec.title
    yield Check(f"engine {name}", True, found, "")


def _gpaw_checks(study: Workspace, name: str, cheap: str) -> Iterator[Check]:
    """Compute a small molecule at one level; where the study does not use GPAW, its absence is no fault."""
    from epilayer.engines.gpaw import setup
    from epilayer.engines.gpaw.engine import GpawEngine

    title, level = f"engine {name}", study.settings.level
    try:
        setup.command()
        engine = GpawEngine.for_cathode(study.catalogue.engine_spec(name), study.catalogue.level(cheap), None)
        yield Check(title, True, f"{engine.check()}, H2 computed", "")
    except EpilayerError as error:
        needed = level is not None and study.catalogue.level(level).engine == name
        if needed or os.environ.get(setup.COMMAND_VARIABLE):
            yield Check(title, False, error.what, error.remedy)
        else:
            yield Check(title, True, f"not set up, and not needed here ({error.what})", "")


def vasp_checks(study: Workspace, name: str) -> Iterator[Check]:
    """Check VASP and LOBSTER, one row a fault; where the study does not use them, being absent is none."""
    import atomate2
    import pymatgen.core

    from epilayer.engines.vasp import setup as vasp_setup

    catalogue = study.catalogue
    levels = [level for level in map(catalogue.level, catalogue.names("levels")) if level.engine == name]
    needed = any(level.name == study.settings.level for level in levels)
    begun = bool(pymatgen.core.SETTINGS.get("PMG_VASP_PSP_DIR")) or any(
        shutil.which(command.split()[-1]) for command in (atomate2.SETTINGS.VASP_CMD,) if command.split()
    )
    faults: dict[str, EpilayerError] = {}
    for level in levels:
        if level.vasp is None or (needed and level.name != study.settings.level):
            continue
        for what, problem in vasp_setup.problems(level.vasp.potcars, level.vasp.potcar_functional):
            if problem is not None:
                faults.setdefault(what, problem)
    title = f"engine {name}"
    if faults and not (needed or begun):
        first = next(iter(faults.values()))
        yield Check(title, True, f"not set up, and not needed here ({first.what})", "")
        return
    for what, fault in faults.items():
        yield Check(f"{title}: {what}", False, fault.what, fault.remedy)
    if not faults:
        yield Check(title, True, "commands and POTCARs found", "")
    missing = vasp_setup.lobster_problem()
    if missing is None:
        yield Check("LOBSTER", True, f"{atomate2.SETTINGS.LOBSTER_CMD!r} found", "")
    else:
        yield Check("LOBSTER", False, f"{missing.what} Bonding analysis needs it.", missing.remedy)


def _results_check(study: Workspace) -> Check:
    from epilayer.store.addresses import without_password

    try:
        with closing(study.results()) as results:
            count = sum(results.kinds().values())
    except EpilayerError as error:
        return Check("results", False, error.what, error.remedy)
    return Check("results", True, f"{count} in {without_password(str(study.results_address))}", "")


def _database_check(title: str, file: Path) -> Check:
    if not file.exists():
        return Check(title, True, "none yet", "")
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5) as database:
            verdict = str(database.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.Error as error:
        verdict = str(error)
    return Check(title, verdict == "ok", f"{file.name}: {verdict}", f"Restore {file} from a backup.")
