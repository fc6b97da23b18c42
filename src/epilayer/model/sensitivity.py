"""How far an adsorption energy moves with each choice that a method leaves open."""

from __future__ import annotations

from typing import Literal

from epilayer.model.base import Frozen
from epilayer.model.kind import LEVEL_NAME, STAND_IN, Column, Number, RecordKind, columns, picked
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


def _largest(record: Sensitivity) -> ChoiceShift | None:
    return next((s for s in record.shifts if s.shift_ev is not None and s.in_band), None)


SENSITIVITY = RecordKind(
    name="sensitivity",
    record=Sensitivity,
    about="how far the open choices of the method move a value",
    asked=lambda r: {
        **picked(r, "code_version cathode facet termination ligand parameters level"),
        "choices": sorted((s.axis, s.choice) for s in r.shifts),
    },
    columns=columns(
        f"cathode facet termination ligand {LEVEL_NAME} base_ev low_ev high_ev",
        Column("largest_axis", of=lambda r: found.axis if (found := _largest(r)) else None),
        Column("largest_shift_ev", float, lambda r: found.shift_ev if (found := _largest(r)) else None),
        Column("refused", of=lambda r: [s.axis for s in r.shifts if s.value_ev is None]),
        Column("not_applicable", of=lambda r: list(r.not_applicable)),
        "complete:bool statement",
        *STAND_IN,
    ),
    shown=(
        "ligand", "facet", "level", "base_ev", "low_ev", "high_ev", "largest_axis", "largest_shift_ev",
    ),
    title="Choices behind {ligand} on ({facet})",
    number=Number(
        "base_ev", "eV", low="low_ev", high="high_ev", interval="{ends} eV over the choices of the method"
    ),
    definition="The same adsorption energy with one choice of the method changed at a time.",
    reported=False,
    drawings=("ranges",),
)  # fmt: skip
