"""A bash for tests whose ``epilayer`` and ``python`` start at once.

Both are forks of one process that has imported what every command needs, so that a page of commands costs
what they compute and not their imports. All else (pipes, quotes, ``&&``, exit codes, folders, signals) is
bash's.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

COLUMNS = "100"
"""Width of the terminal; Rich asks for it when its consoles are made, which the forks have done."""

SERVER = """
import json, os, runpy, select, signal, socket, sys
import ase.io, matplotlib.pyplot, pandas, pymatgen.core, rdkit.Chem, spglib, scipy.spatial
import atomate2.common.jobs, jobflow, typer
import epilayer.cli.root
from epilayer.cli import main

def work(header, descriptors):
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
    os.chdir(header["folder"])
    os.environ.clear()
    os.environ.update(header["environment"])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    sys.argv = header["arguments"]
    if sys.argv[0] == "python":
        sys.argv, sys.path[0] = sys.argv[1:], header["folder"]
        code = sys.argv[0] if sys.argv else "-"
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), {"__name__": "__main__"}) if code == "-" else (
            runpy.run_path(code, run_name="__main__"))
    else:
        main()

def serve(connection):
    text, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    header = json.loads(text)
    child = os.fork()
    if child == 0:
        connection.close()
        try:
            work(header, descriptors)
            code = 0
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
            if isinstance(left.code, str):
                print(left.code, file=sys.stderr)
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 1
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        os._exit(code)
    for descriptor in descriptors:
        os.close(descriptor)
    connection.sendall(f"{child}\\n".encode())
    _, status = os.waitpid(child, 0)
    try:
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\\n".encode())
    except OSError:
        pass

listening = socket.socket(fileno=int(sys.argv[1]))
sys.argv = ["epilayer"]
while True:
    waiting, _, _ = select.select([listening, sys.stdin], [], [])
    if sys.stdin in waiting:  # whoever started this is gone
        break
    connection, _ = listening.accept()
    if os.fork() == 0:  # one of these a command, so that a pipe of two commands runs both at once
        serve(connection)
        os._exit(0)
    connection.close()
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                break
        except ChildProcessError:
            break
"""

CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    header = {{"arguments": [os.path.basename(sys.argv[0]), *sys.argv[1:]], "folder": os.getcwd(),
              "environment": dict(os.environ)}}
    socket.send_fds(server, [json.dumps(header).encode()], [0, 1, 2])
    answers = server.makefile()
    child = int(answers.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: os.kill(child, received))
    code = int(answers.readline() or 1)
sys.exit(code if code >= 0 else 128 - code)
"""


@dataclass(frozen=True)
class Said:
    """What a command printed, both streams as they came, and its exit code."""

    code: int
    text: str


class Terminal:
    """A bash session: the folder and the exported variables stay from one command to the next."""

    def __init__(self, programs: Path, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = dict(environment) | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def run(self, command: str, *, until: str | None = None, timeout_s: float = 300.0) -> Said:
        """Run a command, or a script of several.

        Parameters
        ----------
        until
            Press Ctrl-C once a line with this text was printed.
        """
        read_end, write_end = os.pipe()
        script = f"{command}\ncode=$?\n{{ pwd; export -p; }} >&{write_end}\nexit $code"
        started = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[write_end],
            start_new_session=True,
        )
        os.close(write_end)
        watchdog = threading.Timer(timeout_s, os.killpg, (started.pid, signal.SIGTERM))
        watchdog.start()
        with started, os.fdopen(read_end, encoding="utf-8") as after:
            text = self._read(started, started.stdout, until)
            left = after.read()
        watchdog.cancel()
        self._remember(left)
        return Said(started.returncode, text)

    def python(self, code: str) -> Said:
        """Run a program from standard input."""
        return self.run(f"python - <<'END_OF_BLOCK'\n{code}\nEND_OF_BLOCK")

    @staticmethod
    def _read(started: subprocess.Popen[str], lines: IO[str] | None, until: str | None) -> str:
        text = ""
        for line in lines or ():
            text += line
            if until and until in line:
                with suppress(ProcessLookupError):
                    os.killpg(started.pid, signal.SIGINT)
        return text

    def _remember(self, left: str) -> None:
        if not left:
            return
        folder, _, exports = left.partition("\n")
        self.folder = Path(folder)
        printed = subprocess.run(
            ["bash", "-c", f"{exports}\nenv -0"], env={}, capture_output=True, text=True, check=True
        )
        pairs = (entry.partition("=") for entry in printed.stdout.split("\0") if entry)
        self.environment = {name: value for name, _, value in pairs if name not in {"_", "SHLVL", "OLDPWD"}}


class Programs:
    """The folder with the two programs, and the process that they are forks of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        address = str(folder / "socket")
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(address)
        listening.listen()
        for name in ("epilayer", "python"):
            file = folder / name
            file.write_text(CLIENT.format(python=sys.executable, address=address), encoding="utf-8")
            file.chmod(0o755)
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(listening.fileno())],
            pass_fds=[listening.fileno()],
            stdin=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "COLUMNS": COLUMNS},
            start_new_session=True,
        )
        listening.close()

    def terminal(self, folder: Path, **environment: str) -> Terminal:
        """Open a bash in a folder, with little else than these variables."""
        kept = {name: os.environ[name] for name in ("PYTHONPATH", "LANG") if name in os.environ}
        plain = {
            "HOME": str(folder),
            "COLUMNS": COLUMNS,
            "OMP_NUM_THREADS": "1",
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
        }
        return Terminal(self.folder, folder, kept | plain | environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.communicate()
