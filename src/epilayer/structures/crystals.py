"""Crystals from data: Wyckoff tables and CIF text, checked before anything is built on them."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import spglib
from pymatgen.core.composition import Composition
from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import DummySpecies, Species
from pymatgen.core.structure import Structure

from epilayer.model.errors import StructureError, suggest
from epilayer.structures.cif import read_cif

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from epilayer.model.cathode import Cathode, Crystal, LatticeParameters
    from epilayer.model.mof import Mof

SAME_SITE_ANG = 0.05
"""Images of a Wyckoff position closer than this are one site."""
OVERLAP_FRACTION = 0.5
"""Two atoms closer than this fraction of the sum of their covalent radii overlap."""
CHARGE_TOLERANCE_E = 1e-3
SYMMETRY_TOLERANCE_ANG = 0.01

_UNSTATED = (
    "State oxidation_states for every element, such as {Na: 1, V: 4, P: 5, O: -2, F: -1} "
    "(on the command line: --oxidation Na=1,V=4,P=5,O=-2,F=-1)."
)


def build(cathode: Cathode, *, variant: str | None = None, state: str | None = None) -> Structure:
    """Build the crystal of a cathode, with oxidation states, perhaps partly occupied.

    Parameters
    ----------
    cathode
        The cathode as data.
    variant
        One of ``cathode.variants``; unset takes ``cathode.crystal``.
    state
        One of ``cathode.states`` (such as ``"charged"``); unset takes the composition as written.

    Returns
    -------
    Structure
        The conventional cell, neutral, without overlapping sites.

    Raises
    ------
    StructureError
        For an unknown variant or state, a Wyckoff table that does not fit its space group,
        overlapping sites, missing oxidation states or a cell that is not neutral.
    """
    structure = expand(crystal_of(cathode, variant), cathode.name)
    _refuse_other_formula(structure, cathode.formula, cathode.name)
    charges: Mapping[str, float] = cathode.oxidation_states
    if state is not None:
        if state not in cathode.states:
            raise StructureError(
                f"{cathode.name} has no state {state!r}.", suggest(state, list(cathode.states))
            )
        chosen = cathode.states[state]
        charges = {**charges, **chosen.oxidation_states}
        structure = _with_occupancies(structure, chosen.occupancy, cathode.name, variant)
    structure = with_charges(structure, charges, cathode.name)
    check(structure, cathode.name)
    return structure


def framework(mof: Mof) -> Structure:
    """Build the crystal of a metal-organic framework: ordered, of the stated formula, nothing overlapping."""
    structure = expand(mof.crystal, mof.name)
    if not structure.is_ordered:
        raise StructureError(
            f"{mof.name} is disordered, and an ordered framework is needed.",
            "Choose one position of each group.",
        )
    _refuse_other_formula(structure, mof.formula, mof.name)
    refuse_overlap(structure, mof.name)
    return structure


def expand(crystal: Crystal, name: str) -> Structure:
    """Expand a crystal from its CIF or Wyckoff table, unchecked."""
    return from_cif(crystal.cif, name) if crystal.cif else from_wyckoff(crystal, name)


def crystal_of(cathode: Cathode, variant: str | None) -> Crystal:
    """Return the crystal of a variant, or the cathode's own."""
    if variant is None:
        return cathode.crystal
    if variant not in cathode.variants:
        raise StructureError(
            f"{cathode.name} has no variant {variant!r}.", suggest(variant, list(cathode.variants))
        )
    return cathode.variants[variant]


def from_wyckoff(crystal: Crystal, name: str) -> Structure:
    """Expand a Wyckoff table, and refuse it when an orbit has not the multiplicity it states.

    The check is what catches the wrong origin choice: in Fd-3m origin 1 the coordinates of an
    origin-2 table fall on other positions, and the cell silently gains or loses atoms.
    """
    if crystal.space_group is None or crystal.lattice is None:
        raise StructureError(f"{name} has no Wyckoff table.", "Give space_group, lattice and sites.")
    hall = hall_number(crystal.space_group, crystal.setting, name)
    operations = spglib.get_symmetry_from_database(hall)
    lattice = _lattice(crystal.lattice, operations["rotations"], name)
    species: list[dict[str, float]] = []
    coords: list[NDArray[np.float64]] = []
    for site in crystal.sites:
        orbit = _orbit(np.array(site.xyz), operations, lattice)
        if len(orbit) != site.multiplicity:
            raise StructureError(
                f"{name}: {site.element} at {site.xyz} gives {len(orbit)} sites in {crystal.space_group}"
                f"{' setting ' + crystal.setting if crystal.setting else ''}, not the {site.multiplicity} of "
                f"{site.wyckoff}.",
                "Check the coordinates, and the origin choice or setting of the space group they refer to.",
            )
        species += [{site.element: site.occupancy}] * len(orbit)
        coords += list(orbit)
    return Structure(lattice, species, coords)


def from_cif(text: str, name: str) -> Structure:
    """Parse the text of a CIF into one structure."""
    if "data_" not in text:
        raise StructureError(
            f"{name}: the CIF {text[:60]!r} has not been read.",
            "Give the text of the CIF; a file name is replaced by its text when the YAML is read.",
        )
    return read_cif(text, name).structure


def hall_number(symbol: str, setting: str | None, name: str) -> int:
    """Return the Hall number of a space group symbol and setting.

    Raises
    ------
    StructureError
        When the symbol is unknown, or has two origin choices and none is stated.
    """
    wanted = _compact(symbol)
    types = [(hall, spglib.get_spacegroup_type(hall)) for hall in range(1, 531)]
    found = [
        (h, t)
        for h, t in types
        if wanted in {_compact(t.international_short), _compact(t.international_full)}
    ]
    if not found:
        found = [
            (h, t)
            for h, t in types
            if wanted == re.sub(r"(?<=[A-Z])1|1$", "", _compact(t.international_full))
        ]
    if not found:
        known = {t.international_short for _, t in types}
        raise StructureError(f"{name}: unknown space group {symbol!r}.", suggest(symbol, known)[:200])
    choices = [t.choice for _, t in found]
    if setting is not None:
        found = [(h, t) for h, t in found if t.choice == setting]
        if not found:
            raise StructureError(
                f"{name}: {symbol} has no setting {setting!r}.", f"Known settings: {', '.join(choices)}."
            )
    elif {"1", "2"} <= set(choices):
        raise StructureError(
            f"{name}: {symbol} has two origin choices and none is stated.",
            "State setting: '1' or '2', as the source of the coordinates does; the wrong one loses atoms.",
        )
    return found[0][0]


def with_charges(structure: Structure, charges: Mapping[str, float], name: str) -> Structure:
    """Decorate every site with its oxidation state; guess the states only when none are stated."""
    elements = sorted({e.symbol for e in structure.composition.elements})
    if not charges:
        charges = _guess(structure, name)
    missing = [e for e in elements if e not in charges]
    if missing:
        raise StructureError(f"{name}: no oxidation state for {', '.join(missing)}.", _UNSTATED)
    decorated = structure.copy()
    decorated.remove_oxidation_states()
    decorated.add_oxidation_state_by_element({e: charges[e] for e in elements})
    return decorated


def check(structure: Structure, name: str, *, ordered: bool = False) -> None:
    """Refuse a structure that is not physical.

    Parameters
    ----------
    structure
        With oxidation states.
    name
        What to call it in the error.
    ordered
        Also refuse partly occupied sites.
    """
    if ordered and not structure.is_ordered:
        partial = sorted({str(s.species) for s in structure if not s.is_ordered})
        raise StructureError(
            f"{name} is disordered ({', '.join(partial)}), and an ordered crystal is needed.",
            "State an ordering rule (species and window_link_ang) and choose one of its orderings.",
        )
    refuse_overlap(structure, name)
    if not has_charges(structure):
        raise StructureError(f"{name} carries no oxidation states.", _UNSTATED)
    charge = sum(site_charge(site.species) for site in structure)
    if abs(charge) > CHARGE_TOLERANCE_E * max(1, len(structure)):
        raise StructureError(
            f"{name}: {structure.composition.reduced_formula} is not neutral ({charge:+.3f} e per cell).",
            "Correct the occupancies or the oxidation states.",
        )


def has_charges(structure: Structure) -> bool:
    """Return whether every species has an oxidation state."""
    return all(getattr(sp, "oxi_state", None) is not None for site in structure for sp in site.species)


def site_charge(species: Any) -> float:  # noqa: ANN401  (a pymatgen Composition of species)
    """Return the formal charge of a site in e, weighted by occupancy."""
    return float(sum(sp.oxi_state * amount for sp, amount in species.items()))


def space_group(structure: Structure, tolerance_ang: float = SYMMETRY_TOLERANCE_ANG) -> str:
    """Return the space group symbol that spglib finds, occupancies respected."""
    found = spglib.get_symmetry_dataset(spglib_cell(structure), symprec=tolerance_ang)
    if found is None:
        raise StructureError(
            f"No symmetry was found in {structure.composition.reduced_formula}.",
            "Check for overlapping sites.",
        )
    return str(found.international).replace("_", "")


def spglib_cell(structure: Structure) -> tuple[Any, Any, list[int]]:
    """Return (lattice rows in A, fractional coordinates, kind of each site) for spglib."""
    kinds: dict[str, int] = {}
    numbers = [kinds.setdefault(str(site.species), len(kinds) + 1) for site in structure]
    return structure.lattice.matrix, structure.frac_coords, numbers


def start_moments(structure: Structure, cathode: Cathode, *, state: str | None = None) -> list[float]:
    """Return the start moment of every site in mu_B; a species that is not listed has none."""
    moments = {**cathode.moments, **(cathode.states[state].moments if state else {})}
    return [_moment(site.specie, moments) for site in structure]


def _moment(specie: Any, moments: Mapping[str, float]) -> float:  # noqa: ANN401  (Species or Element)
    charge = getattr(specie, "oxi_state", None)
    symbol = specie.symbol if isinstance(specie, Species | DummySpecies) else str(specie)
    named = f"{symbol}{abs(charge):g}{'+' if charge > 0 else '-'}" if charge else symbol
    return moments.get(named, moments.get(symbol, 0.0))


def _with_occupancies(
    structure: Structure, occupancy: Mapping[str, float], name: str, variant: str | None
) -> Structure:
    """Refill the partly occupied sites, so that the species as a whole has the stated share."""
    changed = structure.copy()
    for element, share in occupancy.items():
        partial = [i for i, s in enumerate(structure) if element in _symbols(s.species) and not s.is_ordered]
        if not partial:
            raise StructureError(
                f"{name}{' ' + variant if variant else ''} has no partly occupied {element} site.",
                f"Take {element} out of the state's occupancy, or give a variant with partial sites.",
            )
        for i in partial:
            changed.replace(i, {element: share})
    return changed


def _symbols(species: Any) -> set[str]:  # noqa: ANN401  (a pymatgen Composition)
    return {e.symbol for e in species.elements}


def _guess(structure: Structure, name: str) -> dict[str, float]:
    composition = structure.composition.remove_charges().reduced_composition
    guesses: Any = ()
    with suppress(ValueError):  # a formula of more than 20 atoms has too many answers to go through
        guesses = composition.oxi_state_guesses(max_sites=-20) if structure.is_ordered else ()
    if not guesses:
        raise StructureError(f"{name}: the oxidation states cannot be guessed.", _UNSTATED)
    guess: dict[str, float] = guesses[0]
    if any(abs(charge - round(charge)) > CHARGE_TOLERANCE_E for charge in guess.values()):
        shown = ", ".join(f"{e} {q:+g}" for e, q in guess.items())
        raise StructureError(f"{name}: the oxidation states are ambiguous (best guess {shown}).", _UNSTATED)
    return guess


def covalent_radius_ang(symbol: str) -> float:
    """Return the covalent radius in A (Cordero et al., doi 10.1039/b801115j, as ASE tabulates it)."""
    from ase.data import atomic_numbers, covalent_radii

    return float(covalent_radii[atomic_numbers[symbol]])


def _refuse_other_formula(structure: Structure, formula: str, name: str) -> None:
    """Compare the cell with the stated formula, so that a slip in either is seen."""
    try:
        stated = Composition(formula)
    except ValueError as error:
        raise StructureError(
            f"{name}: {formula!r} is no formula ({error}).", "Write it like Na3V2P2O10F."
        ) from error
    found = structure.composition.remove_charges()
    if not found.fractional_composition.almost_equals(stated.fractional_composition, rtol=0.01, atol=1e-3):
        raise StructureError(
            f"{name}: the crystal is {found.reduced_formula}, and the stated formula is {formula}.",
            "Correct the formula, the occupancies or the sites.",
        )


def refuse_overlap(structure: Structure, name: str) -> None:
    """Refuse overlapping atoms; partly occupied sites that exclude each other do not count."""
    radii = [max(covalent_radius_ang(e) for e in _symbols(site.species)) for site in structure]
    reach = 2 * max(radii) * OVERLAP_FRACTION
    first, second, _, distance = structure.get_neighbor_list(reach, exclude_self=True)
    for i, j, d in zip(first, second, distance, strict=True):
        if d >= OVERLAP_FRACTION * (radii[i] + radii[j]):
            continue
        # Two partly occupied sites may exclude each other; only when both can be full is it an error.
        if structure[i].species.num_atoms + structure[j].species.num_atoms <= 1 + CHARGE_TOLERANCE_E:
            continue
        raise StructureError(
            f"{name}: {structure[i].species_string} and {structure[j].species_string} overlap ({d:.2f} A, "
            f"sites {i} and {j}).",
            "Remove the doubled site, or correct the coordinates, cell or origin choice.",
        )


def _lattice(stated: LatticeParameters, rotations: NDArray[np.int32], name: str) -> Lattice:
    """Complete the cell by the symmetry of the space group, and refuse one that it forbids."""
    swaps = {(i, j) for r in rotations for i in range(3) for j in range(3) if r[i][j] and i != j}
    a = stated.a_ang
    b = stated.b_ang or (a if (0, 1) in swaps else None)
    c = stated.c_ang or (a if (0, 2) in swaps else None)
    gamma = stated.gamma_deg
    hexagonal = any(r[0][0] * r[0][1] != 0 or r[1][0] * r[1][1] != 0 for r in rotations)
    if hexagonal and gamma == 90.0:  # noqa: PLR2004  (the default)
        gamma = 120.0
    if b is None or c is None:
        raise StructureError(
            f"{name}: the lattice lacks {'b_ang' if b is None else 'c_ang'}.",
            "State it; symmetry does not fix it.",
        )
    lattice = Lattice.from_parameters(a, b, c, stated.alpha_deg, stated.beta_deg, gamma)
    metric = lattice.matrix @ lattice.matrix.T
    if any(np.abs(r.T @ metric @ r - metric).max() > 1e-3 * metric.max() for r in rotations):
        raise StructureError(
            f"{name}: the cell {lattice.abc}, {lattice.angles} contradicts its space group.",
            "Correct the lattice parameters or the setting of the space group.",
        )
    return lattice


def _orbit(xyz: NDArray[np.float64], operations: Any, lattice: Lattice) -> list[NDArray[np.float64]]:  # noqa: ANN401
    images = operations["rotations"] @ xyz + operations["translations"]
    orbit: list[NDArray[np.float64]] = []
    for image in images:
        wrapped = np.round(image % 1.0, 9) % 1.0
        if orbit:
            apart = lattice.get_all_distances(np.array(orbit), wrapped[None])
            if apart.min() < SAME_SITE_ANG:
                continue
        orbit.append(wrapped)
    return orbit


def _compact(symbol: str) -> str:
    return symbol.replace("_", "").replace(" ", "")
