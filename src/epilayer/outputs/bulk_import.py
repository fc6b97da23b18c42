"""Import of one directory or of thousands: in parallel, resumable, the bad ones listed with their reasons."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from epilayer.model.errors import InputError
from epilayer.model.imported import (
    CalculationKind,
    Code,
    Finding,
    ImportedCalculation,
    ImportStatus,
    Reason,
    Severity,
)
from epilayer.outputs.discover import FoundFiles, find_calculations
from epilayer.outputs.lobster.directory import import_lobster
from epilayer.outputs.reading import ByteSource
from epilayer.outputs.vasp.assess import import_vasp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_WORKERS_LIMIT = 64
_FIREWORK_BYTES = 1 << 26
_WORTH_A_PROCESS = 8
"""A process takes about as long to start as eight calculations take to read."""
Key = tuple[str, str, str]


def import_directory(path: str | Path) -> list[ImportedCalculation]:
    """Import every VASP and LOBSTER calculation under a directory, or the one that a file is.

    Parameters
    ----------
    path
        A directory of VASP, FireWorks, atomate2 or LOBSTER runs (compressed or not, nested or flat), or a
        lone OUTCAR, vasprun.xml, OSZICAR, standard output, lobsterout, ICOHPLIST or COHPCAR.

    Returns
    -------
    list[ImportedCalculation]
        In the order of the folders' names; a folder with both codes gives one record each.

    Raises
    ------
    InputError
        When the path does not exist, or holds no calculation.
    """
    found = find_calculations(path)
    if not found:
        raise InputError(
            f"{path} holds no VASP or LOBSTER calculation.",
            "Give a directory with vasprun.xml, OUTCAR or lobsterout in it or below it.",
        )
    return [import_files(one) for one in found]


def import_many(
    paths: Iterable[str | Path],
    workers: int | None = 1,
    resume_from: str | Path | None = None,
    on_record: Callable[[int, int], None] | None = None,
) -> list[ImportedCalculation]:
    """Import many directories and files, each calculation on its own.

    Parameters
    ----------
    workers
        Processes; at most one per calculation is started. ``None``: one a core where there are enough
        calculations to be worth their start.
    resume_from
        A file of records, one JSON object a line. What it holds of unchanged files is not read again;
        what is new is appended as soon as it is there, so a killed import goes on where it was.
    on_record
        Called with the number of calculations that are done and of all of them, as they come.

    Returns
    -------
    list[ImportedCalculation]
        One per calculation, in the order of the paths; a path that cannot be used gives a record too.

    Raises
    ------
    InputError
        When ``resume_from`` cannot be read or written, or ``workers`` is not positive.
    """
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers cannot import anything.", "Give at least 1.")
    tasks: list[FoundFiles | ImportedCalculation] = []
    for path in paths:
        try:
            found = find_calculations(path)
        except (InputError, OSError) as error:
            tasks.append(_refused(Path(path), str(error)))
            continue
        tasks += found or [_refused(Path(path), f"{path} holds no VASP or LOBSTER calculation.")]
    ledger = Path(resume_from) if resume_from is not None else None
    known = _load(ledger) if ledger else {}
    records: dict[Key, ImportedCalculation] = {}
    todo: dict[Key, FoundFiles] = {}
    order: list[Key] = []
    for task in tasks:
        key = _key_of(task)
        order.append(key)
        if isinstance(task, ImportedCalculation):
            records[key] = task
        elif key in known and known[key].signature == task.signature:
            records[key] = known[key]
        else:
            todo[key] = task
    total = len(dict.fromkeys(order))
    report = on_record or (lambda _done, _total: None)
    report(len(records), total)
    if workers is None:
        workers = min(os.cpu_count() or 1, len(todo) // _WORTH_A_PROCESS) or 1
    for record in _run(list(todo.values()), min(workers, _WORKERS_LIMIT, max(1, len(todo)))):
        records[_key_of(record)] = record
        if ledger:
            _append(ledger, record)
        report(len(records), total)
    return [records[key] for key in dict.fromkeys(order)]


def import_files(files: FoundFiles) -> ImportedCalculation:
    """Import one calculation from its files."""
    if files.code is Code.VASP:
        return _named(import_vasp(files))
    if files.code is Code.LOBSTER:
        return _named(import_lobster(files))
    return _refused(files.folder, f"{files.folder.name} is no file of VASP or LOBSTER that is known here.")


def _named(record: ImportedCalculation) -> ImportedCalculation:
    """Return the record with the name and number that FireWorks gave the job, where FW.json is there."""
    folder = Path(record.path)
    path = next((p for p in (folder / "FW.json", folder / "FW.json.gz") if p.is_file()), None)
    if path is None or path.stat().st_size > _FIREWORK_BYTES:
        return record
    try:
        firework = json.loads(ByteSource(path).read(_FIREWORK_BYTES))
        name, number = firework.get("name"), firework.get("fw_id")
    except (ValueError, AttributeError, RecursionError):  # damaged: the outputs speak for themselves
        return record
    return record.model_copy(
        update={
            "job_name": name if isinstance(name, str) else None,
            "job_number": number if type(number) is int else None,
        }
    )


def _key_of(one: FoundFiles | ImportedCalculation) -> Key:
    path = one.path if isinstance(one, ImportedCalculation) else str(one.folder)
    return path, one.code.value, one.label


def _refused(path: Path, what: str, code: Finding = Finding.NOT_RECOGNISED) -> ImportedCalculation:
    reason = Reason(
        code=code,
        severity=Severity.FATAL,
        what=what,
        remedy="Give a directory with vasprun.xml, OUTCAR or lobsterout, or one of these files.",
    )
    return ImportedCalculation(
        path=str(path),
        code=Code.UNKNOWN,
        kind=CalculationKind.UNKNOWN,
        status=ImportStatus.FAILED,
        reasons=(reason,),
    )


def _run(tasks: Sequence[FoundFiles], workers: int) -> Iterator[ImportedCalculation]:
    if workers == 1 or len(tasks) < 2:  # noqa: PLR2004
        yield from map(import_files, tasks)
        return
    done: set[Key] = set()
    try:
        for record in _pooled(tasks, workers):
            done.add(_key_of(record))
            yield record
    except BrokenProcessPool:
        # A process crashed (probably out of memory) and with it the pool: each of the rest gets its own.
        for task in tasks:
            if _key_of(task) not in done:
                yield _alone(task)


def _pooled(tasks: Sequence[FoundFiles], workers: int) -> Iterator[ImportedCalculation]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for future in as_completed([pool.submit(import_files, task) for task in tasks]):
            yield future.result()


def _alone(task: FoundFiles) -> ImportedCalculation:
    try:
        return next(_pooled([task], 1))
    except BrokenProcessPool:
        what = "the process that read it crashed, probably out of memory"
        refused = _refused(task.folder, what, Finding.IMPORT_CRASHED)
        return refused.model_copy(
            update={
                "code": task.code,
                "label": task.label,
                "signature": task.signature,
                "path": str(task.folder),
            }
        )


def _load(ledger: Path) -> dict[Key, ImportedCalculation]:
    """Return the records of an earlier import; a torn last line is what a killed one leaves."""
    if not ledger.exists():
        return {}
    try:
        lines = ledger.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{ledger} cannot be read ({error}).",
            "Give the file that an earlier import wrote, or a new name.",
        ) from error
    out: dict[Key, ImportedCalculation] = {}
    bad = 0
    for line in lines:
        with suppress(ValidationError):
            record = ImportedCalculation.model_validate_json(line)
            out[_key_of(record)] = record
            continue
        bad += bool(line.strip())
    if bad and not out:
        raise InputError(
            f"{ledger} is not a file of imported records.",
            "Give the file that an earlier import wrote, or a new name.",
        )
    return out


def _append(ledger: Path, record: ImportedCalculation) -> None:
    line = json.dumps(record.model_dump(mode="json"), separators=(",", ":"), allow_nan=False) + "\n"
    try:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        with ledger.open("ab+") as handle:
            # What a killed import tore off must not swallow this line.
            if handle.tell():
                handle.seek(-1, os.SEEK_END)
                if handle.read(1) != b"\n":
                    handle.write(b"\n")
            handle.write(line.encode())
    except OSError as error:
        raise InputError(
            f"{ledger} cannot be written ({error.strerror or error}).",
            "Check the folder and the disk's space.",
        ) from error
