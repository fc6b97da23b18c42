"""The pages of the reference that are made from the code: commands, record kinds, YAML keys, failures."""

from __future__ import annotations

import ast
import errno
import inspect
import re
import signal
import textwrap
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import epilayer.study.config
from epilayer.cli.root import app
from epilayer.launch.failures import by_scheduler, classify, of_error, of_exit
from epilayer.launch.scheduler import Accounted, SchedulerState
from epilayer.model.base import Frozen, parse
from epilayer.model.cathode import Cathode
from epilayer.model.cluster import Action, Cluster, Recovery
from epilayer.model.errors import EngineError, InputError, SetupError, StoreError
from epilayer.model.failure import Failure, FailureClass
from epilayer.model.imported import (
    CalculationKind,
    Code,
    Finding,
    ImportedCalculation,
    ImportStatus,
    Reason,
    Severity,
)
from epilayer.model.kind import MEANINGS
from epilayer.model.kinds import KINDS
from epilayer.model.level import EngineSpec, Level
from epilayer.model.ligand import Ligand
from epilayer.model.mof import Mof
from epilayer.model.reference import Reference
from epilayer.outputs.run_failure import class_of, failure_of
from epilayer.outputs.vasp.error_messages import TEXTS
from epilayer.study.config import read_yaml, shipped

MADE = "<!-- Made from the code when the documentation is built. -->\n\n"
FILES: dict[str, type[Frozen]] = {
    "epilayer.yaml": epilayer.study.config.Settings,
    "configs/ligands/NAME.yaml": Ligand,
    "configs/cathodes/NAME.yaml": Cathode,
    "configs/mofs/NAME.yaml": Mof,
    "configs/engines/NAME.yaml": EngineSpec,
    "configs/levels/NAME.yaml": Level,
    "configs/clusters/NAME.yaml": Cluster,
    "configs/recovery.yaml": Recovery,
    "configs/references/NAME.yaml": Reference,
}


KEYS = {
    "name": "the name of the file, without `.yaml`",
    "title": "what tables print",
    "formula": "checked against what is built",
    "source": "where it comes from: a DOI, or who made it and how",
}


def write(folder: Path) -> None:
    """Write every generated page into a folder; one that would not change is left alone."""
    pages = {"cli.md": cli(), "records.md": records(), "configs.md": configs(), "failures.md": failures()}
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def cli() -> str:
    """Every command with its arguments, options and examples."""
    text = MADE + "# Commands\n\nWhat stands before the command:\n\n"
    root = typer.main.get_command(app)
    text += _parameters(root, ["epilayer"])
    text += (
        "\nExit codes: 0 all done, 1 a check found something, 2 bad input, 3 a job failed or an engine is "
    )
    text += "missing, 4 queue, 5 store, 6 jobs remain, 7 the operating system refused, 130 stopped.\n"
    for path, command in commands(root, ["epilayer"]):
        prose, examples = _help(command.help or "")
        text += f"\n## {' '.join(path)}\n\n{prose}\n\n```text\n"
        text += "\n".join(examples) + "\n```\n\n" + _parameters(command, path)
    return text


def commands(group: Any, path: list[str]) -> Iterator[tuple[list[str], Any]]:
    """Yield every visible command and the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, [*path, name])
        elif not command.hidden:
            yield [*path, name], command


def _help(text: str) -> tuple[str, list[str]]:
    """Part the prose of a help text from its examples."""
    examples = re.findall(r"\[cyan\](epilayer .*?)\[/\]", text)
    prose = re.split(r"^Example: ", inspect.cleandoc(text), maxsplit=1, flags=re.MULTILINE)[0]
    prose = re.sub(r"\[(?:cyan|bold)\](.*?)\[/\]", r"`\1`", prose.replace("``", "`"))
    return prose.strip(), examples


def _parameters(command: Any, path: list[str]) -> str:
    context = typer.Context(command, info_name=" ".join(path))
    rows = []
    for one in command.params:
        if getattr(one, "hidden", False) or one.name == "help":
            continue
        words = one.opts + one.secondary_opts if one.param_type_name == "option" else [one.display_name_raw]
        kind = "" if getattr(one, "is_flag", False) else one.metavar or one.display_type(context).strip("<>")
        kind = re.sub(r"list\[(.*)\]", r"\1", kind).replace("|", " \\| ") + (
            ", repeated" if one.nargs == -1 or getattr(one, "multiple", False) else ""
        )
        default = getattr(one.default, "value", one.default)
        shown = (
            f"`{default}`" if isinstance(default, str | int | float) and not isinstance(default, bool) else ""
        )
        help_text = re.sub(r"\[(?:cyan|bold)\](.*?)\[/\]", r"`\1`", getattr(one, "help", "") or "")
        rows.append((", ".join(f"`{word}`" for word in words), kind, shown, help_text.replace("|", "\\|")))
    return _table(("", "value", "default", "meaning"), rows)


def records() -> str:
    """Every kind of record: what it is, and the fields that a query knows."""
    text = MADE + "# Record kinds and their fields\n\n"
    text += (
        "`epilayer query KIND` filters, sorts and shows the fields; `--format json` and the dashboard show "
    )
    text += (
        "whole records. Every record also has `id` (the hash of what was asked), `created`, and `job` where "
    )
    text += "one made it. "
    text += "Units are in the names (`_ev`, `_ang`, `_j_per_m2` ...).\n"
    for name, kind in KINDS.items():
        meanings = meaning_of(kind.record)
        rows = [
            (
                f"`{column.name}`",
                "yes" if column.name in kind.shown else "",
                column.about or meanings.get(column.name) or MEANINGS.get(column.name, ""),
            )
            for column in kind.columns
        ]
        text += f"\n## {name}\n\n{_first_paragraph(kind.record)}\n\n"
        text += _table(("field", "in the table", "meaning"), rows)
        text += f"\nWhole record: `{kind.record.__module__}.{kind.record.__name__}`, with "
        text += ", ".join(f"`{key}`" for key in kind.record.model_fields) + ".\n"
    return text


def configs() -> str:
    """Every YAML file and its keys."""
    text = MADE + "# YAML files and their keys\n\n"
    text += "Unknown keys are refused, with the nearest known one named. "
    text += "A key without a default must be given.\n\n"
    rows = [(f"`{file}`", f"[{model.__name__}](#{model.__name__.lower()})") for file, model in FILES.items()]
    text += _table(("file", "keys"), rows)
    for model in _with_parts(list(FILES.values())):
        meanings = meaning_of(model)
        keys = [
            (
                f"`{key}`",
                _type_text(field.annotation),
                _default(field),
                field.description or meanings.get(key) or KEYS.get(key, ""),
            )
            for key, field in model.model_fields.items()
        ]
        text += f"\n## {model.__name__}\n\n{_first_paragraph(model)}\n\n"
        text += _table(("key", "type", "default", "meaning"), keys)
    return text


def failures() -> str:
    """Return the page of every cause of a failure, its class and what is done about it."""
    policies = parse(Recovery, read_yaml(shipped("configs") / "recovery.yaml"), "recovery.yaml").policies
    text = MADE + (
        "# Failures\n\nEvery known cause of a failure, its class, and what `configs/recovery.yaml` does about"
        " it on a cluster. `epilayer jobs show` prints class and cause; `epilayer rerun --class` chooses by"
        " class.\n"
    )
    rows: dict[str, list[tuple[str, ...]]] = {}
    for where, seen, failure in failure_causes():
        policy = policies[failure.kind]
        often = "" if policy.action is Action.NEVER else f", {policy.at_most} times at most"
        action = policy.action.value.replace("_", " ") + often
        shown = "`" + seen.replace("|", "\\|") + "`"
        rows.setdefault(where, []).append((shown, f"`{failure.cause}`", f"`{failure.kind.value}`", action))
    for where, found in rows.items():
        text += f"\n## {where}\n\n" + _table(("what is seen", "cause", "class", "then"), found)
    kinds = [(f"`{kind.value}`", policies[kind].why, kind.advice) for kind in FailureClass]
    return text + "\n## Classes\n\n" + _table(("class", "why so", "what a person can do"), kinds)


def failure_causes() -> Iterator[tuple[str, str, Failure]]:
    """Yield where each cause is seen, what is seen there, and the failure that the code makes of it."""
    for error, text in TEXTS.items():
        for pattern in text.patterns:
            seen = Reason(code=error, severity=Severity.FATAL, what=text.meaning, remedy=text.remedy)
            yield "A text of VASP, MPI or the scheduler", sample(pattern), failure_of("x", _record(seen))
    for finding in Finding:
        if class_of(finding) is not FailureClass.OTHER:
            seen = Reason(code=finding, severity=Severity.FATAL, what=finding.value)
            yield "What the files of the run show", finding.value, failure_of("x", _record(seen))
    for state in SchedulerState:
        failure = by_scheduler(Accounted("7", "x", state, 0, 0))
        if failure is not None:
            yield "State of the SLURM job, or of one of its steps", state.value, failure
    for code in (53, 127, 139):
        job = Accounted("7", "x", SchedulerState.FAILED, code, 53 if code == 53 else 0)  # noqa: PLR2004
        yield "Exit code of the SLURM job", str(code), classify(None, job, raised=False)
    for number in (signal.SIGABRT, signal.SIGBUS, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
        yield "Signal that ended a worker", number.name, of_exit(-number)
    for error in RAISED:
        yield "Exception of a job", repr(error), of_error(error)


RAISED = (
    InputError("what", "remedy"),
    SetupError("what", "remedy"),
    EngineError("what", "remedy"),
    StoreError("what", "remedy"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    MemoryError(),
    RuntimeError("CUDA out of memory"),
    ModuleNotFoundError("No module named 'x'"),
    ValueError("x"),
    KeyError("x"),
    TypeError("x"),
    CalledProcessError(127, "vasp_std"),
    CalledProcessError(-11, "vasp_std"),
    RuntimeError("x"),
)


def _record(seen: Reason) -> ImportedCalculation:
    return ImportedCalculation(
        path="x", code=Code.VASP, kind=CalculationKind.RELAX, status=ImportStatus.FAILED, reasons=(seen,)
    )


def sample(pattern: str) -> str:
    """Return a text that a pattern of the table of errors matches: the first of its alternatives.

    >>> sample("E?DDIAG: [Cc]all to (?:routine )?ZHEEV")
    'EDDIAG: Call to routine ZHEEV'
    """
    text = re.sub(r"\(\?:([^|)]*)[^)]*\)", r"\1", pattern)
    text = re.sub(r"\[\^[^\]]*\]\*", " ", text)
    text = re.sub(r"\[(.)[^\]]*\]\+?", r"\1", text)
    return text.replace("\\s*", " ").replace("?", "").replace("\\", "")


def _with_parts(models: list[type[BaseModel]]) -> list[type[BaseModel]]:
    """Return the models, each followed by those that its fields hold, every one once."""
    found: list[type[BaseModel]] = []

    def visit(model: type[BaseModel]) -> None:
        if model not in found:
            found.append(model)
            for field in model.model_fields.values():
                for part in _models_in(field.annotation):
                    visit(part)

    for model in models:
        visit(model)
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _type_text(annotation: Any) -> str:
    """Return a type as a reader of YAML knows it."""
    arguments = [a for a in getattr(annotation, "__args__", ()) if a is not Ellipsis]
    if hasattr(annotation, "__metadata__"):
        return _type_text(arguments[0])
    origin = getattr(annotation, "__origin__", None)
    name = getattr(origin or annotation, "__name__", str(annotation))
    if isinstance(annotation, type):
        return _name_of(annotation)
    parts = [_type_text(a) for a in arguments if a is not type(None) and name != "Literal"]
    if name == "Literal":
        text = " \\| ".join(f"`{value}`" for value in arguments)
    elif origin is dict:
        text = f"{parts[0]} to {parts[1]}"
    elif origin is tuple and Ellipsis not in annotation.__args__:
        text = f"[{', '.join(parts)}]"
    elif origin in {tuple, list, set, frozenset}:
        text = f"list of {parts[0]}"
    else:  # a union
        text = " or ".join(dict.fromkeys(parts)) or name
    return text


def _name_of(kind: type) -> str:
    """Return the name of a plain type, a link to a model, or the words of an enum."""
    if issubclass(kind, BaseModel):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    if issubclass(kind, Enum):
        return " \\| ".join(f"`{member.value}`" for member in kind)
    plain = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true \\| false",
        "Path": "path",
    }
    return plain.get(kind.__name__, kind.__name__)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "unset"
    if isinstance(value, BaseModel):
        return "its own defaults"
    empty = isinstance(value, dict | tuple | str) and not value
    return "empty" if empty else f"`{getattr(value, 'value', value)}`"


def meaning_of(model: type) -> dict[str, str]:
    """Return what a class says of its attributes: in sections of the docstring, or in a text below each."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if base.__module__.startswith("epilayer."):
            found |= _sections(inspect.getdoc(base) or "") | _texts_below(base)
    for name, field in model.model_fields.items() if issubclass(model, BaseModel) else ():
        for part in _models_in(field.annotation):  # search.starts is shown as search_starts
            found |= {f"{name}_{key}": text for key, text in _sections(inspect.getdoc(part) or "").items()}
    return found


def _sections(doc: str) -> dict[str, str]:
    found: dict[str, str] = {}
    names: list[str] = []
    in_section = False
    for line in doc.splitlines():
        if re.fullmatch(r"(Attributes|Parameters)", line):
            in_section = True
        elif re.fullmatch(r"-+", line):
            continue
        elif re.fullmatch(r"[A-Z][a-z]+", line):
            in_section = False
        elif in_section and line and not line.startswith(" "):
            names = [name.strip() for name in line.split(":")[0].split(",")]
        elif in_section and line.strip():
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return {name: _markdown(text) for name, text in found.items()}


def _texts_below(model: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0].body  # type: ignore[attr-defined]
    return {
        item.target.id: _markdown(" ".join(text.value.value.split()))
        for item, text in pairwise(body)
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }  # fmt: skip


def _first_paragraph(model: type) -> str:
    return _markdown(" ".join((inspect.getdoc(model) or "").split("\n\n")[0].split()))


def _markdown(text: str) -> str:
    """Return reStructuredText's roles and double back quotes as Markdown has them."""
    return re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text).replace("``", "`")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in rows)]
    return "".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |\n" for line in lines)
