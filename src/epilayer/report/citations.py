"""Citations of the codes, potentials, methods and data behind records, as BibTeX."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from epilayer.model.dynamics import Ensemble, Thermostat
from epilayer.model.level import EngineKind
from epilayer.report import methods

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from epilayer.report.paper_table import Found

_DOI = re.compile(r"10\.\d{4,9}/[^\s\"'<>{}]+[^\s\"'<>{}.,;:)\]]")
_OWN_DOI = re.compile(r"^\s*doi\s*=\s*[{\"](10\.[^}\"]+)", re.MULTILINE | re.IGNORECASE)
_ENTRY = re.compile(r"^@(?:(?!^@).)*", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^%.*\n?", re.MULTILINE)
_KEY = re.compile(r"[^A-Za-z0-9]+")
_ESCAPED = str.maketrans({c: f"\\{c}" for c in "&%$#_"})
_UNSAFE = str.maketrans({"{": "(", "}": ")", "\\": "/"})

_PROGRAMS = {
    "atomate2": ("10.1039/D5DD00019J",),
    "jobflow": ("10.21105/joss.05995",),
    "pymatgen": ("10.1016/j.commatsci.2012.10.028",),
    "custodian": ("10.1016/j.commatsci.2012.10.028",),
    "ase": ("10.1088/1361-648X/aa680e",),
    "chgnet": ("10.1038/s42256-023-00716-3",),
    "sevenn": ("10.1021/acs.jctc.4c00190",),
    "dftd3": ("10.21105/joss.07169",),
    "vasp": ("10.1103/PhysRevB.54.11169", "10.1103/PhysRevB.59.1758"),
    "lobster": ("10.1002/jcc.26353", "10.1021/jp202489s"),
    "tblite": ("10.1021/acs.jctc.7b00118",),
}
_D3 = ("10.1063/1.3382344", "10.1002/jcc.21759")
_PBE = "10.1103/PhysRevLett.77.3865"
_THERMOSTATS = {Thermostat.NOSE_HOOVER: "10.1063/1.463940", Thermostat.LANGEVIN: "10.1063/1.4802990"}
_EVENTS = "10.1038/s41524-018-0074-y"


def entries_by_doi(texts: Iterable[str]) -> dict[str, str]:
    """Return the entries of BibTeX files by their DOI, in lower case; the first of a DOI counts.

    An entry begins with ``@`` at the start of a line; what stands before the first is a comment.
    """
    entries: dict[str, str] = {}
    for text in texts:
        for entry in _ENTRY.findall(text):
            stated = _OWN_DOI.search(entry)
            if stated:
                entries.setdefault(stated[1].strip().lower(), _COMMENT.sub("", entry).strip())
    return entries


def bibtex(
    found: Mapping[str, Sequence[Found]], sources: Mapping[str, str], library: Mapping[str, str]
) -> str:
    """Return one entry for each work behind some records, by DOI, each once.

    Parameters
    ----------
    found
        The records, by kind.
    sources
        Source texts of engines, levels, cathodes, ligands and the publication compared with, by title.
        Every DOI in them is cited.
    library
        Entries with authors by DOI (:func:`entries_by_doi`); else the text of the source is cited.
    """
    notes: dict[str, list[str]] = {}
    entries: dict[str, str] = {}
    for doi, note in _works(found):
        notes.setdefault(doi.lower(), []).append(note)
        entries.setdefault(doi.lower(), library.get(doi.lower()) or _entry(note, doi, note))
    for title, text in sources.items():
        plain = " ".join(text.split())
        for number, doi in enumerate(dict.fromkeys(_DOI.findall(plain))):
            key = title if not number else f"{title} {number + 1}"
            entries.setdefault(doi.lower(), library.get(doi.lower()) or _entry(key, doi, title, plain))
    cited = (_noted(entry, notes.get(doi, ())) for doi, entry in entries.items())
    return "\n\n".join(cited) + ("\n" if entries else "")


def _works(found: Mapping[str, Sequence[Found]]) -> Iterator[tuple[str, str]]:
    """Yield the DOI of each program and method that took part, with what it was used as."""
    for program, version in methods.versions_of(found).items():
        for doi in _PROGRAMS.get(program, ()):
            yield doi, version if program in version.lower() else f"{program} {version}"
    levels = methods.levels_of(found)
    if any("D3" in (level.dispersion or "") for level in levels):
        for doi in _D3:
            yield doi, "dispersion correction"
    if any(level.kind is EngineKind.DFT and "PBE" in level.method for level in levels):
        yield _PBE, "density functional"
    runs = [one.record for one in found.get("transport", ())]
    for settings in (run.settings for run in runs if run.settings.ensemble is Ensemble.NVT):
        yield _THERMOSTATS[settings.thermostat], "thermostat"
    if runs:
        yield _EVENTS, "effective events of a diffusion coefficient"


def _noted(entry: str, notes: Iterable[str]) -> str:
    """Return an entry of the library with what the work was used as."""
    said = "; ".join(dict.fromkeys(notes))
    if not said or "note = {" in entry:
        return entry
    return f"{entry.removesuffix('}').rstrip().removesuffix(',')},\n  note = {{{_text(said)}}},\n}}"


def _entry(name: str, doi: str, title: str, note: str = "") -> str:
    key = _KEY.sub("-", name).strip("-").lower()
    lines = [f"@misc{{{key},", f"  title = {{{_text(title)}}},", f"  doi = {{{doi}}},"]
    return "\n".join([*lines, *([f"  note = {{{_text(note)}}},"] if note else []), "}"])


def _text(text: str) -> str:
    return text.translate(_UNSAFE).translate(_ESCAPED)
