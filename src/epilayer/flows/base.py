"""What every study shares: what it looks up by name, how it refuses a list, and how its jobs are marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jobflow import Job
    from pymatgen.core import Structure

    from epilayer.engines.base import Engine
    from epilayer.model.benchmark import ModelError
    from epilayer.model.cathode import Cathode
    from epilayer.model.ligand import Ligand
    from epilayer.model.mof import Mof

RECORD = "record"
"""Job metadata key: the job's output is a record for the results store, of the kind it names."""


class Inputs(Protocol):
    """What a study looks up by name; the catalogue of :mod:`epilayer.study.config` is one."""

    def cathode(self, name: str) -> Cathode:
        """Return a cathode."""

    def ligand(self, name: str) -> Ligand:
        """Return a molecule or ion."""

    def mof(self, name: str) -> Mof:
        """Return a framework."""

    def structure(self, file: str) -> Structure:
        """Return the structure in a file."""

    def names(self, kind: str) -> Mapping[str, Path]:
        """Return the names of one kind."""

    def engine(self, level_name: str, cathode: Cathode | None = None, **convergence: float) -> Engine:
        """Return the engine of a level of theory."""

    def model_error(self, level_name: str) -> ModelError | None:
        """Return the errors of a level in a benchmark; ``None`` where it was never benchmarked."""


def each_once(kind: str, values: Sequence[str] | Sequence[float]) -> None:
    """Refuse an empty list, and one in which something stands twice.

    Raises
    ------
    InputError
        Naming the ``kind``, such as ``"facet"``.
    """
    if not values:
        raise InputError(f"The study names no {kind}.", f"Name at least one {kind}.")
    twice = next((value for k, value in enumerate(values) if value in values[:k]), None)
    if twice is not None:
        shown = repr(twice) if isinstance(twice, str) else f"{twice:g}"
        raise InputError(f"The study names the {kind} {shown} twice.", f"Name each {kind} once.")


def mark(made: Job, name: str, record: str | None = None) -> Job:
    """Name a job and return it; with ``record`` its output goes to the results store as one of that kind."""
    made.name = name
    if record is not None:
        # Not for the jobs that it may make: whichever replaces it takes its metadata over.
        made.update_metadata({RECORD: record}, dynamic=False)
    return made
