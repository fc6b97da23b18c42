"""What an audit looks at (facts of inputs, facts of a methods text), and what it finds."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from epilayer.model.base import Frozen
from epilayer.model.imported import Charge
from epilayer.model.units import Ang, Ev, Fs, Kelvin, Ps
from epilayer.model.vasp import SystemKind

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

Mesh = tuple[int, int, int]
Lengths = tuple[Ang, Ang, Ang]


class AuditSeverity(StrEnum):
    """How grave a finding is.

    ``error``: a number made so is wrong or means something else. ``warning``: it moves the number, or
    a reader who repeats the work has to guess. ``note``: worth knowing.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


AuditCode = StrEnum(
    "AuditCode",
    "WRONG_FUNCTIONAL MIXED_FUNCTIONAL FUNCTIONAL_NOT_STATED WRONG_CUTOFF MIXED_CUTOFF CUTOFF_NOT_STATED "
    "LEVEL_DIFFERS LOOSE_FORCES MISSING_HUBBARD MIXED_HUBBARD MISSING_DISPERSION MIXED_DISPERSION "
    "MISSING_DIPOLE WRONG_DIPOLE_AXIS MISSING_SPIN K_MESH_TOO_COARSE K_MESH_ON_MOLECULE "
    "K_MESH_NOT_BY_SYSTEM K_MESH_NOT_STATED CHARGED_CELL TOO_FEW_BANDS LOBSTER_INPUT LOBSTER_BASIS "
    "VACUUM_TOO_THIN TIME_STEP_TOO_LONG EQUILIBRATION_TOO_SHORT EQUILIBRATION_NOT_STATED "
    "TIMES_DO_NOT_ADD_UP THERMOSTAT_NOT_STATED TOO_FEW_IONS FROZEN_FRAMEWORK POLYMER_IS_ANOTHER "
    "FORMULA_WRONG ORDERING_NOT_STATED TERMINATION_NOT_STATED THICKNESS_NOT_STATED "
    "MAGNETIC_ORDER_NOT_STATED CHARGED_COMPOSITION_NOT_STATED COHP_CODE_NOT_STATED INPUT_UNREADABLE",
)
"""Everything that an audit can find."""


class AuditFinding(Frozen):
    """One thing that an audit found.

    Attributes
    ----------
    where
        The calculations, or the place in the text, that it was found in.
    why
        Why it matters.
    """

    code: AuditCode
    severity: AuditSeverity
    what: str
    where: tuple[str, ...]
    why: str
    remedy: str


class AuditText(Frozen):
    """Severity, reason and remedy of a code."""

    severity: AuditSeverity
    why: str = Field(min_length=20)
    remedy: str = Field(min_length=10)


class AuditTexts(Frozen):
    """``configs/audit.yaml``: what every code of an audit means."""

    source: str
    findings: dict[AuditCode, AuditText]

    @model_validator(mode="after")
    def _complete(self) -> AuditTexts:
        missing = sorted(set(AuditCode) - set(self.findings))
        if missing:
            raise ValueError(f"findings lacks {', '.join(missing)}")
        return self


class Difference(Frozen):
    """A setting that is not what the level of theory says."""

    setting: str
    found: str
    wanted: str


class InputFacts(Frozen):
    """What the inputs of one calculation say, prepared or executed.

    Attributes
    ----------
    where
        The directory or file.
    level
        The level of theory that it was written for or is compared with.
    level_leaves_out
        What that level leaves out by choice (``hubbard``, ``dispersion``, ``dipole``), and ``k_mesh`` where
        the mesh is its own.
    differences
        Settings that are not the level's; empty also where there is no level to compare with.
    one_sided
        A slab whose two faces differ, as with a molecule on one of them.
    k_lengths_ang
        Division times lattice vector along the three axes, shape (3,).
    vacuum_axis
        Lattice direction (1, 2, 3) of the vacuum of a slab.
    bands_needed
        Basis functions that LOBSTER will project on; ``None`` where no LOBSTER run is prepared.
    basis_gaps, basis_excess
        By POTCAR: valence states for which the lobsterin names no function, and functions whose states the
        POTCAR keeps in its core.
    frozen
        Elements all of whose atoms are held.
    unreadable
        Files that cannot be read, with the reason.
    """

    where: str
    task: Literal["static", "relax", "md", "response", "unknown"] = "unknown"
    system: SystemKind | None = None
    atoms: dict[str, int] = Field(default_factory=dict)
    level: str | None = None
    level_leaves_out: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    functional: str | None = None
    cutoff_ev: Ev | None = None
    spin_polarised: bool | None = None
    hubbard_u_ev: dict[str, Ev] | None = None
    dispersion: str | None = None
    dipole_axis: int | None = None
    dipole_correction: bool | None = None
    one_sided: bool = False
    vacuum_axis: int | None = None
    vacuum_ang: Ang | None = None
    k_mesh: Mesh | None = None
    k_lengths_ang: Lengths | None = None
    charge_e: Charge | None = None
    electrons_forced: bool = False
    bands: int | None = None
    bands_needed: int | None = None
    lobster_problems: tuple[str, ...] = ()
    basis_gaps: dict[str, str] = Field(default_factory=dict)
    basis_excess: dict[str, str] = Field(default_factory=dict)
    time_step_fs: Fs | None = None
    steps: int | None = None
    thermostat: str | None = None
    frozen: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


class Species(Frozen):
    """A molecule, ion or polymer as a text names it and writes its formula.

    Attributes
    ----------
    charge
        As written behind the formula; ``None`` where nothing is.
    """

    formula: str
    name: str | None = None
    charge: int | None = None


class StatedMesh(Frozen):
    """A k-point mesh and what the text uses it for; nothing where it does not say."""

    divisions: Mesh
    systems: tuple[SystemKind, ...] = ()


def _stated(description: str, example: object, default: object = None) -> Any:  # noqa: ANN401  (as pydantic's Field)
    """Declare a fact: what it means and an example, both of which the template shows."""
    return Field(default=default, description=description, examples=[example])


class DynamicsFacts(Frozen):
    """What a text says of its molecular dynamics; unset is not stated."""

    time_step_fs: Fs | None = _stated("time step (fs)", 1.0)
    steps: int | None = _stated("number of steps, where the length is not stated", 220_000)
    total_ps: Ps | None = _stated("length of the run (ps)", 220.0)
    equilibration_fs: Fs | None = _stated("discarded as equilibration (fs)", 20_000.0)
    analysed_ps: Ps | None = _stated("part that was analysed (ps)", 200.0)
    temperature_k: Kelvin | None = _stated("temperature (K)", 353.0)
    ensemble: str | None = _stated("ensemble", "NVT")
    thermostat: str | None = _stated("thermostat", "Nose-Hoover")
    mobile_ions: dict[str, int] = _stated(
        "number of ions, by element, whose transport is reported", {"Na": 40}, {}
    )
    framework_frozen: bool = _stated("whether atoms of the framework were held", example=True, default=False)
    transport: bool = _stated(
        "whether displacements, mobility or conductivity are reported", example=True, default=False
    )

    @property
    def length_ps(self) -> float | None:
        """Length of the run: as stated, else steps times time step."""
        if self.total_ps is not None:
            return self.total_ps
        if self.steps is None or self.time_step_fs is None:
            return None
        return self.steps * self.time_step_fs / 1000.0


class MethodsFacts(Frozen):
    """What a methods text says; unset is not stated. The template of ``epilayer audit`` is made from it."""

    title: str = _stated("name of the text", "Y. Liu et al. (2025)", "")
    systems: tuple[SystemKind, ...] = _stated(
        "what was computed: slab, molecule, pore (a framework), bulk", ["slab", "molecule", "pore"], ()
    )
    adsorption: bool = _stated("whether adsorption energies are reported", example=True, default=False)
    functional: str | None = _stated("exchange-correlation functional, hybrids too", "PBE")
    cutoff_ev: Ev | None = _stated("plane-wave cutoff (eV)", 500.0)
    spin_polarised: bool | None = _stated("spin polarisation", example=True)
    cathode: str | None = _stated("formula of the host of the redox reaction", "Na3V2O2(PO4)2F")
    open_shell: tuple[str, ...] = _stated(
        "elements with localised d electrons; else those of the cathode", ["V"], ()
    )
    hubbard_u_ev: dict[str, Ev] = _stated("U by element (eV)", {"V": 3.25}, {})
    hubbard_stated: bool = _stated("whether U is stated without a value", example=True, default=False)
    dispersion: str | None = _stated("dispersion correction", "D3(BJ)")
    dipole_correction: bool | None = _stated("dipole correction of the slabs", example=True)
    ordering: str | None = _stated("how partly occupied sites were ordered", "lowest of all enumerated")
    termination: str | None = _stated("termination of the slabs", "lowest surface energy")
    slab_thickness: str | None = _stated("thickness of the slabs", "four layers")
    magnetic_order: str | None = _stated("magnetic order or start moments", "ferromagnetic")
    k_meshes: tuple[StatedMesh, ...] = _stated(
        "k-point meshes, and the systems that each is for",
        [{"divisions": [2, 2, 1], "systems": ["slab"]}],
        (),
    )
    molecules: tuple[Species, ...] = _stated(
        "molecules and ions as the text writes them", [{"name": "triazole", "formula": "C2H3N3"}], ()
    )
    polymers: tuple[Species, ...] = _stated(
        "polymers as the text writes them", [{"name": "PEO", "formula": "HO-(CH2CH2O)8-H"}], ()
    )
    charged: bool = _stated("whether a charged state was computed", example=True, default=False)
    charged_composition: str | None = _stated("its formula", "NaV2O2(PO4)2F")
    bonding_analysis: bool = _stated("whether COHP was computed", example=True, default=False)
    bonding_code: str | None = _stated("program that projected it", "LOBSTER 5.1")
    dynamics: DynamicsFacts | None = Field(default=None, description="molecular dynamics")
    evidence: dict[str, str] = _stated(
        "the words of the text, by the name of the fact", {"functional": "PBE was used."}, {}
    )


def facts_template() -> str:
    """Return every fact of a methods text as YAML, commented out, each with its meaning and an example."""
    lines = ["# Facts of a methods section. Take the # from what the text states; the rest is not stated."]
    for name, field in MethodsFacts.model_fields.items():
        if name == "dynamics":
            lines.append(f"# dynamics:  # {field.description}")
            lines += [_template_line(one, info, "  ") for one, info in DynamicsFacts.model_fields.items()]
        else:
            lines.append(_template_line(name, field))
    return "\n".join(lines) + "\n"


def _template_line(name: str, field: FieldInfo, indent: str = "") -> str:
    """Return one fact as a commented line; JSON is YAML."""
    return f"# {indent}{name}: {json.dumps((field.examples or [None])[0])}  # {field.description}"
