"""The equilibrium shape of a crystal, and the surface energies that it follows from, as one figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from epilayer.model.records import Status
from epilayer.report import canvas, style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from epilayer.model.surface import SurfaceEnergy, WulffShape

_AZIMUTH_DEG: Final = 28.0
_ELEVATION_DEG: Final = 24.0
_LIGHT: Final = np.array([0.25, -0.55, 0.8]) / np.linalg.norm([0.25, -0.55, 0.8])
_ROW_IN: Final = 0.3
_LABELLED_FRACTION: Final = 0.02
"""A face seen as less of the picture than this has no room for its label."""


def wulff_figure(
    shape: WulffShape,
    records: Sequence[SurfaceEnergy],
    *,
    form: canvas.Form = "svg",
    width_in: float = style.WIDE_IN,
) -> bytes:
    """Draw a Wulff shape beside the surface energy of every termination at its level of theory.

    Filled markers are relaxed surfaces with their numerical interval, hollow ones the same surfaces with
    the atoms as in the crystal. The termination that a facet shows in the shape is in bold.

    Parameters
    ----------
    records
        Surface energies; those of other cathodes or levels are left out.

    Returns
    -------
    bytes
        An SVG, PNG or PDF file; the same records give the same bytes.
    """
    rows = _rows(shape, records)
    height_in = max(2.6, 0.75 + _ROW_IN * len(rows))
    with canvas.new_figure(width_in, height_in) as figure:
        drawn_in = min(0.42 * width_in, height_in)
        left = figure.add_axes((0, 0, drawn_in / width_in, 1))
        _solid(left, shape)
        label_in, foot_in, head_in = 1.35, 0.42, 0.28
        width, height = width_in - drawn_in - label_in - 0.15, height_in - foot_in - head_in
        right = canvas.axes_at(figure, drawn_in + label_in, foot_in, width, height)
        _energies(right, shape, rows)
        return canvas.save(figure, form)


def describe_wulff(shape: WulffShape) -> str:
    """Return in words what :func:`wulff_figure` shows."""
    if not shape.facets:
        return f"No equilibrium shape of {shape.cathode}: {shape.refusals[0].what}."
    parts = [
        f"({f.facet}) {f.surface_energy_j_per_m2:.2f} J/m2, "
        + (f"{100 * f.area_fraction:.0f} % of the surface, {f.outline}" if f.corners else "does not show")
        for f in shape.facets
    ]
    return f"Equilibrium shape of {shape.cathode}, {shape.level.name}: {'; '.join(parts)}."


def facet_colour(shape: WulffShape, facet: str) -> str:
    """Return the colour of a facet: the same in the shape and beside it."""
    names = [f.facet for f in shape.facets]
    return style.SERIES[names.index(facet) % len(style.SERIES)] if facet in names else style.MUTED


def _rows(shape: WulffShape, records: Sequence[SurfaceEnergy]) -> list[SurfaceEnergy]:
    mine = [
        r
        for r in records
        if r.cathode == shape.cathode
        and r.level.fingerprint == shape.level.fingerprint
        and r.parameters == shape.parameters
    ]
    return sorted(mine, key=lambda r: (r.facet, r.surface_energy_j_per_m2 or np.inf, r.termination))


def _view() -> NDArray[np.float64]:
    """Return rows right, up and toward the reader, (3, 3): c points up."""
    a, e = np.radians([_AZIMUTH_DEG, _ELEVATION_DEG])
    toward = np.array([np.cos(e) * np.sin(a), -np.cos(e) * np.cos(a), np.sin(e)])
    right = np.array([np.cos(a), np.sin(a), 0.0])
    return np.array([right, np.cross(toward, right), toward])


def _solid(axes: Axes, shape: WulffShape) -> None:
    from matplotlib.patches import Polygon

    axes.set_axis_off()
    axes.set_aspect("equal")
    shown = [f for f in shape.faces if len(f.corners_j_per_m2)]
    if not shown:
        axes.text(0.5, 0.5, "no shape", transform=axes.transAxes, ha="center", color=style.MUTED)
        return
    right, up, toward = _view()
    reach = max(float(np.linalg.norm(c)) for f in shown for c in f.corners_j_per_m2)
    for face in shown:
        corners = np.array(face.corners_j_per_m2)
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[1])
        normal /= np.linalg.norm(normal)
        # The shape holds its centre, so a face looks away from it.
        normal *= np.sign(normal @ corners[0])
        if normal @ toward <= 1e-6:  # noqa: PLR2004  (it looks away from the reader)
            continue
        flat = np.column_stack([corners @ right, corners @ up])
        colour = facet_colour(shape, face.facet)
        light = max(0.0, float(normal @ _LIGHT))
        fill = style.mixed(
            style.mixed(colour, style.PAPER, 0.45 + 0.3 * light), style.INK, 0.25 * (1 - light)
        )
        axes.add_patch(Polygon(flat, closed=True, fc=fill, ec=style.INK, lw=0.9, joinstyle="round"))
        if _flat_area(flat) > _LABELLED_FRACTION * np.pi * reach**2:
            x, y = flat.mean(axis=0)
            axes.text(x, y, f"({face.facet})", ha="center", va="center", fontweight="bold")
    axes.set_xlim(-1.12 * reach, 1.12 * reach)
    axes.set_ylim(-1.12 * reach, 1.12 * reach)
    _triad(axes, reach, right, up)


def _triad(axes: Axes, reach: float, right: NDArray[np.float64], up: NDArray[np.float64]) -> None:
    """Draw the Cartesian frame of the cell: x along a, z up."""
    x, y = -0.92 * reach, -0.88 * reach
    for name, axis in (("x", [1, 0, 0]), ("y", [0, 1, 0]), ("z", [0, 0, 1])):
        dx, dy = (0.2 * reach * float(np.dot(axis, row)) for row in (right, up))
        arrow = {"arrowstyle": "->", "color": style.MUTED, "lw": 0.9}
        axes.annotate("", (x + dx, y + dy), (x, y), arrowprops=arrow)
        axes.text(
            x + 1.3 * dx, y + 1.3 * dy, name, ha="center", va="center", fontsize=style.SMALL_PT,
            color=style.MUTED,
        )  # fmt: skip


def _flat_area(corners: NDArray[np.float64]) -> float:
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _energies(axes: Axes, shape: WulffShape, rows: Sequence[SurfaceEnergy]) -> None:
    from matplotlib.lines import Line2D

    chosen = {f.termination for f in shape.facets if f.corners}
    values = [v for r in rows for v in (r.surface_energy_j_per_m2, r.unrelaxed_j_per_m2) if v is not None]
    axes.set(xlim=(0, 1.12 * max(values, default=1.0)), ylim=(len(rows) - 0.4, -0.6), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("surface energy, J/m²", loc="left")
    for y, record in enumerate(rows):
        if y and record.facet != rows[y - 1].facet:
            axes.axhline(y - 0.5, color=style.RULE, lw=0.6, zorder=0)
        colour = facet_colour(shape, record.facet)
        weight = "bold" if record.termination in chosen else "normal"
        looks: style.Looks = {
            "ha": "right",
            "fontweight": weight,
            "fontsize": style.TEXT_PT,
            "color": style.INK,
        }
        canvas.note_row(axes, y, record.termination, -0.03, **looks)
        if record.status is Status.REFUSED or record.surface_energy_j_per_m2 is None:
            why = record.refusals[0].code.value.replace("_", " ")
            axes.text(
                0.01, y, f"refused: {why}", transform=axes.get_yaxis_transform(), va="center",
                fontsize=style.SMALL_PT, color=style.MUTED, style="italic",
            )  # fmt: skip
            continue
        if record.unrelaxed_j_per_m2 is not None:
            ends = [record.surface_energy_j_per_m2, record.unrelaxed_j_per_m2]
            axes.plot(ends, [y, y], color=colour, lw=0.9, zorder=2)
            axes.plot(ends[1], y, marker="o", ms=5, mfc=style.PAPER, mec=colour, mew=1.2, zorder=3)
        axes.errorbar(
            record.surface_energy_j_per_m2, y, xerr=record.uncertainty_j_per_m2, color=colour, marker="o",
            ms=5.5, mec=colour, capsize=2, elinewidth=0.9, zorder=4,
        )  # fmt: skip
    handles: list[Any] = [
        Line2D([], [], marker="o", ms=5, lw=0, color=style.MUTED, label="relaxed"),
        Line2D([], [], marker="o", ms=5, lw=0, mfc=style.PAPER, mec=style.MUTED, label="as in the crystal"),
    ]
    axes.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1.02, 1.0), ncols=2, borderaxespad=0,
        handletextpad=0.3, columnspacing=1.0,
    )  # fmt: skip
    axes.set_title(shape.level.name, loc="left", fontsize=style.SMALL_PT, color=style.MUTED)
