"""LOBSTER over VASP: bonds by name, basis from the pseudopotentials, bands foreseen before anything runs.

One job computes the single point and projects it, since the orbitals (WAVECAR, often hundreds of GB) must
not travel. LOBSTER runs through custodian with atomate2's validators (it ran to its end; it had bands
enough). Cures: where LOBSTER asks for more bands, the single point is repeated with as many, at most
twice, going on from its own orbitals; a LOBSTER that crashed is run once more. Spilling above the limit is
no fault of the run: its record stands, and its integrals are refused.

The single point differs from the level's by ``LWAVE``, ``ISYM = 0`` (LOBSTER wants the whole Brillouin
zone), ``NBANDS``, and by the program: LOBSTER does not read what the Gamma-only VASP writes.

Method: V. L. Deringer, A. L. Tchougreeff, R. Dronskowski, J. Phys. Chem. A 115, 5461 (2011),
doi 10.1021/jp202489s; R. Nelson et al., J. Comput. Chem. 41, 1931 (2020), doi 10.1002/jcc.26353.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobflow import Maker, job

from epilayer.engines.processes import end_children
from epilayer.engines.provenance import provenance
from epilayer.engines.vasp import setup as vasp_setup
from epilayer.model.cohp import Bonding, BondResult
from epilayer.model.errors import EngineError, InputError, SetupError
from epilayer.model.failure import FailedRunError, Failure, FailureClass
from epilayer.model.files import write_atomic
from epilayer.model.imported import Code, Finding, ImportStatus, Reason, Severity
from epilayer.model.records import Provenance, Status
from epilayer.outputs.discover import find_calculations
from epilayer.outputs.lobster.directory import import_lobster
from epilayer.outputs.run_failure import failure_of, telling_lines
from epilayer.outputs.vasp.wavecar import read_wavecar_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core import Structure

    from epilayer.engines.vasp.engine import VaspEngine, VaspMaker
    from epilayer.model.cohp import Bond
    from epilayer.model.imported import BondingImport, BondIntegral, ImportedCalculation
    from epilayer.model.records import Calculation

BASIS_SET = "pbeVaspFit2015"
WINDOW_EV = (-35.0, 5.0)
"""Of the curves, relative to the Fermi level: from below the 2s of fluorine and the semicore of sodium."""
_LEVELS = {"s": 1, "p": 3, "d": 5, "f": 7}
_LINKED = ("WAVECAR", "vasprun.xml", "OUTCAR", "INCAR", "KPOINTS", "POSCAR", "POTCAR", "CONTCAR")
_KEPT = ("lobsterin", "lobsterout", "ICOHPLIST.lobster", "ICOOPLIST.lobster", "COHPCAR.lobster")
_MOST_REPEATS = 2
_POLL_S = 0.25
_SAME_LENGTH_ANG = 0.02


@cache
def _known_basis(extent: Literal["min", "standard", "max"]) -> dict[str, tuple[str, ...]]:
    """Return functions by POTCAR symbol, as pymatgen keeps them.

    Parameters
    ----------
    extent
        ``min``: the states that its valence electrons fill; ``standard``: what LOBSTER recommends; ``max``:
        all that it can project on.
    """
    import pymatgen.io.lobster
    from monty.serialization import loadfn

    folder = Path(pymatgen.io.lobster.__file__).parent / "lobster_basis"
    basis: dict[str, str] = loadfn(folder / f"BASIS_PBE_54_{extent}.yaml")["BASIS"]
    return {potcar: tuple(shells.split()) for potcar, shells in basis.items()}


def basis_of(potcars: Mapping[str, str], elements: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the local functions by element, from the symbols of the POTCARs.

    Parameters
    ----------
    potcars
        Symbol by element, such as ``{"V": "V_pv"}``.

    Raises
    ------
    EngineError
        If a POTCAR has no known basis.

    Examples
    --------
    >>> basis_of({"V": "V_pv", "O": "O"}, ["V", "O"])
    {'V': ('3d', '3p', '4s'), 'O': ('2p', '2s')}
    """
    known = _known_basis("standard")
    lacking = [potcars.get(e, e) for e in elements if potcars.get(e) not in known]
    if lacking:
        raise SetupError(
            f"No basis of LOBSTER is known for the POTCAR {', '.join(lacking)}.",
            "Choose another POTCAR of the element in the level's vasp.potcars.",
        )
    return {e: known[potcars[e]] for e in elements}


def uncovered(potcar: str, shells: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the valence states of a POTCAR without a function, and functions whose states it has not.

    A POTCAR of which nothing is known has neither.

    Examples
    --------
    >>> uncovered("Na_pv", ["3s"]), uncovered("Na", ["2p", "3s"])
    ((('2p',), ()), ((), ('2p',)))
    """
    filled, most = (_known_basis(extent).get(potcar, shells) for extent in ("min", "max"))
    return tuple(s for s in filled if s not in shells), tuple(s for s in shells if s not in {*most, *filled})


def count_functions(basis: Mapping[str, Sequence[str]], structure: Structure) -> int:
    """Return how many local functions a structure has: LOBSTER needs as many bands."""
    shells = {e: sum(_LEVELS[shell[-1]] for shell in functions) for e, functions in basis.items()}
    return sum(shells[site.specie.symbol] for site in structure)


def lobsterin(basis: Mapping[str, Sequence[str]], pairs: Sequence[tuple[int, int]]) -> str:
    """Return the input file.

    Parameters
    ----------
    pairs
        Of atoms in the order of the POSCAR, counted from 0. A range of distances, orbital by orbital, is
        what makes a COHPCAR of a slab grow to gigabytes: bonds are named.
    """
    low, high = WINDOW_EV
    lines = [
        f"COHPstartEnergy {low:g}",
        f"COHPendEnergy {high:g}",
        f"basisSet {BASIS_SET}",
        *(f"basisFunctions {element} {' '.join(shells)}" for element, shells in basis.items()),
        *(f"cohpbetween atom {i + 1} atom {j + 1}" for i, j in pairs),
        "skipPopulationAnalysis",
        "skipGrossPopulation",
        "skipMadelungEnergy",
        "skipDOS",
        "skipCOBI",
    ]
    return "\n".join(lines) + "\n"


@dataclass(kw_only=True)
class LobsterMaker(Maker):  # type: ignore[misc]  # jobflow is untyped
    """A single point with VASP and the bonds in it with LOBSTER; puts out a ``Bonding``."""

    name: str = "bonding"
    static: VaspMaker

    @job  # type: ignore[untyped-decorator]
    def make(self, structure: Structure, bonds: Sequence[Bond]) -> Bonding:
        """Integrate ``bonds`` in ``structure``."""
        return self.analyse(structure, bonds, Path.cwd())

    @property
    def engine(self) -> VaspEngine:
        """The engine of the single point."""
        return self.static.engine

    def plan(self, structure: Structure, bonds: Sequence[Bond]) -> Plan:
        """Choose basis, bands and bonds, or refuse what cannot be done.

        Raises
        ------
        InputError
            If a bond names an atom that is not there, or a name stands twice.
        EngineError
            If a POTCAR has no known basis.
        """
        _check_bonds(structure, bonds)
        order, placed = self.static.placed(structure)
        elements = [e.symbol for e in placed.composition.elements]
        settings = self.engine.settings
        basis = basis_of(settings.potcars, elements)
        place = {site: at for at, site in enumerate(order)}
        pairs = tuple((place[b.atoms[0]], place[b.atoms[1]]) for b in bonds)
        functions = count_functions(basis, placed)
        return Plan(basis=basis, functions=functions, pairs=pairs, structure=placed)

    def write(self, structure: Structure, bonds: Sequence[Bond], directory: Path) -> bool:
        """Write the inputs of VASP and LOBSTER without running; return whether a POTCAR was written."""
        plan = self.plan(structure, bonds)
        licensed = replace(self.static, bands=plan.functions).write(structure, directory)
        write_atomic(directory / "lobsterin", lobsterin(plan.basis, plan.pairs))
        return licensed

    def analyse(self, structure: Structure, bonds: Sequence[Bond], directory: Path) -> Bonding:
        """Run both programs in a directory."""
        plan = self.plan(structure, bonds)
        vasp_setup.check_lobster()
        bands, where = plan.functions, directory
        static, seen = self._once(structure, plan, where, bands)
        corrections = [*static.corrections, *seen.corrections]
        for _ in range(_MOST_REPEATS):
            if seen.needed is None:
                break
            corrections.append(f"NBANDS {bands} -> {seen.needed}, as LOBSTER asked for")
            bands, where = seen.needed, _with_orbitals(where, directory / f"bands-{seen.needed}")
            static, seen = self._once(structure, plan, where, bands)
            corrections += [*static.corrections, *seen.corrections]
        if seen.needed is not None:
            raise _failed(self.name, seen.record)
        return self._record(static, seen.record, plan, bonds, tuple(corrections))

    def _once(self, structure: Structure, plan: Plan, where: Path, bands: int) -> tuple[Calculation, _Seen]:
        with contextlib.chdir(where):
            static = replace(self.static, bands=bands).compute(structure, where)
        self._check_orbitals(where, bands)
        seen = self._lobster(plan, where / "lobster", bands)
        if seen.needed is None and _crashed(seen.record):
            again = self._lobster(plan, where / "lobster-2", bands)
            seen = _Seen(
                again.record,
                again.needed,
                (f"LOBSTER was run again ({_failed(self.name, seen.record).failure.cause})",),
            )
        if seen.needed is None and seen.record.status in (ImportStatus.FAILED, ImportStatus.INCOMPLETE):
            raise _failed(self.name, seen.record)
        return static, seen

    def _lobster(self, plan: Plan, folder: Path, bands: int) -> _Seen:
        """Run LOBSTER in a folder beside a finished single point."""
        folder.mkdir(exist_ok=True)
        for name in _LINKED:
            link = folder / name
            if (folder.parent / name).exists() and not link.exists():
                link.symlink_to(Path("..") / name)
        write_atomic(folder / "lobsterin", lobsterin(plan.basis, plan.pairs))
        record = _imported(folder, self.name, _run(folder))
        needed = record.bonding.bands_needed if record.bonding else None
        return _Seen(record, needed if needed and needed > bands else None, ())

    def _check_orbitals(self, where: Path, bands: int) -> None:
        try:
            header = read_wavecar_header(where / "WAVECAR")
        except InputError as error:
            raise EngineError(
                f"{self.name}: no orbitals for LOBSTER: {error.what}",
                "Check the disk's space; rerun the job.",
            ) from error
        if not header.whole or header.bands < bands:
            what = "is cut short" if not header.whole else f"holds {header.bands} of {bands} bands"
            raise EngineError(
                f"{self.name}: the WAVECAR {what}: LOBSTER would fail.",
                "Check the disk's space; rerun the job.",
            )

    def _record(
        self,
        static: Calculation,
        record: ImportedCalculation,
        plan: Plan,
        bonds: Sequence[Bond],
        corrections: tuple[str, ...],
    ) -> Bonding:
        found = record.bonding
        if found is None:
            raise _failed(self.name, record)
        folder = Path(record.path)
        refusals = [r for r in record.reasons if r.severity is not Severity.NOTE]
        if static.electronic_converged is False:
            refusals.append(
                Reason(
                    code=Finding.ELECTRONS_NOT_CONVERGED,
                    severity=Severity.WITHHOLDS,
                    what="the electronic loop of the single point did not converge",
                    remedy="Rerun with more electronic steps (NELM).",
                )
            )
        stand_in = static.level.stand_in or record.stand_in
        return Bonding(
            label=self.name,
            method=f"{record.program or 'LOBSTER'}, {BASIS_SET}" + (" (stand-in)" if stand_in else ""),
            level=static.level.model_copy(update={"stand_in": stand_in}),
            status=Status.REFUSED if refusals else Status.CERTIFIED,
            refusals=tuple(refusals),
            bonds=tuple(
                self._bond(bond, pair, plan, found, refused=bool(refusals))
                for bond, pair in zip(bonds, plan.pairs, strict=True)
            ),
            basis=found.basis,
            basis_functions=plan.functions,
            bands=read_wavecar_header(folder.parent / "WAVECAR").bands,
            bands_ignored_from=found.bands_ignored_from,
            spilling=found.spilling,
            spilling_limit_percent=found.spilling_limit_percent,
            spilling_passes=found.spilling_passes,
            energy_window_ev=found.energy_window_ev,
            max_band_overlap_deviation=found.max_band_overlap_deviation,
            energy_ev=static.energy_ev,
            structure=static.structure,
            corrections=corrections,
            provenance=_both(static.provenance, folder, record.program),
        )

    def _bond(
        self, bond: Bond, pair: tuple[int, int], plan: Plan, found: BondingImport, *, refused: bool
    ) -> BondResult:
        """Pick one bond out of LOBSTER's lists, by its atoms and its length."""
        placed = plan.structure
        length_ang = float(placed.get_distance(*pair))
        names = {f"{placed[at].specie.symbol}{at + 1}" for at in pair}

        def pick(listed: Sequence[BondIntegral]) -> BondIntegral | None:
            near = [
                b
                for b in listed
                if {b.atom_1, b.atom_2} == names and abs(b.length_ang - length_ang) < _SAME_LENGTH_ANG
            ]
            return near[0] if near else None

        cohp, coop = pick(found.icohp_ev), pick(found.icoop)
        if cohp is None and not refused:
            raise EngineError(
                f"{self.name}: LOBSTER lists no bond {bond.name!r} ({'-'.join(sorted(names))}, "
                f"{length_ang:.3f} A).",
                "Check that POSCAR and lobsterin are of the same run; rerun the job.",
            )
        given = None if refused else cohp
        also = None if refused else coop
        return BondResult(
            name=bond.name,
            atoms=bond.atoms,
            elements=(placed[pair[0]].specie.symbol, placed[pair[1]].specie.symbol),
            length_ang=length_ang,
            icohp_ev=given.summed if given else None,
            icohp_per_spin_ev=given.per_spin if given else None,
            icoop=also.summed if also else None,
            icoop_per_spin=also.per_spin if also else None,
        )


@dataclass(frozen=True)
class Plan:
    """What is to be projected: functions by element, their number, and the pairs in file order."""

    basis: dict[str, tuple[str, ...]]
    functions: int
    pairs: tuple[tuple[int, int], ...]
    structure: Structure


@dataclass(frozen=True)
class _Seen:
    """What LOBSTER left, the bands it asks for, and what was corrected."""

    record: ImportedCalculation
    needed: int | None
    corrections: tuple[str, ...]


def _check_bonds(structure: Structure, bonds: Sequence[Bond]) -> None:
    names = [bond.name for bond in bonds]
    if not bonds:
        raise InputError("No bond is named.", "Name at least one: Bond(name='C1-O2', atoms=(0, 1)).")
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise InputError(f"The bond {twice!r} is named twice.", "Give each bond a name of its own.")
    for bond in bonds:
        if max(bond.atoms) >= len(structure):
            raise InputError(
                f"The bond {bond.name!r} names atom {max(bond.atoms)}; the structure has {len(structure)}.",
                "Count atoms from 0 in the order of the structure.",
            )


def _with_orbitals(before: Path, after: Path) -> Path:
    """Make the directory of another single point, which starts from the orbitals of the previous one."""
    after.mkdir(exist_ok=True)
    (before / "WAVECAR").replace(after / "WAVECAR")
    return after


def _run(folder: Path) -> Exception | None:
    """Run LOBSTER through custodian; return what custodian found wrong, which the files then explain."""
    from custodian import Custodian
    from custodian.lobster.handlers import EnoughBandsValidator, LobsterFilesValidator

    with contextlib.chdir(folder):
        try:
            Custodian(
                handlers=[],
                jobs=[_job()],
                validators=[LobsterFilesValidator(), EnoughBandsValidator()],
                max_errors=1,
                polling_time_step=_POLL_S,
            ).run()
        except (RuntimeError, OSError, ValueError) as error:  # custodian's errors are RuntimeErrors
            return error
        except BaseException:  # a request to stop: LOBSTER must not continue alone, beside the next attempt
            end_children()
            raise
    return None


def _job() -> Any:  # noqa: ANN401  (custodian is untyped)
    """Return custodian's job; its own ``run`` opens files in a way that present monty refuses."""
    from atomate2 import SETTINGS
    from custodian.lobster.jobs import LobsterJob

    class Job(LobsterJob):  # type: ignore[misc]  # untyped
        """Runs LOBSTER in a session of its own, so that it can be ended with all it started."""

        def run(self, directory: str = "./") -> subprocess.Popen[bytes]:
            words = shlex.split(os.path.expandvars(self.lobster_cmd))
            out, err = (Path(directory) / name for name in (self.output_file, self.stderr_file))
            with out.open("wb") as stdout_file, err.open("wb") as wrong:
                return subprocess.Popen(  # noqa: S603  (the user's own command)
                    words, stdout=stdout_file, stderr=wrong, cwd=directory, start_new_session=True
                )

    return Job(SETTINGS.LOBSTER_CMD, gzipped=False)


def _imported(folder: Path, label: str, problem: Exception | None) -> ImportedCalculation:
    try:
        found = [f for f in find_calculations(folder) if f.code is Code.LOBSTER and f.folder == folder]
    except InputError:
        found = []
    if not found:
        raise FailedRunError(
            Failure(
                kind=FailureClass.SETUP,
                cause="lobster_wrote_nothing",
                what=f"{label}: LOBSTER wrote nothing ({problem or 'no reason given'}).",
                remedy="Run it by hand in that folder; check LOBSTER_CMD (epilayer doctor).",
                telling=telling_lines(folder),
            )
        )
    return import_lobster(found[0])


def _crashed(record: ImportedCalculation) -> bool:
    codes = {r.code for r in record.reasons if r.severity is not Severity.NOTE}
    return bool(codes & {Finding.NOT_FINISHED, Finding.FILE_TRUNCATED, Finding.SPIN_CHANNEL_MISSING})


def _failed(label: str, record: ImportedCalculation) -> FailedRunError:
    return FailedRunError(failure_of(f"{label}: LOBSTER", record, telling_lines(Path(record.path))))


def _both(static: Provenance, folder: Path, program: str | None) -> Provenance:
    """Return where the bonds come from: the single point's files and programs, and LOBSTER's."""
    own = provenance(folder, _KEPT, ("custodian",), {"lobster": program or "not stated"})
    update = {"files": {**static.files, **own.files}, "versions": {**static.versions, **own.versions}}
    return own.model_copy(update=update)
