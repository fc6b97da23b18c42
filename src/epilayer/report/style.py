"""Colours, fonts and sizes of every figure and page, in one place.

The series colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which stay apart
in every common colour-vision deficiency. Element colours follow the CPK and VESTA habits where
those stay apart too; single elements were moved until they did.
"""

from __future__ import annotations

from typing import Any, Final

Looks = dict[str, Any]
"""Keyword arguments of matplotlib."""

INK: Final = "#1f2328"
MUTED: Final = "#5b636d"
RULE: Final = "#d0d5db"
PAPER: Final = "#ffffff"

#: One per level of theory, in the order in which levels appear.
SERIES: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7a6a00", "#56B4E9")
#: The same, lightened for a dark ground.
SERIES_ON_DARK: Final = ("#56b4f0", "#ff9a56", "#4fd0a5", "#eaa6cb", "#d6c65a", "#a8d8f7")
MARKERS: Final = ("o", "s", "^", "D", "v", "P")
PUBLISHED: Final = "#1f2328"

ELEMENTS: Final[dict[str, str]] = {
    "H": "#ffffff",
    "C": "#3f3f46",
    "N": "#2557d6",
    "O": "#c8281c",
    "F": "#8fe0e6",
    "Na": "#f4d03f",
    "V": "#7d86a0",
    "P": "#c58bd6",
}

#: Figure widths in inches: two columns, one column, and a phone.
WIDE_IN: Final = 7.2
COLUMN_IN: Final = 3.5
NARROW_IN: Final = 3.9

#: Of thresholds, limits and the Fermi level: four points drawn, three left out.
DASHED: Final = (0, (4, 3))

#: Text size in points, and smaller text.
TEXT_PT: Final = 8.0
SMALL_PT: Final = 7.0

RC: Final[dict[str, Any]] = {
    # The font that ships with matplotlib: the same file gives the same figure on every machine.
    "font.family": "DejaVu Sans",
    "font.size": TEXT_PT,
    "axes.labelsize": TEXT_PT,
    "axes.titlesize": TEXT_PT,
    "xtick.labelsize": SMALL_PT,
    "ytick.labelsize": TEXT_PT,
    "legend.fontsize": SMALL_PT,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "path",
    # Fixed, so that the identifiers inside an SVG do not change from run to run.
    "svg.hashsalt": "epilayer",
    "text.parse_math": False,
}


def series(number: int) -> tuple[str, str]:
    """Return colour and marker of one of several series: either alone tells them apart."""
    return SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]


def element_colour(symbol: str) -> str:
    """Return the colour of an element, ``#rrggbb``; Jmol's where none is set here."""
    if symbol in ELEMENTS:
        return ELEMENTS[symbol]
    from ase.data import atomic_numbers
    from ase.data.colors import jmol_colors

    red, green, blue = (round(255 * float(c)) for c in jmol_colors[atomic_numbers[symbol]])
    return f"#{red:02x}{green:02x}{blue:02x}"


def mixed(colour: str, other: str, share: float) -> str:
    """Return ``colour`` with a ``share`` (0 to 1) of ``other`` in it."""
    pairs = ((int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)
