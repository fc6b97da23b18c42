"""The folder of a study: its files, its settings, and the queue and stores that belong to it.

A study folder holds ``epilayer.yaml``, its own ``configs/`` and ``workflows/`` where a user puts what
they add, and ``.epilayer/`` with the queue, the outputs and the results. What it does not hold itself
is taken from the material that ships with the package.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from epilayer.model.base import parse
from epilayer.model.errors import InputError, UnknownNameError
from epilayer.study.config import Catalogue, Settings, filled_in, read_yaml, shipped
from epilayer.study.names import EMBEDDED, STUDY_FILE

if TYPE_CHECKING:
    from jobflow import JobStore

    from epilayer.launch.embedded import EmbeddedQueue
    from epilayer.launch.fireworks import FireworksQueue
    from epilayer.model.cluster import Cluster, Recovery
    from epilayer.store.results import ResultsStore

STUDY_VARIABLE = "EPILAYER_STUDY"

_TEMPLATE = """\
# A study: where its jobs run and where its results are kept. Every key is optional.

# Level of theory of every workflow, instead of the workflow's own: epilayer list levels
# level: chgnet+d3

# The queue and the store of this machine. On a cluster these lines name the cluster, and
# mongodb://HOST/DATABASE (${VARIABLE} is filled in from the environment).
queue: embedded
store: embedded

# Worker processes of `epilayer run` (default: one a core, at most four).
# workers: 2

# For what is handed on (epilayer db crate): a title, who answers for it, and its licence by SPDX name.
# title: Adsorption of ligands on NVOPF
# authors:
#   - {name: Ada Lovelace, orcid: 0000-0000-0000-0000, affiliation: University of X}
# licence: CC-BY-4.0
"""


@dataclass(frozen=True)
class Workspace:
    """A study folder, its settings and everything that is opened by them.

    Attributes
    ----------
    root
        The folder, as an absolute path.
    settings
        What its ``epilayer.yaml`` says.
    """

    root: Path
    settings: Settings = field(default_factory=Settings)

    @classmethod
    def open(cls, path: str | Path | None = None) -> Self:
        """Return the study at ``path``, at ``$EPILAYER_STUDY``, or the nearest one above the current folder.

        Without any, the current folder is a study with default settings.

        Raises
        ------
        InputError
            If a named study does not exist, or its ``epilayer.yaml`` is wrong.
        """
        given = path or os.environ.get(STUDY_VARIABLE)
        named = Path(given) if given else None
        if named is not None and not named.is_dir():
            raise InputError(f"There is no study directory {named}.", f"Create it: epilayer init {named}")
        here = Path.cwd()
        root = named or next((p for p in (here, *here.parents) if (p / STUDY_FILE).is_file()), here)
        file = root / STUDY_FILE
        settings = parse(Settings, read_yaml(file), str(file)) if file.is_file() else Settings()
        if settings.store != EMBEDDED and not settings.store.startswith(("mongodb://", "mongodb+srv://")):
            # Only the beginning is shown: the rest may hold a password.
            raise InputError(
                f"{file}: results cannot be kept in {settings.store.split('://')[0]!r}.",
                "Write store: embedded, or store: mongodb://HOST/DATABASE.",
            )
        return cls(root.resolve(), settings)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.root.name

    @property
    def state(self) -> Path:
        """The folder of everything that epilayer writes by itself."""
        return self.root / ".epilayer"

    @property
    def queue_file(self) -> Path:
        """The file of the embedded queue."""
        return self.state / "queue.sqlite"

    @property
    def outputs_file(self) -> Path:
        """The file of the embedded job store: every job's output document."""
        return self.state / "outputs.sqlite"

    @property
    def results_file(self) -> Path:
        """The file of the embedded results store: typed records."""
        return self.state / "results.sqlite"

    @property
    def results_address(self) -> Path | str:
        """Where the typed records are: the embedded store's file, or the address of a database."""
        store = self.settings.store
        return self.results_file if store == EMBEDDED else filled_in(store, f"store: in {STUDY_FILE}")

    @property
    def runs(self) -> Path:
        """The run directories, one an attempt."""
        return self.root / "runs"

    @property
    def workers(self) -> int:
        """Worker processes to start by default."""
        return self.settings.workers or min(4, os.cpu_count() or 1)

    @cached_property
    def cluster(self) -> Cluster | None:
        """The cluster that the study's queue is on; None for the embedded queue."""
        return None if self.settings.queue == EMBEDDED else self.catalogue.cluster(self.settings.queue)

    @property
    def has_queue(self) -> bool:
        """Whether a queue is there: one on a cluster, or an embedded one that jobs were submitted to."""
        return self.cluster is not None or self.queue_file.exists()

    def queue(self) -> EmbeddedQueue:
        """Open (or create) the queue: the embedded one, or a cluster's."""
        if self.cluster is not None:
            return self.cluster_queue()
        from epilayer.launch.embedded import EmbeddedQueue

        self.state.mkdir(parents=True, exist_ok=True)
        return EmbeddedQueue(self.queue_file, runs=self.runs)

    def cluster_queue(self, *, patience_s: float | None = None) -> FireworksQueue:
        """Open (or create) the queue of a study that is on a cluster.

        Parameters
        ----------
        patience_s
            How long to wait for a database that does not answer.

        Raises
        ------
        InputError
            If the study's queue is the embedded one.
        """
        if self.cluster is None:
            raise InputError(
                "This study's queue is the embedded one, of this machine.",
                "Name a cluster in epilayer.yaml (queue: NAME; epilayer list clusters shows them).",
            )
        if not self.cluster.database:
            raise InputError(
                f"The cluster {self.cluster.name!r} names no database.",
                "Add database: mongodb://..., or use pilots (epilayer cluster launch --pilot).",
            )
        from epilayer.launch.fireworks import FireworksQueue
        from epilayer.store.journal import PATIENCE_S

        return FireworksQueue(self.cluster.database, runs=self.runs, patience_s=patience_s or PATIENCE_S)

    def jobstore(self) -> JobStore:
        """Open (or create) the store of the jobs' outputs; a context manager, as jobflow's stores are."""
        from epilayer.store.jobs import embedded_jobstore, mongo_jobstore

        if self.cluster is not None:
            return mongo_jobstore(self.cluster.database)
        self.state.mkdir(parents=True, exist_ok=True)
        return embedded_jobstore(self.outputs_file)

    def results(self) -> ResultsStore:
        """Open (or create) the results store; the caller closes it."""
        from epilayer.store.results import open_results

        self.state.mkdir(parents=True, exist_ok=True)
        return open_results(self.results_address)

    def batch_text(self, name: str) -> str:
        """Return a file of the study's ``slurm/``, or the shipped one.

        Raises
        ------
        InputError
            If there is no such file.
        """
        for folder in (self.root / "slurm", shipped("slurm")):
            if (folder / name).is_file():
                return (folder / name).read_text(encoding="utf-8")
        raise InputError(
            f"There is no {name} in the study's slurm/ folder.", f"Write {self.root / 'slurm' / name}."
        )

    def recovery(self) -> Recovery:
        """Return what happens to failed jobs: the study's ``configs/recovery.yaml``, or the shipped one."""
        from epilayer.model.cluster import Recovery

        own = self.root / "configs" / "recovery.yaml"
        file = own if own.is_file() else shipped("configs") / "recovery.yaml"
        return parse(Recovery, read_yaml(file), str(file))

    def citations(self) -> list[str]:
        """Return the BibTeX of what may be cited: ``configs/citations.bib`` of the study, and as shipped."""
        files = [folder / "citations.bib" for folder in (self.root / "configs", shipped("configs"))]
        return [file.read_text(encoding="utf-8") for file in files if file.is_file()]

    @cached_property
    def catalogue(self) -> Catalogue:
        """The inputs that this study can name."""
        return Catalogue((self.root / "configs", shipped("configs")))

    def workflow(self, name: str) -> Path:
        """Return the file of a workflow given by path or by name."""
        given = Path(name)
        if given.suffix == ".py":
            for path in (given, self.root / given):
                if path.is_file():
                    return path.resolve()
            raise UnknownNameError("workflow file", name, [str(p) for p in self.workflows().values()])
        known = self.workflows()
        if name not in known:
            raise UnknownNameError("workflow", name, known)
        return known[name]

    def workflows(self) -> dict[str, Path]:
        """Return the workflows that can be named; the study's own shadow the shipped ones."""
        found: dict[str, Path] = {}
        for folder in (shipped("workflows"), self.root / "workflows"):
            found |= {p.stem: p for p in sorted(folder.glob("[!_]*.py"))}
        return found


def create(folder: Path) -> None:
    """Write a new study into a folder: settings, and the shipped workflows and configs to edit.

    Raises
    ------
    InputError
        If the folder is a study already.
    """
    target = folder / STUDY_FILE
    if target.exists():
        raise InputError(f"{folder} is a study already.", f"Use it: epilayer -C {folder} status")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("configs", "workflows", "slurm"):
        if not (folder / name).exists():
            left_out = shutil.ignore_patterns("__pycache__", "dev")
            shutil.copytree(shipped(name), folder / name, ignore=left_out)
    target.write_text(_TEMPLATE, encoding="utf-8")
