"""What a methods paragraph says of its molecular dynamics: times, ions, thermostat, what was held."""

# ruff: noqa: E501  (patterns)
from __future__ import annotations

import re
from typing import TYPE_CHECKING

from epilayer.analysis.prose_terms import denied, excerpt, first_stated, numbers
from epilayer.model.audit import DynamicsFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

_DYNAMICS = r"molecular[- ]dynamics|\bAIMD\b|\bab initio MD\b|\bMD\b|time ?steps?\b"
_FS = {"fs": 1.0, "ps": 1e3, "ns": 1e6}
_TIME = r"fs|ps|ns"
_STEP_TO_TIME = 30
_LONGEST_STEP_FS = 20.0
_KELVIN_FROM_CELSIUS = 273.15
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "twelve": 12, "a": 1}  # fmt: skip
_SALT = r"(?P<element>Na|Li|K)(?P<anion>TFSI|FSI|PF6|ClO4|BF4|\+)(?![A-Za-z0-9])|(?P<word>sodium|lithium|potassium)[- ](?:ions?|cations?|salts?)"
_FILLER = r"(?:\s|x|-|formula|units?|molecules?|pairs?|ions?|mobile|free|of|ion)*"
_MOST_IONS = 100_000
_EQUILIBRATION = r"equilibrat\w*|thermali[sz]\w*|pre-?equilibr\w*|burn-?in|warm-?up"
_THERMOSTAT = (
    (
        r"Nos.{1,2}(?:[- ]Hoover)?\b|Nose|Hoover|Langevin|Andersen|Berendsen|Bussi|\bCSVR\b|(?i:velocity[- ]rescal\w*)"
        r"|(?i:thermostat)|\bNVE\b|(?i:microcanonical)"
    ),
)
_HOST = (
    r"frameworks?|\bMOFs?\b|\bMET-?\d|\bZIF-?\d+|\bhost\b|skeleton|\bZn\b|linkers?|\bC and N\b|\bN and C\b"
    r"|non-?hydrogen|heavy atoms|lattice of the MOF"
)
_HELD = r"\b(?:fixed|frozen|froze|held|rigid|constrain\w*|kept (?:still|fixed|in place)|clamped|immobile)\b"
_MOVES = r"mov\w*|relax\w*|free|allow\w*|mobile|unconstrained|flexible"


def read(parts: Sequence[str], evidence: dict[str, str]) -> DynamicsFacts | None:
    """Return the facts of the dynamics, or nothing where the text has none."""
    whole = " ".join(parts)
    if not re.search(_DYNAMICS, whole, re.IGNORECASE):
        return None
    step_fs = _time_step(parts)
    facts: dict[str, object] = {"time_step_fs": step_fs, "steps": _steps(parts)}
    facts["equilibration_fs"] = _equilibration(parts, step_fs, evidence)
    facts["analysed_ps"] = _analysed(parts, evidence)
    facts["total_ps"] = _total(parts)
    facts["temperature_k"] = _temperature(parts)
    ensemble = re.search(r"\b(NVT|NPT|NVE)\b", whole)
    facts["ensemble"] = ensemble[1] if ensemble else None
    thermostat = first_stated(parts, _THERMOSTAT)
    if thermostat is not None:
        facts["thermostat"], evidence["thermostat"] = thermostat
    facts["mobile_ions"] = _ions(parts, evidence)
    facts["framework_frozen"] = _frozen(parts, evidence)
    transport = r"\bMSDs?\b|mean[- ]squared?[- ]displacement|diffus|mobilit|conductiv|transference|transport"
    facts["transport"] = bool(re.search(transport, whole, re.IGNORECASE))
    return DynamicsFacts.model_validate({k: v for k, v in facts.items() if v is not None})


def _times(part: str) -> list[tuple[float, int]]:
    """Return every time in a sentence in fs, with its place."""
    return [(n * f, at) for unit, f in _FS.items() for n, at in numbers(part, rf"{unit}\b")]


def _time_step(parts: Sequence[str]) -> float | None:
    found: list[tuple[int, float]] = []
    for part in parts:
        for value_fs, at in _times(part):
            if not 0 < value_fs <= _LONGEST_STEP_FS or re.search(
                r"\b(?:first|last|initial|final)\s*$", part[:at]
            ):
                continue
            distances = [
                min(abs(word.start() - at), abs(word.end() - at)) + (0 if word[0].startswith("time") else 3)
                for word in re.finditer(r"time[- ]?steps?|\bsteps?\b|POTIM", part, re.IGNORECASE)
            ]
            if distances and min(distances) <= _STEP_TO_TIME:
                found.append((min(distances), value_fs))
    return min(found)[1] if found else None


def _steps(parts: Sequence[str]) -> int | None:
    """Return the number of steps of the run: the largest that stands before the word."""
    pattern = r"(?<![\w.])(\d{2,12})\s?-?\s?(?:\w+[- ]){0,2}?steps\b|\bsteps\s*[:=]\s*(\d{2,12})"
    found = [int(m[1] or m[2]) for part in parts for m in re.finditer(pattern, part, re.IGNORECASE)]
    return max(found, default=None)


def _equilibration(parts: Sequence[str], step_fs: float | None, evidence: dict[str, str]) -> float | None:
    best: tuple[int, float] | None = None
    for part in parts:
        for word in re.finditer(_EQUILIBRATION, part, re.IGNORECASE):
            if denied(part, word):
                continue
            options = [
                (value, at)
                for value, at in _times(part)
                if value != step_fs or "first" in part[max(0, at - 9) : at]
            ]
            if step_fs is not None:
                pattern = r"(?<![\w.])(\d{1,9})\s?(?:\w+[- ])?steps\b"
                options += [(int(m[1]) * step_fs, m.start()) for m in re.finditer(pattern, part)
                            if abs(m.start() - word.start()) < _STEP_TO_TIME * 2]  # fmt: skip
            for value, at in options:
                lead = part[max(0, at - 18) : at].lower()
                distance = abs(at - word.start())
                if re.search(r"\b(?:first|initial)\b", lead):
                    distance -= 1000
                if re.search(r"\b(?:last|final|remaining|production|subsequent|following|another)\b", lead):
                    distance += 1000
                if best is None or distance < best[0]:
                    best = (distance, value)
                    evidence["equilibration_fs"] = excerpt(part, word)
    return best[1] if best else None


def _analysed(parts: Sequence[str], evidence: dict[str, str]) -> float | None:
    lead = r"(?:\blast|\bfinal|\bremaining|\bsubsequent|\bfollowing|\bproduction(?: runs?| phase)?(?: of| over| for|:)?)\s*(?:the )?"
    for part in parts:
        found = re.search(lead + rf"(\d+(?:\.\d+)?)\s?-?({_TIME})\b", part, re.IGNORECASE)
        if found:
            evidence["analysed_ps"] = excerpt(part, found)
            return float(found[1]) * _FS[found[2].lower()] / 1e3
    for part in parts:
        word = re.search(
            r"\bMSDs?\b|mean[- ]squared?|diffus|production|analy[sz]|collect", part, re.IGNORECASE
        )
        times = (
            [(abs(at - word.start()), value) for value, at in _times(part) if value >= _FS["ps"]]
            if word
            else []
        )
        if word and times:
            evidence["analysed_ps"] = excerpt(part, word)
            return min(times)[1] / 1e3
    return None


def _total(parts: Sequence[str]) -> float | None:
    for part in parts:
        found = re.search(
            rf"(?:\btotal(?: of| length| time)*|\brun(?:s)? (?:of|for)|trajector\w+ of|\bran for)\D{{0,12}}(\d+(?:\.\d+)?)\s?({_TIME})\b",
            part,
        )
        if found and not re.search(_EQUILIBRATION, part[max(0, found.start() - 20) : found.end() + 25]):
            return float(found[1]) * _FS[found[2]] / 1e3
    return None


def _temperature(parts: Sequence[str]) -> float | None:
    for part in parts:
        found = re.search(r"(?<![\w.])(\d{1,4}(?:\.\d+)?)\s?(°\s?C|C\b(?=[^-=\w])|K\b)", part)
        if found:
            value = float(found[1])
            return value if found[2] == "K" else value + _KELVIN_FROM_CELSIUS
    return None


def _ions(parts: Sequence[str], evidence: dict[str, str]) -> dict[str, int]:
    counts = rf"(?<![\w.-])(?P<n>\d{{1,6}}|{'|'.join(_WORDS)}){_FILLER}\(?(?:{_SALT})"
    behind = rf"(?:{_SALT})\)?\s*(?:[:=x(]\s*)(?P<n>\d{{1,6}})(?![\d.]*\s?(?:[A-Za-z]))"
    out: dict[str, int] = {}
    for part in parts:
        for pattern in (counts, behind):
            for found in re.finditer(pattern, part):
                word = {"sodium": "Na", "lithium": "Li", "potassium": "K"}.get((found["word"] or "").lower())
                element = found["element"] or word
                number = _WORDS.get(found["n"].lower()) if not found["n"].isdigit() else int(found["n"])
                if element and number and number <= _MOST_IONS and element not in out:
                    out[element] = number
                    evidence["mobile_ions"] = excerpt(part, found)
    return out


def _frozen(parts: Sequence[str], evidence: dict[str, str]) -> bool:
    patterns = (
        rf"\bonly (?:the |its )?(?:H|hydrogen)s?\b(?: atoms?)?[^.;]{{0,60}}\b(?:{_MOVES})",
        rf"\b(?:{_MOVES})[^.;]{{0,40}}\bonly (?:for )?(?:the )?(?:H\b|hydrogen)",
        rf"(?:{_HOST})[^.;]{{0,60}}{_HELD}",
        rf"{_HELD}[^.;]{{0,40}}(?:{_HOST})",
        r"\b(?:all|every)\b[^.;]{0,40}\bexcept (?:for )?(?:the )?(?:H\b|hydrogen)",
    )
    loose = r"\bnot (?:fixed|frozen|held|constrain)|\bno (?:atoms?|constraint)|\bwithout (?:any )?constraint|unconstrained|fully flexible"
    for part in parts:
        for pattern in patterns:
            found = re.search(pattern, part, re.IGNORECASE)
            if (
                found
                and not re.search(loose, part, re.IGNORECASE)
                and not re.search(r"bottom|slab|volume|cell (?:was|were|is)", found[0])
            ):
                evidence["framework_frozen"] = excerpt(part, found)
                return True
    return False
