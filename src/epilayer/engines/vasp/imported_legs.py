"""A calculation that somebody else ran, as a ``Calculation`` that the closure law can judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epilayer import __version__
from epilayer.engines.vasp.executed import level_of_theory
from epilayer.model.errors import InputError
from epilayer.model.imported import CalculationKind, Code, Severity
from epilayer.model.records import Calculation, Provenance

if TYPE_CHECKING:
    from epilayer.model.imported import ImportedCalculation

_TASKS = {CalculationKind.STATIC: "static", CalculationKind.RELAX: "relax"}
# A metal slab and a molecule want different smearings; energy(sigma->0) is what makes them comparable.
_PER_SYSTEM = ("ISMEAR", "SIGMA")


def usable_as_leg(record: ImportedCalculation) -> bool:
    """Return whether an adsorption energy can be made of it."""
    whole = record.energy_ev is not None and record.lattice_ang is not None and record.level is not None
    return record.code is Code.VASP and record.kind in _TASKS and whole


def as_calculation(record: ImportedCalculation) -> Calculation:
    """Return an imported single point or relaxation as a calculation.

    What the files do not state stays open here, and :func:`open_points` names it.

    Raises
    ------
    InputError
        If its energy, structure or level cannot be stood behind.
    """
    structure, level = record.structure(), record.level
    if record.energy_ev is None or structure is None or level is None or record.kind not in _TASKS:
        reasons = [r.what for r in record.reasons if r.severity is not Severity.NOTE]
        what = reasons[0] if reasons else f"it is of kind {record.kind.value}, {record.status.value}"
        raise InputError(
            f"{record.path} gives no energy of a structure ({what}).",
            "Give a converged relaxation or single point with its vasprun.xml.",
        )
    unknown = [name for name in level.unknown if name != "potcars"]
    if unknown:
        raise InputError(
            f"{record.path}: the files do not state {', '.join(unknown)}.",
            "Keep vasprun.xml, OUTCAR and INCAR of the run together.",
        )
    relaxing = record.kind is CalculationKind.RELAX
    return Calculation(
        task="relax" if relaxing else "static",
        label=record.path if not record.label else f"{record.path} ({record.label})",
        level=level_of_theory(
            record, level, name="imported", system={}, per_system=_PER_SYSTEM, without_hash="by its TITEL"
        ),
        structure=structure,
        energy_ev=record.energy_ev,
        max_force_ev_per_ang=record.max_force_ev_per_ang or 0.0,
        ionic_converged=record.ionic_converged is not False,
        electronic_converged=record.electronic_converged,
        energies_ev=(record.energy_ev,),
        max_forces_ev_per_ang=(record.max_force_ev_per_ang or 0.0,),
        magnetic_moments_mu_b=record.magnetic_moments,
        corrections=tuple(
            f"{', '.join(fix.errors)} ({fix.handler}): {fix.actions}" for fix in record.corrections
        ),
        wall_time_s=0.0,
        provenance=Provenance(
            job=f"imported: {record.path}",
            run_directory=record.path,
            files=record.files,
            versions={"epilayer": __version__, "vasp": record.program or "not stated"},
        ),
    )


def open_points(record: ImportedCalculation) -> list[str]:
    """Return what the files of a leg leave open, one sentence each."""
    level = record.level
    out = []
    if level is not None and any(potcar.sha256 is None for potcar in level.potcars):
        out.append("pseudopotentials are identified by their TITEL: no file holds their hash")
    if record.max_force_ev_per_ang is None:
        out.append("the files of a leg do not show the forces on its free atoms")
    if record.electronic_converged is None:
        out.append("the files of a leg do not show whether its electrons converged")
    if record.ionic_converged is None and record.kind is CalculationKind.RELAX:
        out.append("the files of a leg do not show whether its ions met their criterion")
    return out
