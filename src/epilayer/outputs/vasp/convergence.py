"""Whether a run finished and its electrons and ions converged, by its files; the stricter file counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.imported import CalculationKind, Finding, Severity
from epilayer.outputs.vasp import cross_check as wt
from epilayer.outputs.vasp.error_messages import errors_in

if TYPE_CHECKING:
    from epilayer.outputs.vasp.run_files import RunFiles

_NOT_SELF_CONSISTENT_ICHARG = 10
MANY_BODY = (
    "CHI", "GW", "G0W0", "EVGW", "QPGW", "SCGW", "BSE", "TDHF", "TIMEEV", "ACFDT", "RPA", "2E4W", "MP2",
    "CRPA", "CC4S",
)  # fmt: skip
_OTHER_ALGORITHMS = (*MANY_BODY, "NONE", "NOTHING", "EXACT", "EIGENVAL", "SUBROT")
_PRINTED_EDIFF_SLACK = 1.5


def progress(seen: RunFiles) -> None:
    """Decide whether the run came to its end, and name the errors in its texts."""
    ends = []
    if seen.vasprun:
        ends.append(wt.of_vasprun(seen.vasprun))
    if seen.outcar:
        ends.append(wt.of_outcar(seen.outcar))
    whole = any(one.complete and one.sound and len(one.energies_ev) == seen.steps for one in ends)
    seen.finished = whole and seen.steps > 0
    seen.ended = seen.steps == 0 and _ended_without_energy(seen)
    _name_errors(seen)
    if seen.outcar and seen.outcar.stop_requested:
        stop = seen.outcar.stop_requested
        seen.report(Finding.STOPPED_ON_REQUEST, Severity.NOTE, stop, "Continue from CONTCAR.")
    if seen.ended:
        what = "it ended properly, and its files show no energy of a self-consistent ground state"
        seen.report(Finding.NOT_SHOWN, Severity.WITHHOLDS, what, "Take the energy from the run before it.")
    elif seen.steps == 0 and seen.files.has_outputs:
        what = "no ionic step was finished, so there is no energy"
        seen.report(Finding.NO_IONIC_STEP, Severity.NOTE, what, "Rerun it.")
    elif seen.steps == 0:
        seen.report(Finding.NOT_STARTED, Severity.NOTE, "there are inputs and no outputs", "Run it.")
    elif not seen.finished:
        what = f"no file runs to its proper end; {seen.steps} ionic steps are whole"
        seen.report(Finding.NOT_FINISHED, Severity.NOTE, what, "Continue from the last whole step, or rerun.")


def _ended_without_energy(seen: RunFiles) -> bool:
    run, out = seen.vasprun, seen.outcar
    ends = [list(run.flaws)] if run and run.closed else []
    ends += [out.flaws] if out and out.finished else []
    return any(all(flaw.code is Finding.NOT_SHOWN for flaw in flaws) for flaws in ends)


def _name_errors(seen: RunFiles) -> None:
    texts = [(one.text, one.name) for one in seen.stdout]
    if seen.outcar:
        texts.append((seen.outcar.tail, seen.outcar.name))
    named: set[str] = set()
    for text, name in texts:
        for reason in errors_in(text, name, finished=seen.finished):
            if reason.code not in named:
                named.add(reason.code)
                seen.reasons.append(reason)


def electrons(seen: RunFiles) -> None:
    """Find the ionic steps whose electronic loop converged."""
    other = _not_self_consistent(seen)
    if other:
        seen.report(
            Finding.NOT_SELF_CONSISTENT,
            Severity.WITHHOLDS,
            f"{other}: not a self-consistent total energy",
            "Take the energy from the self-consistent run.",
        )
        return
    limit = seen.settings.integer("NELM")
    bad = None if limit is None or seen.steps == 0 else _unconverged(seen, limit)
    if bad is None:
        return
    seen.unconverged = tuple(sorted(bad))
    seen.electronic = seen.steps not in bad
    if len(bad) == seen.steps > 1:
        seen.report(
            Finding.SCF_NEVER_CONVERGES,
            Severity.NOTE,
            f"none of {seen.steps} ionic steps converged its electrons within NELM = {limit}",
            "Change ALGO or the mixing, or increase NELM.",
        )
    if not seen.electronic:
        seen.report(
            Finding.ELECTRONS_NOT_CONVERGED,
            Severity.NOTE,
            f"the electrons of the last ionic step did not converge to EDIFF within NELM = {limit}",
            "Increase NELM or change ALGO, and rerun from CONTCAR.",
        )
    elif bad:
        what = f"{len(bad)} of {seen.steps} ionic steps did not converge their electrons (the last one did)"
        seen.report(Finding.ELECTRONS_NOT_CONVERGED, Severity.NOTE, what)


def _not_self_consistent(seen: RunFiles) -> str:
    charge = seen.settings.integer("ICHARG")
    if charge is not None and charge >= _NOT_SELF_CONSISTENT_ICHARG:
        return f"ICHARG = {charge}"
    algorithm = seen.settings.text("ALGO")
    return f"ALGO = {algorithm}" if algorithm.startswith(_OTHER_ALGORITHMS) else ""


def _unconverged(seen: RunFiles, limit: int) -> set[int] | None:
    """Return the ionic steps, from 1, that some file shows unconverged; ``None`` where none speaks of it.

    "aborting loop because EDIFF is reached" proves nothing: versions of VASP before 6 print it even where
    the loop ran out of steps. So the steps are counted, and the last change of energy is compared.
    """
    ediff = seen.settings.number("EDIFF")
    run, out = seen.vasprun, seen.outcar
    bad: set[int] = set()
    if run:
        tolerance = np.inf if ediff is None else ediff + 2.5 * run.resolution_ev
        over = (run.scf_steps >= limit) | (run.scf_last_changes_ev > tolerance)
        bad |= {int(i) + 1 for i in np.flatnonzero(over)}
    if out:
        # OUTCAR prints EDIFF to one digit.
        slack = 1.0 if seen.settings.incar else _PRINTED_EDIFF_SLACK
        tolerance = np.inf if ediff is None else ediff * slack
        for number, step in enumerate(out.steps, start=1):
            change = max(abs(value) for value in step.scf_changes_ev) if step.scf_changes_ev else 0.0
            if (step.scf_steps or 0) >= limit or step.says_not_reached or change > tolerance:
                bad.add(number)
    if (run and len(run.energies_ev)) or bad or (out and any(step.scf_steps for step in out.steps)):
        return bad
    if seen.oszicar and seen.oszicar.steps:
        return {i for i, step in enumerate(seen.oszicar.steps, start=1) if step.scf_steps >= limit}
    return None


def ions(seen: RunFiles) -> None:
    """Decide whether the ions met their criterion, or an MD its length."""
    run = seen.vasprun
    if run and run.last is not None and run.last.forces_ev_per_ang is not None:
        forces = np.array(run.last.forces_ev_per_ang)
        if run.header.free is not None:
            forces = np.where(run.header.free, forces, 0.0)
        seen.max_force_ev_per_ang = float(np.linalg.norm(forces, axis=1).max(initial=0.0))
    allowed = seen.settings.integer("NSW")
    if seen.steps == 0:
        return
    if seen.kind is CalculationKind.MD:
        steps = max(seen.steps, _moved(seen))
        seen.ionic = allowed is not None and steps >= allowed
        if not seen.ionic:
            seen.report(
                Finding.MD_SHORT,
                Severity.NOTE,
                f"the trajectory has {steps} of {allowed} steps",
                "Continue it from CONTCAR.",
            )
    elif seen.kind is CalculationKind.RELAX:
        seen.ionic = _relaxed(seen, allowed)
        if seen.ionic is False and seen.finished:
            what = f"the relaxation ended after {seen.steps} of {allowed} steps without meeting EDIFFG"
            seen.report(Finding.IONS_NOT_CONVERGED, Severity.NOTE, what, "Continue it from CONTCAR.")


def _moved(seen: RunFiles) -> int:
    """Return the ionic steps of a run that VASP's own force field took part in."""
    run, out = seen.vasprun, seen.outcar
    # OUTCAR prints the force field's energy beside that of DFT.
    return max(
        run.machine_learned_steps + len(run.energies_ev) if run else 0,
        out.machine_learned_steps if out else 0,
    )


def _relaxed(seen: RunFiles, allowed: int | None) -> bool | None:
    """Return whether the relaxation met EDIFFG: as OUTCAR says, and as the forces show."""
    limit = seen.settings.number("EDIFFG")
    shown: bool | None = None
    if seen.vasprun and len(seen.vasprun.energies_ev) == seen.steps:
        energies = seen.vasprun.energies_ev
        if limit is not None and limit < 0 and seen.max_force_ev_per_ang is not None:
            shown = seen.max_force_ev_per_ang <= -limit * 1.001
        elif limit is not None and limit > 0 and len(energies) > 1:
            # VASP compares line minimisations, so that the last two steps may differ by more: not shown then.
            shown = True if abs(energies[-1] - energies[-2]) <= limit else None
    out = seen.outcar
    if out and len(out.steps) == seen.steps:
        if not out.reached_accuracy:
            return False
        # EDIFFG > 0 is met on VASP's own extrapolation of the energy; only forces can contradict it.
        return shown is not False or (limit is not None and limit > 0)
    if allowed is not None and seen.steps >= allowed:
        return False
    return shown
