"""What a methods section would say, generated from what the records say was executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.base import Frozen
from epilayer.model.kinds import KINDS
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import Provenance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from epilayer.report.paper_table import Found


def provenances(value: Any) -> Iterator[Provenance]:  # noqa: ANN401  (any field of a record)
    """Yield every provenance inside a record."""
    if isinstance(value, Provenance):
        yield value
    elif isinstance(value, Frozen):
        for name in type(value).model_fields:
            yield from provenances(getattr(value, name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from provenances(item)


def _is_made_up(level: LevelOfTheory) -> bool:
    return level.stand_in or level.kind is EngineKind.TOY


def levels_of(found: Mapping[str, Sequence[Found]]) -> list[LevelOfTheory]:
    """Return the levels of theory behind records of real engines, each once, by name."""
    levels = {}
    for records in found.values():
        for one in records:
            level = getattr(one.record, "level", None)  # of an imported calculation it is another type
            if isinstance(level, LevelOfTheory) and not _is_made_up(level):
                levels[level.name, level.fingerprint] = level
    return [levels[key] for key in sorted(levels)]


def versions_of(found: Mapping[str, Sequence[Found]]) -> dict[str, str]:
    """Return the programs that took part, each with its versions."""
    versions: dict[str, set[str]] = {}
    for one in (one for records in found.values() for one in records):
        stated = [source.versions for source in provenances(one.record)]
        for name, version in (item for own in (*stated, _stated(one.record)) for item in own.items()):
            versions.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(known)) for name, known in sorted(versions.items())}


def _stated(record: Any) -> dict[str, str]:  # noqa: ANN401  (any record)
    """Return the programs that a record names without a run directory of its own."""
    program, _, version = str(getattr(record, "program", "")).partition(",")[0].partition(" ")
    named = {program.lower(): version or "not stated"} if program else {}
    return {**getattr(record, "versions", {}), **named}


def methods_text(found: Mapping[str, Sequence[Found]]) -> tuple[str, ...]:
    """Return paragraphs that state only what the records hold; none where nothing real was computed."""
    levels = levels_of(found)
    if not levels:
        return ()
    paragraphs = [" ".join(_level(level) for level in levels)]
    versions = versions_of(found)
    if versions:
        paragraphs.append(f"Programs: {', '.join(f'{n} {v}' for n, v in versions.items())}.")
    paragraphs += [text for kind in found if (text := _of_kind(kind, found[kind]))]
    return tuple(paragraphs)


def _level(level: LevelOfTheory) -> str:
    settings = ", ".join(f"{key} = {value}" for key, value in level.numerics.items())
    elements = ", ".join(f"{symbol}: {what}" for symbol, what in level.elements.items())
    weights = f"; weights with SHA-256 {level.weights_sha256[:12]}" if level.weights_sha256 else ""
    tail = "".join(f"; {part}" for part in (settings, elements) if part)
    return f"{level.name}: {level.method}, dispersion {level.dispersion or 'none'}{weights}{tail}."


def _of_kind(kind: str, records: Sequence[Found]) -> str:
    real = [f.record for f in records if not _stand_in(f.record)]
    sentences = KINDS[kind].methods
    return sentences(real) if real and sentences is not None else ""


def _stand_in(record: Any) -> bool:  # noqa: ANN401  (any record)
    level = getattr(record, "level", None)
    own = bool(getattr(record, "stand_in", False))
    return own or (isinstance(level, LevelOfTheory) and _is_made_up(level))
