"""Bond strengths as figures: COHP curves, bonds before and after adsorption, the curve over orientations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from epilayer.model.bonding import BondMeasure
from epilayer.report import canvas, style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from epilayer.model.bonding import BondStudy, OrientedBonds

_PANEL_IN: Final = 2.3
_BAR_IN: Final = 0.46
_SPIN_DASHES: Final = ("-", (0, (5, 1.5)))
_PERCENT: Final = 100.0


@dataclass(frozen=True)
class Curve:
    """COHP of one bond.

    Parameters
    ----------
    cohp
        Per spin, shape (spins, energies), eV/eV.
    icohp_ev
        Its running integral, the same shape, eV.
    at_fermi_ev
        ICOHP as listed, summed over the spins, eV.
    """

    name: str
    cohp: NDArray[np.float64]
    icohp_ev: NDArray[np.float64]
    at_fermi_ev: float


@dataclass(frozen=True)
class Bar:
    """A bond before and after.

    Parameters
    ----------
    after_ev
        ``None`` where the bond is gone or its number refused; ``note`` says which.
    spilling_percent
        Largest of the run after adsorption; ``None`` where the measure has none.
    """

    name: str
    before_ev: float
    after_ev: float | None
    note: str = ""
    spilling_percent: float | None = None


def measure_words(measure: BondMeasure) -> str:
    """Return the name of a measure, with the words that keep an index from passing for an ICOHP."""
    lobster = measure is BondMeasure.ICOHP_LOBSTER
    text = measure.value if lobster else f"{measure.value}, not LOBSTER"
    return text.replace("-ICOHP", f"{canvas.MINUS}ICOHP")


def cohp_figure(
    energies_ev: NDArray[np.float64],
    curves: Sequence[Curve],
    *,
    title: str = "",
    form: canvas.Form = "svg",
) -> bytes:
    """Draw -COHP of each bond against the energy, a panel a bond: both spins, integral, Fermi level.

    Bonding states lie right of the zero line, antibonding ones left. The energy runs upwards, zero is
    the Fermi level. The thin line is the running integral summed over the spins, on the upper axis.

    Parameters
    ----------
    energies_ev
        Relative to the Fermi level, shape (energies,).

    Returns
    -------
    bytes
        An SVG, PNG or PDF file; the same curves give the same bytes.
    """
    columns = min(len(curves), 3)
    rows = -(-len(curves) // columns)
    width_in = {1: style.COLUMN_IN, 2: 5.2}.get(columns, style.WIDE_IN)
    with canvas.new_figure(width_in, 0.35 + rows * (_PANEL_IN + 1.05)) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        canvas.margins(figure, 0.55, 0.15, 0.42, 1.02, wspace=0.14, hspace=1.1 / _PANEL_IN)
        low = _lowest(energies_ev, curves)
        for axes, curve in zip(grid.flat, curves, strict=False):
            _cohp_panel(axes, energies_ev, curve)
            axes.set_ylim(low, min(float(energies_ev[-1]), 5.0))
        for axes in grid.flat[len(curves) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel(f"E {canvas.MINUS} E(Fermi), eV")
        _cohp_legend(figure, len(curves[0].cohp))
        if title:
            canvas.heading(figure, title, 0.08)
        return canvas.save(figure, form)


def _lowest(energies_ev: NDArray[np.float64], curves: Sequence[Curve]) -> float:
    """Return where the drawing begins: just below the first states of any of the bonds."""
    size = np.max([np.abs(c.cohp).sum(axis=0) for c in curves], axis=0)
    there = np.flatnonzero(size > 0.01 * size.max())
    first = float(energies_ev[there[0]]) if there.size else float(energies_ev[0])
    return max(float(energies_ev[0]), first - 1.0)


def _cohp_panel(axes: Axes, energies_ev: NDArray[np.float64], curve: Curve) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.axvline(0, color=style.RULE, lw=0.8, zorder=0)
    axes.axhline(0, color=style.MUTED, lw=0.9, ls=style.DASHED, zorder=1)
    for values, colour, dashes in zip(curve.cohp, style.SERIES, _SPIN_DASHES, strict=False):
        axes.plot(-values, energies_ev, color=colour, lw=1.1, ls=dashes, zorder=3)
        filled = energies_ev <= 0
        axes.fill_betweenx(energies_ev, 0, -values, where=filled, color=colour, alpha=0.18, lw=0, zorder=2)
    upper = axes.twiny()
    summed = -curve.icohp_ev.sum(axis=0)
    upper.plot(summed, energies_ev, color=style.INK, lw=0.9, zorder=4)
    upper.spines["top"].set_visible(True)
    axes.set_xlabel(f"{canvas.MINUS}COHP, eV/eV")
    upper.set_xlabel(f"{canvas.MINUS}ICOHP, eV", fontsize=style.SMALL_PT, labelpad=2)
    upper.tick_params(axis="x", pad=1)
    for one, drawn in ((axes, curve.cohp), (upper, summed)):
        # Room on either side, the same zero for both axes.
        reach = 1.08 * max(float(np.abs(drawn).max()), 1e-6)
        one.set_xlim(-reach, reach)
        one.xaxis.set_major_locator(MaxNLocator(nbins=4, symmetric=True))
        canvas.plain_numbers(one.xaxis)
    canvas.plain_numbers(axes.yaxis)
    axes.annotate(
        f"{curve.name}\n{canvas.MINUS}ICOHP up to E(Fermi) {-curve.at_fermi_ev:.3f} eV",
        (0, 1), xycoords="axes fraction", xytext=(0, 26), textcoords="offset points", va="bottom",
        fontsize=style.SMALL_PT, linespacing=1.35,
    )  # fmt: skip


def _cohp_legend(figure: Figure, spins: int) -> None:
    from matplotlib.lines import Line2D

    names = ("spin 1", "spin 2") if spins > 1 else ("both spins",)
    drawn = [*zip(names, style.SERIES, (1.1, 1.1), _SPIN_DASHES, strict=False)]
    drawn += [("integral", style.INK, 0.9, "-"), ("Fermi level", style.MUTED, 0.9, style.DASHED)]
    handles = [Line2D([], [], color=colour, lw=lw, ls=ls, label=name) for name, colour, lw, ls in drawn]
    spaces: style.Looks = {"handlelength": 1.6, "columnspacing": 0.9, "handletextpad": 0.4}
    canvas.legend_above(figure, 0.2, handles=handles, ncols=4, **spaces)


def change_figure(
    bars: Sequence[Bar],
    *,
    measure: str,
    title: str = "",
    spilling_limit_percent: float = 5.0,
    form: canvas.Form = "svg",
    width_in: float = style.WIDE_IN,
) -> bytes:
    """Draw each bond twice: free (hollow) and with the surface (filled), the change beside it.

    A bond whose run spills more than the limit is marked and has no filled bar.

    Parameters
    ----------
    measure
        Label of the axis: what the numbers are.
    """
    rows = max(len(bars), 1)
    left_in = 1.0
    with canvas.new_figure(width_in, 0.82 + _BAR_IN * rows) as figure:
        axes = canvas.axes_at(figure, left_in, 0.42, width_in - left_in - 1.55, _BAR_IN * rows)
        places = np.arange(len(bars))
        before, after = [b.before_ev for b in bars], [b.after_ev or 0.0 for b in bars]
        axes.barh(places - 0.19, before, 0.34, color="none", edgecolor=style.MUTED, lw=1.0)
        axes.barh(places + 0.19, after, 0.34, color=style.SERIES[0], lw=0)
        axes.set(ylim=(rows - 0.5, -0.5), yticks=places, yticklabels=[b.name for b in bars])
        axes.set_xlim(left=min(0.0, 1.05 * min([*before, *after, 0.0])))
        axes.tick_params(axis="y", length=0)
        # A long name begins under the names of the bonds where the page is narrow.
        axes.set_xlabel(measure, ha="left", x=0.0 if width_in > style.NARROW_IN else -0.66)
        for place, bar in enumerate(bars):
            known = bar.after_ev is not None
            looks: style.Looks = {"color": style.INK} if known else {"style": "italic"}
            canvas.note_row(axes, place, _bar_note(bar, spilling_limit_percent), **looks)
        canvas.heading(figure, title)
        _bar_legend(figure)
        return canvas.save(figure, form)


def _bar_note(bar: Bar, limit_percent: float) -> str:
    spilled = bar.spilling_percent is not None and bar.spilling_percent > limit_percent
    if spilled:
        return f"\N{WARNING SIGN} spills {bar.spilling_percent:.1f} %"
    if bar.after_ev is None or bar.before_ev == 0:
        return bar.note or "no value"
    change = f"{_PERCENT * (bar.after_ev / bar.before_ev - 1):+.1f} %".replace("-", canvas.MINUS)
    held = "" if bar.spilling_percent is None else f"  (spills {bar.spilling_percent:.1f} %)"
    return change + held


def _bar_legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor="none", edgecolor=style.MUTED, label="free molecule"),
        Patch(facecolor=style.SERIES[0], label="on the surface"),
    ]
    canvas.legend_above(figure, 0.19, handles=handles, ncols=2, handlelength=1.2, handletextpad=0.4)


def orientation_figure(
    studies: Sequence[BondStudy], *, form: canvas.Form = "svg", width_in: float = style.WIDE_IN
) -> bytes:
    """Draw the change of the weakest backbone bond against the turn about the long axis, a line a tilt.

    Parameters
    ----------
    studies
        One panel each, of one measure; orientations that do not count are crosses at the foot.
    """
    columns = min(len(studies), 2 if width_in > style.NARROW_IN else 1)
    rows = -(-len(studies) // columns)
    with canvas.new_figure(width_in, 0.2 + 2.25 * rows) as figure:
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        canvas.margins(figure, 0.78, 0.12, 0.42, 0.42, wspace=0.08, hspace=0.42)
        for axes, study in zip(grid.flat, studies, strict=False):
            _orientation_panel(axes, study)
        for axes in grid.flat[len(studies) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("change of the weakest\nbackbone bond, %")
        for axes in grid[-1, :]:
            axes.set_xlabel("turn about the long axis, degrees")
        canvas.heading(figure, measure_words(studies[0].measure))
        return canvas.save(figure, form)


def _orientation_panel(axes: Axes, study: BondStudy) -> None:
    axes.axhline(0, color=style.RULE, lw=0.8, zorder=0)
    tilts = sorted({o.tilt_deg for o in study.orientations})
    lost: list[OrientedBonds] = []
    for number, tilt_deg in enumerate(tilts):
        mine = sorted((o for o in study.orientations if o.tilt_deg == tilt_deg), key=lambda o: o.turn_deg)
        points: list[tuple[float, float, str]] = []
        for one in mine:
            weakest = one.weakest
            if one.refusal is None and weakest is not None and weakest.change_ratio is not None:
                points.append((one.turn_deg, _PERCENT * weakest.change_ratio, weakest.name))
            else:
                lost.append(one)
                points.append((one.turn_deg, np.nan, ""))  # no line across what does not count
        axes.plot(*_xy(points), **_line(number), label=f"tilt {tilt_deg:g}°", zorder=3)
        for turn_deg, change, name in points:
            axes.annotate(
                name, (turn_deg, change), xytext=(0, 5), textcoords="offset points", ha="center",
                fontsize=style.SMALL_PT - 1, color=style.MUTED,
            )  # fmt: skip
    for one in lost:
        axes.plot(
            one.turn_deg, 0.04, marker="x", ms=5, mew=1.2, color=style.MUTED, lw=0,
            transform=axes.get_xaxis_transform(), label="refused, or broken" if one is lost[0] else None,
        )  # fmt: skip
    axes.set_title(place_of(study), loc="left", color=style.INK, fontsize=style.SMALL_PT)
    axes.set_xticks(sorted({o.turn_deg for o in study.orientations}))
    axes.set_xlim(-25, max(o.turn_deg for o in study.orientations) + 25)
    axes.margins(y=0.28)
    for axis in (axes.xaxis, axes.yaxis):
        canvas.plain_numbers(axis)
    if len(tilts) > 1 or lost:
        axes.legend(loc="best", handlelength=1.2, borderaxespad=0.2)


def _xy(points: Sequence[tuple[Any, ...]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]


def _line(number: int) -> dict[str, Any]:
    """Return colour and marker of one of several lines; either alone tells them apart."""
    colour, marker = style.series(number)
    return {"color": colour, "marker": marker, "ms": 4.5, "lw": 1.1}


def path_figure(
    studies: Sequence[BondStudy], *, form: canvas.Form = "svg", width_in: float = style.WIDE_IN
) -> bytes:
    """Draw the energy along the way of a hydrogen to the surface, a line a study, dashed where refused.

    Parameters
    ----------
    studies
        Those whose abstraction holds a path.
    """
    head_in = 0.14 * len(studies)
    height_in = 2.5 + head_in
    with canvas.new_figure(width_in, height_in) as figure:
        axes = canvas.axes_at(figure, 0.62, 0.42, width_in - 0.74, height_in - 0.6 - head_in)
        axes.axhline(0, color=style.RULE, lw=0.8, zorder=0)
        for number, study in enumerate(studies):
            taken = study.abstraction
            dashes, refused = ((0, (4, 2)), ", refused") if taken.barrier_ev is None else ("-", "")
            method = taken.barrier_method.value if taken.barrier_method else ""
            label = f"{place_of(study)}: {method}{refused}"
            axes.plot(*_xy(taken.barrier_path), **_line(number), ls=dashes, label=label)
        axes.invert_xaxis()  # the reaction goes to the right
        axes.set_xlabel("distance from the hydrogen to the surface's oxygen, Å", loc="left")
        axes.set_ylabel("energy, eV")
        canvas.plain_numbers(axes.yaxis)
        canvas.legend_above(figure, 0.04, handlelength=2.0)
        return canvas.save(figure, form)


def place_of(study: BondStudy) -> str:
    """Return which molecule a study is about, and where it is."""
    if study.facet == "none":
        return f"{study.molecule} {study.state} of {study.cathode}"
    return f"{study.molecule} on {study.cathode} ({study.facet}), {study.state}"


def orientation_words(one: OrientedBonds) -> str:
    """Return an orientation as words; where the molecule was not turned, its site says where it is."""
    if one.label == one.site:
        return one.label
    return f"turn {one.turn_deg:g}°, tilt {one.tilt_deg:g}°"


def telling_orientation(study: BondStudy) -> OrientedBonds | None:
    """Return the orientation that weakens a bond most, else the most stable; ``None`` without any."""
    counted = [o for o in study.orientations if o.refusal is None and o.bonds] or list(study.orientations)

    def lowest(one: OrientedBonds) -> tuple[float, float]:
        weakest = one.weakest
        ratio = weakest.change_ratio if weakest is not None and weakest.change_ratio is not None else 0.0
        return ratio, one.adsorption_energy_ev

    return min(counted, key=lowest, default=None)


def study_bars(study: BondStudy) -> list[Bar]:
    """Return the backbone of the :func:`telling_orientation` as bars."""
    one = telling_orientation(study)
    if one is None:
        return []
    return [
        Bar(
            b.name,
            b.free_ev,
            b.adsorbed_ev if one.refusal is None else None,
            "broken" if not b.intact else "refused",
            study.spilling_percent,
        )
        for b in one.bonds
        if "H" not in b.elements
    ]


def describe_study(study: BondStudy) -> str:
    """Return in words what the figures of a study show."""
    kept = [o for o in study.orientations if o.refusal is None]
    return (
        f"{study.statement} Measured with {study.program}, k-points {study.k_points}; relaxed by "
        f"{study.level.name}. {len(kept)} of {len(study.orientations)} orientations count."
    )
