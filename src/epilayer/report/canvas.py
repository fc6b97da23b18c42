"""From a matplotlib figure to bytes: small, and the same bytes for the same figure."""

from __future__ import annotations

import io
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from epilayer.report import style

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from epilayer.model.units import Dimensionless

Form = Literal["svg", "png", "pdf"]
MINUS: Final = "\N{MINUS SIGN}"

_DRAWING: Final = threading.RLock()
"""matplotlib's settings are one for the process, and the dashboard draws in several threads."""

_FEW_DECADES: Final = 100.0
_DPI: Final = 200
SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_PATH_DATA = re.compile(r'( d="| style="| transform="| x="| y="| width="| height=")([^"]+)"')
_CIRCLE = re.compile(r'<path d="M ([^CzLQ"]+)C ([^CzLQ"]+)C ([^CzLQ"]+)C ([^CzLQ"]+)C ([^CzLQ"]+) z"')
_IDENTIFIER = re.compile(r'(\sid="|xlink:href="#|url\(#)')


@contextmanager
def new_figure(width_in: float, height_in: float) -> Iterator[Figure]:
    """Give a figure in the report's style, without touching the state of any other figure."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with _DRAWING, mpl.rc_context(style.RC):
        yield Figure(figsize=(width_in, height_in))


def axes_at(figure: Figure, left_in: float, bottom_in: float, width_in: float, height_in: float) -> Axes:
    """Add axes whose lower left corner and size are given in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left_in / across, bottom_in / up, width_in / across, height_in / up))


def margins(
    figure: Figure, left_in: float, right_in: float, bottom_in: float, top_in: float, **between: float
) -> None:
    """Set the margins around the axes, in inches; the space ``between`` them as matplotlib has it."""
    across, up = figure.get_size_inches()
    left, right, bottom, top = left_in / across, 1 - right_in / across, bottom_in / up, 1 - top_in / up
    figure.subplots_adjust(left=left, right=right, bottom=bottom, top=top, **between)


def heading(figure: Figure, text: str, from_top_in: float = 0.06) -> None:
    """Write a line in small type at the upper left of a figure."""
    across, up = figure.get_size_inches()
    place = (0.12 / across, 1 - from_top_in / up)
    figure.text(*place, text, va="top", fontsize=style.SMALL_PT, color=style.MUTED)


def legend_above(figure: Figure, from_top_in: float, **options: Any) -> None:  # noqa: ANN401  (of matplotlib)
    """Put the legend at the upper left of a figure, so far below its edge."""
    across, up = figure.get_size_inches()
    place = (0.06 / across, 1 - from_top_in / up)
    figure.legend(loc="upper left", bbox_to_anchor=place, borderaxespad=0.1, **options)


def note_row(
    axes: Axes,
    row: Dimensionless,
    text: str,
    x: Dimensionless = 1.02,
    **options: Any,  # noqa: ANN401  (of matplotlib)
) -> None:
    """Write in small type beside a row of the axes; ``x`` as a fraction of their width."""
    looks = {"va": "center", "fontsize": style.SMALL_PT, "color": style.MUTED, **options}
    axes.annotate(text, (x, row), xycoords=("axes fraction", "data"), **looks)


def plain_numbers(axis: Axis) -> None:
    """Label an axis with short numbers and true minus signs."""
    axis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", MINUS))


def label_decades(axis: Axis) -> None:
    """Label a logarithmic axis by powers of ten; where it spans less than two, at 2 and 5 too."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    narrow = low > 0 and high / low < _FEW_DECADES
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axis.set_major_formatter(lambda value, _: _power(value))
    axis.set_minor_formatter(NullFormatter())


def _power(value: float) -> str:
    if 1e-3 <= value < 1e5:  # noqa: PLR2004  (what reads well in full)
        return f"{value:g}"
    mantissa, _, exponent = f"{value:.0e}".partition("e")
    times = "" if mantissa == "1" else f"{mantissa}\N{MULTIPLICATION SIGN}"
    return f"{times}10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def save(figure: Figure, form: Form) -> bytes:
    """Return a figure as the bytes of a file; call it inside :func:`new_figure`."""
    stream = io.BytesIO()
    # No date and no program name: equal figures are equal bytes.
    empty: dict[Form, dict[str, Any]] = {
        "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    # An SVG stands on the page's own ground; the other forms bring theirs.
    ground = "none" if form == "svg" else style.PAPER
    figure.savefig(stream, format=form, dpi=_DPI, metadata=empty[form], facecolor=ground)
    if form == "svg":
        return _tidied(stream.getvalue().decode()).encode()
    return _indexed(stream) if form == "png" else stream.getvalue()


def _indexed(png: io.BytesIO) -> bytes:
    """Return a PNG with a palette of 256 colours, a third of the size."""
    from PIL import Image

    stream = io.BytesIO()
    with Image.open(png) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(stream, "png", optimize=True)
    return stream.getvalue()


def inline(svg: bytes, prefix: str, title: str, *, themed: bool) -> str:
    """Return an SVG file as an element to stand inside a page.

    Parameters
    ----------
    prefix
        Put before every identifier, so that two pictures in one page cannot meet.
    title
        What the picture shows, for those who cannot see it.
    themed
        Let lines and text take the page's own colours, where it defines them.
    """
    from markupsafe import escape

    text = svg.decode()
    text = text[text.index("<svg") :]
    text = _IDENTIFIER.sub(lambda m: f"{m.group(1)}{prefix}-", text)
    if themed:
        for colour, variable in ((style.INK, "ink"), (style.MUTED, "muted"), (style.RULE, "rule")):
            text = text.replace(f": {colour}", f": var(--{variable}, {colour})")
        for number, colour in enumerate(style.SERIES):
            text = text.replace(f": {colour.lower()}", f": var(--series-{number}, {colour})")
        text = text.replace(f": {style.PAPER}", f": var(--panel, {style.PAPER})")
    # The size in points is dropped: the page scales the picture by its view box.
    head, rest = text.split(">", 1)
    head = re.sub(r' (?:width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(title)}">{rest}'


def two_widths(draw: Callable[[float], bytes], prefix: str, words: str) -> dict[str, Markup]:
    """Draw for a page and for a phone, as elements of a page; its style sheet shows one of them."""
    from markupsafe import Markup

    widths_in = {"wide": style.WIDE_IN, "narrow": style.NARROW_IN}
    # The SVG is ours and escapes every name in it.
    return {
        name: Markup(inline(draw(width_in), f"{prefix}-{name}", words, themed=True))  # noqa: S704
        for name, width_in in widths_in.items()
    }


def _tidied(svg: str) -> str:
    """Shorten an SVG: two decimals are a hundredth of a point; no metadata, no comments."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)

    def shorter(match: re.Match[str]) -> str:
        rounded = _NUMBER.sub(lambda n: f"{float(n.group()):.2f}".rstrip("0").rstrip("."), match.group(2))
        return f'{match.group(1)}{" ".join(rounded.split())}"'

    # Glyph outlines are placed under a small scale, which keeps its digits.
    svg = _PATH_DATA.sub(lambda m: m.group() if "scale" in m.group(2) else shorter(m), svg)
    return _CIRCLE.sub(_circle, svg)


def _circle(match: re.Match[str]) -> str:
    """Return a path of four equal arcs as the circle that it is; any other path unchanged."""
    (right, y), first, second, third, last = ([float(x) for x in part.split()] for part in match.groups())
    left = second[4]
    x, radius = (right + left) / 2, (right - left) / 2
    arcs = [(first[4], abs(first[5] - y)), (third[4], abs(third[5] - y)), (last[4], last[5])]
    wanted = [(x, radius), (x, radius), (right, y)]
    slack = 0.03  # points; the coordinates are rounded to 0.01
    if second[5] != y or any(
        abs(a - b) > slack for p, q in zip(arcs, wanted, strict=True) for a, b in zip(p, q, strict=True)
    ):
        return match.group()
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:.2f}"'
