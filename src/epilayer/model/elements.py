"""Groups of elements that several rooms name."""

from __future__ import annotations

from typing import Final

ALKALI: Final = ("Li", "Na", "K", "Rb", "Cs")
"""Mobile cations of batteries."""
METALS: Final = frozenset(
    (*ALKALI, "Be", "Mg", "Ca", "Sr", "Ba", "Al", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn")
).union("Ga Y Zr Nb Mo Ru Rh Pd Ag Cd In Sn La Ce Hf Ta W".split())  # noqa: SIM905  (a list is longer)
OPEN_SHELL: Final = ("V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Mo")
"""Elements whose d electrons a semilocal functional delocalises too much in oxides and fluorides."""
