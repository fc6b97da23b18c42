"""``epilayer dashboard``: the study in a browser of this machine."""

from __future__ import annotations

import importlib.util
import secrets
import socket
import threading
import webbrowser
from collections import deque
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epilayer.cli.common import err, jobstore_of, out, queue_of, results_of, study
from epilayer.cli.harvest import harvest
from epilayer.model.errors import EpilayerError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from epilayer.config import Study
    from epilayer.launch.base import Attempt, JobInfo, Queue
    from epilayer.model.cohp import Bonding
    from epilayer.model.records import Calculation
    from epilayer.report.dashboard.desk import AttemptView, Campaign, JobRow, JobView, Verb
    from epilayer.store.results import ResultsStore

_TAIL_LINES = 40
_TAIL_BYTES = 64 << 10
_MOST_FILES = 200
_TELLING = 180
_MOST_NEIGHBOURS = 200


def dashboard(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: the system assigns one.")
    ] = 0,
    *,
    allow_actions: Annotated[
        bool, typer.Option("--allow-actions", help="Let the page rerun, cancel, pause and resume.")
    ] = False,
    private: Annotated[
        bool,
        typer.Option("--private", help="Ask for the token to read, too: for a machine with other users."),
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address; open nothing.")
    ] = False,
) -> None:
    """Show campaigns, jobs and results in a browser of this machine; read-only unless told otherwise.

    It listens on 127.0.0.1 alone. Ctrl-C ends it.

    Example: [cyan]epilayer dashboard --no-browser[/]
    """
    missing = [n for n in ("starlette", "uvicorn") if importlib.util.find_spec(n) is None]
    if missing:
        raise EpilayerError(
            f"The dashboard needs {' and '.join(missing)}.", "Install it: pip install 'epilayer[dashboard]'"
        )
    import uvicorn

    from epilayer.report.dashboard.app import create_app

    used = study()
    desk = StudyDesk(used)
    with err.status("Reading the study ..."):
        desk.refresh()
    listening = _listen(port)
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(24) if allow_actions or private else None
    app = create_app(desk, port=port, token=token, private=private, acts=allow_actions)
    address = f"http://127.0.0.1:{port}/" + (f"?token={token}" if token else "")
    out.print(f"Dashboard of {used.root.name}: {address}", soft_wrap=True, markup=False)
    out.print("May act: keep this address to yourself." if allow_actions else "Read-only.", "Ctrl-C ends it.")
    if not no_browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    # No access log: an address may hold the token.
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", lifespan="off"))
    with listening:
        server.run(sockets=[listening])


def _listen(port: int) -> socket.socket:
    """Return a socket on the loopback address alone."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise InputError(
            f"Port {port} cannot be used ({error.strerror}).",
            "Leave --port out: the system finds a free one.",
        ) from error
    return listening


class StudyDesk:
    """A study's queue and stores, as the dashboard reads them (`epilayer.report.dashboard.desk.Desk`)."""

    def __init__(self, used: Study) -> None:
        self._study = used
        self.name, self.root = used.root.name, used.root
        self._results = results_of(used)
        self._completed: int | None = None
        self._refreshing = threading.Lock()

    @property
    def results(self) -> ResultsStore:
        """The results store."""
        return self._results

    @property
    def _queue(self) -> Queue:
        return queue_of(self._study)

    def refresh(self) -> None:
        """Store the records of jobs that have completed since the last look."""
        from epilayer.launch.base import JobState

        with self._refreshing:
            queue = queue_of(self._study)
            completed = queue.status().counts[JobState.COMPLETED]
            if completed != self._completed:
                harvest(self._study, queue)
                self._completed = completed

    def campaigns(self) -> list[Campaign]:
        """List the submitted flows, the newest first."""
        from epilayer.report.dashboard.desk import Campaign

        return [
            Campaign(
                ref=flow.ref,
                name=flow.name,
                created=flow.created,
                counts={state.value.lower(): n for state, n in flow.counts.items()},
                paused=flow.paused,
                cancelled=flow.cancelled,
            )
            for flow in sorted(self._queue.flows(), key=lambda flow: -flow.number)
        ]

    def jobs(self, *, state: str | None = None, flow: str | None = None) -> list[JobRow]:
        """List jobs by number."""
        from epilayer.launch.base import JobState

        wanted = None if state is None else JobState(state.upper())
        return [_row(job) for job in self._queue.jobs(state=wanted, flow=flow)]

    def job(self, ref: str) -> JobView:
        """Return one job with its attempts and its neighbours."""
        from epilayer.report.dashboard.desk import JobView

        queue = self._queue
        info = queue.job(ref)
        edges = queue.edges(info.flows[0]) if info.flows else []
        above = sorted({e.parent for e in edges if e.child == info.number})[:_MOST_NEIGHBOURS]
        below = sorted({e.child for e in edges if e.parent == info.number})[:_MOST_NEIGHBOURS]
        row = _row(info)
        return JobView(
            row=row,
            uuid=info.uuid,
            function=info.function,
            created=info.created,
            remedy=_REMEDIES.get(row.failure, ""),
            attempts=tuple(_attempt(a) for a in queue.attempts(info.number)),
            after=tuple(_row(queue.job(number)) for number in above),
            before=tuple(_row(queue.job(number)) for number in below),
            records=self._records(info.uuid),
        )

    def calculations(self, jobs: Sequence[str]) -> dict[str, Calculation]:
        """Return the calculations that these jobs put out, as far as the store has them."""
        read: list[Calculation] = self._outputs(jobs, "Calculation")
        return {calculation.provenance.job: calculation for calculation in read}

    def _outputs(self, jobs: Sequence[str], kind: str) -> list[Any]:
        """Return the outputs of one type that jobs put out, as far as the store has them."""
        from monty.json import MontyDecoder

        if not jobs:
            return []
        wanted = {"uuid": {"$in": sorted(set(jobs))}, "output.@class": kind}
        with jobstore_of(self._study) as outputs:
            found = outputs.query(wanted, properties=["output"], load=True)
            return [MontyDecoder().process_decoded(document["output"]) for document in found]

    def started_from(self, run_directory: str, like: Structure) -> Structure | None:
        """Return the configuration that a run began with, where its files hold it."""
        from pathlib import Path

        from epilayer.engines.beginning import BEGINNINGS, begun_from
        from epilayer.report.dashboard.files import inside

        found = (inside(Path(run_directory), name, self.root) for name in BEGINNINGS)
        return next((begun for path in found if path and (begun := begun_from(path, like))), None)

    def file(self, path: str) -> Path | None:
        """Return the file of this study that a record refers to."""
        from epilayer.report.dashboard.files import inside

        return inside(self.root, path, self.root)

    def measured(self, job: str) -> list[Bonding]:
        """Return what LOBSTER measured for a study of bonds, of the free molecule too."""
        return self._outputs(self._behind(job), "Bonding")

    def _behind(self, job: str) -> list[str]:
        """Return the uuids of the jobs that a job was built on, and of those that they were built on."""
        queue = self._queue
        info = queue.job(job)
        parents: dict[int, set[int]] = {}
        for edge in (edge for flow in info.flows for edge in queue.edges(flow)):
            parents.setdefault(edge.child, set()).add(edge.parent)
        behind: set[int] = set()
        found = {info.number}
        while found := {p for child in found for p in parents.get(child, ())} - behind:
            behind |= found
        return [queue.job(number).uuid for number in sorted(behind)]

    def act(self, verb: Verb, ref: str) -> str:
        """Do what a person asks of a job or a flow."""
        from epilayer.launch.base import JobState
        from epilayer.report.dashboard.desk import Verb

        queue = self._queue
        match verb:
            case Verb.RERUN:
                flow = ref.startswith("f") and ref[1:].isdecimal()
                report = queue.rerun(state=JobState.FAILED, flow=ref) if flow else queue.rerun([ref])
                return f"{len(report.jobs)} jobs will run again."
            case Verb.CANCEL:
                return f"{len(queue.cancel(ref).changed)} jobs cancelled."
            case Verb.PAUSE:
                return f"{len(queue.pause(ref).changed)} jobs paused."
            case Verb.RESUME:
                return f"{len(queue.resume(ref).changed)} jobs resumed."

    def _records(self, uuid: str) -> tuple[str, ...]:
        from epilayer.store.filters import Filter, Operator

        asked = [Filter("job", Operator.EQ, (uuid,))]
        return tuple(
            record["id"]
            for kind in self._results.kinds()
            if "job" in self._results.fields(kind)
            for record in self._results.query(kind, asked, fields=())
        )


#: What helps, by class of failure, besides what the job itself says.
_REMEDIES = {
    "walltime": "Give it more time and rerun it: it goes on from its last checkpoint.",
    "out_of_memory": "Give it more memory, or fewer jobs at a time (workers in epilayer.yaml), and rerun it.",
    "node_failure": "Rerun it: the machine failed, not the job.",
    "preempted": "Rerun it: it was made to leave, and did nothing wrong.",
    "scf": "Look at the end of its log; a different mixing or more electronic steps may help, then rerun it.",
    "ionic": "Rerun it with more steps (--set max_steps=...), or from a better start.",
    "disk_full": "Free space, then rerun it.",
    "database": "See that the database answers (epilayer doctor), then rerun it.",
    "setup": "epilayer doctor names what is missing; then rerun it.",
    "crash": "Look at the end of stderr.log; rerun it once; if it dies again, run fewer at a time.",
    "lost": "Rerun it; if it is lost again, look at the log of the workers.",
    "input": "The input is at fault: mend it and submit again.",
    "code_error": "The program named its own error: look at its log, then rerun it with other settings.",
    "other": "Look at the end of stderr.log, which has the traceback, then rerun it.",
}


def _row(job: JobInfo) -> JobRow:
    from epilayer.launch.base import JobState
    from epilayer.launch.failures import classify
    from epilayer.report.dashboard.desk import JobRow

    failed = job.state is JobState.FAILED
    return JobRow(
        number=job.number,
        name=job.name,
        state=job.state.value.lower(),
        attempts=job.attempts,
        flows=job.flows,
        cause=job.cause or "",
        failure=classify(job.cause, None, raised=True).kind.value if failed else "",
        telling=_telling(job),
        started=job.started,
        ended=job.ended,
    )


def _telling(job: JobInfo) -> str:
    """Return the words of its log that tell most: the cause that the queue took from its last error."""
    cause = job.cause or ""
    return cause if len(cause) <= _TELLING else cause[: _TELLING - 1] + "…"


def _attempt(attempt: Attempt) -> AttemptView:
    from epilayer.report.dashboard.desk import AttemptView, duration

    took = duration((attempt.ended - attempt.started).total_seconds()) if attempt.ended else ""
    return AttemptView(
        number=attempt.number,
        outcome=attempt.outcome.value.lower(),
        cause=attempt.cause or "",
        where=f"process {attempt.pid} on {attempt.host}",
        started=attempt.started,
        took=took,
        directory=attempt.directory,
        files=_files(attempt.directory),
        tails=tuple((path.name, _tail(path)) for path in (attempt.stderr, attempt.stdout)),
    )


def _files(directory: Path) -> tuple[tuple[str, int], ...]:
    """Return the files of an attempt, as paths below its directory, with their sizes."""
    found: list[tuple[str, int]] = []
    for path in sorted(directory.rglob("*")):
        if len(found) == _MOST_FILES:
            break
        if path.is_file() and not path.is_symlink():
            found.append((path.relative_to(directory).as_posix(), path.stat().st_size))
    return tuple(found)


def _tail(path: Path) -> str:
    """Return the last lines of a log, without reading all of a long one."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            file.seek(max(0, length - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(deque(text.splitlines(), maxlen=_TAIL_LINES))
