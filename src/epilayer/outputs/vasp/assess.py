"""From the files of one VASP run to one record: how it ended, and whether its energy is valid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from epilayer.model.imported import (
    Agreement,
    CalculationKind,
    Code,
    Finding,
    ImportedCalculation,
    ImportStatus,
    Potcar,
    Salvage,
    Severity,
)
from epilayer.outputs.discover import FoundFiles, Role
from epilayer.outputs.vasp import convergence, cross_check, sanity_checks
from epilayer.outputs.vasp import moments as mm
from epilayer.outputs.vasp import outcar as oc
from epilayer.outputs.vasp import settings as st
from epilayer.outputs.vasp.custodian_log import corrections
from epilayer.outputs.vasp.run_files import RunFiles, gather, text_of

if TYPE_CHECKING:
    from pathlib import Path

    from epilayer.model.imported import ExecutedLevel, VaspError

_RESPONSES = (5, 6, 7, 8)
_RELAXATIONS = (1, 2, 3)


def import_vasp(files: FoundFiles) -> ImportedCalculation:
    """Return the record of one VASP run."""
    seen = gather(files)
    seen.kind = _kind(seen.settings)
    _compare(seen)
    convergence.progress(seen)
    convergence.electrons(seen)
    convergence.ions(seen)
    sanity_checks.check(seen)
    return _record(seen)


def _kind(settings: st.Executed) -> CalculationKind:
    steps, mode = settings.integer("NSW"), settings.integer("IBRION")
    # IBRION and NSW that nobody set are -1 and 0.
    unset = mode is None and steps is None and bool(settings.values)
    kind = CalculationKind.UNKNOWN
    if settings.text("ALGO").startswith(convergence.MANY_BODY):
        kind = CalculationKind.EXCITED
    elif mode in _RESPONSES:
        kind = CalculationKind.RESPONSE
    elif unset or mode == -1 or (steps is not None and steps <= 0):
        kind = CalculationKind.STATIC
    elif mode == 0:
        kind = CalculationKind.MD
    elif (mode is None or mode in _RELAXATIONS) and steps is not None:
        kind = CalculationKind.STATIC if steps == 1 else CalculationKind.RELAX
    return kind


def _compare(seen: RunFiles) -> None:
    """Set the files against one another."""
    given = []
    if seen.vasprun:
        given.append(cross_check.of_vasprun(seen.vasprun))
    if seen.outcar:
        given.append(cross_check.of_outcar(seen.outcar))
    # Steps of VASP's force field have their lines there too.
    if seen.oszicar and not seen.machine_learned_steps:
        given.append(cross_check.of_oszicar(seen.oszicar))
    # Standard output may hold several runs; it counts only where it fits one.
    given += [
        cross_check.of_oszicar(one) for one in seen.stdout if len(one.steps) == seen.steps and not one.flaws
    ]
    seen.agreement, seen.witnesses, reasons = cross_check.compared(given, first=seen.displaces)
    if seen.vasprun and seen.outcar:
        one, two = seen.vasprun.header.species, oc.species(seen.outcar.head)
        if one and two and one != two:
            seen.agreement = Agreement.DISAGREE
            reasons = []
            seen.report(
                Finding.FILES_DISAGREE,
                Severity.FATAL,
                f"{seen.vasprun.name} has {_formula(one)}, {seen.outcar.name} has {_formula(two)}",
                "Keep the files of one run in one folder.",
            )
            return
    seen.reasons += reasons
    for conflict in seen.settings.conflicts:
        seen.report(
            Finding.FILES_DISAGREE,
            Severity.WITHHOLDS,
            f"the files state different settings: {conflict}",
            "Keep the files of one run in one folder; rerun if a file is damaged.",
        )
    if seen.settings.overridden:
        what = f"VASP executed {', '.join(seen.settings.overridden)}"
        seen.report(Finding.SETTING_OVERRIDDEN, Severity.NOTE, what)
    for name in seen.settings.edited:
        seen.report(
            Finding.INPUT_EDITED,
            Severity.NOTE,
            f"INCAR on disk has another {name} than was executed; the executed one counts",
        )


def _status(seen: RunFiles) -> ImportStatus:
    codes = {reason.code for reason in seen.reasons}
    if any(reason.severity is Severity.FATAL for reason in seen.reasons):
        return ImportStatus.FAILED
    if seen.ended or (seen.finished and Finding.NOT_SELF_CONSISTENT in codes):
        return ImportStatus.FINISHED
    if not seen.finished:
        return _unfinished(codes)
    moving = seen.kind in (CalculationKind.MD, CalculationKind.RELAX)
    stopped = Finding.STOPPED_ON_REQUEST in codes and not (seen.electronic and seen.ionic is not False)
    if stopped or (seen.kind is CalculationKind.MD and not seen.ionic):
        return ImportStatus.INCOMPLETE
    if seen.electronic is not None and (seen.ionic is not None or not moving):
        # In a trajectory every step counts, not the last one alone.
        broken = seen.kind is CalculationKind.MD and bool(seen.unconverged)
        converged = seen.electronic and seen.ionic is not False and not broken
        return ImportStatus.CONVERGED if converged else ImportStatus.UNCONVERGED
    _say_not_shown(seen, moving=moving)
    failed = seen.electronic is False or seen.ionic is False
    return ImportStatus.UNCONVERGED if failed else ImportStatus.FINISHED


def _unfinished(codes: set[VaspError | Finding]) -> ImportStatus:
    if Finding.SCF_NEVER_CONVERGES in codes:
        return ImportStatus.UNCONVERGED
    unreadable = {Finding.FILE_DAMAGED, Finding.ENERGY_NOT_READABLE, Finding.NUMBER_OVERFLOWS} & codes
    return ImportStatus.FAILED if unreadable else ImportStatus.INCOMPLETE


def _say_not_shown(seen: RunFiles, *, moving: bool) -> None:
    if seen.ionic is None and moving:
        # A run that ended by itself before NSW met its criterion, or was asked to stop: OUTCAR says which.
        criterion = seen.settings.number("EDIFFG") is not None
        what = "the files do not show whether the ions met their criterion"
        weight = Severity.NOTE if criterion else Severity.WITHHOLDS
        seen.report(Finding.CONVERGENCE_NOT_STATED, weight, what, "Keep OUTCAR beside vasprun.xml.")
    if seen.electronic is None:
        what = "the files do not show whether the electrons converged: their steps or NELM are not in them"
        seen.report(
            Finding.CONVERGENCE_NOT_STATED, Severity.NOTE, what, "Keep vasprun.xml and the whole OUTCAR."
        )


def _record(seen: RunFiles) -> ImportedCalculation:
    settings = seen.settings
    status = _status(seen)
    level_of_theory = _level(seen)
    moments, problem = mm.moments(seen.outcar, len(seen.species))
    if problem:
        seen.report(Finding.MOMENTS_NOT_READABLE, Severity.NOTE, problem)
    fixes, problem = corrections(seen.files.one(Role.CUSTODIAN))
    if problem:
        seen.report(Finding.FILE_DAMAGED, Severity.NOTE, problem)
    program, stand_in = _program(seen)
    if seen.agreement is Agreement.SINGLE_WITNESS:
        only = seen.witnesses[0].file
        seen.report(
            Finding.SINGLE_WITNESS, Severity.NOTE, f"{only} alone gives the energy; no other file confirms it"
        )
    energy = _energy(seen, status)
    lattice_ang, positions_frac = _last_geometry(seen)
    return ImportedCalculation.model_validate(
        {
            "path": str(seen.files.folder),
            "label": seen.files.label,
            "code": Code.VASP,
            "kind": seen.kind,
            "status": status,
            "energy_ev": energy,
            "reasons": tuple(seen.reasons),
            "corrections": fixes,
            "magnetic_moments": moments,
            "total_magnetization_mu_b": seen.outcar.total_magnetization_mu_b if seen.outcar else None,
            "oxidation_states": mm.oxidation_states(seen.species, moments or ()),
            "electronic_converged": seen.electronic,
            "ionic_converged": seen.ionic,
            "ionic_steps": seen.steps,
            "ionic_steps_allowed": settings.integer("NSW"),
            "unconverged_electronic_steps": seen.unconverged,
            "max_force_ev_per_ang": seen.max_force_ev_per_ang,
            "salvage": _salvage(seen) if energy is None else None,
            "witnesses": seen.witnesses,
            "agreement": seen.agreement,
            "program": program or None,
            "stand_in": stand_in,
            "species": seen.species,
            "lattice_ang": lattice_ang,
            "positions_frac": positions_frac,
            "incar": settings.incar,
            "level": level_of_theory,
            "files": seen.hashes,
            "signature": seen.files.signature,
        }
    )


def _level(seen: RunFiles) -> ExecutedLevel | None:
    """Return the level of theory as executed, and say what of it the files leave open."""
    if not (seen.vasprun or seen.outcar or seen.settings.values):
        return None
    disk = st.potcar_hashes(seen.files.one(Role.POTCAR))
    disk = disk or _spec(seen.files.one(Role.POTCAR_SPEC))
    mesh = st.kpoints_mesh(text_of(seen.files.one(Role.KPOINTS)))
    level = st.level(seen.settings, seen.vasprun, seen.outcar, disk, mesh)
    if level.unknown:
        what = f"the files do not state {', '.join(level.unknown)}"
        seen.report(Finding.LEVEL_UNKNOWN, Severity.NOTE, what, "Keep vasprun.xml, OUTCAR and INCAR.")
    return level


def _program(seen: RunFiles) -> tuple[str | None, bool]:
    """Return what wrote the files, and whether it is a stand-in for VASP, which is then said."""
    program = seen.vasprun.header.program if seen.vasprun else (seen.outcar.program if seen.outcar else None)
    stand_in = "stand-in" in (program or "").lower() or (
        seen.outcar is not None and b"stand-in" in seen.outcar.head[:4096].lower()
    )
    if stand_in:
        seen.report(Finding.STAND_IN, Severity.NOTE, "a stand-in for VASP wrote these files: not DFT")
    return program, stand_in


def _last_geometry(seen: RunFiles) -> tuple[Any, Any]:
    """Return cell and fractional coordinates that the energy belongs to, where a file has every step."""
    run, out = seen.vasprun, seen.outcar
    if run and len(run.energies_ev) == seen.steps:
        source = run.header if seen.displaces else run.last
        if source and source.lattice_ang is not None and source.positions_frac is not None:
            return source.lattice_ang.tolist(), source.positions_frac.tolist()
    elif out and len(out.steps) == seen.steps and not seen.displaces:
        cell, cartesian = out.lattice_ang, out.positions_ang
        if cell is not None and cartesian is not None and len(cartesian) == len(seen.species):
            return cell.tolist(), np.round(cartesian @ np.linalg.inv(cell), 6).tolist()
    return None, None


def _energy(seen: RunFiles, status: ImportStatus) -> float | None:
    """Return the energy, or nothing where it cannot be stood behind."""
    if status not in (ImportStatus.CONVERGED, ImportStatus.FINISHED):
        return None
    if seen.agreement not in (Agreement.AGREE, Agreement.SINGLE_WITNESS):
        return None
    if any(reason.severity is not Severity.NOTE for reason in seen.reasons):
        return None
    # OUTCAR prints the number itself; vasprun.xml gives it as a sum of rounded ones.
    finest = min(seen.witnesses, key=lambda one: (one.resolution_ev, "sigma" not in one.source))
    return finest.energy_ev


def _salvage(seen: RunFiles) -> Salvage | None:
    if seen.steps == 0:
        return None
    # What stands before the cut in a file is whole, though the file as a witness is not.
    energies = []
    if seen.outcar and len(seen.outcar.steps) == seen.steps:
        energies.append(seen.outcar.steps[-1].energy_ev)
    if seen.vasprun and len(seen.vasprun.energies_ev) == seen.steps:
        energies.append(float(seen.vasprun.energies_ev[-1]))
    energies += [one.energy_ev for one in seen.witnesses]
    agree = seen.agreement is not Agreement.DISAGREE
    return Salvage(
        whole_ionic_steps=seen.steps,
        last_energy_ev=energies[0] if energies and agree else None,
        statement=f"{seen.steps} whole ionic steps can be used; the energy of the last one is not a result",
    )


def _spec(path: Path | None) -> tuple[Potcar, ...]:
    """Return the pseudopotentials that POTCAR.spec names, one symbol a line."""
    symbols = [line.strip() for line in text_of(path).splitlines() if line.strip()]
    return tuple(
        Potcar(element=symbol.split("_")[0], titel=symbol)
        for symbol in symbols
        if symbol.replace("_", "").isalnum()
    )


def _formula(species: tuple[str, ...]) -> str:
    names = dict.fromkeys(species)
    return " ".join(f"{name}{species.count(name)}" for name in names)
