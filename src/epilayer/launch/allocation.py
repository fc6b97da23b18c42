"""What is left of an allocation, and which jobs still fit into it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from epilayer.launch import batch, processes
from epilayer.model.base import parse
from epilayer.model.cluster import Cluster, matches, walltime_text

if TYPE_CHECKING:
    from collections.abc import Callable

_FRESH = 0.9
"""Part of an allocation that must be left for a job that asks for more than a whole one."""


@dataclass(frozen=True)
class Allocation:
    """A pilot's time, and what jobs of its cluster ask for.

    Parameters
    ----------
    job_id
        The scheduler's number of the pilot.
    ends_s
        When what runs is told to stop, in seconds since 1970.
    whole_s
        From the pilot's start to that moment, in seconds.
    cluster
        The profile, whose rules say how long a job takes.
    """

    job_id: str
    ends_s: float
    whole_s: float
    cluster: Cluster
    _asked_s: dict[int, float] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, told: dict[str, Any]) -> Allocation:
        """Read what `told` wrote."""
        cluster = parse(Cluster, told["cluster"], "the pilot's cluster")
        return cls(told["job_id"], told["ends_s"], told["whole_s"], cluster)

    def told(self) -> dict[str, Any]:
        """Return it as JSON values, for worker processes."""
        cluster = self.cluster.model_dump(mode="json", exclude_unset=True)
        return {
            "job_id": self.job_id,
            "ends_s": self.ends_s,
            "whole_s": self.whole_s,
            "cluster": cluster,
        }

    def worker(self) -> str:
        """Return a new name for a worker, from which the scheduler's number can be read."""
        return processes.scheduled(self.job_id)

    def guard(self, output_of: Callable[[str], Any]) -> Callable[[int, str, Callable[[], str]], bool]:
        """Return a function that says whether a job may still be started here.

        A job is started if the time it asks for is left. What asks for more than a whole allocation is
        started at the beginning of one: it is cut off, and the next pilot goes on from its checkpoint.
        What the profile packs takes seconds, and always fits.

        Parameters
        ----------
        output_of
            Gives a job's output by uuid, to learn the size of what is to be computed.
        """

        def fits(job: int, name: str, spec: Callable[[], str]) -> bool:
            if job not in self._asked_s:
                self._asked_s[job] = self._asked(name, spec, output_of)
            return self.ends_s - time.time() >= min(self._asked_s[job], _FRESH * self.whole_s)

        return fits

    def too_long(self, jobs: int) -> str:
        """Say why so many jobs that are ready are left."""
        left = walltime_text(max(0, round(self.ends_s - time.time())))
        who = "1 job asks" if jobs == 1 else f"{jobs} jobs ask"
        return f"{who} for more than the {left} that this pilot has left; the next one begins with that"

    def _asked(self, name: str, spec: Callable[[], str], output_of: Callable[[str], Any]) -> float:
        if matches(name, self.cluster.pack):
            return 0.0
        return float(self.cluster.resources_for(name, batch.atoms_of(spec(), output_of)).walltime or 0)
