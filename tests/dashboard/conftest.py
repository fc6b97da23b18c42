"""A study without an engine: results in SQLite, jobs as plain views, files of one attempt."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from epilayer.dashboard.files import inside
from epilayer.dashboard.monitor import AttemptView, Campaign, JobRow, JobView, TrajectoryView, Verb
from epilayer.model.errors import InputError
from epilayer.store.results import SqliteResults

pytest.importorskip("starlette", reason="the dashboard's extra is not installed")

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from starlette.testclient import TestClient

PORT = 8765
TOKEN = "a-token-of-this-test"  # noqa: S105  (not a secret)
NOW = dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC)
HOSTILE = '<script>alert("x")</script>'


def row(number: int, name: str, state: str, *, cause: str = "", failure: str = "") -> JobRow:
    return JobRow(
        number=number,
        name=name,
        state=state,
        attempts=1,
        flows=("f1",),
        cause=cause,
        failure=failure,
        telling=cause,
        started=NOW,
        ended=NOW + dt.timedelta(seconds=75),
    )


@dataclass
class FakeDesk:
    """What a study would tell."""

    root: Path
    results: SqliteResults
    name: str = "trial"
    rows: list[JobRow] = field(default_factory=list)
    acted: list[tuple[Verb, str]] = field(default_factory=list)
    runs: list[TrajectoryView] = field(default_factory=list)

    def refresh(self) -> None:
        """Nothing runs here."""

    def campaigns(self) -> list[Campaign]:
        counts: dict[str, int] = {}
        for job in self.rows:
            counts[job.state] = counts.get(job.state, 0) + 1
        return [Campaign("f1", f"a campaign {HOSTILE}", NOW, counts)] if self.rows else []

    def jobs(self, *, state: str | None = None, flow: str | None = None) -> list[JobRow]:
        return [j for j in self.rows if state in (None, j.state) and (flow is None or flow in j.flows)]

    def job(self, ref: str) -> JobView:
        found = next((j for j in self.rows if str(j.number) == ref), None)
        if found is None:
            raise InputError(f"There is no job {ref!r}.", "List them: epilayer jobs list")
        folder = self.root / "runs" / "1" / "attempt-1"
        attempt = AttemptView(
            number=1,
            outcome=found.state,
            cause=found.cause,
            where="process 1 on here",
            started=NOW,
            took="1.0 s",
            directory=folder,
            files=(("stdout.log", 10), ("deep/POSCAR", 4)),
            tails=(("stderr.log", f"Traceback\n{HOSTILE}"), ("stdout.log", "")),
        )
        return JobView(
            row=found,
            uuid="0-1",
            function="a.b",
            created=NOW,
            remedy="Give it more steps.",
            attempts=(attempt,),
            after=(),
            before=(),
            telling=(("stderr.log", f"Killed {HOSTILE}"),),
            command=f"epilayer rerun {HOSTILE}",
        )

    def calculations(self, _jobs: Sequence[str]) -> dict[str, Any]:
        return {}

    def trajectories(self) -> list[TrajectoryView]:
        return self.runs

    def trajectory(self, name: str) -> TrajectoryView:
        found = next((run for run in self.runs if run.name == name), None)
        if found is None:
            raise InputError(f"There is no trajectory {name!r}.", "List them.")
        return found

    def file(self, path: str) -> Path | None:
        return inside(self.root, path, self.root)

    def measured(self, _job: str) -> list[Any]:
        return []

    def started_from(self, _directory: str, _like: object) -> None:
        return None

    def act(self, verb: Verb, ref: str) -> str:
        self.acted.append((verb, ref))
        return "done"


@pytest.fixture
def desk(tmp_path: Path) -> FakeDesk:
    study = tmp_path / "study"
    folder = study / "runs" / "1" / "attempt-1"
    (folder / "deep").mkdir(parents=True)
    (folder / "stdout.log").write_text("all is well\n", encoding="utf-8")
    (folder / "deep" / "POSCAR").write_text("Na\n", encoding="utf-8")
    (study / "runs" / "1" / "beside.txt").write_text("beside the attempt", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("outside the study", encoding="utf-8")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "up").symlink_to(tmp_path)
    rows = [
        row(1, f"relax {HOSTILE}", "failed", cause=f"forces not converged {HOSTILE}", failure="ionic"),
        row(2, "slab", "completed"),
        row(3, "molecule", "running"),
    ]
    return FakeDesk(study, SqliteResults(study / "results.sqlite", durable=False), rows=rows)


@pytest.fixture
def client_of(desk: FakeDesk) -> Callable[..., TestClient]:
    from starlette.testclient import TestClient

    from epilayer.dashboard.app import create_app

    def make(**options: Any) -> TestClient:  # noqa: ANN401
        app = create_app(desk, port=PORT, **options)
        return TestClient(app, base_url=f"http://127.0.0.1:{PORT}", follow_redirects=False)

    return make


@pytest.fixture
def client(client_of: Callable[..., TestClient]) -> TestClient:
    return client_of()
