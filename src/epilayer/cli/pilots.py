"""``epilayer cluster launch --pilot``: allocations that work on the embedded queue, and what runs in them."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from epilayer.cli.common import out, print_json, study
from epilayer.model.errors import InputError
from epilayer.study.config import EMBEDDED

if TYPE_CHECKING:
    from epilayer import Study
    from epilayer.launch.slurm import Slurm
    from epilayer.model.cluster import Cluster
    from epilayer.study.workspace import Workspace

_NODE_WITHIN_S = 20


def launch_pilots(used: Study, name: str, pilots: int, workers: int, *, dry_run: bool, as_json: bool) -> None:
    """Submit pilots until there are so many of this study; put back what pilots held that are over."""
    from epilayer.launch import pilot
    from epilayer.launch.slurm import Slurm
    from epilayer.model.files import write_atomic

    if used.cluster is not None:
        raise InputError("Pilots work on the embedded queue.", f"Write queue: {EMBEDDED} in epilayer.yaml.")
    cluster = used.catalogue.cluster(name, pilot=True)
    text = pilot.script(
        cluster,
        used.root,
        used.runs,
        template=used.batch_text("job.sh.j2"),
        preamble=used.batch_text(cluster.preamble),
        command=f"{program_in(used, cluster)} cluster pilot --cluster {name} --workers {workers}",
        workers=workers,
    )
    if dry_run:
        sys.stdout.write(text)
        return
    slurm = Slurm()
    used.state.mkdir(parents=True, exist_ok=True)
    proven = prove(used.state, slurm)
    pilot.share(used.state)
    put_back = pilot.settle(used.queue(), slurm)
    there = pilot.waiting_or_running(slurm, used.root)
    script = write_atomic(used.runs / "batch" / "pilot.sh", text)
    numbers = [slurm.submit(script) for _ in range(pilots - there)]
    if as_json:
        print_json({"pilots": numbers, "there_before": there, "put_back": put_back, "locks": proven})
        return
    out.print(f"Locks on {escape(str(used.state))}: {escape(proven)}.", soft_wrap=True)
    for job, why in put_back:
        out.print(f"Put back #{job}: {escape(why)}", soft_wrap=True)
    told = f"submitted SLURM jobs {', '.join(numbers)}" if numbers else "no more are needed"
    out.print(f"{there} pilots of {workers} workers were there; {told}.", soft_wrap=True)


def prove(folder: Path, slurm: Slurm) -> str:
    """Prove the locks of a file system, from here and from a compute node if one is free; say which.

    Raises
    ------
    QueueError
        If they do not hold.
    """
    from epilayer.launch import pilot

    pilot.prove_locks(folder)
    node = ("srun", "--ntasks=1", "--mem=100", "--time=5", f"--immediate={_NODE_WITHIN_S}", "--quiet")
    code, said, _ = slurm.ask([*node, "hostname"])
    if code:
        return f"hold between two processes here; no node was free within {_NODE_WITHIN_S} s to try from"
    pilot.prove_locks(folder, on=node)
    return f"hold between two processes here, and with {said.strip()}"


def pilot(
    cluster: Annotated[str, typer.Option("--cluster", help="Whose profile says how long jobs take.")],
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Worker processes.")] = 1,
) -> None:
    """Work on the embedded queue for as long as the allocation lasts; a pilot's batch script calls this.

    On SLURM `launch --pilot` writes that script. Under PBS or SGE it is yours (slurm/elsewhere).

    Example: [cyan]epilayer cluster pilot --cluster mycluster --workers 2[/]
    """
    from epilayer.cli.runs import run_queue, show_ran
    from epilayer.launch.allocation import Allocation
    from epilayer.launch.pilot import resources, share

    used = study()
    used.state.mkdir(parents=True, exist_ok=True)
    share(used.state)  # proven from this node too
    profile = used.catalogue.cluster(cluster, pilot=True)
    whole_s = float((resources(profile, workers).walltime or 0) - profile.signal_ahead_s)
    began_s = time.monotonic()
    end = os.environ.get("SLURM_JOB_END_TIME")  # from version 22.05 on
    ends_s = float(end) - profile.signal_ahead_s if end else time.time() + whole_s
    allocation = Allocation(os.environ.get("SLURM_JOB_ID", "0"), ends_s, whole_s, profile)
    queue = used.queue()
    report = run_queue(used, queue, workers, quiet=False, allocation=allocation)
    show_ran(report, time.monotonic() - began_s, used.harvest())


def program_in(used: Workspace, cluster: Cluster) -> str:
    """Return how a batch job calls epilayer: the very one that submits, unless the profile says otherwise."""
    beside = Path(sys.executable).parent / cluster.epilayer
    program = shlex.quote(str(beside)) if beside.is_file() else cluster.epilayer
    return f"{program} -C {shlex.quote(str(used.root))}"
