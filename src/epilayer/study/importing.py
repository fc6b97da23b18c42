"""Calculations that somebody else ran: read, and joined to adsorption energies where they belong together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from epilayer.model.errors import InputError
from epilayer.study.names import IMPORT_JOURNAL
from epilayer.study.records import keep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epilayer.model.imported import ImportedAdsorption, ImportedCalculation
    from epilayer.model.records import Calculation
    from epilayer.study.workspace import Workspace

    Leg = tuple[ImportedCalculation, Calculation]

ROLES = ("slab", "molecule", "adsorbate")


@dataclass(frozen=True)
class Imported:
    """Calculations in the order of their paths, and the adsorption energies of those that belong together."""

    calculations: list[ImportedCalculation]
    adsorption: list[ImportedAdsorption]

    def keep(self, study: Workspace) -> int:
        """Store the records, without files that are no calculations; return how many."""
        known = [one for one in self.calculations if one.code.value != "unknown"]
        return keep(study, [*known, *self.adsorption])


def read_calculations(
    study: Workspace,
    paths: Sequence[str],
    *,
    workers: int | None = None,
    resume: bool = False,
    adsorption: bool = False,
    on_record: Callable[[int, int], None] | None = None,
) -> Imported:
    """Read the calculations in directories and files of any workflow; nothing in them is changed.

    Parameters
    ----------
    paths
        Directories or files; with ``adsorption`` also ``ROLE=DIR``.
    workers
        Processes; by default as many as the work needs.
    resume
        Keep what was read before; read only what is new or changed.
    adsorption
        Also make the adsorption energies of legs that belong together.
    on_record
        Called with how many are read, and how many there are.

    Raises
    ------
    InputError
        If a path does not exist, nothing there is a calculation, or the named legs do not fit.
    """
    from epilayer.outputs.bulk_import import import_many

    roles, places = _sorted_out(paths, adsorption=adsorption)
    journal: Path | None = None
    if resume:
        study.state.mkdir(parents=True, exist_ok=True)
        journal = study.state / IMPORT_JOURNAL
    records = import_many(places, workers=workers, resume_from=journal, on_record=on_record)
    made = _adsorption(records, roles) if adsorption else []
    if all(record.code.value == "unknown" for record in records):
        first = records[0].reasons[0]
        raise InputError(first.what, first.remedy)
    return Imported(records, made)


def _sorted_out(paths: Sequence[str], *, adsorption: bool) -> tuple[dict[str, Path], list[Path]]:
    """Tell ROLE=DIR from DIR; refuse what does not exist before anything is read."""
    roles: dict[str, Path] = {}
    places: list[Path] = []
    for text in paths:
        role, sign, rest = text.partition("=")
        named = bool(sign) and role in ROLES and not Path(text).exists()
        place = Path(rest if named else text).expanduser().absolute()
        if not place.exists():
            raise InputError(f"{place} does not exist.", "Give a directory or an output file that exists.")
        places.append(place)
        if named:
            if role in roles:
                raise InputError(f"{role}= is given twice.", "Give each of slab, molecule, adsorbate once.")
            roles[role] = place
    if roles and not adsorption:
        raise InputError("slab=, molecule= and adsorbate= belong to --adsorption.", "Add --adsorption.")
    if roles and len(roles) < len(ROLES):
        missing = ", ".join(f"{role}=DIR" for role in ROLES if role not in roles)
        raise InputError(f"An adsorption energy lacks {missing}.", f"Add {missing}, or name no role at all.")
    return roles, list(dict.fromkeys(places))


def _adsorption(records: Sequence[ImportedCalculation], roles: dict[str, Path]) -> list[ImportedAdsorption]:
    from epilayer.analysis.imported_adsorption import imported_adsorption, triples
    from epilayer.engines.vasp.imported_legs import as_calculation, open_points, usable_as_leg

    if roles:
        legs = [_leg_at(records, role, roles[role]) for role in ROLES]
        found = [(legs[0], legs[1], legs[2])]
    else:
        usable: list[Leg] = []
        for record in records:
            if usable_as_leg(record):
                try:
                    usable.append((record, as_calculation(record)))
                except InputError:  # its level is not stated: the record itself says so
                    continue
        found = triples(usable)
    made = [
        imported_adsorption(*three, [point for record, _ in three for point in open_points(record)])
        for three in found
    ]
    return sorted(made, key=lambda one: (one.adsorption_energy_ev is None, one.adsorption_energy_ev or 0.0))


def _leg_at(records: Sequence[ImportedCalculation], role: str, place: Path) -> Leg:
    """Return the one leg that a directory holds; of a relaxation and a single point, the single point."""
    from epilayer.engines.vasp.imported_legs import as_calculation, usable_as_leg

    here = [r for r in records if Path(r.path) == place or place in Path(r.path).parents]
    usable = [r for r in here if usable_as_leg(r)]
    statics = [r for r in usable if r.kind.value == "static"]
    chosen = statics or usable or here
    if len(chosen) != 1:
        raise InputError(
            f"{role}={place} holds {len(chosen)} calculations.",
            "Name the directory of the one that is meant: "
            + (", ".join(f"{role}={r.path}" for r in chosen[:3]) or "it needs a vasprun.xml"),
        )
    return chosen[0], as_calculation(chosen[0])
