"""Workflows: load a file, build its flow with the given settings, list what it can name, write its inputs."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import inspect
import json
import sys
import traceback
import types
import typing
import warnings
from typing import TYPE_CHECKING, Any

from epilayer.model.errors import EpilayerError, InputError, UnknownNameError
from epilayer.study.config import Catalogue, read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from jobflow import Flow, Job

    from epilayer.engines.base import Engine
    from epilayer.model.cathode import Cathode
    from epilayer.study.user_structures import Source
    from epilayer.study.workspace import Workspace

CATALOGUE = "catalogue"


def build_flow(
    study: Workspace,
    name: str,
    settings: Sequence[str],
    level: str | None,
    crystal: Source | None = None,
) -> Flow:
    """Load the workflow ``name`` and call its ``build`` with the given settings.

    Parameters
    ----------
    settings
        ``key=value`` texts; a key must be a parameter of ``build``.
    level
        Level of theory; replaces the workflow's default and the study's.
    crystal
        What is said of the cathode that the settings name.

    Raises
    ------
    InputError
        If the file cannot be loaded, has no ``build``, raises, or does not know or lacks a setting.
    """
    path = study.workflow(name)
    build = _load(path)
    parameters = _parameters(build)
    values = _settings(build, parameters, settings)
    chosen = level or (study.settings.level if "level" not in values else None)
    if chosen is not None:
        if "level" not in parameters:
            raise InputError(f"{path.name} takes no level.", "Leave --level out.")
        values["level"] = chosen
    _refuse_missing(path, parameters, values)
    from jobflow import Flow, Job

    catalogue = study.catalogue if crystal is None else _OwnCrystal(study.catalogue.folders, crystal)
    try:
        flow = build(catalogue, **values)
    except EpilayerError:
        raise
    except (Exception, SystemExit) as error:
        raise _raised(path, error) from error
    if not isinstance(flow, Flow | Job):
        raise InputError(
            f"{path}: build returned {type(flow).__name__}, not a jobflow Flow.",
            "End build with: return Flow([...]), or return what a maker's make gives.",
        )
    _check_importable(path, flow)
    return flow if isinstance(flow, Flow) else Flow([flow], name=flow.name)


def _check_importable(path: Path, flow: Flow | Job) -> None:
    """Refuse a job that is a function of the workflow file itself: workers import the functions of jobs."""
    for one in getattr(flow, "jobs", ()):
        _check_importable(path, one)
    if getattr(getattr(flow, "function", None), "__module__", None) == _module_name(path):
        raise InputError(
            f"{path}: the job {flow.name!r} is a function of this file, which a worker cannot import.",
            "Move the function into a module that can be imported, and import it here.",
        )


def describe(path: Path) -> tuple[str, dict[str, Any]]:
    """Return a workflow's first line of documentation and its settings with their defaults."""
    build = _load(path)
    parameters = _parameters(build)
    doc = (inspect.getdoc(sys.modules[_module_name(path)]) or inspect.getdoc(build) or "").split("\n")[0]
    return doc, {k: p.default for k, p in parameters.items()}


def _module_name(path: Path) -> str:
    return f"epilayer_workflow_{path.stem}"


def _load(path: Path) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location(_module_name(path), path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file.", "Give a file of the workflows folder.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except EpilayerError:
        raise
    except (Exception, SystemExit) as error:
        raise _raised(path, error) from error
    build = getattr(module, "build", None)
    if not callable(build):
        raise InputError(
            f"{path} has no function build.", "Define build(catalogue, ...) that returns a jobflow Flow."
        )
    # The module stays reachable for its documentation and for typing.get_type_hints.
    sys.modules[spec.name] = module
    return typing.cast("Callable[..., Any]", build)


def _parameters(build: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {k: p for k, p in inspect.signature(build).parameters.items() if k != CATALOGUE}


def _settings(
    build: Callable[..., Any], parameters: dict[str, inspect.Parameter], settings: Sequence[str]
) -> dict[str, Any]:
    from pydantic import TypeAdapter, ValidationError

    values: dict[str, Any] = {}
    for text in settings:
        key, sign, value = text.partition("=")
        if not sign:
            raise InputError(f"--set {text!r} has no '='.", "Write --set key=value.")
        if key not in parameters:
            raise UnknownNameError("setting", key, parameters)
        hint = _hint(build, parameters[key])
        is_sequence = typing.get_origin(hint) in (tuple, list)
        given: Any = [v.strip() for v in value.split(",") if v.strip()] if is_sequence else value
        try:
            values[key] = TypeAdapter(hint).validate_python(given)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise InputError(f"--set {key}: {reason} (given: {value!r}).", "Correct the value.") from error
    return values


def _refuse_missing(
    path: Path, parameters: Mapping[str, inspect.Parameter], values: Mapping[str, Any]
) -> None:
    """Refuse a workflow that lacks what it has no default for."""
    empty = inspect.Parameter.empty
    lacking = [key for key, p in parameters.items() if p.default is empty and key not in values]
    if lacking:
        known = {"cathode": "--cathode mine.cif", "facets": "--facet 104", "ligands": "--ligand triazole"}
        wanted = " ".join(known.get(key, f"--set {key}=...") for key in lacking)
        raise InputError(f"{path.stem} needs {', '.join(lacking)}.", f"Add {wanted}")


class _OwnCrystal(Catalogue):
    """A catalogue with a user's crystal, of which more is said than its file states."""

    def __init__(self, folders: Sequence[Path], crystal: Source) -> None:
        super().__init__(folders)
        self.crystal = crystal

    def cathode(self, name: str) -> Cathode:
        """Return a cathode; the user's own as described."""
        return (
            self.crystal.cathode(Catalogue(self.folders))
            if name == self.crystal.name
            else super().cathode(name)
        )


def _hint(build: Callable[..., Any], parameter: inspect.Parameter) -> Any:  # noqa: ANN401  (a type expression)
    """Type of one parameter; the others may name what is imported for type checkers only."""
    if parameter.annotation is inspect.Parameter.empty:
        return str
    one = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    written = build.func if isinstance(build, functools.partial) else build
    return typing.get_type_hints(one, globalns=inspect.unwrap(written).__globals__)[parameter.name]


def _raised(path: Path, error: Exception | SystemExit) -> InputError:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    line = frames[-1].lineno if frames else getattr(error, "lineno", None)
    where = f"{path} line {line}" if line else str(path)
    return InputError(
        f"{where}: {_in_one_line(error)}.",
        "Correct the workflow file; --debug shows the whole traceback.",
    )


def _in_one_line(error: Exception | SystemExit) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):  # its own text is a paragraph
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or error.title
        return f"{key}: {first['msg']} (given: {first['input']!r})"
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def list_inputs(study: Workspace, kind: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return what a workflow can name, and the workflows themselves, by kind.

    Parameters
    ----------
    kind
        ``workflows``, ``cathodes``, ``ligands`` ...; all of them by default.

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    """
    kinds = ("workflows", *study.catalogue.KINDS)
    if kind is not None and kind not in kinds:
        raise UnknownNameError("kind", kind, kinds)
    return {one: list(_inputs_of(study, one)) for one in ([kind] if kind else kinds)}


def _inputs_of(study: Workspace, kind: str) -> Iterator[dict[str, Any]]:
    if kind == "workflows":
        for name, path in study.workflows().items():
            try:
                title, settings = describe(path)
            except EpilayerError as error:  # one broken file does not hide the others
                title, settings = f"cannot be loaded: {error.what}", {}
            yield {"name": name, "title": title, "settings": settings, "file": str(path)}
        return
    for name, path in study.catalogue.names(kind).items():
        data = read_yaml(path)
        title = data.get("title") or data.get("formula") or ""
        yield {"name": name, "title": str(title), "source": data.get("source", ""), "file": str(path)}


class _DryCatalogue(Catalogue):
    """A catalogue whose engines write their inputs into a folder and compute nothing."""

    def __init__(self, folders: Sequence[Path], directory: Path) -> None:
        super().__init__(folders)
        self.directory = directory

    def engine(self, level_name: str, cathode: Cathode | None = None, **convergence: float) -> Engine:
        """Return the engine of a level, wrapped."""
        from epilayer.engines.dry import InputsOnly

        return InputsOnly(super().engine(level_name, cathode, **convergence), str(self.directory))


def write_inputs(
    study: Workspace, workflow: str, directory: Path, level: str | None, settings: Sequence[str]
) -> list[dict[str, Any]]:
    """Write the inputs of every calculation of a workflow, run nothing, and return one entry a calculation.

    Raises
    ------
    InputError
        If the folder is not empty.
    EngineError
        If a calculation's inputs cannot be written.
    """
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    from epilayer.engines.dry import INDEX

    if directory.exists() and any(directory.iterdir()):
        raise InputError(f"{directory} is not empty.", "Name a new folder, or empty it.")
    directory.mkdir(parents=True, exist_ok=True)
    dry = dataclasses.replace(study)
    # The catalogue is a cached property: its place in the instance is taken before it is first asked for.
    dry.__dict__["catalogue"] = _DryCatalogue(study.catalogue.folders, directory.resolve())
    flow = build_flow(dry, workflow, settings, level)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of jobflow's own parts, on every job
        run_locally(flow, store=store, log=False, raise_immediately=True)
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob(f"*/{INDEX}"))]
