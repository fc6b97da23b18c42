"""The production engine: VASP through atomate2's input sets and custodian, parsed as executed.

Custodian handlers, and why these: ``VaspErrorHandler`` (known crashes and their mechanical cures),
``ElectronicHandler`` (a last electronic loop that did not converge gets a steadier ALGO; the ionic
budget is the flow's decision, so an ionic loop that ran out is *not* restarted), ``NonConverging``,
``Potim``, ``PositiveEnergy`` and ``FrozenJob`` (stop a run that only burns hours), ``StdErr`` and
``Walltime`` (ask VASP to stop in time; the next attempt resumes). Left out: ``LargeSigma``,
``IncorrectSmearing``, ``KspacingMetal`` and ``MeshSymmetry``, which change the level of theory
(smearing, k-mesh) between two legs of one energy difference.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomate2.vasp.files import write_vasp_input_set
from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.run import run_vasp
from atomate2.vasp.sets.base import VaspInputGenerator
from jobflow import job
from monty.json import MSONable

from epilayer.engines.base import refuse_disorder
from epilayer.engines.lobster.engine import LobsterMaker
from epilayer.engines.processes import end_children
from epilayer.engines.vasp import executed as vasp_executed
from epilayer.engines.vasp import inputs as vasp_inputs
from epilayer.engines.vasp import resume as vasp_resume
from epilayer.engines.vasp import setup as vasp_setup
from epilayer.engines.vasp.segments import VaspSegmentMaker
from epilayer.model.dynamics import SegmentLimit
from epilayer.model.errors import EngineError, InputError, SetupError
from epilayer.model.failure import FailedRunError, Failure, FailureClass
from epilayer.outputs.run_failure import failure_of, telling_lines
from epilayer.outputs.vasp.poscar import file_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymatgen.core import Structure

    from epilayer.engines.base import FrameStore
    from epilayer.model.cathode import Cathode
    from epilayer.model.dynamics import DynamicsSettings
    from epilayer.model.level import Convergence, EngineSpec, Level
    from epilayer.model.records import Calculation
    from epilayer.model.vasp import Task, VaspSettings

_POLL_S = 0.25
_CHECK_EVERY_S = 60.0
"""Custodian asks whether VASP has ended at the first interval, and what it writes at the second."""
_MAX_ERRORS = 5
_STEP_TIME = re.compile(rb"LOOP\+:.*real time\s*(\d+\.\d+)")
_SLOWEST_STEPS = 3
_MARGIN = 0.1
"""Part of a segment's wall time that is kept free in any case, for files and the record."""


@dataclass(frozen=True)
class VaspEngine(MSONable):  # type: ignore[misc]  # monty is untyped
    """Energies from VASP; satisfies :class:`epilayer.engines.base.Engine`.

    Parameters
    ----------
    spec
        The engine as configured.
    level
        The level of theory that was asked for, with its ``vasp`` block.
    hubbard_u_ev
        U by element (eV), resolved from the level or the cathode.
    moments
        Start moments (mu_B) by element or species, resolved from the cathode's oxidation states.
    """

    spec: EngineSpec
    level: Level
    hubbard_u_ev: dict[str, float] = field(default_factory=dict)
    moments: dict[str, float] = field(default_factory=dict)

    @classmethod
    def for_cathode(cls, spec: EngineSpec, level: Level, cathode: Cathode | None) -> VaspEngine:
        """Resolve what the level leaves to the cathode: U values, and start moments by oxidation state."""
        if level.vasp is None:
            raise InputError(
                f"The level {level.name!r} uses the engine {spec.name!r} and has no vasp block.",
                "Give it one, or parent: paper.",
            )
        u_ev = vasp_inputs.resolved_u_ev(level.vasp.hubbard, cathode)
        return cls(spec, level, u_ev, vasp_inputs.moments_by_element(cathode))

    @property
    def settings(self) -> VaspSettings:
        """The level's ``vasp`` block."""
        assert self.level.vasp is not None  # noqa: S101  (for_cathode refuses a level without one)
        return self.level.vasp

    @property
    def stand_in(self) -> bool:
        """Never known before a run: what wrote the files says so in them, and the record repeats it."""
        return False

    @property
    def sees_charge(self) -> bool:
        """NELECT follows the charge of the cell."""
        return True

    def relax(self, label: str, convergence: Convergence | None = None) -> VaspMaker:
        """Relax the positions in a fixed cell."""
        return VaspMaker(
            name=label, engine=self, task="relax", convergence=convergence or self.level.convergence
        )

    def static(self, label: str) -> VaspMaker:
        """Compute energy and forces of the structure as it is."""
        return VaspMaker(name=label, engine=self, task="static", convergence=self.level.convergence)

    def segment(
        self, label: str, settings: DynamicsSettings, frames: FrameStore, limit: SegmentLimit | None = None
    ) -> VaspSegmentMaker:
        """Run the next segment of a trajectory."""
        return VaspSegmentMaker(
            name=label, engine=self, settings=settings, frames=frames, limit=limit or SegmentLimit()
        )

    def dynamics(self, label: str, settings: DynamicsSettings) -> VaspMaker:
        """Run VASP once over so many steps: what a segment is made of."""
        return VaspMaker(
            name=label, engine=self, task="md", convergence=self.level.convergence, dynamics=settings
        )

    def bonding(self, label: str) -> LobsterMaker:
        """Integrate named bonds with LOBSTER, over a single point of its own."""
        static = VaspMaker(name=label, engine=self, task="bonding", convergence=self.level.convergence)
        return LobsterMaker(name=label, static=static)

    def check(self, elements: set[str] | None = None, *, gamma: bool = True) -> None:
        """Raise the first thing that keeps VASP from running here; all elements of the level by default."""
        potcars = self.settings.potcars
        wanted = potcars if elements is None else {e: s for e, s in potcars.items() if e in elements}
        vasp_setup.check(wanted, self.settings.potcar_functional, gamma=gamma)


def _empty_generator() -> VaspInputGenerator:
    """Return a generator that carries a user's overrides (atomate2's powerups) and nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return VaspInputGenerator(
            config_dict={"INCAR": {}, "KPOINTS": {}, "POTCAR": {}, "POTCAR_FUNCTIONAL": "PBE_54"}
        )


@dataclass(kw_only=True)
class VaspMaker(BaseVaspMaker):  # type: ignore[misc]  # atomate2 is untyped
    """One relaxation, single point or dynamics run with VASP.

    An atomate2 maker: its ``input_set_generator`` carries what a user forces on top of the level
    (``update_user_incar_settings``); the tags of the level are written anew for each structure.
    """

    name: str = "calculation"
    input_set_generator: VaspInputGenerator = field(default_factory=_empty_generator)
    engine: VaspEngine
    task: Task
    convergence: Convergence
    dynamics: DynamicsSettings | None = None
    bands: int | None = None

    @job  # type: ignore[untyped-decorator]
    def make(self, structure: Structure) -> Calculation:
        """Compute ``structure`` and return a :class:`epilayer.model.records.Calculation`."""
        return self.compute(structure, Path.cwd())

    def compute(self, structure: Structure, directory: Path) -> Calculation:
        """Compute ``structure`` in a directory, which must be the current one."""
        started = time.perf_counter()
        _, placed = self.placed(structure)
        self.prepare(structure)
        resumed = vasp_resume.resume(directory, placed, moving=self.task == "relax")
        problem = self.run()
        if problem is not None:
            raise self.failed(directory, problem) from problem
        done = vasp_executed.read(directory, self.asked(structure), time.perf_counter() - started)
        if resumed:
            done = done.model_copy(update={"corrections": (*resumed, *done.corrections)})
        return done

    def prepare(self, structure: Structure) -> None:
        """Write the input files into the current directory, if VASP can run here."""
        _, placed = self.placed(structure)
        inputs = self.inputs(structure)
        kind = vasp_inputs.system_kind(structure)
        mesh = self.engine.settings.systems[kind].k_points.mesh(structure.lattice.abc)
        gamma = mesh == (1, 1, 1) and not self._full_binary
        self.engine.check({e.symbol for e in placed.composition.elements}, gamma=gamma)
        vasp_inputs.parallel_updates()
        write_vasp_input_set(placed, inputs, **self.write_input_set_kwargs)

    def run(self, wall_time_s: float | None = None) -> Exception | None:
        """Run VASP in the current directory; return why custodian gave it up, if it did.

        Parameters
        ----------
        wall_time_s
            Of a segment of a trajectory: VASP is asked to stop in time before it is over.
        """
        try:
            run_vasp(**self._run_settings(wall_time_s))
        except (RuntimeError, OSError, ValueError) as error:  # custodian's errors are RuntimeErrors
            return error
        except BaseException:  # a request to stop: VASP must not continue alone, beside the next attempt
            end_children()
            raise
        return None

    def asked(self, structure: Structure) -> vasp_executed.Asked:
        """Return what is asked of a run, to read its answer by."""
        return vasp_executed.Asked(
            label=self.name,
            task="static" if self.task == "bonding" else self.task,
            level=self.engine.level.name,
            max_force_ev_per_ang=self.convergence.max_force_ev_per_ang,
            structure=structure,
            order=self.placed(structure)[0],
            declared=self._declared(structure),
        )

    @property
    def _full_binary(self) -> bool:
        """Whether the standard program must run even at Gamma: LOBSTER cannot read the other's WAVECAR."""
        return self.task == "bonding"

    def inputs(self, structure: Structure) -> VaspInputGenerator:
        """Return the input set generator of one structure (in the order of the flow)."""
        _, placed = self.placed(structure)
        return vasp_inputs.generator(
            self.engine.settings,
            self.engine.hubbard_u_ev,
            placed,
            self.task,
            self.convergence,
            self.dynamics,
            self.bands,
            self.input_set_generator.user_incar_settings,
        )

    def write(self, structure: Structure, directory: Path) -> bool:
        """Write the input files without running; return whether a POTCAR was written (else POTCAR.spec)."""
        _, placed = self.placed(structure)
        settings = self.engine.settings
        symbols = [settings.potcars.get(e.symbol, "") for e in placed.composition.elements]
        inputs = self.inputs(structure)
        licensed = vasp_setup.available(symbols, settings.potcar_functional)
        if structure.charge and not licensed:
            raise SetupError(
                f"{self.name}: cell charge {structure.charge:+g}; NELECT needs the POTCARs' valences.",
                "Set up the POTCARs (epilayer doctor says how).",
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = inputs.get_input_set(placed, potcar_spec=not licensed)
        found["INCAR"].update(vasp_inputs.parallel_updates())
        directory.mkdir(parents=True, exist_ok=True)
        found.write_input(str(directory))
        return licensed

    def placed(self, structure: Structure) -> tuple[list[int], Structure]:
        """Return the file order, and the structure as it is written: one block an element."""
        refuse_disorder(structure, self.name)
        order = file_order(structure)
        placed = structure.__class__.from_sites([structure[i] for i in order])
        placed.properties = dict(structure.properties)
        if structure.charge:
            placed.set_charge(structure.charge)
        moments = vasp_inputs.start_moments(self.engine.settings, self.engine.moments, placed)
        placed.add_site_property("magmom", moments)
        return order, placed

    def _declared(self, structure: Structure) -> dict[str, Any]:
        kind = vasp_inputs.system_kind(structure)
        rule = self.engine.settings.systems[kind]
        tags = {**self.engine.settings.incar, **rule.incar}
        return vasp_inputs.declared(kind, rule.k_points, structure, tags)

    def _run_settings(self, wall_time_s: float | None) -> dict[str, Any]:
        """Arguments of atomate2's ``run_vasp``: our handlers, and a quick look whether VASP has ended."""
        from atomate2 import SETTINGS

        settings: dict[str, Any] = {
            "vasp_cmd": SETTINGS.VASP_CMD,
            "vasp_gamma_cmd": SETTINGS.VASP_CMD if self._full_binary else SETTINGS.VASP_GAMMA_CMD,
            "handlers": list(_handlers() if self.task != "md" else _trajectory_handlers(wall_time_s)),
            "max_errors": _MAX_ERRORS,
            "custodian_kwargs": {
                "polling_time_step": _POLL_S,
                "monitor_freq": max(1, int(min(_CHECK_EVERY_S, (wall_time_s or 1e9) / 20) / _POLL_S)),
            },
        }
        return {**settings, **self.run_vasp_kwargs}

    def failed(self, directory: Path, problem: Exception) -> FailedRunError:
        """Return why a run that custodian gave up has failed."""
        said = ("custodian", " ".join(str(problem).split()))
        try:
            record = vasp_executed.imported(directory)
        except EngineError:
            named = Failure(
                kind=FailureClass.OTHER,
                cause=type(problem).__name__,
                what=f"{self.name}: {problem}.",
                remedy="Look into its directory; then rerun the job.",
            )
        else:
            named = failure_of(self.name, record, (*telling_lines(directory), said))
        handler = type(getattr(problem, "handler", None)).__name__
        if named.kind in (FailureClass.LOST, FailureClass.OTHER) and handler in _GIVEN_UP_BY:
            named = named.model_copy(update={"kind": _GIVEN_UP_BY[handler], "cause": handler})
        return FailedRunError(named)


#: What a handler of custodian has seen where it stopped a run that names no error itself.
_GIVEN_UP_BY = {
    "ElectronicHandler": FailureClass.SCF,
    "NonConvergingErrorHandler": FailureClass.SCF,
    "PotimErrorHandler": FailureClass.LARGE_STEP,
    "PositiveEnergyErrorHandler": FailureClass.LARGE_STEP,
    "FrozenJobErrorHandler": FailureClass.CRASH,
    "WalltimeHandler": FailureClass.WALLTIME,
    "SegmentTimeHandler": FailureClass.WALLTIME,
}


def _handlers() -> Iterator[Any]:
    """Custodian's handlers, see the module's docstring."""
    from custodian.vasp import handlers

    class ElectronicHandler(handlers.UnconvergedErrorHandler):  # type: ignore[misc]  # untyped
        """Acts on electrons alone: how many ionic steps a run gets is decided elsewhere."""

        def check(self, directory: str = "./") -> bool:
            from custodian.vasp.io import load_vasprun

            try:
                run = load_vasprun(os.path.join(directory, self.output_filename))  # noqa: PTH118
            except Exception:  # noqa: BLE001  (a broken file is for the validators to name)
                return False
            return not run.converged_electronic

    yield handlers.VaspErrorHandler()
    yield ElectronicHandler()
    yield handlers.NonConvergingErrorHandler()
    yield handlers.PotimErrorHandler()
    yield handlers.PositiveEnergyErrorHandler()
    yield handlers.FrozenJobErrorHandler()
    yield handlers.StdErrHandler()
    yield handlers.WalltimeHandler()


def _trajectory_handlers(wall_time_s: float | None) -> Iterator[Any]:
    """Custodian's handlers for dynamics: none that changes the time step or runs a trajectory once more."""
    from custodian.vasp import handlers

    class SegmentTimeHandler(handlers.WalltimeHandler):  # type: ignore[misc]  # untyped
        """Asks VASP to stop while three of its slowest steps still fit into the time of the segment.

        The clock is the segment's, not the process's, which runs many jobs; and of an OUTCAR that
        grows to gigabytes only what is new is read.
        """

        def __init__(self, wall_time: float) -> None:
            super().__init__(wall_time=wall_time)
            self.began, self.read, self.slowest_s = time.monotonic(), 0, 0.0

        def check(self, directory: str = "./") -> bool:
            outcar = Path(directory) / "OUTCAR"
            if outcar.is_file():
                with outcar.open("rb") as stream:
                    stream.seek(self.read)
                    text = stream.read()
                whole = text.rfind(b"\n") + 1
                self.read += whole
                times = [float(found) for found in _STEP_TIME.findall(text[:whole])]
                self.slowest_s = max([self.slowest_s, *times])
            left_s = self.wall_time - (time.monotonic() - self.began)
            return bool(left_s < max(_SLOWEST_STEPS * self.slowest_s, _MARGIN * self.wall_time))

    yield handlers.VaspErrorHandler()
    yield handlers.NonConvergingErrorHandler()
    yield handlers.FrozenJobErrorHandler()
    yield handlers.StdErrHandler()
    yield handlers.WalltimeHandler()
    if wall_time_s is not None:
        yield SegmentTimeHandler(wall_time_s)
