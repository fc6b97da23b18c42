"""Who may ask the dashboard, what it never serves, and that nothing of the study runs in the browser."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import record_kinds as made

from epilayer.analysis.loaded import HOST
from epilayer.launch.base import JobState
from epilayer.model.dynamics import ABOUT
from epilayer.store.records import document_of
from epilayer.store.results import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.testclient import TestClient

    from epilayer import Study
    from epilayer.store.results import SqliteResults

HOME = "http://127.0.0.1:8765"
TOKEN = "a-token-of-this-test"  # noqa: S105
HOSTILE = '<script>alert("x")</script>'
PAGES = (
    "/", "/jobs", "/job/1", "/results", "/nowhere", "/assets/dashboard.css", "/job/99", "/result/none",
    "/trajectories", "/trajectory/none", "/trajectory/none/figure.svg", "/result/none/figure/msd.svg",
)  # fmt: skip


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:8765.evil.example", ""],
)
def test_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    for page in PAGES:
        answer = client.get(page, headers={"Host": host})
        assert answer.status_code == 421, page
        assert "relax" not in answer.text


def test_its_own_names_are_served(client: TestClient) -> None:
    for host in ("127.0.0.1:8765", "localhost:8765"):
        assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:8765", "http://localhost"],
)
def test_a_foreign_origin_is_refused_for_reading_and_for_acting(
    client_of: Callable[..., TestClient], origin: str
) -> None:
    client = client_of(token=TOKEN)
    client.cookies.set("epilayer_8765", TOKEN)
    assert client.get("/", headers={"Origin": origin}).status_code == 403
    assert client.post("/job/1/rerun", headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize("page", PAGES)
def test_every_answer_forbids_what_is_not_ours(client: TestClient, page: str) -> None:
    answer = client.get(page)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "page", ["/", "/jobs", "/job/1", "/results/adsorption", "/trajectories", "/trajectory/hostile"]
)
def test_what_the_study_says_is_text(
    client: TestClient, study: Study, results: SqliteResults, page: str
) -> None:
    fields = {"ligand": HOSTILE, "facet": "001", "status": "certified", "level": HOSTILE}
    stored = Record(
        kind="adsorption", id="hostile", created="2026-01-01", schema_version=1, fields=fields, body={}
    )
    results.put([stored])
    runs = study.root / "trajectories" / "hostile"
    made.walkers(runs, frames=2)
    about = json.loads((runs / ABOUT).read_text(encoding="utf-8"))
    names = [name if name == HOST else HOSTILE for name in about["names"]]
    told = about | {"label": HOSTILE, "level": HOSTILE, "names": names}
    (runs / ABOUT).write_text(json.dumps(told), encoding="utf-8")
    text = client.get(page).text
    assert "alert(" in text
    assert_nothing_runs(text)


@pytest.mark.parametrize("kind", made.EVERY_KIND)
def test_no_word_of_a_record_runs(client: TestClient, results: SqliteResults, kind: str) -> None:
    """Every text of a record of every kind is a script: on its page, in its figures, in its row."""
    record = made.EVERY_KIND[kind]()
    texts = {name for name, field in type(record).model_fields.items() if field.annotation is str} - {
        "cation"
    }
    document = document_of(record.model_copy(update=dict.fromkeys(texts, HOSTILE)), created="2026-01-01")
    results.put([document])
    page = client.get(f"/result/{document['id']}")
    assert page.status_code == 200
    assert "alert(" in page.text
    assert_nothing_runs(page.text)
    assert_nothing_runs(client.get(f"/results/{kind}").text)
    for figure in re.findall(r'src="(/result/[^"]+[.]svg)"', page.text):
        if not figure.endswith(("msd.svg", "rdf.svg")):  # these would need its trajectory
            drawn = client.get(figure)
            assert drawn.status_code == 200, figure
            assert "<script" not in drawn.text


def assert_nothing_runs(text: str) -> None:
    assert "<script>alert" not in text
    # No script stands in the page: every one is a file, or data that never runs.
    for attributes, inner in re.findall(r"<script([^>]*)>(.*?)</script>", text, re.DOTALL):
        assert 'src="/assets/' in attributes or 'type="application/json"' in attributes
        assert not inner.strip() or 'type="application/json"' in attributes
    assert " style=" not in text
    assert not re.search(r"\son[a-z]+=", text)


def test_files_of_an_attempt_are_served_as_text(client: TestClient) -> None:
    found = client.get("/job/1/attempt/1/stdout.log")
    assert (found.status_code, found.text) == (200, "all is well\n")
    assert found.headers["content-type"].startswith("text/plain")
    assert client.get("/job/1/attempt/1/deep/POSCAR").text == "Na\n"


def attempts_to_leave(number: int) -> list[str]:
    """Return paths that try to leave the folder of an attempt, seeded."""
    chance = random.Random(20260101)  # noqa: S311  (not for secrets)
    ups = [
        "..",
        "%2e%2e",
        ".%2e",
        "%2E.",
        "%252e%252e",
        "..%00",
        "....",
        "..;",
        "deep/..",
        "up",
        "%c0%ae%c0%ae",
        "\uff0e\uff0e",
    ]
    parts = ["/", "%2f", "%5c", "\\", "//", "/./", "%252f", "/deep/../"]
    goals = [
        "secret.txt",
        "etc/passwd",
        "beside.txt",
        "results.sqlite",
        "queue.sqlite",
        "study/results.sqlite",
        "link.txt",
    ]
    heads = ["", "/", "//", "%2f", "deep/", "file:///", "C:\\", "~/", "\\\\host\\", "stdout.log/"]
    paths = [
        "link.txt",
        "up/secret.txt",
        "../beside.txt",
        "../../../results.sqlite",
        "/etc/passwd",
        "//etc/passwd",
    ]
    while len(paths) < number:
        depth = chance.randint(1, 8)
        climb = "".join(chance.choice(ups) + chance.choice(parts) for _ in range(depth))
        paths.append(chance.choice(heads) + climb + chance.choice(goals))
    return paths


def test_no_path_leaves_the_folder_of_an_attempt(client: TestClient) -> None:
    served = {"all is well\n", "Na\n"}
    tried = attempts_to_leave(200)
    assert len(tried) == 200
    for path in tried:
        for address in (
            f"/job/1/attempt/1/{path}",
            f"/job/1/attempt/1/{quote(path, safe='')}",
            f"/assets/{path}",
        ):
            answer = client.get(address)
            body = answer.text
            assert "outside the study" not in body, address
            assert "beside the attempt" not in body, address
            assert "root:" not in body, address
            assert not answer.content.startswith(b"SQLite format"), address
            assert answer.status_code in {400, 404, 405} or body in served, address


def test_no_path_leaves_the_folder_when_it_comes_undecoded(
    study: Study, folder: Path, tmp_path: Path
) -> None:
    """As a server would hand it over after decoding: no client has tidied the dots away."""
    allowed = {(folder / "stdout.log").resolve(), (folder / "deep" / "POSCAR").resolve()}
    for path in attempts_to_leave(200):
        for given in (path, unquote(path), unquote(unquote(path))):
            assert study.file(given, folder) in {None, *allowed}, given
    assert study.file("deep/../stdout.log", folder) in allowed
    assert study.file("secret.txt", tmp_path) is None


def test_nobody_acts_where_it_only_reads(client: TestClient, study: Study) -> None:
    before = study.queue().jobs()
    for verb in ("rerun", "cancel", "pause", "resume"):
        answer = client.post(f"/job/1/{verb}", headers={"Origin": HOME})
        assert answer.status_code == 403
        assert "--allow-actions" in answer.text
    assert study.queue().jobs() == before
    assert '<button type="submit">Rerun' not in client.get("/job/1").text


def test_acting_takes_the_token(client_of: Callable[..., TestClient], study: Study, folder: Path) -> None:
    assert folder.is_dir()
    queue = study.queue()
    client = client_of(token=TOKEN)
    assert client.post("/job/1/rerun", headers={"Origin": HOME}).status_code == 401
    assert client.post(f"/job/1/rerun?token={TOKEN}", headers={"Origin": HOME}).status_code == 401
    assert client.get("/?token=wrong").status_code == 401
    assert queue.job(1).state is JobState.FAILED
    taken = client.get(f"/jobs?state=failed&token={TOKEN}")
    assert (taken.status_code, taken.headers["location"]) == (303, "/jobs?state=failed")
    assert {"HttpOnly", "SameSite=Strict"} <= {p.strip() for p in taken.headers["set-cookie"].split(";")}
    assert client.post("/job/1/rerun").status_code == 401  # no Origin: not a browser's form
    done = client.post("/job/1/rerun", headers={"Origin": HOME})
    assert (done.status_code, done.headers["location"]) == (303, "/job/1")
    assert queue.job(1).state is JobState.READY
    assert client.post("/flow/f1/pause", headers={"Origin": HOME}).status_code == 303
    assert (queue.job(1).state, queue.flows()[0].paused) == (JobState.PAUSED, True)
    assert client.post("/job/1/destroy", headers={"Origin": HOME}).status_code == 404
    assert "Rerun" in client.get("/job/1").text


def test_an_address_never_leads_elsewhere(client_of: Callable[..., TestClient]) -> None:
    client = client_of(token=TOKEN)
    for path in ("//evil.example/", "/\\evil.example/", "///evil.example"):
        place = client.get(f"{HOME}{path}?token={TOKEN}").headers["location"]
        assert place.startswith("/")
        assert not place.startswith(("//", "/\\"))


def test_a_private_dashboard_is_read_with_the_token_alone(client_of: Callable[..., TestClient]) -> None:
    client = client_of(token=TOKEN, private=True, acts=False)
    assert all(client.get(page).status_code == 401 for page in PAGES)
    assert client.get(f"/?token={TOKEN}").status_code == 303
    assert client.get("/").status_code == 200
    assert client.post("/job/1/rerun", headers={"Origin": HOME}).status_code == 403
