"""``epilayer watch``: a trajectory while it grows."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import JsonOption, out, print_json, study
from epilayer.model.errors import InputError
from epilayer.study.trajectories import clock, moment

if TYPE_CHECKING:
    from rich.console import RenderableType

    from epilayer.trajectory.store import Trajectory

FOLDER = "trajectories"
_MOST_FRAMES = 400
_RECENT = 20
_QUIET_STEPS = 20.0
_QUIET_S = 30.0


def watch(
    trajectory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TRAJECTORY]",
            help="Folder of a trajectory or its .h5 file; default: the one of this study that grew last.",
        ),
    ] = None,
    every_s: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between looks.")] = 2.0,
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once and leave.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a trajectory while it grows: temperature, energy, MSD so far, time left, and early warnings.

    Warnings: exploding, frozen, a guest that broke, a reaction, a run that has stopped growing.

    Example: [cyan]epilayer watch trajectories/1f0c33d8a2b14e55 --once --json[/]
    """
    path = _file(trajectory)
    if as_json or once:
        seen = look(path)
        if as_json:
            print_json(seen)
        else:
            out.print(_picture(seen))
        return
    from rich.live import Live

    with Live(console=out, refresh_per_second=4) as live:
        while True:
            seen = look(path)
            live.update(_picture(seen))
            if seen["complete"]:
                return
            time.sleep(every_s)


def glance(path: Path) -> dict[str, Any]:
    """Return how far a trajectory is, and no more: quick enough for many of them.

    Raises
    ------
    StoreError
        If there is no trajectory, or it is damaged.
    """
    from epilayer.trajectory.store import Trajectory

    with Trajectory(path) as stored:
        return _glance(path, _about(path), stored)


def _glance(path: Path, about: dict[str, Any], stored: Trajectory) -> dict[str, Any]:
    from epilayer.engines.dynamics.progress import computed_step

    wanted, step_fs = about.get("settings", {}).get("steps"), stored.header.time_step_fs
    step = int(stored.frame(-1).steps[0]) if len(stored) else 0
    step = max(step, computed_step(path.parent)[0])
    return {
        "trajectory": str(path),
        "label": about.get("label"),
        "level": about.get("level"),
        "frames": len(stored),
        "atoms": stored.header.n_atoms,
        "steps_wanted": wanted,
        "step": step,
        "time_ps": None if step_fs is None else step * step_fs * 1e-3,
        "wanted_ps": None if step_fs is None or wanted is None else wanted * step_fs * 1e-3,
        "complete": wanted is not None and step >= wanted,
        "warnings": [],
    }


def look(path: Path) -> dict[str, Any]:
    """Return what a trajectory shows now.

    Raises
    ------
    StoreError
        If there is no trajectory, or it is damaged.
    """
    import numpy as np

    from epilayer.analysis.live import mobility, warnings_of
    from epilayer.trajectory.store import Trajectory, as_float

    about = _about(path)
    settings = about.get("settings", {})
    with Trajectory(path) as stored:
        frames, header = len(stored), stored.header
        seen = _glance(path, about, stored)
        seen |= _pace(path, about, seen)
        if not frames:  # a program may keep its steps to itself until its segment ends
            return seen
        recent = stored.read(max(0, frames - _RECENT), frames)
        positions = stored.positions(every=-(-frames // _MOST_FRAMES))
        temperatures, energies = stored.temperatures_k(), stored.energies_ev()
        cell = recent.cells_ang[-1]
    free = np.array(about.get("free") or [True] * header.n_atoms)
    last = as_float(recent.positions, header.decimals)
    to_ang = cell if header.coordinates == "fractional" else np.eye(3)
    warned = warnings_of(
        last @ to_ang,
        positions[0] @ to_ang,
        cell,
        header.symbols,
        recent.temperatures_k,
        wanted_k=settings.get("temperature_k"),
        degrees_of_freedom=about.get("degrees_of_freedom"),
        free=free,
        molecules=about.get("molecules"),
    )
    names = _names(header.symbols, about)
    seen |= {
        "temperature_k": _finite(temperatures[-1]),
        "mean_temperature_k": _mean(temperatures),
        "wanted_temperature_k": settings.get("temperature_k"),
        "energy_ev": _finite(energies[-1]),
        "energy_change_ev": _finite(energies[-1] - energies[0]),
        "msd_ang2": mobility(positions, cell, header.coordinates, names, free),
        "warnings": [*({"kind": w.kind, "text": w.text} for w in warned), *seen["warnings"]],
    }
    return seen


def _pace(path: Path, about: dict[str, Any], seen: dict[str, Any]) -> dict[str, Any]:
    """Return the pace and the time left; add a warning where nothing was written for long."""
    from epilayer.engines.dynamics.progress import computed_step
    from epilayer.trajectory.tail import tail_path

    files = (path, tail_path(path))
    written = max(computed_step(path.parent)[1], *(p.stat().st_mtime for p in files if p.exists()))
    step, wanted, complete = seen["step"], seen["steps_wanted"], seen["complete"]
    per_step_s = None
    made = step - int(about.get("first_step", 0))
    if "started_s" in about and made > 0:
        per_step_s = max(written - float(about["started_s"]), 0.0) / made
    quiet_s = time.time() - written
    if per_step_s is not None and not complete and quiet_s > max(_QUIET_S, _QUIET_STEPS * per_step_s):
        text = f"Nothing was written for {quiet_s:.0f} s, at {per_step_s:.2g} s a step: has the run ended?"
        seen["warnings"].append({"kind": "silent", "text": text})
    left = None if per_step_s is None or wanted is None else max(wanted - step, 0) * per_step_s
    ends_s = None if left is None or complete else time.time() + left
    return {"seconds_per_step": per_step_s, "time_left_s": left, "ends_s": ends_s, "silent_s": quiet_s}


def _names(symbols: tuple[str, ...], about: dict[str, Any]) -> list[str]:
    """Return what each atom counts as: its molecule where known, else its element."""
    molecules, names = about.get("molecules"), about.get("names")
    if not molecules or not names:
        return list(symbols)
    return [
        name if number else f"{name} {symbol}"
        for name, number, symbol in zip(names, molecules, symbols, strict=True)
    ]


def _finite(value: float) -> float | None:
    import math

    return float(value) if math.isfinite(value) else None


def _mean(values: Any) -> float | None:  # noqa: ANN401  (an array; numpy is imported late)
    import numpy as np

    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _file(given: Path | None) -> Path:
    from epilayer.trajectory.log import TRAJECTORY

    if given is not None:
        return given / TRAJECTORY if given.is_dir() else given
    root = study().root
    found = trajectory_files(root)
    if not found:
        raise InputError(
            f"There is no trajectory in {root / FOLDER}.",
            "Start one (epilayer run met6_transport --quick), or name a file.",
        )
    return found[-1]


def trajectory_files(root: Path) -> list[Path]:
    """Return the trajectories of a study, the one that grew last at the end."""
    from epilayer.trajectory.log import TRAJECTORY

    return sorted((root / FOLDER).glob(f"*/{TRAJECTORY}"), key=lambda path: path.stat().st_mtime)


def _about(path: Path) -> dict[str, Any]:
    from epilayer.model.dynamics import ABOUT

    try:
        told: dict[str, Any] = json.loads((path.parent / ABOUT).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}  # a trajectory from elsewhere: what is being run is not known
    return told


def facts(seen: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what :func:`look` saw in words, by name: how far, how long, how warm."""
    told = [("run", f"{seen['label']}  ({seen['level']})")] if seen["label"] else []
    told.append(("trajectory", seen["trajectory"]))
    wanted = f" of {seen['steps_wanted']}" if seen["steps_wanted"] else ""
    of_ps = "" if seen["wanted_ps"] is None else f" of {seen['wanted_ps']:g}"
    time_ps = "" if seen["time_ps"] is None else f", {seen['time_ps']:.3f}{of_ps} ps"
    told.append(
        ("step", f"{seen['step']}{wanted}{time_ps}, {seen['frames']} frames of {seen['atoms']} atoms")
    )
    if seen["complete"]:
        told.append(("time left", "none: complete"))
    elif seen["time_left_s"] is not None:
        left = f"{clock(seen['time_left_s'])} at {seen['seconds_per_step']:.2g} s a step"
        told.append(("time left", f"{left}; ends about {moment(seen['ends_s'])}"))
    if not seen["frames"]:
        return told
    if seen["temperature_k"] is not None:
        asked = seen["wanted_temperature_k"]
        aim = f", {asked:g} K wanted" if asked else ""
        warm = f"{seen['temperature_k']:.0f} K now, {seen['mean_temperature_k']:.0f} K on average{aim}"
        told.append(("temperature", warm))
    if seen["energy_ev"] is not None:
        since = f"{seen['energy_ev']:.3f} eV, {seen['energy_change_ev']:+.3f} eV since the start"
        told.append(("energy", since))
    return told


def _picture(seen: dict[str, Any]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    for name, text in facts(seen):
        grid.add_row(name, escape(text))
    if not seen["frames"]:
        return grid
    for k, (name, value) in enumerate(seen["msd_ang2"].items()):
        grid.add_row("MSD so far" if k == 0 else "", f"{value:8.4f} A^2  {escape(name)}")
    for warned in seen["warnings"]:
        grid.add_row("[bold red]warning[/]", f"[red]{warned['kind']}[/]: {escape(warned['text'])}")
    if not seen["warnings"]:
        grid.add_row("warnings", "[green]none[/]")
    return grid
