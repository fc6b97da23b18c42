"""Design the interface between a cathode and a solid electrolyte.

The package is imported lazily on purpose: ``import epilayer`` costs nothing, so that the
command line answers at once. Take what you need from the rooms, e.g.
``from epilayer.structures import slabs``.
"""

from epilayer.model.moved import install as _find_moved_modules

__version__ = "0.1.0"

_find_moved_modules()
