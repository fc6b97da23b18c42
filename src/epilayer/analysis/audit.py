"""Audit of the facts of a methods text: what is wrong in it, and what it leaves open."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from epilayer.analysis.formulas import hill, parse_formula
from epilayer.model.audit import AuditCode as Code
from epilayer.model.audit import AuditFinding, AuditSeverity
from epilayer.model.elements import ALKALI, METALS, OPEN_SHELL
from epilayer.model.vasp import SystemKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from epilayer.analysis.formulas import Formula
    from epilayer.model.audit import AuditTexts, DynamicsFacts, MethodsFacts, Species
    from epilayer.model.level import Level

PEO_UNIT = Counter({"C": 2, "H": 4, "O": 1})
POLYOXYMETHYLENE_UNIT = Counter({"C": 1, "H": 2, "O": 1})
_POLYETHER_NAMES = ("peo", "peg", "poe", "ethylene oxide", "ethylene glycol", "polyoxyethylene")

JUMP_ANG = 3.0
"""Distance between neighbouring sites of an alkali ion."""
WANTED_RSD_FRACTION = 0.5
RSD_SLOPE, RSD_OFFSET = 3.43, 0.04
"""Relative standard deviation of D = 3.43 / sqrt(jumps) + 0.04; He et al., doi 10.1038/s41524-018-0074-y."""
FASTEST_CM2_PER_S = 1e-5
"""Faster than alkali ions in any solid or polymer electrolyte near room temperature."""
_CM2_PER_S_TO_ANG2_PER_PS = 1e4

SHORTEST_EQUILIBRATION_FS = 1000.0
"""Thermostats and soft modes of frameworks and polymers relax within picoseconds."""
LONGEST_STEP_WITH_H_FS = 2.0
"""A C-H or O-H stretch has a period of about 10 fs."""
_SUM_SLACK = 0.02


class Observation(NamedTuple):
    """What a rule found.

    Attributes
    ----------
    where
        Places; none where there is nothing to point at.
    severity
        Where it is not the code's own.
    advice
        Follows the code's own remedy.
    """

    code: Code
    what: str
    where: tuple[str, ...] = ()
    severity: AuditSeverity | None = None
    advice: str = ""


def finding(
    code: Code, what: str, *where: str | None, severity: AuditSeverity | None = None, advice: str = ""
) -> Observation:
    """Return an observation at the places that are known."""
    return Observation(code, what, tuple(one for one in where if one), severity, advice)


def audit_methods(
    facts: MethodsFacts, molecules: Mapping[str, str], texts: AuditTexts, level: Level | None = None
) -> list[AuditFinding]:
    """Return what the facts of a methods text have wrong, or leave open.

    Parameters
    ----------
    facts
        What the text states.
    molecules
        Formulas of known molecules by name; neutral ones and ions.
    texts
        What the codes mean.
    level
        A level of theory to compare with.
    """
    found = [
        *_level_of_theory(facts, level),
        *_surface(facts),
        *_meshes(facts),
        *(one for polymer in facts.polymers for one in _polymer(polymer)),
        *(one for molecule in facts.molecules for one in _molecule(molecule, molecules)),
        *_charge_and_bonds(facts),
        *(_dynamics(facts, facts.dynamics) if facts.dynamics else ()),
    ]
    return merged(found, texts)


def merged(found: Iterable[Observation], texts: AuditTexts) -> list[AuditFinding]:
    """Merge equal observations into one finding with all their places; errors first."""
    places: dict[Observation, list[str]] = {}
    for one in found:
        places.setdefault(one._replace(where=()), []).extend(one.where)
    out = []
    for one, where in places.items():
        text = texts.findings[one.code]
        out.append(
            AuditFinding(
                code=one.code,
                severity=one.severity or text.severity,
                what=one.what,
                where=tuple(dict.fromkeys(where)),
                why=text.why,
                remedy=f"{text.remedy} {one.advice}".strip(),
            )
        )
    return sorted(out, key=lambda one: list(AuditSeverity).index(one.severity))


def _level_of_theory(facts: MethodsFacts, level: Level | None) -> Iterator[Observation]:
    wanted = _declared(level) if level else {}
    where = facts.evidence
    if facts.functional is None:
        yield finding(Code.FUNCTIONAL_NOT_STATED, "no exchange-correlation functional is stated")
    elif wanted.get("functional") not in (None, facts.functional):
        name = level.name if level else ""
        what = f"{facts.functional} is not {wanted['functional']}, the functional of level {name}"
        yield finding(Code.WRONG_FUNCTIONAL, what, where.get("functional"))
    if facts.cutoff_ev is None:
        yield finding(Code.CUTOFF_NOT_STATED, "no plane-wave cutoff is stated")
    elif wanted.get("cutoff_ev") not in (None, facts.cutoff_ev):
        name = level.name if level else ""
        what = f"{facts.cutoff_ev:g} eV is not the {wanted['cutoff_ev']} eV of level {name}"
        yield finding(Code.WRONG_CUTOFF, what, where.get("cutoff_ev"))
    hybrid = facts.functional in ("HSE06", "PBE0", "B3LYP")
    elements = ", ".join(_open_shell(facts))
    if elements and not facts.hubbard_u_ev and not facts.hubbard_stated and not hybrid:
        what = f"no U (and no hybrid functional) is stated for {elements}"
        yield finding(Code.MISSING_HUBBARD, what, severity=AuditSeverity.WARNING)
    weak = facts.adsorption or facts.molecules or facts.polymers or SystemKind.PORE in facts.systems
    if weak and facts.dispersion is None and "vdW" not in (facts.functional or ""):
        yield finding(Code.MISSING_DISPERSION, "no dispersion correction is stated")
    if elements and facts.spin_polarised is not True:
        what = f"spin polarisation is not stated, with {elements}"
        yield finding(Code.MISSING_SPIN, what, severity=AuditSeverity.WARNING)


def _open_shell(facts: MethodsFacts) -> tuple[str, ...]:
    cathode = parse_formula(facts.cathode) if facts.cathode else None
    return facts.open_shell or tuple(e for e in OPEN_SHELL if cathode and e in cathode.atoms)


def _declared(level: Level) -> dict[str, object]:
    """Return the functional and cutoff that a level of theory states."""
    if level.vasp is None:
        return {}
    names = {"PE": "PBE", "PS": "PBEsol", "RP": "RPBE"}
    return {
        "functional": names.get(str(level.vasp.incar.get("GGA"))),
        "cutoff_ev": level.vasp.incar.get("ENCUT"),
    }


def _surface(facts: MethodsFacts) -> Iterator[Observation]:
    slab = facts.adsorption or SystemKind.SLAB in facts.systems
    cathode = parse_formula(facts.cathode) if facts.cathode else None
    alkali = [e for e in ALKALI if cathode and e in cathode.atoms]
    if slab and facts.dipole_correction is not True:
        what = "no dipole correction is stated for adsorption on one side of a slab"
        yield finding(Code.MISSING_DIPOLE, what, severity=AuditSeverity.WARNING)
    if alkali and facts.ordering is None:
        what = f"no ordering of {alkali[0]} over its sites is stated for {facts.cathode}"
        yield finding(Code.ORDERING_NOT_STATED, what)
    if slab and facts.termination is None:
        yield finding(Code.TERMINATION_NOT_STATED, "the termination of the slabs is not stated")
    if slab and facts.slab_thickness is None:
        yield finding(Code.THICKNESS_NOT_STATED, "the thickness of the slabs is not stated")
    if _open_shell(facts) and facts.magnetic_order is None:
        what = f"no magnetic order or start moments are stated for {', '.join(_open_shell(facts))}"
        yield finding(Code.MAGNETIC_ORDER_NOT_STATED, what)


def _meshes(facts: MethodsFacts) -> Iterator[Observation]:
    if not facts.k_meshes:
        yield finding(Code.K_MESH_NOT_STATED, "no k-point mesh is stated")
        return
    where = facts.evidence.get("k_meshes")
    by_system = {kind: mesh for mesh in facts.k_meshes for kind in mesh.systems}
    for_all = [mesh.divisions for mesh in facts.k_meshes if not mesh.systems]
    for kind in (SystemKind.MOLECULE, SystemKind.PORE):
        mesh = by_system.get(kind)
        if mesh is not None and max(mesh.divisions) > 1:
            shown = "x".join(map(str, mesh.divisions))
            place = "molecule in a box" if kind is SystemKind.MOLECULE else "loaded framework"
            what = f"a {shown} mesh is stated for a {place}"
            yield finding(Code.K_MESH_ON_MOLECULE, what, where)
    needing = [kind for kind in (SystemKind.SLAB, SystemKind.MOLECULE, SystemKind.PORE, SystemKind.BULK)
               if kind in _computed(facts) and kind not in by_system]  # fmt: skip
    stated = for_all or [mesh.divisions for mesh in facts.k_meshes]
    one_fits_all = len(needing) + len(by_system) <= 1 or (len(set(stated)) == 1 and max(stated[0]) == 1)
    if needing and not one_fits_all:
        shown = ", ".join("x".join(map(str, mesh)) for mesh in dict.fromkeys(stated))
        wanting = ", ".join(kind.value for kind in needing)
        what = (
            f"{shown} is the only mesh stated, for {wanting} too: it fits slabs; "
            "a molecule and a loaded framework want Gamma, a bulk cell a denser mesh"
        )
        yield finding(Code.K_MESH_NOT_BY_SYSTEM, what, where)


def _computed(facts: MethodsFacts) -> set[SystemKind]:
    out = set(facts.systems)
    if facts.adsorption:
        out |= {SystemKind.SLAB, SystemKind.MOLECULE}
    if facts.dynamics is not None:
        out.add(SystemKind.PORE)
    return out


def _polymer(polymer: Species) -> Iterator[Observation]:
    name = (polymer.name or "").lower()
    formula = parse_formula(polymer.formula)
    if formula is None or not any(one in name for one in _POLYETHER_NAMES):
        return
    unit = formula.repeat
    if unit is None:
        # HO(CH2CH2O)nH has two C an O, but for the last one.
        chains = {PEO_UNIT["C"]: PEO_UNIT, POLYOXYMETHYLENE_UNIT["C"]: POLYOXYMETHYLENE_UNIT}
        oxygens = formula.atoms["O"] - 1
        unit = chains.get(round(formula.atoms["C"] / oxygens)) if oxygens > 0 else None
    if unit is None or unit == PEO_UNIT:
        return
    other = "polyoxymethylene" if unit == POLYOXYMETHYLENE_UNIT else f"a polymer of {hill(unit)}"
    what = f"{polymer.formula} is {other}, not PEO, HO-(CH2CH2O)n-H"
    yield finding(Code.POLYMER_IS_ANOTHER, what, polymer.formula)


def _molecule(molecule: Species, known: Mapping[str, str]) -> Iterator[Observation]:
    """Check a formula against the known molecule of that name, or with the same heavy atoms."""
    formula = parse_formula(molecule.formula)
    if formula is None or METALS & set(formula.atoms):
        return
    charge = molecule.charge if molecule.charge is not None else formula.charge
    name, wanted = _meant(molecule, formula, known)
    if wanted is None or formula.atoms == wanted.atoms:
        return
    missing = wanted.atoms["H"] - formula.atoms["H"]
    same_heavy = formula.heavy == wanted.heavy
    if same_heavy and charge is not None and charge == -missing:
        return
    if same_heavy:
        count = {1: "one H", 2: "two H"}.get(abs(missing), f"{abs(missing)} H")
        than = "short of" if missing > 0 else "more than"
        what = f"{molecule.formula} ({formula.shown}) is {count} {than} {name}, {wanted.shown}"
        if missing == 1:
            what += "; without a charge it is a radical, with one the anion"
    else:
        what = f"{molecule.formula} ({formula.shown}) is not {name}, {wanted.shown}"
    yield finding(Code.FORMULA_WRONG, what, molecule.formula)


def _meant(molecule: Species, formula: Formula, known: Mapping[str, str]) -> tuple[str, Formula | None]:
    """Return the molecule that a formula must stand for."""
    parsed = {name: one for name, text in known.items() if (one := parse_formula(text)) is not None}
    lowered = {name.lower(): name for name in parsed}
    if molecule.name and molecule.name.lower() in lowered:
        name = lowered[molecule.name.lower()]
        return name, parsed[name]
    if any(one.atoms == formula.atoms for one in parsed.values()) and sum(_electrons(formula)) % 2 == 0:
        return "", None
    # No name is given: a neutral molecule with paired electrons and the same heavy atoms.
    for name, one in parsed.items():
        if one.heavy == formula.heavy and sum(_electrons(one)) % 2 == 0:
            return name, one
    return "", None


def _electrons(formula: Formula) -> list[int]:
    from ase.data import atomic_numbers

    return [atomic_numbers[element] * n for element, n in formula.atoms.items()]


def _charge_and_bonds(facts: MethodsFacts) -> Iterator[Observation]:
    redox = facts.charged or (facts.bonding_analysis and bool(facts.cathode))
    if redox and facts.charged_composition is None:
        host = facts.cathode or "the cathode"
        what = f"a charged state is computed, and its composition is not stated ({host})"
        yield finding(Code.CHARGED_COMPOSITION_NOT_STATED, what, facts.evidence.get("charged"))
    if facts.bonding_analysis and facts.bonding_code is None:
        yield finding(
            Code.COHP_CODE_NOT_STATED, "COHP is reported, and the program that projected it is not stated"
        )


def _dynamics(facts: MethodsFacts, md: DynamicsFacts) -> Iterator[Observation]:
    where = facts.evidence
    if md.time_step_fs is not None and md.time_step_fs > LONGEST_STEP_WITH_H_FS:
        what = f"a time step of {md.time_step_fs:g} fs, with hydrogen in the cell"
        yield finding(Code.TIME_STEP_TOO_LONG, what)
    yield from _equilibration(md, where.get("equilibration_fs"))
    if md.thermostat is None and md.ensemble != "NVE":
        yield finding(Code.THERMOSTAT_NOT_STATED, "no thermostat is stated for the dynamics")
    yield from _ions(md, where.get("mobile_ions"))
    if md.framework_frozen:
        yield finding(
            Code.FROZEN_FRAMEWORK,
            "atoms of the framework were held during the dynamics",
            where.get("framework_frozen"),
        )


def _equilibration(md: DynamicsFacts, where: str | None) -> Iterator[Observation]:
    given_fs = md.equilibration_fs
    rest_ps = md.length_ps - md.analysed_ps if md.length_ps and md.analysed_ps else None
    if given_fs is None:
        if rest_ps is None or rest_ps <= 0:
            yield finding(
                Code.EQUILIBRATION_NOT_STATED, "no equilibration is stated before the analysed part"
            )
        return
    if given_fs < SHORTEST_EQUILIBRATION_FS:
        steps = ""
        if md.time_step_fs:
            number = given_fs / md.time_step_fs
            steps = (
                "less than one time step"
                if number < 1
                else f"{number:g} time steps of {md.time_step_fs:g} fs"
            )
            steps = f", {steps}"
        what = f"{given_fs:g} fs of equilibration{steps}"
        if rest_ps is not None and rest_ps > 0 and abs(rest_ps - given_fs) <= _SUM_SLACK * given_fs:
            left = f"{md.length_ps:g} ps less the {md.analysed_ps:g} ps analysed leaves {rest_ps:g} ps"
            what += f"; {left}: ps must be meant"
        yield finding(Code.EQUILIBRATION_TOO_SHORT, what, where)
    elif rest_ps is not None and given_fs / 1000 > rest_ps * (1 + _SUM_SLACK) + 1e-9:
        what = (
            f"{given_fs / 1000:g} ps of equilibration and {md.analysed_ps:g} ps of analysis are more than "
            f"the run, {md.length_ps:g} ps"
        )
        yield finding(Code.TIMES_DO_NOT_ADD_UP, what, where)


def _ions(md: DynamicsFacts, where: str | None) -> Iterator[Observation]:
    window_ps = md.analysed_ps or md.length_ps
    if not md.transport or not md.mobile_ions or not window_ps:
        return
    element, number = max(md.mobile_ions.items(), key=lambda one: one[1])
    needed = needed_diffusivity_cm2_per_s(number, window_ps)
    if needed > FASTEST_CM2_PER_S:
        what = (
            f"{number} {element}+ over {window_ps:g} ps: D to {WANTED_RSD_FRACTION:.0%} would need "
            f"{needed:.0e} cm2/s (jumps of {JUMP_ANG:g} A)"
        )
        yield finding(Code.TOO_FEW_IONS, what, where)


def needed_diffusivity_cm2_per_s(ions: int, window_ps: float) -> float:
    """Return the diffusivity that so many ions need so that so short a window gives D to 50 %.

    >>> f"{needed_diffusivity_cm2_per_s(2, 10.0):.1e}"
    '4.2e-04'
    """
    jumps = (RSD_SLOPE / (WANTED_RSD_FRACTION - RSD_OFFSET)) ** 2
    return jumps * JUMP_ANG**2 / (6.0 * ions * window_ps) / _CM2_PER_S_TO_ANG2_PER_PS
