"""Stills of a molecule on a slab: ball and stick, side and top view, drawn as vectors without any viewer.

Orthographic views at one scale. The molecule is centred by moving whole lattice vectors; atoms on
the edge of the cell are drawn on both sides, and coordination polyhedra that the edge cuts are made
whole. Depth fades towards the paper; atoms that were held are paler still.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from epilayer.report import canvas, style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    Floats = NDArray[np.float64]

View = Literal["side", "top"]

#: Two atoms are drawn bonded within this multiple of their covalent sum (Cordero 2008, doi 10.1039/b801115j).
_BOND_SCALE: Final = 1.2
#: Alkali and alkaline-earth ions are held by many weak contacts; sticks would hide the framework.
_IONIC: Final = frozenset({"Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba"})
#: Below this electronegativity (Pauling) two slab atoms are both cations and share no stick.
_CATION: Final = 2.3
_TOP_VIEW_DEPTH_ANG: Final = 5.0
#: Atoms so near to the edge of the cell (share of an edge) are drawn on both sides.
_EDGE: Final = 0.03
#: A molecule whose centre is this near (laterally) to the atom it touches stands on that atom.
_ON_TOP_ANG: Final = 2.0
#: A contact whose visible part is shorter says nothing in that view.
_SHORT_ANG: Final = 0.5
#: In the side view the molecule stands at this share of the depth from the front: little hides its foot.
_FRONT_SHARE: Final = 0.22
_FADE: Final = 0.5
_HELD_FADE: Final = 0.45
_LABELLED: Final = frozenset({"C", "N", "O", "F", "S", "P"})
_KAPPA: Final = 0.5522847498


@dataclass(frozen=True)
class _Atoms:
    """Atoms in the surface frame: third axis up, slab first; ``ads`` and ``held`` are masks."""

    symbols: tuple[str, ...]
    coords: Floats
    ads: NDArray[np.bool_]
    held: NDArray[np.bool_]
    cell: Floats
    contact: tuple[int, int]

    @property
    def radii(self) -> Floats:
        """Covalent radii, A."""
        return _covalent(self.symbols)


@dataclass(frozen=True)
class _Scene:
    """What one view draws, projected: x and y in the plane, z towards the reader (A)."""

    symbols: tuple[str, ...]
    points: Floats
    ads: NDArray[np.bool_]
    held: NDArray[np.bool_]
    bonds: tuple[tuple[int, int], ...]
    outline: tuple[Floats, ...]
    contact: tuple[int, int]
    contact_ang: float

    @property
    def size(self) -> Floats:
        """Radii of the balls, A."""
        radii = np.minimum(_covalent(self.symbols), 1.35)
        hydrogen = np.array([s == "H" for s in self.symbols])
        return np.asarray(np.where(hydrogen, 0.27, np.where(self.ads, 0.52, 0.36) * radii + 0.06))

    def bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper corner of the drawing, A."""
        size = self.size[:, None]
        flat = self.points[:, :2]
        corners = np.vstack([line[:, :2] for line in self.outline])
        low = np.minimum((flat - size).min(axis=0), corners.min(axis=0))
        high = np.maximum((flat + size).max(axis=0), corners.max(axis=0))
        return low, high


def adslab_picture(
    structure: Structure,
    adsorbate_atoms: Sequence[int],
    *,
    views: Sequence[View] = ("side", "top"),
    form: canvas.Form = "svg",
    width_in: float = style.WIDE_IN,
    max_height_in: float = 5.0,
    dpi: int = 200,
) -> bytes:
    """Draw a molecule on a slab, the views side by side at one scale.

    Parameters
    ----------
    structure
        Slab and molecule; atoms whose ``selective_dynamics`` are all false are drawn as held.
    adsorbate_atoms
        Indices of the molecule's atoms.
    views
        Which views, from left to right.
    width_in, max_height_in
        Size of the figure in inches; the drawing is scaled to fit both.

    Returns
    -------
    bytes
        An SVG, PNG or PDF file; the same structure gives the same bytes.
    """
    atoms = _atoms(structure, adsorbate_atoms)
    scenes = [_scene(atoms, view) for view in views]
    spans = [high - low for low, high in (s.bounds() for s in scenes)]
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
        for scene, view, span in zip(scenes, views, spans, strict=True):
            low_in = foot_in + (height_in - foot_in - head_in - scale * span[1]) / 2
            size = (scale * span[0] / width_in, scale * span[1] / height_in)
            axes = figure.add_axes((left_in / width_in, low_in / height_in, *size))
            low, high = scene.bounds()
            axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
            axes.set_axis_off()
            _draw(axes, scene, 72 * scale)
            title = "side view" if view == "side" else f"top view, outermost {_TOP_VIEW_DEPTH_ANG:.0f} Å"
            figure.text(
                (left_in + scale * span[0] / 2) / width_in,
                (low_in + scale * span[1] + 0.06) / height_in,
                title,
                ha="center",
                va="bottom",
                color=style.MUTED,
            )
            left_in += scale * span[0] + gap_in
        _foot(figure, scenes, scale, foot_in)
        return canvas.save(figure, form, dpi)


def describe(structure: Structure, adsorbate_atoms: Sequence[int]) -> str:
    """Return in words what :func:`adslab_picture` shows, for those who cannot see it."""
    atoms = _atoms(structure, adsorbate_atoms)
    first, second = atoms.contact
    length = float(np.linalg.norm(_nearest(atoms, first, second)))
    held = f", {int(atoms.held.sum())} of them held in place" if atoms.held.any() else ""
    return (
        f"A molecule of {int(atoms.ads.sum())} atoms on a slab of {int((~atoms.ads).sum())} atoms{held}; "
        f"the closest contact is {atoms.symbols[first]} to {atoms.symbols[second]}, {length:.2f} angstrom."
    )


def _covalent(symbols: Sequence[str]) -> Floats:
    from ase.data import atomic_numbers, covalent_radii

    return np.array([covalent_radii[atomic_numbers[s]] for s in symbols])


def _atoms(structure: Structure, adsorbate_atoms: Sequence[int]) -> _Atoms:
    """Bring the atoms into the surface frame, slab first and in one piece, molecule in one piece."""
    from epilayer.analysis import shapes

    chosen = {int(i) for i in adsorbate_atoms}
    order = [*(i for i in range(len(structure)) if i not in chosen), *sorted(chosen)]
    sorted_structure = structure.from_sites([structure[i] for i in order])
    n_slab = len(order) - len(chosen)
    symbols = tuple(site.specie.symbol for site in sorted_structure)
    radii = _covalent(symbols)
    near = np.asarray(sorted_structure.distance_matrix) < _BOND_SCALE * (radii[:, None] + radii[None, :])
    bonds = [(int(i), int(j)) for i, j in np.argwhere(np.triu(near, 1)) if i >= n_slab]
    frame, cell = shapes.surface_frame(sorted_structure)
    slab = shapes.slab_coords(sorted_structure, n_slab) @ frame.T
    molecule = shapes.unwrapped(sorted_structure, n_slab, bonds)
    flags = structure.site_properties.get("selective_dynamics") or [None] * len(order)
    ads = np.arange(len(order)) >= n_slab
    ratio = np.asarray(sorted_structure.distance_matrix)[n_slab:, :n_slab] / (
        radii[n_slab:, None] + radii[None, :n_slab]
    )
    i, j = (int(x) for x in np.unravel_index(np.argmin(ratio), ratio.shape))
    return _Atoms(
        symbols=symbols,
        coords=np.vstack([slab, molecule]),
        ads=ads,
        held=np.array([flags[i] is not None and not any(flags[i]) for i in order]) & ~ads,
        cell=cell,
        contact=(n_slab + i, j),
    )


def _nearest(atoms: _Atoms, first: int, second: int) -> Floats:
    """Vector from one atom to the nearest lateral image of another, A."""
    vector = atoms.coords[second] - atoms.coords[first]
    images = [vector + i * atoms.cell[0] + j * atoms.cell[1] for i, j in product((-2, -1, 0, 1, 2), repeat=2)]
    return min(images, key=lambda v: float(np.linalg.norm(v)))


def _scene(atoms: _Atoms, view: View) -> _Scene:
    plane = atoms.cell[:2, :2]
    middle = _middle(atoms)
    if view == "top":
        axes = np.eye(3)
        window = np.array([[-0.5, 0.5], [-0.5, 0.5]])
    else:
        axes, window = _side(atoms)
    inverse: Floats = np.asarray(np.linalg.inv(plane), dtype=np.float64)
    owners, coords = _in_window(atoms, window, middle, inverse)
    if view == "top":
        top = atoms.coords[~atoms.ads, 2].max()
        shown = atoms.ads[owners] | (coords[:, 2] > top - _TOP_VIEW_DEPTH_ANG)
        owners, coords = owners[shown], coords[shown]
    owners, coords = _completed(atoms, owners, coords)
    symbols = tuple(atoms.symbols[k] for k in owners)
    points = (coords - middle) @ axes.T
    contact = _contact_atoms(atoms, owners, coords)
    corners = [middle[:2] + np.array(f) @ plane for f in product(*window)]
    low = atoms.coords[:, 2].min() - 0.6
    high = atoms.coords[:, 2].max() + 1.2
    edges = [((*corners[i], low), (*corners[j], low)) for i, j in ((0, 1), (1, 3), (3, 2), (2, 0))]
    if view == "side":
        edges += [((*corner, low), (*corner, high)) for corner in corners]
    lines = [(np.array(edge) - middle) @ axes.T for edge in edges]
    return _Scene(
        symbols=symbols,
        points=points,
        ads=atoms.ads[owners],
        held=atoms.held[owners],
        bonds=_bonds(symbols, coords, atoms.ads[owners]),
        outline=_distinct_lines(lines),
        contact=contact,
        contact_ang=float(np.linalg.norm(coords[contact[0]] - coords[contact[1]])),
    )


def _middle(atoms: _Atoms) -> Floats:
    """Where the window is centred: below the molecule, on the atom it touches if that is near.

    A window centred on an atom is cut alike on all sides.
    """
    middle = atoms.coords[atoms.ads].mean(axis=0)
    first, second = atoms.contact
    foot = atoms.coords[first] + _nearest(atoms, first, second)
    if np.linalg.norm((foot - middle)[:2]) < _ON_TOP_ANG:
        middle[:2] = foot[:2]
    return np.asarray(middle)


def _side(atoms: _Atoms) -> tuple[Floats, Floats]:
    """Choose the side, among the four along the cell's edges, that shows most; axes and window."""
    vector = _nearest(atoms, *atoms.contact)
    molecule = atoms.coords[atoms.ads] - atoms.coords[atoms.ads].mean(axis=0)
    best: tuple[float, Floats, Floats] | None = None
    for along, sign in product((0, 1), (1.0, -1.0)):
        across = sign * atoms.cell[along] / np.linalg.norm(atoms.cell[along])
        up = np.array([0.0, 0.0, 1.0])
        axes = np.array([across, up, np.cross(across, up)])
        shown = float(np.linalg.norm((axes @ vector)[:2])) + float(np.std(molecule @ across))
        # Ties go to the view whose foot is nearer to the reader.
        shown += 0.02 * float(axes[2] @ vector)
        window = np.array([[-0.5, 0.5], [-0.5, 0.5]])
        deep = 1 - along
        forward = float(axes[2] @ atoms.cell[deep]) > 0
        window[deep] = [_FRONT_SHARE - 1, _FRONT_SHARE] if forward else [-_FRONT_SHARE, 1 - _FRONT_SHARE]
        if best is None or shown > best[0] + 1e-6:
            best = (shown, axes, window)
    assert best is not None  # noqa: S101  (four sides were tried)
    return best[1], best[2]


def _distinct_lines(lines: Sequence[Floats]) -> tuple[Floats, ...]:
    """Drop lines that are points, or lie on others, in projection."""
    kept: dict[frozenset[tuple[float, ...]], Floats] = {}
    for line in lines:
        ends = frozenset(tuple(float(x) + 0.0 for x in np.round(end[:2], 2)) for end in line)
        if len(ends) > 1:
            kept.setdefault(ends, line)
    return tuple(kept.values())


def _in_window(
    atoms: _Atoms, window: Floats, middle: Floats, inverse: Floats
) -> tuple[NDArray[np.int_], Floats]:
    """Slab atoms and their images inside the window around the molecule; the molecule once."""
    owners: list[int] = []
    coords: list[Floats] = []
    for index, position in enumerate(atoms.coords):
        if atoms.ads[index]:
            owners.append(index)
            coords.append(position)
            continue
        place = (position[:2] - middle[:2]) @ inverse
        for i, j in product(range(-3, 4), repeat=2):
            image = place + np.array([i, j])
            if ((image > window[:, 0] - _EDGE) & (image < window[:, 1] + _EDGE)).all():
                owners.append(index)
                coords.append(position + i * atoms.cell[0] + j * atoms.cell[1])
    return np.array(owners), np.array(coords)


def _completed(atoms: _Atoms, owners: NDArray[np.int_], coords: Floats) -> tuple[NDArray[np.int_], Floats]:
    """Add the images that cations at the edge are bonded to, and the molecule's closest contact."""
    shifts = np.array(
        [i * atoms.cell[0] + j * atoms.cell[1] for i, j in product((-2, -1, 0, 1, 2), repeat=2)]
    )
    slab = np.flatnonzero(~atoms.ads)
    images = (atoms.coords[slab][None] + shifts[:, None]).reshape(-1, 3)
    image_owners = np.tile(slab, len(shifts))
    wanted: list[int] = []
    for centre, position in zip(owners, coords, strict=True):
        if atoms.ads[centre] or not _is_cation(atoms.symbols[centre]) or atoms.symbols[centre] in _IONIC:
            continue
        reach = _BOND_SCALE * (atoms.radii[centre] + atoms.radii[image_owners])
        near = np.linalg.norm(images - position, axis=1)
        wanted += [
            int(k)
            for k in np.flatnonzero((near < reach) & (near > 0.1))  # noqa: PLR2004  (not itself)
            if not _is_cation(atoms.symbols[image_owners[k]])
        ]
    first, second = atoms.contact
    foot = atoms.coords[first] + _nearest(atoms, first, second)
    wanted.append(int(np.argmin(np.linalg.norm(images - foot, axis=1))))
    for k in dict.fromkeys(wanted):
        if np.linalg.norm(coords - images[k], axis=1).min() > 0.1:  # noqa: PLR2004  (A; not drawn yet)
            owners = np.append(owners, image_owners[k])
            coords = np.vstack([coords, images[k]])
    return owners, coords


def _contact_atoms(atoms: _Atoms, owners: NDArray[np.int_], coords: Floats) -> tuple[int, int]:
    first, second = atoms.contact
    foot = atoms.coords[first] + _nearest(atoms, first, second)
    return int(np.flatnonzero(owners == first)[0]), int(np.argmin(np.linalg.norm(coords - foot, axis=1)))


def _is_cation(symbol: str) -> bool:
    from pymatgen.core.periodic_table import Element

    return float(Element(symbol).X) < _CATION and symbol != "H"


def _bonds(symbols: Sequence[str], coords: Floats, ads: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    radii = _covalent(symbols)
    distance = np.linalg.norm(coords[:, None] - coords[None], axis=2)
    near = distance < _BOND_SCALE * (radii[:, None] + radii[None])
    cation = [_is_cation(s) for s in symbols]
    return tuple(
        (int(i), int(j))
        for i, j in np.argwhere(np.triu(near, 1))
        if ads[i] == ads[j]
        and (ads[i] or not (cation[i] and cation[j]))
        and not {symbols[i], symbols[j]} & _IONIC
    )


def _draw(axes: Axes, scene: _Scene, points_per_ang: float) -> None:
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


def _draw_contact(axes: Axes, scene: _Scene) -> None:
    from matplotlib.patheffects import withStroke

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


def _behind(scene: _Scene, k: int) -> bool:
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


def _strokes(scene: _Scene, points_per_ang: float) -> list[_Stroke]:
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


def _half_stick(scene: _Scene, here: int, there: int, size: Floats) -> tuple[list[Floats], float] | None:
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


def _visible(scene: _Scene) -> NDArray[np.bool_]:
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


def _foot(figure: Any, scenes: Sequence[_Scene], scale: float, foot_in: float) -> None:  # noqa: ANN401  (matplotlib's Figure)
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
    order = ["H", "C", "N", "O", "F", "Na", "P", "S", "V"]
    present = {s for scene in scenes for s in scene.symbols}
    symbols = sorted(present, key=lambda s: (order.index(s) if s in order else len(order), s))
    held = any(scene.held.any() for scene in scenes)
    step = 0.33
    for symbol in symbols:
        axes.scatter(
            [x], [y + 0.02], s=42, color=style.element_colour(symbol), edgecolors=style.MUTED, linewidths=0.6
        )
        axes.text(x + 0.08, y + 0.015, symbol, va="center", fontsize=style.SMALL_PT)
        x += step + 0.04 * (len(symbol) - 1)
    words = [("paler: held in place", None)] if held else []
    axes.plot([x + 0.02, x + 0.3], [y + 0.02] * 2, color=style.INK, lw=1.2, ls=(0, (2.2, 1.6)))
    text = "closest contact" + "".join(f";  {word}" for word, _ in words)
    axes.text(x + 0.36, y + 0.015, text, va="center", fontsize=style.SMALL_PT)
