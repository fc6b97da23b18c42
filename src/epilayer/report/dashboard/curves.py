"""Figures of single records: how a surface changes a molecule's bonds, and what is known of diffusion."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from epilayer.report import canvas, style
from epilayer.report.tables import ev

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from epilayer.model.bonding import BondStudy, OrientedBonds
    from epilayer.model.ion_transport import IonTransport
    from epilayer.model.transport import DiffusionEstimate

_ROW_IN = 0.3


@dataclass(frozen=True)
class Curve:
    """A figure that is drawn when it is asked for; a ``themed`` one follows the reader's light or dark."""

    title: str
    words: str
    draw: Callable[[], bytes] = field(repr=False)
    themed: bool = True


def bond_figure(orientation: OrientedBonds, measure: str) -> bytes:
    """Draw each bond of a molecule, free (hollow) and adsorbed (filled), as an SVG."""
    rows = [b for b in orientation.bonds if "H" not in b.elements] or list(orientation.bonds)
    height_in = 0.8 + _ROW_IN * len(rows)
    with canvas.new_figure(style.COLUMN_IN, height_in) as figure:
        axes = figure.add_axes((0.2, 0.5 / height_in, 0.75, 1 - 0.75 / height_in))
        for number, bond in enumerate(rows):
            axes.plot(bond.free_ev, number, "o", mfc="none", mec=style.MUTED, ms=5.5)
            if bond.adsorbed_ev is not None:
                colour = style.SERIES[0] if bond.intact else style.SERIES[1]
                axes.plot([bond.free_ev, bond.adsorbed_ev], [number, number], color=colour, lw=0.9)
                axes.plot(bond.adsorbed_ev, number, "o", color=colour, ms=5.5)
            else:
                axes.annotate(
                    "broken or refused",
                    (bond.free_ev, number),
                    xytext=(6, -2.5),
                    textcoords="offset points",
                    fontsize=style.SMALL_PT,
                    color=style.MUTED,
                )
        axes.set(yticks=range(len(rows)), yticklabels=[b.name for b in rows], ylim=(len(rows) - 0.5, -0.5))
        axes.set_xlabel(f"{measure}, eV", loc="left")
        axes.margins(x=0.15)
        note = "hollow: free molecule; filled: adsorbed"
        figure.text(0.02, 1 - 0.16 / height_in, note, fontsize=style.SMALL_PT, color=style.MUTED)
        return canvas.save(figure, "svg")


def bond_curves(record: BondStudy) -> dict[str, Curve]:
    """Return a figure for each orientation whose bonds were measured."""

    def said(oriented: OrientedBonds) -> str:
        parts = [
            f"{b.name} {ev(b.free_ev, signed=False)} to {ev(b.adsorbed_ev, signed=False)} eV"
            for b in oriented.bonds
            if "H" not in b.elements and b.adsorbed_ev is not None
        ]
        listed = "; ".join(parts) or "none measured"
        return f"Bonds of {record.molecule}, free and adsorbed ({oriented.label}): {listed}."

    return {
        f"bonds-{number}": Curve(
            f"Bonds: {oriented.label}",
            said(oriented),
            partial(bond_figure, oriented, record.measure.value),
        )
        for number, oriented in enumerate(record.orientations)
        if oriented.bonds
    }


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
                axes.annotate(
                    e.verdict.value,
                    (0.02, number),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    fontsize=style.SMALL_PT,
                    color=style.MUTED,
                    style="italic",
                )
        axes.set(yticks=range(len(estimates)), yticklabels=[e.species for e in estimates])
        axes.set_ylim(len(estimates) - 0.5, -0.5)
        axes.set_xlabel("D, cm²/s (95 %)", loc="left")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0e}")
        axes.xaxis.set_minor_formatter(lambda *_: "")
        return canvas.save(figure, "svg")


def transport_curves(record: IonTransport) -> dict[str, Curve]:
    """Return the figures that a transport record carries."""
    known = record.report.diffusion
    if all(e.lower_cm2_per_s is None and e.upper_cm2_per_s is None for e in known):
        return {}  # refused altogether: the page says why, and an empty frame would say nothing
    said = "; ".join(f"{e.species}: {e.verdict.value}, {e.reason}" for e in known)
    return {
        "diffusion": Curve(
            "Self-diffusion, with intervals", f"Diffusion: {said}.", partial(diffusion_figure, known)
        )
    }
