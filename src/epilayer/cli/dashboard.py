"""``epilayer dashboard``: the study in a browser of this machine."""

from __future__ import annotations

import importlib.util
import secrets
import socket
import threading
import webbrowser
from typing import Annotated

import typer

from epilayer.cli.common import err, out, study
from epilayer.model.errors import EpilayerError, InputError


def dashboard(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0: the system assigns one.")
    ] = 0,
    *,
    allow_actions: Annotated[
        bool, typer.Option("--allow-actions", help="Let the page rerun, cancel, pause and resume.")
    ] = False,
    private: Annotated[
        bool,
        typer.Option("--private", help="Ask for the token to read, too: for a machine with other users."),
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address; open nothing.")
    ] = False,
) -> None:
    """Show campaigns, jobs and results in a browser of this machine; read-only by default.

    It listens on 127.0.0.1 alone. Ctrl-C ends it.

    Example: [cyan]epilayer dashboard --no-browser[/]
    """
    missing = [n for n in ("starlette", "uvicorn") if importlib.util.find_spec(n) is None]
    if missing:
        raise EpilayerError(
            f"The dashboard needs {' and '.join(missing)}.", "Install it: pip install 'epilayer[dashboard]'"
        )
    import uvicorn

    from epilayer.dashboard.app import create_app

    used = study()
    with err.status("Reading the study ..."):
        used.harvest()
    listening = _listen(port)
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(24) if allow_actions or private else None
    app = create_app(used, port=port, token=token, private=private, acts=allow_actions)
    address = f"http://127.0.0.1:{port}/" + (f"?token={token}" if token else "")
    out.print(f"Dashboard of {used.root.name}: {address}", soft_wrap=True, markup=False)
    out.print("May act: keep this address to yourself." if allow_actions else "Read-only.", "Ctrl-C ends it.")
    if not no_browser:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    # No access log: an address may hold the token.
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", lifespan="off"))
    with listening:
        server.run(sockets=[listening])


def _listen(port: int) -> socket.socket:
    """Return a socket on the loopback address alone."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise InputError(
            f"Port {port} cannot be used ({error.strerror}).",
            "Leave --port out: the system finds a free one.",
        ) from error
    return listening
