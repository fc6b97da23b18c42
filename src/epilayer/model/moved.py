"""Modules that moved: the one table by which stored jobs and documents find them, and keep their identity.

A stored job names its function and its engine by module. An old name is imported as the module that took its
place, and a job's identity (:mod:`epilayer.launch.identity`) goes on using the name under which it was first
known: finished work is found again, not computed anew.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.abc import Loader, MetaPathFinder
    from types import ModuleType

MOVED = {
    "epilayer.engines.band": "epilayer.engines.mlip.band",
    "epilayer.engines.calculators": "epilayer.engines.mlip.calculators",
    "epilayer.engines.imported_legs": "epilayer.engines.vasp.imported_legs",
    "epilayer.engines.integrators": "epilayer.engines.dynamics.integrators",
    "epilayer.engines.lobster": "epilayer.engines.lobster.engine",
    "epilayer.engines.md": "epilayer.engines.dynamics.md",
    "epilayer.engines.mlip": "epilayer.engines.mlip.engine",
    "epilayer.engines.segments": "epilayer.engines.dynamics.segments",
    "epilayer.engines.toy": "epilayer.engines.mlip.toy",
    "epilayer.engines.vasp": "epilayer.engines.vasp.engine",
    "epilayer.engines.vasp_segments": "epilayer.engines.vasp.segments",
    "epilayer.engines.xtb": "epilayer.engines.xtb.bond_indices",
}
"""The name by which documents know a module, and where it is now.

A name that is a package today (``epilayer.engines.vasp``) is not imported by way of this table; the package
itself offers what the module of that name held (:func:`lazy_names`).
"""

_FIRST_NAMES = {new: old for old, new in MOVED.items()}


def first_name(module: str) -> str:
    """Return the name under which a module was first known to stored documents."""
    return _FIRST_NAMES.get(module, module)


def lazy_names(package: str, homes: Mapping[str, str], name: str) -> object:
    """Return a name that a package offers from one of its modules, loaded on first use.

    Parameters
    ----------
    package
        The package that is asked.
    homes
        The module of each name, relative to the package.
    name
        What is asked for.

    Raises
    ------
    AttributeError
        If the package does not offer the name.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(import_module(f"{package}.{homes[name]}"), name)


class _Redirect:
    """Load the module that took the place of another (without importlib's base class: 25 ms a start)."""

    def __init__(self, new: str) -> None:
        self._new = new
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002
        module = import_module(self._new)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has put that of the old name there


class _Finder:
    """Find modules by the names they had."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        new = MOVED.get(fullname)
        return None if new is None else ModuleSpec(fullname, cast("Loader", _Redirect(new)))


def install() -> None:
    """Let Python find modules by the names they had; harmless when done twice."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(cast("MetaPathFinder", _Finder()))
