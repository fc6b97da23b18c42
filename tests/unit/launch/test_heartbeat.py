"""Signs of life: their age by the file system's clock, and the end of a worker whose job is another's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from epilayer.launch import heartbeat, processes
from epilayer.launch.heartbeat import Sign

if TYPE_CHECKING:
    from pathlib import Path


def test_a_sign_has_an_age_while_it_is_given(tmp_path: Path) -> None:
    theirs, mine = Sign(tmp_path, "slurm-1-x"), Sign(tmp_path, "slurm-1-x")
    assert mine.age_s() is None
    theirs.give()
    age_s = mine.age_s()
    assert age_s is not None
    assert 0 <= age_s < heartbeat.SILENCE_S
    os.utime(theirs.path, (0, 0))
    assert (mine.age_s() or 0) > heartbeat.SILENCE_S
    theirs.give_up()
    assert mine.age_s() is None


@pytest.mark.skipif(sys.platform != "linux", reason="finds what a worker started in /proc")
def test_a_worker_that_finds_its_job_taken_over_ends_itself_and_what_it_started(tmp_path: Path) -> None:
    token = f"slurm-{os.getpid()}-sign"
    script = (
        "import os, pathlib, subprocess, sys, time\n"
        "from epilayer.launch import heartbeat, processes\n"
        "heartbeat.EVERY_S = 0.05\n"
        "runs, token = sys.argv[1:]\n"
        "os.environ[processes.MARK] = token\n"
        "program = subprocess.Popen(['/bin/sleep', '600'], start_new_session=True)\n"
        "heartbeat.Sign(pathlib.Path(runs), token).give()\n"
        "print(program.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), token], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    program = int(worker.stdout.readline())
    assert processes.start_time(program)
    Sign(tmp_path, token).take_over()
    assert worker.wait(20) == -signal.SIGKILL
    worker.stdout.close()
    assert processes.start_time(program) == 0
