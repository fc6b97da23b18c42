"""A molecule as data: what it is, its charge and spin, and by which atoms it may hold a surface."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field, field_validator, model_validator

from epilayer.model.base import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class AnchorKind(StrEnum):
    """How an anchor meets the surface."""

    LONE_PAIR = "lone_pair"  # a donor atom points its free valence at a cation
    DONOR_H = "donor_h"  # a polar hydrogen points at an anion
    FLAT = "flat"  # a ring, or the whole molecule, lies parallel to the surface
    FREE = "free"  # any orientation


class Anchor(Frozen):
    """One way of holding on.

    Parameters
    ----------
    name
        What the reports call it.
    kind
        How it meets the surface.
    smarts
        RDKit SMARTS. For a lone pair the first atom is the donor; for a donor hydrogen the first
        atom is the hydrogen; for a flat anchor all matched atoms span the plane. ``None`` only
        for ``flat`` (the whole molecule) and ``free``.
    """

    name: str = Field(min_length=1)
    kind: AnchorKind
    smarts: str | None = None

    @model_validator(mode="after")
    def _needs_atoms(self) -> Anchor:
        if self.smarts is None and self.kind in {AnchorKind.LONE_PAIR, AnchorKind.DONOR_H}:
            raise ValueError(
                f"anchor {self.name!r} of kind {self.kind.value!r} needs a SMARTS that names its atom"
            )
        return self


#: The rules that need no writing down. A ligand without ``anchors`` uses every one that matches.
NAMED_ANCHORS: Final[tuple[Anchor, ...]] = (
    Anchor(name="pyridine_n", kind=AnchorKind.LONE_PAIR, smarts="[nX2;!$([n]:[n-])]"),
    Anchor(name="azolate_n", kind=AnchorKind.LONE_PAIR, smarts="[n-,$([nX2]:[n-])]"),
    Anchor(name="amine_n", kind=AnchorKind.LONE_PAIR, smarts="[NX3;!$(N-[C,S,P]=[O,S,N]);!$(N-a)]"),
    Anchor(name="imide_n", kind=AnchorKind.LONE_PAIR, smarts="[N-]"),
    Anchor(name="nitrile_n", kind=AnchorKind.LONE_PAIR, smarts="[NX1]#[C]"),
    Anchor(name="carbonyl_o", kind=AnchorKind.LONE_PAIR, smarts="[OX1]=[C]"),
    Anchor(name="carboxylate_o", kind=AnchorKind.LONE_PAIR, smarts="[O-]-[C]"),
    Anchor(name="sulfonyl_o", kind=AnchorKind.LONE_PAIR, smarts="[OX1]=[S,P]"),
    Anchor(name="hydroxyl_o", kind=AnchorKind.LONE_PAIR, smarts="[OX2;H1,H2]"),
    Anchor(name="ether_o", kind=AnchorKind.LONE_PAIR, smarts="[OX2;H0]([#6])[#6]"),
    Anchor(name="thiol_s", kind=AnchorKind.LONE_PAIR, smarts="[SX1,SX2]"),
    Anchor(name="n_h", kind=AnchorKind.DONOR_H, smarts="[H][#7]"),
    Anchor(name="o_h", kind=AnchorKind.DONOR_H, smarts="[H][#8]"),
    Anchor(name="ring_plane", kind=AnchorKind.FLAT, smarts="[a]"),
    Anchor(name="molecule_plane", kind=AnchorKind.FLAT),
    Anchor(name="free", kind=AnchorKind.FREE),
)

_SYMBOLS: Final = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr "
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu "
    "Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn"
)
_ATOMIC_NUMBER: Final = {symbol: number for number, symbol in enumerate(_SYMBOLS.split(), start=1)}


def parse_formula(formula: str) -> dict[str, int]:
    """Count the atoms of a formula; groups and repeats are allowed.

    >>> parse_formula("HO(CH2O)15H")
    {'H': 32, 'O': 16, 'C': 15}

    Raises
    ------
    ValueError
        On an unknown element or unbalanced brackets.
    """
    stack: list[dict[str, int]] = [{}]
    position = 0
    for token in re.finditer(r"([A-Z][a-z]?)(\d*)|(\()|(\))(\d*)", formula):
        if token.start() != position:
            break
        position = token.end()
        symbol, count, opening, closing, repeat = token.groups()
        if opening:
            stack.append({})
        elif closing:
            if len(stack) == 1:
                raise ValueError(f"formula {formula!r} closes a bracket that was not opened")
            for inner, number in stack.pop().items():
                stack[-1][inner] = stack[-1].get(inner, 0) + number * int(repeat or 1)
        elif symbol not in _ATOMIC_NUMBER:
            raise ValueError(f"formula {formula!r} holds {symbol!r}, which is no element")
        else:
            stack[-1][symbol] = stack[-1].get(symbol, 0) + int(count or 1)
    if position != len(formula) or not formula:
        raise ValueError(f"formula {formula!r} cannot be read at {formula[position:]!r}")
    if len(stack) > 1:
        raise ValueError(f"formula {formula!r} leaves a bracket open")
    return stack[0]


class Ligand(Frozen):
    """A molecule or ion that meets the cathode's surface.

    Parameters
    ----------
    name
        The name used on the command line and in records.
    title
        The name printed in tables; ``name`` if left out.
    formula
        Checked against what is built.
    smiles, xyz, mol
        Exactly one of these. ``xyz`` and ``mol`` hold the text of such a file (see
        :func:`inline_files` for a path given in YAML); their geometry is kept.
    charge
        In elementary charges.
    multiplicity
        2S+1; 1 if left out and the electron count is even, required if it is odd.
    anchors
        Names out of :data:`NAMED_ANCHORS`, or anchors spelt out; empty means all that match.
    source
        Where the molecule and its form come from.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")
    title: str = ""
    formula: str
    smiles: str | None = None
    xyz: str | None = None
    mol: str | None = None
    charge: int = 0
    multiplicity: int | None = Field(default=None, ge=1)
    anchors: tuple[Anchor, ...] = ()
    source: str = Field(min_length=1)

    @field_validator("anchors", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:  # noqa: ANN401  (what YAML holds)
        """Let a rule be given by its name."""
        if not isinstance(value, list | tuple):
            return value
        known = {anchor.name: anchor for anchor in NAMED_ANCHORS}
        spelt_out = []
        for item in value:
            if isinstance(item, str) and item not in known:
                raise ValueError(f"unknown anchor rule {item!r}; known: {', '.join(sorted(known))}")
            spelt_out.append(known[item] if isinstance(item, str) else item)
        return spelt_out

    @field_validator("xyz", "mol")
    @classmethod
    def _text_not_path(cls, value: str | None) -> str | None:
        if value is not None and len(value.strip().splitlines()) < 2:  # noqa: PLR2004  (a path is one line)
            raise ValueError(f"must hold the text of the file, not its name {value!r}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Ligand:
        given = [key for key in ("smiles", "xyz", "mol") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of smiles, xyz, mol (given: {', '.join(given) or 'none'})")
        electrons = self.electron_count
        if electrons < 0:
            raise ValueError(f"charge {self.charge:+d} takes more electrons than {self.formula} has")
        if electrons % 2 and self.multiplicity is None:
            raise ValueError(
                f"odd electron count without multiplicity ({self.formula} with charge {self.charge:+d} "
                f"has {electrons} electrons)"
            )
        if (electrons - self.unpaired_electrons) % 2 or self.unpaired_electrons > electrons:
            raise ValueError(
                f"multiplicity {self.multiplicity} is impossible with {electrons} electrons "
                f"({self.formula}, charge {self.charge:+d})"
            )
        return self

    @property
    def composition(self) -> dict[str, int]:
        """Number of atoms of each element."""
        return parse_formula(self.formula)

    @property
    def electron_count(self) -> int:
        """All electrons, core included."""
        return (
            sum(_ATOMIC_NUMBER[symbol] * number for symbol, number in self.composition.items()) - self.charge
        )

    @property
    def spin_multiplicity(self) -> int:
        """2S+1, with the default filled in."""
        return 1 if self.multiplicity is None else self.multiplicity

    @property
    def unpaired_electrons(self) -> int:
        """2S."""
        return self.spin_multiplicity - 1

    @property
    def display_name(self) -> str:
        """What tables and figures call it."""
        return self.title or self.name


def inline_files(data: Mapping[str, Any], read: Callable[[str], str]) -> dict[str, Any]:
    """Replace a path under ``xyz`` or ``mol`` by the file's text.

    The room that reads files passes ``read``; the model itself opens nothing.
    """
    return {
        key: read(value)
        if key in {"xyz", "mol"} and isinstance(value, str) and len(value.strip().splitlines()) == 1
        else value
        for key, value in data.items()
    }
