"""``epilayer doctor --rehearse``: a tiny campaign by stand-ins, through the real queue."""

from __future__ import annotations

import os
import runpy
import shlex
import shutil
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epilayer.study.config import shipped
from epilayer.study.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from jobflow import Flow

    from epilayer.model.failure import Failure
    from epilayer.study.workspace import Workspace

LEVEL = "screening"
SETTINGS = ("facets=001", "ligands=ammonia", "poses=1", "keep=1", "check_levels=", "max_steps=200")
KILLED = "walltime"


@dataclass(frozen=True)
class RehearsedJob:
    """A job of the rehearsal and what happened to it."""

    name: str
    state: str
    attempts: int
    events: list[str]


@dataclass(frozen=True)
class Rehearsal:
    """What came of a rehearsal; ``stand_in`` says that no number of it is a result.

    Attributes
    ----------
    ok
        Whether all jobs are completed, and the killed one was named by its cause and went on.
    failures
        The causes of the jobs that were killed on purpose.
    summary
        The same in sentences.
    """

    ok: bool
    stand_in: bool
    study: Path
    jobs: list[RehearsedJob]
    records: int
    failures: list[str]
    summary: list[str]


def rehearse(study: Workspace, run: Callable[[Study], object], report: Callable[[str], None]) -> Rehearsal:
    """Run the campaign in a study of its own below ``study``; return what happened.

    One relaxation on the slab is killed in its third step, as by a time limit; its job must fail with that
    cause, and its next attempt must go on from there.

    Parameters
    ----------
    run
        Runs the queue of the study that it is given, to its end.
    report
        Called with what happens next.
    """
    from epilayer.launch.base import JobState

    root = study.state / "rehearsal"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    stage = Study(root, study.settings)
    stage.__dict__["catalogue"] = study.catalogue
    fault = {
        "VASP_STANDIN_FAULT": KILLED,
        "VASP_STANDIN_ONLY": "slab",
        "VASP_STANDIN_ONCE": str(root / "struck"),
    }
    began = time.monotonic()
    with environment({**set_up(root / "stand-ins"), **fault}):
        stage.submit(campaign(stage))
        report("First run, in which one job is killed on purpose:")
        run(stage)
        causes = {job.number: job.failure for job in stage.status().failed if job.failure}
        stage.queue().rerun(state=JobState.FAILED)
        report("Second run, after epilayer rerun --failed:")
        run(stage)
        stored = stage.harvest()
    return _outcome(stage, causes, stored, time.monotonic() - began)


def campaign(stage: Workspace) -> Flow:
    """Return the campaign: one ligand on one facet, and the bonds of ethanol."""
    from jobflow import Flow

    from epilayer.engines.vasp.engine import VaspEngine
    from epilayer.model.cohp import Bond
    from epilayer.structures import molecules
    from epilayer.study.workflows import build_flow

    adsorption = build_flow(stage, "paper_adsorption", SETTINGS, LEVEL)
    engine = stage.catalogue.engine(LEVEL)
    assert isinstance(engine, VaspEngine)  # noqa: S101  (the level is VASP's)
    ethanol = molecules.build(stage.catalogue.ligand("ethanol"), 0)
    symbols = [site.specie.symbol for site in ethanol]
    pairs = sorted(tuple(sorted(pair)) for pair in molecules.bonds(ethanol))
    bonds = [
        Bond(name=f"{symbols[i]}{i + 1}-{symbols[j]}{j + 1}", atoms=(i, j))
        for i, j in pairs
        if {symbols[i], symbols[j]} <= {"C", "O"}
    ]
    label = f"bonds of ethanol, {LEVEL}"
    analysed = engine.bonding(label).make(molecules.in_box(ethanol), bonds)
    analysed.name = label
    return Flow([adsorption, analysed], name="rehearsal (stand-ins, no result)")


def set_up(folder: Path) -> dict[str, str]:
    """Write the stand-ins as programs, and headers of pseudopotentials; return the environment."""
    source = shipped("tests/standin")
    programs = folder / "programs"
    programs.mkdir(parents=True)
    commands = {}
    for name, file in (
        ("vasp_std", "vasp_standin.py"),
        ("vasp_gam", "vasp_standin.py"),
        ("lobster", "lobster_standin.py"),
    ):
        script = programs / f"{name}_standin.py"
        shutil.copyfile(source / file, script)
        command = folder / name
        line = f'exec {shlex.quote(sys.executable)} {shlex.quote(str(script))} "$@"'
        command.write_text(f"#!/bin/sh\n# A STAND-IN: computes nothing\n{line}\n", encoding="utf-8")
        command.chmod(0o755)
        commands[name] = str(command)
    potcars = runpy.run_path(str(source / "potcars.py"))["write_potcars"](folder / "potcars")
    return {
        "PMG_VASP_PSP_DIR": str(potcars),
        "ATOMATE2_VASP_CMD": commands["vasp_std"],
        "ATOMATE2_VASP_GAMMA_CMD": commands["vasp_gam"],
        "ATOMATE2_LOBSTER_CMD": commands["lobster"],
    }


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the workers that start inside, and put them back."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _outcome(stage: Study, causes: Mapping[int, Failure], stored: int, elapsed_s: float) -> Rehearsal:
    from epilayer.launch.base import JobState

    queue = stage.queue()
    now = queue.status()
    rows, resumed = [], 0
    for job in queue.jobs():
        if job.function.endswith("store_inputs"):  # jobflow's own, holds a value
            continue
        events = [f"failed on purpose: {causes[job.number].line}"] if job.number in causes else []
        if job.number in causes and job.state is JobState.COMPLETED:
            last = queue.attempts(job.number)[-1].directory
            went_on = (last / "POSCAR.begin").is_file()
            resumed += went_on
            how = "went on from where it stood" if went_on else "began anew, which is wrong"
            events.append(f"rerun; {how}")
        elif job.cause:
            events.append(job.cause)
        rows.append(RehearsedJob(job.name, job.state.value, job.attempts, events))
    counts = {s.value: n for s, n in now.counts.items() if n}
    named = all(failure.cause == "time_limit" for failure in causes.values())
    done = f"{counts.get('COMPLETED', 0)} of {now.total} jobs completed in {elapsed_s:.0f} s"
    return Rehearsal(
        ok=set(counts) == {"COMPLETED"} and bool(causes) and named and resumed == len(causes),
        stand_in=True,
        study=stage.root,
        jobs=rows,
        records=stored,
        failures=[failure.line for failure in causes.values()],
        summary=[
            f"{done}; {stored} records stored.",
            f"Killed on purpose: {len(causes)}; cause named: {'yes' if named else 'no'}; resumed: {resumed}.",
            "Everything here was computed by STAND-INS: no number is a result, and no report shows one.",
            f"Look around: epilayer -C {stage.root} jobs list",
        ],
    )
