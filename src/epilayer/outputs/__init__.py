"""Outputs of VASP and LOBSTER, read as evidence: what they say, and what can be stood behind."""

from __future__ import annotations

from epilayer.model.moved import lazy_names

_HOMES = {
    "CohpCurves": "lobster.cohpcar",
    "TEXTS": "vasp.error_messages",
    "Vasprun": "vasp.vasprun",
    "VasprunStream": "vasp.vasprun",
    "errors_in": "vasp.error_messages",
    "find_bonds": "lobster.directory",
    "find_calculations": "discover",
    "import_directory": "bulk_import",
    "import_files": "bulk_import",
    "import_many": "bulk_import",
    "read_bond_list": "lobster.directory",
    "read_cohpcar": "lobster.cohpcar",
    "read_lobsterout": "lobster.directory",
    "read_oszicar": "vasp.oszicar",
    "read_outcar": "vasp.outcar",
    "read_vasprun": "vasp.vasprun",
}


def __getattr__(name: str) -> object:
    return lazy_names(__name__, _HOMES, name)
