"""What the jobs of a study put out: calculations, bond analyses, and the jobs and files behind a record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymatgen.core import Structure

    from epilayer.model.cohp import Bonding
    from epilayer.model.records import Calculation
    from epilayer.study.workspace import Workspace


def outputs_of(study: Workspace, jobs: Iterable[str], kind: str) -> list[Any]:
    """Return the outputs of one type that jobs put out, as far as the job store has them.

    Parameters
    ----------
    jobs
        Their uuids.
    kind
        The name of the type, such as ``Calculation``.
    """
    from monty.json import MontyDecoder

    wanted = sorted(set(jobs))
    if not wanted:
        return []
    with study.jobstore() as store:
        where = {"uuid": {"$in": wanted}, "output.@class": kind}
        found = store.query(where, properties=["output"], load=True)
        return [MontyDecoder().process_decoded(document["output"]) for document in found]


def calculations(study: Workspace, jobs: Iterable[str]) -> dict[str, Calculation]:
    """Return the calculations that jobs put out, by the uuid of the job."""
    read: list[Calculation] = outputs_of(study, jobs, "Calculation")
    return {calculation.provenance.job: calculation for calculation in read}


def bond_analyses(study: Workspace, job: str) -> list[Bonding]:
    """Return what LOBSTER measured for the job that made a record, also of the free molecule."""
    return outputs_of(study, upstream(study, job), "Bonding")


def upstream(study: Workspace, job: str) -> list[str]:
    """Return the uuids of the jobs that a job was built on, and of those that they were built on."""
    queue = study.queue()
    info = queue.job(job)
    parents: dict[int, set[int]] = {}
    for edge in (edge for flow in info.flows for edge in queue.edges(flow)):
        parents.setdefault(edge.child, set()).add(edge.parent)
    behind: set[int] = set()
    found = {info.number}
    while found := {p for child in found for p in parents.get(child, ())} - behind:
        behind |= found
    return [queue.job(number).uuid for number in sorted(behind)]


def records_of(study: Workspace, job: str) -> tuple[str, ...]:
    """Return the ids of the results that a job (by its uuid) made."""
    from contextlib import closing

    from epilayer.store.filters import Filter, Operator

    asked = [Filter("job", Operator.EQ, (job,))]
    with closing(study.results()) as results:
        kinds = [kind for kind in results.kinds() if "job" in results.fields(kind)]
        return tuple(r["id"] for kind in kinds for r in results.query(kind, asked, fields=()))


def file_inside(study: Workspace, path: str, folder: Path | None = None) -> Path | None:
    """Return the regular file that a path names, if it lies in the study and in the folder.

    Parameters
    ----------
    path
        Absolute, or relative to the folder; links are followed.
    folder
        A folder of the study; its root by default.
    """
    home = folder or study.root
    try:
        found = (home / path).resolve(strict=True)
        homes = [home.resolve(strict=True), study.root.resolve(strict=True)]
    except (OSError, ValueError, RuntimeError):
        return None
    return found if found.is_file() and all(found.is_relative_to(one) for one in homes) else None


def initial_structure(study: Workspace, run_directory: str, like: Structure) -> Structure | None:
    """Return the configuration that a run began with (atoms as in ``like``), where its files hold it."""
    from epilayer.outputs.vasp.initial_structure import BEGINNINGS, begun_from

    found = (file_inside(study, name, Path(run_directory)) for name in BEGINNINGS)
    return next((begun for path in found if path and (begun := begun_from(path, like))), None)
