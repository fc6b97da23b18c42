"""What a page says of a record in words: title, value, reasons, facts, level of theory, methods."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from epilayer.model.kinds import KINDS
from epilayer.report import canvas, tables
from epilayer.report.html import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epilayer.model.units import Dimensionless

_MINUS: Final = "\N{MINUS SIGN}"
_LONG: Final = 160
_SMALL, _ROUND, _LARGE = 1e-3, 100.0, 1e6


def number(value: Dimensionless) -> str:
    """Return a number as people read it: four digits, three decimals of a large one, powers of ten as such.

    >>> number(0.51234), number(1549.01234), number(353.15), number(2.0)
    ('0.5123', '1549.012', '353.15', '2')
    """
    if not math.isfinite(value):
        return "not finite"
    size = abs(value)
    if size and not _SMALL <= size < _LARGE:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        said = f"{mantissa} \N{MULTIPLICATION SIGN} 10{str(int(exponent)).translate(canvas.SUPERSCRIPTS)}"
    elif size >= _ROUND:
        said = f"{value:.3f}".rstrip("0").rstrip(".")
    else:
        said = f"{value:.4g}"
    return said.replace("-", _MINUS)


def plain(value: Any) -> str:  # noqa: ANN401  (any JSON value)
    """Return a plain value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return ("; " if any(isinstance(v, dict) for v in value) else ", ").join(plain(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{words(k)} {plain(v)}" for k, v in value.items() if v is not None)
    said = str(value)
    return said if len(said) <= _LONG else said[: _LONG - 1] + "…"


def title_of(kind: str, fields: Mapping[str, Any]) -> str:
    """Return what a record is about, in a line."""
    level = f", {fields['level']}" if fields.get("level") else ""
    title = KINDS[kind].title if kind in KINDS else kind
    return title.format_map(defaultdict(lambda: "?", fields)) + level


def headline(kind: str, fields: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return value, unit and interval in words; empty where there is none."""
    declared = KINDS[kind]
    if declared.answer is not None:
        return declared.answer(fields), "", ""
    asked = declared.number
    if asked is None or not asked.on_page:
        return "", "", ""
    value, half = fields.get(asked.column), fields.get(asked.half)
    ends = _ends(fields.get(asked.low), fields.get(asked.high))
    interval = asked.interval.format_map({**fields, "ends": ends}) if ends else ""
    if value is None:
        return "", "", interval
    if half is not None and not ends:
        said = tables.ev_with_uncertainty(value, half).removeprefix("+")
        return said, asked.unit, "± is numerical (convergence) only"
    if asked.decimals is None:
        return number(value), asked.unit, interval
    return f"{value:.{asked.decimals}f}".replace("-", _MINUS), asked.unit, interval


def _ends(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{number(low)} to {number(high)}"
    return f"above {number(low)}" if low is not None else f"below {number(high)}" if high else ""


def reasons_of(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what was refused or found amiss, each with its remedy."""
    entries = [
        e for name in ("refusals", "open_points", "anomalies", "reasons") for e in body.get(name) or ()
    ]
    found = [(str(entry.get("what", "")), str(entry.get("remedy") or "")) for entry in entries]
    refusals = [(str(body[name]), "") for name in ("refusal", "base_refusal") if body.get(name)]
    return tuple(dict.fromkeys([*found, *refusals]))


#: Said elsewhere on the page.
_HIDDEN: Final = (
    "job", "level_fingerprint", "status", "verdict", "mode", "refusal", "refusal_code", "stand_in",
    "statement", "reason", "left_out", "warnings", "trajectory",
)  # fmt: skip


def facts_of(kind: str, fields: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the fields of a record that nothing else on its page says."""
    asked = KINDS[kind].number
    shown = (asked.column, asked.low, asked.high) if asked and asked.on_page else ()
    said = {*_HIDDEN, *shown}
    return tuple((words(k), _listed(v)) for k, v in fields.items() if v is not None and k not in said)


def _listed(value: Any) -> str:  # noqa: ANN401  (any scalar)
    """Return a field in words; a list inside one text gets its blanks, so that it can be broken."""
    return plain(value.replace(",", ", ").replace(",  ", ", ") if isinstance(value, str) else value)


def level_of(level: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401  (any JSON value)
    """Return a level of theory, as executed, by name."""
    if not isinstance(level, dict):
        return ()
    names = ("name", "kind", "method", "dispersion", "weights_sha256")
    rows = [(name, level.get(name)) for name in names] if "method" in level else sorted(level.items())
    for group in ("numerics", "system", "elements", "declared"):
        rows += sorted((level.get(group) or {}).items())
    return tuple((words(name), plain(value)) for name, value in rows if value not in (None, [], {}))


def methods_of(kind: str, body: Mapping[str, Any]) -> str:
    """Return a paragraph that says how the number was computed, from the record alone."""
    level = body.get("level")
    if not isinstance(level, dict):
        return ""
    if "method" not in level:
        return _methods_of_others(level)
    said = [KINDS[kind].definition]
    theory = f"Level of theory {level['name']}: {level['method']}"
    said.append(
        theory + (f" with {d}." if (d := level.get("dispersion")) else ", without a dispersion correction.")
    )
    if level.get("numerics"):
        listed = "; ".join(f"{words(name)} {plain(v)}" for name, v in sorted(level["numerics"].items()))
        said.append(f"Numerical settings as executed: {listed}.")
    search = body.get("search")
    if isinstance(search, dict):
        said.append(
            f"The minimum is the lowest of {search['minima']} distinct minima from {search['starts']} starts "
            f"(chance that a lower one was missed: {plain(search['missed_probability'])})."
        )
    if body.get("seeds"):
        runs = "1 trajectory" if len(body["seeds"]) == 1 else f"{len(body['seeds'])} trajectories"
        said.append(
            f"{runs} of {body['steps']} steps, the first {body['equilibration_steps']} left out, at "
            f"{plain(body['temperature_k'])} K; free to move: {body['moves']}."
        )
    said.append(f"Computed with {_programs(body)}.")
    if level.get("stand_in"):
        said.append(
            "The engine is a stand-in for trying out: its numbers mean nothing and must not be reported."
        )
    return " ".join(part for part in said if part)


def _methods_of_others(level: Mapping[str, Any]) -> str:
    potcars: Sequence[Mapping[str, Any]] = level.get("potcars") or ()
    titles = ", ".join(str(potcar.get("titel")) for potcar in potcars)
    stated = "; ".join(f"{name} {said}" for name, said in level_of({**level, "potcars": titles}) if said)
    return f"Run by others; as their files state it: {stated}. Read by epilayer, not computed by it."


def _programs(body: Mapping[str, Any]) -> str:
    versions: dict[str, str] = {}
    for leg in [*(body.get("legs") or ()), *(body.get("runs") or ())]:
        versions |= (leg.get("provenance") or {}).get("versions") or {}
    others = ", ".join(
        f"{name} {version}" for name, version in sorted(versions.items()) if name != "epilayer"
    )
    return f"epilayer {body.get('code_version', '')}".strip() + (f" ({others})" if others else "")
