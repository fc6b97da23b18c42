"""Submit what is ready to the scheduler, and bring the queue into line with what the scheduler did.

Four witnesses are joined: the queue's tables, the LaunchPad, ``squeue`` with ``sacct``, and the job's own
last word. The queue's tables rule; nothing is concluded from a scheduler that does not answer; a job is
declared dead only when the scheduler says it is over *and* the queue, asked again, still has it open.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fireworks import FWAction, FWorker

from epilayer.launch import batch, processes, recovery, transitions
from epilayer.launch.base import JobState, Outcome
from epilayer.launch.chains import Chains
from epilayer.launch.failures import classify
from epilayer.launch.heartbeat import SILENCE_S, Sign
from epilayer.launch.processes import job_id_of
from epilayer.launch.scheduler import SchedulerState
from epilayer.model.cluster import Resources
from epilayer.model.errors import QueueError
from epilayer.model.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epilayer.launch.fireworks import FireworksQueue, Launched
    from epilayer.launch.scheduler import Accounted, Queued
    from epilayer.launch.slurm import Slurm
    from epilayer.model.cluster import Cluster, Recovery

_UNNUMBERED_S = 60.0
"""A launch whose number at the scheduler is not known is looked for by name after so long."""
_MOST_LAUNCHES = 5


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that was, or would be, submitted."""

    job: int
    name: str
    atoms: int
    resources: Resources
    script: str
    scheduler_id: str = ""


@dataclass(slots=True)
class SyncReport:
    """What a sync found and did."""

    queued: int = 0
    running: int = 0
    ended: list[tuple[int, str]] = field(default_factory=list)
    """Jobs whose end the queue had not heard of, with the cause."""
    cancelled: list[str] = field(default_factory=list)
    """Jobs of the scheduler that were cancelled, since the queue does not want them."""
    recovered: list[tuple[int, str, str]] = field(default_factory=list)
    """Failed jobs that were judged: job, class, what was done."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Launch:
    """A launch of FireWorks and the scheduler's number of it."""

    row: Launched
    launch_id: int
    scheduler_id: str | None
    name: str
    age_s: float


class ClusterLauncher:
    """Submits to, and listens to, one cluster for one queue.

    Parameters
    ----------
    queue
        The queue.
    cluster
        The cluster's profile.
    slurm
        The scheduler.
    template, preamble
        Texts of the batch script's template and of the cluster's preamble.
    command
        What starts a rocket; what it is to work on is added.
    output_of
        Gives a job's output by uuid, to learn the size of what is to be computed.
    """

    def __init__(
        self,
        queue: FireworksQueue,
        cluster: Cluster,
        slurm: Slurm,
        *,
        template: str,
        preamble: str,
        command: str,
        output_of: Callable[[str], Any],
    ) -> None:
        self.queue, self.cluster, self.slurm = queue, cluster, slurm
        self.template, self.preamble, self.command = template, preamble, command
        self.output_of = output_of
        self.board = queue.board
        self.chains = Chains(queue, cluster)
        self.folder = queue.claims.runs / "batch"

    # Submitting

    def plan(self, limit: int | None = None) -> list[Submission]:
        """Return what would be submitted now, with the scripts; nothing is submitted."""
        chains, rows = self._ready()
        planned = [self._link(chain) for chain in chains]
        return [*planned, *(self._submission(row, launch_id=0) for row in rows)][:limit]

    def launch(self, limit: int | None = None) -> list[Submission]:
        """Submit what is ready, up to the cluster's limit.

        Raises
        ------
        QueueError, InputError
            If the scheduler refuses, or a job asks for what its partition cannot give; what was submitted
            before stays.
        """
        chains, rows = self._ready()
        room = self.cluster.most_queued - len(self.board.find({"state": {"$in": ["RESERVED", "RUNNING"]}}))
        room = room if limit is None else min(room, limit)
        done = self._submit_links(chains, room) if chains else []
        for row in rows:
            if len(done) >= room:
                break
            submitted = self._submit(row)
            if submitted is not None:
                done.append(submitted)
        return done

    def _ready(self) -> tuple[list[int], list[Launched]]:
        """Return the chains that are alive, and the Fireworks that want a batch job of their own."""
        self.board.project()
        ready = self.board.find({"state": "READY"})
        linked = self.chains.of(row.job for row in ready)
        return sorted(self.chains.alive()), [row for row in ready if row.job not in linked]

    def _submit_links(self, chains: Sequence[int], room: int) -> list[Submission]:
        """Submit links until each chain has as many at the scheduler as its profile says."""
        queued = self.slurm.queued().values()
        there = Counter(self.chains.number_in(job.name) for job in queued if not job.state.over)
        done: list[Submission] = []
        for chain in chains:
            found = self._link(chain)
            folder = self.folder / self.chains.name(chain)
            folder.mkdir(parents=True, exist_ok=True)
            script = write_atomic(folder / "job.sh", found.script)
            profile = self.cluster.chain_for(found.name)
            wanted = (profile.links if profile is not None else 0) - there[chain]
            for _ in range(min(wanted, room - len(done))):
                done.append(replace(found, scheduler_id=self.slurm.submit(script)))  # noqa: PERF401  (each may raise)
        return done

    def _link(self, chain: int) -> Submission:
        job, atoms, resources = self._size(chain)
        resources = resources.model_copy(update={"extra": (*resources.extra, "--dependency=singleton")})
        works_on = f"a link of the chain that begins with job {chain} of the queue"
        script = self._script(job, atoms, resources, self.chains.name(chain), works_on, f"--chain {chain}")
        return Submission(chain, job, atoms, resources, script)

    def _size(self, number: int) -> tuple[str, int, Resources]:
        """Return name, atoms and resources of a job; refused where its partition cannot give them."""
        with self.queue.file.reading() as db:
            name = str(transitions.select(db, "name", [number])[0]["name"])
            spec = db.execute("SELECT spec FROM specs WHERE job = ?", (number,)).fetchone()[0]
            wish = recovery.wish_of(db, number)
        atoms = batch.atoms_of(spec, self.output_of)
        resources = self.cluster.resources_for(name, atoms)
        resources = resources.overlaid(Resources.model_validate(wish)) if wish else resources
        return name, atoms, resources

    def _script(self, job: str, atoms: int, resources: Resources, name: str, works_on: str, told: str) -> str:
        batch.check_fits(self.cluster, resources, job)
        return batch.render(
            self.template,
            title=f"{job}: {atoms} atoms" if atoms else job,
            works_on=works_on,
            options=batch.options(resources, name, self.folder / name, self.cluster.signal_ahead_s),
            preamble=self.preamble,
            preamble_name=self.cluster.preamble,
            signal_ahead_s=self.cluster.signal_ahead_s,
            command=f"{self.command} {told}",
        )

    def _submission(self, row: Launched, launch_id: int, *, any_node: bool = False) -> Submission:
        job, atoms, resources = self._size(row.job)
        resources = resources.model_copy(update={"exclude": None}) if any_node else resources
        name = batch.job_name(job, self.queue.file.identity, row.fw_id, launch_id)
        works_on = f"Firework {row.fw_id}, job {row.job} of the queue"
        script = self._script(job, atoms, resources, name, works_on, f"--fw-id {row.fw_id}")
        return Submission(row.job, job, atoms, resources, script)

    def _submit(self, row: Launched) -> Submission | None:
        pad = self.board.launchpad
        checked = self._submission(row, launch_id=0)  # refused before anything is reserved
        self.folder.mkdir(parents=True, exist_ok=True)
        _, launch_id = pad.reserve_fw(FWorker(name=self.cluster.name), str(self.folder), fw_id=row.fw_id)
        if launch_id is None:
            return None  # another launcher has it
        found = self._submission(row, launch_id=launch_id)
        name = batch.job_name(checked.name, self.queue.file.identity, row.fw_id, launch_id)
        folder = self.folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            script = folder / "job.sh"
            script.write_text(found.script, encoding="utf-8")
            try:
                number = self.slurm.submit(script)
            except QueueError:
                if found.resources.exclude is None:
                    raise
                found = self._submission(row, launch_id=launch_id, any_node=True)  # it may be the only node
                script.write_text(found.script, encoding="utf-8")
                number = self.slurm.submit(script)
        except (QueueError, OSError) as error:
            if not self._got_there_after_all(name, launch_id):
                pad.cancel_reservation(launch_id)
                shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, QueueError):
                raise
            raise QueueError(
                f"The batch script of job {checked.name!r} cannot be written to {folder} ({error.strerror}).",
                "Free space and check the permissions of that folder; the job stays ready.",
            ) from error
        self._number(launch_id, number)
        return Submission(found.job, found.name, found.atoms, found.resources, found.script, number)

    def _got_there_after_all(self, name: str, launch_id: int) -> bool:
        """Whether a submission without an answer is in the scheduler's queue: it must not be made twice."""
        try:
            there = next((job for job in self.slurm.queued().values() if job.name == name), None)
        except QueueError:
            return True  # not known: the reservation stays until a sync can tell
        if there is not None:
            self._number(launch_id, there.job_id)
        return there is not None

    def _number(self, launch_id: int, number: str) -> None:
        pad = self.board.launchpad
        self.board.journal.patiently(lambda: pad.set_reservation_id(launch_id, number))

    # Listening

    def sync(self, policies: Recovery | None = None) -> SyncReport:
        """Bring queue, LaunchPad and scheduler into line, and apply the policies to what failed.

        Raises
        ------
        QueueError
            If the scheduler does not answer: nothing was concluded then.
        """
        report = SyncReport()
        self.board.project()
        launches = self._launches()
        open_attempts = self._open_attempts()
        queued = self.slurm.queued()
        self._find_numbers(launches, queued)
        launches = self._launches()
        wanted = {one.scheduler_id for one in launches if one.scheduler_id}
        wanted |= {number for number in open_attempts.values() if number}
        # One that waits again with its job open has run before: it was requeued.
        again = {
            n for n in open_attempts.values() if n in queued and queued[n].state is SchedulerState.PENDING
        }
        gone = (wanted - set(queued)) | again
        accounted = self.slurm.accounted(gone)
        # The accounting may be behind; a job that neither knows is lost indeed.
        accounted |= self.slurm.known(number for number in gone if not _settled(accounted.get(number)))
        over = {n: job for n, job in accounted.items() if n not in queued and job.state.over}
        over |= {
            n: accounted[n]
            for n, job in queued.items()
            if n in accounted and (job.state.over or accounted[n].first_end)
        }
        report.queued = sum(not job.state.over for job in queued.values())
        self._see_to_stuck(launches, queued, report)
        self._end_attempts(open_attempts, queued, over, accounted, report)
        self._end_launches(launches, queued, over, report)
        self._cancel_unwanted(launches, open_attempts, queued, report)
        if policies is not None:
            report.recovered = self._recover(policies)
        self._cancel_spare_links(queued, report)
        report.running = len(self._open_attempts())
        return report

    def _see_to_stuck(
        self, launches: Sequence[_Launch], queued: dict[str, Queued], report: SyncReport
    ) -> None:
        """Let jobs go to the node that failed them where there is no other; tell of what can never start."""
        for one in launches:
            waiting = queued.get(one.scheduler_id or "")
            if waiting is None or not waiting.can_never_start:
                continue
            number = waiting.job_id
            with self.queue.file.reading() as db:
                excludes = "exclude" in recovery.wish_of(db, one.row.job)
            if excludes and self.slurm.allow_every_node(number):
                report.notes.append(f"SLURM job {number} may run on every node: no other suits it")
            else:
                report.notes.append(
                    f"SLURM job {number} can never start ({waiting.reason}): ask for less in the cluster's"
                    f" YAML, scancel {number}, then epilayer rerun --class cancelled"
                )

    def _launches(self) -> list[_Launch]:
        rows = {
            row.launches[-1]: row
            for row in self.board.find({"state": {"$in": ["RESERVED", "RUNNING"]}})
            if row.launches
        }
        pad = self.board.launchpad
        fields = {"launch_id": 1, "state_history": 1}

        def ask() -> list[dict[str, Any]]:
            return list(pad.launches.find({"launch_id": {"$in": list(rows)}}, fields))

        found = []
        for document in self.board.journal.patiently(ask):
            history = document.get("state_history") or []
            number = next((h["reservation_id"] for h in history if h.get("reservation_id")), None)
            created = _stamp(history[0]["created_on"]) if history else 0.0
            row = rows[document["launch_id"]]
            name = self._name_of(row, int(document["launch_id"]))
            age_s = max(0.0, time.time() - created)
            found.append(
                _Launch(row, int(document["launch_id"]), str(number) if number else None, name, age_s)
            )
        return found

    def _name_of(self, row: Launched, launch_id: int) -> str:
        with self.queue.file.reading() as db:
            job = transitions.select(db, "name", [row.job])[0]["name"]
        return batch.job_name(job, self.queue.file.identity, row.fw_id, launch_id)

    def _open_attempts(self) -> dict[str, str]:
        """Return the workers of the scheduler that have a job open, with the scheduler's numbers."""
        with self.queue.file.reading() as db:
            rows = db.execute("SELECT DISTINCT worker FROM attempts WHERE outcome = ?", (Outcome.RUNNING,))
            tokens = [row[0] for row in rows]
        return {token: number for token in tokens if (number := job_id_of(token)) is not None}

    def _find_numbers(self, launches: Sequence[_Launch], queued: dict[str, Queued]) -> None:
        """Find launches whose number was lost (the launcher was killed in between) by their names."""
        nameless = [one for one in launches if one.scheduler_id is None and one.row.state == "RESERVED"]
        if not nameless:
            return
        by_name = {job.name: number for number, job in queued.items()}
        late = [one for one in nameless if one.name not in by_name and one.age_s > _UNNUMBERED_S]
        ended = self.slurm.accounted(names=[one.name for one in late]) if late else {}
        by_name |= {job.name: number for number, job in ended.items()}
        for one in nameless:
            if one.name in by_name:
                self._number(one.launch_id, by_name[one.name])
            elif one.age_s > _UNNUMBERED_S:
                self.board.launchpad.cancel_reservation(one.launch_id)

    def _end_attempts(
        self,
        open_attempts: dict[str, str],
        queued: dict[str, Queued],
        over: dict[str, Accounted],
        accounted: dict[str, Accounted],
        report: SyncReport,
    ) -> None:
        """Close the attempts of batch jobs that are over."""
        for token, number in open_attempts.items():
            if number in queued and number not in over:
                continue
            if number not in over and number in accounted:
                report.notes.append(f"SLURM job {number} is {accounted[number].state.value}: waiting")
                continue
            if self._still_alive(token, over.get(number), report):
                continue
            failure = classify(None, over.get(number), raised=False)
            report.ended += [(job, failure.what) for job in self.queue.claims.end(token, failure)]

    def _still_alive(self, token: str, job: Accounted | None, report: SyncReport) -> bool:
        """Guard against two writers: end what a batch job left on this machine, wait where that fails.

        On another machine the scheduler's word is enough where it comes from the node. Where it does not
        (the node does not answer), the worker's own sign of life counts.
        """
        with self.queue.file.reading() as db:
            row = db.execute("SELECT * FROM workers WHERE token = ?", (token,)).fetchone()
        if row is None:
            return False
        if row["machine"] == processes.machine():
            left = processes.end_family(token, row["pid"], started=row["pid_start"])
            if left:
                report.notes.append(f"processes {left} of a job that is over will not die: waiting")
            return bool(left)
        if job is not None and not job.without_its_node:
            return False
        sign = Sign(self.queue.claims.runs, token)
        age_s = sign.age_s()
        if age_s is not None and age_s < SILENCE_S:
            report.notes.append(
                f"SLURM has lost touch with {row['host']}, where a job gave a sign of life"
                f" {age_s:.0f} s ago: waiting"
            )
            return True
        sign.take_over()
        return False

    def _end_launches(
        self,
        launches: Sequence[_Launch],
        queued: dict[str, Queued],
        over: dict[str, Accounted],
        report: SyncReport,
    ) -> None:
        """Settle Fireworks whose batch job is over: their jobs' states say how."""
        pad = self.board.launchpad
        with self.queue.file.reading() as db:
            states = {
                row["id"]: JobState(row["state"])
                for row in transitions.select(db, "id, state", {one.row.job for one in launches})
            }
        for one in launches:
            if one.scheduler_id is None or one.scheduler_id in queued or one.scheduler_id not in over:
                continue
            match states[one.row.job]:
                case JobState.READY:
                    self._came_to_nothing(one, over[one.scheduler_id], report)
                case JobState.COMPLETED:
                    pad.complete_launch(one.launch_id, FWAction(), "COMPLETED")
                case JobState.RUNNING:
                    pass  # another launch of the same job, or its end is being written down
                case (
                    JobState.FAILED
                    | JobState.CANCELLED
                    | JobState.STOPPED
                    | JobState.WAITING
                    | JobState.PAUSED
                ):
                    if one.row.state == "RUNNING":
                        pad.mark_fizzled(one.launch_id)
                    else:
                        pad.cancel_reservation(one.launch_id)

    def _came_to_nothing(self, one: _Launch, job: Accounted, report: SyncReport) -> None:
        """Let a job fail whose batch job ended before it began."""
        failure = classify(None, job, raised=False)
        failure = failure.model_copy(update={"what": f"{failure.what}, before the job began"})
        with self.queue.file.writing() as db:
            row = transitions.select(db, "state", [one.row.job])[0]
            if row["state"] != JobState.READY:
                return
            transitions.fail(db, one.row.job, failure)
        report.ended.append((one.row.job, failure.what))
        if one.row.state == "RUNNING":
            self.board.launchpad.mark_fizzled(one.launch_id)
        else:
            self.board.launchpad.cancel_reservation(one.launch_id)
        self.board.project()

    def _cancel_unwanted(
        self,
        launches: Sequence[_Launch],
        open_attempts: dict[str, str],
        queued: dict[str, Queued],
        report: SyncReport,
    ) -> None:
        """Cancel batch jobs of jobs that a person cancelled or paused, and doubles of a launch."""
        with self.queue.file.reading() as db:
            rows = db.execute(
                "SELECT worker FROM attempts a JOIN jobs j ON j.id = a.job WHERE outcome = ? AND j.cancel",
                (Outcome.RUNNING,),
            )
            unwanted = {open_attempts[row[0]] for row in rows if row[0] in open_attempts}
        known = {one.scheduler_id for one in launches} | set(open_attempts.values())
        mark = f".{self.queue.file.identity[:6]}."
        strays = {
            number
            for number, job in queued.items()
            if mark in job.name
            and number not in known
            and job.state is SchedulerState.PENDING
            and self.chains.number_in(job.name) is None
        }
        # What is pending now may have been submitted by another launcher a moment ago.
        strays -= {one.scheduler_id for one in self._launches()}
        for number in sorted((unwanted | strays) & set(queued)):
            if self.slurm.cancel(number):
                report.cancelled.append(number)

    def _cancel_spare_links(self, queued: dict[str, Queued], report: SyncReport) -> None:
        """Cancel links that wait for a chain in which nothing is left that could run."""
        waiting = {
            number: chain
            for number, job in queued.items()
            if job.state is SchedulerState.PENDING and (chain := self.chains.number_in(job.name)) is not None
        }
        alive = self.chains.alive() if waiting else set()
        report.cancelled += [n for n, chain in waiting.items() if chain not in alive and self.slurm.cancel(n)]

    def _recover(self, policies: Recovery) -> list[tuple[int, str, str]]:
        """Judge failed jobs, and rerun those whose policy says so."""
        with self.queue.file.reading() as db:
            waiting = recovery.unjudged(db)
        numbers = {number for case in waiting if case.token and (number := job_id_of(case.token))}
        accounted = self.slurm.accounted(numbers)
        linked = self.chains.of(case.job for case in waiting)
        done = []
        for case in waiting:
            number = job_id_of(case.token) if case.token else None
            job = accounted.get(number) if number else None
            if number and job is not None and not (job.state.over or job.first_end):
                continue  # the accounting is behind; next time
            failure = classify(case.failure, job, raised=case.outcome is Outcome.FAILED)
            planned = self.cluster.resources_for(case.name, self._atoms(case.job))
            node = job.nodes if job is not None else ""
            policy = policies.resuming() if case.job in linked else policies  # all links ask for the same
            what = recovery.judge(self.queue, case, failure, policy, planned, node)
            done.append((case.job, failure.kind.value, what))
        if done:
            self.board.project()
        return done

    def _atoms(self, job: int) -> int:
        with self.queue.file.reading() as db:
            spec = db.execute("SELECT spec FROM specs WHERE job = ?", (job,)).fetchone()[0]
        return batch.atoms_of(spec, self.output_of)


def _settled(job: Accounted | None) -> bool:
    return job is not None and job.state.over


def _stamp(written: Any) -> float:  # noqa: ANN401  (FireWorks writes texts and dates, in UTC)
    moment = datetime.fromisoformat(written) if isinstance(written, str) else written
    return float(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())


def as_json(submission: Submission) -> dict[str, Any]:
    """Return a submission as JSON values."""
    resources = json.loads(submission.resources.model_dump_json(exclude_none=True))
    return {
        "job": submission.job,
        "name": submission.name,
        "atoms": submission.atoms,
        "resources": resources,
        "scheduler_id": submission.scheduler_id,
        "script": submission.script,
    }
