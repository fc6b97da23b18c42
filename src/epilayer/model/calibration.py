"""A calibration of the bond strength index against LOBSTER's -ICOHP, for one kind of bond."""

from __future__ import annotations

from typing import Literal

from epilayer.model.base import Frozen
from epilayer.model.bonding import BondMeasure
from epilayer.model.kind import STAND_IN, Column, RecordKind, columns, picked
from epilayer.model.records import Status
from epilayer.model.units import Ang, Dimensionless, Ev


class CalibrationPair(Frozen):
    """One bond of one structure, measured by both.

    Attributes
    ----------
    run
        Directory of the LOBSTER run.
    icohp_ev
        -ICOHP summed over the spins: positive where the atoms are bound.
    functions
        What LOBSTER projected the two elements on.
    """

    run: str
    bond: str
    elements: tuple[str, str]
    length_ang: Ang
    index_ev: Ev
    icohp_ev: Ev
    functions: str


class BondCalibration(Frozen):
    """The dependence of -ICOHP on the index for bonds of one kind, or why it is refused.

    Attributes
    ----------
    bonds
        The kind of bond: two elements in alphabetical order, such as ``C-O``.
    slope, slope_low, slope_high
        Of -ICOHP against the index, with its 95 % interval (Student's t); ``None`` where it is refused.
    residual_ev
        Standard deviation of the pairs about the line.
    index_low_ev, index_high_ev
        Within them the line is known; outside it is not used.
    """

    kind: Literal["bond_calibration"] = "bond_calibration"
    bonds: str
    measure: BondMeasure
    program: str
    functions: str
    status: Status
    refusal: str | None
    pairs: tuple[CalibrationPair, ...]
    slope: Dimensionless | None
    slope_low: Dimensionless | None
    slope_high: Dimensionless | None
    intercept_ev: Ev | None
    residual_ev: Ev | None
    index_low_ev: Ev
    index_high_ev: Ev
    statement: str
    stand_in: bool
    code_version: str


BOND_CALIBRATION = RecordKind(
    name="bond_calibration",
    record=BondCalibration,
    about="how an index goes with ICOHP",
    asked=lambda r: picked(r, "bonds measure functions"),
    columns=columns(
        "bonds measure program functions status refusal pairs:int",
        Column("runs", int, lambda r: len({pair.run for pair in r.pairs})),
        "slope:float slope_low:float slope_high:float residual_ev statement",
        *STAND_IN,
    ),
    shown=("bonds", "pairs", "runs", "slope", "slope_low", "slope_high", "residual_ev", "refusal"),
    title="bond_calibration",
)
