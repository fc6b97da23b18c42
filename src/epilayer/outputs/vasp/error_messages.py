"""What the error texts of VASP, its launcher and its MPI mean."""

from __future__ import annotations

import re
from typing import NamedTuple

from epilayer.model.imported import Reason, Severity, VaspError


class ErrorText(NamedTuple):
    """How one error shows, what it means and what helps.

    Where a run did not reach its end, a ``fatal`` text is why it is taken to have failed; the others are
    advice. A run that ended well despite the text keeps it as a note, unless the text ``spoils`` the energy.
    """

    patterns: tuple[str, ...]
    meaning: str
    remedy: str
    fatal: bool = True
    spoils: bool = False


_SYMMETRY = "Change SYMPREC by a factor of ten, or set ISYM = 0."

#: Every member of :class:`VaspError`, once. Patterns are regular expressions; blanks match any white space.
TEXTS: dict[VaspError, ErrorText] = {
    VaspError.TETRAHEDRON: ErrorText(
        ("[Tt]etrahedron method fails", "Routine TETIRR needs special values"),
        "the tetrahedron method needs a Gamma-centred mesh of at least 4 k-points",
        "Use a Gamma-centred mesh, or ISMEAR = 0.",
    ),
    VaspError.K_MESH_SYMMETRY: ErrorText(
        ("Fatal error detecting k-mesh", "Fatal error: unable to match k-point"),
        "the k-mesh does not have the symmetry of the cell",
        "Use a Gamma-centred mesh, or ISYM = 0.",
    ),
    VaspError.K_POINT_SHIFT: ErrorText(
        ("Could not get correct shifts",),
        "the shift of the k-mesh does not suit the cell",
        "Use a Gamma-centred mesh.",
    ),
    VaspError.K_POINTS_TRANSFORM: ErrorText(
        ("GENERATE_KPOINTS_TRANS: number of G-vector changed",),
        "a symmetry operation changes the plane-wave basis of a k-point",
        _SYMMETRY,
    ),
    VaspError.IBZKPT: ErrorText(
        ("subroutine\\s*IBZKPT", "not all point group operations"),
        "the k-mesh and the reciprocal lattice are of different classes",
        "Use a Gamma-centred mesh, or ISYM = 0.",
    ),
    VaspError.HNFORM: ErrorText(
        ("HNFORM: k-point generating",),
        "the generating vectors of the k-mesh are not reduced",
        "Give the mesh as three divisions.",
    ),
    VaspError.ROTATION_MATRIX: ErrorText(
        (
            "rotation matrix was not found",
            "Found some non-integer element in rotation matrix",
            "SGRCON",
        ),
        "the symmetry of the cell was not found",
        _SYMMETRY,
    ),
    VaspError.POSMAP: ErrorText(
        ("POSMAP internal error", "subroutine\\s*POSMAP"),
        "a symmetry-equivalent atom was not found",
        _SYMMETRY,
    ),
    VaspError.POINT_GROUP: ErrorText(
        ("group operation missing",), "the point group is not closed", _SYMMETRY
    ),
    VaspError.SYMMETRY_NOISE: ErrorText(
        ("determination of the symmetry of your systems shows a strong",),
        "the symmetry found depends on SYMPREC",
        _SYMMETRY,
        fatal=False,
    ),
    VaspError.BRAVAIS: ErrorText(
        ("Inconsistent Bravais lattice",), "two Bravais lattices were found for one cell", _SYMMETRY
    ),
    VaspError.PRICEL: ErrorText(
        ("internal error in subroutine\\s*PRICEL",), "the primitive cell was not found", _SYMMETRY
    ),
    VaspError.PRICELV: ErrorText(
        ("PRICELV: current lattice and primitive lattice are incommensurate",),
        "the primitive lattice does not fit the cell within SYMPREC",
        _SYMMETRY,
    ),
    VaspError.RHOSYG: ErrorText(("RHOSYG",), "the charge density could not be symmetrised", _SYMMETRY),
    VaspError.TRIPLE_PRODUCT: ErrorText(
        ("triple product of the basis vectors",),
        "the cell is left-handed or flat",
        "Exchange two lattice vectors.",
    ),
    VaspError.BRMIX: ErrorText(
        ("BRMIX: very serious problems",),
        "old and new charge density hold different numbers of electrons",
        "Restart from fresh orbitals (ISTART = 0), or ISYM = 0, or a denser or Gamma-centred mesh.",
    ),
    VaspError.SUBSPACE_MATRIX: ErrorText(
        ("Sub-Space-Matrix is not hermitian",),
        "the subspace matrix lost its symmetry",
        "Set ALGO = Normal or LREAL = .FALSE.",
    ),
    VaspError.SUBSPACE_ROTATION: ErrorText(
        ("subspace rotation P[SDCZ]+SYEVX", "subspace rotation PZHEEVX"),
        "ScaLAPACK did not diagonalise the subspace",
        "Set ALGO = Normal, or LSCALAPACK = .FALSE.",
    ),
    VaspError.EDDRMM: ErrorText(
        ("EDDRMM: call to ZHEGV failed",),
        "RMM-DIIS met linearly dependent orbitals",
        "Set ALGO = Normal, and POTIM smaller for moving ions.",
    ),
    VaspError.EDDDAV: ErrorText(
        ("EDDDAV: [Cc]all to ZHEGV failed",),
        "Davidson met linearly dependent orbitals",
        "Set ALGO = All, and start without an old CHGCAR.",
    ),
    VaspError.EDDIAG: ErrorText(
        ("E?DDIAG: [Cc]all to (?:routine )?ZHEEV",),
        "the subspace could not be diagonalised",
        "Set ALGO = Normal (from Fast), or ALGO = Exact.",
    ),
    VaspError.EDWAV: ErrorText(
        ("EDWAV: internal error, the gradient is not orthogonal",),
        "the orbitals lost their orthogonality",
        "Set ALGO = Normal.",
    ),
    VaspError.ZPOTRF: ErrorText(
        ("Routine ZPOTRF",),
        "the overlap matrix is not positive definite: atoms too close, or a step too large",
        "Look at the shortest distance; reduce POTIM; ISYM = 0.",
    ),
    VaspError.ZBRENT: ErrorText(
        ("ZBRENT: fatal",),
        "the line search of the relaxation met forces that do not fit the energies",
        "Copy CONTCAR to POSCAR, reduce EDIFF, and use IBRION = 1 near the minimum.",
    ),
    VaspError.BRIONS: ErrorText(
        ("BRIONS problems: POTIM should be increased",),
        "the trial step of the quasi-Newton relaxation is too small",
        "Increase POTIM, or use IBRION = 2.",
        fatal=False,
    ),
    VaspError.DENTET: ErrorText(
        ("DENTET: can't reach specified precision",),
        "the Fermi level was not found, so the number of electrons is wrong",
        "Use ISMEAR = 0 with a small SIGMA, or a denser mesh.",
        spoils=True,
    ),
    VaspError.REAL_OPTLAY: ErrorText(
        ("REAL_OPTLAY: internal error", "REAL_OPT: internal ERROR"),
        "the real-space projectors could not be optimised",
        "Set LREAL = .FALSE.",
    ),
    VaspError.RSPHER: ErrorText(
        ("ERROR RSPHER",), "the real-space projection spheres overflow", "Set LREAL = .FALSE."
    ),
    VaspError.NICHT_KONVERGENT: ErrorText(
        ("SBESSELITER\\s*: nicht konvergent",),
        "a spherical Bessel function did not converge: the cutoff does not suit the POTCAR",
        "Set LREAL = .FALSE., and check ENCUT against ENMAX.",
    ),
    VaspError.SET_CORE_WF: ErrorText(
        ("internal error in SET_CORE_WF",),
        "the core orbitals of the POTCAR could not be built",
        "Use another POTCAR for the element.",
    ),
    VaspError.TOO_FEW_BANDS: ErrorText(
        ("TOO FEW BANDS", "highest band is occupied at some k-points"),
        "the highest band is occupied, so the energy is wrong",
        "Increase NBANDS by 10 %.",
        spoils=True,
    ),
    VaspError.BANDS_NOT_SUFFICIENT: ErrorText(
        ("number of bands is not sufficient",),
        "fewer bands than electron pairs",
        "Increase NBANDS, or remove it.",
    ),
    VaspError.LONG_CELL_AMIN: ErrorText(
        ("One of the lattice vectors is very long",),
        "a long cell lets the charge slosh",
        "Set AMIN = 0.01.",
        fatal=False,
    ),
    VaspError.ALGO_TETRAHEDRON: ErrorText(
        ("ALGO=A and IALGO=5X tend to fail",),
        "ALGO = All does not go with the tetrahedron method",
        "Use ISMEAR = 0, or ALGO = Normal.",
        fatal=False,
    ),
    VaspError.XC_TABLE: ErrorText(
        ("supplied exchange-correlation table",),
        "a density exceeds the exchange-correlation table: the geometry exploded",
        "Look at the shortest distance and reduce POTIM.",
    ),
    VaspError.ELF_KPAR: ErrorText(
        ("ELF: KPAR>1 not implemented",),
        "LELF does not go with KPAR > 1",
        "Set KPAR = 1.",
    ),
    VaspError.ELF_NONCOLLINEAR: ErrorText(
        ("ELF not implemented for non collinear case",),
        "LELF does not go with non-collinear spins",
        "Set LELF = .FALSE.",
        fatal=False,
    ),
    VaspError.DFPT_NCORE: ErrorText(
        ("PEAD routines do not work for NCORE", "remove the tag NPAR from the INCAR file"),
        "the response routines need NCORE = 1",
        "Remove NCORE and NPAR.",
    ),
    VaspError.HARRIS_SPIN: ErrorText(
        ("Spin polarized Harris functional dynamics is a good joke",),
        "ICHARG >= 10 does not go with moving ions",
        "Set ICHARG = 2.",
    ),
    VaspError.RESTART_FILE: ErrorText(
        ("while reading plane", "while reading WAVECAR"),
        "the WAVECAR is damaged or of another calculation",
        "Delete WAVECAR and set ISTART = 0.",
    ),
    VaspError.INPUT_NOT_READ: ErrorText(
        (
            "Error reading item",
            "Error code was IERR=\\s*5",
            "Could not find the required file",
            "No initial positions read in",
        ),
        "an input file could not be read",
        "Correct the item of the INCAR, POSCAR or KPOINTS that VASP names.",
    ),
    VaspError.POTCAR_MISSING: ErrorText(
        (
            "could not open POTCAR",
            "POTCAR[^\\n]*(?:not found|does not exist)",
            "number of potentials[^\\n]*incompatible",
        ),
        "the POTCAR is missing or does not match the POSCAR",
        "Write the POTCAR of the elements in the order of the POSCAR.",
    ),
    VaspError.GAMMA_BINARY: ErrorText(
        ("gamma-only version", "compiled for the gamma-point only", "recompile with CPP flag -DwNGZhalf"),
        "the binary is for Gamma alone and the mesh is not, or the other way round",
        "Use vasp_std for this mesh.",
    ),
    VaspError.LICENCE_OR_BINARY: ErrorText(
        (
            "vasp_(?:std|gam|ncl): command not found",
            "error while loading shared libraries",
            "execve\\(\\)[^\\n]*vasp",
        ),
        "the VASP binary could not be started",
        "Check vasp_cmd and the modules that the job loads.",
    ),
    VaspError.OUT_OF_MEMORY: ErrorText(
        (
            "Cannot allocate memory",
            "[Oo]ut [Oo]f [Mm]emory",
            "insufficient virtual memory",
            "oom[-_]kill",
            "exceed(?:ed)? memory limit",
        ),
        "the memory of the node was not enough",
        "Use more nodes, a smaller KPAR, or fewer ranks per node.",
    ),
    VaspError.DISK_FULL: ErrorText(
        ("No space left on device", "Disk quota exceeded"),
        "the disk is full",
        "Free space and rerun.",
    ),
    VaspError.SEGFAULT: ErrorText(
        ("SIGSEGV", "SIGBUS", "[Ss]egmentation fault", "Bus error"),
        "the program crashed on a memory access",
        "Raise the stack limit (ulimit -s unlimited), or use fewer ranks.",
    ),
    VaspError.MPI_ABORT: ErrorText(
        ("MPI_ABORT was invoked", "MPI_Abort\\(", "BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES"),
        "MPI ended the run",
        "Read the lines before it for the cause.",
    ),
    VaspError.TIME_LIMIT: ErrorText(
        ("DUE TO TIME LIMIT", "walltime exceeded", "PBS: job killed: walltime"),
        "the time limit of the job was reached",
        "Resubmit from CONTCAR with a longer limit.",
    ),
    VaspError.PREEMPTED: ErrorText(
        ("DUE TO PREEMPTION",),
        "another job had precedence at the scheduler",
        "Resubmit from CONTCAR.",
    ),
    VaspError.NODE_FAILURE: ErrorText(
        ("DUE TO NODE FAILURE",),
        "the machine failed under the job",
        "Resubmit from CONTCAR on another node.",
    ),
    VaspError.OTHER_FATAL: ErrorText(
        ("I REFUSE TO CONTINUE WITH THIS SICK JOB", "VERY BAD NEWS! internal error", "forrtl: severe"),
        "VASP gave up with a message that has no name here",
        "Read the message in the file.",
    ),
}

_COMPILED = {
    error: re.compile("|".join(text.patterns).replace(" ", r"\s+").encode()) for error, text in TEXTS.items()
}
# VASP 6 wraps its messages in a frame of bars, in the middle of a sentence.
_FRAME = re.compile(rb"\s*\|\s*\n\s*\|\s*")


def errors_in(text: bytes, file: str, *, finished: bool) -> list[Reason]:
    """Return the named errors in a text, each once, in the order of their first appearance.

    Parameters
    ----------
    text
        Standard output, standard error, or the tail of an OUTCAR.
    finished
        Whether the calculation nevertheless ran to its proper end: what did not kill it is then a note.
    """
    flat = _FRAME.sub(b" ", text)
    found: list[tuple[int, VaspError]] = []
    for error, pattern in _COMPILED.items():
        hit = pattern.search(flat)
        if hit:
            found.append((hit.start(), error))
    named = [error for _, error in sorted(found)]
    if len(named) > 1 and VaspError.OTHER_FATAL in named:
        named.remove(VaspError.OTHER_FATAL)
    return [_reason(error, file, finished=finished) for error in named]


def _reason(error: VaspError, file: str, *, finished: bool) -> Reason:
    text = TEXTS[error]
    if finished:
        severity = Severity.WITHHOLDS if text.spoils else Severity.NOTE
    else:
        severity = Severity.FATAL if text.fatal else Severity.NOTE
    return Reason(code=error, severity=severity, what=text.meaning, remedy=text.remedy, file=file)
