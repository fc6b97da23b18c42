"""How far the trajectories of a study are: picoseconds done of how many, and when the rest will be there."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_SEGMENT = ", segment "
_DAY_S = 86400.0


@dataclass(frozen=True)
class Headway:
    """How far a trajectory is.

    Attributes
    ----------
    title, label
        Of the trajectory, and of the segment that ran last.
    step, steps
        Computed, what a program has not handed in yet included, and wanted.
    per_step_s
        From the trajectory's begin until its last step, waiting at the scheduler included; ``None`` before
        the first step.
    runs
        One for each attempt of each segment: its directory, when it began, and at which step.
    """

    path: Path
    title: str
    label: str
    level: str
    step: int
    steps: int
    time_step_fs: float
    per_step_s: float | None
    runs: tuple[dict[str, Any], ...]

    @property
    def complete(self) -> bool:
        """Whether it has all its steps."""
        return self.step >= self.steps

    @property
    def time_left_s(self) -> float | None:
        """How long the rest takes at the pace so far, waits included."""
        per_step_s = self.per_step_s
        return None if per_step_s is None else max(self.steps - self.step, 0) * per_step_s

    @property
    def ends_s(self) -> float | None:
        """When it will be complete, in seconds since the epoch; ``None`` if it is, or nothing tells."""
        left_s = self.time_left_s
        return None if self.complete or left_s is None else time.time() + left_s

    def ps(self, step: int) -> float:
        """Return how much time an absolute step is, in ps."""
        return step * self.time_step_fs * 1e-3

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "trajectory": str(self.path),
            "name": self.title,
            "level": self.level,
            "step": self.step,
            "steps": self.steps,
            "done_ps": self.ps(self.step),
            "wanted_ps": self.ps(self.steps),
            "complete": self.complete,
            "seconds_per_step": self.per_step_s,
            "time_left_s": self.time_left_s,
            "ends_s": self.ends_s,
        }


def trajectories(root: Path) -> list[Headway]:
    """Return the trajectories of a study that it computes itself, the unfinished ones first."""
    from epilayer.model.dynamics import ABOUT  # late: it brings pymatgen

    found = [headway(path.parent) for path in sorted((root / "trajectories").glob(f"*/{ABOUT}"))]
    known = [one for one in found if one is not None]
    return sorted(known, key=lambda one: (one.complete, one.title))


def headway(folder: Path) -> Headway | None:
    """Return how far the trajectory of a folder is; ``None`` where nothing says what it is to become."""
    from epilayer.engines.dynamics.progress import computed_step
    from epilayer.model.dynamics import ABOUT
    from epilayer.model.errors import StoreError
    from epilayer.trajectory.log import TRAJECTORY
    from epilayer.trajectory.store import Trajectory

    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        settings, runs = about["settings"], tuple(about["runs"])
    except (FileNotFoundError, KeyError, json.JSONDecodeError):
        return None
    step = 0
    try:
        with Trajectory(folder / TRAJECTORY) as stored:
            step = int(stored.frame(-1).steps[0]) if len(stored) else 0
    except StoreError:
        pass  # damaged: `epilayer watch` says how; what is left to do is not for this table to judge
    running, written_s = computed_step(folder)
    step = max(step, running)
    written_s = max([written_s, *(file.stat().st_mtime for file in folder.glob(f"{TRAJECTORY}*"))])
    begun_s, first = float(runs[0]["started_s"]), int(runs[0]["first_step"])
    made = step - first
    return Headway(
        path=folder,
        title=str(about["label"]).rpartition(_SEGMENT)[0] or str(about["label"]),
        label=str(about["label"]),
        level=str(about["level"]),
        step=step,
        steps=int(settings["steps"]),
        time_step_fs=float(settings["time_step_fs"]),
        per_step_s=max(written_s - begun_s, 0.0) / made if made > 0 else None,
        runs=runs,
    )


def table(found: list[Headway], running: Collection[str]) -> Table:
    """Return the trajectories as a table.

    Parameters
    ----------
    running
        Names of the jobs that run now.
    """
    shown = Table(box=None, pad_edge=False, title="trajectories", title_justify="left", title_style="bold")
    for heading in ("name", "done", "of", "", "now", "left", "ends"):
        shown.add_column(heading, justify="right" if heading in {"done", "of", "", "left"} else "left")
    for one in found:
        state = "[green]complete[/]" if one.complete else "runs" if one.label in running else "waits"
        left_s, ends_s = one.time_left_s, one.ends_s
        shown.add_row(
            escape(one.title),
            f"{one.ps(one.step):.3f} ps",
            f"{one.ps(one.steps):g} ps",
            f"{100 * one.step / one.steps:.0f} %",
            state,
            "" if ends_s is None or left_s is None else clock(left_s),
            "" if ends_s is None else f"about {moment(ends_s)}",
        )
    return shown


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


def moment(stamp_s: float) -> str:
    """Return a time of day, with the date where it is not within a day."""
    here = time.localtime(stamp_s)
    return time.strftime("%H:%M" if abs(stamp_s - time.time()) < _DAY_S else "%a %d %b %H:%M", here)
