"""The report as one HTML file that opens offline: it contains everything that it shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from epilayer.model.records import Status, growth_words
from epilayer.model.units import unit_of
from epilayer.report import (
    bonds_section,
    canvas,
    charts,
    citations,
    methods,
    paper_table,
    pictures,
    style,
    tables,
    viewer,
    wulff,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from markupsafe import Markup

    from epilayer.model.level import LevelOfTheory
    from epilayer.model.records import AdsorptionEnergy, Calculation
    from epilayer.model.reference import Reference, SilentChoice
    from epilayer.model.surface import SurfaceEnergy, WulffShape
    from epilayer.report.content import ReportContent
    from epilayer.report.paper_table import Found

_DOI = re.compile(r"10\.\d{4,9}/[^\s\"'<>]+[^\s\"'<>.,;:)\]]")
_NEGATIVE = re.compile(r"(?<![\w-])-(?=\d)")
_ROLES = {"slab": "clean slab", "molecule": "free molecule", "adslab": "slab with molecule"}


def render_html(
    content: ReportContent,
    *,
    made_at: datetime | None = None,
    title: str = "What was computed, beside the paper",
) -> str:
    """Return the report as the text of one HTML file.

    Adsorption energies of a stand-in engine get a card that says so, and no row; its other records are
    left out or named as such.

    Parameters
    ----------
    made_at
        When the report was made; unset, no date is printed and equal records give equal text.

    Returns
    -------
    str
        HTML without any reference to another file; links to DOIs are the only addresses in it.
    """
    from markupsafe import Markup

    comparison, reference = content.comparison(), content.reference
    records, verdicts = content.records("adsorption"), content.records("growth")
    by_job = {c.provenance.job: c for c in content.calculations}
    shapes = [s for s in content.records("wulff") if not s.level.stand_in]
    text: str = _template().render(
        title=title,
        made_at=made_at.isoformat(sep=" ", timespec="minutes") if made_at else "",
        code_versions=sorted({r.code_version for r in (*records, *verdicts)}),
        comparison=comparison,
        counts={s.value: sum(r.badge is s for r in records if not tables.is_stand_in(r)) for s in Status},
        reference=reference,
        intervals=_intervals(comparison.adsorption, content.threshold_ev()),
        shapes=[_solid(number, shape, content.records("surface")) for number, shape in enumerate(shapes)],
        bonds=bonds_section.section(content.records("bond_strength"), content.records("bond_calibration")),
        **_whole_study(content),
        cards=[_card(number, record, by_job, reference) for number, record in enumerate(records, 1)],
        opens={_key(record): f"result-{number}" for number, record in enumerate(records, 1)},
        levels=_levels(records),
        verdicts=[(row, _margin(row)) for row in comparison.growth],
        silent=[(choice, executed(choice, records)) for choice in reference.silent] if reference else [],
        sources=dict(content.sources),
        style=style,
        viewer={
            "css": Markup(viewer.css()),  # noqa: S704  (ours)
            # The library is half a megabyte: a report without pictures goes without.
            "scripts": Markup(viewer.scripts()) if records else "",  # noqa: S704  (ours)
            "policy": Markup(viewer.policy()),  # noqa: S704  (ours)
        },
    )
    return text


def executed(choice: SilentChoice, records: Sequence[AdsorptionEnergy]) -> str:
    """Return what the records say about a choice that the publication leaves open; empty if nothing."""
    facts: dict[str, Callable[[AdsorptionEnergy], str]] = {
        "termination": lambda r: f"({r.facet}): {r.termination}",
        "thickness": lambda r: (
            f"({r.facet}): {len(r.structure) - len(r.adsorbate_atoms)} slab atoms on {r.area_ang2:.1f} Å²"
        ),
        "sodium ordering": lambda r: f"({r.facet}): {_ordering(r)}" if _ordering(r) else "",
        "dispersion": lambda r: f"{r.level.name}: {r.level.dispersion or 'none'}",
        "dipole": lambda r: _numeric(r.level, "dipole"),
        "hubbard u": lambda r: _numeric(r.level, "hubbard_u"),
        "other": lambda _: "",
    }
    found = {facts[choice.topic](r) for r in records if not tables.is_stand_in(r)}
    return "; ".join(sorted(found - {""}))


def words(name: object) -> str:
    """Return an identifier as words, the unit at its end as a unit.

    >>> words("max_force_ev_per_ang")
    'max force, eV/Å'
    """
    said, unit = unit_of(str(name))
    return f"{said}, {unit}".replace("_", " ") if unit else said.replace("_", " ")


def _ordering(record: AdsorptionEnergy) -> str:
    return str(record.parameters.get("ordering") or "")


def _numeric(level: LevelOfTheory, key: str) -> str:
    return f"{level.name}: {level.numerics[key]}" if key in level.numerics else ""


def templates_of(package: str) -> Any:  # noqa: ANN401  (jinja2 is imported where it is used)
    """Return the templates of a package: all values are escaped, and an unknown one is an error."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _template() -> Any:  # noqa: ANN401  (jinja2 is imported where it is used)
    environment = templates_of("epilayer.report")
    environment.filters |= {
        "ev": tables.ev,
        "doi_links": doi_links,
        "kind": lambda level: tables.KIND_LABELS[level.kind],
        "minus": lambda text: text.replace("-", "\N{MINUS SIGN}"),
        "minus_signs": lambda text: _NEGATIVE.sub("\N{MINUS SIGN}", text),
        "words": words,
    }
    environment.globals.update(
        ev_with_interval=tables.ev_with_interval,
        interval=tables.interval,
        growth_words=growth_words,
        agreement=tables.agreement,
        disqualified=tables.disqualified,
        search_words=tables.search_words,
    )
    return environment.get_template("report.html.j2")


def doi_links(text: str) -> Markup:
    """Return text with its DOIs as links, everything escaped."""
    from markupsafe import Markup, escape

    parts, end = [], 0
    for match in _DOI.finditer(text):
        doi = match.group()
        parts += [escape(text[end : match.start()])]
        parts += [Markup('<a href="https://doi.org/{0}">{0}</a>').format(doi)]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def _intervals(rows: Sequence[tables.AdsorptionRow], threshold_ev: float | None) -> dict[str, Any] | None:
    """Return the interval figure twice, for wide and for narrow screens."""
    if not any(row.levels for row in rows):
        return None

    def draw(width_in: float) -> bytes:
        return charts.interval_figure(rows, threshold_ev=threshold_ev, width_in=width_in)

    return canvas.two_widths(draw, "intervals", charts.describe_intervals(rows, threshold_ev))


def _whole_study(content: ReportContent) -> dict[str, Any]:
    """Return the row-by-row table, where each of its numbers comes from, the methods and citations."""
    found, reference = content.found, content.reference
    rows = paper_table.paper_table(found, reference) if found and reference else ()
    named = {ours.id for row in rows for ours in row.ours}
    return {
        "paper_rows": rows,
        "origins": [
            _origin(kind, one) for kind, records in found.items() for one in records if one.id in named
        ],
        "growth_origins": {
            (one.record.cathode, one.record.ligand): one.id
            for one in found.get("growth", ())
            if one.id in named
        },
        "methods": methods.methods_text(found),
        "citations": citations.bibtex(found, content.sources, content.bibliography) if rows else "",
    }


def _origin(kind: str, one: Found) -> dict[str, Any]:
    record = one.record
    names = ("ligand", "molecule", "system", "mof", "cathode", "facet", "termination")
    subject = ", ".join(str(getattr(record, name)) for name in names if hasattr(record, name))
    level = getattr(record, "level", None)
    files = [(p.run_directory, *item) for p in methods.provenances(record) for item in p.files.items()]
    files += [("", f.path, f.sha256) for f in getattr(record, "trajectories", ())]
    return {
        "id": one.id,
        "title": f"{kind}: {subject}" + (f", {level.name}" if level else ""),
        "code_version": record.code_version,
        "level": level.label if level else "",
        "files": files,
    }


def _solid(number: int, shape: WulffShape, energies: Sequence[SurfaceEnergy]) -> dict[str, Any]:
    """Return a Wulff shape with its figure, ready for the page."""
    from markupsafe import Markup

    words = wulff.describe_wulff(shape)
    drawn = canvas.inline(wulff.wulff_figure(shape, energies), f"wulff-{number}", words, themed=True)
    return {"shape": shape, "figure": Markup(drawn), "words": words}  # noqa: S704  (ours; names are escaped)


def _card(
    number: int,
    record: AdsorptionEnergy,
    by_job: Mapping[str, Calculation],
    reference: Reference | None,
) -> dict[str, Any]:
    """Everything about one record."""
    from markupsafe import Markup

    view = viewer.block(f"card-{number}", record.structure, record.adsorbate_atoms)
    published = reference.value(record.cathode, record.facet, record.ligand) if reference else None
    curves = []
    for leg in record.legs:
        calculation = by_job.get(leg.provenance.job)
        if calculation is not None and len(calculation.energies_ev) > 1:
            curve = canvas.inline(
                charts.relaxation_figure(calculation),
                f"card-{number}-{leg.role}",
                charts.describe_relaxation(calculation),
                themed=True,
            )
            curves.append((_ROLES[leg.role], Markup(curve)))  # noqa: S704  (our SVG)
    return {
        "id": f"result-{number}",
        "record": record,
        "shown": record.status is not Status.REFUSED,
        "stand_in": tables.is_stand_in(record),
        "published": published,
        "minimum": record.minimum,
        "poses": sorted(record.poses, key=lambda p: (p.stage != "relaxed", _or_last(p.adsorption_energy_ev))),
        "picture": Markup(view),  # noqa: S704  (our markup)
        "alt": pictures.describe(record.structure, record.adsorbate_atoms),
        "curves": curves,
        "roles": _ROLES,
    }


def _key(record: AdsorptionEnergy) -> tuple[str, str, str, str, str]:
    """Return what tells a result in the table of adsorption energies."""
    return record.cathode, record.facet, record.ligand, record.level.name, record.termination


def _or_last(value: float | None) -> float:
    return float("inf") if value is None else value


def _levels(records: Sequence[AdsorptionEnergy]) -> list[dict[str, Any]]:
    """Levels of theory, each once, with the versions of the programs that took part."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        entry = found.setdefault(record.level.fingerprint, {"level": record.level, "versions": {}})
        for leg in record.legs:
            entry["versions"] |= leg.provenance.versions
    return [e | {"versions": dict(sorted(e["versions"].items()))} for e in found.values()]


def _margin(row: tables.GrowthRow) -> str:
    """Say in words what the margin of a growth verdict means, or what leaves it open."""
    if row.mode is None or row.threshold_ev is None:
        return ""
    reasons = []
    for facet in row.facets:
        if facet.low_ev is None or facet.high_ev is None:
            reasons.append(f"({facet.facet}) has no value")
        elif facet.binds is None and facet.low_ev <= row.threshold_ev <= facet.high_ev:
            across = min(row.threshold_ev - facet.low_ev, facet.high_ev - row.threshold_ev)
            reasons.append(
                f"the interval of ({facet.facet}) reaches {tables.ev(across, signed=False)} eV "
                "across the threshold"
            )
        elif facet.binds is None:
            reasons.append(f"a value on ({facet.facet}) was refused")
    if reasons:
        text = "; ".join(reasons)
        return f"{text[0].upper()}{text[1:]}."
    margin = tables.ev(row.margin_ev, signed=False)
    return f"The nearest interval ends {margin} eV from the threshold of {tables.ev(row.threshold_ev)} eV."
