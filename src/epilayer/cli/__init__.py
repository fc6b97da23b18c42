"""The command line: the composition root, where a study's queue, stores and engines are put together."""

from __future__ import annotations

import sys

from epilayer.model.errors import EpilayerError

INTERRUPTED = 130


def main() -> None:
    """Run ``epilayer``; every error of ours is one clear line with its remedy, and an exit code."""
    from epilayer.cli.common import report_error
    from epilayer.cli.root import app

    try:
        app()
    except EpilayerError as error:
        report_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Nothing is lost: the same command goes on from here.\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe (head, less) has left
        sys.stderr.close()
        sys.exit(0)


__all__ = ["main"]
