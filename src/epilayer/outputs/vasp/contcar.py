"""CONTCAR of a dynamics run: what it carries from one segment to the next, and whether it may.

Behind the positions VASP writes the velocities (half a step on), and for the Nose-Hoover thermostat a block
with the thermostat's four numbers and the positions of the next step. A run that begins from the whole
file has those next positions as its first configuration, so that no frame is computed twice; without the
block it begins once more at the positions of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_SAME_FRAC = 3e-8
"""The outputs hold eight decimals of a coordinate."""
_SAME_CELL_ANG = 1e-5
_HEAD = 7
_THERMOSTAT = 4
_BLOCKS = 3
"""Behind the thermostat: next positions and two sets of derivatives."""
_AXES = 3


@dataclass(frozen=True)
class Contcar:
    """A CONTCAR, or a POSCAR to begin from.

    Attributes
    ----------
    raw
        The file, which is handed on to the bit.
    symbols, lattice_ang, positions_frac
        One element an atom, (3, 3) rows, (n_atoms, 3), in file order.
    velocities_ang_per_fs
        (n_atoms, 3), ``None`` where the file has none.
    next_frac
        (n_atoms, 3) positions of the next step from the predictor-corrector block, ``None`` without one.
    """

    raw: bytes
    symbols: tuple[str, ...]
    lattice_ang: Array
    positions_frac: Array
    velocities_ang_per_fs: Array | None
    next_frac: Array | None

    @property
    def begins_frac(self) -> Array:
        """Return the first configuration of a run that begins from this file."""
        return self.positions_frac if self.next_frac is None else self.next_frac

    def checked(
        self, symbols: Sequence[str], lattice_ang: Array, time_step_fs: float, *, thermostat: bool
    ) -> Contcar:
        """Return itself if a segment may go on from it.

        Parameters
        ----------
        symbols, lattice_ang
            Of the trajectory, in file order.
        time_step_fs
            Of the integration, fs.
        thermostat
            Whether the thermostat has a state that must be there.

        Raises
        ------
        EngineError
            If it is of another system, lacks something, or its parts are not of one step.
        """
        if self.symbols != tuple(symbols) or not np.allclose(
            self.lattice_ang, lattice_ang, atol=_SAME_CELL_ANG
        ):
            raise _refused("it is of other atoms or of another cell")
        if self.velocities_ang_per_fs is None:
            raise _refused("it has no velocities")
        if thermostat and self.next_frac is None:
            raise _refused("it lacks the state of the thermostat")
        if self.next_frac is not None:
            drift = self.next_frac - self.positions_frac
            moved_ang = (drift - np.round(drift)) @ self.lattice_ang
            ahead_ang = self.velocities_ang_per_fs * time_step_fs
            # A kill while it is rewritten leaves new lines over old ones.
            allowed_ang = 1e-6 + _SAME_FRAC * float(np.abs(self.lattice_ang).sum(axis=0).max())
            if np.abs(moved_ang - ahead_ang).max() > allowed_ang:
                raise _refused("its positions and its velocities are not of one step")
        return self


def parse(raw: bytes) -> Contcar:
    """Parse a CONTCAR of VASP 5 or 6.

    Raises
    ------
    EngineError
        If it is truncated, or a number cannot be read.
    """
    lines = raw.decode("latin-1").split("\n")
    try:
        scale = float(lines[1])
        lattice = scale * np.array([line.split()[:3] for line in lines[2:5]], dtype=float)
        counts = [int(word) for word in lines[6].split()]
        symbols = tuple(
            name.split("/")[0] for name, n in zip(lines[5].split(), counts, strict=True) for _ in range(n)
        )
        at = _HEAD
        at += lines[at].strip()[:1].upper() == "S"
        if lines[at].strip()[:1].upper() != "D":
            raise _refused("it is not in direct coordinates")
        n = len(symbols)
        positions = _rows(lines[at + 1 : at + 1 + n], n)
        rest = [line for line in lines[at + 1 + n :] if line.strip()]
        velocities = ahead = None
        if rest and rest[0].strip()[:1].upper() in ("C", "D"):
            rest = rest[1:]
        if rest:
            velocities, rest = _rows(rest[:n], n), rest[n:]
        if rest:
            nose = rest[2].split()
            if len(nose) != _THERMOSTAT or len(rest) != _BLOCKS * (1 + n):
                raise _refused("its predictor-corrector block is cut short")
            [float(word) for word in nose]
            _rows(rest[_BLOCKS:], _BLOCKS * n)
            if int(rest[0]) == 1:
                ahead = _rows(rest[_BLOCKS : _BLOCKS + n], n)
    except (IndexError, ValueError) as error:
        raise _refused(f"it is truncated or damaged ({error})") from error
    if not raw.endswith(b"\n"):
        raise _refused("it is truncated")
    return Contcar(raw, symbols, lattice, positions, velocities, ahead)


def same_frame(one_frac: Array, other_frac: Array) -> bool:
    """Whether two configurations are one within the digits that VASP's outputs hold, images aside."""
    apart = one_frac - other_frac
    return bool(np.abs(apart - np.round(apart)).max(initial=0.0) <= _SAME_FRAC)


def _rows(lines: Sequence[str], count: int) -> Array:
    values = np.array([line.split()[:_AXES] for line in lines], dtype=float)
    if values.shape != (count, _AXES) or not np.isfinite(values).all():
        raise ValueError(f"{count} lines of three numbers expected")
    return values


def _refused(why: str) -> EngineError:
    return EngineError(
        f"The CONTCAR cannot be gone on with: {why}.",
        "Restore the file, or let the segment begin again at the last checkpoint.",
    )
