"""Serve MongoDB's protocol from SecantusDB on the loopback interface, for tests.

Usage: ``python mongo_server.py DATA_FOLDER RUN_FOLDER [--auth]``. Writes ``mongo.pid``, ``mongo.port`` and
``mongo.uri`` into the run folder; keeps the port of an earlier start, as a restarted server would. With
``--auth`` it has no users, and lets nobody in.

Version 0.7.0b3 does not hold a lock over find-and-modify, so that two clients that increment one counter
get the same number. MongoDB never does that, and everything above relies on it: commands that write take
one lock here.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from secantus import SecantusDBServer, commands

WRITES = {"insert", "update", "delete", "findAndModify", "findandmodify", "createIndexes", "bulkWrite"}


def locked(handler: Any, lock: threading.RLock) -> Any:  # noqa: ANN401 - a handler has no type of its own
    """Return a command handler that runs alone among those that write."""

    @functools.wraps(handler)
    def alone(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        with lock:
            return handler(*args, **kwargs)

    return alone


def main(data: Path, run: Path, *, auth: bool) -> None:
    """Serve until SIGTERM."""
    lock = threading.RLock()
    for name, handler in list(commands._HANDLERS.items()):  # noqa: SLF001 - there is no public place for it
        if name in WRITES:
            commands._HANDLERS[name] = locked(handler, lock)  # noqa: SLF001
    kept = run / "mongo.port"
    port = int(kept.read_text()) if kept.exists() else 0
    server = SecantusDBServer(
        host="127.0.0.1",
        port=port,
        storage_path=str(data),
        replica_set_name=None,
        sync_on_commit=True,
        require_auth=auth,
    )
    server.start()
    host, port = server.address
    kept.write_text(str(port))
    (run / "mongo.pid").write_text(str(os.getpid()))
    temporary = run / "mongo.uri.new"
    temporary.write_text(f"mongodb://{host}:{port}/")
    temporary.replace(run / "mongo.uri")
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    done.wait()
    server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), auth="--auth" in sys.argv[3:])
