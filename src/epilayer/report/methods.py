"""What a methods section would say, generated from what the records say was executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.base import Frozen
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import Provenance, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

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
    return _SENTENCES[kind](real) if real and kind in _SENTENCES else ""


def _adsorption(records: Sequence[Any]) -> str:
    certified = sum(r.status is Status.CERTIFIED for r in records)
    force = max((leg.max_force_ev_per_ang for r in records for leg in r.legs), default=0.0)
    starts = sorted({r.search.starts for r in records if r.search})
    search = f" Each search placed {_between(starts)} poses." if starts else ""
    return (
        "Adsorption energies are E(slab + molecule) - E(slab) - E(molecule) of relaxed geometries at one "
        f"level; the largest force left on a free atom was {force:.3f} eV/Å. {certified} of {len(records)} "
        f"were certified, the others refused with their reasons.{search}"
    )


def _surface(records: Sequence[Any]) -> str:
    thicknesses = sorted({len(r.thicknesses) for r in records})
    return (
        "Surface energies are (E(slab) - n E(bulk)) / (2 A) of stoichiometric, non-polar slabs, against the "
        f"bulk of the same ordering; thicknesses computed of each: {_between(thicknesses)}."
    )


def _transport(records: Sequence[Any]) -> str:
    return " ".join(
        f"Dynamics of {one.system}: {one.settings.time_step_fs:g} fs a step at {one.temperature_k:g} K "
        f"({one.mean_temperature_k:.0f} K on average); {one.equilibration_steps} of {one.steps} steps were "
        f"equilibration; what moved: {one.moves}."
        for one in records
    )


def _bonds(records: Sequence[Any]) -> str:
    programs = sorted({f"{r.program}, basis {r.basis}, {r.k_points}" for r in records})
    return f"Bonds: {'; '.join(programs)}; only the change of one bond between two geometries is stated."


def _epitaxy(_: Sequence[Any]) -> str:
    return "Deformation energies are (E(e) + E(-e)) / 2 - E(0) of the framework strained to the facet."


_SENTENCES: dict[str, Callable[[Sequence[Any]], str]] = {
    "adsorption": _adsorption,
    "surface": _surface,
    "transport": _transport,
    "bond_strength": _bonds,
    "epitaxy": _epitaxy,
}


def _between(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _stand_in(record: Any) -> bool:  # noqa: ANN401  (any record)
    level = getattr(record, "level", None)
    own = bool(getattr(record, "stand_in", False))
    return own or (isinstance(level, LevelOfTheory) and _is_made_up(level))
