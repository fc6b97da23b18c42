"""Which GPAW answers on this machine, and what is missing where none does."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from epilayer.model.errors import SetupError

COMMAND_VARIABLE = "EPILAYER_GPAW"
DRIVER = Path(__file__).with_name("driver.py")
PACKAGES = (
    "apt-get install gcc libxc-dev libopenblas-dev libfftw3-dev libopenmpi-dev libscalapack-openmpi-dev"
)
INSTALL = (
    'python3 -m venv gpaw-env && gpaw-env/bin/pip install -U "setuptools>=77" numpy scipy "ase>=3.29" '
    "pybind11 gpaw-data && GPAW_CONFIG=gpaw_siteconfig.py gpaw-env/bin/pip install --no-build-isolation gpaw"
)


def command() -> list[str]:
    """Return the words that start GPAW's Python: ``EPILAYER_GPAW``, else the ``gpaw`` on the path.

    Raises
    ------
    SetupError
        If there is none, with the lines that install one.
    """
    stated = os.environ.get(COMMAND_VARIABLE, "")
    try:
        words = shlex.split(os.path.expandvars(stated))
    except ValueError as error:
        raise SetupError(
            f"{COMMAND_VARIABLE} = {stated!r} is no command ({error}).", "Correct its quotes."
        ) from error
    if not words and shutil.which("gpaw"):
        words = ["gpaw", "python"]
    if not words:
        raise SetupError(
            f"GPAW is not set up ({COMMAND_VARIABLE} is not set, and no gpaw is on the path).",
            f"Install it (docs/how-to/dft.md), then: export {COMMAND_VARIABLE}=$PWD/gpaw-env/bin/python",
        )
    if shutil.which(words[0]) is None:
        raise SetupError(
            f"{COMMAND_VARIABLE} = {stated!r}: there is no program {words[0]!r}.",
            f"Point it at GPAW's Python: export {COMMAND_VARIABLE}=$PWD/gpaw-env/bin/python",
        )
    return words
