"""Relaxing guests inside a fixed host: each molecule's own force field, and soft walls between them.

This cleans a start; its energy is not a result. Within a molecule MMFF94s (UFF where MMFF has no
parameters) keeps bonds, angles and torsions. Between molecules, and between guest and host, atoms only
repel, from the sum of their van der Waals radii inwards; a guest cation is drawn to O, N and F by a well
at the sum of covalent radii, which would press its donors together: so every pair that the checks of the
finished pore measure, those of one molecule included, meets a stiff spring just outside their limit.
So nothing can react, and the host stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.optimize import minimize

from epilayer.model.elements import ALKALI
from epilayer.structures.chain_growth import BONDED_REACH, MIN_HEAVY_ANG, MIN_HYDROGEN_ANG
from epilayer.structures.molecules import force_field
from epilayer.structures.sites import ACCEPTORS, contact_target_ang
from epilayer.structures.void import widths_ang

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from epilayer.structures.chain_growth import Guest

    Floats = NDArray[np.float64]

_EV_PER_KCAL_MOL: Final = 0.0433641
#: Depth scale of the repulsion (that of a Lennard-Jones pair of first-row atoms) and of the cation's well.
_WALL_EV: Final = 0.004
_WELL_EV: Final = 0.25
#: contact_target_ang is 0.85 of the van der Waals sum; the wall begins at the sum itself.
_WALL_SCALE: Final = 1 / 0.85
#: A cation's wall towards anything but a donor, as a multiple of its contact.
_CATION_WALL_SCALE: Final = 1.1
_WELL_REACH_ANG: Final = 5.0
#: The spring begins so far outside the limit of the pore checks.
_MARGIN_ANG: Final = 0.2
_SPRING_EV_PER_ANG2: Final = 5.0
_SKIN_ANG: Final = 1.0
_MAX_STEPS: Final = 1500
_FORCE_EV_PER_ANG: Final = 0.03


@dataclass(frozen=True)
class Relaxed:
    """Guests after relaxing: coordinates in the order given (A, unwrapped), and how it went."""

    coords: Floats
    steps: int
    max_force_ev_per_ang: float


def relax(host: Structure, guests: Sequence[Guest], coords: Sequence[Floats]) -> Relaxed:
    """Relax guests in a host that does not move.

    Parameters
    ----------
    host
        The framework.
    guests
        What is in it, ions included, one entry a molecule.
    coords
        Start of each, A, unwrapped, shape (atoms, 3).
    """
    energy = _Energy(host, guests, coords)
    start = np.concatenate(coords).reshape(-1)
    done = minimize(
        energy,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_STEPS, "maxfun": 2 * _MAX_STEPS, "gtol": _FORCE_EV_PER_ANG, "ftol": 1e-9},
    )
    _, gradient = energy(done.x)
    forces = np.linalg.norm(gradient.reshape(-1, 3), axis=1)
    return Relaxed(done.x.reshape(-1, 3), int(done.nit), float(forces.max(initial=0.0)))


class _Energy:
    """Energy (eV) and gradient (eV/A) of all guests as a function of their flattened coordinates."""

    def __init__(self, host: Structure, guests: Sequence[Guest], coords: Sequence[Floats]) -> None:
        symbols = [symbol for guest in guests for symbol in guest.symbols]
        sizes = [len(x) for x in coords]
        self.bounds = np.cumsum([0, *sizes])
        self.fields: list[Any] = [
            force_field(g.ligand, x) if len(x) > 1 else None for g, x in zip(guests, coords, strict=True)
        ]
        self.owner = np.repeat(np.arange(len(sizes)), sizes)
        self.host: Floats = np.asarray(host.cart_coords, dtype=float)
        self.matrix = host.lattice.matrix
        self.inverse = np.linalg.inv(self.matrix)
        every = [*symbols, *(site.specie.symbol for site in host)]
        kinds = sorted(set(every))
        kind = np.array([kinds.index(symbol) for symbol in every])
        mobile = set(symbols).intersection(ALKALI)
        radius = np.array([[_radius_ang(a, b, mobile) for b in kinds] for a in kinds])
        well = np.array([[_is_well(a, b, mobile) for b in kinds] for a in kinds])
        spring = np.array([[_spring_ang(a, b, mobile) for b in kinds] for a in kinds])
        count = len(symbols)
        pairs = np.ix_(kind[:count], kind)
        self.radius, self.well, self.spring = radius[pairs], well[pairs], spring[pairs]
        self.bonded = np.zeros((count, count), dtype=bool)
        for guest, low in zip(guests, self.bounds, strict=False):
            inside = slice(low, low + len(guest.symbols))
            self.bonded[inside, inside] = guest.distances <= BONDED_REACH
        reach = np.where(self.well, _WELL_REACH_ANG, np.maximum(self.radius, self.spring))
        # Nearest images are all there is as long as no pair reaches over half the cell.
        self.reach = np.minimum(reach + _SKIN_ANG, float(widths_ang(host.lattice).min()) / 2)
        self.listed_at: Floats = np.empty((0, 3))

    def __call__(self, flat: Floats) -> tuple[float, Floats]:
        x = flat.reshape(-1, 3)
        if len(self.listed_at) == 0 or np.abs(x - self.listed_at).max() > _SKIN_ANG / (2 * np.sqrt(3)):
            self._list_pairs(x)
        energy_ev, gradient = self._pairs(x)
        for field, low, high in zip(self.fields, self.bounds, self.bounds[1:], strict=False):
            if field is not None:
                own = x[low:high].reshape(-1).tolist()
                energy_ev += _EV_PER_KCAL_MOL * field.CalcEnergy(own)
                gradient[low:high] += _EV_PER_KCAL_MOL * np.reshape(field.CalcGrad(own), (-1, 3))
        return energy_ev, gradient.reshape(-1)

    def _list_pairs(self, x: Floats) -> None:
        every = np.concatenate([x, self.host])
        away = every[None] - x[:, None]
        shift = -np.round(away @ self.inverse)
        distances = np.linalg.norm(away + shift @ self.matrix, axis=2)
        near = distances < self.reach
        # Atoms of one molecule are the force field's, unless they meet through another cell.
        count = len(x)
        same = np.zeros_like(near)
        same[:, :count] = (self.owner[:, None] == self.owner[None, :]) & ~shift[:, :count].any(axis=2)
        near[:, :count] &= ~(same[:, :count] & self.bonded)
        near[:, :count] &= np.triu(np.ones((count, count), dtype=bool), 1)
        self.i, self.j = np.nonzero(near)
        self.pair_is_own = same[self.i, self.j]
        self.pair_spring = self.spring[self.i, self.j]
        self.shift = shift[self.i, self.j] @ self.matrix
        self.pair_radius, self.pair_well = self.radius[self.i, self.j], self.well[self.i, self.j]
        self.listed_at = x.copy()

    def _pairs(self, x: Floats) -> tuple[float, Floats]:
        count = len(x)
        every = np.concatenate([x, self.host])
        away = every[self.j] + self.shift - x[self.i]
        distance = np.maximum(np.linalg.norm(away, axis=1), 0.3)  # two atoms on one spot still part
        sixth = (self.pair_radius / distance) ** 6
        wall = ~self.pair_well & ~self.pair_is_own & (distance < self.pair_radius)
        depth = np.where(self.pair_well, _WELL_EV, _WALL_EV)
        active = wall | (self.pair_well & (distance < _WELL_REACH_ANG))
        at_reach = np.where(self.pair_well, (self.pair_radius / _WELL_REACH_ANG) ** 6, 1.0)
        energies = depth * ((sixth**2 - 2 * sixth) - (at_reach**2 - 2 * at_reach))
        slope = np.where(active, depth * 12 * (sixth - sixth**2) / distance, 0.0)
        pressed_ang = np.maximum(self.pair_spring - distance, 0.0)
        slope -= 2 * _SPRING_EV_PER_ANG2 * pressed_ang
        pull = (slope / distance)[:, None] * away
        gradient = np.zeros((count, 3))
        np.add.at(gradient, self.i, -pull)
        guests = self.j < count
        np.add.at(gradient, self.j[guests], pull[guests])
        energy_ev = energies[active].sum() + _SPRING_EV_PER_ANG2 * (pressed_ang**2).sum()
        return float(energy_ev), gradient


def _is_well(first: str, second: str, mobile: set[str]) -> bool:
    return bool({first, second} & mobile) and bool({first, second} & ACCEPTORS)


def _radius_ang(first: str, second: str, mobile: set[str]) -> float:
    contact_ang = contact_target_ang(first, second)
    if _is_well(first, second, mobile):
        return contact_ang
    return contact_ang * (_CATION_WALL_SCALE if {first, second} & mobile else _WALL_SCALE)


def _spring_ang(first: str, second: str, mobile: set[str]) -> float:
    """Return where the spring of a pair begins, A; a cation and its donor have none."""
    if _is_well(first, second, mobile):
        return 0.0
    return _MARGIN_ANG + (MIN_HYDROGEN_ANG if "H" in {first, second} else MIN_HEAVY_ANG)
