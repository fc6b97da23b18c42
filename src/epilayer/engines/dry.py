"""An engine that writes the input files of another and computes nothing.

A flow runs through with it as with the real one: each calculation "ends" at the structure that it
began with, so that later calculations start from unrelaxed structures. Dynamics end a flow: without a
trajectory there are no later segments and nothing to analyse. What is written shows every
setting of every calculation; the geometries of later steps will differ when they are computed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobflow import Maker, Response, job
from monty.json import MSONable

from epilayer.engines.base import BondingEngine, MdEngine
from epilayer.model.cohp import Bonding
from epilayer.model.errors import EngineError
from epilayer.model.imported import Finding, Reason, Severity
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import Calculation, Provenance, Status
from epilayer.outputs.lobster.directory import SPILLING_LIMIT_PERCENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from epilayer.engines.base import FrameStore
    from epilayer.model.cohp import Bond
    from epilayer.model.dynamics import DynamicsSettings, Segment, SegmentLimit
    from epilayer.model.level import Convergence, Level

INDEX = "calculation.json"
_METHOD = "inputs only, nothing was computed"


@dataclass(frozen=True)
class InputsOnly(MSONable):  # type: ignore[misc]  # monty is untyped
    """Satisfies :class:`epilayer.engines.base.Engine`; writes one folder a calculation.

    Parameters
    ----------
    engine
        The engine whose inputs are wanted.
    directory
        Folder to write into.
    """

    engine: Any
    directory: str

    @property
    def level(self) -> Level:
        """The level of theory of the engine that is written for."""
        level: Level = self.engine.level
        return level

    @property
    def stand_in(self) -> bool:
        """Nothing that comes out of this engine is a result."""
        return True

    @property
    def sees_charge(self) -> bool:
        """As the engine that is written for."""
        sees: bool = self.engine.sees_charge
        return sees

    def relax(self, label: str, convergence: Convergence | None = None) -> InputsMaker:
        """Write the inputs of a relaxation."""
        return self._maker(label, "relax", self.engine.relax(label, convergence))

    def static(self, label: str) -> InputsMaker:
        """Write the inputs of a single point."""
        return self._maker(label, "static", self.engine.static(label))

    def segment(
        self, label: str, settings: DynamicsSettings, frames: FrameStore, limit: SegmentLimit | None = None
    ) -> SegmentInputsMaker:
        """Write the inputs of the first segment of a trajectory, and how later ones go on."""
        if not isinstance(self.engine, MdEngine):
            raise EngineError(
                f"The engine of the level {self.level.name!r} runs no dynamics in segments.",
                "Choose another level (--level).",
            )
        real = self.engine.segment(label, settings, frames, limit)
        return SegmentInputsMaker(name=label, engine=self, real=real)

    def bonding(self, label: str) -> BondingInputsMaker:
        """Write the inputs of a bonding analysis."""
        if not isinstance(self.engine, BondingEngine):
            raise EngineError(
                f"The engine of the level {self.level.name!r} cannot analyse bonds.",
                "Name a VASP level, such as paper (with LOBSTER).",
            )
        return BondingInputsMaker(name=label, engine=self, real=self.engine.bonding(label))

    def _maker(self, label: str, task: Literal["relax", "static"], real: Any) -> InputsMaker:  # noqa: ANN401
        return InputsMaker(name=label, engine=self, task=task, real=real)


@dataclass(kw_only=True)
class InputsMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """Writes what one calculation would be run from."""

    name: str = "calculation"
    engine: InputsOnly
    task: Literal["relax", "static"]
    real: Any

    @job  # type: ignore[untyped-decorator]
    def make(self, structure: Structure) -> Calculation:
        """Write the inputs of ``structure``; return it unchanged, with an energy that means nothing."""
        where = _write(self.engine, self.name, self.task, self.real, structure)
        return Calculation(
            task=self.task,
            label=self.name,
            level=_no_level(self.engine),
            structure=structure,
            energy_ev=0.0,
            max_force_ev_per_ang=0.0,
            ionic_converged=True,
            energies_ev=(0.0,),
            max_forces_ev_per_ang=(0.0,),
            wall_time_s=0.0,
            provenance=Provenance(job="", run_directory=str(where)),
        )


@dataclass(kw_only=True)
class SegmentInputsMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """Writes what the first segment of a trajectory would be run from."""

    name: str = "segment"
    engine: InputsOnly
    real: Any

    @job  # type: ignore[untyped-decorator]
    def make(self, start: Structure, previous: Segment | None = None) -> Response[Any]:  # noqa: ARG002  (the protocol's)
        """Write the inputs of the first segment; what would follow has no trajectory to go on from."""
        _write(self.engine, self.name, "dynamics", self.real, start)
        return Response(stop_children=True)


@dataclass(kw_only=True)
class BondingInputsMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """Writes what one bonding analysis would be run from."""

    name: str = "bonding"
    engine: InputsOnly
    real: Any

    @job  # type: ignore[untyped-decorator]
    def make(self, structure: Structure, bonds: Sequence[Bond]) -> Bonding:
        """Write the inputs of ``structure``; return a record without a number."""
        where = _fresh(Path(self.engine.directory), self.name)
        licensed = self.real.write(structure, bonds, where)
        _describe(self.engine, self.name, "bonding", structure, where, licensed=licensed)
        plan = self.real.plan(structure, bonds)
        reason = Reason(code=Finding.NOT_STARTED, severity=Severity.FATAL, what=_METHOD)
        return Bonding(
            label=self.name,
            method=_METHOD,
            level=_no_level(self.engine),
            status=Status.REFUSED,
            refusals=(reason,),
            bonds=(),
            basis={element: " ".join(shells) for element, shells in plan.basis.items()},
            basis_functions=plan.functions,
            bands=plan.functions,
            bands_ignored_from=None,
            spilling=(),
            spilling_limit_percent=SPILLING_LIMIT_PERCENT,
            spilling_passes=None,
            energy_window_ev=None,
            max_band_overlap_deviation=None,
            energy_ev=0.0,
            structure=structure,
            corrections=(),
            provenance=Provenance(job="", run_directory=str(where)),
        )


def _no_level(engine: InputsOnly) -> LevelOfTheory:
    return LevelOfTheory(name=engine.level.name, kind=EngineKind.TOY, method=_METHOD, stand_in=True)


def _write(engine: InputsOnly, label: str, task: str, real: Any, structure: Structure) -> Path:  # noqa: ANN401
    """Write the inputs of one structure into a folder of its own; return it."""
    from pymatgen.io.vasp.inputs import Poscar

    where = _fresh(Path(engine.directory), label)
    where.mkdir(parents=True)
    licensed: bool | None = None
    if hasattr(real, "write"):
        licensed = real.write(structure, where)
    else:
        Poscar(structure).write_file(str(where / "POSCAR"))
    later: str | None = getattr(real, "continues", None)
    _describe(engine, label, task, structure, where, licensed=licensed, later=later)
    return where


def _describe(
    engine: InputsOnly,
    label: str,
    task: str,
    structure: Structure,
    where: Path,
    *,
    licensed: bool | None,
    later: str | None = None,
) -> None:
    """Write what the folder holds beside its files."""
    about: dict[str, Any] = {"label": label, "task": task, "level": engine.level.name}
    about |= {"atoms": len(structure), "formula": structure.composition.formula}
    if licensed is not None:
        about["potcar"] = "POTCAR" if licensed else "POTCAR.spec"
    if later is not None:
        about["later_segments"] = later
    about["files"] = sorted(p.name for p in where.iterdir())
    (where / INDEX).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def written_level(folder: Path) -> str | None:
    """Return the level of theory that the inputs in a folder were written for, where it says so."""
    try:
        about = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    level = about.get("level") if isinstance(about, dict) else None
    return level if isinstance(level, str) else None


def _fresh(root: Path, name: str) -> Path:
    """Return a folder of that name that does not exist yet."""
    slug = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.") or "calculation"
    where, number = root / slug, 2
    while where.exists():
        where, number = root / f"{slug}-{number}", number + 1
    return where
