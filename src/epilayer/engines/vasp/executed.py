"""From the directory of a finished VASP run to a ``Calculation``: everything as executed, not as asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from epilayer.engines.provenance import provenance
from epilayer.engines.vasp import inputs as vasp_inputs
from epilayer.model.errors import EngineError, InputError
from epilayer.model.failure import FailedRunError
from epilayer.model.imported import Code, ImportStatus, Severity
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import Calculation
from epilayer.outputs.discover import find_calculations
from epilayer.outputs.run_failure import failure_of, telling_lines
from epilayer.outputs.vasp.assess import import_vasp
from epilayer.outputs.vasp.outcar import read_outcar
from epilayer.outputs.vasp.vasprun import VasprunStream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Literal

    from pymatgen.core import Structure

    from epilayer.model.imported import ExecutedLevel, ImportedCalculation, Setting
    from epilayer.model.level import Scalar

_KEPT = ("INCAR", "KPOINTS", "POSCAR", "CONTCAR", "OUTCAR", "OSZICAR", "vasprun.xml", "custodian.json")

# How a result is reached, printed or stored, not what it is.
_NEUTRAL = frozenset([
    "ALGO", "IALGO", "NELM", "NELMIN", "NELMDL", "AMIX", "BMIX", "AMIX_MAG", "BMIX_MAG", "AMIN", "IMIX",
    "INIMIX", "MAXMIX", "WC", "MIXPRE", "LMAXMIX", "TIME", "ISEARCH", "NSW", "IBRION", "ISIF", "POTIM",
    "EDIFFG", "NFREE", "SMASS", "TEBEG", "TEEND", "MDALGO", "LANGEVIN_GAMMA", "RANDOM_SEED", "KBLOCK",
    "NBLOCK", "ANDERSEN_PROB", "NHC_NCHAINS", "ISTART", "ICHARG", "INIWAV", "LWAVE", "LCHARG", "LVTOT",
    "LVHAR", "LELF", "LORBIT", "LAECHG", "NEDOS", "EMIN", "EMAX", "EFERMI", "NWRITE", "LDAUPRINT", "NBANDS",
    "NGX", "NGY", "NGZ", "KPAR", "NCORE", "NPAR", "NSIM", "LPLANE", "LSCALU", "MAGMOM", "DIPOL", "SYSTEM",
    "SYMPREC", "ISYM", "LSUBROT", "KSPACING", "KGAMMA", "EVENONLY", "ODDONLY", "IMAGES", "LSCALAPACK",
    "LASYNC", "LH5", "LOPTICS", "RWIGS",
])  # fmt: skip
# Compared element by element, or between slab and adslab only.
_ELSEWHERE = frozenset("LDAU LDAUTYPE LDAUL LDAUU LDAUJ LDIPOL IDIPOL NUPDOWN NELECT EDIFF".split())  # noqa: SIM905  (as above)
# What VASP takes where a tag is not stated.
_DEFAULTS: dict[str, Any] = {
    "IVDW": 0, "LVDW": False, "METAGGA": "--", "LHFCALC": False, "LUSE_VDW": False, "ADDGRID": False,
    "LASPH": False, "LREAL": False, "LNONCOLLINEAR": False, "LSORBIT": False, "EPSILON": 1.0, "LSOL": False,
    "LMONO": False, "EFIELD": 0.0, "ISPIN": 1, "SIGMA": 0.2, "ISMEAR": 1, "PREC": "N",
    "LDIAG": True, "ML_LMLFF": False, "GGA_COMPAT": True,
}  # fmt: skip
_ONE_LETTER = frozenset({"PREC", "LREAL"})


@dataclass(frozen=True)
class Asked:
    """What was asked of a run, to read its answer by.

    Attributes
    ----------
    structure
        The start, in the order of the flow.
    order
        File order (:func:`epilayer.outputs.vasp.poscar.file_order`).
    declared
        What the level asks of this kind of system.
    """

    label: str
    task: Literal["relax", "static", "md"]
    level: str
    max_force_ev_per_ang: float
    structure: Structure
    order: Sequence[int]
    declared: Mapping[str, Scalar]


def imported(directory: Path) -> ImportedCalculation:
    """Read and judge the VASP run in a directory.

    Raises
    ------
    EngineError
        If the directory holds no VASP run.
    """
    try:
        found = [f for f in find_calculations(directory) if f.code is Code.VASP and f.folder == directory]
    except InputError as error:
        raise EngineError(error.what, error.remedy) from error
    if not found:
        raise EngineError(f"{directory} holds no VASP run.", "Look into its log files; then rerun the job.")
    return import_vasp(found[0])


def read(directory: Path, asked: Asked, wall_time_s: float) -> Calculation:
    """Return the record of a run that came to its end, converged or not.

    Raises
    ------
    FailedRunError
        With the cause, if the run failed or was cut short, or its files contradict one another.
    """
    record = imported(directory)
    if record.status not in (ImportStatus.CONVERGED, ImportStatus.UNCONVERGED):
        raise FailedRunError(failure_of(asked.label, record, telling_lines(directory)))
    withheld = [r for r in record.reasons if r.severity is not Severity.NOTE]
    # An unconverged run has an energy that ranks poses, and that no E_ads is certified with.
    energy = record.energy_ev
    if energy is None and not withheld and record.salvage is not None:
        energy = record.salvage.last_energy_ev
    if withheld or energy is None:
        raise FailedRunError(failure_of(asked.label, record, telling_lines(directory)))
    energies, max_forces, final = _trajectory(directory / "vasprun.xml", asked)
    level = executed_level(record, asked)
    outcar = directory / "OUTCAR"
    dispersed = level.dispersion is not None and outcar.is_file()
    dispersion_ev = read_outcar(outcar).dispersion_ev if dispersed else None
    relaxing = asked.task == "relax"
    force = max_forces[-1]
    reached = bool(record.ionic_converged) if relaxing else force <= asked.max_force_ev_per_ang
    return Calculation(
        task=asked.task,
        label=asked.label,
        level=level,
        structure=final,
        energy_ev=energy,
        dispersion_energy_ev=dispersion_ev,
        max_force_ev_per_ang=force,
        force_target_ev_per_ang=asked.max_force_ev_per_ang if relaxing else None,
        ionic_converged=reached,
        electronic_converged=record.electronic_converged,
        energies_ev=(*energies[:-1], energy),
        max_forces_ev_per_ang=tuple(max_forces),
        magnetic_moments_mu_b=_in_order(record.magnetic_moments, asked.order),
        corrections=tuple(
            f"{', '.join(fix.errors)} ({fix.handler}): {fix.actions}" for fix in record.corrections
        ),
        wall_time_s=wall_time_s,
        provenance=provenance(
            directory,
            _KEPT,
            ("atomate2", "custodian", "pymatgen"),
            {"vasp": record.program or "not stated"},
        ),
    )


def executed_level(record: ImportedCalculation, asked: Asked) -> LevelOfTheory:
    """Return the level of theory as the files say it was executed."""
    level = record.level
    if level is None:
        raise EngineError(f"{asked.label}: the files do not state the level of theory.", "Rerun the job.")
    if level.unknown:
        raise EngineError(
            f"{asked.label}: the files do not state {', '.join(level.unknown)} as executed.",
            "Keep INCAR, POTCAR, OUTCAR and vasprun.xml of the run together; rerun the job.",
        )
    system: dict[str, Scalar] = {"ediff_ev": level.ediff_ev, "system": asked.declared.get("system")}
    return level_of_theory(record, level, name=asked.level, system=system, declared=asked.declared)


def level_of_theory(
    record: ImportedCalculation,
    level: ExecutedLevel,
    *,
    name: str,
    system: Mapping[str, Scalar],
    declared: Mapping[str, Scalar] | None = None,
    per_system: Sequence[str] = (),
    without_hash: str = "sha256 unknown",
) -> LevelOfTheory:
    """Return the level of theory that a record was computed at, for the closure law to compare.

    Parameters
    ----------
    system
        What else belongs to the system, and differs between the legs by design.
    declared
        What was asked, where that is known.
    per_system
        Tags that belong to the system, not to what the legs share; kept under ``smearing``.
    without_hash
        What stands in the place of a pseudopotential's hash that no file holds.
    """
    tags = shared_tags(record.incar, level)
    moved = {"smearing": " ".join(f"{tag}={tags.pop(tag, None)}" for tag in per_system)} if per_system else {}
    return LevelOfTheory(
        name=name,
        kind=EngineKind.DFT,
        method=f"{level.functional or 'an unknown functional'}, VASP"
        + (" (stand-in: no number of it is DFT)" if record.stand_in else ""),
        dispersion=level.dispersion if level.dispersion not in (None, "none") else None,
        numerics=tags,
        elements=_elements(level, without_hash),
        system={
            "k_mesh": vasp_inputs.mesh_label(level.k_mesh, level.k_centring),
            "dipole": level.dipole_correction or "none",
            "charge_e": level.charge_e,
            **moved,
            **system,
        },
        declared=dict(declared or {}),
        stand_in=record.stand_in,
    )


def shared_tags(incar: Mapping[str, Setting], level: ExecutedLevel) -> dict[str, Scalar]:
    """Return what every leg of an energy difference must share: all tags that are not known to be neutral.

    Closed by default: a tag nobody has heard of counts. Defaults are written out, so that a tag that
    is stated and one that is left out compare equal.
    """
    tags: dict[str, Scalar] = {}
    for name, value in {**_DEFAULTS, **incar}.items():
        if name not in _NEUTRAL and name not in _ELSEWHERE:
            tags[name] = _scalar(name, value)
    # What the outputs resolve counts more than what was written.
    stated: dict[str, Scalar] = {"ENCUT": level.encut_ev, "functional": level.functional, "spin": level.spin}
    tags |= {name: value for name, value in stated.items() if value is not None}
    tags.pop("GGA", None)  # it is the functional
    return dict(sorted(tags.items()))


def _scalar(name: str, value: Setting) -> Scalar:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = value.strip().upper()
        if text in (".TRUE.", "T", "TRUE"):
            return True
        if text in (".FALSE.", "F", "FALSE"):
            return False
        return text[:1] if name in _ONE_LETTER else text
    return float(value) if value is not None else None


def _elements(level: ExecutedLevel, without_hash: str) -> dict[str, str]:
    terms = {
        u.element: f"U={u.u_ev:g} eV, J={u.j_ev:g} eV, l={u.angular_momentum} (LDAUTYPE {level.hubbard_type})"
        for u in level.hubbard
    }
    return {
        p.element: f"{p.titel}, {f'sha256 {p.sha256}' if p.sha256 else without_hash}; "
        f"{terms.get(p.element, 'no U')}"
        for p in level.potcars
    }


def _trajectory(path: Path, asked: Asked) -> tuple[list[float], list[float], Structure]:
    """Energies (eV) and largest free forces (eV/A) of every whole step, and the last structure."""
    stream = VasprunStream(path)
    free = stream.header.free
    energies: list[float] = []
    forces: list[float] = []
    last = None
    for step in stream:
        if not step.whole or step.energy_ev is None or step.forces_ev_per_ang is None:
            break
        moving = step.forces_ev_per_ang if free is None else np.where(free, step.forces_ev_per_ang, 0.0)
        energies.append(step.energy_ev)
        forces.append(float(np.linalg.norm(moving, axis=1).max(initial=0.0)))
        last = step
    if last is None or last.positions_frac is None:
        raise EngineError(f"{asked.label}: {path.name} holds no whole ionic step.", "Rerun the job.")
    if len(last.positions_frac) != len(asked.structure):
        raise EngineError(
            f"{asked.label}: {path.name} has {len(last.positions_frac)} atoms, not {len(asked.structure)}.",
            "Rerun the job in a fresh directory.",
        )
    return energies, forces, _moved(asked, last.positions_frac)


def _moved(asked: Asked, positions_frac: Any) -> Structure:  # noqa: ANN401  (an array)
    """Return the start with its atoms moved, each kept in the image it began in, in the order of the flow."""
    final = asked.structure.copy()
    for place, site in enumerate(asked.order):
        begin = asked.structure[site].frac_coords
        step = positions_frac[place] - begin
        final.translate_sites([site], step - np.round(step), to_unit_cell=False)
    return final


def _in_order(values: Sequence[float] | None, order: Sequence[int]) -> tuple[float, ...] | None:
    if values is None or len(values) != len(order):
        return None
    out = [0.0] * len(order)
    for place, site in enumerate(order):
        out[site] = float(values[place])
    return tuple(out)
