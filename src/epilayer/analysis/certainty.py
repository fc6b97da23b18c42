"""Certified or provisional: what an adsorption energy may be off by, and what is still open.

Four parts, each measured: numerical (convergence), search, reference (clean slab) and model (the level of
theory against published interaction energies). A part that is open keeps the value provisional.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from epilayer.model.level import EngineKind
from epilayer.model.records import Refusal, RefusalCode, Status, Uncertainty

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from epilayer.model.benchmark import ModelError, Standard
    from epilayer.model.records import AdsorptionEnergy

#: With fewer cases of one chemistry a predictive interval says more about luck than about the level.
FEWEST_CASES: Final = 5
#: Largest force on an atom that is held, in a crystal that is at rest at the level.
MAX_HELD_FORCE_EV_PER_ANG: Final = 0.05
_TAIL: Final = 0.975
_S_BLOCK: Final = frozenset(["Li", "Be", "Na", "Mg", "K", "Ca", "Rb", "Sr", "Cs", "Ba"])


def judged(record: AdsorptionEnergy, standard: Standard) -> AdsorptionEnergy:
    """Return the record with its four parts, their interval, and its badge.

    A refused record is returned as it is. Any other is certified only if the search is done, the clean slab
    is tested, the level is benchmarked for this contact, and the interval is as narrow as the question needs.

    Parameters
    ----------
    standard
        The errors of the level, and the half-width that the question needs.
    """
    if record.status is Status.REFUSED or record.adsorption_energy_ev is None:
        return record
    contact = contact_elements(record.closest_contact)
    covered = _covering(standard.model_error, contact, record)
    everything = [] if standard.model_error is None else _errors(standard.model_error)
    uncertainty = interval(
        record.adsorption_energy_ev,
        numerical_ev=record.uncertainty_ev or 0.0,
        search_ev=_search_ev(record),
        reference_ev=None,
        model_ev=half_width_ev(covered or everything),
    )
    found = [*_search(record), *_reference(record), *_model(standard.model_error, covered, contact, record)]
    half_ev = (uncertainty.high_ev - uncertainty.low_ev) / 2
    if not found and half_ev > standard.needed_ev:
        found.append(
            Refusal(
                code=RefusalCode.INTERVAL_TOO_WIDE,
                subject="interval",
                what=f"interval wider than {standard.needed_ev:.2f} eV",
                remedy="use a level with a smaller error for this contact (epilayer list model_errors)",
            )
        )
    return record.model_copy(
        update={
            "status": Status.PROVISIONAL if found else Status.CERTIFIED,
            "uncertainty": uncertainty,
            "open_points": tuple(found),
        }
    )


def interval(
    value_ev: float,
    *,
    numerical_ev: float,
    search_ev: float | None,
    reference_ev: float | None,
    model_ev: float | None,
) -> Uncertainty:
    """Return the parts and the interval of their sum in quadrature; ``search_ev`` counts downwards only.

    >>> found = interval(-1.0, numerical_ev=0.03, search_ev=None, reference_ev=None, model_ev=0.04)
    >>> round(found.low_ev, 3), round(found.high_ev, 3)
    (-1.05, -0.95)
    """
    both_ways = math.hypot(numerical_ev, reference_ev or 0.0, model_ev or 0.0)
    return Uncertainty(
        numerical_ev=numerical_ev,
        search_ev=search_ev,
        reference_ev=reference_ev,
        model_ev=model_ev,
        low_ev=value_ev - math.hypot(both_ways, search_ev or 0.0),
        high_ev=value_ev + both_ways,
    )


def half_width_ev(errors_ev: Sequence[float]) -> float | None:
    """Return the half-width within which the next error lies with 95 %; ``None`` with too few errors.

    Errors are taken as normal about zero, so that a bias counts as error: Student's t with as many degrees of
    freedom as errors, times their root mean square.

    >>> half_width_ev([0.1, -0.1, 0.1, -0.1, 0.1])
    0.257...
    """
    from scipy.stats import t

    if len(errors_ev) < FEWEST_CASES:
        return None
    square = sum(e * e for e in errors_ev) / len(errors_ev)
    return float(t.ppf(_TAIL, len(errors_ev)) * math.sqrt(square))


def contact_elements(label: str) -> str:
    """Return the elements of a closest contact, the molecule's first.

    >>> contact_elements("N76-Na12")
    'N-Na'
    """
    return "-".join(re.findall(r"[A-Z][a-z]?", label)[:2])


def same_chemistry(case: str, contact: str, *, kind: EngineKind) -> bool:
    """Whether an error in one contact says something of another.

    A density functional has no training set: to it the s-block cations, closed-shell and ionic, are one
    chemistry. A potential knows the elements that it was trained on: the same two have to touch.
    """
    one, other = case.split("-"), contact.split("-")
    if one == other:
        return True
    return kind is EngineKind.DFT and {one[-1], other[-1]} <= _S_BLOCK


def _covering(error: ModelError | None, contact: str, record: AdsorptionEnergy) -> list[float]:
    """Return the errors in the chemistry of a record; none where they are too few to judge by."""
    if error is None or not error.holds_for(record.level):
        return []
    kind = record.level.kind
    found = [c.error_ev for c in error.cases.values() if same_chemistry(c.contact, contact, kind=kind)]
    return found if len(found) >= FEWEST_CASES else []


def _errors(error: ModelError) -> list[float]:
    return [case.error_ev for case in error.cases.values()]


def _search_ev(record: AdsorptionEnergy) -> float | None:
    own = record.search is not None and "minimum_found_with" not in record.parameters
    return record.search.half_loss_ev if own and record.search is not None else None


def _search(record: AdsorptionEnergy) -> Iterable[Refusal]:
    other = record.parameters.get("minimum_found_with")
    if other is not None:
        yield _open(
            RefusalCode.SEARCH_OPEN,
            f"minimum taken from {other}",
            f"search at this level (--level {record.level.name} --set thorough=true)",
        )
    elif record.search is None or not record.search.done:
        chance = "" if record.search is None else f", {record.search.missed_probability:.0%} missed"
        yield _open(RefusalCode.SEARCH_OPEN, f"search open{chance}", "search on (--set thorough=true)")


def _reference(record: AdsorptionEnergy) -> Iterable[Refusal]:
    slab = next(leg for leg in record.legs if leg.role == "slab")
    force = slab.max_held_force_ev_per_ang
    if force is not None and force > MAX_HELD_FORCE_EV_PER_ANG:
        yield _open(
            RefusalCode.REFERENCE_OPEN,
            f"held atoms: forces {force:.1f} eV/A",
            "cut the slab from a crystal that is relaxed at this level",
        )
    if slab.left_sites:
        yield _open(
            RefusalCode.REFERENCE_OPEN,
            f"clean slab: {slab.left_sites[0].replace(' ', ' moved ', 1)}",
            "begin from the relaxed slab, or report a reconstruction",
        )
    yield _open(
        RefusalCode.REFERENCE_OPEN,
        "slab thickness not tested",
        "compute the pair on a thicker slab of the same termination and compare",
    )


def _model(
    error: ModelError | None, covered: Sequence[float], contact: str, record: AdsorptionEnergy
) -> Iterable[Refusal]:
    if covered:
        return
    remedy = "compute it at a DFT level (epilayer list levels), such as --level paper+u+d3"
    if record.level.kind is EngineKind.DFT:
        remedy = "benchmark the level for this contact (epilayer benchmark --help)"
    known = "level without benchmark" if error is None else f"no benchmark for {contact} contacts"
    yield _open(RefusalCode.MODEL_OPEN, known, remedy)


def _open(code: RefusalCode, what: str, remedy: str) -> Refusal:
    return Refusal(code=code, subject=code.split("_", maxsplit=1)[0].lower(), what=what, remedy=remedy)
