"""Outputs of VASP and LOBSTER, read as evidence: what they say, and what can be stood behind."""

from __future__ import annotations

from epilayer.outputs.bulk_import import import_directory, import_files, import_many
from epilayer.outputs.discover import find_calculations
from epilayer.outputs.lobster.cohpcar import CohpCurves, read_cohpcar
from epilayer.outputs.lobster.directory import find_bonds, read_bond_list, read_lobsterout
from epilayer.outputs.vasp.error_messages import TEXTS, errors_in
from epilayer.outputs.vasp.oszicar import read_oszicar
from epilayer.outputs.vasp.outcar import read_outcar
from epilayer.outputs.vasp.vasprun import Vasprun, VasprunStream, read_vasprun

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
