"""CIF text to one crystal: which data block, which element each site is, and what the file states besides."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from pymatgen.core.composition import Composition
from pymatgen.core.periodic_table import Element
from pymatgen.io.cif import CifBlock, CifParser

from epilayer.model.errors import StructureError

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

_BLOCK: Final = re.compile(r"^\s*data_", re.MULTILINE | re.IGNORECASE)
_KEYWORD: Final = re.compile(r"^(\s*)(loop_|save_|global_)", re.MULTILINE | re.IGNORECASE)
_TAG: Final = re.compile(r"^(\s*)(_[A-Za-z]\S*)", re.MULTILINE)
_TAGS: Final = {
    tag.lower(): tag
    for tag in (
        *(f"_cell_length_{axis}" for axis in "abc"),
        *(f"_cell_angle_{angle}" for angle in ("alpha", "beta", "gamma")),
        *(f"_atom_site_fract_{axis}" for axis in "xyz"),
        *(f"_atom_site_{what}" for what in ("label", "type_symbol", "occupancy", "attached_hydrogens")),
        *("_atom_type_symbol", "_atom_type_oxidation_number", "_chemical_formula_sum"),
        *("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz", "_cell_formula_units_Z"),
        *("_symmetry_space_group_name_H-M", "_space_group_name_H-M_alt", "_space_group_name_Hall"),
        *("_symmetry_Int_Tables_number", "_space_group_IT_number", "_symmetry_cell_setting"),
    )
}
"""How the tags that are read here are written; CIF itself does not tell upper from lower case."""
_COORDINATES: Final = tuple(f"_atom_site_fract_{axis}" for axis in "xyz")
_GROUPS: Final = {"OH": "O", "WAT": "O", "OW": "O", "O-H": "O", "H2O": "O", "HW": "H", "NO": "N", "NH": "N"}
"""Words that stand for an atom of a group whose hydrogens are not listed."""
_UNSTATED: Final = frozenset({"", "?", "."})
_SAME_SHARE: Final = 0.01
_VIEWER: Final = "Check the file in a structure viewer, or export it anew."


class CifCrystal(NamedTuple):
    """A crystal, and what the file states of it that does not fit what was read."""

    structure: Structure
    notes: tuple[str, ...]


def read_cif(text: str, name: str, block: str | None = None) -> CifCrystal:
    """Read the one crystal of a CIF, in the cell of the file.

    Parameters
    ----------
    text
        Of the whole file.
    name
        What to call it in errors.
    block
        Name or number (from 1) of the data block, where several hold a crystal.

    Raises
    ------
    StructureError
        For text that holds no crystal, or several and ``block`` names none; a site that is no element; a
        space group that is not known and no symmetry operations.
    """
    data = _parsed(_chosen(text, name, block), name)
    notes = _set_elements(data, name) + _drop_unplaced(data)
    caught: list[warnings.WarningMessage]
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            parser = CifParser.from_str(str(data))
            structure: Structure = parser.parse_structures(primitive=False)[0]
    except Exception as error:  # the parser raises whatever its line of code raises
        said = " ".join([str(error), *(str(w.message) for w in caught)])
        if "occupanc" in said.lower():
            raise StructureError(
                f"{name}: sites overlap: the occupancies at one place add up to more than 1.",
                "Remove the doubled site, or correct the coordinates or the occupancies.",
            ) from error
        why = " ".join(str(error).split()).rstrip(".")[:60] or type(error).__name__
        raise StructureError(f"{name} cannot be read as CIF ({why}).", _VIEWER) from error
    if not (np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()):
        raise StructureError(f"{name}: a number of its cell or positions is not finite.", _VIEWER)
    group = _space_group(data)
    if group and len(parser.symmetry_operations) == 1:
        raise StructureError(
            f"{name}: its space group {group!r} is not known, and no symmetry operations are listed.",
            "Export it anew with its symmetry operations (_space_group_symop_operation_xyz).",
        )
    return CifCrystal(structure, (*notes, *_disagreements(data, structure)))


def _chosen(text: str, name: str, block: str | None) -> str:
    """Return the text of the one data block that holds a crystal, or of the one asked for."""
    pieces = _BLOCK.split(f"\n{text}")[1:]
    found = [(p.split(None, 1)[0] if p[:1].strip() else "", p) for p in pieces if _holds_crystal(p)]
    if not found:
        macromolecule = "_atom_site.cartn_x" in text.lower()
        raise StructureError(
            f"{name} cannot be read as CIF: it lists no _atom_site_fract_x."
            + (" It is a macromolecular CIF." if macromolecule else ""),
            "Give a CIF with fractional coordinates, or export it anew.",
        )
    labels = [label for label, _ in found]
    if block is None:
        if len(found) > 1:
            shown = ", ".join(f"{k}: {label}" for k, label in enumerate(labels, start=1))
            raise StructureError(
                f"{name} holds {len(found)} crystals ({shown}).",
                f"Say which by name or number: --block {labels[0] if labels.count(labels[0]) == 1 else 1}.",
            )
        return found[0][1]
    if labels.count(block) == 1:
        return found[labels.index(block)][1]
    if block.isdigit() and 0 < int(block) <= len(found):
        return found[int(block) - 1][1]
    raise StructureError(f"{name} has no one block {block!r}.", f"Its crystals: {', '.join(labels)}.")


def _holds_crystal(block: str) -> bool:
    lower = block.lower()
    return all(tag in lower for tag in (*_COORDINATES, "_cell_length_a"))


def _parsed(block: str, name: str) -> CifBlock:
    text = _KEYWORD.sub(lambda m: m[1] + m[2].lower(), block)
    text = _TAG.sub(lambda m: m[1] + _TAGS.get(m[2].lower(), m[2]), text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = CifBlock.from_str(f"data_{text}")
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise StructureError(f"{name} cannot be read as CIF (a loop is not complete).", _VIEWER) from error
    lost = [tag for tag in _COORDINATES if tag not in data.data]
    if lost:
        raise StructureError(f"{name} cannot be read as CIF: it lists no {lost[0]}.", _VIEWER)
    for tag in (*_COORDINATES, "_atom_site_label", "_atom_site_type_symbol"):
        if isinstance(data.data.get(tag), str):
            data.data[tag] = [data.data[tag]]
    if "_atom_site_label" not in data.data:
        if "_atom_site_type_symbol" not in data.data:
            raise StructureError(f"{name}: its sites have neither label nor element.", _VIEWER)
        symbols = data["_atom_site_type_symbol"]
        _add_column(data, "_atom_site_label", [f"{s}{k}" for k, s in enumerate(symbols, start=1)])
    return data


def _add_column(data: CifBlock, tag: str, values: list[str]) -> None:
    data.data[tag] = values
    for loop in data.loops:
        if _COORDINATES[0] in loop and tag not in loop:
            loop.append(tag)


def _set_elements(data: CifBlock, name: str) -> tuple[str, ...]:
    """Put the element of every site in its column; refuse words that are none."""
    labels = data["_atom_site_label"]
    types = data.data.get("_atom_site_type_symbol")
    if types and any(" + " in t for t in types):
        return ()  # of the Pauling File: label and type are exchanged, which the parser knows
    formula = _formula(data)
    words = types or labels
    found = []
    for word in words:
        element = _of_type(word) if types else _of_label(word, formula)
        if element is None:
            raise StructureError(
                f"{name}: {word!r} of _atom_site_{'type_symbol' if types else 'label'} is no element"
                + ("." if types else ", or could be two."),
                "State the element of every site in _atom_site_type_symbol.",
            )
        found.append(element)
    groups = sorted({w for w, e in zip(words, found, strict=True) if _group_of(w) is not None})
    if types is None or groups:
        _add_column(data, "_atom_site_type_symbol", found)
    return (f"its sites {', '.join(groups)} are read without their hydrogens",) if groups else ()


def _group_of(word: str) -> str | None:
    letters = (re.match(r"[A-Za-z]+(?:2O|-H)?", word) or [""])[0].upper()
    return _GROUPS.get(letters)


def _symbol(letters: str) -> str | None:
    symbol = letters.capitalize()
    return symbol if Element.is_valid_symbol(symbol) else None


def _of_type(word: str) -> str | None:
    letters = (re.match(r"[A-Za-z]+", word) or [""])[0]
    return _group_of(word) or (_symbol(letters) if len(letters) <= 2 else None)  # noqa: PLR2004  (a symbol)


def _of_label(word: str, formula: Composition | None) -> str | None:
    """Return the element of a label such as Na1, OW2 or SiT1, with the formula where it could be two."""
    if (group := _group_of(word)) is not None:
        return group
    letters = (re.match(r"[A-Za-z]+", word) or [""])[0]
    if not letters or letters.lower().startswith("vac"):
        return None
    two, one = (_symbol(letters[:2]) if len(letters) > 1 else None), _symbol(letters[:1])
    candidates = list(dict.fromkeys(e for e in (two, one) if e))
    if formula is not None:
        candidates = [e for e in candidates if Element(e) in formula]
    if len(candidates) > 1 and letters[1].isupper():
        return None
    return candidates[0] if candidates else None


def _drop_unplaced(data: CifBlock) -> tuple[str, ...]:
    """Leave out sites without coordinates; an occupancy that is not stated is 1."""
    columns = [c for loop in data.loops if _COORDINATES[0] in loop for c in loop]
    if "_atom_site_occupancy" in columns:
        data.data["_atom_site_occupancy"] = [
            "1" if o in _UNSTATED else o for o in data["_atom_site_occupancy"]
        ]
    rows = zip(*(data[c] for c in _COORDINATES), strict=True)
    placed = list(rows)
    unplaced = [k for k, row in enumerate(placed) if "?" in row or set(row) <= _UNSTATED]
    # A "." is a zero in old files of the ICSD: one heavy atom may stand at the origin so.
    if len(unplaced) == 1 and "?" not in placed[unplaced[0]]:
        symbol = data.data.get("_atom_site_type_symbol", data["_atom_site_label"])[unplaced[0]]
        if _of_type(symbol) not in {None, "H", "D", "T"}:
            return ()
    if not unplaced:
        return ()
    labels = [data["_atom_site_label"][k] for k in unplaced]
    for column in columns:
        data.data[column] = [v for k, v in enumerate(data[column]) if k not in unplaced]
    return (f"{len(labels)} sites without coordinates are left out ({', '.join(labels[:5])})",)


def _text(data: CifBlock, tag: str) -> str:
    value = data.data.get(tag, "")
    value = value[0] if isinstance(value, list) and value else value
    return value.strip().strip("'\"").strip() if isinstance(value, str) else ""


def _formula(data: CifBlock) -> Composition | None:
    text = _text(data, "_chemical_formula_sum")
    try:
        return Composition(re.sub(r"\bD(?=[\d.\s]|$)", "H", text)) if text not in _UNSTATED else None
    except ValueError:
        return None


def _space_group(data: CifBlock) -> str:
    """Return the space group that the file states, empty for P1 and where it states none."""
    for tag in (
        "_symmetry_space_group_name_H-M",
        "_space_group_name_H-M_alt",
        "_symmetry_Int_Tables_number",
        "_space_group_IT_number",
    ):
        stated = _text(data, tag)
        if stated not in _UNSTATED:
            return "" if re.sub(r"[\s_]", "", stated).upper() in {"P1", "1"} else stated
    return ""


def _disagreements(data: CifBlock, structure: Structure) -> tuple[str, ...]:
    """Compare the crystal with the formula and the number of formula units that the file states."""
    stated = _formula(data)
    if stated is None or not stated.num_atoms:
        return ()
    counts: dict[str, float] = {}
    for element, number in structure.composition.remove_charges().as_dict().items():
        key = "H" if element in {"D", "T"} else element
        counts[key] = counts.get(key, 0.0) + number
    found = Composition(counts)
    if not found.fractional_composition.almost_equals(
        stated.fractional_composition, rtol=_SAME_SHARE, atol=1e-3
    ):
        return (f"it states {stated.formula}, and its sites are {found.reduced_formula}",)
    try:
        units = float(_text(data, "_cell_formula_units_Z"))
    except ValueError:
        return ()
    # Some programs write the content of the cell as the formula, and Z besides.
    if not np.isclose(found.num_atoms, [stated.num_atoms, units * stated.num_atoms], rtol=_SAME_SHARE).any():
        sites = found.num_atoms / stated.num_atoms
        return (f"it states {units:g} formula units of {stated.formula} a cell, its sites are {sites:g}",)
    return ()
