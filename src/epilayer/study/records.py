"""The stored records of a study in their typed form, and the inputs of the catalogue that they name."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from epilayer.model.base import Frozen
    from epilayer.report.paper_table import Found
    from epilayer.store.results import Record
    from epilayer.study.workspace import Workspace


def stored(study: Workspace, kinds: Iterable[str] | None = None) -> list[Record]:
    """Return the stored records with their bodies: of all kinds, or of some."""
    with closing(study.results()) as results:
        there = results.kinds()
        wanted = there if kinds is None else [kind for kind in kinds if kind in there]
        return [record for kind in wanted for record in results.query(kind, limit=None, body=True)]


def with_id(study: Workspace, identity: str) -> list[Record]:
    """Return the record with an id (or its beginning), with its body."""
    with closing(study.results()) as results:
        return [results.get(identity)]


def typed(study: Workspace, kind: str) -> list[Any]:
    """Return the records of one kind."""
    from epilayer.store.records import record_of

    return [record_of(record) for record in stored(study, [kind])]


def found_by_kind(records: Iterable[Record]) -> dict[str, list[Found]]:
    """Return records in their typed form with their ids, by kind; without those of an unknown kind."""
    from epilayer.model.kinds import KINDS
    from epilayer.report.paper_table import Found
    from epilayer.store.records import record_of

    found: dict[str, list[Found]] = {}
    for record in records:
        if record["kind"] in KINDS:
            found.setdefault(record["kind"], []).append(Found(record["id"], record_of(record)))
    return found


def keep(study: Workspace, made: Iterable[Frozen]) -> int:
    """Store records that no job of the study made, such as imported ones, with checksums; return how many."""
    from epilayer.store.records import document_of
    from epilayer.study.stored_files import write_study_checksums

    now = datetime.now(UTC).isoformat()
    documents = [document_of(record, created=now) for record in made]
    with closing(study.results()) as results:
        results.put(documents)
    write_study_checksums(study, ())
    return len(documents)


def without_results(study: Workspace) -> InputError:
    """Return the error of a study in which nothing is computed yet."""
    return InputError(f"{study.root} has no results.", "Compute some: epilayer run paper_adsorption")


def named_inputs(study: Workspace, records: Iterable[Any]) -> list[tuple[str, str]]:
    """Return kind and name of every input of the catalogue that records name."""
    from epilayer.model.level import LevelOfTheory

    known, catalogue = list(records), study.catalogue
    # An imported calculation's level is what its files say, and names none of ours.
    of_ours = (r.level for r in known if isinstance(getattr(r, "level", None), LevelOfTheory))
    real = {level.name for level in of_ours if not level.stand_in}
    levels = sorted(real & set(catalogue.names("levels")))
    found = [
        (kind, name) for n in levels for kind, name in (("engines", catalogue.level(n).engine), ("levels", n))
    ]
    for kind, attribute in (("cathodes", "cathode"), ("ligands", "ligand"), ("mofs", "mof")):
        named = {str(getattr(r, attribute, "")) for r in known}
        found += [(kind, name) for name in sorted(named & set(catalogue.names(kind)))]
    return list(dict.fromkeys(found))


def sources(study: Workspace, records: Iterable[Any]) -> dict[str, str]:
    """Return the sources of the levels, engines and materials that records name, by title."""
    catalogue = study.catalogue
    read: dict[str, Any] = {
        "engines": catalogue.engine_spec,
        "levels": catalogue.level,
        "cathodes": catalogue.cathode,
        "ligands": catalogue.ligand,
        "mofs": catalogue.mof,
    }
    things = [read[kind](name) for kind, name in named_inputs(study, records)]
    return {thing.title or thing.name: thing.source for thing in things}
