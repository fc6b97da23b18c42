"""The batch script of a job: readable, and complete in itself."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from epilayer import __version__
from epilayer.launch.identity import references
from epilayer.model.cluster import Cluster, Resources, walltime_text
from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NAME_LENGTH = 40
_MOST_DEPTH = 40


def job_name(name: str, queue: str, *which: int | str) -> str:
    """Return a name the scheduler takes, by which a job can be found again whose number was lost.

    Parameters
    ----------
    name, queue
        Of the job, and identity of the queue.
    which
        What tells the batch job from others of the queue: Firework and launch, or the chain.

    >>> job_name("slab nvopf (001) " + "x" * 300, "1f3a77", 12, 40)
    'slab-nvopf-001-xxxxxxxxxxxxxxxxxxxxxxxxx.1f3a77.12.40'
    """
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:_NAME_LENGTH].strip("-") or "job"
    return ".".join(map(str, (slug, queue[:6], *which)))


def options(resources: Resources, name: str, folder: Path, signal_ahead_s: int) -> list[str]:
    """Return the ``#SBATCH`` options of a job.

    Raises
    ------
    InputError
        If the job is to be told to stop before it could begin.
    """
    r = resources
    if r.walltime is not None and r.walltime <= signal_ahead_s:
        raise InputError(
            f"A walltime of {walltime_text(r.walltime)} is no longer than the {signal_ahead_s} s by which"
            " a job is told to stop ahead of it.",
            "Ask for more walltime, or lower signal_ahead_s in the cluster's YAML.",
        )
    stated: list[tuple[str, Any]] = [
        ("job-name", name),
        ("chdir", folder),
        ("output", str(folder).replace("%", "%%") + "/slurm-%j.out"),
        ("partition", r.partition),
        ("account", r.account),
        ("qos", r.qos),
        ("nodes", r.nodes),
        ("ntasks", r.tasks),
        ("cpus-per-task", r.cpus_per_task),
        ("mem", None if r.memory is None else f"{r.memory}M"),
        ("gpus", r.gpus),
        ("time", None if r.walltime is None else walltime_text(r.walltime)),
        ("exclude", r.exclude),
        # A job that the scheduler starts again by itself could meet its own first process.
        ("signal", f"B:USR1@{signal_ahead_s}"),
    ]
    lines = [f"--{key}={_quoted(value)}" for key, value in stated if value is not None]
    return [*lines, "--no-requeue", "--open-mode=append", *r.extra]


def _quoted(value: object) -> str:
    """Return a value as ``#SBATCH`` reads it: in quotes where it holds a blank."""
    text = str(value)
    return f'"{text}"' if re.search(r"\s", text) else text


def check_fits(cluster: Cluster, resources: Resources, name: str) -> None:
    """Refuse what the partition can never give.

    Raises
    ------
    InputError
        With what is too much, and where it stands.
    """
    where = f"configs/clusters/{cluster.name}.yaml"
    partition = resources.partition
    if partition is None or not cluster.partitions:
        return
    if partition not in cluster.partitions:
        raise InputError(
            f"Job {name!r} asks for partition {partition!r}, which {where} does not describe.",
            f"Known: {', '.join(sorted(cluster.partitions))}.",
        )
    limits = cluster.partitions[partition]
    for what, asked, most in (
        ("walltime", resources.walltime, limits.max_walltime),
        ("memory", resources.memory, limits.max_memory),
        ("nodes", resources.nodes, limits.max_nodes),
    ):
        if asked is not None and most is not None and asked > most:
            shown = (walltime_text(asked), walltime_text(most)) if what == "walltime" else (asked, most)
            raise InputError(
                f"Job {name!r} asks for {what} {shown[0]}, and partition {partition!r} allows {shown[1]}.",
                f"Ask for less, or name another partition, in {where} (rules) or with epilayer rerun --with.",
            )


def render(template: str, *, title: str, **values: Any) -> str:  # noqa: ANN401  (what the template names)
    """Fill in the template of a batch script; its title stays one line, whatever is in it."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701  (a shell script)
    return environment.from_string(template).render(
        version=__version__, title=" ".join(title.split()), **values
    )


def atoms_of(spec: str, output_of: Callable[[str], Any]) -> int:
    """Return the number of atoms of the largest structure a job works on; 0 where it has none.

    Parameters
    ----------
    spec
        The serialised job.
    output_of
        Gives the output of another job by uuid, where the structure is still to be looked up.
    """
    data = json.loads(spec)
    arguments = [data["function"].get("@bound"), data["function_args"], data["function_kwargs"]]
    found = _largest(arguments)
    for reference in references(arguments):
        found = max(found, _largest(output_of(reference["uuid"])))
    return found


def _largest(value: Any, depth: int = 0) -> int:  # noqa: ANN401  (any document)
    if depth > _MOST_DEPTH:
        return 0
    if isinstance(value, dict):
        sites = value.get("sites")
        own = len(sites) if isinstance(sites, list) else 0
        return max([own, *(_largest(item, depth + 1) for item in value.values())])
    if isinstance(value, list | tuple):
        return max([0, *(_largest(item, depth + 1) for item in value)])
    if hasattr(value, "num_sites"):
        return int(value.num_sites)
    return 0
