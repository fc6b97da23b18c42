"""What can be asked for beside the records: jobs, the runs behind results, and structures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.study.records import stored, with_id
from epilayer.study.stored_files import provenances

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from epilayer.launch.base import JobInfo
    from epilayer.store.results import Record
    from epilayer.study.workspace import Workspace

_SHORT = 12


def job_rows(study: Workspace, _: str | None) -> Iterator[Record]:
    """Yield the jobs of the queue."""
    for job in _jobs(study):
        yield _row(
            "jobs",
            f"{job.uuid}-{job.index}",
            job.created.isoformat(),
            {
                "number": job.number,
                "state": job.state.value.lower(),
                "name": job.name,
                "attempts": job.attempts,
                "flows": ",".join(job.flows),
                "took_s": _took_s(job),
                "cause": job.cause,
                "uuid": job.uuid,
            },
        )


def run_rows(study: Workspace, of: str | None) -> Iterator[Record]:
    """Yield a row for each job behind each result: which it is, where it ran, what it left."""
    jobs = {job.uuid: job for job in _jobs(study)}
    for record in stored(study) if of is None else with_id(study, of):
        body = record.get("body", {})
        origins = {str(one["job"]): one for one in provenances(body)}
        roles = dict(_roles(body))
        made_by = record["fields"].get("job")
        for uuid in dict.fromkeys(
            [*origins, *(body.get("jobs") or ()), *([str(made_by)] if made_by else [])]
        ):
            job, origin = jobs.get(uuid), origins.get(uuid, {})
            files: Mapping[str, str] = origin.get("files") or {}
            yield _row(
                "runs",
                f"{record['id']}-{uuid}",
                record["created"],
                {
                    "result": record["id"][:_SHORT],
                    "of": record["kind"],
                    "role": "made the result" if uuid == made_by else roles.get(uuid),
                    "number": job.number if job else None,
                    "name": job.name if job else None,
                    "state": job.state.value.lower() if job else None,
                    "took_s": _took_s(job) if job else None,
                    "files": ",".join(files) or None,
                    "directory": origin.get("run_directory"),
                    "programs": ", ".join(f"{n} {v}" for n, v in (origin.get("versions") or {}).items())
                    or None,
                    "uuid": uuid,
                },
            )


def structure_rows(study: Workspace, of: str | None) -> Iterator[Record]:
    """Yield the structures that results hold."""
    from pymatgen.core import Structure

    for record in stored(study) if of is None else with_id(study, of):
        for place, found in _structures(record.get("body", {}), ""):
            structure = Structure.from_dict(found)
            lattice, composition = structure.lattice, structure.composition
            yield _row(
                "structures",
                f"{record['id']}-{place}",
                record["created"],
                {
                    "result": record["id"][:_SHORT],
                    "of": record["kind"],
                    "place": place,
                    "formula": composition.reduced_formula,
                    "elements": ",".join(sorted(e.symbol for e in composition.elements)),
                    "atoms": len(structure),
                    "a_ang": lattice.a,
                    "b_ang": lattice.b,
                    "c_ang": lattice.c,
                    "alpha_deg": lattice.alpha,
                    "beta_deg": lattice.beta,
                    "gamma_deg": lattice.gamma,
                    "volume_ang3": lattice.volume,
                },
            )


ROWS = {"jobs": job_rows, "runs": run_rows, "structures": structure_rows}
"""What is asked for by each of these names."""

SORTED_BY = {"jobs": "number", "runs": "number", "structures": "formula"}
SHOWN = {
    "jobs": ("number", "state", "name", "attempts", "flows", "took_s", "cause"),
    "runs": ("result", "of", "role", "number", "name", "state", "took_s", "directory"),
    "structures": ("result", "of", "place", "formula", "atoms", "a_ang", "b_ang", "c_ang", "volume_ang3"),
}
"""What a table shows of each by default."""


def _row(kind: str, identity: str, created: str, fields: dict[str, Any]) -> Record:
    return {"kind": kind, "id": identity, "created": created, "schema_version": 1, "fields": fields}


def _jobs(study: Workspace) -> list[JobInfo]:
    return study.queue().jobs() if study.has_queue else []


def _took_s(job: JobInfo) -> float | None:
    return (job.ended - job.started).total_seconds() if job.started and job.ended else None


def _roles(value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401  (any JSON)
    """Yield the job of each part of a record that has a role or a label of its own."""
    if isinstance(value, dict):
        origin = value.get("provenance")
        if isinstance(origin, dict):
            yield str(origin.get("job")), str(value.get("role") or value.get("label") or "")
        for item in value.values():
            yield from _roles(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _roles(item)


def _structures(value: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401  (any JSON)
    if isinstance(value, dict):
        if value.get("@class") == "Structure":
            yield place, value
            return
        for key, item in value.items():
            yield from _structures(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _structures(item, f"{place}[{number}]")
