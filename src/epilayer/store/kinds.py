"""What the store knows about a kind of record: its type, its question, what it is searched and shown by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from epilayer.model.base import Frozen
    from epilayer.model.level import Scalar


@dataclass(frozen=True)
class Kind:
    """A kind of record.

    Parameters
    ----------
    record
        The type it is read back as.
    asked
        What was asked: the record's identity is its hash, so that computing it again replaces the
        record instead of doubling it.
    fields
        The flat fields that a query filters and sorts by.
    shown
        Those that a table shows unless told otherwise.
    """

    record: type[Frozen]
    asked: Callable[[Any], dict[str, Any]]
    fields: Callable[[Any], dict[str, Scalar]]
    shown: tuple[str, ...]
