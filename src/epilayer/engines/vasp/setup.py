"""Is VASP set up on this machine? Every fault is named with its exact fix, before anything runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from epilayer.model.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_FOLDERS = {
    "PBE": "POT_GGA_PAW_PBE",
    "PBE_52": "POT_GGA_PAW_PBE_52",
    "PBE_54": "POT_GGA_PAW_PBE_54",
    "PBE_64": "POT_PAW_PBE_64",
}
_EXAMPLES = {"VASP_CMD": "srun vasp_std", "VASP_GAMMA_CMD": "srun vasp_gam", "LOBSTER_CMD": "lobster"}


def check(potcars: Mapping[str, str], functional: str, *, gamma: bool = True) -> None:
    """Raise the first thing that keeps VASP from running.

    Parameters
    ----------
    potcars
        Dataset by element, of the elements that are to be computed.
    functional
        Family of the datasets, such as ``PBE_54``.
    gamma
        Whether a cell with one k-point is to be computed.

    Raises
    ------
    SetupError
        With the fix.
    """
    for _, problem in problems(potcars, functional, gamma=gamma):
        if problem is not None:
            raise problem


def problems(
    potcars: Mapping[str, str], functional: str, *, gamma: bool = True
) -> Iterator[tuple[str, SetupError | None]]:
    """Yield each thing that is checked, in words, and what is wrong with it."""
    from atomate2 import SETTINGS

    yield (
        f"VASP_CMD {SETTINGS.VASP_CMD!r}",
        _command(SETTINGS.VASP_CMD, "VASP_CMD") or _wrong_binary(SETTINGS.VASP_CMD, "VASP_CMD"),
    )
    if gamma:
        command = SETTINGS.VASP_GAMMA_CMD
        yield (
            f"VASP_GAMMA_CMD {command!r}",
            _command(command, "VASP_GAMMA_CMD") or _wrong_binary(command, "VASP_GAMMA_CMD"),
        )
    yield f"POTCARs ({functional})", potcar_problem(potcars, functional)


def check_lobster() -> None:
    """Raise what keeps LOBSTER from running.

    Raises
    ------
    SetupError
        With the fix.
    """
    problem = lobster_problem()
    if problem is not None:
        raise problem


def lobster_problem() -> SetupError | None:
    """Return what is wrong with LOBSTER's command, if anything."""
    from atomate2 import SETTINGS

    return _command(SETTINGS.LOBSTER_CMD, "LOBSTER_CMD")


def potcar_problem(potcars: Mapping[str, str], functional: str) -> SetupError | None:
    """Return what is wrong with the pseudopotentials, if anything: folder, missing ones, other functional."""
    from pymatgen.core import SETTINGS

    root = SETTINGS.get("PMG_VASP_PSP_DIR")
    if not root or not Path(root).is_dir():
        found = f"PMG_VASP_PSP_DIR is {root!r}, no folder" if root else "PMG_VASP_PSP_DIR is not set"
        return SetupError(
            f"No POTCARs are set up ({found}).",
            "Run once: pmg config -p <your licensed potpaw folder> <target> && "
            "pmg config --add PMG_VASP_PSP_DIR <target>.",
        )
    missing, foreign = [], []
    for element, symbol in sorted(potcars.items()):
        titel = _titel(symbol, functional)
        if titel is None:
            missing.append(symbol)
        elif not titel.startswith("PAW_PBE ") or titel.split()[1] != symbol:
            foreign.append(f"{element}: {titel}")
    if missing:
        return SetupError(
            f"POTCAR missing for {', '.join(missing)} ({functional}, looked in {root}).",
            f"Add them under {Path(root) / _FOLDERS[functional]}, or name others in vasp.potcars.",
        )
    if foreign:
        return SetupError(
            f"POTCAR of another functional or element: {'; '.join(foreign)}.",
            f"Put the PBE datasets of {functional} into {Path(root) / _FOLDERS[functional]}.",
        )
    return None


def available(potcars: Iterable[str], functional: str) -> bool:
    """Whether the datasets of all these symbols are there."""
    return all(_titel(symbol, functional) is not None for symbol in potcars)


def _titel(symbol: str, functional: str) -> str | None:
    from pymatgen.io.vasp.inputs import PotcarSingle

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            single = PotcarSingle.from_symbol_and_functional(symbol, functional)
        except (OSError, ValueError, KeyError, RuntimeError):
            return None
    found = re.search(r"TITEL\s*=\s*(.*\S)", single.data)
    return found[1] if found else ""


def _wrong_binary(command: str, name: str) -> SetupError | None:
    """Return what is wrong with the build of VASP that a command names."""
    program = _program(command)
    remedy = f"Point it at the right one: export ATOMATE2_{name}='{_EXAMPLES[name]}'."
    if name == "VASP_CMD" and "gam" in program:
        return SetupError(
            f"{name} names a Gamma-only binary ({command}), which cannot compute the slabs.", remedy
        )
    if "ncl" in program:
        return SetupError(f"{name} names the non-collinear binary ({command}).", remedy)
    return None


def _program(command: str) -> str:
    try:
        words = shlex.split(os.path.expandvars(command))
    except ValueError:
        return ""
    return Path(words[-1]).name if words else ""


def _command(command: str, name: str) -> SetupError | None:
    remedy = f"Set it: export ATOMATE2_{name}='{_EXAMPLES[name]}' (or {name} in ~/.atomate2.yaml)."
    try:
        words = shlex.split(os.path.expandvars(command))
    except ValueError as error:
        return SetupError(f"{name} = {command!r} is no command ({error}).", remedy)
    if not words:
        return SetupError(f"{name} is empty.", remedy)
    for word in (words[0], words[-1]):  # the launcher, and the program it starts
        if shutil.which(word) is None:
            return SetupError(f"{name} = {command!r}: there is no program {word!r}.", remedy)
    return None
