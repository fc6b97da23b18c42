"""Stills of slabs, molecules on slabs and crystals: ball and stick, side and top view, as vectors.

Orthographic views at one scale. A molecule is centred by moving whole lattice vectors; depth fades
towards the paper; atoms that were held are paler still; guests of a crystal are painted over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from epilayer.report import canvas, scenes, style

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from epilayer.report.scenes import Scene, View

    Floats = NDArray[np.float64]

#: A contact whose visible part is shorter says nothing in that view.
_SHORT_ANG: Final = 0.5
_FADE: Final = 0.5
_HELD_FADE: Final = 0.45
_LABELLED: Final = frozenset({"C", "N", "O", "F", "S", "P"})
_KAPPA: Final = 0.5522847498


def still(
    structure: Structure,
    chosen_atoms: Sequence[int] = (),
    *,
    views: Sequence[View] = ("side", "top"),
    form: canvas.Form = "svg",
    width_in: float = style.WIDE_IN,
    max_height_in: float = 5.0,
) -> bytes:
    """Draw a slab, a molecule on a slab or a crystal, the views side by side at one scale.

    Parameters
    ----------
    structure
        Ordered; atoms whose ``selective_dynamics`` are all false are drawn as held.
    chosen_atoms
        Indices of the adsorbed molecule's atoms, or of the guests in a crystal.
    views
        Which views, from left to right.
    width_in, max_height_in
        Size of the figure in inches; the drawing is scaled to fit both.

    Returns
    -------
    bytes
        An SVG, PNG or PDF file; the same structure gives the same bytes.
    """
    atoms = scenes.atoms_of(structure, chosen_atoms)
    drawn = [scenes.scene_of(atoms, view) for view in views]
    spans = [high - low for low, high in (s.bounds() for s in drawn)]
    margin_in, gap_in, head_in, foot_in = 0.08, 0.22, 0.24, 0.42
    free_in = width_in - 2 * margin_in - gap_in * (len(views) - 1)
    # Inches per angstrom, so that all views fit beside each other and none is too high.
    scale = min(
        free_in / sum(span[0] for span in spans),
        (max_height_in - head_in - foot_in) / max(span[1] for span in spans),
    )
    height_in = head_in + foot_in + scale * max(span[1] for span in spans)
    used_in = scale * sum(span[0] for span in spans) + gap_in * (len(views) - 1)
    with canvas.new_figure(width_in, height_in) as figure:
        left_in = (width_in - used_in) / 2
        for scene, view, span in zip(drawn, views, spans, strict=True):
            low_in = foot_in + (height_in - foot_in - head_in - scale * span[1]) / 2
            size = (scale * span[0] / width_in, scale * span[1] / height_in)
            axes = figure.add_axes((left_in / width_in, low_in / height_in, *size))
            low, high = scene.bounds()
            axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
            axes.set_axis_off()
            _draw(axes, scene, 72 * scale)
            depth = f", outermost {scenes.TOP_VIEW_DEPTH_ANG:.0f} Å" if atoms.layered else ""
            title = "side view" if view == "side" else f"top view{depth}"
            figure.text(
                (left_in + scale * span[0] / 2) / width_in,
                (low_in + scale * span[1] + 0.06) / height_in,
                title,
                ha="center",
                va="bottom",
                color=style.MUTED,
            )
            left_in += scale * span[0] + gap_in
        _foot(figure, drawn, scale, foot_in)
        return canvas.save(figure, form)


def describe(structure: Structure, chosen_atoms: Sequence[int] = ()) -> str:
    """Return in words what :func:`still` shows, for those who cannot see it."""
    atoms = scenes.atoms_of(structure, chosen_atoms)
    held = f", {int(atoms.held.sum())} of them held in place" if atoms.held.any() else ""
    rest = int((~atoms.ads).sum())
    if atoms.contact is None:
        guests = f", with {int(atoms.ads.sum())} atoms of guests" if atoms.ads.any() else ""
        return f"A {'slab' if atoms.layered else 'crystal'} of {rest} atoms{held}{guests}."
    first, second = atoms.contact
    length = float(np.linalg.norm(scenes.nearest_ang(atoms, first, second)))
    return (
        f"A molecule of {int(atoms.ads.sum())} atoms on a slab of {rest} atoms{held}; "
        f"the closest contact is {atoms.symbols[first]} to {atoms.symbols[second]}, {length:.2f} angstrom."
    )


def _draw(axes: Axes, scene: Scene, points_per_ang: float) -> None:
    """Paint one view from back to front."""
    from matplotlib.collections import LineCollection, PathCollection

    axes.add_collection(
        LineCollection([line[:, :2] for line in scene.outline], colors=style.MUTED, linewidths=0.6, zorder=1)
    )
    strokes = _strokes(scene, points_per_ang)
    axes.add_collection(
        PathCollection(
            [s.path for s in strokes],
            facecolors=[s.fill for s in strokes],
            edgecolors=[s.edge for s in strokes],
            linewidths=[s.width_pt for s in strokes],
            zorder=2,
            clip_on=False,
        )
    )
    _draw_contact(axes, scene)
    for k in np.flatnonzero(scene.ads):
        if scene.symbols[k] in _LABELLED and not _behind(scene, int(k)):
            axes.text(
                scene.points[k, 0],
                scene.points[k, 1],
                scene.symbols[k],
                color=style.PAPER,
                fontsize=min(0.75 * scene.size[k] * points_per_ang * 1.35, style.TEXT_PT),
                ha="center",
                va="center_baseline",
                zorder=3,
            )


def _draw_contact(axes: Axes, scene: Scene) -> None:
    from matplotlib.patheffects import withStroke

    if scene.contact is None:
        return
    first, second = scene.contact
    start, end = scene.points[first], scene.points[second]
    direction = (end - start) / np.linalg.norm(end - start)
    # From ball to ball, not from centre to centre.
    start, end = start + scene.size[first] * direction, end - scene.size[second] * direction
    if np.linalg.norm((end - start)[:2]) < _SHORT_ANG:
        return
    axes.plot(
        *np.array([start, end]).T[:2], color=style.INK, lw=1.3, ls=(0, (2.2, 1.6)), zorder=4, clip_on=False
    )
    axes.annotate(
        f"{scene.contact_ang:.2f} Å",
        tuple((start + end)[:2] / 2),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontweight="bold",
        path_effects=[withStroke(linewidth=2.2, foreground=style.PAPER)],
        zorder=5,
    )


def _behind(scene: Scene, k: int) -> bool:
    """Whether a nearer ball covers the middle of this one, where its letter would stand."""
    nearer = scene.points[:, 2] > scene.points[k, 2] + 0.05
    gaps = np.linalg.norm(scene.points[nearer, :2] - scene.points[k, :2], axis=1)
    return bool((gaps < scene.size[nearer] + 0.35 * scene.size[k]).any())


@dataclass(frozen=True)
class _Stroke:
    path: Any
    fill: str
    edge: str
    width_pt: float


def _strokes(scene: Scene, points_per_ang: float) -> list[_Stroke]:
    """Balls and half-sticks, each with its outline, sorted from back to front."""
    from matplotlib.path import Path

    size, points = scene.size, scene.points
    seen = _visible(scene)
    nearest, farthest = points[:, 2].max(), points[:, 2].min()
    depth = (nearest - points[:, 2]) / max(nearest - farthest, 1.0)
    fade = np.where(scene.ads, 0.0, _FADE * depth)
    fade = 1 - (1 - fade) * np.where(scene.held, 1 - _HELD_FADE, 1.0)
    line_pt = float(np.clip(0.045 * points_per_ang, 0.35, 0.8))
    painted: list[tuple[float, list[_Stroke]]] = []
    for k in np.flatnonzero(seen):
        colour = style.mixed(style.element_colour(scene.symbols[k]), style.PAPER, float(fade[k]))
        edge = style.mixed(style.INK, colour, 0.15 if scene.ads[k] else 0.3)
        edge = style.mixed(edge, style.PAPER, float(fade[k]))
        x, y = points[k, :2]
        r = size[k]
        glow = style.mixed(colour, style.PAPER, 0.22)
        spark = style.mixed(colour, style.PAPER, 0.7)
        ball = [
            _Stroke(_disc(Path, x, y, r), colour, edge, line_pt * (1.4 if scene.ads[k] else 1.0)),
            _Stroke(_disc(Path, x - 0.16 * r, y + 0.16 * r, 0.66 * r), glow, "none", 0.0),
            _Stroke(_disc(Path, x - 0.36 * r, y + 0.38 * r, 0.2 * r), spark, "none", 0.0),
        ]
        painted.append((float(points[k, 2]), ball))
    for pair in scene.bonds:
        for here, there in (pair, pair[::-1]):
            half = _half_stick(scene, here, there, size)
            if half is None or not (seen[here] or seen[there]):
                continue
            corners, middle_depth = half
            if scene.ads[here]:
                colour = style.mixed(style.element_colour(scene.symbols[here]), style.PAPER, 0.1)
            else:
                colour = style.mixed(
                    style.mixed(style.element_colour(scene.symbols[here]), style.PAPER, 0.25),
                    style.PAPER,
                    float(fade[here]),
                )
            edge = style.mixed(style.mixed(style.INK, colour, 0.4), style.PAPER, float(fade[here]))
            path = Path([*corners, corners[0]], [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY])
            painted.append((middle_depth, [_Stroke(path, colour, edge, 0.6 * line_pt)]))
    painted.sort(key=lambda item: item[0])
    return [stroke for _, group in painted for stroke in group]


def _half_stick(scene: Scene, here: int, there: int, size: Floats) -> tuple[list[Floats], float] | None:
    """Corners of the half of a stick that belongs to ``here``, and its depth."""
    a, b = scene.points[here], scene.points[there]
    direction = (b - a) / np.linalg.norm(b - a)
    start = a + 0.85 * size[here] * direction
    end = (a + b) / 2
    flat = end[:2] - start[:2]
    length = float(np.linalg.norm(flat))
    if length < 0.03 or float((end - start) @ direction) <= 0:  # noqa: PLR2004  (A; points at the reader)
        return None
    half_width = 0.11 if scene.ads[here] else 0.075
    across = half_width * np.array([-flat[1], flat[0]]) / length
    corners = [start[:2] + across, end[:2] + across, end[:2] - across, start[:2] - across]
    # The ball at its end hides the stick when the stick runs away from the reader, and not otherwise.
    return corners, float((start + end)[2] / 2)


def _visible(scene: Scene) -> NDArray[np.bool_]:
    """Which balls are not wholly behind nearer ones; what nobody sees need not be in the file."""
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = np.vstack([[0.0, 0.0], np.column_stack([np.cos(angles), np.sin(angles)])])
    size, points = scene.size, scene.points
    seen = np.ones(len(points), dtype=bool)
    for k in range(len(points)):
        samples = points[k, :2] + 0.97 * size[k] * ring
        front = points[:, 2] > points[k, 2] + 0.05
        gaps = np.linalg.norm(samples[:, None] - points[None, front, :2], axis=2)
        seen[k] = not (gaps < size[None, front]).any(axis=1).all()
    return seen


def _disc(path: Any, x: float, y: float, r: float) -> Any:  # noqa: ANN401  (matplotlib's Path, imported late)
    """Return a circle of four cubic arcs, half the length of matplotlib's own."""
    k = _KAPPA
    unit = [(1, 0), (1, k), (k, 1), (0, 1), (-k, 1), (-1, k), (-1, 0), (-1, -k), (-k, -1), (0, -1), (k, -1), (1, -k), (1, 0), (1, 0)]  # fmt: skip  # noqa: E501
    vertices = np.array(unit) * r + (x, y)
    return path(vertices, [path.MOVETO, *[path.CURVE4] * 12, path.CLOSEPOLY])


def _foot(figure: Any, drawn: Sequence[Scene], scale: float, foot_in: float) -> None:  # noqa: ANN401  (matplotlib's Figure)
    """Scale bar, elements and what the marks mean, in one row below."""
    width_in, height_in = figure.get_size_inches()
    axes = figure.add_axes((0, 0, 1, foot_in / height_in))
    axes.set(xlim=(0, width_in), ylim=(0, foot_in))
    axes.set_axis_off()
    bar_ang = 5.0
    x, y = 0.12, 0.16
    axes.plot([x, x + bar_ang * scale], [y, y], color=style.INK, lw=1.8, solid_capstyle="butt")
    axes.text(
        x + bar_ang * scale / 2,
        y + 0.05,
        f"{bar_ang:.0f} Å",
        ha="center",
        va="bottom",
        fontsize=style.SMALL_PT,
    )
    x += bar_ang * scale + 0.25
    for symbol in legend(s for scene in drawn for s in scene.symbols):
        axes.scatter(
            [x], [y + 0.02], s=42, color=style.element_colour(symbol), edgecolors=style.MUTED, linewidths=0.6
        )
        axes.text(x + 0.08, y + 0.015, symbol, va="center", fontsize=style.SMALL_PT)
        x += 0.33 + 0.04 * (len(symbol) - 1)
    words = ["paler: held in place"] if any(scene.held.any() for scene in drawn) else []
    if any(scene.contact for scene in drawn):
        axes.plot([x + 0.02, x + 0.3], [y + 0.02] * 2, color=style.INK, lw=1.2, ls=(0, (2.2, 1.6)))
        words.insert(0, "closest contact")
        x += 0.36
    elif any(scene.ads.any() for scene in drawn):
        words.insert(0, "guests are drawn in front of the framework")
    axes.text(x, y + 0.015, ";  ".join(words), va="center", fontsize=style.SMALL_PT)


def legend(symbols: Iterable[str]) -> list[str]:
    """Return the elements of a picture, each once, in the order in which people look for them."""
    order = ["H", "C", "N", "O", "F", "Na", "P", "S", "V"]
    return sorted(set(symbols), key=lambda s: (order.index(s) if s in order else len(order), s))
