"""The judge finds every fault that is put in by hand, and only that one."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from epilayer.model.ligand import Ligand
from epilayer.structures import molecules, pore_checks
from epilayer.structures.chain_growth import Guest

HOST = Structure(
    Lattice.cubic(16), ["Zn", "N", "C", "H"], [[0, 0, 0], [0.13, 0, 0], [0.2, 0.05, 0], [0.2, 0.12, 0]]
)
ION = Ligand(name="na", formula="Na", smiles="[Na+]", charge=1, source="an ion for this test")
FORMATE = Ligand(name="formate", formula="CHO2", smiles="C(=O)[O-]", charge=-1, source="an ion for this test")
GUESTS = (Guest(ION), Guest(FORMATE), Guest(molecules.chain("pom", 2)))
FORMATE_AT, CHAIN_AT = 5, 9


def built(guests: tuple[Guest, ...] = GUESTS) -> tuple[list[str], np.ndarray]:
    _, formate, chain = guests
    oxygen = formate.coords[formate.symbols.index("O")]
    outwards = oxygen - formate.coords.mean(axis=0)
    anion = formate.coords + 8.0
    cation = oxygen + 8.0 + 2.35 * outwards / np.linalg.norm(outwards)
    coords = np.vstack([HOST.cart_coords, cation, anion, chain.coords + np.array([8.0, 3.0, 13.0])])
    symbols = [s.specie.symbol for s in HOST] + [s for g in guests for s in g.symbols]
    return symbols, coords


def verdict(symbols: list[str], coords: np.ndarray, guests: tuple[Guest, ...] = GUESTS) -> set[str]:
    structure = Structure(HOST.lattice, symbols, coords, coords_are_cartesian=True)
    return {c.name for c in pore_checks.check_pore(structure, HOST, guests) if not c.holds}


def test_a_sound_one_passes_every_item() -> None:
    symbols, coords = built()
    structure = Structure(HOST.lattice, symbols, coords, coords_are_cartesian=True)
    checks = pore_checks.check_pore(structure, HOST, GUESTS)
    assert {c.name: c.holds for c in checks} == dict.fromkeys([c.name for c in checks], True)
    names = "formula;neutral;host unmoved;bonds kept;no new bonds;heavy-heavy;H-heavy;H-H;Na4 held"
    assert [c.name for c in checks] == names.split(";")


def atom(symbol: str) -> int:
    return CHAIN_AT + GUESTS[2].symbols.index(symbol)


@pytest.mark.parametrize(
    ("element", "target", "offset_ang", "found"),
    [
        ("C", "C", 2.4, {"heavy-heavy"}),
        ("O", "Zn", 2.4, {"heavy-heavy"}),
        ("H", "C", 1.6, {"H-heavy"}),
        ("H", "H", 1.6, {"H-H"}),
        ("O", "C", 1.45, {"heavy-heavy", "no new bonds"}),
    ],
)
def test_a_chain_atom_moved_onto_the_host(
    element: str, target: str, offset_ang: float, found: set[str]
) -> None:
    """The whole chain is moved, so that its bonds stay; the moved atom leads, the rest points away."""
    symbols, coords = built()
    lead = atom(element)
    host_atom = [s.specie.symbol for s in HOST].index(target)
    chain = coords[CHAIN_AT:] - coords[lead]
    # Of many orientations, the one whose other atoms stay furthest from the host.
    rng = np.random.default_rng(0)
    best, score = coords, -1.0
    for _ in range(4000):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        way = rng.normal(size=3)
        moved = coords.copy()
        moved[CHAIN_AT:] = chain @ turn + coords[host_atom] + offset_ang * way / np.linalg.norm(way)
        others = [k for k in range(CHAIN_AT, len(coords)) if k != lead]
        to_others = HOST.lattice.get_all_distances(
            HOST.lattice.get_fractional_coords(moved[others]),
            HOST.lattice.get_fractional_coords(moved[:CHAIN_AT]),
        )
        lead_to_host = HOST.lattice.get_all_distances(
            HOST.lattice.get_fractional_coords(moved[[lead]]), np.delete(HOST.frac_coords, host_atom, axis=0)
        )
        value = min(to_others.min(), lead_to_host.min())
        if value > score:
            best, score = moved, float(value)
    failed = verdict(symbols, best)
    assert found <= failed
    assert failed <= {"heavy-heavy", "H-heavy", "H-H", "no new bonds"}


def test_a_stretched_bond() -> None:
    symbols, coords = built()
    hydrogen = next(max(i, j) for i, j in GUESTS[2].bonds if GUESTS[2].symbols[max(i, j)] == "H") + CHAIN_AT
    partner = next(i + CHAIN_AT for i, j in GUESTS[2].bonds if j + CHAIN_AT == hydrogen)
    coords[hydrogen] += (
        0.15 * (coords[hydrogen] - coords[partner]) / np.linalg.norm(coords[hydrogen] - coords[partner])
    )
    assert "bonds kept" in verdict(symbols, coords)


def test_a_cation_without_a_donor_and_one_pressed_in() -> None:
    symbols, coords = built()
    away = coords.copy()
    away[4] = [4.0, 8.0, 4.0]
    assert verdict(symbols, away) == {"Na4 held"}
    pressed = coords.copy()
    oxygen = FORMATE_AT + GUESTS[1].symbols.index("O")
    way = coords[4] - coords[oxygen]
    pressed[4] = coords[oxygen] + 1.9 * way / np.linalg.norm(way)
    assert "Na4 held" in verdict(symbols, pressed)


def test_a_moved_host_a_charge_and_a_lost_atom() -> None:
    symbols, coords = built()
    moved = coords.copy()
    moved[0] += [0.001, 0, 0]
    assert verdict(symbols, moved) == {"host unmoved"}
    without_ion = [*symbols[:4], *symbols[5:]]
    charged = verdict(without_ion, np.delete(coords, 4, axis=0), GUESTS[1:])
    assert charged == {"neutral"}
    assert verdict(symbols[:-1], coords[:-1]) == {"formula"}


def test_a_chain_that_meets_its_own_image_is_found() -> None:
    """Images of one molecule are judged like another molecule."""
    narrow = Structure(Lattice.orthorhombic(9.2, 16, 16), ["Zn"], [[0, 0, 0]])
    guest = Guest(molecules.chain("pom", 4))
    line = guest.coords - guest.coords.mean(axis=0)
    _, _, axes = np.linalg.svd(line)
    coords = np.vstack([[0, 0, 0], line @ axes.T + [4.6, 8, 8]])
    structure = Structure(narrow.lattice, ["Zn", *guest.symbols], coords, coords_are_cartesian=True)
    length_ang = np.ptp(coords[1:, 0])
    failed = {c.name for c in pore_checks.check_pore(structure, narrow, (guest,)) if not c.holds}
    assert bool(failed) == (length_ang > 9.2 - 2.0)


def test_contacts_do_not_depend_on_the_order_of_the_host() -> None:
    symbols, coords = built()
    order = [2, 0, 3, 1, *range(4, len(symbols))]
    first = pore_checks.closest_contacts(
        Structure(HOST.lattice, symbols, coords, coords_are_cartesian=True), 4, GUESTS
    )
    shuffled = Structure(
        HOST.lattice,
        [symbols[k] for k in order],
        coords[order] + [1.7, -20.3, 33.0],
        coords_are_cartesian=True,
    )
    second = pore_checks.closest_contacts(shuffled, 4, GUESTS)
    assert [(c.kind, round(c.distance_ang, 6)) for c in first] == [
        (c.kind, round(c.distance_ang, 6)) for c in second
    ]
