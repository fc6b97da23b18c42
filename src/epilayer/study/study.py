"""The study: what a person, a script or the command line does with one, each as one method."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from epilayer.model.errors import InputError
from epilayer.study.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from jobflow import Flow
    from pymatgen.core import Structure

    from epilayer.launch.allocation import Allocation
    from epilayer.launch.base import ChangeReport, Event, FlowStatus, RunReport, SubmitReport
    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.launch.transfer import TransferReport
    from epilayer.model.cohp import Bonding
    from epilayer.model.records import Calculation
    from epilayer.report.content import ReportContent
    from epilayer.study.importing import Imported
    from epilayer.study.queries import Answer, Question
    from epilayer.study.rerunning import Rerun, Selection
    from epilayer.study.trajectories import Observation, Progress
    from epilayer.study.user_structures import Source
    from epilayer.study.verifying import Verification

_QUICK = ("quick=true",)


class Study(Workspace):
    """A study: a folder with settings, a queue of jobs, and their results.

    >>> from epilayer import Study
    >>> study = Study.open(".")  # doctest: +SKIP
    >>> study.submit("paper_adsorption", quick=True)  # doctest: +SKIP
    >>> study.run(workers=2)  # doctest: +SKIP
    >>> study.query("adsorption", "adsorption_energy_ev < -0.5")  # doctest: +SKIP
    """

    def build(
        self,
        workflow: str,
        settings: Sequence[str] = (),
        *,
        level: str | None = None,
        quick: bool = False,
        crystal: Source | None = None,
    ) -> Flow:
        """Build the flow of a workflow, given by its name or the path of its file.

        Parameters
        ----------
        settings
            ``key=value`` texts; a key must be a parameter of the workflow.
        level
            Level of theory; replaces the workflow's default and the study's.
        quick
            Build the workflow's own short form.
        crystal
            What is said of the cathode that the settings name, where it is a file.

        Raises
        ------
        InputError
            If the file cannot be loaded, has no ``build``, raises, or does not know a setting.
        """
        from epilayer.study.workflows import build_flow

        return build_flow(self, workflow, [*settings, *(_QUICK if quick else ())], level, crystal)

    def inputs(self, kind: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """Return what a workflow can name, and the workflows themselves, by kind."""
        from epilayer.study.workflows import list_inputs

        return list_inputs(self, kind)

    def write_inputs(
        self,
        workflow: str,
        directory: Path,
        settings: Sequence[str] = (),
        *,
        level: str | None = None,
        quick: bool = False,
    ) -> list[dict[str, Any]]:
        """Write the inputs of every calculation of a workflow, run nothing, and return what was written."""
        from epilayer.study.workflows import write_inputs

        return write_inputs(self, workflow, directory, level, [*settings, *(_QUICK if quick else ())])

    def submit(
        self,
        flow: str | Flow,
        settings: Sequence[str] = (),
        *,
        level: str | None = None,
        quick: bool = False,
        fresh: bool = False,
        priority: int = 0,
    ) -> SubmitReport:
        """Put a flow, or a workflow given by name, into the queue; what was computed before is found.

        Parameters
        ----------
        flow
            A jobflow Flow, or a workflow as in :meth:`build` with its settings, level and short form.
        fresh
            Compute everything again, whatever is there.
        priority
            Higher runs first.
        """
        built = self.build(flow, settings, level=level, quick=quick) if isinstance(flow, str) else flow
        return self.queue().submit(built, priority=priority, fresh=fresh)

    def run(
        self,
        *,
        workers: int | None = None,
        on_event: Callable[[Event], None] | None = None,
        allocation: Allocation | None = None,
    ) -> RunReport:
        """Run what is queued on this machine until nothing is left that can run.

        Parameters
        ----------
        workers
            Worker processes; the study's setting by default.
        on_event
            Called with each job that starts or ends.
        allocation
            The batch job inside which this runs, which bounds how long a job may take.
        """
        from epilayer.launch.supervisor import run_workers

        return run_workers(
            self.queue(),
            self.jobstore().as_dict(),
            workers=workers or self.workers,
            on_event=on_event,
            allocation=allocation,
        )

    def status(self, flow: str | None = None) -> FlowStatus:
        """Count the jobs per state, of one flow or of the queue, with those that run and that failed."""
        return self.queue().status(flow)

    def rerun(
        self,
        selection: Selection,
        resources: Mapping[str, int | str] | None = None,
        *,
        force: bool = False,
        dry_run: bool = False,
    ) -> Rerun:
        """Let failed or cancelled jobs run again; earlier attempts are kept.

        Parameters
        ----------
        resources
            What to ask a scheduler for, such as ``walltime`` and ``memory``.
        force
            Also completed jobs, and what was built on them.
        dry_run
            Change nothing.
        """
        from epilayer.study.rerunning import rerun

        return rerun(self, selection, resources or {}, force=force, dry_run=dry_run)

    def cancel(self, ref: str) -> ChangeReport:
        """Give up a flow or a job; what runs is stopped. Jobs that another flow wants too stay."""
        return self.queue().cancel(ref)

    def pause(self, ref: str) -> ChangeReport:
        """Hold back a flow or a job; what runs already runs to its end."""
        return self.queue().pause(ref)

    def resume(self, ref: str) -> ChangeReport:
        """Release a flow or a job that was paused."""
        return self.queue().resume(ref)

    def harvest(self, queue: EmbeddedQueue | None = None) -> int:
        """Store the records that completed jobs put out; return how many are new or changed.

        Parameters
        ----------
        queue
            The study's queue where it is open already.
        """
        from epilayer.study.harvest import harvest

        return harvest(self, queue)

    def refresh(self) -> None:
        """Store the records of completed jobs, where the queue is on this machine."""
        if self.queue_file.exists():
            self.harvest()

    def query(
        self,
        kind: str,
        *where: str,
        sort: str | None = None,
        limit: int | None = None,
        fields: Sequence[str] | None = None,
    ) -> Any:  # noqa: ANN401  (pandas is untyped)
        """Return the records that match every filter as a pandas.DataFrame, indexed by their ids.

        Parameters
        ----------
        kind
            Kind of record: ``adsorption``, ``transport``, ``surface`` ...
        where
            Filters as on the command line, ``"facet=100"``, ``"adsorption_energy_ev < -0.5"``.
        sort, limit, fields
            As for :meth:`epilayer.store.result_record.ResultsStore.query`; no limit is all.
        """
        from epilayer.study.results import Results

        self.refresh()
        with Results(self.results()) as results:
            return results.query(kind, *where, sort=sort, limit=limit, fields=fields)

    def ask(self, question: Question, *, limit: int | None = None) -> Answer:
        """Answer a question about records, jobs, runs or structures, grouped where it says so."""
        from epilayer.study.queries import ask

        return ask(self, question, limit=limit)

    def get(self, identity: str) -> Any:  # noqa: ANN401  (the type of its kind)
        """Return one record in its typed form, by its id or the beginning of it."""
        from epilayer.study.results import Results

        with Results(self.results()) as results:
            return results.get(identity)

    def verify(self, identity: str | None = None) -> Verification:
        """Check one record (by id, or its beginning), or all, against the bytes that they rest on."""
        from epilayer.study.verifying import verify

        return verify(self, identity)

    def report(self, *, drawn: bool = True) -> ReportContent:
        """Return what a report shows: the records beside the published values.

        Parameters
        ----------
        drawn
            Whether it is drawn, too: then it has the calculations behind the adsorption energies.
        """
        from epilayer.study.reporting import report_of

        return report_of(self, drawn=drawn)

    def transfer(self, to: str) -> TransferReport:
        """Copy the queue and all outputs to another home: a cluster, by name, or ``embedded``.

        Raises
        ------
        InputError
            If they are there already.
        """
        from epilayer.launch.transfer import transfer

        if to == self.settings.queue:
            raise InputError(f"The study's queue is {to!r} already.", "Name where it shall go.")
        there = replace(self, settings=self.settings.model_copy(update={"queue": to}))
        with self.jobstore() as old_store, there.jobstore() as new_store:
            return transfer(self.queue(), old_store, there.queue(), new_store)

    def import_(self, paths: Sequence[str], *, adsorption: bool = False, store: bool = False) -> Imported:
        """Read calculations that somebody else ran; nothing in their directories is changed.

        Parameters
        ----------
        paths
            Directories or files; with ``adsorption`` also ``slab=DIR``, ``molecule=DIR``, ``adsorbate=DIR``.
        adsorption
            Also make the adsorption energies of legs that belong together.
        store
            Keep the records in the results.
        """
        from epilayer.study.importing import read_calculations

        found = read_calculations(self, paths, adsorption=adsorption, resume=store)
        if store:
            found.keep(self)
        return found

    def trajectories(self) -> list[Progress]:
        """Return how far the trajectories are that the study computes, the unfinished ones first."""
        from epilayer.study.trajectories import in_progress

        return in_progress(self.root)

    def trajectory(self, name: str) -> Observation:
        """Return what a trajectory shows now, by the name of its folder."""
        from epilayer.study import trajectories

        return trajectories.observe(trajectories.named(self.root, name))

    def calculations(self, jobs: Iterable[str]) -> dict[str, Calculation]:
        """Return the calculations that jobs (by uuid) put out, as far as the job store has them."""
        from epilayer.study.outputs import calculations

        return calculations(self, jobs)

    def bond_analyses(self, job: str) -> list[Bonding]:
        """Return what LOBSTER measured for the job (by uuid) that made a record."""
        from epilayer.study.outputs import bond_analyses

        return bond_analyses(self, job)

    def records_of(self, job: str) -> tuple[str, ...]:
        """Return the ids of the results that a job (by uuid) made."""
        from epilayer.study.outputs import records_of

        return records_of(self, job)

    def file(self, path: str, folder: Path | None = None) -> Path | None:
        """Return the file that a path names; ``None`` where it is not below the folder and the study."""
        from epilayer.study.outputs import file_inside

        return file_inside(self, path, folder)

    def initial_structure(self, run_directory: str, like: Structure) -> Structure | None:
        """Return the configuration that a run began with (atoms as in ``like``), where its files hold it."""
        from epilayer.study.outputs import initial_structure

        return initial_structure(self, run_directory, like)
