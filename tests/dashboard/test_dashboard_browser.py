"""A person at the dashboard: Chromium drives ``epilayer dashboard`` over a study of the toy engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import record_kinds as made

from epilayer.store.records import document_of
from epilayer.store.results import SqliteResults

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="SKIPPED LOUDLY: no Chromium here (apt-get install chromium)"
    ),
]
WIDTHS = (1280, 400)

FAILING = """
from jobflow import Flow, job
from epilayer.model.failure import FailedRunError, Failure, FailureClass

WHAT = "The electronic loop did not converge in 60 steps <script>x()</script>."

@job
def relax(name):
    raise FailedRunError(Failure(kind=FailureClass.SCF, cause="nelm", what=WHAT, remedy="Mix less."))

def build(name):
    one = relax(name)
    one.name = name
    return Flow([one], name="solvents")
"""


def epilayer(study: Path, *arguments: str, check: bool = True) -> None:
    command = [sys.executable, "-c", "from epilayer.cli import main; main()", "-C", str(study), *arguments]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(study), *sys.path]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=300)
    assert not check or done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One adsorption energy by the toy engine, a campaign that fails, a made-up record of each kind."""
    folder = tmp_path_factory.mktemp("browser") / "study"
    main = [sys.executable, "-c", "from epilayer.cli import main; main()", "init", str(folder)]
    subprocess.run(main, check=True, capture_output=True, timeout=60)
    asked = ("--level", "toy", "--quick", "--set", "ligands=triazole", "--set", "facets=001")
    epilayer(folder, "run", "paper_adsorption", *asked)
    (folder / "failing.py").write_text(FAILING, encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        import failing

        from epilayer import Study
        from epilayer.launch.embedded import EmbeddedQueue

        used = Study.open(folder)
        EmbeddedQueue(used.queue_file, runs=used.runs).submit(failing.build("relax dmf"))
    finally:
        sys.path.remove(str(folder))
    epilayer(folder, "run", "--workers", "1", check=False)
    records = {kind: make() for kind, make in made.EVERY_KIND.items()}
    records["transport"] = made.transport(folder / "trajectories" / "walkers")
    results = SqliteResults(folder / ".epilayer" / "results.sqlite", durable=False)
    results.put([document_of(record, created="2026-01-01") for record in records.values()])
    gone = made.transport().model_copy(update={"system": "walkers whose trajectory is gone"})
    results.put([document_of(gone, created="2025-01-01")])
    results.close()
    return folder


@pytest.fixture(scope="module")
def address(study: Path) -> Iterator[str]:
    command = [sys.executable, "-c", "from epilayer.cli import main; main()", "-C", str(study), "dashboard"]
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([*command, "--no-browser"], stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        yield found.group()
        process.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="SKIPPED LOUDLY: playwright is not installed"
    )
    software = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=software)
        yield opened
        opened.close()


class Visit:
    """A page of the browser, and all that it said and asked for."""

    def __init__(self, browser: Any, *, width: int = 1280, scheme: str = "light") -> None:  # noqa: ANN401
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda r: self.hosts.add(urlsplit(r.url).hostname or urlsplit(r.url).scheme))

    def check(self) -> None:
        assert self.errors == []
        assert self.hosts <= {"127.0.0.1", "data", "blob"}


def serious(page: Any) -> list[str]:  # noqa: ANN401
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="SKIPPED LOUDLY: no axe-core")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found if v["impact"] in {"serious", "critical"}
    ]


def test_a_person_finds_a_result_and_a_cause(browser: Any, address: str) -> None:  # noqa: ANN401
    visit = Visit(browser)
    page = visit.page
    page.goto(address)
    page.get_by_role("link", name="adsorption on nvopf").click()
    assert page.get_by_role("heading", name="Jobs").is_visible()
    assert page.locator("tbody tr").count() > 5

    page.get_by_role("navigation", name="Main").get_by_role("link", name="Results").click()
    page.get_by_role("link", name="adsorption").first.click()
    page.get_by_label("Filter", exact=True).fill("ligand=triazole; facet=001; level=toy")
    page.get_by_label("Filter", exact=True).press("Enter")
    page.get_by_role("list", name="Filters at work").wait_for()
    assert page.locator("tbody tr").count() == 1

    page.locator("tbody th a").first.click()
    page.get_by_role("heading", name="triazole on (001), toy").wait_for()
    assert page.get_by_text("must not be reported").first.is_visible()
    stage = turn(page)
    before = stage.screenshot()
    stage.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    assert stage.screenshot() != before
    curve = page.get_by_role("img", name=re.compile("^Relaxation of"))
    curve.first.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.images].every(i => i.complete && i.naturalWidth)")

    page.get_by_role("navigation", name="Main").get_by_role("link", name="Campaigns").click()
    page.get_by_role("link", name="relax dmf").click()
    page.get_by_role("heading", name="Cause: scf").wait_for()
    assert page.get_by_text("did not converge in 60 steps <script>x()</script>. Mix less.").first.is_visible()
    assert "FailedRunError" in page.get_by_role("region", name="End of stderr.log, attempt 1").inner_text()
    visit.check()


def turn(page: Any) -> Any:  # noqa: ANN401
    page.get_by_role("button", name="Turn it in 3D").last.click()
    stage = page.get_by_role("application")
    stage.wait_for()
    return stage


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_hard_to_use(browser: Any, address: str, width: int, scheme: str) -> None:  # noqa: ANN401
    visit = Visit(browser, width=width, scheme=scheme)
    for place in (
        "/", "/jobs", "/jobs?state=failed", "/job/1", "/results", "/results/adsorption", "/trajectories",
        "/trajectory/walkers",
    ):  # fmt: skip
        visit.page.goto(address + place)
        assert_usable(visit.page, place)
    visit.check()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_the_page_of_every_kind_is_drawn_and_usable(
    browser: Any,  # noqa: ANN401
    address: str,
    width: int,
    scheme: str,
) -> None:
    visit = Visit(browser, width=width, scheme=scheme)
    page = visit.page
    for kind in made.EVERY_KIND:
        page.goto(f"{address}/results/{kind}")
        page.goto(address + page.locator("tbody th a").first.get_attribute("href"))
        if scheme == "light":  # the same figures in either
            page.evaluate("() => { for (const image of document.images) image.loading = 'eager'; }")
            page.wait_for_function("() => [...document.images].every(i => i.complete && i.naturalWidth)")
            assert page.locator("p.lost").count() == 0, kind
        assert_usable(page, kind)
    visit.check()


def assert_usable(page: Any, what: str) -> None:  # noqa: ANN401
    assert serious(page) == [], what
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), what


def test_a_failure_gives_its_command_and_a_lost_picture_its_reason(browser: Any, address: str) -> None:  # noqa: ANN401
    page = Visit(browser).page
    page.goto(address)
    page.get_by_role("link", name="relax dmf").click()
    page.get_by_role("button", name="Copy").click()
    page.wait_for_function("() => document.getElementById('said').textContent")
    assert re.search(r"epilayer rerun \d+ && epilayer run|Selected", page.get_by_role("status").inner_text())
    page.goto(f"{address}/results/transport?where=system~gone")
    page.locator("tbody th a").first.click()
    page.get_by_text("is not among the files of this study. Restore it there").first.wait_for()


def test_the_keyboard_reaches_the_content_first(browser: Any, address: str) -> None:  # noqa: ANN401
    page = Visit(browser).page
    page.goto(f"{address}/results/adsorption")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.getElementById('content').contains(document.activeElement)")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
