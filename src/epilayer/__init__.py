"""Design the interface between a cathode and a solid electrolyte.

A study is opened, submitted to, run and asked by ``from epilayer import Study``. It is loaded on first
use: ``import epilayer`` costs nothing, so that the command line answers at once.
"""

from typing import TYPE_CHECKING

from epilayer.model.moved import install as _find_moved_modules
from epilayer.model.moved import lazy_names as _lazy_names

if TYPE_CHECKING:
    from epilayer.study.study import Study

__all__ = ["Study", "__version__"]
__version__ = "0.1.0"

_find_moved_modules()


def __getattr__(name: str) -> object:
    return _lazy_names(__name__, {"Study": "study.study"}, name)
