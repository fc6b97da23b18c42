"""Jobs of the fault drill, in a module of their own because batch jobs import them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from jobflow import job


def note(log: str, what: str) -> None:
    """Append a line; lines of several processes never mix."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(handle, f"{what} {os.getpid()}\n".encode())
    os.close(handle)


@job
def work(label: str, log: str, nap_s: float = 600.0, grab_mb: int = 0) -> str:
    """Be struck the first time: last long, or grab memory. Later times are quick."""
    marker = Path(f"{log}.{label}")
    first = not marker.exists()
    marker.touch()
    note(log, f"start {label}")
    if first:
        hoard = bytearray(grab_mb * 2**20)
        for at in range(0, len(hoard), 4096):
            hoard[at] = 1
        time.sleep(nap_s)
    note(log, f"end {label}")
    return label
