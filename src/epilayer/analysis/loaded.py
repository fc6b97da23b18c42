"""Transport and solvation in a loaded pore: from the trajectories of all replicas to typed results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epilayer.analysis.displacements import centres, remove_drift, unwrap
from epilayer.analysis.solvation import (
    RadialDistribution,
    ShellCensus,
    neighbours,
    radial_distribution,
    residence_time,
    shell_census,
)
from epilayer.analysis.transport import Carrier, analyse
from epilayer.model.errors import InputError
from epilayer.model.ion_transport import PairShell, Residence, ShellShare, Solvation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from epilayer.model.transport import TransportReport

HOST = "host"
DONORS = ("O", "N", "F")
_CUSTOMARY_ANG = 3.2  # first minimum of Na-O in ether and carbonate electrolytes, where none is found
_FURTHEST_ANG = 6.0
_BIN_ANG = 0.05
_MOST_SHARES = 12


@dataclass(frozen=True)
class Loaded:
    """What is known of the atoms of a loaded pore.

    Parameters
    ----------
    symbols, masses_amu
        (n_atoms,).
    molecule
        (n_atoms,) 0 for the host, 1, 2, ... for the guests.
    name
        (n_atoms,) name of each atom's molecule; ``host`` for the host's.
    charges_e
        Formal charge by molecule name; a molecule without one is no carrier.
    """

    symbols: tuple[str, ...]
    masses_amu: tuple[float, ...]
    molecule: tuple[int, ...]
    name: tuple[str, ...]
    charges_e: Mapping[str, float]

    @property
    def cation(self) -> str:
        """Name of the cation."""
        found = next((n for n, z in self.charges_e.items() if z > 0), None)
        if found is None:
            raise InputError("No guest is a cation.", "Load a salt, such as NaFSI:2.")
        return found

    def members(self, name: str) -> list[NDArray[np.intp]]:
        """Return the atom indices of each molecule of that name."""
        of = np.asarray(self.molecule)
        numbers = sorted({m for m, n in zip(self.molecule, self.name, strict=True) if n == name})
        return [np.flatnonzero(of == m) for m in numbers]

    @property
    def framework(self) -> NDArray[np.intp]:
        """Indices of the host's atoms but hydrogen, whose centre of mass is at rest."""
        host = np.asarray(self.molecule) == 0
        return np.flatnonzero(host & (np.asarray(self.symbols) != "H"))


@dataclass(frozen=True)
class Run:
    """The analysed frames of one trajectory.

    Parameters
    ----------
    positions_ang
        (n_frames, n_atoms, 3) cartesian, Angstrom.
    cell_ang
        (3, 3), Angstrom.
    time_step_fs
        Between frames, fs.
    """

    positions_ang: NDArray[np.float64]
    cell_ang: NDArray[np.float64]
    time_step_fs: float


def transport_of(
    loaded: Loaded, runs: Sequence[Run], temperature_k: float, hop_length_ang: float
) -> TransportReport:
    """Return the transport of every charged guest, replicas as further carriers of the same kind.

    Ions of different replicas are independent, so that the collective displacement of all of them
    together, over all their volumes, is the collective displacement of one.

    Parameters
    ----------
    temperature_k
        For the conductivity, K.
    hop_length_ang
        Distance that counts as one hop, Angstrom.
    """
    tracks = tracks_of(loaded, runs, tuple(loaded.charges_e))
    carriers = [Carrier(name, found, loaded.charges_e[name]) for name, found in tracks.items()]
    volume_ang3 = sum(float(abs(np.linalg.det(run.cell_ang))) for run in runs)
    return analyse(
        carriers,
        time_step_fs=runs[0].time_step_fs,
        frame="framework at rest" if len(loaded.framework) else "as simulated",
        volume_ang3=volume_ang3,
        temperature_k=temperature_k,
        hop_length_ang=hop_length_ang,
    )


def tracks_of(loaded: Loaded, runs: Sequence[Run], names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return the paths of the molecules' centres, all replicas side by side.

    Parameters
    ----------
    names
        Of the molecules to follow.

    Returns
    -------
    By name: (n_frames, n_molecules, 3) unwrapped, the framework at rest, Angstrom; as many frames as the
    shortest replica has.
    """
    if not runs:
        raise InputError("There is no trajectory to analyse.", "Give at least one replica.")
    frames = min(len(run.positions_ang) for run in runs)
    tracks: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for run in runs:
        moved = unwrap(run.positions_ang[:frames], run.cell_ang, coordinates="cartesian")
        if len(loaded.framework):
            moved = remove_drift(moved, loaded.masses_amu, loaded.framework)
        for name, found in tracks.items():
            found.append(centres(moved, loaded.masses_amu, loaded.members(name)))
    return {name: np.concatenate(found, axis=1) for name, found in tracks.items()}


def pair_distributions(loaded: Loaded, runs: Sequence[Run]) -> dict[str, RadialDistribution]:
    """Return the pair distribution of the cation with each element and each group of donors."""
    symbols, groups = np.asarray(loaded.symbols), donor_groups(loaded)
    everything = {f"all {e}": np.flatnonzero(symbols == e) for e in DONORS if e in loaded.symbols}
    around = {**everything, **groups}
    return dict(zip(around, _distributions(loaded, runs, list(around.values())), strict=True))


def _distributions(
    loaded: Loaded, runs: Sequence[Run], partners: Sequence[NDArray[np.intp]]
) -> list[RadialDistribution]:
    cell, positions = runs[0].cell_ang, _positions_frac(runs)
    centre = np.concatenate(loaded.members(loaded.cation))
    furthest = _furthest_ang(cell)
    return [
        radial_distribution(positions, cell, centre, atoms, furthest_ang=furthest, bin_ang=_BIN_ANG)
        for atoms in partners
    ]


def _positions_frac(runs: Sequence[Run]) -> NDArray[np.float64]:
    inverse = np.linalg.inv(runs[0].cell_ang)
    return np.concatenate([run.positions_ang @ inverse for run in runs])


def _furthest_ang(cell_ang: NDArray[np.float64]) -> float:
    """Return how far pairs are counted: whole bins, so that the last one ends within half the cell."""
    height = 1.0 / float(np.linalg.norm(np.linalg.inv(cell_ang), axis=0).max())
    return float(min(_FURTHEST_ANG, _BIN_ANG * np.floor(0.5 * height / _BIN_ANG - 1e-6)))


def solvation_of(loaded: Loaded, runs: Sequence[Run]) -> Solvation:
    """Return the solvation of the cation: pair distributions, shell census, residence times."""
    groups = donor_groups(loaded)
    centre = np.concatenate(loaded.members(loaded.cation))
    cell, positions = runs[0].cell_ang, _positions_frac(runs)
    shells = [
        PairShell(
            centre=loaded.cation,
            partner=partner,
            first_peak_ang=found.first_peak_ang,
            first_minimum_ang=found.first_minimum_ang,
            coordination=found.coordination_number,
        )
        for partner, found in pair_distributions(loaded, runs).items()
    ]
    donors = np.unique(np.concatenate([*groups.values()]))
    whole = _distributions(loaded, runs, [donors])[0]
    if whole.first_minimum_ang is not None:
        cutoff, source = whole.first_minimum_ang, "first minimum of the pair distribution with O, N and F"
    else:
        cutoff, source = min(_CUSTOMARY_ANG, _furthest_ang(cell)), "customary; no minimum was found"
    census = shell_census(positions, cell, centre, {n: (a, cutoff) for n, a in groups.items()})
    return Solvation(
        shells=tuple(shells),
        cutoff_ang=cutoff,
        cutoff_source=source,
        mean=census.mean,
        shares=tuple(
            ShellShare(neighbours=dict(zip(census.groups, key, strict=True)), share=share)
            for key, share in list(census.shares.items())[:_MOST_SHARES]
        ),
        share_with_anion_and_chain=_share_with_anion_and_chain(loaded, census),
        residence=tuple(_residence(runs, centre, name, atoms, cutoff) for name, atoms in groups.items()),
    )


def _share_with_anion_and_chain(loaded: Loaded, census: ShellCensus) -> float | None:
    """Return how often an anion and a chain are in the shell at once; nothing where one kind is absent."""
    negative = {name for name, charge_e in loaded.charges_e.items() if charge_e < 0}
    at: dict[str, list[int]] = {"anion": [], "chain": []}
    for k, group in enumerate(census.groups):
        of = group.split("(", 1)[1].removesuffix(")")
        if of in negative:
            at["anion"].append(k)
        elif of not in (HOST, loaded.cation):
            at["chain"].append(k)
    if not (at["anion"] and at["chain"]):
        return None
    shares = (s for key, s in census.shares.items() if all(any(key[k] for k in of) for of in at.values()))
    return min(sum(shares), 1.0)


def _residence(
    runs: Sequence[Run], centre: NDArray[np.intp], partner: str, atoms: NDArray[np.intp], cutoff_ang: float
) -> Residence:
    cell = runs[0].cell_ang
    inverse = np.linalg.inv(cell)
    frames = min(len(run.positions_ang) for run in runs)
    bound = [
        neighbours(run.positions_ang[:frames] @ inverse, cell, centre, atoms, cutoff_ang).reshape(frames, -1)
        for run in runs
    ]
    stays = residence_time(np.concatenate(bound, axis=1), runs[0].time_step_fs * 1e-3)
    return Residence(
        partner=partner,
        mean_ps=stays.mean_ps,
        lower_ps=stays.lower_ps,
        upper_ps=stays.upper_ps,
        departures=stays.departures,
    )


def donor_groups(loaded: Loaded) -> dict[str, NDArray[np.intp]]:
    """Return the donor atoms by element and molecule, such as ``O (fsi)``."""
    symbols, names = np.asarray(loaded.symbols), np.asarray(loaded.name)
    found = {}
    for name in dict.fromkeys(loaded.name):
        for element in DONORS:
            atoms = np.flatnonzero((symbols == element) & (names == name))
            if len(atoms):
                found[f"{element} ({name})"] = atoms
    if not found:
        raise InputError("There is no O, N or F around the cation.", "Load a salt or a polymer.")
    return found
