"""What the build commands are given: a name of the catalogue, a file, or a line of text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epilayer.model.errors import InputError, StructureError, UnknownNameError, suggest
from epilayer.outputs.reading import ByteSource, FileState, decoded, plain_name

if TYPE_CHECKING:
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


def cathode_of(
    catalogue: Catalogue,
    source: str,
    *,
    oxidation: str | None = None,
    keep: str | None = None,
    species: str | None = None,
    block: str | None = None,
) -> Cathode:
    """Return a cathode of the catalogue, or one made of a user's crystal."""
    from epilayer.structures import user_structures

    bonds = user_structures.kept_bonds(keep) if keep else None
    if is_file(source):
        states = user_structures.oxidation_states(oxidation) if oxidation else None
        return user_structures.cathode(
            given_file(source, species, block), oxidation_states=states, keep=bonds
        )
    known = catalogue.names("cathodes")
    if source not in known:
        raise UnknownNameError("cathode", source, known)
    if oxidation:
        raise InputError(
            f"--oxidation is for a crystal of your own; {source} states its own oxidation states.",
            "Leave --oxidation out, or give a CIF.",
        )
    material = catalogue.cathode(source)
    return material if bonds is None else material.model_copy(update={"keep_bonds": bonds})


def mof_of(catalogue: Catalogue, source: str) -> Mof:
    """Return a framework of the catalogue, or one made of a user's crystal."""
    from epilayer.model.mof import Mof
    from epilayer.structures import user_structures

    if not is_file(source):
        return catalogue.mof(source)
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


def ligand_of(
    catalogue: Catalogue, source: str, charge: int | None = None, multiplicity: int | None = None
) -> Ligand:
    """Return a ligand of the catalogue, of an xyz or mol file, or of a line of SMILES."""
    from epilayer.structures import molecules

    lower = source.lower()
    if lower.endswith((".xyz", ".mol", ".sdf")):
        form = "xyz" if lower.endswith(".xyz") else "mol"
        stem = Path(source).stem
        return molecules.from_text(
            _text(source),
            form,  # type: ignore[arg-type]  # one of the two
            name=stem,
            charge=charge,
            multiplicity=multiplicity,
        )
    known = catalogue.names("ligands")
    if source in known:
        if charge is not None or multiplicity is not None:
            raise InputError(
                f"--charge and --multiplicity are for a molecule of your own; {source} states its own.",
                "Leave them out, or give SMILES or an xyz or mol file.",
            )
        return catalogue.ligand(source)
    try:
        return molecules.from_text(source, "smiles", charge=charge, multiplicity=multiplicity)
    except StructureError as error:
        if "not parse" not in error.what:
            raise
        raise InputError(
            f"{source!r} is no ligand of the catalogue, no .xyz or .mol file, and no SMILES that parses.",
            suggest(source, known),
        ) from error


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
