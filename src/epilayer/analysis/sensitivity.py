"""From adsorption energies at levels that differ in one choice each to a band, and to what moves it most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer import __version__
from epilayer.model.errors import InputError
from epilayer.model.records import Status
from epilayer.model.sensitivity import ChoiceShift, Sensitivity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epilayer.model.level import Scalar
    from epilayer.model.records import AdsorptionEnergy


def sensitivity(
    base: AdsorptionEnergy,
    varied: Sequence[tuple[str, AdsorptionEnergy]],
    not_applicable: Mapping[str, str],
    parameters: Mapping[str, Scalar] | None = None,
) -> Sensitivity:
    """Return the band of one ligand on one facet.

    Parameters
    ----------
    base
        At the level that is varied.
    varied
        Axis, and the record in which that one choice differs.
    not_applicable
        Axes that were not varied, and why.

    Raises
    ------
    InputError
        If a record is of another facet.
    """
    shifts = [_shift(base, axis, record) for axis, record in varied]
    shifts.sort(key=lambda s: (not s.in_band, s.shift_ev is None, -abs(s.shift_ev or 0.0), s.axis, s.choice))
    counted = [s for s in shifts if s.in_band]
    base_ev = _value_ev(base)
    values = [v for v in (base_ev, *(s.value_ev for s in counted)) if v is not None]
    known = base_ev is not None
    low_ev, high_ev = (min(values), max(values)) if known else (None, None)
    return Sensitivity(
        cathode=base.cathode,
        facet=base.facet,
        termination=base.termination,
        ligand=base.ligand,
        level=base.level,
        base_ev=base_ev,
        base_refusal=_refusal(base),
        low_ev=low_ev,
        high_ev=high_ev,
        shifts=tuple(shifts),
        not_applicable=dict(not_applicable),
        complete=known and all(s.value_ev is not None for s in counted),
        statement=_statement(base_ev, low_ev, high_ev, shifts),
        stand_in=base.level.stand_in or any(record.level.stand_in for _, record in varied),
        code_version=__version__,
        parameters=dict(parameters or {}),
    )


def _shift(base: AdsorptionEnergy, axis: str, record: AdsorptionEnergy) -> ChoiceShift:
    if (record.cathode, record.facet, record.termination) != (base.cathode, base.facet, base.termination):
        raise InputError(
            f"{record.ligand} on {record.cathode} ({record.facet}) is another surface than "
            f"{base.cathode} ({base.facet}).",
            "Compare choices on one surface.",
        )
    value_ev, base_ev = _value_ev(record), _value_ev(base)
    both = value_ev is not None and base_ev is not None
    other_ligand = record.ligand != base.ligand
    return ChoiceShift(
        axis=axis,
        choice=record.ligand if other_ligand else record.level.name,
        value_ev=value_ev,
        shift_ev=value_ev - base_ev if both and value_ev is not None and base_ev is not None else None,
        in_band=not other_ligand,
        refusal=_refusal(record),
    )


def _value_ev(record: AdsorptionEnergy) -> float | None:
    return None if record.status is Status.REFUSED else record.adsorption_energy_ev


def _refusal(record: AdsorptionEnergy) -> str:
    return record.refusals[0].what if record.refusals else ""


def _statement(
    base_ev: float | None, low_ev: float | None, high_ev: float | None, shifts: Sequence[ChoiceShift]
) -> str:
    if base_ev is None or low_ev is None or high_ev is None:
        return "No band: the value at the base level is refused."
    text = (
        f"E_ads lies between {low_ev:.2f} and {high_ev:.2f} eV over the choices ({base_ev:.2f} at the base)"
    )
    moved = [s for s in shifts if s.shift_ev is not None and s.in_band]
    if moved and moved[0].shift_ev is not None:
        text += f"; {moved[0].axis} moves it most ({moved[0].shift_ev:+.2f} eV)"
    refused = [s.axis for s in shifts if s.value_ev is None and s.in_band]
    return text + (f"; refused: {', '.join(refused)}." if refused else ".")
