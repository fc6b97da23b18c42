"""The facts of a methods paragraph: a modest reader of the words that such paragraphs are made of.

It reads what is stated and leaves open what it does not recognise; what it read, and from which words,
stands in ``evidence``, so that a reader can see where it misread.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from epilayer.analysis import prose_dynamics, prose_terms
from epilayer.analysis.formulas import ALKALI, METALS, OPEN_SHELL, candidates, parse_formula
from epilayer.analysis.prose_terms import denied, excerpt, first_stated, numbers
from epilayer.model.audit import MethodsFacts, Species, StatedMesh

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epilayer.analysis.formulas import Formula
    from epilayer.model.vasp import SystemKind

LONGEST_TEXT = 200_000
"""Characters; a methods section has a few thousand."""
_CUTOFF_EV = (100.0, 3000.0)
_HUBBARD_EV = 15.0
_NAME_TO_FORMULA = 30
_CHARGED_TO_FORMULA = 60
_POLYETHER = r"\bPEO\b|\bPEG\b|\bPOE\b|poly\W?\(?ethylene[ -]?(?:oxide|glycol)|polyoxyethylene"


def normalised(text: str) -> str:
    """Return text with one way to write subscripts, dashes, times signs, thousands and Greek letters."""
    text = unicodedata.normalize("NFKC", text[:LONGEST_TEXT])
    text = re.sub(r"\\(?:mathrm|text|mathit|ce|textit)\b|\$|\\,|\\;", "", text)
    text = text.replace("\\times", "x").replace("\\AA", "Å").replace("\\Gamma", "Gamma").replace("Γ", "Gamma")
    text = re.sub(r"[_^]\{([^{}]{1,8})\}", r"\1", text)
    text = re.sub(r"_(\d+|n\b)", r"\1", text)
    text = re.sub("[\u2010-\u2015\u2212]", "-", text)
    text = re.sub("[\u00d7\u2715\u00b7\u22c5*](?=\\s?\\d)|(?<=\\d)\\s?[\u00d7\u2715]", " x ", text)
    text = re.sub(r"(?<=\d)[ ,'](?=\d{3}(?!\d))", "", text)
    return re.sub(r"[ \t\r\f\v]+", " ", text)


def sentences(text: str) -> list[str]:
    """Return the sentences, list items and ``key: value`` lines of a normalised text."""
    lines = [line for line in text.splitlines() if line.strip()]
    listed = sum(bool(re.match(r"[^\n:]{2,50}:\s", line)) for line in lines) * 2 > len(lines)
    # In running prose a colon near the start of a line is chance.
    keys = r"|\n(?=[^\n:]{2,50}:\s)" if listed else ""
    pieces = re.split(r"(?<=[a-z0-9)%\]A-Z][.;!?])\s+(?=[A-Z0-9(])|;\s|\n\s*\n|\n(?=\s*[-*•]\s)" + keys, text)
    return [one for piece in pieces if (one := " ".join(piece.split()))]


def read_methods(
    text: str, molecules: Mapping[str, str], cathodes: Mapping[str, str], title: str = ""
) -> MethodsFacts:
    """Return the facts of a methods text.

    Parameters
    ----------
    molecules, cathodes
        Formulas of molecules and cathodes by the names that a text may use for them.
    """
    plain = normalised(text)
    parts = sentences(plain)
    plain = " ".join(plain.split())
    evidence: dict[str, str] = {}
    facts: dict[str, object] = {"title": title}
    for name, terms in prose_terms.STATED.items():
        found = first_stated(parts, terms)
        if found is not None:
            facts[name], evidence[name] = found
    facts["functional"] = _functional(parts, evidence)
    facts["cutoff_ev"] = _cutoff(parts, evidence)
    facts |= _hubbard(parts, evidence)
    facts["dipole_correction"] = True if first_stated(parts, prose_terms.DIPOLE) else None
    spin = first_stated(parts, prose_terms.SPIN)
    facts["spin_polarised"] = True if spin else None
    kinds = [
        kind for kind, pattern in prose_terms.SYSTEMS.items() if re.search(pattern, plain, re.IGNORECASE)
    ]
    facts["systems"] = tuple(kinds)
    facts["adsorption"] = bool(re.search(r"\badsor|E_?ads\b|binding energ", plain, re.IGNORECASE))
    facts["k_meshes"] = _meshes(parts, evidence)
    found_formulas = candidates(plain)
    facts["molecules"] = _molecules(plain, found_formulas, molecules)
    facts["polymers"] = _polymers(plain, found_formulas)
    facts |= _cathode(plain, found_formulas, cathodes, evidence)
    bonding = re.search(r"I?COHP|I?COOP|crystal orbital hamilton", plain, re.IGNORECASE)
    facts["bonding_analysis"] = bonding is not None
    facts["dynamics"] = prose_dynamics.read(parts, evidence)
    return MethodsFacts.model_validate(
        {k: v for k, v in facts.items() if v is not None} | {"evidence": evidence}
    )


def holds_facts(facts: MethodsFacts) -> bool:
    """Whether anything of a method was recognised at all."""
    own = facts.model_dump(exclude={"title", "evidence", "systems"}, exclude_defaults=True)
    return bool(own)


def _functional(parts: Sequence[str], evidence: dict[str, str]) -> str | None:
    for name, pattern in prose_terms.FUNCTIONALS:
        for part in parts:
            for found in re.finditer(pattern, part):
                if not denied(part, found):
                    evidence["functional"] = excerpt(part, found)
                    return name
    return None


def _cutoff(parts: Sequence[str], evidence: dict[str, str]) -> float | None:
    low, high = _CUTOFF_EV
    for part in parts:
        word = re.search(r"cut-?\s?off|ENCUT|plane[- ]waves?|kinetic energ", part, re.IGNORECASE)
        if word is None:
            continue
        fit = [(n, at) for n, at in numbers(part, r"eV\b(?!\s*[/ ]\s*(?:Å|A\b|atom))") if low <= n <= high]
        if fit:
            value, _ = min(fit, key=lambda one: abs(one[1] - word.start()))
            evidence["cutoff_ev"] = excerpt(part, word)
            return value
    for part in parts:  # "VASP, PBE, 500 eV"
        method = re.search(r"\bVASP\b|\bPBE\b|\bPAW\b", part)
        alone = [n for n, _ in numbers(part, r"eV\b(?!\s*[/ ]\s*(?:Å|A\b|atom))") if low <= n <= high]
        if method is not None and len(alone) == 1:
            evidence["cutoff_ev"] = excerpt(part, method)
            return alone[0]
    return None


def _hubbard(parts: Sequence[str], evidence: dict[str, str]) -> dict[str, object]:
    for part in parts:
        for found in re.finditer(prose_terms.HUBBARD, part):
            if denied(part, found):
                continue
            evidence["hubbard_u_ev"] = excerpt(part, found)
            values = [n for n, at in numbers(part, r"eV\b") if at > found.start() and n <= _HUBBARD_EV]
            elements = [e for e in OPEN_SHELL if re.search(rf"\b{e}\b|\({e}\)|{e}[- ](?:3d|d)\b", part)]
            if not elements and re.search(r"vanadium", part, re.IGNORECASE):
                elements = ["V"]
            stated = dict(zip(elements, values, strict=False)) if values else {}
            return {"hubbard_stated": True, "hubbard_u_ev": stated}
    return {}


def _meshes(parts: Sequence[str], evidence: dict[str, str]) -> tuple[StatedMesh, ...]:
    """Return each mesh with the systems that its sentence names for it, before it or after it."""
    out: list[StatedMesh] = []
    for part in parts:
        marks: list[tuple[int, tuple[int, int, int]]] = []
        if re.search(prose_terms.K_POINTS, part, re.IGNORECASE):
            for found in re.finditer(r"(\d{1,2})\s*x\s*(\d{1,2})\s*x\s*(\d{1,2})", part):
                if re.match(
                    r"[^,.;]{0,3}(?:super|unit|conventional|primitive)?[ -]?cells?\b", part[found.end() :]
                ):
                    continue
                mesh = (int(found[1]), int(found[2]), int(found[3]))
                if min(mesh) > 0:
                    marks.append((found.start(), mesh))
        marks += [
            (found.start(), (1, 1, 1)) for found in re.finditer(prose_terms.GAMMA_ONLY, part, re.IGNORECASE)
        ]
        marks.sort()
        named = sorted(
            (found.start(), kind)
            for kind, pattern in prose_terms.SYSTEMS.items()
            for found in re.finditer(pattern, part, re.IGNORECASE)
        )
        if marks:
            evidence.setdefault("k_meshes", part[:120])
        for one, systems in _bound(marks, named):
            out.append(StatedMesh(divisions=one, systems=tuple(dict.fromkeys(systems))))
    return tuple(dict.fromkeys(out))


def _bound(
    marks: Sequence[tuple[int, tuple[int, int, int]]], named: Sequence[tuple[int, SystemKind]]
) -> list[tuple[tuple[int, int, int], list[SystemKind]]]:
    """Give each mesh the systems named since the one before it, or up to the one behind it."""
    if not marks:
        return []
    names_first = bool(named) and named[0][0] < marks[0][0]
    edges = [at for at, _ in marks]
    out = []
    for k, (at, mesh) in enumerate(marks):
        before = edges[k - 1] if k else -1
        after = edges[k + 1] if k + 1 < len(edges) else 1 << 30
        low, high = (before, at) if names_first else (at, after)
        out.append((mesh, [kind for where, kind in named if low < where < high]))
    return out


def _molecules(
    text: str, found: Sequence[tuple[int, Formula]], known: Mapping[str, str]
) -> tuple[Species, ...]:
    """Return the molecules that a text gives a formula for."""
    out: dict[str, Species] = {}
    for name in sorted(filter(None, known), key=len, reverse=True):
        for match in re.finditer(rf"(?<![A-Za-z-]){re.escape(name)}(?![A-Za-z])", text, re.IGNORECASE):
            near = [f for at, f in found if 0 <= at - match.end() <= _NAME_TO_FORMULA]
            if near and not METALS & set(near[0].atoms) and near[0].text not in out:
                out[near[0].text] = Species(formula=near[0].text, name=name, charge=near[0].charge)
    for _, one in found:
        organic = {"C", "N"} <= set(one.atoms) and set(one.atoms) <= {"C", "H", "N", "O", "S", "F"}
        if one.text not in out and organic and one.repeat is None:
            out[one.text] = Species(formula=one.text, charge=one.charge)
    return tuple(out.values())


def _polymers(text: str, found: Sequence[tuple[int, Formula]]) -> tuple[Species, ...]:
    name = "PEO" if re.search(_POLYETHER, text, re.IGNORECASE) else None
    chains = [f.text for _, f in found if f.repeat is not None and set(f.atoms) <= {"C", "H", "O"}]
    return tuple(Species(formula=one, name=name) for one in dict.fromkeys(chains))


def _cathode(
    text: str, found: Sequence[tuple[int, Formula]], known: Mapping[str, str], evidence: dict[str, str]
) -> dict[str, object]:
    hosts = [(at, f) for at, f in found if _is_host(f)]
    named = [
        formula
        for name, formula in known.items()
        if name and re.search(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])", text, re.IGNORECASE)
    ]
    formula = hosts[0][1].text if hosts else (named[0] if named else None)
    parsed = parse_formula(formula) if formula else None
    elements = [e for e in OPEN_SHELL if parsed and e in parsed.atoms]
    if not elements and re.search(r"\bvanad(?:ium|yl|ate)", text, re.IGNORECASE):
        elements = ["V"]
    out: dict[str, object] = {"cathode": formula, "open_shell": tuple(elements)}
    state = re.search(prose_terms.CHARGED, text, re.IGNORECASE)
    if state is not None and not denied(text, state):
        out["charged"] = True
        evidence["charged"] = excerpt(text, state)
    composition = _charged_composition(text, hosts)
    if composition:
        out |= {"charged": True, "charged_composition": composition}
    return out


def _is_host(one: Formula) -> bool:
    """Whether a formula is a salt of an alkali metal and a metal with d electrons."""
    atoms = set(one.atoms)
    return bool(atoms & set(OPEN_SHELL)) and bool(atoms & {"O", "F", "N", "S", "P"})


def _charged_composition(text: str, hosts: Sequence[tuple[int, Formula]]) -> str | None:
    """Return the formula of a host with less alkali metal than another, or that stands beside 'charged'."""
    shares = {}
    for at, one in hosts:
        metal = sum(n for e, n in one.atoms.items() if e in OPEN_SHELL)
        shares[one.text] = (sum(one.atoms[e] for e in ALKALI) / metal, at)
    if len({round(share, 3) for share, _ in shares.values()}) > 1:
        return min(shares, key=lambda name: shares[name][0])
    fullest = max((share for share, _ in shares.values()), default=0.0)
    for name, (share, at) in shares.items():
        near = text[max(0, at - _CHARGED_TO_FORMULA) : at]
        if share < max(1.0, fullest) and re.search(prose_terms.CHARGED, near, re.IGNORECASE):
            return name
    stated = re.search(r"\bx\s*=\s*\d[\d.]*|\bNa\s?content\s?of\s?[\d.]+", text)
    return stated[0] if stated else None
