"""Compute the numbers of stored records once more, from raw files and from the outputs behind them."""

from __future__ import annotations

import math
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from epilayer import __version__
from epilayer.model.errors import EpilayerError
from epilayer.store.checksums import Damage
from epilayer.study.stored_files import located, provenances

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jobflow import JobStore

    from epilayer.model.base import Frozen
    from epilayer.model.records import AdsorptionEnergy, Calculation, Leg, Provenance
    from epilayer.model.surface import SurfaceEnergy
    from epilayer.store.results import Record
    from epilayer.study.workspace import Workspace

_TOLERANCE_EV = 1e-8
"""Decimals are written out in full; this is what adding floats in another order may change."""
_RELATIVE, _ABSOLUTE = 1e-6, 1e-9
"""Of numbers that an analysis makes again, perhaps on another machine."""
_ENERGY = re.compile(rb"(?:^|\s)energy=(\S+)")
_TAIL_BYTES = 1 << 22


@dataclass
class Recomputed:
    """How many numbers were computed again, those that differ, and what could not be computed, and why."""

    numbers: int = 0
    damages: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def recompute(study: Workspace, records: Sequence[Record]) -> Recomputed:
    """Compute the numbers of records again, and return those that do not follow from what is stored below.

    Raw files give the energies of the calculations. The job that made a record is run once more, as it was
    submitted, on the stored outputs of the jobs before it and on the stored trajectories, and has to make the
    same record. Without that job (imported results) the number of a record with legs still follows from them.
    """
    from epilayer.model.kinds import KINDS
    from epilayer.store.records import record_of

    found = Recomputed()
    typed = {r["id"]: record_of(r) for r in records if r["kind"] in KINDS}
    with study.jobstore() as outputs:
        by_job = _calculations(
            outputs, {str(p["job"]) for r in records for p in provenances(r.get("body", {}))}
        )
        for made in by_job.values():
            found.damages += _raw_differences(study, made)
        remade = _Remade(study, outputs)
        left: Counter[str] = Counter()
        for record in records:
            value = typed.get(record["id"])
            if value is None:
                continue
            named = _name_of(record)
            for leg in getattr(value, "legs", ()):
                if hasattr(leg, "role"):
                    found.damages += _leg_differences(study, named, leg, by_job.get(leg.provenance.job))
            follows = _from_legs(value, by_job)
            again = remade.record(record)
            found.numbers += follows is not None or again is not None
            if follows is not None and not math.isclose(*follows, rel_tol=0, abs_tol=_TOLERANCE_EV):
                what = f"it states {follows[0]!r}, and its legs give {follows[1]!r}"
                found.damages.append(Damage(named, what))
            elif again is not None:
                _compare(named, record, again, found)
            elif follows is None:
                left[record["kind"]] += 1
        found.notes += remade.notes
    if left:
        listed = ", ".join(f"{kind} ({count})" for kind, count in sorted(left.items()))
        found.notes.append(f"Only hashed, since the jobs that made them are not here: {listed}.")
    return found


class _Remade:
    """Makes records again by the jobs that made them."""

    def __init__(self, study: Workspace, outputs: JobStore) -> None:
        self._outputs = outputs
        self._queue = study.queue() if study.has_queue else None
        self.notes: list[str] = []

    def record(self, stored: Record) -> Frozen | None:
        """Return the record that its job makes of the stored outputs; ``None`` where that cannot be asked."""
        from jobflow import Response

        from epilayer.model.kinds import KINDS

        job = self._job(stored)
        if job is None:
            return None
        try:
            job.resolve_args(store=self._outputs)
            made = getattr(job.function, "original", job.function)(*job.function_args, **job.function_kwargs)
        except (EpilayerError, ValueError, KeyError) as error:
            self.notes.append(f"{_name_of(stored)} cannot be made again: {' '.join(str(error).split())}")
            return None
        made = made.output if isinstance(made, Response) else made
        return made if isinstance(made, KINDS[stored["kind"]].record) else None

    def _job(self, stored: Record) -> Any:  # noqa: ANN401  (jobflow is untyped)
        """Return the job that made a record: one of our own analyses, which computes nothing by an engine."""
        import json

        from monty.json import MontyDecoder

        uuid = stored["fields"].get("job")
        if self._queue is None or uuid is None:
            return None
        name = _record_class(stored)
        where = {"uuid": str(uuid), "output.@class": name}
        for document in self._outputs.docs_store.query(where, properties=["uuid", "index"]):
            text = self._queue.spec((document["uuid"], document["index"]))
            job = MontyDecoder().process_decoded(json.loads(text)) if text else None
            function = getattr(job, "function", None)
            if getattr(function, "__module__", "").startswith("epilayer.flows."):
                return job
        return None


def _compare(named: str, stored: Record, again: Frozen, found: Recomputed) -> None:
    from epilayer.store.records import document_of, record_of

    kept = record_of(stored)
    one, other = (document_of(r, created=stored["created"])["body"] for r in (kept, again))
    # What a later version adds to a record, and this one therefore leaves unsaid, is no difference.
    unsaid = {
        n
        for n, f in type(kept).model_fields.items()
        if getattr(kept, n) == f.get_default(call_default_factory=True)
    }
    fields = [name for name in one if name not in unsaid and name != "code_version"]
    differences = (text for n in fields for text in _differences(one[n], other[n], n))
    first = next(differences, None)
    if first is not None and one.get("code_version") != __version__:
        found.notes.append(f"{named} was made by epilayer {one['code_version']}; {__version__}: {first}")
    elif first is not None:
        found.damages.append(Damage(named, first))


def _differences(stored: Any, again: Any, where: str) -> Iterator[str]:  # noqa: ANN401  (any JSON)
    if isinstance(stored, dict) and isinstance(again, dict) and set(stored) == set(again):
        for key in stored:
            yield from _differences(stored[key], again[key], f"{where}.{key}")
    elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        for number, (one, other) in enumerate(zip(stored, again, strict=True)):
            yield from _differences(one, other, f"{where}[{number}]")
    elif not _same(stored, again):
        yield f"it states {where} = {_short(stored)}, and what is stored behind it gives {_short(again)}"


def _same(stored: Any, again: Any) -> bool:  # noqa: ANN401  (any JSON)
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (stored, again))
    return math.isclose(stored, again, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE) if numbers else stored == again


def _short(value: Any) -> str:  # noqa: ANN401  (any JSON)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004


def _name_of(record: Record) -> str:
    names = ("ligand", "molecule", "system", "mof", "cathode", "name")
    subjects = [str(record["fields"][n]) for n in names if record["fields"].get(n) is not None]
    facet = record["fields"].get("facet")
    return " ".join([f"{record['kind']} of", *subjects, *([f"({facet})"] if facet else [])])


def _record_class(record: Record) -> str:
    from epilayer.model.kinds import KINDS

    return KINDS[record["kind"]].record.__name__


def _from_legs(record: Frozen, by_job: Mapping[str, Calculation]) -> tuple[float, float] | None:
    """Return the number that a record states and the one that its legs give; ``None`` where there is none."""
    match record.model_dump(include={"kind"}).get("kind"):
        case "adsorption":
            return _adsorption_ev(record)  # type: ignore[arg-type]
        case "surface":
            return _surface_j_per_m2(record, by_job)  # type: ignore[arg-type]
        case _:
            return None


def _adsorption_ev(record: AdsorptionEnergy) -> tuple[float, float] | None:
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


def _leg_differences(study: Workspace, named: str, leg: Leg, made: Calculation | None) -> Iterator[Damage]:
    """Compare a leg's energy with the job's own output and, without one, with the raw file."""
    where, energy_ev = (
        ("the raw file", _raw_energy_ev(study, leg.provenance))
        if made is None
        else ("the job's output", made.energy_ev)
    )
    if energy_ev is not None and not math.isclose(energy_ev, leg.energy_ev, rel_tol=0, abs_tol=_TOLERANCE_EV):
        yield Damage(named, f"its leg {leg.role} has {leg.energy_ev!r} eV, and {where} {energy_ev!r} eV")


def _raw_differences(study: Workspace, made: Calculation) -> Iterator[Damage]:
    """Compare the energy in a job's output with the raw file that the engine left."""
    raw_ev = _raw_energy_ev(study, made.provenance)
    if raw_ev is not None and not math.isclose(raw_ev, made.energy_ev, rel_tol=0, abs_tol=_TOLERANCE_EV):
        yield Damage(made.label, f"its output states {made.energy_ev!r} eV, and its raw file {raw_ev!r} eV")


def _raw_energy_ev(study: Workspace, origin: Provenance) -> float | None:
    folder, files = located(study, origin.run_directory), origin.files
    if "relaxation.extxyz" in files:
        return _last_energy_ev(folder / "relaxation.extxyz")
    if any(name.startswith(("vasprun.xml", "OUTCAR")) for name in files) and folder.is_dir():
        from epilayer.outputs.bulk_import import import_directory

        return import_directory(folder)[0].energy_ev
    return None


def _last_energy_ev(path: Any) -> float | None:  # noqa: ANN401
    """Return the energy in the comment line of the last frame of an extended XYZ file."""
    if not path.is_file():
        return None
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        energies = _ENERGY.findall(handle.read())
    with suppress(ValueError):
        return float(energies[-1]) if energies else None
    return math.nan


def _calculations(outputs: JobStore, jobs: set[str]) -> dict[str, Calculation]:
    from monty.json import MontyDecoder

    wanted = {"uuid": {"$in": sorted(jobs - {""})}, "output.@class": "Calculation"}
    found = outputs.query(wanted, properties=["uuid", "output"], load=True)
    return {d["uuid"]: MontyDecoder().process_decoded(d["output"]) for d in found}
