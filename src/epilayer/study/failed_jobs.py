"""Why a job failed and what helps: the class of the failure, the lines of its logs, the command to type."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from epilayer.launch.base import Attempt
    from epilayer.study.workspace import Workspace

TAIL_LINES = 40
_TAIL_BYTES = 64 << 10
_LONGEST_LINE = 180
_MOST_LINES = 6
#: Besides an attempt's own logs: where the programs that it runs say what went wrong.
_PROGRAM_LOGS = ("vasp.out", "std_err.txt", "lobster.out")

REMEDIES = {
    "walltime": "Give it more time and rerun it: it goes on from its last checkpoint.",
    "out_of_memory": "Give it more memory, or fewer jobs at a time (workers in epilayer.yaml), and rerun it.",
    "node_failure": "Rerun it: the machine failed, not the job.",
    "preempted": "Rerun it: it was made to leave, and did nothing wrong.",
    "cancelled": "A person cancelled it at the scheduler: rerun it if it is still wanted.",
    "scf": "Look at the end of its log; a different mixing or more electronic steps may help, then rerun it.",
    "ionic": "Rerun it with more steps (--set max_steps=...), or from a better start.",
    "disk_full": "Free space, then rerun it.",
    "database": "See that the database answers (epilayer doctor), then rerun it.",
    "setup": "epilayer doctor names what is missing; then rerun it.",
    "crash": "Look at the end of stderr.log; rerun it once; if it dies again, run fewer at a time.",
    "lost": "Rerun it; if it is lost again, look at the log of the workers.",
    "input": "The input is at fault: correct it and submit again.",
    "code_error": "The program named its own error: look at its log, then rerun it with other settings.",
    "other": "Look at the end of stderr.log, which has the traceback, then rerun it.",
}
"""What helps, by class of failure, besides what the job itself says."""

_RESOURCES = {"walltime": " --with walltime=48:00:00", "out_of_memory": " --with memory=64G"}
"""What to ask the scheduler for, where the class of failure says that it was too little."""


def rerun_command(study: Workspace, number: int, failure: str) -> str:
    """Return what to type to run a failed job again, on a cluster with the resources that it lacked."""
    if study.cluster is not None:
        return f"epilayer rerun {number}{_RESOURCES.get(failure, '')}"
    return f"epilayer rerun {number} && epilayer run"


def telling_lines(attempt: Attempt) -> tuple[tuple[str, str], ...]:
    """Return the lines of an attempt's logs that name a failure, and the last of standard error.

    Returns
    -------
    tuple of (str, str)
        The name of the log, and the line; at most six.
    """
    from epilayer.launch.failures import by_text

    found: dict[str, str] = {}
    logs = (attempt.stderr, *(attempt.directory / name for name in _PROGRAM_LOGS), attempt.stdout)
    for path in logs:
        lines = [line.strip() for line in log_tail(path).splitlines() if line.strip()]
        # A traceback repeats the source; what was raised stands at its end.
        naming = [line for line in lines if by_text(line) and not line.startswith(("raise ", "File "))]
        if path == attempt.stderr and lines:
            naming = [*naming[-_MOST_LINES:], lines[-1]]
        for line in naming[-_MOST_LINES:]:
            found.setdefault(shortened(line), path.name)
    return tuple((name, line) for line, name in list(found.items())[:_MOST_LINES])


def shortened(text: str) -> str:
    """Return a line of a log, cut where it is too long to show."""
    return text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 1] + "…"


def log_tail(path: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, without reading all of a long one; nothing where there is none."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, 2)
            file.seek(max(0, length - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(deque(text.splitlines(), maxlen=lines))
