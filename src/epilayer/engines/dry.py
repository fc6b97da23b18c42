"""An engine that writes the input files of another and computes nothing.

A flow runs through with it as with the real one: each calculation "ends" at the structure that it
began with, so that later calculations start from unrelaxed structures. What is written shows every
setting of every calculation; the geometries of later steps will differ when they are computed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobflow import Maker, job
from monty.json import MSONable

from epilayer.model.level import LevelOfTheory
from epilayer.model.records import Calculation, Provenance

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from epilayer.model.level import Convergence, Level, MolecularDynamicsSettings

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

    def md(self, label: str, settings: MolecularDynamicsSettings) -> InputsMaker:
        """Write the inputs of a dynamics run."""
        return self._maker(label, "md", self.engine.md(label, settings))

    def _maker(self, label: str, task: Literal["relax", "static", "md"], real: Any) -> InputsMaker:  # noqa: ANN401
        return InputsMaker(name=label, engine=self, task=task, real=real)


@dataclass(kw_only=True)
class InputsMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """Writes what one calculation would be run from."""

    name: str = "calculation"
    engine: InputsOnly
    task: Literal["relax", "static", "md"]
    real: Any

    @job  # type: ignore[untyped-decorator]
    def make(self, structure: Structure) -> Calculation:
        """Write the inputs of ``structure``; return it unchanged, with an energy that means nothing."""
        from pymatgen.io.vasp.inputs import Poscar

        where = _fresh(Path(self.engine.directory), self.name)
        where.mkdir(parents=True)
        about: dict[str, Any] = {"label": self.name, "task": self.task, "level": self.engine.level.name}
        about |= {"atoms": len(structure), "formula": structure.composition.formula}
        if hasattr(self.real, "write"):
            about["potcar"] = "POTCAR" if self.real.write(structure, where) else "POTCAR.spec"
        else:
            Poscar(structure).write_file(str(where / "POSCAR"))
        about["files"] = sorted(p.name for p in where.iterdir())
        (where / INDEX).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        level = self.engine.level
        return Calculation(
            task=self.task,
            label=self.name,
            level=LevelOfTheory(name=level.name, kind="toy", method=_METHOD, stand_in=True),
            structure=structure,
            energy_ev=0.0,
            max_force_ev_per_ang=0.0,
            ionic_converged=True,
            energies_ev=(0.0,),
            max_forces_ev_per_ang=(0.0,),
            wall_time_s=0.0,
            provenance=Provenance(job="", run_directory=str(where)),
        )


def _fresh(root: Path, name: str) -> Path:
    """Return a folder of that name that does not exist yet."""
    slug = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.") or "calculation"
    where, number = root / slug, 2
    while where.exists():
        where, number = root / f"{slug}-{number}", number + 1
    return where
