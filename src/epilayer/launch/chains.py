"""Chains: work that lasts for longer than a batch job may, in successive batch jobs, the links.

A job whose name the cluster's profile knows (`chains`), with all the jobs that it makes and those that
these make, is a chain. No Firework of it has a batch job of its own. Instead a few batch jobs of one name,
unique to the chain, stand at the scheduler with ``--dependency=singleton``: one of them runs at a time, and
the next begins when it ends, whatever it died of. A link takes from the queue what is ready of its chain,
until it is warned of its limit; if the link before it was killed it has the queue reconciled first, so that
the chain goes on with nobody watching. A link that finds nothing to do ends at once: to submit too many
costs nothing, and two launchers that submit at the same time do no harm.
"""

# ruff: noqa: S608 - only integers and states are written into SQL.

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from epilayer.launch import batch, transitions
from epilayer.launch.base import EdgeKind, JobState
from epilayer.launch.processes import job_id_of
from epilayer.model.errors import QueueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from epilayer.launch.fireworks import FireworksQueue
    from epilayer.launch.scheduler import Span
    from epilayer.model.cluster import Cluster

_MARK = "chain"
_LOOK_S = 1.0
_PATIENCE_S = 120.0
"""How long a link waits for the scheduler to tell how the link before it ended."""


@dataclass(frozen=True, slots=True)
class LinkRow:
    """One link of a chain, as the scheduler and the queue tell of it.

    Attributes
    ----------
    start_s, end_s
        Seconds since the epoch; ``None`` where it has not begun, or not ended.
    gap_s
        From the end of the link before to the start of this one.
    directories
        Where it ran jobs of the chain, in their order.
    """

    scheduler_id: str
    state: str
    start_s: float | None
    end_s: float | None
    gap_s: float | None
    directories: tuple[Path, ...]


class Chains:
    """The chains of a queue; each is known by the number of the job that it begins with.

    Parameters
    ----------
    queue
        The queue.
    cluster
        Says which jobs begin a chain.
    """

    def __init__(self, queue: FireworksQueue, cluster: Cluster) -> None:
        self.queue, self.cluster = queue, cluster

    def of(self, jobs: Iterable[int]) -> dict[int, int]:
        """Return the chain of each job that belongs to one."""
        if not self.cluster.chains:
            return {}
        found: dict[int, int] = {}
        with self.queue.file.reading() as db:
            for part in transitions.chunks(jobs):
                rows = db.execute(
                    "WITH RECURSIVE made(job, id) AS ("
                    f" SELECT id, id FROM jobs WHERE id IN ({part}) UNION"
                    " SELECT made.job, e.parent FROM edges e JOIN made ON e.child = made.id"
                    f" WHERE e.kind = '{EdgeKind.SPAWN}')"
                    " SELECT made.job, made.id, jobs.name FROM made JOIN jobs ON jobs.id = made.id"
                )
                for job, maker, name in rows:
                    if self.cluster.chain_for(name) is not None:
                        found[job] = min(maker, found.get(job, maker))
        return found

    def all(self) -> list[int]:
        """Return every chain of the queue."""
        with self.queue.file.reading() as db:
            names = db.execute("SELECT id, name FROM jobs").fetchall()
        begin = [number for number, name in names if self.cluster.chain_for(name) is not None]
        return sorted(set(self.of(begin).values()))

    def alive(self) -> set[int]:
        """Return the chains in which something runs, or could."""
        states = f"'{JobState.READY}', '{JobState.RUNNING}'"
        with self.queue.file.reading() as db:
            jobs = [row[0] for row in db.execute(f"SELECT id FROM jobs WHERE state IN ({states})")]
        return set(self.of(jobs).values())

    def states(self, chain: int) -> dict[JobState, list[int]]:
        """Return the jobs of a chain by their states."""
        found: dict[JobState, list[int]] = {}
        with self.queue.file.reading() as db:
            for row in transitions.select(db, "id, state", self._members(db, chain)):
                found.setdefault(JobState(row["state"]), []).append(row["id"])
        return found

    def name(self, chain: int) -> str:
        """Return what the links of a chain are called at the scheduler."""
        with self.queue.file.reading() as db:
            rows = transitions.select(db, "name", [chain])
        if not rows:
            raise QueueError(f"There is no job #{chain}.", "epilayer cluster links lists the chains.")
        return batch.job_name(rows[0]["name"], self.queue.file.identity, _MARK, chain)

    def number_in(self, name: str) -> int | None:
        """Return the chain of this queue that a batch job of this name is a link of, if it is one."""
        *_, queue, mark, number = ("", "", *name.split("."))
        mine = queue == self.queue.file.identity[:6] and mark == _MARK
        return int(number) if mine and number.isdigit() else None

    def work(self, chain: int, reconcile: Callable[[], bool]) -> Iterator[int]:
        """Yield the Fireworks of a chain, one after the other, as long as there is anything to do.

        Parameters
        ----------
        reconcile
            Brings queue and scheduler into line, and tells whether it could: called where a job of the
            chain failed, or nothing is ready and it is not done.
        """
        until = time.monotonic() + _PATIENCE_S
        looked = False
        while time.monotonic() < until:
            states = self.states(chain)
            ready = states.get(JobState.READY)
            # Jobs that make do with less than all results are ready after a failure that is to be mended.
            if ready and (looked or JobState.FAILED not in states):
                self.queue.board.project()
                found = self.queue.board.find({"state": "READY", "spec.epilayer.job": {"$in": ready}})
                if found:
                    yield found[0].fw_id
                    until, looked = time.monotonic() + _PATIENCE_S, False
                    continue
            elif set(states) == {JobState.COMPLETED} or (looked and JobState.RUNNING not in states):
                return  # it is done, or it waits for a person
            looked = reconcile()
            time.sleep(_LOOK_S)

    def links(self, chain: int, spans: Iterable[Span]) -> list[LinkRow]:
        """Return the links of a chain in the order in which they ran.

        Parameters
        ----------
        spans
            What the scheduler's accounting knows of batch jobs of the chain's name.
        """
        runs = self.queue.claims.runs
        directories: dict[str, list[Path]] = {}
        with self.queue.file.reading() as db:
            for part in transitions.chunks(self._members(db, chain)):
                rows = db.execute(
                    f"SELECT worker, directory FROM attempts WHERE job IN ({part}) ORDER BY started"
                )
                for worker, directory in rows:
                    directories.setdefault(job_id_of(worker) or "", []).append(runs / directory)
        found: list[LinkRow] = []
        end_s: float | None = None
        for one in sorted(spans, key=lambda span: (span.start_s or float("inf"), int(span.job_id))):
            gap_s = None if one.start_s is None or end_s is None else one.start_s - end_s
            where = tuple(directories.get(one.job_id, ()))
            found.append(LinkRow(one.job_id, one.state.value, one.start_s, one.end_s, gap_s, where))
            end_s = one.end_s
        return found

    def _members(self, db: Any, chain: int) -> set[int]:  # noqa: ANN401  (a connection)
        return {chain} | transitions.descendants(db, [chain], EdgeKind.SPAWN)
