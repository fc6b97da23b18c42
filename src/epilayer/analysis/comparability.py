"""Comparability: energies may be subtracted only if all settings that change them were the same.

Checked are the settings as executed, which each calculation's record states, never those that were asked for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from epilayer.model.records import Refusal, RefusalCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from epilayer.model.records import Calculation

_CHARGE_E = 1e-3
_EDIFF_SLACK = 1.0 + 1e-6


def level_refusals(
    subject: str, adslab: Calculation, slab: Calculation, molecule: Calculation
) -> list[Refusal]:
    """Return every reason why the levels of three legs are not comparable, each naming the setting.

    Parameters
    ----------
    subject
        What the refusals are about, such as the label of the pose.
    """
    found = [
        *_shared(slab, adslab),
        *_shared(molecule, adslab),
        *_elements(slab, adslab),
        *_elements(molecule, adslab),
        *_system(slab, adslab),
        *_charges(adslab, slab, molecule),
        *_identified(adslab, slab, molecule),
        *(what for leg in (adslab, slab, molecule) for what in _as_declared(leg)),
    ]
    return _refusals(subject, found, "compute all three legs at one level of theory")


def bulk_refusals(subject: str, slab: Calculation, bulk: Calculation) -> list[Refusal]:
    """Return every reason why a slab's energy is not comparable with its bulk's.

    Their k-meshes and dipole corrections differ by design; each must be what its level declares.
    """
    found = [*_shared(bulk, slab), *_elements(bulk, slab), *_identified(slab, bulk)]
    found += [what for leg in (slab, bulk) for what in _as_declared(leg)]
    return _refusals(subject, found, "compute slab and bulk at one level of theory")


def _refusals(subject: str, found: Iterable[str], remedy: str) -> list[Refusal]:
    return [
        Refusal(code=RefusalCode.LEVEL_MISMATCH, subject=subject, what=what, remedy=remedy)
        for what in dict.fromkeys(found)
    ]


def _shared(leg: Calculation, other: Calculation) -> Iterator[str]:
    """Return where a leg differs in what every leg shares."""
    if leg.level.fingerprint == other.level.fingerprint:
        return
    own = {"name", "elements", "system", "declared", "numerics"}
    mine, theirs = (c.level.model_dump(mode="json", exclude=own) for c in (leg, other))
    mine |= leg.level.numerics
    theirs |= other.level.numerics
    for key in sorted(set(mine) | set(theirs)):
        if mine.get(key) != theirs.get(key):
            yield f"{leg.label} was computed with {key} {mine.get(key)!r} instead of {theirs.get(key)!r}"


def _elements(leg: Calculation, other: Calculation) -> Iterator[str]:
    """Pseudopotential and U of each element that two legs share."""
    for element in sorted(set(leg.level.elements) & set(other.level.elements)):
        mine, theirs = leg.level.elements[element], other.level.elements[element]
        if mine != theirs:
            yield f"{leg.label} was computed with {element} as {mine} instead of {theirs}"


def _system(slab: Calculation, adslab: Calculation) -> Iterator[str]:
    """Compare what slab and adslab share besides the level (smearing: if it is no part of the level)."""
    for key in ("k_mesh", "dipole", "smearing"):
        mine, theirs = slab.level.system.get(key), adslab.level.system.get(key)
        if mine != theirs:
            yield f"{slab.label} was computed with {key} {mine!r} instead of {theirs!r}"


def _charges(adslab: Calculation, slab: Calculation, molecule: Calculation) -> Iterator[str]:
    charges = [c.level.system.get("charge_e") for c in (adslab, slab, molecule)]
    numbers = [float(c) for c in charges if isinstance(c, int | float)]
    if len(numbers) == len(charges) and abs(numbers[0] - numbers[1] - numbers[2]) > _CHARGE_E:
        rest = f"{numbers[1]:g} and {numbers[2]:g}"
        yield f"{adslab.label} has charge_e {numbers[0]:g}, slab and molecule {rest}"


def _identified(*legs: Calculation) -> Iterator[str]:
    """Return which elements no pseudopotential is recorded for, where any leg records them."""
    if not any(leg.level.elements for leg in legs):
        return
    for leg in legs:
        unnamed = sorted({site.specie.symbol for site in leg.structure} - set(leg.level.elements))
        if unnamed:
            yield f"{leg.label}: no pseudopotential is recorded for {', '.join(unnamed)}"
        for element, what in sorted(leg.level.elements.items()):
            if "unknown" in what:
                yield f"{leg.label}: the pseudopotential of {element} is not identified ({what})"


def _as_declared(leg: Calculation) -> Iterator[str]:
    """Return where a leg was not executed as its level declares for this kind of system."""
    for key, wanted in leg.level.declared.items():
        found = leg.level.system.get(key)
        if not _fits(key, found, wanted):
            yield f"{leg.label} was computed with {key} {found!r}, its level declares {wanted!r}"


def _fits(key: str, found: object, wanted: object) -> bool:
    numbers = isinstance(found, int | float) and isinstance(wanted, int | float)
    if key == "ediff_ev":  # tighter is fine: custodian corrects a line search so
        return numbers and 0 < float(found) <= float(wanted) * _EDIFF_SLACK  # type: ignore[arg-type]
    if key == "charge_e":
        return numbers and math.isclose(float(found), float(wanted), abs_tol=_CHARGE_E)  # type: ignore[arg-type]
    return found == wanted
