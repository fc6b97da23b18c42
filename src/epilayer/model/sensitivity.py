"""How far an adsorption energy moves with each choice that a method leaves open."""

from __future__ import annotations

from typing import Literal

from epilayer.model.base import Frozen
from epilayer.model.level import LevelOfTheory, Scalar
from epilayer.model.units import Ev


class ChoiceShift(Frozen):
    """One choice changed, all others kept.

    Attributes
    ----------
    axis
        What was chosen: U, D3, dipole, spin order, ligand or engine.
    choice
        Level of theory, or ligand, that stands for the other choice.
    shift_ev
        Its adsorption energy minus the base's; ``None`` where either is refused.
    in_band
        Whether it widens the band: an energy of a charged cell does not, since it depends on the vacuum.
    refusal
        Why there is no value; empty with one.
    """

    axis: str
    choice: str
    value_ev: Ev | None
    shift_ev: Ev | None
    in_band: bool = True
    refusal: str = ""


class Sensitivity(Frozen):
    """The band that an adsorption energy lies in over the choices that its method leaves open.

    Attributes
    ----------
    low_ev, high_ev
        Over the base and every choice in the band that has a value; ``None`` where the base is refused.
    shifts
        The largest first, then refused ones, then those outside the band.
    not_applicable
        Axes that this engine cannot vary, and why.
    complete
        Whether every choice in the band has a value: else the band may be wider.
    """

    kind: Literal["sensitivity"] = "sensitivity"
    cathode: str
    facet: str
    termination: str
    ligand: str
    level: LevelOfTheory
    base_ev: Ev | None
    base_refusal: str
    low_ev: Ev | None
    high_ev: Ev | None
    shifts: tuple[ChoiceShift, ...]
    not_applicable: dict[str, str]
    complete: bool
    statement: str
    stand_in: bool
    code_version: str
    parameters: dict[str, Scalar]
