"""GPAW: density-functional theory without a licence, in a process of its own."""

from __future__ import annotations

from epilayer.model.moved import lazy_names

_HOMES = {"GpawEngine": "engine", "GpawMaker": "engine"}


def __getattr__(name: str) -> object:
    return lazy_names(__name__, _HOMES, name)
