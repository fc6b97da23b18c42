"""``epilayer doctor --rehearse``: a tiny campaign by stand-ins, through the real queue."""

from __future__ import annotations

import dataclasses
import os
import runpy
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import err, out, print_json
from epilayer.study.config import shipped

if TYPE_CHECKING:
    from jobflow import Flow

    from epilayer import Study
    from epilayer.model.failure import Failure

LEVEL = "screening"
SETTINGS = ("facets=001", "ligands=ammonia", "poses=1", "keep=1", "check_levels=", "max_steps=200")
KILLED = "walltime"


def show(used: Study, *, as_json: bool) -> None:
    """Rehearse, and print what happened."""
    found = rehearse(used, quiet=as_json)
    if as_json:
        print_json(found)
    else:
        table = Table(box=None, pad_edge=False)
        for heading in ("job", "attempts", "state", "what happened"):
            table.add_column(heading, justify="right" if heading == "attempts" else "left")
        for row in found["jobs"]:
            shown = (row["name"], str(row["attempts"]), row["state"], "; ".join(row["events"]))
            table.add_row(*map(escape, shown))
        out.print(table)
        for line in found["summary"]:
            out.print(escape(line), soft_wrap=True)
    if not found["ok"]:
        raise typer.Exit(3)


def rehearse(used: Study, *, quiet: bool) -> dict[str, Any]:
    """Run the campaign in a study of its own beside ``used``'s queue; return what happened.

    One relaxation on the slab is killed in its third step, as by a time limit; its job must fail with that
    cause, and its next attempt must go on from there.
    """
    from epilayer.cli.runs import run_queue
    from epilayer.launch.base import JobState

    root = used.state / "rehearsal"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    stage = dataclasses.replace(used, root=root)
    environment = set_up(root / "stand-ins")
    fault = {
        "VASP_STANDIN_FAULT": KILLED,
        "VASP_STANDIN_ONLY": "slab",
        "VASP_STANDIN_ONCE": str(root / "struck"),
    }
    began = time.monotonic()
    with _environment({**environment, **fault}):
        queue = stage.queue()
        queue.submit(build(stage))
        if not quiet:
            err.print("First run, in which one job is killed on purpose:")
        run_queue(stage, queue, None, quiet=quiet)
        first = queue.status()
        causes = {job.number: job.failure for job in first.failed if job.failure}
        queue.rerun(state=JobState.FAILED)
        if not quiet:
            err.print("Second run, after epilayer rerun --failed:")
        run_queue(stage, queue, None, quiet=quiet)
        stored = stage.harvest()
    return _outcome(stage, causes, stored, time.monotonic() - began)


def build(stage: Study) -> Flow:
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
    """Lay out the stand-ins as programs, and headers of pseudopotentials; return the environment."""
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


class _environment:  # noqa: N801  (reads as what it does)
    """Set variables for the workers that start inside, and put them back."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables
        self.before: dict[str, str | None] = {}

    def __enter__(self) -> None:
        self.before = {name: os.environ.get(name) for name in self.variables}
        os.environ.update(self.variables)

    def __exit__(self, *_: object) -> None:
        for name, value in self.before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _outcome(stage: Study, causes: dict[int, Failure], stored: int, elapsed_s: float) -> dict[str, Any]:
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
            events.append(
                "rerun; " + ("went on from where it stood" if went_on else "began anew, which is wrong")
            )
        elif job.cause:
            events.append(job.cause)
        rows.append({"name": job.name, "state": job.state.value, "attempts": job.attempts, "events": events})
    counts = {s.value: n for s, n in now.counts.items() if n}
    named = all(failure.cause == "time_limit" for failure in causes.values())
    ok = set(counts) == {"COMPLETED"} and bool(causes) and named and resumed == len(causes)
    done = f"{counts.get('COMPLETED', 0)} of {now.total} jobs completed in {elapsed_s:.0f} s"
    summary = [
        f"{done}; {stored} records stored.",
        f"Killed on purpose: {len(causes)}; cause named: {'yes' if named else 'no'}; resumed: {resumed}.",
        "Everything here was computed by STAND-INS: no number of it is a result, and no report shows one.",
        f"Look around: epilayer -C {stage.root} jobs list",
    ]
    return {
        "ok": ok,
        "stand_in": True,
        "study": str(stage.root),
        "jobs": rows,
        "records": stored,
        "failures": [failure.line for failure in causes.values()],
        "summary": summary,
    }
