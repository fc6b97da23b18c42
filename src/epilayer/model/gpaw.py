"""GPAW as data: what a level's ``gpaw:`` block may say, and what is computed at one geometry."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from epilayer.model.base import Frozen
from epilayer.model.units import EAng, Ev, EvPerAng, MuB
from epilayer.model.vasp import Element, HubbardTerm, KPoints, SystemKind


class GpawSystem(Frozen):
    """What one kind of system needs beside the level's own settings.

    Attributes
    ----------
    dipole
        Dipole layer along the third lattice vector, for slabs with one adsorption side.
    """

    k_points: KPoints
    dipole: bool = False


class GpawSettings(Frozen):
    """The ``gpaw:`` block of a level: plane waves and projector-augmented waves.

    Attributes
    ----------
    functional
        Exchange and correlation.
    cutoff_ev
        Kinetic energy of the highest plane wave.
    smearing_ev
        Width of the Gaussian occupations; energies are extrapolated to zero width.
    energy_tolerance_ev_per_electron, density_tolerance_e_per_electron
        Largest change over the last three iterations, and of the density, at convergence.
    max_iterations
        Of one electronic loop; a loop that needs more is an error.
    datasets
        PAW dataset by element where it is not the default one, such as ``{Na: "1"}``.
    hubbard
        ``none``, ``cathode`` (each cathode's own values), or values by element. Dudarev's form,
        doi 10.1103/PhysRevB.57.1505; occupations are not normalised to the augmentation sphere.
    moments, magnetic_order, default_moment_mu_b
        As in a VASP level: start moments by element or species, and their order.
    """

    functional: Literal["PBE", "PBEsol", "RPBE"] = "PBE"
    cutoff_ev: Annotated[Ev, Field(gt=0)]
    smearing_ev: Annotated[Ev, Field(gt=0)]
    energy_tolerance_ev_per_electron: Annotated[float, Field(gt=0, le=1e-5)]
    density_tolerance_e_per_electron: Annotated[float, Field(gt=0, le=1e-3)]
    max_iterations: Annotated[int, Field(gt=0)] = 150
    datasets: dict[Element, str] = Field(default_factory=dict)
    hubbard: Literal["none", "cathode"] | dict[Element, HubbardTerm] = "none"
    moments: dict[str, MuB] = Field(default_factory=dict)
    magnetic_order: Literal["ferro", "antiferro"] = "ferro"
    default_moment_mu_b: MuB = 0.0
    systems: dict[SystemKind, GpawSystem]

    @field_validator("systems")
    @classmethod
    def _every_kind(cls, systems: dict[SystemKind, GpawSystem]) -> dict[SystemKind, GpawSystem]:
        missing = [kind.value for kind in SystemKind if kind not in systems]
        if missing:
            raise ValueError(f"systems lacks {', '.join(missing)}")
        return systems


class IonicStep(Frozen):
    """What GPAW computed at one geometry, without dispersion.

    Attributes
    ----------
    positions_ang, forces_ev_per_ang
        Shape (atoms, 3).
    moments_mu_b
        Shape (atoms,), within the augmentation spheres.
    dipole_e_ang
        It means something along a direction without periodicity.
    datasets
        File name and MD5 of the PAW dataset of each element.
    versions
        Of GPAW and its libraries.
    """

    iterations: int
    positions_ang: tuple[tuple[float, float, float], ...]
    energy_ev: Ev
    forces_ev_per_ang: tuple[tuple[EvPerAng, EvPerAng, EvPerAng], ...]
    moments_mu_b: tuple[MuB, ...]
    total_moment_mu_b: MuB
    dipole_e_ang: tuple[EAng, EAng, EAng]
    datasets: dict[str, str]
    versions: dict[str, str]
