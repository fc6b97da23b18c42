"""Every figure of a study as a file of its own, for a manuscript: vectors, in the one style of the report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from epilayer.report import bonding, canvas, charts, pictures, style, tables, wulff

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from epilayer.model.bonding import BondStudy
    from epilayer.report.content import ReportContent

_WORD = re.compile(r"[^A-Za-z0-9.+-]+")


def study_figures(content: ReportContent, form: canvas.Form = "pdf") -> Iterator[tuple[str, bytes]]:
    """Yield the name (without ending) and the bytes of each figure; records of a stand-in are left out."""
    adsorption = [r for r in content.records("adsorption") if not tables.is_stand_in(r)]
    rows = content.comparison().adsorption
    if any(row.levels for row in rows):
        yield (
            "adsorption-energies",
            charts.interval_figure(rows, threshold_ev=content.threshold_ev(), form=form),
        )
    for record in adsorption:
        # A termination is mostly called after its facet.
        facet = "" if record.termination.startswith(f"{record.facet}-") else record.facet
        name = _name(record.ligand, record.cathode, facet, record.termination, record.level.name)
        yield f"structure-{name}", pictures.still(record.structure, record.adsorbate_atoms, form=form)
    for calculation in content.calculations:
        if len(calculation.energies_ev) > 1 and not calculation.level.stand_in:
            yield f"relaxation-{_name(calculation.label)}", charts.relaxation_figure(calculation, form=form)
    surfaces = content.records("surface")
    for shape in content.records("wulff"):
        if not shape.level.stand_in:
            yield (
                f"wulff-{_name(shape.cathode, shape.level.name)}",
                wulff.wulff_figure(shape, surfaces, form=form),
            )
    yield from _bonds([s for s in content.records("bond_strength") if not s.stand_in], form)


def _bonds(studies: Sequence[BondStudy], form: canvas.Form) -> Iterator[tuple[str, bytes]]:
    for measure in dict.fromkeys(s.measure for s in studies):
        mine = [s for s in studies if s.measure is measure and len(s.orientations) > 1]
        if mine:
            figure = bonding.orientation_figure(mine, form=form, width_in=style.WIDE_IN)
            yield f"orientations-{_name(measure.value)}", figure
    for study in studies:
        bars = bonding.study_bars(study)
        if bars:
            said = f"{bonding.measure_words(study.measure)}, eV"
            name = _name(study.molecule, study.cathode, study.state, study.facet, study.level.name)
            yield f"bonds-{name}", bonding.change_figure(bars, measure=said, form=form)


def _name(*parts: str) -> str:
    return _WORD.sub("-", "-".join(part for part in parts if part)).strip("-").lower()
