"""The command line: the composition root, where a study's queue, stores and engines are put together."""

from __future__ import annotations

import errno
import sys
import warnings

from epilayer.model.errors import EpilayerError, InputWarning

INTERRUPTED = 130
SYSTEM_EXIT = 7


#: Warnings of libraries about what is done here on purpose: jobs of a study that do not wait for one another,
#: and ions whose charge is stated while their atoms carry no oxidation states.
_KNOWN_AND_MEANT = ("Some jobs are not connected", "Structure charge .* is set to be not equal")


def main() -> None:
    """Run ``epilayer``; every error of ours is one clear line with its remedy, and an exit code."""
    from epilayer.cli.common import report_error
    from epilayer.cli.root import app

    for message in _KNOWN_AND_MEANT:
        warnings.filterwarnings("ignore", message=message)
    warnings.formatwarning = _formatted
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
    except OSError as error:
        report_error(_of_system(error))
        sys.exit(SYSTEM_EXIT)


def _formatted(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    del line  # the source line of a warning helps nobody here
    where = "" if issubclass(category, InputWarning) else f"{filename}:{lineno}: {category.__name__}: "
    return f"Warning: {where}{message}\n"


def _of_system(error: OSError) -> EpilayerError:
    """Say what the operating system refused, and what a person can do about it."""
    named = f"{error.filename}: " if error.filename else ""
    remedies = {
        errno.ENOSPC: "Free some space, then give the same command again: nothing is lost.",
        errno.EDQUOT: "Free some of your quota, then give the same command again: nothing is lost.",
        errno.EACCES: "Make it readable and writable for you, or use another study: epilayer -C DIR.",
        errno.EPERM: "Make it readable and writable for you, or use another study: epilayer -C DIR.",
        errno.EROFS: "The disk is mounted read-only; use a study on a writable one: epilayer -C DIR.",
    }
    return EpilayerError(
        f"{named}{error.strerror or error}.",
        remedies.get(error.errno or 0, "Check the path; --debug shows the whole traceback."),
    )


__all__ = ["main"]
