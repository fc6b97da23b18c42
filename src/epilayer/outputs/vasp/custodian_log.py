"""custodian.json: what was corrected during a run, as data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from epilayer.model.imported import Correction
from epilayer.outputs.reading import ByteSource

if TYPE_CHECKING:
    from pathlib import Path


def corrections(path: Path | None) -> tuple[tuple[Correction, ...], str]:
    """Return the corrections in their order, and what is wrong with the file, or nothing."""
    if path is None:
        return (), ""
    source = ByteSource(path)
    text = source.read()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return (), f"{path.name} cannot be read as JSON {source.problem}".strip()
    out = []
    for job in data if isinstance(data, list) else [data]:
        listed = job.get("corrections") if isinstance(job, dict) else None
        out += [_correction(entry) for entry in listed or () if isinstance(entry, dict)]
    return tuple(out), ""


def _correction(entry: dict[str, Any]) -> Correction:
    handler = entry.get("handler")
    name = handler.get("@class", "") if isinstance(handler, dict) else ""
    errors = entry.get("errors") or []
    return Correction(
        errors=tuple(str(error) for error in errors) if isinstance(errors, list) else (str(errors),),
        handler=str(name),
        actions=json.dumps(entry.get("actions"), sort_keys=True),
    )
