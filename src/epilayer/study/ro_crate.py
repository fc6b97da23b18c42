"""Gather what goes into an RO-Crate: results, the jobs behind them, files, levels, methods, citations."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from epilayer import __version__
from epilayer.model.errors import InputError
from epilayer.store.ro_crate import Crate, CrateAction, CrateAuthor, CrateFile, CrateLevel, CrateNumber
from epilayer.study.records import found_by_kind, named_inputs, sources, stored, with_id, without_results
from epilayer.study.stored_files import located, provenances, run_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from epilayer.launch.base import JobInfo
    from epilayer.store.results import Record
    from epilayer.study.workspace import Workspace

_ADDRESSES = {
    "vasp": "https://www.vasp.at",
    "lobster": "http://www.cohp.de",
}
_WORD = re.compile(r"[^A-Za-z0-9]+")


def crate_of(study: Workspace, identity: str | None = None) -> Crate:
    """Return one result (by id, or its beginning), or all, with everything they rest on.

    Raises
    ------
    InputError
        If the study names no authors or licence, or has no results.
    """
    from epilayer.model.level import LevelOfTheory
    from epilayer.report.citations import bibtex, entries_by_doi
    from epilayer.report.methods import methods_text

    settings = study.settings
    if not settings.authors or settings.licence is None:
        raise InputError(
            f"{study.root / 'epilayer.yaml'} names no {'licence' if settings.authors else 'authors'}.",
            "Add authors: [{name: ...}] and licence: CC-BY-4.0; a crate states both.",
        )
    records = _records(study, identity)
    found = found_by_kind(records)
    values = [one.record for group in found.values() for one in group]
    given, actions = _jobs(
        study, _jobs_behind(study, records), {r["fields"].get("job"): _path(r) for r in records}
    )
    texts = {
        "methods.txt": ("\n\n".join(methods_text(found)), "Methods, as executed"),
        "citations.bib": (
            bibtex(found, sources(study, values), entries_by_doi(study.citations())),
            "Codes, potentials, methods and data to cite",
        ),
    }
    files = [
        *(CrateFile(_path(r), _json(r), f"Result: {r['kind']} {r['id'][:12]}") for r in records),
        *given,
        *_inside(study, run_files(study, records)),
        *(CrateFile(path, text, what) for path, (text, what) in texts.items() if text),
        *_configs(study, values),
    ]
    stated = [v.level for v in values if isinstance(getattr(v, "level", None), LevelOfTheory)]
    levels = {level.fingerprint: _level(study, level) for level in stated}
    return Crate(
        title=settings.title or f"Results of the study {study.root.name}",
        description=(
            f"{len(records)} results of epilayer ({', '.join(sorted(found))}) with what they rest on: jobs "
            "as submitted and put out, files with hashes, versions, levels of theory, methods and citations."
        ),
        licence=f"https://spdx.org/licenses/{settings.licence}",
        published=max(r["created"] for r in records)[:10],
        authors=tuple(_author(a.name, a.orcid, a.affiliation) for a in settings.authors),
        files=list({file.path: file for file in files}.values()),
        actions=actions,
        numbers=[_number(r) for r in records],
        levels=list(levels.values()),
        addresses=_ADDRESSES,
    )


def _records(study: Workspace, identity: str | None) -> list[Record]:
    found = stored(study) if identity is None else with_id(study, identity)
    if not found:
        raise without_results(study)
    return found


def _path(record: Record) -> str:
    return f"results/{record['kind']}-{record['id'][:12]}.json"


def _json(value: Any) -> str:  # noqa: ANN401  (any JSON)
    return json.dumps(value, indent=1, sort_keys=True, default=str) + "\n"


@dataclass(frozen=True)
class _Chain:
    """Completed jobs, and for each (by number) those whose outcome it needed."""

    jobs: tuple[JobInfo, ...] = ()
    before: Mapping[int, frozenset[int]] = field(default_factory=dict)


def _jobs_behind(study: Workspace, records: Sequence[Record]) -> _Chain:
    """Return the completed jobs that made the records and those before them; none without the queue."""
    from epilayer.launch.base import JobState

    if not study.has_queue:
        return _Chain()
    queue = study.queue()
    known = {job.number: job for job in queue.jobs(state=JobState.COMPLETED)}
    makers = {r["fields"].get("job") for r in records}
    before: dict[int, set[int]] = {}
    for edge in queue.edges():
        before.setdefault(edge.child, set()).add(edge.parent)
    wanted: set[int] = set()
    pending = [number for number, job in known.items() if job.uuid in makers]
    while pending:
        number = pending.pop()
        if number not in wanted:
            wanted.add(number)
            pending += before.get(number, ())
    chosen = wanted & set(known)
    return _Chain(
        tuple(known[number] for number in sorted(chosen)),
        {number: frozenset(before.get(number, ())) & chosen for number in chosen},
    )


def _jobs(
    study: Workspace, chain: _Chain, made: Mapping[Any, str]
) -> tuple[list[CrateFile], list[CrateAction]]:
    """Return input, output and left files of each job, and the jobs as actions."""
    from monty.json import jsanitize

    if not chain.jobs:
        return [], []
    queue = study.queue()
    names = {job.number: f"{job.number}-{_slug(job.name)}.json" for job in chain.jobs}
    files, actions = [], []
    with study.jobstore() as outputs:
        for job in chain.jobs:
            name, spec = names[job.number], queue.spec(job.id)
            document = outputs.query_one({"uuid": job.uuid, "index": job.index}, load=True)
            output = jsanitize((document or {}).get("output"), strict=False, enum_values=True)
            own = (
                []
                if spec is None
                else [CrateFile(f"inputs/{name}", _json(json.loads(spec)), f"{job.name}: input")]
            )
            left = [CrateFile(f"outputs/{name}", _json(output), f"{job.name}: output"), *_left(study, output)]
            files += [*own, *left]
            record = (
                [made[job.uuid]] if job.uuid in made and not job.function.endswith("store_inputs") else []
            )
            actions.append(
                CrateAction(
                    id=f"{job.uuid}-{job.index}",
                    name=job.name,
                    started=job.started.isoformat() if job.started else None,
                    ended=job.ended.isoformat() if job.ended else None,
                    programs=_versions(output) or {"epilayer": __version__},
                    given=(
                        *(f.path for f in own),
                        *(f"outputs/{names[n]}" for n in sorted(chain.before[job.number])),
                    ),
                    left=(*(f.path for f in left), *record),
                )
            )
    return files, actions


def _left(study: Workspace, output: Any) -> list[CrateFile]:  # noqa: ANN401  (any JSON)
    """Return the files that the output of a calculation names as left by itself."""
    origin = output.get("provenance") if isinstance(output, dict) else None
    if not origin or output.get("@class") == "Segment":  # a trajectory's files are those of its last segment
        return []
    return list(_inside(study, {located(study, origin["run_directory"]): origin.get("files") or {}}))


def _versions(output: Any) -> dict[str, str]:  # noqa: ANN401  (any JSON)
    return {n: v for origin in provenances(output) for n, v in (origin.get("versions") or {}).items()}


def _inside(study: Workspace, folders: Mapping[Path, Mapping[str, str]]) -> Iterator[CrateFile]:
    for folder, files in folders.items():
        if folder.is_relative_to(study.root):  # imported files stay where they are
            for name, sha256 in files.items():
                place = (folder / name).relative_to(study.root).as_posix()
                yield CrateFile(place, folder / name, "Left by a job, as it ran", sha256)


def _configs(study: Workspace, values: list[Any]) -> Iterator[CrateFile]:
    for kind, name in named_inputs(study, values):
        path: Path = study.catalogue.names(kind)[name]
        yield CrateFile(f"configs/{kind}/{path.name}", path, f"{kind.removesuffix('s').capitalize()} {name}")


def _level(study: Workspace, level: Any) -> CrateLevel:  # noqa: ANN401  (LevelOfTheory)
    named = study.catalogue.names("levels")
    licence = "not stated"
    if level.name in named:
        licence = study.catalogue.engine_spec(study.catalogue.level(level.name).engine).licence
    settings = ", ".join(f"{key} = {value}" for key, value in level.numerics.items())
    return CrateLevel(
        fingerprint=level.fingerprint,
        name=level.label,
        description=f"{level.method}; dispersion {level.dispersion or 'none'}"
        + (f"; {settings}" if settings else ""),
        weights_sha256=level.weights_sha256,
        licence=licence,
    )


def _number(record: Record) -> CrateNumber:
    from epilayer.model.kinds import KINDS
    from epilayer.report.html import words

    fields, declared = record["fields"], KINDS.get(record["kind"])
    number = declared.number if declared else None
    value, half, low, high = (
        _float(fields.get(name))
        for name in ((number.column, number.half, number.low, number.high) if number else [""] * 4)
    )
    if value is not None and half is not None:
        low, high = value - half, value + half
    label, _, unit = words(number.column if number else record["kind"]).partition(", ")
    subject = [
        str(fields[n]) for n in ("ligand", "molecule", "system", "mof", "cathode", "facet") if fields.get(n)
    ]
    said = next((str(fields[n]) for n in ("refusal", "statement", "reason") if fields.get(n)), "")
    return CrateNumber(
        id=record["id"][:12],
        name=f"{label}: {', '.join(subject)}",
        unit=unit,
        value=value,
        low=low,
        high=high,
        level=str(fields.get("level_fingerprint") or ""),
        file=_path(record),
        description=said,
    )


def _float(value: Any) -> float | None:  # noqa: ANN401  (any scalar)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _author(name: str, orcid: str | None, affiliation: str | None) -> CrateAuthor:
    return CrateAuthor(f"https://orcid.org/{orcid}" if orcid else f"#{_slug(name)}", name, affiliation)


def _slug(text: str) -> str:
    return _WORD.sub("-", text).strip("-")[:60].lower()
