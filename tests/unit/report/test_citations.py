"""Every work behind a number is cited once, with its authors, in BibTeX that other programs read."""

from __future__ import annotations

import re
from typing import Any

import bibtexparser
import pytest
from pybtex.database import parse_string

from epilayer.report.citations import bibtex, entries_by_doi
from epilayer.report.paper_table import Found
from epilayer.study.config import Catalogue, shipped

CATALOGUE = Catalogue((shipped("configs"),))
TEXT = (shipped("configs") / "citations.bib").read_text()
LIBRARY = entries_by_doi([TEXT])
DOI = re.compile(r"10\.\d{4,9}/[^\s\"'<>{}]+[^\s\"'<>{}.,;:)\]]")
KINDS = {
    "engines": CATALOGUE.engine_spec,
    "levels": CATALOGUE.level,
    "references": CATALOGUE.reference,
}


def parsed(text: str) -> list[dict[str, str]]:
    """The entries, read by two programs that agree on them."""
    entries: list[dict[str, str]] = bibtexparser.loads(text).entries
    other = parse_string(text, "bibtex").entries
    assert [e["ID"] for e in entries] == list(other)
    return entries


def test_the_library_is_whole_and_every_entry_has_what_a_citation_needs() -> None:
    entries = parsed(TEXT)
    assert len(entries) == TEXT.count("\n@") == len(LIBRARY)
    for entry in entries:
        assert {"author", "title", "journal", "year", "doi"} <= set(entry), entry["ID"]
        assert DOI.fullmatch(entry["doi"])
        assert entry["doi"].lower() in LIBRARY


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in CATALOGUE.names(kind) if name != "toy"]
)
def test_every_engine_level_and_reference_is_cited_with_authors(kind: str, name: str) -> None:
    thing: Any = KINDS[kind](name)
    stated = {
        *DOI.findall(thing.source),
        *getattr(thing, "cite", ()),
        *([thing.doi] if kind == "references" else []),
    }
    assert stated or kind == "levels"  # a level may add nothing that is published to its engine
    assert {doi.lower() for doi in stated} <= set(LIBRARY)


def test_what_took_part_is_cited_once_with_its_version(make: Any) -> None:  # noqa: ANN401
    sources = {
        "CHGNet & co": "B. Deng, 50 %, doi 10.1038/s42256-023-00716-3; D3 doi 10.1002/jcc.21759",
        "A_crystal & its {source}": "from memory, doi 10.1000/unknown_1",
    }
    text = bibtex({"adsorption": [Found("0" * 64, make.adsorption(-0.4))]}, sources, LIBRARY)
    entries = {entry["doi"]: entry for entry in parsed(text)}
    assert text.count("@") == len(entries)
    assert entries["10.1038/s42256-023-00716-3"]["author"].startswith("Deng, Bowen and")
    assert "chgnet 0.4.2" in entries["10.1038/s42256-023-00716-3"]["note"]
    assert entries["10.1002/jcc.21759"]["note"] == "dispersion correction"
    assert {"10.1063/1.3382344", "10.1002/jcc.21759"} < set(entries)
    assert r"A\_crystal \& its (source)" in text  # what the library does not know is cited by its source
    assert bibtex({}, {}, LIBRARY) == ""


def test_a_study_puts_its_own_entry_before_the_shipped_one() -> None:
    own = "% mine\n@article{mine,\n  doi = {10.1038/S42256-023-00716-3},\n}\n% end\n"
    assert entries_by_doi([own, TEXT])["10.1038/s42256-023-00716-3"].startswith("@article{mine,")
    assert "%" not in entries_by_doi([own])["10.1038/s42256-023-00716-3"]
