"""The results as tables for Python: ``results.open(study).query("adsorption", "facet=100")``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from epilayer.model.errors import InputError
from epilayer.store.filters import parse_filter
from epilayer.store.records import record_of
from epilayer.store.results import open_results
from epilayer.study.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Self

    from epilayer.store.results import ResultsStore


class Results:
    """Results to be asked from Python; closes with its ``with`` block."""

    def __init__(self, store: ResultsStore) -> None:
        self._store = store

    def query(
        self,
        kind: str,
        *where: str,
        sort: str | None = None,
        limit: int | None = None,
        fields: Sequence[str] | None = None,
    ) -> Any:  # noqa: ANN401  (pandas is untyped)
        """Return the records that match every filter as :meth:`epilayer.study.study.Study.query` does."""
        import pandas as pd

        filters = [parse_filter(text) for text in where]
        found = self._store.query(kind, filters, sort=sort, limit=limit, fields=fields)
        rows = [{**r["fields"], "created": r["created"]} for r in found]
        return pd.DataFrame(rows, index=pd.Index([r["id"] for r in found], name="id"))

    def get(self, identity: str) -> Any:  # noqa: ANN401  (the type of its kind)
        """Return one record in its typed form, by its id or the beginning of it."""
        return record_of(self._store.get(identity))

    def kinds(self) -> dict[str, int]:
        """Return how many records there are of each kind."""
        return self._store.kinds()

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open(where: str | Path) -> Results:  # noqa: A001  (results.open reads as it should)
    """Open the results of a study by its folder, or by the path or address of a results store.

    Raises
    ------
    InputError
        If a path holds no results.
    """
    if "://" in str(where):
        return Results(open_results(where))
    path = Path(where)
    kept = Workspace.open(path).results_address if path.is_dir() else path
    if isinstance(kept, Path) and not kept.is_file():
        raise InputError(f"{path} holds no results.", "Give a study's folder, or its results file.")
    return Results(open_results(kept))
