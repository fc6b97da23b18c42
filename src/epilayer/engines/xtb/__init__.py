"""Extended tight binding: bond strength indices."""

from __future__ import annotations

from epilayer.model.moved import lazy_names

_HOMES = {"XtbBonds": "bond_indices", "XtbBondsMaker": "bond_indices"}


def __getattr__(name: str) -> object:
    return lazy_names(__name__, _HOMES, name)
