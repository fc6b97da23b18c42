"""Which reader a file needs, and the readers of vasprun.xml, OUTCAR, vaspout.h5 and ASE's formats."""

from __future__ import annotations

from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from epilayer.model.errors import InputError
from epilayer.model.files import sha256_file
from epilayer.model.units import K_B_EV_PER_K
from epilayer.outputs.reading import FileState
from epilayer.outputs.trajectories.frames import (
    Block,
    Header,
    NotFixedPointError,
    Source,
    empty_column,
    standard_masses_amu,
)
from epilayer.outputs.trajectories.xdatcar import XdatcarSource
from epilayer.outputs.vasp.vasprun import VasprunStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

_BLOCK_FRAMES = 64
_VASPRUN_DECIMALS = 8


class _Frame(NamedTuple):
    positions: NDArray[np.float64]
    cell_ang: NDArray[np.float64]
    step: int
    energy_ev: float
    temperature_k: float


def _in_blocks(frames: Iterable[_Frame], decimals: int | None) -> Iterator[Block]:
    """Gather frames into blocks, of fixed-point integers where the file has so many decimals.

    Raises
    ------
    NotFixedPointError
        Where a coordinate has more digits, or is not finite: the reader of floats names the frame.
    """
    left = iter(frames)
    while some := list(islice(left, _BLOCK_FRAMES)):
        positions, cells, steps, energies, temperatures = zip(*some, strict=True)
        stacked = np.array(positions)
        if decimals is not None:
            if not np.isfinite(stacked).all():
                raise NotFixedPointError
            fixed = np.rint(stacked * 10.0**decimals)
            if not np.array_equal(fixed / 10.0**decimals, stacked):
                raise NotFixedPointError
            stacked = fixed.astype(np.int64)
        yield Block(
            stacked, np.array(cells), np.array(steps, np.int64), np.array(energies), np.array(temperatures)
        )


class VasprunSource:
    """A vasprun.xml of molecular dynamics, plain or compressed, read one ionic step at a time.

    The energy kept is energy(sigma->0), what is added after the electronic loop (dispersion) included, and
    NaN where it is not of DFT; temperature is worked out from the step's kinetic energy where the file has
    one. Steps that VASP's own force field made are frames too. Only complete ionic steps count, so the file
    of a run that was killed reads up to its last whole step.

    Parameters
    ----------
    path
        The file.
    time_step_fs
        Overrides POTIM, fs.
    as_float
        Yield float64 instead of fixed-point integers.
    """

    format = "vasprun.xml"

    def __init__(self, path: Path, *, time_step_fs: float | None = None, as_float: bool = False) -> None:
        self.path = path
        self._stream = VasprunStream(path)
        self._check()
        said = self._stream.header
        if said.positions_frac is None:
            raise InputError(f"{path} is not a vasprun.xml with a structure.", "Give a vasprun.xml of VASP.")
        potim = said.parameters.get("POTIM") if said.parameters.get("IBRION") == 0 else None
        stated = float(potim) if isinstance(potim, int | float) else None
        masses = standard_masses_amu(said.species, str(path))
        step = time_step_fs if time_step_fs is not None else stated
        self.header = Header(
            said.species, masses, "fractional", None if as_float else _VASPRUN_DECIMALS, step
        )

    def _check(self) -> None:
        """Refuse a file whose compression is damaged."""
        if self._stream.source.state is FileState.CORRUPT:
            raise InputError(
                f"{self.path}: {self._stream.source.problem}.", "Copy it again from where it was made."
            )

    def sha256(self) -> str:
        """Return the SHA-256 of the raw file."""
        return sha256_file(self.path)

    def with_floats(self) -> VasprunSource:
        """Return a fresh reader of the same file that yields float64."""
        return type(self)(self.path, time_step_fs=self.header.time_step_fs, as_float=True)

    def blocks(self) -> Iterator[Block]:
        """Yield the frames in order."""
        yield from _in_blocks(self._frames(), self.header.decimals)

    def _frames(self) -> Iterator[_Frame]:
        steps = 0
        for step in self._stream:
            if not step.closed:
                continue
            steps += 1
            if step.lattice_ang is None or step.positions_frac is None:
                raise InputError(
                    f"{self.path}: the structure of ionic step {step.index} cannot be read, or has not the "
                    f"{self.header.n_atoms} atoms that were stated.",
                    "The file is damaged: give the one VASP wrote.",
                )
            energy_ev = np.nan if step.energy_ev is None else step.energy_ev
            yield _Frame(
                step.positions_frac,
                step.lattice_ang,
                step.index,
                energy_ev,
                self._temperature_k(step.kinetic_ev),
            )
        self._check()
        if steps == 0:
            raise InputError(f"{self.path} holds no complete ionic step.", "Give a run of at least one step.")

    def _temperature_k(self, kinetic_ev: float | None) -> float:
        degrees = 3 * (self.header.n_atoms - 1)
        return 2 * kinetic_ev / (degrees * K_B_EV_PER_K) if degrees > 0 and kinetic_ev is not None else np.nan


class AseSource:
    """Anything ASE can iterate over: extxyz, .traj and others; cartesian, binary floats.

    Parameters
    ----------
    path
        The file.
    time_step_fs
        Time between frames, fs; these formats do not state one.
    as_float
        Always true here.
    """

    format = ""
    _ase_format: str | None = None
    _kind = "a trajectory"
    _remedy = "Check that the file is whole and of the format its name says."

    def __init__(self, path: Path, *, time_step_fs: float | None = None, as_float: bool = True) -> None:
        del as_float
        self.path, self.format = path, self.format or path.suffix.lstrip(".")
        self._rest = self._iterate()
        self._first = next(self._rest, None)
        if self._first is None:
            raise InputError(f"{path} holds no frame.", "Give a trajectory of at least one step.")
        symbols = tuple(self._first.get_chemical_symbols())
        masses = tuple(float(m) for m in self._first.get_masses())
        self.header = Header(symbols, masses, "cartesian", None, time_step_fs)

    def _iterate(self) -> Iterator[Any]:
        import ase.io

        try:
            yield from ase.io.iread(self.path, index=":", format=self._ase_format)
        except InputError:
            raise
        except Exception as error:  # ASE raises whatever its parsers meet
            raise InputError(
                f"{self.path} cannot be read as {self._kind} ({type(error).__name__}: {error}).", self._remedy
            ) from error

    def sha256(self) -> str:
        """Return the SHA-256 of the raw file."""
        return sha256_file(self.path)

    def with_floats(self) -> AseSource:
        """Return a fresh reader of the same file that yields float64."""
        return type(self)(self.path, time_step_fs=self.header.time_step_fs, as_float=True)

    def blocks(self) -> Iterator[Block]:
        """Yield the frames in order."""
        yield from _in_blocks(map(self._frame, count(), chain([self._first], self._rest)), None)

    def _frame(self, index: int, atoms: Any) -> _Frame:  # noqa: ANN401  (ASE's Atoms)
        if tuple(atoms.get_chemical_symbols()) != self.header.symbols:
            raise InputError(
                f"{self.path}: the species change at frame {index + 1} ({self.header.n_atoms} to "
                f"{len(atoms)} atoms or another order).",
                "Ingest each trajectory on its own.",
            )
        energy_ev = atoms.calc.results.get("energy", np.nan) if atoms.calc is not None else np.nan
        return _Frame(
            atoms.positions,
            np.asarray(atoms.cell),
            int(atoms.info.get("step", index)),
            float(energy_ev),
            float(atoms.get_temperature() if atoms.has("momenta") else np.nan),
        )


class OutcarSource(AseSource):
    """An OUTCAR, read through ASE, whose iterator yields one ionic step at a time."""

    format, _ase_format, _kind = "OUTCAR", "vasp-out", "an OUTCAR"
    _remedy = "Give the OUTCAR of a run with at least one finished ionic step."


class VaspoutSource:
    """A vaspout.h5. Only the ion dynamics are read: the file also embeds a licensed POTCAR.

    Parameters
    ----------
    path
        The file.
    time_step_fs
        Overrides POTIM, fs.
    as_float
        Always true here.
    """

    format = "vaspout.h5"

    def __init__(self, path: Path, *, time_step_fs: float | None = None, as_float: bool = True) -> None:
        import h5py

        del as_float
        self.path = path
        try:
            with h5py.File(path, "r", locking=False) as file:
                group = file["intermediate/ion_dynamics"]
                self._frames = int(group["position_ions"].shape[0])
                names = [name.decode().strip() for name in file["results/positions/ion_types"][:]]
                counts = [int(c) for c in file["results/positions/number_ion_types"][:]]
                incar = file.get("input/incar")
                potim = float(incar["POTIM"][()]) if incar is not None and "POTIM" in incar else None
        except (OSError, KeyError) as error:
            raise InputError(
                f"{path} is not a vaspout.h5 with ion dynamics ({error}).",
                "Give one of a molecular-dynamics run.",
            ) from error
        symbols = tuple(n for n, c in zip(names, counts, strict=True) for _ in range(c))
        step = time_step_fs if time_step_fs is not None else potim
        self.header = Header(symbols, standard_masses_amu(symbols, str(path)), "fractional", None, step)

    def sha256(self) -> str:
        """Return the SHA-256 of the raw file."""
        return sha256_file(self.path)

    def with_floats(self) -> VaspoutSource:
        """Return a fresh reader of the same file that yields float64."""
        return type(self)(self.path, time_step_fs=self.header.time_step_fs, as_float=True)

    def blocks(self) -> Iterator[Block]:
        """Yield the frames in order."""
        import h5py

        with h5py.File(self.path, "r", locking=False) as file:
            group = file["intermediate/ion_dynamics"]
            tags = (
                [tag.decode().strip() for tag in group["energies_tags"][:]]
                if "energies_tags" in group
                else []
            )
            column = next((i for i, tag in enumerate(tags) if "energy(sigma->0)" in tag or "E0" in tag), None)
            for start in range(0, self._frames, _BLOCK_FRAMES):
                part = slice(start, min(start + _BLOCK_FRAMES, self._frames))
                size = part.stop - start
                scale = (
                    float(file["results/positions/scale"][()]) if "results/positions/scale" in file else 1.0
                )
                energies = empty_column(size) if column is None else group["energies"][part, column]
                yield Block(
                    np.asarray(group["position_ions"][part], np.float64),
                    np.asarray(group["lattice_vectors"][part], np.float64) * scale,
                    np.arange(start + 1, part.stop + 1),
                    np.asarray(energies, np.float64),
                    empty_column(size),
                )


def open_source(path: Path, *, time_step_fs: float | None = None, keep_partial: bool = False) -> Source:
    """Return the reader for a file, chosen by its name.

    Parameters
    ----------
    path
        ``XDATCAR*``, ``*vasprun*.xml``, ``OUTCAR*``, ``*.h5`` of VASP, ``*.xyz``, ``*.extxyz`` or ``*.traj``;
        VASP's text files plain or gzip.
    time_step_fs
        Time between numbered configurations, fs, where the file does not say or is to be overruled.
    keep_partial
        Drop a last XDATCAR frame that was cut short, instead of an error.

    Raises
    ------
    InputError
        If the file is absent, or of no known kind.
    """
    path = Path(path)
    if time_step_fs is not None and not time_step_fs > 0:
        raise InputError(
            f"The time step is {time_step_fs} fs.", "Give the positive time between two configurations."
        )
    if not path.is_file():
        raise InputError(f"There is no file {path}.", "Check the name.")
    name = path.name.lower()
    if "xdatcar" in name:
        return XdatcarSource(path, time_step_fs=time_step_fs, keep_partial=keep_partial)
    readers: tuple[tuple[Callable[[str], bool], Any], ...] = (
        (lambda n: "vasprun" in n, VasprunSource),
        (lambda n: "outcar" in n, OutcarSource),
        (lambda n: n.endswith(".h5"), VaspoutSource),
        (lambda n: n.endswith((".xyz", ".extxyz", ".traj", ".xyz.gz", ".extxyz.gz")), AseSource),
    )
    for fits, reader in readers:
        if fits(name):
            found: Source = reader(path, time_step_fs=time_step_fs)
            return found
    raise InputError(
        f"{path} is of no kind known as a trajectory.",
        "Give an XDATCAR, vasprun.xml, OUTCAR, vaspout.h5, .xyz, .extxyz or .traj.",
    )
