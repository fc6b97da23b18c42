"""Commands that set up a study: ``init``, ``doctor``, ``list``, ``build``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import Check, JsonOption, out, print_json, report_checks, study
from epilayer.model.errors import EpilayerError, InputError, UnknownNameError
from epilayer.study.config import STUDY_FILE, shipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from epilayer import Study

_STUDY_TEMPLATE = """\
# A study: where its jobs run and where its results are kept. Every key is optional.

# Level of theory of every workflow, instead of the workflow's own: epilayer list levels
# level: chgnet+d3

# The queue and the store of this machine. On a cluster these lines name the cluster, and
# mongodb://HOST/DATABASE (${VARIABLE} is filled in from the environment).
queue: embedded
store: embedded

# Worker processes of `epilayer run` (default: one a core, at most four).
# workers: 2

# For what is handed on (epilayer db crate): a title, who answers for it, and its licence by SPDX name.
# title: Adsorption of ligands on NVOPF
# authors:
#   - {name: Ada Lovelace, orcid: 0000-0000-0000-0000, affiliation: University of X}
# licence: CC-BY-4.0
"""


def init(
    directory: Annotated[Path, typer.Argument(help="Folder to lay out; created if missing.")],
) -> None:
    """Lay out a study: settings, and workflows and configs to edit.

    Example: [cyan]epilayer init mystudy && cd mystudy && epilayer list workflows[/]
    """
    target = directory / STUDY_FILE
    if target.exists():
        raise InputError(f"{directory} is a study already.", f"Use it: epilayer -C {directory} status")
    directory.mkdir(parents=True, exist_ok=True)
    for folder in ("configs", "workflows", "slurm"):
        if not (directory / folder).exists():
            shutil.copytree(
                shipped(folder), directory / folder, ignore=shutil.ignore_patterns("__pycache__", "dev")
            )
    target.write_text(_STUDY_TEMPLATE, encoding="utf-8")
    out.print(f"Laid out [bold]{directory}[/]: {STUDY_FILE}, configs/, workflows/, slurm/.")
    out.print(f"Next: [cyan]cd {directory} && epilayer doctor && epilayer run paper_adsorption[/]")


def list_inputs(
    kind: Annotated[
        str | None,
        typer.Argument(help="workflows, cathodes, ligands, levels, engines ... (default: all)"),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List what a workflow can name, and the workflows themselves.

    Example: [cyan]epilayer list levels[/]
    """
    used = study()
    kinds = ("workflows", *used.catalogue.KINDS)
    if kind is not None and kind not in kinds:
        raise UnknownNameError("kind", kind, kinds)
    rows = {k: list(_describe(used, k)) for k in ([kind] if kind else kinds)}
    if as_json:
        print_json(rows)
        return
    for name, entries in rows.items():
        if not entries and kind is None:
            continue
        table = Table(title=name, title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.add_column("name", style="cyan", no_wrap=True)
        table.add_column("what it is")
        for entry in entries:
            table.add_row(escape(entry["name"]), escape(entry["title"]))
        out.print(table)
        out.print()


def _describe(used: Study, kind: str) -> Iterator[dict[str, Any]]:
    from epilayer.study.config import read_yaml
    from epilayer.study.workflows import describe

    if kind == "workflows":
        for name, path in used.workflows().items():
            try:
                title, settings = describe(path)
            except EpilayerError as error:  # one broken file does not hide the others
                title, settings = f"cannot be loaded: {error.what}", {}
            yield {"name": name, "title": title, "settings": settings, "file": str(path)}
        return
    for name, path in used.catalogue.names(kind).items():
        data = read_yaml(path)
        title = data.get("title") or data.get("formula") or ""
        yield {"name": name, "title": str(title), "source": data.get("source", ""), "file": str(path)}


def doctor(
    *,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse", help="Run a tiny campaign with stand-ins for VASP and LOBSTER, end to end."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check this machine and the study, and say how to mend what is wrong.

    With --rehearse, a few small calculations go through this study's kind of queue, store and recovery,
    computed by stand-ins: no number of them is a result. One is killed on purpose, and rerun.

    Example: [cyan]epilayer doctor --json[/], [cyan]epilayer doctor --rehearse[/]
    """
    used = study()
    if rehearse:
        from epilayer.cli.rehearsal import show

        show(used, as_json=as_json)
        return
    report_checks(_checks(used), as_json=as_json)


def _checks(used: Study) -> Iterator[Check]:
    import os
    import sqlite3
    from importlib import metadata

    version = ".".join(map(str, sys.version_info[:3]))
    yield "Python", sys.version_info >= (3, 11), version, "Install Python 3.11 to 3.13."
    for package in ("jobflow", "atomate2", "pymatgen", "ase", "rdkit"):
        try:
            yield package, True, metadata.version(package), ""
        except metadata.PackageNotFoundError:
            yield package, False, "not installed", f"pip install {package}"
    sqlite_ok = sqlite3.sqlite_version_info >= (3, 35)
    yield "SQLite", sqlite_ok, sqlite3.sqlite_version, "Use a Python built with SQLite 3.35 or newer."
    for name in used.catalogue.names("engines"):
        yield from _engine_checks(used, name)
    free_gb = shutil.disk_usage(used.root).free / 1e9
    yield "disk space", free_gb > 1, f"{free_gb:.0f} GB free at {used.root}", "Free at least 1 GB."
    writable = os.access(used.root, os.W_OK)
    yield "study directory", writable, str(used.root), f"Make {used.root} writable, or use -C DIR."
    cores = os.cpu_count() or 1
    workers_ok = used.workers <= cores
    yield "workers", workers_ok, f"{used.workers} on {cores} cores", f"Set workers: {cores} in {STUDY_FILE}."
    yield _database_check("queue", used.queue_file)
    if used.results_address == used.results_file:
        yield _database_check("results", used.results_file)
    else:
        yield _results_check(used)


def _engine_checks(used: Study, name: str) -> Iterator[Check]:
    from epilayer.engines.mlip import calculators
    from epilayer.model.level import EngineKind

    try:
        spec = used.catalogue.engine_spec(name)
        if spec.kind is EngineKind.DFT:
            yield from _vasp_checks(used, name)
            return
        version = calculators.package_version(spec)
        calculators.weights_file(spec)
    except EpilayerError as error:
        yield f"engine {name}", False, error.what, error.remedy
        return
    found = f"{spec.package} {version}, weights verified" if version else spec.title
    yield f"engine {name}", True, found, ""


def _vasp_checks(used: Study, name: str) -> Iterator[Check]:
    """Check VASP and LOBSTER, one row a fault; where the study does not use them, being absent is none."""
    import atomate2
    import pymatgen.core

    from epilayer.engines.vasp import setup as vasp_setup

    catalogue = used.catalogue
    levels = [level for level in map(catalogue.level, catalogue.names("levels")) if level.engine == name]
    needed = any(level.name == used.settings.level for level in levels)
    begun = bool(pymatgen.core.SETTINGS.get("PMG_VASP_PSP_DIR")) or any(
        shutil.which(command.split()[-1]) for command in (atomate2.SETTINGS.VASP_CMD,) if command.split()
    )
    faults: dict[str, EpilayerError] = {}
    for level in levels:
        if level.vasp is None or (needed and level.name != used.settings.level):
            continue
        for what, problem in vasp_setup.problems(level.vasp.potcars, level.vasp.potcar_functional):
            if problem is not None:
                faults.setdefault(what, problem)
    title = f"engine {name}"
    if faults and not (needed or begun):
        first = next(iter(faults.values()))
        yield title, True, f"not set up, and not needed here ({first.what})", ""
        return
    for what, fault in faults.items():
        yield f"{title}: {what}", False, fault.what, fault.remedy
    if not faults:
        yield title, True, "commands and POTCARs found", ""
    missing = vasp_setup.lobster_problem()
    if missing is None:
        yield "LOBSTER", True, f"{atomate2.SETTINGS.LOBSTER_CMD!r} found", ""
    else:
        yield "LOBSTER", False, f"{missing.what} Bonding analysis needs it.", missing.remedy


def _results_check(used: Study) -> Check:
    from epilayer.store.jobs import without_password

    try:
        results = used.results()
        try:
            count = sum(results.kinds().values())
        finally:
            results.close()
    except EpilayerError as error:
        return "results", False, error.what, error.remedy
    return "results", True, f"{count} in {without_password(str(used.results_address))}", ""


def _database_check(title: str, file: Path) -> Check:
    import sqlite3

    if not file.exists():
        return title, True, "none yet", ""
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5) as database:
            verdict = str(database.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.Error as error:
        verdict = str(error)
    return title, verdict == "ok", f"{file.name}: {verdict}", f"Restore {file} from a backup."
