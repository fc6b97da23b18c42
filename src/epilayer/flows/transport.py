"""Ion transport in a loaded pore, with any engine that runs dynamics in segments.

minimise -> one trajectory a temperature and seed, in as many segments as it takes (equilibration is its
beginning) -> analysis of all seeds of a temperature together -> over several temperatures, Arrhenius.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import Flow, Job, Maker, Response, job
from pydantic import Field

from epilayer import __version__
from epilayer.analysis.arrhenius import arrhenius
from epilayer.analysis.drift import segment_drifts
from epilayer.analysis.integrity import BondWatch
from epilayer.analysis.loaded import HOST, Loaded, Run, solvation_of, transport_of
from epilayer.flows.base import each_once, mark
from epilayer.model.base import Frozen
from epilayer.model.dynamics import HELD, VELOCITIES, DynamicsSettings, Ensemble, Segment, SegmentLimit
from epilayer.model.errors import InputError, StructureError
from epilayer.model.ion_transport import ArrheniusEstimate, IonTransport, SegmentRow
from epilayer.model.level import Convergence
from epilayer.model.units import K_B_EV_PER_K, PositiveAng, PositiveEvPerAng, PositiveKelvin
from epilayer.trajectory.log import TrajectoryFolder, open_reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from epilayer.engines.base import FrameStore, MdEngine
    from epilayer.model.records import Calculation
    from epilayer.model.transport import Verdict

PART, MOLECULE, MOLECULE_NAME = "part", "molecule", "molecule_name"
"""Site properties of a loaded pore: host or guest, number of the molecule (0 for the host), its name."""

_FEWEST_FOR_DRIFT = 10


class TransportPlan(Frozen):
    """What is simulated, and what is analysed of it.

    Attributes
    ----------
    dynamics
        Ensemble, thermostat, time step and how often frames and checkpoints are written. Its steps,
        temperature and seed are replaced by those below.
    equilibration_steps, production_steps
        The paper's "first 3 fs" must be 3 ps: 3,000 + 10,000 steps of 1 fs.
    temperatures_k
        One trajectory each (and seed); from three on an activation energy is fitted.
    seeds
        Replicas: start velocities and noise.
    mobile_host_elements
        What moves of the host in addition to the guests; the paper lets its H move.
    free_framework
        The whole host moves.
    segment_steps, segment_wall_time_s
        When a segment ends and its successor is queued; unset, never.
    minimise_steps, minimise_max_force_ev_per_ang
        Before the dynamics, the same atoms held.
    nve_check_steps
        Steps without thermostat after the first trajectory, whose energy drift is reported; 0 for none.
    hop_length_ang
        Distance that counts as one hop in the analysis.
    """

    dynamics: DynamicsSettings = Field(default_factory=DynamicsSettings)
    equilibration_steps: int = Field(default=3000, ge=0)
    production_steps: int = Field(default=10000, gt=0)
    temperatures_k: tuple[PositiveKelvin, ...] = (353.15,)
    seeds: tuple[int, ...] = (0,)
    mobile_host_elements: tuple[str, ...] = ("H",)
    free_framework: bool = False
    segment_steps: int | None = Field(default=None, gt=0)
    segment_wall_time_s: float | None = Field(default=None, gt=0)
    minimise_steps: int = Field(default=200, ge=0)
    minimise_max_force_ev_per_ang: PositiveEvPerAng = 0.5
    nve_check_steps: int = Field(default=0, ge=0)
    hop_length_ang: PositiveAng = 3.0

    def settings(self, temperature_k: float, seed: int) -> DynamicsSettings:
        """Return the settings of one trajectory.

        Parameters
        ----------
        temperature_k
            Its temperature, K.
        """
        steps = self.equilibration_steps + self.production_steps
        update = {"temperature_k": temperature_k, "seed": seed, "steps": steps}
        return self.dynamics.model_copy(update=update)

    @property
    def limit(self) -> SegmentLimit:
        """When a segment ends."""
        return SegmentLimit(steps=self.segment_steps, wall_time_s=self.segment_wall_time_s)


@dataclass(kw_only=True)
class TransportMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """Diffusion, transference and solvation of the ions in a loaded pore.

    Parameters
    ----------
    engine
        Minimises and runs the dynamics.
    plan
        What is simulated.
    """

    engine: MdEngine
    plan: TransportPlan = field(default_factory=TransportPlan)
    name: str = "transport"

    def make(self, system: str, structure: Structure, charges_e: Mapping[str, float]) -> Flow:
        """Build the flow.

        Parameters
        ----------
        system
            What the pore is called in the record.
        structure
            The loaded pore with the site properties ``part``, ``molecule`` and ``molecule_name``.
        charges_e
            Formal charge of each kind of ion by its molecule name.

        Raises
        ------
        InputError
            Without temperatures or seeds, or where one is named twice.
        StructureError
            If the structure lacks the site properties, an ion, or anything that moves.
        """
        plan = self.plan
        each_once("temperature", plan.temperatures_k)
        each_once("seed", plan.seeds)
        start = hold_host(structure, plan)
        loaded_of(start, charges_e)
        level = self.engine.level.name
        wanted = Convergence(
            max_force_ev_per_ang=plan.minimise_max_force_ev_per_ang,
            max_steps=max(plan.minimise_steps, 1),
            optimizer="FIRE",
        )
        relaxed = self.engine.relax(f"minimise {system}, {level}", wanted).make(start)
        jobs: list[Job] = [relaxed]
        records = []
        frames = TrajectoryFolder()
        for temperature_k in plan.temperatures_k:
            title = f"{system}, {temperature_k:g} K, {level}"
            replicas = []
            for seed in plan.seeds:
                run = extend(
                    self.engine,
                    f"dynamics of {title}, seed {seed}",
                    plan.settings(temperature_k, seed),
                    frames,
                    plan.limit,
                    start,
                    relaxed.output,
                    [],
                )
                mark(run, f"dynamics of {title}, seed {seed}")
                replicas.append(run.output)
                jobs.append(run)
            nve: Any = None
            if plan.nve_check_steps and temperature_k == plan.temperatures_k[0]:
                check = without_thermostat(self.engine, title, plan, frames, start, replicas[0])
                mark(check, f"NVE check of {title}")
                jobs.append(check)
                nve = check.output
            done = analyse_transport(
                system, start, dict(charges_e), plan, temperature_k, replicas, nve, relaxed.output
            )
            mark(done, f"analyse transport of {title}", "transport")
            records.append(done.output)
            jobs.append(done)
        if len(records) > 1:
            fit = fit_arrhenius(records)
            mark(fit, f"Arrhenius of {system}, {level}", "arrhenius")
            jobs.append(fit)
        return Flow(jobs, name=self.name)


def hold_host(structure: Structure, plan: TransportPlan) -> Structure:
    """Return a copy in which the guests move, and of the host what the plan lets move."""
    parts = structure.site_properties.get(PART)
    if parts is None or any(name not in structure.site_properties for name in (MOLECULE, MOLECULE_NAME)):
        raise StructureError(
            "The structure does not say which atoms are host and which guests.",
            f"Load a pore, or set the site properties {PART}, {MOLECULE} and {MOLECULE_NAME}.",
        )
    absent = sorted(set(plan.mobile_host_elements) - {e.symbol for e in structure.composition.elements})
    if absent:
        raise InputError(
            f"No {absent[0]} is in the structure to be mobile.",
            "Name elements of the host (mobile_host_elements).",
        )
    free = [
        part != HOST or plan.free_framework or site.specie.symbol in plan.mobile_host_elements
        for part, site in zip(parts, structure, strict=True)
    ]
    held = structure.copy()
    held.remove_oxidation_states()
    held.add_site_property(HELD, [[f] * 3 for f in free])
    return held


def moving_in_words(structure: Structure) -> str:
    """Return what is free to move, for the record."""
    held = structure.site_properties[HELD]
    parts = structure.site_properties[PART]
    host: dict[bool, set[str]] = {True: set(), False: set()}
    for row, part, site in zip(held, parts, structure, strict=True):
        if part == HOST:
            host[bool(all(row))].add(site.specie.symbol)
    if not host[False]:
        return "everything, the framework too"
    free = f"the guests and the host's {', '.join(sorted(host[True]))}" if host[True] else "the guests"
    return f"{free}; the host's {', '.join(sorted(host[False]))} are held"


def loaded_of(structure: Structure, charges_e: Mapping[str, float]) -> Loaded:
    """Return what the analysis has to know of a loaded pore's atoms."""
    properties = structure.site_properties
    names = [
        HOST if p == HOST else str(n)
        for p, n in zip(properties[PART], properties[MOLECULE_NAME], strict=True)
    ]
    absent = sorted(set(charges_e) - set(names))
    if absent or not any(z > 0 for z in charges_e.values()):
        raise StructureError(
            f"There is no {absent[0]} in the pore." if absent else "No guest is a cation.",
            f"Name ions among the guests: {', '.join(sorted(set(names) - {HOST}))}.",
        )
    return Loaded(
        symbols=tuple(site.specie.symbol for site in structure),
        masses_amu=tuple(float(site.specie.atomic_mass) for site in structure),
        molecule=tuple(int(m) for m in properties[MOLECULE]),
        name=tuple(names),
        charges_e=dict(charges_e),
    )


@job  # type: ignore[untyped-decorator]
def extend(
    engine: MdEngine,
    title: str,
    settings: DynamicsSettings,
    frames: FrameStore,
    limit: SegmentLimit,
    start: Structure,
    origin: Calculation | Segment,
    done: list[Segment],
) -> list[Segment] | Response[Any]:
    """Run the next segment of a trajectory, and this again, until it has all its steps."""
    if done and done[-1].complete:
        return done
    if len(done) > 1 and done[-1].last_step == done[-1].first_step:
        raise InputError(
            f"{title}: segment {done[-1].number} ended ({done[-1].ended_by}) without a step.",
            "Give segments more time (segment_wall_time_s).",
        )
    number = len(done) + 1
    begin = begun(start, origin)
    segment = engine.segment(f"{title}, segment {number}", settings, frames, limit).make(
        begin, done[-1] if done else None
    )
    following = extend(engine, title, settings, frames, limit, start, origin, [*done, segment.output])
    mark(following, f"{title}, after segment {number}")
    return Response(replace=Flow([segment, following], output=following.output, name=title))


def begun(start: Structure, origin: Calculation | Segment) -> Structure:
    """Return the start with the positions of what was computed before, and its velocities where it has any.

    Engines may lose site properties on the way; the start's own say who is who and what is held.
    """
    if [s.specie.symbol for s in origin.structure] != [s.specie.symbol for s in start]:
        raise StructureError(
            f"{origin.label} came back with other atoms than it was given.", "Report this as a bug."
        )
    moved = start.copy()
    for index, site in enumerate(origin.structure):
        moved.translate_sites(index, site.frac_coords - start[index].frac_coords, to_unit_cell=False)
    velocities = origin.structure.site_properties.get(VELOCITIES)
    if velocities is not None:
        moved.add_site_property(VELOCITIES, [list(map(float, v)) for v in velocities])
    return moved


@job  # type: ignore[untyped-decorator]
def without_thermostat(
    engine: MdEngine,
    title: str,
    plan: TransportPlan,
    frames: FrameStore,
    start: Structure,
    replica: list[Segment],
) -> Response[Any]:
    """Go on from the end of a trajectory in the NVE ensemble."""
    last = replica[-1]
    update = {"ensemble": Ensemble.NVE, "steps": plan.nve_check_steps}
    settings = last.settings.model_copy(update=update)
    run = extend(engine, f"NVE of {title}", settings, frames, plan.limit, start, last, [])
    mark(run, f"NVE of {title}")
    return Response(replace=Flow([run], output=run.output, name=f"NVE of {title}"))


@job  # type: ignore[untyped-decorator]
def analyse_transport(
    system: str,
    start: Structure,
    charges_e: dict[str, float],
    plan: TransportPlan,
    temperature_k: float,
    replicas: list[list[Segment]],
    nve: list[Segment] | None,
    minimised: Calculation,
) -> IonTransport:
    """Stitch and analyse the trajectories of one temperature."""
    loaded = loaded_of(start, charges_e)
    last = [segments[-1] for segments in replicas]
    runs, rows, warm, warnings = [], [], [], []
    watch = BondWatch(loaded.symbols, minimised.structure.cart_coords, start.lattice.matrix)
    for segments in replicas:
        run, own_rows, temperatures = _stitched(segments, plan)
        runs.append(run)
        rows += own_rows
        warm.append(temperatures)
        warnings += [
            f"Seed {segments[-1].settings.seed}: {watch.describe(c)}"
            for c in watch.changes(run.positions_ang[-1])
        ]
    report = transport_of(loaded, runs, temperature_k, plan.hop_length_ang)
    estimate = report.of(loaded.cation)
    drift, drift_error = _nve_drift(nve) if nve else (None, None)
    every = [s for part in replicas for s in part]
    computed = max(sum(_computed(s) for s in every), 1)
    known_cpu_s = [s.cpu_time_s for s in every if s.cpu_time_s is not None]
    return IonTransport(
        system=system,
        formula=start.composition.reduced_formula,
        atoms=len(start),
        cation=loaded.cation,
        temperature_k=temperature_k,
        level=last[0].level,
        settings=last[0].settings,
        equilibration_steps=plan.equilibration_steps,
        steps=last[0].last_step,
        frames=last[0].frames,
        seeds=tuple(s.settings.seed for s in last),
        moves=moving_in_words(start),
        verdict=estimate.verdict,
        statement=_statement(estimate.verdict, estimate.reason),
        report=report,
        solvation=solvation_of(loaded, runs),
        segments=tuple(rows),
        mean_temperature_k=float(np.concatenate(warm).mean()),
        nve_drift_mev_per_atom_ps=drift,
        nve_drift_error_mev_per_atom_ps=drift_error,
        seconds_per_step=sum(s.wall_time_s for s in every) / computed,
        cpu_seconds_per_step=sum(known_cpu_s) / computed if len(known_cpu_s) == len(every) else None,
        peak_memory_mb=max((s.peak_memory_mb for s in last if s.peak_memory_mb is not None), default=None),
        warnings=tuple(warnings),
        lost=tuple(dict.fromkeys(text for part in replicas for s in part for text in s.lost)),
        trajectories=tuple(s.trajectory for s in last),
        jobs=tuple(s.provenance.job for s in every),
        versions={name: version for s in every for name, version in s.provenance.versions.items()},
        code_version=__version__,
        minimised_steps=len(minimised.energies_ev) - 1,
        minimised_max_force_ev_per_ang=minimised.max_force_ev_per_ang,
        parameters={
            f"plan_{k}": _scalar(v)
            for k, v in plan.model_dump(mode="json").items()
            if k not in {"dynamics", "segment_steps", "segment_wall_time_s"}  # no part of what was asked
        },
    )


def _computed(segment: Segment) -> int:
    known = segment.computed_steps
    return segment.last_step - segment.first_step if known is None else known


def _statement(verdict: Verdict, reason: str) -> str:
    return f"{verdict.value}: {reason[:1].lower()}{reason[1:]}"


def _scalar(value: Any) -> str | int | float | bool | None:  # noqa: ANN401  (a JSON value)
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _stitched(
    segments: list[Segment], plan: TransportPlan
) -> tuple[Run, list[SegmentRow], NDArray[np.float64]]:
    """Return the production of one trajectory after proving that nothing is missing or doubled."""
    last = segments[-1]
    settings = last.settings
    with open_reference(last.trajectory) as stored:
        expected = np.arange(settings.frames_at(last.last_step)) * settings.frame_every
        found = stored.steps()
        if not np.array_equal(found, expected):
            raise StructureError(
                f"{last.trajectory.path}: {len(found)} frames where {len(expected)} belong, "
                "or their steps have a gap.",
                "Run the trajectory anew; this one cannot be trusted.",
            )
        first = int(np.searchsorted(expected, plan.equilibration_steps))
        production = Run(
            stored.positions(start=first),
            stored.cells_ang()[0],
            settings.time_step_fs * settings.frame_every,
        )
        temperatures, energies = stored.temperatures_k(), stored.energies_ev()
    rows = [_row(s, expected, temperatures, energies, len(last.structure)) for s in segments]
    return production, rows, temperatures[first:]


def _row(
    segment: Segment,
    steps: NDArray[np.int64],
    temperatures_k: NDArray[np.float64],
    energies_ev: NDArray[np.float64],
    n_atoms: int,
) -> SegmentRow:
    inside = (steps > segment.first_step) & (steps <= segment.last_step)
    times = steps[inside] * segment.settings.time_step_fs
    drift = None
    if inside.sum() >= _FEWEST_FOR_DRIFT and np.isfinite(temperatures_k[inside]).all():
        drift = segment_drifts(times, temperatures_k[inside], energies_ev[inside], n_atoms)[0]
    return SegmentRow(
        seed=segment.settings.seed,
        number=segment.number,
        first_step=segment.first_step,
        last_step=segment.last_step,
        ended_by=segment.ended_by,
        resumed=segment.resumed,
        temperature_k=drift.temperature_k if drift else None,
        temperature_error_k=drift.temperature_error_k if drift else None,
        energy_drift_mev_per_atom_ps=drift.energy_drift_mev_per_atom_ps if drift else None,
        wall_time_s=segment.wall_time_s,
    )


def _nve_drift(segments: list[Segment]) -> tuple[float | None, float | None]:
    """Return the drift of the total energy and its error, meV/atom/ps."""
    last = segments[-1]
    with open_reference(last.trajectory) as stored:
        temperatures, times = stored.temperatures_k(), stored.times_fs()
        kinetic = 0.5 * last.degrees_of_freedom * K_B_EV_PER_K * temperatures
        total = stored.energies_ev() + kinetic
    if times is None or len(times) < _FEWEST_FOR_DRIFT:
        return None, None
    drift = segment_drifts(times, temperatures, total, len(last.structure))[0]
    return drift.energy_drift_mev_per_atom_ps, drift.energy_drift_error_mev_per_atom_ps


@job  # type: ignore[untyped-decorator]
def fit_arrhenius(records: list[IonTransport]) -> ArrheniusEstimate:
    """Return the activation energy over all temperatures, or why there is none."""
    first = records[0]
    fit = arrhenius([(r.temperature_k, r.report.of(r.cation)) for r in records])
    return ArrheniusEstimate(
        system=first.system,
        species=first.cation,
        level=first.level,
        asked_temperatures_k=tuple(r.temperature_k for r in records),
        code_version=__version__,
        parameters=first.parameters,
        **vars(fit),
    )
