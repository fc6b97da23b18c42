"""A dashboard of a small study: a job that failed, one that completed, one that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from epilayer.store.results import SqliteResults
from small_study import empty_study, with_three_jobs

pytest.importorskip("starlette", reason="the dashboard's extra is not installed")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.testclient import TestClient

    from epilayer import Study

PORT = 8765
HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study without a job; `folder` adds three."""
    return empty_study(tmp_path / "study")


@pytest.fixture
def folder(study: Study) -> Path:
    """Three jobs; the directory of the attempt that failed."""
    return with_three_jobs(study, HOSTILE)


@pytest.fixture
def results(study: Study) -> Iterator[SqliteResults]:
    """The study's results store."""
    study.state.mkdir(exist_ok=True)
    store = SqliteResults(study.results_file, durable=False)
    yield store
    store.close()


@pytest.fixture
def client_of(study: Study) -> Callable[..., TestClient]:
    from starlette.testclient import TestClient

    from epilayer.dashboard.app import create_app

    def make(**options: Any) -> TestClient:  # noqa: ANN401
        app = create_app(study, port=PORT, **options)
        return TestClient(app, base_url=f"http://127.0.0.1:{PORT}", follow_redirects=False)

    return make


@pytest.fixture
def client(client_of: Callable[..., TestClient], folder: Path) -> TestClient:
    """A browser at the dashboard of the three jobs."""
    assert folder.is_dir()
    return client_of()
