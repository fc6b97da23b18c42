"""Inputs, or the facts of a methods text, checked against a level of theory and the physics."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epilayer.model.base import parse
from epilayer.model.errors import InputError, UnknownNameError
from epilayer.study.config import read_yaml, shipped
from epilayer.study.workflows import write_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from epilayer.model.audit import AuditFinding, AuditSeverity, AuditTexts, InputFacts
    from epilayer.model.level import Level
    from epilayer.study.config import Catalogue
    from epilayer.study.workspace import Workspace

_FACTS = {".yaml", ".yml"}
_OF_VASP = ("INCAR", "KPOINTS", "POSCAR", "OUTCAR", "vasprun", "OSZICAR", "CONTCAR")


@dataclass(frozen=True)
class Audit:
    """What was checked and what was found.

    Attributes
    ----------
    kind
        ``inputs``, ``workflow`` or ``methods``.
    levels
        Names of the levels of theory that it was checked against.
    calculations
        How many inputs were read; ``None`` for a methods text.
    facts
        What a methods text states.
    """

    target: str
    kind: str
    findings: Sequence[AuditFinding]
    levels: Sequence[str]
    calculations: int | None = None
    facts: Mapping[str, Any] | None = None

    @property
    def counts(self) -> dict[AuditSeverity, int]:
        """How many findings there are of each severity."""
        from epilayer.model.audit import AuditSeverity

        return {one: sum(f.severity is one for f in self.findings) for one in AuditSeverity}

    @property
    def errors(self) -> int:
        """How many findings are errors: a number made so is wrong, or means something else."""
        return sum(finding.severity.value == "error" for finding in self.findings)


def audit(study: Workspace, target: str, level_name: str | None, settings: Sequence[str]) -> Audit:
    """Check a directory of inputs or outputs, the facts of a methods text, or a workflow.

    Parameters
    ----------
    target
        A path, a YAML file of facts, or a workflow's name.
    level_name
        The level of theory to check against.
    settings
        ``key=value`` texts, for a workflow.

    Raises
    ------
    InputError
        If the target is none of these, or holds nothing to check.
    """
    place = Path(target).expanduser()
    level = study.catalogue.level(level_name) if level_name else None
    if level is not None and level.vasp is None:
        raise InputError(
            f"Level {level.name} is no level of VASP.", "Name one: paper, paper+u+d3, screening."
        )
    if place.suffix == ".py" or not place.exists():
        return _workflow(study, target, level_name, settings)
    if settings:
        raise InputError("--set and --quick belong to a workflow.", "Leave them out.")
    if place.is_dir() or place.name.startswith(_OF_VASP):
        return _inputs(study, place, level)
    return _methods(study, target, level)


def _workflow(study: Workspace, name: str, level_name: str | None, settings: Sequence[str]) -> Audit:
    try:
        study.workflow(name)
    except UnknownNameError as error:
        raise InputError(
            f"{name} is no file, directory or workflow.",
            f"{error.remedy} Workflows: epilayer list workflows.",
        ) from error
    with tempfile.TemporaryDirectory(prefix="epilayer-audit-") as folder:
        root = Path(folder) / "inputs"
        write_inputs(study, name, root, level_name, settings)
        return replace(_inputs(study, root, None), target=name, kind="workflow")


def _inputs(study: Workspace, place: Path, level: Level | None) -> Audit:
    from epilayer.analysis.audit_inputs import audit_inputs
    from epilayer.engines.dry import written_level
    from epilayer.engines.vasp.input_facts import read_inputs

    place, catalogue = place.absolute(), study.catalogue
    read: list[InputFacts] = []
    known = {name: catalogue.level(name) for name in catalogue.names("levels")}
    base = place if place.is_dir() else place.parent

    def level_of(folder: Path) -> Level | None:
        own = known.get(written_level(folder) or "")
        return level or (own if own and own.vasp else None)

    for facts in read_inputs(place, level_of, _hubbard_u_ev(catalogue)):
        inside = Path(facts.where).is_relative_to(base)
        shown = str(Path(facts.where).relative_to(base)) if inside else facts.where
        read.append(facts.model_copy(update={"where": shown if shown != "." else base.name}))
    if not read:
        raise InputError(
            f"{place} holds no inputs of VASP.",
            "Give a directory with an INCAR in it or below it, or facts as .yaml.",
        )
    levels = sorted({facts.level for facts in read if facts.level})
    return Audit(str(place), "inputs", audit_inputs(read, audit_texts(study)), levels, calculations=len(read))


def _methods(study: Workspace, target: str, level: Level | None) -> Audit:
    from epilayer.analysis.audit import audit_methods
    from epilayer.model.audit import MethodsFacts

    remedy = "Write the facts of the text into a file: epilayer audit --template > facts.yaml."
    if Path(target).suffix.lower() not in _FACTS:
        raise InputError(f"{target} is neither inputs of VASP nor facts as .yaml.", remedy)
    facts = parse(MethodsFacts, read_yaml(Path(target)), target)
    if facts == MethodsFacts(title=facts.title):
        raise InputError(f"{target} states no fact of a method.", remedy)
    findings = audit_methods(facts, _molecules(study.catalogue), audit_texts(study), level)
    stated = facts.model_dump(mode="json", exclude_defaults=True)
    return Audit(target, "methods", findings, [level.name] if level else [], facts=stated)


def audit_texts(study: Workspace) -> AuditTexts:
    """Return what the findings mean: the study's ``configs/audit.yaml``, or the shipped one."""
    from epilayer.model.audit import AuditTexts

    own = study.root / "configs" / "audit.yaml"
    file = own if own.is_file() else shipped("configs") / "audit.yaml"
    return parse(AuditTexts, read_yaml(file), str(file))


def _molecules(catalogue: Catalogue) -> dict[str, str]:
    """Return formulas of the known molecules by the names that texts use."""
    ligands = {name: catalogue.ligand(name) for name in catalogue.names("ligands")}
    return {one: ligand.formula for name, ligand in ligands.items() for one in (ligand.title, name) if one}


def _hubbard_u_ev(catalogue: Catalogue) -> dict[str, tuple[float, ...]]:
    """Return the U that cathodes name, by element."""
    found: dict[str, tuple[float, ...]] = {}
    for name in catalogue.names("cathodes"):
        for element, term in catalogue.cathode(name).hubbard_u.items():
            found[element] = tuple(dict.fromkeys((*found.get(element, ()), term.u_ev)))
    return found
