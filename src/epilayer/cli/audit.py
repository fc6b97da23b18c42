"""``epilayer audit``: inputs or the facts of a methods text, checked against the level and the physics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from epilayer.cli.common import JsonOption, err, out, print_json, study
from epilayer.cli.runs import LevelOption, QuickOption, SetOption
from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from epilayer.study.auditing import Audit

ERRORS_EXIT = 1
_PLACES_SHOWN = 3


def audit(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="Directory of inputs or outputs; facts of a methods text (.yaml); or a workflow's name.",
            show_default=False,
        ),
    ] = None,
    level: LevelOption = None,
    settings: SetOption = None,
    *,
    quick: QuickOption = False,
    template: Annotated[
        bool, typer.Option("--template", help="Print all facts of a methods text, to fill in.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check inputs, or the facts of a methods text, against a level of theory and the physics.

    Each finding says what, where, why it matters and what to do. Exit code 1: a finding is an error (a number
    made so is wrong, or means something else); warnings (what moves it, or has to be guessed) leave 0.

    Example: [cyan]epilayer audit inputs/ --level paper+u+d3[/]

    Example: [cyan]epilayer audit --template[/]

    Example: [cyan]epilayer audit facts.yaml --json[/]
    """
    if template:
        from epilayer.model.audit import facts_template

        typer.echo(facts_template(), nl=False)
        return
    if target is None:
        raise InputError(
            "What is audited is not named.", "Give a directory, facts as .yaml or a workflow, or --template."
        )
    from epilayer.study.auditing import audit as check

    with err.status("Reading ..."):
        report = check(study(), target, level, [*(settings or ()), *(["quick=true"] if quick else [])])
    counts = report.counts
    if as_json:
        about = {"target": report.target, "kind": report.kind, "levels": report.levels}
        read = {"calculations": report.calculations, "facts": report.facts}
        known = {name: value for name, value in read.items() if value is not None}
        print_json({**about, **known, "counts": counts, "findings": report.findings})
    else:
        _show(report)
    if report.errors:
        raise typer.Exit(ERRORS_EXIT)


def _show(report: Audit) -> None:
    style = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for one in report.findings:
        severity = one.severity.value
        out.print(f"[{style[severity]}]{severity}[/] {escape(one.what)}  [dim]{one.code}[/]", soft_wrap=True)
        if one.where:
            rest = len(one.where) - _PLACES_SHOWN
            places = "; ".join(one.where[:_PLACES_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
            out.print(f"    [dim]in[/] {escape(places)}", soft_wrap=True)
        out.print(f"    {escape(one.why)}", soft_wrap=True)
        out.print(f"    [cyan]{escape(one.remedy)}[/]", soft_wrap=True)
    what = "the text" if report.calculations is None else f"{report.calculations} calculations"
    against = f" against {', '.join(report.levels)}" if report.levels else ""
    counted = ", ".join(f"{n} {name.value}{'s' if n != 1 else ''}" for name, n in report.counts.items() if n)
    out.print(f"Audit of {what}{against}: {counted or '[green]nothing found[/]'}.")
