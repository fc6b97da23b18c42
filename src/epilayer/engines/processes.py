"""Programs that an engine starts must not outlive the job that started them."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def end_children() -> None:
    """End the programs that custodian started: each leads a session of its own, so nobody else would."""
    for listed in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for child in map(int, listed.read_text(encoding="ascii").split()):
            with contextlib.suppress(OSError):
                if os.getpgid(child) == child:
                    os.killpg(child, signal.SIGKILL)


def ask_to_stop(directory: Path) -> None:
    """Ask the VASP of a directory to stop after the ionic step it is in; others take no notice."""
    if (directory / "INCAR").exists():
        with contextlib.suppress(OSError):
            (directory / "STOPCAR").write_text("LSTOP = .TRUE.\n", encoding="ascii")
