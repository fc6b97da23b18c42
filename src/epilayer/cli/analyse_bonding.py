"""``epilayer analyse bonding`` and ``hydrogen``: bonds of any LOBSTER directory, hydrogens that leave."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from epilayer.cli.common import (
    JsonOption,
    StepSkipOption,
    TimeStepOption,
    TrajectoryArgument,
    err,
    out,
    plain_table,
    print_json,
)
from epilayer.model.errors import InputError
from epilayer.study.pictures import check_names

if TYPE_CHECKING:
    from epilayer.model.cohp import MappedChanges, RunReport
    from epilayer.study.lobster_runs import Comparison

_SHOWN = 30
_PERCENT = 100.0


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
    from epilayer.model.files import write_atomic
    from epilayer.study import lobster_runs

    check_names(plot, None)
    if molecule is not None and free is None:
        raise InputError("--molecule needs --free.", "Name the run on the free molecule: --free DIR.")
    form: Any = plot.suffix.lower().removeprefix(".") if plot is not None else ""
    if free is not None:
        with err.status("Reading ..."):
            compared = lobster_runs.compare_with_free(
                directory, free, bonds or [], atoms or [], relaxed=structure, molecule=molecule
            )
            picture = lobster_runs.changes_figure(compared, form) if plot is not None else b""
        runs, document = [compared.free, compared.adsorbed], _comparison_json(compared)
    else:
        with err.status("Reading ..."):
            runs = [lobster_runs.read_run(directory, bonds or [], atoms or [], structure)]
            picture = lobster_runs.curves_figure(runs[0], form) if plot is not None else b""
        compared, document = None, runs[0].report.model_dump(mode="json")
    if plot is not None:
        write_atomic(plot, picture)
    if as_json:
        print_json(document)
        return
    for run in runs:
        _show_head(run.report)
    if compared is not None:
        _show_changes(compared.changes)
    else:
        _show_bonds(runs[0].report, everything=not (bonds or atoms))
    if plot is not None:
        out.print(f"Drawn: {escape(str(plot))}")


def _comparison_json(compared: Comparison) -> dict[str, Any]:
    bare = {"bonds", "refused_bonds"}
    return {
        "free": compared.free.report.model_dump(mode="json", exclude=bare),
        "adsorbed": compared.adsorbed.report.model_dump(mode="json", exclude=bare),
        **compared.changes.model_dump(mode="json"),
    }


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
    from epilayer.study.analysing import read_trajectory, transfers_in

    with err.status("Reading ..."):
        frames = read_trajectory(file, time_step_fs=time_step_fs, step_skip=step_skip)
        found = transfers_in(frames, hold_frames)
    count = len(frames.positions)
    if as_json:
        print_json({"file": str(file), "frames": count, "hold_frames": hold_frames, "transfers": found})
        return
    out.print(f"{escape(str(file))}: {count} frames, {len(found)} transfers of a hydrogen")
    if not found:
        return
    headings = ("time (fs)", "hydrogen", "from", "to", "frame", "frames held")
    rows = [
        (
            "" if t.time_fs is None else f"{t.time_fs:g}",
            t.hydrogen,
            t.donor,
            t.acceptor,
            str(t.frame),
            str(t.frames_held),
        )
        for t in found
    ]
    out.print(plain_table(headings, rows, right=("time (fs)", "frame", "frames held")))


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
    each = [f"ICOHP spin {k + 1} (eV)" for k in range(spins)] if spins > 1 else []
    headings = ("label", "bond", "length (Å)", *each, "ICOHP (eV)")
    rows = [
        (
            bond.label,
            f"{bond.atom_1}-{bond.atom_2}",
            f"{bond.length_ang:.4f}",
            *(f"{v:.5f}" for v in bond.per_spin if spins > 1),
            f"{bond.summed:.5f}",
        )
        for bond in shown
    ]
    out.print(plain_table(headings, rows, right={*headings} - {"bond"}))
    if len(shown) < len(report.bonds):
        out.print(f"The {len(shown)} strongest of {len(report.bonds)}; --json prints all, --bonds chooses.")


def _show_changes(compared: MappedChanges) -> None:
    free, here = "-ICOHP free (eV)", "-ICOHP here (eV)"
    headings = ("bond", "here", "free (Å)", "here (Å)", free, here, "change", "note")
    rows = [
        (
            c.name,
            "-".join(f"{e}{k + 1}" for e, k in zip(c.elements, c.adsorbed_atoms, strict=True)),
            f"{c.free_ang:.3f}",
            f"{c.adsorbed_ang:.3f}",
            f"{c.free_ev:.4f}",
            "" if c.adsorbed_ev is None else f"{c.adsorbed_ev:.4f}",
            "" if c.change_ratio is None else f"{_PERCENT * c.change_ratio:+.1f} %",
            c.note,
        )
        for c in compared.changes
    ]
    rows += [
        (b.name, "", f"{b.free_ang:.3f}", "", f"{b.free_ev:.4f}", "", "", "another fits as well")
        for b in compared.open_bonds
    ]
    out.print(plain_table(headings, rows, right={*headings} - {"bond", "here", "note"}))
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
