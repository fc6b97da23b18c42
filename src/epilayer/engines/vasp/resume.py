"""Going on where a killed VASP run stopped: what may be taken over from it, validated first."""

from __future__ import annotations

import shutil
import warnings
from typing import TYPE_CHECKING

import numpy as np

from epilayer.engines.vasp.executed import imported
from epilayer.model.errors import EngineError, InputError
from epilayer.model.failure import FailureClass
from epilayer.model.imported import ImportStatus
from epilayer.outputs.run_failure import failure_of
from epilayer.outputs.vasp.wavecar import read_wavecar_header

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pymatgen.core import Structure

_TOO_CLOSE_ANG = 0.5
_SAME_CELL_ANG = 1e-5
_BEGIN = ("INCAR", "KPOINTS", "POSCAR")
_USUAL_POTIM = 0.5
_NEXT_ALGORITHM = {"F": "Normal", "V": "Normal", "N": "All", "A": "Damped"}
"""By the first letter, which is all that VASP reads."""


def resume(directory: Path, placed: Structure, *, moving: bool) -> tuple[str, ...]:
    """Go on where an earlier attempt of the same job stopped; return what was taken over, one line each.

    Only an attempt that began from the same INCAR, KPOINTS and POSCAR counts. The structure comes from
    its CONTCAR, or the last whole step of its vasprun.xml, if it holds up; the WAVECAR is copied if its
    header fits these inputs and it is as long as its header says. An attempt whose electrons or ions broke
    down is continued with another algorithm or a smaller step.

    Parameters
    ----------
    moving
        Whether to take the structure over: a relaxation's. A single point starts from its own, and a
        trajectory without its velocities and step count would be another one.
    """
    if not directory.name.startswith("attempt-"):
        return ()
    earlier = [d for d in directory.parent.glob("attempt-*") if d != directory and d.is_dir()]
    for attempt in sorted(earlier, key=lambda d: d.stat().st_mtime, reverse=True):
        if not all(_same_begin(attempt, directory, name) for name in _BEGIN):
            continue
        change = _another_way(attempt, directory, moving=moving)
        notes = [change] if change else []
        if not change.startswith("ALGO") and _wavecar_fits(attempt, placed):
            shutil.copyfile(attempt / "WAVECAR", directory / "WAVECAR")
            notes.append(f"resumed with the WAVECAR of {attempt.name}")
        source = _take_structure(attempt, directory, placed) if moving else ""
        if source:
            notes.insert(0, f"resumed from {source} of {attempt.name}")
        if notes:
            return tuple(notes)
    return ()


def _another_way(attempt: Path, directory: Path, *, moving: bool) -> str:
    """Change how the result is reached, never what it is, where an attempt broke down on the way.

    The electrons take the next algorithm after the last one that was executed; the ions of a relaxation half
    the step.
    """
    from pymatgen.io.vasp.inputs import Incar

    try:
        record = imported(attempt)
    except EngineError:
        return ""
    if record.status is not ImportStatus.FAILED:
        return ""
    failed = failure_of("", record)
    tag = "ALGO"
    value: str | None = None
    if failed.kind is FailureClass.ELECTRONIC_ALGORITHM:
        value = _NEXT_ALGORITHM.get(str(record.incar.get("ALGO", "Normal"))[:1].upper())
    elif failed.kind is FailureClass.LARGE_STEP and moving:
        tag, value = "POTIM", f"{0.5 * float(str(record.incar.get('POTIM', _USUAL_POTIM))):g}"
    if value is None:
        return ""
    target = directory / "INCAR"
    begun = Incar.from_file(str(target))
    target.replace(directory / "INCAR.begin")
    Incar({**begun, tag: value}).write_file(str(target))
    return f"{tag} = {value}, since {attempt.name} failed ({failed.cause})"


def _take_structure(attempt: Path, directory: Path, placed: Structure) -> str:
    """Write the last structure of an attempt as POSCAR; return the file it was in, empty if none holds up."""
    from pymatgen.io.vasp.inputs import Poscar

    for source, found in _last_structures(attempt):
        if found is not None and _plausible(found, placed):
            going_on = placed.copy()
            for i, frac in enumerate(found.frac_coords):
                step = frac - placed[i].frac_coords
                going_on.translate_sites([i], step - np.round(step), to_unit_cell=False)
            target = directory / "POSCAR"
            target.replace(directory / "POSCAR.begin")
            Poscar(going_on).write_file(str(target))
            return source
    return ""


def _wavecar_fits(attempt: Path, placed: Structure) -> bool:
    """Whether an attempt left a WAVECAR that is whole and belongs to these inputs."""
    from pymatgen.io.vasp.inputs import Incar, Kpoints

    file = attempt / "WAVECAR"
    if not file.is_file() or not file.stat().st_size:
        return False
    try:
        header = read_wavecar_header(file)
        tags = Incar.from_file(str(attempt / "INCAR"))
        mesh = Kpoints.from_file(str(attempt / "KPOINTS")).kpts[0]
    except (InputError, OSError, ValueError, IndexError):
        return False
    i, j, k = (int(n) for n in mesh)
    return (
        header.mismatch(
            encut_ev=float(tags["ENCUT"]),
            lattice_ang=placed.lattice.matrix,
            spins=int(tags.get("ISPIN", 1)),
            bands=tags.get("NBANDS"),
            most_k_points=i * j * k,
        )
        is None
    )


def _same_begin(attempt: Path, directory: Path, name: str) -> bool:
    """Whether both attempts began with the same file; custodian keeps the first one as ``.orig``."""
    mine = directory / name
    for kept in (f"{name}.begin", f"{name}.orig", name):
        if (attempt / kept).is_file():
            return (attempt / kept).read_bytes() == mine.read_bytes()
    return False


def _last_structures(attempt: Path) -> Iterator[tuple[str, Structure | None]]:
    from pymatgen.core import Lattice, Structure
    from pymatgen.io.vasp.inputs import Poscar

    from epilayer.outputs.vasp.vasprun import read_vasprun

    contcar = attempt / "CONTCAR"
    if contcar.is_file():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield "CONTCAR", Poscar.from_file(str(contcar), check_for_potcar=False).structure
        except (ValueError, IndexError, KeyError, OSError, Warning):  # pymatgen raises a warning
            yield "CONTCAR", None
    run = attempt / "vasprun.xml"
    if run.is_file():
        try:
            last = read_vasprun(run)
        except InputError:
            return
        step = last.last
        if step is not None and step.lattice_ang is not None and step.positions_frac is not None:
            lattice = Lattice(step.lattice_ang)
            yield "vasprun.xml", Structure(lattice, last.header.species, step.positions_frac)


def _plausible(found: Structure, placed: Structure) -> bool:
    """Whether a run may continue from a structure that a killed run left."""
    if [s.specie.symbol for s in found] != [s.specie.symbol for s in placed]:
        return False
    if not np.isfinite(found.frac_coords).all():
        return False
    if not np.allclose(found.lattice.matrix, placed.lattice.matrix, atol=_SAME_CELL_ANG):
        return False
    distances = found.distance_matrix[np.triu_indices(len(found), 1)]
    return not distances.size or float(distances.min()) > _TOO_CLOSE_ANG
