"""Configuration: the only reader of YAML and of the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

from epilayer.model.base import Frozen, parse
from epilayer.model.errors import InputError, UnknownNameError
from epilayer.study.names import EMBEDDED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pymatgen.core import Structure

    from epilayer.engines.base import Engine
    from epilayer.model.benchmark import Benchmark, ModelError
    from epilayer.model.cathode import Cathode
    from epilayer.model.cluster import Cluster
    from epilayer.model.level import EngineSpec, Level
    from epilayer.model.ligand import Ligand
    from epilayer.model.mof import Mof
    from epilayer.model.reference import Reference


FrozenT = TypeVar("FrozenT", bound=Frozen)


class Author(Frozen):
    """Who answers for a study's results when they are handed on."""

    name: str = Field(min_length=2)
    orcid: Annotated[str, Field(pattern=r"^\d{4}-\d{4}-\d{4}-\d{3}[\dX]$")] | None = None
    affiliation: str | None = None


class Settings(Frozen):
    """A study's ``epilayer.yaml``: where its jobs run and where its results are kept.

    Attributes
    ----------
    level
        Level of theory that workflows use by default; unset, each workflow's own.
    queue
        ``embedded``: a SQLite file and worker processes on this machine; or the name of a cluster
        (``configs/clusters``): FireWorks and a MongoDB, with the outputs there too.
    store
        Where the records are kept that one queries: ``embedded``, a SQLite file inside the study, or
        ``mongodb://`` address with the name of a database; ``${VARIABLE}`` is filled in from the environment.
    reference
        Publication that the report compares with (``configs/references``); unset, the only one there is.
    workers
        Worker processes of ``epilayer run``; unset, one a core up to four.
    title, authors, licence
        For what is handed on (``epilayer db crate``); the licence by its SPDX name, such as ``CC-BY-4.0``.
    """

    level: str | None = None
    queue: str = EMBEDDED
    store: str = EMBEDDED
    reference: str | None = None
    workers: int | None = Field(default=None, gt=0)
    title: str | None = None
    authors: tuple[Author, ...] = ()
    licence: Annotated[str, Field(pattern=r"^[A-Za-z0-9.+-]+$")] | None = None


def shipped(folder: str) -> Path:
    """Return a folder of the material that ships with the package: configs, workflows or slurm."""
    package = Path(__file__).resolve().parents[1]
    for base in (package / "_shipped", package.parents[1]):
        if (base / folder).is_dir():
            return base / folder
    raise InputError(f"The installed epilayer lacks its {folder}/ folder.", "Reinstall epilayer.")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; refuse what is not one, and keys that stand twice."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a repeated key, which YAML's own loader lets the last one win."""

    def mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [loader.construct_object(k) for k, _ in node.value]
        repeated = next((k for k in keys if keys.count(k) > 1), None)
        if repeated is not None:
            raise InputError(f"{path}: the key {repeated!r} stands twice.", "Keep one of the two.")
        if not all(isinstance(k, Hashable) for k in keys):
            raise InputError(f"{path}: a key is a list or a mapping.", "Give it a name.")
        return dict(loader.construct_pairs(node, deep=True))

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506  (a SafeLoader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}" if where is not None else ""
        problem = getattr(error, "problem", None) or "it is not valid YAML"
        raise InputError(f"{path}{line}: {problem}.", "Correct the file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}).", "Check the file and its permissions."
        ) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping of keys to values.", "See the files in configs/.")
    return data


ENGINES = {
    "dft": "epilayer.engines.vasp.engine.VaspEngine",
    "gpaw": "epilayer.engines.gpaw.engine.GpawEngine",
    "mlip": "epilayer.engines.mlip.engine.MlipEngine",
    "toy": "epilayer.engines.mlip.engine.MlipEngine",
}
"""The class of an engine, by the name of the engine or else by its kind; to add one, write its line here."""


class Catalogue:
    """Everything that can be named in a workflow, one YAML file a thing.

    Parameters
    ----------
    folders
        ``configs/`` folders; a name in an earlier one shadows the same name in a later one.
    """

    KINDS = (
        "cathodes", "ligands", "levels", "engines", "mofs", "electrolytes", "clusters", "references",
        "benchmarks", "model_errors",
    )  # fmt: skip

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)

    def names(self, kind: str) -> dict[str, Path]:
        """Return the names of one kind and the file of each."""
        found: dict[str, Path] = {}
        for folder in reversed(self.folders):
            found |= {p.stem: p for p in sorted((folder / kind).glob("*.yaml"))}
        return dict(sorted(found.items()))

    def cathode(self, name: str) -> Cathode:
        """Return a cathode, the text of its CIF files in place; or one made of a user's CIF or POSCAR."""
        from epilayer.model.cathode import Cathode
        from epilayer.study.user_structures import Source, is_file

        if is_file(name):
            return Source(name).cathode(self)
        return self._load(Cathode, "cathodes", name, _with_cif_text)

    def mof(self, name: str) -> Mof:
        """Return a metal-organic framework, the text of its CIF file in place; or one of a user's crystal."""
        from epilayer.model.mof import Mof
        from epilayer.study.user_structures import is_file, own_mof

        if is_file(name):
            return own_mof(name)
        return self._load(Mof, "mofs", name, _with_cif_text)

    def ligand(self, name: str) -> Ligand:
        """Return a ligand, the text of its xyz or mol file in place; or one of a user's file or SMILES."""
        from epilayer.model.ligand import Ligand, inline_files
        from epilayer.study.user_structures import own_ligand

        if name not in self.names("ligands"):
            return own_ligand(name, self.names("ligands"))

        def with_text(data: dict[str, Any], folder: Path) -> dict[str, Any]:
            return inline_files(data, lambda file: _read_beside(folder, file))

        return self._load(Ligand, "ligands", name, with_text)

    def structure(self, file: str) -> Structure:
        """Return the last structure in a file that ASE or pymatgen reads (extended XYZ, CIF, POSCAR ...).

        Raises
        ------
        InputError
            If the file cannot be read, or holds no cell.
        """
        from ase.io import read
        from pymatgen.io.ase import AseAtomsAdaptor

        try:
            atoms = read(file)
        except Exception as error:  # ASE's readers raise whatever their line of code raises
            raise InputError(
                f"{file} cannot be read ({error}).", "Give extended XYZ, CIF or POSCAR."
            ) from error
        if not atoms.cell.rank == 3:  # noqa: PLR2004  (three lattice vectors)
            raise InputError(
                f"{file} states no cell.", "Give it three lattice vectors (extended XYZ, CIF, POSCAR)."
            )
        structure: Structure = AseAtomsAdaptor.get_structure(atoms)
        return structure

    def level(self, name: str) -> Level:
        """Return a level of theory, with what it inherits from its parents."""
        from epilayer.model.level import Level

        def with_parents(data: dict[str, Any], _folder: Path) -> dict[str, Any]:
            return self._inherited("levels", data, (name,))

        return self._load(Level, "levels", name, with_parents)

    def _inherited(self, kind: str, data: dict[str, Any], chain: tuple[str, ...]) -> dict[str, Any]:
        """Lay a file over its parent's; mappings merge key by key, everything else replaces."""
        parent = data.get("parent")
        if parent is None:
            return data
        known = self.names(kind)
        if parent not in known:
            raise UnknownNameError(kind.removesuffix("s"), str(parent), known)
        if parent in chain:
            raise InputError(
                f"The level {chain[0]!r} inherits from itself ({' -> '.join((*chain, parent))}).",
                "Remove one parent.",
            )
        base = self._inherited(kind, read_yaml(known[parent]), (*chain, parent))
        for own in ("name", "title", "source", "variations"):  # a level says for itself what it is
            base.pop(own, None)
        return _laid_over(base, data)

    def engine_spec(self, name: str) -> EngineSpec:
        """Return the description of an engine; a path of weights counts from the folder of its YAML."""
        from epilayer.model.level import EngineSpec

        def beside(data: dict[str, Any], folder: Path) -> dict[str, Any]:
            weights = data.get("weights")
            if isinstance(weights, dict) and weights.get("package") is None and "path" in weights:
                # Not resolved, so that jobs in directories of their own still find the file.
                data["weights"] = weights | {"path": str(folder.absolute() / str(weights["path"]))}
            return data

        return self._load(EngineSpec, "engines", name, beside)

    def cluster(self, name: str, *, pilot: bool = False) -> Cluster:
        """Return a cluster's profile, its database's address completed from the environment.

        Parameters
        ----------
        pilot
            Whether it is for pilots, which need no database.
        """
        from epilayer.model.cluster import Cluster

        def filled(data: dict[str, Any], _folder: Path) -> dict[str, Any]:
            if isinstance(data.get("database"), str) and not pilot:
                data["database"] = filled_in(data["database"], f"the cluster {name!r}")
            return data

        return self._load(Cluster, "clusters", name, filled)

    def benchmark(self, name: str) -> Benchmark:
        """Return a published set of interaction energies."""
        from epilayer.model.benchmark import Benchmark

        return self._load(Benchmark, "benchmarks", name)

    def model_error(self, level_name: str) -> ModelError | None:
        """Return the errors of a level in a benchmark; ``None`` where it was never benchmarked."""
        from epilayer.model.benchmark import ModelError

        known = level_name in self.names("model_errors")
        return self._load(ModelError, "model_errors", level_name) if known else None

    def reference(self, name: str | None = None) -> Reference:
        """Return the published values of one paper; without a name, of the only one that there is.

        Raises
        ------
        InputError
            If there are several and none is named.
        """
        from epilayer.model.reference import Reference

        if name is None:
            known = sorted(self.names("references"))
            if len(known) != 1:
                raise InputError(
                    f"There are {len(known)} publications to compare with: {', '.join(known)}.",
                    f"Name one in epilayer.yaml, as in reference: {known[0] if known else 'NAME'}",
                )
            name = known[0]
        return self._load(Reference, "references", name)

    def engine(self, level_name: str, cathode: Cathode | None = None, **convergence: float) -> Engine:
        """Return the engine of a level of theory.

        Parameters
        ----------
        cathode
            What is computed: an engine may need its U values and start moments.
        convergence
            Replaces single settings of the level's convergence, e.g. ``max_steps=800``.
        """
        from epilayer.model.level import Convergence

        level = self.level(level_name)
        if convergence:
            asked = {**level.convergence.model_dump(), **convergence}
            checked = parse(Convergence, asked, f"the convergence of level {level_name!r}")
            level = level.model_copy(update={"convergence": checked})
        spec = self.engine_spec(level.engine)
        module, name = ENGINES.get(spec.name, ENGINES[spec.kind.value]).rsplit(".", 1)
        engine: Engine = getattr(import_module(module), name).for_cathode(spec, level, cathode)
        return engine

    def _load(
        self,
        model: type[FrozenT],
        kind: str,
        name: str,
        prepare: Callable[[dict[str, Any], Path], dict[str, Any]] | None = None,
    ) -> FrozenT:
        known = self.names(kind)
        if name not in known:
            raise UnknownNameError(kind.removesuffix("s"), name, known)
        path = known[name]
        data = read_yaml(path)
        value = parse(model, prepare(data, path.parent) if prepare else data, str(path))
        if getattr(value, "name", name) != name:
            raise InputError(
                f"{path}: its name is {value.name!r}, the file's is {name!r}.",  # type: ignore[attr-defined]
                "Give both the same name.",
            )
        return value


def filled_in(text: str, where: str) -> str:
    """Fill ``${VARIABLE}`` in from the environment."""
    found = re.findall(r"\$\{(\w+)\}", text)
    missing = next((name for name in found if not os.environ.get(name)), None)
    if missing is not None:
        raise InputError(f"The variable {missing} of {where} is not set.", f"export {missing}=...")
    return re.sub(r"\$\{(\w+)\}", lambda match: os.environ[match[1]], text)


def _laid_over(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _laid_over(below, value) if both else value  # type: ignore[arg-type]  # both are dicts
    return merged


def _with_cif_text(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Replace the name of every crystal's CIF file by its text."""
    for crystal in (data.get("crystal"), *(data.get("variants") or {}).values()):
        if isinstance(crystal, dict) and isinstance(crystal.get("cif"), str):
            crystal["cif"] = _read_beside(folder, crystal["cif"])
    return data


def _read_beside(folder: Path, name: str) -> str:
    path = folder / name
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}).", f"Put {name} beside the YAML."
        ) from error
