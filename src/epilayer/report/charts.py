"""Charts of results: adsorption energies with their intervals, and the course of a relaxation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from epilayer.model.records import Status
from epilayer.report import canvas, style
from epilayer.report.tables import ev, interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from epilayer.model.records import Calculation
    from epilayer.report.tables import AdsorptionRow, LevelResult

_ROW_IN: Final = 0.62
_FLOOR_EV_PER_ANG: Final = 1e-4
_PAPER_MARK: Final[style.Looks] = {
    "marker": "D", "mfc": style.PAPER, "mec": style.PUBLISHED, "mew": 1.3,
}  # fmt: skip


def interval_figure(
    rows: Sequence[AdsorptionRow],
    *,
    threshold_ev: float | None = None,
    form: canvas.Form = "svg",
    width_in: float = style.WIDE_IN,
) -> bytes:
    """Draw every adsorption energy beside the published one, a row for each ligand and facet.

    A marker stands for a level of theory: filled as computed, hollow without dispersion. The band
    is the interval over all of them, the diamond the published value, the dashed line the binding
    threshold. A refused value is named at the right edge.

    Parameters
    ----------
    threshold_ev
        Binding threshold; unset, none is drawn.
    width_in
        Below 5 inches the row names stand above their rows.

    Returns
    -------
    bytes
        An SVG, PNG or PDF file; the same rows give the same bytes.
    """
    narrow = width_in < 5  # noqa: PLR2004  (a phone, or one column)
    names = list(dict.fromkeys(level.level for row in rows for level in row.levels))
    legend_rows = -(-(len(names) + 4) // (2 if narrow else 4))
    head_in, foot_in = 0.17 * legend_rows + 0.1, 0.45
    drawn_in = _ROW_IN * max(len(rows), 1)
    left_in, right_in = 0.15 if narrow else 1.75, 0.12
    with canvas.new_figure(width_in, head_in + foot_in + drawn_in) as figure:
        axes = canvas.axes_at(figure, left_in, foot_in, width_in - left_in - right_in, drawn_in)
        low, high = _range(rows, threshold_ev)
        axes.set(xlim=(low, high), ylim=(max(len(rows), 1) - 0.5, -0.5), yticks=[])
        axes.spines["left"].set_visible(False)
        axes.axvline(0, color=style.RULE, lw=0.8, zorder=0)
        if threshold_ev is not None:
            axes.axvline(threshold_ev, color=style.MUTED, lw=1.0, ls=style.DASHED, zorder=1)
        for number, row in enumerate(rows):
            _row(axes, number, row, names, narrow=narrow)
        axes.set_xlabel("adsorption energy, eV   (bound \N{LEFTWARDS ARROW})", loc="left")
        axes.xaxis.set_major_formatter(lambda value, _: ev(value, signed=False).rstrip("0").rstrip("."))
        _legend(figure, names, threshold_ev, narrow=narrow)
        return canvas.save(figure, form)


def describe_intervals(rows: Sequence[AdsorptionRow], threshold_ev: float | None) -> str:
    """Return in words what :func:`interval_figure` shows."""
    parts = [
        f"{row.ligand} on ({row.facet}): {interval(row.low_ev, row.high_ev)} eV"
        + (f", published {ev(row.published_ev)}" if row.published_ev is not None else "")
        for row in rows
    ]
    tail = f" Binding threshold {ev(threshold_ev)} eV." if threshold_ev is not None else ""
    return f"Adsorption energies with their intervals. {'; '.join(parts)}.{tail}"


def relaxation_figure(
    calculation: Calculation,
    *,
    form: canvas.Form = "svg",
    width_in: float = style.COLUMN_IN,
) -> bytes:
    """Draw energy (relative to the last) and largest force against the step, with the force target.

    Returns
    -------
    bytes
        An SVG, PNG or PDF file; the same calculation gives the same bytes.
    """
    energies = np.array(calculation.energies_ev) - calculation.energies_ev[-1]
    forces = np.maximum(calculation.max_forces_ev_per_ang, _FLOOR_EV_PER_ANG)
    target = calculation.force_target_ev_per_ang
    height_in = 2.3
    with canvas.new_figure(width_in, height_in) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        figure.subplots_adjust(
            left=0.56 / width_in, right=1 - 0.1 / width_in, bottom=0.17, top=0.97, hspace=0.14
        )
        upper.plot(energies, color=style.SERIES[0], marker=".", markersize=3)
        upper.axhline(0, color=style.RULE, lw=0.8, zorder=0)
        upper.set_ylabel("E \N{MINUS SIGN} E(last), eV")
        lower.semilogy(forces, color=style.SERIES[1], marker=".", markersize=3)
        if target is not None:
            lower.axhline(target, color=style.MUTED, lw=1.0, ls=style.DASHED)
            beside: style.Looks = {"xytext": (4, 3), "textcoords": "offset points", "va": "baseline"}
            canvas.note_row(lower, target, f"target {target:g}", 0, **beside)
            lower.set_ylim(min(forces.min(), target) / 1.6, max(forces.max(), target) * 1.6)
        lower.set_ylabel("largest force, eV/Å")
        lower.set_xlabel("step")
        lower.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        lower.yaxis.set_minor_formatter(lambda *_: "")
        lower.xaxis.get_major_locator().set_params(integer=True)
        for axes in (upper, lower):
            axes.yaxis.label.set_size(style.SMALL_PT)
            axes.tick_params(axis="y", labelsize=style.SMALL_PT)
        figure.align_ylabels()
        return canvas.save(figure, form)


def describe_relaxation(calculation: Calculation) -> str:
    """Return in words what :func:`relaxation_figure` shows."""
    steps = len(calculation.energies_ev) - 1
    gained = calculation.energies_ev[0] - calculation.energies_ev[-1]
    target = calculation.force_target_ev_per_ang
    aim = f" (target {target:g})" if target is not None else ""
    return (
        f"Relaxation of {calculation.label}: {steps} steps, energy lowered by {gained:.3f} eV, "
        f"largest force {calculation.max_forces_ev_per_ang[0]:.3f} to "
        f"{calculation.max_force_ev_per_ang:.3f} eV per angstrom{aim}."
    )


def _range(rows: Sequence[AdsorptionRow], threshold_ev: float | None) -> tuple[float, float]:
    values = [0.0, *([threshold_ev] if threshold_ev is not None else [])]
    for row in rows:
        values += [v for v in (row.low_ev, row.high_ev, row.published_ev) if v is not None]
    low, high = min(values), max(values)
    pad = max(0.08 * (high - low), 0.05)
    return low - pad, high + pad


def _row(axes: Axes, number: int, row: AdsorptionRow, names: Sequence[str], *, narrow: bool) -> None:
    """Draw one ligand on one facet: its name, the interval, the published value, a marker a level."""
    if number:
        axes.axhline(number - 0.5, color=style.RULE, lw=0.6, zorder=0)
    _row_name(axes, number, row, narrow=narrow)
    centre = number + (0.12 if narrow else 0.0)
    if row.low_ev is not None and row.high_ev is not None:
        width_ev = row.high_ev - row.low_ev
        looks: style.Looks = {"color": style.RULE, "alpha": 0.45, "zorder": 0, "lw": 0}
        axes.barh(centre, width_ev, left=row.low_ev, height=0.56, **looks)
    if row.published_ev is not None:
        axes.plot(row.published_ev, centre, **_PAPER_MARK, ms=6.5, zorder=4)
        axes.plot(row.published_ev, centre, marker="D", ms=2.2, mfc=style.PUBLISHED, mec="none", zorder=5)
    offsets = np.linspace(-0.19, 0.19, len(row.levels)) if len(row.levels) > 1 else [0.0] * len(row.levels)
    refused = []
    for level, offset in zip(row.levels, offsets, strict=True):
        if level.status is Status.REFUSED or level.value_ev is None:
            refused.append(level.label)
        else:
            _level(
                axes, centre + float(offset), level.value_ev, level, style.series(names.index(level.level))
            )
    note = f"refused: {', '.join(refused)}" if refused else "" if row.levels else "not computed"
    if note:
        ground = {"facecolor": style.PAPER, "edgecolor": "none", "pad": 1.0}  # over the threshold's line
        looks = {"ha": "right", "va": "bottom", "style": "italic", "bbox": ground}
        canvas.note_row(axes, number + 0.45, note, 1, **looks)


def _row_name(axes: Axes, number: int, row: AdsorptionRow, *, narrow: bool) -> None:
    if narrow:
        looks: style.Looks = {"va": "top", "fontweight": "bold", "color": style.INK}
        canvas.note_row(axes, number - 0.47, f"{row.ligand} on ({row.facet})", 0, **looks)
        return
    looks = {"ha": "right", "linespacing": 1.3, "fontsize": style.TEXT_PT}
    canvas.note_row(axes, number, f"{row.ligand}\n", -0.02, fontweight="bold", **looks | {"color": style.INK})
    canvas.note_row(axes, number, f"\non ({row.facet})", -0.02, **looks)


def _level(axes: Axes, y: float, value_ev: float, level: LevelResult, series: tuple[str, str]) -> None:
    colour, marker = series
    if level.without_dispersion_ev is not None:
        axes.plot([value_ev, level.without_dispersion_ev], [y, y], color=colour, lw=0.9, zorder=2)
        hollow: style.Looks = {"mfc": style.PAPER, "mec": colour, "mew": 1.2}
        axes.plot(level.without_dispersion_ev, y, marker=marker, ms=5, zorder=3, **hollow)
    ends = None
    if level.low_ev is not None and level.high_ev is not None:
        ends = [[value_ev - level.low_ev], [level.high_ev - value_ev]]
    axes.errorbar(
        value_ev, y, xerr=ends, color=colour, marker=marker, ms=5.5, mec=colour,
        capsize=1.5, elinewidth=0.9, zorder=3,
    )  # fmt: skip


def _legend(figure: Any, names: Sequence[str], threshold_ev: float | None, *, narrow: bool) -> None:  # noqa: ANN401  (Figure)
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for number, name in enumerate(names):
        colour, marker = style.series(number)
        handles.append(Line2D([], [], color=colour, marker=marker, ms=5, lw=0, label=name))
    hollow: style.Looks = {"marker": "o", "ms": 5, "lw": 0, "mfc": style.PAPER, "mec": style.MUTED}
    handles += [
        Line2D([], [], **hollow, label="hollow: without dispersion"),
        Line2D([], [], **_PAPER_MARK, ms=5.5, lw=0, label="paper"),
        Patch(color=style.RULE, alpha=0.45, lw=0, label="interval"),
    ]
    if threshold_ev is not None:
        dashed: style.Looks = {"color": style.MUTED, "lw": 1.0, "ls": style.DASHED}
        handles.append(Line2D([], [], **dashed, label=f"binding threshold {ev(threshold_ev)}"))
    figure.legend(
        handles=handles, loc="upper left", ncols=2 if narrow else 4, borderaxespad=0.1, handletextpad=0.4,
        columnspacing=1.2, labelspacing=0.25, handlelength=1.4,
    )  # fmt: skip
