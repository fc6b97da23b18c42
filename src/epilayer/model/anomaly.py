"""What can go wrong with an adsorbed molecule while it relaxes, as typed findings."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import Field

from epilayer.model.base import Frozen

AnomalyKind = StrEnum(
    "AnomalyKind",
    "DESORBED DISSOCIATED REARRANGED SURFACE_CHANGED INTERCALATED HYDROGEN_TRANSFERRED RING_OPENED "
    "RING_FLATTENED RING_PUCKERED RING_LAID_DOWN LIGAND_ION_REPULSION",
)
"""What happened to a pose."""


#: Findings after which the pose still is the molecule, adsorbed on the surface it started on. They are
#: shown next to its energy; every other kind means that the energy is not an adsorption energy.
_NOTES: Final = frozenset({AnomalyKind.RING_LAID_DOWN, AnomalyKind.LIGAND_ION_REPULSION})


class Anomaly(Frozen):
    """One finding.

    Parameters
    ----------
    kind
        What happened.
    atoms
        Indices of the atoms concerned, in the adslab.
    what
        The atoms by name and what they did, e.g. ``"H81 went from N76 to O33"``.
    value, threshold
        The measure that decided, and its limit, in ``unit``.
    unit
        Unit symbol of both.
    remedy
        What to do about it.
    """

    kind: AnomalyKind
    atoms: tuple[int, ...]
    what: str = Field(min_length=1)
    value: float
    threshold: float
    unit: str
    remedy: str = Field(min_length=1)

    @property
    def disqualifies(self) -> bool:
        """Tell whether the pose's energy is no adsorption energy any more."""
        return self.kind not in _NOTES

    def __str__(self) -> str:
        """Return the finding as one line."""
        return f"{self.kind.value}: {self.what} ({self.value:.2f}, limit {self.threshold:.2f} {self.unit})"
