"""Identity is content: the same work has the same uuid, in any flow, on any day.

Every job that enters the queue, submitted or made by another job, is normalised here. Jobs are walked in
topological order; the *content key* of each is the SHA-256 of

- the function (module and qualified name) and, for a Maker's method, every field of the Maker but its name;
- the arguments, with references to other jobs replaced by those jobs' content uuids;
- the configuration that changes a result: ``resolve_references``, ``on_missing_references``,
  ``expose_store``, the output schema, and dynamic updates of these;
- for jobs of an ordered flow (``JobOrder.LINEAR``), the jobs they must come after: the order is there for
  an effect the arguments do not show;
- the queue's ``code_version`` and, for ``fresh`` submissions, a salt;

and its uuid is the UUIDv5 of that key. What does *not* count: names, metadata, host flows, the resources
asked of a manager, which store a document goes to, the order of dictionary keys, package versions
(``@version``; put what matters into ``code_version``), and the random uuids jobflow draws. Where two jobs
differ in these alone they are one job, and the document carries the name and metadata that came first.

A job that replaces another (``Response.replace``) keeps the uuid of the one it replaces with the next
index, since others refer to it: its identity is that of the job it came from.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
import uuid as uuid_module
from collections import ChainMap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from epilayer.model.base import FrozenValues
from epilayer.model.errors import InputError
from epilayer.model.moved import first_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAMESPACE = uuid_module.UUID("6f0f3c0e-3f7b-5d0c-9a52-70d6c2a4be11")
HARD, SOFT, PASSIVE = 0, 1, 2
"""How a job takes a missing reference: waits; runs without it; passes the reference on unresolved."""

_UUID_OR_ULID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9A-HJKMNP-TV-Z]{26}\b"
)

_RESULT_CONFIG = {"resolve_references": True, "on_missing_references": "error", "expose_store": False}
"""Configuration that changes results, with jobflow's defaults."""


@dataclass(slots=True)
class NormalJob:
    """A job as the queue keeps it."""

    uuid: str
    index: int
    key: str
    name: str
    function: str
    spec: str
    """The whole serialised job, JSON text with content uuids."""
    soft: int
    """`HARD`, `SOFT` or `PASSIVE`."""
    parents: tuple[str, ...]
    """Content uuids of the jobs it must wait for."""
    metadata: dict[str, Any]


@dataclass(slots=True)
class NormalFlow:
    """A flow as the queue keeps it."""

    uuid: str
    name: str
    jobs: list[NormalJob] = field(default_factory=list)
    """In topological order."""
    leaves: list[tuple[str, int]] = field(default_factory=list)
    """(uuid, index) of the jobs that nothing else in the flow waits for."""
    uuids: dict[str, str] = field(default_factory=dict)
    """Uuid given by jobflow -> content uuid, of jobs and flows."""


@dataclass(slots=True)
class _Entry:
    """A job while it is being normalised."""

    old: str
    data: dict[str, Any]
    refs: set[str]
    after: set[str]


def dumps(value: Any, *, canonical: bool = False) -> str:  # noqa: ANN401  (any MSONable value)
    """Return JSON text; dates, arrays and classes are encoded by monty. Canonical: with sorted keys."""
    from monty.json import MontyEncoder

    return json.dumps(value, cls=MontyEncoder, sort_keys=canonical, separators=(",", ":"))


def content_uuid(*parts: str) -> str:
    """Return the UUIDv5 of some text."""
    return str(uuid_module.uuid5(NAMESPACE, "\n".join(parts)))


def normalise(
    flow: Any,  # noqa: ANN401  (jobflow Flow, Job or list)
    *,
    code_version: str,
    salt: str = "",
    name: str | None = None,
    keep: Mapping[str, str] | None = None,
    origin: str = "",
) -> NormalFlow:
    """Give every job of a flow its content uuid and serialise it.

    Parameters
    ----------
    flow
        A jobflow Flow, Job, or list of these.
    code_version
        Version of the code that gives the jobs their meaning.
    salt
        Sets otherwise equal jobs apart (``fresh`` submissions).
    name
        Name of the flow; its own by default.
    keep
        Uuids that are settled already: of the job that is being replaced, and of flows beside this one.
    origin
        Identity of the job that made the flow; empty for a submitted one.

    Raises
    ------
    InputError
        If a job's function cannot be found again by a worker, or the references form a cycle.
    """
    from jobflow import Flow

    try:
        root = flow if isinstance(flow, Flow) else Flow(jobs=flow)
    except ValueError as error:  # a job that is part of another flow already
        raise InputError(f"{error}".rstrip(".") + ".", "Submit that flow, or build the job anew.") from error
    name = name or root.name
    flow_paths: dict[str, str] = {}
    entries = list(_expand(root, origin or "flow", flow_paths)[0])
    if not entries:
        raise InputError(f"The flow {name!r} holds no job.", "Put at least one job into it.")
    mapping: dict[str, str] = dict(keep or {})
    # A uuid may also stand as plain text in an argument. Where it names a flow, or a job that comes later,
    # there is no content uuid yet: its place in the flow stands for it while the key is computed.
    places = {**flow_paths, **{entry.old: f"job {i} of {origin}" for i, entry in enumerate(entries)}}
    known = ChainMap(mapping, places)
    keyed = []
    for entry in _in_order(entries, name):
        key = _key(entry, known, code_version, salt)
        mapping.setdefault(entry.old, content_uuid(key))
        keyed.append((entry, key))
    flow_uuid = content_uuid("flow", name, *sorted({mapping[entry.old] for entry in entries}))
    for old, path in flow_paths.items():
        mapping[old] = flow_uuid if old == root.uuid else content_uuid(flow_uuid, path)
    result = NormalFlow(uuid=flow_uuid, name=name, uuids=mapping)
    seen: set[tuple[str, int]] = set()
    for entry, key in keyed:
        normal = _normal(entry, key, mapping)
        if (normal.uuid, normal.index) not in seen:  # equal jobs of one flow are one job
            seen.add((normal.uuid, normal.index))
            result.jobs.append(normal)
    waited_for = {parent for normal in result.jobs for parent in normal.parents}
    result.leaves = [(normal.uuid, normal.index) for normal in result.jobs if normal.uuid not in waited_for]
    return result


def rewrite(text: str, mapping: Mapping[str, str]) -> str:
    """Replace uuids wherever they stand in JSON text: references, hosts, and plain strings."""
    return _UUID_OR_ULID.sub(lambda match: mapping.get(match[0], match[0]), text)


def rewrite_value(value: Any, mapping: Mapping[str, str]) -> Any:  # noqa: ANN401  (what a document may hold)
    """Do as `rewrite` does, in a document that is not text yet."""
    if isinstance(value, str):
        return rewrite(value, mapping)
    if isinstance(value, dict):
        new = {rewrite_value(k, mapping): rewrite_value(v, mapping) for k, v in value.items()}
        if new.get("@class") == "OutputReference":
            new["uuid"] = mapping.get(_uid(new["uuid"]), new["uuid"])
        return new
    if isinstance(value, list | tuple):
        return [rewrite_value(item, mapping) for item in value]
    return value


def _expand(
    flow: Any,  # noqa: ANN401
    path: str,
    flow_paths: dict[str, str],
) -> tuple[list[_Entry], set[str], set[str]]:
    """Return the jobs of a flow, with those nothing comes before and those nothing comes after."""
    from jobflow import Flow
    from jobflow.core.flow import JobOrder

    flow_paths[_uid(flow.uuid)] = path
    entries: list[_Entry] = []
    last: set[str] = set()
    for place, part in enumerate(flow.jobs):
        if isinstance(part, Flow):
            new, roots, leaves = _expand(part, f"{path}/{place}", flow_paths)
        else:
            entry = _entry(part)
            new, roots, leaves = [entry], {entry.old}, {entry.old}
        if flow.order == JobOrder.LINEAR:
            for entry in new:
                if entry.old in roots:
                    entry.after |= last
            last = leaves
        entries += new
    inside = {entry.old for entry in entries}
    before = {entry.old: (entry.refs | entry.after) & inside for entry in entries}
    waited_for = set().union(*before.values()) if before else set()
    return entries, {old for old in inside if not before[old]}, inside - waited_for


def _entry(job: Any) -> _Entry:  # noqa: ANN401
    """Serialise a job and find what it refers to."""
    data: dict[str, Any] = job.as_dict()
    function = data["function"] if isinstance(data["function"], dict) else {}
    module, name = function.get("@module"), str(function.get("@callable"))
    if module in {None, "__main__"} or "<" in name:
        raise InputError(
            f"Job {data['name']!r} calls {module}.{name}, which a worker process cannot import.",
            "Define the function at the top level of a module (not of the script that is run).",
        )
    odd = {u for u in (data["uuid"], *data["hosts"]) if not _UUID_OR_ULID.fullmatch(u)}
    found = list(references([data["function_args"], data["function_kwargs"]]))
    for reference in found:
        reference["uuid"] = _uid(reference["uuid"])
    if odd:
        data["uuid"], data["hosts"] = _uid(data["uuid"]), [_uid(host) for host in data["hosts"]]
    return _Entry(data["uuid"], data, {reference["uuid"] for reference in found}, set())


def _uid(text: str) -> str:
    """Return a uid that `rewrite` recognises; one chosen by hand ("my-job") gets a stand-in."""
    return text if _UUID_OR_ULID.fullmatch(text) else content_uuid("named", text)


def references(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Yield the serialised output references inside ``value``."""
    if isinstance(value, dict):
        if value.get("@class") == "OutputReference":
            yield value
        else:
            for item in value.values():
                yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def _in_order(entries: list[_Entry], name: str) -> Iterator[_Entry]:
    """Yield entries parents first, otherwise as they stand."""
    place = {entry.old: i for i, entry in enumerate(entries)}
    children: dict[str, list[int]] = {}
    missing = []
    for i, entry in enumerate(entries):
        parents = {parent for parent in entry.refs | entry.after if parent in place}
        missing.append(len(parents))
        for parent in parents:
            children.setdefault(parent, []).append(i)
    ready = [i for i, count in enumerate(missing) if count == 0]
    done = 0
    while ready:
        entry = entries[heapq.heappop(ready)]
        done += 1
        yield entry
        for child in children.get(entry.old, ()):
            missing[child] -= 1
            if missing[child] == 0:
                heapq.heappush(ready, child)
    if done < len(entries):
        stuck = next(entries[i].data["name"] for i, count in enumerate(missing) if count)
        raise InputError(
            f"The jobs of flow {name!r} wait for each other in a circle ({stuck!r} is among them).",
            "Remove one of the references, or the linear order, that close the circle.",
        )


def _key(entry: _Entry, known: Mapping[str, str], code_version: str, salt: str) -> str:
    """Return the content key of a job whose parents' content uuids are known."""
    data = entry.data
    function = dict(data["function"])
    if isinstance(function.get("@bound"), dict):
        function["@bound"] = {k: v for k, v in function["@bound"].items() if k != "name"}
    material = {
        "function": function,
        "args": data["function_args"],
        "kwargs": data["function_kwargs"],
        "config": {k: data["config"].get(k) for k in _RESULT_CONFIG},
        "updates": [update for update in map(_result_update, data["config_updates"]) if update],
        "schema": data["output_schema"],
        "after": sorted(known[parent] for parent in entry.after),
        "code_version": code_version,
        "salt": salt,
    }
    text, replaced = _UUID_OR_ULID.subn(
        lambda match: known.get(match[0], match[0]), dumps(_without_versions(material), canonical=True)
    )
    if replaced:  # keys of a dictionary may be uuids, whose order was random until now
        text = dumps(json.loads(text), canonical=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _result_update(update: dict[str, Any]) -> dict[str, Any]:
    """Keep of a dynamic update of configurations what changes results, and differs from the defaults."""
    config = update.get("config")
    if isinstance(config, dict):
        config = {k: v for k, v in config.items() if k in _RESULT_CONFIG and v != _RESULT_CONFIG[k]}
    return {**update, "config": config} if config else {}


def _without_versions(value: Any) -> Any:  # noqa: ANN401
    """Drop the package versions monty adds, and the schemas of references (these only check attributes).

    Modules are called by the names under which they were first known, so that a move changes no identity.
    """
    if isinstance(value, FrozenValues):
        return value
    if isinstance(value, dict):
        schema = "output_schema" if value.get("@class") == "OutputReference" else None
        kept = {k: _without_versions(v) for k, v in value.items() if k not in {"@version", schema}}
        return (
            {**kept, "@module": first_name(kept["@module"])} if isinstance(kept.get("@module"), str) else kept
        )
    if isinstance(value, list | tuple):
        return [_without_versions(item) for item in value]
    return value


def _normal(entry: _Entry, key: str, mapping: Mapping[str, str]) -> NormalJob:
    """Write the job down with content uuids."""
    data, function = entry.data, entry.data["function"]
    soft = HARD
    if data["config"]["on_missing_references"] != "error":
        soft = SOFT if data["config"]["resolve_references"] else PASSIVE
    return NormalJob(
        uuid=mapping[entry.old],
        index=int(data["index"]),
        key=key,
        name=str(data["name"]),
        function=f"{function['@module']}.{function['@callable']}",
        spec=rewrite(dumps(data), mapping),
        soft=soft,
        parents=tuple(sorted({mapping.get(parent, parent) for parent in entry.refs | entry.after})),
        metadata=dict(data["metadata"]),
    )
