"""``epilayer cluster recipe``: have systemd or cron look after a study while nobody is logged in."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, assert_never

import typer
from rich.markup import escape

from epilayer.cli.common import out, study
from epilayer.cli.pilots import program_in
from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from epilayer import Study

_SECRETS = "$HOME/.config/epilayer/environment"
_MOST_MIN = 59
_HANDED_OVER = ("SLURM_CONF", "PYTHONPATH")
"""Variables without which the commands that work here would not work there; none may be a secret."""


class Keeper(StrEnum):
    """What starts the launcher."""

    SYSTEMD = "systemd"
    CRON = "cron"


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
    used = study()
    command = _command(used, pilot_on, pilots, workers)
    environment = {name: os.environ[name] for name in _HANDED_OVER if os.environ.get(name)}
    environment["PATH"] = _path()
    values: dict[str, Any] = {"root": used.root, "every_min": every_min}
    match keeper:
        case Keeper.SYSTEMD:
            unit = f"epilayer-{hashlib.sha256(str(used.root).encode()).hexdigest()[:8]}"
            values |= {"unit": unit, "command": command, "environment": environment}
            files = {
                f"{unit}.{kind}": _rendered(used.batch_text(f"launcher/epilayer.{kind}.j2"), **values)
                for kind in ("service", "timer")
            }
            if write:
                _write(files, unit)
            else:
                sys.stdout.write("\n".join(files.values()))
        case Keeper.CRON:
            if write:
                raise InputError("A crontab is not a file to be written.", "Paste the line: crontab -e")
            line = _cron_line(used, command, environment)
            sys.stdout.write(_rendered(used.batch_text("launcher/crontab.j2"), **values, line=line))
        case _:
            assert_never(keeper)


def _command(used: Study, pilot_on: str | None, pilots: int, workers: int) -> list[str]:
    """Return the words of the command to run, the program with its whole path."""
    if pilot_on is None:
        if used.cluster is None:
            raise InputError(
                "This study's queue is the embedded one.",
                "Name a cluster in epilayer.yaml (queue: NAME), or use pilots (--pilot NAME).",
            )
        cluster, options = used.cluster, []
    else:
        cluster = used.catalogue.cluster(pilot_on, pilot=True)
        options = ["--pilot", pilot_on, "--pilots", str(pilots), "--workers", str(workers)]
    program, *rest = shlex.split(program_in(used, cluster))
    return [shutil.which(program) or program, *rest, "cluster", "launch", *options]


def _path() -> str:
    """Return a PATH with SLURM's commands: cron and systemd know only the system's own folders."""
    found = shutil.which("sbatch")
    return ":".join(dict.fromkeys([*([str(Path(found).parent)] if found else []), "/usr/bin", "/bin"]))


def _cron_line(used: Study, command: list[str], environment: dict[str, str]) -> str:
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    log = shlex.quote(str(used.root / "launch.log"))
    return (
        f'set -a; [ ! -r "{_SECRETS}" ] || . "{_SECRETS}"; cd {shlex.quote(str(used.root))} &&'
        f" {settings} {shlex.join(command)} >>{log} 2>&1"
    )


def _rendered(template: str, **values: object) -> str:
    from jinja2 import Environment, StrictUndefined

    from epilayer import __version__

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    environment.filters |= {
        "unit_value": _unit_value,
        "unit_command": lambda words: " ".join(
            '"' + _unit_value(word).replace("$", "$$") + '"' for word in words
        ),
        "cron_line": lambda line: re.sub("%", r"\%", line),  # cron takes a bare % for the end of the line
    }
    return environment.from_string(template).render(version=__version__, **values)


def _unit_value(value: object) -> str:
    r"""Return a text as it stands in a unit file.

    >>> _unit_value('/data/50% "done"')
    '/data/50%% \\"done\\"'
    """
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def _write(files: dict[str, str], unit: str) -> None:
    from epilayer.model.files import write_atomic

    folder = Path.home() / ".config" / "systemd" / "user"
    for name, text in files.items():
        out.print(f"Wrote {escape(str(write_atomic(folder / name, text)))}", soft_wrap=True)
    enable = f"systemctl --user daemon-reload && systemctl --user enable --now {unit}.timer"
    out.print(f"Next: [cyan]{enable}[/]", soft_wrap=True)
    out.print("      [cyan]loginctl enable-linger[/] keeps it going while you are logged out")
    out.print(f"Look: [cyan]journalctl --user -u {unit}[/]")
