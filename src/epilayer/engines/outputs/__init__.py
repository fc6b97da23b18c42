"""Outputs of VASP and LOBSTER, read as evidence: what they say, and what can be stood behind."""

from __future__ import annotations

from epilayer.engines.outputs.batch import import_directory, import_files, import_many
from epilayer.engines.outputs.causes import TEXTS, errors_in
from epilayer.engines.outputs.cohpcar import CohpCurves, read_cohpcar
from epilayer.engines.outputs.discover import find_calculations
from epilayer.engines.outputs.lobster import find_bonds, read_bond_list, read_lobsterout
from epilayer.engines.outputs.oszicar import read_oszicar
from epilayer.engines.outputs.outcar import read_outcar
from epilayer.engines.outputs.vasprun import Vasprun, VasprunStream, read_vasprun

__all__ = [
    "TEXTS",
    "CohpCurves",
    "Vasprun",
    "VasprunStream",
    "errors_in",
    "find_bonds",
    "find_calculations",
    "import_directory",
    "import_files",
    "import_many",
    "read_bond_list",
    "read_cohpcar",
    "read_lobsterout",
    "read_oszicar",
    "read_outcar",
    "read_vasprun",
]
