"""Typed records as documents of the results store, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.base import Frozen, fingerprint, parse
from epilayer.model.errors import StoreError
from epilayer.model.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from epilayer.store.results import Record

UPGRADES: tuple[Callable[[str, dict[str, Any]], dict[str, Any]], ...] = ()
"""``UPGRADES[n]`` takes a kind and a body of schema version n + 1 to version n + 2."""

SCHEMA_VERSION = 1 + len(UPGRADES)


def document_of(record: Frozen, *, created: str, job: str | None = None) -> Record:
    """Return the document that stores a record.

    Parameters
    ----------
    created
        When the job ended, or the record was imported, ISO 8601.
    job
        Identifier of the job that made it; none for what was imported.
    """
    kind = next(kind for kind in KINDS.values() if kind.record is type(record))
    return {
        "kind": kind.name,
        "id": fingerprint({"kind": kind.name, **kind.asked(record)}),
        "created": created,
        "schema_version": SCHEMA_VERSION,
        "fields": {**kind.fields(record), **({} if job is None else {"job": job})},
        "body": _as_json(record),
    }


def record_of(document: Record) -> Any:  # noqa: ANN401  (the type that the kind names)
    """Return the typed record in a document that was read with its body.

    Raises
    ------
    StoreError
        If the document is of an unknown kind or was written by a newer version.
    """
    kind, identity = document["kind"], document["id"]
    if kind not in KINDS or document["schema_version"] > SCHEMA_VERSION:
        raise StoreError(
            f"Record {identity} is of kind {kind!r}, schema {document['schema_version']}, "
            "which this version of epilayer does not read.",
            "Upgrade epilayer (pip install -U epilayer).",
        )
    body = document["body"]
    for upgrade in UPGRADES[document["schema_version"] - 1 :]:
        body = upgrade(kind, body)
    return parse(KINDS[kind].record, body, f"record {identity}")


def _as_json(record: Frozen) -> dict[str, Any]:
    """Return plain JSON; structures keep their own dictionary form."""
    from monty.json import jsanitize

    plain: dict[str, Any] = jsanitize(record.model_dump(), strict=True, enum_values=True)
    return plain
