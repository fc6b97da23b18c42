"""The one error tree: every error names the thing, what is wrong with it, and the remedy.

The command line prints ``what`` and ``remedy`` on one line each and exits with ``exit_code``;
no error of ours is ever shown as a traceback unless ``--debug`` asks for it.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class EpilayerError(Exception):
    """An error that a person can act on.

    Parameters
    ----------
    what
        One sentence that names the thing and what is wrong with it.
    remedy
        One sentence that says what to do next.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        """Return the error and its remedy as one line."""
        return f"{self.what} {self.remedy}"


class InputError(EpilayerError):
    """What the user asked for, or a file they gave, cannot be used."""

    exit_code = 2


class InputWarning(UserWarning):
    """A file is read, and something that it states does not fit what was read."""


class UnknownNameError(InputError):
    """A name was given that is not among the known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], also: str = "") -> None:
        self.kind, self.name, self.known, self.also = kind, name, sorted(known), also
        super().__init__(f"Unknown {kind} {name!r}. {also}".rstrip(), suggest(name, self.known))

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str], str]]:
        """Survive the trip from a worker process."""
        return type(self), (self.kind, self.name, self.known, self.also)


class StructureError(InputError):
    """A crystal, slab, molecule or pose cannot be built, or is not physical."""


class EngineError(EpilayerError):
    """An engine is missing, misconfigured, or its calculation failed."""

    exit_code = 3


class SetupError(EngineError):
    """What a calculation needs is not installed, not licensed or not configured on this machine."""


class QueueError(EpilayerError):
    """The job queue cannot be read, written, or does not allow what was asked."""

    exit_code = 4


class StoreError(EpilayerError):
    """A document or results store cannot be read or written."""

    exit_code = 5


class NewerSchemaError(StoreError):
    """A file was written by a newer version of epilayer."""

    def __init__(self, path: str, found: int, supported: int) -> None:
        self.path, self.found, self.supported = path, found, supported
        super().__init__(
            f"{path} has schema version {found}, newer than {supported}, the newest this epilayer reads.",
            "Upgrade epilayer (pip install -U epilayer), or point to another study directory.",
        )

    def __reduce__(self) -> tuple[type[NewerSchemaError], tuple[str, int, int]]:
        """Survive the trip from a worker process."""
        return type(self), (self.path, self.found, self.supported)


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or list them.

    >>> suggest("triazol", ["triazole", "imidazole"])
    "Did you mean 'triazole'? Known: imidazole, triazole."
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    lead = f"Did you mean {close[0]!r}? " if close else ""
    return f"{lead}Known: {', '.join(names) if names else 'none'}."
