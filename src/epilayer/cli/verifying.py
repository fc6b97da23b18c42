"""Check stored results against their bytes: hashes of every file, and each number from its raw energies."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epilayer.cli.common import jobstore_of, results_of
from epilayer.model.errors import InputError
from epilayer.model.files import sha256_file
from epilayer.store.seals import (
    RUN_SEAL,
    Damage,
    check_database,
    compare,
    read_seal,
    seal_database,
    seal_files,
    sealed_sha256,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from epilayer.config import Study
    from epilayer.model.records import AdsorptionEnergy, Calculation, Leg
    from epilayer.model.surface import SurfaceEnergy
    from epilayer.store.results import Record

_TOLERANCE_EV = 1e-8
"""Decimals are written out in full; this is what adding floats in another order may change."""
_ENERGY = re.compile(rb"(?:^|\s)energy=(\S+)")
_TAIL_BYTES = 1 << 22


@dataclass
class Verification:
    """What a check looked at, and what it found.

    Attributes
    ----------
    records, files, numbers
        How many records, files and recomputed numbers were looked at.
    damages
        Everything that is not as it was written.
    notes
        What could not be checked as thoroughly, and why.
    """

    records: int = 0
    files: int = 0
    numbers: int = 0
    damages: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(used: Study, identity: str | None = None) -> Verification:
    """Check one record (by id, or its beginning), or all of a study.

    The databases are checked first: of a damaged one nothing else is read.
    """
    found = Verification()
    embedded = used.results == used.results_file
    if embedded and not used.results_file.is_file():
        raise InputError(f"{used.root} has no results.", "Compute some: epilayer run paper_adsorption")
    for path in (used.results_file, used.outputs_file):
        if path.is_file():
            found.files += 1
            _check_database(used, path, found)
    if found.damages:
        return found
    results = results_of(used)
    try:
        if not embedded:
            found.notes.append("The results are in a database: its documents were checked by their hashes.")
            found.damages += [Damage("the results database", what) for what in results.damaged()]
            if found.damages:
                return found
        if identity is None:
            records = [r for kind in results.kinds() for r in results.query(kind, limit=None, body=True)]
        else:
            records = [results.get(identity)]
    finally:
        results.close()
    found.records = len(records)
    _check_files(used, records, found)
    _check_numbers(used, records, found)
    return found


def seal_study(used: Study, records: Iterable[Record]) -> None:
    """Seal the run files that records name, and the databases; nothing is sealed that is damaged already."""
    for folder, files in run_files(used, records).items():
        seal = folder / RUN_SEAL
        if files and not seal.exists() and all(_is(folder / n, sha256) for n, sha256 in files.items()):
            seal_files(seal, [folder / name for name in sorted(files)])
    for path in (used.results_file, used.outputs_file):
        if path.is_file():
            state = check_database(path)
            if state.damage is None and not state.as_sealed:
                seal_database(path)


def _check_database(used: Study, path: Path, found: Verification) -> None:
    state = check_database(path)
    if state.damage is not None:
        found.damages.append(state.damage)
    elif not state.as_sealed:
        found.notes.append(
            f"{path.name} was written to since it was sealed: its documents were checked by their hashes."
        )
        found.damages += [Damage(str(path), what) for what in _damaged_documents(used, path)]


def _damaged_documents(used: Study, path: Path) -> list[str]:
    if path == used.results_file:
        from epilayer.store.results import SqliteResults

        results = SqliteResults(path)
        try:
            return results.damaged()
        finally:
            results.close()
    with jobstore_of(used) as outputs:
        stores = (outputs.docs_store, *outputs.additional_stores.values())
        return [what for store in stores for what in store.damaged()]


def _check_files(used: Study, records: Sequence[Record], found: Verification) -> None:
    for folder, files in run_files(used, records).items():
        seal = folder / RUN_SEAL
        content = read_seal(seal) if seal.is_file() else {}
        if content is None:
            found.damages.append(Damage(str(seal), "the seal itself is not as it was written"))
            content = {}
        elif content:
            found.files += 1
        sealed: Mapping[str, Any] = content.get("files", {})
        for name, sha256 in files.items():
            found.files += 1
            path = folder / name
            if name in sealed and sealed_sha256(sealed[name]) == sha256:
                damage = compare(path, sealed[name])
            elif not path.is_file():
                damage = Damage(str(path), "the file is missing")
            else:
                right = sha256_file(path) == sha256
                damage = None if right else Damage(str(path), "its hash is not the one in the record")
            if damage is not None:
                found.damages.append(damage)


def run_files(used: Study, records: Iterable[Any]) -> dict[Path, dict[str, str]]:
    """Return the SHA-256 of each file, by its folder, that the records name."""
    found: dict[Path, dict[str, str]] = {}
    for record in records:
        for one in _provenances(record.get("body", {})):
            if one["files"]:
                found.setdefault(_located(used, one["run_directory"]), {}).update(one["files"])
    return found


def _provenances(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  (any JSON)
    if isinstance(value, dict):
        if "run_directory" in value and isinstance(value.get("files"), dict):
            yield value
        else:
            for item in value.values():
                yield from _provenances(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _provenances(item)


def _located(used: Study, directory: str) -> Path:
    """Return a run directory where it is now: a study may have been moved as a whole."""
    path = Path(directory)
    if not path.is_dir() and used.runs.name in path.parts:
        last = len(path.parts) - 1 - path.parts[::-1].index(used.runs.name)
        path = used.runs.joinpath(*path.parts[last + 1 :])
    return path


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_file(path) == sha256


def _check_numbers(used: Study, records: Sequence[Record], found: Verification) -> None:
    from epilayer.store.records import record_of

    checked = [record_of(r) for r in records if r["kind"] in ("adsorption", "surface")]
    others = sorted({r["kind"] for r in records} - {"adsorption", "surface"})
    if others:
        found.notes.append(f"Numbers of these kinds are not recomputed, only hashed: {', '.join(others)}.")
    by_job = _calculations(used, {leg.provenance.job for r in checked for leg in r.legs})
    for record in checked:
        recomputed = _adsorption_ev if record.kind == "adsorption" else _surface_j_per_m2
        named = f"{record.kind} of {getattr(record, 'ligand', '')} {record.cathode} ({record.facet})"
        for leg in record.legs:
            found.damages += _leg_differences(used, named, leg, by_job.get(leg.provenance.job))
        number = recomputed(record, by_job)
        if number is None:
            continue
        found.numbers += 1
        stated, again = number
        if not math.isclose(stated, again, rel_tol=0, abs_tol=_TOLERANCE_EV):
            what = f"it states {stated!r}, and its legs give {again!r}"
            found.damages.append(Damage(named, what))


def _adsorption_ev(record: AdsorptionEnergy, _: Mapping[str, Calculation]) -> tuple[float, float] | None:
    legs = {leg.role: leg.energy_ev for leg in record.legs}
    if record.adsorption_energy_ev is None or not {"adslab", "slab", "molecule"} <= set(legs):
        return None
    return record.adsorption_energy_ev, legs["adslab"] - legs["slab"] - legs["molecule"]


def _surface_j_per_m2(record: SurfaceEnergy, by_job: Mapping[str, Calculation]) -> tuple[float, float] | None:
    from epilayer.analysis.surfaces import surface_energy_j_per_m2

    slabs = [by_job.get(leg.provenance.job) for leg in record.legs if leg.role == "slab"]
    bulks = [by_job.get(leg.provenance.job) for leg in record.legs if leg.role == "bulk"]
    if record.surface_energy_j_per_m2 is None or not bulks or not slabs or bulks[0] is None:
        return None
    computed = [slab for slab in slabs if slab is not None]
    thickest = max(computed, key=lambda slab: len(slab.structure), default=None)
    if thickest is None:
        return None
    return record.surface_energy_j_per_m2, surface_energy_j_per_m2(thickest, bulks[0])[0]


def _leg_differences(used: Study, named: str, leg: Leg, made: Calculation | None) -> Iterator[Damage]:
    """Compare a leg's energy with the job's own output and with the raw file that the engine left."""
    for where, energy_ev in (
        ("the job's output", None if made is None else made.energy_ev),
        ("the raw file", _raw_energy_ev(used, leg)),
    ):
        if energy_ev is not None and not math.isclose(
            energy_ev, leg.energy_ev, rel_tol=0, abs_tol=_TOLERANCE_EV
        ):
            what = f"its leg {leg.role} has {leg.energy_ev!r} eV, and {where} {energy_ev!r} eV"
            yield Damage(named, what)


def _raw_energy_ev(used: Study, leg: Leg) -> float | None:
    folder, files = _located(used, leg.provenance.run_directory), leg.provenance.files
    if "relaxation.extxyz" in files:
        return _last_energy_ev(folder / "relaxation.extxyz")
    if any(name.startswith(("vasprun.xml", "OUTCAR")) for name in files) and folder.is_dir():
        from epilayer.engines.outputs.batch import import_directory

        return import_directory(folder)[0].energy_ev
    return None


def _last_energy_ev(path: Path) -> float | None:
    """Return the energy in the comment line of the last frame of an extended XYZ file."""
    if not path.is_file():
        return None
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        energies = _ENERGY.findall(handle.read())
    try:
        return float(energies[-1]) if energies else None
    except ValueError:
        return math.nan


def _calculations(used: Study, jobs: set[str]) -> dict[str, Calculation]:
    from monty.json import MontyDecoder

    wanted = {"uuid": {"$in": sorted(jobs - {""})}, "output.@class": "Calculation"}
    with jobstore_of(used) as outputs:
        found = outputs.query(wanted, properties=["uuid", "output"], load=True)
        return {d["uuid"]: MontyDecoder().process_decoded(d["output"]) for d in found}
