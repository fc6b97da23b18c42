"""LOBSTER runs that somebody made: read, compared with the free molecule, drawn, and calibrated by."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from epilayer.model.errors import EngineError, EpilayerError, InputError, UnknownNameError
from epilayer.study.user_structures import given_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymatgen.core import Structure

    from epilayer.model.calibration import BondCalibration, CalibrationPair
    from epilayer.model.cohp import MappedChanges, RunReport
    from epilayer.model.imported import BondIntegral
    from epilayer.outputs.discover import FoundFiles
    from epilayer.report.canvas import Form
    from epilayer.study.workspace import Workspace

_MOST_CURVES = 6
_NARROWEST_ANG = 8.0
_ATOM_PAIR = re.compile(r"\s*(\d+)\s*,\s*(\d+)\s*")
_RANGES = re.compile(r"\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*")


@dataclass(frozen=True)
class LobsterRun:
    """One LOBSTER directory: its report, every bond it lists, and the structure that it ran on."""

    files: FoundFiles
    report: RunReport
    chosen: tuple[BondIntegral, ...]
    listed: tuple[BondIntegral, ...]
    structure: Structure | None


@dataclass(frozen=True)
class Comparison:
    """A run on a surface and one on the free molecule, with each bond of the molecule in both."""

    free: LobsterRun
    adsorbed: LobsterRun
    changes: MappedChanges


def read_run(directory: Path, names: Sequence[str], pairs: Sequence[str], relaxed: Path | None) -> LobsterRun:
    """Read one LOBSTER directory: bonds by name or by two atoms (all where neither is given).

    Raises
    ------
    InputError
        If there is not one run, a bond is not listed, or it ran on another structure than ``relaxed``.
    """
    from epilayer.analysis.lobster_runs import assess_run, between, bonding_of, check_lengths, check_same
    from epilayer.model.imported import Code
    from epilayer.outputs.discover import find_calculations
    from epilayer.outputs.lobster.directory import find_bonds, import_lobster

    found = [f for f in find_calculations(directory) if f.code is Code.LOBSTER]
    if len(found) != 1:
        held = ", ".join(str(f.folder / f.label) for f in found[:4])
        raise InputError(
            f"{directory} holds {len(found)} LOBSTER runs{': ' + held if held else ''}.",
            "Give the directory, or the lobsterout, of one run."
            if found
            else "Give the directory in which LOBSTER ran.",
        )
    record = import_lobster(found[0])
    listed = bonding_of(record).icohp_ev
    if (names or pairs) and not listed:
        raise InputError(
            f"{directory} has no list of bond integrals (ICOHPLIST.lobster).",
            "Keep it beside the lobsterout.",
        )
    chosen: dict[str, BondIntegral] = {b.label: b for name in names for b in find_bonds(listed, name)}
    for text in pairs:
        given = _ATOM_PAIR.fullmatch(text)
        if given is None:
            raise InputError(f"--atoms {text!r} names no two atoms.", "Write --atoms 3,17.")
        hits = between(listed, int(given[1]), int(given[2]))
        if not hits:
            raise UnknownNameError(
                "pair of atoms", text, [f"{b.atom_1}-{b.atom_2}" for b in listed if b.atom_1 != b.atom_2][:12]
            )
        chosen |= {b.label: b for b in hits}
    ran = _beside(found[0].folder)
    if ran is not None:
        check_lengths(listed, ran[1], str(ran[0]))
    if relaxed is not None:
        target = _structure(relaxed)
        check_lengths(listed, target, str(relaxed))
        if ran is not None:
            check_same(ran[1], target, str(relaxed))
    picked = tuple(chosen.values()) if names or pairs else listed
    report = assess_run(record, picked, None if relaxed is None else str(relaxed))
    return LobsterRun(found[0], report, picked, listed, None if ran is None else ran[1])


def _beside(folder: Path) -> tuple[Path, Structure] | None:
    """Return the structure whose orbitals LOBSTER read: CONTCAR of the single point, or its POSCAR."""
    for name in ("CONTCAR", "CONTCAR.gz", "POSCAR", "POSCAR.gz"):
        path = folder / name
        if path.is_file() and path.stat().st_size:
            return path, _structure(path)
    return None


def _structure(path: Path) -> Structure:
    from epilayer.structures.user_structures import crystal

    if not path.is_file():
        raise InputError(f"{path} does not exist.", "Give a CONTCAR, POSCAR or CIF.")
    return crystal(given_file(str(path)))


def _needed(run: LobsterRun, directory: Path) -> Structure:
    if run.structure is None:
        raise InputError(
            f"{directory} has no CONTCAR or POSCAR: its atoms cannot be mapped.",
            "Keep the CONTCAR of the single point beside LOBSTER's files.",
        )
    return run.structure


def _ranges(text: str) -> list[int]:
    """Return atoms counted from 0 of a text such as ``145-160,170``."""
    if not _RANGES.fullmatch(text.replace(" ", "")):
        raise InputError(f"--molecule {text!r} names no atoms.", "Write --molecule 145-160.")
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        found += range(int(first) - 1, int(last or first))
    return found


def compare_with_free(
    directory: Path,
    free: Path,
    names: Sequence[str],
    pairs: Sequence[str],
    *,
    relaxed: Path | None = None,
    molecule: str | None = None,
) -> Comparison:
    """Compare each bond of a molecule with itself in the run on the free molecule.

    Parameters
    ----------
    directory, free
        The run with the surface, and the one without.
    names, pairs
        Bonds of the free molecule as in :func:`read_run`; all where neither is given.
    relaxed
        The structure on which the run with the surface must have been made.
    molecule
        The molecule's atoms in it, counted from 1: ``145-160``.
    """
    from epilayer.analysis.lobster_runs import compare_runs

    before, after = read_run(free, names, pairs, None), read_run(directory, [], [], relaxed)
    changes = compare_runs(
        before.report,
        _needed(before, free),
        after.report,
        _needed(after, directory),
        after.listed,
        None if molecule is None else _ranges(molecule),
    )
    return Comparison(before, after, changes)


def curves_figure(run: LobsterRun, form: Form) -> bytes:
    """Draw the COHP curves of the strongest bonds of a run.

    Raises
    ------
    InputError
        If it has no COHPCAR.lobster, or is refused.
    """
    from epilayer.model.cohp import RunVerdict
    from epilayer.outputs.discover import Role
    from epilayer.outputs.lobster.cohpcar import read_cohpcar
    from epilayer.report.bonding import Curve, cohp_figure

    path = run.files.one(Role.COHPCAR)
    if path is None:
        raise InputError(
            f"{run.report.directory} has no COHPCAR.lobster: no curve.", "Keep it beside the lobsterout."
        )
    if run.report.verdict is RunVerdict.REFUSED:
        raise InputError(
            f"{run.report.directory} is refused ({run.report.reasons[0].what}): no curve is drawn.",
            run.report.reasons[0].remedy or "Run LOBSTER again.",
        )
    strongest = sorted(run.chosen, key=lambda b: b.summed)[:_MOST_CURVES]
    read = read_cohpcar(path, [b.label for b in strongest])
    curves = [
        Curve(
            name=f"{b.atom_1}-{b.atom_2}, {b.length_ang:.2f} Å",
            cohp=read.curves[b.label].per_spin,
            icohp_ev=read.curves[b.label].integrated_per_spin,
            at_fermi_ev=b.summed,
        )
        for b in strongest
    ]
    title = _label(run.report)
    return cohp_figure(read.energies_ev, curves, title=title, form=form)


def changes_figure(compared: Comparison, form: Form) -> bytes:
    """Draw each bond before and after as a pair of bars."""
    from epilayer.report.bonding import Bar, change_figure

    report = compared.adsorbed.report
    worst = max((s.charge_percent or 0.0 for s in report.spilling), default=None)
    bars = [Bar(c.name, c.free_ev, c.adsorbed_ev, c.note, worst) for c in compared.changes.changes]
    return change_figure(
        bars,
        measure="\N{MINUS SIGN}ICOHP, eV",
        title=_label(report),
        spilling_limit_percent=report.spilling_limit_percent,
        form=form,
    )


def _label(report: RunReport) -> str:
    said = f"{report.program or 'LOBSTER'}, {report.verdict.value}"
    return f"{said}. STAND-IN: no number here is an ICOHP" if report.stand_in else said


@dataclass(frozen=True)
class Calibrations:
    """One calibration a kind of bond, and the runs that took no part with the reason."""

    made: list[BondCalibration]
    left_out: dict[str, str]


def calibrations(places: Iterable[Path], bonds: Sequence[str]) -> Calibrations:
    """Compare the bond strength index with LOBSTER runs, a calibration for each kind of bond.

    Parameters
    ----------
    places
        Directories of LOBSTER runs.
    bonds
        ``C-O`` (elements); every kind of bond where none is given.

    Raises
    ------
    InputError
        If no run can be calibrated by.
    """
    from epilayer.analysis.calibration import calibrate
    from epilayer.engines.xtb.bond_indices import XtbBonds

    left_out: dict[str, str] = {}
    pairs: list[CalibrationPair] = []
    stand_in, program, meter = False, "", XtbBonds()
    for place in places:
        try:
            run = read_run(place, bonds, [], None)
            found, program = _pairs(run)
        except EpilayerError as error:
            left_out[str(place)] = str(error)
            continue
        pairs += found
        stand_in |= run.report.stand_in
    if not pairs:
        where, why = next(iter(left_out.items()), ("the study", "no LOBSTER run is imported."))
        raise InputError(f"No run can be calibrated by. {where}: {why}", "Give certified LOBSTER runs.")
    by_kind: dict[str, list[CalibrationPair]] = {}
    for pair in pairs:
        by_kind.setdefault("-".join(sorted(pair.elements)), []).append(pair)
    made = [
        calibrate(group, measure=meter.measure, program=program, stand_in=stand_in)
        for group in by_kind.values()
    ]
    return Calibrations(made, left_out)


def imported_runs(study: Workspace) -> list[Path]:
    """Return the directories of the LOBSTER runs that were imported into a study."""
    from epilayer.store.filters import parse_filter

    with closing(study.results()) as results:
        if "calculation" not in results.kinds():
            return []
        found = results.query("calculation", [parse_filter("code=lobster")], limit=None)
    return [Path(str(record["fields"]["path"])) for record in found]


def _pairs(run: LobsterRun) -> tuple[list[CalibrationPair], str]:
    """Measure the bonds of a run by the index; also return what measured them."""
    from epilayer.analysis.bonding import strengths
    from epilayer.analysis.lobster_runs import SAME_GEOMETRY_ANG, atoms_of, name_of
    from epilayer.engines.xtb.bond_indices import bond_indices
    from epilayer.model.calibration import CalibrationPair
    from epilayer.model.cohp import RunVerdict

    report, structure = run.report, run.structure
    if report.verdict is not RunVerdict.CERTIFIED:
        raise InputError(f"The run is {report.verdict.value}.", "Calibrate by certified runs.")
    if structure is None:
        raise InputError("It has no CONTCAR or POSCAR.", "Keep the CONTCAR beside LOBSTER's files.")
    if min(structure.lattice.abc) < _NARROWEST_ANG:
        raise InputError(
            f"Its cell is narrower than {_NARROWEST_ANG:g} A: at the Gamma point images of a bond add up.",
            "Calibrate by molecules in boxes, slabs, or supercells.",
        )
    chosen = [
        (bond, atoms)
        for bond, atoms in ((b, atoms_of(b)) for b in report.bonds)
        if abs(structure.get_distance(*atoms) - bond.length_ang) < SAME_GEOMETRY_ANG
    ]
    measured = bond_indices(structure, [atoms for _, atoms in chosen])
    refusal = strengths(measured).refusal
    if refusal:
        raise EngineError(refusal, "Leave this run out.")
    pairs = []
    for (bond, _), index in zip(chosen, measured.bonds, strict=True):
        first, second = sorted(index.elements)
        functions = ", ".join(f"{e} {report.basis.get(e, 'not stated')}" for e in sorted({first, second}))
        pairs.append(
            CalibrationPair(
                run=report.directory,
                bond=name_of(bond),
                elements=(first, second),
                length_ang=bond.length_ang,
                index_ev=index.lowdin_ev,
                icohp_ev=-bond.summed,
                functions=functions,
            )
        )
    return pairs, measured.program
