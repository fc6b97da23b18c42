"""The HTML file: whole, offline, escaped, and honest about what it holds."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from epilayer.model.anomaly import Anomaly, AnomalyKind
from epilayer.model.level import EngineKind
from epilayer.report import viewer
from epilayer.report.content import ReportContent
from epilayer.report.html import doi_links, executed, render_html, words
from epilayer.report.paper_table import Found

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer.model.reference import Reference

VOID = {"meta", "br", "link", "img", "hr"}


class Page(HTMLParser):
    """Tags, attributes and text of a page, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split()).replace("\N{MINUS SIGN}", "-")


def rendered(make: Any, **changes: Any) -> str:  # noqa: ANN401
    records = changes.pop("records", None) or make.study()
    verdicts = changes.pop("verdicts", None) or [make.growth(records, -0.2)]
    return page_of(records, verdicts, make.paper(), **changes)


def page_of(
    records: Sequence[Any] = (),
    verdicts: Sequence[Any] = (),
    reference: Reference | None = None,
    **rest: Any,  # noqa: ANN401
) -> str:
    """Return the page of some records; what is left goes to the content and to the page."""
    found = {
        kind: [Found(f"{kind}-{n}", record) for n, record in enumerate(some)]
        for kind, some in (("adsorption", records), ("growth", verdicts))
    }
    of_page = {name: rest.pop(name) for name in ("made_at", "title") if name in rest}
    return render_html(ReportContent(found, reference, **rest), **of_page)


def assert_only_our_scripts(page: Page) -> None:
    """Data are no code, the code is ours, and the page's policy allows no other."""
    types = [attrs for tag, attrs in page.tags if tag == "script"]
    code = [s for s, attrs in zip(page.scripts, types, strict=True) if "type" not in attrs]
    assert all(set(attrs) == {"type", "id"} for attrs in types if attrs)
    assert code == [viewer._script(viewer._LIBRARY), viewer._script(viewer._OURS)]
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    for script in code:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in str(policy)
    assert str(policy).startswith("default-src 'none'")
    assert "unsafe-eval" not in str(policy)


def test_well_formed_headed_captioned_and_described(make: Any) -> None:  # noqa: ANN401
    page = Page(rendered(make, calculations=[make.relaxation()]))
    assert page.open == []
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == 1
    assert tags.count("table") == tags.count("caption")
    assert all(attrs.get("aria-label") for tag, attrs in page.tags if tag == "svg")
    identifiers = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(identifiers) == len(set(identifiers))
    inner = {str(a["href"])[1:] for t, a in page.tags if t == "a" and str(a.get("href")).startswith("#")}
    assert inner <= set(identifiers)


def test_nothing_is_loaded_from_anywhere(make: Any) -> None:  # noqa: ANN401
    text = rendered(make)
    page = Page(text)
    assert_only_our_scripts(page)
    for script in page.scripts:
        text = text.replace(script, "")
    assert not re.search(r"\b(?:src|action|data|poster|srcset)\s*=\s*[\"']?(?!data:)\w+:", text)
    assert "<link" not in text
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    links = {a["href"] for t, a in Page(text).tags if t == "a"}
    assert all(str(href).startswith(("#", "https://doi.org/")) for href in links)


def test_a_hostile_name_is_harmless(make: Any) -> None:  # noqa: ANN401
    name = "<script>alert(1)</script>\"'--><img src=x onerror=alert(2)>{{ 7*7 }}$x_"
    record = make.adsorption(ligand=name, termination=name, closest_contact=name, parameters={name: name})
    refused = make.adsorption(None, ligand=name, facet=name)
    text = page_of(
        [record, refused],
        [make.growth([record], -0.2)],
        make.paper(),
        title=name,
        sources={name: name + " doi 10.1000/<script>x</script>"},
    )
    page = Page(text)
    assert page.open == []
    assert "img" not in {tag for tag, _ in page.tags}
    assert_only_our_scripts(page)
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert "alert(1)" in page.text  # as text, which is what a name is
    assert "{{ 7*7 }}" in page.text


def test_numbers_paper_and_label_stand_there(make: Any) -> None:  # noqa: ANN401
    text = Page(rendered(make, made_at=datetime(2025, 11, 22, 19, 0, tzinfo=UTC))).text
    for expected in (
        "machine-learned potential, not DFT",
        "-0.39",
        "interval -0.68 to +0.03",
        "0 adsorption energies certified, 3 provisional, 1 refused",
        "2025-11-22 19:00+00:00",
        "runs/ab/cd",
        "cd" * 32,
        "Remedy: rerun with more steps",
        "The interval of (001) reaches 0.23 eV across the threshold",
    ):
        assert expected in text, expected


def test_a_refused_energy_is_not_printed(make: Any) -> None:  # noqa: ANN401
    record = make.adsorption(None).model_copy(
        update={"adsorption_energy_ev": -9.99, "without_dispersion_ev": -9.98, "poses": ()}
    )
    text = Page(page_of([record], (), make.paper())).text
    assert "9.9" not in text
    assert "its energy is refused" in text


def test_a_stand_in_is_labelled_and_has_no_row(make: Any) -> None:  # noqa: ANN401
    toy = make.adsorption(-7.77, at=make.level("toy", EngineKind.TOY))
    text = Page(page_of([toy], [make.growth([toy], -0.2)], make.paper())).text
    assert "stand-in, not a result" in text
    for number in ("-7.77", "Without dispersion, eV", "difference"):
        assert number not in text
    assert "0 adsorption energies certified" in text


def test_anomalies_tell_what_how_far_and_what_to_do(make: Any) -> None:  # noqa: ANN401
    anomaly = Anomaly(
        kind=AnomalyKind.HYDROGEN_TRANSFERRED,
        atoms=(18,),
        what="H18 went from N16 to O1",
        value=1.02,
        threshold=1.21,
        unit="A",
        remedy="Start from another pose.",
    )
    text = Page(page_of([make.adsorption(None, anomalies=(anomaly,))], (), None)).text
    assert "Hydrogen transferred: H18 went from N16 to O1 (1.02, limit 1.21 A). Start from another" in text


def test_equal_records_equal_text_and_small(make: Any) -> None:  # noqa: ANN401
    first, second = rendered(make), rendered(make)
    assert first == second
    assert len(first.encode()) < 5_000_000 * 4 / 8


def test_nothing_computed_yet(make: Any) -> None:  # noqa: ANN401
    assert "There are no results yet" in Page(page_of([], (), make.paper())).text
    assert Page(page_of()).open == []


def test_curves_stand_with_the_legs_they_belong_to(make: Any) -> None:  # noqa: ANN401
    assert "Course of the relaxations" not in rendered(make)
    assert "Relaxation of slab nvopf (001)" in rendered(make, calculations=[make.relaxation()])


@pytest.mark.parametrize(
    ("topic", "found"),
    [
        ("termination", "(001): Na-F, shift 0.25"),
        ("dispersion", "chgnet+d3: D3(BJ), PBE parameters"),
        ("thickness", "(001): 16 slab atoms on 67.2 Å²"),
        ("other", ""),
    ],
)
def test_silent_choices_say_what_was_executed(make: Any, topic: str, found: str) -> None:  # noqa: ANN401
    choice = make.paper().silent[0].model_copy(update={"topic": topic})
    assert executed(choice, [make.adsorption()]) == found


def test_identifiers_are_shown_as_words_with_units() -> None:
    assert words("max_force_ev_per_ang") == "max force, eV/Å"
    assert words("search_pre_steps") == "search pre steps"
    assert words("duplicate_ang") == "duplicate, Å"


def test_dois_become_links_and_the_rest_is_escaped() -> None:
    html = str(doi_links("A <b>, doi 10.1021/acs.jctc.4c00190; and (10.1002/jcc.21759)."))
    assert '<a href="https://doi.org/10.1021/acs.jctc.4c00190">' in html
    assert '<a href="https://doi.org/10.1002/jcc.21759">' in html
    assert "&lt;b&gt;" in html
    assert html.endswith("</a>).")
