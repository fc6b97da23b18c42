"""Molecules: from SMILES, xyz or mol text to coordinates, bonds, anchors and a box."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from ase.data import atomic_numbers
from ase.formula import Formula
from pydantic import Field, ValidationError
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Molecule, Structure
from rdkit import Chem
from rdkit.Chem import rdDetermineBonds, rdForceFieldHelpers
from rdkit.rdBase import BlockLogs

from epilayer.model.base import Frozen
from epilayer.model.covalent import bonded_pairs, covalent_radii_ang
from epilayer.model.errors import StructureError
from epilayer.model.ligand import NAMED_ANCHORS, Anchor, AnchorKind, Ligand
from epilayer.structures import embedding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Molecule legs need this much vacuum between images.
MIN_BOX_VACUUM_ANG: Final = 15.0


class AnchorSite(Frozen):
    """An anchor found in one molecule.

    Parameters
    ----------
    name, kind
        As in :class:`~epilayer.model.ligand.Anchor`.
    atoms
        Indices into the molecule. The first is the donor atom or donor hydrogen; for ``flat`` they
        span the plane; for ``free`` they are all atoms.
    """

    name: str
    kind: AnchorKind
    atoms: tuple[int, ...] = Field(min_length=1)


def build(ligand: Ligand, seed: int = 0) -> Molecule:
    """Give a ligand coordinates.

    SMILES are embedded by ETKDGv3 (doi 10.1021/acs.jcim.0c00025) and minimised with MMFF94s, with UFF where
    MMFF has no parameters, or with GFN2-xTB where neither describes a centre; xyz and mol text keep their own
    geometry. Every bond length and the distances of atoms without a bond are checked.

    Parameters
    ----------
    ligand
        What to build.
    seed
        Seed of the embedding; the same seed gives the same coordinates.

    Returns
    -------
    Molecule
        With the ligand's charge and spin multiplicity, centred at the origin; the order of its
        atoms depends on the ligand alone, never on the seed.

    Raises
    ------
    StructureError
        If the text does not parse, the atoms do not match ``formula``, they cannot be embedded, or
        they overlap or fall apart.
    """
    graph = _graph(ligand)
    if ligand.smiles is not None:
        with BlockLogs():
            embedding.embed(graph, ligand, seed)
    elif ligand.mol is not None and graph.GetNumAtoms() > 1:
        embedding.check_bonds(graph, ligand.name)
    coords = np.asarray(graph.GetConformer().GetPositions(), dtype=float)
    molecule = Molecule(
        [atom.GetSymbol() for atom in graph.GetAtoms()],
        coords - coords.mean(axis=0),
        charge=ligand.charge,
        spin_multiplicity=ligand.spin_multiplicity,
    )
    _check_geometry(ligand.name, [site.specie.symbol for site in molecule], coords)
    return molecule


def anchors(ligand: Ligand) -> tuple[AnchorSite, ...]:
    """Find where a ligand can hold on; indices are those of :func:`build`.

    Without ``ligand.anchors`` every named rule that matches is used, and always the molecule's
    plane and a free orientation.

    Raises
    ------
    StructureError
        If an anchor the ligand names is not in it, or its SMARTS does not parse.
    """
    graph = _graph(ligand)
    rules = ligand.anchors or NAMED_ANCHORS
    found: list[AnchorSite] = []
    taken: set[tuple[AnchorKind, int]] = set()
    for rule in rules:
        if rule.smarts is None:
            has_ring = any(site.name == "ring_plane" for site in found)
            if rule.kind is AnchorKind.FLAT and not ligand.anchors and (has_ring or graph.GetNumAtoms() == 1):
                continue  # a ring's plane is the better guess; one atom has none
            found.append(AnchorSite(name=rule.name, kind=rule.kind, atoms=tuple(range(graph.GetNumAtoms()))))
            continue
        with BlockLogs():
            pattern = Chem.MolFromSmarts(rule.smarts)
        if pattern is None:
            raise StructureError(
                f"Ligand {ligand.name!r}: the SMARTS {rule.smarts!r} of anchor {rule.name!r} does not parse.",
                "Correct the SMARTS, or name one of the built-in rules.",
            )
        sites = _sites_of(rule, graph, graph.GetSubstructMatches(pattern, maxMatches=10_000))
        if not sites and ligand.anchors:
            raise StructureError(
                f"Ligand {ligand.name!r} has no anchor {rule.name!r} ({rule.smarts!r} matches nothing).",
                "Remove the anchor, or leave anchors out to have them found.",
            )
        # One atom is one lone pair, whichever of two overlapping rules found it first.
        fresh = [
            site for site in sites if site.kind is AnchorKind.FLAT or (site.kind, site.atoms[0]) not in taken
        ]
        taken.update((site.kind, site.atoms[0]) for site in fresh)
        found.extend(fresh)
    return tuple(found)


def bonds(molecule: Molecule | Structure) -> frozenset[tuple[int, int]]:
    """Pairs ``i < j`` of bonded atoms (:func:`~epilayer.model.covalent.bonded_pairs`)."""
    return frozenset(bonded_pairs(molecule))


def force_field(ligand: Ligand, coords: Floats) -> Any:  # noqa: ANN401  (RDKit has no types)
    """Return RDKit's force field of one molecule: MMFF94s, or UFF where MMFF has no parameters.

    Parameters
    ----------
    ligand
        The molecule.
    coords
        Where its atoms are, A, shape (atoms, 3), in the order of :func:`build`.

    Returns
    -------
    rdkit.ForceField.ForceField
        ``CalcEnergy`` and ``CalcGrad`` take flat coordinates and answer in kcal/mol and kcal/mol/A.

    Raises
    ------
    StructureError
        If neither force field knows the molecule.
    """
    graph = _graph(ligand)
    conformer = Chem.Conformer(graph.GetNumAtoms())
    conformer.SetPositions(np.ascontiguousarray(coords, dtype=float))
    graph.RemoveAllConformers()
    graph.AddConformer(conformer, assignId=True)
    field = None
    known = embedding.force_field_of(graph)
    if known == "MMFF94s":
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(graph, mmffVariant="MMFF94s")
        field = rdForceFieldHelpers.MMFFGetMoleculeForceField(graph, properties)
    elif known == "UFF":
        field = rdForceFieldHelpers.UFFGetMoleculeForceField(graph)
    if field is None:
        raise StructureError(
            f"Neither MMFF94s nor UFF has parameters for {ligand.name!r}.",
            "Take a molecule of main-group elements.",
        )
    field.Initialize()
    return field


def in_box(molecule: Molecule, *, vacuum_ang: float = MIN_BOX_VACUUM_ANG) -> Structure:
    """Put a molecule into the middle of a cubic box for its own leg of an energy difference.

    Parameters
    ----------
    molecule
        What to box; charge is carried over.
    vacuum_ang
        Free space between periodic images, A; at least :data:`MIN_BOX_VACUUM_ANG`.

    Raises
    ------
    StructureError
        If the vacuum is too thin for the images not to feel one another.
    """
    if vacuum_ang < MIN_BOX_VACUUM_ANG:
        raise StructureError(
            f"A molecule box with {vacuum_ang:g} A of vacuum is too small.",
            f"Use at least {MIN_BOX_VACUUM_ANG:g} A.",
        )
    coords = np.asarray(molecule.cart_coords)
    extent = coords.max(axis=0) - coords.min(axis=0)
    side = float(extent.max()) + vacuum_ang
    box = Structure(
        Lattice.cubic(side),
        [site.specie for site in molecule],
        coords - (coords.max(axis=0) + coords.min(axis=0)) / 2 + side / 2,
        coords_are_cartesian=True,
    )
    if molecule.charge:
        box.set_charge(molecule.charge)
    return box


def chain(repeat: str, units: int, *, ends: Literal["hydroxyl", "methyl"] = "hydroxyl") -> Ligand:
    """Return a polymer chain of either formula.

    Parameters
    ----------
    repeat
        ``"pom"`` for HO-(CH2O)n-H, the formula of doi 10.1038/s41560-025-01857-y, or ``"peo"`` for
        poly(ethylene oxide) proper, HO-(CH2CH2O)n-H.
    units
        n, at least 1.
    ends
        ``"methyl"`` for CH3-[O-...]n-O-CH3, a segment cut out of a long chain.

    Raises
    ------
    StructureError
        On an unknown repeat unit or n < 1.
    """
    kinds = {"pom": ("CO", "CH2O", "polyoxymethylene"), "peo": ("CCO", "CH2CH2O", "poly(ethylene oxide)")}
    if repeat not in kinds:
        raise StructureError(f"Unknown chain {repeat!r}.", f"Known: {', '.join(sorted(kinds))}.")
    if units < 1:
        raise StructureError(f"A chain of {units} units is none.", "Ask for at least one unit.")
    smiles, group, title = kinds[repeat]
    if ends == "methyl":
        # The unit's last oxygen carries the next unit, or the cap.
        return Ligand(
            name=f"{repeat}{units}-segment",
            title=f"CH3-O-({group}){units}-CH3, a segment of {title}",
            formula=f"CH3O({group}){units}CH3",
            smiles="CO" + smiles * units + "C",
            source="Generated: a segment of the chain, its cut ends capped with methyl",
        )
    return Ligand(
        name=f"{repeat}{units}",
        title=f"HO-({group}){units}-H, {title}",
        formula=f"HO({group}){units}H",
        smiles="O" + smiles * units,
        source="Generated; doi 10.1038/s41560-025-01857-y prints HO-(CH2O)15-H and calls it PEO",
    )


def from_text(
    text: str,
    form: Literal["smiles", "xyz", "mol"],
    *,
    name: str = "",
    charge: int | None = None,
    multiplicity: int | None = None,
) -> Ligand:
    """Return a ligand from SMILES, or from the text of an xyz or mol file.

    Parameters
    ----------
    name
        What to call it; unset takes its formula.
    charge
        In elementary charges; unset takes what SMILES or mol text states, and 0 for xyz text.
    multiplicity
        2S+1; unset takes what the radical electrons of SMILES or mol text say, or the lowest possible.

    Raises
    ------
    StructureError
        For text that does not parse, that is no single molecule, or that another charge contradicts.
    """
    symbols, stated, radical = _read_symbols(text, form, name)
    formula = Formula.from_list(symbols).format("hill")
    total = stated if charge is None else charge
    electrons = sum(atomic_numbers[s] for s in symbols) - total
    spin = multiplicity or max(radical + 1, 1 + electrons % 2)
    try:
        ligand = Ligand.model_validate(
            {
                "name": re.sub(r"[^A-Za-z0-9_.+-]+", "-", name or formula).lstrip("_.+-"),
                "formula": formula,
                form: text,
                "charge": total,
                "multiplicity": spin,
                "source": f"As its user gave it: {form}",
            }
        )
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise StructureError(
            f"{name or formula}: {reason}.", "Correct the charge (--charge) or multiplicity (--multiplicity)."
        ) from error
    _graph(ligand)
    return ligand


def _read_symbols(text: str, form: str, name: str) -> tuple[list[str], int, int]:
    """Return the elements of a molecule's text, the charge it states, and its radical electrons."""
    if form == "xyz":
        lines = text.strip("\n").splitlines()
        try:
            count = int(lines[0])
            symbols = [line.split()[0] for line in lines[2 : 2 + count]]
        except (ValueError, IndexError):
            symbols, count = [], -1
        if len(symbols) != count or not set(symbols) <= set(atomic_numbers) - {"X"}:
            raise StructureError(
                f"{name or 'The molecule'} is no xyz text (a count, a comment, one atom a line).",
                "Correct the file, or export it anew.",
            )
        return symbols, 0, 0
    with BlockLogs():
        graph: Any = (
            Chem.MolFromSmiles(text) if form == "smiles" else Chem.MolFromMolBlock(text, removeHs=False)
        )
    if graph is None or graph.GetNumAtoms() == 0:
        what = f"The SMILES {text!r} does" if form == "smiles" else f"{name or 'The mol text'} does"
        raise StructureError(
            f"{what} not parse.", "Correct it; lower case is aromatic, brackets hold charges."
        )
    _refuse_open_ends(graph, text if form == "smiles" else name or "The mol text")
    if form == "smiles":
        graph = Chem.AddHs(graph)
    radical = sum(atom.GetNumRadicalElectrons() for atom in graph.GetAtoms())
    return [atom.GetSymbol() for atom in graph.GetAtoms()], int(Chem.GetFormalCharge(graph)), radical


def is_smiles(text: str) -> bool:
    """Say whether a line is SMILES, of whatever molecule."""
    with BlockLogs():
        return bool(text) and Chem.MolFromSmiles(text) is not None


def _refuse_open_ends(graph: Any, what: str) -> None:  # noqa: ANN401  (RDKit has no types)
    """Refuse attachment points (``*``), and hydrogens that a mol file leaves out."""
    if any(atom.GetAtomicNum() == 0 for atom in graph.GetAtoms()):
        raise StructureError(
            f"{what} has open ends (*): a repeat unit or a fragment, not a molecule.",
            "Close the ends: write H, a methyl group or what else the chain ends with in place of each *.",
        )
    flat = graph.GetNumConformers() and not np.any(graph.GetConformer().GetPositions()[:, 2])
    if graph.GetNumConformers() and any(atom.GetTotalNumHs() for atom in graph.GetAtoms()):
        raise StructureError(f"{what} leaves hydrogens out.", "Export it anew with all hydrogens.")
    if flat and any(a.GetDegree() > 3 for a in graph.GetAtoms()):  # noqa: PLR2004  (no plane holds four)
        raise StructureError(f"{what} is a drawing in a plane.", "Export it anew with coordinates in space.")


def _graph(ligand: Ligand) -> Any:  # noqa: ANN401  (RDKit has no types)
    """Parse a ligand into an RDKit molecule with all hydrogens, or say why it does not parse."""
    graph: Any
    with BlockLogs():  # RDKit prints what we say in one line of our own
        if ligand.smiles is not None:
            graph, what, text = Chem.MolFromSmiles(ligand.smiles), "SMILES", repr(ligand.smiles)
            graph = None if graph is None else Chem.AddHs(graph)
        elif ligand.mol is not None:
            graph = Chem.MolFromMolBlock(ligand.mol, removeHs=False)
            what, text = "mol text", "its atom and bond blocks"
        else:
            graph = _from_xyz(ligand)
            what, text = "xyz text", "its count line, comment line and atom lines"
    if graph is None or graph.GetNumAtoms() == 0:
        raise StructureError(
            f"Ligand {ligand.name!r}: the {what} does not parse ({text}).",
            f"Correct the {what} of the ligand.",
        )
    _refuse_open_ends(graph, f"Ligand {ligand.name!r}")
    _check_counts(ligand, graph)
    pieces = Chem.GetMolFrags(graph)
    if len(pieces) > 1:
        raise StructureError(
            f"Ligand {ligand.name!r} is not one molecule but {len(pieces)} pieces that no bond connects.",
            "Give one connected molecule; salts are loaded ion by ion.",
        )
    return graph


def _from_xyz(ligand: Ligand) -> Any:  # noqa: ANN401  (RDKit has no types)

    lines = (ligand.xyz or "").strip("\n").splitlines()
    try:  # a trailing blank line or column is no reason to refuse
        count = int(lines[0])
        atoms = [line.split()[:4] for line in lines[2 : 2 + count]]
        coords = np.array([[float(x) for x in atom[1:]] for atom in atoms])
    except (ValueError, IndexError):
        return None
    if coords.shape != (count, 3):
        return None
    graph: Any = Chem.MolFromXYZBlock("\n".join([str(count), "", *(" ".join(atom) for atom in atoms)]) + "\n")
    if graph is None:
        return None
    # Before bonds are guessed: a wrong formula or coordinate is the likelier mistake.
    _check_counts(ligand, graph)
    _check_geometry(ligand.name, [atom[0] for atom in atoms], coords)
    try:
        rdDetermineBonds.DetermineBonds(graph, charge=ligand.charge)
    except (ValueError, RuntimeError) as error:
        raise StructureError(
            f"Ligand {ligand.name!r}: no bond orders fit the xyz geometry with charge {ligand.charge:+d}.",
            "Check the charge, or give a mol file, which states its bonds.",
        ) from error
    return graph


def _check_counts(ligand: Ligand, graph: Any) -> None:  # noqa: ANN401  (RDKit has no types)
    counted: dict[str, int] = {}
    for atom in graph.GetAtoms():
        counted[atom.GetSymbol()] = counted.get(atom.GetSymbol(), 0) + 1
    if counted != ligand.composition:
        built = "".join(f"{symbol}{number}" for symbol, number in sorted(counted.items()))
        raise StructureError(
            f"Ligand {ligand.name!r} is {built}, but its formula says {ligand.formula}.",
            "Correct the formula, or the SMILES, xyz or mol text.",
        )
    stated = Chem.GetFormalCharge(graph)
    if ligand.xyz is None and stated != ligand.charge:  # an xyz file states no charges
        raise StructureError(
            f"Ligand {ligand.name!r}: its atoms carry {stated:+d}, but its charge says {ligand.charge:+d}.",
            "Correct the charge, or the charges in the SMILES or mol text.",
        )


def _check_geometry(name: str, symbols: Sequence[str], coords: Floats) -> None:
    radii = covalent_radii_ang(symbols)
    distances = np.linalg.norm(coords[:, None] - coords[None, :], axis=2) + np.eye(len(symbols)) * 1e3
    ratio = distances / (radii[:, None] + radii[None, :])
    i, j = (int(x) for x in np.unravel_index(np.argmin(ratio), ratio.shape))
    # 0.6 of the radii's sum: shorter than any bond there is (H-H 1.19, C#O 0.8, N#N 0.77).
    if ratio[i, j] < 0.6:  # noqa: PLR2004  (explained above)
        raise StructureError(
            f"Ligand {name!r}: atoms {symbols[i]}{i} and {symbols[j]}{j} are {distances[i, j]:.2f} A apart.",
            "Correct the coordinates.",
        )


def _sites_of(rule: Anchor, graph: Any, matches: Iterable[tuple[int, ...]]) -> list[AnchorSite]:  # noqa: ANN401
    if rule.kind is not AnchorKind.FLAT:
        firsts = dict.fromkeys(match[0] for match in matches)
        return [AnchorSite(name=rule.name, kind=rule.kind, atoms=(index,)) for index in firsts]
    matched = {index for match in matches for index in match}
    rings = [tuple(sorted(ring)) for ring in graph.GetRingInfo().AtomRings() if set(ring) <= matched]
    planes = rings or ([tuple(sorted(matched))] if len(matched) > 2 else [])  # noqa: PLR2004  (a plane needs three)
    return [AnchorSite(name=rule.name, kind=rule.kind, atoms=plane) for plane in planes]
