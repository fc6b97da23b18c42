"""maggma's MongoDB stores, with names that may be printed.

Theirs show the whole address, password included, in ``name``, which logs and JobStore print.
"""

from __future__ import annotations

from maggma.stores import GridFSStore, MongoStore

from epilayer.store.addresses import without_password


class QuietMongoStore(MongoStore):  # type: ignore[misc]  # maggma is untyped
    """A MongoStore whose name hides the password."""

    @property
    def name(self) -> str:
        """Where the documents are."""
        return without_password(super().name)


class QuietGridFSStore(GridFSStore):  # type: ignore[misc]  # maggma is untyped
    """A GridFSStore whose name hides the password."""

    @property
    def name(self) -> str:
        """Where the objects are."""
        return without_password(super().name)
