"""Why each finding of an audit matters, how grave it is, and what to do: one entry a code."""

# ruff: noqa: E501  (a table)
from __future__ import annotations

from typing import NamedTuple

from epilayer.model.audit import AuditCode as Code
from epilayer.model.audit import AuditFinding
from epilayer.model.audit import AuditSeverity as Severity


class Text(NamedTuple):
    """Severity, reason and remedy of a code."""

    severity: Severity
    why: str
    remedy: str


_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
TEXTS: dict[Code, Text] = {
    Code.WRONG_FUNCTIONAL: Text(
        _ERROR,
        "Functionals differ by tenths of an eV in adsorption energies; their energies never mix.",
        "Set the functional explicitly (GGA = PE for PBE); atomate2's input sets write PBEsol.",
    ),
    Code.MIXED_FUNCTIONAL: Text(
        _ERROR, "Energies of two functionals cannot be subtracted.", "Compute all legs with one functional."
    ),
    Code.FUNCTIONAL_NOT_STATED: Text(
        _WARNING, "Without it nothing can be repeated or compared.", "State the functional."
    ),
    Code.WRONG_CUTOFF: Text(
        _ERROR, "The cutoff is part of the level of theory.", "Use the level's cutoff for every calculation."
    ),
    Code.MIXED_CUTOFF: Text(
        _ERROR,
        "Total energies at two cutoffs differ by more than an adsorption energy.",
        "Compute every leg of a difference at one ENCUT.",
    ),
    Code.CUTOFF_NOT_STATED: Text(
        _WARNING,
        "The default is the largest ENMAX of the elements in the cell: another one for slab and molecule.",
        "State the cutoff (ENCUT) for every calculation.",
    ),
    Code.LEVEL_DIFFERS: Text(
        _ERROR,
        "A calculation that was not run as its level says must not carry its name.",
        "Correct the setting, or give the level a name of its own (parent: in its YAML).",
    ),
    Code.LOOSE_FORCES: Text(
        _NOTE,
        "Forces this large are for a search of poses; a reported energy needs the level's own criterion.",
        "Relax the poses that count with the level's criterion.",
    ),
    Code.MISSING_HUBBARD: Text(
        _ERROR,
        "A semilocal functional delocalises d electrons in oxides and fluorides: redox states, moments and the "
        "binding at the metal come out wrong.",
        "Add U with its source (V 3.25 eV is customary for oxides), or show that the answer does not depend on it.",
    ),
    Code.MIXED_HUBBARD: Text(
        _ERROR,
        "U shifts total energies by eV.",
        "Give each element one U in every calculation of a difference.",
    ),
    Code.MISSING_DISPERSION: Text(
        _WARNING,
        "Dispersion is as large as the adsorption energies in question (0.3 to 0.6 eV for azoles).",
        "Add a correction (D3(BJ): IVDW = 12), or report both and state it.",
    ),
    Code.MIXED_DISPERSION: Text(
        _ERROR,
        "A dispersion term in one leg alone goes into the difference in full.",
        "Use one dispersion correction in every leg.",
    ),
    Code.MISSING_DIPOLE: Text(
        _ERROR,
        "A slab with a molecule on one side has a dipole that its images feel; the error does not cancel "
        "against the clean slab.",
        "Set LDIPOL = .TRUE. and IDIPOL = 3 (with DIPOL), or adsorb on both sides.",
    ),
    Code.WRONG_DIPOLE_AXIS: Text(
        _ERROR,
        "A correction along another axis than the vacuum corrects nothing.",
        "Set IDIPOL to the lattice direction of the vacuum.",
    ),
    Code.MISSING_SPIN: Text(
        _ERROR,
        "Ions with unpaired d electrons come out non-magnetic, eV too high.",
        "Set ISPIN = 2 with start moments by oxidation state, and state both.",
    ),
    Code.K_MESH_TOO_COARSE: Text(
        _ERROR,
        "The energy is not converged in the Brillouin zone, and two cells of other size err differently.",
        "Take a mesh whose divisions times lattice vector reach 25 A (15 A along a slab).",
    ),
    Code.K_MESH_ON_MOLECULE: Text(
        _WARNING,
        "A molecule in a box has no dispersion over k: the mesh costs time, and shows that one input was copied.",
        "Use the Gamma point alone.",
    ),
    Code.K_MESH_NOT_BY_SYSTEM: Text(
        _WARNING,
        "Slab, molecule, loaded framework and bulk want different meshes, and the reader has to guess them.",
        "State the mesh of each: slabs as given, molecules and the loaded framework Gamma, bulk by length.",
    ),
    Code.K_MESH_NOT_STATED: Text(
        _WARNING,
        "The energies cannot be repeated.",
        "State the mesh and its centring for each kind of system.",
    ),
    Code.CHARGED_CELL: Text(
        _ERROR,
        "A charged periodic cell is compensated by a uniform background; the energy of a charged slab grows "
        "with its vacuum.",
        "Make the cell neutral (leave NELECT out), or add a counter-ion.",
    ),
    Code.TOO_FEW_BANDS: Text(
        _ERROR,
        "LOBSTER needs a band for each of its basis functions, and switches COHP off without them.",
        "Set NBANDS to at least the number named, and rerun the single point.",
    ),
    Code.LOBSTER_INPUT: Text(
        _ERROR,
        "LOBSTER reads the wave functions of all k-points.",
        "Set LWAVE = .TRUE. and ISYM = -1 (or 0) in the single point.",
    ),
    Code.LOBSTER_BASIS: Text(
        _ERROR,
        "Electrons of a state without a function are lost to the projection (spilling), a function without its "
        "state finds the electrons of others: bond strengths mean something else either way.",
        "Name in basisfunctions what LOBSTER recommends for this POTCAR (its lobsterout prints it).",
    ),
    Code.VACUUM_TOO_THIN: Text(
        _WARNING,
        "The molecule sees the other side of the slab.",
        "Leave at least 10 A without atoms (15 A is usual).",
    ),
    Code.TIME_STEP_TOO_LONG: Text(
        _ERROR,
        "A C-H or O-H stretch of 10 fs period is not integrated; the run heats or is held together by the thermostat.",
        "Use 0.5 to 1 fs, or heavier hydrogen and state it.",
    ),
    Code.EQUILIBRATION_TOO_SHORT: Text(
        _ERROR,
        "Nothing has forgotten its start: what is analysed is the relaxation of the built structure.",
        "Correct the unit if ps was meant; else equilibrate for picoseconds, and state how that was checked.",
    ),
    Code.EQUILIBRATION_NOT_STATED: Text(
        _WARNING, "The start of a run is no equilibrium.", "State what was left out of the analysis, and why."
    ),
    Code.TIMES_DO_NOT_ADD_UP: Text(
        _ERROR, "One of the times is wrong, or a part was used twice.", "Correct the times."
    ),
    Code.THERMOSTAT_NOT_STATED: Text(
        _WARNING,
        "The thermostat decides on the dynamics: a strong one changes the diffusivity.",
        "Name thermostat and its time constant (SMASS, LANGEVIN_GAMMA), or NVE.",
    ),
    Code.TOO_FEW_IONS: Text(
        _ERROR,
        "The mean square displacement of so few ions over so short a time scatters by more than its size: "
        "a ranking of two species may be chance.",
        "Run longer, with more ions and several starts; report the interval; draw no ranking it does not carry.",
    ),
    Code.FROZEN_FRAMEWORK: Text(
        _WARNING,
        "A frozen framework cannot breathe: windows near the size of the ion open and close by tenths of an A.",
        "Free the framework, at least in a check, and state what was held.",
    ),
    Code.POLYMER_IS_ANOTHER: Text(
        _ERROR,
        "Another polymer was computed than the one that was named: it solvates ions and is oxidised differently.",
        "Compute HO-(CH2CH2O)n-H, or name what was computed.",
    ),
    Code.FORMULA_WRONG: Text(
        _ERROR,
        "A missing or surplus hydrogen is a radical or an ion: another species with another adsorption energy.",
        "Correct the formula, or state charge and multiplicity of what was computed.",
    ),
    Code.ORDERING_NOT_STATED: Text(
        _WARNING,
        "Partly occupied sites can be filled in many ways, which differ in energy and in what the surface shows.",
        "State how the sites were filled (enumeration, lowest energy) and deposit the cell.",
    ),
    Code.TERMINATION_NOT_STATED: Text(
        _WARNING,
        "Two cuts of one facet expose other ions; the adsorption energy may differ by half an eV.",
        "State the cut, its polarity and its surface energy next to the others.",
    ),
    Code.THICKNESS_NOT_STATED: Text(
        _WARNING,
        "A thin slab binds otherwise than a thick one.",
        "State layers, thickness and what was held.",
    ),
    Code.MAGNETIC_ORDER_NOT_STATED: Text(
        _WARNING,
        "The self-consistent cycle ends in the state nearest to its start: several lie within tenths of an eV.",
        "State the order and the start moments (V4+ 1 mu_B), and the moments at the end.",
    ),
    Code.CHARGED_COMPOSITION_NOT_STATED: Text(
        _WARNING,
        "How much alkali metal is left decides on the oxidation state, which is what oxidises the polymer.",
        "State the formula of the charged state and which sites are empty.",
    ),
    Code.COHP_CODE_NOT_STATED: Text(
        _WARNING,
        "An ICOHP depends on program, projection and basis: numbers of two programs differ by factors.",
        "Name program, version and basis, and the charge spilling per spin.",
    ),
    Code.INPUT_UNREADABLE: Text(
        _ERROR, "What cannot be read cannot be checked.", "Correct or restore the file."
    ),
}


def finding(
    code: Code, what: str, *where: str | None, severity: Severity | None = None, remedy: str | None = None
) -> AuditFinding:
    """Return a finding with the texts of its code.

    Parameters
    ----------
    where
        Places; ``None`` where there is none to point at.
    severity
        Where it is not the code's own.
    """
    text = TEXTS[code]
    return AuditFinding(
        code=code,
        severity=severity or text.severity,
        what=what,
        where=tuple(one for one in where if one),
        why=text.why,
        remedy=remedy or text.remedy,
    )
