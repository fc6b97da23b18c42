"""Figures of single records: how a surface changes a molecule's bonds, and what is known of diffusion."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from epilayer.report import bonding, canvas, style
from epilayer.report.tables import ev

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epilayer.model.bonding import BondStudy, OrientedBonds
    from epilayer.model.ion_transport import IonTransport
    from epilayer.model.transport import DiffusionEstimate

_MIDDLE_IN: Final = 4.4


@dataclass(frozen=True)
class Curve:
    """A figure that is drawn when it is asked for; a ``themed`` one follows the reader's light or dark.

    A ``wide`` one takes the width of the page.
    """

    title: str
    words: str
    draw: Callable[[], bytes] = field(repr=False)
    themed: bool = True
    wide: bool = False


def bond_curves(record: BondStudy) -> dict[str, Curve]:
    """Return the figures that a study of bonds carries: by orientation, and each bond before and after."""
    drawn: dict[str, Curve] = {}
    if len({(o.turn_deg, o.tilt_deg) for o in record.orientations}) > 1:
        drawn["orientations"] = Curve(
            "Weakest bond by orientation",
            _orientations(record),
            partial(bonding.orientation_figure, [record], width_in=_MIDDLE_IN),
            wide=True,
        )
    one, bars = bonding.telling_orientation(record), bonding.study_bars(record)
    if one is not None and bars:
        drawn["bonds"] = Curve(
            f"Each bond, free and on the surface ({one.label})",
            _changes(record, one),
            partial(
                bonding.change_figure,
                bars,
                measure=f"{bonding.measure_words(record.measure)}, eV",
                width_in=_MIDDLE_IN,
            ),
            wide=True,
        )
    return drawn


def _orientations(record: BondStudy) -> str:
    parts = [
        f"{o.label} {'refused' if o.refusal else _percent(o.weakest.change_ratio) if o.weakest else 'none'}"
        for o in record.orientations
    ]
    return f"Change of the weakest backbone bond of {record.molecule}, by orientation: {'; '.join(parts)}."


def _percent(ratio: float | None) -> str:
    return "broken" if ratio is None else f"{100 * ratio:+.1f} %".replace("-", "\N{MINUS SIGN}")


def _changes(record: BondStudy, oriented: OrientedBonds) -> str:
    parts = [
        f"{b.name} {ev(b.free_ev, signed=False)} to {ev(b.adsorbed_ev, signed=False)} eV"
        for b in oriented.bonds
        if "H" not in b.elements and b.adsorbed_ev is not None
    ]
    listed = "; ".join(parts) or "none measured"
    return f"Bonds of {record.molecule}, free and adsorbed ({oriented.label}): {listed}."


def diffusion_figure(estimates: Sequence[DiffusionEstimate]) -> bytes:
    """Draw the 95 % interval of each species' self-diffusion coefficient; an arrow is a bound only."""
    height_in = 0.75 + 0.4 * len(estimates)
    with canvas.new_figure(style.COLUMN_IN, height_in) as figure:
        axes = figure.add_axes((0.2, 0.45 / height_in, 0.75, 1 - 0.55 / height_in))
        axes.set_xscale("log")
        for number, e in enumerate(estimates):
            colour = style.SERIES[number % len(style.SERIES)]
            low, high = e.lower_cm2_per_s, e.upper_cm2_per_s
            if low is not None and high is not None:
                axes.plot([low, high], [number, number], color=colour)
            elif high is not None:
                axes.plot(high, number, marker="<", color=colour, ms=6)
            elif low is not None:
                axes.plot(low, number, marker=">", color=colour, ms=6)
            if e.diffusion_cm2_per_s is not None:
                axes.plot(e.diffusion_cm2_per_s, number, "o", color=colour, ms=5.5)
            if low is None and high is None:
                canvas.note_row(axes, number, e.verdict.value, 0.02, style="italic")
        axes.set(yticks=range(len(estimates)), yticklabels=[e.species for e in estimates])
        axes.set_ylim(len(estimates) - 0.5, -0.5)
        axes.set_xlabel("D, cm²/s (95 %)", loc="left")
        canvas.label_decades(axes.xaxis)
        return canvas.save(figure, "svg")


def transport_curves(record: IonTransport) -> dict[str, Curve]:
    """Return the figures that a transport record carries."""
    known = record.report.diffusion
    if all(e.lower_cm2_per_s is None and e.upper_cm2_per_s is None for e in known):
        return {}  # refused altogether: the page says why, and an empty frame would say nothing
    said = "; ".join(f"{e.species}: {e.verdict.value}, {e.reason.rstrip('.')}" for e in known)
    return {
        "diffusion": Curve(
            "Self-diffusion, with intervals", f"Diffusion: {said}.", partial(diffusion_figure, known)
        )
    }
