"""What the page of one record shows: value or refusals, structures, curves, tables, where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from epilayer.dashboard import cohp, curves, motion, phrases, ranges
from epilayer.dashboard.curves import Curve
from epilayer.model.bonding import BondMeasure, BondStudy
from epilayer.model.kinds import KINDS, as_shown
from epilayer.model.records import AdsorptionEnergy
from epilayer.model.surface import SurfaceEnergy, WulffShape
from epilayer.report import bonding, canvas, charts, pictures, style, viewer, wulff
from epilayer.report.html import words
from epilayer.store.records import record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pymatgen.core import Structure

    from epilayer import Study
    from epilayer.store.results import Record, ResultsStore

_ROLES: Final = {
    "slab": "clean slab",
    "molecule": "free molecule",
    "adslab": "slab with molecule",
    "bulk": "crystal",
    "adsorbed": "slab with molecule",
}
_FINE: Final = frozenset({"certified", "converged", "resolved", "accepted", "isotropic"})
_BAD: Final = frozenset({"refused", "failed"})
_ROWS: Final = 200


@dataclass(frozen=True)
class Table:
    """A table of the page; ``numeric`` are the columns whose values stand at the right."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    left_out: int = 0


@dataclass(frozen=True)
class Model:
    """A structure to turn: its still, and what the viewer draws."""

    title: str
    words: str
    data: str = field(repr=False)
    still: str


@dataclass(frozen=True)
class Source:
    """A calculation that the record rests on, with its files and their SHA-256."""

    role: str
    job: str
    directory: str
    files: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Page:
    """Everything about one record, ready for the template."""

    identity: str
    kind: str
    title: str
    subtitle: str
    status: str
    tone: str
    value: str
    unit: str
    interval: str
    statement: str
    stand_in: bool
    refusals: tuple[tuple[str, str], ...]
    cautions: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    level: tuple[tuple[str, str], ...]
    models: Mapping[str, Model]
    curves: Mapping[str, Curve]
    tables: tuple[Table, ...]
    sources: tuple[Source, ...]
    methods: str
    job: str
    created: str


def page_of(document: Record, study: Study, results: ResultsStore) -> Page:
    """Return what is shown of a record that was read with its body.

    Parameters
    ----------
    results
        The results store of the study, already open.

    Raises
    ------
    StoreError
        If the record cannot be read by this version.
    """
    body, kind = document.get("body", {}), document["kind"]
    fields = as_shown(document["fields"], kind)
    record = record_of(document)
    sources = _sources(body)
    models: dict[str, Model] = {}
    drawn = _curves(kind, record, study, results, str(fields.get("job") or ""))
    drawn |= _relaxations(sources, study)
    for name, (title, structure, chosen) in _structures(record, study).items():
        said, data = pictures.describe(structure, chosen), viewer.data(structure, chosen)
        models[name] = Model(title, said, data, f"/result/{document['id']}/figure/{name}.svg")
        drawn[name] = Curve(title, said, partial(pictures.still, structure, chosen), themed=False)
    status = str(fields.get("status") or fields.get("verdict") or fields.get("mode") or "")
    value, unit, interval = phrases.headline(kind, fields)
    reasons = phrases.reasons_of(body)
    return Page(
        identity=document["id"],
        kind=kind,
        title=phrases.title_of(kind, fields),
        subtitle=", ".join(str(fields[n]) for n in ("cathode", "termination", "state") if fields.get(n)),
        status=status,
        tone="good" if status in _FINE else "bad" if status in _BAD else "mild",
        value=value,
        unit=unit,
        interval=interval,
        statement=str(body.get("statement") or body.get("reason") or ""),
        stand_in=bool(fields.get("stand_in")),
        refusals=reasons,
        cautions=tuple(
            str(text) for name in ("caveats", "warnings", "left_out") for text in body.get(name) or ()
        ),
        facts=phrases.facts_of(kind, fields),
        level=phrases.level_of(body.get("level")),
        models=models,
        curves=drawn,
        tables=_tables(body),
        sources=sources,
        methods=phrases.methods_of(kind, body),
        job=str(fields.get("job") or ""),
        created=document["created"],
    )


def _sources(body: Mapping[str, Any]) -> tuple[Source, ...]:
    """Return every calculation behind a record, wherever the record names one."""
    found: list[Source] = []
    for leg in [*(body.get("legs") or ()), *(body.get("runs") or ()), *(body.get("orientations") or ())]:
        origin = leg.get("provenance") or leg
        name = leg.get("role") or leg.get("label") or f"strain sign {leg.get('sign', '')}"
        found.append(
            Source(
                role=_ROLES.get(name, str(name)),
                job=str(origin.get("job") or ""),
                directory=str(origin.get("run_directory") or origin.get("path") or ""),
                files=tuple(sorted((origin.get("files") or {}).items())),
                versions=tuple(sorted((origin.get("versions") or {}).items())),
            )
        )
    if body.get("files"):
        found.append(
            Source("imported files", "", str(body.get("path", "")), tuple(sorted(body["files"].items())), ())
        )
    found += [
        Source("trajectory", "", item["path"], ((item["path"].rpartition("/")[2], item["sha256"]),), ())
        for item in body.get("trajectories") or ()
    ]
    return tuple(found)


def _structures(
    record: Any,  # noqa: ANN401  (any kind of record)
    study: Study,
) -> dict[str, tuple[str, Structure, tuple[int, ...]]]:
    """Return the structures that a record shows: title, structure and the molecule's atoms, by name."""
    if isinstance(record, AdsorptionEnergy):
        shown = {"after": ("After relaxation", record.structure, record.adsorbate_atoms)}
        last = next((leg for leg in record.legs if leg.role == "adslab"), None)
        before = study.initial_structure(last.provenance.run_directory, record.structure) if last else None
        if before is not None:
            shown = {"before": ("Before relaxation", before, record.adsorbate_atoms), **shown}
        return shown
    if isinstance(record, BondStudy):
        stable = min(record.orientations, key=lambda o: o.adsorption_energy_ev, default=None)
        picked = {"Weakens a bond most": bonding.telling_orientation(record), "Most stable": stable}
        shown = {}
        for n, (why, one) in enumerate(picked.items()):
            if one is not None and (n == 0 or one is not picked["Weakens a bond most"]):
                shown[f"orientation-{n}"] = (f"{why}: {one.label}", one.structure, ())
        return shown
    found = getattr(record, "structure", None)
    found = found() if callable(found) else found
    title = "Relaxed slab" if isinstance(record, SurfaceEnergy) else "Structure"
    return {} if found is None or not found.is_ordered else {"structure": (title, found, ())}


def _bond_curves(record: BondStudy, study: Study, _: ResultsStore, job: str) -> dict[str, Curve]:
    drawn = curves.bond_curves(record)
    if record.measure is BondMeasure.ICOHP_LOBSTER and job:
        drawn |= cohp.cohp_curves(record, study.bond_analyses(job), study.file)
    return drawn


def _wulff_curves(record: WulffShape, _: Study, results: ResultsStore, __: str) -> dict[str, Curve]:
    if not record.faces:
        return {}
    stored = "surface" in results.kinds()
    found = results.query("surface", limit=None, body=True) if stored else []
    draw = partial(wulff.wulff_figure, record, [record_of(document) for document in found])
    return {"wulff": Curve("Equilibrium shape", wulff.describe_wulff(record), draw)}


#: The figures that kinds of records name, from the record, the study, its results and the job that made it.
DRAWINGS: Final[dict[str, Callable[[Any, Study, ResultsStore, str], dict[str, Curve]]]] = {
    "bonds": _bond_curves,
    "motion": lambda record, study, *_: motion.motion_curves(record, study.file),
    "diffusion": lambda record, *_: curves.transport_curves(record),
    "ranges": lambda record, *_: ranges.range_curves(record),
    "wulff": _wulff_curves,
}


def _curves(
    kind: str,
    record: Any,  # noqa: ANN401  (any kind of record)
    study: Study,
    results: ResultsStore,
    job: str,
) -> dict[str, Curve]:
    drawn: dict[str, Curve] = {}
    for name in KINDS[kind].drawings:
        drawn |= DRAWINGS[name](record, study, results, job)
    return drawn


def _relaxations(sources: Sequence[Source], study: Study) -> dict[str, Curve]:
    drawn: dict[str, Curve] = {}
    known = study.calculations([source.job for source in sources if source.job])
    for number, source in enumerate(sources):
        calculation = known.get(source.job)
        if calculation is not None and len(calculation.energies_ev) > 1:
            drawn[f"relaxation-{number}"] = Curve(
                f"Relaxation: {source.role}",
                charts.describe_relaxation(calculation),
                partial(charts.relaxation_figure, calculation),
            )
    return drawn


def _tables(body: Mapping[str, Any]) -> tuple[Table, ...]:
    """Return every list of things in a record as a table of their plain values."""
    found: list[Table] = []
    skipped = {"refusals", "anomalies", "reasons", "faces", "trajectories", "level", "structure"}
    for name, value in body.items():
        if name in skipped or not value:
            continue
        if isinstance(value, list) and isinstance(value[0], dict):
            found.append(_table(name, value))
            nested = [(key, v) for entry in value for key, v in entry.items() if _is_rows(v)]
            for key in dict.fromkeys(k for k, _ in nested if k not in skipped):
                rows = [
                    {_of(entry): _of(entry, value=True), **row}
                    for entry in value
                    for row in entry.get(key) or ()
                ]
                found.append(_table(f"{name}: {key}", rows))
        elif isinstance(value, dict) and name in {"report", "solvation", "bonding"}:
            found += [_table(key, v) for key, v in value.items() if _is_rows(v)]
    if body.get("parameters"):
        listed = tuple((words(k), phrases.plain(v)) for k, v in sorted(body["parameters"].items()))
        found.append(Table("Parameters of the workflow", ("parameter", "value"), listed, (False, False)))
    return tuple(table for table in found if table.headings)


def _is_number(value: Any) -> bool:  # noqa: ANN401  (any JSON value)
    """Whether a value may stand in a column of numbers, where nothing is allowed too."""
    return value in (None, "refused") or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_rows(value: Any) -> bool:  # noqa: ANN401  (any JSON value)
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _of(entry: Mapping[str, Any], *, value: bool = False) -> str:
    name = next((n for n in ("label", "role", "ligand", "facet", "species") if entry.get(n)), "")
    return str(entry.get(name, "")) if value else name or "of"


def _table(name: str, entries: list[dict[str, Any]]) -> Table:
    entries = [_spread(entry) for entry in entries]
    keys = list(dict.fromkeys(k for e in entries for k, v in e.items() if _fits_a_cell(v) and v is not None))
    keys = [k for k in keys if k not in {"level_fingerprint", "job", "kind", "files"}]
    shown = entries[:_ROWS]
    rows = tuple(tuple(phrases.plain(e.get(k)) for k in keys) for e in shown)
    numeric = tuple(all(_is_number(e.get(k)) for e in shown) for k in keys)
    title = words(name)
    return Table(
        title[:1].upper() + title[1:], tuple(words(k) for k in keys), rows, numeric, len(entries) - len(shown)
    )


def _spread(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row in which values by level of theory have a column each."""
    flat: dict[str, Any] = {}
    for key, value in entry.items():
        if key == "values_ev" and isinstance(value, dict):
            flat |= {f"{level}_ev": "refused" if v is None else v for level, v in value.items()}
        else:
            flat[key] = value
    return flat


def _fits_a_cell(value: Any) -> bool:  # noqa: ANN401  (any JSON value)
    if isinstance(value, list):
        return len(value) <= 8 and all(v is None or isinstance(v, str | int | float) for v in value)  # noqa: PLR2004
    if isinstance(value, dict):
        small = len(value) <= 8 and "@module" not in value  # noqa: PLR2004
        return small and all(v is None or isinstance(v, str | int | float) for v in value.values())
    return True


def figure_file(curve: Curve) -> str:
    """Draw a figure as an SVG file of its own."""
    text = canvas.inline(curve.draw(), "figure", curve.words, themed=curve.themed)
    if not curve.themed:
        return text
    light = "".join(f"--series-{k}:{c};" for k, c in enumerate(style.SERIES))
    dark = "".join(f"--series-{k}:{c};" for k, c in enumerate(style.SERIES_ON_DARK))
    rules = (
        f":root{{--ink:{style.INK};--muted:{style.MUTED};--rule:{style.RULE};--panel:#fff;{light}}}"
        f"@media(prefers-color-scheme:dark){{:root{{--ink:#e7eaee;--muted:#a3adb8;--rule:#3a424c;--panel:#1c2026;{dark}}}}}"
    )
    head, _, rest = text.partition(">")
    return f"{head}><style>{rules}</style>{rest}"
