"""Records of calculations that somebody else ran: what their files say, and what they support."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from epilayer.model.base import Frozen, fingerprint
from epilayer.model.kind import REFUSAL, STAND_IN, Column, Number, RecordKind, columns
from epilayer.model.records import Refusal, Status
from epilayer.model.units import Ang, Ev, EvPerAng, MuB, Unit

if TYPE_CHECKING:
    from pymatgen.core import Structure

Setting = bool | int | float | str | tuple[bool | int | float | str | None, ...] | None
Row = tuple[float, float, float]
PerAng = Annotated[float, Unit("1/A")]
Percent = Annotated[float, Unit("%")]
Charge = Annotated[float, Unit("e")]


class Code(StrEnum):
    """The program that wrote the files."""

    VASP = "vasp"
    LOBSTER = "lobster"
    UNKNOWN = "unknown"


CalculationKind = StrEnum(
    "CalculationKind",
    "STATIC RELAX MD RESPONSE EXCITED BONDING UNKNOWN",
)
"""What kind of calculation it was."""


class ImportStatus(StrEnum):
    """How a calculation ended, from what its files say.

    ``converged``: finished, and met its criteria. ``unconverged``: finished without meeting them.
    ``finished``: ended properly, and its files do not show whether it converged, or it is of a kind that has
    no self-consistent total energy (GW, RPA, band structures).
    ``incomplete``: never started, killed, stopped on request, or cut short. ``failed``: the program
    named an error, or the files contradict one another.
    """

    CONVERGED = "converged"
    UNCONVERGED = "unconverged"
    FINISHED = "finished"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


VaspError = StrEnum(
    "VaspError",
    "TETRAHEDRON K_MESH_SYMMETRY K_POINT_SHIFT K_POINTS_TRANSFORM IBZKPT HNFORM ROTATION_MATRIX POSMAP "
    "POINT_GROUP SYMMETRY_NOISE BRAVAIS PRICEL PRICELV RHOSYG TRIPLE_PRODUCT BRMIX SUBSPACE_MATRIX "
    "SUBSPACE_ROTATION EDDRMM EDDDAV EDDIAG EDWAV ZPOTRF ZBRENT BRIONS DENTET REAL_OPTLAY RSPHER "
    "NICHT_KONVERGENT SET_CORE_WF TOO_FEW_BANDS BANDS_NOT_SUFFICIENT LONG_CELL_AMIN ALGO_TETRAHEDRON "
    "XC_TABLE ELF_KPAR ELF_NONCOLLINEAR DFPT_NCORE HARRIS_SPIN RESTART_FILE INPUT_NOT_READ POTCAR_MISSING "
    "GAMMA_BINARY LICENCE_OR_BINARY OUT_OF_MEMORY DISK_FULL SEGFAULT MPI_ABORT TIME_LIMIT PREEMPTED "
    "NODE_FAILURE OTHER_FATAL",
)
"""Every error text of VASP, its launcher and its MPI that has a name."""

Finding = StrEnum(
    "Finding",
    "NOT_STARTED NOT_FINISHED NO_IONIC_STEP STOPPED_ON_REQUEST ELECTRONS_NOT_CONVERGED SCF_NEVER_CONVERGES "
    "IONS_NOT_CONVERGED MD_SHORT IONIC_STEP_TOO_LARGE ENERGY_NOT_READABLE NUMBER_OVERFLOWS NOT_SHOWN "
    "ENERGY_POSITIVE ENERGY_INCONSISTENT NOT_SELF_CONSISTENT CONVERGENCE_NOT_STATED FILES_DISAGREE "
    "SINGLE_WITNESS FILE_TRUNCATED FILE_DAMAGED FILE_UNREADABLE NOT_RECOGNISED NOT_READ INPUT_EDITED "
    "INPUT_INCONSISTENT SETTING_OVERRIDDEN UNKNOWN_ELEMENT LEVEL_UNKNOWN MACHINE_LEARNED "
    "MOMENTS_NOT_READABLE STAND_IN SPILLING_ABOVE_LIMIT SPILLING_UNKNOWN SPIN_CHANNEL_MISSING "
    "COHP_DISABLED NO_BONDS BAND_OVERLAP IMPORT_CRASHED",
)
"""What the reading of the files themselves showed."""


class Severity(StrEnum):
    """What a reason does to the record."""

    FATAL = "fatal"
    WITHHOLDS = "withholds"
    NOTE = "note"


class Reason(Frozen):
    """One thing that the files say about the calculation, and what can be done about it."""

    code: VaspError | Finding
    severity: Severity
    what: str
    remedy: str = ""
    file: str = ""


class Correction(Frozen):
    """One correction that custodian made during the run."""

    errors: tuple[str, ...]
    handler: str
    actions: str


class Agreement(StrEnum):
    """Whether more than one file gives the energy, and the same one."""

    AGREE = "agree"
    SINGLE_WITNESS = "single_witness"
    DISAGREE = "disagree"
    NO_WITNESS = "no_witness"


class EnergyWitness(Frozen):
    """The energy(sigma->0) of the last whole ionic step, as one file gives it.

    Attributes
    ----------
    resolution_ev
        The last printed digit: two witnesses agree when they differ by no more than rounding.
    complete
        Whether the file runs to its proper end.
    """

    file: str
    source: str
    energy_ev: Ev
    resolution_ev: Ev
    ionic_step: int
    complete: bool


class Salvage(Frozen):
    """What a calculation without a reportable energy still holds."""

    whole_ionic_steps: int
    last_energy_ev: Ev | None
    statement: str


class OxidationEstimate(Frozen):
    """The oxidation state that a site's moment suggests: an estimate, never a measurement.

    Attributes
    ----------
    state
        ``None`` where the moment lies between two states.
    """

    site: int
    element: str
    moment_mu_b: MuB
    state: int | None
    statement: str


class Potcar(Frozen):
    """Which pseudopotential was used; never what is in it."""

    element: str
    titel: str
    sha256: str | None = None
    valence_e: Charge | None = None


class HubbardU(Frozen):
    """The Hubbard term on one element's shell."""

    element: str
    angular_momentum: int
    u_ev: Ev
    j_ev: Ev


class ExecutedLevel(Frozen):
    """The level of theory as executed: read from outputs where they state it, else from inputs.

    Attributes
    ----------
    unknown
        What no file states; with anything here, energies cannot be compared by fingerprint.
    """

    functional: str | None
    encut_ev: Ev | None
    precision: str | None
    ediff_ev: Ev | None
    smearing: int | None
    sigma_ev: Ev | None
    spin: str | None
    aspherical: bool | None
    real_space_projection: bool | None
    dispersion: str | None
    hubbard_type: int | None = None
    hubbard: tuple[HubbardU, ...] = ()
    dipole_correction: str | None = None
    potcars: tuple[Potcar, ...] = ()
    k_mesh: tuple[int, int, int] | None = None
    k_centring: str | None = None
    k_points: int | None = None
    k_spacing_per_ang: PerAng | None = None
    electrons: Charge | None = None
    charge_e: Charge | None = None
    unknown: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything here."""
        return fingerprint(self.model_dump(mode="json"))

    @property
    def shared_fingerprint(self) -> str:
        """SHA-256 over what the legs of an energy difference share, independent of their atoms.

        Elements (POTCAR, U) are compared one by one; k-mesh, dipole and charge differ by design.
        """
        keys = {"functional", "encut_ev", "precision", "spin", "aspherical", "dispersion"}
        return fingerprint(self.model_dump(mode="json", include=keys))


class BondIntegral(Frozen):
    """ICOHP, ICOOP or ICOBI of one bond, up to the Fermi level.

    Attributes
    ----------
    per_spin
        One value without spin polarisation, else (spin 1, spin 2). eV for ICOHP, 1 for the others.
    summed
        Over the spins: the number to report.
    """

    label: str
    atom_1: str
    atom_2: str
    length_ang: Ang
    translation: tuple[int, int, int] | None
    per_spin: tuple[Annotated[float, Unit("eV or 1")], ...]
    summed: Annotated[float, Unit("eV or 1")]


class Spilling(Frozen):
    """Absolute spilling of one spin channel."""

    spin: int
    charge_percent: Percent | None
    total_percent: Percent | None
    passes: bool


class BondingImport(Frozen):
    """What a LOBSTER directory holds.

    Attributes
    ----------
    bands_ignored_from
        LOBSTER used the bands below this one.
    bands_needed
        What LOBSTER says it needs where it was given too few.
    energy_window_ev
        First and last energy of the COHP curve relative to the Fermi level.
    max_band_overlap_deviation
        Largest deviation of the band overlap matrices from unity, if LOBSTER wrote them.
    """

    lobster_version: str | None = None
    finished: bool | None = None
    spin_channels: int | None = None
    spilling: tuple[Spilling, ...] = ()
    spilling_limit_percent: Percent = 5.0
    spilling_passes: bool | None = None
    basis: dict[str, str] = Field(default_factory=dict)
    bands_ignored_from: int | None = None
    bands_needed: int | None = None
    k_points_not_orthonormal: int | None = None
    max_band_overlap_deviation: Annotated[float, Unit("1")] | None = None
    energy_window_ev: tuple[Ev, Ev] | None = None
    icohp_ev: tuple[BondIntegral, ...] = ()
    icoop: tuple[BondIntegral, ...] = ()
    icobi: tuple[BondIntegral, ...] = ()


class ImportedCalculation(Frozen):
    """One calculation found on disk.

    Attributes
    ----------
    label
        Suffix of its files (``relax1`` of ``OUTCAR.relax1.gz``); empty in the usual case.
    energy_ev
        energy(sigma->0) of the last configuration, or ``None`` where its files do not support it.
    magnetic_moments
        In the PAW spheres, per atom, shape (atoms,), mu_B.
    unconverged_electronic_steps
        Ionic steps, counted from 1, whose electronic loop did not converge.
    max_force_ev_per_ang
        Largest force on a free atom in the last whole step.
    incar
        The settings as executed: from the outputs where they echo them, else from INCAR.
    files
        SHA-256 of each file that was read, by name. POTCAR by its hash only.
    signature
        Sizes and times of the files, to see whether an earlier import still holds.
    job_name, job_number
        Name and ``fw_id`` of its FireWorks job, where FW.json is next to it.
    """

    path: str
    label: str = ""
    code: Code
    kind: CalculationKind
    status: ImportStatus
    energy_ev: Ev | None = None
    reasons: tuple[Reason, ...] = ()
    corrections: tuple[Correction, ...] = ()
    magnetic_moments: tuple[MuB, ...] | None = None
    total_magnetization_mu_b: MuB | None = None
    oxidation_states: tuple[OxidationEstimate, ...] = ()
    electronic_converged: bool | None = None
    ionic_converged: bool | None = None
    ionic_steps: int = 0
    ionic_steps_allowed: int | None = None
    unconverged_electronic_steps: tuple[int, ...] = ()
    max_force_ev_per_ang: EvPerAng | None = None
    salvage: Salvage | None = None
    witnesses: tuple[EnergyWitness, ...] = ()
    agreement: Agreement = Agreement.NO_WITNESS
    program: str | None = None
    stand_in: bool = False
    species: tuple[str, ...] = ()
    lattice_ang: tuple[Row, Row, Row] | None = None
    positions_frac: tuple[Row, ...] | None = None
    incar: dict[str, Setting] = Field(default_factory=dict)
    level: ExecutedLevel | None = None
    bonding: BondingImport | None = None
    files: dict[str, str] = Field(default_factory=dict)
    signature: str = ""
    job_name: str | None = None
    job_number: int | None = None

    @property
    def formula(self) -> str | None:
        """The atoms as counts by element, in the order of the files."""
        names = dict.fromkeys(self.species)
        return " ".join(f"{name}{self.species.count(name)}" for name in names) or None

    def structure(self) -> Structure | None:
        """Return the last whole structure, where the files hold one."""
        if self.lattice_ang is None or self.positions_frac is None:
            return None
        from pymatgen.core import Lattice, Structure

        return Structure(Lattice(self.lattice_ang), list(self.species), list(self.positions_frac))


class ImportedLeg(Frozen):
    """One of the three energies of an imported adsorption energy, and where it comes from."""

    role: Literal["slab", "molecule", "adsorbed"]
    path: str
    label: str
    formula: str
    task: CalculationKind
    energy_ev: Ev
    max_force_ev_per_ang: EvPerAng | None
    files: dict[str, str]


class ImportedAdsorption(Frozen):
    """An adsorption energy from three calculations that somebody else ran, certified or refused.

    Attributes
    ----------
    adsorption_energy_ev
        ``E(slab + molecule) - E(slab) - E(molecule)``; ``None`` where it is refused.
    functional, encut_ev
        Of the slab with the molecule, as executed.
    caveats
        What the files leave open, and what a reader of the number has to know.
    """

    kind: Literal["imported_adsorption"] = "imported_adsorption"
    status: Status
    adsorption_energy_ev: Ev | None
    functional: str | None
    encut_ev: Ev | None
    dispersion: str | None
    refusals: tuple[Refusal, ...]
    caveats: tuple[str, ...]
    legs: tuple[ImportedLeg, ...]
    level_fingerprint: str
    stand_in: bool
    code_version: str


def _short_name(path: str) -> str:
    """Return the last two folders of a path; one that is called ``outputs`` says nothing."""
    parts = [part for part in path.split("/") if part and part != "outputs"]
    return "/".join(parts[-2:])


def _main_reason(record: ImportedCalculation) -> Reason | None:
    grave = (r for r in record.reasons if r.severity is not Severity.NOTE)
    return next(grave, record.reasons[0] if record.reasons else None)


def _hubbard(record: ImportedCalculation) -> str | None:
    return (
        ", ".join(f"{u.element} {u.u_ev:g} eV" for u in record.level.hubbard) or None
        if record.level
        else None
    )


def _k_mesh(record: ImportedCalculation) -> str | None:
    return "x".join(map(str, record.level.k_mesh)) if record.level and record.level.k_mesh else None


CALCULATION = RecordKind(
    name="calculation",
    record=ImportedCalculation,
    about="runs of others, as they were found",
    asked=lambda r: {"where": [r.path, r.code.value, r.label]},
    columns=columns(
        Column("origin", of=lambda _: "imported"),
        Column("name", of=lambda r: _short_name(r.path)),
        "path",
        Column("label", of=lambda r: r.label or None),
        "job_name code task=kind status energy_ev formula",
        Column("atoms", int, lambda r: len(r.species) or None),
        "functional=level.functional encut_ev=level.encut_ev dispersion=level.dispersion",
        Column("hubbard", of=_hubbard),
        Column("k_mesh", of=_k_mesh),
        "charge_e:float=level.charge_e level_fingerprint=level.fingerprint total_magnetization_mu_b",
        Column("bonds", int, lambda r: len(r.bonding.icohp_ev) or None if r.bonding else None),
        Column("strongest_icohp_ev", float, lambda r: min(
            (bond.summed for bond in r.bonding.icohp_ev), default=None
        ) if r.bonding else None),
        "corrections:int agreement",
        Column("reason", of=lambda r: found.what if (found := _main_reason(r)) else None),
        Column("reason_code", of=lambda r: found.code if (found := _main_reason(r)) else None),
        "stand_in:bool",
    ),
    shown=("name", "code", "task", "formula", "functional", "status", "energy_ev", "reason"),
    title="{name}",
    number=Number("energy_ev", "eV", decimals=4),
    reported=False,
)  # fmt: skip
IMPORTED_ADSORPTION = RecordKind(
    name="imported_adsorption",
    record=ImportedAdsorption,
    about="adsorption energies from runs of others",
    asked=lambda r: {"where": [text for leg in r.legs for text in (leg.path, leg.label)]},
    columns=columns(
        Column("origin", of=lambda _: "imported"),
        Column("name", of=lambda r: _short_name(r.legs[2].path)),
        Column("slab", of=lambda r: r.legs[0].formula),
        Column("molecule", of=lambda r: r.legs[1].formula),
        Column("path", of=lambda r: r.legs[2].path),
        Column("task", of=lambda r: r.legs[2].task),
        "status adsorption_energy_ev functional encut_ev dispersion level_fingerprint",
        *REFUSAL,
        *STAND_IN,
    ),
    shown=("name", "molecule", "functional", "status", "adsorption_energy_ev", "refusal"),
    title="{molecule} on {slab}",
    number=Number("adsorption_energy_ev", "eV"),
    reported=False,
)
