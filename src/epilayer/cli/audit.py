"""``epilayer audit``: inputs or the facts of a methods text, checked against the level and the physics."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from epilayer.cli.common import JsonOption, err, out, print_json, study
from epilayer.cli.runs import LevelOption, QuickOption, SetOption
from epilayer.model.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer import Study
    from epilayer.model.audit import AuditFinding, InputFacts
    from epilayer.model.level import Level
    from epilayer.study.config import Catalogue

ERRORS_EXIT = 1
_FACTS = {".yaml", ".yml"}
_OF_VASP = ("INCAR", "KPOINTS", "POSCAR", "OUTCAR", "vasprun", "OSZICAR", "CONTCAR")
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
    report = _audited(study(), target, level, settings or (), quick=quick)
    if as_json:
        print_json(report)
    else:
        _show(report)
    if report["counts"]["error"]:
        raise typer.Exit(ERRORS_EXIT)


def _audited(
    used: Study, target: str, level_name: str | None, settings: Sequence[str], *, quick: bool
) -> dict[str, Any]:
    place = Path(target).expanduser()
    level = used.catalogue.level(level_name) if level_name else None
    if level is not None and level.vasp is None:
        raise InputError(
            f"Level {level.name} is no level of VASP.", "Name one: paper, paper+u+d3, screening."
        )
    is_workflow = place.suffix == ".py" or not place.exists()
    if not is_workflow and (settings or quick):
        raise InputError("--set and --quick belong to a workflow.", "Leave them out.")
    if is_workflow:
        return _workflow(used, target, level_name, [*settings, *(["quick=true"] if quick else [])])
    if place.is_dir() or place.name.startswith(_OF_VASP):
        return _inputs(used, place, level)
    return _methods(used, target, level)


def _workflow(used: Study, name: str, level_name: str | None, settings: Sequence[str]) -> dict[str, Any]:
    from epilayer.study.workflows import write_inputs

    try:
        used.workflow(name)
    except UnknownNameError as error:
        raise InputError(
            f"{name} is no file, directory or workflow.",
            f"{error.remedy} Workflows: epilayer list workflows.",
        ) from error
    with (
        tempfile.TemporaryDirectory(prefix="epilayer-audit-") as folder,
        err.status("Writing its inputs ..."),
    ):
        root = Path(folder) / "inputs"
        write_inputs(used, name, root, level_name, settings)
        report = _inputs(used, root, None)
    return {**report, "target": name, "kind": "workflow"}


def _inputs(used: Study, place: Path, level: Level | None) -> dict[str, Any]:
    from epilayer.analysis.audit_inputs import audit_inputs
    from epilayer.engines.dry import written_level
    from epilayer.engines.vasp.input_facts import read_inputs

    allowed = _hubbard(used.catalogue)
    place = place.absolute()
    read: list[InputFacts] = []
    known = {name: used.catalogue.level(name) for name in used.catalogue.names("levels")}
    base = place if place.is_dir() else place.parent

    def level_of(folder: Path) -> Level | None:
        own = known.get(written_level(folder) or "")
        return level or (own if own and own.vasp else None)

    for facts in read_inputs(place, level_of, allowed):
        inside = Path(facts.where).is_relative_to(base)
        shown = str(Path(facts.where).relative_to(base)) if inside else facts.where
        read.append(facts.model_copy(update={"where": shown if shown != "." else base.name}))
    if not read:
        raise InputError(
            f"{place} holds no inputs of VASP.",
            "Give a directory with an INCAR in it or below it, or facts as .yaml.",
        )
    findings = audit_inputs(read)
    levels = sorted({facts.level for facts in read if facts.level})
    return _report(str(place), "inputs", findings, {"calculations": len(read), "levels": levels})


def _methods(used: Study, target: str, level: Level | None) -> dict[str, Any]:
    from epilayer.analysis.audit import audit_methods
    from epilayer.model.audit import MethodsFacts
    from epilayer.model.base import parse
    from epilayer.study.config import read_yaml

    remedy = "Write the facts of the text into a file: epilayer audit --template > facts.yaml."
    if Path(target).suffix.lower() not in _FACTS:
        raise InputError(f"{target} is neither inputs of VASP nor facts as .yaml.", remedy)
    facts = parse(MethodsFacts, read_yaml(Path(target)), target)
    if facts == MethodsFacts(title=facts.title):
        raise InputError(f"{target} states no fact of a method.", remedy)
    findings = audit_methods(facts, _molecules(used.catalogue), level)
    plain = facts.model_dump(mode="json", exclude_defaults=True)
    return _report(target, "methods", findings, {"facts": plain, "levels": [level.name] if level else []})


def _molecules(catalogue: Catalogue) -> dict[str, str]:
    """Return formulas of the known molecules by the names that texts use."""
    ligands = {name: catalogue.ligand(name) for name in catalogue.names("ligands")}
    return {one: ligand.formula for name, ligand in ligands.items() for one in (ligand.title, name) if one}


def _hubbard(catalogue: Catalogue) -> dict[str, tuple[float, ...]]:
    """Return the U (eV) that cathodes name, by element."""
    out: dict[str, tuple[float, ...]] = {}
    for name in catalogue.names("cathodes"):
        for element, term in catalogue.cathode(name).hubbard_u.items():
            out[element] = tuple(dict.fromkeys((*out.get(element, ()), term.u_ev)))
    return out


def _report(target: str, kind: str, findings: Sequence[AuditFinding], more: dict[str, Any]) -> dict[str, Any]:
    from epilayer.model.audit import AuditSeverity

    counts = {str(one.value): sum(f.severity is one for f in findings) for one in AuditSeverity}
    listed = [one.model_dump(mode="json") for one in findings]
    return {"target": target, "kind": kind, **more, "counts": counts, "findings": listed}


def _show(report: dict[str, Any]) -> None:
    style = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for one in report["findings"]:
        severity = one["severity"]
        out.print(
            f"[{style[severity]}]{severity}[/] {escape(one['what'])}  [dim]{one['code']}[/]", soft_wrap=True
        )
        if one["where"]:
            rest = len(one["where"]) - _PLACES_SHOWN
            places = "; ".join(one["where"][:_PLACES_SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
            out.print(f"    [dim]in[/] {escape(places)}", soft_wrap=True)
        out.print(f"    {escape(one['why'])}", soft_wrap=True)
        out.print(f"    [cyan]{escape(one['remedy'])}[/]", soft_wrap=True)
    counts = report["counts"]
    what = f"{report['calculations']} calculations" if "calculations" in report else "the text"
    against = f" against {', '.join(report['levels'])}" if report.get("levels") else ""
    if not report["findings"]:
        out.print(f"Audit of {what}{against}: [green]nothing found[/].")
        return
    listed = ", ".join(f"{n} {name}{'s' if n != 1 else ''}" for name, n in counts.items() if n)
    out.print(f"Audit of {what}{against}: {listed}.")
