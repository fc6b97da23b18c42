"""Which process is which, and ending all that came of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from epilayer.launch import processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_a_process_is_known_by_its_start() -> None:
    started = processes.start_time(os.getpid())
    assert started > 0
    assert processes.alive(os.getpid(), started)
    assert not processes.alive(os.getpid(), started - 1)  # the id, but another process


def test_a_process_that_has_ended_is_not_alive_even_before_it_is_waited_for() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = processes.start_time(child.pid)
    assert processes.alive(child.pid, started)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert not processes.alive(child.pid, started)
    child.communicate()


def test_a_family_is_ended_across_sessions() -> None:
    token = f"test-{os.getpid()}"
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(['/bin/sleep', '600'], start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, processes.MARK: token},
        start_new_session=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert set(processes.family(token)) == {parent.pid, child}
    assert processes.end_family(token, parent.pid) == []
    assert processes.start_time(child) == 0
    parent.wait()
    parent.stdout.close()
    assert processes.end_family(token, parent.pid) == []


def test_a_worker_that_a_batch_script_began_is_ended_though_its_own_environment_has_no_mark() -> None:
    token = f"test-late-{os.getpid()}"
    script = f"import os; os.environ[{processes.MARK!r}] = {token!r}; print(flush=True); input()"
    worker = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    worker.stdout.readline()
    started = processes.start_time(worker.pid)
    assert processes.family(token) == []
    assert processes.end_family(token, worker.pid, started=started + 1) == []
    assert processes.alive(worker.pid, started)  # another process, which has its id
    assert processes.end_family(token, worker.pid, started=started) == []
    assert worker.wait(10) == -signal.SIGKILL
    worker.communicate()


def test_a_family_member_must_carry_the_whole_mark() -> None:
    assert processes.family("no-such-token") == []


def test_the_machine_has_a_host_a_boot_and_a_namespace() -> None:
    host, boot, namespace = processes.machine().split("|")
    assert host == processes.host()
    assert boot
    assert namespace.startswith("pid:")
