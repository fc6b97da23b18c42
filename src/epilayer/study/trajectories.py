"""The trajectories of a study while they grow: how far each is, when it ends, and what looks wrong."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from epilayer.model.errors import InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from epilayer.analysis.live import Warned
    from epilayer.trajectory.store import Trajectory

FOLDER = "trajectories"
_SEGMENT = ", segment "
_PS_PER_FS = 1e-3
_DAY_S = 86400.0
_MOST_FRAMES = 400
"""Frames that the mean squared displacement is taken from."""
_RECENT_FRAMES = 20
_SILENT_STEPS = 20.0
_SILENT_S = 30.0


@dataclass(frozen=True)
class Pace:
    """How fast a trajectory grows, and how long the rest takes.

    Attributes
    ----------
    per_step_s
        Wall time of a step; ``None`` before the first step.
    left_s
        Until it is complete; ``None`` where the pace or the wanted steps are unknown.
    ends_s
        When it will be complete, in seconds since the epoch; ``None`` if it is, or this is unknown.
    """

    per_step_s: float | None
    left_s: float | None
    ends_s: float | None

    @property
    def left(self) -> str:
        """The remaining time for people; empty where it is unknown."""
        return "" if self.left_s is None else clock(self.left_s)

    @property
    def ends(self) -> str:
        """The time of day at which it ends, as ``about 14:05``; empty where it is unknown."""
        return "" if self.ends_s is None else f"about {_time_of_day(self.ends_s)}"


@dataclass(frozen=True)
class Progress:
    """How far a trajectory is.

    Attributes
    ----------
    file
        The stored frames.
    about
        What its engine wrote beside it about the segment that runs; empty for a trajectory from elsewhere.
    frames, atoms
        Stored frames, and atoms in each.
    step, steps
        Computed, including what a program has not handed in yet, and wanted.
    written_s
        When a step was last written, in seconds since the epoch.
    damage
        Why the file cannot be read; empty where it can.
    """

    file: Path
    about: Mapping[str, Any]
    frames: int
    atoms: int
    step: int
    time_step_fs: float | None
    written_s: float
    damage: str = ""

    @property
    def folder(self) -> Path:
        """The folder of the trajectory."""
        return self.file.parent

    @property
    def label(self) -> str:
        """The name of the job that computes it; empty where unknown."""
        return str(self.about.get("label") or "")

    @property
    def title(self) -> str:
        """The name of the whole trajectory: the label without its segment."""
        return self.label.rpartition(_SEGMENT)[0] or self.label

    @property
    def level(self) -> str:
        """The name of its level of theory; empty where unknown."""
        return str(self.about.get("level") or "")

    @property
    def steps(self) -> int | None:
        """How many steps are wanted; ``None`` where unknown."""
        wanted = self.about.get("settings", {}).get("steps")
        return None if wanted is None else int(wanted)

    @property
    def runs(self) -> tuple[dict[str, Any], ...]:
        """One for each attempt of each segment: its directory, when it began, and at which step."""
        return tuple(self.about.get("runs", ()))

    @property
    def complete(self) -> bool:
        """Whether it has all its steps."""
        return self.steps is not None and self.step >= self.steps

    @property
    def time_ps(self) -> float | None:
        """How much time is computed."""
        return self.ps(self.step)

    @property
    def wanted_ps(self) -> float | None:
        """How much time is wanted."""
        return None if self.steps is None else self.ps(self.steps)

    def ps(self, step: int) -> float | None:
        """Return how much time an absolute step is."""
        return None if self.time_step_fs is None else step * self.time_step_fs * _PS_PER_FS

    @property
    def pace(self) -> Pace:
        """The pace since the trajectory began, including the waits at the scheduler."""
        return self._pace(self.runs[0] if self.runs else {})

    @property
    def segment_pace(self) -> Pace:
        """The pace of the segment that runs."""
        return self._pace(self.about)

    def _pace(self, since: Mapping[str, Any]) -> Pace:
        made = self.step - int(since.get("first_step", 0))
        if "started_s" not in since or made <= 0:
            return Pace(None, None, None)
        per_step_s = max(self.written_s - float(since["started_s"]), 0.0) / made
        left_s = None if self.steps is None else max(self.steps - self.step, 0) * per_step_s
        ends_s = None if left_s is None or self.complete else time.time() + left_s
        return Pace(per_step_s, left_s, ends_s)


@dataclass(frozen=True)
class Motion:
    """What the stored frames show: temperatures in K, energies in eV, displacements in Angstrom^2 by name."""

    temperature_k: float | None
    mean_temperature_k: float | None
    wanted_temperature_k: float | None
    energy_ev: float | None
    energy_change_ev: float | None
    msd_ang2: Mapping[str, float]


@dataclass(frozen=True)
class Observation:
    """A trajectory at one moment: its progress, its motion (without a frame: none), and warnings."""

    progress: Progress
    motion: Motion | None
    silent_s: float
    """Time since a step was last written."""
    warnings: tuple[Warned, ...]

    def facts(self) -> list[tuple[str, str]]:
        """Return how far, how long and how warm it is, in words, by name."""
        so_far, pace, motion = self.progress, self.progress.segment_pace, self.motion
        found = [("run", f"{so_far.label}  ({so_far.level})")] if so_far.label else []
        found.append(("trajectory", str(so_far.file)))
        wanted = f" of {so_far.steps}" if so_far.steps else ""
        of_ps = "" if so_far.wanted_ps is None else f" of {so_far.wanted_ps:g}"
        time_ps = "" if so_far.time_ps is None else f", {so_far.time_ps:.3f}{of_ps} ps"
        frames = f"{so_far.frames} frames of {so_far.atoms} atoms"
        found.append(("step", f"{so_far.step}{wanted}{time_ps}, {frames}"))
        if so_far.complete:
            found.append(("time left", "none: complete"))
        elif pace.left_s is not None and pace.ends_s is not None:
            left = f"{pace.left} at {pace.per_step_s:.2g} s a step"
            found.append(("time left", f"{left}; ends {pace.ends}"))
        if motion is not None and motion.temperature_k is not None:
            aim = f", {motion.wanted_temperature_k:g} K wanted" if motion.wanted_temperature_k else ""
            mean = f"{motion.mean_temperature_k:.0f} K on average"
            found.append(("temperature", f"{motion.temperature_k:.0f} K now, {mean}{aim}"))
        if motion is not None and motion.energy_ev is not None:
            since = f"{motion.energy_change_ev:+.3f} eV since the start"
            found.append(("energy", f"{motion.energy_ev:.3f} eV, {since}"))
        return found


def files(root: Path) -> list[Path]:
    """Return the trajectories below a study's folder, the one that grew last at the end."""
    from epilayer.trajectory.log import TRAJECTORY

    return sorted((root / FOLDER).glob(f"*/{TRAJECTORY}"), key=lambda path: path.stat().st_mtime)


def chosen(root: Path, given: Path | None) -> Path:
    """Return the file of a trajectory: the given one, one in the given folder, or the one that grew last.

    Raises
    ------
    InputError
        If nothing is given and the study has none.
    """
    from epilayer.trajectory.log import TRAJECTORY

    if given is not None:
        return given / TRAJECTORY if given.is_dir() else given
    found = files(root)
    if not found:
        raise InputError(
            f"There is no trajectory in {root / FOLDER}.",
            "Start one (epilayer run met6_transport --quick), or name a file.",
        )
    return found[-1]


def named(root: Path, name: str) -> Path:
    """Return the file of the trajectory whose folder has this name.

    Raises
    ------
    InputError
        If the study has no such trajectory.
    """
    found = next((path for path in files(root) if path.parent.name == name), None)
    if found is None:
        raise InputError(f"There is no trajectory {name!r} in this study.", "List them: epilayer status")
    return found


def progress_of(file: Path) -> Progress:
    """Return how far a trajectory is, without reading its frames: quick enough for many of them.

    Raises
    ------
    StoreError
        If there is no trajectory, or it is damaged.
    """
    from epilayer.trajectory.store import Trajectory

    with Trajectory(file) as stored:
        return _progress(file, _about(file), stored)


def _listed(file: Path, about: Mapping[str, Any]) -> Progress:
    """Return how far one trajectory of many is; a damaged one stands among them without frames."""
    try:
        return progress_of(file)
    except StoreError as error:
        return replace(_progress(file, about, None), damage=error.what)


def _progress(file: Path, about: Mapping[str, Any], stored: Trajectory | None) -> Progress:
    from epilayer.engines.dynamics.progress import computed_step
    from epilayer.trajectory.tail import tail_path

    step = int(stored.frame(-1).steps[0]) if stored is not None and len(stored) else 0
    running, running_s = computed_step(file.parent)
    written = [path.stat().st_mtime for path in (file, tail_path(file)) if path.exists()]
    asked_fs = about.get("settings", {}).get("time_step_fs")
    return Progress(
        file=file,
        about=about,
        frames=0 if stored is None else len(stored),
        atoms=0 if stored is None else stored.header.n_atoms,
        step=max(step, running),
        time_step_fs=stored.header.time_step_fs if asked_fs is None and stored is not None else asked_fs,
        written_s=max([running_s, *written]),
    )


def newest(root: Path, most: int = 100) -> list[Progress]:
    """Return how far the trajectories below a study's folder are, the one that grew last first."""
    return [_listed(file, _about(file)) for file in files(root)[::-1][:most]]


def in_progress(root: Path) -> list[Progress]:
    """Return the trajectories that a study computes itself, the unfinished ones first."""
    from epilayer.model.dynamics import ABOUT  # late: it brings pymatgen
    from epilayer.trajectory.log import TRAJECTORY

    found = []
    for place in sorted((root / FOLDER).glob(f"*/{ABOUT}")):
        file = place.parent / TRAJECTORY
        about = _about(file)
        if not about.get("runs") or not {"steps", "time_step_fs"} <= set(about.get("settings", {})):
            continue
        found.append(_listed(file, about))
    return sorted(found, key=lambda one: (one.complete, one.title))


def observe(file: Path) -> Observation:
    """Return what a trajectory shows now.

    Raises
    ------
    StoreError
        If there is no trajectory, or it is damaged.
    """
    import numpy as np

    from epilayer.analysis.live import Temperatures, Warned, mobility, warnings_of
    from epilayer.trajectory.store import Trajectory, as_float

    about = _about(file)
    with Trajectory(file) as stored:
        frames, header = len(stored), stored.header
        progress = _progress(file, about, stored)
        silent_s, per_step_s = time.time() - progress.written_s, progress.segment_pace.per_step_s
        silent: list[Warned] = []
        longest_s = max(_SILENT_S, _SILENT_STEPS * (per_step_s or 0.0))
        if per_step_s is not None and not progress.complete and silent_s > longest_s:
            pace = f"at {per_step_s:.2g} s a step"
            silent.append(
                Warned("silent", f"Nothing was written for {silent_s:.0f} s, {pace}: has the run ended?")
            )
        if not frames:  # a program may keep its steps to itself until its segment ends
            return Observation(progress, None, silent_s, tuple(silent))
        recent = stored.read(max(0, frames - _RECENT_FRAMES), frames)
        positions = stored.positions(every=-(-frames // _MOST_FRAMES))
        temperatures, energies = stored.temperatures_k(), stored.energies_ev()
    cell = recent.cells_ang[-1]
    free = np.array(about.get("free") or [True] * header.n_atoms)
    to_ang = cell if header.coordinates == "fractional" else np.eye(3)
    wanted_k = about.get("settings", {}).get("temperature_k")
    warned = warnings_of(
        as_float(recent.positions, header.decimals) @ to_ang,
        positions[0] @ to_ang,
        cell,
        header.symbols,
        Temperatures(recent.temperatures_k, wanted_k, about.get("degrees_of_freedom")),
        free=free,
        molecules=about.get("molecules"),
    )
    known = temperatures[np.isfinite(temperatures)]
    motion = Motion(
        temperature_k=_finite(temperatures[-1]),
        mean_temperature_k=float(known.mean()) if len(known) else None,
        wanted_temperature_k=wanted_k,
        energy_ev=_finite(energies[-1]),
        energy_change_ev=_finite(energies[-1] - energies[0]),
        msd_ang2=mobility(positions, cell, header.coordinates, _names(header.symbols, about), free),
    )
    return Observation(progress, motion, silent_s, (*warned, *silent))


def _about(file: Path) -> dict[str, Any]:
    """Return what is being run; nothing for a trajectory from elsewhere."""
    from epilayer.model.dynamics import ABOUT

    try:
        about: dict[str, Any] = json.loads((file.parent / ABOUT).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return about


def _names(symbols: tuple[str, ...], about: Mapping[str, Any]) -> list[str]:
    """Return what each atom counts as: its molecule where known, else its element."""
    molecules, names = about.get("molecules"), about.get("names")
    if not molecules or not names:
        return list(symbols)
    return [
        name if number else f"{name} {symbol}"
        for name, number, symbol in zip(names, molecules, symbols, strict=True)
    ]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def clock(duration_s: float) -> str:
    """Return a duration for people.

    >>> clock(7384)
    '2 h 03 min'
    """
    hours, rest = divmod(round(duration_s), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {left:02d} s" if minutes else f"{left} s"


def _time_of_day(stamp_s: float) -> str:
    """Return a time of day, with the date where it is not within a day."""
    here = time.localtime(stamp_s)
    return time.strftime("%H:%M" if abs(stamp_s - time.time()) < _DAY_S else "%a %d %b %H:%M", here)
