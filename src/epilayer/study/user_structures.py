"""What a user names: a thing of the catalogue, a file, or a line of text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epilayer.model.errors import InputError, UnknownNameError
from epilayer.outputs.reading import ByteSource, FileState, decoded, plain_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymatgen.core import Structure

    from epilayer.model.cathode import Cathode, Facet
    from epilayer.model.ligand import Ligand
    from epilayer.model.mof import Mof
    from epilayer.structures.user_structures import UserFile
    from epilayer.study.config import Catalogue


def is_file(name: str) -> bool:
    """Say whether a word names a structure file rather than a thing of the catalogue."""
    file_name = plain_name(name).lower().rpartition("/")[2]
    return file_name.endswith((".cif", ".mcif", ".vasp", ".poscar", ".xyz", ".mol", ".sdf")) or (
        file_name.startswith(("poscar", "contcar"))
    )


def check_format(path: Path | None) -> None:
    """Refuse a file name of no known format before anything is built."""
    if path is not None and (not is_file(str(path)) or path.suffix.lower() in {".xyz", ".mol", ".sdf"}):
        raise InputError(f"{path}: cannot tell the format.", "Name it .cif, .vasp or POSCAR.")


@dataclass(frozen=True)
class Source:
    """A crystal: a cathode's name or a file, and what its user says of it.

    Attributes
    ----------
    name
        Name of the catalogue, or path of a CIF or POSCAR file.
    oxidation
        Oxidation states, ``Na=1,V=4``; those of the file, or guessed, by default.
    keep
        Bonds that no cut may sever, ``P-O,V=O``; by rule by default.
    species
        Elements of a POSCAR that names none.
    block
        The data block of a CIF that has several.
    moments
        Start moments (mu_B), ``V=1``; the level's by default.
    hubbard
        Hubbard U (eV), ``V=3.25``, for levels with a +U; none by default.
    """

    name: str
    oxidation: str | None = None
    keep: str | None = None
    species: str | None = None
    block: str | None = None
    moments: str | None = None
    hubbard: str | None = None

    @property
    def from_file(self) -> bool:
        """Whether it is a file."""
        return is_file(self.name)

    @property
    def charges_from(self) -> str:
        """Where the oxidation states are from, in words."""
        if not self.from_file:
            return "the catalogue"
        return "--oxidation" if self.oxidation else "the file, or guessed from its composition"

    def cathode(self, catalogue: Catalogue) -> Cathode:
        """Return it as a cathode, of the catalogue or made of a user's crystal.

        Raises
        ------
        UnknownNameError
            If it is no file and no name of the catalogue.
        InputError, StructureError
            If the file is no crystal, or what is said of it does not fit.
        """
        from epilayer.structures import user_structures

        def values(text: str | None, what: str, example: str) -> dict[str, float] | None:
            return user_structures.by_element(text, what, example) if text else None

        bonds = user_structures.kept_bonds(self.keep) if self.keep else None
        if self.from_file:
            return user_structures.cathode(
                given_file(self.name, self.species, self.block),
                oxidation_states=values(self.oxidation, "oxidation state", "Na=1,V=4,P=5,O=-2"),
                keep=bonds,
                moments_mu_b=values(self.moments, "start moment", "V=1,Fe=4 (mu_B)"),
                hubbard_u_ev=values(self.hubbard, "Hubbard U", "V=3.25 (eV)"),
            )
        material = catalogue.cathode(self.name)
        stated = {"--oxidation": self.oxidation, "--moments": self.moments, "--hubbard": self.hubbard}
        if option := next((option for option, value in stated.items() if value), None):
            raise InputError(
                f"{option} is for a crystal of your own; the file of {self.name} in configs/ states its own.",
                f"Leave {option} out, or give a CIF.",
            )
        return material if bonds is None else material.model_copy(update={"keep_bonds": bonds})

    def assumptions(self, material: Cathode) -> list[str]:
        """Return what is taken for granted about a user's crystal, and the option that sets each."""
        states = ", ".join(f"{e} {value:+g}" for e, value in material.oxidation_states.items())
        moments = ", ".join(f"{e} {value:g}" for e, value in material.moments.items())
        terms = ", ".join(f"{e} {term.u_ev:g} eV" for e, term in material.hubbard_u.items())
        return [
            f"oxidation states {states} ({self.charges_from})",
            f"bonds that no cut severs: {self.keep or 'polyanions and metal-oxo bonds (by rule; --keep)'}",
            f"start moments: {moments or 'those of the level (--moments)'}",
            f"Hubbard U: {terms or 'none (--hubbard)'}",
        ]


def own_mof(source: str) -> Mof:
    """Return a framework made of a user's crystal."""
    from epilayer.model.mof import Mof
    from epilayer.structures import user_structures

    structure = user_structures.ordered(given_file(source))
    note = f"The crystal in {source}, as its user gave it."
    return Mof.model_validate(
        {
            "name": user_structures.slug(source),
            "formula": structure.composition.reduced_formula,
            "source": note,
            "crystal": {"source": note, "cif": structure.to(fmt="cif", significant_figures=10)},
        }
    )


def facet_of(
    material: Cathode,
    miller: str,
    *,
    thickness_ang: float | None = None,
    vacuum_ang: float | None = None,
    hold_ang: float | None = None,
) -> Facet:
    """Return a facet as the cathode configures it, with the sizes that the user gives instead."""
    from epilayer.model.base import parse
    from epilayer.model.cathode import Facet, miller_index

    asked = {
        "thickness_ang": thickness_ang,
        "vacuum_ang": vacuum_ang,
        "hold_thickness_ang": hold_ang,
    }
    index = miller_index(miller)
    if index == (0, 0, 0):
        raise InputError("The Miller index (0 0 0) names no plane.", "Give three integers, not all 0.")
    changed: dict[str, Any] = {k: v for k, v in asked.items() if v is not None}
    return parse(Facet, {**material.facet(index).model_dump(), **changed}, "the size of the slab")


def slab_of(source: str, species: str | None = None, block: str | None = None) -> Structure:
    """Return a user's slab from a file."""
    from epilayer.structures import user_structures

    return user_structures.slab(given_file(source, species, block))


def own_ligand(
    source: str, known: Iterable[str], *, charge: int | None = None, multiplicity: int | None = None
) -> Ligand:
    """Return a ligand of an xyz or mol file, or of a line of SMILES.

    Raises
    ------
    UnknownNameError
        If it is neither; ``known`` are the names of the catalogue, of which one may be meant.
    StructureError
        If no molecule can be made of it.
    """
    from epilayer.structures import molecules

    form = {".xyz": "xyz", ".mol": "mol", ".sdf": "mol"}.get(Path(source).suffix.lower())
    if form is None and not molecules.is_smiles(source):
        raise UnknownNameError(
            "ligand", source, known, "It is no .xyz or .mol file, and no SMILES that parses."
        )
    return molecules.from_text(
        source if form is None else _text(source),
        form or "smiles",  # type: ignore[arg-type]  # one of the three
        name=Path(source).stem if form else "",
        charge=charge,
        multiplicity=multiplicity,
    )


def ligand_of(
    catalogue: Catalogue, source: str, charge: int | None = None, multiplicity: int | None = None
) -> Ligand:
    """Return a ligand of the catalogue, or a molecule of the user with a charge and spin."""
    known = catalogue.names("ligands")
    if source not in known:
        return own_ligand(source, known, charge=charge, multiplicity=multiplicity)
    if charge is not None or multiplicity is not None:
        raise InputError(
            f"--charge and --multiplicity are for a molecule of your own; {source} states its own.",
            "Leave them out, or give SMILES or an xyz or mol file.",
        )
    return catalogue.ligand(source)


def given_file(source: str, species: str | None = None, block: str | None = None) -> UserFile:
    """Read a CIF or POSCAR; elements that a POSCAR does not name are those of ``species`` or its POTCAR."""
    from epilayer.outputs.vasp import poscar
    from epilayer.structures.user_structures import UserFile

    text = _text(source)
    if plain_name(source).lower().endswith((".cif", ".mcif")):
        if species:
            raise InputError(
                f"--species is for a POSCAR that names no elements; {source} is a CIF.",
                "Leave --species out.",
            )
        return UserFile(text, source, block=block)
    if block:
        raise InputError(f"--block is for a CIF; {source} is a POSCAR.", "Leave --block out.")
    if species:
        elements = poscar.elements_of(re.split(r"[,\s]+", species.strip()), "--species")
    else:
        stated = poscar.read_header(text.splitlines(), source).elements
        elements = () if stated else poscar.elements_beside(Path(source))
    return UserFile(text, source, "poscar", elements)


def _text(source: str) -> str:
    found = ByteSource(Path(source))
    raw = found.read()
    if found.state is not FileState.WHOLE:
        raise InputError(f"{source} cannot be read ({found.problem}).", "Check the path and its permissions.")
    text = decoded(raw)
    if text is None:
        raise InputError(f"{source} is no text file.", "Give a CIF, POSCAR, xyz or mol file.")
    return text
