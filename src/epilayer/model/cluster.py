"""A cluster as a study sees it: its database, what a job asks for, and what a failure calls for."""

from __future__ import annotations

import fnmatch
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from epilayer.model.base import Frozen
from epilayer.model.failure import FailureClass

if TYPE_CHECKING:
    from collections.abc import Iterable

_WALLTIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d\d?))?(?::(\d\d?))?")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_MB = {"K": 1 / 1024, "": 1.0, "M": 1.0, "G": 1024.0, "T": 1024.0**2}


def seconds(value: Any) -> Any:  # noqa: ANN401  (any YAML value; pydantic checks the rest)
    """Read a walltime: ``30:00`` (minutes), ``24:00:00``, ``2-00:00:00``, or seconds as a number.

    >>> seconds("1-02:00:00")
    93600
    """
    if not isinstance(value, str):
        return value
    found = _WALLTIME.fullmatch(value.strip())
    if found is None or (found[3] is None and found[1] is None):
        raise ValueError("a walltime is written MM:SS, HH:MM:SS or D-HH:MM:SS")
    days, first, second, third = (int(part) if part else 0 for part in found.groups())
    if found[1] or found[4]:
        return days * 86400 + first * 3600 + second * 60 + third
    return first * 60 + second


def walltime_text(walltime_s: int) -> str:
    """Write a walltime as SLURM reads it.

    >>> walltime_text(93600)
    '1-02:00:00'
    """
    days, rest = divmod(walltime_s, 86400)
    clock = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def megabytes(value: Any) -> Any:  # noqa: ANN401
    """Read an amount of memory: ``4G``, ``512M``, or megabytes as a number.

    >>> megabytes("4G")
    4096
    """
    if not isinstance(value, str):
        return value
    found = _MEMORY.fullmatch(value.strip())
    if found is None:
        raise ValueError("memory is written as 512M or 4G")
    return round(float(found[1]) * _MB[found[2].upper()])


Walltime = Annotated[int, BeforeValidator(seconds), Field(gt=0)]
Memory = Annotated[int, BeforeValidator(megabytes), Field(gt=0)]


class Resources(Frozen):
    """What a job asks of the scheduler; what is unset is the next rule's, then the scheduler's own."""

    nodes: int | None = Field(default=None, gt=0)
    tasks: int | None = Field(default=None, gt=0)
    cpus_per_task: int | None = Field(default=None, gt=0)
    memory: Memory | None = None
    """Of the whole job and node, in MB."""
    walltime: Walltime | None = None
    """In seconds."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gpus: int | None = Field(default=None, gt=0)
    exclude: str | None = None
    """Nodes not to run on."""
    extra: tuple[str, ...] = ()
    """Further options, as they stand after ``#SBATCH``."""

    @field_validator("partition", "account", "qos", "exclude")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w.,\[\]@+-]+", value):
            raise ValueError("holds characters that a scheduler option may not")
        return value

    @field_validator("extra")
    @classmethod
    def _options(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any("\n" in line or not line.startswith("--") for line in value):
            raise ValueError("each is one option, beginning with --")
        return value

    def overlaid(self, other: Resources) -> Resources:
        """Return these with the values that the other states in their place."""
        stated = {
            key: getattr(other, key) for key in other.model_fields_set if getattr(other, key) is not None
        }
        return self.model_copy(update=stated)


class Rule(Frozen):
    """Resources of some jobs, by name and size; later rules stand over earlier ones."""

    jobs: str = "*"
    """Glob pattern on the job's name."""
    atoms_from: int = Field(default=0, ge=0)
    atoms_below: int | None = Field(default=None, gt=0)
    resources: Resources

    def applies(self, name: str, atoms: int) -> bool:
        """Whether a job of this name and number of atoms is meant."""
        fits = self.atoms_from <= atoms and (self.atoms_below is None or atoms < self.atoms_below)
        return fits and matches(name, (self.jobs,))


class Chain(Frozen):
    """Jobs that go on for longer than a batch job may: successive batch jobs, the links, work on them."""

    jobs: str
    """Glob pattern on the name of the job that a chain begins with; all that it makes belongs to it."""
    links: int = Field(default=3, gt=0)
    """Batch jobs of one chain at the scheduler at one time; one of them runs."""


class Partition(Frozen):
    """What a partition allows, so that a job that can never start is refused before it is submitted."""

    max_walltime: Walltime
    max_memory: Memory | None = None
    max_nodes: int | None = Field(default=None, gt=0)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name matches one of some glob patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class Cluster(Frozen):
    """A ``configs/clusters/NAME.yaml``."""

    name: str
    title: str
    source: str
    scheduler: Literal["slurm"] = "slurm"
    database: str = ""
    """``mongodb://`` address with the name of the database; ``${NAME}`` is taken from the environment. Pilots
    need none."""
    preamble: str
    """File in the study's ``slurm/``, or the shipped one: modules, VASP, LOBSTER, scratch."""
    epilayer: str = "epilayer"
    """How a job calls epilayer, after the preamble."""
    signal_ahead_s: int = Field(default=180, ge=10)
    """How long before the time limit a job receives the signal to stop."""
    most_queued: int = Field(default=50, gt=0)
    """Jobs of this study at the scheduler at one time."""
    poll_s: float = Field(default=30.0, gt=0)
    partitions: dict[str, Partition] = Field(default_factory=dict)
    resources: Resources
    rules: tuple[Rule, ...] = ()
    pilot: Resources = Field(default_factory=Resources)
    """What a pilot asks for in place of ``resources``: the walltime of an allocation, not of a job."""
    pack: tuple[str, ...] = ()
    """Patterns of names of jobs that take seconds: a batch job runs what is ready of them after its own."""
    chains: tuple[Chain, ...] = ()

    def resources_for(self, name: str, atoms: int) -> Resources:
        """Return what a job of this name and number of atoms asks for."""
        found = self.resources
        for rule in self.rules:
            if rule.applies(name, atoms):
                found = found.overlaid(rule.resources)
        return found

    def chain_for(self, name: str) -> Chain | None:
        """Return the chain that a job of this name begins, if it begins one."""
        return next((chain for chain in self.chains if fnmatch.fnmatchcase(name, chain.jobs)), None)


class Action(StrEnum):
    """What a policy does about a failure."""

    RESUME = "resume"
    """Run again; an engine that left a checkpoint goes on from it."""
    MORE_TIME = "more_time"
    MORE_MEMORY = "more_memory"
    OTHER_NODE = "other_node"
    OTHER_ALGORITHM = "other_algorithm"
    """Run again; the engine takes the next electronic algorithm."""
    SMALLER_STEP = "smaller_step"
    """Run again; the engine takes half the ionic step."""
    NEVER = "never"
    """Wait for a person."""


class Policy(Frozen):
    """What to do about one class of failure."""

    action: Action
    factor: float = Field(default=1.5, ge=1.0)
    """By which time or memory grows."""
    at_most: int = Field(default=3, ge=0)
    """How often for one job."""
    why: str


class Recovery(Frozen):
    """``configs/recovery.yaml``: a policy for every class of failure."""

    source: str
    policies: dict[FailureClass, Policy]

    @field_validator("policies")
    @classmethod
    def _total(cls, value: dict[FailureClass, Policy]) -> dict[FailureClass, Policy]:
        missing = [one.value for one in FailureClass if one not in value]
        if missing:
            raise ValueError(f"no policy for {', '.join(missing)}")
        return value

    def resuming(self) -> Recovery:
        """Return the same for jobs that cannot ask for other resources: they are only run again."""
        larger = (Action.MORE_TIME, Action.MORE_MEMORY, Action.OTHER_NODE)
        policies = {
            kind: policy.model_copy(update={"action": Action.RESUME}) if policy.action in larger else policy
            for kind, policy in self.policies.items()
        }
        return self.model_copy(update={"policies": policies})
