"""``epilayer cluster recipe``: have systemd or cron look after a study while nobody is logged in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from epilayer.cli.common import out, study
from epilayer.model.errors import InputError
from epilayer.study.names import Keeper

_MOST_MIN = 59


def recipe(
    keeper: Annotated[Keeper, typer.Argument(help="What shall start the launcher.")],
    *,
    every_min: Annotated[
        int, typer.Option("--every", min=1, max=_MOST_MIN, help="Minutes between two looks.")
    ] = 5,
    pilot_on: Annotated[
        str | None, typer.Option("--pilot", metavar="CLUSTER", help="Keep pilots there instead.")
    ] = None,
    pilots: Annotated[int, typer.Option("--pilots", min=1, help="How many pilots.")] = 1,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Worker processes of a pilot.")] = 1,
    write: Annotated[
        bool, typer.Option("--write", help="Write systemd's files to ~/.config/systemd/user.")
    ] = False,
) -> None:
    """Print what makes systemd or cron run `cluster launch` on a login node every few minutes.

    Each time the queue is brought into line with the scheduler, what failed is rerun by policy, and what is
    ready is submitted. Two at once do no harm.

    Example: [cyan]epilayer cluster recipe cron[/], [cyan]epilayer cluster recipe systemd --write[/]
    """
    from epilayer.study import recipe as recipes

    used = study()
    command = recipes.launch_command(used, pilot_on, pilots, workers)
    if not write:
        sys.stdout.write("\n".join(recipes.recipe(used, keeper, command, every_min).values()))
        return
    if keeper is Keeper.CRON:
        raise InputError("A crontab is not a file to be written.", "Paste the line: crontab -e")
    from epilayer.model.files import write_atomic

    folder = Path.home() / ".config" / "systemd" / "user"
    for name, text in recipes.recipe(used, keeper, command, every_min).items():
        out.print(f"Wrote {escape(str(write_atomic(folder / name, text)))}", soft_wrap=True)
    unit = recipes.unit_name(used)
    enable = f"systemctl --user daemon-reload && systemctl --user enable --now {unit}.timer"
    out.print(f"Next: [cyan]{enable}[/]", soft_wrap=True)
    out.print("      [cyan]loginctl enable-linger[/] keeps it going while you are logged out")
    out.print(f"Look: [cyan]journalctl --user -u {unit}[/]")
