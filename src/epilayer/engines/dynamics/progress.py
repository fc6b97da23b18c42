"""How far a trajectory is while a program runs that keeps its steps to itself until its segment ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epilayer.model.dynamics import ABOUT

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNNING = "running.json"
"""In the trajectory's folder while such a program runs: where, and which step its first configuration is."""
_OSZICAR = "OSZICAR"
_STEP = b" T= "
"""In a line of OSZICAR that closes a step of dynamics."""


def runs_of(folder: Path) -> list[dict[str, Any]]:
    """Return what ran for a trajectory, one entry for each attempt of each segment.

    Each has its ``directory``, ``started_s``, ``first_step`` (the last step kept before it) and ``begins``.
    """
    try:
        runs: list[dict[str, Any]] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["runs"]
    except (FileNotFoundError, ValueError, KeyError):
        return []
    return runs


def computed_step(folder: Path) -> tuple[int, float]:
    """Return how far the program that runs for a trajectory is; what is stored is not looked at.

    Returns
    -------
    step : int
        Absolute; 0 where none runs.
    written_s : float
        When it was written, in seconds since the epoch; 0 where none runs.
    """
    try:
        run = json.loads((folder / RUNNING).read_text(encoding="utf-8"))
        written_s = Path(run["directory"], _OSZICAR).stat().st_mtime
    except (FileNotFoundError, ValueError):
        return 0, 0.0
    return max(last_step_of(run) or 0, 0), written_s


def last_step_of(run: Mapping[str, Any]) -> int | None:
    """Return the last absolute step that a run computed; ``None`` where it wrote none.

    Parameters
    ----------
    run
        Its ``directory``, and the step that its first configuration is (``begins``).
    """
    if run["begins"] is None:
        return None
    try:
        lines = Path(run["directory"], _OSZICAR).read_bytes().splitlines()
    except FileNotFoundError:
        return None
    return int(run["begins"]) + sum(_STEP in line for line in lines) - 1
