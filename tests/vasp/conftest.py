"""A VASP that is set up for tests: the stand-in under both names, and synthetic pseudopotentials."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

STANDIN = Path(__file__).parents[1] / "standin"
write_potcars = runpy.run_path(str(STANDIN / "potcars.py"))["write_potcars"]


@pytest.fixture(scope="session")
def potcars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_potcars(tmp_path_factory.mktemp("psp"))


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bin")
    for name in ("vasp_std", "vasp_gam"):
        (folder / name).symlink_to(STANDIN / "vasp_standin.py")
    (folder / "lobster").symlink_to(STANDIN / "lobster_standin.py")
    return folder


@pytest.fixture
def vasp(monkeypatch: pytest.MonkeyPatch, potcars: Path, commands: Path) -> dict[str, str]:
    """Set up the stand-in in this process and, by the returned environment, in others."""
    import sys

    import atomate2
    import pymatgen.core

    environment = {
        "PMG_VASP_PSP_DIR": str(potcars),
        "ATOMATE2_VASP_CMD": str(commands / "vasp_std"),
        "ATOMATE2_VASP_GAMMA_CMD": str(commands / "vasp_gam"),
        "ATOMATE2_LOBSTER_CMD": str(commands / "lobster"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(pymatgen.core.SETTINGS, "PMG_VASP_PSP_DIR", str(potcars))
    monkeypatch.setattr(atomate2.SETTINGS, "VASP_CMD", environment["ATOMATE2_VASP_CMD"])
    monkeypatch.setattr(atomate2.SETTINGS, "VASP_GAMMA_CMD", environment["ATOMATE2_VASP_GAMMA_CMD"])
    monkeypatch.setattr(atomate2.SETTINGS, "LOBSTER_CMD", environment["ATOMATE2_LOBSTER_CMD"])
    return environment
