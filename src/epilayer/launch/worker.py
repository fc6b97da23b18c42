"""One worker process: takes jobs, runs each in its own directory with its own logs, and reports back.

Started by `epilayer.launch.supervisor` in a session of its own, with
its instructions as one line of JSON on standard input; later lines are ``wake`` (look for a job) and
``stop``. Events go out as lines of JSON on the pipe named in the instructions. A worker lives long, so that
heavy imports (torch) are paid once.
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import json
import os
import select
import shutil
import signal
import sqlite3
import sys
import threading
import traceback
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from epilayer.launch import failures, processes, transitions
from epilayer.launch.allocation import Allocation
from epilayer.launch.claims import Claim, Claims, Done
from epilayer.launch.identity import content_uuid, dumps, normalise, references, rewrite_value
from epilayer.launch.schema import QueueFile
from epilayer.model.errors import EpilayerError, QueueError, SetupError, StoreError
from epilayer.model.failure import Failure, FailureClass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobflow import Job, JobStore

HEARTBEAT_S = 15.0
IDLE_S = 2.0
"""An idle worker looks for jobs by itself this often: another process may have submitted some."""
EXIT_FATAL, EXIT_REPLACE = 3, 75
STOPPED = Failure(kind=FailureClass.LOST, cause="SIGTERM", what="the run was stopped")
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_CANNOT_WRITE = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
)
_LEAST_FREE_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Instructions:
    """What a worker must know."""

    queue: str
    runs: str
    jobstore: dict[str, Any]
    code_version: str
    token: str
    supervisor: int
    events_fd: int
    allocation: dict[str, Any] | None = None
    """What a pilot's workers must know of its time (`epilayer.launch.allocation`)."""

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))


class Interrupted(BaseException):
    """The worker was told to stop in the middle of a job; the job's ``finally`` clauses still run."""


class Worker:
    """The loop of one worker process.

    Parameters
    ----------
    told
        The instructions.
    """

    def __init__(self, told: Instructions) -> None:
        self.told = told
        self.claims = self.open_queue()
        self.store: JobStore = None
        self.stopping = False
        self.in_job = False
        self.failure: Failure | None = None
        """Why the last job did not complete."""
        self._inbox = b""

        # The streams of the supervisor are not for the job and what it starts.
        self._orders_fd = os.dup(0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.set_inheritable(told.events_fd, False)

    def open_queue(self) -> Claims:
        """Open the queue."""
        return Claims(
            QueueFile(self.told.queue), code_version=self.told.code_version, runs=Path(self.told.runs)
        )

    def begin(self) -> None:
        """Make ready for the first job."""
        self.claims.register(self.told.token, os.getpid(), self.told.supervisor)
        self.store = open_store(self.told.jobstore)
        if self.told.allocation is not None:
            self.claims.fits = Allocation.of(self.told.allocation).guard(output_reader(self.store))
        signal.signal(signal.SIGTERM, self.on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._heartbeat, daemon=True).start()
        from jobflow import initialize_logger

        initialize_logger()
        self.say("ready")

    def run(self) -> int:
        """Work until told to stop, or until the supervisor is gone; return the exit code."""
        self.begin()
        claim = self.claims.claim(self.told.token)
        while not self.stopping:
            if claim is None:
                self.say("idle")
                if not self.wait():
                    break
                claim = self.claims.claim(self.told.token)
            else:
                claim = self.work(claim)
        if claim is not None:
            self.claims.give_back(claim, STOPPED.what)
        return 0

    def say(self, kind: str, **details: Any) -> None:  # noqa: ANN401  (JSON values)
        """Send an event to the supervisor."""
        with suppress(OSError):
            os.write(self.told.events_fd, (json.dumps({"kind": kind, **details}) + "\n").encode())

    def work(self, claim: Claim, *, take_next: bool = True) -> Claim | None:
        """Run one job and hand in what came of it; return the next."""
        self.say("started", job=claim.job)
        done, failure, leftovers = None, None, False
        try:
            with captured(claim.directory):
                try:
                    done = self._execute(claim)
                except Interrupted:
                    raise
                except BaseException as error:  # noqa: BLE001  (whatever a job raises, SystemExit too, is its failure)
                    with suppress(OSError):  # the log's disk may be the full one
                        traceback.print_exc()
                    self.stop_if_full(error)
                    failure = self.failure_of(error)
                    leftovers = _has_children()
        except Interrupted:
            self.interrupted(claim)
            self.say("interrupted", job=claim.job)
            self.stopping = True
            return None
        except (QueueError, StoreError, OSError) as error:
            with suppress(EpilayerError):
                self.claims.give_back(claim, one_line(error))
            raise
        more = take_next and not self.stopping and not leftovers
        if failure is not None:
            failure = failures.with_lines(failure, claim.directory)
            following, ready = self.claims.fail(self.told.token, claim, failure, more=more)
        else:
            following, ready = self.claims.finish(self.told.token, claim, done or Done(), more=more)
        self.failure = failure
        self.say("completed" if failure is None else "failed", job=claim.job, ready=ready)
        if leftovers:  # a failed job that left processes behind: the supervisor ends them with the worker
            sys.exit(EXIT_REPLACE)
        return following

    def failure_of(self, error: BaseException) -> Failure:
        """Return why the job failed."""
        return failures.of_error(error)

    def interrupted(self, claim: Claim) -> None:
        """Put back a job that was told to stop."""
        self.failure = STOPPED
        self.claims.give_back(claim, STOPPED.what)

    def _execute(self, claim: Claim) -> Done:
        """Run the job; its document is in the store when this returns."""
        from jobflow import CURRENT_JOB
        from monty.json import MontyDecoder

        if claim.number > 1:  # nothing of an earlier execution may be taken for this one's
            later = {"$gte": claim.index} if self.claims.later_indices(claim) else claim.index
            self.store.remove_docs({"uuid": claim.uuid, "index": later})
        job = MontyDecoder().process_decoded(json.loads(claim.spec))
        if isinstance(job, dict):
            raise SetupError(
                f"Job #{claim.job} ({claim.name}) cannot be rebuilt from the queue.",
                "Make the module of its function importable for the workers (PYTHONPATH).",
            )
        store = deferred_store(self.store, job)
        try:
            self.in_job = True
            if self.stopping:
                raise Interrupted
            response = job.run(store=store, job_dir=claim.directory)
            self.in_job = False
        finally:
            self.in_job = False
            CURRENT_JOB.reset()
        grown, mapping = grown_flows(job, claim, response)
        store.flush(mapping)
        mentions = sorted({r["uuid"] for r in references(store.held.output)}) if grown else []
        stored = None if response.stored_data is None else dumps(_sanitised(response.stored_data))
        stops = transitions.STOP_CHILDREN if response.stop_children else 0
        return Done(grown, mentions, stored, transitions.STOP_JOBFLOW if response.stop_jobflow else stops)

    @property
    def disk(self) -> Path:
        """A folder on the disk that the run cannot do without."""
        return Path(self.told.queue).parent

    def stop_if_full(self, error: BaseException) -> None:
        """Let a full or read-only disk stop the run: else every job would fail of it, one by one."""
        if _out_of_space(list(failures.chain(error)), self.disk):
            raise QueueError(
                f"The disk of {self.disk} is full or read-only ({one_line(error)}).",
                "Free some space, then run again: the job was put back and nothing is lost.",
            ) from error

    def wait(self) -> bool:
        """Sleep until woken, at most `IDLE_S`; False when it is time to go."""
        readable, _, _ = select.select([self._orders_fd], [], [], IDLE_S)
        if not readable:
            return True
        data = os.read(self._orders_fd, 4096)
        self._inbox += data
        return bool(data) and b"stop" not in self._inbox

    def on_term(self, _signal: int, _frame: object) -> None:
        """Stop: the job that runs is told by an exception."""
        self.stopping = True
        if self.in_job:
            self.in_job = False  # once: a second signal must not cut the clean-up short
            raise Interrupted

    def _heartbeat(self) -> None:
        """Renew the lease, and leave when the supervisor is gone (where the kernel does not see to it)."""
        pause = threading.Event()
        while not pause.wait(HEARTBEAT_S):
            if os.getppid() != self.told.supervisor:
                os.killpg(0, signal.SIGKILL)
            with suppress(EpilayerError):  # a busy or full disk is the main thread's to report
                self.beat()

    def beat(self) -> None:
        """Renew the lease."""
        self.claims.beat(self.told.token)


def open_store(spec: dict[str, Any]) -> JobStore:
    """Make the JobStore from its description and connect to it.

    Parameters
    ----------
    spec
        ``JobStore.as_dict()``, or jobflow's short form (``{"docs_store": {"type": ...}, ...}``).

    Raises
    ------
    StoreError
        If it cannot be made or reached, or lives in one process only.
    """
    from jobflow import JobStore
    from monty.json import MontyDecoder

    try:
        store = MontyDecoder().process_decoded(spec) if "@class" in spec else JobStore.from_dict_spec(spec)
        store.connect()
    except EpilayerError:
        raise
    except Exception as error:
        raise StoreError(
            f"The JobStore cannot be opened ({one_line(error)}).", "Check the store's configuration."
        ) from error
    if type(store.docs_store).__name__ == "MemoryStore":
        raise StoreError(
            "The JobStore is a MemoryStore, which ends with its process.",
            "Use a store on disk (epilayer's embedded store) or a database.",
        )
    return store


def output_reader(store: JobStore) -> Callable[[str], Any]:
    """Return a look into a connected JobStore: a job's last output by uuid, None where there is none."""

    def output_of(uuid: str) -> Any:  # noqa: ANN401  (whatever a job put out)
        found = store.query_one({"uuid": uuid}, ["output"], sort={"index": -1})
        return found["output"] if found else None

    return output_of


def deferred_store(store: JobStore, job: Job) -> Any:  # noqa: ANN401  (a JobStore made on the spot)
    """Return the store as a job sees it: the job's own document is held until `flush`.

    The document may name jobs that the job has just made, whose content uuids are not known before it
    returns.
    """
    from jobflow import JobStore
    from jobflow.core.schemas import JobStoreDocument

    class Deferred(JobStore):  # type: ignore[misc]  # jobflow has no type information
        held: Any = None
        saved: Any = None

        def update(self, docs: Any, key: Any = None, save: Any = None) -> None:  # noqa: ANN401
            own = isinstance(docs, JobStoreDocument) and (docs.uuid, docs.index) == (job.uuid, job.index)
            if own:
                self.held, self.saved = docs, save
            else:
                super().update(docs, key=key, save=save)

        def flush(self, mapping: dict[str, str]) -> None:
            if mapping:
                self.held.output = rewrite_value(self.held.output, mapping)
            super().update(self.held, key=["uuid", "index"], save=self.saved)

    return Deferred(store.docs_store, store.additional_stores, save=store.save, load=store.load)


def grown_flows(job: Job, claim: Claim, response: Any) -> tuple[list[Any], dict[str, str]]:  # noqa: ANN401
    """Normalise what a job made, so that making it again maps onto the same jobs."""
    keep = {job.uuid: job.uuid}
    grown = []
    for kind, gate in (("replace", True), ("detour", True), ("addition", False)):
        flow = getattr(response, kind)
        if flow is None:
            continue
        normal = normalise(
            flow,
            code_version=claim.code_version,
            salt=claim.salt,
            keep=keep,
            origin=content_uuid(claim.uuid, str(claim.index), kind),
        )
        keep = {**keep, **normal.uuids}
        grown.append((normal, gate))
    return grown, keep if grown else {}


@contextmanager
def captured(directory: Path) -> Iterator[None]:
    """Work in ``directory``, with everything written to the standard streams going to files there."""
    home = os.getcwd()  # noqa: PTH109  (a string is all that is needed, thousands of times)
    os.makedirs(directory, exist_ok=True)  # noqa: PTH103
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    kept = [os.dup(1), os.dup(2)]
    for number, name in ((1, "stdout.log"), (2, "stderr.log")):
        opened = os.open(directory / name, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(directory)
    try:
        yield
    finally:
        with suppress(OSError):  # a full disk: the logs are cut short, the job's fate is told elsewhere
            sys.stdout.flush()
            sys.stderr.flush()
        _flush_c()
        for number, copy in enumerate(kept, start=1):
            os.dup2(copy, number)
            os.close(copy)
        try:
            os.chdir(home)
        except OSError:  # somebody has deleted it; that is no fault of the job
            os.chdir("/")


def _flush_c() -> None:
    _LIBC.fflush(None)


_LIBC = ctypes.CDLL(None)


def one_line(error: BaseException) -> str:
    """Return an error as one line: its type and message, or what one of our own says with its remedy."""
    return failures.of_error(error).line


def _out_of_space(reasons: list[BaseException], folder: Path) -> bool:
    """Whether an error comes from a full or read-only disk, and that disk is the queue's or the store's."""
    if any(isinstance(reason, StoreError | QueueError) for reason in reasons):
        codes = (getattr(reason, "sqlite_errorcode", 0) & 0xFF for reason in reasons)
        return any(code in _CANNOT_WRITE for code in codes)
    if not any(isinstance(reason, OSError) and reason.errno in _NO_SPACE for reason in reasons):
        return False
    try:
        return shutil.disk_usage(folder).free < _LEAST_FREE_BYTES or not os.access(folder, os.W_OK)
    except OSError:
        return True


def _has_children() -> bool:
    """Whether this process has started others that still live."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _sanitised(value: Any) -> Any:  # noqa: ANN401
    from monty.json import jsanitize

    return jsanitize(value, strict=False, enum_values=True)


def main(worker_class: type[Worker] = Worker) -> NoReturn:
    """Read the instructions and work."""
    head = b""
    while not head.endswith(b"\n"):  # byte by byte: what follows belongs to the worker's loop
        byte = os.read(0, 1)
        if not byte:
            sys.exit(EXIT_FATAL)
        head += byte
    told = Instructions(**json.loads(head))
    processes.die_with_parent(told.supervisor)
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # logs are read while jobs run
    worker = worker_class(told)
    try:
        code = worker.run()
    except EpilayerError as error:
        worker.say("fatal", error=type(error).__name__, what=error.what, remedy=error.remedy)
        code = EXIT_FATAL
    except OSError as error:
        worker.say(
            "fatal",
            error="QueueError",
            what=f"A worker cannot write to {told.runs} ({one_line(error)}).",
            remedy="Free space or make the folder writable, then run again: nothing is lost.",
        )
        code = EXIT_FATAL
    sys.exit(code)


if __name__ == "__main__":
    main()
