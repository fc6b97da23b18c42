"""Every kind of record, by name. To add one: its type and declaration in a module, and its line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer.model import (
    bonding,
    calibration,
    epitaxy,
    imported,
    ion_transport,
    records,
    sensitivity,
    surface,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from epilayer.model.kind import RecordKind
    from epilayer.model.level import Scalar

KINDS: dict[str, RecordKind] = {
    kind.name: kind
    for kind in (
        records.ADSORPTION,
        records.GROWTH,
        records.COMPETITION,
        surface.SURFACE,
        surface.WULFF,
        ion_transport.TRANSPORT,
        ion_transport.ARRHENIUS,
        calibration.BOND_CALIBRATION,
        bonding.BOND_STRENGTH,
        epitaxy.EPITAXY,
        sensitivity.SENSITIVITY,
        imported.CALCULATION,
        imported.IMPORTED_ADSORPTION,
    )
}


def as_shown(fields: Mapping[str, Scalar], kind: str) -> dict[str, Scalar]:
    """Return all columns of a record as they are shown."""
    return KINDS[kind].read(fields) if kind in KINDS else dict(fields)


def declared_names(kind: str) -> set[str]:
    """Return the columns that a kind declares; none for a kind that is not declared."""
    return {column.name for column in KINDS[kind].columns} if kind in KINDS else set()
