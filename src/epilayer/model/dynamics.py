"""Molecular dynamics in segments: what is asked, when a segment ends, and what it hands to the next."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field
from pymatgen.core import Structure

from epilayer.model.base import Frozen
from epilayer.model.level import LevelOfTheory, Sha256
from epilayer.model.records import Provenance
from epilayer.model.units import Ev, Kelvin, PositiveFs, Seconds, Unit

VELOCITIES = "velocities"
"""Site property of a structure: velocity of each atom, A/fs. A trajectory that starts from such a
structure keeps them; else they are drawn from the Maxwell-Boltzmann distribution with the seed."""

HELD = "selective_dynamics"
"""Site property of a structure: which directions of each atom may move. An atom is held whole or not."""

ABOUT = "about.json"
"""File in a trajectory's folder that says what is being run, for ``epilayer watch``."""


class Ensemble(StrEnum):
    """What is conserved."""

    NVT = "nvt"
    NVE = "nve"


class Thermostat(StrEnum):
    """How the temperature is kept; without meaning in the NVE ensemble.

    Attributes
    ----------
    NOSE_HOOVER
        Nose-Hoover chain (Martyna 1992, doi 10.1063/1.463940): deterministic.
    LANGEVIN
        Friction and noise (``friction_per_fs``), the state of the noise part of the checkpoint.
    """

    NOSE_HOOVER = "nose-hoover"
    LANGEVIN = "langevin"


class DynamicsSettings(Frozen):
    """Settings of one whole trajectory, however many segments it takes.

    Attributes
    ----------
    steps
        Length of the whole trajectory; steps count from 0, the start, and never begin anew.
    seed
        Of the velocities and of the thermostat's noise.
    friction_per_fs
        Of the Langevin thermostat.
    thermostat_period_fs
        Time scale of the Nose-Hoover chain.
    chain_length
        Number of thermostats in the chain.
    frame_every
        Steps between stored frames; the start is stored too.
    checkpoint_every
        Steps between checkpoints; at most so many are computed again after a kill.
    """

    temperature_k: Kelvin = 353.15
    time_step_fs: PositiveFs = 1.0
    steps: Annotated[int, Field(gt=0)] = 1000
    seed: int = 0
    ensemble: Ensemble = Ensemble.NVT
    thermostat: Thermostat = Thermostat.NOSE_HOOVER
    friction_per_fs: Annotated[float, Field(gt=0), Unit("1/fs")] = 0.01
    thermostat_period_fs: PositiveFs = 100.0
    chain_length: Annotated[int, Field(gt=0)] = 3
    frame_every: Annotated[int, Field(gt=0)] = 1
    checkpoint_every: Annotated[int, Field(gt=0)] = 50

    def frames_at(self, step: int) -> int:
        """Return how many frames a trajectory without gap or repetition holds at an absolute step."""
        return step // self.frame_every + 1


class SegmentLimit(Frozen):
    """When a segment ends, if the trajectory has not; a signal (USR1, TERM) ends it in any case.

    Attributes
    ----------
    steps
        Steps of this segment.
    wall_time_s
        Time from the start of the job; the segment ends early enough to write its checkpoint.
    """

    steps: Annotated[int, Field(gt=0)] | None = None
    wall_time_s: Annotated[float, Field(gt=0), Unit("s")] | None = None


class SegmentEnd(StrEnum):
    """Why a segment ended."""

    COMPLETE = "complete"
    """The trajectory has all its steps."""
    STEPS = "steps"
    WALL_TIME = "wall time"
    SIGNAL = "signal"


class FileReference(Frozen):
    """A file that a document refers to instead of holding it."""

    path: str
    sha256: Sha256
    size: int


class Segment(Frozen):
    """The outcome of one segment; the next one starts from it.

    Attributes
    ----------
    trajectory_id
        Identity of the whole trajectory: start, settings, level and job. A checkpoint of another is refused.
    directory
        Absolute path of the trajectory's folder, which all its segments share.
    number
        1 for the first segment.
    first_step, last_step
        Absolute steps; the segment computed those after the first up to the last.
    frames
        Frames in the stored trajectory now, all segments together; always ``settings.frames_at(last_step)``.
    structure
        The last configuration with its velocities (site property ``velocities``) and held atoms; VASP's
        velocities are those half a step on.
    degrees_of_freedom
        Of the atoms that move; the stored temperatures are 2 E_kin / (this x k_B).
    wall_time_s, cpu_time_s, computed_steps
        Of the attempt that ended the segment: a killed one before it took its own time.
    lost
        What the checkpoint's format could not carry over into this segment, one line each.
    resumed
        How this segment began: empty, or what it went on from after a kill.
    """

    kind: Literal["segment"] = "segment"
    label: str
    level: LevelOfTheory
    settings: DynamicsSettings
    trajectory_id: str
    directory: str
    number: int
    first_step: int
    last_step: int
    ended_by: SegmentEnd
    frames: int
    structure: Structure
    degrees_of_freedom: int
    energy_ev: Ev
    temperature_k: Kelvin
    checkpoint: FileReference
    trajectory: FileReference
    lost: tuple[str, ...] = ()
    resumed: str = ""
    wall_time_s: Seconds
    cpu_time_s: Seconds | None = None
    computed_steps: int | None = None
    peak_memory_mb: Annotated[float, Unit("MB")] | None = None
    provenance: Provenance

    @property
    def complete(self) -> bool:
        """Whether the trajectory has all its steps."""
        return self.last_step >= self.settings.steps
