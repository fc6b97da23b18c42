"""``epilayer inputs``: the input files of every calculation of a workflow, without running any."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import JsonOption, err, out, print_json, study
from epilayer.cli.runs import LevelOption, QuickOption, SetOption, WorkflowArgument
from epilayer.model.errors import InputError
from epilayer.study.config import Catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer import Study
    from epilayer.engines.base import Engine
    from epilayer.model.cathode import Cathode


class DryCatalogue(Catalogue):
    """A catalogue whose engines write their inputs into a folder and compute nothing."""

    def __init__(self, folders: Sequence[Path], directory: Path) -> None:
        super().__init__(folders)
        self.directory = directory

    def engine(self, level_name: str, cathode: Cathode | None = None, **convergence: float) -> Engine:
        """Return the engine of a level, wrapped."""
        from epilayer.engines.dry import InputsOnly

        real = super().engine(level_name, cathode, **convergence)
        return InputsOnly(real, str(self.directory))


def inputs(
    workflow: WorkflowArgument,
    directory: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write into.")],
    level: LevelOption = None,
    settings: SetOption = None,
    *,
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the input files of every calculation of a workflow; run nothing.

    Later steps are written from unrelaxed structures. Where no POTCARs are set up, POTCAR.spec names them.

    Example: [cyan]epilayer inputs paper_adsorption --level paper -o inputs[/]
    """
    if directory.exists() and any(directory.iterdir()):
        raise InputError(f"{directory} is not empty.", "Name a new folder, or empty it.")
    with err.status("Writing ..."):
        rows = write_inputs(
            study(), workflow, directory, level, [*(settings or ()), *(["quick=true"] if quick else [])]
        )
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("calculation", "level", "task", "atoms", "files"):
        table.add_column(heading)
    for row in rows:
        shown = (row["label"], row["level"], row["task"], str(row["atoms"]), " ".join(row["files"]))
        table.add_row(*map(escape, shown))
    out.print(table)
    for later in dict.fromkeys(row["later_segments"] for row in rows if "later_segments" in row):
        out.print(escape(later))
    out.print(f"{len(rows)} calculations written to {directory}. Nothing was run.")


def write_inputs(
    used: Study, workflow: str, directory: Path, level: str | None, settings: Sequence[str]
) -> list[dict[str, Any]]:
    """Write the inputs of a workflow and return what was written, one entry a calculation.

    Raises
    ------
    EngineError
        If a calculation's inputs cannot be written.
    """
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    from epilayer.engines.dry import INDEX
    from epilayer.study.workflows import build_flow

    directory.mkdir(parents=True, exist_ok=True)
    dry = dataclasses.replace(used)
    # The catalogue is a cached property: its place in the instance is taken before it is first asked for.
    dry.__dict__["catalogue"] = DryCatalogue(used.catalogue.folders, directory.resolve())
    flow = build_flow(dry, workflow, settings, level)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of jobflow's own parts, on every job
        run_locally(flow, store=store, log=False, raise_immediately=True)
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob(f"*/{INDEX}"))]
