"""Trajectories that somebody computed, analysed: the transport of their ions, and hydrogens that move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from epilayer.model.elements import ALKALI
from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from epilayer.model.transport import TransportReport
    from epilayer.outputs.trajectories.frames import Header
    from epilayer.study.config import Catalogue

_PS_PER_FS = 1e-3


@dataclass(frozen=True)
class Frames:
    """Evenly spaced frames of a trajectory.

    Attributes
    ----------
    positions
        (n_frames, n_atoms, 3), fractional or in Angstrom as the header says.
    cells_ang
        (n_frames, 3, 3) cell vectors as rows.
    """

    header: Header
    positions: NDArray[np.float64]
    cells_ang: NDArray[np.float64]
    frame_time_fs: float


@dataclass(frozen=True)
class Carriers:
    """What is followed in a trajectory.

    Attributes
    ----------
    species
        Elements whose atoms are carriers.
    molecules
        Molecular carriers, followed at their centre: a ligand's name, a formula, or ``NAME=FORMULA``.
    charges
        ``NAME=Z``, formal charges; of alkali ions +1 and of ligands their own by default.
    framework
        What is at rest: ``rest`` (all that is no carrier), ``all`` (the centre of mass), ``none``, or
        elements such as ``Zn,C``.
    """

    species: tuple[str, ...] = ()
    molecules: tuple[str, ...] = ()
    charges: tuple[str, ...] = ()
    framework: str = "rest"


def transport_in(
    frames: Frames,
    carriers: Carriers,
    catalogue: Catalogue,
    *,
    temperature_k: float | None = None,
    hop_length_ang: float = 3.0,
) -> TransportReport:
    """Return diffusion, transference and conductivity of the ions in a trajectory.

    Parameters
    ----------
    catalogue
        Where ligands are looked up by name.
    temperature_k
        For the conductivity.
    hop_length_ang
        Distance that counts as one hop.

    Raises
    ------
    InputError
        If a carrier, a charge or an element of the framework is not in the trajectory.
    """
    from epilayer.analysis.transport import CarrierChoice, analyse_arrays
    from epilayer.analysis.transport import Frames as Arrays

    header, species = frames.header, carriers.species
    named, charges = _carriers(catalogue, carriers, frames)
    charges |= _charges(carriers.charges, {*species, *named})
    return analyse_arrays(
        Arrays(frames.positions, frames.cells_ang, header.symbols, header.masses_amu, header.coordinates),
        CarrierChoice(species, named, charges),
        time_step_fs=frames.frame_time_fs,
        framework=_framework(carriers.framework, header, species, named),
        temperature_k=temperature_k,
        hop_length_ang=hop_length_ang,
    )


@dataclass(frozen=True)
class Transfer:
    """A hydrogen that left its partner for another; atoms by element and number, counted from 1."""

    donor: str
    hydrogen: str
    acceptor: str
    frame: int
    time_fs: float | None
    frames_held: int


def transfers_in(frames: Frames, hold_frames: int) -> list[Transfer]:
    """Return every hydrogen that changes its partner in a trajectory.

    Parameters
    ----------
    hold_frames
        Frames for which a new partner must be kept.
    """
    import numpy as np

    from epilayer.analysis.abstraction import hydrogen_transfers

    header, positions, cells = frames.header, frames.positions, frames.cells_ang
    fractional = positions if header.coordinates == "fractional" else positions @ np.linalg.inv(cells)
    found = hydrogen_transfers(
        header.symbols, fractional, cells, frame_time_fs=frames.frame_time_fs, hold_frames=hold_frames
    )
    names = [f"{s}{i + 1}" for i, s in enumerate(header.symbols)]
    return [
        Transfer(names[t.donor], names[t.hydrogen], names[t.acceptor], t.frame, t.time_fs, t.frames_held)
        for t in found
    ]


def read_trajectory(
    file: Path, *, time_step_fs: float | None = None, step_skip: int | None = None, from_ps: float = 0.0
) -> Frames:
    """Read a trajectory of any kind.

    Parameters
    ----------
    time_step_fs
        Time step of the simulation, where the file does not state it.
    step_skip
        Steps between stored frames, where the file does not state them.
    from_ps
        Leave out what comes before.

    Raises
    ------
    InputError
        If the time step is unknown, or frames are repeated, out of order or unevenly spaced.
    """
    import numpy as np

    from epilayer.model.errors import StoreError
    from epilayer.outputs.trajectories.sources import open_source
    from epilayer.trajectory.store import Trajectory, as_float

    if time_step_fs is not None and not time_step_fs > 0:
        raise InputError(
            f"The time step is {time_step_fs:g} fs.", "Give the positive time step of the simulation."
        )
    try:
        with Trajectory(file) as stored:
            header, steps = stored.header, stored.steps()
            positions, cells = stored.positions(), stored.cells_ang()
    except StoreError:  # no file of ours: a raw one, whose reader says what it is or why it is none
        source = open_source(file)
        blocks = list(source.blocks())
        header = source.header
        positions = np.concatenate([as_float(b.positions, header.decimals) for b in blocks])
        cells = np.concatenate([b.cells_ang for b in blocks])
        steps = np.concatenate([b.steps for b in blocks])
    one_step_fs = time_step_fs if time_step_fs is not None else header.time_step_fs
    if one_step_fs is None:
        raise InputError(
            f"{file} does not say its time step.",
            "Give it: --time-step-fs 2 (and --step-skip 50 if need be).",
        )
    apart = np.diff(steps)
    if len(apart) and apart.min() <= 0:
        at = int(np.argmin(apart > 0))
        raise InputError(
            f"{file}: step {steps[at + 1]} follows step {steps[at]}: frames are repeated or out of order, "
            "or trajectories were joined.",
            "Give one trajectory, in order, each frame once.",
        )
    if step_skip is None and len(apart) and apart.min() != apart.max():
        raise InputError(
            f"{file}: frames are {apart.min()} to {apart.max()} steps apart.",
            "Give evenly spaced frames, or say how far apart they are (--step-skip).",
        )
    skip = step_skip if step_skip is not None else int(apart[0]) if len(apart) else 1
    between_fs = one_step_fs * skip
    first = round(from_ps / (between_fs * _PS_PER_FS))
    if first >= len(positions):
        raise InputError(
            f"{file} holds {len(positions) * between_fs * _PS_PER_FS:.3g} ps, nothing after {from_ps:g} ps.",
            "Give an earlier --from-ps.",
        )
    return Frames(header, positions[first:], cells[first:], between_fs)


def _carriers(
    catalogue: Catalogue, carriers: Carriers, frames: Frames
) -> tuple[dict[str, list[Any]], dict[str, float]]:
    """Return the atoms of every molecular carrier, and the formal charges that are known."""
    import numpy as np
    from pymatgen.core import Composition

    from epilayer.analysis.displacements import find_molecules

    header, first, cell_ang = frames.header, frames.positions[0], frames.cells_ang[0]
    charges = {s: 1.0 for s in carriers.species if s in ALKALI}
    if not carriers.molecules:
        return {}, charges
    fractional = first if header.coordinates == "fractional" else first @ np.linalg.inv(cell_ang)
    there = find_molecules(header.symbols, fractional, cell_ang)
    by_composition = {Composition(formula): found for formula, found in there.items()}
    named: dict[str, list[Any]] = {}
    ligands = {name.lower(): name for name in catalogue.names("ligands")}
    for text in carriers.molecules:
        name, sign, formula = text.partition("=")
        if not sign:
            if name.lower() in ligands:
                ligand = catalogue.ligand(ligands[name.lower()])
                formula = ligand.formula
                charges[name] = float(ligand.charge)
            else:
                formula = name
        try:
            wanted = Composition(formula.rstrip("+-"))
        except ValueError as error:
            raise InputError(
                f"--molecule {text!r} is neither a known ligand nor a formula.",
                f"Known: {', '.join(sorted(ligands))}; or give NAME=FORMULA, as in FSI=NS2O4F2.",
            ) from error
        if wanted not in by_composition:
            raise InputError(
                f"There is no molecule {wanted.formula.replace(' ', '')} in the first frame.",
                f"Found: {', '.join(sorted(there, key=len)[:12])}.",
            )
        named[name] = by_composition[wanted]
    return named, charges


def _charges(given: Sequence[str], carriers: set[str]) -> dict[str, float]:
    charges = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in carriers:
            raise InputError(
                f"--charge {text}: {name!r} is no carrier.",
                f"Carriers: {', '.join(sorted(carriers)) or 'none'}.",
            )
        try:
            charges[name] = float(value)
        except ValueError as error:
            raise InputError(f"--charge {text!r} gives no number.", "Write --charge Na=1.") from error
    return charges


def _framework(text: str, header: Header, species: Sequence[str], molecules: dict[str, list[Any]]) -> Any:  # noqa: ANN401  (two words, or an array of atoms)
    """Return what is at rest, as :func:`epilayer.analysis.transport.analyse_arrays` takes it."""
    import numpy as np

    symbols = np.asarray(header.symbols)
    if text in ("all", "none"):
        return text
    if text != "rest":
        elements = [e.strip() for e in text.split(",")]
        absent = sorted(set(elements) - set(header.symbols))
        if absent:
            raise InputError(
                f"--framework: {absent[0]!r} is not in this trajectory.",
                f"Name elements ({', '.join(sorted(set(header.symbols)))}), or rest, all, none.",
            )
        return np.flatnonzero(np.isin(symbols, elements))
    carrier = np.isin(symbols, list(species))
    for atoms in (a for found in molecules.values() for a in found):
        carrier[atoms] = True
    # Where everything is a carrier, as in a liquid, the centre of mass of all is at rest.
    return "all" if carrier.all() else np.flatnonzero(~carrier)
