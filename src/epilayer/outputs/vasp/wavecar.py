"""The head of a WAVECAR: enough to know whose orbitals it holds and whether all of them are there.

Layout (VASP wiki, WAVECAR): records of one length; the first holds that length, the number of spins
and a tag of precision, the second the numbers of k-points and bands, the cutoff and the cell; then for
each spin and k-point one record of energies and one a band.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from epilayer.model.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_TAGS = frozenset({45200, 45210, 53300, 53310})
"""Single and double precision, of VASP 5 and 6 and of VASP 6's second layout."""
_HEAD_RECORDS = 2
_SECOND = 12
_SANE = 1 << 40
_SAME_EV = 1e-3
_SAME_ANG = 1e-4
_REMEDY = "Leave it out: VASP then starts from random orbitals."


@dataclass(frozen=True)
class WavecarHeader:
    """What a WAVECAR says of itself.

    Attributes
    ----------
    lattice_ang
        Shape (3, 3), rows are the lattice vectors.
    whole
        Whether the file is as long as its header says.
    """

    path: str
    spins: int
    k_points: int
    bands: int
    encut_ev: float
    lattice_ang: NDArray[np.float64]
    expected_bytes: int
    actual_bytes: int

    @property
    def whole(self) -> bool:
        """Whether no record is missing."""
        return self.actual_bytes >= self.expected_bytes

    def mismatch(
        self,
        *,
        encut_ev: float,
        lattice_ang: ArrayLike,
        spins: int,
        bands: int | None = None,
        most_k_points: int | None = None,
    ) -> str | None:
        """Say in words why a calculation with these settings may not start from it; ``None`` if it may.

        Parameters
        ----------
        bands
            The least number of bands; VASP rounds up to what its processes share.
        most_k_points
            Divisions of the mesh multiplied: symmetry leaves as many or fewer.
        """
        least = None if most_k_points is None else (most_k_points + 1) // 2
        checks = (
            (self.whole, f"it is cut short ({self.actual_bytes} of {self.expected_bytes} bytes)"),
            (
                abs(self.encut_ev - encut_ev) <= _SAME_EV,
                f"its cutoff is {self.encut_ev:g} eV, not {encut_ev:g} eV",
            ),
            (
                np.allclose(self.lattice_ang, np.asarray(lattice_ang), atol=_SAME_ANG),
                "its cell is another one",
            ),
            (self.spins == spins, f"it holds {self.spins} spin channels, not {spins}"),
            (bands is None or self.bands >= bands, f"it holds {self.bands} bands, fewer than {bands}"),
            (
                least is None or most_k_points is None or least <= self.k_points <= most_k_points,
                f"it holds {self.k_points} k-points, the mesh has {most_k_points}",
            ),
        )
        return next((what for fits, what in checks if not fits), None)


def read_wavecar_header(path: str | Path) -> WavecarHeader:
    """Read the two leading records.

    Raises
    ------
    InputError
        If the file is not a WAVECAR, or too short to hold them.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            first = stream.read(24)
            if len(first) < 24:  # noqa: PLR2004  (three numbers)
                raise InputError(f"{path} is empty or cut short.", _REMEDY)
            length, spins, tag = struct.unpack("<3d", first)
            if not (96 <= length < _SANE and spins in (1, 2) and tag in _TAGS):  # noqa: PLR2004
                raise InputError(f"{path} is not a WAVECAR.", _REMEDY)
            stream.seek(int(length))
            second = stream.read(8 * _SECOND)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).", _REMEDY) from error
    if len(second) < 8 * _SECOND:
        raise InputError(f"{path} is cut short.", _REMEDY)
    values = struct.unpack(f"<{_SECOND}d", second)
    k_points, bands, encut_ev = values[:3]
    sane = np.isfinite(values).all() and 0 < k_points < _SANE and 0 < bands < _SANE and encut_ev > 0
    if not sane:
        raise InputError(f"{path}: its header is damaged.", _REMEDY)
    records = _HEAD_RECORDS + int(spins) * int(k_points) * (1 + int(bands))
    return WavecarHeader(
        path=str(path),
        spins=int(spins),
        k_points=int(k_points),
        bands=int(bands),
        encut_ev=encut_ev,
        lattice_ang=np.array(values[3:]).reshape(3, 3),
        expected_bytes=records * int(length),
        actual_bytes=size,
    )
