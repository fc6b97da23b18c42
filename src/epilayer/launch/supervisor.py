"""Run what a queue holds with N worker processes, and see to it that whatever dies, nothing is lost.

The supervisor starts workers when there is work for them, wakes idle ones, notes how a worker ended, ends
what it left behind, and puts its job back. Ctrl-C or SIGTERM: the jobs that run are told to stop, their
processes are ended, and they are READY again when `run_workers` returns. If the supervisor itself is killed,
the kernel takes its workers along, and the next run puts their jobs back before it starts.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from epilayer.launch import processes
from epilayer.launch.base import Event, JobState, RunReport
from epilayer.launch.failures import of_exit
from epilayer.launch.worker import EXIT_REPLACE, STOPPED, Instructions, open_store, output_reader
from epilayer.model.errors import EpilayerError, InputError, QueueError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from epilayer.launch.allocation import Allocation
    from epilayer.launch.claims import Claims
    from epilayer.launch.embedded import EmbeddedQueue

TICK_S = 1.0
"""How often to look for cancelled jobs, and for what other runs on the same queue have done."""
GRACE_S = 5.0
"""How long a job that is told to stop may take to clean up before it is killed."""
_MAX_FALSE_STARTS, _MAX_KILLED_STARTS = 3, 20
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LOG_TAIL_BYTES = 600


@dataclass
class _Worker:
    """A worker process as its supervisor knows it."""

    token: str
    process: subprocess.Popen[bytes]
    events: int
    pidfd: int | None
    inbox: bytes = b""
    ready: bool = False
    idle: bool = False
    ended: bool = False
    fatal: EpilayerError | None = None


def run_workers(
    queue: EmbeddedQueue,
    jobstore: Mapping[str, Any],
    *,
    workers: int = 1,
    max_crashes: int = 3,
    on_event: Callable[[Event], None] | None = None,
    force: bool = False,
    allocation: Allocation | None = None,
) -> RunReport:
    """Run jobs until nothing is left that can run, and say why whatever remains does.

    Parameters
    ----------
    queue
        The queue.
    jobstore
        Where documents go, as JSON-able data: ``JobStore.as_dict()`` or jobflow's short form
        (``{"docs_store": {"type": ...}, "additional_stores": {...}}``). Must be on disk or a database.
    workers
        Number of worker processes; each takes cores / workers threads unless ``OMP_NUM_THREADS`` is set.
    max_crashes
        A job whose worker died this often has FAILED.
    on_event
        Called in this process at every start and end of a job.
    force
        Take over jobs of workers on other machines that have been silent for long.
    allocation
        Start only jobs that still fit into it, and end when none is left that does.

    Raises
    ------
    InputError
        If ``workers`` is not positive.
    QueueError, StoreError
        If the queue, the run directories or the JobStore cannot be written; running jobs are put back.
    """
    if workers < 1:
        raise InputError(f"{workers} workers cannot run anything.", "Give a positive number of workers.")
    return _Supervisor(queue, dict(jobstore), workers, max_crashes, on_event, allocation).run(force=force)


@dataclass
class _Supervisor:
    queue: EmbeddedQueue
    jobstore: dict[str, Any]
    most: int
    max_crashes: int
    on_event: Callable[[Event], None] | None
    allocation: Allocation | None
    claims: Claims = field(init=False)
    workers: dict[str, _Worker] = field(default_factory=dict)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    tally: Counter[str] = field(default_factory=Counter)
    stopping: bool = False
    closing: bool = False
    false_starts: int = 0
    begun_s: float = field(default_factory=time.monotonic)
    startup_s: float = 0.0

    def __post_init__(self) -> None:
        self.claims = self.queue.claims
        self.log = self.claims.runs / "workers.log"
        self.claims.fits = None
        if self.allocation is not None:
            self.claims.fits = self.allocation.guard(output_reader(open_store(self.jobstore)))

    def run(self, *, force: bool) -> RunReport:
        self._make_folder()
        jobs, notes = self.claims.recover(force=force)
        self._tell("interrupted", jobs)
        with self._signals():
            try:
                self._employ(self.claims.startable())
                self._loop()
                self._dismiss()
            finally:
                self._kill_all()
                self.selector.close()
        return RunReport(
            completed=self.tally["completed"],
            failed=self.tally["failed"],
            crashed=self.tally["crashed"],
            interrupted=self.stopping,
            counts=self._counts(),
            blocked=(*self.queue.why_left(), *self._too_long(), *notes),
            elapsed_s=time.monotonic() - self.begun_s,
            startup_s=self.startup_s,
        )

    def _loop(self) -> None:
        next_look = time.monotonic() + TICK_S
        while not self.stopping and self._something_to_do():
            self._listen(next_look - time.monotonic())
            if time.monotonic() >= next_look:
                self._look_around()
                next_look = time.monotonic() + TICK_S

    def _something_to_do(self) -> bool:
        """Whether a worker is busy, or a job can be had, here or in another run on the same queue."""
        if any(not worker.idle for worker in self.workers.values()):
            return True
        startable = self.claims.startable()
        if startable:
            self._employ(startable)
            return True
        return self._counts()[JobState.RUNNING] > 0 and not self._only_foreign_ghosts()

    def _only_foreign_ghosts(self) -> bool:
        """Whether all that runs is held by leases that cannot be judged from here (see `Claims.recover`)."""
        jobs, notes = self.claims.recover()
        self._tell("interrupted", jobs)
        return not jobs and bool(notes)

    def _listen(self, patience_s: float) -> None:
        """Wait for workers to say something or to end."""
        for key, _ in self.selector.select(max(0.0, patience_s)):
            if key.data is None:  # a signal; `stopping` is set
                os.read(key.fd, 64)
            elif not key.data.ended:
                self._hear(key.data)

    def _hear(self, worker: _Worker) -> None:
        """Take in what a worker says, and whether it is gone."""
        gone = worker.process.poll() is not None
        with suppress(BlockingIOError):
            while data := os.read(worker.events, 65536):
                worker.inbox += data
            gone = gone or self._closed(worker)
        *lines, worker.inbox = worker.inbox.split(b"\n")
        for line in lines:
            self._act(worker, json.loads(line))
        if gone:
            self._bury(worker)

    @staticmethod
    def _closed(worker: _Worker) -> bool:
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(GRACE_S)
        return True

    def _act(self, worker: _Worker, said: dict[str, Any]) -> None:
        kind = said.pop("kind")
        worker.idle = kind == "idle"
        if kind == "ready":
            worker.ready = True
            self.startup_s = self.startup_s or time.monotonic() - self.begun_s
        elif kind == "fatal":
            make = StoreError if said["error"] in {"StoreError", "NewerSchemaError"} else QueueError
            worker.fatal = make(said["what"], said["remedy"])
        elif kind != "idle":
            self._tell(kind, [said["job"]])
            if said.get("ready", 0) > 1:  # the worker itself takes the first
                self._employ(said["ready"] - 1)

    def _tell(self, kind: str, jobs: list[int]) -> None:
        self.tally[kind] += len(jobs)
        if self.on_event is not None:
            for job in jobs:
                self.on_event(Event(kind, self.queue.job(job)))

    def _employ(self, jobs: int) -> None:
        """Wake or start workers for so many jobs."""
        for worker in self.workers.values():
            if jobs > 0 and worker.idle:
                worker.idle = False
                jobs -= 1
                with suppress(OSError):  # it is dying; its end will be heard
                    os.write(worker.process.stdin.fileno(), b"wake\n")  # type: ignore[union-attr]
        starting = sum(not worker.ready for worker in self.workers.values())
        for _ in range(min(jobs - starting, self.most - len(self.workers))):
            self._start()

    def _start(self) -> None:
        token = uuid.uuid4().hex if self.allocation is None else self.allocation.worker()
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        share = str(max(1, (os.cpu_count() or 1) // self.most))
        environment = {**dict.fromkeys(_THREADS, share), **os.environ, processes.MARK: token}
        path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100  (zip files and such are fine too)
        code = f"import sys; sys.path[:] = {path!r}; from {self.queue.worker_module} import main; main()"
        with self.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  (our own interpreter and code)
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[write_end],
                env=environment,
                bufsize=0,
            )
        os.close(write_end)
        told = Instructions(
            queue=self.queue.address,
            runs=str(self.claims.runs),
            jobstore=self.jobstore,
            code_version=self.claims.code_version,
            token=token,
            supervisor=os.getpid(),
            events_fd=write_end,
            allocation=None if self.allocation is None else self.allocation.told(),
        )
        with suppress(OSError):
            process.stdin.write(told.to_json().encode() + b"\n")  # type: ignore[union-attr]
        pidfd = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else None
        worker = _Worker(token, process, read_end, pidfd)
        self.workers[token] = worker
        self.claims.own.add(token)
        self.selector.register(read_end, selectors.EVENT_READ, worker)
        if pidfd is not None:  # a job's orphans may hold the pipe open; the process itself cannot mislead
            self.selector.register(pidfd, selectors.EVENT_READ, worker)

    def _bury(self, worker: _Worker) -> None:
        """See a worker off: end what it left behind, put its job back, and start another if need be."""
        if worker.ended:
            return
        worker.ended = True
        left = processes.end_family(worker.token, worker.process.pid)
        code = worker.process.wait()
        del self.workers[worker.token]
        for descriptor in (worker.events, worker.pidfd):
            if descriptor is not None:
                self.selector.unregister(descriptor)
                os.close(descriptor)
        if worker.process.stdin is not None:
            worker.process.stdin.close()
        if left:
            raise QueueError(
                f"A worker is gone, but processes that its job started will not die: {left}.",
                "End them (kill -9, or restart the machine), then run again: the job stays where it is.",
            )
        self._settle_accounts(worker, code)

    def _settle_accounts(self, worker: _Worker, code: int) -> None:
        crash = (
            code not in {0, EXIT_REPLACE} and worker.fatal is None and not self.stopping and not self.closing
        )
        failure = of_exit(code) if crash else STOPPED
        try:
            jobs = self.claims.lost(worker.token, failure, crash=crash, max_crashes=self.max_crashes)
        except EpilayerError as error:  # what stopped the worker stops this too: its account says more
            raise worker.fatal or error from None
        finally:
            self.claims.own.discard(worker.token)
        for job in jobs:
            state = self.queue.job(job).state
            if state is JobState.CANCELLED:
                self._tell("cancelled", [job])
                continue
            self._tell("crashed" if crash else "interrupted", [job])
            if state is JobState.FAILED:
                self._tell("failed", [job])
        if worker.fatal is not None:
            raise worker.fatal
        if self.stopping or self.closing:
            return
        self.false_starts = 0 if worker.ready else self.false_starts + 1
        # Killed from outside may be chance, or a machine without memory; an exit of its own is neither.
        if self.false_starts >= (_MAX_KILLED_STARTS if code == -signal.SIGKILL else _MAX_FALSE_STARTS):
            raise QueueError(
                f"Workers die before they can take a job: {self._log_tail()}", f"The whole log is {self.log}."
            )
        self._employ(self.claims.startable())

    def _look_around(self) -> None:
        """Kill what runs cancelled jobs; put back what other runs have lost; find new jobs."""
        for token in self.claims.cancelled(list(self.workers)):
            worker = self.workers[token]
            with suppress(ProcessLookupError):
                os.kill(worker.process.pid, signal.SIGKILL)
        for worker in list(self.workers.values()):
            if worker.process.poll() is not None:
                self._hear(worker)
        jobs, _ = self.claims.recover()
        self._tell("interrupted", jobs)
        if len(self.workers) < self.most or any(worker.idle for worker in self.workers.values()):
            self._employ(self.claims.startable())

    def _dismiss(self) -> None:
        """Send the workers home; when stopping, have them put their jobs back first."""
        for worker in self.workers.values():
            with suppress(OSError):
                if self.stopping:
                    worker.process.terminate()
                else:
                    os.write(worker.process.stdin.fileno(), b"stop\n")  # type: ignore[union-attr]
        deadline = time.monotonic() + GRACE_S
        while self.workers and time.monotonic() < deadline:
            self._listen(deadline - time.monotonic())

    def _kill_all(self) -> None:
        """End every worker that is left, with its job's processes, and put the jobs back."""
        self.closing = True
        for worker in list(self.workers.values()):
            with suppress(ProcessLookupError):
                worker.process.kill()
            worker.process.wait()
            with suppress(EpilayerError):  # the error that led here is the one to report
                self._bury(worker)

    def _too_long(self) -> list[str]:
        """Say which jobs are ready and were not started: they do not fit into the allocation."""
        left = self._counts()[JobState.READY] - self.claims.startable()
        if self.allocation is None or left <= 0:
            return []
        return [self.allocation.too_long(left)]

    def _counts(self) -> Mapping[JobState, int]:
        return self.queue.counts()

    def _make_folder(self) -> None:
        try:
            self.claims.runs.mkdir(parents=True, exist_ok=True)
            self.log.touch()
        except OSError as error:
            raise QueueError(
                f"{self.claims.runs}: run directories cannot be written ({error.strerror}).",
                "Make the folder writable and free some space, then run again.",
            ) from error

    def _log_tail(self) -> str:
        with suppress(OSError, IndexError):
            return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip().splitlines()[-1]
        return "they say nothing."

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Take Ctrl-C and SIGTERM as the wish to stop; elsewhere than in the main thread, leave them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)

        def stop(_signal: int, _frame: object) -> None:
            self.stopping = True
            with suppress(OSError):
                os.write(write_end, b"x")  # wakes the selector

        self.selector.register(read_end, selectors.EVENT_READ, None)
        # USR1, USR2 (SGE): an allocation is nearly over.
        wishes = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
        before = {number: signal.signal(number, stop) for number in wishes}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(read_end)
            os.close(write_end)
