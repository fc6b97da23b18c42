"""A user's own crystal or slab, from the text of a file, and the options that describe it."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from epilayer.model.base import parse
from epilayer.model.cathode import Cathode, KeepBond
from epilayer.model.errors import InputError, InputWarning, StructureError
from epilayer.outputs.vasp.poscar import read_poscar
from epilayer.structures import crystals, cutting
from epilayer.structures.cif import read_cif

if TYPE_CHECKING:
    from collections.abc import Mapping

MIN_GAP_ANG: Final = 8.0
"""Empty space along c below which a cell is a crystal, not a slab."""
_BY_USER: Final = "As its user stated it."


@dataclass(frozen=True)
class UserFile:
    """The text of a user's crystal or slab.

    Attributes
    ----------
    text
        What the file holds.
    name
        What to call it in errors.
    form
        Of the text.
    species
        The elements of a POSCAR that names none, one a count.
    block
        Name or number of the data block of a CIF with several crystals.
    """

    text: str
    name: str
    form: Literal["cif", "poscar"] = "cif"
    species: tuple[str, ...] = ()
    block: str | None = None


def cathode(
    file: UserFile,
    *,
    oxidation_states: Mapping[str, float] | None = None,
    keep: tuple[KeepBond, ...] | None = None,
    moments_mu_b: Mapping[str, float] | None = None,
    hubbard_u_ev: Mapping[str, float] | None = None,
) -> Cathode:
    """Return a cathode from the text of a crystal: ordered, physical, with oxidation states.

    Parameters
    ----------
    file
        A CIF or POSCAR.
    oxidation_states
        By element; unset takes those of the CIF, and guesses them where it states none.
    keep
        Bonds no cut may sever; unset finds polyanions and metal-oxo bonds by rule.
    moments_mu_b
        Start moments by element, for engines that need them; unset leaves them to the level.
    hubbard_u_ev
        Hubbard U by element, used by levels with a +U.

    Raises
    ------
    StructureError
        For text that is no crystal, partly occupied or overlapping sites, states that cannot be
        guessed or are not neutral, or a kept bond that is not in the crystal.
    """
    structure, name = ordered(file), file.name
    charges = dict(oxidation_states or _stated(structure))
    stated = {"oxidation state": charges, "start moment": moments_mu_b, "Hubbard U": hubbard_u_ev}
    elements = {e.symbol for e in structure.composition.elements}
    for what, values in stated.items():
        if strangers := sorted(set(values or {}) - elements):
            raise StructureError(
                f"{name} holds no {', '.join(strangers)}, and a value is stated for it ({what}).",
                f"Its elements are {', '.join(sorted(elements))}.",
            )
    decorated = crystals.with_charges(structure, charges, name)
    crystals.check(decorated, name, ordered=True)
    _refuse_absent(structure, keep, name)
    structure.remove_oxidation_states()
    return Cathode.model_validate(
        {
            "name": slug(name),
            "formula": structure.composition.reduced_formula,
            "source": f"The crystal in {name}, as its user gave it.",
            "crystal": {
                "source": f"The crystal in {name}, as its user gave it.",
                "cif": structure.to(fmt="cif", significant_figures=10),
            },
            "oxidation_states": {e.symbol: _mean_charge(decorated, e.symbol) for e in structure.elements},
            "keep_bonds": keep,
            "moments": dict(moments_mu_b or {}),
            "hubbard_u": {e: {"u_ev": u, "source": _BY_USER} for e, u in (hubbard_u_ev or {}).items()},
        }
    )


def slug(name: str) -> str:
    """Return a file's name as the catalogue writes names.

    >>> slug("mine/Na3V2 (a).cif")
    'na3v2-a'
    """
    stem = re.sub(r"\.[a-z]+$", "", name.rpartition("/")[2].lower())
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_") or "crystal"


def ordered(file: UserFile) -> Structure:
    """Return a user's crystal; refuse partly occupied and overlapping sites."""
    structure, name = crystal(file), file.name
    if not structure.is_ordered:
        partial = sorted({str(s.species.remove_charges()) for s in structure if not s.is_ordered})
        raise StructureError(
            f"{name} is disordered (partly occupied: {', '.join(partial)}); an ordered crystal is needed.",
            "Give an ordered CIF, or a cathode YAML with an ordering rule (see docs/how-to/cathode.md).",
        )
    crystals.refuse_overlap(structure, name)
    structure.relabel_sites()
    return structure


def crystal(file: UserFile) -> Structure:
    """Parse the text of a crystal, or name its defect."""
    text, name = file.text, file.name
    if file.form == "poscar":
        return read_poscar(text, name, file.species)
    structure, notes = read_cif(text, name, file.block)
    for note in notes:
        warnings.warn(f"{name}: {note}.", InputWarning, stacklevel=2)
    if not len(structure):
        raise StructureError(f"{name} holds no atoms.", "Check the file, or export it anew.")
    return structure


def slab(file: UserFile) -> Structure:
    """Return a user's slab: ordered, with vacuum along c, c along the normal, in one piece.

    Raises
    ------
    StructureError
        For text that is no slab.
    """
    structure, name = crystal(file), file.name
    if not structure.is_ordered:
        raise StructureError(
            f"{name} is disordered, and an ordered slab is needed.", "Choose one atom for every site."
        )
    structure.remove_oxidation_states()
    crystals.refuse_overlap(structure, name)
    a, b, c = structure.lattice.matrix
    normal = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
    if abs(float(c @ normal)) < 0.9999 * float(np.linalg.norm(c)):
        raise StructureError(
            f"{name}: the c axis leans against the plane of a and b.",
            "Write the slab with c along the normal (epilayer build slab does).",
        )
    heights = np.sort(structure.frac_coords[:, 2] % 1.0)
    gaps = np.diff(np.append(heights, heights[0] + 1.0)) * structure.lattice.c
    if gaps.max() < MIN_GAP_ANG:
        raise StructureError(
            f"{name} is no slab: its widest gap along c is {gaps.max():.1f} A of {MIN_GAP_ANG:g} needed.",
            f"Cut one from the crystal: epilayer build slab {name} --miller 001 -o slab.cif",
        )
    # The atoms are brought to the middle of the cell, so that everything above them is free.
    lowest = heights[(int(np.argmax(gaps)) + 1) % len(heights)]
    middle = lowest + (1.0 - float(gaps.max()) / structure.lattice.c) / 2
    flags = structure.site_properties.get("selective_dynamics")
    return Structure(
        structure.lattice,
        structure.species,
        structure.frac_coords + np.array([0.0, 0.0, 0.5 - middle]),
        to_unit_cell=True,
        site_properties={"selective_dynamics": flags} if flags else None,
    )


def by_element(text: str, what: str, example: str) -> dict[str, float]:
    """Read one number an element as they stand on the command line.

    Parameters
    ----------
    what
        What the numbers are, for errors; such as ``oxidation state``.
    example
        How they are written, for errors.

    >>> by_element("Na=1, V=+4,O=-2", "oxidation state", "Na=1,V=4,O=-2")
    {'Na': 1.0, 'V': 4.0, 'O': -2.0}

    Raises
    ------
    InputError
        For anything else.
    """
    found: dict[str, float] = {}
    for part in (p.strip() for p in text.split(",")):
        match = re.fullmatch(r"([A-Z][a-z]?)\s*=\s*([+-]?\d+(?:\.\d+)?)", part)
        if match is None or not Element.is_valid_symbol(match.group(1)):
            raise InputError(f"{part!r} is no {what}.", f"Write them as {example}.")
        if match.group(1) in found:
            raise InputError(f"{match.group(1)} has two values ({what}).", "Keep one of the two.")
        found[match.group(1)] = float(match.group(2))
    return found


def kept_bonds(text: str) -> tuple[KeepBond, ...]:
    """Read kept bonds as they stand on the command line.

    ``P-O`` keeps every such bond, ``V=O`` those short enough for a metal-oxo bond, ``V-O:1.9`` those of
    at most that length in A.

    Raises
    ------
    InputError
        For anything else.
    """
    kept = []
    for part in (p.strip() for p in text.split(",")):
        match = re.fullmatch(r"([A-Z][a-z]?)([-=])([A-Z][a-z]?)(?::(\d+(?:\.\d+)?))?", part)
        if match is None or not all(Element.is_valid_symbol(match.group(k)) for k in (1, 3)):
            raise InputError(
                f"{part!r} is no bond to keep.",
                "Write bonds as P-O, V=O (short ones only) or V-O:1.9 (in A).",
            )
        longest: float | None = float(match.group(4)) if match.group(4) else None
        if longest is None and match.group(2) == "=":
            longest = cutting.METAL_OXO_ANG
        kept.append(
            parse(KeepBond, {"a": match.group(1), "b": match.group(3), "max_length_ang": longest}, part)
        )
    return tuple(kept)


def _stated(structure: Structure) -> dict[str, float]:
    """Return the oxidation states that the file itself states; of mixed valence, the mean."""
    if not crystals.has_charges(structure):
        return {}
    return {e: _mean_charge(structure, e) for e in structure.composition.remove_charges().as_dict()}


def _mean_charge(structure: Structure, element: str) -> float:
    states = [crystals.site_charge(s.species) for s in structure if s.specie.symbol == element]
    return sum(states) / len(states)


def _refuse_absent(structure: Structure, keep: tuple[KeepBond, ...] | None, name: str) -> None:
    """Refuse a bond to keep that the crystal does not have: the rule would silently do nothing."""
    for bond in keep or ():
        reach = crystals.covalent_radius_ang(bond.a) + crystals.covalent_radius_ang(bond.b)
        longest = min(cutting.BOND_SCALE * reach, bond.max_length_ang or np.inf)
        first, second, _, _ = structure.get_neighbor_list(longest, exclude_self=True)
        pairs = {
            frozenset((structure[int(i)].specie.symbol, structure[int(j)].specie.symbol))
            for i, j in zip(first, second, strict=True)
        }
        if frozenset((bond.a, bond.b)) not in pairs:
            raise StructureError(
                f"{name} has no {bond.a}-{bond.b} bond of at most {longest:.2f} A to keep.",
                "Name a bond of the crystal, or leave the choice to the rules.",
            )
