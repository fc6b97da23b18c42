"""Audit of inputs: each calculation against its level and the physics, and all against one another."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from epilayer.analysis.audit import (
    FASTEST_CM2_PER_S,
    LONGEST_STEP_WITH_H_FS,
    WANTED_RSD_FRACTION,
    finding,
    merged,
    needed_diffusivity_cm2_per_s,
)
from epilayer.model.audit import AuditCode as Code
from epilayer.model.audit import AuditSeverity
from epilayer.model.elements import ALKALI, METALS, OPEN_SHELL
from epilayer.model.vasp import SystemKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from epilayer.analysis.audit import Observation
    from epilayer.model.audit import AuditFinding, AuditTexts, InputFacts

_REACHED_ANG = {SystemKind.BULK: 20.0, SystemKind.SLAB: 15.0, SystemKind.PORE: 15.0}
"""Least division times lattice vector along a periodic direction; insulators need no more."""
_VACUUM_ANG = 10.0
_NEUTRAL_E = 1e-3


def audit_inputs(calculations: Sequence[InputFacts], texts: AuditTexts) -> list[AuditFinding]:
    """Return what is wrong in the inputs of calculations of one study."""
    found = [one for facts in calculations for rule in _RULES for one in rule(facts)]
    # Calculations of one level belong together; a study of several levels is no mixture.
    levels = dict.fromkeys(facts.level for facts in calculations)
    groups = [[facts for facts in calculations if facts.level == level] for level in levels]
    return merged([*found, *(one for group in groups for one in _mixed(group))], texts)


def _readable(facts: InputFacts) -> Iterator[Observation]:
    for problem in facts.unreadable:
        yield finding(Code.INPUT_UNREADABLE, problem, facts.where)


def _against_level(facts: InputFacts) -> Iterator[Observation]:
    codes = {
        "functional": Code.WRONG_FUNCTIONAL,
        "cutoff": Code.WRONG_CUTOFF,
        "force criterion": Code.LOOSE_FORCES,
    }
    for one in facts.differences:
        code = codes.get(one.setting, Code.LEVEL_DIFFERS)
        what = f"{one.setting} is {one.found}; level {facts.level} says {one.wanted}"
        yield finding(code, what, facts.where)


def _functional(facts: InputFacts) -> Iterator[Observation]:
    if facts.unreadable:
        return
    if facts.level is None and facts.functional == "PBEsol":
        what = (
            "PBEsol (GGA = PS), the default of atomate2's input sets: "
            "it is made for bulk solids, not for molecules on them"
        )
        yield finding(Code.WRONG_FUNCTIONAL, what, facts.where)
    if facts.functional is None:
        what = "no functional is stated (GGA): the POTCAR decides"
        yield finding(Code.FUNCTIONAL_NOT_STATED, what, facts.where)
    if facts.cutoff_ev is None:
        yield finding(Code.CUTOFF_NOT_STATED, "no cutoff is stated (ENCUT): the POTCARs decide", facts.where)


def _electrons(facts: InputFacts) -> Iterator[Observation]:
    elements = [e for e in OPEN_SHELL if e in facts.atoms] if {"O", "F"} & set(facts.atoms) else []
    if not elements or facts.unreadable:
        return
    bare = [e for e in elements if not (facts.hubbard_u_ev or {}).get(e)]
    hybrid = "exact exchange" in (facts.functional or "")
    if bare and not hybrid:
        yield _by_choice(facts, "hubbard", Code.MISSING_HUBBARD, f"no U on {', '.join(bare)}")
    if facts.spin_polarised is False:
        yield finding(Code.MISSING_SPIN, f"ISPIN = 1 with {', '.join(elements)}", facts.where)


def _dispersion(facts: InputFacts) -> Iterator[Observation]:
    if {"C", "H"} <= set(facts.atoms) and facts.dispersion == "none":
        yield _by_choice(facts, "dispersion", Code.MISSING_DISPERSION, "no dispersion correction (IVDW)")


def _dipole(facts: InputFacts) -> Iterator[Observation]:
    if facts.system is not SystemKind.SLAB or facts.unreadable:
        return
    if facts.one_sided and facts.dipole_axis is not None and not facts.dipole_correction:
        what = "IDIPOL without LDIPOL corrects the energy alone, not potential and forces"
        yield finding(Code.MISSING_DIPOLE, what, facts.where, severity=AuditSeverity.WARNING)
    elif facts.one_sided and not facts.dipole_correction:
        what = "no dipole correction on a slab with two different faces"
        yield _by_choice(facts, "dipole", Code.MISSING_DIPOLE, what)
    if facts.dipole_correction and facts.dipole_axis not in (facts.vacuum_axis, None):
        what = f"the dipole is corrected along {facts.dipole_axis}, the vacuum lies along {facts.vacuum_axis}"
        yield finding(Code.WRONG_DIPOLE_AXIS, what, facts.where)
    if facts.vacuum_ang is not None and facts.vacuum_ang < _VACUUM_ANG:
        yield finding(Code.VACUUM_TOO_THIN, f"{facts.vacuum_ang:.1f} A of vacuum", facts.where)


def _k_points(facts: InputFacts) -> Iterator[Observation]:
    mesh, lengths = facts.k_mesh, facts.k_lengths_ang
    if mesh is None or lengths is None or facts.system is None:
        return
    shown = "x".join(map(str, mesh))
    if facts.system is SystemKind.MOLECULE:
        if max(mesh) > 1:
            yield finding(Code.K_MESH_ON_MOLECULE, f"a {shown} mesh on a molecule in a box", facts.where)
        return
    axes = [k for k in range(3) if facts.system is not SystemKind.SLAB or k + 1 != facts.vacuum_axis]
    reached, wanted = min(lengths[k] for k in axes), _REACHED_ANG[facts.system]
    if reached < wanted:
        what = f"{shown} reaches {reached:.0f} A in a {facts.system.value} cell, {wanted:.0f} A are wanted"
        yield _by_choice(facts, "k_mesh", Code.K_MESH_TOO_COARSE, what)


def _charge(facts: InputFacts) -> Iterator[Observation]:
    slab = facts.system is SystemKind.SLAB
    if facts.charge_e is not None and abs(facts.charge_e) > _NEUTRAL_E:
        severity = None if slab else AuditSeverity.WARNING
        what = f"the cell has a charge of {facts.charge_e:+g} e"
        yield finding(Code.CHARGED_CELL, what, facts.where, severity=severity)
    elif facts.charge_e is None and facts.electrons_forced:
        what = "NELECT is set by hand; without the POTCARs its charge is unknown"
        yield finding(Code.CHARGED_CELL, what, facts.where, severity=AuditSeverity.WARNING)


def _bands(facts: InputFacts) -> Iterator[Observation]:
    needed = facts.bands_needed
    if needed is not None and facts.bands is None:
        what = f"NBANDS is not stated; LOBSTER needs {needed}"
        yield finding(Code.TOO_FEW_BANDS, what, facts.where, severity=AuditSeverity.WARNING)
    elif needed is not None and facts.bands is not None and facts.bands < needed:
        yield finding(Code.TOO_FEW_BANDS, f"NBANDS = {facts.bands}; LOBSTER needs {needed}", facts.where)
    for problem in facts.lobster_problems:
        yield finding(Code.LOBSTER_INPUT, problem, facts.where)
    for potcar, shells in facts.basis_gaps.items():
        what = f"no basis function for {shells}, which the POTCAR {potcar} has in its valence"
        yield finding(Code.LOBSTER_BASIS, what, facts.where)
    for potcar, shells in facts.basis_excess.items():
        what = f"basis function {shells}, which the POTCAR {potcar} has not in its valence"
        yield finding(Code.LOBSTER_BASIS, what, facts.where)


def _dynamics(facts: InputFacts) -> Iterator[Observation]:
    if facts.task != "md":
        return
    step_fs, steps = facts.time_step_fs, facts.steps
    if step_fs is not None and step_fs > LONGEST_STEP_WITH_H_FS and "H" in facts.atoms:
        what = f"POTIM = {step_fs:g} fs, with hydrogen in the cell"
        yield finding(Code.TIME_STEP_TOO_LONG, what, facts.where)
    if facts.thermostat is None:
        what = "no thermostat acts (MDALGO and SMASS, or the strength of the one named, are not stated)"
        yield finding(Code.THERMOSTAT_NOT_STATED, what, facts.where)
    if facts.system is SystemKind.PORE:
        held = sorted(METALS & set(facts.frozen) - {*ALKALI})
        if held:
            what = f"every {', '.join(facts.frozen)} is held in a dynamics run of a framework"
            yield finding(Code.FROZEN_FRAMEWORK, what, facts.where)
        ions = {e: facts.atoms[e] for e in ALKALI if e in facts.atoms}
        if ions and steps and step_fs:
            element, number = max(ions.items(), key=lambda one: one[1])
            needed = needed_diffusivity_cm2_per_s(number, steps * step_fs / 1000)
            if needed > FASTEST_CM2_PER_S:
                what = (
                    f"{number} {element} over {steps * step_fs / 1000:g} ps: "
                    f"a D to {WANTED_RSD_FRACTION:.0%} would need {needed:.0e} cm2/s"
                )
                yield finding(Code.TOO_FEW_IONS, what, facts.where, severity=AuditSeverity.WARNING)


_RULES: tuple[Callable[[InputFacts], Iterator[Observation]], ...] = (
    _readable, _against_level, _functional, _electrons, _dispersion,
    _dipole, _k_points, _charge, _bands, _dynamics,
)  # fmt: skip


def _by_choice(facts: InputFacts, topic: str, code: Code, what: str) -> Observation:
    """Return a finding, less severe where the level of theory leaves the thing out by a stated choice."""
    if topic not in facts.level_leaves_out:
        return finding(code, what, facts.where)
    advice = f"Level {facts.level} leaves it out on purpose: compare with one that has it."
    what = f"{what}, as level {facts.level} chooses"
    return finding(code, what, facts.where, severity=AuditSeverity.WARNING, advice=advice)


def _mixed(calculations: Sequence[InputFacts]) -> Iterator[Observation]:
    """Return settings that calculations which belong together must share, and do not."""
    settings: tuple[tuple[Code, str, Callable[[InputFacts], str | None]], ...] = (
        (Code.MIXED_FUNCTIONAL, "functional", lambda f: f.functional),
        (Code.MIXED_CUTOFF, "ENCUT", lambda f: None if f.cutoff_ev is None else f"{f.cutoff_ev:g} eV"),
        (Code.MIXED_DISPERSION, "dispersion", lambda f: f.dispersion),
    )
    for code, name, read in settings:
        yield from _several(code, name, [(f.where, read(f)) for f in calculations])
    for element in sorted({e for f in calculations for e in f.atoms} & set(OPEN_SHELL)):
        stated = [
            (f.where, f"{f.hubbard_u_ev.get(element, 0.0):g} eV")
            for f in calculations
            if element in f.atoms and f.hubbard_u_ev is not None
        ]
        yield from _several(Code.MIXED_HUBBARD, f"U of {element}", stated)


def _several(code: Code, name: str, stated: Sequence[tuple[str, str | None]]) -> Iterator[Observation]:
    places: dict[str, list[str]] = defaultdict(list)
    for where, value in stated:
        if value is not None:
            places[value].append(where)
    if len(places) < 2:  # noqa: PLR2004
        return
    counts = Counter({value: len(where) for value, where in places.items()})
    shown = " and ".join(f"{value} in {n}" for value, n in counts.most_common())
    rare = [where for value, _ in counts.most_common()[1:] for where in places[value]]
    yield finding(code, f"{name} is {shown} of these calculations", *rare)
