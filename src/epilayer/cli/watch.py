"""``epilayer watch``: a trajectory while it grows."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import JsonOption, out, print_json, study

if TYPE_CHECKING:
    from rich.console import RenderableType

    from epilayer.study.trajectories import Observation


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
    from epilayer.study.trajectories import chosen, observe

    path = chosen(study().root, trajectory)
    if as_json or once:
        seen = observe(path)
        if as_json:
            print_json(_json(seen))
        else:
            out.print(_picture(seen))
        return
    from rich.live import Live

    with Live(console=out, refresh_per_second=4) as live:
        while True:
            seen = observe(path)
            live.update(_picture(seen))
            if seen.progress.complete:
                return
            time.sleep(every_s)


def _picture(seen: Observation) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    for name, text in seen.facts():
        grid.add_row(name, escape(text))
    if seen.motion is None:
        return grid
    for k, (name, value) in enumerate(seen.motion.msd_ang2.items()):
        grid.add_row("MSD so far" if k == 0 else "", f"{value:8.4f} A^2  {escape(name)}")
    for warned in seen.warnings:
        grid.add_row("[bold red]warning[/]", f"[red]{warned.kind}[/]: {escape(warned.text)}")
    if not seen.warnings:
        grid.add_row("warnings", "[green]none[/]")
    return grid


def _json(seen: Observation) -> dict[str, Any]:
    so_far, pace = seen.progress, seen.progress.segment_pace
    return {
        "trajectory": str(so_far.file),
        "label": so_far.label or None,
        "level": so_far.level or None,
        "frames": so_far.frames,
        "atoms": so_far.atoms,
        "steps_wanted": so_far.steps,
        "step": so_far.step,
        "time_ps": so_far.time_ps,
        "wanted_ps": so_far.wanted_ps,
        "complete": so_far.complete,
        "warnings": [dataclasses.asdict(one) for one in seen.warnings],
        "seconds_per_step": pace.per_step_s,
        "time_left_s": pace.left_s,
        "ends_s": pace.ends_s,
        "silent_s": seen.silent_s,
        **(dataclasses.asdict(seen.motion) if seen.motion is not None else {}),
    }
