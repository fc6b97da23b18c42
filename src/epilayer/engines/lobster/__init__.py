"""LOBSTER over VASP."""

from __future__ import annotations

from epilayer.model.moved import lazy_names

_HOMES = {"LobsterMaker": "engine"}


def __getattr__(name: str) -> object:
    return lazy_names(__name__, _HOMES, name)
