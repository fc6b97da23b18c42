"""Checks of a loaded pore, measured from the coordinates alone.

Distances are to the nearest image. What counts as a contact:

- every pair of a guest atom with a host atom, with an atom of another guest, or with an atom of its own
  molecule more than three bonds away (1-5 and beyond);
- not: bonds of the host with itself, and a guest cation with a donor (N, O, F, S, Cl), which is its
  coordination (Na...O 2.3 to 2.5 A) and has limits of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from epilayer.model.base import Frozen
from epilayer.model.covalent import BOND_SCALE, covalent_radii_ang
from epilayer.model.elements import ALKALI
from epilayer.model.units import Ang
from epilayer.structures.chain_growth import BONDED_REACH, MIN_HEAVY_ANG, MIN_HYDROGEN_ANG
from epilayer.structures.sites import ACCEPTORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from epilayer.structures.chain_growth import Guest

    Floats = NDArray[np.float64]

#: Donors that count as holding a cation, and how near one must be (Na: 3 A; others by ionic radius).
HOLDERS: Final = frozenset({"O", "N", "F"})
CATION_REACH_ANG: Final = {"Li": 2.7, "Na": 3.0, "K": 3.4, "Rb": 3.5, "Cs": 3.7}
#: A cation nearer to a donor than this share of their covalent radii is pressed into it (Na...O 2.0 A).
_CATION_FLOOR_FRACTION: Final = 0.86
#: A relaxed guest's bonds may differ so much from the free molecule's.
_BOND_CHANGE_ANG: Final = 0.1
_HOST_MOVE_ANG: Final = 1e-6


class Check(Frozen):
    """One check: what was asked, what was found."""

    name: str
    asked: str
    found: str
    holds: bool


class Contact(Frozen):
    """The closest pair of one kind, atoms by element and index in the structure."""

    kind: str
    first: str
    second: str
    distance_ang: Ang


class Donor(Frozen):
    """An atom that holds a cation."""

    atom: int
    element: str
    molecule: int
    distance_ang: Ang


@dataclass(frozen=True)
class _Measured:
    symbols: NDArray[np.str_]
    distances: Floats  # (guest atoms, atoms), A
    owner: NDArray[np.int_]  # (atoms,), 0 for the host
    bonds: dict[tuple[int, int], float]  # reference lengths, indices in the structure
    contact: NDArray[np.bool_]  # (guest atoms, atoms)
    radii: Floats  # (atoms,), covalent, A
    first_guest: int


def check_pore(structure: Structure, host: Structure, guests: Sequence[Guest]) -> tuple[Check, ...]:
    """Check a loaded pore.

    Parameters
    ----------
    structure
        Host atoms first, in the host's order, then the guests' in theirs.
    host
        The empty framework.
    guests
        One entry a molecule, in order.

    Returns
    -------
    tuple of Check
        Valid when every one holds: formula, neutral, host unmoved, bonds kept, no new bonds,
        heavy-heavy >= 2.5 A, H-heavy >= 1.7 A, H-H >= 1.7 A, and every cation held.
    """
    symbols = [site.specie.symbol for site in structure]
    expected = [site.specie.symbol for site in host] + [s for guest in guests for s in guest.symbols]
    formula = Check(
        name="formula",
        asked="host and guests, atom for atom",
        found=f"{structure.composition.formula}, {len(symbols)} atoms",
        holds=symbols == expected,
    )
    if not formula.holds:
        return (formula,)  # nothing else can be assigned atom by atom
    charge = sum(guest.ligand.charge for guest in guests)
    moved = structure.frac_coords[: len(host)] - host.frac_coords
    moved_ang = float(np.linalg.norm((moved - np.round(moved)) @ host.lattice.matrix, axis=1).max())
    measured = _measure(structure, len(host), guests)
    return (
        formula,
        Check(name="neutral", asked="total charge 0", found=f"{charge:+d}", holds=charge == 0),
        Check(
            name="host unmoved",
            asked=f"no atom by more than {_HOST_MOVE_ANG:g} A",
            found=f"{moved_ang:.1e} A",
            holds=moved_ang <= _HOST_MOVE_ANG,
        ),
        *_bond_checks(measured),
        *_contact_checks(measured),
        *_cation_checks(measured),
    )


def closest_contacts(structure: Structure, host_atoms: int, guests: Sequence[Guest]) -> tuple[Contact, ...]:
    """Return the closest heavy-heavy, H-heavy and H-H contact (as the checks count them)."""
    return tuple(c for c, _ in _closest(_measure(structure, host_atoms, guests)) if c is not None)


def donors_near(
    structure: Structure, host_atoms: int, guests: Sequence[Guest]
) -> dict[int, tuple[Donor, ...]]:
    """Return what holds each cation, nearest first: donors within its reach, and always the nearest."""
    return _donors(_measure(structure, host_atoms, guests))


def _measure(structure: Structure, host_atoms: int, guests: Sequence[Guest]) -> _Measured:
    frac, matrix = structure.frac_coords, structure.lattice.matrix
    away = frac[None] - frac[host_atoms:, None]
    distances = np.linalg.norm((away - np.round(away)) @ matrix, axis=2)
    owner = np.zeros(len(structure), dtype=int)
    bonds: dict[tuple[int, int], float] = {}
    symbols = np.array([site.specie.symbol for site in structure])
    contact = np.ones_like(distances, dtype=bool)
    start = host_atoms
    for number, guest in enumerate(guests, start=1):
        stop = start + len(guest.symbols)
        owner[start:stop] = number
        contact[start - host_atoms : stop - host_atoms, start:stop] = guest.distances > BONDED_REACH
        for i, j in guest.bonds:
            length_ang = float(np.linalg.norm(guest.coords[i] - guest.coords[j]))
            bonds[start + i, start + j] = length_ang
        start = stop
    mobile = np.isin(symbols, sorted(ALKALI)) & (owner > 0)
    donor = np.isin(symbols, sorted(ACCEPTORS))
    contact &= ~(mobile[host_atoms:, None] & donor) & ~(donor[host_atoms:, None] & mobile)
    np.fill_diagonal(contact[:, host_atoms:], val=False)
    return _Measured(symbols, distances, owner, bonds, contact, covalent_radii_ang(symbols), host_atoms)


def _label(m: _Measured, atom: int) -> str:
    return f"{m.symbols[atom]}{atom}"


def _bond_checks(m: _Measured) -> tuple[Check, Check]:
    start = m.first_guest
    changes = [(abs(m.distances[i - start, j] - ref), i, j) for (i, j), ref in m.bonds.items()]
    worst_ang, i, j = max(changes, default=(0.0, 0, 0))
    change = f"{_label(m, i)}-{_label(m, j)} by {worst_ang:.3f} A" if changes else "no bonds"
    near = m.distances < BOND_SCALE * (m.radii[start:, None] + m.radii)
    mobile = np.isin(m.symbols, sorted(ALKALI)) & (m.owner > 0)
    near &= ~mobile[start:, None] & ~mobile
    np.fill_diagonal(near[:, start:], val=False)
    for a, b in m.bonds:
        near[a - start, b] = near[b - start, a] = False
    new = sorted({(min(a + start, b), max(a + start, b)) for a, b in np.argwhere(near).tolist()})
    return (
        Check(
            name="bonds kept",
            asked=f"each of {len(m.bonds)} within {_BOND_CHANGE_ANG:g} A of the free molecule's",
            found=f"largest change {change}",
            holds=worst_ang <= _BOND_CHANGE_ANG,
        ),
        Check(
            name="no new bonds",
            asked=f"no other pair within {BOND_SCALE:g} x the sum of covalent radii",
            found=", ".join(f"{_label(m, a)}-{_label(m, b)}" for a, b in new[:3]) or "none",
            holds=not new,
        ),
    )


def _closest(m: _Measured) -> list[tuple[Contact | None, float]]:
    """Return the closest contact of each kind, and the least distance allowed."""
    hydrogen = m.symbols == "H"
    row = hydrogen[m.first_guest :, None]
    kinds = (
        ("heavy-heavy", ~row & ~hydrogen, MIN_HEAVY_ANG),
        ("H-heavy", row ^ hydrogen, MIN_HYDROGEN_ANG),
        ("H-H", row & hydrogen, MIN_HYDROGEN_ANG),
    )
    found: list[tuple[Contact | None, float]] = []
    for kind, of_kind, bar_ang in kinds:
        distances = np.where(m.contact & of_kind, m.distances, np.inf)
        i, j = (int(x) for x in np.unravel_index(np.argmin(distances), distances.shape))
        contact = None
        if np.isfinite(distances[i, j]):
            first, second = _label(m, i + m.first_guest), _label(m, j)
            contact = Contact(kind=kind, first=first, second=second, distance_ang=float(distances[i, j]))
        found.append((contact, bar_ang))
    return found


def _contact_checks(m: _Measured) -> list[Check]:
    return [
        Check(
            name=c.kind,
            asked=f"at least {bar_ang:g} A",
            found=f"{c.distance_ang:.2f} A ({c.first}...{c.second})",
            holds=c.distance_ang >= bar_ang,
        )
        for c, bar_ang in _closest(m)
        if c is not None
    ]


def _donors(m: _Measured) -> dict[int, tuple[Donor, ...]]:
    holders = np.flatnonzero(np.isin(m.symbols, sorted(HOLDERS)))
    found: dict[int, tuple[Donor, ...]] = {}
    for atom in np.flatnonzero(np.isin(m.symbols, sorted(ALKALI)) & (m.owner > 0)).tolist():
        distances = m.distances[atom - m.first_guest, holders]
        ranked = np.argsort(distances, kind="stable")
        reach_ang = CATION_REACH_ANG[str(m.symbols[atom])]
        near = [k for rank, k in enumerate(ranked) if rank == 0 or distances[k] <= reach_ang]
        found[atom] = tuple(
            Donor(
                atom=int(holders[k]),
                element=str(m.symbols[holders[k]]),
                molecule=int(m.owner[holders[k]]),
                distance_ang=float(distances[k]),
            )
            for k in near
        )
    return found


def _cation_checks(m: _Measured) -> list[Check]:
    checks = []
    for atom, donors in _donors(m).items():
        nearest = donors[0] if donors else None
        symbol = str(m.symbols[atom])
        reach_ang = CATION_REACH_ANG[symbol]
        floor_ang = (
            0.0 if nearest is None else _CATION_FLOOR_FRACTION * (m.radii[atom] + m.radii[nearest.atom])
        )
        checks.append(
            Check(
                name=f"{_label(m, atom)} held",
                asked=f"O, N or F within {reach_ang:g} A, none pressed in",
                found=f"{nearest.element}{nearest.atom} at {nearest.distance_ang:.2f} A"
                if nearest
                else "none",
                holds=nearest is not None and floor_ang <= nearest.distance_ang <= reach_ang,
            )
        )
    return checks
