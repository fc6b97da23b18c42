"""What makes systemd or cron start the launcher of a study while nobody is logged in."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from epilayer.study.cluster import profile_of, program_in
from epilayer.study.names import Keeper

if TYPE_CHECKING:
    from epilayer.study.workspace import Workspace

_SECRETS = "$HOME/.config/epilayer/environment"
_HANDED_OVER = ("SLURM_CONF", "PYTHONPATH")
"""Variables without which the commands that work here would not work there; none may be a secret."""


def launch_command(study: Workspace, pilot_on: str | None, pilots: int, workers: int) -> list[str]:
    """Return the words of the command to run, the program with its whole path.

    Parameters
    ----------
    pilot_on
        The cluster on which pilots are kept; ``None`` launches the jobs of the study's own cluster.
    pilots, workers
        How many pilots, and worker processes of each.
    """
    cluster, options = profile_of(study, pilot_on), []
    if pilot_on is not None:
        options = ["--pilot", pilot_on, "--pilots", str(pilots), "--workers", str(workers)]
    program, *rest = shlex.split(program_in(study, cluster))
    return [shutil.which(program) or program, *rest, "cluster", "launch", *options]


def unit_name(study: Workspace) -> str:
    """Return the name of the study's systemd units."""
    return f"epilayer-{hashlib.sha256(str(study.root).encode()).hexdigest()[:8]}"


def recipe(study: Workspace, keeper: Keeper, command: list[str], every_min: int) -> dict[str, str]:
    """Return the text of each file: systemd's service and timer, or the lines of a crontab.

    Parameters
    ----------
    command
        What to start, as :func:`launch_command` gives it.
    every_min
        Minutes between two starts.
    """
    environment = {name: os.environ[name] for name in _HANDED_OVER if os.environ.get(name)}
    environment["PATH"] = _path()
    values: dict[str, Any] = {"root": study.root, "every_min": every_min}
    match keeper:
        case Keeper.SYSTEMD:
            unit = unit_name(study)
            values |= {"unit": unit, "command": command, "environment": environment}
            return {
                f"{unit}.{kind}": _rendered(study.batch_text(f"launcher/epilayer.{kind}.j2"), **values)
                for kind in ("service", "timer")
            }
        case Keeper.CRON:
            line = _cron_line(study, command, environment)
            return {"crontab": _rendered(study.batch_text("launcher/crontab.j2"), **values, line=line)}
        case _:
            assert_never(keeper)


def _path() -> str:
    """Return a PATH with SLURM's commands: cron and systemd know only the system's own folders."""
    found = shutil.which("sbatch")
    return ":".join(dict.fromkeys([*([str(Path(found).parent)] if found else []), "/usr/bin", "/bin"]))


def _cron_line(study: Workspace, command: list[str], environment: dict[str, str]) -> str:
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    log = shlex.quote(str(study.root / "launch.log"))
    return (
        f'set -a; [ ! -r "{_SECRETS}" ] || . "{_SECRETS}"; cd {shlex.quote(str(study.root))} &&'
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
    r"""Return a text as a unit file quotes it.

    >>> _unit_value('/data/50% "done"')
    '/data/50%% \\"done\\"'
    """
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
