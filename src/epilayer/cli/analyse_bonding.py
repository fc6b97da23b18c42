"""``epilayer analyse bonding`` and ``hydrogen``: bonds of any LOBSTER directory, hydrogens that leave."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.analyse import read_trajectory
from epilayer.cli.common import (
    JsonOption,
    StepSkipOption,
    TimeStepOption,
    TrajectoryArgument,
    err,
    out,
    print_json,
)
from epilayer.model.errors import InputError, UnknownNameError
from epilayer.study.pictures import check_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from epilayer.model.cohp import MappedChange, MappedChanges, RunReport
    from epilayer.model.imported import BondIntegral
    from epilayer.outputs.discover import FoundFiles
    from epilayer.report.canvas import Form

_SHOWN = 30
_MOST_CURVES = 6
_PERCENT = 100.0
_ATOM_PAIR = re.compile(r"\s*(\d+)\s*,\s*(\d+)\s*")
_RANGES = re.compile(r"\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*")


@dataclass(frozen=True)
class LobsterRun:
    """One LOBSTER directory: its report, every bond it lists, and the structure that it ran on."""

    files: FoundFiles
    report: RunReport
    chosen: tuple[BondIntegral, ...]
    listed: tuple[BondIntegral, ...]
    structure: Structure | None


def bonding(
    directory: Annotated[
        Path, typer.Argument(help="Directory in which LOBSTER ran (files may be .gz), or one such file.")
    ],
    bonds: Annotated[
        list[str] | None,
        typer.Option("--bonds", help="C-O (elements), C3-O17 (atoms) or 12 (label); may be repeated."),
    ] = None,
    atoms: Annotated[
        list[str] | None,
        typer.Option("--atoms", metavar="I,J", help="Two atoms, counted from 1 as in POSCAR: 3,17."),
    ] = None,
    structure: Annotated[
        Path | None,
        typer.Option("--structure", help="The relaxed structure (CONTCAR, CIF): refuse a run on another."),
    ] = None,
    free: Annotated[
        Path | None,
        typer.Option(
            "--free", metavar="DIR", help="Run on the free molecule: compare each bond with itself there."
        ),
    ] = None,
    molecule: Annotated[
        str | None,
        typer.Option(
            "--molecule", metavar="145-160", help="With --free: the molecule's atoms, counted from 1."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw COHP curves (with --free: before and after): .svg, .png, .pdf."),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show ICOHP per bond, spin by spin and summed, with the spilling of each spin and a verdict.

    [bold]certified[/]: the run finished, every spin spills at most 5 %, the lists are whole.
    [bold]unverified[/]: no lobsterout says so. [bold]refused[/]: no number is shown. With --free,
    --bonds and --atoms name bonds of the free molecule; the same atoms are found in DIRECTORY.

    Example: [cyan]epilayer analyse bonding lobster/ --bonds C-O --free molecule/ --plot change.svg[/]
    """
    from epilayer.analysis.lobster_runs import compare_runs
    from epilayer.model.files import write_atomic

    check_names(plot, None)
    if molecule is not None and free is None:
        raise InputError("--molecule needs --free.", "Name the run on the free molecule: --free DIR.")
    with err.status("Reading ..."):
        if free is None:
            runs = [read_run(directory, bonds or [], atoms or [], structure)]
            compared: MappedChanges | None = None
            document = runs[0].report.model_dump(mode="json")
            picture = _curves(runs[0], plot) if plot is not None else None
        else:
            runs = [read_run(free, bonds or [], atoms or [], None), read_run(directory, [], [], structure)]
            before, after = runs
            compared = compare_runs(
                before.report,
                _needed(before, free),
                after.report,
                _needed(after, directory),
                after.listed,
                None if molecule is None else _ranges(molecule),
            )
            document = {
                "free": before.report.model_dump(mode="json", exclude={"bonds", "refused_bonds"}),
                "adsorbed": after.report.model_dump(mode="json", exclude={"bonds", "refused_bonds"}),
                **compared.model_dump(mode="json"),
            }
            picture = _bars(after.report, compared.changes, plot) if plot is not None else None
    if plot is not None and picture is not None:
        write_atomic(plot, picture)
    if as_json:
        print_json(document)
        return
    for run in runs:
        _show_head(run.report)
    if compared is not None:
        _show_changes(compared)
    else:
        _show_bonds(runs[0].report, everything=not (bonds or atoms))
    if plot is not None:
        out.print(f"Drawn: {escape(str(plot))}")


def hydrogen(
    file: TrajectoryArgument,
    time_step_fs: TimeStepOption = None,
    step_skip: StepSkipOption = None,
    hold_frames: Annotated[
        int, typer.Option("--hold-frames", min=1, help="Frames for which a new partner must be kept.")
    ] = 3,
    *,
    as_json: JsonOption = False,
) -> None:
    """List every hydrogen that changes its partner in a trajectory: donor, acceptor and time.

    Example: [cyan]epilayer analyse hydrogen XDATCAR --time-step-fs 0.5[/]
    """
    import numpy as np

    from epilayer.analysis.abstraction import hydrogen_transfers

    with err.status("Reading ..."):
        header, positions, cells, between_fs = read_trajectory(file, time_step_fs, step_skip, 0.0)
        fractional = positions if header.coordinates == "fractional" else positions @ np.linalg.inv(cells)
        found = hydrogen_transfers(
            header.symbols, fractional, cells, frame_time_fs=between_fs, hold_frames=hold_frames
        )
    names = [f"{s}{i + 1}" for i, s in enumerate(header.symbols)]
    events = [
        {
            "donor": names[t.donor],
            "hydrogen": names[t.hydrogen],
            "acceptor": names[t.acceptor],
            "frame": t.frame,
            "time_fs": t.time_fs,
            "frames_held": t.frames_held,
        }
        for t in found
    ]
    if as_json:
        print_json(
            {"file": str(file), "frames": len(positions), "hold_frames": hold_frames, "transfers": events}
        )
        return
    out.print(f"{escape(str(file))}: {len(positions)} frames, {len(events)} transfers of a hydrogen")
    if not events:
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("time (fs)", "hydrogen", "from", "to", "frame", "frames held"):
        table.add_column(heading, justify="left" if heading in ("hydrogen", "from", "to") else "right")
    for t, event in zip(found, events, strict=True):
        table.add_row(
            "" if t.time_fs is None else f"{t.time_fs:g}",
            names[t.hydrogen],
            names[t.donor],
            names[t.acceptor],
            str(event["frame"]),
            str(event["frames_held"]),
        )
    out.print(table)


def read_run(directory: Path, names: Sequence[str], pairs: Sequence[str], relaxed: Path | None) -> LobsterRun:
    """Read one LOBSTER directory: bonds by name or by two atoms (all where neither is given).

    Raises
    ------
    InputError
        If there is not one run, a bond is not listed, or it ran on another structure than ``relaxed``.
    """
    from epilayer.analysis.lobster_runs import between, bonding_of, check_lengths, check_same, judge_run
    from epilayer.model.imported import Code
    from epilayer.outputs.discover import find_calculations
    from epilayer.outputs.lobster.directory import find_bonds, import_lobster

    found = [f for f in find_calculations(directory) if f.code is Code.LOBSTER]
    if len(found) != 1:
        held = ", ".join(str(f.folder / f.label) for f in found[:4])
        raise InputError(
            f"{directory} holds {len(found)} LOBSTER runs{': ' + held if held else ''}.",
            "Give the directory, or the lobsterout, of one run."
            if found
            else "Give the directory in which LOBSTER ran.",
        )
    record = import_lobster(found[0])
    listed = bonding_of(record).icohp_ev
    if (names or pairs) and not listed:
        raise InputError(
            f"{directory} has no list of bond integrals (ICOHPLIST.lobster).",
            "Keep it beside the lobsterout.",
        )
    chosen: dict[str, BondIntegral] = {b.label: b for name in names for b in find_bonds(listed, name)}
    for text in pairs:
        given = _ATOM_PAIR.fullmatch(text)
        if given is None:
            raise InputError(f"--atoms {text!r} names no two atoms.", "Write --atoms 3,17.")
        hits = between(listed, int(given[1]), int(given[2]))
        if not hits:
            raise UnknownNameError(
                "pair of atoms", text, [f"{b.atom_1}-{b.atom_2}" for b in listed if b.atom_1 != b.atom_2][:12]
            )
        chosen |= {b.label: b for b in hits}
    ran = _beside(found[0].folder)
    if ran is not None:
        check_lengths(listed, ran[1], str(ran[0]))
    if relaxed is not None:
        target = _structure(relaxed)
        check_lengths(listed, target, str(relaxed))
        if ran is not None:
            check_same(ran[1], target, str(relaxed))
    picked = tuple(chosen.values()) if names or pairs else listed
    report = judge_run(record, picked, None if relaxed is None else str(relaxed))
    return LobsterRun(found[0], report, picked, listed, None if ran is None else ran[1])


def _beside(folder: Path) -> tuple[Path, Structure] | None:
    """Return the structure whose orbitals LOBSTER read: CONTCAR of the single point, or its POSCAR."""
    for name in ("CONTCAR", "CONTCAR.gz", "POSCAR", "POSCAR.gz"):
        path = folder / name
        if path.is_file() and path.stat().st_size:
            return path, _structure(path)
    return None


def _structure(path: Path) -> Structure:
    from pymatgen.core import Structure

    if not path.is_file():
        raise InputError(f"{path} does not exist.", "Give a CONTCAR, POSCAR or CIF.")
    try:
        return Structure.from_file(path)
    except (ValueError, IndexError, KeyError, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as a structure.", "Give a CONTCAR, POSCAR or CIF."
        ) from error


def _needed(run: LobsterRun, directory: Path) -> Structure:
    if run.structure is None:
        raise InputError(
            f"{directory} has no CONTCAR or POSCAR: its atoms cannot be mapped.",
            "Keep the CONTCAR of the single point beside LOBSTER's files.",
        )
    return run.structure


def _ranges(text: str) -> list[int]:
    """Return atoms counted from 0 of a text such as ``145-160,170``."""
    if not _RANGES.fullmatch(text.replace(" ", "")):
        raise InputError(f"--molecule {text!r} names no atoms.", "Write --molecule 145-160.")
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        found += range(int(first) - 1, int(last or first))
    return found


def _curves(run: LobsterRun, plot: Path) -> bytes:
    from epilayer.model.cohp import RunVerdict
    from epilayer.outputs.discover import Role
    from epilayer.outputs.lobster.cohpcar import read_cohpcar
    from epilayer.report.bonding import Curve, cohp_figure

    path = run.files.one(Role.COHPCAR)
    if path is None:
        raise InputError(
            f"{run.report.directory} has no COHPCAR.lobster: no curve.", "Keep it beside the lobsterout."
        )
    if run.report.verdict is RunVerdict.REFUSED:
        raise InputError(
            f"{run.report.directory} is refused ({run.report.reasons[0].what}): no curve is drawn.",
            run.report.reasons[0].remedy or "Run LOBSTER again.",
        )
    strongest = sorted(run.chosen, key=lambda b: b.summed)[:_MOST_CURVES]
    read = read_cohpcar(path, [b.label for b in strongest])
    curves = [
        Curve(
            name=f"{b.atom_1}-{b.atom_2}, {b.length_ang:.2f} Å",
            cohp=read.curves[b.label].per_spin,
            icohp_ev=read.curves[b.label].integrated_per_spin,
            at_fermi_ev=b.summed,
        )
        for b in strongest
    ]
    title = _label(run.report)
    return cohp_figure(read.energies_ev, curves, title=title, form=_form(plot))


def _bars(report: RunReport, changes: Sequence[MappedChange], plot: Path) -> bytes:
    from epilayer.report.bonding import Bar, change_figure

    worst = max((s.charge_percent or 0.0 for s in report.spilling), default=None)
    bars = [Bar(c.name, c.free_ev, c.adsorbed_ev, c.note, worst) for c in changes]
    return change_figure(
        bars,
        measure="\N{MINUS SIGN}ICOHP, eV",
        title=_label(report),
        spilling_limit_percent=report.spilling_limit_percent,
        form=_form(plot),
    )


def _label(report: RunReport) -> str:
    said = f"{report.program or 'LOBSTER'}, {report.verdict.value}"
    return f"{said}. STAND-IN: no number here is an ICOHP" if report.stand_in else said


def _form(plot: Path) -> Form:
    known: dict[str, Form] = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
    return known[plot.suffix.lower()]


def _show_head(report: RunReport) -> None:
    out.print(
        f"[bold]{escape(report.directory)}[/]  {escape(report.program or 'version unknown')}", soft_wrap=True
    )
    if report.stand_in:
        out.print("  STAND-IN: a stand-in for LOBSTER wrote these files; no number here is an ICOHP")
    for one in report.spilling:
        value = "not a number" if one.charge_percent is None else f"{one.charge_percent:.2f} %"
        mark = "passes" if one.passes else f"above {report.spilling_limit_percent:g} %"
        out.print(f"  charge spilling, spin {one.spin}: {value}, {mark}")
    if report.structure_checked:
        out.print(f"  ran on the structure of {escape(report.structure_checked)}")
    out.print(f"  verdict: [bold]{report.verdict.value}[/]")
    for reason in report.reasons:
        out.print(f"    {escape(reason.what)}. {escape(reason.remedy)}".rstrip(), soft_wrap=True)


def _show_bonds(report: RunReport, *, everything: bool) -> None:
    if report.refused_bonds:
        out.print(f"  {len(report.refused_bonds)} bonds are listed; their integrals are withheld.")
    if not report.bonds:
        return
    shown = sorted(report.bonds, key=lambda b: b.summed)[: _SHOWN if everything else None]
    spins = max((len(b.per_spin) for b in shown), default=0)
    table = Table(box=None, pad_edge=False)
    headings = ["label", "bond", "length (Å)"]
    headings += [f"ICOHP spin {k + 1} (eV)" for k in range(spins)] if spins > 1 else []
    for heading in (*headings, "ICOHP (eV)"):
        table.add_column(heading, justify="left" if heading == "bond" else "right")
    for bond in shown:
        per_spin = [f"{v:.5f}" for v in bond.per_spin] if spins > 1 else []
        table.add_row(
            bond.label,
            f"{bond.atom_1}-{bond.atom_2}",
            f"{bond.length_ang:.4f}",
            *per_spin,
            f"{bond.summed:.5f}",
        )
    out.print(table)
    if len(shown) < len(report.bonds):
        out.print(f"The {len(shown)} strongest of {len(report.bonds)}; --json prints all, --bonds chooses.")


def _show_changes(compared: MappedChanges) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in (
        "bond",
        "here",
        "free (Å)",
        "here (Å)",
        "-ICOHP free (eV)",
        "-ICOHP here (eV)",
        "change",
        "note",
    ):
        table.add_column(heading, justify="left" if heading in ("bond", "here", "note") else "right")
    for c in compared.changes:
        table.add_row(
            c.name,
            "-".join(f"{e}{k + 1}" for e, k in zip(c.elements, c.adsorbed_atoms, strict=True)),
            f"{c.free_ang:.3f}",
            f"{c.adsorbed_ang:.3f}",
            f"{c.free_ev:.4f}",
            "" if c.adsorbed_ev is None else f"{c.adsorbed_ev:.4f}",
            "" if c.change_ratio is None else f"{_PERCENT * c.change_ratio:+.1f} %",
            c.note,
        )
    for b in compared.open_bonds:
        table.add_row(b.name, "", f"{b.free_ang:.3f}", "", f"{b.free_ev:.4f}", "", "", "another fits as well")
    out.print(table)
    if compared.open_bonds:
        out.print(
            f"{len(compared.open_bonds)} bonds cannot be told from others there. Give both structures with "
            "the atoms in one order, or an earlier frame of the relaxation.",
            soft_wrap=True,
        )
    counted = [c for c in compared.changes if c.change_ratio is not None and "H" not in c.elements]
    if counted:
        worst = min(counted, key=lambda c: c.change_ratio or 0.0)
        out.print(f"Weakened most: {worst.name} ({_PERCENT * (worst.change_ratio or 0.0):+.1f} %).")
