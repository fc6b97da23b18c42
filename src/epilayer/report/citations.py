"""Citations of the codes, potentials and data behind records, as BibTeX."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DOI = re.compile(r"10\.\d{4,9}/[^\s\"'<>{}]+[^\s\"'<>{}.,;:)\]]")
_KEY = re.compile(r"[^A-Za-z0-9]+")
_ESCAPED = str.maketrans({c: f"\\{c}" for c in "&%$#_"})
_UNSAFE = str.maketrans({"{": "(", "}": ")", "\\": "/"})

_CODES = {
    "atomate2": ("Atomate2: modular workflows for materials science", 2025, "10.1039/D5DD00019J"),
    "jobflow": ("Jobflow: computational workflows made simple", 2024, "10.21105/joss.05995"),
    "pymatgen": ("Python Materials Genomics (pymatgen)", 2013, "10.1016/j.commatsci.2012.10.028"),
    "ase": ("The atomic simulation environment", 2017, "10.1088/1361-648X/aa680e"),
    "custodian": ("Python Materials Genomics (pymatgen)", 2013, "10.1016/j.commatsci.2012.10.028"),
}
_DISPERSION = (
    ("D3", "Parametrization of the dispersion correction DFT-D3",
     2010, "10.1063/1.3382344"),
    ("D3(BJ)", "Damping function of the dispersion correction DFT-D3", 2011,
     "10.1002/jcc.21759"),
)  # fmt: skip


def bibtex(levels: Iterable[Any], versions: Mapping[str, str], sources: Mapping[str, str]) -> str:
    """Return one entry for each work behind some records, by DOI, each once.

    Parameters
    ----------
    levels
        The levels of theory (:class:`epilayer.model.level.LevelOfTheory`) of the records.
    versions
        Programs that took part, with their versions.
    sources
        Source texts of engines, levels, cathodes, ligands and the publication compared with, by title.
        Every DOI in them is cited, with the text as the note.
    """
    entries: dict[str, str] = {}
    for program in sorted(set(versions) & set(_CODES)):
        title, year, doi = _CODES[program]
        entries.setdefault(doi.lower(), _entry(program, doi, title, year, f"{program} {versions[program]}"))
    if any("D3" in (level.dispersion or "") for level in levels):
        for name, title, year, doi in _DISPERSION:
            entries.setdefault(doi.lower(), _entry(name, doi, title, year, "dispersion correction"))
    for title, text in sources.items():
        plain = " ".join(text.split())
        for number, doi in enumerate(dict.fromkeys(_DOI.findall(plain))):
            key = title if not number else f"{title} {number + 1}"
            entries.setdefault(doi.lower(), _entry(key, doi, title, None, plain))
    return "\n\n".join(entries.values()) + ("\n" if entries else "")


def _entry(name: str, doi: str, title: str, year: int | None, note: str) -> str:
    key = _KEY.sub("-", name).strip("-").lower()
    lines = [f"@misc{{{key},", f"  title = {{{_text(title)}}},"]
    lines += [f"  year = {{{year}}},"] if year else []
    return "\n".join([*lines, f"  doi = {{{doi}}},", f"  note = {{{_text(note)}}}", "}"])


def _text(text: str) -> str:
    return text.translate(_UNSAFE).translate(_ESCAPED)
