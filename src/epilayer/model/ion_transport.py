"""The record of ion transport in a loaded pore: what two ions in some picoseconds can and cannot carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from epilayer.model.base import Frozen
from epilayer.model.dynamics import DynamicsSettings, FileReference, SegmentEnd
from epilayer.model.kind import FINGERPRINT, LEVEL_NAME, STAND_IN, Column, Number, RecordKind, columns, picked
from epilayer.model.level import LevelOfTheory, Scalar
from epilayer.model.transport import DiffusionEstimate, RatioEstimate, TransportReport, Verdict
from epilayer.model.units import Ang, Dimensionless, Ev, EvPerAng, Fraction, Kelvin, Ps, Seconds, Unit

if TYPE_CHECKING:
    from collections.abc import Sequence


MevPerAtomPs = Annotated[float, Unit("meV/atom/ps")]


class PairShell(Frozen):
    """First shell of one kind of neighbour around the cation, from the pair distribution."""

    centre: str
    partner: str
    first_peak_ang: Ang | None
    first_minimum_ang: Ang | None
    coordination: Dimensionless | None


class ShellShare(Frozen):
    """How often the first shell has one composition."""

    neighbours: dict[str, int]
    share: Fraction


class Residence(Frozen):
    """How long a neighbour stays, with its 95 % interval; no mean without a departure seen."""

    partner: str
    mean_ps: Ps | None
    lower_ps: Ps | None
    upper_ps: Ps | None
    departures: int


class Solvation(Frozen):
    """Who surrounds the cation.

    Attributes
    ----------
    cutoff_ang
        End of the first shell in the census: the first minimum of the cation's pair distribution with
        all its donors, or the customary value that ``cutoff_source`` states.
    mean
        Mean number of neighbours of each kind.
    shares
        Share of (ion, frame) of each composition, most frequent first.
    share_with_anion_and_chain
        Share that has neighbours of both; ``None`` where one of them is not there.
    """

    shells: tuple[PairShell, ...]
    cutoff_ang: Ang
    cutoff_source: str
    mean: dict[str, Dimensionless]
    shares: tuple[ShellShare, ...]
    share_with_anion_and_chain: Fraction | None
    residence: tuple[Residence, ...]

    def of(self, partner: str) -> PairShell:
        """Return the shell of one kind of neighbour."""
        return next(item for item in self.shells if item.partner == partner)


class SegmentRow(Frozen):
    """One segment in the record: where it began and ended, and whether it held still."""

    seed: int
    number: int
    first_step: int
    last_step: int
    ended_by: SegmentEnd
    resumed: str
    temperature_k: Kelvin | None
    temperature_error_k: Kelvin | None
    energy_drift_mev_per_atom_ps: MevPerAtomPs | None
    wall_time_s: Seconds


class IonTransport(Frozen):
    """Ion transport in one loaded pore at one temperature and level of theory.

    Attributes
    ----------
    verdict, statement
        What may be said of the cation's diffusion, and the sentence that may be printed.
    settings
        Of the dynamics; ``settings.steps`` holds equilibration and production together.
    equilibration_steps
        Steps at the start that are not analysed.
    seeds
        One trajectory each (replicas); all are analysed together.
    moves
        What was free to move, in words.
    minimised_steps, minimised_max_force_ev_per_ang
        What the minimisation before the dynamics did, and what force it left.
    nve_drift_mev_per_atom_ps
        Drift of the total energy in a stretch without thermostat, where one was asked for.
    warnings
        Broken or new bonds and the like, one line each.
    trajectories
        References to the stored frames; a record never holds them.
    versions
        Programs that computed them.
    """

    kind: Literal["transport"] = "transport"
    system: str
    formula: str
    atoms: int
    cation: str
    temperature_k: Kelvin
    level: LevelOfTheory
    settings: DynamicsSettings
    equilibration_steps: int
    steps: int
    frames: int
    seeds: tuple[int, ...]
    moves: str
    verdict: Verdict
    statement: str
    report: TransportReport
    solvation: Solvation
    segments: tuple[SegmentRow, ...]
    mean_temperature_k: Kelvin
    minimised_steps: int
    minimised_max_force_ev_per_ang: EvPerAng
    nve_drift_mev_per_atom_ps: MevPerAtomPs | None = None
    nve_drift_error_mev_per_atom_ps: MevPerAtomPs | None = None
    seconds_per_step: Annotated[float, Unit("s")]
    cpu_seconds_per_step: Annotated[float, Unit("s")] | None = None
    peak_memory_mb: Annotated[float, Unit("MB")] | None
    warnings: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    trajectories: tuple[FileReference, ...]
    jobs: tuple[str, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    code_version: str
    parameters: dict[str, Scalar] = Field(default_factory=dict)

    @property
    def estimate(self) -> DiffusionEstimate:
        """The self-diffusion of the cation."""
        return self.report.of(self.cation)


class ArrheniusEstimate(Frozen):
    """The activation energy of a cation's diffusion from several temperatures, or why there is none.

    Attributes
    ----------
    temperatures_k
        Those with a resolved diffusion coefficient, which alone enter.
    activation_energy_ev, lower_ev, upper_ev
        Of ``D = D0 exp(-Ea / kT)`` and its 95 % interval.
    prefactor_cm2_per_s
        ``D0``; only with the activation energy.
    """

    kind: Literal["arrhenius"] = "arrhenius"
    system: str
    species: str
    level: LevelOfTheory
    verdict: Verdict
    reason: str
    temperatures_k: tuple[Kelvin, ...]
    asked_temperatures_k: tuple[Kelvin, ...]
    activation_energy_ev: Ev | None
    lower_ev: Ev | None
    upper_ev: Ev | None
    prefactor_cm2_per_s: Annotated[float, Unit("cm^2/s")] | None
    code_version: str
    parameters: dict[str, Scalar] = Field(default_factory=dict)


def _oxygen(record: IonTransport) -> PairShell | None:
    return next((s for s in record.solvation.shells if s.partner == "all O"), None)


def _self_part(record: IonTransport) -> RatioEstimate | None:
    return next((t for t in record.report.transference if t.name == "t+ (self)"), None)


def _transport_methods(records: Sequence[IonTransport]) -> str:
    return " ".join(
        f"Dynamics of {one.system}: {one.settings.time_step_fs:g} fs a step at {one.temperature_k:g} K "
        f"({one.mean_temperature_k:.0f} K on average); {one.equilibration_steps} of {one.steps} steps were "
        f"equilibration; what moved: {one.moves}."
        for one in records
    )


TRANSPORT = RecordKind(
    name="transport",
    record=IonTransport,
    about="whether ions move through the pores",
    asked=lambda r: {
        **picked(r, "code_version system parameters formula seeds level"),
        "temperature": r.temperature_k,
        "settings": r.settings.model_dump(mode="json"),
    },
    columns=columns(
        f"system formula atoms:int temperature_k mean_temperature_k {LEVEL_NAME} {FINGERPRINT}",
        "verdict statement cation diffusion_cm2_per_s=estimate.diffusion_cm2_per_s",
        "lower_cm2_per_s=estimate.lower_cm2_per_s upper_cm2_per_s=estimate.upper_cm2_per_s",
        Column("window_from_ps", float, lambda r: r.estimate.window_ps[0] if r.estimate.window_ps else None),
        Column("window_to_ps", float, lambda r: r.estimate.window_ps[1] if r.estimate.window_ps else None),
        "n_eff:float=estimate.n_eff ion_ps=estimate.ion_ps ion_ps_needed:float=estimate.ion_ps_needed",
        Column("transference", float, lambda r: found.value if (found := _self_part(r)) else None),
        Column("transference_verdict", of=lambda r: found.verdict if (found := _self_part(r)) else None),
        Column("faster", of=lambda r: r.report.faster[0].said if r.report.faster else None),
        Column("first_peak_ang", float, lambda r: found.first_peak_ang if (found := _oxygen(r)) else None),
        Column("coordination", float, lambda r: found.coordination if (found := _oxygen(r)) else None),
        "share_with_anion_and_chain:float=solvation.share_with_anion_and_chain steps:int frames:int",
        "time_step_fs=settings.time_step_fs segments:int seeds moves nve_drift_mev_per_atom_ps",
        "seconds_per_step:float cpu_seconds_per_step:float peak_memory_mb warnings:int",
        Column("trajectory", of=lambda r: r.trajectories[0].path),
        *STAND_IN,
    ),
    shown=(
        "system", "temperature_k", "level", "diffusion_cm2_per_s", "first_peak_ang", "coordination",
        "statement",
    ),
    title="{system}",
    number=Number(
        "diffusion_cm2_per_s", "cm²/s", low="lower_cm2_per_s", high="upper_cm2_per_s", decimals=None,
        interval="D of {cation}: {ends} cm²/s (95 %)",
    ),
    definition="Self-diffusion from the mean squared displacement over a diffusive window, with its 95 % "
    "interval.",
    methods=_transport_methods,
    drawings=("motion", "diffusion"),
)  # fmt: skip
ARRHENIUS = RecordKind(
    name="arrhenius",
    record=ArrheniusEstimate,
    about="how diffusion depends on temperature",
    asked=lambda r: {
        **picked(r, "code_version system parameters level"),
        "temperatures": r.asked_temperatures_k,
    },
    columns=columns(
        "system species level=level.name verdict reason activation_energy_ev lower_ev upper_ev",
        "temperatures:int=temperatures_k asked_temperatures:int=asked_temperatures_k",
        *STAND_IN,
    ),
    shown=("system", "species", "level", "activation_energy_ev", "lower_ev", "upper_ev", "reason"),
    title="Activation energy of {species} in {system}",
    number=Number("activation_energy_ev", "eV", low="lower_ev", high="upper_ev", interval="{ends} eV (95 %)"),
    definition="D = D0 exp(\N{MINUS SIGN}Ea / kT), fitted to the temperatures whose D is resolved, with the "
    "95 % interval of Ea.",
    reported=False,
)
