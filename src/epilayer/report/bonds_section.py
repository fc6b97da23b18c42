"""The report's section on bonds: every bond free and adsorbed, orientations, hydrogens, the calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from epilayer.model.records import Status
from epilayer.report import bonding, canvas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer.model.bonding import BondStudy
    from epilayer.model.calibration import BondCalibration


def section(studies: Sequence[BondStudy], calibrations: Sequence[BondCalibration]) -> dict[str, Any] | None:
    """Return what the template shows; ``None`` where no bond was studied."""
    if not studies:
        return None
    ordered = sorted(studies, key=lambda s: (s.molecule, s.facet == "none", s.facet, s.state))
    drawn = [s for s in ordered if not s.stand_in]
    return {
        "curves": _curves([s for s in drawn if len(s.orientations) > 1]),
        "tables": _tables(drawn),
        "studies": [_study(number, study) for number, study in enumerate(ordered)],
        "abstraction": [s for s in drawn if s.facet != "none"],
        "path": _path([s for s in drawn if s.abstraction.barrier_path]),
        "calibrations": [c.statement for c in calibrations],
    }


def _curves(scanned: Sequence[BondStudy]) -> list[dict[str, Any]]:
    """Return one figure a measure: numbers of two measures never share an axis."""
    curves = []
    for number, measure in enumerate(dict.fromkeys(s.measure for s in scanned)):
        mine = [s for s in scanned if s.measure is measure]
        said = " ".join(s.statement for s in mine)
        pictures = canvas.two_widths(
            lambda width_in, mine=mine: bonding.orientation_figure(mine, width_in=width_in),  # type: ignore[misc]
            f"orientations-{number}",
            said,
        )
        curves.append({"measure": bonding.measure_words(measure), **pictures})
    return curves


def _tables(studies: Sequence[BondStudy]) -> list[dict[str, Any]]:
    """Return one table a measure, a group of rows a study: its backbone in the orientation shown."""
    tables = []
    for measure in dict.fromkeys(s.measure for s in studies):
        mine = [s for s in studies if s.measure is measure]
        groups = []
        for study in mine:
            one = bonding.telling_orientation(study)
            if one is not None:
                rows = [b for b in one.bonds if "H" not in b.elements]
                words = bonding.orientation_words(one)
                place = bonding.place_of(study)
                groups.append({"study": study, "place": place, "shown": one, "words": words, "rows": rows})
        levels = ", ".join(dict.fromkeys(s.level.label for s in mine))
        tables.append({"measure": bonding.measure_words(measure), "levels": levels, "groups": groups})
    return tables


def _study(number: int, study: BondStudy) -> dict[str, Any]:
    place, words = bonding.place_of(study), bonding.describe_study(study)
    left_out = [(bonding.orientation_words(o), o.refusal) for o in study.orientations if o.refusal]
    item = {"study": study, "place": place, "words": words, "left_out": left_out, "wide": None}
    bars = [] if study.stand_in or study.status is Status.REFUSED else bonding.study_bars(study)
    one = bonding.telling_orientation(study)
    if not bars or one is None:
        return item
    measure = f"{bonding.measure_words(study.measure)}, eV"

    def drawing(width_in: float) -> bytes:
        title = f"{place}, {bonding.orientation_words(one)}"
        return bonding.change_figure(bars, measure=measure, title=title, width_in=width_in)

    return {**item, **canvas.two_widths(drawing, f"bonds-{number}", words)}


def _path(walked: Sequence[BondStudy]) -> dict[str, Any] | None:
    if not walked:
        return None
    said = " ".join(f"{bonding.place_of(s)}: {_barrier_words(s)}" for s in walked)
    pictures = canvas.two_widths(
        lambda width_in: bonding.path_figure(walked, width_in=width_in), "hydrogen-path", said
    )
    return {"words": said, "levels": ", ".join(dict.fromkeys(s.level.name for s in walked)), **pictures}


def _barrier_words(study: BondStudy) -> str:
    taken = study.abstraction
    if taken.barrier_ev is None:
        return f"refused. {taken.barrier_refusal}"
    return f"barrier {taken.barrier_ev:.2f} eV."
