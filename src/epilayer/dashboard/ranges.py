"""Figures of records that compare: energies by facet, molecule or choice, each with its range."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from epilayer.dashboard.curves import Curve
from epilayer.model.records import CompetingAdsorption, GrowthVerdict
from epilayer.report import canvas, style
from epilayer.report.tables import ev, interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer.model.sensitivity import Sensitivity

_ROW_IN: Final = 0.36
_WIDTH_IN: Final = 4.4
_LEFT_IN: Final = 1.45


@dataclass(frozen=True)
class Range:
    """One row: its ends, and the values in between by what they were computed with."""

    name: str
    low_ev: float | None
    high_ev: float | None
    values_ev: dict[str, float | None]
    note: str = ""


@dataclass(frozen=True)
class Mark:
    """A vertical line."""

    at_ev: float
    name: str


def range_curves(record: GrowthVerdict | CompetingAdsorption | Sensitivity) -> dict[str, Curve]:
    """Return the figure of a record that compares energies; none where it has no value."""
    mark: Mark | None = None
    if isinstance(record, GrowthVerdict):
        title = "Adsorption energy by facet"
        binds = {True: "holds", False: "does not hold", None: "undecided"}
        rows = [
            Range(f"({f.facet})", f.low_ev, f.high_ev, f.values_ev, binds[f.binds]) for f in record.facets
        ]
        mark = Mark(record.threshold_ev, "binding threshold")
    elif isinstance(record, CompetingAdsorption):
        title = "Adsorption energy by molecule"
        rows = [Range(c.ligand, c.low_ev, c.high_ev, c.values_ev) for c in record.competitors]
    else:
        title = "Adsorption energy by choice of the method"
        rows = [
            Range(f"{s.axis}: {s.choice}", *_ends(record.base_ev, s.value_ev), {"changed": s.value_ev})
            for s in record.shifts
        ]
        mark = None if record.base_ev is None else Mark(record.base_ev, "as in the study")
    if all(row.low_ev is None for row in rows):
        return {}
    return {"ranges": Curve(title, _words(title, rows, mark), partial(_figure, rows, mark), wide=True)}


def _ends(base_ev: float | None, value_ev: float | None) -> tuple[float | None, float | None]:
    if base_ev is None or value_ev is None:
        return value_ev, value_ev
    return min(base_ev, value_ev), max(base_ev, value_ev)


def _words(title: str, rows: Sequence[Range], mark: Mark | None) -> str:
    parts = [
        f"{row.name} {'refused' if row.low_ev is None else interval(row.low_ev, row.high_ev) + ' eV'}"
        + (f" ({row.note})" if row.note else "")
        for row in rows
    ]
    return f"{title}: {'; '.join(parts)}." + (f" Dashed: {mark.name}, {ev(mark.at_ev)} eV." if mark else "")


def _figure(rows: Sequence[Range], mark: Mark | None) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row.values_ev))
    head_in = 0.12 + 0.17 * (1 + len(names) // 2)
    height_in = head_in + 0.45 + _ROW_IN * len(rows)
    with canvas.new_figure(_WIDTH_IN, height_in) as figure:
        axes = canvas.axes_at(figure, _LEFT_IN, 0.42, _WIDTH_IN - _LEFT_IN - 1.0, _ROW_IN * len(rows))
        axes.axvline(0, color=style.RULE, lw=0.8, zorder=0)
        if mark is not None:
            looks: style.Looks = {"color": style.MUTED, "lw": 1.0, "ls": style.DASHED, "zorder": 1}
            axes.axvline(mark.at_ev, **looks, label=f"{mark.name} {ev(mark.at_ev)}")
        seen: set[str] = set()
        for place, row in enumerate(rows):
            if row.low_ev is not None and row.high_ev is not None:
                looks = {"color": style.RULE, "lw": 5, "zorder": 1, "solid_capstyle": "butt"}
                axes.plot([row.low_ev, row.high_ev], [place, place], **looks)
            for name, value_ev in row.values_ev.items():
                if value_ev is None:
                    continue
                colour, marker = style.series(names.index(name))
                label = None if name in seen else name
                axes.plot(
                    value_ev, place, ls="none", ms=5, zorder=3, marker=marker, color=colour, label=label
                )
                seen.add(name)
            canvas.note_row(axes, place, "refused" if row.low_ev is None else row.note)
        axes.set(
            ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)), yticklabels=[row.name for row in rows]
        )
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.06)
        axes.set_xlabel("adsorption energy, eV   (bound \N{LEFTWARDS ARROW})", loc="left")
        axes.xaxis.set_major_formatter(lambda value, _: ev(value, signed=False).rstrip("0").rstrip("."))
        figure.legend(
            loc="upper left", bbox_to_anchor=(0.02, 1 - 0.02), ncols=2, handlelength=1.3, columnspacing=1.2,
            borderaxespad=0.1, labelspacing=0.25,
        )  # fmt: skip
        return canvas.save(figure, "svg")
