"""From a level of theory and a structure to what GPAW is asked, and whether its moments are the level's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from epilayer.engines.vasp import inputs as vasp_inputs
from epilayer.model.errors import StructureError
from epilayer.model.failure import FailedRunError, Failure, FailureClass
from epilayer.model.vasp import SystemKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.model.gpaw import GpawSettings
    from epilayer.model.level import Scalar

_EIGENSTATES_EV2: Final = 1e-6
"""Squared residual an electron; 4e-8 takes 3 of 16 iterations more and moves 64 atoms of MgO by 1e-6 eV."""
_ORDERED_MU_B: Final = 0.5
"""From this start moment on, an atom belongs to the level's magnetic order."""
_KEPT: Final = 0.5
"""Such an atom keeps its sign and at least this part of its start moment."""


def request(
    settings: GpawSettings,
    hubbard_u_ev: Mapping[str, float],
    moments: Mapping[str, float],
    structure: Structure,
) -> dict[str, Any]:
    """Return what the driver is asked for one structure: parameters of the calculator, atoms, start moments.

    Raises
    ------
    StructureError
        If the dipole layer is asked for where the vacuum is not along the third lattice vector.
    """
    kind = vasp_inputs.system_kind(structure)
    rule = settings.systems[kind]
    start = vasp_inputs.start_moments(settings, moments, structure)
    spin = any(start)
    occupations: dict[str, Any] = {"name": "methfessel-paxton", "order": 0, "width": settings.smearing_ev}
    if spin and kind is SystemKind.MOLECULE:
        occupations["fixmagmom"] = True
    parameters: dict[str, Any] = {
        "mode": {"name": "pw", "ecut": settings.cutoff_ev},
        "xc": settings.functional,
        "kpts": {"size": list(rule.k_points.mesh(structure.lattice.abc)), "gamma": True},
        "occupations": occupations,
        "convergence": {
            "energy": settings.energy_tolerance_ev_per_electron,
            "density": settings.density_tolerance_e_per_electron,
            "eigenstates": _EIGENSTATES_EV2,
        },
        "maxiter": settings.max_iterations,
        "symmetry": {"point_group": False},
        "charge": float(structure.charge),
        "spinpol": spin,
        "setups": _setups(settings, hubbard_u_ev, structure),
    }
    if rule.dipole:
        if vasp_inputs.vacuum_axis(structure) != 2:  # noqa: PLR2004  (the third lattice vector)
            raise StructureError(
                "The level asks for a dipole layer along the third lattice vector, where no vacuum is.",
                "Turn the cell, or choose a level without a dipole layer.",
            )
        parameters["poissonsolver"] = {"dipolelayer": "xy"}
    return {
        "parameters": parameters,
        "symbols": [site.specie.symbol for site in structure],
        "positions_ang": (structure.cart_coords + offset_ang(settings, structure)).tolist(),
        "cell_ang": structure.lattice.matrix.tolist(),
        "pbc": [True, True, not rule.dipole],
        "moments_mu_b": start,
    }


def offset_ang(settings: GpawSettings, structure: Structure) -> NDArray[np.float64]:
    """Return the shift of each atom (A, shape (atoms, 3)) that brings a slab with a dipole layer mid-cell.

    It is one translation of the crystal, and whole lattice vectors for atoms that it takes across a face.
    """
    if not settings.systems[vasp_inputs.system_kind(structure)].dipole:
        return np.zeros((len(structure), 3))
    heights = structure.frac_coords[:, 2]
    shift = 0.5 - vasp_inputs.centre(structure)[2]
    frac = np.zeros((len(structure), 3))
    frac[:, 2] = shift - np.floor(heights + shift)
    offset: NDArray[np.float64] = frac @ structure.lattice.matrix
    return offset


def system_words(settings: GpawSettings, structure: Structure) -> dict[str, Scalar]:
    """Return what is computed of this kind of system, in the words of ``LevelOfTheory.system``."""
    kind = vasp_inputs.system_kind(structure)
    rule = settings.systems[kind]
    return {
        "k_mesh": vasp_inputs.mesh_label(rule.k_points.mesh(structure.lattice.abc), "Gamma"),
        "dipole": vasp_inputs.dipole_label(rule.dipole, 3),
        "charge_e": float(structure.charge),
        "system": kind.value,
    }


def element_words(hubbard_u_ev: Mapping[str, float], datasets: Mapping[str, str]) -> dict[str, str]:
    """Return per element which dataset and which U were computed with."""
    return {
        element: f"{dataset}; "
        + (f"U={hubbard_u_ev[element]:g} eV, Dudarev" if hubbard_u_ev.get(element) else "no U")
        for element, dataset in sorted(datasets.items())
    }


def lost_moment(start: Sequence[float], found: Sequence[float]) -> int | None:
    """Return the first atom whose moment turned, or fell below half of its start; ``None`` if none did.

    Parameters
    ----------
    start, found
        Moments (mu_B) per atom, as asked and as computed.
    """
    for k, (asked, got) in enumerate(zip(start, found, strict=True)):
        if abs(asked) >= _ORDERED_MU_B and got * np.sign(asked) < _KEPT * abs(asked):
            return k
    return None


def check_order(label: str, start: Sequence[float], found: Sequence[float]) -> None:
    """Refuse an electronic state whose moments are not those of the level's magnetic order.

    A loop may settle on a plateau above the ground state, with the moment of one ion lost or turned.

    Raises
    ------
    FailedRunError
        Naming the first such atom.
    """
    k = lost_moment(start, found)
    if k is not None:
        what = f"{label}: atom {k} has {found[k]:+.2f} mu_B, the level's order asks for {start[k]:+.2f}."
        remedy = "Rerun it; if it ends there again, state the moments of its atoms (site property magmom)."
        cause = "wrong_magnetic_state"
        raise FailedRunError(Failure(kind=FailureClass.SCF, cause=cause, what=what, remedy=remedy))


def _setups(
    settings: GpawSettings, hubbard_u_ev: Mapping[str, float], structure: Structure
) -> dict[str, str]:
    """Name the dataset of each element that has not the default one, with its U (not normalised)."""
    out = {}
    for element in structure.composition.elements:
        symbol, u_ev = element.symbol, hubbard_u_ev.get(element.symbol, 0.0)
        dataset = settings.datasets.get(symbol, "")
        shell = f":{element.block},{u_ev:g},0" if u_ev else ""
        if dataset or shell:
            out[symbol] = dataset + shell
    return out
