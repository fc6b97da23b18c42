"""Structures from the rules, without computing anything: slabs, poses on them, matches, loaded pores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epilayer.model.errors import InputError, StructureError
from epilayer.model.files import write_atomic
from epilayer.study.user_structures import Source, check_format, facet_of, slab_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pymatgen.core import Structure

    from epilayer.model.cathode import Cathode, Facet
    from epilayer.model.ligand import Ligand
    from epilayer.model.mof import Mof
    from epilayer.structures.match import Match, Plane
    from epilayer.structures.pores import LoadedPore
    from epilayer.structures.poses import Pose
    from epilayer.structures.slab_types import SlabCut, Termination
    from epilayer.study.config import Catalogue

CHARGED = "charged"
"""The charge state in which mobile ions are removed."""
_HOLD_ANG = 4.0
"""Thickness held fixed at the bottom of a slab that its user made."""


@dataclass(frozen=True)
class SlabSize:
    """Sizes of a slab that replace those of the cathode's facet, in Angstrom."""

    thickness_ang: float | None = None
    vacuum_ang: float | None = None
    hold_ang: float | None = None


@dataclass(frozen=True)
class BuiltSlab:
    """A slab and the choices that were there.

    Attributes
    ----------
    chosen
        The admissible cut that was chosen, and ``shown`` the same in its state of charge.
    structure
        With ``selective_dynamics``: which atoms are held.
    terminations
        Every cut of a repeat, also those that are not admissible.
    reason
        Why this one, in words.
    """

    material: Cathode
    facet: Facet
    chosen: SlabCut
    shown: SlabCut
    structure: Structure
    choices: Sequence[SlabCut]
    terminations: Sequence[Termination]
    reason: str

    @property
    def held_atoms(self) -> int:
        """How many atoms are held."""
        return sum(not any(free) for free in self.structure.site_properties["selective_dynamics"])


def cut_slab(
    catalogue: Catalogue,
    source: Source,
    miller: str,
    size: SlabSize,
    *,
    termination: str | None = None,
    charged: bool = False,
) -> BuiltSlab:
    """Cut a slab by rule.

    Parameters
    ----------
    miller
        Three integers, of the conventional cell or of the cell in the file.
    termination
        Label of an admissible one; by default the one with the lowest recorded surface energy, or the best.
    charged
        Remove mobile ions, alike on both faces.

    Raises
    ------
    StructureError
        If no cut is admissible.
    """
    from epilayer.structures import charging, slabs, surfaces

    material = source.cathode(catalogue)
    facet = facet_of(
        material,
        miller,
        thickness_ang=size.thickness_ang,
        vacuum_ang=size.vacuum_ang,
        hold_ang=size.hold_ang,
    )
    choices = slabs.admissible(material, facet)
    wanted = termination or surfaces.lowest_termination(material, facet)
    chosen = choices[0] if wanted is None else slabs.cut(material, facet, termination=wanted)
    shown = charging.charge(material, chosen, state=CHARGED) if charged else chosen
    reason = shown.reason
    if termination is None and wanted is not None:
        reason += " Of the admissible ones it has the lowest recorded surface energy."
    return BuiltSlab(
        material=material,
        facet=facet,
        chosen=chosen,
        shown=shown,
        structure=slabs.hold_bottom(shown.structure, facet.hold_thickness_ang, where=facet.hold),
        choices=choices,
        terminations=slabs.terminations_of(material, facet, chosen.ordering),
        reason=reason,
    )


def clean_slab(catalogue: Catalogue, source: Source, miller: str | None, hold_ang: float | None) -> Structure:
    """Return a user's slab from its file, or the slab of a named cathode's facet, its bottom held.

    Raises
    ------
    InputError
        If a file is given with a Miller index, or a cathode without one.
    """
    from epilayer.structures import slabs, surfaces

    if source.from_file:
        if miller is not None:
            raise InputError(
                f"--miller cuts a named cathode; {source.name} is taken as the slab itself.",
                f"Leave --miller out, or cut it first: epilayer build slab {source.name} --miller {miller}",
            )
        given = slab_of(source.name, source.species, source.block)
        if hold_ang is None and "selective_dynamics" in given.site_properties:
            return given
        return slabs.hold_bottom(given, _HOLD_ANG if hold_ang is None else hold_ang)
    if miller is None:
        raise InputError(f"Which facet of {source.name}?", "Add --miller 0 0 1, or give a slab file.")
    material = source.cathode(catalogue)
    facet = facet_of(material, miller, hold_ang=hold_ang)
    cut = slabs.cut(material, facet, termination=surfaces.lowest_termination(material, facet))
    return slabs.hold_bottom(cut.structure, facet.hold_thickness_ang, where=facet.hold)


def place(slab: Structure, ligand: Ligand, *, count: int, seed: int) -> list[Pose]:
    """Place a ligand on the top face of a slab in several ways; the same seed gives the same poses."""
    from epilayer.structures import molecules, poses

    molecule, anchors = molecules.build(ligand, seed), molecules.anchors(ligand)
    return poses.generate(slab, molecule, anchors=anchors, count=count, seed=seed)


@dataclass(frozen=True)
class Matching:
    """The supercells in which a framework fits a facet.

    Attributes
    ----------
    below
        The cathode's plane, and ``planes`` those of the framework by their index.
    found
        Of every facet of the framework the matches that no other one beats in both area and strain.
    best
        The least strained among the best of each facet.
    without
        Why other facets of the framework do not fit.
    structure
        The strained framework of the best match.
    """

    film: Mof
    material: Cathode
    facet: Facet
    below: Plane
    planes: Mapping[tuple[int, int, int], Plane]
    found: list[Match]
    best: Match
    without: list[str]
    structure: Structure


def match_framework(
    catalogue: Catalogue,
    mof: str,
    source: Source,
    miller: str,
    *,
    mof_miller: str | None = None,
    max_area_ang2: float = 800.0,
    max_strain_ratio: float = 0.05,
) -> Matching:
    """Find the supercells in which a framework fits a facet, the cathode rigid.

    Parameters
    ----------
    mof
        A framework's name, or a .cif file.
    miller, mof_miller
        Facets of the cathode and of the framework; of the framework all of index 0 or 1 by default.
    max_area_ang2
        Largest supercell looked at.
    max_strain_ratio
        Largest strain of the framework.

    Raises
    ------
    StructureError
        If none fits.
    """
    from epilayer.model.cathode import miller_index
    from epilayer.structures import crystals
    from epilayer.structures import match as matching

    material, film = source.cathode(catalogue), catalogue.mof(mof)
    facet = facet_of(material, miller)
    framework = crystals.framework(film)
    below = matching.plane_of(crystals.build(material), facet.miller)
    indices = matching.low_index_planes(framework) if mof_miller is None else (miller_index(mof_miller),)
    planes = {index: matching.plane_of(framework, index) for index in indices}
    found: list[Match] = []
    chosen: list[Match] = []
    without: list[StructureError] = []
    for plane in planes.values():
        try:
            fits = matching.matches(below, plane, max_area_ang2=max_area_ang2, max_strain=max_strain_ratio)
        except StructureError as refusal:
            without.append(refusal)
            continue
        found += fits
        chosen.append(fits[0])
    if not found:
        raise StructureError(
            f"{film.name} does not fit ({facet.label}) of {material.name}: "
            + " ".join(w.what for w in without),
            without[0].remedy,
        )
    best = min(chosen, key=lambda m: (m.von_mises, m.area_ang2))
    strained = matching.strained(matching.smallest_cell(framework), planes[best.mof_miller], best.strain)
    refused = [refusal.what for refusal in without]
    return Matching(film, material, facet, below, planes, found, best, refused, strained)


def load_pore(
    catalogue: Catalogue,
    mof: str,
    salts: Sequence[str],
    chains: Sequence[str],
    *,
    seed: int,
    attempts: int,
    report: Callable[[str], None],
) -> LoadedPore:
    """Load a framework with salt and polymer chains; the same seed gives the same atoms.

    Parameters
    ----------
    salts, chains
        Such as ``NaFSI:2`` and ``pom15:2``.
    attempts
        How often to try before refusing.
    report
        Called with what is being done.
    """
    from epilayer.structures import crystals, pores

    host = crystals.framework(catalogue.mof(mof))
    anions: dict[str, Ligand] = {}
    if salts:
        ligands = (catalogue.ligand(name) for name in catalogue.names("ligands"))
        anions = {ligand.name: ligand for ligand in ligands if ligand.charge < 0}
    loads = [load for text in salts for load in pores.parse_salt(text, anions)]
    loads += [pores.parse_chain(text) for text in chains]
    report("Measuring the pores ...")
    framework = pores.Framework(host, mof)
    report("Loading ...")
    return pores.load(framework, loads, seed=seed, attempts=attempts, report_attempt=report)


def write_structure(structure: Structure, path: Path) -> Path:
    """Write a structure as CIF or POSCAR, by the ending of the name, whole or not at all."""
    from pymatgen.io.cif import CifWriter

    check_format(path)
    plain = structure.copy()
    plain.remove_oxidation_states()
    if path.name.lower().endswith(".cif"):
        plain.relabel_sites()
        return write_atomic(path, str(CifWriter(plain, significant_figures=8)))
    return write_atomic(path, plain.to(fmt="poscar"))


def pore_format(path: Path) -> str:
    """Return the format that the name of a loaded pore's file asks for.

    Raises
    ------
    InputError
        If the name tells none.
    """
    name = path.name.lower()
    if name.startswith(("poscar", "contcar")):
        return "vasp"
    form = name.rpartition(".")[2]
    if form not in {"cif", "json", "vasp"}:
        raise InputError(f"{path}: cannot tell the format.", "Name it .cif, .json, .vasp or POSCAR.")
    return form


def write_pore(structure: Structure, path: Path) -> Path:
    """Write a loaded pore; a .cif or .json keeps each atom's part, molecule number and molecule name."""
    match pore_format(path):
        case "cif":
            text = _pore_cif(structure)
        case "json":
            text = structure.to_json()
        case _:
            text = structure.to(fmt="poscar")
    return write_atomic(path, text)


def _pore_cif(structure: Structure) -> str:
    """Return a CIF of every atom in order, with its part and molecule in columns of our own."""
    a, b, c, alpha, beta, gamma = structure.lattice.parameters
    lines = [
        f"data_{''.join(structure.composition.formula.split())}",
        *(f"_cell_length_{name}  {value:.10g}" for name, value in zip("abc", (a, b, c), strict=True)),
        f"_cell_angle_alpha  {alpha:.10g}",
        f"_cell_angle_beta  {beta:.10g}",
        f"_cell_angle_gamma  {gamma:.10g}",
        "_symmetry_space_group_name_H-M  'P 1'",
        "loop_\n_symmetry_equiv_pos_as_xyz\n  'x, y, z'",
        "loop_",
        *(
            f"_atom_site_{key}"
            for key in ("type_symbol", "label", "fract_x", "fract_y", "fract_z", "occupancy")
        ),
        *(f"_epilayer_atom_{key}" for key in ("part", "molecule", "molecule_name")),
    ]
    for number, site in enumerate(structure):
        symbol, kept = site.specie.symbol, site.properties
        x, y, z = site.frac_coords
        lines.append(
            f"  {symbol} {symbol}{number} {x:.10f} {y:.10f} {z:.10f} 1 "
            f"{kept['part']} {kept['molecule']} {kept['molecule_name']}"
        )
    return "\n".join(lines) + "\n"
