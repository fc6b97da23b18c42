"""A stored trajectory as extxyz, XDATCAR or LAMMPS dump, and straight into ASE and MDAnalysis."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from epilayer.model.errors import InputError
from epilayer.trajectory.store import as_float

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TextIO

    from numpy.typing import NDArray

    from epilayer.outputs.trajectories.frames import Block
    from epilayer.trajectory.store import Trajectory

Format = Literal["extxyz", "xdatcar", "lammps"]
_XDATCAR_DECIMALS = 8


def export(trajectory: Trajectory, path: Path, kind: Format) -> None:
    """Write a trajectory in another program's format, in constant memory.

    Parameters
    ----------
    trajectory
        What to write.
    path
        The file; it stands there only once it is whole.
    kind
        ``extxyz`` (cartesian, 17 digits: exact), ``xdatcar`` (VASP 5, fractional; the digits of the source
        where it was one) or ``lammps`` (text dump, lattice-frame coordinates as LAMMPS wants them).
    """
    writers: dict[str, Callable[[Trajectory, Block, int, TextIO], None]] = {
        "extxyz": _extxyz,
        "xdatcar": _xdatcar,
        "lammps": _lammps,
    }
    if kind not in writers:
        raise InputError(f"There is no trajectory format {kind!r}.", f"Ask for one of: {', '.join(writers)}.")
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("w", encoding="ascii") as stream:
            if kind == "xdatcar":
                stream.write(_xdatcar_header(trajectory, trajectory.frame(0).cells_ang[0]))
            written = 0
            for block in trajectory.blocks():
                writers[kind](trajectory, block, written, stream)
                written += len(block)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def fractional(trajectory: Trajectory, block: Block) -> NDArray[np.float64]:
    """Return (n_frames, n_atoms, 3) fractional coordinates of a block."""
    stored = as_float(block.positions, trajectory.header.decimals)
    if trajectory.header.coordinates == "fractional":
        return stored
    return stored @ np.linalg.inv(block.cells_ang)


def cartesian_ang(trajectory: Trajectory, block: Block) -> NDArray[np.float64]:
    """Return (n_frames, n_atoms, 3) cartesian coordinates of a block, Angstrom."""
    stored = as_float(block.positions, trajectory.header.decimals)
    return stored if trajectory.header.coordinates == "cartesian" else stored @ block.cells_ang


def to_ase(trajectory: Trajectory) -> Iterator[Any]:
    """Yield ASE ``Atoms``, one per frame, with energy where it is known."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    symbols = list(trajectory.header.symbols)
    for block in trajectory.blocks():
        positions = cartesian_ang(trajectory, block)
        for i in range(len(block)):
            cell = block.cells_ang[i]
            atoms = Atoms(symbols, positions=positions[i], cell=cell, pbc=bool(np.linalg.det(cell)))
            atoms.info["step"] = int(block.steps[i])
            if np.isfinite(block.energies_ev[i]):
                atoms.calc = SinglePointCalculator(atoms, energy=float(block.energies_ev[i]))
            yield atoms


def to_mdanalysis(trajectory: Trajectory) -> Any:  # noqa: ANN401  (MDAnalysis has no types)
    """Return an MDAnalysis ``Universe`` with the frames in memory (its float32; times in ps).

    Raises
    ------
    InputError
        If MDAnalysis is not installed.
    """
    try:
        import MDAnalysis as mda  # noqa: N813  (its own custom)
    except ImportError as error:
        raise InputError("MDAnalysis is not installed.", "Install it: pip install MDAnalysis.") from error
    header = trajectory.header
    universe = mda.Universe.empty(header.n_atoms, trajectory=True)
    universe.add_TopologyAttr("names", list(header.symbols))
    universe.add_TopologyAttr("types", list(header.symbols))
    universe.add_TopologyAttr("elements", list(header.symbols))
    universe.add_TopologyAttr("masses", list(header.masses_amu))
    blocks = list(trajectory.blocks())
    positions = np.concatenate([cartesian_ang(trajectory, b).astype(np.float32) for b in blocks])
    boxes = np.array([_lengths_and_angles(cell) for b in blocks for cell in b.cells_ang], np.float32)
    steps = trajectory.steps()
    stride = int(steps[1] - steps[0]) if len(steps) > 1 else 1
    per_frame_ps = 1e-3 * stride * (header.time_step_fs or 1000.0)
    universe.load_new(positions, order="fac", dimensions=boxes, dt=per_frame_ps)
    return universe


def _lengths_and_angles(cell: NDArray[np.float64]) -> tuple[float, ...]:
    lengths = np.linalg.norm(cell, axis=1)
    unit = cell / np.where(lengths, lengths, 1.0)[:, None]
    cosines = np.clip([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]], -1.0, 1.0)
    return (*(float(x) for x in lengths), *(float(x) for x in np.degrees(np.arccos(cosines))))


def _extxyz(trajectory: Trajectory, block: Block, written: int, stream: TextIO) -> None:
    del written
    positions = cartesian_ang(trajectory, block)
    symbols = trajectory.header.symbols
    step_fs = trajectory.header.time_step_fs
    for i in range(len(block)):
        lattice = " ".join(f"{x:.17g}" for x in block.cells_ang[i].ravel())
        extra = f" step={block.steps[i]}"
        if step_fs is not None:
            extra += f" time_fs={block.steps[i] * step_fs:.17g}"
        if np.isfinite(block.energies_ev[i]):
            extra += f" energy={block.energies_ev[i]:.17g}"
        stream.write(
            f'{len(symbols)}\nLattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T T"{extra}\n'
        )
        rows = positions[i].tolist()
        stream.writelines(
            f"{s} {x:.17g} {y:.17g} {z:.17g}\n" for s, (x, y, z) in zip(symbols, rows, strict=True)
        )


def _xdatcar_header(trajectory: Trajectory, cell_ang: NDArray[np.float64]) -> str:
    runs = [(name, sum(1 for _ in group)) for name, group in groupby(trajectory.header.symbols)]
    vectors = "".join("".join(f" {x:16.10f}" for x in row) + "\n" for row in cell_ang)
    names = "".join(f" {name:>4s}" for name, _ in runs)
    counts = "".join(f" {number:5d}" for _, number in runs)
    return f"written by epilayer\n 1.0\n{vectors}{names}\n{counts}\n"


def _xdatcar(trajectory: Trajectory, block: Block, written: int, stream: TextIO) -> None:
    header = trajectory.header
    places = _XDATCAR_DECIMALS if header.decimals is None else header.decimals
    coordinates = fractional(trajectory, block)
    first = trajectory.frame(0).cells_ang[0]
    varies = not np.array_equal(np.broadcast_to(first, block.cells_ang.shape), block.cells_ang)
    for i in range(len(block)):
        # VASP repeats the header where the cell changes.
        if varies and written + i > 0:
            stream.write(_xdatcar_header(trajectory, block.cells_ang[i]))
        stream.write(f"Direct configuration={block.steps[i]:6d}\n")
        width = places + 4
        stream.writelines(
            f"{x:{width}.{places}f}{y:{width}.{places}f}{z:{width}.{places}f}\n"
            for x, y, z in coordinates[i].tolist()
        )


def _lammps(trajectory: Trajectory, block: Block, written: int, stream: TextIO) -> None:
    del written
    symbols = trajectory.header.symbols
    kinds = {name: k + 1 for k, name in enumerate(dict.fromkeys(symbols))}
    coordinates = fractional(trajectory, block)
    for i in range(len(block)):
        # LAMMPS wants a along x and b in the xy plane: the same crystal, turned.
        lower = np.linalg.cholesky(block.cells_ang[i] @ block.cells_ang[i].T)
        (xx, yy, zz), xy, xz, yz = np.diag(lower), lower[1, 0], lower[2, 0], lower[2, 1]
        positions = coordinates[i] @ lower
        bounds = (
            (min(0.0, xy, xz, xy + xz), xx + max(0.0, xy, xz, xy + xz), xy),
            (min(0.0, yz), yy + max(0.0, yz), xz),
            (0.0, zz, yz),
        )
        stream.write(f"ITEM: TIMESTEP\n{block.steps[i]}\nITEM: NUMBER OF ATOMS\n{len(symbols)}\n")
        stream.write("ITEM: BOX BOUNDS xy xz yz pp pp pp\n")
        stream.writelines(f"{low:.12g} {high:.12g} {tilt:.12g}\n" for low, high, tilt in bounds)
        stream.write("ITEM: ATOMS id type element x y z\n")
        stream.writelines(
            f"{a + 1} {kinds[s]} {s} {x:.12g} {y:.12g} {z:.12g}\n"
            for a, (s, (x, y, z)) in enumerate(zip(symbols, positions.tolist(), strict=True))
        )
