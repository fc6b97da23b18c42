"""Every page shows what it should, in each state it can be in; a large table is quick."""

from __future__ import annotations

import re
import statistics
import time
from typing import TYPE_CHECKING, Any

import pytest

from epilayer.store.kind_tables import KindTable
from epilayer.store.results import Record, SqliteResults

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.testclient import TestClient

    from epilayer import Study


def adsorption(number: int, **fields: Any) -> Record:  # noqa: ANN401
    given = {
        "ligand": ("triazole", "imidazole")[number % 2],
        "facet": ("001", "100", "110")[number % 3],
        "level": "chgnet+d3",
        "status": "refused" if number % 5 == 0 else "certified",
        "adsorption_energy_ev": None if number % 5 == 0 else -0.01 * number,
        "stand_in": False,
    }
    return Record(
        kind="adsorption",
        id=f"{number:06d}",
        created="2026-01-01",
        schema_version=1,
        fields=given | fields,
        body={},
    )


def rows(text: str) -> list[str]:
    return re.findall(r'href="/result/(\w+)"', text)


def test_an_empty_study_says_how_to_begin(client_of: Callable[..., TestClient]) -> None:
    client = client_of()
    assert "epilayer run paper_adsorption" in client.get("/").text
    assert "epilayer run paper_adsorption" in client.get("/results").text
    assert "No jobs yet" in client.get("/jobs").text
    assert "No such jobs" in client.get("/jobs?state=failed").text
    missing = client.get("/results/adsorption")
    assert missing.status_code == 404
    assert "no results of kind" in missing.text


def test_campaigns_show_progress_and_what_failed(client: TestClient) -> None:
    text = client.get("/").text
    assert "<b>1</b> of 3 done" in text
    assert 'aria-label="1 of 3 jobs done"' in text
    assert 'href="/jobs?state=failed&amp;failure=other"' in text
    assert "The forces did not converge" in text
    assert 'data-refresh="5"' in text  # one of its jobs runs


def test_jobs_are_found_by_state_and_class(client: TestClient) -> None:
    def found(query: str) -> set[str]:
        return set(re.findall(r'href="/job/(\d+)"', client.get(f"/jobs?{query}").text))

    assert found("") == {"1", "2", "3"}
    assert found("state=completed") == {"2"}
    assert found("failure=other") == {"1"}
    assert found("state=completed&failure=other") == set()
    wrong = client.get("/jobs?state=sleeping")
    assert wrong.status_code == 400
    assert "failed, running" in wrong.text


def test_a_job_shows_cause_remedy_log_and_files(client: TestClient) -> None:
    text = client.get("/job/1").text
    assert "Cause: other" in text
    assert "Give it more steps." in text
    assert "What helps:" in text
    assert "epilayer rerun 1 &amp;&amp; epilayer run" in text
    assert "Traceback" in text
    assert 'href="/job/1/attempt/1/deep/POSCAR"' in text
    assert client.get("/job/77").status_code == 404


def test_filters_sorting_and_pages(client: TestClient, results: SqliteResults) -> None:
    results.put([adsorption(n) for n in range(1, 121)])
    first = client.get("/results/adsorption")
    assert len(rows(first.text)) == 50
    assert "1 to 50 of 120" in first.text
    assert "page 1 of 3" in first.text
    last = client.get("/results/adsorption?page=3")
    assert "101 to 120 of 120" in last.text
    assert rows(client.get("/results/adsorption?page=999").text) == rows(last.text)
    some = client.get("/results/adsorption?f.facet=001&f.facet=100&f.status=certified").text
    assert f"of {sum(n % 3 != 2 and n % 5 != 0 for n in range(1, 121))}<" in some
    assert some.count(" checked>") == 3
    assert 'aria-label="Remove the filter facet: 001"' in some
    typed = client.get("/results/adsorption", params={"where": "adsorption_energy_ev<-1.15; ligand~TRI"}).text
    assert set(rows(typed)) == {"000116", "000118"}
    ordered = client.get("/results/adsorption?sort=adsorption_energy_ev").text
    assert rows(ordered)[:3] == ["000119", "000118", "000117"]
    assert 'aria-sort="ascending"' in ordered
    assert "sort=-adsorption_energy_ev" in ordered
    nothing = client.get("/results/adsorption", params={"where": "ligand=water"})
    assert "No record matches" in nothing.text


def test_counts_beside_the_choices_follow_the_filters(client: TestClient, results: SqliteResults) -> None:
    """A field's own choices are counted as if it had none: they say what one more tick would add."""
    results.put([adsorption(n) for n in range(1, 121)])
    numbers = range(1, 121)

    def counts(query: str) -> dict[str, int]:
        text = client.get(f"/results/adsorption?{query}").text
        found = re.findall(r'name="f\.\w+" value="([^"]+)".*?<span class="sub">([\d,]+)</span>', text)
        return {value: int(number) for value, number in found}

    of_100 = [n for n in numbers if n % 3 == 1]
    assert counts("f.facet=100") == {
        "certified": sum(n % 5 != 0 for n in of_100),
        "refused": sum(n % 5 == 0 for n in of_100),
        "001": 40, "100": 40, "110": 40,
        "triazole": sum(n % 2 == 0 for n in of_100),
        "imidazole": sum(n % 2 == 1 for n in of_100),
    }  # fmt: skip
    both = counts("f.facet=100&f.status=refused&where=ligand%3Dtriazole")
    assert both["001"] == sum(n % 30 == 0 for n in numbers)
    assert both["certified"] == sum(n % 6 == 4 and n % 5 != 0 for n in numbers)
    assert both["imidazole"] == 0


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("where=nonsense", "is not a filter"),
        ("where=lignd%3Dwater", "Did you mean"),
        ("sort=colour", "Unknown field"),
        ("f.colour=red", "Unknown field"),
        ("where=adsorption_energy_ev%3Cmuch", "holds numbers"),
    ],
)
def test_a_wrong_filter_is_said_beside_the_form(
    client: TestClient, results: SqliteResults, query: str, said: str
) -> None:
    results.put([adsorption(1)])
    answer = client.get(f"/results/adsorption?{query}")
    assert answer.status_code == 400
    assert said in answer.text
    assert 'role="alert"' in answer.text
    assert 'id="where"' in answer.text


def test_every_page_can_be_used_by_keyboard_and_ear(client: TestClient, results: SqliteResults) -> None:
    results.put([adsorption(n) for n in range(60)])
    for page in ("/", "/jobs", "/job/1", "/results", "/results/adsorption", "/nowhere"):
        text = client.get(page).text
        assert '<html lang="en">' in text
        assert 'class="skip" href="#content"' in text
        assert text.count("<main ") == text.count("<h1>") == 1, page
        assert '<nav aria-label="Main">' in text
        for control in re.findall(r'<(?:input|select)[^>]* id="([^"]+)"', text):
            assert f'for="{control}"' in text, control


def put_directly(path: Path, number: int) -> None:
    """Write many records straight into the tables; the store's own way takes a quarter of a minute."""
    store = SqliteResults(path, durable=False)
    store.put([adsorption(1)])
    with store._database.writing() as connection:
        _, *one = connection.execute("SELECT * FROM payload").fetchone()
        made = [adsorption(n) for n in range(2, number + 1)]
        connection.executemany(
            "INSERT INTO record VALUES (?, ?, 'adsorption', ?, 1)",
            [(n, r["id"], "2026-01-01T00:00:00.000+00:00") for n, r in enumerate(made, 2)],
        )
        connection.executemany(
            f"INSERT INTO payload VALUES (?{', ?' * len(one)})",  # noqa: S608  (placeholders)
            [(n, *one) for n in range(2, number + 1)],
        )
        KindTable(connection, "adsorption").put(
            (n, r["id"], r["fields"] | {"created": "2026-01-01T00:00:00.000+00:00"})
            for n, r in enumerate(made, 2)
        )
    store.close()


@pytest.mark.slow
def test_a_hundred_thousand_results_are_paged_quickly(client: TestClient, study: Study) -> None:
    number = 100_000  # timed in seconds of CPU: what else the machine does is no part of it
    put_directly(study.results_file, number)
    started = time.process_time()
    first = client.get("/results/adsorption")
    assert time.process_time() - started < 1.0
    assert f"1 to 50 of {number:,}" in first.text
    took_s = []
    for query in (
        "f.facet=100",
        "f.facet=001&f.status=certified",
        "f.status=refused&f.ligand=triazole",
        "where=adsorption_energy_ev%3C-500",
        "where=ligand~azole&sort=-adsorption_energy_ev",
        "f.facet=110&sort=adsorption_energy_ev&page=40",
        "where=adsorption_energy_ev%3E-2",
    ):
        started = time.process_time()
        answer = client.get(f"/results/adsorption?{query}")
        took_s.append(time.process_time() - started)
        assert answer.status_code == 200
        assert rows(answer.text), query
    assert statistics.median(took_s) < 0.5, took_s
