"""Competing adsorption: which of several molecules holds a facet the harder, and whether that is certain.

Two molecules are compared level by level, since most of a level's error is common to both. The order is
certain only where every level, with and without its dispersion correction, gives the same one by more
than the numerical uncertainties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer import __version__
from epilayer.model.records import CompetingAdsorption, Competitor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epilayer.model.level import Scalar
    from epilayer.model.records import AdsorptionEnergy


def competing_adsorption(
    records: Sequence[AdsorptionEnergy], parameters: Mapping[str, Scalar] | None = None
) -> CompetingAdsorption:
    """Rank molecules on one facet by how hard a single molecule holds, out of vacuum.

    Concentrations, solvation and the room that a molecule takes are no part of it.

    Parameters
    ----------
    records
        Adsorption energies of several molecules on one termination; one or several levels.
    parameters
        Settings of the search, kept in the record.

    Raises
    ------
    ValueError
        Without records, or with records of several terminations, or twice the same.
    """
    places = {(r.cathode, r.facet, r.termination) for r in records}
    asked = [(r.ligand, r.level.name) for r in records]
    if len(places) != 1 or len(set(asked)) != len(asked):
        message = f"competing adsorption is about one surface and each molecule once a level, not {places}"
        raise ValueError(message)
    ((cathode, facet, termination),) = places
    values: dict[str, dict[str, tuple[float, float] | None]] = {}
    for record in records:
        values.setdefault(record.ligand, {}).update(_values(record))
    competitors = tuple(
        sorted(
            (_competitor(name, values) for name in values), key=lambda c: (c.low_ev is None, c.low_ev or 0.0)
        )
    )
    return CompetingAdsorption(
        cathode=cathode,
        facet=facet,
        termination=termination,
        competitors=competitors,
        statement=_statement(facet, competitors),
        stand_in=any(r.level.stand_in for r in records),
        code_version=__version__,
        parameters=dict(parameters or {}),
    )


def _values(record: AdsorptionEnergy) -> dict[str, tuple[float, float] | None]:
    """Adsorption energy and its numerical uncertainty by level; ``None`` where refused."""
    name, value_ev = record.level.name, record.adsorption_energy_ev
    if value_ev is None:
        return {name: None}
    noise_ev = record.uncertainty_ev or 0.0
    found: dict[str, tuple[float, float] | None] = {name: (value_ev, noise_ev)}
    if record.without_dispersion_ev is not None:
        found[f"{name} less dispersion"] = (record.without_dispersion_ev, noise_ev)
    return found


def _competitor(name: str, values: Mapping[str, Mapping[str, tuple[float, float] | None]]) -> Competitor:
    known = [v[0] for v in values[name].values() if v is not None]
    return Competitor(
        ligand=name,
        values_ev={level: None if v is None else v[0] for level, v in values[name].items()},
        low_ev=min(known, default=None),
        high_ev=max(known, default=None),
        outbids=tuple(sorted(n for n in values if n != name and _outbids(values[name], values[n]))),
    )


def _outbids(
    mine: Mapping[str, tuple[float, float] | None], theirs: Mapping[str, tuple[float, float] | None]
) -> bool:
    """Whether every value of the one lies below the other's at the same level; none may be refused."""
    if mine.keys() != theirs.keys():
        return False
    pairs = [(mine[level], theirs[level]) for level in mine]
    return all(a is not None and b is not None and a[0] + a[1] < b[0] - b[1] for a, b in pairs)


def _statement(facet: str, competitors: Sequence[Competitor]) -> str:
    first, *others = competitors
    refused = [c.ligand for c in competitors if c.low_ev is None]
    if first.low_ev is None:
        return f"({facet}): no molecule has a value"
    said = []
    beaten = [c.ligand for c in others if c.ligand in first.outbids]
    even = [c.ligand for c in others if c.ligand not in first.outbids and c.low_ev is not None]
    if beaten:
        said.append(f"{first.ligand} holds harder than {', '.join(beaten)} at every level")
    if even:
        said.append(f"no certain order between {first.ligand} and {', '.join(even)}")
    if refused:
        said.append(f"no value for {', '.join(refused)}")
    return f"({facet}): {'; '.join(said) or f'only {first.ligand} was studied'}"
