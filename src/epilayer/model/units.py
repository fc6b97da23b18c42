"""Units, stated twice: in a field's name (``vacuum_ang``) and in its type's metadata.

``Annotated`` metadata lets a schema, a table heading or a plot axis print the unit without
parsing the name; the suffix keeps it in sight where the value is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True)
class Unit:
    """The unit of a quantity, as a plain-text symbol."""

    symbol: str


Ev = Annotated[float, Unit("eV")]
EvPerAng = Annotated[float, Unit("eV/A")]
PositiveEvPerAng = Annotated[float, Field(gt=0), Unit("eV/A")]
EvPerAng2 = Annotated[float, Unit("eV/A^2")]
JPerM2 = Annotated[float, Unit("J/m^2")]
Ang = Annotated[float, Unit("A")]
PositiveAng = Annotated[float, Field(gt=0), Unit("A")]
Ang2 = Annotated[float, Unit("A^2")]
EAng = Annotated[float, Unit("e.A")]
Deg = Annotated[float, Unit("degree")]
Fs = Annotated[float, Unit("fs")]
PositiveFs = Annotated[float, Field(gt=0), Unit("fs")]
Ps = Annotated[float, Unit("ps")]
Kelvin = Annotated[float, Unit("K")]
PositiveKelvin = Annotated[float, Field(gt=0), Unit("K")]
Seconds = Annotated[float, Unit("s")]
MuB = Annotated[float, Unit("mu_B")]
Dimensionless = Annotated[float, Unit("1")]
Fraction = Annotated[float, Field(ge=0, le=1), Unit("1")]

K_B_EV_PER_K = 8.617333262e-5
"""Boltzmann's constant."""

SUFFIXES = {
    "_ev_per_ang2": "eV/Å²", "_ev_per_ang": "eV/Å", "_j_per_m2": "J/m²", "_cm2_per_s": "cm²/s",
    "_per_nm2": "1/nm²", "_per_fs": "1/fs", "_per_ang": "1/Å", "_mu_b": "μB", "_ang2": "Å²", "_ang": "Å",
    "_ev": "eV", "_fs": "fs", "_ps": "ps", "_k": "K", "_percent": "%", "_deg": "°", "_mb": "MB",
}  # fmt: skip
"""Units by the ending of a name, longest first."""


def unit_of(name: str) -> tuple[str, str]:
    """Return a name without the unit at its end, and the unit; empty without one.

    >>> unit_of("max_force_ev_per_ang")
    ('max_force', 'eV/Å')
    """
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(suffix), SUFFIXES.get(suffix, "")
