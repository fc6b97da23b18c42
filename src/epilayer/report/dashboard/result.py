"""What the page of one record shows: value or refusals, structures, curves, tables, where it comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from epilayer.model.bonding import BondMeasure, BondStudy
from epilayer.model.ion_transport import IonTransport
from epilayer.model.records import AdsorptionEnergy
from epilayer.model.surface import SurfaceEnergy, WulffShape
from epilayer.report import bonding, canvas, charts, pictures, style, tables, viewer, wulff
from epilayer.report.dashboard import cohp, curves, motion
from epilayer.report.dashboard.curves import Curve
from epilayer.report.html import words
from epilayer.store.records import record_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymatgen.core import Structure

    from epilayer.report.dashboard.desk import Desk
    from epilayer.store.results import Record

_ROLES: Final = {
    "slab": "clean slab",
    "molecule": "free molecule",
    "adslab": "slab with molecule",
    "bulk": "crystal",
    "adsorbed": "slab with molecule",
}
#: Field that a kind of record is about, the half-width that belongs to it, and its unit.
_VALUES: Final = {
    "adsorption": ("adsorption_energy_ev", "uncertainty_ev", "eV"),
    "imported_adsorption": ("adsorption_energy_ev", None, "eV"),
    "surface": ("surface_energy_j_per_m2", "uncertainty_j_per_m2", "J/m²"),
    "wulff": ("mean_surface_energy_j_per_m2", None, "J/m² on average"),
    "epitaxy": ("deformation_energy_ev", "uncertainty_ev", "eV per formula unit"),
    "calculation": ("energy_ev", None, "eV"),
    "sensitivity": ("base_ev", None, "eV"),
    "arrhenius": ("activation_energy_ev", None, "eV"),
}
#: Ends of an interval, by kind.
_INTERVALS: Final = {
    "sensitivity": ("low_ev", "high_ev", "eV over the choices of the method"),
    "arrhenius": ("lower_ev", "upper_ev", "eV, 95 % interval"),
}
_FINE: Final = frozenset({"certified", "converged", "resolved", "accepted", "isotropic"})
_BAD: Final = frozenset({"refused", "failed"})
_LONG: Final = 160
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


def page_of(document: Record, desk: Desk) -> Page:
    """Return what is shown of a record that was read with its body.

    Raises
    ------
    StoreError
        If the record cannot be read by this version.
    """
    body, fields, kind = document.get("body", {}), document["fields"], document["kind"]
    record = record_of(document)
    sources = _sources(body)
    models: dict[str, Model] = {}
    drawn = _curves(record, desk, sources, str(fields.get("job") or ""))
    for name, (title, structure, chosen) in _structures(record, desk).items():
        said, data = pictures.describe(structure, chosen), viewer.data(structure, chosen)
        models[name] = Model(title, said, data, f"/result/{document['id']}/figure/{name}.svg")
        drawn[name] = Curve(title, said, partial(pictures.still, structure, chosen), themed=False)
    status = str(fields.get("status") or fields.get("verdict") or fields.get("mode") or "")
    value, unit, interval = _value(kind, body)
    reasons = _reasons(body)
    return Page(
        identity=document["id"],
        kind=kind,
        title=_title(kind, fields),
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
        facts=_facts(kind, fields),
        level=_level(body.get("level")),
        models=models,
        curves=drawn,
        tables=_tables(body),
        sources=sources,
        methods=methods(kind, body),
        job=str(fields.get("job") or ""),
        created=document["created"],
    )


def methods(kind: str, body: Mapping[str, Any]) -> str:
    """Return a paragraph that says how the number was computed, from the record alone."""
    level = body.get("level")
    if not isinstance(level, dict):
        return ""
    if "method" not in level:  # a calculation of others: what their files state
        found = "; ".join(f"{name} {text}" for name, text in _level(level) if text)
        return f"Run by others; as their files state it: {found}. Read by epilayer, not computed by it."
    said = [_DEFINITIONS.get(kind, "")]
    text = f"Level of theory {level['name']}: {level['method']}"
    text += f" with {level['dispersion']}" if level.get("dispersion") else ", without a dispersion correction"
    said.append(text + ".")
    if level.get("numerics"):
        listed = "; ".join(
            f"{words(name)} {_text(value)}" for name, value in sorted(level["numerics"].items())
        )
        said.append(f"Numerical settings as executed: {listed}.")
    search = body.get("search")
    if isinstance(search, dict):
        said.append(
            f"The minimum is the lowest of {search['minima']} distinct minima from {search['starts']} starts "
            f"(chance that a lower one was missed: {_text(search['missed_probability'])})."
        )
    if body.get("seeds"):
        one = len(body["seeds"]) == 1
        runs = f"{len(body['seeds'])} {'trajectory' if one else 'trajectories'}"
        said.append(
            f"{runs} of {body['steps']} analysed steps at {_text(body['temperature_k'])} K; "
            f"free to move: {body['moves']}."
        )
    versions: dict[str, str] = {}
    for leg in [*(body.get("legs") or ()), *(body.get("runs") or ())]:
        versions |= (leg.get("provenance") or {}).get("versions") or {}
    code = f"epilayer {body.get('code_version', '')}".strip()
    others = ", ".join(
        f"{name} {version}" for name, version in sorted(versions.items()) if name != "epilayer"
    )
    said.append(f"Computed with {code}{f' ({others})' if others else ''}.")
    if level.get("stand_in"):
        said.append(
            "The engine is a stand-in for trying out: its numbers mean nothing and must not be reported."
        )
    return " ".join(part for part in said if part)


_MINUS: Final = "\N{MINUS SIGN}"
_DEFINITIONS: Final = {
    "adsorption": f"E_ads = E(slab + molecule) {_MINUS} E(slab) {_MINUS} E(molecule), each relaxed; "
    "negative when bound.",
    "surface": f"Surface energy = (E(slab) {_MINUS} n E(crystal)) / (2 A), for a stoichiometric slab "
    "with two equivalent faces.",
    "wulff": "The shape of least surface energy at a given volume (Wulff construction).",
    "transport": "Self-diffusion from the mean squared displacement over a diffusive window, with its 95 % "
    "interval.",
    "bond_strength": "The same bond of the free and of the adsorbed molecule, by the same measure.",
    "epitaxy": "Energy of straining the framework onto the facet, mean of both signs of the strain.",
}


def _title(kind: str, fields: Mapping[str, Any]) -> str:
    subject = fields.get("ligand") or fields.get("molecule") or fields.get("system") or fields.get("mof")
    subject = subject or fields.get("name") or fields.get("formula") or fields.get("cathode") or kind
    facet = f" on ({fields['facet']})" if fields.get("facet") else ""
    level = f", {fields['level']}" if fields.get("level") else ""
    return f"{subject}{facet}{level}"


def _value(kind: str, body: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return value, unit and interval in words; empty where there is none."""
    if kind == "growth":
        return (
            tables.growth_words(
                None if body["mode"] is None else _mode(body["mode"]), body["binding_facets"]
            ),
            "",
            "",
        )
    if kind == "transport":
        return _diffusion(body)
    name, half, unit = _VALUES.get(kind, ("", None, ""))
    value = body.get(name)
    low, high, of = (*_INTERVALS[kind],) if kind in _INTERVALS else ("", "", "")
    ends = (body.get(low), body.get(high))
    interval = f"{_text(ends[0])} to {_text(ends[1])} {of}" if None not in ends and low else ""
    if value is None:
        return "", "", interval
    if half is not None and body.get(half) is not None:
        said = tables.ev_with_uncertainty(value, body[half])
        return said.removeprefix("+"), unit, "± is numerical (convergence) only"
    return tables.ev(value).removeprefix("+"), unit, interval


def _mode(text: str) -> Any:  # noqa: ANN401  (GrowthMode)
    from epilayer.model.records import GrowthMode

    return GrowthMode(text)


def _diffusion(body: Mapping[str, Any]) -> tuple[str, str, str]:
    found = next((d for d in body["report"]["diffusion"] if d["species"] == body["cation"]), None)
    if found is None:
        return "", "", ""
    low, high = found["lower_cm2_per_s"], found["upper_cm2_per_s"]
    ends = [
        f"above {_text(low)}" if low is not None else "",
        f"below {_text(high)}" if high is not None else "",
    ]
    interval = (
        f"D of {body['cation']}: {' and '.join(e for e in ends if e)} cm²/s (95 %)" if any(ends) else ""
    )
    if found["diffusion_cm2_per_s"] is None:
        return "", "", interval
    return _text(found["diffusion_cm2_per_s"]), "cm²/s", interval


def _reasons(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what was refused or found amiss, each with its remedy."""
    found: list[tuple[str, str]] = []
    for entry in [
        *(body.get("refusals") or ()),
        *(body.get("anomalies") or ()),
        *(body.get("reasons") or ()),
    ]:
        pair = (str(entry.get("what", "")), str(entry.get("remedy") or ""))
        if pair not in found:
            found.append(pair)
    told = [(str(body[name]), "") for name in ("refusal", "base_refusal") if body.get(name)]
    return (*found, *told)


def _facts(kind: str, fields: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    name, half, _ = _VALUES.get(kind, ("", None, ""))
    hidden = {
        name,
        half,
        "job",
        "level_fingerprint",
        "status",
        "refusal",
        "refusal_code",
        "stand_in",
        "statement",
        "reason",
        "left_out",
        "warnings",
    }
    return tuple(
        (words(key), _listed(value))
        for key, value in fields.items()
        if value is not None and key not in hidden
    )


def _listed(value: Any) -> str:  # noqa: ANN401  (any scalar)
    """Return a field in words; a list inside one text gets its blanks, so that it can be broken."""
    return _text(value.replace(",", ", ").replace(",  ", ", ") if isinstance(value, str) else value)


def _level(level: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401  (any JSON value)
    if not isinstance(level, dict):
        return ()
    rows = [(name, level.get(name)) for name in ("name", "kind", "method", "dispersion", "weights_sha256")]
    if "method" not in level:
        rows = sorted(level.items())
    for group in ("numerics", "system", "elements", "declared"):
        rows += sorted((level.get(group) or {}).items())
    return tuple((words(name), _text(value)) for name, value in rows if value is not None)


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
    desk: Desk,
) -> dict[str, tuple[str, Structure, tuple[int, ...]]]:
    """Return the structures that a record shows: title, structure and the molecule's atoms, by name."""
    if isinstance(record, AdsorptionEnergy):
        shown = {"after": ("After relaxation", record.structure, record.adsorbate_atoms)}
        last = next((leg for leg in record.legs if leg.role == "adslab"), None)
        before = desk.started_from(last.provenance.run_directory, record.structure) if last else None
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


def _curves(
    record: Any,  # noqa: ANN401  (any kind of record)
    desk: Desk,
    sources: tuple[Source, ...],
    job: str,
) -> dict[str, Curve]:
    drawn: dict[str, Curve] = {}
    if isinstance(record, BondStudy):
        drawn |= curves.bond_curves(record)
        if record.measure is BondMeasure.ICOHP_LOBSTER and job:
            drawn |= cohp.cohp_curves(record, desk.measured(job), desk.file)
    elif isinstance(record, IonTransport):
        drawn |= motion.motion_curves(record, desk.file) | curves.transport_curves(record)
    elif isinstance(record, WulffShape) and record.faces:
        stored = "surface" in desk.results.kinds()
        found = desk.results.query("surface", limit=None, body=True) if stored else []
        draw = partial(wulff.wulff_figure, record, [record_of(document) for document in found])
        drawn["wulff"] = Curve("Equilibrium shape", wulff.describe_wulff(record), draw)
    known = desk.calculations([source.job for source in sources if source.job])
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
            found += [_table(f"{name}: {key}", v) for key, v in value.items() if _is_rows(v)]
    if body.get("parameters"):
        listed = tuple((words(k), _text(v)) for k, v in sorted(body["parameters"].items()))
        found.append(Table("Parameters of the workflow", ("parameter", "value"), listed, (False, False)))
    return tuple(table for table in found if table.headings)


def _is_rows(value: Any) -> bool:  # noqa: ANN401  (any JSON value)
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _of(entry: Mapping[str, Any], *, value: bool = False) -> str:
    name = next((n for n in ("label", "role", "ligand", "facet", "species") if entry.get(n)), "")
    return str(entry.get(name, "")) if value else name or "of"


def _table(name: str, entries: list[dict[str, Any]]) -> Table:
    keys = list(dict.fromkeys(k for e in entries for k, v in e.items() if _plain(v) and v is not None))
    keys = [k for k in keys if k not in {"level_fingerprint", "job", "kind"}]
    shown = entries[:_ROWS]
    rows = tuple(tuple(_text(e.get(k)) for k in keys) for e in shown)
    numeric = tuple(
        all(isinstance(e.get(k), int | float | None) and not isinstance(e.get(k), bool) for e in shown)
        for k in keys
    )
    title = words(name)
    return Table(
        title[:1].upper() + title[1:], tuple(words(k) for k in keys), rows, numeric, len(entries) - len(shown)
    )


def _plain(value: Any) -> bool:  # noqa: ANN401  (any JSON value)
    if isinstance(value, list):
        return len(value) <= 8 and all(v is None or isinstance(v, str | int | float) for v in value)  # noqa: PLR2004
    if isinstance(value, dict):
        small = len(value) <= 8 and "@module" not in value  # noqa: PLR2004
        return small and all(v is None or isinstance(v, str | int | float) for v in value.values())
    return True


def _text(value: Any) -> str:  # noqa: ANN401, PLR0911  (any JSON value)
    """Return a plain value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "not finite"
        return f"{value:.4g}".replace("-", "\N{MINUS SIGN}") if "e" not in f"{value:.4g}" else f"{value:.3g}"
    if isinstance(value, list):
        return ", ".join(_text(v) for v in value)
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_text(v)}" for k, v in value.items())
    text = str(value)
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


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
