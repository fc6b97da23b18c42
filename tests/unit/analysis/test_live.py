"""Warnings of a running trajectory: each comes when it should, none when all is well."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import molecule

from epilayer.analysis.integrity import BondWatch
from epilayer.analysis.live import Temperatures, mobility, warnings_of
from epilayer.model.errors import InputError

CELL = np.eye(3) * 12.0
ETHER = molecule("CH3OCH3")
WATER = molecule("H2O")
SYMBOLS = [*ETHER.get_chemical_symbols(), *WATER.get_chemical_symbols(), "Na"]
START = np.vstack([ETHER.positions + 3.0, WATER.positions + 8.0, [[6.0, 6.0, 6.0]]])
MOLECULES = [1] * len(ETHER) + [2] * len(WATER) + [3]
N = len(SYMBOLS)


def frames(last: np.ndarray, count: int = 10) -> np.ndarray:
    rng = np.random.default_rng(2)
    return last + rng.normal(scale=0.02, size=(count, N, 3))


def kinds(recent: np.ndarray, **changes: Any) -> list[str]:  # noqa: ANN401
    told: dict[str, Any] = {
        "temperatures_k": np.full(len(recent), 350.0),
        "wanted_k": 353.15,
        "degrees_of_freedom": 3 * N,
        "free": np.ones(N, dtype=bool),
        "molecules": MOLECULES,
        **changes,
    }
    names = ("temperatures_k", "wanted_k", "degrees_of_freedom")
    temperatures = Temperatures(*(told.pop(name) for name in names))
    return [w.kind for w in warnings_of(recent, START, CELL, SYMBOLS, temperatures, **told)]


def test_all_is_well() -> None:
    assert kinds(frames(START)) == []
    assert kinds(frames(START) % 12.0) == []  # wrapped or not
    assert kinds(frames(START), temperatures_k=np.full(10, np.nan)) == []


def test_exploding() -> None:
    assert kinds(frames(START), temperatures_k=np.full(10, 900.0)) == ["exploding"]
    # A small system fluctuates: 500 K is nothing for four degrees of freedom.
    small = {"temperatures_k": np.full(10, 500.0), "degrees_of_freedom": 4}
    assert kinds(frames(START), **small) == []


def test_frozen_counts_only_what_may_move() -> None:
    assert kinds(np.repeat(START[None], 10, axis=0)) == ["frozen"]
    recent = np.repeat(START[None], 10, axis=0)
    recent[:, -1] += np.linspace(0, 0.3, 10)[:, None]
    free = np.zeros(N, dtype=bool)
    free[-1] = True
    assert kinds(recent, free=free) == []


def test_a_broken_guest_and_a_reaction() -> None:
    broken = START.copy()
    oxygen = SYMBOLS.index("O")
    away = broken[oxygen] - broken[0]
    carbons = [i for i in range(len(ETHER)) if SYMBOLS[i] == "C"]
    broken[carbons[0]] += np.array([0.0, 3.0, 0.0])
    assert "broken guest" in kinds(frames(broken))
    assert np.isfinite(away).all()
    met = START.copy()
    met[len(ETHER) + 1] = START[oxygen] + np.array([0.0, 0.0, 0.8])  # a water's H on the ether's O
    assert "reaction" in kinds(frames(met))


def test_a_stretch_is_no_break() -> None:
    """Only the last of ten frames is stretched."""
    recent = frames(START)
    recent[-1, 0] += 2.0
    assert kinds(recent) == []


def test_sodium_has_no_bonds() -> None:
    near = START.copy()
    near[-1] = START[SYMBOLS.index("O")] + np.array([0.0, 0.0, 1.9])
    assert BondWatch(SYMBOLS, START, CELL).changes(near) == []


def test_no_frame_yet() -> None:
    with pytest.raises(InputError, match="no frame yet"):
        kinds(np.zeros((0, N, 3)), temperatures_k=np.zeros(0))


def test_mobility_by_name() -> None:
    steps = np.arange(21)[:, None, None]
    positions = np.zeros((21, 3, 3)) + np.array([1.0, 0, 0]) * steps * np.array([0.1, 0.0, 0.0])[:, None]
    free = np.array([True, True, False])
    found = mobility(positions, CELL, "cartesian", ["na", "fsi", "host Zn"], free)
    assert found == {"na": pytest.approx(1.0), "fsi": pytest.approx(0.0)}
    assert mobility(positions[:1], CELL, "cartesian", ["a", "b", "c"], free) == {}
