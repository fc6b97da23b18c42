"""What runs inside a batch job: one rocket, which turns the scheduler's signals into an end with a cause."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from epilayer.launch import fireworks, processes
from epilayer.launch.heartbeat import Sign
from epilayer.launch.worker import Instructions, Interrupted, one_line, open_store
from epilayer.model.errors import EpilayerError
from epilayer.model.failure import Failure, FailureClass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from epilayer.launch.claims import Claim
    from epilayer.launch.fireworks import FireworksQueue

_CLEAN_UP_S = 30.0
_MOST_REFUSED = 10


@dataclass(frozen=True)
class Place:
    """Where a rocket runs, as the batch job's environment tells."""

    job_id: str
    """The scheduler's number of the job."""
    signal_ahead_s: float
    """How long before the limit USR1 comes."""
    pack: tuple[str, ...] = ()
    """Patterns of names of short jobs to run after the first, while there are any."""
    restarts: int = 0
    """How often the scheduler has started the batch job again by itself."""


class Rocket(fireworks.RocketWorker):
    """A worker for the Fireworks of one batch job.

    Parameters
    ----------
    queue
        The queue, as configured for the study.
    jobstore
        Description of the JobStore.
    place
        Where it runs.
    own
        What it is here for: the one Firework, or those of a chain as they become ready.
    ask_to_stop
        Asks the program in a job's directory to stop at a whole step; called when the time is nearly up.
    """

    def __init__(
        self,
        queue: FireworksQueue,
        jobstore: dict[str, Any],
        place: Place,
        own: Iterable[int],
        ask_to_stop: Callable[[Path], None],
    ) -> None:
        token = processes.scheduled(place.job_id)
        os.environ[processes.MARK] = token  # what the job starts is found by it
        read_end, write_end = os.pipe()
        os.close(read_end)
        super().__init__(
            Instructions(
                queue=queue.address,
                runs=str(queue.claims.runs),
                jobstore=jobstore,
                code_version=queue.code_version,
                token=token,
                supervisor=os.getppid(),
                events_fd=write_end,
            )
        )
        self.place = place
        self.own = own
        self.ran = 0
        self.ask_to_stop = ask_to_stop
        self.sign = Sign(queue.claims.runs, token)
        self.warned = False
        self.directory: Path | None = None

    def begin(self) -> None:
        """Write down who the worker is, and take the signals."""
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self.on_term)
        signal.signal(signal.SIGUSR1, self._on_warning)
        signal.signal(signal.SIGALRM, self.on_term)
        self.sign.give()
        self.claims.register(self.told.token, os.getpid(), self.told.supervisor)
        self.store = open_store(self.told.jobstore)

    def run(self) -> int:
        """Run its own Fireworks, then short ones that are ready; return 1 if a job failed, else 0."""
        fireworks.fly_with(self)
        self.begin()
        refused = 0
        for fw_id in chain(self.own, self._packed()):
            if self.stopping or self.warned:
                break
            refused += not self.launch(fw_id)
            if self.failure is not None or refused >= _MOST_REFUSED:
                break
        return 0 if self.failure is None else 1

    def _packed(self) -> Iterator[int]:
        while self.place.pack and (fw_id := self.claims.board.next_ready(self.place.pack)) is not None:
            yield fw_id

    def work(self, claim: Claim, *, take_next: bool = False) -> Claim | None:
        """Run one job; know where, so that its program can be asked to stop."""
        self.directory = claim.directory
        self.ran += 1
        return super().work(claim, take_next=take_next)

    def failure_of(self, error: BaseException) -> Failure:
        """Return why the job failed: it may be what was done to it, and not what it says."""
        raised = super().failure_of(error)
        if self.directory is not None and not self.directory.is_dir():
            said = f"its directory was deleted while it ran, and it said: {raised.what}"
            return raised.model_copy(
                update={"kind": FailureClass.LOST, "cause": "no directory", "what": said}
            )
        if not self.warned:
            return raised
        said = f"asked to stop ahead of the time limit, and said: {raised.what}"
        return raised.model_copy(update={"kind": FailureClass.WALLTIME, "cause": "SIGUSR1", "what": said})

    def stop_if_full(self, error: BaseException) -> None:
        """Do nothing: the job has failed of it, and so the next one is not launched at once into the same."""

    def interrupted(self, claim: Claim) -> None:
        """Close the attempt of a job that was told to stop: it has failed, with a cause."""
        if self.warned:
            what = f"stopped {self.place.signal_ahead_s:.0f} s ahead of the time limit"
            self.failure = Failure(kind=FailureClass.WALLTIME, cause="SIGUSR1", what=what)
        else:
            what = f"stopped by the scheduler (SIGTERM) in attempt {claim.number}"
            self.failure = Failure(kind=FailureClass.LOST, cause="SIGTERM", what=what)
        self.claims.end(self.told.token, self.failure)

    def _on_warning(self, _signal: int, _frame: object) -> None:
        """Ask for a whole last step; where that takes too long, stop all the same."""
        if self.warned:
            return
        self.warned = True
        ahead_s = self.place.signal_ahead_s
        patience_s = max(ahead_s - _CLEAN_UP_S, ahead_s / 2)
        signal.setitimer(signal.ITIMER_REAL, patience_s)
        if not self.in_job:
            self.stopping = True
        elif self.directory is not None:
            self.ask_to_stop(self.directory)


def fly(rocket: Rocket) -> tuple[int, str]:
    """Run a rocket in this batch job.

    Returns
    -------
    code : int
        Exit code of the batch job.
    said : str
        One line for the batch job's log.
    """
    if rocket.place.restarts:  # its first run may live somewhere; what is to run again is submitted anew
        return 0, "epilayer: the scheduler started this batch job again; there is nothing for it to do"
    try:
        code = rocket.run()
    except (EpilayerError, OSError) as error:
        return 3, f"epilayer: {one_line(error)}"
    except Interrupted:
        return 1, "epilayer: told to stop before the job began"
    finally:
        rocket.sign.give_up()
        signal.setitimer(signal.ITIMER_REAL, 0)  # while Python ends, nobody would catch it any more
    done = f"{rocket.ran} jobs completed" if rocket.ran else "nothing was left to do"
    return code, f"epilayer: {rocket.failure.line if rocket.failure else done}"
