"""A toy engine one of whose poses fails for as long as a file exists; worker processes import it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobflow import job

from epilayer.engines.mlip.engine import MlipEngine, PotentialMaker
from epilayer.model.errors import EngineError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from epilayer.model.level import Convergence

FAULT_VARIABLE = "EPILAYER_TEST_FAULT"
FAULTY_POSE = ", 01-"


@dataclass(kw_only=True)
class FaultyMaker(PotentialMaker):
    """Fails in the pre-relaxation of one pose while the fault stands."""

    @job
    def make(self, structure: Structure) -> Any:  # noqa: ANN401
        if (
            self.name.startswith("place")
            and FAULTY_POSE in self.name
            and Path(os.environ[FAULT_VARIABLE]).exists()
        ):
            raise EngineError("the potential gave a non-finite energy or force.", "Look at the start.")
        return PotentialMaker.make.original(self, structure)


@dataclass(frozen=True)
class FaultyEngine(MlipEngine):
    """The toy, with a fault."""

    def relax(self, label: str, convergence: Convergence | None = None) -> FaultyMaker:
        return FaultyMaker(
            name=label, engine=self, task="relax", convergence=convergence or self.level.convergence
        )
