"""``epilayer analyse calibration``: the bond strength index against LOBSTER runs that somebody made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from epilayer.cli.analyse_bonding import LobsterRun, read_run
from epilayer.cli.common import JsonOption, err, out, print_json, study
from epilayer.model.errors import EngineError, EpilayerError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from epilayer.model.calibration import BondCalibration, CalibrationPair

_NARROWEST_ANG = 8.0


def calibration(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="LOBSTER runs; without any, those imported into the study."),
    ] = None,
    bonds: Annotated[
        list[str] | None,
        typer.Option("--bonds", help="C-O (elements); may be repeated. Without it, every kind of bond."),
    ] = None,
    *,
    into_store: Annotated[
        bool,
        typer.Option("--into-store", help="Keep the calibrations in the study's results, for its report."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """State what the bond strength index is worth beside LOBSTER: a line for each kind of bond, or why not.

    Each run's bonds are measured once more by GFN1-xTB, in the structure that LOBSTER ran on. A run that is
    not certified, has no CONTCAR, or whose cell is narrower than 8 A takes no part, and is listed.

    Example: [cyan]epilayer analyse calibration stretched/*/ --bonds C-O[/]
    """
    from epilayer.analysis.calibration import calibrate
    from epilayer.engines.xtb.bond_indices import XtbBonds

    places = directories or _imported()
    left_out: dict[str, str] = {}
    pairs: list[CalibrationPair] = []
    stand_in, program, meter = False, "", XtbBonds()
    with err.status("Reading LOBSTER runs and measuring their bonds ..."):
        for place in places:
            try:
                run = read_run(place, bonds or [], [], None)
                found, program = _pairs(run)
            except EpilayerError as error:
                left_out[str(place)] = str(error)
                continue
            pairs += found
            stand_in |= run.report.stand_in
    if not pairs:
        where, why = next(iter(left_out.items()), ("the study", "no LOBSTER run is imported."))
        raise InputError(f"No run can be calibrated by. {where}: {why}", "Give certified LOBSTER runs.")
    kinds = dict.fromkeys("-".join(sorted(pair.elements)) for pair in pairs)
    made = [
        calibrate(
            [p for p in pairs if "-".join(sorted(p.elements)) == kind],
            measure=meter.measure,
            program=program,
            stand_in=stand_in,
        )
        for kind in kinds
    ]
    if into_store:
        _store(made)
    if as_json:
        print_json({"calibrations": [c.model_dump(mode="json") for c in made], "left_out": left_out})
        return
    for one in made:
        _show(one)
    for name, why in left_out.items():
        out.print(f"left out: {escape(name)}: {escape(why)}", soft_wrap=True)
    if into_store:
        out.print("Stored. Look at them: [cyan]epilayer query bond_calibration[/]")


def _imported() -> list[Path]:
    """Return the directories of the LOBSTER runs that were imported into the study."""
    from epilayer.store.filters import parse_filter

    results = study().results()
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


def _store(made: Sequence[BondCalibration]) -> None:
    from datetime import UTC, datetime

    from epilayer.store.records import document_of
    from epilayer.study.stored_files import seal_study

    used, now = study(), datetime.now(UTC).isoformat()
    results = used.results()
    try:
        results.put(document_of(one, created=now) for one in made)
    finally:
        results.close()
    seal_study(used, ())


def _show(one: BondCalibration) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("bond", "run", "length (Å)", "index (eV)", "-ICOHP (eV)"):
        table.add_column(heading, justify="left" if heading in ("bond", "run") else "right")
    for pair in one.pairs:
        table.add_row(
            pair.bond,
            escape(Path(pair.run).name),
            f"{pair.length_ang:.3f}",
            f"{pair.index_ev:.3f}",
            f"{pair.icohp_ev:.3f}",
        )
    out.print(f"[bold]{one.bonds}[/]: {one.measure.value} against -ICOHP (LOBSTER)")
    out.print(table)
    out.print(escape(one.statement) + "\n", soft_wrap=True)
