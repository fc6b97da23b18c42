"""Signs of life between machines that share a file system and nothing else.

A scheduler that has lost touch with a node calls its job over, while the job may still run there and write.
So a worker of the scheduler touches a file every few seconds. Who would take its job over looks at the age
of that file, by the file server's own clock, and waits while it is young; else leaves word beside it. A
worker that finds such word (it was stopped for long, or cut off, and goes on) ends itself and all it started.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from epilayer.launch import processes

if TYPE_CHECKING:
    from pathlib import Path

EVERY_S = 10.0
SILENCE_S = 30.0
"""A sign that is older than this is of a worker that is gone, or that will find the word left for it."""
_FOLDER = ".alive"


class Sign:
    """The sign of life of one worker.

    Parameters
    ----------
    runs
        Folder of the runs, which every machine sees.
    token
        The worker.
    """

    def __init__(self, runs: Path, token: str) -> None:
        self.token = token
        self.path = runs / _FOLDER / token
        self.word = self.path.with_name(f"{token}.over")
        self._given_up = threading.Event()

    def give(self) -> None:
        """Give the sign from now on, in a thread of its own."""
        self._touch()
        threading.Thread(target=self._keep, daemon=True).start()

    def give_up(self) -> None:
        """Give it no more: the worker has ended."""
        self._given_up.set()
        with suppress(OSError):
            self.path.unlink()

    def age_s(self) -> float | None:
        """Return how old the sign is, by the clock of its file system; None where there is none."""
        probe = self.path.with_name(f"{self.token}.now")
        try:
            probe.touch()
            age_s = probe.stat().st_mtime - self.path.stat().st_mtime
            probe.unlink()
        except OSError:
            return None
        return age_s

    def take_over(self) -> None:
        """Leave word that the worker's job is another's now."""
        with suppress(OSError):
            self.word.parent.mkdir(parents=True, exist_ok=True)
            self.word.touch()

    def _touch(self) -> None:
        with suppress(OSError):  # a full or absent file system: the job itself will say so
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()

    def _keep(self) -> None:
        while not self._given_up.wait(EVERY_S):
            self._touch()
            if self.word.exists():
                processes.end_family(self.token, os.getpid())
                os.kill(os.getpid(), signal.SIGKILL)
